//! A media thread: sockets and a timer drive the legs that live on it.
//!
//! After start it never allocates, frees, locks, logs or waits (but for the
//! next packet or tick); a counting allocator proves it. What has to be freed
//! goes back through `returned`. It decides nothing: all behaviour is in
//! [`super::leg`].

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heapless::spsc::{Consumer, Producer};
use offhook_dsp::FRAME;
use offhook_sip::rtp::source::SILENT;

use super::board::{Figures, Notice};
use super::bridge::Bridges;
use super::codec::Opus;
use super::leg::{Birth, Leg};
use super::line::Line;
use super::outlet::{Outlet, Remote, Voice};
use super::playout::PlayoutFigures;
use super::ring::{Lent, Mark, Tapes};
use super::safe::Safe;
use super::sender::TICK;
use super::sieve::sieve;
use super::speech::LAST;
use super::system::{BATCH, Batch, Epoll, Timer, set_sieve};
use super::words::{Order, Report, ReportKind, Script, SlotId};
use crate::bell::Bell;
use crate::clock;
use crate::watchdog::Pulse;

/// Orders on their way to one thread. At 4,000 calls a second 20 ms of the decision thread
/// are some 400, and a thread that the machine held up has more to take.
pub const ORDERS: usize = 2_048;
/// Reports on their way from one thread.
pub const REPORTS: usize = 2_048;
/// Slots of one thread at most.
pub const SLOTS: usize = 4_096;
/// What waits to be freed: per slot the seat, the scripts it speaks, cut and waits for, and
/// what the orders under way carry. It never fills.
pub const RETURNED: usize = 4 * SLOTS + ORDERS;
/// Packets that one leg may bring in one tick: three times what 10 ms packets
/// after a gap of 40 ms need. What comes above it stays in the socket, and
/// falls from there.
const BUDGET: usize = 16;
/// How long a flood keeps strangers out, in ticks: as long as a peer must have been silent
/// before it may come from elsewhere. Then all are heard again, until it is too much.
const KEPT_OUT: u64 = (SILENT.as_millis() / TICK.as_millis()) as u64;
/// Ticks made up for after the thread overslept; the rest is skipped.
const CATCH_UP: u64 = 10;
const TIMER: u64 = u64::MAX;

/// What goes to a thread.
pub enum Errand {
    /// A call takes a slot.
    Open(Box<Seat>),
    /// Something for the call on a slot.
    Do(SlotId, Order),
    /// What the call needs for Opus.
    Lend(SlotId, Opus),
    /// These two are to hear each other; the first answers `Joined` or `NotJoined`.
    Join(SlotId, SlotId),
}

/// What comes back to be freed.
pub enum Returned {
    /// Said, or not to be said any more.
    Script(Arc<Script>),
    /// Lent to a call that has some, or is over.
    Opus(Opus),
    /// Of a call that is over: its slot is free again.
    Seat(Box<Seat>),
}

/// What a thread and its owner share.
pub struct Shared {
    /// Per slot, for RTCP.
    pub board: Box<[Notice]>,
    /// Per slot.
    pub safes: Box<[Safe]>,
    /// Per slot, for the recorder.
    pub tapes: Arc<Tapes>,
    /// Per slot, for whoever listens.
    pub heard: Lent,
    /// Per slot, from whoever speaks.
    pub voice: Lent,
    /// Beats once a tick.
    pub pulse: Pulse,
    /// The thread is to end.
    pub stop: AtomicBool,
}

/// The thread's ends of the rings.
pub struct Ends {
    /// In.
    pub orders: Consumer<'static, Errand>,
    /// Out.
    pub reports: Producer<'static, Report>,
    /// Out, to be freed.
    pub returned: Producer<'static, Returned>,
    /// Rung when reports are waiting.
    pub bell: Bell,
}

/// A call on a slot: 10 kB, and 42 kB of its line, that stay where they were made.
pub struct Seat {
    leg: Leg,
    /// RTCP that shares its port is sent from it as well.
    socket: Arc<UdpSocket>,
    /// Packets it may still bring in this tick.
    budget: usize,
    /// Not listened to until the next tick.
    deaf: bool,
    /// Ticks that strangers are still kept out, while there is a flood.
    kept_out: u64,
    /// What the system had dropped when last heard of.
    dropped: u32,
}

impl Seat {
    /// Of a call that knows no peer yet.
    pub fn new(birth: Birth, line: Box<Line>, socket: Arc<UdpSocket>) -> Box<Self> {
        Box::new(Self {
            leg: Leg::new(birth, line),
            socket,
            budget: BUDGET,
            deaf: false,
            kept_out: 0,
            dropped: 0,
        })
    }

