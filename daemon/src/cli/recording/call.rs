//! Both directions of a call out of a capture, each heard as a live line hears it.
//!
//! RTP of G.711 or G.722 in UDP over Ethernet, Linux cooked, loopback and raw
//! IP, version 4 and 6. The largest stream and what goes on in its place make
//! one direction, what comes back to them the other; other calls are counted
//! and left. Lost packets are concealed, and silence has its cause, by the very
//! code that hears a call (`Receiver`, `Framer`). Hostile bytes are errors or
//! are skipped: it never panics. Called by `recording`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use offhook_dsp::{FRAME, Source};
use offhook_sip::rtp::{Arrival, Content, Receiver, View, duration};

use super::capture::{self, Captured};
use crate::media::codec;
use crate::media::framer::{Frame, Framer};
use crate::media::words::{Codec, ReceiveTypes};

/// One direction, in whole frames.
#[derive(Debug, Default)]
pub(super) struct Track {
    pub(super) samples: Vec<i16>,
    /// Of each frame.
    pub(super) sources: Vec<Source>,
}

/// Both directions, from the same moment on.
#[derive(Debug)]
pub(super) struct Call {
    /// The one with more packets.
    pub(super) first: Track,
    /// Empty if there is one only.
    pub(super) second: Track,
    /// Streams that are not part of it.
    pub(super) others: usize,
}

/// Why a capture is no call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CaptureError {
    /// Link layer of this number is not known.
    Link(u32),
    /// So many packets were cut off by the capture.
    Cut(usize),
    /// No RTP with payload type 0, 8 or 9.
    NoAudio,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(number) => {
                write!(out, "link type {number}; Ethernet, cooked and IP are read")
            }
            Self::Cut(packets) => write!(
                out,
                "the capture kept only the beginning of {packets} packets; capture with -s 0"
            ),
            Self::NoAudio => write!(
                out,
                "no RTP of G.711 or G.722 (payload type 0, 8 or 9) in the capture"
            ),
        }
    }
}

/// Longest call that is put together: 12 hours.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// Streams that are looked at, the largest first.
const STREAMS_MAX: usize = 256;
/// Ends may overlap by as much where one stream takes the place of another.
const OVERLAP: Duration = Duration::from_millis(200);
/// What comes after a longer pause is another call on the same port.
const PAUSE: Duration = Duration::from_secs(30);
/// As often as a media thread looks what is due.
const TICK: Duration = Duration::from_millis(10);
/// Shapes the comfort noise.
const SEED: u32 = 1;
/// Static payload type of comfort noise (RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;
/// Payload of a telephone-event (RFC 4733 §2.3).
const EVENT_OCTETS: usize = 4;

/// One sender's packets from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Way {
    from: SocketAddr,
    to: SocketAddr,
    ssrc: u32,
}

impl Way {
    fn answers(&self, other: &Self) -> bool {
        self.from == other.to && self.to == other.from
    }

    /// A re-INVITE moves one end, or the sender counts anew.
    fn continues(&self, other: &Self) -> bool {
        self.from == other.from || self.to == other.to
    }
}

/// A packet and when it was captured.
struct Came<'a> {
    at: Duration,
    packet: Arrival<'a>,
}

struct Stream<'a> {
    way: Way,
    packets: Vec<Came<'a>>,
    /// Packets with sound.
    sounds: usize,
}

impl<'a> Stream<'a> {
    fn new(way: Way) -> Self {
        Self {
            way,
            packets: Vec::new(),
            sounds: 0,
        }
    }

    fn push(&mut self, at: Option<Duration>, packet: Arrival<'a>) {
        let at = at.unwrap_or_else(|| self.by_timestamp(packet.timestamp));
        self.packets.push(Came { at, packet });
        self.sounds += usize::from(matches!(packet.content, Content::Audio { .. }));
    }

