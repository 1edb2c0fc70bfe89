//! One stream: messages in, messages out, and patience with its peer.
//!
//! Each connection is a task of its own. A peer that does not read, that opens
//! and says nothing or that sends a byte a second holds up this task only, and
//! not for long.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook_sip::Flow;
use offhook_sip::framing::{Frame, Framer, PING, PONG};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Sleep, interval, sleep, timeout};

/// Longest message of a trunk: what a datagram could hold.
const MESSAGE_MAX: usize = 65_535;
/// Longest message of a stranger, which is refused anyway.
const STRANGERS_MESSAGE_MAX: usize = 8_192;
/// A message that has begun is whole by then.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(10);
/// A trunk's connection without any message or keepalive is closed.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// A stranger's.
const STRANGERS_IDLE_MAX: Duration = Duration::from_secs(32);
/// What is written is taken by then.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Keepalives of connections that we opened (RFC 5626 §4.4.1: 95 to 120 s; less
/// for NATs that forget sooner).
const PING_EVERY: Duration = Duration::from_secs(60);
/// A peer that answers pings answers each by then, or the connection is dead
/// (RFC 5626 §4.4.1).
const PONG_PATIENCE: Duration = Duration::from_secs(10);
/// Messages that wait for a peer to read.
pub(super) const QUEUE: usize = 256;
/// And their bytes.
pub(super) const QUEUE_BYTES: usize = 1 << 19;
/// Read at once; also the most that a connection holds while nothing is said.
const READ: usize = 4096;
/// Written at once.
const WRITE: usize = 1 << 16;

/// How a connection is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Of a trunk.
    pub(super) known: bool,
    /// We opened it.
    pub(super) dialled: bool,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The peer closed it, or it broke.
    Closed,
    /// Nobody needs it any more, or its queue was full.
    Dropped,
    /// A message was begun and not ended, or nothing came at all.
    Slow,
    /// The peer does not read.
    Stalled,
    /// It answered keepalives before, and does no more.
    Silent,
    /// What came was no SIP.
    Unreadable,
    /// It never came about.
    NotOpened,
}

/// What a connection tells signalling.
#[derive(Debug)]
pub(super) enum Heard {
    /// A peer connected.
    Opened { flow: Flow, handle: Handle },
    /// One message.
    Message {
        flow: Flow,
        known: bool,
        bytes: Vec<u8>,
    },
    /// It is no more.
    Ended {
        flow: Flow,
        number: u64,
        ending: Ending,
    },
}

/// Signalling's end of a connection.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) number: u64,
    queue: mpsc::Sender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
}

/// Why a message was not queued.
#[derive(Debug)]
pub(super) enum NotQueued {
    /// The peer is too far behind.
    Full,
    /// The connection has just ended; the message comes back.
    Gone(Vec<u8>),
}

/// The connection's own end.
pub(super) struct Post {
    queue: mpsc::Receiver<Vec<u8>>,
    queued: Arc<AtomicUsize>,
}

impl Handle {
    pub(super) fn new(number: u64) -> (Self, Post) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let queued = Arc::new(AtomicUsize::new(0));
        let post = Post {
            queue,
            queued: Arc::clone(&queued),
        };
        let handle = Self {
            number,
            queue: sender,
            queued,
        };
        (handle, post)
    }

    /// Queues a message.
    pub(super) fn send(&self, bytes: Vec<u8>) -> Result<(), NotQueued> {
        let length = bytes.len();
        // Relaxed: only this thread adds, and the sum is a bound, not a lock.
        if self.queued.load(Ordering::Relaxed) + length > QUEUE_BYTES {
            return Err(NotQueued::Full);
        }
        // Counted before it can be taken, so that the count never goes below zero.
        self.queued.fetch_add(length, Ordering::Relaxed);
        self.queue.try_send(bytes).map_err(|refused| {
            self.queued.fetch_sub(length, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => NotQueued::Full,
                TrySendError::Closed(bytes) => NotQueued::Gone(bytes),
            }
        })
    }
}

impl Post {
    /// What waits, up to a limit, in one piece; `None` when nobody sends any more.
    async fn take(&mut self) -> Option<Vec<u8>> {
        let mut all = self.queue.recv().await?;
        while all.len() < WRITE
            && let Ok(more) = self.queue.try_recv()
        {
            all.extend_from_slice(&more);
        }
        self.queued.fetch_sub(all.len(), Ordering::Relaxed);
        Some(all)
    }
}

/// Runs a connection to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    flow: Flow,
    terms: Terms,
    post: &mut Post,
    heard: &mpsc::Sender<Heard>,
) -> Ending {
    let limit = if terms.known {
        MESSAGE_MAX
    } else {
        STRANGERS_MESSAGE_MAX
    };
    let mut talk = Talk {
        flow,
        terms,
        framer: Framer::new(limit),
        patience: Box::pin(sleep(terms.idle())),
        partial: false,
        keepalive: Keepalive {
            every: PING_EVERY,
            patience: PONG_PATIENCE,
            answered: false,
            waiting: None,
        },
        heard,
    };
    let ending = talk.run(stream, post).await;
    // It is closed either way; this only spares the peer a reset.
    let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
    ending
}

