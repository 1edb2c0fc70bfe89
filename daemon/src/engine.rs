//! Words come from an engine: a process of its own that connects to a unix socket
//! (`[engine] socket`). It recognises; it decides nothing, and nothing it says is
//! more than what somebody may have said. One JSON object a line, both ways:
//!
//! to the engine, what it needs to know when to listen and to whom, as it happens:
//! `{"call":"ID","ms":1234,"lane":"perception","event":"speech_end","detail":""}`
//! (`ms` since the call's birth, as in `offhook call`);
//!
//! from the engine, what was said:
//! `{"call":"ID","leg":0,"utterance":3,"text":"yes","confidence":90,"last":true,"from_ms":900,"to_ms":1200}`
//! `utterance` counts a leg's utterances from 1; texts before the `last` one are
//! provisional. Times are of the same clock; without them the words are said now.
//! `"engine":"NAME"` is shown wherever the words are.
//!
//! What cannot be understood is answered with `{"error":"…"}` and changes nothing.
//! Called by `start`; the decision thread takes the words.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use offhook_core::input::Words;
use offhook_core::{ConversationId, LegId};
use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;

use crate::control::{Lane, Told};
use crate::house::House;
use crate::tray::{Inbound, Tray};

/// Octets of a line; a longer one ends the connection.
const LINE_MAX: u64 = 8 * 1024;
/// Characters of a text that are looked at; one utterance takes 30 s at most.
const TEXT_MAX: usize = 2_000;

/// Characters of an engine's name.
const ENGINE_MAX: usize = 32;

/// Words that an engine has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// In which conversation.
    pub conversation: ConversationId,
    /// On which leg.
    pub leg: LegId,
    /// When they ended, in ms since the call's birth; now, when not known.
    pub to_ms: Option<u64>,
    /// What was said.
    pub words: Words,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    call: String,
    #[serde(default)]
    leg: u8,
    utterance: u32,
    text: String,
    confidence: u8,
    last: bool,
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    #[serde(default)]
    engine: String,
}

impl Said {
    fn recognised(self) -> Result<Recognised, String> {
        let conversation = self
            .call
            .parse()
            .map_err(|error| format!("call: {error}"))?;
        if self.confidence > 100 {
            return Err(format!("confidence: {}; write 0 to 100", self.confidence));
        }
        if self.utterance == 0 {
            return Err("utterance: 0; the first of a leg is 1".to_owned());
        }
        let spoken = match (self.from_ms, self.to_ms) {
            (Some(from), Some(to)) if from > to => {
                return Err(format!("from_ms: {from} is after to_ms, {to}"));
            }
            (Some(from), Some(to)) => to - from,
            (None, _) | (_, None) => 0,
        };
        Ok(Recognised {
            conversation,
            leg: LegId(self.leg),
            to_ms: self.to_ms,
            words: Words {
                text: self.text.chars().take(TEXT_MAX).collect(),
                confidence: self.confidence,
                last: self.last,
                utterance: self.utterance,
                spoken_ms: u32::try_from(spoken).unwrap_or(u32::MAX),
                engine: self.engine.chars().take(ENGINE_MAX).collect(),
            },
        })
    }
}

/// Makes the socket, for its owner alone; one that a crash left behind is replaced.
///
/// # Errors
/// As the system says.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    crate::control::bind(path)
}

/// Serves engines until the future is dropped.
pub async fn serve(listener: UnixListener, house: Arc<House>, tray: Tray) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(attend(stream, Arc::clone(&house), tray.clone()));
            }
            Err(error) => {
                tracing::warn!(message = "engine_socket", %error);
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// One engine, until it goes or talks nonsense without end.
async fn attend(stream: UnixStream, house: Arc<House>, tray: Tray) {
    let mut events = house.events.subscribe();
    let _present = Present::new(&house);
    tracing::info!(message = "engine_connected");
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        let answer = tokio::select! {
            told = events.recv() => match told {
                Ok(told) => news(&told),
                // It is behind: what it missed it will not need.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => break,
            },
            read = next_line(&mut lines, &mut line) => match read {
                Ok(true) => {
                    let answer = take(&line, &tray).err().map(refusal);
                    line.clear();
                    answer
                }
                Ok(false) | Err(_) => break,
            },
        };
        if let Some(answer) = answer
            && write.write_all(answer.as_bytes()).await.is_err()
        {
            break;
        }
    }
    tracing::warn!(message = "engine_gone");
}

