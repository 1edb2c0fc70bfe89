//! What other stacks got wrong, one test each: the endpoint must do it right.

mod support;

use offhook_sip::{
    CallKey, Command, EndCause, EndpointConfig, Event, Failure, HangupReason, Input,
    ReinviteAnswer, StatusCode,
};
use support::*;

/// A call that came in and was accepted; its key and our tag.
fn accepted(driven: &mut Driven) -> (CallKey, String) {
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    accept(driven, key);
    let ok = driven.take_sent().pop().expect("a 200");
    (key, tag(header(&ok, "To")).to_owned())
}

/// An accepted call with its ACK; nothing left in the boxes.
fn talking(driven: &mut Driven) -> (CallKey, String) {
    let (key, ours) = accepted(driven);
    driven.packet(&request("ACK", 1, "ack1", &ours, "", b""));
    driven.take_events();
    (key, ours)
}

/// A call we placed that was answered by tag `far`.
fn answered(driven: &mut Driven) -> (CallKey, String) {
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "200 OK", "far", CONTACT, ANSWER));
    driven.take_sent();
    driven.take_events();
    (key, invite)
}

fn ended(key: CallKey, cause: EndCause) -> Event {
    Event::Ended { key, cause }
}

#[test]
fn a_lost_ack_repeats_the_200_to_32_s_and_ends_in_a_bye() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    accept(&mut driven, key);
    driven.take_sent();
    driven.take_events();
    driven.run_for(millis(32_000));
    let lines: Vec<_> = driven
        .sent
        .iter()
        .map(|(_, _, text)| first_line(text))
        .collect();
    let (bye, answers) = lines.split_last().expect("something");
    assert!(answers.iter().all(|line| line == "SIP/2.0 200 OK"));
    assert_eq!(bye, "BYE sip:alice@198.51.100.7:5060 SIP/2.0");
    assert_eq!(
        driven.take_times(millis(0)),
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000
        ]
    );
    assert_eq!(driven.take_events(), [ended(key, EndCause::AckTimeout)]);
    driven.run_for(millis(64_000));
    assert_eq!(driven.take_events(), [Event::Released { key }]);
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn the_same_invite_after_the_ack_is_absorbed() {
    let mut driven = Driven::new();
    talking(&mut driven);
    for wait in [500, 8000] {
        driven.run_for(millis(wait));
        driven.packet(&invite("1"));
    }
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    assert_eq!(driven.take_events(), []);
}

#[test]
fn a_repeated_invite_while_ringing_repeats_the_180() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.command(Command::Ring {
        key,
        status: StatusCode::RINGING,
        sdp: None,
        headers: Vec::new(),
    });
    driven.packet(&invite("1"));
    let sent = driven.take_sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
    driven.run_for(millis(130_000));
    assert_eq!(driven.take_lines(), ["SIP/2.0 180 Ringing"; 2]);
}

#[test]
fn a_slow_application_makes_a_trying_after_200_ms() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    driven.run_for(millis(1000));
    let trying = driven.sent.first().expect("100");
    assert_eq!(trying.0, millis(200));
    assert_eq!(driven.take_lines(), ["SIP/2.0 100 Trying"]);
}

#[test]
fn cancel_wins_before_the_answer_and_loses_after_it_every_time() {
    for round in 0..200 {
        let mut driven = Driven::new();
        driven.packet(&invite("1"));
        let key = driven.incoming_key();
        let after = round % 2 == 1;
        if after {
            accept(&mut driven, key);
        }
        driven.take_sent();
        driven.packet(&request(
            "CANCEL",
            1,
            "1",
            "",
            "Reason: SIP;cause=200\r\n",
            b"",
        ));
        let lines = driven.take_lines();
        if after {
            assert_eq!(lines, ["SIP/2.0 200 OK"]);
            assert_eq!(driven.endpoint.call_count(), 1);
            continue;
        }
        assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
        let reason = Some("SIP;cause=200".to_owned());
        assert_eq!(
            driven.take_events()[1..],
            [Event::Cancelled { key, reason }, Event::Released { key }]
        );
        // The application's answer crosses the CANCEL and changes nothing.
        accept(&mut driven, key);
        assert_eq!(driven.take_lines(), [] as [&str; 0]);
        assert_eq!(driven.endpoint.counters().stale_commands, 1);
        driven.packet(&request("ACK", 1, "1", "", "", b""));
        driven.run_for(millis(40_000));
        assert_eq!(driven.endpoint.transaction_count(), 0);
    }
}

