//! An action of several steps, delivered to a receiver that refuses some of them.

use std::net::TcpListener;

use offhook_tests::daemon::Daemon;
use offhook_tests::http::pass_on;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::Place;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;

const PLAYBOOK: &str = r#"
name = "visit"
language = "en-US"
start = "ask"
[prompts]
sent = "Sent."
booked = "Booked."
sorry = "Sorry."
undone = "It is being undone."
bye = "Bye."
[[stage]]
name = "ask"
role = "booking"
silence_ms = 60000
[[stage.on]]
when = ["1"]
set = { slot = "tuesday" }
confirms = true
propose = { action = "book_visit", fields = { slot = "tuesday", phone = "{caller}" }, deny = ["2"], say_on_durable = ["sent"], say_on_accepted = ["booked"], say_on_rejected = ["sorry"], say_on_late = ["sent"], say_on_refused = ["sorry"], say_on_failed = ["sorry"], say_on_withdrawn = ["sorry"], say_on_passed_on = ["sorry"], say_on_compensated = ["undone"], go_on_compensated = "bye", go_on_accepted = "bye", go_on_rejected = "bye", go_on_late = "bye", go_on_refused = "bye", go_on_failed = "bye", go_on_withdrawn = "bye" }
[[stage.on]]
when = ["silence"]
go = "bye"
[[stage]]
name = "bye"
role = "booking"
say = ["bye"]
end = true
"#;

/// A receiver that takes its time before it says what it did.
fn slow(sink: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for daemon in listener.incoming().flatten() {
            let sink = sink.clone();
            let late = |_: &str| {
                std::thread::sleep(ms(2_500));
                false
            };
            std::thread::spawn(move || pass_on(daemon, &sink, late));
        }
    });
    address
}

fn start(place: Place, sink: &Sink) -> Daemon {
    start_with(place, Scene::with_sink(sink))
}

fn start_with(place: Place, scene: Scene) -> Daemon {
    std::fs::create_dir(place.file("playbooks")).expect("a directory of the test");
    place.write("playbooks/visit.toml", PLAYBOOK);
    let policy = "policy = \"demo\"";
    let text = scene.text();
    let text = text.replacen(
        policy,
        "policy = \"demo\"\nplaybooks = \"{dir}/playbooks\"",
        1,
    );
    Daemon::start_in(
        place,
        &(text + "[[route]]\ncalled = \"visit\"\nplaybook = \"visit\"\n"),
    )
}

/// One caller books; the kinds that the sink was sent, and whether it took them.
fn book(daemon: &Daemon, sink: &Sink, last: &str) -> Vec<(String, bool)> {
    let call = Peer::new().named("+4930777").call("visit", daemon.sip());
    call.press('1');
    call.wait_said();
    wait_for("the end of the call", seconds(20), || {
        daemon.json(&["call", "last"])["call"]["cause"]
            .as_str()
            .map(drop)
    });
    wait_for(last, seconds(15), || {
        let outcome = |line: &serde_json::Value| line["type"] == "offhook.outcome";
        sink.taken().iter().any(outcome).then_some(())
    });
    let sent = sink.deliveries();
    let kind = |line: &serde_json::Value| line["type"].as_str().map(str::to_owned);
    let sent = sent
        .iter()
        .filter_map(|line| Some((kind(line)?, line["status"] == 204)));
    let short = |(kind, taken): (String, bool)| {
        (
            kind.replace("offhook.action.", "").replace("offhook.", ""),
            taken,
        )
    };
    sent.map(short).collect()
}

fn expect(sent: &[(String, bool)], expected: &[(&str, bool)]) {
    let sent: Vec<(&str, bool)> = sent
        .iter()
        .map(|(kind, taken)| (kind.as_str(), *taken))
        .collect();
    let mut sent = sent;
    sent.retain(|(kind, _)| *kind != "outcome");
    assert_eq!(sent, expected);
}

#[test]
fn a_refused_step_undoes_those_before_it_and_stops_those_behind() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &["--refuse", "confirm_visit"]);
    let daemon = start(place, &sink);
    let sent = book(&daemon, &sink, "the outcome");
    expect(
        &sent,
        &[
            ("schedule", true),
            ("confirm_visit", false),
            ("cancel_schedule", true),
        ],
    );
    let taken = sink.taken();
    let undone = taken
        .iter()
        .find(|it| it["type"] == "offhook.action.cancel_schedule");
    let booked = taken
        .iter()
        .find(|it| it["type"] == "offhook.action.schedule");
    let (undone, booked) = (undone.expect("it was sent"), booked.expect("it was sent"));
    assert_eq!(undone["data"]["fields"]["compensates"], booked["id"]);
    let outbox = daemon.json(&["status"])["outbox"].clone();
    assert_eq!(
        (&outbox["dead"], &outbox["not_undone"]),
        (&1.into(), &0.into()),
        "{outbox}"
    );
}

