//! Authorised actions on their way: storing, held, sent, withdrawn, failed
//! (DESIGN: authorised, durable, confirmed, accepted). It says what became of
//! each; `dialogue` says so to the caller.

use std::sync::Arc;

use crate::id::{ActionId, Seq};
use crate::input::UpstreamAnswer;
use crate::output::Undo;
use crate::playbook::{Answer, Propose};
use crate::signal::SignalKind;

/// Behind an effect's key: the same was done and undone before, by that action.
pub(crate) const AFTER: &str = "|after ";
/// Entries of one conversation; what would be one more is refused.
pub(crate) const ENTRIES_MAX: usize = 64;

/// Where an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On its way to the disk; to be withdrawn at once when `denied`.
    Storing { denied: bool },
    /// Durable and irreversible: waits to be released, `due` or not yet.
    Held { due: bool },
    /// Released or never held; `awaited` until the upstream has answered.
    Sent { awaited: bool },
    /// Never to be sent.
    Withdrawn,
    /// Not kept.
    Failed,
}

/// What became of an action, for the caller's ear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turnout {
    Durable,
    Failed,
    Withdrawn,
    PassedOn,
    Accepted,
    Rejected,
    Late,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ActionId,
    /// What is delivered: the action itself, or its steps.
    pub(crate) rows: Vec<ActionId>,
    /// How many of them the upstream has accepted.
    pub(crate) accepted: usize,
    pub(crate) seq: Seq,
    pub(crate) plan: Arc<Propose>,
    pub(crate) dedupe: String,
    pub(crate) fields: Vec<(String, String)>,
    /// What undoes each of its steps, where it has several.
    pub(crate) undos: Vec<(ActionId, Undo)>,
    /// Another action undoes it.
    pub(crate) undone: bool,
    pub(crate) irreversible: bool,
    /// The caller is told only what the upstream answers, within this time in ms.
    pub(crate) accept_ms: Option<u64>,
    /// Stay in a stage in which it was proposed.
    pub(crate) epoch: u32,
    pub(crate) state: State,
}

impl Entry {
    pub(crate) fn answer(&self, turnout: Turnout) -> &Answer {
        match turnout {
            Turnout::Durable => &self.plan.durable,
            Turnout::Failed => &self.plan.failed,
            Turnout::Withdrawn => &self.plan.withdrawn,
            Turnout::PassedOn => &self.plan.passed_on,
            Turnout::Accepted => &self.plan.accepted,
            Turnout::Rejected => &self.plan.rejected,
            Turnout::Late => &self.plan.late,
        }
    }

    /// What the store says; what to tell the caller.
    pub(crate) fn stored(&mut self, durable: bool) -> Option<Turnout> {
        let State::Storing { denied } = self.state else {
            return None;
        };
        let (state, turnout) = match (durable, denied, self.irreversible) {
            (false, false, _) => (State::Failed, Turnout::Failed),
            (false, true, _) => (State::Failed, Turnout::Withdrawn),
            (true, true, true) => (State::Withdrawn, Turnout::Withdrawn),
            (true, true, false) => (self.sent(), Turnout::PassedOn),
            (true, false, true) => (State::Held { due: false }, Turnout::Durable),
            (true, false, false) => (self.sent(), Turnout::Durable),
        };
        self.state = state;
        Some(turnout)
    }

    /// It may be sent as soon as nothing is in doubt.
    pub(crate) fn make_due(&mut self) {
        if self.state == (State::Held { due: false }) {
            self.state = State::Held { due: true };
        }
    }

    /// The state of what is on its way upstream.
    pub(crate) fn sent(&self) -> State {
        State::Sent {
            awaited: self.accept_ms.is_some(),
        }
    }

