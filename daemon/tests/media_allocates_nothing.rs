//! The media threads neither allocate nor free after start: counted by the
//! allocator itself, on real threads and real sockets, under everything a
//! hostile and a friendly peer can send.

mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offhook::bell::Bell;
use offhook::clock;
use offhook::media::speech::{Heard, Pushed};
use offhook::media::{
    Codec, Digits, Direction, Media, Opened, Order, ReceiveTypes, Report, ReportKind, Settings,
    SlotId, Stream, Summary,
};
use offhook_dsp::g711::Law;
use offhook_sip::rtp::srtp::{GROWTH, Keys, MasterKey, Sealer, Suite};

/// Counts what threads named `media-…` take and give back.
struct Counting;

static COUNTED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_MEDIA: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    let is_media = IS_MEDIA.try_with(|known| {
        if !known.get() {
            // The kernel's name of the thread, as asking std could allocate;
            // asked again each time, as a thread is named after it begins.
            let mut name = [0u8; 16];
            // SAFETY: sixteen writable octets, as PR_GET_NAME asks.
            unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            known.set(name.starts_with(b"media-"));
        }
        known.get()
    });
    if is_media.unwrap_or(false) {
        COUNTED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Steps of each 120 in which the caller speaks: late enough for the ear to
/// have learnt that the prompt does not come back.
const SPEAKS: std::ops::Range<usize> = 80..105;

struct Peer {
    socket: UdpSocket,
    target: SocketAddr,
    sequence: u16,
    timestamp: u32,
}

impl Peer {
    fn send(&mut self, payload_type: u8, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, payload_type | u8::from(marker) << 7];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.timestamp.to_be_bytes());
        bytes.extend_from_slice(&77u32.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.raw(&bytes);
        self.sequence = self.sequence.wrapping_add(1);
        bytes
    }

    fn raw(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.target).unwrap();
    }

    /// 20 ms of sound, with everything that can go wrong on the way.
    fn speak(&mut self, samples: &[i16], step: usize) {
        let mut codes = [Law::Mu.silence(); 160];
        Law::Mu.encode_into(samples, &mut codes);
        let speaks = SPEAKS.contains(&(step % 120));
        if step % 17 == 3 && !speaks {
            // Lost.
            self.sequence = self.sequence.wrapping_add(1);
        } else {
            let bytes = self.send(0, step.is_multiple_of(50), &codes);
            if step.is_multiple_of(5) {
                self.raw(&bytes);
            }
        }
        self.timestamp = self.timestamp.wrapping_add(160);
        match step % 23 {
            _ if speaks => {}
            4 => self.raw(&[]),
            5 => self.raw(&[0xFF; 300]),
            6 => self.raw(&[0x9F; 40]),
            7 => drop(self.send(99, false, &[1; 20])),
            8 => drop(self.send(13, false, &[60])),
            9 => drop(self.send(101, true, &[5, 0x0A, 0, 160])),
            10 => drop(self.send(101, false, &[5, 0x8A, 1, 64])),
            11 => drop(self.send(101, false, &[5])),
            12 => drop(self.send(0, false, &[0; 1_900])),
            13 => self.timestamp = self.timestamp.wrapping_add(900_000),
            14 => (0..60).for_each(|_| self.raw(&[0x80; 172])),
            _ => {}
        }
    }
}

fn stream(peer: SocketAddr, direction: Direction) -> Stream {
    Stream {
        remote_rtp: peer,
        remote_rtcp: peer,
        rtcp_mux: true,
        codec: Codec::Pcmu,
        send_payload_type: 0,
        receive: ReceiveTypes::from_slice(&[(0, Codec::Pcmu)]).unwrap(),
        comfort_noise: Some(13),
        telephone_event: Some((101, 8_000)),
        events: [Some(101), None],
        ptime_ms: 20,
        longest_ms: 60,
        srtp: None,
        direction,
    }
}

fn open(media: &mut Media) -> (Opened, Peer) {
    let opened = media.open(None).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let peer = Peer {
        target: opened.rtp,
        socket,
        sequence: 65_000,
        timestamp: u32::MAX - 100_000,
    };
    let address = peer.socket.local_addr().unwrap();
    let both = Direction::SendRecv;
    media
        .order(opened.slot, Order::Connect(stream(address, both)))
        .unwrap();
    media
        .order(opened.slot, Order::Answered { they_called: false })
        .unwrap();
    (opened, peer)
}

#[derive(Default)]
struct Seen {
    turn: u32,
    barge_ins: u32,
    digits: u32,
    played: u32,
    stale: u32,
    closed: Option<Summary>,
}

impl Seen {
    fn take(&mut self, slot: SlotId, report: &Report) {
        if report.slot != slot {
            return;
        }
        match report.kind {
            ReportKind::BargeIn { turn, .. } => {
                self.turn = turn;
                self.barge_ins += 1;
            }
            ReportKind::Turn { turn } => self.turn = turn,
            ReportKind::Digit(_) => self.digits += 1,
            ReportKind::Played { .. } => self.played += 1,
            ReportKind::Stale { .. } => self.stale += 1,
            ReportKind::Closed(summary) => self.closed = Some(summary),
            _ => {}
        }
    }
}

