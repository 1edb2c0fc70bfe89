//! How calls find their way out: the next trunk or address when one does not
//! carry them, redirects, outbound proxies, name servers; whom they may reach, and
//! by which of our sockets.

use std::net::SocketAddr;

use offhook_sip::rtp::srtp::Suite;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::{Message, Peer};
use offhook_tests::place::free_port;
use offhook_tests::scene::Scene;
use offhook_tests::secure::{Secure, key_of};
use offhook_tests::sipp::Sipp;
use offhook_tests::zone::Zone;

fn daemon(more: &str) -> Daemon {
    Daemon::start(&format!("{}{more}", Scene::default().text()))
}

fn originate(daemon: &Daemon, to: &str, trunk: &str) {
    let placed = ask_for(daemon, to, trunk);
    assert!(placed.0, "{}", placed.1);
}

fn ask_for(daemon: &Daemon, to: &str, trunk: &str) -> (bool, String) {
    let order = [
        "originate",
        to,
        "--trunk",
        trunk,
        "--playbook",
        "outreach",
        "--consent",
        "test",
    ];
    let ran = daemon.offhook(&order);
    (ran.code == 0, format!("{}{}", ran.out, ran.err))
}

fn invite(peer: &Peer, what: &str) -> (Message, SocketAddr) {
    peer.expect(what, seconds(20), |message| message.method() == "INVITE")
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    daemon.json(&["status"])["counters"][name]
        .as_u64()
        .unwrap_or(0)
}

#[test]
fn a_call_goes_on_by_the_next_trunk_when_one_is_full_silent_or_gone() {
    let (full, silent, good) = (Peer::new(), Peer::new(), Peer::new());
    let gone = free_port();
    let daemon = daemon(&format!(
        "[[trunk]]\nname = \"full\"\nproxy = \"udp:{}\"\nnext = \"gone\"\n\
         [[trunk]]\nname = \"gone\"\nproxy = \"tcp:127.0.0.1:{gone}\"\nnext = \"silent\"\n\
         [[trunk]]\nname = \"silent\"\nproxy = \"udp:{}\"\nnext = \"good\"\n\
         [[trunk]]\nname = \"good\"\nproxy = \"udp:{}\"\nuser = \"box\"\npassword = \"p\"\ndomain = \"good.example\"\n",
        full.address(),
        silent.address(),
        good.address()
    ));
    originate(&daemon, "200", "full");
    let (first, from) = invite(&full, "the first INVITE");
    full.send(
        first.answer("503 Full", "Retry-After: 60\r\n").as_bytes(),
        from,
    );
    let (second, _) = invite(&silent, "the INVITE after 503");
    let (third, from) = invite(&good, "the INVITE after silence");
    assert_eq!(first.header("Call-ID"), third.header("Call-ID"));
    assert!(second.first.starts_with("INVITE sip:200@127.0.0.1:"));
    assert!(
        third.first.starts_with("INVITE sip:200@good.example"),
        "{third:?}"
    );
    assert!(third.header("From").contains("sip:box@good.example"));
    good.send(third.answer("486 Busy Here", "").as_bytes(), from);
    let shown = wait_for("the end of the call", seconds(10), || {
        let call = daemon.offhook(&["call", "last"]);
        call.out.contains("busy").then_some(call.out)
    });
    let steps: Vec<_> = shown
        .lines()
        .filter(|line| line.contains("another way"))
        .collect();
    assert!(steps[0].contains("503 Full"), "{shown}");
    // No TCP listener here: the trunk `gone` is passed over without a try.
    assert_eq!(steps.len(), 2, "{shown}");
    wait_for("the counters", seconds(5), || {
        (counter(&daemon, "sip_rerouted") == 2).then_some(())
    });
}

#[test]
fn a_redirect_is_followed_to_where_the_trunk_may_call_and_no_further() {
    let (trunk, moved) = (Peer::new(), Peer::new());
    let daemon = daemon(&format!(
        "[[trunk]]\nname = \"sbc\"\nproxy = \"udp:{}\"\ncountry = \"DE\"\n",
        trunk.address()
    ));
    originate(&daemon, "+4930123456", "sbc");
    let (asked, from) = invite(&trunk, "the INVITE");
    let contact = format!(
        "Contact: <sip:+5355512345@{at}>;q=1.0, <sip:030999@{at}>;q=0.5\r\n",
        at = moved.address()
    );
    trunk.send(
        asked.answer("302 Moved Temporarily", &contact).as_bytes(),
        from,
    );
    let (followed, from) = invite(&moved, "the INVITE to the new place");
    assert!(
        followed.first.starts_with("INVITE sip:030999@"),
        "{followed:?}"
    );
    let fraud = "Contact: <sip:0088299912345@127.0.0.1>\r\n";
    moved.send(
        followed.answer("302 Moved Temporarily", fraud).as_bytes(),
        from,
    );
    wait_for("the end of the call", seconds(10), || {
        (daemon.json(&["status"])["calls"]["active"] == 0).then_some(())
    });
    wait_for("the counters", seconds(5), || {
        (counter(&daemon, "sip_redirected") == 1).then_some(())
    });
    assert_eq!(counter(&daemon, "calls_not_placed"), 2);
    let (placed, said) = ask_for(&daemon, "+5355512345", "sbc");
    assert!(!placed && said.contains("forbidden"), "{said}");
}

