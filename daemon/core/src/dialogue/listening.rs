//! The dialogue's ear: what comes from the caller and the line becomes signals,
//! and an interruption suspends authority until it is understood.

use core::time::Duration;

use super::Dialogue;
use crate::desk::Desk;
use crate::hearing::{Hearing, Onset};
use crate::id::Turn;
use crate::input::{AnswerClass, Digit, Happening, SilenceCause, TURN_END_LATEST_MS, Words};
use crate::keypad::Progress;
use crate::mouth::Purpose;
use crate::signal::{Meaning, Signal, SignalKind, Trigger, is_key};
use crate::timers::Timer;

/// Nobody speaks longer without a pause; then the end of speech was lost.
const UTTERANCE_MAX_MS: u64 = 30_000;
/// Time runs out while the caller speaks: it is looked at again so much later.
const ELAPSED_AGAIN_MS: u64 = 500;

impl Dialogue {
    pub(crate) fn speech_start(&mut self, desk: &mut Desk, at: Duration) {
        self.far_holds = false;
        self.silence_cause = None;
        if self.mouth.holds_the_floor() {
            return;
        }
        self.weigh_answer_time(desk, at);
        self.hearing.onset(false, self.epoch);
        let limit = desk.after_ms(UTTERANCE_MAX_MS);
        desk.timers.set(Timer::Words, limit);
    }

    /// They have stopped; whether for good, the turn's end tells, or words do.
    pub(crate) fn speech_end(&mut self, desk: &mut Desk, at: Duration) {
        if self.hearing.ended() {
            self.last_sound = at;
            let wait = TURN_END_LATEST_MS.max(self.playbook.limits.words_ms);
            self.await_words(desk, at, wait);
        }
    }

    /// What was said up to `at` was all of it; its words have the rest of their time.
    pub(crate) fn turn_end(&mut self, desk: &mut Desk, at: Duration) {
        // A short wait may be over before the ear calls the speech over.
        self.speech_end(desk, at);
        self.close_turn(desk, at);
    }

    fn close_turn(&self, desk: &mut Desk, spoke_until: Duration) {
        if matches!(self.hearing, Hearing::AwaitingWords(_)) {
            self.await_words(desk, spoke_until, self.playbook.limits.words_ms);
        }
    }

    fn await_words(&self, desk: &mut Desk, spoke_until: Duration, ms: u64) {
        let until = spoke_until.saturating_add(Duration::from_millis(ms));
        desk.timers.set(Timer::Words, until);
    }

    pub(crate) fn events_lost(&mut self, desk: &mut Desk, at: Duration, speaking: bool) {
        match speaking {
            true => self.speech_start(desk, at),
            false => self.speech_end(desk, at),
        }
    }

    /// The caller took the word. What we may not be interrupted in goes on.
    pub(crate) fn barge_in(&mut self, desk: &mut Desk, at: Duration) {
        if self.mouth.holds_the_floor() {
            return;
        }
        desk.turn_began = at;
        self.barge_ins = self.barge_ins.saturating_add(1);
        desk.facts.own("barge_ins", i64::from(self.barge_ins));
        self.hearing.onset(true, self.epoch);
        self.our_end = None;
        self.weigh_interruption(desk);
        self.mouth.cut();
        desk.suspended = true;
        let limit = desk.after_ms(UTTERANCE_MAX_MS);
        desk.timers.set(Timer::Words, limit);
    }

    pub(crate) fn barge_in_retracted(&mut self, desk: &mut Desk) {
        if !self.hearing.is_interrupted() {
            return;
        }
        self.heard_nothing(desk);
        self.so_far = false;
        desk.intent.withdraw_provisional(desk.now);
        self.barge_ins = self.barge_ins.saturating_sub(1);
        desk.facts.own("barge_ins", i64::from(self.barge_ins));
        let scene = self.scene();
        self.mouth.resume(desk, &scene);
    }

    /// Words: an earlier text of an utterance suspends what cannot be taken back
    /// and is weighed until the last one says what was said. What comes twice, or
    /// behind a later utterance, is known already.
    pub(crate) fn words(&mut self, desk: &mut Desk, at: Duration, words: &Words) {
        let known = words.utterance != 0 && words.utterance <= self.utterance;
        if known {
            return;
        }
        let signal = self.playbook.lexicon.interpret(words);
        if signal.provisional {
            return self.heard_so_far(desk, &signal);
        }
        self.utterance = self.utterance.max(words.utterance);
        self.so_far = false;
        if signal.backchannel && self.hearing.is_interrupted() {
            return self.barge_in_retracted(desk);
        }
        if signal.kind == SignalKind::Speech && self.mouth.holds_the_floor()
            || signal.backchannel && !self.mouth.is_idle()
        {
            desk.intent.withdraw_provisional(desk.now);
            return self.heard_nothing(desk);
        }
        if let Meaning::Objection(topic) = signal.means {
            self.objected = Some(topic);
        }
        let began = at.saturating_sub(Duration::from_millis(words.spoken_ms.into()));
        self.belated = began < desk.stage_began;
        self.means(desk, at, &signal.kind, signal.means);
        (self.belated, self.objected) = (false, None);
    }

