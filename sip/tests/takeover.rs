//! INVITEs that take the place of another call (RFC 3891), changes that come
//! with a PRACK, and requests that are too long for a datagram.

mod support;

use offhook_sip::{
    Beside, CallKey, Command, EndpointConfig, Event, Flow, Input, Invite, ReinviteAnswer,
    StatusCode, Transport, Way,
};
use support::*;

/// A call that the peer made and that is up; with our tag.
fn established() -> (Driven, CallKey, String) {
    let mut driven = Driven::new();
    driven.packet(&invite("a"));
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let answer = driven.take_sent().pop().expect("a 200");
    let ours = tag(header(&answer, "To")).to_owned();
    driven.packet(&request("ACK", 1, "b", &ours, "", b""));
    driven.take_events();
    (driven, key, ours)
}

/// Another INVITE, from another dialog, that wants to replace a call.
fn taking_over(driven: &mut Driven, replaces: &str) {
    let lines = format!("Supported: replaces\r\nReplaces: {replaces}\r\n");
    let text = request("INVITE", 1, "taker", "", &lines, OFFER)
        .replace(">;tag=peer", ">;tag=other")
        .replace("Call-ID: call-1@", "Call-ID: call-2@");
    driven.packet(&text);
}

#[test]
fn a_call_that_is_up_can_be_taken_over_and_nothing_else_can() {
    let id = "call-1@198.51.100.7";
    let table = [
        (";to-tag=OURS;from-tag=peer", None),
        ("; from-tag=peer ;to-tag=OURS", None),
        (";to-tag=OURS;from-tag=stranger", Some("481 ")),
        (";to-tag=nobody;from-tag=peer", Some("481 ")),
        (";to-tag=OURS;from-tag=peer;early-only", Some("486 ")),
        (";to-tag=OURS", Some("400 ")),
        ("\r\nReplaces: x;to-tag=OURS;from-tag=peer", Some("400 ")),
    ];
    for (parameters, refused) in table {
        let (mut driven, key, ours) = established();
        let value = format!("{id}{}", parameters.replace("OURS", &ours));
        taking_over(&mut driven, &value);
        let told = driven
            .take_events()
            .into_iter()
            .find_map(|event| match event {
                Event::Incoming { invite, .. } => Some(invite.replaces),
                _ => None,
            });
        assert_eq!(told, refused.is_none().then_some(Some(key)), "{parameters}");
        if let Some(status) = refused {
            let answer = driven.take_lines().pop().expect("an answer");
            assert!(answer.contains(status), "{parameters}: {answer}");
        }
    }
}

#[test]
fn what_takes_a_calls_place_may_require_that_we_can() {
    let (mut driven, _, ours) = established();
    let value = format!("call-1@198.51.100.7;to-tag={ours};from-tag=peer\r\nRequire: replaces");
    taking_over(&mut driven, &value);
    let told = driven.take_events();
    assert!(matches!(told[0], Event::Incoming { .. }), "{told:?}");
}

#[test]
fn a_call_without_an_answer_or_one_that_is_over_cannot_be_taken_over() {
    let mut driven = Driven::new();
    driven.packet(&invite("a"));
    let key = driven.incoming_key();
    driven.command(Command::Ring {
        key,
        status: StatusCode::RINGING,
        sdp: None,
        headers: Vec::new(),
    });
    let ringing = driven.take_sent().pop().expect("a 180");
    let value = format!(
        "call-1@198.51.100.7;to-tag={};from-tag=peer",
        tag(header(&ringing, "To"))
    );
    taking_over(&mut driven, &value);
    assert!(
        driven
            .take_lines()
            .pop()
            .expect("an answer")
            .contains("481 ")
    );
    let (mut driven, key, ours) = established();
    driven.command(Command::Hangup { key, reason: None });
    driven.take_sent();
    taking_over(
        &mut driven,
        &format!("call-1@198.51.100.7;to-tag={ours};from-tag=peer"),
    );
    assert!(
        driven
            .take_lines()
            .pop()
            .expect("an answer")
            .contains("603 ")
    );
}

const CHANGED: &[u8] = b"v=0\r\no=- 1 2 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\n\
t=0 0\r\nm=audio 4002 RTP/AVP 0\r\n";

