//! Changes of a session that we ask for: re-INVITE for the application, UPDATE
//! or re-INVITE for the session timer, and INFO.

use core::time::Duration;

use super::Endpoint;
use super::names::Ack;
use super::send::{ALLOW, SUPPORTED_VALUE};
use crate::call::{CallKey, Change};
use crate::event::Event;
use crate::headers::HeaderName;
use crate::message::{Method, Response, StatusCode};
use crate::session::Session;
use crate::timers::{Slot, Timer};
use crate::transaction::{Hold, TransactionId};
use crate::write::Writer;

/// After glare the owner of the Call-ID waits 2.1 to 4 s, the other side up to
/// 2 s (RFC 3261 §14.1).
const OWNER_WAITS: Duration = Duration::from_millis(2100);
const OWNER_SPREAD: Duration = Duration::from_millis(1900);
const OTHER_SPREAD: Duration = Duration::from_millis(2000);
/// A change that meets one of the peer's waits this long at first.
const BUSY_WAITS: Duration = Duration::from_millis(200);

impl Endpoint {
    /// Asks for a change, at once or when what is under way is done.
    pub(super) fn reinvite(&mut self, key: CallKey, sdp: Vec<u8>) -> Option<()> {
        let call = self
            .calls
            .get_mut(&key)
            .filter(|call| call.is_established() && call.hangup.is_none())?;
        let busy = call.change.is_some()
            || call.reinvite.is_some()
            || call.unconfirmed.is_some()
            || !call.confirmed;
        call.wanted = Some(sdp);
        if busy {
            self.arm_unless_changing(key, BUSY_WAITS);
        } else {
            self.change_again(key);
        }
        Some(())
    }

    /// The pause before another try, unless an answer is awaited: that brings it.
    fn arm_unless_changing(&mut self, key: CallKey, pause: Duration) {
        let changing = self
            .calls
            .get(&key)
            .is_some_and(|call| call.change.is_some());
        if !changing {
            self.arm_call(key, Timer::Glare, pause);
        }
    }

    pub(super) fn change_again(&mut self, key: CallKey) {
        let Some(call) = self
            .calls
            .get_mut(&key)
            .filter(|call| call.is_established())
        else {
            return;
        };
        if call.reinvite.is_some() || call.unconfirmed.is_some() || !call.confirmed {
            return self.arm_unless_changing(key, BUSY_WAITS);
        }
        if call.change.is_none()
            && let Some(sdp) = call.wanted.take()
        {
            call.local_sdp = sdp.as_slice().into();
            self.send_change(key, true, Some(sdp), false);
        }
    }

    /// Refreshes the session: UPDATE without SDP where the peer takes it,
    /// otherwise a re-INVITE with the SDP that stands.
    pub(super) fn refresh(&mut self, key: CallKey, _session: Session) {
        let Some(call) = self.calls.get(&key).filter(|call| call.is_established()) else {
            return;
        };
        let busy = call.change.is_some() || call.reinvite.is_some() || call.unconfirmed.is_some();
        if busy || !call.confirmed {
            // What is under way refreshes it just as well.
            return;
        }
        if call.abilities.update {
            self.send_change(key, false, None, true);
        } else {
            let sdp = call.local_sdp.to_vec();
            self.send_change(key, true, Some(sdp), true);
        }
    }

    fn send_change(&mut self, key: CallKey, invite: bool, sdp: Option<Vec<u8>>, refresh: bool) {
        let method = if invite {
            Method::Invite
        } else {
            Method::Update
        };
        let Some((mut writer, cseq, branch)) = self.in_dialog_request(key, &method) else {
            return;
        };
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let flow = call.flow;
        writer.field("Contact", self.contact_in(&call.dialog, &flow));
        writer.field("Allow", ALLOW);
        writer.field("Supported", SUPPORTED_VALUE);
        if let Some(session) = call.session {
            let role = if session.ours { "uac" } else { "uas" };
            let value = format!("{};refresher={role}", session.interval);
            writer.field("Session-Expires", value);
            writer.field("Min-SE", session.least);
        }
        let next = call.dialog.next_hop(&flow);
        let bytes = writer.finish_sdp(sdp.as_deref());
        let request = self.start_client(&method, &branch, next, bytes, Some(key), Hold::Release);
        if let Some(call) = self.calls.get_mut(&key) {
            call.change = Some(Change {
                request,
                cseq,
                invite,
                refresh,
            });
        }
        let patience = self.config.timers.patience() + self.config.timers.t4;
        self.arm_call(key, Timer::ChangeUnanswered, patience);
    }

    /// Begins a request inside the dialog of a call, with its number and branch.
    pub(super) fn in_dialog_request(
        &mut self,
        key: CallKey,
        method: &Method,
    ) -> Option<(Writer, u32, String)> {
        let branch = self.random.branch();
        let flow = self.calls.get(&key)?.flow;
        let via = self.via(&flow, &branch);
        let dialog = &mut self.calls.get_mut(&key)?.dialog;
        let cseq = dialog.next_cseq();
        let mut writer = dialog.request(method, cseq, &via);
        writer.field("User-Agent", &self.config.product);
        Some((writer, cseq, branch))
    }

    /// Whether a transaction is the change that a call waits for.
    pub(super) fn is_change(&self, key: CallKey, id: TransactionId) -> bool {
        let call = self.calls.get(&key);
        let change = call.and_then(|call| call.change.as_ref());
        change.is_some_and(|change| change.request == id)
    }

