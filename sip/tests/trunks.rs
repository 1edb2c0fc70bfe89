//! Trunks that are kept up with: registration, refresh, health, passwords.

mod support;

use core::time::Duration;

use offhook_sip::digest::{Covered, Credentials, Doorkeeper, Verdict};
use offhook_sip::{
    Command, EndCause, Event, Input, Invite, Outage, Party, Probing, Registration, Standing,
    StatusCode, Trunk, TrunkKey, Way,
};
use support::*;

const KEY: TrunkKey = TrunkKey(7);

fn trunk() -> Trunk {
    Trunk {
        key: KEY,
        flow: peer_flow(),
        target: uri("sip:198.51.100.7"),
        routes: Vec::new(),
        credentials: Some(Credentials {
            user: "box".into(),
            password: "s3cret".into(),
        }),
        registration: None,
        probing: None,
    }
}

fn registered() -> Trunk {
    Trunk {
        registration: Some(Registration {
            registrar: uri("sip:registrar.example"),
            address: uri("sip:box@registrar.example"),
            contact_user: "box".into(),
            expires: 600,
        }),
        ..trunk()
    }
}

fn probed() -> Trunk {
    Trunk {
        probing: Some(Probing {
            every: Duration::from_secs(30),
            down_after: 2,
            up_after: 2,
        }),
        ..trunk()
    }
}

fn keep(trunk: Trunk) -> Driven {
    let mut driven = Driven::new();
    driven.command(Command::KeepTrunk(Box::new(trunk)));
    driven
}

fn answer(driven: &mut Driven, request: &str, status: &str, lines: &str) {
    driven.packet(&response(request, status, "srv", lines, b""));
}

fn last(driven: &mut Driven) -> String {
    driven.take_sent().pop().expect("something was sent")
}

fn standings(driven: &mut Driven) -> Vec<Standing> {
    let events = driven.take_events();
    let standing = |event| match event {
        Event::Trunk { key: KEY, standing } => Some(standing),
        _ => None,
    };
    events.into_iter().filter_map(standing).collect()
}

fn line_of(message: &str, name: &str) -> Option<String> {
    let line = message.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim_start_matches(": ").to_owned())
}

/// Whether the request proves that its sender knows the password.
fn proven(door: &mut Doorkeeper, now: Duration, message: &str) -> Verdict {
    let mut words = message.split(' ');
    let (method, uri) = (words.next().expect("a"), words.next().expect("b"));
    let body = message
        .split("\r\n\r\n")
        .nth(1)
        .unwrap_or_default()
        .as_bytes();
    let covered = Covered { method, uri, body };
    let value = line_of(message, "Authorization").unwrap_or_default();
    door.check(now, &covered, value.as_bytes(), |user| {
        (user == "box").then(|| "s3cret".to_owned())
    })
}

fn welcome() -> Verdict {
    Verdict::Welcome { user: "box".into() }
}

fn questions(door: &mut Doorkeeper, now: Duration, stale: bool) -> String {
    let lines = door.ask(now, stale);
    lines
        .map(|line| format!("WWW-Authenticate: {line}\r\n"))
        .concat()
}

#[test]
fn a_registration_proves_itself_and_is_refreshed_before_it_lapses() {
    let mut door = Doorkeeper::new("registrar.example", [1; 32]);
    let mut driven = keep(registered());
    let first = last(&mut driven);
    assert_eq!(first_line(&first), "REGISTER sip:registrar.example SIP/2.0");
    assert_eq!(header(&first, "Contact"), "<sip:box@192.0.2.1:5060>");
    assert_eq!(header(&first, "Expires"), "600");
    assert!(driven.take_events().is_empty(), "nothing is known yet");
    let asked = questions(&mut door, driven.now, false);
    answer(&mut driven, &first, "401 Unauthorized", &asked);
    let second = last(&mut driven);
    assert_eq!(proven(&mut door, driven.now, &second), welcome());
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(&second, "CSeq"), "2 REGISTER");
    let granted = "Contact: <sip:x@h>;expires=9, <sip:box@192.0.2.1:5060>;expires=300\r\n";
    answer(&mut driven, &second, "200 OK", granted);
    assert_eq!(standings(&mut driven), [Standing::Up]);
    let start = driven.now;
    driven.run_for(millis(267_000));
    assert_eq!(driven.sent.len(), 0);
    driven.run_for(millis(2000));
    assert_eq!(driven.sent[0].0 - start, millis(268_000));
    let refresh = driven.take_sent().remove(0);
    assert_eq!(
        proven(&mut door, driven.now, &refresh),
        welcome(),
        "the nonce is used again with the next count"
    );
    answer(&mut driven, &refresh, "200 OK", "Expires: 120\r\n");
    assert_eq!(standings(&mut driven), []);
    assert_eq!(driven.endpoint.counters().challenged, 1);
}

