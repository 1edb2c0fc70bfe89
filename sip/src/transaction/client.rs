//! Non-INVITE client transaction (RFC 3261 §17.1.2).

use core::time::Duration;

use super::{Step, Steps, steps};
use crate::message::StatusCode;
use crate::timers::{Slot, Timer, TimerValues};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing heard yet; the gap before the next repetition.
    Trying { gap: Duration },
    /// A 1xx was heard; repetitions go on every T2.
    Proceeding,
    /// The final answer was heard.
    Completed,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    reliable: bool,
    timers: TimerValues,
}

impl Client {
    pub(crate) fn new(reliable: bool, timers: TimerValues) -> (Self, Steps) {
        let gap = timers.t1;
        let machine = Self {
            state: State::Trying { gap },
            reliable,
            timers,
        };
        let limit = Step::Arm(Timer::F, timers.patience());
        let first = if reliable {
            steps([Step::Transmit, limit])
        } else {
            steps([Step::Transmit, Step::Arm(Timer::E, gap), limit])
        };
        (machine, first)
    }

    /// Whether the final answer is still to come.
    pub(crate) fn is_unanswered(&self) -> bool {
        !matches!(self.state, State::Completed)
    }

    /// A response with this status.
    pub(crate) fn on_response(&mut self, status: StatusCode) -> Steps {
        match self.state {
            State::Completed => Steps::new(),
            State::Trying { .. } | State::Proceeding if status.is_provisional() => {
                self.state = State::Proceeding;
                steps([Step::Deliver])
            }
            State::Trying { .. } | State::Proceeding => {
                self.state = State::Completed;
                if self.reliable {
                    steps([Step::Deliver, Step::Finish])
                } else {
                    let linger = Step::Arm(Timer::K, self.timers.t4);
                    steps([Step::Disarm(Slot::Repeat), linger, Step::Deliver])
                }
            }
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Steps {
        match (timer, self.state) {
            (Timer::E, State::Trying { gap }) => {
                let gap = (gap * 2).min(self.timers.t2);
                self.state = State::Trying { gap };
                steps([Step::Transmit, Step::Arm(Timer::E, gap)])
            }
            (Timer::E, State::Proceeding) => {
                steps([Step::Transmit, Step::Arm(Timer::E, self.timers.t2)])
            }
            (Timer::F, State::Trying { .. } | State::Proceeding) => {
                steps([Step::TimedOut, Step::Finish])
            }
            (Timer::K, State::Completed) => steps([Step::Finish]),
            _ => Steps::new(),
        }
    }
}
