//! Whole calls on both roles, message by message.

mod support;

use offhook_sip::{Command, EndCause, Event, Input, Output, StatusCode, StoredDialog};
use support::*;

/// A call that came in and was accepted; its key and our tag.
fn accepted(driven: &mut Driven) -> (offhook_sip::CallKey, String) {
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let sent = driven.take_sent();
    let ok = sent.last().expect("a 200");
    assert_eq!(first_line(ok), "SIP/2.0 200 OK");
    (key, tag(header(ok, "To")).to_owned())
}

#[test]
fn a_call_comes_in_rings_is_answered_and_hung_up_by_the_caller() {
    let mut driven = Driven::new();
    driven.packet(&invite("1"));
    let key = driven.incoming_key();
    let Some(Event::Incoming { invite, .. }) = driven.events.first() else {
        panic!("no incoming call");
    };
    assert_eq!(invite.request_uri.user().as_deref(), Some("100"));
    assert_eq!(invite.from.display.as_deref(), Some("Alice"));
    assert_eq!(invite.offer.as_deref(), Some(OFFER));
    driven.command(Command::Ring {
        key,
        status: StatusCode::RINGING,
        sdp: None,
        headers: Vec::new(),
    });
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[0]), "SIP/2.0 180 Ringing");
    assert_eq!(first_line(&sent[1]), "SIP/2.0 200 OK");
    let ours = tag(header(&sent[1], "To"));
    assert_eq!(ours, tag(header(&sent[0], "To")));
    assert!(sent[1].ends_with(core::str::from_utf8(ANSWER).expect("ascii")));
    driven.packet(&request("ACK", 1, "2", ours, "", b""));
    driven.packet(&request(
        "BYE",
        2,
        "3",
        ours,
        "Reason: Q.850;cause=16\r\n",
        b"",
    ));
    assert_eq!(driven.take_lines(), ["SIP/2.0 200 OK"]);
    let reason = Some("Q.850;cause=16".to_owned());
    assert_eq!(
        driven.take_events()[1..],
        [
            Event::Confirmed { key, sdp: None },
            Event::Ended {
                key,
                cause: EndCause::RemoteBye { reason }
            },
            Event::Released { key },
        ]
    );
    driven.run_for(millis(64_000));
    assert_eq!(driven.endpoint.transaction_count(), 0);
    assert_eq!(driven.next, None);
}

#[test]
fn a_call_goes_out_is_answered_and_hung_up_by_us() {
    let mut driven = Driven::new();
    let key = driven.dial();
    let sent = driven.take_sent();
    assert_eq!(first_line(&sent[0]), "INVITE sip:bob@198.51.100.7 SIP/2.0");
    assert!(header(&sent[0], "From").starts_with(r#""Off \"hook\"" <sip:offhook@192.0.2.1>;tag="#));
    let contact = "Contact: <sip:bob@198.51.100.7:5080>\r\n";
    driven.packet(&response(&sent[0], "180 Ringing", "far", contact, b""));
    driven.packet(&response(&sent[0], "200 OK", "far", contact, ANSWER));
    let (_, to, ack) = driven.sent.pop().expect("an ACK");
    assert_eq!(first_line(&ack), "ACK sip:bob@198.51.100.7:5080 SIP/2.0");
    assert_eq!(to.remote.port(), 5080);
    let stored = driven.endpoint.stored_dialog(key).expect("established");
    assert_eq!(stored.target, "sip:bob@198.51.100.7:5080");
    driven.command(Command::Hangup { key, reason: None });
    let bye = driven.take_sent().remove(0);
    assert_eq!(first_line(&bye), "BYE sip:bob@198.51.100.7:5080 SIP/2.0");
    assert_eq!(tag(header(&bye, "To")), "far");
    driven.packet(&response(&bye, "200 OK", "far", "", b""));
    assert_eq!(
        driven.take_events(),
        [
            Event::Progress {
                key,
                status: StatusCode::RINGING,
                fork: 0,
                sdp: None
            },
            Event::Answered {
                key,
                sdp: Some(ANSWER.to_vec())
            },
            Event::Ended {
                key,
                cause: EndCause::LocalBye
            },
            Event::Released { key },
        ]
    );
    // A late repetition of the 200 is still acknowledged.
    driven.packet(&response(&sent[0], "200 OK", "far", contact, ANSWER));
    assert_eq!(
        driven.take_lines(),
        ["ACK sip:bob@198.51.100.7:5080 SIP/2.0"]
    );
    driven.run_for(millis(40_000));
    assert_eq!(driven.take_events(), []);
    assert_eq!(driven.endpoint.call_count(), 0);
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn a_stored_dialog_gets_its_bye_from_another_process() {
    let mut driven = Driven::new();
    let (key, ours) = accepted(&mut driven);
    driven.packet(&request("ACK", 1, "2", &ours, "", b""));
    let text = driven
        .endpoint
        .stored_dialog(key)
        .expect("established")
        .to_text();
    let mut later = Driven::new();
    let dialog = StoredDialog::from_text(&text).expect("our own text");
    let key = later.endpoint.next_key();
    let dialog = Box::new(dialog);
    later.command(Command::AbandonedBye { key, dialog });
    let bye = later.take_sent().remove(0);
    assert_eq!(first_line(&bye), "BYE sip:alice@198.51.100.7:5060 SIP/2.0");
    assert_eq!(tag(header(&bye, "From")), ours);
    assert_eq!(tag(header(&bye, "To")), "peer");
    later.packet(&response(&bye, "481 No", "", "", b""));
    let cause = EndCause::LocalBye;
    assert_eq!(
        later.take_events(),
        [Event::Ended { key, cause }, Event::Released { key }]
    );
}

#[test]
fn an_endpoint_without_work_waits_for_ever() {
    let mut driven = Driven::new();
    driven.endpoint.handle(millis(5), Input::Wake);
    assert!(matches!(driven.endpoint.poll(), Output::Wait(None)));
}
