//! One effect for one yes, whatever comes between: the caller talks over the
//! confirmation, hangs up, takes it back, asks for a person, the process dies, the
//! receiver's answer is lost and the row comes again. Each in every order that makes
//! sense, counted at the sink.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::Place;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::speech::spoken;
use serde_json::Value;

/// What happens once the caller was asked whether to book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Presses 1.
    Yes,
    /// Presses 2: that was wrong.
    No,
    /// Talks over whatever is being said.
    TalksOver,
    /// Presses 0: wants a person.
    Person,
    /// Hangs up.
    HangsUp,
    /// An operator ends the call.
    Operator,
    /// kill -9, and a restart.
    Dies,
    /// Nothing for a second.
    Waits,
}
use Step::{Dies, HangsUp, No, Operator, Person, TalksOver, Waits, Yes};

/// What is taken back comes late: the box narrows what is taken back too often.
const ROWS: [&[Step]; 13] = [
    &[Yes, Waits, HangsUp],
    &[Yes, HangsUp],
    &[Yes, TalksOver, HangsUp],
    &[TalksOver, Yes, HangsUp],
    &[Yes, TalksOver, Waits, Operator],
    &[Yes, Yes, HangsUp],
    &[Yes, Person, HangsUp],
    &[Yes, No, HangsUp],
    &[Yes, No, Waits, HangsUp],
    &[Yes, Dies],
    &[Yes, HangsUp, Dies],
    &[Yes, TalksOver, Dies],
    &[Yes, No, Dies],
];

/// Stands before the sink and loses every other answer: the sink has the delivery,
/// and the daemon does not know.
fn loses_answers(sink: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for (count, daemon) in listener.incoming().flatten().enumerate() {
            let sink = sink.clone();
            thread::spawn(move || pass_on(daemon, &sink, count % 2 == 0));
        }
    });
    address
}

fn pass_on(mut daemon: TcpStream, sink: &str, loses: bool) -> Option<()> {
    loop {
        let request = message(&mut daemon)?;
        let mut there = TcpStream::connect(sink).ok()?;
        there.write_all(&request).ok()?;
        let answer = message(&mut there)?;
        if loses {
            return None;
        }
        daemon.write_all(&answer).ok()?;
    }
}

/// One HTTP message with the body that its Content-Length says.
fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some(head) = text.find("\r\n\r\n") {
            let length = text[..head]
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |it| it.trim().parse().unwrap_or(0));
            if bytes.len() >= head + 4 + length {
                return Some(bytes);
            }
        }
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

fn wait_stage(daemon: &Daemon, id: &str, stage: &str) {
    wait_for(stage, seconds(20), || {
        (daemon.json(&["call", id])["call"]["stage"] == stage).then_some(())
    });
}

/// A caller who was just asked whether to book Tuesday.
fn asked(daemon: &Daemon, caller: &str) -> (Call, String) {
    let call = Peer::new().named(caller).call("booking", daemon.sip());
    let id = wait_for("the call", seconds(20), || {
        let calls = daemon.json(&["calls"]);
        let mine = calls
            .as_array()?
            .iter()
            .find(|it| it["caller"] == caller)?
            .clone();
        Some(mine["id"].as_str()?.to_owned())
    });
    wait_stage(daemon, &id, "greeting");
    call.press('1');
    wait_stage(daemon, &id, "confirm");
    (call, id)
}

fn play(daemon: &mut Daemon, row: &[Step], number: usize) -> String {
    let (call, id) = asked(daemon, &format!("+493055500{number:02}"));
    for step in row {
        match step {
            Yes => call.press('1'),
            No => call.press('2'),
            Person => call.press('0'),
            TalksOver => call.say(&spoken("one moment please")),
            HangsUp => call.hang_up(),
            Operator => drop(daemon.offhook(&["hangup", &id])),
            Dies => {
                daemon.kill();
                daemon.restart();
            }
            Waits => thread::sleep(ms(1_000)),
        }
        thread::sleep(ms(250));
    }
    id
}

/// What the books say must have taken effect: authorised, and not taken back.
fn owed(daemon: &Daemon, id: &str) -> BTreeSet<String> {
    let explained = daemon.json(&["explain", id]);
    let decisions = explained["decisions"].as_array().expect("decisions").iter();
    let kept = decisions.filter(|it| {
        let sent = it["state"] != "withdrawn" && it["state"] != "not_kept";
        it["external"] == true && it["verdict"] == "authorised" && sent
    });
    kept.map(|it| it["action"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn one_yes_is_one_effect_in_every_order() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let scene = Scene {
        upstream: Some(format!(
            "http://{}/offhook",
            loses_answers(sink.address().to_owned())
        )),
        ..Scene::default()
    };
    let mut daemon = scene.start_in(place);
    let mut calls = Vec::new();
    for (number, row) in ROWS.into_iter().enumerate() {
        calls.push((play(&mut daemon, row, number), row));
    }
    daemon.wait_status("the outbox to drain", seconds(120), |status| {
        let empty = |name: &str| status["outbox"][name] == 0;
        (empty("pending") && empty("held") && status["calls"]["active"] == 0).then_some(())
    });
    let taken = sink.taken();
    let mut keys = BTreeSet::new();
    for event in &taken {
        let key = event["dedupe"].as_str().unwrap_or_default();
        assert!(
            key.is_empty() || keys.insert(key.to_owned()),
            "two ids for one effect: {key}"
        );
    }
    for (id, row) in calls {
        let of = |event: &&Value| event["data"]["conversation"] == *id;
        let mine: Vec<&Value> = taken.iter().filter(of).collect();
        let actions = mine.iter().filter(|it| it["type"] != "offhook.outcome");
        let sent: BTreeSet<String> = actions
            .map(|it| it["id"].as_str().expect("an id").to_owned())
            .collect();
        assert_eq!(
            sent,
            owed(&daemon, &id),
            "{row:?}: what was owed, no more and no less"
        );
        let outcomes = mine
            .iter()
            .filter(|it| it["type"] == "offhook.outcome")
            .count();
        assert_eq!(outcomes, 1, "{row:?}: one outcome");
        let booked = mine
            .iter()
            .filter(|it| it["type"] == "offhook.action.schedule")
            .count();
        match row {
            // The kill may come before the denial is on disk, or the yes was not.
            [.., Dies] => assert!(booked <= 1, "{row:?}: {booked}"),
            [Yes, No, HangsUp] | [Yes, No, Waits, HangsUp] => assert_eq!(booked, 0, "{row:?}"),
            _ => assert_eq!(booked, 1, "{row:?}"),
        }
    }
    let repeated = sink
        .deliveries()
        .iter()
        .filter(|it| it["first"] == false)
        .count();
    assert!(repeated > 0, "no answer was lost: nothing was tried");
}
