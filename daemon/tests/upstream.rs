//! The forwarder against the sink, over real HTTP on loopback.

mod books;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use offhook::cli::sink::{Arrival, Mood, Sink};
use offhook::settings::{Secret, Tls};
use offhook::store::reader::{Counts, Reader};
use offhook::store::{Log, Options, Store, Write};
use offhook::upstream::schedule::Schedule;
use offhook::upstream::{Config, Forwarder};
use offhook_core::input::UpstreamAnswer;
use offhook_core::{ActionId, ConversationId};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

fn secret(byte: u8) -> Secret {
    let key = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    Secret::parse(&format!("whsec_{key}")).unwrap()
}

type Answers = Arc<Mutex<Vec<(ActionId, UpstreamAnswer)>>>;

/// A store, a sink, and a forwarder between them.
struct World {
    directory: PathBuf,
    store: Store,
    sink: Sink,
    address: SocketAddr,
    server: JoinHandle<()>,
    answers: Answers,
}

impl World {
    async fn new(mood: Mood) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("offhook-upstream-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let (store, _) =
            Store::open(&directory.join("offhook.db"), &Options::default(), |_| {}).unwrap();
        let sink = Sink::quiet(vec![secret(1)], mood);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = serve(&sink, listener);
        Self {
            directory,
            store,
            sink,
            address,
            server,
            answers: Answers::default(),
        }
    }

    fn config(&self) -> Config {
        let url = format!("http://{}/events", self.address);
        let mut config = Config::new(
            &url,
            vec![secret(9), secret(1)],
            Tls::client(None).expect("the public authorities are built in"),
            "/offhook/test",
            Duration::from_secs(5),
        );
        config.schedule = Schedule::new(vec![Duration::from_millis(10); 8]);
        config.probe_first = Duration::from_millis(10);
        config
    }

    fn forward(&self, config: Config) -> Forwarder {
        let answers = Arc::clone(&self.answers);
        let answered = move |id, answer| answers.lock().unwrap().push((id, answer));
        Forwarder::start(config, self.store.clone(), answered).unwrap()
    }

    fn counts(&self) -> Counts {
        Reader::open(self.store.path()).unwrap().counts().unwrap()
    }

