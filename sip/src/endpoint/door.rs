//! Who is let in: strangers get the least, trunks that must prove who they are
//! get a question (RFC 3261 §22.2), and nobody new comes in while there is too
//! much to do. No state is kept for any of them.

use core::time::Duration;

use memchr::{memchr, memrchr};

use super::requests::readable_via;
use super::send::NO_DIALOG;
use super::{Endpoint, Sender};
use crate::command::Door;
use crate::digest::{Covered, Credentials, Doorkeeper, Verdict};
use crate::headers::HeaderName;
use crate::message::{Method, Request, StatusCode};
use crate::parse::{StartLine, View, first_line_of};
use crate::text;
use crate::transaction::server_key_by_via;
use crate::transport::Flow;
use crate::trunk::TrunkKey;
use crate::write::{ReplyHead, reply_flow};

/// Answers of one request that are looked at: one for each algorithm, to spare.
const ANSWERS_MAX: usize = 4;

/// One trunk's door.
#[derive(Debug)]
pub(super) struct Guarded {
    keeper: Doorkeeper,
    credentials: Credentials,
    md5_only: bool,
}

impl Endpoint {
    pub(super) fn guard(&mut self, key: TrunkKey, door: &Door) -> Option<()> {
        let secret = self.random.secret();
        let guarded = Guarded {
            keeper: Doorkeeper::new(&door.realm, secret),
            credentials: door.credentials.clone(),
            md5_only: door.md5_only,
        };
        self.doors.insert(key, Box::new(guarded));
        Some(())
    }

    /// Whether that was all: while there is too much to do an INVITE that begins a
    /// call gets its 503 before the rest of it is read. So it takes little time to
    /// refuse what there is no time for.
    pub(super) fn is_turned_back(&mut self, flow: &Flow, view: &View<'_>, sender: Sender) -> bool {
        let StartLine::Request { method, .. } = view.start else {
            return false;
        };
        self.overloaded
            && sender != Sender::Stranger
            && method == b"INVITE"
            && view.first(HeaderName::To).is_some_and(has_no_tag)
            && self.turn_back(flow, view)
    }

    /// Not one that was let in before, nor one that must be read further to know that.
    fn turn_back(&mut self, flow: &Flow, view: &View<'_>) -> bool {
        let Some(via) = view.first(HeaderName::Via).and_then(readable_via) else {
            return false;
        };
        let known = !server_key_by_via(&via, &Method::Invite, &mut self.scratch)
            || self.transactions.find(&self.scratch).is_some();
        if known || view.defect().is_some() {
            return false;
        }
        let reply = ReplyHead::from_unchecked(view, &via, flow);
        self.answer_no_room(&reply, reply_flow(&via, flow), Method::Invite);
        true
    }

    /// Whether a request that begins something goes on to those who serve it; if
    /// not it has its answer, or gets none. Inside dialogs, whose tags nobody can
    /// guess, anybody may speak; and take back its INVITE.
    pub(super) fn is_let_in(&mut self, flow: &Flow, request: &Request<'_>, sender: Sender) -> bool {
        let inside =
            request.method == Method::Cancel || self.dialogs.contains_key(request.core.to_tag());
        match sender {
            Sender::Known => true,
            _ if inside => true,
            Sender::Guarded(trunk) if self.doors.contains_key(&trunk) => {
                self.has_proven(flow, request, trunk)
            }
            Sender::Guarded(_) | Sender::Stranger => {
                self.turn_away(flow, request);
                false
            }
        }
    }

    fn turn_away(&mut self, flow: &Flow, request: &Request<'_>) {
        self.counters.refused_strangers += 1;
        let second = self.now.as_secs();
        if self.strangers.0 != second {
            self.strangers = (second, 0);
        }
        if self.strangers.1 >= self.config.strangers_per_second {
            self.counters.ignored_strangers += 1;
            return;
        }
        self.strangers.1 += 1;
        self.answer_plainly(flow, request, StatusCode::FORBIDDEN, &[]);
    }

