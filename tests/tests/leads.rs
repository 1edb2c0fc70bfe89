//! The people behind calls: lists from offices, callers who are known again,
//! other channels, erasure, and outbound lists that survive a kill.
//!
//! `OFFHOOK_ROWS` says how many rows the long list has (5,000 when unset).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Message, Peer};
use offhook_tests::place::Place;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use serde_json::Value;

/// The scene, with a trunk in Germany.
fn german(scene: &Scene, more: &str) -> String {
    let text = scene.text();
    text.replace(
        "name = \"loopback\"\n",
        "name = \"loopback\"\ncountry = \"DE\"\n",
    ) + more
}

/// What holds of a lead now, as `topic.name` and value.
fn holding(daemon: &Daemon, lead: &str) -> BTreeMap<String, String> {
    let view = daemon.json(&["lead", "show", lead]);
    let holding = view["holding"].as_array().expect("a list").iter();
    holding
        .map(|known| {
            let text = |name: &str| known[name].as_str().unwrap_or_default().to_owned();
            (format!("{}.{}", text("topic"), text("name")), text("value"))
        })
        .collect()
}

fn rows() -> usize {
    let set = std::env::var("OFFHOOK_ROWS").ok();
    set.map_or(5_000, |text| text.parse().expect("a number of rows"))
}

#[test]
fn a_list_from_an_office_is_taken_in_once_and_its_bad_rows_are_named() {
    let place = Place::new();
    let mut list = b"\xef\xbb\xbfnumber,id,name,slot,preference.time,opt_out\r\n\
        030 111111,crm:1,\"Doe, \"\"Ada\"\"\",tuesday,morning,no\r\n\
        not a number,,,,,\r\n\
        ,,nobody,,,\r\n\
        0049 30 222222,crm:2,\xff\xfe,,,\r\n\
        +4930333333,crm:3,Eve,,,yes\r\n\
        030 444444,crm:4,too,many,fields,no,here\r\n"
        .to_vec();
    for row in 0..rows() {
        write!(list, "+49305{row:07},crm:r{row},,,,\r\n").expect("memory takes it");
    }
    let file = place.write("leads.csv", list).display().to_string();
    let mut daemon = Daemon::start_in(place, &german(&Scene::default(), ""));
    let import = |daemon: &Daemon| -> Value {
        let ran = daemon.offhook(&["lead", "import", &file, "--country", "DE", "--json"]);
        assert_eq!(ran.code, 1, "some rows are bad: {}{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).expect("a report")
    };
    let report = import(&daemon);
    assert_eq!(report["new"], rows() + 2);
    let rejected = report["rejected"].as_array().expect("a list");
    let lines: Vec<u64> = rejected
        .iter()
        .filter_map(|row| row["line"].as_u64())
        .collect();
    assert_eq!(lines, [3, 4, 5, 7], "{rejected:#?}");
    assert!(
        rejected[2]["reason"]
            .as_str()
            .is_some_and(|it| it.contains("UTF-8"))
    );
    let again = import(&daemon);
    assert_eq!(again["unchanged"], rows() + 2);
    assert_eq!((&again["new"], &again["changed"]), (&0.into(), &0.into()));

    let known = holding(&daemon, "030 111111");
    assert_eq!(known["person.name"], "Doe, \"Ada\"");
    assert_eq!(known["preference.time"], "morning");
    daemon.restart();
    assert_eq!(
        holding(&daemon, "crm:1"),
        known,
        "a restart forgets nothing"
    );
    assert_eq!(daemon.json(&["lead", "show", "crm:3"])["do_not_call"], true);
    let merged = daemon.json(&["lead", "merge", "crm:r0", "crm:1"]);
    assert_eq!(
        merged["known_by"].as_array().map(Vec::len),
        Some(4),
        "{merged}"
    );
    assert_eq!(daemon.json(&["lead", "show", "crm:r0"])["id"], merged["id"]);
}

#[test]
fn a_caller_is_remembered_and_can_be_forgotten() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let text = german(&Scene::with_sink(&sink), "");
    let mut daemon = Daemon::start_in(place, &text);
    let peer = Peer::new().named("030777777");
    let call = peer.call("booking", daemon.sip());
    let stage = |wanted: &str| {
        wait_for(wanted, seconds(30), || {
            let calls = daemon.json(&["calls"]);
            let call = calls[0].clone();
            (call["stage"] == wanted).then(|| call["id"].as_str().map(str::to_owned))
        })
    };
    stage("greeting");
    call.press('1');
    stage("confirm");
    call.press('1');
    let id = stage("booked").expect("an id");
    call.hang_up();
    sink.wait_taken("outcome", 1, seconds(30));
    let booked = sink.wait_taken("schedule", 1, seconds(30));
    assert_eq!(
        booked[0]["subject"], "+4930777777",
        "the lead is its number"
    );
    // However the number is written.
    let known = holding(&daemon, "+49 30 777777");
    assert_eq!(known["answer.slot"], "tuesday");
    assert_eq!(known["commitment.schedule"], "tuesday");
    assert!(known["contact.inbound"].starts_with("booked"), "{known:?}");
    daemon.restart();
    assert_eq!(holding(&daemon, "030777777"), known);

    let tape = daemon.place().file(&format!("recordings/{id}.wav"));
    assert!(tape.exists());
    daemon.wait_status("the outbox to drain", seconds(60), |status| {
        let empty = |name: &str| status["outbox"][name] == 0;
        (empty("pending") && empty("held")).then_some(())
    });
    let erased = daemon.json(&["lead", "forget", "030777777"]);
    assert_eq!(erased["conversations"][0], *id);
    assert!(!tape.exists(), "what was said is gone");
    assert_eq!(daemon.offhook(&["lead", "show", "030777777"]).code, 1);
    let detail = daemon.json(&["call", &id]);
    assert_eq!(detail["call"]["caller"], "");
    assert!(!detail.to_string().contains("777777"), "{detail}");
    daemon.restart();
    assert_eq!(daemon.offhook(&["lead", "show", "030777777"]).code, 1);
    assert!(
        !daemon.said().contains("store_damaged"),
        "the chain is whole"
    );
}