#[test]
fn a_cancel_for_nothing_is_answered_481() {
    let mut driven = Driven::new();
    driven.packet(&request("CANCEL", 1, "1", "", "", b""));
    assert_eq!(
        driven.take_lines(),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );
}

#[test]
fn a_bye_with_a_gap_is_served_and_one_with_a_lower_number_refused() {
    let mut driven = Driven::new();
    let (key, ours) = talking(&mut driven);
    driven.packet(&request("BYE", 1, "low", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 500 Server Internal Error"]);
    assert_eq!(driven.take_events(), []);
    driven.packet(&request("BYE", 7, "gap", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    let cause = EndCause::RemoteBye { reason: None };
    assert_eq!(
        driven.take_events(),
        [ended(key, cause), Event::Released { key }]
    );
    // Its repetition is answered by the transaction, long after the release.
    driven.run_for(millis(10_000));
    driven.packet(&request("BYE", 7, "gap", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
}

#[test]
fn a_bye_before_the_ack_is_answered_at_once_and_stops_the_200() {
    let mut driven = Driven::new();
    let (_, ours) = accepted(&mut driven);
    driven.packet(&request("BYE", 2, "2", &ours, "", b""));
    driven.run_for(millis(40_000));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn a_bye_for_an_unknown_dialog_is_answered_481() {
    let mut driven = Driven::new();
    let (_, ours) = talking(&mut driven);
    let wrong = [
        request("BYE", 2, "2", "nobody", "", b""),
        request("BYE", 2, "3", &ours, "", b"").replace(";tag=peer", ";tag=other"),
        request("BYE", 2, "4", &ours, "", b"").replace("call-1@", "call-2@"),
    ];
    for bye in wrong {
        driven.packet(&bye);
        assert_eq!(
            driven.take_lines(),
            ["SIP/2.0 481 Call/Transaction Does Not Exist"]
        );
    }
    assert_eq!(driven.endpoint.call_count(), 1);
}

#[test]
fn an_ack_for_nothing_is_dropped_and_counted() {
    let mut driven = Driven::new();
    driven.packet(&request("ACK", 1, "1", "nobody", "", b""));
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    assert_eq!(driven.endpoint.counters().stray_acks, 1);
}

#[test]
fn a_latin_1_display_name_is_heard_and_echoed_byte_for_byte() {
    let mut driven = Driven::new();
    let text = invite("1").replace("\"Alice\"", "\"J#rg\"");
    let bytes: Vec<u8> = text
        .bytes()
        .map(|byte| if byte == b'#' { 0xf6 } else { byte })
        .collect();
    driven.packet_on(peer_flow(), &bytes);
    let Some(Event::Incoming { key, invite, .. }) = driven.take_events().pop() else {
        panic!("no call");
    };
    assert_eq!(invite.from.display.as_deref(), Some("Jörg"));
    driven.endpoint.handle(
        driven.now,
        Input::Command(Command::Reject {
            key,
            status: StatusCode::BUSY_HERE,
            phrase: None,
            retry_after: None,
            headers: Vec::new(),
        }),
    );
    let offhook_sip::Output::Transmit { bytes, .. } = driven.endpoint.poll() else {
        panic!("no answer");
    };
    assert!(bytes.windows(6).any(|window| window == b"\"J\xf6rg\""));
}

#[test]
fn methods_that_are_not_served_are_answered_405_or_501_with_allow() {
    let table = [
        ("FOO", "SIP/2.0 501 Not Implemented"),
        ("REGISTER", "SIP/2.0 405 Method Not Allowed"),
        ("PUBLISH", "SIP/2.0 405 Method Not Allowed"),
    ];
    for (method, line) in table {
        let mut driven = Driven::new();
        driven.packet(&request(method, 1, "1", "", "", b""));
        let answer = driven.take_sent().remove(0);
        assert_eq!(first_line(&answer), line);
        assert_eq!(
            header(&answer, "Allow"),
            "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY"
        );
        assert_eq!(driven.endpoint.transaction_count(), 0);
    }
}

#[test]
fn options_are_answered_with_what_we_can() {
    let mut driven = Driven::new();
    driven.packet(&request("OPTIONS", 1, "1", "", "", b""));
    driven.packet(&request("OPTIONS", 1, "1", "", "", b""));
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[0]), "SIP/2.0 200 OK");
    assert_eq!(header(&sent[0], "Accept"), "application/sdp");
    assert_eq!(header(&sent[0], "Supported"), "100rel, timer, replaces");
    assert_eq!(sent[0], sent[1]);
    let (_, ours) = talking(&mut driven);
    driven.packet(&request("OPTIONS", 2, "3", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    driven.packet(&request("OPTIONS", 2, "4", "nobody", "", b""));
    assert_eq!(
        driven.take_lines(),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );
}

#[test]
fn a_datagram_of_60_kb_is_read_whole() {
    let mut driven = Driven::new();
    let lines = format!("X-Long: {}\r\n", "x".repeat(60_000));
    driven.packet(&request("INVITE", 1, "1", "", &lines, OFFER));
    driven.incoming_key();
}

#[test]
fn headers_that_a_call_would_keep_are_bounded() {
    let mut driven = Driven::new();
    let lines = format!("Record-Route: <sip:{};lr>\r\n", "p".repeat(3000)).repeat(3);
    driven.packet(&request("INVITE", 1, "1", "", &lines, OFFER));
    assert_eq!(driven.take_lines(), ["SIP/2.0 513 Message Too Large"]);
    assert_eq!(driven.endpoint.call_count(), 0);
}

#[test]
fn an_invite_over_two_paths_is_answered_482_on_the_second() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    driven.packet(&invite("other-path"));
    assert_eq!(driven.take_lines(), ["SIP/2.0 482 Loop Detected"]);
    assert_eq!(driven.endpoint.call_count(), 1);
    assert_eq!(driven.endpoint.counters().merged, 1);
}

#[test]
fn an_unsupported_extension_is_answered_420_and_named() {
    let mut driven = Driven::new();
    driven.packet(&request("INVITE", 1, "1", "", "Require: foobar\r\n", OFFER));
    let answer = driven.take_sent().remove(0);
    assert_eq!(first_line(&answer), "SIP/2.0 420 Bad Extension");
    assert_eq!(header(&answer, "Unsupported"), "foobar");
    assert_eq!(driven.take_events(), []);
}

#[test]
fn a_content_length_of_64_bits_is_answered_400_and_the_next_message_served() {
    let mut driven = Driven::new();
    let bad = invite("1").replace("Content-Length: ", "Content-Length: 18446744073709551615");
    driven.packet(&bad);
    driven.packet(&bad.replace("18446744073709551615", "1844674407370955161"));
    let lines = driven.take_lines();
    assert_eq!(lines[0], "SIP/2.0 400 Bad Content-Length");
    assert_eq!(lines.len(), 2);
    driven.packet(&invite("2"));
    driven.incoming_key();
    assert_eq!(driven.endpoint.counters().malformed_total(), 2);
}

#[test]
fn a_message_without_via_is_dropped_and_counted() {
    let mut driven = Driven::new();
    let text = invite("1");
    let (before, after) = text.split_once("Via:").expect("has one");
    let (_, after) = after.split_once("\r\n").expect("ends");
    driven.packet(&format!("{before}{after}"));
    driven.packet("hello\r\n\r\n");
    driven.packet("\r\n\r\n");
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    assert_eq!(driven.endpoint.counters().malformed_total(), 2);
    assert_eq!(driven.endpoint.counters().keepalives, 1);
}

#[test]
fn a_full_endpoint_refuses_new_calls_statelessly_and_serves_the_old_ones() {
    let mut driven = Driven::with(EndpointConfig {
        max_calls: 1,
        ..EndpointConfig::default()
    });
    let (key, ours) = talking(&mut driven);
    let second = invite("9").replace("call-1@", "call-2@");
    driven.packet(&second);
    let refusal = driven.take_sent().remove(0);
    assert_eq!(first_line(&refusal), "SIP/2.0 503 Service Unavailable");
    assert_eq!(header(&refusal, "Retry-After"), "5");
    let before = driven.endpoint.transaction_count();
    driven.packet(&second);
    assert_eq!(driven.take_sent(), [refusal]);
    assert_eq!(driven.endpoint.transaction_count(), before);
    assert_eq!(driven.endpoint.counters().refused_by_limit, 2);
    driven.packet(&request("BYE", 2, "2", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(driven.take_events().last(), Some(&Event::Released { key }));
}

#[test]
fn an_end_of_a_call_is_taken_even_where_there_is_no_room_for_requests() {
    let mut driven = Driven::with(EndpointConfig {
        max_transactions: 1,
        ..EndpointConfig::default()
    });
    let (key, ours) = talking(&mut driven);
    driven.packet(&request("INFO", 2, "i", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 503 Service Unavailable"]);
    // One that is not in order ends nothing, and takes no room.
    driven.packet(&request("BYE", 1, "0", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 503 Service Unavailable"]);
    driven.packet(&request("BYE", 3, "2", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    assert_eq!(driven.take_events().last(), Some(&Event::Released { key }));
    let before = driven.endpoint.transaction_count();
    driven.packet(&request("BYE", 4, "3", &ours, "", b""));
    assert_eq!(driven.endpoint.transaction_count(), before);
}

#[test]
fn an_overloaded_endpoint_refuses_new_calls_alone_and_until_it_has_caught_up() {
    let mut driven = Driven::with(EndpointConfig::default());
    let (_, ours) = talking(&mut driven);
    let overloaded = |driven: &mut Driven, it| {
        let now = driven.now;
        let command = Input::Command(Command::Overloaded(it));
        driven.endpoint.handle(now, command);
    };
    overloaded(&mut driven, true);
    driven.packet(&invite("9").replace("call-1@", "call-2@"));
    let refusal = driven.take_sent().remove(0);
    assert_eq!(first_line(&refusal), "SIP/2.0 503 Service Unavailable");
    assert_eq!(header(&refusal, "Retry-After"), "5");
    // Nothing is kept: sent again it gets the same answer, whose ACK needs nothing.
    driven.packet(&invite("9").replace("call-1@", "call-2@"));
    assert_eq!(driven.take_sent().first(), Some(&refusal));
    let theirs = tag(header(&refusal, "To")).to_owned();
    driven.packet(&request("ACK", 1, "9", &theirs, "", b"").replace("call-1@", "call-2@"));
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    assert_eq!(driven.endpoint.counters().stray_acks, 0);
    assert_eq!(driven.endpoint.counters().refused_by_limit, 2);
    driven.packet(&request("BYE", 2, "2", &ours, "", b""));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    overloaded(&mut driven, false);
    driven.packet(&invite("10").replace("call-1@", "call-3@"));
    let news = driven.take_events();
    assert!(news.iter().any(|it| matches!(it, Event::Incoming { .. })));
}

#[test]
fn an_overloaded_endpoint_goes_on_with_what_it_let_in() {
    let mut driven = Driven::with(EndpointConfig::default());
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.take_sent();
    let now = driven.now;
    let overloaded = Input::Command(Command::Overloaded(true));
    driven.endpoint.handle(now, overloaded);
    // Sent again it gets what it got before, not a refusal.
    driven.packet(&invite("1"));
    assert_eq!(driven.take_lines(), ["SIP/2.0 100 Trying"]);
    accept(&mut driven, key);
    let ok = driven.take_sent().remove(0);
    let ours = tag(header(&ok, "To")).to_owned();
    driven.packet(&request("ACK", 1, "a", &ours, "", b""));
    driven.take_events();
    // A change of a call is no new one.
    driven.packet(&request("INVITE", 2, "b", &ours, "", OFFER));
    let offer = Some(OFFER.to_vec());
    assert_eq!(driven.take_events(), [Event::Reinvite { key, offer }]);
    // Without the cookie of RFC 3261 it takes more to know one again; it is refused all
    // the same.
    let old = invite("c")
        .replace("call-1@", "call-2@")
        .replace("z9hG4bK", "");
    driven.packet(&old);
    assert_eq!(driven.take_lines(), ["SIP/2.0 503 Service Unavailable"]);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut driven = Driven::new();
    driven.packet(&request("INVITE", 1, "1", "", "", b""));
    let key = driven.incoming_key();
    accept(&mut driven, key);
    let ok = driven.take_sent().remove(0);
    let ours = tag(header(&ok, "To")).to_owned();
    driven.take_events();
    driven.packet(&request("ACK", 1, "2", &ours, "", ANSWER));
    let sdp = Some(ANSWER.to_vec());
    assert_eq!(driven.take_events(), [Event::Confirmed { key, sdp }]);
}

#[test]
fn a_reinvite_is_answered_acknowledged_and_refreshes_the_target() {
    let mut driven = Driven::new();
    let (key, ours) = talking(&mut driven);
    let moved = request("INVITE", 2, "re", &ours, "", OFFER).replace(
        "<sip:alice@198.51.100.7:5060>",
        "<sip:alice@198.51.100.8:5090>",
    );
    driven.packet(&moved);
    let offer = Some(OFFER.to_vec());
    assert_eq!(driven.take_events(), [Event::Reinvite { key, offer }]);
    // A second one before the answer has to wait.
    driven.packet(&request("INVITE", 3, "re2", &ours, "", OFFER));
    let refusal = driven.take_sent().remove(0);
    assert_eq!(first_line(&refusal), "SIP/2.0 500 Server Internal Error");
    assert!(
        header(&refusal, "Retry-After")
            .parse::<u32>()
            .expect("number")
            <= 10
    );
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    driven.packet(&request("ACK", 3, "re2", &ours, "", b""));
    driven.run_for(millis(600));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"; 2]);
    driven.packet(&request("ACK", 2, "re-ack", &ours, "", b""));
    assert_eq!(
        driven.take_events(),
        [Event::ReinviteConfirmed { key, sdp: None }]
    );
    driven.command(Command::Hangup { key, reason: None });
    assert_eq!(
        driven.take_lines().last().map(String::as_str),
        Some("BYE sip:alice@198.51.100.8:5090 SIP/2.0")
    );
}

#[test]
fn a_refused_or_cancelled_reinvite_leaves_the_call_as_it_was() {
    let mut driven = Driven::new();
    let (key, ours) = talking(&mut driven);
    driven.packet(&request("INVITE", 2, "re", &ours, "", OFFER));
    let answer = ReinviteAnswer::Refuse(StatusCode::NOT_ACCEPTABLE_HERE);
    driven.command(Command::AnswerReinvite { key, answer });
    assert_eq!(driven.take_lines(), ["SIP/2.0 488 Not Acceptable Here"]);
    driven.packet(&request("ACK", 2, "re", &ours, "", b""));
    driven.packet(&request("INVITE", 3, "re4", &ours, "Require: x\r\n", OFFER));
    assert_eq!(driven.take_lines(), ["SIP/2.0 420 Bad Extension"]);
    driven.packet(&request("ACK", 3, "re4", &ours, "", b""));
    driven.packet(&request("INVITE", 4, "re3", &ours, "", OFFER));
    driven.packet(&request("CANCEL", 4, "re3", &ours, "", b""));
    let lines = driven.take_lines();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    driven.packet(&request("ACK", 4, "re3", &ours, "", b""));
    let events = driven.take_events();
    assert_eq!(events.last(), Some(&Event::ReinviteCancelled { key }));
    assert!(driven.endpoint.stored_dialog(key).is_some());
}

#[test]
fn a_reinvite_without_ack_ends_the_call_after_32_s() {
    let mut driven = Driven::new();
    let (key, ours) = talking(&mut driven);
    driven.packet(&request("INVITE", 2, "re", &ours, "", OFFER));
    let answer = ReinviteAnswer::Accept(ANSWER.to_vec());
    driven.command(Command::AnswerReinvite { key, answer });
    driven.take_events();
    driven.run_for(millis(32_000));
    assert_eq!(driven.take_events(), [ended(key, EndCause::AckTimeout)]);
}

#[test]
fn our_bye_waits_for_the_ack_of_our_answer() {
    let mut driven = Driven::new();
    let (key, ours) = accepted(&mut driven);
    let reason = Some(HangupReason {
        cause: Some(16),
        text: "done \"here\"\r\n".into(),
    });
    driven.command(Command::Hangup { key, reason });
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    let bye = driven.take_sent().remove(0);
    assert_eq!(header(&bye, "Reason"), "Q.850;cause=16;text=\"done here\"");
}

#[test]
fn hanging_up_an_unanswered_incoming_call_refuses_it() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.command(Command::Hangup { key, reason: None });
    assert_eq!(driven.take_lines(), ["SIP/2.0 480 Temporarily Unavailable"]);
    assert_eq!(driven.take_events().last(), Some(&Event::Released { key }));
}

#[test]
fn a_cancel_of_ours_waits_for_a_provisional_answer() {
    let mut driven = Driven::new();
    let key = driven.dial();
    driven.command(Command::Hangup { key, reason: None });
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "100 Trying", "", "", b""));
    let cancel = driven.take_sent().remove(0);
    assert_eq!(first_line(&cancel), "CANCEL sip:bob@198.51.100.7 SIP/2.0");
    assert_eq!(header(&cancel, "Via"), header(&invite, "Via"));
    let number = header(&invite, "CSeq").replace("INVITE", "CANCEL");
    assert_eq!(header(&cancel, "CSeq"), number);
    driven.packet(&response(&cancel, "200 OK", "far", "", b""));
    driven.packet(&response(&invite, "487 Request Terminated", "far", "", b""));
    let ack = driven.take_sent().remove(0);
    assert_eq!(header(&ack, "Via"), header(&invite, "Via"));
    assert_eq!(tag(header(&ack, "To")), "far");
    assert_eq!(
        driven.take_events(),
        [ended(key, EndCause::LocalCancel), Event::Released { key }]
    );
    driven.run_for(millis(40_000));
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn a_200_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "180 Ringing", "far", CONTACT, b""));
    driven.command(Command::Hangup { key, reason: None });
    driven.packet(&response(&invite, "200 OK", "far", CONTACT, ANSWER));
    let lines = driven.take_lines();
    assert!(lines[0].starts_with("CANCEL "), "{lines:?}");
    assert!(lines[1].starts_with("ACK "), "{lines:?}");
    assert!(lines[2].starts_with("BYE "), "{lines:?}");
    let events = driven.take_events();
    assert_eq!(events[1..], [ended(key, EndCause::LocalCancel)]);
}

#[test]
fn a_cancel_without_any_final_answer_ends_after_32_s() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "180 Ringing", "far", CONTACT, b""));
    driven.command(Command::Hangup { key, reason: None });
    driven.take_events();
    driven.run_for(millis(31_999));
    assert_eq!(driven.take_events(), []);
    driven.run_for(millis(1));
    assert_eq!(
        driven.take_events(),
        [ended(key, EndCause::LocalCancel), Event::Released { key }]
    );
}

#[test]
fn a_call_that_only_rings_is_cancelled_at_the_ring_limit() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "100 Trying", "", "", b""));
    driven.run_for(millis(185_000));
    let lines = driven.take_lines();
    assert_eq!(lines, ["CANCEL sip:bob@198.51.100.7 SIP/2.0"]);
    driven.packet(&response(&invite, "487 Request Terminated", "far", "", b""));
    let events = driven.take_events();
    let [Event::Failed { failure, .. }, Event::Released { .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (failure.status, failure.local),
        (StatusCode::REQUEST_TIMEOUT, true)
    );
    assert_eq!(events.last(), Some(&Event::Released { key }));
}

#[test]
fn a_refusal_tells_its_reason_contacts_and_retry_after() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    let lines = "Contact: <sip:a@h1>;q=0.5, \"B\" <sip:b@h2>\r\nRetry-After: 120 (soon)\r\n\
                 Reason: Q.850;cause=34\r\n";
    driven.packet(&response(&invite, "302 Gone Fishing", "far", lines, b""));
    let events = driven.take_events();
    let failure = Box::new(Failure {
        status: StatusCode::MOVED_TEMPORARILY,
        phrase: "Gone Fishing".into(),
        local: false,
        reason: Some("Q.850;cause=34".into()),
        contacts: vec!["sip:a@h1".into(), "sip:b@h2".into()],
        retry_after: Some(120),
    });
    assert_eq!(
        events,
        [Event::Failed { key, failure }, Event::Released { key }]
    );
    assert!(driven.take_lines()[0].starts_with("ACK "));
}

#[test]
fn a_repeated_200_is_acknowledged_again() {
    let mut driven = Driven::new();
    let (_, invite) = answered(&mut driven);
    for _ in 0..3 {
        driven.packet(&response(&invite, "200 OK", "far", CONTACT, ANSWER));
    }
    let sent = driven.take_sent();
    assert_eq!(sent.len(), 3);
    assert!(
        sent.iter()
            .all(|ack| ack == &sent[0] && ack.starts_with("ACK "))
    );
    assert_eq!(driven.take_events(), []);
}

#[test]
fn a_second_branch_of_a_fork_is_acknowledged_and_hung_up() {
    let mut driven = Driven::new();
    let (key, invite) = answered(&mut driven);
    let contact = "Contact: <sip:other@198.51.100.9:5060>\r\n";
    let second = response(&invite, "200 OK", "second", contact, ANSWER);
    driven.packet(&second);
    let sent = driven.take_sent();
    assert_eq!(
        first_line(&sent[0]),
        "ACK sip:other@198.51.100.9:5060 SIP/2.0"
    );
    assert_eq!(
        first_line(&sent[1]),
        "BYE sip:other@198.51.100.9:5060 SIP/2.0"
    );
    assert_eq!(tag(header(&sent[1], "To")), "second");
    driven.packet(&second);
    assert!(driven.take_lines()[0].starts_with("ACK "));
    driven.packet(&response(&sent[1], "200 OK", "", "", b""));
    assert_eq!(driven.take_events(), []);
    assert_eq!(
        driven
            .endpoint
            .stored_dialog(key)
            .map(|stored| stored.remote_tag),
        Some("far".into())
    );
}

#[test]
fn a_stranger_gets_one_403_and_leaves_nothing_behind() {
    let mut driven = Driven::new();
    for text in [invite("1"), request("OPTIONS", 1, "2", "", "", b"")] {
        driven.stranger(&text);
        assert_eq!(driven.take_lines(), ["SIP/2.0 403 Forbidden"]);
    }
    driven.stranger(&request("ACK", 1, "1", "x", "", b""));
    driven.stranger(&invite("3").replace("CSeq: 1 ", "CSeq: x "));
    driven.stranger(&request("CANCEL", 1, "1", "", "", b""));
    assert_eq!(
        driven.take_lines(),
        ["SIP/2.0 481 Call/Transaction Does Not Exist"]
    );
    assert_eq!(driven.endpoint.counters().refused_strangers, 2);
    assert_eq!(
        (driven.endpoint.transaction_count(), driven.next),
        (0, None)
    );
    // The callee of a call of ours is no stranger in its dialog.
    let key = driven.dial();
    let ours = driven.take_sent().remove(0);
    driven.stranger(&response(&ours, "200 OK", "peer", CONTACT, ANSWER));
    driven.take_events();
    let tag = tag(header(&ours, "From"));
    let bye = request("BYE", 7, "bye", tag, "", b"")
        .replace("call-1@198.51.100.7", header(&ours, "Call-ID"));
    driven.stranger(&bye);
    let cause = EndCause::RemoteBye { reason: None };
    let events = [ended(key, cause), Event::Released { key }];
    assert_eq!(driven.take_events(), events);
}

#[test]
fn a_bye_of_a_callee_whose_200_never_arrived_ends_our_call() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "180 Ringing", "far", CONTACT, b""));
    driven.take_events();
    let bye = format!(
        "BYE sip:offhook@192.0.2.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKbye\r\n\
         From: <sip:bob@198.51.100.7>;tag=far\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        header(&invite, "From"),
        header(&invite, "Call-ID")
    );
    driven.packet(&bye.replace("tag=far", "tag=other"));
    driven.packet(&bye.replace("Kbye", "Kbye2"));
    assert_eq!(
        driven.take_lines(),
        [
            "SIP/2.0 481 Call/Transaction Does Not Exist",
            "SIP/2.0 200 OK"
        ]
    );
    let cause = EndCause::RemoteBye { reason: None };
    assert_eq!(
        driven.take_events(),
        [ended(key, cause), Event::Released { key }]
    );
}

