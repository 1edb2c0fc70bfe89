//! What the programs in `dsp/train` learn from: the ear's state frame by frame.
//!
//! Standard input names WAV files (8 kHz, 16-bit, mono), one a line; what we sent
//! meanwhile is beside them in FILE.far, if it is. For each 10 ms frame a row goes to standard output: number of the file, whether
//! somebody speaks, where the stretch began (-1: nowhere), and the cues of the
//! turn's end.

use std::io::{BufRead, BufWriter, Write};

use offhook_dsp::{Ear, Events, FRAME, Line, Source};

const HEADER: &str =
    "file,frame,speaks,since,spoken_s,pause_s,long_s,pauses,rate,pitch,level,hesitating";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(out, "{HEADER}")?;
    for (number, path) in std::io::stdin().lock().lines().enumerate() {
        let path = path?;
        let near = samples(&path)?;
        let far = match std::fs::exists(format!("{path}.far"))? {
            true => samples(&format!("{path}.far"))?,
            false => vec![0; near.len()],
        };
        trace(number, &near, &far, &mut out)?;
    }
    Ok(())
}

fn samples(path: &str) -> Result<Vec<i16>, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let data = bytes
        .windows(4)
        .position(|four| four == b"data")
        .ok_or("no WAV file")?;
    let (pairs, _) = bytes[data + 8..].as_chunks::<2>();
    Ok(pairs.iter().map(|&pair| i16::from_le_bytes(pair)).collect())
}

fn trace(number: usize, near: &[i16], far: &[i16], out: &mut impl Write) -> std::io::Result<()> {
    let mut ear = Ear::new();
    let line = Line {
        source: Source::Received,
        playout_shift: 0,
        answered: true,
        prompt: false,
    };
    let (frames, _) = near.as_chunks::<FRAME>();
    let (far, _) = far.as_chunks::<FRAME>();
    for (index, (near, far)) in frames.iter().zip(far).enumerate() {
        ear.hear(near, far, line, &mut Events::new());
        let (now, cues) = (ear.snapshot(), ear.turn_cues());
        let since = now.speaking_since.map_or(-1, |start| start as i64);
        writeln!(
            out,
            "{number},{index},{},{since},{:.3},{:.3},{:.3},{},{:.2},{:.2},{:.2},{}",
            u8::from(now.speaks),
            cues.spoken_s,
            cues.pause_s,
            cues.long_pause_s,
            cues.pauses,
            cues.rate,
            cues.last_pitch,
            cues.last_level_db,
            u8::from(cues.hesitating)
        )?;
    }
    Ok(())
}
