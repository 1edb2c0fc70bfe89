//! How a conversation comes to be and how it is let go: every one of them with
//! a birth row, its facts, and exactly one outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use offhook_core::input::{Cause, Fact, Offered, Originate};
use offhook_core::memory::Attestation;
use offhook_core::output::Outcome;
use offhook_core::{
    Book, Conversation, ConversationId, Event, LeadId, LegEvent, Number, Program, Standing,
};
use offhook_sip::{CallKey, Flow, Incoming};

use super::arrivals::is_dialogue;
use super::fallback::{Apology, Reception};
use super::{Decision, FIRST, people};
use crate::call::Call;
use crate::clock;
use crate::facts;
use crate::identity::{self, Caller};
use crate::logging::Redacted;
use crate::store::{Birth, Direction, Ended, Log, Write};
use crate::switchboard::Place;
use crate::timeline::Line;

impl Decision {
    /// A call came in: of a trunk of ours, to somewhere, while there is room.
    pub(super) fn incoming(
        &mut self,
        now: Duration,
        key: CallKey,
        flow: Flow,
        mut invite: Incoming,
    ) {
        let Some(trunk) = self.house.trunks.of_flow(&flow, &self.house.settings) else {
            tracing::debug!(message = "call_refused", reason = "unknown source", peer = %flow.remote);
            return self.turn_away(key, Cause::Forbidden);
        };
        if let Some(old) = invite.replaces {
            let by = trunk.name.clone();
            return self.taken_over(now, (old, key), invite, &by);
        }
        let caller = identity::caller(&invite, &trunk.numbering);
        let (stir, wall) = (self.house.settings.stir.as_ref(), clock::wall());
        let (signed, verified) =
            identity::signatures(&invite, &caller, &trunk.numbering, stir, wall);
        let sound = trunk.sound.clone();
        let trunk = trunk.name.clone();
        let called = invite.request_uri.user().unwrap_or_default();
        let (book, apology) = match self.receive(&called) {
            Reception::Seat(book, apology) => (book, apology),
            Reception::Elsewhere(uri, why) => {
                tracing::warn!(message = "call_sent_on", trunk, reason = why.name());
                return self.board.send_on(key, &uri);
            }
            Reception::Refuse(cause, reason) => {
                tracing::debug!(message = "call_refused", reason, trunk, called = %Redacted(&called));
                return self.turn_away(key, cause);
            }
        };
        let Caller {
            shown,
            number,
            attestation,
        } = caller;
        let id = self.new_id();
        let offer = invite.offer.take();
        let heard = matches!(book.program, Program::Playbook(_));
        self.board
            .seat((id, FIRST), (key, flow), offer, sound, heard);
        let offered = Offered {
            trunk,
            caller: shown,
            called,
            person: apology
                .as_ref()
                .map_or(String::new(), |it| it.person.clone()),
        };
        let lead = if offered.caller.is_empty() {
            id.to_string()
        } else {
            offered.caller.clone()
        };
        tracing::debug!(message = "call_offered", CALL_ID = %id, trunk = offered.trunk,
            caller = %Redacted(&offered.caller), called = %Redacted(&offered.called));
        self.born(id, now, Direction::Inbound, &book, &offered, lead);
        let agent = invite.user_agent.as_deref().unwrap_or("no User-Agent");
        let line = Line::signalling("peer", format!("{}, {agent}", flow.remote));
        self.note(id, now, line);
        let attestation = verified.unwrap_or(attestation);
        for line in signed.into_iter().chain(identity::detours(&invite)) {
            if let Some(call) = self.calls.get_mut(&id) {
                call.origin.push((line.event.clone(), line.detail.clone()));
            }
            self.note(id, now, line);
        }
        if let Some(Apology { why, .. }) = apology {
            tracing::warn!(message = "call_apologised", CALL_ID = %id, reason = why.name());
            self.note(id, now, Line::action("fallback", why.name()));
        }
        if is_dialogue(&book.program) {
            self.meet(id, number.as_ref(), attestation, None);
            let budget = self.budget_facts(self.person_of(id), None);
            self.feed(id, now, Event::Facts(budget));
        }
        self.feed(id, now, Event::Offered(offered));
        self.keep_birth(id);
    }

    /// Refuses a call that gets no leg. A line for each would be the caller's to write:
    /// the minute's line counts them.
    fn turn_away(&mut self, key: CallKey, cause: Cause) {
        // Relaxed: a number that is shown, it orders nothing.
        let refused = &self.house.sip.calls_refused;
        refused.fetch_add(1, Ordering::Relaxed);
        self.board.turn_away(key, cause);
    }

