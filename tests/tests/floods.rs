//! Floods and forgeries while a call runs: it does not notice, and memory stays bounded.
//! What each costs is in `costs`; the rates of this machine with real peers are
//! `make figures`.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use offhook_tests::certificate::self_signed;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::resident;
use offhook_tests::rtp::key_payload;
use offhook_tests::scene::Scene;
use offhook_tests::siege::{
    ASKING, STRANGER, Talk, counter, forged, giant, goodbye, pour, proof, scene,
};

#[test]
fn ten_thousand_half_open_calls_are_bounded_and_a_running_call_does_not_notice() {
    const CALLS: usize = 10_000;
    let daemon = scene().start();
    let talk = Talk::begin(&daemon);
    let peer = Peer::new();
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                 m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
    // It may have no time to answer us while it is flooded.
    let active = || {
        let ran = daemon.offhook(&["status", "--json"]);
        let status: Option<serde_json::Value> = serde_json::from_str(&ran.out).ok();
        status
            .and_then(|it| it["calls"]["active"].as_u64())
            .unwrap_or(0) as usize
    };
    let to = daemon.sip();
    let ring = |count: usize| {
        let texts = (0..count).map(|_| peer.request("INVITE", "ring", to, Some(offer)));
        pour(&peer, to, texts);
    };
    // What the first ones take once is not each one's.
    ring(200);
    wait_for("the first", seconds(20), || (active() > 150).then_some(()));
    let (few, before) = (active(), resident(daemon.id()));
    ring(CALLS);
    wait_for("the others", seconds(60), || {
        (active() >= CALLS - 500).then_some(())
    });
    let (many, after) = (active(), resident(daemon.id()));
    let each = after.saturating_sub(before) / (many - few) as u64;
    println!("half open: {many} calls, {each} bytes each, {after} bytes in all");
    // The endpoint alone takes 2 kB (`offhook bench sip`), the conversation behind it
    // less; the rest is what the store reads its own pages with, up to 4 MB.
    assert!(each <= 8 * 1024, "{each} bytes for each half-open call");
    talk.unharmed(&daemon);
}

#[test]
fn a_storm_of_retransmissions_makes_no_call_more() {
    let daemon = scene().start();
    let talk = Talk::begin(&daemon);
    let to = daemon.sip();
    let peer = Peer::new();
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let texts: Vec<String> = (0..50)
        .map(|_| peer.request("INVITE", "ring", to, Some(offer)))
        .collect();
    for _ in 0..100 {
        pour(&peer, to, texts.iter().cloned());
    }
    let active = daemon.json(&["status"])["calls"]["active"].as_u64();
    assert_eq!(active, Some(51), "50 ring and one talks");
    assert!(
        counter(&daemon, "sip_retransmitted") > 3_000 || counter(&daemon, "sip_received") > 4_000
    );
    talk.unharmed(&daemon);
}

#[test]
fn audio_from_elsewhere_is_neither_heard_nor_does_it_take_the_call_over() {
    let daemon = scene().start();
    let talk = Talk::begin(&daemon);
    for host in [STRANGER, "127.0.0.1"] {
        let thief = UdpSocket::bind((host, 0)).expect("loopback has a port");
        thief
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        for _ in 0..150 {
            // Silence is what the caller sends: a loud tone would be heard.
            let packet = forged(&talk.call, 0, vec![0x10; 160]);
            thief
                .send_to(&packet.bytes(), talk.call.audio())
                .expect("loopback takes it");
            thread::sleep(ms(10));
        }
        let caught = thief.recv_from(&mut [0; 2048]);
        assert!(caught.is_err(), "{host} gets nothing of the call");
    }
    let heard = talk.call.heard_samples();
    let loud = heard.iter().filter(|sample| sample.abs() > 5_000).count();
    assert_eq!(loud, 0, "nothing forged came back to the caller");
    talk.unharmed(&daemon);
}

#[test]
fn a_forged_goodbye_by_rtcp_ends_nothing() {
    let daemon = scene().start();
    let talk = Talk::begin(&daemon);
    let thief = UdpSocket::bind((STRANGER, 0)).expect("loopback has a port");
    let mut control = talk.call.audio();
    control.set_port(control.port() + 1);
    for _ in 0..200 {
        for to in [control, talk.call.audio()] {
            // RTCP has no socket in its first seconds.
            let _ = thief.send_to(&goodbye(), to);
        }
        thread::sleep(ms(20));
    }
    talk.unharmed(&daemon);
}

#[test]
fn keys_from_elsewhere_are_not_pressed() {
    let daemon = scene().start();
    let call = Peer::new().call("booking", daemon.sip());
    wait_for("the prompt", seconds(20), || {
        (call.heard().len() > 50).then_some(())
    });
    for host in [STRANGER, "127.0.0.1"] {
        let thief = UdpSocket::bind((host, 0)).expect("loopback has a port");
        for step in 1..=8u16 {
            let packet = forged(&call, 101, key_payload('1', step > 5, 160 * step));
            thief
                .send_to(&packet.bytes(), call.audio())
                .expect("loopback takes it");
            thread::sleep(ms(20));
        }
    }
    let pressed = || {
        daemon
            .offhook(&["call", "last"])
            .out
            .matches("dtmf")
            .count()
    };
    thread::sleep(ms(500));
    assert_eq!(pressed(), 0, "nothing was pressed");
    call.press('1');
    wait_for("a real key", seconds(10), || (pressed() == 1).then_some(()));
    call.hang_up();
}

