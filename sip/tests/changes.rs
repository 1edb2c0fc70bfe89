//! What happens inside a call besides its beginning and end: reliable 1xx,
//! UPDATE, re-INVITE of ours, session timers, INFO, transfer.

mod support;

use core::time::Duration;

use offhook_sip::{
    CallKey, Command, EndCause, EndpointConfig, Event, ReinviteAnswer, StatusCode, TransferOrder,
    TransferOutcome, TransferTarget,
};
use support::*;

fn ring(driven: &mut Driven, key: CallKey, code: u16, sdp: Option<&[u8]>) {
    driven.command(Command::Ring {
        key,
        status: StatusCode::new(code).expect("a code"),
        sdp: sdp.map(<[u8]>::to_vec),
        headers: Vec::new(),
    });
}

fn line_of<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// An incoming call whose INVITE has these lines.
fn offered(driven: &mut Driven, lines: &str) -> CallKey {
    driven.packet(&request("INVITE", 1, "1", "", lines, OFFER));
    driven.incoming_key()
}

/// The same, answered and acknowledged; its key, our tag and the 200.
fn talking(driven: &mut Driven, lines: &str) -> (CallKey, String, String) {
    let key = offered(driven, lines);
    accept(driven, key);
    let ok = driven.take_sent().pop().expect("a 200");
    let ours = tag(header(&ok, "To")).to_owned();
    driven.packet(&request("ACK", 1, "ack1", &ours, "", b""));
    driven.take_events();
    (key, ours, ok)
}

/// A call that we placed, answered with these lines.
fn answered(driven: &mut Driven, lines: &str) -> CallKey {
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    let lines = format!("{CONTACT}{lines}");
    driven.packet(&response(&invite, "200 OK", "far", &lines, ANSWER));
    driven.take_sent();
    driven.take_events();
    key
}

/// A request of the far end in a call that we placed.
fn from_far(
    driven: &Driven,
    ours: &str,
    method: &str,
    number: u32,
    lines: &str,
    body: &[u8],
) -> String {
    let _ = driven;
    let kind = if body.is_empty() || lines.contains("Content-Type") {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let from = header(ours, "To");
    let from = if from.contains(";tag=") {
        from.to_owned()
    } else {
        format!("{from};tag=far")
    };
    format!(
        "{method} sip:offhook@192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKfar{number}{method};rport\r\n\
         From: {from}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n{CONTACT}{lines}{kind}\
         Content-Length: {}\r\n\r\n{}",
        header(ours, "From"),
        header(ours, "Call-ID"),
        body.len(),
        String::from_utf8_lossy(body)
    )
}

#[test]
fn early_media_is_sent_reliably_to_who_can_and_repeated_until_prack() {
    let mut driven = Driven::new();
    let key = offered(&mut driven, "Supported: 100rel\r\n");
    ring(&mut driven, key, 183, Some(ANSWER));
    let start = driven.now;
    driven.run_for(millis(2000));
    let first = driven.sent[0].2.clone();
    assert_eq!(driven.take_times(start), [0, 500, 1500]);
    assert_eq!(header(&first, "Require"), "100rel");
    let number: u32 = header(&first, "RSeq").parse().expect("a number");
    // The answer waits for the PRACK (RFC 3262 §3).
    accept(&mut driven, key);
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    let ours = tag(header(&first, "To")).to_owned();
    let wrong = format!("RAck: {} 1 INVITE\r\n", number + 1);
    driven.packet(&request("PRACK", 2, "p1", &ours, &wrong, b""));
    assert_eq!(
        driven.take_lines(),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );
    let right = format!("RAck: {number} 1 INVITE\r\n");
    driven.packet(&request("PRACK", 3, "p2", &ours, &right, b""));
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[0]), "SIP/2.0 200 OK");
    assert_eq!(header(&sent[0], "CSeq"), "3 PRACK");
    assert_eq!(header(&sent[1], "CSeq"), "1 INVITE");
    assert!(!sent[1].contains("v=0"), "one answer is enough");
}

#[test]
fn a_180_is_reliable_only_for_who_insists() {
    for (lines, reliable) in [
        ("Supported: 100rel\r\n", false),
        ("Require: 100rel\r\n", true),
        ("", false),
    ] {
        let mut driven = Driven::new();
        let key = offered(&mut driven, lines);
        ring(&mut driven, key, 180, None);
        let ringing = driven.take_sent().pop().expect("a 180");
        assert_eq!(line_of(&ringing, "RSeq").is_some(), reliable, "{lines}");
    }
}

