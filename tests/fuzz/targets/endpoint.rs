//! Any sequence of datagrams, commands and waits: the endpoint comes to rest
//! after each, and once everybody has hung up nothing is left of any call.
//!
//! The input is cut at 0xFE. The first byte of a piece says how long to wait
//! and what to do with the youngest call, the rest is a datagram in which 0x01
//! stands for the last tag that we sent.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_sip::{
    CallKey, Command, Endpoint, EndpointConfig, Event, Flow, Input, Output, ReinviteAnswer,
    StatusCode, Transport,
};

/// Where every host is that a dialog names.
const HOSTS: [([u8; 4], u16); 2] = [([192, 0, 2, 10], 5060), ([192, 0, 2, 11], 5060)];
/// More outputs than any one input may cause.
const AT_REST: usize = 1000;
/// More wakeups than any set of a fuzz input's transactions can ask for.
const WAKEUPS: usize = 100_000;

/// An endpoint and what its application knows.
struct World {
    endpoint: Endpoint,
    now: Duration,
    calls: Vec<CallKey>,
    tag: Vec<u8>,
    next: Option<Duration>,
}

impl World {
    fn new() -> Self {
        let endpoint = Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]);
        Self {
            endpoint,
            now: Duration::ZERO,
            calls: Vec::new(),
            tag: Vec::new(),
            next: None,
        }
    }

    fn give(&mut self, input: Input<'_>) {
        self.endpoint.handle(self.now, input);
        for _ in 0..AT_REST {
            match self.endpoint.poll() {
                Output::Transmit { bytes, .. } => self.learn_tag(&bytes),
                Output::Event(event) => self.on_event(event),
                Output::Locate(name) => {
                    let addresses = HOSTS.map(SocketAddr::from).to_vec();
                    let located = Input::Located { name, addresses };
                    self.endpoint.handle(self.now, located);
                }
                Output::Wait(next) => return self.next = next,
            }
        }
        panic!("no rest after {AT_REST} outputs");
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Incoming { key, .. } => self.calls.push(key),
            Event::Released { key, .. } => self.calls.retain(|call| *call != key),
            _ => {}
        }
    }

    fn learn_tag(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let to = text.lines().find(|line| line.starts_with("To:"));
        if let Some((_, tag)) = to.and_then(|to| to.rsplit_once(";tag=")) {
            self.tag = tag.trim().as_bytes().to_vec();
        }
    }

    fn piece(&mut self, what: u8, datagram: &[u8]) {
        self.now += Duration::from_millis(u64::from(what & 0x1f) * 50);
        let split: Vec<_> = datagram.split(|byte| *byte == 1).collect();
        let bytes = split.join(&self.tag[..]);
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let flow = Flow {
            transport: Transport::Udp,
            local: address("192.0.2.2:5060"),
            remote: address("192.0.2.1:5060"),
        };
        self.give(Input::Packet {
            flow,
            bytes: &bytes,
        });
        if let Some(key) = self.calls.last().copied() {
            self.give(Input::Command(command(key, what >> 5)));
        }
    }
}

fn command(key: CallKey, which: u8) -> Command {
    let (sdp, headers) = (b"v=0\r\n".to_vec(), Vec::new());
    let status = |code| StatusCode::new(code).expect("a status");
    match which {
        0 | 1 => Command::Accept { key, sdp, headers },
        2 => Command::Ring {
            key,
            status: status(180),
            sdp: None,
            headers,
        },
        3 => Command::Ring {
            key,
            status: status(183),
            sdp: Some(sdp),
            headers,
        },
        4 => Command::Reject {
            key,
            status: status(486),
            phrase: None,
            retry_after: None,
            headers,
        },
        5 => Command::AnswerReinvite {
            key,
            answer: ReinviteAnswer::Accept(sdp),
        },
        6 => Command::AnswerReinvite {
            key,
            answer: ReinviteAnswer::Refuse(status(488)),
        },
        _ => Command::Hangup { key, reason: None },
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut world = World::new();
    for piece in bytes.split(|byte| *byte == 0xfe).take(64) {
        if let [what, datagram @ ..] = piece {
            world.piece(*what, datagram);
        }
    }
    for key in world.calls.clone() {
        world.give(Input::Command(Command::Hangup { key, reason: None }));
    }
    for _ in 0..WAKEUPS {
        let Some(next) = world.next else {
            assert_eq!(world.endpoint.call_count(), 0, "every call is released");
            assert_eq!(
                world.endpoint.transaction_count(),
                0,
                "every transaction ends"
            );
            return;
        };
        world.now = next;
        world.give(Input::Wake);
    }
    panic!("still not done after {WAKEUPS} wakeups");
});