    /// Where the capture has no times, packets came as their sender counted.
    fn by_timestamp(&self, timestamp: u32) -> Duration {
        let Some(first) = self.packets.first() else {
            return Duration::ZERO;
        };
        let ahead = timestamp.wrapping_sub(first.packet.timestamp) as i32;
        first.at + duration(u64::try_from(ahead).unwrap_or(0))
    }

    fn start(&self) -> Duration {
        self.packets.first().map_or(Duration::ZERO, |came| came.at)
    }

    fn end(&self) -> Duration {
        self.packets.last().map_or(Duration::ZERO, |came| came.at)
    }

    /// How long after the end of one the other begins; `None` if they overlap.
    fn pause(&self, other: &Self) -> Option<Duration> {
        let after = |one: &Self, other: &Self| {
            let pause = (other.start() + OVERLAP).checked_sub(one.end())?;
            (other.end() > one.end()).then_some(pause.saturating_sub(OVERLAP))
        };
        after(self, other).or_else(|| after(other, self))
    }
}

/// Reads a capture.
///
/// # Errors
/// It has no audio that can be read.
pub(super) fn parse(bytes: &[u8]) -> Result<Call, CaptureError> {
    let mut streams = streams(&capture::frames(bytes))?;
    let one = leg(&mut streams, |_| true);
    let answers = |way: &Way| one.iter().any(|stream| way.answers(&stream.way));
    let other = leg(&mut streams, answers);
    let sounds = |leg: &[Stream<'_>]| leg.iter().map(|stream| stream.sounds).sum::<usize>();
    let (first, second) = match sounds(&other) > sounds(&one) {
        true => (other, one),
        false => (one, other),
    };
    let both = || first.iter().chain(&second);
    let origin = both().map(Stream::start).min().unwrap_or_default();
    // What is captured has ended by then: the first packet ends now, as on a line.
    let lead = both().map(|stream| length(stream, origin)).max();
    let lead = lead.unwrap_or_default();
    let end = both().map(Stream::end).max().unwrap_or_default() + lead - origin;
    let line = |leg: &[Stream<'_>]| hear(leg, |at| at + lead - origin, end.min(LONGEST));
    Ok(Call {
        first: line(&first),
        second: line(&second),
        others: streams.iter().filter(|stream| stream.sounds > 1).count(),
    })
}

/// Length of the packet that begins the call.
fn length(stream: &Stream<'_>, origin: Duration) -> Duration {
    let first = stream.packets.first().filter(|came| came.at == origin);
    match first.map(|came| came.packet.content) {
        Some(Content::Audio { samples }) => duration(samples.into()),
        Some(Content::ComfortNoise | Content::Event) | None => Duration::ZERO,
    }
}

/// The streams with sound, the largest first.
fn streams<'a>(frames: &[Captured<'a>]) -> Result<Vec<Stream<'a>>, CaptureError> {
    let mut ways: HashMap<Way, Stream<'a>> = HashMap::new();
    let (mut cut, mut unknown) = (0, None);
    for frame in frames {
        let ip = match network(frame.link, frame.frame) {
            Some(ip) => ip,
            None => {
                unknown = Some(frame.link);
                continue;
            }
        };
        match Datagram::of(ip) {
            Some(datagram) if datagram.is_cut => cut += 1,
            Some(datagram) => {
                if let Some((way, packet)) = datagram.rtp() {
                    let stream = ways.entry(way).or_insert_with(|| Stream::new(way));
                    stream.push(frame.at, packet);
                }
            }
            None => {}
        }
    }
    let mut streams: Vec<_> = ways.into_values().collect();
    streams.retain(|stream| stream.sounds > 0);
    if streams.is_empty() {
        return Err(match unknown {
            Some(link) => CaptureError::Link(link),
            None if cut > 0 => CaptureError::Cut(cut),
            None => CaptureError::NoAudio,
        });
    }
    streams.sort_by_key(|stream| (Reverse(stream.sounds), stream.way));
    streams.truncate(STREAMS_MAX);
    for stream in &mut streams {
        // Interfaces may be written one after the other.
        stream.packets.sort_by_key(|came| came.at);
    }
    Ok(streams)
}

