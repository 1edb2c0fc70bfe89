//! What the application tells the endpoint.
//!
//! A command for a key that is gone, or that the call's state has overtaken
//! (its CANCEL came first), does nothing and is counted as stale: the network
//! races the application, and the events say who won.

use crate::call::CallKey;
use crate::digest::Credentials;
use crate::event::Party;
use crate::message::StatusCode;
use crate::stored::StoredDialog;
use crate::transport::Flow;
use crate::trunk::{Trunk, TrunkKey};
use crate::uri::Uri;
use crate::write::ExtraHeader;

/// One way by which a call can leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where the INVITE goes; names are resolved by the caller.
    pub flow: Flow,
    /// By which trunk: its password and its routes are used.
    pub trunk: Option<TrunkKey>,
    /// Request-URI and To.
    pub target: Uri,
    /// From.
    pub from: Party,
    /// P-Asserted-Identity (RFC 3325 §9.1); for peers that we trust alone.
    pub asserted: Option<Party>,
    /// `Privacy: id` (RFC 3325 §9.3): the peer shows the caller to nobody.
    pub private: bool,
}

/// An outgoing call.
#[derive(Clone, Debug)]
pub struct Invite {
    /// From [`crate::Endpoint::next_key`].
    pub key: CallKey,
    /// How it leaves.
    pub way: Way,
    /// Taken one after the other when the one before does not work: nobody is
    /// there, or what is there has no room (RFC 3263 §4.3). At most
    /// [`WAYS_MAX`].
    pub further: Vec<Way>,
    /// Display name in To.
    pub to_display: Option<String>,
    /// Call-ID; a random one if `None` or not printable ASCII.
    pub call_id: Option<String>,
    /// SDP offer.
    pub offer: Vec<u8>,
    /// Further header lines.
    pub headers: Vec<ExtraHeader>,
}

/// Most further ways of a call that are kept.
pub const WAYS_MAX: usize = 8;

/// A transfer.
#[derive(Clone, Debug)]
pub struct TransferOrder {
    /// The call whose peer is to call somebody else.
    pub key: CallKey,
    /// Whom.
    pub to: TransferTarget,
}

/// Whom a peer is asked to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferTarget {
    /// This address.
    Uri(Uri),
    /// This user, a number as a rule, where the peer itself is (the host of its
    /// Contact): what a PBX or a session border controller takes for its own.
    User(String),
    /// The peer of this other call of ours, whose place with it the new call takes
    /// (attended transfer, RFC 3891).
    PeerOf(CallKey),
}

/// What a trunk has to prove.
#[derive(Clone, Debug)]
pub struct Door {
    /// What the question names.
    pub realm: String,
    /// Ask with MD5 alone: some peers read only the first question and know
    /// nothing newer.
    pub md5_only: bool,
    /// The one user and password.
    pub credentials: Credentials,
}

/// Why we hang up, as `Reason` header (RFC 3326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HangupReason {
    /// ITU-T Q.850 cause, 1–127.
    pub cause: Option<u8>,
    /// Text.
    pub text: String,
}

impl HangupReason {
    /// The header value.
    pub(crate) fn header(&self) -> String {
        let text: String = self
            .text
            .chars()
            .filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\'))
            .collect();
        match self.cause {
            Some(cause) => format!("Q.850;cause={cause};text=\"{text}\""),
            None => format!("SIP;cause=200;text=\"{text}\""),
        }
    }
}

/// The answer to a re-INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReinviteAnswer {
    /// 200 with this SDP: the answer, or our offer if there was none.
    Accept(Vec<u8>),
    /// A refusal (300–699), usually 488; the session stays as it was.
    Refuse(StatusCode),
    /// The same, with the value of a Warning header that says why (RFC 3261 §20.43).
    RefuseFor(StatusCode, String),
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Place a call.
    Invite(Box<Invite>),
    /// Answer `Redirected`: the call goes on by the first of these; by none, it
    /// has failed.
    Follow {
        /// The call.
        key: CallKey,
        /// Where to, in this order.
        ways: Vec<Way>,
    },
    /// Send a provisional answer (101–199) to an incoming call.
    Ring {
        /// The call.
        key: CallKey,
        /// 180 without, 183 with early media, as a rule.
        status: StatusCode,
        /// Early media.
        sdp: Option<Vec<u8>>,
        /// Further header lines.
        headers: Vec<ExtraHeader>,
    },
    /// Answer an incoming call with 200.
    Accept {
        /// The call.
        key: CallKey,
        /// The SDP answer, or our offer if the INVITE had none.
        sdp: Vec<u8>,
        /// Further header lines.
        headers: Vec<ExtraHeader>,
    },
    /// Refuse an incoming call (300–699).
    Reject {
        /// The call.
        key: CallKey,
        /// Status.
        status: StatusCode,
        /// Reason phrase; the usual one if `None`.
        phrase: Option<String>,
        /// Seconds.
        retry_after: Option<u32>,
        /// Further header lines.
        headers: Vec<ExtraHeader>,
    },
    /// End a call in whatever state it is: CANCEL, BYE (once the ACK is in),
    /// or 480 to an incoming call that was not answered.
    Hangup {
        /// The call.
        key: CallKey,
        /// Why.
        reason: Option<HangupReason>,
    },
    /// Answer the peer's re-INVITE.
    AnswerReinvite {
        /// The call.
        key: CallKey,
        /// How.
        answer: ReinviteAnswer,
    },
    /// Change the session by a re-INVITE with this offer (hold, resume, another
    /// address). Ends with `Changed` or `Unchanged`; glare is sorted out here.
    Reinvite {
        /// The call.
        key: CallKey,
        /// The offer.
        sdp: Vec<u8>,
    },
    /// Send INFO in an answered call (RFC 6086).
    Info {
        /// The call.
        key: CallKey,
        /// Content-Type.
        kind: String,
        /// Body.
        body: Vec<u8>,
    },
    /// Ask the peer to call somebody else. Ends with `TransferEnded`, at once where
    /// nothing can be asked now.
    Transfer(Box<TransferOrder>),
    /// Answer `TransferAsked`.
    AnswerTransfer {
        /// The call.
        key: CallKey,
        /// 202, otherwise 603.
        accept: bool,
    },
    /// Tell who asked for a transfer how it goes; a final status ends it.
    ReportTransfer {
        /// The call.
        key: CallKey,
        /// What our own call to the target has met.
        status: StatusCode,
    },
    /// Send BYE in a dialog that a crash left behind. Ends with
    /// `Ended(LocalBye)` and `Released`.
    AbandonedBye {
        /// From [`crate::Endpoint::next_key`].
        key: CallKey,
        /// What was stored at the answer.
        dialog: Box<StoredDialog>,
    },
    /// Ask a trunk for a password from now on: see [`crate::Input::Guarded`].
    Guard(TrunkKey, Box<Door>),
    /// Keep up with a trunk from now on: register, and ask whether it is
    /// there, as its settings say. A second one with the same key replaces the
    /// first.
    KeepTrunk(Box<Trunk>),
    /// Leave a trunk: what is registered is taken back, nothing more is told.
    DropTrunk(TrunkKey),
    /// There is more to do than gets done: until it is taken back, new calls are
    /// refused with 503 and `Retry-After`, at the least cost.
    Overloaded(bool),
}
