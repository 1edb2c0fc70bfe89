//! The exact moments at which messages are repeated and transactions end
//! (RFC 3261 §17, RFC 6026), on datagrams and on streams.

mod support;

use core::time::Duration;

use offhook_sip::{
    Command, EndCause, EndpointConfig, Event, Flow, ReinviteAnswer, StatusCode, TimerValues,
    Transport,
};
use support::*;

/// When the endpoint has no transaction left, in milliseconds from `start`.
fn end_of_transactions(driven: &mut Driven, start: Duration) -> u128 {
    while driven.endpoint.transaction_count() > 0 {
        let next = driven.next.expect("a timer ends every transaction");
        driven.run_until(next);
    }
    (driven.now - start).as_millis()
}

fn reject(driven: &mut Driven) {
    let key = driven.incoming_key();
    driven.command(Command::Reject {
        key,
        status: StatusCode::BUSY_HERE,
        phrase: Some("Line Busy".into()),
        retry_after: None,
        headers: Vec::new(),
    });
}

fn stream() -> Flow {
    Flow {
        transport: Transport::Tcp,
        ..peer_flow()
    }
}

#[test]
fn timers_a_and_b_repeat_an_invite_to_32_s() {
    let mut driven = Driven::new();
    let key = driven.dial();
    driven.run_for(millis(60_000));
    assert_eq!(
        driven.take_times(millis(0)),
        [0, 500, 1500, 3500, 7500, 15_500, 31_500]
    );
    let events = driven.take_events();
    let [Event::Failed { failure, .. }, Event::Released { .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (failure.status, failure.local),
        (StatusCode::REQUEST_TIMEOUT, true)
    );
    assert_eq!(events.last(), Some(&Event::Released { key }));
    let mut driven = Driven::new();
    driven.dial();
    assert_eq!(end_of_transactions(&mut driven, millis(0)), 32_000);
}

#[test]
fn a_provisional_answer_ends_the_repetition_of_an_invite() {
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "180 Ringing", "far", "", b""));
    driven.run_for(millis(100_000));
    assert_eq!(driven.take_times(millis(0)), [] as [u128; 0]);
}

#[test]
fn timer_d_repeats_the_ack_of_a_refusal_for_32_s() {
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    let busy = response(&invite, "486 Busy Here", "far", "", b"");
    for _ in 0..3 {
        driven.packet(&busy);
        driven.run_for(millis(10_000));
    }
    assert_eq!(driven.take_times(millis(0)), [0, 10_000, 20_000]);
    assert_eq!(end_of_transactions(&mut driven, millis(0)), 32_000);
}

#[test]
fn timers_e_and_f_repeat_a_bye_to_32_s() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ok = driven.take_sent().remove(0);
    let ours = tag(header(&ok, "To")).to_owned();
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    driven.run_for(millis(40_000));
    let start = driven.now;
    driven.take_events();
    driven.command(Command::Hangup { key, reason: None });
    driven.run_for(millis(60_000));
    assert_eq!(
        driven.take_times(start),
        [
            0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    let cause = EndCause::LocalBye;
    assert_eq!(
        driven.take_events(),
        [Event::Ended { key, cause }, Event::Released { key }]
    );
}

#[test]
fn timer_k_absorbs_answers_to_a_bye_for_5_s() {
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "180 Ringing", "far", "", b""));
    let key = driven.endpoint.next_key();
    let dialog = offhook_sip::StoredDialog {
        flow: peer_flow(),
        call_id: "x".into(),
        local_tag: "l".into(),
        remote_tag: "r".into(),
        local_uri: "sip:a@h".into(),
        remote_uri: "sip:b@h".into(),
        target: "sip:b@198.51.100.7".into(),
        routes: Vec::new(),
        local_cseq: 1,
    };
    let dialog = Box::new(dialog);
    driven.command(Command::AbandonedBye { key, dialog });
    let bye = driven.take_sent().remove(0);
    // A provisional answer makes the repetitions come every T2.
    driven.packet(&response(&bye, "100 Trying", "", "", b""));
    driven.run_for(millis(9000));
    assert_eq!(driven.take_times(millis(0)), [500, 4500, 8500]);
    driven.packet(&response(&bye, "200 OK", "", "", b""));
    assert_eq!(driven.endpoint.transaction_count(), 2);
    driven.run_for(millis(4999));
    assert_eq!(driven.endpoint.transaction_count(), 2);
    driven.run_for(millis(1));
    assert_eq!(driven.endpoint.transaction_count(), 1);
}

