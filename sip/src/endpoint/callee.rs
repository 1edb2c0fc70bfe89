//! Calls that come in: INVITE, our answers, CANCEL and ACK.

use super::Endpoint;
use super::send::{ALLOW, SUPPORTED, SUPPORTED_VALUE};
use crate::call::{Abilities, Call, CallKey, Next, Phase, Unconfirmed};
use crate::dialog::Dialog;
use crate::event::{Event, Incoming, Summary};
use crate::headers::{HeaderName, Params};
use crate::identity;
use crate::message::{Method, Request, StatusCode};
use crate::session::{Asked, MIN_SE};
use crate::text;
use crate::timers::{PROVISIONAL_REFRESH, Slot, Timer};
use crate::transaction::{Machine, TransactionId, merge_key, server_key};
use crate::transport::Flow;
use crate::uri::Scheme;
use crate::write::{ExtraHeader, Writer};

/// A refusal that needs no application: status and one header field.
struct Objection {
    status: StatusCode,
    field: Option<(&'static str, String)>,
}

impl Endpoint {
    pub(super) fn on_new_invite(&mut self, flow: &Flow, request: &Request<'_>) {
        let full = self.overloaded
            || self.transactions.len() >= self.config.max_transactions
            || self.live_calls >= self.config.max_calls;
        if full {
            return self.refuse_by_limit(flow, request);
        }
        let merge = merge_key(&request.core);
        let merged = self.transactions.is_merged(&merge);
        let id = self.open_server(flow, request, (!merged).then_some(merge));
        let replaces = self.replaced(request);
        let objection = if merged {
            self.counters.merged += 1;
            Some(Objection::new(StatusCode::LOOP_DETECTED))
        } else {
            objection(request).or(replaces.err().map(Objection::new))
        };
        match objection {
            None => self.open_call(id, flow, request, replaces.ok().flatten()),
            Some(objection) => self.object(id, &objection),
        }
    }

    fn object(&mut self, id: TransactionId, objection: &Objection) {
        let field = objection.field.as_ref();
        let field = field.map(|(name, value)| (*name, value.as_str()));
        self.refuse(id, objection.status, field.as_slice());
    }

    /// The call that an INVITE is to take the place of (RFC 3891 §3).
    fn replaced(&self, request: &Request<'_>) -> Result<Option<CallKey>, StatusCode> {
        let mut values = request.core.view.values(HeaderName::Replaces);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let named = Replaces::read(value).filter(|_| values.next().is_none());
        let named = named.ok_or(StatusCode::BAD_REQUEST)?;
        let key = self.dialogs.get(named.to_tag.as_str()).copied();
        let call = key.and_then(|key| Some((key, self.calls.get(&key)?)));
        let ours = call.filter(|(_, call)| {
            *call.dialog.call_id == *named.call_id && *call.dialog.remote_tag == *named.from_tag
        });
        let (key, call) = ours.ok_or(StatusCode::CALL_DOES_NOT_EXIST)?;
        match call.phase {
            Phase::Ended => Err(StatusCode::DECLINE),
            Phase::Established if named.early_only => Err(StatusCode::BUSY_HERE),
            Phase::Established if call.hangup.is_some() => Err(StatusCode::DECLINE),
            Phase::Established => Ok(Some(key)),
            // One that the peer began cannot be taken over before its answer.
            Phase::Offered { .. } | Phase::Calling(_) => Err(StatusCode::CALL_DOES_NOT_EXIST),
        }
    }

    fn open_call(
        &mut self,
        id: TransactionId,
        flow: &Flow,
        request: &Request<'_>,
        replaces: Option<CallKey>,
    ) {
        let key = self.next_key();
        let tag = self.random.tag();
        let cseq = self.random.below(1 << 16);
        let dialog = Dialog::from_invite(request, &tag, cseq);
        let mut call = Call::new(
            *flow,
            dialog,
            Phase::Offered {
                invite: id,
                cseq: request.core.cseq.number,
            },
        );
        let mut invite = incoming(request);
        invite.replaces = replaces;
        call.late_offer = invite.offer.is_none();
        call.asked_session = Some(Asked::read(request));
        call.abilities = Abilities {
            update: request.core.allows("UPDATE"),
            timer: request.supports("timer"),
            reliable: request.supports("100rel"),
            reliable_only: request.requires("100rel"),
        };
        self.dialogs.insert(tag.into(), key);
        self.insert_call(key, call);
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.call = Some(key);
        }
        self.tell(Event::Incoming {
            key,
            flow: *flow,
            invite: Box::new(invite),
        });
        self.trace(Some(key), false, &Summary::Request(Method::Invite), false);
    }

