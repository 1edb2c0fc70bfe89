//! Who people are and what is known of them, across calls and channels.
//!
//! The decision thread owns it. It is the sum of [`Page`]s: the store keeps
//! every page in the chain, [`Leads::apply`] is the one way by which anything is
//! learned, at the start as while it runs. It decides nothing and dials nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use offhook_core::budget::{Expense, Spent};
use offhook_core::input::{Fact, Recollection};
use offhook_core::memory::{Attestation, Identity, Memory, Recall, Source, Topic, Transition};
use offhook_core::{ConversationId, LeadId, Number};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::facts::{consent_level, fact};
use crate::store::reader::Reader;
use crate::upstream::signature;

mod import;

pub use import::{Imported, Record, Rejected};

/// Contacts count for a day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Leads that are kept; about 1 kB each. What would be one more is refused.
pub const LEADS_MAX: usize = 250_000;
/// Leads that one number may be shared by; beyond it a further one is not tied to it.
const SHARED_MAX: usize = 8;
/// Transitions that a conversation is given, the newest.
const TOLD_MAX: usize = 64;
/// Ids of events that are remembered at the same time: 500 a second for the
/// time in which a signature is believed.
const HEARD_MAX: usize = 300_000;
/// `last_contact_min` where there was none: a year.
const NEVER_MIN: i64 = 366 * 24 * 60;

/// What a lead is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handle {
    /// A telephone number.
    Number(Number),
    /// The id in another system: `crm:4711`.
    External(String),
}

impl Handle {
    /// As people write it.
    pub fn text(&self) -> &str {
        match self {
            Self::Number(number) => number.as_str(),
            Self::External(id) => id,
        }
    }
}

/// One thing that is known of a lead. Pages are added, none is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chapter {
    /// It is known by this.
    Known(Handle),
    /// Something was learned.
    Learned(Transition),
    /// It took part in a conversation.
    Talked(ConversationId),
    /// It is the same person as that one, which goes on.
    Merged(LeadId),
    /// Somebody else spoke in a conversation of that lead; this is them.
    Split {
        /// Of whom.
        from: LeadId,
        /// In which conversation.
        conversation: ConversationId,
    },
    /// Something was spent on it.
    Spent(Expense),
    /// An event from elsewhere was taken in; of the box itself.
    Heard {
        /// Its id.
        id: String,
        /// When it was signed, ms since 1970.
        at_ms: u64,
    },
    /// Of a lead that was forgotten: this must not be called, for ever.
    Suppressed(String),
}

/// One line in the book of a lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whose; 0 is the box itself.
    pub lead: LeadId,
    /// What it says.
    pub chapter: Chapter,
}

/// A lead, as it is kept.
#[derive(Clone, Debug, Default)]
struct Person {
    memory: Memory,
    handles: Vec<Handle>,
    conversations: Vec<ConversationId>,
    absorbed: Vec<LeadId>,
}

/// Who is meant by a number or id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    One(LeadId),
    /// Several people share it: none of them may be assumed.
    Several,
}

/// A lead for people who look in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadView {
    /// Its id.
    pub id: String,
    /// Numbers and external ids.
    pub known_by: Vec<String>,
    /// Leads that turned out to be the same person.
    pub absorbed: Vec<String>,
    /// It must not be called.
    pub do_not_call: bool,
    /// Attempts of the last 24 hours.
    pub contacts_24h: i64,
    /// What holds now.
    pub holding: Vec<Transition>,
    /// Everything that was ever learned and is kept at hand, oldest first.
    pub history: Vec<Transition>,
    /// Its conversations, oldest first.
    pub conversations: Vec<String>,
    /// Points spent on it.
    pub spent: i64,
}

/// What is to be deleted when a lead is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// The lead and those it absorbed.
    pub leads: Vec<LeadId>,
    /// All their conversations.
    pub conversations: Vec<ConversationId>,
    /// What stays: numbers that must not be called.
    pub suppressed: Vec<String>,
}

