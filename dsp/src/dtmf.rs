//! Keys pressed, heard in band: ITU-T Q.23 tones by Q.24 timing.
//!
//! Reported as soon as the tone is long enough, once per press. It does not
//! read RFC 4733 events (the media threads do). Called by the ear.

use crate::FRAME;
use crate::four::product;
use crate::fourier::{cosine, hann};
use crate::spectrum::{Spectrum, decibels};
use crate::tone::{DTMF_HIGH, DTMF_LOW};

/// Samples looked at: 25 ms, so that 40 ms (Q.24: must be taken) fill three hops.
const WINDOW: usize = 200;
/// Frames that must agree; 20 ms (Q.24: must be left) fill at most two.
const FRAMES: u32 = 3;
/// Frames of something else before a key may come again: a break of 10 ms (Q.24: is none)
/// reaches into at most two windows, a pause of 20 ms and more into three at least.
const FRAMES_BETWEEN: u32 = 3;
/// Share of the two tones in the power; speech rarely reaches it.
const PURE: f32 = 0.72;
/// The high tone may be this much louder, or softer, than the low one (Q.24 table 1).
const TWIST_DB: core::ops::RangeInclusive<f32> = -9.0..=6.0;
/// Largest deviation that is taken: Q.24 demands 1.5 % and forbids 3.5 %.
const DEVIATION: f32 = 0.025;
/// Softer tones are not keys, dBov for both together.
const LOWEST_LEVEL: f32 = -42.0;

const HANN: [f32; WINDOW] = hann();

/// A bin of a transform: real and imaginary part.
type Bin = (f32, f32);

/// Key detector of one line.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    before: [Bin; 8],
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
    bin: Bin,
    /// The same bin one frame ago.
    before: Bin,
    hertz: f32,
}

/// A tone to compare with.
struct Waves {
    hertz: f32,
    cos: [f32; WINDOW],
    sin: [f32; WINDOW],
}

/// The four low tones, then the high ones.
static WAVES: [Waves; 8] = waves();

const fn waves() -> [Waves; 8] {
    let mut waves = [const {
        Waves {
            hertz: 0.0,
            cos: [0.0; WINDOW],
            sin: [0.0; WINDOW],
        }
    }; 8];
    let mut index = 0;
    while index < 8 {
        let hertz = if index < 4 {
            DTMF_LOW[index]
        } else {
            DTMF_HIGH[index - 4]
        };
        waves[index].hertz = hertz as f32;
        let mut sample = 0;
        while sample < WINDOW {
            let turn = (hertz as usize * sample % 8_000) as f64 / 8_000.0;
            waves[index].cos[sample] = cosine(turn) as f32;
            waves[index].sin[sample] = cosine(turn - 0.25) as f32;
            sample += 1;
        }
        index += 1;
    }
    waves
}

impl Keys {
    pub(crate) const fn new() -> Self {
        Self {
            before: [(0.0, 0.0); 8],
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
            self.before = [(0.0, 0.0); 8];
            return None;
        }
        let mut windowed = [0.0; WINDOW];
        let recent = spectrum.recent(WINDOW);
        for ((slot, sample), weight) in windowed.iter_mut().zip(recent).zip(&HANN) {
            *slot = sample * weight;
        }
        let total = product(&windowed, &windowed) / (WINDOW as f32 * 0.375);
        let low = self.strongest(&windowed, 0);
        let high = self.strongest(&windowed, 4);
        is_key(&low, &high, total).then(|| KEYS[low.index][high.index])
    }