#[test]
fn a_second_reliable_1xx_waits_for_the_prack_of_the_first() {
    let mut driven = Driven::new();
    let key = offered(&mut driven, "Require: 100rel\r\n");
    ring(&mut driven, key, 180, None);
    let first = driven.take_sent().pop().expect("a 180");
    ring(&mut driven, key, 183, Some(ANSWER));
    ring(&mut driven, key, 180, None);
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    let number: u32 = header(&first, "RSeq").parse().expect("a number");
    let ours = tag(header(&first, "To")).to_owned();
    let rack = format!("RAck: {number} 1 INVITE\r\n");
    driven.packet(&request("PRACK", 2, "p", &ours, &rack, b""));
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[1]), "SIP/2.0 183 Session Progress");
    assert_eq!(header(&sent[1], "RSeq"), (number + 1).to_string());
}

#[test]
fn a_reliable_1xx_without_prack_refuses_the_call_after_32_s() {
    let mut driven = Driven::new();
    let key = offered(&mut driven, "Require: 100rel\r\n");
    ring(&mut driven, key, 180, None);
    driven.take_events();
    driven.run_for(millis(32_000));
    let refusals: Vec<_> = driven.take_lines();
    assert_eq!(refusals.last().expect("one"), "SIP/2.0 504 Server Time-out");
    let cause = EndCause::PrackTimeout;
    assert_eq!(driven.take_events()[0], Event::Ended { key, cause });
    driven.run_for(millis(64_000));
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn a_late_offer_is_answered_in_the_prack() {
    let mut driven = Driven::new();
    driven.packet(&request("INVITE", 1, "1", "", "Require: 100rel\r\n", b""));
    let key = driven.incoming_key();
    ring(&mut driven, key, 183, Some(ANSWER));
    let ringing = driven.take_sent().pop().expect("a 183");
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq"));
    let ours = tag(header(&ringing, "To")).to_owned();
    driven.take_events();
    driven.packet(&request("PRACK", 2, "p", &ours, &rack, OFFER));
    let sdp = OFFER.to_vec();
    assert_eq!(driven.take_events(), [Event::EarlyAnswer { key, sdp }]);
    accept(&mut driven, key);
    let ok = driven.take_sent().pop().expect("a 200");
    assert!(!ok.contains("v=0"));
    driven.packet(&request("ACK", 1, "a", &ours, "", b""));
    assert_eq!(driven.take_events(), [Event::Confirmed { key, sdp: None }]);
}

#[test]
fn a_reliable_1xx_of_the_peer_is_acknowledged_once_and_in_order() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    let reliable = |number: u32, tag: &str| {
        let lines = format!("{CONTACT}Require: 100rel\r\nRSeq: {number}\r\n");
        response(&invite, "183 Session Progress", tag, &lines, ANSWER)
    };
    driven.packet(&reliable(7, "one"));
    let prack = driven.take_sent().remove(0);
    assert_eq!(
        first_line(&prack),
        "PRACK sip:bob@198.51.100.7:5060 SIP/2.0"
    );
    let number = header(&invite, "CSeq").split(' ').next().expect("a number");
    assert_eq!(header(&prack, "RAck"), format!("7 {number} INVITE"));
    driven.packet(&response(&prack, "200 OK", "one", "", b""));
    // Repeated, too far ahead, then the next, and one of another branch.
    driven.packet(&reliable(7, "one"));
    driven.packet(&reliable(9, "one"));
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    driven.packet(&reliable(8, "one"));
    driven.packet(&reliable(3, "two"));
    let pracks = driven.take_sent();
    assert_eq!(pracks.len(), 2);
    assert_eq!(tag(header(&pracks[1], "To")), "two");
    let progress = driven.take_events();
    assert_eq!(progress.len(), 3);
    driven.packet(&response(&invite, "200 OK", "one", CONTACT, b""));
    let ack = driven.take_sent().remove(0);
    assert!(header(&ack, "CSeq").starts_with(number));
    driven.command(Command::Hangup { key, reason: None });
    let bye = driven.take_sent().remove(0);
    let last: u32 = header(&pracks[0], "CSeq")
        .split(' ')
        .next()
        .expect("n")
        .parse()
        .expect("n");
    assert_eq!(header(&bye, "CSeq"), format!("{} BYE", last + 1));
}

