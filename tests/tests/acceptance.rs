//! `offhook trunk test` against a carrier that works and against carriers that are
//! broken in one way each: it names the one check that failed, and no other.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use offhook_tests::carrier::{Carrier, Fault};
use offhook_tests::certificate::self_signed;
use offhook_tests::patience::{ms, seconds};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::{Running, built, run};
use offhook_tests::scene::Scene;
use offhook_tests::zone::Zone;
use serde_json::Value;

/// Tests at the same time: they mostly wait.
const AT_ONCE: usize = 9;

/// The report on a trunk with these lines of config.
fn report(trunk: &str, more: &str, call: bool) -> (i32, Value) {
    let asked: &[&str] = match call {
        true => &["--call", "100", "--transfer", "200"],
        false => &[],
    };
    report_with(trunk, more, asked)
}

/// The same, asked for more.
fn report_with(trunk: &str, more: &str, asked: &[&str]) -> (i32, Value) {
    let place = Place::new();
    let text = Scene::default().text();
    let text = text.replace("{dir}", &place.path().display().to_string());
    let usual = "listen = [\"udp:127.0.0.1:0\"]\n";
    let text = match more.contains("listen") {
        true => text.replace(usual, more),
        false => text.replace("[sip]\n", &format!("[sip]\n{more}")),
    };
    // An address belongs to one trunk.
    let text = text.replace("127.0.0.0/8", "192.0.2.0/24");
    let text = format!("{text}[[trunk]]\nname = \"carrier\"\nallow = [\"*\"]\n{trunk}");
    let config = place.write("offhook.toml", text);
    let config = config.display().to_string();
    let page = place.name("report.html");
    let mut arguments = vec![
        "trunk",
        "test",
        "carrier",
        "--json",
        "--config",
        &config,
        "--patience",
        "2",
        "--html",
        &page,
    ];
    arguments.extend(asked);
    let ran = run(built("offhook"), arguments);
    let found = serde_json::from_str(&ran.out);
    let found = found.unwrap_or_else(|_| panic!("no report: {}{}", ran.out, ran.err));
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.starts_with("<!doctype html>") && html.contains("carrier"));
    (ran.code, found)
}

/// Checks that failed, with what is to be done.
fn failed(report: &Value) -> Vec<(String, String)> {
    let rows = report["checks"].as_array().expect("checks");
    let rows = rows.iter().filter(|row| row["verdict"] == "fail");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.map(|row| (text(row, "check"), text(row, "advice")))
        .collect()
}

fn account(carrier: &Carrier) -> String {
    format!(
        "proxy = \"udp:{}\"\nuser = \"box\"\npassword = \"p\"\nregister = true\n",
        carrier.address()
    )
}

#[test]
fn a_carrier_that_works_passes_every_check() {
    let carrier = Carrier::new(Fault::None);
    let (code, report) = report(&account(&carrier), "", true);
    assert_eq!((code, failed(&report)), (0, Vec::new()), "{report:#}");
    let rows = report["checks"].as_array().expect("checks");
    let passed = rows.iter().filter(|row| row["verdict"] == "pass");
    let names: Vec<_> = passed.filter_map(|row| row["check"].as_str()).collect();
    for check in [
        "dns",
        "reach",
        "options",
        "nat",
        "register",
        "call",
        "codecs",
        "audio",
        "loss",
        "keys",
        "keys by INFO",
        "hold",
        "resume",
        "rtp range",
        "transfer",
        "hang up",
    ] {
        assert!(names.contains(&check), "{check}: {report:#}");
    }
}

/// Calls again and again until it is answered for good, or nobody listens any more;
/// gives the last answer.
fn insist(peer: &Peer, user: &str, to: SocketAddr, lines: &str, over: &AtomicBool) -> u16 {
    let text = peer.request("INVITE", user, to, Some(OFFER));
    let text = text.replace("Content-Type", &format!("{lines}Content-Type"));
    // Relaxed: it is looked at again within 200 ms.
    while !over.load(Ordering::Relaxed) {
        peer.send(text.as_bytes(), to);
        let answer = peer
            .receive(ms(200))
            .map_or(0, |(answer, _)| answer.status());
        if answer >= 200 {
            return answer;
        }
    }
    0
}

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

