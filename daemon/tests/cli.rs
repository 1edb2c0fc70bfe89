//! The command line as scripts see it: what it prints and its exit codes.

use std::process::{Command, Output};

fn offhook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_offhook"))
        .args(arguments)
        .output()
        .expect("the binary was built for this test")
}

fn config(name: &str, text: &str) -> String {
    let file = std::env::temp_dir().join(format!("offhook-cli-{}-{name}", std::process::id()));
    std::fs::write(&file, text).expect("the temporary directory can be written to");
    file.display().to_string()
}

#[test]
fn exit_codes_say_ok_no_or_could_not() {
    let right = config("right.toml", "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n");
    let wrong = config("wrong.toml", "[sip]\nlisten = 5\n");
    let nobody = "/nowhere/control.sock";
    let rows: [(&[&str], i32); 12] = [
        (&["check", "--config", &right], 0),
        (&["check", "--config", &wrong], 1),
        (&["check", "--config", "/nowhere/offhook.toml"], 2),
        (&["--config", &right, "status"], 2),
        (&["status", "--socket", nobody], 2),
        (&["call", "last", "--socket", nobody, "--json"], 2),
        (&["originate", "100", "--socket", nobody], 2),
        (&["dial", "sips:100@127.0.0.1"], 2),
        (&["dial", "sip:1@127.0.0.1", "--play", "/nowhere.wav"], 2),
        (&["answer", "--listen", "somewhere"], 2),
        (&["analyze", "/nowhere.wav"], 2),
        (&["frobnicate"], 2),
    ];
    for (arguments, code) in rows {
        let ran = offhook(arguments);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {ran:?}");
    }
    for file in [right, wrong] {
        std::fs::remove_file(file).expect("it was written above");
    }
}

#[test]
fn a_fault_is_printed_with_file_line_column_key_and_reason() {
    let file = config(
        "fault.toml",
        "[media]\nmax_calls = 0\n[[route]]\ncalled = \"1\"\n",
    );
    let ran = offhook(&["check", "--config", &file]);
    let text = String::from_utf8_lossy(&ran.stdout);
    let expected = format!("{file}:2:13: media.max_calls: must be from 1 to 20000, is 0");
    assert_eq!(text.lines().next(), Some(expected.as_str()));
    let expected = format!("{file}:3:1: route[0]: leads nowhere");
    assert!(
        text.lines().any(|line| line.starts_with(&expected)),
        "{text}"
    );
    std::fs::remove_file(file).expect("it was written above");
}

#[test]
fn with_json_a_failure_is_json_as_well() {
    let ran = offhook(&["calls", "--json", "--socket", "/nowhere/control.sock"]);
    let answer: serde_json::Value =
        serde_json::from_slice(&ran.stdout).expect("the answer is JSON");
    let reason = answer["error"].as_str().expect("it has a reason");
    assert!(reason.contains("/nowhere/control.sock"), "{reason}");
}

#[test]
fn every_verb_explains_itself() {
    let verbs = [
        "check",
        "status",
        "calls",
        "call",
        "tail",
        "explain",
        "originate",
        "hangup",
        "dial",
        "answer",
        "analyze",
        "score",
        "sink",
    ];
    for verb in verbs {
        let ran = offhook(&[verb, "--help"]);
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && text.contains("--json"),
            "{verb}: {text}"
        );
    }
}
