//! Changing the sample rate of whole clips.
//!
//! For files and prompts, never on a media thread: it allocates. Called by the
//! prompt bank, `offhook analyze` and the test user agents.

use rubato::WindowFunction;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Resampler, SincInterpolationParameters, SincInterpolationType};

/// The rate of the telephone line, Hz.
pub const LINE_RATE: u32 = offhook_dsp::SAMPLE_RATE;

/// Taps of the filter at the lower rate: flat to 3.6 kHz for 8 kHz, 2 ms of reach.
const FILTER_LENGTH: usize = 64;

/// Where the sound of the result lies in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// In its place; each sample is made from some before and some after it.
    Centred,
    /// Late by the reach of the filter (a few ms), so that nothing is made from
    /// what comes later.
    Causal,
}

/// The clip at another rate; it lasts as long as before.
///
/// # Panics
/// If a rate is 0 or they differ by more than a factor of 256.
pub fn resample(samples: &[i16], from: u32, to: u32, alignment: Alignment) -> Vec<i16> {
    if from == to || samples.is_empty() {
        return samples.to_vec();
    }
    let length = (samples.len() as u64 * u64::from(to) / u64::from(from)) as usize;
    let mut resampler = resampler(from, to);
    let lead = match alignment {
        Alignment::Centred => 0,
        Alignment::Causal => {
            (resampler.output_delay() as u64 * u64::from(from)).div_ceil(to.into())
        }
    };
    let mut input = vec![0.0; lead as usize];
    input.extend(samples.iter().map(|&sample| f32::from(sample)));
    let frames = input.len();
    let adapter = InterleavedSlice::new(&input, 1, frames).expect("one channel, all frames");
    let output = resampler
        .process_all(&adapter, frames, None)
        .expect("the adapter holds as many frames as stated")
        .take_data();
    output
        .iter()
        .take(length)
        .map(|&value| value.round() as i16)
        .collect()
}

fn resampler(from: u32, to: u32) -> Async<f32> {
    let ratio = f64::from(to) / f64::from(from);
    let parameters = SincInterpolationParameters {
        sinc_len: FILTER_LENGTH * (from.div_ceil(to).max(1) as usize),
        f_cutoff: None,
        interpolation: SincInterpolationType::Linear,
        oversampling_factor: 128,
        window: WindowFunction::BlackmanHarris2,
    };
    Async::new_sinc(ratio, 1.0, &parameters, 1_024, 1, FixedAsync::Input)
        .expect("rates are within a factor of 256")
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_dsp::noise::level_of_samples;

    /// A sine at -20 dBov.
    fn sine(hertz: f64, rate: u32, frames: usize) -> Vec<i16> {
        let amplitude = 32_768.0 * 0.1 * std::f64::consts::SQRT_2;
        let sample = |n: usize| (n as f64 * hertz / f64::from(rate) * std::f64::consts::TAU).sin();
        (0..frames)
            .map(|n| (sample(n) * amplitude) as i16)
            .collect()
    }

    #[test]
    fn sound_keeps_its_level_and_length_and_what_the_line_cannot_carry_is_gone() {
        for rate in [11_025, 16_000, 44_100, 48_000] {
            let second = rate as usize;
            let kept = resample(
                &sine(1_004.0, rate, second),
                rate,
                LINE_RATE,
                Alignment::Centred,
            );
            assert_eq!(kept.len(), 8_000);
            assert_eq!(level_of_samples(&kept[800..7_200]), 20, "{rate}");
            let gone = resample(
                &sine(5_200.0, rate, second),
                rate,
                LINE_RATE,
                Alignment::Centred,
            );
            assert!(level_of_samples(&gone[800..7_200]) > 75, "{rate}");
        }
    }

    #[test]
    fn causal_results_do_not_depend_on_what_comes_later() {
        let whole = sine(700.0, 16_000, 16_000);
        let long = resample(&whole, 16_000, 8_000, Alignment::Causal);
        let short = resample(&whole[..8_000], 16_000, 8_000, Alignment::Causal);
        assert_eq!(short[..], long[..4_000]);
    }

    #[test]
    fn the_same_rate_and_nothing_pass_unchanged() {
        assert_eq!(
            resample(&[1, 2, 3], 8_000, 8_000, Alignment::Causal),
            [1, 2, 3]
        );
        assert!(resample(&[], 16_000, 8_000, Alignment::Centred).is_empty());
    }
}
