//! Who answered, beeps, tones, and what speech was mistaken for.
//!
//! The verdict is the first answer other than `unsure` and `ringback`; the
//! final one has the corrections of the file. Called by `score`.

use offhook_dsp::{AnswerClass, Event, EventKind, Sensitivity, ToneKind};

use super::figure::Share;
use super::labels::{Expected, is_tone};
use super::manifest::Row;
use super::table::{Cell, Table};
use super::{Case, every_sensitivity, seconds};

/// A beep is the labelled one if it ends within this time of it.
const BEEP_AGREES: f64 = 0.15;
/// A first turn no longer than this is a short answer, where no subtype says so.
const SHORT_TURN: f64 = 1.5;

/// A verdict and when it came, in seconds after the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Verdict {
    class: AnswerClass,
    after: f64,
}

/// All tables of answered calls and tones.
pub(super) fn tables(cases: &[&Case]) -> Vec<Table> {
    let all = [
        answers("answers", cases),
        with_words(cases),
        sensitivities(cases),
        balance(cases),
        beeps(cases),
        false_beeps(cases),
        tones(cases),
        wrong(cases),
    ];
    all.into_iter().flatten().collect()
}

fn verdict(case: &Case, last: bool) -> Option<Verdict> {
    verdict_among(&case.row, &case.events, last)
}

fn verdict_among(row: &Row, events: &[Event], last: bool) -> Option<Verdict> {
    let answered = row.number("answer_s").unwrap_or(0.0).max(0.0);
    let mut verdicts = events.iter().filter_map(|event| {
        let class = match event.kind {
            EventKind::Answer { class, .. } | EventKind::AnswerCorrected { class, .. } => class,
            _ => return None,
        };
        let after = seconds(event.at) - answered;
        let counts = !matches!(class, AnswerClass::Unsure | AnswerClass::Ringback);
        counts.then_some(Verdict { class, after })
    });
    if last {
        verdicts.next_back()
    } else {
        verdicts.next()
    }
}

fn is_short(case: &Case) -> bool {
    match case.row.text("subtype") {
        "hello" | "proxy_short" | "short" => true,
        "tts_answer" | "" => {
            let times = (
                case.row.number("speech_on_s"),
                case.row.number("speech_end_s"),
            );
            matches!(times, (Some(on), Some(end)) if end - on <= SHORT_TURN)
        }
        _ => false,
    }
}

fn is_real(case: &Case) -> bool {
    case.row.text("tier") != "synthetic"
}

