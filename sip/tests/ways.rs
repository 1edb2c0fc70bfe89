//! What the way it took does not carry: the next way of a call of ours, redirects, and
//! the next address of a host that a dialog names.

mod support;

use core::time::Duration;

use offhook_sip::{
    CallKey, Command, EndCause, EndpointConfig, Event, Flow, Input, Invite, Party, StatusCode,
    TransferOrder, TransferTarget, Transport, TrunkKey, Way,
};
use support::*;

fn way(host: &str, trunk: u32) -> Way {
    Way {
        flow: flow("192.0.2.1:5060", &format!("{host}:5060")),
        trunk: Some(TrunkKey(trunk)),
        target: uri(&format!("sip:bob@{host}")),
        from: Party {
            display: None,
            uri: uri(&format!("sip:box{trunk}@192.0.2.1")),
        },
        asserted: None,
        private: false,
    }
}

/// Places a call with these ways.
fn dial(driven: &mut Driven, mut ways: Vec<Way>) -> CallKey {
    let key = driven.endpoint.next_key();
    let first = ways.remove(0);
    driven.command(Command::Invite(Box::new(Invite {
        key,
        way: first,
        further: ways,
        to_display: None,
        call_id: None,
        offer: OFFER.to_vec(),
        headers: Vec::new(),
    })));
    key
}

fn three() -> Vec<Way> {
    vec![
        way("198.51.100.7", 1),
        way("198.51.100.8", 1),
        way("203.0.113.9", 2),
    ]
}

/// Where each INVITE went so far.
fn invited(driven: &Driven) -> Vec<String> {
    let sent = driven.sent.iter();
    let invites = sent.filter(|(_, _, text)| text.starts_with("INVITE "));
    let mut hosts: Vec<_> = invites
        .map(|(_, at, _)| at.remote.ip().to_string())
        .collect();
    hosts.dedup();
    hosts
}

fn last_invite(driven: &Driven) -> String {
    let mut sent = driven.sent.iter().rev();
    let found = sent.find(|(_, _, text)| text.starts_with("INVITE "));
    found.expect("an INVITE").2.clone()
}

fn failed(driven: &mut Driven) -> Option<StatusCode> {
    driven
        .take_events()
        .into_iter()
        .find_map(|event| match event {
            Event::Failed { failure, .. } => Some(failure.status),
            _ => None,
        })
}

#[test]
fn what_the_way_refuses_goes_on_and_what_the_callee_refuses_does_not() {
    let table = [
        ("503 Service Unavailable", "", true),
        ("500 Server Internal Error", "", true),
        ("408 Request Timeout", "", true),
        ("504 Server Time-out", "", true),
        ("599 Odd", "", true),
        ("403 Forbidden", "", false),
        ("404 Not Found", "", false),
        ("480 Temporarily Unavailable", "", false),
        ("486 Busy Here", "", false),
        ("603 Decline", "", false),
        (
            "503 Service Unavailable",
            "Reason: Q.850;cause=34\r\n",
            true,
        ),
        (
            "503 Service Unavailable",
            "Reason: Q.850;cause=17\r\n",
            false,
        ),
        ("500 Error", "Reason: Q.850;cause=1\r\n", false),
    ];
    for (status, lines, goes_on) in table {
        let mut driven = Driven::new();
        dial(&mut driven, three());
        let invite = last_invite(&driven);
        driven.packet(&response(&invite, status, "x", lines, b""));
        assert_eq!(invited(&driven).len() == 2, goes_on, "{status} {lines}");
        assert_eq!(failed(&mut driven).is_none(), goes_on, "{status} {lines}");
    }
}