#[test]
fn update_refreshes_or_changes_the_session_without_an_ack() {
    let mut driven = Driven::new();
    let (key, ours, _) = talking(&mut driven, "");
    driven.packet(&request("UPDATE", 2, "u1", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(driven.take_events(), []);
    driven.packet(&request("UPDATE", 3, "u2", &ours, "", OFFER));
    let offer = Some(OFFER.to_vec());
    assert_eq!(driven.take_events(), [Event::Reinvite { key, offer }]);
    // Another offer while this one waits.
    driven.packet(&request("UPDATE", 4, "u3", &ours, "", OFFER));
    assert_eq!(driven.take_lines(), ["SIP/2.0 500 Server Internal Error"]);
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    let ok = driven.take_sent().remove(0);
    assert!(ok.starts_with("SIP/2.0 200") && ok.contains("v=0"));
    assert_eq!(
        driven.take_events(),
        [Event::ReinviteConfirmed { key, sdp: None }]
    );
    driven.run_for(millis(40_000));
    assert_eq!(
        driven.take_lines(),
        [] as [&str; 0],
        "nothing waits for an ACK"
    );
}

#[test]
fn an_update_before_the_answer_is_told_to_wait_or_that_we_are_asking_too() {
    let mut driven = Driven::new();
    let key = offered(&mut driven, "");
    ring(&mut driven, key, 180, None);
    let ringing = driven.take_sent().pop().expect("a 180");
    let ours = tag(header(&ringing, "To")).to_owned();
    driven.packet(&request("UPDATE", 2, "u", &ours, "", OFFER));
    assert_eq!(driven.take_lines(), ["SIP/2.0 500 Server Internal Error"]);
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "180 Ringing", "far", CONTACT, b""));
    let update = from_far(&driven, &invite, "UPDATE", 1, "", OFFER);
    driven.packet(&update);
    assert_eq!(driven.take_lines(), ["SIP/2.0 491 Request Pending"]);
}

#[test]
fn our_reinvite_is_acknowledged_and_told_and_its_200_again_too() {
    let mut driven = Driven::new();
    let key = answered(&mut driven, "");
    driven.command(Command::Reinvite {
        key,
        sdp: OFFER.to_vec(),
    });
    let reinvite = driven.take_sent().remove(0);
    assert_eq!(
        first_line(&reinvite),
        "INVITE sip:bob@198.51.100.7:5060 SIP/2.0"
    );
    let moved = "Contact: <sip:bob@198.51.100.8:5090>\r\n";
    let ok = response(&reinvite, "200 OK", "far", moved, ANSWER);
    driven.packet(&ok);
    let ack = driven.take_sent().remove(0);
    assert_eq!(first_line(&ack), "ACK sip:bob@198.51.100.8:5090 SIP/2.0");
    let sdp = Some(ANSWER.to_vec());
    assert_eq!(driven.take_events(), [Event::Changed { key, sdp }]);
    driven.packet(&ok);
    assert_eq!(driven.take_sent(), [ack]);
}

#[test]
fn glare_is_491_here_and_another_try_there() {
    let mut driven = Driven::new();
    let key = answered(&mut driven, "");
    let sdp = OFFER.to_vec();
    driven.command(Command::Reinvite { key, sdp });
    let ours = driven.take_sent().remove(0);
    let theirs = from_far(&driven, &ours, "INVITE", 1, "", OFFER);
    driven.packet(&theirs);
    assert_eq!(driven.take_lines(), ["SIP/2.0 491 Request Pending"]);
    let start = driven.now;
    driven.packet(&response(&ours, "491 Request Pending", "far", "", b""));
    driven.take_sent();
    driven.run_for(millis(4100));
    let (at, _, again) = driven
        .sent
        .iter()
        .find(|(_, _, text)| text.starts_with("INVITE"))
        .expect("another try")
        .clone();
    let waited = (at - start).as_millis();
    assert!((2100..=4000).contains(&waited), "{waited}");
    driven.packet(&response(&again, "200 OK", "far", CONTACT, ANSWER));
    let events = driven.take_events();
    assert!(matches!(events[..], [Event::Changed { .. }]), "{events:?}");
}

