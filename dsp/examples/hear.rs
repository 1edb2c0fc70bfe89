//! Reads a WAV file (8 kHz, 16-bit, mono) and prints what the ear hears in it:
//! `cargo run -p offhook-dsp --example hear -- call.wav`

use offhook_dsp::{Ear, Events, FRAME, Line, SAMPLE_RATE, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: hear FILE.wav")?;
    let bytes = std::fs::read(path)?;
    // The samples follow the first "data" and its length.
    let data = bytes
        .windows(4)
        .position(|four| four == b"data")
        .ok_or("no WAV file")?;
    let (pairs, _) = bytes[data + 8..].as_chunks::<2>();
    let samples: Vec<i16> = pairs.iter().map(|&pair| i16::from_le_bytes(pair)).collect();

    let mut ear = Ear::new();
    let line = Line {
        source: Source::Received,
        playout_shift: 0,
        answered: true,
        prompt: false,
    };
    let (frames, _) = samples.as_chunks::<FRAME>();
    for near in frames {
        let mut events = Events::new();
        ear.hear(near, &[0; FRAME], line, &mut events);
        for event in events {
            let seconds = event.at as f64 / f64::from(SAMPLE_RATE);
            println!("{seconds:8.2}  {:?}", event.kind);
        }
    }
    Ok(())
}
