//! SIP signalling, SDP offer/answer and RTP sessions without I/O.
//!
//! [`Endpoint`] is a user agent as a value: datagrams, commands and time go
//! in, datagrams and events come out. [`sdp`] negotiates media. Nothing here
//! opens a socket, reads a clock or decides what a call is for; the daemon
//! does.
#![forbid(unsafe_code)]

mod call;
mod cause;
mod command;
mod date;
mod dialog;
pub mod digest;
mod endpoint;
mod event;
pub mod framing;
pub mod headers;
pub mod identity;
pub mod message;
mod multipart;
pub mod parse;
mod random;
pub mod rtp;
pub mod sdp;
mod session;
mod stored;
mod text;
mod timers;
mod transaction;
mod transport;
mod trunk;
pub mod uri;
mod write;

pub use call::CallKey;
pub use cause::Cause;
pub use command::{
    Command, Door, HangupReason, Invite, ReinviteAnswer, TransferOrder, TransferTarget, WAYS_MAX,
    Way,
};
pub use endpoint::{
    Advertise, Beside, Counters, Endpoint, EndpointConfig, Input, Output, host_port,
};
pub use event::{EndCause, Event, Failure, Incoming, Party, Summary, TransferOutcome};
pub use message::{Method, StatusCode};
pub use parse::parse;
pub use stored::{BadStoredDialog, StoredDialog};
pub use timers::{Timer, TimerValues};
pub use transport::{Flow, HostName, Transport, is_at, is_nearby};
pub use trunk::{Outage, Probing, Registration, Standing, Trunk, TrunkKey};
pub use uri::Uri;
pub use write::{ExtraHeader, answer_port};
