//! The board: per slot the figures that RTCP needs, written by a media thread
//! and read off it, without locks.
//!
//! A sequence lock of atomics: the reader tries again when the writer was at
//! it. The other way round, what RTCP learns about a leg is a few single words.
//! RTCP that comes by the port of RTP lies in the slot's letter box until it is taken.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

/// What a media thread says about a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whose figures: the slot's generation.
    pub generation: u32,
    /// When.
    pub at: Duration,
    /// Our RTP timestamp at that instant.
    pub timestamp: u32,
    /// Ticks of it to a sample of 8 kHz.
    pub ratio: u32,
    /// Packets that we sent.
    pub sent: u32,
    /// Octets of payload that we sent, modulo 2^32.
    pub sent_octets: u32,
    /// The peer's SSRC, once it has sent.
    pub remote_ssrc: Option<u32>,
    /// Packets received, expected, highest sequence number, lost, jitter (RFC 3550 §6.4.1).
    pub received: u32,
    /// By sequence number.
    pub expected: u32,
    /// Extended.
    pub highest: u32,
    /// Negative with duplicates.
    pub lost: i32,
    /// At the peer's RTP clock.
    pub jitter: u32,
}

const WORDS: usize = 14;

/// One slot's part of the board.
#[derive(Default)]
pub struct Notice {
    /// Odd while it is being written.
    version: AtomicU32,
    words: [AtomicU32; WORDS],
    /// Round trip in microseconds, as RTCP found; 0 when unknown.
    pub round_trip_us: AtomicU32,
    /// Packets of ours that the peer says are lost.
    pub remote_lost: AtomicI32,
    /// RTCP of the peer, on its way from the media thread.
    pub letters: LetterBox,
}

/// The longest RTCP that shares a port with RTP: reports of one stream take half.
pub const LETTER: usize = 512;
const LETTER_WORDS: usize = LETTER / 4;

/// RTCP that came by the port of RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// For which leg: the slot's generation.
    pub generation: u32,
    /// When it came.
    pub at: Duration,
    /// From where.
    pub from: SocketAddr,
    /// As it came; only the first `length` octets count.
    pub bytes: [u8; LETTER],
    /// How many.
    pub length: usize,
}

/// Room for one letter: reports are seconds apart, and are taken several times a
/// second. What comes while it is full is dropped, as the network might have.
pub struct LetterBox {
    /// Octets of the letter; 0 while there is none.
    length: AtomicU32,
    generation: AtomicU32,
    micros: AtomicU64,
    address: [AtomicU32; 4],
    port: AtomicU32,
    words: [AtomicU32; LETTER_WORDS],
}

impl Default for LetterBox {
    fn default() -> Self {
        Self {
            length: AtomicU32::default(),
            generation: AtomicU32::default(),
            micros: AtomicU64::default(),
            address: Default::default(),
            port: AtomicU32::default(),
            words: [const { AtomicU32::new(0) }; LETTER_WORDS],
        }
    }
}

impl LetterBox {
    /// Puts a letter in; `false` if there is one, or it is too long. The media thread
    /// only; does not wait.
    pub fn put(&self, generation: u32, at: Duration, from: SocketAddr, bytes: &[u8]) -> bool {
        // Acquire: whoever took the last one has read it.
        if self.length.load(Ordering::Acquire) != 0 || !(1..=LETTER).contains(&bytes.len()) {
            return false;
        }
        self.generation.store(generation, Ordering::Relaxed);
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
        let ip = match from.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        for (word, part) in self.address.iter().zip(ip.octets().as_chunks().0) {
            word.store(u32::from_ne_bytes(*part), Ordering::Relaxed);
        }
        self.port.store(from.port().into(), Ordering::Relaxed);
        for (word, chunk) in self.words.iter().zip(bytes.chunks(4)) {
            let mut part = [0; 4];
            part[..chunk.len()].copy_from_slice(chunk);
            word.store(u32::from_ne_bytes(part), Ordering::Relaxed);
        }
        // Release: who sees the length sees the letter.
        self.length.store(bytes.len() as u32, Ordering::Release);
        true
    }