#[test]
fn a_reinvite_that_finds_no_call_ends_it_and_a_refused_one_does_not() {
    for (status, over) in [("481 Gone", true), ("408 Late", true), ("488 No", false)] {
        let mut driven = Driven::new();
        let key = answered(&mut driven, "");
        let sdp = OFFER.to_vec();
        driven.command(Command::Reinvite { key, sdp });
        let reinvite = driven.take_sent().remove(0);
        driven.packet(&response(&reinvite, status, "far", "", b""));
        let lines = driven.take_lines();
        assert_eq!(
            lines.iter().any(|line| line.starts_with("BYE")),
            over,
            "{status}"
        );
        let ended = |event: &Event| {
            matches!(
                event,
                Event::Ended {
                    cause: EndCause::SessionExpired,
                    ..
                }
            )
        };
        assert_eq!(driven.take_events().iter().any(ended), over, "{status}");
    }
}

#[test]
fn a_reinvite_asked_for_while_the_peers_waits_comes_after_it() {
    let mut driven = Driven::new();
    let (key, ours, _) = talking(&mut driven, "");
    driven.packet(&request("INVITE", 2, "r", &ours, "", OFFER));
    driven.take_events();
    let sdp = OFFER.to_vec();
    driven.command(Command::Reinvite { key, sdp });
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    driven.packet(&request("ACK", 2, "a", &ours, "", b""));
    driven.run_for(millis(500));
    let lines = driven.take_lines();
    assert_eq!(
        lines,
        [
            "SIP/2.0 200 OK",
            "INVITE sip:alice@198.51.100.7:5060 SIP/2.0"
        ]
    );
}

#[test]
fn the_interval_and_the_refresher_are_agreed_as_the_rfc_says() {
    let table = [
        ("", Some("1800;refresher=uas"), None),
        (
            "Supported: timer\r\n",
            Some("1800;refresher=uac"),
            Some("timer"),
        ),
        (
            "Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n",
            Some("600;refresher=uas"),
            None,
        ),
        (
            "k: timer\r\nx: 7200\r\nMin-SE: 3600\r\n",
            Some("3600;refresher=uac"),
            Some("timer"),
        ),
        ("Session-Expires: 300\r\n", Some("300;refresher=uas"), None),
    ];
    for (lines, expires, require) in table {
        let mut driven = Driven::new();
        let (_, _, ok) = talking(&mut driven, lines);
        assert_eq!(line_of(&ok, "Session-Expires"), expires, "{lines}");
        assert_eq!(line_of(&ok, "Require"), require, "{lines}");
    }
}

#[test]
fn an_interval_below_90_s_is_refused_with_ours() {
    let mut driven = Driven::new();
    driven.packet(&request(
        "INVITE",
        1,
        "1",
        "",
        "Supported: timer\r\nSession-Expires: 60\r\n",
        OFFER,
    ));
    let refusal = driven.take_sent().remove(0);
    assert_eq!(
        first_line(&refusal),
        "SIP/2.0 422 Session Interval Too Small"
    );
    assert_eq!(header(&refusal, "Min-SE"), "90");
}

#[test]
fn a_peer_that_does_not_refresh_is_hung_up_and_one_that_does_is_not() {
    for refreshes in [false, true] {
        let mut driven = Driven::new();
        let lines = "Supported: timer\r\nSession-Expires: 300;refresher=uac\r\n";
        let (key, ours, _) = talking(&mut driven, lines);
        driven.run_for(Duration::from_secs(150));
        if refreshes {
            driven.packet(&request("UPDATE", 2, "u", &ours, lines, b""));
        }
        driven.take_sent();
        driven.run_for(Duration::from_secs(150));
        let cause = EndCause::SessionExpired;
        let over = driven.take_events().contains(&Event::Ended { key, cause });
        assert_eq!(over, !refreshes);
    }
}

