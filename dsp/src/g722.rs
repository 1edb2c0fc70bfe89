//! G.722 at 64 kbit/s: the lower band, which is the sound up to 4 kHz at 8 kHz, as a
//! telephone's ear needs it; and beside it the upper one, for another wide line.
//!
//! ITU-T G.722 splits 16 kHz sound into two bands of 8 kHz each and codes them apart,
//! so nothing has to be resampled; `qmf` makes one sound of them where one is needed.
//! One octet is one sample of each band, and one tick of the RTP clock (RFC 3551
//! §4.5.2). Called by the media threads; does not allocate or block.

/// Scale factors of the lower band by index (table 18/G.722, WL).
const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
/// Index into `WL` by the four most significant bits of a code (RIL, table 17).
const RL42: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
/// Antilogarithms, mantissa (table 20, ILB).
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Scale factors of the upper band (table 19, WH).
const WH: [i32; 3] = [0, -214, 798];
/// Index into `WH` by the code of the upper band.
const RH2: [usize; 4] = [2, 1, 2, 1];
/// Inverse quantiser of the upper band (QM2).
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Inverse quantiser of the lower band for its own adaptation, four bits (QM4).
const QM4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
/// Inverse quantiser of the lower band, all six bits (QM6).
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// Decision levels of the lower band (Q6).
const Q6: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
    1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Codes of the lower band below zero, and from zero on, by decision level (ILN, ILP).
const ILN: [u8; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11,
    10, 9, 8, 7, 6, 5, 4,
];
const ILP: [u8; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39,
    38, 37, 36, 35, 34, 33, 32,
];
/// Decision level of the upper band.
const Q2: i32 = 564;

const fn saturate(value: i32) -> i32 {
    if value > 32_767 {
        32_767
    } else if value < -32_768 {
        -32_768
    } else {
        value
    }
}

/// Adaptive prediction of one band: two poles and six zeros (§3.6).
#[derive(Clone, Debug)]
struct Band {
    /// Prediction of the next sample, and the part of it by the zeros.
    prediction: i32,
    by_zeros: i32,
    reconstructed: [i32; 3],
    partial: [i32; 3],
    poles: [i32; 3],
    differences: [i32; 7],
    zeros: [i32; 7],
    /// Logarithm of the scale factor, and the scale factor.
    log_scale: i32,
    scale: i32,
}

impl Band {
    const fn new(scale: i32) -> Self {
        Self {
            prediction: 0,
            by_zeros: 0,
            reconstructed: [0; 3],
            partial: [0; 3],
            poles: [0; 3],
            differences: [0; 7],
            zeros: [0; 7],
            log_scale: 0,
            scale,
        }
    }

    /// LOGSCL/LOGSCH and SCALEL/SCALEH.
    fn rescale(&mut self, step: i32, most: i32, shift: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + step).clamp(0, most);
        let mantissa = ILB[((self.log_scale >> 6) & 31) as usize];
        let shift = shift - (self.log_scale >> 11);
        let scale = if shift < 0 {
            mantissa << -shift
        } else {
            mantissa >> shift
        };
        self.scale = scale << 2;
    }

    /// Takes the quantised difference in and predicts anew (block 4).
    fn adapt(&mut self, difference: i32) {
        self.differences[0] = difference;
        self.reconstructed[0] = saturate(self.prediction + difference);
        self.partial[0] = saturate(self.by_zeros + difference);
        let poles = self.next_poles();
        let zeros = self.next_zeros(difference);
        self.zeros[1..].copy_from_slice(&zeros);
        self.differences.copy_within(0..6, 1);
        self.reconstructed.copy_within(0..2, 1);
        self.partial.copy_within(0..2, 1);
        [self.poles[1], self.poles[2]] = poles;
        let by_poles = (1..3)
            .map(|tap| (self.poles[tap] * saturate(2 * self.reconstructed[tap])) >> 15)
            .sum();
        let taps = (1..7).map(|tap| (self.zeros[tap] * saturate(2 * self.differences[tap])) >> 15);
        self.by_zeros = saturate(taps.sum());
        self.prediction = saturate(saturate(by_poles) + self.by_zeros);
    }

    /// UPPOL2 and UPPOL1.
    fn next_poles(&self) -> [i32; 2] {
        let sign = |tap: usize| self.partial[tap] < 0;
        let inner = saturate(self.poles[1] << 2);
        let inner = if sign(0) == sign(1) { -inner } else { inner };
        let step = if sign(0) == sign(2) { 128 } else { -128 };
        let second = (inner.min(32_767) >> 7) + step + ((self.poles[2] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let step = if sign(0) == sign(1) { 192 } else { -192 };
        let first = saturate(step + ((self.poles[1] * 32_640) >> 15));
        let limit = saturate(15_360 - second);
        [first.clamp(-limit, limit), second]
    }

    /// UPZERO.
    fn next_zeros(&self, difference: i32) -> [i32; 6] {
        let step = if difference == 0 { 0 } else { 128 };
        core::array::from_fn(|index| {
            let tap = index + 1;
            let alike = (self.differences[tap] < 0) == (difference < 0);
            let step = if alike { step } else { -step };
            saturate(step + ((self.zeros[tap] * 32_640) >> 15))
        })
    }

    fn take_low(&mut self, code: usize) {
        let difference = (self.scale * QM4[code]) >> 15;
        self.rescale(WL[RL42[code]], 18_432, 8);
        self.adapt(difference);
    }

    fn take_high(&mut self, code: usize) {
        let difference = (self.scale * QM2[code]) >> 15;
        self.rescale(WH[RH2[code]], 22_528, 10);
        self.adapt(difference);
    }
}

/// Decodes one stream.
#[derive(Clone, Debug)]
pub struct Decoder {
    low: Band,
    high: Band,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            low: Band::new(32),
            high: Band::new(8),
        }
    }
}

