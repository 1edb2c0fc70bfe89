//! Stretches of steady tone: when they began, ended, and on which frequencies.
//!
//! One or two frequencies that stay put. What a row of them means is said by
//! `cadence` and `beep`; DTMF has its own faster ear. Called by the ear.

use crate::FRAME;
use crate::spectrum::{Peaks, SHORT_BINS, Spectrum, decibels, peaks};

/// Skirts of a peak in the long spectrum: ±62 Hz; 440 and 480 Hz are one peak.
const LONG_RADIUS: usize = 4;
/// Skirts of a peak in the short spectrum: ±62 Hz.
const SHORT_RADIUS: usize = 2;
/// Share of the peaks in a tone's power.
const PURE: f32 = 0.80;
/// A second peak below this share of the first is noise or distortion.
const SECOND_SHARE: f32 = 0.06;
/// Softer tones are not looked for, dBov.
const LOWEST_LEVEL: f32 = -50.0;
/// The band of signalling tones, Hz.
const BAND: core::ops::Range<f32> = 300.0..3_800.0;
/// How far a steady tone's frequency may seem to move, Hz.
const STEADY: f32 = 16.0;
/// A tone has ended when the line falls by this much.
const DROP_DB: f32 = 6.0;
/// Frames that must agree before a tone is believed.
const FRAMES_TO_OPEN: u32 = 3;
/// Frames of something else that close it.
const FRAMES_TO_CLOSE: u32 = 3;
/// Frames that a tone may be away and be the same: its level may swing with 16 Hz
/// or more (Japan and Australia), and a beep is still reported 50 ms after its end.
const FRAMES_AWAY: u32 = 4;
/// The windows hold a tone for 50 ms after its end.
const AFTERMATH: u64 = 400;
/// Segments remembered.
pub(crate) const SEGMENTS: usize = 8;
/// A tone is recognised at most this many frames after its start.
const LONGEST_LEAD: usize = 6;
/// Frames of level remembered to find a beginning: 80 ms.
const LEVELS: usize = 8;

/// A stretch of tone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Lower and upper frequency; both the same for a single tone.
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// The line was much softer right before its start.
    pub(crate) from_quiet: bool,
    /// The line fell right at its end.
    pub(crate) to_quiet: bool,
}

impl Segment {
    pub(crate) const fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub(crate) fn is_single(&self) -> bool {
        self.high - self.low < 1.0
    }

    /// Whether both are the same tone.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        (self.low - other.low).abs() < STEADY && (self.high - other.high).abs() < STEADY
    }
}

/// The tone of one frame.
#[derive(Clone, Copy, Debug)]
struct Sound {
    low: f32,
    high: f32,
}

/// A tone that goes on.
#[derive(Clone, Copy, Debug)]
struct Open {
    segment: Segment,
    frames: u32,
    strange: u32,
    /// Frames since the line fell.
    away: u32,
    level_db: f32,
}

/// The tone tracker of one line.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    open: Option<Open>,
    past: heapless::Deque<Segment, SEGMENTS>,
    levels: [f32; LEVELS],
    last_tonal: u64,
}

impl Signal {
    pub(crate) const fn new() -> Self {
        Self {
            open: None,
            past: heapless::Deque::new(),
            levels: [-120.0; LEVELS],
            last_tonal: 0,
        }
    }

    /// The tone that goes on, with its end at the last frame.
    pub(crate) fn open(&self) -> Option<Segment> {
        self.open
            .filter(|open| open.frames >= FRAMES_TO_OPEN)
            .map(|open| open.segment)
    }

    /// Finished tones, the oldest first.
    pub(crate) fn past(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.past.iter()
    }

    /// Whether this or one of the last frames was a tone: it is not speech.
    pub(crate) fn is_tonal(&self, at: u64) -> bool {
        self.open().is_some() || (self.last_tonal > 0 && at - self.last_tonal <= AFTERMATH)
    }

    /// Takes the frame that ends at `at`; says which tone ended with it.
    pub(crate) fn hear(&mut self, at: u64, spectrum: &Spectrum) -> Option<Segment> {
        let level_db = decibels(spectrum.pair_power);
        self.levels.copy_within(1.., 0);
        self.levels[LEVELS - 1] = decibels(spectrum.frame_power);
        if is_tonal_at_once(&spectrum.short, spectrum.pair_power) {
            self.last_tonal = at;
        }
        let sound = sound(spectrum);
        match self.open.take() {
            None => {
                self.open = sound.map(|sound| self.begin(at, sound, level_db));
                None
            }
            Some(open) => self.follow(open, at, sound, level_db, spectrum.pair_power),
        }
    }

    fn begin(&self, at: u64, sound: Sound, level_db: f32) -> Open {
        let loud = |level: &&f32| **level > level_db - DROP_DB;
        let before = self.levels.iter().rev().take_while(loud).count().max(1);
        let start = at.saturating_sub((before.min(LONGEST_LEAD) * FRAME) as u64);
        let segment = Segment {
            start,
            end: at,
            low: sound.low,
            high: sound.high,
            from_quiet: before <= LONGEST_LEAD,
            to_quiet: false,
        };
        Open {
            segment,
            frames: 1,
            strange: 0,
            away: 0,
            level_db,
        }
    }

