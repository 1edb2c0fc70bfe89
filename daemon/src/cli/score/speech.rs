//! Speech: areas under the curve, onsets and ends, false onsets.
//!
//! Strictly causal: an event counts at the moment it was reported. Called by `score`.

use std::collections::BTreeMap;

use offhook_dsp::FRAME;

use super::figure::{Share, area};
use super::manifest::Span;
use super::table::{Cell, Table};
use super::{Case, seconds};

/// An onset may be reported this much before the label …
const BEFORE: f64 = 0.1;
/// … or after it, and is found.
const LATEST: f64 = 1.0;
/// Speech that begins within this time after a label's end belongs to it.
const AFTER: f64 = 0.3;

/// Cases by a column, in the order of its values, then all of them.
pub(super) fn grouped<'a>(cases: &[&'a Case], column: &str) -> Vec<(String, Vec<&'a Case>)> {
    let mut groups: BTreeMap<String, Vec<&Case>> = BTreeMap::new();
    for &case in cases {
        let value = case.row.text(column).to_owned();
        groups.entry(value).or_default().push(case);
    }
    let mut all: Vec<_> = groups.into_iter().collect();
    if all.len() > 1 {
        all.push(("all".to_owned(), cases.to_vec()));
    }
    all
}

/// Area under the ROC curve by condition, and the mean of the conditions.
pub(super) fn areas(cases: &[&Case]) -> Option<Table> {
    let mut table = Table::new("frames of speech", &["condition", "files", "frames", "auc"]);
    let mut sum = Vec::new();
    for (condition, cases) in grouped(cases, "condition") {
        let frames: Vec<(f32, bool)> = cases.iter().flat_map(|case| labelled(case)).collect();
        let found = area(&frames);
        let name = if condition == "all" {
            "all, pooled".to_owned()
        } else {
            sum.extend(found.map(|area| (condition.clone(), area)));
            condition
        };
        table.push(vec![
            Cell::text(name),
            Cell::Number(Some(cases.len() as f64), 0),
            Cell::Number(Some(frames.len() as f64), 0),
            Cell::Number(found, 3),
        ]);
    }
    for ending in ["", "20", "10", "5"] {
        let some: Vec<f64> = sum
            .iter()
            .filter(|(name, _)| {
                name.trim_start_matches(char::is_alphabetic) == ending || ending.is_empty()
            })
            .map(|(_, area)| *area)
            .collect();
        if some.len() > 1 {
            let name = if ending.is_empty() {
                "mean of conditions".to_owned()
            } else {
                format!("mean at {ending} dB")
            };
            table.push(vec![
                Cell::text(name),
                Cell::text(""),
                Cell::text(""),
                Cell::Number(Some(some.iter().sum::<f64>() / some.len() as f64), 3),
            ]);
        }
    }
    table.if_any()
}

/// Each frame's probability and whether its middle lies within labelled speech.
fn labelled(case: &Case) -> Vec<(f32, bool)> {
    let spans = case.row.speech();
    let middle = |index: usize| seconds((index * FRAME + FRAME / 2) as u64);
    let is_speech = |index| spans.iter().any(|span| span.holds(middle(index)));
    let frames = case.probabilities.iter().enumerate();
    frames.map(|(index, &p)| (p, is_speech(index))).collect()
}

/// What became of the utterances of some files.
#[derive(Default)]
struct Turns {
    missed: Share,
    /// Missed because speech was already reported.
    was_on: usize,
    onsets: Vec<f64>,
    ends: Vec<f64>,
    cut: Share,
    false_onsets: usize,
    gaps: f64,
}

/// Onsets and ends of utterances by condition.
pub(super) fn onsets(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "condition",
        "missed",
        "was on",
        "onset p50 ms",
        "p95 ms",
        "false/min of gaps",
        "end p50 ms",
        "p95 ms",
        "cut early",
    ];
    let mut table = Table::new("turns", &columns);
    for (condition, cases) in grouped(cases, "condition") {
        let mut turns = Turns::default();
        cases.iter().for_each(|case| turns.add(case));
        table.push(vec![
            Cell::text(condition),
            Cell::Share(turns.missed),
            Cell::Number(Some(turns.was_on as f64), 0),
            Cell::percentile_ms(&turns.onsets, 0.5),
            Cell::percentile_ms(&turns.onsets, 0.95),
            Cell::per_minute(turns.false_onsets, turns.gaps),
            Cell::percentile_ms(&turns.ends, 0.5),
            Cell::percentile_ms(&turns.ends, 0.95),
            Cell::Share(turns.cut),
        ]);
    }
    table.if_any()
}

