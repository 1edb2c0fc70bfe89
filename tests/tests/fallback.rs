//! What becomes of callers when no conversation can be had: each cause, and what the
//! route says for it. Real calls; the apology is heard in their audio.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::Command;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::{Call, Heard, Peer};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::run;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::skip::skip;
use offhook_tests::sound::Sound;
use offhook_tests::speech::{person, silence};
use serde_json::Value;

const DESK: &str = "sip:desk@pbx.example.net";
const NUMBER: &str = "tel:+4930123456";

/// Three ways to the same conversation, which differ in their fallback.
fn text(scene: &Scene, playbook: &str) -> String {
    let route = |called: &str, fallback: &str| {
        format!("[[route]]\ncalled = \"{called}\"\nplaybook = \"{playbook}\"\n{fallback}")
    };
    scene.text()
        + &route("desk", &format!("fallback = \"{DESK}\"\n"))
        + &route("number", &format!("fallback = \"{NUMBER}\"\n"))
        + &route("message", "fallback = \"message\"\n")
        + &route("plain", "")
}

fn sent_on(at: SocketAddr) {
    for (called, target) in [("desk", DESK), ("number", NUMBER)] {
        let (_, answer) = Peer::new().invite(called, at, free_port());
        assert_eq!(answer.status(), 302, "{called}: {}", answer.first);
        assert_eq!(answer.header("Contact"), format!("<{target}>"));
    }
}

/// Why the newest call got an apology.
fn reason(daemon: &Daemon, caller: &str) -> (String, String) {
    let call = wait_for("the call in the books", seconds(10), || {
        let calls = daemon.json(&["calls"]);
        let mine = |it: &&Value| it["caller"] == caller;
        calls.as_array()?.iter().find(mine).cloned()
    });
    assert_eq!(call["playbook"], "fallback", "{call}");
    let id = call["id"].as_str().expect("an id").to_owned();
    let why = wait_for("why", seconds(10), || {
        let timeline = daemon.json(&["call", &id])["timeline"].clone();
        let found = timeline
            .as_array()?
            .iter()
            .find(|it| it["event"] == "fallback")?;
        Some(found["detail"].as_str()?.to_owned())
    });
    (id, why)
}

/// The apology is heard, as sound.
fn hears_an_apology(call: &Call) {
    wait_for("half a second of speech", seconds(10), || {
        let speech = call.heard().iter().filter(|it| Heard::speaks(it)).count();
        (speech > 25).then_some(())
    });
}

/// A caller hears the apology, asks to be called back, and the upstream knows of it.
fn leaves_a_message(daemon: &Daemon, sink: &Sink, called: &str, caller: &str, why: &str) {
    let call = Peer::new().named(caller).call(called, daemon.sip());
    hears_an_apology(&call);
    let (id, told) = reason(daemon, caller);
    assert_eq!(told, why);
    call.press('1');
    call.wait_bye(seconds(30));
    let outcome = wait_for("the outcome", seconds(20), || {
        let taken = sink.taken_of(&id);
        let outcome = taken.iter().find(|it| it["type"] == "offhook.outcome");
        outcome.cloned()
    });
    assert_eq!(outcome["data"]["result"], "callback", "{outcome}");
    let kinds = sink.taken_of(&id);
    let back = kinds
        .iter()
        .find(|it| it["type"] == "offhook.action.callback");
    assert_eq!(
        back.expect("it was sent")["data"]["fields"]["phone"],
        caller
    );
}

#[test]
fn a_full_box_sends_callers_elsewhere_or_apologises_or_refuses() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let scene = Scene {
        max_calls: 1,
        ..Scene::with_sink(&sink)
    };
    let daemon = Daemon::start_in(place, &text(&scene, "booking"));
    let first = Peer::new().call("plain", daemon.sip());
    sent_on(daemon.sip());
    let (_, answer) = Peer::new().invite("plain", daemon.sip(), free_port());
    assert_eq!(answer.status(), 503, "{}", answer.first);
    leaves_a_message(&daemon, &sink, "message", "+4930555001", "no room");
    first.hang_up();
}

