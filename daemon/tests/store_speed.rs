//! What the store costs: CPU per call without an action, as SIPp makes them by
//! the thousand, and commits a second. Prints figures; asserts only that all
//! was kept. `cargo test --release -p offhook --test store_speed -- --nocapture`

mod books;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use books::{birth, commit, over};
use offhook::clock;
use offhook::store::reader::Reader;
use offhook::store::{Answer, EntryKind, Log, NotTaken, Options, Store, Write};
use offhook_core::input::{Cause, Event, LegEvent};
use offhook_core::{ActionId, ConversationId, LegId};

fn calls() -> u64 {
    let asked = std::env::var("OFFHOOK_SPEED_CALLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(3000)
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("offhook-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> (Store, Receiver<Answer>) {
        let (sender, answers) = channel();
        let answer = move |answer| sender.send(answer).unwrap_or_default();
        let file = self.0.join("offhook.db");
        let (store, _) = Store::open(&file, &Options::default(), answer).unwrap();
        (store, answers)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn entries() -> Log {
    let events = [
        LegEvent::Answered,
        LegEvent::SpeechStart,
        LegEvent::SpeechEnd,
        LegEvent::Ended(Cause::FarHangup),
    ];
    let mut log = Log::default();
    for (n, event) in (0..).zip(events) {
        let at = Duration::from_millis(u64::from(n) * 300);
        let event = Event::Leg(LegId(0), event);
        log.push(n, at, at, EntryKind::Input, &event).unwrap();
    }
    log
}

fn dialog(conversation: ConversationId) -> Write {
    Write::Dialog {
        conversation,
        leg: 0,
        text: "v1 call-id=1-2345@127.0.0.1 local=sip:echo@127.0.0.1;tag=0123456789abcdef "
            .repeat(6),
    }
}

/// Hands over, waiting for room like nobody in the daemon does.
fn push(store: &Store, write: Write) {
    let mut write = write;
    while let Err(NotTaken::Full(back)) = store.write(write) {
        write = *back;
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn report(name: &str, count: u64, cpu: Duration, wall: Duration, store: &Store) {
    let health = store.health();
    println!(
        "{name}: {count}, {:.1} us of CPU and {:.1} us of wall time each, {} transactions",
        cpu.as_secs_f64() * 1e6 / count as f64,
        wall.as_secs_f64() * 1e6 / count as f64,
        health.transactions,
    );
}

/// One test: figures of two at a time would count each other's CPU.
#[test]
fn cost_of_calls_and_of_commits() {
    calls_without_an_action();
    for group in [1, 16, 128] {
        commits(group);
    }
}

fn calls_without_an_action() {
    let place = Place::new("speed-calls");
    let (store, _answers) = place.open();
    let count = calls();
    // 750 calls live at a time, as 3,000 a second of 250 ms.
    let live = 750;
    let ready: Vec<[Write; 3]> = (1..=count)
        .map(|id| {
            let id = ConversationId(id << 20);
            let caller = format!("+1555{:07}", id.0);
            let over = over(id, caller.clone(), entries());
            [birth(id, caller), dialog(id), over]
        })
        .collect();
    let (cpu, wall) = (clock::cpu(), clock::now());
    let mut ends = std::collections::VecDeque::new();
    for [birth, dialog, over] in ready {
        push(&store, birth);
        push(&store, dialog);
        ends.push_back(over);
        if ends.len() > live {
            push(&store, ends.pop_front().unwrap());
        }
    }
    ends.into_iter().for_each(|over| push(&store, over));
    store.close();
    let (cpu, wall) = (clock::cpu() - cpu, clock::now() - wall);
    report("calls without an action", count, cpu, wall, &store);
    let counts = Reader::open(store.path()).unwrap().counts().unwrap();
    assert_eq!(counts.pending, count);
}

fn commits(group: u64) {
    let place = Place::new("speed-commits");
    let (store, answers) = place.open();
    let count = calls().min(group * 200);
    let (cpu, wall) = (clock::cpu(), clock::now());
    for call in 1..=count {
        let id = ActionId {
            conversation: ConversationId(call << 20),
            number: 1,
        };
        let lead = id.conversation.to_string();
        push(&store, commit(id, &lead, true, entries()));
        // `group` are under way at a time.
        if call > group {
            assert!(answers.recv().unwrap().durable);
        }
    }
    for _ in 0..count.min(group) {
        assert!(answers.recv().unwrap().durable);
    }
    let (cpu, wall) = (clock::cpu() - cpu, clock::now() - wall);
    store.close();
    let name = format!("commits, {group} under way");
    report(&name, count, cpu, wall, &store);
    let counts = Reader::open(store.path()).unwrap().counts().unwrap();
    assert_eq!(counts.held, count);
}
