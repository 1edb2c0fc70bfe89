//! Media: RTP in and out on threads of its own, which after start never
//! allocate, free, lock, log or wait.
//!
//! [`Media`] is the one handle, owned by whoever decides: it binds sockets,
//! hands them to the threads, passes orders in and reports out, and frees what
//! they are done with. It decides nothing itself. A leg's behaviour is in
//! [`leg`]; the words are in [`words`].

pub mod board;
pub mod bridge;
pub mod codec;
mod desk;
pub mod framer;
pub mod keys;
pub mod leg;
pub mod line;
pub mod mouth;
pub mod outlet;
pub mod playout;
pub mod port;
pub mod quality;
mod reporter;
pub mod ring;
pub mod rtcp;
pub mod safe;
pub mod sender;
pub mod sieve;
pub mod speech;
pub mod system;
pub mod thread;
pub mod words;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ::rtp::header::Header;
use bytes::Bytes;
use heapless::spsc::{Consumer, Producer, Queue};
use offhook_dsp::Sensitivity;
use offhook_sip::rtp::Template;
use webrtc_util::marshal::Marshal;

use crate::bell::Bell;
use crate::recorder::{Job, Recorder};
use crate::watchdog::Pulse;
use codec::Opus;
use leg::Birth;
use line::Line;
use port::Ports;
use rtcp::Rtcp;
use thread::{Ends, Errand, Loop, ORDERS, REPORTS, RETURNED, Returned, SLOTS, Seat, Shared};

pub use playout::PlayoutFigures;
pub use ring::{Mark, Tapes};
pub use safe::Secret;
pub use speech::{Hearing, Speech};
pub use words::{
    Clip, Codec, Cut, Digit, Digits, Direction, Order, ReceiveTypes, Report, ReportKind, Script,
    SlotId, Stream, Summary,
};

/// How media is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Media threads, at least one.
    pub threads: usize,
    /// Calls with media at the same time.
    pub max_calls: usize,
    /// Where sockets are bound.
    pub address: IpAddr,
    /// Ports of RTP (even) and RTCP (odd).
    pub ports: RangeInclusive<u16>,
    /// Ask for SCHED_FIFO.
    pub realtime: bool,
    /// How readily ears call a voice a machine.
    pub sensitivity: Sensitivity,
    /// Where recordings go; without, nothing is recorded.
    pub recordings: Option<PathBuf>,
    /// Octets that recordings leave free on their disk.
    pub reserve: u64,
    /// Our name in RTCP (RFC 3550 §6.5.1).
    pub cname: String,
}

/// Why a leg could not be opened, or an order not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All slots are taken.
    Slots,
    /// All ports are taken.
    Ports,
    /// Orders wait already: the media thread has stood still for long.
    Orders,
    /// The system has no socket left, or no random bits.
    System(io::ErrorKind),
    /// The slot belongs to another call by now, or never existed.
    Gone,
    /// Somebody else listens, or speaks, on that leg.
    Taken,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots => f.write_str("all media slots are taken"),
            Self::Ports => f.write_str("all RTP ports are taken"),
            Self::Orders => f.write_str("the media thread does not take orders"),
            Self::System(kind) => write!(f, "no socket: {kind}"),
            Self::Gone => f.write_str("the media slot belongs to another call"),
            Self::Taken => f.write_str("somebody else does that on this call already"),
        }
    }
}

impl std::error::Error for Full {}

/// A leg that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its name in orders and reports.
    pub slot: SlotId,
    /// Where we take RTP; to be put into SDP.
    pub rtp: SocketAddr,
    /// Where we take RTCP.
    pub rtcp: SocketAddr,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    generation: u32,
    taken: bool,
    /// Has what it takes for Opus.
    opus: bool,
}

/// One media thread as its owner sees it.
struct Hand {
    shared: Arc<Shared>,
    orders: Producer<'static, Errand>,
    /// What the ring had no room for, oldest first: no order is lost.
    waiting: VecDeque<Errand>,
    reports: Consumer<'static, Report>,
    returned: Consumer<'static, Returned>,
    slots: Vec<Slot>,
    /// The one used last is used next: its memory is warm.
    free: Vec<u16>,
    thread: Option<JoinHandle<()>>,
}

/// New lines that are kept for other calls, 42 kB each: as many calls as may begin in a
/// tenth of a second at 2,500 a second.
const LINES_KEPT: usize = 256;