/// A TCP port of loopback that is free now.
fn free_tcp() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    listener.local_addr().expect("an address")
}

#[test]
fn what_happens_on_other_channels_is_believed_only_when_signed_and_counts_once() {
    let at = free_tcp();
    let inbound = format!("[inbound]\nlisten = \"{at}\"\nsecret = \"{SECRET}\"\n");
    let scene = Scene {
        proxy: Some("127.0.0.1:9".to_owned()),
        ..Scene::default()
    };
    let mut daemon = Daemon::start(&german(&scene, &inbound));
    let url = format!("http://{at}/v1/events");
    let notify = |daemon: &Daemon, secret: &str, more: &[&str]| {
        let arguments = ["notify", "--to", &url, "--secret", secret];
        daemon.offhook(&[&arguments[..], more].concat()).code
    };
    let reply = [
        "--type",
        "reply_received",
        "--subject",
        "+4930888888",
        "--id",
        "m-1",
        "--text",
        "thursday please",
        "--fact",
        "preference.time=morning",
    ];
    let stranger = "whsec_c29tZWJvZHkgZWxzZSBlbnRpcmVseSwgbm90IHVz";
    assert_eq!(notify(&daemon, stranger, &reply), 1);
    assert_eq!(daemon.offhook(&["lead", "show", "+4930888888"]).code, 1);
    assert_eq!(notify(&daemon, SECRET, &reply), 0);
    assert_eq!(
        holding(&daemon, "+4930888888")["preference.time"],
        "morning"
    );
    let history = |daemon: &Daemon| {
        let view = daemon.json(&["lead", "show", "+4930888888"]);
        view["history"].as_array().map(Vec::len)
    };
    let before = history(&daemon);
    assert_eq!(
        notify(&daemon, SECRET, &reply),
        0,
        "taken before is no error"
    );
    daemon.restart();
    assert_eq!(notify(&daemon, SECRET, &reply), 0);
    assert_eq!(
        history(&daemon),
        before,
        "the same message counts once, also after a restart"
    );
    for bad in [
        &["--type", "reply_received"][..],
        &["--type", "moon_rises", "--subject", "x"],
        &[
            "--type",
            "crm_changed",
            "--subject",
            "x",
            "--fact",
            "mood.today=1",
        ],
    ] {
        assert_eq!(notify(&daemon, SECRET, bad), 1, "{bad:?}");
    }
    // In words, on another channel, for ever.
    let stop = [
        "--type",
        "reply_received",
        "--subject",
        "+4930888888",
        "--text",
        "please stop calling",
    ];
    assert_eq!(notify(&daemon, SECRET, &stop), 0);
    assert_eq!(
        daemon.json(&["lead", "show", "+4930888888"])["do_not_call"],
        true
    );
    flood(at);
    assert!(daemon.alive());
    assert_eq!(
        notify(
            &daemon,
            SECRET,
            &["--type", "offers", "--offer", "agents_free=2@60"]
        ),
        0
    );
}

