//! What hostile messages cost beside a good call, kind by kind: CPU of each, memory that
//! is kept of each, and what a call that runs meanwhile notices. One line each; only
//! what does not depend on this machine is asserted.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;

use offhook_tests::certificate::self_signed;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, now, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::{checkout, cpu, resident};
use offhook_tests::rtp::key_payload;
use offhook_tests::siege::{
    ASKING, STRANGER, Talk, counter, forged, giant, goodbye, pour, proof, scene,
};

/// A trunk that asks for a password: the only one at this address.
const ASKED: &str = "127.0.0.2";
/// What one kind may leave behind, whatever it sends: some pages of the store, the
/// sound of its running call, and the allocator's own reserve.
const KEPT_MAX: u64 = 8_000_000;
/// Octets that a slow connection sends before it falls silent.
const TRICKLE: usize = 20;

/// A daemon with everything that can be attacked.
struct Front {
    daemon: Daemon,
    udp: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
    /// Words of a caller who proved himself, as somebody overheard them.
    overheard: String,
}

/// Who has seen that it came.
#[derive(Clone, Copy)]
enum Seen {
    /// A counter of the daemon.
    Counted(&'static str),
    /// The report of the call that it was aimed at.
    ByTheCall,
    /// Its sender, who got an answer or a connection.
    BySender,
    /// Nobody: it is dropped where it arrives.
    ByNobody,
}

/// Somebody's way of being a nuisance.
struct Kind {
    name: &'static str,
    /// How many make a figure.
    count: u32,
    /// Connections that it leaves open are closed when it was judged.
    send: fn(&Front, &Talk, u32) -> Vec<TcpStream>,
    seen: Seen,
}

const KINDS: [Kind; 13] = [
    Kind {
        name: "OPTIONS of a scanner",
        count: 2_500,
        send: |front, _, count| scan(front, "OPTIONS", count),
        seen: Seen::Counted("sip_strangers"),
    },
    Kind {
        name: "REGISTER of a scanner",
        count: 2_500,
        send: |front, _, count| scan(front, "REGISTER", count),
        seen: Seen::Counted("sip_strangers"),
    },
    Kind {
        name: "INVITE of a scanner",
        count: 2_500,
        send: |front, _, count| scan(front, "INVITE", count),
        seen: Seen::Counted("sip_strangers"),
    },
    Kind {
        name: "torture of RFC 4475",
        count: 1_000,
        send: torture,
        seen: Seen::ByNobody,
    },
    Kind {
        name: "connection by TCP that sends 20 octets one by one",
        count: 300,
        send: |front, _, count| trickle(front.tcp, b"OPTIONS sip:x@y SIP/2.0\r\n", count),
        seen: Seen::BySender,
    },
    Kind {
        name: "connection by TLS that sends 20 octets one by one",
        count: 300,
        // The head of a ClientHello, and zeros.
        send: |front, _, count| {
            trickle(
                front.tls,
                &[&[22, 3, 1, 2, 0, 1, 0, 1][..], &[0; 20]].concat(),
                count,
            )
        },
        seen: Seen::BySender,
    },
    Kind {
        name: "RTP packet from elsewhere",
        count: 10_000,
        send: |_, talk, count| {
            inject(talk, STRANGER, count, |talk| {
                forged(&talk.call, 0, vec![0x10; 160]).bytes()
            })
        },
        seen: Seen::ByTheCall,
    },
    Kind {
        name: "RTP packet of a thief at the caller's host",
        count: 10_000,
        send: |_, talk, count| {
            inject(talk, "127.0.0.1", count, |talk| {
                forged(&talk.call, 0, vec![0x10; 160]).bytes()
            })
        },
        seen: Seen::ByTheCall,
    },
    Kind {
        name: "forged BYE by RTCP",
        count: 4_000,
        send: say_goodbye,
        seen: Seen::ByNobody,
    },
    Kind {
        name: "forged key (RFC 4733)",
        count: 10_000,
        send: |_, talk, count| {
            inject(talk, "127.0.0.1", count, |talk| {
                forged(&talk.call, 101, key_payload('1', true, 800)).bytes()
            })
        },
        seen: Seen::ByTheCall,
    },
    Kind {
        name: "call to where fraudsters call",
        count: 400,
        send: defraud,
        seen: Seen::BySender,
    },
    Kind {
        name: "password that was overheard",
        count: 400,
        send: replay,
        seen: Seen::Counted("sip_wrong_passwords"),
    },
    Kind {
        name: "description of 57 kB",
        count: 300,
        send: describe,
        seen: Seen::BySender,
    },
];

impl Front {
    fn start() -> Self {
        let place = Place::new();
        self_signed(place.path(), "DNS:localhost,IP:127.0.0.1");
        let text = scene().text().replace(
            "listen = [\"udp:127.0.0.1:0\"]",
            "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]",
        );
        let tls =
            "[tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\nauthorities = \"tls.pem\"\n";
        let asking = format!("[[trunk]]\n{ASKING}source = [\"{ASKED}/32\"]\n");
        let daemon = Daemon::start_in(place, &format!("{text}{asking}{tls}"));
        let status = daemon.json(&["status"]);
        let listener = |transport: &str| {
            let mut listeners = status["sip"].as_array().into_iter().flatten();
            let found = listeners.find(|it| it["transport"] == transport);
            found
                .and_then(|it| it["address"].as_str()?.parse().ok())
                .expect("it listens")
        };
        let (udp, tcp, tls) = (listener("udp"), listener("tcp"), listener("tls"));
        let (_, asked) = Peer::at(ASKED).invite("nobody", udp, free_port());
        assert_eq!(asked.status(), 401);
        let overheard = proof(&asked, &format!("sip:nobody@{udp}"));
        let front = Self {
            daemon,
            udp,
            tcp,
            tls,
            overheard,
        };
        // Its owner is the first to use it, and is told that there is no such call.
        assert_eq!(front.with_overheard(), 404);
        front
    }