    /// It has brought all that it may: if others take part in that, they are kept out.
    fn keep_out(&mut self) {
        if self.kept_out > 0 {
            return;
        }
        if let Some(sources) = self.leg.sources()
            && set_sieve(&*self.socket, Some(&sieve(sources))).is_ok()
        {
            self.kept_out = KEPT_OUT;
        }
    }

    /// Time has passed.
    fn let_in(&mut self, ticks: u64) {
        let was = self.kept_out;
        self.kept_out = was.saturating_sub(ticks);
        if was > 0 && self.kept_out == 0 && set_sieve(&*self.socket, None).is_err() {
            self.kept_out = 1;
        }
    }

    /// What is left of it when the call is over.
    pub fn into_parts(self: Box<Self>) -> (Arc<UdpSocket>, Box<Line>) {
        // Only these two: the rest of it is not moved, it is 8 kB.
        let (socket, line) = (self.socket, self.leg.line);
        (socket, line)
    }
}

/// All that a media thread owns. Made before the thread starts.
pub struct Loop {
    shared: Arc<Shared>,
    ends: Ends,
    epoll: Epoll,
    timer: Timer,
    batch: Batch,
    seats: Vec<Option<Box<Seat>>>,
    bridges: Bridges,
    /// Which seats are taken, so that a tick does not look at the others.
    taken: Vec<u16>,
    rang: bool,
}

