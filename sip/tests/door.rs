//! Who is let in: trunks that must prove who they are, and strangers.

mod support;

use core::time::Duration;

use offhook_sip::digest::{Covered, Credentials, Login, Taken};
use offhook_sip::parse::Message;
use offhook_sip::{Command, Door, EndpointConfig, Event, Input, StatusCode, TrunkKey, parse};
use support::*;

const TRUNK: TrunkKey = TrunkKey(3);

fn guarded() -> Driven {
    behind(false)
}

fn behind(md5_only: bool) -> Driven {
    let mut driven = Driven::new();
    let door = Door {
        realm: "box.example".into(),
        md5_only,
        credentials: Credentials {
            user: "pbx".into(),
            password: "s3cret".into(),
        },
    };
    driven.command(Command::Guard(TRUNK, Box::new(door)));
    driven
}

fn knock(driven: &mut Driven, text: &str) {
    let (flow, bytes) = (peer_flow(), text.as_bytes());
    driven.input(Input::Guarded {
        flow,
        trunk: TRUNK,
        bytes,
    });
}

/// The questions of a 401.
fn questions(answer: &str) -> Vec<String> {
    let lines = answer.lines();
    lines
        .filter_map(|line| line.strip_prefix("WWW-Authenticate: "))
        .map(str::to_owned)
        .collect()
}

/// The same request with the answer to a question.
fn proven(text: &str, question: &str, password: &str, count: u32) -> String {
    let uri = text.split(' ').nth(1).expect("a Request-URI");
    proven_for(uri, text, question, password, count)
}

/// The same by the hash of another URI.
fn proven_for(uri: &str, text: &str, question: &str, password: &str, count: u32) -> String {
    let method = text.split(' ').next().expect("a method");
    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
    let covered = Covered {
        method,
        uri,
        body: body.as_bytes(),
    };
    let mut login = Login::new(Credentials {
        user: "pbx".into(),
        password: password.into(),
    });
    let refusal = format!(
        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\n\
         To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nWWW-Authenticate: {question}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let view = parse(refusal.as_bytes()).expect("legal");
    let Ok(Message::Response(response)) = view.check() else {
        panic!("a response");
    };
    let taken = login.take(
        StatusCode::UNAUTHORIZED,
        &response.core,
        &mut Taken::default(),
    );
    taken.expect("a question that can be answered");
    let mut line = String::new();
    for _ in 0..count {
        let lines = login.lines(&covered, "0a4f113b");
        line = format!("{}: {}\r\n", lines[0].name, lines[0].value);
    }
    text.replacen("Max-Forwards", &format!("{line}Max-Forwards"), 1)
}

fn came_in(driven: &mut Driven) -> bool {
    let told = driven.take_events();
    told.iter()
        .any(|event| matches!(event, Event::Incoming { .. }))
}

#[test]
fn a_guarded_trunk_is_asked_and_let_in_by_either_digest_and_no_answer_works_twice() {
    for which in 0..2 {
        let mut driven = guarded();
        let first = invite("a");
        knock(&mut driven, &first);
        let asked = driven.take_sent().pop().expect("a 401");
        assert!(asked.starts_with("SIP/2.0 401 "), "{asked}");
        assert_eq!(
            driven.endpoint.transaction_count(),
            0,
            "asking costs no memory"
        );
        assert!(!came_in(&mut driven));
        let asked = questions(&asked);
        assert_eq!(asked.len(), 2);
        let second = proven(&invite("b"), &asked[which], "s3cret", 1);
        knock(&mut driven, &second);
        assert!(came_in(&mut driven), "{which}");
        driven.take_sent();
        let replayed = second
            .replace("z9hG4bKb", "z9hG4bKc")
            .replace("Call-ID: ", "Call-ID: x");
        knock(&mut driven, &replayed);
        let refused = driven.take_sent().pop().expect("a 401");
        assert!(questions(&refused)[0].contains("stale=true"), "{refused}");
        assert!(!came_in(&mut driven), "the same answer does not work again");
        let counted =
            proven(&invite("d"), &asked[which], "s3cret", 2).replace("Call-ID: ", "Call-ID: y");
        knock(&mut driven, &counted);
        assert!(came_in(&mut driven), "the next count does");
        assert_eq!(driven.endpoint.counters().wrong_passwords, 1);
    }
}

#[test]
fn who_knows_only_md5_is_asked_for_nothing_else() {
    let mut driven = behind(true);
    knock(&mut driven, &invite("a"));
    let asked = questions(&driven.take_sent().pop().expect("a 401"));
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains("algorithm=MD5"), "{asked:?}");
    knock(&mut driven, &proven(&invite("b"), &asked[0], "s3cret", 1));
    assert!(came_in(&mut driven));
}

