//! A damaged file is never deleted: it is renamed aside and whatever can still
//! be read is chained anew into a fresh file. What cannot be trusted is not
//! sent: it becomes a dead letter for a person to look at.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params, params_from_iter};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::chain::{self, Digest, Kind, Link, Salt};
use super::reader::{self, What};
use super::rows::{OutcomeRow, Rows};
use super::schema::{self, OUTCOME_NUMBER, signed, state, unsigned};
use super::{Options, StoreError, wall_ms};

/// Gaps in a table that salvage jumps over before it gives the rest up.
const GAPS: u32 = 10_000;

/// Columns of `outbox`.
const OUTBOX_COLUMNS: usize = 14;

/// What became of a damaged file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Salvage {
    /// Where the damaged file is now.
    pub aside: PathBuf,
    /// Why it was given up.
    pub reason: String,
    /// Audit rows carried over.
    pub rows: u64,
    /// Rows among them whose content was changed or cannot be verified.
    pub damaged: u64,
    /// Places where rows could not be read at all.
    pub gaps: u64,
}

/// The wal stays as it was found: evidence, and a second chance.
pub(super) fn leave_as_it_is(db: &Connection) {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .ok();
}

/// Renames the file aside and carries over what can be read.
///
/// # Errors
/// The directory or the new file cannot be written.
pub(super) fn salvage(
    path: &Path,
    options: &Options,
    reason: &str,
) -> Result<(Rows, Salvage), StoreError> {
    let aside = set_aside(path)?;
    let failed = |error| StoreError::Database(path.into(), error);
    let db = schema::open(path, options.max_pages).map_err(failed)?;
    let mut rows = Rows::new(db).map_err(failed)?;
    let mut report = Salvage {
        aside,
        reason: reason.into(),
        rows: 0,
        damaged: 0,
        gaps: 0,
    };
    let old = Connection::open_with_flags(&report.aside, OpenFlags::SQLITE_OPEN_READ_WRITE);
    rows.atomically(wall_ms(), |rows, _| {
        if let Ok(old) = &old {
            leave_as_it_is(old);
            carry_over(old, rows, &mut report)?;
        }
        rows.append(0, Kind::Salvaged, &report).map(drop)
    })
    .map_err(failed)?;
    Ok((rows, report))
}

/// `<path>.damaged-<ms>`, with the files that SQLite keeps beside it.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let end = format!(".damaged-{}", wall_ms());
    let aside = with(&end);
    for part in ["-wal", "-shm", ""] {
        let from = with(part);
        if from.exists() {
            let to = with(&format!("{end}{part}"));
            std::fs::rename(&from, to).map_err(|error| StoreError::Io(from, error))?;
        }
    }
    Ok(aside)
}

fn carry_over(old: &Connection, rows: &mut Rows, report: &mut Salvage) -> rusqlite::Result<()> {
    let gaps = &mut report.gaps;
    *gaps += copy(old, "salts", "conversation", 2, rows.db())?;
    let mut damaged = 0;
    let mut count = 0;
    let mut result = Ok(());
    *gaps += scan(old, "audit", "seq", &mut |row| {
        if let (Ok(()), Ok(row)) = (&result, AuditRow::read(row)) {
            count += 1;
            result = carry_row(rows, row).map(|sound| damaged += u64::from(!sound));
        }
    });
    result?;
    report.rows = count;
    report.damaged = damaged;
    *gaps += overlay_outbox(old, rows.db())?;
    *gaps += copy(old, "dialogs", "conversation", 3, rows.db())?;
    rows.db().execute_batch(
        "UPDATE outbox SET first = seq IN
         (SELECT min(seq) FROM outbox WHERE state <= 1 GROUP BY lead);
         UPDATE chain SET delivered = (SELECT count(*) FROM outbox WHERE state = 3);",
    )
}

struct AuditRow {
    seq: u64,
    conversation: u64,
    kind: String,
    wall_ms: u64,
    payload: Option<Vec<u8>>,
    digest: Digest,
}

impl AuditRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: unsigned(row.get("seq")?),
            conversation: unsigned(row.get("conversation")?),
            kind: row.get("kind")?,
            wall_ms: unsigned(row.get("wall_ms")?),
            payload: row.get("payload")?,
            digest: row.get("digest")?,
        })
    }
}

