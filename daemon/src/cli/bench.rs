//! `offhook bench sip`: what a call costs this machine in signalling, and what a
//! hostile message costs beside it. The endpoint alone, without sockets: rates with
//! real peers are `make figures`.

use std::time::Duration;

use offhook_sip::digest::Credentials;
use offhook_sip::{
    Command, Door, Endpoint, EndpointConfig, Event, Flow, Input, Output, StatusCode, Transport,
    TrunkKey,
};
use serde_json::{Value, json};

use super::{Common, OK, print, print_json};
use crate::clock;

/// Benches.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum BenchVerb {
    /// CPU of a call, memory of calls that stand, and what hostile messages cost
    /// beside a good call.
    Sip(SipArgs),
}

/// How much.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SipArgs {
    /// Calls, and messages of each hostile kind.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    calls: u32,
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
/// A description as long as a datagram takes it.
const GIANT: usize = 60_000;
const TRUNK: TrunkKey = TrunkKey(1);

/// Who sends.
#[derive(Clone, Copy)]
enum Sender {
    Known,
    Guarded,
    Stranger,
    /// Known, while there is too much to do.
    TooMany,
}

/// An endpoint whose calls are answered at once, and what it sent.
struct Yard {
    endpoint: Endpoint,
    flow: Flow,
    sent: Vec<Vec<u8>>,
    bytes: u64,
}

impl Yard {
    fn new() -> Self {
        let mut endpoint = Endpoint::new(EndpointConfig::default(), [1, 2, 3, 4]);
        let door = Door {
            realm: "offhook".to_owned(),
            md5_only: false,
            credentials: Credentials {
                user: "pbx".to_owned(),
                password: "secret".to_owned(),
            },
        };
        let guard = Command::Guard(TRUNK, Box::new(door));
        endpoint.handle(Duration::ZERO, Input::Command(guard));
        Self {
            endpoint,
            flow: Flow {
                transport: Transport::Udp,
                local: ([192, 0, 2, 1], 5060).into(),
                remote: ([198, 51, 100, 7], 5060).into(),
            },
            sent: Vec::new(),
            bytes: 0,
        }
    }

    /// One that has too much to do where that is what is looked at.
    fn facing(sender: Sender) -> Self {
        let mut yard = Self::new();
        let overloaded = Command::Overloaded(matches!(sender, Sender::TooMany));
        let input = Input::Command(overloaded);
        yard.endpoint.handle(Duration::ZERO, input);
        yard
    }

    fn put(&mut self, now: Duration, sender: Sender, bytes: &[u8]) {
        let flow = self.flow;
        let trunk = TRUNK;
        self.endpoint.handle(
            now,
            match sender {
                Sender::Known | Sender::TooMany => Input::Packet { flow, bytes },
                Sender::Guarded => Input::Guarded { flow, trunk, bytes },
                Sender::Stranger => Input::Stranger { flow, bytes },
            },
        );
        self.drain(now);
    }

    fn drain(&mut self, now: Duration) {
        loop {
            match self.endpoint.poll() {
                Output::Transmit { bytes, .. } => {
                    self.bytes += bytes.len() as u64;
                    self.sent.push(bytes);
                }
                Output::Event(Event::Incoming { key, .. }) => {
                    let headers = Vec::new;
                    let ring = Command::Ring {
                        key,
                        status: StatusCode::RINGING,
                        sdp: None,
                        headers: headers(),
                    };
                    let accept = Command::Accept {
                        key,
                        sdp: SDP.into(),
                        headers: headers(),
                    };
                    for command in [ring, accept] {
                        self.endpoint.handle(now, Input::Command(command));
                    }
                }
                Output::Event(_) | Output::Locate(_) => {}
                Output::Wait(_) => return,
            }
        }
    }

    /// Our tag in the last answer, which the peer's next request names.
    fn tag(&mut self) -> String {
        let last = self.sent.pop().unwrap_or_default();
        self.sent.clear();
        let text = String::from_utf8_lossy(&last).into_owned();
        let to = text.lines().find(|line| line.starts_with("To:"));
        let tag = to.and_then(|line| line.split(";tag=").nth(1));
        tag.unwrap_or_default().to_owned()
    }

    /// A call from INVITE to ACK; gives our tag.
    fn call(&mut self, now: Duration, number: u32, acknowledged: bool) -> String {
        self.put(now, Sender::Known, invite(number, SDP).as_bytes());
        let tag = self.tag();
        if acknowledged {
            let ack = request("ACK", number, 1, &tag, "");
            self.put(now, Sender::Known, ack.as_bytes());
        }
        tag
    }
}

fn invite(number: u32, body: &str) -> String {
    request("INVITE", number, 1, "", body)
}

