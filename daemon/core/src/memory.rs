//! What is known of a person, across calls and channels: facts as transitions.
//!
//! Nothing overwrites: a correction is one more transition, which supersedes the
//! earlier one of the same topic and name; both remain. It keeps and recalls and
//! decides nothing; a conversation gets it with `Event::Remembered`, the daemon
//! holds it between calls and the store for ever.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{BadId, ConversationId, Name};

/// Transitions that are kept in memory of one lead; beyond it the oldest
/// superseded one gives way here, and stays in the store.
pub const TRANSITIONS_MAX: usize = 256;
/// Characters of a name and of a value; longer ones are cut, as they go into rows.
pub const TEXT_MAX: usize = 500;

/// One person as far as we know, for ever. Made by the daemon; written like a
/// conversation's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeadId(pub u64);

impl fmt::Display for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ConversationId(self.0).fmt(f)
    }
}

impl FromStr for LeadId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.parse().map(|ConversationId(id)| Self(id))
    }
}

/// How sure it is who speaks. What is remembered may be used from `Number` on
/// and spoken from `Named` on: a shared telephone must not hear another
/// person's price.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Nobody known: no number, none that can be told, or one that is forged.
    #[default]
    None,
    /// The number is known.
    Number,
    /// The person has said who they are.
    Named,
    /// That was checked, or the network vouches for the number of a named person.
    Verified,
}

impl Identity {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Number => "number",
            Self::Named => "named",
            Self::Verified => "verified",
        }
    }

    /// As the fact `identity_level`.
    pub const fn level(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Number => 1,
            Self::Named => 2,
            Self::Verified => 3,
        }
    }

    /// What is remembered may be acted on.
    pub fn may_use(self) -> bool {
        self >= Self::Number
    }

    /// What is remembered may be said aloud.
    pub fn may_speak(self) -> bool {
        self >= Self::Named
    }
}

/// What a network says about a caller's number (ATIS-1000074, `verstat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attestation {
    /// Nothing.
    #[default]
    Unknown,
    /// It vouches that the caller may use the number.
    Passed,
    /// The number is forged.
    Failed,
}

/// What a transition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// What was asked and answered.
    Answer,
    /// Something promised: an authorised action, by its type.
    Commitment,
    /// Something promised in part, or under a condition.
    Partial,
    /// An objection and where it stands.
    Objection,
    /// A price that was acknowledged.
    Price,
    /// What must not be, or must be.
    Constraint,
    /// What would be liked.
    Preference,
    /// Agreement to be contacted, with its basis.
    Consent,
    /// Wants no contact.
    OptOut,
    /// An attempt or a contact, and what came of it.
    Contact,
    /// Who they are: name, external ids.
    Person,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 11] = [
        Self::Answer,
        Self::Commitment,
        Self::Partial,
        Self::Objection,
        Self::Price,
        Self::Constraint,
        Self::Preference,
        Self::Consent,
        Self::OptOut,
        Self::Contact,
        Self::Person,
    ];

    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Commitment => "commitment",
            Self::Partial => "partial",
            Self::Objection => "objection",
            Self::Price => "price",
            Self::Constraint => "constraint",
            Self::Preference => "preference",
            Self::Consent => "consent",
            Self::OptOut => "opt_out",
            Self::Contact => "contact",
            Self::Person => "person",
        }
    }

    /// The topic of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// Where something was learned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// In a conversation.
    Call(ConversationId),
    /// From a file that was imported.
    Import,
    /// From another channel or system, by its message's id.
    Event(String),
    /// From a person at the box.
    Operator,
}

/// Something learned, at a time, from somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// What it is about.
    pub topic: Topic,
    /// Which in particular: `slot`, `price_too_high`.
    pub name: Name,
    /// What it is now; `None`: no longer so.
    pub value: Option<Name>,
    /// Wall time, ms since 1970.
    pub at_ms: u64,
    /// Where it was learned.
    pub source: Source,
    /// 0 to 100; evidence for people, never permission.
    pub confidence: u8,
}

impl Transition {
    /// Something certain; texts are cut to [`TEXT_MAX`] characters.
    pub fn new(topic: Topic, name: &str, value: Option<&str>, at_ms: u64, source: Source) -> Self {
        let cut = |text: &str| text.chars().take(TEXT_MAX).collect::<Name>();
        Self {
            topic,
            name: cut(name),
            value: value.map(cut),
            at_ms,
            source,
            confidence: 100,
        }
    }