/// Hundreds of senders that lie, stall, or never end.
fn flood(at: SocketAddr) {
    let mut stalled = Vec::new();
    for n in 0..300 {
        let Ok(mut stream) = TcpStream::connect_timeout(&at, ms(500)) else {
            continue;
        };
        let head = match n % 3 {
            0 => "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n{}",
            1 => {
                "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
            }
            _ => "\0\0\0\0 nonsense\r\n\r\n",
        };
        let _ = stream.write_all(head.as_bytes());
        if n % 30 == 0 {
            stalled.push(stream);
        }
    }
}

/// A carrier at which everybody is busy; it notes who was called how often.
struct Carrier {
    address: SocketAddr,
    /// Number called and Call-ID.
    calls: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Carrier {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
        let address = socket.local_addr().expect("an address");
        let calls = Arc::<Mutex<BTreeSet<(String, String)>>>::default();
        let noted = Arc::clone(&calls);
        thread::spawn(move || {
            let mut bytes = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let Some(message) = Message::read(&bytes[..length]) else {
                    continue;
                };
                if message.method() != "INVITE" {
                    continue;
                }
                let user = message.first.split(['@', ':']).nth(1).unwrap_or_default();
                let call = (user.to_owned(), message.header("Call-ID").to_owned());
                noted.lock().expect("no panic").insert(call);
                sleep(ms(60));
                let same = ["Via", "From", "Call-ID", "CSeq"];
                let same = same.map(|name| format!("{name}: {}\r\n", message.header(name)));
                let to = message.header("To");
                let answer = format!(
                    "SIP/2.0 486 Busy Here\r\n{}To: {to};tag=busy\r\nContent-Length: 0\r\n\r\n",
                    same.concat()
                );
                let _ = socket.send_to(answer.as_bytes(), from);
            }
        });
        Self { address, calls }
    }

    fn calls(&self) -> Vec<(String, String)> {
        self.calls
            .lock()
            .expect("no panic")
            .iter()
            .cloned()
            .collect()
    }
}

/// Calls go out to a carrier, which writes them down.
fn behind_a_carrier() -> (Carrier, Place, Scene) {
    let carrier = Carrier::start();
    let scene = Scene {
        proxy: Some(carrier.address.to_string()),
        ..Scene::default()
    };
    (carrier, Place::new(), scene)
}

