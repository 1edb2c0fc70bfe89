//! Whether a short sound stood still: a hum, an "mhm", a laugh say no words.
//!
//! Whoever says something for a second moves tongue and lips, and the shares of
//! the bands move with them. It judges one stretch of sound and knows neither
//! time nor prompts. Called by `speech`.

use crate::bands::{BANDS, Bands};
use crate::spectrum::decibels;

/// Bands are taken together by three.
const GROUPS: usize = 8;
/// The background is taken off twice, since it is no steady thing itself.
const BACKGROUND: f32 = 2.0;
/// Frames softer than the loudest by 20 dB do not count.
const LEAST_SHARE_OF_LOUDEST: f32 = 0.01;
/// A group's share of a frame is not looked for below -20 dB.
const LEAST_SHARE: f32 = 0.01;
/// Mean standard deviation of the shares of a sound that stands still, dB.
const STILL_DB: f32 = 3.2;

type Groups = [f32; GROUPS];

/// The sound of one utterance so far.
#[derive(Clone, Debug)]
pub(crate) struct Hum {
    background: Groups,
    loudest: f32,
    frames: f32,
    sum: Groups,
    squares: Groups,
}

impl Hum {
    /// One that begins over a background of these levels.
    pub(crate) fn over(background: &Bands) -> Self {
        Self {
            background: powers(background).map(|power| BACKGROUND * power),
            loudest: 0.0,
            frames: 0.0,
            sum: [0.0; GROUPS],
            squares: [0.0; GROUPS],
        }
    }

    /// Takes a frame of it, in dBov.
    pub(crate) fn hear(&mut self, levels: &Bands) {
        let mut powers = powers(levels);
        for (power, background) in powers.iter_mut().zip(&self.background) {
            *power = (*power - background).max(0.0);
        }
        let whole: f32 = powers.iter().sum();
        self.loudest = self.loudest.max(whole);
        if whole <= self.loudest * LEAST_SHARE_OF_LOUDEST {
            return;
        }
        self.frames += 1.0;
        for (group, power) in powers.iter().enumerate() {
            let share = decibels((power / whole).max(LEAST_SHARE));
            self.sum[group] += share;
            self.squares[group] += share * share;
        }
    }

    /// Whether its shares hardly moved.
    pub(crate) fn stood_still(&self) -> bool {
        if self.frames == 0.0 {
            return false;
        }
        let deviation = |(sum, squares): (&f32, &f32)| {
            let mean = sum / self.frames;
            libm::sqrtf((squares / self.frames - mean * mean).max(0.0))
        };
        let moved: f32 = self.sum.iter().zip(&self.squares).map(deviation).sum();
        moved < STILL_DB * GROUPS as f32
    }
}

fn powers(levels: &Bands) -> Groups {
    let power = |level: &f32| libm::exp2f(level * (core::f32::consts::LOG2_10 / 10.0));
    let (groups, _) = levels.as_chunks::<{ BANDS / GROUPS }>();
    core::array::from_fn(|group| groups[group].iter().map(power).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::SILENT;

    /// Levels with a hump around a band.
    fn vowel(place: f32) -> Bands {
        core::array::from_fn(|band| -20.0 - 2.0 * (band as f32 - place).abs())
    }

    #[test]
    fn a_hum_stands_still_however_loud_and_words_do_not() {
        let mut hum = Hum::over(&SILENT);
        let mut words = Hum::over(&SILENT);
        assert!(!hum.stood_still(), "nothing was heard");
        for frame in 0..80 {
            let swell = 6.0 * libm::sinf(frame as f32 / 10.0);
            hum.hear(&vowel(3.0).map(|level| level + swell));
            words.hear(&vowel(6.0 + 6.0 * libm::sinf(frame as f32 / 8.0)));
        }
        assert!(hum.stood_still());
        assert!(!words.stood_still());
    }

    #[test]
    fn a_noisy_line_does_not_make_words_stand_still() {
        let mut words = Hum::over(&[-42.0; BANDS]);
        for frame in 0..80 {
            let vowel = vowel(6.0 + 6.0 * libm::sinf(frame as f32 / 8.0));
            words.hear(&vowel.map(|level| level.max(-42.0)));
        }
        assert!(!words.stood_still());
    }
}