#[test]
fn each_way_has_its_own_trunk_and_number_and_the_last_refusal_is_told() {
    let mut driven = Driven::new();
    dial(&mut driven, three());
    for (host, user) in [
        ("198.51.100.7", "box1"),
        ("198.51.100.8", "box1"),
        ("203.0.113.9", "box2"),
    ] {
        let invite = last_invite(&driven);
        assert!(
            invite.starts_with(&format!("INVITE sip:bob@{host} ")),
            "{invite}"
        );
        assert!(header(&invite, "From").contains(user), "{invite}");
        driven.packet(&response(&invite, "503 Full", "x", "", b""));
    }
    assert_eq!(
        invited(&driven),
        ["198.51.100.7", "198.51.100.8", "203.0.113.9"]
    );
    assert_eq!(failed(&mut driven), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(driven.endpoint.counters().rerouted, 2);
    driven.run_for(Duration::from_secs(100));
    assert_eq!(
        (
            driven.endpoint.call_count(),
            driven.endpoint.transaction_count()
        ),
        (0, 0)
    );
}

#[test]
fn a_second_invite_is_no_repetition_of_the_first() {
    let mut driven = Driven::new();
    dial(&mut driven, three());
    let first = last_invite(&driven);
    driven.packet(&response(&first, "503 Full", "x", "", b""));
    let second = last_invite(&driven);
    assert_eq!(header(&first, "Call-ID"), header(&second, "Call-ID"));
    assert_ne!(header(&first, "CSeq"), header(&second, "CSeq"));
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
}

#[test]
fn silence_of_four_seconds_is_enough_when_there_is_another_way_and_not_else() {
    let mut driven = Driven::new();
    dial(&mut driven, three());
    driven.run_for(millis(3900));
    assert_eq!(invited(&driven).len(), 1);
    driven.run_for(millis(200));
    assert_eq!(invited(&driven).len(), 2);
    driven.run_for(millis(4000));
    assert_eq!(invited(&driven).len(), 3, "the last way");
    driven.run_for(millis(31_000));
    assert_eq!(failed(&mut driven), None, "the last way has its 32 s");
    driven.run_for(millis(2000));
    assert_eq!(failed(&mut driven), Some(StatusCode::REQUEST_TIMEOUT));
}

#[test]
fn a_trying_holds_the_way_and_a_ring_makes_its_timeout_the_callees() {
    let mut driven = Driven::new();
    dial(&mut driven, three());
    let invite = last_invite(&driven);
    driven.packet(&response(&invite, "100 Trying", "", "", b""));
    driven.run_for(Duration::from_secs(20));
    assert_eq!(invited(&driven).len(), 1, "somebody works on it");
    driven.packet(&response(&invite, "180 Ringing", "x", "", b""));
    driven.packet(&response(&invite, "408 Request Timeout", "x", "", b""));
    assert_eq!(failed(&mut driven), Some(StatusCode::REQUEST_TIMEOUT));
    assert_eq!(invited(&driven).len(), 1, "it rang: nobody was there");
}

#[test]
fn a_way_that_does_not_exist_is_left_at_once() {
    let mut driven = Driven::new();
    let mut ways = three();
    ways[0].flow.transport = Transport::Tcp;
    let gone = ways[0].flow;
    dial(&mut driven, ways);
    driven.input(Input::Unreachable { flow: gone });
    assert_eq!(invited(&driven), ["198.51.100.7", "198.51.100.8"]);
}

/// The first way was left in silence, and answers after all.
fn left_first() -> (Driven, CallKey, String) {
    let mut driven = Driven::new();
    let key = dial(&mut driven, three());
    let first = last_invite(&driven);
    driven.run_for(millis(4100));
    assert_eq!(invited(&driven).len(), 2);
    driven.sent.clear();
    (driven, key, first)
}

#[test]
fn a_late_ring_of_a_way_that_was_left_is_taken_back() {
    let (mut driven, _, first) = left_first();
    driven.packet(&response(&first, "180 Ringing", "late", "", b""));
    let cancel = driven.take_sent().pop().expect("a CANCEL");
    assert!(
        cancel.starts_with("CANCEL sip:bob@198.51.100.7 "),
        "{cancel}"
    );
    assert_eq!(header(&cancel, "Via"), header(&first, "Via"));
    driven.packet(&response(&first, "180 Ringing", "late", "", b""));
    assert!(driven.take_sent().is_empty(), "one CANCEL is enough");
    driven.packet(&response(&first, "487 Request Terminated", "late", "", b""));
    assert_eq!(driven.take_lines(), ["ACK sip:bob@198.51.100.7 SIP/2.0"]);
    let told = driven.take_events();
    assert!(
        !told
            .iter()
            .any(|event| matches!(event, Event::Progress { .. } | Event::Failed { .. }))
    );
}

#[test]
fn a_late_answer_of_a_way_that_was_left_is_hung_up_and_the_call_goes_on() {
    let (mut driven, key, first) = left_first();
    let second_way = {
        driven.run_for(millis(600));
        last_invite(&driven)
    };
    driven.sent.clear();
    let contact = "Contact: <sip:bob@198.51.100.7:5062>\r\n";
    driven.packet(&response(&first, "200 OK", "late", contact, ANSWER));
    let sent = driven.take_sent();
    assert!(
        sent[0].starts_with("ACK sip:bob@198.51.100.7:5062 "),
        "{}",
        sent[0]
    );
    assert!(
        sent[1].starts_with("BYE sip:bob@198.51.100.7:5062 "),
        "{}",
        sent[1]
    );
    assert_eq!(tag(header(&sent[1], "To")), "late");
    let number = |text: &str| header(text, "CSeq").split(' ').next().map(str::to_owned);
    assert_eq!(
        number(&sent[0]),
        number(&first),
        "the ACK is the first INVITE's"
    );
    driven.packet(&response(
        &second_way,
        "200 OK",
        "b",
        "Contact: <sip:bob@198.51.100.8>\r\n",
        ANSWER,
    ));
    let told = driven.take_events();
    let answered = told
        .iter()
        .filter(|event| matches!(event, Event::Answered { .. }))
        .count();
    assert_eq!(answered, 1, "{told:?}");
    driven.command(Command::Hangup { key, reason: None });
    driven.run_for(Duration::from_secs(200));
    assert_eq!(
        (
            driven.endpoint.call_count(),
            driven.endpoint.transaction_count()
        ),
        (0, 0)
    );
}

fn following() -> Driven {
    Driven::with(EndpointConfig {
        redirects: 2,
        ..EndpointConfig::default()
    })
}

fn redirect(driven: &mut Driven) {
    let invite = last_invite(driven);
    let contact = "Contact: <sip:bob@203.0.113.5>;q=0.7, <sip:bob@203.0.113.6>\r\n";
    driven.packet(&response(
        &invite,
        "302 Moved Temporarily",
        "x",
        contact,
        b"",
    ));
}

fn asked(driven: &mut Driven) -> Option<(Flow, Vec<String>)> {
    driven
        .take_events()
        .into_iter()
        .find_map(|event| match event {
            Event::Redirected { flow, failure, .. } => Some((flow, failure.contacts)),
            _ => None,
        })
}

#[test]
fn a_redirect_leads_where_the_application_lets_it_and_no_further_than_it_may() {
    let mut driven = following();
    let key = dial(&mut driven, vec![way("198.51.100.7", 1)]);
    for step in 0..2_u32 {
        redirect(&mut driven);
        let (_, contacts) = asked(&mut driven).expect("where to");
        assert_eq!(contacts.len(), 2);
        let ways = vec![way(&format!("203.0.113.{}", 5 + step), 1)];
        driven.command(Command::Follow { key, ways });
    }
    assert_eq!(
        invited(&driven),
        ["198.51.100.7", "203.0.113.5", "203.0.113.6"]
    );
    redirect(&mut driven);
    assert_eq!(
        failed(&mut driven),
        Some(StatusCode::MOVED_TEMPORARILY),
        "twice is enough"
    );
}

#[test]
fn a_redirect_that_nobody_follows_fails_the_call_at_once_or_after_a_while() {
    let mut driven = following();
    let key = dial(&mut driven, vec![way("198.51.100.7", 1)]);
    redirect(&mut driven);
    driven.command(Command::Follow {
        key,
        ways: Vec::new(),
    });
    assert_eq!(failed(&mut driven), Some(StatusCode::MOVED_TEMPORARILY));
    let mut silent = following();
    dial(&mut silent, vec![way("198.51.100.7", 1)]);
    redirect(&mut silent);
    silent.run_for(millis(4100));
    assert_eq!(failed(&mut silent), Some(StatusCode::MOVED_TEMPORARILY));
    let mut plain = Driven::new();
    dial(&mut plain, vec![way("198.51.100.7", 1)]);
    redirect(&mut plain);
    assert_eq!(failed(&mut plain), Some(StatusCode::MOVED_TEMPORARILY));
}

#[test]
fn a_call_can_be_given_up_between_a_redirect_and_what_follows() {
    let mut driven = following();
    let key = dial(&mut driven, vec![way("198.51.100.7", 1)]);
    redirect(&mut driven);
    driven.take_events();
    driven.command(Command::Hangup { key, reason: None });
    let cause = EndCause::LocalCancel;
    assert!(driven.take_events().contains(&Event::Ended { key, cause }));
    let ways = vec![way("203.0.113.5", 1)];
    driven.command(Command::Follow { key, ways });
    assert_eq!(invited(&driven).len(), 1);
}

const HOST: &str = "Contact: <sip:bob@pbx.example>\r\n";

/// A call of ours whose peer says that it is at a host, which has these addresses.
fn at_host(addresses: &'static [&'static str]) -> (Driven, CallKey) {
    let mut driven = Driven::new();
    driven.zone = vec![(Transport::Udp, "pbx.example", addresses)];
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "200 OK", "far", HOST, ANSWER));
    driven.take_events();
    (driven, key)
}

