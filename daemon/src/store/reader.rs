//! Reads beside the writer: calls, timelines, decisions, the outbox, and
//! whether the chain is whole. For the command line, the control socket and the
//! forwarder; it writes nothing and waits for nobody but the disk.

use std::fmt;
use std::path::Path;

use offhook_core::input::Fact;
use offhook_core::output::{OutboxRow, Outcome, UNDO};
use offhook_core::{ActionId, ConversationId, LeadId, Record};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::chain::{self, Digest, Fault, Head, Kind, Salt, Verified};
use super::rows::{Answered, Decided, OutcomeRow};
use super::schema::{self, OUTCOME_NUMBER, signed, state, unsigned};
use super::words::{Birth, Direction, Entry, EntryKind};
use crate::campaigns::CampaignPage;
use crate::leads::{Chapter, Page};

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
}

/// One line of the list of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub conversation: ConversationId,
    /// Who began it.
    pub direction: Direction,
    /// By which trunk.
    pub trunk: String,
    /// The caller's number; empty when anonymous or forgotten.
    pub caller: String,
    /// Whom they wanted; empty when forgotten.
    pub called: String,
    /// Playbook, or the test destination.
    pub playbook: String,
    /// Wall time, ms since 1970.
    pub started_ms: u64,
    /// µs since daemon start at the INVITE: what the log's times count from.
    pub born_us: u64,
    /// Wall time, ms since 1970; `None` while it lasts.
    pub ended_ms: Option<u64>,
    /// Public name of the cause, once over.
    pub cause: Option<String>,
    /// What it reached, once over.
    pub result: Option<String>,
}

/// One row of a conversation, in commit order.
#[derive(Clone, Debug)]
pub struct Item {
    /// Number in the chain.
    pub seq: u64,
    /// Wall time of its commit, ms since 1970.
    pub wall_ms: u64,
    /// What it says.
    pub what: What,
}

/// What a row says.
#[derive(Clone, Debug)]
pub enum What {
    /// The conversation began.
    Born(Birth),
    /// Lines of its log.
    Log(Vec<Entry>),
    /// A decision on an external action, and the facts it was taken on.
    Decision(Box<Record>, Vec<Fact>),
    /// An authorised action.
    Action(OutboxRow),
    /// A held action may go.
    Released(ActionId),
    /// A held action never goes.
    Withdrawn(ActionId),
    /// The receiver took an action (`None`), or why it did not for good.
    Answered(ActionId, Option<String>),
    /// The conversation is over.
    Outcome(Outcome),
    /// Something became known of a lead.
    Lead(Chapter),
    /// Its content was forgotten.
    Forgotten,
    /// Its content cannot be read: damaged, or by a newer release.
    Unreadable,
}

/// State of an outbox row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// To be sent.
    Pending,
    /// Waits for its release.
    Held,
    /// Denied before its release: never sent.
    Withdrawn,
    /// The receiver has it.
    Delivered,
    /// Given up or refused: an operator has to look.
    Dead,
}

impl RowState {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Withdrawn => "withdrawn",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    const fn code(self) -> i64 {
        match self {
            Self::Pending => state::PENDING,
            Self::Held => state::HELD,
            Self::Withdrawn => state::WITHDRAWN,
            Self::Delivered => state::DELIVERED,
            Self::Dead => state::DEAD,
        }
    }

    fn from_code(code: i64) -> rusqlite::Result<Self> {
        [
            Self::Pending,
            Self::Held,
            Self::Withdrawn,
            Self::Delivered,
            Self::Dead,
        ]
        .into_iter()
        .find(|state| state.code() == code)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, code))
    }
}

/// One row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutboxLine {
    /// Number in the chain: the order of commit.
    pub seq: u64,
    /// The id upstream sees: `<conversation>-<number>` or `<conversation>-outcome`.
    pub id: String,
    /// In whose order it is delivered.
    pub lead: String,
    /// Action type, or `outcome`.
    pub kind: String,
    /// Where it stands.
    pub state: RowState,
    /// Attempts so far.
    pub attempts: u32,
    /// Not before this wall time, ms since 1970.
    pub next_ms: u64,
    /// When it was committed, ms since 1970.
    pub created_ms: u64,
    /// When it was delivered, withdrawn or given up.
    pub done_ms: Option<u64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// It undoes an action that took effect.
    pub undoes: bool,
}

