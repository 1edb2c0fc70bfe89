//! How the call itself stands: offered, dialled, up, ending, over. It carries
//! out what others decided about the leg and remembers why it ended.

use core::time::Duration;

use crate::desk::Desk;
use crate::input::{AnswerClass, Cause};
use crate::output::Command;
use crate::timers::Timer;

/// A leg is over by itself after this long: 64*T1 for the last request
/// (RFC 3261 §17.1.2.2, Timer F) and some time to tell us.
const LEG_OVER_MS: u64 = 40_000;

/// Where the call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has happened.
    Idle,
    /// Came in, not yet answered.
    Offered,
    /// We have answered, the far end has not heard of it yet.
    Answering,
    /// We call out.
    Dialling,
    /// Audio flows both ways.
    Up,
    /// We have ordered the end.
    Ending,
    /// The leg is over.
    Over,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) phase: Phase,
    /// It was us who called.
    pub(crate) dialled: bool,
    /// Why we end it, where it is us.
    cause: Option<Cause>,
    pub(crate) class: Option<AnswerClass>,
    answered_at: Option<Duration>,
    over_at: Duration,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            dialled: false,
            cause: None,
            class: None,
            answered_at: None,
            over_at: Duration::ZERO,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub(crate) fn answer(&mut self, desk: &mut Desk) {
        if self.phase == Phase::Offered {
            desk.command(Command::Answer);
            self.phase = Phase::Answering;
        }
    }

    /// True when the call has come up now.
    pub(crate) fn answered(&mut self, desk: &mut Desk) -> bool {
        let comes_up = matches!(self.phase, Phase::Answering | Phase::Dialling);
        if comes_up {
            self.phase = Phase::Up;
            self.answered_at = Some(desk.now);
            desk.timers.cancel(Timer::Ring);
        }
        comes_up
    }

    /// Refuses an inbound call that is not answered yet.
    pub(crate) fn refuse(&mut self, desk: &mut Desk, cause: Cause) {
        if self.phase == Phase::Offered {
            desk.command(Command::Refuse(cause));
            self.begin_end(desk, cause);
        }
    }

    /// Ends the leg in whatever state it is.
    pub(crate) fn hang_up(&mut self, desk: &mut Desk, cause: Cause) {
        match self.phase {
            Phase::Idle => self.over(desk, cause),
            Phase::Offered | Phase::Answering | Phase::Dialling | Phase::Up => {
                desk.command(Command::HangUp(cause));
                self.begin_end(desk, cause);
            }
            Phase::Ending | Phase::Over => {}
        }
    }

    fn begin_end(&mut self, desk: &mut Desk, cause: Cause) {
        self.cause = Some(cause);
        self.phase = Phase::Ending;
        let limit = desk.after_ms(LEG_OVER_MS);
        for timer in [
            Timer::AnswerAfter,
            Timer::Ring,
            Timer::CallLimit,
            Timer::TestEnd,
        ] {
            desk.timers.cancel(timer);
        }
        desk.timers.set(Timer::LegOver, limit);
    }

    /// The leg is over; our own reason, where we had one, stands.
    pub(crate) fn over(&mut self, desk: &mut Desk, cause: Cause) {
        if self.phase == Phase::Over {
            return;
        }
        self.cause = self.cause.or(Some(cause));
        self.phase = Phase::Over;
        self.over_at = desk.now;
        desk.timers.cancel(Timer::LegOver);
    }

    pub(crate) fn cause(&self) -> Cause {
        self.cause.unwrap_or(Cause::InternalError)
    }

    /// When it ended.
    pub(crate) fn ended_at(&self) -> Duration {
        self.over_at
    }

    /// From answer to end.
    pub(crate) fn talk(&self) -> Duration {
        self.answered_at.map_or(Duration::ZERO, |answered| {
            self.over_at.saturating_sub(answered)
        })
    }
}
