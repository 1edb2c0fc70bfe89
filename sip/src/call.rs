//! One call: a dialog and where it stands. Data only; the endpoint moves it.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;

use crate::command::Way;
use crate::dialog::Dialog;
use crate::event::Failure;
use crate::message::StatusCode;
use crate::session::{Asked, Session};
use crate::timers::Alarms;
use crate::transaction::TransactionId;
use crate::transport::Flow;
use crate::trunk::TrunkKey;
use crate::write::ExtraHeader;

/// Names a call for the application, on both roles; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(pub u64);

impl fmt::Display for CallKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Most branches of one forked call that are told apart.
pub(crate) const FORKS_MAX: usize = 16;

/// Where a call stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Incoming, unanswered; the INVITE's number.
    Offered { invite: TransactionId, cseq: u32 },
    /// Outgoing, unanswered.
    Calling(Calling),
    /// Answered, by either side.
    Established,
    /// Over; the rest of the transactions is awaited.
    Ended,
}

/// An outgoing call before its answer.
#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) invite: TransactionId,
    /// Its branch, which CANCEL shares.
    pub(crate) branch: Box<str>,
    /// Its number, which the ACK shares.
    pub(crate) cseq: u32,
    /// A 1xx has come: from now on CANCEL is allowed (RFC 3261 §9.1).
    pub(crate) heard: bool,
    pub(crate) cancel: Cancel,
    /// The ring limit ran out, not the application's patience.
    pub(crate) gave_up: bool,
    /// The called party was reached (101 to 199).
    pub(crate) rang: bool,
    /// The 3xx that the application has not answered yet; the INVITE is over.
    pub(crate) redirect: Option<Box<Failure>>,
}

/// What is needed to try an outgoing call once more elsewhere.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) left: VecDeque<Way>,
    pub(crate) to_display: Option<String>,
    pub(crate) headers: Vec<ExtraHeader>,
    /// Redirects that may still be followed.
    pub(crate) redirects: u8,
    /// The offer of the INVITE, once a branch has changed what stands.
    pub(crate) offer: Option<Box<[u8]>>,
}

/// An INVITE of ours that another one has taken the place of, and that may
/// still be answered.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) invite: TransactionId,
    pub(crate) branch: Box<str>,
    /// What it was sent with.
    pub(crate) dialog: Dialog,
    pub(crate) flow: Flow,
}

/// Whether an outgoing call is being taken back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    No,
    /// As soon as a 1xx comes; with this `Reason` value.
    Wanted(Option<Box<str>>),
    Sent,
}

/// Our 2xx without its ACK.
#[derive(Debug)]
pub(crate) struct Unconfirmed {
    /// Where the 2xx goes.
    pub(crate) flow: Flow,
    pub(crate) cseq: u32,
    pub(crate) message: Box<[u8]>,
    /// Gap before the next repetition.
    pub(crate) gap: Duration,
    /// It carries our offer, so the ACK carries the answer.
    pub(crate) late_offer: bool,
}

/// A re-INVITE that waits for the application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reinvite {
    pub(crate) invite: TransactionId,
    pub(crate) cseq: u32,
    pub(crate) late_offer: bool,
    /// It came as UPDATE: its answer has no ACK.
    pub(crate) update: bool,
}

/// A 1xx that waits for its PRACK.
#[derive(Debug)]
pub(crate) struct Reliable {
    pub(crate) number: u32,
    /// It carries SDP: the answer, or our offer.
    pub(crate) has_sdp: bool,
    pub(crate) gap: Duration,
    /// What the application wants to say next.
    pub(crate) next: Option<Next>,
}

/// What waits for a PRACK.
#[derive(Debug)]
pub(crate) enum Next {
    Ring(StatusCode, Option<Vec<u8>>, Vec<ExtraHeader>),
    Accept(Vec<u8>, Vec<ExtraHeader>),
}

/// A change of the session that we asked for.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) request: TransactionId,
    pub(crate) cseq: u32,
    /// INVITE, otherwise UPDATE.
    pub(crate) invite: bool,
    /// Nobody but the session timer wants it.
    pub(crate) refresh: bool,
}

/// A transfer that we asked for.
#[derive(Debug)]
pub(crate) struct Transferring {
    pub(crate) request: TransactionId,
    pub(crate) cseq: u32,
    /// The peer said that it will try.
    pub(crate) accepted: bool,
}

/// A transfer that the peer asked for.
#[derive(Debug)]
pub(crate) struct Referred {
    pub(crate) request: TransactionId,
    pub(crate) cseq: u32,
    pub(crate) accepted: bool,
}

/// What the peer can.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Abilities {
    pub(crate) update: bool,
    pub(crate) timer: bool,
    pub(crate) reliable: bool,
    /// It wants every 1xx reliable.
    pub(crate) reliable_only: bool,
}

