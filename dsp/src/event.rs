//! What the ear is told about a frame, and what it reports.
//!
//! Times are samples since the ear's first frame (8,000 a second). The names
//! returned by the `name` methods are a public contract: `offhook analyze`
//! prints them and scripts read them.

/// Events of one frame; more than this never happen in 10 ms.
pub type Events = heapless::Vec<Event, 8>;

/// Where the samples of a frame come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Decoded from a packet.
    Received,
    /// Made up for a packet that did not come in time.
    Concealed,
    /// The peer says that it is silent (RFC 3389).
    ComfortNoise,
    /// No packet has come for longer than a gap.
    NoRtp,
}

/// What is known about a frame beside its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where the near samples come from.
    pub source: Source,
    /// Samples by which `far` was re-centred against `near` since the last
    /// frame; 0 almost always.
    pub playout_shift: i16,
    /// The call is answered (early media is heard before).
    pub answered: bool,
    /// A prompt of ours is in `far`.
    pub prompt: bool,
}

/// One thing heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// End of the frame in which it became known, in samples.
    pub at: u64,
    /// Counts the events of this ear from 0, without gaps.
    pub seq: u32,
    /// What it was.
    pub kind: EventKind,
}

/// What can be heard. Closed: a new kind must be thought about everywhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind {
    /// Somebody speaks since sample `start`.
    SpeechStart {
        /// First sample of the speech.
        start: u64,
    },
    /// The speaker has paused for 120 ms, since sample `start`.
    SpeechPause {
        /// First sample of the pause.
        start: u64,
    },
    /// The speech ended at sample `end`.
    SpeechEnd {
        /// Sample after the last of the speech.
        end: u64,
    },
    /// Speech over our own prompt; the prompt has to stop now.
    BargeIn {
        /// First sample of the speech.
        start: u64,
    },
    /// The last barge-in was a cough or an "mhm": the prompt may go on.
    BargeInRetracted,
    /// Who or what answered. The first one other than `Unsure` and `Ringback`
    /// is the verdict.
    Answer {
        /// Who or what.
        class: AnswerClass,
        /// 0 to 100.
        confidence: u8,
    },
    /// The verdict was wrong.
    AnswerCorrected {
        /// What it is now taken for.
        class: AnswerClass,
        /// What it was taken for.
        was: AnswerClass,
        /// 0 to 100.
        confidence: u8,
    },
    /// The beep after a greeting; a message may start.
    Beep {
        /// First sample of the tone.
        start: u64,
        /// Sample after its last.
        end: u64,
        /// Its frequency.
        hz: u16,
    },
    /// A signalling tone or music.
    Tone {
        /// First sample.
        start: u64,
        /// Which one.
        kind: ToneKind,
    },
    /// An in-band DTMF key, known as soon as it is long enough (ITU-T Q.24).
    Dtmf {
        /// `0`-`9`, `*`, `#`, `A`-`D` in ASCII.
        digit: u8,
        /// First sample of the tone.
        start: u64,
    },
    /// Nobody speaks, and why.
    Silence {
        /// Why.
        cause: SilenceCause,
        /// Since this sample: the end of speech or of our prompt, whichever is later.
        since: u64,
    },
}

impl EventKind {
    /// The public name, as in `offhook analyze --json`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SpeechStart { .. } => "speech_start",
            Self::SpeechPause { .. } => "speech_pause",
            Self::SpeechEnd { .. } => "speech_end",
            Self::BargeIn { .. } => "barge_in",
            Self::BargeInRetracted => "barge_in_retracted",
            Self::Answer { .. } => "answer",
            Self::AnswerCorrected { .. } => "answer_corrected",
            Self::Beep { .. } => "beep",
            Self::Tone { .. } => "tone",
            Self::Dtmf { .. } => "dtmf",
            Self::Silence { .. } => "silence",
        }
    }
}

/// Who or what answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerClass {
    /// A person.
    Human,
    /// A voicemail or announcement.
    Machine,
    /// A call-screening assistant asks who calls.
    Screening,
    /// A menu.
    Ivr,
    /// A fax.
    Fax,
    /// Special information tones: the network says why it failed.
    Sit,
    /// Busy tone.
    Busy,
    /// Congestion tone.
    Reorder,
    /// Still ringing.
    Ringback,
    /// Nothing was heard for 4.5 s.
    Silence,
    /// Not to be told apart.
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

/// A tone, with its kind where it is known (`fax_ced`, `ringback_uk`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ToneKind {
    Dial,
    Ringback,
    RingbackUk,
    Busy,
    Reorder,
    Sit,
    FaxCng,
    FaxCed,
    Dtmf,
    CallWaiting,
    Music,
    BellRing,
}

impl ToneKind {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dial => "dial",
            Self::Ringback => "ringback",
            Self::RingbackUk => "ringback_uk",
            Self::Busy => "busy",
            Self::Reorder => "reorder",
            Self::Sit => "sit",
            Self::FaxCng => "fax_cng",
            Self::FaxCed => "fax_ced",
            Self::Dtmf => "dtmf",
            Self::CallWaiting => "callwaiting",
            Self::Music => "music",
            Self::BellRing => "bellring",
        }
    }
}

/// Why nobody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SilenceCause {
    /// Packets have stopped.
    NoRtp,
    /// The peer sends comfort noise or exact zeros.
    ComfortNoise,
    /// Music on hold.
    HoldMusic,
    /// Background only: the caller is thinking, or gone.
    Quiet,
}

impl SilenceCause {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRtp => "no_rtp",
            Self::ComfortNoise => "comfort_noise",
            Self::HoldMusic => "hold_music",
            Self::Quiet => "quiet",
        }
    }
}