#[test]
fn timers_g_and_h_repeat_a_refusal_to_32_s() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    reject(&mut driven);
    assert_eq!(
        driven.sent.first().map(|sent| first_line(&sent.2)),
        Some("SIP/2.0 486 Line Busy".into())
    );
    driven.run_for(millis(60_000));
    assert_eq!(
        driven.take_times(millis(0)),
        [
            0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert_eq!(driven.endpoint.counters().timeouts, 1);
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn timer_i_absorbs_acks_for_5_s() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    reject(&mut driven);
    driven.run_for(millis(700));
    driven.packet(&request("ACK", 1, "1", "", "", b""));
    let start = driven.now;
    driven.packet(&request("ACK", 1, "1", "", "", b""));
    driven.packet(&invite("1"));
    assert_eq!(end_of_transactions(&mut driven, start), 5000);
    assert_eq!(driven.take_times(millis(0)), [0, 500]);
}

#[test]
fn timer_j_repeats_the_answer_to_a_bye_for_32_s() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ours = tag(header(&driven.take_sent()[0], "To")).to_owned();
    driven.packet(&request("BYE", 2, "2", &ours, "", b""));
    driven.run_for(millis(31_000));
    driven.packet(&request("BYE", 2, "2", &ours, "", b""));
    assert_eq!(driven.take_times(millis(0)), [0, 31_000]);
    assert_eq!(end_of_transactions(&mut driven, millis(0)), 32_000);
}

#[test]
fn timer_l_keeps_an_accepted_invite_for_32_s() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.run_for(millis(1000));
    driven.take_sent();
    let start = driven.now;
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ours = tag(header(&driven.take_sent()[0], "To")).to_owned();
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    assert_eq!(end_of_transactions(&mut driven, start), 32_000);
    assert_eq!(driven.endpoint.call_count(), 1);
}

#[test]
fn timer_m_keeps_an_answered_invite_for_32_s() {
    let mut driven = Driven::new();
    driven.dial();
    let invite = driven.take_sent().remove(0);
    driven.packet(&response(&invite, "200 OK", "far", "", ANSWER));
    assert_eq!(end_of_transactions(&mut driven, millis(0)), 32_000);
    assert_eq!(driven.endpoint.call_count(), 1);
}

#[test]
fn on_a_stream_nothing_is_repeated_except_the_200() {
    let mut driven = Driven::new();
    driven.packet_on(stream(), invite("1").as_bytes());
    reject(&mut driven);
    driven.run_for(millis(31_000));
    driven.packet_on(stream(), request("ACK", 1, "1", "", "", b"").as_bytes());
    assert_eq!(driven.take_times(millis(0)), [0]);
    assert_eq!(driven.endpoint.transaction_count(), 0);
    let start = driven.now;
    driven.packet_on(stream(), invite("2").as_bytes());
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    driven.run_for(millis(1500));
    assert_eq!(driven.take_times(start), [0, 500, 1500]);
}

#[test]
fn every_timer_follows_a_configured_t1() {
    let t1 = millis(10);
    let mut driven = Driven::with(EndpointConfig {
        timers: TimerValues {
            t1,
            ..TimerValues::RFC3261
        },
        ..EndpointConfig::default()
    });
    driven.dial();
    assert_eq!(end_of_transactions(&mut driven, millis(0)), 640);
    assert_eq!(driven.take_times(millis(0)), [0, 10, 30, 70, 150, 310, 630]);
}

#[test]
fn a_configured_t1_of_zero_does_not_repeat_for_ever() {
    let mut driven = Driven::with(EndpointConfig {
        timers: TimerValues {
            t1: millis(0),
            t2: millis(0),
            t4: millis(0),
        },
        ..EndpointConfig::default()
    });
    driven.dial();
    assert_eq!(end_of_transactions(&mut driven, millis(0)), 64);
}

#[test]
fn a_reinvite_left_alone_gets_a_trying_and_ends_with_the_call() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ours = tag(header(&driven.take_sent()[0], "To")).to_owned();
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    driven.packet(&request("INVITE", 2, "3", &ours, "", OFFER));
    driven.run_for(millis(300));
    assert_eq!(driven.take_lines(), ["SIP/2.0 100 Trying"]);
    driven.packet(&request("BYE", 3, "4", &ours, "", b""));
    assert_eq!(
        driven.take_lines(),
        ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    );
    let answer = ReinviteAnswer::Refuse(StatusCode::DECLINE);
    driven.command(Command::AnswerReinvite { key, answer });
    assert_eq!(driven.endpoint.counters().stale_commands, 1);
}
