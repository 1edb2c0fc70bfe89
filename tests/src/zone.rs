//! A name server of the tests' own on loopback: it answers from a few lines of a
//! zone that can change while it runs, and counts what it is asked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::patience::ms;

/// Record types (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 2782, RFC 3403).
const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;
/// Seconds that an answer holds.
const TTL: u32 = 1;

/// `NAME A 127.0.0.1`, `NAME AAAA ::1`, `NAME SRV priority weight port target`, `NAME NAPTR order
/// preference service replacement`; names without their last dot.
#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    asked: Mutex<BTreeMap<String, usize>>,
    over: AtomicBool,
}

/// The server; ends when dropped.
#[derive(Debug)]
pub struct Zone {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Zone {
    /// Serves these lines.
    ///
    /// # Panics
    /// When loopback has no port.
    pub fn new(lines: &[String]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
        let address = socket.local_addr().expect("a bound socket has an address");
        socket
            .set_read_timeout(Some(ms(50)))
            .expect("a timeout can be set");
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(&socket, &served));
        let zone = Self {
            address,
            shared,
            thread: Some(thread),
        };
        zone.set(lines);
        zone
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this from now on.
    pub fn set(&self, lines: &[String]) {
        let mut known = self
            .shared
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = lines.to_vec();
    }

    /// How often a name was asked for.
    pub fn asked(&self, name: &str) -> usize {
        let asked = self
            .shared
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        asked.get(name).copied().unwrap_or(0)
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        // Relaxed: the thread looks again within 50 ms, nothing hangs on the order.
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut bytes = [0; 1500];
    while !shared.over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else {
            continue;
        };
        if let Some(answer) = answer(&bytes[..length], shared) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Header, question and answers (RFC 1035 §4.1).
fn answer(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let (name, end) = read_name(query, 12)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let mut asked = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
    *asked.entry(name.clone()).or_default() += 1;
    drop(asked);
    let lines = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let rows: Vec<Vec<&str>> = rows.filter(|row| row[0] == name).collect();
    let data: Vec<Vec<u8>> = rows.iter().filter_map(|row| record(row, kind)).collect();
    let status: u8 = if rows.is_empty() { 3 } else { 0 };
    let mut out = query.get(..2)?.to_vec();
    out.extend([0x84, 0x80 | status, 0, 1]);
    out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    out.extend([0; 4]);
    out.extend(query.get(12..end + 4)?);
    for data in data {
        write_name(&mut out, &name);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(TTL.to_be_bytes());
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

fn record(row: &[&str], kind: u16) -> Option<Vec<u8>> {
    let number = |text: &str| text.parse::<u16>().map(u16::to_be_bytes).ok();
    let mut out = Vec::new();
    match (kind, row.get(1..)?) {
        (A, ["A", host]) => out.extend(host.parse::<Ipv4Addr>().ok()?.octets()),
        (AAAA, ["AAAA", host]) => out.extend(host.parse::<Ipv6Addr>().ok()?.octets()),
        (SRV, ["SRV", priority, weight, port, target]) => {
            for text in [priority, weight, port] {
                out.extend(number(text)?);
            }
            write_name(&mut out, target);
        }
        (NAPTR, ["NAPTR", order, preference, service, replacement]) => {
            out.extend(number(order)?);
            out.extend(number(preference)?);
            for text in ["s", service, ""] {
                out.push(u8::try_from(text.len()).ok()?);
                out.extend(text.bytes());
            }
            write_name(&mut out, replacement);
        }
        _ => return None,
    }
    Some(out)
}

fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join(".").to_lowercase(), at));
        }
        let label = bytes.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += length;
    }
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.bytes());
    }
    out.push(0);
}
