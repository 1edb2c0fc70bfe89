//! What the endpoint's tests share: addresses, raw messages and a driven endpoint.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use core::time::Duration;

use offhook_sip::{
    CallKey, Command, Endpoint, EndpointConfig, Event, Flow, HostName, Input, Invite, Output,
    Party, Transport, Uri, Way,
};

pub const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
t=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
pub const ANSWER: &[u8] = b"v=0\r\no=- 2 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
t=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

/// Where the peer of most tests is reached.
pub const CONTACT: &str = "Contact: <sip:bob@198.51.100.7:5060>\r\n";

pub fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}

pub fn flow(local: &str, remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: local.parse().expect("address"),
        remote: remote.parse().expect("address"),
    }
}

/// The path from our socket to the peer of most tests.
pub fn peer_flow() -> Flow {
    flow("192.0.2.1:5060", "198.51.100.7:5060")
}

pub fn uri(text: &str) -> Uri {
    Uri::parse(text).expect("a URI")
}

/// An endpoint and everything it has said so far.
pub struct Driven {
    pub endpoint: Endpoint,
    pub now: Duration,
    /// Packets with the time at which they left.
    pub sent: Vec<(Duration, Flow, String)>,
    /// Line ends that keep a path open, with the time at which they left.
    pub pings: Vec<(Duration, Flow)>,
    pub events: Vec<Event>,
    /// Hosts that were asked for, and the addresses of those that are known.
    pub asked: Vec<HostName>,
    pub zone: Vec<(Transport, &'static str, &'static [&'static str])>,
    pub next: Option<Duration>,
}

impl Driven {
    pub fn new() -> Self {
        Self::with(EndpointConfig::default())
    }

    pub fn with(config: EndpointConfig) -> Self {
        Self {
            endpoint: Endpoint::new(config, [1, 2, 3, 4]),
            now: Duration::ZERO,
            sent: Vec::new(),
            pings: Vec::new(),
            events: Vec::new(),
            asked: Vec::new(),
            zone: Vec::new(),
            next: None,
        }
    }

    fn drain(&mut self) {
        loop {
            match self.endpoint.poll() {
                Output::Transmit { flow, bytes, .. } if bytes == b"\r\n\r\n" => {
                    self.pings.push((self.now, flow));
                }
                Output::Transmit { flow, bytes, .. } => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.sent.push((self.now, flow, text));
                }
                Output::Event(event) => self.events.push(event),
                Output::Locate(name) => self.locate(name),
                Output::Wait(next) => {
                    self.next = next;
                    return;
                }
            }
        }
    }

    fn locate(&mut self, name: HostName) {
        self.asked.push(name.clone());
        let mut all = self.zone.iter();
        let known = all.find(|(by, host, _)| *by == name.transport && *host == name.host);
        let addresses = known.map_or(&[][..], |(_, _, addresses)| addresses);
        let addresses = addresses.iter().map(|at| at.parse().expect("address"));
        let addresses = addresses.collect();
        let located = Input::Located { name, addresses };
        self.endpoint.handle(self.now, located);
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.endpoint.handle(self.now, input);
        self.drain();
    }

    pub fn packet_on(&mut self, flow: Flow, bytes: &[u8]) {
        let input = Input::Packet { flow, bytes };
        self.endpoint.handle(self.now, input);
        self.drain();
    }

    pub fn packet(&mut self, text: &str) {
        self.packet_on(peer_flow(), text.as_bytes());
    }

    /// A packet from an address that may not call.
    pub fn stranger(&mut self, text: &str) {
        let (flow, bytes) = (peer_flow(), text.as_bytes());
        self.endpoint
            .handle(self.now, Input::Stranger { flow, bytes });
        self.drain();
    }

    pub fn command(&mut self, command: Command) {
        self.endpoint.handle(self.now, Input::Command(command));
        self.drain();
    }

    /// Lets time pass from wakeup to wakeup.
    pub fn run_until(&mut self, end: Duration) {
        while let Some(next) = self.next.filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.endpoint.handle(self.now, Input::Wake);
            self.drain();
        }
        self.now = end;
    }

    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Takes what was sent, as text.
    pub fn take_sent(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|(_, _, text)| text).collect()
    }

    /// Takes the first lines of what was sent.
    pub fn take_lines(&mut self) -> Vec<String> {
        let sent = self.take_sent();
        sent.iter().map(|text| first_line(text)).collect()
    }

    /// Takes the times at which something left, in milliseconds since `start`.
    pub fn take_times(&mut self, start: Duration) -> Vec<u128> {
        let times = self.sent.drain(..);
        times.map(|(at, _, _)| (at - start).as_millis()).collect()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// The key of the call that came in last.
    pub fn incoming_key(&self) -> CallKey {
        let keys = self.events.iter().rev().find_map(|event| match event {
            Event::Incoming { key, .. } => Some(*key),
            _ => None,
        });
        keys.expect("a call came in")
    }

    /// Places a call to the peer.
    pub fn dial(&mut self) -> CallKey {
        let key = self.endpoint.next_key();
        self.command(Command::Invite(Box::new(Invite {
            key,
            way: Way {
                flow: peer_flow(),
                trunk: None,
                target: uri("sip:bob@198.51.100.7"),
                from: Party {
                    display: Some("Off \"hook\"".into()),
                    uri: uri("sip:offhook@192.0.2.1"),
                },
                asserted: None,
                private: false,
            },
            further: Vec::new(),
            to_display: None,
            call_id: None,
            offer: OFFER.to_vec(),
            headers: Vec::new(),
        })));
        key
    }
}

pub fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// Value of a header line, first one.
pub fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// The `tag` in a To or From value.
pub fn tag(value: &str) -> &str {
    value.split(";tag=").nth(1).unwrap_or_default()
}

/// A request of the peer: method, CSeq number, branch, To tag, further lines, body.
pub fn request(
    method: &str,
    number: u32,
    branch: &str,
    to_tag: &str,
    lines: &str,
    body: &[u8],
) -> String {
    let to_tag = if to_tag.is_empty() {
        String::new()
    } else {
        format!(";tag={to_tag}")
    };
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@198.51.100.7>;tag=peer\r\n\
         To: <sip:100@192.0.2.1>{to_tag}\r\n\
         Call-ID: call-1@198.51.100.7\r\n\
         CSeq: {number} {method}\r\n\
         Contact: <sip:alice@198.51.100.7:5060>\r\n\
         {lines}{kind}Content-Length: {}\r\n\r\n{}",
        body.len(),
        String::from_utf8_lossy(body)
    )
}

pub fn invite(branch: &str) -> String {
    request("INVITE", 1, branch, "", "", OFFER)
}

/// A response of the peer to one of our requests.
pub fn response(request: &str, status: &str, to_tag: &str, lines: &str, body: &[u8]) -> String {
    let to = header(request, "To");
    let to = if to_tag.is_empty() || to.contains(";tag=") {
        to.to_owned()
    } else {
        format!("{to};tag={to_tag}")
    };
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         {lines}{kind}Content-Length: {}\r\n\r\n{}",
        header(request, "Via"),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
        body.len(),
        String::from_utf8_lossy(body)
    )
}

/// Answers an incoming call.
pub fn accept(driven: &mut Driven, key: CallKey) {
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
}
