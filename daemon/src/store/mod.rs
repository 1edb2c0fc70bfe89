//! What must outlive the process: conversations, decisions, actions, dialogs.
//!
//! One SQLite file, one writer thread, group commit, every row chained to the
//! one before. The decision thread hands [`Write`]s over a bounded queue and
//! never waits; [`Answer`]s come back through a callback. The command line and
//! the forwarder read through [`reader::Reader`]. It decides nothing and sends
//! nothing.

pub mod chain;
pub mod reader;
mod recover;
mod rows;
mod salvage;
mod schema;
mod words;
mod writer;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use crate::bell::Bell;
use crate::clock;
use crate::watchdog::Pulse;

pub use offhook_core::budget::Expense;
pub use recover::{OpenDialog, Recovery};
pub use salvage::Salvage;
pub use words::{
    Answer, Birth, Commit, Direction, Ended, Entry, EntryKind, ForgetLead, Forgotten, Log, Mark,
    Progress, Write,
};

/// Writes that wait for the writer at most; beyond it `write` hands them back.
/// Two seconds of 3,000 calls a second with five writes each.
const QUEUE: usize = 32_768;
/// `close` looks for room in the queue this often.
const CLOSE_RETRY: Duration = Duration::from_millis(5);

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Writes that may wait for the writer.
    pub queue: usize,
    /// Upper limit of the file in pages of 4 KiB; none unless given.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: QUEUE,
            max_pages: None,
        }
    }
}

/// The store cannot be opened.
#[derive(Debug)]
pub enum StoreError {
    /// The directory or the file cannot be reached.
    Io(PathBuf, io::Error),
    /// Another process has it open.
    InUse(PathBuf),
    /// Written by a newer release, with this schema version.
    Newer(PathBuf, i64),
    /// SQLite refuses, and not because the file is damaged.
    Database(PathBuf, rusqlite::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::InUse(path) => write!(f, "{}: another process has it open", path.display()),
            Self::Newer(path, version) => write!(
                f,
                "{}: schema version {version}; this release knows {}",
                path.display(),
                schema::VERSION
            ),
            Self::Database(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

/// A write that was not taken, handed back.
#[derive(Debug)]
pub enum NotTaken {
    /// The queue is full; counted in [`Health::refused`].
    Full(Box<Write>),
    /// The writer is gone.
    Closed(Box<Write>),
}

/// How the store does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing can be written at the moment; `None` when all is well.
    pub failing: Option<String>,
    /// Writes handed back because the queue was full.
    pub refused: u64,
    /// Writes given up: no room left to keep them, or refused by the database.
    pub lost: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Writes committed.
    pub writes: u64,
    /// Conversations whose second outcome was ignored.
    pub second_outcomes: u64,
    /// The file was damaged at the start and salvaged.
    pub salvaged: bool,
}

/// What the writer and its users share.
#[derive(Debug, Default)]
struct Shared {
    failing: Mutex<Option<String>>,
    refused: AtomicU64,
    lost: AtomicU64,
    transactions: AtomicU64,
    writes: AtomicU64,
    second_outcomes: AtomicU64,
    salvaged: AtomicU64,
    pulse: Pulse,
    /// Rang when a row may have become ready to be sent.
    ready: Notify,
}

/// The handle of the writer; clones feed the same one.
#[derive(Clone, Debug)]
pub struct Store {
    /// Boxed: the queue's room is touched as it goes round, and stays touched.
    sender: SyncSender<Box<Write>>,
    urgent: Bell,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    path: PathBuf,
}

impl Store {
    /// Opens the file (made if absent), finishes what a crash left unfinished
    /// and starts the writer. `answer` is called on the writer thread and must
    /// not wait.
    ///
    /// A damaged file is renamed aside and what can be read is carried over;
    /// `Recovery::salvage` says so.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        path: &Path,
        options: &Options,
        answer: impl Fn(Answer) + Send + 'static,
    ) -> Result<(Self, Recovery), StoreError> {
        let lock = lock(path)?;
        let (rows, recovery) = recover::open(path, options)?;
        let urgent = Bell::new().map_err(|error| StoreError::Io(path.into(), error))?;
        let (sender, queue) = sync_channel(options.queue);
        let shared = Arc::new(Shared::default());
        shared
            .salvaged
            .store(recovery.salvage.is_some().into(), Ordering::Relaxed);
        let writer = writer::Writer::new(rows, path.into(), Arc::clone(&shared), Box::new(answer));
        let bell = urgent.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                writer.run(&queue, &bell);
                drop(lock);
            })
            .map_err(|error| StoreError::Io(path.into(), error))?;
        let store = Self {
            sender,
            urgent,
            shared,
            thread: Arc::new(Mutex::new(Some(thread))),
            path: path.into(),
        };
        Ok((store, recovery))
    }

    /// Hands a write over; does not wait.
    ///
    /// # Errors
    /// Full or closed: the write is handed back.
    pub fn write(&self, write: Write) -> Result<(), NotTaken> {
        let urgent = write.is_urgent();
        match self.sender.try_send(Box::new(write)) {
            Ok(()) if urgent => self.urgent.ring(),
            Ok(()) => {}
            Err(TrySendError::Full(write)) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                return Err(NotTaken::Full(write));
            }
            Err(TrySendError::Disconnected(write)) => {
                return Err(NotTaken::Closed(write));
            }
        }
        Ok(())
    }

    /// How the store does.
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        let failing = shared
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Health {
            failing: failing.clone(),
            refused: shared.refused.load(Ordering::Relaxed),
            lost: shared.lost.load(Ordering::Relaxed),
            transactions: shared.transactions.load(Ordering::Relaxed),
            writes: shared.writes.load(Ordering::Relaxed),
            second_outcomes: shared.second_outcomes.load(Ordering::Relaxed),
            salvaged: shared.salvaged.load(Ordering::Relaxed) > 0,
        }
    }

    /// Beats as long as the writer gets on.
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }

    /// Waits until a row may have become ready to be sent.
    pub async fn ready(&self) {
        self.shared.ready.notified().await;
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Commits what waits and ends the writer; waits for it.
    pub fn close(&self) {
        let mut close = Write::Close;
        loop {
            match self.write(close) {
                Ok(()) | Err(NotTaken::Closed(_)) => break,
                Err(NotTaken::Full(write)) => close = *write,
            }
            std::thread::sleep(CLOSE_RETRY);
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(message = "store_writer_panicked");
        }
    }
}

/// Wall time in ms since 1970.
fn wall_ms() -> u64 {
    u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX)
}

/// The file that is locked as long as a process has the store open.
pub fn lock_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// One process per file: two writers would fork the chain.
fn lock(path: &Path) -> Result<File, StoreError> {
    let name = lock_of(path);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| StoreError::Io(name, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(path.into())),
        Err(std::fs::TryLockError::Error(error)) => Err(StoreError::Io(path.into(), error)),
    }
}

#[cfg(test)]
mod tests;
