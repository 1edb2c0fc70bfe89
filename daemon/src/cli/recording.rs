//! A recorded call as the ear takes it: both directions at the line's rate.
//!
//! It reads and aligns, and feeds an [`Ear`] frame by frame; what the ear says
//! is judged elsewhere. Called by `offhook analyze` and `offhook score`.

use std::fmt;
use std::path::{Path, PathBuf};

use offhook_dsp::{Ear, Events, FRAME, Line, Source};

use crate::resample::{Alignment, LINE_RATE, resample};
use crate::wav::{self, Wav};

/// A file is no sound that can be read.
#[derive(Debug)]
pub struct Unreadable {
    path: PathBuf,
    error: wav::WavError,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for Unreadable {}

/// Both directions of a call at the line's rate.
pub(super) struct Recording {
    near: Vec<i16>,
    far: Vec<i16>,
    prompt: bool,
}

impl Recording {
    /// Reads what came from the line and, if there is one, what we played.
    ///
    /// # Errors
    /// A file is no sound.
    pub(super) fn read(near: &Path, far: Option<&Path>) -> Result<Self, Unreadable> {
        let sound = read(near)?;
        let to_line = |samples: &[i16]| resample(samples, sound.rate, LINE_RATE, Alignment::Causal);
        let second = sound.channel(1).filter(|_| sound.channels == 2);
        let first = match &second {
            Some(_) => sound.channel(0).expect("two channels"),
            None => sound.mono(),
        };
        let far = match (far, second) {
            (Some(path), _) => {
                let prompt = read(path)?;
                Some(resample(
                    &prompt.mono(),
                    prompt.rate,
                    LINE_RATE,
                    Alignment::Causal,
                ))
            }
            (None, second) => second.map(|samples| to_line(&samples)),
        };
        Ok(Self {
            near: to_line(&first),
            prompt: far.is_some(),
            far: far.unwrap_or_default(),
        })
    }

    /// Its length.
    pub(super) fn seconds(&self) -> f64 {
        self.near.len() as f64 / f64::from(LINE_RATE)
    }

    /// Hears frame by frame; nothing of a later frame is used.
    pub(super) fn listen(&self, answered_at: Option<f64>) -> impl Iterator<Item = Heard> {
        let answered_from = answered_at.filter(|seconds| *seconds >= 0.0);
        let mut ear = Ear::new();
        let (frames, _) = self.near.as_chunks::<FRAME>();
        frames.iter().enumerate().map(move |(index, near)| {
            let start = index * FRAME;
            let seconds = start as f64 / f64::from(LINE_RATE);
            let line = Line {
                source: Source::Received,
                playout_shift: 0,
                answered: answered_from.is_some_and(|answer| seconds >= answer),
                prompt: self.prompt && start < self.far.len(),
            };
            let mut events = Events::new();
            ear.hear(near, &self.far_at(start), line, &mut events);
            Heard {
                events,
                speech_probability: ear.speech_probability(),
            }
        })
    }

    /// What we played then; silence after its end.
    fn far_at(&self, start: usize) -> [i16; FRAME] {
        let mut frame = [0; FRAME];
        let rest = self.far.get(start..).unwrap_or_default();
        for (slot, &sample) in frame.iter_mut().zip(rest) {
            *slot = sample;
        }
        frame
    }
}

fn read(path: &Path) -> Result<Wav, Unreadable> {
    let sound = wav::read(path).map_err(|error| Unreadable {
        path: path.to_owned(),
        error,
    })?;
    if sound.truncated {
        eprintln!("offhook: {}: cut short, read to its end", path.display());
    }
    Ok(sound)
}

/// One frame's yield.
pub(super) struct Heard {
    pub(super) events: Events,
    pub(super) speech_probability: f32,
}
