//! The decision thread's side of the store: writes go out in order, and none
//! is dropped because the queue is full for a moment.

use std::collections::VecDeque;
use std::time::Duration;

use crate::store::{NotTaken, Store, Write};

/// Writes kept back at most while the store's queue is full: at a few hundred
/// bytes each some 30 MB. Beyond it a write is lost, counted and logged.
const WAITING_MAX: usize = 65_536;

/// A full queue is looked at again after this long at the end.
const ROOM_AGAIN: Duration = Duration::from_millis(5);

/// Hands writes to the store.
pub struct Keeper {
    store: Store,
    waiting: VecDeque<Write>,
    lost: u64,
    /// The writer is gone.
    closed: bool,
}

impl Keeper {
    /// Writes to this store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            waiting: VecDeque::new(),
            lost: 0,
            closed: false,
        }
    }

    /// The store itself.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps something, after all that was to be kept before it.
    pub fn keep(&mut self, write: Write) {
        if self.waiting.len() >= WAITING_MAX {
            self.lost += 1;
            tracing::error!(message = "store_write_lost", lost = self.lost);
            return;
        }
        self.waiting.push_back(write);
        self.push();
    }

    /// Keeps something that somebody waits for; says at once when it cannot be taken.
    pub fn keep_now(&mut self, write: Write) -> Result<(), Refused> {
        self.push();
        if !self.waiting.is_empty() {
            return Err(Refused);
        }
        self.store.write(write).map_err(|_| Refused)
    }

    /// The store has had no room for what waits.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands over all that waits, waiting for room. For the end, when nothing
    /// else is to be decided; whoever opened the store closes it.
    pub fn finish(&mut self) {
        while !self.waiting.is_empty() && !self.closed {
            self.push();
            std::thread::sleep(ROOM_AGAIN);
        }
    }

    /// Hands over what waits, as far as there is room.
    pub fn push(&mut self) {
        while let Some(write) = self.waiting.pop_front() {
            match self.store.write(write) {
                Ok(()) => {}
                Err(NotTaken::Full(write)) => {
                    self.waiting.push_front(*write);
                    return;
                }
                Err(NotTaken::Closed(write)) => {
                    self.closed = true;
                    self.waiting.push_front(*write);
                    return;
                }
            }
        }
    }
}

/// The store takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;