    /// The upstream's answer, or that none came; what to tell the caller.
    pub(crate) fn answered(&mut self, answer: Option<UpstreamAnswer>) -> Option<Turnout> {
        if self.state != (State::Sent { awaited: true }) {
            return None;
        }
        self.state = State::Sent { awaited: false };
        Some(match answer {
            Some(UpstreamAnswer::Accepted) => Turnout::Accepted,
            Some(UpstreamAnswer::Rejected) => Turnout::Rejected,
            None => Turnout::Late,
        })
    }

    /// What the upstream says to one of its rows; the first refusal, or the last
    /// acceptance, is its answer to the whole.
    pub(crate) fn row_answered(&mut self, answer: UpstreamAnswer) -> Option<Turnout> {
        match answer {
            UpstreamAnswer::Accepted => {
                self.accepted += 1;
                if self.accepted < self.rows.len() {
                    return None;
                }
            }
            // What took effect is being undone.
            UpstreamAnswer::Rejected => self.undone |= self.rows.len() > 1,
        }
        self.answered(Some(answer))
    }

    fn is_denied_by(&self, signal: &SignalKind) -> bool {
        self.plan.deny.iter().any(|trigger| trigger.takes(signal))
    }

    /// The caller waits for what becomes of it.
    fn is_open(&self) -> bool {
        matches!(
            self.state,
            State::Storing { .. } | State::Sent { awaited: true }
        )
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES_MAX
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(crate) fn by_seq(&mut self, seq: Seq) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.seq == seq)
    }

    pub(crate) fn by_id(&mut self, id: ActionId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// The action that this is, or is a step of.
    pub(crate) fn by_row(&mut self, id: ActionId) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.rows.contains(&id))
    }

    pub(crate) fn by_number(&mut self, number: u32) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.id.number == number)
    }

    /// Something is on its way to the disk.
    pub(crate) fn is_storing(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.state, State::Storing { .. }))
    }

    /// The caller waits for an answer to something proposed in this stay.
    pub(crate) fn keeps_waiting(&self, epoch: u32) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.epoch == epoch && entry.is_open())
    }

    /// The newest action that this signal withdraws in time.
    pub(crate) fn denied(&mut self, signal: &SignalKind) -> Option<&mut Entry> {
        self.entries.iter_mut().rev().find(|entry| {
            let open = matches!(
                entry.state,
                State::Storing { denied: false } | State::Held { .. }
            );
            open && entry.is_denied_by(signal)
        })
    }

    /// The newest action that this signal would have withdrawn.
    pub(crate) fn denied_too_late(&self, signal: &SignalKind) -> Option<ActionId> {
        let mut sent = self.entries.iter().rev();
        let denied = |entry: &&Entry| {
            let sent = matches!(entry.state, State::Sent { .. });
            sent && !entry.undone && entry.is_denied_by(signal)
        };
        sent.find(denied).map(|entry| entry.id)
    }

    /// The effect's key: another one where the same was done and undone before,
    /// or who receives it would take it for the first.
    pub(crate) fn key(&self, effect: String) -> String {
        let same = |entry: &&Entry| {
            let rest = entry.dedupe.strip_prefix(effect.as_str());
            entry.undone && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        };
        match self.entries.iter().rev().find(same) {
            Some(entry) => format!("{effect}{AFTER}{}", entry.id.number),
            None => effect,
        }
    }

    /// Actions that the caller took back before they were durable.
    pub(crate) fn taken_back_unstored(&mut self) -> impl Iterator<Item = &mut Entry> {
        let taken_back = |entry: &&mut Entry| entry.state == State::Storing { denied: true };
        self.entries.iter_mut().filter(taken_back)
    }

    /// Held actions to be released now: those that are due, or all at the end.
    pub(crate) fn releasable(&mut self, all: bool) -> impl Iterator<Item = &mut Entry> {
        self.entries
            .iter_mut()
            .filter(move |entry| match entry.state {
                State::Held { due } => due || all,
                State::Storing { .. } | State::Sent { .. } | State::Withdrawn | State::Failed => {
                    false
                }
            })
    }
}
