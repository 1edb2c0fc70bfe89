//! The SIP sockets around the endpoint: messages in, messages out, no decisions.
//!
//! One tokio task on a thread of its own owns the endpoint and the datagram
//! sockets; each stream is a task beside it behind bounded queues. Events of calls
//! go to the decision thread; its commands come back through a bounded queue.

mod connection;
mod minute;
mod streams;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use offhook_sip::{
    CallKey, Command, Endpoint, Event, Flow, HostName, Input, Invite, Output, StoredDialog,
    Transport, is_at,
};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsConnector;

pub use streams::StreamListener;

use self::connection::Heard;
use self::minute::{Edge, Minute};
use self::streams::Streams;
use crate::backlog::Backlog;
use crate::bell::nap_after;
use crate::clock;
use crate::house::House;
use crate::trunks::Known;

/// The largest UDP payload (RFC 768: 65,535 with the 8 bytes of its header).
const DATAGRAM_MAX: usize = 65_527;

/// What the decision thread asks of signalling.
#[derive(Debug)]
pub enum Order {
    /// Something on a call that has a key.
    Command(Command),
    /// A new outgoing call; its key comes back in [`Notice::Placed`].
    Place {
        /// Comes back with the key.
        token: u64,
        /// The call; its key is replaced.
        invite: Box<Invite>,
    },
    /// BYE in a dialog that a crash left behind; its key comes back too.
    Abandon {
        /// Comes back with the key.
        token: u64,
        /// What was stored at the answer.
        dialog: Box<StoredDialog>,
    },
    /// Where a host is that a dialog has named.
    Located {
        /// Its name.
        name: HostName,
        /// The best first; none where it is not found.
        addresses: Vec<SocketAddr>,
    },
}

/// What signalling tells the decision thread.
#[derive(Debug)]
pub enum Notice {
    /// Something happened on a call.
    Event(Event),
    /// The outgoing call with this token has this key from now on.
    Placed {
        /// From [`Order::Place`].
        token: u64,
        /// The call.
        key: CallKey,
    },
    /// The call is answered; this text is enough to send its BYE after a crash.
    Dialog {
        /// The call.
        key: CallKey,
        /// [`StoredDialog`] as text.
        text: String,
    },
}

/// Where notices go: the decision thread's queue. Full means wait: nothing that
/// an accepted call says may be lost, and the peers repeat what we do not read.
pub trait Inbox: Send + Sync + 'static {
    /// Takes the notice, or hands it back when there is no room now.
    fn offer(&self, notice: Notice) -> Result<(), Notice>;
}

/// Counters of the sockets, readable by anybody.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams received.
    pub received: AtomicU64,
    /// Datagrams sent.
    pub sent: AtomicU64,
    /// Datagrams that the kernel would not take; the peer's timers repeat them.
    pub send_failed: AtomicU64,
    /// Times that the decision thread's queue was full.
    pub inbox_full: AtomicU64,
    /// Set by the decision thread: it has more to do than it gets done.
    pub decision_late: AtomicBool,
    /// Connections closed at once, since there were too many.
    pub streams_refused: AtomicU64,
    /// Connections closed because they began a message and did not end it, or
    /// said nothing at all.
    pub streams_slow: AtomicU64,
    /// Connections closed because their peer did not read.
    pub streams_stalled: AtomicU64,
    /// Connections closed because what came was no SIP.
    pub streams_unreadable: AtomicU64,
    /// Connections that ended otherwise.
    pub streams_closed: AtomicU64,
    /// TLS handshakes of callers that failed.
    pub tls_failed: AtomicU64,
    /// Calls of trunks that were refused: no room, or nobody under that number.
    pub calls_refused: AtomicU64,
    /// What the endpoint counts, at most a second old.
    pub endpoint: Mutex<offhook_sip::Counters>,
}

/// A crowd of messages waits so long: where the system gives a socket its usual 208 KiB,
/// it holds what 5,000 calls a second bring meanwhile.
const LONG_NAP: Duration = Duration::from_millis(15);