#[test]
fn a_list_is_worked_and_a_kill_in_the_middle_calls_nobody_twice() {
    let (carrier, place, scene) = behind_a_carrier();
    let mut list = "number\n".to_owned();
    for n in 0..20 {
        list.push_str(&format!("+49306660{n:02}\n"));
    }
    let file = place.write("list.csv", &list).display().to_string();
    let unknown = place
        .write("unknown.csv", "number\n+4930999999\n")
        .display()
        .to_string();
    let mut daemon = Daemon::start_in(place, &german(&scene, ""));
    assert_eq!(daemon.offhook(&["lead", "import", &file]).code, 0);
    let pace = [
        "--attempts",
        "1",
        "--spacing-minutes",
        "60",
        "--at-once",
        "2",
        "--per-minute",
        "1000",
    ];
    let start = |daemon: &Daemon, file: &str| {
        let arguments = ["campaign", "start", "spring", "--leads", file];
        daemon.offhook(&[&arguments[..], &pace].concat()).code
    };
    assert_eq!(start(&daemon, &unknown), 1, "who is not known is named");
    assert_eq!(start(&daemon, &file), 0);
    wait_for("six calls", seconds(60), || {
        (carrier.calls().len() >= 6).then_some(())
    });
    daemon.kill();
    let before = carrier.calls().len();
    daemon.restart();
    let status = wait_for("the list to be worked", seconds(120), || {
        let all = daemon.json(&["campaign", "status", "spring"]);
        (all[0]["state"] == "done").then(|| all[0].clone())
    });
    assert_eq!(
        start(&daemon, &file),
        0,
        "who was called is on the list already"
    );
    sleep(ms(1_000));
    let calls = carrier.calls();
    let numbers: BTreeSet<&String> = calls.iter().map(|(number, _)| number).collect();
    assert_eq!(
        calls.len(),
        numbers.len(),
        "somebody was called twice: {calls:#?}"
    );
    assert!(
        (6..20).contains(&before),
        "the kill came in the middle: {before}"
    );
    // At most the two that were under way may have been written down and not dialled.
    assert!(numbers.len() >= 18, "{} of 20: {status}", numbers.len());
    assert_eq!(status["progress"]["done"]["not_reached"], 20, "{status}");
    println!(
        "{} of 20 called once each, {before} of them before the kill",
        numbers.len()
    );
}

#[test]
fn a_paused_list_calls_nobody() {
    let (carrier, place, scene) = behind_a_carrier();
    let list = place.write("list.csv", "number\n+4930666000\n+4930666001\n");
    let list = list.display().to_string();
    // Nobody is free to take the calls until somebody says so.
    let pace = "at_once = 1\nper_minute = 100\nattempts = 1\nagents = true\n";
    let at = free_tcp();
    let inbound = format!("[inbound]\nlisten = \"{at}\"\nsecret = \"{SECRET}\"\n");
    let text = german(&scene, &inbound).replace(
        "trunk = \"loopback\"\n",
        &format!("trunk = \"loopback\"\n{pace}"),
    );
    let daemon = Daemon::start_in(place, &text);
    assert_eq!(daemon.offhook(&["lead", "import", &list]).code, 0);
    assert_eq!(
        daemon
            .offhook(&["campaign", "start", "spring", "--leads", &list])
            .code,
        0
    );
    sleep(ms(1_500));
    assert_eq!(carrier.calls().len(), 0, "nobody is free");
    assert_eq!(daemon.offhook(&["campaign", "pause", "spring"]).code, 0);
    let url = format!("http://{at}/v1/events");
    let free = [
        "notify", "--to", &url, "--secret", SECRET, "--type", "offers",
    ];
    let free = [&free[..], &["--offer", "agents_free=1@60"]].concat();
    assert_eq!(daemon.offhook(&free).code, 0);
    sleep(ms(1_500));
    assert_eq!(carrier.calls().len(), 0, "it is paused");
    assert_eq!(daemon.offhook(&["campaign", "start", "spring"]).code, 0);
    wait_for("both", seconds(30), || {
        (carrier.calls().len() == 2).then_some(())
    });
}

