//! The world around a random conversation: it gives it inputs, takes its outputs, and
//! knows of each of them whether it may be. A model that shares nothing with the core:
//! what it calls suspended, confirmed, remembered or undone it has counted itself.
//! `random.rs` throws the dice.
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "one test takes it, and names what it needs"
)]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use offhook_core::book::Book;
use offhook_core::input::{Digit, Happening, Referral};
use offhook_core::memory::{Memory, Topic, Transition};
use offhook_core::{
    ActionId, Command, Conversation, Event, Input, LegEvent, LegId, Name, Output, Policy, Record,
    Seq, Turn, Verdict,
};

use super::common;

/// Nobody speaks longer without a pause.
const LONGEST: Duration = Duration::from_secs(30);

/// A transfer that failed is undone within this time.
const UNDONE_WITHIN: Duration = Duration::from_secs(1);
/// After a turn its words may take so long (`words_ms`).
const WORDS_COME: Duration = Duration::from_millis(600);
/// After the end of speech a turn is over so much later, be that told or not.
const TURN_OVER: Duration = Duration::from_millis(2_500);

/// All that ships.
pub const POLICIES: [&str; 5] = ["default", "demo", "eu", "strict", "us"];

/// The shipped policy of that name.
pub fn policy(name: &str) -> Arc<Policy> {
    static SHIPPED: LazyLock<Vec<Arc<Policy>>> = LazyLock::new(|| {
        POLICIES
            .map(|name| Arc::new(common::policy_named(name)))
            .to_vec()
    });
    let known = SHIPPED.iter().find(|policy| policy.name() == name);
    Arc::clone(known.expect("it ships"))
}

/// A row as the store was asked to keep it.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: ActionId,
    pub held: bool,
    pub dedupe: String,
}

/// What goes to the disk, in this order; a crash keeps a beginning of it.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    Kept(Seq),
    Released(ActionId),
    Withdrawn(ActionId),
}

/// What the world outside knows, and what it has seen go wrong.
#[derive(Default)]
pub struct World {
    pub now: Duration,
    pub turn: u32,
    pub plays: Vec<u32>,
    /// What is being said, to the caller and to a person.
    pub playing: Option<u32>,
    pub told_person: u32,
    pub asked: BTreeSet<Seq>,
    pub rows: BTreeMap<Seq, Vec<Row>>,
    /// What was sent to the disk, and how much of it is there for certain.
    pub disk: Vec<Line>,
    pub certain: usize,
    pub durable: BTreeSet<ActionId>,
    pub settled: BTreeSet<ActionId>,
    pub effects: BTreeMap<String, ActionId>,
    pub allowed: Vec<(String, String)>,
    pub hang_up_is_ours: bool,
    pub suspended: bool,
    pub speech_is_over: bool,
    pub onset: Duration,
    pub up: bool,
    pub closing: bool,
    /// We say what may not be interrupted.
    pub floor: bool,
    pub played_on: u32,
    pub early: bool,
    /// The last prompt may not be interrupted.
    pub firm: bool,
    pub ended: u32,
    /// Words so far, the last of which has not come.
    pub utterance: u32,
    /// The caller has just said or pressed something, and nothing in between.
    pub caller_speaks: bool,
    pub role: Option<String>,
    /// Legs of persons whom we called and have not let go.
    pub persons: BTreeSet<LegId>,
    /// A person is to be joined with the caller.
    pub joining: Option<LegId>,
    /// A person has the call.
    pub joined: Option<LegId>,
    /// Whom a person sends the caller to is about to be called, or is being called.
    pub sent_on: bool,
    pub onward: Option<LegId>,
    /// The caller's side was asked to call somebody, or to take our place.
    pub referring: bool,
    /// It is known since then that a person does not get the call.
    pub failing: Option<Duration>,
    /// From then on nothing that the caller said is still to be understood.
    pub listening_from: Duration,
    /// The policy that holds.
    pub policy: &'static str,
    /// A secret is on its way to its sink.
    pub handing: bool,
    /// The caller has said yes since anything last changed.
    pub confirmed: bool,
    /// Persons whom an action waits for, and whether any has ever answered.
    pub waiting: Vec<ActionId>,
    pub approved: bool,
    /// An opt-out was heard.
    pub opted_out: bool,
    /// Plays that say the price which holds; it was heard to its end.
    pub price_plays: BTreeSet<u32>,
    pub price_heard: bool,
    /// Facts that we were fed.
    pub facts: BTreeMap<String, Option<i64>>,
    /// What is known of the person, by topic and name; what they took back is nothing.
    pub known: BTreeMap<(Topic, Name), Option<Name>>,
    /// All of it, as the house keeps it.
    pub memory: Memory,
    pub learned: Vec<Transition>,
    /// What has come about, and how often: a world in which nothing does proves nothing.
    pub seen: BTreeMap<&'static str, u32>,
    pub log: Vec<(Duration, Input)>,
    pub outputs: Vec<String>,
}

