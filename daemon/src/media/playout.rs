//! The playout buffer of a leg that is joined with another: frames of the other
//! line come as they are heard, and leave one every 10 ms.
//!
//! It grows by what it has to make up when it runs dry, shrinks by a blended frame
//! when it has held more than it needs for a while, and never holds more than
//! [`BOUND`]. Skew between the two lines is taken up the same way. It knows no
//! packets and no clock. Called by the media thread; does not allocate or block.

use std::fmt;

use offhook_dsp::FRAME;
use offhook_dsp::conceal::Concealer;

/// Frames held at most: 200 ms, half of what makes a conversation hard
/// (ITU-T G.114 §5: 400 ms one way is the limit of planning).
pub const BOUND: usize = 20;
/// Frames that a line must have brought before the first is played: one packet
/// of 20 ms and the frame that a tick may come too early.
const PRIME: usize = 3;
/// Made-up frames in a row after which the other line has stopped: the concealer
/// is silent by then (60 ms).
const DRY: u32 = 6;
/// Frames between two looks at what was never needed: 2 s.
const WINDOW: u32 = 200;
/// What may be left after the lowest moment of a window: the jitter of one tick.
const SPARE: usize = 1;

/// How long frames waited and what became of them. Delays are those of the buffer
/// alone, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayoutFigures {
    /// Frames played.
    pub frames: u32,
    /// Half of all frames waited no longer.
    pub p50_ms: u16,
    /// 95 of 100 frames waited no longer.
    pub p95_ms: u16,
    /// The longest.
    pub max_ms: u16,
    /// Frames made up because none was there.
    pub made_up: u32,
    /// Frames dropped because the buffer was full.
    pub dropped: u32,
    /// Frames blended away, for nothing needed them.
    pub blended: u32,
}

impl fmt::Display for PlayoutFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "playout {}/{}/{} ms, made up {} ms, dropped {} ms",
            self.p50_ms,
            self.p95_ms,
            self.max_ms,
            self.made_up.saturating_mul(10),
            self.dropped.saturating_mul(10)
        )
    }
}

/// Frames on their way from one leg to the other.
pub struct Playout {
    /// Of each frame its sound up to 4 kHz, and above.
    ring: [[[i16; FRAME]; 2]; BOUND],
    first: usize,
    held: usize,
    primed: bool,
    dry: u32,
    concealer: Concealer,
    /// The fewest frames that were left after a pull, in this window.
    lowest: usize,
    pulled: u32,
    /// Frames that are to be blended away, one in every second pull.
    surplus: usize,
    /// Frames by how many stood before them, themselves included.
    waits: [u32; BOUND + 1],
    made_up: u32,
    dropped: u32,
    blended: u32,
}

impl Default for Playout {
    fn default() -> Self {
        Self {
            ring: [[[0; FRAME]; 2]; BOUND],
            first: 0,
            held: 0,
            primed: false,
            dry: 0,
            concealer: Concealer::new(),
            lowest: BOUND,
            pulled: 0,
            surplus: 0,
            waits: [0; BOUND + 1],
            made_up: 0,
            dropped: 0,
            blended: 0,
        }
    }
}

impl Playout {
    /// Takes a frame of the other line. The oldest gives way where there is no room.
    pub fn push(&mut self, low: &[i16; FRAME], high: &[i16; FRAME]) {
        if self.held == BOUND {
            self.drop_oldest();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.ring[(self.first + self.held) % BOUND] = [*low, *high];
        self.held += 1;
    }

    /// The next 10 ms, made up where nothing is there; `false` if the other line
    /// has not begun or has stopped, and the frame is as it was.
    pub fn pull(&mut self, low: &mut [i16; FRAME], high: &mut [i16; FRAME]) -> bool {
        if !self.primed {
            if self.held < PRIME {
                return false;
            }
            self.primed = true;
            self.restart_window();
        }
        if self.held == 0 {
            // What is made up has nothing above 4 kHz.
            high.fill(0);
            return self.make_up(low);
        }
        self.dry = 0;
        let waited = &mut self.waits[self.held];
        *waited = waited.saturating_add(1);
        [*low, *high] = self.ring[self.first];
        self.drop_oldest();
        if self.surplus > 0 && self.held > 0 && self.pulled.is_multiple_of(2) {
            self.surplus -= 1;
            self.blended = self.blended.saturating_add(1);
            let [next, above] = &self.ring[self.first];
            blend(low, next);
            blend(high, above);
            self.drop_oldest();
        }
        self.concealer.good(low);
        self.watch();
        true
    }

    /// What it did so far.
    pub fn figures(&self) -> PlayoutFigures {
        let frames: u32 = self.waits.iter().sum();
        PlayoutFigures {
            frames,
            p50_ms: self.percentile(frames, 50),
            p95_ms: self.percentile(frames, 95),
            max_ms: self.percentile(frames, 100),
            made_up: self.made_up,
            dropped: self.dropped,
            blended: self.blended,
        }
    }

    fn percentile(&self, frames: u32, percent: u64) -> u16 {
        let wanted = (u64::from(frames) * percent).div_ceil(100);
        let mut seen = 0;
        let place = self.waits.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        place.unwrap_or_default() as u16 * 10
    }

    fn drop_oldest(&mut self) {
        self.first = (self.first + 1) % BOUND;
        self.held -= 1;
    }

    fn make_up(&mut self, frame: &mut [i16; FRAME]) -> bool {
        self.lowest = 0;
        self.dry += 1;
        if self.dry > DRY {
            self.primed = false;
            self.dry = 0;
            return false;
        }
        self.made_up = self.made_up.saturating_add(1);
        self.concealer.conceal(frame);
        true
    }

    fn watch(&mut self) {
        self.lowest = self.lowest.min(self.held);
        self.pulled += 1;
        if self.pulled >= WINDOW {
            let unused = self.lowest.saturating_sub(SPARE);
            self.restart_window();
            self.surplus = unused.div_ceil(2);
        }
    }

    fn restart_window(&mut self) {
        self.lowest = BOUND;
        self.pulled = 0;
        self.surplus = 0;
    }
}

/// Two frames become one: the first fades into the second.
fn blend(first: &mut [i16; FRAME], second: &[i16; FRAME]) {
    for (index, (sample, next)) in first.iter_mut().zip(second).enumerate() {
        let share = index as i32;
        let mixed = i32::from(*sample) * (FRAME as i32 - share) + i32::from(*next) * share;
        *sample = (mixed / FRAME as i32) as i16;
    }
}

const _: () = assert!(PRIME < BOUND);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Packets of two frames every 20 ms, each late by what `jitter` says, for so
    /// many ticks of ours, each of which lasts `ppm` millionths longer than theirs.
    fn run(jitter: impl Fn(u64) -> u64, ticks: u64, ppm: i64) -> Playout {
        let mut playout = Playout::default();
        let mut packet = 0;
        for tick in 0..ticks {
            let now = (tick as i64 * (10_000_000_000 + 10_000 * ppm) / 1_000_000) as u64;
            while packet * 20_000 + jitter(packet) * 1_000 <= now {
                playout.push(&[packet as i16; FRAME], &[0; FRAME]);
                playout.push(&[packet as i16; FRAME], &[0; FRAME]);
                packet += 1;
            }
            playout.pull(&mut [0; FRAME], &mut [0; FRAME]);
            assert!(playout.held <= BOUND);
        }
        playout
    }

