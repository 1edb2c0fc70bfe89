//! How periodic the line is, by range of pitch.
//!
//! Normalised autocorrelation of 32 ms at half the rate, its maximum in six
//! ranges from 60 to 400 Hz. It names no pitch. Called by `voice`.

use crate::FRAME;
use crate::four::{Four, product, transposed};

/// Ranges of pitch.
pub(crate) const RANGES: usize = 6;
/// Their first lags at 4 kHz, and one past the last: 400 Hz down to 60.
const EDGES: [usize; RANGES + 1] = [10, 14, 19, 26, 35, 48, 66];
/// Samples compared: 32 ms.
const COMPARED: usize = 128;
/// Lags compared, four at a time.
const LAGS: usize = EDGES[RANGES] - EDGES[0];
const _: () = assert!(LAGS.is_multiple_of(4));
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
        let first = &self.history[HISTORY - COMPARED - EDGES[0]..][..COMPARED];
        let mut energy = product(first, first);
        let mut likeness = [0.0f32; RANGES];
        let mut range = 0;
        for group in 0..LAGS / 4 {
            let shortest = EDGES[0] + 4 * group;
            let common = self.products(shortest);
            for (offset, common) in common.into_iter().enumerate() {
                let lag = shortest + offset;
                range += usize::from(lag == EDGES[range + 1]);
                let alike = common / (libm::sqrtf(own * energy) + SOFT);
                likeness[range] = alike.max(likeness[range]);
                let begin = HISTORY - COMPARED - lag;
                let entering = if begin > 0 {
                    self.history[begin - 1]
                } else {
                    0.0
                };
                let leaving = self.history[begin + COMPARED - 1];
                energy = (energy + entering * entering - leaving * leaving).max(0.0);
            }
        }
        likeness.map(|alike| alike.min(1.0))
    }

    fn compared(&self, begin: usize) -> &[[f32; 4]; COMPARED / 4] {
        let (fours, _) = self.history[begin..begin + COMPARED].as_chunks();
        fours.first_chunk().expect("as many as are compared")
    }

    /// Products of the last 32 ms with those that end this many samples before,
    /// and one, two, three more.
    fn products(&self, lag: usize) -> [f32; 4] {
        let begin = HISTORY - COMPARED - lag;
        let now = self.compared(HISTORY - COMPARED);
        let (one, two) = (self.compared(begin), self.compared(begin - 1));
        let (three, four) = (self.compared(begin - 2), self.compared(begin - 3));
        let mut sums = [Four::same(0.0); 4];
        for at in 0..COMPARED / 4 {
            let now = Four::of(&now[at]);
            sums[0] = sums[0].plus(now.times(Four::of(&one[at])));
            sums[1] = sums[1].plus(now.times(Four::of(&two[at])));
            sums[2] = sums[2].plus(now.times(Four::of(&three[at])));
            sums[3] = sums[3].plus(now.times(Four::of(&four[at])));
        }
        let [a, b, c, d] = transposed(sums);
        a.plus(b).plus(c.plus(d)).values()
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
