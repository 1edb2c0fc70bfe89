//! All that a conversation can ask for. The daemon carries these out in order.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStrBuilder;

use crate::id::{ActionId, LegId, Name, Seq, Turn};
use crate::input::{Cause, Referral};
use crate::memory::{Identity, Transition};
use crate::record::Record;

/// What `poll` gives; drained until `Wait`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Do this now.
    Do(LegId, Command),
    /// A decision was taken. Those on external actions are kept at once (inside
    /// `Persist` when authorised), the others ride with the next flush of the log.
    Decided(Record),
    /// A person has to approve this action; the answer comes back as
    /// `Event::Approval`, or too late.
    Ask(Approval),
    /// Keep these actions; the answer comes back as `Event::Stored`.
    Persist(Persist),
    /// A held action may be sent now.
    Release(ActionId),
    /// A held action is withdrawn: kept in the books, never sent. Just before
    /// `Ended` also one for which the store has not answered `Persist` yet.
    Withdraw(ActionId),
    /// Something new is known of the person.
    Learned(Transition),
    /// The person is known better now.
    Identified(Identity),
    /// Somebody else speaks than the lead we took them for: what follows is
    /// theirs. Answered with `Event::Remembered`.
    OtherPerson,
    /// The conversation is over; the last thing it says but `Wait`. Should the
    /// store never have answered, actions of it that are still held are released.
    Ended(Outcome),
    /// Nothing more for now; wake me then, or not at all.
    Wait(Option<Duration>),
}

/// What to do on a leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Tell the caller that it rings.
    Ring,
    /// Answer the call.
    Answer,
    /// Refuse the call.
    Refuse(Cause),
    /// Call out.
    Dial {
        /// Whom.
        to: String,
        /// By which trunk.
        trunk: String,
        /// The call there whose place this one takes, as `Replaces` names it.
        replaces: Option<String>,
    },
    /// End the leg in whatever state it is; its peer hears why.
    HangUp(Cause),
    /// Say something; `Played` answers with the same number.
    Play(Play),
    /// Fade the prompt out within the next packet, and raise the turn. Never
    /// stale: silence is right on any turn.
    Stop {
        /// The turn it was decided on.
        turn: Turn,
    },
    /// Go on with the last prompt from the last word boundary heard.
    Resume {
        /// The turn it was decided on.
        turn: Turn,
        /// The number under which `Played` will answer.
        play: u32,
    },
    /// Press keys, one after the other: `0`-`9`, `*`, `#`, `A`-`D`; others are none.
    Press {
        /// 32 at most.
        keys: String,
    },
    /// Collect keys; those of a secret end at the media edge, which answers `Sealed`
    /// when they are complete. What was sealed before is erased.
    Collect {
        /// What to wait for, where the keys are secret.
        secret: Option<SecretKeys>,
    },
    /// Give what is sealed to that sink, once, and erase it; `HandedOver` answers.
    HandOver {
        /// Name of the sink.
        sink: String,
        /// Under this id.
        id: ActionId,
    },
    /// Let this leg and that one hear each other, and nothing of us; `Joined` or
    /// `JoinFailed` answers. Ending one of them does not end the other.
    Join {
        /// The other leg.
        with: LegId,
    },
    /// Ask the far end to call somebody else, and to leave us; `Referral` answers,
    /// with how it goes. Until it has got there, the leg is as it was.
    Refer {
        /// Whom.
        to: String,
        /// By which trunk's rules the number is written and allowed.
        trunk: String,
    },
    /// The same, with the far end of another leg of ours: that leg ends as the
    /// other two begin to talk.
    ReferToLeg {
        /// That leg.
        with: LegId,
    },
    /// Answer to `AskedOnward`: it is done, or not.
    TakeReferral {
        /// We call there.
        taken: bool,
    },
    /// Tell the far end that asked how it goes with whom we called for it.
    ReportReferral {
        /// `Rings`, `Reached` or `Missed`; the others say nothing.
        how: Referral,
    },
    /// Return the caller's audio (a test destination).
    Echo,
    /// Send 1004 Hz (a test destination): the test frequency of ITU-T O.6,
    /// kept off a submultiple of the sampling rate.
    TestTone,
}

/// When the keys of a secret are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretKeys {
    /// So many at most.
    pub digits: u8,
    /// Or this key, which is none of them.
    pub terminator: Option<char>,
}

/// Keys of prompts; most are said alone or in a pair.
pub type Prompts = SmallVec<[Name; 2]>;