#[test]
fn what_counts_is_our_own_binding_and_not_another_phone_of_the_same_user() {
    let ours = "<sip:box@192.0.2.1:5060>;expires=60";
    let desk = "<sip:box@198.51.100.50:5060>;expires=3600";
    let rows = [
        (format!("{desk}, {ours}"), 30),
        (format!("{ours}, {desk}"), 30),
        // A registrar that writes where it sees us: the shortest is safe.
        (
            format!("{desk}, <sip:box@203.0.113.5:1024>;expires=120"),
            88,
        ),
        (
            "<sip:box@203.0.113.5>;expires=600, <sip:box@203.0.113.6>".into(),
            540,
        ),
    ];
    for (contacts, due) in rows {
        let mut driven = keep(registered());
        let request = last(&mut driven);
        let lines = format!("Contact: {contacts}\r\n");
        answer(&mut driven, &request, "200 OK", &lines);
        driven.run_for(Duration::from_secs(due - 1));
        assert_eq!(driven.take_lines(), [] as [&str; 0], "{contacts}");
        driven.run_for(Duration::from_secs(1));
        assert_eq!(driven.take_lines().len(), 1, "{contacts}");
    }
}

#[test]
fn a_registered_datagram_path_is_kept_open_with_line_ends_as_often_as_it_needs() {
    for (lines, least, most) in [("", 23, 29), ("Flow-Timer: 10\r\n", 8, 10)] {
        let mut driven = keep(registered());
        let request = last(&mut driven);
        driven.run_for(Duration::from_secs(30));
        assert_eq!(driven.pings, [], "not before it is registered");
        driven.sent.clear();
        answer(&mut driven, &request, "200 OK", lines);
        let start = driven.now;
        driven.run_for(Duration::from_secs(200));
        let times = driven.pings.iter().map(|(at, _)| *at);
        let before = std::iter::once(start).chain(times.clone());
        let gaps: Vec<_> = times.zip(before).map(|(at, last)| at - last).collect();
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
        assert!(gaps.len() >= 6, "{gaps:?}");
        assert!(
            gaps.iter().all(|gap| (least..=most).contains(gap)),
            "{gaps:?}"
        );
        assert!(driven.pings.iter().all(|(_, flow)| *flow == peer_flow()));
        driven.command(Command::DropTrunk(KEY));
        driven.pings.clear();
        driven.run_for(Duration::from_secs(60));
        assert_eq!(driven.pings, []);
    }
}

#[test]
fn a_trunk_on_a_stream_or_without_a_registration_gets_no_line_ends_from_here() {
    let mut stream = registered();
    stream.flow.transport = offhook_sip::Transport::Tcp;
    for trunk in [stream, probed()] {
        let mut driven = keep(trunk);
        let request = last(&mut driven);
        answer(&mut driven, &request, "200 OK", "");
        driven.run_for(Duration::from_secs(120));
        assert_eq!(driven.pings, []);
    }
}

#[test]
fn a_stale_nonce_costs_one_more_round_and_no_outage() {
    let mut door = Doorkeeper::new("r", [1; 32]);
    let mut driven = keep(registered());
    let request = last(&mut driven);
    let asked = questions(&mut door, driven.now, false);
    answer(&mut driven, &request, "401 Unauthorized", &asked);
    let request = last(&mut driven);
    let asked = questions(&mut door, driven.now, true);
    answer(&mut driven, &request, "401 Unauthorized", &asked);
    let request = last(&mut driven);
    assert_eq!(proven(&mut door, driven.now, &request), welcome());
    answer(&mut driven, &request, "200 OK", "");
    assert_eq!(standings(&mut driven), [Standing::Up]);
}

#[test]
fn a_wrong_password_is_said_at_once_and_tried_ever_more_rarely() {
    let mut door = Doorkeeper::new("r", [1; 32]);
    let mut driven = keep(registered());
    let mut gaps = Vec::new();
    for round in 0..6 {
        let start = driven.now;
        let request = last(&mut driven);
        for _ in 0..2 {
            let asked = questions(&mut door, driven.now, false);
            answer(&mut driven, &request, "401 Unauthorized", &asked);
            if let Some((_, _, again)) = driven.sent.pop() {
                answer(&mut driven, &again, "401 Unauthorized", &asked);
            }
        }
        let expected: &[Standing] = if round == 0 {
            &[Standing::Down(Outage::WrongPassword)]
        } else {
            &[]
        };
        assert_eq!(standings(&mut driven), expected);
        driven.sent.clear();
        while driven.sent.is_empty() {
            let next = driven.next.expect("a try is due");
            driven.run_until(next);
        }
        gaps.push((driven.now - start).as_secs());
    }
    let least = [2, 5, 10, 20, 40, 80];
    assert!(
        gaps.iter().zip(least).all(|(gap, least)| *gap >= least),
        "{gaps:?}"
    );
}

