//! Actions that a person has to approve: what waits, and what becomes of it.
//! The answer is judged against the state of its own instant, not of the
//! asking; what the caller has said meanwhile makes it stale.

use std::sync::Arc;

use super::Dialogue;
use crate::action::Action;
use crate::desk::{Ask, Desk};
use crate::gate::{APPROVAL_DECLINED, APPROVAL_LATE, APPROVAL_TAKEN_BACK};
use crate::id::ActionId;
use crate::mouth::Purpose;
use crate::output::{Approval, Output};
use crate::playbook::Propose;
use crate::record::Record;
use crate::signal::SignalKind;
use crate::timers::Timer;

/// Actions of one conversation that wait for a person; the next one is refused.
const PENDING_MAX: usize = 4;

/// An action that waits for a person.
#[derive(Debug)]
pub(super) struct Pending {
    plan: Arc<Propose>,
    ask: Ask,
    fields: Vec<(String, String)>,
    record: Record,
    epoch: u32,
    answer: Option<Said>,
}

/// What came of the asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Yes,
    No,
    Nothing,
}

impl Dialogue {
    /// The caller waits for a person in this stay.
    pub(super) fn is_asking(&self) -> bool {
        self.pending.iter().any(|it| it.epoch == self.epoch)
    }

    /// Nothing stands against it but that a person has to approve it.
    pub(super) fn ask(
        &mut self,
        desk: &mut Desk,
        plan: &Arc<Propose>,
        action: &Action,
        ask: Ask,
        record: Record,
        fields: Vec<(String, String)>,
    ) {
        desk.put(Output::Decided(record.clone()));
        if self.pending.len() >= PENDING_MAX {
            desk.settle_asked(record, crate::gate::TOO_MANY_ACTIONS);
            return self.refused(desk, plan);
        }
        let until = desk.after_ms(action.ask_ms);
        desk.timers
            .set(Timer::Approval(record.action.number), until);
        desk.put(Output::Ask(Approval {
            action: record.action,
            kind: ask.kind.to_string(),
            object: ask.object.to_string(),
            role: record.role.to_string(),
            lead: desk.party.clone(),
            fields: fields.clone(),
            until,
        }));
        let bridge = self.playbook.bridge.clone();
        self.say(&bridge, Purpose::Plain);
        let approved = Some(desk.signals);
        self.pending.push(Pending {
            plan: Arc::clone(plan),
            ask: Ask { approved, ..ask },
            fields,
            record,
            epoch: self.epoch,
            answer: None,
        });
    }

    /// A person has answered; it counts once the caller has the word no more.
    pub(crate) fn approval(&mut self, action: ActionId, approved: bool) {
        self.settle_pending(action.number, if approved { Said::Yes } else { Said::No });
    }

    pub(super) fn approval_late(&mut self, number: u32) {
        self.settle_pending(number, Said::Nothing);
    }

    fn settle_pending(&mut self, number: u32, said: Said) {
        let asked = |it: &&mut Pending| it.record.action.number == number && it.answer.is_none();
        if let Some(pending) = self.pending.iter_mut().find(asked) {
            pending.answer = Some(said);
        }
    }

    /// Draws the conclusions of all answers.
    pub(super) fn decide_asked(&mut self, desk: &mut Desk) {
        while let Some(place) = self.pending.iter().position(|it| it.answer.is_some()) {
            let pending = self.pending.remove(place);
            let number = pending.record.action.number;
            desk.timers.cancel(Timer::Approval(number));
            match pending.answer {
                Some(Said::Yes) => self.approved(desk, pending),
                Some(Said::No) => self.declined(desk, pending, APPROVAL_DECLINED),
                Some(Said::Nothing) | None => self.declined(desk, pending, APPROVAL_LATE),
            }
        }
    }

    fn approved(&mut self, desk: &mut Desk, pending: Pending) {
        let book = Arc::clone(&desk.book);
        let action = book
            .catalogue
            .action(&pending.plan.action)
            .expect("the playbook was compiled against this catalogue");
        self.mouth.stop(desk);
        self.judge(desk, &pending.plan, action, pending.ask, pending.fields);
    }

    fn declined(&mut self, desk: &mut Desk, pending: Pending, rule: &str) {
        desk.settle_asked(pending.record, rule);
        self.mouth.stop(desk);
        self.refused(desk, &pending.plan);
    }

    /// The caller takes back what a person is being asked about.
    pub(super) fn take_back_asked(&mut self, desk: &mut Desk, signal: &SignalKind) -> bool {
        let denied = |it: &Pending| it.plan.deny.iter().any(|trigger| trigger.takes(signal));
        let Some(place) = self.pending.iter().rposition(denied) else {
            return false;
        };
        let pending = self.pending.remove(place);
        let number = pending.record.action.number;
        desk.timers.cancel(Timer::Approval(number));
        desk.settle_asked(pending.record, APPROVAL_TAKEN_BACK);
        self.mouth.stop(desk);
        let answer = pending.plan.withdrawn.clone();
        self.say(&answer.say, Purpose::Plain);
        if let Some(go) = answer.go {
            self.go(desk, go);
        }
        true
    }

    /// The call is over: nobody is asked any more.
    pub(super) fn give_up_asking(&mut self, desk: &mut Desk) {
        for pending in core::mem::take(&mut self.pending) {
            desk.settle_asked(pending.record, APPROVAL_LATE);
        }
    }
}