    pub(super) fn on_change_response(
        &mut self,
        key: CallKey,
        id: TransactionId,
        response: &Response<'_>,
    ) {
        if response.status.is_provisional() {
            return;
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(change) = call.change.take() else {
            return;
        };
        self.timers.disarm(&mut call.alarms, Slot::Again);
        if !response.status.is_success() {
            self.detach(id);
            return self.on_change_refused(key, &change, response);
        }
        call.dialog.refresh_target(&response.core);
        call.abilities.update |= response.core.allows("UPDATE");
        if change.invite {
            self.acknowledge(key, id, change.cseq);
            self.linger(id, key);
        } else {
            self.detach(id);
        }
        self.agree_session(key, response);
        if change.invite {
            let sdp = response.core.sdp().map(<[u8]>::to_vec);
            self.tell(Event::Changed { key, sdp });
        }
        self.change_again(key);
    }

    fn on_change_refused(&mut self, key: CallKey, change: &Change, response: &Response<'_>) {
        let status = response.status;
        match status.code() {
            // The peer knows of no such call, or is gone (RFC 3261 §12.2.1.2).
            408 | 481 => return self.end_session(key),
            491 => return self.wait_after_glare(key, change),
            422 => {
                let session = self.calls.get(&key).and_then(|call| call.session);
                let raised = session.and_then(|session| session.raised(&response.core));
                if let (Some(raised), Some(call)) = (raised, self.calls.get_mut(&key)) {
                    call.session = Some(raised);
                    if change.refresh {
                        return self.refresh(key, raised);
                    }
                    call.wanted = Some(call.local_sdp.to_vec());
                    return self.change_again(key);
                }
            }
            405 | 501 if !change.invite => {
                if let Some(call) = self.calls.get_mut(&key) {
                    call.abilities.update = false;
                }
                return self.refresh_session(key);
            }
            _ => {}
        }
        if !change.refresh {
            self.tell(Event::Unchanged { key, status });
        }
        self.change_again(key);
    }

    fn wait_after_glare(&mut self, key: CallKey, change: &Change) {
        self.counters.glare += 1;
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if !change.refresh && call.wanted.is_none() {
            call.wanted = Some(call.local_sdp.to_vec());
        }
        let owner = call.outgoing;
        let pause = if owner {
            OWNER_WAITS + self.part_of(OWNER_SPREAD)
        } else {
            self.part_of(OTHER_SPREAD)
        };
        if change.refresh {
            self.arm_call(key, Timer::SessionRefresh, pause);
        } else {
            self.arm_call(key, Timer::Glare, pause);
        }
    }

    /// Nobody answered a change: the peer is gone.
    pub(super) fn on_change_unanswered(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.change = None;
            self.end_session(key);
        }
    }

    /// A re-INVITE got a 1xx and no answer.
    pub(super) fn give_up_on_change(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let Some(change) = call.change.take() {
            self.counters.timeouts += 1;
            self.end_session(key);
            self.finish(change.request);
        }
    }

    pub(super) fn info(&mut self, key: CallKey, kind: &str, body: &[u8]) -> Option<()> {
        let call = self.calls.get(&key)?;
        let plain = kind.bytes().all(|byte| byte.is_ascii_graphic());
        if !call.is_established() || !call.confirmed || !plain {
            return None;
        }
        let method = Method::Info;
        let (writer, _, branch) = self.in_dialog_request(key, &method)?;
        let call = self.calls.get(&key)?;
        let next = call.dialog.next_hop(&call.flow);
        let bytes = writer.finish_body(kind, body);
        self.start_client(&method, &branch, next, bytes, Some(key), Hold::Release);
        Some(())
    }

    /// Builds the ACK of an INVITE of ours, keeps it and sends it.
    pub(super) fn acknowledge(&mut self, key: CallKey, invite: TransactionId, cseq: u32) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let dialog = call.dialog.clone();
        let flow = call.flow;
        let ack = self.write_ack(&dialog, &flow, invite, cseq);
        if let Some(call) = self.calls.get_mut(&key) {
            call.ack = Some(ack.as_slice().into());
            call.ack_cseq = cseq;
        }
        let ack = Ack {
            key,
            next: dialog.next_hop(&flow),
            bytes: ack,
            repeated: false,
        };
        self.acknowledge_by(invite, ack);
    }

    /// What a peer can, by its INVITE or its 2xx.
    pub(super) fn learn(&mut self, key: CallKey, response: &Response<'_>) {
        if let Some(call) = self.calls.get_mut(&key) {
            let core = &response.core;
            call.abilities.update |= core.allows("UPDATE");
            call.abilities.timer |= core.lists(HeaderName::Supported, "timer");
        }
    }

    /// 422 to our INVITE: it is placed again with the interval that the peer takes.
    pub(super) fn ask_longer(
        &mut self,
        key: CallKey,
        id: TransactionId,
        response: &Response<'_>,
        refused: &[u8],
    ) -> bool {
        let asked = Session {
            interval: self.config.session_expires,
            least: 0,
            ours: true,
        };
        let known = self.calls.get(&key).and_then(|call| call.session);
        let raised = known.unwrap_or(asked).raised(&response.core);
        if response.status != StatusCode::SESSION_INTERVAL_TOO_SMALL
            || refused.is_empty()
            || self.is_unwanted(key)
            || self.is_left(key, id)
        {
            return false;
        }
        let Some((raised, call)) = raised.zip(self.calls.get_mut(&key)) else {
            return false;
        };
        call.session = Some(raised);
        let lines = vec![
            ("Session-Expires", raised.interval.to_string()),
            ("Min-SE", raised.least.to_string()),
        ];
        let without = [HeaderName::SessionExpires, HeaderName::MinSe];
        self.send_again(id, refused, &without, &lines).is_some()
    }
}
