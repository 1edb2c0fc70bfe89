//! All that can happen to a conversation. The log of these, with the time each
//! was handled, replays the conversation bit for bit.
//!
//! The daemon translates into these words from SIP, from the ear and from the
//! engines; what it cannot translate does not reach the core.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::autonomy::Standing;
use crate::id::{ActionId, LegId, Seq, Turn};
use crate::memory::{Attestation, Identity, LeadId, Transition};

/// Something that happened, and when (since daemon start). The moment it is
/// handled is passed beside it and is never earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// When it happened.
    pub at: Duration,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A call came in on leg 0.
    Offered(Offered),
    /// Who the other party is, and what is remembered of them.
    Remembered(Recollection),
    /// Somebody asks for an outbound call: the conversation proposes `dial` to the gate.
    Originate(Originate),
    /// Something happened on a leg.
    Leg(LegId, LegEvent),
    /// Facts outside the conversation changed (local time, capacity, account state).
    Facts(Vec<Fact>),
    /// What the store says to `Persist`.
    Stored {
        /// Which request.
        seq: Seq,
        /// It is durable, or it could not be kept.
        durable: bool,
    },
    /// What the upstream says to a delivered action.
    Upstream {
        /// Which action.
        action: ActionId,
        /// Its answer.
        answer: UpstreamAnswer,
    },
    /// Something of this person happened elsewhere: another channel, another system.
    Happened(Happening),
    /// What is offered now, and until when; what is not renewed is gone.
    Leased(Vec<Lease>),
    /// What a person says to an action that may not go by itself.
    Approval {
        /// Which action.
        action: ActionId,
        /// Do it, or do not.
        approved: bool,
        /// Who said so.
        by: String,
    },
    /// Limits of autonomy and overrides have changed; these hold from now on.
    Standing(Standing),
    /// These texts govern the conversation from now on; they were put in place
    /// just before.
    Governed(Texts),
    /// A person at the box orders the call to end.
    OperatorHangup,
    /// The time asked for with `Output::Wait` has come.
    Wake,
}

/// Who the other party is, and what is remembered of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recollection {
    /// Which lead.
    pub lead: LeadId,
    /// How sure that is.
    pub identity: Identity,
    /// What the network says of the number.
    pub attestation: Attestation,
    /// Wall time as this is handled, ms since 1970.
    pub wall_ms: u64,
    /// What holds now, oldest first.
    pub transitions: Vec<Transition>,
}

/// Something that happened on another channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// What: one of [`HAPPENINGS`].
    pub name: String,
    /// What the person wrote, where they did; as good as said.
    pub text: Option<String>,
}

/// All that can happen on another channel to a person with whom we talk.
pub const HAPPENINGS: [&str; 4] = [
    "crm_changed",
    "message_delivered",
    "reply_received",
    "slot_taken",
];

/// Something on offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A fact (`agents_free`), or a field and its value (`slot.tuesday`).
    pub name: String,
    /// The fact's value; of anything else, whether it is to be had.
    pub value: i64,
    /// Since daemon start; gone from then on.
    pub until: Duration,
}

/// The texts that govern a conversation: what its log is replayed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Texts {
    /// What the gate goes by.
    pub policy: Text,
    /// What drives the dialogue; empty on a test line.
    pub playbook: Text,
    /// What can be proposed.
    pub actions: Text,
}

/// One text, by name and content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Its name, for people.
    pub name: String,
    /// Hash of its bytes, in hex.
    pub hash: String,
}

/// An inbound call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Name of the trunk it came by.
    pub trunk: String,
    /// Caller as the trunk gives it; empty when anonymous.
    pub caller: String,
    /// Called number or user.
    pub called: String,
    /// Whom to call for a caller who cannot be served here, where the route says so;
    /// empty, when nobody. A template's `{person}`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub person: String,
}

/// An outbound call that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Originate {
    /// Whom to call: number or URI, as the trunk takes it.
    pub to: String,
    /// By which trunk.
    pub trunk: String,
    /// Who asked (`operator`, `campaign spring`).
    pub by: String,
}

/// Within this long of the end of speech comes a `TurnEnd` or further speech; else it was
/// lost. The ear waits less long, the rest is for its way here.
pub const TURN_END_LATEST_MS: u64 = 2_500;

