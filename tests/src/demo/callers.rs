//! What the callers of the demo say: recorded people where Debian's package is
//! installed, espeak-ng otherwise.

use std::path::{Path, PathBuf};

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

/// Listens only; the keys are pressed by [`KEYS`].
pub(super) fn booker(folder: &Path) -> PathBuf {
    write(folder, "caller-c.wav", &[silence(28_000)])
}

/// 1 for Tuesday, 1 for yes, 9 to pay: which key at which second.
pub(super) const KEYS: &str = "1@4,1@10,9@20";