/// A row of the table of answers: its name and which files it is about.
type Group = (&'static str, fn(&Case) -> bool);

const GROUPS: [Group; 9] = [
    ("short answers, real", |case| {
        is_human(case) && is_real(case) && is_short(case)
    }),
    ("sentence answers, real", |case| {
        is_human(case) && is_real(case) && !is_short(case)
    }),
    ("humans, real", |case| is_human(case) && is_real(case)),
    ("humans, synthetic", |case| is_human(case) && !is_real(case)),
    ("humans, all", is_human),
    ("machines, real", |case| is_machine(case) && is_real(case)),
    ("machines, synthetic", |case| {
        is_machine(case) && !is_real(case)
    }),
    ("machines, all", is_machine),
    ("early media", is_early),
];

fn is_early(case: &Case) -> bool {
    case.row.text("label") == "early_media"
}

fn is_human(case: &Case) -> bool {
    !is_early(case) && Expected::of(&case.row) == Expected::Human
}

fn is_machine(case: &Case) -> bool {
    !is_early(case) && Expected::of(&case.row) == Expected::Machine
}

/// Files with a transcript, as if every word of it were understood in time.
fn with_words(cases: &[&Case]) -> Option<Table> {
    let told = |case: &&Case| -> Option<Case> {
        Some(Case {
            row: case.row.clone(),
            events: case.events_with_words.clone()?,
            events_with_words: None,
            levels: Vec::new(),
            probabilities: Vec::new(),
            seconds: case.seconds,
        })
    };
    let with: Vec<Case> = cases.iter().filter_map(told).collect();
    let without = cases
        .iter()
        .copied()
        .filter(|case| case.events_with_words.is_some());
    let mut table = answers("answers with words", &with.iter().collect::<Vec<_>>())?;
    let same = answers("", &without.collect::<Vec<_>>())?;
    table.append("the same files without:", same);
    Some(table)
}

fn answers(title: &'static str, cases: &[&Case]) -> Option<Table> {
    let columns = [
        "who answered",
        "right",
        "human",
        "machine",
        "other",
        "unsure or none",
        "decided p50 ms after answer",
        "p95 ms",
        "right in the end",
    ];
    let mut table = Table::new(title, &columns);
    for (name, belongs) in GROUPS {
        let cases: Vec<&Case> = cases.iter().copied().filter(|case| belongs(case)).collect();
        if !cases.is_empty() {
            table.push(answer_row(name, &cases));
        }
    }
    table.if_any()
}

fn answer_row(name: &str, cases: &[&Case]) -> Vec<Cell> {
    let right = |last: bool| -> Share {
        let fits = |case: &&Case| {
            verdict(case, last).is_some_and(|verdict| Expected::of(&case.row).fits(verdict.class))
        };
        cases.iter().map(fits).collect()
    };
    let verdicts: Vec<Verdict> = cases
        .iter()
        .filter_map(|case| verdict(case, false))
        .collect();
    let count = |expected: Expected| verdicts.iter().filter(|v| expected.fits(v.class)).count();
    let (human, machine) = (count(Expected::Human), count(Expected::Machine));
    let times: Vec<f64> = verdicts.iter().map(|verdict| verdict.after).collect();
    let number = |count: usize| Cell::Number(Some(count as f64), 0);
    vec![
        Cell::text(name),
        Cell::Share(right(false)),
        number(human),
        number(machine),
        number(verdicts.len() - human - machine),
        number(cases.len() - verdicts.len()),
        Cell::percentile_ms(&times, 0.5),
        Cell::percentile_ms(&times, 0.95),
        Cell::Share(right(true)),
    ]
}

/// Whether a file is heard at every sensitivity.
pub(super) fn is_choice(row: &Row) -> bool {
    let who = matches!(Expected::of(row), Expected::Human | Expected::Machine);
    who && row.text("label") != "early_media"
}

/// Both errors at each sensitivity, by the first verdict; then of the files with a
/// transcript, as if its words were understood, and without.
fn sensitivities(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "sensitivity",
        "people called a machine",
        "short answers called a machine",
        "machines called a person",
        "people undecided",
        "machines undecided",
        "machine told p50 ms after answer",
        "p95 ms",
    ];
    let mut table = Table::new("sensitivity", &columns);
    let chosen: Vec<&Case> = cases
        .iter()
        .copied()
        .filter(|case| is_choice(&case.row))
        .collect();
    let spoken: Vec<&Case> = chosen
        .iter()
        .copied()
        .filter(|case| case.events_with_words.is_some())
        .collect();
    let mut rows = |line: &str, cases: &[&Case], words: bool| {
        let mut part = Table::new("", &columns);
        for sensitivity in every_sensitivity() {
            part.push(sensitivity_row(sensitivity, cases, words));
        }
        table.append(line, part);
    };
    rows("", &chosen, false);
    if !spoken.is_empty() {
        rows("with words:", &spoken, true);
        rows("the same files without:", &spoken, false);
    }
    (!chosen.is_empty()).then_some(table)
}

fn sensitivity_row(sensitivity: Sensitivity, cases: &[&Case], words: bool) -> Vec<Cell> {
    let level = sensitivity.level();

    let (mut people, mut short, mut machines) = <(Share, Share, Share)>::default();
    let (mut unsure_people, mut unsure_machines) = <(Share, Share)>::default();
    let mut times = Vec::new();
    for case in cases {
        let told = case.levels.get(usize::from(level));
        let Some(events) = told.and_then(|told| told.events(words)) else {
            continue;
        };
        let verdict = verdict_among(&case.row, events, false);
        let called = |expected: Expected| verdict.is_some_and(|it| expected.fits(it.class));
        let (human, machine) = (called(Expected::Human), called(Expected::Machine));
        if is_human(case) {
            people.count(machine);
            unsure_people.count(!human && !machine);
            if is_short(case) {
                short.count(machine);
            }
        } else {
            machines.count(human);
            unsure_machines.count(!human && !machine);
            times.extend(verdict.filter(|_| machine).map(|it| it.after));
        }
    }
    let name = match sensitivity == Sensitivity::DEFAULT {
        true => format!("{level} (default)"),
        false => level.to_string(),
    };
    vec![
        Cell::text(name),
        Cell::Share(people),
        Cell::Share(short),
        Cell::Share(machines),
        Cell::Share(unsure_people),
        Cell::Share(unsure_machines),
        Cell::percentile_ms(&times, 0.5),
        Cell::percentile_ms(&times, 0.95),
    ]
}

