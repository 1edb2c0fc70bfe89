//! Speech quality against the clean recording: ITU-T P.862 narrowband with the mapping
//! of P.862.1, by PyPI's `pesq` in an interpreter of its own. There is no substitute:
//! where it is missing, nothing is judged.

use std::path::PathBuf;

use crate::place::Place;
use crate::process::{checkout, run};
use crate::sound::{Sound, likeness};

/// What a recording is found by: 750 ms of it.
const WINDOW: usize = 6_000;

/// The judge.
#[derive(Clone, Debug)]
pub struct Pesq(PathBuf);

impl Pesq {
    /// The interpreter that `OFFHOOK_PESQ` names, if it has the package.
    ///
    /// # Errors
    /// Why there is no judge: for the list of skips.
    pub fn find() -> Result<Self, String> {
        let python = std::env::var_os("OFFHOOK_PESQ").ok_or(
            "no PESQ: OFFHOOK_PESQ names no python (tests/interop makes one); nothing else stands in for it",
        )?;
        let asked = run(&python, ["-c", "import pesq"]);
        if asked.code == 0 {
            return Ok(Self(python.into()));
        }
        let last = asked.err.lines().last().unwrap_or_default();
        Err(format!("no PESQ: {last}"))
    }

    /// MOS-LQO of what was heard of `clean`, 8 kHz both; `None` where it is not found
    /// in the recording.
    ///
    /// # Panics
    /// When the judge cannot be run.
    pub fn score(&self, clean: &[i16], heard: &[i16]) -> Option<f64> {
        let part = find(clean, heard)?;
        let place = Place::new();
        let (one, other) = (place.file("clean.wav"), place.file("heard.wav"));
        Sound::mono(clean.to_vec()).write(&one);
        Sound::mono(part.to_vec()).write(&other);
        let script = checkout().join("tests/quality.py");
        let judged = run(&self.0, [script, one, other]);
        assert_eq!(judged.code, 0, "{}", judged.err);
        Some(judged.out.trim().parse().expect("a score"))
    }
}

/// The part of a recording that holds the clean one, with what a line may have added:
/// found by the window of it that came through best.
fn find<'a>(clean: &[i16], heard: &'a [i16]) -> Option<&'a [i16]> {
    let reach = heard.len().checked_sub(clean.len() / 2)?;
    let windows = clean.chunks_exact(WINDOW).enumerate().step_by(2);
    // Every fourth shift finds the neighbourhood; lines of speech are that smooth.
    let found = windows.flat_map(|(number, window)| {
        (0..=reach / 4).filter_map(move |step| {
            let there = heard.get(step * 4 + number * WINDOW..)?;
            Some((likeness(window, there, 0).0, step * 4))
        })
    });
    let (alike, shift) = found.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let end = (shift + clean.len() + 4_000).min(heard.len());
    (alike > 0.5).then(|| &heard[shift..end])
}
