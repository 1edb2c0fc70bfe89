//! Calls that we place: INVITE, its responses over all branches, CANCEL.

use super::Endpoint;
use super::names::Ack;
use super::send::{ALLOW, SUPPORTED_VALUE};
use crate::call::{Call, CallKey, Calling, Cancel, FORKS_MAX, Phase, Ways};
use crate::command::{Invite, WAYS_MAX, Way};
use crate::dialog::Dialog;
use crate::event::{EndCause, Event, Failure};
use crate::headers::HeaderName;
use crate::message::{Method, Response, StatusCode};
use crate::timers::Timer;
use crate::transaction::{Hold, TransactionId};
use crate::transport::Flow;
use crate::trunk::TrunkKey;
use crate::write::{Writer, cancel_of};

impl Endpoint {
    pub(super) fn place_call(&mut self, invite: Invite) -> Option<()> {
        let key = invite.key;
        if self.calls.contains_key(&key) {
            return None;
        }
        self.last_key = self.last_key.max(key.0);
        if self.live_calls >= self.config.max_calls {
            self.counters.refused_by_limit += 1;
            let failure = local_failure(StatusCode::SERVICE_UNAVAILABLE);
            self.tell(Event::Failed { key, failure });
            self.tell(Event::Released { key });
            return Some(());
        }
        let dialog = self.new_dialog(&invite);
        self.dialogs.insert(dialog.local_tag.clone(), key);
        let way = invite.way;
        // The phase needs the transaction and the transaction the call; nothing
        // looks at the phase in between.
        let mut call = Call::new(way.flow, dialog, Phase::Established);
        call.outgoing = true;
        call.local_sdp = invite.offer.as_slice().into();
        call.ways = Some(Box::new(Ways {
            left: invite.further.into_iter().take(WAYS_MAX).collect(),
            to_display: invite.to_display,
            headers: invite.headers,
            redirects: self.config.redirects,
            offer: None,
        }));
        self.insert_call(key, call);
        self.set_out(key, &way)
    }

    /// Sends the INVITE of a call by one of its ways.
    pub(super) fn set_out(&mut self, key: CallKey, way: &Way) -> Option<()> {
        let branch = self.random.branch();
        let routes = self.trunk_routes(way.trunk);
        let call = self.calls.get_mut(&key)?;
        call.flow = way.flow;
        call.trunk = way.trunk;
        call.dialog.set_out(&way.from.uri, &way.target, routes);
        let cseq = call.dialog.local_cseq;
        let bytes = self.write_invite(key, way, &branch)?;
        let method = Method::Invite;
        let id = self.start_client(&method, &branch, way.flow, bytes, Some(key), Hold::Release);
        let call = self.calls.get_mut(&key)?;
        call.phase = Phase::Calling(Calling {
            invite: id,
            branch: branch.into(),
            cseq,
            heard: false,
            cancel: Cancel::No,
            gave_up: false,
            rang: false,
            redirect: None,
        });
        if call.ways.as_ref().is_some_and(|ways| !ways.left.is_empty()) {
            self.arm_next_way(key);
        }
        Some(())
    }

