//! The flags of V.21 that precede a fax's first frame.
//!
//! Flags (01111110) at 300 bit/s between 1,650 and 1,850 Hz for one second
//! (ITU-T T.30 §5.3.1, V.21 channel 2): nearly all power between the two, and
//! spread over both, unlike a tone. The frame is not decoded. Called by the ear.

use crate::FRAME;
use crate::spectrum::{LONG_BINS, Spectrum, decibels};

/// Bins of 15.6 Hz from 1,500 to 2,000 Hz: both frequencies with their skirts.
const BAND: core::ops::Range<usize> = 96..128;
/// Share of the band in the whole.
const PURE: f32 = 0.85;
/// Mean frequency: a flag has six ones (1,650 Hz) and two zeros (1,850 Hz).
const MIDDLE: core::ops::Range<f32> = 1_630.0..1_790.0;
/// Spread around it, Hz; a single tone has less than 20.
const SPREAD: core::ops::Range<f32> = 40.0..150.0;
/// Softer is none, dBov.
const LOWEST_LEVEL: f32 = -45.0;
/// Frames that must agree: 400 ms of the second.
const FRAMES: u32 = 40;

/// Detector of one line.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    frames: u32,
}

impl Flags {
    pub(crate) const fn new() -> Self {
        Self { frames: 0 }
    }

    /// Takes the frame that ends at `at`; says where flags began when they are known.
    pub(crate) fn hear(&mut self, at: u64, spectrum: &Spectrum) -> Option<u64> {
        if !are_flags(&spectrum.long) {
            self.frames = 0;
            return None;
        }
        self.frames = self.frames.saturating_add(1);
        let lasted = u64::from(FRAMES) * FRAME as u64;
        (self.frames == FRAMES).then(|| at.saturating_sub(lasted))
    }
}

fn are_flags(powers: &[f32; LONG_BINS]) -> bool {
    let band = &powers[BAND];
    let power: f32 = band.iter().sum();
    // The band alone is cheap to sum; the rest is looked at when it is loud.
    if decibels(power) < LOWEST_LEVEL || power < PURE * powers.iter().sum::<f32>() {
        return false;
    }
    let moment = |order: i32, around: f32| -> f32 {
        let terms = band.iter().enumerate().map(|(index, share)| {
            let off = (BAND.start + index) as f32 * 15.625 - around;
            share * if order == 1 { off } else { off * off }
        });
        terms.sum::<f32>() / power
    };
    let mean = moment(1, 0.0);
    MIDDLE.contains(&mean) && SPREAD.contains(&libm::sqrtf(moment(2, mean)))
}