/// The trunk, who calls whom, with which lines, how it is refused; which checks fail
/// and a word of their advice.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    u16,
    &'static [(&'static str, &'static str)],
);

#[test]
fn a_call_that_comes_in_is_shown_with_what_becomes_of_it() {
    let german = "country = \"DE\"\n";
    let known = "source = [\"127.0.0.1/32\"]\n";
    let number = "P-Asserted-Identity: <sip:030123456@127.0.0.1>\r\n";
    let table: [Row; 5] = [
        (known, "127.0.0.1", "booking", number, 486, &[]),
        (
            known,
            "127.0.0.1",
            "4711",
            number,
            486,
            &[("inbound", "[[route]] takes `4711`")],
        ),
        (
            known,
            "127.0.0.66",
            "booking",
            number,
            403,
            &[("inbound", "\"127.0.0.66\" to `source`")],
        ),
        (
            known,
            "127.0.0.1",
            "booking",
            "",
            486,
            &[("inbound caller", "`country`")],
        ),
        (
            "source = [\"127.0.0.1/32\"]\ncodecs = [\"opus\"]\n",
            "127.0.0.1",
            "booking",
            number,
            486,
            &[("inbound codecs", "`codecs`")],
        ),
    ];
    for (trunk, from, user, lines, status, wrong) in table {
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let over = AtomicBool::new(false);
        let (answer, (code, report)) = thread::scope(|scope| {
            let caller = scope.spawn(|| insist(&Peer::at(from), user, at, lines, &over));
            let trunk = format!("{trunk}{german}");
            let report = report_at(at, &trunk, &["--inbound", "6"]);
            over.store(true, Ordering::Relaxed);
            (caller.join().expect("no panic"), report)
        });
        assert_eq!(answer, status, "{report:#}");
        let found = failed(&report);
        assert_eq!(
            (found.len(), code),
            (wrong.len(), i32::from(!wrong.is_empty())),
            "{report:#}"
        );
        for ((check, advice), (name, word)) in found.iter().zip(wrong) {
            assert!(check == name && advice.contains(word), "{check}: {advice}");
        }
        if wrong.is_empty() {
            let text = report.to_string();
            assert!(
                text.contains("playbook `booking`") && text.contains("+4930123456"),
                "{text}"
            );
        }
    }
}

#[test]
fn no_call_and_a_daemon_in_the_way_are_told_apart() {
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let trunk = "source = [\"127.0.0.1/32\"]\n";
    let (_, nobody) = report_at(at, trunk, &["--inbound", "0.2"]);
    let found = failed(&nobody);
    assert!(
        found[0].0 == "inbound" && found[0].1.contains("firewall"),
        "{nobody:#}"
    );
    let _daemon = std::net::UdpSocket::bind(at).expect("it is free");
    let (_, taken) = report_at(at, trunk, &["--inbound", "0.2"]);
    let found = failed(&taken);
    assert!(
        found[0].0 == "inbound" && found[0].1.contains("offhookd"),
        "{taken:#}"
    );
}

#[test]
fn a_trunk_that_registers_us_is_waited_for_where_we_are_registered() {
    let carrier = Carrier::new(Fault::None);
    let (_, report) = report_with(&account(&carrier), "", &["--inbound", "0.2"]);
    let found = failed(&report);
    assert!(
        found[0].0 == "inbound" && found[0].1.contains("registration"),
        "{report:#}"
    );
}

/// A registrar takes us in and calls us where we are registered, until it is answered
/// or it is over.
fn register_and_call(registrar: &Peer, over: &AtomicBool) -> u16 {
    // Relaxed: it is looked at again within 100 ms.
    while !over.load(Ordering::Relaxed) {
        let Some((asked, from)) = registrar.receive(ms(100)) else {
            continue;
        };
        let method = asked.method().to_owned();
        let contact = match method.as_str() {
            "REGISTER" => format!("Contact: {};expires=600\r\n", asked.header("Contact")),
            _ => String::new(),
        };
        if method.is_empty() {
            match asked.status() {
                status @ 200.. => return status,
                _ => continue,
            }
        }
        registrar.send(asked.answer("200 OK", &contact).as_bytes(), from);
        if method == "REGISTER" {
            let invite = registrar.request("INVITE", "booking", from, Some(OFFER));
            registrar.send(invite.as_bytes(), from);
        }
    }
    0
}