/// How many rows stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// To be sent.
    pub pending: u64,
    /// Waiting for their release.
    pub held: u64,
    /// Never to be sent.
    pub withdrawn: u64,
    /// With the receiver.
    pub delivered: u64,
    /// Given up or refused.
    pub dead: u64,
    /// Of these, what should have undone something that took effect.
    pub not_undone: u64,
    /// Wall time at which the oldest pending row was committed, ms since 1970.
    pub oldest_pending_ms: Option<u64>,
}

impl Counts {
    /// Age of the oldest pending row; zero without one.
    pub fn backlog_age_ms(&self, now_ms: u64) -> u64 {
        self.oldest_pending_ms
            .map_or(0, |created| now_ms.saturating_sub(created))
    }
}

/// A row that is the oldest open one of its lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Number in the chain.
    pub seq: u64,
    /// Whose.
    pub conversation: ConversationId,
    /// The action; `None` for the outcome.
    pub action: Option<ActionId>,
    /// In whose order.
    pub lead: String,
    /// Action type, or `outcome`.
    pub kind: String,
    /// Attempts that count towards giving up.
    pub strikes: u32,
    /// Not before this wall time, ms since 1970.
    pub next_ms: u64,
    /// When it was committed, ms since 1970.
    pub created_ms: u64,
    /// The chained payload; `None` when damaged or missing.
    pub payload: Option<Vec<u8>>,
    /// The chain's hash at this row.
    pub hash: Digest,
}

/// No one call is meant.
#[derive(Debug)]
pub enum FindError {
    /// None has such an id.
    None,
    /// These and perhaps more do.
    Ambiguous(Vec<ConversationId>),
    /// The file cannot be read.
    Database(rusqlite::Error),
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no such call"),
            Self::Ambiguous(some) => {
                f.write_str("which one:")?;
                some.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::Database(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FindError {}

impl From<rusqlite::Error> for FindError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// One row of the chain, whole.
#[derive(Clone, Debug)]
pub struct Chained {
    /// Its number.
    pub seq: u64,
    /// Whose; 0 for rows of the box itself.
    pub conversation: u64,
    /// Its kind, by name.
    pub kind: String,
    /// Wall time, ms since 1970.
    pub wall_ms: u64,
    /// What it says; `None` once forgotten.
    pub payload: Option<Vec<u8>>,
    /// Of salt and payload.
    pub digest: Digest,
    /// Of all before it and itself.
    pub hash: Digest,
    /// `None` once forgotten.
    pub salt: Option<Salt>,
}

/// Ambiguous calls named at most.
const NAMED: usize = 8;

impl Reader {
    /// Opens the store's file for reading, beside a running daemon or without.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        schema::open_to_read(path).map(|db| Self { db })
    }

    /// The newest calls first, those before `before` when given.
    ///
    /// # Errors
    /// SQLite's.
    pub fn calls(&self, limit: u32, before: Option<ConversationId>) -> rusqlite::Result<Vec<Call>> {
        self.db
            .prepare_cached(
                "SELECT * FROM calls WHERE conversation < ?1 ORDER BY conversation DESC LIMIT ?2",
            )?
            .query_map(
                params![before.map_or(i64::MAX, |id| signed(id.0)), limit],
                call,
            )?
            .collect()
    }

    /// Numbers that we called since then (wall time, ms since 1970), and when.
    ///
    /// # Errors
    /// SQLite's.
    pub fn dialled_since(&self, since_ms: u64) -> rusqlite::Result<Vec<(String, u64)>> {
        self.db
            .prepare(
                "SELECT called, started_ms FROM calls WHERE direction = ?1 AND started_ms >= ?2",
            )?
            .query_map(
                params![Direction::Outbound.name(), signed(since_ms)],
                |row| Ok((row.get(0)?, unsigned(row.get(1)?))),
            )?
            .collect()
    }

    /// Leads that do not want to be called, and have not taken it back at once.
    ///
    /// # Errors
    /// SQLite's.
    pub fn opted_out(&self) -> rusqlite::Result<Vec<String>> {
        self.db
            .prepare("SELECT DISTINCT lead FROM outbox WHERE kind = 'opt_out' AND state <> ?1")?
            .query_map([state::WITHDRAWN], |row| row.get(0))?
            .collect()
    }

    /// Every page of every lead that was not forgotten, in the order in which
    /// they were written.
    ///
    /// # Errors
    /// SQLite's.
    pub fn pages(&self, mut each: impl FnMut(Page)) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare(
            "SELECT conversation, payload FROM audit WHERE kind = 'lead' AND payload IS NOT NULL
             ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let payload: Vec<u8> = row.get(1)?;
            // What a newer release wrote is left alone.
            if let Ok(chapter) = serde_json::from_slice(&payload) {
                let lead = LeadId(unsigned(row.get(0)?));
                each(Page { lead, chapter });
            }
        }
        Ok(())
    }

    /// Every page of every campaign, in the order in which they were written.
    ///
    /// # Errors
    /// SQLite's.
    pub fn campaign_pages(&self, mut each: impl FnMut(u64, CampaignPage)) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare(
            "SELECT conversation, payload FROM audit WHERE kind = 'campaign' AND
             payload IS NOT NULL ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let payload: Vec<u8> = row.get(1)?;
            if let Ok(page) = serde_json::from_slice(&payload) {
                each(unsigned(row.get(0)?), page);
            }
        }
        Ok(())
    }

