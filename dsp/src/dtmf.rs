//! Keys pressed, heard in band: ITU-T Q.23 tones by Q.24 timing.
//!
//! Reported as soon as the tone is long enough, once per press. It does not
//! read RFC 4733 events (the media threads do). Called by the ear.

use crate::FRAME;
use crate::spectrum::{LONG, Spectrum, decibels};
use crate::tone::{DTMF_HIGH, DTMF_LOW};
use microfft::Complex32;

/// Samples looked at: 25 ms, so that 40 ms (Q.24: must be taken) fill three hops.
const WINDOW: usize = 200;
/// Frames that must agree; 20 ms (Q.24: must be left) fill at most two.
const FRAMES: u32 = 3;
/// Frames of something else before a key may come again: 20 ms (Q.24: a break of 10 ms is none).
const FRAMES_BETWEEN: u32 = 2;
/// Share of the two tones in the power; speech rarely reaches it.
const PURE: f32 = 0.72;
/// The high tone may be this much louder, or softer, than the low one (Q.24 table 1).
const TWIST_DB: core::ops::RangeInclusive<f32> = -9.0..=6.0;
/// Largest deviation that is taken: Q.24 demands 1.5 % and forbids 3.5 %.
const DEVIATION: f32 = 0.025;
/// Softer tones are not keys, dBov for both together.
const LOWEST_LEVEL: f32 = -42.0;

/// Key detector of one line.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    window: [f32; WINDOW],
    before: [Complex32; 8],
    candidate: Option<u8>,
    frames: u32,
    /// The key that is held, and frames since it was last heard.
    held: Option<(u8, u32)>,
}

/// One of the tones.
#[derive(Clone, Copy, Default)]
struct Tone {
    index: usize,
    power: f32,
    deviation_hz: f32,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let mut window = [0.0; WINDOW];
        for (index, weight) in window.iter_mut().enumerate() {
            let angle = core::f32::consts::TAU * (index as f32 + 0.5) / WINDOW as f32;
            *weight = 0.5 - 0.5 * libm::cosf(angle);
        }
        Self {
            window,
            before: [Complex32::default(); 8],
            candidate: None,
            frames: 0,
            held: None,
        }
    }

    /// Whether a key is held right now.
    pub(crate) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the frame that ends at `at`; says which key began, and where.
    pub(crate) fn hear(&mut self, at: u64, spectrum: &Spectrum) -> Option<(u8, u64)> {
        let digit = self.judge(spectrum);
        if let Some((held, away)) = self.held {
            let away = if digit == Some(held) { 0 } else { away + 1 };
            self.held = (away < FRAMES_BETWEEN).then_some((held, away));
            self.candidate = digit;
            self.frames = u32::from(digit.is_some());
            return None;
        }
        self.frames = if digit.is_some() && digit == self.candidate {
            self.frames + 1
        } else {
            1
        };
        self.candidate = digit;
        let digit = digit.filter(|_| self.frames >= FRAMES)?;
        self.held = Some((digit, 0));
        Some((
            digit,
            at.saturating_sub((FRAMES as usize * FRAME + FRAME) as u64),
        ))
    }

    fn judge(&mut self, spectrum: &Spectrum) -> Option<u8> {
        if !spectrum.is_peaky || decibels(spectrum.pair_power) < LOWEST_LEVEL - 6.0 {
            self.before = [Complex32::default(); 8];
            return None;
        }
        let mut windowed = [0.0; WINDOW];
        let recent = spectrum.recent(WINDOW.min(LONG));
        for ((slot, sample), weight) in windowed.iter_mut().zip(recent).zip(&self.window) {
            *slot = sample * weight;
        }
        let total = windowed.iter().map(|s| s * s).sum::<f32>() / (WINDOW as f32 * 0.375);
        let low = self.strongest(&windowed, &DTMF_LOW, 0);
        let high = self.strongest(&windowed, &DTMF_HIGH, 4);
        is_key(&low, &high, total).then(|| KEYS[low.index][high.index])
    }

    fn strongest(&mut self, windowed: &[f32; WINDOW], group: &[u16; 4], offset: usize) -> Tone {
        let mut best = Tone::default();
        for (index, &hertz) in group.iter().enumerate() {
            let bin = correlate(windowed, f32::from(hertz));
            let before = core::mem::replace(&mut self.before[offset + index], bin);
            let power = 2.0 * bin.norm_sqr() / (WINDOW * WINDOW / 4) as f32;
            if power > best.power {
                best = Tone {
                    index,
                    power,
                    deviation_hz: deviation(bin, before, f32::from(hertz)),
                };
                best.deviation_hz /= f32::from(hertz);
            }
        }
        best
    }
}

