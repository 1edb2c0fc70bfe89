//! Levels of a stretch of sound in 24 bands, as an ear resolves them.
//!
//! 94 to 3,906 Hz, equally wide in mel, of the last 32 ms; the window leans to
//! what came last, since whoever listens cannot wait. It judges nothing. Called
//! by the ear, the echo canceller and `voice`.

use crate::FRAME;
use crate::fourier::{self, Bins, POINTS, forward};
use crate::spectrum::decibels;

/// Bands.
pub(crate) const BANDS: usize = 24;
/// A level per band, in dBov.
pub(crate) type Bands = [f32; BANDS];
/// No band is softer, dBov.
pub(crate) const SOFTEST: f32 = -90.0;
/// No sound at all.
pub(crate) const SILENT: Bands = [SOFTEST; BANDS];

/// First bins of the bands, 31.25 Hz each, and one past the last.
const EDGES: [usize; BANDS + 1] = [
    3, 5, 8, 10, 13, 16, 19, 22, 26, 29, 33, 37, 41, 46, 51, 56, 62, 68, 74, 81, 88, 96, 105, 114,
    125,
];
/// The window: rises over 24 ms, falls over 8.
const WINDOW: [f32; POINTS] = fourier::late(64);
/// Power of a bin to power of the signal: the window's energy is 3/8 of its length.
const SCALE: f32 = 2.0 / (POINTS as f32 * POINTS as f32 * 0.375);

/// A sliding window over one signal.
#[derive(Clone, Debug)]
pub(crate) struct View {
    history: [f32; POINTS],
}

impl View {
    pub(crate) const fn new() -> Self {
        Self {
            history: [0.0; POINTS],
        }
    }

    /// Takes the next 10 ms and gives the spectrum of the last 32.
    pub(crate) fn push(&mut self, frame: &[f32; FRAME]) -> Bins {
        self.slide(frame);
        forward(&windowed(&self.history))
    }

    /// Takes the next 10 ms.
    pub(crate) fn slide(&mut self, frame: &[f32; FRAME]) {
        self.history.copy_within(FRAME.., 0);
        self.history[POINTS - FRAME..].copy_from_slice(frame);
    }
}

/// The samples as the window shows them.
pub(crate) fn windowed(samples: &[f32; POINTS]) -> [f32; POINTS] {
    core::array::from_fn(|index| samples[index] * WINDOW[index])
}

/// The levels of a windowed spectrum.
pub(crate) fn levels(bins: &Bins) -> Bands {
    let squares = bins.squares();
    core::array::from_fn(|band| {
        let power: f32 = squares[EDGES[band]..EDGES[band + 1]].iter().sum();
        decibels(power * SCALE).max(SOFTEST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Sine;

    #[test]
    fn a_sine_has_its_level_in_its_band() {
        let mut view = View::new();
        let mut sine = Sine::new(1_000.0, -20.0);
        let mut bins = Bins::ZERO;
        for _ in 0..5 {
            bins = view.push(&core::array::from_fn(|_| sine.sample() / 32_768.0));
        }
        let loudest = levels(&bins)
            .iter()
            .fold(SOFTEST, |most, &level| most.max(level));
        assert!((loudest + 20.0).abs() < 1.0, "{loudest}");
    }
}