#[test]
fn a_caller_who_cannot_be_served_is_connected_with_the_person_of_the_route() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let (desk, hello) = (free_port(), place.file("hello.wav"));
    Sound::mono([silence(500), person("hello"), silence(60_000)].concat()).write(&hello);
    let scene = Scene {
        max_calls: 1,
        proxy: Some(format!("127.0.0.1:{desk}")),
        ..Scene::with_sink(&sink)
    };
    let text = scene.text()
        + "[[route]]\ncalled = \"desk\"\nplaybook = \"booking\"\nfallback = \"+4930123456\"\n";
    let daemon = Daemon::start_in(place, &text);
    let first = Peer::new().call("booking", daemon.sip());
    // Nobody is there yet: the apology, after all.
    let call = Peer::new().named("+4930555011").call("desk", daemon.sip());
    let (id, why) = reason(&daemon, "+4930555011");
    assert_eq!(why, "no room");
    wait_for("the apology", seconds(40), || {
        (daemon.json(&["call", &id])["call"]["stage"] == "apology").then_some(())
    });
    call.hang_up();
    let listen = format!("127.0.0.1:{desk}");
    let hello = hello.display().to_string();
    let there = ["answer", "--listen", &listen, "--play", &hello];
    let there = daemon.offhook_running(&there, "desk.log");
    let call = Peer::new().named("+4930555012").call("desk", daemon.sip());
    let (id, _) = reason(&daemon, "+4930555012");
    wait_for("the person", seconds(30), || {
        let lines = daemon.json(&["call", &id])["timeline"].clone();
        let joined = |it: &Value| it["event"] == "joined";
        lines.as_array()?.iter().any(joined).then_some(())
    });
    call.hang_up();
    let outcome = wait_for("the outcome", seconds(20), || {
        let taken = sink.taken_of(&id);
        let outcome = taken.iter().find(|it| it["type"] == "offhook.outcome");
        outcome.cloned()
    });
    assert_eq!(outcome["data"]["result"], "transferred", "{outcome}");
    drop(there);
    first.hang_up();
}

#[test]
fn a_broken_playbook_stops_its_own_route_alone() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    std::fs::create_dir(place.file("playbooks")).expect("a directory of the test");
    let broken =
        "name = \"sick\"\nlanguage = \"en-US\"\nstart = \"nowhere\"\nstage = []\n[prompts]\n";
    place.write("playbooks/sick.toml", broken);
    let mute = "name = \"mute\"\nlanguage = \"en-US\"\nstart = \"a\"\n[prompts]\nhello = \"Hello.\"\n\
        [[stage]]\nname = \"a\"\nrole = \"booking\"\nsay = [\"hello\"]\nend = true\n";
    place.write("playbooks/mute.toml", mute);
    std::fs::create_dir(place.file("own")).expect("a directory of the test");
    // A recording of that prompt which is none.
    place.write("own/hello.wav", "this is no sound");
    let scene = Scene::with_sink(&sink);
    let text = text(&scene, "sick").replacen(
        "policy = \"demo\"",
        "policy = \"demo\"\nplaybooks = \"{dir}/playbooks\"",
        1,
    );
    let text = text.replacen("[voice]\n", "[voice]\nrecordings = \"{dir}/own\"\n", 1);
    let text = text + "[[route]]\ncalled = \"mute\"\nplaybook = \"mute\"\n";
    let daemon = Daemon::start_in(place, &text);
    sent_on(daemon.sip());
    let why = "the playbook is broken";
    leaves_a_message(&daemon, &sink, "message", "+4930555002", why);
    leaves_a_message(&daemon, &sink, "plain", "+4930555003", why);
    leaves_a_message(&daemon, &sink, "mute", "+4930555004", why);
    // The others are served as ever, and people see what is wrong and where.
    let call = Peer::new()
        .named("+4930555005")
        .call("booking", daemon.sip());
    hears_an_apology(&call);
    let calls = daemon.json(&["calls"]);
    let other = calls
        .as_array()
        .and_then(|all| all.iter().find(|it| it["caller"] == "+4930555005"));
    assert_eq!(other.expect("it is there")["playbook"], "booking");
    let status = daemon.offhook(&["status"]).out;
    assert!(
        status.contains("sick BROKEN") && status.contains("sick.toml:3:"),
        "{status}"
    );
    assert!(status.contains("mute BROKEN"), "{status}");
    // A check still says no.
    let config = daemon.config().display().to_string();
    assert_eq!(daemon.offhook(&["check", "--config", &config]).code, 1);
}

