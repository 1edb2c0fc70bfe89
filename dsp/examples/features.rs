//! Feeds streams to the ear and writes what its network was given, for training.
//!
//! `features NAME...`: for each it reads `NAME.pcm` (per 10 ms: 80 near and 80
//! far samples, s16le) and `NAME.lab` (a byte per 10 ms; bit 7: the ear starts
//! afresh), and writes `NAME.in` (the network's input per 10 ms, i16le),
//! `NAME.out` (probability of speech in 1/32767, i16le) and `NAME.events`.

use offhook_dsp::{Ear, Event, EventKind, Events, FRAME, Line, Source};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;

const BEGINS: u8 = 128;

fn main() -> Result<(), Box<dyn Error>> {
    for name in std::env::args().skip(1) {
        let pcm = fs::read(format!("{name}.pcm"))?;
        let labels = fs::read(format!("{name}.lab"))?;
        let heard = hear(&pcm, &labels);
        fs::write(format!("{name}.in"), heard.inputs)?;
        fs::write(format!("{name}.out"), heard.probabilities)?;
        fs::write(format!("{name}.events"), heard.events)?;
    }
    Ok(())
}

struct Heard {
    inputs: Vec<u8>,
    probabilities: Vec<u8>,
    events: String,
}

fn hear(pcm: &[u8], labels: &[u8]) -> Heard {
    let mut heard = Heard {
        inputs: Vec::new(),
        probabilities: Vec::new(),
        events: String::new(),
    };
    let mut ear = Ear::new();
    let mut out = Events::new();
    let frames = || pcm.chunks_exact(4 * FRAME);
    let plays = |both: &[u8]| both[2 * FRAME..].iter().any(|&byte| byte != 0);
    let prompt =
        frames().position(plays).unwrap_or(usize::MAX)..=frames().rposition(plays).unwrap_or(0);
    for (index, (both, label)) in frames().zip(labels).enumerate() {
        if label & BEGINS != 0 {
            ear = Ear::new();
        }
        let (near, far) = both.split_at(2 * FRAME);
        let (near, far) = (samples(near), samples(far));
        let line = Line {
            source: Source::Received,
            playout_shift: 0,
            answered: true,
            prompt: prompt.contains(&index),
        };
        ear.hear(&near, &far, line, &mut out);
        let inputs = ear.network_input().iter();
        heard
            .inputs
            .extend(inputs.flat_map(|value| value.to_le_bytes()));
        let probability = (ear.speech_probability() * 32_767.0) as i16;
        heard.probabilities.extend(probability.to_le_bytes());
        for event in &out {
            write_event(&mut heard.events, event);
        }
        out.clear();
    }
    heard
}

fn samples(bytes: &[u8]) -> [i16; FRAME] {
    let mut samples = [0; FRAME];
    for (sample, bytes) in samples.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *sample = i16::from_le_bytes(*bytes);
    }
    samples
}

/// `NAME AT [WHERE]`, in samples.
fn write_event(text: &mut String, event: &Event) {
    let place = match event.kind {
        EventKind::SpeechStart { start } | EventKind::BargeIn { start } => start,
        EventKind::SpeechEnd { end } => end,
        _ => event.at,
    };
    writeln!(text, "{} {} {place}", event.kind.name(), event.at).expect("a string takes all");
}
