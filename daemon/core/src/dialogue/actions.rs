//! The dialogue's hands: external actions from proposal to the words about
//! what became of them.

use std::sync::Arc;

use smol_str::format_smolstr;

use super::Dialogue;
use crate::action::{Action, Confirm};
use crate::desk::{Ask, Desk};
use crate::gate::{FIELD_INVALID, FIELD_MISSING, TOO_MANY_ACTIONS};
use crate::id::{ActionId, Name, Seq};
use crate::input::UpstreamAnswer;
use crate::ledger::{Entry, State, Turnout};
use crate::mouth::Purpose;
use crate::output::{COMPENSATES, OutboxRow, Output, Persist, UNDO, Undo};
use crate::playbook::{Go, Propose};
use crate::record::{Record, Rules, Verdict};
use crate::signal::SignalKind;
use crate::timers::Timer;

/// A wait for the disk longer than this is covered by a phrase.
const BRIDGE_AFTER_MS: u64 = 400;
/// An irreversible action is held this long at most, unless the caller is speaking.
const HELD_MS: u64 = 3_000;
/// Characters of a field; longer ones are cut, as rows go over the wire.
const FIELD_MAX: usize = 500;

impl Dialogue {
    pub(super) fn propose(&mut self, desk: &mut Desk, plan: &Arc<Propose>) {
        let book = Arc::clone(&desk.book);
        let action = book
            .catalogue
            .action(&plan.action)
            .expect("the playbook was compiled against this catalogue");
        let fields = self.fill(plan);
        let object = object(action, &fields);
        let effect = format!("{}|{}|{object}", desk.party, plan.action);
        let dedupe = self.ledger.key(effect);
        let mut flaws = flaws(action, &fields);
        flaws.extend(desk.not_on_offer(action, &fields));
        if self.ledger.is_full() {
            flaws.push(Name::new_static(TOO_MANY_ACTIONS));
        }
        let ask = Ask {
            kind: plan.action.as_str().into(),
            object,
            dedupe: Some(dedupe),
            flaws,
            approved: None,
        };
        self.judge(desk, plan, action, ask, fields);
    }

    pub(super) fn judge(
        &mut self,
        desk: &mut Desk,
        plan: &Arc<Propose>,
        action: &Action,
        ask: Ask,
        fields: Vec<(String, String)>,
    ) {
        let record = desk.judge(&self.scene(), ask.clone());
        match record.verdict {
            Verdict::Authorised => {
                let rows = self.rows(desk, plan, action, &record, &ask, &fields);
                let Some(rows) = rows else {
                    return self.refused_by_step(desk, plan, record);
                };
                let dedupe = ask.dedupe.unwrap_or_default();
                self.keep(desk, plan, action, record, (dedupe, rows), fields);
            }
            Verdict::Asked => self.ask(desk, plan, action, ask, record, fields),
            Verdict::Refused | Verdict::Observed => {
                desk.put(Output::Decided(record));
                self.refused(desk, plan);
            }
        }
    }

    /// Nothing comes of it: the caller is told so.
    pub(super) fn refused(&mut self, desk: &mut Desk, plan: &Propose) {
        self.say(&plan.refused.say, Purpose::Plain);
        if let Some(go) = plan.refused.go {
            self.go(desk, go);
        }
    }

    /// Authorised: to the disk first, then to anybody's ear.
    fn keep(
        &mut self,
        desk: &mut Desk,
        plan: &Arc<Propose>,
        action: &Action,
        record: Record,
        (dedupe, rows): (String, Vec<OutboxRow>),
        fields: Vec<(String, String)>,
    ) {
        let seq = desk.next_seq();
        desk.in_force.insert(dedupe.clone());
        let bridge = desk.after_ms(BRIDGE_AFTER_MS);
        desk.timers.set(Timer::Bridge, bridge);
        self.ledger.add(Entry {
            id: record.action,
            rows: rows.iter().map(|row| row.id).collect(),
            undos: rows.iter().filter_map(undo_of).collect(),
            accepted: 0,
            seq,
            plan: Arc::clone(plan),
            dedupe,
            fields,
            undone: false,
            irreversible: action.irreversible,
            accept_ms: (action.confirm == Confirm::Accepted).then_some(action.accept_ms),
            epoch: self.epoch,
            state: State::Storing { denied: false },
        });
        desk.put(Output::Persist(Persist {
            seq,
            record,
            actions: rows,
        }));
    }

