//! What each write means in rows. One transaction per batch; the chain head is
//! in memory and goes back with the transaction when it fails.
//!
//! The writer calls it with batches, `recover` with what a crash left open.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};

use offhook_core::input::Fact;
use offhook_core::output::{OutboxRow, Outcome};
use offhook_core::{ActionId, ConversationId, LeadId, Record};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::chain::{self, Head, Kind, Link, Salt};
use super::schema::{OUTCOME_NUMBER, signed, state, unsigned};
use super::words::{Birth, Ended, Forgotten, Log, Mark, Progress, Write};
use crate::leads::{Chapter, Page, Remains};

/// Salts kept in memory at most; beyond it they are read back from the file.
const SALTS: usize = 65_536;

/// The outbox rows of a conversation. The plus keeps SQLite from weighing the value
/// anew, and compiling the statement again, for every conversation.
pub(super) const ROWS_OF: &str =
    "SELECT number, lead, state FROM outbox WHERE conversation = +?1 ORDER BY number";

/// Payload of a `decision` row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Decided<R, F> {
    pub(super) record: R,
    pub(super) facts: F,
}

/// Payload of a `born` row as it is written.
#[derive(Debug, Serialize)]
struct BornRow<'a> {
    #[serde(flatten)]
    birth: &'a Birth,
    #[serde(skip_serializing_if = "Log::is_empty")]
    entries: &'a Log,
}

/// Payload of an `outcome` row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutcomeRow<L, O, E> {
    pub(super) lead: L,
    #[serde(default)]
    pub(super) ended_ms: u64,
    pub(super) outcome: O,
    /// The end of the log: one row instead of two for every call.
    pub(super) entries: E,
}

/// Payload of an `answered` row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered<E> {
    pub(super) number: u32,
    pub(super) delivered: bool,
    pub(super) error: E,
}

/// A row of the outbox, as far as the end of its conversation matters.
struct Enqueued {
    number: i64,
    lead: String,
    state: i64,
}

/// What a batch brought about beside its rows.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// A row may have become ready to be sent.
    pub(super) ready: bool,
    /// One for each `Write::Forget`, in order.
    pub(super) forgotten: Vec<Forgotten>,
    /// Outcomes that were not the first of their conversation.
    pub(super) second_outcomes: u64,
}

/// The database as the writer sees it.
pub(super) struct Rows {
    db: Connection,
    head: Head,
    salts: HashMap<u64, Option<Salt>>,
    /// Born since the start, and without a row in the outbox.
    idle: HashSet<u64>,
    random: BufReader<File>,
    /// Wall time of the batch, ms since 1970.
    now_ms: u64,
    scratch: Vec<u8>,
}

impl Rows {
    /// Takes over an open and verified database.
    ///
    /// # Errors
    /// SQLite's, or the system's random source cannot be opened.
    pub(super) fn new(db: Connection) -> rusqlite::Result<Self> {
        let random = File::open("/dev/urandom").map_err(no_random)?;
        Ok(Self {
            head: chain::stated_head(&db)?,
            db,
            salts: HashMap::new(),
            idle: HashSet::new(),
            random: BufReader::with_capacity(4096, random),
            now_ms: 0,
            scratch: Vec::new(),
        })
    }

    /// All of the batch or none of it.
    ///
    /// # Errors
    /// SQLite's; nothing was kept.
    pub(super) fn keep(&mut self, batch: &[Write], now_ms: u64) -> rusqlite::Result<Effects> {
        let ends = batch.iter().enumerate();
        let ends = ends.filter_map(|(at, write)| Some((write.ends()?, at)));
        let ends: HashMap<ConversationId, usize> = ends.collect();
        self.atomically(now_ms, |rows, effects| {
            for (at, write) in batch.iter().enumerate() {
                // Its outcome, which comes after it, lets go of it in the same instant.
                let passing = |id| ends.get(&id).is_some_and(|end| at < *end);
                if !write.dialog_of().is_some_and(passing) {
                    rows.apply(write, effects)?;
                }
            }
            Ok(())
        })
        .inspect(|effects| {
            if effects.forgotten.contains(&Forgotten::Done) {
                self.scrub();
            }
        })
    }