/// All media of the process.
pub struct Media {
    hands: Vec<Hand>,
    ports: Ports,
    rtcp: Rtcp,
    sensitivity: Sensitivity,
    recorder: Option<Recorder>,
    recordings: Option<PathBuf>,
    recording: u32,
    holders: u32,
    cname: Bytes,
    /// Where `next_report` looks first, so that no thread is neglected.
    turn: usize,
    /// Of calls that were over before anything was heard: as good as new, and dear.
    lines: Vec<Box<Line>>,
}

impl Media {
    /// Starts the threads and makes all that they will ever need. `bell` is rung
    /// when reports are waiting. Meant to be called once: the rings are kept
    /// until the process ends.
    ///
    /// # Errors
    /// `InvalidInput` for no thread, no slot or more than 4,096 slots a thread;
    /// else what the system says.
    pub fn start(settings: Settings, bell: Bell) -> io::Result<Self> {
        let slots = settings.max_calls.div_ceil(settings.threads.max(1));
        if settings.threads == 0 || slots == 0 || slots > SLOTS {
            let text = format!(
                "{} threads for {} calls; need at least 1 of each, and at most {SLOTS} calls a thread",
                settings.threads, settings.max_calls
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let hands = (0..settings.threads)
            .map(|number| Hand::start(number, slots, settings.realtime, bell.clone()))
            .collect::<io::Result<_>>()?;
        let recorder = match &settings.recordings {
            Some(directory) => Some(Recorder::start(directory, settings.reserve)?),
            None => None,
        };
        Ok(Self {
            hands,
            ports: Ports::new(settings.address, settings.ports),
            rtcp: Rtcp::start()?,
            sensitivity: settings.sensitivity,
            recorder,
            recordings: settings.recordings,
            recording: 0,
            holders: 0,
            cname: settings.cname.into(),
            turn: 0,
            lines: Vec::new(),
        })
    }

    /// Takes a slot and binds its sockets; on the same thread as `sibling`,
    /// another leg of the conversation, if there is one.
    ///
    /// # Errors
    /// There is no room, and of what.
    pub fn open(&mut self, sibling: Option<SlotId>) -> Result<Opened, Full> {
        self.sweep();
        let number = match sibling {
            Some(sibling) => usize::from(sibling.thread),
            None => self.emptiest(),
        };
        let hand = self.hands.get_mut(number).ok_or(Full::Gone)?;
        if !hand.waiting.is_empty() {
            return Err(Full::Orders);
        }
        let index = *hand.free.last().ok_or(Full::Slots)?;
        let slot = SlotId {
            thread: number as u16,
            index,
            generation: hand.slots[usize::from(index)].generation,
        };
        let birth =
            give_birth(slot, self.sensitivity).map_err(|error| Full::System(error.kind()))?;
        let pair = self.ports.open().map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Full::Ports,
            kind => Full::System(kind),
        })?;
        let (rtp, rtcp) = (pair.rtp, pair.rtcp);
        let socket = Arc::new(pair.socket);
        let sockets = (rtcp, Arc::downgrade(&socket));
        let line = match self.lines.pop() {
            Some(mut line) => {
                line.renew(birth.seed);
                line
            }
            None => Box::new(Line::new(birth.seed, birth.sensitivity)),
        };
        hand.take(index, birth, line, socket);
        let shared = Arc::clone(&hand.shared);
        self.rtcp
            .open(slot, sockets, birth.template.ssrc(), &self.cname, shared);
        Ok(Opened { slot, rtp, rtcp })
    }

    /// Passes an order on. It is carried out within 10 ms; where the thread has stood
    /// still for so long that its ring is full, in its order once there is room.
    ///
    /// # Errors
    /// The slot is not that call's any more, or the system has no memory for Opus.
    pub fn order(&mut self, slot: SlotId, order: Order) -> Result<(), Full> {
        self.sweep();
        let hand = self
            .hands
            .get_mut(usize::from(slot.thread))
            .ok_or(Full::Gone)?;
        if !hand.is_current(slot) {
            return Err(Full::Gone);
        }
        match &order {
            Order::Connect(stream) => {
                let shares = stream.rtcp_mux;
                self.rtcp.aim(slot, stream.remote_rtcp, stream.srtp, shares);
                if stream.has_opus() {
                    hand.lend_opus(slot)?;
                }
            }
            Order::Close => self.rtcp.close(slot),
            Order::Anew
            | Order::Answered { .. }
            | Order::Play { .. }
            | Order::Stream { .. }
            | Order::Stop
            | Order::Resume { .. }
            | Order::Collect { .. }
            | Order::Press(_)
            | Order::SendDigits(_)
            | Order::Echo
            | Order::Doze
            | Order::Understand(_)
            | Order::Tone { .. }
            | Order::Record(_) => {}
        }
        hand.give(Errand::Do(slot, order));
        Ok(())
    }

