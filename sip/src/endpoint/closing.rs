//! How calls end: hang-up in every state, BYE, and the release of the key.

use super::{Endpoint, Output};
use crate::call::{Call, CallKey, Phase};
use crate::command::HangupReason;
use crate::dialog::Dialog;
use crate::event::{EndCause, Event, TransferOutcome};
use crate::message::{Method, StatusCode};
use crate::stored::StoredDialog;
use crate::transaction::{Hold, Machine, TransactionId};
use crate::transport::Flow;

/// After a crash the BYE skips numbers that may have been used since the
/// dialog was stored; gaps are legal (RFC 3261 §12.2.2).
const CSEQ_MARGIN: u32 = 16;

impl Endpoint {
    pub(super) fn hang_up(&mut self, key: CallKey, reason: Option<&HangupReason>) -> Option<()> {
        let reason = reason.map(|reason| reason.header().into_boxed_str());
        let call = self.calls.get_mut(&key)?;
        match call.phase {
            Phase::Ended => return None,
            Phase::Calling(_) => self.cancel_when_possible(key, reason),
            Phase::Offered { invite, .. } => {
                let tag = call.dialog.local_tag.clone();
                let field = reason.as_deref().map(|reason| ("Reason", reason));
                let status = StatusCode::TEMPORARILY_UNAVAILABLE;
                self.refuse_tagged(invite, status, &tag, field.as_slice());
                self.close(key, Some(ended(key, EndCause::LocalBye)));
            }
            // RFC 3261 §15: no BYE of the callee before the ACK.
            Phase::Established if !call.confirmed => call.hangup = Some(reason),
            Phase::Established => self.bye(key, reason.as_deref()),
        }
        Some(())
    }

    /// Sends BYE and ends the call.
    pub(super) fn bye(&mut self, key: CallKey, reason: Option<&str>) {
        self.send_bye(key, reason);
        self.close(key, Some(ended(key, EndCause::LocalBye)));
    }

    /// Our 2xx has no ACK after 64*T1: the dialog is confirmed but should be
    /// ended (RFC 3261 §13.3.1.4).
    pub(super) fn give_up_on_ack(&mut self, key: CallKey) {
        self.counters.timeouts += 1;
        self.send_bye(key, None);
        self.close(key, Some(ended(key, EndCause::AckTimeout)));
    }

    pub(super) fn send_bye(&mut self, key: CallKey, reason: Option<&str>) {
        if let Some(call) = self.calls.get(&key) {
            let (mut dialog, flow) = (call.dialog.clone(), call.flow);
            self.start_bye(key, &mut dialog, flow, reason);
            // No later request may have its number.
            if let Some(call) = self.calls.get_mut(&key) {
                call.dialog.local_cseq = dialog.local_cseq;
            }
        }
    }

    pub(super) fn start_bye(
        &mut self,
        key: CallKey,
        dialog: &mut Dialog,
        flow: Flow,
        reason: Option<&str>,
    ) {
        let branch = self.random.branch();
        let via = self.via(&flow, &branch);
        let cseq = dialog.next_cseq();
        let mut writer = dialog.request(&Method::Bye, cseq, &via);
        writer.field("User-Agent", &self.config.product);
        if let Some(reason) = reason {
            writer.field("Reason", reason);
        }
        let next = dialog.next_hop(&flow);
        let bytes = writer.finish();
        self.start_client(&Method::Bye, &branch, next, bytes, Some(key), Hold::Release);
    }

    pub(super) fn abandoned_bye(&mut self, key: CallKey, stored: &StoredDialog) -> Option<()> {
        if self.calls.contains_key(&key) {
            return None;
        }
        self.last_key = self.last_key.max(key.0);
        let mut dialog = stored.to_dialog();
        dialog.local_cseq = dialog.local_cseq.saturating_add(CSEQ_MARGIN) & 0x7fff_ffff;
        let mut call = Call::new(stored.flow, dialog, Phase::Established);
        call.confirmed = true;
        let tag = call.dialog.local_tag.clone();
        self.dialogs.insert(tag, key);
        self.insert_call(key, call);
        self.bye(key, None);
        Some(())
    }

    /// Moves a call to its end and tells why, if there is something to tell.
    pub(super) fn close(&mut self, key: CallKey, event: Option<Event>) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.phase = Phase::Ended;
        call.unconfirmed = None;
        call.hangup = None;
        call.reliable = None;
        call.wanted = None;
        call.ways = None;
        let reinvite = call.reinvite.take();
        let change = call.change.take();
        let referred = call.referred.take();
        self.disarm_call(key);
        if let Some(referred) = referred.filter(|referred| !referred.accepted) {
            self.refuse(referred.request, StatusCode::DECLINE, &[]);
        }
        self.end_transfer(key, TransferOutcome::HungUp);
        if let Some(reinvite) = reinvite {
            self.refuse(reinvite.invite, StatusCode::REQUEST_TERMINATED, &[]);
        }
        if let Some(event) = event {
            self.tell(event);
        }
        if let Some(change) = change {
            self.abandon(change.request);
        }
        self.release_if_done(key);
    }

    /// Tells the release when it is due, and forgets the call when nothing can
    /// ask for it any more.
    pub(super) fn release_if_done(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if !call.released && call.is_releasable() {
            call.released = true;
            self.live_calls = self.live_calls.saturating_sub(1);
            self.outbox
                .push_back(Output::Event(Event::Released { key }));
        }
        if call.is_forgettable()
            && let Some(call) = self.calls.remove(&key)
        {
            self.dialogs.remove(&call.dialog.local_tag);
            self.timers.abandon(call.alarms.count());
        }
    }

    /// The call is over before a request of ours in it was answered.
    fn abandon(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let steps = match &mut transaction.machine {
            Machine::ClientInvite(machine) => machine.abandon(),
            Machine::Client(_) | Machine::Server(_) | Machine::ServerInvite(_) => {
                Default::default()
            }
        };
        self.carry_out(id, &steps, None);
        self.detach(id);
    }

    pub(super) fn insert_call(&mut self, key: CallKey, call: Call) {
        self.calls.insert(key, Box::new(call));
        self.live_calls += 1;
    }
}

fn ended(key: CallKey, cause: EndCause) -> Event {
    Event::Ended { key, cause }
}
