//! How likely it is that this frame is speech.
//!
//! Bands over their own noise floors, and periodicity. It keeps no notion of
//! a turn (that is `speech`) and knows no tones. Called by the ear.

use crate::spectrum::{SHORT_BINS, Spectrum, decibels, product};

/// Weights of the cues, by logistic regression on 180 minutes of speech in noise
/// through a telephone channel; not tuned beyond that. Material: LibriSpeech and
/// Speech Commands (CC BY 4.0), the speech-to-intent benchmark (Apache-2.0),
/// ESC-10 and public ambience recordings (CC0, CC BY).
const WEIGHTS: Cues = [
    2.12, -5.05, -1.33, -2.68, 4.82, 0.72, 4.42, 2.54, 4.61, -0.21, 5.41, -0.97,
];
const BIAS: f32 = -6.34;

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
const MINIMUM_BIAS: f32 = 2.5;
/// Bands are smoothed a little, and less where they fall, so that ends are seen soon.
const RISE: f32 = 0.5;
const FALL: f32 = 0.8;

/// Pitch periods looked for: 2.5 to 17 ms (59 to 400 Hz).
const LAGS: core::ops::Range<usize> = 20..137;
/// Samples compared: 20 ms.
const COMPARED: usize = 160;

/// Frames over which a cue's recent mean is taken: 100 ms.
const RECENT_PACE: f32 = 0.1;
/// The loudest level of late sinks by this much a frame: 2 dB/s.
const LOUDEST_SINKS_DB: f32 = 0.02;
/// Levels compared to see whether the sound moves: 300 ms.
const LEVELS: usize = 30;

/// What a frame has for and against speech, each about -1 to 1.
pub(crate) const CUES: usize = 12;
pub(crate) type Cues = [f32; CUES];

/// Noise floors and the last probability.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    floor: [f32; BANDS],
    smoothed: [f32; BANDS],
    minimum: [f32; BANDS],
    minimum_before: [f32; BANDS],
    frames: u32,
    recent_excess: f32,
    recent_periodicity: f32,
    loudest_db: f32,
    levels_db: [f32; LEVELS],
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
            recent_excess: 0.0,
            recent_periodicity: 0.0,
            loudest_db: -40.0,
            levels_db: [-60.0; LEVELS],
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
        let cues = self.cues(spectrum);
        let sum: f32 = cues
            .iter()
            .zip(&WEIGHTS)
            .map(|(cue, weight)| cue * weight)
            .sum();
        self.probability = 1.0 / (1.0 + libm::expf(-(sum + BIAS)));
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

    /// Measures the frame; the floors and means move on.
    pub(crate) fn cues(&mut self, spectrum: &Spectrum) -> Cues {
        let bands = bands(&spectrum.short);
        self.track_floor(&bands);
        let low = self.excess(0..7);
        let middle = self.excess(7..13);
        let high = self.excess(13..BANDS);
        let excess = (low + middle + high) / 3.0;
        let periodic = if excess > 0.03 {
            periodicity(spectrum)
        } else {
            0.0
        };
        let moved = self.track_levels(&bands);
        let level_db = self.levels_db[LEVELS - 1];
        let cues = [
            low,
            middle,
            high,
            periodic,
            excess * periodic,
            self.recent_excess,
            self.recent_periodicity,
            (level_db - self.loudest_db).clamp(-40.0, 0.0) / 40.0,
            moved,
            (excess - self.recent_excess).clamp(-0.5, 0.5),
            libm::sqrtf(excess),
            moved * excess,
        ];
        self.recent_excess += RECENT_PACE * (excess - self.recent_excess);
        self.recent_periodicity += RECENT_PACE * (periodic - self.recent_periodicity);
        cues
    }

    fn track_floor(&mut self, bands: &[f32; BANDS]) {
        if self.frames == 0 {
            self.smoothed = *bands;
            self.floor = bands.map(|power| power.clamp(LOWEST_FLOOR, HIGHEST_FIRST_FLOOR));
        }
        self.frames = self.frames.wrapping_add(1).max(1);
        for (band, &power) in bands.iter().enumerate() {
            let pace = if power < self.smoothed[band] {
                FALL
            } else {
                RISE
            };
            self.smoothed[band] += pace * (power - self.smoothed[band]);
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

    /// Mean decibels of some bands over their floors, 14 dB is 1.
    fn excess(&self, of: core::ops::Range<usize>) -> f32 {
        let count = of.len() as f32;
        let bands = self.smoothed[of.clone()].iter().zip(&self.floor[of]);
        let above = bands.map(|(power, floor)| decibels(power / floor) - 3.0);
        above.map(|above| above.clamp(0.0, 14.0)).sum::<f32>() / (14.0 * count)
    }

    /// Follows the level; says how far it ranged in the last 300 ms, 30 dB is 1.
    fn track_levels(&mut self, bands: &[f32; BANDS]) -> f32 {
        let level_db = decibels(bands.iter().sum()).max(-60.0);
        self.levels_db.copy_within(1.., 0);
        self.levels_db[LEVELS - 1] = level_db;
        let least = (self.floor_dbov() + 12.0).max(-45.0);
        self.loudest_db = (self.loudest_db - LOUDEST_SINKS_DB)
            .max(least)
            .max(level_db);
        let highest = self
            .levels_db
            .iter()
            .fold(-60.0f32, |most, &level| most.max(level));
        let lowest = self
            .levels_db
            .iter()
            .fold(0.0f32, |least, &level| least.min(level));
        (highest - lowest).min(30.0) / 30.0
    }
}

fn bands(powers: &[f32; SHORT_BINS]) -> [f32; BANDS] {
    core::array::from_fn(|band| powers[EDGES[band]..EDGES[band + 1]].iter().sum())
}

/// The highest local maximum of the normalised autocorrelation, 0 to 1.
fn periodicity(spectrum: &Spectrum) -> f32 {
    let samples = spectrum.recent(COMPARED + LAGS.end);
    let now = &samples[LAGS.end..];
    let own = product(now, now);
    let first = &samples[LAGS.end - LAGS.start..][..COMPARED];
    let mut energy = product(first, first);
    let (mut before_last, mut last) = (1.0, 1.0);
    let mut best = 0.0f32;
    for lag in LAGS {
        let begin = LAGS.end - lag;
        let then = &samples[begin..][..COMPARED];
        let likeness = product(now, then) / libm::sqrtf(own * energy + 1e-12);
        if last > before_last && last >= likeness {
            best = best.max(last);
        }
        before_last = last;
        last = likeness;
        let (entering, leaving) = (samples[begin - 1], then[COMPARED - 1]);
        energy = (energy + entering * entering - leaving * leaving).max(0.0);
    }
    best.min(1.0)
}
