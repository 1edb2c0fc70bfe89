//! One effect for one yes, whatever comes between: the caller talks over the
//! confirmation, hangs up, takes it back, asks for a person, is passed on to one, the
//! process dies, the wall clock jumps, the receiver's answer is lost and the row comes
//! again. Each in every order that makes sense, counted at the sink.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use offhook_tests::daemon::Daemon;
use offhook_tests::http::pass_on;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::{Clock, Running};
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::skip::skip;
use offhook_tests::sound::Sound;
use offhook_tests::speech::{person as recorded_person, silence, spoken};
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
    /// Presses 5, and is joined with a person on a second leg.
    Passed,
    /// kill -9, and a restart.
    Dies,
    /// The wall clock is two hours slow from now on.
    ClockBack,
    /// The wall clock is two hours fast from now on.
    ClockAhead,
    /// Nothing for a second.
    Waits,
}
use Step::{
    ClockAhead, ClockBack, Dies, HangsUp, No, Operator, Passed, Person, TalksOver, Waits, Yes,
};

/// Boxes among which the rows are divided: most of a row is waiting.
const BOXES: usize = 3;
/// What is taken back comes late: the box narrows what is taken back too often.
const ROWS: [&[Step]; 22] = [
    &[Yes, Waits, HangsUp],
    &[Yes, HangsUp],
    &[Yes, TalksOver, HangsUp],
    &[TalksOver, Yes, HangsUp],
    &[Yes, TalksOver, Waits, Operator],
    &[Yes, Yes, HangsUp],
    &[Yes, Person, HangsUp],
    &[Yes, Passed, HangsUp],
    &[Yes, Waits, Passed, Operator],
    &[Yes, Passed, Dies],
    &[Yes, ClockBack, HangsUp],
    &[Yes, ClockAhead, HangsUp],
    &[Yes, HangsUp, ClockBack],
    &[ClockAhead, Yes, ClockBack, TalksOver, HangsUp],
    &[Yes, No, HangsUp],
    &[Yes, No, Waits, HangsUp],
    &[Yes, No, ClockBack, HangsUp],
    &[Yes, Dies],
    &[Yes, ClockBack, Dies],
    &[Yes, HangsUp, Dies],
    &[Yes, TalksOver, Dies],
    &[Yes, No, Dies],
];

/// The shipped booking, from everywhere in which one may be passed on to a person.
const PERSON: &str = r#"
[[on]]
when = ["5"]
go = "connect"

[[stage]]
name = "connect"
role = "transfer"
say = ["one_moment"]
transfer = { to = "closer", ring_ms = 8000, brief = ["anything_else"] }

[[stage.on]]
when = ["transferred"]
go = "with_a_person"

[[stage.on]]
when = ["transfer_failed"]
go = "goodbye"

[[stage]]
name = "with_a_person"
role = "transfer"
result = "transferred"
handed_over = true
"#;

/// Stands before the sink and loses the first answer for every other event: the sink
/// has the delivery, and the daemon does not know.
fn loses_answers(sink: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let met = Arc::new(Mutex::new(BTreeSet::new()));
    thread::spawn(move || {
        for daemon in listener.incoming().flatten() {
            let (sink, met) = (sink.clone(), Arc::clone(&met));
            let loses = move |id: &str| {
                let mut met = met.lock().expect("no one panics with it");
                met.insert(id.to_owned()) && met.len() % 2 == 1
            };
            thread::spawn(move || pass_on(daemon, &sink, loses));
        }
    });
    address
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

/// A person, who takes one call.
fn person(daemon: &Daemon, number: usize) -> Running {
    let hello = daemon.place().file("hello.wav");
    Sound::mono([silence(500), recorded_person("hello"), silence(40_000)].concat()).write(&hello);
    let (port, hello) = (daemon.place().name("person"), hello.display().to_string());
    let port = std::fs::read_to_string(port).expect("the test wrote it");
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["answer", "--listen", &listen, "--play", &hello];
    daemon.offhook_running(&arguments, &format!("person{number}.log"))
}

fn play(daemon: &mut Daemon, clock: &Clock, row: &[Step], number: usize) -> String {
    let passed = row.contains(&Passed);
    let _there = passed.then(|| person(daemon, number));
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
            Passed => {
                call.press('5');
                let joined = |it: &Value| it["event"] == "joined";
                wait_for("the person", seconds(30), || {
                    let lines = daemon.json(&["call", &id])["timeline"].clone();
                    lines.as_array()?.iter().any(joined).then_some(())
                });
            }
            ClockBack | ClockAhead => {
                let hours = if *step == ClockBack { -2 } else { 2 };
                clock.step(hours * 3_600);
                thread::sleep(Clock::STEP);
            }
            Waits => thread::sleep(ms(1_000)),
        }
        thread::sleep(ms(250));
    }
    clock.step(0);
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
    if Clock::make(Place::new().path()).is_none() {
        return skip("no wall clock can be made: install faketime (tests/setup test)");
    }
    thread::scope(|scope| {
        for rows in ROWS.chunks(ROWS.len().div_ceil(BOXES)) {
            scope.spawn(|| one_effect_each(rows));
        }
    });
}

/// On a box of its own.
fn one_effect_each(rows: &[&[Step]]) {
    let place = Place::new();
    let clock = Clock::make(place.path()).expect("one was made before");
    let sink = Sink::start(&place, SECRET, &[]);
    let port = free_port();
    place.write("person", port.to_string());
    std::fs::create_dir(place.file("books")).expect("a directory of the test");
    let booking = include_str!("../../config/playbooks/booking.toml");
    let (head, stages) = booking.split_once("[[stage]]").expect("it has stages");
    let (everywhere, connect) = PERSON.split_once("\n[[stage]]").expect("it has stages");
    let text = format!("{head}{everywhere}\n[[stage]]{stages}\n[[stage]]{connect}");
    place.write("books/booking.toml", text);
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{port}")),
        upstream: Some(format!(
            "http://{}/offhook",
            loses_answers(sink.address().to_owned())
        )),
        ..Scene::default()
    };
    let text = format!("playbooks = \"{{dir}}/books\"\n{}", scene.text());
    let mut daemon = Daemon::start_in(place, &text);
    let mut calls = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        calls.push((play(&mut daemon, &clock, row, number), row));
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
            [Yes, No, ..] => assert_eq!(booked, 0, "{row:?}"),
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
