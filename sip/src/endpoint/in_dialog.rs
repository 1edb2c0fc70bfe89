//! Requests of the peer inside a dialog: BYE and re-INVITE.

use super::Endpoint;
use super::callee::body_refusal;
use super::send::SUPPORTED;
use crate::call::{CallKey, EarlyOffer, Phase, Reinvite};
use crate::command::ReinviteAnswer;
use crate::dialog::Sequence;
use crate::event::{EndCause, Event};
use crate::headers::HeaderName;
use crate::message::{Core, Method, Request, StatusCode};
use crate::session::{Asked, MIN_SE};
use crate::transaction::TransactionId;
use crate::transport::Flow;

/// Longest INFO body that the application is told of.
const INFO_MAX: usize = 1024;

/// A re-INVITE that comes too early is told to wait up to this many seconds
/// (RFC 3261 §14.2).
const RETRY_MAX: u32 = 10;

impl Endpoint {
    pub(super) fn on_bye(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let core = &request.core;
        let Some(key) = key.or_else(|| self.find_unanswered(core)) else {
            return self.answer_unknown_dialog(flow, request);
        };
        let ended = self.calls.get(&key).is_none_or(|call| call.is_ended());
        let Some(id) = self.open_in_order(flow, request, key) else {
            return;
        };
        self.refuse(id, StatusCode::OK, &[]);
        if ended {
            return;
        }
        let reason = core.text(HeaderName::Reason);
        self.drop_invites(key);
        let cause = EndCause::RemoteBye { reason };
        self.close(key, Some(Event::Ended { key, cause }));
    }

    /// An outgoing call whose 2xx was lost so often that the callee gave up:
    /// its BYE has our tag but a tag that we may not have heard yet.
    fn find_unanswered(&self, core: &Core<'_>) -> Option<CallKey> {
        let key = *self.dialogs.get(core.to_tag())?;
        let call = self.calls.get(&key)?;
        let calling = matches!(call.phase, Phase::Calling(_));
        let tag = core.from_tag();
        let only_branch = call.forks.iter().all(|fork| *fork.tag == *tag);
        let ours = calling && only_branch && *call.dialog.call_id == *core.call_id;
        ours.then_some(key)
    }

    /// INVITE transactions that a BYE makes pointless: ours is forgotten, the
    /// peer's is answered with 487 (RFC 3261 §15.1.2).
    fn drop_invites(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let tag = call.dialog.local_tag.clone();
        match call.phase {
            Phase::Offered { invite, .. } => {
                self.refuse_tagged(invite, StatusCode::REQUEST_TERMINATED, &tag, &[]);
            }
            Phase::Calling(ref calling) => {
                let invite = calling.invite;
                if let Some(call) = self.calls.get_mut(&key) {
                    call.phase = Phase::Established;
                }
                self.finish(invite);
            }
            Phase::Established | Phase::Ended => {}
        }
    }

    /// Opens the transaction of an in-dialog request; one whose CSeq is not
    /// above the last is answered with 500 instead.
    pub(super) fn open_in_order(
        &mut self,
        flow: &Flow,
        request: &Request<'_>,
        key: CallKey,
    ) -> Option<TransactionId> {
        if self.is_full() && !self.is_the_end(request, key) {
            self.refuse_by_limit(flow, request);
            return None;
        }
        let id = self.open_server(flow, request, None);
        if let Some(transaction) = self.transactions.get_mut(id) {
            transaction.call = Some(key);
        }
        let call = self.calls.get_mut(&key)?;
        let number = request.core.cseq.number;
        let last = call.remote_cseq(request.core.from_tag());
        match Sequence::of(number, *last) {
            Sequence::InOrder => {
                *last = Some(number);
                Some(id)
            }
            Sequence::OutOfOrder => {
                self.counters.out_of_order += 1;
                self.refuse(id, StatusCode::SERVER_INTERNAL_ERROR, &[]);
                None
            }
        }
    }

    /// A BYE that ends a call makes room; the peer would not say it again after a 503.
    fn is_the_end(&mut self, request: &Request<'_>, key: CallKey) -> bool {
        let call = self.calls.get_mut(&key).filter(|call| !call.is_ended());
        let core = &request.core;
        let last = call.map(|call| *call.remote_cseq(core.from_tag()));
        let next = |last| Sequence::of(core.cseq.number, last) == Sequence::InOrder;
        request.method == Method::Bye && last.is_some_and(next)
    }

