//! The configuration most tests share: loopback is trusted, the shipped
//! playbooks answer, calls are recorded, a sink of the test's own receives.

use std::sync::atomic::{AtomicU16, Ordering};

use crate::daemon::Daemon;
use crate::place::Place;
use crate::sink::Sink;

/// Signs what the tests' daemons deliver.
pub const SECRET: &str = "whsec_b2ZmaG9vayB0ZXN0czogbm90IGEgc2VjcmV0LCBldmVyIQ==";

/// RTP ports of one daemon: two for each call, with as many to spare.
const PORTS: u16 = 200;
static SLICE: AtomicU16 = AtomicU16::new(0);

/// What differs from test to test.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Whose calls are taken.
    pub source: String,
    /// Where outbound calls go.
    pub proxy: Option<String>,
    /// Where actions go.
    pub upstream: Option<String>,
    /// Calls at a time.
    pub max_calls: u16,
    /// The database, relative to the test's directory.
    pub store: String,
    /// Whether conversations are recorded.
    pub recording: bool,
    /// Seconds that calls have when the daemon is asked to stop.
    pub drain: u16,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            source: "127.0.0.0/8".to_owned(),
            proxy: None,
            upstream: None,
            max_calls: 20,
            store: "offhook.db".to_owned(),
            recording: true,
            drain: 1,
        }
    }
}

impl Scene {
    /// With a sink as its upstream.
    pub fn with_sink(sink: &Sink) -> Self {
        let upstream = Some(format!("http://{}/offhook", sink.address()));
        Self {
            upstream,
            ..Self::default()
        }
    }

    /// The text of the configuration.
    pub fn text(&self) -> String {
        let (first, last) = ports();
        // Prompts are rendered once for all tests.
        let voices = std::env::temp_dir().join("offhook-tests-voice");
        let voices = voices.display();
        let Self {
            source,
            max_calls,
            store,
            recording,
            drain,
            ..
        } = self;
        let proxy = self
            .proxy
            .as_ref()
            .map(|p| format!("proxy = \"udp:{p}\"\n"))
            .unwrap_or_default();
        let upstream = self.upstream.as_ref();
        let upstream =
            upstream.map(|url| format!("[upstream]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n"));
        let outbound = if proxy.is_empty() {
            ""
        } else {
            "[outbound]\nplaybook = \"outreach\"\ntrunk = \"loopback\"\n"
        };
        format!(
            "policy = \"demo\"\n[daemon]\ndrain_seconds = {drain}\n[paths]\nstate = \"{{dir}}\"\n\
             [sip]\nlisten = [\"udp:127.0.0.1:0\"]\n\
             [media]\naddress = \"127.0.0.1\"\nports = \"{first}-{last}\"\nmax_calls = {max_calls}\n\
             [control]\nsocket = \"control.sock\"\n\
             [store]\npath = \"{store}\"\n\
             [recording]\nenabled = {recording}\ndirectory = \"recordings\"\n\
             [voice]\ncache = \"{voices}\"\n\
             [engine]\nsocket = \"engine.sock\"\n\
             [test]\nenabled = true\n\
             [log]\nlevel = \"info\"\njournal = false\n\
             {outbound}{}\
             [[trunk]]\nname = \"loopback\"\nsource = [\"{source}\"]\n{proxy}allow = [\"*\"]\n\
             [[route]]\ncalled = \"booking\"\nplaybook = \"booking\"\n\
             [[route]]\ncalled = \"sales\"\nplaybook = \"sales\"\n",
            upstream.unwrap_or_default(),
        )
    }

    /// Starts a daemon in it.
    pub fn start(&self) -> Daemon {
        Daemon::start(&self.text())
    }

    /// Starts a daemon in it, in a directory that is there already.
    pub fn start_in(&self, place: Place) -> Daemon {
        Daemon::start_in(place, &self.text())
    }
}

/// A slice of ports that no other daemon of this test run has.
fn ports() -> (u16, u16) {
    // Relaxed: the number need only be different, it orders nothing.
    let slice = SLICE.fetch_add(1, Ordering::Relaxed);
    let first = 20_000 + (slice % 49) * PORTS;
    (first, first + PORTS - 1)
}
