//! The endpoint's hands: carries out transaction steps, starts client
//! transactions, sends answers and stateless messages.

use core::time::Duration;

use super::{Endpoint, Output, Owner};
use crate::call::CallKey;
use crate::dialog::Dialog;
use crate::event::{Event, Summary};
use crate::message::{Method, Response, StatusCode};
use crate::random;
use crate::timers::{Slot, Timer};
use crate::transaction::{
    Client, ClientInvite, Hold, Machine, Step, Steps, Transaction, TransactionId, client_key,
};
use crate::transport::{Flow, Hop, Transport};
use crate::write::{ReplyHead, ack_for_refusal};

/// Methods that are served.
pub(super) const ALLOW: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, REFER, NOTIFY";

/// Methods that are served outside of calls and refused there by no 405: nobody
/// would read a MESSAGE, so none is taken (RFC 3261 §21.4.6).
pub(super) const ALLOW_OUTSIDE: &str =
    "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY";

/// Option tags that are supported.
pub(super) const SUPPORTED: &[&str] = &["100rel", "timer", "replaces"];

/// The same as a header value.
pub(super) const SUPPORTED_VALUE: &str = "100rel, timer, replaces";

/// How the tag of an answer begins for which no state is kept: its ACK needs none.
pub(super) const NO_DIALOG: &str = "none-";

impl Endpoint {
    /// Sends one message.
    pub(super) fn transmit(
        &mut self,
        flow: Flow,
        bytes: Vec<u8>,
        call: Option<CallKey>,
        summary: &Summary,
        repeated: bool,
    ) {
        self.counters.sent += 1;
        self.counters.retransmitted += u64::from(repeated);
        let came_over = call
            .and_then(|key| self.calls.get(&key))
            .map(|call| call.flow)
            .filter(|came| came.transport == flow.transport && flow.transport.is_reliable())
            .map(|came| came.remote);
        self.outbox.push_back(Output::Transmit {
            flow,
            reuse: came_over.filter(|remote| *remote != flow.remote),
            bytes,
        });
        self.trace(call, true, summary, repeated);
    }

    pub(super) fn trace(
        &mut self,
        key: Option<CallKey>,
        sent: bool,
        summary: &Summary,
        repeated: bool,
    ) {
        // `Released` is the last that is heard of a key.
        let live = |key: &CallKey| self.calls.get(key).is_some_and(|call| !call.released);
        if self.config.trace
            && let Some(key) = key.filter(live)
        {
            self.tell(Event::Message {
                key,
                sent,
                summary: summary.clone(),
                repeated,
            });
        }
    }

    /// Carries steps out. `response` is what caused them, for `Deliver` and
    /// `TransmitAck`.
    pub(super) fn carry_out(
        &mut self,
        id: TransactionId,
        steps: &Steps,
        response: Option<&Response<'_>>,
    ) {
        for step in steps {
            match *step {
                Step::Transmit => self.transmit_stored(id),
                Step::TransmitTrying => self.transmit_trying(id),
                Step::TransmitAck => self.transmit_ack(id, response),
                Step::Arm(timer, delay) => self.arm_transaction(id, timer, delay),
                Step::Disarm(slot) => self.disarm_transaction(id, slot),
                Step::Deliver => self.deliver(id, response),
                Step::TimedOut => self.on_timed_out(id),
                Step::Finish => self.finish(id),
            }
        }
    }