/// Takes out the largest stream that belongs to a direction and those that take its
/// place before and after, in the order of time.
fn leg<'a>(streams: &mut Vec<Stream<'a>>, belongs: impl Fn(&Way) -> bool) -> Vec<Stream<'a>> {
    let mut leg: Vec<Stream<'a>> = Vec::new();
    let joins = |leg: &[Stream<'a>], stream: &Stream<'a>| {
        let pauses: Option<Vec<Duration>> = leg.iter().map(|own| own.pause(stream)).collect();
        let nearest = pauses.and_then(|pauses| pauses.into_iter().min());
        // A line believes in a new sender from its second packet on.
        stream.packets.len() > 1
            && leg.iter().any(|own| stream.way.continues(&own.way))
            && nearest.is_some_and(|pause| pause <= PAUSE)
    };
    while let Some(index) = streams.iter().position(|stream| match leg.is_empty() {
        true => belongs(&stream.way),
        false => joins(&leg, stream),
    }) {
        leg.push(streams.remove(index));
    }
    leg.sort_by_key(Stream::start);
    leg
}

/// A direction as a line hears it whose clock is the time of capture.
fn hear(leg: &[Stream<'_>], clock: impl Fn(Duration) -> Duration, end: Duration) -> Track {
    let mut track = Track::default();
    if leg.is_empty() {
        return track;
    }
    let mut packets: Vec<&Came<'_>> = leg.iter().flat_map(|stream| &stream.packets).collect();
    packets.sort_by_key(|came| came.at);
    let mut receiver = Receiver::new(Duration::ZERO);
    let mut framer = Framer::new(SEED);
    framer.connect(types());
    let mut keep = |frame: Frame<'_>| {
        track.samples.extend(frame.near);
        track.sources.push(frame.source);
    };
    let mut due = TICK;
    for came in packets {
        let now = clock(came.at);
        if now > end {
            break;
        }
        while due <= now {
            receiver.tick(due, |piece| framer.take(piece, &mut keep));
            due += TICK;
        }
        receiver.receive(now, came.packet, |piece| framer.take(piece, &mut keep));
    }
    while due <= end {
        receiver.tick(due, |piece| framer.take(piece, &mut keep));
        due += TICK;
    }
    receiver.finish(end, |piece| framer.take(piece, &mut keep));
    debug_assert_eq!(track.samples.len(), track.sources.len() * FRAME);
    track
}

/// Payload types of sound that are known without an offer (RFC 3551 §6).
fn types() -> ReceiveTypes {
    [(0, Codec::Pcmu), (8, Codec::Pcma), (9, Codec::G722)]
        .into_iter()
        .collect()
}

/// The IP packet in a frame of this link layer; `None` if the layer is not known.
fn network(link: u32, frame: &[u8]) -> Option<&[u8]> {
    let header = match link {
        // Ethernet with up to two VLAN tags (IEEE 802.1Q).
        1 => {
            let mut at = 12;
            while at < 20 && matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xA8])) {
                at += 4;
            }
            at + 2
        }
        0 | 108 => 4,
        113 => 16,
        276 => 20,
        12 | 14 | 101 | 228 | 229 => 0,
        _ => return None,
    };
    Some(frame.get(header..).unwrap_or_default())
}

/// UDP in IP.
struct Datagram<'a> {
    from: SocketAddr,
    to: SocketAddr,
    payload: &'a [u8],
    /// The capture has only its beginning.
    is_cut: bool,
}

