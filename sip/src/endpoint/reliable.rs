//! Provisional answers that must arrive (RFC 3262), on both roles.

use super::Endpoint;
use crate::call::{Call, CallKey, EarlyOffer, FORKS_MAX, Fork, Next, Phase, Reinvite, Reliable};
use crate::event::{EndCause, Event};
use crate::headers::HeaderName;
use crate::message::{Method, Request, Response, StatusCode};
use crate::text;
use crate::timers::{Slot, Timer};
use crate::transaction::Hold;
use crate::transport::Flow;
use crate::write::ExtraHeader;

/// First numbers are below this, so that none ever wraps (RFC 3262 §3).
const FIRST_MAX: u32 = 1 << 30;

impl Call {
    /// Whether a 1xx of ours must be reliable: the caller wants all of them so,
    /// or it can and this one carries SDP.
    pub(crate) fn must_be_reliable(&self, has_sdp: bool) -> bool {
        self.abilities.reliable_only || (self.abilities.reliable && has_sdp)
    }
}

impl Endpoint {
    /// Sends a 1xx that is repeated until its PRACK comes; while one waits for
    /// that, the latest further one is kept back.
    pub(super) fn ring_reliably(
        &mut self,
        key: CallKey,
        status: StatusCode,
        sdp: Option<&[u8]>,
        headers: &[ExtraHeader],
    ) -> Option<()> {
        let call = self.calls.get_mut(&key)?;
        if let Some(reliable) = &mut call.reliable {
            let keeps = match &reliable.next {
                Some(Next::Ring(_, waiting, _)) => waiting.is_some() && sdp.is_none(),
                Some(Next::Accept(..)) => true,
                None => false,
            };
            if !keeps {
                reliable.next = Some(Next::Ring(
                    status,
                    sdp.map(<[u8]>::to_vec),
                    headers.to_vec(),
                ));
            }
            return Some(());
        }
        let Phase::Offered { invite, .. } = call.phase else {
            return None;
        };
        // One answer is enough; what follows it carries none.
        let sdp = sdp.filter(|_| !call.agreed_early);
        let number = match call.last_reliable {
            0 => 1 + self.random.below(FIRST_MAX),
            last => last + 1,
        };
        let call = self.calls.get_mut(&key)?;
        call.last_reliable = number;
        let gap = self.config.timers.t1;
        call.reliable = Some(Box::new(Reliable {
            number,
            has_sdp: sdp.is_some(),
            gap,
            next: None,
        }));
        let mut writer = self.dialog_answer(key, invite, status)?;
        writer.field("Require", "100rel");
        writer.field("RSeq", number);
        writer.extra(headers);
        self.answer(invite, status, writer.finish_sdp(sdp));
        self.arm_call(key, Timer::ReliableRepeat, gap);
        let patience = self.config.timers.patience();
        self.arm_call(key, Timer::ReliableUnanswered, patience);
        Some(())
    }

    pub(super) fn repeat_reliable(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Phase::Offered { invite, .. } = call.phase else {
            return;
        };
        if let Some(reliable) = &mut call.reliable {
            reliable.gap *= 2;
            let gap = reliable.gap;
            self.transmit_stored(invite);
            self.arm_call(key, Timer::ReliableRepeat, gap);
        }
    }

    /// No PRACK in 64*T1: the INVITE is refused (RFC 3262 §3).
    pub(super) fn give_up_on_prack(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        if let Phase::Offered { invite, .. } = call.phase {
            let tag = call.dialog.local_tag.clone();
            self.counters.timeouts += 1;
            self.refuse_tagged(invite, StatusCode::SERVER_TIMEOUT, &tag, &[]);
            let cause = EndCause::PrackTimeout;
            self.close(key, Some(Event::Ended { key, cause }));
        }
    }

