//! Requests that are too long for a datagram: by TCP where the peer takes it,
//! as datagrams where it does not (RFC 3261 §18.1.1).

use super::Endpoint;
use super::lines::Lines;
use crate::call::CallKey;
use crate::transaction::TransactionId;
use crate::transport::{Flow, Hop, HostName, Transport};
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
        hop: Hop,
        bytes: Vec<u8>,
        branch: &str,
    ) -> (Hop, Vec<u8>, Option<Box<Hop>>) {
        let flow = hop.flow;
        let long = bytes.len() > DATAGRAM_MAX && flow.transport == Transport::Udp;
        if !long || self.streamless.contains(&flow.remote) {
            return (hop, bytes, None);
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
            let name = hop.name.clone().map(by_stream);
            Some((Hop { flow: stream, name }, bytes))
        });
        match with {
            Some((stream, bytes)) => (stream, bytes, Some(Box::new(hop))),
            None => (hop, bytes, None),
        }
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
        let again = self.send_as_datagram(id);
        if again {
            self.finish(id);
        }
        again
    }

    /// Nobody has said anything by TCP: what would refuse it does so at once, what
    /// drops it never does. A call tries datagrams before it goes elsewhere; its
    /// INVITE by TCP may still be answered.
    pub(super) fn leave_stream(&mut self, key: CallKey, invite: TransactionId) -> bool {
        let moved = self.transactions.get(invite);
        if moved.is_none_or(|transaction| transaction.datagrams.is_none()) {
            return false;
        }
        self.leave(invite, key);
        self.send_as_datagram(invite)
    }

    /// The peer takes TCP after all.
    pub(super) fn takes_streams(&mut self, flow: &Flow) {
        if flow.transport == Transport::Tcp {
            self.streamless.remove(&flow.remote);
        }
    }

    fn send_as_datagram(&mut self, id: TransactionId) -> bool {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return false;
        };
        let Some(hop) = transaction.datagrams.take() else {
            return false;
        };
        let request = transaction.message.clone();
        if self.streamless.len() >= STREAMLESS_MAX {
            self.streamless.clear();
        }
        self.streamless.insert(hop.flow.remote);
        let again = self.send_again_by(id, *hop, &request, &[], &Lines::new());
        again.is_some()
    }
}

/// A host may take streams elsewhere than datagrams (RFC 3263 §4.2).
fn by_stream(mut name: Box<HostName>) -> Box<HostName> {
    name.transport = Transport::Tcp;
    name
}
