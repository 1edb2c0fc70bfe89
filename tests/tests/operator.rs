//! What an operator does to a live call and to a running daemon: listen, speak,
//! look on, stop it in the middle of calls.

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::scene::Scene;
use offhook_tests::sound::{Sound, likeness, sine};
use offhook_tests::speech::person;
use serde_json::Value;

/// Sound over the wire is judged by the best of these: a stalled sender is no
/// fault of the receiver.
const TRIES: usize = 3;

/// Waits until the latest call has this in its timeline.
fn wait_event(daemon: &Daemon, event: &str) {
    wait_for(event, seconds(20), || {
        let ran = daemon.offhook(&["call", "last", "--json"]);
        let detail: Value = serde_json::from_str(&ran.out).ok()?;
        let mut lines = detail["timeline"].as_array()?.iter();
        lines.any(|line| line["event"] == event).then_some(())
    });
}

#[test]
fn what_the_caller_says_is_heard_by_who_listens() {
    let daemon = Scene::default().start();
    let speech = person("demo-congrats")[..2 * 8000].to_vec();
    let alike = (0..TRIES).any(|round| {
        let call = Peer::new().call("booking", daemon.sip());
        wait_event(&daemon, "answered");
        let out = daemon.place().file(&format!("heard-{round}.wav"));
        let file = out.display().to_string();
        let arguments = ["listen", "last", "--record", &file, "--seconds", "4"];
        let mut tech = daemon.offhook_running(&arguments, "listen.log");
        wait_event(&daemon, "operator_listens");
        let other = daemon.place().name("other.wav");
        let second = daemon.offhook(&["listen", "last", "--record", &other, "--seconds", "1"]);
        assert_eq!(second.code, 1, "one listens already: {}", second.err);
        call.say(&speech);
        assert!(tech.finish(seconds(15)).success(), "{}", tech.said());
        call.hang_up();
        let heard = &Sound::read(&out).channels[0];
        assert!(heard.len() > 2 * 8000, "{} samples", heard.len());
        let (alike, _) = likeness(&speech[4000..8000], heard, heard.len() - 4000);
        alike > 0.95
    });
    assert!(alike, "what was heard is not what was said");
}

#[test]
fn a_field_tech_speaks_into_a_live_call() {
    let daemon = Scene::default().start();
    let said = sine(440.0, 8000, 8000.0);
    let file = daemon.place().file("say.wav");
    Sound::mono(said.clone()).write(&file);
    let file = file.display().to_string();
    let alike = (0..TRIES).any(|_| {
        let call = Peer::new().call("booking", daemon.sip());
        wait_event(&daemon, "play");
        let spoke = daemon.offhook(&["speak", "last", &file, "--json"]);
        let heard = call.heard_samples();
        wait_event(&daemon, "operator_spoke");
        call.hang_up();
        let (alike, _) = likeness(&said[2000..4000], &heard, heard.len() - 2000);
        spoke.code == 0 && alike > 0.95
    });
    assert!(alike, "the caller did not hear it");
}

#[test]
fn nobody_speaks_on_a_test_line_or_into_a_call_that_is_not_there() {
    let daemon = Scene::default().start();
    let file = daemon.place().file("say.wav");
    Sound::mono(vec![0; 800]).write(&file);
    let file = file.display().to_string();
    let out = daemon.place().name("heard.wav");
    for (arguments, code) in [
        (vec!["speak", "nosuch", &file], 1),
        (vec!["listen", "nosuch", "--record", &out], 1),
        (vec!["tail", "nosuch"], 1),
        (vec!["call", ""], 2),
    ] {
        let ran = daemon.offhook(&arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(!ran.err.is_empty(), "{arguments:?} says why");
    }
    assert!(!std::path::Path::new(&out).exists(), "nothing is left");
    let call = Peer::new().call("tone", daemon.sip());
    wait_event(&daemon, "answered");
    assert_eq!(daemon.offhook(&["speak", "last", &file]).code, 1);
    call.hang_up();
}

/// SIGTERM, as systemd sends it.
fn ask_to_stop(daemon: &Daemon) {
    let done = std::process::Command::new("kill")
        .arg(daemon.id().to_string())
        .status();
    assert!(done.expect("kill(1) is there").success());
}

fn wait_end(daemon: &mut Daemon) {
    wait_for("the daemon's end", seconds(20), || {
        (!daemon.alive()).then_some(())
    });
}

#[test]
fn asked_to_stop_it_takes_no_more_calls_and_lets_those_that_it_has_end() {
    let mut daemon = Scene {
        drain: 60,
        ..Scene::default()
    }
    .start();
    let at = daemon.sip();
    let call = Peer::new().call("echo", at);
    ask_to_stop(&daemon);
    // The line that is always busy: a call that comes before the daemon has seen
    // the signal leaves nothing behind that it would wait for.
    wait_for("a refusal", seconds(10), || {
        let (_, answer) = Peer::new().invite("busy", at, 40_000);
        (answer.status() == 503).then_some(())
    });
    assert!(daemon.alive(), "the call goes on");
    call.hang_up();
    wait_end(&mut daemon);
}

#[test]
fn what_does_not_end_by_itself_is_hung_up_after_a_while_or_at_a_second_signal() {
    for (drain, signals) in [(1, 1), (300, 2)] {
        let mut daemon = Scene {
            drain,
            ..Scene::default()
        }
        .start();
        let call = Peer::new().call("echo", daemon.sip());
        for _ in 0..signals {
            ask_to_stop(&daemon);
            std::thread::sleep(seconds(1) / 2);
        }
        // Both waits end long before 300 s.
        call.wait_bye(seconds(20));
        wait_end(&mut daemon);
    }
}
