//! How this caller speaks: rate, pauses, latency, pitch and level, against
//! their own baseline.
//!
//! It measures stretches of speech that `speech` found; what a turn's end is
//! says `turn`. Rate counts syllable nuclei, the peaks of the level between
//! 300 and 2,500 Hz. Called by the ear.

use crate::FRAME;
use crate::event::{EventKind, Manner};
use crate::report::Report;
use crate::spectrum::{Spectrum, decibels};
use crate::speech::Speech;

/// Samples per millisecond.
const MS: u64 = 8;
/// Bins of 31.25 Hz in which syllables stand out: 300 to 2,500 Hz.
const VOWELS: core::ops::Range<usize> = 10..80;
/// A peak counts when the level has risen and fallen by this much around it.
const NUCLEUS_DB: f32 = 3.0;
/// A sound is held while its level stays within this …
const HELD_DB: f32 = 2.0;
/// … for this many frames: 260 ms, longer than a stressed vowel.
const HELD_FRAMES: u32 = 26;
/// A held sound makes a hesitation when it ended at most this long ago.
const HESITATED: u64 = 500 * MS;
/// Quiet inside a turn between these is a pause; shorter is articulation, longer another turn.
const PAUSES: core::ops::Range<u64> = 200 * MS..2_500 * MS;
/// The long pause assumed of a caller who has not paused yet, s.
const LONG_AT_FIRST: f32 = 0.6;
/// A longer pause moves the usual long one by this share of the way, a shorter one back.
const LONGER: f32 = 0.7;
const SHORTER: f32 = 0.1;
/// Latencies longer than this are no replies.
const LONGEST_LATENCY: u64 = 6_000 * MS;
/// Shorter stretches say nothing of rate and pitch: 250 ms.
const LEAST_STRETCH: u64 = 250 * MS;
/// Samples of a pitch window at a quarter of the rate: 30 ms.
const COMPARED: usize = 60;
/// Pitch periods at a quarter of the rate: 2.5 to 16 ms, 62 to 400 Hz.
const LAGS: core::ops::RangeInclusive<usize> = 5..=32;
/// Likeness of two periods that counts as voiced.
const VOICED: f32 = 0.6;
/// Speech after which the baseline is sure: 10 s.
const SURE: f32 = 10.0 * 8_000.0;

/// A mean that forgets, and the mean deviation from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usual {
    pub(crate) mean: f32,
    pub(crate) spread: f32,
    pub(crate) count: u32,
}

impl Usual {
    /// The first eight values weigh the same, later ones an eighth.
    fn take(&mut self, value: f32) {
        self.count = self.count.saturating_add(1);
        let pace = 1.0 / self.count.min(8) as f32;
        if self.count == 1 {
            self.mean = value;
            self.spread = 0.5 * value.abs();
        }
        self.spread += pace * ((value - self.mean).abs() - self.spread);
        self.mean += pace * (value - self.mean);
    }

    fn mean(&self) -> Option<f32> {
        (self.count > 0).then_some(self.mean)
    }
}

/// Sum and count of what a stretch of speech measured.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    total: f32,
    count: u32,
}

impl Sum {
    fn take(&mut self, value: f32) {
        self.total += value;
        self.count += 1;
    }

    fn mean(&self) -> Option<f32> {
        (self.count > 0).then(|| self.total / self.count as f32)
    }
}

/// A stretch of speech that is over and was voiced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoken {
    pub(crate) start: u64,
    /// Samples of speech in it.
    pub(crate) samples: u64,
    /// Semitones over 1 Hz.
    pub(crate) pitch: f32,
}

/// What the stretch that goes on has so far.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    start: u64,
    spoken: u64,
    nuclei: u32,
    pitch: Sum,
    level: Sum,
    /// The same of about the last 200 ms.
    last_pitch: f32,
    last_level: f32,
}

/// What is known when the caller falls quiet; `turn` weighs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TurnCues {
    /// Speech of the turn so far, s.
    pub spoken_s: f32,
    /// Their usual pause inside a turn, s; 0 before one was heard.
    pub pause_s: f32,
    /// Their usual long pause, s: few are longer.
    pub long_pause_s: f32,
    /// Pauses that both rest on.
    pub pauses: u32,
    /// Syllable nuclei a second over the call.
    pub rate: f32,
    /// Pitch of the last voiced 200 ms over their usual, semitones.
    pub last_pitch: f32,
    /// Level of the last 200 ms of speech over their usual, dB.
    pub last_level_db: f32,
    /// A sound was held right before.
    pub hesitating: bool,
}

/// How one caller speaks.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    stretch: Option<Stretch>,
    envelope: f32,
    highest: f32,
    lowest: f32,
    rising: bool,
    held: u32,
    held_level: f32,
    last_held: Option<u64>,
    frames: u32,
    last_voiced: u64,
    /// Sample after our last prompt, until it is answered.
    prompt_end: Option<u64>,
    nuclei: f32,
    spoken: f32,
    /// Speech since we last said something.
    turn_spoken: u64,
    pause: Usual,
    long_pause: f32,
    latency: Usual,
    pitch: Usual,
    level: Usual,
}

