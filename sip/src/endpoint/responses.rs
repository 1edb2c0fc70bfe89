//! Incoming responses and what became of our requests.

use super::Endpoint;
use crate::event::Summary;
use crate::message::Response;
use crate::parse::View;
use crate::transaction::{Machine, TransactionId, client_key};

impl Endpoint {
    pub(super) fn on_response_view(&mut self, view: &View<'_>) {
        match Response::check(view) {
            Ok(response) => self.on_response(&response),
            Err(defect) => self.count_malformed(defect),
        }
    }

    fn on_response(&mut self, response: &Response<'_>) {
        let core = &response.core;
        let branch = core.via.branch().unwrap_or_default();
        client_key(branch, &core.cseq.method, &mut self.scratch);
        let found = self.transactions.find(&self.scratch);
        let Some(id) = found.filter(|_| !response.has_more_vias()) else {
            self.counters.stray_responses += 1;
            return;
        };
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        let steps = match &mut transaction.machine {
            Machine::ClientInvite(machine) => machine.on_response(response.status),
            Machine::Client(machine) => machine.on_response(response.status),
            Machine::ServerInvite(_) | Machine::Server(_) => return,
        };
        let key = transaction.call;
        let summary = Summary::Response(response.status, core.cseq.method.clone());
        self.trace(key, false, &summary, steps.is_empty());
        self.carry_out(id, &steps, Some(response));
    }

    /// A response for the transaction's user.
    pub(super) fn deliver(&mut self, id: TransactionId, response: Option<&Response<'_>>) {
        let Some((transaction, response)) = self.transactions.get(id).zip(response) else {
            return;
        };
        match (&transaction.machine, transaction.call) {
            (Machine::ClientInvite(_), Some(key)) => self.on_invite_response(key, id, response),
            (Machine::Client(_), _) if !response.status.is_provisional() => self.detach(id),
            _ => {}
        }
    }

    /// Nobody answered; `Finish` follows.
    pub(super) fn on_timed_out(&mut self, id: TransactionId) {
        self.counters.timeouts += 1;
        let Some(transaction) = self.transactions.get(id) else {
            return;
        };
        if let (Machine::ClientInvite(_), Some(key)) = (&transaction.machine, transaction.call) {
            self.on_invite_unanswered(key);
        }
    }
}
