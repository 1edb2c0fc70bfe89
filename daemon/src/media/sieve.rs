//! What the system is to let through to a socket while more comes than a leg may bring:
//! datagrams of the sources that are heard, and nothing of others. A program for the
//! kernel's packet filter (socket(7), SO_ATTACH_FILTER), so that a flood is dropped
//! before it is queued and cannot push the peer's own packets out.
//!
//! It decides nothing: the media thread says when, the latch says who.

use std::net::{IpAddr, SocketAddr};

use heapless::Vec;
use libc::{
    BPF_ABS, BPF_H, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SKF_NET_OFF, sock_filter,
};

/// Two sources of IPv6 of eleven steps, and the end.
const STEPS: usize = 2 * 11 + 1;
/// Where the source is in a header of IPv4 (RFC 791 §3.1) and of IPv6 (RFC 8200 §3).
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;
/// The whole datagram, and nothing of it.
const TAKE: u32 = u32::MAX;
const DROP: u32 = 0;

/// The program.
pub type Sieve = Vec<sock_filter, STEPS>;

/// Lets through what comes from one of two addresses.
pub fn sieve(sources: [SocketAddr; 2]) -> Sieve {
    let mut steps = Sieve::new();
    for source in sources {
        push_source(&mut steps, source);
    }
    push(&mut steps, BPF_RET | BPF_K, DROP, 0);
    steps
}

/// The filter sees a datagram from its UDP header on: the source's port comes first.
fn push_source(steps: &mut Sieve, source: SocketAddr) {
    let mut words: Vec<(u32, u32), 4> = Vec::new();
    let at = |offset: u32| SKF_NET_OFF.cast_unsigned().wrapping_add(offset);
    match source.ip().to_canonical() {
        IpAddr::V4(ip) => words.extend([(at(SOURCE_V4), ip.to_bits())]),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let word = |part: &[u8]| {
                part.iter()
                    .fold(0, |word, octet| word << 8 | u32::from(*octet))
            };
            let parts = (0..).step_by(4).zip(octets.chunks(4));
            words.extend(parts.map(|(offset, part)| (at(SOURCE_V6 + offset), word(part))));
        }
    }
    // Each word takes two steps; whoever differs goes on behind the last.
    let mut left = words.len() as u8 * 2 + 1;
    push(steps, BPF_LD | BPF_H | BPF_ABS, 0, 0);
    push(steps, BPF_JMP | BPF_JEQ | BPF_K, source.port().into(), left);
    for (place, word) in words {
        left -= 2;
        push(steps, BPF_LD | BPF_W | BPF_ABS, place, 0);
        push(steps, BPF_JMP | BPF_JEQ | BPF_K, word, left);
    }
    push(steps, BPF_RET | BPF_K, TAKE, 0);
}

/// One step; `otherwise` is how many are left out when a comparison fails.
fn push(steps: &mut Sieve, code: u32, k: u32, otherwise: u8) {
    let step = sock_filter {
        code: code as u16,
        jt: 0,
        jf: otherwise,
        k,
    };
    steps
        .push(step)
        .expect("two sources take no more steps than there is room for");
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::system::set_sieve;
    use super::*;

    /// Who of three at a host is let through where two are.
    fn let_through(host: &str) {
        let [one, two, three] = [(); 3].map(|()| UdpSocket::bind((host, 0)).unwrap());
        let receiver = UdpSocket::bind((host, 0)).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let target = receiver.local_addr().unwrap();
        let known = [&one, &two].map(|socket| socket.local_addr().unwrap());
        let heard = || {
            for (name, socket) in [(1, &one), (2, &two), (3, &three)] {
                socket.send_to(&[name], target).unwrap();
            }
            let mut octet = [0];
            let mut names = std::vec::Vec::new();
            while receiver.recv(&mut octet).is_ok() {
                names.push(octet[0]);
            }
            names
        };
        set_sieve(&receiver, Some(&sieve(known))).unwrap();
        assert_eq!(heard(), [1, 2], "{host}");
        set_sieve(&receiver, None).unwrap();
        assert_eq!(heard(), [1, 2, 3], "{host}");
    }

    #[test]
    fn two_are_let_through_and_a_third_is_not() {
        let_through("127.0.0.1");
        if UdpSocket::bind("[::1]:0").is_ok() {
            let_through("::1");
        }
    }
}
