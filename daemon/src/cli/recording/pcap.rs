//! Both directions of a call out of a capture file: RTP of G.711 in UDP.
//!
//! Classic pcap, as `tcpdump -w` writes; Ethernet, Linux cooked, loopback and
//! raw IP, version 4 and 6. The stream with the most packets and the one back
//! to its sender are taken; lost packets are silence. Hostile bytes are errors
//! or are skipped: it never panics. Called by `recording`.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use offhook_dsp::g711::Law;

/// Both directions at the line's rate.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) near: Vec<i16>,
    pub(super) far: Vec<i16>,
}

/// Why a capture is no call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PcapError {
    /// A format of captures that is not read.
    Pcapng,
    /// Link layer of this number is not known.
    Link(u32),
    /// No RTP with payload type 0 or 8.
    NoAudio,
}

impl fmt::Display for PcapError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pcapng => write!(
                out,
                "a pcapng capture; convert it: editcap -F pcap in.pcapng out.pcap"
            ),
            Self::Link(number) => {
                write!(out, "link type {number}; Ethernet, cooked and IP are read")
            }
            Self::NoAudio => write!(out, "no RTP of G.711 (payload type 0 or 8) in the capture"),
        }
    }
}

/// Longest call that is put together: 12 hours.
const LONGEST: i64 = 12 * 3_600 * 8_000;

/// Whether the bytes begin like a capture.
pub(super) fn is_capture(bytes: &[u8]) -> bool {
    let magic = bytes.first_chunk::<4>().copied().unwrap_or_default();
    magic == PCAPNG || order(magic).is_some()
}

const PCAPNG: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

/// Byte order and whether fractions are nanoseconds.
#[derive(Clone, Copy)]
struct Order {
    little: bool,
    nanoseconds: bool,
}

fn order(magic: [u8; 4]) -> Option<Order> {
    let (little, nanoseconds) = match magic {
        [0xD4, 0xC3, 0xB2, 0xA1] => (true, false),
        [0xA1, 0xB2, 0xC3, 0xD4] => (false, false),
        [0x4D, 0x3C, 0xB2, 0xA1] => (true, true),
        [0xA1, 0xB2, 0x3C, 0x4D] => (false, true),
        _ => return None,
    };
    Some(Order {
        little,
        nanoseconds,
    })
}

impl Order {
    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = *bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.little {
            u32::from_le_bytes(four)
        } else {
            u32::from_be_bytes(four)
        })
    }
}

/// One direction of an audio stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    from: SocketAddr,
    to: SocketAddr,
    ssrc: u32,
}

/// A packet of audio.
struct Packet {
    /// When it was captured, in samples of the line.
    captured: i64,
    timestamp: u32,
    samples: Vec<i16>,
}

/// Reads a capture.
///
/// # Errors
/// It is of another format, or has no audio that can be read.
pub(super) fn parse(bytes: &[u8]) -> Result<Call, PcapError> {
    let magic = bytes.first_chunk::<4>().copied().unwrap_or_default();
    let order = order(magic).ok_or(PcapError::Pcapng)?;
    let link = order.word(bytes, 20).unwrap_or_default() & 0x0FFF_FFFF;
    if !matches!(link, 0 | 1 | 12 | 101 | 108 | 113 | 276) {
        return Err(PcapError::Link(link));
    }
    let mut ways: HashMap<Way, Vec<Packet>> = HashMap::new();
    let mut at = 24;
    while let Some(length) = order.word(bytes, at + 8) {
        let body = bytes.get(at + 16..).unwrap_or_default();
        let frame = &body[..body.len().min(length as usize)];
        let captured = when(order, bytes, at);
        if let Some((way, packet)) = network(link, frame).and_then(|ip| audio(ip, captured)) {
            ways.entry(way).or_default().push(packet);
        }
        at += 16 + length as usize;
    }
    put_together(ways)
}

fn when(order: Order, bytes: &[u8], at: usize) -> i64 {
    let seconds = i64::from(order.word(bytes, at).unwrap_or_default());
    let fraction = i64::from(order.word(bytes, at + 4).unwrap_or_default());
    let per_second = if order.nanoseconds {
        1_000_000_000
    } else {
        1_000_000
    };
    seconds * 8_000 + fraction * 8_000 / per_second
}

/// The IP packet in a frame of this link layer.
fn network(link: u32, frame: &[u8]) -> Option<&[u8]> {
    match link {
        1 => {
            let mut at = 12;
            // Up to two VLAN tags (IEEE 802.1Q).
            while at < 20 && matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xA8])) {
                at += 4;
            }
            frame.get(at + 2..)
        }
        0 | 108 => frame.get(4..),
        113 => frame.get(16..),
        276 => frame.get(20..),
        _ => Some(frame),
    }
}

