//! Delivers what the outbox holds: signed CloudEvents to one webhook, in order
//! per lead, at least once, under the same id on every attempt.
//!
//! A tokio task that [`Forwarder::start`] spawns. It reads the oldest open row
//! of each lead, posts it, and has the store's writer mark what came of it. It
//! decides nothing about calls; answers go back through a callback.

pub mod client;
pub mod event;
pub mod schedule;
pub mod signature;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use offhook_core::ActionId;
use offhook_core::input::UpstreamAnswer;
use rustls::ClientConfig;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::clock;
use crate::settings::Secret;
use crate::store::reader::{Due, Reader, event_id};
use crate::store::{Mark, NotTaken, Progress, Store, Write};
use client::{Client, Verdict};
use schedule::{Breaker, Schedule};

/// Where to deliver, and how patiently.
#[derive(Clone, Debug)]
pub struct Config {
    /// `http://` or `https://`.
    pub url: String,
    /// Sign each delivery; two while a key is being changed.
    pub secrets: Vec<Secret>,
    /// Whom to trust behind `https://`.
    pub tls: Arc<ClientConfig>,
    /// CloudEvents `source`: which box this is.
    pub source: String,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Waits between the attempts for one row.
    pub schedule: Schedule,
    /// First wait between probes of a receiver that is down.
    pub probe_first: Duration,
}

impl Config {
    /// With the standard schedule; Standard Webhooks asks for a timeout of 15 to 30 s.
    pub fn new(
        url: &str,
        secrets: Vec<Secret>,
        tls: Arc<ClientConfig>,
        source: &str,
        timeout: Duration,
    ) -> Self {
        Self {
            url: url.into(),
            secrets,
            tls,
            source: source.into(),
            timeout,
            schedule: Schedule::default(),
            probe_first: Duration::from_secs(1),
        }
    }
}

