//! Kamailio as registrar and proxy: digest of either kind, calls in by the
//! location it keeps, calls out through its challenge, and it stays in the way.

use std::process::Command;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for, watch};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::{Running, has};
use offhook_tests::scene::Scene;
use offhook_tests::sipp::Sipp;
use offhook_tests::skip::skip;
use offhook_tests::zone::Zone;

/// One way of asking for a password.
struct Way {
    transport: &'static str,
    algorithm: &'static str,
}

/// Not `auth-int`: Kamailio 5.6 asks for it and then leaves the body out.
const BY_UDP: Way = Way {
    transport: "udp",
    algorithm: "MD5",
};
const BY_TCP: Way = Way {
    transport: "tcp",
    algorithm: "SHA-256",
};

/// Asks everybody but `out` for the password of `box`, keeps locations, sends
/// calls to anybody else to `out`, and record-routes.
fn kamailio(place: &Place, port: u16, way: &Way, out: &Peer) -> Running {
    let algorithm = way.algorithm;
    let modules = "/usr/lib/x86_64-linux-gnu/kamailio/modules/";
    let out = out.address();
    let config = format!(
        r#"#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=1
tcp_children=1
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
mpath="{modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("auth", "algorithm", "{algorithm}")
modparam("registrar", "max_expires", 60)
request_route {{
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    if (is_method("ACK")) {{ t_relay(); exit; }}
    sl_send_reply("404", "Not Here");
    exit;
  }}
  if (is_method("REGISTER")) {{
    if (!pv_www_authenticate("tests.example", "s3cret", "0")) {{
      www_challenge("tests.example", "1");
      exit;
    }}
    save("location");
    exit;
  }}
  if (is_method("CANCEL")) {{ t_relay(); exit; }}
  record_route();
  if ($rU == "box") {{
    if (!lookup("location")) {{ sl_send_reply("404", "Not Registered"); exit; }}
    t_relay();
    exit;
  }}
  if (!pv_proxy_authenticate("tests.example", "s3cret", "0")) {{
    proxy_challenge("tests.example", "1");
    exit;
  }}
  consume_credentials();
  $du = "sip:{out}";
  t_relay();
}}
"#
    );
    let file = place.write("kamailio.cfg", config);
    let mut command = Command::new("kamailio");
    command.arg("-DD").arg("-E").arg("-f").arg(file);
    command.arg("-P").arg(place.file("kamailio.pid"));
    command.arg("-Y").arg(place.path());
    Running::start_with_children(&mut command, &place.file("kamailio.log"))
}

/// A daemon that is registered with this proxy (`udp:127.0.0.1:5060`).
fn daemon(proxy: &str, sip: &str) -> Daemon {
    let text = Scene::default()
        .text()
        .replace("[sip]\n", &format!("[sip]\n{sip}"));
    let text = text.replace(
        "listen = [\"udp:127.0.0.1:0\"]",
        "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]",
    );
    Daemon::start(&format!(
        "{text}[[route]]\ncalled = \"box\"\ntest = \"tone\"\n\
         [[trunk]]\nname = \"carrier\"\nproxy = \"{proxy}\"\nuser = \"box\"\n\
         password = \"s3cret\"\ndomain = \"tests.example\"\nregister = true\noptions_s = 5\n"
    ))
}

/// Kamailio, to whom it sends our calls, and a daemon that is registered with it.
struct Rig {
    port: u16,
    out: Peer,
    daemon: Daemon,
    _proxy: Running,
    _place: Place,
}

impl Rig {
    fn start(way: &Way) -> Option<Self> {
        if !has("kamailio") {
            skip("Kamailio as registrar and proxy: kamailio is not installed");
            return None;
        }
        let (place, port, out) = (Place::new(), free_port(), Peer::new());
        let proxy = kamailio(&place, port, way, &out);
        let daemon = daemon(&format!("{}:127.0.0.1:{port}", way.transport), "");
        is_up(&daemon, "registered", &proxy);
        Some(Self {
            port,
            out,
            daemon,
            _proxy: proxy,
            _place: place,
        })
    }
}

#[test]
fn kamailio_over_udp_registers_us_by_md5_and_finds_us() {
    let Some(rig) = Rig::start(&BY_UDP) else {
        return;
    };
    calls_in(&rig.daemon, rig.port, "by UDP");
}

#[test]
fn kamailio_over_tcp_registers_us_by_sha_256_and_finds_us() {
    let Some(rig) = Rig::start(&BY_TCP) else {
        return;
    };
    calls_in(&rig.daemon, rig.port, "by TCP");
}

#[test]
fn kamailio_over_udp_sends_our_call_on_after_an_md5_challenge() {
    let Some(rig) = Rig::start(&BY_UDP) else {
        return;
    };
    calls_out(&rig.daemon, &rig.out, "by UDP");
}

#[test]
fn kamailio_over_tcp_sends_our_call_on_after_a_sha_256_challenge() {
    let Some(rig) = Rig::start(&BY_TCP) else {
        return;
    };
    calls_out(&rig.daemon, &rig.out, "by TCP");
}

