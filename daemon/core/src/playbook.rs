//! The playbook: roles, stages, what is said, what is awaited, what follows.
//!
//! This file holds the compiled form; `playbook/raw.rs` what stands in the TOML,
//! `playbook/compile.rs` the way from one to the other. `dialogue` walks it.

mod check;
mod compile;
mod raw;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::condition::Operator;
use crate::facts::{FactId, Facts};
use crate::id::Name;
use crate::intent::Thresholds;
use crate::interpret::Lexicon;
use crate::lease::Leases;
use crate::memory::{Freshness, Topic};
use crate::objection::Doubt;
use crate::signal::{Meaning, Trigger};
use crate::silence::Pace;

pub(crate) use compile::TRANSFER_VALUE;
pub use raw::{
    RawCollect, RawHandler, RawIntent, RawLimits, RawNotice, RawObjection, RawPhrases, RawPlaybook,
    RawPropose, RawRole, RawSilence, RawSkip, RawStage, RawTransfer, RawWanted,
};

/// Names every template may use, beside what the playbook sets and collects.
/// `party` is the other side's number, whoever called; `person` whom the route names for
/// callers who cannot be served, empty when nobody.
pub const CALL_NAMES: [&str; 5] = ["called", "caller", "party", "person", "trunk"];

/// A compiled playbook. Every name in it has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// Language of its prompts (BCP 47).
    pub language: String,
    /// Keys alone do not lead through it: nobody is let in while no words are heard.
    pub needs_words: bool,
    /// Times that hold in every stage.
    pub limits: Limits,
    /// What is said, by key.
    pub prompts: BTreeMap<String, String>,
    /// Said while an action takes long to become durable.
    pub bridge: Vec<Template>,
    /// How words become signals.
    pub lexicon: Lexicon,
    /// When the caller counts as ready.
    pub thresholds: Thresholds,
    /// What counts as evidence of intent; a stage may say otherwise.
    pub weights: Weights,
    /// What is answered to an objection.
    pub objections: BTreeMap<Doubt, Answers>,
    /// Prompts that must be, or are known to be, heard to their end.
    pub notices: Vec<Notice>,
    /// Its roles; every stage is of one.
    pub roles: Vec<Role>,
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
    /// Names of the sinks that secrets go to.
    pub fn sinks(&self) -> impl Iterator<Item = &str> {
        let collects = self.stages.iter().filter_map(|it| it.collect.as_ref());
        collects.filter_map(|it| Some(it.secret.as_ref()?.sink.as_str()))
    }

    /// The stage of that id.
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id.0]
    }

    /// The role of that id.
    pub fn role(&self, id: RoleId) -> &Role {
        &self.roles[id.0]
    }

    /// Intent halves in this time in that stage, in ms.
    pub fn half_life_ms(&self, id: StageId) -> u64 {
        let stage = self.stage(id);
        let of_role = self.role(stage.role).half_life_ms;
        stage.half_life_ms.unwrap_or(of_role)
    }

    /// What counts as evidence of intent in that stage.
    pub fn weights(&self, id: StageId) -> &Weights {
        self.stage(id).weights.as_ref().unwrap_or(&self.weights)
    }

    /// The stage of that name.
    pub fn find(&self, name: &str) -> Option<StageId> {
        let place = self.stages.iter().position(|stage| stage.name == name)?;
        Some(StageId(place))
    }
}

/// A stage of a playbook, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageId(pub(crate) usize);

/// A role of a playbook, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleId(pub(crate) usize);

/// Where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// In that stage.
    To(StageId),
    /// Where the role was entered from, as it was left: nothing is asked again.
    Back,
}

/// A role: what one session may be, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name, as policies grant to it.
    pub name: Name,
    /// All of these must hold to enter it.
    pub guards: Vec<Guard>,
    /// Intent halves in this time while it speaks, in ms; a stage may say otherwise.
    pub half_life_ms: u64,
}

/// A prompt of which it matters that it was heard to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its key.
    pub prompt: String,
    /// Said instead, before anything else and without being talked over, when it was cut.
    pub again: Option<String>,
    /// The facts that then hold.
    pub facts: Vec<FactId>,
}

/// What is answered to an objection: one after the other, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// In proportion: the first time the first.
    pub say: Vec<Vec<Template>>,
    /// Where it goes on when all are said.
    pub exhausted: StageId,
}

/// Evidence of intent, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    /// By what the words mean.
    pub words: Vec<(Meaning, i64)>,
    /// The caller talks over us.
    pub interruption: i64,
    /// The answer took at least twice as long as this caller's usually do.
    pub slow_answer: i64,
}