/// Forwarding cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The URL is none.
    Url(String),
    /// The store cannot be read.
    Store(rusqlite::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(reason) => write!(f, "upstream.url: {reason}"),
            Self::Store(error) => write!(f, "store: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How delivery does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Rows delivered since start.
    pub delivered: u64,
    /// Attempts that failed since start.
    pub failed: u64,
    /// Rows given up or refused since start.
    pub dead: u64,
    /// Why the last attempt failed, while none has succeeded since.
    pub last_error: Option<String>,
    /// The receiver is taken to be down.
    pub down: bool,
    /// The receiver answered 410: nothing is sent until the next start.
    pub gone: bool,
}

/// Told what the receiver says to an action.
type Answered = Box<dyn Fn(ActionId, UpstreamAnswer) + Send>;

/// The handle of the task.
#[derive(Debug)]
pub struct Forwarder {
    status: Arc<Mutex<Status>>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Forwarder {
    /// Starts forwarding; call it inside a tokio runtime. `answered` must not wait.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        config: Config,
        store: Store,
        answered: impl Fn(ActionId, UpstreamAnswer) + Send + 'static,
    ) -> Result<Self, StartError> {
        let url = parse_url(&config.url)?;
        let reader = Reader::open(store.path()).map_err(StartError::Store)?;
        let status = Arc::new(Mutex::new(Status::default()));
        let stop = Arc::new(Notify::new());
        let run = Run {
            client: Client::new(url, config.secrets.clone(), config.timeout, &config.tls),
            breaker: Breaker::new(&config.url).with_first_probe(config.probe_first),
            config,
            store,
            answered: Box::new(answered),
            status: Arc::clone(&status),
            attempts: JoinSet::new(),
            marks: JoinSet::new(),
            busy: BTreeSet::new(),
            zero_ms: wall_ms().saturating_sub(whole_ms(clock::now())),
        };
        let task = tokio::spawn(run.until(Arc::clone(&stop), reader));
        Ok(Self { status, stop, task })
    }

    /// How delivery does.
    pub fn status(&self) -> Status {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same, for those who look again and again.
    pub fn watch(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Sends nothing more; waits for the attempts under way and their marks.
    pub async fn stop(self) {
        self.stop.notify_one();
        if let Err(error) = self.task.await {
            tracing::error!(message = "forwarder_panicked", %error);
        }
    }
}

fn parse_url(text: &str) -> Result<Uri, StartError> {
    let url: Uri = text
        .parse()
        .map_err(|error| StartError::Url(format!("{error}")))?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        _ => Err(StartError::Url(
            "needs http:// or https:// and a host".into(),
        )),
    }
}

/// Rows looked at beyond those that may be sent now: to know when to wake.
const LOOK_AHEAD: usize = 1;
/// It looks again after this long whatever it knows.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// A row whose mark was lost is not sent again sooner than this.
const MARK_AGAIN: Duration = Duration::from_secs(1);
/// A full store queue is tried again after this long.
const QUEUE_AGAIN: Duration = Duration::from_millis(20);

/// At the end marks may take this long; rows without theirs are sent again.
const LAST_MARKS: Duration = Duration::from_secs(2);

/// A row on its way.
struct Sent {
    due: Due,
    id: String,
    verdict: Verdict,
}

struct Run {
    client: Client,
    breaker: Breaker,
    config: Config,
    store: Store,
    answered: Answered,
    status: Arc<Mutex<Status>>,
    attempts: JoinSet<Sent>,
    /// Marks on their way to disk; each yields its row's number.
    marks: JoinSet<u64>,
    /// Rows sent whose mark is not on disk yet: not to be sent again.
    busy: BTreeSet<u64>,
    /// The wall time of our clock's zero, as it was at the start.
    zero_ms: u64,
}

impl Run {
    async fn until(mut self, stop: Arc<Notify>, reader: Reader) {
        let mut reader = Some(reader);
        loop {
            let wait = self.send_due(&mut reader).await;
            tokio::select! {
                () = stop.notified() => break,
                () = self.store.ready() => {}
                () = tokio::time::sleep(wait) => {}
                Some(sent) = self.attempts.join_next() => self.settle(sent.ok()),
                Some(row) = self.marks.join_next() => self.marked(row.ok()),
            }
        }
        while let Some(sent) = self.attempts.join_next().await {
            self.settle(sent.ok());
        }
        let marks = async { while self.marks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_MARKS, marks).await.is_err() {
            tracing::warn!(message = "forwarder_marks_late");
        }
    }

    /// Sends what may be sent; how long to wait at most for more.
    async fn send_due(&mut self, reader: &mut Option<Reader>) -> Duration {
        let now = clock::now();
        if self.status(|status| status.gone) {
            return LOOK_AGAIN;
        }
        let room = self.breaker.room(now, self.attempts.len());
        if room == 0 {
            let wait = self.breaker.not_before().saturating_sub(now);
            // In flight up to the width: an attempt that ends wakes us.
            return if wait.is_zero() { LOOK_AGAIN } else { wait };
        }
        let limit = room + self.busy.len() + LOOK_AHEAD;
        let heads = match read(reader, &self.store, limit).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::error!(message = "outbox_unreadable", error);
                return LOOK_AGAIN;
            }
        };
        self.send_some(heads, room)
    }

    fn send_some(&mut self, heads: Vec<Due>, room: usize) -> Duration {
        let now_ms = wall_ms().max(self.steady_ms());
        let probing = self.breaker.is_open();
        let (mut sent, mut soonest) = (0, LOOK_AGAIN);
        for due in heads {
            if self.busy.contains(&due.seq) {
                continue;
            }
            let id = event_id(due.conversation, due.action);
            let wait = self.wait_of(&due, &id, now_ms);
            if sent < room && (wait.is_zero() || probing) {
                sent += 1;
                self.send(due, id);
            } else {
                soonest = soonest.min(wait);
            }
        }
        soonest
    }

    /// Wall time that no one who sets the clock moves.
    fn steady_ms(&self) -> u64 {
        self.zero_ms.saturating_add(whole_ms(clock::now()))
    }

    /// How long until the row is due. It asked for no more than its strikes do: a
    /// longer wait means that the wall clock went back, here or before a restart.
    fn wait_of(&self, due: &Due, id: &str, now_ms: u64) -> Duration {
        let wait = Duration::from_millis(due.next_ms.saturating_sub(now_ms));
        match self.config.schedule.next_attempt(id, due.strikes) {
            Some(asked) if wait <= asked => wait,
            _ => Duration::ZERO,
        }
    }

    fn send(&mut self, due: Due, id: String) {
        self.busy.insert(due.seq);
        let Some(event) = event::event(&due, &self.config.source) else {
            let error = "its content was damaged on disk".to_string();
            self.bury(&due, &id, error, true);
            return;
        };
        let client = self.client.clone();
        self.attempts.spawn(async move {
            let verdict = client.attempt(&event).await;
            Sent { due, id, verdict }
        });
    }

    /// An attempt came to its end; `None`: its task panicked, the row is tried again.
    fn settle(&mut self, sent: Option<Sent>) {
        let Some(Sent { due, id, verdict }) = sent else {
            tracing::error!(message = "attempt_panicked");
            // Which row is not known; to send one twice is better than never.
            self.busy.clear();
            return;
        };
        match verdict {
            Verdict::Delivered => {
                self.alive();
                self.status(|status| status.delivered += 1);
                tracing::debug!(message = "delivered", CALL_ID = %due.conversation, id);
                self.answer(&due, UpstreamAnswer::Accepted);
                self.mark(due.seq, Progress::Delivered);
            }
            Verdict::Refused(error) => {
                self.alive();
                self.answer(&due, UpstreamAnswer::Rejected);
                self.bury(&due, &id, error, true);
            }
            Verdict::Gone(error) => {
                tracing::error!(message = "upstream_gone", id, error);
                self.status(|status| status.gone = true);
                self.again(&due, &id, error, None, false);
            }
            Verdict::Failed {
                error,
                retry_after,
                down,
            } => {
                self.again(&due, &id, error, retry_after, down);
            }
        }
    }

    /// The receiver speaks: if it had been down, everything that waits is due.
    fn alive(&mut self) {
        let was_down = self.breaker.succeeded();
        self.status(|status| {
            status.down = false;
            status.last_error = None;
        });
        if was_down {
            tracing::info!(message = "upstream_back");
            self.write(Write::Hasten);
        }
    }

    fn again(
        &mut self,
        due: &Due,
        id: &str,
        error: String,
        retry_after: Option<Duration>,
        down: bool,
    ) {
        let strike = self.breaker.failed(clock::now(), retry_after, down);
        let down = self.breaker.is_open();
        if down && !self.status(|status| status.down) {
            tracing::error!(message = "upstream_down", id, error);
        } else {
            tracing::warn!(message = "delivery_failed", CALL_ID = %due.conversation, id, error);
        }
        self.status(|status| {
            status.down = down;
            status.failed += 1;
            status.last_error = Some(error.clone());
        });
        let strikes = due.strikes.saturating_add(u32::from(strike));
        let Some(wait) = self.config.schedule.next_attempt(id, strikes) else {
            return self.bury(due, id, error, false);
        };
        let progress = Progress::Retry {
            next_ms: self.steady_ms().saturating_add(whole_ms(wait)),
            strike,
            error,
        };
        self.mark(due.seq, progress);
    }

    /// A dead letter is loud.
    fn bury(&mut self, due: &Due, id: &str, error: String, refused: bool) {
        let what = match due.undoes() {
            true => "not_undone",
            false => "dead_letter",
        };
        tracing::error!(message = what, CALL_ID = %due.conversation, id, kind = due.kind, error);
        self.status(|status| status.dead += 1);
        self.mark(due.seq, Progress::Dead { error, refused });
    }

    fn answer(&self, due: &Due, answer: UpstreamAnswer) {
        if let Some(action) = due.action {
            (self.answered)(action, answer);
        }
    }

    fn mark(&mut self, seq: u64, progress: Progress) {
        let (kept, told) = oneshot::channel();
        self.write(Write::Mark(Mark {
            seq,
            progress,
            kept,
        }));
        self.marks.spawn(async move {
            // An error means that the store is gone or gave the mark up: the
            // row will be sent again, under the same id.
            if told.await.is_err() {
                tokio::time::sleep(MARK_AGAIN).await;
            }
            seq
        });
    }

    /// Hands a write to the store, again and again while its queue is full.
    fn write(&self, write: Write) {
        if let Err(NotTaken::Full(write)) = self.store.write(write) {
            let store = self.store.clone();
            tokio::spawn(async move {
                let mut write = write;
                loop {
                    tokio::time::sleep(QUEUE_AGAIN).await;
                    match store.write(*write) {
                        Err(NotTaken::Full(back)) => write = back,
                        Ok(()) | Err(NotTaken::Closed(_)) => return,
                    }
                }
            });
        }
    }

    fn marked(&mut self, row: Option<u64>) {
        if let Some(seq) = row {
            self.busy.remove(&seq);
        }
    }

    fn status<T>(&self, with: impl FnOnce(&mut Status) -> T) -> T {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        with(&mut status)
    }
}

/// Reads on a thread that may wait for the disk. A reader that failed is opened
/// anew the next time.
async fn read(
    reader: &mut Option<Reader>,
    store: &Store,
    limit: usize,
) -> Result<Vec<Due>, String> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let (mine, path) = (reader.take(), store.path().to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let reader = match mine {
            Some(reader) => reader,
            None => Reader::open(&path)?,
        };
        let heads = reader.heads_of_line(limit)?;
        Ok::<_, rusqlite::Error>((reader, heads))
    });
    let (back, heads) = read
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    *reader = Some(back);
    Ok(heads)
}

fn wall_ms() -> u64 {
    whole_ms(clock::wall())
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
