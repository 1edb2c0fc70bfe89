//! The board: per slot the figures that RTCP needs, written by a media thread
//! and read off it, without locks.
//!
//! A sequence lock of atomics: the reader tries again when the writer was at
//! it. The other way round, what RTCP learns about a leg is a few single words.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};
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
