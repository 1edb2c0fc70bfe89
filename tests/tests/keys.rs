//! Keys that a playbook presses, as each trunk wants them: beside the sound, in
//! signalling, or as tones.

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::Place;
use offhook_tests::process::checkout;
use offhook_tests::scene::Scene;

/// Asked with a 1, it answers with keys.
const PLAYBOOK: &str = r#"
name = "menu"
language = "en-US"
start = "waiting"

[prompts]
ready = "Ready."
goodbye = "Goodbye."

[[stage]]
name = "waiting"
role = "transfer"
say = ["ready"]
silence_ms = 60000

[[stage.on]]
when = ["1"]
press = "42#"

[[stage.on]]
when = ["silence"]
go = "goodbye"

[[stage]]
name = "goodbye"
role = "transfer"
say = ["goodbye"]
end = true
"#;

/// A daemon whose trunk has keys pressed like that, under a policy that lets them be.
fn daemon(keys: &str, granted: bool) -> Daemon {
    let place = Place::new();
    std::fs::create_dir(place.file("books")).expect("a directory of the test");
    place.write("books/menu.toml", PLAYBOOK);
    let policy = checkout().join("config/policies/demo.toml");
    let policy = std::fs::read_to_string(policy).expect("the demo's policy");
    let more = if granted { ", \"press\"]" } else { "]" };
    let grant = "actions = [\"transfer\", \"callback\"";
    let wider = policy.replacen(&format!("{grant}]"), &format!("{grant}{more}"), 1);
    assert_eq!(wider != policy, granted, "the demo's grant has changed");
    place.write("policy.toml", wider);
    let text = Scene::default()
        .text()
        .replacen("policy = \"demo\"", "policy = \"./policy.toml\"", 1)
        .replacen(
            "name = \"loopback\"\n",
            &format!("name = \"loopback\"\n{keys}"),
            1,
        );
    let text = format!(
        "playbooks = \"{{dir}}/books\"\n{text}[[route]]\ncalled = \"menu\"\nplaybook = \"menu\"\n"
    );
    Daemon::start_in(place, &text)
}

/// Calls, and asks for the keys.
fn ask(daemon: &Daemon) -> Call {
    let call = Peer::new().call("menu", daemon.sip());
    wait_line(daemon, "ready");
    call.press('1');
    call
}

fn wait_line(daemon: &Daemon, text: &str) {
    wait_for(text, seconds(20), || {
        let told = daemon.offhook(&["call", "last"]);
        told.out.contains(text).then_some(())
    });
}

/// How much of a stretch is this tone, from 0 to 1 (Goertzel's filter).
fn share(samples: &[i16], hz: f64) -> f64 {
    let step = std::f64::consts::TAU * hz / 8_000.0;
    let (mut real, mut imaginary, mut all) = (0.0, 0.0, 1.0);
    for (at, sample) in samples.iter().enumerate() {
        let (value, phase) = (f64::from(*sample), step * at as f64);
        real += value * phase.cos();
        imaginary += value * phase.sin();
        all += value * value;
    }
    2.0 * (real * real + imaginary * imaginary) / (all * samples.len() as f64)
}

#[test]
fn keys_go_beside_the_sound_where_nothing_else_is_written() {
    let daemon = daemon("", true);
    let call = ask(&daemon);
    // RFC 4733 §2.5.1.4: the end of each is said three times.
    let events = wait_for("three keys", seconds(10), || {
        let heard = call.heard();
        let events = heard.iter().filter(|it| it.packet.kind == 101);
        let ended = events.filter(|it| it.packet.payload[1] & 0x80 != 0);
        let mut ended: Vec<u8> = ended.map(|it| it.packet.payload[0]).collect();
        ended.dedup();
        (ended.len() >= 3).then_some(ended)
    });
    assert_eq!(events, [4, 2, 11]);
    call.hang_up();
}

#[test]
fn keys_go_in_signalling_where_the_trunk_wants_them_there() {
    let daemon = daemon("keys = \"info\"\n", true);
    let call = ask(&daemon);
    for key in ["4", "2", "#"] {
        let (info, from) = call
            .peer()
            .expect("INFO", seconds(10), |it| it.method() == "INFO");
        assert_eq!(info.header("Content-Type"), "application/dtmf-relay");
        assert!(info.body.contains(&format!("Signal={key}\r\n")), "{info:?}");
        call.peer().send(info.reply("200 OK").as_bytes(), from);
    }
    call.hang_up();
}

#[test]
fn keys_are_tones_where_the_trunk_loses_all_else() {
    let daemon = daemon("keys = \"tone\"\n", true);
    // Its own keys are tones too, then: they are pressed in signalling here.
    let call = Peer::new().call("menu", daemon.sip());
    let answer = &call.answer().body;
    assert!(!answer.contains("telephone-event"), "{answer}");
    wait_line(&daemon, "ready");
    let text = call.dialog_request("INFO", 2).replace(
        "Content-Length: 0\r\n\r\n",
        "Content-Type: application/dtmf\r\nContent-Length: 1\r\n\r\n1",
    );
    call.send_in_dialog(&text);
    wait_line(&daemon, "press");
    wait_for("the tones of a 4", seconds(10), || {
        let heard = call.heard_samples();
        let mut windows = heard.chunks_exact(400);
        let four = |it: &[i16]| share(it, 770.0) > 0.3 && share(it, 1_209.0) > 0.3;
        windows.any(four).then_some(())
    });
    call.in_dialog("BYE", 3);
}

#[test]
fn no_key_is_pressed_where_the_policy_does_not_let_it() {
    let daemon = daemon("keys = \"info\"\n", false);
    let call = ask(&daemon);
    wait_line(&daemon, "press 42#");
    let told = daemon.offhook(&["call", "last"]).out;
    assert!(told.contains("refused"), "{told}");
    call.hang_up();
}
