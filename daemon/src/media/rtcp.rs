//! RTCP: one ordinary thread that owns all RTCP sockets.
//!
//! A socket is opened when the first report of its leg is due, one to three
//! seconds in: a call that is over before has none. Where RTCP shares the port of RTP
//! (RFC 5761) the leg's own socket sends, and what comes lies in the slot's letter
//! box. The thread reads what the media threads put on the board, tells the peers
//! (sender and receiver reports with a CNAME, every 5 s at random; RFC 3550 §6.2), and
//! puts round trip and remote loss back on the board. Packets are built and
//! parsed by the `rtcp` crate, after a check of our own that their lengths are
//! true. Media threads never wait for it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use offhook_sip::rtp::srtp::{GROWTH, Keys, Opener, Sealer};
use offhook_sip::rtp::stats::fraction_lost;
use rtcp::goodbye::Goodbye;
use rtcp::packet::Packet;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};

use super::board::{Figures, Notice};
use super::system::{Epoll, random};
use super::thread::Shared;
use super::words::SlotId;
use crate::clock;

/// Mean time between reports (RFC 3550 §6.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// e - 3/2: what randomising adds to the mean (RFC 3550 §6.3.1).
const COMPENSATION: f64 = 1.218_28;
/// The longest RTCP datagram that is read.
const DATAGRAM: usize = 1_500;
/// Datagrams read from one socket in a row.
const BURST: usize = 8;
/// What the thread is told may wait this long: nothing is due sooner.
const LOOK: Duration = Duration::from_millis(250);
/// From 1900 to 1970 (RFC 868; RFC 3550 §4 counts from 1900).
const NTP_EPOCH: u64 = 2_208_988_800;

/// What the thread is told.
enum Word {
    Open(Box<Session>),
    Aim(SlotId, SocketAddr, Option<Keys>, bool),
    Close(SlotId),
}

/// The thread; dropping it says BYE to all and waits for that.
pub struct Rtcp {
    words: Option<Sender<Word>>,
    thread: Option<JoinHandle<()>>,
}

impl Rtcp {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub fn start() -> io::Result<Self> {
        let (words, inbox) = channel();
        let mut desk = Desk {
            inbox,
            epoll: Epoll::new()?,
            sessions: HashMap::new(),
            due: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new()
            .name("rtcp".into())
            .spawn(move || desk.run())?;
        Ok(Self {
            words: Some(words),
            thread: Some(thread),
        })
    }

    /// A leg begins; `local` is where it takes RTCP, and the socket that of its RTP;
    /// `cname` names us in its reports.
    pub(super) fn open(
        &self,
        slot: SlotId,
        (local, rtp): (SocketAddr, Weak<UdpSocket>),
        ssrc: u32,
        cname: &Bytes,
        shared: Arc<Shared>,
    ) {
        let session = Session {
            slot,
            local,
            socket: None,
            rtp,
            shared_port: None,
            ssrc,
            cname: cname.clone(),
            shared,
            target: None,
            srtcp: None,
            next: clock::now() + interval() / 2,
            has_reported: false,
            counted: Counted::default(),
            heard: None,
        };
        self.say(Word::Open(Box::new(session)));
    }

    /// The peer wants its RTCP there; it shares the port of RTP, or not.
    pub(super) fn aim(&self, slot: SlotId, target: SocketAddr, keys: Option<Keys>, shares: bool) {
        self.say(Word::Aim(slot, target, keys, shares));
    }

    /// A leg ends.
    pub(super) fn close(&self, slot: SlotId) {
        self.say(Word::Close(slot));
    }

    fn say(&self, word: Word) {
        if let Some(words) = &self.words {
            // Fails only when the thread has panicked, which `drop` tells.
            let _ = words.send(word);
        }
    }
}

impl Drop for Rtcp {
    fn drop(&mut self) {
        self.words = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) {
            tracing::error!(message = "rtcp_panicked");
        }
    }
}

