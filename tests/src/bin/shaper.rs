//! `shaper QUEUE WEATHER...`: makes the weather for the packets of a netfilter queue,
//! e.g. `shaper 3 delay=40 jitter=20 loss=5 seed=7`. Says `ready` and works until it
//! is ended. The weather begins with the first µ-law packet that has a marker bit:
//! what comes before waits for the delay and nothing else. Packets marked 1 are its
//! own copies and must not come to the queue.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::time::Duration;

use nfq::{Message, Queue, Verdict};
use offhook_tests::patience::now;
use offhook_tests::process::hurry;
use offhook_tests::weather::{Fate, Sky, Weather};

/// Packets on their way at most; more is dropped by the kernel.
const MOST: u32 = 20_000;
/// What copies are marked with (`-m mark ! --mark 1`).
const MARK: u32 = 1;

/// A packet on its way; the one that comes first is the greatest.
struct Due {
    at: Duration,
    number: u64,
    twice: bool,
    packet: Message,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |due: &Self| Reverse((due.at, due.number));
        place(self).cmp(&place(other))
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (queue, words) = arguments.split_first().expect("shaper QUEUE WEATHER...");
    let number: u16 = queue.parse().expect("the queue is a number");
    let weather: Weather = words.join(" ").parse().expect("weather");
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    queue.set_queue_max_len(number, MOST)?;
    queue.set_nonblocking(true);
    hurry();
    println!("ready");
    work(&mut queue, netlink(), raw()?, Sky::new(weather))
}

fn work(queue: &mut Queue, netlink: i32, raw: i32, mut sky: Sky) -> io::Result<()> {
    let (start, mut number, mut begun) = (now(), 0, false);
    let mut due: BinaryHeap<Due> = BinaryHeap::new();
    loop {
        let time = now() - start;
        while due.peek().is_some_and(|first| first.at <= time) {
            let mut first = due.pop().expect("there is a first one");
            if first.twice {
                copy(raw, first.packet.get_payload());
            }
            first.packet.set_verdict(Verdict::Accept);
            queue.verdict(first.packet)?;
        }
        let mut packet = match queue.recv() {
            Ok(packet) => packet,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let next = due
                    .peek()
                    .map(|first| first.at.saturating_sub(now() - start));
                wait(netlink, next.unwrap_or(Duration::from_millis(200)));
                continue;
            }
            Err(error) => return Err(error),
        };
        begun |= is_marked(packet.get_payload());
        let fate = if begun {
            sky.fate(time)
        } else {
            sky.before(time)
        };
        match fate {
            Fate::Lost => {
                packet.set_verdict(Verdict::Drop);
                queue.verdict(packet)?;
            }
            Fate::Comes { at, twice } => {
                number += 1;
                due.push(Due {
                    at,
                    number,
                    twice,
                    packet,
                });
            }
        }
    }
}

/// Whether this IPv4 packet is RTP with a marker bit and G.711 µ-law (RFC 3550 §5.1):
/// keys are marked as well.
fn is_marked(packet: &[u8]) -> bool {
    let header = packet
        .first()
        .map_or(0, |first| usize::from(first & 0x0f) * 4);
    let rtp = packet.get(header + 8..header + 10);
    rtp.is_some_and(|rtp| rtp[0] >> 6 == 2 && rtp[1] == 0x80)
}

/// Sleeps until something comes to the queue, or so long.
fn wait(netlink: i32, limit: Duration) {
    let mut poll = libc::pollfd {
        fd: netlink,
        events: libc::POLLIN,
        revents: 0,
    };
    let limit = libc::timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: one pollfd and one timespec of ours, no signal mask.
    unsafe { libc::ppoll(&raw mut poll, 1, &raw const limit, std::ptr::null()) };
}

/// The queue's socket, which the crate keeps to itself: the only one of its kind here.
fn netlink() -> i32 {
    let is_netlink = |fd: &i32| {
        let (mut domain, mut length) = (0i32, size_of::<i32>() as u32);
        // SAFETY: the option is an int, and both places are ours and large enough.
        let asked = unsafe {
            libc::getsockopt(
                *fd,
                libc::SOL_SOCKET,
                libc::SO_DOMAIN,
                (&raw mut domain).cast(),
                &raw mut length,
            )
        };
        asked == 0 && domain == libc::AF_NETLINK
    };
    (3..64).find(is_netlink).expect("the queue has a socket")
}

/// A socket for copies: they carry their own IP header and our mark.
fn raw() -> io::Result<i32> {
    // SAFETY: plain integers in, a descriptor or -1 out.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW) };
    let mark = MARK;
    // SAFETY: the option is an int of ours.
    let marked = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            size_of_val(&mark) as u32,
        )
    };
    if socket < 0 || marked < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// Sends an IPv4 packet as it is; a copy that does not get out is one less.
fn copy(raw: i32, packet: &[u8]) {
    let Some(to) = packet
        .get(16..20)
        .and_then(|to| <[u8; 4]>::try_from(to).ok())
    else {
        return;
    };
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(to),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the packet and the address are ours and live through the call.
    unsafe {
        libc::sendto(
            raw,
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as u32,
        )
    };
}
