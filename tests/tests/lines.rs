//! Calls to the test destinations by foreign peers: signalling and audio as
//! they are on the wire.

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::rtp::Packet;
use offhook_tests::scene::Scene;
use offhook_tests::sipp::Sipp;
use offhook_tests::sound::{best_of_three, came_through, likeness, purity, sine};
use offhook_tests::speech::{as_mu_law, person, write_mu_law};
use offhook_tests::tap::{Tap, rtp_of};

/// Samples of two seconds.
const TWO_SECONDS: usize = 16_000;

#[test]
fn sipp_streams_real_speech_to_echo_and_hears_it_back() {
    let daemon = Scene::default().start();
    let speech = person("demo-congrats")[..3 * 8000].to_vec();
    write_mu_law(&speech, &daemon.place().file("speech.ul"));
    let tap = Tap::start(daemon.place());
    let scenario = Sipp::scenario("speech", daemon.sip(), daemon.place());
    let mut sipp = scenario
        .calls("echo")
        .with(&["-d", "3500"])
        .start(&daemon.place().file("sipp.log"));
    assert!(sipp.finish(seconds(30)).success(), "{}", sipp.said());
    let Some(tap) = tap else { return };
    let (seen, ports) = (rtp_of(&tap.stop()), daemon.audio_ports());
    let to_us = seen
        .iter()
        .find(|packet| packet.rtp.kind == 0 && ports.contains(&packet.to.port()));
    let (sipp_port, our_port) = to_us
        .map(|packet| (packet.from, packet.to))
        .expect("SIPp streams to the daemon");
    let audio = |from| -> Vec<i16> {
        seen.iter()
            .filter(|packet| packet.from == from)
            .flat_map(|packet| packet.samples())
            .collect()
    };
    let (sent, heard) = (audio(sipp_port), audio(our_port));
    assert!(sent.len() >= 20_000, "SIPp sent {} samples", sent.len());
    let (alike, shift) = likeness(&sent[8000..16_000], &heard[4000..], 8000);
    assert!(
        alike > 0.95,
        "alike by {alike} at a shift of {shift} samples"
    );
}

#[test]
fn tone_is_1004_hz_and_steady() {
    let daemon = Scene::default().start();
    let call = Peer::new().call("tone", daemon.sip());
    let heard = wait_for("two seconds of tone", seconds(10), || {
        let heard = call.heard_samples();
        (heard.len() > TWO_SECONDS + 1600).then_some(heard)
    });
    let middle = &heard[1600..1600 + TWO_SECONDS];
    let pure = purity(middle, 1004.0, 8000.0);
    assert!(pure > 0.98, "{pure} of the power is at 1004 Hz");
    call.hang_up();
}

#[test]
fn rtp_goes_on_without_a_gap_in_its_numbers() {
    let daemon = Scene::default().start();
    let call = Peer::new().call("tone", daemon.sip());
    let heard = wait_for("100 packets", seconds(10), || {
        let heard = call.heard();
        (heard.len() >= 100).then_some(heard)
    });
    for pair in heard.windows(2) {
        let (one, two) = (&pair[0].packet, &pair[1].packet);
        assert_eq!(two.sequence, one.sequence.wrapping_add(1));
        assert_eq!(two.timestamp, one.timestamp.wrapping_add(160));
        assert_eq!(two.source, one.source);
    }
    call.hang_up();
}

#[test]
fn who_gives_up_while_it_rings_is_answered_487() {
    let daemon = Scene::default().start();
    let scenario = Sipp::scenario("cancel", daemon.sip(), daemon.place());
    let mut sipp = scenario
        .calls("ring")
        .start(&daemon.place().file("sipp.log"));
    assert!(sipp.finish(seconds(30)).success(), "{}", sipp.said());
}

#[test]
fn busy_is_answered_486() {
    let daemon = Scene::default().start();
    let scenario = Sipp::scenario("busy", daemon.sip(), daemon.place());
    let mut sipp = scenario
        .calls("busy")
        .start(&daemon.place().file("sipp.log"));
    assert!(sipp.finish(seconds(30)).success(), "{}", sipp.said());
}

#[test]
fn hold_and_resume_are_answered_as_rfc_3264_says() {
    let daemon = Scene::default().start();
    let scenario = Sipp::scenario("reinvite", daemon.sip(), daemon.place());
    let mut sipp = scenario
        .calls("echo")
        .with(&["-d", "500"])
        .start(&daemon.place().file("sipp.log"));
    assert!(sipp.finish(seconds(30)).success(), "{}", sipp.said());
}

#[test]
fn options_is_answered() {
    let daemon = Scene::default().start();
    assert_eq!(
        Peer::new().ask("OPTIONS", "ping", daemon.sip()).status(),
        200
    );
}

