//! The end of a prompt that is stopped: 5 ms of ramp, then comfort noise.
//!
//! A hard cut clicks and is heard as a fault; a long fade keeps talking over
//! the caller. It knows no prompts or turns: the media threads call it for the
//! packet of the tick in which the prompt has to stop.

use crate::noise::ComfortNoise;

/// Length of the ramp: 5 ms.
pub const RAMP: usize = 40;

/// Turns `samples`, the next of a prompt, into its end: a linear ramp down over
/// the first [`RAMP`] samples while the noise ramps up, then noise alone.
/// Does not allocate or block.
pub fn out_to_noise(samples: &mut [i16], noise: &mut ComfortNoise) {
    for (index, sample) in samples.iter_mut().enumerate() {
        let kept = RAMP.saturating_sub(index) as i32;
        let background = i32::from(noise.sample());
        let mixed = i32::from(*sample) * kept + background * (RAMP as i32 - kept);
        *sample = (mixed / RAMP as i32) as i16;
    }
}

/// Turns `samples`, the first of a prompt, into its beginning: a linear ramp up
/// over the first [`RAMP`] samples. Used where a prompt resumes within a word.
pub fn in_from_silence(samples: &mut [i16]) {
    for (index, sample) in samples.iter_mut().take(RAMP).enumerate() {
        *sample = (i32::from(*sample) * index as i32 / RAMP as i32) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_prompt_is_left_after_the_ramp() {
        let mut loud = [20_000; 160];
        let mut quiet = [0; 160];
        out_to_noise(&mut loud, &mut ComfortNoise::new(68, 3));
        out_to_noise(&mut quiet, &mut ComfortNoise::new(68, 3));
        assert_eq!(loud[RAMP..], quiet[RAMP..]);
        assert!(loud.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 600));
    }

    #[test]
    fn a_prompt_begins_from_zero() {
        let mut samples = [8_000; 80];
        in_from_silence(&mut samples);
        assert_eq!(samples[0], 0);
        assert_eq!(samples[RAMP], 8_000);
    }
}
