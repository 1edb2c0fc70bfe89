//! When a caller's turn is over: a pause longer than theirs.
//!
//! A fixed pause either cuts slow talkers off or keeps quick ones waiting. The wait here is
//! about eight tenths of a second; after a held sound ("um") it is more than twice as long,
//! after an answer of a word or two up to a third shorter, longer for callers who pause long
//! or speak slowly. The last pitch and level weigh next to nothing. The weights are learnt
//! (`dsp/train/turns.py`), but that of the rate. It ends no speech: whoever goes on speaks
//! within the same turn. Called by the ear.

use crate::event::EventKind;
use crate::manner::TurnCues;
use crate::report::Report;
use crate::speech::Speech;

/// Samples per millisecond.
const MS: f32 = 8.0;
/// A turn's end is told within this time of its last speech, ms.
pub const LATEST_MS: u64 = 2_200;
/// Shortest and longest wait, s.
const SHORTEST: f32 = 0.25;
const LONGEST: f32 = LATEST_MS as f32 / 1_000.0;
/// Pauses are compared with this, s.
const COMMON: f32 = 0.5;

/// log(wait in s) = BASE + sum of weights times cues, see [`wait`].
const BASE: f32 = -0.290;
const PAUSE: f32 = 0.032;
const LONG_PAUSE: f32 = 0.379;
const SHORT_TURN: f32 = -0.454;
/// By hand: it moves the curves by nothing that can be told from chance.
const SLOW: f32 = -0.080;
const PITCH: f32 = 0.008;
const LEVEL: f32 = 0.007;
const HESITATION: f32 = 0.948;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller who said a sentence and of whom nothing else is known.
    const PLAIN: TurnCues = TurnCues {
        spoken_s: 2.0,
        pause_s: 0.0,
        long_pause_s: 0.6,
        pauses: 0,
        rate: 4.0,
        last_pitch: 0.0,
        last_level_db: 0.0,
        hesitating: false,
    };

    #[test]
    fn a_sentence_is_waited_for_eight_tenths_of_a_second() {
        assert!((0.75..0.85).contains(&wait(&PLAIN)), "{}", wait(&PLAIN));
    }

    #[test]
    fn a_short_answer_is_waited_for_less_and_a_hesitation_more_than_twice_as_long() {
        let answer = |spoken_s| wait(&TurnCues { spoken_s, ..PLAIN }) / wait(&PLAIN);
        assert!((0.65..0.8).contains(&answer(0.3)), "{}", answer(0.3));
        assert!((0.8..0.95).contains(&answer(0.7)), "{}", answer(0.7));
        let hesitating = wait(&TurnCues {
            hesitating: true,
            ..PLAIN
        });
        assert!(hesitating > 2.0 * wait(&PLAIN) && hesitating <= LONGEST);
    }

    #[test]
    fn who_pauses_long_or_speaks_slowly_is_waited_for_longer() {
        let pausing = |pause_s| {
            wait(&TurnCues {
                pause_s,
                long_pause_s: 1.3 * pause_s,
                pauses: 6,
                ..PLAIN
            })
        };
        let more = pausing(1.2) / pausing(0.3);
        assert!((1.5..2.0).contains(&more), "{more}");
        // Syllables a second, of whom each speaks slower than the next.
        let waits = [2.0, 3.0, 4.0, 5.0, 6.0].map(|rate| wait(&TurnCues { rate, ..PLAIN }));
        assert!(waits.is_sorted_by(|slow, quick| slow > quick), "{waits:?}");
        let more = waits[0] / waits[4];
        assert!((1.2..1.5).contains(&more), "{more}");
    }

    #[test]
    fn no_wait_is_out_of_bounds_whatever_was_measured() {
        for (pause_s, level) in [(0.0, -20.0), (0.0, 20.0), (9.0, 20.0), (9.0, -20.0)] {
            for hesitating in [false, true] {
                let cues = TurnCues {
                    spoken_s: 0.0,
                    pause_s,
                    long_pause_s: pause_s,
                    pauses: 1,
                    rate: 12.0,
                    last_pitch: -12.0,
                    last_level_db: level,
                    hesitating,
                };
                assert!((SHORTEST..=LONGEST).contains(&wait(&cues)), "{cues:?}");
            }
        }
    }
}
