//! The one writer: takes what waits in the queue, commits it as one
//! transaction, answers. When the disk does not take it, commits are answered
//! "not durable" at once, everything else is kept in order and tried again.
//!
//! It runs on the store thread, which `Store::open` starts; nobody else writes.

use std::fmt::Display;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use offhook_core::{ConversationId, Seq};
use rusqlite::ErrorCode;

use super::rows::{Effects, Rows};
use super::words::{Answer, Commit, Write};
use super::{Shared, wall_ms};
use crate::bell::Bell;
use crate::clock;

/// An idle writer turns this often, for the watchdog.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Writes in one transaction at most: about 5 ms of work.
const BATCH: usize = 1024;
/// What nobody waits for stays this long for company: fewer fsyncs, less wear.
const LINGER: Duration = Duration::from_millis(40);
/// While the disk fails it is tried again this often; between tries commits
/// are refused at once, so that the caller hears the fallback in time.
const PROBE: Duration = Duration::from_millis(500);
/// Writes kept while the disk fails; about 16 MB. Logs go first.
const HOLD: usize = 16_384;

pub(super) struct Writer {
    path: PathBuf,
    /// Which file the path named at the start.
    file: Option<(u64, u64)>,
    rows: Rows,
    shared: Arc<Shared>,
    answer: Box<dyn Fn(Answer) + Send>,
    /// Not yet on disk, in order; empty when all is well.
    held: Vec<Write>,
    /// While failing: when to try next, time since start.
    probe_at: Option<Duration>,
    /// The held writes outgrew their limit and the logs among them were dropped.
    logs_dropped: bool,
}

