//! Shows what happens in the calls while it happens, from `offhook tail`, in
//! words for somebody who sees it for the first time.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::stage::Stage;

/// Prints a line of the demo.
pub(super) fn say(line: &str) {
    println!("{line}");
}

/// Follows the daemon's events.
pub(super) struct Narrator {
    tail: Child,
    thread: JoinHandle<()>,
}

impl Narrator {
    /// Begins to follow.
    pub(super) fn start(stage: &Stage) -> Self {
        let mut command = Command::new(stage.offhook());
        command
            .args(["--json", "--socket"])
            .arg(stage.socket())
            .arg("tail");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut tail = command.spawn().expect("offhook was built");
        let out = BufReader::new(tail.stdout.take().expect("its output is piped"));
        let thread = thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(shown) = serde_json::from_str(&line).ok().as_ref().and_then(show) {
                    say(&shown);
                }
            }
        });
        Self { tail, thread }
    }

    /// Shows what is still under way and ends.
    pub(super) fn stop(mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.tail.kill();
        let _ = self.tail.wait();
        let _ = self.thread.join();
    }
}

/// One event for people; nothing for those that only programs need.
fn show(event: &Value) -> Option<String> {
    let (name, detail) = (
        event["event"].as_str()?,
        event["detail"].as_str().unwrap_or(""),
    );
    if matches!(name, "facts" | "speech_pause" | "stored") {
        return None;
    }
    let lane = match event["lane"].as_str()? {
        "signalling" => "SIP",
        "perception" => "heard",
        "decision" => "decided",
        "action" => "did",
        _ => return None,
    };
    let seconds = event["ms"].as_f64()? / 1000.0;
    let meaning = meaning(name)
        .map(|m| format!("  <- {m}"))
        .unwrap_or_default();
    let detail: String = detail.chars().take(70).collect();
    Some(format!(
        "  {seconds:>7.3} s  {lane:<8} {name:<14} {detail}{meaning}"
    ))
}

fn meaning(name: &str) -> Option<&'static str> {
    Some(match name {
        "barge_in" => "the caller talks over us: the prompt fades out in this packet",
        "barge_in_retracted" => "only a cough: the prompt may go on",
        "cut" => "our prompt was cut short",
        "beep" => "the beep is over: now the message may start",
        "durable" => "on disk, before the caller is told",
        "refused" => "the gate says no, and which rule said so",
        "delivered" | "accepted" => "the upstream has it",
        _ => return None,
    })
}