#[test]
fn behind_an_outbound_proxy_requests_begin_with_its_route() {
    let proxy = Peer::new();
    let daemon = daemon(&format!(
        "[[trunk]]\nname = \"sbc\"\nproxy = \"udp:carrier.example:5070\"\noutbound_proxy = \"udp:{}\"\n",
        proxy.address()
    ));
    originate(&daemon, "200", "sbc");
    let (asked, _) = invite(&proxy, "the INVITE");
    assert!(
        asked
            .first
            .starts_with("INVITE sip:200@carrier.example:5070 "),
        "{asked:?}"
    );
    assert_eq!(
        asked.header("Route"),
        format!("<sip:{};lr>", proxy.address())
    );
}

#[test]
fn name_servers_say_where_a_trunk_is_and_what_is_next_when_a_server_is_dead() {
    let (first, second, other) = (Peer::at("127.0.0.31"), Peer::at("127.0.0.32"), Peer::new());
    let srv = |name: &str, priority: u16, peer: &Peer, host: &str| {
        format!("{name} SRV {priority} 10 {} {host}", peer.address().port())
    };
    let lines = [
        "carrier.example NAPTR 20 10 SIPS+D2T _sips._tcp.carrier.example".to_owned(),
        "carrier.example NAPTR 50 10 SIP+D2U _sip._udp.carrier.example".to_owned(),
        srv("_sip._udp.carrier.example", 10, &first, "a.carrier.example"),
        srv(
            "_sip._udp.carrier.example",
            20,
            &second,
            "b.carrier.example",
        ),
        "a.carrier.example A 127.0.0.31".to_owned(),
        "b.carrier.example A 127.0.0.32".to_owned(),
    ];
    let zone = Zone::new(&lines);
    let scene = Scene::default().text().replace(
        "[sip]\n",
        &format!("[sip]\nname_servers = [\"{}\"]\n", zone.address()),
    );
    let daemon = Daemon::start(&format!(
        "{scene}[[trunk]]\nname = \"carrier\"\nproxy = \"sip:carrier.example\"\n\
         [[trunk]]\nname = \"gone\"\nproxy = \"udp:gone.example\"\n"
    ));
    let address = |name: &str| {
        let status = daemon.json(&["status"]);
        let trunks = status["trunks"].as_array().cloned().unwrap_or_default();
        let trunk = trunks.into_iter().find(|trunk| trunk["name"] == name);
        trunk.and_then(|trunk| trunk["address"].as_str().map(str::to_owned))
    };
    wait_for("the trunk to be found", seconds(10), || {
        (address("carrier")? == first.address().to_string()).then_some(())
    });
    assert_eq!(address("gone"), None);
    let (placed, said) = ask_for(&daemon, "200", "gone");
    assert!(!placed && said.contains("trunk_down"), "{said}");
    originate(&daemon, "200", "carrier");
    let (asked, from) = invite(&first, "the INVITE to the first server");
    first.send(asked.answer("503 Full", "").as_bytes(), from);
    let (again, from) = invite(&second, "the INVITE to the second server");
    second.send(again.answer("486 Busy Here", "").as_bytes(), from);
    // What it said holds for one second, then the names are asked for anew.
    zone.set(&[
        srv("_sip._udp.carrier.example", 10, &other, "c.carrier.example"),
        "c.carrier.example A 127.0.0.1".to_owned(),
    ]);
    wait_for("the trunk to move", seconds(20), || {
        (address("carrier")? == other.address().to_string()).then_some(())
    });
    let refused = zone.asked("_sip._udp.gone.example");
    assert!(
        refused <= 3,
        "a refusal is believed for a while: asked {refused} times"
    );
}

