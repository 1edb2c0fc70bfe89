//! One conversation as the daemon keeps it: the core's state machine, its log
//! that has not been flushed yet, and what the live stream is told.
//!
//! It carries nothing out; the decision thread does.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use offhook_core::input::Fact;
use offhook_core::{
    ActionId, Conversation, ConversationId, Event, Input, LeadId, LegEvent, LegId, Name, Output,
    Policy, Program, Record, Seq,
};
use serde::Serialize;

use crate::clock;
use crate::control::LiveCall;
use crate::prompts::Prompts;
use crate::store::{Birth, Direction, Ended, EntryKind, Log, Write};
use crate::timeline::Line;

/// A live conversation.
pub struct Call {
    /// Its id.
    pub id: ConversationId,
    /// When its INVITE came or went: what its timeline counts from.
    pub born: Duration,
    /// In whose order its actions are delivered.
    pub lead: String,
    /// Who it is with, as far as we know; nobody on a test line.
    pub person: Option<LeadId>,
    /// By which trunk it came or went.
    pub trunk: String,
    /// Who began it.
    pub direction: Direction,
    /// The campaign that it belongs to.
    pub campaign: Option<String>,
    /// What was promised in it: in which request, which action, of which type.
    pub promises: Vec<(Seq, ActionId, String)>,
    /// What it has cost so far, in points.
    pub spent: i64,
    /// Since then a person has it.
    pub joined: Option<Duration>,
    /// By which signatures and detours it came, until its outcome tells of them.
    pub origin: Vec<(String, String)>,
    /// What it can say.
    pub prompts: Arc<Prompts>,
    /// When it asked to be woken.
    pub wake_at: Option<Duration>,
    /// It is answered.
    pub talking: bool,
    /// It has said `Ended`.
    pub over: bool,
    /// Not kept yet. Boxed: it is there for an instant only.
    birth: Option<Box<Birth>>,
    /// Not kept yet: its last lines are still to come.
    ending: Option<Box<Ended>>,
    conversation: Conversation,
    facts: BTreeMap<String, i64>,
    log: Log,
    lines: u32,
}

/// The core panicked: a defect of ours. The call ends, the others go on.
#[derive(Debug)]
pub struct Panicked;

impl Call {
    /// A conversation that nothing has happened to yet.
    pub fn new(
        birth: Birth,
        lead: String,
        conversation: Conversation,
        prompts: Arc<Prompts>,
    ) -> Self {
        Self {
            id: birth.conversation,
            born: birth.born,
            trunk: birth.trunk.clone(),
            direction: birth.direction,
            birth: Some(Box::new(birth)),
            ending: None,
            lead,
            person: None,
            promises: Vec::new(),
            campaign: None,
            spent: 0,
            joined: None,
            origin: Vec::new(),
            prompts,
            wake_at: None,
            talking: false,
            over: false,
            conversation,
            facts: BTreeMap::new(),
            log: Log::default(),
            lines: 0,
        }
    }

    /// Logs the input, then lets the core handle it.
    pub fn handle(&mut self, now: Duration, input: Input) -> Result<(), Panicked> {
        // What the log does not keep must not decide either.
        let at = clock::whole_micros(input.at);
        let input = Input { at, ..input };
        self.log(input.at, now, EntryKind::Input, &input.event);
        match &input.event {
            Event::Facts(facts) => self.remember(facts),
            Event::Leg(LegId(0), LegEvent::Answered) => self.talking = true,
            _ => {}
        }
        catch_unwind(AssertUnwindSafe(|| self.conversation.handle(now, input)))
            .map_err(|_| Panicked)
    }

    /// What drives it.
    pub fn program(&self) -> &Program {
        self.conversation.program()
    }

    /// Another policy holds from now on.
    pub fn adopt(&mut self, policy: Arc<Policy>) {
        self.conversation.adopt(policy);
    }

    /// What the core wants next.
    pub fn poll(&mut self) -> Result<Output, Panicked> {
        catch_unwind(AssertUnwindSafe(|| self.conversation.poll())).map_err(|_| Panicked)
    }

    /// Logs a line that the core does not see.
    pub fn note(&mut self, at: Duration, line: &Line) {
        self.log(at, at, EntryKind::Note, line);
    }

    /// Logs a decision on something that stays on the box.
    pub fn decided(&mut self, record: &Record) {
        self.log(record.at, record.at, EntryKind::Decision, record);
    }

    /// The lines since the last flush, to be kept with something else.
    pub fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.log)
    }

    /// It is over: kept with the next flush, so that its last lines ride along.
    pub fn end(&mut self, ended: Ended) {
        self.over = true;
        self.ending = Some(Box::new(ended));
    }

    /// What is to be kept of it now: birth, log or outcome, in as few rows as can be.
    pub fn take_writes(&mut self) -> impl Iterator<Item = Write> + use<> {
        let born = self.take_birth();
        let (conversation, ending) = (self.id, self.ending.take());
        let entries = self.take_log();
        let rest = match ending {
            Some(mut ended) => {
                ended.entries = entries;
                Some(Write::Outcome(ended))
            }
            None => (!entries.is_empty()).then_some(Write::Log {
                conversation,
                entries,
            }),
        };
        born.into_iter().chain(rest)
    }

    /// The birth, if it is not kept yet, with the beginning of the log.
    pub fn take_birth(&mut self) -> Option<Write> {
        let birth = *self.birth.take()?;
        let entries = self.take_log();
        Some(Write::Born { birth, entries })
    }

    /// How it stands, for people who look in.
    pub fn live(&self) -> LiveCall {
        let (role, stage) = self.conversation.place();
        let named = |name: Name| (!name.is_empty()).then(|| name.into());
        LiveCall {
            id: self.id,
            talking: self.talking,
            stage: named(stage),
            role: named(role),
        }
    }

    /// The facts from outside that the conversation knows now.
    pub fn facts(&self) -> Vec<Fact> {
        let known = self.facts.iter();
        known
            .map(|(name, value)| Fact {
                name: name.clone(),
                value: Some(*value),
            })
            .collect()
    }

    fn remember(&mut self, facts: &[Fact]) {
        for Fact { name, value } in facts {
            match value {
                Some(value) => self.facts.insert(name.clone(), *value),
                None => self.facts.remove(name),
            };
        }
    }

    fn log(&mut self, at: Duration, now: Duration, kind: EntryKind, body: &impl Serialize) {
        self.log
            .push(self.lines, at, now, kind, body)
            .expect("our log lines are structs and enums with string keys");
        self.lines += 1;
    }
}
