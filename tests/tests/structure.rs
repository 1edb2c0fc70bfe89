//! The house as it is built: which crate may know which, where no clock may be
//! read, and that what ships (configurations, unit, documents) is sound.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use offhook_tests::place::Place;
use offhook_tests::process::{built, checkout, has, run};
use offhook_tests::skip::skip;
use serde_json::Value;

/// The crates that know nothing of each other, and where they live.
const ISLANDS: [(&str, &str); 4] = [
    ("offhook-dsp", "dsp"),
    ("offhook-sip", "sip"),
    ("offhook-config", "config"),
    ("offhook-core", "daemon/core"),
];

fn metadata() -> Value {
    let manifest = checkout().join("Cargo.toml");
    let manifest = manifest.to_str().expect("a plain path");
    let ran = run(
        env!("CARGO"),
        [
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
            manifest,
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).expect("cargo writes JSON")
}

/// What each package of the workspace depends on, tests included.
fn dependencies(package: &str) -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|p| p["name"] == package);
    let found = found.unwrap_or_else(|| panic!("{package} is a member"));
    let list = found["dependencies"].as_array().expect("dependencies");
    list.iter()
        .map(|d| d["name"].as_str().expect("a name").to_owned())
        .collect()
}

/// The Rust files below a folder of the checkout, with what precedes their tests.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![checkout().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("the folder is there")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let code = text.split("\n#[cfg(test)]").next().expect("a first part");
                found.push((path, code.to_owned()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// Lines of code (not of comment) that hold any of these words.
fn lines_with(folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, code) in sources(folder) {
        let lines = code
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim_start().starts_with("//"));
        let bad = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(bad.map(|(n, line)| format!("{}:{}: {line}", path.display(), n + 1)));
    }
    found
}

#[test]
fn ear_signalling_config_and_core_know_nothing_of_each_other() {
    for (package, _) in ISLANDS {
        let known = dependencies(package);
        let ours: Vec<_> = known
            .iter()
            .filter(|name| name.starts_with("offhook"))
            .collect();
        assert!(ours.is_empty(), "{package} knows {ours:?}");
    }
}

#[test]
fn the_daemon_alone_knows_them_all() {
    let known = dependencies("offhook");
    for (package, _) in ISLANDS {
        assert!(known.contains(package), "offhook does not use {package}");
    }
}

#[test]
fn there_is_no_executor_below_the_daemon() {
    for (package, _) in ISLANDS {
        let known = dependencies(package);
        let bad: Vec<_> = known.iter().filter(|name| name.contains("tokio")).collect();
        assert!(bad.is_empty(), "{package} uses {bad:?}");
    }
}

#[test]
fn no_clock_is_read_below_the_daemon() {
    let words = [
        "Instant::now",
        "SystemTime",
        ".elapsed()",
        "thread::sleep",
        "std::time",
        "clock_gettime",
    ];
    for (_, folder) in ISLANDS {
        let bad = lines_with(&format!("{folder}/src"), &words);
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }
}

