//! The people behind calls: who it is, what is learned of them, and what the
//! command line asks about leads.

use std::time::Duration;

use offhook_core::input::Fact;
use offhook_core::memory::{Attestation, Source, Topic, Transition};
use offhook_core::number::{Country, Numbering};
use offhook_core::output::{Outcome, Persist};
use offhook_core::{ActionId, ConversationId, Event, Input, LeadId, Number, Seq};
use tokio::sync::oneshot;

use super::Decision;
use crate::clock;
use crate::control::Failure;
use crate::control::people::{ImportOrder, ImportReport, LeadRequest};
use crate::leads::{Chapter, LeadView, Leads, Page, wall_ms};
use crate::store::{Direction, ForgetLead, Write};
use crate::timeline::Line;

impl Decision {
    /// Keeps what is news of leads.
    pub(super) fn keep_pages(&mut self, pages: Vec<Page>) {
        if !pages.is_empty() {
            let kept = None;
            self.keeper.keep(Write::Leads { pages, kept });
        }
    }

    /// Who it is, told to the conversation before anything else happens in it.
    pub(super) fn meet(
        &mut self,
        id: ConversationId,
        number: Option<&Number>,
        attestation: Attestation,
        person: Option<LeadId>,
    ) {
        let fresh = person.unwrap_or_else(|| LeadId(self.new_id().0));
        let (met, identity, mut pages) = self.leads.meet(number, attestation, id, fresh);
        // Who was meant to be called is who it is, until they say otherwise.
        let lead = person.unwrap_or(met);
        if lead != met {
            pages.extend(self.leads.write(lead, [Chapter::Talked(id)]));
        }
        self.keep_pages(pages);
        if let Some(call) = self.calls.get_mut(&id) {
            call.person = Some(lead);
        }
        let wall = clock::wall();
        let recollection = self.leads.recollection(lead, identity, attestation, wall);
        let now = clock::now();
        self.feed(id, now, Event::Remembered(recollection));
        let own = self.offers.all(Some(lead), now);
        if !own.is_empty() {
            self.feed(id, now, Event::Leased(own));
        }
    }

    /// Something new is known of the person in this call.
    pub(super) fn learned(&mut self, id: ConversationId, transition: Transition) {
        let Some(lead) = self.calls.get(&id).and_then(|call| call.person) else {
            return;
        };
        let line = format!("{} {}", transition.topic.name(), transition.name);
        self.note(id, clock::now(), Line::action("learned", line));
        let chapters = [Chapter::Talked(id), Chapter::Learned(transition)];
        let pages = self.leads.write(lead, chapters);
        self.keep_pages(pages);
    }

    /// Somebody else speaks: from now on it is their conversation.
    pub(super) fn other_person(&mut self, id: ConversationId) {
        let fresh = LeadId(self.new_id().0);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(from) = call.person.replace(fresh) else {
            return;
        };
        let (now, wall) = (clock::now(), clock::wall());
        let pages = self.leads.split(from, fresh, id, wall);
        self.keep_pages(pages);
        self.note(
            id,
            now,
            Line::action("split", format!("from lead {from}: lead {fresh}")),
        );
        let identity = offhook_core::memory::Identity::Number;
        let told = self
            .leads
            .recollection(fresh, identity, Attestation::Unknown, wall);
        // What was told of the other one's account is nothing of this one's.
        let account = Fact {
            name: "account_ok".to_owned(),
            value: None,
        };
        for event in [Event::Remembered(told), Event::Facts(vec![account])] {
            self.at_once.push_back((id, Input { at: now, event }));
        }
    }

    /// What is promised is remembered in the same transaction.
    pub(super) fn promised(&mut self, id: ConversationId, persist: &Persist) -> Vec<Page> {
        let Some(lead) = self.calls.get(&id).and_then(|call| call.person) else {
            return Vec::new();
        };
        let at_ms = wall_ms(clock::wall());
        let mut pages = Vec::new();
        for row in &persist.actions {
            if let Some(undone) = row.compensates() {
                self.taken_back(id, |_, known| known == undone);
                continue;
            }
            let (topic, name, value) = match row.kind.as_str() {
                "opt_out" => (Topic::OptOut, "calls", "said so"),
                kind => (Topic::Commitment, kind, persist.record.object.as_str()),
            };
            let source = Source::Call(id);
            let promise = Transition::new(topic, name, Some(value), at_ms, source);
            let chapters = [Chapter::Talked(id), Chapter::Learned(promise)];
            pages.extend(self.leads.write(lead, chapters));
            if let Some(call) = self.calls.get_mut(&id) {
                call.promises.push((persist.seq, row.id, row.kind.clone()));
            }
        }
        pages
    }

    /// What was taken back, or could not be kept, is no promise. An opt-out
    /// stays all the same: whoever said it is not called.
    pub(super) fn taken_back(&mut self, id: ConversationId, which: impl Fn(Seq, ActionId) -> bool) {
        let Some((lead, call)) = self
            .calls
            .get_mut(&id)
            .and_then(|call| Some((call.person?, call)))
        else {
            return;
        };
        let found = call
            .promises
            .iter()
            .position(|(seq, action, _)| which(*seq, *action));
        let Some(kind) = found.map(|place| call.promises.remove(place).2) else {
            return;
        };
        let (at_ms, source) = (wall_ms(clock::wall()), Source::Call(id));
        let gone = Transition::new(Topic::Commitment, &kind, None, at_ms, source);
        let pages = self.leads.write(lead, [Chapter::Learned(gone)]);
        self.keep_pages(pages);
    }

