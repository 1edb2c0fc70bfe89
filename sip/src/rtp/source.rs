//! Symmetric RTP: from whom we take packets, and to whom ours go.
//!
//! The rule, which a third party cannot turn to its use:
//!
//! 1. Sources have a rank: the address that was signalled; another port of the
//!    host that was signalled (a NAT that renumbers); any other (a peer that
//!    does not know its own address).
//! 2. The signalled address is latched with its first valid packet. Any other
//!    source has to send [`CONSISTENT`] packets in a row with one SSRC and
//!    rising sequence numbers, unanswered by a source of higher rank.
//! 3. Once latched, packets from elsewhere are counted and dropped. A source of
//!    *higher* rank takes over as in 2. One of equal or lower rank takes over
//!    only when the latched one has been silent for [`SILENT`] and it goes on
//!    with *its* SSRC where *its* sequence numbers stopped (a NAT that
//!    rebinds): both are unknown to whoever cannot read the stream.
//! 4. A new address in SDP begins again at 2.
//!
//! It does no I/O. Called by the media threads for every valid packet.

use core::net::SocketAddr;
use core::time::Duration;

use super::View;

/// Packets in a row that make a source (RFC 3550 §A.1 asks for two).
pub const CONSISTENT: u8 = 3;
/// A latched source that has been silent for this long may have moved.
pub const SILENT: Duration = Duration::from_secs(1);
/// How far sequence numbers may move on while a source moves (RFC 3550 §A.1, MAX_DROPOUT).
const DROPOUT: u16 = 3_000;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the peer's.
    Heard,
    /// It is the peer's, which is from now on known to be there.
    Latched,
    /// It is not, or not yet: to be counted and dropped.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Other,
    SignalledHost,
    Signalled,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    ssrc: u32,
    sequence: u16,
    heard: Duration,
}

/// Whom one leg listens to.
#[derive(Clone, Debug)]
pub struct Latch {
    signalled: SocketAddr,
    latched: Option<Source>,
    candidate: Option<(Source, u8)>,
}

impl Latch {
    /// Nothing heard yet; the peer said in SDP that it is there.
    pub fn new(signalled: SocketAddr) -> Self {
        Self {
            signalled: canonical(signalled),
            latched: None,
            candidate: None,
        }
    }

    /// SDP names this address now; a new one forgets what was latched.
    pub fn signal(&mut self, signalled: SocketAddr) {
        if canonical(signalled) != self.signalled {
            *self = Self::new(signalled);
        }
    }

    /// Where our packets go.
    pub fn target(&self) -> SocketAddr {
        self.latched.map_or(self.signalled, |source| source.address)
    }

    /// Who is heard, and where the peer said that it is; `None` while nobody was heard.
    /// All others may be left unheard for [`SILENT`]: they could take over no sooner,
    /// or are of no rank.
    pub fn sources(&self) -> Option<[SocketAddr; 2]> {
        self.latched.map(|source| [source.address, self.signalled])
    }

    /// Decides on a valid packet. Does not allocate or block.
    pub fn judge(&mut self, now: Duration, from: SocketAddr, packet: &View<'_>) -> Verdict {
        let source = Source {
            address: canonical(from),
            ssrc: packet.ssrc(),
            sequence: packet.sequence(),
            heard: now,
        };
        match &mut self.latched {
            Some(latched) if latched.address == source.address => {
                *latched = source;
                Verdict::Heard
            }
            Some(latched) if !may_take_over(self.signalled, latched, &source) => Verdict::Foreign,
            _ => self.court(source),
        }
    }

    fn court(&mut self, source: Source) -> Verdict {
        if rank(self.signalled, source.address) == Rank::Signalled || self.consistent(source) {
            self.latched = Some(source);
            self.candidate = None;
            return Verdict::Latched;
        }
        Verdict::Foreign
    }

    /// One candidate at a time; one of higher rank displaces it.
    fn consistent(&mut self, source: Source) -> bool {
        let count = match &self.candidate {
            Some((before, count)) if follows(before, &source) => count + 1,
            Some((before, _)) if self.outranks(before, &source) => return false,
            _ => 1,
        };
        self.candidate = Some((source, count));
        count >= CONSISTENT
    }

    fn outranks(&self, before: &Source, source: &Source) -> bool {
        let fresh = source.heard.saturating_sub(before.heard) < SILENT;
        let higher = rank(self.signalled, before.address) > rank(self.signalled, source.address);
        fresh && higher
    }
}

fn may_take_over(signalled: SocketAddr, latched: &Source, source: &Source) -> bool {
    let higher = rank(signalled, source.address) > rank(signalled, latched.address);
    let silent = source.heard.saturating_sub(latched.heard) >= SILENT;
    let ahead = source.sequence.wrapping_sub(latched.sequence);
    higher || silent && source.ssrc == latched.ssrc && ahead < DROPOUT
}

fn follows(before: &Source, source: &Source) -> bool {
    let ahead = source.sequence.wrapping_sub(before.sequence);
    before.address == source.address && before.ssrc == source.ssrc && (1..DROPOUT).contains(&ahead)
}

fn rank(signalled: SocketAddr, address: SocketAddr) -> Rank {
    if address == signalled {
        Rank::Signalled
    } else if address.ip() == signalled.ip() {
        Rank::SignalledHost
    } else {
        Rank::Other
    }
}

