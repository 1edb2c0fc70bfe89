//! `load [RATE...|overload]`: the same calls by SIPp, one after the other, to offhookd,
//! SIPp's own uas, Kamailio (stateless: the least that can be done with a call) and
//! Asterisk: the highest rate without a failed call and CPU per call, in one run; then
//! three times what there is room for, and three times what part of a core gets done.
//! `overload` begins there. Prints lines that begin with `figure`; what misses its mark
//! is a line that begins with `FAILED`, and ends it with 1.

use std::net::SocketAddr;
use std::ops::Add;
use std::process::{Command, ExitCode};
use std::time::Duration;

use offhook_tests::asterisk::{Asterisk, Setup};
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for, watch};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::{Running, built, cpu, has, run};
use offhook_tests::quota::Quota;
use offhook_tests::scene::Scene;
use offhook_tests::sipp::Sipp;
use offhook_tests::skip::skip;

/// Calls a second that are tried, until one fails.
const RATES: [u32; 6] = [250, 500, 1_000, 2_000, 3_000, 4_000];
/// Each rate lasts so long.
const SECONDS: u32 = 8;
/// Calls that there is room for when the daemon is offered too many.
const ROOM: u16 = 200;

/// What the daemon has of a core when it is to have no time, in percent, and by what the
/// rate rises until its peak is found.
const PART_OF_CORE: u32 = 25;
/// A thread that asks for real time has no quota, and a group with one does not take it.
const NOT_REAL_TIME: &str = "realtime = false";
const RATE_STEP: u32 = 150;

const UAS: &str = "SIPp's own uas";

/// Marks, against SIPp's own uas and against the peak: calls a second, CPU of a call,
/// goodput under three times the load.
const CALLS_OF_UAS: f64 = 1.0;
const CPU_OF_UAS: f64 = 2.2;
const GOODPUT: f64 = 0.9;

/// Boxes and loads that are compared take turns, so many times: the speed of a machine
/// that others share may double within a minute.
const TURNS: u32 = 5;
/// A turn at `COMPARED_AT` calls a second lasts so long.
const TURN_SECONDS: u32 = 4;
/// A load and three times of it take turns so often, `SECONDS` each.
const TURNS_OF_LOAD: u32 = 5;
/// Calls a second at which CPU is compared: all can.
const COMPARED_AT: u32 = 1_000;

/// A box that answers calls.
struct Answerer<'a> {
    name: &'a str,
    at: SocketAddr,
    /// Who is called.
    user: &'a str,
    processes: Vec<u32>,
}

impl Answerer<'_> {
    /// Calls for so long; gives what SIPp counted, and CPU ms of a call.
    fn take(&self, rate: u32, seconds: u32) -> (Counted, f64) {
        let before = self.spent();
        let counted = calls(self.at, self.user, rate, rate * seconds, 0);
        let spent = self.spent() - before;
        (
            counted,
            spent.as_secs_f64() * 1e3 / f64::from(rate * seconds),
        )
    }

    fn spent(&self) -> Duration {
        self.processes.iter().map(|id| cpu(*id)).sum()
    }
}

/// What one box managed.
struct Managed {
    best: u32,
    /// CPU ms of a call at the rate they are compared at.
    cost: Option<f64>,
}

/// What SIPp counted.
#[derive(Clone, Copy, Default)]
struct Counted {
    /// Neither completed nor refused with a time to come back.
    failed: u32,
    /// Answered with 200.
    accepted: u32,
    /// Completed.
    good: u32,
    /// 503 with Retry-After.
    refused: u32,
}

impl Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            failed: self.failed + other.failed,
            accepted: self.accepted + other.accepted,
            good: self.good + other.good,
            refused: self.refused + other.refused,
        }
    }
}

/// Which marks were missed.
#[derive(Default)]
struct Judge {
    failed: bool,
}

impl Judge {
    fn demand(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("FAILED: load: {what}");
            self.failed = true;
        }
    }
}

