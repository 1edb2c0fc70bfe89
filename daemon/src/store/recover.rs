//! Opening a file that the last process may have left in any state: checked,
//! salvaged if damaged, and what a crash left unfinished brought to its end:
//! held rows released, exactly one outcome for every conversation.
//!
//! `Store::open` calls it before the writer starts.

use std::path::Path;
use std::time::Duration;

use offhook_core::input::{Cause, Event, LegEvent};
use offhook_core::output::{Outcome, STAYS_MAX, Stay};
use offhook_core::{ConversationId, LegId, Name, Record, Verdict};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::chain;
use super::reader::{self, What};
use super::rows::Rows;
use super::salvage::{self, Salvage};
use super::schema::{self, signed, unsigned};
use super::words::{Birth, Direction, Ended, Entry, EntryKind, Log};
use super::{Options, StoreError, wall_ms};

/// The caller's leg, or the one that we called.
const CALLER: LegId = LegId(0);

/// What the last process left behind.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Dialogs whose peers still believe in the call: send BYE, then write
    /// `DialogOver`, or they come back at the next start.
    pub dialogs: Vec<OpenDialog>,
    /// Conversations that were given the outcome `interrupted`.
    pub interrupted: Vec<ConversationId>,
    /// The file was damaged: what became of it. Raise an alarm.
    pub salvage: Option<Salvage>,
}

/// A dialog that was open when the process died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDialog {
    /// Whose.
    pub conversation: ConversationId,
    /// Which leg.
    pub leg: u8,
    /// As signalling wrote it.
    pub text: String,
}

/// Why a file cannot be used as it is.
enum Unfit {
    Damaged(String),
    Refused(StoreError),
}

/// Opens, checks, salvages, recovers.
///
/// # Errors
/// See [`StoreError`].
pub(super) fn open(path: &Path, options: &Options) -> Result<(Rows, Recovery), StoreError> {
    let (mut rows, salvage) = match examine(path, options) {
        Ok(rows) => (rows, None),
        Err(Unfit::Refused(error)) => return Err(error),
        Err(Unfit::Damaged(reason)) => {
            tracing::error!(message = "store_damaged", path = %path.display(), reason);
            let (rows, salvage) = salvage::salvage(path, options, &reason)?;
            (rows, Some(salvage))
        }
    };
    let failed = |error| StoreError::Database(path.into(), error);
    let interrupted = interrupt_all(&mut rows).map_err(failed)?;
    let recovery = Recovery {
        dialogs: dialogs(rows.db()).map_err(failed)?,
        interrupted,
        salvage,
    };
    Ok((rows, recovery))
}

/// Opens the file and convinces itself that it is whole: every page once, and
/// the chain from where the last start left it.
fn examine(path: &Path, options: &Options) -> Result<Rows, Unfit> {
    let unfit = |error| unfit(path, error);
    let db = schema::open(path, options.max_pages).map_err(unfit)?;
    let version = schema::version(&db).map_err(unfit)?;
    if version > schema::VERSION {
        return Err(Unfit::Refused(StoreError::Newer(path.into(), version)));
    }
    match damage(&db) {
        Ok(None) => {}
        Ok(Some(reason)) => {
            salvage::leave_as_it_is(&db);
            return Err(Unfit::Damaged(reason));
        }
        Err(error) => {
            salvage::leave_as_it_is(&db);
            return Err(unfit(error));
        }
    }
    Rows::new(db).map_err(unfit)
}

/// What is wrong with the file, if anything.
fn damage(db: &Connection) -> rusqlite::Result<Option<String>> {
    let check: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Ok(Some(check));
    }
    let verified = match chain::verify(db, chain::verified_head(db)?)? {
        Ok(verified) => verified.head,
        Err(fault) => return Ok(Some(fault.to_string())),
    };
    db.execute(
        "UPDATE chain SET verified_seq = ?1, verified_hash = ?2 WHERE id = 1",
        params![signed(verified.seq), verified.hash],
    )?;
    Ok(None)
}

