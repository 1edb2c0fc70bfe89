//! A conversation: fed inputs, drained of outputs, ends with exactly one outcome.
//!
//! It routes: the call's state is brought up to date first, then the program
//! (dialogue or test line) draws its conclusions, then proposals go through the
//! gate at the `desk`. The daemon's decision thread owns it.

use core::time::Duration;
use std::sync::Arc;

use crate::action::builtin;
use crate::book::{Book, Program, TestLine};
use crate::call::{Call, Phase};
use crate::desk::{CALLER, Desk, Scene};
use crate::dialogue::{Dialogue, Parties};
use crate::facts::FactId;
use crate::gate::Judgement;
use crate::id::{ConversationId, LegId, Name};
use crate::input::{AnswerClass, Cause, Event, Fact, Input, LegEvent, Offered, Originate};
use crate::intent::Dimension;
use crate::mouth::Heard;
use crate::output::{Command, Outcome, Output};
use crate::playbook::Limits;
use crate::policy::Policy;
use crate::record::Record;
use crate::signal::SignalKind;
use crate::timers::Timer;

/// Wakeups carried out in one go; what is due beyond that comes with the next.
const WAKEUPS_MAX: usize = 64;
/// The fact that says what it costs now.
const PRICE: &str = "price_cents";
/// An ended call waits this long for the store before it gives up on it.
const STORE_SILENT_MS: u64 = 30_000;

/// One conversation. Pure: same inputs, same outputs.
#[derive(Debug)]
pub struct Conversation {
    desk: Desk,
    call: Call,
    talk: Talk,
    has_ended: bool,
}

#[derive(Debug)]
enum Talk {
    Dialogue(Box<Dialogue>),
    Test(TestLine),
}

impl Conversation {
    /// A conversation to which nothing has happened yet.
    pub fn new(id: ConversationId, book: Arc<Book>) -> Self {
        let talk = match &book.program {
            Program::Playbook(playbook) => {
                Talk::Dialogue(Box::new(Dialogue::new(Arc::clone(playbook))))
            }
            Program::Test(line) => Talk::Test(*line),
        };
        Self {
            desk: Desk::new(id, book),
            call: Call::new(),
            talk,
            has_ended: false,
        }
    }

    /// Which one it is.
    pub fn id(&self) -> ConversationId {
        self.desk.id
    }

    /// Another policy holds from now on. `Event::Governed` says so in the log.
    pub fn adopt(&mut self, policy: Arc<Policy>) {
        if Arc::ptr_eq(&self.desk.book.policy, &policy) {
            return;
        }
        let book = Book {
            policy,
            ..(*self.desk.book).clone()
        };
        self.desk.book = Arc::new(book);
    }

    /// What drives it.
    pub fn program(&self) -> &Program {
        &self.desk.book.program
    }

    /// Judges every proposal by this policy as well, beside the one that holds.
    pub fn shadow(&mut self, policy: Arc<Policy>) {
        self.desk.shadow = Some(policy);
    }

    /// What the shadow said to each proposal so far, beside what was decided.
    pub fn shadowed(&self) -> &[(Record, Judgement)] {
        &self.desk.shadowed
    }

    /// Role and stage, for people who look in.
    pub fn place(&self) -> (Name, Name) {
        let scene = self.scene();
        (scene.role, scene.stage)
    }

    /// How much of what was said was really sent to the caller; the last 32 prompts.
    pub fn heard(&self) -> impl Iterator<Item = &Heard> {
        let dialogue = match &self.talk {
            Talk::Dialogue(dialogue) => Some(dialogue),
            Talk::Test(_) => None,
        };
        dialogue.into_iter().flat_map(|dialogue| dialogue.heard())
    }

    /// Takes an input. `now` is the time since daemon start at which it is
    /// handled; an earlier one than before counts as the same. After the outcome
    /// nothing happens any more.
    pub fn handle(&mut self, now: Duration, input: Input) {
        if self.has_ended {
            return;
        }
        let before = self.desk.now;
        self.desk.now = now.max(before);
        let at = input.at.min(self.desk.now);
        self.wake(at);
        self.take(at, input.event);
        self.settle();
        self.wake(self.desk.now);
        self.settle();
    }