/// An IPv4 peer on a dual-stack socket is the same peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: &str = "192.0.2.1:4000";
    const PEER_NAT: &str = "192.0.2.1:61000";
    const STRANGER: &str = "198.51.100.9:5000";
    const OTHER: &str = "203.0.113.7:7000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn packet(ssrc: u32, sequence: u16) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[0] = 0x80;
        bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
        bytes[8..].copy_from_slice(&ssrc.to_be_bytes());
        bytes
    }

    fn judge(latch: &mut Latch, ms: u64, from: &str, ssrc: u32, sequence: u16) -> Verdict {
        let bytes = packet(ssrc, sequence);
        let view = View::parse(&bytes).unwrap();
        latch.judge(Duration::from_millis(ms), address(from), &view)
    }

    /// One row a packet: when, from where, SSRC, sequence number, verdict.
    fn check(rows: &[(u64, &str, u32, u16, Verdict)]) {
        let mut latch = Latch::new(address(PEER));
        for (row, &(ms, from, ssrc, sequence, expected)) in rows.iter().enumerate() {
            let verdict = judge(&mut latch, ms, from, ssrc, sequence);
            assert_eq!(verdict, expected, "row {row}");
        }
    }

    #[test]
    fn the_signalled_address_is_latched_with_its_first_packet() {
        check(&[
            (0, PEER, 1, 10, Verdict::Latched),
            (20, PEER, 1, 11, Verdict::Heard),
        ]);
    }

    #[test]
    fn another_source_must_be_consistent_first() {
        check(&[
            (0, PEER_NAT, 1, 10, Verdict::Foreign),
            (20, PEER_NAT, 1, 11, Verdict::Foreign),
            (40, PEER_NAT, 1, 12, Verdict::Latched),
        ]);
        check(&[
            (0, PEER_NAT, 1, 10, Verdict::Foreign),
            (20, PEER_NAT, 2, 11, Verdict::Foreign),
            (40, PEER_NAT, 3, 12, Verdict::Foreign),
            (60, PEER_NAT, 3, 12, Verdict::Foreign),
        ]);
    }

    #[test]
    fn a_third_party_is_never_heard_while_the_peer_talks() {
        let mut rows = vec![(0, PEER, 1, 0, Verdict::Latched)];
        for index in 1..200u16 {
            let ms = u64::from(index) * 20;
            rows.push((ms, PEER, 1, index, Verdict::Heard));
            rows.push((ms + 5, STRANGER, 7, index, Verdict::Foreign));
            rows.push((ms + 6, STRANGER, 1, index + 1, Verdict::Foreign));
        }
        check(&rows);
    }

    #[test]
    fn a_third_party_cannot_use_a_silence_of_the_peer() {
        let mut rows = vec![(0, PEER, 1, 0, Verdict::Latched)];
        rows.extend((0..500u16).map(|n| (2_000 + u64::from(n), STRANGER, 7, n, Verdict::Foreign)));
        rows.push((9_000, PEER, 1, 1, Verdict::Heard));
        check(&rows);
    }

    #[test]
    fn a_peer_behind_a_rebinding_nat_is_found_again() {
        check(&[
            (0, PEER, 1, 10, Verdict::Latched),
            (500, PEER_NAT, 1, 11, Verdict::Foreign),
            (1_000, PEER_NAT, 1, 12, Verdict::Foreign),
            (1_020, PEER_NAT, 1, 13, Verdict::Foreign),
            (1_040, PEER_NAT, 1, 14, Verdict::Latched),
            (1_060, PEER_NAT, 1, 15, Verdict::Heard),
        ]);
    }

    #[test]
    fn the_signalled_address_takes_the_leg_back_from_a_squatter() {
        check(&[
            (0, STRANGER, 7, 0, Verdict::Foreign),
            (20, STRANGER, 7, 1, Verdict::Foreign),
            (40, STRANGER, 7, 2, Verdict::Latched),
            (50, PEER, 1, 0, Verdict::Latched),
            (60, STRANGER, 7, 3, Verdict::Foreign),
        ]);
    }

    #[test]
    fn a_stranger_does_not_disturb_the_courting_of_the_peers_host() {
        check(&[
            (0, PEER_NAT, 1, 0, Verdict::Foreign),
            (5, STRANGER, 7, 0, Verdict::Foreign),
            (20, PEER_NAT, 1, 1, Verdict::Foreign),
            (25, STRANGER, 7, 1, Verdict::Foreign),
            (40, PEER_NAT, 1, 2, Verdict::Latched),
        ]);
    }

    #[test]
    fn a_new_signalled_address_begins_again() {
        let mut latch = Latch::new(address(PEER));
        judge(&mut latch, 0, PEER, 1, 0);
        latch.signal(address(PEER));
        assert_eq!(judge(&mut latch, 20, PEER, 1, 1), Verdict::Heard);
        latch.signal(address(OTHER));
        assert_eq!(latch.target(), address(OTHER));
        assert_eq!(judge(&mut latch, 40, OTHER, 3, 0), Verdict::Latched);
        assert_eq!(judge(&mut latch, 60, STRANGER, 1, 2), Verdict::Foreign);
    }

    proptest! {
        #[test]
        fn a_latched_peer_that_talks_keeps_its_leg(
            attacks in proptest::collection::vec((any::<u32>(), any::<u16>(), any::<u16>(), 0u64..20), 1..300),
        ) {
            let mut latch = Latch::new(address(PEER));
            judge(&mut latch, 0, PEER, 1, 0);
            for (index, (ssrc, sequence, port, offset)) in attacks.iter().enumerate() {
                let ms = index as u64 * 20 + 20;
                prop_assert_eq!(judge(&mut latch, ms, PEER, 1, index as u16 + 1), Verdict::Heard);
                let from = format!("198.51.100.9:{port}");
                prop_assert_eq!(judge(&mut latch, ms + offset, &from, *ssrc, *sequence), Verdict::Foreign);
            }
            prop_assert_eq!(latch.target(), address(PEER));
        }
    }
}
