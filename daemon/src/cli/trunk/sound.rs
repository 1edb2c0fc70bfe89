//! The audio of a trunk's test: a tone and one key go out every 20 ms, and what
//! comes back is measured. No jitter buffer, no real time: counting is enough.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use offhook_dsp::g711::Law;

/// Packet length (RFC 3551 §4.2) and its samples.
const TICK: Duration = Duration::from_millis(20);
const SAMPLES: u32 = 160;
/// Test frequency of ITU-T O.6, at 8000 Hz, and its level.
const HZ: f64 = 1004.0;
const AMPLITUDE: f64 = 8000.0;
/// Fixed part of an RTP header (RFC 3550 §5.1).
const HEADER: usize = 12;
/// The key: how many packets it lasts, and its end three times (RFC 4733 §2.5.1.4).
const KEY_PACKETS: u32 = 10;
const KEY_ENDS: u32 = 3;
/// Nobody reads more than so much of one look.
const BURST: usize = 64;
/// Louder than this is no silence (0 dBov would be 32,768).
const LOUD: f64 = 200.0;

/// What came.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) packets: u32,
    pub(super) loud: u32,
    /// Packets that carry our own tone.
    pub(super) echo: u32,
    pub(super) keys: u32,
    /// Packets of a key that we sent meanwhile: where none of them comes back, it is
    /// keys that are lost, and not the line that loses.
    keys_sent: u32,
    /// Of packets that carry another type than was agreed.
    pub(super) odd_types: u32,
    pub(super) from: Option<SocketAddr>,
    first: Option<(Duration, u16)>,
    highest: u64,
    last: u16,
    /// Interarrival jitter in samples (RFC 3550 §6.4.1).
    jitter: f64,
    transit: Option<f64>,
}

impl Heard {
    /// Lost packets in hundred, by sequence numbers.
    pub(super) fn loss_percent(&self) -> f64 {
        let expected = self.highest + 1;
        if self.packets == 0 || self.first.is_none() {
            return 100.0;
        }
        let keys = if self.keys == 0 { self.keys_sent } else { 0 };
        let lost = expected.saturating_sub(u64::from(self.packets) + u64::from(keys));
        100.0 * lost as f64 / expected as f64
    }

    pub(super) fn jitter_ms(&self) -> f64 {
        self.jitter / 8.0
    }

    fn count(&mut self, at: Duration, sequence: u16, timestamp: u32) {
        self.packets += 1;
        let Some((_, first)) = self.first else {
            self.first = Some((at, sequence));
            self.last = sequence;
            return;
        };
        let step = sequence.wrapping_sub(self.last);
        if step < 1 << 15 {
            self.last = sequence;
            let whole = u64::from(sequence.wrapping_sub(first));
            self.highest = self.highest.max(whole);
        }
        let transit = at.as_secs_f64() * 8000.0 - f64::from(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            self.jitter += ((transit - before).abs() - self.jitter) / 16.0;
        }
    }
}

/// One stream each way.
pub(super) struct Sound {
    socket: UdpSocket,
    pub(super) local: SocketAddr,
    remote: Option<SocketAddr>,
    law: Law,
    kind: u8,
    event: Option<u8>,
    key_at: Option<u32>,
    ticks: u32,
    next_at: Duration,
    pub(super) heard: Heard,
}

impl Sound {
    /// A socket at an even port of a range.
    ///
    /// # Errors
    /// None is free.
    pub(super) fn bind(address: IpAddr, ports: (u16, u16)) -> Result<Self, String> {
        let (first, last) = ports;
        let (socket, local) = first_free(address, (first..last).rev())
            .ok_or_else(|| format!("no free port from {first} to {last}"))?;
        Ok(Self {
            socket,
            local,
            remote: None,
            law: Law::Mu,
            kind: 0,
            event: None,
            key_at: None,
            ticks: 0,
            next_at: Duration::ZERO,
            heard: Heard::default(),
        })
    }

    /// Goes on from the first of these ports that is free and even; which one, or
    /// `None` and where it was.
    pub(super) fn move_to(&mut self, ports: RangeInclusive<u16>) -> Option<u16> {
        if ports.contains(&self.local.port()) {
            return Some(self.local.port());
        }
        let (socket, local) = first_free(self.local.ip(), ports)?;
        (self.socket, self.local) = (socket, local);
        Some(local.port())
    }

    /// Sends there from now on.
    pub(super) fn connect(&mut self, remote: SocketAddr, law: Law, kind: u8, event: Option<u8>) {
        self.remote = Some(remote);
        (self.law, self.kind, self.event) = (law, kind, event);
    }

    /// Presses 5 with the next packets.
    pub(super) fn press(&mut self) {
        self.key_at = self.event.map(|_| self.ticks);
        self.heard.keys_sent = self.key_at.map_or(0, |_| KEY_PACKETS + KEY_ENDS);
    }

    /// What came until now; counting begins anew.
    pub(super) fn take(&mut self) -> Heard {
        std::mem::take(&mut self.heard)
    }

