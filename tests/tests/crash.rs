//! kill -9 between authorisation and delivery: nothing is lost, nothing comes
//! twice, the peer is told, and the call has exactly one outcome.
//!
//! `OFFHOOK_KILLS` says how often (20 when unset), `OFFHOOK_SEED` which moments.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::Place;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use serde_json::Value;

/// The longest wait between the caller's yes and the kill: from before the
/// authorisation until after the delivery.
const LONGEST_MS: u64 = 5000;

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// xorshift64*: the moments of a seed are the same on every machine.
struct Random(u64);

impl Random {
    /// Seeds that lie side by side lead far apart; none to 0.
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

fn calls(daemon: &Daemon) -> Vec<Value> {
    let calls = daemon.json(&["calls"]);
    calls
        .as_array()
        .or(calls["calls"].as_array())
        .cloned()
        .expect("a list of calls")
}

fn wait_stage(daemon: &Daemon, caller: &str, stage: &str) -> String {
    wait_for(&format!("{caller} in stage {stage}"), seconds(20), || {
        let call = calls(daemon)
            .into_iter()
            .find(|call| call["caller"] == *caller)?;
        (call["stage"] == stage).then(|| call["id"].as_str().expect("an id").to_owned())
    })
}

/// A caller says yes to a booking; the kill may come from now on.
fn say_yes(daemon: &Daemon, caller: &str) -> (Call, String) {
    let call = Peer::new().named(caller).call("booking", daemon.sip());
    wait_stage(daemon, caller, "greeting");
    call.press('1');
    let id = wait_stage(daemon, caller, "confirm");
    call.press('1');
    (call, id)
}

/// The external actions of a call that the books say were authorised and not taken back.
fn authorised(daemon: &Daemon, id: &str) -> BTreeSet<String> {
    let explained = daemon.json(&["explain", id]);
    let decisions = explained["decisions"].as_array().expect("decisions").iter();
    let kept = decisions.filter(|d| {
        let never_sent = ["withdrawn", "not_kept"]
            .iter()
            .any(|state| d["state"] == *state);
        d["external"] == true && d["verdict"] == "authorised" && !never_sent
    });
    kept.map(|d| d["action"].as_str().expect("an id").to_owned())
        .collect()
}

/// Whether the caller was told that the booking was passed on.
fn was_confirmed(daemon: &Daemon, id: &str) -> bool {
    let detail = daemon.json(&["call", id]);
    let lines = detail["timeline"].as_array().expect("a timeline").iter();
    lines
        .filter(|line| line["event"] == "play")
        .any(|line| line.to_string().contains("booked"))
}

#[test]
fn a_kill_between_authorisation_and_delivery_loses_and_doubles_nothing() {
    let (kills, seed) = (number("OFFHOOK_KILLS", 20), number("OFFHOOK_SEED", 7));
    // Most of a round is waiting: two boxes die by turns.
    let booked: usize = thread::scope(|scope| {
        let boxes = [(kills.div_ceil(2), 2 * seed), (kills / 2, 2 * seed + 1)];
        let boxes = boxes.map(|(kills, seed)| scope.spawn(move || die(kills, seed)));
        boxes
            .map(|it| it.join().expect("its checks hold"))
            .iter()
            .sum()
    });
    assert!(booked > 0, "some kill came after the authorisation");
}

/// Kills a box so often; gives the bookings that were authorised all the same.
fn die(kills: u64, seed: u64) -> usize {
    let mut random = Random::new(seed);
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &["--fail-rate", "0.3"]);
    let mut daemon = Scene::with_sink(&sink).start_in(place);
    let mut killed = Vec::new();
    for round in 0..kills {
        let caller = format!("555{round:04}");
        let (call, id) = say_yes(&daemon, &caller);
        let wait = random.below(LONGEST_MS);
        thread::sleep(ms(wait));
        daemon.kill();
        daemon.restart();
        call.wait_bye(seconds(20));
        killed.push((id, wait));
    }
    daemon.wait_status("the outbox to drain", seconds(120), |status| {
        let empty = |name: &str| status["outbox"][name] == 0;
        (empty("pending") && empty("held")).then_some(())
    });
    judge(&daemon, &sink, &killed, seed)
}

fn judge(daemon: &Daemon, sink: &Sink, killed: &[(String, u64)], seed: u64) -> usize {
    let mut taken: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in sink.taken() {
        let call = line["data"]["conversation"]
            .as_str()
            .expect("whose it is")
            .to_owned();
        taken.entry(call).or_default().push(line);
    }
    let (mut booked, mut confirmed) = (0, 0);
    for (id, wait) in killed {
        let context = format!("call {id}, killed {wait} ms after the yes, seed {seed}");
        let lines = taken.remove(id).unwrap_or_default();
        let (outcomes, actions): (Vec<_>, Vec<_>) = lines
            .iter()
            .partition(|line| line["type"] == "offhook.outcome");
        assert_eq!(outcomes.len(), 1, "{context}: one outcome: {lines:#?}");
        assert_eq!(outcomes[0]["data"]["cause"], "interrupted", "{context}");
        let delivered: Vec<_> = actions
            .iter()
            .map(|line| line["id"].as_str().expect("an id").to_owned())
            .collect();
        let distinct: BTreeSet<_> = delivered.iter().cloned().collect();
        assert_eq!(
            delivered.len(),
            distinct.len(),
            "{context}: nothing doubled: {delivered:?}"
        );
        assert_eq!(
            distinct,
            authorised(daemon, id),
            "{context}: authorised = delivered"
        );
        assert!(
            distinct.len() <= 1,
            "{context}: one booking under one id: {distinct:?}"
        );
        let told = was_confirmed(daemon, id);
        assert!(
            !told || !distinct.is_empty(),
            "{context}: told, but not delivered"
        );
        booked += distinct.len();
        confirmed += usize::from(told);
    }
    println!(
        "{} kills: {booked} bookings authorised and delivered once, {confirmed} confirmed to the caller",
        killed.len()
    );
    booked
}

#[test]
fn a_clean_stop_ends_calls_and_leaves_nothing_to_repair() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let mut daemon = Scene::with_sink(&sink).start_in(place);
    let (call, id) = say_yes(&daemon, "5550001");
    wait_stage(&daemon, "5550001", "booked");
    call.hang_up();
    wait_for("the outcome at the sink", seconds(20), || {
        (sink.taken_of(&id).len() == 2).then_some(())
    });
    daemon.stop();
    daemon.restart();
    thread::sleep(ms(1000));
    assert_eq!(sink.taken_of(&id).len(), 2, "nothing is sent again");
}