#[test]
fn who_is_not_on_a_trunk_is_refused_403() {
    let scene = Scene {
        source: "127.9.9.0/24".to_owned(),
        ..Scene::default()
    };
    let daemon = scene.start();
    let (_, answer) = Peer::new().invite("echo", daemon.sip(), 40_000);
    assert_eq!(answer.status(), 403);
    let trusted = Peer::at("127.9.9.1").call("echo", daemon.sip());
    trusted.hang_up();
}

#[test]
fn a_number_that_nobody_serves_is_answered_404() {
    let daemon = Scene::default().start();
    let (_, answer) = Peer::new().invite("5550199", daemon.sip(), 40_000);
    assert_eq!(answer.status(), 404);
}

#[test]
fn a_call_beyond_the_last_slot_is_answered_503_with_retry_after() {
    let scene = Scene {
        max_calls: 1,
        ..Scene::default()
    };
    let daemon = scene.start();
    let first = Peer::new().call("echo", daemon.sip());
    let (_, answer) = Peer::new().invite("echo", daemon.sip(), 40_000);
    assert_eq!(answer.status(), 503);
    assert!(answer.header("Retry-After").parse::<u32>().is_ok());
    first.hang_up();
}

#[test]
fn a_stranger_cannot_take_over_the_audio() {
    let daemon = Scene::default().start();
    let speech = person("demo-congrats")[..4 * 8000].to_vec();
    let alike = best_of_three(0.95, || echo_beside_a_stranger(&daemon, &speech));
    assert!(alike > 0.95, "the caller's own echo is not alike: {alike}");
}

/// How alike a caller's echo is while a stranger sends to the same port.
fn echo_beside_a_stranger(daemon: &Daemon, speech: &[i16]) -> f64 {
    let call = Peer::new().call("echo", daemon.sip());
    call.say(speech);
    wait_for("the echo to flow", seconds(10), || {
        (call.heard().len() > 25).then_some(())
    });
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
    stranger
        .set_read_timeout(Some(ms(100)))
        .expect("a timeout can be set");
    let payload = vec![0x10; 160];
    for number in 0..100u16 {
        let timestamp = u32::from(number) * 160;
        let packet = Packet {
            kind: 0,
            marker: false,
            sequence: number,
            timestamp,
            source: 99,
            payload: payload.clone(),
        };
        stranger
            .send_to(&packet.bytes(), call.audio())
            .expect("loopback takes a datagram");
        std::thread::sleep(ms(10));
    }
    let mut bytes = [0; 2048];
    assert!(
        stranger.recv_from(&mut bytes).is_err(),
        "the stranger is sent our audio"
    );
    call.wait_said();
    let heard = call.heard_samples();
    let (alike, _) = likeness(&speech[8000..16_000], &heard[4000..], 10_000);
    call.hang_up();
    alike
}

/// The share of frames that come back as they were from packets of which every
/// fifth is overtaken.
fn through_swaps(daemon: &Daemon, speech: &[i16]) -> f64 {
    let call = Peer::new().call("echo", daemon.sip());
    call.swap_packets();
    call.say(speech);
    call.wait_said();
    std::thread::sleep(ms(300));
    let heard = call.heard_samples();
    call.hang_up();
    // The echo may begin before or after what we count as the beginning.
    let (_, shift) = likeness(&speech[8000..16_000], &heard[4000..], 8000);
    came_through(&speech[8000..20_000], &heard[4000..], shift)
}

#[test]
fn packets_that_overtake_each_other_are_heard_in_order() {
    let daemon = Scene::default().start();
    let speech = as_mu_law(&person("demo-congrats")[..3 * 8000]);
    let share = best_of_three(0.9, || through_swaps(&daemon, &speech));
    // A receiver that dropped what was overtaken would leave four of five.
    assert!(share > 0.9, "frames that came through: {share}");
}

#[test]
fn echo_of_a_pure_tone_keeps_its_level() {
    let daemon = Scene::default().start();
    let call = Peer::new().call("echo", daemon.sip());
    call.say(&sine(600.0, TWO_SECONDS, 9000.0));
    call.wait_said();
    let heard = wait_for("the tone to come back", seconds(10), || {
        let heard = call.heard_samples();
        let start = heard
            .iter()
            .position(|sample| sample.unsigned_abs() > 4000)?;
        heard.get(start + 800..start + 8800).map(<[i16]>::to_vec)
    });
    assert!(purity(&heard, 600.0, 8000.0) > 0.98);
    let peak = heard
        .iter()
        .map(|sample| sample.unsigned_abs())
        .max()
        .expect("samples");
    assert!((8500..9600).contains(&peak), "peak {peak}");
    call.hang_up();
}