/// What went where, repetitions aside: method and the end of the address.
fn went(driven: &Driven) -> Vec<String> {
    let went = driven.sent.iter().map(|(_, at, text)| {
        let host = at.remote.ip().to_string();
        let last = host.rsplit('.').next().unwrap_or_default();
        format!("{} {last}", text.split(' ').next().unwrap_or_default())
    });
    let mut went: Vec<_> = went.collect();
    went.dedup();
    went
}

fn last(driven: &Driven) -> (Flow, String) {
    let (_, flow, text) = driven.sent.last().expect("something was sent");
    (*flow, text.clone())
}

fn reinvite(driven: &mut Driven, key: CallKey) {
    let sdp = OFFER.to_vec();
    driven.command(Command::Reinvite { key, sdp });
}

const TWO: &[&str] = &["198.51.100.8:5060", "198.51.100.9:5060"];

#[test]
fn every_request_in_a_dialog_tries_all_addresses_of_its_host_and_then_where_it_came_from() {
    let hang_up = |key| Command::Hangup { key, reason: None };
    let info = |key| Command::Info {
        key,
        kind: "application/dtmf-relay".into(),
        body: b"Signal=1\r\n".to_vec(),
    };
    let change = |key| Command::Reinvite {
        key,
        sdp: OFFER.to_vec(),
    };
    let transfer = |key| {
        Command::Transfer(Box::new(TransferOrder {
            key,
            to: TransferTarget::Uri(uri("sip:carol@192.0.2.50")),
        }))
    };
    let table: [(&str, &dyn Fn(CallKey) -> Command); 4] = [
        ("BYE", &hang_up),
        ("INFO", &info),
        ("INVITE", &change),
        ("REFER", &transfer),
    ];
    for (method, command) in table {
        let (mut driven, key) = at_host(TWO);
        assert_eq!(went(&driven), ["ACK 8"]);
        driven.sent.clear();
        driven.command(command(key));
        let (_, first) = last(&driven);
        driven.run_for(millis(3_999));
        assert_eq!(went(&driven), [format!("{method} 8")]);
        driven.run_for(millis(1));
        let (_, second) = last(&driven);
        assert_ne!(header(&first, "Via"), header(&second, "Via"), "{method}");
        driven.run_for(millis(8_000));
        let all = [8, 9, 7].map(|at| format!("{method} {at}"));
        assert_eq!(went(&driven), all);
        driven.run_for(millis(60_000));
        let ended = driven.take_events();
        let releases = ended
            .iter()
            .filter(|event| matches!(event, Event::Released { .. }));
        let over = matches!(method, "BYE" | "INVITE");
        assert_eq!(releases.count(), usize::from(over), "{method} {ended:?}");
    }
}