/// A branch of a forked call.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) tag: Box<str>,
    /// Number of its last reliable 1xx.
    pub(crate) number: Option<u32>,
    /// Number of our last request to it.
    pub(crate) cseq: u32,
    /// And of its last one.
    pub(crate) remote_cseq: Option<u32>,
    pub(crate) offer: EarlyOffer,
}

/// What became of the INVITE's offer on a branch before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarlyOffer {
    /// It is not answered for good: SDP in a plain 1xx is a foretaste.
    Open,
    /// It was answered in a reliable 1xx (RFC 3262 §5).
    Answered,
    /// And an offer of the branch has taken its place (RFC 3311 §5.2): what the
    /// branch says of the INVITE's once more is old.
    Replaced,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) flow: Flow,
    /// The trunk it goes by, if it is one that we keep up with.
    pub(crate) trunk: Option<TrunkKey>,
    pub(crate) dialog: Dialog,
    pub(crate) phase: Phase,
    pub(crate) alarms: Alarms,
    /// The INVITE had no offer.
    pub(crate) late_offer: bool,
    /// The ACK of the first 2xx came (callee), or was sent (caller).
    pub(crate) confirmed: bool,
    /// Boxed: a call that only rings has none.
    pub(crate) unconfirmed: Option<Box<Unconfirmed>>,
    pub(crate) reinvite: Option<Reinvite>,
    /// We called.
    pub(crate) outgoing: bool,
    pub(crate) abilities: Abilities,
    /// Callee: the 1xx that waits for its PRACK, and the number of the last.
    pub(crate) reliable: Option<Box<Reliable>>,
    pub(crate) last_reliable: u32,
    /// Offer and answer were exchanged in a reliable 1xx.
    pub(crate) agreed_early: bool,
    /// What the INVITE asked for, then what runs (RFC 4028).
    pub(crate) asked_session: Option<Asked>,
    pub(crate) session: Option<Session>,
    /// Our last SDP, for refreshes.
    pub(crate) local_sdp: Box<[u8]>,
    pub(crate) change: Option<Change>,
    /// SDP of a change that had to wait.
    pub(crate) wanted: Option<Vec<u8>>,
    pub(crate) transferring: Option<Transferring>,
    pub(crate) referred: Option<Referred>,
    /// Number of the INVITE that `ack` belongs to.
    pub(crate) ack_cseq: u32,
    /// Hang up as soon as the ACK allows it; with this `Reason` value.
    pub(crate) hangup: Option<Option<Box<str>>>,
    /// Caller: our ACK, for repeated 2xx.
    pub(crate) ack: Option<Box<[u8]>>,
    /// Caller, before the answer: where else the call may go.
    pub(crate) ways: Option<Box<Ways>>,
    /// Caller: ways that were left before they said anything.
    pub(crate) left: Vec<Left>,
    /// Caller: To tags heard, in order of appearance.
    pub(crate) forks: Vec<Fork>,
    /// Caller: further 2xx branches that were acknowledged and hung up.
    pub(crate) refused_forks: Vec<Box<str>>,
    /// Client transactions before whose end the call is not released.
    pub(crate) clients: u32,
    /// INVITEs of ours that were answered and may be answered again, by a fork
    /// or because our ACK was lost.
    pub(crate) lingers: u32,
    /// The application was told.
    pub(crate) released: bool,
}

impl Call {
    pub(crate) fn new(flow: Flow, dialog: Dialog, phase: Phase) -> Self {
        Self {
            flow,
            trunk: None,
            dialog,
            phase,
            alarms: Alarms::default(),
            late_offer: false,
            confirmed: false,
            unconfirmed: None,
            reinvite: None,
            outgoing: false,
            abilities: Abilities::default(),
            reliable: None,
            last_reliable: 0,
            agreed_early: false,
            asked_session: None,
            session: None,
            local_sdp: Box::default(),
            change: None,
            wanted: None,
            transferring: None,
            referred: None,
            ack_cseq: 0,
            hangup: None,
            ack: None,
            ways: None,
            left: Vec::new(),
            forks: Vec::new(),
            refused_forks: Vec::new(),
            clients: 0,
            lingers: 0,
            released: false,
        }
    }

    pub(crate) fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established)
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Number of the peer's last request: before the answer each branch has a dialog of
    /// its own (RFC 3261 §12.1.2), told by its tag.
    pub(crate) fn remote_cseq(&mut self, tag: &str) -> &mut Option<u32> {
        let early = matches!(self.phase, Phase::Calling(_));
        let mut forks = self.forks.iter_mut();
        match forks.find(|fork| early && *fork.tag == *tag) {
            Some(fork) => &mut fork.remote_cseq,
            None => &mut self.dialog.remote_cseq,
        }
    }

    /// Whether the released event may be told.
    pub(crate) fn is_releasable(&self) -> bool {
        self.is_ended() && self.clients == 0
    }

    /// Whether nothing can ask for the call any more.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.released && self.clients == 0 && self.lingers == 0
    }
}