/// Damage is what salvage can help; a missing directory or a full disk is not.
fn unfit(path: &Path, error: rusqlite::Error) -> Unfit {
    match error.sqlite_error_code() {
        // `Unknown` is SQLite's plain error: a table or column of ours is missing.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            Unfit::Damaged(error.to_string())
        }
        Some(_) => Unfit::Refused(StoreError::Database(path.into(), error)),
        // A column with a value of the wrong type or size.
        None => Unfit::Damaged(error.to_string()),
    }
}

/// Conversations brought to their end in one transaction.
const AT_ONCE: usize = 256;

/// Gives every conversation without an outcome the outcome `interrupted`.
fn interrupt_all(rows: &mut Rows) -> rusqlite::Result<Vec<ConversationId>> {
    let open: Vec<ConversationId> = rows
        .db()
        .prepare(
            "SELECT conversation FROM calls WHERE ended_ms IS NULL
             UNION SELECT conversation FROM outbox WHERE state = 1
             UNION SELECT conversation FROM dialogs d WHERE NOT EXISTS
             (SELECT 1 FROM outbox o WHERE o.conversation = d.conversation AND o.number = -1)",
        )?
        .query_map([], |row| Ok(ConversationId(unsigned(row.get(0)?))))?
        .collect::<rusqlite::Result<_>>()?;
    let alive_ms = last_commit_ms(rows.db())?;
    for some in open.chunks(AT_ONCE) {
        rows.atomically(wall_ms(), |rows, effects| {
            some.iter().try_for_each(|id| {
                let ended = interrupted(rows.db(), *id, alive_ms)?;
                // The peers have not been told yet: their dialogs stay.
                rows.ended(&ended, false, effects)
            })
        })?;
    }
    Ok(open)
}