#[test]
fn a_pbx_that_must_prove_itself_is_asked_before_anything_else() {
    let text = Scene::default().text().replace(
        "name = \"loopback\"\n",
        "name = \"pbx\"\nchallenge = \"any\"\nuser = \"pbx\"\npassword = \"s3cret\"\n",
    );
    let daemon = Daemon::start(&text);
    let asked = Peer::new().ask("OPTIONS", "ping", daemon.sip());
    assert_eq!(asked.status(), 401);
    assert!(
        asked
            .header("WWW-Authenticate")
            .contains("algorithm=SHA-256")
    );
    let (_, refused) = Peer::new().invite("tone", daemon.sip(), free_port());
    assert_eq!(refused.status(), 401);
    wait_for("the counters", seconds(5), || {
        (counter(&daemon, "sip_asked") == 2).then_some(())
    });
}

#[test]
fn a_pbx_that_must_prove_itself_is_let_in_by_sipp_with_its_password_and_not_without() {
    let text = Scene::default().text().replace(
        "name = \"loopback\"\n",
        "name = \"pbx\"\nchallenge = \"md5\"\nuser = \"pbx\"\npassword = \"s3cret\"\n",
    );
    let daemon = Daemon::start(&text);
    let calls = |password: &str| {
        let scenario = Sipp::scenario("proving", daemon.sip(), daemon.place());
        let arguments = ["-d", "200", "-au", "pbx", "-ap", password];
        let mut sipp = scenario
            .calls("tone")
            .with(&arguments)
            .start(&daemon.place().file("sipp.log"));
        sipp.finish(seconds(20)).success()
    };
    assert!(calls("s3cret"), "{}", daemon.said());
    assert!(!calls("guess"));
    let plain = Peer::new().ask("OPTIONS", "ping", daemon.sip());
    assert_eq!(plain.status(), 401);
    wait_for("the counters", seconds(5), || {
        // SIPp may repeat what is refused.
        let wrong = counter(&daemon, "sip_wrong_passwords");
        (wrong >= 1 && counter(&daemon, "sip_asked") >= 3).then_some(())
    });
}

#[test]
fn a_call_is_taken_over_by_the_one_its_pbx_transferred_it_to_and_goes_on() {
    let daemon = Scene::default().start();
    let first = Peer::new().call("tone", daemon.sip());
    let taker = Peer::new();
    let replaces = replacing(first.answer());
    let answer = taker.invite_with("tone", daemon.sip(), free_port(), &replaces);
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(
        answer.audio(),
        Some(first.audio()),
        "the same audio goes on"
    );
    first.wait_bye(seconds(10));
    wait_for("the line of the call", seconds(10), || {
        let shown = daemon.offhook(&["call", "last"]);
        shown.out.contains("taken over").then_some(())
    });
    assert_eq!(daemon.json(&["status"])["calls"]["active"], 1);
}

/// Header lines that take the place of the call that this answer has begun.
fn replacing(answer: &Message) -> String {
    let part = |name: &str| {
        let value = answer.header(name);
        value.split(";tag=").nth(1).unwrap_or_default().to_owned()
    };
    format!(
        "Replaces: {};to-tag={};from-tag={}\r\nRequire: replaces\r\nContent-Type",
        answer.header("Call-ID"),
        part("To"),
        part("From")
    )
}

#[test]
fn whoever_takes_a_call_over_gets_a_key_that_the_other_does_not_know_and_hears_at_once() {
    let named = "name = \"loopback\"\n";
    let text = Scene::default().text();
    let daemon = Daemon::start(&text.replace(named, &format!("{named}srtp = \"require\"\n")));
    for suite in Suite::ALL {
        let (first, taker) = (Secure::new(suite, 1), Secure::new(suite, 2));
        let answer = first.invite("echo", daemon.sip(), "Content-Type");
        assert_eq!(answer.status(), 200, "{answer:?}");
        let heard = first.echoes(&answer);
        assert!(heard.len() > 20, "{suite:?}: {} packets", heard.len());
        let taken = taker.invite("echo", daemon.sip(), &replacing(&answer));
        assert_eq!(taken.status(), 200, "{taken:?}");
        assert!(key_of(&taken) != key_of(&answer), "{suite:?}: the same key");
        let bye = |it: &Message| it.method() == "BYE";
        first.peer().expect("BYE", seconds(10), bye);
        // It knows nothing of what was counted before.
        let heard = taker.echoes(&taken);
        assert!(heard.len() > 20, "{suite:?}: {} packets", heard.len());
        assert!(heard[0] < 1 << 15, "{suite:?}: {}", heard[0]);
    }
}