impl Loop {
    /// Makes everything the thread will ever need.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(shared: Arc<Shared>, ends: Ends, slots: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let timer = Timer::new(TICK)?;
        epoll.add(&timer, TIMER)?;
        let mut seats = Vec::with_capacity(slots);
        seats.resize_with(slots, || None);
        Ok(Self {
            shared,
            ends,
            epoll,
            timer,
            batch: Batch::new(),
            seats,
            bridges: Bridges::new(slots),
            taken: Vec::with_capacity(slots),
            rang: false,
        })
    }

    /// Runs until told to stop.
    pub fn run(&mut self) {
        // Relaxed: nothing is passed on with it.
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.epoll.wait(None);
            let now = clock::now();
            let mut ticked = false;
            let mut index = 0;
            while let Some(token) = self.epoll.ready(index) {
                match token {
                    TIMER => ticked = true,
                    slot => self.receive(now, slot as usize),
                }
                index += 1;
            }
            if ticked {
                self.tick(now);
            }
            if core::mem::take(&mut self.rang) {
                self.ends.bell.ring();
            }
        }
    }

    fn receive(&mut self, now: Duration, slot: usize) {
        let partner = self.bridges.partner(slot);
        let Some((seat, mut other)) = seat_and_partner(&mut self.seats, slot, partner) else {
            return;
        };
        let count = self.batch.receive(&seat.socket, seat.budget.min(BATCH));
        let common = &mut Common {
            shared: &self.shared,
            ends: &mut self.ends,
            rang: &mut self.rang,
            bridges: &mut self.bridges,
        };
        let (leg, dropped) = (&mut seat.leg, &mut seat.dropped);
        self.batch.drain(count, |datagram| {
            if let Some(total) = datagram.dropped {
                leg.count_flood(total.wrapping_sub(*dropped));
                *dropped = total;
            }
            let mut out = common.outlet(slot, &seat.socket);
            let sound = leg.on_packet(now, datagram.from, datagram.bytes, &mut out);
            if let (Some(sound), Some((place, other))) = (sound, &mut other) {
                let mut out = common.outlet(*place, &other.socket);
                other.leg.forward(now, &sound, &mut out);
            }
        });
        seat.budget -= count;
        if seat.budget == 0 {
            seat.keep_out();
            seat.deaf = self
                .epoll
                .set_deaf(&*seat.socket, slot as u64, true)
                .is_ok();
        }
    }

    fn tick(&mut self, now: Duration) {
        self.shared.pulse.beat();
        self.take_orders(now);
        let ticks = self.timer.ticks().min(CATCH_UP);
        let mut index = 0;
        while let Some(&slot) = self.taken.get(index) {
            if self.tick_seat(now, slot.into(), ticks) {
                self.taken.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Gives whether the seat is free now.
    fn tick_seat(&mut self, now: Duration, slot: usize, ticks: u64) -> bool {
        let Some(seat) = self.seats[slot].as_deref_mut() else {
            return true;
        };
        let mut common = Common {
            shared: &self.shared,
            ends: &mut self.ends,
            rang: &mut self.rang,
            bridges: &mut self.bridges,
        };
        let mut out = common.outlet(slot, &seat.socket);
        for _ in 0..ticks {
            seat.leg.on_tick(now, &mut out);
        }
        seat.budget = BUDGET;
        seat.let_in(ticks);
        if seat.deaf {
            seat.deaf = self
                .epoll
                .set_deaf(&*seat.socket, slot as u64, false)
                .is_err();
        }
        if seat.leg.is_closed() {
            self.free_seat(slot);
            return true;
        }
        false
    }

    fn free_seat(&mut self, slot: usize) {
        let Some(seat) = self.seats[slot].take() else {
            return;
        };
        self.bridges.part(slot);
        // It cannot fail for a socket that was added; if it did, an event of it
        // would find the seat empty.
        let _ = self.epoll.remove(&*seat.socket);
        give_back(&mut self.ends.returned, Returned::Seat(seat));
    }

    fn take_orders(&mut self, now: Duration) {
        // As many as were there when it looked: a fast giver cannot hold the tick up.
        for _ in 0..self.ends.orders.len() {
            match self.ends.orders.dequeue() {
                Some(Errand::Open(seat)) => self.open(seat),
                Some(Errand::Do(slot, order)) => self.do_order(now, slot, order),
                Some(Errand::Lend(slot, opus)) => self.lend(slot, opus),
                Some(Errand::Join(one, other)) => self.join(now, one, other),
                None => return,
            }
        }
    }

    fn open(&mut self, seat: Box<Seat>) {
        let index = seat.leg.slot().index;
        let slot = usize::from(index);
        if self.epoll.add(&*seat.socket, slot as u64).is_err() {
            // Out of kernel memory: the leg lives and hears nothing, which is reported as such.
            debug_assert!(false, "a fresh UDP socket can be watched");
        }
        self.bridges.clear(slot);
        self.seats[slot] = Some(seat);
        self.taken.push(index);
    }

    fn do_order(&mut self, now: Duration, id: SlotId, order: Order) {
        match (self.leg_of(id), order) {
            (Some((leg, mut out)), order) => leg.on_order(now, order, &mut out),
            (None, Order::Play { script, .. }) => {
                give_back(&mut self.ends.returned, Returned::Script(script));
            }
            (None, _) => {}
        }
    }

    /// The leg of this name, if it is still there, and where it sends and reports.
    fn leg_of(&mut self, id: SlotId) -> Option<(&mut Leg, Out<'_>)> {
        let slot = usize::from(id.index);
        let seat = self.seats[slot].as_mut();
        let Seat { leg, socket, .. } = &mut **seat.filter(|seat| seat.leg.slot() == id)?;
        let out = Out {
            slot,
            socket,
            shared: &self.shared,
            ends: &mut self.ends,
            rang: &mut self.rang,
            bridges: &mut self.bridges,
        };
        Some((leg, out))
    }

    fn lend(&mut self, id: SlotId, opus: Opus) {
        let seat = self.seats[usize::from(id.index)].as_mut();
        let back = match seat.filter(|seat| seat.leg.slot() == id) {
            Some(seat) => seat.leg.lend(opus),
            None => Some(opus),
        };
        if let Some(opus) = back {
            give_back(&mut self.ends.returned, Returned::Opus(opus));
        }
    }

    /// Both hear each other if both are there and have a peer.
    fn join(&mut self, now: Duration, one: SlotId, other: SlotId) {
        let may = one != other && [one, other].iter().all(|id| self.may_join(*id));
        if may {
            self.bridges.join(one.index, other.index);
            self.tell(now, other, None);
        }
        let kind = if may {
            ReportKind::Joined
        } else {
            ReportKind::NotJoined
        };
        self.tell(now, one, Some(kind));
    }

    fn may_join(&self, id: SlotId) -> bool {
        let seat = self.seats[usize::from(id.index)].as_ref();
        seat.is_some_and(|seat| seat.leg.slot() == id && seat.leg.is_connected())
    }

    /// A leg learns that it is joined, or is not; one of them reports it.
    fn tell(&mut self, now: Duration, id: SlotId, report: Option<ReportKind>) {
        if let Some((leg, mut out)) = self.leg_of(id) {
            leg.on_joined(now, report, &mut out);
        }
    }
}

fn give_back(returned: &mut Producer<'static, Returned>, item: Returned) {
    if let Err(item) = returned.enqueue(item) {
        debug_assert!(false, "RETURNED holds all there can be");
        // Leaking is better than freeing here.
        core::mem::forget(item);
    }
}

/// A seat, and the one that it is joined with.
#[allow(clippy::type_complexity, reason = "two seats and a place")]
fn seat_and_partner(
    seats: &mut [Option<Box<Seat>>],
    slot: usize,
    partner: Option<usize>,
) -> Option<(&mut Seat, Option<(usize, &mut Seat)>)> {
    let Some(partner) = partner.filter(|partner| *partner != slot) else {
        return Some((seats.get_mut(slot)?.as_deref_mut()?, None));
    };
    let [seat, other] = seats.get_disjoint_mut([slot, partner]).ok()?;
    let other = other.as_deref_mut().map(|other| (partner, other));
    Some((seat.as_deref_mut()?, other))
}

/// What the outlets of all slots have in common.
struct Common<'a> {
    shared: &'a Shared,
    ends: &'a mut Ends,
    rang: &'a mut bool,
    bridges: &'a mut Bridges,
}

impl Common<'_> {
    fn outlet<'b>(&'b mut self, slot: usize, socket: &'b UdpSocket) -> Out<'b> {
        Out {
            slot,
            socket,
            shared: self.shared,
            ends: self.ends,
            rang: self.rang,
            bridges: self.bridges,
        }
    }
}

