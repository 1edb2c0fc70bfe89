//! How much memory a call holds: a counting allocator around whole endpoints.

mod support;

use core::sync::atomic::{AtomicIsize, Ordering};
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

const CALLS: usize = 2000;

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
            Output::Event(_) => {}
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

/// One test: the counter is of the whole process.
#[test]
fn a_half_open_call_holds_less_than_8_kb_and_an_ended_one_nothing() {
    let mut endpoint = Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]);
    let flow = peer_flow();
    let mut now = millis(0);
    let empty = held();
    let mut keys = Vec::with_capacity(CALLS);
    let own = held();
    for number in 0..CALLS {
        let text = of_call(number, &invite(&format!("i{number}")));
        let bytes = text.as_bytes();
        endpoint.handle(now, Input::Packet { flow, bytes });
        let (key, _) = poll_all(&mut endpoint);
        keys.push((key.expect("a call"), String::new()));
    }
    let calls = isize::try_from(CALLS).expect("small");
    let offered = (held() - own) / calls;
    assert!(
        offered < HALF_OPEN_MAX,
        "{offered} bytes per unanswered call"
    );
    for (key, ours) in &mut keys {
        let command = Command::Accept {
            key: *key,
            sdp: ANSWER.to_vec(),
            headers: Vec::new(),
        };
        endpoint.handle(now, Input::Command(command));
        *ours = poll_all(&mut endpoint).1;
    }
    let accepted = (held() - own) / calls;
    assert!(
        accepted < HALF_OPEN_MAX,
        "{accepted} bytes per unacknowledged call"
    );
    for (number, (_, ours)) in keys.iter().enumerate() {
        for (method, cseq) in [("ACK", 1), ("BYE", 2)] {
            let branch = format!("{method}{number}");
            let text = of_call(number, &request(method, cseq, &branch, ours, "", b""));
            let bytes = text.as_bytes();
            endpoint.handle(now, Input::Packet { flow, bytes });
            poll_all(&mut endpoint);
        }
    }
    assert_eq!(endpoint.call_count(), 0);
    let ended = (held() - own) / calls;
    now += millis(32_001);
    endpoint.handle(now, Input::Wake);
    poll_all(&mut endpoint);
    assert_eq!(endpoint.transaction_count(), 0);
    drop(keys);
    let tables = held() - empty;
    println!("offered {offered}, accepted {accepted}, ended {ended}, idle tables {tables}");
}