fn request(method: &str, number: u32, cseq: u32, tag: &str, body: &str) -> String {
    let tag = if tag.is_empty() {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{method}{number}.{cseq};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@198.51.100.7>;tag=p{number}\r\nTo: <sip:100@192.0.2.1>{tag}\r\n\
         Call-ID: {number}@198.51.100.7\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@198.51.100.7>\r\n\
         User-Agent: bench\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// CPU microseconds of one of `count`.
fn micros(count: u32, work: impl FnOnce()) -> f64 {
    let before = clock::cpu();
    work();
    let used = clock::cpu().saturating_sub(before);
    used.as_secs_f64() * 1e6 / f64::from(count)
}

/// Octets of memory that this process holds (proc_pid_statm(5), in pages of 4 KiB).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// A good call: INVITE, 180, 200, ACK, BYE, 200.
fn good_call(count: u32) -> f64 {
    let mut yard = Yard::new();
    // Time goes on, so that what is over is forgotten as it would be.
    let at = |number: u32| Duration::from_millis(u64::from(number));
    micros(count, || {
        for number in 0..count {
            let now = at(number);
            let tag = yard.call(now, number, true);
            let bye = request("BYE", number, 2, &tag, "");
            yard.put(now, Sender::Known, bye.as_bytes());
            yard.sent.clear();
        }
    })
}

/// Octets that one standing call holds; the calls go on standing, so that what the
/// next ones take is new.
fn standing(count: u32, acknowledged: bool) -> (u64, Yard) {
    let mut yard = Yard::new();
    yard.call(Duration::ZERO, u32::MAX, acknowledged);
    let before = resident();
    for number in 0..count {
        yard.call(Duration::ZERO, number, acknowledged);
    }
    let each = resident().saturating_sub(before) / u64::from(count);
    (each, yard)
}

/// One hostile kind.
struct Kind {
    name: &'static str,
    sender: Sender,
    text: fn(u32) -> String,
}

const KINDS: [Kind; 9] = [
    Kind {
        name: "a scanner's OPTIONS",
        sender: Sender::Stranger,
        text: |number| request("OPTIONS", number, 1, "", ""),
    },
    Kind {
        name: "a scanner's REGISTER",
        sender: Sender::Stranger,
        text: |number| request("REGISTER", number, 1, "", ""),
    },
    Kind {
        name: "a stranger's INVITE",
        sender: Sender::Stranger,
        text: |number| invite(number, SDP),
    },
    Kind {
        name: "an INVITE without password",
        sender: Sender::Guarded,
        text: |number| invite(number, SDP),
    },
    Kind {
        name: "a request in no dialog",
        sender: Sender::Known,
        text: |number| request("BYE", number, 2, "nobody", ""),
    },
    Kind {
        name: "a malformed request",
        sender: Sender::Stranger,
        text: |number| invite(number, SDP).replace("CSeq", "CSqe"),
    },
    Kind {
        name: "a giant description",
        sender: Sender::Stranger,
        text: |number| invite(number, &"a=x\r\n".repeat(GIANT / 5)),
    },
    Kind {
        name: "an INVITE too many",
        sender: Sender::TooMany,
        text: |number| invite(number, SDP),
    },
    Kind {
        name: "the ACK of its refusal",
        sender: Sender::TooMany,
        text: |number| request("ACK", number, 1, "none-0123456789abcdef", ""),
    },
];

/// CPU of one message, and octets sent for each that came.
fn hostile(kind: &Kind, count: u32) -> (f64, f64) {
    let mut yard = Yard::facing(kind.sender);
    let texts: Vec<String> = (0..100).map(kind.text).collect();
    let (mut came, rounds) = (0_u64, count / 100);
    let cost = micros(rounds * 100, || {
        for round in 0..rounds {
            let now = Duration::from_millis(u64::from(round));
            for text in &texts {
                came += text.len() as u64;
                yard.put(now, kind.sender, text.as_bytes());
                yard.sent.clear();
            }
        }
    });
    (cost, yard.bytes as f64 / came.max(1) as f64)
}

pub(super) fn run(common: &Common, verb: &BenchVerb) -> u8 {
    let BenchVerb::Sip(arguments) = verb;
    let count = arguments.calls;
    let good = good_call(count);
    let (half_open, _kept) = standing(count, false);
    let (established, _) = standing(count, true);
    let rows: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let (cost, sent) = hostile(kind, count);
            json!({
                "message": kind.name,
                "cpu_us": round(cost, 2),
                "of_a_good_call": round(cost / good, 3),
                "sent_per_received": round(sent, 3),
            })
        })
        .collect();
    let all = json!({
        "calls": count,
        "call_cpu_us": round(good, 1),
        "half_open_bytes": half_open,
        "established_bytes": established,
        "hostile": rows,
    });
    if common.json {
        print_json(&all);
    } else {
        print(&text(&all));
    }
    OK
}

fn round(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

fn text(all: &Value) -> String {
    let mut out = format!(
        "{} calls: {} us of CPU each; {} bytes half open, {} bytes established\n",
        all["calls"], all["call_cpu_us"], all["half_open_bytes"], all["established_bytes"]
    );
    for row in all["hostile"].as_array().into_iter().flatten() {
        let name = row["message"].as_str().unwrap_or_default();
        out += &format!(
            "{name:<28} {:>8} us, {:>6} of a good call, {:>6} bytes sent for each received\n",
            row["cpu_us"].to_string(),
            row["of_a_good_call"].to_string(),
            row["sent_per_received"].to_string()
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hostile_message_brings_more_than_came_and_none_is_kept() {
        for kind in &KINDS {
            let (_, sent) = hostile(kind, 1000);
            assert!(sent < 2.0, "{}: {sent}", kind.name);
            let mut yard = Yard::facing(kind.sender);
            for number in 0..1000 {
                yard.put(Duration::ZERO, kind.sender, (kind.text)(number).as_bytes());
            }
            let kept = (
                yard.endpoint.call_count(),
                yard.endpoint.transaction_count(),
            );
            assert_eq!(kept, (0, 0), "{}", kind.name);
        }
    }

    #[test]
    fn the_yards_calls_are_real_ones() {
        let mut yard = Yard::new();
        let tag = yard.call(Duration::ZERO, 1, true);
        assert_eq!(tag.len(), 16);
        assert_eq!(yard.endpoint.call_count(), 1);
        let bye = request("BYE", 1, 2, &tag, "");
        yard.put(Duration::ZERO, Sender::Known, bye.as_bytes());
        assert_eq!(yard.endpoint.call_count(), 0);
        assert!(yard.sent[0].starts_with(b"SIP/2.0 200"));
    }
}