impl Decoder {
    /// One octet to one sample at 8 kHz, full 16-bit scale.
    pub fn decode(&mut self, octet: u8) -> i16 {
        let code = usize::from(octet & 0x3F);
        let difference = (self.low.scale * QM6[code]) >> 15;
        let sample = (self.low.prediction + difference).clamp(-16_384, 16_383);
        self.low.take_low(code >> 2);
        (sample << 1) as i16
    }

    /// The same of the upper band.
    fn decode_high(&mut self, octet: u8) -> i16 {
        let code = usize::from(octet >> 6);
        let difference = (self.high.scale * QM2[code]) >> 15;
        let sample = (self.high.prediction + difference).clamp(-16_384, 16_383);
        self.high.take_high(code);
        (sample << 1) as i16
    }

    /// Decodes both bands of as many octets as all slices hold and returns their number.
    pub fn decode_bands(&mut self, octets: &[u8], low: &mut [i16], high: &mut [i16]) -> usize {
        let bands = low.iter_mut().zip(high.iter_mut());
        bands
            .zip(octets)
            .map(|((low, high), octet)| {
                *low = self.decode(*octet);
                *high = self.decode_high(*octet);
            })
            .count()
    }

    /// Decodes as many octets as both slices hold and returns their number.
    pub fn decode_into(&mut self, octets: &[u8], samples: &mut [i16]) -> usize {
        for (sample, &octet) in samples.iter_mut().zip(octets) {
            *sample = self.decode(octet);
        }
        octets.len().min(samples.len())
    }
}

/// Codes one stream.
#[derive(Clone, Debug)]
pub struct Encoder {
    low: Band,
    high: Band,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            low: Band::new(32),
            high: Band::new(8),
        }
    }
}

impl Encoder {
    /// One sample at 8 kHz, full 16-bit scale, to one octet.
    pub fn encode(&mut self, sample: i16) -> u8 {
        self.encode_both(sample, 0)
    }

    /// One sample of each band to one octet.
    fn encode_both(&mut self, low: i16, high: i16) -> u8 {
        let low = self.encode_low(i32::from(low) >> 1);
        let high = self.encode_high(i32::from(high) >> 1);
        (high << 6) | low
    }

    /// Encodes both bands of as many samples as all slices hold and returns their number.
    pub fn encode_bands(&mut self, low: &[i16], high: &[i16], octets: &mut [u8]) -> usize {
        let bands = low.iter().zip(high);
        octets
            .iter_mut()
            .zip(bands)
            .map(|(octet, (low, high))| *octet = self.encode_both(*low, *high))
            .count()
    }

    /// Encodes as many samples as both slices hold and returns their number.
    pub fn encode_into(&mut self, samples: &[i16], octets: &mut [u8]) -> usize {
        for (octet, &sample) in octets.iter_mut().zip(samples) {
            *octet = self.encode(sample);
        }
        samples.len().min(octets.len())
    }

    fn encode_low(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.low.prediction);
        let magnitude = if error < 0 { -(error + 1) } else { error };
        let levels = Q6[1..].iter();
        let above = levels
            .take_while(|level| magnitude >= (**level * self.low.scale) >> 12)
            .count();
        let code = if error < 0 { ILN } else { ILP }[above + 1];
        self.low.take_low(usize::from(code >> 2));
        code
    }

    fn encode_high(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.high.prediction);
        let magnitude = if error < 0 { -(error + 1) } else { error };
        let large = magnitude >= (Q2 * self.high.scale) >> 12;
        // IHN and IHP of the recommendation.
        let code = match (error < 0, large) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.high.take_high(usize::from(code));
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32, peak: f32) -> [i16; 4_000] {
        core::array::from_fn(|index| {
            let phase = index as f32 / 8_000.0 * hz * core::f32::consts::TAU;
            (libm::sinf(phase) * peak) as i16
        })
    }

    /// Signal to noise after the first half second, in dB.
    fn through(samples: &[i16; 4_000]) -> f32 {
        let mut octets = [0; 4_000];
        let mut heard = [0; 4_000];
        Encoder::default().encode_into(samples, &mut octets);
        Decoder::default().decode_into(&octets, &mut heard);
        let pairs = samples.iter().zip(&heard).skip(400);
        let noise: f32 = pairs
            .clone()
            .map(|(a, b)| (f32::from(*a) - f32::from(*b)).powi(2))
            .sum();
        let signal: f32 = pairs.map(|(a, _)| f32::from(*a).powi(2)).sum();
        10.0 * libm::log10f(signal / noise)
    }

    #[test]
    fn sound_up_to_4_khz_comes_through_better_than_by_g711() {
        for (hz, peak, least) in [
            (300.0, 10_000.0, 40.0),
            (1_000.0, 10_000.0, 38.0),
            (1_000.0, 500.0, 30.0),
            (3_000.0, 10_000.0, 33.0),
        ] {
            let found = through(&tone(hz, peak));
            assert!(found > least, "{hz} Hz at {peak}: {found} dB");
        }
    }

    #[test]
    fn whatever_comes_is_sound() {
        let mut decoder = Decoder::default();
        let mut state = 1u32;
        for _ in 0..200_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            decoder.decode((state >> 24) as u8);
        }
        let mut encoder = Encoder::default();
        for sample in [i16::MIN, i16::MAX].repeat(20_000) {
            decoder.decode(encoder.encode(sample));
        }
    }

    #[test]
    fn silence_is_coded_as_silence() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for _ in 0..8_000 {
            assert!(decoder.decode(encoder.encode(0)).abs() <= 16);
        }
    }
}
