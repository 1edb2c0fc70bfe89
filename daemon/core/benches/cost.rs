//! What an event costs: CPU and allocations of the core, decision and record
//! included, beside the usual design (event -> Redis list -> worker, the same
//! decisions), and both curves in a queue model from 10 to 5,000 calls.
//!
//! `cargo bench -p offhook-core --bench cost [-- FILE.svg]`. Redis is Debian's, started
//! here on a socket of its own; without it that half is SKIPPED. Run by `tests/figures`.
#![allow(missing_docs, reason = "a bench, not a library")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offhook_core::input::{Digit, Offered, SilenceCause};
use offhook_core::{
    Book, Catalogue, Command, Conversation, ConversationId, Event, Input, LegEvent, LegId, Output,
    Playbook, Policy, Program, RawActions, RawPlaybook, RawPolicy,
};

/// Events of one call in a second, as measured on a busy line.
const RATE: u64 = 50;
/// Calls of the queue model.
const CALLS: [u64; 9] = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
/// Most CPU of an event, in ns.
const CPU_MAX: f64 = 500.0;
/// Most that the core's p99 may grow from the fewest calls to the most.
const RISE_MAX: f64 = 1.5;
/// Most allocations of an event from which nothing follows.
const ALLOCATIONS_MAX: f64 = 0.0;
/// A curve bends where its p99 is this many times the first one.
const KNEE: f64 = 10.0;
/// Events of one run of the queue model.
const MODELLED: u64 = 200_000;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: it only counts.
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Time of a clock (ns).
fn time_of(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec and lives across the call.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(
        failed, 0,
        "the clock of a living thread or child can be read"
    );
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn own_cpu() -> u64 {
    time_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn shipped(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    std::fs::read_to_string(root.join(name)).expect("what ships is in the tree")
}

fn book() -> Arc<Book> {
    let mut catalogue = Catalogue::default();
    for name in ["actions/booking.toml", "actions/voice.toml"] {
        let raw: RawActions = toml::from_str(&shipped(name)).expect("it is TOML");
        catalogue.add(&raw).expect("what ships compiles");
    }
    let raw: RawPolicy = toml::from_str(&shipped("policies/default.toml")).expect("it is TOML");
    let policy = Policy::compile(&raw, &catalogue).expect("what ships compiles");
    let raw: RawPlaybook = toml::from_str(&shipped("playbooks/booking.toml")).expect("it is TOML");
    let playbook = Playbook::compile(&raw, &catalogue).expect("what ships compiles");
    Arc::new(Book {
        program: Program::Playbook(Arc::new(playbook)),
        policy: Arc::new(policy),
        catalogue: Arc::new(catalogue),
    })
}

/// One call that never ends: it chooses a day and takes it back, and between the
/// keys the line makes its noises.
struct Caller {
    conversation: Conversation,
    now: Duration,
    count: u64,
    play: u32,
    decisions: u64,
}

impl Caller {
    fn new(number: u64, book: &Arc<Book>) -> Self {
        let mut caller = Self {
            conversation: Conversation::new(ConversationId(number), Arc::clone(book)),
            now: Duration::ZERO,
            count: 0,
            play: 0,
            decisions: 0,
        };
        caller.take(Event::Offered(Offered {
            trunk: "main".to_owned(),
            caller: "+15550100".to_owned(),
            called: "100".to_owned(),
            person: String::new(),
        }));
        caller.take(Event::Leg(LegId(0), LegEvent::Answered));
        caller
    }

    /// The next event of the line: 50 in a cycle of two decisions each way.
    fn next(&mut self) -> Event {
        let (place, cycle) = (self.count % RATE, self.count / RATE);
        self.count += 1;
        let leg = match place {
            // Once in a while the call has lasted long enough: it must not end here.
            0 => LegEvent::Digit(Digit::Key(if cycle % 2 == 0 { '1' } else { '2' })),
            25 => LegEvent::Played {
                play: self.play,
                sent_ms: 2_000,
                finished: true,
            },
            place if place % 10 == 3 => LegEvent::Silence(SilenceCause::Quiet),
            place if place % 2 == 0 => LegEvent::SpeechPause,
            _ => LegEvent::Silence(SilenceCause::ComfortNoise),
        };
        Event::Leg(LegId(0), leg)
    }

    fn take(&mut self, event: Event) {
        // Ten times as dense as a real line: the silence timers never fire.
        self.now += Duration::from_micros(100);
        let input = Input {
            at: self.now,
            event,
        };
        self.conversation.handle(self.now, input);
        loop {
            match self.conversation.poll() {
                Output::Wait(_) => return,
                Output::Do(_, Command::Play(play)) => self.play = play.play,
                Output::Decided(record) => self.decisions += u64::from(!record.rules.is_empty()),
                Output::Ended(_) => panic!("the script never ends a call"),
                _ => {}
            }
        }
    }

    fn step(&mut self) {
        let event = self.next();
        self.take(event);
    }
}

/// Service times in ns. The core's are those of one place in the cycle each, the mean
/// of 200 callers, so that the few events that decide count as what they are; those of
/// the usual design are each the mean of one cycle.
struct Measured {
    services: Vec<u64>,
    /// By the wall clock, ns an event: shown, not judged.
    wall: f64,
    allocations: f64,
    decisions: f64,
}

impl Measured {
    fn mean(&self) -> f64 {
        self.services.iter().sum::<u64>() as f64 / self.services.len() as f64
    }
}

fn measure_core(book: &Arc<Book>) -> Measured {
    let mut callers: Vec<Caller> = (0..200).map(|n| Caller::new(n, book)).collect();
    let run = |callers: &mut Vec<Caller>, services: &mut Vec<u64>| {
        for _ in 0..RATE {
            let before = own_cpu();
            callers.iter_mut().for_each(Caller::step);
            services.push((own_cpu() - before) / callers.len() as u64);
        }
    };
    let mut warm = Vec::new();
    for _ in 0..4 {
        run(&mut callers, &mut warm);
    }
    let mut services = Vec::new();
    let decided = |callers: &[Caller]| callers.iter().map(|it| it.decisions).sum::<u64>();
    let before = decided(&callers);
    let begun = time_of(libc::CLOCK_MONOTONIC);
    for _ in 0..40 {
        run(&mut callers, &mut services);
    }
    let events = (services.len() * callers.len()) as f64;
    let wall = (time_of(libc::CLOCK_MONOTONIC) - begun) as f64 / events;
    let decisions = (decided(&callers) - before) as f64 / events;
    // Apart from the bench's own lists.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut all = 0u64;
    for _ in 0..10 {
        for caller in &mut callers {
            for _ in 0..RATE {
                caller.step();
                all += 1;
            }
        }
    }
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / all as f64;
    Measured {
        services,
        wall,
        allocations,
        decisions,
    }
}

/// Perception alone, which is 24 of 25 events: no decision follows from it.
fn allocations_of_perception(book: &Arc<Book>) -> f64 {
    let mut caller = Caller::new(7, book);
    for _ in 0..10 * RATE {
        caller.step();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for n in 0..10_000u32 {
        let leg = match n % 2 {
            0 => LegEvent::SpeechPause,
            _ => LegEvent::Silence(SilenceCause::ComfortNoise),
        };
        caller.take(Event::Leg(LegId(0), leg));
    }
    (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / 10_000.0
}

/// A Redis of its own, ended with it.
struct Redis {
    child: Child,
    socket: std::path::PathBuf,
}

impl Redis {
    fn start() -> Result<Self, String> {
        let socket = std::env::temp_dir().join(format!("offhook-cost-{}.sock", std::process::id()));
        let child = Process::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(&socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server: {error} (apt-get install redis-server)"))?;
        let redis = Self { child, socket };
        for _ in 0..100 {
            if UnixStream::connect(&redis.socket).is_ok() {
                return Ok(redis);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("redis-server does not answer on its socket".to_owned())
    }

    fn connect(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(&self.socket).expect("it answered before"))
    }

    fn cpu(&self) -> u64 {
        let mut clock = 0;
        let process = self.child.id().cast_signed();
        // SAFETY: `clock` is a valid place for the answer.
        let failed = unsafe { libc::clock_getcpuclockid(process, &raw mut clock) };
        assert_eq!(failed, 0, "the child lives");
        time_of(clock)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// One request; the answer's last line, or the text of a bulk string (RESP 2).
fn ask(redis: &mut BufReader<UnixStream>, words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    redis.get_mut().write_all(&request).expect("redis takes it");
    answer(redis)
}

fn answer(redis: &mut BufReader<UnixStream>) -> Vec<u8> {
    let mut line = String::new();
    redis.read_line(&mut line).expect("redis answers");
    let rest = line[1..].trim_end();
    match line.as_bytes()[0] {
        b'$' => {
            let mut text = vec![0; rest.parse::<usize>().expect("a length") + 2];
            redis.read_exact(&mut text).expect("redis answers whole");
            text.truncate(text.len() - 2);
            text
        }
        b'*' => {
            let parts: usize = rest.parse().unwrap_or_default();
            (0..parts).map(|_| answer(redis)).last().unwrap_or_default()
        }
        _ => rest.as_bytes().to_vec(),
    }
}

/// Each event through a list to a worker that decides the same.
fn measure_queued(book: &Arc<Book>) -> Result<Measured, String> {
    let redis = Redis::start()?;
    let (mut producer, mut worker) = (redis.connect(), redis.connect());
    let mut source = Caller::new(1, book);
    let mut caller = Caller::new(1, book);
    let mut services = Vec::new();
    let begun = time_of(libc::CLOCK_MONOTONIC);
    for round in 0..60 {
        let before = own_cpu() + redis.cpu();
        for _ in 0..RATE {
            source.play = caller.play;
            let event = serde_json::to_vec(&source.next()).expect("events have a JSON form");
            ask(&mut producer, &[b"RPUSH", b"events", &event]);
            let event = ask(&mut worker, &[b"BLPOP", b"events", b"1"]);
            caller.take(serde_json::from_slice(&event).expect("it came whole"));
        }
        let spent = own_cpu() + redis.cpu() - before;
        if round >= 10 {
            services.push(spent / RATE);
        }
    }
    Ok(Measured {
        services,
        wall: (time_of(libc::CLOCK_MONOTONIC) - begun) as f64 / (60 * RATE) as f64,
        allocations: 0.0,
        decisions: 0.0,
    })
}

/// xorshift64*: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Even between 0 and 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// p99 of arrival-to-decision, µs: one server, arrivals of that many calls at
/// 50 events/s each (Poisson), service times as measured.
fn p99(services: &[u64], calls: u64) -> f64 {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let gap = 1e9 / (calls * RATE) as f64;
    let (mut arrival, mut free) = (0.0f64, 0.0f64);
    let keep = (MODELLED / 100) as usize;
    // The largest 1 %, the least of them on top.
    let mut longest: BinaryHeap<std::cmp::Reverse<u64>> = BinaryHeap::with_capacity(keep + 1);
    for _ in 0..MODELLED {
        arrival += -gap * (1.0 - dice.share()).ln();
        let service = services[(dice.next() % services.len() as u64) as usize] as f64;
        free = free.max(arrival) + service;
        longest.push(std::cmp::Reverse((free - arrival) as u64));
        if longest.len() > keep {
            longest.pop();
        }
    }
    longest.peek().map_or(0.0, |it| it.0 as f64 / 1e3)
}

struct Curve {
    name: &'static str,
    points: Vec<(u64, f64)>,
}

impl Curve {
    fn of(name: &'static str, services: &[u64]) -> Self {
        let points = CALLS.iter().map(|calls| (*calls, p99(services, *calls)));
        Self {
            name,
            points: points.collect(),
        }
    }

    /// The last p99 as a multiple of the first.
    fn rise(&self) -> f64 {
        let us = |point: Option<&(u64, f64)>| point.map_or(0.0, |(_, us)| *us);
        us(self.points.last()) / us(self.points.first()).max(0.001)
    }

    fn knee(&self) -> Option<u64> {
        let (_, first) = *self.points.first()?;
        let bent = self.points.iter().find(|(_, p99)| *p99 > first * KNEE);
        bent.map(|(calls, _)| *calls)
    }
}

/// Both curves, logarithmic both ways.
fn draw(curves: &[Curve]) -> String {
    let x = |calls: u64| 70.0 + 500.0 * ((calls as f64).log10() - 1.0) / 2.7;
    let y = |us: f64| 330.0 - 280.0 * (us.max(0.05).log10() + 1.3) / 8.6;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 400\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"640\" height=\"400\" fill=\"white\"/>\n<text x=\"70\" y=\"24\">p99 of arrival-to-decision, queue model fed with measured CPU service times</text>\n",
    );
    for calls in CALLS {
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"350\" text-anchor=\"middle\">{calls}</text>",
            x(calls)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"320\" y=\"380\" text-anchor=\"middle\">calls at 50 events/s each</text>"
    );
    for (us, name) in [
        (0.1, "0.1 µs"),
        (10.0, "10 µs"),
        (1e3, "1 ms"),
        (1e5, "100 ms"),
        (1e7, "10 s"),
    ] {
        let _ = writeln!(
            svg,
            "<text x=\"62\" y=\"{0:.0}\" text-anchor=\"end\">{name}</text><path d=\"M70 {0:.0}H570\" stroke=\"#ddd\"/>",
            y(us)
        );
    }
    for (curve, colour) in curves.iter().zip(["#1a7f37", "#cf222e"]) {
        let line: Vec<String> = curve
            .points
            .iter()
            .map(|(calls, us)| format!("{:.1},{:.1}", x(*calls), y(*us)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        if let Some((calls, us)) = curve.points.last() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\" text-anchor=\"end\">{}</text>",
                x(*calls),
                y(*us) - 8.0,
                curve.name
            );
        }
        if let Some(knee) = curve.knee() {
            let _ = writeln!(
                svg,
                "<path d=\"M{0:.0} 50V330\" stroke=\"{colour}\" stroke-dasharray=\"4\"/><text x=\"{0:.0}\" y=\"46\" fill=\"{colour}\">knee: {knee} calls</text>",
                x(knee)
            );
        }
    }
    svg + "</svg>\n"
}

fn main() {
    // cargo passes `--bench`; what is left is the picture's name.
    let picture = std::env::args().skip(1).find(|it| !it.starts_with("--"));
    let book = book();
    let core = measure_core(&book);
    println!(
        "core: {:.3} µs CPU per event, decision and record included ({:.3} decisions per event); wall clock {:.3} µs",
        core.mean() / 1e3,
        core.decisions,
        core.wall / 1e3
    );
    let idle = allocations_of_perception(&book);
    println!(
        "core: {:.2} allocations per event of the mix, {:.3} per event from which nothing follows",
        core.allocations, idle
    );
    let mut curves = vec![Curve::of("Offhook's core", &core.services)];
    match measure_queued(&book) {
        Ok(queued) => {
            println!(
                "event -> Redis list -> worker: {:.1} µs CPU per event; wall clock {:.1} µs",
                queued.mean() / 1e3,
                queued.wall / 1e3
            );
            curves.push(Curve::of("event -> Redis list -> worker", &queued.services));
        }
        Err(reason) => println!("event -> Redis list -> worker: SKIPPED: {reason}"),
    }
    println!("p99 of arrival-to-decision, µs, in the queue model:");
    for curve in &curves {
        let points: Vec<String> = curve
            .points
            .iter()
            .map(|(calls, us)| format!("{calls}: {us:.2}"))
            .collect();
        let knee = curve.knee().map_or("no knee".to_owned(), |calls| {
            format!("knee at {calls} calls")
        });
        let rise = curve.rise();
        println!(
            "  {:32} {}  ({knee}, {rise:.2} times)",
            curve.name,
            points.join("  ")
        );
    }
    if let Some(picture) = picture {
        std::fs::write(&picture, draw(&curves)).expect("the picture can be written");
        println!("picture: {picture}");
    }
    let held = [
        ("CPU per event", core.mean(), CPU_MAX),
        (
            "p99 from the fewest calls to the most",
            curves[0].rise(),
            RISE_MAX,
        ),
        ("allocations where nothing follows", idle, ALLOCATIONS_MAX),
    ];
    let broken = held.iter().filter(|(_, is, most)| is > most);
    let broken =
        broken.map(|(what, is, most)| println!("over its limit: {what}: {is:.2}, at most {most}"));
    if broken.count() > 0 {
        std::process::exit(1);
    }
}
