//! What the endpoint tells the application.
//!
//! The first event of an incoming call is `Incoming`, so an application can
//! seat the key before anything else is said of it.
//! Each call on either role ends with exactly one of `Cancelled`, `Failed` or
//! `Ended` (a call that the application rejects needs none) and then
//! `Released`, after which its key is never heard of again.

use core::fmt;

use crate::call::CallKey;
use crate::message::{Method, StatusCode};
use crate::transport::Flow;
use crate::uri::Uri;

/// One side of a call as the message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Display name.
    pub display: Option<String>,
    /// Address.
    pub uri: Uri,
}

/// An INVITE that wants to become a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Request-URI: what was dialled.
    pub request_uri: Uri,
    /// Caller.
    pub from: Party,
    /// Whom the caller meant to reach.
    pub to: Party,
    /// Call-ID.
    pub call_id: String,
    /// Contact address.
    pub contact: Option<Uri>,
    /// `User-Agent` text.
    pub user_agent: Option<String>,
    /// `P-Asserted-Identity` texts.
    pub asserted_identity: Vec<String>,
    /// `Diversion` texts, latest diversion first.
    pub diversion: Vec<String>,
    /// SDP offer; `None` is a late offer: `Accept` then carries ours and
    /// `Confirmed` the answer.
    pub offer: Option<Vec<u8>>,
}

/// Why an outgoing call did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The refusal; 408 when nobody answered.
    pub status: StatusCode,
    /// Its reason phrase.
    pub phrase: String,
    /// Nothing came from the peer; the endpoint gave up.
    pub local: bool,
    /// Text of the `Reason` header.
    pub reason: Option<String>,
    /// Targets of a redirect (3xx).
    pub contacts: Vec<String>,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u32>,
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The peer sent BYE.
    RemoteBye {
        /// Text of its `Reason` header.
        reason: Option<String>,
    },
    /// We sent BYE.
    LocalBye,
    /// We cancelled an outgoing call before it was answered.
    LocalCancel,
    /// Our 2xx was never acknowledged; BYE was sent.
    AckTimeout,
}

/// What a message was, for a call's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// A request.
    Request(Method),
    /// A response and the method it answers.
    Response(StatusCode, Method),
}

impl Summary {
    /// The method of the request, or of the request that is answered.
    pub fn method(&self) -> &Method {
        match self {
            Self::Request(method) | Self::Response(_, method) => method,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(method) => write!(formatter, "{method}"),
            Self::Response(status, method) => write!(formatter, "{status} ({method})"),
        }
    }
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new call; answer with `Ring`, `Accept` or `Reject`.
    Incoming {
        /// Its key from now on.
        key: CallKey,
        /// Where it came from.
        flow: Flow,
        /// What the INVITE says.
        invite: Box<Incoming>,
    },
    /// The caller gave up before our answer; 487 has been sent.
    Cancelled {
        /// The call.
        key: CallKey,
        /// Text of the `Reason` header.
        reason: Option<String>,
    },
    /// The caller acknowledged our answer.
    Confirmed {
        /// The call.
        key: CallKey,
        /// The SDP answer to a late offer.
        sdp: Option<Vec<u8>>,
    },
    /// An outgoing call makes progress (101–199); comes again for each repetition.
    Progress {
        /// The call.
        key: CallKey,
        /// 180, 183, …
        status: StatusCode,
        /// Which branch of a forked call, from 0.
        fork: usize,
        /// Early media.
        sdp: Option<Vec<u8>>,
    },
    /// An outgoing call was answered; the ACK has been sent.
    Answered {
        /// The call.
        key: CallKey,
        /// The SDP answer.
        sdp: Option<Vec<u8>>,
    },
    /// An outgoing call was refused or nobody answered.
    Failed {
        /// The call.
        key: CallKey,
        /// How.
        failure: Box<Failure>,
    },
    /// The peer wants to change the session; answer with `AnswerReinvite`.
    Reinvite {
        /// The call.
        key: CallKey,
        /// SDP offer; `None` asks for ours.
        offer: Option<Vec<u8>>,
    },
    /// The peer took its re-INVITE back; the session stays as it was.
    ReinviteCancelled {
        /// The call.
        key: CallKey,
    },
    /// The peer acknowledged our answer to its re-INVITE.
    ReinviteConfirmed {
        /// The call.
        key: CallKey,
        /// The SDP answer to a late offer.
        sdp: Option<Vec<u8>>,
    },
    /// The call is over.
    Ended {
        /// The call.
        key: CallKey,
        /// Why.
        cause: EndCause,
    },
    /// The call is over for the application; always the last event of a key.
    /// (What may still arrive for it, the endpoint deals with alone.)
    Released {
        /// The call.
        key: CallKey,
    },
    /// A message was sent or received; only with `EndpointConfig::trace`.
    Message {
        /// The call it belongs to.
        key: Option<CallKey>,
        /// We sent it.
        sent: bool,
        /// What it was.
        summary: Summary,
        /// A repetition of an earlier one.
        repeated: bool,
    },
}
