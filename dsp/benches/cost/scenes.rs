//! Generated calls the ear is measured on: the usual ones, and the worst we know.

use offhook_dsp::FRAME;
use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::Sine;

/// A kind of call.
pub(crate) struct Scene {
    /// What is printed.
    pub(crate) name: &'static str,
    /// Whether the far side has answered.
    pub(crate) answered: bool,
    near: Sound,
    /// What we play.
    far: Sound,
}

#[derive(Clone, Copy)]
enum Sound {
    Nothing,
    Noise,
    Speech,
    Prompt,
    Keys,
    Square,
    Offset,
    Steps,
    Tiny,
}

/// All of them.
pub(crate) const SCENES: [Scene; 15] = [
    scene("ear: quiet line", true, Sound::Noise, Sound::Nothing),
    scene(
        "ear: usual call, caller speaks",
        true,
        Sound::Speech,
        Sound::Nothing,
    ),
    scene(
        "ear: early media, caller speaks",
        false,
        Sound::Speech,
        Sound::Nothing,
    ),
    scene(
        "ear: our prompt and its echo",
        true,
        Sound::Noise,
        Sound::Prompt,
    ),
    scene(
        "ear: caller over our prompt and echo",
        true,
        Sound::Speech,
        Sound::Prompt,
    ),
    scene(
        "ear: keys over our prompt and echo",
        true,
        Sound::Keys,
        Sound::Prompt,
    ),
    scene(
        "ear: worst: full-scale square",
        true,
        Sound::Square,
        Sound::Prompt,
    ),
    scene(
        "ear: worst: constant offset",
        true,
        Sound::Offset,
        Sound::Prompt,
    ),
    scene(
        "ear: worst: silence to full noise",
        true,
        Sound::Steps,
        Sound::Prompt,
    ),
    scene(
        "ear: worst: one step of the scale, then zeros",
        true,
        Sound::Tiny,
        Sound::Prompt,
    ),
    scene(
        "ear: worst: squares from both sides",
        true,
        Sound::Square,
        Sound::Square,
    ),
    scene(
        "ear: worst: offsets from both sides",
        true,
        Sound::Offset,
        Sound::Offset,
    ),
    scene(
        "ear: worst: silence to noise from both sides",
        true,
        Sound::Steps,
        Sound::Steps,
    ),
    scene(
        "ear: worst: one step, then zeros, both sides",
        true,
        Sound::Tiny,
        Sound::Tiny,
    ),
    scene(
        "ear: worst: we send a square to a caller",
        true,
        Sound::Speech,
        Sound::Square,
    ),
];

const fn scene(name: &'static str, answered: bool, near: Sound, far: Sound) -> Scene {
    Scene {
        name,
        answered,
        near,
        far,
    }
}

impl Scene {
    /// Whether we play something.
    pub(crate) fn prompt(&self) -> bool {
        !matches!(self.far, Sound::Nothing)
    }

    /// Instructions a frame may cost in the mean: with an echo path or while it is open who
    /// answered, and in the usual call; the worst frame costs three times as much at most.
    pub(crate) fn limit(&self) -> u64 {
        if self.prompt() || !self.answered {
            200_000
        } else {
            70_000
        }
    }

    /// Near and far, frame by frame; what we play comes back 100 ms later at -10 dB.
    pub(crate) fn sound(&self, frames: usize) -> Vec<([i16; FRAME], [i16; FRAME])> {
        let length = frames * FRAME;
        let far = self.far.samples(length);
        let near = self.near.samples(length);
        let sample = |index: usize| {
            let echo = if index >= 800 {
                0.3 * far[index - 800]
            } else {
                0.0
            };
            (near[index] + echo) as i16
        };
        let frame = |at: usize| {
            let near = std::array::from_fn(|index| sample(at * FRAME + index));
            (
                near,
                std::array::from_fn(|index| far[at * FRAME + index] as i16),
            )
        };
        (0..frames).map(frame).collect()
    }
}

impl Sound {
    fn samples(self, length: usize) -> Vec<f32> {
        let mut noise = ComfortNoise::new(60, 7);
        let mut loud = ComfortNoise::new(6, 8);
        let (mut low, mut high) = (Sine::new(770.0, -12.0), Sine::new(1_336.0, -12.0));
        let pitch = if matches!(self, Self::Prompt) {
            190.0
        } else {
            120.0
        };
        let voice = speech(length, pitch);
        let sample = |index: usize| match self {
            Self::Nothing => 0.0,
            Self::Prompt => voice[index],
            Self::Noise => f32::from(noise.sample()),
            Self::Speech => voice[index] + f32::from(noise.sample()),
            Self::Keys if index % 1_200 < 640 => low.sample() + high.sample(),
            Self::Keys => f32::from(noise.sample()),
            Self::Square if (index / 20).is_multiple_of(2) => 32_767.0,
            Self::Square => -32_768.0,
            Self::Offset => 32_767.0,
            Self::Steps if (index / 4_000).is_multiple_of(2) => 0.0,
            Self::Steps => f32::from(loud.sample()),
            Self::Tiny => f32::from(u8::from(index % 8_000 < 160)),
        };
        (0..length).map(sample).collect()
    }
}

/// Something like speech: pulses through two resonances, in syllables.
pub(crate) fn speech(length: usize, pitch: f32) -> Vec<f32> {
    let (mut phase, mut state) = (0.0f32, [[0.0f32; 2]; 2]);
    let mut sound = Vec::with_capacity(length);
    for index in 0..length {
        phase += (pitch + 15.0 * (index as f32 / 2_000.0).sin()) / 8_000.0;
        let pulse = if phase >= 1.0 { 3_000.0 } else { 0.0 };
        phase -= phase.floor();
        let mut sample = 0.0;
        for (formant, state) in [[700.0, 400.0, 500.0], [1_200.0, 2_000.0, 900.0]]
            .iter()
            .zip(&mut state)
        {
            let angle = std::f32::consts::TAU * formant[index / 1_680 % 3] / 8_000.0;
            let out = pulse + 1.92 * angle.cos() * state[0] - 0.921_6 * state[1];
            *state = [out, state[0]];
            sample += out;
        }
        let within = (index % 1_680) as f32 / 1_360.0;
        let open = if within < 1.0 {
            (within * std::f32::consts::PI).sin()
        } else {
            0.0
        };
        sound.push((0.4 * sample * open).clamp(-12_000.0, 12_000.0));
    }
    sound
}