impl Weights {
    /// What words of that meaning count.
    pub fn of(&self, meaning: Meaning) -> i64 {
        let known = self.words.iter().find(|(known, _)| *known == meaning);
        known.map_or(0, |(_, weight)| *weight)
    }

    /// Words of that meaning count so much from now on.
    pub(crate) fn set(&mut self, meaning: Meaning, weight: i64) {
        match self.words.iter_mut().find(|(known, _)| *known == meaning) {
            Some((_, before)) => *before = weight,
            None => self.words.push((meaning, weight)),
        }
    }
}

/// How a caller gets to a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferWay {
    /// The person is called, told what it is about, and joined with the caller here.
    #[default]
    Bridge,
    /// The caller's side is asked to call the person (REFER); nobody is told before.
    Refer,
    /// The person is called and told; then the caller's side is asked to take our
    /// place (REFER with Replaces). Where it does not, they are joined here.
    Attended,
}

impl TransferWay {
    /// What the file may say.
    pub(crate) const WORDS: [(&'static str, Self); 3] = [
        ("attended", Self::Attended),
        ("bridge", Self::Bridge),
        ("refer", Self::Refer),
    ];
}

/// A person is to take the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Whom to call.
    pub to: Template,
    /// How the caller gets there.
    pub way: TransferWay,
    /// By which trunk; the caller's own, when none.
    pub trunk: Option<String>,
    /// How long it may ring, in ms.
    pub ring_ms: u64,
    /// What the caller hears meanwhile, again and again; nothing, when none.
    pub hold: Vec<Template>,
    /// What the person is told before the caller is connected.
    pub brief: Vec<Template>,
    /// By which signals the person takes the call; having heard the brief, when none.
    pub accept: Vec<Trigger>,
}

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
    /// After the end of speech, wait this long for its words at the least; without any,
    /// until the turn is over.
    pub words_ms: u64,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: Name,
    /// In which role it speaks and acts.
    pub role: RoleId,
    /// What is said on entering.
    pub say: Vec<Template>,
    /// The action type by which it is judged: `say`, or a voice action.
    pub say_as: String,
    /// Speech over it stops it.
    pub interruptible: bool,
    /// Its question in short, after something else had to be answered.
    pub ask: Vec<Template>,
    /// Nobody has spoken for this long: a silence signal, in ms.
    pub silence_ms: u64,
    /// What silence after its words means.
    pub pace: Pace,
    /// An `elapsed` signal comes so long after entering it, in ms.
    pub elapsed_ms: Option<u64>,
    /// Intent halves in this time here, in ms; in that of the role, when none.
    pub half_life_ms: Option<u64>,
    /// What counts as evidence here: `[evidence]` with what `[stage.evidence]` says
    /// otherwise; that of the playbook, when none.
    pub weights: Option<Weights>,
    /// A person is called on entering it.
    pub transfer: Option<Transfer>,
    /// A person has the call: nothing is said or awaited.
    pub handed_over: bool,
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

impl Stage {
    /// It collects keys that never come here.
    pub(crate) fn takes_secret(&self) -> bool {
        let collect = self.collect.as_ref();
        collect.is_some_and(|collect| collect.secret.is_some())
    }
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
    pub secret: Option<Secret>,
    /// The longest wait for a key, in ms.
    pub timeout_ms: u64,
}

/// Where a secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Name of a sink of the box.
    pub sink: String,
    /// It must end in its check digit.
    pub checked: bool,
}

/// What follows a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handler {
    /// Signals it takes.
    pub when: Vec<Trigger>,
    /// All of these must hold.
    pub guards: Vec<Guard>,
    /// How often it may be taken during one stay in a stage.
    pub at_most: Option<u32>,
    /// Values it sets; confirmations start anew.
    pub set: Vec<(Name, Name)>,
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
    /// The caller has agreed to the price, if it was heard.
    pub acknowledges_price: bool,
    /// What is said first.
    pub say: Vec<Template>,
    /// Keys that are pressed, as in a menu of the other side.
    pub press: Option<Template>,
    /// The action that is proposed.
    pub propose: Option<Arc<Propose>>,
    /// Where it goes on.
    pub go: Option<Go>,
    /// The call ends after what is said.
    pub hang_up: bool,
}

/// A condition on a fact or a collected value. What is missing does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// On a fact.
    Fact(FactId, Operator, i64),
    /// On a collected value.
    Value(Name, Operator, Name),
    /// On what is remembered of a value: `slot == fresh`.
    Recalled(String, Operator, Freshness),
    /// On what upstream offers at this instant, or does not: `slot.tuesday == offered`.
    Offered(String, bool),
}

