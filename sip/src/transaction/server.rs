//! Non-INVITE server transaction (RFC 3261 §17.2.2).

use super::{Step, Steps, steps};
use crate::message::StatusCode;
use crate::timers::{Timer, TimerValues};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing sent yet.
    Trying,
    /// A 1xx is out.
    Proceeding,
    /// The final answer is out.
    Completed,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Server {
    state: State,
    reliable: bool,
    timers: TimerValues,
}

impl Server {
    pub(crate) fn new(reliable: bool, timers: TimerValues) -> Self {
        Self {
            state: State::Trying,
            reliable,
            timers,
        }
    }

    /// The same request again.
    pub(crate) fn on_repeat(&self) -> Steps {
        match self.state {
            State::Trying => Steps::new(),
            State::Proceeding | State::Completed => steps([Step::Transmit]),
        }
    }

    /// The stored message is now an answer with this status.
    pub(crate) fn on_answer(&mut self, status: StatusCode) -> Steps {
        match self.state {
            State::Completed => Steps::new(),
            State::Trying | State::Proceeding if status.is_provisional() => {
                self.state = State::Proceeding;
                steps([Step::Transmit])
            }
            State::Trying | State::Proceeding => {
                self.state = State::Completed;
                if self.reliable {
                    steps([Step::Transmit, Step::Finish])
                } else {
                    let linger = Step::Arm(Timer::J, self.timers.patience());
                    steps([Step::Transmit, linger])
                }
            }
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Steps {
        match (timer, self.state) {
            (Timer::J, State::Completed) => steps([Step::Finish]),
            _ => Steps::new(),
        }
    }
}
