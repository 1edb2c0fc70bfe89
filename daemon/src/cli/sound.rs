//! `offhook listen`, `speak`: hear the caller of a live call, say something into it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent::Plan;
use super::ask::{Trouble, asking};
use super::dial::seconds;
use super::{Common, NO, OK, print, print_json};
use crate::control::Said;
use crate::control::client::path_step;
use crate::resample::LINE_RATE;
use crate::wav::{WavError, Writer};
use serde_json::json;

/// Hear the caller of a live call, until it is over or Ctrl-C. Exit code 1: there
/// is no such call, or somebody listens already.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ListenArgs {
    /// The call's id, the beginning or end of it, or `last`.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    /// Where to: 8 kHz mono.
    #[arg(long, value_name = "OUT.wav")]
    record: PathBuf,
    /// No longer than this.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
}

/// Say a recording into a live call. The caller can interrupt it, and so does the
/// next thing that the conversation says. Exit code 1: it was cut.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SpeakArgs {
    /// The call's id, the beginning or end of it, or `last`.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: String,
    /// What to say: any WAV file.
    file: PathBuf,
}

pub(super) fn listen(common: &Common, arguments: &ListenArgs) -> u8 {
    asking(common, async |client| {
        let path = format!("/v1/calls/{}/sound", path_step(&arguments.id));
        let mut tape = Tape::new(&arguments.record);
        let limit = arguments.seconds.unwrap_or(Duration::MAX);
        let reading = client.download(&path, |octets| tape.take(octets));
        let ended = tokio::select! {
            ended = reading => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
            () = tokio::time::sleep(limit) => Ok(()),
        };
        ended?;
        let ms = tape.close()?;
        if common.json {
            print_json(&json!({ "file": arguments.record, "ms": ms }));
        } else {
            print(&format!("{}: {ms} ms\n", arguments.record.display()));
        }
        Ok(OK)
    })
}

/// The file that grows; made when the first sound comes, so that a call that is
/// not there leaves nothing behind.
struct Tape<'a> {
    file: &'a Path,
    writer: Option<Writer>,
    odd: Option<u8>,
    broken: Option<WavError>,
}

impl<'a> Tape<'a> {
    fn new(file: &'a Path) -> Self {
        Self {
            file,
            writer: None,
            odd: None,
            broken: None,
        }
    }

    /// `false` when the disk takes no more.
    fn take(&mut self, octets: &[u8]) -> bool {
        let octets: Vec<u8> = self
            .odd
            .take()
            .into_iter()
            .chain(octets.iter().copied())
            .collect();
        let (whole, rest) = octets.as_chunks();
        self.odd = rest.first().copied();
        let samples: Vec<i16> = whole.iter().map(|both| i16::from_le_bytes(*both)).collect();
        self.broken = self.write(&samples).err();
        self.broken.is_none()
    }

    fn write(&mut self, samples: &[i16]) -> Result<(), WavError> {
        if self.writer.is_none() {
            self.writer = Some(Writer::create(self.file, LINE_RATE, 1)?);
        }
        self.writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.write(samples))
    }

    /// How long it has become, in ms.
    fn close(mut self) -> Result<u64, Trouble> {
        let broken = self.broken.take();
        let closed = broken.map_or_else(|| self.write(&[]), Err).and_then(|()| {
            let Some(writer) = self.writer else {
                return Ok(0);
            };
            let ms = writer.frames() * 1000 / u64::from(LINE_RATE);
            writer.close().map(|_| ms)
        });
        let file = self.file.display();
        closed.map_err(|error| Trouble::CouldNot(format!("{file}: {error}")))
    }
}

pub(super) fn speak(common: &Common, arguments: &SpeakArgs) -> u8 {
    asking(common, async |client| {
        let script = Plan::sound(&arguments.file, Duration::ZERO).map_err(Trouble::CouldNot)?;
        let samples = script.clips.iter().flat_map(|clip| clip.samples.iter());
        let octets: Vec<u8> = samples.flat_map(|sample| sample.to_le_bytes()).collect();
        let path = format!("/v1/calls/{}/speech", path_step(&arguments.id));
        let said: Said = client.upload(&path, octets).await?;
        if common.json {
            print_json(&said);
        } else {
            let how = if said.finished { "said" } else { "cut after" };
            print(&format!("{how} {} ms\n", said.ms));
        }
        Ok(if said.finished { OK } else { NO })
    })
}