struct Desk {
    inbox: Receiver<Word>,
    epoll: Epoll,
    sessions: HashMap<SlotId, Session>,
    /// When each session reports next.
    due: BTreeSet<(Duration, SlotId)>,
}

impl Desk {
    fn run(&mut self) {
        loop {
            let next = self.due.first().map(|(at, _)| *at);
            let wait = next.map_or(LOOK, |at| at.saturating_sub(clock::now()).min(LOOK));
            self.epoll.wait(Some(wait));
            if !self.take_words() {
                self.sessions.values_mut().for_each(Session::say_goodbye);
                return;
            }
            let mut index = 0;
            while let Some(token) = self.epoll.ready(index) {
                if let Some(session) = self.sessions.get_mut(&slot_of(token)) {
                    session.receive(clock::now());
                }
                index += 1;
            }
            self.sessions.values_mut().for_each(Session::take_letter);
            self.report_due(clock::now());
        }
    }

    fn report_due(&mut self, now: Duration) {
        while let Some((at, slot)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, slot));
            if let Some(session) = self.sessions.get_mut(&slot) {
                session.watch(&self.epoll);
                session.report(now);
                self.due.insert((session.next, slot));
            }
        }
    }

    /// `false` when nobody is left to speak.
    fn take_words(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Word::Open(session)) => {
                    self.due.insert((session.next, session.slot));
                    self.sessions.insert(session.slot, *session);
                }
                Ok(Word::Aim(slot, target, keys, shares)) => {
                    if let Some(session) = self.sessions.get_mut(&slot) {
                        session.aim(target, shares);
                        session.encrypt(keys);
                    }
                }
                Ok(Word::Close(slot)) => {
                    if let Some(mut session) = self.sessions.remove(&slot) {
                        self.due.remove(&(session.next, slot));
                        session.say_goodbye();
                        // Dropping the socket ends the watch as well.
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}

/// A slot as an epoll token, and back.
fn token_of(slot: SlotId) -> u64 {
    u64::from(slot.thread) << 48 | u64::from(slot.index) << 32 | u64::from(slot.generation)
}

fn slot_of(token: u64) -> SlotId {
    SlotId {
        thread: (token >> 48) as u16,
        index: (token >> 32) as u16,
        generation: token as u32,
    }
}

/// What the last report said, for the fraction lost since.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    expected: u32,
    received: u32,
    sent: u32,
}

/// Both directions of encrypted reports.
struct Srtcp {
    keys: Keys,
    sealer: Sealer,
    opener: Opener,
}

impl Srtcp {
    fn new(keys: Keys) -> Self {
        Self {
            keys,
            sealer: Sealer::new(&keys.ours),
            opener: Opener::new(&keys.theirs),
        }
    }

    /// Each side by itself: the index of a key that stays goes on, since one that came
    /// again would give the same keystream again (RFC 3711 §9.1, RFC 7714 §8.1).
    fn change(&mut self, keys: Keys) {
        if keys.ours != self.keys.ours {
            self.sealer = Sealer::new(&keys.ours);
        }
        if keys.theirs != self.keys.theirs {
            self.opener = Opener::new(&keys.theirs);
        }
        self.keys = keys;
    }
}

struct Session {
    slot: SlotId,
    local: SocketAddr,
    /// Open since the first report, unless the port of RTP is shared.
    socket: Option<UdpSocket>,
    /// The leg's, while it lasts.
    rtp: Weak<UdpSocket>,
    /// The same, where it is ours too. Its port is taken until the goodbye.
    shared_port: Option<Arc<UdpSocket>>,
    ssrc: u32,
    cname: Bytes,
    shared: Arc<Shared>,
    target: Option<SocketAddr>,
    /// SRTCP, as it was agreed on. Boxed: most calls have none, and it is most of the rest.
    srtcp: Option<Box<Srtcp>>,
    next: Duration,
    has_reported: bool,
    counted: Counted,
    /// Middle of the NTP time in the peer's last sender report, and its arrival.
    heard: Option<(u32, Duration)>,
}

