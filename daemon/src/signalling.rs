//! The SIP sockets around the endpoint: datagrams in, datagrams out, no decisions.
//!
//! One tokio task owns the endpoint and all sockets. Events of calls go to the
//! decision thread; its commands come back through a bounded queue.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use offhook_sip::{
    CallKey, Command, Endpoint, Event, Flow, Input, Invite, Output, StoredDialog, Transport,
};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use crate::clock;
use crate::house::House;

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
    /// What the endpoint counts, at most a second old.
    pub endpoint: Mutex<offhook_sip::Counters>,
}

/// How often the endpoint's counters are shown.
const COUNTERS_EVERY: Duration = Duration::from_secs(1);

/// The task that owns endpoint and sockets.
pub struct Signalling<I> {
    endpoint: Endpoint,
    sockets: Vec<Listener>,
    orders: mpsc::Receiver<Order>,
    inbox: I,
    timer: Pin<Box<Sleep>>,
    house: Arc<House>,
    counted_at: Duration,
    buffer: Box<[u8]>,
    /// The socket whose turn it is.
    turn: usize,
}

/// One bound socket and the address that peers reach it by.
struct Listener {
    socket: UdpSocket,
    local: SocketAddr,
}

/// Why the task woke.
enum Wakeup {
    Datagram {
        listener: usize,
        remote: SocketAddr,
        length: usize,
    },
    Order(Order),
    /// Every sender of orders is gone: the daemon is going down.
    Closed,
    Timer,
}

impl<I: Inbox> Signalling<I> {
    /// `sockets` are bound; each with the address that goes into Via and Contact.
    pub fn new(
        endpoint: Endpoint,
        sockets: Vec<(UdpSocket, SocketAddr)>,
        orders: mpsc::Receiver<Order>,
        inbox: I,
        house: Arc<House>,
    ) -> Self {
        let sockets = sockets
            .into_iter()
            .map(|(socket, local)| Listener { socket, local })
            .collect();
        Self {
            endpoint,
            sockets,
            orders,
            inbox,
            timer: Box::pin(sleep(Duration::ZERO)),
            house,
            counted_at: Duration::ZERO,
            buffer: vec![0; DATAGRAM_MAX].into_boxed_slice(),
            turn: 0,
        }
    }

    /// Runs until every sender of orders is gone.
    pub async fn run(mut self) {
        loop {
            self.drain().await;
            match poll_fn(|context| self.poll_wakeup(context)).await {
                Wakeup::Datagram {
                    listener,
                    remote,
                    length,
                } => {
                    self.receive(listener, remote, length);
                }
                Wakeup::Order(order) => self.obey(order).await,
                Wakeup::Timer => self.endpoint.handle(clock::now(), Input::Wake),
                Wakeup::Closed => return,
            }
        }
    }

    fn receive(&mut self, listener: usize, remote: SocketAddr, length: usize) {
        self.house.sip.received.fetch_add(1, Ordering::Relaxed);
        let flow = Flow {
            transport: Transport::Udp,
            local: self.sockets[listener].local,
            remote,
        };
        let bytes = &self.buffer[..length];
        let input = match self.house.settings.trunk_of(remote.ip()) {
            Some(_) => Input::Packet { flow, bytes },
            None => Input::Stranger { flow, bytes },
        };
        self.endpoint.handle(clock::now(), input);
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
                Output::Transmit { flow, bytes } => self.send(flow, &bytes),
                Output::Event(event) => {
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
                    self.set_timer(until);
                    self.show_counters();
                    return;
                }
            }
        }
    }

    /// A dialog of an earlier start may be of a socket that is no more: then
    /// the first of its kind speaks for it.
    fn adopt(&self, flow: &mut Flow) {
        if !self
            .sockets
            .iter()
            .any(|listener| listener.local == flow.local)
            && let Some(ours) = self
                .sockets
                .iter()
                .find(|listener| listener.local.is_ipv4() == flow.remote.is_ipv4())
        {
            flow.local = ours.local;
        }
    }

    /// A datagram that cannot be sent is lost like any other: timers repeat it.
    fn send(&self, flow: Flow, bytes: &[u8]) {
        let sent = self
            .sockets
            .iter()
            .find(|listener| listener.local == flow.local)
            .is_some_and(|listener| listener.socket.try_send_to(bytes, flow.remote).is_ok());
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

    fn show_counters(&mut self) {
        let now = clock::now();
        if now >= self.counted_at + COUNTERS_EVERY {
            self.counted_at = now;
            let shown = self.house.sip.endpoint.lock();
            *shown.unwrap_or_else(PoisonError::into_inner) = self.endpoint.counters().clone();
        }
    }

    fn set_timer(&mut self, until: Option<Duration>) {
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
        if self.timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Wakeup::Timer);
        }
        self.poll_sockets(context)
    }

    /// The next datagram, taking the sockets in turn so that a flood on one
    /// leaves the others their share.
    fn poll_sockets(&mut self, context: &mut Context<'_>) -> Poll<Wakeup> {
        for _ in 0..self.sockets.len() {
            let listener = self.turn;
            self.turn = (self.turn + 1) % self.sockets.len();
            let socket = &self.sockets[listener].socket;
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