impl<'a> Datagram<'a> {
    /// Whole packets only: of a fragment nothing is known.
    fn of(ip: &'a [u8]) -> Option<Self> {
        let (from, to, udp) = match ip.first()? >> 4 {
            4 if ip.get(9) == Some(&17) => {
                let fragment = u16::from_be_bytes(*ip.get(6..)?.first_chunk()?) & 0x3FFF;
                let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
                let header = usize::from(ip[0] & 0x0F) * 4;
                let udp = ip.get(header..).filter(|_| fragment == 0);
                (address(12)?, address(16)?, udp?)
            }
            6 if ip.get(6) == Some(&17) => {
                let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
                (address(8)?, address(24)?, ip.get(40..)?)
            }
            _ => return None,
        };
        let half = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
        let length = usize::from(half(4)?);
        Some(Self {
            from: SocketAddr::new(from, half(0)?),
            to: SocketAddr::new(to, half(2)?),
            payload: udp.get(8..length.min(udp.len())).unwrap_or_default(),
            is_cut: length > udp.len(),
        })
    }

    /// What it is as RTP, if it may be sound or stands between sound.
    fn rtp(&self) -> Option<(Way, Arrival<'a>)> {
        let view = View::parse(self.payload).ok()?;
        let way = Way {
            from: self.from,
            to: self.to,
            ssrc: view.ssrc(),
        };
        let packet = Arrival {
            ssrc: view.ssrc(),
            sequence: view.sequence(),
            timestamp: view.timestamp(),
            marker: view.marker(),
            payload_type: view.payload_type(),
            content: content(&view)?,
            payload: view.payload(),
        };
        Some((way, packet))
    }
}

