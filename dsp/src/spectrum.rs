//! The last 64 ms of the line as samples, spectra and peaks.
//!
//! Levels are powers relative to full scale: 1.0 is 0 dBov. It judges nothing;
//! the ear's voice and tone parts read it once per frame.

use crate::FRAME;
use crate::fourier::{BINS, Bins, Complex, forward_long, hann};

/// Samples of the long window: 64 ms, for tones.
pub(crate) const LONG: usize = 512;
/// Bins of the long spectrum, 15.625 Hz apart.
pub(crate) const LONG_BINS: usize = LONG / 2;
/// Bins of the short spectrum, 31.25 Hz apart.
pub(crate) const SHORT_BINS: usize = BINS;
/// The first of them that counts: 190 Hz.
const LOWEST_SHORT: usize = 6;

const HANN: [f32; LONG] = hann();
/// No tone and no music is looked for on a line as soft as this: -60 dBov.
const LEAST_POWER: f32 = 1e-6;

/// Sliding window over the line and its spectra.
#[derive(Clone, Debug)]
pub(crate) struct Spectrum {
    history: [f32; LONG],
    /// Power per bin of the last 64 ms, where it tells anything.
    pub(crate) long: [f32; LONG_BINS],
    /// Power per bin of the last 32 ms.
    pub(crate) short: [f32; SHORT_BINS],
    has_long: bool,
    /// Whether a tone could be in the last 32 ms.
    pub(crate) is_peaky: bool,
    /// Power of the last 10 ms.
    pub(crate) frame_power: f32,
    /// Power of the last 20 ms.
    pub(crate) pair_power: f32,
}

impl Spectrum {
    pub(crate) const fn new() -> Self {
        Self {
            history: [0.0; LONG],
            long: [0.0; LONG_BINS],
            short: [0.0; SHORT_BINS],
            has_long: false,
            is_peaky: false,
            frame_power: 0.0,
            pair_power: 0.0,
        }
    }

    /// Takes the next 10 ms, full scale = 1.0, and the spectrum of the last 32
    /// through a window (see `bands`). The long spectrum is all zeros where it
    /// could tell nothing: on a soft line, and without peaks unless it is `wanted`.
    pub(crate) fn push(&mut self, frame: &[f32; FRAME], bins: &Bins, wanted: bool) {
        self.history.copy_within(FRAME.., 0);
        self.history[LONG - FRAME..].copy_from_slice(frame);
        let before = self.frame_power;
        self.frame_power = frame.iter().map(|s| s * s).sum::<f32>() / FRAME as f32;
        self.pair_power = 0.5 * (before + self.frame_power);
        self.short = powers(bins);
        let (total, most) = extent(&self.short[LOWEST_SHORT..]);
        self.is_peaky = most >= 0.5 * PEAKY * total;
        let is_loud = self.frame_power.max(before) > LEAST_POWER;
        let (was, tells) = (self.has_long, is_loud && (self.is_peaky || wanted));
        if tells {
            self.long = self.transform_long();
        } else if was {
            self.long = [0.0; LONG_BINS];
        }
        self.has_long = tells;
    }

    /// The last `count` samples (at most 512), oldest first.
    pub(crate) fn recent(&self, count: usize) -> &[f32] {
        &self.history[LONG - count..]
    }

    fn transform_long(&self) -> [f32; LONG_BINS] {
        let mut buffer = [0.0; LONG];
        for ((slot, sample), weight) in buffer.iter_mut().zip(&self.history).zip(&HANN) {
            *slot = sample * weight;
        }
        powers(&forward_long(&buffer))
    }
}

/// Powers that sum to the mean square of the windowed signal. The window's own
/// energy is 3/8 of its length (Hann).
fn powers<const N: usize>(bins: &Complex<N>) -> [f32; N] {
    let length = 2.0 * N as f32;
    let scale = 2.0 / (length * length * 0.375);
    let mut powers = bins.squares();
    for power in &mut powers {
        *power *= scale;
    }
    powers[0] = 0.0; // DC, and the packed Nyquist bin
    powers
}

/// A concentration of power.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    /// Its centre of gravity.
    pub(crate) hertz: f32,
    /// Power of the peak with its skirts.
    pub(crate) power: f32,
}

/// The two strongest peaks of a spectrum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peaks {
    pub(crate) first: Peak,
    pub(crate) second: Peak,
    /// Power from 190 Hz up.
    pub(crate) total: f32,
}

impl Peaks {
    /// Share of the strongest peak in the whole, 0 to 1.
    pub(crate) fn purity(&self) -> f32 {
        self.first.power / self.total.max(f32::MIN_POSITIVE)
    }

    /// Share of both peaks in the whole, 0 to 1.
    pub(crate) fn purity_of_both(&self) -> f32 {
        (self.first.power + self.second.power) / self.total.max(f32::MIN_POSITIVE)
    }
}

/// A tone, or the stronger of two, has at least this share of the power in its
/// strongest bin; with less there are no peaks worth measuring.
const PEAKY: f32 = 0.1;