#[test]
fn a_call_that_is_held_is_resumed_by_the_one_who_takes_it_over() {
    let daemon = Scene::default().start();
    let first = Peer::new().call("tone", daemon.sip());
    first.change(2, "sendonly");
    let account = |wanted: &str| {
        wait_for(wanted, seconds(10), || {
            let shown = daemon.offhook(&["call", "last"]);
            shown.out.contains(wanted).then_some(())
        });
    };
    account("held");
    let taker = Peer::new();
    let replaces = replacing(first.answer());
    let answer = taker.invite_with("tone", daemon.sip(), free_port(), &replaces);
    assert_eq!(answer.status(), 200, "{answer:?}");
    first.wait_bye(seconds(10));
    account("resumed");
}

#[test]
fn each_dialog_stays_on_its_own_socket_and_names_it() {
    let port = free_port();
    // Where a peer calls, and what it is told.
    let rows = [
        (format!("127.0.0.2:{port}"), format!("127.0.0.2:{port}")),
        (format!("127.0.0.3:{port}"), format!("127.0.0.3:{port}")),
        (format!("127.0.0.4:{port}"), format!("192.0.2.44:{port}")),
    ];
    let any = free_port();
    let listen = format!(
        "listen = [\"udp:127.0.0.1:0\", \"udp:{}\", \"udp:{}\", \"udp:0.0.0.0:{any}\", \
         {{ at = \"udp:{}\", advertise = \"192.0.2.44\" }}]\nadvertise = \"198.51.100.7\"",
        rows[0].0, rows[1].0, rows[2].0
    );
    let text = Scene::default().text();
    let text = text.replace("listen = [\"udp:127.0.0.1:0\"]", &listen);
    let mut daemon = Daemon::start(&text);
    let on_all = (format!("127.0.0.1:{any}"), format!("127.0.0.1:{any}"));
    let rows = rows.into_iter().chain([on_all]);
    let calls: Vec<_> = rows
        .map(|(at, told)| {
            let to: SocketAddr = at.parse().expect("an address");
            let call = Peer::new().call("tone", to);
            assert_eq!(
                call.answer().header("Contact"),
                format!("<sip:offhook@{told}>")
            );
            (call, to, told)
        })
        .collect();
    daemon.stop();
    for (call, to, told) in calls {
        let limit = seconds(10);
        let (bye, from) = call.peer().expect("BYE", limit, |it| it.method() == "BYE");
        assert_eq!(from, to);
        let via = format!("SIP/2.0/UDP {told};");
        assert!(bye.header("Via").starts_with(&via), "{bye:?}");
    }
}

#[test]
fn a_trunk_is_told_who_calls_as_its_rules_say() {
    let (open, hidden, account) = (Peer::new(), Peer::new(), Peer::new());
    let german = "country = \"DE\"\noutbound = [\"+49* -> 0*\"]\nallow = [\"*\"]\n\
                  caller_id = \"+4930555\"\ncaller_name = \"Dr Frost\"";
    let daemon = daemon(&format!(
        "[[trunk]]\nname = \"open\"\nproxy = \"udp:{}\"\n{german}\n\
         [[trunk]]\nname = \"hidden\"\nproxy = \"udp:{}\"\n{german}\nprivacy = \"anonymous\"\n\
         [[trunk]]\nname = \"account\"\nproxy = \"udp:{}\"\nallow = [\"*\"]\nprivacy = \"id\"\n\
         user = \"box\"\npassword = \"p\"\ndomain = \"c.example\"\n",
        open.address(),
        hidden.address(),
        account.address()
    ));
    let own = daemon.sip();
    let called = |peer: &Peer, trunk: &str| {
        originate(&daemon, "+4930123", trunk);
        let (invite, from) = invite(peer, "a call");
        peer.send(invite.answer("486 Busy Here", "").as_bytes(), from);
        let from = invite
            .header("From")
            .split(";tag")
            .next()
            .map(str::to_owned);
        let optional = |name: &str| {
            let mut all = invite.headers.iter();
            all.find(|(it, _)| it == name)
                .map(|(_, value)| value.clone())
        };
        let asserted = optional("P-Asserted-Identity");
        (from.unwrap_or_default(), asserted, optional("Privacy"))
    };
    let own = format!("\"Dr Frost\" <sip:030555@{own}>");
    let id = Some("id".to_owned());
    assert_eq!(
        called(&open, "open"),
        (own.clone(), Some(own.clone()), None)
    );
    let nobody = "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned();
    assert_eq!(called(&hidden, "hidden"), (nobody, Some(own), id.clone()));
    let boxed = "<sip:box@c.example>".to_owned();
    assert_eq!(
        called(&account, "account"),
        (boxed.clone(), Some(boxed), id)
    );
}