#[test]
fn we_refresh_by_update_where_the_peer_takes_it_and_by_reinvite_where_not() {
    for (allow, method) in [("Allow: INVITE, UPDATE\r\n", "UPDATE"), ("", "INVITE")] {
        let mut driven = Driven::new();
        let lines = format!("{allow}Session-Expires: 200;refresher=uac\r\nRequire: timer\r\n");
        let key = answered(&mut driven, &lines);
        for _ in 0..5 {
            driven.run_for(Duration::from_secs(101));
            let sent = driven.take_sent();
            let refresh = sent.first().expect("a refresh");
            assert!(refresh.starts_with(method), "{refresh}");
            assert_eq!(header(refresh, "Session-Expires"), "200;refresher=uac");
            assert_eq!(refresh.contains("v=0"), method == "INVITE");
            let lines = format!("{CONTACT}Session-Expires: 200;refresher=uac\r\n");
            let body = if method == "INVITE" { ANSWER } else { b"" };
            driven.packet(&response(refresh, "200 OK", "far", &lines, body));
            driven.take_sent();
        }
        let over = |event: &Event| matches!(event, Event::Ended { .. });
        assert!(!driven.take_events().iter().any(over));
        // The peer is gone: the refresh is not answered, so the call is over.
        driven.run_for(Duration::from_secs(140));
        let cause = EndCause::SessionExpired;
        assert!(driven.take_events().contains(&Event::Ended { key, cause }));
    }
}

#[test]
fn an_update_that_is_refused_as_a_method_becomes_a_reinvite() {
    let mut driven = Driven::new();
    let lines = "Allow: UPDATE\r\nSession-Expires: 200;refresher=uac\r\n";
    answered(&mut driven, lines);
    driven.run_for(Duration::from_secs(100));
    let update = driven.take_sent().remove(0);
    driven.packet(&response(&update, "405 Method Not Allowed", "far", "", b""));
    let lines = driven.take_lines();
    assert!(lines[0].starts_with("INVITE"), "{lines:?}");
}

#[test]
fn a_peer_that_takes_longer_sessions_only_gets_one() {
    let mut driven = Driven::with(EndpointConfig {
        session_expires: 300,
        ..EndpointConfig::default()
    });
    driven.dial();
    let invite = driven.take_sent().remove(0);
    assert_eq!(header(&invite, "Session-Expires"), "300");
    let lines = "Min-SE: 900\r\n";
    driven.packet(&response(
        &invite,
        "422 Session Interval Too Small",
        "far",
        lines,
        b"",
    ));
    let sent = driven.take_sent();
    assert!(sent[0].starts_with("ACK"));
    assert_eq!(header(&sent[1], "Session-Expires"), "900");
    assert_eq!(header(&sent[1], "Min-SE"), "900");
    driven.packet(&response(
        &sent[1],
        "422 Session Interval Too Small",
        "far",
        lines,
        b"",
    ));
    let events = driven.take_events();
    assert!(matches!(events[0], Event::Failed { .. }), "{events:?}");
}

#[test]
fn info_and_message_are_answered_and_subscribe_refused_with_what_there_is() {
    let mut driven = Driven::new();
    let (key, ours, _) = talking(&mut driven, "");
    let kind = "Content-Type: application/DTMF-relay; x=y\r\n";
    let mut info = request("INFO", 2, "i", &ours, kind, b"");
    info = info.replace(
        "Content-Length: 0\r\n\r\n",
        "Content-Length: 8\r\n\r\nSignal=5",
    );
    driven.packet(&info);
    driven.packet(&request("MESSAGE", 3, "m", &ours, "", b""));
    driven.packet(&request("INFO", 4, "j", "nobody", "", b""));
    driven.packet(&request(
        "SUBSCRIBE",
        5,
        "s",
        "",
        "Event: presence\r\n",
        b"",
    ));
    driven.packet(&request("MESSAGE", 6, "n", "", "", b""));
    let sent = driven.take_sent();
    let lines: Vec<_> = sent.iter().map(|text| first_line(text)).collect();
    assert_eq!(
        lines,
        [
            "SIP/2.0 200 OK",
            "SIP/2.0 200 OK",
            "SIP/2.0 481 Call/Transaction Does Not Exist",
            "SIP/2.0 489 Bad Event",
            "SIP/2.0 405 Method Not Allowed",
        ]
    );
    assert_eq!(header(&sent[3], "Allow-Events"), "refer");
    let allowed = header(&sent[4], "Allow");
    assert!(allowed.contains("OPTIONS") && !allowed.contains("MESSAGE"));
    let body = b"Signal=5".to_vec();
    let kind = "application/dtmf-relay".to_owned();
    assert_eq!(driven.take_events(), [Event::Info { key, kind, body }]);
}

fn notify(driven: &mut Driven, refer: &str, number: u32, state: &str, status: &str) {
    let lines = format!(
        "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
    );
    let body = format!("SIP/2.0 {status}\r\n");
    let text = from_far(driven, refer, "NOTIFY", number, &lines, body.as_bytes());
    driven.packet(&text);
}

