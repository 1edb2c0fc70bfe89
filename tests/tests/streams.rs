//! Other ways than UDP over IPv4: TCP and TLS with foreign peers, IPv6, peers
//! that misuse a stream, and trunks that are registered with or asked for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use offhook_tests::baresip::Baresip;
use offhook_tests::certificate::{issued, self_signed};
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::scene::Scene;
use offhook_tests::sipp::Sipp;
use offhook_tests::speech::{person, silence, write_mu_law};
use serde_json::Value;

/// Whom our certificate is for.
const NAMES: &str = "DNS:localhost,IP:127.0.0.1";
const UDP: &str = "\"udp:127.0.0.1:0\"";

/// The shared configuration with these listeners, and lines that follow.
fn scene(listeners: &str, more: &str) -> String {
    let text = Scene::default().text();
    let text = text.replace(
        &format!("listen = [{UDP}]"),
        &format!("listen = [{UDP}, {listeners}]"),
    );
    format!("{text}{more}")
}

/// Where a daemon listens by this transport and family.
fn listener(daemon: &Daemon, transport: &str, six: bool) -> SocketAddr {
    let status = daemon.json(&["status"]);
    let list = status["sip"].as_array().expect("listeners");
    let address = |it: &Value| it["address"].as_str()?.parse::<SocketAddr>().ok();
    let mut found = list
        .iter()
        .filter(|it| it["transport"] == transport)
        .filter_map(address);
    let found = found.find(|address| address.is_ipv6() == six);
    found.unwrap_or_else(|| panic!("no {transport} in {status}"))
}