#[test]
fn the_daemon_has_one_clock() {
    let all = lines_with(
        "daemon/src",
        &["Instant::now", "SystemTime::now", ".elapsed()"],
    );
    let bad: Vec<_> = all
        .iter()
        .filter(|line| !line.contains("/clock.rs:"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn the_ear_is_free_of_std_and_of_the_heap() {
    let root = fs::read_to_string(checkout().join("dsp/src/lib.rs")).expect("the ear is there");
    assert!(root.contains("#![no_std]"));
    let bad = lines_with("dsp/src", &["extern crate", "std::", "alloc::"]);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn the_ear_builds_for_a_machine_without_an_operating_system() {
    const TARGET: &str = "aarch64-unknown-none";
    if has("rustup") && run("rustup", ["target", "add", TARGET]).code != 0 {
        return skip("the bare target cannot be fetched: no network for rustup");
    }
    let folder = std::env::current_exe().expect("a test knows its own path");
    let folder = folder
        .ancestors()
        .nth(3)
        .expect("<target>/<profile>/deps")
        .join("bare");
    let manifest = checkout().join("Cargo.toml");
    let arguments = [
        "check",
        "--locked",
        "-p",
        "offhook-dsp",
        "--target",
        TARGET,
        "--manifest-path",
    ];
    let paths = [
        manifest.display().to_string(),
        "--target-dir".to_owned(),
        folder.display().to_string(),
    ];
    let ran = run(
        env!("CARGO"),
        arguments.map(str::to_owned).into_iter().chain(paths),
    );
    if ran.err.contains("target may not be installed") {
        return skip("the bare target is not installed");
    }
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn the_core_names_no_signalling() {
    let words = ["sip:", "SIP", "INVITE", "REFER", "SDP", "RTP"];
    let bad = lines_with("daemon/core/src", &words);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn the_gate_cannot_import_the_interpreter() {
    let all = sources("daemon/core/src");
    let gate = |path: &Path| {
        path.components()
            .any(|c| c.as_os_str().to_string_lossy().starts_with("gate"))
    };
    let gates: Vec<_> = all.iter().filter(|(path, _)| gate(path)).collect();
    assert!(!gates.is_empty(), "there is a gate");
    for (path, code) in gates {
        let mut lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        assert!(
            !lines.any(|line| line.contains("interpret")),
            "{}",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_to_be_done_later() {
    for folder in ["dsp", "sip", "config", "daemon", "tests"] {
        let bad = lines_with(
            folder,
            &[
                concat!("todo", "!("),
                concat!("unimplemented", "!("),
                concat!("FIX", "ME"),
            ],
        );
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }
}

#[test]
fn every_file_says_what_it_is() {
    for folder in [
        "dsp/src",
        "sip/src",
        "config/src",
        "daemon/src",
        "daemon/core/src",
        "tests/src",
        "tests/tests",
    ] {
        for (path, code) in sources(folder) {
            assert!(
                code.starts_with("//!"),
                "{} does not open with //!",
                path.display()
            );
        }
    }
}

#[test]
fn no_file_holds_all_the_control_flow() {
    for folder in [
        "dsp/src",
        "sip/src",
        "config/src",
        "daemon/src",
        "daemon/core/src",
    ] {
        for (path, code) in sources(folder) {
            // A file of tests has none before them.
            let lines = match path.ends_with("tests.rs") {
                true => 0,
                false => code.lines().count(),
            };
            assert!(
                lines < 900,
                "{}: {lines} lines before its tests",
                path.display()
            );
        }
    }
}

#[test]
fn the_architecture_is_told_in_200_lines() {
    let text = fs::read_to_string(checkout().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    assert!(
        text.lines().count() <= 200,
        "{} lines",
        text.lines().count()
    );
}

#[test]
fn the_shipped_configurations_pass_the_check_of_the_shipped_binary() {
    for name in ["offhook.toml", "demo.toml"] {
        let file = checkout().join("config").join(name);
        let file = file.to_str().expect("a plain path");
        let ran = run(built("offhook"), ["check", "--config", file]);
        assert_eq!(ran.code, 0, "{name}: {}{}", ran.out, ran.err);
    }
}

/// The shipped unit with the built daemon in the place of the installed one.
fn unit(place: &Place) -> String {
    let unit = fs::read_to_string(checkout().join("systemd/offhookd.service")).expect("the unit");
    let here = unit.replace(
        "/usr/bin/offhookd",
        &built("offhookd").display().to_string(),
    );
    assert_ne!(unit, here, "the unit starts /usr/bin/offhookd");
    place.write("offhookd.service", here).display().to_string()
}

#[test]
fn the_unit_is_verified_by_systemd() {
    if !has("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    let place = Place::new();
    let ran = run("systemd-analyze", ["verify", "--man=no", &unit(&place)]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn the_unit_exposes_little() {
    if !has("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    let place = Place::new();
    let ran = run(
        "systemd-analyze",
        [
            "security",
            "--offline=true",
            "--threshold=20",
            &unit(&place),
        ],
    );
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

/// Code in a Markdown text: what stands between backticks, and each line of a block.
fn code_in(text: &str) -> Vec<String> {
    let (mut block, mut found) = (false, Vec::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            block = !block;
        } else if block {
            found.push(
                line.split(" #")
                    .next()
                    .expect("a first part")
                    .trim()
                    .to_owned(),
            );
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn commands_and_paths_in_the_documents_exist() {
    let makefile = fs::read_to_string(checkout().join("Makefile")).expect("the Makefile");
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(checkout().join(document)).expect(document);
        for code in code_in(&text) {
            let words: Vec<_> = code.split_whitespace().collect();
            match words[..] {
                ["make", goal, ..] => {
                    assert!(
                        makefile.contains(&format!("\n{goal}:")),
                        "{document}: `{code}`"
                    );
                }
                ["offhook", verb, ..] if verb.chars().all(|c| c.is_ascii_lowercase()) => {
                    let ran = run(built("offhook"), [verb, "--help"]);
                    assert_eq!(ran.code, 0, "{document}: `{code}`");
                }
                [path] if is_path(path) => {
                    assert!(checkout().join(path).exists(), "{document}: `{path}`");
                }
                _ => {}
            }
        }
    }
}

/// A path of this checkout: it begins with one of its folders.
fn is_path(word: &str) -> bool {
    let folder = word.split('/').next().unwrap_or("");
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let ours = [
        "config", "cross", "daemon", "dsp", "sip", "systemd", "tests",
    ]
    .contains(&folder);
    ours && plain && word.contains('/')
}