#[test]
fn a_playbook_that_lives_by_words_is_closed_while_no_engine_hears_any() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    std::fs::create_dir(place.file("playbooks")).expect("a directory of the test");
    let booking = include_str!("../../config/playbooks/booking.toml");
    let wordy = booking.replacen(
        "name = \"booking\"\n",
        "name = \"wordy\"\nneeds_words = true\n",
        1,
    );
    place.write("playbooks/wordy.toml", wordy);
    let scene = Scene::with_sink(&sink);
    let text = text(&scene, "wordy").replacen(
        "policy = \"demo\"",
        "policy = \"demo\"\nplaybooks = \"{dir}/playbooks\"",
        1,
    );
    let daemon = Daemon::start_in(place, &text);
    sent_on(daemon.sip());
    let why = "no engine hears words";
    leaves_a_message(&daemon, &sink, "message", "+4930555006", why);
    leaves_a_message(&daemon, &sink, "plain", "+4930555007", why);
    let engine = UnixStream::connect(daemon.place().file("engine.sock")).expect("it is served");
    wait_for("a conversation", seconds(10), || {
        let (_, answer) = Peer::new().invite("desk", daemon.sip(), free_port());
        (answer.status() == 200).then_some(())
    });
    drop(engine);
    wait_for("the way elsewhere", seconds(10), || {
        let (_, answer) = Peer::new().invite("desk", daemon.sip(), free_port());
        (answer.status() == 302).then_some(())
    });
}

#[test]
fn a_store_that_keeps_nothing_sends_callers_elsewhere_or_says_so() {
    let place = Place::new();
    let disk = place.file("disk");
    std::fs::create_dir(&disk).expect("a directory of the test");
    let at = disk.to_str().expect("a plain path");
    if run("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", at]).code != 0 {
        return skip("a full disk cannot be made: mount is not allowed");
    }
    let scene = Scene {
        store: "disk/offhook.db".to_owned(),
        recording: false,
        ..Scene::default()
    };
    let daemon = Daemon::start_in(place, &text(&scene, "booking"));
    let sip = daemon.sip();
    // Writes until the disk is full; that it then fails is the point.
    let _ = std::fs::write(disk.join("ballast"), vec![1; 8 << 20]);
    // Whatever is to be kept shows that nothing can be.
    let call = Peer::new().call("plain", sip);
    wait_for("the failure", seconds(20), || {
        (daemon.json_status()["store"]["failing"].is_string()).then_some(())
    });
    call.hang_up();
    // The decision thread looks at the store a few times a second.
    wait_for("the way elsewhere", seconds(10), || {
        let (_, answer) = Peer::new().invite("desk", sip, free_port());
        (answer.status() == 302).then_some(())
    });
    sent_on(sip);
    let told = daemon.offhook_running(&["tail", "--json"], "tail.log");
    let call = Peer::new().named("+4930555008").call("message", sip);
    hears_an_apology(&call);
    call.press('1');
    // Nobody is promised a call that nobody would know of.
    told.wait_said("not_kept", seconds(20));
    call.wait_bye(seconds(30));
    assert!(!told.said().contains("say kept"), "{}", told.said());
    drop((call, told, daemon));
    run("umount", ["-l", at]);
}

#[test]
fn while_it_drains_callers_are_sent_elsewhere_or_told_so() {
    let place = Place::new();
    let scene = Scene {
        drain: 60,
        ..Scene::default()
    };
    let mut daemon = Daemon::start_in(place, &text(&scene, "booking"));
    let at = daemon.sip();
    let echo = Peer::new().call("echo", at);
    let id = daemon.id().to_string();
    let done = Command::new("kill").args(["-TERM", &id]).status();
    assert!(done.expect("kill(1) is there").success());
    wait_for("the drain", seconds(10), || {
        let (_, answer) = Peer::new().invite("busy", at, free_port());
        (answer.status() == 503).then_some(())
    });
    sent_on(at);
    let (_, answer) = Peer::new().invite("plain", at, free_port());
    assert_eq!(answer.status(), 503, "{}", answer.first);
    let call = Peer::new().named("+4930555009").call("message", at);
    hears_an_apology(&call);
    assert_eq!(reason(&daemon, "+4930555009").1, "draining");
    call.hang_up();
    echo.hang_up();
    wait_for("the daemon's end", seconds(20), || {
        (!daemon.alive()).then_some(())
    });
}