    /// Takes the letter out. The RTCP thread only.
    pub fn take(&self) -> Option<Letter> {
        // Acquire: the letter is that of this length.
        let length = self.length.load(Ordering::Acquire) as usize;
        if length == 0 {
            return None;
        }
        let mut bytes = [0; LETTER];
        for (chunk, word) in bytes.as_chunks_mut().0.iter_mut().zip(&self.words) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        let mut address = [0; 16];
        for (chunk, word) in address.as_chunks_mut().0.iter_mut().zip(&self.address) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        let ip = Ipv6Addr::from(address).to_canonical();
        let letter = Letter {
            generation: self.generation.load(Ordering::Relaxed),
            at: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            from: SocketAddr::new(ip, self.port.load(Ordering::Relaxed) as u16),
            bytes,
            length,
        };
        // Release: it has been read before the next one is put in.
        self.length.store(0, Ordering::Release);
        Some(letter)
    }
}

impl Notice {
    /// Writes new figures. One media thread only; does not wait.
    pub fn write(&self, figures: &Figures) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        // The odd version is seen before any new word.
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words(figures)) {
            word.store(value, Ordering::Relaxed);
        }
        // Release: the even version is seen after all new words.
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// The latest figures, whole.
    pub fn read(&self) -> Figures {
        loop {
            // Acquire: the words are not older than the version.
            let before = self.version.load(Ordering::Acquire);
            let mut values = [0; WORDS];
            for (value, word) in values.iter_mut().zip(&self.words) {
                *value = word.load(Ordering::Relaxed);
            }
            // The words are read before the version is looked at again.
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.version.load(Ordering::Relaxed) {
                return figures(&values);
            }
            std::hint::spin_loop();
        }
    }

    /// Forgets what RTCP found about an earlier call.
    pub fn clear_remote(&self) {
        self.round_trip_us.store(0, Ordering::Relaxed);
        self.remote_lost.store(0, Ordering::Relaxed);
    }
}

fn words(figures: &Figures) -> [u32; WORDS] {
    let micros = figures.at.as_micros() as u64;
    [
        figures.generation,
        micros as u32,
        (micros >> 32) as u32,
        figures.timestamp,
        figures.sent,
        figures.sent_octets,
        u32::from(figures.remote_ssrc.is_some()),
        figures.remote_ssrc.unwrap_or_default(),
        figures.received,
        figures.expected,
        figures.highest,
        figures.lost.cast_unsigned(),
        figures.jitter,
        figures.ratio,
    ]
}

fn figures(words: &[u32; WORDS]) -> Figures {
    Figures {
        generation: words[0],
        at: Duration::from_micros(u64::from(words[1]) | u64::from(words[2]) << 32),
        timestamp: words[3],
        sent: words[4],
        sent_octets: words[5],
        remote_ssrc: (words[6] == 1).then_some(words[7]),
        received: words[8],
        expected: words[9],
        highest: words[10],
        lost: words[11].cast_signed(),
        jitter: words[12],
        ratio: words[13],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn all(value: u32) -> Figures {
        Figures {
            generation: value,
            at: Duration::from_micros(u64::from(value) << 8),
            timestamp: value,
            ratio: value,
            sent: value,
            sent_octets: value,
            remote_ssrc: Some(value),
            received: value,
            expected: value,
            highest: value,
            lost: -(value.cast_signed()),
            jitter: value,
        }
    }

    #[test]
    fn a_letter_is_taken_once_and_whole_and_the_box_holds_one() {
        let room = LetterBox::default();
        assert_eq!(room.take(), None);
        for from in ["192.0.2.1:4000", "[2001:db8::7]:5"] {
            let (at, from) = (Duration::from_micros(1 << 40), from.parse().unwrap());
            let bytes: Vec<u8> = (0..101).collect();
            assert!(!room.put(1, at, from, &[]) && !room.put(1, at, from, &[0; LETTER + 1]));
            assert!(room.put(7, at, from, &bytes));
            assert!(!room.put(8, at, from, &[1]), "it is full");
            let letter = room.take().unwrap();
            assert_eq!((letter.generation, letter.at, letter.from), (7, at, from));
            assert_eq!(letter.bytes[..letter.length], bytes);
            assert_eq!(room.take(), None);
        }
    }

    #[test]
    fn a_reader_never_sees_half_of_two_notices() {
        let count = if cfg!(miri) { 50 } else { 20_000 };
        let notice = Arc::new(Notice::default());
        notice.write(&all(0));
        let writer = Arc::clone(&notice);
        let thread = std::thread::spawn(move || {
            (0..count).for_each(|value| writer.write(&all(value)));
        });
        for _ in 0..count {
            let seen = notice.read();
            assert_eq!(seen, all(seen.generation));
        }
        thread.join().unwrap();
        assert_eq!(notice.read(), all(count - 1));
    }
}