/// What the caller takes back after it was released, while the second of three steps is
/// on its way: that one is waited for and undone, then the first; the third never goes.
#[test]
fn a_no_while_the_steps_run_undoes_those_that_went() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let upstream = slow(sink.address().to_owned());
    let scene = Scene {
        upstream: Some(format!("http://{upstream}/offhook")),
        ..Scene::default()
    };
    let daemon = start_with(place, scene);
    let call = Peer::new().named("+4930778").call("visit", daemon.sip());
    call.press('1');
    sink.wait_taken("confirm_visit", 1, seconds(30));
    call.press('2');
    call.wait_bye(seconds(30));
    sink.wait_taken("outcome", 1, seconds(60));
    let sent = sink.deliveries();
    let kinds: Vec<&str> = sent.iter().filter_map(|it| it["type"].as_str()).collect();
    let action = |kind: &&str| kind.strip_prefix("offhook.action.").map(str::to_owned);
    let kinds: Vec<String> = kinds.iter().filter_map(action).collect();
    let expected = [
        "schedule",
        "confirm_visit",
        "revoke_visit",
        "cancel_schedule",
    ];
    assert_eq!(kinds, expected);
    let explained = daemon.json(&["explain", "last"]);
    let decisions = explained["decisions"].as_array().expect("decisions").iter();
    let states: Vec<(String, String)> = decisions
        .filter(|it| it["external"] == true && it["state"].is_string())
        .map(|it| {
            let word = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
            (word("kind"), word("state"))
        })
        .collect();
    let state = |kind: &str| {
        let found = states.iter().find(|(known, _)| known == kind);
        found.map_or("", |(_, state)| state.as_str())
    };
    for kind in expected {
        assert_eq!(state(kind), "delivered", "{kind}: {states:?}");
    }
    for kind in ["write_crm", "correct_crm"] {
        assert_eq!(state(kind), "withdrawn", "{kind}: {states:?}");
    }
    let outcome = sent.iter().find(|it| it["type"] == "offhook.outcome");
    let outcome = &outcome.expect("it was waited for")["data"];
    let stays = outcome["stages"].as_array().expect("stays");
    let stays: Vec<&str> = stays.iter().filter_map(|it| it["stage"].as_str()).collect();
    assert_eq!(stays, ["ask", "bye"], "{outcome}");
    assert_eq!(
        outcome["stages"][0]["answers"]["slot"], "tuesday",
        "{outcome}"
    );
}

#[test]
fn what_cannot_be_undone_is_loud_and_stays_visible() {
    let place = Place::new();
    let refused = ["--refuse", "write_crm", "--refuse", "cancel_schedule"];
    let sink = Sink::start(&place, SECRET, &refused);
    let mut daemon = start(place, &sink);
    let sent = book(&daemon, &sink, "the outcome");
    let expected = [
        ("schedule", true),
        ("confirm_visit", true),
        ("write_crm", false),
        ("revoke_visit", true),
        ("cancel_schedule", false),
    ];
    expect(&sent, &expected);
    assert!(daemon.said().contains("not_undone"), "{}", daemon.said());
    // A restart makes nothing of it forgotten, and sends nothing again.
    daemon.restart();
    let status = daemon.offhook(&["status"]);
    assert!(status.out.contains("NOT UNDONE 1"), "{}", status.out);
    let config = daemon.config().display().to_string();
    let failed = daemon.offhook(&["actions", "--failed", "--config", &config]);
    assert_eq!(failed.code, 1);
    let lines: Vec<&str> = failed.out.lines().collect();
    assert_eq!(lines.len(), 2, "{}", failed.out);
    assert!(lines[0].starts_with("REFUSED") && lines[0].contains("write_crm"));
    assert!(lines[1].starts_with("NOT UNDONE") && lines[1].contains("cancel_schedule"));
    // An answer that the kill cut off is asked for again, under the same id.
    let new = sink
        .deliveries()
        .iter()
        .filter(|it| it["first"] == true)
        .count();
    assert_eq!(new, expected.len() + 1);
}
