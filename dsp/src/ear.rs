//! The ear of one leg: joins canceller, voice, tones, keys, beep, answer and silence.
//!
//! All judgement is in the parts; this file only feeds them in order, once per
//! frame. The media threads call it on arrival of audio, `offhook analyze` on
//! files; both hear the same.

use crate::FRAME;
use crate::answer::{self, Answer, Sensitivity};
use crate::bands::View;
use crate::beep::Beep;
use crate::cadence::Cadence;
use crate::dtmf::Keys;
use crate::echo::{Echo, Residual};
use crate::event::{AnswerClass, EventKind, Events, Line, SilenceCause, Source, ToneKind, Words};
use crate::fax::Flags;
use crate::manner::{Manners, TurnCues};
use crate::music::Music;
use crate::offset::Offset;
use crate::report::Report;
use crate::signal::Signal;
use crate::silence::{Quiet, Silence};
use crate::spectrum::{Spectrum, decibels};
use crate::speech::{Prompt, Speech, Voiced};
use crate::turn::Turn;
use crate::voice::{Sound, Voice};

/// A row of keys is one tone event; after this pause it is another (3 s).
const KEYS_APART: u64 = 24_000;

/// What a consumer needs to go on after it lost events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snapshot {
    /// Samples heard.
    pub at: u64,
    /// Number of the next event.
    pub next_seq: u32,
    /// Events that did not fit into a caller's list, ever.
    pub dropped: u32,
    /// Speech goes on (a pause shorter than 380 ms included) since this sample.
    pub speaking_since: Option<u64>,
    /// Somebody spoke in the last frame: no pause, however short.
    pub speaks: bool,
    /// Sample after the last finished speech.
    pub speech_end: Option<u64>,
    /// The speech that goes on was reported as a barge-in.
    pub barge_in: bool,
    /// The verdict on who answered.
    pub answer: Option<AnswerClass>,
    /// The cause of the silence that was reported and lasts.
    pub silence: Option<SilenceCause>,
    /// Level of the background, dBov.
    pub floor_dbov: f32,
}

/// Hears one line, 10 ms at a time. Fixed size, no heap, no clock.
///
/// ```
/// use offhook_dsp::tone::Dtmf;
/// use offhook_dsp::{Ear, EventKind, Events, FRAME, Line, Source};
///
/// let line = Line { source: Source::Received, playout_shift: 0, answered: true, prompt: false };
/// let mut key = Dtmf::new(b'5', 100, 100, -16.0).expect("a key");
/// let (mut ear, mut out) = (Ear::new(), Events::new());
/// for _ in 0..20 {
///     let mut near = [0; FRAME];
///     key.fill(&mut near);
///     ear.hear(&near, &[0; FRAME], line, &mut out);
/// }
/// assert!(matches!(out[0].kind, EventKind::Dtmf { digit: b'5', .. }));
/// ```
#[derive(Clone, Debug)]
pub struct Ear {
    at: u64,
    next_seq: u32,
    dropped: u32,
    offset: Offset,
    near: View,
    rest: View,
    echo: Echo,
    spectrum: Spectrum,
    voice: Voice,
    speech: Speech,
    signal: Signal,
    cadence: Cadence,
    keys: Keys,
    last_key: Option<u64>,
    music: Music,
    flags: Flags,
    beep: Beep,
    answer: Answer,
    manners: Manners,
    turn: Turn,
    silence: Silence,
}

/// An ear must fit a media slot.
const _: () = assert!(size_of::<Ear>() <= 32 * 1_024);

impl Default for Ear {
    fn default() -> Self {
        Self::new()
    }
}

impl Ear {
    /// An ear that has heard nothing yet, with the default sensitivity.
    pub fn new() -> Self {
        Self::with_sensitivity(Sensitivity::DEFAULT)
    }

    /// An ear that has heard nothing yet and calls machines this readily.
    pub fn with_sensitivity(sensitivity: Sensitivity) -> Self {
        Self {
            at: 0,
            next_seq: 0,
            dropped: 0,
            offset: Offset::new(),
            near: View::new(),
            rest: View::new(),
            echo: Echo::new(),
            spectrum: Spectrum::new(),
            voice: Voice::new(),
            speech: Speech::new(),
            signal: Signal::new(),
            cadence: Cadence::new(),
            keys: Keys::new(),
            last_key: None,
            music: Music::new(),
            flags: Flags::new(),
            beep: Beep::new(),
            answer: Answer::new(sensitivity),
            manners: Manners::new(),
            turn: Turn::new(),
            silence: Silence::new(),
        }
    }

    /// Hears the next 10 ms: `near` came from the line, `far` is what we sent
    /// in the same 10 ms. Events are appended to `out`. Does not allocate or block.
    pub fn hear(&mut self, near: &[i16; FRAME], far: &[i16; FRAME], line: Line, out: &mut Events) {
        self.at += FRAME as u64;
        let at = self.at;
        let (mut next_seq, mut dropped) = (self.next_seq, self.dropped);
        let mut report = Report {
            at,
            next_seq: &mut next_seq,
            dropped: &mut dropped,
            out,
        };
        if line.playout_shift != 0 {
            self.echo.shifted();
        }
        let samples = self.offset.remove(near);
        let seen = Sound::new(self.near.push(&samples));
        let residual = if self.echo.push_far(far) {
            self.echo.cancel(&samples, &seen.levels)
        } else {
            Residual::without_echo(samples)
        };
        let rest = if residual.far.is_some() {
            Sound::new(self.rest.push(&residual.samples))
        } else {
            self.rest.slide(&samples);
            seen.clone()
        };
        self.spectrum
            .push(&residual.samples, &rest.bins, self.music.compares_next());
        let heard = self.hear_tones(line.source, &mut report);
        self.voice
            .hear(&seen.levels, &rest.levels, residual.far.as_ref());
        if line.source == Source::ComfortNoise || line.source == Source::NoRtp {
            self.voice.hear_nothing();
        }
        let prompt = Prompt {
            recent: residual.far.is_some(),
            echo_audible: residual.echo_audible,
            goes_on: line.prompt,
        };
        let voiced = Voiced {
            probability: self.voice.probability(),
            levels: &rest.levels,
            background: self.voice.floor(),
        };
        self.speech.hear(at, voiced, prompt, &mut report);
        self.conclude(line, &heard, residual.far_now, near, &mut report);
        self.next_seq = next_seq;
        self.dropped = dropped;
    }

