//! A person is called on a second leg, listened to, told what it is about, and
//! joined with the caller; or the caller's side is asked to call them itself. A
//! voicemail or a menu there is no person; whatever goes wrong, the caller is still
//! with us and the conversation where it was.

use std::sync::Arc;

use smol_str::format_smolstr;

use super::Dialogue;
use crate::action::builtin;
use crate::desk::{Ask, Desk};
use crate::gate::FIELD_MISSING;
use crate::id::{LegId, Name, Turn};
use crate::input::{AnswerClass, Cause, Digit, LegEvent, Referral};
use crate::mouth::Purpose;
use crate::output::{Came, Command, Output, Play, Prompts, joined};
use crate::playbook::{Transfer, TransferWay};
use crate::record::Verdict;
use crate::signal::{SignalKind, is_key};
use crate::timers::Timer;

/// A verdict on who answered takes 4.5 s at most (silence); then it is nobody.
const LISTEN_MS: u64 = 6_000;
/// The person has this long to take the call once told what it is about.
const ACCEPT_MS: u64 = 10_000;
/// Joining is a matter of the box itself.
pub(super) const JOIN_MS: u64 = 2_000;
/// To take our place on a line that is up takes a peer two round trips.
const TAKE_PLACE_MS: u64 = 8_000;
/// The person's leg has ended as when somebody took our place; so long until we are
/// told that it was so. A transfer that failed is undone within a second.
const PLACE_TAKEN_MS: u64 = 1_000;
/// What came of a call whose far end left for somebody else, unheard.
const LEFT_FOR_THERE: &str = "referred";
/// What keeps the caller company is said so often; a tune of 12 s lasts longer than
/// any person is called.
const COMPANY_MAX: u8 = 40;
/// Persons called in one conversation; their legs are 1, 2, 3.
pub(super) const CALLS_MAX: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It rings there.
    #[default]
    Dialling,
    /// Who answered is not known yet.
    Listening,
    /// The person hears what it is about, under this number of a play.
    Briefing(u32),
    /// The person has heard it and is to take the call.
    Asked,
    /// The person takes the call; as soon as the caller is heard out.
    Accepted,
    /// The legs are being joined.
    Joining,
    /// The caller's side was asked to call the person, or to take our place there.
    Referring,
    /// They hear each other.
    Joined,
}

/// The person who is called, by us or by the caller's side.
#[derive(Debug, Default)]
pub(super) struct Consult {
    /// The leg on which we talk with them.
    leg: Option<LegId>,
    state: State,
    to: String,
    trunk: String,
    /// The caller's side does not take our place: they are joined here.
    stays_here: bool,
    /// The caller has left, maybe for them.
    caller_left: bool,
    turn: Turn,
    /// How often the caller was kept company.
    company: u8,
}

impl Dialogue {
    /// A person has the call: nothing is said or heard by us.
    pub(crate) fn is_handed_over(&self) -> bool {
        let joined = |consult: &Consult| consult.state == State::Joined;
        let here = self.here().handed_over && !self.is_between_persons();
        here || self.consult.as_ref().is_some_and(joined)
    }

    /// By which trunk the person was called who has the caller on this leg.
    pub(super) fn trunk_of_joined(&self, leg: LegId) -> Option<String> {
        let joined = |it: &&Consult| it.state == State::Joined && it.leg == Some(leg);
        Some(self.consult.as_ref().filter(joined)?.trunk.clone())
    }

    /// The caller and somebody on this leg have each other.
    pub(super) fn hold_joined(&mut self, leg: LegId, trunk: String) {
        self.consult = Some(Consult {
            leg: Some(leg),
            state: State::Joined,
            trunk,
            ..self.consult.take().unwrap_or_default()
        });
    }