#[test]
fn ringing_branches_are_told_apart() {
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    for branch in ["a", "b", "a"] {
        driven.packet(&response(
            &invite,
            "183 Session Progress",
            branch,
            CONTACT,
            ANSWER,
        ));
    }
    let forks: Vec<_> = driven
        .take_events()
        .iter()
        .filter_map(|event| match event {
            Event::Progress { fork, sdp, .. } => sdp.as_ref().map(|_| *fork),
            _ => None,
        })
        .collect();
    assert_eq!(forks, [0, 1, 0]);
}

#[test]
fn crossing_byes_end_the_call_once() {
    let mut driven = Driven::new();
    let (key, ours) = talking(&mut driven);
    driven.command(Command::Hangup { key, reason: None });
    driven.packet(&request("BYE", 2, "2", &ours, "", b""));
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[1]), "SIP/2.0 200 OK");
    driven.packet(&response(&sent[0], "481 Gone", "", "", b""));
    assert_eq!(
        driven.take_events(),
        [ended(key, EndCause::LocalBye), Event::Released { key }]
    );
}

#[test]
fn the_trace_shows_each_message_of_a_call() {
    let mut driven = Driven::with(EndpointConfig {
        trace: true,
        ..EndpointConfig::default()
    });
    let (call, ours) = accepted(&mut driven);
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    driven.packet(&request("BYE", 2, "3", &ours, "", b""));
    let notes: Vec<_> = driven
        .take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Message {
                key, sent, summary, ..
            } => {
                assert_eq!(key, call);
                Some(format!("{} {summary}", if sent { ">" } else { "<" }))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        notes,
        [
            "< INVITE",
            "> 200 OK (INVITE)",
            "< ACK",
            "< BYE",
            "> 200 OK (BYE)"
        ]
    );
}
