//! Silence by cause: why nobody speaks, and since when.
//!
//! Reported after two seconds and whenever the cause changes. It sets no
//! deadlines (the core does). Called by the ear.

use crate::FRAME;
use crate::event::{EventKind, SilenceCause, Source};

/// Quiet before it is worth a word: 2 s.
const REPORT_AFTER: u64 = 16_000;
/// A cause must last this long to be believed: 0.5 s.
const CAUSE_LASTS: u64 = 4_000;

/// Quiet of one line.
#[derive(Clone, Debug)]
pub(crate) struct Silence {
    since: u64,
    cause: SilenceCause,
    cause_since: u64,
    reported: Option<SilenceCause>,
}

/// What the frame was.
#[derive(Clone, Copy)]
pub(crate) struct Quiet {
    pub(crate) source: Source,
    /// Exact zeros: a muted peer.
    pub(crate) zeros: bool,
    pub(crate) music: bool,
    /// Somebody speaks, we do, or a tone sounds.
    pub(crate) sound: bool,
    /// Where the speech truly ended, if it ended.
    pub(crate) speech_end: Option<u64>,
}

impl Silence {
    pub(crate) const fn new() -> Self {
        Self {
            since: 0,
            cause: SilenceCause::Quiet,
            cause_since: 0,
            reported: None,
        }
    }

    /// The cause that was reported and still holds.
    pub(crate) const fn reported(&self) -> Option<SilenceCause> {
        self.reported
    }

    /// Takes the frame that ends at `at`.
    pub(crate) fn hear(&mut self, at: u64, quiet: Quiet) -> Option<EventKind> {
        let cause = cause(quiet);
        if cause != self.cause {
            self.cause = cause;
            self.cause_since = at - FRAME as u64;
        }
        if quiet.sound {
            self.since = at;
            self.reported = None;
            return None;
        }
        let since = self.since_true_end(at, quiet.speech_end);
        let lasts = at - self.cause_since >= CAUSE_LASTS;
        if at - since < REPORT_AFTER || !lasts || self.reported == Some(cause) {
            return None;
        }
        self.reported = Some(cause);
        Some(EventKind::Silence { cause, since })
    }

    /// The end of speech is known only later; what sounded after it counts more.
    fn since_true_end(&self, at: u64, speech_end: Option<u64>) -> u64 {
        let hangover = 400 * 8;
        match speech_end {
            Some(end) if end <= self.since && self.since - end <= hangover => end.min(at),
            Some(_) | None => self.since,
        }
    }
}

fn cause(quiet: Quiet) -> SilenceCause {
    match quiet.source {
        Source::NoRtp => SilenceCause::NoRtp,
        Source::ComfortNoise => SilenceCause::ComfortNoise,
        Source::Received | Source::Concealed if quiet.music => SilenceCause::HoldMusic,
        Source::Received | Source::Concealed if quiet.zeros => SilenceCause::ComfortNoise,
        Source::Received | Source::Concealed => SilenceCause::Quiet,
    }
}