impl Turns {
    fn add(&mut self, case: &Case) {
        let spans = case.row.speech();
        let starts = case.times("speech_start");
        let ends = case.times("speech_end");
        for (index, span) in spans.iter().enumerate() {
            let next = spans.get(index + 1).map_or(case.seconds, |next| next.start);
            self.onset(span, &starts, &ends);
            self.end(span, next, &ends);
        }
        let mine = |at: &&f64| {
            spans
                .iter()
                .any(|span| span.widened(BEFORE, AFTER).holds(**at))
        };
        self.false_onsets += starts.iter().filter(|at| !mine(at)).count();
        let spoken: f64 = spans.iter().map(|span| span.end - span.start).sum();
        self.gaps += case.seconds - spoken;
    }

    fn onset(&mut self, span: &Span, starts: &[f64], ends: &[f64]) {
        let found = starts
            .iter()
            .find(|&&at| at >= span.start - BEFORE && at <= span.start + LATEST);
        self.missed.count(found.is_none());
        match found {
            Some(at) => self.onsets.push((at - span.start).max(0.0)),
            None => {
                let earlier = |times: &[f64]| times.iter().filter(|&&at| at < span.start).count();
                self.was_on += usize::from(earlier(starts) > earlier(ends));
            }
        }
    }

    /// An end reported within the label cuts the speaker off.
    fn end(&mut self, span: &Span, next: f64, ends: &[f64]) {
        let early = ends
            .iter()
            .any(|&at| at > span.start + BEFORE && at < span.end);
        self.cut.count(early);
        let end = ends.iter().find(|&&at| at >= span.end && at < next);
        self.ends.extend(end.map(|at| at - span.end));
    }
}

/// The estimate of a turn's end: too early, or how late.
pub(super) fn turn_ends(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "condition",
        "turns cut in on",
        "mean delay ms",
        "p50 ms",
        "p95 ms",
    ];
    let mut table = Table::new("turn ends", &columns);
    for (condition, cases) in grouped(cases, "condition") {
        let (mut cut, mut delays) = (Share::default(), Vec::new());
        for case in &cases {
            let reported = case.times("turn_end");
            let spans = case.row.speech();
            for (index, span) in spans.iter().enumerate() {
                let next = spans.get(index + 1).map_or(case.seconds, |next| next.start);
                let early = reported.iter().any(|&at| at > span.start && at < span.end);
                cut.count(early);
                let end = reported.iter().find(|&&at| at >= span.end && at < next);
                delays.extend(end.filter(|_| !early).map(|at| at - span.end));
            }
        }
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        table.push(vec![
            Cell::text(condition),
            Cell::Share(cut),
            Cell::Number((!delays.is_empty()).then_some(mean * 1_000.0), 0),
            Cell::percentile_ms(&delays, 0.5),
            Cell::percentile_ms(&delays, 0.95),
        ]);
    }
    table.if_any()
}

/// Onsets where nobody speaks, by condition.
pub(super) fn false_onsets(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "condition",
        "minutes",
        "false onsets",
        "a minute",
        "files with one",
    ];
    let mut table = Table::new("nobody speaks", &columns);
    for (condition, cases) in grouped(cases, "condition") {
        let length: f64 = cases.iter().map(|case| case.seconds).sum();
        let counts: Vec<usize> = cases
            .iter()
            .map(|case| case.times("speech_start").len())
            .collect();
        let total = counts.iter().sum();
        table.push(vec![
            Cell::text(condition),
            Cell::Number(Some(length / 60.0), 1),
            Cell::Number(Some(total as f64), 0),
            Cell::per_minute(total, length),
            Cell::Share(counts.iter().map(|&count| count > 0).collect()),
        ]);
    }
    table.if_any()
}