#[test]
fn two_lists_under_the_us_policy_call_each_person_once_and_whom_they_may() {
    let (carrier, place, scene) = behind_a_carrier();
    // A card signed at a fair, a yes by telephone, and nothing at all.
    let rows = "number,consent\n+4930666000,written 2026-03-01\n+4930666001,said\n+4930666002,\n";
    let list = place.write("list.csv", rows).display().to_string();
    let pace = "at_once = 5\nper_minute = 100\nattempts = 3\nspacing_minutes = 60\n";
    let text = german(&scene, "")
        .replace("policy = \"demo\"", "policy = \"us\"")
        .replace(
            "trunk = \"loopback\"\n",
            &format!("trunk = \"loopback\"\n{pace}"),
        );
    let daemon = Daemon::start_in(place, &text);
    assert_eq!(daemon.offhook(&["lead", "import", &list]).code, 0);
    // Whatever hour and day it is here: a person lifts the window for this, by name.
    for rule in ["window.day", "window.sunday"] {
        let by = [
            "--by",
            "ann",
            "--reason",
            "a test at night",
            "--action",
            "dial",
        ];
        let lifted = daemon.offhook(&[&["override", rule][..], &by].concat());
        assert_eq!(lifted.code, 0, "{}{}", lifted.out, lifted.err);
    }
    let firm = daemon.offhook(&["override", "opted_out", "--by", "ann", "--reason", "x"]);
    assert_ne!(
        firm.code, 0,
        "what is firm is lifted by nobody: {}",
        firm.out
    );
    for name in ["spring", "summer"] {
        let started = daemon.offhook(&["campaign", "start", name, "--leads", &list]);
        assert_eq!(started.code, 0, "{}{}", started.out, started.err);
    }
    let refused = |name: &str| {
        let all = daemon.json(&["campaign", "status", name]);
        all[0]["refusals"].clone()
    };
    wait_for("both lists to be worked", seconds(30), || {
        let both = (refused("spring"), refused("summer"));
        let consent = |it: &serde_json::Value| it["consent"].as_u64() >= Some(2);
        (consent(&both.0) && consent(&both.1)).then_some(())
    });
    wait_for("the call", seconds(30), || {
        (!carrier.calls().is_empty()).then_some(())
    });
    sleep(ms(1_500));
    let calls = carrier.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    let rest = (refused("spring"), refused("summer"));
    let kept = |it: &serde_json::Value| it["spacing"].is_u64() || it["already_in_a_call"].is_u64();
    assert!(
        kept(&rest.0) != kept(&rest.1),
        "one of the lists came later: {rest:?}"
    );
}

#[test]
fn a_slot_is_booked_only_while_it_is_offered_and_by_one_caller() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    std::fs::create_dir(place.file("actions")).expect("a directory of the test");
    for name in ["booking.toml", "voice.toml"] {
        let shipped = format!("{}/../config/actions/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(shipped).expect("what ships is in the tree");
        let text = text.replacen("# leased = [\"slot\"] ", "leased = [\"slot\"] ", 1);
        assert_eq!(text.contains("\nleased = "), name == "booking.toml");
        place.write(&format!("actions/{name}"), text);
    }
    let at = free_tcp();
    let inbound = format!("[inbound]\nlisten = \"{at}\"\nsecret = \"{SECRET}\"\n");
    let text =
        "actions = \"{dir}/actions\"\n".to_owned() + &Scene::with_sink(&sink).text() + &inbound;
    let daemon = Daemon::start_in(place, &text);
    // A caller chooses Tuesday and is asked whether to book it; the call's id.
    let choosing = |caller: &str| {
        let call = Peer::new().named(caller).call("booking", daemon.sip());
        let stage = |wanted: &str| {
            wait_for(wanted, seconds(30), || {
                let calls = daemon.json(&["calls"]);
                let own = calls.as_array()?.iter().find(|it| it["caller"] == caller)?;
                (own["stage"] == wanted).then(|| own["id"].as_str().map(str::to_owned))?
            })
        };
        stage("greeting");
        call.press('1');
        (stage("confirm"), call)
    };
    let verdict = |id: &str| {
        wait_for("the verdict", seconds(20), || {
            let explained = daemon.json(&["explain", id]);
            let decisions = explained["decisions"].as_array()?.iter();
            let mut bookings = decisions.filter(|it| it["kind"] == "schedule");
            let booking = bookings.next()?;
            let rules = booking["rules"].to_string();
            Some((booking["verdict"].as_str()?.to_owned(), rules))
        })
    };
    let (early, call) = choosing("5550001");
    call.press('1');
    let (said, rules) = verdict(&early);
    assert_eq!(said, "refused", "none fresh, no offer");
    assert!(rules.contains("slot.tuesday"), "{rules}");
    call.hang_up();
    let url = format!("http://{at}/v1/events");
    let offers = [
        "notify", "--to", &url, "--secret", SECRET, "--type", "offers",
    ];
    let offers = [&offers[..], &["--offer", "slot.tuesday=1@600"]].concat();
    assert_eq!(daemon.offhook(&offers).code, 0);
    let ((first, one), (second, other)) = (choosing("5550002"), choosing("5550003"));
    one.press('1');
    assert_eq!(verdict(&first).0, "authorised");
    other.press('1');
    let (said, rules) = verdict(&second);
    assert_eq!(said, "refused", "somebody else has it by now");
    assert!(rules.contains("slot.tuesday"), "{rules}");
    one.hang_up();
    other.hang_up();
    sink.wait_taken("outcome", 3, seconds(30));
    assert_eq!(sink.wait_taken("schedule", 1, seconds(30)).len(), 1);
}

