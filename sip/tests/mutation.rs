//! 100,000 damaged messages: torture corpus and ordinary calls, truncated,
//! spliced and bit-flipped. None may panic, hang or leave a call behind.

mod support;

use offhook_sip::framing::{Frame, Framer};
use offhook_sip::sdp::{self, Codec, LocalMedia, LocalSrtp, SRTP_RANDOM};
use offhook_sip::{
    Command, Endpoint, EndpointConfig, Event, Input, Output, ReinviteAnswer, StatusCode, parse,
};
use support::*;

const ROUNDS: usize = 100_000;

/// splitmix64: the seed is in the test's name of a failure by its round.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).expect("below a usize")
    }
}

/// Stands for the tag that we gave last.
const OURS: &str = "OURS";

/// Headers that are read with more care than others.
const EXTRAS: &str = "Supported: 100rel, timer\r\nSession-Expires: 90;refresher=uas\r\nMin-SE: 90\r\n\
P-Asserted-Identity: \"A\" <sip:a@b>, <tel:1>\r\nDiversion: <sip:a@b>;counter=2\r\n\
History-Info: <sip:a@b?Reason=SIP%3Bcause%3D302>;index=1\r\nPrivacy: id\r\n\
Identity: e30.eyJhdHRlc3QiOiJBIn0.x;info=<https://x>\r\n";

fn corpus() -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/torture", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let mut corpus: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).expect("a message"))
        .collect();
    let ordinary = [
        invite("1"),
        request("ACK", 1, "2", "x", "", b""),
        request("BYE", 2, "3", OURS, "Reason: Q.850;cause=16\r\n", b""),
        request("INVITE", 1, "6", "", EXTRAS, OFFER),
        request("INVITE", 9, "7", OURS, "Session-Expires: 90\r\n", OFFER),
        request("UPDATE", 10, "8", OURS, "k: timer\r\nx: 100\r\n", OFFER),
        request("PRACK", 11, "9", OURS, "RAck: 1 1 INVITE\r\n", b""),
        request(
            "REFER",
            12,
            "a",
            OURS,
            "r: <sip:c@h?Replaces=a%40b>\r\n",
            b"",
        ),
        request(
            "NOTIFY",
            13,
            "b",
            OURS,
            "o: refer\r\nSubscription-State: active\r\n",
            b"SIP/2.0 200 OK",
        ),
        request("INFO", 14, "c", OURS, "", b"Signal=5"),
        request("CANCEL", 1, "1", "", "", b""),
        request("OPTIONS", 1, "4", "", "Accept: */*\r\n", b""),
        request(
            "INVITE",
            2,
            "5",
            "",
            "Record-Route: <sip:p;lr>, <sip:q>\r\n",
            b"",
        ),
    ];
    corpus.extend(ordinary.map(String::into_bytes));
    let mut driven = Driven::new();
    driven.dial();
    let ours = driven.take_sent().remove(0);
    corpus.push(response(&ours, "200 OK", "far", "Contact: <sip:x@h>\r\n", ANSWER).into_bytes());
    corpus
}

/// Pieces that once hurt somebody.
const PIECES: &[&[u8]] = &[
    b"18446744073709551615",
    b"-1",
    b"\"",
    b"\\",
    b"<",
    b">",
    b";",
    b",",
    b"\r\n",
    b"\r\n ",
    b"\0",
    b"\xff\xfe",
    b"%",
    b"%0",
    b"[::1",
    b"sip:",
    b"Content-Length: 9\r\n",
    b";rport=;received=",
    b"z9hG4bK",
];

fn damage(message: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(message.len() + 1);
        match dice.below(6) {
            0 => message.truncate(at),
            1 => {
                if let Some(byte) = message.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 => {
                let piece = PIECES[dice.below(PIECES.len())];
                message.splice(at..at, piece.iter().copied());
            }
            3 => {
                let end = (at + dice.below(20)).min(message.len());
                message.drain(at..end);
            }
            4 => {
                let tail = &other[dice.below(other.len())..];
                message.truncate(at);
                message.extend_from_slice(tail);
            }
            _ => {
                let end = (at + dice.below(60)).min(message.len());
                let copy = message[at..end].to_vec();
                message.splice(at..at, copy);
            }
        }
    }
}

