//! Rules while calls run: a call lived through again, another policy put in
//! force, a bad one refused, and a chain that agrees with what was delivered.

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::Place;
use offhook_tests::process::Ran;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use serde_json::Value;

/// Runs a verb that reads files and the store, and is told where they are.
fn offline(daemon: &Daemon, arguments: &[&str]) -> Ran {
    let config = daemon.config().display().to_string();
    daemon.offhook(&[arguments, &["--config", &config]].concat())
}

/// A caller presses 1 and 1 and hangs up; the call's id and how it ended.
fn a_caller_books(daemon: &Daemon) -> String {
    let before = daemon.json(&["calls"]).as_array().map_or(0, Vec::len);
    let call = Peer::new().call("booking", daemon.sip());
    let id = wait_for("the call", seconds(10), || {
        let calls = daemon.json(&["calls"]);
        let calls = calls.as_array().filter(|calls| calls.len() > before)?;
        Some(calls[0]["id"].as_str()?.to_owned())
    });
    for stage in ["confirm", ""] {
        std::thread::sleep(ms(1_000));
        call.press('1');
        if !stage.is_empty() {
            wait_for("the question", seconds(20), || {
                let call = daemon.json(&["call", &id]);
                (call["call"]["stage"] == stage).then_some(())
            });
        }
    }
    std::thread::sleep(ms(2_000));
    call.hang_up();
    wait_for("the outcome", seconds(30), || {
        daemon.json(&["call", &id])["call"]["cause"]
            .as_str()
            .map(drop)
    });
    id
}

fn schedule(daemon: &Daemon, id: &str) -> Value {
    let explained = daemon.json(&["explain", id]);
    let decisions = explained["decisions"].as_array().expect("decisions");
    let found = decisions.iter().find(|it| it["kind"] == "schedule");
    found
        .unwrap_or_else(|| panic!("no booking in {explained:#}"))
        .clone()
}

#[test]
fn a_rule_is_tried_on_recorded_calls_then_activated_and_seen_in_explain() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = Scene::with_sink(&sink).start_in(place);
    let id = a_caller_books(&daemon);
    assert_eq!(schedule(&daemon, &id)["verdict"], "authorised");
    let again = offline(&daemon, &["replay", &id]);
    assert_eq!(again.code, 0, "{}{}", again.out, again.err);
    assert!(again.out.contains("bit for bit"), "{}", again.out);
    let today = offline(&daemon, &["replay", "--last", "5", "--day", "today"]);
    // Around midnight it is yesterday's.
    let day = if today.code == 0 {
        today
    } else {
        offline(&daemon, &["replay", "--day", "yesterday"])
    };
    assert!(day.out.contains(&id), "{}{}", day.out, day.err);
    let none = offline(&daemon, &["replay", "--day", "2001-01-01"]);
    assert_eq!(none.code, 1);
    assert!(
        none.err
            .contains("no call that is over began on 2001-01-01"),
        "{}",
        none.err
    );
    let faulty = offline(&daemon, &["replay", "--day", "monday"]);
    assert!(faulty.err.contains("as 2026-11-21"), "{}", faulty.err);

    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/policies/demo.toml");
    let old = std::fs::read_to_string(root).expect("the demo's policy");
    let rule = "[[rule]]\nid = \"never\"\nactions = [\"schedule\"]\nrequire_all = [\"confirmations >= 9\"]\nwhy = \"Nine times\"\n\n[[rule]]";
    let new = daemon.place().file("new.toml");
    std::fs::write(&new, old.replacen("[[rule]]", rule, 1)).expect("the file is written");
    let new = new.display().to_string();
    let tried = offline(&daemon, &["replay", "--policy", &new, &id]);
    assert_eq!(tried.code, 1, "{}{}", tried.out, tried.err);
    for part in [
        "would be: ",
        "  [never]",
        "authorised schedule tuesday -> refused [never]",
        "1 would have gone otherwise: never 1",
    ] {
        assert!(tried.out.contains(part), "{part}\n{}", tried.out);
    }

    let bad = daemon.place().file("bad.toml");
    std::fs::write(&bad, old.replacen("store_ok", "stor_ok", 1)).expect("the file is written");
    let refused = daemon.offhook(&["policy", "activate", &bad.display().to_string()]);
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .err
            .contains("unknown fact `stor_ok`; did you mean `store_ok`?"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("bad.toml:"), "{}", refused.err);

    let activated = daemon.offhook(&["policy", "activate", &new, "--by", "ann"]);
    assert_eq!(activated.code, 0, "{}{}", activated.out, activated.err);
    let second = a_caller_books(&daemon);
    let decision = schedule(&daemon, &second);
    assert_eq!(decision["verdict"], "refused");
    assert_eq!(decision["rules"][0]["id"], "never");
    assert_eq!(decision["rules"][0]["why"], "Nine times");
    let again = offline(&daemon, &["replay", &id, &second]);
    assert_eq!(
        again.code, 0,
        "each by its own policy: {}{}",
        again.out, again.err
    );

    let taken = sink.wait_taken("schedule", 1, seconds(15));
    let event = &taken[0];
    let sequence: u64 = event["sequence"]
        .as_str()
        .and_then(|it| it.parse().ok())
        .expect("a sequence");
    let head = format!(
        "{sequence}:{}",
        event["chainhash"].as_str().expect("a hash")
    );
    let whole = offline(&daemon, &["audit", "verify", "--head", &head]);
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
    let gone = format!("{}:{}", sequence + 100_000, "00".repeat(32));
    let short = offline(&daemon, &["audit", "verify", "--head", &gone]);
    assert_eq!(short.code, 1);
    assert!(
        short.err.contains("was delivered and is gone"),
        "{}",
        short.err
    );
}

