//! How late our own prompt comes back: by the likeness of two rows of bands.
//!
//! Of each direction it keeps one bit a band: louder than of late or not. Bits
//! that agree are counted at every lag up to 600 ms. It finds an echo's delay
//! to 10 ms and nothing finer, whatever the loudness of a caller on top. Called
//! by the echo canceller, which puts its short filter there.

use crate::bands::{BANDS, Bands};

/// Lags looked at, in frames: 0 to 600 ms.
pub(crate) const LAGS: usize = 61;
/// Frames of prompt that are counted, fading: about 2 s.
const PACE: f32 = 0.005;
/// Frames of prompt before anything is said: 0.5 s.
const FIRST: u32 = 50;
/// A lag must be this much more alike than chance, 0 to 1 …
const LEAST_LIKENESS: f32 = 0.16;
/// … and this much more than the one in use.
const CLEARLY: f32 = 0.04;
/// "Of late" is about 300 ms.
const MEAN_PACE: f32 = 0.03;
/// A near frame must have this level in some band to tell anything.
const LEAST_LEVEL_DB: f32 = -62.0;

/// Running agreement of one line.
#[derive(Clone, Debug)]
pub(crate) struct Delay {
    near_mean: Bands,
    far_mean: Bands,
    /// Bits of the far side, the newest first; 0 when it was silent.
    far_bits: [u32; LAGS],
    likeness: [f32; LAGS],
    frames: u32,
    lag: usize,
}

impl Delay {
    pub(crate) const fn new() -> Self {
        Self {
            near_mean: [-60.0; BANDS],
            far_mean: [-60.0; BANDS],
            far_bits: [0; LAGS],
            likeness: [0.0; LAGS],
            frames: 0,
            lag: 0,
        }
    }

    /// The far side was silent for long: what comes next has no past.
    pub(crate) fn rest(&mut self) {
        self.far_bits = [0; LAGS];
    }

    /// Takes the bands of both directions in decibels; says at which lag, in
    /// frames, the echo is thought to be.
    pub(crate) fn hear(&mut self, near: &Bands, far: &Bands, far_active: bool) -> usize {
        let near_bits = rising(near, &mut self.near_mean);
        let far_bits = rising(far, &mut self.far_mean);
        self.far_bits.copy_within(..LAGS - 1, 1);
        self.far_bits[0] = if far_active { far_bits } else { 0 };
        if near.iter().all(|&level| level < LEAST_LEVEL_DB) {
            return self.lag;
        }
        self.frames = self.frames.saturating_add(1);
        let pace = (2.0 / (self.frames as f32 + 10.0)).max(PACE);
        for (likeness, &far_bits) in self.likeness.iter_mut().zip(&self.far_bits) {
            if far_bits != 0 {
                let unlike = (near_bits ^ far_bits).count_ones() as f32;
                *likeness += pace * (1.0 - 2.0 * unlike / BANDS as f32 - *likeness);
            }
        }
        if self.frames >= FIRST {
            self.choose();
        }
        self.lag
    }

    fn choose(&mut self) {
        // Neighbours count by half: an echo's delay is seldom whole frames.
        let smooth = |lag: usize| {
            let before = self.likeness[lag.saturating_sub(1)];
            let after = self.likeness[(lag + 1).min(LAGS - 1)];
            0.5 * self.likeness[lag] + 0.25 * (before + after)
        };
        let chance = self.likeness.iter().sum::<f32>() / LAGS as f32;
        let mut best = (self.lag, smooth(self.lag) + CLEARLY);
        for lag in 0..LAGS {
            let likeness = smooth(lag);
            if likeness > best.1 && likeness - chance > LEAST_LIKENESS {
                best = (lag, likeness);
            }
        }
        self.lag = best.0;
    }
}

/// Which bands are louder than of late; the means move on.
fn rising(levels: &Bands, means: &mut Bands) -> u32 {
    let mut bits = 0;
    for (band, (&level, mean)) in levels.iter().zip(means).enumerate() {
        let level = level.max(-70.0);
        bits |= u32::from(level > *mean) << band;
        *mean += MEAN_PACE * (level - *mean);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::ComfortNoise;

    #[test]
    fn a_delay_of_a_quarter_second_is_found() {
        let mut delay = Delay::new();
        let mut noise = ComfortNoise::new(10, 3);
        let mut past = [[-40.0; BANDS]; 26];
        let mut found = 0;
        for _ in 0..300 {
            past.copy_within(..25, 1);
            past[0] = core::array::from_fn(|_| -40.0 + f32::from(noise.sample()) / 1_000.0);
            let near = past[25].map(|level| level - 12.0);
            found = delay.hear(&near, &past[0], true);
        }
        assert_eq!(found, 25);
    }
}