    /// The INVITE transaction of a call that is not answered yet.
    fn offered(&self, key: CallKey) -> Option<TransactionId> {
        match self.calls.get(&key)?.phase {
            Phase::Offered { invite, .. } => Some(invite),
            Phase::Calling(_) | Phase::Established | Phase::Ended => None,
        }
    }

    /// Begins an answer that makes or shapes the dialog of a call.
    pub(super) fn dialog_answer(
        &self,
        key: CallKey,
        invite: TransactionId,
        status: StatusCode,
    ) -> Option<Writer> {
        let call = self.calls.get(&key)?;
        let reply = self.transactions.get(invite)?.reply.as_deref()?;
        let tag = &call.dialog.local_tag;
        let mut writer = reply.start(status, status.phrase(), tag);
        reply.write_routes(&mut writer);
        writer.field("Contact", self.contact_in(&call.dialog, &call.flow));
        writer.field("Allow", ALLOW);
        writer.field("Supported", SUPPORTED_VALUE);
        writer.field("Server", &self.config.product);
        Some(writer)
    }

    pub(super) fn ring(
        &mut self,
        key: CallKey,
        status: StatusCode,
        sdp: Option<&[u8]>,
        headers: &[ExtraHeader],
    ) -> Option<()> {
        let valid = status.is_provisional() && status != StatusCode::TRYING;
        let invite = self.offered(key).filter(|_| valid)?;
        let call = self.calls.get_mut(&key)?;
        if let Some(sdp) = sdp {
            call.local_sdp = sdp.into();
        }
        if call.reliable.is_some() || call.must_be_reliable(sdp.is_some()) {
            return self.ring_reliably(key, status, sdp, headers);
        }
        let mut writer = self.dialog_answer(key, invite, status)?;
        writer.extra(headers);
        self.answer(invite, status, writer.finish_sdp(sdp));
        self.arm_call(key, Timer::ProvisionalRefresh, PROVISIONAL_REFRESH);
        Some(())
    }

    pub(super) fn refresh_provisional(&mut self, key: CallKey) {
        if let Some(invite) = self.offered(key) {
            self.transmit_stored(invite);
            self.arm_call(key, Timer::ProvisionalRefresh, PROVISIONAL_REFRESH);
        }
    }

    pub(super) fn accept(
        &mut self,
        key: CallKey,
        sdp: &[u8],
        headers: &[ExtraHeader],
    ) -> Option<()> {
        let invite = self.offered(key)?;
        let call = self.calls.get_mut(&key)?;
        if let Some(reliable) = &mut call.reliable {
            // No 2xx while an answer in a 1xx may be lost (RFC 3262 §3).
            reliable.next = Some(Next::Accept(sdp.to_vec(), headers.to_vec()));
            return Some(());
        }
        let sdp = Some(sdp).filter(|_| !call.agreed_early);
        if let Some(sdp) = sdp {
            call.local_sdp = sdp.into();
        }
        let asked = call.asked_session.take();
        let mut writer = self.dialog_answer(key, invite, StatusCode::OK)?;
        if let Some(asked) = asked {
            self.grant_session(key, asked, &mut writer);
        }
        writer.extra(headers);
        let bytes = writer.finish_sdp(sdp);
        let call = self.calls.get_mut(&key)?;
        let Phase::Offered { cseq, .. } = call.phase else {
            return None;
        };
        call.phase = Phase::Established;
        let late_offer = call.late_offer && !call.agreed_early;
        self.accept_invite(key, invite, bytes, cseq, late_offer)
    }