/// Who may do what by a policy: role, action.
fn granted(by: &str, role: &str, kind: &str) -> bool {
    let policy = policy(by);
    let mut grants = policy.grants();
    grants.any(|(to, what, _)| (to == role || to == "*") && what == kind)
}

/// The caller's yes, by key or in words; no playbook of these takes another one for it.
fn says_yes(event: &Event) -> bool {
    let yes = |text: &str| ["yes", "yes, sounds good"].contains(&text);
    match event {
        Event::Leg(LegId(0), LegEvent::Digit(digit)) => *digit == Digit::Key('1'),
        Event::Leg(LegId(0), LegEvent::Words(words)) => {
            words.last && words.confidence >= 50 && yes(&words.text)
        }
        Event::Happened(happening) => happening.text.as_deref().is_some_and(yes),
        _ => false,
    }
}

impl World {
    pub fn of(book: &(&str, Arc<Book>)) -> Self {
        let held = book.1.policy.name();
        let known = POLICIES.into_iter().find(|name| *name == held);
        Self {
            hang_up_is_ours: ["echo", "tone", "ring", "busy"].contains(&book.0),
            policy: known.expect("it ships"),
            ..Self::default()
        }
    }

    pub fn give(&mut self, conversation: &mut Conversation, event: Event) {
        self.confirmed |= says_yes(&event);
        self.note_failure(conversation, &event);
        match &event {
            Event::Governed(texts) => {
                let name = POLICIES.into_iter().find(|name| *name == texts.policy.name);
                self.policy = name.expect("it ships");
                conversation.adopt(policy(self.policy));
                self.see("another policy");
            }
            Event::Approval {
                action, approved, ..
            } => self.approved |= *approved && self.waiting.contains(action),
            Event::Leased(leases) => {
                let now = self.now;
                for lease in leases.iter().filter(|it| it.until > now) {
                    self.fed(&lease.name, Some(lease.value));
                }
            }
            // After the outcome it is for the daemon to release what is still held.
            Event::Stored { .. } if self.ended > 0 => {}
            Event::Stored { seq, durable } if self.asked.remove(seq) => {
                let ids: Vec<ActionId> = self.rows[seq].iter().map(|row| row.id).collect();
                let kept = |line: &Line| matches!(line, Line::Kept(known) if known == seq);
                match self.disk.iter().position(kept) {
                    // What was sent before it is on the disk as well.
                    Some(place) if *durable => self.certain = self.certain.max(place + 1),
                    Some(place) => {
                        self.disk.remove(place);
                        self.certain -= usize::from(place < self.certain);
                    }
                    None => {}
                }
                match durable {
                    true => self.durable.extend(ids),
                    false => self.effects.retain(|_, id| !ids.contains(id)),
                }
            }
            Event::Facts(facts) => {
                for fact in facts {
                    self.fed(&fact.name, fact.value);
                }
            }
            Event::Remembered(recollection) => {
                for known in &recollection.transitions {
                    self.remember(known);
                }
            }
            Event::Leg(LegId(0), event) => self.listen(event),
            Event::Leg(leg, LegEvent::Ended(_) | LegEvent::Failed(_)) => self.gone(*leg),
            Event::Happened(Happening { text: Some(_), .. }) => {
                self.suspended = false;
                self.listening_from = self.now;
            }
            // Words may not come, and the end of speech may be lost: 30 s at most.
            Event::Wake if self.speech_is_over || self.now >= self.onset + LONGEST => {
                self.suspended = false;
            }
            _ => {}
        }
        self.caller_speaks = match &event {
            Event::Leg(LegId(0), LegEvent::Digit(_)) => true,
            Event::Leg(LegId(0), LegEvent::Words(words)) => words.last,
            Event::Happened(happening) => happening.text.is_some(),
            _ => false,
        };
        let input = Input {
            at: self.now,
            event,
        };
        if std::env::var_os("OFFHOOK_SHOW").is_some() {
            println!("{:?} {:?}", self.now, input.event);
        }
        self.log.push((self.now, input.clone()));
        conversation.handle(self.now, input);
        self.drain(conversation);
        self.judge_failure(conversation);
        self.judge_crashes();
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// A fact from outside. Whoever agreed to another price has agreed to nothing.
    fn fed(&mut self, name: &str, value: Option<i64>) {
        let before = self.facts.insert(name.to_owned(), value).flatten();
        if name == "price_cents" && before.is_some() && before != value {
            (self.confirmed, self.price_heard) = (false, false);
            self.price_plays.clear();
        }
    }

    /// Something is known of the person, and remains known.
    fn remember(&mut self, known: &Transition) {
        if self.memory.learn(known.clone()) {
            self.learned.push(known.clone());
        }
        let name = (known.topic, known.name.clone());
        self.known.insert(name, known.value.clone());
    }

    fn gone(&mut self, leg: LegId) {
        self.persons.remove(&leg);
        for role in [&mut self.joining, &mut self.joined, &mut self.onward] {
            role.take_if(|it| *it == leg);
        }
    }

    /// A person whom we called does not get the call; the caller is still with us.
    fn note_failure(&mut self, conversation: &Conversation, event: &Event) {
        let fails = match event {
            Event::Leg(LegId(0), LegEvent::JoinFailed) => self.joining.is_some(),
            Event::Leg(
                LegId(0),
                LegEvent::Referral(Referral::Refused | Referral::Missed(_) | Referral::Unreported),
            ) => self.referring,
            Event::Leg(leg, LegEvent::Ended(_) | LegEvent::Failed(_)) => {
                self.persons.contains(leg) && self.joined.is_none()
            }
            _ => false,
        };
        if fails && self.up && calls_person(conversation) {
            self.failing = self.failing.or(Some(self.now));
        }
    }

    /// Where it was, or with the person after all.
    fn judge_failure(&mut self, conversation: &Conversation) {
        let busy = self.suspended || self.floor;
        if busy {
            self.listening_from = self.listening_from.max(self.now);
        }
        let undone = !self.up || self.joining.is_some() || !calls_person(conversation);
        match self.failing {
            Some(_) if undone => {
                self.failing = None;
                self.see("a transfer undone");
            }
            Some(since) => {
                let by = since.max(self.listening_from) + UNDONE_WITHIN;
                assert!(self.now <= by, "failed at {since:?}, and not undone");
            }
            None => {}
        }
    }

    /// Were the daemon killed now, at whatever input: of what went to the disk, any
    /// beginning may be there that holds what is certain.
    fn judge_crashes(&mut self) {
        if self.certain < self.disk.len() {
            self.see("a crash with something at stake");
        }
        for kept in self.certain..=self.disk.len() {
            self.judge_recovery(kept);
        }
    }

    /// Recovery releases what is held. Then each action has had one effect, and none is
    /// lost.
    fn judge_recovery(&self, kept: usize) {
        let mut held: BTreeMap<ActionId, String> = BTreeMap::new();
        let mut sent: BTreeMap<String, ActionId> = BTreeMap::new();
        let mut never = BTreeSet::new();
        let mut send = |id: ActionId, dedupe: String| {
            let before = sent.insert(dedupe, id);
            assert_eq!(before, None, "twice at the crash: {id}");
        };
        for line in &self.disk[..kept] {
            match line {
                Line::Kept(seq) => {
                    for row in self.rows[seq].iter().filter(|row| !row.dedupe.is_empty()) {
                        match row.held {
                            true => drop(held.insert(row.id, row.dedupe.clone())),
                            false => send(row.id, row.dedupe.clone()),
                        }
                    }
                }
                Line::Released(id) => {
                    if let Some(dedupe) = held.remove(id) {
                        send(*id, dedupe);
                    }
                }
                Line::Withdrawn(id) => {
                    held.remove(id);
                    never.insert(*id);
                }
            }
        }
        for (id, dedupe) in held {
            send(id, dedupe);
        }
        let sent: BTreeSet<ActionId> = sent.into_values().collect();
        let all = self.rows.values().flatten();
        for row in all.filter(|row| !row.dedupe.is_empty() && self.durable.contains(&row.id)) {
            let (was_sent, was_not) = (sent.contains(&row.id), never.contains(&row.id));
            assert!(was_sent || was_not, "lost: {row:?}");
            assert!(
                !(was_sent && was_not && row.held),
                "taken back and sent: {row:?}"
            );
        }
    }

    /// What was learned is kept, all of it, and what was learned last holds.
    fn judge_memory(&self) {
        for transition in &self.learned {
            let kept = self.memory.transitions();
            assert!(kept.contains(transition), "forgotten: {transition:?}");
        }
        for ((topic, name), value) in self.known.iter().filter(|it| it.0.0 != Topic::Contact) {
            let held = self.memory.current(*topic, name);
            let held = held.and_then(|it| it.value.clone());
            assert_eq!(held, *value, "{} {name} is lost", topic.name());
        }
    }

    /// A model of suspended authority that knows nothing of the core's own.
    fn listen(&mut self, event: &LegEvent) {
        if let LegEvent::Played { play, finished, .. } = event {
            // Its end may cross our order to stop it.
            self.price_heard |= *finished && self.price_plays.contains(play);
        }
        match event {
            LegEvent::BargeIn { turn } => {
                self.turn = turn.0;
                if self.up && !self.floor && self.joined.is_none() {
                    self.suspended = true;
                    self.onset = self.now;
                    self.speech_is_over = false;
                }
                self.listening_from = self.now + LONGEST;
            }
            LegEvent::Turn { turn } => self.turn = turn.0,
            LegEvent::Answered => self.up = !self.allowed.is_empty() && !self.closing,
            LegEvent::Ended(_) | LegEvent::Failed(_) => {
                self.suspended = false;
                self.up = false;
                self.closing = true;
            }
            LegEvent::HandedOver { .. } => {
                self.confirmed &= !core::mem::take(&mut self.handing);
            }
            LegEvent::Digit(Digit::Key('x')) => {}
            LegEvent::Digit(Digit::Key(_)) => {
                self.suspended = false;
                self.listening_from = self.now;
            }
            LegEvent::BargeInRetracted
            | LegEvent::Beep
            | LegEvent::GreetingEnd
            | LegEvent::Digit(Digit::Masked) => {
                self.suspended = false;
            }
            LegEvent::Words(words) if words.utterance != 0 && words.utterance <= self.utterance => {
            }
            LegEvent::Words(words) if words.last => {
                self.utterance = self.utterance.max(words.utterance);
                self.suspended = false;
                self.listening_from = self.now;
            }
            LegEvent::Words(_) if self.up && !self.floor && self.joined.is_none() => {
                self.suspended = true;
                self.onset = self.now;
                self.listening_from = self.now + LONGEST;
            }
            LegEvent::Joined => {
                if let Some(person) = self.joining.take() {
                    self.joined = Some(person);
                    // What the caller says from now on is said to the person.
                    self.suspended = false;
                }
                if self.joined.is_some() && self.joined == self.onward {
                    (self.onward, self.sent_on) = (None, false);
                    self.see("joined with whom it was sent to");
                }
            }
            LegEvent::JoinFailed => self.joining = None,
            LegEvent::EventsLost { speaking: true, .. } => {
                self.speech_is_over = true;
                self.listening_from = self.now + LONGEST;
            }
            LegEvent::SpeechEnd | LegEvent::EventsLost { .. } => {
                self.speech_is_over = true;
                self.listening_from = self.now + TURN_OVER;
            }
            LegEvent::TurnEnd { .. } => {
                self.speech_is_over = true;
                self.listening_from = self.now + WORDS_COME;
            }
            LegEvent::SpeechStart => {
                self.speech_is_over = false;
                self.listening_from = self.now + LONGEST;
            }
            LegEvent::Played { play, .. } if self.plays.last() == Some(play) => {
                self.floor = false;
                self.playing = None;
            }
            LegEvent::Stale { turn } if turn.0 == self.played_on => self.floor = false,
            _ => {}
        }
    }

    fn drain(&mut self, conversation: &mut Conversation) {
        for _ in 0..1_000 {
            let output = conversation.poll();
            if let Output::Wait(_) = output {
                assert!(!self.early, "withdrawn before durable");
                return;
            }
            self.outputs.push(format!("{output:?}"));
            assert_eq!(self.ended, 0, "after the outcome: {output:?}");
            self.judge(output);
        }
        panic!("it never comes to rest");
    }

    fn judge(&mut self, output: Output) {
        match output {
            Output::Do(LegId(0), command) => self.judge_command(command),
            Output::Do(leg, command) => self.judge_on_person(leg, &command),
            Output::Decided(record) => {
                assert!(!record.rules.is_empty(), "a decision names its rules");
                self.opted_out |= record.kind == "opt_out";
                let asked = self.waiting.iter().position(|it| *it == record.action);
                if let Some(asked) = asked {
                    // What came of asking a person: of the role and the policy of then.
                    assert_eq!(record.verdict, Verdict::Refused);
                    self.waiting.remove(asked);
                    return;
                }
                let hash = policy(self.policy).hash();
                assert_eq!(record.policy, hash, "of another policy: {record:?}");
                self.judge_role(&record);
                if record.verdict == Verdict::Authorised {
                    assert!(!self.suspended, "authorised while suspended: {record:?}");
                    assert_eq!(record.turn, Turn(self.turn), "stale: {record:?}");
                    let (role, kind) = (&record.role, &record.kind);
                    assert!(
                        kind == "role" || granted(self.policy, role, kind),
                        "no grant: {record:?}"
                    );
                    self.allowed
                        .push((record.kind.into(), record.object.into()));
                }
            }
            Output::Persist(persist) => {
                assert_eq!(persist.record.verdict, Verdict::Authorised);
                assert!(!self.suspended, "kept while suspended");
                assert!(self.asked.insert(persist.seq), "asked twice");
                self.judge_offer(&persist.record.kind);
                self.opted_out |= persist.record.kind == "opt_out";
                for row in &persist.actions {
                    let alone = row.step.is_none() && row.undoes.is_none();
                    assert!(!alone || row.id == persist.record.action);
                    assert!(
                        granted(self.policy, &persist.record.role, &row.kind),
                        "no grant: {row:?}"
                    );
                    assert!(
                        self.confirmed || !row.held,
                        "irreversible, and nobody has said yes since the last change"
                    );
                    assert!(
                        self.caller_speaks || self.approved || !row.held,
                        "irreversible, and nobody has just said so"
                    );
                    let after_yes = row.held && !self.caller_speaks;
                    if after_yes {
                        self.see("kept after a person's yes");
                    }
                    if row.held {
                        self.see("held");
                    }
                    let before = self.effects.insert(row.dedupe.clone(), row.id);
                    assert_eq!(before, None, "twice: {}", row.dedupe);
                }
                let rows = persist.actions.iter();
                let mut rows: Vec<_> = rows
                    .map(|row| Row {
                        id: row.id,
                        held: row.held,
                        dedupe: row.dedupe.clone(),
                    })
                    .collect();
                if persist.record.kind == "hand_over" {
                    rows.push(Row {
                        id: persist.record.action,
                        held: false,
                        dedupe: String::new(),
                    });
                }
                self.rows.insert(persist.seq, rows);
                self.disk.push(Line::Kept(persist.seq));
            }
            Output::Ask(approval) => {
                assert!(!self.suspended, "asked while suspended");
                self.waiting.push(approval.action);
                self.see("a person asked");
            }
            Output::Release(id) => {
                self.disk.push(Line::Released(id));
                assert!(self.durable.contains(&id), "released before durable");
                assert!(!self.suspended, "released while suspended");
                assert!(self.settled.insert(id), "released or withdrawn before");
            }
            Output::Withdraw(id) => {
                // Just before the outcome also what the store has not answered yet.
                self.early |= !self.durable.contains(&id);
                self.disk.push(Line::Withdrawn(id));
                assert!(self.settled.insert(id), "released or withdrawn before");
                self.effects.retain(|_, known| *known != id);
            }
            Output::Ended(outcome) => {
                // What was answered is remembered as it was answered last.
                for (name, value) in &outcome.collected {
                    let name = (Topic::Answer, Name::new(name));
                    if let Some(known) = self.known.get(&name) {
                        assert_eq!(known.as_deref(), Some(value.as_str()), "{name:?} is lost");
                    }
                }
                self.judge_memory();
                assert_eq!(
                    self.persons,
                    BTreeSet::new(),
                    "a person is left on the line"
                );
                self.ended += 1;
                self.early = false;
            }
            Output::Learned(known) => {
                // A value that changed has to be confirmed anew.
                self.confirmed &= known.topic != Topic::Answer;
                let took_back = known.value.is_none();
                assert!(!took_back || known.topic == Topic::Answer, "{known:?}");
                self.remember(&known);
            }
            Output::Identified(_) | Output::OtherPerson => {}
            Output::Wait(_) => unreachable!("taken in drain"),
        }
    }

    /// A role is entered by a change that is on record, and only with its guards.
    fn judge_role(&mut self, record: &Record) {
        if let Some(role) = &self.role {
            assert_eq!(record.role, *role, "a role without a change: {record:?}");
        }
        if record.kind != "role" {
            self.role = Some(record.role.to_string());
        } else if record.verdict == Verdict::Authorised {
            let holds = |(name, value): &(Name, Option<i64>)| {
                value.is_some_and(|value| value >= 1) || name.is_empty()
            };
            assert!(record.values.iter().all(holds), "without guard: {record:?}");
            self.role = Some(record.object.to_string());
        }
    }

    fn judge_on_person(&mut self, leg: LegId, command: &Command) {
        match command {
            Command::Dial { to, .. } => {
                match self.sent_on && self.onward.is_none() {
                    true => {
                        self.onward = Some(leg);
                        self.see("sent on by a person");
                    }
                    false => assert!(self.persons.is_empty(), "two persons at a time"),
                }
                assert!(!self.suspended, "called while suspended");
                let asked = ("transfer".to_owned(), to.clone());
                assert!(self.allowed.contains(&asked), "not allowed: {to}");
                self.persons.insert(leg);
                // Asked for again: that is another transfer.
                self.failing = None;
            }
            Command::HangUp(_) => {
                self.sent_on &= self.onward != Some(leg);
                self.gone(leg);
            }
            Command::Play(play) => {
                assert!(self.persons.contains(&leg), "nobody is there");
                self.told_person = play.play;
            }
            Command::TakeReferral { taken } => {
                let has_it = self.joined == Some(leg) && self.onward.is_none();
                assert!(!taken || has_it, "sent on by who does not have the caller");
                self.sent_on |= taken;
            }
            Command::ReportReferral { .. } => {
                assert!(self.persons.contains(&leg), "told to nobody");
            }
            other => panic!("not on that leg: {other:?}"),
        }
    }

    fn judge_command(&mut self, command: Command) {
        let silent =
            self.joined.is_some() && matches!(command, Command::Play(_) | Command::Resume { .. });
        assert!(!silent, "we talk into their call");
        if let Command::Join { with } = &command {
            // Whoever answers where the caller was sent is not kept waiting.
            let in_flight = self.onward == Some(*with);
            assert!(!self.suspended || in_flight, "joined while suspended");
            assert!(self.persons.contains(with), "joined with nobody");
            self.joining = Some(*with);
            self.referring = false;
        }
        if let Command::ReferToLeg { with } = &command {
            assert!(!self.suspended, "sent on while suspended");
            assert!(self.persons.contains(with), "sent to nobody");
            self.referring = true;
        }
        if let Command::Refer { to, .. } = &command {
            assert!(!self.suspended, "sent on while suspended");
            let asked = ("transfer".to_owned(), to.clone());
            assert!(self.allowed.contains(&asked), "not allowed: {to}");
            (self.referring, self.failing) = (true, None);
        }
        let needs = match command {
            Command::HandOver { id, .. } => {
                assert!(self.durable.contains(&id), "handed over before durable");
                assert!(self.settled.insert(id), "handed over twice");
                self.handing = true;
                None
            }
            Command::Play(play) => {
                assert_eq!(play.turn, Turn(self.turn), "a stale prompt");
                self.plays.push(play.play);
                self.played_on = play.turn.0;
                self.judge_promises(&play.prompts);
                let price = play.prompts.iter().any(|key| key == "price");
                self.price_plays.extend(price.then_some(play.play));
                self.playing = Some(play.play);
                self.firm = !play.interruptible;
                self.floor = self.firm;
                Some(("say", play.prompts.join("+")))
            }
            Command::Resume { turn, play } => {
                assert_eq!(turn, Turn(self.turn), "a stale resume");
                self.played_on = turn.0;
                let last = self.plays.last();
                if last.is_some_and(|last| self.price_plays.contains(last)) {
                    self.price_plays.insert(play);
                }
                self.playing = Some(play);
                self.plays.push(play);
                self.floor = self.firm;
                None
            }
            Command::Dial { to, .. } => {
                self.judge_window();
                self.see(self.policy);
                Some(("dial", to))
            }
            Command::Answer => Some(("answer", String::new())),
            Command::Stop { .. } => {
                self.turn += 1;
                self.floor = false;
                None
            }
            Command::HangUp(_) => {
                self.up = false;
                self.closing = true;
                self.suspended = false;
                None
            }
            Command::Ring
            | Command::Refuse(_)
            | Command::Collect { .. }
            | Command::Join { .. }
            | Command::Refer { .. }
            | Command::Press { .. }
            | Command::TakeReferral { .. }
            | Command::ReportReferral { .. }
            | Command::ReferToLeg { .. }
            | Command::Echo
            | Command::TestTone => None,
        };
        if let Some((kind, object)) = needs.filter(|_| !self.hang_up_is_ours) {
            let said = |(known, what): &(String, String)| {
                (known == kind || kind == "say" && known == "leave_message") && *what == object
            };
            assert!(
                self.allowed.iter().any(said),
                "not allowed: {kind} {object}"
            );
        }
    }

    /// Nobody is called outside the hours of the policy, against their wish, or without it.
    fn judge_window(&self) {
        let fact = |name: &str| self.facts.get(name).copied().flatten();
        assert_eq!(fact("do_not_call"), Some(0), "who must not be called");
        // Hours, the first day off, the least consent, and minutes between two calls.
        let (hours, day_off, basis, apart) = match self.policy {
            "demo" => return,
            "default" => (540..1_200, 7, 0, 0),
            "eu" => (540..1_200, 7, 2, 120),
            "us" => (480..1_200, 7, 3, 60),
            "strict" => (600..1_080, 6, 3, 1_440),
            other => panic!("no hours of {other}"),
        };
        let anywhere = match self.policy {
            "default" => ["local_minute", "local_minute", "weekday"],
            _ => ["local_minute_first", "local_minute_last", "weekday_last"],
        };
        let [first, last, day] = anywhere.map(|name| fact(name).expect("it is known"));
        assert!(hours.contains(&first), "at minute {first}");
        assert!(hours.contains(&last), "at minute {last}");
        assert!(day < day_off, "on weekday {day}");
        assert_eq!(fact("consent_recorded"), Some(1), "without consent");
        assert!(fact("consent_basis") >= Some(basis), "without that consent");
        assert!(fact("last_contact_min") >= Some(apart), "too soon again");
    }

    /// Nothing is sold to who wants no calls, nor at a price that was not heard.
    fn judge_offer(&mut self, kind: &str) {
        let plain = ["default", "demo"].contains(&self.policy);
        let sells = [
            "schedule",
            "callback",
            "book_visit",
            "take_payment",
            "hand_over",
        ];
        let sells = sells.contains(&kind);
        assert!(
            plain || !sells || !self.opted_out,
            "{kind} after an opt-out"
        );
        let paid = kind == "take_payment" && !plain;
        assert!(!paid || self.price_heard, "paid a price unheard");
        if paid {
            self.see("paid under a policy that wants the price heard");
        }
    }

    /// What the caller hears was noted is known.
    fn judge_promises(&mut self, prompts: &[Name]) {
        for (prompt, topic, name) in [
            ("noted_consent", Topic::Consent, "calls"),
            ("noted_no_calls", Topic::OptOut, "calls"),
            ("noted_price", Topic::Price, "plan"),
            ("noted_promise", Topic::Partial, "plan"),
            ("noted_wish", Topic::Preference, "day"),
            ("price_answer", Topic::Objection, "price"),
            ("timing_answer", Topic::Objection, "timing"),
        ] {
            let said = prompts.iter().any(|key| key == prompt);
            let known = self.known.get(&(topic, Name::new_static(name)));
            let known = known.is_some_and(Option::is_some);
            assert!(!said || known, "{prompt} was said, and it is not known");
            if said {
                self.see(prompt);
            }
        }
    }

    /// Rows that the store was asked for: durable, then neither sent nor withdrawn.
    pub fn forgotten(&self) -> Vec<ActionId> {
        let held = self.rows.values().flatten().filter(|row| row.held);
        held.map(|row| row.id)
            .filter(|id| self.durable.contains(id) && !self.settled.contains(id))
            .collect()
    }
}

/// The conversation is where a person is called.
fn calls_person(conversation: &Conversation) -> bool {
    conversation.place().1 == "connect"
}
