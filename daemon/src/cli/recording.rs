//! A recorded call as the ear takes it: both directions at the line's rate.
//!
//! It reads and aligns WAV, raw G.711 and captures of RTP, and feeds an [`Ear`]
//! frame by frame; what the ear says is judged elsewhere. Called by
//! `offhook analyze` and `offhook score`.

mod call;
mod capture;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use offhook_dsp::g711::Law;
use offhook_dsp::{Ear, Events, FRAME, Line, Sensitivity, Source, Words};

use crate::resample::{Alignment, LINE_RATE, resample};
use crate::wav::{self, WavError};
use call::{CaptureError, Track};

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
    Capture(CaptureError),
    /// It does not say what it is.
    Nameless,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.path.display())?;
        match &self.why {
            Why::Wav(error) => write!(out, "{error}"),
            Why::Capture(error) => write!(out, "{error}"),
            Why::Nameless => write!(
                out,
                "no WAV file and no capture; if it is raw G.711, say --raw ulaw or --raw alaw"
            ),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Which side of a stereo recording, or of a capture, is heard; the other was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Side {
    /// Left, or the direction with more packets.
    #[default]
    #[value(alias = "left")]
    First,
    /// Right, or the direction with fewer packets.
    #[value(alias = "right")]
    Second,
}

/// How sound is coded in a file that says nothing of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Raw {
    /// G.711, µ-law.
    Ulaw,
    /// G.711, A-law.
    Alaw,
}

impl Raw {
    /// As names of files have it.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "ulaw" | "ul" | "mulaw" | "pcmu" => Some(Self::Ulaw),
            "alaw" | "al" | "pcma" => Some(Self::Alaw),
            _ => None,
        }
    }

    fn law(self) -> Law {
        match self {
            Self::Ulaw => Law::Mu,
            Self::Alaw => Law::A,
        }
    }
}