    /// Sends a 2xx and repeats it until its ACK comes (RFC 3261 §13.3.1.4).
    pub(super) fn accept_invite(
        &mut self,
        key: CallKey,
        invite: TransactionId,
        bytes: Vec<u8>,
        cseq: u32,
        late_offer: bool,
    ) -> Option<()> {
        let flow = self.transactions.get(invite)?.flow;
        let gap = self.config.timers.t1;
        self.calls.get_mut(&key)?.unconfirmed = Some(Box::new(Unconfirmed {
            cseq,
            flow,
            message: bytes.as_slice().into(),
            gap,
            late_offer,
        }));
        self.answer(invite, StatusCode::OK, bytes);
        self.arm_call(key, Timer::AnswerRepeat, gap);
        let patience = self.config.timers.patience();
        self.arm_call(key, Timer::AnswerUnconfirmed, patience);
        Some(())
    }

    pub(super) fn repeat_answer(&mut self, key: CallKey) {
        let t2 = self.config.timers.t2;
        let unconfirmed = self
            .calls
            .get_mut(&key)
            .and_then(|call| call.unconfirmed.as_mut());
        if let Some(unconfirmed) = unconfirmed {
            unconfirmed.gap = (unconfirmed.gap * 2).min(t2);
            let (flow, gap) = (unconfirmed.flow, unconfirmed.gap);
            let bytes = unconfirmed.message.to_vec();
            let summary = Summary::Response(StatusCode::OK, Method::Invite);
            self.transmit(flow, bytes, Some(key), &summary, true);
            self.arm_call(key, Timer::AnswerRepeat, gap);
        }
    }

    pub(super) fn reject(
        &mut self,
        key: CallKey,
        status: StatusCode,
        phrase: Option<&str>,
        retry_after: Option<u32>,
        headers: &[ExtraHeader],
    ) -> Option<()> {
        let refusal = !status.is_provisional() && !status.is_success();
        let invite = self.offered(key).filter(|_| refusal)?;
        let reply = self.transactions.get(invite)?.reply.as_deref()?;
        let tag = &self.calls.get(&key)?.dialog.local_tag;
        let mut writer = reply.start(status, phrase.unwrap_or(status.phrase()), tag);
        if let Some(seconds) = retry_after {
            writer.field("Retry-After", seconds);
        }
        writer.field("Server", &self.config.product);
        writer.extra(headers);
        self.answer(invite, status, writer.finish());
        self.close(key, None);
        Some(())
    }

    /// CANCEL takes back the INVITE with the same branch (RFC 3261 §9.2).
    pub(super) fn on_cancel(&mut self, flow: &Flow, request: &Request<'_>) {
        server_key(&request.core, &Method::Invite, &mut self.scratch);
        let Some(invite) = self.transactions.find(&self.scratch) else {
            return self.answer_unknown_dialog(flow, request);
        };
        let id = self.open_server(flow, request, None);
        let key = self.transactions.get(invite).and_then(|found| found.call);
        let call = key.and_then(|key| self.calls.get(&key));
        let tag = call.map_or_else(Default::default, |call| call.dialog.local_tag.clone());
        self.refuse_tagged(id, StatusCode::OK, &tag, &[]);
        let unanswered = self.transactions.get(invite).is_some_and(|found| {
            matches!(&found.machine, Machine::ServerInvite(machine) if machine.is_unanswered())
        });
        if let Some(key) = key.filter(|_| unanswered) {
            let reason = request.core.text(HeaderName::Reason);
            self.refuse_tagged(invite, StatusCode::REQUEST_TERMINATED, &tag, &[]);
            self.take_back(key, reason);
        }
    }

    /// An unanswered INVITE of this call was answered with 487.
    fn take_back(&mut self, key: CallKey, reason: Option<String>) {
        if self.offered(key).is_some() {
            self.close(key, Some(Event::Cancelled { key, reason }));
        } else if let Some(call) = self.calls.get_mut(&key) {
            call.reinvite = None;
            self.tell(Event::ReinviteCancelled { key });
        }
    }

