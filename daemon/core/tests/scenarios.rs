//! Conversations as files: `tests/scenarios/*.txt`.
//!
//! A line `SECONDS input` happens then; the lines `> …` below it are all that
//! the conversation does about it, in order. `SECONDS wait` lets the time come.
//! Between inputs it is woken as it asks for; whatever it does then must stand
//! under a `wait`. `quiet 3.0` and `turn_over 3.0`: the speech ended then and is told as
//! over now. `book NAME` opens the file; `#` begins a comment.
//! `OFFHOOK_BLESS=1` writes down what happens now, to be read before it is kept.

mod common;

use std::path::Path;

use common::script::play;

#[test]
fn every_scenario_goes_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} scenarios", files.len());
    let faults: Vec<String> = files.iter().filter_map(|path| check(path)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Runs one file; gives what goes otherwise than written.
fn check(path: &Path) -> Option<String> {
    let written = std::fs::read_to_string(path).unwrap();
    let (happened, _) = play(&written);
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
