//! Wide sound in two bands, as G.722 parts it: what a telephone's ear needs, up to
//! 4 kHz, and what is above it; both at 8 kHz. Parted and joined again the sound is
//! what it was, 22 samples later (ITU-T G.722 §3.1, §4.4).
//!
//! Each band alone mirrors a little of the other around 4 kHz; joined, that cancels.
//! Called by the media threads; does not allocate or block.

/// The first half of the filters, times 2^13; the second mirrors it (table 11/G.722).
const HALF: [i32; 12] = [3, -11, -11, 53, 12, -156, 32, 362, -210, -805, 951, 3876];
const TAPS: usize = 24;

/// Coefficient of a tap, the oldest sample's first.
const fn tap(index: usize) -> i32 {
    if index < TAPS / 2 {
        HALF[index]
    } else {
        HALF[TAPS - 1 - index]
    }
}

const fn saturate(value: i32) -> i16 {
    if value > 32_767 {
        32_767
    } else if value < -32_768 {
        -32_768
    } else {
        value as i16
    }
}

/// The last samples, the newest at the end.
#[derive(Clone, Debug, Default)]
struct Past([i32; TAPS]);

impl Past {
    fn push(&mut self, pair: [i32; 2]) {
        self.0.copy_within(2.., 0);
        self.0[TAPS - 2..].copy_from_slice(&pair);
    }

    /// Sums over every second tap, from the first on and from the second on.
    fn sums(&self) -> [i32; 2] {
        let (mut even, mut odd) = (0, 0);
        for index in (0..TAPS).step_by(2) {
            even += self.0[index] * tap(index);
            odd += self.0[index + 1] * tap(index + 1);
        }
        [even, odd]
    }
}

/// Parts 16 kHz into its bands.
#[derive(Clone, Debug, Default)]
pub struct Splitter(Past);

impl Splitter {
    /// As many pairs of samples as all slices hold; returns their number.
    pub fn split(&mut self, wide: &[i16], low: &mut [i16], high: &mut [i16]) -> usize {
        let bands = low.iter_mut().zip(high.iter_mut());
        let pairs = wide.as_chunks::<2>().0.iter();
        pairs
            .zip(bands)
            .map(|(pair, (low, high))| {
                self.0.push(pair.map(i32::from));
                let [even, odd] = self.0.sums();
                *low = saturate((even + odd) >> 13);
                *high = saturate((odd - even) >> 13);
            })
            .count()
    }
}

/// Joins the bands to 16 kHz.
#[derive(Clone, Debug, Default)]
pub struct Joiner(Past);

impl Joiner {
    /// As many pairs of samples as all slices hold; returns their number.
    pub fn join(&mut self, low: &[i16], high: &[i16], wide: &mut [i16]) -> usize {
        let bands = low.iter().zip(high);
        let pairs = wide.as_chunks_mut::<2>().0.iter_mut();
        pairs
            .zip(bands)
            .map(|(pair, (low, high))| {
                let (low, high) = (i32::from(*low), i32::from(*high));
                self.0.push([low + high, low - high]);
                let [even, odd] = self.0.sums();
                *pair = [saturate(odd >> 12), saturate(even >> 12)];
            })
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 1_600;

    fn tone(hz: f32) -> [i16; COUNT] {
        core::array::from_fn(|index| {
            let phase = index as f32 / 16_000.0 * hz * core::f32::consts::TAU;
            (libm::sinf(phase) * 10_000.0) as i16
        })
    }

    fn power(samples: &[i16]) -> f32 {
        let sum: f32 = samples.iter().map(|it| f32::from(*it).powi(2)).sum();
        sum / samples.len() as f32
    }

    #[test]
    fn each_tone_is_in_its_band_and_comes_together_again() {
        // Around 4 kHz the bands overlap: a tone of 5 kHz is in the other one, too, 20 dB lower.
        let table = [
            (300.0, true, 1_000.0),
            (1_000.0, true, 1_000.0),
            (5_000.0, false, 90.0),
            (5_500.0, false, 1_000.0),
            (6_500.0, false, 1_000.0),
        ];
        for (hz, is_low, apart) in table {
            let sound = tone(hz);
            let (mut low, mut high) = ([0; COUNT / 2], [0; COUNT / 2]);
            assert_eq!(Splitter::default().split(&sound, &mut low, &mut high), 800);
            let (mine, other) = if is_low { (&low, &high) } else { (&high, &low) };
            assert!(power(&mine[100..]) > apart * power(&other[100..]), "{hz}");
            let mut joined = [0; COUNT];
            Joiner::default().join(&low, &high, &mut joined);
            let pairs = sound.iter().zip(&joined[22..]).skip(100);
            let differences = pairs.map(|(one, other)| f32::from(*one) - f32::from(*other));
            let noise = differences.map(|it| it * it).sum::<f32>() / COUNT as f32;
            assert!(noise < 1e-4 * power(&sound), "{hz}: {noise}");
        }
    }

    #[test]
    fn the_loudest_sound_is_cut_and_does_not_turn_over() {
        let loud: [i16; 64] =
            core::array::from_fn(|index| if index < 32 { i16::MAX } else { i16::MIN });
        let (mut low, mut high, mut wide) = ([0; 32], [0; 32], [0; 64]);
        Splitter::default().split(&loud, &mut low, &mut high);
        Joiner::default().join(&[i16::MAX; 32], &[i16::MIN; 32], &mut wide);
        assert!(low[14] > 30_000 && low[31] < -30_000, "{low:?}");
    }
}
