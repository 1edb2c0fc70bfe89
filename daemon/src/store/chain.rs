//! The hash chain over every audit row, in commit order.
//!
//! `digest = SHA-256(salt, payload)`, `hash = SHA-256(previous, seq,
//! conversation, wall_ms, kind, digest)`. The salt is random per conversation
//! and lives in its own table: deleting payloads and salt forgets a person
//! beyond guessing while every hash still follows from the one before.

use std::fmt;

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::schema::{signed, unsigned};

/// A SHA-256.
pub type Digest = [u8; 32];
/// What makes a payload unguessable from its digest.
pub type Salt = [u8; 16];

/// What an audit row records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A conversation began.
    Born,
    /// Lines of its log.
    Log,
    /// A decision on an external action.
    Decision,
    /// An authorised action.
    Action,
    /// A held action may go.
    Released,
    /// A held action never goes.
    Withdrawn,
    /// The conversation is over.
    Outcome,
    /// The receiver took or refused an action, or it was given up.
    Answered,
    /// A conversation was forgotten.
    Forgotten,
    /// The file was damaged; this one carries on.
    Salvaged,
    /// Something became known of a lead.
    Lead,
    /// A text that governs conversations: a policy, a playbook, actions.
    Text,
    /// People, or the box, decreed something: a policy, a limit, an override.
    Decree,
    /// A step in the work on an outbound list.
    Campaign,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Born,
        Self::Log,
        Self::Decision,
        Self::Action,
        Self::Released,
        Self::Withdrawn,
        Self::Outcome,
        Self::Answered,
        Self::Forgotten,
        Self::Salvaged,
        Self::Lead,
        Self::Text,
        Self::Decree,
        Self::Campaign,
    ];

    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Born => "born",
            Self::Log => "log",
            Self::Decision => "decision",
            Self::Action => "action",
            Self::Released => "released",
            Self::Withdrawn => "withdrawn",
            Self::Outcome => "outcome",
            Self::Answered => "answered",
            Self::Forgotten => "forgotten",
            Self::Salvaged => "salvaged",
            Self::Lead => "lead",
            Self::Text => "text",
            Self::Decree => "decree",
            Self::Campaign => "campaign",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// What a row adds to the chain.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Whose; 0 for rows of the box itself.
    pub conversation: u64,
    /// Its kind, by name.
    pub kind: &'a str,
    /// Wall time, ms since 1970.
    pub wall_ms: u64,
    /// Of salt and payload.
    pub digest: &'a Digest,
}

/// Where the chain stands: the last row's number and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Rows count from 1; a salvaged file may have gaps.
    pub seq: u64,
    /// All zero before the first.
    pub hash: Digest,
}

impl Head {
    /// The head after one more row, numbered `seq`.
    pub fn follow(&self, seq: u64, link: &Link<'_>) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(seq.to_le_bytes());
        hash.update(link.conversation.to_le_bytes());
        hash.update(link.wall_ms.to_le_bytes());
        hash.update((link.kind.len() as u64).to_le_bytes());
        hash.update(link.kind);
        hash.update(link.digest);
        Self {
            seq,
            hash: hash.finalize().into(),
        }
    }
}

/// What a payload weighs in the chain.
pub fn digest(salt: &Salt, payload: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(payload);
    hash.finalize().into()
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// A column does not hold what it must.
    Shape,
    /// The payload is not the one that was chained.
    Payload,
    /// The payload was removed without its salt, or the salt without the payload.
    HalfForgotten,
    /// The hash does not follow from the row before: a row was changed, removed
    /// or moved.
    Hash,
    /// The chain ends elsewhere than the file says: rows at the end are missing.
    End,
}

impl Wrong {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shape => "a column does not hold what it must",
            Self::Payload => "its content was changed",
            Self::HalfForgotten => "its content or its salt was removed without the other",
            Self::Hash => "its hash does not follow from the row before it",
            Self::End => "rows at the end of the chain are missing",
        }
    }
}

