//! The JSON of the control socket, both ways. A field may be added; none may
//! change its meaning.

use std::collections::BTreeMap;
use std::path::PathBuf;

use offhook_core::Weighed;
use offhook_core::output::Attempt;
use offhook_core::{Limit, Override};
use serde::{Deserialize, Serialize};

use crate::store::Direction;
use crate::vigil::Tally;

/// `GET /v1/status`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since its start.
    pub uptime_ms: u64,
    /// Signalling.
    pub sip: Vec<SipListener>,
    /// Trunks, in the order of the config file.
    #[serde(default)]
    pub trunks: Vec<TrunkStatus>,
    /// Calls.
    pub calls: CallCounts,
    /// Slots of the media threads.
    pub media: MediaCounts,
    /// The database.
    pub store: StoreStatus,
    /// What waits for the upstream.
    pub outbox: OutboxStatus,
    /// The upstream and the sinks of secrets: what the last try came to.
    #[serde(default)]
    pub receivers: Vec<ReceiverStatus>,
    /// Why nothing is recorded at the moment, where something should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_recording: Option<String>,
    /// Playbooks that cannot be used, by name, and why: their callers get the fallback
    /// of their route.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<String, String>,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// A SIP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipListener {
    /// `udp`.
    pub transport: String,
    /// Address with the real port.
    pub address: String,
    /// The port alone, for scripts.
    pub port: u16,
    /// As in the config file: `udp:127.0.0.1:5060`.
    pub listen: String,
}

/// How a trunk stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkStatus {
    /// Its name in the config file.
    pub name: String,
    /// `up`, `down`, or `unknown` when nobody asks it.
    pub state: String,
    /// For how long it has been so; `None` when nothing was ever heard.
    pub for_ms: Option<u64>,
    /// Why it is down.
    pub reason: Option<String>,
    /// Where its calls go.
    pub address: Option<String>,
}

/// How many calls there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCounts {
    /// All that live.
    pub active: u64,
    /// Not answered yet.
    pub ringing: u64,
    /// Answered.
    pub talking: u64,
}

/// Slots of the media threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaCounts {
    /// Taken.
    pub used: u64,
    /// All.
    pub slots: u64,
    /// Threads.
    pub threads: u64,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The file.
    pub path: PathBuf,
    /// Why nothing can be written at the moment; absent when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// Writes committed.
    pub writes: u64,
    /// Writes that were not taken or given up.
    pub lost: u64,
    /// The file was damaged at start, and salvaged.
    pub salvaged: bool,
}

/// What waits for the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// To be sent.
    pub pending: u64,
    /// Authorised, not released yet.
    pub held: u64,
    /// Denied before their release.
    pub withdrawn: u64,
    /// Sent and taken.
    pub delivered: u64,
    /// Given up: somebody has to look.
    pub dead: u64,
    /// Of these, what should have undone something that took effect.
    #[serde(default)]
    pub not_undone: u64,
    /// Age of the oldest that is to be sent.
    pub oldest_ms: u64,
}

/// Who is delivered to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// `upstream`, or the name of a sink.
    pub name: String,
    /// Why the last try failed; nothing after one that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Not answered yet.
    Ringing,
    /// Answered.
    Talking,
    /// Over.
    Ended,
}

impl CallState {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Talking => "talking",
            Self::Ended => "ended",
        }
    }
}

/// A call as the decision thread knows it; the rest is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCall {
    /// Its id.
    pub id: offhook_core::ConversationId,
    /// It is answered.
    pub talking: bool,
    /// Stage of its playbook, where it has one.
    pub stage: Option<String>,
    /// Role in it.
    pub role: Option<String>,
}

/// One of `GET /v1/calls`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// Its id.
    pub id: String,
    /// Who began it.
    pub direction: Direction,
    /// By which trunk.
    pub trunk: String,
    /// Caller; empty when anonymous.
    pub caller: String,
    /// Called user.
    pub called: String,
    /// Playbook or test.
    pub playbook: String,
    /// How far it is.
    pub state: CallState,
    /// Wall time of the INVITE, ms since 1970.
    pub started_ms: u64,
    /// From the INVITE to the end, or to now.
    pub duration_ms: u64,
    /// Stage of its playbook, while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Role in it, while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What it reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// Which part of the daemon a line of the timeline is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// SIP.
    Signalling,
    /// What was heard.
    Perception,
    /// What the gate said.
    Decision,
    /// What was done.
    Action,
    /// Anything else.
    Note,
}

impl Lane {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signalling => "signalling",
            Self::Perception => "perception",
            Self::Decision => "decision",
            Self::Action => "action",
            Self::Note => "note",
        }
    }
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it happened, since the INVITE.
    pub ms: u64,
    /// What it belongs to.
    pub lane: Lane,
    /// Its name: `invite`, `barge_in`, `refused`, …
    pub event: String,
    /// The particulars, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The particulars, for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, serde_json::Value>,
}