    pub(super) fn on_prack(&mut self, flow: &Flow, request: &Request<'_>, key: Option<CallKey>) {
        let Some(key) = key else {
            return self.answer_unknown_dialog(flow, request);
        };
        let Some(id) = self.open_in_order(flow, request, key) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let named = rack(request);
        let expected = match (&call.reliable, &call.phase) {
            (Some(reliable), Phase::Offered { cseq, .. }) => Some((reliable.number, *cseq)),
            _ => None,
        };
        if named.is_none() || named != expected {
            return self.refuse(id, StatusCode::CALL_DOES_NOT_EXIST, &[]);
        }
        let Some(reliable) = call.reliable.take() else {
            return;
        };
        self.timers.disarm(&mut call.alarms, Slot::Repeat);
        self.timers.disarm(&mut call.alarms, Slot::Limit);
        let answers = call.late_offer && reliable.has_sdp && !call.agreed_early;
        call.agreed_early |= reliable.has_sdp;
        let may_offer = call.agreed_early && call.reinvite.is_none();
        let sdp = request.core.sdp().map(<[u8]>::to_vec);
        match sdp {
            Some(sdp) if answers => {
                self.refuse(id, StatusCode::OK, &[]);
                self.tell(Event::EarlyAnswer { key, sdp });
            }
            // A change before the answer: the 200 to PRACK carries what we say
            // to it (RFC 3262 §5).
            Some(sdp) if may_offer => {
                call.reinvite = Some(Reinvite {
                    invite: id,
                    cseq: request.core.cseq.number,
                    late_offer: false,
                    update: true,
                });
                let offer = Some(sdp);
                self.tell(Event::Reinvite { key, offer });
            }
            // The offer of the INVITE is not answered yet (RFC 3261 §13.2.1).
            Some(_) => self.refuse(id, StatusCode::NOT_ACCEPTABLE_HERE, &[]),
            None => self.refuse(id, StatusCode::OK, &[]),
        }
        match reliable.next {
            Some(Next::Ring(status, sdp, headers)) => {
                self.ring(key, status, sdp.as_deref(), &headers);
            }
            Some(Next::Accept(sdp, headers)) => {
                self.accept(key, &sdp, &headers);
            }
            None => {}
        }
    }

    /// Acknowledges a reliable 1xx. `false`: it repeats an earlier one, or one
    /// before it is missing, so nothing is told of it.
    pub(super) fn on_reliable(&mut self, key: CallKey, response: &Response<'_>) -> bool {
        let Some(number) = response.reliable_number() else {
            return true;
        };
        let tag = response.core.to_tag();
        let Some(fork) = self.fork_mut(key, tag) else {
            return true;
        };
        let next = fork
            .number
            .is_none_or(|last| number == last.wrapping_add(1));
        if !next {
            return false;
        }
        fork.number = Some(number);
        if response.core.sdp().is_some() && fork.offer == EarlyOffer::Open {
            fork.offer = EarlyOffer::Answered;
        }
        fork.cseq += 1;
        let cseq = fork.cseq;
        self.send_prack(key, response, (number, cseq));
        true
    }

    fn send_prack(&mut self, key: CallKey, response: &Response<'_>, (number, cseq): (u32, u32)) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let flow = call.flow;
        let dialog = call.dialog.branch(response);
        let branch = self.random.branch();
        let via = self.via(&flow, &branch);
        let mut writer = dialog.request(&Method::Prack, cseq, &via);
        let invite = response.core.cseq.number;
        writer.field("RAck", format_args!("{number} {invite} INVITE"));
        writer.field("User-Agent", &self.config.product);
        let next = dialog.next_hop(&flow);
        let bytes = writer.finish();
        let method = Method::Prack;
        self.start_client(&method, &branch, next, bytes, Some(key), Hold::Release);
    }

    /// SDP of an answer to our INVITE, unless the branch has changed since what it
    /// answers (RFC 3261 §13.2.1: what comes after the answer is ignored).
    pub(super) fn fresh_sdp(&self, key: CallKey, response: &Response<'_>) -> Option<Vec<u8>> {
        let tag = response.core.to_tag();
        let call = self.calls.get(&key)?;
        let fork = call.forks.iter().find(|fork| *fork.tag == *tag);
        let replaced = fork.is_some_and(|fork| fork.offer == EarlyOffer::Replaced);
        response
            .core
            .sdp()
            .filter(|_| !replaced)
            .map(<[u8]>::to_vec)
    }

    /// The branch of a forked call with this tag; `None` beyond the limit.
    pub(super) fn fork_mut(&mut self, key: CallKey, tag: &str) -> Option<&mut Fork> {
        let call = self.calls.get_mut(&key)?;
        let cseq = call.dialog.local_cseq;
        let known = call.forks.iter().position(|fork| *fork.tag == *tag);
        if known.is_none() && call.forks.len() < FORKS_MAX && !tag.is_empty() {
            call.forks.push(Fork {
                tag: tag.into(),
                number: None,
                cseq,
                remote_cseq: None,
                offer: EarlyOffer::Open,
            });
            return call.forks.last_mut();
        }
        call.forks.get_mut(known?)
    }
}

/// `RAck: 776656 1 INVITE` as the two numbers.
fn rack(request: &Request<'_>) -> Option<(u32, u32)> {
    let value = request.core.view.first(HeaderName::RAck)?;
    let mut words = value
        .split(|byte| text::is_blank(*byte))
        .filter(|word| !word.is_empty());
    let mut number = || u32::try_from(text::decimal(words.next()?)?).ok();
    let numbers = (number()?, number()?);
    (words.next() == Some(b"INVITE")).then_some(numbers)
}
