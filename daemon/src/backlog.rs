//! Whether a thread keeps up with its queue, or callers had better come later than be
//! served late.
//!
//! Patience as in a queue of controlled delay (RFC 8289 §3): a burst may take a while, but
//! who was late a moment ago has too much to do, not a burst. So what waits stays short
//! while there is too much, and nearly all time goes into calls that are served.

use std::time::Duration;

/// A thread that has not once seen its queue empty for so long is late: long before
/// callers send their INVITEs again (T1 = 500 ms, RFC 3261 §17.1.1.2), since what is let
/// in until then has to be worked off while everybody else is refused.
const LATE: Duration = Duration::from_millis(150);

/// The same for one that was late within [`MEMORY`].
const LATE_AGAIN: Duration = Duration::from_millis(30);

/// A thread that kept up for so long is forgiven that it was late.
const MEMORY: Duration = Duration::from_secs(2);

/// What one thread has not done yet, by the times at which there was always more.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Since when there was always more to do.
    since: Option<Duration>,
    late_at: Option<Duration>,
}

impl Backlog {
    /// Takes note whether there is more to do; says whether the thread is late.
    pub fn look(&mut self, now: Duration, more: bool) -> bool {
        self.since = more.then(|| self.since.unwrap_or(now));
        let waits = now.saturating_sub(self.since.unwrap_or(now));
        let lately = self
            .late_at
            .is_some_and(|at| now.saturating_sub(at) < MEMORY);
        let late = waits > if lately { LATE_AGAIN } else { LATE };
        if late {
            self.late_at = Some(now);
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_burst_has_150_ms() {
        let mut backlog = Backlog::default();
        let late = [0, 50, 150, 151].map(|at| backlog.look(ms(at), true));
        assert_eq!(late, [false, false, false, true]);
        assert!(!backlog.look(ms(152), false));
    }

    #[test]
    fn who_was_late_is_late_again_soon_and_forgiven_in_the_end() {
        let mut backlog = Backlog::default();
        backlog.look(ms(0), true);
        assert!(backlog.look(ms(200), true));
        assert!(!backlog.look(ms(210), false));
        assert!(!backlog.look(ms(220), true));
        assert!(backlog.look(ms(251), true));
        assert!(!backlog.look(ms(260), false));
        assert!(!backlog.look(ms(2_300), true));
        assert!(!backlog.look(ms(2_360), true));
    }
}
