//! Decision records: what was proposed, what was read, which rules decided.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::id::{ActionId, Name, Turn};

/// Rules by name; most decisions rest on few.
pub type Rules = SmallVec<[Name; 4]>;
/// Facts with their values; `None` = missing, which denies.
pub type Values = SmallVec<[(Name, Option<i64>); 4]>;

/// One decision of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub at: Duration,
    /// The proposal's id; for an external action the id upstream sees.
    pub action: ActionId,
    /// Action type, e.g. `say`, `schedule`.
    pub kind: Name,
    /// What in particular: a prompt key, a slot, a number.
    pub object: Name,
    /// Role in which it was proposed.
    pub role: Name,
    /// Stage in which it was proposed.
    pub stage: Name,
    /// Turn on which it was proposed.
    pub turn: Turn,
    /// It leaves the box (true), or is only said or played.
    pub external: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// Every rule that took part: those that denied when refused, those that
    /// applied when authorised.
    pub rules: Rules,
    /// The named values that these rules read.
    pub values: Values,
    /// Hash of the policy, in hex.
    pub policy: Name,
    /// What intent rested on, oldest first; of what leaves the box only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Weighed>,
}

/// One contribution to intent, as it stood at the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighed {
    /// What it was: `confirm`, `objection_price`, `slow_answer`, `reversal`.
    pub kind: Name,
    /// In which stage.
    pub stage: Name,
    /// The fact that it counts for: `intent`, `intent_price`.
    pub fact: Name,
    /// What it added, in thousandths.
    pub amount: i64,
    /// What was left of it, in thousandths.
    pub left: i64,
    /// How old it was, in ms.
    pub age_ms: u64,
}

/// Yes, no, or not by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Do it.
    Authorised,
    /// Do not, for the reasons in `rules`.
    Refused,
    /// Nothing stands against it, but a person has to approve it first.
    Asked,
    /// Nothing stands against it, but it is only recorded.
    Observed,
}

impl Verdict {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Refused => "refused",
            Self::Asked => "asked",
            Self::Observed => "observed",
        }
    }
}