/// Chains a row of the old file again; false when its content is not what was chained.
fn carry_row(rows: &mut Rows, mut row: AuditRow) -> rusqlite::Result<bool> {
    let known: Option<Option<Salt>> = rows
        .db()
        .prepare_cached("SELECT salt FROM salts WHERE conversation = ?1")?
        .query_row([signed(row.conversation)], |row| row.get(0))
        .optional()?;
    let kind = Kind::named(&row.kind);
    let sound = match (&row.payload, known) {
        (None, Some(None)) => true,
        (Some(payload), Some(Some(salt))) => {
            kind.is_some() && chain::digest(&salt, payload) == row.digest
        }
        _ => false,
    };
    if !sound {
        let salt = rows.salt(row.conversation)?;
        // Without its salt a payload is kept, but nobody can vouch for it.
        let readable = known.is_none() && kind.is_some();
        let marker = br#"{"damaged":true}"#.to_vec();
        let payload = row.payload.take().filter(|_| readable).unwrap_or(marker);
        row.payload = salt.map(|salt| {
            row.digest = chain::digest(&salt, &payload);
            payload
        });
    }
    let kind = kind.unwrap_or(Kind::Salvaged);
    let link = Link {
        conversation: row.conversation,
        kind: kind.name(),
        wall_ms: row.wall_ms,
        digest: &row.digest,
    };
    rows.link(row.seq, &link, row.payload.as_deref())?;
    rebuild(rows, &row, kind, sound)?;
    Ok(sound)
}

/// What the row means for the tables beside the chain.
fn rebuild(rows: &mut Rows, row: &AuditRow, kind: Kind, sound: bool) -> rusqlite::Result<()> {
    let conversation = offhook_core::ConversationId(row.conversation);
    let Some(payload) = &row.payload else {
        return Ok(());
    };
    let Ok(what) = reader::what(conversation, kind, payload) else {
        return Ok(());
    };
    let db = rows.db();
    match what {
        What::Born(birth) => rows.list(&birth),
        What::Action(action) => {
            let at = if action.held {
                state::HELD
            } else {
                state::PENDING
            };
            let at = if sound { at } else { state::DEAD };
            let (number, lead) = (i64::from(action.id.number), &action.lead);
            rows.enqueue(
                row.seq,
                row.conversation,
                number,
                lead,
                &action.kind,
                &action.dedupe,
                at,
            )
        }
        What::Released(action) => set_state(db, state::HELD, state::PENDING, action),
        What::Withdrawn(action) => {
            set_state(db, state::HELD, state::WITHDRAWN, action)?;
            // A step behind one that failed.
            set_state(db, state::PENDING, state::WITHDRAWN, action)
        }
        What::Answered(action, refused) => {
            let to = if refused.is_some() {
                state::DEAD
            } else {
                state::DELIVERED
            };
            set_state(db, state::PENDING, to, action)
        }
        What::Outcome(outcome) => {
            let Ok(of) =
                serde_json::from_slice::<OutcomeRow<String, IgnoredAny, IgnoredAny>>(payload)
            else {
                return Ok(());
            };
            let at = if sound { state::PENDING } else { state::DEAD };
            let number = OUTCOME_NUMBER;
            rows.enqueue(
                row.seq,
                row.conversation,
                number,
                &of.lead,
                "outcome",
                "",
                at,
            )?;
            // Rows of an earlier release do not say when.
            let ended_ms = if of.ended_ms > 0 {
                of.ended_ms
            } else {
                row.wall_ms
            };
            rows.list_end(conversation, ended_ms, &outcome)
        }
        What::Log(_) | What::Decision(..) | What::Lead(_) | What::Forgotten | What::Unreadable => {
            Ok(())
        }
    }
}

fn set_state(
    db: &Connection,
    from: i64,
    to: i64,
    action: offhook_core::ActionId,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE outbox SET state = ?4 WHERE conversation = ?1 AND number = ?2 AND state = ?3",
    )?
    .execute(params![
        signed(action.conversation.0),
        action.number,
        from,
        to
    ])
    .map(drop)
}

