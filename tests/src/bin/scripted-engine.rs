//! `scripted-engine SOCKET SCRIPT`: stands in for an engine that recognises words.
//! It hears nothing: whenever a caller of the script has spoken it says what stands
//! there, and says of every line that it is scripted.
//!
//! The script: `[caller]`, then a line for each time the caller speaks. `a | b` is
//! first `a` so far, then `b` in the end; a line that begins with `=` comes twice.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// Speech that goes on so soon is the same turn of the caller's, in ms.
const TURN_MS: u64 = 1_500;

/// One caller's call.
#[derive(Default)]
struct Caller {
    lines: Vec<String>,
    next: usize,
    began_ms: u64,
    said_ms: Option<u64>,
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (socket, script) = (arguments.next(), arguments.next());
    let usage = "scripted-engine SOCKET SCRIPT";
    let script = std::fs::read_to_string(script.expect(usage))?;
    let scripts = read(&script);
    let mut socket = UnixStream::connect(socket.expect(usage))?;
    let mut calls: BTreeMap<String, Caller> = BTreeMap::new();
    for line in BufReader::new(socket.try_clone()?).lines() {
        let Ok(told) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        let (Some(call), Some(event)) = (told["call"].as_str(), told["event"].as_str()) else {
            println!("scripted engine: the daemon says {told}");
            continue;
        };
        let ms = told["ms"].as_u64().unwrap_or_default();
        if event == "offered" {
            let caller = told["detail"].as_str().and_then(|it| it.split(' ').next());
            let lines = caller.and_then(|name| scripts.get(name).cloned());
            calls.insert(
                call.to_owned(),
                Caller {
                    lines: lines.unwrap_or_default(),
                    ..Caller::default()
                },
            );
        }
        let Some(caller) = calls.get_mut(call) else {
            continue;
        };
        match event {
            "speech_start" | "barge_in" => caller.began_ms = ms,
            "speech_end" => {
                for text in caller.speaks(call, ms) {
                    println!("scripted engine: {text}");
                    writeln!(socket, "{text}")?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(script: &str) -> BTreeMap<String, Vec<String>> {
    let mut scripts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut caller = String::new();
    for line in script.lines().map(str::trim).filter(|it| !it.is_empty()) {
        match line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(name) => name.clone_into(&mut caller),
            None => scripts
                .entry(caller.clone())
                .or_default()
                .push(line.to_owned()),
        }
    }
    scripts
}

impl Caller {
    /// The caller has spoken: the messages that the next line stands for.
    fn speaks(&mut self, call: &str, ms: u64) -> Vec<Value> {
        let same = self.said_ms.is_some_and(|said| ms < said + TURN_MS);
        self.said_ms = Some(ms);
        let Some(line) = self.lines.get(self.next).filter(|_| !same) else {
            return Vec::new();
        };
        self.next += 1;
        let utterance = self.next;
        let said = |text: &str, last: bool| {
            json!({
                "call": call, "leg": 0, "utterance": utterance, "text": text.trim(),
                "confidence": 90, "last": last,
                "from_ms": self.began_ms.min(ms), "to_ms": ms, "engine": "scripted",
            })
        };
        if let Some(text) = line.strip_prefix('=') {
            return vec![said(text, true), said(text, true)];
        }
        match line.split_once('|') {
            Some((so_far, whole)) => vec![said(so_far, false), said(whole, true)],
            None => vec![said(line, true)],
        }
    }
}
