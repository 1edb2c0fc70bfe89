//! How the peer must have sounded to us: the E-model of ITU-T G.107, as far as what is
//! counted of a line says it.
//!
//! Only narrow sound is judged, by the figures of ITU-T G.113 appendix I. Wide sound has
//! a scale of its own (G.107.1), and nobody publishes how Opus, or our concealment of
//! G.722, stands loss on it: there the report says that it gives none. Called when a leg
//! is summed up, off the media threads.

use super::words::{Codec, Summary};

/// The rating of a line with nothing wrong (G.107 §7.7, default values).
const BEST: f32 = 93.2;
/// What losing everything takes off (G.107 §7.5).
const WORST_LOSS: f32 = 95.0;
/// Robustness of G.711 with concealment against random loss (G.113 table I.3).
const ROBUSTNESS: f32 = 25.1;
/// From this one-way delay on, people talk into each other (G.107 §7.4, as simplified
/// by Cole and Rosenbluth, 2001).
const DELAY_HEARD_MS: f32 = 177.3;

/// How a leg sounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sounded {
    /// Mean opinion score of listening, 1 to 4.5.
    Mos(f32),
    /// The model has no figures for this codec.
    NotGiven(Codec),
}

/// How this leg sounded; `None` where nothing came.
pub fn sounded(summary: &Summary) -> Option<Sounded> {
    match summary.codec? {
        Codec::Pcmu | Codec::Pcma => mos(summary).map(Sounded::Mos),
        codec @ (Codec::G722 | Codec::Opus) => {
            (summary.received > 0).then_some(Sounded::NotGiven(codec))
        }
    }
}

/// Of G.711.
fn mos(summary: &Summary) -> Option<f32> {
    let lost = summary.lost.max(0) as f32 + summary.late as f32;
    let sent = summary.received as f32 + summary.lost.max(0) as f32;
    let percent = (sent > 0.0).then(|| (lost / sent * 100.0).min(100.0))?;
    let delay_ms = summary.round_trip_us as f32 / 2_000.0;
    Some(score(rating(percent, delay_ms)))
}

/// R of G.107.
fn rating(loss_percent: f32, delay_ms: f32) -> f32 {
    let equipment = WORST_LOSS * loss_percent / (loss_percent + ROBUSTNESS);
    let delay = 0.024 * delay_ms + 0.11 * (delay_ms - DELAY_HEARD_MS).max(0.0);
    BEST - equipment - delay
}

/// G.107 annex B.
fn score(rating: f32) -> f32 {
    let rating = rating.clamp(0.0, 100.0);
    let curve = rating * (rating - 60.0) * (100.0 - rating) * 7e-6;
    (1.0 + 0.035 * rating + curve).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_delay_cost_what_the_model_says() {
        // received, lost, late, round trip in ms, score
        for (received, lost, late, round_trip, expected) in [
            (1_000, 0, 0, 0, 4.41),
            (950, 50, 0, 0, 3.94),
            (990, 10, 0, 100, 4.28),
            (1_000, 0, 50, 0, 3.94),
            (800, 200, 0, 0, 2.64),
            (1_000, 0, 0, 600, 3.71),
        ] {
            let summary = Summary {
                codec: Some(Codec::Pcma),
                received,
                lost,
                late,
                round_trip_us: round_trip * 1_000,
                ..Summary::default()
            };
            let Some(Sounded::Mos(found)) = sounded(&summary) else {
                panic!("G.711 is judged");
            };
            assert!((found - expected).abs() < 0.05, "{found}, not {expected}");
        }
    }

    #[test]
    fn what_nobody_has_measured_is_not_judged() {
        for codec in [Codec::Opus, Codec::G722] {
            let wide = Summary {
                codec: Some(codec),
                received: 10,
                ..Summary::default()
            };
            assert_eq!(sounded(&wide), Some(Sounded::NotGiven(codec)));
        }
        assert_eq!(sounded(&Summary::default()), None);
    }
}
