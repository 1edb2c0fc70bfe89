//! Floods and forgeries while a call runs: it does not notice, memory stays bounded,
//! and a hostile message costs less than a good call. Figures are printed; the rates
//! of this machine with real peers are `make figures`.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use offhook_tests::certificate::self_signed;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Message, Peer};
use offhook_tests::place::{Place, free_rtp_pair};
use offhook_tests::process::{cpu, hurry, resident, run};
use offhook_tests::rtp::{Packet, key_payload};
use offhook_tests::scene::Scene;

/// Who is no trunk of ours.
const STRANGER: &str = "127.0.0.66";
/// The SSRC of our callers, as somebody on their network would see it.
const SOURCE: u32 = 0x0ff0_0001;

/// Trusts 127.0.0.1 alone.
fn daemon() -> Daemon {
    let scene = Scene {
        source: "127.0.0.1/32".to_owned(),
        ..Scene::default()
    };
    scene.start()
}

/// A call to the echo that talks until it is judged.
struct Talk {
    call: Call,
    id: String,
}

impl Talk {
    fn begin(daemon: &Daemon) -> Self {
        // Its packets leave in time however busy this machine is.
        let call = thread::scope(|scope| {
            let call = scope.spawn(|| {
                hurry();
                Peer::new().call("echo", daemon.sip())
            });
            call.join().expect("it is answered")
        });
        wait_for("the echo to flow", seconds(10), || {
            (call.heard().len() > 10).then_some(())
        });
        let calls = daemon.json(&["calls"]);
        let id = calls[0]["id"].as_str().expect("a call").to_owned();
        Self { call, id }
    }

    /// The caller has heard all that we sent, and goes on hearing.
    fn goes_on(&self) {
        let before = self.call.heard().len();
        wait_for("the echo to go on", seconds(10), || {
            (self.call.heard().len() > before + 25).then_some(())
        });
        let heard = self.call.heard();
        let numbers: Vec<u16> = heard.iter().map(|it| it.packet.sequence).collect();
        let jumps = numbers
            .windows(2)
            .filter(|pair| pair[1].wrapping_sub(pair[0]) != 1);
        assert_eq!(jumps.count(), 0, "none of our packets is missing");
    }

    /// The call has lost nothing, sounds as it should, and was there to the end.
    fn unharmed(self, daemon: &Daemon) {
        self.goes_on();
        self.call.hang_up();
        let report = wait_for("the report of the call", seconds(20), || {
            let detail = daemon.json(&["call", &self.id]);
            let lines = detail["timeline"].as_array()?;
            let closed = lines.iter().find(|line| line["event"] == "media_closed")?;
            closed["detail"].as_str().map(str::to_owned)
        });
        println!("the call meanwhile: {report}");
        assert!(report.contains(" lost 0 "), "{report}");
        let made_up = report
            .split("concealed ")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        let made_up: u32 = made_up.and_then(|it| it.parse().ok()).expect("ms");
        // A tick or two of the caller's own clock.
        assert!(made_up <= 60, "{report}");
        let mos = report.split("MOS ").nth(1).expect("a score");
        let mos: f32 = mos[..3].parse().expect("a score");
        assert!(mos >= 4.3, "{report}");
    }
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    let status = daemon.json(&["status"]);
    status["counters"][name].as_u64().unwrap_or(0)
}

/// Sends each text, some at a time, as fast as the other side empties its socket.
fn pour(peer: &Peer, to: SocketAddr, texts: impl Iterator<Item = String>) {
    for (number, text) in texts.enumerate() {
        peer.send(text.as_bytes(), to);
        // Some 700 a second.
        if number % 7 == 6 {
            thread::sleep(ms(10));
        }
    }
}

/// CPU of a good call, in microseconds: INVITE to BYE with audio opened.
fn good_call(daemon: &Daemon) -> f64 {
    const CALLS: u32 = 40;
    let to = daemon.sip();
    let before = cpu(daemon.id());
    for _ in 0..CALLS {
        Peer::new().call("echo", to).hang_up();
    }
    (cpu(daemon.id()) - before).as_secs_f64() * 1e6 / f64::from(CALLS)
}

