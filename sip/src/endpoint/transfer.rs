//! Transfers (RFC 3515, RFC 5589): REFER that we send and what the peer tells
//! of it, and REFER that the peer sends.

use core::time::Duration;

use super::Endpoint;
use crate::call::{CallKey, Referred, Transferring};
use crate::command::{TransferOrder, TransferTarget};
use crate::event::{Event, TransferOutcome};
use crate::headers::{HeaderName, NameAddr};
use crate::message::{Method, Request, Response, StatusCode};
use crate::text;
use crate::timers::{Slot, Timer};
use crate::transaction::{Hold, TransactionId};
use crate::transport::Flow;
use crate::uri::{Uri, UriView};

/// The first report comes at once (RFC 3515 §2.4.4); after so long there will
/// be none.
const FIRST_REPORT: Duration = Duration::from_secs(32);
/// After a 1xx the target may ring for as long as a call of ours may (Timer C).
const NEXT_REPORT: Duration = Duration::from_secs(185);
/// Seconds that a subscription of ours is said to live.
const SUBSCRIPTION: u32 = 180;

impl Endpoint {
    pub(super) fn transfer(&mut self, order: &TransferOrder) -> Option<()> {
        let key = order.key;
        let ended = self.calls.get(&key).is_none_or(|call| call.is_ended());
        let asked = self.refer(order);
        if asked.is_none() && !ended {
            let outcome = TransferOutcome::NotAsked;
            self.tell(Event::TransferEnded { key, outcome });
        }
        asked
    }

    fn refer(&mut self, order: &TransferOrder) -> Option<()> {
        let key = order.key;
        let call = self.calls.get(&key)?;
        let free = call.transferring.is_none() && call.hangup.is_none();
        if !call.is_established() || !call.confirmed || !free {
            return None;
        }
        let target = self.refer_to(order)?;
        let method = Method::Refer;
        let (mut writer, cseq, branch) = self.in_dialog_request(key, &method)?;
        let call = self.calls.get(&key)?;
        writer.field("Contact", self.contact_in(&call.dialog, &call.flow));
        writer.field("Refer-To", target);
        writer.field("Referred-By", format_args!("<{}>", call.dialog.local_uri));
        let next = call.dialog.next_hop(&call.flow);
        let bytes = writer.finish();
        let request = self.start_client(&method, &branch, next, bytes, Some(key), Hold::Release);
        self.calls.get_mut(&key)?.transferring = Some(Transferring {
            request,
            cseq,
            accepted: false,
        });
        Some(())
    }

    /// Value of Refer-To; with the dialog that is taken over, if there is one.
    fn refer_to(&self, order: &TransferOrder) -> Option<String> {
        let consult = match &order.to {
            TransferTarget::Uri(to) => return Some(format!("<{to}>")),
            TransferTarget::User(user) => {
                let peer = Uri::parse(&self.calls.get(&order.key)?.dialog.target).ok()?;
                let place = match peer.port() {
                    Some(port) => format!("{}:{port}", peer.host()),
                    None => peer.host().to_owned(),
                };
                let to = Uri::parse(&format!("sip:{user}@{place}")).ok()?;
                return Some(format!("<{to}>"));
            }
            TransferTarget::PeerOf(consult) => consult,
        };
        let call = self.calls.get(consult)?;
        if !call.is_established() || !call.confirmed {
            return None;
        }
        let (dialog, to) = (&call.dialog, &*call.dialog.target);
        // The tags are the target's point of view (RFC 3891 §3).
        let replaces = format!(
            "{};to-tag={};from-tag={}",
            dialog.call_id, dialog.remote_tag, dialog.local_tag
        );
        let mark = if to.contains('?') { '&' } else { '?' };
        Some(format!("<{to}{mark}Replaces={}>", escaped(&replaces)))
    }

