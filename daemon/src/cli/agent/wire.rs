//! The SIP socket of a user agent: a thread that reads it and rings, and the
//! address by which peers reach us.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use offhook_sip::{Flow, HostName, Transport, Uri};

use crate::bell::Bell;
use crate::trunks::{find_host, own_address};

/// The largest UDP payload.
const DATAGRAM_MAX: usize = 65_535;
/// Datagrams that wait; a single call never has more than a few.
const WAITING: usize = 64;
/// How often the reading thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// What came in.
pub(super) enum Arrival {
    /// A datagram.
    Datagram(Flow, Vec<u8>),
    /// A machine on the way says that nobody listens there (ICMP).
    NobodyListens,
}

/// A bound SIP socket that is being read.
pub(super) struct Wire {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    arrivals: Receiver<Arrival>,
    wanted: Arc<AtomicBool>,
}

impl Wire {
    pub(super) fn bind(address: SocketAddr, bell: Bell) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(address)?);
        socket.set_read_timeout(Some(LOOK))?;
        tell_errors(&socket);
        let address = socket.local_addr()?;
        let (sender, arrivals) = sync_channel(WAITING);
        let wanted = Arc::new(AtomicBool::new(true));
        let (reading, still) = (Arc::clone(&socket), Arc::clone(&wanted));
        std::thread::Builder::new()
            .name("sip".to_owned())
            .spawn(move || read(&reading, address, &sender, &still, &bell))?;
        Ok(Self {
            socket,
            address,
            arrivals,
            wanted,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn next(&self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }

    /// What cannot be sent is lost like any other datagram: timers repeat it.
    pub(super) fn send(&self, flow: &Flow, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, flow.remote);
    }

    /// The path to a peer, with our address as it sees us.
    pub(super) fn flow(&self, remote: SocketAddr) -> Flow {
        flow(self.address, remote)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Relaxed: nothing is passed on with it.
        self.wanted.store(false, Ordering::Relaxed);
    }
}

fn read(
    socket: &UdpSocket,
    address: SocketAddr,
    sender: &SyncSender<Arrival>,
    wanted: &AtomicBool,
    bell: &Bell,
) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    while wanted.load(Ordering::Relaxed) {
        let arrival = match socket.recv_from(&mut buffer) {
            Ok((length, remote)) => {
                Arrival::Datagram(flow(address, remote), buffer[..length].to_vec())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Arrival::NobodyListens
            }
            Err(_) => continue,
        };
        // Full: the datagram is lost, and repeated by its sender.
        let _ = sender.try_send(arrival);
        bell.ring();
    }
}

/// Ask to be told of ICMP errors on this unconnected socket (ip(7), IP_RECVERR);
/// where that is refused, a peer that is not there is noticed by timeout.
pub(in super::super) fn tell_errors(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    let (level, name) = match socket.local_addr() {
        Ok(SocketAddr::V6(_)) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        Ok(SocketAddr::V4(_)) | Err(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
    };
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int is small");
    // SAFETY: a valid descriptor, and a valid int of the size given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size,
        )
    };
}

fn flow(address: SocketAddr, remote: SocketAddr) -> Flow {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => own_address(remote.ip()).unwrap_or(ip),
        ip => ip,
    };
    Flow {
        transport: Transport::Udp,
        local: SocketAddr::new(ip, address.port()),
        remote,
    }
}

/// Reads whom to call; `sip:` may be left out.
pub(super) fn target(text: &str) -> Result<Uri, String> {
    let text = match text.split_once(':') {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("sip") => text.to_owned(),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("sips") => {
            return Err("TLS is not spoken by this version: write sip:".to_owned());
        }
        _ => format!("sip:{text}"),
    };
    Uri::parse(&text).map_err(|_| format!("`{text}` is no SIP URI: write sip:100@192.0.2.1:5060"))
}

/// Where the target is; names are looked up as the daemon does (RFC 3263 §4), and where
/// that finds nothing in whatever way the system has.
pub(super) fn resolve(target: &Uri, servers: &[SocketAddr]) -> Result<SocketAddr, String> {
    let host = target.host().trim_start_matches('[').trim_end_matches(']');
    let name = HostName {
        transport: Transport::Udp,
        host: host.to_owned(),
        port: target.port(),
    };
    if let Some(best) = find_host(&name, servers).first() {
        return Ok(*best);
    }
    let port = target.port().unwrap_or(Transport::Udp.default_port());
    let found = (host, port).to_socket_addrs();
    let mut found = found.map_err(|error| format!("{host}: {error}"))?;
    found.next().ok_or_else(|| format!("{host} has no address"))
}

static INTERRUPTED: OnceLock<AtomicBool> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM only set a flag: the call is ended in order.
pub(super) fn catch_interrupts() {
    extern "C" fn note(_signal: libc::c_int) {
        if let Some(flag) = INTERRUPTED.get() {
            flag.store(true, Ordering::Relaxed);
        }
    }
    INTERRUPTED.get_or_init(AtomicBool::default);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let note = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler only stores to an atomic that was made before.
        unsafe { libc::signal(signal, note) };
    }
}

/// Somebody pressed Ctrl-C, once.
pub(super) fn interrupted() -> bool {
    let flag = INTERRUPTED.get();
    flag.is_some_and(|flag| flag.swap(false, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_leave_out_the_scheme_and_the_port() {
        let rows = [
            ("sip:echo@127.0.0.1:5061", Some("127.0.0.1:5061")),
            ("echo@127.0.0.1", Some("127.0.0.1:5060")),
            ("SIP:echo@[::1]:5060", Some("[::1]:5060")),
            ("sips:echo@127.0.0.1", None),
            ("sip:", None),
        ];
        for (text, address) in rows {
            let found = target(text).and_then(|uri| resolve(&uri, &[])).ok();
            assert_eq!(
                found.map(|found| found.to_string()).as_deref(),
                address,
                "{text}"
            );
        }
    }

    #[test]
    fn a_datagram_arrives_with_our_address_as_the_peer_sees_it() {
        let bell = Bell::new().unwrap();
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let wire = Wire::bind(any, bell.clone()).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let here = SocketAddr::from(([127, 0, 0, 1], wire.address().port()));
        peer.send_to(b"hello", here).unwrap();
        let arrival = loop {
            bell.sleep(None);
            if let Some(arrival) = wire.next() {
                break arrival;
            }
        };
        let Arrival::Datagram(flow, bytes) = arrival else {
            panic!("a datagram came");
        };
        assert_eq!((flow.local, bytes.as_slice()), (here, b"hello".as_slice()));
        assert_eq!(flow.remote, peer.local_addr().unwrap());
    }
}