    /// Calls the person that the stage names.
    pub(super) fn call_person(&mut self, desk: &mut Desk, transfer: &Transfer) {
        let to = transfer.to.fill(&self.values);
        let flaws = to.is_empty().then(|| format_smolstr!("{FIELD_MISSING}to"));
        let ask = Ask {
            kind: Name::new_static(builtin::TRANSFER),
            object: to.clone(),
            flaws: flaws.into_iter().collect(),
            ..Ask::default()
        };
        if self.persons_called >= CALLS_MAX {
            self.failed = Some(Came::Limit);
            return;
        }
        let record = desk.judge(&self.scene(), ask);
        let verdict = record.verdict;
        desk.put(Output::Decided(record));
        if verdict == Verdict::Refused {
            self.failed = Some(Came::Refused);
            return;
        }
        self.persons_called += 1;
        self.asked_in = self.stage;
        self.stop_naming(desk);
        let own = || self.values.get("trunk").map(Name::to_string);
        let trunk = transfer.trunk.clone().or_else(own).unwrap_or_default();
        let by_us = transfer.way != TransferWay::Refer;
        let leg = by_us.then_some(LegId(self.persons_called));
        if let Some(leg) = leg {
            let (to, trunk) = (to.to_string(), trunk.clone());
            let replaces = None;
            let dial = Command::Dial {
                to,
                trunk,
                replaces,
            };
            desk.command_on(leg, dial);
            let until = desk.after_ms(transfer.ring_ms);
            desk.timers.set(Timer::Consult, until);
        }
        self.attempts.begin(desk.now, &to, &trunk, leg);
        self.consult = Some(Consult {
            leg,
            state: if by_us {
                State::Dialling
            } else {
                State::Accepted
            },
            to: to.into(),
            trunk,
            stays_here: false,
            caller_left: false,
            turn: Turn::default(),
            company: 0,
        });
    }

    /// Whoever waits for a person hears music or a line of comfort, not silence.
    pub(super) fn keep_company(&mut self) {
        let playbook = Arc::clone(&self.playbook);
        let alone = self.is_between_persons();
        let stage = if alone { self.asked_in } else { self.stage };
        let Some(transfer) = &playbook.stage(stage).transfer else {
            return;
        };
        if alone {
            if !self.joins_onward() && self.mouth.is_idle() && !transfer.hold.is_empty() {
                self.say(&transfer.hold, Purpose::Company);
            }
            return;
        }
        let waits = |it: &&mut Consult| {
            !matches!(it.state, State::Joining | State::Joined) && it.company < COMPANY_MAX
        };
        let Some(consult) = self.consult.as_mut().filter(waits) else {
            return;
        };
        if !self.far_holds && self.mouth.is_idle() && !transfer.hold.is_empty() {
            consult.company += 1;
            self.say(&transfer.hold, Purpose::Company);
        }
    }

    /// Something happened on the person's leg.
    pub(crate) fn consulted(&mut self, desk: &mut Desk, leg: LegId, event: LegEvent) {
        self.attempts.note(desk.now, leg, &event);
        if self.heard_onward(desk, leg, &event) || self.heard_recording(desk, leg, &event) {
            return;
        }
        if let LegEvent::AskedOnward { to, replaces } = event {
            return self.asked_onward(desk, leg, to, replaces);
        }
        let Some(consult) = self.consult.as_mut().filter(|it| it.leg == Some(leg)) else {
            return;
        };
        match event {
            LegEvent::Answered if consult.state == State::Dialling => {
                consult.state = State::Listening;
                let until = desk.after_ms(LISTEN_MS);
                desk.timers.set(Timer::Consult, until);
            }
            LegEvent::Answer { class, .. } => self.person_is(desk, class),
            LegEvent::Failed(cause) | LegEvent::Ended(cause) => self.person_gone(desk, cause),
            LegEvent::Turn { turn } | LegEvent::BargeIn { turn } => {
                consult.turn = consult.turn.max(turn);
            }
            LegEvent::Played { play, .. } => self.briefed(desk, play),
            LegEvent::Digit(Digit::Key(key)) if is_key(key) => {
                self.person_says(&SignalKind::Key(key));
            }
            LegEvent::Words(words) if words.last => {
                let signal = self.playbook.lexicon.interpret(&words);
                self.person_says(&signal.kind);
            }
            LegEvent::Joined => self.joined(desk, true),
            LegEvent::JoinFailed => self.joined(desk, false),
            LegEvent::Answered
            | LegEvent::Ringing { .. }
            | LegEvent::Held(_)
            | LegEvent::SpeechStart
            | LegEvent::SpeechPause
            | LegEvent::SpeechEnd
            | LegEvent::BargeInRetracted
            | LegEvent::Beep
            | LegEvent::GreetingEnd
            | LegEvent::TurnEnd { .. }
            | LegEvent::Manner(_)
            | LegEvent::Tone(_)
            | LegEvent::Digit(_)
            | LegEvent::Silence(_)
            | LegEvent::Stale { .. }
            | LegEvent::Words(_)
            | LegEvent::EventsLost { .. }
            | LegEvent::MediaLost { .. }
            | LegEvent::Sealed { .. }
            | LegEvent::HandedOver { .. }
            | LegEvent::Referral(_)
            | LegEvent::AskedOnward { .. } => {}
        }
    }

