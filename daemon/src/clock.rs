//! The one place that reads a clock.
//!
//! Everything below the daemon is told the time. `now` is monotonic since the
//! process first asked; wall time is for people and for upstream only.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the one clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the process first asked; never decreases. In whole µs, as the
/// log of a conversation keeps it: a replay sees the very same times.
#[expect(clippy::disallowed_methods, reason = "the one clock")]
pub fn now() -> Duration {
    whole_micros(Instant::now().saturating_duration_since(*START))
}

/// Without the nanoseconds that a log does not keep.
pub fn whole_micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Time since 1970-01-01 UTC by the wall clock, which may step.
#[expect(clippy::disallowed_methods, reason = "the one clock")]
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// CPU time that this process has used, all threads together.
pub fn cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec and lives across the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "Linux has had a process CPU clock since 2.6");
    let whole = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(whole, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_never_decreases() {
        let earlier = super::now();
        assert!(super::now() >= earlier);
        assert!(super::cpu() > std::time::Duration::ZERO);
    }
}