    /// Passes on what waits, as far as the threads have made room.
    pub fn push_orders(&mut self) {
        for hand in &mut self.hands {
            hand.push();
        }
    }

    /// Lets the peers of two legs hear each other from the next tick on, where nothing
    /// is said to them; `Joined` or `NotJoined` on `one` answers. Ends with either leg.
    ///
    /// # Errors
    /// As for [`Media::order`]; `Gone` also for legs that were not opened as siblings.
    pub fn join(&mut self, one: SlotId, other: SlotId) -> Result<(), Full> {
        let hand = self
            .hands
            .get_mut(usize::from(one.thread))
            .ok_or(Full::Gone)?;
        let siblings = one.thread == other.thread;
        if !siblings || !hand.is_current(one) || !hand.is_current(other) {
            return Err(Full::Gone);
        }
        hand.give(Errand::Join(one, other));
        Ok(())
    }

    /// Records a leg from its next sample to its end, as `NAME.wav`. Gives the
    /// path, or `None` if nothing is recorded here.
    ///
    /// # Errors
    /// As for [`Media::order`].
    pub fn record(&mut self, slot: SlotId, name: &str) -> Result<Option<PathBuf>, Full> {
        let (Some(directory), Some(recorder)) = (&self.recordings, &self.recorder) else {
            return Ok(None);
        };
        if recorder.is_stopped() {
            return Ok(None);
        }
        let hand = self.hands.get(usize::from(slot.thread)).ok_or(Full::Gone)?;
        if !hand.is_current(slot) {
            return Err(Full::Gone);
        }
        let path = directory.join(format!("{name}.wav"));
        self.recording = self.recording.wrapping_add(1).max(1);
        recorder.record(Job {
            tapes: Arc::clone(&hand.shared.tapes),
            slot: slot.index.into(),
            recording: self.recording,
            path: path.clone(),
        });
        self.order(slot, Order::Record(self.recording))?;
        Ok(Some(path))
    }

    /// Hears what a leg hears, from its next frame on: with whoever recognises
    /// speech, or listens in. One at a time.
    ///
    /// # Errors
    /// The slot is not that call's any more, or somebody listens already.
    pub fn listen(&mut self, slot: SlotId) -> Result<Hearing, Full> {
        let number = self.next_holder();
        let shared = Arc::clone(self.shared_of(slot)?);
        Hearing::new(shared, slot.index.into(), number).ok_or(Full::Taken)
    }

    /// Lets somebody speak on a leg, in this turn: what they push is said from the
    /// next tick on, until they end it, speech over it ends it (if it is
    /// `interruptible`), or something else is said. `Played` answers under `play`.
    ///
    /// # Errors
    /// As for [`Media::order`], or somebody speaks already.
    pub fn speak(
        &mut self,
        slot: SlotId,
        turn: u32,
        play: u32,
        interruptible: bool,
    ) -> Result<Speech, Full> {
        let number = self.next_holder();
        let shared = Arc::clone(self.shared_of(slot)?);
        let speech = Speech::new(shared, slot.index.into(), number).ok_or(Full::Taken)?;
        let order = Order::Stream {
            turn,
            play,
            speech: number,
            interruptible,
        };
        self.order(slot, order)?;
        Ok(speech)
    }

    /// Takes out what was sealed on a leg; it is nowhere else from then on.
    pub fn take_secret(&self, slot: SlotId) -> Option<Secret> {
        let shared = self.shared_of(slot).ok()?;
        shared.safes.get(usize::from(slot.index))?.take()
    }

    fn shared_of(&self, slot: SlotId) -> Result<&Arc<Shared>, Full> {
        let hand = self.hands.get(usize::from(slot.thread)).ok_or(Full::Gone)?;
        if !hand.is_current(slot) {
            return Err(Full::Gone);
        }
        Ok(&hand.shared)
    }

