//! How likely it is that somebody speaks in this frame.
//!
//! Shows a small recurrent network levels in bands of the line, of the line
//! without our echo and of our prompt, now and 10 ms before, and the floor and
//! mean of each band, and weighs what it says against what it said of the last
//! second: alone, and beside the loudness of the last syllable. It keeps no notion
//! of a turn (that is `speech`) and knows no tones. Called by the ear.

use crate::bands::{self, BANDS, Bands, SILENT, SOFTEST};
use crate::fourier::Bins;
use crate::network::Network;

/// Values of one frame: the line, the line without echo, our prompt.
const SHOWN: usize = 3 * BANDS;
/// Values the network is given: this frame's, then the last one's, then floor and
/// mean of the line without echo.
pub(crate) const INPUTS: usize = 2 * SHOWN + 2 * BANDS;
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
/// People mark speech by the loudness of syllables, the network knows frames. The mean
/// over the bands of x / (x + 6 dB), x dB above their floors, is followed with a time
/// constant of 100 ms …
const HALF_LOUD_DB: f32 = 6.0;
const LOUDNESS_PACE: f32 = 0.1;
/// … and weighs so many log-odds, counted from that of speech which is hardly masked.
const LOUDNESS_WEIGHT: f32 = 6.0;
const LOUDNESS_OF_SPEECH: f32 = 0.6;
/// A floor falls to a softer level by this share of the way a frame …
const FLOOR_FALL: f32 = 0.1;
/// … and rises to a louder one within seconds.
const FLOOR_RISE: f32 = 0.005;
/// The mean follows with a time constant of 2 s, once it has heard as much.
const MEAN_PACE: f32 = 0.005;

/// Hears whether somebody speaks.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    background: Background,
    begun: bool,
    input: [i16; INPUTS],
    network: Network,
    alone: Weighed,
    /// What loudness adds to the log-odds.
    louder: f32,
    with_loudness: Weighed,
}

impl Voice {
    pub(crate) const fn new() -> Self {
        Self {
            background: Background::new(),
            begun: false,
            input: [0; INPUTS],
            network: Network::new(),
            alone: Weighed::new(),
            louder: -LOUDNESS_WEIGHT * LOUDNESS_OF_SPEECH,
            with_loudness: Weighed::new(),
        }
    }

    /// 0 to 1, of the last frame, by the network alone: what events are decided by, for a
    /// voice that begins is loud only when its first syllable is over.
    pub(crate) const fn probability(&self) -> f32 {
        self.alone.probability
    }

    /// 0 to 1, of the last frame, loudness counted.
    pub(crate) const fn with_loudness(&self) -> f32 {
        self.with_loudness.probability
    }

    /// What the network was given for the last frame.
    pub(crate) const fn input(&self) -> &[i16; INPUTS] {
        &self.input
    }

    /// The softest of the last seconds in each band, dBov.
    pub(crate) const fn floor(&self) -> &Bands {
        &self.background.floor
    }

    /// The level of the background in dBov.
    pub(crate) fn floor_dbov(&self) -> f32 {
        let power = |level: &f32| libm::powf(10.0, level / 10.0);
        crate::spectrum::decibels(self.background.floor.iter().map(power).sum())
    }

    /// Judges a frame by the levels of the line, without our echo, and of our
    /// prompt while it may echo.
    pub(crate) fn hear(&mut self, near: &Bands, rest: &Bands, far: Option<&Bands>) {
        self.background.follow(rest);
        self.show([near, rest, far.unwrap_or(&SILENT)]);
        let odds = self.network.hear(&self.input);
        self.alone.weigh(odds);
        let louder = LOUDNESS_WEIGHT * (self.background.loudness(rest) - LOUDNESS_OF_SPEECH);
        self.louder += LOUDNESS_PACE * (louder - self.louder);
        self.with_loudness.weigh(odds + self.louder);
    }

    /// A frame without sound of the line's own: nobody is heard.
    pub(crate) fn hear_nothing(&mut self) {
        self.alone.probability = 0.0;
        self.with_loudness.probability = 0.0;
    }