    #[test]
    fn a_steady_line_waits_for_one_packet_and_a_tick() {
        let figures = run(|_| 3, 6_000, 0).figures();
        assert!(figures.p95_ms <= 40 && figures.max_ms <= 40, "{figures:?}");
        assert_eq!((figures.made_up, figures.dropped), (0, 0), "{figures:?}");
    }

    #[test]
    fn jitter_is_paid_for_once_and_then_absorbed() {
        let late = |packet: u64| (packet * 7_919) % 41;
        let figures = run(late, 6_000, 0).figures();
        assert!(figures.made_up < 60, "{figures:?}");
        assert!(figures.p95_ms <= 80, "{figures:?}");
    }

    #[test]
    fn skew_either_way_leaves_the_delay_bounded_for_an_hour() {
        for ppm in [-100, 100] {
            let figures = run(|_| 3, 360_000, ppm).figures();
            assert!(figures.max_ms <= 60, "{ppm} ppm: {figures:?}");
            assert_eq!(figures.dropped, 0, "{ppm} ppm: {figures:?}");
            // 100 ppm of an hour are 360 ms.
            let taken_up = figures.made_up + figures.blended;
            assert!((30..200).contains(&taken_up), "{ppm} ppm: {figures:?}");
        }
    }

    #[test]
    fn a_burst_is_given_back_within_some_windows() {
        let mut playout = Playout::default();
        (0..BOUND + 5).for_each(|_| playout.push(&[1; FRAME], &[0; FRAME]));
        assert_eq!(playout.figures().dropped, 5);
        let mut frame = [0; FRAME];
        for _ in 0..3_000 {
            playout.pull(&mut frame, &mut [0; FRAME]);
            playout.push(&[1; FRAME], &[0; FRAME]);
        }
        assert!(playout.held <= SPARE + 2, "{} frames", playout.held);
    }

    #[test]
    fn a_line_that_has_stopped_is_not_played_and_begins_anew() {
        let mut playout = Playout::default();
        let mut frame = [7; FRAME];
        assert!(!playout.pull(&mut frame, &mut [0; FRAME]));
        assert_eq!(frame, [7; FRAME]);
        (0..PRIME).for_each(|_| playout.push(&[500; FRAME], &[0; FRAME]));
        let played = (0..40)
            .filter(|_| playout.pull(&mut frame, &mut [0; FRAME]))
            .count();
        assert_eq!(played, PRIME + DRY as usize);
        (0..PRIME).for_each(|_| playout.push(&[500; FRAME], &[0; FRAME]));
        assert!(playout.pull(&mut frame, &mut [0; FRAME]));
    }

    proptest! {
        #[test]
        fn whatever_comes_when_it_never_holds_more_than_its_bound(
            steps in prop::collection::vec((0usize..40, 0usize..40), 1..200)
        ) {
            let mut playout = Playout::default();
            for (pushes, pulls) in steps {
                (0..pushes).for_each(|_| playout.push(&[9; FRAME], &[0; FRAME]));
                (0..pulls).for_each(|_| assert!(playout.pull(&mut [0; FRAME], &mut [0; FRAME]) || playout.held < PRIME));
                prop_assert!(playout.held <= BOUND);
            }
            prop_assert!(usize::from(playout.figures().max_ms) <= BOUND * 10);
        }
    }
}