    /// Somebody takes a call's place, as a PBX does that transfers it: its trunk
    /// may, nobody else.
    fn taken_over(&mut self, now: Duration, keys: (CallKey, CallKey), invite: Incoming, by: &str) {
        let (old, key) = keys;
        let id = self.board.place_of(old).map(|(id, _)| id);
        let theirs = id
            .and_then(|id| self.calls.get(&id))
            .is_some_and(|call| call.trunk == by);
        if !theirs {
            return self.board.turn_away(key, Cause::Forbidden);
        }
        let who = invite.from.uri.to_string();
        if let Some((id, _)) = self.board.take_over(old, key, invite.offer) {
            let line = Line::signalling("taken over", format!("by {}", Redacted(&who)));
            self.note(id, now, line);
        }
    }

    /// Places a call; the gate decides whether it is dialled.
    pub(super) fn originate(
        &mut self,
        originate: Originate,
        number: Option<&Number>,
        consent: Option<&str>,
        book: &Arc<Book>,
        of: Option<(LeadId, Option<(u64, String)>)>,
    ) -> ConversationId {
        let (id, now) = (self.new_id(), clock::now());
        let lead = originate.to.clone();
        let offered = Offered {
            trunk: originate.trunk.clone(),
            caller: String::new(),
            called: originate.to.clone(),
            person: String::new(),
        };
        self.born(id, now, Direction::Outbound, book, &offered, lead);
        tracing::info!(message = "call_originated", CALL_ID = %id, trunk = originate.trunk,
            to = %Redacted(&originate.to), by = originate.by);
        let (person, campaign) = of.map_or((None, None), |(lead, of)| (Some(lead), of));
        self.meet(id, number, Attestation::Unknown, person);
        if let (Some((campaign, name)), Some(lead)) = (campaign, person) {
            if let Some(call) = self.calls.get_mut(&id) {
                call.campaign = Some(name);
            }
            if let Some(campaign) = self.campaigns.by_id(campaign) {
                campaign.calls.insert(id, lead);
            }
        }
        let budget = self.budget_facts(self.person_of(id), self.campaign_of(id).as_deref());
        self.feed(id, now, Event::Facts(budget));
        let on_file = self.person_of(id).map_or(0, |it| self.leads.consent_of(it));
        let level = facts::consent_level(consent).max(on_file);
        let facts = vec![
            facts::fact("consent_recorded", (level > 0).into()),
            facts::fact("consent_basis", level),
        ];
        self.feed(id, now, Event::Facts(facts));
        self.feed(id, now, Event::Originate(originate));
        self.keep_birth(id);
        id
    }

    /// The birth goes before all else that is kept of a conversation, and takes
    /// with it what the first input led to.
    pub(super) fn keep_birth(&mut self, id: ConversationId) {
        if let Some(born) = self.calls.get_mut(&id).and_then(|call| call.take_birth()) {
            self.keeper.keep(born);
        }
    }

    /// A conversation begins: its birth, and what it decides by; a test line
    /// decides nothing that facts bear on.
    pub(super) fn born(
        &mut self,
        id: ConversationId,
        now: Duration,
        direction: Direction,
        book: &Arc<Book>,
        offered: &Offered,
        lead: String,
    ) {
        let birth = Birth {
            conversation: id,
            direction,
            trunk: offered.trunk.clone(),
            caller: offered.caller.clone(),
            called: offered.called.clone(),
            playbook: program_name(&book.program),
            started_ms: wall_ms(),
            born: now,
        };
        let conversation = Conversation::new(id, Arc::clone(book));
        let prompts = self.house.prompts_of(book);
        self.calls
            .insert(id, Box::new(Call::new(birth, lead, conversation, prompts)));
        self.governed(id);
        if !is_dialogue(&book.program) {
            return;
        }
        if self.standing != Standing::default() {
            self.feed(id, now, Event::Standing(self.standing.clone()));
        }
        let party = people::party(direction, &offered.caller, &offered.called);
        let facts = self.facts(party);
        self.feed(id, now, Event::Facts(facts));
        let offers = self.offers.all(None, now);
        if !offers.is_empty() {
            self.feed(id, now, Event::Leased(offers));
        }
    }

