//! Logs: the name of an event as the message, plus fields; to journald under
//! systemd, else to stderr.
//!
//! Journald fields carry no prefix, so `journalctl CALL_ID=…` finds a call.
//! Phone numbers and addresses are logged only inside [`Redacted`].

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{Level, Log};

/// Starts logging, once per process.
///
/// # Errors
/// The journal is to be used and cannot be reached.
pub fn start(settings: &Log) -> io::Result<()> {
    let registry = tracing_subscriber::registry().with(filter(settings.level));
    if settings.journal.unwrap_or_else(under_journald) {
        let journald = tracing_journald::layer()?.with_field_prefix(None);
        registry.with(journald).init();
    } else {
        let stderr = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false);
        registry.with(stderr).init();
    }
    Ok(())
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// systemd sets `JOURNAL_STREAM` when it has connected stderr to the journal
/// (systemd.exec(5), "Environment Variables Set on the Invoked Processes").
fn under_journald() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

/// A phone number or address as a log may show it: the last two characters.
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.chars().count();
        // Of a short text two characters would be most of it.
        let shown = if length > 4 { 2 } else { 0 };
        f.write_str("…")?;
        self.0
            .chars()
            .skip(length - shown)
            .try_for_each(|letter| write!(f, "{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Redacted;

    #[test]
    fn a_number_shows_its_last_two_digits_only() {
        for (full, shown) in [
            ("+4930123456", "…56"),
            ("1234", "…"),
            ("", "…"),
            ("alice", "…ce"),
        ] {
            assert_eq!(Redacted(full).to_string(), shown);
        }
    }
}
