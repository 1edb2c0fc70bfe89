//! How periodic the line is, by range of pitch.
//!
//! Normalised autocorrelation of 32 ms at half the rate, its maximum in six
//! ranges from 60 to 400 Hz. It names no pitch. Called by `voice`.

use crate::FRAME;
use crate::spectrum::product;

/// Ranges of pitch.
pub(crate) const RANGES: usize = 6;
/// Their first lags at 4 kHz, and one past the last: 400 Hz down to 60.
const EDGES: [usize; RANGES + 1] = [10, 14, 19, 26, 35, 48, 66];
/// Samples compared: 32 ms.
const COMPARED: usize = 128;
const HISTORY: usize = COMPARED + EDGES[RANGES];
/// Softer than this, -62 dBov, a likeness counts for less.
const SOFT: f32 = 6e-7 * COMPARED as f32;

/// The line at half its rate.
#[derive(Clone, Debug)]
pub(crate) struct Pitch {
    history: [f32; HISTORY],
    last: f32,
}

impl Pitch {
    pub(crate) const fn new() -> Self {
        Self {
            history: [0.0; HISTORY],
            last: 0.0,
        }
    }

    /// Takes 10 ms; the likeness, 0 to 1, in each range.
    pub(crate) fn hear(&mut self, frame: &[f32; FRAME]) -> [f32; RANGES] {
        self.history.copy_within(FRAME / 2.., 0);
        let (pairs, _) = frame.as_chunks::<2>();
        for (slot, pair) in self.history[HISTORY - FRAME / 2..].iter_mut().zip(pairs) {
            *slot = 0.25 * self.last + 0.5 * pair[0] + 0.25 * pair[1];
            self.last = pair[1];
        }
        let now = &self.history[HISTORY - COMPARED..];
        let own = product(now, now);
        let first = HISTORY - COMPARED - EDGES[0];
        let mut energy = product(
            &self.history[first..][..COMPARED],
            &self.history[first..][..COMPARED],
        );
        let mut likeness = [0.0; RANGES];
        for (range, most) in likeness.iter_mut().enumerate() {
            for lag in EDGES[range]..EDGES[range + 1] {
                let begin = HISTORY - COMPARED - lag;
                let then = &self.history[begin..][..COMPARED];
                let alike = product(now, then) / (libm::sqrtf(own * energy) + SOFT);
                *most = alike.max(*most);
                let entering = if begin > 0 {
                    self.history[begin - 1]
                } else {
                    0.0
                };
                let leaving = then[COMPARED - 1];
                energy = (energy + entering * entering - leaving * leaving).max(0.0);
            }
        }
        likeness.map(|alike| alike.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_train_is_periodic_in_its_range_and_noise_in_none() {
        let mut pitch = Pitch::new();
        let mut likeness = [0.0; RANGES];
        for round in 0..10 {
            let pulse = |i: usize| {
                if (round * FRAME + i) % 60 < 6 {
                    0.2
                } else {
                    0.0
                }
            };
            likeness = pitch.hear(&core::array::from_fn(pulse));
        }
        assert!(likeness[3] > 0.9, "133 Hz: {likeness:?}");
        assert!(likeness[1] < 0.5, "{likeness:?}");
        let mut noise = crate::noise::ComfortNoise::new(20, 5);
        for _ in 0..10 {
            likeness = pitch.hear(&core::array::from_fn(|_| {
                f32::from(noise.sample()) / 32_768.0
            }));
        }
        assert!(likeness.iter().all(|&alike| alike < 0.6), "{likeness:?}");
    }
}