    pub(super) fn facts(&self, number: &str) -> Vec<Fact> {
        let mut facts = self.rules.zones.facts(number, clock::wall());
        let media = self.board.media_counts();
        let free = media.slots.saturating_sub(media.used);
        facts.push(facts::fact(
            "media_free",
            free.try_into().unwrap_or(i64::MAX),
        ));
        let recorded = self.house.settings.recording.is_some();
        facts.push(facts::fact("recording", recorded.into()));
        let healthy = self.keeper.store().health().failing.is_none();
        facts.push(facts::fact("store_ok", healthy.into()));
        facts.push(facts::fact(
            "calls_active",
            self.calls.len().try_into().unwrap_or(i64::MAX),
        ));
        let backlog = i64::try_from(self.leads.backlog).unwrap_or(i64::MAX);
        facts.push(facts::fact("uplink_backlog", backlog));
        let lead = self.leads.find(number);
        let lead = if let [one] = lead[..] {
            Some(one)
        } else {
            None
        };
        facts.extend(self.leads.facts(number, lead, clock::wall()));
        if self.rules.barred.contains(number) {
            facts.push(facts::fact("do_not_call", 1));
        }
        facts
    }

    /// The campaign that a call belongs to, by name.
    fn campaign_of(&self, id: ConversationId) -> Option<String> {
        self.calls.get(&id)?.campaign.clone()
    }

    /// Who a call is with.
    pub(super) fn person_of(&self, id: ConversationId) -> Option<LeadId> {
        self.calls.get(&id)?.person
    }

    /// The conversation is over; its legs may still be saying goodbye.
    pub(super) fn ended(&mut self, id: ConversationId, outcome: Outcome) {
        self.contact_over(id, &outcome);
        self.campaign_call_over(id, &outcome);
        let joined = self.calls.get(&id).and_then(|call| call.joined);
        let with_person = joined.map_or(Duration::ZERO, |since| clock::now().saturating_sub(since));
        let points = self.house.settings.budget.talk(outcome.talk, with_person);
        self.spend(id, points, "minutes");
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let (cost, origin) = (call.spent, std::mem::take(&mut call.origin));
        // What a field tech asks the journal for: each call by its id.
        tracing::info!(message = "call_ended", CALL_ID = %id, lead = %Redacted(&call.lead),
            cause = outcome.cause.name(), result = outcome.result,
            talk_ms = outcome.talk.as_millis() as u64);
        let line = Line::action(
            "outcome",
            format!("{} ({})", outcome.result, outcome.cause.name()),
        );
        call.end(Ended {
            conversation: id,
            lead: call.lead.clone(),
            ended_ms: wall_ms(),
            outcome: Outcome {
                cost,
                origin,
                ..outcome
            },
            entries: Log::default(),
        });
        self.note(id, clock::now(), line);
        if !self.board.has_leg(id) {
            self.gone((id, FIRST));
        }
    }

    /// A leg's dialog is over; with the last one goes the call.
    pub(super) fn gone(&mut self, (conversation, leg): Place) {
        // The outcome lets go of the dialogs itself.
        if !self.calls.get(&conversation).is_some_and(|call| call.over) {
            self.keeper.keep(Write::DialogOver {
                conversation,
                leg: leg.0,
            });
        }
        if self.board.has_leg(conversation) {
            return;
        }
        // Of a call that we refused signalling says no more than this; the
        // core's own reason stands.
        if self.calls.get(&conversation).is_some_and(|call| !call.over) {
            let ended = LegEvent::Ended(Cause::NearHangup);
            self.feed(conversation, clock::now(), Event::Leg(leg, ended));
        }
        let Some(mut call) = self.calls.remove(&conversation) else {
            return;
        };
        call.take_writes().for_each(|write| self.keeper.keep(write));
        self.dirty.remove(&conversation);
        if let Some(at) = call.wake_at {
            self.wakeups.remove(&(at, conversation));
        }
    }

    /// The core panicked on this conversation: it ends alone, with an outcome.
    pub(super) fn fail(&mut self, id: ConversationId) {
        tracing::error!(message = "conversation_failed", CALL_ID = %id);
        self.board.hang_up((id, FIRST), Cause::InternalError);
        let outcome = Outcome::of(Cause::InternalError, "failed");
        if self.calls.get(&id).is_some_and(|call| !call.over) {
            self.ended(id, outcome);
        }
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        let live: Vec<_> = self.calls.keys().copied().collect();
        for id in live {
            self.feed(id, clock::now(), Event::OperatorHangup);
        }
    }

    /// Ids rise with time, also over restarts, and never repeat: wall time in
    /// ms, room for 2^20 calls in each.
    pub(super) fn new_id(&mut self) -> ConversationId {
        let now = u64::try_from(clock::wall().as_millis()).unwrap_or_default() << 20;
        self.last_id = now.max(self.last_id + 1);
        ConversationId(self.last_id)
    }
}

fn wall_ms() -> u64 {
    clock::wall().as_millis().try_into().unwrap_or(u64::MAX)
}

fn program_name(program: &Program) -> String {
    match program {
        Program::Playbook(playbook) => playbook.name.clone(),
        Program::Test(line) => line.name().to_owned(),
    }
}