/// What can happen on a leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegEvent {
    /// The far end rings.
    Ringing {
        /// Audio flows before the answer.
        media: bool,
    },
    /// The call is up: audio flows both ways.
    Answered,
    /// An outbound attempt failed before the answer.
    Failed(Cause),
    /// The leg is over.
    Ended(Cause),
    /// The far end put the leg on hold, or resumed it.
    Held(bool),
    /// Speech began.
    SpeechStart,
    /// The speaker has paused for 120 ms.
    SpeechPause,
    /// The speech ended.
    SpeechEnd,
    /// Speech over our prompt: the media edge has stopped it and raised the turn.
    BargeIn {
        /// The turn from now on.
        turn: Turn,
    },
    /// The media edge raised the turn without a barge-in: speech, or a stop.
    Turn {
        /// The turn from now on.
        turn: Turn,
    },
    /// The barge-in was a cough or an "mhm".
    BargeInRetracted,
    /// Who or what answered, when it is known or corrected.
    Answer {
        /// Who or what.
        class: AnswerClass,
        /// 0 to 100.
        confidence: u8,
        /// An earlier verdict was wrong.
        corrected: bool,
    },
    /// The beep after a greeting has ended.
    Beep,
    /// A recording has said what it had to say, and no beep came.
    GreetingEnd,
    /// They have been quiet for longer than they usually pause: their turn is over, and
    /// where no words say so the dialogue goes by this. It happened when they fell quiet.
    TurnEnd {
        /// 0 to 100.
        confidence: u8,
    },
    /// How the stretch of speech that just ended was spoken.
    Manner(Manner),
    /// A signalling tone, by its public name.
    Tone(String),
    /// A key was pressed.
    Digit(Digit),
    /// The keys of a secret are complete. They stay at the media edge.
    Sealed {
        /// How many there are.
        keys: u8,
        /// The last one is the check digit of the others (ISO/IEC 7812-1, Luhn).
        check_digit: bool,
    },
    /// What came of `HandOver`.
    HandedOver {
        /// The sink has it.
        taken: bool,
    },
    /// Nobody speaks, and why.
    Silence(SilenceCause),
    /// A prompt is over.
    Played {
        /// Which `Play`, by its number.
        play: u32,
        /// How much of it was sent, in ms.
        sent_ms: u32,
        /// To its end, or cut.
        finished: bool,
    },
    /// A command came too late for its turn and was not carried out.
    Stale {
        /// The turn it was decided on.
        turn: Turn,
    },
    /// Words were recognised.
    Words(Words),
    /// Audio now flows between this leg and the one that it was to be joined with.
    Joined,
    /// The legs could not be joined; each is as it was.
    JoinFailed,
    /// The far end asks us to call somebody else and to put what it hears of us
    /// through to there; `TakeReferral` answers.
    AskedOnward {
        /// Whom.
        to: String,
        /// The call there that the far end holds and whose place ours is to take, as
        /// `Replaces` names it (RFC 3891); `None`: nobody has spoken to them yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<String>,
    },
    /// How it goes with whom the far end was sent to (`Command::Refer`).
    Referral(Referral),
    /// Events were lost between the media edge and here; this is where the leg stands.
    EventsLost {
        /// How many.
        count: u32,
        /// Somebody is speaking.
        speaking: bool,
    },
    /// No packet has come for this long while one was due.
    MediaLost {
        /// Milliseconds without a packet.
        ms: u32,
    },
}

/// How it goes with a far end that was asked to call somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Referral {
    /// It rings there.
    Rings,
    /// They talk to each other; our leg can be hung up.
    Reached,
    /// The far end does not do it, or cannot be asked; the leg is as it was.
    Refused,
    /// It tried, and this is why it did not get there; the leg is as it was.
    Missed(Cause),
    /// It said that it would try, and nothing more.
    Unreported,
    /// It hung up while it tried: whether it got there is not known.
    HungUp,
}

/// How somebody speaks, against what is usual for them. Evidence, never authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manner {
    /// Syllables a minute of speech, over the call.
    pub syllables_per_minute: u16,
    /// Their usual pause inside a turn, ms; 0 before one was heard.
    pub pause_ms: u16,
    /// Their usual time to answer, ms; 0 before one was heard.
    pub latency_ms: u16,
    /// How far that varies, ms.
    pub latency_spread_ms: u16,
    /// A sound was held ("um", a drawn-out syllable) right before the end.
    pub hesitating: bool,
    /// Pitch over their usual, hundredths of a semitone.
    pub pitch_shift_cents: i16,
    /// Level over their usual, tenths of a decibel.
    pub energy_shift_tenths_db: i16,
    /// How much speech their usual rests on: 0 to 100.
    pub confidence: u8,
}

