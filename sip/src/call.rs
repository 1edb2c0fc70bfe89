//! One call: a dialog and where it stands. Data only; the endpoint moves it.

use core::fmt;
use core::time::Duration;

use crate::dialog::Dialog;
use crate::timers::Alarms;
use crate::transaction::TransactionId;
use crate::transport::Flow;

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
    /// A 1xx has come: from now on CANCEL is allowed (RFC 3261 §9.1).
    pub(crate) heard: bool,
    pub(crate) cancel: Cancel,
    /// The ring limit ran out, not the application's patience.
    pub(crate) gave_up: bool,
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
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) flow: Flow,
    pub(crate) dialog: Dialog,
    pub(crate) phase: Phase,
    pub(crate) alarms: Alarms,
    /// The INVITE had no offer.
    pub(crate) late_offer: bool,
    /// The ACK of the first 2xx came (callee), or was sent (caller).
    pub(crate) confirmed: bool,
    pub(crate) unconfirmed: Option<Unconfirmed>,
    pub(crate) reinvite: Option<Reinvite>,
    /// Hang up as soon as the ACK allows it; with this `Reason` value.
    pub(crate) hangup: Option<Option<Box<str>>>,
    /// Caller: our ACK, for repeated 2xx.
    pub(crate) ack: Option<Box<[u8]>>,
    /// Caller: To tags heard, in order of appearance.
    pub(crate) forks: Vec<Box<str>>,
    /// Caller: further 2xx branches that were acknowledged and hung up.
    pub(crate) refused_forks: Vec<Box<str>>,
    /// Client transactions before whose end the call is not released.
    pub(crate) clients: u32,
    /// Our INVITE was answered and may be answered again, by a fork or because
    /// our ACK was lost.
    pub(crate) lingers: bool,
    /// The application was told.
    pub(crate) released: bool,
}

impl Call {
    pub(crate) fn new(flow: Flow, dialog: Dialog, phase: Phase) -> Self {
        Self {
            flow,
            dialog,
            phase,
            alarms: Alarms::default(),
            late_offer: false,
            confirmed: false,
            unconfirmed: None,
            reinvite: None,
            hangup: None,
            ack: None,
            forks: Vec::new(),
            refused_forks: Vec::new(),
            clients: 0,
            lingers: false,
            released: false,
        }
    }

    pub(crate) fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established)
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether the released event may be told.
    pub(crate) fn is_releasable(&self) -> bool {
        self.is_ended() && self.clients == 0
    }

    /// Whether nothing can ask for the call any more.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.released && self.clients == 0 && !self.lingers
    }
}
