//! All live transactions: found by wire key or by id, bounded by the endpoint.

use core::net::SocketAddr;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Machine;
use crate::call::CallKey;
use crate::digest::Taken;
use crate::event::Summary;
use crate::headers::Via;
use crate::headers::is_rfc3261_branch;
use crate::message::{Core, Method};
use crate::timers::Alarms;
use crate::transport::{Flow, Hop, HostName, Transport};
use crate::trunk::TrunkKey;
use crate::write::ReplyHead;

/// Names one transaction; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransactionId(u64);

/// How a call depends on a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not at all.
    None,
    /// The application is not told of the release before it is done.
    Release,
    /// An answered INVITE: the call is remembered, because further answers may
    /// come, but the application has no part in that.
    Memory,
}

/// One transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) machine: Machine,
    /// Where its messages go.
    pub(crate) flow: Flow,
    /// Of a client: the name that says better where they go.
    pub(crate) name: Option<Box<HostName>>,
    /// Where its dialog came from, which serves where the name leads nowhere.
    source: SocketAddr,
    /// The flow is by its name.
    pub(crate) found: bool,
    /// The call it works for.
    pub(crate) call: Option<CallKey>,
    /// The trunk whose registration or health it asks for.
    pub(crate) trunk: Option<TrunkKey>,
    /// An INVITE of ours that was refused, until its call has heard of it.
    pub(crate) refused: Box<[u8]>,
    /// It was sent again already, since a later request had overtaken it.
    pub(crate) sent_again: bool,
    /// What its request was asked to prove so far.
    pub(crate) taken: Taken,
    /// The message that is repeated: our request, or our last answer.
    pub(crate) message: Box<[u8]>,
    /// What that message is (of a server before its first answer: what it is to answer).
    pub(crate) summary: Summary,
    /// The message went out at least once.
    pub(crate) was_sent: bool,
    /// Of a client: how its call depends on it.
    pub(crate) hold: Hold,
    /// What answers repeat of the request, while answers are still to come.
    pub(crate) reply: Option<Box<ReplyHead>>,
    /// Of a client that went by TCP for its length: the way of datagrams.
    pub(crate) datagrams: Option<Box<Hop>>,
    /// For an INVITE server: names the request over all its paths (RFC 3261 §8.2.2.2).
    pub(crate) merge_key: Option<Arc<[u8]>>,
    pub(crate) alarms: Alarms,
    key: Arc<[u8]>,
}

impl Transaction {
    pub(crate) fn new(key: &[u8], machine: Machine, flow: Flow, summary: Summary) -> Self {
        Self {
            machine,
            flow,
            name: None,
            source: flow.remote,
            found: false,
            call: None,
            trunk: None,
            refused: Box::default(),
            sent_again: false,
            taken: Taken::default(),
            message: Box::default(),
            summary,
            was_sent: false,
            hold: Hold::None,
            reply: None,
            datagrams: None,
            merge_key: None,
            alarms: Alarms::default(),
            key: key.into(),
        }
    }

    /// Where it was to go.
    pub(crate) fn hop(&self) -> Hop {
        let flow = Flow {
            remote: self.source,
            ..self.flow
        };
        let name = self.name.clone();
        Hop { flow, name }
    }

    /// Replaces the message that is repeated.
    pub(crate) fn store(&mut self, message: Vec<u8>, summary: Summary) {
        self.message = message.into_boxed_slice();
        self.summary = summary;
        self.was_sent = false;
    }
}

/// The table. Keys come from the wire, so the maps use the standard library's
/// randomly keyed hash; their order is never looked at.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Numbers are ours, keys are the peers' and hashed so that they cannot collide.
    /// Boxed, so that room once needed for a peak is small.
    by_id: HashMap<TransactionId, Box<Transaction>, RandomState>,
    by_key: HashMap<Arc<[u8]>, TransactionId>,
    merges: HashMap<Arc<[u8]>, TransactionId>,
    last_id: u64,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn insert(&mut self, transaction: Transaction) -> TransactionId {
        self.last_id += 1;
        let id = TransactionId(self.last_id);
        self.by_key.insert(transaction.key.clone(), id);
        if let Some(merge_key) = &transaction.merge_key {
            self.merges.insert(merge_key.clone(), id);
        }
        self.by_id.insert(id, Box::new(transaction));
        id
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<TransactionId> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn is_merged(&self, merge_key: &[u8]) -> bool {
        self.merges.contains_key(merge_key)
    }

    pub(crate) fn get(&self, id: TransactionId) -> Option<&Transaction> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: TransactionId) -> Option<&mut Transaction> {
        self.by_id.get_mut(&id).map(Box::as_mut)
    }

    /// Client transactions that wait for an answer from there.
    pub(crate) fn awaiting(&self, transport: Transport, remote: SocketAddr) -> Vec<TransactionId> {
        let waits = |found: &Transaction| {
            let path = found.flow.transport == transport && found.flow.remote == remote;
            path && matches!(found.machine, Machine::ClientInvite(_) | Machine::Client(_))
        };
        let mut ids: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, found)| waits(found))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn remove(&mut self, id: TransactionId) -> Option<Box<Transaction>> {
        let transaction = self.by_id.remove(&id)?;
        self.by_key.remove(&transaction.key);
        if let Some(merge_key) = &transaction.merge_key {
            self.merges.remove(merge_key);
        }
        Some(transaction)
    }
}

/// Key of a server transaction: branch and sent-by of the topmost Via plus the
/// method, where ACK counts as INVITE (RFC 3261 §17.2.3). Without a proper
/// branch the values of RFC 2543 are taken; the To tag is left out of them
/// because the ACK has one and the INVITE has none.
pub(crate) fn server_key(core: &Core<'_>, method: &Method, key: &mut Vec<u8>) {
    if !server_key_by_via(&core.via, method, key) {
        push(key, core.call_id.as_bytes());
        push(key, core.from_tag().as_bytes());
        key.extend_from_slice(&core.cseq.number.to_be_bytes());
    }
}

/// What Via and method give of that key; says whether it is all of it.
pub(crate) fn server_key_by_via(via: &Via<'_>, method: &Method, key: &mut Vec<u8>) -> bool {
    let method = match method {
        Method::Ack => &Method::Invite,
        other => other,
    };
    key.clear();
    key.push(b'S');
    push(key, method.as_str().as_bytes());
    push(key, via.host);
    key.extend_from_slice(&via.port.unwrap_or(0).to_be_bytes());
    let branch = via.branch().unwrap_or_default();
    push(key, branch);
    is_rfc3261_branch(branch)
}

/// Key of a client transaction: our branch and the CSeq method.
pub(crate) fn client_key(branch: &[u8], method: &Method, key: &mut Vec<u8>) {
    key.clear();
    key.push(b'C');
    push(key, method.as_str().as_bytes());
    push(key, branch);
}

/// A field and a byte that cannot be in it.
fn push(key: &mut Vec<u8>, field: &[u8]) {
    key.extend_from_slice(field);
    key.push(0);
}

/// Key over all paths of one INVITE: From tag, Call-ID, CSeq.
pub(crate) fn merge_key(core: &Core<'_>) -> Arc<[u8]> {
    let mut key = Vec::with_capacity(96);
    push(&mut key, core.from_tag().as_bytes());
    push(&mut key, core.call_id.as_bytes());
    key.extend_from_slice(&core.cseq.number.to_be_bytes());
    key.into()
}
