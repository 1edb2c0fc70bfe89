//! Requests that are too long for a datagram: by TCP where the peer takes it,
//! as datagrams where it does not (RFC 3261 §18.1.1).

use super::Endpoint;
use super::lines::Lines;
use crate::call::CallKey;
use crate::transaction::TransactionId;
use crate::transport::{Flow, Transport};
use crate::write::with_via;

/// Longest request that goes as a datagram where the path's limit is unknown.
const DATAGRAM_MAX: usize = 1300;
/// Peers without TCP that are remembered; beyond that it is tried anew.
const STREAMLESS_MAX: usize = 256;

impl Endpoint {
    /// The way of a request by its length, with its Via as the way asks; the way
    /// of datagrams as well if another one was chosen.
    pub(super) fn fit(
        &self,
        flow: Flow,
        bytes: Vec<u8>,
        branch: &str,
    ) -> (Flow, Vec<u8>, Option<Box<Flow>>) {
        let long = bytes.len() > DATAGRAM_MAX && flow.transport == Transport::Udp;
        if !long || self.streamless.contains(&flow.remote) {
            return (flow, bytes, None);
        }
        let mut all = self.config.streams.iter();
        let local = all.find_map(|beside| beside.stream_for(flow.local));
        let stream = local.map(|local| Flow {
            transport: Transport::Tcp,
            local,
            remote: flow.remote,
        });
        let with = stream.and_then(|stream| {
            let bytes = with_via(&bytes, &self.via(&stream, branch))?;
            Some((stream, bytes, Some(Box::new(flow))))
        });
        with.unwrap_or((flow, bytes, None))
    }

    /// The INVITE was too long for a datagram, and the peer wants what follows by a
    /// stream too (its Contact, or the first proxy, says so): the call goes on there.
    pub(super) fn follow_stream(&mut self, key: CallKey, id: TransactionId) {
        let moved = self.transactions.get(id);
        let Some(stream) = moved.and_then(|it| it.datagrams.as_ref().map(|_| it.flow)) else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&key)
            && call.dialog.asks_for(stream.transport)
        {
            call.flow = stream;
        }
    }

    /// Nobody takes TCP there: the request goes as a datagram after all. `false`:
    /// it was none that could.
    pub(super) fn fall_back(&mut self, id: TransactionId) -> bool {
        let call = self.transactions.get(id).and_then(|found| found.call);
        if call.is_some_and(|key| self.is_left(key, id)) {
            return false;
        }
        let Some(transaction) = self.transactions.get_mut(id) else {
            return false;
        };
        let Some(flow) = transaction.datagrams.take() else {
            return false;
        };
        if self.streamless.len() >= STREAMLESS_MAX {
            self.streamless.clear();
        }
        self.streamless.insert(flow.remote);
        transaction.flow = *flow;
        let request = transaction.message.clone();
        if self.send_again(id, &request, &[], &Lines::new()).is_none() {
            return false;
        }
        self.finish(id);
        true
    }
}