    /// One more contact, and what came of it; of those that can be known again.
    pub(super) fn contact_over(&mut self, id: ConversationId, outcome: &Outcome) {
        let Some((lead, direction)) = self
            .calls
            .get(&id)
            .and_then(|call| Some((call.person?, call.direction)))
        else {
            return;
        };
        if !self.leads.is_known(lead) {
            return;
        }
        let came = format!("{} ({})", outcome.result, outcome.cause.name());
        let (at_ms, source) = (wall_ms(clock::wall()), Source::Call(id));
        let contact = Transition::new(Topic::Contact, direction.name(), Some(&came), at_ms, source);
        let pages = self.leads.write(lead, [Chapter::Learned(contact)]);
        self.keep_pages(pages);
    }

    /// What the command line asks about leads.
    pub(super) fn serve_lead(&mut self, request: LeadRequest) {
        match request {
            LeadRequest::Import(order, reply) => {
                let _ = reply.send(self.import(&order));
            }
            LeadRequest::Show(text, reply) => {
                let _ = reply.send(self.show(&text));
            }
            LeadRequest::Merge(order, reply) => {
                let _ = reply.send(self.merge(&order.from, &order.into));
            }
            LeadRequest::Forget(text, reply) => {
                let _ = reply.send(self.begin_to_forget(&text));
            }
            LeadRequest::Forgotten(lead) => self.leads.forget(lead),
        }
    }

    /// Numbers in files and orders are read as the trunk or the country has them.
    fn numbering(&self, order: &ImportOrder) -> Result<Numbering, Failure> {
        if let Some(name) = &order.country {
            let country = Country::find(name);
            let unknown = || Failure::new(format!("unknown country `{name}`: write it like DE"));
            return Ok(Numbering {
                country: Some(country.ok_or_else(unknown)?),
                ..Numbering::default()
            });
        }
        let settings = &self.house.settings;
        let name = order.trunk.as_ref().or(settings.outbound.trunk.as_ref());
        match name {
            None => Ok(Numbering::default()),
            Some(name) => settings
                .trunk(name)
                .map(|trunk| trunk.numbering.clone())
                .ok_or_else(|| Failure::new(format!("there is no trunk `{name}`"))),
        }
    }

    fn import(
        &mut self,
        order: &ImportOrder,
    ) -> Result<(ImportReport, oneshot::Receiver<()>), Failure> {
        let numbering = self.numbering(order)?;
        let wall = clock::wall();
        let mut report = ImportReport::default();
        let mut pages = Vec::new();
        for record in &order.rows {
            let fresh = LeadId(self.new_id().0);
            match self.leads.import(record, &numbering, fresh, wall) {
                Ok((imported, news)) => {
                    report.count(imported);
                    pages.extend(news);
                }
                Err(rejected) => report.rejected.push(rejected),
            }
        }
        let (kept, durable) = oneshot::channel();
        let write = Write::Leads {
            pages,
            kept: Some(kept),
        };
        self.keeper.keep(write);
        Ok((report, durable))
    }

    pub(super) fn one_lead(&self, text: &str) -> Result<LeadId, Failure> {
        let mut found = self.leads.find(text);
        // Or as one of the trunks writes numbers.
        for trunk in &self.house.settings.trunks {
            if found.is_empty()
                && let Some(number) = trunk.numbering.read(text)
            {
                found = self.leads.find(number.as_str());
            }
        }
        match found[..] {
            [] => Err(Failure::new(format!("no lead is known by `{text}`"))),
            [one] => Ok(one),
            _ => {
                let ids: Vec<String> = found.iter().map(LeadId::to_string).collect();
                Err(Failure::new(format!(
                    "`{text}` is shared by several leads; which one: {}",
                    ids.join(" ")
                )))
            }
        }
    }

    fn show(&self, text: &str) -> Result<LeadView, Failure> {
        let lead = self.one_lead(text)?;
        let view = self.leads.view(lead, clock::wall());
        view.ok_or_else(|| Failure::new(format!("no lead is known by `{text}`")))
    }

    fn merge(&mut self, from: &str, into: &str) -> Result<LeadView, Failure> {
        let (from, into) = (self.one_lead(from)?, self.one_lead(into)?);
        if from == into {
            return Err(Failure::new("they are one lead already"));
        }
        let pages = self.leads.merge(from, into);
        self.keep_pages(pages);
        self.show(&into.to_string())
    }

    /// Hands over what is to be deleted; the lead goes when the store has done it.
    fn begin_to_forget(
        &mut self,
        text: &str,
    ) -> Result<
        (
            LeadId,
            Vec<String>,
            oneshot::Receiver<crate::store::Forgotten>,
        ),
        Failure,
    > {
        let lead = self.one_lead(text)?;
        if self.calls.values().any(|call| call.person == Some(lead)) {
            return Err(Failure::new(
                "a call with this lead is going on: end it first",
            ));
        }
        let remains = self.leads.remains(lead);
        let calls = remains
            .conversations
            .iter()
            .map(ToString::to_string)
            .collect();
        let (done, told) = oneshot::channel();
        let wish = ForgetLead { remains, done };
        self.keeper.keep(Write::ForgetLead(Box::new(wish)));
        Ok((lead, calls, told))
    }
}

impl Leads {
    /// It can be known again: it has a number, an id, or a memory.
    fn is_known(&self, lead: LeadId) -> bool {
        self.view(lead, Duration::ZERO).is_some()
    }
}

/// The number of the other party of an outbound call, where it is one.
pub(super) fn number_of(numbering: Option<&Numbering>, to: &str) -> Option<Number> {
    numbering.map_or_else(|| Number::parse(to), |numbering| numbering.read(to))
}

/// Inbound it is the caller, outbound the called.
pub(super) fn party<'a>(direction: Direction, caller: &'a str, called: &'a str) -> &'a str {
    match direction {
        Direction::Inbound => caller,
        Direction::Outbound => called,
    }
}
