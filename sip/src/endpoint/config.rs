//! What an endpoint is told at its start, and what it counts.

use core::net::SocketAddr;
use core::time::Duration;

use crate::parse::Defect;
use crate::timers::TimerValues;
use crate::transport::{Flow, Transport, is_at, is_nearby};

/// Settings of an endpoint.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// `User-Agent` and `Server`.
    pub product: String,
    /// User part of our Contact.
    pub contact_user: String,
    /// Addresses to write into Via and Contact instead of a socket's own; the
    /// first that fits counts.
    pub advertise: Vec<Advertise>,
    /// TCP sockets of ours beside UDP ones: requests that are too long for a
    /// datagram leave by them (RFC 3261 §18.1.1).
    pub streams: Vec<Beside>,
    /// T1, T2, T4.
    pub timers: TimerValues,
    /// An outgoing call that rings longer is cancelled (Timer C).
    pub ring_limit: Duration,
    /// Live transactions above which new INVITEs get 503; a quarter more and
    /// every request does.
    pub max_transactions: usize,
    /// Live calls above which new INVITEs get 503.
    pub max_calls: usize,
    /// `Retry-After` of these 503, in seconds.
    pub retry_after: u32,
    /// Session interval that we ask for and grant at most, in seconds
    /// (RFC 4028); 0 switches session timers off, but for peers that ask.
    pub session_expires: u32,
    /// Whether a peer may ask us to call somebody else (REFER); the
    /// application is asked then. Otherwise it is refused with 603.
    pub accept_transfers: bool,
    /// How often one call may be sent elsewhere (3xx) before it has failed; the
    /// application says where it may go. 0: a redirect is a failure.
    pub redirects: u8,
    /// Requests of strangers that are refused in a second (403); what is more is
    /// not answered at all.
    pub strangers_per_second: u32,
    /// Whether each message of a call is told as an [`crate::Event::Message`].
    pub trace: bool,
}

/// An address behind which one of our sockets is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// How SIP travels there.
    pub transport: Transport,
    /// The socket; an unspecified address stands for all of ours with its port.
    pub local: SocketAddr,
    /// Host and port for peers, as in a URI: `sip.example.com:5060`.
    pub host_port: String,
    /// Peers [`is_nearby`] are told it too; they reach the socket itself as a rule.
    pub nearby: bool,
}

impl Advertise {
    fn is_for(&self, flow: &Flow) -> bool {
        self.transport == flow.transport
            && is_at(self.local, flow.local)
            && (self.nearby || !is_nearby(flow.remote.ip()))
    }
}

/// `host:port` of our end of a flow as its peer sees it.
pub fn host_port(advertise: &[Advertise], flow: &Flow) -> String {
    match advertise.iter().find(|entry| entry.is_for(flow)) {
        Some(entry) => entry.host_port.clone(),
        None => {
            let ip = flow.local.ip().to_canonical();
            format!("{}:{}", crate::write::host_text(ip), flow.local.port())
        }
    }
}

/// A TCP socket that stands in for a UDP one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// The UDP socket; an unspecified address stands for all of ours.
    pub datagrams: SocketAddr,
    /// The TCP socket; the same.
    pub stream: SocketAddr,
}

impl Beside {
    /// The TCP end that stands in for this UDP end.
    pub(crate) fn stream_for(&self, local: SocketAddr) -> Option<SocketAddr> {
        let any = self.stream.ip().is_unspecified();
        let ip = if any { local.ip() } else { self.stream.ip() };
        is_at(self.datagrams, local).then(|| SocketAddr::new(ip, self.stream.port()))
    }
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            product: concat!("Offhook/", env!("CARGO_PKG_VERSION")).to_owned(),
            contact_user: "offhook".to_owned(),
            advertise: Vec::new(),
            streams: Vec::new(),
            timers: TimerValues::RFC3261,
            ring_limit: RING_LIMIT,
            max_transactions: 262_144,
            max_calls: 65_536,
            retry_after: 5,
            session_expires: 1800,
            accept_transfers: false,
            redirects: 0,
            strangers_per_second: 50,
            trace: false,
        }
    }
}

/// Timer C is more than three minutes (RFC 3261 §16.6, step 11).
const RING_LIMIT: Duration = Duration::from_secs(185);

impl EndpointConfig {
    /// The same settings with values that can be worked with: no timer of
    /// zero, which would fire for ever at one instant, and no text that could
    /// end a header line.
    pub(crate) fn sound(mut self) -> Self {
        let least = Duration::from_millis(1);
        let timers = &mut self.timers;
        timers.t1 = timers.t1.max(least);
        timers.t2 = timers.t2.max(timers.t1);
        timers.t4 = timers.t4.max(least);
        if self.session_expires != 0 {
            self.session_expires = self.session_expires.max(crate::session::MIN_SE);
        }
        self.ring_limit = self.ring_limit.max(least);
        self.product.retain(|letter| !letter.is_control());
        self.contact_user.retain(|letter| letter.is_ascii_graphic());
        for entry in &mut self.advertise {
            entry.host_port.retain(|letter| letter.is_ascii_graphic());
        }
        self
    }

    /// `host:port` of our end of a flow as its peer sees it.
    pub(crate) fn host_port(&self, flow: &Flow) -> String {
        host_port(&self.advertise, flow)
    }
}

/// What happened since the start. Numbers only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams handed in.
    pub received: u64,
    /// Messages handed out.
    pub sent: u64,
    /// Datagrams with nothing but line ends.
    pub keepalives: u64,
    /// Malformed messages by [`Defect::index`].
    pub malformed: [u64; Defect::KINDS],
    /// Requests that repeated one already known.
    pub repeated_requests: u64,
    /// Messages sent again by a timer or for a repeated request.
    pub retransmitted: u64,
    /// Requests refused with 503 at a limit.
    pub refused_by_limit: u64,
    /// Requests of strangers (403).
    pub refused_strangers: u64,
    /// Those that got no answer, since there were too many.
    pub ignored_strangers: u64,
    /// Requests that were asked for a password (401).
    pub asked: u64,
    /// Wrong passwords, and answers that were used before.
    pub wrong_passwords: u64,
    /// INVITEs that came over two paths (482).
    pub merged: u64,
    /// Requests for dialogs that do not exist (481).
    pub unknown_dialog: u64,
    /// Requests with a sequence number not above the last (500).
    pub out_of_order: u64,
    /// Requests with a method we do not serve (405, 501).
    pub refused_methods: u64,
    /// Responses that belong to no transaction.
    pub stray_responses: u64,
    /// ACKs that belong to nothing.
    pub stray_acks: u64,
    /// Transactions that nobody answered.
    pub timeouts: u64,
    /// Connections that could not be opened or were lost with requests under way.
    pub unreachable: u64,
    /// Requests too long for a datagram that left by TCP.
    pub long_requests: u64,
    /// Requests of ours sent again because the peer asked for a password.
    pub challenged: u64,
    /// Commands for calls that were gone or had moved on.
    pub stale_commands: u64,
    /// Our re-INVITEs that crossed one of the peer's (491).
    pub glare: u64,
    /// Transfers that peers asked for and did not get.
    pub refused_transfers: u64,
    /// Calls that took another way since the one before did not work.
    pub rerouted: u64,
    /// Calls that were sent elsewhere (3xx) and went there.
    pub redirected: u64,
    /// Answers of further branches that were hung up.
    pub refused_forks: u64,
}

impl Counters {
    /// All malformed messages.
    pub fn malformed_total(&self) -> u64 {
        self.malformed.iter().sum()
    }
}
