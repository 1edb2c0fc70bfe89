//! Our own prompt, coming back: taken out where it can be, bounded where not.
//!
//! A short adaptive filter (64 ms), put where `delay` finds the echo, removes
//! most of it. What is left is bounded by a learnt coupling between the
//! prompt's envelope and what the line returns. It does not say who speaks.
//! Called by the ear for every frame.

use crate::FRAME;
use crate::delay::{Delay, LAGS};
use crate::spectrum::{decibels, product};

/// Length of the adaptive filter: 64 ms covers a hybrid behind a gateway.
const TAPS: usize = 512;
/// Frames of prompt remembered: the longest delay and the filter's own length.
const PAST: usize = LAGS + TAPS / FRAME + 2;
/// An echo within this many frames needs no other place of the filter.
const NEARBY: usize = 4;
/// The filter begins this many frames before the delay that was found.
const LEAD: usize = 2;
/// Envelope remembered: 600 ms, the longest echo that is bounded.
const ENVELOPE: usize = 60;
/// A prompt is active above this level, dBov.
const FAR_ACTIVE_DBOV: f32 = -50.0;
/// Softer echo than this changes nothing: -60 dBov.
const AUDIBLE: f32 = 1e-6;
/// Frames after its last active one in which a prompt can still echo: 600 ms.
pub(crate) const ECHO_FRAMES: u32 = 60;
/// Step size of the filter (normalised least mean squares).
const STEP: f32 = 0.4;
/// Assumed at first: an echo return loss of 6 dB (ITU-T G.122's worst case).
const COUPLING_AT_FIRST_DB: f32 = -6.0;
/// The bound follows the upper edge of what comes back: up fast, down slowly.
const COUPLING_UP_DB: f32 = 0.30;
const COUPLING_DOWN_DB: f32 = 0.04;
/// Both ten times as fast over the first second of prompt.
const LEARNING_FRAMES: u32 = 100;

/// Echo canceller and bound of one line.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    taps: [f32; TAPS],
    far: [f32; TAPS + FRAME],
    past: [[i16; FRAME]; PAST],
    delay: Delay,
    /// Frames by which the filter lies behind the prompt.
    place: usize,
    envelope: [f32; ENVELOPE],
    coupling_db: f32,
    frames_learnt: u32,
    frames_since_far: u32,
}

/// A frame without its echo.
pub(crate) struct Residual {
    /// Full scale = 1.0.
    pub(crate) samples: [f32; FRAME],
    /// How loud echo that is left may be, as a power.
    pub(crate) echo_power: f32,
    /// A prompt of ours was active in the last 600 ms.
    pub(crate) far_recent: bool,
    /// Echo of it may still be heard, above -60 dBov.
    pub(crate) echo_audible: bool,
    /// A prompt of ours is active in this frame.
    pub(crate) far_now: bool,
}

impl Echo {
    pub(crate) const fn new() -> Self {
        Self {
            taps: [0.0; TAPS],
            far: [0.0; TAPS + FRAME],
            past: [[0; FRAME]; PAST],
            delay: Delay::new(),
            place: 0,
            envelope: [0.0; ENVELOPE],
            coupling_db: COUPLING_AT_FIRST_DB,
            frames_learnt: 0,
            frames_since_far: u32::MAX,
        }
    }

    /// Takes 10 ms from the line and 10 ms of what we sent. `caller_speaks`:
    /// the filter must not learn from this.
    pub(crate) fn cancel(
        &mut self,
        near: &[i16; FRAME],
        far: &[i16; FRAME],
        caller_speaks: bool,
    ) -> Residual {
        self.push_far(far);
        let mut samples = near.map(|s| f32::from(s) / 32_768.0);
        if self.frames_since_far > ECHO_FRAMES {
            return Residual {
                samples,
                echo_power: 0.0,
                far_recent: false,
                echo_audible: false,
                far_now: false,
            };
        }
        if !caller_speaks {
            self.follow_delay(&samples);
        }
        self.filter(&mut samples, caller_speaks);
        let echo_power = self.bound(&samples, caller_speaks);
        Residual {
            samples,
            echo_power,
            far_recent: true,
            echo_audible: echo_power > AUDIBLE,
            far_now: self.frames_since_far == 0,
        }
    }

    /// The prompt was moved against the line; what was learnt about the delay is void.
    pub(crate) fn shifted(&mut self) {
        self.taps = [0.0; TAPS];
    }

    fn push_far(&mut self, far: &[i16; FRAME]) {
        self.past.copy_within(..PAST - 1, 1);
        self.past[0] = *far;
        self.far.copy_within(FRAME.., 0);
        self.fill(TAPS, self.place);
        let power = power(&far.map(|s| f32::from(s) / 32_768.0));
        self.envelope.copy_within(1.., 0);
        self.envelope[ENVELOPE - 1] = power;
        self.frames_since_far = if decibels(power) > FAR_ACTIVE_DBOV {
            0
        } else {
            self.frames_since_far.saturating_add(1)
        };
    }

