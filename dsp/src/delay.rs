//! How late our own prompt comes back: by the likeness of two envelopes.
//!
//! Levels of both directions, 10 ms apart, are correlated at every lag up to
//! half a second. It finds an echo's delay to 10 ms or so and nothing finer.
//! Called by the echo canceller, which puts its short filter there.

use crate::spectrum::decibels;

/// Lags looked at, in frames: 0 to 500 ms.
pub(crate) const LAGS: usize = 50;
/// A lag must be this alike to be believed …
const LEAST_LIKENESS: f32 = 0.4;
/// … and this much more than the one in use.
const CLEARLY: f32 = 0.08;
/// Means are taken over about 2.5 s of prompt.
const PACE: f32 = 0.004;
/// Frames of prompt before anything is said: 0.8 s.
const FIRST: u32 = 80;
/// Softer is silence to both envelopes, dBov.
const SOFTEST: f32 = -60.0;

/// Running correlation of one line.
#[derive(Clone, Debug)]
pub(crate) struct Delay {
    far_db: [f32; LAGS],
    near_mean: f32,
    near_square: f32,
    far_mean: f32,
    far_square: f32,
    products: [f32; LAGS],
    frames: u32,
    lag: usize,
}

impl Delay {
    pub(crate) const fn new() -> Self {
        Self {
            far_db: [SOFTEST; LAGS],
            near_mean: SOFTEST,
            near_square: 0.0,
            far_mean: SOFTEST,
            far_square: 0.0,
            products: [0.0; LAGS],
            frames: 0,
            lag: 0,
        }
    }

    /// Takes the power of a frame in both directions; says at which lag, in
    /// frames, the echo is thought to be.
    pub(crate) fn hear(&mut self, near_power: f32, far_power: f32) -> usize {
        self.far_db.copy_within(..LAGS - 1, 1);
        self.far_db[0] = decibels(far_power).max(SOFTEST);
        self.frames = self.frames.saturating_add(1);
        let pace = (1.0 / self.frames as f32).max(PACE);
        let near = decibels(near_power).max(SOFTEST);
        self.near_mean += pace * (near - self.near_mean);
        self.far_mean += pace * (self.far_db[0] - self.far_mean);
        let near = near - self.near_mean;
        let far = self.far_db[0] - self.far_mean;
        self.near_square += pace * (near * near - self.near_square);
        self.far_square += pace * (far * far - self.far_square);
        for (product, far_db) in self.products.iter_mut().zip(&self.far_db) {
            *product += pace * (near * (far_db - self.far_mean) - *product);
        }
        if self.frames >= FIRST {
            self.choose();
        }
        self.lag
    }

    fn choose(&mut self) {
        let scale = libm::sqrtf(self.near_square * self.far_square).max(1e-6);
        let mut best = (self.lag, self.products[self.lag] / scale + CLEARLY);
        for (lag, product) in self.products.iter().enumerate() {
            let likeness = product / scale;
            if likeness > best.1 && likeness > LEAST_LIKENESS {
                best = (lag, likeness);
            }
        }
        self.lag = best.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_of_a_quarter_second_is_found() {
        let mut delay = Delay::new();
        let mut noise = crate::noise::ComfortNoise::new(10, 3);
        let mut past = [0.0; 26];
        let mut found = 0;
        for _ in 0..300 {
            let loudness = f32::from(noise.sample()) / 32_768.0;
            past.copy_within(..25, 1);
            past[0] = loudness * loudness;
            found = delay.hear(past[25] * 0.1, past[0]);
        }
        assert_eq!(found, 25);
    }
}