    /// It is about the same thing.
    fn concerns(&self, other: &Self) -> bool {
        self.topic == other.topic && self.name == other.name
    }
}

/// What is remembered of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall<'a> {
    /// Known: not to be asked again.
    Fresh(&'a str),
    /// Known once: to be confirmed.
    Stale(&'a str),
    /// Never known, or no longer so: to be asked.
    Unknown,
}

/// How much of what is remembered still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Within its shelf life.
    Fresh,
    /// Beyond it.
    Stale,
    /// Nothing is remembered.
    Unknown,
}

impl Freshness {
    /// The words of guards: `slot == fresh`.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("fresh", Self::Fresh),
        ("stale", Self::Stale),
        ("unknown", Self::Unknown),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(_, known)| *known == self);
        word.expect("each has a word").0
    }
}

/// All that is known of one lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In the order in which they were learned.
    transitions: Vec<Transition>,
}

impl Memory {
    /// The memory that these make, in this order.
    pub fn of(transitions: impl IntoIterator<Item = Transition>) -> Self {
        let mut memory = Self::default();
        for transition in transitions {
            memory.learn(transition);
        }
        memory
    }

    /// Learns something. False when it is known so already, from whatever
    /// source: telling a thing twice is no news. A contact is news each time.
    /// What comes late is put in its place and supersedes nothing newer.
    pub fn learn(&mut self, transition: Transition) -> bool {
        let lasting = transition.topic != Topic::Contact;
        let known = self.current(transition.topic, &transition.name);
        if lasting && known.is_some_and(|known| known.value == transition.value) {
            let known = known.expect("just found");
            // Said again later: it is fresh again, which is news for its age alone.
            if transition.at_ms <= known.at_ms || !matters_again(&transition) {
                return false;
            }
        } else if lasting && known.is_none() && transition.value.is_none() {
            return false;
        }
        if self.transitions.contains(&transition) {
            return false;
        }
        let later = |known: &Transition| known.at_ms > transition.at_ms;
        let place = self.transitions.iter().position(later);
        let place = place.unwrap_or(self.transitions.len());
        self.transitions.insert(place, transition);
        self.give_way();
        true
    }

    /// The oldest that was superseded goes, else the oldest contact, else the oldest.
    fn give_way(&mut self) {
        if self.transitions.len() <= TRANSITIONS_MAX {
            return;
        }
        let superseded = |place: &usize| {
            let old = &self.transitions[*place];
            let newer = &self.transitions[*place + 1..];
            newer.iter().any(|transition| transition.concerns(old))
        };
        let place = (0..self.transitions.len()).find(superseded).unwrap_or(0);
        self.transitions.remove(place);
    }

    /// The newest transition of that topic and name.
    pub fn current(&self, topic: Topic, name: &str) -> Option<&Transition> {
        let mut newest = self.transitions.iter().rev();
        newest.find(|known| known.topic == topic && known.name == name)
    }

    /// What is remembered of an answer, a constraint or a preference of that
    /// name; stale when learned longer than `shelf_ms` ago.
    pub fn recall(&self, name: &str, now_ms: u64, shelf_ms: u64) -> Recall<'_> {
        let topics = [Topic::Answer, Topic::Constraint, Topic::Preference];
        let mut newest = self.transitions.iter().rev();
        let found = newest.find(|known| known.name == name && topics.contains(&known.topic));
        match found.and_then(|known| Some((known.at_ms, known.value.as_deref()?))) {
            None => Recall::Unknown,
            Some((at_ms, value)) if now_ms.saturating_sub(at_ms) > shelf_ms => Recall::Stale(value),
            Some((_, value)) => Recall::Fresh(value),
        }
    }

    /// Everything, oldest first.
    pub fn transitions(&self) -> &[Transition] {
        &self.transitions
    }

    /// What holds now, the newest of each topic and name, oldest first; of
    /// contacts the newest of each kind.
    pub fn holding(&self) -> impl Iterator<Item = &Transition> {
        self.transitions
            .iter()
            .enumerate()
            .filter_map(|(place, known)| {
                let newer = &self.transitions[place + 1..];
                let superseded = newer.iter().any(|other| other.concerns(known));
                (!superseded && known.value.is_some()).then_some(known)
            })
    }

    /// Takes in what another lead, which is the same person, is known by.
    pub fn merge(&mut self, other: &Self) {
        for transition in &other.transitions {
            self.learn(transition.clone());
        }
    }
}

