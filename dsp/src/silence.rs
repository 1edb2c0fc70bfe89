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
/// Somebody who spoke and has now been quiet for this long is gone: 20 s.
const GONE_AFTER: u64 = 160_000;
/// A background that sank by this much went away with its caller.
const SUNK_DB: f32 = 15.0;
/// The background is followed with this pace a frame, both ways: about 2 s.
const PACE: f32 = 0.005;
/// A level this far over the background is no background.
const LEAST_OVER_DB: f32 = 12.0;
/// The lowest background that can sink any further, dBov.
const LOWEST_DBOV: f32 = -65.0;

/// Quiet of one line.
#[derive(Clone, Debug)]
pub(crate) struct Silence {
    since: u64,
    cause: SilenceCause,
    cause_since: u64,
    reported: Option<SilenceCause>,
    /// Level of the line between words while somebody was there, dBov.
    background_dbov: f32,
    /// The same of late.
    level_dbov: f32,
}

/// What the frame was.
#[derive(Clone, Copy)]
pub(crate) struct Quiet {
    pub(crate) source: Source,
    /// Exact zeros: a muted peer.
    pub(crate) zeros: bool,
    pub(crate) music: bool,
    /// Somebody speaks or presses a key, or we speak: the silence begins after it.
    pub(crate) sound: bool,
    /// A tone sounds: no silence, but whoever was quiet before it still is.
    pub(crate) tone: bool,
    /// Where the speech truly ended, if it ended.
    pub(crate) speech_end: Option<u64>,
    /// Level of the frame, dBov.
    pub(crate) level_dbov: f32,
    /// Somebody speaks right now.
    pub(crate) speaks: bool,
}

impl Silence {
    pub(crate) const fn new() -> Self {
        Self {
            since: 0,
            cause: SilenceCause::Quiet,
            cause_since: 0,
            reported: None,
            background_dbov: LOWEST_DBOV,
            level_dbov: LOWEST_DBOV,
        }
    }

    /// The cause that was reported and still holds.
    pub(crate) const fn reported(&self) -> Option<SilenceCause> {
        self.reported
    }

    /// Takes the frame that ends at `at`.
    pub(crate) fn hear(&mut self, at: u64, quiet: Quiet) -> Option<EventKind> {
        self.follow_background(at, quiet);
        let cause = self.cause(at, quiet);
        if cause != self.cause {
            self.cause = cause;
            self.cause_since = at - FRAME as u64;
        }
        if quiet.sound {
            self.since = at;
            self.reported = None;
            return None;
        }
        if quiet.tone && !quiet.music {
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

    /// The background is learnt while a caller is there, which their speech proves.
    fn follow_background(&mut self, at: u64, quiet: Quiet) {
        let level = quiet.level_dbov.max(LOWEST_DBOV - 20.0);
        self.level_dbov += 4.0 * PACE * (level - self.level_dbov);
        let there = quiet.speech_end.is_some_and(|end| at - end < REPORT_AFTER);
        let over = level > self.background_dbov + LEAST_OVER_DB;
        if !quiet.speaks && !quiet.sound && !quiet.tone && there && (!over || level < -40.0) {
            let pace = if level > self.background_dbov {
                PACE
            } else {
                PACE / 8.0
            };
            self.background_dbov += 4.0 * pace * (level - self.background_dbov);
            self.background_dbov = self.background_dbov.max(LOWEST_DBOV);
        }
    }

    fn cause(&self, at: u64, quiet: Quiet) -> SilenceCause {
        match quiet.source {
            Source::NoRtp => SilenceCause::NoRtp,
            Source::ComfortNoise => SilenceCause::ComfortNoise,
            Source::Received | Source::Concealed if quiet.music => SilenceCause::HoldMusic,
            Source::Received | Source::Concealed if quiet.zeros => SilenceCause::ComfortNoise,
            Source::Received | Source::Concealed => self.absence(at, quiet),
        }
    }

    /// A live line on which nobody speaks: not yet, not now, or not any more.
    fn absence(&self, at: u64, quiet: Quiet) -> SilenceCause {
        let Some(end) = quiet.speech_end else {
            return SilenceCause::Quiet;
        };
        let sunk = self.level_dbov < self.background_dbov - SUNK_DB;
        if sunk || at - self.since_true_end(at, Some(end)) >= GONE_AFTER {
            SilenceCause::Gone
        } else {
            SilenceCause::Thinking
        }
    }
}
