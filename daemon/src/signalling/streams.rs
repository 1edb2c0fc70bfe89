//! All connections: who may open how many, which one a message goes by, and
//! opening one where there is none.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offhook_sip::{Flow, Transport, answer_port, is_at};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::{Ending, Handle, Heard, NotQueued, Post, Terms, run};
use crate::house::House;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 4096;
/// Of one trunk's address.
const OF_TRUNK_MAX: usize = 1024;
/// Of one stranger's address, and of all strangers.
const OF_STRANGER_MAX: usize = 4;
const OF_STRANGERS_MAX: usize = 128;
/// A connection is there by then, and its handshake done.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// Messages that connections may have waiting for signalling.
const HEARD: usize = 1024;
/// After an accept that failed (no file left) the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound stream listener.
pub struct StreamListener {
    /// The socket.
    pub listener: TcpListener,
    /// The address that it is bound to.
    pub bound: SocketAddr,
    /// Certificates, for TLS.
    pub acceptor: Option<TlsAcceptor>,
}

impl StreamListener {
    /// How SIP travels here, and where.
    pub fn place(&self) -> (Transport, SocketAddr) {
        (self.transport(), self.bound)
    }

    fn transport(&self) -> Transport {
        match self.acceptor {
            None => Transport::Tcp,
            Some(_) => Transport::Tls,
        }
    }
}

/// What all connections share.
struct Shared {
    heard: mpsc::Sender<Heard>,
    house: Arc<House>,
    seats: Mutex<Seats>,
    numbers: AtomicU64,
    /// Bytes of all messages that wait for peers; shown, never a bound.
    open: AtomicUsize,
}

#[derive(Default)]
struct Seats {
    all: usize,
    strangers: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place among the limits, given back when it ends.
struct Seat {
    shared: Arc<Shared>,
    address: IpAddr,
    known: bool,
}

impl Shared {
    fn seats(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(self: &Arc<Self>, address: IpAddr, known: bool) -> Option<Seat> {
        let mut seats = self.seats();
        let here = seats.by_address.get(&address).copied().unwrap_or(0);
        let most = if known { OF_TRUNK_MAX } else { OF_STRANGER_MAX };
        let crowd = !known && seats.strangers >= OF_STRANGERS_MAX;
        if seats.all >= CONNECTIONS_MAX || here >= most || crowd {
            self.house
                .sip
                .streams_refused
                .fetch_add(1, Ordering::Relaxed);
            return None;
        }
        seats.all += 1;
        seats.strangers += usize::from(!known);
        *seats.by_address.entry(address).or_insert(0) += 1;
        self.open.store(seats.all, Ordering::Relaxed);
        Some(Seat {
            shared: Arc::clone(self),
            address,
            known,
        })
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.shared.seats();
        seats.all = seats.all.saturating_sub(1);
        seats.strangers = seats.strangers.saturating_sub(usize::from(!self.known));
        if let Some(here) = seats.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                seats.by_address.remove(&self.address);
            }
        }
        self.shared.open.store(seats.all, Ordering::Relaxed);
    }
}

/// The table, owned by signalling.
pub(super) struct Streams {
    table: HashMap<Flow, Handle>,
    shared: Arc<Shared>,
    connector: TlsConnector,
    bound: Vec<(Transport, SocketAddr)>,
}