    /// What is to be done next; `Wait` when there is nothing more.
    pub fn poll(&mut self) -> Output {
        match self.desk.next_output() {
            Some(output) => output,
            None if self.has_ended => Output::Wait(None),
            None => Output::Wait(self.desk.timers.next()),
        }
    }

    fn take(&mut self, at: Duration, event: Event) {
        match event {
            Event::Offered(offered) => self.offered(offered),
            Event::Remembered(recollection) => {
                if let Talk::Dialogue(dialogue) = &mut self.talk {
                    dialogue.remember(&mut self.desk, recollection);
                }
            }
            Event::Originate(originate) => self.originate(originate),
            Event::Leg(CALLER, event) => self.leg(at, event),
            Event::Leg(leg, event) => self.consulted(leg, event),
            Event::Facts(facts) => self.learn(&facts),
            Event::Stored { seq, durable } => {
                if let Talk::Dialogue(dialogue) = &mut self.talk {
                    dialogue.stored(&mut self.desk, seq, durable);
                }
            }
            Event::Upstream { action, answer } => {
                if let Talk::Dialogue(dialogue) = &mut self.talk {
                    dialogue.upstream(&mut self.desk, action, answer);
                }
            }
            Event::Happened(happening) => {
                if let (Talk::Dialogue(dialogue), true) = (&mut self.talk, self.call.is_up()) {
                    dialogue.happened(&mut self.desk, at, happening);
                }
            }
            Event::Leased(leases) => {
                let priced = leases.iter().any(|lease| lease.name == PRICE);
                self.desk.lease(leases);
                if priced {
                    self.mind_price();
                }
            }
            Event::Approval {
                action, approved, ..
            } => {
                if let Talk::Dialogue(dialogue) = &mut self.talk {
                    dialogue.approval(action, approved);
                }
            }
            Event::Standing(standing) => self.desk.standing = standing,
            // `adopt` has put it in place; the event is its record.
            Event::Governed(_) => {}
            Event::OperatorHangup => self.call.hang_up(&mut self.desk, Cause::NearHangup),
            Event::Wake => {}
        }
    }

    /// Facts that a conversation keeps itself are taken from nobody.
    fn learn(&mut self, facts: &[Fact]) {
        for fact in facts {
            let Some(id) = FactId::find(&fact.name).filter(|id| id.is_fed()) else {
                continue;
            };
            self.desk.facts.set(id, fact.value);
            if id.name() == PRICE {
                self.mind_price();
            }
        }
    }

    /// The price that holds was told, by a fact or as an offer: another one than before
    /// takes back what was agreed to.
    fn mind_price(&mut self) {
        let price = FactId::find(PRICE).expect("it is in the list of facts");
        let price = self.desk.facts.value(price);
        let before = core::mem::replace(&mut self.desk.price, price);
        if let (Talk::Dialogue(dialogue), true) =
            (&mut self.talk, before.is_some() && before != price)
        {
            dialogue.price_changed(&mut self.desk);
        }
    }

    /// Something happened on the leg of a person whom we called.
    fn consulted(&mut self, leg: LegId, event: LegEvent) {
        let ends = matches!(event, LegEvent::Ended(_) | LegEvent::Failed(_));
        if let (Talk::Dialogue(dialogue), true) = (&mut self.talk, self.call.is_up() || ends) {
            dialogue.consulted(&mut self.desk, leg, event);
        }
    }

    fn offered(&mut self, offered: Offered) {
        if self.call.phase != Phase::Idle {
            return;
        }
        self.call.phase = Phase::Offered;
        match &mut self.talk {
            Talk::Test(line) => line.offered(&mut self.desk, &mut self.call),
            Talk::Dialogue(dialogue) => {
                let parties = Parties {
                    party: offered.caller.clone(),
                    caller: offered.caller,
                    called: offered.called,
                    trunk: offered.trunk,
                    person: offered.person,
                };
                dialogue.meet(&mut self.desk, parties);
                let ring = self.limits().map_or(0, |limits| limits.answer_after_ms);
                if ring == 0 {
                    return self.answer();
                }
                self.desk.command(Command::Ring);
                let until = self.desk.after_ms(ring);
                self.desk.timers.set(Timer::AnswerAfter, until);
            }
        }
    }