/// An engine is counted for as long as it is there.
struct Present<'h>(&'h House);

impl<'h> Present<'h> {
    fn new(house: &'h House) -> Self {
        // Relaxed: a number that is looked at, it orders nothing.
        house.engines.fetch_add(1, Ordering::Relaxed);
        Self(house)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.engines.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads on until a line is whole; what was read stays when it is dropped meanwhile.
async fn next_line(
    lines: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> io::Result<bool> {
    let room = LINE_MAX.saturating_sub(line.len() as u64);
    let read = lines.take(room).read_until(b'\n', line).await?;
    Ok(read > 0 && line.ends_with(b"\n"))
}

fn take(line: &[u8], tray: &Tray) -> Result<(), String> {
    let said: Said = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let words = Inbound::Words(said.recognised()?);
    tray.offer(words)
        .map_err(|_| "the daemon is busy; these words are lost".to_owned())
}

fn refusal(reason: String) -> String {
    tracing::warn!(message = "engine_refused", reason);
    format!("{}\n", serde_json::json!({ "error": reason }))
}

/// What an engine needs to know: who speaks, and when a call comes and goes.
fn news(told: &Told) -> Option<String> {
    let wanted = match told.entry.lane {
        Lane::Perception => !matches!(told.entry.event.as_str(), "words" | "words_so_far" | "dtmf"),
        Lane::Signalling => matches!(told.entry.event.as_str(), "offered" | "answered" | "ended"),
        Lane::Action => matches!(told.entry.event.as_str(), "play" | "played" | "cut"),
        Lane::Decision | Lane::Note => false,
    };
    let text = wanted.then(|| serde_json::to_string(told).ok()).flatten()?;
    Some(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "0000000000001";

    fn read(text: &str) -> Result<Recognised, String> {
        let said: Said = serde_json::from_str(text).map_err(|error| error.to_string())?;
        said.recognised()
    }

    #[test]
    fn words_keep_their_place_and_time() {
        let text = format!(
            r#"{{"call":"{CALL}","utterance":3,"text":"yes","confidence":90,"last":true,"from_ms":900,"to_ms":1200}}"#
        );
        let heard = read(&text).unwrap();
        assert_eq!((heard.leg, heard.to_ms), (LegId(0), Some(1_200)));
        assert_eq!((heard.words.utterance, heard.words.spoken_ms), (3, 300));
    }

    #[test]
    fn what_is_no_message_of_an_engine_says_why() {
        let line = |more: &str| format!(r#"{{"call":"{CALL}","text":"yes","last":true,{more}}}"#);
        for (text, part) in [
            ("yes".to_owned(), "expected"),
            (line(r#""confidence":90"#), "missing field `utterance`"),
            (line(r#""confidence":900,"utterance":1"#), "expected u8"),
            (line(r#""confidence":101,"utterance":1"#), "write 0 to 100"),
            (
                line(r#""confidence":90,"utterance":0"#),
                "the first of a leg is 1",
            ),
            (
                line(r#""confidence":90,"utterance":1,"off":90"#),
                "unknown field `off`",
            ),
            (
                line(r#""confidence":90,"utterance":1,"from_ms":9,"to_ms":8"#),
                "is after",
            ),
        ] {
            let reason = read(&text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let text = format!(
            r#"{{"call":"{CALL}","utterance":1,"text":"{}","confidence":90,"last":true}}"#,
            "a".repeat(5_000)
        );
        assert_eq!(read(&text).unwrap().words.text.len(), TEXT_MAX);
    }
}