#[test]
fn an_acknowledgement_goes_where_its_request_was_answered_and_what_follows_too() {
    let (mut driven, key) = at_host(TWO);
    driven.sent.clear();
    reinvite(&mut driven, key);
    let (_, first) = last(&driven);
    driven.packet(&response(&first, "503 Service Unavailable", "", "", b""));
    let (_, second) = last(&driven);
    driven.packet(&response(&second, "200 OK", "", HOST, ANSWER));
    assert!(matches!(driven.take_events()[..], [Event::Changed { .. }]));
    assert_eq!(went(&driven), ["INVITE 8", "ACK 8", "INVITE 9", "ACK 9"]);
    driven.sent.clear();
    driven.command(Command::Hangup { key, reason: None });
    assert_eq!(went(&driven), ["BYE 9"], "the first rests");
    assert_eq!(driven.asked.len(), 1);
}

#[test]
fn who_says_anything_is_not_left_and_a_late_answer_gets_its_ack_where_it_came_from() {
    let (mut driven, key) = at_host(TWO);
    driven.sent.clear();
    reinvite(&mut driven, key);
    let (_, first) = last(&driven);
    driven.run_for(millis(3_000));
    driven.packet(&response(&first, "100 Trying", "", "", b""));
    driven.run_for(millis(20_000));
    driven.packet(&response(&first, "200 OK", "", HOST, ANSWER));
    assert_eq!(went(&driven), ["INVITE 8", "ACK 8"]);
    driven.sent.clear();
    reinvite(&mut driven, key);
    let (_, first) = last(&driven);
    driven.run_for(millis(4_000));
    let (_, second) = last(&driven);
    driven.packet(&response(&second, "200 OK", "", HOST, ANSWER));
    driven.packet(&response(&first, "200 OK", "", HOST, ANSWER));
    assert_eq!(went(&driven), ["INVITE 8", "INVITE 9", "ACK 9", "ACK 8"]);
    let (_, ack) = last(&driven);
    let number = header(&first, "CSeq").split(' ').next().unwrap_or_default();
    assert_eq!(header(&ack, "CSeq"), format!("{number} ACK"));
}

#[test]
fn a_refusal_stands_where_a_host_has_no_other_address() {
    let (mut driven, key) = at_host(&["198.51.100.7:5060"]);
    driven.sent.clear();
    reinvite(&mut driven, key);
    let (_, asked) = last(&driven);
    driven.packet(&response(&asked, "503 Service Unavailable", "", "", b""));
    assert_eq!(went(&driven), ["INVITE 7", "ACK 7"]);
    let told = driven.take_events();
    assert!(matches!(told[..], [Event::Unchanged { status, .. }] if status.code() == 503));
}