    /// Rises with each, from 1.
    fn next_holder(&mut self) -> u32 {
        self.holders = self.holders.saturating_add(1);
        self.holders
    }

    /// Why nothing is recorded at the moment, where something should be.
    pub fn not_recording(&self) -> Option<String> {
        self.recorder.as_ref().and_then(Recorder::trouble)
    }

    /// The next thing that happened. Drained until `None` when the bell rings.
    pub fn next_report(&mut self) -> Option<Report> {
        let count = self.hands.len();
        for step in 0..count {
            let number = (self.turn + step) % count;
            if let Some(report) = self.hands[number].reports.dequeue() {
                self.turn = number;
                if matches!(report.kind, ReportKind::Closed(_)) {
                    self.hands[number].set_free(report.slot);
                    self.sweep();
                }
                return Some(report);
            }
        }
        self.turn = (self.turn + 1) % count;
        None
    }

    /// Slots that are taken, and all.
    pub fn load(&self) -> (usize, usize) {
        let free: usize = self.hands.iter().map(|hand| hand.free.len()).sum();
        let all: usize = self.hands.iter().map(|hand| hand.slots.len()).sum();
        (all - free, all)
    }

    /// Beats once a tick, per thread.
    pub fn pulses(&self) -> Vec<Pulse> {
        self.hands
            .iter()
            .map(|hand| hand.shared.pulse.clone())
            .collect()
    }

    /// Frees what the threads have handed back.
    fn sweep(&mut self) {
        for hand in &mut self.hands {
            while let Some(returned) = hand.returned.dequeue() {
                match returned {
                    Returned::Script(script) => drop(script),
                    Returned::Opus(opus) => drop(opus),
                    Returned::Seat(seat) => {
                        let (socket, line) = seat.into_parts();
                        close(&mut self.ports, socket);
                        if line.is_new() && self.lines.len() < LINES_KEPT {
                            self.lines.push(line);
                        }
                    }
                }
            }
        }
    }

    fn emptiest(&self) -> usize {
        let most = (0..self.hands.len()).max_by_key(|number| self.hands[*number].free.len());
        most.unwrap_or_default()
    }
}

impl Hand {
    fn start(number: usize, slots: usize, realtime: bool, bell: Bell) -> io::Result<Self> {
        let (mut hand, ends) = Self::new(slots, bell);
        let mut work = Loop::new(Arc::clone(&hand.shared), ends, slots)?;
        let thread = std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || {
                if realtime && let Err(error) = system::become_real_time() {
                    warn_once(&error);
                }
                work.run();
            })?;
        hand.thread = Some(thread);
        Ok(hand)
    }

    /// Without its thread, and what that needs.
    fn new(slots: usize, bell: Bell) -> (Self, Ends) {
        let (orders, orders_end) = Box::leak(Box::new(Queue::<Errand, ORDERS>::new())).split();
        let (reports, reports_end) = Box::leak(Box::new(Queue::<Report, REPORTS>::new())).split();
        let (returned, returned_end) =
            Box::leak(Box::new(Queue::<Returned, RETURNED>::new())).split();
        let shared = Shared {
            board: (0..slots).map(|_| board::Notice::default()).collect(),
            safes: (0..slots).map(|_| safe::Safe::default()).collect(),
            tapes: Arc::new(Tapes::new(slots)),
            heard: ring::Lent::new(slots),
            voice: ring::Lent::new(slots),
            pulse: Pulse::default(),
            stop: AtomicBool::new(false),
        };
        let ends = Ends {
            orders: orders_end,
            reports,
            returned,
            bell,
        };
        let hand = Self {
            shared: Arc::new(shared),
            orders,
            waiting: VecDeque::new(),
            reports: reports_end,
            returned: returned_end,
            slots: vec![Slot::default(); slots],
            free: (0..slots as u16).rev().collect(),
            thread: None,
        };
        (hand, ends)
    }

    fn is_current(&self, slot: SlotId) -> bool {
        let known = self.slots.get(usize::from(slot.index));
        known.is_some_and(|known| known.taken && known.generation == slot.generation)
    }

    fn take(&mut self, index: u16, birth: Birth, line: Box<Line>, socket: Arc<UdpSocket>) {
        let slot = usize::from(index);
        self.shared.board[slot].clear_remote();
        self.give(Errand::Open(Seat::new(birth, line, socket)));
        self.slots[slot].taken = true;
        self.free.pop();
    }

    /// What Opus needs is made here, once a call.
    fn lend_opus(&mut self, id: SlotId) -> Result<(), Full> {
        let slot = usize::from(id.index);
        if self.slots[slot].opus {
            return Ok(());
        }
        let opus = Opus::new().map_err(|error| Full::System(error.kind()))?;
        self.give(Errand::Lend(id, opus));
        self.slots[slot].opus = true;
        Ok(())
    }

    /// After all that was given before it.
    fn give(&mut self, errand: Errand) {
        self.waiting.push_back(errand);
        self.push();
    }

    fn push(&mut self) {
        while self.orders.ready()
            && let Some(errand) = self.waiting.pop_front()
        {
            // There is room: nobody else puts anything in.
            let _ = self.orders.enqueue(errand);
        }
    }

    fn set_free(&mut self, id: SlotId) {
        let slot = &mut self.slots[usize::from(id.index)];
        for lent in [&self.shared.heard, &self.shared.voice] {
            if let Some(holder) = lent.holder(id.index.into()) {
                lent.end(id.index.into(), holder);
            }
        }
        slot.taken = false;
        slot.opus = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index);
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        for hand in &mut self.hands {
            // Relaxed: nothing is passed on with it; the thread looks each tick.
            hand.shared.stop.store(true, Ordering::Relaxed);
        }
        for hand in &mut self.hands {
            let ended = hand.thread.take().map(JoinHandle::join);
            if matches!(ended, Some(Err(_))) {
                tracing::error!(message = "media_thread_panicked");
            }
        }
    }
}