/// RTP with G.711 in UDP in IP, if it is that.
fn audio(ip: &[u8], captured: i64) -> Option<(Way, Packet)> {
    let (from, to, udp) = datagram(ip)?;
    let port = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
    let rtp = udp.get(8..usize::from(port(4)?).min(udp.len()))?;
    let [first, second, ..] = *rtp else {
        return None;
    };
    let law = match second & 0x7F {
        0 => Law::Mu,
        8 => Law::A,
        _ => return None,
    };
    if first >> 6 != 2 || first & 0x10 != 0 {
        return None;
    }
    let word = |at: usize| Some(u32::from_be_bytes(*rtp.get(at..)?.first_chunk()?));
    let payload = rtp.get(12 + 4 * usize::from(first & 0x0F)..)?;
    let way = Way {
        from: SocketAddr::new(from, port(0)?),
        to: SocketAddr::new(to, port(2)?),
        ssrc: word(8)?,
    };
    let packet = Packet {
        captured,
        timestamp: word(4)?,
        samples: payload.iter().map(|&code| law.decode(code)).collect(),
    };
    (!packet.samples.is_empty()).then_some((way, packet))
}

/// Addresses and the UDP part of an IP packet.
fn datagram(ip: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    match ip.first()? >> 4 {
        4 if ip.get(9) == Some(&17) => {
            let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
            let header = usize::from(ip[0] & 0x0F) * 4;
            Some((address(12)?, address(16)?, ip.get(header..)?))
        }
        6 if ip.get(6) == Some(&17) => {
            let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
            Some((address(8)?, address(24)?, ip.get(40..)?))
        }
        _ => None,
    }
}

/// The largest stream is heard, the one back to its sender was played.
fn put_together(ways: HashMap<Way, Vec<Packet>>) -> Result<Call, PcapError> {
    let mut all: Vec<(Way, Vec<Packet>)> = ways.into_iter().collect();
    all.sort_by_key(|(way, packets)| (usize::MAX - packets.len(), way.ssrc));
    let Some((way, packets)) = all.first() else {
        return Err(PcapError::NoAudio);
    };
    let back = all
        .iter()
        .find(|(other, _)| other.to == way.from && other.from == way.to);
    let origin = packets[0].captured;
    Ok(Call {
        near: samples(packets, origin),
        far: back.map_or_else(Vec::new, |(_, packets)| samples(packets, origin)),
    })
}

/// Packets by their timestamps; the first lies where it was captured.
fn samples(packets: &[Packet], origin: i64) -> Vec<i16> {
    let mut all: Vec<i16> = Vec::new();
    let lead = packets[0].captured - origin;
    for packet in packets {
        let ahead = packet.timestamp.wrapping_sub(packets[0].timestamp) as i32;
        let start = lead + i64::from(ahead);
        let limit = LONGEST.min(packet.captured - origin + 80_000);
        let Some(start) = (start <= limit)
            .then(|| usize::try_from(start).ok())
            .flatten()
        else {
            continue;
        };
        let end = start + packet.samples.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[start..end].copy_from_slice(&packet.samples);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: u8, to: u8, sequence: u16, timestamp: u32, code: u8) -> Vec<u8> {
        let mut ip = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to,
        ];
        ip.extend([0x10, from, 0x10, to, 0, 8 + 12 + 160, 0, 0]);
        ip.extend([0x80, 0]);
        ip.extend(sequence.to_be_bytes());
        ip.extend(timestamp.to_be_bytes());
        ip.extend([0, 0, 0, from]);
        ip.extend([code; 160]);
        ip
    }

    fn capture(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = vec![0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0];
        file.extend([0; 8]);
        file.extend([0xFF, 0xFF, 0, 0, 101, 0, 0, 0]);
        for (microseconds, packet) in packets {
            file.extend(0u32.to_le_bytes());
            file.extend(microseconds.to_le_bytes());
            let length = (packet.len() as u32).to_le_bytes();
            file.extend([length, length].concat());
            file.extend(packet);
        }
        file
    }

    #[test]
    fn both_directions_are_found_and_placed_by_time_and_timestamp() {
        let file = capture(&[
            (0, packet(1, 2, 7, 1_000, 0x80)),
            (10_000, packet(2, 1, 1, 50, 0x00)),
            (40_000, packet(1, 2, 9, 1_320, 0x80)),
            (41_000, packet(1, 2, 8, 1_160, 0x80)),
        ]);
        let call = parse(&file).expect("a call");
        assert_eq!(call.near.len(), 480);
        assert!(
            call.near
                .iter()
                .all(|&sample| sample == Law::Mu.decode(0x80))
        );
        assert_eq!(call.far.len(), 240);
        assert_eq!(call.far[79], 0);
        assert_eq!(call.far[80], Law::Mu.decode(0));
    }

    #[test]
    fn cut_and_senseless_captures_are_errors_and_never_panics() {
        let file = capture(&[
            (0, packet(1, 2, 7, 1_000, 0x80)),
            (20_000, packet(1, 2, 8, 9, 1)),
        ]);
        for length in 0..file.len() {
            let _ = parse(&file[..length]);
        }
        for index in 0..file.len() {
            let mut broken = file.clone();
            broken[index] ^= 0xFF;
            let _ = parse(&broken);
        }
        assert_eq!(parse(&capture(&[])).err(), Some(PcapError::NoAudio));
        assert_eq!(parse(&PCAPNG).err(), Some(PcapError::Pcapng));
    }
}