    pub(super) fn arm_transaction(&mut self, id: TransactionId, timer: Timer, delay: Duration) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            let at = self.now.saturating_add(delay);
            let owner = Owner::Transaction(id);
            self.timers.arm(&mut transaction.alarms, owner, timer, at);
        }
    }

    pub(super) fn disarm_transaction(&mut self, id: TransactionId, slot: Slot) {
        if let Some(transaction) = self.transactions.get_mut(id) {
            self.timers.disarm(&mut transaction.alarms, slot);
        }
    }

    pub(super) fn transmit_stored(&mut self, id: TransactionId) {
        if !self.finds_way(id) {
            return;
        }
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let repeated = core::mem::replace(&mut transaction.was_sent, true);
        let (flow, call) = (transaction.flow, transaction.call);
        let (bytes, summary) = (transaction.message.to_vec(), transaction.summary.clone());
        if !bytes.is_empty() {
            self.transmit(flow, bytes, call, &summary, repeated);
        }
    }

    fn transmit_trying(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let Some(reply) = transaction.reply.as_deref() else {
            return;
        };
        let status = StatusCode::TRYING;
        let bytes = reply.start(status, status.phrase(), "").finish();
        transaction.store(bytes, Summary::Response(status, Method::Invite));
        self.transmit_stored(id);
    }

    /// Replaces a refused INVITE by its ACK and sends it.
    fn transmit_ack(&mut self, id: TransactionId, response: Option<&Response<'_>>) {
        let to = response.and_then(|response| {
            let view = response.core.view;
            view.first(crate::headers::HeaderName::To)
        });
        let Some((transaction, to)) = self.transactions.get_mut(id).zip(to) else {
            return;
        };
        let ack = ack_for_refusal(&transaction.message, to).unwrap_or_default();
        transaction.refused = core::mem::take(&mut transaction.message);
        transaction.store(ack, Summary::Request(Method::Ack));
        self.transmit_stored(id);
    }

    /// Forgets a transaction and tells its call.
    pub(super) fn finish(&mut self, id: TransactionId) {
        self.detach(id);
        if let Some(transaction) = self.transactions.remove(id) {
            self.timers.abandon(transaction.alarms.count());
        }
    }

    /// The call no longer needs this client transaction.
    pub(super) fn detach(&mut self, id: TransactionId) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let hold = core::mem::replace(&mut transaction.hold, Hold::None);
        let Some(key) = transaction.call else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&key) {
            match hold {
                Hold::None => return,
                Hold::Release => call.clients = call.clients.saturating_sub(1),
                Hold::Memory => call.lingers = call.lingers.saturating_sub(1),
            }
            self.release_if_done(key);
        }
    }

    /// Our INVITE was answered: from now on it keeps the call only in memory.
    pub(super) fn linger(&mut self, id: TransactionId, key: CallKey) {
        let transaction = self.transactions.get_mut(id);
        if let Some((transaction, call)) = transaction.zip(self.calls.get_mut(&key)) {
            transaction.hold = Hold::Memory;
            call.clients = call.clients.saturating_sub(1);
            call.lingers += 1;
        }
    }

    /// Starts a client transaction; `branch` is the one in `bytes`. With
    /// `Hold::Release` the call is not released before it is done.
    pub(super) fn start_client(
        &mut self,
        method: &Method,
        branch: &str,
        hop: impl Into<Hop>,
        bytes: Vec<u8>,
        call: Option<CallKey>,
        hold: Hold,
    ) -> TransactionId {
        let (hop, bytes, datagrams) = self.fit(hop.into(), bytes, branch);
        let Hop { flow, name } = hop;
        self.counters.long_requests += u64::from(datagrams.is_some());
        let reliable = flow.transport.is_reliable();
        let timers = self.config.timers;
        let (machine, steps) = match method {
            Method::Invite => {
                let (machine, steps) = ClientInvite::new(reliable, timers);
                (Machine::ClientInvite(machine), steps)
            }
            _ => {
                let (machine, steps) = Client::new(reliable, timers);
                (Machine::Client(machine), steps)
            }
        };
        client_key(branch.as_bytes(), method, &mut self.scratch);
        let summary = Summary::Request(method.clone());
        let mut transaction = Transaction::new(&self.scratch, machine, flow, summary);
        let named = name.is_some();
        transaction.call = call;
        transaction.name = name;
        transaction.datagrams = datagrams;
        transaction.message = bytes.into_boxed_slice();
        let held = call
            .and_then(|key| self.calls.get_mut(&key))
            .filter(|_| hold == Hold::Release);
        if let Some(call) = held {
            call.clients += 1;
            transaction.hold = hold;
        }
        let id = self.transactions.insert(transaction);
        self.carry_out(id, &steps, None);
        if named {
            self.arm_next_address(id);
        }
        id
    }

    /// Sends `bytes` as the answer of a server transaction.
    pub(super) fn answer(&mut self, id: TransactionId, status: StatusCode, bytes: Vec<u8>) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let (method, steps) = match &mut transaction.machine {
            Machine::ServerInvite(machine) => (Method::Invite, machine.on_answer(status)),
            Machine::Server(machine) => {
                let method = transaction.summary.method().clone();
                (method, machine.on_answer(status))
            }
            Machine::ClientInvite(_) | Machine::Client(_) => return,
        };
        if steps.is_empty() {
            return;
        }
        let accepted_invite = status.is_success() && method == Method::Invite;
        transaction.store(bytes, Summary::Response(status, method));
        if !status.is_provisional() {
            transaction.reply = None;
        }
        self.carry_out(id, &steps, None);
        // RFC 6026: the call repeats its 2xx, the transaction only absorbs.
        if let Some(transaction) = self.transactions.get_mut(id).filter(|_| accepted_invite) {
            transaction.message = Box::default();
        }
    }

    /// Answers a request for which no state is kept; the tag depends on the
    /// request alone, so that repetitions get the same one.
    pub(super) fn answer_statelessly(
        &mut self,
        reply: &ReplyHead,
        flow: Flow,
        (status, phrase): (StatusCode, &str),
        method: Method,
        fields: &[(&str, &str)],
    ) {
        let mut tag = String::with_capacity(NO_DIALOG.len() + 16);
        tag.push_str(NO_DIALOG);
        random::push_hex(&mut tag, self.random.keyed(reply.as_bytes()));
        let mut writer = reply.start(status, phrase, &tag);
        for (name, value) in fields {
            writer.field_raw(name, value.as_bytes());
        }
        writer.field_raw("Server", self.config.product.as_bytes());
        let summary = Summary::Response(status, method);
        self.transmit(flow, writer.finish(), None, &summary, false);
    }

    /// Via of a new request.
    pub(super) fn via(&self, flow: &Flow, branch: &str) -> String {
        let host_port = self.config.host_port(flow);
        let transport = flow.transport;
        format!("SIP/2.0/{transport} {host_port};branch={branch};rport")
    }

    /// Our Contact on a flow.
    pub(super) fn contact(&self, flow: &Flow) -> String {
        self.contact_of(&self.config.contact_user, flow)
    }

    /// Our Contact in a dialog: `sips:` in one that is secure (RFC 3261 §8.1.1.8,
    /// §12.1.1). Over anything but TLS nobody would find us by that.
    pub(super) fn contact_in(&self, dialog: &Dialog, flow: &Flow) -> String {
        if dialog.secure && flow.transport == Transport::Tls {
            let user = &self.config.contact_user;
            return format!("<sips:{user}@{}>", self.config.host_port(flow));
        }
        self.contact(flow)
    }

    pub(super) fn contact_of(&self, user: &str, flow: &Flow) -> String {
        let host_port = self.config.host_port(flow);
        if flow.transport.is_reliable() {
            let transport = flow.transport.parameter();
            format!("<sip:{user}@{host_port};transport={transport}>")
        } else {
            format!("<sip:{user}@{host_port}>")
        }
    }
}
