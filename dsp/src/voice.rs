//! How likely it is that somebody speaks in this frame.
//!
//! Shows a small recurrent network levels in bands of the line, of the line
//! without our echo and of our prompt, now and 10 ms before, and weighs what it
//! says against what it said of the last second. It keeps no notion
//! of a turn (that is `speech`) and knows no tones. Called by the ear.

use crate::bands::{self, BANDS, Bands, SILENT, SOFTEST};
use crate::fourier::Bins;
use crate::network::Network;

/// Values of one frame: the line, the line without echo, our prompt.
const SHOWN: usize = 3 * BANDS;
/// Values the network is given: this frame's, then the last one's.
pub(crate) const INPUTS: usize = 2 * SHOWN;
/// The network's input is in 1/4096; it ends at ±8.
const INPUT_ONE: f32 = 4_096.0;
/// A level in dBov to a value around 0: speech is above, a quiet line below.
const MIDDLE_DB: f32 = -55.0;
const LEVEL_UNIT_DB: f32 = 15.0;
/// What the network is given of a prompt that is silent.
pub(crate) const SILENT_INPUT: i16 = fixed(SOFTEST);
/// The mean of a line's log-odds follows them with a time constant of 1 s, each
/// counted within these …
const USUAL_PACE: f32 = 0.01;
const MOST_ODDS: f32 = 4.0;
/// … and this share of it is taken off: a noise that sounds half like speech, or
/// a caller whose voice does, is judged against the line's own second.
const USUAL_SHARE: f32 = 0.5;
/// A floor falls to a softer level by this share of the way a frame …
const FLOOR_FALL: f32 = 0.1;
/// … and rises by 3 dB a second at most.
const FLOOR_RISE_DB: f32 = 0.03;
/// The floor assumed before anything is known is at most this, in one band.
const HIGHEST_FIRST_FLOOR_DB: f32 = -58.0;

/// Hears whether somebody speaks.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    floor: Bands,
    begun: bool,
    input: [i16; INPUTS],
    network: Network,
    usual: f32,
    probability: f32,
}

impl Voice {
    pub(crate) const fn new() -> Self {
        Self {
            floor: [HIGHEST_FIRST_FLOOR_DB; BANDS],
            begun: false,
            input: [0; INPUTS],
            network: Network::new(),
            usual: 0.0,
            probability: 0.0,
        }
    }

    /// 0 to 1, of the last frame.
    pub(crate) const fn probability(&self) -> f32 {
        self.probability
    }

    /// What the network was given for the last frame.
    pub(crate) const fn input(&self) -> &[i16; INPUTS] {
        &self.input
    }

    /// The level of the background in each band, dBov.
    pub(crate) const fn floor(&self) -> &Bands {
        &self.floor
    }

    /// The level of the background in dBov.
    pub(crate) fn floor_dbov(&self) -> f32 {
        let power = |level: &f32| libm::powf(10.0, level / 10.0);
        crate::spectrum::decibels(self.floor.iter().map(power).sum())
    }

    /// Judges a frame by the levels of the line, without our echo, and of our
    /// prompt while it may echo.
    pub(crate) fn hear(&mut self, near: &Bands, rest: &Bands, far: Option<&Bands>) {
        self.follow_floor(rest);
        self.show([near, rest, far.unwrap_or(&SILENT)]);
        let odds = self.network.hear(&self.input);
        self.usual += USUAL_PACE * (odds.clamp(-MOST_ODDS, MOST_ODDS) - self.usual);
        self.probability = 1.0 / (1.0 + libm::expf(USUAL_SHARE * self.usual - odds));
    }

    /// A frame without sound of the line's own: nobody is heard.
    pub(crate) fn hear_nothing(&mut self) {
        self.probability = 0.0;
    }

    fn follow_floor(&mut self, levels: &Bands) {
        if !self.begun {
            self.floor = levels.map(|level| level.min(HIGHEST_FIRST_FLOOR_DB));
        }
        for (floor, &level) in self.floor.iter_mut().zip(levels) {
            let above = level - *floor;
            *floor += (FLOOR_FALL * above).min(FLOOR_RISE_DB);
        }
    }

    fn show(&mut self, rows: [&Bands; 3]) {
        let (now, before) = self.input.split_at_mut(SHOWN);
        before.copy_from_slice(now);
        for (slots, levels) in now.chunks_exact_mut(BANDS).zip(rows) {
            for (slot, &db) in slots.iter_mut().zip(levels) {
                *slot = fixed(db);
            }
        }
        if !self.begun {
            before.copy_from_slice(now);
        }
        self.begun = true;
    }
}

/// What a frame looks like.
#[derive(Clone)]
pub(crate) struct Sound {
    pub(crate) bins: Bins,
    pub(crate) levels: Bands,
}

impl Sound {
    pub(crate) fn new(bins: Bins) -> Self {
        let levels = bands::levels(&bins);
        Self { bins, levels }
    }
}

/// A level as the network is given it.
const fn fixed(db: f32) -> i16 {
    ((db - MIDDLE_DB) / LEVEL_UNIT_DB * INPUT_ONE) as i16
}
