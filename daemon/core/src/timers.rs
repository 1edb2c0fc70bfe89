//! What a conversation is woken for. Every wakeup has a name.

use core::time::Duration;

/// Why we wake; the order settles what is due at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An inbound call has rung long enough.
    AnswerAfter,
    /// Nobody answers our call.
    Ring,
    /// The call has become too long.
    CallLimit,
    /// A test destination has run long enough.
    TestEnd,
    /// The far end does not tell us that the leg is over.
    LegOver,
    /// The store does not tell us what became of an action.
    StoreSilent,
    /// No words came for the last turn, or it does not end.
    Words,
    /// No further key came.
    Keys,
    /// An action takes long to become durable.
    Bridge,
    /// A held action has been held long enough.
    Release(u32),
    /// The upstream does not answer.
    Accept(u32),
    /// Nobody has approved the action.
    Approval(u32),
    /// The sink does not take the secret.
    HandOver,
    /// Nobody has spoken.
    Silence,
    /// The stage's time is over.
    Elapsed,
    /// The person who is called does not answer, or does not take the call.
    Consult,
    /// A recording that answered for a person has not told what it is.
    Naming,
}

/// At most one of each, in no order; as many as there are names and actions.
#[derive(Debug, Default)]
pub(crate) struct Timers(Vec<(Timer, Duration)>);

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(timer);
        self.0.push((timer, at));
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        self.0.retain(|(set, _)| *set != timer);
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0.iter().any(|(set, _)| *set == timer)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Takes the earliest that is due by then.
    pub(crate) fn take_due(&mut self, by: Duration) -> Option<Timer> {
        let (at, timer) = self.0.iter().map(|(timer, at)| (*at, *timer)).min()?;
        if at > by {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }
}