#[test]
fn another_playbook_is_tried_on_recorded_calls() {
    let daemon = Scene::default().start();
    let id = a_caller_books(&daemon);
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../config/playbooks/booking.toml"
    );
    let old = std::fs::read_to_string(shipped).expect("it ships");
    let same = daemon.place().file("same.toml");
    std::fs::write(&same, &old).expect("the file is written");
    let tried = offline(
        &daemon,
        &["replay", "--playbook", &same.display().to_string(), &id],
    );
    assert_eq!(tried.code, 0, "nothing differs: {}{}", tried.out, tried.err);

    // The yes to a booking is the 3 from now on.
    let question = "name = \"confirm\"";
    let (before, after) = old.split_once(question).expect("a stage");
    let after = after.replacen(
        "when = [\"1\", \"confirm\"]",
        "when = [\"3\", \"confirm\"]",
        1,
    );
    let new = daemon.place().file("new.toml");
    std::fs::write(&new, format!("{before}{question}{after}")).expect("the file is written");
    let tried = offline(
        &daemon,
        &["replay", "--playbook", &new.display().to_string(), &id],
    );
    assert_eq!(tried.code, 1, "{}{}", tried.out, tried.err);
    for part in [
        "does schedule phone=",
        "would be: ends as abandoned",
        "1 would have gone otherwise",
    ] {
        assert!(tried.out.contains(part), "{part}\n{}", tried.out);
    }

    let broken = daemon.place().file("broken.toml");
    std::fs::write(
        &broken,
        old.replacen("go = \"confirm\"", "go = \"confrm\"", 1),
    )
    .expect("the file is written");
    let tried = offline(
        &daemon,
        &["replay", "--playbook", &broken.display().to_string(), &id],
    );
    assert_ne!(tried.code, 0);
    let said = tried.out + &tried.err;
    assert!(said.contains("no stage `confrm`"), "{said}");
}

#[test]
fn a_forgotten_lead_leaves_the_chain_whole_and_its_calls_unreplayable() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = Scene::with_sink(&sink).start_in(place);
    let peer = Peer::new().named("+4930123987");
    let call = peer.call("booking", daemon.sip());
    std::thread::sleep(ms(1_500));
    call.press('1');
    std::thread::sleep(ms(500));
    call.hang_up();
    let id = wait_for("the outcome", seconds(30), || {
        let call = daemon.json(&["call", "last"])["call"].clone();
        call["cause"].as_str()?;
        Some(call["id"].as_str()?.to_owned())
    });
    assert_eq!(offline(&daemon, &["replay", &id]).code, 0);
    sink.wait_taken("outcome", 1, seconds(20));
    daemon.wait_status("the outbox to drain", seconds(20), |status| {
        (status["outbox"]["pending"] == 0).then_some(())
    });
    let forgotten = daemon.offhook(&["lead", "forget", "+4930123987"]);
    assert_eq!(forgotten.code, 0, "{}{}", forgotten.out, forgotten.err);
    assert!(
        forgotten.out.contains("cannot be replayed"),
        "{}",
        forgotten.out
    );
    let again = offline(&daemon, &["replay", &id]);
    assert_eq!(again.code, 1, "{}{}", again.out, again.err);
    let said = again.out + &again.err;
    assert!(said.contains("forgotten: it cannot be replayed"), "{said}");
    let whole = offline(&daemon, &["audit", "verify"]);
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
}

