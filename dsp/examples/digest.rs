//! Prints one number for everything the ear says of a minute of generated sound:
//! events, and the bits of every probability. Machines and builds that agree
//! print the same (`tests/soak bits`).

use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::Sine;
use offhook_dsp::{Ear, Events, FRAME, Line, Source};

/// FNV-1a, 64 bits.
struct Digest(u64);

impl Digest {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

fn main() {
    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    let mut ear = Ear::new();
    let mut noise = ComfortNoise::new(60, 11);
    let mut sines = [350.0, 440.0, 770.0, 1_336.0, 1_000.0].map(|hertz| Sine::new(hertz, -18.0));
    let (mut events, mut past) = (0, [[0i16; FRAME]; 16]);
    for number in 0..6_000usize {
        let far = prompt(number, &mut noise);
        past.copy_within(..15, 1);
        past[0] = far;
        let echo = past[12];
        let near = std::array::from_fn(|index| {
            let own = caller(number * FRAME + index, &mut sines);
            (own + f32::from(echo[index]) / 4.0 + f32::from(noise.sample()) / 8.0) as i16
        });
        let source = if number % 211 < 3 {
            Source::Concealed
        } else {
            Source::Received
        };
        let line = Line {
            source,
            playout_shift: 0,
            answered: number > 100,
            prompt: far[0] != 0,
        };
        let mut out = Events::new();
        ear.hear(&near, &far, line, &mut out);
        digest.take(&ear.speech_probability().to_bits().to_le_bytes());
        for event in &out {
            // Shortest decimals that are read back as the same bits.
            digest.take(format!("{event:?}").as_bytes());
        }
        events += out.len();
    }
    println!("{:016x} of {events} events", digest.0);
}

/// Syllables of noise, five seconds of every fifteen.
fn prompt(number: usize, noise: &mut ComfortNoise) -> [i16; FRAME] {
    let mut frame = [0; FRAME];
    if number % 1_500 < 500 {
        noise.set_level(16 + 14 * (number / 9 % 3) as u8);
        noise.fill(&mut frame);
        noise.set_level(60);
    }
    frame
}

/// Buzzing syllables, then tones, a pair at a time.
fn caller(at: usize, sines: &mut [Sine; 5]) -> f32 {
    let second = at / 8_000 % 12;
    let [a, b, c, d, e] = sines;
    let tones = [a.sample() + b.sample(), c.sample() + d.sample(), e.sample()];
    match second {
        0..=5 if at % 1_700 < 1_300 => {
            let saw = (at % (55 + second)) as f32 / 30.0 - 1.0;
            saw * 3_000.0 * (at % 1_700) as f32 / 1_300.0
        }
        7 => tones[0],
        9 if at % 1_200 < 640 => tones[1],
        11 if at % 8_000 < 3_200 => tones[2],
        _ => 0.0,
    }
}