    fn show(&mut self, rows: [&Bands; 3]) {
        let (shown, behind) = self.input.split_at_mut(2 * SHOWN);
        let (now, before) = shown.split_at_mut(SHOWN);
        before.copy_from_slice(now);
        write(now, &rows);
        if !self.begun {
            before.copy_from_slice(now);
        }
        self.begun = true;
        write(behind, &[&self.background.floor, &self.background.mean]);
    }
}

/// Log-odds beside those of the line's last second.
#[derive(Clone, Debug)]
struct Weighed {
    usual: f32,
    probability: f32,
}

impl Weighed {
    const fn new() -> Self {
        Self {
            usual: 0.0,
            probability: 0.0,
        }
    }

    fn weigh(&mut self, odds: f32) {
        self.usual += USUAL_PACE * (odds.clamp(-MOST_ODDS, MOST_ODDS) - self.usual);
        self.probability = 1.0 / (1.0 + libm::expf(USUAL_SHARE * self.usual - odds));
    }
}

/// What each band is judged against: the softest and the usual of the last seconds.
#[derive(Clone, Debug)]
struct Background {
    floor: Bands,
    mean: Bands,
    /// Frames heard, until the mean has its pace.
    frames: f32,
}

impl Background {
    const fn new() -> Self {
        Self {
            floor: SILENT,
            mean: SILENT,
            frames: 0.0,
        }
    }

    fn follow(&mut self, levels: &Bands) {
        if self.frames == 0.0 {
            self.floor = *levels;
        }
        self.frames = (self.frames + 1.0).min(1.0 / MEAN_PACE);
        let pace = 1.0 / self.frames;
        for (band, &level) in levels.iter().enumerate() {
            let above = level - self.floor[band];
            self.floor[band] += above * if above > 0.0 { FLOOR_RISE } else { FLOOR_FALL };
            self.mean[band] += pace * (level - self.mean[band]);
        }
    }

    /// How loud the bands are above their floors: 0 not at all, 1 all of them without end.
    fn loudness(&self, levels: &Bands) -> f32 {
        let above = levels.iter().zip(&self.floor);
        let above = above.map(|(level, floor)| (level - floor).max(0.0));
        above.map(|db| db / (db + HALF_LOUD_DB)).sum::<f32>() / BANDS as f32
    }
}

fn write(slots: &mut [i16], rows: &[&Bands]) {
    for (slots, levels) in slots.chunks_exact_mut(BANDS).zip(rows) {
        for (slot, &db) in slots.iter_mut().zip(*levels) {
            *slot = fixed(db);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn log_odds(probability: f32) -> f32 {
        libm::logf(probability / (1.0 - probability))
    }

    /// A line at `level` dBov with a syllable 20 dB above it from 3 s on, 150 ms long: what
    /// loudness makes of the log-odds in the last frame before, in it and 300 ms after.
    fn by_loudness(level: f32) -> [f32; 3] {
        let mut voice = Voice::new();
        let frames: [f32; 345] = core::array::from_fn(|frame| {
            let said = (300..315).contains(&frame);
            let levels = [level + if said { 20.0 } else { 0.0 }; BANDS];
            voice.hear(&levels, &levels, None);
            log_odds(voice.with_loudness()) - log_odds(voice.probability())
        });
        [299, 314, 344].map(|frame: usize| frames[frame])
    }

    #[test]
    fn a_loud_syllable_is_likelier_speech_whatever_the_level_and_not_for_long() {
        for level in [-60.0, -48.0, -36.0] {
            let [before, within, after] = by_loudness(level);
            assert!(within > before + 2.5, "{before} {within}");
            assert!(after < before + 0.5, "{before} {after}");
        }
    }

    #[test]
    fn a_line_without_sound_of_its_own_is_no_speech() {
        let mut voice = Voice::new();
        voice.hear(&[-20.0; BANDS], &[-20.0; BANDS], None);
        assert!(voice.probability() > 0.0 && voice.with_loudness() > 0.0);
        voice.hear_nothing();
        assert_eq!([voice.probability(), voice.with_loudness()], [0.0; 2]);
    }
}
