//! A line between two network namespaces: a box on the near side, callers on the far
//! side, and weather for the sound that callers send to the box.
//!
//! Only audio gets the weather (UDP to ports from 10000), so that signalling does not
//! take of its dice. All lanes have the same addresses: with one seed every box gets
//! the same losses and delays. Needs root, `ip` and iptables; where something is
//! missing `Lane::new` says so.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::patience::seconds;
use crate::place::Place;
use crate::process::{Running, built, has, run};
use crate::weather::Weather;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where the box is.
pub const NEAR: &str = "10.66.0.1";
/// Where the callers are.
pub const FAR: &str = "10.66.0.9";
/// What goes through the weather; copies made by the shaper are marked.
const AUDIO: &str = "OUTPUT -p udp --dport 10000:65535 -m mark ! --mark 1 -j NFQUEUE --queue-num 0";

/// Two namespaces and the line between them; gone when dropped.
#[derive(Debug)]
pub struct Lane {
    near: String,
    far: String,
}

impl Lane {
    /// Makes one.
    ///
    /// # Errors
    /// Why it cannot be made here: for the list of skips.
    pub fn new() -> Result<Self, String> {
        if let Some(missing) = ["ip", "iptables"].into_iter().find(|name| !has(name)) {
            return Err(format!("no weather: {missing} is not installed"));
        }
        // Relaxed: the number need only be different, it orders nothing.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oh{}-{number}", std::process::id());
        let lane = Self {
            near: format!("{name}n"),
            far: format!("{name}f"),
        };
        let (near, far) = (&lane.near, &lane.far);
        for order in [
            format!("netns add {near}"),
            format!("netns add {far}"),
            format!("-n {near} link add near type veth peer name far netns {far}"),
            format!("-n {near} addr add {NEAR}/24 dev near"),
            format!("-n {far} addr add {FAR}/24 dev far"),
            format!("-n {near} link set lo up"),
            format!("-n {near} link set near up"),
            format!("-n {far} link set lo up"),
            format!("-n {far} link set far up"),
        ] {
            let done = run("ip", order.split(' '));
            if done.code != 0 {
                return Err(format!("no weather: ip {order}: {}", done.err.trim()));
            }
        }
        Ok(lane)
    }

    /// Does something on the near side; what it starts stays there.
    pub fn near<T>(&self, work: impl FnOnce() -> T) -> T {
        within(&self.near, work)
    }

    /// Does something on the far side; what it starts stays there.
    pub fn far<T>(&self, work: impl FnOnce() -> T) -> T {
        within(&self.far, work)
    }

    /// From now on the line from the callers carries so many kbit/s and keeps 200 ms of
    /// what is more (tc-tbf(8)).
    ///
    /// # Panics
    /// When it is refused.
    pub fn narrow(&self, kbit: u32) {
        let order = format!("qdisc add dev far root tbf rate {kbit}kbit burst 1600 latency 200ms");
        let done = self.far(|| run("tc", order.split(' ')));
        assert_eq!(done.code, 0, "tc {order}: {}", done.err);
    }

    /// As wide as before again: a queue that is full of small packets has no room for a
    /// greater one, BYE among them.
    ///
    /// # Panics
    /// When it is refused.
    pub fn widen(&self) {
        let done = self.far(|| run("tc", "qdisc del dev far root".split(' ')));
        assert_eq!(done.code, 0, "tc: {}", done.err);
    }

    /// From now on the callers' sound goes through this weather, which begins with the
    /// first packet that has a marker bit and lasts until the shaper is dropped.
    ///
    /// # Panics
    /// When the rules or the queue are refused.
    pub fn weather(&self, place: &Place, weather: Weather) -> Shaper {
        let log = place.file("shaper.log");
        let process = self.far(|| {
            let mut command = Command::new(built("shaper"));
            command.arg("0").args(weather.to_string().split(' '));
            Running::start(&mut command, &log)
        });
        process.wait_said("ready", seconds(10));
        let done = self.far(|| run("iptables", format!("-A {AUDIO}").split(' ')));
        assert_eq!(done.code, 0, "iptables -A {AUDIO}: {}", done.err);
        Shaper {
            far: self.far.clone(),
            _process: process,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            run("ip", ["netns", "del", name]);
        }
    }
}

/// Weather that lasts until this is dropped.
#[derive(Debug)]
pub struct Shaper {
    far: String,
    _process: Running,
}

impl Drop for Shaper {
    fn drop(&mut self) {
        let rule = format!("-D {AUDIO}");
        within(&self.far, || run("iptables", rule.split(' ')));
    }
}

/// This thread goes into a namespace and comes back. Sockets, threads and processes
/// that are made meanwhile stay there.
fn within<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let own = File::open("/proc/thread-self/ns/net").expect("a thread has a namespace");
    let there = File::open(format!("/run/netns/{name}")).expect("the namespace is there");
    enter(&there);
    let done = work();
    enter(&own);
    done
}

fn enter(namespace: &File) {
    // SAFETY: setns(2) takes two integers; it moves this thread alone.
    let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(moved, 0, "setns: {}", std::io::Error::last_os_error());
}