impl Streams {
    /// Serves the listeners; what connections say comes out of the receiver.
    pub(super) fn new(
        listeners: Vec<StreamListener>,
        connector: TlsConnector,
        house: Arc<House>,
    ) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel(HEARD);
        let shared = Arc::new(Shared {
            heard,
            house,
            seats: Mutex::default(),
            numbers: AtomicU64::new(1),
            open: AtomicUsize::new(0),
        });
        let bound = listeners.iter().map(StreamListener::place).collect();
        for listener in listeners {
            tokio::spawn(accept(listener, Arc::clone(&shared)));
        }
        let streams = Self {
            table: HashMap::new(),
            shared,
            connector,
            bound,
        };
        (streams, receiver)
    }

    pub(super) fn opened(&mut self, flow: Flow, handle: Handle) {
        self.table.insert(flow, handle);
    }

    /// Forgets a connection; `true` when it was the one for this path.
    pub(super) fn ended(&mut self, flow: &Flow, number: u64) -> bool {
        let ours = self
            .table
            .get(flow)
            .is_some_and(|handle| handle.number == number);
        if ours {
            self.table.remove(flow);
        }
        ours
    }

    /// Sends by the connection of this path, else by the one the dialog came
    /// over, else by a new one. `false`: it cannot be sent.
    pub(super) fn send(&mut self, flow: Flow, reuse: Option<SocketAddr>, bytes: Vec<u8>) -> bool {
        let alias = reuse.map(|remote| Flow { remote, ..flow });
        let known = [Some(flow), alias]
            .into_iter()
            .flatten()
            .find(|path| self.table.contains_key(path));
        match known {
            Some(path) => self.send_by(path, flow, bytes),
            None => self.open(flow, bytes),
        }
    }

    /// An answer whose connection is lost goes to the port that its request names:
    /// nobody listens at the one that it came from (RFC 3261 §18.2.2).
    fn open(&mut self, flow: Flow, bytes: Vec<u8>) -> bool {
        let port = answer_port(&bytes).map(|port| port.unwrap_or(flow.transport.default_port()));
        let flow = port.map_or(flow, |port| Flow {
            remote: SocketAddr::new(flow.remote.ip(), port),
            ..flow
        });
        if self.table.contains_key(&flow) {
            return self.send_by(flow, flow, bytes);
        }
        self.dial(flow, bytes)
    }

    /// A peer whose queue is full does not read: it loses its connection. One
    /// that has just closed it gets another.
    fn send_by(&mut self, path: Flow, flow: Flow, bytes: Vec<u8>) -> bool {
        let Some(handle) = self.table.get(&path) else {
            return self.open(flow, bytes);
        };
        match handle.send(bytes) {
            Ok(()) => true,
            Err(NotQueued::Gone(bytes)) => {
                self.table.remove(&path);
                self.open(flow, bytes)
            }
            Err(NotQueued::Full) => {
                self.table.remove(&path);
                let counters = &self.shared.house.sip;
                counters.streams_stalled.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn dial(&mut self, flow: Flow, bytes: Vec<u8>) -> bool {
        let mut bound = self.bound.iter();
        let ours =
            |at: &&(Transport, SocketAddr)| at.0 == flow.transport && is_at(at.1, flow.local);
        let Some((_, bound)) = bound.find(ours) else {
            return false;
        };
        let local = bound.ip();
        let Some(seat) = self.shared.seat(flow.remote.ip(), true) else {
            return false;
        };
        let (handle, post) = Handle::new(self.shared.number());
        let number = handle.number;
        if handle.send(bytes).is_err() {
            return false;
        }
        self.table.insert(flow, handle);
        let (shared, connector) = (Arc::clone(&self.shared), self.connector.clone());
        tokio::spawn(async move {
            let ending = dialled(flow, local, connector, post, &shared).await;
            drop(seat);
            let ended = Heard::Ended {
                flow,
                number,
                ending,
            };
            let _ = shared.heard.send(ended).await;
        });
        true
    }
}

/// Opens a connection and runs it.
async fn dialled(
    flow: Flow,
    local: IpAddr,
    connector: TlsConnector,
    mut post: Post,
    shared: &Arc<Shared>,
) -> Ending {
    let Ok(Ok(mut stream)) = timeout(OPEN_PATIENCE, connect(local, flow.remote)).await else {
        return Ending::NotOpened;
    };
    let terms = Terms {
        known: true,
        dialled: true,
    };
    if flow.transport != Transport::Tls {
        return run(&mut stream, flow, terms, &mut post, &shared.heard).await;
    }
    let name = shared.house.trunks.server_name(flow.remote);
    let name = ServerName::try_from(name).unwrap_or(ServerName::from(flow.remote.ip()));
    let shown = name.to_str().into_owned();
    match timeout(OPEN_PATIENCE, connector.connect(name, stream)).await {
        Ok(Ok(mut stream)) => run(&mut stream, flow, terms, &mut post, &shared.heard).await,
        Ok(Err(error)) => {
            tracing::warn!(message = "tls_refused", peer = %flow.remote, name = shown, %error);
            Ending::NotOpened
        }
        Err(_) => Ending::NotOpened,
    }
}

/// Leaves by the address of the listener, so that the peer's address match holds.
async fn connect(local: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if local.is_ipv4() == remote.is_ipv4() && !local.is_unspecified() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(remote).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes connections of one listener, each into a task of its own.
async fn accept(listener: StreamListener, shared: Arc<Shared>) {
    let transport = listener.transport();
    loop {
        let Ok((stream, remote)) = listener.listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let any = listener.bound.ip().is_unspecified();
        let own = any.then(|| stream.local_addr().ok()).flatten();
        let flow = Flow {
            transport,
            local: own.unwrap_or(listener.bound),
            remote,
        };
        let house = &shared.house;
        let known = house.trunks.at(remote.ip(), &house.settings).is_some();
        let Some(seat) = shared.seat(remote.ip(), known) else {
            continue;
        };
        let (acceptor, shared) = (listener.acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move { accepted(stream, flow, known, acceptor, seat, shared).await });
    }
}

async fn accepted(
    mut stream: TcpStream,
    flow: Flow,
    known: bool,
    acceptor: Option<TlsAcceptor>,
    seat: Seat,
    shared: Arc<Shared>,
) {
    // A small answer must not wait for the next one; without it only slower.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        serve(&mut stream, flow, known, &shared).await;
        return drop(seat);
    };
    match timeout(OPEN_PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(mut stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let named = certificates.and_then(|chain| chain.first());
            let named = named.is_some_and(|leaf| shared.house.trunks.identify(flow, leaf));
            serve(&mut stream, flow, known || named, &shared).await;
            shared.house.trunks.forget(&flow);
        }
        Ok(Err(error)) => {
            shared.house.sip.tls_failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(message = "tls_failed", peer = %flow.remote, %error);
        }
        Err(_) => {
            shared.house.sip.tls_failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    drop(seat);
}

async fn serve<S>(stream: &mut S, flow: Flow, known: bool, shared: &Arc<Shared>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (handle, mut post) = Handle::new(shared.number());
    let number = handle.number;
    let opened = Heard::Opened { flow, handle };
    if shared.heard.send(opened).await.is_err() {
        return;
    }
    let terms = Terms {
        known,
        dialled: false,
    };
    let ending = run(stream, flow, terms, &mut post, &shared.heard).await;
    let counters = &shared.house.sip;
    match ending {
        Ending::Slow => &counters.streams_slow,
        Ending::Stalled => &counters.streams_stalled,
        Ending::Unreadable => &counters.streams_unreadable,
        Ending::Closed | Ending::Silent | Ending::Dropped | Ending::NotOpened => {
            &counters.streams_closed
        }
    }
    .fetch_add(1, Ordering::Relaxed);
    let ended = Heard::Ended {
        flow,
        number,
        ending,
    };
    // Signalling may be gone; then so is the table.
    let _ = shared.heard.send(ended).await;
}