/// Prompts of a call, in the order in which they were said.
fn prompts(daemon: &Daemon, id: &str) -> Vec<String> {
    let told = daemon.json(&["call", id]);
    let lines = told["timeline"].as_array().expect("a timeline").iter();
    let plays = lines.filter(|line| line["event"] == "play");
    let said = plays.filter_map(|line| line["detail"].as_str()?.split_once(": "));
    let keys = said.flat_map(|(_, keys)| keys.split(", "));
    keys.map(str::to_owned).collect()
}

#[test]
fn a_caller_who_returns_is_not_asked_again() {
    let scene = Scene::default();
    let route = "[[route]]\ncalled = \"service\"\nplaybook = \"service\"\n";
    let daemon = Daemon::start(&german(&scene, route));
    let begin = || {
        let call = Peer::new().named("030555123").call("service", daemon.sip());
        let id = wait_for("the call", seconds(20), || {
            let calls = daemon.json(&["calls"]);
            let live = calls.as_array()?.iter().find(|it| it["cause"].is_null())?;
            Some(live["id"].as_str()?.to_owned())
        });
        (call, id)
    };
    let stage = |id: &str, stage: &str| {
        wait_for(stage, seconds(30), || {
            (daemon.json(&["call", id])["call"]["stage"] == stage).then_some(())
        });
    };
    let (call, first) = begin();
    for (asked, key) in [("age", '1'), ("day", '2')] {
        stage(&first, asked);
        call.press(key);
    }
    stage(&first, "confirm");
    call.hang_up();
    wait_for("the end", seconds(20), || {
        daemon.json(&["call", &first])["call"]["cause"]
            .as_str()
            .map(drop)
    });
    let known = holding(&daemon, "030555123");
    assert_eq!(known["answer.boiler"], "old", "{known:?}");

    let (call, second) = begin();
    assert_ne!(first, second);
    stage(&second, "confirm");
    wait_for("the question", seconds(20), || {
        prompts(&daemon, &second)
            .contains(&"shall_i".to_owned())
            .then_some(())
    });
    let said = prompts(&daemon, &second);
    let again = ["age", "day", "chosen_thursday"].map(str::to_owned);
    assert!(again.iter().all(|key| !said.contains(key)), "{said:?}");
    call.hang_up();
}

#[test]
fn how_an_account_stands_is_told_to_its_own_calls_alone() {
    let at = free_tcp();
    let inbound = format!("[inbound]\nlisten = \"{at}\"\nsecret = \"{SECRET}\"\n");
    let daemon = Daemon::start(&german(&Scene::default(), &inbound));
    let url = format!("http://{at}/v1/events");
    let say = |id: &str, offer: &str| {
        let event = [
            "notify",
            "--to",
            &url,
            "--secret",
            SECRET,
            "--type",
            "crm_changed",
        ];
        let of = ["--subject", "+4930555777", "--id", id, "--offer", offer];
        let ran = daemon.offhook(&[&event[..], &of].concat());
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    };
    say("a", "account_ok=1@600");
    let told = |caller: &str| {
        let call = Peer::new().named(caller).call("booking", daemon.sip());
        let id = wait_for("the call", seconds(20), || {
            let calls = daemon.json(&["calls"]);
            let live = calls.as_array()?.iter().find(|it| it["cause"].is_null())?;
            Some(live["id"].as_str()?.to_owned())
        });
        if caller == "030555777" {
            say("b", "account_ok=0@600");
        }
        call.hang_up();
        wait_for("the end", seconds(20), || {
            daemon.json(&["call", &id])["call"]["cause"]
                .as_str()
                .map(drop)
        });
        daemon
            .json(&["call", &id])
            .to_string()
            .matches("account_ok")
            .count()
    };
    assert_eq!(told("030555888"), 0, "nobody else's business");
    assert!(told("030555777") >= 2, "before the call, and in it");
}
