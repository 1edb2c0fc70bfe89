//! The endpoint: one in-door, one out-door, no socket and no clock.
//!
//! [`Endpoint::handle`] takes a datagram, a command or the passing of time and
//! changes state; [`Endpoint::poll`] hands out what follows until it says how
//! long to wait. This file only opens the doors: requests, responses, the two
//! roles of a call and its end have their own.

mod callee;
mod caller;
mod change;
mod closing;
mod config;
mod door;
mod in_dialog;
mod length;
mod lines;
mod names;
mod reliable;
mod requests;
mod reroute;
mod responses;
mod send;
mod session;
mod transfer;
mod trunks;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;

pub use config::{Advertise, Beside, Counters, EndpointConfig, host_port};

use self::door::Guarded;
use self::names::Names;
use crate::call::{Call, CallKey};
use crate::command::Command;
use crate::event::Event;
use crate::parse::{StartLine, View};
use crate::random::Random;
use crate::stored::StoredDialog;
use crate::timers::{Alarms, Slot, Timer, TimerQueue};
use crate::transaction::{Table, TransactionId};
use crate::transport::{Flow, HostName};
use crate::trunk::{Kept, TrunkKey};

/// Something for the endpoint.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram (or, on a stream, one framed message).
    Packet {
        /// Where it came from and arrived.
        flow: Flow,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A datagram from an address that may not call us. What belongs to a
    /// call or to a request of ours is served as usual; new requests get a 403
    /// for which nothing is kept and nothing is repeated, malformed ones
    /// nothing at all.
    Stranger {
        /// Where it came from and arrived.
        flow: Flow,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A datagram from a trunk that must prove who it is, as [`Command::Guard`]
    /// says: requests outside of calls get a 401 until they do.
    Guarded {
        /// Where it came from and arrived.
        flow: Flow,
        /// Whose password it takes.
        trunk: TrunkKey,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// No connection to there could be opened, or the one there was is lost:
    /// requests that wait for an answer from there fail at once
    /// (RFC 3261 §8.1.3.1).
    Unreachable {
        /// The path that does not exist.
        flow: Flow,
    },
    /// What [`Output::Locate`] asked for.
    Located {
        /// The host.
        name: HostName,
        /// Where it is, the best first; none where it is not found.
        addresses: Vec<SocketAddr>,
    },
    /// The application wants something.
    Command(Command),
    /// Time has passed.
    Wake,
}

/// Something for the outside.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Transmit {
        /// From where to where.
        flow: Flow,
        /// On a stream: a connection with this remote address serves as well,
        /// since the dialog came over it (what RFC 5923 calls an alias).
        reuse: Option<SocketAddr>,
        /// One message.
        bytes: Vec<u8>,
    },
    /// Look this host up (RFC 3263 §4) and answer with [`Input::Located`]: requests of a
    /// dialog wait for that, 500 ms at most; then they go where the dialog came from.
    Locate(HostName),
    /// Tell the application.
    Event(Event),
    /// Nothing more until an input comes or this time is reached.
    Wait(Option<Duration>),
}

/// Whether new requests from there are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Known,
    Guarded(TrunkKey),
    Stranger,
}

/// Whose alarm went off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Transaction(TransactionId),
    Call(CallKey),
    Trunk(TrunkKey),
}

/// A SIP user agent, server and client.
///
/// ```
/// use core::time::Duration;
/// use offhook_sip::{Endpoint, EndpointConfig, Flow, Input, Output, Transport};
///
/// let mut endpoint = Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]);
/// let flow = Flow {
///     transport: Transport::Udp,
///     local: "192.0.2.1:5060".parse()?,
///     remote: "192.0.2.9:5060".parse()?,
/// };
/// let bytes = b"OPTIONS sip:192.0.2.1 SIP/2.0\r\n\
///     Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@192.0.2.9>;tag=1\r\n\
///     To: <sip:192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
/// endpoint.handle(Duration::ZERO, Input::Packet { flow, bytes });
/// loop {
///     match endpoint.poll() {
///         Output::Transmit { flow, bytes, .. } => {
///             assert_eq!(flow.remote.port(), 5060);
///             assert!(bytes.starts_with(b"SIP/2.0 200 OK"));
///         }
///         Output::Event(event) => panic!("{event:?}"),
///         Output::Locate(host) => panic!("{host:?}"),
///         Output::Wait(_) => break,
///     }
/// }
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    now: Duration,
    random: Random,
    transactions: Table,
    calls: HashMap<CallKey, Box<Call>, RandomState>,
    /// Calls by our tag, which is unpredictable and unique.
    dialogs: HashMap<Box<str>, CallKey>,
    trunks: HashMap<TrunkKey, Box<Kept>, RandomState>,
    doors: HashMap<TrunkKey, Box<Guarded>, RandomState>,
    timers: TimerQueue<Owner>,
    names: Names,
    outbox: VecDeque<Output>,
    counters: Counters,
    /// Calls that are not yet released; the others wait for late answers.
    live_calls: usize,
    /// As the application said last.
    overloaded: bool,
    last_key: u64,
    /// Second in which strangers were answered last, and how often.
    strangers: (u64, u32),
    /// Peers at which nobody takes TCP, so that long requests go as datagrams.
    streamless: HashSet<SocketAddr>,
    /// Room in which lookup keys are built.
    scratch: Vec<u8>,
}

