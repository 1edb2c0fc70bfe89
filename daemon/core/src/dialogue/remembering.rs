//! The dialogue's memory: what is known of the person is used, spoken only to
//! whom it belongs, and what is learned goes out as transitions.

use super::Dialogue;
use crate::desk::Desk;
use crate::id::Name;
use crate::input::Recollection;
use crate::memory::{Attestation, Freshness, Identity, Memory, Recall, Source, Topic, Transition};
use crate::output::Output;
use crate::playbook::{Handler, Identifies, Template};

impl Dialogue {
    /// Learns who it is and what is known of them; also later, when that changes.
    pub(crate) fn remember(&mut self, desk: &mut Desk, recollection: Recollection) {
        desk.lead = Some(recollection.lead);
        desk.attestation = recollection.attestation;
        desk.identity = recollection.identity;
        desk.wall_at_zero_ms = recollection
            .wall_ms
            .saturating_sub(desk.now.as_millis().try_into().unwrap_or(u64::MAX));
        desk.memory = Memory::of(recollection.transitions);
        desk.facts.own("identity_level", desk.identity.level());
        self.recall(desk);
    }

    /// Brings what the playbook wants remembered into its values. What was said
    /// in this call goes before what was said in an earlier one.
    fn recall(&mut self, desk: &Desk) {
        self.may_speak = desk.identity.may_speak();
        for (name, wanted) in &self.playbook.memory {
            if self.values.contains_key(name.as_str()) && !self.recalled.contains(name) {
                continue;
            }
            let recalled = match desk.identity.may_use() {
                true => desk.memory.recall(name, desk.wall_ms(), wanted.shelf_ms),
                false => Recall::Unknown,
            };
            let (value, freshness) = match recalled {
                Recall::Fresh(value) => (value, Freshness::Fresh),
                Recall::Stale(value) => (value, Freshness::Stale),
                Recall::Unknown => ("", Freshness::Unknown),
            };
            // What the playbook has no words for it has to ask.
            if freshness == Freshness::Unknown || !wanted.admits(value) {
                self.recalled.remove(name);
                self.values.remove(name.as_str());
                self.freshness.insert(name.clone(), Freshness::Unknown);
            } else {
                self.recalled.insert(name.clone());
                self.values.insert(name.as_str().into(), value.into());
                self.freshness.insert(name.clone(), freshness);
            }
        }
    }

    /// The caller has given a value, in this call.
    pub(super) fn answered(&mut self, desk: &mut Desk, name: &Name, value: Name) {
        desk.learn(Topic::Answer, name, Some(&value));
        self.answer_here(name, &value);
        self.recalled.remove(name.as_str());
        if self.playbook.memory.contains_key(name.as_str()) {
            self.freshness.insert(name.to_string(), Freshness::Fresh);
        }
        self.values.insert(name.clone(), value);
    }

    /// What a handler says is now known of the person.
    pub(super) fn note(&mut self, desk: &mut Desk, handler: &Handler) {
        match handler.identifies {
            None => {}
            Some(Identifies::Named) => self.identify(desk, Identity::Named),
            Some(Identifies::Verified) => self.identify(desk, Identity::Verified),
            Some(Identifies::Other) => self.other_person(desk),
        }
        for name in &handler.keeps {
            if let Some(value) = self.values.get(name.as_str()).cloned() {
                self.answered(desk, &name.as_str().into(), value);
            }
        }
        for name in &handler.forgets {
            self.values.remove(name.as_str());
            self.recalled.remove(name);
            self.freshness.insert(name.clone(), Freshness::Unknown);
            desk.learn(Topic::Answer, name, None);
        }
        for (topic, name, value) in &handler.remember {
            let value = value.fill(&self.values);
            let value = Some(value.as_str()).filter(|value| !value.is_empty());
            desk.learn(*topic, name, value);
        }
    }

    /// The person has said who they are. Of a number that the network vouches
    /// for that is as good as checked.
    fn identify(&mut self, desk: &mut Desk, identity: Identity) {
        let vouched = desk.attestation == Attestation::Passed;
        let identity = match (identity, desk.identity) {
            (Identity::Named, Identity::Number | Identity::Named) if vouched => Identity::Verified,
            (identity, before) => identity.max(before),
        };
        if identity != desk.identity {
            desk.identity = identity;
            desk.facts.own("identity_level", identity.level());
            desk.put(Output::Identified(identity));
            self.recall(desk);
        }
    }

    /// Somebody else speaks: what is known of the person we took them for is
    /// neither used nor spoken any more, and stays with that person.
    fn other_person(&mut self, desk: &mut Desk) {
        desk.memory = Memory::default();
        desk.identity = desk.identity.min(Identity::Number);
        desk.facts.own("identity_level", desk.identity.level());
        desk.put(Output::OtherPerson);
        self.recall(desk);
    }

    /// It says nothing that only its owner may hear.
    pub(super) fn may_say(&self, prompt: &Template) -> bool {
        self.may_speak || !prompt.names().any(|name| self.recalled.contains(name))
    }
}

impl Desk {
    /// Wall time now, ms since 1970, as far as we were told.
    pub(crate) fn wall_ms(&self) -> u64 {
        let now = u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX);
        self.wall_at_zero_ms.saturating_add(now)
    }

    /// Learns something of the person; what is no news goes nowhere.
    pub(crate) fn learn(&mut self, topic: Topic, name: &str, value: Option<&str>) {
        let source = Source::Call(self.id);
        let transition = Transition::new(topic, name, value, self.wall_ms(), source);
        if self.memory.learn(transition.clone()) {
            self.put(Output::Learned(transition));
        }
    }
}