fn order(key: CallKey, replaces: Option<CallKey>) -> Command {
    Command::Transfer(Box::new(TransferOrder {
        key,
        to: match replaces {
            Some(consult) => TransferTarget::PeerOf(consult),
            None => TransferTarget::Uri(uri("sip:carol@198.51.100.9")),
        },
    }))
}

fn transferring(driven: &mut Driven) -> (CallKey, String) {
    let key = answered(driven, "");
    driven.command(order(key, None));
    let refer = driven.take_sent().remove(0);
    assert_eq!(header(&refer, "Refer-To"), "<sip:carol@198.51.100.9>");
    (key, refer)
}

#[test]
fn a_transfer_is_followed_to_its_one_end() {
    let status = |code| StatusCode::new(code).expect("a code");
    let busy = TransferOutcome::Failed(status(486));
    /// NOTIFYs as state and status, what is told of them, and the end.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [u16], TransferOutcome);
    let table: &[Row<'_>] = &[
        (
            &[
                ("active", "100 Trying"),
                ("active;expires=60", "180 Ringing"),
                ("terminated", "200 OK"),
            ],
            &[180],
            TransferOutcome::Completed,
        ),
        (
            &[
                ("active", "100 Trying"),
                ("terminated;reason=noresource", "486 Busy Here"),
            ],
            &[],
            busy.clone(),
        ),
        (&[("active", "486 Busy Here")], &[], busy),
        (
            &[("terminated;reason=timeout", "100 Trying")],
            &[],
            TransferOutcome::Unreported,
        ),
        (
            &[("active", "100 Trying")],
            &[],
            TransferOutcome::Unreported,
        ),
        (&[], &[], TransferOutcome::Unreported),
    ];
    for (reports, progress, outcome) in table {
        let mut driven = Driven::new();
        let (key, refer) = transferring(&mut driven);
        driven.packet(&response(&refer, "202 Accepted", "far", "", b""));
        for (number, (state, status)) in (1..).zip(*reports) {
            notify(&mut driven, &refer, number, state, status);
            assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
        }
        driven.run_for(Duration::from_secs(300));
        let expected: Vec<_> = progress
            .iter()
            .map(|code| Event::TransferProgress {
                key,
                status: status(*code),
            })
            .chain([Event::TransferEnded {
                key,
                outcome: outcome.clone(),
            }])
            .collect();
        assert_eq!(driven.take_events(), expected);
        assert_eq!(driven.endpoint.call_count(), 1, "the call is as it was");
    }
}

#[test]
fn a_refused_unanswered_or_hung_up_transfer_is_told_as_such() {
    let (mut driven, refused) = (Driven::new(), StatusCode::DECLINE);
    let (key, refer) = transferring(&mut driven);
    driven.packet(&response(&refer, "603 Decline", "far", "", b""));
    let outcome = TransferOutcome::Refused(refused);
    assert_eq!(
        driven.take_events(),
        [Event::TransferEnded { key, outcome }]
    );
    notify(&mut driven, &refer, 1, "active", "100 Trying");
    assert_eq!(
        driven.take_lines(),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );

    let mut driven = Driven::new();
    let (key, _) = transferring(&mut driven);
    driven.run_for(Duration::from_secs(33));
    let outcome = TransferOutcome::Refused(StatusCode::REQUEST_TIMEOUT);
    assert_eq!(
        driven.take_events(),
        [Event::TransferEnded { key, outcome }]
    );

    let mut driven = Driven::new();
    let (key, refer) = transferring(&mut driven);
    driven.packet(&response(&refer, "202 Accepted", "far", "", b""));
    let bye = from_far(&driven, &refer, "BYE", 1, "", b"");
    driven.packet(&bye);
    let outcome = TransferOutcome::HungUp;
    assert_eq!(
        driven.take_events()[0],
        Event::TransferEnded { key, outcome }
    );
}