/// An answer that is given again is younger for it; an import that is repeated is not.
fn matters_again(transition: &Transition) -> bool {
    match transition.source {
        Source::Call(_) => true,
        Source::Import | Source::Event(_) | Source::Operator => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CALL: Source = Source::Call(ConversationId(1));

    fn answer(value: Option<&str>, at_ms: u64, source: Source) -> Transition {
        Transition::new(Topic::Answer, "slot", value, at_ms, source)
    }

    #[test]
    fn a_correction_supersedes_and_both_remain() {
        let mut memory = Memory::default();
        assert!(memory.learn(answer(Some("tuesday"), 10, CALL)));
        assert!(memory.learn(answer(Some("thursday"), 20, CALL)));
        assert_eq!(memory.recall("slot", 20, 100), Recall::Fresh("thursday"));
        assert_eq!(memory.transitions().len(), 2);
        assert_eq!(memory.holding().count(), 1);
        assert!(memory.learn(answer(None, 30, CALL)));
        assert_eq!(memory.recall("slot", 30, 100), Recall::Unknown);
        assert_eq!(memory.transitions().len(), 3);
    }

    #[test]
    fn what_is_old_is_stale_and_said_again_it_is_fresh() {
        let mut memory = Memory::default();
        memory.learn(answer(Some("tuesday"), 10, CALL));
        assert_eq!(memory.recall("slot", 110, 100), Recall::Fresh("tuesday"));
        assert_eq!(memory.recall("slot", 111, 100), Recall::Stale("tuesday"));
        assert!(memory.learn(answer(Some("tuesday"), 111, CALL)));
        assert_eq!(memory.recall("slot", 111, 100), Recall::Fresh("tuesday"));
        // A clock that was set back makes nothing stale.
        assert_eq!(memory.recall("slot", 5, 0), Recall::Fresh("tuesday"));
    }

    #[test]
    fn the_same_import_twice_is_no_news_and_a_late_one_supersedes_nothing() {
        let mut memory = Memory::default();
        assert!(memory.learn(answer(Some("tuesday"), 10, Source::Import)));
        assert!(!memory.learn(answer(Some("tuesday"), 20, Source::Import)));
        assert!(memory.learn(answer(Some("friday"), 5, CALL)));
        assert_eq!(memory.recall("slot", 20, 100), Recall::Fresh("tuesday"));
    }

    #[test]
    fn every_contact_is_news() {
        let contact = |at| Transition::new(Topic::Contact, "outbound", Some("busy"), at, CALL);
        let mut memory = Memory::default();
        assert!(memory.learn(contact(1)) && memory.learn(contact(2)));
        assert!(!memory.learn(contact(2)), "the same one");
    }

    proptest! {
        #[test]
        fn what_holds_never_gives_way_to_what_was_superseded(
            learned in prop::collection::vec((0u8..40, 0u8..6, 0u64..1000), 1..600),
        ) {
            let mut memory = Memory::default();
            let mut newest = std::collections::BTreeMap::new();
            for (n, (name, value, step)) in learned.iter().enumerate() {
                let at_ms = n as u64 * 1000 + step;
                let (name, value) = (name.to_string(), value.to_string());
                memory.learn(Transition::new(Topic::Answer, &name, Some(&value), at_ms, CALL));
                newest.insert(name, value);
                prop_assert!(memory.transitions().len() <= TRANSITIONS_MAX);
                prop_assert!(memory.transitions().is_sorted_by_key(|known| known.at_ms));
            }
            for (name, value) in newest {
                prop_assert_eq!(memory.recall(&name, 0, 0), Recall::Fresh(&value));
            }
        }

        #[test]
        fn a_merge_loses_nothing_and_is_the_same_either_way(
            one in prop::collection::vec((0u8..5, 0u64..1000), 0..40),
            two in prop::collection::vec((0u8..5, 1000u64..2000), 0..40),
        ) {
            let made = |rows: &[(u8, u64)]| Memory::of(rows.iter().map(|(name, at)| {
                Transition::new(Topic::Answer, &name.to_string(), Some(&at.to_string()), *at, CALL)
            }));
            let (mut left, mut right) = (made(&one), made(&two));
            let (first, second) = (left.clone(), right.clone());
            left.merge(&second);
            right.merge(&first);
            for known in first.transitions().iter().chain(second.transitions()) {
                prop_assert!(left.transitions().contains(known));
                prop_assert!(right.transitions().contains(known));
            }
            let holding = |memory: &Memory| {
                let mut all: Vec<_> = memory.holding().cloned().collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                all
            };
            prop_assert_eq!(holding(&left), holding(&right));
        }
    }
}
