//! How likely it is that somebody speaks in this frame.
//!
//! Measures what a small recurrent network is given: levels in bands of the
//! line, of the line without echo, of that echo and of our prompt, the line's
//! own floors, and how periodic it is. It keeps no notion of a turn (that is
//! `speech`) and knows no tones. Called by the ear.

use crate::FRAME;
use crate::bands::{self, BANDS, Bands, SILENT};
use crate::fourier::Bins;
use crate::network::Network;
use crate::pitch::{Pitch, RANGES};

/// Values the network is given in a frame.
pub(crate) const INPUTS: usize = 6 * BANDS + RANGES + 2;
/// The network's input is in 1/4096; it ends at ±8.
const INPUT_ONE: f32 = 4_096.0;
/// A level in dBov to a value around 0: speech is above, a quiet line below.
const MIDDLE_DB: f32 = -55.0;
const LEVEL_UNIT_DB: f32 = 15.0;
/// A difference of levels to a value around 1.
const DIFFERENCE_UNIT_DB: f32 = 10.0;
/// A floor falls to a softer level by this share of the way a frame …
const FLOOR_FALL: f32 = 0.1;
/// … and rises by 3 dB a second at most.
const FLOOR_RISE_DB: f32 = 0.03;
/// The floor assumed before anything is known is at most this, in one band.
const HIGHEST_FIRST_FLOOR_DB: f32 = -58.0;
/// The network is told that it has just begun to hear for so many frames.
const BEGINNING: u32 = 100;

/// Hears whether somebody speaks.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    pitch: Pitch,
    floor: Bands,
    before: [Bands; 2],
    frames: u32,
    input: [i16; INPUTS],
    network: Network,
    probability: f32,
}

impl Voice {
    pub(crate) const fn new() -> Self {
        Self {
            pitch: Pitch::new(),
            floor: [HIGHEST_FIRST_FLOOR_DB; BANDS],
            before: [SILENT; 2],
            frames: 0,
            input: [0; INPUTS],
            network: Network::new(),
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

    /// The level of the background in dBov.
    pub(crate) fn floor_dbov(&self) -> f32 {
        let power = |level: &f32| libm::powf(10.0, level / 10.0);
        crate::spectrum::decibels(self.floor.iter().map(power).sum())
    }

    /// Judges a frame: the line, its samples without our echo, and what these
    /// look like. `far`: the levels of our prompt while it may echo.
    pub(crate) fn hear(
        &mut self,
        near: &Sound,
        rest: &Sound,
        samples: &[f32; FRAME],
        far: Option<&Bands>,
    ) {
        let levels = rest.levels;
        let echo = far.map_or(SILENT, |_| near.less(rest));
        self.follow_floor(&levels);
        let ranges = self.pitch.hear(samples);
        let shown = Shown {
            near: &near.levels,
            rest: &levels,
            echo: &echo,
            far: far.unwrap_or(&SILENT),
        };
        self.show(&shown, &ranges, far.is_some());
        self.before = [levels, self.before[0]];
        self.probability = self.network.hear(&self.input);
    }

    /// A frame without sound of the line's own: nobody is heard.
    pub(crate) fn hear_nothing(&mut self) {
        self.probability = 0.0;
    }

    fn follow_floor(&mut self, levels: &Bands) {
        if self.frames == 0 {
            self.floor = levels.map(|level| level.min(HIGHEST_FIRST_FLOOR_DB));
            self.before = [*levels; 2];
        }
        self.frames = self.frames.saturating_add(1);
        for (floor, &level) in self.floor.iter_mut().zip(levels) {
            let above = level - *floor;
            *floor += (FLOOR_FALL * above).min(FLOOR_RISE_DB);
        }
    }

    fn show(&mut self, shown: &Shown, ranges: &[f32; RANGES], may_echo: bool) {
        let level = |db: f32| (db - MIDDLE_DB) / LEVEL_UNIT_DB;
        let rows = [shown.near, shown.rest, shown.echo, shown.far];
        for (row, levels) in rows.iter().enumerate() {
            for (band, &db) in levels.iter().enumerate() {
                self.input[row * BANDS + band] = fixed(level(db));
            }
        }
        for band in 0..BANDS {
            let now = shown.rest[band];
            let above = (now - self.floor[band]) / DIFFERENCE_UNIT_DB;
            let moved = (now - self.before[1][band]) / DIFFERENCE_UNIT_DB;
            self.input[4 * BANDS + band] = fixed(above);
            self.input[5 * BANDS + band] = fixed(moved);
        }
        for (slot, &likeness) in self.input[6 * BANDS..].iter_mut().zip(ranges) {
            *slot = fixed(2.0 * likeness);
        }
        self.input[INPUTS - 2] = fixed(f32::from(u8::from(may_echo)));
        self.input[INPUTS - 1] = fixed(self.frames.min(BEGINNING) as f32 / BEGINNING as f32);
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

    /// The levels of what this has and the other has not.
    fn less(&self, other: &Self) -> Bands {
        bands::levels(&self.bins.less(&other.bins))
    }
}

/// Levels the network is shown.
struct Shown<'a> {
    near: &'a Bands,
    rest: &'a Bands,
    echo: &'a Bands,
    far: &'a Bands,
}

fn fixed(value: f32) -> i16 {
    (value * INPUT_ONE) as i16
}
