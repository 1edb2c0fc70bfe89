//! Music on hold, roughly: notes that are held, and hardly a break.
//!
//! Speech changes its spectrum within 100 ms and pauses; noise has no peaks;
//! signalling tones are one note. Music that is mostly rhythm
//! goes unnoticed. Called by the ear.

use crate::FRAME;
use crate::spectrum::{LONG_BINS, Spectrum, decibels};

/// Bins of 15.6 Hz from 250 to 3,400 Hz.
const BINS: core::ops::Range<usize> = 16..218;
/// Frames between the spectra that are compared: 80 ms, more than the window's length.
const APART: u32 = 8;
/// Softer than this is no music, dBov.
const LOWEST_LEVEL: f32 = -50.0;
/// Overlap of two spectra 80 ms apart that counts as a held note.
const HELD: f32 = 0.50;
/// Share of the eight strongest bins that counts as notes.
const PEAKED: f32 = 0.40;
/// Music begins and ends at these shares of held notes.
const BEGIN: f32 = 0.45;
const END: f32 = 0.25;
/// Comparisons a share is averaged over: 4 s.
const PACE: f32 = 0.02;

/// Music detector of one line.
#[derive(Clone, Debug)]
pub(crate) struct Music {
    before: [f32; LONG_BINS],
    share: f32,
    frames: u32,
    playing: bool,
    /// The last comparison found held notes.
    held: bool,
}

impl Music {
    pub(crate) const fn new() -> Self {
        Self {
            before: [0.0; LONG_BINS],
            share: 0.0,
            frames: 0,
            playing: false,
            held: false,
        }
    }

    pub(crate) const fn is_playing(&self) -> bool {
        self.playing
    }

    /// Whether notes were held in the last 80 ms: little of speech is like that.
    pub(crate) const fn holds(&self) -> bool {
        self.held
    }

    /// Whether the next frame is one that it compares.
    pub(crate) const fn compares_next(&self) -> bool {
        self.frames.wrapping_add(1).is_multiple_of(APART)
    }

    /// Takes a frame; says where music began if it is known from this frame on.
    pub(crate) fn hear(&mut self, at: u64, spectrum: &Spectrum, tonal: bool) -> Option<u64> {
        self.frames = self.frames.wrapping_add(1);
        if !self.frames.is_multiple_of(APART) {
            return None;
        }
        let held = self.holds_notes(spectrum);
        self.held = held;
        self.before = spectrum.long;
        if !tonal {
            // A single tone may be a note or a signal: it says nothing.
            self.share += PACE * (f32::from(u8::from(held)) - self.share);
        }
        let was = self.playing;
        self.playing = self.share > if was { END } else { BEGIN };
        let lasted = (1.0 / PACE) as u64 * u64::from(APART) * FRAME as u64;
        (self.playing && !was).then(|| at.saturating_sub(lasted))
    }

    fn holds_notes(&self, spectrum: &Spectrum) -> bool {
        let now = &spectrum.long[BINS];
        let total: f32 = now.iter().sum();
        if decibels(total) < LOWEST_LEVEL {
            return false;
        }
        let (mut common, mut either) = (0.0, 1e-12);
        for (a, b) in now.iter().zip(&self.before[BINS]) {
            common += a.min(*b);
            either += a.max(*b);
        }
        common / either > HELD && strongest_eight(now) > PEAKED * total
    }
}

fn strongest_eight(powers: &[f32]) -> f32 {
    let mut top = [0.0f32; 8];
    for &power in powers {
        let mut carried = power;
        for slot in &mut top {
            if carried > *slot {
                core::mem::swap(&mut carried, slot);
            }
        }
    }
    top.iter().sum()
}
