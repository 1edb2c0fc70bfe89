//! A wire tap on loopback: what really left whose socket, in which order.
//!
//! tcpdump captures, this reads its file. It needs the right to capture (root
//! has it); where that is missing `Tap::start` says so with `None`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use offhook_dsp::g711::Law;

use crate::patience::{seconds, watch};
use crate::place::Place;
use crate::process::{Running, has};
use crate::rtp::Packet;
use crate::skip::skip;
use crate::sound::level;

/// A running capture of all UDP on loopback.
#[derive(Debug)]
pub struct Tap {
    tcpdump: Running,
    file: PathBuf,
}

/// One UDP packet as it was on the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Microseconds since the capture's first packet.
    pub at_us: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// One RTP packet as it was on the wire.
#[derive(Clone, Debug)]
pub struct SeenRtp {
    /// Microseconds since the capture's first packet.
    pub at_us: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The packet.
    pub rtp: Packet,
}

impl SeenRtp {
    /// Level of what it carries, in dB below full scale; silence for anything but G.711.
    pub fn level(&self) -> f64 {
        level(&self.samples())
    }

    /// What it carries; nothing for anything but G.711.
    pub fn samples(&self) -> Vec<i16> {
        let law = match self.rtp.kind {
            0 => Law::Mu,
            8 => Law::A,
            _ => return Vec::new(),
        };
        self.rtp
            .payload
            .iter()
            .map(|code| law.decode(*code))
            .collect()
    }
}

impl Tap {
    /// Starts one and waits until it captures; notes a skip where it may not.
    pub fn start(place: &Place) -> Option<Self> {
        if !has("tcpdump") {
            skip("no wire tap: tcpdump is not installed");
            return None;
        }
        let file = place.file("wire.pcap");
        let name = file.display().to_string();
        let mut command = Command::new("tcpdump");
        command.args([
            "-i", "lo", "-n", "-U", "-B", "8192", "-s", "0", "-Z", "root", "-w", &name, "udp",
        ]);
        let mut tcpdump = Running::start(&mut command, &place.file("tcpdump.log"));
        let ready = watch(seconds(10), || {
            (tcpdump.said().contains("listening on") || tcpdump.ended().is_some()).then_some(())
        });
        if ready.is_none() || tcpdump.ended().is_some() {
            skip("no wire tap: tcpdump may not capture here");
            return None;
        }
        Some(Self { tcpdump, file })
    }

    /// Ends the capture and gives what it saw.
    ///
    /// # Panics
    /// When tcpdump wrote something that is no capture.
    pub fn stop(mut self) -> Vec<Seen> {
        self.tcpdump.signal(libc::SIGINT);
        self.tcpdump.finish(seconds(10));
        let bytes = std::fs::read(&self.file).expect("tcpdump wrote its file");
        parse(&bytes).expect("tcpdump writes pcap files")
    }
}

/// The RTP among what was seen.
pub fn rtp_of(seen: &[Seen]) -> Vec<SeenRtp> {
    let read = |one: &Seen| {
        let rtp = Packet::read(&one.bytes)?;
        Some(SeenRtp {
            at_us: one.at_us,
            from: one.from,
            to: one.to,
            rtp,
        })
    };
    seen.iter().filter_map(read).collect()
}

/// pcap: a 24-byte header, then 16 bytes before each packet; ethernet, IPv4, UDP.
fn parse(bytes: &[u8]) -> Option<Vec<Seen>> {
    const MICROSECONDS: u32 = 0xa1b2_c3d4;
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != MICROSECONDS {
        return None;
    }
    let (mut at, mut seen, mut start) = (24, Vec::new(), None);
    while let (Some(second), Some(micro), Some(length)) = (word(at), word(at + 4), word(at + 8)) {
        let Some(frame) = bytes.get(at + 16..at + 16 + length as usize) else {
            break;
        };
        let now = u64::from(second) * 1_000_000 + u64::from(micro);
        let at_us = now - *start.get_or_insert(now);
        seen.extend(datagram(frame).map(|(from, to, bytes)| Seen {
            at_us,
            from,
            to,
            bytes,
        }));
        at += 16 + length as usize;
    }
    Some(seen)
}

fn datagram(frame: &[u8]) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || *packet.get(9)? != 17 {
        return None;
    }
    let udp = packet.get(header..)?;
    let host =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let from = SocketAddr::from((host(12), port(0)?));
    let to = SocketAddr::from((host(16), port(2)?));
    Some((from, to, udp.get(8..)?.to_vec()))
}
