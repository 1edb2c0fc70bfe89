//! The playbook: roles, stages, what is said, what is awaited, what follows.
//!
//! This file holds the compiled form; `playbook/raw.rs` what stands in the TOML,
//! `playbook/compile.rs` the way from one to the other. `dialogue` walks it.

mod compile;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::condition::Operator;
use crate::facts::{FactId, Facts};
use crate::interpret::Lexicon;
use crate::memory::{Freshness, Topic};
use crate::signal::Trigger;

pub use raw::{
    RawCollect, RawHandler, RawLimits, RawPhrases, RawPlaybook, RawPropose, RawSkip, RawStage,
    RawWanted,
};

/// Names every template may use, beside what the playbook sets and collects.
/// `party` is the other side's number, whoever called.
pub const CALL_NAMES: [&str; 4] = ["called", "caller", "party", "trunk"];

/// A compiled playbook. Every name in it has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// Language of its prompts (BCP 47).
    pub language: String,
    /// Times that hold in every stage.
    pub limits: Limits,
    /// What is said, by key.
    pub prompts: BTreeMap<String, String>,
    /// Said while an action takes long to become durable.
    pub bridge: Vec<Template>,
    /// How words become signals.
    pub lexicon: Lexicon,
    /// Where it starts.
    pub start: StageId,
    /// Its stages.
    pub stages: Vec<Stage>,
    /// What is remembered from one contact to the next, by name.
    pub memory: BTreeMap<String, Wanted>,
    /// Handlers of every stage but the final ones, after the stage's own.
    pub everywhere: Vec<Handler>,
}

impl Playbook {
    /// The stage of that id.
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.0]
    }

    /// The stage of that name.
    pub fn find(&self, name: &str) -> Option<StageId> {
        let place = self.stages.iter().position(|stage| stage.name == name)?;
        Some(StageId(place))
    }
}

/// A stage of a playbook, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageId(pub(crate) usize);

/// Times of a playbook, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Inbound: ring this long before answering.
    pub answer_after_ms: u64,
    /// Outbound: give up when nobody has answered.
    pub ring_ms: u64,
    /// The longest call.
    pub call_ms: u64,
    /// Hang up when no packet has come for this long.
    pub media_lost_ms: u64,
    /// After the end of speech, wait this long for its words.
    pub words_ms: u64,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// In which role it speaks and acts.
    pub role: String,
    /// What is said on entering.
    pub say: Vec<Template>,
    /// The action type by which it is judged: `say`, or a voice action.
    pub say_as: String,
    /// Speech over it stops it.
    pub interruptible: bool,
    /// Nobody has spoken for this long: a silence signal, in ms.
    pub silence_ms: u64,
    /// Keys to be collected.
    pub collect: Option<Collect>,
    /// What the conversation has reached with this stage.
    pub result: Option<String>,
    /// Where it goes on instead, when all of the guards hold on entering.
    pub skip: Vec<Skip>,
    /// The call ends when everything is said.
    pub end: bool,
    /// What is awaited; the first that fits is taken.
    pub on: Vec<Handler>,
}

/// What is remembered of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Older than this it has to be confirmed, in ms.
    pub shelf_ms: u64,
    /// All that this playbook has words for; `None` = anything.
    pub known: Option<BTreeSet<String>>,
}

impl Wanted {
    /// The playbook has words for it.
    pub fn admits(&self, value: &str) -> bool {
        self.known
            .as_ref()
            .is_none_or(|known| known.contains(value))
    }
}

/// A way past a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// All of these must hold.
    pub guards: Vec<Guard>,
    /// Where it goes on.
    pub go: StageId,
}

/// What a signal says of who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identifies {
    /// It is who we took them for: they said so.
    Named,
    /// It is, and that was checked.
    Verified,
    /// It is somebody else.
    Other,
}