fn options(transport: &str, number: usize) -> String {
    format!(
        "OPTIONS sip:ping@test SIP/2.0\r\nVia: SIP/2.0/{transport} test;branch=z9hG4bKt{number};rport\r\n\
         From: <sip:t@test>;tag=1\r\nTo: <sip:ping@test>\r\nCall-ID: {transport}{number}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Asks over a stream of its own and gives the first line of the answer.
fn ask(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream
        .set_read_timeout(Some(seconds(5)))
        .expect("a timeout can be set");
    stream
        .write_all(options("TCP", 1).as_bytes())
        .expect("it reads");
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).expect("it answers");
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    let status = daemon.json(&["status"]);
    status["counters"][name].as_u64().unwrap_or(0)
}

fn tls_daemon(more: &str) -> Daemon {
    let place = Place::new();
    self_signed(place.path(), NAMES);
    let tls = "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nauthorities = \"tls.pem\"\n";
    let text = scene("\"tls:127.0.0.1:0\"", &format!("{tls}{more}"));
    Daemon::start_in(place, &text)
}

#[test]
fn sipp_calls_over_tcp_with_speech_and_hangs_up() {
    let daemon = Daemon::start(&scene("\"tcp:127.0.0.1:0\"", ""));
    write_mu_law(
        &person("demo-congrats")[..8000],
        &daemon.place().file("speech.ul"),
    );
    let to = listener(&daemon, "tcp", false);
    let scenario = Sipp::scenario("speech", to, daemon.place());
    let mut sipp = scenario
        .calls("echo")
        .with(&["-t", "t1", "-d", "1500", "-m", "3", "-l", "3"])
        .start(&daemon.place().file("sipp.log"));
    assert!(sipp.finish(seconds(30)).success(), "{}", sipp.said());
}

#[test]
fn a_call_over_tcp_is_hung_up_by_us_over_the_connection_it_came_by() {
    let mut daemon = Daemon::start(&scene("\"tcp:127.0.0.1:0\"", ""));
    write_mu_law(&silence(1000), &daemon.place().file("speech.ul"));
    let to = listener(&daemon, "tcp", false);
    let scenario = Sipp::scenario("listen", to, daemon.place());
    let mut sipp = scenario
        .calls("tone")
        .with(&["-t", "t1"])
        .start(&daemon.place().file("sipp.log"));
    daemon.wait_status("the call", seconds(10), |status| {
        (status["calls"]["talking"] == 1).then_some(())
    });
    daemon.stop();
    assert!(sipp.finish(seconds(10)).success(), "{}", sipp.said());
}

/// baresip calls and hangs up again.
fn baresip(daemon: &Daemon, transport: &str) {
    let speech = daemon.place().file("silence.wav");
    offhook_tests::sound::Sound::mono(silence(8000)).write(&speech);
    let baresip = Baresip::start(daemon.place(), &speech, "pcmu/8000/1");
    let to = listener(daemon, transport, false);
    baresip.order("dial", &format!("sip:echo@{to};transport={transport}"));
    let talking = offhook_tests::patience::watch(seconds(15), || {
        (daemon.json(&["status"])["calls"]["talking"] == 1).then_some(())
    });
    assert!(talking.is_some(), "{}\n{}", baresip.said(), daemon.said());
    baresip.order("hangup", "");
    daemon.wait_status("the end of the call", seconds(10), |status| {
        (status["calls"]["active"] == 0).then_some(())
    });
}

#[test]
fn baresip_calls_over_tcp() {
    baresip(&Daemon::start(&scene("\"tcp:127.0.0.1:0\"", "")), "tcp");
}

#[test]
fn baresip_calls_over_tls() {
    baresip(&tls_daemon(""), "tls");
}

#[test]
fn openssl_gets_its_answer_over_tls_and_plain_text_gets_none() {
    let daemon = tls_daemon("");
    let to = listener(&daemon, "tls", false);
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-CAfile"])
        .arg(daemon.place().file("tls.pem"))
        .args(["-verify_hostname", "localhost", "-connect", &to.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut input = client.stdin.take().expect("piped");
    input
        .write_all(options("TLS", 1).as_bytes())
        .expect("openssl reads");
    let mut answer = [0; 1024];
    let mut output = client.stdout.take().expect("piped");
    let length = output.read(&mut answer).expect("openssl writes");
    let text = String::from_utf8_lossy(&answer[..length]);
    assert!(text.starts_with("SIP/2.0 200 OK"), "{text}");
    // It was ours; its end is of no interest.
    let _ = client.kill();
    let _ = client.wait();
    let mut plain = TcpStream::connect(to).expect("it listens");
    plain.write_all(options("TCP", 1).as_bytes()).expect("sent");
    let length = plain.read(&mut [0; 1024]).unwrap_or(0);
    assert!(length < 100, "an alert at most");
    wait_for("the failure to be counted", seconds(5), || {
        (counter(&daemon, "sip_tls_failed") > 0).then_some(())
    });
}

/// One that listens on IPv6 as well, where there is any.
fn six_daemon() -> Option<Daemon> {
    if TcpStream::connect("[::1]:9")
        .is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL))
    {
        offhook_tests::skip::skip("no IPv6 on loopback");
        return None;
    }
    let text = scene("\"udp:[::1]:0\", \"tcp:[::1]:0\"", "");
    Some(Daemon::start(&text.replace(
        "source = [\"127.0.0.0/8\"]",
        "source = [\"127.0.0.0/8\", \"::1\"]",
    )))
}

#[test]
fn options_are_answered_over_ipv6_by_tcp() {
    let Some(daemon) = six_daemon() else { return };
    assert_eq!(ask(listener(&daemon, "tcp", true)), "SIP/2.0 200 OK");
}

#[test]
fn options_are_answered_over_ipv6_by_udp() {
    let Some(daemon) = six_daemon() else { return };
    let socket = std::net::UdpSocket::bind("[::1]:0").expect("IPv6 on loopback");
    socket
        .set_read_timeout(Some(seconds(5)))
        .expect("a timeout can be set");
    let udp = listener(&daemon, "udp", true);
    socket
        .send_to(options("UDP", 1).as_bytes(), udp)
        .expect("sent");
    let mut answer = [0; 1024];
    let length = socket.recv(&mut answer).expect("an answer");
    let text = String::from_utf8_lossy(&answer[..length]);
    assert!(text.contains("received=::1"), "{text}");
}

#[test]
fn who_misuses_a_stream_harms_only_itself() {
    let daemon = Daemon::start(&scene("\"tcp:127.0.0.1:0\"", ""));
    let to = listener(&daemon, "tcp", false);
    let connect = || TcpStream::connect(to).expect("it listens");
    // Many that open and say nothing, one that sends a byte now and then, one
    // that is no SIP.
    let silent: Vec<_> = (0..200).map(|_| connect()).collect();
    let mut slow = connect();
    slow.write_all(b"OPTIONS sip:x@y SIP/2.0\r\nVia: S")
        .expect("sent");
    let mut web = connect();
    web.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    // One that asks and asks and never reads the answers.
    let mut deaf = connect();
    deaf.set_write_timeout(Some(ms(200)))
        .expect("a timeout can be set");
    let flood: String = (0..2000).map(|number| options("TCP", number)).collect();
    let mut refused = false;
    for _ in 0..40 {
        assert_eq!(ask(to), "SIP/2.0 200 OK");
        assert_eq!(
            Peer::new().ask("OPTIONS", "ping", daemon.sip()).status(),
            200
        );
        refused |= deaf.write_all(flood.as_bytes()).is_err();
        if refused {
            break;
        }
    }
    assert!(refused, "the deaf one was never held back");
    let ended = |name: &'static str| {
        wait_for(name, seconds(30), || {
            (counter(&daemon, name) > 0).then_some(())
        });
    };
    ended("sip_streams_unreadable");
    ended("sip_streams_stalled");
    ended("sip_streams_slow");
    assert_eq!(ask(to), "SIP/2.0 200 OK");
    drop(silent);
}

