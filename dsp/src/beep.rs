//! The beep after a greeting: one tone, alone, after somebody spoke.
//!
//! It is reported 40 to 50 ms after its end, when a message may start. Tones
//! that repeat, form a SIT or belong to a fax are none. Called by the ear.

use crate::signal::{Segment, Signal};

/// Samples per millisecond.
const MS: u64 = 8;
/// Shortest and longest beep: 85 ms to 1.7 s.
const LENGTH: core::ops::RangeInclusive<u64> = 85 * MS..=1_700 * MS;
/// Lowest and highest, Hz.
const BAND: core::ops::Range<f32> = 370.0..2_250.0;
/// Highest second tone of a beep of two, Hz.
const HIGHEST: f32 = 3_800.0;
/// A shorter one must begin out of quiet and end in it: 200 ms.
const SHORT: u64 = 200 * MS;
/// Speech before it.
const SPOKEN_BEFORE: u64 = 500 * MS;
/// Quiet of the tone after which it is over.
const REPORT_AFTER: u64 = 40 * MS;
/// The same tone within this time is a signal that repeats.
const ALONE_FOR: u64 = 6_000 * MS;
/// Tones closer than this belong together (SIT, melodies).
const APART: u64 = 1_000 * MS;

/// A beep that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) hz: u16,
}

/// A tone that may turn out to be a beep.
#[derive(Clone, Debug)]
pub(crate) struct Beep {
    pending: Option<Segment>,
}

impl Beep {
    pub(crate) const fn new() -> Self {
        Self { pending: None }
    }

    /// Takes the tone that ended with the frame, if one did.
    pub(crate) fn hear(
        &mut self,
        at: u64,
        closed: Option<Segment>,
        signal: &Signal,
        spoken: u64,
    ) -> Option<Found> {
        if let Some(segment) = closed {
            let fits = spoken >= SPOKEN_BEFORE && is_beep(&segment) && is_alone(&segment, signal);
            self.pending = fits.then_some(segment);
        }
        let segment = self
            .pending
            .filter(|segment| at >= segment.end + REPORT_AFTER)?;
        self.pending = None;
        if signal.open().is_some() {
            return None;
        }
        let hz = libm::roundf(segment.low) as u16;
        Some(Found {
            start: segment.start,
            end: segment.end,
            hz,
        })
    }
}

fn is_beep(segment: &Segment) -> bool {
    let in_band = BAND.contains(&segment.low) && segment.high < HIGHEST;
    in_band && LENGTH.contains(&segment.length()) && is_tone(segment)
}

/// A held vowel is short, and begins and ends within speech.
fn is_tone(segment: &Segment) -> bool {
    segment.length() >= SHORT || (segment.from_quiet && segment.to_quiet)
}

/// No tone right before it, and not the same one within six seconds.
fn is_alone(segment: &Segment, signal: &Signal) -> bool {
    let earlier = signal.past().filter(|other| other.start < segment.start);
    earlier
        .filter(|other| other.length() >= *LENGTH.start() && is_tone(other))
        .all(|other| {
            let gap = segment.start.saturating_sub(other.end);
            gap > APART && (gap > ALONE_FOR || !other.resembles(segment))
        })
}