    fn person_is(&mut self, desk: &mut Desk, class: AnswerClass) {
        let Some(consult) = &self.consult else { return };
        let open = matches!(
            consult.state,
            State::Listening | State::Briefing(_) | State::Asked
        );
        let no_person = match class {
            AnswerClass::Human if consult.state == State::Listening => return self.brief(desk),
            AnswerClass::Machine => Came::Machine,
            AnswerClass::Screening => Came::Screening,
            AnswerClass::Ivr => Came::Ivr,
            AnswerClass::Fax => Came::Fax,
            AnswerClass::Busy => Came::Busy,
            AnswerClass::Reorder => Came::Congestion,
            AnswerClass::Sit => Came::Unreachable,
            AnswerClass::Silence => Came::NoVoice,
            AnswerClass::Human | AnswerClass::Ringback | AnswerClass::Unsure => return,
        };
        // A busy tone comes before any answer.
        if open || consult.state == State::Dialling {
            self.call_off(desk, no_person);
        }
    }

    /// The person hears what it is about, before the caller is connected.
    fn brief(&mut self, desk: &mut Desk) {
        let playbook = Arc::clone(&self.playbook);
        let Some(transfer) = &playbook.stage(self.stage).transfer else {
            return;
        };
        let prompts: Prompts = transfer
            .brief
            .iter()
            .map(|key| key.fill(&self.values))
            .collect();
        let scene = self.scene();
        let said = !prompts.is_empty() && desk.allows(&scene, builtin::SAY, joined(&prompts));
        let play = desk.next_play();
        let Some(consult) = &mut self.consult else {
            return;
        };
        consult.state = State::Briefing(play);
        let (turn, leg) = (consult.turn, consult.leg);
        let Some(leg) = leg.filter(|_| said) else {
            return self.briefed(desk, play);
        };
        let play = Play {
            turn,
            play,
            prompts,
            interruptible: true,
        };
        desk.command_on(leg, Command::Play(play));
        let until = desk.after_ms(ACCEPT_MS);
        desk.timers.set(Timer::Consult, until);
    }

    /// The person has heard it, or has cut it short: takes the call, or is asked to.
    fn briefed(&mut self, desk: &mut Desk, play: u32) {
        let asks = self
            .here()
            .transfer
            .as_ref()
            .is_some_and(|it| !it.accept.is_empty());
        let Some(consult) = self
            .consult
            .as_mut()
            .filter(|it| it.state == State::Briefing(play))
        else {
            return;
        };
        consult.state = if asks { State::Asked } else { State::Accepted };
        let until = desk.after_ms(ACCEPT_MS);
        desk.timers.set(Timer::Consult, until);
    }

    fn person_says(&mut self, signal: &SignalKind) {
        let transfer = self.here().transfer.as_ref();
        let takes = transfer.is_some_and(|it| it.accept.iter().any(|accept| accept.takes(signal)));
        if let Some(consult) = &mut self.consult
            && takes
            && matches!(consult.state, State::Briefing(_) | State::Asked)
        {
            consult.state = State::Accepted;
        }
    }