/// Where the leg on one slot sends and reports.
struct Out<'a> {
    slot: usize,
    socket: &'a UdpSocket,
    shared: &'a Shared,
    ends: &'a mut Ends,
    rang: &'a mut bool,
    bridges: &'a mut Bridges,
}

impl Outlet for Out<'_> {
    fn send(&mut self, target: SocketAddr, packet: &[u8]) -> bool {
        self.socket.send_to(packet, target).is_ok()
    }

    fn report(&mut self, report: &Report) -> bool {
        *self.rang = true;
        self.ends.reports.enqueue(report.clone()).is_ok()
    }

    fn free(&mut self, script: Arc<Script>) {
        give_back(&mut self.ends.returned, Returned::Script(script));
    }

    fn tape(&mut self, mark: Mark, line: &[i16; FRAME], ours: &[i16; FRAME]) -> bool {
        self.shared.tapes.push(self.slot, mark, line, ours)
    }

    fn end_tape(&mut self, recording: u32, frames: u32) {
        self.shared.tapes.finish(self.slot, recording, frames);
    }

    fn heard(&mut self, frame: u32, near: &[i16; FRAME]) -> bool {
        let heard = &self.shared.heard;
        heard
            .holder(self.slot)
            .is_none_or(|recording| heard.push(self.slot, Mark { recording, frame }, near))
    }

    fn voice(&mut self, speech: u32, frame: &mut [i16; FRAME]) -> Voice {
        let voice = &self.shared.voice;
        // Looked at before the frames: what is there then is all there is.
        let over = voice.is_over(self.slot, speech);
        match voice.pop(self.slot, speech, frame) {
            Some(LAST) => {
                voice.complete(self.slot, speech);
                Voice::Over
            }
            Some(_) => Voice::Sound,
            None if over => Voice::Over,
            None => Voice::Nothing,
        }
    }

    fn end_voice(&mut self, speech: u32) {
        self.shared.voice.end(self.slot, speech);
    }

    fn seal(&mut self, keys: &[u8]) {
        self.shared.safes[self.slot].seal(keys);
    }

    fn pass(&mut self, low: &[i16; FRAME], high: &[i16; FRAME]) {
        self.bridges.pass(self.slot, low, high);
    }

    fn pass_key(&mut self, key: u8) {
        self.bridges.pass_key(self.slot, key);
    }

    fn joined(&mut self, low: &mut [i16; FRAME], high: &mut [i16; FRAME]) -> bool {
        self.bridges.take(self.slot, low, high)
    }

    fn joined_key(&mut self) -> Option<u8> {
        self.bridges.take_key(self.slot)
    }

    fn playout(&self) -> Option<PlayoutFigures> {
        self.bridges.figures(self.slot)
    }

    fn control(&mut self, slot: SlotId, now: Duration, from: SocketAddr, bytes: &[u8]) {
        let letters = &self.shared.board[self.slot].letters;
        letters.put(slot.generation, now, from, bytes);
    }

    fn publish(&mut self, figures: &Figures) {
        self.shared.board[self.slot].write(figures);
    }

    fn remote(&self) -> Remote {
        let notice = &self.shared.board[self.slot];
        Remote {
            // Relaxed: single figures that stand alone.
            round_trip_us: notice.round_trip_us.load(Ordering::Relaxed),
            lost: notice.remote_lost.load(Ordering::Relaxed),
        }
    }
}

/// One leg's worth of packets fits one call.
const _: () = assert!(BUDGET <= BATCH);