    /// What the overheard words get.
    fn with_overheard(&self) -> u16 {
        let lines = format!("{}Content-Type", self.overheard);
        let answer = Peer::at(ASKED).invite_with("nobody", self.udp, free_port(), &lines);
        answer.status()
    }

    /// Share of a core that the daemon takes with its running call alone.
    fn idle(&self) -> f64 {
        let before = (cpu(self.daemon.id()), now());
        thread::sleep(seconds(1));
        let took = now() - before.1;
        (cpu(self.daemon.id()) - before.0).as_secs_f64() / took.as_secs_f64()
    }
}

/// What one of a kind costs.
#[derive(Clone, Copy)]
struct Cost {
    /// CPU, in microseconds.
    each_us: f64,
    /// Octets.
    kept: u64,
}

/// Does it `count` times, after a tenth of that: what the first ones take once is not
/// each one's.
fn cost<T>(front: &Front, count: u32, mut send: impl FnMut(u32) -> T) -> Cost {
    drop(send(count / 10));
    let idle = front.idle();
    let id = front.daemon.id();
    let (before, start, held) = (cpu(id), now(), resident(id));
    let open = send(count);
    // Whoever is answered now was behind all of them.
    assert_eq!(Peer::new().ask("OPTIONS", "ping", front.udp).status(), 200);
    let spent = (cpu(id) - before).as_secs_f64() - idle * (now() - start).as_secs_f64();
    let grown = resident(id).saturating_sub(held);
    drop(open);
    assert!(grown < KEPT_MAX, "{grown} octets more");
    Cost {
        each_us: spent.max(0.0) * 1e6 / f64::from(count),
        kept: grown / u64::from(count),
    }
}

fn scan(front: &Front, method: &str, count: u32) -> Vec<TcpStream> {
    let scanner = Peer::at(STRANGER).named("friendly-scanner");
    let text = |number: u32| {
        let text = scanner.request(method, &format!("{}", 100 + number), front.udp, None);
        text.replace(
            "Max-Forwards",
            "User-Agent: friendly-scanner\r\nMax-Forwards",
        )
    };
    pour(&scanner, front.udp, (0..count).map(text));
    Vec::new()
}

fn torture(front: &Front, _: &Talk, count: u32) -> Vec<TcpStream> {
    let folder = std::fs::read_dir(checkout().join("sip/tests/torture"));
    let files = folder.expect("the torture messages").flatten();
    let mut files: Vec<_> = files.map(|file| file.path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "dat"));
    let messages: Vec<_> = files
        .iter()
        .map(|path| std::fs::read(path).expect("a message"))
        .collect();
    let peer = Peer::new();
    for (number, message) in (0..count).zip(messages.iter().cycle()) {
        peer.send(message, front.udp);
        if number % 7 == 6 {
            thread::sleep(ms(10));
        }
    }
    Vec::new()
}

/// So many connections side by side, each an octet at a time.
fn trickle(to: SocketAddr, bytes: &[u8], count: u32) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(to).expect("it listens");
    let mut all: Vec<TcpStream> = (0..count).map(connect).collect();
    for byte in &bytes[..TRICKLE] {
        for stream in &mut all {
            stream.set_nodelay(true).expect("a socket of ours");
            stream
                .write_all(&[*byte])
                .expect("nobody is cut off so soon");
        }
        thread::sleep(ms(50));
    }
    all
}