/// Words of one utterance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// What was said.
    pub text: String,
    /// 0 to 100.
    pub confidence: u8,
    /// This is the last text of the utterance; it may withdraw what an earlier one suggested.
    pub last: bool,
    /// Counts the utterances of the leg from 1, as the engine does: a text that comes
    /// twice or too late is known by it. 0 where the engine does not count.
    #[serde(default)]
    pub utterance: u32,
    /// How long it took to say this, in ms; it ended when the input happened.
    #[serde(default)]
    pub spoken_ms: u32,
    /// Who recognised it, where that says so; for people alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub engine: String,
}

/// A key as the core may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digit {
    /// `0`-`9`, `*`, `#`, `A`-`D`.
    Key(char),
    /// Pressed in a secret collection: the key itself stays at the media edge.
    Masked,
}

/// Why a leg ended or never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The far end hung up.
    FarHangup,
    /// We hung up.
    NearHangup,
    /// The caller gave up before the answer.
    Cancelled,
    /// Busy.
    Busy,
    /// Nobody answered in time.
    NoAnswer,
    /// The far end declined.
    Declined,
    /// The number does not exist or cannot be reached.
    Unallocated,
    /// The network or the far end is congested.
    Congestion,
    /// No codec in common.
    NoCommonCodec,
    /// Their SDP cannot be used here for another reason: its address, its encryption, or
    /// that it cannot be read. The timeline says which.
    SdpRefused,
    /// They answered without a word on where sound goes.
    NoSdp,
    /// We have no room for another call.
    Overload,
    /// The trunk does not answer, or answers nonsense.
    TrunkDown,
    /// Our answer was never acknowledged (RFC 3261 §13.3.1.4).
    NoAck,
    /// We, or they, are not allowed there (401, 403, 407).
    Forbidden,
    /// Nothing here is reached under that number (404).
    NoRoute,
    /// Packets stopped for too long.
    MediaTimeout,
    /// The daemon was killed during the call.
    Interrupted,
    /// A defect of ours ended the call.
    InternalError,
}

impl Cause {
    /// The public name, as in outcome events and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FarHangup => "far_hangup",
            Self::NearHangup => "near_hangup",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Declined => "declined",
            Self::Unallocated => "unallocated",
            Self::Congestion => "congestion",
            Self::NoCommonCodec => "no_common_codec",
            Self::SdpRefused => "sdp_refused",
            Self::NoSdp => "no_sdp",
            Self::Overload => "overload",
            Self::TrunkDown => "trunk_down",
            Self::NoAck => "no_ack",
            Self::Forbidden => "forbidden",
            Self::NoRoute => "no_route",
            Self::MediaTimeout => "media_timeout",
            Self::Interrupted => "interrupted",
            Self::InternalError => "internal_error",
        }
    }
}

/// Who or what answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "dsp::AnswerClass, which the daemon translates, defines them"
)]
pub enum AnswerClass {
    Human,
    Machine,
    Screening,
    Ivr,
    Fax,
    Sit,
    Busy,
    Reorder,
    Ringback,
    Silence,
    Unsure,
}

impl AnswerClass {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Machine => "machine",
            Self::Screening => "screening",
            Self::Ivr => "ivr",
            Self::Fax => "fax",
            Self::Sit => "sit",
            Self::Busy => "busy",
            Self::Reorder => "reorder",
            Self::Ringback => "ringback",
            Self::Silence => "silence",
            Self::Unsure => "unsure",
        }
    }
}

/// Why nobody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "dsp::SilenceCause, which the daemon translates, defines them"
)]
pub enum SilenceCause {
    NoRtp,
    ComfortNoise,
    HoldMusic,
    Quiet,
    Thinking,
    Gone,
}

/// A named value that the gate may read: integers only, booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Name, from the list in `policy`.
    pub name: String,
    /// Value; `None` withdraws it.
    pub value: Option<i64>,
}

/// What the upstream says to an action it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamAnswer {
    /// Done: the caller may be told so.
    Accepted,
    /// Refused for good.
    Rejected,
}