fn is_up(daemon: &Daemon, what: &str, proxy: &Running) {
    let up = watch(seconds(40), || {
        let status = daemon.json(&["status"]);
        let trunks = status["trunks"].as_array()?;
        let mut up = trunks.iter().filter(|trunk| trunk["state"] == "up");
        up.any(|trunk| trunk["name"] == "carrier").then_some(())
    });
    assert!(
        up.is_some(),
        "{what}: {}\n{}\n{}",
        daemon.json(&["status"])["trunks"],
        daemon.said(),
        proxy.said()
    );
}

/// A call to the registered user finds us, and its BYE comes through the proxy.
fn calls_in(daemon: &Daemon, port: u16, what: &str) {
    let to = ([127, 0, 0, 1], port).into();
    let scenario = Sipp::scenario("proxied", to, daemon.place());
    let mut sipp = scenario
        .calls("box")
        .with(&["-d", "500"])
        .start(&daemon.place().file("sipp.log"));
    assert!(
        sipp.finish(seconds(20)).success(),
        "{what}: {}",
        sipp.said()
    );
    wait_for("the end of the call", seconds(10), || {
        (daemon.json(&["status"])["calls"]["active"] == 0).then_some(())
    });
}

/// A call of ours proves itself and goes on to where the proxy sends it.
fn calls_out(daemon: &Daemon, out: &Peer, what: &str) {
    let order = [
        "originate",
        "200",
        "--trunk",
        "carrier",
        "--playbook",
        "outreach",
        "--consent",
        "test",
    ];
    let placed = daemon.offhook(&order);
    assert_eq!(placed.code, 0, "{what}: {}{}", placed.out, placed.err);
    let invite = watch(seconds(20), || {
        let (message, from) = out.receive(ms(500))?;
        (message.method() == "INVITE").then_some((message, from))
    });
    let (invite, from) =
        invite.unwrap_or_else(|| panic!("{what}: nothing came\n{}", daemon.said()));
    assert!(
        invite.first.starts_with("INVITE sip:200@"),
        "{what}: {invite:?}"
    );
    assert!(invite.header("Record-Route").contains(";lr"), "{what}");
    assert!(
        invite.header("From").contains("sip:box@tests.example"),
        "{what}"
    );
    // What follows comes by the proxy as well: it stayed in the way.
    out.send(invite.accept(out.address(), free_port()).as_bytes(), from);
    let (ack, by) = out.expect("ACK", seconds(10), |it| it.method() == "ACK");
    assert_eq!(by, from, "{what}: {ack:?}");
    let id = wait_for("the call in the list", seconds(10), || {
        let calls = daemon.json(&["calls", "--active"]);
        calls[0]["id"].as_str().map(str::to_owned)
    });
    let hung_up = daemon.offhook(&["hangup", &id]);
    assert_eq!(hung_up.code, 0, "{what}: {}{}", hung_up.out, hung_up.err);
    let (bye, by) = out.expect("BYE", seconds(10), |it| it.method() == "BYE");
    assert_eq!(by, from, "{what}: {bye:?}");
    out.send(bye.answer("200 OK", "").as_bytes(), by);
    wait_for("the end of the call", seconds(10), || {
        (daemon.json(&["status"])["calls"]["active"] == 0).then_some(())
    });
    while out.receive(ms(300)).is_some() {}
}

#[test]
fn when_the_first_kamailio_of_a_name_dies_calls_and_registration_take_the_second() {
    if !has("kamailio") {
        return skip("Kamailio and SRV failover: kamailio is not installed");
    }
    let way = &BY_UDP;
    let (first, second) = ((Place::new(), free_port()), (Place::new(), free_port()));
    let out = Peer::new();
    let mut one = kamailio(&first.0, first.1, way, &out);
    let _other = kamailio(&second.0, second.1, way, &out);
    let zone = Zone::new(&[
        format!("_sip._udp.pool.example SRV 10 10 {} one.example", first.1),
        format!("_sip._udp.pool.example SRV 20 10 {} two.example", second.1),
        "one.example A 127.0.0.1".to_owned(),
        "two.example A 127.0.0.1".to_owned(),
    ]);
    let daemon = daemon(
        "udp:pool.example",
        &format!("name_servers = [\"{}\"]\n", zone.address()),
    );
    is_up(&daemon, "the first", &one);
    calls_in(&daemon, first.1, "by the first");
    calls_out(&daemon, &out, "by the first");
    one.kill();
    // The very next call goes by the second, whatever is known of the first.
    calls_out(&daemon, &out, "by the second");
    // The second knows us once the first was missed.
    let known = watch(seconds(150), || {
        let to = ([127, 0, 0, 1], second.1).into();
        let mut sipp = Sipp::scenario("proxied", to, daemon.place())
            .calls("box")
            .with(&["-d", "100"])
            .start(&daemon.place().file("sipp.log"));
        sipp.finish(seconds(20)).success().then_some(())
    });
    assert!(
        known.is_some(),
        "{}\n{}",
        daemon.json(&["status"])["trunks"],
        daemon.said()
    );
}
