//! What the callers of the demo say: recorded people where Debian's package is
//! installed, espeak-ng otherwise.

use std::path::{Path, PathBuf};

use offhook_dsp::tone::Dtmf;

use crate::process::has;
use crate::sound::Sound;
use crate::speech::{recorded, silence, spoken};

/// Writes a caller's speech and says where it is.
fn write(folder: &Path, name: &str, parts: &[Vec<i16>]) -> PathBuf {
    let path = folder.join(name);
    Sound::mono(parts.concat()).write(&path);
    path
}

/// A recording by name, or the same said by a machine.
fn person(name: &str, words: &str) -> Vec<i16> {
    match recorded(name) {
        Some(samples) => samples,
        None if has("espeak-ng") => spoken(words),
        None => panic!(
            "neither asterisk-core-sounds-en-wav nor espeak-ng is installed: tests/setup demo"
        ),
    }
}

/// Waits 2.5 s, then talks over whatever is being said, and listens.
pub(super) fn impatient(folder: &Path) -> PathBuf {
    let hello = person("hello", "Hello?");
    let speech = person(
        "pbx-invalid",
        "I am sorry, that is not what I called about.",
    );
    write(
        folder,
        "caller-a.wav",
        &[silence(2500), hello, speech, silence(6000)],
    )
}

/// A voicemail's greeting with its beep, and when the beep ends, in seconds.
pub(super) fn voicemail(folder: &Path) -> (PathBuf, f64) {
    let speech = [
        silence(400),
        person("vm-theperson", "The person at extension"),
        person("vm-isunavail", "is unavailable."),
        person("vm-intro", "Please leave your message after the tone."),
        silence(300),
        person("beep", ""),
    ]
    .concat();
    let beep_end = speech.len() as f64 / 8000.0;
    (
        write(folder, "voicemail.wav", &[speech, silence(20_000)]),
        beep_end,
    )
}

/// Presses 1, 1 and 9 with time to listen between.
pub(super) fn booker(folder: &Path) -> PathBuf {
    let parts = [
        silence(4000),
        key(b'1'),
        silence(5500),
        key(b'1'),
        silence(9000),
        key(b'9'),
        silence(12_000),
    ];
    write(folder, "caller-c.wav", &parts)
}

/// A key's two tones for 120 ms (ITU-T Q.23), as a telephone without
/// telephone-events sends them.
fn key(digit: u8) -> Vec<i16> {
    let mut tone = Dtmf::new(digit, 120, 0, -12.0).expect("a key");
    let mut samples = vec![0; 120 * 8];
    tone.fill(&mut samples);
    samples
}
