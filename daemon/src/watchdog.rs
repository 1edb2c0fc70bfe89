//! What systemd is told: ready, alive, stopping.
//!
//! Alive means real progress: every thread that must turn keeps a [`Pulse`],
//! and systemd hears nothing from us while one of them stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use systemd::daemon::{self, STATE_READY, STATE_STATUS, STATE_STOPPING, STATE_WATCHDOG};

/// Counts the rounds of one thread.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// One round more. Neither allocates nor blocks.
    pub fn beat(&self) {
        // Relaxed: a count on its own, nothing is published with it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Rounds so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches pulses and feeds systemd's watchdog.
pub struct Watchdog {
    pulses: Vec<(&'static str, Pulse, u64)>,
    interval: Option<Duration>,
}

impl Watchdog {
    /// Watches `pulses`; systemd says in the environment whether it wants to hear.
    pub fn new(pulses: Vec<(&'static str, Pulse)>) -> Self {
        let interval = match daemon::watchdog_enabled(false) {
            Ok(0) | Err(_) => None,
            // Half of what systemd allows (sd_watchdog_enabled(3)).
            Ok(micros) => Some(Duration::from_micros(micros) / 2),
        };
        let pulses = pulses
            .into_iter()
            .map(|(name, pulse)| (name, pulse, 0))
            .collect();
        Self { pulses, interval }
    }

    /// How often to call [`Self::check`]; once a second when nobody listens.
    pub fn interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(1))
    }

    /// Feeds the watchdog if every thread has turned since the last check, and
    /// names the first that has not.
    pub fn check(&mut self) -> Result<(), &'static str> {
        let mut stuck = None;
        for (name, pulse, seen) in &mut self.pulses {
            let count = pulse.count();
            if count == *seen {
                stuck.get_or_insert(*name);
            }
            *seen = count;
        }
        match stuck {
            Some(name) => Err(name),
            None => {
                notify(&[(STATE_WATCHDOG, "1")]);
                Ok(())
            }
        }
    }
}

/// Everything is up: `systemctl start` returns.
pub fn ready(status: &str) {
    notify(&[(STATE_READY, "1"), (STATE_STATUS, status)]);
}

/// We are going down on purpose, and ask to be given so long for it: beyond
/// `TimeoutStopSec=` too.
pub fn stopping(status: &str, within: Duration) {
    let micros = within.as_micros().to_string();
    notify(&[
        (STATE_STOPPING, "1"),
        (STATE_STATUS, status),
        ("EXTEND_TIMEOUT_USEC", &micros),
    ]);
}

/// Without systemd there is nobody to tell; that is no fault.
fn notify(state: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(false, state.iter()) {
        tracing::warn!(%error, "systemd_notify_failed");
    }
}

#[cfg(test)]
mod tests {
    use super::{Pulse, Watchdog};

    #[test]
    fn a_thread_that_stands_still_is_named() {
        let (media, store) = (Pulse::default(), Pulse::default());
        let mut watchdog = Watchdog::new(vec![("media", media.clone()), ("store", store.clone())]);
        media.beat();
        store.beat();
        assert_eq!(watchdog.check(), Ok(()));
        media.beat();
        assert_eq!(watchdog.check(), Err("store"));
        store.beat();
        assert_eq!(watchdog.check(), Err("media"));
    }
}
