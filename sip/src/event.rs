//! What the endpoint tells the application.
//!
//! The first event of an incoming call is `Incoming`, so an application can
//! seat the key before anything else is said of it.
//! Each call on either role ends with exactly one of `Cancelled`, `Failed` or
//! `Ended` (a call that the application rejects needs none) and then
//! `Released`, after which its key is never heard of again.

use core::fmt;

use crate::call::CallKey;
use crate::identity::{Diversion, HistoryEntry, SignedIdentity};
use crate::message::{Method, StatusCode};
use crate::transport::Flow;
use crate::trunk::{Standing, TrunkKey};
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
    /// Who the trunk says is calling.
    pub asserted_identity: Vec<Party>,
    /// The caller wants not to be shown.
    pub private: bool,
    /// Diversions, the latest first.
    pub diversion: Vec<Diversion>,
    /// Stations of the call, the first one first.
    pub history: Vec<HistoryEntry>,
    /// Signed identity, unverified.
    pub identities: Vec<SignedIdentity>,
    /// The call of ours, with somebody else, whose place this one wants to take
    /// (RFC 3891): answer it and hang that one up, or reject it.
    pub replaces: Option<CallKey>,
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
    /// Our reliable 1xx was never acknowledged; 504 was sent (RFC 3262 §3).
    PrackTimeout,
    /// The session was not refreshed in time, or the refresh found no session;
    /// BYE was sent (RFC 4028 §10).
    SessionExpired,
}

/// How a transfer that we asked for ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferOutcome {
    /// The peer talks to the target; our call with it can be hung up.
    Completed,
    /// Nothing was asked: the call is not up yet, another transfer is under way, or
    /// there is nobody to name.
    NotAsked,
    /// The peer does not do it (its answer to REFER).
    Refused(StatusCode),
    /// The peer tried, and this is what the target said.
    Failed(StatusCode),
    /// The peer said that it would try, and nothing more.
    Unreported,
    /// The peer hung up while it tried: whether it reached the target is unknown.
    HungUp,
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
    /// An outgoing call found no way there and takes the next one.
    Rerouted {
        /// The call.
        key: CallKey,
        /// The trunk that it went by.
        trunk: Option<TrunkKey>,
        /// The way that was of no use.
        flow: Flow,
        /// The trunk that it goes by now.
        next: Option<TrunkKey>,
        /// What was wrong with it.
        failure: Box<Failure>,
    },
    /// An outgoing call is sent elsewhere (3xx); answer with `Follow`. Only with
    /// `EndpointConfig::redirects`.
    Redirected {
        /// The call.
        key: CallKey,
        /// The trunk that it went by.
        trunk: Option<TrunkKey>,
        /// Who said so, and where to (`contacts`).
        flow: Flow,
        /// The answer.
        failure: Box<Failure>,
    },
    /// The caller acknowledged the offer in our reliable 1xx, with its answer.
    EarlyAnswer {
        /// The call.
        key: CallKey,
        /// The SDP answer.
        sdp: Vec<u8>,
    },
    /// Our re-INVITE was accepted, or a refresh of ours answered.
    Changed {
        /// The call.
        key: CallKey,
        /// The SDP answer.
        sdp: Option<Vec<u8>>,
    },
    /// Our re-INVITE was refused; the session stays as it was.
    Unchanged {
        /// The call.
        key: CallKey,
        /// The refusal.
        status: StatusCode,
    },
    /// The peer sent INFO (RFC 6086); it has been answered.
    Info {
        /// The call.
        key: CallKey,
        /// Content-Type, in lower case and without parameters.
        kind: String,
        /// Body, at most 1 kB.
        body: Vec<u8>,
    },
    /// The peer tells how a transfer goes that we asked for.
    TransferProgress {
        /// The call.
        key: CallKey,
        /// What the target said so far.
        status: StatusCode,
    },
    /// A transfer that we asked for is over; comes once.
    TransferEnded {
        /// The call.
        key: CallKey,
        /// How.
        outcome: TransferOutcome,
    },
    /// The peer asks us to call somebody else; answer with `AnswerTransfer`.
    TransferAsked {
        /// The call.
        key: CallKey,
        /// Whom.
        to: Uri,
        /// Text of `Replaces`: the call that the new one is to take over.
        replaces: Option<String>,
        /// Text of `Referred-By`.
        referred_by: Option<String>,
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
    /// A trunk came up or went down, or is down for another reason.
    Trunk {
        /// Which.
        key: TrunkKey,
        /// How it stands from now on.
        standing: Standing,
    },
    /// The call is over for the application; always the last event of a key.
    /// (What may still arrive for it, the endpoint deals with alone.)
    Released {
        /// The call.
        key: CallKey,
    },
    /// A message of a call was sent or received; only with `EndpointConfig::trace`.
    Message {
        /// The call it belongs to.
        key: CallKey,
        /// We sent it.
        sent: bool,
        /// What it was.
        summary: Summary,
        /// A repetition of an earlier one.
        repeated: bool,
    },
}