    /// Nothing is done on it, and nothing that cannot be taken back is done beside it.
    fn heard_so_far(&mut self, desk: &mut Desk, signal: &Signal) {
        if self.mouth.holds_the_floor() {
            return;
        }
        self.so_far = true;
        desk.suspended = true;
        self.weigh_so_far(desk, signal);
        if self.hearing.is_open() && self.mouth.is_idle() {
            self.hearing.onset(false, self.epoch);
        }
        if !matches!(self.hearing, Hearing::AwaitingWords(_)) {
            let limit = desk.after_ms(UTTERANCE_MAX_MS);
            desk.timers.set(Timer::Words, limit);
        }
    }

    /// What was said is no turn of the caller's.
    fn heard_nothing(&mut self, desk: &mut Desk) {
        self.hearing.close();
        desk.suspended = false;
        desk.timers.cancel(Timer::Words);
    }

    /// Something of the person happened elsewhere. What they wrote is as good as said.
    pub(crate) fn happened(&mut self, desk: &mut Desk, at: Duration, happening: Happening) {
        if let Some(text) = happening.text {
            let (confidence, last) = (100, true);
            let words = Words {
                text,
                confidence,
                last,
                utterance: 0,
                spoken_ms: 0,
                engine: String::new(),
            };
            self.words(desk, at, &words);
        }
        self.on_signal(desk, &SignalKind::Happened(happening.name));
    }

    pub(crate) fn digit(&mut self, desk: &mut Desk, at: Duration, digit: Digit) {
        // What comes behind a secret that is complete is no part of it.
        if matches!(digit, Digit::Key(key) if !is_key(key)) || self.handing.is_some() {
            return;
        }
        self.weigh_answer_time(desk, at);
        self.so_far = false;
        if let Some(keypad) = &mut self.keypad {
            let progress = keypad.press(digit);
            return self.keys(desk, at, progress);
        }
        match digit {
            Digit::Key(key) => self.understood(desk, at, &SignalKind::Key(key)),
            // Outside a collection a masked key says nothing.
            Digit::Masked => {}
        }
    }

    fn keys(&mut self, desk: &mut Desk, at: Duration, progress: Progress) {
        desk.timers.cancel(Timer::Keys);
        match (progress, &self.keypad) {
            (Progress::More, Some(keypad)) => {
                let wait = desk.after_ms(keypad.wanted().timeout_ms);
                desk.timers.set(Timer::Keys, wait);
                self.last_sound = at;
                self.mouth.stop(desk);
            }
            (Progress::Complete(keys), Some(keypad)) => {
                let name = keypad.wanted().name.as_str().into();
                self.answered(desk, &name, keys.into());
                self.confirmations = 0;
                desk.facts.own("confirmations", 0);
                self.understood(desk, at, &SignalKind::Collected);
            }
            (Progress::Short, Some(_)) => {
                self.collect_anew(desk);
                self.on_signal(desk, &SignalKind::Incomplete);
            }
            (Progress::More | Progress::Complete(_) | Progress::Short, None) => {}
        }
    }

    /// No further key came. Whoever speaks meanwhile is heard out first.
    fn keys_late(&mut self, desk: &mut Desk) {
        let Some(keypad) = &mut self.keypad else {
            return;
        };
        if self.hearing.is_open() {
            let progress = keypad.finish();
            return self.keys(desk, desk.now, progress);
        }
        let wait = desk.after_ms(keypad.wanted().timeout_ms);
        desk.timers.set(Timer::Keys, wait);
    }

    pub(crate) fn answer(&mut self, desk: &mut Desk, class: AnswerClass) {
        // A person is told by the pause in which they wait for us, drawn out or not.
        if class == AnswerClass::Human {
            self.close_turn(desk, self.last_sound);
        }
        self.on_signal(desk, &SignalKind::Answered(class));
    }

    /// A machine has said its greeting: whatever it said is not a caller's turn.
    pub(crate) fn recording_ended(&mut self, desk: &mut Desk, signal: &SignalKind) {
        self.heard_nothing(desk);
        self.so_far = false;
        self.on_signal(desk, signal);
    }

