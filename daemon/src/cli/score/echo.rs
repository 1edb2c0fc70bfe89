//! Barge-ins through the echo of our own prompt.
//!
//! Called by `score`.

use super::Case;
use super::figure::Share;
use super::manifest::Span;
use super::speech::grouped;
use super::table::{Cell, Table};

/// A barge-in reported this much before its label is one that was found.
const BEFORE: f64 = 0.1;
/// Reports this long after a caller's sound belong to it.
const AFTER: f64 = 0.5;
/// Time after a backchannel within which its barge-in is to be taken back.
const TAKEN_BACK: f64 = 1.5;

#[derive(Default)]
struct Tally {
    in_half: Share,
    in_one: Share,
    delays: Vec<f64>,
    false_ones: usize,
    seconds: f64,
    files: Share,
    echo_only: Share,
    triggered: Share,
    kept: Share,
}

/// Barge-ins found, false ones and those not taken back, by condition.
pub(super) fn barge_ins(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "path",
        "in 500 ms",
        "in 1 s",
        "p50 ms",
        "p95 ms",
        "false/min",
        "files with a false one",
        "echo only with one",
        "backchannels that triggered",
        "not taken back",
    ];
    let mut table = Table::new("barge-in through echo", &columns);
    for (path, cases) in grouped(cases, "condition") {
        let mut tally = Tally::default();
        cases.iter().for_each(|case| tally.add(case));
        table.push(vec![
            Cell::text(path),
            Cell::Share(tally.in_half),
            Cell::Share(tally.in_one),
            Cell::percentile_ms(&tally.delays, 0.5),
            Cell::percentile_ms(&tally.delays, 0.95),
            Cell::per_minute(tally.false_ones, tally.seconds),
            Cell::Share(tally.files),
            Cell::Share(tally.echo_only),
            Cell::Share(tally.triggered),
            Cell::Share(tally.kept),
        ]);
    }
    table.if_any()
}

impl Tally {
    fn add(&mut self, case: &Case) {
        let times = case.times("barge_in");
        let caller = barge(case);
        let backchannels = case.row.backchannels();
        if let Some(span) = &caller {
            self.barge_in(span, &times);
        }
        for span in &backchannels {
            self.backchannel(span, &times, &case.times("barge_in_retracted"));
        }
        let sounds: Vec<Span> = caller.into_iter().chain(backchannels).collect();
        let mine = |at: f64| {
            sounds
                .iter()
                .any(|span| span.widened(BEFORE, AFTER).holds(at))
        };
        let false_ones = times.iter().filter(|&&at| !mine(at)).count();
        self.false_ones += false_ones;
        let heard: f64 = sounds.iter().map(|span| span.end - span.start).sum();
        self.seconds += case.seconds - heard;
        self.files.count(false_ones > 0);
        if case.row.text("kind") == "echo_only" {
            self.echo_only.count(false_ones > 0);
        }
    }

    fn barge_in(&mut self, span: &Span, times: &[f64]) {
        let found = times.iter().find(|&&at| at >= span.start - BEFORE);
        let delay = found.map(|at| (at - span.start).max(0.0));
        self.in_half.count(delay.is_some_and(|delay| delay <= 0.5));
        self.in_one.count(delay.is_some_and(|delay| delay <= 1.0));
        self.delays.extend(delay.filter(|&delay| delay <= 1.0));
    }

    fn backchannel(&mut self, span: &Span, times: &[f64], retractions: &[f64]) {
        let trigger = times
            .iter()
            .find(|&&at| span.widened(BEFORE, AFTER).holds(at));
        self.triggered.count(trigger.is_some());
        let back = |at: f64| {
            retractions
                .iter()
                .any(|&back| back > at && back <= span.end + TAKEN_BACK)
        };
        self.kept.count(trigger.is_some_and(|&at| !back(at)));
    }
}

fn barge(case: &Case) -> Option<Span> {
    Some(Span {
        start: case.row.number("barge_start")?,
        end: case.row.number("barge_end")?,
    })
}
