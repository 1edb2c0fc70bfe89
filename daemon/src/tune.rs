//! The tune that a caller hears while a person is called: made here, note by note,
//! so that a box plays music without a file and without anybody's licence.
//!
//! Called by the voice when a prompt's text is [`TEXT`]; a recording under the same
//! key is played instead.

use std::f32::consts::TAU;

use crate::resample::LINE_RATE;

/// The text of a prompt that is this tune.
pub const TEXT: &str = "(music)";

/// Samples of one note: 300 ms.
const STEP: usize = LINE_RATE as usize * 3 / 10;
/// A note sounds on so long below those after it: 1.2 s.
const RING: usize = 4 * STEP;
/// Peak of one note: -26 dB below full scale, so that four of them stay below -14.
const PEAK: f32 = 1_600.0;
/// Half of a note is gone after this many seconds.
const HALF_LIFE: f32 = 0.25;
/// Semitones above A2 (110 Hz): C, A minor, F and G, broken upwards and back,
/// and the same with another ending.
const NOTES: [i8; 40] = [
    15, 19, 22, 27, 22, 12, 15, 19, 24, 19, 8, 12, 15, 20, 15, 10, 14, 17, 22, 17, 15, 22, 27, 31,
    27, 12, 19, 24, 27, 24, 8, 15, 20, 24, 20, 10, 17, 22, 19, 17,
];

/// 12 s at 8 kHz, quieter than speech; its end leads back to its beginning.
pub fn tune() -> Vec<i16> {
    let length = NOTES.len() * STEP;
    let mut sound = vec![0.0f32; length];
    for (place, semitones) in NOTES.iter().enumerate() {
        let hertz = 110.0 * (f32::from(*semitones) / 12.0).exp2();
        for (index, sample) in note(hertz).enumerate() {
            sound[(place * STEP + index) % length] += sample;
        }
    }
    sound.into_iter().map(|sample| sample as i16).collect()
}

/// A plucked string of three partials, softened at both ends.
fn note(hertz: f32) -> impl Iterator<Item = f32> {
    (0..RING).map(move |index| {
        let seconds = index as f32 / LINE_RATE as f32;
        let attack = (index as f32 / 80.0).min(1.0);
        let release = ((RING - index) as f32 / 400.0).min(1.0);
        let fades = (-seconds / HALF_LIFE).exp2();
        let partial = |number: f32| (TAU * hertz * number * seconds).sin() / (number * number);
        PEAK * attack * release * fades * (partial(1.0) + partial(2.0) + partial(3.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tune_is_quieter_than_speech_and_never_silent() {
        let sound = tune();
        assert_eq!(sound.len(), 96_000);
        let power = |part: &[i16]| {
            part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / part.len() as f64
        };
        let level = |part: &[i16]| 10.0 * (power(part) / 32_768f64.powi(2)).log10();
        assert!((-32.0..-22.0).contains(&level(&sound)), "{}", level(&sound));
        let quietest = sound.chunks(2_400).map(level).fold(0.0, f64::min);
        assert!(quietest > -40.0, "{quietest}");
        let peak = sound.iter().map(|s| s.unsigned_abs()).max();
        assert!(peak < Some(8_000), "{peak:?}");
    }
}
