//! Comfort noise: what we send when we have nothing to say, and what stands in
//! for a peer that says it is silent.
//!
//! White noise, gently low-passed, at a level in dBov as RFC 3389 codes it. It
//! models no spectrum: reflection coefficients of a SID frame are ignored.
//! Called by the media threads.

/// The noise we send while we are silent, -dBov. Audible as a live line, far below speech.
pub const LINE_NOISE_LEVEL: u8 = 68;

/// A generator of comfort noise. The same seed gives the same noise.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    state: u32,
    previous: f32,
    gain: f32,
}

/// RMS of the sum of a sample and half its predecessor, both uniform in -1..1:
/// sqrt((1 + 1/4) / 3).
const SHAPED_RMS: f32 = 0.645_497_2;

impl ComfortNoise {
    /// Noise at `level` (0 to 127, meaning -level dBov; RFC 3389 §3.1).
    pub fn new(level: u8, seed: u32) -> Self {
        let mut noise = Self {
            state: seed | 1,
            previous: 0.0,
            gain: 0.0,
        };
        noise.set_level(level);
        noise
    }

    /// Changes the level; the top bit is ignored, as RFC 3389 §3.1 reserves it.
    pub fn set_level(&mut self, level: u8) {
        let decibel = -f32::from(level & 0x7F);
        self.gain = 32_768.0 * libm::powf(10.0, decibel / 20.0) / SHAPED_RMS;
    }

    /// The next sample.
    pub fn sample(&mut self) -> i16 {
        let white = self.white();
        let shaped = white + 0.5 * self.previous;
        self.previous = white;
        libm::roundf(shaped * self.gain).clamp(-32_768.0, 32_767.0) as i16
    }

    /// Fills a buffer. Does not allocate or block.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = self.sample();
        }
    }

    /// Uniform in -1..1 (xorshift32; the period is 2^32 - 1).
    fn white(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        (self.state as i32) as f32 / 2_147_483_648.0
    }
}

/// The level of a payload of type 13 (RFC 3389 §3): its first octet.
pub fn level_of_payload(payload: &[u8]) -> Option<u8> {
    payload.first().map(|octet| octet & 0x7F)
}

/// The level of some samples as RFC 3389 codes it: 0 (overload) to 127 (silence), -dBov.
pub fn level_of_samples(samples: &[i16]) -> u8 {
    let sum: f32 = samples.iter().map(|&s| f32::from(s) * f32::from(s)).sum();
    let power = sum / (samples.len().max(1) as f32) / (32_768.0 * 32_768.0);
    if power <= 0.0 {
        return 127;
    }
    libm::roundf(-10.0 * libm::log10f(power)).clamp(0.0, 127.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_level_it_was_asked_for() {
        for level in [20, 40, 50, 60, 70] {
            let mut samples = [0; 8_000];
            ComfortNoise::new(level, 7).fill(&mut samples);
            let measured = i16::from(level_of_samples(&samples));
            assert!(
                (measured - i16::from(level)).abs() <= 1,
                "asked {level}, got {measured}"
            );
        }
    }

    #[test]
    fn silence_has_the_lowest_level() {
        assert_eq!(level_of_samples(&[0; 80]), 127);
        assert_eq!(level_of_samples(&[]), 127);
    }

    #[test]
    fn payload_level_ignores_the_reserved_bit_and_an_empty_payload_has_none() {
        assert_eq!(level_of_payload(&[0x80 | 55, 1, 2]), Some(55));
        assert_eq!(level_of_payload(&[]), None);
    }
}