    /// Runs `work` in a transaction.
    pub(super) fn atomically(
        &mut self,
        now_ms: u64,
        work: impl FnOnce(&mut Self, &mut Effects) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Effects> {
        self.now_ms = now_ms;
        let head = self.head;
        let mut effects = Effects::default();
        let done = self
            .run("BEGIN IMMEDIATE")
            .and_then(|()| work(self, &mut effects))
            .and_then(|()| self.store_head())
            .and_then(|()| self.run("COMMIT"));
        if let Err(error) = done {
            // After some errors SQLite has rolled back by itself.
            if !self.db.is_autocommit() {
                self.run("ROLLBACK").ok();
            }
            self.head = head;
            self.salts.clear();
            self.idle.clear();
            return Err(error);
        }
        Ok(effects)
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn store_head(&self) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("UPDATE chain SET seq = ?1, hash = ?2 WHERE id = 1")?
            .execute(params![signed(self.head.seq), self.head.hash])
            .map(drop)
    }

    fn apply(&mut self, write: &Write, effects: &mut Effects) -> rusqlite::Result<()> {
        match write {
            Write::Born { birth, entries } => self.born(birth, entries),
            Write::Dialog {
                conversation,
                leg,
                text,
            } => self.dialog(*conversation, *leg, text),
            Write::DialogOver { conversation, leg } => self.dialog_over(*conversation, *leg),
            Write::Log {
                conversation,
                entries,
            } => self.log(*conversation, entries),
            Write::Commit(commit) => {
                self.log(commit.conversation, &commit.entries)?;
                self.decision(commit.conversation, &commit.record, &commit.facts)?;
                commit
                    .rows
                    .iter()
                    .try_for_each(|row| self.action(row, effects))?;
                commit.pages.iter().try_for_each(|page| self.page(page))
            }
            Write::Decision {
                conversation,
                record,
                facts,
                entries,
            } => {
                self.log(*conversation, entries)?;
                self.decision(*conversation, record, facts)
            }
            Write::Release(action) => self.release(*action, effects),
            Write::Withdraw(action) => self.withdraw(*action, effects),
            Write::Outcome(ended) => self.ended(ended, true, effects),
            Write::Mark(mark) => self.mark(mark, effects),
            Write::Hasten => self.hasten(effects),
            Write::Forget { conversation, .. } => {
                let result = self.forget(*conversation)?;
                effects.forgotten.push(result);
                Ok(())
            }
            Write::Leads { pages, .. } => pages.iter().try_for_each(|page| self.page(page)),
            Write::Campaign { id, page, .. } => self.append(*id, Kind::Campaign, page).map(drop),
            Write::ForgetLead(wish) => {
                let result = self.forget_lead(&wish.remains)?;
                effects.forgotten.push(result);
                Ok(())
            }
            Write::Box { kind, body } => self.append(0, *kind, body).map(drop),
            Write::Close => Ok(()),
        }
    }

    fn born(&mut self, birth: &Birth, entries: &Log) -> rusqlite::Result<()> {
        let row = BornRow { birth, entries };
        self.append(birth.conversation.0, Kind::Born, &row)?;
        self.idle.insert(birth.conversation.0);
        self.list(birth)
    }

    /// A line in the list of calls.
    pub(super) fn list(&self, birth: &Birth) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "INSERT OR IGNORE INTO calls(conversation, direction, trunk, caller, called,
                 playbook, started_ms, born_us) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                signed(birth.conversation.0),
                birth.direction.name(),
                birth.trunk,
                birth.caller,
                birth.called,
                birth.playbook,
                signed(birth.started_ms),
                i64::try_from(birth.born.as_micros()).unwrap_or(i64::MAX),
            ])
            .map(drop)
    }

    fn dialog(&self, conversation: ConversationId, leg: u8, text: &str) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO dialogs VALUES(?1, ?2, ?3)")?
            .execute(params![signed(conversation.0), leg, text])
            .map(drop)
    }

    fn dialog_over(&self, conversation: ConversationId, leg: u8) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("DELETE FROM dialogs WHERE conversation = ?1 AND leg = ?2")?
            .execute(params![signed(conversation.0), leg])
            .map(drop)
    }

    fn log(&mut self, conversation: ConversationId, entries: &Log) -> rusqlite::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.append(conversation.0, Kind::Log, entries).map(drop)
    }

    fn decision(
        &mut self,
        conversation: ConversationId,
        record: &Record,
        facts: &[Fact],
    ) -> rusqlite::Result<()> {
        self.append(conversation.0, Kind::Decision, &Decided { record, facts })
            .map(drop)
    }

    /// A row that is there already stays as it is: the same id is the same effect.
    fn action(&mut self, row: &OutboxRow, effects: &mut Effects) -> rusqlite::Result<()> {
        let (conversation, number) = (row.id.conversation.0, i64::from(row.id.number));
        self.idle.remove(&conversation);
        if self.has_row(conversation, number)? {
            return Ok(());
        }
        let seq = self.append(conversation, Kind::Action, row)?;
        let needless = match row.undoes {
            Some(step) => self.never_went(step, effects)?,
            None => false,
        };
        let state = if row.held || needless {
            state::HELD
        } else {
            effects.ready = true;
            state::PENDING
        };
        self.enqueue(
            seq,
            conversation,
            number,
            &row.lead,
            &row.kind,
            &row.dedupe,
            state,
        )?;
        match needless {
            true => self.withdraw(row.id, effects),
            false => Ok(()),
        }
    }

    /// Whether a step that is to be undone had no effect: it waits, and is dropped, or
    /// it was dropped or refused before. The lead's oldest open row may be on its way at
    /// this instant: what undoes it waits behind it for what becomes of it.
    fn never_went(&mut self, step: ActionId, effects: &mut Effects) -> rusqlite::Result<bool> {
        let known: Option<(i64, bool)> = self
            .db
            .prepare_cached(
                "SELECT state, first FROM outbox WHERE conversation = ?1 AND number = ?2",
            )?
            .query_row(params![signed(step.conversation.0), step.number], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let waits = matches!(known, Some((state::HELD, _) | (state::PENDING, false)));
        if waits {
            self.drop_step(step, effects)?;
        }
        Ok(waits || matches!(known, None | Some((state::WITHDRAWN | state::DEAD, _))))
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    pub(super) fn enqueue(
        &self,
        seq: u64,
        conversation: u64,
        number: i64,
        lead: &str,
        kind: &str,
        dedupe: &str,
        state: i64,
    ) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO outbox(seq, conversation, number, lead, kind, dedupe, state, created_ms,
                 first) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                 NOT EXISTS(SELECT 1 FROM outbox WHERE lead = ?4 AND state <= 1))",
            )?
            .execute(params![
                signed(seq),
                signed(conversation),
                number,
                lead,
                kind,
                dedupe,
                state,
                signed(self.now_ms)
            ])
            .map(drop)
    }

    fn has_row(&self, conversation: u64, number: i64) -> rusqlite::Result<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM outbox WHERE conversation = ?1 AND number = ?2")?
            .exists(params![signed(conversation), number])
    }

    fn release(&mut self, action: ActionId, effects: &mut Effects) -> rusqlite::Result<()> {
        let changed = self
            .db
            .prepare_cached(
                "UPDATE outbox SET state = 0 WHERE conversation = ?1 AND number = ?2 AND state = 1",
            )?
            .execute(params![signed(action.conversation.0), action.number])?;
        if changed == 0 {
            return Ok(());
        }
        effects.ready = true;
        self.append(action.conversation.0, Kind::Released, &action)
            .map(drop)
    }

    fn withdraw(&mut self, action: ActionId, effects: &mut Effects) -> rusqlite::Result<()> {
        let lead: Option<String> = self
            .db
            .prepare_cached(
                "UPDATE outbox SET state = 2, first = 0, done_ms = ?3
                 WHERE conversation = ?1 AND number = ?2 AND state = 1 RETURNING lead",
            )?
            .query_row(
                params![
                    signed(action.conversation.0),
                    action.number,
                    signed(self.now_ms)
                ],
                |row| row.get(0),
            )
            .optional()?;
        let Some(lead) = lead else { return Ok(()) };
        effects.ready = true;
        self.promote(&lead)?;
        self.append(action.conversation.0, Kind::Withdrawn, &action)
            .map(drop)
    }

    /// The oldest open row of the lead may be sent next.
    fn promote(&self, lead: &str) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "UPDATE outbox SET first = 1 WHERE seq =
                 (SELECT min(seq) FROM outbox WHERE lead = ?1 AND state <= 1)",
            )?
            .execute([lead])
            .map(drop)
    }

    /// The conversation is over; its dialogs with it, where the peers know.
    /// What is still held is released: nobody can deny it any more.
    pub(super) fn ended(
        &mut self,
        ended: &Ended,
        peers_know: bool,
        effects: &mut Effects,
    ) -> rusqlite::Result<()> {
        let conversation = ended.conversation;
        let rows = match self.idle.remove(&conversation.0) {
            true => Vec::new(),
            false => self.rows_of(conversation)?,
        };
        for row in &rows {
            if let (state::HELD, Ok(number)) = (row.state, u32::try_from(row.number)) {
                let action = ActionId {
                    conversation,
                    number,
                };
                self.release(action, effects)?;
            }
        }
        if rows.iter().any(|row| row.number == OUTCOME_NUMBER) {
            effects.second_outcomes += 1;
            return self.log(conversation, &ended.entries);
        }
        // In the order of the conversation's actions, where it has any.
        let lead = rows.last().map_or(&ended.lead, |row| &row.lead);
        self.outcome(ended, lead)?;
        effects.ready = true;
        if peers_know {
            self.db
                .prepare_cached("DELETE FROM dialogs WHERE conversation = ?1")?
                .execute([signed(conversation.0)])?;
        }
        // Late rows (an upstream answer) find the salt in the file.
        self.salts.remove(&conversation.0);
        Ok(())
    }

    /// The conversation's outbox rows, its outcome first, then by number.
    fn rows_of(&self, conversation: ConversationId) -> rusqlite::Result<Vec<Enqueued>> {
        self.db
            .prepare_cached(ROWS_OF)?
            .query_map([signed(conversation.0)], |row| {
                Ok(Enqueued {
                    number: row.get(0)?,
                    lead: row.get(1)?,
                    state: row.get(2)?,
                })
            })?
            .collect()
    }

    fn outcome(&mut self, ended: &Ended, lead: &str) -> rusqlite::Result<()> {
        let conversation = ended.conversation;
        let row = OutcomeRow {
            lead,
            ended_ms: ended.ended_ms,
            outcome: &ended.outcome,
            entries: &ended.entries,
        };
        let seq = self.append(conversation.0, Kind::Outcome, &row)?;
        let (number, state) = (OUTCOME_NUMBER, state::PENDING);
        self.enqueue(seq, conversation.0, number, lead, "outcome", "", state)?;
        self.list_end(conversation, ended.ended_ms, &ended.outcome)
    }

    /// How the call ended, in the list of calls.
    pub(super) fn list_end(
        &self,
        conversation: ConversationId,
        ended_ms: u64,
        outcome: &Outcome,
    ) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "UPDATE calls SET ended_ms = ?2, cause = ?3, result = ?4 WHERE conversation = ?1",
            )?
            .execute(params![
                signed(conversation.0),
                signed(ended_ms),
                outcome.cause.name(),
                outcome.result
            ])
            .map(drop)
    }

    fn mark(&mut self, mark: &Mark, effects: &mut Effects) -> rusqlite::Result<()> {
        match &mark.progress {
            Progress::Delivered => self.done(mark.seq, state::DELIVERED, None, effects),
            Progress::Dead { error, .. } => {
                self.done(mark.seq, state::DEAD, Some(error), effects)?;
                self.undo_steps(mark, effects)
            }
            Progress::Retry {
                next_ms,
                strike,
                error,
            } => {
                effects.ready = true;
                self.db
                    .prepare_cached(
                        "UPDATE outbox SET attempts = attempts + 1, strikes = strikes + ?2,
                         next_ms = ?3, last_error = ?4 WHERE seq = ?1 AND state = 0",
                    )?
                    .execute(params![signed(mark.seq), strike, signed(*next_ms), error])
                    .map(drop)
            }
        }
    }

    fn done(
        &mut self,
        seq: u64,
        state: i64,
        error: Option<&String>,
        effects: &mut Effects,
    ) -> rusqlite::Result<()> {
        let row: Option<(i64, i64, String)> = self
            .db
            .prepare_cached(
                "UPDATE outbox SET state = ?2, first = 0, attempts = attempts + 1, done_ms = ?3,
                 last_error = coalesce(?4, last_error) WHERE seq = ?1 AND state = 0
                 RETURNING conversation, number, lead",
            )?
            .query_row(
                params![signed(seq), state, signed(self.now_ms), error],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let Some((conversation, number, lead)) = row else {
            return Ok(());
        };
        effects.ready = true;
        self.promote(&lead)?;
        let delivered = state == state::DELIVERED;
        if delivered {
            self.run("UPDATE chain SET delivered = delivered + 1 WHERE id = 1")?;
        }
        let Ok(number) = u32::try_from(number) else {
            return Ok(()); // an outcome: its state in the outbox says enough
        };
        let answered = Answered {
            number,
            delivered,
            error,
        };
        self.append(unsigned(conversation), Kind::Answered, &answered)
            .map(drop)
    }

    /// A step was refused, or given up: those behind it never go, and what took
    /// effect before it is undone, the last first. In the transaction that says so,
    /// so that no crash comes between.
    fn undo_steps(&mut self, mark: &Mark, effects: &mut Effects) -> rusqlite::Result<()> {
        let Some((dead, payload)) = self.kept_action(mark.seq)? else {
            return Ok(());
        };
        let Some(step) = read_action(&payload).and_then(|row| row.step) else {
            return Ok(());
        };
        let refused = matches!(mark.progress, Progress::Dead { refused: true, .. });
        let mut took_effect = Vec::new();
        for (row, at) in self.steps(dead, step.of)? {
            let place = row.step.as_ref().map_or(0, |step| step.place);
            match at {
                state::PENDING | state::HELD => self.drop_step(row.id, effects)?,
                state::DELIVERED => took_effect.push((place, row)),
                // Nobody knows what became of one that was given up.
                state::DEAD if place == step.place && !refused => took_effect.push((place, row)),
                // The caller took the whole back while it was on its way.
                state::DEAD if place == step.place => {
                    if let Some(undo) = row.step.and_then(|step| step.undo) {
                        self.drop_step(undo.id, effects)?;
                    }
                }
                _ => {}
            }
        }
        took_effect.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        for (_, row) in took_effect {
            let lead = row.lead;
            if let Some(undo) = row.step.and_then(|step| step.undo) {
                self.action(
                    &OutboxRow {
                        id: undo.id,
                        kind: undo.kind,
                        lead,
                        dedupe: undo.dedupe,
                        held: false,
                        fields: undo.fields,
                        step: None,
                        undoes: None,
                    },
                    effects,
                )?;
            }
        }
        Ok(())
    }

    /// Which conversation a dead row belongs to, and what it holds.
    fn kept_action(&self, seq: u64) -> rusqlite::Result<Option<(u64, Vec<u8>)>> {
        self.db
            .prepare_cached(
                "SELECT o.conversation, a.payload FROM outbox o JOIN audit a ON a.seq = o.seq
                 WHERE o.seq = ?1 AND o.state = 4 AND a.payload IS NOT NULL",
            )?
            .query_row([signed(seq)], |row| {
                Ok((unsigned(row.get(0)?), row.get(1)?))
            })
            .optional()
    }

    /// The steps of one action, and how far each is.
    fn steps(&self, conversation: u64, of: ActionId) -> rusqlite::Result<Vec<(OutboxRow, i64)>> {
        let mut statement = self.db.prepare_cached(
            "SELECT a.payload, o.state FROM outbox o JOIN audit a ON a.seq = o.seq
             WHERE o.conversation = ?1 AND a.payload IS NOT NULL",
        )?;
        let rows = statement.query_map([signed(conversation)], |row| {
            let payload: Vec<u8> = row.get(0)?;
            Ok((read_action(&payload), row.get(1)?))
        })?;
        let mut steps = Vec::new();
        for row in rows {
            if let (Some(row), at) = row?
                && row.step.as_ref().is_some_and(|step| step.of == of)
            {
                steps.push((row, at));
            }
        }
        Ok(steps)
    }

    /// A step that waits behind one that failed is never sent.
    fn drop_step(&mut self, action: ActionId, effects: &mut Effects) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "UPDATE outbox SET state = 1 WHERE conversation = ?1 AND number = ?2 AND state = 0",
            )?
            .execute(params![signed(action.conversation.0), action.number])?;
        self.withdraw(action, effects)
    }

    /// Rows that failed more than twice on their own account keep their wait:
    /// it is they, not the receiver.
    fn hasten(&self, effects: &mut Effects) -> rusqlite::Result<()> {
        effects.ready = true;
        self.run(
            "UPDATE outbox SET next_ms = 0
             WHERE state = 0 AND first = 1 AND next_ms > 0 AND strikes <= 2",
        )
    }

    /// Payloads, salt, numbers and names go; the chained hashes stay.
    fn forget(&mut self, conversation: ConversationId) -> rusqlite::Result<Forgotten> {
        let id = signed(conversation.0);
        let open: i64 = self.db.query_row(
            "SELECT count(*) FROM outbox WHERE conversation = ?1 AND state <= 1",
            [id],
            |row| row.get(0),
        )?;
        if open > 0 || !self.has_row(conversation.0, OUTCOME_NUMBER)? {
            return Ok(Forgotten::Open(unsigned(open)));
        }
        self.erase(conversation)?;
        Ok(Forgotten::Done)
    }

    fn page(&mut self, page: &Page) -> rusqlite::Result<()> {
        self.append(page.lead.0, Kind::Lead, &page.chapter)
            .map(drop)
    }

    /// The person's book and all their conversations, or nothing of it.
    fn forget_lead(&mut self, remains: &Remains) -> rusqlite::Result<Forgotten> {
        let mut open = 0;
        for conversation in &remains.conversations {
            let rows = self.rows_of(*conversation)?;
            let over = rows.iter().any(|row| row.number == OUTCOME_NUMBER);
            let waiting = rows.iter().filter(|row| row.state <= state::HELD).count() as u64;
            open += waiting + u64::from(!over && self.is_listed(*conversation)?);
        }
        if open > 0 {
            return Ok(Forgotten::Open(open));
        }
        for number in &remains.suppressed {
            let lead = LeadId(0);
            let chapter = Chapter::Suppressed(number.clone());
            self.page(&Page { lead, chapter })?;
        }
        for conversation in &remains.conversations {
            self.erase(*conversation)?;
        }
        for lead in &remains.leads {
            // A lead's id is of the same kind as a conversation's.
            self.erase(ConversationId(lead.0))?;
        }
        Ok(Forgotten::Done)
    }

    fn is_listed(&self, conversation: ConversationId) -> rusqlite::Result<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM calls WHERE conversation = ?1")?
            .exists([signed(conversation.0)])
    }

    fn erase(&mut self, conversation: ConversationId) -> rusqlite::Result<()> {
        let id = signed(conversation.0);
        self.db.execute_batch("PRAGMA secure_delete=ON")?;
        for sql in [
            "UPDATE audit SET payload = NULL WHERE conversation = ?1",
            "UPDATE salts SET salt = NULL WHERE conversation = ?1",
            "UPDATE outbox SET lead = '', dedupe = '', last_error = NULL WHERE conversation = ?1",
            "UPDATE calls SET caller = '', called = '' WHERE conversation = ?1",
            "DELETE FROM dialogs WHERE conversation = ?1",
        ] {
            self.db.execute(sql, [id])?;
        }
        self.salts.remove(&conversation.0);
        self.append(0, Kind::Forgotten, &conversation).map(drop)
    }

    /// Takes forgotten bytes out of the log of pages as well.
    fn scrub(&self) {
        self.db.execute_batch("PRAGMA secure_delete=OFF").ok();
        self.checkpoint();
    }

    fn checkpoint(&self) {
        let done: rusqlite::Result<i64> =
            self.db
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        if !matches!(done, Ok(0)) {
            tracing::warn!(message = "store_checkpoint_incomplete");
        }
    }

    /// One more row of the chain; its number.
    pub(super) fn append(
        &mut self,
        conversation: u64,
        kind: Kind,
        payload: &impl Serialize,
    ) -> rusqlite::Result<u64> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        serde_json::to_writer(&mut scratch, payload)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let (salt, keeps) = match self.salt(conversation)? {
            Some(salt) => (salt, true),
            // Forgotten: what still comes is chained but not kept.
            None => (self.fresh_salt()?, false),
        };
        let digest = chain::digest(&salt, &scratch);
        let payload = keeps.then_some(&scratch[..]);
        let seq = self.head.seq + 1;
        let link = Link {
            conversation,
            kind: kind.name(),
            wall_ms: self.now_ms,
            digest: &digest,
        };
        self.link(seq, &link, payload)?;
        self.scratch = scratch;
        Ok(seq)
    }

    /// Chains a row whose digest is known.
    pub(super) fn link(
        &mut self,
        seq: u64,
        link: &Link<'_>,
        payload: Option<&[u8]>,
    ) -> rusqlite::Result<()> {
        let head = self.head.follow(seq, link);
        self.db
            .prepare_cached("INSERT INTO audit VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                signed(seq),
                signed(link.conversation),
                link.kind,
                signed(link.wall_ms),
                payload,
                link.digest,
                head.hash
            ])?;
        self.head = head;
        Ok(())
    }

    /// The conversation's salt, made at its first row; `None` once forgotten.
    pub(super) fn salt(&mut self, conversation: u64) -> rusqlite::Result<Option<Salt>> {
        if let Some(salt) = self.salts.get(&conversation) {
            return Ok(*salt);
        }
        let stored: Option<Option<Salt>> = self
            .db
            .prepare_cached("SELECT salt FROM salts WHERE conversation = ?1")?
            .query_row([signed(conversation)], |row| row.get(0))
            .optional()?;
        let salt = match stored {
            Some(salt) => salt,
            None => Some(self.new_salt(conversation)?),
        };
        if self.salts.len() >= SALTS {
            self.salts.clear();
        }
        self.salts.insert(conversation, salt);
        Ok(salt)
    }

    fn new_salt(&mut self, conversation: u64) -> rusqlite::Result<Salt> {
        let salt = self.fresh_salt()?;
        self.db
            .prepare_cached("INSERT INTO salts VALUES(?1, ?2)")?
            .execute(params![signed(conversation), salt])?;
        Ok(salt)
    }

    fn fresh_salt(&mut self) -> rusqlite::Result<Salt> {
        let mut salt = Salt::default();
        self.random.read_exact(&mut salt).map_err(no_random)?;
        Ok(salt)
    }

    /// The database, for what recovery reads.
    pub(super) const fn db(&self) -> &Connection {
        &self.db
    }

    /// Leaves one tidy file behind.
    pub(super) fn finish(self) {
        self.checkpoint();
    }
}

fn read_action(payload: &[u8]) -> Option<OutboxRow> {
    serde_json::from_slice(payload).ok()
}

fn no_random(error: io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}