    /// Connects the two, once the caller is heard out.
    pub(super) fn join(&mut self, desk: &mut Desk) {
        // A notice is heard to its end first.
        if self.mouth.says_firm_notice() {
            return;
        }
        let wanted = self.here().transfer.as_ref();
        let (way, ring_ms) =
            wanted.map_or((TransferWay::Bridge, JOIN_MS), |it| (it.way, it.ring_ms));
        let idle = self.mouth.is_idle();
        let Some(consult) = self
            .consult
            .as_mut()
            .filter(|it| it.state == State::Accepted)
        else {
            return;
        };
        let (command, state, ms) = match consult.leg {
            // What the caller is told before is heard to its end.
            None if !idle => return,
            None => {
                let (to, trunk) = (consult.to.clone(), consult.trunk.clone());
                (Command::Refer { to, trunk }, State::Referring, ring_ms)
            }
            Some(with) if way == TransferWay::Attended && !consult.stays_here => {
                let command = Command::ReferToLeg { with };
                (command, State::Referring, TAKE_PLACE_MS)
            }
            Some(with) => (Command::Join { with }, State::Joining, JOIN_MS),
        };
        consult.state = state;
        if state == State::Joining {
            self.mouth.stop(desk);
        }
        desk.command(command);
        let until = desk.after_ms(ms);
        desk.timers.set(Timer::Consult, until);
    }

    /// How it goes with the person whom the caller's side was asked to call.
    pub(crate) fn referral(&mut self, desk: &mut Desk, referral: Referral) {
        let Some(consult) = self
            .consult
            .as_mut()
            .filter(|it| it.state == State::Referring)
        else {
            // It got there when it had been given up: nobody is here any more.
            if referral == Referral::Reached {
                self.result = Some(LEFT_FOR_THERE.to_owned());
                self.wants_hang_up = true;
            }
            return;
        };
        match referral {
            Referral::Rings => {}
            Referral::Reached => {
                self.with_person(desk);
                self.wants_hang_up = true;
            }
            Referral::HungUp => {
                consult.caller_left = true;
                self.result = Some(LEFT_FOR_THERE.to_owned());
            }
            Referral::Refused => self.not_referred(desk, Came::TransferRefused),
            Referral::Missed(cause) => self.not_referred(desk, missed(cause)),
            Referral::Unreported => self.not_referred(desk, Came::Unreported),
        }
    }

    /// The caller's side has not got there. A person who waits is joined here.
    fn not_referred(&mut self, desk: &mut Desk, reason: Came) {
        let waits = self.consult.as_mut().filter(|it| it.leg.is_some());
        if let Some(consult) = waits {
            consult.stays_here = true;
            consult.state = State::Accepted;
            let until = desk.after_ms(ACCEPT_MS);
            desk.timers.set(Timer::Consult, until);
        } else {
            self.call_off(desk, reason);
        }
    }

    /// The caller and the person have each other.
    fn with_person(&mut self, desk: &mut Desk) {
        if let Some(consult) = &mut self.consult {
            consult.state = State::Joined;
        }
        self.attempts.end(desk.now, Came::Person);
        desk.timers.cancel(Timer::Consult);
        self.hearing.close();
        self.mouth.forget();
        self.on_signal(desk, &SignalKind::Transferred);
    }

    pub(crate) fn joined(&mut self, desk: &mut Desk, they_are: bool) {
        if self.joined_onward(desk, they_are) {
            return;
        }
        let consult = self.consult.as_ref();
        if consult.is_none_or(|it| it.state != State::Joining) {
            return;
        }
        match they_are {
            true => self.with_person(desk),
            false => self.call_off(desk, Came::NotJoined),
        }
    }

    /// The person does not answer, does not take the call, or cannot be joined.
    pub(super) fn consult_late(&mut self, desk: &mut Desk) {
        if self.onward_late(desk) {
            return;
        }
        let Some(consult) = &self.consult else { return };
        if self.is_over {
            return self.end_person(desk);
        }
        let reason = match consult.state {
            State::Dialling => Came::NoAnswer,
            State::Listening => Came::NoVoice,
            State::Briefing(_) | State::Asked => Came::NotAccepted,
            State::Accepted | State::Joining => Came::NotJoined,
            State::Referring => return self.not_referred(desk, Came::NoAnswer),
            State::Joined => return,
        };
        self.call_off(desk, reason);
    }

