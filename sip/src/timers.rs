//! Every wakeup has a name: the timers of RFC 3261 and those of a call.
//!
//! [`Alarms`] is what one owner has armed (at most one timer per [`Slot`]),
//! [`TimerQueue`] the heap over all owners. Disarming leaves the heap
//! entry behind; the queue is swept when stale entries outnumber live ones.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

/// T1, T2 and T4 of RFC 3261 §17, from which every other timer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerValues {
    /// Estimate of the round trip.
    pub t1: Duration,
    /// Longest gap between repetitions of a non-INVITE request or of a response.
    pub t2: Duration,
    /// Longest time a message stays in the network.
    pub t4: Duration,
}

impl TimerValues {
    /// The defaults of RFC 3261, appendix A.
    pub const RFC3261: Self = Self {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
    };

    /// 64*T1: timers B, F, H, J, L, M and the wait for an ACK.
    pub const fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// 100 Trying goes out when nothing else has by then (RFC 3261 §17.2.1).
pub(crate) const TRYING_DELAY: Duration = Duration::from_millis(200);

/// Timer D on datagrams: at least 32 s (RFC 3261 §17.1.1.2).
pub(crate) const TIMER_D: Duration = Duration::from_secs(32);

/// A provisional answer is repeated each minute (RFC 3261 §13.3.1.1).
pub(crate) const PROVISIONAL_REFRESH: Duration = Duration::from_secs(60);

/// Which timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// INVITE client repeats.
    A,
    /// INVITE client gives up.
    B,
    /// Nothing heard from where an INVITE went, and there is another way.
    NextWay,
    /// Nothing heard from where a name led a request, and it may lead elsewhere.
    NextAddress,
    /// No answer after ringing: cancel (RFC 3261 §16.6, step 11).
    C,
    /// INVITE client stays to repeat its ACK.
    D,
    /// Non-INVITE client repeats.
    E,
    /// Non-INVITE client gives up.
    F,
    /// INVITE server repeats its refusal.
    G,
    /// INVITE server has no ACK.
    H,
    /// INVITE server stays to absorb ACKs.
    I,
    /// Non-INVITE server stays to repeat its answer.
    J,
    /// Non-INVITE client stays to absorb answers.
    K,
    /// INVITE server stays after its 2xx (RFC 6026).
    L,
    /// INVITE client stays after the 2xx (RFC 6026).
    M,
    /// 100 is due.
    Trying,
    /// The last 1xx is repeated for proxies on the way.
    ProvisionalRefresh,
    /// The 2xx is repeated until its ACK (RFC 3261 §13.3.1.4).
    AnswerRepeat,
    /// The 2xx has no ACK after 64*T1: BYE.
    AnswerUnconfirmed,
    /// CANCEL brought no final answer in 64*T1 (RFC 3261 §9.1).
    CancelUnanswered,
    /// A reliable 1xx is repeated until its PRACK (RFC 3262 §3).
    ReliableRepeat,
    /// It has none after 64*T1: the call is refused.
    ReliableUnanswered,
    /// The session is refreshed by us (RFC 4028 §10).
    SessionRefresh,
    /// The peer did not refresh it in time: BYE.
    SessionExpired,
    /// Our re-INVITE is tried again after glare (RFC 3261 §14.1).
    Glare,
    /// Our re-INVITE or UPDATE has no answer.
    ChangeUnanswered,
    /// A transfer is not reported on any more.
    TransferSilent,
    /// A trunk's registration is due, for the first time or again.
    RegisterDue,
    /// The registrar has forgotten us by now.
    BindingLapsed,
    /// A trunk is asked whether it is there.
    ProbeDue,
    /// It does not say so.
    ProbeUnanswered,
    /// The path of a registration by datagrams is kept open (RFC 5626 §4.4).
    KeepaliveDue,
}

/// Which of an owner's alarms a timer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Repeat,
    Limit,
    /// Of calls: the session's end. Of trunks: the binding's.
    Session,
    /// Of calls: a change of ours. Of trunks: the answer to a probe. Of requests by a
    /// name: its next address.
    Again,
    /// Of calls: a transfer. Of trunks: line ends that keep their path open.
    Transfer,
}

impl Slot {
    pub(crate) const ALL: [Self; 5] = [
        Self::Repeat,
        Self::Limit,
        Self::Session,
        Self::Again,
        Self::Transfer,
    ];
}

impl Timer {
    pub(crate) const fn slot(self) -> Slot {
        match self {
            Self::A
            | Self::E
            | Self::G
            | Self::Trying
            | Self::ProvisionalRefresh
            | Self::AnswerRepeat
            | Self::ReliableRepeat
            | Self::RegisterDue => Slot::Repeat,
            Self::B
            | Self::C
            | Self::NextWay
            | Self::D
            | Self::F
            | Self::H
            | Self::I
            | Self::J
            | Self::K
            | Self::L
            | Self::M
            | Self::AnswerUnconfirmed
            | Self::CancelUnanswered
            | Self::ReliableUnanswered
            | Self::ProbeDue => Slot::Limit,
            Self::SessionRefresh | Self::SessionExpired | Self::BindingLapsed => Slot::Session,
            Self::Glare | Self::ChangeUnanswered | Self::ProbeUnanswered | Self::NextAddress => {
                Slot::Again
            }
            Self::TransferSilent | Self::KeepaliveDue => Slot::Transfer,
        }
    }
}

