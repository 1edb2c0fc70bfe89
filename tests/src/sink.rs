//! `offhook sink`: the upstream that receives what the daemon delivers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::json_lines;
use crate::patience::{seconds, wait_for};
use crate::place::Place;
use crate::process::{Clock, Running, built};

/// A running sink; killed when dropped.
#[derive(Debug)]
pub struct Sink {
    process: Running,
    address: String,
    log: PathBuf,
}

impl Sink {
    /// Starts one on a port of its own with this signing secret; what it takes
    /// lasts in `sink.log`. `more` are further arguments (`--fail 3`).
    ///
    /// # Panics
    /// When it does not listen within 10 s.
    pub fn start(place: &Place, secret: &str, more: &[&str]) -> Self {
        Self::start_at(place, "127.0.0.1:0", secret, more)
    }

    /// The same on a given address, to come back after it was away.
    ///
    /// # Panics
    /// When it does not listen within 10 s.
    pub fn start_at(place: &Place, address: &str, secret: &str, more: &[&str]) -> Self {
        let log = place.file("sink.log");
        let before = std::fs::read_to_string(&log)
            .unwrap_or_default()
            .lines()
            .count();
        let mut command = Command::new(built("offhook"));
        command
            .args(["sink", "--json", "--listen", address, "--secret", secret])
            .args(more);
        Clock::show(&mut command, place.path());
        let process = Running::start(&mut command, &log);
        let address = wait_for("the sink to listen", seconds(10), || {
            let said = process.said();
            let mut lines = said
                .lines()
                .skip(before)
                .filter_map(|l| serde_json::from_str::<Value>(l).ok());
            lines.find_map(|line| {
                Some(
                    line["listening"]
                        .as_str()?
                        .trim_start_matches("http://")
                        .to_owned(),
                )
            })
        });
        Self {
            process,
            address,
            log,
        }
    }

    /// Where it listens, for `[upstream] url`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every delivery so far, also repeated and refused ones.
    pub fn deliveries(&self) -> Vec<Value> {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        // The last line may be half written.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        json_lines(whole)
            .into_iter()
            .filter(|line| line.get("id").is_some())
            .collect()
    }

    /// Deliveries that it took: verified, first of their id, not made to fail.
    pub fn taken(&self) -> Vec<Value> {
        let good = |line: &Value| line["verified"] == true && line["first"] == true;
        self.deliveries()
            .into_iter()
            .filter(|line| good(line) && line["status"] == 204)
            .collect()
    }

    /// What it took of one conversation.
    pub fn taken_of(&self, call: &str) -> Vec<Value> {
        let mut taken = self.taken();
        taken.retain(|line| line["data"]["conversation"] == call);
        taken
    }

    /// Waits for so many taken deliveries of one type.
    ///
    /// # Panics
    /// When they do not come within `limit`.
    pub fn wait_taken(&self, kind: &str, count: usize, limit: Duration) -> Vec<Value> {
        wait_for(&format!("{count} of {kind} at the sink"), limit, || {
            let mut taken = self.taken();
            taken.retain(|line| line["type"].as_str().is_some_and(|t| t.ends_with(kind)));
            (taken.len() >= count).then_some(taken)
        })
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}
