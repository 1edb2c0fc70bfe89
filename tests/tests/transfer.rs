//! A caller is passed on to a person on a second leg, over the wire: they hear each
//! other through the box, and whoever does not answer as a person is none.

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::Running;
use offhook_tests::scene::Scene;
use offhook_tests::sound::{SPEECH_DB, Sound, level, likeness};
use offhook_tests::speech::{person, silence};
use serde_json::Value;

/// The caller asks for a person by pressing 5, and is back in `waiting` when nobody
/// takes the call.
const PLAYBOOK: &str = r#"
name = "connect"
language = "en-US"
start = "waiting"

[prompts]
back = "Press five for a colleague."
connecting = "One moment."
hold_music = "(music)"
brief = "A caller. Press one to take the call."
nobody = "Nobody is there."
goodbye = "Goodbye."

[[stage]]
name = "waiting"
role = "transfer"
say = ["back"]
silence_ms = 60000

[[stage.on]]
when = ["5"]
go = "connect"

[[stage.on]]
when = ["silence"]
go = "goodbye"

[[stage]]
name = "connect"
role = "transfer"
say = ["connecting"]
transfer = { to = "closer", ring_ms = 4000, hold = ["hold_music"], brief = ["brief"], accept = ["1"] }

[[stage.on]]
when = ["transferred"]
go = "with_a_person"

[[stage.on]]
when = ["transfer_failed"]
say = ["nobody"]
go = "waiting"

[[stage]]
name = "with_a_person"
role = "transfer"
result = "transferred"
handed_over = true

[[stage]]
name = "goodbye"
role = "transfer"
say = ["goodbye"]
end = true
"#;

/// A daemon whose persons are at a port of their own.
fn daemon(port: u16) -> Daemon {
    let place = Place::new();
    std::fs::create_dir(place.file("books")).expect("a directory of the test");
    place.write("books/connect.toml", PLAYBOOK);
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{port}")),
        ..Scene::default()
    };
    let text = format!(
        "playbooks = \"{{dir}}/books\"\n{}[[route]]\ncalled = \"connect\"\nplaybook = \"connect\"\n",
        scene.text()
    );
    Daemon::start_in(place, &text)
}

/// Somebody who answers there, as `offhook answer` does.
fn answering(daemon: &Daemon, port: u16, more: &[&str]) -> Running {
    let listen = format!("127.0.0.1:{port}");
    let mut arguments = vec!["answer", "--listen", &listen];
    arguments.extend(more);
    daemon.offhook_running(&arguments, "answer.log")
}

/// The caller asks for a person; the call's id.
fn ask(daemon: &Daemon, call: &Call) -> String {
    let id = wait_for("a call", seconds(10), || {
        let calls = daemon.json(&["calls"]);
        Some(
            calls["calls"][0]["id"]
                .as_str()
                .or(calls[0]["id"].as_str())?
                .to_owned(),
        )
    });
    wait_event(daemon, &id, "play", "back");
    call.press('5');
    id
}

fn timeline(daemon: &Daemon, id: &str) -> Vec<Value> {
    let detail = daemon.json(&["call", id]);
    detail["timeline"].as_array().cloned().expect("a timeline")
}

/// Waits until the timeline has such a line, and says when it was.
fn wait_event(daemon: &Daemon, id: &str, event: &str, detail: &str) -> u64 {
    wait_for(&format!("{event} {detail}"), seconds(40), || {
        let has = |line: &&Value| {
            let text = line["detail"].as_str().unwrap_or_default();
            line["event"] == event && text.contains(detail)
        };
        timeline(daemon, id).iter().find(has)?["ms"].as_u64()
    })
}

fn result(daemon: &Daemon, id: &str) -> Value {
    wait_for("the outcome", seconds(30), || {
        let detail = daemon.json(&["call", id]);
        detail["call"]["cause"].is_string().then_some(detail)
    })
}