    fn new_dialog(&mut self, invite: &Invite) -> Dialog {
        let given = invite.call_id.as_deref();
        let usable = given.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic()));
        Dialog {
            call_id: match usable {
                Some(call_id) => call_id.into(),
                None => self.random.call_id().into(),
            },
            local_tag: self.random.tag().into(),
            remote_tag: Box::default(),
            local_uri: Box::default(),
            remote_uri: Box::default(),
            target: Box::default(),
            has_contact: false,
            routes: Vec::new(),
            local_cseq: 1 + self.random.below(1 << 16),
            remote_cseq: None,
            secure: false,
        }
    }

    fn trunk_routes(&self, trunk: Option<TrunkKey>) -> Vec<Box<str>> {
        let kept = trunk.and_then(|key| self.trunks.get(&key));
        kept.map_or_else(Vec::new, |kept| kept.routes())
    }

    fn write_invite(&self, key: CallKey, way: &Way, branch: &str) -> Option<Vec<u8>> {
        let call = self.calls.get(&key)?;
        let (dialog, ways) = (&call.dialog, call.ways.as_deref()?);
        let mut writer = Writer::request(&Method::Invite, way.target.as_str());
        writer.field("Via", self.via(&way.flow, branch));
        writer.raw(b"Max-Forwards: 70\r\n");
        for route in &dialog.routes {
            writer.field("Route", route);
        }
        let from = quoted(way.from.display.as_deref());
        let tag = &dialog.local_tag;
        writer.field("From", format_args!("{from}<{}>;tag={tag}", way.from.uri));
        let to = quoted(ways.to_display.as_deref());
        writer.field("To", format_args!("{to}<{}>", way.target));
        if let Some(asserted) = &way.asserted {
            let name = quoted(asserted.display.as_deref());
            let value = format_args!("{name}<{}>", asserted.uri);
            writer.field("P-Asserted-Identity", value);
        }
        if way.private {
            writer.raw(b"Privacy: id\r\n");
        }
        writer.field("Call-ID", &dialog.call_id);
        writer.field("CSeq", format_args!("{} INVITE", dialog.local_cseq));
        writer.field("Contact", self.contact_in(dialog, &way.flow));
        writer.field("Allow", ALLOW);
        writer.field("Supported", SUPPORTED_VALUE);
        self.ask_session(&mut writer);
        writer.field("User-Agent", &self.config.product);
        writer.extra(&ways.headers);
        Some(writer.finish_sdp(Some(&call.local_sdp)))
    }

    /// Whether an outgoing call is being taken back.
    pub(super) fn is_unwanted(&self, key: CallKey) -> bool {
        let phase = self.calls.get(&key).map(|call| &call.phase);
        matches!(phase, Some(Phase::Calling(calling)) if calling.cancel != Cancel::No)
    }

    pub(super) fn calling_mut(&mut self, key: CallKey) -> Option<&mut Calling> {
        match &mut self.calls.get_mut(&key)?.phase {
            Phase::Calling(calling) => Some(calling),
            Phase::Offered { .. } | Phase::Established | Phase::Ended => None,
        }
    }

    pub(super) fn on_invite_response(
        &mut self,
        key: CallKey,
        id: TransactionId,
        response: &Response<'_>,
    ) {
        if self.is_left(key, id) {
            self.on_late_answer(key, id, response);
        } else if response.status.is_provisional() {
            self.on_progress(key, response);
        } else if response.status.is_success() {
            self.on_answer(key, id, response);
        } else {
            self.on_refusal(key, response);
            self.detach(id);
        }
    }

    fn on_progress(&mut self, key: CallKey, response: &Response<'_>) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        let first = !core::mem::replace(&mut calling.heard, true);
        calling.rang |= response.status != StatusCode::TRYING;
        if let Cancel::Wanted(reason) = &mut calling.cancel {
            let reason = reason.take();
            return self.cancel(key, reason.as_deref());
        }
        if calling.cancel == Cancel::Sent {
            return;
        }
        let trying = response.status == StatusCode::TRYING;
        if first || !trying {
            let limit = self.config.ring_limit;
            self.arm_call(key, Timer::C, limit);
        }
        if !trying {
            if !self.on_reliable(key, response) {
                return;
            }
            let fork = self.fork_index(key, response.core.to_tag());
            let sdp = self.fresh_sdp(key, response);
            self.tell(Event::Progress {
                key,
                status: response.status,
                fork,
                sdp,
            });
        }
    }

    /// Number of a branch by its To tag; those beyond the limit share the last.
    fn fork_index(&mut self, key: CallKey, tag: &str) -> usize {
        self.fork_mut(key, tag);
        let Some(call) = self.calls.get(&key) else {
            return 0;
        };
        let known = call.forks.iter().position(|fork| *fork.tag == *tag);
        known.unwrap_or(call.forks.len().saturating_sub(1))
    }

    fn on_answer(&mut self, key: CallKey, id: TransactionId, response: &Response<'_>) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Phase::Calling(calling) = &call.phase else {
            return self.on_further_answer(key, id, response);
        };
        let unwanted = calling.cancel != Cancel::No;
        let gave_up = calling.gave_up;
        let cseq = calling.cseq;
        let mut dialog = call.dialog.branch(response);
        let tag = response.core.to_tag();
        let fork = call.forks.iter().find(|fork| *fork.tag == *tag);
        dialog.local_cseq = fork.map_or(cseq, |fork| fork.cseq.max(cseq));
        dialog.remote_cseq = fork.and_then(|fork| fork.remote_cseq);
        call.dialog = dialog;
        call.phase = Phase::Established;
        call.confirmed = true;
        call.ways = None;
        self.follow_stream(key, id);
        self.linger(id, key);
        self.disarm_call(key);
        self.acknowledge(key, id, cseq);
        self.learn(key, response);
        if !unwanted {
            self.agree_session(key, response);
        }
        if unwanted {
            self.send_bye(key, None);
            let event = cancelled(key, gave_up);
            self.close(key, Some(event));
        } else {
            let sdp = self.fresh_sdp(key, response);
            self.tell(Event::Answered { key, sdp });
        }
    }

    /// The ACK of a 2xx; it proves what its INVITE, of this transaction, proved
    /// (RFC 3261 §13.2.2.4).
    pub(super) fn write_ack(
        &mut self,
        dialog: &Dialog,
        flow: &Flow,
        invite: TransactionId,
        cseq: u32,
    ) -> Vec<u8> {
        let branch = self.random.branch();
        let via = self.via(flow, &branch);
        let mut writer = dialog.request(&Method::Ack, cseq, &via);
        if let Some(transaction) = self.transactions.get(invite) {
            writer.proofs_of(&transaction.message);
        }
        writer.finish()
    }

    /// A 2xx after the first: the same branch repeats it, so the ACK is sent
    /// again; another branch of a fork is acknowledged and hung up.
    fn on_further_answer(&mut self, key: CallKey, id: TransactionId, response: &Response<'_>) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let tag = response.core.to_tag();
        let flow = call.flow;
        if *call.dialog.remote_tag == *tag {
            let next = call.dialog.next_hop(&flow);
            let (dialog, number) = (call.dialog.clone(), response.core.cseq.number);
            let kept = call.ack.as_deref().filter(|_| call.ack_cseq == number);
            let bytes = match kept.map(<[u8]>::to_vec) {
                Some(ack) => ack,
                None => self.write_ack(&dialog, &flow, id, number),
            };
            let repeated = true;
            let ack = Ack {
                key,
                next,
                bytes,
                repeated,
            };
            return self.acknowledge_by(id, ack);
        }
        let dialog = call.dialog.branch(response);
        self.refuse_branch(key, (dialog, flow), id, response);
    }

    /// Acknowledges an answer that nobody wants, and hangs it up.
    pub(super) fn refuse_branch(
        &mut self,
        key: CallKey,
        (mut dialog, flow): (Dialog, Flow),
        id: TransactionId,
        response: &Response<'_>,
    ) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let tag = response.core.to_tag();
        let known = call.refused_forks.iter().any(|fork| **fork == *tag);
        if !known && call.refused_forks.len() >= FORKS_MAX {
            return;
        }
        dialog.local_cseq = response.core.cseq.number;
        let next = dialog.next_hop(&flow);
        let bytes = self.write_ack(&dialog, &flow, id, dialog.local_cseq);
        let repeated = known;
        self.acknowledge_by(
            id,
            Ack {
                key,
                next,
                bytes,
                repeated,
            },
        );
        if !known && let Some(call) = self.calls.get_mut(&key) {
            call.refused_forks.push(tag.into());
            self.counters.refused_forks += 1;
            self.start_bye(key, &mut dialog, flow, None);
        }
    }

    fn on_refusal(&mut self, key: CallKey, response: &Response<'_>) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        let event = if calling.cancel == Cancel::No {
            let failure = Box::new(failure(response));
            let Some(failure) = self.go_on(key, failure) else {
                return;
            };
            Event::Failed { key, failure }
        } else {
            cancelled(key, calling.gave_up)
        };
        self.close(key, Some(event));
    }

    /// Timer B, or no connection.
    pub(super) fn on_invite_unanswered(&mut self, key: CallKey, status: StatusCode) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        let event = if calling.cancel == Cancel::No {
            let Some(failure) = self.go_on(key, local_failure(status)) else {
                return;
            };
            Event::Failed { key, failure }
        } else {
            cancelled(key, false)
        };
        self.close(key, Some(event));
    }

    /// A request of ours goes on under another transaction.
    pub(super) fn succeed(
        &mut self,
        old: TransactionId,
        new: TransactionId,
        branch: &str,
        cseq: u32,
    ) {
        let Some(transaction) = self.transactions.get(new) else {
            return;
        };
        let (call, trunk) = (transaction.call, transaction.trunk);
        if let Some(calling) = call.and_then(|key| self.calling_mut(key))
            && calling.invite == old
        {
            calling.invite = new;
            calling.branch = branch.into();
            calling.cseq = cseq;
            calling.heard = false;
        }
        if let Some(call) = call.and_then(|key| self.calls.get_mut(&key)) {
            if let Some(change) = call.change.as_mut().filter(|it| it.request == old) {
                (change.request, change.cseq) = (new, cseq);
            }
            if let Some(refer) = call.transferring.as_mut().filter(|it| it.request == old) {
                (refer.request, refer.cseq) = (new, cseq);
            }
        }
        if let Some(kept) = trunk.and_then(|key| self.trunks.get_mut(&key)) {
            for under_way in [&mut kept.registering.under_way, &mut kept.health.under_way] {
                if *under_way == Some(old) {
                    *under_way = Some(new);
                }
            }
        }
    }

    /// The application no longer wants an unanswered outgoing call.
    pub(super) fn cancel_when_possible(&mut self, key: CallKey, reason: Option<Box<str>>) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        if calling.redirect.is_some() {
            return self.close(key, Some(cancelled(key, false)));
        }
        match (&calling.cancel, calling.heard) {
            (Cancel::No, true) => self.cancel(key, reason.as_deref()),
            (Cancel::No, false) => calling.cancel = Cancel::Wanted(reason),
            (Cancel::Wanted(_) | Cancel::Sent, _) => {}
        }
    }

    fn cancel(&mut self, key: CallKey, reason: Option<&str>) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        calling.cancel = Cancel::Sent;
        let (invite, branch) = (calling.invite, calling.branch.clone());
        let Some(transaction) = self.transactions.get(invite) else {
            return;
        };
        let flow = transaction.flow;
        let bytes = cancel_of(&transaction.message, reason).unwrap_or_default();
        self.start_client(&Method::Cancel, &branch, flow, bytes, Some(key), Hold::None);
        let patience = self.config.timers.patience();
        self.arm_call(key, Timer::CancelUnanswered, patience);
    }

    /// Timer C: it rang too long.
    pub(super) fn give_up_ringing(&mut self, key: CallKey) {
        if let Some(calling) = self.calling_mut(key) {
            calling.gave_up = true;
            self.cancel(key, None);
        }
    }

    /// CANCEL brought nothing: the INVITE is dropped (RFC 3261 §9.1).
    pub(super) fn give_up_on_cancel(&mut self, key: CallKey) {
        let Some(calling) = self.calling_mut(key) else {
            return;
        };
        let (invite, gave_up) = (calling.invite, calling.gave_up);
        self.close(key, Some(cancelled(key, gave_up)));
        self.finish(invite);
    }
}