    /// A change of a call that we know, in order and in terms that we understand;
    /// `None`: it has its answer.
    fn open_change(
        &mut self,
        flow: &Flow,
        request: &Request<'_>,
        key: Option<CallKey>,
    ) -> Option<(CallKey, TransactionId)> {
        let Some(key) = key else {
            self.answer_unknown_dialog(flow, request);
            return None;
        };
        let id = self.open_in_order(flow, request, key)?;
        let unsupported = request.unsupported(SUPPORTED);
        if !unsupported.is_empty() {
            let list = unsupported.join(", ");
            let field = ("Unsupported", list.as_str());
            self.refuse(id, StatusCode::BAD_EXTENSION, &[field]);
            return None;
        }
        if let Some(field) = body_refusal(request) {
            self.refuse(id, StatusCode::UNSUPPORTED_MEDIA_TYPE, &[field]);
            return None;
        }
        Some((key, id))
    }

    pub(super) fn on_reinvite(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some((key, id)) = self.open_change(flow, request, key) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        match call.phase {
            Phase::Ended => return self.refuse(id, StatusCode::CALL_DOES_NOT_EXIST, &[]),
            Phase::Calling(_) => return self.refuse(id, StatusCode::REQUEST_PENDING, &[]),
            Phase::Offered { .. } => return self.refuse_for_now(id),
            Phase::Established => {}
        }
        if call.change.is_some() {
            self.counters.glare += 1;
            return self.refuse(id, StatusCode::REQUEST_PENDING, &[]);
        }
        if call.reinvite.is_some() || call.unconfirmed.is_some() {
            return self.refuse_for_now(id);
        }
        let asked = Asked::read(request);
        if asked.is_too_short() {
            let least = MIN_SE.to_string();
            let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
            return self.refuse(id, status, &[("Min-SE", &least)]);
        }
        call.asked_session = Some(asked);
        call.dialog.refresh_target(&request.core);
        let offer = request.core.sdp().map(<[u8]>::to_vec);
        call.reinvite = Some(Reinvite {
            invite: id,
            cseq: request.core.cseq.number,
            late_offer: offer.is_none(),
            update: false,
        });
        self.tell(Event::Reinvite { key, offer });
    }