const KEYS: [[u8; 4]; 4] = [*b"123A", *b"456B", *b"789C", *b"*0#D"];

fn is_key(low: &Tone, high: &Tone, total: f32) -> bool {
    let twist = decibels(high.power) - decibels(low.power);
    decibels(total) > LOWEST_LEVEL
        && low.power + high.power > PURE * total
        && TWIST_DB.contains(&twist)
        && low.deviation_hz.abs() < DEVIATION
        && high.deviation_hz.abs() < DEVIATION
}

/// One bin of the Fourier transform, by rotation.
fn correlate(windowed: &[f32; WINDOW], hertz: f32) -> Complex32 {
    let angle = core::f32::consts::TAU * hertz / 8_000.0;
    let step = Complex32::new(libm::cosf(angle), -libm::sinf(angle));
    let mut turn = Complex32::new(1.0, 0.0);
    let mut sum = Complex32::default();
    for &sample in windowed {
        sum += turn * sample;
        turn *= step;
    }
    sum
}

/// How far the tone is from `hertz`, by how far its phase moved in one frame, Hz.
fn deviation(bin: Complex32, before: Complex32, hertz: f32) -> f32 {
    let expected = core::f32::consts::TAU * hertz * FRAME as f32 / 8_000.0;
    let turned_back = Complex32::new(libm::cosf(expected), -libm::sinf(expected));
    let moved = bin * before.conj() * turned_back;
    libm::atan2f(moved.im, moved.re) / (core::f32::consts::TAU * FRAME as f32 / 8_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::ComfortNoise;
    use crate::tone::{Dtmf, Sine};

    fn keys_heard(samples: &[f32]) -> heapless::Vec<u8, 16> {
        let mut view = crate::bands::View::new();
        let mut spectrum = Spectrum::new();
        let mut keys = Keys::new();
        let mut heard = heapless::Vec::new();
        for (index, chunk) in samples.chunks_exact(FRAME).enumerate() {
            let frame = core::array::from_fn(|i| chunk[i] / 32_768.0);
            spectrum.push(&frame, &view.push(&frame));
            if let Some((digit, _)) = keys.hear(((index + 1) * FRAME) as u64, &spectrum) {
                heard.push(digit).expect("few keys");
            }
        }
        heard
    }

    fn press(digit: u8, tone_ms: u16, delay: usize, level: f32) -> heapless::Vec<u8, 16> {
        let mut samples = [0.0; 4_000];
        let mut key = Dtmf::new(digit, tone_ms, 0, level).expect("a key");
        for slot in &mut samples[delay..] {
            *slot = f32::from(key.sample().unwrap_or(0));
        }
        keys_heard(&samples)
    }

    #[test]
    fn every_key_of_forty_milliseconds_is_heard_once_at_any_alignment() {
        for &digit in b"0123456789*#ABCD" {
            for delay in (0..160).step_by(13) {
                assert_eq!(
                    press(digit, 40, 800 + delay, -20.0),
                    [digit],
                    "delay {delay}"
                );
            }
            assert_eq!(press(digit, 200, 800, -38.0), [digit]);
        }
    }

    #[test]
    fn twenty_milliseconds_are_no_key() {
        for delay in (0..160).step_by(7) {
            assert!(
                press(b'5', 20, 800 + delay, -20.0).is_empty(),
                "delay {delay}"
            );
        }
    }

    #[test]
    fn keys_off_by_one_and_a_half_percent_are_heard_and_by_five_are_not() {
        for (factor, heard) in [(1.015, true), (0.985, true), (1.05, false), (0.95, false)] {
            let mut low = Sine::new(770.0 * factor, -20.0);
            let mut high = Sine::new(1_336.0 * factor, -20.0);
            let samples: [f32; 2_000] = core::array::from_fn(|_| low.sample() + high.sample());
            assert_eq!(!keys_heard(&samples).is_empty(), heard, "factor {factor}");
        }
    }

    #[test]
    fn noise_and_single_tones_are_no_keys() {
        let mut noise = ComfortNoise::new(20, 5);
        let samples: [f32; 8_000] = core::array::from_fn(|_| f32::from(noise.sample()));
        assert!(keys_heard(&samples).is_empty());
        let mut sine = Sine::new(770.0, -16.0);
        let samples: [f32; 4_000] = core::array::from_fn(|_| sine.sample());
        assert!(keys_heard(&samples).is_empty());
    }
}