impl Manners {
    pub(crate) fn new() -> Self {
        Self {
            stretch: None,
            envelope: -90.0,
            highest: -90.0,
            lowest: -90.0,
            rising: false,
            held: 0,
            held_level: 0.0,
            last_held: None,
            frames: 0,
            last_voiced: 0,
            prompt_end: None,
            nuclei: 0.0,
            spoken: 0.0,
            turn_spoken: 0,
            pause: Usual::default(),
            long_pause: LONG_AT_FIRST,
            latency: Usual::default(),
            pitch: Usual::default(),
            level: Usual::default(),
        }
    }

    /// Takes the frame that ends at `at`; `prompt`: ours sounds in it. Gives the stretch
    /// that is over with it.
    pub(crate) fn hear(
        &mut self,
        at: u64,
        spectrum: &Spectrum,
        speech: &Speech,
        prompt: bool,
        report: &mut Report,
    ) -> Option<Spoken> {
        if prompt {
            self.prompt_end = Some(at);
            self.turn_spoken = 0;
        }
        let Some(utterance) = speech.current() else {
            let stretch = self.stretch.take()?;
            return self.finish(at, &stretch, report);
        };
        if self.stretch.is_none() {
            self.begin(utterance.start);
        }
        if speech.pause(at) == 0 {
            self.measure(at, spectrum);
        }
        None
    }

    /// What is known now of the turn that may be over.
    pub(crate) fn cues(&self, at: u64) -> TurnCues {
        let stretch = self.stretch.unwrap_or_default();
        let over = |last: f32, usual: &Usual| usual.mean().map_or(0.0, |usual| last - usual);
        TurnCues {
            spoken_s: self.turn_spoken as f32 / 8_000.0,
            pause_s: self.pause.mean / 1_000.0,
            long_pause_s: self.long_pause,
            pauses: self.pause.count,
            rate: self.rate(),
            last_pitch: over(stretch.last_pitch, &self.pitch).clamp(-12.0, 12.0),
            last_level_db: over(stretch.last_level, &self.level).clamp(-20.0, 20.0),
            hesitating: self.is_hesitating(at),
        }
    }

    fn rate(&self) -> f32 {
        if self.spoken > 0.0 {
            self.nuclei * 8_000.0 / self.spoken
        } else {
            0.0
        }
    }

    fn is_hesitating(&self, at: u64) -> bool {
        self.last_held.is_some_and(|held| at - held <= HESITATED)
    }

    fn begin(&mut self, start: u64) {
        let answers = self.prompt_end.take().filter(|&end| end < start);
        match answers {
            Some(end) if start - end <= LONGEST_LATENCY => {
                self.latency.take(((start - end) / MS) as f32);
            }
            Some(_) => {}
            None => self.take_pause(start),
        }
        self.stretch = Some(Stretch {
            start,
            last_pitch: self.pitch.mean,
            last_level: self.level.mean,
            ..Stretch::default()
        });
    }

    /// Quiet between two sounds of one turn, if it is one.
    fn take_pause(&mut self, resumed: u64) {
        let quiet = resumed.saturating_sub(self.last_voiced);
        if self.last_voiced > 0 && PAUSES.contains(&quiet) {
            self.pause.take((quiet / MS) as f32);
            let off = quiet as f32 / 8_000.0 - self.long_pause;
            let pace = if off > 0.0 { LONGER } else { SHORTER };
            self.long_pause += pace.max(1.0 / self.pause.count as f32) * off;
        }
    }

    fn measure(&mut self, at: u64, spectrum: &Spectrum) {
        let resumed = at - FRAME as u64;
        if self.stretch.is_some_and(|stretch| stretch.spoken > 0) {
            self.take_pause(resumed);
        }
        self.last_voiced = at;
        self.turn_spoken += FRAME as u64;
        let power: f32 = spectrum.short[VOWELS].iter().sum();
        self.envelope += 0.5 * (decibels(power) - self.envelope);
        let nucleus = self.is_nucleus();
        self.hold(at);
        self.frames = self.frames.wrapping_add(1);
        let pitch = if self.frames.is_multiple_of(2) {
            pitch(spectrum)
        } else {
            None
        };
        let level = self.envelope;
        let Some(stretch) = &mut self.stretch else {
            return;
        };
        stretch.spoken += FRAME as u64;
        stretch.nuclei += u32::from(nucleus);
        stretch.level.take(level);
        stretch.last_level += 0.08 * (level - stretch.last_level);
        if let Some(pitch) = pitch {
            stretch.pitch.take(pitch);
            stretch.last_pitch += 0.15 * (pitch - stretch.last_pitch);
        }
    }

    /// Follows the level up and down; true at the fall after a peak.
    fn is_nucleus(&mut self) -> bool {
        if self.rising {
            self.highest = self.highest.max(self.envelope);
            if self.envelope < self.highest - NUCLEUS_DB {
                self.rising = false;
                self.lowest = self.envelope;
                return true;
            }
        } else {
            self.lowest = self.lowest.min(self.envelope);
            if self.envelope > self.lowest + NUCLEUS_DB {
                self.rising = true;
                self.highest = self.envelope;
            }
        }
        false
    }