    /// Sends what is due and reads what has come.
    pub(super) fn step(&mut self, now: Duration) {
        self.listen(now);
        let Some(remote) = self.remote else { return };
        if self.next_at + TICK * 10 < now {
            self.next_at = now;
        }
        while self.next_at <= now {
            let packet = self.packet();
            // Lost like any other datagram.
            let _ = self.socket.send_to(&packet, remote);
            self.ticks += 1;
            self.next_at += TICK;
        }
    }

    fn packet(&self) -> Vec<u8> {
        let pressed = self.key_at.map(|at| self.ticks - at);
        let pressed = pressed.filter(|ticks| *ticks < KEY_PACKETS + KEY_ENDS);
        let (kind, marker, began) = match (pressed, self.event) {
            (Some(ticks), Some(event)) => (event, ticks == 0, self.ticks - ticks),
            _ => (self.kind, self.ticks == 0, self.ticks),
        };
        let mut packet = vec![0x80, kind | if marker { 0x80 } else { 0 }];
        let sequence = u16::try_from(self.ticks & 0xffff).unwrap_or(0);
        packet.extend(sequence.to_be_bytes());
        packet.extend(began.wrapping_mul(SAMPLES).to_be_bytes());
        packet.extend(0x0ff4_00c7_u32.to_be_bytes());
        match pressed {
            Some(ticks) => {
                let end = if ticks >= KEY_PACKETS { 0x80 } else { 0 };
                let length = (ticks.min(KEY_PACKETS) + 1) * SAMPLES;
                packet.extend([5, end | 10]);
                packet.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            }
            None => packet.extend((0..SAMPLES).map(|at| {
                let at = f64::from(self.ticks * SAMPLES + at);
                let angle = std::f64::consts::TAU * HZ * at / 8000.0;
                self.law.encode((angle.sin() * AMPLITUDE) as i16)
            })),
        }
        packet
    }

    fn listen(&mut self, now: Duration) {
        let mut buffer = [0; 2048];
        for _ in 0..BURST {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.hear(now, &buffer[..length], from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn hear(&mut self, now: Duration, packet: &[u8], from: SocketAddr) {
        if packet.len() <= HEADER || packet[0] >> 6 != 2 {
            return;
        }
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let kind = packet[1] & 0x7f;
        let heard = &mut self.heard;
        heard.from = Some(from);
        heard.count(now, sequence, timestamp);
        if Some(kind) == self.event {
            heard.keys += 1;
        } else if kind == self.kind {
            let skip = HEADER + 4 * usize::from(packet[0] & 0x0f);
            let body = packet.get(skip..).unwrap_or_default();
            let samples: Vec<f64> = body
                .iter()
                .map(|code| f64::from(self.law.decode(*code)))
                .collect();
            let level = root_mean_square(&samples);
            heard.loud += u32::from(level > LOUD);
            heard.echo += u32::from(level > LOUD && share_of_tone(&samples) > 0.5);
        } else if kind != 13 {
            heard.odd_types += 1;
        }
    }
}

/// A socket that does not wait, at the first even port that nobody has.
fn first_free(
    address: IpAddr,
    ports: impl IntoIterator<Item = u16>,
) -> Option<(UdpSocket, SocketAddr)> {
    let mut even = ports.into_iter().filter(|port| port % 2 == 0);
    let socket = even.find_map(|port| UdpSocket::bind((address, port)).ok())?;
    socket.set_nonblocking(true).ok()?;
    let local = socket.local_addr().ok()?;
    Some((socket, local))
}

fn root_mean_square(samples: &[f64]) -> f64 {
    let sum: f64 = samples.iter().map(|sample| sample * sample).sum();
    (sum / samples.len().max(1) as f64).sqrt()
}

/// How much of the power is our tone (Goertzel).
fn share_of_tone(samples: &[f64]) -> f64 {
    let angle = std::f64::consts::TAU * HZ / 8000.0;
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        (one, two) = (sample + 2.0 * angle.cos() * one - two, one);
    }
    let power = one * one + two * two - 2.0 * angle.cos() * one * two;
    let all: f64 = samples.iter().map(|sample| sample * sample).sum();
    2.0 * power / (all.max(1.0) * samples.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_tone_is_known_again_and_loss_is_counted_by_numbers() {
        let mut sound = Sound::bind([127, 0, 0, 1].into(), (40_000, 50_000)).unwrap();
        let here = sound.local;
        sound.connect(here, Law::Mu, 0, Some(101));
        for tick in 0..100_u32 {
            if tick == 50 {
                sound.press();
            }
            // Every tenth is lost on the way.
            if tick % 10 == 9 {
                sound.ticks += 1;
            }
            let packet = sound.packet();
            sound.ticks += 1;
            sound.hear(TICK * tick, &packet, here);
        }
        let heard = sound.take();
        assert_eq!(heard.packets, 100);
        assert!(
            (heard.loss_percent() - 9.1).abs() < 0.3,
            "{}",
            heard.loss_percent()
        );
        assert!(heard.keys >= 11 && heard.echo >= 85, "{heard:?}");
        assert_eq!(heard.odd_types, 0);
    }
}
