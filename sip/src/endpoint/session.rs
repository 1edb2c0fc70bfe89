//! Session timers at work (RFC 4028), as the one who refreshes and the one who waits.

use super::Endpoint;
use crate::call::CallKey;
use crate::event::{EndCause, Event};
use crate::message::Response;
use crate::session::{Asked, MIN_SE, Session};
use crate::timers::{Slot, Timer};
use crate::write::Writer;

impl Endpoint {
    /// Lines by which a new INVITE asks for a session timer.
    pub(super) fn ask_session(&self, writer: &mut Writer) {
        if self.config.session_expires != 0 {
            writer.field("Session-Expires", self.config.session_expires);
            writer.field("Min-SE", MIN_SE);
        }
    }

    /// Grants what a request asked for, in its 2xx, and lets it run.
    pub(super) fn grant_session(&mut self, key: CallKey, asked: Asked, writer: &mut Writer) {
        let grant = asked.grant(self.config.session_expires);
        if let Some(grant) = grant {
            writer.field("Session-Expires", grant.value());
            if grant.is_required() {
                writer.field("Require", "timer");
            }
        }
        self.run_session(key, grant.map(|grant| grant.session));
    }

    /// The 2xx to a request of ours tells what was agreed.
    pub(super) fn agree_session(&mut self, key: CallKey, response: &Response<'_>) {
        let least = self.calls.get(&key).and_then(|call| call.session);
        let least = least.map_or(MIN_SE, |session| session.least);
        self.run_session(key, Session::agreed(&response.core, least));
    }

    fn run_session(&mut self, key: CallKey, session: Option<Session>) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.session = session;
        let Some(session) = session else {
            self.timers.disarm(&mut call.alarms, Slot::Session);
            return;
        };
        let timer = if session.ours {
            Timer::SessionRefresh
        } else {
            Timer::SessionExpired
        };
        self.arm_call(key, timer, session.due());
    }

    /// Half of the interval is over.
    pub(super) fn refresh_session(&mut self, key: CallKey) {
        let Some(session) = self.calls.get(&key).and_then(|call| call.session) else {
            return;
        };
        // Whatever comes of it, the session is looked at again.
        self.arm_call(key, Timer::SessionRefresh, session.due());
        self.refresh(key, session);
    }

    /// The peer should have refreshed by now.
    pub(super) fn expire_session(&mut self, key: CallKey) {
        self.counters.timeouts += 1;
        self.end_session(key);
    }

    /// The session is no more: BYE.
    pub(super) fn end_session(&mut self, key: CallKey) {
        self.send_bye(key, Some("SIP;cause=408;text=\"Session expired\""));
        let cause = EndCause::SessionExpired;
        self.close(key, Some(Event::Ended { key, cause }));
    }
}