/// What is said, for the record.
pub(crate) fn joined(prompts: &[Name]) -> Name {
    match prompts {
        [one] => one.clone(),
        all => {
            let mut names = SmolStrBuilder::new();
            for (index, name) in all.iter().enumerate() {
                if index > 0 {
                    names.push('+');
                }
                names.push_str(name);
            }
            names.finish()
        }
    }
}

/// One prompt to be played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {
    /// The turn it was decided on.
    pub turn: Turn,
    /// Counts the plays of the conversation.
    pub play: u32,
    /// Keys of clips, said one after the other.
    pub prompts: Prompts,
    /// Speech over it stops it at the media edge.
    pub interruptible: bool,
}

/// An action that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The action, as upstream would see it.
    pub action: ActionId,
    /// Action type.
    pub kind: String,
    /// What in particular.
    pub object: String,
    /// Role in which it was proposed.
    pub role: String,
    /// The lead it is about.
    pub lead: String,
    /// The fields of the action, as `name`, `value`.
    pub fields: Vec<(String, String)>,
    /// Until this time since daemon start; then it is refused.
    pub until: Duration,
}

/// Actions to be kept together, all or none, with what led to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Comes back in `Event::Stored`.
    pub seq: Seq,
    /// The decision that authorised them.
    pub record: Record,
    /// One row each.
    pub actions: Vec<OutboxRow>,
}

/// An authorised action on its way upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// The id upstream sees, on every attempt.
    pub id: ActionId,
    /// Action type, e.g. `schedule`.
    pub kind: String,
    /// Order is kept within a lead: its number, or the conversation when unknown.
    pub lead: String,
    /// One effect only: lead, kind and object.
    pub dedupe: String,
    /// Born held: to be released or withdrawn later.
    pub held: bool,
    /// The fields of the action, as `name`, `value`.
    pub fields: Vec<(String, String)>,
    /// It is one of several that take effect whole or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// The caller took back an action of several steps, and this undoes that one of
    /// them: where it took effect or is on its way. One that still waits is never sent,
    /// and neither is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<ActionId>,
}

/// One step of an action of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The action that it is a step of.
    pub of: ActionId,
    /// Counts from 1, in the order of delivery.
    pub place: u8,
    /// What is sent where this one took effect and a later one did not.
    pub undo: Option<Undo>,
}

/// Field of what undoes an action: the id of that action.
pub const COMPENSATES: &str = "compensates";

/// The key of what undoes an action begins with this: where it fails, somebody has
/// to look.
pub const UNDO: &str = "undo|";

impl OutboxRow {
    /// The action that this one undoes.
    pub fn compensates(&self) -> Option<ActionId> {
        let mut fields = self.fields.iter();
        let (_, id) = fields.find(|(name, _)| name == COMPENSATES)?;
        id.parse().ok()
    }
}

/// What undoes a step; authorised with it, for the case that a later one fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Its own id, for ever.
    pub id: ActionId,
    /// Action type.
    pub kind: String,
    /// One effect only.
    pub dedupe: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

/// The one outcome event of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended.
    pub cause: Cause,
    /// What the conversation reached: the `result` of the last stage that names one;
    /// else `abandoned` (the caller left), `unresolved` (we ended it), or the cause.
    pub result: String,
    /// Role at the end.
    pub role: String,
    /// Stage at the end.
    pub stage: String,
    /// Who or what answered, by public name, where it was judged.
    pub answered_by: Option<String>,
    /// From answer to end.
    pub talk: Duration,
    /// Turns of the caller.
    pub turns: u32,
    /// Barge-ins.
    pub barge_ins: u32,
    /// Actions authorised.
    pub authorised: u32,
    /// Actions refused.
    pub refused: u32,
    /// What was collected, as `name`, `value` (no secrets).
    pub collected: Vec<(String, String)>,
    /// Readiness at the end, in thousandths (the fact `intent`).
    #[serde(default)]
    pub intent: i64,
    /// What the contact cost, in points (`[budget]`, `cost` of actions). The core knows of
    /// no money: whoever keeps the books fills it in.
    #[serde(default)]
    pub cost: i64,
    /// What came of each stay in a stage, the first one first; of a conversation that is
    /// longer than [`STAYS_MAX`] the last ones.
    #[serde(default)]
    pub stages: Vec<Stay>,
    /// By which signatures and detours the call came, as `name`, `value`. The core knows
    /// of neither: whoever took the call in fills it in.
    #[serde(default)]
    pub origin: Vec<(String, String)>,
    /// What came of each person who was called for the caller, the first one first.
    #[serde(default)]
    pub persons: Vec<Attempt>,
}

/// Persons called that an outcome tells of.
pub const ATTEMPTS_MAX: usize = 8;
/// What is told of each of them at most.
pub const SIGNS_MAX: usize = 12;

