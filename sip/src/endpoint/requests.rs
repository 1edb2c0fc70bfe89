//! Incoming requests: which machine, which dialog, and the answers that need
//! no call (RFC 3261 §8.2).

use std::sync::Arc;

use super::send::{ALLOW, ALLOW_OUTSIDE, SUPPORTED};
use super::{Endpoint, Sender};
use crate::call::{CallKey, Phase};
use crate::event::Summary;
use crate::headers::{HeaderName, Via};
use crate::message::{Core, Method, Request, StatusCode};
use crate::parse::{Defect, StartLine, View};
use crate::text;
use crate::transaction::{
    Machine, Server, ServerInvite, Step, Transaction, TransactionId, server_key,
};
use crate::transport::Flow;
use crate::uri::Scheme;
use crate::write::{ReplyHead, reply_flow};

impl Endpoint {
    pub(super) fn on_request_view(&mut self, flow: &Flow, view: &View<'_>, sender: Sender) {
        if self.is_turned_back(flow, view, sender) {
            return;
        }
        match (Request::check(view), sender) {
            (Ok(request), _) => self.on_request(flow, &request, sender),
            (Err(defect), Sender::Known) => self.refuse_malformed(flow, view, defect),
            (Err(defect), Sender::Stranger | Sender::Guarded(_)) => self.count_malformed(defect),
        }
    }

    pub(super) fn count_malformed(&mut self, defect: Defect) {
        if let Some(count) = self.counters.malformed.get_mut(defect.index()) {
            *count += 1;
        }
    }

    /// Answers a bad request as well as its topmost Via allows.
    fn refuse_malformed(&mut self, flow: &Flow, view: &View<'_>, defect: Defect) {
        self.count_malformed(defect);
        let StartLine::Request { method, .. } = view.start else {
            return;
        };
        let via = view.first(HeaderName::Via).and_then(readable_via);
        let Some(via) = via.filter(|_| method != b"ACK") else {
            return;
        };
        let method = Method::read(method).unwrap_or(Method::Other("?".into()));
        let reply = ReplyHead::from_unchecked(view, &via, flow);
        let phrase = defect.to_string();
        let status = (defect.status(), phrase.as_str());
        self.answer_statelessly(&reply, reply_flow(&via, flow), status, method, &[]);
    }

    fn on_request(&mut self, flow: &Flow, request: &Request<'_>, sender: Sender) {
        server_key(&request.core, &request.method, &mut self.scratch);
        let known = self.transactions.find(&self.scratch);
        let acks = request.method == Method::Ack;
        if known.is_none() && !acks && !self.is_let_in(flow, request, sender) {
            return;
        }
        match (&request.method, known) {
            (Method::Ack, _) => self.on_ack(known, request),
            (_, Some(id)) => self.on_repeated_request(id, request),
            (Method::Invite, None) if request.core.to_tag().is_empty() => {
                self.on_new_invite(flow, request);
            }
            (method, None) => {
                let key = self.find_call(&request.core);
                self.trace(key, false, &Summary::Request(method.clone()), false);
                self.on_new_request(flow, request, key);
            }
        }
    }

    fn on_new_request(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        match &request.method {
            Method::Cancel => self.on_cancel(flow, request),
            Method::Invite => self.on_reinvite(flow, request, key),
            Method::Bye => self.on_bye(flow, request, key),
            Method::Options => self.on_options(flow, request, key),
            Method::Prack => self.on_prack(flow, request, key),
            Method::Update => self.on_update(flow, request, key),
            Method::Notify => self.on_notify(flow, request, key),
            Method::Info => self.on_info(flow, request, key),
            Method::Refer if !request.core.to_tag().is_empty() => self.on_refer(flow, request, key),
            Method::Message if !request.core.to_tag().is_empty() => {
                self.on_message(flow, request, key);
            }
            // Outside of a call nobody is told to call anybody (RFC 3515 §2.4.2).
            Method::Refer => {
                self.counters.refused_transfers += 1;
                self.answer_plainly(flow, request, StatusCode::DECLINE, &[]);
            }
            Method::Subscribe => {
                self.counters.refused_methods += 1;
                let field = [("Allow-Events", "refer")];
                self.answer_plainly(flow, request, StatusCode::BAD_EVENT, &field);
            }
            method => {
                self.counters.refused_methods += 1;
                let status = match method {
                    Method::Other(_) => StatusCode::NOT_IMPLEMENTED,
                    _ => StatusCode::METHOD_NOT_ALLOWED,
                };
                self.answer_plainly(flow, request, status, &[("Allow", ALLOW_OUTSIDE)]);
            }
        }
    }

    fn on_options(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        if key.is_none() && !request.core.to_tag().is_empty() {
            return self.answer_unknown_dialog(flow, request);
        }
        if request.uri.scheme == Scheme::Other {
            let status = StatusCode::UNSUPPORTED_URI_SCHEME;
            return self.answer_plainly(flow, request, status, &[]);
        }
        let unsupported = request.unsupported(SUPPORTED);
        if !unsupported.is_empty() {
            let list = unsupported.join(", ");
            let field = [("Unsupported", list.as_str())];
            return self.answer_plainly(flow, request, StatusCode::BAD_EXTENSION, &field);
        }
        let supported = SUPPORTED.join(", ");
        let allow = if key.is_some() { ALLOW } else { ALLOW_OUTSIDE };
        let fields = [
            ("Allow", allow),
            ("Accept", "application/sdp"),
            ("Supported", supported.as_str()),
        ];
        self.answer_plainly(flow, request, StatusCode::OK, &fields);
    }

