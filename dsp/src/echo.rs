//! Our own prompt, coming back: taken out as far as a linear filter can.
//!
//! A partitioned frequency-domain Kalman filter (Enzner and Vary 2006, Kuech
//! et al. 2014) of 80 ms, put where `delay` finds the echo. How fast it learns
//! follows from how sure it is and how loud everything else on the line is, so
//! that a caller who talks over the prompt does not spoil it. It runs only
//! around our own prompts. There is no suppressor: what is left is told from a
//! caller by `voice`, who sees the line, the rest and the prompt. Called by the
//! ear for every frame.

use crate::FRAME;
use crate::bands::{self, Bands, SILENT, windowed};
use crate::delay::{Delay, LAGS};
use crate::fourier::{BINS, Bins, POINTS, forward, inverse};
use crate::g711::Law;
use crate::spectrum::decibels;

/// Samples of the echo path that a partition covers; with a frame of new
/// samples they fit a transform: 160 + 80 - 1 <= 256.
const PARTITION: usize = 160;
/// Partitions, 20 ms each.
const PARTITIONS: usize = 4;
/// Frames from one partition to the next.
const STRIDE: usize = PARTITION / FRAME;
/// Spectra of the prompt that are kept.
const SPECTRA: usize = (PARTITIONS - 1) * STRIDE + 1;
/// Frames of prompt kept as samples: the longest delay and one transform.
const PAST: usize = LAGS + POINTS.div_ceil(FRAME) + 1;
/// The filter begins this many frames before the delay that was found.
const LEAD: usize = 2;
/// It stays where it is while the delay moves less than this, in frames.
const NEARBY: usize = 2;
/// A prompt is active above this level, dBov.
const FAR_ACTIVE_DBOV: f32 = -50.0;
/// Frames after its last active one in which a prompt can still echo: 600 ms.
pub(crate) const ECHO_FRAMES: u32 = 60;
/// Share of a transform that is new samples.
const NEW: f32 = FRAME as f32 / POINTS as f32;
/// How well the echo path of the last frame tells that of this one (squared).
const STEADINESS: f32 = 0.999;
/// Uncertainty of a bin before anything is known, as a power gain.
const UNKNOWN: f32 = 0.1;
/// Pace at which the power of everything but echo is followed.
const OTHER_PACE: f32 = 0.3;
/// The least of it: -75 dBov in a frame, the quantising noise of G.711.
const LEAST_OTHER: f32 = 3e-8 * FRAME as f32;
/// Frames in a row that get louder by the filter: it is wrong and starts anew.
const WRONG_FRAMES: u32 = 8;
/// Far levels fade by this much a frame once a band falls: 18 dB in 600 ms.
const FADE_DB: f32 = 0.3;
/// Softer echo than this changes nothing: -60 dBov.
const AUDIBLE: f32 = 1e-6;
/// The loudest echo of late sinks to a third in 300 ms.
const ECHO_FADES: f32 = 0.96;
/// Until so many frames of prompt were heard, there may be an echo: 1 s.
const LEARNING_FRAMES: u32 = 100;

/// Echo canceller of one line.
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    /// The prompt in a ring of frames, mu-law: finer than any echo path is linear.
    past: [[u8; FRAME]; PAST],
    newest: usize,
    delay: Delay,
    /// Frames by which the filter lies behind the prompt.
    place: usize,
    spectra: [Bins; SPECTRA],
    latest: usize,
    weights: [Bins; PARTITIONS],
    uncertainty: [[f32; BINS]; PARTITIONS],
    /// Power of all that is not explained, per bin.
    other: [f32; BINS],
    /// The partition that is cut to its length next.
    next_cut: usize,
    wrong: u32,
    far_held: Bands,
    echo_power: f32,
    frames_since_far: u32,
    frames_heard: u32,
}

/// A frame without its echo.
pub(crate) struct Residual {
    /// Full scale = 1.0.
    pub(crate) samples: [f32; FRAME],
    /// Levels of our prompt, slowly fading, while it may echo.
    pub(crate) far: Option<Bands>,
    /// A prompt of ours is active in this frame.
    pub(crate) far_now: bool,
    /// Echo may be heard in this frame, above -60 dBov.
    pub(crate) echo_audible: bool,
}

impl Residual {
    /// A frame far from any prompt.
    pub(crate) const fn without_echo(samples: [f32; FRAME]) -> Self {
        Self {
            samples,
            far: None,
            far_now: false,
            echo_audible: false,
        }
    }
}

impl Echo {
    pub(crate) const fn new() -> Self {
        Self {
            past: [[Law::Mu.silence(); FRAME]; PAST],
            newest: 0,
            delay: Delay::new(),
            place: 0,
            spectra: [Bins::ZERO; SPECTRA],
            latest: 0,
            weights: [Bins::ZERO; PARTITIONS],
            uncertainty: [[UNKNOWN; BINS]; PARTITIONS],
            other: [LEAST_OTHER; BINS],
            next_cut: 0,
            wrong: 0,
            far_held: SILENT,
            echo_power: 0.0,
            frames_since_far: u32::MAX,
            frames_heard: 0,
        }
    }