/// To the port of the call's sound, some 5,000 a second.
fn inject(talk: &Talk, host: &str, count: u32, bytes: impl Fn(&Talk) -> Vec<u8>) -> Vec<TcpStream> {
    let thief = UdpSocket::bind((host, 0)).expect("loopback has a port");
    for number in 0..count {
        let sent = thief.send_to(&bytes(talk), talk.call.audio());
        sent.expect("loopback takes it");
        if number % 10 == 9 {
            thread::sleep(ms(2));
        }
    }
    Vec::new()
}

fn say_goodbye(_: &Front, talk: &Talk, count: u32) -> Vec<TcpStream> {
    let thief = UdpSocket::bind((STRANGER, 0)).expect("loopback has a port");
    let mut control = talk.call.audio();
    control.set_port(control.port() + 1);
    for number in 0..count / 2 {
        for to in [control, talk.call.audio()] {
            // RTCP has no socket in its first seconds.
            let _ = thief.send_to(&goodbye(), to);
        }
        if number % 5 == 4 {
            thread::sleep(ms(2));
        }
    }
    Vec::new()
}

/// By somebody whose calls are taken.
fn defraud(front: &Front, _: &Talk, count: u32) -> Vec<TcpStream> {
    let numbers = ["00972592277524", "9011972592277524", "+88213000001", "*72"];
    for (_, number) in (0..count).zip(numbers.iter().cycle()) {
        let (_, answer) = Peer::new().invite(number, front.udp, free_port());
        assert_eq!(answer.status(), 404, "{number}");
    }
    Vec::new()
}

fn replay(front: &Front, _: &Talk, count: u32) -> Vec<TcpStream> {
    for _ in 0..count {
        assert_eq!(front.with_overheard(), 401, "it was used before");
    }
    Vec::new()
}

fn describe(front: &Front, _: &Talk, count: u32) -> Vec<TcpStream> {
    let (peer, offer) = (Peer::new(), giant());
    for _ in 0..count {
        let text = peer.request("INVITE", "ring", front.udp, Some(&offer));
        peer.send(text.as_bytes(), front.udp);
        let (answer, _) = peer.expect("a refusal", seconds(10), |it| it.status() >= 200);
        assert_eq!(answer.status(), 413);
    }
    Vec::new()
}

#[test]
fn a_hostile_message_costs_less_than_a_call_keeps_little_and_no_call_notices() {
    let start = now();
    let front = Front::start();
    let good = cost(&front, 40, |count| {
        for _ in 0..count {
            Peer::new().call("echo", front.udp).hang_up();
        }
    });
    println!(
        "hostile: beside a good call from INVITE to BYE, {:.0} us of CPU, {} octets kept",
        good.each_us, good.kept
    );
    for kind in &KINDS {
        let talk = Talk::begin(&front.daemon);
        let counted = || match kind.seen {
            Seen::Counted(name) => counter(&front.daemon, name),
            Seen::ByTheCall | Seen::BySender | Seen::ByNobody => 0,
        };
        let before = counted();
        let each = cost(&front, kind.count, |count| {
            (kind.send)(&front, &talk, count)
        });
        let report = talk.unharmed(&front.daemon);
        let most = kind.count * 9 / 10;
        match kind.seen {
            Seen::Counted(_) => wait_for(kind.name, seconds(10), || {
                (counted() >= before + u64::from(most)).then_some(())
            }),
            Seen::ByTheCall => assert!(report.unheard() >= most, "{report:?}"),
            Seen::BySender | Seen::ByNobody => {}
        }
        println!(
            "hostile: {}: {:.0} us of CPU, {:.3} of a good call; {} octets kept; the call meanwhile: \
             lost {} late {} made up {} ms, gaps waited 10/20/30/40 ms {}",
            kind.name,
            each.each_us,
            each.each_us / good.each_us,
            each.kept,
            report.number("lost"),
            report.number("late"),
            report.number("concealed"),
            report.waits(),
        );
        assert!(
            each.each_us < good.each_us,
            "{} costs more than a call",
            kind.name
        );
    }
    told_once_a_minute(&front.daemon, start);
}

/// One line a minute says what is going on and names the worst.
fn told_once_a_minute(daemon: &Daemon, since: Instant) {
    // 50 a second are refused, the others get nothing.
    assert!(counter(daemon, "sip_strangers_ignored") > 2_500);
    wait_for("the line of the minute", seconds(70), || {
        daemon.said().contains("sip_minute").then_some(())
    });
    let said = daemon.said();
    assert!(said.contains(STRANGER), "the worst is named: {said}");
    let lines = said.matches("sip_minute").count() as u64;
    let minutes = (now() - since).as_secs() / 60;
    assert!(lines <= minutes + 1, "{lines} lines in {minutes} minutes");
}