/// How often the endpoint's counters are shown.
const COUNTERS_EVERY: Duration = Duration::from_secs(1);

/// How long a stop waits for registrars to let go.
const FAREWELL: Duration = Duration::from_millis(500);

/// All sockets; each with the address that it is bound to.
pub struct Sockets {
    /// For datagrams.
    pub datagrams: Vec<(UdpSocket, SocketAddr)>,
    /// For streams.
    pub streams: Vec<StreamListener>,
    /// Certificates of TLS connections that we open.
    pub connector: TlsConnector,
}

impl Sockets {
    /// All addresses of ours, datagram sockets first.
    pub fn locals(&self) -> Vec<(Transport, SocketAddr)> {
        let datagrams = self.datagrams.iter().map(|(_, at)| (Transport::Udp, *at));
        let streams = self.streams.iter().map(StreamListener::place);
        datagrams.chain(streams).collect()
    }
}

/// The task that owns endpoint and sockets.
pub struct Signalling<I> {
    endpoint: Endpoint,
    sockets: Vec<Listener>,
    streams: Streams,
    questions: mpsc::Sender<HostName>,
    heard: mpsc::Receiver<Heard>,
    orders: mpsc::Receiver<Order>,
    inbox: I,
    timer: Pin<Box<Sleep>>,
    house: Arc<House>,
    counted_at: Duration,
    /// Messages until then.
    counted: u64,
    minute: Minute,
    /// When the timer rings; it may ring before anything is due, never after.
    timer_at: Option<Duration>,
    /// What was found since it last waited.
    found: usize,
    backlog: Backlog,
    /// The endpoint refuses new calls.
    overloaded: bool,
    buffer: Box<[u8]>,
    /// The socket whose turn it is.
    turn: usize,
}

/// One socket and the address that it is bound to.
struct Listener {
    socket: UdpSocket,
    bound: SocketAddr,
}

/// Why the task woke.
enum Wakeup {
    Datagram {
        listener: usize,
        remote: SocketAddr,
        length: usize,
    },
    Stream(Heard),
    Order(Order),
    /// Every sender of orders is gone: the daemon is going down.
    Closed,
    Timer,
}

impl<I: Inbox> Signalling<I> {
    /// Must be called within the runtime that runs it. Questions for hosts are answered
    /// by orders.
    pub fn new(
        endpoint: Endpoint,
        sockets: Sockets,
        (orders, questions): (mpsc::Receiver<Order>, mpsc::Sender<HostName>),
        inbox: I,
        house: Arc<House>,
    ) -> Self {
        let Sockets {
            datagrams,
            streams,
            connector,
        } = sockets;
        let (streams, heard) = Streams::new(streams, connector, Arc::clone(&house));
        let sockets = datagrams
            .into_iter()
            .map(|(socket, bound)| Listener { socket, bound })
            .collect();
        Self {
            endpoint,
            sockets,
            streams,
            questions,
            heard,
            orders,
            inbox,
            timer: Box::pin(sleep(Duration::ZERO)),
            house,
            counted_at: Duration::ZERO,
            counted: 0,
            minute: Minute::default(),
            timer_at: Some(Duration::ZERO),
            found: 0,
            backlog: Backlog::default(),
            overloaded: false,
            buffer: vec![0; DATAGRAM_MAX].into_boxed_slice(),
            turn: 0,
        }
    }

    /// Runs until every sender of orders is gone.
    pub async fn run(mut self) {
        loop {
            self.drain().await;
            let wakeup = poll_fn(|context| self.poll_wakeup(context)).await;
            self.found += 1;
            let now = clock::now();
            self.watch_load(now);
            match wakeup {
                Wakeup::Datagram {
                    listener,
                    remote,
                    length,
                } => {
                    self.receive(now, listener, remote, length);
                }
                Wakeup::Stream(heard) => self.hear(now, heard),
                Wakeup::Order(order) => self.obey(order).await,
                Wakeup::Timer => self.endpoint.handle(now, Input::Wake),
                Wakeup::Closed => return self.leave().await,
            }
        }
    }