    /// Whether a transaction is the REFER that a call waits for.
    pub(super) fn is_transfer(&self, key: CallKey, id: TransactionId) -> bool {
        let call = self.calls.get(&key);
        let transferring = call.and_then(|call| call.transferring.as_ref());
        transferring.is_some_and(|it| it.request == id)
    }

    pub(super) fn on_transfer_response(
        &mut self,
        key: CallKey,
        id: TransactionId,
        response: &Response<'_>,
    ) {
        if response.status.is_provisional() {
            return;
        }
        self.detach(id);
        if !response.status.is_success() {
            let outcome = TransferOutcome::Refused(response.status);
            return self.end_transfer(key, outcome);
        }
        let call = self.calls.get_mut(&key);
        if let Some(transferring) = call.and_then(|call| call.transferring.as_mut()) {
            transferring.accepted = true;
            self.arm_call(key, Timer::TransferSilent, FIRST_REPORT);
        }
    }

    pub(super) fn give_up_on_transfer(&mut self, key: CallKey) {
        self.end_transfer(key, TransferOutcome::Unreported);
    }

    /// The one end of a transfer of ours.
    pub(super) fn end_transfer(&mut self, key: CallKey, outcome: TransferOutcome) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.transferring.take().is_some() {
            self.timers.disarm(&mut call.alarms, Slot::Transfer);
            self.tell(Event::TransferEnded { key, outcome });
        }
    }

    pub(super) fn on_notify(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some(key) = key else {
            return self.answer_unknown_dialog(flow, request);
        };
        let Some(id) = self.open_in_order(flow, request, key) else {
            return;
        };
        let call = self.calls.get(&key);
        let transferring = call.and_then(|call| call.transferring.as_ref());
        let Some(cseq) = transferring.map(|it| it.cseq) else {
            return self.refuse(id, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        };
        if !is_refer_event(request, cseq) {
            return self.refuse(id, StatusCode::BAD_EVENT, &[("Allow-Events", "refer")]);
        }
        self.refuse(id, StatusCode::OK, &[]);
        let over = is_terminated(request);
        match reported(request.core.body) {
            Some(status) if status.is_success() => {
                self.end_transfer(key, TransferOutcome::Completed);
            }
            Some(status) if !status.is_provisional() => {
                self.end_transfer(key, TransferOutcome::Failed(status));
            }
            _ if over => self.end_transfer(key, TransferOutcome::Unreported),
            Some(status) => {
                self.arm_call(key, Timer::TransferSilent, NEXT_REPORT);
                if status != StatusCode::TRYING {
                    self.tell(Event::TransferProgress { key, status });
                }
            }
            None => {}
        }
    }

    pub(super) fn on_refer(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some(key) = key else {
            return self.answer_unknown_dialog(flow, request);
        };
        let Some(id) = self.open_in_order(flow, request, key) else {
            return;
        };
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        if call.is_ended() {
            return self.refuse(id, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        let free = call.is_established() && call.referred.is_none();
        let target = request.core.view.only(HeaderName::ReferTo).ok();
        let Some(target) = target.and_then(NameAddr::parse) else {
            return self.refuse(id, StatusCode::BAD_REQUEST, &[]);
        };
        let (to, replaces) = split_target(target.uri.text);
        let Ok(to) = UriView::parse(&to).map(|uri| uri.to_uri()) else {
            return self.refuse(id, StatusCode::BAD_REQUEST, &[]);
        };
        if !self.config.accept_transfers || !free {
            self.counters.refused_transfers += 1;
            return self.refuse(id, StatusCode::DECLINE, &[]);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.referred = Some(Referred {
                request: id,
                cseq: request.core.cseq.number,
                accepted: false,
            });
        }
        self.tell(Event::TransferAsked {
            key,
            to,
            replaces,
            referred_by: request.core.text(HeaderName::ReferredBy),
        });
    }

    pub(super) fn answer_transfer(&mut self, key: CallKey, accept: bool) -> Option<()> {
        let call = self.calls.get_mut(&key)?;
        let referred = call.referred.as_mut().filter(|it| !it.accepted)?;
        let id = referred.request;
        if accept {
            referred.accepted = true;
            let call = self.calls.get(&key)?;
            let contact = self.contact_in(&call.dialog, &call.flow);
            self.refuse(id, StatusCode::ACCEPTED, &[("Contact", &contact)]);
            self.notify_transfer(key, StatusCode::TRYING)
        } else {
            call.referred = None;
            self.refuse(id, StatusCode::DECLINE, &[]);
            Some(())
        }
    }

    pub(super) fn report_transfer(&mut self, key: CallKey, status: StatusCode) -> Option<()> {
        let call = self.calls.get(&key).filter(|call| call.is_established())?;
        call.referred.as_ref().filter(|it| it.accepted)?;
        self.notify_transfer(key, status)?;
        if !status.is_provisional() {
            self.calls.get_mut(&key)?.referred = None;
        }
        Some(())
    }

    fn notify_transfer(&mut self, key: CallKey, status: StatusCode) -> Option<()> {
        let method = Method::Notify;
        let (mut writer, _, branch) = self.in_dialog_request(key, &method)?;
        let call = self.calls.get(&key)?;
        let cseq = call.referred.as_ref()?.cseq;
        writer.field("Contact", self.contact_in(&call.dialog, &call.flow));
        writer.field("Event", format_args!("refer;id={cseq}"));
        if status.is_provisional() {
            writer.field(
                "Subscription-State",
                format_args!("active;expires={SUBSCRIPTION}"),
            );
        } else {
            writer.field("Subscription-State", "terminated;reason=noresource");
        }
        let next = call.dialog.next_hop(&call.flow);
        let body = format!("SIP/2.0 {status}\r\n");
        let bytes = writer.finish_body("message/sipfrag;version=2.0", body.as_bytes());
        self.start_client(&method, &branch, next, bytes, Some(key), Hold::Release);
        Some(())
    }
}

/// `Event: refer`, and if it names a REFER, ours (RFC 3515 §2.4.6).
fn is_refer_event(request: &Request<'_>, cseq: u32) -> bool {
    let Some(value) = request.core.view.first(HeaderName::Event) else {
        return false;
    };
    let (package, params) = text::split_at_first(value, b';');
    let params = crate::headers::Params::parse(params.unwrap_or_default());
    let id = params.and_then(|params| params.value(b"id"));
    let ours = id.is_none_or(|id| text::decimal(id) == Some(u64::from(cseq)));
    text::trim(package).eq_ignore_ascii_case(b"refer") && ours
}

fn is_terminated(request: &Request<'_>) -> bool {
    let state = request.core.view.first(HeaderName::SubscriptionState);
    let state = state.map(|state| text::trim(text::split_at_first(state, b';').0));
    state.is_some_and(|state| state.eq_ignore_ascii_case(b"terminated"))
}

/// The status in a `message/sipfrag` body.
fn reported(body: &[u8]) -> Option<StatusCode> {
    let line = body.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| text::is_blank(*byte));
    words
        .next()
        .filter(|word| word.eq_ignore_ascii_case(b"SIP/2.0"))?;
    let code = text::decimal(words.next()?)?;
    StatusCode::new(u16::try_from(code).ok()?)
}

/// A URI without its headers, and the text of its `Replaces` header.
fn split_target(uri: &[u8]) -> (Vec<u8>, Option<String>) {
    let (bare, headers) = text::split_at_first(uri, b'?');
    let replaces = headers.and_then(|headers| {
        let mut fields = headers.split(|byte| *byte == b'&');
        fields.find_map(|field| {
            let (name, value) = text::split_at_first(field, b'=');
            let value = value.filter(|_| name.eq_ignore_ascii_case(b"Replaces"))?;
            Some(crate::uri::unescape(value).into_owned())
        })
    });
    (bare.to_vec(), replaces)
}

/// Text as it may stand in a URI header: all but unreserved letters escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