impl Session {
    fn notice(&self) -> &Notice {
        &self.shared.board[usize::from(self.slot.index)]
    }

    /// The leg's own figures; not those of an earlier call on its slot.
    fn figures(&self) -> Figures {
        let figures = self.notice().read();
        if figures.generation == self.slot.generation {
            return figures;
        }
        Figures::default()
    }

    fn aim(&mut self, target: SocketAddr, shares: bool) {
        let somewhere = !target.ip().is_unspecified() && target.port() != 0;
        self.target = somewhere.then_some(target);
        self.shared_port = self.rtp.upgrade().filter(|_| shares);
        if self.shared_port.is_some() {
            // Dropping the socket ends the watch as well.
            self.socket = None;
        }
    }

    /// What is sent from.
    fn outlet(&self) -> Option<&UdpSocket> {
        self.shared_port.as_deref().or(self.socket.as_ref())
    }

    /// Keys that were agreed on before stay in use, with what they have counted.
    fn encrypt(&mut self, keys: Option<Keys>) {
        match (&mut self.srtcp, keys) {
            (Some(known), Some(keys)) => known.change(keys),
            (known, keys) => *known = keys.map(|keys| Box::new(Srtcp::new(keys))),
        }
    }

    /// Opens the socket, if it is not open yet. One that cannot be had (another
    /// program sits on the port) is tried again at the next report.
    fn watch(&mut self, epoll: &Epoll) {
        if self.outlet().is_some() {
            return;
        }
        let opened = UdpSocket::bind(self.local).and_then(|socket| {
            socket.set_nonblocking(true)?;
            epoll.add(&socket, token_of(self.slot))?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => tracing::warn!(message = "rtcp_closed", local = %self.local, %error),
        }
    }

    fn report(&mut self, now: Duration) {
        self.next = now + interval();
        self.has_reported = true;
        let figures = self.figures();
        let packets = [self.sender_or_receiver(&figures, now), self.description()];
        self.counted = Counted {
            expected: figures.expected,
            received: figures.received,
            sent: figures.sent,
        };
        self.send(&packets);
    }

    /// To a peer that has had a report of ours (RFC 3550 §6.3.7).
    fn say_goodbye(&mut self) {
        if !self.has_reported {
            return;
        }
        let figures = self.figures();
        let goodbye = Box::new(Goodbye {
            sources: vec![self.ssrc],
            reason: Bytes::new(),
        });
        let packets = [
            self.sender_or_receiver(&figures, clock::now()),
            self.description(),
            goodbye,
        ];
        self.send(&packets);
    }

    /// A sender report if we have sent since the last one (RFC 3550 §6.4).
    fn sender_or_receiver(
        &self,
        figures: &Figures,
        now: Duration,
    ) -> Box<dyn Packet + Send + Sync> {
        let reports: Vec<_> = self.reception(figures, now).into_iter().collect();
        if figures.sent == self.counted.sent {
            return Box::new(ReceiverReport {
                ssrc: self.ssrc,
                reports,
                profile_extensions: Bytes::new(),
            });
        }
        let since = offhook_sip::rtp::samples(now.saturating_sub(figures.at)) as u32;
        Box::new(SenderReport {
            ssrc: self.ssrc,
            ntp_time: ntp(clock::wall()),
            rtp_time: figures
                .timestamp
                .wrapping_add(since.wrapping_mul(figures.ratio)),
            packet_count: figures.sent,
            octet_count: figures.sent_octets,
            reports,
            profile_extensions: Bytes::new(),
        })
    }

    fn reception(&self, figures: &Figures, now: Duration) -> Option<ReceptionReport> {
        let expected = figures.expected.wrapping_sub(self.counted.expected);
        let received = figures.received.wrapping_sub(self.counted.received);
        let delay = self
            .heard
            .map_or(0, |(_, at)| short(now.saturating_sub(at)));
        Some(ReceptionReport {
            ssrc: figures.remote_ssrc?,
            fraction_lost: fraction_lost(expected, received),
            // 24 bits; duplicates do not make it negative here, as the crate's field has no sign.
            total_lost: u32::try_from(figures.lost).unwrap_or(0).min(0x7F_FFFF),
            last_sequence_number: figures.highest,
            jitter: figures.jitter,
            last_sender_report: self.heard.map_or(0, |(middle, _)| middle),
            delay,
        })
    }

    fn description(&self) -> Box<dyn Packet + Send + Sync> {
        Box::new(SourceDescription {
            chunks: vec![SourceDescriptionChunk {
                source: self.ssrc,
                items: vec![SourceDescriptionItem {
                    sdes_type: SdesType::SdesCname,
                    text: self.cname.clone(),
                }],
            }],
        })
    }

    fn send(&mut self, packets: &[Box<dyn Packet + Send + Sync>]) {
        let Some(target) = self.target else { return };
        match rtcp::packet::marshal(packets) {
            // Whoever does not listen for RTCP refuses it; that is no fault.
            Ok(bytes) => {
                let mut bytes = bytes.to_vec();
                if let Some(srtcp) = &mut self.srtcp {
                    let length = bytes.len();
                    bytes.resize(length + GROWTH + 4, 0);
                    let sealed = srtcp.sealer.seal_control(&mut bytes, length);
                    bytes.truncate(sealed.unwrap_or(0));
                }
                if let Some(socket) = self.outlet() {
                    let _ = socket.send_to(&bytes, target);
                }
            }
            Err(error) => tracing::debug!(message = "rtcp_unbuilt", %error),
        }
    }

    fn receive(&mut self, now: Duration) {
        let mut bytes = [0; DATAGRAM];
        for _ in 0..BURST {
            let received = self
                .socket
                .as_ref()
                .map(|socket| socket.recv_from(&mut bytes));
            match received {
                Some(Ok((length, from))) => self.open(now, from, &mut bytes[..length]),
                Some(Err(_)) | None => return,
            }
        }
    }

    /// RTCP that the media thread has found beside RTP.
    fn take_letter(&mut self) {
        let letter = self.notice().letters.take();
        if let Some(mut letter) = letter.filter(|it| it.generation == self.slot.generation) {
            let bytes = &mut letter.bytes[..letter.length];
            self.open(letter.at, letter.from, bytes);
        }
    }

    /// Decrypts where that was agreed on.
    fn open(&mut self, at: Duration, from: SocketAddr, bytes: &mut [u8]) {
        let opened = match &mut self.srtcp {
            Some(srtcp) => srtcp.opener.open_control(bytes).ok(),
            None => Some(bytes.len()),
        };
        if let Some(length) = opened {
            self.take(at, from, &bytes[..length]);
        }
    }

    /// Believes only whoever knows the SSRC of the stream that is heard.
    fn take(&mut self, at: Duration, from: SocketAddr, bytes: &[u8]) {
        let Some(remote) = self.figures().remote_ssrc else {
            return;
        };
        let Some(told) = parse(bytes).filter(|told| told.ssrc == remote) else {
            return;
        };
        self.target = Some(from);
        if let Some(ntp) = told.ntp {
            self.heard = Some(((ntp >> 16) as u32, at));
        }
        if let Some(block) = told.reports.iter().find(|block| block.ssrc == self.ssrc) {
            self.learn(at, block);
        }
    }

    /// RFC 3550 §6.4.1: round trip = now - LSR - DLSR, in 1/65536 s.
    fn learn(&self, at: Duration, block: &ReceptionReport) {
        let notice = self.notice();
        // 24 bits with a sign.
        let lost = (block.total_lost << 8).cast_signed() >> 8;
        // Relaxed: single figures that stand alone.
        notice.remote_lost.store(lost, Ordering::Relaxed);
        if block.last_sender_report == 0 {
            return;
        }
        let since = clock::now().saturating_sub(at);
        let middle = (ntp(clock::wall().saturating_sub(since)) >> 16) as u32;
        let trip = middle
            .wrapping_sub(block.last_sender_report)
            .wrapping_sub(block.delay);
        // Beyond a minute somebody's clock has stepped.
        if trip < 60 << 16 {
            let micros = (u64::from(trip) * 1_000_000) >> 16;
            notice
                .round_trip_us
                .store((micros as u32).max(1), Ordering::Relaxed);
        }
    }
}

/// What a compound packet told about the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Who told it.
    pub ssrc: u32,
    /// When, in NTP's way, if it sends (RFC 3550 §6.4.1).
    pub ntp: Option<u64>,
    /// What it hears.
    pub reports: Vec<ReceptionReport>,
}