    fn follow(
        &mut self,
        mut open: Open,
        at: u64,
        sound: Option<Sound>,
        level_db: f32,
        pair_power: f32,
    ) -> Option<Segment> {
        if level_db < open.level_db - DROP_DB {
            if open.away == 0 {
                let share = pair_power / libm::powf(10.0, open.level_db / 10.0);
                let left = libm::roundf(2.0 * FRAME as f32 * share) as u64;
                open.segment.to_quiet = true;
                open.segment.end = at.saturating_sub(2 * FRAME as u64) + left;
                self.last_tonal = at;
            }
            open.away += 1;
            if open.away < FRAMES_AWAY {
                self.open = Some(open);
                return None;
            }
            return self.close(open);
        }
        if open.away > 0 {
            open.away = 0;
            open.segment.to_quiet = false;
        }
        match sound.filter(|sound| open.fits(*sound)) {
            Some(sound) => {
                open.take(at, sound, level_db);
                self.open = Some(open);
                None
            }
            None if open.frames < FRAMES_TO_OPEN => {
                self.open = sound.map(|sound| self.begin(at, sound, level_db));
                None
            }
            None if open.strange + 1 < FRAMES_TO_CLOSE => {
                open.strange += 1;
                self.open = Some(open);
                None
            }
            None => {
                let closed = self.close(open);
                self.open = sound.map(|sound| self.begin(at, sound, level_db));
                closed
            }
        }
    }

    fn close(&mut self, open: Open) -> Option<Segment> {
        if open.frames < FRAMES_TO_OPEN || open.segment.length() == 0 {
            return None;
        }
        if self.past.is_full() {
            self.past.pop_front();
        }
        self.past
            .push_back(open.segment)
            .expect("room was made above");
        Some(open.segment)
    }
}

impl Open {
    fn fits(&self, sound: Sound) -> bool {
        (sound.low - self.segment.low).abs() < STEADY
            && (sound.high - self.segment.high).abs() < STEADY
    }

    fn take(&mut self, at: u64, sound: Sound, level_db: f32) {
        let pace = if self.frames < 6 { 0.4 } else { 0.1 };
        self.segment.low += pace * (sound.low - self.segment.low);
        self.segment.high += pace * (sound.high - self.segment.high);
        self.level_db += pace * (level_db - self.level_db);
        self.segment.end = at;
        self.frames = self.frames.saturating_add(1);
        self.strange = 0;
    }
}

/// The tone in the long window, if it is one and still sounds.
fn sound(spectrum: &Spectrum) -> Option<Sound> {
    let found = peaks(&spectrum.long, LONG_RADIUS);
    let still_sounds = spectrum.pair_power > 0.25 * found.total;
    if !still_sounds || decibels(found.total) < LOWEST_LEVEL {
        return None;
    }
    let single = found.second.power < SECOND_SHARE * found.first.power;
    if single && found.purity() > PURE && BAND.contains(&found.first.hertz) {
        return Some(Sound {
            low: found.first.hertz,
            high: found.first.hertz,
        });
    }
    pair(&found)
}

fn pair(found: &Peaks) -> Option<Sound> {
    let low = found.first.hertz.min(found.second.hertz);
    let high = found.first.hertz.max(found.second.hertz);
    let both = found.second.power >= SECOND_SHARE * found.first.power;
    let pure = found.purity_of_both() > PURE + 0.05;
    (both && pure && BAND.contains(&low) && BAND.contains(&high)).then_some(Sound { low, high })
}

/// Whether the short window holds nothing but a tone: known before it is steady.
fn is_tonal_at_once(short: &[f32; SHORT_BINS], pair_power: f32) -> bool {
    let found = peaks(short, SHORT_RADIUS);
    decibels(pair_power) > LOWEST_LEVEL
        && found.first.hertz > 330.0
        && found.purity_of_both() > 0.95
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Sine;

    fn segments_of(hertz: &[f32], milliseconds: usize) -> (Option<Segment>, u64) {
        let mut spectrum = Spectrum::new();
        let mut view = crate::bands::View::new();
        let mut signal = Signal::new();
        let mut sines: [Option<Sine>; 2] = [None, None];
        for (slot, &hertz) in sines.iter_mut().zip(hertz) {
            *slot = Some(Sine::new(hertz, -20.0));
        }
        let begin = 4_000;
        let end = begin + milliseconds * 8;
        let mut closed = None;
        for index in 0..200 {
            let mut frame = [0.0; FRAME];
            for (offset, slot) in frame.iter_mut().enumerate() {
                if (begin..end).contains(&(index * FRAME + offset)) {
                    *slot = sines.iter_mut().flatten().map(Sine::sample).sum::<f32>() / 32_768.0;
                }
            }
            spectrum.push(&frame, &view.push(&frame), true);
            closed = closed.or(signal.hear(((index + 1) * FRAME) as u64, &spectrum));
        }
        (closed, end as u64)
    }

    #[test]
    fn a_tone_is_placed_within_twenty_milliseconds() {
        for hertz in [
            [400.0, 400.0],
            [1_400.0, 1_400.0],
            [480.0, 620.0],
            [440.0, 480.0],
        ] {
            for length in [100, 250, 500] {
                let tones = if hertz[0] == hertz[1] {
                    &hertz[..1]
                } else {
                    &hertz[..]
                };
                let (closed, end) = segments_of(tones, length);
                let segment = closed.expect("a tone");
                assert!(
                    segment.start.abs_diff(4_000) <= 160,
                    "{hertz:?} {length}: {segment:?}"
                );
                assert!(
                    segment.end.abs_diff(end) <= 160,
                    "{hertz:?} {length}: {segment:?} {end}"
                );
            }
        }
    }
}
