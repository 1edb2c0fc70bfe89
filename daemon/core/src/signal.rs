//! Signals: typed evidence of what the caller, the line or the time did, and
//! the triggers by which a playbook waits for them. They carry no authority.

use crate::input::{AnswerClass, HAPPENINGS};
use crate::objection::Doubt;

/// One piece of evidence in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What it is.
    pub kind: SignalKind,
    /// What the phrase means, where it is one that has a meaning.
    pub means: Meaning,
    /// 0 to 100; evidence for people, never permission.
    pub confidence: u8,
    /// A later text of the same utterance may withdraw it; nothing is done on it.
    pub provisional: bool,
    /// Nothing but "mhm": over our own words it says that we may go on.
    pub backchannel: bool,
}

/// What a phrase means to us, beyond its name in the playbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing of its own.
    #[default]
    Plain,
    /// Yes.
    Confirm,
    /// No, or taking something back.
    Deny,
    /// An objection of a kind.
    Objection(Doubt),
    /// Coming half way: "I see", "fair enough".
    Softens,
    /// What does it cost?
    PriceQuestion,
    /// Not now.
    Deferral,
    /// Never again.
    OptOut,
    /// Not the one we think.
    WrongPerson,
    /// Wants a human being.
    AsksHuman,
    /// "Well…", "let me think".
    Hesitation,
}

impl Meaning {
    /// The words for it in playbooks.
    pub(crate) const WORDS: [(&'static str, Self); 13] = [
        ("confirm", Self::Confirm),
        ("deny", Self::Deny),
        ("objection_price", Self::Objection(Doubt::Price)),
        ("objection_timing", Self::Objection(Doubt::Timing)),
        ("objection_trust", Self::Objection(Doubt::Trust)),
        ("objection_need", Self::Objection(Doubt::Need)),
        ("softens", Self::Softens),
        ("price_question", Self::PriceQuestion),
        ("deferral", Self::Deferral),
        ("opt_out", Self::OptOut),
        ("wrong_person", Self::WrongPerson),
        ("asks_human", Self::AsksHuman),
        ("hesitation", Self::Hesitation),
    ];

    /// The meaning of that word; a phrase list that is named like one has it.
    pub(crate) fn find(word: &str) -> Option<Self> {
        let known = Self::WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, meaning)| *meaning)
    }

    /// Its public name.
    pub fn name(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(_, meaning)| *meaning == self);
        known.map_or("plain", |(name, _)| name)
    }

    /// A yes said beside it is no yes to what we asked.
    pub(crate) fn outweighs_yes(self) -> bool {
        match self {
            Self::PriceQuestion | Self::Deferral | Self::AsksHuman | Self::WrongPerson => true,
            Self::Plain
            | Self::Confirm
            | Self::Deny
            | Self::Objection(_)
            | Self::Softens
            | Self::OptOut
            | Self::Hesitation => false,
        }
    }
}

/// What a signal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// A key was pressed outside a collection.
    Key(char),
    /// Words of this phrase list were said.
    Phrase(String),
    /// Something was said that nothing expects, or no words came for it.
    Speech,
    /// The stage's time of silence is over.
    Silence,
    /// What the stage says was played to its end.
    Said,
    /// Who or what answered.
    Answered(AnswerClass),
    /// The beep after a greeting.
    Beep,
    /// A recording has ended without a beep.
    GreetingEnd,
    /// The keys asked for are complete.
    Collected,
    /// Too few keys came in time, or they do not end in their check digit.
    Incomplete,
    /// The secret did not reach its sink.
    NotTaken,
    /// Something of this person happened elsewhere.
    Happened(String),
    /// Intent rose to the playbook's threshold.
    Ready,
    /// Intent fell back, or fell fast.
    Cooled,
    /// The stage's time is over, whatever happens in it.
    Elapsed,
    /// The price that was heard does not hold any more.
    PriceChanged,
    /// A person has the call now.
    Transferred,
    /// No person took the call; `transfer` says why.
    TransferFailed,
    /// The far end put us on hold.
    Held,
    /// The far end came back from hold.
    Resumed,
}

/// What a handler of a playbook waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Exactly this.
    Is(SignalKind),
    /// Any key.
    AnyKey,
}

