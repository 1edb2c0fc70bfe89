//! What nobody should send: torture messages, noise, floods, broken files. The
//! daemon answers or drops, counts, and goes on.

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::Place;
use offhook_tests::process::{built, checkout, run};
use offhook_tests::scene::Scene;

fn still_serves(daemon: &mut Daemon) {
    assert!(daemon.alive(), "offhookd has ended:\n{}", daemon.said());
    assert_eq!(
        Peer::new().ask("OPTIONS", "ping", daemon.sip()).status(),
        200
    );
}

/// A repeatable stream of bytes.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_messages_of_rfc_4475_over_real_udp_leave_it_serving() {
    let mut daemon = Scene::default().start();
    let folder =
        std::fs::read_dir(checkout().join("sip/tests/torture")).expect("the torture messages");
    let mut files: Vec<_> = folder.flatten().map(|file| file.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "dat"));
    assert!(files.len() >= 49, "{} messages", files.len());
    let peer = Peer::new();
    for file in &files {
        peer.send(&std::fs::read(file).expect("a message"), daemon.sip());
        std::thread::sleep(ms(5));
    }
    still_serves(&mut daemon);
    let malformed = daemon.json(&["status"])["counters"].to_string();
    assert!(
        malformed.contains("malformed"),
        "malformed messages are counted: {malformed}"
    );
}

#[test]
fn noise_on_the_signalling_port_leaves_it_serving() {
    let mut daemon = Scene::default().start();
    let peer = Peer::new();
    for number in 0..2000u64 {
        let length = [0, 1, 3, 20, 200, 1400, 9000, 60_000][number as usize % 8];
        peer.send(&noise(number, length), daemon.sip());
        if number % 50 == 0 {
            std::thread::sleep(ms(2));
        }
    }
    still_serves(&mut daemon);
}

#[test]
fn noise_on_the_audio_port_does_not_disturb_the_call() {
    let mut daemon = Scene::default().start();
    let call = Peer::new().call("echo", daemon.sip());
    wait_for("the echo to flow", seconds(10), || {
        (call.heard().len() > 10).then_some(())
    });
    let stranger = Peer::new();
    for number in 0..1000u64 {
        let length = [0, 1, 11, 12, 13, 172, 400, 1400][number as usize % 8];
        let mut bytes = noise(number, length);
        if let (true, Some(first)) = (number % 2 == 0, bytes.first_mut()) {
            *first = 0x80;
        }
        stranger.send(&bytes, call.audio());
        if number % 20 == 0 {
            std::thread::sleep(ms(5));
        }
    }
    let before = call.heard().len();
    wait_for("the echo to go on", seconds(10), || {
        (call.heard().len() > before + 25).then_some(())
    });
    call.hang_up();
    still_serves(&mut daemon);
}

#[test]
fn an_invite_that_is_never_acknowledged_ends_by_itself() {
    let daemon = Scene::default().start();
    let (_, answer) = Peer::new().invite("echo", daemon.sip(), 40_000);
    assert_eq!(answer.status(), 200);
    // 64*T1 without ACK (RFC 3261 §13.3.1.4), then the slot is free again.
    daemon.wait_status("the call to be given up", seconds(45), |status| {
        (status["calls"]["active"] == 0).then_some(())
    });
}

#[test]
fn a_broken_configuration_is_refused_with_line_column_and_key() {
    let place = Place::new();
    let text =
        "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\nlissten = 3\n\n[media]\nmax_calls = \"many\"\n";
    let config = place.write("offhook.toml", text).display().to_string();
    let checked = run(built("offhook"), ["check", "--config", &config]);
    assert_eq!(checked.code, 1, "{}{}", checked.out, checked.err);
    let said = format!("{}{}", checked.out, checked.err);
    for place in [":3:1:", ":6:"] {
        assert!(
            said.contains(&format!("{config}{place}")),
            "{place} in:\n{said}"
        );
    }
    assert!(
        said.contains("lissten") && said.contains("max_calls"),
        "{said}"
    );
    let started = run(built("offhookd"), ["--config", &config]);
    assert_ne!(started.code, 0);
    assert!(
        format!("{}{}", started.out, started.err).contains(&format!("{config}:3:1:")),
        "{}{}",
        started.out,
        started.err
    );
}

#[test]
fn a_configuration_that_cannot_be_read_is_no_answer() {
    let ran = run(
        built("offhook"),
        ["check", "--config", "/nowhere/offhook.toml"],
    );
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
}

#[test]
fn a_file_that_is_no_sound_is_refused_by_name() {
    let place = Place::new();
    let file = place
        .write("noise.wav", noise(1, 4000))
        .display()
        .to_string();
    let ran = run(built("offhook"), ["analyze", &file]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("noise.wav"), "{}", ran.err);
}

#[test]
fn without_a_daemon_every_question_says_that_it_could_not_be_asked() {
    let place = Place::new();
    let socket = place.name("control.sock");
    for verb in ["status", "calls"] {
        let ran = run(built("offhook"), [verb, "--socket", &socket]);
        assert_eq!(ran.code, 2, "{verb}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("control.sock"), "{verb}: {}", ran.err);
    }
}