    fn hold(&mut self, at: u64) {
        if (self.envelope - self.held_level).abs() > HELD_DB {
            self.held = 0;
            self.held_level = self.envelope;
        }
        self.held += 1;
        if self.held >= HELD_FRAMES {
            self.last_held = Some(at);
        }
    }

    fn finish(&mut self, at: u64, stretch: &Stretch, report: &mut Report) -> Option<Spoken> {
        if stretch.spoken < LEAST_STRETCH {
            return None;
        }
        self.nuclei += stretch.nuclei as f32;
        self.spoken += stretch.spoken as f32;
        let shift = |own: Option<f32>, usual: &Usual| match (own, usual.mean()) {
            (Some(own), Some(usual)) => own - usual,
            (Some(_) | None, _) => 0.0,
        };
        let pitch_shift = shift(stretch.pitch.mean(), &self.pitch);
        let energy_shift_db = shift(stretch.level.mean(), &self.level);
        if let Some(own) = stretch.pitch.mean() {
            self.pitch.take(own);
        }
        if let Some(own) = stretch.level.mean() {
            self.level.take(own);
        }
        let whole = |value: f32| libm::roundf(value).clamp(0.0, 65_535.0) as u16;
        report.push(EventKind::Manner(Manner {
            syllables_per_s: self.rate(),
            pause_ms: whole(self.pause.mean),
            latency_ms: whole(self.latency.mean),
            latency_spread_ms: whole(self.latency.spread),
            hesitating: self.is_hesitating(at.saturating_sub(350 * MS)),
            pitch_shift,
            energy_shift_db,
            confidence: (100.0 * self.spoken / SURE).min(100.0) as u8,
        }));
        Some(Spoken {
            start: stretch.start,
            samples: stretch.spoken,
            pitch: stretch.pitch.mean()?,
        })
    }
}

/// Pitch of the last 30 ms in semitones over 1 Hz, if it is voiced.
fn pitch(spectrum: &Spectrum) -> Option<f32> {
    const NEEDED: usize = COMPARED + *LAGS.end() + 1;
    let mut slow = [0.0; NEEDED];
    let recent = spectrum.recent(4 * NEEDED);
    for (slot, four) in slow.iter_mut().zip(recent.chunks_exact(4)) {
        *slot = four[0] + four[1] + four[2] + four[3];
    }
    let now = &slow[NEEDED - COMPARED..];
    let energy = |samples: &[f32]| samples.iter().map(|s| s * s).sum::<f32>();
    let own = energy(now);
    let likeness = |lag: usize| {
        let then = &slow[NEEDED - COMPARED - lag..NEEDED - lag];
        let common: f32 = now.iter().zip(then).map(|(a, b)| a * b).sum();
        common / libm::sqrtf(own * energy(then) + 1e-12)
    };
    let mut values = [0.0; *LAGS.end() + 2];
    for (lag, value) in values.iter_mut().enumerate().skip(*LAGS.start() - 1) {
        *value = likeness(lag);
    }
    let most = LAGS.fold(0.0f32, |most, lag| most.max(values[lag]));
    // The first period nearly as good as the best is not a multiple of it.
    let lag = LAGS.clone().find(|&lag| {
        let (before, own, after) = (values[lag - 1], values[lag], values[lag + 1]);
        own >= before && own >= after && own > 0.9 * most
    })?;
    if values[lag] < VOICED {
        return None;
    }
    let (before, own, after) = (values[lag - 1], values[lag], values[lag + 1]);
    let bend = before - 2.0 * own + after;
    let offset = if bend < 0.0 {
        (0.5 * (before - after) / bend).clamp(-0.5, 0.5)
    } else {
        0.0
    };
    Some(12.0 * libm::log2f(2_000.0 / (lag as f32 + offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitch_of_pulses_is_theirs_within_half_a_semitone() {
        for hertz in [80.0f32, 120.0, 200.0, 320.0] {
            let mut view = crate::bands::View::new();
            let mut spectrum = Spectrum::new();
            let mut phase = 0.0;
            for _ in 0..8 {
                let frame = core::array::from_fn(|_| {
                    phase += hertz / 8_000.0;
                    phase -= libm::floorf(phase);
                    0.3 * (phase - 0.5)
                });
                spectrum.push(&frame, &view.push(&frame), true);
            }
            let found = pitch(&spectrum).expect("voiced");
            let expected = 12.0 * libm::log2f(hertz);
            assert!(
                (found - expected).abs() < 0.5,
                "{hertz}: {found} {expected}"
            );
        }
    }

    #[test]
    fn a_usual_value_and_its_spread_follow_what_was_heard() {
        let mut usual = Usual::default();
        for value in [400.0, 600.0, 400.0, 600.0, 400.0, 600.0, 400.0, 600.0] {
            usual.take(value);
        }
        assert!((usual.mean - 500.0).abs() < 30.0, "{usual:?}");
        assert!((50.0..150.0).contains(&usual.spread), "{usual:?}");
    }
}