fn main() -> ExitCode {
    let mut judge = Judge::default();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words != ["overload"] {
        let rates: Vec<u32> = words.iter().filter_map(|it| it.parse().ok()).collect();
        beside_others(&mut judge, if rates.is_empty() { &RATES } else { &rates });
    }
    without_room(&mut judge);
    without_time(&mut judge);
    let bench = run(built("offhook"), ["bench", "sip"]);
    for line in bench.out.lines() {
        println!("figure bench sip: {line}");
    }
    judge.demand(bench.code == 0, "offhook bench sip");
    if judge.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The same calls to each box, and what ours costs beside the others.
fn beside_others(judge: &mut Judge, rates: &[u32]) {
    let daemon = daemon(4_000, "");
    let offhookd = Answerer {
        name: "offhookd",
        at: daemon.sip(),
        user: "echo",
        processes: vec![daemon.id()],
    };
    let (_place, running, at) = start_uas();
    let uas = Answerer {
        name: UAS,
        at,
        user: "x",
        processes: vec![running.id()],
    };
    let ours = highest(&offhookd, rates);
    let theirs = highest(&uas, rates);
    let dearer = in_turn(&offhookd, &uas);
    drop((running, daemon));
    judge_uas(judge, ours.best, theirs.best, dearer);
    let kamailio = kamailio(rates);
    let asterisk = asterisk(rates);
    for (name, other) in [("Kamailio", kamailio), ("Asterisk", asterisk)] {
        let Some(other) = other else { continue };
        if other.best == 0 {
            println!("figure load: {name} completes all calls at none of these rates");
            continue;
        }
        let cost = ours.cost.zip(other.cost).map(|(a, b)| a / b);
        let cost = cost.map_or("?".to_owned(), |cost| format!("{cost:.2}"));
        let calls = f64::from(ours.best) / f64::from(other.best);
        println!(
            "figure load: offhookd beside {name}: {calls:.2} times the calls/s, {cost} times the CPU per call"
        );
    }
}

/// What a call costs the one as a multiple of what it costs the other, turn about.
fn in_turn(one: &Answerer, other: &Answerer) -> f64 {
    let mut sums = (0.0, 0.0);
    for turn in 1..=TURNS {
        let (_, a) = one.take(COMPARED_AT, TURN_SECONDS);
        let (_, b) = other.take(COMPARED_AT, TURN_SECONDS);
        println!(
            "figure load: turn {turn} of {TURNS}, {COMPARED_AT} calls/s: {} {a:.3} ms of CPU per call, {} {b:.3}",
            one.name, other.name,
        );
        sums = (sums.0 + a, sums.1 + b);
    }
    sums.0 / sums.1
}

fn judge_uas(judge: &mut Judge, ours: u32, theirs: u32, dearer: f64) {
    let calls = f64::from(ours) / f64::from(theirs.max(1));
    println!(
        "figure load: offhookd beside {UAS}: {calls:.2} times the calls/s, {dearer:.2} times the CPU per call"
    );
    let few = format!("{calls:.2} times the calls/s of {UAS}");
    judge.demand(calls >= CALLS_OF_UAS, &few);
    let dear = format!("{dearer:.2} times the CPU per call of {UAS}");
    judge.demand(dearer <= CPU_OF_UAS, &dear);
}

fn daemon(max_calls: u16, more: &str) -> Daemon {
    let scene = Scene {
        max_calls: 20,
        recording: false,
        ..Scene::default()
    };
    let text = scene.text();
    let ports = text
        .lines()
        .find(|line| line.starts_with("ports = "))
        .expect("ports");
    let text = text
        .replace(ports, &format!("ports = \"20000-59999\"\n{more}"))
        .replace("max_calls = 20", &format!("max_calls = {max_calls}"));
    Daemon::start(&text)
}

/// SIPp's own answering scenario, and where it listens.
fn start_uas() -> (Place, Running, SocketAddr) {
    let (place, port) = (Place::new(), free_port());
    let mut command = Command::new("sipp");
    command.current_dir(place.path());
    command.args([
        "-sn",
        "uas",
        "-i",
        "127.0.0.1",
        "-nostdin",
        "-p",
        &port.to_string(),
    ]);
    let uas = Running::start(&mut command, &place.file("uas.log"));
    std::thread::sleep(ms(500));
    (place, uas, ([127, 0, 0, 1], port).into())
}

fn kamailio(rates: &[u32]) -> Option<Managed> {
    if !has("kamailio") {
        skip("load of Kamailio: kamailio is not installed");
        return None;
    }
    let (place, port) = (Place::new(), free_port());
    let config = format!(
        r#"#!KAMAILIO
debug=0
log_stderror=yes
fork=yes
children=2
listen=udp:127.0.0.1:{port}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "textopsx.so"
request_route {{
  if (is_method("ACK")) {{ exit; }}
  if (is_method("INVITE")) {{
    set_reply_body("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n", "application/sdp");
  }}
  append_to_reply("Contact: <sip:127.0.0.1:{port}>\r\n");
  sl_send_reply("200", "OK");
}}
"#
    );
    let file = place.write("kamailio.cfg", config);
    let mut command = Command::new("kamailio");
    command.arg("-DD").arg("-E").arg("-f").arg(file);
    command
        .arg("-P")
        .arg(place.file("kamailio.pid"))
        .arg("-Y")
        .arg(place.path());
    let proxy = Running::start_with_children(&mut command, &place.file("kamailio.log"));
    let to: SocketAddr = ([127, 0, 0, 1], port).into();
    wait_for("Kamailio", seconds(10), || {
        let peer = Peer::new();
        peer.send(peer.request("OPTIONS", "x", to, None).as_bytes(), to);
        peer.receive(ms(200))
    });
    let mut all = vec![proxy.id()];
    all.extend(children(proxy.id()));
    let answerer = Answerer {
        name: "Kamailio, stateless",
        at: to,
        user: "x",
        processes: all,
    };
    Some(highest(&answerer, rates))
}

fn asterisk(rates: &[u32]) -> Option<Managed> {
    let setup = Setup {
        host: None,
        pjsip:
            "[anonymous]\ntype=endpoint\ncontext=test\ndisallow=all\nallow=ulaw\ndirect_media=no\n"
                .to_owned(),
        dialplan: "exten => echo,1,Answer()\n same => n,Echo()\n".to_owned(),
    };
    let place = Place::new();
    let asterisk =
        Asterisk::start(&place, &setup).inspect_err(|reason| skip(&format!("load: {reason}")));
    let asterisk = asterisk.ok()?;
    // Each of its calls holds a pair of a few thousand ports.
    let answerer = Answerer {
        name: "Asterisk, chan_pjsip",
        at: asterisk.sip(),
        user: "echo",
        processes: vec![asterisk.id()],
    };
    Some(highest(&answerer, rates))
}

/// Processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let listed = run("pgrep", ["-P", &of.to_string()]);
    listed
        .out
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}

