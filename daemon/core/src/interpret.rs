//! What was said -> signals, by the phrase lists of the playbook.
//!
//! A module of its own that the gate cannot import: whoever judges must not
//! interpret. The log keeps the words, so that other lists can be tried on them.

use std::collections::BTreeMap;

use crate::input::Words;
use crate::signal::{Signal, SignalKind};

/// Words of an utterance that are looked at; the last ones, as they decide.
const WORDS_MAX: usize = 200;
/// A negation reaches this many words forward ("not a good yes" is none).
const NEGATION_REACH: usize = 3;

/// One phrase list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrases {
    /// The phrases, each as its words.
    pub any: Vec<Vec<String>>,
    /// What it means when negated; nothing, when not given.
    pub negated: Option<String>,
    /// It stands whatever else is said ("stop calling me, okay?").
    pub outweighs: bool,
}

/// The lists of a playbook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexicon {
    /// Phrase lists by name.
    pub lists: BTreeMap<String, Phrases>,
    /// Words that turn what follows around.
    pub negations: Vec<Vec<String>>,
    /// Below this confidence (0 to 100) words count as not understood.
    pub least_confidence: u8,
}

/// A phrase found: where it ends, how long it is, what it says.
struct Match<'a> {
    start: usize,
    length: usize,
    list: &'a str,
    phrases: &'a Phrases,
}

impl Lexicon {
    /// What the words say: the last phrase that holds, unless one outweighs all.
    /// `Speech` when nothing does.
    pub fn interpret(&self, words: &Words) -> Signal {
        let said = split(&words.text);
        let said = &said[said.len().saturating_sub(WORDS_MAX)..];
        let understood = words.confidence >= self.least_confidence;
        let phrase = understood.then(|| self.decide(said)).flatten();
        Signal {
            kind: phrase.map_or(SignalKind::Speech, SignalKind::Phrase),
            confidence: words.confidence,
            provisional: !words.last,
        }
    }

    fn decide(&self, said: &[String]) -> Option<String> {
        let mut last = None;
        let mut place = 0;
        while place < said.len() {
            let Some(found) = self.longest(said, place) else {
                place += 1;
                continue;
            };
            place = found.start + found.length;
            let meaning = match self.negated(said, found.start) {
                false => Some(found.list),
                true => found.phrases.negated.as_deref(),
            };
            if let Some(meaning) = meaning {
                if self.lists.get(meaning).is_some_and(|list| list.outweighs) {
                    return Some(meaning.to_owned());
                }
                last = Some(meaning.to_owned());
            }
        }
        last
    }

    /// The longest phrase that begins at `place` ("no problem" is not "no").
    fn longest(&self, said: &[String], place: usize) -> Option<Match<'_>> {
        self.lists
            .iter()
            .flat_map(|(list, phrases)| phrases.any.iter().map(move |any| (list, phrases, any)))
            .filter(|(_, _, any)| said[place..].starts_with(any))
            .max_by_key(|(_, _, any)| any.len())
            .map(|(list, phrases, any)| Match {
                start: place,
                length: any.len(),
                list,
                phrases,
            })
    }

    /// A negation stands within reach before `start`.
    fn negated(&self, said: &[String], start: usize) -> bool {
        let reach = &said[start.saturating_sub(NEGATION_REACH)..start];
        self.negations.iter().any(|negation| {
            reach
                .windows(negation.len().max(1))
                .any(|window| window == negation.as_slice())
        })
    }
}

/// Lower-case words without punctuation; apostrophes stay inside words.
pub(crate) fn split(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace('\u{2019}', "'")
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .map(|word| word.trim_matches('\'').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(any: &[&str], negated: Option<&str>, outweighs: bool) -> Phrases {
        Phrases {
            any: any.iter().map(|phrase| split(phrase)).collect(),
            negated: negated.map(str::to_owned),
            outweighs,
        }
    }

    fn lexicon() -> Lexicon {
        let lists = [
            (
                "confirm",
                list(
                    &["yes", "sure", "that works", "no problem"],
                    Some("deny"),
                    false,
                ),
            ),
            ("deny", list(&["no", "no wait", "rather not"], None, false)),
            ("opt_out", list(&["stop calling", "remove me"], None, true)),
            ("tuesday", list(&["tuesday"], None, false)),
        ];
        Lexicon {
            lists: lists
                .into_iter()
                .map(|(name, list)| (name.to_owned(), list))
                .collect(),
            negations: ["not", "don't", "never"].map(split).into(),
            least_confidence: 50,
        }
    }

    fn said(text: &str, confidence: u8) -> SignalKind {
        let words = Words {
            text: text.to_owned(),
            confidence,
            last: true,
            utterance: 0,
            spoken_ms: 0,
        };
        lexicon().interpret(&words).kind
    }

    #[test]
    fn the_last_thing_that_holds_is_what_was_said() {
        for (text, meaning) in [
            ("Yes.", "confirm"),
            ("Yes… no wait, not Tuesday", "deny"),
            ("no, wait, yes, sure", "confirm"),
            ("That works for me", "confirm"),
            ("that doesn't, no", "deny"),
            ("no problem", "confirm"),
            ("I am not sure", "deny"),
            ("I'd rather not", "deny"),
            ("yes, but stop calling me, okay, yes", "opt_out"),
            ("Tuesday then", "tuesday"),
        ] {
            assert_eq!(said(text, 90), SignalKind::Phrase(meaning.into()), "{text}");
        }
    }

    #[test]
    fn what_nothing_expects_is_speech() {
        for text in ["", "…", "what is the weather", "not tuesday", "yesterday"] {
            assert_eq!(said(text, 90), SignalKind::Speech, "{text}");
        }
    }

    #[test]
    fn doubtful_words_are_not_understood() {
        assert_eq!(said("yes", 49), SignalKind::Speech);
        assert_eq!(said("yes", 50), SignalKind::Phrase("confirm".into()));
    }

    #[test]
    fn a_negated_opt_out_is_none() {
        assert_eq!(said("please don't stop calling", 90), SignalKind::Speech);
    }

    #[test]
    fn an_endless_text_is_judged_by_its_end() {
        let text = format!("{} yes", "blah ".repeat(100_000));
        assert_eq!(said(&text, 90), SignalKind::Phrase("confirm".into()));
    }
}