impl Terms {
    fn idle(self) -> Duration {
        if self.known {
            IDLE_MAX
        } else {
            STRANGERS_IDLE_MAX
        }
    }
}

struct Talk<'a> {
    flow: Flow,
    terms: Terms,
    framer: Framer,
    patience: Pin<Box<Sleep>>,
    /// A message has begun, and the patience with it runs.
    partial: bool,
    keepalive: Keepalive,
    heard: &'a mpsc::Sender<Heard>,
}

/// How the other side is asked whether it is still there.
struct Keepalive {
    every: Duration,
    patience: Duration,
    /// It has answered once.
    answered: bool,
    /// Runs out when the last ping is not answered.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Keepalive {
    fn asked(&mut self) {
        if self.answered && self.waiting.is_none() {
            self.waiting = Some(Box::pin(sleep(self.patience)));
        }
    }

    fn heard(&mut self) {
        (self.answered, self.waiting) = (true, None);
    }

    /// Rings when an answer is overdue; never, while none is waited for.
    async fn overdue(&mut self) {
        match &mut self.waiting {
            Some(waiting) => waiting.await,
            None => std::future::pending().await,
        }
    }
}

impl Talk<'_> {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        post: &mut Post,
    ) -> Ending {
        let mut buffer = vec![0; READ];
        let mut pings = interval(self.keepalive.every);
        pings.tick().await;
        loop {
            let done = tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return Ending::Closed,
                    Ok(length) => self.take(&buffer[..length], stream).await,
                },
                waiting = post.take() => match waiting {
                    Some(bytes) => write(stream, &bytes).await,
                    None => return Ending::Dropped,
                },
                () = &mut self.patience => return Ending::Slow,
                () = self.keepalive.overdue() => return Ending::Silent,
                _ = pings.tick(), if self.terms.dialled => {
                    self.keepalive.asked();
                    write(stream, PING).await
                }
            };
            if let Err(ending) = done {
                return ending;
            }
        }
    }

    /// Hands on what is whole; waits while signalling is busy, and the peer with us.
    async fn take<S: AsyncWrite + Unpin>(
        &mut self,
        bytes: &[u8],
        stream: &mut S,
    ) -> Result<(), Ending> {
        self.framer.push(bytes);
        let mut whole = false;
        while let Some(frame) = self.framer.take().map_err(|_| Ending::Unreadable)? {
            whole = true;
            match frame {
                Frame::Ping => write(stream, PONG).await?,
                Frame::Pong => self.keepalive.heard(),
                Frame::Message(bytes) => {
                    let (flow, known) = (self.flow, self.terms.known);
                    let message = Heard::Message { flow, known, bytes };
                    let taken = self.heard.send(message).await;
                    taken.map_err(|_| Ending::Dropped)?;
                }
            }
        }
        let partial = self.framer.is_partial();
        if whole || partial != self.partial {
            let patience = if partial {
                MESSAGE_PATIENCE
            } else {
                self.terms.idle()
            };
            self.patience.set(sleep(patience));
        }
        self.partial = partial;
        Ok(())
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), Ending> {
    let written = timeout(WRITE_PATIENCE, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::Closed),
        Err(_) => Err(Ending::Stalled),
    }
}

#[cfg(test)]
mod tests {
    use offhook_sip::Transport;
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    /// What ended a connection whose peer answers so many pings.
    async fn ended_after(pongs: usize, limit: Duration) -> Option<Ending> {
        let (mut ours, mut theirs) = duplex(4096);
        let (_handle, mut post) = Handle::new(1);
        let (heard, _events) = mpsc::channel(8);
        let peer = tokio::spawn(async move {
            let mut ping = [0; PING.len()];
            for number in 0.. {
                if theirs.read_exact(&mut ping).await.is_err() {
                    return;
                }
                if number < pongs {
                    theirs.write_all(PONG).await.expect("it reads");
                }
            }
        });
        let mut talk = Talk {
            flow: Flow {
                transport: Transport::Tcp,
                local: ([127, 0, 0, 1], 5060).into(),
                remote: ([127, 0, 0, 1], 5070).into(),
            },
            terms: Terms {
                known: true,
                dialled: true,
            },
            framer: Framer::new(MESSAGE_MAX),
            patience: Box::pin(sleep(IDLE_MAX)),
            partial: false,
            keepalive: Keepalive {
                every: Duration::from_millis(10),
                patience: Duration::from_millis(40),
                answered: false,
                waiting: None,
            },
            heard: &heard,
        };
        let ended = timeout(limit, talk.run(&mut ours, &mut post)).await.ok();
        drop(ours);
        peer.await.expect("the peer ends");
        ended
    }

    #[tokio::test]
    async fn a_peer_that_answers_no_more_keepalives_loses_its_connection() {
        let limit = Duration::from_secs(20);
        assert_eq!(ended_after(2, limit).await, Some(Ending::Silent));
        // Who never answered one is judged by nothing.
        let limit = Duration::from_millis(400);
        assert_eq!(ended_after(0, limit).await, None);
    }
}