/// Leads and what is known of them.
#[derive(Debug, Default)]
pub struct Leads {
    people: BTreeMap<LeadId, Person>,
    handles: BTreeMap<Handle, Vec<LeadId>>,
    merged: BTreeMap<LeadId, LeadId>,
    contacts: HashMap<String, VecDeque<Duration>>,
    opted_out: BTreeSet<String>,
    spent: Spent,
    /// Ids of events that could still come again, and when they were signed.
    heard: BTreeSet<(u64, String)>,
    heard_ids: BTreeSet<String>,
    /// Actions of all leads that the upstream has not acknowledged.
    pub backlog: u64,
    /// Pages that were not taken because there are too many leads.
    pub refused: u64,
}

impl Leads {
    /// What the store remembers: every lead, calls of the last day, opt-outs for ever.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(reader: &Reader) -> rusqlite::Result<Self> {
        let mut leads = Self::default();
        reader.pages(|page| {
            leads.apply(&page);
        })?;
        let since = clock::wall().saturating_sub(DAY);
        for (number, started_ms) in reader.dialled_since(since.as_millis() as u64)? {
            leads.contacted(&number, Duration::from_millis(started_ms));
        }
        reader
            .opted_out()?
            .iter()
            .for_each(|number| leads.opt_out(number));
        let counts = reader.counts()?;
        leads.backlog = counts.pending + counts.held;
        Ok(leads)
    }

    /// How many leads there are.
    pub fn count(&self) -> usize {
        self.people.len()
    }

    /// Takes in a page. False when it says nothing new: it need not be kept.
    pub fn apply(&mut self, page: &Page) -> bool {
        match &page.chapter {
            Chapter::Suppressed(number) => return self.opted_out.insert(number.clone()),
            Chapter::Heard { id, at_ms } => return self.hear(id, *at_ms),
            _ => {}
        }
        let lead = self.standing(page.lead);
        if !self.people.contains_key(&lead) && self.people.len() >= LEADS_MAX {
            self.refused += 1;
            return false;
        }
        match &page.chapter {
            Chapter::Merged(into) => self.absorb(lead, *into),
            Chapter::Known(handle) => self.know(lead, handle),
            Chapter::Learned(transition) => {
                if transition.topic == Topic::OptOut && transition.value.is_some() {
                    self.opt_out_lead(lead);
                }
                self.person(lead).memory.learn(transition.clone())
            }
            Chapter::Talked(conversation) => {
                let conversations = &mut self.person(lead).conversations;
                let news = !conversations.contains(conversation);
                if news {
                    conversations.push(*conversation);
                }
                news
            }
            Chapter::Split { .. } => {
                self.person(lead);
                true
            }
            Chapter::Spent(expense) => {
                self.person(lead);
                self.spent.add(lead, expense);
                true
            }
            Chapter::Suppressed(_) | Chapter::Heard { .. } => unreachable!("taken above"),
        }
    }

    /// A signature older than the tolerance is not believed, so what is older
    /// than that need not be remembered.
    fn hear(&mut self, id: &str, at_ms: u64) -> bool {
        let span_ms = 2 * signature::TOLERANCE_S * 1000;
        while let Some((oldest, _)) = self.heard.first().cloned()
            && (oldest.saturating_add(span_ms) < at_ms || self.heard.len() >= HEARD_MAX)
        {
            if let Some((_, id)) = self.heard.pop_first() {
                self.heard_ids.remove(&id);
            }
        }
        self.heard.insert((at_ms, id.to_owned()));
        self.heard_ids.insert(id.to_owned())
    }

    /// The event of that id was taken in before.
    pub fn has_heard(&self, id: &str) -> bool {
        self.heard_ids.contains(id)
    }

    /// What was spent.
    pub fn spent(&self) -> &Spent {
        &self.spent
    }

    /// What was spent on a lead, whatever it was merged into.
    pub fn spent_on(&self, lead: LeadId) -> i64 {
        self.spent.on_lead(self.standing(lead))
    }

    fn person(&mut self, lead: LeadId) -> &mut Person {
        self.people.entry(lead).or_default()
    }

    /// The lead that it is now, whatever it was merged into.
    pub fn standing(&self, lead: LeadId) -> LeadId {
        let mut lead = lead;
        // Each merge points to a lead that stood then: no circles, but no trust either.
        for _ in 0..self.merged.len() {
            match self.merged.get(&lead) {
                Some(into) => lead = *into,
                None => break,
            }
        }
        lead
    }

    fn know(&mut self, lead: LeadId, handle: &Handle) -> bool {
        let sharing = self.handles.entry(handle.clone()).or_default();
        if sharing.contains(&lead) || sharing.len() >= SHARED_MAX {
            return false;
        }
        sharing.push(lead);
        self.person(lead).handles.push(handle.clone());
        true
    }

    fn absorb(&mut self, lead: LeadId, into: LeadId) -> bool {
        let into = self.standing(into);
        if lead == into || !self.people.contains_key(&into) {
            return false;
        }
        let Some(gone) = self.people.remove(&lead) else {
            return false;
        };
        self.merged.insert(lead, into);
        self.spent.merge(lead, into);
        for handle in &gone.handles {
            if let Some(sharing) = self.handles.get_mut(handle) {
                sharing.retain(|other| *other != lead);
            }
            self.know(into, handle);
        }
        let person = self.person(into);
        person.memory.merge(&gone.memory);
        person.conversations.extend(gone.conversations);
        person.conversations.sort_unstable();
        person.absorbed.push(lead);
        person.absorbed.extend(gone.absorbed);
        true
    }

    fn who(&self, handle: &Handle) -> Who {
        match self.handles.get(handle).map(Vec::as_slice) {
            None | Some([]) => Who::Nobody,
            Some([one]) => Who::One(*one),
            Some(_) => Who::Several,
        }
    }

    /// Who calls or is called: the lead of that number, or a fresh one, with
    /// the pages that make it known. A number that the network calls forged
    /// says nothing; one that several people share does not say which of them.
    pub fn meet(
        &mut self,
        number: Option<&Number>,
        attestation: Attestation,
        conversation: ConversationId,
        fresh: LeadId,
    ) -> (LeadId, Identity, Vec<Page>) {
        let number = number.filter(|_| attestation != Attestation::Failed);
        let Some(number) = number else {
            return (fresh, Identity::None, Vec::new());
        };
        let handle = Handle::Number(number.clone());
        let lead = match self.who(&handle) {
            Who::One(lead) => lead,
            Who::Nobody | Who::Several => fresh,
        };
        let chapters = [Chapter::Known(handle), Chapter::Talked(conversation)];
        let pages = self.write(lead, chapters);
        (lead, Identity::Number, pages)
    }

    /// Applies the chapters that are news and gives their pages.
    pub fn write(
        &mut self,
        lead: LeadId,
        chapters: impl IntoIterator<Item = Chapter>,
    ) -> Vec<Page> {
        let pages = chapters.into_iter().map(|chapter| Page { lead, chapter });
        pages.filter(|page| self.apply(page)).collect()
    }

    /// What a conversation is told of its lead.
    pub fn recollection(
        &self,
        lead: LeadId,
        identity: Identity,
        attestation: Attestation,
        wall: Duration,
    ) -> Recollection {
        let person = self.people.get(&self.standing(lead));
        let holding = person.into_iter().flat_map(|it| it.memory.holding());
        let mut transitions: Vec<Transition> = holding.cloned().collect();
        let spare = transitions.len().saturating_sub(TOLD_MAX);
        transitions.drain(..spare);
        Recollection {
            lead,
            identity,
            attestation,
            wall_ms: wall_ms(wall),
            transitions,
        }
    }

    /// Somebody else speaks in this conversation: they become a lead of their
    /// own, sharing the number. What was learned in it is theirs, and no longer
    /// holds for the first one, who keeps all of it as history.
    pub fn split(
        &mut self,
        from: LeadId,
        fresh: LeadId,
        conversation: ConversationId,
        wall: Duration,
    ) -> Vec<Page> {
        let from = self.standing(from);
        let person = self.people.get(&from).cloned().unwrap_or_default();
        let split = Chapter::Split { from, conversation };
        let mut pages = self.write(fresh, [split, Chapter::Talked(conversation)]);
        let numbers = person
            .handles
            .iter()
            .filter(|handle| matches!(handle, Handle::Number(_)));
        pages.extend(self.write(fresh, numbers.cloned().map(Chapter::Known)));
        let here = Source::Call(conversation);
        let (said, before): (Vec<&Transition>, Vec<&Transition>) = person
            .memory
            .transitions()
            .iter()
            .partition(|known| known.source == here);
        let theirs = said.iter().map(|known| Chapter::Learned((*known).clone()));
        pages.extend(self.write(fresh, theirs));
        for known in said.iter().filter(|known| known.topic != Topic::Contact) {
            let mut earlier = before.iter().rev();
            let earlier = earlier.find(|it| it.topic == known.topic && it.name == known.name);
            let value = earlier.and_then(|it| it.value.as_deref());
            let at_ms = wall_ms(wall).max(known.at_ms.saturating_add(1));
            let back = Transition::new(known.topic, &known.name, value, at_ms, Source::Operator);
            pages.extend(self.write(from, [Chapter::Learned(back)]));
        }
        pages
    }

    /// The lead that a person names: its id, a number as E.164, or an external id.
    pub fn find(&self, text: &str) -> Vec<LeadId> {
        if let Ok(id) = text.parse::<LeadId>() {
            let id = self.standing(id);
            return self
                .people
                .contains_key(&id)
                .then_some(id)
                .into_iter()
                .collect();
        }
        let handle = match Number::parse(text) {
            Some(number) => Handle::Number(number),
            None => Handle::External(text.to_owned()),
        };
        self.handles.get(&handle).cloned().unwrap_or_default()
    }

    /// All that is known of a lead.
    pub fn view(&self, lead: LeadId, wall: Duration) -> Option<LeadView> {
        let person = self.people.get(&lead)?;
        let handles = person.handles.iter();
        Some(LeadView {
            id: lead.to_string(),
            known_by: handles.map(|handle| handle.text().to_owned()).collect(),
            absorbed: person.absorbed.iter().map(LeadId::to_string).collect(),
            do_not_call: self.must_not_be_called(person),
            contacts_24h: self.contacts_of(person, wall),
            holding: person.memory.holding().cloned().collect(),
            history: person.memory.transitions().to_vec(),
            conversations: person
                .conversations
                .iter()
                .map(ToString::to_string)
                .collect(),
            spent: self.spent_on(lead),
        })
    }

    /// The pages by which one lead becomes part of another.
    pub fn merge(&mut self, from: LeadId, into: LeadId) -> Vec<Page> {
        self.write(from, [Chapter::Merged(into)])
    }

    /// What there is to delete of a lead, and what stays.
    pub fn remains(&self, lead: LeadId) -> Remains {
        let Some(person) = self.people.get(&lead) else {
            return Remains::default();
        };
        let barred = self.must_not_be_called(person);
        let numbers = person.handles.iter().filter(|_| barred);
        let numbers = numbers.filter(|handle| matches!(handle, Handle::Number(_)));
        Remains {
            leads: [lead]
                .into_iter()
                .chain(person.absorbed.iter().copied())
                .collect(),
            conversations: person.conversations.clone(),
            suppressed: numbers.map(|handle| handle.text().to_owned()).collect(),
        }
    }

    /// The store has deleted it; so do we.
    pub fn forget(&mut self, lead: LeadId) {
        let Some(person) = self.people.remove(&lead) else {
            return;
        };
        self.spent.forget(lead);
        for handle in &person.handles {
            if let Some(sharing) = self.handles.get_mut(handle) {
                sharing.retain(|other| *other != lead);
            }
            self.contacts.remove(handle.text());
        }
        self.handles.retain(|_, sharing| !sharing.is_empty());
        self.merged.retain(|_, into| *into != lead);
    }

    /// We called this number at this wall time.
    pub fn contacted(&mut self, number: &str, wall: Duration) {
        let contacts = self.contacts.entry(number.to_owned()).or_default();
        contacts.push_back(wall);
        while contacts.front().is_some_and(|first| *first + DAY <= wall) {
            contacts.pop_front();
        }
    }

    /// This number does not want to be called, nor any other of the same person.
    pub fn opt_out(&mut self, number: &str) {
        self.opted_out.insert(number.to_owned());
        if let Some(number) = Number::parse(number)
            && let Who::One(lead) = self.who(&Handle::Number(number))
        {
            self.opt_out_lead(lead);
        }
    }

    fn opt_out_lead(&mut self, lead: LeadId) {
        let handles = self.people.get(&lead).map(|person| person.handles.clone());
        for handle in handles.into_iter().flatten() {
            self.opted_out.insert(handle.text().to_owned());
        }
    }

    fn must_not_be_called(&self, person: &Person) -> bool {
        let opted = person.memory.current(Topic::OptOut, "calls");
        opted.is_some_and(|known| known.value.is_some())
            || person
                .handles
                .iter()
                .any(|handle| self.opted_out.contains(handle.text()))
    }

    fn contacts_of_number(&self, number: &str, wall: Duration) -> i64 {
        let recent = |contact: &&Duration| **contact + DAY > wall;
        let count = self
            .contacts
            .get(number)
            .map_or(0, |times| times.iter().filter(recent).count());
        count.try_into().unwrap_or(i64::MAX)
    }

    fn contacts_of(&self, person: &Person, wall: Duration) -> i64 {
        let handles = person.handles.iter();
        handles
            .map(|handle| self.contacts_of_number(handle.text(), wall))
            .sum()
    }

    /// What the gate may know of a number, and of the person behind it, at this
    /// wall time. Attempts are counted per person, whatever number they were to.
    pub fn facts(&self, number: &str, lead: Option<LeadId>, wall: Duration) -> Vec<Fact> {
        let person = lead.and_then(|lead| self.people.get(&self.standing(lead)));
        let of_number = self.contacts_of_number(number, wall);
        let contacts = person
            .map_or(0, |it| self.contacts_of(it, wall))
            .max(of_number);
        let barred =
            self.opted_out.contains(number) || person.is_some_and(|it| self.must_not_be_called(it));
        vec![
            fact("contacts_24h", contacts),
            fact("do_not_call", barred.into()),
            fact(
                "last_contact_min",
                self.last_contact_min(number, person, wall),
            ),
            fact("readiness", person.map_or(0, |it| readiness(&it.memory))),
        ]
    }

    fn last_contact_min(&self, number: &str, person: Option<&Person>, wall: Duration) -> i64 {
        let handles = person.into_iter().flat_map(|it| it.handles.iter());
        let numbers = handles.map(Handle::text).chain([number]);
        let last = numbers.filter_map(|it| self.contacts.get(it)?.back()).max();
        last.map_or(NEVER_MIN, |last| {
            let minutes = wall.saturating_sub(*last).as_secs() / 60;
            i64::try_from(minutes).unwrap_or(NEVER_MIN)
        })
    }

    /// How strong the basis is on which calling this lead rests; 0: none is on file.
    /// See [`consent_level`]; what is on file was at least said to us.
    pub fn consent_of(&self, lead: LeadId) -> i64 {
        let person = self.people.get(&self.standing(lead));
        let known = person.and_then(|it| it.memory.current(Topic::Consent, "calls"));
        let basis = known.and_then(|known| known.value.as_deref());
        basis.map_or(0, |basis| consent_level(Some(basis)).max(2))
    }

    /// The first number of a lead.
    pub fn number_of(&self, lead: LeadId) -> Option<&Number> {
        let person = self.people.get(&self.standing(lead))?;
        person.handles.iter().find_map(|handle| match handle {
            Handle::Number(number) => Some(number),
            Handle::External(_) => None,
        })
    }

    /// How far the lead has verifiably come; see the fact `readiness`.
    pub fn readiness_of(&self, lead: LeadId) -> i64 {
        let person = self.people.get(&self.standing(lead));
        person.map_or(0, |person| readiness(&person.memory))
    }

    /// Whether an answer is remembered and still holds.
    pub fn recalls(&self, lead: LeadId, name: &str, wall: Duration, shelf: Duration) -> bool {
        let person = self.people.get(&self.standing(lead));
        let recall = person.map(|it| it.memory.recall(name, wall_ms(wall), wall_ms(shelf)));
        matches!(recall, Some(Recall::Fresh(_)))
    }
}

/// From what is on record alone, never from what was guessed.
fn readiness(memory: &Memory) -> i64 {
    let mut level = 0;
    for known in memory.holding() {
        level = level.max(match known.topic {
            Topic::Commitment => 3,
            Topic::Partial | Topic::Price => 2,
            Topic::Answer | Topic::Objection | Topic::Preference | Topic::Constraint => {
                i64::from(matches!(known.source, Source::Call(_)))
            }
            Topic::Contact | Topic::Consent | Topic::OptOut | Topic::Person => 0,
        });
    }
    level
}

/// Wall time in ms since 1970.
pub fn wall_ms(wall: Duration) -> u64 {
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