    fn has_proven(&mut self, flow: &Flow, request: &Request<'_>, trunk: TrunkKey) -> bool {
        let now = self.now;
        let Some(door) = self.doors.get_mut(&trunk) else {
            return false;
        };
        match door.check(now, request) {
            Verdict::Welcome { .. } => true,
            Verdict::Wrong => {
                self.counters.wrong_passwords += 1;
                self.answer_plainly(flow, request, StatusCode::FORBIDDEN, &[]);
                false
            }
            verdict @ (Verdict::Ask | Verdict::AskAgain) => {
                let stale = verdict == Verdict::AskAgain;
                let questions: heapless::Vec<String, 2> = if door.md5_only {
                    [door.keeper.ask_plainly(now, stale)].into_iter().collect()
                } else {
                    door.keeper.ask(now, stale).into_iter().collect()
                };
                let fields = questions.iter().map(|it| ("WWW-Authenticate", it.as_str()));
                let fields: heapless::Vec<_, 2> = fields.collect();
                self.counters.asked += 1;
                self.counters.wrong_passwords += u64::from(stale);
                self.answer_plainly(flow, request, StatusCode::UNAUTHORIZED, &fields);
                false
            }
        }
    }
}

/// Whether a message is the ACK of an answer for which no state was kept. It asks for
/// nothing, so no more of it is read than that.
pub(super) fn ends_refusal(message: &[u8]) -> bool {
    message.starts_with(b"ACK ")
        && first_line_of(message, HeaderName::To).is_some_and(|to| {
            let last = memrchr(b';', to).and_then(|before| to.get(before + 1..));
            let tag = last.and_then(|last| last.strip_prefix(b"tag="));
            tag.is_some_and(|tag| tag.starts_with(NO_DIALOG.as_bytes()))
        })
}

/// Whether To surely has no tag: behind the address there is no parameter with a value.
fn has_no_tag(to: &[u8]) -> bool {
    let (_, behind) = text::split_at_first(to, b'>');
    memchr(b'=', behind.unwrap_or(to)).is_none()
}

impl Guarded {
    /// The best of all answers that a request carries.
    fn check(&mut self, now: Duration, request: &Request<'_>) -> Verdict {
        let StartLine::Request { method, uri, .. } = request.core.view.start else {
            return Verdict::Ask;
        };
        let covered = Covered {
            method: &text::decode(method),
            uri: &text::decode(uri),
            body: request.core.body,
        };
        let mut found = Verdict::Ask;
        let values = request.core.view.values(HeaderName::Authorization);
        for value in values.take(ANSWERS_MAX) {
            let password = |user: &str| {
                let credentials = &self.credentials;
                (user == credentials.user).then(|| credentials.password.clone())
            };
            match self.keeper.check(now, &covered, value, password) {
                Verdict::Ask => {}
                welcome @ Verdict::Welcome { .. } => return welcome,
                verdict @ (Verdict::AskAgain | Verdict::Wrong) => found = verdict,
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ack_of_an_answer_without_state_ends_at_the_door() {
        let ends = |method: &str, to: &str| {
            let text = format!("{method} sip:a@b SIP/2.0\r\nVia: x\r\n{to}\r\n\r\n");
            ends_refusal(text.as_bytes())
        };
        assert!(ends("ACK", "To: <sip:a@b>;tag=none-0123456789abcdef"));
        assert!(ends(
            "ACK",
            "t:\"A, B\" <sip:a@b>;x=y;tag=none-0123456789abcdef"
        ));
        assert!(!ends("BYE", "To: <sip:a@b>;tag=none-0123456789abcdef"));
        for to in [
            "To: <sip:a@b>;tag=0123456789abcdef",
            "To: <sip:a@b>;tag=0123456789abcdef;x=none-1",
            "From: <sip:a@b>;tag=none-0123456789abcdef",
            "To: <sip:a@b>\r\n\r\nTo: <sip:a@b>;tag=none-0123456789abcdef",
            "To",
        ] {
            assert!(!ends("ACK", to), "{to}");
        }
    }

    #[test]
    fn a_to_that_may_have_a_tag_is_read_further() {
        for to in ["<sip:a@b>", "sip:a@b", "\"A\" <sip:a@b;transport=udp>;x"] {
            assert!(has_no_tag(to.as_bytes()), "{to}");
        }
        for to in [
            "<sip:a@b>;tag=1",
            "<sip:a@b> ; TAG = 1",
            "sip:a@b;tag=1",
            "\">\" <sip:a@b>;tag=1;x=\">\"",
        ] {
            assert!(!has_no_tag(to.as_bytes()), "{to}");
        }
    }
}
