//! A card number by keys: it reaches its sink once, and is nowhere else.

use std::os::unix::fs::FileExt;
use std::path::Path;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::Place;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::vault::Vault;

const CARD: &str = "4111111111111111";

const PLAYBOOK: &str = r##"
name = "card"
language = "en-US"
start = "card"
[prompts]
card = "Your card."
again = "Again."
sorry = "Sorry."
sent = "Sent."
bye = "Bye."
[[stage]]
name = "card"
role = "closing"
say = ["card"]
silence_ms = 60000
collect = { name = "card", digits = 19, terminator = "#", secret = true, sink = "vault", check = "luhn", timeout_ms = 20000 }
[[stage.on]]
when = ["incomplete"]
say = ["again"]
[[stage.on]]
when = ["not_taken"]
say = ["sorry"]
[[stage.on]]
when = ["collected"]
go = "pay"
[[stage.on]]
when = ["silence"]
go = "bye"
[[stage]]
name = "pay"
role = "closing"
silence_ms = 60000
[[stage.on]]
when = ["1"]
confirms = true
set = { slot = "tuesday" }
say = ["again"]
[[stage.on]]
when = ["2"]
confirms = true
propose = { action = "callback", fields = { phone = "5550100", about = "{card}" }, say_on_durable = ["sent"], say_on_refused = ["sorry"], say_on_failed = ["sorry"], go_on_durable = "bye", go_on_refused = "bye", go_on_failed = "bye" }
[[stage.on]]
when = ["silence"]
go = "bye"
[[stage]]
name = "bye"
role = "closing"
say = ["bye"]
end = true
"##;

fn start(vault: &Vault, sink: &Sink, place: Place) -> Daemon {
    std::fs::create_dir(place.file("playbooks")).expect("a directory of the test");
    place.write("playbooks/card.toml", PLAYBOOK);
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/policies/demo.toml");
    let policy = std::fs::read_to_string(policy).expect("the demo's policy");
    let policy = policy.replacen("\"hand_over\"]", "\"hand_over\", \"callback\"]", 1);
    place.write("policy.toml", policy);
    let text = Scene::with_sink(sink).text().replacen(
        "policy = \"demo\"",
        "policy = \"./policy.toml\"\nplaybooks = \"{dir}/playbooks\"",
        1,
    );
    let more = format!(
        "[[sink]]\nname = \"vault\"\nurl = \"http://{}/keys\"\nsecret = \"{SECRET}\"\n\
         [[route]]\ncalled = \"card\"\nplaybook = \"card\"\n",
        vault.address()
    );
    Daemon::start_in(place, &(text + &more))
}

fn press(call: &Call, keys: &str) {
    keys.chars().for_each(|key| call.press(key));
    call.wait_said();
}

fn wait_told(daemon: &Daemon, what: &str) -> String {
    wait_for(what, seconds(20), || {
        let told = daemon.offhook(&["call", "last", "--json"]).out;
        told.contains(what).then_some(told)
    })
}

/// Files below a directory that hold the text.
fn files_with(text: &str, directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of the test") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(files_with(text, &path));
        } else if let Ok(bytes) = std::fs::read(&path)
            && holds(&bytes, text)
        {
            found.push(path.display().to_string());
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// Whether the text is anywhere in what a process may write to its memory.
fn memory_holds(process: u32, text: &str) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("it runs");
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).expect("it is ours");
    maps.lines()
        .filter(|line| line.contains(" rw"))
        .any(|line| {
            let (first, last) = line.split_once(' ').map_or(("", ""), |(range, _)| {
                range.split_once('-').expect("a range of memory")
            });
            let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
            let (first, last) = (number(first), number(last));
            let mut bytes = vec![0; (last - first) as usize];
            // Some regions cannot be read; nothing of ours is in them.
            memory.read_exact_at(&mut bytes, first).is_ok() && holds(&bytes, text)
        })
}

#[test]
fn a_card_number_reaches_its_sink_once_and_is_nowhere_else() {
    let place = Place::new();
    let upstream = Sink::start(&place, SECRET, &[]);
    let vault = Vault::start(&["204 No Content", "500 No"]);
    let daemon = start(&vault, &upstream, place);
    let call = Peer::new().named("+4930555").call("card", daemon.sip());
    wait_told(&daemon, "secret");
    press(&call, "4111111111111112#");
    wait_told(&daemon, "check digit wrong");
    assert_eq!(vault.taken().len(), 0, "a wrong number goes nowhere");
    press(&call, CARD);
    press(&call, "#");
    wait_told(&daemon, "handed_over");

    let taken = vault.taken();
    assert_eq!(taken.len(), 1);
    let (head, body) = taken[0].split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("POST /keys HTTP/1.1\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["keys"], CARD);
    let id = body["id"].as_str().expect("an id").to_owned();
    for header in ["idempotency-key", "webhook-id"] {
        assert!(head.contains(&format!("{header}: {id}\r\n")), "{head}");
    }
    assert!(head.contains("webhook-signature: v1,"), "{head}");

    press(&call, "2");
    let events = upstream.wait_taken("callback", 1, seconds(15));
    assert_eq!(
        events[0]["data"]["fields"]["about"], id,
        "upstream gets the id alone"
    );
    call.hang_up();
    wait_for("the outcome", seconds(20), || {
        daemon.json(&["call", "last"])["call"]["cause"]
            .as_str()
            .map(drop)
    });
    std::thread::sleep(ms(500));
    assert_eq!(vault.taken().len(), 1, "once");
    for verb in ["call", "explain"] {
        let told = daemon.offhook(&[verb, "last", "--json"]).out;
        // Six digits: fewer may well stand in a time.
        assert!(!told.contains(&CARD[..6]), "{told}");
        assert!(told.contains("hand_over"), "{verb}: {told}");
    }
    let found = files_with(CARD, daemon.place().path());
    assert!(found.is_empty(), "the number is in {found:?}");
    let found = files_with(&CARD[..6], &daemon.place().file("recordings"));
    assert!(found.is_empty(), "{found:?}");
    assert!(!memory_holds(daemon.id(), CARD), "the number is in memory");
}

#[test]
fn a_sink_that_does_not_take_it_is_said_and_nothing_is_kept() {
    let place = Place::new();
    let upstream = Sink::start(&place, SECRET, &[]);
    let vault = Vault::start(&["500 No"]);
    let daemon = start(&vault, &upstream, place);
    let call = Peer::new().call("card", daemon.sip());
    wait_told(&daemon, "secret");
    press(&call, CARD);
    press(&call, "#");
    wait_told(&daemon, "not_handed_over");
    wait_told(&daemon, "sorry");
    assert_eq!(vault.taken().len(), 1, "it is not tried again");
    call.hang_up();
    wait_for("the outcome", seconds(20), || {
        daemon.json(&["call", "last"])["call"]["cause"]
            .as_str()
            .map(drop)
    });
    assert!(files_with(CARD, daemon.place().path()).is_empty());
    assert!(!memory_holds(daemon.id(), CARD));
}
