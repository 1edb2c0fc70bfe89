//! The sound of live calls over the control socket: 16 bit, 8 kHz, mono, low
//! byte first, without any header.
//!
//! It carries the rings of [`Hearing`] and [`Speech`] to HTTP bodies and back;
//! whether that may be, the decision thread has said before.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use http_body_util::BodyExt as _;
use offhook_dsp::FRAME;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::media::speech::{Heard, Pushed};
use crate::media::{Hearing, Speech};

/// The rings are looked at this often: they hold a hundred times as much.
const LOOK: Duration = Duration::from_millis(20);

/// What became of a speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How much of it went to the call.
    pub ms: u64,
    /// To its end; else it was cut, or the call ended.
    pub finished: bool,
}

/// Sends what is heard until the call is over or nobody reads. Frames that were
/// lost on the way are silence, so that the length is right.
pub(super) async fn hear(mut hearing: Hearing, out: mpsc::Sender<Bytes>) {
    let mut samples = [0; FRAME];
    let mut next = None;
    loop {
        let mut bytes = Vec::new();
        let over = loop {
            match hearing.next(&mut samples) {
                Heard::Frame(number) => {
                    let missing = number.saturating_sub(next.unwrap_or(number)) as usize;
                    bytes.resize(bytes.len() + missing * FRAME * 2, 0);
                    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
                    next = Some(number.wrapping_add(1));
                }
                Heard::Nothing => break false,
                Heard::Over => break true,
            }
        };
        if !bytes.is_empty() && out.send(bytes.into()).await.is_err() || over || out.is_closed() {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Says a body to its end, or until it is cut.
pub(super) async fn speak(mut speech: Speech, body: Body) -> Said {
    let mut frames = 0u64;
    let mut source = Frames {
        body: body.into_data_stream(),
        waiting: Vec::new(),
    };
    while let Some(frame) = source.next().await {
        if !pushed(&mut speech, |speech| speech.push(&frame)).await {
            return said(frames, false);
        }
        frames += 1;
    }
    let whole = pushed(&mut speech, Speech::finish).await;
    while !speech.is_over() {
        sleep(LOOK).await;
    }
    said(frames, whole && !speech.is_cut())
}

fn said(frames: u64, finished: bool) -> Said {
    Said {
        ms: frames * 10,
        finished,
    }
}

/// Puts something into the ring when there is room; `false` when it is not wanted.
async fn pushed(speech: &mut Speech, put: impl Fn(&mut Speech) -> Pushed) -> bool {
    loop {
        match put(speech) {
            Pushed::Taken => return true,
            Pushed::Full => sleep(LOOK).await,
            Pushed::Over => return false,
        }
    }
}

/// A body in frames; the last is filled up with silence.
struct Frames {
    body: BodyDataStream,
    waiting: Vec<u8>,
}

impl Frames {
    async fn next(&mut self) -> Option<[i16; FRAME]> {
        while self.waiting.len() < FRAME * 2 {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.waiting.extend_from_slice(&data);
                    }
                }
                // Cut off in between: what came is said.
                Some(Err(_)) | None if self.waiting.len() < 2 => return None,
                Some(Err(_)) | None => self.waiting.resize(FRAME * 2, 0),
            }
        }
        let mut frame = [0; FRAME];
        for (sample, bytes) in frame.iter_mut().zip(self.waiting.as_chunks().0) {
            *sample = i16::from_le_bytes(*bytes);
        }
        self.waiting.drain(..FRAME * 2);
        Some(frame)
    }
}