/// Keys to be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collect {
    /// Under which name they are kept.
    pub name: String,
    /// How many, at most.
    pub digits: usize,
    /// Ends the collection early.
    pub terminator: Option<char>,
    /// They end at the media edge; only their number is known here.
    pub secret: bool,
    /// The longest wait for a key, in ms.
    pub timeout_ms: u64,
}

/// What follows a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Signals it takes.
    pub when: Vec<Trigger>,
    /// All of these must hold.
    pub guards: Vec<Guard>,
    /// How often it may be taken during one stay in a stage.
    pub at_most: Option<u32>,
    /// Values it sets; confirmations start anew.
    pub set: Vec<(String, String)>,
    /// What it says of who speaks.
    pub identifies: Option<Identifies>,
    /// Remembered values that it confirms: they are fresh again.
    pub keeps: Vec<String>,
    /// Values that no longer hold; they are to be asked again.
    pub forgets: Vec<String>,
    /// What is to be remembered of the person: topic, name, value.
    pub remember: Vec<(Topic, String, Template)>,
    /// Evidence of intent, in thousandths.
    pub intent: i64,
    /// The caller has explicitly confirmed.
    pub confirms: bool,
    /// What is said first.
    pub say: Vec<Template>,
    /// The action that is proposed.
    pub propose: Option<Arc<Propose>>,
    /// Where it goes on.
    pub go: Option<StageId>,
    /// The call ends after what is said.
    pub hang_up: bool,
}

/// A condition on a fact or a collected value. What is missing does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// On a fact.
    Fact(FactId, Operator, i64),
    /// On a collected value.
    Value(String, Operator, String),
    /// On what is remembered of a value: `slot == fresh`.
    Recalled(String, Operator, Freshness),
}

impl Guard {
    /// Whether it holds.
    pub fn holds(
        &self,
        facts: &Facts,
        values: &BTreeMap<String, String>,
        freshness: &BTreeMap<String, Freshness>,
    ) -> bool {
        match self {
            Self::Fact(fact, operator, right) => facts
                .value(*fact)
                .is_some_and(|left| operator.holds(&left, right)),
            Self::Value(name, operator, right) => values
                .get(name)
                .is_some_and(|left| operator.holds(left, right)),
            Self::Recalled(name, operator, right) => {
                let known = freshness.get(name).copied();
                let same = known.unwrap_or(Freshness::Unknown) == *right;
                same == (*operator == Operator::Equal)
            }
        }
    }
}

/// An action to be proposed, and what is said and done about each answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propose {
    /// Action type.
    pub action: String,
    /// Its fields.
    pub fields: Vec<(String, Template)>,
    /// Signals that withdraw it while it is held.
    pub deny: Vec<Trigger>,
    /// It is durable.
    pub durable: Answer,
    /// The gate refused it.
    pub refused: Answer,
    /// The store could not keep it.
    pub failed: Answer,
    /// It was withdrawn in time.
    pub withdrawn: Answer,
    /// It was to be withdrawn, but is on its way.
    pub passed_on: Answer,
    /// The upstream accepted it.
    pub accepted: Answer,
    /// The upstream refused it.
    pub rejected: Answer,
    /// The upstream has not answered in time.
    pub late: Answer,
}

/// What is said, and where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What is said.
    pub say: Vec<Template>,
    /// The next stage; here, when none.
    pub go: Option<StageId>,
}

/// Text with `{names}` in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// The value of that name; nothing while it has none.
    Name(String),
}

impl Template {
    /// Reads `{names}`; an unclosed brace is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..]
                .find('}')
                .ok_or_else(|| format!("`{text}`: `{{` is not closed"))?;
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            parts.push(Part::Name(rest[open + 1..open + close].trim().to_owned()));
            rest = &rest[open + close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Names it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Name(name) => Some(name.as_str()),
        })
    }

    /// The text with these values.
    pub fn fill(&self, values: &BTreeMap<String, String>) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Name(name) => values.get(name).map_or("", String::as_str),
            })
            .collect()
    }
}