impl Endpoint {
    /// An endpoint at time zero.
    ///
    /// `seed` decides every tag, branch and Call-ID; it must hold at least 64
    /// bits that no peer can guess.
    pub fn new(config: EndpointConfig, seed: [u64; 4]) -> Self {
        Self {
            config: config.sound(),
            now: Duration::ZERO,
            random: Random::new(seed),
            transactions: Table::default(),
            calls: HashMap::default(),
            dialogs: HashMap::new(),
            trunks: HashMap::default(),
            doors: HashMap::default(),
            timers: TimerQueue::new(),
            names: Names::default(),
            outbox: VecDeque::new(),
            counters: Counters::default(),
            live_calls: 0,
            overloaded: false,
            last_key: 0,
            strangers: (0, 0),
            streamless: HashSet::new(),
            scratch: Vec::with_capacity(256),
        }
    }

    /// A key for a call that the application starts.
    pub fn next_key(&mut self) -> CallKey {
        self.last_key += 1;
        CallKey(self.last_key)
    }

    /// Takes one input. `now` is the time since the start; a value before the
    /// last one counts as the last one. Timers that are due fire first.
    ///
    /// Call [`Endpoint::poll`] afterwards until it waits.
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        self.now = self.now.max(now);
        self.fire_timers();
        self.release_overdue();
        match input {
            Input::Packet { flow, bytes } => self.on_packet(&flow, bytes, Sender::Known),
            Input::Stranger { flow, bytes } => self.on_packet(&flow, bytes, Sender::Stranger),
            Input::Guarded { flow, trunk, bytes } => {
                self.on_packet(&flow, bytes, Sender::Guarded(trunk));
            }
            Input::Unreachable { flow } => self.on_unreachable(&flow),
            Input::Located { name, addresses } => self.on_located(name, addresses),
            Input::Command(command) => self.on_command(command),
            Input::Wake => {}
        }
        let (transactions, calls, trunks) = (&self.transactions, &self.calls, &self.trunks);
        self.timers
            .sweep(|owner| armed(transactions, calls, trunks, owner));
    }

    /// The next thing for the outside, ending with [`Output::Wait`].
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        if let Some(name) = self.names.question() {
            return Output::Locate(name);
        }
        let (transactions, calls, trunks) = (&self.transactions, &self.calls, &self.trunks);
        let next = self
            .timers
            .next_at(|owner| armed(transactions, calls, trunks, owner));
        Output::Wait(next.into_iter().chain(self.names.due()).min())
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Calls that are not yet released.
    pub fn call_count(&self) -> usize {
        self.live_calls
    }

    /// Transactions that are not yet terminated.
    pub fn transaction_count(&self) -> usize {
        self.transactions.len()
    }

    /// Enough of an answered call to send its BYE after a crash.
    pub fn stored_dialog(&self, key: CallKey) -> Option<StoredDialog> {
        let call = self.calls.get(&key).filter(|call| call.is_established())?;
        Some(StoredDialog::new(call.flow, &call.dialog))
    }

    fn on_packet(&mut self, flow: &Flow, bytes: &[u8], sender: Sender) {
        self.counters.received += 1;
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            self.counters.keepalives += 1;
            return;
        }
        if door::ends_refusal(bytes) {
            return;
        }
        match View::read(bytes) {
            Err(defect) => self.count_malformed(defect),
            Ok(view) => match view.start {
                StartLine::Request { .. } => self.on_request_view(flow, &view, sender),
                StartLine::Response { .. } => self.on_response_view(&view),
            },
        }
    }

    fn on_command(&mut self, command: Command) {
        let done = match command {
            Command::Invite(invite) => self.place_call(*invite),
            Command::Follow { key, ways } => self.follow(key, ways),
            Command::Ring {
                key,
                status,
                sdp,
                headers,
            } => self.ring(key, status, sdp.as_deref(), &headers),
            Command::Accept { key, sdp, headers } => self.accept(key, &sdp, &headers),
            Command::Reject {
                key,
                status,
                phrase,
                retry_after,
                headers,
            } => self.reject(key, status, phrase.as_deref(), retry_after, &headers),
            Command::Hangup { key, reason } => self.hang_up(key, reason.as_ref()),
            Command::AnswerReinvite { key, answer } => self.answer_reinvite(key, &answer),
            Command::Reinvite { key, sdp } => self.reinvite(key, sdp),
            Command::Info { key, kind, body } => self.info(key, &kind, &body),
            Command::Transfer(order) => self.transfer(&order),
            Command::AnswerTransfer { key, accept } => self.answer_transfer(key, accept),
            Command::ReportTransfer { key, status } => self.report_transfer(key, status),
            Command::AbandonedBye { key, dialog } => self.abandoned_bye(key, &dialog),
            Command::Guard(key, door) => self.guard(key, &door),
            Command::KeepTrunk(trunk) => self.keep_trunk(*trunk),
            Command::DropTrunk(key) => self.drop_trunk(key),
            Command::Overloaded(overloaded) => {
                self.overloaded = overloaded;
                Some(())
            }
        };
        if done.is_none() {
            self.counters.stale_commands += 1;
        }
    }

    fn fire_timers(&mut self) {
        while let Some(wakeup) = self.timers.pop_due(self.now) {
            let alarms = match wakeup.owner {
                Owner::Transaction(id) => {
                    self.transactions.get_mut(id).map(|found| &mut found.alarms)
                }
                Owner::Call(key) => self.calls.get_mut(&key).map(|call| &mut call.alarms),
                Owner::Trunk(key) => self.trunks.get_mut(&key).map(|trunk| &mut trunk.alarms),
            };
            if !self.timers.claim(alarms, &wakeup) {
                continue;
            }
            match wakeup.owner {
                Owner::Transaction(id) => self.on_transaction_timer(id, wakeup.timer),
                Owner::Call(key) => self.on_call_timer(key, wakeup.timer),
                Owner::Trunk(key) => self.on_trunk_timer(key, wakeup.timer),
            }
        }
    }

    fn on_transaction_timer(&mut self, id: TransactionId, timer: Timer) {
        if timer == Timer::NextAddress {
            return self.leave_address(id);
        }
        if let Some(transaction) = self.transactions.get_mut(id) {
            let steps = transaction.machine.on_timer(timer);
            self.carry_out(id, &steps, None);
        }
    }

    fn on_call_timer(&mut self, key: CallKey, timer: Timer) {
        match timer {
            Timer::AnswerRepeat => self.repeat_answer(key),
            Timer::AnswerUnconfirmed => self.give_up_on_ack(key),
            Timer::ProvisionalRefresh => self.refresh_provisional(key),
            Timer::NextWay => self.lose_patience(key),
            Timer::C => self.give_up_ringing(key),
            Timer::CancelUnanswered => self.give_up_on_cancel(key),
            Timer::ReliableRepeat => self.repeat_reliable(key),
            Timer::ReliableUnanswered => self.give_up_on_prack(key),
            Timer::SessionRefresh => self.refresh_session(key),
            Timer::SessionExpired => self.expire_session(key),
            Timer::Glare => self.change_again(key),
            Timer::ChangeUnanswered => self.give_up_on_change(key),
            Timer::TransferSilent => self.give_up_on_transfer(key),
            Timer::A
            | Timer::B
            | Timer::D
            | Timer::E
            | Timer::F
            | Timer::G
            | Timer::H
            | Timer::I
            | Timer::J
            | Timer::K
            | Timer::L
            | Timer::M
            | Timer::Trying
            | Timer::NextAddress
            | Timer::RegisterDue
            | Timer::BindingLapsed
            | Timer::ProbeDue
            | Timer::ProbeUnanswered
            | Timer::KeepaliveDue => {}
        }
    }

    fn arm_call(&mut self, key: CallKey, timer: Timer, delay: Duration) {
        if let Some(call) = self.calls.get_mut(&key) {
            let at = self.now.saturating_add(delay);
            self.timers
                .arm(&mut call.alarms, Owner::Call(key), timer, at);
        }
    }

    fn disarm_call(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key) {
            for slot in Slot::ALL {
                self.timers.disarm(&mut call.alarms, slot);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.outbox.push_back(Output::Event(event));
    }
}

fn armed(
    transactions: &Table,
    calls: &HashMap<CallKey, Box<Call>, RandomState>,
    trunks: &HashMap<TrunkKey, Box<Kept>, RandomState>,
    owner: Owner,
) -> Option<Alarms> {
    match owner {
        Owner::Transaction(id) => transactions.get(id).map(|found| found.alarms),
        Owner::Call(key) => calls.get(&key).map(|call| call.alarms),
        Owner::Trunk(key) => trunks.get(&key).map(|trunk| trunk.alarms),
    }
}