    /// Waits until the counts are as wished for.
    async fn until(&self, wish: impl Fn(&Counts) -> bool) -> Counts {
        for _ in 0..3000 {
            let counts = self.counts();
            if wish(&counts) {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still {:?}; {:?}", self.counts(), self.sink.tally());
    }

    async fn end(self, forwarder: Forwarder) {
        forwarder.stop().await;
        self.store.close();
        self.server.abort();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

fn serve(sink: &Sink, listener: TcpListener) -> JoinHandle<()> {
    let sink = sink.clone();
    tokio::spawn(async move { sink.serve(listener).await.unwrap() })
}

fn action(call: u64, number: u32, lead: &str) -> Write {
    let id = ActionId {
        conversation: ConversationId(call),
        number,
    };
    books::commit(id, lead, false, Log::default())
}

fn over(call: u64) -> Write {
    books::over(ConversationId(call), format!("lead-{call}"), Log::default())
}

fn write_all(store: &Store, writes: impl IntoIterator<Item = Write>) {
    for write in writes {
        store.write(write).unwrap();
    }
}

/// Sequences in the order of their acceptance, by lead.
fn accepted_by_lead(arrivals: &[Arrival]) -> BTreeMap<String, Vec<String>> {
    let mut leads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.status == 204) {
        let lead = leads.entry(arrival.subject.clone()).or_default();
        lead.push(arrival.sequence.clone());
    }
    leads
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_and_the_outcome_arrive_signed_in_order_and_once() {
    let world = World::new(Mood::default()).await;
    let forwarder = world.forward(world.config());
    for call in 0..10 {
        let lead = format!("lead-{call}");
        let actions = (1..=5).map(|number| action(call, number, &lead));
        write_all(&world.store, actions.chain([over(call)]));
    }
    world.until(|counts| counts.delivered == 60).await;
    let tally = world.sink.tally();
    assert_eq!((tally.first, tally.duplicates), (60, 0));
    assert_eq!((tally.unverified, tally.dedupe_repeats), (0, 0));
    let leads = accepted_by_lead(&world.sink.arrivals());
    assert_eq!(leads.len(), 10);
    for (lead, order) in leads {
        assert!(order.is_sorted(), "{lead}: {order:?}");
    }
    let arrivals = world.sink.arrivals();
    let outcome = arrivals
        .iter()
        .find(|arrival| arrival.kind == "offhook.outcome")
        .unwrap();
    assert_eq!(outcome.data["talk_ms"], 1500);
    assert_eq!(outcome.data["collected"]["slot"], "tuesday");
    let answers = world.answers.lock().unwrap().clone();
    assert_eq!(answers.len(), 50, "outcomes are nobody's question");
    assert!(
        answers
            .iter()
            .all(|answer| answer.1 == UpstreamAnswer::Accepted)
    );
    world.end(forwarder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_gets_the_same_id_again_and_order_holds() {
    for status in [500, 503, 429, 404] {
        let mood = Mood {
            fail: 6,
            status,
            retry_after: (status == 429).then_some(0),
            ..Mood::default()
        };
        let world = World::new(mood).await;
        let forwarder = world.forward(world.config());
        let writes = (1..=4).map(|number| action(1, number, "a"));
        write_all(&world.store, writes.chain([action(2, 1, "b")]));
        world.until(|counts| counts.delivered == 5).await;
        let arrivals = world.sink.arrivals();
        let failed: BTreeSet<&str> = arrivals
            .iter()
            .filter(|arrival| arrival.status == status)
            .map(|arrival| arrival.id.as_str())
            .collect();
        let heads = [action_text(1, 1), action_text(2, 1)];
        assert!(
            failed.iter().all(|id| heads.iter().any(|head| head == id)),
            "{failed:?}"
        );
        assert_eq!(world.sink.tally().duplicates, 0);
        for order in accepted_by_lead(&arrivals).values() {
            assert!(order.is_sorted(), "{status}: {order:?}");
        }
        world.end(forwarder).await;
    }
}

fn action_text(call: u64, number: u32) -> String {
    let conversation = ConversationId(call);
    ActionId {
        conversation,
        number,
    }
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_keeps_everybody_away_until_then() {
    let mood = Mood {
        fail: 1,
        status: 429,
        retry_after: Some(1),
        ..Mood::default()
    };
    let world = World::new(mood).await;
    let forwarder = world.forward(world.config());
    write_all(&world.store, [action(1, 1, "a")]);
    world.until(|_| world.sink.tally().failed == 1).await;
    write_all(&world.store, (2..20).map(|call| action(call, 1, "b")));
    world.until(|counts| counts.delivered == 19).await;
    let times: Vec<u64> = world.sink.arrivals().iter().map(|seen| seen.t_ms).collect();
    assert!(times[1] >= times[0] + 990, "{} {}", times[0], times[1]);
    world.end(forwarder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_action_is_a_dead_letter_and_the_next_one_goes() {
    let mood = Mood {
        fail: 1,
        status: 422,
        ..Mood::default()
    };
    let world = World::new(mood).await;
    let forwarder = world.forward(world.config());
    write_all(&world.store, [action(1, 1, "a"), action(1, 2, "a")]);
    let counts = world.until(|counts| counts.delivered == 1).await;
    assert_eq!(counts.dead, 1);
    let answers = world.answers.lock().unwrap().clone();
    let said: Vec<(u32, UpstreamAnswer)> = answers
        .iter()
        .map(|(id, answer)| (id.number, *answer))
        .collect();
    let expected = [(1, UpstreamAnswer::Rejected), (2, UpstreamAnswer::Accepted)];
    assert_eq!(said, expected);
    let rows = Reader::open(world.store.path())
        .unwrap()
        .outbox(None, 9)
        .unwrap();
    assert!(rows[0].last_error.as_ref().unwrap().starts_with("422"));
    assert_eq!(forwarder.status().dead, 1);
    world.end(forwarder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_never_succeeds_is_given_up_and_the_others_go() {
    // The key is not the sink's: 401 for ever.
    let world = World::new(Mood::default()).await;
    let mut config = world.config();
    config.secrets = vec![secret(9)];
    config.schedule = Schedule::new(vec![Duration::from_millis(5); 2]);
    let forwarder = world.forward(config);
    write_all(&world.store, [action(1, 1, "a")]);
    let counts = world.until(|counts| counts.dead == 1).await;
    assert_eq!((counts.pending, counts.delivered), (0, 0));
    assert_eq!(world.sink.tally().unverified, 3);
    world.end(forwarder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_says_gone_is_left_in_peace() {
    let mood = Mood {
        fail: 1,
        status: 410,
        ..Mood::default()
    };
    let world = World::new(mood).await;
    let forwarder = world.forward(world.config());
    write_all(&world.store, [action(1, 1, "a"), action(2, 1, "b")]);
    world.until(|_| forwarder.status().gone).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let arrived = world.sink.tally().arrived;
    write_all(&world.store, [action(3, 1, "c")]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.sink.tally().arrived, arrived);
    let counts = world.counts();
    assert_eq!(
        (counts.dead, counts.held),
        (0, 0),
        "nothing is lost: {counts:?}"
    );
    forwarder.stop().await;
    // A new start asks again.
    let forwarder = world.forward(world.config());
    world.until(|counts| counts.delivered == 3).await;
    world.end(forwarder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_gets_the_whole_backlog_and_no_row_is_blamed() {
    let mut world = World::new(Mood::default()).await;
    world.server.abort();
    (&mut world.server).await.ok();
    let forwarder = world.forward(world.config());
    for call in 0..100 {
        let lead = format!("lead-{}", call % 20);
        write_all(&world.store, [action(call, 1, &lead)]);
    }
    while !forwarder.status().down || forwarder.status().failed < 8 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.counts().pending, 100);
    let listener = TcpListener::bind(world.address).await.unwrap();
    world.server = serve(&world.sink, listener);
    world.until(|counts| counts.delivered == 100).await;
    assert_eq!(world.sink.tally().duplicates, 0);
    for order in accepted_by_lead(&world.sink.arrivals()).values() {
        assert!(order.is_sorted(), "{order:?}");
    }
    assert!(!forwarder.status().down);
    world.end(forwarder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_receiver_took_but_did_not_answer_comes_again_under_its_id() {
    let mood = Mood {
        delay: 300,
        ..Mood::default()
    };
    let world = World::new(mood).await;
    let mut config = world.config();
    config.timeout = Duration::from_millis(100);
    let forwarder = world.forward(config);
    write_all(&world.store, [action(1, 1, "a")]);
    world.until(|_| forwarder.status().failed >= 2).await;
    world.sink.set_mood(Mood::default());
    world.until(|counts| counts.delivered == 1).await;
    let ids: BTreeSet<String> = world
        .sink
        .arrivals()
        .into_iter()
        .map(|seen| seen.id)
        .collect();
    assert_eq!(ids.len(), 1, "one effect, one id");
    world.end(forwarder).await;
}
