//! What a conversation wants, carried out: commands to the switchboard, decisions
//! and actions to the store.

use std::sync::Arc;
use std::time::Duration;

use offhook_core::input::{Lease, Referral};
use offhook_core::output::Persist;
use offhook_core::{
    ActionId, Command, ConversationId, Event, Input, LegEvent, Output, Record, Verdict,
};
use offhook_sip::ExtraHeader;

use super::Decision;
use crate::clock;
use crate::settings::Sound;
use crate::store::{Commit, Write};
use crate::switchboard::Place;
use crate::timeline::Line;
use crate::vigil::Fate;

impl Decision {
    pub(super) fn carry_out(&mut self, id: ConversationId, output: Output) {
        match output {
            Output::Do(leg, command) => self.obey((id, leg), command),
            Output::Decided(record) => self.decided(id, record),
            Output::Ask(approval) => self.asked(id, approval),
            Output::Persist(persist) => self.persist(id, persist),
            Output::Release(action) => self.settle(action, Write::Release(action), "released"),
            Output::Withdraw(action) => {
                self.leads.backlog = self.leads.backlog.saturating_sub(1);
                self.taken_back(action.conversation, |_, known| known == action);
                self.went_wrong(action, Fate::TakenBack);
                self.settle(action, Write::Withdraw(action), "withdrawn");
            }
            Output::Ended(outcome) => self.ended(id, outcome),
            Output::Learned(transition) => self.learned(id, transition),
            Output::Identified(identity) => {
                let line = Line::action("identified", identity.name());
                self.note(id, clock::now(), line);
            }
            Output::OtherPerson => self.other_person(id),
            Output::Wait(_) => {}
        }
    }

    pub(super) fn obey(&mut self, place: Place, command: Command) {
        let (id, leg) = place;
        let now = clock::now();
        self.note(id, now, Line::of_command(&command));
        let known = match command {
            Command::Dial {
                to,
                trunk,
                replaces,
            } => self.dial(place, &to, &trunk, replaces),
            Command::Refer { to, trunk } => self.refer(place, &to, &trunk),
            Command::HandOver { sink, id } => self.hand_over(place, &sink, id),
            command => {
                let prompts = self.calls.get(&id).map(|call| Arc::clone(&call.prompts));
                self.board
                    .carry_out(place, command, &prompts.unwrap_or_default())
            }
        };
        if let Some(event) = known {
            self.at_once.push_back((
                id,
                Input {
                    at: now,
                    event: Event::Leg(leg, event),
                },
            ));
        }
    }

    /// The secret of a leg goes to its sink; nothing of it stays here.
    fn hand_over(&mut self, place: Place, sink: &str, id: ActionId) -> Option<LegEvent> {
        let secret = self.board.take_secret(place)?;
        let sent = self.house.courier.carry(place, sink, id, secret);
        (!sent).then_some(LegEvent::HandedOver { taken: false })
    }

    pub(super) fn dial(
        &mut self,
        place: Place,
        to: &str,
        trunk: &str,
        replaces: Option<String>,
    ) -> Option<LegEvent> {
        self.leads.contacted(to, clock::wall());
        let attempt = self.house.settings.budget.attempt;
        self.spend(place.0, attempt, "attempt");
        let known = self.house.settings.trunk(trunk);
        let sound = known.map_or_else(Sound::usual, |it| it.sound.clone());
        let follows = known.is_some_and(|it| it.follows_refer);
        let invite = self.house.trunks.invite(trunk, to, clock::now());
        let invite = invite.map(|mut invite| {
            invite
                .headers
                .extend(replaces.into_iter().flat_map(taking_over));
            invite
        });
        let dialled = invite.and_then(|invite| self.board.dial(place, sound, follows, invite));
        dialled.err().map(LegEvent::Failed)
    }

    /// The far end is asked to call somebody: as its trunk writes numbers, and only
    /// whom it may call.
    fn refer(&mut self, place: Place, to: &str, trunk: &str) -> Option<LegEvent> {
        match self.house.trunks.refer_to(trunk, to) {
            Ok(target) => self.board.refer(place, target),
            Err(cause) => Some(LegEvent::Referral(Referral::Missed(cause))),
        }
    }