    pub(crate) fn stored(&mut self, desk: &mut Desk, seq: Seq, durable: bool) {
        if self.secret_stored(desk, seq, durable) {
            return;
        }
        let Some(entry) = self.ledger.by_seq(seq) else {
            return;
        };
        let Some(turnout) = entry.stored(durable) else {
            return;
        };
        let (id, state) = (entry.id, entry.state);
        match state {
            State::Held { .. } => {
                let until = desk.after_ms(HELD_MS);
                desk.timers.set(Timer::Release(id.number), until);
            }
            State::Sent { .. } => await_answer(desk, entry),
            State::Withdrawn => withdraw(desk, entry),
            State::Failed => drop(desk.in_force.remove(&entry.dedupe)),
            State::Storing { .. } => {}
        }
        self.tell_later(id, turnout);
        if !self.ledger.is_storing() {
            desk.timers.cancel(Timer::Bridge);
        }
    }

    pub(crate) fn upstream(&mut self, desk: &mut Desk, id: ActionId, answer: UpstreamAnswer) {
        let Some(entry) = self.ledger.by_row(id) else {
            return;
        };
        let (id, turnout) = (entry.id, entry.row_answered(answer));
        if entry.undone && answer == UpstreamAnswer::Rejected {
            desk.in_force.remove(&entry.dedupe);
        }
        if let Some(turnout) = turnout {
            desk.timers.cancel(Timer::Accept(id.number));
            self.tell_later(id, turnout);
        }
    }

    pub(super) fn accept_late(&mut self, number: u32) {
        let late = self.ledger.by_number(number);
        let late = late.and_then(|entry| Some((entry.id, entry.answered(None)?)));
        if let Some((id, turnout)) = late {
            self.tell_later(id, turnout);
        }
    }

    /// The caller takes an action back that is not yet released.
    pub(super) fn deny(&mut self, desk: &mut Desk, signal: &SignalKind) -> bool {
        if self.take_back_asked(desk, signal) {
            return true;
        }
        let Some(entry) = self.ledger.denied(signal) else {
            return false;
        };
        if matches!(entry.state, State::Storing { .. }) {
            entry.state = State::Storing { denied: true };
            self.mouth.stop(desk);
            return true;
        }
        entry.state = State::Withdrawn;
        withdraw(desk, entry);
        let id = entry.id;
        self.mouth.stop(desk);
        self.mouth.unsay(id);
        self.untold.retain(|(known, _)| *known != id);
        self.tell_later(id, Turnout::Withdrawn);
        true
    }

    /// The caller takes back what is on its way: it is undone upstream, where
    /// that can be and the playbook has words for it; else they are told so.
    pub(super) fn compensate(&mut self, desk: &mut Desk, id: ActionId) {
        let book = Arc::clone(&desk.book);
        let Some(entry) = self.ledger.by_id(id) else {
            return;
        };
        let Some(undo) = entry.plan.compensation.clone() else {
            return self.untold.push_back((id, Turnout::PassedOn));
        };
        if entry.rows.len() > 1 {
            return self.undo_all(desk, id, &undo);
        }
        let action = book
            .catalogue
            .action(&undo.action)
            .expect("the catalogue was checked: what undoes an action is in it");
        let wanted = |name: &String| action.fields.iter().any(|field| field.name == *name);
        let mut fields = entry.fields.clone();
        fields.retain(|(name, _)| wanted(name));
        let object = object(action, &fields);
        let undone = entry.dedupe.clone();
        // One for each action that is undone, whatever it was about.
        let dedupe = undoing(desk, &undo.action, id);
        let flaws = flaws(action, &fields);
        fields.push((COMPENSATES.to_owned(), id.to_string()));
        let ask = Ask {
            kind: undo.action.as_str().into(),
            object,
            dedupe: Some(dedupe.clone()),
            flaws,
            approved: None,
        };
        self.judge(desk, &undo, action, ask, fields);
        if desk.in_force.contains(&dedupe) {
            desk.in_force.remove(&undone);
            self.is_undone(desk, id);
        }
    }

    /// The caller takes back an action of several steps, all or some of which are on
    /// their way: all are undone, the last one first, or none.
    fn undo_all(&mut self, desk: &mut Desk, id: ActionId, undo: &Arc<Propose>) {
        let book = Arc::clone(&desk.book);
        let Some(entry) = self.ledger.by_id(id) else {
            return;
        };
        let (undos, undone) = (entry.undos.clone(), entry.dedupe.clone());
        let rows = self.undo_rows(desk, &undos);
        let action = book.catalogue.action(&undo.action);
        let (Some((record, rows)), Some(whole)) = (rows, action) else {
            return self.refused(desk, undo);
        };
        let action = Action {
            irreversible: false,
            confirm: Confirm::Durable,
            ..whole.clone()
        };
        desk.in_force.remove(&undone);
        let dedupe = undoing(desk, &undo.action, id);
        self.keep(desk, undo, &action, record, (dedupe, rows), Vec::new());
        self.is_undone(desk, id);
    }

    fn is_undone(&mut self, desk: &mut Desk, id: ActionId) {
        desk.timers.cancel(Timer::Accept(id.number));
        if let Some(entry) = self.ledger.by_id(id) {
            entry.state = State::Withdrawn;
            entry.undone = true;
        }
    }