fn trunk(daemon: &Daemon, name: &str) -> Value {
    let status = daemon.json(&["status"]);
    let trunks = status["trunks"].as_array().cloned().unwrap_or_default();
    let found = trunks.into_iter().find(|trunk| trunk["name"] == name);
    found.unwrap_or_else(|| panic!("no trunk {name} in {status}"))
}

fn wait_trunk(daemon: &Daemon, name: &str, state: &str) -> Value {
    wait_for("the trunk's state", seconds(30), || {
        Some(trunk(daemon, name)).filter(|trunk| trunk["state"] == state)
    })
}

fn with_account(port: u16, password: &str) -> String {
    format!(
        "[[trunk]]\nname = \"carrier\"\nproxy = \"udp:127.0.0.1:{port}\"\nuser = \"box\"\n\
         password = \"{password}\"\ndomain = \"tests.example\"\nregister = true\n"
    )
}

/// A daemon with that password at a registrar that asks for one, once it stands so.
fn registered(password: &str, state: &str) -> (Daemon, Value) {
    let place = Place::new();
    let port = free_port();
    // Where it calls to does not matter: it only answers.
    let registrar = Sipp::scenario("registrar", ([127, 0, 0, 1], 9).into(), &place);
    let _registrar = registrar
        .with(&["-p", &port.to_string(), "-aa"])
        .start(&place.file("registrar.log"));
    let daemon = Daemon::start(&scene("\"tcp:127.0.0.1:0\"", &with_account(port, password)));
    let found = wait_trunk(&daemon, "carrier", state);
    (daemon, found)
}

#[test]
fn a_registrar_that_asks_for_the_password_gets_it() {
    registered("s3cret", "up");
}

#[test]
fn a_registrar_that_refuses_the_password_is_named() {
    let (daemon, found) = registered("guess", "down");
    let reason = found["reason"].as_str().unwrap_or_default();
    assert_eq!(reason, "refuses REGISTER: 403 Wrong Password");
    let text = daemon.offhook(&["status"]).out;
    assert!(text.contains("carrier DOWN for "), "{text}");
}