/// What the first packet of a compound says, which has to be a report (RFC 3550 §6.1);
/// `None` where any length in the compound is untrue.
pub fn parse(bytes: &[u8]) -> Option<Told> {
    let first = report_of(bytes)?;
    let packets = rtcp::packet::unmarshal(&mut Bytes::copy_from_slice(first)).ok()?;
    let packet = packets.first()?.as_any();
    if let Some(report) = packet.downcast_ref::<SenderReport>() {
        return Some(Told {
            ssrc: report.ssrc,
            ntp: Some(report.ntp_time),
            reports: report.reports.clone(),
        });
    }
    let report = packet.downcast_ref::<ReceiverReport>()?;
    Some(Told {
        ssrc: report.ssrc,
        ntp: None,
        reports: report.reports.clone(),
    })
}

/// The report at the head of a compound whose lengths are all true.
fn report_of(bytes: &[u8]) -> Option<&[u8]> {
    let first = split(bytes)?.0;
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = split(rest)?.1;
    }
    let blocks = usize::from(first[0] & 0x1F) * 24;
    let (fixed, padded) = match first[1] {
        200 => (28, first[0] & 0x20 != 0),
        201 => (8, first[0] & 0x20 != 0),
        _ => return None,
    };
    (!padded && first.len() >= fixed + blocks).then_some(first)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = bytes.first_chunk::<4>()?;
    let length = (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1) * 4;
    (header[0] >> 6 == 2).then_some(())?;
    bytes.split_at_checked(length)
}