/// Without an offer, a telephone-event is told by its length.
fn content(view: &View<'_>) -> Option<Content> {
    let known = types();
    let mut known = known.iter();
    let number = view.payload_type();
    match known.find(|(known, _)| *known == number) {
        Some((_, codec)) => {
            let samples = codec::samples(*codec, view.payload())?;
            Some(Content::Audio { samples })
        }
        None if number == COMFORT_NOISE => Some(Content::ComfortNoise),
        None => (number >= 96 && view.payload().len() == EVENT_OCTETS).then_some(Content::Event),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::capture::tests::{Writer, pcap};
    use super::*;
    use offhook_dsp::g711::Law;
    use proptest::prelude::*;

    /// A sender of RTP in a capture: it counts as it goes.
    pub(in super::super) struct Sender {
        pub(in super::super) from: u8,
        pub(in super::super) to: u8,
        pub(in super::super) ssrc: u32,
        pub(in super::super) sequence: u16,
        pub(in super::super) timestamp: u32,
    }

    impl Sender {
        pub(in super::super) fn new(from: u8, to: u8, ssrc: u32) -> Self {
            Self {
                from,
                to,
                ssrc,
                sequence: 65_530,
                timestamp: u32::MAX - 400,
            }
        }

        /// One IP packet of this payload, which lasts so many samples.
        pub(in super::super) fn packet(&mut self, kind: u8, payload: &[u8], lasts: u32) -> Vec<u8> {
            let mut rtp = vec![0x80, kind];
            rtp.extend(self.sequence.to_be_bytes());
            rtp.extend(self.timestamp.to_be_bytes());
            rtp.extend(self.ssrc.to_be_bytes());
            rtp.extend(payload);
            self.sequence = self.sequence.wrapping_add(1);
            self.timestamp = self.timestamp.wrapping_add(lasts);
            let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
            ip.extend([10, 0, 0, self.from, 10, 0, 0, self.to]);
            ip.extend([0x10, self.from, 0x10, self.to]);
            ip.extend((8 + rtp.len() as u16).to_be_bytes());
            ip.extend([0, 0]);
            ip.extend(rtp);
            ip
        }

        /// So many packets of 20 ms of one code.
        fn talk(&mut self, from_ms: u64, count: u64, code: u8) -> Vec<(Duration, Vec<u8>)> {
            let packets = (0..count)
                .map(|number| (at(from_ms + 20 * number), self.packet(0, &[code; 160], 160)));
            packets.collect()
        }
    }

    /// In the middle of a day of 2026.
    pub(in super::super) fn at(ms: u64) -> Duration {
        Duration::from_secs(1_790_000_000) + Duration::from_millis(ms)
    }

    fn capture(parts: Vec<Vec<(Duration, Vec<u8>)>>) -> Vec<u8> {
        let mut packets = parts.concat();
        packets.sort_by_key(|(at, _)| *at);
        pcap(&packets)
    }

    fn count(track: &Track, source: Source) -> usize {
        track.sources.iter().filter(|it| **it == source).count()
    }

    #[test]
    fn both_directions_begin_at_the_same_moment_and_the_larger_is_first() {
        let mut they = Sender::new(1, 2, 7);
        let mut we = Sender::new(2, 1, 8);
        let call = parse(&capture(vec![
            they.talk(100, 50, 0x80),
            we.talk(0, 40, 0x00),
        ]))
        .expect("a call");
        let (near, far) = (&call.first, &call.second);
        assert_eq!(near.samples.len(), far.samples.len());
        assert_eq!(near.samples.len(), 8 * 1_100);
        // The first packet ends when it came; what is sent later begins later.
        assert_eq!(far.samples[80], Law::Mu.decode(0));
        assert_eq!(count(near, Source::NoRtp), 10);
        assert_eq!(near.samples[799], 0);
        assert_eq!(near.samples[880], Law::Mu.decode(0x80));
        assert_eq!(call.others, 0);
    }

    #[test]
    fn a_new_address_or_ssrc_in_the_same_place_is_the_same_direction() {
        let mut old = Sender::new(1, 2, 7);
        let mut moved = Sender::new(3, 2, 9);
        let mut renumbered = Sender::new(3, 2, 10);
        let mut back = Sender::new(2, 1, 8);
        let mut back_moved = Sender::new(2, 3, 13);
        let mut stranger = Sender::new(5, 2, 11);
        let mut next_call = Sender::new(1, 2, 12);
        let parts = vec![
            old.talk(0, 50, 0x80),
            moved.talk(1_000, 50, 0x81),
            renumbered.talk(2_500, 50, 0x82),
            back.talk(5, 48, 0x10),
            back_moved.talk(1_005, 90, 0x11),
            stranger.talk(500, 20, 0x20),
            next_call.talk(60_000, 30, 0x30),
        ];
        let call = parse(&capture(parts)).expect("a call");
        let heard = |track: &Track, code| {
            let frames = track.samples.as_chunks::<FRAME>().0.iter();
            frames.filter(|it| it[70] == Law::Mu.decode(code)).count()
        };
        // The second of two packets makes a new sender believed: as on a line.
        let all = [
            (&call.first, 0x80, 100),
            (&call.first, 0x81, 98),
            (&call.first, 0x82, 98),
            (&call.second, 0x10, 96),
            (&call.second, 0x11, 178),
        ];
        for (track, code, frames) in all {
            let found = heard(track, code);
            // A frame or two are being faded in, or made up after the last.
            assert!(
                (frames - 4..=frames + 2).contains(&found),
                "{code:x}: {found}"
            );
        }
        assert_eq!(heard(&call.first, 0x20) + heard(&call.first, 0x30), 0);
        assert!(
            count(&call.first, Source::NoRtp) >= 40,
            "half a second of pause"
        );
        assert_eq!(call.others, 2, "the stranger and the next call");
    }

    #[test]
    fn loss_comfort_noise_keys_and_a_stop_are_told_apart() {
        let mut they = Sender::new(1, 2, 7);
        let mut packets = they.talk(0, 50, 0x80);
        packets.drain(20..22);
        they.timestamp = they.timestamp.wrapping_add(160);
        packets.push((at(1_000), they.packet(COMFORT_NOISE, &[60], 0)));
        they.timestamp = they.timestamp.wrapping_add(4_000);
        packets.extend(they.talk(1_520, 50, 0x81));
        let lost = 2 * 2;
        for number in 0..5 {
            let event = they.packet(101, &[5, 10, 0, number], 0);
            packets.push((at(2_520 + 20 * u64::from(number)), event));
        }
        they.timestamp = they.timestamp.wrapping_add(800);
        packets.extend(they.talk(2_620, 10, 0x82));
        packets.extend(Sender::new(2, 1, 8).talk(0, 240, 0xFF));
        let call = parse(&pcap(&packets)).expect("a call");
        let track = &call.second;
        assert_eq!(
            count(track, Source::Concealed),
            lost + 6,
            "two packets, and the end"
        );
        assert!((51..=53).contains(&(count(track, Source::ComfortNoise) - 10)));
        assert!(count(track, Source::NoRtp) > 150);
        let stop = track.sources.iter().rposition(|it| *it == Source::Received);
        let after = &track.sources[stop.expect("sound") + 7..];
        assert!(after.iter().all(|it| *it == Source::NoRtp), "{after:?}");
    }

    #[test]
    fn captures_without_times_go_by_the_timestamps() {
        let mut they = Sender::new(1, 2, 7);
        let mut file = Writer::new(true);
        file.interface(0, &[]);
        for code in [0x80, 0x81, 0x82] {
            let packet = they.packet(0, &[code; 160], 160);
            file.simple(packet.len() as u32, &packet);
        }
        let call = parse(&file.bytes).expect("a call");
        assert_eq!(call.first.sources, [Source::Received; 6]);
        assert_eq!(call.first.samples[479], Law::Mu.decode(0x82));
    }

    #[test]
    fn pcapng_and_pcap_of_a_call_are_the_same_call() {
        let packets = Sender::new(1, 2, 7).talk(0, 30, 0x80);
        let classic = parse(&pcap(&packets)).expect("a call");
        for little in [true, false] {
            let mut file = Writer::new(little);
            file.interface(0, &[(9, &[9])]);
            for (at, packet) in &packets {
                file.enhanced(0, at.as_nanos() as u64, packet);
            }
            let call = parse(&file.bytes).expect("a call");
            assert_eq!(call.first.samples, classic.first.samples);
            assert_eq!(call.first.sources, classic.first.sources);
        }
    }

    #[test]
    fn captures_without_a_call_say_what_is_wrong() {
        assert_eq!(parse(&pcap(&[])).err(), Some(CaptureError::NoAudio));
        let mut file = pcap(&Sender::new(1, 2, 7).talk(0, 3, 0x80));
        file[20] = 147;
        assert_eq!(parse(&file).err(), Some(CaptureError::Link(147)));
        let cut: Vec<_> = Sender::new(1, 2, 7)
            .talk(0, 3, 0x80)
            .into_iter()
            .map(|(at, packet)| (at, packet[..96].to_vec()))
            .collect();
        assert_eq!(parse(&pcap(&cut)).err(), Some(CaptureError::Cut(3)));
        let mut fragments = Sender::new(1, 2, 7).talk(0, 3, 0x80);
        for (_, packet) in &mut fragments {
            packet[6] = 0x20;
        }
        assert_eq!(parse(&pcap(&fragments)).err(), Some(CaptureError::NoAudio));
    }

    #[test]
    fn a_capture_of_very_many_streams_is_read_in_time() {
        let packets: Vec<_> = (0..20_000u32)
            .map(|ssrc| {
                let mut sender = Sender::new(1, 2, ssrc);
                (at(u64::from(ssrc)), sender.packet(0, &[0x80; 80], 80))
            })
            .collect();
        let call = parse(&pcap(&packets)).expect("a call");
        assert_eq!(call.first.samples.len(), FRAME);
    }

    proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic(damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
            let mut they = Sender::new(1, 2, 7);
            let mut file = capture(vec![they.talk(0, 8, 0x80), Sender::new(2, 1, 8).talk(0, 8, 1)]);
            for (at, value) in damage {
                // Not the times: half a day of silence takes a while.
                let at = at.index(file.len());
                if at < 24 || (at - 24) % 216 >= 8 {
                    file[at] = value;
                }
            }
            let _ = parse(&file);
        }
    }
}
