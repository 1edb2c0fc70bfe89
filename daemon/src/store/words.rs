//! What the store is told and what it answers. Plain values, no behaviour but
//! their own making; the decision thread and the forwarder build them.

use std::time::Duration;

use offhook_core::input::Fact;
use offhook_core::output::{OutboxRow, Outcome};
use offhook_core::{ActionId, ConversationId, Record, Seq};
use serde::ser::{Error, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::chain::Kind;
use crate::campaigns::CampaignPage;
use crate::leads::{Page, Remains};

/// Who began the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// They called us.
    Inbound,
    /// We called them.
    Outbound,
}

impl Direction {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// A conversation began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Which.
    pub conversation: ConversationId,
    /// Who began it.
    pub direction: Direction,
    /// By which trunk.
    pub trunk: String,
    /// The caller's number as given; empty when anonymous.
    pub caller: String,
    /// Whom they wanted.
    pub called: String,
    /// Playbook, or the test destination.
    pub playbook: String,
    /// Wall time, ms since 1970.
    pub started_ms: u64,
    /// Time since daemon start at the INVITE: what the log's times count from.
    pub born: Duration,
}

/// What a log entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// An input of the core; all of them in order replay the conversation.
    Input,
    /// Something worth a line in the timeline that the core does not see.
    Note,
    /// A decision about a local action.
    Decision,
}

impl EntryKind {
    /// The name in the file.
    const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Note => "note",
            Self::Decision => "decision",
        }
    }
}

/// One line of a conversation's log, as it is read back.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Counts the lines of the conversation.
    pub n: u32,
    /// When it happened, µs since daemon start.
    #[serde(rename = "at")]
    pub at_us: u64,
    /// When it was handled, µs since daemon start.
    #[serde(rename = "now")]
    pub now_us: u64,
    /// What it is.
    pub kind: EntryKind,
    body: Box<RawValue>,
}

impl Entry {
    /// The body, JSON.
    pub fn body(&self) -> &str {
        self.body.get()
    }
}

/// Octets that the log of most calls does not outgrow between two flushes.
const LOG_ROOM: usize = 1024;

/// Lines of a conversation's log on their way to the file: what [`Entry`] reads, in
/// one piece, since a call has some twenty of them.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// A JSON array without its last bracket; empty without lines.
    text: Vec<u8>,
}

impl Log {
    /// Adds a line: what happened `at`, was handled `now` (both since daemon start) and
    /// has `body` as its particulars. `n` counts the lines of the conversation.
    ///
    /// # Errors
    /// `body` has no JSON form (a map with keys that are not strings); nothing is added.
    pub fn push(
        &mut self,
        n: u32,
        at: Duration,
        now: Duration,
        kind: EntryKind,
        body: &impl Serialize,
    ) -> Result<(), serde_json::Error> {
        let before = self.text.len();
        self.text.reserve(if before == 0 { LOG_ROOM } else { 1 });
        self.text.push(if before == 0 { b'[' } else { b',' });
        // The same in every line: written by hand, at a tenth of the cost.
        let mut digits = itoa::Buffer::new();
        let numbers = [n.into(), micros(at), micros(now)];
        for (name, number) in ["{\"n\":", ",\"at\":", ",\"now\":"].iter().zip(numbers) {
            self.add(name);
            self.add(digits.format(number));
        }
        for part in [",\"kind\":\"", kind.name(), "\",\"body\":"] {
            self.add(part);
        }
        let written = serde_json::to_writer(&mut self.text, body);
        match written {
            Ok(()) => self.text.push(b'}'),
            Err(_) => self.text.truncate(before),
        }
        written
    }

    fn add(&mut self, part: &str) {
        self.text.extend_from_slice(part.as_bytes());
    }

    /// No line was added.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl Serialize for Log {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(self.text.len() + 2);
        text.extend_from_slice(if self.is_empty() { b"[" } else { &self.text });
        text.push(b']');
        let text = String::from_utf8(text).map_err(S::Error::custom)?;
        // SAFETY: an array of what serde_json wrote, whole lines with commas between.
        unsafe { RawValue::from_string_unchecked(text) }.serialize(serializer)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Authorised actions and all that led to them: kept together or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Whose.
    pub conversation: ConversationId,
    /// Comes back in [`Answer`].
    pub seq: Seq,
    /// The log up to the deciding input, as far as it was not flushed before.
    pub entries: Log,
    /// The decision.
    pub record: Record,
    /// The actions.
    pub rows: Vec<OutboxRow>,
    /// The facts it was taken on.
    pub facts: Vec<Fact>,
    /// What it means for the book of the lead.
    pub pages: Vec<Page>,
}

/// A conversation is over.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub conversation: ConversationId,
    /// In whose order the outcome is delivered, where no action says so: the
    /// lead's number, or the conversation when unknown.
    pub lead: String,
    /// When, wall time, ms since 1970.
    pub ended_ms: u64,
    /// How.
    pub outcome: Outcome,
    /// The rest of the log.
    pub entries: Log,
}

/// What becomes of a row after an attempt to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The receiver has it.
    Delivered,
    /// Try again.
    Retry {
        /// Not before this wall time, ms since 1970.
        next_ms: u64,
        /// Counts towards giving up.
        strike: bool,
        /// Why it failed.
        error: String,
    },
    /// Given up, or refused by the receiver: an operator has to look.
    Dead {
        /// Why.
        error: String,
        /// The receiver refused it: it took no effect there.
        refused: bool,
    },
}

/// The forwarder's word on one row.
#[derive(Debug)]
pub struct Mark {
    /// The row.
    pub seq: u64,
    /// What becomes of it.
    pub progress: Progress,
    /// Told when it is durable.
    pub kept: oneshot::Sender<()>,
}