/// Dials a number in Berlin; what the gate said.
fn dial(daemon: &Daemon) -> Value {
    let placed = daemon.json(&["originate", "+4930111222", "--consent", "said so"]);
    let id = placed["id"].as_str().expect("an id").to_owned();
    let dial = wait_for("the decision", seconds(20), || {
        let told = daemon.offhook(&["explain", &id, "--json"]).out;
        let told: Value = serde_json::from_str(&told).ok()?;
        let mut decisions = told["decisions"].as_array()?.iter();
        decisions.find(|it| it["kind"] == "dial").cloned()
    });
    daemon.offhook(&["hangup", &id]);
    dial
}

/// As `systemctl reload` does.
fn read_rules_anew(daemon: &Daemon) {
    let asked = std::process::Command::new("kill")
        .args(["-HUP", &daemon.id().to_string()])
        .status();
    assert!(asked.expect("kill runs").success());
}

#[test]
fn whom_not_to_call_is_read_anew_without_a_restart() {
    let place = Place::new();
    let list = place.write("dnc.txt", "# nobody yet\n");
    let carrier = Peer::new();
    let scene = Scene {
        proxy: Some(carrier.address().to_string()),
        ..Scene::default()
    };
    let text = scene.text();
    let text = text.replace("[outbound]\n", "[outbound]\ndo_not_call = \"dnc.txt\"\n");
    let daemon = Daemon::start_in(place, &text);
    let dial = || dial(&daemon);
    assert_eq!(dial()["verdict"], "authorised");

    std::fs::write(&list, "+4930111222 # asked us not to\n").expect("the file is written");
    read_rules_anew(&daemon);
    wait_for("the rules", seconds(20), || {
        daemon.said().contains("do_not_call=1").then_some(())
    });
    let refused = dial();
    assert_eq!(refused["verdict"], "refused", "{refused}");
    assert_eq!(refused["rules"][0]["id"], "do_not_call", "{refused}");

    std::fs::write(&list, "nonsense\n").expect("the file is written");
    let bad = daemon.offhook(&["policy", "activate"]);
    assert_eq!(bad.code, 1, "{}{}", bad.out, bad.err);
    assert!(
        bad.err.contains("dnc.txt:1: no number in E.164"),
        "{}",
        bad.err
    );
    assert_eq!(dial()["verdict"], "refused", "the old list stays");
}

/// The clocks of a country are changed by law: the box learns of it with the next update
/// of the tz database and a reload, without a restart and without a call dropped.
#[test]
fn the_rules_of_time_zones_are_read_anew_without_a_restart() {
    let place = Place::new();
    let berlin = place.file("zoneinfo/Europe/Berlin");
    std::fs::create_dir_all(place.file("zoneinfo/Europe")).expect("a directory of the test");
    let becomes = |zone: &str| {
        let from = format!("/usr/share/zoneinfo/{zone}");
        std::fs::copy(&from, &berlin).unwrap_or_else(|error| panic!("{from}: {error}"));
    };
    becomes("Etc/GMT-3");
    let carrier = Peer::new();
    let scene = Scene {
        proxy: Some(carrier.address().to_string()),
        ..Scene::default()
    };
    let policy = include_str!("../../config/policies/demo.toml");
    let window = "\n[[rule]]\nid = \"window.any\"\nactions = [\"dial\"]\n\
        require_all = [\"local_minute >= 0\"]\nwhy = \"The time there must be known\"\n";
    let policy = policy.replace(
        "{ do_not_call = 1 }",
        "{ do_not_call = 1, local_minute = 0 }",
    );
    place.write("policy.toml", format!("{policy}{window}"));
    let text = scene.text().replacen("\"demo\"", "\"./policy.toml\"", 1);
    let daemon = Daemon::start_in(place, &text);
    let held = Peer::new().call("echo", daemon.sip());
    let minute = || dial(&daemon)["values"]["local_minute"].as_i64();
    let three_east = minute().expect("the zone is known");

    becomes("Etc/GMT+9");
    read_rules_anew(&daemon);
    let nine_west = wait_for("the new rules", seconds(20), || {
        minute().filter(|it| (three_east - it).rem_euclid(1_440) > 60)
    });
    let apart = (three_east - nine_west).rem_euclid(1_440);
    assert!((715..=720).contains(&apart), "{three_east} and {nine_west}");

    std::fs::remove_file(&berlin).expect("it was written");
    read_rules_anew(&daemon);
    wait_for("the refusal", seconds(20), || {
        (dial(&daemon)["verdict"] == "refused").then_some(())
    });
    assert_eq!(dial(&daemon)["rules"][0]["id"], "fact.missing:local_minute");
    held.hang_up();
}
