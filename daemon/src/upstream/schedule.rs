//! When to try again: pure functions of an id, a count and a given time.
//!
//! Two things fail differently. A *row* that the receiver answers with an error
//! gets strikes and is given up after the last of them. A *receiver* that cannot
//! be reached, or answers everybody with errors, opens the breaker: from then on
//! no row is blamed, one probe at a time asks whether it is back, and then the
//! backlog drains at a width that grows with each success.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// Waits after the first, second, … strike: three quick ones, for the caller
/// who is still on the line; then those that Standard Webhooks recommends
/// ("Retry schedule": 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h).
const WAITS_S: [u64; 11] = [
    1, 5, 30, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
];
/// Jitter to either side, in thousandths of the wait.
const JITTER_PERMILLE: u64 = 200;

/// Waits between the attempts for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Vec<Duration>);

impl Default for Schedule {
    fn default() -> Self {
        Self(WAITS_S.iter().copied().map(Duration::from_secs).collect())
    }
}

impl Schedule {
    /// These waits, one after each strike but the last.
    pub const fn new(waits: Vec<Duration>) -> Self {
        Self(waits)
    }

    /// How long to wait after `strikes` failures (1 or more) of the message
    /// `id`; `None`: give it up. The same arguments always give the same wait.
    pub fn next_attempt(&self, id: &str, strikes: u32) -> Option<Duration> {
        let index = usize::try_from(strikes.max(1) - 1).ok()?;
        self.0.get(index).map(|wait| jitter(id, strikes, *wait))
    }
}

/// `wait`, up to a fifth more or less, by the hash of `id` and `count`: rows
/// that failed together do not come back together.
pub fn jitter(id: &str, count: u32, wait: Duration) -> Duration {
    let mut hash = Sha256::new();
    hash.update(id);
    hash.update(count.to_le_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let draw = u64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]));
    let permille = 1000 - JITTER_PERMILLE + (((2 * JITTER_PERMILLE + 1) * draw) >> 32);
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros / 1000 * permille + micros % 1000 * permille / 1000)
}

/// Failures in a row that open the breaker.
const OPENS_AFTER: u32 = 5;
/// First and longest wait between probes.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_LAST: Duration = Duration::from_secs(60);
/// Requests in flight at first, and at most.
const WIDTH_FIRST: usize = 4;
const WIDTH_LAST: usize = 16;

/// Guards one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    name: String,
    failures: u32,
    width: usize,
    not_before: Duration,
    probe_first: Duration,
}