/// A recording and how it lies on the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapeInfo {
    /// The stereo WAV: left what was heard, right what was said.
    pub file: PathBuf,
    /// Its first sample, since the INVITE.
    pub starts_ms: u64,
}

/// `GET /v1/calls/{id}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallDetail {
    /// The call.
    pub call: CallRow,
    /// What happened, by time.
    pub timeline: Vec<TimelineEntry>,
    /// Its recording, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<TapeInfo>,
}

/// `GET /v1/calls/{id}/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The call.
    pub call: CallRow,
    /// Name and version of its playbook; empty where its log is not kept.
    #[serde(default)]
    pub playbook: String,
    /// What the gate was asked, by time.
    pub decisions: Vec<Decision>,
    /// By which signatures and detours the call came, and what was refused of its SDP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origin: Vec<TimelineEntry>,
    /// What came of each person who was called for the caller, once the call is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persons: Vec<Attempt>,
}

/// One decision of the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When, since the INVITE.
    pub ms: u64,
    /// Id of the action, as upstream sees it.
    pub action: String,
    /// Its type.
    pub kind: String,
    /// What in particular.
    pub object: String,
    /// Role in which it was proposed.
    pub role: String,
    /// Stage in which it was proposed.
    pub stage: String,
    /// It leaves the box.
    pub external: bool,
    /// `authorised` or `refused`.
    pub verdict: String,
    /// The rules that decided.
    pub rules: Vec<Rule>,
    /// What they read; `null` is missing, which denies.
    pub values: BTreeMap<String, Option<i64>>,
    /// Hash of the policy.
    pub policy: String,
    /// What intent rested on, of what leaves the box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Weighed>,
    /// Where the action stands: `held`, `pending`, `delivered`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A rule that took part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name in the policy.
    pub id: String,
    /// Its reason, in the words of the policy that holds now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One line of `GET /v1/events`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which call.
    pub call: String,
    /// What happened.
    #[serde(flatten)]
    pub entry: TimelineEntry,
}

/// `POST /v1/calls`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Whom to call: number or SIP URI.
    pub to: String,
    /// Playbook; the config's when absent.
    #[serde(default)]
    pub playbook: Option<String>,
    /// Trunk; the config's when absent.
    #[serde(default)]
    pub trunk: Option<String>,
    /// The basis on which the lead has agreed to be called, where there is one.
    #[serde(default)]
    pub consent: Option<String>,
}

/// What `POST /v1/calls` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The new call.
    pub id: String,
}

/// What every refusal answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong, and what to do.
    pub error: String,
}

impl Failure {
    /// A refusal for that reason.
    pub fn new(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
        }
    }
}

/// One of `GET /v1/approvals`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRow {
    /// Id of the action.
    pub action: String,
    /// Its type.
    pub kind: String,
    /// What in particular.
    pub object: String,
    /// Role in which it was proposed.
    pub role: String,
    /// The lead it is about.
    pub lead: String,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
    /// It is refused unless somebody answers within this time.
    pub left_ms: u64,
}

/// `POST /v1/approvals/{id}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Do it, or do not.
    pub approve: bool,
    /// Who says so.
    pub by: String,
}

/// `POST /v1/decrees`: one change, by a person with a name and a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decree {
    /// How far an action may go by itself.
    Limit(Limit),
    /// A rule does not deny for a time.
    Override(OverrideOrder),
    /// An override ends before its time.
    EndOverride {
        /// Which.
        id: String,
        /// Who ends it.
        by: String,
    },
}

/// A rule is to be lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideOrder {
    /// Which rule of the policy.
    pub rule: String,
    /// For this action type only.
    #[serde(default)]
    pub action: Option<String>,
    /// In this role only.
    #[serde(default)]
    pub role: Option<String>,
    /// For this lead only.
    #[serde(default)]
    pub lead: Option<String>,
    /// For so many seconds.
    pub for_s: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What `POST /v1/decrees` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decreed {
    /// In a sentence, as it stands in the audit chain.
    pub said: String,
}

/// `GET /v1/decrees`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingNow {
    /// Levels that hold instead of the policy's.
    pub limits: Vec<Limit>,
    /// Rules that do not deny, and for how many more ms.
    pub overrides: Vec<(Override, u64)>,
    /// How the recent actions fared: what speaks for widening again.
    pub evidence: Vec<Tally>,
}

/// `POST /v1/policy`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// What to call it in faults.
    pub file: String,
    /// The TOML; the one that the config names, read anew, when absent.
    #[serde(default)]
    pub text: Option<String>,
    /// Who activates it.
    pub by: String,
}

/// What `POST /v1/policy` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyNow {
    /// Its name.
    pub name: String,
    /// Its hash, as in records.
    pub hash: String,
    /// Running calls that go by it now.
    pub calls: usize,
    /// What changed, one line each.
    pub changes: Vec<String>,
}
