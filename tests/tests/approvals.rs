//! An action that waits for a person, who answers by a signed HTTP call.

use std::net::TcpListener;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::Place;
use offhook_tests::process::Ran;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;

const OTHER: &str = "whsec_YW5vdGhlciBrZXksIHRoYXQgc2lnbnMgbm90aGluZyBoZXJl";

struct Box {
    daemon: Daemon,
    sink: Sink,
    url: String,
}

/// Bookings wait for a person.
fn start() -> Box {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/policies/demo.toml");
    let policy = std::fs::read_to_string(policy).expect("the demo's policy");
    let grant = policy
        .lines()
        .find(|line| line.starts_with("actions = [\"schedule\""))
        .expect("a grant");
    let policy = policy.replacen(grant, &format!("{grant}\nautonomy = \"ask\""), 1);
    let before = "action = \"schedule\"\nrole = \"booking\"\ngiven = { confirmations = 1, store_ok = 1 }\nexpect = \"authorised\"";
    place.write(
        "policy.toml",
        policy.replace(before, &before.replace("authorised", "asked")),
    );
    let free = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let at = free.local_addr().expect("it is bound");
    drop(free);
    let text = Scene::with_sink(&sink).text();
    let text = text.replacen("policy = \"demo\"", "policy = \"./policy.toml\"", 1);
    let inbound = format!("[inbound]\nlisten = \"{at}\"\nsecret = \"{SECRET}\"\n");
    Box {
        daemon: Daemon::start_in(place, &(text + &inbound)),
        sink,
        url: format!("http://{at}/v1/events"),
    }
}

impl Box {
    /// A caller books by keys; the call, and the action that waits.
    fn ask(&self) -> (Call, String) {
        let call = Peer::new()
            .named("+4930888")
            .call("booking", self.daemon.sip());
        let stage = |stage: &str| {
            wait_for(stage, seconds(20), || {
                // The call may not be in the books yet.
                let told = self.daemon.offhook(&["call", "last", "--json"]).out;
                let call: serde_json::Value = serde_json::from_str(&told).ok()?;
                (call["call"]["stage"] == stage).then_some(())
            });
        };
        stage("greeting");
        std::thread::sleep(offhook_tests::patience::ms(500));
        call.press('1');
        stage("confirm");
        call.press('1');
        let action = wait_for("an action that waits", seconds(20), || {
            let waiting = self.daemon.json(&["approve"]);
            let waiting = waiting.as_array().cloned().unwrap_or_default();
            Some(waiting.first()?["action"].as_str()?.to_owned())
        });
        (call, action)
    }

    fn say(&self, key: &str, id: &str, action: &str, said: [&str; 2]) -> Ran {
        let arguments = ["notify", "--to", &self.url, "--secret", key, "--id", id];
        let more = ["--type", "approval", "--subject", action, said[0], said[1]];
        self.daemon.offhook(&[&arguments[..], &more[..]].concat())
    }
}

#[test]
fn a_signed_call_approves_once_and_an_unsigned_one_changes_nothing() {
    let at = start();
    let (call, action) = at.ask();
    let forged = at.say(OTHER, "a", &action, ["--approve", "eve"]);
    assert_ne!(forged.code, 0, "{}{}", forged.out, forged.err);
    assert_eq!(
        at.daemon.json(&["approve"]).as_array().map(Vec::len),
        Some(1)
    );
    let approved = at.say(SECRET, "a", &action, ["--approve", "ann"]);
    assert_eq!(approved.code, 0, "{}{}", approved.out, approved.err);
    let again = at.say(SECRET, "a", &action, ["--approve", "ann"]);
    assert_eq!(again.code, 0, "the same event again: {}", again.err);
    let late = at.say(SECRET, "b", &action, ["--decline", "ben"]);
    assert_ne!(late.code, 0);
    assert!(late.err.contains("nobody is asked"), "{}", late.err);
    at.sink.wait_taken("schedule", 1, seconds(20));
    call.hang_up();
    at.sink.wait_taken("outcome", 1, seconds(20));
    assert_eq!(at.sink.wait_taken("schedule", 1, seconds(1)).len(), 1);
    let told = at.daemon.offhook(&["call", "last", "--json"]).out;
    assert!(told.contains("ann"), "who approved is on record: {told}");
}

#[test]
fn a_signed_call_declines_and_the_caller_hears_so() {
    let at = start();
    let (call, action) = at.ask();
    let declined = at.say(SECRET, "a", &action, ["--decline", "ann"]);
    assert_eq!(declined.code, 0, "{}{}", declined.out, declined.err);
    wait_for("the refusal", seconds(20), || {
        let told = at.daemon.offhook(&["call", "last", "--json"]).out;
        told.contains("not_booked").then_some(())
    });
    call.hang_up();
    at.sink.wait_taken("outcome", 1, seconds(20));
    let booked = at
        .sink
        .taken()
        .iter()
        .any(|it| it["type"] == "offhook.action.schedule");
    assert!(!booked, "nothing was sent");
}