    /// Copies a frame of the past to its place in the filter's view.
    fn fill(&mut self, begin: usize, age: usize) {
        for (slot, &sample) in self.far[begin..].iter_mut().zip(&self.past[age]) {
            *slot = f32::from(sample) / 32_768.0;
        }
    }

    /// Moves the filter to where the echo is; it learns anew there.
    fn follow_delay(&mut self, near: &[f32; FRAME]) {
        let lag = self.delay.hear(power(near), self.envelope[ENVELOPE - 1]);
        let wanted = if lag <= NEARBY { 0 } else { lag - LEAD };
        if wanted.abs_diff(self.place) <= 1 {
            return;
        }
        self.place = wanted;
        self.taps = [0.0; TAPS];
        self.frames_learnt = 0;
        for back in 0..TAPS / FRAME + 1 {
            self.fill(TAPS - back * FRAME, wanted + back);
        }
    }

    /// Subtracts the filter's echo and lets it learn, unless it made things worse.
    fn filter(&mut self, samples: &mut [f32; FRAME], caller_speaks: bool) {
        let near = *samples;
        let learn = !caller_speaks && self.one_way(&near);
        let mut energy: f32 = self.far[..TAPS].iter().map(|s| s * s).sum();
        for (index, sample) in samples.iter_mut().enumerate() {
            let leaving = self.far[index];
            let window = &self.far[index + 1..index + 1 + TAPS];
            let entering = window[TAPS - 1];
            energy = (energy + entering * entering - leaving * leaving).max(0.0);
            *sample -= product(&self.taps, window);
            if learn {
                let step = STEP * *sample / (energy + 1e-4);
                for (tap, far) in self.taps.iter_mut().zip(window) {
                    *tap += step * far;
                }
            }
        }
        if power(samples) > 1.5 * power(&near) {
            self.taps = self.taps.map(|tap| 0.5 * tap);
            *samples = near;
        }
    }

    /// Geigel's test: an echo is never nearly as loud as the loudest of the prompt.
    fn one_way(&self, near: &[f32; FRAME]) -> bool {
        let far_peak = self.far.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
        let near_peak = near.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
        near_peak < 0.8 * far_peak
    }

    /// Learns how much comes back and says how loud the rest of the echo may be.
    fn bound(&mut self, samples: &[f32; FRAME], caller_speaks: bool) -> f32 {
        let loudest = self.envelope.iter().fold(0.0f32, |most, &p| most.max(p));
        if decibels(loudest) > FAR_ACTIVE_DBOV && !caller_speaks {
            let returned = decibels(power(samples)) - decibels(loudest);
            let pace = if self.frames_learnt < LEARNING_FRAMES {
                10.0
            } else {
                1.0
            };
            self.frames_learnt = self.frames_learnt.saturating_add(1);
            self.coupling_db += if returned > self.coupling_db {
                COUPLING_UP_DB * pace
            } else {
                -COUPLING_DOWN_DB * pace
            };
            self.coupling_db = self.coupling_db.clamp(-50.0, 0.0);
        }
        loudest * libm::powf(10.0, self.coupling_db / 10.0)
    }
}

fn power(samples: &[f32; FRAME]) -> f32 {
    samples.iter().map(|s| s * s).sum::<f32>() / FRAME as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::ComfortNoise;

    #[test]
    fn a_line_echo_is_taken_out_within_two_seconds() {
        let mut echo = Echo::new();
        let mut prompt = ComfortNoise::new(20, 9);
        let mut delayed = [0i16; 240 + FRAME];
        let mut before = 0.0;
        let mut after = 0.0;
        for round in 0..200 {
            let mut far = [0; FRAME];
            prompt.fill(&mut far);
            delayed.copy_within(FRAME.., 0);
            delayed[240..].copy_from_slice(&far);
            let mut near = [0; FRAME];
            near.copy_from_slice(&delayed[..FRAME]);
            near = near.map(|s| s / 4);
            let rest = echo.cancel(&near, &far, false);
            if round >= 190 {
                before += power(&near.map(|s| f32::from(s) / 32_768.0));
                after += power(&rest.samples);
            }
        }
        assert!(decibels(after) < decibels(before) - 20.0);
    }

    #[test]
    fn without_a_prompt_the_line_passes_unchanged() {
        let mut echo = Echo::new();
        let near = core::array::from_fn(|i| (i as i16 - 40) * 100);
        let rest = echo.cancel(&near, &[0; FRAME], false);
        assert!(!rest.far_recent);
        assert_eq!(rest.samples, near.map(|s| f32::from(s) / 32_768.0));
    }
}