/// A call that rings reliably; the PRACK's To tag and RAck line.
fn ringing(sdp: Option<&[u8]>) -> (Driven, CallKey, String, String) {
    let mut driven = Driven::new();
    driven.packet(&request("INVITE", 1, "a", "", "Require: 100rel\r\n", OFFER));
    let key = driven.incoming_key();
    driven.command(Command::Ring {
        key,
        status: StatusCode::SESSION_PROGRESS,
        sdp: sdp.map(<[u8]>::to_vec),
        headers: Vec::new(),
    });
    let ring = driven.take_sent().pop().expect("a 183");
    let ours = tag(header(&ring, "To")).to_owned();
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&ring, "RSeq"));
    driven.take_events();
    (driven, key, ours, rack)
}

#[test]
fn a_prack_can_change_the_session_that_was_agreed_before_the_answer() {
    let (mut driven, key, ours, rack) = ringing(Some(ANSWER));
    driven.packet(&request("PRACK", 2, "p", &ours, &rack, CHANGED));
    let offer = Some(CHANGED.to_vec());
    assert_eq!(driven.take_events(), [Event::Reinvite { key, offer }]);
    assert!(
        driven.take_sent().is_empty(),
        "the answer is the application's"
    );
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    let sent = driven.take_sent();
    assert!(sent[0].starts_with("SIP/2.0 200 OK"), "{}", sent[0]);
    assert_eq!(header(&sent[0], "CSeq"), "2 PRACK");
    assert!(sent[0].ends_with(core::str::from_utf8(ANSWER).expect("ASCII")));
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let last = driven.take_sent().pop().expect("a 200");
    assert_eq!(header(&last, "CSeq"), "1 INVITE");
}

#[test]
fn a_prack_cannot_offer_before_the_first_offer_is_answered() {
    let (mut driven, _, ours, rack) = ringing(None);
    driven.packet(&request("PRACK", 2, "p", &ours, &rack, CHANGED));
    assert!(driven.take_lines()[0].contains("488 "));
    assert!(driven.take_events().is_empty());
}

fn beside() -> (Driven, Flow) {
    let datagrams = peer_flow().local;
    let stream = "192.0.2.1:5070".parse().expect("address");
    let driven = Driven::with(EndpointConfig {
        streams: vec![Beside { datagrams, stream }],
        ..EndpointConfig::default()
    });
    let flow = Flow {
        transport: Transport::Tcp,
        local: stream,
        ..peer_flow()
    };
    (driven, flow)
}

fn dial(driven: &mut Driven, length: usize) -> CallKey {
    dial_by(driven, length, Vec::new())
}

fn dial_by(driven: &mut Driven, length: usize, further: Vec<Way>) -> CallKey {
    let key = driven.endpoint.next_key();
    let from = offhook_sip::Party {
        display: None,
        uri: uri("sip:offhook@192.0.2.1"),
    };
    driven.command(Command::Invite(Box::new(Invite {
        key,
        way: Way {
            flow: peer_flow(),
            trunk: None,
            target: uri("sip:bob@198.51.100.7"),
            from,
            asserted: None,
            private: false,
        },
        further,
        to_display: None,
        call_id: None,
        offer: vec![b'a'; length],
        headers: Vec::new(),
    })));
    key
}