/// Words a playbook writes in `when`, beside keys and its own phrase lists.
pub(crate) const TRIGGER_WORDS: [&str; 28] = [
    "any",
    "beep",
    "busy",
    "collected",
    "cooled",
    "elapsed",
    "fax",
    "greeting_end",
    "held",
    "human",
    "incomplete",
    "ivr",
    "machine",
    "no_voice",
    "not_taken",
    "price_changed",
    "ready",
    "reorder",
    "resumed",
    "ringback",
    "said",
    "screening",
    "silence",
    "sit",
    "speech",
    "transfer_failed",
    "transferred",
    "unsure",
];

impl Trigger {
    /// Reads a key, `@happening` or one of the fixed words; `None` when it may be a phrase list.
    pub(crate) fn fixed(word: &str) -> Option<Self> {
        use AnswerClass as Class;
        if let Some(name) = word.strip_prefix('@').filter(|it| HAPPENINGS.contains(it)) {
            return Some(Self::Is(SignalKind::Happened(name.to_owned())));
        }
        let mut letters = word.chars();
        if let (Some(key), None) = (letters.next(), letters.next()) {
            return is_key(key).then_some(Self::Is(SignalKind::Key(key)));
        }
        let kind = match word {
            "any" => return Some(Self::AnyKey),
            "beep" => SignalKind::Beep,
            "busy" => SignalKind::Answered(Class::Busy),
            "collected" => SignalKind::Collected,
            "cooled" => SignalKind::Cooled,
            "elapsed" => SignalKind::Elapsed,
            "fax" => SignalKind::Answered(Class::Fax),
            "greeting_end" => SignalKind::GreetingEnd,
            "held" => SignalKind::Held,
            "human" => SignalKind::Answered(Class::Human),
            "incomplete" => SignalKind::Incomplete,
            "ivr" => SignalKind::Answered(Class::Ivr),
            "machine" => SignalKind::Answered(Class::Machine),
            "no_voice" => SignalKind::Answered(Class::Silence),
            "not_taken" => SignalKind::NotTaken,
            "price_changed" => SignalKind::PriceChanged,
            "ready" => SignalKind::Ready,
            "reorder" => SignalKind::Answered(Class::Reorder),
            "resumed" => SignalKind::Resumed,
            "ringback" => SignalKind::Answered(Class::Ringback),
            "said" => SignalKind::Said,
            "screening" => SignalKind::Answered(Class::Screening),
            "silence" => SignalKind::Silence,
            "sit" => SignalKind::Answered(Class::Sit),
            "speech" => SignalKind::Speech,
            "transfer_failed" => SignalKind::TransferFailed,
            "transferred" => SignalKind::Transferred,
            "unsure" => SignalKind::Answered(Class::Unsure),
            _ => return None,
        };
        Some(Self::Is(kind))
    }

    /// Whether the signal is what it waits for.
    pub fn takes(&self, signal: &SignalKind) -> bool {
        match self {
            Self::Is(kind) => kind == signal,
            Self::AnyKey => matches!(signal, SignalKind::Key(_)),
        }
    }
}

/// `0`-`9`, `*`, `#`, `A`-`D` (RFC 4733 §3.2).
pub(crate) fn is_key(key: char) -> bool {
    matches!(key, '0'..='9' | '*' | '#' | 'A'..='D')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trigger_word_is_read() {
        for word in TRIGGER_WORDS {
            assert!(Trigger::fixed(word).is_some(), "{word}");
        }
        assert_eq!(Trigger::fixed("confirm"), None);
        assert_eq!(Trigger::fixed("x"), None);
        for name in HAPPENINGS {
            let happened = SignalKind::Happened(name.to_owned());
            let word = format!("@{name}");
            assert_eq!(Trigger::fixed(&word), Some(Trigger::Is(happened)));
        }
        assert_eq!(Trigger::fixed("@moon_rose"), None);
    }

    #[test]
    fn any_takes_keys_alone() {
        assert!(Trigger::AnyKey.takes(&SignalKind::Key('7')));
        assert!(!Trigger::AnyKey.takes(&SignalKind::Speech));
    }
}