    /// So many times 10 ms have gone by unheard: only the clock goes on. For a line on
    /// which nothing has come yet and on which its silence is of no interest.
    pub fn pass(&mut self, frames: u64) {
        self.at += frames * FRAME as u64;
    }

    /// They called us: who answered is no question any more. Beeps, tones and
    /// music are heard as before.
    pub fn they_called(&mut self) {
        self.answer.rest();
    }

    /// Tells what a recogniser understood of the caller so far; it counts with
    /// the next frame as evidence of who answered.
    pub fn understand(&mut self, words: Words) {
        self.answer.understand(words);
    }

    /// What the estimate of a turn's end rests on, as of the last frame.
    pub fn turn_cues(&self) -> TurnCues {
        self.manners.cues(self.at)
    }

    /// How likely the last frame was speech, 0 to 1, as a person would mark it: by its
    /// sound and by how loud the last 100 ms were. Events rest on its sound alone, which
    /// is known sooner.
    pub fn speech_probability(&self) -> f32 {
        self.voice.with_loudness()
    }

    /// What the network was given for the last frame: to train it from and to
    /// compare with, in 1/4096.
    pub fn network_input(&self) -> &[i16] {
        self.voice.input()
    }

    /// The state as a consumer of events would know it.
    pub fn snapshot(&self) -> Snapshot {
        let utterance = self.speech.current();
        Snapshot {
            at: self.at,
            next_seq: self.next_seq,
            dropped: self.dropped,
            speaking_since: utterance.map(|utterance| utterance.start),
            speaks: utterance.is_some() && self.speech.pause(self.at) == 0,
            speech_end: self.speech.last_end(),
            barge_in: utterance.is_some_and(|utterance| utterance.barge_in),
            answer: self.answer.class(),
            silence: self.silence.reported(),
            floor_dbov: self.voice.floor_dbov(),
        }
    }

    fn hear_tones(&mut self, source: Source, report: &mut Report) -> Heard {
        let at = self.at;
        if source != Source::Received {
            return Heard {
                tonal: self.signal.open().is_some(),
                tone: None,
                beep: None,
            };
        }
        let closed = self.signal.hear(at, &self.spectrum);
        let mut tone = self.cadence.hear(at, &self.signal, self.speech.spoken());
        if let Some((digit, start)) = self.keys.hear(at, &self.spectrum) {
            report.push(EventKind::Dtmf { digit, start });
            let apart = self.last_key.is_none_or(|last| at - last > KEYS_APART);
            self.last_key = Some(at);
            tone = tone.or(apart.then_some((ToneKind::Dtmf, start)));
        }
        let tonal = self.signal.is_tonal(at) || self.keys.is_held();
        let music = self.music.hear(at, &self.spectrum, tonal);
        let flags = self.flags.hear(at, &self.spectrum);
        tone = tone.or(flags.map(|start| (ToneKind::FaxV21, start)));
        tone = tone.or(music.map(|start| (ToneKind::Music, start)));
        if let Some((kind, start)) = tone {
            report.push(EventKind::Tone { start, kind });
        }
        let is_key = self.last_key.is_some_and(|last| at - last < 1_600);
        let beep = self
            .beep
            .hear(at, closed, &self.signal, self.speech.spoken());
        let beep = beep.filter(|_| !is_key && !self.music.is_playing());
        if let Some(beep) = beep {
            report.push(EventKind::Beep {
                start: beep.start,
                end: beep.end,
                hz: beep.hz,
            });
        }
        Heard {
            tonal,
            tone: tone.map(|(kind, _)| kind),
            beep: beep.map(|beep| beep.hz),
        }
    }

    fn conclude(
        &mut self,
        line: Line,
        heard: &Heard,
        far_now: bool,
        near: &[i16; FRAME],
        report: &mut Report,
    ) {
        let voice = self
            .manners
            .hear(self.at, &self.spectrum, &self.speech, far_now, report);
        let manners = &self.manners;
        let cues = || manners.cues(self.at);
        self.turn.hear(self.at, &self.speech, cues, report);
        let evidence = answer::Heard {
            answered: line.answered,
            tone: heard.tone,
            beep: heard.beep,
            tonal: heard.tonal,
            held: self.music.holds(),
            prompt: far_now,
            power: self.spectrum.frame_power,
            voice,
        };
        self.answer.hear(self.at, evidence, &self.speech, report);
        let quiet = Quiet {
            source: line.source,
            zeros: near.iter().all(|&sample| sample == 0),
            music: self.music.is_playing(),
            sound: self.speech.current().is_some() || self.keys.is_held() || far_now,
            tone: heard.tonal,
            speech_end: self.speech.last_end(),
            level_dbov: decibels(self.spectrum.frame_power),
            speaks: self.speech.is_voiced(),
        };
        if let Some(kind) = self.silence.hear(self.at, quiet) {
            report.push(kind);
        }
    }
}

/// What the tone parts heard in a frame.
struct Heard {
    tonal: bool,
    tone: Option<ToneKind>,
    /// Hz of a beep that ended.
    beep: Option<u16>,
}
