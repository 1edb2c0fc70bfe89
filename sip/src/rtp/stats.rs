//! How well a stream is received: what a receiver report says (RFC 3550 §6.4.1).
//!
//! It counts; it orders nothing and sends nothing. Called by the receiver for
//! every packet of the stream; its snapshot goes to whoever builds RTCP.

use core::time::Duration;

use super::samples;

/// Reception of one SSRC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// Whose packets.
    pub ssrc: u32,
    /// Packets received, duplicates included (RFC 3550 §A.3).
    pub received: u32,
    /// First extended sequence number.
    base: u32,
    /// Highest extended sequence number: cycles above, number below.
    pub highest: u32,
    /// Transit time of the last packet, in samples, modulo 2^32.
    transit: u32,
    /// Jitter in sixteenths of a sample (RFC 3550 §A.8).
    jitter_q4: u32,
}

impl Reception {
    /// Begins before a first packet, which is still to be counted as one ahead.
    pub fn new(ssrc: u32, sequence: u16, timestamp: u32, now: Duration) -> Self {
        Self {
            ssrc,
            received: 0,
            base: sequence.into(),
            highest: u32::from(sequence).wrapping_sub(1),
            transit: transit(timestamp, now),
            jitter_q4: 0,
        }
    }

    /// Counts a packet that is `ahead` of the highest one (negative: behind it).
    pub fn count(&mut self, ahead: i16) {
        self.received = self.received.saturating_add(1);
        if ahead > 0 {
            self.highest = self.highest.wrapping_add(u32::from(ahead.unsigned_abs()));
        }
    }

    /// Takes the arrival of a packet into the jitter estimate (RFC 3550 §A.8).
    /// Only for packets whose timestamp is the instant of sending.
    pub fn arrived(&mut self, timestamp: u32, now: Duration) {
        let transit = transit(timestamp, now);
        let change = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        self.transit = transit;
        // A jump of the sender's clock is no jitter.
        let change = change.min(super::CLOCK_RATE);
        self.jitter_q4 = (self.jitter_q4 + change).saturating_sub((self.jitter_q4 + 8) >> 4);
    }

    /// The sender's clock jumped: the next transit time has nothing before it.
    pub fn restart_transit(&mut self, timestamp: u32, now: Duration) {
        self.transit = transit(timestamp, now);
    }

    /// Interarrival jitter in samples.
    pub fn jitter(&self) -> u32 {
        self.jitter_q4 >> 4
    }

    /// Packets that should have come, by sequence number (RFC 3550 §A.3).
    pub fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.base).wrapping_add(1)
    }

    /// Packets lost; duplicates make it negative (RFC 3550 §6.4.1).
    pub fn lost(&self) -> i32 {
        self.expected().wrapping_sub(self.received) as i32
    }
}

/// Fraction lost in 1/256 between two reports (RFC 3550 §A.3).
pub fn fraction_lost(expected: u32, received: u32) -> u8 {
    let lost = u64::from(expected.saturating_sub(received));
    match expected {
        0 => 0,
        _ => u8::try_from(lost * 256 / u64::from(expected)).unwrap_or(u8::MAX),
    }
}

fn transit(timestamp: u32, now: Duration) -> u32 {
    (samples(now) as u32).wrapping_sub(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_wrap_into_cycles() {
        let mut reception = Reception::new(1, 0xFFFE, 0, Duration::ZERO);
        for _ in 0..5 {
            reception.count(1);
        }
        assert_eq!(reception.highest, 0x1_0002);
        assert_eq!((reception.expected(), reception.lost()), (5, 0));
        reception.count(3);
        assert_eq!(reception.lost(), 2);
        reception.count(-1);
        assert_eq!(reception.lost(), 1);
    }

    #[test]
    fn steady_packets_have_no_jitter_and_uneven_ones_have() {
        let mut steady = Reception::new(1, 0, 0, Duration::ZERO);
        let mut uneven = steady;
        for index in 1..200u32 {
            let due = Duration::from_millis(u64::from(index) * 20);
            steady.arrived(index * 160, due);
            let late = Duration::from_millis(u64::from(index % 2) * 10);
            uneven.arrived(index * 160, due + late);
        }
        assert_eq!(steady.jitter(), 0);
        assert!((75..=80).contains(&uneven.jitter()), "{}", uneven.jitter());
    }

    #[test]
    fn the_fraction_lost_is_a_256th() {
        for (expected, received, fraction) in [
            (0, 0, 0),
            (100, 100, 0),
            (100, 75, 64),
            (4, 0, 255),
            (4, 9, 0),
        ] {
            assert_eq!(fraction_lost(expected, received), fraction);
        }
    }
}