    /// Rows of these kinds among the last so many of the chain, in their order.
    ///
    /// # Errors
    /// SQLite's.
    pub fn lately(
        &self,
        rows: u32,
        kinds: &[Kind],
        mut each: impl FnMut(ConversationId, Kind, &[u8]),
    ) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare(
            "SELECT conversation, kind, payload FROM audit
             WHERE seq > (SELECT max(seq) FROM audit) - ?1 AND payload IS NOT NULL ORDER BY seq",
        )?;
        let mut found = statement.query([rows])?;
        while let Some(row) = found.next()? {
            let kind = Kind::named(row.get_ref(1)?.as_str()?);
            if let Some(kind) = kind.filter(|kind| kinds.contains(kind)) {
                let conversation = ConversationId(unsigned(row.get(0)?));
                each(conversation, kind, row.get_ref(2)?.as_blob()?);
            }
        }
        Ok(())
    }

    /// One line of the list.
    ///
    /// # Errors
    /// SQLite's.
    pub fn call(&self, conversation: ConversationId) -> rusqlite::Result<Option<Call>> {
        self.db
            .prepare_cached("SELECT * FROM calls WHERE conversation = ?1")?
            .query_row([signed(conversation.0)], call)
            .optional()
    }

    /// The call that is meant: a whole id, its beginning or its end where only
    /// one call has it, or `last`.
    ///
    /// # Errors
    /// See [`FindError`].
    pub fn find(&self, text: &str) -> Result<ConversationId, FindError> {
        let text = text.to_ascii_lowercase();
        if text == "last" {
            let calls = self.calls(1, None)?;
            return calls
                .first()
                .map(|call| call.conversation)
                .ok_or(FindError::None);
        }
        if let Ok(id) = text.parse() {
            return self.call(id)?.map(|_| id).ok_or(FindError::None);
        }
        self.find_part(&text)
    }

    fn find_part(&self, part: &str) -> Result<ConversationId, FindError> {
        if part.is_empty() {
            return Err(FindError::None);
        }
        let mut statement = self
            .db
            .prepare_cached("SELECT conversation FROM calls ORDER BY conversation DESC")?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let id = ConversationId(unsigned(row.get(0)?));
            let text = id.to_string();
            if text.starts_with(part) || text.ends_with(part) {
                found.push(id);
            }
            if found.len() == NAMED {
                break;
            }
        }
        match found[..] {
            [] => Err(FindError::None),
            [one] => Ok(one),
            _ => Err(FindError::Ambiguous(found)),
        }
    }

    /// All rows of a conversation, in commit order.
    ///
    /// # Errors
    /// SQLite's.
    pub fn items(&self, conversation: ConversationId) -> rusqlite::Result<Vec<Item>> {
        items(&self.db, conversation)
    }

    /// All decisions of a conversation, of external and of local actions, by time.
    ///
    /// # Errors
    /// SQLite's.
    pub fn decisions(&self, conversation: ConversationId) -> rusqlite::Result<Vec<Record>> {
        let mut records: Vec<Record> = self
            .items(conversation)?
            .into_iter()
            .flat_map(|item| match item.what {
                What::Decision(record, _) => vec![*record],
                What::Log(entries) => local_decisions(&entries),
                _ => Vec::new(),
            })
            .collect();
        records.sort_by_key(|record| (record.at, record.action.number));
        Ok(records)
    }

    /// Rows of the outbox, oldest first; of one state when given.
    ///
    /// # Errors
    /// SQLite's.
    pub fn outbox(&self, of: Option<RowState>, limit: u32) -> rusqlite::Result<Vec<OutboxLine>> {
        self.db
            .prepare_cached(&format!(
                "{OUTBOX_LINE} WHERE ?1 IS NULL OR state = ?1 ORDER BY seq LIMIT ?2"
            ))?
            .query_map(params![of.map(RowState::code), limit], outbox_line)?
            .collect()
    }

    /// Rows of the outbox of one conversation.
    ///
    /// # Errors
    /// SQLite's.
    pub fn outbox_of(&self, conversation: ConversationId) -> rusqlite::Result<Vec<OutboxLine>> {
        self.db
            .prepare_cached(&format!(
                "{OUTBOX_LINE} WHERE conversation = ?1 ORDER BY seq"
            ))?
            .query_map([signed(conversation.0)], outbox_line)?
            .collect()
    }

    /// How many rows stand where; costs as much as there are open rows.
    ///
    /// # Errors
    /// SQLite's.
    pub fn counts(&self) -> rusqlite::Result<Counts> {
        let mut counts = Counts::default();
        let mut statement = self.db.prepare_cached(
            "SELECT state, count(*), min(created_ms) FROM outbox WHERE state <= 1 GROUP BY state
             UNION ALL
             SELECT state, count(*), NULL FROM outbox WHERE state IN (2, 4) GROUP BY state
             UNION ALL SELECT 3, delivered, NULL FROM chain",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = unsigned(row.get(1)?);
            match RowState::from_code(row.get(0)?)? {
                RowState::Pending => {
                    counts.pending = count;
                    counts.oldest_pending_ms = row.get::<_, Option<i64>>(2)?.map(unsigned);
                }
                RowState::Held => counts.held = count,
                RowState::Withdrawn => counts.withdrawn = count,
                RowState::Delivered => counts.delivered = count,
                RowState::Dead => counts.dead = count,
            }
        }
        drop(rows);
        let dead = "SELECT count(*) FROM outbox WHERE state = 4 AND dedupe GLOB ?1 || '*'";
        let mut statement = self.db.prepare_cached(dead)?;
        counts.not_undone = statement.query_row([UNDO], |row| row.get(0).map(unsigned))?;
        Ok(counts)
    }

    /// The oldest pending row of each lead, soonest due first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn heads_of_line(&self, limit: u32) -> rusqlite::Result<Vec<Due>> {
        self.db
            .prepare_cached(
                "SELECT o.seq, o.conversation, o.number, o.lead, o.kind, o.strikes, o.next_ms,
                 o.created_ms, a.payload, a.digest, a.hash, s.salt
                 FROM outbox o LEFT JOIN audit a ON a.seq = o.seq
                 LEFT JOIN salts s ON s.conversation = o.conversation
                 WHERE o.state = 0 AND o.first = 1 ORDER BY o.next_ms, o.seq LIMIT ?1",
            )?
            .query_map([limit], due)?
            .collect()
    }

    /// What the box itself was told, of one kind, in order.
    ///
    /// # Errors
    /// SQLite's.
    pub fn told(&self, kind: Kind) -> rusqlite::Result<Vec<Vec<u8>>> {
        self.db
            .prepare_cached(
                "SELECT payload FROM audit WHERE conversation = 0 AND kind = ?1
                 AND payload IS NOT NULL ORDER BY seq",
            )?
            .query_map([kind.name()], |row| row.get(0))?
            .collect()
    }

    /// The hash of one row of the chain.
    ///
    /// # Errors
    /// SQLite's.
    pub fn hash_at(&self, seq: u64) -> rusqlite::Result<Option<Digest>> {
        self.db
            .prepare_cached("SELECT hash FROM audit WHERE seq = ?1")?
            .query_row([signed(seq)], |row| row.get(0))
            .optional()
    }

    /// Every row of the chain, in order, with what it takes to check it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn chain(&self, mut each: impl FnMut(Chained) -> bool) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare(
            "SELECT a.seq, a.conversation, a.kind, a.wall_ms, a.payload, a.digest, a.hash, s.salt
             FROM audit a LEFT JOIN salts s ON s.conversation = a.conversation ORDER BY a.seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let chained = Chained {
                seq: unsigned(row.get(0)?),
                conversation: unsigned(row.get(1)?),
                kind: row.get(2)?,
                wall_ms: unsigned(row.get(3)?),
                payload: row.get(4)?,
                digest: row.get(5)?,
                hash: row.get(6)?,
                salt: row.get(7)?,
            };
            if !each(chained) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Walks the whole chain; the inner error names the first bad row.
    ///
    /// # Errors
    /// SQLite's: the file cannot be read.
    pub fn verify(&self) -> rusqlite::Result<Result<Verified, Fault>> {
        // One snapshot, or rows committed meanwhile would look like a wrong end.
        let snapshot = self.db.unchecked_transaction()?;
        chain::verify(&snapshot, Head::default())
    }
}

