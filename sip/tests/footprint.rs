//! How much memory a call holds: a counting allocator around whole endpoints.

mod support;

use core::sync::atomic::{AtomicIsize, Ordering};
use core::time::Duration;
use std::alloc::{GlobalAlloc, Layout, System};

use offhook_sip::{CallKey, Command, Endpoint, EndpointConfig, Event, Input, Output};
use support::*;

/// Bytes now held.
static HELD: AtomicIsize = AtomicIsize::new(0);

struct Counting;

fn count(size: usize, sign: isize) {
    let size = isize::try_from(size).expect("layouts fit");
    // Relaxed: only sums are read, by the one test thread.
    HELD.fetch_add(sign * size, Ordering::Relaxed);
}

// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls at once.
const CALLS: usize = 2000;

/// Rounds of them after which nothing may have grown.
const ROUNDS: usize = 8;

/// Less than one byte a call: nothing is kept of them.
const GROWTH_MAX: isize = 1024;

/// Most bytes of a call before media (DESIGN §4).
const HALF_OPEN_MAX: isize = 8192;

fn held() -> isize {
    HELD.load(Ordering::Relaxed)
}

/// Drains the endpoint: the new call, and our tag in a 200.
fn poll_all(endpoint: &mut Endpoint) -> (Option<CallKey>, String) {
    let (mut key, mut ours) = (None, String::new());
    loop {
        match endpoint.poll() {
            Output::Wait(_) => return (key, ours),
            Output::Event(Event::Incoming { key: found, .. }) => key = Some(found),
            Output::Event(_) | Output::Locate(_) => {}
            Output::Transmit { bytes, .. } => {
                let text = String::from_utf8_lossy(&bytes);
                if text.starts_with("SIP/2.0 200") {
                    tag(header(&text, "To")).clone_into(&mut ours);
                }
            }
        }
    }
}

fn of_call(number: usize, message: &str) -> String {
    message.replace("call-1@", &format!("call-{number}@"))
}

/// An endpoint under load.
struct Load {
    endpoint: Endpoint,
    now: Duration,
    number: usize,
}

/// Bytes held per call at three stages.
struct Stages {
    offered: isize,
    accepted: isize,
    ended: isize,
}

impl Load {
    fn feed(&mut self, text: &str) -> (Option<CallKey>, String) {
        let (flow, bytes) = (peer_flow(), text.as_bytes());
        self.endpoint
            .handle(self.now, Input::Packet { flow, bytes });
        poll_all(&mut self.endpoint)
    }

    /// Takes calls through their life, all at once, and waits until nothing is left.
    fn round(&mut self) -> Stages {
        let first = self.number;
        self.number += CALLS;
        let mut calls = Vec::with_capacity(CALLS);
        let own = held();
        for number in first..self.number {
            let text = of_call(number, &invite(&format!("i{number}")));
            let key = self.feed(&text).0.expect("a call");
            calls.push((number, key, String::new()));
        }
        let offered = held() - own;
        for (_, key, ours) in &mut calls {
            let command = Command::Accept {
                key: *key,
                sdp: ANSWER.to_vec(),
                headers: Vec::new(),
            };
            self.endpoint.handle(self.now, Input::Command(command));
            *ours = poll_all(&mut self.endpoint).1;
        }
        let accepted = held() - own;
        for (number, _, ours) in &calls {
            for (method, cseq) in [("ACK", 1), ("BYE", 2)] {
                let branch = format!("{method}{number}");
                let request = request(method, cseq, &branch, ours, "", b"");
                self.feed(&of_call(*number, &request));
            }
        }
        assert_eq!(self.endpoint.call_count(), 0);
        let ended = held() - own;
        self.now += millis(32_001);
        self.endpoint.handle(self.now, Input::Wake);
        poll_all(&mut self.endpoint);
        assert_eq!(self.endpoint.transaction_count(), 0);
        let per_call = |bytes| bytes / isize::try_from(CALLS).expect("small");
        Stages {
            offered: per_call(offered),
            accepted: per_call(accepted),
            ended: per_call(ended),
        }
    }
}

/// One test: the counter is of the whole process.
#[test]
fn a_half_open_call_holds_less_than_8_kb_and_an_ended_one_nothing() {
    let mut load = Load {
        endpoint: Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]),
        now: millis(0),
        number: 0,
    };
    let Stages {
        offered,
        accepted,
        ended,
    } = load.round();
    println!("bytes per call: {offered} offered, {accepted} accepted, {ended} ended");
    for bytes in [offered, accepted, ended] {
        assert!(bytes < HALF_OPEN_MAX, "{bytes} bytes per call");
    }
    load.round();
    let idle = held();
    for _ in 0..ROUNDS {
        load.round();
        let grown = held() - idle;
        assert!(grown < GROWTH_MAX, "{grown} bytes more after a round");
    }
}
