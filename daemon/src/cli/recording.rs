//! A recorded call as the ear takes it: both directions at the line's rate.
//!
//! It reads and aligns WAV, raw G.711 and captures of RTP, and feeds an [`Ear`]
//! frame by frame; what the ear says is judged elsewhere. Called by
//! `offhook analyze` and `offhook score`.

mod pcap;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use offhook_dsp::g711::Law;
use offhook_dsp::{Ear, Events, FRAME, Line, Sensitivity, Source, Words};

use crate::resample::{Alignment, LINE_RATE, resample};
use crate::wav::{self, WavError};

/// Larger files are refused: 1 GiB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A file is no sound that can be read.
#[derive(Debug)]
pub struct Unreadable {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Wav(WavError),
    Capture(pcap::PcapError),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.path.display())?;
        match &self.why {
            Why::Wav(error) => write!(out, "{error}"),
            Why::Capture(error) => write!(out, "{error}"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Which side of a stereo recording, or of a capture, is heard; the other was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// Left, or the direction with more packets.
    #[default]
    First,
    /// Right, or the direction with fewer packets.
    Second,
}

/// How a recording is heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening {
    /// When the call was answered, in seconds; `None` or negative: never.
    pub(super) answered_at: Option<f64>,
    pub(super) sensitivity: Sensitivity,
    /// They called us: who answered is no question.
    pub(super) they_called: bool,
    /// What a recogniser understood, and when, in seconds; in order of time.
    pub(super) words: Vec<(f64, Words)>,
}

/// What we played sounds where a sample is as loud as this: -50 dBov.
const SOUND: u16 = 100;
/// A prompt's own pause is at most as long as this, in samples: 3 s.
const LONGEST_PAUSE: usize = 24_000;

/// Both directions of a call at the line's rate.
pub(super) struct Recording {
    near: Vec<i16>,
    far: Vec<i16>,
    /// The samples over which prompts of ours go on, their pauses included.
    prompts: Vec<Range<usize>>,
}

impl Recording {
    /// Reads what came from the line and, if there is one, what we played: prompts in a
    /// file of their own may pause; the other side of a call only goes on while it sounds.
    ///
    /// # Errors
    /// A file is no sound.
    pub(super) fn read(near: &Path, far: Option<&Path>, side: Side) -> Result<Self, Unreadable> {
        let sound = read(near)?;
        let (first, second) = match side {
            Side::Second if !sound.far.is_empty() => (sound.far, sound.near),
            Side::First | Side::Second => (sound.near, sound.far),
        };
        let (far, prompts) = match far {
            Some(path) => {
                let played = read(path)?;
                let far = mix(played.near, &played.far);
                let prompts = prompts(&far);
                (far, prompts)
            }
            None => (second, Vec::new()),
        };
        Ok(Self {
            near: first,
            prompts,
            far,
        })
    }

    /// Its length.
    pub(super) fn seconds(&self) -> f64 {
        self.near.len() as f64 / f64::from(LINE_RATE)
    }

    /// What came from the line.
    pub(super) fn near(&self) -> &[i16] {
        &self.near
    }

    /// What we played; empty if nothing.
    pub(super) fn far(&self) -> &[i16] {
        &self.far
    }

    /// Hears frame by frame; nothing of a later frame is used.
    pub(super) fn listen<'a>(&'a self, how: &'a Listening) -> impl Iterator<Item = Heard> + 'a {
        let answered_from = how.answered_at.filter(|seconds| *seconds >= 0.0);
        let mut ear = Ear::with_sensitivity(how.sensitivity);
        if how.they_called {
            ear.they_called();
        }
        let mut words = how.words.iter().peekable();
        let (frames, _) = self.near.as_chunks::<FRAME>();
        frames.iter().enumerate().map(move |(index, near)| {
            let start = index * FRAME;
            let seconds = start as f64 / f64::from(LINE_RATE);
            let line = Line {
                source: Source::Received,
                playout_shift: 0,
                answered: answered_from.is_some_and(|answer| seconds >= answer),
                prompt: self.prompts.iter().any(|prompt| prompt.contains(&start)),
            };
            while let Some((_, heard)) = words.next_if(|(at, _)| *at <= seconds) {
                ear.understand(*heard);
            }
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

/// Two sides at the line's rate; the second empty if there is one only.
struct Sides {
    near: Vec<i16>,
    far: Vec<i16>,
}

fn read(path: &Path) -> Result<Sides, Unreadable> {
    let fail = |why| Unreadable {
        path: path.to_owned(),
        why,
    };
    let io = |error| fail(Why::Wav(WavError::Io(error)));
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > MAX_FILE_BYTES {
        return Err(fail(Why::Wav(WavError::TooLong(length))));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    if pcap::is_capture(&bytes) {
        let call = pcap::parse(&bytes).map_err(|error| fail(Why::Capture(error)))?;
        return Ok(Sides {
            near: call.near,
            far: call.far,
        });
    }
    if let Some(law) = raw_law(path) {
        return Ok(Sides {
            near: bytes.iter().map(|&code| law.decode(code)).collect(),
            far: Vec::new(),
        });
    }
    let sound = wav::parse(&bytes).map_err(|error| fail(Why::Wav(error)))?;
    if sound.truncated {
        eprintln!("offhook: {}: cut short, read to its end", path.display());
    }
    let to_line = |samples: &[i16]| resample(samples, sound.rate, LINE_RATE, Alignment::Causal);
    Ok(match (sound.channels, sound.channel(0), sound.channel(1)) {
        (2, Some(left), Some(right)) => Sides {
            near: to_line(&left),
            far: to_line(&right),
        },
        _ => Sides {
            near: to_line(&sound.mono()),
            far: Vec::new(),
        },
    })
}

/// Raw G.711 says what it is by its name alone.
fn raw_law(path: &Path) -> Option<Law> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "ulaw" | "ul" | "mulaw" | "pcmu" => Some(Law::Mu),
        "alaw" | "al" | "pcma" => Some(Law::A),
        _ => None,
    }
}

/// Stretches of sound, with pauses of up to 3 s in them: whoever plays a prompt knows
/// that it goes on.
fn prompts(samples: &[i16]) -> Vec<Range<usize>> {
    let mut prompts: Vec<Range<usize>> = Vec::new();
    let (frames, _) = samples.as_chunks::<FRAME>();
    for (index, frame) in frames.iter().enumerate() {
        if frame.iter().all(|sample| sample.unsigned_abs() < SOUND) {
            continue;
        }
        let (start, end) = (index * FRAME, (index + 1) * FRAME);
        match prompts.last_mut() {
            Some(last) if start <= last.end + LONGEST_PAUSE => last.end = end,
            _ => prompts.push(start..end),
        }
    }
    prompts
}

/// Both sides of a prompt as one.
fn mix(mut one: Vec<i16>, other: &[i16]) -> Vec<i16> {
    for (slot, &sample) in one.iter_mut().zip(other) {
        *slot = ((i32::from(*slot) + i32::from(sample)) / 2) as i16;
    }
    one
}

/// One frame's yield.
pub(super) struct Heard {
    pub(super) events: Events,
    pub(super) speech_probability: f32,
}
