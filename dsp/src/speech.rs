//! From probabilities to speech, pauses, ends and barge-ins.
//!
//! Hysteresis and hangover only: what speech is, `voice` says; who answered,
//! `answer` says. Times are samples. Called by the ear.

use crate::event::EventKind;
use crate::{FRAME, report::Report};

/// Speech begins above this probability …
const ON: f32 = 0.6;
/// … and over our own prompt above this.
const ON_OVER_PROMPT: f32 = 0.8;
/// It goes on above this.
const STAY: f32 = 0.35;
/// Frames of likely speech before it is reported: 30 ms, of the last 5.
const ONSET_FRAMES: u32 = 3;
/// Over our own prompt: 60 ms, of the last 9.
const ONSET_FRAMES_OVER_PROMPT: u32 = 6;
/// The window smears a beginning over this many samples before its first likely frame.
const ONSET_LEAD: u64 = 80;
/// A pause is reported after 120 ms.
const PAUSE: u64 = 960;
/// Speech has ended after 350 ms of quiet.
const END: u64 = 2_800;
/// The window smears an end by this many samples.
const END_LAG: u64 = 120;
/// A barge-in shorter than this may be a cough or an "mhm": 0.6 s.
const RETRACTABLE: u64 = 4_800;
/// Quiet after which a short barge-in is taken back: 0.4 s.
const RETRACT_AFTER: u64 = 3_200;

/// Turn taking of one line.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    likely: u16,
    /// Set while somebody speaks or pauses.
    current: Option<Utterance>,
    barged: Option<Barged>,
    spoken: u64,
    last_end: Option<u64>,
}

/// One stretch of speech, until 350 ms of quiet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utterance {
    pub(crate) start: u64,
    /// End of the last frame that was speech.
    last_voiced: u64,
    paused: bool,
    pub(crate) barge_in: bool,
    /// Frames of speech while a prompt of ours was audible.
    frames_over_prompt: u32,
}

/// A barge-in that ended early and may be taken back.
#[derive(Clone, Copy, Debug)]
struct Barged {
    quiet_since: u64,
}

impl Speech {
    pub(crate) const fn new() -> Self {
        Self {
            likely: 0,
            current: None,
            barged: None,
            spoken: 0,
            last_end: None,
        }
    }

    /// The stretch of speech that goes on, if any.
    pub(crate) const fn current(&self) -> Option<Utterance> {
        self.current
    }

    /// Whether somebody speaks right now: no pause of 120 ms.
    pub(crate) fn is_voiced(&self) -> bool {
        self.current.is_some_and(|utterance| !utterance.paused)
    }

    /// Samples of speech so far, pauses excluded.
    pub(crate) const fn spoken(&self) -> u64 {
        self.spoken
    }

    /// The end of the last finished stretch.
    pub(crate) const fn last_end(&self) -> Option<u64> {
        self.last_end
    }

    /// Quiet since the last voiced frame, while a stretch is open.
    pub(crate) fn pause(&self, at: u64) -> u64 {
        self.current
            .map_or(0, |utterance| at - utterance.last_voiced)
    }

    /// Takes the probability of the frame that ends at `at`.
    pub(crate) fn hear(
        &mut self,
        at: u64,
        probability: f32,
        far_recent: bool,
        report: &mut Report,
    ) {
        match self.current {
            None => self.await_onset(at, probability, far_recent, report),
            Some(utterance) => self.follow(utterance, at, probability, far_recent, report),
        }
        self.retract(at, report);
    }

    fn await_onset(&mut self, at: u64, probability: f32, far_recent: bool, report: &mut Report) {
        let (threshold, frames, window) = if far_recent {
            (ON_OVER_PROMPT, ONSET_FRAMES_OVER_PROMPT, 0x1FF)
        } else {
            (ON, ONSET_FRAMES, 0x1F)
        };
        self.likely = (self.likely << 1) | u16::from(probability > threshold);
        let seen = self.likely & window;
        if seen.count_ones() < frames || seen & 1 == 0 {
            return;
        }
        let oldest = u64::from(15 - seen.leading_zeros());
        let begin = at.saturating_sub((oldest + 1) * FRAME as u64);
        let start = begin
            .saturating_sub(ONSET_LEAD)
            .max(self.last_end.unwrap_or(0));
        report.push(EventKind::SpeechStart { start });
        self.spoken += at - start;
        let mut utterance = Utterance {
            start,
            last_voiced: at,
            paused: false,
            barge_in: false,
            frames_over_prompt: 0,
        };
        if far_recent {
            self.barge_in(&mut utterance, report);
        }
        self.current = Some(utterance);
    }

    fn follow(
        &mut self,
        mut utterance: Utterance,
        at: u64,
        probability: f32,
        far_recent: bool,
        report: &mut Report,
    ) {
        if probability > STAY {
            self.spoken += FRAME as u64;
            utterance.last_voiced = at;
            utterance.paused = false;
            utterance.frames_over_prompt += u32::from(far_recent);
            if far_recent && utterance.frames_over_prompt >= ONSET_FRAMES_OVER_PROMPT {
                self.barge_in(&mut utterance, report);
            }
        }
        let quiet = at - utterance.last_voiced;
        let end = utterance
            .last_voiced
            .saturating_sub(END_LAG)
            .max(utterance.start);
        if quiet >= PAUSE && !utterance.paused {
            utterance.paused = true;
            report.push(EventKind::SpeechPause { start: end });
        }
        self.current = Some(utterance);
        if quiet >= END {
            self.finish(utterance, end, report);
        }
    }

    fn finish(&mut self, utterance: Utterance, end: u64, report: &mut Report) {
        report.push(EventKind::SpeechEnd { end });
        self.current = None;
        self.likely = 0;
        self.last_end = Some(end);
        if utterance.barge_in && end - utterance.start < RETRACTABLE {
            self.barged = Some(Barged {
                quiet_since: utterance.last_voiced,
            });
        }
    }

    fn barge_in(&mut self, utterance: &mut Utterance, report: &mut Report) {
        if !utterance.barge_in {
            utterance.barge_in = true;
            self.barged = None;
            report.push(EventKind::BargeIn {
                start: utterance.start,
            });
        }
    }

    fn retract(&mut self, at: u64, report: &mut Report) {
        let Some(barged) = self.barged else { return };
        if self.current.is_some() {
            self.barged = None;
        } else if at - barged.quiet_since >= RETRACT_AFTER {
            self.barged = None;
            report.push(EventKind::BargeInRetracted);
        }
    }
}
