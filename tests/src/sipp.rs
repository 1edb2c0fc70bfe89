//! SIPp as a foreign peer: scenarios in `tests/sipp`, real speech by rtp_stream.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::place::{Place, free_media_ports, free_port};
use crate::process::{Running, checkout};

/// A SIPp run to be started.
#[derive(Debug)]
pub struct Sipp {
    command: Command,
}

impl Sipp {
    /// A scenario of ours (`tests/sipp/NAME.xml`) against an address, in the
    /// test's directory, where it looks for what it plays.
    pub fn scenario(name: &str, to: SocketAddr, place: &Place) -> Self {
        let file = checkout().join(format!("tests/sipp/{name}.xml"));
        Self::file(&file, to, place)
    }

    /// A scenario written out by [`crate::script::Script`], in the test's directory.
    pub fn written(name: &str, xml: &str, to: SocketAddr, place: &Place) -> Self {
        let file = place.write(&format!("{name}.xml"), xml);
        Self::file(&file, to, place)
    }

    fn file(file: &Path, to: SocketAddr, place: &Place) -> Self {
        let local = if to.is_ipv6() { "::1" } else { "127.0.0.1" };
        let media = free_media_ports();
        let mut command = Command::new("sipp");
        command
            .current_dir(place.path())
            .arg("-sf")
            .arg(file)
            .arg(to.to_string());
        command.args(["-i", local, "-p", &free_port().to_string()]);
        command.args(["-mi", local, "-mp", &media.to_string()]);
        command.args([
            "-nostdin",
            "-m",
            "1",
            "-trace_err",
            "-error_file",
            &place.name("sipp.err"),
        ]);
        Self { command }
    }

    /// The user it calls.
    #[must_use]
    pub fn calls(mut self, user: &str) -> Self {
        self.command.args(["-s", user]);
        self
    }

    /// A variable of the scenario: `[$name]` or a `[name]` keyword.
    #[must_use]
    pub fn key(mut self, name: &str, value: &str) -> Self {
        self.command.args(["-key", name, value]);
        self
    }

    /// Further arguments of SIPp; a later one wins over ours.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When SIPp is not installed.
    pub fn start(mut self, log: &Path) -> Running {
        Running::start(&mut self.command, log)
    }
}