    /// UPDATE (RFC 3311): without SDP it refreshes session and target, with SDP
    /// it is a change that needs no ACK and may come before the answer.
    pub(super) fn on_update(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some((key, id)) = self.open_change(flow, request, key) else {
            return;
        };
        let asked = Asked::read(request);
        if asked.is_too_short() {
            let least = MIN_SE.to_string();
            let status = StatusCode::SESSION_INTERVAL_TOO_SMALL;
            return self.refuse(id, status, &[("Min-SE", &least)]);
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let offer = request.core.sdp().map(<[u8]>::to_vec);
        let has_offer = offer.is_some();
        let tag = request.core.from_tag();
        let mut forks = call.forks.iter();
        let fork = forks.position(|fork| *fork.tag == *tag && fork.offer != EarlyOffer::Open);
        match call.phase {
            Phase::Ended => return self.refuse(id, StatusCode::CALL_DOES_NOT_EXIST, &[]),
            // Our own offer is not answered yet (RFC 3311 §5.2).
            Phase::Calling(_) if has_offer && fork.is_none() => {
                return self.refuse(id, StatusCode::REQUEST_PENDING, &[]);
            }
            Phase::Offered { .. } if has_offer && !call.agreed_early => {
                return self.refuse_for_now(id);
            }
            Phase::Calling(_) | Phase::Offered { .. } | Phase::Established => {}
        }
        if has_offer && call.change.is_some() {
            self.counters.glare += 1;
            return self.refuse(id, StatusCode::REQUEST_PENDING, &[]);
        }
        if has_offer && (call.reinvite.is_some() || call.unconfirmed.is_some()) {
            return self.refuse_for_now(id);
        }
        call.dialog.refresh_target(&request.core);
        if !has_offer {
            return self.answer_refresh(key, id, asked);
        }
        if call.is_established() {
            call.asked_session = Some(asked);
        }
        if let Some(fork) = fork.and_then(|at| call.forks.get_mut(at)) {
            fork.offer = EarlyOffer::Replaced;
        }
        call.reinvite = Some(Reinvite {
            invite: id,
            cseq: request.core.cseq.number,
            late_offer: false,
            update: true,
        });
        self.tell(Event::Reinvite { key, offer });
    }

    fn answer_refresh(&mut self, key: CallKey, id: TransactionId, asked: Asked) {
        let established = self
            .calls
            .get(&key)
            .is_some_and(|call| call.is_established());
        let Some(mut writer) = self.dialog_answer(key, id, StatusCode::OK) else {
            return;
        };
        if established {
            self.grant_session(key, asked, &mut writer);
        }
        self.answer(id, StatusCode::OK, writer.finish());
    }

    /// INFO is answered whatever it holds; the application may know it.
    pub(super) fn on_info(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some(key) = key else {
            return self.answer_unknown_dialog(flow, request);
        };
        let Some(id) = self.open_in_order(flow, request, key) else {
            return;
        };
        let live = self.calls.get(&key).is_some_and(|call| !call.is_ended());
        if !live {
            return self.refuse(id, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        self.refuse(id, StatusCode::OK, &[]);
        let core = &request.core;
        let kind = core.text(HeaderName::ContentType).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !core.body.is_empty() && core.body.len() <= INFO_MAX {
            self.tell(Event::Info {
                key,
                kind: kind.to_ascii_lowercase(),
                body: core.body.to_vec(),
            });
        }
    }

    /// MESSAGE inside a call: taken, and read by nobody.
    pub(super) fn on_message(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some(key) = key else {
            return self.answer_unknown_dialog(flow, request);
        };
        if let Some(id) = self.open_in_order(flow, request, key) {
            self.refuse(id, StatusCode::OK, &[]);
        }
    }

    /// Another INVITE of the peer is still being dealt with.
    fn refuse_for_now(&mut self, id: TransactionId) {
        let seconds = self.random.below(RETRY_MAX + 1).to_string();
        let field = ("Retry-After", seconds.as_str());
        self.refuse(id, StatusCode::SERVER_INTERNAL_ERROR, &[field]);
    }

    pub(super) fn answer_reinvite(&mut self, key: CallKey, answer: &ReinviteAnswer) -> Option<()> {
        let call = self.calls.get_mut(&key).filter(|call| !call.is_ended())?;
        if let ReinviteAnswer::Refuse(status) | ReinviteAnswer::RefuseFor(status, _) = answer
            && (status.is_provisional() || status.is_success())
        {
            return None;
        }
        let reinvite = call.reinvite.take()?;
        match answer {
            ReinviteAnswer::Refuse(status) => {
                self.refuse(reinvite.invite, *status, &[]);
                Some(())
            }
            ReinviteAnswer::RefuseFor(status, warning) => {
                self.refuse(reinvite.invite, *status, &[("Warning", warning)]);
                Some(())
            }
            ReinviteAnswer::Accept(sdp) => {
                let before = core::mem::replace(&mut call.local_sdp, sdp.as_slice().into());
                // Another way of a call that we place begins with the offer anew.
                if let Some(ways) = &mut call.ways {
                    ways.offer.get_or_insert(before);
                }
                // Before the answer it is the INVITE's, which waits for its own.
                let established = call.is_established();
                let asked = call.asked_session.take_if(|_| established);
                let mut writer = self.dialog_answer(key, reinvite.invite, StatusCode::OK)?;
                if let Some(asked) = asked {
                    self.grant_session(key, asked, &mut writer);
                }
                let bytes = writer.finish_sdp(Some(sdp));
                let Reinvite {
                    invite,
                    cseq,
                    late_offer,
                    update,
                } = reinvite;
                if update {
                    self.answer(invite, StatusCode::OK, bytes);
                    self.tell(Event::ReinviteConfirmed { key, sdp: None });
                    return Some(());
                }
                self.accept_invite(key, invite, bytes, cseq, late_offer)
            }
        }
    }
}