#[test]
fn the_media_threads_neither_allocate_nor_free_after_start() {
    let bell = Bell::new().unwrap();
    let directory = std::env::temp_dir().join(format!("offhook-counted-{}", std::process::id()));
    let settings = Settings {
        threads: 1,
        max_calls: 5,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: 46_800..=46_899,
        realtime: true,
        sensitivity: offhook_dsp::Sensitivity::DEFAULT,
        recordings: Some(directory.clone()),
        reserve: 0,
        cname: "offhook@127.0.0.1".into(),
    };
    let mut media = Media::start(settings, bell.clone()).unwrap();
    counts_what_a_thread_of_that_name_does();
    // The thread has begun when it answers.
    let (probe, _) = open(&mut media);
    media.order(probe.slot, Order::Close).unwrap();
    wait_closed(&mut media, &bell, probe.slot);
    let before = COUNTED.load(Ordering::Relaxed);
    let mut sent = 0;
    let voice = world::speech(600);
    for call in 0..3 {
        sent += one_call(&mut media, &bell, &voice, call);
    }
    sent += joined_calls(&mut media, &bell, &voice);
    sent += encrypted_calls(&mut media, &bell);
    let counted = COUNTED.load(Ordering::Relaxed) - before;
    drop(media);
    std::fs::remove_dir_all(directory).unwrap();
    assert!(sent > 3_000, "{sent} datagrams");
    assert_eq!(counted, 0, "allocations and frees on media threads");
}

fn counts_what_a_thread_of_that_name_does() {
    let before = COUNTED.load(Ordering::Relaxed);
    let control = std::thread::Builder::new().name("media-control".into());
    let thread = control.spawn(|| drop(std::hint::black_box(vec![1, 2, 3])));
    thread.unwrap().join().unwrap();
    assert!(COUNTED.load(Ordering::Relaxed) >= before + 2);
}

/// A call of 5 s with a second leg in echo; gives the datagrams sent to us.
fn one_call(media: &mut Media, bell: &Bell, voice: &[i16], call: u32) -> usize {
    let (leg, mut peer) = open(media);
    let (echo, mut other) = open(media);
    media.record(leg.slot, &format!("call-{call}")).unwrap();
    media.order(echo.slot, Order::Echo).unwrap();
    let mut seen = Seen::default();
    let mut sent = 0;
    let mut hearing = media.listen(leg.slot).unwrap();
    let mut speech = None;
    let (mut heard, mut pushed) = (0, 0);
    let start = clock::now();
    for step in 0..240usize {
        while let Heard::Frame(_) = hearing.next(&mut [0; 80]) {
            heard += 1;
        }
        if step % 120 == 112 {
            drop(speech.take());
            speech = media.speak(leg.slot, seen.turn, 9_000, true).ok();
        }
        // Too fast, then too slow, and never finished.
        let engine = speech
            .as_mut()
            .filter(|_| (112..116).contains(&(step % 120)));
        if let Some(speech) = engine {
            pushed += (0..3)
                .filter(|_| speech.push(&[900; 80]) == Pushed::Taken)
                .count();
        }
        command(media, leg.slot, &peer, &seen, step, call);
        let silence = [0; 160];
        // He waits for the prompt, and speaks over it again and again.
        let said = match step % 120 {
            of if SPEAKS.contains(&of) => voice[(of - SPEAKS.start) * 160..]
                .first_chunk()
                .unwrap_or(&silence),
            _ => &silence,
        };
        peer.speak(said, step);
        other.speak(said, step);
        sent += 3 + if step % 23 == 14 { 120 } else { 0 };
        let due = start + Duration::from_millis(20) * (step as u32 + 1);
        std::thread::sleep(due.saturating_sub(clock::now()));
        while let Some(report) = media.next_report() {
            seen.take(leg.slot, &report);
        }
        while peer.socket.recv(&mut [0; 300]).is_ok() {}
        while other.socket.recv(&mut [0; 300]).is_ok() {}
    }
    media.order(echo.slot, Order::Close).unwrap();
    wait_closed(media, bell, echo.slot);
    media.order(leg.slot, Order::Close).unwrap();
    let summary = wait_closed(media, bell, leg.slot);
    assert!(heard > 100 && pushed > 10, "{heard} heard, {pushed} spoken");
    let told = [seen.barge_ins, seen.digits, seen.played, seen.stale];
    assert!(told.iter().all(|count| *count > 0), "{told:?} {summary:?}");
    assert!(
        summary.duplicate > 0 && summary.malformed > 0 && summary.jumps > 0,
        "{summary:?}"
    );
    assert!(
        summary.concealed_ms > 0 && summary.sent > 100,
        "{summary:?}"
    );
    sent
}