/// What came of a wish to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Payloads and salt are gone; the chain is whole.
    Done,
    /// Not now: this many of its actions are still on their way, or it is not over.
    Open(u64),
    /// The database could not.
    Failed,
}

/// Leads to be forgotten, with all their conversations.
#[derive(Debug)]
pub struct ForgetLead {
    /// What is to be deleted, and what stays.
    pub remains: Remains,
    /// Told what came of it; its conversations are all forgotten, or none is.
    pub done: oneshot::Sender<Forgotten>,
}

/// Something to be kept.
#[derive(Debug)]
pub enum Write {
    /// A conversation began.
    Born {
        /// What is known of it.
        birth: Birth,
        /// The beginning of its log: one row instead of two for every call.
        entries: Log,
    },
    /// A dialog was established; `text` is what it takes to end it after a crash.
    Dialog {
        /// Whose.
        conversation: ConversationId,
        /// Which leg.
        leg: u8,
        /// As signalling wrote it.
        text: String,
    },
    /// A dialog is over.
    DialogOver {
        /// Whose.
        conversation: ConversationId,
        /// Which leg.
        leg: u8,
    },
    /// Lines of the log.
    Log {
        /// Whose.
        conversation: ConversationId,
        /// In order.
        entries: Log,
    },
    /// Authorised actions.
    Commit(Box<Commit>),
    /// A decision on an external action that sends nothing: a refusal.
    Decision {
        /// Whose.
        conversation: ConversationId,
        /// The decision.
        record: Box<Record>,
        /// The facts it was taken on.
        facts: Vec<Fact>,
        /// The log up to the deciding input.
        entries: Log,
    },
    /// A held action may go.
    Release(ActionId),
    /// A held action never goes.
    Withdraw(ActionId),
    /// A conversation is over.
    Outcome(Box<Ended>),
    /// The forwarder's word on one row.
    Mark(Mark),
    /// The receiver is back: whatever waits for a later attempt is due now.
    Hasten,
    /// Delete what was said and who said it.
    Forget {
        /// Whose.
        conversation: ConversationId,
        /// Told what came of it.
        done: oneshot::Sender<Forgotten>,
    },
    /// Pages of the books of leads.
    Leads {
        /// In order.
        pages: Vec<Page>,
        /// Told when they are durable, where somebody waits.
        kept: Option<oneshot::Sender<()>>,
    },
    /// A page of the book of a campaign.
    Campaign {
        /// Which.
        id: u64,
        /// What it says.
        page: CampaignPage,
        /// Comes back in [`Answer`], where a dial waits for it.
        seq: Option<Seq>,
    },
    /// Delete all that is known of a person.
    ForgetLead(Box<ForgetLead>),
    /// A row of the box itself: a text that governs, or a decree.
    Box {
        /// `Text` or `Decree`.
        kind: Kind,
        /// What it says.
        body: Box<RawValue>,
    },
    /// Commit what waits and end.
    Close,
}

impl Write {
    /// The conversation whose dialog it keeps.
    pub(super) const fn dialog_of(&self) -> Option<ConversationId> {
        match self {
            Self::Dialog { conversation, .. } => Some(*conversation),
            _ => None,
        }
    }

    /// The conversation that it ends.
    pub(super) fn ends(&self) -> Option<ConversationId> {
        match self {
            Self::Outcome(ended) => Some(ended.conversation),
            _ => None,
        }
    }

    /// Somebody waits for it: it does not linger for company.
    pub(super) const fn is_urgent(&self) -> bool {
        match self {
            Self::Commit(_) | Self::Forget { .. } | Self::ForgetLead(_) | Self::Close => true,
            Self::Leads { kept, .. } => kept.is_some(),
            Self::Campaign { seq, .. } => seq.is_some(),
            Self::Born { .. }
            | Self::Dialog { .. }
            | Self::DialogOver { .. }
            | Self::Log { .. }
            | Self::Decision { .. }
            | Self::Release(_)
            | Self::Withdraw(_)
            | Self::Outcome(_)
            | Self::Mark(_)
            | Self::Hasten
            | Self::Box { .. } => false,
        }
    }
}

/// The answer to a [`Commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub conversation: ConversationId,
    /// Which request.
    pub seq: Seq,
    /// It is on disk; or it could not be kept and never will be.
    pub durable: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Entry, EntryKind, Log};

    fn read(log: &Log) -> Vec<Entry> {
        let text = serde_json::to_string(log).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn lines_are_read_back_as_they_were_added() {
        let mut log = Log::default();
        assert!(log.is_empty());
        assert!(read(&log).is_empty());
        let (at, now) = (Duration::from_millis(7), Duration::from_micros(7_040));
        log.push(3, at, now, EntryKind::Note, &"a \"word\"")
            .unwrap();
        // Keys that are no strings have no JSON form, and leave nothing behind.
        let odd = BTreeMap::from([((1, 2), 3)]);
        assert!(log.push(4, at, now, EntryKind::Note, &odd).is_err());
        log.push(5, now, now, EntryKind::Input, &[1, 2]).unwrap();
        let lines = read(&log);
        let told = |line: &Entry| (line.n, line.at_us, line.now_us, line.body().to_owned());
        assert_eq!(told(&lines[0]), (3, 7_000, 7_040, r#""a \"word\"""#.into()));
        assert_eq!(told(&lines[1]), (5, 7_040, 7_040, "[1,2]".into()));
        assert_eq!((lines.len(), lines[1].kind), (2, EntryKind::Input));
    }
}
