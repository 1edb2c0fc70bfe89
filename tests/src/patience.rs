//! Waiting for something to become true, with a limit. The tests' one clock.
//!
//! Nothing is judged by these times: a limit only ends a test that hangs.

use std::thread::sleep;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(10);

/// The moment now.
#[expect(clippy::disallowed_methods, reason = "the tests' one clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks until there is something or the limit has passed.
pub fn watch<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if now() > end {
            return None;
        }
        sleep(STEP);
    }
}

/// Looks until there is something.
///
/// # Panics
/// When the limit has passed; `what` says what was awaited.
pub fn wait_for<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    watch(limit, look).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// Seconds, to be read in a call.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Milliseconds, to be read in a call.
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
