//! When a caller's turn is over: a pause longer than theirs.
//!
//! A fixed pause either cuts slow talkers off or keeps quick ones waiting. The
//! wait here grows with the caller's own pauses, with a hesitation and with a
//! level that has not sunk, and shrinks after short answers. Its weights are
//! learnt (`dsp/train/turns.py`). It ends no speech and starts no prompt: the
//! event is an estimate. Called by the ear.

use crate::event::EventKind;
use crate::manner::TurnCues;
use crate::report::Report;
use crate::speech::Speech;

/// Samples per millisecond.
const MS: f32 = 8.0;
/// Shortest and longest wait, s.
const SHORTEST: f32 = 0.25;
const LONGEST: f32 = 2.2;
/// Pauses are compared with this, s.
const COMMON: f32 = 0.5;

/// log(wait in s) = BASE + sum of weights times cues, see [`wait`].
const BASE: f32 = -0.341;
const PAUSE: f32 = 0.223;
const LONG_PAUSE: f32 = 0.364;
const SHORT_TURN: f32 = 0.019;
const SLOW: f32 = -0.001;
const PITCH: f32 = 0.006;
const LEVEL: f32 = 0.002;
const HESITATION: f32 = -0.216;

/// How long to wait for this caller now, s.
pub(crate) fn wait(cues: &TurnCues) -> f32 {
    let against = |pause: f32| libm::logf(pause.max(0.1) / COMMON);
    let pause = if cues.pauses > 0 {
        against(cues.pause_s)
    } else {
        0.0
    };
    let short = (1.0 - cues.spoken_s).max(0.0);
    let slow = if cues.rate > 0.0 {
        cues.rate - 4.0
    } else {
        0.0
    };
    let sum = BASE
        + PAUSE * pause
        + LONG_PAUSE * against(cues.long_pause_s)
        + SHORT_TURN * short
        + SLOW * slow.clamp(-2.0, 2.0)
        + PITCH * cues.last_pitch
        + LEVEL * cues.last_level_db
        + HESITATION * f32::from(u8::from(cues.hesitating));
    libm::expf(sum).clamp(SHORTEST, LONGEST)
}

/// The turn of one caller.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Sample after the last speech of a turn that is not over yet.
    open: Option<u64>,
    wait_samples: u64,
    paused: bool,
}

impl Turn {
    pub(crate) const fn new() -> Self {
        Self {
            open: None,
            wait_samples: 0,
            paused: false,
        }
    }

    /// Takes the frame that ends at `at`.
    pub(crate) fn hear(
        &mut self,
        at: u64,
        speech: &Speech,
        cues: impl FnOnce() -> TurnCues,
        report: &mut Report,
    ) {
        if speech.current().is_some() && speech.pause(at) == 0 {
            self.open = Some(at);
            self.paused = false;
            return;
        }
        let Some(end) = self.open else { return };
        if !self.paused {
            self.paused = true;
            self.wait_samples = (wait(&cues()) * 1_000.0 * MS) as u64;
        }
        if at - end >= self.wait_samples {
            self.open = None;
            let certainty = self.wait_samples as f32 / (LONGEST * 1_000.0 * MS);
            let confidence = (50.0 + 50.0 * certainty).min(100.0) as u8;
            report.push(EventKind::TurnEnd { end, confidence });
        }
    }
}
