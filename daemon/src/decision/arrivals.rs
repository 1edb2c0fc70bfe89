//! Events from other channels, carried out: what they say goes into the memory
//! of the lead, live calls of the lead hear of it, offers are told to all.

use std::time::Duration;

use offhook_core::input::Words;
use offhook_core::input::{Happening, Lease};
use offhook_core::memory::{Source, Topic, Transition};
use offhook_core::signal::SignalKind;
use offhook_core::{Event, LeadId, Number, Program};
use tokio::sync::oneshot;

use super::Decision;
use crate::clock;
use crate::control::Failure;
use crate::inbound::{Arrived, Data, Kind, Taken};
use crate::leads::{Chapter, Handle, Page, Record, wall_ms};
use crate::store::Write;

/// The phrase list of a playbook by which a person opts out.
const OPT_OUT: &str = "opt_out";

impl Decision {
    pub(super) fn arrived(&mut self, arrived: Arrived) {
        let Arrived {
            id,
            at_ms,
            kind,
            subject,
            data,
            reply,
        } = arrived;
        // Replies that nobody waits for any more are no error.
        let answer = self.take_in(&id, at_ms, kind, subject.as_deref(), data);
        let _ = reply.send(answer);
    }

    fn take_in(
        &mut self,
        id: &str,
        at_ms: u64,
        kind: Kind,
        subject: Option<&str>,
        data: Data,
    ) -> Result<Taken, Failure> {
        if self.leads.has_heard(id) {
            return Ok(Taken::Before);
        }
        let mut pages = Vec::new();
        let mut lead = None;
        if kind == Kind::Approval {
            self.approved_elsewhere(subject.unwrap_or_default(), &data)?;
        }
        let of_lead = !matches!(kind, Kind::Offers | Kind::Approval);
        if let Some(subject) = subject.filter(|_| of_lead) {
            let learned = self.transitions(id, kind, &data)?;
            let known = self.lead_of(subject)?;
            lead = Some(known.0);
            pages.extend(known.1);
            let learned = learned.into_iter().map(Chapter::Learned);
            pages.extend(self.leads.write(known.0, learned));
        }
        let heard = Chapter::Heard {
            id: id.to_owned(),
            at_ms,
        };
        pages.extend(self.leads.write(LeadId(0), [heard]));
        let (kept, durable) = oneshot::channel();
        let kept = Some(kept);
        self.keeper.keep(Write::Leads { pages, kept });
        self.take_offers(lead, &data);
        if let Some(lead) = lead {
            self.tell_calls_of(lead, kind, data.text);
        }
        Ok(Taken::New(durable))
    }

    /// A person has answered by a signed call: as on the command line.
    fn approved_elsewhere(&mut self, subject: &str, data: &Data) -> Result<(), Failure> {
        let action = subject.trim().parse();
        let action = action.map_err(|_| Failure::new(format!("`{subject}` is no action's id")))?;
        let by = data.by.as_deref().unwrap_or_default().trim();
        let by = by.chars().take(200).collect();
        self.approve(action, data.approved == Some(true), by)
    }

    /// The lead that is meant; a new one where nobody is known by that.
    fn lead_of(&mut self, subject: &str) -> Result<(LeadId, Vec<Page>), Failure> {
        let subject = subject.trim();
        if let Ok(lead) = self.one_lead(subject) {
            return Ok((lead, Vec::new()));
        }
        if self.leads.find(subject).len() > 1 {
            let reason = format!("`{subject}` is shared by several leads: name one by its id");
            return Err(Failure::new(reason));
        }
        let handle = match Number::parse(subject) {
            Some(number) => Handle::Number(number),
            None => Handle::External(subject.chars().take(200).collect()),
        };
        let fresh = LeadId(self.new_id().0);
        let pages = self.leads.write(fresh, [Chapter::Known(handle)]);
        match pages.is_empty() {
            true => Err(Failure::new("there is no room for another lead")),
            false => Ok((fresh, pages)),
        }
    }

    fn transitions(&self, id: &str, kind: Kind, data: &Data) -> Result<Vec<Transition>, Failure> {
        let record = Record {
            line: 0,
            fields: data.facts.clone(),
        };
        let source = Source::Event(id.to_owned());
        let wall = clock::wall();
        let learned = record.transitions(&source, wall);
        let mut learned = learned.map_err(Failure::new)?;
        let text = data.text.as_deref().unwrap_or("");
        let at_ms = wall_ms(wall);
        let came = Some(text)
            .filter(|text| !text.is_empty())
            .unwrap_or("received");
        let contact = Transition::new(
            Topic::Contact,
            kind.name(),
            Some(came),
            at_ms,
            source.clone(),
        );
        learned.push(contact);
        if self.opts_out(text) {
            let opted = Transition::new(Topic::OptOut, "calls", Some("wrote so"), at_ms, source);
            learned.push(opted);
        }
        Ok(learned)
    }

    /// What is written to us in the words of any playbook for it.
    fn opts_out(&self, text: &str) -> bool {
        let words = Words {
            text: text.to_owned(),
            confidence: 100,
            last: true,
            utterance: 0,
            spoken_ms: 0,
            engine: String::new(),
        };
        let opt_out = SignalKind::Phrase(OPT_OUT.to_owned());
        let mut playbooks = self.house.settings.books.playbooks.values();
        playbooks.any(|playbook| playbook.lexicon.interpret(&words).kind == opt_out)
    }

    /// To everybody; or, in an event about a person, theirs alone.
    fn take_offers(&mut self, of: Option<LeadId>, data: &Data) {
        let now = clock::now();
        let mut leases = Vec::new();
        for offer in &data.offers {
            let lease = Lease {
                name: offer.name.clone(),
                value: offer.value,
                until: now + Duration::from_secs(offer.seconds),
            };
            match self.offers.take(of, &lease, now) {
                true => leases.push(lease),
                false => tracing::warn!(message = "offer_not_taken", name = offer.name),
            }
        }
        if leases.is_empty() {
            return;
        }
        for id in self.dialogues(of) {
            self.feed(id, now, Event::Leased(leases.clone()));
        }
    }

    fn tell_calls_of(&mut self, lead: LeadId, kind: Kind, text: Option<String>) {
        let happening = Happening {
            name: kind.name().to_owned(),
            text,
        };
        for id in self.dialogues(Some(lead)) {
            self.feed(id, clock::now(), Event::Happened(happening.clone()));
        }
    }

    /// Calls that go on and decide, of this lead where one is named; test lines don't.
    pub(super) fn dialogues(&self, lead: Option<LeadId>) -> Vec<offhook_core::ConversationId> {
        let live = self.calls.values().filter(|call| !call.over);
        live.filter(|call| is_dialogue(call.program()))
            .filter(|call| lead.is_none() || call.person == lead)
            .map(|call| call.id)
            .collect()
    }
}

/// A conversation that is more than a test line.
pub(super) fn is_dialogue(program: &Program) -> bool {
    matches!(program, Program::Playbook(_))
}
