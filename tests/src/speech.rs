//! Speech for the callers: recorded people from Debian's Asterisk prompts
//! (CC-BY-SA), or espeak-ng, always as 8 kHz samples.

use std::path::{Path, PathBuf};

use offhook_dsp::g711::Law;

use crate::place::Place;
use crate::process::run;
use crate::sound::Sound;

/// Where Debian puts Allison's prompts.
const RECORDED: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";

/// A recorded prompt by its name (`vm-intro`), where the package is installed.
pub fn recorded(name: &str) -> Option<Vec<i16>> {
    let path = PathBuf::from(format!("{RECORDED}/{name}.wav"));
    path.is_file().then(|| eight_kilohertz(&Sound::read(&path)))
}

/// A recorded prompt by its name.
///
/// # Panics
/// When Debian's package `asterisk-core-sounds-en-wav` is not installed.
pub fn person(name: &str) -> Vec<i16> {
    recorded(name)
        .unwrap_or_else(|| panic!("{name}: install asterisk-core-sounds-en-wav (tests/setup test)"))
}

/// A sentence by espeak-ng; the same text gives the same samples.
///
/// # Panics
/// When espeak-ng fails or is not installed.
pub fn spoken(text: &str) -> Vec<i16> {
    let place = Place::new();
    let path = place.file("speech.wav");
    let done = run(
        "espeak-ng",
        [
            "-v",
            "en-us",
            "-s",
            "150",
            "-w",
            path.to_str().expect("a plain path"),
            text,
        ],
    );
    assert_eq!(done.code, 0, "espeak-ng: {}", done.err);
    eight_kilohertz(&Sound::read(&path))
}

/// Silence of so many milliseconds.
pub fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * 8]
}

/// What is left of samples after µ-law: what a far end can hear at best.
pub fn as_mu_law(samples: &[i16]) -> Vec<i16> {
    let through = |sample: &i16| Law::Mu.decode(Law::Mu.encode(*sample));
    samples.iter().map(through).collect()
}

/// Writes samples as µ-law bytes, one a sample, as SIPp streams them.
pub fn write_mu_law(samples: &[i16], path: &Path) {
    let bytes: Vec<u8> = samples.iter().map(|s| Law::Mu.encode(*s)).collect();
    std::fs::write(path, bytes).expect("a file of the test can be written");
}

/// Averages and interpolates to 8 kHz: good enough to be spoken into a telephone.
fn eight_kilohertz(sound: &Sound) -> Vec<i16> {
    let samples = &sound.channels[0];
    if sound.rate == 8000 {
        return samples.clone();
    }
    let ratio = f64::from(sound.rate) / 8000.0;
    let length = (samples.len() as f64 / ratio) as usize;
    (0..length)
        .map(|n| window(samples, n as f64 * ratio, ratio))
        .collect()
}

fn window(samples: &[i16], from: f64, width: f64) -> i16 {
    let end = ((from + width).ceil() as usize).min(samples.len());
    let part = &samples[(from as usize).min(end.saturating_sub(1))..end];
    let sum: i64 = part.iter().map(|s| i64::from(*s)).sum();
    (sum / part.len().max(1) as i64) as i16
}
