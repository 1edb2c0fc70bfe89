//! Kamailio as registrar and proxy: digest of either kind, calls in by the
//! location it keeps, calls out through its challenge, and it stays in the way.

use std::process::Command;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::{Running, has};
use offhook_tests::scene::Scene;
use offhook_tests::sipp::Sipp;
use offhook_tests::skip::skip;

/// One way of asking for a password.
struct Way {
    transport: &'static str,
    algorithm: &'static str,
}

/// Not `auth-int`: Kamailio 5.6 asks for it and then leaves the body out.
const WAYS: [Way; 2] = [
    Way {
        transport: "udp",
        algorithm: "MD5",
    },
    Way {
        transport: "tcp",
        algorithm: "SHA-256",
    },
];

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
    Running::start(&mut command, &place.file("kamailio.log"))
}

fn daemon(port: u16, way: &Way) -> Daemon {
    let text = Scene::default().text();
    let transport = way.transport;
    let text = text.replace(
        "listen = [\"udp:127.0.0.1:0\"]",
        "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]",
    );
    Daemon::start(&format!(
        "{text}[[route]]\ncalled = \"box\"\ntest = \"tone\"\n\
         [[trunk]]\nname = \"carrier\"\nproxy = \"{transport}:127.0.0.1:{port}\"\nuser = \"box\"\n\
         password = \"s3cret\"\ndomain = \"tests.example\"\nregister = true\noptions_s = 5\n"
    ))
}

#[test]
fn kamailio_registers_us_and_proxies_calls_both_ways_with_every_digest() {
    if !has("kamailio") {
        return skip("Kamailio as registrar and proxy: kamailio is not installed");
    }
    for way in &WAYS {
        let what = format!("{} {}", way.transport, way.algorithm);
        let (place, port, out) = (Place::new(), free_port(), Peer::new());
        let proxy = kamailio(&place, port, way, &out);
        let daemon = daemon(port, way);
        let up = offhook_tests::patience::watch(seconds(30), || {
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
        calls_in(&daemon, port, &what);
        calls_out(&daemon, &out, &what);
    }
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
    let (invite, _) = out
        .receive(seconds(10))
        .unwrap_or_else(|| panic!("{what}: nothing came\n{}", daemon.said()));
    assert!(
        invite.first.starts_with("INVITE sip:200@"),
        "{what}: {invite:?}"
    );
    assert!(invite.header("Record-Route").contains(";lr"), "{what}");
    assert!(
        invite.header("From").contains("sip:box@tests.example"),
        "{what}"
    );
    std::thread::sleep(ms(10));
}
