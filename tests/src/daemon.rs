//! One `offhookd` with a configuration, a directory and ports of its own.
//!
//! Tests see it through `offhook --json`, as scripts do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::patience::{seconds, wait_for, watch};
use crate::place::Place;
use crate::process::{Clock, Ran, Running, built, run};

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Running,
    place: Place,
    config: PathBuf,
}

impl Daemon {
    /// Starts one and waits until it serves. In the text `{dir}` stands for the
    /// test's directory, `{checkout}` for the checkout.
    ///
    /// # Panics
    /// When it does not serve within a minute.
    pub fn start(text: &str) -> Self {
        Self::start_in(Place::new(), text)
    }

    /// Starts one in a directory that is there already.
    ///
    /// # Panics
    /// When it does not serve within a minute.
    pub fn start_in(place: Place, text: &str) -> Self {
        let config = place.write("offhook.toml", fill(text, &place));
        let process = launch(&place, &config);
        let mut daemon = Self {
            process,
            place,
            config,
        };
        daemon.wait_ready();
        daemon
    }

    fn wait_ready(&mut self) {
        let ready = watch(seconds(60), || {
            let dead = self.process.ended().is_some();
            (dead || self.offhook(&["status", "--json"]).code == 0).then_some(dead)
        });
        assert_eq!(
            ready,
            Some(false),
            "offhookd does not serve:\n{}",
            self.process.said()
        );
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end, as systemd does, and waits.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(&mut self) {
        let status = self.process.stop();
        assert!(
            status.success(),
            "offhookd ended with {status}:\n{}",
            self.process.said()
        );
    }

    /// Starts it again with the same configuration and the same state.
    ///
    /// # Panics
    /// When it does not serve within a minute.
    pub fn restart(&mut self) {
        self.kill();
        self.process = launch(&self.place, &self.config);
        self.wait_ready();
    }

    /// Starts it again with another configuration and the same state.
    ///
    /// # Panics
    /// When it does not serve within a minute.
    pub fn configure(&mut self, text: &str) {
        self.place.write("offhook.toml", fill(text, &self.place));
        self.restart();
    }

    /// Whether it is still there.
    pub fn alive(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// The test's directory.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its configuration file.
    pub fn config(&self) -> &PathBuf {
        &self.config
    }

    /// Runs `offhook` against it.
    pub fn offhook(&self, arguments: &[&str]) -> Ran {
        run(built("offhook"), with_socket(arguments, &self.place))
    }

    /// Starts `offhook` beside it, e.g. a caller.
    pub fn offhook_running(&self, arguments: &[&str], log: &str) -> Running {
        let mut command = Command::new(built("offhook"));
        command.args(with_socket(arguments, &self.place));
        Running::start(&mut command, &self.place.file(log))
    }

    /// The JSON that `offhook` answers with.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.offhook(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "offhook {arguments:?}: {}{}", ran.out, ran.err);
        serde_json::from_str(&ran.out)
            .unwrap_or_else(|error| panic!("offhook {arguments:?}: {error}: {}", ran.out))
    }

    /// Its status, also where it says that something is wrong.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn json_status(&self) -> Value {
        let ran = self.offhook(&["status", "--json"]);
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
    }

    /// The JSON lines that `offhook` answers with.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub fn json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.offhook(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "offhook {arguments:?}: {}{}", ran.out, ran.err);
        json_lines(&ran.out)
    }

    /// Where it listens for SIP over UDP.
    ///
    /// # Panics
    /// When its status does not say.
    pub fn sip(&self) -> SocketAddr {
        let status = self.json(&["status"]);
        let listeners = status["sip"]
            .as_array()
            .expect("status names its SIP sockets");
        let udp = listeners.iter().find(|socket| socket["transport"] == "udp");
        let address = udp.and_then(|socket| socket["address"].as_str()?.parse().ok());
        address.unwrap_or_else(|| panic!("no UDP address in {status}"))
    }

    /// The ports of its audio, as its configuration has them: other daemons of
    /// the same test run have others.
    ///
    /// # Panics
    /// When the configuration does not say.
    pub fn audio_ports(&self) -> std::ops::RangeInclusive<u16> {
        let text = std::fs::read_to_string(&self.config).expect("the test wrote it");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ports = \""));
        let range = line.and_then(|rest| rest.trim_end_matches('"').split_once('-'));
        let (first, last) = range.expect("the configuration names its ports");
        let port = |text: &str| text.parse().expect("a port");
        port(first)..=port(last)
    }

    /// A SIP URI of a user of this daemon.
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.sip())
    }

    /// Waits until its status satisfies something.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait_status<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> T {
        wait_for(what, limit, || look(&self.json(&["status"])))
    }
}

/// Each line as JSON.
///
/// # Panics
/// When one is not.
pub fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(parse)
        .collect()
}

/// The text of a configuration with its places filled in.
pub fn fill(text: &str, place: &Place) -> String {
    let checkout = crate::process::checkout().display().to_string();
    text.replace("{dir}", &place.path().display().to_string())
        .replace("{checkout}", &checkout)
}

fn with_socket(arguments: &[&str], place: &Place) -> Vec<String> {
    let mut all: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    all.extend(["--socket".to_owned(), place.name("control.sock")]);
    all
}

fn launch(place: &Place, config: &PathBuf) -> Running {
    let mut command = Command::new(built("offhookd"));
    command
        .arg("--config")
        .arg(config)
        .current_dir(place.path());
    command
        .env("STATE_DIRECTORY", place.path())
        .env("RUNTIME_DIRECTORY", place.path());
    Clock::show(&mut command, place.path());
    // Rules of time zones of the test's own.
    if place.file("zoneinfo").is_dir() {
        command.env("TZDIR", place.file("zoneinfo"));
    }
    Running::start(&mut command, &place.file("offhookd.log"))
}