#[test]
fn a_call_of_the_registrar_that_counts_for_nobody_is_about_the_registration() {
    let table: [(&str, &str, u16, &[&str]); 4] = [
        ("", "", 486, &[]),
        ("source = [\"127.0.0.1/32\"]\n", "", 486, &[]),
        (
            "source = [\"192.0.2.9/32\"]\n",
            "",
            403,
            &["leave out `source`"],
        ),
        (
            "",
            "[[trunk]]\nname = \"pbx\"\nsource = [\"127.0.0.1/32\"]\n",
            403,
            &["`source` of [[trunk]] pbx"],
        ),
    ];
    for (source, other, status, wrong) in table {
        let registrar = Peer::new();
        let over = AtomicBool::new(false);
        let (answer, (_, report)) = thread::scope(|scope| {
            let called = scope.spawn(|| register_and_call(&registrar, &over));
            let trunk = format!(
                "proxy = \"udp:{}\"\nuser = \"box\"\npassword = \"p\"\nregister = true\n\
                 country = \"DE\"\n{source}{other}",
                registrar.address()
            );
            let report = report_with(&trunk, "", &["--inbound", "6"]);
            over.store(true, Ordering::Relaxed);
            (called.join().expect("no panic"), report)
        });
        assert_eq!(answer, status, "{report:#}");
        let found = failed(&report);
        let found = found.iter().filter(|(check, _)| check == "inbound");
        let found: Vec<_> = found.map(|(_, advice)| advice).collect();
        assert_eq!(found.len(), wrong.len(), "{report:#}");
        for (advice, word) in found.iter().zip(wrong) {
            assert!(advice.contains(word), "{advice}");
        }
    }
}

#[test]
fn a_trunk_that_is_known_by_its_certificate_is_told_what_keeps_it_from_showing_one() {
    let place = Place::new();
    let (certificate, key) = self_signed(place.path(), "DNS:box.example");
    let (certificate, key) = (certificate.display(), key.display());
    let tls = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let vouched = format!("{tls}authorities = \"{certificate}\"\n");
    let both = format!(
        "listen = [\"udp:127.0.0.1:0\", \"tls:127.0.0.1:{}\"]\n",
        free_port()
    );
    for (more, tls, verdict, word) in [
        ("", "", "fail", "add a tls: address"),
        (both.as_str(), tls.as_str(), "fail", "[tls] authorities"),
        (both.as_str(), vouched.as_str(), "skipped", "offhook calls"),
    ] {
        let trunk = format!("identity = [\"sbc.example\"]\n{tls}");
        let (_, report) = report_with(&trunk, more, &["--inbound", "0.2"]);
        let checks = report["checks"].as_array().expect("checks");
        let inbound = checks.iter().find(|row| row["check"] == "inbound");
        let inbound = inbound.expect("a row");
        assert_eq!(inbound["verdict"], verdict, "{report:#}");
        let text = inbound.to_string();
        assert!(
            text.contains(word) && text.contains("sbc.example"),
            "{text}"
        );
    }
}

/// The report of a box that listens there.
fn report_at(at: SocketAddr, trunk: &str, asked: &[&str]) -> (i32, Value) {
    report_with(trunk, &format!("listen = [\"udp:{at}\"]\n"), asked)
}

fn judge(fault: Fault) -> Result<(), String> {
    let carrier = Carrier::new(fault);
    let (code, report) = report(&account(&carrier), "", true);
    let (check, word) = fault.named();
    match failed(&report).as_slice() {
        [(name, advice)] if code == 1 && name == check && advice.contains(word) => Ok(()),
        found => Err(format!(
            "{fault:?}: wanted {check} ({word}), got {found:?}\n{report:#}"
        )),
    }
}