#[test]
fn a_trunk_that_is_not_there_is_down_with_its_reason_and_calls_take_the_next_one() {
    let (dead, alive) = (free_port(), Peer::new());
    let more = format!(
        "[[trunk]]\nname = \"dead\"\nproxy = \"tcp:127.0.0.1:{dead}\"\noptions_s = 5\nnext = \"alive\"\n\
         [[trunk]]\nname = \"alive\"\nproxy = \"udp:{}\"\n",
        alive.address()
    );
    let daemon = Daemon::start(&scene("\"tcp:127.0.0.1:0\"", &more));
    let found = wait_trunk(&daemon, "dead", "down");
    assert_eq!(found["reason"], "no connection");
    assert_eq!(trunk(&daemon, "alive")["state"], "unknown");
    let order = [
        "originate",
        "200",
        "--trunk",
        "dead",
        "--playbook",
        "outreach",
        "--consent",
        "test",
    ];
    let placed = daemon.offhook(&order);
    assert_eq!(placed.code, 0, "{}{}", placed.out, placed.err);
    let (invite, _) = alive.receive(seconds(10)).expect("the call comes here");
    assert!(invite.first.starts_with("INVITE sip:200@"), "{invite:?}");
}

/// What OPTIONS gets over TLS with this certificate, or none.
fn asked_with(to: SocketAddr, certificate: Option<&(String, String)>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &to.to_string()]);
    if let Some((certificate, key)) = certificate {
        command.args(["-cert", certificate, "-key", key]);
    }
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut input = client.stdin.take().expect("piped");
    // A handshake that fails ends openssl before it reads.
    let _ = input.write_all(options("TLS", 1).as_bytes());
    let mut answer = [0; 1024];
    let mut output = client.stdout.take().expect("piped");
    let length = output.read(&mut answer).unwrap_or(0);
    let _ = client.kill();
    let _ = client.wait();
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn with_mutual_tls_a_trunk_is_who_its_certificate_says_and_nobody_else() {
    let place = Place::new();
    self_signed(place.path(), NAMES);
    let (trunk, other) = (
        issued(&place, "sbc.example"),
        issued(&place, "other.example"),
    );
    let tls = "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nauthorities = \"ca.pem\"\n\
        require_client_certificate = true\n";
    let named = "name = \"loopback\"\nidentity = [\"sbc.example\"]\n";
    let text = scene("\"tls:127.0.0.1:0\"", tls).replace("name = \"loopback\"\n", named);
    let daemon = Daemon::start_in(place, &text);
    let to = listener(&daemon, "tls", false);
    assert_eq!(asked_with(to, Some(&trunk)), "SIP/2.0 200 OK");
    assert_eq!(asked_with(to, Some(&other)), "SIP/2.0 403 Forbidden");
    assert_eq!(asked_with(to, None), "", "no certificate, no answer");
    wait_for("the failure to be counted", seconds(5), || {
        (counter(&daemon, "sip_tls_failed") > 0).then_some(())
    });
}

#[test]
fn an_answer_whose_connection_is_lost_comes_to_the_port_that_its_request_named() {
    let daemon = Daemon::start(&scene("\"tcp:127.0.0.1:0\"", ""));
    let here = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = here.local_addr().expect("it is bound").port();
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=audio 40000 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:tone@test SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bKlost\r\n\
         Max-Forwards: 70\r\nFrom: <sip:t@test>;tag=1\r\nTo: <sip:tone@test>\r\nCall-ID: lost\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:t@127.0.0.1:{port};transport=tcp>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let mut stream = TcpStream::connect(listener(&daemon, "tcp", false)).expect("it listens");
    stream.write_all(invite.as_bytes()).expect("it reads");
    let mut answer = [0; 1024];
    assert_ne!(stream.read(&mut answer).expect("it answers"), 0);
    drop(stream);
    here.set_nonblocking(true).expect("it can be asked");
    let (mut back, _) = wait_for("a connection back", seconds(10), || here.accept().ok());
    back.set_nonblocking(false).expect("it can be waited for");
    back.set_read_timeout(Some(seconds(10)))
        .expect("not for ever");
    let length = back.read(&mut answer).expect("it says something");
    let text = String::from_utf8_lossy(&answer[..length]);
    assert!(text.starts_with("SIP/2.0 200 OK"), "{text}");
}
