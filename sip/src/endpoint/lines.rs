//! Requests of ours that a peer wants otherwise: with a password, with other
//! seconds. They go out again as new requests of the same dialog.

use super::Endpoint;
use crate::call::Phase;
use crate::digest::{Covered, Refusal};
use crate::headers::HeaderName;
use crate::message::{Method, Response};
use crate::parse::{StartLine, View};
use crate::text;
use crate::transaction::{Hold, TransactionId};
use crate::transport::Hop;
use crate::trunk::TrunkKey;
use crate::write::{Reissue, reissue};

/// Lines that prove who we are.
const PROOFS: [HeaderName; 2] = [HeaderName::Authorization, HeaderName::ProxyAuthorization];

/// Header lines of ours.
pub(super) type Lines = Vec<(&'static str, String)>;

impl Endpoint {
    /// Answers a 401 or 407. `false`: it cannot be answered, so it stands.
    pub(super) fn prove(
        &mut self,
        id: TransactionId,
        response: &Response<'_>,
        refused: &[u8],
    ) -> bool {
        self.try_to_prove(id, response, refused).is_ok()
    }

    fn try_to_prove(
        &mut self,
        id: TransactionId,
        response: &Response<'_>,
        refused: &[u8],
    ) -> Result<(), Refusal> {
        let transaction = self.transactions.get(id).ok_or(Refusal::Unknown)?;
        let unwanted = |key| self.is_unwanted(key) || self.is_left(key, id);
        if transaction.call.is_some_and(unwanted) {
            return Err(Refusal::Unknown);
        }
        let mut taken = transaction.taken;
        let trunk = self.trunk_of(id).ok_or(Refusal::Unknown)?;
        let kept = self.trunks.get_mut(&trunk).ok_or(Refusal::Unknown)?;
        let login = kept.login.as_mut().ok_or(Refusal::Unknown)?;
        login.take(response.status, &response.core, &mut taken)?;
        let request = match refused {
            [] => transaction.message.clone(),
            invite => invite.into(),
        };
        let lines = self.proofs(trunk, &request);
        self.counters.challenged += 1;
        let again = self.send_again(id, &request, &PROOFS, &lines);
        let again = again.ok_or(Refusal::Unknown)?;
        if let Some(transaction) = self.transactions.get_mut(again) {
            transaction.taken = taken;
        }
        Ok(())
    }

    /// A request inside a call that a later one has overtaken is refused with
    /// 500 for its number (RFC 3261 §12.2.2): it goes out once more, unless the
    /// call is over meanwhile.
    pub(super) fn overtaken(&mut self, id: TransactionId) -> bool {
        let Some(transaction) = self.transactions.get(id) else {
            return false;
        };
        let again = match transaction.summary.method() {
            Method::Prack | Method::Info | Method::Refer | Method::Notify => true,
            Method::Update => transaction.call.is_some_and(|key| self.is_change(key, id)),
            _ => false,
        };
        let call = transaction.call.and_then(|key| self.calls.get(&key));
        let over = call.is_some_and(|call| matches!(call.phase, Phase::Ended));
        if !again || over || transaction.sent_again {
            return false;
        }
        let request = transaction.message.clone();
        let again = self.send_again(id, &request, &[], &Lines::new());
        if let Some(transaction) = again.and_then(|id| self.transactions.get_mut(id)) {
            transaction.sent_again = true;
        }
        again.is_some()
    }

    /// The trunk whose password a client transaction may use.
    fn trunk_of(&self, id: TransactionId) -> Option<TrunkKey> {
        let transaction = self.transactions.get(id)?;
        let call = transaction.call.and_then(|key| self.calls.get(&key));
        let named = transaction.trunk.or(call.and_then(|call| call.trunk));
        // A call that came in knows no trunk: the one at its address is asked.
        named.or_else(|| {
            let host = transaction.flow.remote.ip();
            let mut all = self.trunks.iter();
            all.find(|(_, kept)| kept.trunk.flow.remote.ip() == host)
                .map(|(key, _)| *key)
        })
    }

    /// Lines that prove who we are, for a request as it is written.
    pub(super) fn proofs(&mut self, trunk: TrunkKey, request: &[u8]) -> Lines {
        let client_nonce = self.random.tag();
        let login = self
            .trunks
            .get_mut(&trunk)
            .and_then(|kept| kept.login.as_mut());
        let view = View::read(request).ok();
        let Some((login, view)) = login.filter(|login| login.is_ready()).zip(view) else {
            return Lines::new();
        };
        let StartLine::Request { method, uri, .. } = view.start else {
            return Lines::new();
        };
        let covered = Covered {
            method: &text::decode(method),
            uri: &text::decode(uri),
            body: view.body().unwrap_or_default(),
        };
        let lines = login.lines(&covered, &client_nonce);
        lines
            .into_iter()
            .map(|line| (line.name, line.value))
            .collect()
    }

    /// Sends a request again under a new branch and number; what waited for
    /// the old transaction waits for the new one.
    pub(super) fn send_again(
        &mut self,
        id: TransactionId,
        request: &[u8],
        without: &[HeaderName],
        lines: &Lines,
    ) -> Option<TransactionId> {
        let hop = self.transactions.get(id)?.hop();
        self.send_again_by(id, hop, request, without, lines)
    }

    /// The same by another path.
    pub(super) fn send_again_by(
        &mut self,
        id: TransactionId,
        hop: Hop,
        request: &[u8],
        without: &[HeaderName],
        lines: &Lines,
    ) -> Option<TransactionId> {
        let transaction = self.transactions.get(id)?;
        let (call, trunk) = (transaction.call, transaction.trunk);
        let hold = match transaction.hold {
            Hold::None => Hold::None,
            // What it left behind only lingers; the call waits for the new one.
            Hold::Release | Hold::Memory => Hold::Release,
        };
        let method = match View::read(request).ok()?.start {
            StartLine::Request { method, .. } => Method::read(method)?,
            StartLine::Response { .. } => return None,
        };
        let cseq = self.next_number(call, trunk)?;
        let branch = self.random.branch();
        let change = Reissue {
            via: &self.via(&hop.flow, &branch),
            cseq,
            without,
            lines,
        };
        let bytes = reissue(request, &change)?;
        let again = self.start_client(&method, &branch, hop, bytes, call, hold);
        if let Some(transaction) = self.transactions.get_mut(again) {
            transaction.trunk = trunk;
        }
        self.succeed(id, again, &branch, cseq);
        let waits = self.transactions.get(id).map(|old| old.hold);
        if waits == Some(Hold::Release) {
            self.detach(id);
        }
        Some(again)
    }

    fn next_number(
        &mut self,
        call: Option<crate::call::CallKey>,
        trunk: Option<TrunkKey>,
    ) -> Option<u32> {
        match (call, trunk) {
            (Some(key), _) => Some(self.calls.get_mut(&key)?.dialog.next_cseq()),
            (None, Some(key)) => Some(self.trunks.get_mut(&key)?.next_cseq()),
            (None, None) => None,
        }
    }
}
