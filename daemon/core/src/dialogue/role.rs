//! Roles are states of one session: a change takes place whole, is on record, and
//! can be taken back. Values, objections, intent and the transcript stay.

use std::collections::BTreeMap;

use smallvec::smallvec;
use smol_str::format_smolstr;

use super::Dialogue;
use crate::desk::{Desk, RoleChange};
use crate::id::Name;
use crate::playbook::{Go, Guard, Handler, RoleId, StageId};
use crate::record::{Rules, Values, Verdict};
use crate::signal::SignalKind;

/// Rule of a role that has no guards.
const UNGUARDED: &str = "role.unguarded";
/// Rule that a role was left for the one it was entered from.
const BACK: &str = "role.back";

/// Where a role was entered from, as it was left.
#[derive(Debug)]
pub(super) struct Return {
    stage: StageId,
    taken: BTreeMap<usize, u32>,
}

impl Dialogue {
    pub(super) fn go(&mut self, desk: &mut Desk, go: Go) {
        match go {
            Go::To(stage) => self.enter(desk, stage),
            Go::Back => self.back(desk),
        }
    }

    /// The guards of the role that it leads to hold once it is taken.
    pub(super) fn may_take(&self, desk: &Desk, handler: &Handler) -> bool {
        let Some(Go::To(stage)) = handler.go else {
            return true;
        };
        let role = self.playbook.stage(stage).role;
        if role == self.here().role {
            return true;
        }
        let guards = &self.playbook.role(role).guards;
        let mut facts = desk.facts.clone();
        if handler.acknowledges_price && self.knows_price(desk) {
            facts.own("price_acknowledged", 1);
        }
        if handler.confirms {
            facts.own("confirmations", self.confirmations.saturating_add(1));
        }
        let mut known = self.known(desk);
        known.facts = &facts;
        guards.iter().all(|guard| guard.holds(known))
    }

    fn missing(&self, desk: &Desk, role: RoleId) -> impl Iterator<Item = &Guard> {
        let guards = self.playbook.role(role).guards.iter();
        guards.filter(|guard| !self.hold(desk, core::slice::from_ref(*guard)))
    }

    /// A handler would have led on, but for the guards of a role.
    pub(super) fn note_barred(&self, desk: &mut Desk, signal: &SignalKind) {
        let Some(go) = self.barred(desk, signal) else {
            return;
        };
        let role = self.playbook.stage(go).role;
        let rules = self.missing(desk, role).map(named).collect();
        let values = self.read_by(desk, role);
        self.note_role(desk, role, Verdict::Refused, rules, values);
    }

    /// Brings everything that depends on the role over, before the stage is entered.
    pub(super) fn change_role(&mut self, desk: &mut Desk, stage: StageId) -> bool {
        let role = self.playbook.stage(stage).role;
        if role == self.here().role && self.epoch > 0 {
            return true;
        }
        if self.missing(desk, role).next().is_some() {
            let rules = self.missing(desk, role).map(named).collect();
            let values = self.read_by(desk, role);
            self.note_role(desk, role, Verdict::Refused, rules, values);
            return false;
        }
        if self.epoch > 0 {
            let guards = self.playbook.role(role).guards.iter();
            let mut rules: Rules = guards.map(named).collect();
            if rules.is_empty() {
                rules.push(Name::new_static(UNGUARDED));
            }
            let values = self.read_by(desk, role);
            self.note_role(desk, role, Verdict::Authorised, rules, values);
            self.remember_way(role);
        }
        true
    }

    /// Each role is on the way back once: who comes again by another way has come back.
    fn remember_way(&mut self, role: RoleId) {
        let playbook = &self.playbook;
        let known = self
            .ways
            .iter()
            .position(|way| playbook.stage(way.stage).role == role);
        match known {
            Some(place) => self.ways.truncate(place),
            None => self.ways.push(Return {
                stage: self.stage,
                taken: core::mem::take(&mut self.taken),
            }),
        }
    }

    /// Where the role was entered from, as it was left: nothing is said or asked again.
    fn back(&mut self, desk: &mut Desk) {
        let Some(Return { stage, taken }) = self.ways.pop() else {
            return;
        };
        let role = self.playbook.stage(stage).role;
        self.note_role(
            desk,
            role,
            Verdict::Authorised,
            smallvec![Name::new_static(BACK)],
            Values::new(),
        );
        self.settle_in(desk, stage);
        self.taken = taken;
    }

    fn note_role(
        &self,
        desk: &mut Desk,
        role: RoleId,
        verdict: Verdict,
        rules: Rules,
        values: Values,
    ) {
        let role = self.playbook.role(role).name.clone();
        let change = RoleChange {
            role,
            verdict,
            rules,
            values,
        };
        desk.note_role(&self.scene(), change);
    }

    /// The facts that the guards of the role read.
    fn read_by(&self, desk: &Desk, role: RoleId) -> Values {
        let guards = self.playbook.role(role).guards.iter();
        let read = |guard: &Guard| match guard {
            Guard::Fact(fact, _, _) => {
                Some((Name::new_static(fact.name()), desk.facts.value(*fact)))
            }
            Guard::Value(..) | Guard::Recalled(..) | Guard::Offered(..) => None,
        };
        guards.filter_map(read).collect()
    }
}

fn named(guard: &Guard) -> Name {
    format_smolstr!("{guard}")
}