    fn receive(&mut self, now: Duration, listener: usize, remote: SocketAddr, length: usize) {
        self.house.sip.received.fetch_add(1, Ordering::Relaxed);
        let (trunks, bound) = (&self.house.trunks, self.sockets[listener].bound);
        let known = trunks.known(remote.ip(), &self.house.settings);
        let local = match known {
            Known::Trusted | Known::Guarded(_) => trunks.paths.local(bound, remote.ip()),
            // Nobody asks the routing table for those: what they get has no Contact.
            Known::Stranger => bound,
        };
        let flow = Flow {
            transport: Transport::Udp,
            local,
            remote,
        };
        let bytes = &self.buffer[..length];
        let input = match known {
            Known::Trusted => Input::Packet { flow, bytes },
            Known::Guarded(trunk) => Input::Guarded { flow, trunk, bytes },
            Known::Stranger => {
                self.minute.stranger(remote.ip());
                Input::Stranger { flow, bytes }
            }
        };
        self.endpoint.handle(now, input);
    }

    /// Whether this thread and the next one keep up, else callers had better come
    /// later than be served late.
    fn watch_load(&mut self, now: Duration) {
        // Relaxed: a flag that stands alone.
        let decision_late = self.house.sip.decision_late.load(Ordering::Relaxed);
        let overloaded = self.backlog.look(now, true) || decision_late;
        if overloaded != std::mem::replace(&mut self.overloaded, overloaded) {
            let command = Command::Overloaded(overloaded);
            self.endpoint.handle(now, Input::Command(command));
        }
    }

    fn hear(&mut self, now: Duration, heard: Heard) {
        match heard {
            Heard::Opened { flow, handle } => self.streams.opened(flow, handle),
            Heard::Message { flow, known, bytes } => {
                self.house.sip.received.fetch_add(1, Ordering::Relaxed);
                let bytes = &bytes;
                let by_address = |flow: &Flow| {
                    let trunks = &self.house.trunks;
                    trunks.known(flow.remote.ip(), &self.house.settings)
                };
                let input = match (known, by_address(&flow)) {
                    (false, _) => {
                        self.minute.stranger(flow.remote.ip());
                        Input::Stranger { flow, bytes }
                    }
                    (true, Known::Guarded(trunk)) => Input::Guarded { flow, trunk, bytes },
                    // By its address, its certificate, or since we dialled it.
                    (true, Known::Trusted | Known::Stranger) => Input::Packet { flow, bytes },
                };
                self.endpoint.handle(now, input);
            }
            Heard::Ended {
                flow,
                number,
                ending,
            } => {
                let ours = self.streams.ended(&flow, number);
                tracing::debug!(message = "stream_ended", peer = %flow.remote, ?ending);
                if ours {
                    let input = Input::Unreachable { flow };
                    self.endpoint.handle(now, input);
                }
            }
        }
    }

