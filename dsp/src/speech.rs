//! From probabilities to speech, pauses, ends and barge-ins.
//!
//! Hysteresis and hangover only: what speech is, `voice` says; who answered,
//! `answer` says. Times are samples. Called by the ear.

use crate::event::EventKind;
use crate::{FRAME, report::Report};

/// Evidence of speech, summed log-odds, at which it is reported: two or three
/// frames that are sure, or more that are not …
const ONSET: f32 = 4.0;
/// … and twice as much where an echo of our own prompt is about.
const ONSET_OVER_ECHO: f32 = 8.0;
/// One frame counts for at most this, either way.
const MOST_EVIDENCE: f32 = 2.5;
/// log-odds of a frame that says nothing on a line of the caller's own …
const NEUTRAL: f32 = 1.8;
/// … where an echo of our prompt is about …
const NEUTRAL_OVER_ECHO: f32 = 1.7;
/// … and over a prompt that does not come back, where the network is careful by itself.
const NEUTRAL_OVER_PROMPT: f32 = 0.3;
/// Speech goes on above this probability.
const STAY: f32 = 0.45;
/// Frames of speech over our own prompt that make talking on a barge-in: 60 ms.
const FRAMES_OVER_PROMPT: u32 = 6;
/// A beginning is placed at most this many frames back: 200 ms.
const LONGEST_ONSET: u32 = 20;
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

/// What of our own speech is on the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt {
    /// A prompt of ours was active in the last 600 ms.
    pub(crate) recent: bool,
    /// Its echo may be heard.
    pub(crate) echo_audible: bool,
}

/// Turn taking of one line.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    /// Summed log-odds since it was last 0, and frames since.
    evidence: f32,
    likely: u32,
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
            evidence: 0.0,
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
    pub(crate) fn hear(&mut self, at: u64, probability: f32, prompt: Prompt, report: &mut Report) {
        match self.current {
            None => self.await_onset(at, probability, prompt, report),
            Some(utterance) => self.follow(utterance, at, probability, prompt, report),
        }
        self.retract(at, report);
    }

    fn await_onset(&mut self, at: u64, probability: f32, prompt: Prompt, report: &mut Report) {
        let odds = probability.clamp(0.001, 0.999) / (1.0 - probability.clamp(0.001, 0.999));
        let neutral = match (prompt.recent, prompt.echo_audible) {
            (true, true) => NEUTRAL_OVER_ECHO,
            (true, false) => NEUTRAL_OVER_PROMPT,
            (false, _) => NEUTRAL,
        };
        let evidence = (libm::logf(odds) - neutral).clamp(-MOST_EVIDENCE, MOST_EVIDENCE);
        self.evidence = (self.evidence + evidence).max(0.0);
        self.likely = if self.evidence > 0.0 {
            self.likely.saturating_add(1)
        } else {
            0
        };
        let enough = if prompt.echo_audible {
            ONSET_OVER_ECHO
        } else {
            ONSET
        };
        if self.evidence < enough {
            return;
        }
        let oldest = u64::from(self.likely.min(LONGEST_ONSET)) - 1;
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
        if prompt.recent {
            self.barge_in(&mut utterance, report);
        }
        self.current = Some(utterance);
    }

    fn follow(
        &mut self,
        mut utterance: Utterance,
        at: u64,
        probability: f32,
        prompt: Prompt,
        report: &mut Report,
    ) {
        if probability > STAY {
            self.spoken += FRAME as u64;
            utterance.last_voiced = at;
            utterance.paused = false;
            utterance.frames_over_prompt += u32::from(prompt.recent);
            if prompt.recent && utterance.frames_over_prompt >= FRAMES_OVER_PROMPT {
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
        self.evidence = 0.0;
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