/// Two calls joined, of which one changes its codec half way: straight first, then
/// transcoded; gives the datagrams sent to us.
fn joined_calls(media: &mut Media, bell: &Bell, voice: &[i16]) -> usize {
    let (one, mut caller) = open(media);
    let (other, mut human) = open(media);
    media.join(one.slot, other.slot).unwrap();
    let start = clock::now();
    for step in 0..100usize {
        if step == 50 {
            let changed = Stream {
                codec: Codec::Pcma,
                send_payload_type: 8,
                ..stream(human.socket.local_addr().unwrap(), Direction::SendRecv)
            };
            media.order(other.slot, Order::Connect(changed)).unwrap();
        }
        caller.speak(&voice[step % 25 * 160..][..160], step);
        human.speak(&[0; 160], step + 7);
        let due = start + Duration::from_millis(20) * (step as u32 + 1);
        std::thread::sleep(due.saturating_sub(clock::now()));
        while caller.socket.recv(&mut [0; 300]).is_ok() {}
        while human.socket.recv(&mut [0; 300]).is_ok() {}
    }
    media.order(one.slot, Order::Close).unwrap();
    wait_closed(media, bell, one.slot);
    media.order(other.slot, Order::Close).unwrap();
    let summary = wait_closed(media, bell, other.slot);
    let playout = summary.playout.expect("it was joined");
    assert!(summary.straight > 20 && playout.frames > 50, "{summary:?}");
    200
}

/// A call under each suite, with forgeries between its packets and keys that change
/// half way; gives the datagrams sent to us.
fn encrypted_calls(media: &mut Media, bell: &Bell) -> usize {
    let master = |suite: Suite, seed: u8| MasterKey::new(suite, &[seed; 30][..16 + suite.salt()]);
    for suite in Suite::ALL {
        let (leg, mut peer) = open(media);
        let address = peer.socket.local_addr().unwrap();
        let mut sealer = None;
        for step in 0..40u8 {
            if step % 20 == 0 {
                let keys = Keys {
                    ours: master(suite, step + 1).unwrap(),
                    theirs: master(suite, step + 2).unwrap(),
                };
                sealer = Some(Sealer::new(&keys.theirs));
                let secret = Stream {
                    srtp: Some(keys),
                    ..stream(address, Direction::SendRecv)
                };
                media.order(leg.slot, Order::Connect(secret)).unwrap();
                std::thread::sleep(Duration::from_millis(30));
            }
            let mut bytes = vec![0x80, 0, 0, step, 0, 0, 0, 0, 0, 0, 0, 9];
            bytes[4..8].copy_from_slice(&(u32::from(step) * 160).to_be_bytes());
            bytes.resize(172 + GROWTH, 0xFF);
            let end = sealer.as_mut().unwrap().seal(&mut bytes, 172).unwrap();
            peer.raw(&bytes[..end]);
            peer.send(0, false, &[0xFF; 160]);
            std::thread::sleep(Duration::from_millis(20));
            while peer.socket.recv(&mut [0; 300]).is_ok() {}
        }
        media.order(leg.slot, Order::Close).unwrap();
        let summary = wait_closed(media, bell, leg.slot);
        assert!(summary.received >= 39, "{suite:?}: {summary:?}");
        assert!(summary.forged >= 39, "{suite:?}: {summary:?}");
        assert_eq!(summary.unsent, 0, "{suite:?}: {summary:?}");
    }
    240
}

/// Orders of every kind, in time and too late.
fn command(media: &mut Media, slot: SlotId, peer: &Peer, seen: &Seen, step: usize, call: u32) {
    let number = step as u32 + call * 1_000;
    let order = match step % 120 {
        2 => Order::Play {
            turn: seen.turn,
            play: number,
            script: world::script(3_000, 8_000),
            interruptible: true,
        },
        107 => Order::Play {
            turn: seen.turn.wrapping_sub(1),
            play: number,
            script: world::script(100, 8_000),
            interruptible: true,
        },
        109 => Order::Resume {
            turn: seen.turn,
            play: number,
        },
        111 => Order::Stop,
        113 => Order::SendDigits(Digits::from_slice(b"42").unwrap()),
        114 => Order::Collect {
            secret: (call == 1).then_some((16, None)),
        },
        116 => Order::Connect(stream(
            peer.socket.local_addr().unwrap(),
            Direction::RecvOnly,
        )),
        118 => Order::Connect(stream(
            peer.socket.local_addr().unwrap(),
            Direction::SendRecv,
        )),
        _ => return,
    };
    media.order(slot, order).unwrap();
}

fn wait_closed(media: &mut Media, bell: &Bell, slot: SlotId) -> Summary {
    let mut seen = Seen::default();
    for _ in 0..500 {
        while let Some(report) = media.next_report() {
            seen.take(slot, &report);
        }
        if let Some(summary) = seen.closed {
            return summary;
        }
        bell.sleep(Some(Duration::from_millis(20)));
    }
    panic!("the leg did not close");
}