const OUTBOX_LINE: &str = "SELECT seq, conversation, number, lead, kind, state, attempts, next_ms,
 created_ms, done_ms, last_error, dedupe FROM outbox";

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let direction: String = row.get("direction")?;
    Ok(Call {
        conversation: ConversationId(unsigned(row.get("conversation")?)),
        direction: if direction == Direction::Outbound.name() {
            Direction::Outbound
        } else {
            Direction::Inbound
        },
        trunk: row.get("trunk")?,
        caller: row.get("caller")?,
        called: row.get("called")?,
        playbook: row.get("playbook")?,
        started_ms: unsigned(row.get("started_ms")?),
        born_us: unsigned(row.get("born_us")?),
        ended_ms: row.get::<_, Option<i64>>("ended_ms")?.map(unsigned),
        cause: row.get("cause")?,
        result: row.get("result")?,
    })
}

fn outbox_line(row: &Row<'_>) -> rusqlite::Result<OutboxLine> {
    let conversation = ConversationId(unsigned(row.get(1)?));
    Ok(OutboxLine {
        seq: unsigned(row.get(0)?),
        id: event_id(conversation, action(conversation, row.get(2)?)),
        lead: row.get(3)?,
        kind: row.get(4)?,
        state: RowState::from_code(row.get(5)?)?,
        attempts: row.get(6)?,
        next_ms: unsigned(row.get(7)?),
        created_ms: unsigned(row.get(8)?),
        done_ms: row.get::<_, Option<i64>>(9)?.map(unsigned),
        last_error: row.get(10)?,
        undoes: row.get::<_, String>(11)?.starts_with(UNDO),
    })
}

