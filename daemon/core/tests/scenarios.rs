//! Conversations as files: `tests/scenarios/*.txt`.
//!
//! A line `SECONDS input` happens then; the lines `> …` below it are all that
//! the conversation does about it, in order. `SECONDS wait` lets the time come.
//! Between inputs it is woken as it asks for; whatever it does then must stand
//! under a `wait`. `book NAME` opens the file; `#` begins a comment.
//! `OFFHOOK_BLESS=1` writes down what happens now, to be read before it is kept.

mod common;

use core::time::Duration;
use std::path::Path;

use common::stage::Stage;

#[test]
fn every_scenario_goes_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{} scenarios", files.len());
    let faults: Vec<String> = files.iter().filter_map(|path| check(path)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs one file; gives what goes otherwise than written.
fn check(path: &Path) -> Option<String> {
    let written = std::fs::read_to_string(path).unwrap();
    let happened = play(&written);
    if happened == written {
        return None;
    }
    if std::env::var_os("OFFHOOK_BLESS").is_some() {
        std::fs::write(path, happened).unwrap();
        return None;
    }
    let line = written.lines().zip(happened.lines());
    let at = line.take_while(|(written, happened)| written == happened);
    let at = at.count();
    let shown = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
    Some(format!(
        "{}:{}: written `{}`, happened `{}`",
        path.display(),
        at + 1,
        shown(&written),
        shown(&happened)
    ))
}

/// The scenario with what really happens in the place of its `>` lines.
fn play(written: &str) -> String {
    let mut stage = None;
    let mut text = String::new();
    for line in written.lines().filter(|line| !line.starts_with("> ")) {
        text.push_str(line);
        text.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (first, rest) = line.split_once(' ').expect("two words");
        if first == "book" {
            stage = Some(Stage::new(common::book(rest)));
            continue;
        }
        let stage = stage.as_mut().expect("`book` comes first");
        let now = Duration::from_secs_f64(first.parse().expect("seconds"));
        let said = if rest == "wait" {
            stage.wait_until(now)
        } else {
            let before = now.saturating_sub(Duration::from_millis(1));
            let early = stage.wait_until(before);
            if !early.is_empty() {
                // Not as written: it did something of itself before.
                let line = text.len() - line.len() - 1;
                let wait = format!("{} wait\n> {}\n", before.as_secs_f64(), early.join("\n> "));
                text.insert_str(line, &wait);
            }
            let event = stage.event(rest);
            stage.handle(now, event)
        };
        for output in said {
            text.push_str("> ");
            text.push_str(&output);
            text.push('\n');
        }
    }
    text
}