    /// The ACK of a 2xx: it has its own branch and finds the call by dialog.
    pub(super) fn on_dialog_ack(&mut self, request: &Request<'_>) {
        let core = &request.core;
        let Some(key) = self.find_call(core) else {
            self.counters.stray_acks += 1;
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let number = core.cseq.number;
        let expected = call.unconfirmed.take_if(|found| found.cseq == number);
        let Some(unconfirmed) = expected else {
            return;
        };
        self.timers.disarm(&mut call.alarms, Slot::Repeat);
        self.timers.disarm(&mut call.alarms, Slot::Limit);
        let first = !core::mem::replace(&mut call.confirmed, true);
        let hangup = call.hangup.take();
        let sdp = core.sdp().filter(|_| unconfirmed.late_offer);
        let sdp = sdp.map(<[u8]>::to_vec);
        self.tell(if first {
            Event::Confirmed { key, sdp }
        } else {
            Event::ReinviteConfirmed { key, sdp }
        });
        if let Some(reason) = hangup {
            self.bye(key, reason.as_deref());
        }
    }
}

/// `Replaces: id;to-tag=a;from-tag=b`, its tags seen from our side.
struct Replaces {
    call_id: String,
    to_tag: String,
    from_tag: String,
    early_only: bool,
}

impl Replaces {
    fn read(value: &[u8]) -> Option<Self> {
        let (call_id, params) = text::split_at_first(value, b';');
        let params = Params::parse(params?)?;
        let tag = |name: &[u8]| Some(text::decode(params.value(name)?).into_owned());
        Some(Self {
            call_id: text::decode(text::trim(call_id)).into_owned(),
            to_tag: tag(b"to-tag")?,
            from_tag: tag(b"from-tag")?,
            early_only: params.find(b"early-only").is_some(),
        })
    }
}

impl Objection {
    fn new(status: StatusCode) -> Self {
        Self {
            status,
            field: None,
        }
    }

    fn with(status: StatusCode, name: &'static str, value: String) -> Self {
        Self {
            status,
            field: Some((name, value)),
        }
    }
}

/// What stands against an INVITE before anyone is asked (RFC 3261 §8.2.2, §8.2.3).
fn objection(request: &Request<'_>) -> Option<Objection> {
    if request.uri.scheme == Scheme::Other {
        return Some(Objection::new(StatusCode::UNSUPPORTED_URI_SCHEME));
    }
    let unsupported = request.unsupported(SUPPORTED);
    if !unsupported.is_empty() {
        let list = unsupported.join(", ");
        return Some(Objection::with(
            StatusCode::BAD_EXTENSION,
            "Unsupported",
            list,
        ));
    }
    let asked = Asked::read(request);
    if asked.is_too_short() {
        return Some(Objection::with(
            StatusCode::SESSION_INTERVAL_TOO_SMALL,
            "Min-SE",
            MIN_SE.to_string(),
        ));
    }
    if let Some(objection) = body_objection(request) {
        return Some(objection);
    }
    (!request.accepts_sdp()).then(|| Objection::new(StatusCode::NOT_ACCEPTABLE))
}

/// Only SDP can be read, alone or in a part of the body.
pub(super) fn body_refusal(request: &Request<'_>) -> Option<(&'static str, &'static str)> {
    let core = &request.core;
    if core.body.is_empty() {
        return None;
    }
    let encoding = core.view.first(HeaderName::ContentEncoding);
    if encoding.is_some_and(|value| !value.eq_ignore_ascii_case(b"identity")) {
        return Some(("Accept-Encoding", "identity"));
    }
    core.sdp()
        .is_none()
        .then_some(("Accept", "application/sdp"))
}

/// Offers beyond this are no telephone's: each is kept while its call rings, so it
/// bounds what a half-open call can hold.
const OFFER_MAX: usize = 16 * 1024;

fn body_objection(request: &Request<'_>) -> Option<Objection> {
    if request.core.sdp().is_some_and(|sdp| sdp.len() > OFFER_MAX) {
        return Some(Objection::new(StatusCode::REQUEST_ENTITY_TOO_LARGE));
    }
    let (name, value) = body_refusal(request)?;
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Some(Objection::with(status, name, value.to_owned()))
}

fn incoming(request: &Request<'_>) -> Incoming {
    let core = &request.core;
    Incoming {
        request_uri: request.uri.to_uri(),
        from: identity::party(&core.from),
        to: identity::party(&core.to),
        call_id: core.call_id.to_owned(),
        contact: core.contact().map(|contact| contact.uri.to_uri()),
        user_agent: core.text(HeaderName::UserAgent),
        asserted_identity: identity::asserted(core),
        private: identity::is_private(core),
        diversion: identity::diversions(core),
        history: identity::history(core),
        identities: identity::signed(core),
        replaces: None,
        offer: core.sdp().map(<[u8]>::to_vec),
    }
}
