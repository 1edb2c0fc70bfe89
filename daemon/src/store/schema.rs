//! The tables, their version, and how a connection is set up. No rows are
//! written here; `recover` and `reader` call it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// `PRAGMA user_version` of this release.
pub(super) const VERSION: i64 = 1;
/// "OHK1" as `PRAGMA application_id`, so that `file` and we can tell the file is ours.
const APPLICATION_ID: i64 = 0x4f48_4b31;
/// A reader waits this long for a checkpoint to let go.
const BUSY: Duration = Duration::from_secs(2);

/// State of an outbox row, as stored. `<= HELD` means open: it still blocks its lead.
pub(super) mod state {
    pub(in crate::store) const PENDING: i64 = 0;
    pub(in crate::store) const HELD: i64 = 1;
    pub(in crate::store) const WITHDRAWN: i64 = 2;
    pub(in crate::store) const DELIVERED: i64 = 3;
    pub(in crate::store) const DEAD: i64 = 4;
}

/// `outbox.number` of the outcome: actions count from 0.
pub(super) const OUTCOME_NUMBER: i64 = -1;

/// `outbox.first`: the oldest open row of its lead; only these may be sent, so
/// order is kept within a lead and no lead waits for another. `calls` is an
/// index over `audit`, kept for listing; the chained rows are the truth. A salt
/// of NULL says that the conversation was forgotten.
const TABLES: &str = "
CREATE TABLE audit(
  seq INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, kind TEXT NOT NULL, wall_ms INTEGER NOT NULL,
  payload BLOB, digest BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE INDEX audit_of_conversation ON audit(conversation);
CREATE TABLE salts(conversation INTEGER PRIMARY KEY, salt BLOB) STRICT;
CREATE TABLE chain(
  id INTEGER PRIMARY KEY CHECK(id = 1), seq INTEGER NOT NULL, hash BLOB NOT NULL,
  verified_seq INTEGER NOT NULL, verified_hash BLOB NOT NULL, delivered INTEGER NOT NULL) STRICT;
INSERT INTO chain VALUES(1, 0, zeroblob(32), 0, zeroblob(32), 0);
CREATE TABLE calls(
  conversation INTEGER PRIMARY KEY, direction TEXT NOT NULL, trunk TEXT NOT NULL, caller TEXT NOT NULL,
  called TEXT NOT NULL, playbook TEXT NOT NULL, started_ms INTEGER NOT NULL, born_us INTEGER NOT NULL,
  ended_ms INTEGER, cause TEXT, result TEXT) STRICT;
CREATE TABLE dialogs(
  conversation INTEGER NOT NULL, leg INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY(conversation, leg)) STRICT, WITHOUT ROWID;
CREATE TABLE outbox(
  seq INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, number INTEGER NOT NULL, lead TEXT NOT NULL,
  kind TEXT NOT NULL, dedupe TEXT NOT NULL, state INTEGER NOT NULL, first INTEGER NOT NULL,
  created_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, strikes INTEGER NOT NULL DEFAULT 0,
  next_ms INTEGER NOT NULL DEFAULT 0, done_ms INTEGER, last_error TEXT) STRICT;
CREATE UNIQUE INDEX outbox_of_conversation ON outbox(conversation, number);
CREATE INDEX outbox_open ON outbox(lead, seq) WHERE state <= 1;
CREATE INDEX outbox_due ON outbox(next_ms, seq) WHERE state = 0 AND first = 1;
CREATE INDEX outbox_odd ON outbox(state) WHERE state IN (2, 4);
";

/// Opens for writing; makes the tables in a new file.
///
/// # Errors
/// SQLite's; `SQLITE_NOTADB` or `SQLITE_CORRUPT` for a damaged file.
pub(super) fn open(path: &Path, max_pages: Option<u32>) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    // A checkpoint every 16 MB: pages that change often are copied less often.
    // auto_vacuum must come first: after journal_mode=WAL it is ignored.
    db.execute_batch(
        "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
         PRAGMA journal_size_limit=16777216; PRAGMA wal_autocheckpoint=4000;
         PRAGMA cache_size=-4096; PRAGMA temp_store=MEMORY;
         PRAGMA foreign_keys=OFF;",
    )?;
    if version(&db)? == 0 {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id={APPLICATION_ID};
             PRAGMA user_version={VERSION}; COMMIT;"
        ))?;
    }
    if version(&db)? == VERSION {
        // Added since; an older release does not mind an index.
        db.execute_batch(
            "CREATE INDEX IF NOT EXISTS audit_of_leads ON audit(seq) WHERE kind = 'lead';
             CREATE INDEX IF NOT EXISTS audit_of_campaigns ON audit(seq) WHERE kind = 'campaign';",
        )?;
    }
    if let Some(pages) = max_pages {
        db.execute_batch(&format!("PRAGMA max_page_count={pages};"))?;
    }
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Opens for reading beside the writer.
///
/// # Errors
/// SQLite's.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// The schema version of the file; 0 when it has none yet.
///
/// # Errors
/// SQLite's.
pub(super) fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Integers in SQLite are signed; ids and sequence numbers are not.
pub(super) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// And back.
pub(super) const fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}