/// The end of a call that was taken back by the application, or by the ring
/// limit or silence (408).
fn cancelled(key: CallKey, gave_up: bool) -> Event {
    if gave_up {
        let failure = local_failure(StatusCode::REQUEST_TIMEOUT);
        Event::Failed { key, failure }
    } else {
        let cause = EndCause::LocalCancel;
        Event::Ended { key, cause }
    }
}

pub(super) fn local_failure(status: StatusCode) -> Box<Failure> {
    Box::new(Failure {
        status,
        phrase: status.phrase().to_owned(),
        local: true,
        reason: None,
        contacts: Vec::new(),
        retry_after: None,
    })
}

fn failure(response: &Response<'_>) -> Failure {
    Failure {
        status: response.status,
        phrase: response.reason.clone().into_owned(),
        local: false,
        reason: response.core.text(HeaderName::Reason),
        contacts: if response.status.is_redirect() {
            response.contacts()
        } else {
            Vec::new()
        },
        retry_after: response.retry_after(),
    }
}

/// A display name as a quoted string and a blank, or nothing.
fn quoted(display: Option<&str>) -> String {
    let Some(display) = display.filter(|display| !display.is_empty()) else {
        return String::new();
    };
    let mut text = String::with_capacity(display.len() + 3);
    text.push('"');
    for letter in display.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push_str("\" ");
    text
}
