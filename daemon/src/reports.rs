//! What a media thread reports, as the core's words and lines of the timeline.
//!
//! No state: called by the switchboard for each report.

use std::fmt::Write as _;
use std::time::Duration;

use offhook_core::input::Digit;
use offhook_core::{LegEvent, Turn};

use crate::media::quality::{self, Sounded};
use crate::media::{Cut, Digit as Key, PlayoutFigures, Report, ReportKind, Summary};
use crate::switchboard::OPERATOR_PLAY;
use crate::timeline::Line;
use crate::translate;

/// What came of something on a leg.
#[derive(Debug)]
pub enum Told {
    /// The core wants to know, and when it happened.
    Event(Duration, LegEvent),
    /// The dialog may now be stored.
    Dialog(String),
    /// For the timeline only.
    Note(Duration, Line),
    /// How the sound of the other leg fared, once this one is over.
    Playout(Duration, PlayoutFigures),
    /// Packets that were not its peer's: from elsewhere, and with a wrong seal.
    Strange {
        /// From elsewhere.
        foreign: u32,
        /// With a wrong seal.
        forged: u32,
    },
    /// All state of the leg is gone.
    Gone,
}

/// What a report means, in the core's words and for the timeline.
pub fn reported(report: &Report, mut tell: impl FnMut(Told)) {
    let at = report.at;
    let mut heard = |event| tell(Told::Event(at, event));
    match &report.kind {
        ReportKind::Ear(event) => {
            let at = at.saturating_sub(samples(
                report.sample.saturating_sub(translate::began(event)),
            ));
            if let Some(event) = translate::heard(&event.kind) {
                tell(Told::Event(at, event));
            }
        }
        ReportKind::BargeIn { turn, start, .. } => {
            let at = at.saturating_sub(samples(report.sample.saturating_sub(*start)));
            tell(Told::Event(at, LegEvent::BargeIn { turn: Turn(*turn) }));
        }
        ReportKind::Turn { turn } => heard(LegEvent::Turn { turn: Turn(*turn) }),
        ReportKind::Digit(Key::Masked) => heard(LegEvent::Digit(Digit::Masked)),
        ReportKind::Digit(Key::Key(ascii)) => {
            if let Some(digit) = translate::key(*ascii) {
                heard(LegEvent::Digit(digit));
            }
        }
        ReportKind::Sealed { keys, check_digit } => heard(LegEvent::Sealed {
            keys: *keys,
            check_digit: *check_digit,
        }),
        ReportKind::Played {
            play: OPERATOR_PLAY,
            sent_samples,
            finished,
            ..
        } => {
            let (said, how) = (
                samples(*sent_samples).as_millis(),
                if *finished { "to its end" } else { "cut" },
            );
            let line = Line::action("operator_spoke", format!("{said} ms, {how}"));
            tell(Told::Note(at, line));
        }
        ReportKind::Played {
            play,
            sent_samples,
            finished,
            cut,
            ..
        } => {
            let sent_ms = samples(*sent_samples)
                .as_millis()
                .try_into()
                .unwrap_or(u32::MAX);
            heard(LegEvent::Played {
                play: *play,
                sent_ms,
                finished: *finished,
            });
            if let Some(cut) = cut {
                tell(Told::Note(at, cut_line(cut)));
            }
        }
        ReportKind::Stale { turn } => heard(LegEvent::Stale { turn: Turn(*turn) }),
        ReportKind::MediaLost { ms } => heard(LegEvent::MediaLost { ms: *ms }),
        ReportKind::EventsLost {
            count,
            speaking,
            turn,
        } => {
            heard(LegEvent::Turn { turn: Turn(*turn) });
            heard(LegEvent::EventsLost {
                count: *count,
                speaking: *speaking,
            });
        }
        ReportKind::Joined => heard(LegEvent::Joined),
        ReportKind::NotJoined => heard(LegEvent::JoinFailed),
        ReportKind::Latched(from) => {
            tell(Told::Note(at, Line::media("rtp_from", from.to_string())));
        }
        ReportKind::Closed(summary) => {
            tell(Told::Note(
                at,
                Line::media("media_closed", summary_text(summary)),
            ));
            let (foreign, forged) = (summary.foreign, summary.forged);
            if foreign > 0 || forged > 0 {
                tell(Told::Strange { foreign, forged });
            }
            if let Some(figures) = summary.playout {
                tell(Told::Playout(at, figures));
            }
        }
    }
}

/// How quickly a prompt gave way, in our packets and in time at our socket.
fn cut_line(cut: &Cut) -> Line {
    let (packets, ms) = (cut.packets, cut.took.as_millis());
    Line::media(
        "prompt_stopped",
        format!("{packets} packets, {ms} ms after the first speech packet"),
    )
}

fn summary_text(summary: &Summary) -> String {
    let mut text = format!(
        "received {} lost {} late {} concealed {} ms, sent {}, jitter {} us, foreign {}",
        summary.received,
        summary.lost,
        summary.late,
        summary.concealed_ms,
        summary.sent,
        summary.jitter_us,
        summary.foreign
    );
    if summary.flooded > 0 {
        let _ = write!(text, ", flooded {}", summary.flooded);
    }
    if summary.recovered_ms > 0 {
        let _ = write!(text, ", recovered {} ms", summary.recovered_ms);
    }
    if let Some(waits) = waits_text(summary.waits) {
        let _ = write!(text, ", {waits}");
    }
    if let Some(codec) = summary.codec {
        let _ = write!(text, ", {}", codec.name());
    }
    let _ = match quality::sounded(summary) {
        Some(Sounded::Mos(mos)) => write!(text, ", MOS {mos:.1}"),
        Some(Sounded::NotGiven(codec)) => write!(text, ", no MOS is given for {}", codec.name()),
        None => Ok(()),
    };
    if let Some(playout) = &summary.playout {
        let _ = write!(text, ", straight {}, {playout}", summary.straight);
    }
    text
}

/// How long the ear waited for what came late: gaps by 10 ms, and those in vain.
fn waits_text(waits: [u32; 5]) -> Option<String> {
    let [ten, twenty, thirty, forty, vain] = waits;
    let some = waits.iter().any(|count| *count > 0);
    some.then(|| {
        format!("gaps waited 10/20/30/40 ms {ten}/{twenty}/{thirty}/{forty}, in vain {vain}")
    })
}

/// Samples at 8 kHz as time.
fn samples(count: u64) -> Duration {
    Duration::from_micros(count.saturating_mul(125))
}
