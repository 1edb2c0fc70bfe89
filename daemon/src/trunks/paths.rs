//! Which of our sockets reaches whom, and by which address: what is bound, and
//! what the routing table says of a peer.
//!
//! A lone socket on one address is never asked about. Signalling and the trunks
//! read it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use offhook_sip::{Advertise, Flow, Transport, host_port, is_at};

use crate::clock;

/// What the routing table said holds so long: a link that comes up is used soon.
const HOLDS: Duration = Duration::from_secs(10);
/// Peers whose answer is kept; beyond that all are asked for anew.
const PEERS_MAX: usize = 4096;

/// Our sockets and the ways from them.
#[derive(Debug, Default)]
pub struct Paths {
    listeners: Vec<(Transport, SocketAddr)>,
    advertise: Vec<Advertise>,
    /// Our address towards a peer, and until when that holds.
    known: Mutex<HashMap<IpAddr, (IpAddr, Duration)>>,
}

impl Paths {
    /// Sockets as they are bound, and what peers are told instead.
    pub fn new(listeners: Vec<(Transport, SocketAddr)>, advertise: Vec<Advertise>) -> Self {
        Self {
            listeners,
            advertise,
            known: Mutex::default(),
        }
    }

    /// A socket of this kind is there.
    pub fn serves(&self, transport: Transport) -> bool {
        self.listeners.iter().any(|(kind, _)| *kind == transport)
    }

    /// A bound socket is at this end of a flow.
    pub fn has(&self, flow: &Flow) -> bool {
        let mut all = self.listeners.iter();
        all.any(|(kind, bound)| *kind == flow.transport && is_at(*bound, flow.local))
    }

    /// Our end of a new flow: a socket of the kind and family, the one on the address
    /// that the routing table takes before the others. One on loopback reaches
    /// loopback only.
    pub fn towards(&self, transport: Transport, remote: IpAddr) -> Option<SocketAddr> {
        let reaches = |(kind, bound): &&(Transport, SocketAddr)| {
            *kind == transport
                && bound.is_ipv4() == remote.is_ipv4()
                && (!bound.ip().is_loopback() || remote.is_loopback())
        };
        let mut all = self.listeners.iter().filter(reaches).map(|(_, at)| *at);
        let first = all.next()?;
        let others: Vec<_> = all.collect();
        if others.is_empty() {
            return Some(self.local(first, remote));
        }
        let routed = self.routed(remote);
        let one_of_all = |bound: &SocketAddr| bound.ip().is_unspecified();
        let exact = |bound: &SocketAddr| Some(bound.ip()) == routed;
        let mut all = [first].into_iter().chain(others);
        let chosen = all.clone().find(exact).or_else(|| all.find(one_of_all));
        Some(self.local(chosen.unwrap_or(first), remote))
    }

    /// Our end towards a peer of a bound socket, which may be on all addresses.
    pub fn local(&self, bound: SocketAddr, remote: IpAddr) -> SocketAddr {
        let routed = bound.ip().is_unspecified().then(|| self.routed(remote));
        SocketAddr::new(routed.flatten().unwrap_or(bound.ip()), bound.port())
    }

    /// Our end of a flow as its peer sees it, as in a URI.
    pub fn shown(&self, flow: &Flow) -> String {
        host_port(&self.advertise, flow)
    }

    fn routed(&self, remote: IpAddr) -> Option<IpAddr> {
        let now = clock::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((own, until)) = known.get(&remote)
            && now < *until
        {
            return Some(*own);
        }
        let own = own_address(remote)?;
        if known.len() >= PEERS_MAX {
            known.clear();
        }
        known.insert(remote, (own, now + HOLDS));
        Some(own)
    }
}

/// Our address on the way to a peer, as the routing table says; connecting a UDP
/// socket sends nothing.
pub fn own_address(remote: IpAddr) -> Option<IpAddr> {
    /// Any port: only the address is asked for.
    const PORT: u16 = 9;
    let any: IpAddr = match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((remote, PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(listeners: &[&str]) -> Paths {
        let udp = |at: &&str| (Transport::Udp, at.parse().unwrap());
        Paths::new(listeners.iter().map(udp).collect(), Vec::new())
    }

    #[test]
    fn the_routing_table_chooses_among_sockets_and_fills_in_for_one_on_all() {
        let lo = "127.0.0.9".parse().unwrap();
        // The kernel's own address towards loopback is 127.0.0.1.
        let rows: [(&[&str], &str); 5] = [
            (&["127.0.0.2:5060", "127.0.0.1:5061"], "127.0.0.1:5061"),
            (&["127.0.0.2:5060", "0.0.0.0:5061"], "127.0.0.1:5061"),
            (&["127.0.0.2:5060", "127.0.0.3:5060"], "127.0.0.2:5060"),
            (&["127.0.0.3:5060"], "127.0.0.3:5060"),
            (&["[::]:5060", "0.0.0.0:5060"], "127.0.0.1:5060"),
        ];
        for (listeners, expected) in rows {
            let local = paths(listeners).towards(Transport::Udp, lo);
            assert_eq!(local, Some(expected.parse().unwrap()), "{listeners:?}");
        }
        assert_eq!(paths(&["[::1]:5060"]).towards(Transport::Udp, lo), None);
        assert_eq!(paths(&["0.0.0.0:5060"]).towards(Transport::Tcp, lo), None);
    }

    #[test]
    fn a_socket_on_all_addresses_is_at_each_of_its_port() {
        let paths = paths(&["0.0.0.0:5060", "127.0.0.2:5070"]);
        let at = |local: &str| {
            paths.has(&Flow {
                transport: Transport::Udp,
                local: local.parse().unwrap(),
                remote: "127.0.0.1:5090".parse().unwrap(),
            })
        };
        assert!(at("192.0.2.1:5060") && at("127.0.0.2:5070"));
        assert!(!at("127.0.0.3:5070") && !at("[::1]:5060"));
    }
}