    /// Takes 10 ms of what we sent; says whether it may echo now, so that
    /// [`Echo::cancel`] has to be called.
    pub(crate) fn push_far(&mut self, far: &[i16; FRAME]) -> bool {
        self.newest = (self.newest + 1) % PAST;
        let past = &mut self.past[self.newest];
        let silent = far.iter().fold(0, |any, &sample| any | sample) == 0;
        let power = if silent {
            past.fill(Law::Mu.silence());
            0.0
        } else {
            Law::Mu.encode_into(far, past);
            power(&far.map(|s| f32::from(s) / 32_768.0))
        };
        let was_idle = self.is_idle();
        self.frames_since_far = if decibels(power) > FAR_ACTIVE_DBOV {
            0
        } else {
            self.frames_since_far.saturating_add(1)
        };
        if was_idle && !self.is_idle() {
            self.spectra = [Bins::ZERO; SPECTRA];
            self.delay.rest();
            self.far_held = SILENT;
        }
        !self.is_idle()
    }

    const fn is_idle(&self) -> bool {
        self.frames_since_far > ECHO_FRAMES
    }

    /// Takes the frame from the line with its levels.
    pub(crate) fn cancel(&mut self, near: &[f32; FRAME], levels: &Bands) -> Residual {
        let far_now = self.frames_since_far == 0;
        let far = bands::levels(&forward(&windowed(&self.far_samples(0))));
        for (held, level) in self.far_held.iter_mut().zip(&far) {
            *held = (*held - FADE_DB).max(*level);
        }
        self.frames_heard = self.frames_heard.saturating_add(u32::from(far_now));
        let lag = self.delay.hear(levels, &far, far_now);
        self.move_to(lag);
        let samples = self.filter(near);
        Residual {
            samples,
            far: Some(self.far_held),
            far_now,
            echo_audible: self.echo_power > AUDIBLE || self.frames_heard < LEARNING_FRAMES,
        }
    }

    /// The prompt was moved against the line: the filter has to learn anew.
    pub(crate) fn shifted(&mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        self.weights = [Bins::ZERO; PARTITIONS];
        self.uncertainty = [[UNKNOWN; BINS]; PARTITIONS];
        self.wrong = 0;
    }

    /// The prompt's samples of one transform, `age` frames ago.
    fn far_samples(&self, age: usize) -> [f32; POINTS] {
        let mut samples = [0.0; POINTS];
        let mut end = POINTS;
        let mut frame = (self.newest + PAST - age) % PAST;
        while end > 0 {
            let count = FRAME.min(end);
            let codes = &self.past[frame][FRAME - count..];
            for (slot, &code) in samples[end - count..end].iter_mut().zip(codes) {
                *slot = f32::from(Law::Mu.decode(code)) / 32_768.0;
            }
            end -= count;
            frame = (frame + PAST - 1) % PAST;
        }
        samples
    }

    /// Moves the filter to where the echo is; it learns anew there.
    fn move_to(&mut self, lag: usize) {
        let wanted = lag.saturating_sub(LEAD);
        if wanted.abs_diff(self.place) <= NEARBY {
            return;
        }
        self.place = wanted;
        self.forget();
        for age in (1..SPECTRA).rev() {
            self.latest = (self.latest + 1) % SPECTRA;
            self.spectra[self.latest] = forward(&self.far_samples(wanted + age));
        }
    }

    fn spectrum(&self, partition: usize) -> &Bins {
        &self.spectra[(self.latest + SPECTRA - partition * STRIDE) % SPECTRA]
    }

    /// Takes the echo out of a frame, as far as it is known, and learns from it.
    fn filter(&mut self, near: &[f32; FRAME]) -> [f32; FRAME] {
        self.latest = (self.latest + 1) % SPECTRA;
        self.spectra[self.latest] = forward(&self.far_samples(self.place));
        let mut sum = Bins::ZERO;
        for partition in 0..PARTITIONS {
            add_product(&mut sum, &self.weights[partition], self.spectrum(partition));
        }
        let echo = inverse(&sum);
        let mut rest = [0.0; POINTS];
        let mut echo_power = 0.0;
        for index in 0..FRAME {
            let estimate = echo[POINTS - FRAME + index];
            echo_power += estimate * estimate;
            rest[POINTS - FRAME + index] = near[index] - estimate;
        }
        let samples = core::array::from_fn(|index| rest[POINTS - FRAME + index]);
        self.learn(&forward(&rest));
        self.echo_power = (self.echo_power * ECHO_FADES).max(echo_power / FRAME as f32);
        let louder = power(&samples) > 1.2 * power(near);
        self.wrong = if louder {
            self.wrong + 1
        } else {
            self.wrong.saturating_sub(1)
        };
        if self.wrong > WRONG_FRAMES {
            self.forget();
        }
        if louder { *near } else { samples }
    }

