//! Asterisk as trunk and PBX, each cell of the matrix a test: transports, encryption,
//! codecs, registration, hold, transfers of its own, fax offers, session timers, keys.
//! Needs a tree with Asterisk (`make interop`); without it each cell says so.

use std::thread::sleep;

use offhook_tests::asterisk::{Asterisk, Setup};
use offhook_tests::certificate::self_signed;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for, watch};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::scene::Scene;
use offhook_tests::skip::skip;
use offhook_tests::sound::{SPEECH_DB, Sound, level, likeness, purity};
use offhook_tests::speech::{person, silence};
use serde_json::Value;

/// Asterisk and a daemon that know each other: the endpoint `offhook` there, the trunk
/// `asterisk` here.
struct Rig {
    asterisk: Asterisk,
    daemon: Daemon,
}

/// What differs from cell to cell.
#[derive(Clone, Copy)]
struct Cell {
    transport: &'static str,
    /// Lines of the endpoint `offhook`.
    endpoint: &'static str,
    /// Further sections of `pjsip.conf`.
    pjsip: &'static str,
    dialplan: &'static str,
    /// Lines of our trunk; each trunk here has them.
    trunk: &'static str,
    /// The end of our configuration.
    routes: &'static str,
}

const PLAIN: Cell = Cell {
    transport: "udp",
    endpoint: "allow=ulaw\n",
    pjsip: "",
    dialplan: "",
    trunk: "",
    routes: "",
};

/// Says something and keeps what comes back.
const TALK: &str = "exten => talk,1,MixMonitor(/run/ast/mix.wav,r(/run/ast/back.wav))\n \
same => n,Playback(/run/ast/speech)\n same => n,Wait(2)\n same => n,Hangup()\n";

/// A line that listens and does nothing.
const LISTENER: &str = r#"
name = "listener"
language = "en-US"
start = "listening"
[prompts]
ready = "Go ahead."
[[stage]]
name = "listening"
role = "closing"
say = ["ready"]
silence_ms = 60000
[[stage.on]]
when = ["silence"]
go = "bye"
[[stage]]
name = "bye"
role = "closing"
say = ["ready"]
end = true
"#;

impl Cell {
    fn start(&self) -> Option<Rig> {
        let transport = self.transport;
        let (sip, tls) = (free_port(), free_port());
        let port = if transport == "tls" { tls } else { sip };
        // Who has an account is known by the name in From alone.
        let identify = if self.pjsip == ACCOUNT {
            ""
        } else {
            "[offhook]\ntype=identify\nendpoint=offhook\nmatch=127.0.0.1\n"
        };
        let pjsip = format!(
            "[offhook]\ntype=endpoint\ncontext=test\ntransport={transport}\ndisallow=all\n{}\
             direct_media=no\naors=offhook\nfrom_user=pbx\n\
             [offhook]\ntype=aor\ncontact=sip:127.0.0.1:{port}\\;transport={transport}\n\
             {identify}{}",
            self.endpoint, self.pjsip
        );
        let place = Place::new();
        let setup = Setup {
            host: None,
            pjsip,
            dialplan: self.dialplan.to_owned(),
        };
        let asterisk = match Asterisk::start(&place, &setup) {
            Ok(asterisk) => asterisk,
            Err(reason) => {
                skip(&reason);
                return None;
            }
        };
        let there = if transport == "tls" {
            asterisk.tls()
        } else {
            asterisk.sip()
        };
        self_signed(place.path(), "DNS:localhost,IP:127.0.0.1");
        std::fs::create_dir(place.file("books")).expect("a directory of the test");
        place.write("books/listener.toml", LISTENER);
        let text = Scene::default().text();
        let text = text
            .replace(
                "listen = [\"udp:127.0.0.1:0\"]",
                &format!(
                    "listen = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\", \"tls:127.0.0.1:{tls}\"]"
                ),
            )
            .replace(
                "name = \"loopback\"\n",
                &format!("name = \"loopback\"\n{}", self.trunk),
            );
        let text = format!(
            "playbooks = \"{{dir}}/books\"\n{text}[[route]]\ncalled = \"listener\"\nplaybook = \"listener\"\n\
             [tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nauthorities = \"{}\"\n\
             [[trunk]]\nname = \"asterisk\"\nproxy = \"{transport}:{there}\"\nallow = [\"*\"]\n{}{}",
            asterisk.certificate().display(),
            self.trunk,
            self.routes,
        );
        let daemon = Daemon::start_in(place, &text);
        Some(Rig { asterisk, daemon })
    }
}

impl Rig {
    fn timeline(&self, id: &str) -> Vec<Value> {
        let detail = self.daemon.json(&["call", id]);
        detail["timeline"].as_array().cloned().unwrap_or_default()
    }