/// Answers what comes in, so that later messages meet calls in every state.
fn drain(endpoint: &mut Endpoint, now: core::time::Duration, dice: &mut Dice, ours: &mut String) {
    let mut commands = Vec::new();
    for _ in 0..10_000 {
        match endpoint.poll() {
            Output::Wait(_) => {
                for command in commands.drain(..) {
                    endpoint.handle(now, Input::Command(command));
                }
                if matches!(endpoint.poll(), Output::Wait(_)) {
                    return;
                }
            }
            Output::Event(Event::Incoming { key, invite, .. }) => {
                let _ = invite
                    .offer
                    .as_deref()
                    .map(|offer| sdp::answer(offer, &local()));
                if dice.below(3) == 0 {
                    commands.push(Command::Ring {
                        key,
                        status: StatusCode::SESSION_PROGRESS,
                        sdp: Some(ANSWER.to_vec()),
                        headers: Vec::new(),
                    });
                }
                if dice.below(2) == 0 {
                    commands.push(Command::Accept {
                        key,
                        sdp: ANSWER.to_vec(),
                        headers: Vec::new(),
                    });
                } else {
                    commands.push(Command::Hangup { key, reason: None });
                }
            }
            Output::Event(Event::Reinvite { key, .. }) => {
                let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
                commands.push(Command::AnswerReinvite { key, answer });
            }
            Output::Event(Event::TransferAsked { key, .. }) => {
                let accept = dice.below(2) == 0;
                commands.push(Command::AnswerTransfer { key, accept });
            }
            Output::Transmit { bytes, .. } => {
                let text = String::from_utf8_lossy(&bytes);
                let to = text.lines().find_map(|line| line.strip_prefix("To: "));
                if let Some(to) = to.filter(|to| to.contains(";tag=")) {
                    tag(to).clone_into(ours);
                }
            }
            Output::Event(_) | Output::Locate(_) => {}
        }
    }
    panic!("one message causes no end of output");
}

fn local() -> LocalMedia {
    LocalMedia {
        session_id: 1,
        version: 1,
        address: "192.0.2.1".parse().expect("address"),
        port: 4000,
        codecs: Codec::ALL.to_vec(),
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        ptime_ms: 20,
        srtp: Some(LocalSrtp::new(false, &[9; SRTP_RANDOM])),
    }
}

#[test]
fn damaged_messages_never_panic_and_leave_nothing_behind() {
    let corpus = corpus();
    let mut dice = Dice(0x0ff_4004);
    let config = EndpointConfig {
        accept_transfers: true,
        ..EndpointConfig::default()
    };
    let mut endpoint = Endpoint::new(config, [1, 2, 3, 4]);
    let mut now = core::time::Duration::ZERO;
    let mut ours = String::new();
    for _ in 0..ROUNDS {
        let mut message = corpus[dice.below(corpus.len())].clone();
        if let Some(at) = message
            .windows(4)
            .position(|window| window == OURS.as_bytes())
        {
            message.splice(at..at + 4, ours.bytes());
        }
        let other = dice.below(corpus.len());
        damage(&mut message, &corpus[other], &mut dice);
        let _ = parse(&message);
        now += millis(3);
        let flow = peer_flow();
        let bytes = &message;
        endpoint.handle(now, Input::Packet { flow, bytes });
        drain(&mut endpoint, now, &mut dice, &mut ours);
    }
    assert!(endpoint.counters().malformed_total() > 10_000);
    for _ in 0..4000 {
        now += millis(1000);
        endpoint.handle(now, Input::Wake);
        drain(&mut endpoint, now, &mut dice, &mut ours);
    }
    assert_eq!(endpoint.transaction_count(), 0);
    assert_eq!(endpoint.call_count(), 0);
}

/// What comes out of a stream that arrives in pieces of these lengths.
fn messages(stream: &[u8], mut length: impl FnMut() -> usize) -> Vec<Vec<u8>> {
    let mut framer = Framer::new(8192);
    let (mut found, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(length().clamp(1, rest.len()));
        rest = tail;
        framer.push(piece);
        loop {
            match framer.take() {
                Ok(Some(Frame::Message(message))) => found.push(message),
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

#[test]
fn damaged_streams_never_panic_and_read_the_same_however_they_are_cut() {
    let corpus = corpus();
    let mut dice = Dice(11);
    for _ in 0..ROUNDS / 10 {
        let mut stream = Vec::new();
        for _ in 0..3 {
            stream.extend_from_slice(&corpus[dice.below(corpus.len())]);
        }
        let other = dice.below(corpus.len());
        damage(&mut stream, &corpus[other], &mut dice);
        let whole = messages(&stream, || usize::MAX);
        let pieces = messages(&stream, || dice.below(200));
        for (one, other) in whole.iter().zip(&pieces) {
            assert_eq!(one, other);
        }
        for message in &whole {
            let _ = parse(message);
        }
    }
}

#[test]
fn damaged_descriptions_never_panic() {
    let mut dice = Dice(7);
    let offers: Vec<_> = corpus()
        .iter()
        .filter_map(|message| {
            let at = message.windows(3).position(|window| window == b"v=0")?;
            Some(message[at..].to_vec())
        })
        .collect();
    for _ in 0..ROUNDS / 4 {
        let mut offer = offers[dice.below(offers.len())].clone();
        let other = dice.below(offers.len());
        damage(&mut offer, &offers[other], &mut dice);
        let _ = sdp::answer(&offer, &local());
        let _ = sdp::accept_answer(&offer, &local());
    }
}
