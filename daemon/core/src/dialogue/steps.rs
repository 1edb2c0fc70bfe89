//! Actions of several steps: each is judged by itself beside the whole, all are
//! kept in one transaction, and what would undo them where one fails is authorised with
//! them. A caller who takes the whole back has each undone, the last one first.

use std::sync::Arc;

use smallvec::smallvec;

use super::Dialogue;
use super::actions::{flaws, object, undoing};
use crate::action::Action;
use crate::desk::{Ask, Desk};
use crate::gate::STEP_REFUSED;
use crate::id::{ActionId, Name};
use crate::ledger::AFTER;
use crate::output::{COMPENSATES, OutboxRow, Output, Step, Undo};
use crate::playbook::Propose;
use crate::record::{Record, Verdict};

type Fields = [(String, String)];

impl Dialogue {
    /// The rows of an authorised action: itself, or its steps in their order. None
    /// when the gate refuses a step; then nothing of it may happen.
    pub(super) fn rows(
        &self,
        desk: &mut Desk,
        plan: &Propose,
        action: &Action,
        record: &Record,
        ask: &Ask,
        fields: &Fields,
    ) -> Option<Vec<OutboxRow>> {
        if action.steps.is_empty() {
            return Some(vec![OutboxRow {
                id: record.action,
                kind: plan.action.clone(),
                lead: desk.party.clone(),
                dedupe: ask.dedupe.clone().unwrap_or_default(),
                held: action.irreversible,
                fields: fields.to_vec(),
                step: None,
                undoes: None,
            }]);
        }
        let mut rows = Vec::new();
        for (place, kind) in (1..).zip(&action.steps) {
            let mut row = self.step(desk, kind, ask, fields)?;
            row.held = action.irreversible;
            row.step = Some(Step {
                of: record.action,
                place,
                undo: undo(desk, kind, row.id, fields),
            });
            rows.push(row);
        }
        Some(rows)
    }

    /// One step, where the gate lets it.
    fn step(&self, desk: &mut Desk, kind: &str, whole: &Ask, all: &Fields) -> Option<OutboxRow> {
        let book = Arc::clone(&desk.book);
        let action = book.catalogue.action(kind)?;
        let fields = fields_of(action, all);
        let object = object(action, &fields);
        let whole_key = whole.dedupe.as_deref().unwrap_or_default();
        // Done and undone before: another effect, of the whole and of its steps.
        let again = whole_key
            .find(AFTER)
            .map_or("", |place| &whole_key[place..]);
        let dedupe = format!("{}|{kind}|{object}{again}", desk.party);
        let ask = Ask {
            kind: kind.into(),
            object,
            dedupe: None,
            flaws: flaws(action, &fields),
            approved: whole.approved,
        };
        let record = desk.judge(&self.scene(), ask);
        let (id, verdict) = (record.action, record.verdict);
        desk.put(Output::Decided(record));
        (verdict == Verdict::Authorised).then(|| OutboxRow {
            id,
            kind: kind.to_owned(),
            lead: desk.party.clone(),
            dedupe,
            held: false,
            fields,
            step: None,
            undoes: None,
        })
    }

    /// The rows that undo each step, the last one first, and the decision on them; None
    /// when the gate refuses one. Which steps took effect the store knows.
    pub(super) fn undo_rows(
        &self,
        desk: &mut Desk,
        undos: &[(ActionId, Undo)],
    ) -> Option<(Record, Vec<OutboxRow>)> {
        let scene = self.scene();
        let (mut last, mut rows) = (None, Vec::new());
        for (step, undo) in undos.iter().rev() {
            let book = Arc::clone(&desk.book);
            let action = book.catalogue.action(&undo.kind)?;
            let ask = Ask {
                kind: undo.kind.as_str().into(),
                object: object(action, &undo.fields),
                dedupe: Some(undo.dedupe.clone()),
                flaws: flaws(action, &undo.fields),
                approved: None,
            };
            let mut record = desk.judge(&scene, ask);
            record.action = undo.id;
            let verdict = record.verdict;
            if let Some(before) = last.replace(record) {
                desk.put(Output::Decided(before));
            }
            if verdict != Verdict::Authorised {
                desk.put(Output::Decided(last?));
                return None;
            }
            rows.push(OutboxRow {
                id: undo.id,
                kind: undo.kind.clone(),
                lead: desk.party.clone(),
                dedupe: undo.dedupe.clone(),
                held: false,
                fields: undo.fields.clone(),
                step: None,
                undoes: Some(*step),
            });
        }
        Some((last?, rows))
    }

    /// What the gate let pass as a whole falls with one of its steps.
    pub(super) fn refused_by_step(&mut self, desk: &mut Desk, plan: &Propose, mut record: Record) {
        desk.authorised = desk.authorised.saturating_sub(1);
        record.verdict = Verdict::Refused;
        record.rules = smallvec![Name::new_static(STEP_REFUSED)];
        desk.put(Output::Decided(record));
        self.refused(desk, plan);
    }
}

/// What undoes a step once it took effect.
fn undo(desk: &mut Desk, kind: &str, id: ActionId, all: &Fields) -> Option<Undo> {
    let book = Arc::clone(&desk.book);
    let kind = book.catalogue.action(kind)?.compensation.clone()?;
    let mut fields = fields_of(book.catalogue.action(&kind)?, all);
    fields.push((COMPENSATES.to_owned(), id.to_string()));
    Some(Undo {
        id: desk.next_action(),
        dedupe: undoing(desk, &kind, id),
        kind,
        fields,
    })
}

/// Of all fields those that the action has.
fn fields_of(action: &Action, all: &Fields) -> Vec<(String, String)> {
    let wanted = |name: &str| action.fields.iter().any(|field| field.name == name);
    let known = all.iter().filter(|(name, _)| wanted(name));
    known.cloned().collect()
}