/// The RTP socket of a call that is over: its port rests from now on.
fn close(ports: &mut Ports, socket: Arc<UdpSocket>) {
    let port = socket.local_addr().map(|address| address.port());
    drop(socket);
    if let Ok(port) = port {
        ports.give_back(port);
    }
}

/// The first sequence number of a stream: what is encrypted must not roll over while its
/// first packets may be lost, or the peer counts another index (RFC 3711 §3.3.1); nor may
/// one that is sent on late go before it.
const fn low(sequence: u16) -> u16 {
    sequence & 0x7FFF | 0x0100
}

/// SSRC, first sequence number and timestamp at random (RFC 3550 §5.1, §8).
fn give_birth(slot: SlotId, sensitivity: Sensitivity) -> io::Result<Birth> {
    let [bits, more] = system::random()?;
    let ssrc = bits as u32;
    Ok(Birth {
        slot,
        template: template(ssrc)?,
        sequence: low(more as u16),
        timestamp: (more >> 16) as u32,
        seed: (bits >> 32) as u32,
        sensitivity,
    })
}

/// The header that all packets of a leg share; sequence, timestamp, marker and
/// type are set in each.
fn template(ssrc: u32) -> io::Result<Template> {
    let header = Header {
        version: 2,
        ssrc,
        ..Header::default()
    };
    let bytes = header.marshal().map_err(io::Error::other)?;
    Template::from_header(&bytes).map_err(io::Error::other)
}

fn warn_once(error: &io::Error) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    // Relaxed: only this flag counts.
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(message = "media_not_real_time", %error, "SCHED_FIFO is not permitted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order that a call is over.
    fn closed(errand: &Errand) -> Option<u16> {
        match errand {
            Errand::Do(slot, Order::Close) => Some(slot.index),
            _ => None,
        }
    }

    #[test]
    fn orders_wait_in_their_order_while_a_thread_stands_still() {
        let (mut hand, mut ends) = Hand::new(1, Bell::new().unwrap());
        let all = ORDERS as u16 + 100;
        for index in 0..all {
            let slot = SlotId {
                thread: 0,
                index,
                generation: 0,
            };
            hand.give(Errand::Do(slot, Order::Close));
        }
        assert!(hand.waiting.len() > 100);
        let mut carried_out = Vec::new();
        while let Some(errand) = ends.orders.dequeue() {
            carried_out.extend(closed(&errand));
            hand.push();
        }
        assert_eq!(carried_out, (0..all).collect::<Vec<_>>());
        assert!(hand.waiting.is_empty());
    }
}