/// A person who was called for the caller, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Whom we called, or had the caller's side call.
    pub to: String,
    /// By which trunk.
    pub trunk: String,
    /// Our leg there; `None`: the caller's side was asked to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<u8>,
    /// From the order until it was known, in ms.
    pub ms: u64,
    /// What it came to.
    pub came: Came,
    /// What was heard there, in order, as it told who it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signs: Vec<Sign>,
}

/// Something that happened on the leg of a person who was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// Since the order, in ms.
    pub ms: u64,
    /// By public name: `answered`, `machine 80 %`, `beep`; words in quotes.
    pub what: String,
}

/// What came of a person who was called. Closed: playbooks ask for it by name, and
/// receivers of outcomes read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// They talk to each other.
    Person,
    /// A recording that takes messages: it beeped.
    Voicemail,
    /// A menu: it says so, or it waits for us without a beep.
    Ivr,
    /// A recording; which of them did not come out.
    Machine,
    /// An assistant that asks who calls.
    Screening,
    /// A fax.
    Fax,
    /// Busy, by SIP or by tone.
    Busy,
    /// The network has no line.
    Congestion,
    /// The person has heard what it is about, and the caller is too upset for it.
    Cooled,
    /// Refused there.
    Declined,
    /// The trunk does not let us.
    Forbidden,
    /// As many persons were called as one conversation may.
    Limit,
    /// It rang, and nobody answered.
    NoAnswer,
    /// It was answered, and nobody spoke.
    NoVoice,
    /// A person answered and has not taken the call.
    NotAccepted,
    /// They could not be joined.
    NotJoined,
    /// The gate refused it.
    Refused,
    /// The caller's side does not transfer.
    TransferRefused,
    /// There is no such number, or no way there.
    Unreachable,
    /// The caller's side never told how it went.
    Unreported,
    /// The conversation went on without them.
    Dropped,
    /// The call was over before it was known.
    Unfinished,
}

impl Came {
    /// All that a playbook can be told of.
    pub const TOLD: [Self; 19] = [
        Self::Busy,
        Self::Congestion,
        Self::Cooled,
        Self::Declined,
        Self::Fax,
        Self::Forbidden,
        Self::Ivr,
        Self::Limit,
        Self::Machine,
        Self::NoAnswer,
        Self::NoVoice,
        Self::NotAccepted,
        Self::NotJoined,
        Self::Refused,
        Self::Screening,
        Self::TransferRefused,
        Self::Unreachable,
        Self::Unreported,
        Self::Voicemail,
    ];

    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Voicemail => "voicemail",
            Self::Ivr => "ivr",
            Self::Machine => "machine",
            Self::Screening => "screening",
            Self::Fax => "fax",
            Self::Busy => "busy",
            Self::Congestion => "congestion",
            Self::Cooled => "cooled",
            Self::Declined => "declined",
            Self::Forbidden => "forbidden",
            Self::Limit => "limit",
            Self::NoAnswer => "no_answer",
            Self::NoVoice => "no_voice",
            Self::NotAccepted => "not_accepted",
            Self::NotJoined => "not_joined",
            Self::Refused => "refused",
            Self::TransferRefused => "transfer_refused",
            Self::Unreachable => "unreachable",
            Self::Unreported => "unreported",
            Self::Dropped => "dropped",
            Self::Unfinished => "unfinished",
        }
    }

    /// What it said was no person's.
    pub const fn is_recording(self) -> bool {
        matches!(
            self,
            Self::Voicemail | Self::Ivr | Self::Machine | Self::Screening
        )
    }
}

/// Stays in stages that an outcome tells of.
pub const STAYS_MAX: usize = 32;

/// A stay in a stage, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// Role.
    pub role: String,
    /// Stage.
    pub stage: String,
    /// How long it lasted, in ms.
    pub ms: u64,
    /// Turns of the caller in it.
    pub turns: u32,
    /// What the stage stands for, where it names a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// What the caller answered in it, as `name`, `value` (no secrets).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<(String, String)>,
}

impl Outcome {
    /// The outcome of a conversation in which nothing happened.
    pub fn of(cause: Cause, result: &str) -> Self {
        Self {
            cause,
            result: result.to_owned(),
            role: String::new(),
            stage: String::new(),
            answered_by: None,
            talk: Duration::ZERO,
            turns: 0,
            barge_ins: 0,
            authorised: 0,
            refused: 0,
            collected: Vec::new(),
            intent: 0,
            cost: 0,
            stages: Vec::new(),
            origin: Vec::new(),
            persons: Vec::new(),
        }
    }
}