/// Finds the two strongest peaks; a peak is `radius` bins wide to each side.
pub(crate) fn peaks(powers: &[f32], radius: usize) -> Peaks {
    let hertz_per_bin = 4_000.0 / powers.len() as f32;
    let lowest = (190.0 / hertz_per_bin) as usize;
    let (total, most) = extent(&powers[lowest..]);
    if most < PEAKY * total {
        return Peaks {
            total,
            ..Peaks::default()
        };
    }
    let mut tops = [0.0; LONG_BINS];
    let tops = &mut tops[..powers.len()];
    keep_tops(powers, lowest, tops);
    let (first, middle) = strongest(powers, lowest, radius, tops, None);
    let around = middle.saturating_sub(radius)..(middle + radius + 1).min(tops.len());
    tops[around].fill(0.0);
    let (second, _) = strongest(powers, lowest, radius, tops, Some(middle));
    Peaks {
        first,
        second,
        total,
    }
}

/// Copies the bins that are not below their neighbours.
fn keep_tops(powers: &[f32], lowest: usize, tops: &mut [f32]) {
    let last = powers.len() - 1;
    let inner = powers[lowest - 1..].windows(3);
    for (top, three) in tops[lowest..last].iter_mut().zip(inner) {
        let is_top = (three[0] <= three[1]) & (three[2] <= three[1]);
        *top = if is_top { three[1] } else { 0.0 };
    }
    if powers[last - 1] <= powers[last] {
        tops[last] = powers[last];
    }
}

/// Sum and maximum, in lanes so that the compiler can use vectors.
fn extent(powers: &[f32]) -> (f32, f32) {
    let (mut sums, mut most) = ([0.0f32; 8], [0.0f32; 8]);
    let (chunks, rest) = powers.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            sums[lane] += chunk[lane];
            most[lane] = if chunk[lane] > most[lane] {
                chunk[lane]
            } else {
                most[lane]
            };
        }
    }
    let all = most
        .iter()
        .chain(rest)
        .fold(0.0, |most: f32, &power| most.max(power));
    (sums.iter().chain(rest).sum(), all)
}

/// The strongest of these tops with its skirts, as far as they are not taken.
fn strongest(
    powers: &[f32],
    lowest: usize,
    radius: usize,
    tops: &[f32],
    taken: Option<usize>,
) -> (Peak, usize) {
    let (_, most) = extent(tops);
    if most <= 0.0 {
        return (Peak::default(), lowest);
    }
    let middle = tops
        .iter()
        .position(|&top| top == most)
        .expect("the greatest is one of them");
    let free = |bin: usize| taken.is_none_or(|taken| bin.abs_diff(taken) > radius);
    let (mut power, mut moment) = (0.0, 0.0);
    let first = middle.saturating_sub(radius).max(lowest);
    let around = powers.iter().enumerate().take(middle + radius + 1);
    for (bin, &share) in around.skip(first).filter(|(bin, _)| free(*bin)) {
        power += share;
        moment += share * bin as f32;
    }
    let hertz = moment / power * 4_000.0 / powers.len() as f32;
    (Peak { hertz, power }, middle)
}

/// Decibels of a power, within 0.02 dB, never below -120: the exponent, and a parabola for the rest.
pub(crate) fn decibels(power: f32) -> f32 {
    let bits = power.max(1e-12).to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let mantissa = f32::from_bits((bits & 0x007F_FFFF) | 0x3F80_0000);
    let rest = mantissa - 1.0;
    let log2 = exponent as f32 + rest * (1.417_5 + rest * (-0.582_6 + rest * 0.165_1));
    log2 * 3.010_3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Sine;

    fn spectrum_of(tones: &[(f32, f32)]) -> Spectrum {
        let mut spectrum = Spectrum::new();
        let mut view = crate::bands::View::new();
        let mut sines: [Option<Sine>; 2] = [None, None];
        for (slot, &(hertz, level)) in sines.iter_mut().zip(tones) {
            *slot = Some(Sine::new(hertz, level));
        }
        for _ in 0..8 {
            let mut frame = [0.0; FRAME];
            for slot in &mut frame {
                *slot = sines.iter_mut().flatten().map(Sine::sample).sum::<f32>() / 32_768.0;
            }
            spectrum.push(&frame, &view.push(&frame), true);
        }
        spectrum
    }

    #[test]
    fn power_of_a_sine_is_its_level_in_both_windows() {
        let spectrum = spectrum_of(&[(1_004.0, -20.0)]);
        let long: f32 = spectrum.long.iter().sum();
        let short: f32 = spectrum.short.iter().sum();
        assert!((decibels(long) + 20.0).abs() < 0.3);
        assert!((decibels(short) + 20.0).abs() < 0.5);
    }

    #[test]
    fn a_pair_of_tones_is_found_within_three_hertz() {
        for pair in [(480.0, 620.0), (350.0, 440.0), (770.0, 1_336.0)] {
            let found = peaks(&spectrum_of(&[(pair.0, -20.0), (pair.1, -21.0)]).long, 4);
            assert!((found.first.hertz - pair.0).abs() < 3.0, "{found:?}");
            assert!((found.second.hertz - pair.1).abs() < 3.0, "{found:?}");
            assert!(found.purity_of_both() > 0.98);
        }
    }

    #[test]
    fn silence_has_no_peaks() {
        let found = peaks(&[0.0; LONG_BINS], 4);
        assert_eq!(found.first.power, 0.0);
        assert_eq!(found.purity_of_both(), 0.0);
    }

    #[test]
    fn decibels_are_close_to_the_exact_ones() {
        for step in 0..2_000 {
            let power = libm::powf(10.0, -0.005 * step as f32);
            assert!(
                (decibels(power) + 0.05 * step as f32).abs() < 0.02,
                "{power}"
            );
        }
    }
}