    /// So many calls are up, and listed: that they begin is written a little later.
    fn talking(&self, count: usize) {
        let up = watch(seconds(20), || {
            let talking = self.daemon.json(&["status"])["calls"]["talking"] == count;
            let listed = self.daemon.json(&["calls"]).as_array()?.len() >= count;
            (talking && listed).then_some(())
        });
        assert!(
            up.is_some(),
            "not talking\n{}\n{}",
            self.daemon.said(),
            self.asterisk.said()
        );
    }

    fn over(&self) {
        self.daemon
            .wait_status("the end of the calls", seconds(30), |status| {
                (status["calls"]["active"] == 0).then_some(())
            });
    }

    /// Details of the lines of a kind, of the last call.
    fn lines(&self, event: &str) -> Vec<String> {
        let lines = self.timeline("last");
        let found = lines.iter().filter(|line| line["event"] == event);
        found
            .map(|line| line["detail"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Asterisk ends its calls.
    fn hang_up(&self) {
        for channel in self.asterisk.channels() {
            self.asterisk
                .action(&[("Action", "Hangup"), ("Channel", &channel)]);
        }
        self.over();
    }
}

/// Asterisk calls our echo, talks, and hears itself.
fn echo(cell: Cell, least: f64) {
    let cell = Cell {
        dialplan: TALK,
        ..cell
    };
    let Some(rig) = cell.start() else { return };
    let said = person("demo-congrats")[..3 * 8_000].to_vec();
    rig.asterisk
        .give("speech", &[said.clone(), silence(500)].concat());
    rig.asterisk.originate("PJSIP/echo@offhook", "talk");
    rig.talking(1);
    rig.over();
    let heard = wait_for("what came back", seconds(10), || {
        rig.asterisk
            .recorded("back")
            .filter(|heard| heard.len() > 16_000)
    });
    let latest = heard.len().saturating_sub(12_000);
    let (alike, _) = likeness(&said[4_000..16_000], &heard, latest);
    assert!(alike > least, "{alike}\n{}", rig.asterisk.said());
}

#[test]
fn asterisk_calls_us_over_udp() {
    echo(PLAIN, 0.95);
}

#[test]
fn asterisk_calls_us_over_tcp() {
    echo(
        Cell {
            transport: "tcp",
            ..PLAIN
        },
        0.95,
    );
}

#[test]
fn asterisk_calls_us_over_tls() {
    echo(
        Cell {
            transport: "tls",
            ..PLAIN
        },
        0.95,
    );
}

const SDES: &str = "allow=alaw\nmedia_encryption=sdes\n";

#[test]
fn asterisk_calls_us_over_tls_with_srtp() {
    let cell = Cell {
        transport: "tls",
        endpoint: SDES,
        trunk: "srtp = \"require\"\n",
        ..PLAIN
    };
    echo(cell, 0.95);
}

#[test]
fn asterisk_talks_to_us_in_g722() {
    echo(
        Cell {
            endpoint: "allow=g722\n",
            ..PLAIN
        },
        0.9,
    );
}

#[test]
fn asterisk_talks_to_us_in_opus() {
    echo(
        Cell {
            endpoint: "allow=opus\n",
            ..PLAIN
        },
        0.6,
    );
}

#[test]
fn asterisk_talks_to_us_in_packets_of_40_ms() {
    echo(
        Cell {
            endpoint: "allow=alaw:40\nuse_ptime=yes\n",
            ..PLAIN
        },
        0.95,
    );
}

/// We call an extension that says hello, hears us, and hangs up.
fn call_out(cell: Cell) {
    let cell = Cell {
        dialplan: "exten => 200,1,Answer()\n same => n,Wait(1)\n same => n,Playback(/run/ast/speech)\n \
                   same => n,Record(/run/ast/heard.wav,0,8,kq)\n same => n,Hangup()\n",
        ..cell
    };
    let Some(rig) = cell.start() else { return };
    rig.asterisk.give("speech", &person("hello"));
    let order = [
        "originate",
        "200",
        "--trunk",
        "asterisk",
        "--playbook",
        "outreach",
        "--consent",
        "test",
    ];
    let placed = rig.daemon.offhook(&order);
    assert_eq!(placed.code, 0, "{}{}", placed.out, placed.err);
    rig.talking(1);
    rig.over();
    let heard = wait_for("what Asterisk heard", seconds(10), || {
        rig.asterisk.recorded("heard")
    });
    let loudest = heard.chunks(800).map(level).fold(-120.0, f64::max);
    assert!(loudest > SPEECH_DB, "{loudest} dB\n{}", rig.asterisk.said());
}

#[test]
fn we_call_asterisk_over_udp() {
    call_out(PLAIN);
}

#[test]
fn we_call_asterisk_over_tcp() {
    call_out(Cell {
        transport: "tcp",
        ..PLAIN
    });
}

#[test]
fn we_call_asterisk_over_tls_with_srtp() {
    call_out(Cell {
        transport: "tls",
        endpoint: SDES,
        trunk: "srtp = \"require\"\n",
        ..PLAIN
    });
}

/// An account at Asterisk for whoever registers.
const ACCOUNT: &str = "[box]\ntype=endpoint\ncontext=test\ntransport=udp\ndisallow=all\nallow=ulaw\n\
direct_media=no\nauth=box\naors=box\n[box]\ntype=auth\nauth_type=userpass\nusername=box\npassword=s3cret\n\
[box]\ntype=aor\nmax_contacts=1\n";

#[test]
fn asterisk_registers_us_by_digest_and_finds_us_there() {
    let cell = Cell {
        pjsip: ACCOUNT,
        dialplan: "exten => talk,1,Record(/run/ast/heard.wav,0,3,kq)\n same => n,Hangup()\n",
        routes: "user = \"box\"\npassword = \"s3cret\"\ndomain = \"127.0.0.1\"\nregister = true\n\
                 [[route]]\ncalled = \"box\"\ntest = \"tone\"\n",
        endpoint: "allow=ulaw\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    let up = watch(seconds(30), || {
        let status = rig.daemon.json(&["status"]);
        let trunks = status["trunks"].as_array()?;
        let mut named = trunks.iter().filter(|trunk| trunk["name"] == "asterisk");
        named.any(|trunk| trunk["state"] == "up").then_some(())
    });
    assert!(
        up.is_some(),
        "{}\n{}\n{}",
        rig.daemon.json(&["status"])["trunks"],
        rig.daemon.said(),
        rig.asterisk.said()
    );
    rig.asterisk.originate("PJSIP/box", "talk");
    rig.talking(1);
    rig.over();
    let heard = wait_for("our tone", seconds(10), || rig.asterisk.recorded("heard"));
    let middle = &heard[heard.len() / 3..heard.len() * 2 / 3];
    assert!(
        purity(middle, 1004.0, 8_000.0) > 0.9,
        "{}",
        rig.asterisk.said()
    );
}

/// A telephone at Asterisk that calls through it to us.
const PHONE: &str = "[anonymous]\ntype=endpoint\ncontext=test\ntransport=udp\ndisallow=all\nallow=ulaw\n\
direct_media=no\nmoh_passthrough=yes\n";

#[test]
fn a_telephone_behind_asterisk_holds_us_and_comes_back() {
    let cell = Cell {
        pjsip: PHONE,
        endpoint: "allow=ulaw\nmoh_passthrough=yes\n",
        dialplan: "exten => through,1,Dial(PJSIP/listener@offhook,20)\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    let call = Peer::new()
        .named("phone")
        .call("through", rig.asterisk.sip());
    rig.talking(1);
    call.change(2, "sendonly");
    wait_for("the hold", seconds(10), || {
        (!rig.lines("held").is_empty()).then_some(())
    });
    sleep(ms(1_500));
    call.change(3, "sendrecv");
    wait_for("the end of the hold", seconds(10), || {
        (!rig.lines("resumed").is_empty()).then_some(())
    });
    rig.talking(1);
    call.in_dialog("BYE", 4);
    rig.over();
}

#[test]
fn an_attended_transfer_by_asterisk_leaves_us_with_the_other_party() {
    // The other party is our own test tone.
    let cell = Cell {
        pjsip: PHONE,
        endpoint: "allow=ulaw\n",
        dialplan: "exten => through,1,Dial(PJSIP/echo@offhook,20,T)\n\
                   exten => 300,1,Dial(PJSIP/tone@offhook,20)\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    rig.asterisk.give("sounds/pbx-transfer", &silence(200));
    let call = Peer::new()
        .named("phone")
        .call("through", rig.asterisk.sip());
    rig.talking(1);
    let id = rig.daemon.json(&["calls"])[0]["id"].clone();
    let id = id.as_str().expect("a call has a name");
    sleep(ms(1_000));
    let channels = rig.asterisk.channels();
    let phone = channels.iter().find(|name| name.ends_with("-00000000"));
    let phone = phone.unwrap_or_else(|| panic!("{channels:?}\n{}", rig.asterisk.said()));
    let done = rig.asterisk.action(&[
        ("Action", "Atxfer"),
        ("Channel", phone),
        ("Exten", "300"),
        ("Context", "test"),
    ]);
    assert!(
        done.contains("Response: Success"),
        "{done}\n{}",
        rig.asterisk.said()
    );
    // Asterisk dials by keys; the telephone has the other party, hangs up and leaves
    // the two alone.
    rig.talking(2);
    call.in_dialog("BYE", 2);
    wait_for("the telephone to be gone", seconds(10), || {
        let channels = rig.asterisk.channels();
        let gone = !channels.iter().any(|name| name.ends_with("-00000000"));
        (gone && !channels.is_empty()).then_some(())
    });
    sleep(ms(2_000));
    rig.talking(2);
    rig.hang_up();
    let tape = rig.daemon.place().file(&format!("recordings/{id}.wav"));
    wait_for("the tone of the other party", seconds(10), || {
        let heard = Sound::read(&tape).channels[0].clone();
        let last = &heard[heard.len().checked_sub(8_000)?..];
        (purity(last, 1_004.0, 8_000.0) > 0.9).then_some(())
    });
}

#[test]
fn an_offer_of_t38_is_refused_and_the_call_goes_on() {
    let cell = Cell {
        endpoint: "allow=ulaw\nt38_udptl=yes\nt38_udptl_ec=redundancy\n",
        dialplan: "exten => fax,1,ReceiveFAX(/run/ast/fax.tif,f)\n same => n,Hangup()\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    rig.asterisk.command("pjsip set logger on");
    rig.asterisk.originate("PJSIP/tone@offhook", "fax");
    rig.talking(1);
    let said = watch(seconds(30), || {
        let said = rig.asterisk.said();
        (said.contains("m=image") && said.contains("SIP/2.0 488")).then_some(())
    });
    assert!(said.is_some(), "{}", rig.asterisk.said());
    sleep(ms(1_000));
    rig.talking(1);
    rig.hang_up();
}

/// The call outlives its session interval; who refreshes is Asterisk's choice.
fn session_timer(endpoint: &'static str) {
    let cell = Cell {
        endpoint,
        dialplan: "exten => stay,1,Wait(70)\n same => n,Hangup()\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    rig.asterisk.command("pjsip set logger on");
    rig.asterisk.originate("PJSIP/tone@offhook", "stay");
    rig.talking(1);
    let refreshed = watch(seconds(60), || {
        let said = rig.asterisk.said();
        let answered = |sequence: &str| said.matches(sequence).count() >= 2;
        // Both sides of it: the request and its 200.
        let refresh = said.contains("\nUPDATE sip:") || said.matches("\nINVITE sip:").count() >= 2;
        (refresh && (answered(" UPDATE\r") || answered(" INVITE\r"))).then_some(())
    });
    assert!(refreshed.is_some(), "{}", rig.asterisk.said());
    sleep(ms(1_000));
    rig.talking(1);
    let said = rig.asterisk.said();
    assert!(said.contains("Session-Expires: 90"), "{said}");
}

#[test]
fn asterisk_refreshes_the_session_with_us() {
    session_timer("allow=ulaw\ntimers=always\ntimers_min_se=90\ntimers_sess_expires=90\n");
}

/// Keys that Asterisk presses arrive, whichever way it sends them.
fn keys(endpoint: &'static str) {
    let cell = Cell {
        endpoint,
        dialplan: "exten => keys,1,Wait(3)\n same => n,SendDTMF(159#,300,150)\n same => n,Wait(1)\n same => n,Hangup()\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    rig.asterisk.originate("PJSIP/listener@offhook", "keys");
    rig.talking(1);
    rig.over();
    let lines = rig.timeline("last");
    let pressed = lines.iter().filter(|line| line["event"] == "dtmf");
    let pressed: String = pressed.filter_map(|line| line["detail"].as_str()).collect();
    assert_eq!(pressed, "159#", "{lines:#?}\n{}", rig.asterisk.said());
}

#[test]
fn keys_of_asterisk_arrive_by_rfc_4733() {
    keys("allow=ulaw\ndtmf_mode=rfc4733\n");
}

#[test]
fn keys_of_asterisk_arrive_by_info() {
    keys("allow=ulaw\ndtmf_mode=info\n");
}

#[test]
fn keys_of_asterisk_arrive_in_band() {
    keys("allow=ulaw\ndtmf_mode=inband\n");
}

#[test]
fn asterisk_reads_our_keys() {
    let cell = Cell {
        dialplan: "exten => read,1,Answer()\n same => n,Read(KEYS,,4,,1,10)\n same => n,Verbose(1,pressed ${KEYS}.)\n \
                   same => n,Hangup()\n",
        ..PLAIN
    };
    let Some(rig) = cell.start() else { return };
    let uri = format!("sip:read@{}", rig.asterisk.sip());
    let ran = rig.daemon.offhook(&[
        "dial",
        &uri,
        "--dtmf",
        "1@2,5@2.5,9@3,8@3.5",
        "--hangup-after",
        "8",
    ]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(
        rig.asterisk.said().contains("pressed 1598."),
        "{}",
        rig.asterisk.said()
    );
}