    /// Sends what is due, once nothing that was said is still in doubt.
    pub(super) fn release(&mut self, desk: &mut Desk, all: bool) {
        if desk.suspended {
            return;
        }
        for entry in self.ledger.releasable(all) {
            entry
                .rows
                .iter()
                .for_each(|row| desk.put(Output::Release(*row)));
            desk.timers.cancel(Timer::Release(entry.id.number));
            entry.state = entry.sent();
            if !all {
                await_answer(desk, entry);
            }
        }
    }

    /// The store never answered. What the caller took back must not be sent when
    /// it comes round after all.
    pub(crate) fn give_up(&mut self, desk: &mut Desk) {
        for entry in self.ledger.taken_back_unstored() {
            entry.state = State::Withdrawn;
            withdraw(desk, entry);
        }
    }

    /// To be said as soon as the caller listens. When the call is over nobody
    /// does, but what was reached still counts.
    fn tell_later(&mut self, id: ActionId, turnout: Turnout) {
        if !self.is_over {
            return self.untold.push_back((id, turnout));
        }
        let here = self.epoch;
        let entry = self.ledger.by_id(id).filter(|entry| entry.epoch == here);
        let next = entry.and_then(|entry| entry.answer(turnout).go);
        if let Some(Go::To(stage)) = next
            && let Some(result) = self.playbook.stage(stage).result.clone()
        {
            self.result = Some(result);
        }
    }

    /// Says what became of actions. It leads on only where the caller still is
    /// where it was proposed; a withdrawal leads on from everywhere.
    pub(super) fn tell(&mut self, desk: &mut Desk) {
        while let Some((id, turnout)) = self.untold.pop_front() {
            let here = self.epoch;
            let Some(entry) = self.ledger.by_id(id) else {
                continue;
            };
            let purpose = match (turnout, entry.state) {
                (Turnout::Durable, State::Held { .. }) => Purpose::Confirm(id),
                _ => Purpose::Plain,
            };
            let taken_back = matches!(turnout, Turnout::Withdrawn | Turnout::PassedOn);
            let leads_on = taken_back || entry.epoch == here;
            let answer = entry.answer(turnout).clone();
            self.say(&answer.say, purpose);
            if turnout == Turnout::Withdrawn
                && let Some((_, before)) = self.owed_to.take_if(|(owed, _)| *owed == id)
            {
                // What was reached by it is not reached any more.
                self.result = before;
            }
            if let Some(go) = answer.go.filter(|_| leads_on) {
                let before = self.result.clone();
                self.go(desk, go);
                if self.result != before {
                    self.owed_to = Some((id, before));
                }
            }
        }
    }

    fn fill(&self, plan: &Propose) -> Vec<(String, String)> {
        plan.fields
            .iter()
            .map(|(name, template)| {
                let value = template.fill(&self.values);
                (name.clone(), value.chars().take(FIELD_MAX).collect())
            })
            .collect()
    }
}

/// A step, and what undoes it.
fn undo_of(row: &OutboxRow) -> Option<(ActionId, Undo)> {
    let undo = row.step.as_ref()?.undo.clone()?;
    Some((row.id, undo))
}

fn withdraw(desk: &mut Desk, entry: &Entry) {
    entry
        .rows
        .iter()
        .for_each(|row| desk.put(Output::Withdraw(*row)));
    desk.timers.cancel(Timer::Release(entry.id.number));
    desk.in_force.remove(&entry.dedupe);
}

/// The effect's key of what undoes an action: one for each, whatever it was about.
pub(super) fn undoing(desk: &Desk, kind: &str, id: ActionId) -> String {
    format!("{UNDO}{}|{kind}|{id}", desk.party)
}

fn await_answer(desk: &mut Desk, entry: &Entry) {
    if let Some(ms) = entry.accept_ms {
        let until = desk.after_ms(ms);
        desk.timers.set(Timer::Accept(entry.id.number), until);
    }
}

/// What makes two of a kind the same: the dedupe fields, or all.
pub(super) fn object(action: &Action, fields: &[(String, String)]) -> Name {
    let all = action.dedupe.is_empty();
    let values: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| all || action.dedupe.contains(name))
        .map(|(_, value)| value.as_str())
        .collect();
    values.join(",").into()
}

pub(super) fn flaws(action: &Action, fields: &[(String, String)]) -> Rules {
    let mut flaws = Rules::new();
    for field in &action.fields {
        let given = fields.iter().find(|(name, _)| *name == field.name);
        let value = given.map_or("", |(_, value)| value);
        if value.is_empty() {
            if field.required {
                flaws.push(format_smolstr!("{FIELD_MISSING}{}", field.name));
            }
        } else if !field.kind.admits(value) {
            flaws.push(format_smolstr!("{FIELD_INVALID}{}", field.name));
        }
    }
    flaws
}
