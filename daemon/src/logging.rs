//! Logs: an event name plus fields, to journald under systemd, else to stderr.
//!
//! Journald fields carry no prefix, so `journalctl CALL_ID=…` finds a call.
//! Phone numbers and addresses are logged only inside [`Redacted`].

use std::fmt;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `level`, once per process.
///
/// # Errors
/// Journald was promised by the environment and cannot be reached.
pub fn start(level: LevelFilter) -> io::Result<()> {
    let registry = tracing_subscriber::registry().with(level);
    if under_journald() {
        let journald = tracing_journald::layer()?.with_field_prefix(None);
        registry.with(journald).init();
    } else {
        let stderr = tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_target(false);
        registry.with(stderr).init();
    }
    Ok(())
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