#[test]
fn a_request_too_long_for_a_datagram_goes_by_tcp_and_back_to_udp_where_there_is_none() {
    let (mut driven, stream) = beside();
    dial(&mut driven, 100);
    assert_eq!(
        driven.sent.pop().expect("an INVITE").1,
        peer_flow(),
        "a short one stays"
    );
    driven.take_sent();
    dial(&mut driven, 1300);
    let (_, flow, text) = driven.sent.pop().expect("an INVITE");
    assert_eq!(flow, stream);
    assert!(
        header(&text, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5070;"),
        "{text}"
    );
    driven.input(Input::Unreachable { flow: stream });
    let (_, flow, again) = driven.sent.pop().expect("the INVITE again");
    assert_eq!(flow, peer_flow());
    assert!(
        header(&again, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:5060;"),
        "{again}"
    );
    assert_ne!(header(&again, "CSeq"), header(&text, "CSeq"));
    driven.packet(&response(
        &again,
        "200 OK",
        "x",
        "Contact: <sip:bob@198.51.100.7>\r\n",
        ANSWER,
    ));
    let answered = driven.take_events();
    assert!(
        answered
            .iter()
            .any(|event| matches!(event, Event::Answered { .. }))
    );
    driven.take_sent();
    dial(&mut driven, 1300);
    assert_eq!(
        driven.sent.pop().expect("an INVITE").1,
        peer_flow(),
        "that is remembered"
    );
    assert_eq!(driven.endpoint.counters().long_requests, 1);
}

#[test]
fn without_a_tcp_socket_a_long_request_stays_a_datagram() {
    let mut driven = Driven::new();
    dial(&mut driven, 3000);
    assert_eq!(driven.sent.pop().expect("an INVITE").1, peer_flow());
}

#[test]
fn where_tcp_is_dropped_in_silence_a_long_invite_tries_datagrams_before_it_goes_elsewhere() {
    let (mut driven, stream) = beside();
    let other = flow("192.0.2.1:5060", "198.51.100.8:5060");
    let way = Way {
        flow: other,
        trunk: None,
        target: uri("sip:bob@198.51.100.8"),
        from: offhook_sip::Party {
            display: None,
            uri: uri("sip:offhook@192.0.2.1"),
        },
        asserted: None,
        private: false,
    };
    dial_by(&mut driven, 1300, vec![way.clone()]);
    let (_, first, by_tcp) = driven.sent.pop().expect("an INVITE");
    assert_eq!(first, stream);
    driven.run_for(millis(4000));
    let (_, second, again) = driven.sent.pop().expect("the INVITE again");
    assert_eq!(second, peer_flow());
    assert_ne!(header(&again, "CSeq"), header(&by_tcp, "CSeq"));
    // The connection is given up meanwhile; nothing waits for it any more.
    driven.run_for(millis(1000));
    driven.input(Input::Unreachable { flow: stream });
    assert!(driven.take_events().is_empty());
    driven.sent.clear();
    driven.run_for(millis(3000));
    let (_, third, _) = driven.sent.pop().expect("the next way");
    assert_eq!(third.remote, other.remote);
    assert!(matches!(driven.take_events()[..], [Event::Rerouted { .. }]));
    // Its host is asked by TCP; the first is known to take none.
    dial_by(&mut driven, 1300, vec![way]);
    assert_eq!(driven.sent.pop().expect("an INVITE").1, peer_flow());
}

#[test]
fn a_peer_that_was_only_slow_on_its_connection_is_hung_up_there_and_asked_by_tcp_again() {
    let (mut driven, stream) = beside();
    let further = Way {
        flow: flow("192.0.2.1:5060", "198.51.100.8:5060"),
        trunk: None,
        target: uri("sip:bob@198.51.100.8"),
        from: offhook_sip::Party {
            display: None,
            uri: uri("sip:offhook@192.0.2.1"),
        },
        asserted: None,
        private: false,
    };
    dial_by(&mut driven, 1300, vec![further]);
    let (_, _, by_tcp) = driven.sent.pop().expect("an INVITE");
    driven.run_for(millis(4000));
    driven.sent.clear();
    driven.packet_on(
        stream,
        response(&by_tcp, "180 Ringing", "late", CONTACT, b"").as_bytes(),
    );
    let (_, by, cancel) = driven.sent.pop().expect("a CANCEL");
    assert!(by == stream && cancel.starts_with("CANCEL "));
    driven.sent.clear();
    dial(&mut driven, 1300);
    assert_eq!(driven.sent.pop().expect("an INVITE").1, stream);
}

#[test]
fn a_long_request_goes_by_tcp_to_where_its_host_takes_tcp_and_else_to_where_it_takes_datagrams() {
    let (mut driven, stream) = beside();
    driven.zone = vec![
        (Transport::Tcp, "pbx.example", &["198.51.100.8:5080"]),
        (Transport::Udp, "pbx.example", &["198.51.100.9:5060"]),
    ];
    let host = "Contact: <sip:bob@pbx.example>\r\n";
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "200 OK", "far", host, ANSWER));
    driven.sent.clear();
    let sdp = vec![b'a'; 1300];
    driven.command(Command::Reinvite { key, sdp });
    let (_, flow, text) = driven.sent.pop().expect("a re-INVITE");
    let by_tcp = Flow {
        remote: "198.51.100.8:5080".parse().expect("address"),
        ..stream
    };
    assert_eq!(flow, by_tcp);
    assert!(
        header(&text, "Via").starts_with("SIP/2.0/TCP 192.0.2.1:5070;"),
        "{text}"
    );
    driven.input(Input::Unreachable { flow: by_tcp });
    let (_, flow, again) = driven.sent.pop().expect("the re-INVITE again");
    let by_udp = support::flow("192.0.2.1:5060", "198.51.100.9:5060");
    assert_eq!(flow, by_udp);
    driven.packet(&response(&again, "200 OK", "", host, ANSWER));
    let (_, flow, ack) = driven.sent.pop().expect("an ACK");
    assert!(flow == by_udp && ack.starts_with("ACK "), "{ack}");
}
