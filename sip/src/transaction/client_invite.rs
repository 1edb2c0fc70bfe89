//! INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2).

use core::time::Duration;

use super::{Step, Steps, steps};
use crate::message::StatusCode;
use crate::timers::{Slot, TIMER_D, Timer, TimerValues};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing heard yet; the gap before the next repetition.
    Calling { gap: Duration },
    /// A 1xx was heard.
    Proceeding,
    /// A refusal was heard and acknowledged.
    Completed,
    /// A 2xx was heard; more of them may come from forks.
    Accepted,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct ClientInvite {
    state: State,
    reliable: bool,
    /// Nobody waits for the answer any more; it is only acknowledged.
    abandoned: bool,
    timers: TimerValues,
}

impl ClientInvite {
    pub(crate) fn new(reliable: bool, timers: TimerValues) -> (Self, Steps) {
        let gap = timers.t1;
        let machine = Self {
            state: State::Calling { gap },
            reliable,
            abandoned: false,
            timers,
        };
        let limit = Step::Arm(Timer::B, timers.patience());
        let first = if reliable {
            steps([Step::Transmit, limit])
        } else {
            steps([Step::Transmit, Step::Arm(Timer::A, gap), limit])
        };
        (machine, first)
    }

    /// Whether the final answer is still to come.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding)
    }

    /// Nobody waits for the answer any more: it is acknowledged if it comes,
    /// and awaited for 64*T1.
    pub(crate) fn abandon(&mut self) -> Steps {
        if !self.is_unanswered() {
            return Steps::new();
        }
        self.abandoned = true;
        steps([Step::Arm(Timer::M, self.timers.patience())])
    }

    /// The call goes another way: the INVITE is repeated no more, but an answer
    /// to it is still heard.
    pub(crate) fn leave(&self) -> Steps {
        steps([Step::Disarm(Slot::Repeat)])
    }

    /// A response with this status.
    pub(crate) fn on_response(&mut self, status: StatusCode) -> Steps {
        match self.state {
            State::Calling { .. } | State::Proceeding => self.on_first(status),
            State::Completed if !status.is_provisional() && !status.is_success() => {
                steps([Step::Transmit])
            }
            State::Accepted if status.is_success() => steps([Step::Deliver]),
            State::Completed | State::Accepted => Steps::new(),
        }
    }

    fn on_first(&mut self, status: StatusCode) -> Steps {
        if status.is_provisional() {
            let was_calling = matches!(self.state, State::Calling { .. });
            self.state = State::Proceeding;
            if self.abandoned {
                return steps([Step::Disarm(Slot::Repeat)]);
            }
            return if was_calling {
                steps([
                    Step::Disarm(Slot::Repeat),
                    Step::Disarm(Slot::Limit),
                    Step::Deliver,
                ])
            } else {
                steps([Step::Deliver])
            };
        }
        if status.is_success() {
            self.state = State::Accepted;
            let linger = Step::Arm(Timer::M, self.timers.patience());
            return steps([Step::Disarm(Slot::Repeat), linger, Step::Deliver]);
        }
        self.state = State::Completed;
        if self.reliable {
            steps([Step::TransmitAck, Step::Deliver, Step::Finish])
        } else {
            steps([
                Step::Disarm(Slot::Repeat),
                Step::TransmitAck,
                Step::Arm(Timer::D, TIMER_D),
                Step::Deliver,
            ])
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Steps {
        match (timer, self.state) {
            (Timer::A, State::Calling { gap }) => {
                let gap = gap * 2;
                self.state = State::Calling { gap };
                steps([Step::Transmit, Step::Arm(Timer::A, gap)])
            }
            (Timer::B, State::Calling { .. }) => steps([Step::TimedOut, Step::Finish]),
            (Timer::D, State::Completed)
            | (Timer::M, State::Accepted | State::Calling { .. } | State::Proceeding) => {
                steps([Step::Finish])
            }
            _ => Steps::new(),
        }
    }
}