    pub(crate) fn held(&mut self, desk: &mut Desk, held: bool, at: Duration) {
        self.far_holds = held;
        self.last_sound = at;
        let signal = if held {
            SignalKind::Held
        } else {
            SignalKind::Resumed
        };
        self.on_signal(desk, &signal);
    }

    pub(crate) fn silence(&mut self, desk: &mut Desk, cause: SilenceCause) {
        if self.silence_cause.replace(cause) != Some(cause) {
            // How long it is left alone depends on its cause.
            desk.timers.cancel(Timer::Silence);
        }
        match cause {
            SilenceCause::HoldMusic => self.far_holds = true,
            SilenceCause::NoRtp
            | SilenceCause::ComfortNoise
            | SilenceCause::Quiet
            | SilenceCause::Thinking
            | SilenceCause::Gone => {}
        }
    }

    pub(crate) fn played(
        &mut self,
        desk: &mut Desk,
        at: Duration,
        play: u32,
        sent_ms: u32,
        finished: bool,
    ) {
        if let Some(spoken) = self.mouth.played(play, sent_ms, finished) {
            self.our_end = finished.then_some(at);
            self.spoken(desk, spoken);
        }
    }

    pub(crate) fn stale(&mut self, desk: &mut Desk, turn: Turn) {
        if let Some(spoken) = self.mouth.stale(turn) {
            self.spoken(desk, spoken);
        }
    }

    /// Carries out a wakeup of the dialogue.
    pub(crate) fn wake(&mut self, desk: &mut Desk, timer: Timer) {
        match timer {
            Timer::Words => {
                let at = match self.hearing {
                    Hearing::AwaitingWords(_) => self.last_sound,
                    Hearing::Open | Hearing::Speaking(_) => desk.now,
                };
                self.so_far = false;
                self.understood(desk, at, &SignalKind::Speech);
            }
            Timer::Keys => self.keys_late(desk),
            Timer::Silence => {
                self.last_sound = desk.now;
                self.mouth.forget();
                self.on_signal(desk, &SignalKind::Silence);
            }
            Timer::Elapsed if self.is_in_doubt() => {
                let again = desk.after_ms(ELAPSED_AGAIN_MS);
                desk.timers.set(Timer::Elapsed, again);
            }
            Timer::Elapsed => self.on_signal(desk, &SignalKind::Elapsed),
            Timer::Consult => self.consult_late(desk),
            Timer::Naming => self.stop_naming(desk),
            Timer::Bridge => self.bridge(),
            Timer::Release(number) => {
                if let Some(entry) = self.ledger.by_number(number) {
                    entry.make_due();
                }
            }
            Timer::HandOver => self.handed_over(desk, false),
            Timer::Accept(number) => self.accept_late(number),
            Timer::Approval(number) => self.approval_late(number),
            Timer::AnswerAfter
            | Timer::Ring
            | Timer::CallLimit
            | Timer::TestEnd
            | Timer::LegOver
            | Timer::StoreSilent => {}
        }
    }

    pub(super) fn understood(&mut self, desk: &mut Desk, at: Duration, signal: &SignalKind) {
        self.means(desk, at, signal, Meaning::Plain);
    }

    /// The caller's turn is over and this is what it meant. Speech that began
    /// in an earlier stage and has no meaning is no answer to this one.
    fn means(&mut self, desk: &mut Desk, at: Duration, signal: &SignalKind, means: Meaning) {
        let onset = self.hearing.close();
        desk.suspended = false;
        desk.timers.cancel(Timer::Words);
        desk.timers.cancel(Timer::Silence);
        desk.turn_began = at;
        self.last_sound = self.last_sound.max(at);
        self.turns = self.turns.saturating_add(1);
        self.turn_here();
        if onset.is_some_and(|onset| onset.interrupting) {
            self.mouth.forget();
        }
        self.weigh(desk, means);
        self.forget_silence();
        let earlier = |onset: Onset| onset.epoch != self.epoch;
        if *signal != SignalKind::Speech || !onset.is_some_and(earlier) {
            self.on_signal(desk, signal);
        }
    }

    /// Whoever has spoken is there: the steps of silence begin anew.
    fn forget_silence(&mut self) {
        let stage = self.playbook.stage(self.stage);
        let silence = Trigger::Is(SignalKind::Silence);
        self.taken.retain(|place, _| {
            let handler = stage.on.get(*place);
            !handler.is_some_and(|handler| handler.when.contains(&silence))
        });
    }

    fn bridge(&mut self) {
        if !self.ledger.is_storing() || !self.mouth.is_idle() || !self.hearing.is_open() {
            return;
        }
        let prompts: Vec<_> = self.playbook.bridge.clone();
        self.say(&prompts, Purpose::Plain);
    }
}