/// How files are read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// Which side is heard.
    pub(super) near: Side,
    /// What a file is that is neither WAV nor a capture; else its name tells.
    pub(super) raw: Option<Raw>,
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
    /// Where each frame of it is from; none: it all came.
    sources: Vec<Source>,
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
    pub(super) fn read(near: &Path, far: Option<&Path>, how: Reading) -> Result<Self, Unreadable> {
        let sound = read(near, how.raw)?;
        let (near, second) = match how.near {
            Side::Second if !sound.second.samples.is_empty() => (sound.second, sound.first),
            Side::First | Side::Second => (sound.first, sound.second),
        };
        let (far, prompts) = match far {
            Some(path) => {
                let played = read(path, how.raw)?;
                let far = mix(played.first.samples, &played.second.samples);
                let prompts = prompts(&far);
                (far, prompts)
            }
            None => (second.samples, Vec::new()),
        };
        Ok(Self {
            near: near.samples,
            sources: near.sources,
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
                source: self.sources.get(index).copied().unwrap_or(Source::Received),
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
    first: Track,
    second: Track,
}

impl Sides {
    /// Files do not say where sound was missing.
    fn whole(first: Vec<i16>, second: Vec<i16>) -> Self {
        let whole = |samples| Track {
            samples,
            sources: Vec::new(),
        };
        Self {
            first: whole(first),
            second: whole(second),
        }
    }
}

fn read(path: &Path, raw: Option<Raw>) -> Result<Sides, Unreadable> {
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
    if capture::is_capture(&bytes) {
        let call = call::parse(&bytes).map_err(|error| fail(Why::Capture(error)))?;
        if call.others > 0 {
            let (shown, others) = (path.display(), call.others);
            eprintln!("offhook: {shown}: {others} streams of other calls are left out");
        }
        return Ok(Sides {
            first: call.first,
            second: call.second,
        });
    }
    let sound = match wav::parse(&bytes) {
        Err(WavError::NotRiff) => {
            let law = raw.or_else(|| Raw::of(path)).map(Raw::law);
            let law = law.ok_or_else(|| fail(Why::Nameless))?;
            let samples = bytes.iter().map(|&code| law.decode(code)).collect();
            return Ok(Sides::whole(samples, Vec::new()));
        }
        sound => sound.map_err(|error| fail(Why::Wav(error)))?,
    };
    if sound.truncated {
        eprintln!("offhook: {}: cut short, read to its end", path.display());
    }
    let to_line = |samples: &[i16]| resample(samples, sound.rate, LINE_RATE, Alignment::Causal);
    Ok(match (sound.channels, sound.channel(0), sound.channel(1)) {
        (2, Some(left), Some(right)) => Sides::whole(to_line(&left), to_line(&right)),
        _ => Sides::whole(to_line(&sound.mono()), Vec::new()),
    })
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

#[cfg(test)]
mod tests {
    use super::call::tests::{Sender, at};
    use super::*;
    use crate::media::line::Line as LiveLine;
    use crate::media::words::Codec;
    use offhook_dsp::noise::ComfortNoise;
    use offhook_dsp::{Event, EventKind, SilenceCause};
    use offhook_sip::rtp::{Arrival, Content, View};
    use std::time::Duration;

    /// A call with noise and keys, of which packets are lost, late and announced to be
    /// silent, that stops for a while and goes on under another SSRC.
    fn eventful_call() -> Vec<(Duration, Vec<u8>)> {
        let mut sound = vec![0; 8_000 * 12];
        ComfortNoise::new(45, 5).fill(&mut sound);
        for (place, digit) in b"15#9".iter().enumerate() {
            let mut key = offhook_dsp::tone::Dtmf::new(*digit, 90, 0, -16.0).expect("a key");
            key.fill(&mut sound[4_000 + 24_000 * place..][..720]);
        }
        let mut packets = Vec::new();
        let mut sender = Sender::new(1, 2, 7);
        for (number, part) in sound.chunks(160).enumerate() {
            let ms = 20 * number as u64;
            let payload: Vec<u8> = part.iter().map(|&it| Law::Mu.encode(it)).collect();
            match ms {
                // Silence is announced once.
                2_000 => packets.push((at(ms), sender.packet(13, &[70], 160))),
                2_001..2_500 => sender.timestamp = sender.timestamp.wrapping_add(160),
                // Nothing comes at all.
                5_000..8_000 => sender.timestamp = sender.timestamp.wrapping_add(160),
                8_000 => {
                    sender = Sender::new(1, 2, 8);
                    packets.push((at(ms), sender.packet(0, &payload, 160)));
                }
                _ => packets.push((at(ms), sender.packet(0, &payload, 160))),
            }
        }
        let late = packets.remove(60);
        packets.insert(61, (packets[60].0 + Duration::from_millis(2), late.1));
        packets.drain(20..23);
        packets.remove(90);
        packets
    }

    /// The same packets on the line of a running call.
    fn live(packets: &[(Duration, Vec<u8>)]) -> (Vec<Event>, Vec<Source>) {
        let mut line = Box::new(LiveLine::new(1, Sensitivity::DEFAULT));
        line.connect([(0, Codec::Pcmu)].into_iter().collect());
        line.begin(Duration::ZERO);
        let (mut events, mut sources) = (Vec::new(), Vec::new());
        let mut hear = |heard: crate::media::line::Heard<'_>| {
            events.extend(heard.events.iter().copied());
            sources.push(heard.source);
        };
        let (mut due, mut now) = (Duration::from_millis(10), Duration::ZERO);
        for (at, bytes) in packets {
            now = *at + Duration::from_millis(20) - packets[0].0;
            while due <= now {
                line.tick(due, &mut hear);
                due += Duration::from_millis(10);
            }
            let view = View::parse(&bytes[28..]).expect("RTP");
            let content = match view.payload_type() {
                13 => Content::ComfortNoise,
                _ => Content::Audio { samples: 160 },
            };
            let packet = Arrival {
                ssrc: view.ssrc(),
                sequence: view.sequence(),
                timestamp: view.timestamp(),
                marker: view.marker(),
                payload_type: view.payload_type(),
                content,
                payload: view.payload(),
            };
            line.receive(now, packet, 0, &mut hear);
        }
        line.finish(now, &mut hear);
        (events, sources)
    }

    /// A file that is gone afterwards.
    fn with_file<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
        let path = std::env::temp_dir().join(format!("offhook-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("temp dir");
        let done = read(&path);
        let _ = std::fs::remove_file(path);
        done
    }

    #[test]
    fn a_capture_is_heard_as_the_live_line_heard_it() {
        let packets = eventful_call();
        let bytes = capture::tests::pcap(&packets);
        let recording = with_file("eventful.pcap", &bytes, |path| {
            Recording::read(path, None, Reading::default()).expect("a call")
        });
        let how = Listening::default();
        let heard: Vec<Event> = recording.listen(&how).flat_map(|it| it.events).collect();
        let (events, sources) = live(&packets);
        assert_eq!(recording.sources, sources);
        assert_eq!(heard, events);
        for source in [Source::Concealed, Source::ComfortNoise, Source::NoRtp] {
            assert!(sources.contains(&source), "{source:?}");
        }
        let keys = heard
            .iter()
            .filter(|it| matches!(it.kind, EventKind::Dtmf { .. }));
        assert_eq!(keys.count(), 3, "one fell into the pause");
    }

    #[test]
    fn rtp_that_stops_is_no_rtp_and_announced_silence_is_not() {
        let bytes = capture::tests::pcap(&eventful_call());
        let recording = with_file("stops.pcap", &bytes, |path| {
            Recording::read(path, None, Reading::default()).expect("a call")
        });
        let how = Listening::default();
        let causes: Vec<(SilenceCause, f64)> = recording
            .listen(&how)
            .flat_map(|it| it.events)
            .filter_map(|it| match it.kind {
                EventKind::Silence { cause, .. } => Some((cause, it.at as f64 / 8_000.0)),
                _ => None,
            })
            .collect();
        let gone = |(cause, at): &(SilenceCause, f64)| {
            *cause == SilenceCause::NoRtp && (5.0..8.0).contains(at)
        };
        assert!(causes.iter().any(gone), "{causes:?}");
        assert!(
            causes
                .iter()
                .all(|(cause, at)| *cause != SilenceCause::NoRtp || *at >= 5.0),
            "{causes:?}"
        );
    }
}
