//! The bounded queue to signalling, and the orders that go into it.

use std::collections::VecDeque;

use offhook_core::input::Cause;
use offhook_sip::sdp::SdpFault;
use offhook_sip::{
    CallKey, Command, ExtraHeader, HangupReason, Invite, ReinviteAnswer, StatusCode, StoredDialog,
    TransferOrder, TransferTarget,
};
use tokio::sync::mpsc;

use crate::signalling::Order;
use crate::translate;

/// Seconds after which a refused caller may try again.
const RETRY_AFTER: u32 = 10;
/// How long a key is said to have been pressed.
const KEY_MS: u32 = 100;

/// Who warns (RFC 3261 §20.43: a name will do).
const AGENT: &str = "offhook";

/// Why a call or a change of it is refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// As everybody counts it.
    pub cause: Cause,
    /// Where the peer's SDP is the reason: what stands against it.
    pub fault: Option<SdpFault>,
}

impl From<Cause> for Refused {
    fn from(cause: Cause) -> Self {
        Self { cause, fault: None }
    }
}

impl From<SdpFault> for Refused {
    fn from(fault: SdpFault) -> Self {
        Self {
            cause: translate::refused(&fault),
            fault: Some(fault),
        }
    }
}

impl Refused {
    /// As the answer to a re-INVITE.
    pub fn to_reinvite(&self) -> ReinviteAnswer {
        match &self.fault {
            Some(fault) => ReinviteAnswer::RefuseFor(fault.status(), fault.warning(AGENT)),
            None => ReinviteAnswer::Refuse(translate::told(self.cause).status()),
        }
    }
}

/// The queue, with what it could not take yet.
pub struct Orders {
    sender: mpsc::Sender<Order>,
    waiting: VecDeque<Order>,
}

impl Orders {
    /// Orders go there.
    pub fn new(sender: mpsc::Sender<Order>) -> Self {
        Self {
            sender,
            waiting: VecDeque::new(),
        }
    }

    /// Sends what waits, as far as there is room. Nothing is dropped: what
    /// waits is bounded by the legs, each of which has a few orders at most.
    pub fn push(&mut self) {
        while let Some(order) = self.waiting.pop_front() {
            if let Err(refused) = self.sender.try_send(order) {
                self.waiting.push_front(refused.into_inner());
                return;
            }
        }
    }

    /// 180 to an incoming call.
    pub fn ring(&mut self, key: CallKey) {
        let (status, headers) = (StatusCode::RINGING, Vec::new());
        self.command(Command::Ring {
            key,
            status,
            sdp: None,
            headers,
        });
    }

    /// 200 to an incoming call.
    pub fn accept(&mut self, key: CallKey, sdp: Vec<u8>) {
        self.command(Command::Accept {
            key,
            sdp,
            headers: Vec::new(),
        });
    }

    /// Refuses an incoming call with the status that tells why, and what in its SDP is
    /// the matter.
    pub fn reject(&mut self, key: CallKey, refused: &Refused) {
        let told = translate::told(refused.cause);
        let fault = refused.fault.as_ref();
        let status = fault.map_or(told.status(), SdpFault::status);
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER);
        let warning = fault.map(|fault| ("Warning", fault.warning(AGENT)));
        let headers = [("Reason", told.reason())].into_iter().chain(warning);
        let headers = headers.map(|(name, value)| ExtraHeader {
            name: name.to_owned(),
            value,
        });
        let headers = headers.collect();
        let phrase = None;
        self.command(Command::Reject {
            key,
            status,
            phrase,
            retry_after,
            headers,
        });
    }

    /// Sends the caller elsewhere: 302 with the Contact to try.
    pub fn redirect(&mut self, key: CallKey, uri: &str) {
        let headers = vec![ExtraHeader {
            name: "Contact".to_owned(),
            value: format!("<{uri}>"),
        }];
        self.command(Command::Reject {
            key,
            status: StatusCode::MOVED_TEMPORARILY,
            phrase: None,
            retry_after: None,
            headers,
        });
    }

    /// Ends a call in whatever state it is; its peer hears why.
    pub fn hang_up(&mut self, key: CallKey, cause: Cause) {
        let told = translate::told(cause);
        let reason = Some(HangupReason {
            cause: Some(told.q850()),
            text: told.phrase().to_owned(),
        });
        self.command(Command::Hangup { key, reason });
    }

    /// Answers the peer's re-INVITE.
    pub fn answer_reinvite(&mut self, key: CallKey, answer: ReinviteAnswer) {
        self.command(Command::AnswerReinvite { key, answer });
    }

    /// Presses keys in signalling, each by an INFO of its own.
    pub fn press(&mut self, key: CallKey, keys: &str) {
        for pressed in keys.chars() {
            let body = format!("Signal={pressed}\r\nDuration={KEY_MS}\r\n");
            self.command(Command::Info {
                key,
                kind: "application/dtmf-relay".to_owned(),
                body: body.into_bytes(),
            });
        }
    }

    /// Asks the peer of a call to call somebody else.
    pub fn transfer(&mut self, key: CallKey, to: TransferTarget) {
        self.command(Command::Transfer(Box::new(TransferOrder { key, to })));
    }

    /// Answers a peer who asked us to call somebody else.
    pub fn answer_transfer(&mut self, key: CallKey, accept: bool) {
        self.command(Command::AnswerTransfer { key, accept });
    }

    /// Tells such a peer how that call goes.
    pub fn report_transfer(&mut self, key: CallKey, status: StatusCode) {
        self.command(Command::ReportTransfer { key, status });
    }

    /// Places a call; its key comes back with the token.
    pub fn place(&mut self, token: u64, invite: Box<Invite>) {
        self.send(Order::Place { token, invite });
    }

    /// BYE in a dialog that a crash left behind; its key comes back with the token.
    pub fn abandon(&mut self, token: u64, dialog: Box<StoredDialog>) {
        self.send(Order::Abandon { token, dialog });
    }

    fn command(&mut self, command: Command) {
        self.send(Order::Command(command));
    }

    fn send(&mut self, order: Order) {
        self.waiting.push_back(order);
        self.push();
    }
}