    fn answer(&mut self) {
        let scene = self.scene();
        if self.desk.allows(&scene, builtin::ANSWER, Name::default()) {
            self.call.answer(&mut self.desk);
        } else {
            self.call.refuse(&mut self.desk, Cause::Declined);
        }
    }

    fn originate(&mut self, originate: Originate) {
        if self.call.phase != Phase::Idle {
            return;
        }
        let Talk::Dialogue(dialogue) = &mut self.talk else {
            // A test destination is called, it does not call.
            return self.call.over(&mut self.desk, Cause::Forbidden);
        };
        let parties = Parties {
            caller: String::new(),
            called: originate.to.clone(),
            trunk: originate.trunk.clone(),
            party: originate.to.clone(),
            person: String::new(),
        };
        dialogue.meet(&mut self.desk, parties);
        let scene = self.scene();
        if !self
            .desk
            .allows(&scene, builtin::DIAL, originate.to.as_str().into())
        {
            return self.call.over(&mut self.desk, Cause::Forbidden);
        }
        self.call.phase = Phase::Dialling;
        self.call.dialled = true;
        self.desk.command(Command::Dial {
            to: originate.to,
            trunk: originate.trunk,
            replaces: None,
        });
        if let Some(limits) = self.limits() {
            let until = self.desk.after_ms(limits.ring_ms);
            self.desk.timers.set(Timer::Ring, until);
        }
    }

    fn leg(&mut self, at: Duration, event: LegEvent) {
        match event {
            LegEvent::Ringing { media: _ } => {}
            LegEvent::Answered => self.answered(),
            LegEvent::Failed(cause) | LegEvent::Ended(cause) => {
                self.call.over(&mut self.desk, cause);
            }
            LegEvent::Answer {
                class, corrected, ..
            } => self.classified(class, corrected),
            LegEvent::MediaLost { ms } => self.media_lost(ms),
            LegEvent::Turn { turn } => self.desk.turn = self.desk.turn.max(turn),
            LegEvent::BargeIn { turn } => {
                // Before the call is up as well: what is decided from now on is of this turn.
                self.desk.turn = self.desk.turn.max(turn);
                self.heard_event(at, LegEvent::BargeIn { turn });
            }
            other => self.heard_event(at, other),
        }
    }

    fn answered(&mut self) {
        if !self.call.answered(&mut self.desk) {
            return;
        }
        if let Some(limits) = self.limits() {
            let until = self.desk.after_ms(limits.call_ms);
            self.desk.timers.set(Timer::CallLimit, until);
        }
        match &mut self.talk {
            Talk::Test(line) => line.answered(&mut self.desk),
            Talk::Dialogue(dialogue) => {
                dialogue.start(&mut self.desk);
                if let Some(class) = self.call.class {
                    dialogue.answer(&mut self.desk, class);
                }
            }
        }
    }

    /// Before the answer only the network speaks: its tones say why it failed.
    fn classified(&mut self, class: AnswerClass, corrected: bool) {
        if class == AnswerClass::Unsure && self.call.class.is_some() && !corrected {
            return;
        }
        self.call.class = Some(class);
        if self.call.phase == Phase::Dialling {
            match class {
                AnswerClass::Busy => self.call.hang_up(&mut self.desk, Cause::Busy),
                AnswerClass::Reorder => self.call.hang_up(&mut self.desk, Cause::Congestion),
                AnswerClass::Sit => self.call.hang_up(&mut self.desk, Cause::Unallocated),
                AnswerClass::Human
                | AnswerClass::Machine
                | AnswerClass::Screening
                | AnswerClass::Ivr
                | AnswerClass::Fax
                | AnswerClass::Ringback
                | AnswerClass::Silence
                | AnswerClass::Unsure => {}
            }
        }
        if let (Talk::Dialogue(dialogue), true) = (&mut self.talk, self.call.is_up()) {
            dialogue.answer(&mut self.desk, class);
        }
    }

