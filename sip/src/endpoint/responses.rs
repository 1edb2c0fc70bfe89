//! Incoming responses and what became of our requests.

use super::Endpoint;
use crate::event::{Summary, TransferOutcome};
use crate::message::{Response, StatusCode};
use crate::parse::View;
use crate::timers::Slot;
use crate::transaction::{Machine, TransactionId, client_key};
use crate::transport::Flow;

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
        let (key, named) = (transaction.call, transaction.name.is_some());
        if named {
            self.disarm_transaction(id, Slot::Again);
        }
        let summary = Summary::Response(response.status, core.cseq.method.clone());
        self.trace(key, false, &summary, steps.is_empty());
        self.carry_out(id, &steps, Some(response));
    }

    /// A response for the transaction's user.
    pub(super) fn deliver(&mut self, id: TransactionId, response: Option<&Response<'_>>) {
        let Some((transaction, response)) = self.transactions.get_mut(id).zip(response) else {
            return;
        };
        let refused = core::mem::take(&mut transaction.refused);
        let is_invite = matches!(transaction.machine, Machine::ClientInvite(_));
        let (call, trunk) = (transaction.call, transaction.trunk);
        let challenged = matches!(
            response.status,
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        );
        if challenged && self.prove(id, response, &refused) {
            return;
        }
        if response.status == StatusCode::SERVER_INTERNAL_ERROR && self.overtaken(id) {
            return;
        }
        if is_invite && call.is_some_and(|key| self.ask_longer(key, id, response, &refused)) {
            return;
        }
        if response.status == StatusCode::SERVICE_UNAVAILABLE && self.refused_there(id, &refused) {
            return;
        }
        match (call, trunk) {
            (Some(key), _) if self.is_change(key, id) => self.on_change_response(key, id, response),
            (Some(key), _) if self.is_transfer(key, id) => {
                self.on_transfer_response(key, id, response);
            }
            (Some(key), _) if is_invite => self.on_invite_response(key, id, response),
            (_, Some(key)) if !response.status.is_provisional() => {
                self.on_trunk_response(key, id, response);
            }
            _ if !response.status.is_provisional() => self.detach(id),
            _ => {}
        }
    }

    /// Nobody answered; `Finish` follows.
    pub(super) fn on_timed_out(&mut self, id: TransactionId) {
        self.counters.timeouts += 1;
        self.on_unanswered(id, StatusCode::REQUEST_TIMEOUT);
    }

    fn on_unanswered(&mut self, id: TransactionId, status: StatusCode) {
        let Some(transaction) = self.transactions.get(id) else {
            return;
        };
        match (&transaction.machine, transaction.call, transaction.trunk) {
            (_, Some(key), _) if self.is_change(key, id) => self.on_change_unanswered(key),
            (_, Some(key), _) if self.is_transfer(key, id) => {
                self.end_transfer(key, TransferOutcome::Refused(status));
            }
            (Machine::ClientInvite(_), Some(key), _) if self.is_left(key, id) => {
                self.forget_left(key, id);
            }
            (Machine::ClientInvite(_), Some(key), _) => self.on_invite_unanswered(key, status),
            (Machine::Client(_), _, Some(key)) => self.on_trunk_unanswered(key, id, status),
            _ => {}
        }
    }

    /// Requests that wait for an answer over a connection that is no more are
    /// answered by a 503 of ours (RFC 3261 §8.1.3.1, §17.1.4).
    pub(super) fn on_unreachable(&mut self, flow: &Flow) {
        self.counters.unreachable += 1;
        for id in self.transactions.awaiting(flow.transport, flow.remote) {
            let awaits = self
                .transactions
                .get(id)
                .is_some_and(|found| match &found.machine {
                    Machine::ClientInvite(machine) => machine.is_unanswered(),
                    Machine::Client(machine) => machine.is_unanswered(),
                    Machine::ServerInvite(_) | Machine::Server(_) => false,
                });
            if awaits && !self.fall_back(id) {
                self.on_unanswered(id, StatusCode::SERVICE_UNAVAILABLE);
                self.finish(id);
            }
        }
    }
}