#[test]
fn caller_and_person_hear_each_other_and_the_person_was_told_first() {
    let port = free_port();
    let daemon = daemon(port);
    let place = daemon.place();
    let said = person("demo-congrats")[..2 * 8_000].to_vec();
    let persons = [
        silence(700),
        person("hello"),
        silence(14_000),
        said.clone(),
        silence(20_000),
    ];
    let file = place.name("person.wav");
    Sound::mono(persons.concat()).write(std::path::Path::new(&file));
    let heard = place.name("heard.wav");
    let more = [
        "--play",
        &file,
        "--record",
        &heard,
        "--dtmf",
        "1@9",
        "--hangup-after",
        "19",
    ];
    let mut person_there = answering(&daemon, port, &more);
    std::thread::sleep(ms(500));
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    let briefed = wait_event(&daemon, &id, "play", "brief");
    let joined = wait_event(&daemon, &id, "joined", "");
    assert!(briefed < joined);
    // While the person was told, the caller heard music.
    let before = call.heard_samples();
    let waited = &before[before.len().saturating_sub(8_000 * 3)..before.len() - 4_000];
    assert!(
        level(waited) > SPEECH_DB,
        "{} dB while waiting",
        level(waited)
    );
    let question = person("vm-intro")[..2 * 8_000].to_vec();
    call.say(&question);
    call.wait_bye(seconds(40));
    assert!(
        person_there.finish(seconds(20)).success(),
        "{}",
        person_there.said()
    );
    let detail = result(&daemon, &id);
    assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
    let to_person = &Sound::read(std::path::Path::new(&heard)).channels[0];
    let (alike, _) = likeness(
        &question[2_000..12_000],
        to_person,
        to_person.len() - 10_000,
    );
    assert!(alike > 0.9, "the person heard the caller: {alike}");
    let to_caller = call.heard_samples();
    let (alike, _) = likeness(&said[2_000..12_000], &to_caller, to_caller.len() - 10_000);
    assert!(alike > 0.9, "the caller heard the person: {alike}");
    let lines = detail["timeline"].as_array().expect("a timeline");
    let playout = lines.iter().any(|line| {
        let text = line["detail"].as_str().unwrap_or_default();
        line["event"] == "media_closed" && text.contains("playout")
    });
    assert!(playout, "the playout is reported: {lines:#?}");
}

#[test]
fn a_voicemail_a_busy_and_a_silent_phone_bring_the_caller_back() {
    let rows: [(&str, &[&str]); 3] = [
        ("busy", &["--refuse", "486"]),
        ("nobody answers", &["--after-ring", "20"]),
        ("voicemail", &["--play", "VOICEMAIL", "--record", "RECORD"]),
    ];
    for (name, arguments) in rows {
        let port = free_port();
        let daemon = daemon(port);
        let greeting = [
            silence(400),
            person("vm-theperson"),
            person("digits/5"),
            person("vm-isunavail"),
            person("vm-intro"),
            silence(300),
            person("beep"),
            silence(20_000),
        ];
        let file = daemon.place().name("greeting.wav");
        Sound::mono(greeting.concat()).write(std::path::Path::new(&file));
        let record = daemon.place().name("record.wav");
        let filled = arguments.iter().map(|word| match *word {
            "VOICEMAIL" => file.as_str(),
            "RECORD" => record.as_str(),
            word => word,
        });
        let arguments: Vec<&str> = filled.collect();
        let _there = answering(&daemon, port, &arguments);
        std::thread::sleep(ms(500));
        let call = Peer::new().call("connect", daemon.sip());
        let id = ask(&daemon, &call);
        let back = wait_event(&daemon, &id, "play", "nobody");
        let lines = timeline(&daemon, &id);
        let joins = lines.iter().filter(|line| line["event"] == "join").count();
        assert_eq!(joins, 0, "{name}: {lines:#?}");
        // The other leg is let go of before the caller hears of it.
        let gone = lines.iter().filter(|line| {
            let event = line["event"].as_str().unwrap_or_default();
            matches!(event, "hang_up" | "failed") && line["ms"].as_u64() <= Some(back)
        });
        assert!(gone.count() > 0, "{name}: {lines:#?}");
        wait_for("the stage from before", seconds(10), || {
            let calls = daemon.json(&["calls"]);
            let stage = calls["calls"][0]["stage"]
                .as_str()
                .or(calls[0]["stage"].as_str())?;
            (stage == "waiting").then_some(())
        });
        call.hang_up();
        assert_ne!(
            result(&daemon, &id)["call"]["result"],
            "transferred",
            "{name}"
        );
    }
}