    /// Test destinations do not mind: a tech wants to see which way is deaf.
    fn media_lost(&mut self, ms: u32) {
        let Some(limits) = self.limits() else { return };
        if self.call.is_up() && u64::from(ms) >= limits.media_lost_ms {
            self.call.hang_up(&mut self.desk, Cause::MediaTimeout);
        }
    }

    /// What is heard on the line, for the dialogue alone.
    fn heard_event(&mut self, at: Duration, event: LegEvent) {
        let (Talk::Dialogue(dialogue), true) = (&mut self.talk, self.call.is_up()) else {
            return;
        };
        let desk = &mut self.desk;
        match event {
            LegEvent::Held(held) => dialogue.held(desk, held, at),
            // A person has the call: what is said there is not said to us.
            LegEvent::SpeechStart
            | LegEvent::SpeechEnd
            | LegEvent::TurnEnd { .. }
            | LegEvent::BargeIn { .. }
            | LegEvent::Words(_)
            | LegEvent::Digit(_)
                if dialogue.is_handed_over() => {}
            LegEvent::SpeechStart => dialogue.speech_start(desk, at),
            LegEvent::SpeechEnd => dialogue.speech_end(desk, at),
            LegEvent::TurnEnd { confidence: _ } => dialogue.turn_end(desk, at),
            LegEvent::BargeIn { turn: _ } => dialogue.barge_in(desk, at),
            LegEvent::BargeInRetracted => dialogue.barge_in_retracted(desk),
            // Who calls us plays no greeting: an even "um" of theirs can pass for a beep.
            LegEvent::Beep | LegEvent::GreetingEnd if !self.call.dialled => {}
            LegEvent::Beep => dialogue.recording_ended(desk, &SignalKind::Beep),
            LegEvent::GreetingEnd => dialogue.recording_ended(desk, &SignalKind::GreetingEnd),
            LegEvent::Manner(manner) => Dialogue::tell_manner(desk, &manner),
            LegEvent::Digit(digit) => dialogue.digit(desk, at, digit),
            LegEvent::Sealed { keys, check_digit } => {
                dialogue.sealed(desk, at, keys, check_digit);
            }
            LegEvent::HandedOver { taken } => dialogue.handed_over(desk, taken),
            LegEvent::Silence(cause) => dialogue.silence(desk, cause),
            LegEvent::Played {
                play,
                sent_ms,
                finished,
            } => dialogue.played(desk, at, play, sent_ms, finished),
            LegEvent::Stale { turn } => dialogue.stale(desk, turn),
            LegEvent::Words(words) => dialogue.words(desk, at, &words),
            LegEvent::EventsLost { count: _, speaking } => {
                dialogue.events_lost(desk, at, speaking);
            }
            // A pause is not an end; tones are reported for the record.
            LegEvent::SpeechPause | LegEvent::Tone(_) => {}
            LegEvent::Joined => dialogue.joined(desk, true),
            LegEvent::JoinFailed => dialogue.joined(desk, false),
            // A caller does not tell us to call anybody.
            LegEvent::AskedOnward { .. } => desk.command(Command::TakeReferral { taken: false }),
            LegEvent::Referral(referral) => dialogue.referral(desk, referral),
            // Taken in `leg`.
            LegEvent::Ringing { .. }
            | LegEvent::Answered
            | LegEvent::Failed(_)
            | LegEvent::Ended(_)
            | LegEvent::Answer { .. }
            | LegEvent::Turn { .. }
            | LegEvent::MediaLost { .. } => {}
        }
    }

    /// Carries out the wakeups that were due by then.
    fn wake(&mut self, by: Duration) {
        for _ in 0..WAKEUPS_MAX {
            let Some(timer) = self.desk.timers.take_due(by) else {
                return;
            };
            self.fire(timer);
            self.settle();
        }
    }