#[test]
fn a_carrier_broken_in_one_way_fails_the_check_that_says_so_and_no_other() {
    let mut wrong = Vec::new();
    for faults in Fault::ALL.chunks(AT_ONCE) {
        let running: Vec<_> = faults
            .iter()
            .map(|fault| {
                let fault = *fault;
                thread::spawn(move || judge(fault))
            })
            .collect();
        for thread in running {
            wrong.extend(thread.join().expect("no panic").err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_far_end_that_is_no_echo_does_with_keys_is_not_claimed() {
    let carrier = Carrier::new(Fault::NoEcho);
    let (code, report) = report(&account(&carrier), "", true);
    assert_eq!((code, failed(&report)), (0, Vec::new()), "{report:#}");
    let rows = report["checks"].as_array().expect("checks");
    let keys = rows.iter().find(|row| row["check"] == "keys");
    let keys = keys.expect("a line on keys");
    assert_eq!(keys["verdict"], "skipped", "{report:#}");
    let shown = keys["shown"].as_str().expect("text");
    assert!(shown.starts_with("not proven"), "{shown}");
}

#[test]
fn each_address_of_a_trunk_is_tried_and_the_broken_ones_are_named() {
    let faults = [
        Fault::Silent,
        Fault::OptionsRefused,
        Fault::None,
        Fault::Silent,
    ];
    let carriers = faults.map(Carrier::new);
    let mut lines = vec!["host.example A 127.0.0.1".to_owned()];
    lines.extend(carriers.iter().enumerate().map(|(rank, carrier)| {
        let port = carrier.address().port();
        format!("_sip._udp.carrier.example SRV {rank} 0 {port} host.example")
    }));
    let zone = Zone::new(&lines);
    let servers = format!("name_servers = [\"{}\"]\n", zone.address());
    let trunk =
        "proxy = \"udp:carrier.example\"\nuser = \"box\"\npassword = \"p\"\nregister = true\n";
    let (code, report) = report(trunk, &servers, true);
    let found = failed(&report);
    let names: Vec<_> = found.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(
        (code, names),
        (1, vec!["reach", "options", "reach"]),
        "{report:#}"
    );
    assert!(
        found[2].1.contains("take this one out of DNS"),
        "{report:#}"
    );
    let rows = report["checks"].as_array().expect("checks");
    let shows = |check: &str, verdict: &str, carrier: &Carrier| {
        let port = format!(":{}", carrier.address().port());
        rows.iter().any(|row| {
            let shown = row["shown"].as_str().unwrap_or_default();
            row["check"] == check && row["verdict"] == verdict && shown.contains(&port)
        })
    };
    assert!(shows("reach", "fail", &carriers[0]), "{report:#}");
    assert!(shows("options", "fail", &carriers[1]), "{report:#}");
    assert!(shows("address", "pass", &carriers[2]), "{report:#}");
    assert!(shows("reach", "fail", &carriers[3]), "{report:#}");
    assert!(report.to_string().contains("resume"), "{report:#}");
}

#[test]
fn a_name_that_is_not_there_and_a_port_where_nobody_listens_are_told_apart() {
    let zone = Zone::new(&["other.example A 127.0.0.1".to_owned()]);
    let servers = format!("name_servers = [\"{}\"]\n", zone.address());
    let (_, unknown) = report("proxy = \"udp:gone.example\"\n", &servers, false);
    assert_eq!(failed(&unknown)[0].0, "dns", "{unknown:#}");
    for transport in ["udp", "tcp"] {
        let proxy = format!("proxy = \"{transport}:127.0.0.1:{}\"\n", free_port());
        let (_, nobody) = report(&proxy, "", false);
        assert_eq!(failed(&nobody)[0].0, "reach", "{nobody:#}");
        assert!(nobody.to_string().contains("refused"), "{nobody:#}");
    }
}

/// Makes a certificate that ran out in 2020.
fn expired(place: &Place, name: &str) {
    let (certificate, key) = (place.name("tls.pem"), place.name("tls.key"));
    let asked = place.name("tls.csr");
    let (index, serial) = (place.name("index"), place.name("serial"));
    place.write("index", "");
    place.write("serial", "01\n");
    let ca = place.write(
        "ca.cnf",
        format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={index}\nserial={serial}\nnew_certs_dir={}\n\
             default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n\
             [e]\nsubjectAltName=DNS:{name}\nbasicConstraints=critical,CA:FALSE\n",
            place.path().display()
        ),
    );
    let ca = ca.display().to_string();
    let new = [
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=carrier",
        "-keyout",
        &key,
        "-out",
        &asked,
    ];
    let sign = [
        "ca",
        "-batch",
        "-config",
        &ca,
        "-selfsign",
        "-keyfile",
        &key,
        "-in",
        &asked,
        "-notext",
        "-startdate",
        "20200101000000Z",
        "-enddate",
        "20200102000000Z",
        "-out",
        &certificate,
    ];
    for arguments in [&new[..], &sign[..]] {
        let made = run("openssl", arguments);
        assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    }
}

/// A TLS server with a certificate for this name, and what vouches for it.
fn tls_server(place: &Place, name: &str, port: u16) -> Running {
    self_signed(place.path(), &format!("DNS:{name}"));
    serve(place, port, &[])
}

/// A TLS server with the certificate that is there.
fn serve(place: &Place, port: u16, more: &[&str]) -> Running {
    let (certificate, key) = (place.name("tls.pem"), place.name("tls.key"));
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept", &port.to_string()]);
    command.args(["-cert", &certificate, "-key", &key]);
    command.args(more);
    let server = Running::start(&mut command, &place.file("server.log"));
    let end = offhook_tests::patience::now() + seconds(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(offhook_tests::patience::now() < end, "{}", server.said());
        thread::sleep(offhook_tests::patience::ms(20));
    }
    server
}

#[test]
fn a_certificate_of_nobody_and_one_of_somebody_else_are_told_apart() {
    let port = free_port();
    let place = Place::new();
    let _server = tls_server(&place, "other.example", port);
    let proxy = format!("proxy = \"tls:localhost:{port}\"\n");
    let (_, unknown) = report(&proxy, "", false);
    let found = failed(&unknown);
    assert!(
        found[0].0 == "tls" && found[0].1.contains("authorities"),
        "{unknown:#}"
    );
    let trust = format!(
        "{proxy}[tls]\ncertificate = \"{0}/tls.pem\"\nkey = \"{0}/tls.key\"\nauthorities = \"{0}/tls.pem\"\n",
        place.path().display()
    );
    let (_, another) = report(&trust, "", false);
    let found = failed(&another);
    assert!(
        found[0].0 == "tls" && found[0].1.contains("somebody else"),
        "{another:#}"
    );
}

/// The failed check on a TLS trunk that vouches for itself.
fn failed_by_tls(place: &Place, port: u16) -> (String, String) {
    let trunk = format!(
        "proxy = \"tls:localhost:{port}\"\n[tls]\ncertificate = \"{0}/tls.pem\"\nkey = \"{0}/tls.key\"\nauthorities = \"{0}/tls.pem\"\n",
        place.path().display()
    );
    let (_, report) = report(&trunk, "", false);
    let mut found = failed(&report);
    // Once for each address of `localhost`.
    let same = |it: &(String, String)| *it == found[0];
    assert!(!found.is_empty() && found.iter().all(same), "{report:#}");
    found.remove(0)
}

#[test]
fn a_certificate_out_of_date_is_named_as_such() {
    let port = free_port();
    let place = Place::new();
    expired(&place, "localhost");
    let _server = serve(&place, port, &[]);
    let (check, advice) = failed_by_tls(&place, port);
    assert!(
        check == "tls" && advice.contains("out of date"),
        "{check}: {advice}"
    );
}

#[test]
fn a_trunk_that_does_not_accept_our_certificate_is_named_as_such() {
    let port = free_port();
    let (place, other) = (Place::new(), Place::new());
    drop(tls_server(&place, "localhost", port));
    drop(tls_server(&other, "authority.example", free_port()));
    let authority = other.name("tls.pem");
    let _server = serve(
        &place,
        port,
        &[
            "-Verify",
            "1",
            "-verify_return_error",
            "-CAfile",
            &authority,
        ],
    );
    let (check, advice) = failed_by_tls(&place, port);
    assert!(
        check == "tls" && advice.contains("does not accept us"),
        "{check}: {advice}"
    );
}
