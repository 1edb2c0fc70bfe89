//! Another way for a call of ours that the one it took does not carry: the next
//! of its ways (RFC 3263 §4.3), or where a 3xx sends it (RFC 3261 §8.1.3.4).
//!
//! Which ways there are, and where a redirect may lead, the application says.

use super::Endpoint;
use super::caller::local_failure;
use crate::call::{CallKey, Cancel, Left};
use crate::command::{WAYS_MAX, Way};
use crate::event::{Event, Failure};
use crate::message::{Method, Response, StatusCode};
use crate::timers::{Slot, Timer};
use crate::transaction::{Hold, Machine, TransactionId};
use crate::write::cancel_of;

/// A way from which nothing is heard for 8*T1 is left for the next one: a
/// caller waits no 32 s (RFC 3263 §4.3 says "timeout" and leaves its length open).
const WAY_PATIENCE: u32 = 8;
/// The application says at once where a redirect leads; if not, by then: 8*T1.
const FOLLOW_PATIENCE: u32 = 8;

impl Endpoint {
    /// A call's INVITE has failed: the next way is taken, or the application
    /// asked where to. Gives the failure back when that is the end of it.
    pub(super) fn go_on(&mut self, key: CallKey, failure: Box<Failure>) -> Option<Box<Failure>> {
        if failure.status.is_redirect() {
            return self.ask_where(key, failure);
        }
        let rang = self.calling_mut(key).is_some_and(|calling| calling.rang);
        let next = self.calls.get_mut(&key).and_then(|call| call.ways.as_mut());
        let next = next.filter(|_| failure.is_of_the_way(rang));
        let Some(way) = next.and_then(|ways| ways.left.pop_front()) else {
            return Some(failure);
        };
        self.take_way(key, &way, failure);
        None
    }

    fn take_way(&mut self, key: CallKey, way: &Way, failure: Box<Failure>) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let (trunk, flow) = (call.trunk, call.flow);
        self.counters.rerouted += 1;
        self.tell(Event::Rerouted {
            key,
            trunk,
            flow,
            next: way.trunk,
            failure,
        });
        self.set_out_again(key, way);
    }

    fn set_out_again(&mut self, key: CallKey, way: &Way) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.forks.clear();
            if let Some(offer) = call.ways.as_mut().and_then(|ways| ways.offer.take()) {
                call.local_sdp = offer;
            }
            call.dialog.next_cseq();
            self.timers.disarm(&mut call.alarms, Slot::Limit);
            self.set_out(key, way);
        }
    }

    fn ask_where(&mut self, key: CallKey, failure: Box<Failure>) -> Option<Box<Failure>> {
        let call = self.calls.get_mut(&key)?;
        let may = call.ways.as_mut().filter(|ways| ways.redirects > 0);
        let (Some(ways), false) = (may, failure.contacts.is_empty()) else {
            return Some(failure);
        };
        ways.redirects -= 1;
        let (trunk, flow) = (call.trunk, call.flow);
        if let Some(calling) = self.calling_mut(key) {
            calling.redirect = Some(failure.clone());
        }
        self.tell(Event::Redirected {
            key,
            trunk,
            flow,
            failure,
        });
        let patience = self.config.timers.t1 * FOLLOW_PATIENCE;
        self.arm_call(key, Timer::NextWay, patience);
        None
    }

    /// The application answered a redirect.
    pub(super) fn follow(&mut self, key: CallKey, ways: Vec<Way>) -> Option<()> {
        let failure = self.calling_mut(key)?.redirect.take()?;
        let mut ways = ways.into_iter().take(WAYS_MAX);
        let Some(way) = ways.next() else {
            self.close(key, Some(Event::Failed { key, failure }));
            return Some(());
        };
        let kept = self.calls.get_mut(&key)?.ways.as_mut()?;
        let known = core::mem::take(&mut kept.left);
        kept.left = ways.chain(known).take(WAYS_MAX).collect();
        self.counters.redirected += 1;
        self.set_out_again(key, &way);
        Some(())
    }

    /// Nothing was heard from where the INVITE went, or from the application.
    pub(super) fn lose_patience(&mut self, key: CallKey) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        if let Some(failure) = calling.redirect.take() {
            return self.close(key, Some(Event::Failed { key, failure }));
        }
        if calling.heard || calling.cancel != Cancel::No {
            return;
        }
        let invite = calling.invite;
        if self.leave_stream(key, invite) {
            return self.arm_next_way(key);
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(way) = call.ways.as_mut().and_then(|ways| ways.left.pop_front()) else {
            return;
        };
        self.leave(invite, key);
        self.take_way(key, &way, local_failure(StatusCode::REQUEST_TIMEOUT));
    }

    /// Nothing is heard for a while from where a call went: its next way is due.
    pub(super) fn arm_next_way(&mut self, key: CallKey) {
        let patience = self.config.timers.t1 * WAY_PATIENCE;
        self.arm_call(key, Timer::NextWay, patience);
    }

    /// From now on the INVITE of a call keeps it only in memory.
    pub(super) fn leave(&mut self, invite: TransactionId, key: CallKey) {
        if let Some(branch) = self.calling_mut(key).map(|it| it.branch.clone())
            && let Some(call) = self.calls.get_mut(&key)
        {
            call.left.push(Left {
                invite,
                branch,
                dialog: call.dialog.clone(),
                flow: call.flow,
            });
        }
        self.linger(invite, key);
        let found = self.transactions.get(invite);
        if let Some(Machine::ClientInvite(machine)) = found.map(|found| &found.machine) {
            let steps = machine.leave();
            self.carry_out(invite, &steps, None);
        }
    }

    /// Whether an INVITE is one that its call has left behind.
    pub(super) fn is_left(&self, key: CallKey, id: TransactionId) -> bool {
        let call = self.calls.get(&key);
        call.is_some_and(|call| call.left.iter().any(|left| left.invite == id))
    }

    pub(super) fn forget_left(&mut self, key: CallKey, id: TransactionId) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.left.retain(|left| left.invite != id);
        }
    }

    /// Somebody answers an INVITE whose call went another way: it is taken back,
    /// or hung up when it is too late for that.
    pub(super) fn on_late_answer(
        &mut self,
        key: CallKey,
        id: TransactionId,
        response: &Response<'_>,
    ) {
        if let Some(flow) = self.transactions.get(id).map(|found| found.flow) {
            self.takes_streams(&flow);
        }
        let call = self.calls.get(&key);
        let left = call.and_then(|call| call.left.iter().find(|left| left.invite == id));
        let Some(left) = left else { return };
        if response.status.is_success() {
            let way = (left.dialog.branch(response), left.flow);
            return self.refuse_branch(key, way, id, response);
        }
        if !response.status.is_provisional() {
            self.forget_left(key, id);
            return self.detach(id);
        }
        let branch = left.branch.clone();
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let flow = transaction.flow;
        let bytes = cancel_of(&transaction.message, None).unwrap_or_default();
        if let Machine::ClientInvite(machine) = &mut transaction.machine {
            let steps = machine.abandon();
            self.carry_out(id, &steps, None);
        }
        let method = Method::Cancel;
        self.start_client(&method, &branch, flow, bytes, Some(key), Hold::None);
    }
}