fn due(row: &Row<'_>) -> rusqlite::Result<Due> {
    let conversation = ConversationId(unsigned(row.get(1)?));
    let payload: Option<Vec<u8>> = row.get(8)?;
    let digest: Option<Digest> = row.get(9)?;
    let salt: Option<Salt> = row.get(11)?;
    // SQLite does not notice flipped bits in a payload; the chain does.
    let whole = match (&payload, digest, salt) {
        (Some(payload), Some(digest), Some(salt)) => chain::digest(&salt, payload) == digest,
        _ => false,
    };
    Ok(Due {
        seq: unsigned(row.get(0)?),
        conversation,
        action: action(conversation, row.get(2)?),
        lead: row.get(3)?,
        kind: row.get(4)?,
        strikes: row.get(5)?,
        next_ms: unsigned(row.get(6)?),
        created_ms: unsigned(row.get(7)?),
        payload: payload.filter(|_| whole),
        hash: row.get::<_, Option<Digest>>(10)?.unwrap_or_default(),
    })
}

fn action(conversation: ConversationId, number: i64) -> Option<ActionId> {
    debug_assert!(number >= OUTCOME_NUMBER);
    let number = u32::try_from(number).ok()?;
    Some(ActionId {
        conversation,
        number,
    })
}

/// The id upstream sees.
pub fn event_id(conversation: ConversationId, action: Option<ActionId>) -> String {
    match action {
        Some(action) => action.to_string(),
        None => format!("{conversation}-outcome"),
    }
}