/// Wall time as NTP: seconds since 1900 above, fractions below.
fn ntp(wall: Duration) -> u64 {
    let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
    (wall.as_secs() + NTP_EPOCH) << 32 | fraction
}

/// In 1/65536 s.
fn short(time: Duration) -> u32 {
    u32::try_from(time.as_micros() * 65_536 / 1_000_000).unwrap_or(u32::MAX)
}

/// RFC 3550 §6.3.1: between half and one and a half, compensated.
fn interval() -> Duration {
    // Without random bits all report in step, which harms nobody here.
    let [bits] = random().unwrap_or([u64::MAX / 2]);
    let share = 0.5 + (bits >> 11) as f64 / (1u64 << 53) as f64;
    INTERVAL.mul_f64(share / COMPENSATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_sip::rtp::srtp::{MasterKey, Suite};
    use proptest::prelude::*;

    fn block(ssrc: u32) -> ReceptionReport {
        ReceptionReport {
            ssrc,
            fraction_lost: 3,
            total_lost: 7,
            last_sequence_number: 9,
            jitter: 11,
            last_sender_report: 13,
            delay: 15,
        }
    }

    fn compound() -> Bytes {
        let report = SenderReport {
            ssrc: 1,
            ntp_time: 2,
            reports: vec![block(5)],
            ..SenderReport::default()
        };
        let goodbye = Goodbye {
            sources: vec![1],
            reason: Bytes::from_static(b"bye"),
        };
        rtcp::packet::marshal(&[Box::new(report), Box::new(goodbye)]).unwrap()
    }

    #[test]
    fn a_compound_tells_what_its_report_says() {
        let told = parse(&compound()).unwrap();
        assert_eq!((told.ssrc, told.ntp), (1, Some(2)));
        assert_eq!(told.reports, [block(5)]);
    }

    #[test]
    fn a_compound_that_does_not_begin_with_a_report_is_nothing() {
        let goodbye = Goodbye {
            sources: vec![1],
            reason: Bytes::new(),
        };
        let bytes = rtcp::packet::marshal(&[Box::new(goodbye)]).unwrap();
        assert_eq!(parse(&bytes), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&compound()[..30]), None);
    }

    #[test]
    fn reports_come_between_two_and_six_and_a_half_seconds_apart() {
        for _ in 0..1_000 {
            let interval = interval();
            assert!(interval >= INTERVAL.mul_f64(0.41) && interval <= INTERVAL.mul_f64(1.232));
        }
    }

    fn key(octet: u8) -> MasterKey {
        MasterKey::new(Suite::AeadAes128Gcm, &[octet; 28]).unwrap()
    }

    /// What a report becomes; the index is its last word.
    fn sealed(srtcp: &mut Srtcp) -> (Vec<u8>, u32) {
        let mut bytes = [0x80, 201, 0, 1, 1, 2, 3, 4].to_vec();
        bytes.resize(8 + GROWTH + 4, 0);
        let end = srtcp.sealer.seal_control(&mut bytes, 8).unwrap();
        bytes.truncate(end);
        let word = u32::from_be_bytes(*bytes.last_chunk().unwrap());
        (bytes, word & 0x7FFF_FFFF)
    }

    #[test]
    fn a_key_of_the_peers_that_changes_does_not_begin_the_index_of_ours_again() {
        let (ours, theirs) = (key(1), key(2));
        let mut srtcp = Srtcp::new(Keys { ours, theirs });
        assert_eq!((sealed(&mut srtcp).1, sealed(&mut srtcp).1), (0, 1));
        let theirs = key(3);
        srtcp.change(Keys { ours, theirs });
        assert_eq!(sealed(&mut srtcp).1, 2);
        // What they seal with the new key is opened, with the old one it is not.
        let mut opened = |seed| {
            let (ours, theirs) = (key(seed), ours);
            let (mut bytes, _) = sealed(&mut Srtcp::new(Keys { ours, theirs }));
            srtcp.opener.open_control(&mut bytes).is_ok()
        };
        assert_eq!([2, 3].map(&mut opened), [false, true]);
    }

    #[test]
    fn a_key_of_ours_that_changes_leaves_what_came_of_the_peer_known() {
        let (ours, theirs) = (key(1), key(2));
        let mut srtcp = Srtcp::new(Keys { ours, theirs });
        let mut peer = Srtcp::new(Keys {
            ours: theirs,
            theirs: ours,
        });
        let (report, _) = sealed(&mut peer);
        assert!(srtcp.opener.open_control(&mut report.clone()).is_ok());
        let ours = key(4);
        srtcp.change(Keys { ours, theirs });
        assert!(srtcp.opener.open_control(&mut { report }).is_err(), "once");
        assert_eq!(
            sealed(&mut srtcp).1,
            0,
            "a new key counts from its beginning"
        );
    }

    #[test]
    fn ntp_counts_from_1900_in_fractions() {
        assert_eq!(ntp(Duration::from_millis(500)), NTP_EPOCH << 32 | 1 << 31);
        assert_eq!(short(Duration::from_millis(250)), 16_384);
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_or_dropped(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn a_changed_report_is_told_or_dropped(changes in proptest::collection::vec((0usize..64, any::<u8>()), 1..6)) {
            let mut bytes = compound().to_vec();
            for (at, value) in changes {
                let length = bytes.len();
                bytes[at % length] = value;
            }
            parse(&bytes);
        }
    }
}