    /// The Kalman step: gain from uncertainty and from the power of all else.
    fn learn(&mut self, rest: &Bins) {
        let mut explained = [0.0; BINS];
        for partition in 0..PARTITIONS {
            let squares = self.spectrum(partition).squares();
            let uncertainty = &self.uncertainty[partition];
            for bin in 0..BINS {
                explained[bin] += squares[bin] * uncertainty[bin];
            }
        }
        let power = rest.squares();
        let (mut scale, mut step) = ([0.0; BINS], Bins::ZERO);
        for bin in 0..BINS {
            let other = self.other[bin] + OTHER_PACE * (power[bin] - self.other[bin]);
            self.other[bin] = other;
            let other = if other > LEAST_OTHER {
                other
            } else {
                LEAST_OTHER
            };
            scale[bin] = 1.0 / (explained[bin] + other);
            step.re[bin] = rest.re[bin] * scale[bin];
            step.im[bin] = rest.im[bin] * scale[bin];
        }
        // DC and Nyquist are out of the band.
        (step.re[0], step.im[0]) = (0.0, 0.0);
        for partition in 0..PARTITIONS {
            let far = &self.spectra[(self.latest + SPECTRA - partition * STRIDE) % SPECTRA];
            let (weights, doubt) = (
                &mut self.weights[partition],
                &mut self.uncertainty[partition],
            );
            adapt(weights, doubt, far, &step, &scale);
        }
        self.cut();
    }

    /// Cuts one partition a frame to its length in time.
    fn cut(&mut self) {
        let weights = &mut self.weights[self.next_cut];
        let mut response = inverse(weights);
        response[PARTITION..].fill(0.0);
        *weights = forward(&response);
        self.next_cut = (self.next_cut + 1) % PARTITIONS;
    }
}

/// Moves the weights of a partition by the step, as far as they are doubted.
fn adapt(
    weights: &mut Bins,
    doubts: &mut [f32; BINS],
    far: &Bins,
    step: &Bins,
    scale: &[f32; BINS],
) {
    for bin in 0..BINS {
        let (doubt, re, im) = (doubts[bin], far.re[bin], far.im[bin]);
        weights.re[bin] += doubt * (re * step.re[bin] + im * step.im[bin]);
        weights.im[bin] += doubt * (re * step.im[bin] - im * step.re[bin]);
        let learnt = NEW * doubt * scale[bin] * (re * re + im * im);
        let (re, im) = (weights.re[bin], weights.im[bin]);
        let drift = (1.0 - STEADINESS) * (re * re + im * im);
        doubts[bin] = STEADINESS * doubt * (1.0 - learnt) + drift;
    }
}

/// DC and Nyquist are out of the band.
fn add_product(sum: &mut Bins, weights: &Bins, far: &Bins) {
    for bin in 0..BINS {
        sum.re[bin] += weights.re[bin] * far.re[bin] - weights.im[bin] * far.im[bin];
        sum.im[bin] += weights.re[bin] * far.im[bin] + weights.im[bin] * far.re[bin];
    }
    (sum.re[0], sum.im[0]) = (0.0, 0.0);
}

fn power(samples: &[f32; FRAME]) -> f32 {
    samples.iter().map(|s| s * s).sum::<f32>() / FRAME as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::View;
    use crate::noise::ComfortNoise;

    /// Decibels taken off an echo of `delay` samples in the last tenth of `rounds` frames.
    fn loss(delay: usize, rounds: usize) -> f32 {
        let mut echo = Echo::new();
        let mut view = View::new();
        let mut prompt = ComfortNoise::new(20, 9);
        let mut delayed = [0i16; 4_400 + FRAME];
        let (mut before, mut after) = (0.0, 0.0);
        for round in 0..rounds {
            let mut far = [0; FRAME];
            // Syllables of a kind: noise without a shape has no delay to be seen.
            prompt.set_level(20 + 12 * ((round as u8 / 9) % 3));
            prompt.fill(&mut far);
            delayed.copy_within(FRAME.., 0);
            delayed[delay..delay + FRAME].copy_from_slice(&far);
            let near = core::array::from_fn(|i| f32::from(delayed[i] / 4) / 32_768.0);
            let levels = bands::levels(&view.push(&near));
            assert!(echo.push_far(&far));
            let rest = echo.cancel(&near, &levels);
            if round >= rounds * 9 / 10 {
                before += power(&near);
                after += power(&rest.samples);
            }
        }
        decibels(before) - decibels(after)
    }

    #[test]
    fn a_line_echo_is_taken_out_within_a_second() {
        assert!(loss(240, 100) > 15.0, "{}", loss(240, 100));
    }

    #[test]
    fn a_late_echo_is_found_and_taken_out_within_three_seconds() {
        for delay in [1_200, 2_800, 4_400] {
            assert!(loss(delay, 300) > 15.0, "{delay}: {}", loss(delay, 300));
        }
    }

    #[test]
    fn without_a_prompt_there_is_nothing_to_cancel() {
        assert!(!Echo::new().push_far(&[0; FRAME]));
    }
}