/// The rates upwards until a call fails.
fn highest(answerer: &Answerer, rates: &[u32]) -> Managed {
    let name = answerer.name;
    let mut managed = Managed {
        best: 0,
        cost: None,
    };
    for rate in rates {
        let (counted, each) = answerer.take(*rate, SECONDS);
        let failed = counted.failed + counted.refused;
        println!(
            "figure load: {name}, {rate} calls/s: {} of {} failed, {each:.3} ms of CPU per call",
            failed,
            rate * SECONDS,
        );
        if failed > 0 {
            break;
        }
        managed.best = *rate;
        // Compared where all can be: at the highest up to 1,000 a second.
        if *rate <= COMPARED_AT {
            managed.cost = Some(each);
        }
    }
    println!(
        "figure load: {name}: {} calls/s without a failed call",
        managed.best
    );
    managed
}

fn calls(to: SocketAddr, user: &str, rate: u32, count: u32, hold_ms: u32) -> Counted {
    let place = Place::new();
    let statistics = place.file("sipp.csv");
    let (rate, count, hold) = (rate.to_string(), count.to_string(), hold_ms.to_string());
    let file = statistics.display().to_string();
    let arguments = [
        "-r",
        &rate,
        "-m",
        &count,
        "-d",
        &hold,
        "-l",
        "20000",
        // Its usual 64 KiB hold a hundred answers: what it loses by that it asks again.
        "-buff_size",
        "2000000",
        "-timeout",
        "90s",
        "-trace_stat",
        "-fd",
        "1",
        "-stf",
        &file,
    ];
    let scenario = Sipp::scenario("rate", to, &place)
        .calls(user)
        .with(&arguments);
    let mut sipp = scenario.start(&place.file("sipp.log"));
    // Who does not answer is not waited for: what was not completed has failed.
    watch(seconds(110), || sipp.ended());
    drop(sipp);
    let text = std::fs::read_to_string(&statistics).unwrap_or_default();
    let field = |name: &str| {
        let head = text.lines().next()?.split(';').position(|it| it == name)?;
        text.lines().last()?.split(';').nth(head)?.parse().ok()
    };
    let [ended, accepted, refused]: [u32; 3] = [
        "SuccessfulCall(C)",
        "GenericCounter1(C)",
        "GenericCounter2(C)",
    ]
    .map(|name| field(name).unwrap_or(0));
    let asked: u32 = count.parse().unwrap_or(0);
    Counted {
        failed: asked.saturating_sub(ended),
        accepted,
        good: ended.saturating_sub(refused),
        refused,
    }
}

