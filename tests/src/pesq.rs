//! Speech quality against the clean recording: ITU-T P.862 narrowband with the mapping
//! of P.862.1, by PyPI's `pesq` in an interpreter of its own. There is no substitute:
//! where it is missing, nothing is judged.

use std::path::PathBuf;

use crate::place::Place;
use crate::process::{checkout, run};
use crate::sound::Sound;

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

    /// MOS-LQO of what was heard of `clean`, 8 kHz both, where it is most alike; `None`
    /// where less than half of it was heard.
    ///
    /// # Panics
    /// When the judge cannot be run.
    pub fn score(&self, clean: &[i16], heard: &[i16]) -> Option<f64> {
        if heard.len() < clean.len() / 2 {
            return None;
        }
        let place = Place::new();
        let (one, other) = (place.file("clean.wav"), place.file("heard.wav"));
        Sound::mono(clean.to_vec()).write(&one);
        Sound::mono(heard.to_vec()).write(&other);
        let script = checkout().join("tests/quality.py");
        let judged = run(&self.0, [script, one, other]);
        assert_eq!(judged.code, 0, "{}", judged.err);
        Some(judged.out.trim().parse().expect("a score"))
    }
}
