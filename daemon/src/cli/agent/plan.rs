//! What a user agent is to do in its call, and how it tells what happens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use offhook_sip::sdp::{Codec, LocalSrtp};
use serde_json::{Map, Value, json};

use crate::cli::print;
use crate::media::{Clip, Script};
use crate::resample::{Alignment, LINE_RATE, resample};
use crate::wav::{self, Writer};

/// What to do in the call.
pub(in crate::cli) struct Plan {
    /// To be played from the answer on.
    pub(in crate::cli) sound: Option<Arc<Script>>,
    /// Where to record to.
    pub(in crate::cli) record: Option<PathBuf>,
    /// How it is encrypted.
    pub(in crate::cli) srtp: Option<LocalSrtp>,
    /// How sound may be coded, best first.
    pub(in crate::cli) codecs: Vec<Codec>,
    /// Keys to press, since the answer, in order.
    pub(in crate::cli) keys: Vec<(u8, Duration)>,
    /// Send the other side on to this number, so long after the answer.
    pub(in crate::cli) transfer: Option<(String, Duration)>,
    /// Hang up so long after the answer.
    pub(in crate::cli) hang_up_after: Option<Duration>,
    /// Who is asked where names lead; those of the system where there are none.
    pub(in crate::cli) name_servers: Vec<SocketAddr>,
}

impl Plan {
    /// The sound of a file from there on, as the line takes it.
    pub(in crate::cli) fn sound(file: &Path, from: Duration) -> Result<Arc<Script>, String> {
        let wav = wav::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let channels = usize::from(wav.channels);
        let first: Vec<i16> = wav.samples.iter().copied().step_by(channels).collect();
        let mut samples = resample(&first, wav.rate, LINE_RATE, Alignment::Centred);
        let skip = from.as_millis() * u128::from(LINE_RATE) / 1000;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        if skip >= samples.len() {
            let ms = samples.len() * 1000 / LINE_RATE as usize;
            return Err(format!(
                "{}: lasts {}.{:03} s, nothing is left to play",
                file.display(),
                ms / 1000,
                ms % 1000
            ));
        }
        samples.drain(..skip);
        let clip = Clip {
            samples: samples.into(),
            words: Box::default(),
        };
        Ok(Arc::new(Script {
            clips: vec![Arc::new(clip)],
        }))
    }
}

/// Keeps of a stereo recording what was heard, under its final name. Whoever
/// sees that file sees all of it.
pub(super) fn keep_heard(stereo: &Path, out: &Path) -> Result<(), String> {
    let context = |file: &Path, error: String| format!("{}: {error}", file.display());
    let wav = wav::read(stereo).map_err(|error| context(stereo, error.to_string()))?;
    let heard: Vec<i16> = wav.samples.iter().copied().step_by(2).collect();
    let part = stereo.with_extension("part");
    let written = Writer::create(&part, wav.rate, 1).and_then(|mut writer| {
        writer.write(&heard)?;
        writer.close().map(|_| ())
    });
    written.map_err(|error| context(&part, error.to_string()))?;
    let _ = std::fs::remove_file(stereo);
    std::fs::rename(&part, out).map_err(|error| context(out, error.to_string()))
}

/// Tells what happens, as it happens: a line each, for people or as JSON.
pub(in crate::cli) struct Teller {
    json: bool,
    quiet: bool,
}

impl Teller {
    pub(in crate::cli) fn new(json: bool) -> Self {
        Self { json, quiet: false }
    }

    /// Says nothing: for tests.
    #[cfg(test)]
    pub(super) fn silent() -> Self {
        Self {
            json: false,
            quiet: true,
        }
    }

    /// `t` since the INVITE; `data` an object.
    pub(super) fn tell(&self, t: Duration, event: &str, detail: &str, data: Value) {
        if self.quiet {
            return;
        }
        if !self.json {
            let line = format!("{:>9.3} s  {event:12}  {detail}", t.as_secs_f64());
            print(&format!("{}\n", crate::cli::text::tame(line.trim_end())));
            return;
        }
        let mut line = Map::new();
        let t = (t.as_secs_f64() * 1000.0).round() / 1000.0;
        line.insert("t".to_owned(), json!(t));
        line.insert("event".to_owned(), json!(event));
        if let Value::Object(data) = data {
            line.extend(data);
        }
        print(&format!("{}\n", Value::Object(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_played_from_where_one_wants() {
        let folder = std::env::temp_dir().join(format!("offhook-plan-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a.wav");
        let mut writer = Writer::create(&file, 8000, 2).unwrap();
        let stereo: Vec<i16> = (0..8000).flat_map(|n| [n, -1]).collect();
        writer.write(&stereo).unwrap();
        writer.close().unwrap();
        let script = Plan::sound(&file, Duration::from_millis(500)).unwrap();
        let samples = &script.clips[0].samples;
        assert_eq!((samples.len(), samples[0]), (4000, 4000));
        let Err(reason) = Plan::sound(&file, Duration::from_secs(1)) else {
            panic!("nothing is left");
        };
        assert!(reason.contains("lasts 1.000 s"), "{reason}");
        let out = folder.join("heard.wav");
        keep_heard(&file, &out).unwrap();
        let heard = wav::read(&out).unwrap();
        assert_eq!(
            (heard.channels, heard.samples.len(), heard.samples[7]),
            (1, 8000, 7)
        );
        assert!(!file.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
