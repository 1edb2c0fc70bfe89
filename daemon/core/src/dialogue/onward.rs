//! A person who has the caller sends it on to somebody else, as with the transfer key
//! of their telephone: we call there, tell the person how it goes, and join the two.
//! Whatever goes wrong, the caller stays with the person; where the person has left
//! meanwhile, it is back with us. Called where a person is consulted (`transfer`).

use super::Dialogue;
use super::transfer::{CALLS_MAX, JOIN_MS, missed};
use crate::action::builtin;
use crate::desk::Desk;
use crate::id::LegId;
use crate::input::{Cause, LegEvent, Referral};
use crate::output::Command;
use crate::timers::Timer;

/// Whom a person sends a caller to has so long to answer.
const RING_MS: u64 = 30_000;

/// Whom the caller is sent on to.
#[derive(Debug)]
pub(super) struct Onward {
    leg: LegId,
    trunk: String,
    /// The person who sent it; `None`: has hung up since.
    asker: Option<LegId>,
    joining: bool,
}

impl Dialogue {
    /// The person on a leg asks us to call somebody else, to have the caller there:
    /// in the place of the call that they hold themselves, where they have asked first.
    pub(super) fn asked_onward(
        &mut self,
        desk: &mut Desk,
        leg: LegId,
        to: String,
        replaces: Option<String>,
    ) {
        let trunk = self.trunk_of_joined(leg);
        let free = self.onward.is_none() && self.persons_called < CALLS_MAX;
        let scene = self.scene();
        let allowed =
            trunk.is_some() && free && desk.allows(&scene, builtin::TRANSFER, to.as_str().into());
        desk.command_on(leg, Command::TakeReferral { taken: allowed });
        let Some(trunk) = trunk.filter(|_| allowed) else {
            return;
        };
        self.persons_called += 1;
        let next = LegId(self.persons_called);
        let dial = Command::Dial {
            to,
            trunk: trunk.clone(),
            replaces,
        };
        desk.command_on(next, dial);
        let until = desk.after_ms(RING_MS);
        desk.timers.set(Timer::Consult, until);
        self.onward = Some(Onward {
            leg: next,
            trunk,
            asker: Some(leg),
            joining: false,
        });
    }

    /// Something happened where the caller is sent to; `false`: not there.
    pub(super) fn heard_onward(&mut self, desk: &mut Desk, leg: LegId, event: &LegEvent) -> bool {
        let Some(onward) = self.onward.as_mut().filter(|it| it.leg == leg) else {
            return false;
        };
        match event {
            LegEvent::Ringing { .. } => self.tell_asker(desk, Referral::Rings),
            LegEvent::Answered if !onward.joining => {
                onward.joining = true;
                self.mouth.stop(desk);
                desk.command(Command::Join { with: leg });
                let until = desk.after_ms(JOIN_MS);
                desk.timers.set(Timer::Consult, until);
            }
            LegEvent::Failed(cause) | LegEvent::Ended(cause) => {
                self.not_onward(desk, *cause);
            }
            _ => {}
        }
        true
    }

    /// Whether the caller and whom it was sent to have each other; `false`: nobody
    /// was to be joined.
    pub(super) fn joined_onward(&mut self, desk: &mut Desk, they_are: bool) -> bool {
        let Some(onward) = self.onward.take_if(|it| it.joining) else {
            return false;
        };
        if !they_are {
            desk.command_on(onward.leg, Command::HangUp(Cause::InternalError));
            let leg = onward.leg;
            self.onward = Some(onward);
            self.heard_onward(desk, leg, &LegEvent::Failed(Cause::InternalError));
            return true;
        }
        desk.timers.cancel(Timer::Consult);
        if let Some(asker) = onward.asker {
            let how = Referral::Reached;
            desk.command_on(asker, Command::ReportReferral { how });
            desk.command_on(asker, Command::HangUp(Cause::NearHangup));
        }
        self.hearing.close();
        self.mouth.forget();
        self.hold_joined(onward.leg, onward.trunk);
        true
    }

    /// Nobody answers there; `false`: nobody is called.
    pub(super) fn onward_late(&mut self, desk: &mut Desk) -> bool {
        let Some(onward) = &self.onward else {
            return false;
        };
        desk.command_on(onward.leg, Command::HangUp(Cause::NoAnswer));
        self.not_onward(desk, Cause::NoAnswer);
        true
    }

    /// The person has hung up, who sent the caller on; `false`: nobody was.
    pub(super) fn asker_gone(&mut self) -> bool {
        let gone = self.onward.as_mut().map(|it| it.asker = None);
        gone.is_some()
    }

    /// The call is over.
    pub(super) fn end_onward(&mut self, desk: &mut Desk) {
        if let Some(onward) = self.onward.take() {
            desk.command_on(onward.leg, Command::HangUp(Cause::NearHangup));
        }
    }

    /// The caller and whom it is sent to are being joined.
    pub(super) fn joins_onward(&self) -> bool {
        self.onward.as_ref().is_some_and(|it| it.joining)
    }

    /// The caller is alone, on its way from one person to another.
    pub(super) fn is_between_persons(&self) -> bool {
        self.onward.as_ref().is_some_and(|it| it.asker.is_none())
    }

    fn tell_asker(&mut self, desk: &mut Desk, how: Referral) {
        if let Some(asker) = self.onward.as_ref().and_then(|it| it.asker) {
            desk.command_on(asker, Command::ReportReferral { how });
        }
    }

    fn not_onward(&mut self, desk: &mut Desk, cause: Cause) {
        self.tell_asker(desk, Referral::Missed(cause));
        let alone = self.is_between_persons();
        self.onward = None;
        desk.timers.cancel(Timer::Consult);
        if alone && !self.is_over {
            // Back where it asked for a person.
            self.mouth.stop(desk);
            self.result = None;
            self.settle_in(desk, self.asked_in);
            self.failed = Some(missed(cause));
        }
    }
}