/// Mean of the shares of humans and of machines that were called right.
fn balance(cases: &[&Case]) -> Option<Table> {
    let mut table = Table::new(
        "balanced accuracy",
        &["files", "first verdict", "in the end"],
    );
    let groups: [Group; 3] = [
        ("real", is_real),
        ("synthetic", |case| !is_real(case)),
        ("all", |_| true),
    ];
    for (name, belongs) in groups {
        let share = |of: fn(&Case) -> bool, last: bool| -> Option<f64> {
            let some = cases.iter().filter(|case| belongs(case) && of(case));
            let fits = |case: &&Case| {
                verdict(case, last)
                    .is_some_and(|verdict| Expected::of(&case.row).fits(verdict.class))
            };
            some.map(fits).collect::<Share>().value()
        };
        let balanced = |last| Some((share(is_human, last)? + share(is_machine, last)?) / 2.0);
        if balanced(false).is_some() {
            table.push(vec![
                Cell::text(name),
                Cell::Number(balanced(false), 3),
                Cell::Number(balanced(true), 3),
            ]);
        }
    }
    table.if_any()
}

/// End and moment of report of each beep, in seconds.
fn beeps_of(case: &Case) -> Vec<(f64, f64)> {
    let beep = |event: &offhook_dsp::Event| match event.kind {
        EventKind::Beep { end, .. } => Some((seconds(end), seconds(event.at))),
        _ => None,
    };
    case.events.iter().filter_map(beep).collect()
}

fn beeps(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "beeps",
        "found",
        "reported p50 ms after its end",
        "p95 ms",
        "files with another",
    ];
    let mut table = Table::new("beeps", &columns);
    let groups: [Group; 3] = [
        ("greetings, as recorded", |case| {
            case.row.text("label") != "beep" && case.row.text("tier") == "real"
        }),
        ("greetings, all", |case| case.row.text("label") != "beep"),
        ("grid", |case| case.row.text("label") == "beep"),
    ];
    for (name, belongs) in groups {
        let (mut found, mut other, mut delays) = (Share::default(), Share::default(), Vec::new());
        for case in cases.iter().filter(|case| belongs(case)) {
            let Some(end) = case.row.number("beep_end_s") else {
                continue;
            };
            let (mine, others): (Vec<_>, Vec<_>) = beeps_of(case)
                .into_iter()
                .partition(|beep| (beep.0 - end).abs() <= BEEP_AGREES);
            found.count(!mine.is_empty());
            other.count(!others.is_empty());
            delays.extend(mine.iter().map(|beep| beep.1 - end));
        }
        if found.n > 0 {
            table.push(vec![
                Cell::text(name),
                Cell::Share(found),
                Cell::percentile_ms(&delays, 0.5),
                Cell::percentile_ms(&delays, 0.95),
                Cell::Share(other),
            ]);
        }
    }
    table.if_any()
}

fn false_beeps(cases: &[&Case]) -> Option<Table> {
    let mut table = Table::new("beeps where there is none", &["files", "with a beep"]);
    let groups: [Group; 3] = [
        ("humans", |case| Expected::of(&case.row) == Expected::Human),
        ("machines without a beep", |case| {
            is_machine(case) && case.row.number("beep_end_s").is_none()
        }),
        ("tones", |case| case.row.text("label") == "tone"),
    ];
    for (name, belongs) in groups {
        let some = cases.iter().filter(|case| belongs(case));
        let share: Share = some.map(|case| !beeps_of(case).is_empty()).collect();
        if share.n > 0 {
            table.push(vec![Cell::text(name), Cell::Share(share)]);
        }
    }
    table.if_any()
}