    fn fire(&mut self, timer: Timer) {
        let desk = &mut self.desk;
        match timer {
            Timer::AnswerAfter => self.answer(),
            Timer::Ring => self.call.hang_up(desk, Cause::NoAnswer),
            Timer::CallLimit => self.call.hang_up(desk, Cause::NearHangup),
            Timer::LegOver => self.call.over(desk, Cause::NearHangup),
            Timer::TestEnd => {
                if let Talk::Test(line) = self.talk {
                    line.ends(desk, &mut self.call);
                }
            }
            Timer::StoreSilent => {
                if let Talk::Dialogue(dialogue) = &mut self.talk {
                    dialogue.give_up(desk);
                }
                self.finish();
            }
            Timer::Words
            | Timer::Keys
            | Timer::Bridge
            | Timer::Release(_)
            | Timer::HandOver
            | Timer::Accept(_)
            | Timer::Approval(_)
            | Timer::Silence
            | Timer::Elapsed
            | Timer::Consult
            | Timer::Naming => {
                if let Talk::Dialogue(dialogue) = &mut self.talk {
                    dialogue.wake(desk, timer);
                }
            }
        }
    }

    /// Draws what follows, until the call is over and everything is settled.
    fn settle(&mut self) {
        if self.has_ended {
            return;
        }
        let over = self.call.phase == Phase::Over;
        let mut settled = true;
        if let Talk::Dialogue(dialogue) = &mut self.talk {
            if over {
                dialogue.end(&mut self.desk);
                dialogue.settle(&mut self.desk);
                settled = dialogue.is_settled();
            } else if self.call.is_up() {
                dialogue.settle(&mut self.desk);
                if dialogue.wants_hang_up {
                    self.call.hang_up(&mut self.desk, Cause::NearHangup);
                }
            }
        }
        if over && settled {
            self.finish();
        } else if over && !self.desk.timers.is_set(Timer::StoreSilent) {
            let until = self.desk.after_ms(STORE_SILENT_MS);
            self.desk.timers.set(Timer::StoreSilent, until);
        }
    }

    fn finish(&mut self) {
        self.has_ended = true;
        self.desk.timers.clear();
        let outcome = self.outcome();
        self.desk.put(Output::Ended(outcome));
    }

    fn outcome(&self) -> Outcome {
        let scene = self.scene();
        let dialogue = match &self.talk {
            Talk::Dialogue(dialogue) => Some(dialogue),
            Talk::Test(_) => None,
        };
        Outcome {
            cause: self.call.cause(),
            result: self.result(),
            role: scene.role.into(),
            stage: scene.stage.into(),
            answered_by: self.call.class.map(|class| class.name().to_owned()),
            talk: self.call.talk(),
            turns: dialogue.map_or(0, |it| it.turns),
            barge_ins: dialogue.map_or(0, |it| it.barge_ins),
            authorised: self.desk.authorised,
            refused: self.desk.refused,
            collected: dialogue.map_or_else(Vec::new, |it| it.collected()),
            intent: self.desk.intent.score(self.desk.now, Dimension::Readiness),
            cost: 0,
            origin: Vec::new(),
            stages: dialogue.map_or_else(Vec::new, |it| it.stays(self.call.ended_at())),
            persons: dialogue.map_or_else(Vec::new, |it| it.attempts(self.call.ended_at())),
        }
    }

    /// What a stage says was reached; else that the caller left, that nothing was
    /// settled, or why nobody was reached.
    fn result(&self) -> String {
        match &self.talk {
            Talk::Test(line) => line.name().to_owned(),
            Talk::Dialogue(dialogue) => match (&dialogue.result, self.call.cause()) {
                (Some(result), _) => result.clone(),
                (None, Cause::FarHangup) => "abandoned".to_owned(),
                (None, Cause::NearHangup) => "unresolved".to_owned(),
                (None, cause) => cause.name().to_owned(),
            },
        }
    }

    fn scene(&self) -> Scene {
        match &self.talk {
            Talk::Dialogue(dialogue) => dialogue.scene(),
            Talk::Test(line) => Scene {
                role: Name::new_static("test"),
                stage: line.name().into(),
            },
        }
    }

    /// The playbook's times; a test line has none.
    fn limits(&self) -> Option<Limits> {
        match &self.desk.book.program {
            Program::Playbook(playbook) => Some(playbook.limits),
            Program::Test(_) => None,
        }
    }
}
