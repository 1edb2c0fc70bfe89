//! RTP without I/O: what a packet is, in which order it is heard, whose it is.
//!
//! Nothing here allocates, blocks or reads a clock; times are since daemon
//! start. The media threads of the daemon drive it. RTCP is built and parsed
//! elsewhere; [`stats`] holds what goes into it.

pub mod event;
pub mod header;
pub mod receiver;
pub mod source;
pub mod srtp;
pub mod stats;

pub use event::{KeyEvent, KeySender, Keys, TelephoneEvent};
pub use header::{Malformed, Template, View};
pub use receiver::{Arrival, Coded, Content, Fill, Piece, ReceiveStats, Receiver};
pub use source::{Latch, Verdict};
pub use stats::Reception;

/// RTP clock of every codec here (G.711 and telephone-event; RFC 3551 §4.5.14).
pub const CLOCK_RATE: u32 = 8_000;

/// A duration in samples of the RTP clock, rounded down.
pub const fn samples(time: core::time::Duration) -> u64 {
    time.as_secs() * CLOCK_RATE as u64 + time.subsec_nanos() as u64 / 125_000
}

/// Samples of the RTP clock as a duration.
pub const fn duration(samples: u64) -> core::time::Duration {
    core::time::Duration::from_micros(samples * 125)
}