#[test]
fn a_registrar_that_wants_longer_times_gets_them() {
    let mut driven = keep(registered());
    let request = last(&mut driven);
    answer(
        &mut driven,
        &request,
        "423 Interval Too Brief",
        "Min-Expires: 1800\r\n",
    );
    let request = last(&mut driven);
    assert_eq!(header(&request, "Expires"), "1800");
    answer(
        &mut driven,
        &request,
        "423 Interval Too Brief",
        "Min-Expires: 3600\r\n",
    );
    let down = Outage::Refused(
        StatusCode::INTERVAL_TOO_BRIEF,
        "Interval Too Brief".to_owned(),
    );
    assert_eq!(standings(&mut driven), [Standing::Down(down)]);
}

#[test]
fn a_silent_registrar_is_an_outage_once_the_binding_is_in_doubt() {
    let mut driven = keep(registered());
    let request = last(&mut driven);
    answer(&mut driven, &request, "200 OK", "Expires: 3600\r\n");
    assert_eq!(standings(&mut driven), [Standing::Up]);
    driven.run_for(Duration::from_secs(3240 + 32));
    assert_eq!(standings(&mut driven), [], "one lost refresh is none");
    driven.run_for(Duration::from_secs(60));
    let down = Standing::Down(Outage::RegistrarSilent);
    assert_eq!(standings(&mut driven), [down]);
    let request = last(&mut driven);
    answer(&mut driven, &request, "200 OK", "Expires: 3600\r\n");
    assert_eq!(standings(&mut driven), [Standing::Up]);
}

#[test]
fn options_tell_a_trunk_down_and_up_with_hysteresis() {
    let mut driven = keep(probed());
    let request = last(&mut driven);
    assert_eq!(first_line(&request), "OPTIONS sip:198.51.100.7 SIP/2.0");
    answer(&mut driven, &request, "404 Not Found", "");
    assert_eq!(standings(&mut driven), [Standing::Up], "any answer is one");
    driven.run_for(Duration::from_secs(60));
    assert_eq!(standings(&mut driven), [Standing::Down(Outage::Silent)]);
    driven.sent.clear();
    let mut answers = 0;
    while standings(&mut driven).is_empty() {
        driven.run_for(millis(500));
        for (_, _, request) in std::mem::take(&mut driven.sent) {
            if request.starts_with("OPTIONS") && !request.contains(";answered") {
                answer(&mut driven, &request, "200 OK", "");
                answers += 1;
            }
        }
        assert!(answers < 10);
    }
    assert_eq!(answers, 2, "one answer is no recovery");
    assert_eq!(driven.endpoint.standing(KEY), Some(&Standing::Up));
}

#[test]
fn a_trunk_that_answers_503_or_refuses_connections_says_so() {
    for (lost, outage) in [
        (false, Outage::Failing(StatusCode::SERVICE_UNAVAILABLE)),
        (true, Outage::Unreachable),
    ] {
        let mut driven = keep(probed());
        for _ in 0..2 {
            let (_, flow, request) = driven.sent.pop().expect("a question");
            if lost {
                driven.input(Input::Unreachable { flow });
            } else {
                answer(&mut driven, &request, "503 Service Unavailable", "");
            }
            driven.sent.clear();
            while driven.sent.is_empty() {
                let next = driven.next.expect("another question");
                driven.run_until(next);
            }
        }
        assert_eq!(standings(&mut driven), [Standing::Down(outage)]);
    }
}

