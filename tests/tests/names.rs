//! Where names lead: hosts that a call's Contact names, and addresses of both kinds.

use std::net::SocketAddr;
use std::thread;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Message, Peer};
use offhook_tests::place::{Place, free_media_ports};
use offhook_tests::process::{built, run};
use offhook_tests::scene::Scene;
use offhook_tests::skip::skip;
use offhook_tests::zone::Zone;

fn originate(daemon: &Daemon, to: &str, trunk: &str) {
    let order = ["originate", to, "--trunk", trunk, "--playbook", "outreach"];
    let ran = daemon.offhook(&[&order[..], &["--consent", "test"]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
}

fn invite(peer: &Peer, what: &str) -> (Message, SocketAddr) {
    peer.expect(what, seconds(20), |message| message.method() == "INVITE")
}

/// A config whose names this zone knows.
fn named(zone: &Zone, more: &str) -> String {
    let servers = format!("[sip]\nname_servers = [\"{}\"]\n", zone.address());
    format!(
        "{}{more}",
        Scene::default().text().replace("[sip]\n", &servers)
    )
}

/// The trunk `sbc` answers a call of ours, with this Contact.
fn answered(daemon: &Daemon, trunk: &Peer, contact: &str) {
    originate(daemon, "200", "sbc");
    let (asked, from) = invite(trunk, "the INVITE");
    let own = trunk.address();
    let answer = asked.accept(own, free_media_ports());
    let answer = answer.replace(&format!("peer@{own}"), &format!("peer@{contact}"));
    trunk.send(answer.as_bytes(), from);
}

/// We hang up: the BYE is this peer's.
fn hung_up(daemon: &Daemon, peer: &Peer) {
    wait_for("a call to hang up", seconds(10), || {
        (daemon.offhook(&["hangup", "last"]).code == 0).then_some(())
    });
    let (bye, from) = peer.expect("BYE", seconds(10), |it| it.method() == "BYE");
    peer.send(bye.reply("200 OK").as_bytes(), from);
    wait_for("the end of the call", seconds(10), || {
        (daemon.json(&["status"])["calls"]["active"] == 0).then_some(())
    });
}

#[test]
fn a_dialog_goes_on_where_its_contact_is_by_name() {
    let (trunk, there) = (Peer::new(), Peer::at("127.0.0.33"));
    let port = there.address().port();
    let zone = Zone::new(&[
        format!("_sip._udp.callee.example SRV 10 10 {port} desk.example"),
        "desk.example A 127.0.0.33".to_owned(),
    ]);
    let sbc = format!(
        "[[trunk]]\nname = \"sbc\"\nproxy = \"udp:{}\"\n",
        trunk.address()
    );
    let daemon = Daemon::start(&named(&zone, &sbc));
    let acked = |peer: &Peer, contact: &str| {
        let (ack, _) = peer.expect("ACK", seconds(10), |it| it.method() == "ACK");
        assert_eq!(ack.first, format!("ACK sip:peer@{contact} SIP/2.0"));
    };
    answered(&daemon, &trunk, "callee.example");
    acked(&there, "callee.example");
    hung_up(&daemon, &there);
    assert!(trunk.receive(ms(300)).is_none(), "nothing at the source");
    // Nobody knows the name: where the dialog came from it goes on.
    answered(&daemon, &trunk, "gone.example");
    acked(&trunk, "gone.example");
    hung_up(&daemon, &trunk);
    // A caller that says later where it is.
    let call = Peer::new().call("tone", daemon.sip());
    let own = format!("Contact: <sip:probe@{}>", call.peer().address());
    let moved = format!("Contact: <sip:probe@desk.example:{port}>");
    let update = call.dialog_request("UPDATE", 2).replace(&own, &moved);
    call.send_in_dialog(&update);
    call.peer().expect("200 to UPDATE", seconds(10), |it| {
        it.status() == 200 && it.header("CSeq").contains("UPDATE")
    });
    hung_up(&daemon, &there);
    assert!(
        call.peer().receive(ms(300)).is_none(),
        "nothing at the source"
    );
    assert_eq!(zone.asked("_sip._udp.desk.example"), 0, "its port is known");
}

#[test]
fn a_bye_goes_to_the_next_address_of_a_host_whose_first_is_silent() {
    let (trunk, silent, there) = (Peer::new(), Peer::at("127.0.0.34"), Peer::at("127.0.0.35"));
    let services = [(10, "silent", &silent), (20, "there", &there)];
    let services = services.map(|(rank, host, peer)| {
        let port = peer.address().port();
        format!("_sip._udp.pair.example SRV {rank} 10 {port} {host}.example")
    });
    let hosts = ["silent.example A 127.0.0.34", "there.example A 127.0.0.35"];
    let hosts = hosts.map(str::to_owned);
    let zone = Zone::new(&[services, hosts].concat());
    let sbc = format!(
        "[[trunk]]\nname = \"sbc\"\nproxy = \"udp:{}\"\n",
        trunk.address()
    );
    let daemon = Daemon::start(&named(&zone, &sbc));
    answered(&daemon, &trunk, "pair.example");
    silent.expect("ACK", seconds(10), |it| it.method() == "ACK");
    hung_up(&daemon, &there);
    silent.expect("BYE", seconds(1), |it| it.method() == "BYE");
    assert!(trunk.receive(ms(300)).is_none(), "nothing at the source");
}

/// Takes a call of this command, saying that it is at a name: the rest of the call goes
/// there. Gives the command's exit code.
fn called(at: &Peer, name: &str, there: &Peer, command: &[&str]) -> i32 {
    let offhook = built("offhook");
    thread::scope(|scope| {
        let calls = scope.spawn(|| run(offhook, command).code);
        let (asked, from) = loop {
            let (asked, from) = at.expect("a call", seconds(20), |it| !it.method().is_empty());
            if asked.method() == "INVITE" {
                break (asked, from);
            }
            at.send(asked.answer("200 OK", "").as_bytes(), from);
        };
        let answer = asked.accept(at.address(), free_media_ports());
        let contact = format!("peer@{name}:{}", there.address().port());
        let answer = answer.replace(&format!("peer@{}", at.address()), &contact);
        at.send(answer.as_bytes(), from);
        there.expect("ACK", seconds(10), |it| it.method() == "ACK");
        let (bye, from) = there.expect("BYE", seconds(30), |it| it.method() == "BYE");
        there.send(bye.reply("200 OK").as_bytes(), from);
        calls.join().expect("no panic")
    })
}

#[test]
fn a_call_of_the_telephone_goes_on_where_its_contact_is_by_name() {
    let (peer, there) = (Peer::new(), Peer::new());
    let uri = format!("sip:100@{}", peer.address());
    let command = ["dial", &uri, "--hangup-after", "0.2"];
    assert_eq!(called(&peer, "localhost", &there, &command), 0);
}

#[test]
fn the_telephone_calls_where_the_services_of_a_name_are() {
    let (peer, there) = (Peer::at("127.0.0.37"), Peer::at("127.0.0.38"));
    let zone = Zone::new(&[
        format!(
            "_sip._udp.carrier.example SRV 10 10 {} edge.example",
            peer.address().port()
        ),
        "edge.example A 127.0.0.37".to_owned(),
        "desk.example A 127.0.0.38".to_owned(),
    ]);
    let server = zone.address().to_string();
    let words = ["dial", "sip:100@carrier.example", "--hangup-after", "0.2"];
    let command = [&words[..], &["--name-server", &server]].concat();
    assert_eq!(called(&peer, "desk.example", &there, &command), 0);
}

#[test]
fn the_test_of_a_trunk_goes_on_where_its_contact_is_by_name() {
    let (trunk, there) = (Peer::new(), Peer::at("127.0.0.36"));
    let zone = Zone::new(&["desk.example A 127.0.0.36".to_owned()]);
    let sbc = format!(
        "[[trunk]]\nname = \"sbc\"\nproxy = \"udp:{}\"\nallow = [\"*\"]\n",
        trunk.address()
    );
    let place = Place::new();
    let text = named(&zone, &sbc).replace("{dir}", &place.path().display().to_string());
    let config = place.write("offhook.toml", text).display().to_string();
    let words = ["trunk", "test", "sbc", "--call", "200", "--patience", "1"];
    let command = [&words[..], &["--config", &config]].concat();
    // Nobody talks at the other end.
    assert_eq!(called(&trunk, "desk.example", &there, &command), 1);
}

#[test]
fn a_trunk_is_found_by_ipv6_and_by_ipv4_where_that_is_silent() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return skip("a trunk's AAAA: no IPv6 on loopback");
    }
    let (six, other) = (Peer::at("::1"), Peer::new());
    let (port, other_port) = (six.address().port(), other.address().port());
    // Who listens at the same port of the other kind hears nothing.
    let wrong = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("a port of IPv4");
    wrong.set_nonblocking(true).expect("it can be looked at");
    let lines = ["six AAAA ::1", "dual AAAA ::1", "dual A 127.0.0.1"];
    let zone = Zone::new(&lines.map(|line| line.replacen(' ', ".example ", 1)));
    let trunk = |name: &str, host: &str, port: u16| {
        format!(
            "[[trunk]]\nname = \"{name}\"\nproxy = \"udp:{host}.example:{port}\"\n\
             user = \"{name}\"\npassword = \"p\"\ndomain = \"{host}.example\"\nregister = {}\n",
            name != "half"
        )
    };
    let trunks = [
        trunk("six", "six", port),
        trunk("dual", "dual", port),
        trunk("half", "dual", other_port),
    ];
    let daemon = Daemon::start(&named(&zone, &trunks.concat()).replace(
        "listen = [\"udp:127.0.0.1:0\"]",
        "listen = [\"udp:127.0.0.1:0\", \"udp:[::1]:0\"]",
    ));
    for name in ["six", "dual"] {
        let wanted = format!("sip:{name}@{name}.example");
        let (asked, from) = six.expect(name, seconds(20), |it| {
            it.method() == "REGISTER" && it.header("To").contains(&wanted)
        });
        assert!(asked.header("Contact").contains("@[::1]:"), "{asked:?}");
        six.send(asked.answer("403 Forbidden", "").as_bytes(), from);
        originate(&daemon, "200", name);
        let (asked, from) = invite(&six, name);
        assert!(asked.header("Via").contains("UDP [::1]:"), "{asked:?}");
        six.send(asked.answer("486 Busy Here", "").as_bytes(), from);
    }
    assert!(wrong.recv_from(&mut [0; 64]).is_err(), "IPv6 goes first");
    originate(&daemon, "200", "half");
    let (asked, from) = invite(&other, "the INVITE by IPv4");
    assert!(asked.header("Via").contains("UDP 127.0.0.1:"), "{asked:?}");
    other.send(asked.answer("486 Busy Here", "").as_bytes(), from);
}