#[test]
fn numbers_that_fraudsters_dial_lead_nowhere() {
    let daemon = scene().start();
    let stranger = Peer::at(STRANGER);
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.66\r\ns=-\r\nc=IN IP4 127.0.0.66\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    for number in [
        "00972592277524",
        "011972592277524",
        "9011972592277524",
        "+88213000001",
        "900441519470478",
        "+2521234567",
        "0053550000000",
        "*72",
        "1001%3Breboot",
    ] {
        let text = stranger.request("INVITE", number, daemon.sip(), Some(offer));
        stranger.send(text.as_bytes(), daemon.sip());
        let (answer, _) = stranger.expect("an answer", seconds(5), |it| it.status() >= 200);
        assert_eq!(answer.status(), 403, "{number} by a stranger");
        let (_, answer) = Peer::new().invite(number, daemon.sip(), free_port());
        assert_eq!(answer.status(), 404, "{number} by a trunk");
    }
    let status = daemon.json(&["status"]);
    assert_eq!(status["calls"]["active"], 0, "{status}");
}

#[test]
fn a_password_that_was_overheard_cannot_be_used_again() {
    let text = Scene::default()
        .text()
        .replace("name = \"loopback\"\n", ASKING);
    let daemon = Daemon::start(&text);
    let (_, asked) = Peer::new().invite("ring", daemon.sip(), free_port());
    assert_eq!(asked.status(), 401);
    let line = proof(&asked, &format!("sip:ring@{}", daemon.sip()));
    let ring = |from: &Peer| {
        let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let text = from.request("INVITE", "ring", daemon.sip(), Some(offer));
        let text = text.replace("Content-Type", &format!("{line}Content-Type"));
        from.send(text.as_bytes(), daemon.sip());
        from.expect("an answer", seconds(10), |it| it.status() >= 180)
            .0
            .status()
    };
    assert_eq!(ring(&Peer::new()), 180, "the first is who he says");
    assert_eq!(
        ring(&Peer::new()),
        401,
        "the same words again are asked anew"
    );
    assert_eq!(ring(&Peer::at(STRANGER)), 401, "from elsewhere as well");
}

#[test]
fn giant_descriptions_are_refused_and_forgotten() {
    let daemon = scene().start();
    let talk = Talk::begin(&daemon);
    let before = resident(daemon.id());
    let peer = Peer::new();
    let offer = giant();
    assert!(offer.len() > 55_000);
    let to = daemon.sip();
    for _ in 0..300 {
        let text = peer.request("INVITE", "ring", to, Some(&offer));
        peer.send(text.as_bytes(), to);
        let (answer, _) = peer.expect("a refusal", seconds(10), |it| it.status() >= 200);
        assert_eq!(answer.status(), 413);
    }
    let grown = resident(daemon.id()).saturating_sub(before);
    println!("300 descriptions of 57 kB: {grown} bytes more");
    assert!(grown < 8_000_000, "{grown} bytes more");
    talk.unharmed(&daemon);
}

#[test]
fn handshakes_that_never_end_keep_nobody_out() {
    let place = Place::new();
    self_signed(place.path(), "DNS:localhost,IP:127.0.0.1");
    let text = Scene::default().text().replace(
        "listen = [\"udp:127.0.0.1:0\"]",
        "listen = [\"udp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]",
    );
    let tls = "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nauthorities = \"tls.pem\"\n";
    let daemon = Daemon::start_in(place, &format!("{text}{tls}"));
    let talk = Talk::begin(&daemon);
    let status = daemon.json(&["status"]);
    let listeners = status["sip"].as_array().expect("listeners");
    let tls = listeners.iter().find(|it| it["transport"] == "tls");
    let to: SocketAddr = tls
        .and_then(|it| it["address"].as_str()?.parse().ok())
        .expect("an address");
    // The head of a ClientHello, and nothing more.
    let silent: Vec<TcpStream> = (0..200)
        .filter_map(|_| {
            use std::io::Write as _;
            let mut stream = TcpStream::connect(to).ok()?;
            stream.write_all(&[22, 3, 1, 2, 0, 1]).ok()?;
            Some(stream)
        })
        .collect();
    assert!(!silent.is_empty());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Relaxed: it need only be seen some time.
            while !over.load(Ordering::Relaxed) {
                let _ = TcpStream::connect(to);
                thread::sleep(ms(5));
            }
        });
        for _ in 0..20 {
            assert_eq!(
                Peer::new().ask("OPTIONS", "ping", daemon.sip()).status(),
                200
            );
            thread::sleep(ms(50));
        }
        over.store(true, Ordering::Relaxed);
    });
    talk.unharmed(&daemon);
}

#[test]
fn three_times_what_there_is_room_for_is_refused_early_and_the_rest_goes_on() {
    let scene = Scene {
        max_calls: 10,
        ..Scene::default()
    };
    let daemon = scene.start();
    let talk = Talk::begin(&daemon);
    let calls: Vec<Call> = (1..10)
        .map(|_| Peer::new().call("echo", daemon.sip()))
        .collect();
    for _ in 0..20 {
        let (_, answer) = Peer::new().invite("echo", daemon.sip(), free_port());
        assert_eq!(answer.status(), 503);
        let after: u32 = answer
            .header("Retry-After")
            .trim()
            .parse()
            .expect("seconds");
        assert!((1..=120).contains(&after));
    }
    talk.unharmed(&daemon);
    // Who has left makes room.
    Peer::new().call("echo", daemon.sip()).hang_up();
    drop(calls);
}