#[test]
fn a_user_is_named_where_the_peer_is_and_who_cannot_be_asked_is_told_at_once() {
    let mut driven = Driven::new();
    let key = answered(&mut driven, "");
    let order = |to| Command::Transfer(Box::new(TransferOrder { key, to }));
    driven.command(order(TransferTarget::User("+4930123".to_owned())));
    let refer = driven.take_sent().remove(0);
    let peer = "<sip:+4930123@198.51.100.7:5060>";
    assert_eq!(header(&refer, "Refer-To"), peer);
    let not_asked = Event::TransferEnded {
        key,
        outcome: TransferOutcome::NotAsked,
    };
    // One at a time.
    driven.command(order(TransferTarget::User("300".to_owned())));
    assert_eq!(driven.take_events(), core::slice::from_ref(&not_asked));
    driven.packet(&response(&refer, "603 Decline", "far", "", b""));
    driven.take_events();
    // Nobody can be named: that call is not there, or no user.
    driven.command(order(TransferTarget::PeerOf(CallKey(99))));
    driven.command(order(TransferTarget::User("a>b".to_owned())));
    assert_eq!(driven.take_events(), [not_asked.clone(), not_asked]);
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
}

#[test]
fn an_attended_transfer_names_the_other_call_as_its_peer_sees_it() {
    let mut driven = Driven::new();
    let consult = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "200 OK", "carol", CONTACT, ANSWER));
    driven.take_sent();
    let key = answered(&mut driven, "");
    driven.command(order(key, Some(consult)));
    let refer = driven.take_sent().remove(0);
    let expected = format!(
        "<sip:bob@198.51.100.7:5060?Replaces={}%3Bto-tag%3Dcarol%3Bfrom-tag%3D{}>",
        header(&invite, "Call-ID"),
        tag(header(&invite, "From"))
    );
    assert_eq!(header(&refer, "Refer-To"), expected);
}

#[test]
fn a_transfer_that_the_peer_asks_for_is_refused_unless_the_configuration_allows_it() {
    let refer = "Refer-To: <sip:carol@h?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n";
    let mut driven = Driven::new();
    let (_, ours, _) = talking(&mut driven, "");
    driven.packet(&request("REFER", 2, "r", &ours, refer, b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 603 Decline"]);
    assert_eq!(driven.take_events(), []);

    let mut driven = Driven::with(EndpointConfig {
        accept_transfers: true,
        ..EndpointConfig::default()
    });
    let (key, ours, _) = talking(&mut driven, "");
    driven.packet(&request("REFER", 2, "r", &ours, refer, b""));
    let asked = Event::TransferAsked {
        key,
        to: uri("sip:carol@h"),
        replaces: Some("a@b;to-tag=1;from-tag=2".into()),
        referred_by: None,
    };
    assert_eq!(driven.take_events(), [asked]);
    driven.command(Command::AnswerTransfer { key, accept: true });
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[0]), "SIP/2.0 202 Accepted");
    assert!(sent[1].ends_with("SIP/2.0 100 Trying\r\n"), "{}", sent[1]);
    assert_eq!(header(&sent[1], "Event"), "refer;id=2");
    driven.packet(&response(&sent[1], "200 OK", "", "", b""));
    let status = StatusCode::BUSY_HERE;
    driven.command(Command::ReportTransfer { key, status });
    let last = driven.take_sent().remove(0);
    assert!(last.ends_with("SIP/2.0 486 Busy Here\r\n"));
    assert_eq!(
        header(&last, "Subscription-State"),
        "terminated;reason=noresource"
    );
    driven.command(Command::ReportTransfer { key, status });
    assert_eq!(driven.take_lines(), [] as [&str; 0], "one end is enough");
}