/// The first bad row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub seq: u64,
    /// What is wrong.
    pub wrong: Wrong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "audit row {}: {}", self.seq, self.wrong.name())
    }
}

/// A whole chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Rows walked.
    pub rows: u64,
    /// Rows among them whose content was forgotten.
    pub forgotten: u64,
    /// Where it ends.
    pub head: Head,
}

/// The head as the file states it.
///
/// # Errors
/// SQLite's.
pub(super) fn stated_head(db: &Connection) -> rusqlite::Result<Head> {
    head_from(db, "SELECT seq, hash FROM chain WHERE id = 1")
}

/// Up to where the chain was walked at an earlier start.
///
/// # Errors
/// SQLite's.
pub(super) fn verified_head(db: &Connection) -> rusqlite::Result<Head> {
    head_from(
        db,
        "SELECT verified_seq, verified_hash FROM chain WHERE id = 1",
    )
}

fn head_from(db: &Connection, sql: &str) -> rusqlite::Result<Head> {
    db.query_row(sql, [], |row| {
        Ok(Head {
            seq: unsigned(row.get(0)?),
            hash: row.get(1)?,
        })
    })
}

/// Walks the chain from after `from` to its end; the inner result names the
/// first bad row.
///
/// # Errors
/// SQLite's: the file cannot be read.
pub(super) fn verify(db: &Connection, from: Head) -> rusqlite::Result<Result<Verified, Fault>> {
    let mut statement = db.prepare(
        "SELECT a.seq, a.conversation, a.kind, a.wall_ms, a.payload, a.digest, a.hash, s.salt
         FROM audit a LEFT JOIN salts s ON s.conversation = a.conversation
         WHERE a.seq > ?1 ORDER BY a.seq",
    )?;
    let mut rows = statement.query([signed(from.seq)])?;
    let mut walked = Verified {
        rows: 0,
        forgotten: 0,
        head: from,
    };
    while let Some(row) = rows.next()? {
        let seq = unsigned(row.get(0)?);
        match step(&walked.head, seq, row) {
            Ok((head, forgotten)) => {
                walked.head = head;
                walked.rows += 1;
                walked.forgotten += u64::from(forgotten);
            }
            Err(wrong) => return Ok(Err(Fault { seq, wrong })),
        }
    }
    if stated_head(db)? == walked.head {
        return Ok(Ok(walked));
    }
    Ok(Err(Fault {
        seq: walked.head.seq,
        wrong: Wrong::End,
    }))
}

/// The head after this row, and whether its content was forgotten.
fn step(head: &Head, seq: u64, row: &rusqlite::Row<'_>) -> Result<(Head, bool), Wrong> {
    let stored: Digest = row.get(5).map_err(|_| Wrong::Shape)?;
    let kind: String = row.get(2).map_err(|_| Wrong::Shape)?;
    let payload: Option<Vec<u8>> = row.get(4).map_err(|_| Wrong::Shape)?;
    let salt: Option<Salt> = row.get(7).map_err(|_| Wrong::Shape)?;
    let next = head.follow(
        seq,
        &Link {
            conversation: unsigned(row.get(1).map_err(|_| Wrong::Shape)?),
            kind: &kind,
            wall_ms: unsigned(row.get(3).map_err(|_| Wrong::Shape)?),
            digest: &stored,
        },
    );
    match (&payload, &salt) {
        (None, None) => {}
        (Some(payload), Some(salt)) if digest(salt, payload) == stored => {}
        (Some(_), Some(_)) => return Err(Wrong::Payload),
        (Some(_), None) | (None, Some(_)) => return Err(Wrong::HalfForgotten),
    }
    let hash: Digest = row.get(6).map_err(|_| Wrong::Shape)?;
    if next.hash != hash || Kind::named(&kind).is_none() {
        return Err(Wrong::Hash);
    }
    Ok((next, payload.is_none()))
}