/// Where the old outbox can be read it knows more than the chain: attempts, and
/// outcomes that were delivered. An open row whose content is lost or cannot be
/// trusted is a dead letter.
fn overlay_outbox(old: &Connection, db: &Connection) -> rusqlite::Result<u64> {
    let mut upsert = db.prepare(
        "INSERT INTO outbox VALUES(?1, ?2, ?3, ?4, ?5, ?6, iif(?7 <= 1, 4, ?7), 0, ?9, ?10, ?11, 0,
         ?13, iif(?7 <= 1, 'its content was damaged on disk', ?14))
         ON CONFLICT(seq) DO UPDATE SET state = ?7, attempts = ?10, strikes = ?11, done_ms = ?13,
         last_error = ?14 WHERE state <> 4",
    )?;
    let mut result = Ok(());
    let gaps = scan(old, "outbox", "seq", &mut |row| {
        let values: rusqlite::Result<Vec<Value>> =
            (0..OUTBOX_COLUMNS).map(|n| row.get(n)).collect();
        if let (Ok(()), Ok(values)) = (&result, values) {
            result = upsert.execute(params_from_iter(values)).map(drop);
        }
    });
    result.map(|()| gaps)
}

/// Copies a table as it is; the number of gaps.
fn copy(
    old: &Connection,
    table: &str,
    key: &str,
    columns: usize,
    db: &Connection,
) -> rusqlite::Result<u64> {
    let places = vec!["?"; columns].join(", ");
    let mut insert = db.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES({places})"))?;
    let gaps = scan(old, table, key, &mut |row| {
        let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|n| row.get(n)).collect();
        if let Ok(values) = values {
            // A row that does not fit its table is damage like any other.
            insert.execute(params_from_iter(values)).ok();
        }
    });
    Ok(gaps)
}

/// Calls `each` with every row that can be read, in the order of `key`; the
/// number of places where some could not.
fn scan(old: &Connection, table: &str, key: &str, each: &mut dyn FnMut(&Row<'_>)) -> u64 {
    let mut next = i64::MIN;
    for gaps in 0..u64::from(GAPS) {
        match scan_from(old, table, key, next, each) {
            Ok(()) => return gaps,
            Err(reached) => match beyond(old, table, key, reached) {
                Some(readable) => next = readable,
                None => return gaps + 1,
            },
        }
    }
    u64::from(GAPS)
}

/// Rows from `from` on; where it had to stop: the first key not tried.
fn scan_from(
    old: &Connection,
    table: &str,
    key: &str,
    from: i64,
    each: &mut dyn FnMut(&Row<'_>),
) -> Result<(), i64> {
    let mut reached = from;
    let mut walk = || -> rusqlite::Result<()> {
        let sql = format!("SELECT * FROM {table} NOT INDEXED WHERE {key} >= ?1 ORDER BY {key}");
        let mut statement = old.prepare(&sql)?;
        let mut rows = statement.query([from])?;
        while let Some(row) = rows.next()? {
            reached = row.get::<_, i64>(key)?.saturating_add(1);
            each(row);
        }
        Ok(())
    };
    walk().map_err(|_| reached)
}

/// The nearest key after `from` that can be read: doubling strides, then halving.
fn beyond(old: &Connection, table: &str, key: &str, from: i64) -> Option<i64> {
    let sql =
        format!("SELECT {key} FROM {table} NOT INDEXED WHERE {key} >= ?1 ORDER BY {key} LIMIT 1");
    let mut statement = old.prepare(&sql).ok()?;
    let mut read = |at: i64| -> Result<Option<i64>, rusqlite::Error> {
        statement.query_row([at], |row| row.get(0)).optional()
    };
    let from = from.max(-1);
    let mut bad = from;
    let mut stride = 1_i64;
    let mut good = loop {
        let at = from.checked_add(stride)?;
        match read(at) {
            Ok(found) => break found.map(|_| at)?,
            Err(_) => {
                bad = at;
                stride = stride.checked_mul(2)?;
            }
        }
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        match read(middle) {
            Ok(_) => good = middle,
            Err(_) => bad = middle,
        }
    }
    Some(good)
}