    /// A final answer that would be the same to every repetition of the
    /// request, so no state is kept for it (RFC 3261 §8.2.7).
    pub(super) fn answer_plainly(
        &mut self,
        flow: &Flow,
        request: &Request<'_>,
        status: StatusCode,
        fields: &[(&str, &str)],
    ) {
        let reply = ReplyHead::new(&request.core, flow);
        let back = reply_flow(&request.core.via, flow);
        let method = request.method.clone();
        self.answer_statelessly(&reply, back, (status, status.phrase()), method, fields);
    }

    pub(super) fn answer_unknown_dialog(&mut self, flow: &Flow, request: &Request<'_>) {
        self.counters.unknown_dialog += 1;
        self.answer_plainly(flow, request, StatusCode::CALL_DOES_NOT_EXIST, &[]);
    }

    /// Opens the server transaction of a request; its answer goes where Via says.
    pub(super) fn open_server(
        &mut self,
        flow: &Flow,
        request: &Request<'_>,
        merge_key: Option<Arc<[u8]>>,
    ) -> TransactionId {
        let reliable = flow.transport.is_reliable();
        let timers = self.config.timers;
        let (machine, steps) = if request.method == Method::Invite {
            let (machine, steps) = ServerInvite::new(reliable, timers);
            (Machine::ServerInvite(machine), steps)
        } else {
            let machine = Server::new(reliable, timers);
            (Machine::Server(machine), Default::default())
        };
        server_key(&request.core, &request.method, &mut self.scratch);
        let back = reply_flow(&request.core.via, flow);
        let summary = Summary::Request(request.method.clone());
        let mut transaction = Transaction::new(&self.scratch, machine, back, summary);
        transaction.reply = Some(ReplyHead::new(&request.core, flow).kept());
        transaction.merge_key = merge_key;
        let id = self.transactions.insert(transaction);
        self.carry_out(id, &steps, None);
        id
    }

    fn on_repeated_request(&mut self, id: TransactionId, request: &Request<'_>) {
        self.counters.repeated_requests += 1;
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let key = transaction.call;
        let steps = match &mut transaction.machine {
            Machine::ServerInvite(machine) => machine.on_repeat(),
            Machine::Server(machine) => machine.on_repeat(),
            Machine::ClientInvite(_) | Machine::Client(_) => return,
        };
        self.trace(key, false, &Summary::Request(request.method.clone()), true);
        self.carry_out(id, &steps, None);
    }

    fn on_ack(&mut self, known: Option<TransactionId>, request: &Request<'_>) {
        let key = match known.and_then(|id| self.transactions.get(id)) {
            Some(transaction) => transaction.call,
            None => self.find_call(&request.core),
        };
        self.trace(key, false, &Summary::Request(Method::Ack), false);
        if let Some(id) = known
            && let Some(transaction) = self.transactions.get_mut(id)
            && let Machine::ServerInvite(machine) = &mut transaction.machine
        {
            let steps = machine.on_ack();
            if !steps.contains(&Step::Deliver) {
                return self.carry_out(id, &steps, None);
            }
        }
        self.on_dialog_ack(request);
    }

    /// The call whose dialog a message of the peer belongs to.
    pub(super) fn find_call(&self, core: &Core<'_>) -> Option<CallKey> {
        let key = *self.dialogs.get(core.to_tag())?;
        let call = self.calls.get(&key)?;
        let early = matches!(call.phase, Phase::Calling(_))
            && *call.dialog.call_id == *core.call_id
            && call.forks.iter().any(|fork| *fork.tag == *core.from_tag());
        (early || call.dialog.matches(core)).then_some(key)
    }

    /// A final answer with the given fields and a fresh tag if one is needed.
    pub(super) fn refuse(
        &mut self,
        id: TransactionId,
        status: StatusCode,
        fields: &[(&str, &str)],
    ) {
        let tag = self.random.tag();
        self.refuse_tagged(id, status, &tag, fields);
    }

    pub(super) fn refuse_tagged(
        &mut self,
        id: TransactionId,
        status: StatusCode,
        tag: &str,
        fields: &[(&str, &str)],
    ) {
        let reply = self
            .transactions
            .get(id)
            .and_then(|found| found.reply.as_deref());
        let Some(reply) = reply else {
            return;
        };
        let mut writer = reply.start(status, status.phrase(), tag);
        for (name, value) in fields {
            writer.field_raw(name, value.as_bytes());
        }
        writer.field_raw("Server", self.config.product.as_bytes());
        self.answer(id, status, writer.finish());
    }

    /// Requests inside dialogs get a quarter more room than new calls.
    pub(super) fn is_full(&self) -> bool {
        let max = self.config.max_transactions;
        self.transactions.len() >= max.saturating_add(max / 4)
    }

    pub(super) fn refuse_by_limit(&mut self, flow: &Flow, request: &Request<'_>) {
        let reply = ReplyHead::new(&request.core, flow);
        let back = reply_flow(&request.core.via, flow);
        self.answer_no_room(&reply, back, request.method.clone());
    }

    pub(super) fn answer_no_room(&mut self, reply: &ReplyHead, back: Flow, method: Method) {
        self.counters.refused_by_limit += 1;
        let seconds = self.config.retry_after.to_string();
        let field = [("Retry-After", seconds.as_str())];
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.answer_statelessly(reply, back, (status, status.phrase()), method, &field);
    }
}

/// The topmost Via, or only its sent-by when its parameters are beyond reading.
pub(super) fn readable_via(value: &[u8]) -> Option<Via<'_>> {
    let top = text::elements(value).next()?.ok();
    top.and_then(Via::parse).or_else(|| {
        let end = value.iter().position(|byte| matches!(byte, b';' | b','));
        Via::parse_head(value.get(..end.unwrap_or(value.len()))?)
    })
}