#[test]
fn ten_thousand_half_open_calls_are_bounded_and_a_running_call_does_not_notice() {
    const CALLS: usize = 10_000;
    let daemon = daemon();
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
fn scanners_cost_less_than_calls_and_are_told_of_once_a_minute() {
    const EACH: u32 = 4_000;
    let daemon = daemon();
    let good = good_call(&daemon);
    let talk = Talk::begin(&daemon);
    let scanner = Peer::at(STRANGER).named("friendly-scanner");
    let to = daemon.sip();
    for method in ["OPTIONS", "REGISTER", "INVITE"] {
        let idle = idle_cpu(&daemon);
        let before = (cpu(daemon.id()), offhook_tests::patience::now());
        let text = |number: u32| {
            let text = scanner.request(method, &format!("{}", 100 + number), to, None);
            text.replace(
                "Max-Forwards",
                "User-Agent: friendly-scanner\r\nMax-Forwards",
            )
        };
        pour(&scanner, to, (0..EACH).map(text));
        let took = offhook_tests::patience::now() - before.1;
        let spent = (cpu(daemon.id()) - before.0).as_secs_f64() - idle * took.as_secs_f64();
        let each = spent.max(0.0) * 1e6 / f64::from(EACH);
        println!(
            "{method} of a scanner: {each:.0} us of CPU, {:.2} of a good call ({good:.0} us)",
            each / good
        );
        assert!(each < good, "{method}: {each} us, a good call {good} us");
    }
    wait_for("the strangers to be counted", seconds(10), || {
        (counter(&daemon, "sip_strangers") >= u64::from(3 * EACH) * 9 / 10).then_some(())
    });
    // 50 a second are refused, the others get nothing.
    assert!(counter(&daemon, "sip_strangers_ignored") > u64::from(EACH));
    talk.unharmed(&daemon);
    wait_for("the line of the minute", seconds(70), || {
        daemon.said().contains("sip_minute").then_some(())
    });
    assert!(
        daemon.said().contains(STRANGER),
        "the worst is named: {}",
        daemon.said()
    );
    let lines = daemon.said().matches("sip_minute").count();
    assert!(lines <= 2, "{lines} lines");
}

/// Share of a core that the daemon takes with its running call alone.
fn idle_cpu(daemon: &Daemon) -> f64 {
    let before = (cpu(daemon.id()), offhook_tests::patience::now());
    thread::sleep(seconds(1));
    let took = offhook_tests::patience::now() - before.1;
    (cpu(daemon.id()) - before.0).as_secs_f64() / took.as_secs_f64()
}

#[test]
fn a_storm_of_retransmissions_makes_no_call_more() {
    let daemon = daemon();
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

/// RTP as the caller would send it next, from elsewhere.
fn forged(call: &Call, kind: u8, payload: Vec<u8>) -> Packet {
    let sent = call.sent();
    Packet {
        kind,
        marker: false,
        sequence: (sent + 2) as u16,
        timestamp: (sent + 2) * 160,
        source: SOURCE,
        payload,
    }
}

#[test]
fn audio_from_elsewhere_is_neither_heard_nor_does_it_take_the_call_over() {
    let daemon = daemon();
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
    let daemon = daemon();
    let talk = Talk::begin(&daemon);
    let thief = UdpSocket::bind((STRANGER, 0)).expect("loopback has a port");
    let mut control = talk.call.audio();
    control.set_port(control.port() + 1);
    // An empty receiver report, then BYE (RFC 3550 §6.4.2, §6.6).
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(SOURCE.to_be_bytes());
    bytes.extend([0x81, 203, 0, 1]);
    bytes.extend(SOURCE.to_be_bytes());
    for _ in 0..200 {
        for to in [control, talk.call.audio()] {
            // RTCP has no socket in its first seconds.
            let _ = thief.send_to(&bytes, to);
        }
        thread::sleep(ms(20));
    }
    talk.unharmed(&daemon);
}

#[test]
fn keys_from_elsewhere_are_not_pressed() {
    let daemon = daemon();
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
    let daemon = daemon();
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
        let (_, answer) = Peer::new().invite(number, daemon.sip(), free_rtp_pair());
        assert_eq!(answer.status(), 404, "{number} by a trunk");
    }
    let status = daemon.json(&["status"]);
    assert_eq!(status["calls"]["active"], 0, "{status}");
}

fn md5(text: &str) -> String {
    let place = Place::new();
    let file = place.write("text", text).display().to_string();
    let done = run("openssl", ["dgst", "-md5", "-r", &file]);
    assert_eq!(done.code, 0, "{}", done.err);
    done.out[..32].to_owned()
}

/// The answer to a question (RFC 2617 §3.2.2, with qop auth).
fn proof(asked: &Message, uri: &str) -> String {
    let challenge = asked.header("WWW-Authenticate").to_owned();
    let part = |name: &str| {
        let rest = challenge
            .split(&format!("{name}=\""))
            .nth(1)
            .unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let (realm, nonce) = (part("realm"), part("nonce"));
    let own = md5(&format!("pbx:{realm}:s3cret"));
    let request = md5(&format!("INVITE:{uri}"));
    let response = md5(&format!("{own}:{nonce}:00000001:c0ffee:auth:{request}"));
    format!(
        "Authorization: Digest username=\"pbx\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c0ffee\", response=\"{response}\"\r\n"
    )
}

#[test]
fn a_password_that_was_overheard_cannot_be_used_again() {
    let text = Scene::default().text().replace(
        "name = \"loopback\"\n",
        "name = \"pbx\"\nchallenge = \"md5\"\nuser = \"pbx\"\npassword = \"s3cret\"\n",
    );
    let daemon = Daemon::start(&text);
    let (_, asked) = Peer::new().invite("ring", daemon.sip(), free_rtp_pair());
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
    let daemon = daemon();
    let talk = Talk::begin(&daemon);
    let before = resident(daemon.id());
    let peer = Peer::new();
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{}",
        "a=candidate:1 1 UDP 1 127.0.0.1 9 typ host\r\n".repeat(1_300)
    );
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
        let (_, answer) = Peer::new().invite("echo", daemon.sip(), free_rtp_pair());
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