    /// The strongest of the four tones that begin with this one.
    fn strongest(&mut self, windowed: &[f32; WINDOW], first: usize) -> Tone {
        let mut best = Tone::default();
        for index in 0..4 {
            let waves = &WAVES[first + index];
            let bin = (
                product(windowed, &waves.cos),
                -product(windowed, &waves.sin),
            );
            let before = core::mem::replace(&mut self.before[first + index], bin);
            let power = 2.0 * (bin.0 * bin.0 + bin.1 * bin.1) / (WINDOW * WINDOW / 4) as f32;
            if power > best.power {
                best = Tone {
                    index,
                    power,
                    bin,
                    before,
                    hertz: waves.hertz,
                };
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
        && low.deviation().abs() < DEVIATION
        && high.deviation().abs() < DEVIATION
}

impl Tone {
    /// How far off it is as a share of its frequency, by how far its phase moved
    /// in one frame.
    fn deviation(&self) -> f32 {
        const TURN: f32 = core::f32::consts::TAU * FRAME as f32 / 8_000.0;
        let expected = TURN * self.hertz;
        let (cos, sin) = (libm::cosf(expected), -libm::sinf(expected));
        let ((re, im), (then_re, then_im)) = (self.bin, self.before);
        let moved = (re * then_re + im * then_im, im * then_re - re * then_im);
        let off = (moved.0 * cos - moved.1 * sin, moved.0 * sin + moved.1 * cos);
        libm::atan2f(off.1, off.0) / expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::ComfortNoise;
    use crate::tone::{Dtmf, Sine, ZERO_DBM0_DBOV};

    fn keys_heard(samples: &[f32]) -> heapless::Vec<u8, 16> {
        let mut view = crate::bands::View::new();
        let mut spectrum = Spectrum::new();
        let mut keys = Keys::new();
        let mut heard = heapless::Vec::new();
        for (index, chunk) in samples.chunks_exact(FRAME).enumerate() {
            let frame = core::array::from_fn(|i| chunk[i] / 32_768.0);
            spectrum.push(&frame, &view.push(&frame), true);
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

    /// A 5 with each tone at a level of its own, on for these stretches of milliseconds
    /// (on, off, on, …) after 100 ms of a quiet line, moved by `delay` samples.
    fn stretches(low: f32, high: f32, ms: &[usize], delay: usize) -> heapless::Vec<u8, 16> {
        let mut noise = ComfortNoise::new(66, 11);
        let mut samples: [f32; 8_000] = core::array::from_fn(|_| f32::from(noise.sample()));
        let (mut low, mut high) = (Sine::new(770.0, low), Sine::new(1_336.0, high));
        let mut at = 800 + delay;
        for (index, ms) in ms.iter().enumerate() {
            for slot in &mut samples[at..at + 8 * ms] {
                let both = low.sample() + high.sample();
                let on = if index.is_multiple_of(2) { both } else { 0.0 };
                *slot = (*slot + on).clamp(-32_768.0, 32_767.0);
            }
            at += 8 * ms;
        }
        keys_heard(&samples)
    }

    /// How many of the alignments of a frame heard these keys.
    fn share_heard(low: f32, high: f32, ms: &[usize], expected: &[u8]) -> (usize, usize) {
        let delays = (0..FRAME).step_by(9);
        let all = delays.clone().count();
        let heard = delays.filter(|&delay| stretches(low, high, ms, delay) == expected);
        (heard.count(), all)
    }

    /// Levels per tone in dBm0: Q.24 table 1 demands 0 to -25 of the one who asks most
    /// (AT&T) and forbids -55. Two tones of 0 dBm0 are clipped by G.711.
    #[test]
    fn keys_are_heard_from_0_to_25_dbm0_below_and_not_at_55() {
        for (dbm0, expected) in [
            (0.0, &b"5"[..]),
            (-3.0, b"5"),
            (-12.0, b"5"),
            (-25.0, b"5"),
            (-30.0, b"5"),
            (-45.0, b""),
            (-55.0, b""),
        ] {
            let level = dbm0 + ZERO_DBM0_DBOV;
            let (heard, all) = share_heard(level, level, &[60], expected);
            assert_eq!(heard, all, "{dbm0} dBm0");
        }
    }

    /// Q.24 table 1: the high tone up to 4 dB louder and 8 dB softer must be taken
    /// (AT&T), 9 dB softer in Brazil, 6 dB either way in Denmark.
    #[test]
    fn twist_is_taken_up_to_its_limits_both_ways_and_not_far_beyond() {
        for (twist, expected) in [
            (4.0, &b"5"[..]),
            (5.5, b"5"),
            (8.0, b""),
            (12.0, b""),
            (-6.0, b"5"),
            (-8.0, b"5"),
            (-8.5, b"5"),
            (-11.0, b""),
            (-14.0, b""),
        ] {
            for low in [-12.0, -26.0] {
                let (heard, all) = share_heard(low, low + twist, &[60], expected);
                assert_eq!(heard, all, "twist {twist} dB, low {low} dBov");
            }
        }
    }

    /// Q.24 table 1: 40 ms must be taken, 20 ms left (Denmark, Brazil; 23 AT&T).
    #[test]
    fn a_tone_counts_from_forty_milliseconds_on_and_not_up_to_twenty() {
        for (ms, expected) in [
            (12, &b""[..]),
            (20, b""),
            (40, b"5"),
            (50, b"5"),
            (100, b"5"),
            (600, b"5"),
        ] {
            let (heard, all) = share_heard(-18.0, -18.0, &[ms], expected);
            assert_eq!(heard, all, "{ms} ms");
        }
    }

    /// Q.24 table 1: an interruption of 10 ms is none, after a pause of 40 ms (AT&T,
    /// Denmark; 30 ms NTT and Brazil) the same key is another press.
    #[test]
    fn a_break_of_ten_milliseconds_is_bridged_and_a_pause_of_thirty_parts_two_keys() {
        for (ms, expected) in [
            (&[40, 10, 40][..], &b"5"[..]),
            (&[60, 5, 60], b"5"),
            (&[60, 10, 60], b"5"),
            (&[50, 10, 50, 10, 50], b"5"),
            (&[40, 30, 40], b"55"),
            (&[40, 40, 40], b"55"),
            (&[60, 70, 60], b"55"),
            (&[50, 50, 50, 50, 50], b"555"),
        ] {
            let (heard, all) = share_heard(-18.0, -18.0, ms, expected);
            assert_eq!(heard, all, "{ms:?}");
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