    /// Takes registrations back, and waits a moment for the answers.
    async fn leave(&mut self) {
        for key in self.endpoint.trunk_keys() {
            let command = Command::DropTrunk(key);
            self.endpoint.handle(clock::now(), Input::Command(command));
        }
        let end = clock::now() + FAREWELL;
        loop {
            self.drain().await;
            if !self.endpoint.is_leaving_trunks() || clock::now() >= end {
                return;
            }
            self.set_timer(Some(end));
            let datagram = poll_fn(|context| {
                if self.timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
                self.poll_sockets(context).map(Some)
            });
            match datagram.await {
                Some(Wakeup::Datagram {
                    listener,
                    remote,
                    length,
                }) => self.receive(clock::now(), listener, remote, length),
                Some(Wakeup::Stream(heard)) => self.hear(clock::now(), heard),
                Some(_) => return,
                None => {
                    self.timer_at = None;
                    self.endpoint.handle(clock::now(), Input::Wake);
                }
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        let mut answered = None;
        let command = match order {
            Order::Command(command) => {
                if let Command::Accept { key, .. } = &command {
                    answered = Some(*key);
                }
                command
            }
            Order::Place { token, mut invite } => {
                invite.key = self.endpoint.next_key();
                self.deliver(Notice::Placed {
                    token,
                    key: invite.key,
                })
                .await;
                Command::Invite(invite)
            }
            Order::Abandon { token, mut dialog } => {
                self.adopt(&mut dialog.flow);
                let key = self.endpoint.next_key();
                self.deliver(Notice::Placed { token, key }).await;
                Command::AbandonedBye { key, dialog }
            }
            Order::Located { name, addresses } => {
                let located = Input::Located { name, addresses };
                return self.endpoint.handle(clock::now(), located);
            }
        };
        self.endpoint.handle(clock::now(), Input::Command(command));
        if let Some(key) = answered {
            self.deliver_dialog(key).await;
        }
    }

    /// Carries out everything that the endpoint asks for.
    async fn drain(&mut self) {
        loop {
            match self.endpoint.poll() {
                Output::Transmit { flow, reuse, bytes } => self.send(flow, reuse, bytes),
                Output::Locate(name) => self.locate(name),
                Output::Event(Event::Trunk { key, standing }) => {
                    self.house.trunks.stands(key, standing, clock::now());
                }
                Output::Event(event) => {
                    self.lead_on(&event);
                    let answered = match &event {
                        Event::Answered { key, .. } => Some(*key),
                        _ => None,
                    };
                    self.deliver(Notice::Event(event)).await;
                    if let Some(key) = answered {
                        self.deliver_dialog(key).await;
                    }
                }
                Output::Wait(until) => {
                    let show = self.show_counters();
                    self.set_timer(until.into_iter().chain(show).min());
                    return;
                }
            }
        }
    }

    /// Has a host looked up. With too many questions open it is nowhere for now.
    fn locate(&mut self, name: HostName) {
        if let Err(full) = self.questions.try_send(name) {
            let (name, addresses) = (full.into_inner(), Vec::new());
            let nowhere = Input::Located { name, addresses };
            self.endpoint.handle(clock::now(), nowhere);
        }
    }

    /// A way that failed rests; a redirect is followed where its trunk may call.
    fn lead_on(&mut self, event: &Event) {
        let now = clock::now();
        match event {
            Event::Rerouted {
                trunk,
                flow,
                next,
                failure,
                ..
            } => {
                self.house.trunks.rest(flow, failure, now);
                self.house.trunks.came_over(*trunk, *next, now);
            }
            Event::Redirected {
                key,
                trunk,
                flow,
                failure,
            } => {
                let ways = self.house.trunks.follow(*trunk, *flow, failure, now);
                let key = *key;
                let follow = Input::Command(Command::Follow { key, ways });
                self.endpoint.handle(now, follow);
            }
            _ => {}
        }
    }

    /// A dialog of an earlier start may be of a socket that is no more: then
    /// another one of its kind speaks for it.
    fn adopt(&self, flow: &mut Flow) {
        let paths = &self.house.trunks.paths;
        if !paths.has(flow)
            && let Some(ours) = paths.towards(flow.transport, flow.remote.ip())
        {
            flow.local = ours;
        }
    }

    /// A datagram that cannot be sent is lost like any other: timers repeat it.
    /// What no connection takes fails what waits for its answer.
    fn send(&mut self, flow: Flow, reuse: Option<SocketAddr>, bytes: Vec<u8>) {
        let sent = if flow.transport.is_reliable() {
            self.streams.send(flow, reuse, bytes)
        } else {
            self.sockets
                .iter()
                .find(|listener| is_at(listener.bound, flow.local))
                .is_some_and(|listener| listener.socket.try_send_to(&bytes, flow.remote).is_ok())
        };
        if !sent && flow.transport.is_reliable() {
            let input = Input::Unreachable { flow };
            self.endpoint.handle(clock::now(), input);
        }
        let counter = if sent {
            &self.house.sip.sent
        } else {
            &self.house.sip.send_failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A dialog is stored at the answer, so that its peer is not left alone by a crash.
    async fn deliver_dialog(&self, key: CallKey) {
        if let Some(dialog) = self.endpoint.stored_dialog(key) {
            self.deliver(Notice::Dialog {
                key,
                text: dialog.to_text(),
            })
            .await;
        }
    }

    async fn deliver(&self, notice: Notice) {
        let mut waiting = notice;
        while let Err(back) = self.inbox.offer(waiting) {
            self.house.sip.inbox_full.fetch_add(1, Ordering::Relaxed);
            waiting = back;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Shows what was counted, or says when it is time for that.
    fn show_counters(&mut self) -> Option<Duration> {
        let now = clock::now();
        let counters = self.endpoint.counters();
        let messages = counters.received + counters.sent;
        if now < self.counted_at + COUNTERS_EVERY {
            let news = messages != self.counted;
            return news.then_some(self.counted_at + COUNTERS_EVERY);
        }
        if messages != self.counted {
            self.counted_at = now;
            self.counted = messages;
            let shown = self.house.sip.endpoint.lock();
            *shown.unwrap_or_else(PoisonError::into_inner) = self.endpoint.counters().clone();
        }
        let edge = Edge::of(&self.house);
        self.minute.look(now, self.endpoint.counters(), &edge);
        self.minute.due(self.endpoint.counters(), &edge)
    }

    /// A timer that rings too early costs less than one that is set anew for
    /// every message.
    fn set_timer(&mut self, until: Option<Duration>) {
        let rings_in_time = match (self.timer_at, until) {
            (Some(at), Some(until)) => at <= until,
            (Some(_), None) | (None, None) => true,
            (None, Some(_)) => false,
        };
        if rings_in_time {
            return;
        }
        self.timer_at = until;
        // Without a timer: an hour, since "never" has no instant.
        let wait = until.map_or(Duration::from_secs(3600), |at| {
            at.saturating_sub(clock::now())
        });
        self.timer.set(sleep(wait));
    }

    fn poll_wakeup(&mut self, context: &mut Context<'_>) -> Poll<Wakeup> {
        match self.orders.poll_recv(context) {
            Poll::Ready(Some(order)) => return Poll::Ready(Wakeup::Order(order)),
            Poll::Ready(None) => return Poll::Ready(Wakeup::Closed),
            Poll::Pending => {}
        }
        if self.timer_at.is_some() && self.timer.as_mut().poll(context).is_ready() {
            self.timer_at = None;
            return Poll::Ready(Wakeup::Timer);
        }
        let wakeup = self.poll_sockets(context);
        // Without a budget there may be more: the streams get their turn, and it goes on.
        if wakeup.is_pending() && has_budget_remaining() {
            self.backlog.look(clock::now(), false);
            let found = std::mem::take(&mut self.found);
            if found > 0 {
                // Its thread has nothing else to do. What came meanwhile is found at once.
                std::thread::sleep(nap_after(found, LONG_NAP));
            }
        }
        wakeup
    }

    /// The next message, taking the sockets, and all streams as one of them, in
    /// turn so that a flood on one leaves the others their share.
    fn poll_sockets(&mut self, context: &mut Context<'_>) -> Poll<Wakeup> {
        for _ in 0..=self.sockets.len() {
            let listener = self.turn;
            self.turn = (self.turn + 1) % (self.sockets.len() + 1);
            let Some(Listener { socket, .. }) = self.sockets.get(listener) else {
                if let Poll::Ready(Some(heard)) = self.heard.poll_recv(context) {
                    return Poll::Ready(Wakeup::Stream(heard));
                }
                continue;
            };
            let mut buffer = ReadBuf::new(&mut self.buffer);
            loop {
                match socket.poll_recv_from(context, &mut buffer) {
                    Poll::Ready(Ok(remote)) => {
                        let length = buffer.filled().len();
                        return Poll::Ready(Wakeup::Datagram {
                            listener,
                            remote,
                            length,
                        });
                    }
                    // A peer's ICMP answer to something sent; timers deal with it.
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    }
}