#[test]
fn a_transfer_nobody_answered_is_declined_when_the_call_ends() {
    let mut driven = Driven::with(EndpointConfig {
        accept_transfers: true,
        ..EndpointConfig::default()
    });
    let (key, ours, _) = talking(&mut driven, "");
    driven.packet(&request(
        "REFER",
        2,
        "r",
        &ours,
        "Refer-To: sip:c@h\r\n",
        b"",
    ));
    driven.command(Command::Hangup { key, reason: None });
    let lines = driven.take_lines();
    assert!(
        lines.contains(&"SIP/2.0 603 Decline".to_owned()),
        "{lines:?}"
    );
    driven.run_for(Duration::from_secs(70));
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

/// A call of ours whose offer these branches answered in a reliable 183.
fn agreed_early(driven: &mut Driven, tags: &[&str]) -> (CallKey, String) {
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    for tag in tags {
        let lines = format!("{CONTACT}Require: 100rel\r\nRSeq: 1\r\n");
        driven.packet(&response(&invite, "183 Progress", tag, &lines, ANSWER));
        assert!(driven.take_sent()[0].starts_with("PRACK "));
    }
    driven.take_events();
    (key, invite)
}

#[test]
fn an_update_may_change_what_a_reliable_1xx_agreed_before_the_answer() {
    let mut driven = Driven::new();
    let (key, invite) = agreed_early(&mut driven, &["far"]);
    driven.packet(&from_far(&driven, &invite, "UPDATE", 1, "", OFFER));
    let offer = Some(OFFER.to_vec());
    assert_eq!(driven.take_events(), [Event::Reinvite { key, offer }]);
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    let ok = driven.take_sent().remove(0);
    assert!(ok.starts_with("SIP/2.0 200 OK") && ok.contains("m=audio"));
    assert_eq!(header(&ok, "CSeq"), "1 UPDATE");
    driven.take_events();
    // What the answer says once more of the first offer is old (RFC 3261 §13.2.1).
    driven.packet(&response(&invite, "180 Ringing", "far", CONTACT, ANSWER));
    driven.packet(&response(&invite, "200 OK", "far", CONTACT, ANSWER));
    let told = driven.take_events();
    assert!(
        matches!(told[0], Event::Progress { sdp: None, .. }),
        "{told:?}"
    );
    assert_eq!(told[1], Event::Answered { key, sdp: None });
}

#[test]
fn an_update_is_told_to_wait_while_its_branch_has_not_answered_our_offer() {
    let mut driven = Driven::new();
    let (_, invite) = agreed_early(&mut driven, &["other"]);
    driven.packet(&response(&invite, "183 Progress", "far", CONTACT, ANSWER));
    driven.packet(&from_far(&driven, &invite, "UPDATE", 1, "", OFFER));
    assert_eq!(driven.take_lines(), ["SIP/2.0 491 Request Pending"]);
    driven.packet(&response(&invite, "200 OK", "far", CONTACT, ANSWER));
    let told = driven.take_events().pop().expect("the answer");
    assert!(
        matches!(told, Event::Answered { sdp: Some(_), .. }),
        "{told:?}"
    );
}

#[test]
fn a_call_that_goes_elsewhere_after_an_update_begins_with_its_offer_anew() {
    let mut driven = Driven::with(EndpointConfig {
        redirects: 1,
        ..EndpointConfig::default()
    });
    let (key, invite) = agreed_early(&mut driven, &["far"]);
    driven.packet(&from_far(&driven, &invite, "UPDATE", 1, "", OFFER));
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    driven.take_sent();
    let lines = "Contact: <sip:carol@198.51.100.7>\r\n";
    driven.packet(&response(&invite, "302 Moved", "far", lines, b""));
    let way = offhook_sip::Way {
        flow: peer_flow(),
        trunk: None,
        target: uri("sip:carol@198.51.100.7"),
        from: offhook_sip::Party {
            display: None,
            uri: uri("sip:offhook@192.0.2.1"),
        },
        asserted: None,
        private: false,
    };
    let ways = vec![way];
    driven.command(Command::Follow { key, ways });
    let again = driven.take_sent().pop().expect("an INVITE");
    assert!(again.starts_with("INVITE sip:carol@"));
    assert!(again.ends_with(core::str::from_utf8(OFFER).expect("ASCII")));
}

#[test]
fn requests_of_each_branch_are_numbered_by_themselves() {
    let mut driven = Driven::new();
    let (_, invite) = agreed_early(&mut driven, &["far", "other"]);
    let to = header(&invite, "To").to_owned();
    let other = invite.replace(&format!("To: {to}"), &format!("To: {to};tag=other"));
    let asked = |driven: &mut Driven, branch: &str, number| {
        driven.packet(&from_far(driven, branch, "UPDATE", number, "", b""));
        driven.take_lines().pop().expect("an answer")
    };
    let (good, late) = ("SIP/2.0 200 OK", "SIP/2.0 500 Server Internal Error");
    assert_eq!(asked(&mut driven, &invite, 7), good);
    assert_eq!(asked(&mut driven, &other, 3), good);
    assert_eq!(asked(&mut driven, &other, 2), late);
    assert_eq!(asked(&mut driven, &invite, 6), late);
    // The one that answers goes on counting.
    driven.packet(&response(&invite, "200 OK", "other", CONTACT, ANSWER));
    assert_eq!(asked(&mut driven, &other, 1), late);
    assert_eq!(asked(&mut driven, &other, 4), good);
}
