//! Telling phrases in what a recogniser understood: who answers like that.
//!
//! A short list per language, matched on words alone (case and punctuation do
//! not count). It is evidence for the ear, never a verdict. Called by the
//! switchboard for calls that we placed, and by `offhook score`.

use offhook_dsp::{Phrase, Words};

/// English, German, French, Spanish, Italian, Portuguese; the strongest first.
const PHRASES: [(Phrase, &[&str]); 4] = [
    (
        Phrase::Screening,
        &[
            "state your name",
            "say your name",
            "who is calling and why",
            "reason for your call",
            "screening service",
        ],
    ),
    (
        Phrase::Menu,
        &[
            "press one",
            "press two",
            "press 1",
            "press 2",
            "press 9",
            "press zero",
            "press 0",
            "following options",
            "menu options",
            "drücken sie",
            "appuyez sur",
            "pulse uno",
            "oprima",
            "prema",
            "digite",
        ],
    ),
    (
        Phrase::Greeting,
        &[
            "leave a message",
            "leave me a message",
            "leave your name",
            "leave your message",
            "record your message",
            "after the tone",
            "after the beep",
            "at the tone",
            "at the beep",
            "voicemail",
            "voice mail",
            "mailbox",
            "not available",
            "unavailable",
            "come to the phone",
            "can't take your call",
            "cannot take your call",
            "try again later",
            "you have reached",
            "you've reached",
            "missed you",
            "call you back as soon",
            "we are closed",
            "currently closed",
            "office hours",
            "our hours are",
            "has been forwarded",
            "cannot accept",
            "not home",
            "nicht erreichbar",
            "hinterlassen sie",
            "nachricht nach dem",
            "laissez un message",
            "après le bip",
            "pas disponible",
            "deje su mensaje",
            "deje un mensaje",
            "no está disponible",
            "lasciate un messaggio",
            "non è disponibile",
            "deixe sua mensagem",
            "não está disponível",
        ],
    ),
    (
        Phrase::Person,
        &[
            "speaking",
            "how can i help",
            "how may i",
            "this is",
            "who is this",
            "who is calling",
            "what is up",
            "go ahead",
            "one second",
        ],
    ),
];

/// Octets of what a leg says that are looked at: who answered is known by then.
const TRANSCRIPT_MAX: usize = 2_000;

/// What a leg said so far, as a recogniser understood it.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    /// Of the utterances that are over.
    whole: String,
    /// The latest of them.
    utterance: u32,
    told: Words,
}

impl Transcript {
    /// Takes a text of an utterance, counted from 1; the `last` one stands, those before
    /// are replaced by the next. Gives what all of it says, where that is news.
    pub(crate) fn take(&mut self, utterance: u32, text: &str, last: bool) -> Option<Words> {
        let full = self.whole.len() + text.len() > TRANSCRIPT_MAX;
        if full || utterance <= self.utterance {
            return None;
        }
        let all = format!("{} {text}", self.whole);
        let told = words(&all);
        if last {
            (self.whole, self.utterance) = (all, utterance);
        }
        (std::mem::replace(&mut self.told, told) != told).then_some(told)
    }
}

/// What a text says of who speaks it.
pub(crate) fn words(text: &str) -> Words {
    let flat = flat(text);
    let told = |phrases: &[&str]| {
        phrases
            .iter()
            .any(|phrase| flat.contains(&format!(" {phrase}")))
    };
    let found = PHRASES.iter().find(|(_, phrases)| told(phrases));
    Words {
        count: u16::try_from(flat.split_whitespace().count()).unwrap_or(u16::MAX),
        phrase: found.map(|(phrase, _)| *phrase),
    }
}

/// Lower case, one blank between words and one at either end.
fn flat(text: &str) -> String {
    let kept = |letter: char| match letter {
        '\'' => letter,
        letter if letter.is_alphanumeric() => letter,
        _ => ' ',
    };
    let lower: String = text.to_lowercase().chars().map(kept).collect();
    let words: Vec<&str> = lower.split_whitespace().collect();
    format!(" {} ", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_found_whatever_stands_between_the_words() {
        let table = [
            (
                "Hi! Please LEAVE a  message, thanks.",
                Some(Phrase::Greeting),
            ),
            ("For sales, press 1.", Some(Phrase::Menu)),
            (
                "Please state your name and press 1",
                Some(Phrase::Screening),
            ),
            ("Accounts department, John speaking", Some(Phrase::Person)),
            ("hello", None),
            ("unspeaking", None),
        ];
        for (text, phrase) in table {
            assert_eq!(words(text).phrase, phrase, "{text}");
        }
        assert_eq!(words("  Hello, hello? ").count, 2);
    }

    #[test]
    fn texts_that_may_change_are_replaced_and_those_that_stand_are_kept() {
        let mut transcript = Transcript::default();
        let mut take = |utterance, text, last| {
            let told = transcript.take(utterance, text, last);
            told.map(|words| (words.count, words.phrase))
        };
        assert_eq!(take(1, "you have", false), Some((2, None)));
        assert_eq!(take(1, "you have", false), None, "no news");
        let greeting = Some(Phrase::Greeting);
        assert_eq!(take(1, "you have reached us", true), Some((4, greeting)));
        assert_eq!(take(1, "press one", true), None, "it stands");
        let menu = Some(Phrase::Menu);
        assert_eq!(take(2, "press", false), Some((5, greeting)));
        assert_eq!(take(2, "press one", false), Some((6, menu)));
        assert_eq!(take(2, "please", true), Some((5, greeting)));
        assert_eq!(take(3, &"word ".repeat(500), true), None, "too long");
    }
}
