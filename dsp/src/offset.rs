//! The constant in what comes from the line, taken away: old equipment adds one, and
//! to a canceller and a network it is a sound.
//!
//! A pole at 5 Hz, far below a telephone's 250 Hz. Called by the ear.

use crate::FRAME;

/// What is kept of the output from sample to sample: exp(-2 pi 5 / 8,000).
const KEPT: f32 = 0.996_1;
/// What decays below this is nothing, and not a denormal number.
const NOTHING: f32 = 1e-15;

/// The filter of one line.
#[derive(Clone, Debug)]
pub(crate) struct Offset {
    before: f32,
    rest: f32,
}

impl Offset {
    pub(crate) const fn new() -> Self {
        Self {
            before: 0.0,
            rest: 0.0,
        }
    }

    /// The samples without their constant, full scale = 1.0.
    pub(crate) fn remove(&mut self, samples: &[i16; FRAME]) -> [f32; FRAME] {
        let without = samples.map(|sample| {
            let sample = f32::from(sample) / 32_768.0;
            self.rest = sample - self.before + KEPT * self.rest;
            self.before = sample;
            self.rest
        });
        if self.rest.abs() < NOTHING {
            self.rest = 0.0;
        }
        without
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Sine;

    #[test]
    fn a_constant_is_gone_after_half_a_second_and_zeros_stay_zeros() {
        let mut offset = Offset::new();
        let mut last = [1.0; FRAME];
        for _ in 0..60 {
            last = offset.remove(&[8_000; FRAME]);
        }
        assert!(last.iter().all(|sample| sample.abs() < 1e-6), "{last:?}");
        for _ in 0..200 {
            last = offset.remove(&[0; FRAME]);
        }
        assert!(last.iter().all(|&sample| sample == 0.0), "{last:?}");
    }

    #[test]
    fn a_telephone_band_passes_within_a_tenth_of_a_decibel() {
        for hertz in [250.0, 1_000.0, 3_400.0] {
            let (mut offset, mut sine) = (Offset::new(), Sine::new(hertz, -20.0));
            let (mut sent, mut passed) = (0.0, 0.0);
            for frame in 0..100 {
                let mut samples = [0; FRAME];
                sine.fill(&mut samples);
                let without = offset.remove(&samples);
                if frame >= 20 {
                    sent += samples
                        .iter()
                        .map(|&s| (f32::from(s) / 32_768.0).powi(2))
                        .sum::<f32>();
                    passed += without.iter().map(|s| s * s).sum::<f32>();
                }
            }
            let changed = crate::spectrum::decibels(passed) - crate::spectrum::decibels(sent);
            assert!(changed.abs() < 0.1, "{hertz}: {changed}");
        }
    }
}
