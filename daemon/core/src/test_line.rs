//! Test destinations for field techs. They have no dialogue, propose nothing and
//! do not mind a silent far end, so that a tech can find out which way is deaf.

use crate::book::TestLine;
use crate::call::Call;
use crate::desk::Desk;
use crate::input::Cause;
use crate::output::Command;
use crate::timers::Timer;

/// An answered test ends by itself: 10 minutes.
const ANSWERED_MS: u64 = 600_000;
/// Rings like a phone that nobody picks up: 3 minutes, the time after which a
/// proxy gives up at the earliest (RFC 3261 §16.6, Timer C).
const RINGING_MS: u64 = 180_000;

impl TestLine {
    /// What the outcome calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "test_echo",
            Self::Tone => "test_tone",
            Self::Ring => "test_ring",
            Self::Busy => "test_busy",
        }
    }

    pub(crate) fn offered(self, desk: &mut Desk, call: &mut Call) {
        match self {
            Self::Echo | Self::Tone => call.answer(desk),
            Self::Ring => {
                desk.command(Command::Ring);
                let end = desk.after_ms(RINGING_MS);
                desk.timers.set(Timer::TestEnd, end);
            }
            Self::Busy => call.refuse(desk, Cause::Busy),
        }
    }

    pub(crate) fn answered(self, desk: &mut Desk) {
        match self {
            Self::Echo => desk.command(Command::Echo),
            Self::Tone => desk.command(Command::TestTone),
            Self::Ring | Self::Busy => return,
        }
        let end = desk.after_ms(ANSWERED_MS);
        desk.timers.set(Timer::TestEnd, end);
    }

    pub(crate) fn ends(self, desk: &mut Desk, call: &mut Call) {
        match self {
            Self::Echo | Self::Tone => call.hang_up(desk, Cause::NearHangup),
            Self::Ring | Self::Busy => call.refuse(desk, Cause::NoAnswer),
        }
    }
}
