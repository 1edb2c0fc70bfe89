//! How likely it is that this frame is speech.
//!
//! Bands over their own noise floors, and periodicity. It keeps no notion of
//! a turn (that is `speech`) and knows no tones. Called by the ear.

use crate::spectrum::{SHORT_BINS, Spectrum, decibels};

/// Edges of the bands in bins of 31.25 Hz: 125 to 3,700 Hz, about equal in mel.
const EDGES: [usize; 20] = [
    4, 6, 8, 10, 12, 14, 17, 20, 23, 27, 31, 36, 42, 49, 57, 66, 76, 88, 102, 118,
];
const BANDS: usize = EDGES.len() - 1;
/// No floor is lower than this in all bands together: -64 dBov, the idle noise of a G.711 line.
const LOWEST_FLOOR: f32 = 4e-7 / BANDS as f32;
/// The floor assumed before anything is known is at most this: -48 dBov.
const HIGHEST_FIRST_FLOOR: f32 = 1.6e-5 / BANDS as f32;
/// Minima are taken over this many frames, twice: 0.8 to 1.6 s.
const MINIMUM_FRAMES: u32 = 80;
/// The mean of noise over the minimum of its smoothed bands.
const MINIMUM_BIAS: f32 = 1.6;

/// Pitch periods looked for: 2.5 to 17 ms (59 to 400 Hz).
const LAGS: core::ops::Range<usize> = 20..137;
/// Samples compared: 20 ms.
const COMPARED: usize = 160;

/// Noise floors and the last probability.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    floor: [f32; BANDS],
    smoothed: [f32; BANDS],
    minimum: [f32; BANDS],
    minimum_before: [f32; BANDS],
    frames: u32,
    probability: f32,
}

impl Voice {
    pub(crate) const fn new() -> Self {
        Self {
            floor: [HIGHEST_FIRST_FLOOR; BANDS],
            smoothed: [0.0; BANDS],
            minimum: [f32::MAX; BANDS],
            minimum_before: [f32::MAX; BANDS],
            frames: 0,
            probability: 0.0,
        }
    }

    /// 0 to 1, of the last frame.
    pub(crate) const fn probability(&self) -> f32 {
        self.probability
    }

    /// The level of the background in dBov.
    pub(crate) fn floor_dbov(&self) -> f32 {
        decibels(self.floor.iter().sum())
    }

    /// Judges the frame that `spectrum` took last.
    pub(crate) fn hear(&mut self, spectrum: &Spectrum) {
        let bands = bands(&spectrum.short);
        self.track_floor(&bands);
        let excess = self.excess();
        let periodic = if excess > 0.5 {
            periodicity(spectrum)
        } else {
            0.0
        };
        let score = 0.9 * (excess - 3.0) + 2.5 * (periodic - 0.5);
        self.probability = 1.0 / (1.0 + libm::expf(-score));
    }

    /// A frame without sound of the line's own: nobody is heard.
    pub(crate) fn hear_nothing(&mut self) {
        self.probability = 0.0;
    }

    /// A made-up frame: what was, less sure.
    pub(crate) fn hear_concealed(&mut self) {
        self.probability *= 0.9;
    }

    /// A tone or an echo explains the frame.
    pub(crate) fn explain_away(&mut self) {
        self.probability = self.probability.min(0.05);
    }

    fn track_floor(&mut self, bands: &[f32; BANDS]) {
        if self.frames == 0 {
            self.smoothed = *bands;
            self.floor = bands.map(|power| power.clamp(LOWEST_FLOOR, HIGHEST_FIRST_FLOOR));
        }
        self.frames = self.frames.wrapping_add(1).max(1);
        for (band, &power) in bands.iter().enumerate() {
            self.smoothed[band] += 0.4 * (power - self.smoothed[band]);
            self.minimum[band] = self.minimum[band].min(self.smoothed[band]);
            let lowest = self.minimum[band].min(self.minimum_before[band]);
            let target = (lowest * MINIMUM_BIAS).max(LOWEST_FLOOR);
            let pace = if target < self.floor[band] {
                0.2
            } else {
                self.rise()
            };
            self.floor[band] += pace * (target - self.floor[band]);
        }
        if self.frames.is_multiple_of(MINIMUM_FRAMES) {
            self.minimum_before = self.minimum;
            self.minimum = [f32::MAX; BANDS];
        }
    }

    /// Before a whole window of minima is known, speech could pass for a floor.
    fn rise(&self) -> f32 {
        if self.frames < MINIMUM_FRAMES {
            0.005
        } else {
            0.05
        }
    }

    /// Mean decibels of the bands over their floors, 0 to 14.
    fn excess(&self) -> f32 {
        let mut sum = 0.0;
        for band in 0..BANDS {
            let above = decibels(self.smoothed[band] / self.floor[band]) - 3.0;
            sum += above.clamp(0.0, 14.0);
        }
        sum / BANDS as f32
    }
}

fn bands(powers: &[f32; SHORT_BINS]) -> [f32; BANDS] {
    core::array::from_fn(|band| powers[EDGES[band]..EDGES[band + 1]].iter().sum())
}

/// The highest local maximum of the normalised autocorrelation, 0 to 1.
fn periodicity(spectrum: &Spectrum) -> f32 {
    let samples = spectrum.recent(COMPARED + LAGS.end);
    let now = &samples[LAGS.end..];
    let own: f32 = now.iter().map(|s| s * s).sum();
    let (mut before_last, mut last) = (1.0, 1.0);
    let mut best = 0.0f32;
    for lag in LAGS {
        let then = &samples[LAGS.end - lag..][..COMPARED];
        let mut product = 0.0;
        let mut energy = 0.0;
        for (a, b) in now.iter().zip(then) {
            product += a * b;
            energy += b * b;
        }
        let likeness = product / libm::sqrtf(own * energy + 1e-12);
        if last > before_last && last >= likeness {
            best = best.max(last);
        }
        before_last = last;
        last = likeness;
    }
    best.min(1.0)
}