    /// A decision that sends nothing: on something local, or a refusal.
    pub(super) fn decided(&mut self, id: ConversationId, record: Record) {
        self.tell(id, record.at, || Some(Line::of_record(&record)));
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if !record.external {
            call.decided(&record);
            self.dirty.insert(id);
            return;
        }
        if record.verdict == Verdict::Refused {
            tracing::info!(message = "refused", CALL_ID = %id, action = record.kind.as_str(),
                rules = record.rules.join(" "));
        }
        let born = call.take_birth();
        let (facts, entries) = (call.facts(), call.take_log());
        born.into_iter().for_each(|born| self.keeper.keep(born));
        let record = Box::new(record);
        self.keeper.keep(Write::Decision {
            conversation: id,
            record,
            facts,
            entries,
        });
    }

    /// What one caller has, such as a free slot, nobody else is offered, until upstream
    /// offers it anew.
    fn give_away(&mut self, id: ConversationId, persist: &Persist) {
        let catalogue = &self.house.settings.books.catalogue;
        let mut given = Vec::new();
        for row in &persist.actions {
            let leased = catalogue.action(&row.kind).map_or(&[][..], |it| &it.leased);
            let fields = row.fields.iter().filter(|(name, _)| leased.contains(name));
            given.extend(fields.map(|(name, value)| Lease {
                name: format!("{name}.{value}"),
                value: 0,
                until: Duration::ZERO,
            }));
        }
        given.retain(|lease| self.offers.give(&lease.name));
        if given.is_empty() {
            return;
        }
        let at = clock::now();
        for other in self.dialogues(None) {
            let event = Event::Leased(given.clone());
            if other != id {
                self.at_once.push_back((other, Input { at, event }));
            }
        }
    }

    /// An authorised action: kept, with all that led to it, before anybody hears of it.
    pub(super) fn persist(&mut self, id: ConversationId, persist: Persist) {
        let record = &persist.record;
        self.tell(id, record.at, || Some(Line::of_record(record)));
        let pages = self.promised(id, &persist);
        let catalogue = Arc::clone(&self.house.settings.books.catalogue);
        for row in &persist.actions {
            let cost = catalogue.action(&row.kind).map_or(0, |action| action.cost);
            self.spend(id, cost, &row.kind);
        }
        self.give_away(id, &persist);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let record = &persist.record;
        self.vigil
            .authorised(record.action, &record.role, &record.kind);
        tracing::info!(message = "authorised", CALL_ID = %id, action = persist.record.kind.as_str());
        let born = call.take_birth();
        let commit = Commit {
            conversation: id,
            seq: persist.seq,
            entries: call.take_log(),
            record: persist.record,
            rows: persist.actions,
            facts: call.facts(),
            pages,
        };
        born.into_iter().for_each(|born| self.keeper.keep(born));
        let opted_out = commit.rows.iter().filter(|row| row.kind == "opt_out");
        opted_out.for_each(|row| self.leads.opt_out(&row.lead));
        self.leads.backlog += commit.rows.len() as u64;
        if self
            .keeper
            .keep_now(Write::Commit(Box::new(commit)))
            .is_err()
        {
            let event = Event::Stored {
                seq: persist.seq,
                durable: false,
            };
            self.at_once.push_back((
                id,
                Input {
                    at: clock::now(),
                    event,
                },
            ));
        }
    }

    pub(super) fn settle(&mut self, action: ActionId, write: Write, what: &str) {
        let id = action.conversation;
        let line = Line::action(what, action.to_string());
        self.note(id, clock::now(), line);
        self.keeper.keep(write);
    }
}

/// Lines of an INVITE that takes another call's place, or fails (RFC 3891 §4, §6.2).
fn taking_over(replaces: String) -> [ExtraHeader; 2] {
    let header = |name: &str, value| ExtraHeader {
        name: name.to_owned(),
        value,
    };
    [
        header("Replaces", replaces),
        header("Require", "replaces".to_owned()),
    ]
}
