//! Where the parts of the ear write down what they heard.
//!
//! It numbers the events of one ear and never blocks: what does not fit into
//! the caller's list is counted, and its number is missing from the sequence.

use crate::event::{Event, EventKind, Events};

/// The list of one frame.
pub(crate) struct Report<'a> {
    pub(crate) at: u64,
    pub(crate) next_seq: &'a mut u32,
    pub(crate) dropped: &'a mut u32,
    pub(crate) out: &'a mut Events,
}

impl Report<'_> {
    pub(crate) fn push(&mut self, kind: EventKind) {
        let event = Event {
            at: self.at,
            seq: *self.next_seq,
            kind,
        };
        *self.next_seq = self.next_seq.wrapping_add(1);
        if self.out.push(event).is_err() {
            *self.dropped = self.dropped.saturating_add(1);
        }
    }
}
