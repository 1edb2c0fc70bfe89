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
    /// A prompt of ours goes on, be it with a pause: speech is a barge-in.
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
        /// What it was decided on.
        evidence: Evidence,
    },
    /// The verdict was wrong.
    AnswerCorrected {
        /// What it is now taken for.
        class: AnswerClass,
        /// What it was taken for.
        was: AnswerClass,
        /// 0 to 100.
        confidence: u8,
        /// What the change was decided on.
        evidence: Evidence,
    },
    /// A recording said what it had to say and no beep came; a message may start.
    GreetingEnd {
        /// Sample after the last of the speech.
        end: u64,
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
    /// The caller's turn is probably over: they have been quiet for longer than
    /// they usually pause.
    TurnEnd {
        /// Sample after the last of the speech.
        end: u64,
        /// 0 to 100.
        confidence: u8,
    },
    /// How the stretch of speech that just ended was spoken.
    Manner(Manner),
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
            Self::GreetingEnd { .. } => "greeting_end",
            Self::Beep { .. } => "beep",
            Self::Tone { .. } => "tone",
            Self::Dtmf { .. } => "dtmf",
            Self::TurnEnd { .. } => "turn_end",
            Self::Manner(_) => "manner",
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

/// What a verdict on who answered was decided on; what was not measured is 0 or `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The rule that decided.
    pub rule: Rule,
    /// From the first speech after the answer to the last, pauses included, ms.
    pub span_ms: u32,
    /// Speech in it, ms.
    pub spoken_ms: u32,
    /// Quiet since its last speech, ms.
    pub pause_ms: u32,
    /// Longest pause within it, ms.
    pub longest_pause_ms: u32,
    /// Since anything was heard at all, ms.
    pub quiet_ms: u32,
    /// The tone that decided.
    pub tone: Option<ToneKind>,
    /// Frequency of the beep that decided, Hz.
    pub beep_hz: Option<u16>,
    /// Words that a recogniser understood so far.
    pub words: u16,
    /// What they said, if it was telling.
    pub phrase: Option<Phrase>,
}

/// The rule that decided who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A short turn, then a pause: somebody waits for us.
    TurnThenPause,
    /// A turn too long for a person who answers.
    LongTurn,
    /// A first turn that seemed human went on like a recording.
    WentOn,
    /// A turn that seemed recorded ended, and nothing came: somebody waits for us.
    NoBeep,
    /// A signalling tone.
    Tone,
    /// A beep after speech.
    Beep,
    /// A telling phrase.
    Phrase,
    /// Nothing was heard.
    NoSound,
    /// Nothing decided it for too long.
    Undecided,
}

impl Rule {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TurnThenPause => "turn_then_pause",
            Self::LongTurn => "long_turn",
            Self::WentOn => "went_on",
            Self::NoBeep => "no_beep",
            Self::Tone => "tone",
            Self::Beep => "beep",
            Self::Phrase => "phrase",
            Self::NoSound => "no_sound",
            Self::Undecided => "undecided",
        }
    }
}

/// What a telling phrase says of who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phrase {
    /// "leave a message", "is not available".
    Greeting,
    /// "press one for".
    Menu,
    /// "state your name and the reason for your call".
    Screening,
    /// "speaking", "how can I help".
    Person,
}

impl Phrase {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Menu => "menu",
            Self::Screening => "screening",
            Self::Person => "person",
        }
    }
}

/// What a recogniser understood of the call so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Words, all together.
    pub count: u16,
    /// The latest telling phrase.
    pub phrase: Option<Phrase>,
}

/// How somebody speaks, against their own baseline. Evidence, never authority.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// Speech rate over this call: syllable nuclei a second of speech.
    pub syllables_per_s: f32,
    /// Usual pause inside a turn, ms; 0 before one was heard.
    pub pause_ms: u16,
    /// Usual time from the end of our prompt to their speech, ms; 0 before one was heard.
    pub latency_ms: u16,
    /// Mean deviation of it, ms.
    pub latency_spread_ms: u16,
    /// A sound was held ("um", a drawn-out syllable) in the last half second.
    pub hesitating: bool,
    /// Pitch of this stretch over their usual, semitones.
    pub pitch_shift: f32,
    /// Level of this stretch over their usual, dB.
    pub energy_shift_db: f32,
    /// How much speech the baseline rests on: 0 to 100, 100 at 10 s.
    pub confidence: u8,
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
    /// Rising, but of no kind that is known.
    Sit,
    /// No circuit.
    SitNc,
    /// Intercept.
    SitIc,
    /// Vacant code.
    SitVc,
    /// Reorder.
    SitRo,
    FaxCng,
    FaxCed,
    /// The flags of V.21 that precede a fax's first frame.
    FaxV21,
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
            Self::SitNc => "sit_nc",
            Self::SitIc => "sit_ic",
            Self::SitVc => "sit_vc",
            Self::SitRo => "sit_ro",
            Self::FaxCng => "fax_cng",
            Self::FaxCed => "fax_ced",
            Self::FaxV21 => "fax_v21",
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
    /// Background only; nobody has spoken yet, or not for long.
    Quiet,
    /// The caller, who spoke before, has not answered our prompt or goes on soon.
    Thinking,
    /// Even the background has gone, or the caller has not been heard for 20 s.
    Gone,
}

impl SilenceCause {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRtp => "no_rtp",
            Self::ComfortNoise => "comfort_noise",
            Self::HoldMusic => "hold_music",
            Self::Quiet => "quiet",
            Self::Thinking => "thinking",
            Self::Gone => "gone",
        }
    }
}