#[test]
fn a_wrong_password_is_forbidden_and_an_old_question_is_asked_anew() {
    let mut driven = guarded();
    knock(&mut driven, &invite("a"));
    let asked = questions(&driven.take_sent().pop().expect("a 401"));
    knock(&mut driven, &proven(&invite("b"), &asked[0], "guess", 1));
    assert!(driven.take_lines()[0].contains("403 "));
    driven.run_for(Duration::from_secs(301));
    knock(&mut driven, &proven(&invite("c"), &asked[0], "s3cret", 1));
    let again = driven.take_sent().pop().expect("a 401");
    assert!(questions(&again)[0].contains("stale=true"), "{again}");
    let fresh = questions(&again);
    knock(&mut driven, &proven(&invite("d"), &fresh[0], "s3cret", 1));
    assert!(came_in(&mut driven));
}

#[test]
fn an_answer_for_one_request_does_not_open_the_door_for_another() {
    let mut driven = guarded();
    knock(&mut driven, &invite("a"));
    let asked = questions(&driven.take_sent().pop().expect("a 401"));
    let stolen = proven(
        &request("OPTIONS", 1, "b", "", "", b""),
        &asked[0],
        "s3cret",
        1,
    );
    knock(&mut driven, &stolen.replace("OPTIONS", "INVITE"));
    assert!(driven.take_lines()[0].contains("403 "));
    assert!(!came_in(&mut driven));
}

#[test]
fn who_hashes_the_host_alone_is_let_in_and_who_hashes_another_user_is_not() {
    for (uri, welcome) in [
        ("sip:192.0.2.1", true),
        ("sip:101@192.0.2.1", false),
        ("sip:192.0.2.2", false),
    ] {
        let mut driven = guarded();
        knock(&mut driven, &invite("a"));
        let asked = questions(&driven.take_sent().pop().expect("a 401"));
        knock(
            &mut driven,
            &proven_for(uri, &invite("b"), &asked[1], "s3cret", 1),
        );
        assert_eq!(came_in(&mut driven), welcome, "{uri}");
    }
}

#[test]
fn inside_a_call_nobody_is_asked_and_without_a_door_nobody_is_let_in() {
    let mut driven = guarded();
    driven.packet(&invite("a"));
    let key = driven.incoming_key();
    driven.command(Command::Accept {
        key,
        sdp: ANSWER.to_vec(),
        headers: Vec::new(),
    });
    let ours = tag(header(&driven.take_sent().pop().expect("a 200"), "To")).to_owned();
    knock(&mut driven, &request("ACK", 1, "b", &ours, "", b""));
    knock(&mut driven, &request("BYE", 2, "c", &ours, "", b""));
    assert!(driven.take_lines()[0].contains("200 "));
    let mut open = Driven::new();
    knock(&mut open, &invite("a"));
    assert!(open.take_lines()[0].contains("403 "));
}

#[test]
fn a_flood_of_strangers_is_answered_for_a_while_and_then_ignored() {
    let mut driven = Driven::with(EndpointConfig {
        strangers_per_second: 10,
        ..EndpointConfig::default()
    });
    let flood = |driven: &mut Driven| {
        for number in 0..100 {
            driven.stranger(&invite(&format!("f{number}")));
        }
        driven.take_sent().len()
    };
    assert_eq!(flood(&mut driven), 10);
    driven.run_for(Duration::from_secs(1));
    assert_eq!(flood(&mut driven), 10);
    let counted = driven.endpoint.counters();
    assert_eq!(
        (counted.refused_strangers, counted.ignored_strangers),
        (200, 180)
    );
    assert_eq!(driven.endpoint.transaction_count(), 0);
}
