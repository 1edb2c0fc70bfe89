//! Ports: an even one for RTP, the next for RTCP, least recently used first.
//!
//! A port that was used rests as long as the range allows, so that late packets
//! of the last call do not meet the next one. Called by whoever opens legs;
//! never by a media thread.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use super::system::set_receive_options;

/// What the system keeps for us between two looks: about 100 packets, one
/// second of a call that was not looked at, and no more of a flood.
const RECEIVE_OCTETS: i32 = 131_072;

/// The ports of one leg.
#[derive(Debug)]
pub struct Pair {
    /// Bound to the even port.
    pub socket: UdpSocket,
    /// Where it is bound; its port is to be given back.
    pub rtp: SocketAddr,
    /// The port above: its socket is opened by [`super::rtcp`] when it is needed.
    pub rtcp: SocketAddr,
}

/// The ports of a range, in the order in which they are to be used.
#[derive(Debug)]
pub struct Ports {
    address: IpAddr,
    free: VecDeque<u16>,
}

impl Ports {
    /// Even ports of `range` whose neighbour is in it too.
    pub fn new(address: IpAddr, range: RangeInclusive<u16>) -> Self {
        let free = range
            .clone()
            .filter(|port| port.is_multiple_of(2) && *port > 0 && port < range.end())
            .collect();
        Self { address, free }
    }

    /// Pairs left.
    pub fn left(&self) -> usize {
        self.free.len()
    }

    /// Binds the pair that has rested longest. One that somebody else holds goes
    /// to the end of the queue.
    ///
    /// # Errors
    /// `AddrInUse` when no pair of the range can be bound; else what the system says.
    pub fn open(&mut self) -> io::Result<Pair> {
        for _ in 0..self.free.len() {
            let Some(port) = self.free.pop_front() else {
                break;
            };
            match self.bind(port) {
                Ok(pair) => return Ok(pair),
                Err(error) => {
                    self.free.push_back(port);
                    if error.kind() != io::ErrorKind::AddrInUse {
                        return Err(error);
                    }
                }
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// A pair was closed; it rests.
    pub fn give_back(&mut self, port: u16) {
        self.free.push_back(port);
    }

    fn bind(&self, port: u16) -> io::Result<Pair> {
        let [rtp, rtcp] = [port, port + 1].map(|port| SocketAddr::new(self.address, port));
        let socket = UdpSocket::bind(rtp)?;
        socket.set_nonblocking(true)?;
        set_receive_options(&socket, RECEIVE_OCTETS)?;
        Ok(Pair { socket, rtp, rtcp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn only_whole_pairs_of_the_range_count() {
        for (range, pairs) in [
            (7..=7, 0),
            (7..=9, 1),
            (8..=9, 1),
            (8..=8, 0),
            (8..=11, 2),
            (0..=1, 0),
        ] {
            assert_eq!(Ports::new(LOCAL, range.clone()).left(), pairs, "{range:?}");
        }
        assert_eq!(Ports::new(LOCAL, 65_534..=65_535).left(), 1);
    }

    #[test]
    fn a_used_pair_rests_until_all_others_were_used() {
        let mut ports = Ports::new(LOCAL, 46_000..=46_399);
        let first = ports.open().unwrap();
        assert_eq!(first.socket.local_addr().unwrap(), first.rtp);
        assert_eq!(first.rtcp.port(), first.rtp.port() + 1);
        let rested = first.rtp.port();
        drop(first);
        ports.give_back(rested);
        let before = ports.left();
        for _ in 0..before - 1 {
            let pair = ports.open().unwrap();
            assert_ne!(pair.rtp.port(), rested);
            ports.give_back(pair.rtp.port());
        }
    }

    #[test]
    fn a_range_that_is_taken_is_said_to_be() {
        let mut ports = Ports::new(LOCAL, 46_400..=46_401);
        let held = ports.open().unwrap();
        assert_eq!(ports.open().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let mut others = Ports::new(LOCAL, 46_400..=46_401);
        assert_eq!(others.open().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(others.left(), 1);
        drop(held);
    }
}