    fn person_gone(&mut self, desk: &mut Desk, cause: Cause) {
        let Some(mut consult) = self.consult.take() else {
            return;
        };
        if consult.state == State::Referring && !self.is_over {
            // Our place was taken, or the person has left: what the caller's side
            // says next tells which.
            consult.leg = None;
            self.consult = Some(consult);
            let until = desk.after_ms(PLACE_TAKEN_MS);
            return desk.timers.set(Timer::Consult, until);
        }
        if consult.state == State::Joined && self.asker_gone() {
            return;
        }
        desk.timers.cancel(Timer::Consult);
        if consult.state == State::Joined {
            self.wants_hang_up = true;
        } else if !self.is_over {
            self.attempts.end(desk.now, missed(cause));
            self.failed = Some(missed(cause));
        }
    }

    /// Lets go of the person, unless the caller is already theirs.
    pub(super) fn call_off(&mut self, desk: &mut Desk, reason: Came) {
        let Some(consult) = self.let_go(desk) else {
            return;
        };
        let came = match consult.leg {
            Some(leg) if reason == Came::Machine => self.name_recording(desk, leg),
            Some(leg) => {
                desk.command_on(leg, Command::HangUp(Cause::NearHangup));
                reason
            }
            None => reason,
        };
        self.attempts.end(desk.now, came);
        self.failed = Some(came);
    }

    /// The stage in which a person was called is left otherwise.
    pub(super) fn drop_person(&mut self, desk: &mut Desk) {
        if let Some(consult) = self.let_go(desk) {
            self.attempts.end(desk.now, Came::Dropped);
            if let Some(leg) = consult.leg {
                desk.command_on(leg, Command::HangUp(Cause::NearHangup));
            }
        }
        self.failed = None;
    }

    /// Nobody waits for the person any more, unless the caller is already theirs.
    fn let_go(&mut self, desk: &mut Desk) -> Option<Consult> {
        let consult = self.consult.take_if(|it| it.state != State::Joined)?;
        desk.timers.cancel(Timer::Consult);
        Some(consult)
    }

    /// The call is over; so is the person's leg, unless the caller has left to take
    /// our place there: for that it must still be up.
    pub(super) fn end_person(&mut self, desk: &mut Desk) {
        self.end_onward(desk);
        self.stop_naming(desk);
        let Some(consult) = &mut self.consult else {
            return;
        };
        if core::mem::take(&mut consult.caller_left) && consult.leg.is_some() {
            let until = desk.after_ms(TAKE_PLACE_MS);
            return desk.timers.set(Timer::Consult, until);
        }
        desk.timers.cancel(Timer::Consult);
        if let Some(leg) = self.consult.take().and_then(|it| it.leg) {
            desk.command_on(leg, Command::HangUp(Cause::NearHangup));
        }
    }

    /// No person has taken the call: the caller hears so, with the reason at hand.
    pub(super) fn tell_failed(&mut self, desk: &mut Desk) {
        if let Some(reason) = self.failed.take() {
            self.mouth.stop_company(desk);
            self.values_of_transfer(reason);
            self.on_signal(desk, &SignalKind::TransferFailed);
        }
    }

    /// The playbook can ask for it from now on.
    pub(super) fn values_of_transfer(&mut self, came: Came) {
        let name = Name::new_static(crate::playbook::TRANSFER_VALUE);
        self.values.insert(name, Name::new_static(came.name()));
    }
}

/// Why a person was not reached.
pub(super) const fn missed(cause: Cause) -> Came {
    match cause {
        Cause::Busy => Came::Busy,
        Cause::NoAnswer | Cause::Cancelled => Came::NoAnswer,
        Cause::Declined => Came::Declined,
        Cause::Congestion | Cause::Overload => Came::Congestion,
        Cause::Forbidden => Came::Forbidden,
        Cause::FarHangup => Came::NotAccepted,
        Cause::NearHangup
        | Cause::Unallocated
        | Cause::NoCommonCodec
        | Cause::SdpRefused
        | Cause::NoSdp
        | Cause::TrunkDown
        | Cause::NoAck
        | Cause::NoRoute
        | Cause::MediaTimeout
        | Cause::Interrupted
        | Cause::InternalError => Came::Unreachable,
    }
}