/// What one owner has armed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarms([Option<(Timer, Duration)>; Slot::ALL.len()]);

impl Alarms {
    fn slot_mut(&mut self, slot: Slot) -> &mut Option<(Timer, Duration)> {
        let [repeat, limit, session, again, transfer] = &mut self.0;
        match slot {
            Slot::Repeat => repeat,
            Slot::Limit => limit,
            Slot::Session => session,
            Slot::Again => again,
            Slot::Transfer => transfer,
        }
    }

    /// How many are armed.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn is_armed(&self, timer: Timer, at: Duration) -> bool {
        self.0.contains(&Some((timer, at)))
    }
}

/// One wakeup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wakeup<O> {
    pub(crate) at: Duration,
    order: u64,
    pub(crate) owner: O,
    pub(crate) timer: Timer,
}

/// All wakeups, earliest first; equal times fire in the order they were armed.
#[derive(Debug)]
pub(crate) struct TimerQueue<O> {
    heap: BinaryHeap<Reverse<Wakeup<O>>>,
    order: u64,
    stale: usize,
}

impl<O: Copy + Ord> TimerQueue<O> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            order: 0,
            stale: 0,
        }
    }

    pub(crate) fn arm(&mut self, alarms: &mut Alarms, owner: O, timer: Timer, at: Duration) {
        self.order += 1;
        let previous = alarms.slot_mut(timer.slot()).replace((timer, at));
        self.stale += usize::from(previous.is_some());
        self.heap.push(Reverse(Wakeup {
            at,
            order: self.order,
            owner,
            timer,
        }));
    }

    pub(crate) fn disarm(&mut self, alarms: &mut Alarms, slot: Slot) {
        let previous = alarms.slot_mut(slot).take();
        self.stale += usize::from(previous.is_some());
    }

    /// Tells the queue that an owner is gone with `count` armed alarms.
    pub(crate) fn abandon(&mut self, count: usize) {
        self.stale += count;
    }

    /// The next entry that is due, stale or not.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Wakeup<O>> {
        let due = self.heap.peek().is_some_and(|next| next.0.at <= now);
        if due {
            self.heap.pop().map(|next| next.0)
        } else {
            None
        }
    }

    /// Whether a popped entry is still meant; takes it from the alarms if so.
    pub(crate) fn claim(&mut self, alarms: Option<&mut Alarms>, wakeup: &Wakeup<O>) -> bool {
        match alarms {
            Some(alarms) if alarms.is_armed(wakeup.timer, wakeup.at) => {
                *alarms.slot_mut(wakeup.timer.slot()) = None;
                true
            }
            Some(_) | None => {
                self.stale = self.stale.saturating_sub(1);
                false
            }
        }
    }

    /// Time of the earliest live entry; stale ones before it are dropped.
    pub(crate) fn next_at(
        &mut self,
        mut armed: impl FnMut(O) -> Option<Alarms>,
    ) -> Option<Duration> {
        while let Some(Reverse(next)) = self.heap.peek() {
            let live = armed(next.owner).is_some_and(|alarms| alarms.is_armed(next.timer, next.at));
            if live {
                return Some(next.at);
            }
            self.heap.pop();
            self.stale = self.stale.saturating_sub(1);
        }
        None
    }

    /// Drops stale entries once they outnumber the live ones.
    pub(crate) fn sweep(&mut self, mut armed: impl FnMut(O) -> Option<Alarms>) {
        if self.stale < 1024 || self.stale * 2 < self.heap.len() {
            return;
        }
        self.heap.retain(|Reverse(entry)| {
            armed(entry.owner).is_some_and(|alarms| alarms.is_armed(entry.timer, entry.at))
        });
        self.stale = 0;
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disarmed_timers_do_not_fire_and_do_not_pile_up() {
        let mut queue = TimerQueue::<u32>::new();
        let mut alarms = Alarms::default();
        for second in 0..100_000 {
            queue.arm(&mut alarms, 1, Timer::A, Duration::from_secs(second));
            queue.sweep(|_| Some(alarms));
        }
        assert!(queue.len() < 4096, "{}", queue.len());
        assert_eq!(
            queue.next_at(|_| Some(alarms)),
            Some(Duration::from_secs(99_999))
        );
        queue.disarm(&mut alarms, Slot::Repeat);
        assert_eq!(queue.next_at(|_| Some(alarms)), None);
        assert_eq!(queue.len(), 0);
    }
}
