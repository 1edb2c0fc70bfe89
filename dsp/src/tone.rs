//! Tones that we send: test tones and DTMF digits.
//!
//! It detects nothing (that is the ear's `signal` and `dtmf`). Called by the
//! media threads, by the test destinations and by tests.

use crate::SAMPLE_RATE;

/// 0 dBm0 of G.711 in dBov, as RMS (ITU-T G.711 §5: overload is +3.17 dBm0 for
/// µ-law, +3.14 for A-law, of a sine, whose RMS is 3.01 dB below its peak).
pub const ZERO_DBM0_DBOV: f32 = -6.17;

/// A sine of fixed frequency and level.
#[derive(Clone, Debug)]
pub struct Sine {
    phase: f32,
    step: f32,
    amplitude: f32,
}

impl Sine {
    /// `hertz` below 4,000; `level_dbov` is the RMS level below 0 (overload).
    pub fn new(hertz: f32, level_dbov: f32) -> Self {
        let rms = 32_768.0 * libm::powf(10.0, level_dbov / 20.0);
        Self {
            phase: 0.0,
            step: hertz / SAMPLE_RATE as f32,
            amplitude: rms * core::f32::consts::SQRT_2,
        }
    }

    /// The next sample, not yet rounded.
    pub fn sample(&mut self) -> f32 {
        let value = self.amplitude * libm::sinf(self.phase * core::f32::consts::TAU);
        self.phase += self.step;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
        }
        value
    }

    /// Fills a buffer. Does not allocate or block.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = round(self.sample());
        }
    }
}

/// The two frequencies of a key, low group first (ITU-T Q.23 §6).
pub const fn dtmf_frequencies(digit: u8) -> Option<(u16, u16)> {
    let (row, column) = match digit {
        b'1' => (0, 0),
        b'2' => (0, 1),
        b'3' => (0, 2),
        b'A' => (0, 3),
        b'4' => (1, 0),
        b'5' => (1, 1),
        b'6' => (1, 2),
        b'B' => (1, 3),
        b'7' => (2, 0),
        b'8' => (2, 1),
        b'9' => (2, 2),
        b'C' => (2, 3),
        b'*' => (3, 0),
        b'0' => (3, 1),
        b'#' => (3, 2),
        b'D' => (3, 3),
        _ => return None,
    };
    Some((DTMF_LOW[row], DTMF_HIGH[column]))
}

/// Low group, Hz (ITU-T Q.23 §6).
pub const DTMF_LOW: [u16; 4] = [697, 770, 852, 941];
/// High group, Hz (ITU-T Q.23 §6).
pub const DTMF_HIGH: [u16; 4] = [1_209, 1_336, 1_477, 1_633];

/// One key as it sounds: tone for a while, then silence.
#[derive(Clone, Debug)]
pub struct Dtmf {
    low: Sine,
    high: Sine,
    tone_left: u32,
    pause_left: u32,
}

impl Dtmf {
    /// A key for `tone_ms`, then silence for `pause_ms`; each tone at
    /// `level_dbov`. `None` if it is no key.
    pub fn new(digit: u8, tone_ms: u16, pause_ms: u16, level_dbov: f32) -> Option<Self> {
        let (low, high) = dtmf_frequencies(digit)?;
        let samples_per_ms = SAMPLE_RATE / 1_000;
        Some(Self {
            low: Sine::new(f32::from(low), level_dbov),
            high: Sine::new(f32::from(high), level_dbov),
            tone_left: u32::from(tone_ms) * samples_per_ms,
            pause_left: u32::from(pause_ms) * samples_per_ms,
        })
    }

    /// The next sample, or `None` when tone and pause are over.
    pub fn sample(&mut self) -> Option<i16> {
        if self.tone_left > 0 {
            self.tone_left -= 1;
            return Some(round(self.low.sample() + self.high.sample()));
        }
        self.pause_left = self.pause_left.checked_sub(1)?;
        Some(0)
    }

    /// Fills the front of a buffer and returns how many samples it wrote; fewer
    /// than asked means that the key is over. Does not allocate or block.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        for (index, sample) in samples.iter_mut().enumerate() {
            match self.sample() {
                Some(value) => *sample = value,
                None => return index,
            }
        }
        samples.len()
    }
}

fn round(value: f32) -> i16 {
    libm::roundf(value).clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::level_of_samples;

    #[test]
    fn a_sine_has_its_level_and_frequency() {
        let mut samples = [0; 8_000];
        Sine::new(1_004.0, -16.0).fill(&mut samples);
        assert_eq!(level_of_samples(&samples), 16);
        let rising = samples.windows(2).filter(|p| p[0] < 0 && p[1] >= 0).count();
        assert!((1_003..=1_005).contains(&rising), "{rising}");
    }

    #[test]
    fn a_key_lasts_as_long_as_asked_and_other_bytes_are_no_keys() {
        let mut samples = [1; 1_000];
        let written = Dtmf::new(b'5', 70, 40, -16.0)
            .expect("a key")
            .fill(&mut samples);
        assert_eq!(written, 880);
        assert!(samples[560..880].iter().all(|&s| s == 0));
        assert!(Dtmf::new(b'E', 70, 40, -16.0).is_none());
    }

    #[test]
    fn all_sixteen_keys_differ() {
        let keys = *b"0123456789*#ABCD";
        for (index, &one) in keys.iter().enumerate() {
            for &other in &keys[index + 1..] {
                assert_ne!(dtmf_frequencies(one), dtmf_frequencies(other));
            }
        }
    }
}
