//! Signals: typed evidence of what the caller, the line or the time did, and
//! the triggers by which a playbook waits for them. They carry no authority.

use crate::action::is_name;
use crate::input::AnswerClass;

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// What it is.
    pub kind: SignalKind,
    /// 0 to 100; evidence for people, never permission.
    pub confidence: u8,
    /// A later text of the same utterance may withdraw it; nothing is done on it.
    pub provisional: bool,
}

impl Signal {
    /// Evidence that is not in doubt: a key, a timer, the end of a prompt.
    pub fn certain(kind: SignalKind) -> Self {
        Self {
            kind,
            confidence: 100,
            provisional: false,
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
    /// The keys asked for are complete.
    Collected,
    /// Too few keys came in time.
    Incomplete,
    /// Something of this person happened elsewhere.
    Happened(String),
}

impl SignalKind {
    /// It comes from the caller, not from the line or from time.
    pub fn is_from_caller(&self) -> bool {
        match self {
            Self::Key(_) | Self::Phrase(_) | Self::Speech | Self::Collected => true,
            Self::Silence
            | Self::Said
            | Self::Answered(_)
            | Self::Beep
            | Self::Incomplete
            | Self::Happened(_) => false,
        }
    }
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
pub(crate) const TRIGGER_WORDS: [&str; 18] = [
    "any",
    "beep",
    "busy",
    "collected",
    "fax",
    "human",
    "incomplete",
    "ivr",
    "machine",
    "no_voice",
    "reorder",
    "ringback",
    "said",
    "screening",
    "silence",
    "sit",
    "speech",
    "unsure",
];

impl Trigger {
    /// Reads a key, `@happening` or one of the fixed words; `None` when it may be a phrase list.
    pub(crate) fn fixed(word: &str) -> Option<Self> {
        use AnswerClass as Class;
        if let Some(name) = word.strip_prefix('@').filter(|name| is_name(name)) {
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
            "fax" => SignalKind::Answered(Class::Fax),
            "human" => SignalKind::Answered(Class::Human),
            "incomplete" => SignalKind::Incomplete,
            "ivr" => SignalKind::Answered(Class::Ivr),
            "machine" => SignalKind::Answered(Class::Machine),
            "no_voice" => SignalKind::Answered(Class::Silence),
            "reorder" => SignalKind::Answered(Class::Reorder),
            "ringback" => SignalKind::Answered(Class::Ringback),
            "said" => SignalKind::Said,
            "screening" => SignalKind::Answered(Class::Screening),
            "silence" => SignalKind::Silence,
            "sit" => SignalKind::Answered(Class::Sit),
            "speech" => SignalKind::Speech,
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
    }

    #[test]
    fn any_takes_keys_alone() {
        assert!(Trigger::AnyKey.takes(&SignalKind::Key('7')));
        assert!(!Trigger::AnyKey.takes(&SignalKind::Speech));
    }
}