fn tones_of(case: &Case) -> Vec<ToneKind> {
    let tone = |event: &offhook_dsp::Event| match event.kind {
        EventKind::Tone { kind, .. } => Some(kind),
        _ => None,
    };
    case.events.iter().filter_map(tone).collect()
}

/// The first tone of the file is what its label says.
fn is_named(case: &Case) -> bool {
    let first = tones_of(case).into_iter().next();
    first.is_some_and(|kind| is_tone(kind, case.row.text("tone_kind")))
}

/// It is named, but another tone was heard before.
fn is_named_late(case: &Case) -> bool {
    let fits = |kind: ToneKind| is_tone(kind, case.row.text("tone_kind"));
    !is_named(case) && tones_of(case).into_iter().any(fits)
}

fn tones(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "kind",
        "named",
        "named after another",
        "called human",
        "with speech reported",
    ];
    let mut table = Table::new("tones", &columns);
    let all: Vec<&Case> = cases
        .iter()
        .copied()
        .filter(|case| case.row.text("label") == "tone")
        .collect();
    for (kind, cases) in super::speech::grouped(&all, "tone_kind") {
        let human = |case: &&Case| {
            let called = |class| class == AnswerClass::Human;
            verdict(case, false).is_some_and(|v| called(v.class))
                || verdict(case, true).is_some_and(|v| called(v.class))
        };
        table.push(vec![
            Cell::text(kind),
            Cell::Share(cases.iter().map(|case| is_named(case)).collect()),
            Cell::Share(cases.iter().map(|case| is_named_late(case)).collect()),
            Cell::Share(cases.iter().map(human).collect()),
            Cell::Share(
                cases
                    .iter()
                    .map(|case| !case.times("speech_start").is_empty())
                    .collect(),
            ),
        ]);
    }
    table.if_any()
}

/// The files that were called wrong, and what was said of them.
fn wrong(cases: &[&Case]) -> Option<Table> {
    let mut table = Table::of_files("wrong", &["file", "label", "said", "at s"]);
    for case in cases {
        let (said, at) = match verdict(case, false) {
            Some(verdict) => (verdict.class.name(), Some(verdict.after)),
            None => ("nothing", None),
        };
        let expected = Expected::of(&case.row);
        let missed = case.row.number("beep_end_s").filter(|end| {
            !beeps_of(case)
                .iter()
                .any(|beep| (beep.0 - end).abs() <= BEEP_AGREES)
        });
        let judged = expected != Expected::Other;
        let right = verdict(case, false).is_some_and(|verdict| expected.fits(verdict.class));
        if judged && !right {
            table.push(vec![
                Cell::text(case.row.text("file")),
                Cell::text(case.row.text("subtype")),
                Cell::text(said),
                Cell::Number(at, 2),
            ]);
        }
        if missed.is_some() {
            table.push(vec![
                Cell::text(case.row.text("file")),
                Cell::text("beep"),
                Cell::text("missed"),
                Cell::Number(missed, 2),
            ]);
        }
        if case.row.text("label") == "tone" && !is_named(case) {
            let names: Vec<_> = tones_of(case).iter().map(|kind| kind.name()).collect();
            table.push(vec![
                Cell::text(case.row.text("file")),
                Cell::text(case.row.text("tone_kind")),
                Cell::text(names.join(" ")),
                Cell::Number(None, 0),
            ]);
        }
    }
    table.if_any()
}

/// Signals heard in speech that has none, per hour.
pub(super) fn talk_off(cases: &[&Case]) -> Option<Table> {
    let columns = [
        "speech without signals",
        "hours",
        "digits",
        "tones",
        "beeps",
    ];
    let mut table = Table::new("talk-off", &columns);
    for (kind, cases) in super::speech::grouped(cases, "kind") {
        let hours: f64 = cases.iter().map(|case| case.seconds / 3_600.0).sum();
        let count = |name: &str| {
            cases
                .iter()
                .map(|case| case.times(name).len())
                .sum::<usize>()
        };
        let number = |count: usize| Cell::Number(Some(count as f64), 0);
        table.push(vec![
            Cell::text(kind),
            Cell::Number(Some(hours), 2),
            number(count("dtmf")),
            number(count("tone")),
            number(count("beep")),
        ]);
    }
    table.if_any()
}