/// What guards read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) values: &'a BTreeMap<Name, Name>,
    pub(crate) freshness: &'a BTreeMap<String, Freshness>,
    pub(crate) leases: &'a Leases,
    pub(crate) now: Duration,
}

impl Guard {
    /// Whether it holds.
    pub(crate) fn holds(&self, known: Known<'_>) -> bool {
        match self {
            Self::Fact(fact, operator, right) => known
                .facts
                .value(*fact)
                .is_some_and(|left| operator.holds(&left, right)),
            Self::Value(name, operator, right) => known
                .values
                .get(name)
                .is_some_and(|left| operator.holds(left, right)),
            Self::Recalled(name, operator, right) => {
                let found = known.freshness.get(name).copied();
                let same = found.unwrap_or(Freshness::Unknown) == *right;
                same == (*operator == Operator::Equal)
            }
            Self::Offered(offer, wanted) => known.leases.holds(offer, known.now) == *wanted,
        }
    }
}

impl core::fmt::Display for Guard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Fact(fact, operator, right) => {
                write!(f, "{} {} {right}", fact.name(), operator.sign())
            }
            Self::Value(name, operator, right) => {
                write!(f, "{name} {} '{right}'", operator.sign())
            }
            Self::Recalled(name, operator, right) => {
                write!(f, "{name} {} {}", operator.sign(), right.name())
            }
            Self::Offered(offer, true) => write!(f, "{offer} == offered"),
            Self::Offered(offer, false) => write!(f, "{offer} != offered"),
        }
    }
}

/// An action to be proposed, and what is said and done about each answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// How it is undone once it is on its way, where there are words for that.
    pub compensation: Option<Arc<Propose>>,
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
    pub go: Option<Go>,
}

/// Text with `{names}` in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(Name),
    /// The value of that name; nothing while it has none.
    Name(String),
}

impl Propose {
    /// What follows each turnout.
    pub fn answers(&self) -> [&Answer; 9] {
        let compensated = self.compensation.as_ref();
        [
            compensated.map_or(&self.passed_on, |undo| &undo.durable),
            &self.durable,
            &self.refused,
            &self.failed,
            &self.withdrawn,
            &self.passed_on,
            &self.accepted,
            &self.rejected,
            &self.late,
        ]
    }
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
                parts.push(Part::Text(rest[..open].into()));
            }
            parts.push(Part::Name(rest[open + 1..open + close].trim().to_owned()));
            rest = &rest[open + close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
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
    pub fn fill(&self, values: &BTreeMap<Name, Name>) -> Name {
        if let [Part::Text(text)] = &*self.0 {
            return text.clone();
        }
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::Name(name) => values.get(name.as_str()).map_or("", Name::as_str),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Catalogue;

    const WEIGHING: &str = "
name = 'p'
language = 'en'
start = 'plain'
[intent]
half_life_ms = 20000
[evidence]
confirm = 300
hesitation = -100
[[role]]
name = 'booking'
[[role]]
name = 'closing'
half_life_ms = 60000
[prompts]
bye = 'Goodbye.'
[phrases.confirm]
any = ['yes']
[phrases.hesitation]
any = ['hmm']
[silence]
reassure = ['bye']
close = 'bye'
[[on]]
when = ['2']
go = 'brief'
[[on]]
when = ['3']
go = 'long'
[[stage]]
name = 'plain'
role = 'booking'
[[stage]]
name = 'brief'
role = 'closing'
half_life_ms = 5000
evidence = { confirm = 20, interruption = -50 }
[[stage]]
name = 'long'
role = 'closing'
evidence = { hesitation = 0 }
[[stage]]
name = 'bye'
role = 'booking'
say = ['bye']
end = true
";

    #[test]
    fn a_stage_says_otherwise_than_its_role_and_playbook_and_else_nothing_changes() {
        let raw: RawPlaybook = toml::from_str(WEIGHING).unwrap();
        let playbook = Playbook::compile(&raw, &Catalogue::default()).unwrap();
        // Stage; half-life in ms; weights of a yes, of hesitation, of an interruption.
        for (stage, half_life_ms, confirm, hesitation, interruption) in [
            ("plain", 20_000, 300, -100, 0),
            ("brief", 5_000, 20, -100, -50),
            ("long", 60_000, 300, 0, 0),
            ("bye", 20_000, 300, -100, 0),
        ] {
            let id = playbook.find(stage).unwrap();
            let weights = playbook.weights(id);
            assert_eq!(playbook.half_life_ms(id), half_life_ms, "{stage}");
            assert_eq!(weights.of(Meaning::Confirm), confirm, "{stage}");
            assert_eq!(weights.of(Meaning::Hesitation), hesitation, "{stage}");
            assert_eq!(weights.interruption, interruption, "{stage}");
        }
    }
}