fn dial_by(driven: &mut Driven, trunk: TrunkKey) -> offhook_sip::CallKey {
    let key = driven.endpoint.next_key();
    driven.command(Command::Invite(Box::new(Invite {
        key,
        way: Way {
            flow: peer_flow(),
            trunk: Some(trunk),
            target: uri("sip:+4930123@198.51.100.7"),
            from: Party {
                display: None,
                uri: uri("sip:box@registrar.example"),
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

#[test]
fn a_call_goes_by_the_service_route_and_proves_itself_with_its_body() {
    let mut door = Doorkeeper::new("r", [1; 32]);
    let mut driven = keep(registered());
    let request = last(&mut driven);
    let routes = "Service-Route: <sip:p1;lr>, <sip:p2;lr>\r\nExpires: 600\r\n";
    answer(&mut driven, &request, "200 OK", routes);
    driven.take_events();
    let key = dial_by(&mut driven, KEY);
    let invite = last(&mut driven);
    let routes: Vec<_> = invite
        .lines()
        .filter_map(|line| line.strip_prefix("Route: "))
        .collect();
    assert_eq!(routes, ["<sip:p1;lr>", "<sip:p2;lr>"]);
    let asked = questions(&mut door, driven.now, false).replace("auth,auth-int", "auth-int");
    answer(&mut driven, &invite, "401 Unauthorized", &asked);
    let sent = driven.take_sent();
    assert_eq!(
        first_line(&sent[0]),
        "ACK sip:+4930123@198.51.100.7 SIP/2.0"
    );
    let again = &sent[1];
    assert_eq!(proven(&mut door, driven.now, again), welcome());
    assert_ne!(header(again, "Via"), header(&invite, "Via"));
    assert_eq!(tag(header(again, "From")), tag(header(&invite, "From")));
    assert!(!header(again, "To").contains("tag"));
    driven.packet(&response(again, "200 OK", "far", CONTACT, ANSWER));
    let ack = last(&mut driven);
    let credentials = header(again, "Authorization");
    assert_eq!(
        header(&ack, "Authorization"),
        credentials,
        "RFC 3261 §13.2.2.4"
    );
    assert_eq!(
        header(&ack, "CSeq").split(' ').next(),
        header(again, "CSeq").split(' ').next()
    );
    assert!(matches!(driven.take_events()[..], [Event::Answered { .. }]));
    driven.command(Command::Hangup { key, reason: None });
    let bye = last(&mut driven);
    let asked = questions(&mut door, driven.now, false);
    answer(&mut driven, &bye, "401 Unauthorized", &asked);
    let bye = last(&mut driven);
    assert_eq!(proven(&mut door, driven.now, &bye), welcome());
    answer(&mut driven, &bye, "200 OK", "");
    let cause = EndCause::LocalBye;
    assert_eq!(
        driven.take_events(),
        [Event::Ended { key, cause }, Event::Released { key }]
    );
    driven.run_for(Duration::from_secs(40));
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn a_call_with_a_wrong_password_fails_with_the_servers_words() {
    let mut door = Doorkeeper::new("r", [1; 32]);
    let mut driven = keep(trunk());
    dial_by(&mut driven, KEY);
    for _ in 0..2 {
        let (_, _, invite) = driven.sent.pop().expect("an INVITE");
        let asked = questions(&mut door, driven.now, false);
        answer(&mut driven, &invite, "401 No Way", &asked);
    }
    let events = driven.take_events();
    let Some(Event::Failed { failure, .. }) = events
        .iter()
        .find(|event| matches!(event, Event::Failed { .. }))
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (failure.status.code(), failure.phrase.as_str()),
        (401, "No Way")
    );
    driven.run_for(Duration::from_secs(40));
    assert_eq!(driven.endpoint.call_count(), 0);
    assert_eq!(driven.take_events(), []);
}

#[test]
fn a_call_that_is_taken_back_while_it_is_asked_is_not_placed_again() {
    let mut door = Doorkeeper::new("r", [1; 32]);
    let mut driven = keep(trunk());
    let key = dial_by(&mut driven, KEY);
    let invite = last(&mut driven);
    driven.command(Command::Hangup { key, reason: None });
    let asked = questions(&mut door, driven.now, false);
    answer(&mut driven, &invite, "401 Unauthorized", &asked);
    assert_eq!(
        driven.take_lines(),
        ["ACK sip:+4930123@198.51.100.7 SIP/2.0"]
    );
    let cause = EndCause::LocalCancel;
    assert!(driven.take_events().contains(&Event::Ended { key, cause }));
}

#[test]
fn a_lost_connection_fails_what_waits_for_it_at_once() {
    let mut driven = keep(trunk());
    let key = dial_by(&mut driven, KEY);
    let (_, flow, _) = driven.sent.pop().expect("an INVITE");
    driven.input(Input::Unreachable { flow });
    let events = driven.take_events();
    let Some(Event::Failed { failure, .. }) = events
        .iter()
        .find(|event| matches!(event, Event::Failed { .. }))
    else {
        panic!("{events:?}");
    };
    assert!(failure.local && failure.status == StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(events.last(), Some(&Event::Released { key }));
    assert_eq!(driven.endpoint.transaction_count(), 0);
}

#[test]
fn leaving_a_trunk_takes_the_registration_back_and_leaves_nothing() {
    let mut driven = keep(registered());
    let request = last(&mut driven);
    answer(&mut driven, &request, "200 OK", "Expires: 600\r\n");
    driven.take_events();
    driven.command(Command::DropTrunk(KEY));
    let request = last(&mut driven);
    assert_eq!(header(&request, "Expires"), "0");
    answer(&mut driven, &request, "200 OK", "");
    driven.run_for(Duration::from_secs(700));
    assert_eq!(driven.take_lines(), [] as [&str; 0]);
    assert_eq!((driven.take_events().len(), driven.next), (0, None));
}