/// Calls of a second to a box with room for 200: as many as fit, then three times that.
fn without_room(judge: &mut Judge) {
    let daemon = daemon(ROOM, "");
    let rate = u32::from(ROOM) * 19 / 20;
    let peak = calls(daemon.sip(), "echo", rate, rate * 10, 1_000);
    let three = calls(daemon.sip(), "echo", rate * 3, rate * 30, 1_000);
    weigh(judge, "three times the room", peak, three);
}

/// Calls to a box that has a part of one core, SIPp on another: as many a second as it
/// gets done, then three times that. With a whole core it would be SIPp that has no time.
fn without_time(judge: &mut Judge) {
    let daemon = daemon(4_000, NOT_REAL_TIME);
    for (id, core) in [(daemon.id(), "0"), (std::process::id(), "1")] {
        let pinned = run("taskset", ["-a", "-p", "-c", core, &id.to_string()]);
        if pinned.code != 0 {
            return skip(&format!(
                "load without time: taskset: {}",
                pinned.err.trim()
            ));
        }
    }
    let _quota = match Quota::give(daemon.id(), PART_OF_CORE) {
        Ok(quota) => quota,
        Err(reason) => return skip(&format!("load without time: {reason}")),
    };
    let mut peak = (0, None);
    for rate in (1..).map(|step| step * RATE_STEP) {
        let counted = calls(daemon.sip(), "echo", rate, rate * SECONDS, 0);
        println!(
            "figure load: {PART_OF_CORE} % of a core, {rate} calls/s: {} completed, {} refused",
            counted.good, counted.refused
        );
        let best = peak.1.map_or(0, |best: Counted| best.good);
        if counted.good > best {
            peak = (rate, Some(counted));
        }
        if counted.good < rate * SECONDS * 19 / 20 {
            break;
        }
    }
    let (rate, Some(_)) = peak else {
        return judge.demand(false, "a part of a core completes no call");
    };
    // The peak again and three times what it completes now, turn about: what it completed
    // in the search may be out of reach a minute later, or less than it could.
    let mut sums = (Counted::default(), Counted::default());
    for turn in 1..=TURNS_OF_LOAD {
        let once = calls(daemon.sip(), "echo", rate, rate * SECONDS, 0);
        let thrice = once.good * 3 / SECONDS;
        let three = calls(daemon.sip(), "echo", thrice, thrice * SECONDS, 0);
        println!(
            "figure load: turn {turn} of {TURNS_OF_LOAD}: {} completed of {rate} calls/s, {} of {thrice}",
            once.good, three.good
        );
        sums = (sums.0 + once, sums.1 + three);
    }
    let what = format!("three times the {rate} calls/s of {PART_OF_CORE} % of a core");
    weigh(judge, &what, sums.0, sums.1);
}

fn weigh(judge: &mut Judge, what: &str, peak: Counted, three: Counted) {
    let share = f64::from(three.good) / f64::from(peak.good.max(1));
    println!(
        "figure load: {what}: {} calls completed at the peak, {} under the load: {:.0} %; \
         accepted {}, refused {}, without an answer {}",
        peak.good,
        three.good,
        share * 100.0,
        three.accepted,
        three.refused,
        three.failed,
    );
    let little = format!("{what}: {:.0} % of the peak's goodput", share * 100.0);
    judge.demand(share >= GOODPUT, &little);
    let broken = format!(
        "{what}: {} of {} accepted calls completed",
        three.good, three.accepted
    );
    judge.demand(three.good >= three.accepted, &broken);
    judge.demand(
        three.refused > 0,
        &format!("{what}: nobody was told to come back"),
    );
}