fn local_decisions(entries: &[Entry]) -> Vec<Record> {
    entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Decision)
        .filter_map(|entry| serde_json::from_str(entry.body()).ok())
        .collect()
}

/// All rows of a conversation, in commit order.
///
/// # Errors
/// SQLite's.
pub(super) fn items(db: &Connection, conversation: ConversationId) -> rusqlite::Result<Vec<Item>> {
    let mut statement = db.prepare_cached(
        "SELECT seq, kind, wall_ms, payload FROM audit WHERE conversation = ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query([signed(conversation.0)])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, wall_ms) = (unsigned(row.get(0)?), unsigned(row.get(2)?));
        let kind = Kind::named(&row.get::<_, String>(1)?);
        let payload: Option<Vec<u8>> = row.get(3)?;
        let mut push = |what| items.push(Item { seq, wall_ms, what });
        match (&payload, kind) {
            (None, _) => push(What::Forgotten),
            (Some(payload), Some(kind)) => {
                let log = riding_entries(kind, payload).map(What::Log);
                let what = what(conversation, kind, payload).unwrap_or(What::Unreadable);
                match kind {
                    Kind::Born => [Some(what), log],
                    _ => [log, Some(what)],
                }
                .into_iter()
                .flatten()
                .for_each(&mut push);
            }
            (Some(_), None) => push(What::Unreadable),
        }
    }
    Ok(items)
}

/// The beginning and the end of the log, which ride in the rows of birth and outcome.
fn riding_entries(kind: Kind, payload: &[u8]) -> Option<Vec<Entry>> {
    #[derive(Deserialize)]
    struct Riding {
        #[serde(default)]
        entries: Vec<Entry>,
    }
    if !matches!(kind, Kind::Born | Kind::Outcome) {
        return None;
    }
    let row: Riding = serde_json::from_slice(payload).ok()?;
    (!row.entries.is_empty()).then_some(row.entries)
}

/// What a due row carries.
#[derive(Clone, Debug)]
pub enum DueContent {
    /// An authorised action.
    Action(OutboxRow),
    /// The outcome of a conversation.
    Outcome(Outcome),
}

impl Due {
    /// It undoes an action that took effect.
    pub fn undoes(&self) -> bool {
        let content = self.content();
        matches!(content, Some(DueContent::Action(row)) if row.dedupe.starts_with(UNDO))
    }

    /// What it carries; `None` when damaged.
    pub fn content(&self) -> Option<DueContent> {
        let kind = match self.action {
            Some(_) => Kind::Action,
            None => Kind::Outcome,
        };
        match what(self.conversation, kind, self.payload.as_deref()?).ok()? {
            What::Action(row) => Some(DueContent::Action(row)),
            What::Outcome(outcome) => Some(DueContent::Outcome(outcome)),
            _ => None,
        }
    }
}

/// What a payload says.
///
/// # Errors
/// It is not what its kind promises.
pub fn what(
    conversation: ConversationId,
    kind: Kind,
    payload: &[u8],
) -> Result<What, serde_json::Error> {
    Ok(match kind {
        Kind::Born => What::Born(serde_json::from_slice(payload)?),
        Kind::Log => What::Log(serde_json::from_slice(payload)?),
        Kind::Decision => {
            let decided: Decided<Record, Vec<Fact>> = serde_json::from_slice(payload)?;
            What::Decision(Box::new(decided.record), decided.facts)
        }
        Kind::Action => What::Action(serde_json::from_slice(payload)?),
        Kind::Released => What::Released(serde_json::from_slice(payload)?),
        Kind::Withdrawn => What::Withdrawn(serde_json::from_slice(payload)?),
        Kind::Outcome => {
            let row: OutcomeRow<IgnoredAny, Outcome, IgnoredAny> = serde_json::from_slice(payload)?;
            What::Outcome(row.outcome)
        }
        Kind::Answered => {
            let answered: Answered<Option<String>> = serde_json::from_slice(payload)?;
            let action = ActionId {
                conversation,
                number: answered.number,
            };
            let refused = (!answered.delivered).then(|| answered.error.unwrap_or_default());
            What::Answered(action, refused)
        }
        Kind::Lead => What::Lead(serde_json::from_slice(payload)?),
        Kind::Campaign | Kind::Forgotten | Kind::Salvaged | Kind::Text | Kind::Decree => {
            What::Unreadable
        }
    })
}