/// Device and inode: tells a file from another one of the same name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl Writer {
    pub(super) fn new(
        rows: Rows,
        path: PathBuf,
        shared: Arc<Shared>,
        answer: Box<dyn Fn(Answer) + Send>,
    ) -> Self {
        let file = identity(&path);
        Self {
            path,
            file,
            rows,
            shared,
            answer,
            held: Vec::new(),
            probe_at: None,
            logs_dropped: false,
        }
    }

    /// Until `Write::Close` or the last handle is gone.
    pub(super) fn run(mut self, queue: &Receiver<Box<Write>>, urgent: &Bell) {
        let mut open = true;
        while open {
            self.shared.pulse.beat();
            let mut batch = Vec::new();
            match self.first(queue) {
                Ok(write) => {
                    let waits = !write.is_urgent();
                    batch.push(write);
                    if waits {
                        urgent.sleep(Some(LINGER));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            batch.extend(queue.try_iter().take(BATCH).map(|write| *write));
            open &= !batch.iter().any(|write| matches!(write, Write::Close));
            self.take(batch);
        }
        if !self.held.is_empty() {
            self.try_held();
        }
        self.rows.finish();
    }

    fn first(&self, queue: &Receiver<Box<Write>>) -> Result<Write, RecvTimeoutError> {
        let write = match self.probe_at {
            None => queue.recv_timeout(HEARTBEAT),
            Some(at) => queue.recv_timeout(at.saturating_sub(clock::now())),
        };
        write.map(|write| *write)
    }

    fn take(&mut self, batch: Vec<Write>) {
        match self.probe_at {
            None => self.settle(batch),
            Some(at) => {
                self.hold(batch);
                if clock::now() >= at {
                    self.try_held();
                }
            }
        }
    }

    /// The held writes first, in their order, a batch at a time.
    fn try_held(&mut self) {
        self.probe_at = None;
        let mut held = mem::take(&mut self.held);
        while !held.is_empty() && self.probe_at.is_none() {
            let rest = held.split_off(held.len().min(BATCH));
            self.settle(held);
            held = rest;
        }
        self.held.append(&mut held);
        if self.probe_at.is_none() {
            self.recovered();
        }
    }

    fn settle(&mut self, mut batch: Vec<Write>) {
        if batch.is_empty() {
            return;
        }
        if identity(&self.path) != self.file {
            // What is written now would be gone with the last descriptor.
            self.failing(&"the file was removed or replaced while in use; restart the daemon");
            self.hold(batch);
            return;
        }
        match self.rows.keep(&batch, wall_ms()) {
            Ok(effects) => self.kept(batch, &effects),
            Err(error) if is_of_the_medium(&error) => {
                self.failing(&error);
                self.hold(batch);
            }
            Err(error) if batch.len() == 1 => {
                tracing::error!(message = "store_write_refused", %error);
                self.count_lost(1);
                self.refuse(&mut batch);
            }
            // One of them is bad: find it without harming the others.
            Err(_) => {
                for write in batch {
                    match self.probe_at {
                        None => self.settle(vec![write]),
                        Some(_) => self.hold(vec![write]),
                    }
                }
            }
        }
    }

    fn kept(&mut self, batch: Vec<Write>, effects: &Effects) {
        use std::sync::atomic::Ordering::Relaxed;
        self.shared.transactions.fetch_add(1, Relaxed);
        self.shared.writes.fetch_add(batch.len() as u64, Relaxed);
        self.shared
            .second_outcomes
            .fetch_add(effects.second_outcomes, Relaxed);
        if effects.ready {
            self.shared.ready.notify_one();
        }
        let mut forgotten = effects.forgotten.iter();
        for write in batch {
            match write {
                Write::Commit(commit) => self.reply(&commit, true),
                // The forwarder may have been stopped: nobody to tell.
                Write::Mark(mark) => mark.kept.send(()).unwrap_or_default(),
                Write::Forget { done, .. } => {
                    let result = forgotten.next().expect("one result for each wish");
                    done.send(*result).ok();
                }
                Write::ForgetLead(wish) => {
                    let result = forgotten.next().expect("one result for each wish");
                    wish.done.send(*result).ok();
                }
                Write::Campaign { id, seq, .. } => self.reply_dial(id, seq, true),
                Write::Leads { kept, .. } => {
                    kept.map(|kept| kept.send(()));
                }
                Write::Born { .. }
                | Write::Dialog { .. }
                | Write::DialogOver { .. }
                | Write::Log { .. }
                | Write::Decision { .. }
                | Write::Release(_)
                | Write::Withdraw(_)
                | Write::Outcome(_)
                | Write::Hasten
                | Write::Box { .. }
                | Write::Close => {}
            }
        }
    }

    /// Keeps what may be late; refuses what somebody waits for.
    fn hold(&mut self, mut batch: Vec<Write>) {
        self.refuse(&mut batch);
        batch.retain(|write| match write {
            Write::Close | Write::Forget { .. } | Write::ForgetLead(_) => false,
            // Not written down, not dialled: it must not be counted later either.
            Write::Campaign { seq, .. } => seq.is_none(),
            _ => true,
        });
        if self.held.len() + batch.len() > HOLD && !self.logs_dropped {
            self.logs_dropped = true;
            let before = self.held.len();
            self.held
                .retain(|write| !matches!(write, Write::Log { .. }));
            self.count_lost(before - self.held.len());
        }
        if self.logs_dropped {
            let before = batch.len();
            batch.retain(|write| !matches!(write, Write::Log { .. }));
            self.count_lost(before - batch.len());
        }
        let room = HOLD.saturating_sub(self.held.len()).min(batch.len());
        self.count_lost(batch.len() - room);
        batch.truncate(room);
        self.held.append(&mut batch);
    }

    /// Answers commits with "not durable" and leaves of them what is true all
    /// the same: the decision and the log. The actions must never come back.
    fn refuse(&mut self, batch: &mut [Write]) {
        for write in batch {
            if let Write::Campaign { id, seq, .. } = write {
                self.reply_dial(*id, *seq, false);
            }
            if let Write::Commit(commit) = write {
                self.reply(commit, false);
                let commit = &mut **commit;
                *write = Write::Decision {
                    conversation: commit.conversation,
                    record: Box::new(commit.record.clone()),
                    facts: mem::take(&mut commit.facts),
                    entries: mem::take(&mut commit.entries),
                };
            }
        }
    }

    fn reply(&self, commit: &Commit, durable: bool) {
        (self.answer)(Answer {
            conversation: commit.conversation,
            seq: commit.seq,
            durable,
        });
    }

    /// A dial that waits to be written down.
    fn reply_dial(&self, id: u64, seq: Option<Seq>, durable: bool) {
        if let Some(seq) = seq {
            let conversation = ConversationId(id);
            (self.answer)(Answer {
                conversation,
                seq,
                durable,
            });
        }
    }

    fn failing(&mut self, error: &dyn Display) {
        self.probe_at = Some(clock::now() + PROBE);
        let mut failing = self
            .shared
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if failing.is_none() {
            tracing::error!(message = "store_failing", %error);
        }
        *failing = Some(error.to_string());
    }

    fn recovered(&mut self) {
        self.logs_dropped = false;
        let mut failing = self
            .shared
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if failing.take().is_some() {
            tracing::warn!(message = "store_recovered");
        }
    }

    fn count_lost(&self, count: usize) {
        self.shared
            .lost
            .fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The disk's fault, not the write's: worth trying again unchanged.
fn is_of_the_medium(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
        )
    )
}
