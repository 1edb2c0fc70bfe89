//! INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1).

use core::time::Duration;

use super::{Step, Steps, steps};
use crate::message::StatusCode;
use crate::timers::{Slot, TRYING_DELAY, Timer, TimerValues};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing sent yet.
    Waiting,
    /// A 1xx is out.
    Proceeding,
    /// A refusal is out, the ACK is awaited; the gap before the next repetition.
    Completed { gap: Duration },
    /// The refusal is acknowledged.
    Confirmed,
    /// A 2xx is out; its repetition is the call's business.
    Accepted,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct ServerInvite {
    state: State,
    reliable: bool,
    timers: TimerValues,
}

impl ServerInvite {
    pub(crate) fn new(reliable: bool, timers: TimerValues) -> (Self, Steps) {
        let machine = Self {
            state: State::Waiting,
            reliable,
            timers,
        };
        (machine, steps([Step::Arm(Timer::Trying, TRYING_DELAY)]))
    }

    /// Whether the final answer is still to come.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Waiting | State::Proceeding)
    }

    /// The same INVITE again.
    pub(crate) fn on_repeat(&mut self) -> Steps {
        match self.state {
            State::Waiting => {
                self.state = State::Proceeding;
                steps([Step::Disarm(Slot::Repeat), Step::TransmitTrying])
            }
            State::Proceeding | State::Completed { .. } => steps([Step::Transmit]),
            State::Confirmed | State::Accepted => Steps::new(),
        }
    }

    /// The stored message is now an answer with this status.
    pub(crate) fn on_answer(&mut self, status: StatusCode) -> Steps {
        if !self.is_unanswered() {
            return Steps::new();
        }
        let patience = self.timers.patience();
        if status.is_provisional() {
            self.state = State::Proceeding;
            return steps([Step::Disarm(Slot::Repeat), Step::Transmit]);
        }
        if status.is_success() {
            self.state = State::Accepted;
            return steps([
                Step::Disarm(Slot::Repeat),
                Step::Transmit,
                Step::Arm(Timer::L, patience),
            ]);
        }
        let gap = self.timers.t1;
        self.state = State::Completed { gap };
        let limit = Step::Arm(Timer::H, patience);
        if self.reliable {
            steps([Step::Disarm(Slot::Repeat), Step::Transmit, limit])
        } else {
            steps([Step::Transmit, Step::Arm(Timer::G, gap), limit])
        }
    }

    /// An ACK with the INVITE's branch.
    pub(crate) fn on_ack(&mut self) -> Steps {
        match self.state {
            State::Completed { .. } => {
                self.state = State::Confirmed;
                if self.reliable {
                    steps([Step::Finish])
                } else {
                    let linger = Step::Arm(Timer::I, self.timers.t4);
                    steps([Step::Disarm(Slot::Repeat), linger])
                }
            }
            State::Accepted => steps([Step::Deliver]),
            State::Waiting | State::Proceeding | State::Confirmed => Steps::new(),
        }
    }

    pub(crate) fn on_timer(&mut self, timer: Timer) -> Steps {
        match (timer, self.state) {
            (Timer::Trying, State::Waiting) => {
                self.state = State::Proceeding;
                steps([Step::TransmitTrying])
            }
            (Timer::G, State::Completed { gap }) => {
                let gap = (gap * 2).min(self.timers.t2);
                self.state = State::Completed { gap };
                steps([Step::Transmit, Step::Arm(Timer::G, gap)])
            }
            (Timer::H, State::Completed { .. }) => steps([Step::TimedOut, Step::Finish]),
            (Timer::I, State::Confirmed) | (Timer::L, State::Accepted) => steps([Step::Finish]),
            _ => Steps::new(),
        }
    }
}