impl Breaker {
    /// For the receiver of that name (jitter depends on it).
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            failures: 0,
            width: WIDTH_FIRST,
            not_before: Duration::ZERO,
            probe_first: PROBE_FIRST,
        }
    }

    /// Probes begin after this wait instead of one second.
    #[must_use]
    pub const fn with_first_probe(mut self, wait: Duration) -> Self {
        self.probe_first = wait;
        self
    }

    /// The receiver is taken to be down.
    pub const fn is_open(&self) -> bool {
        self.failures >= OPENS_AFTER
    }

    /// How many more requests may be sent now.
    pub fn room(&self, now: Duration, in_flight: usize) -> usize {
        if now < self.not_before {
            return 0;
        }
        let width = if self.is_open() { 1 } else { self.width };
        width.saturating_sub(in_flight)
    }

    /// Nothing may be sent before this time.
    pub const fn not_before(&self) -> Duration {
        self.not_before
    }

    /// It answered sensibly. True when it had been down.
    pub fn succeeded(&mut self) -> bool {
        let was_open = self.is_open();
        self.failures = 0;
        self.width = if was_open {
            1
        } else {
            (self.width * 2).min(WIDTH_LAST)
        };
        was_open
    }

    /// It did not, and perhaps said when to come back; `down`: whatever was
    /// sent. True when the row is to be blamed: the receiver was not known to
    /// be down.
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>, down: bool) -> bool {
        let blame = !self.is_open();
        self.failures = self.failures.saturating_add(1);
        if down {
            self.failures = self.failures.max(OPENS_AFTER);
        }
        if let Some(wait) = retry_after {
            self.not_before = self.not_before.max(now + wait);
        }
        if self.is_open() {
            let doublings = (self.failures - OPENS_AFTER).min(16);
            let wait = (self.probe_first * (1 << doublings)).min(PROBE_LAST);
            let wait = jitter(&self.name, self.failures, wait);
            self.not_before = self.not_before.max(now + wait);
        }
        blame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_stays_within_a_fifth_and_is_always_the_same(
            id in "[0-9a-z-]{1,20}", count in 0u32..1000, wait_ms in 0u64..100_000_000,
        ) {
            let wait = Duration::from_millis(wait_ms);
            let jittered = jitter(&id, count, wait);
            prop_assert!(jittered >= wait * 4 / 5 && jittered <= wait * 6 / 5);
            prop_assert_eq!(jittered, jitter(&id, count, wait));
        }

        #[test]
        fn waits_follow_the_schedule_until_it_ends(id in "[0-9a-z-]{1,20}", strikes in 1u32..40) {
            let schedule = Schedule::default();
            let wait = schedule.next_attempt(&id, strikes);
            prop_assert_eq!(wait.is_some(), usize::try_from(strikes).unwrap() <= WAITS_S.len());
            let longest = Duration::from_secs(86_400);
            prop_assert!(wait.is_none_or(|wait| wait <= longest * 6 / 5));
        }

        #[test]
        fn an_open_breaker_lets_one_probe_through_at_a_time(
            answers in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut breaker = Breaker::new("x");
            let mut now = Duration::ZERO;
            for good in answers {
                now = now.max(breaker.not_before());
                let room = breaker.room(now, 0);
                prop_assert!((1..=WIDTH_LAST).contains(&room));
                prop_assert!(!breaker.is_open() || (room == 1 && breaker.room(now, 1) == 0));
                let open = breaker.is_open();
                if good {
                    prop_assert_eq!(breaker.succeeded(), open);
                } else {
                    prop_assert_eq!(breaker.failed(now, None, false), !open);
                    prop_assert!(breaker.not_before() <= now + PROBE_LAST * 6 / 5);
                }
            }
        }
    }

    #[test]
    fn rows_that_failed_together_do_not_come_back_together() {
        let waits: std::collections::BTreeSet<Duration> = (0..100)
            .map(|n| jitter(&format!("row-{n}"), 1, Duration::from_secs(300)))
            .collect();
        assert!(waits.len() > 60);
    }

    #[test]
    fn the_receiver_says_when_to_come_back() {
        let mut breaker = Breaker::new("x");
        let now = Duration::from_secs(10);
        assert!(breaker.failed(now, Some(Duration::from_secs(7)), false));
        assert_eq!(breaker.room(Duration::from_secs(16), 0), 0);
        assert_eq!(breaker.room(Duration::from_secs(17), 0), WIDTH_FIRST);
    }

    #[test]
    fn a_receiver_that_cannot_be_reached_is_down_at_once() {
        let mut breaker = Breaker::new("x");
        assert!(breaker.failed(Duration::ZERO, None, true));
        assert!(breaker.is_open());
        assert!(!breaker.failed(breaker.not_before(), None, true));
    }

    #[test]
    fn after_an_outage_the_width_grows_from_one() {
        let mut breaker = Breaker::new("x");
        for _ in 0..OPENS_AFTER {
            breaker.failed(Duration::ZERO, None, false);
        }
        let later = Duration::from_secs(3600);
        let widths: Vec<usize> = (0..6)
            .map(|_| {
                breaker.succeeded();
                breaker.room(later, 0)
            })
            .collect();
        assert_eq!(widths, [1, 2, 4, 8, 16, 16]);
    }
}