/// When the last process is known to have lived: wall time, ms since 1970.
fn last_commit_ms(db: &Connection) -> rusqlite::Result<u64> {
    let newest = db
        .query_row(
            "SELECT wall_ms FROM audit ORDER BY seq DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(newest.map_or(0, unsigned))
}

/// The outcome of a conversation that nobody saw end, as far as its rows tell:
/// it lasted until the process was last known to live.
fn interrupted(
    db: &Connection,
    conversation: ConversationId,
    alive_ms: u64,
) -> rusqlite::Result<Ended> {
    let mut ended_ms = alive_ms;
    let mut lead = conversation.to_string();
    let mut outcome = Outcome::of(Cause::Interrupted, "interrupted");
    let mut trace = Trace::default();
    for item in reader::items(db, conversation)? {
        match item.what {
            What::Born(birth) => {
                ended_ms = ended_ms.max(birth.started_ms);
                trace.begin(&birth);
                let number = match birth.direction {
                    Direction::Inbound => birth.caller,
                    Direction::Outbound => birth.called,
                };
                if !number.is_empty() {
                    lead = number;
                }
            }
            What::Log(entries) => trace.read(&entries),
            What::Decision(record, _) => {
                match record.verdict {
                    Verdict::Authorised => outcome.authorised += 1,
                    Verdict::Refused => outcome.refused += 1,
                    Verdict::Asked | Verdict::Observed => {}
                }
                trace.decided(*record);
            }
            What::Action(_)
            | What::Released(_)
            | What::Withdrawn(_)
            | What::Answered(..)
            | What::Outcome(_)
            | What::Lead(_)
            | What::Forgotten
            | What::Unreadable => {}
        }
    }
    trace.tell(ended_ms, &mut outcome);
    Ok(Ended {
        conversation,
        lead,
        ended_ms,
        outcome,
        entries: Log::default(),
    })
}

/// What the rows say of a conversation's course.
#[derive(Default)]
struct Trace {
    started_ms: u64,
    born: Duration,
    steps: Vec<(Duration, Step)>,
}

/// One thing that an outcome tells of.
enum Step {
    Answered,
    Turn,
    BargeIn,
    /// The last one was none.
    BargeInRetracted,
    /// A decision was taken in this role and stage.
    Decided(Name, Name),
}

impl Trace {
    fn begin(&mut self, birth: &Birth) {
        self.started_ms = birth.started_ms;
        self.born = birth.born;
    }

    fn decided(&mut self, record: Record) {
        let step = Step::Decided(record.role, record.stage);
        self.steps.push((record.at, step));
    }

    fn read(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry.kind {
                EntryKind::Decision => {
                    if let Ok(record) = serde_json::from_str::<Record>(entry.body()) {
                        self.decided(record);
                    }
                }
                EntryKind::Input => {
                    if let Some(step) = heard(entry.body()) {
                        self.steps.push((Duration::from_micros(entry.at_us), step));
                    }
                }
                EntryKind::Note => {}
            }
        }
    }

    /// The course in its order; rows come in that of their commits.
    fn tell(mut self, ended_ms: u64, outcome: &mut Outcome) {
        let lasted = Duration::from_millis(ended_ms.saturating_sub(self.started_ms));
        let end = self.born + lasted;
        self.steps.sort_by_key(|(at, _)| *at);
        let mut answered = None;
        let mut since = self.born;
        for (at, step) in self.steps {
            match step {
                Step::Answered => {
                    answered.get_or_insert(at);
                }
                Step::Turn => {
                    outcome.turns += 1;
                    if let Some(stay) = outcome.stages.last_mut() {
                        stay.turns += 1;
                    }
                }
                Step::BargeIn => outcome.barge_ins += 1,
                Step::BargeInRetracted => {
                    outcome.barge_ins = outcome.barge_ins.saturating_sub(1);
                }
                Step::Decided(role, stage) => {
                    if role == outcome.role && stage == outcome.stage {
                        continue;
                    }
                    close(outcome, at.saturating_sub(since));
                    since = at;
                    (outcome.role, outcome.stage) = (role.into(), stage.into());
                    open_stay(outcome);
                }
            }
        }
        close(outcome, end.saturating_sub(since));
        outcome.talk = answered.map_or(Duration::ZERO, |at| end.saturating_sub(at));
    }
}

/// An outcome tells of the caller: whoever is consulted beside has turns of their own.
fn heard(body: &str) -> Option<Step> {
    let Event::Leg(CALLER, event) = serde_json::from_str(body).ok()? else {
        return None;
    };
    match event {
        LegEvent::Answered => Some(Step::Answered),
        LegEvent::TurnEnd { .. } => Some(Step::Turn),
        LegEvent::BargeIn { .. } => Some(Step::BargeIn),
        LegEvent::BargeInRetracted => Some(Step::BargeInRetracted),
        _ => None,
    }
}

/// A stay where the conversation now is. What was answered in it, and what it stands
/// for, is the playbook's to say, which may have changed since.
fn open_stay(outcome: &mut Outcome) {
    if outcome.stages.len() == STAYS_MAX {
        outcome.stages.remove(0);
    }
    outcome.stages.push(Stay {
        role: outcome.role.clone(),
        stage: outcome.stage.clone(),
        ms: 0,
        turns: 0,
        result: None,
        answers: Vec::new(),
    });
}

fn close(outcome: &mut Outcome, lasted: Duration) {
    if let Some(stay) = outcome.stages.last_mut() {
        stay.ms = lasted.as_millis().try_into().unwrap_or(u64::MAX);
    }
}

fn dialogs(db: &Connection) -> rusqlite::Result<Vec<OpenDialog>> {
    db.prepare("SELECT conversation, leg, text FROM dialogs ORDER BY conversation, leg")?
        .query_map([], |row| {
            Ok(OpenDialog {
                conversation: ConversationId(unsigned(row.get(0)?)),
                leg: row.get(1)?,
                text: row.get(2)?,
            })
        })?
        .collect()
}
