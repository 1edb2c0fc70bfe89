//! In which order a stream is heard, and what is heard where nothing came.
//!
//! The clock of a line is the RTP timestamp. A packet in order is heard at
//! once; only a gap waits, at most [`GAP_WAIT`], for the packets that may
//! still fill it. What does not come in time becomes a [`Fill`]; what comes
//! after its time is counted and dropped. The line has one position, in
//! samples, that only grows: every sample of it is handed out exactly once.
//!
//! It decodes nothing and does not know whose the packets are (see
//! [`super::source`]). Called by the media threads; does not allocate or block.

use core::time::Duration;

use super::stats::Reception;
use super::{CLOCK_RATE, samples};

/// How long a gap waits for its packets.
pub const GAP_WAIT: Duration = Duration::from_millis(40);
/// `GAP_WAIT` in samples.
const LAG: i64 = 320;
/// Packets kept while a gap waits: 40 ms of 10 ms packets, and as many again
/// that a burst brings.
pub const HELD: usize = 8;
/// Octets of a packet that can be kept: 60 ms of G.711.
pub const HELD_PAYLOAD: usize = 480;
/// A gap is shorter than this, or the sender's clock has jumped.
const JUMP: i64 = 8_000;
/// A gap may claim this much more than has passed here.
const GAP_AHEAD: i64 = 1_600;
/// The line may run ahead of our clock by this much, plus 0.2 % for the sender's crystal.
const AHEAD: u64 = 8_000;
/// In-order packets, too late one after the other, that move the line.
const LATE_IN_A_ROW: u8 = 5;
/// A gap of sequence numbers above this is a restart (RFC 3550 §A.1, MAX_DROPOUT).
const DROPOUT: u16 = 3_000;
/// How far back a duplicate is recognised.
const WINDOW: u16 = 64;
/// Frames made up in one tick: what a thread that overslept catches up at a time.
const FILL_A_TICK: i64 = 800;
/// Granularity of what is made up: one frame of the ear.
const FRAME: i64 = 80;
/// After this much made up for lost packets, the stream has stopped (60 ms).
const LOST_LIMIT: u32 = 480;

/// A packet of the stream, header and payload taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Who sends.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Start of a talkspurt.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// What it carries.
    pub content: Content,
    /// The payload.
    pub payload: &'a [u8],
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// So many samples of sound.
    Audio {
        /// At the RTP clock.
        samples: u32,
    },
    /// The level of the silence that begins (RFC 3389).
    ComfortNoise,
    /// A telephone-event; heard elsewhere, but it takes a sequence number.
    Event,
}

/// The next piece of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Sound of a packet, without its first `skip` samples.
    Audio {
        /// How it is coded.
        payload_type: u8,
        /// The whole payload.
        payload: &'a [u8],
        /// Samples at its start that come too late.
        skip: u32,
    },
    /// Samples for which there is no packet.
    Fill {
        /// How many.
        samples: u32,
        /// Why.
        cause: Fill,
        /// The packet of sound right after them, where it is there already: it may
        /// repeat what was lost (RFC 7587 §3.3).
        next: Option<Coded<'a>>,
    },
    /// From here on the peer is silent at the level in this payload (RFC 3389 §3).
    Noise {
        /// Level first.
        payload: &'a [u8],
    },
}

/// Sound as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded<'a> {
    /// How it is coded.
    pub payload_type: u8,
    /// The whole payload.
    pub payload: &'a [u8],
}

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// It was lost, or comes too late.
    Lost,
    /// The peer said that it is silent, or sends keys instead of sound.
    Quiet,
    /// Nothing has come for longer than a gap.
    Stopped,
}

/// What came and what became of it, since the start of the leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveStats {
    /// Packets of the stream, duplicates included.
    pub packets: u32,
    /// Octets of payload.
    pub octets: u64,
    /// Packets that came after their time.
    pub late: u32,
    /// Packets that came twice.
    pub duplicate: u32,
    /// Packets that came out of order, in time.
    pub reordered: u32,
    /// Packets given up by a gap (some may still come, late).
    pub given_up: u32,
    /// Times that the sender's clock or numbering jumped.
    pub jumps: u32,
    /// Changes of SSRC.
    pub ssrc_changes: u32,
    /// Packets dropped before a change or a jump was believed.
    pub probation: u32,
    /// Packets dropped because the line ran too far ahead of our clock.
    pub ahead: u32,
    /// Samples made up for lost packets.
    pub concealed: u64,
    /// Samples of silence that the peer announced.
    pub quiet: u64,
    /// Samples for which nothing came.
    pub stopped: u64,
    /// How long gaps waited: up to 10, 20, 30, 40 ms, and in vain.
    pub waits: [u32; 5],
}

#[derive(Clone, Copy, Debug)]
struct Held {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    samples: u32,
    arrived: Duration,
    octets: u16,
    payload: [u8; HELD_PAYLOAD],
}

/// What is known of the current SSRC.
#[derive(Clone, Copy, Debug)]
struct Stream {
    reception: Reception,
    /// Sequence number that is next in order.
    expected: u16,
    /// Highest sequence number, and which of the 64 up to it have come.
    newest: u16,
    seen: u64,
    /// Timestamp of the sample at `next`.
    next_timestamp: u32,
    /// Of the last audio packet, in samples.
    packet_samples: u32,
    late_in_a_row: u8,
}

/// Orders one leg's stream.
#[derive(Clone, Debug)]
pub struct Receiver {
    start: Duration,
    /// Position of the line: samples handed out so far.
    next: u64,
    /// The line's position is expected to be our clock plus this.
    offset: i64,
    stream: Option<Stream>,
    /// SSRC and sequence number that would confirm a change.
    probation: Option<(u32, u16)>,
    quiet: bool,
    /// Samples filled since the last packet was heard.
    filled: u32,
    held: heapless::Vec<Held, HELD>,
    stats: ReceiveStats,
}

/// Where a packet stands among the sequence numbers.
enum Place {
    Next,
    Ahead,
    Behind,
    Duplicate,
    Restart,
}

impl Receiver {
    /// The line begins at `start`, position 0.
    pub fn new(start: Duration) -> Self {
        Self {
            start,
            next: 0,
            offset: 0,
            stream: None,
            probation: None,
            quiet: false,
            filled: 0,
            held: heapless::Vec::new(),
            stats: ReceiveStats::default(),
        }
    }

    /// Samples handed out so far.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// What came and what became of it.
    pub fn stats(&self) -> &ReceiveStats {
        &self.stats
    }

    /// What a receiver report says of the current SSRC.
    pub fn reception(&self) -> Option<&Reception> {
        self.stream.as_ref().map(|stream| &stream.reception)
    }

    /// Takes a packet and hands out what can be heard now, in order.
    pub fn receive<'a>(
        &mut self,
        now: Duration,
        packet: Arrival<'a>,
        mut hear: impl FnMut(Piece<'_>),
    ) {
        if !self.admit(now, &packet) {
            return;
        }
        let place = self.place(packet.sequence);
        match place {
            Place::Duplicate => {
                self.stats.duplicate += 1;
                self.count(now, &packet, 0);
            }
            Place::Restart => {
                if self.confirmed(packet.ssrc, packet.sequence) {
                    self.restart(now, &packet);
                    self.take_next(now, packet, Fill::Quiet, &mut hear);
                }
            }
            Place::Next => {
                self.see(now, &packet);
                self.take_next(now, packet, Fill::Quiet, &mut hear);
            }
            Place::Ahead => {
                self.see(now, &packet);
                self.take_ahead(now, packet, &mut hear);
            }
            Place::Behind => {
                self.see(now, &packet);
                self.take_behind(now, packet, &mut hear);
            }
        }
    }

    /// Hands out what is due without a packet.
    pub fn tick(&mut self, now: Duration, mut hear: impl FnMut(Piece<'_>)) {
        self.give_up_overdue(now, &mut hear);
        // The packet with the next sample was due when its last one had been spoken.
        let packet = self.stream.map_or(160, |stream| stream.packet_samples);
        let packet = (i64::from(packet) / FRAME * FRAME).clamp(FRAME, FILL_A_TICK);
        let overdue = self.due(now) - self.next as i64 - LAG;
        if overdue < packet {
            return;
        }
        let fill = (overdue / packet * packet).min(FILL_A_TICK / packet * packet);
        match self.gap_before_held() {
            None => self.fill_due(fill as u32, &mut hear),
            Some(gap) if fill < gap => self.fill(fill as u32, Fill::Lost, None, &mut hear),
            Some(_) => self.give_up(now, &mut hear),
        }
    }

    /// The leg ends: hands out what is held and fills up to now, so that the
    /// line is as long as the call.
    pub fn finish(&mut self, now: Duration, mut hear: impl FnMut(Piece<'_>)) {
        while !self.held.is_empty() {
            self.give_up(now, &mut hear);
        }
        let behind = (self.due(now) - self.next as i64) / FRAME * FRAME;
        if behind > 0 {
            self.fill_due(behind.min(JUMP) as u32, &mut hear);
        }
    }

    /// Where the line should be by our clock.
    fn due(&self, now: Duration) -> i64 {
        self.clock(now) as i64 + self.offset
    }

    fn clock(&self, now: Duration) -> u64 {
        samples(now.saturating_sub(self.start))
    }

    /// Begins a stream, or changes the SSRC when two packets in a row say so.
    fn admit(&mut self, now: Duration, packet: &Arrival<'_>) -> bool {
        match &self.stream {
            Some(stream) if stream.reception.ssrc == packet.ssrc => true,
            Some(_) => {
                if self.confirmed(packet.ssrc, packet.sequence) {
                    self.stats.ssrc_changes += 1;
                    self.begin(now, packet);
                    return true;
                }
                false
            }
            None => {
                self.begin(now, packet);
                true
            }
        }
    }

    /// A jump is believed when a second packet follows the first (RFC 3550 §A.1).
    fn confirmed(&mut self, ssrc: u32, sequence: u16) -> bool {
        if self.probation.take() == Some((ssrc, sequence)) {
            return true;
        }
        self.probation = Some((ssrc, sequence.wrapping_add(1)));
        self.stats.probation += 1;
        false
    }

    /// A first packet is expected to end now; what is missing before it is filled.
    fn begin(&mut self, now: Duration, packet: &Arrival<'_>) {
        let length = content_samples(packet.content);
        let begins = (self.clock(now).saturating_sub(length.into())).max(self.next);
        let before = (begins - self.next) as u32;
        self.held.clear();
        self.offset = (begins + u64::from(length)) as i64 - self.clock(now) as i64;
        self.stream = Some(Stream {
            reception: Reception::new(packet.ssrc, packet.sequence, packet.timestamp, now),
            expected: packet.sequence,
            newest: packet.sequence.wrapping_sub(1),
            seen: 0,
            next_timestamp: packet.timestamp.wrapping_sub(before),
            packet_samples: length.max(FRAME as u32),
            late_in_a_row: 0,
        });
    }

    /// The same sender begins to count anew.
    fn restart(&mut self, now: Duration, packet: &Arrival<'_>) {
        self.stats.jumps += 1;
        self.begin(now, packet);
        self.see(now, packet);
    }

    fn place(&self, sequence: u16) -> Place {
        let stream = self.stream();
        let ahead = sequence.wrapping_sub(stream.newest);
        let behind = stream.newest.wrapping_sub(sequence);
        if behind < WINDOW && stream.seen >> behind & 1 == 1 {
            return Place::Duplicate;
        }
        if sequence == stream.expected {
            return Place::Next;
        }
        if (1..DROPOUT).contains(&ahead) {
            return Place::Ahead;
        }
        if behind < WINDOW {
            let of_expected = sequence.wrapping_sub(stream.expected);
            return if of_expected < WINDOW {
                Place::Ahead
            } else {
                Place::Behind
            };
        }
        Place::Restart
    }

    /// Marks a packet as received.
    fn see(&mut self, now: Duration, packet: &Arrival<'_>) {
        self.probation = None;
        let newest = self.stream().newest;
        let ahead = packet.sequence.wrapping_sub(newest) as i16;
        self.count(now, packet, ahead);
        let stream = self.stream_mut();
        if ahead > 0 {
            stream.seen = stream.seen.checked_shl(ahead as u32).unwrap_or(0) | 1;
            stream.newest = packet.sequence;
        } else {
            // Farther back it is out of the window.
            stream.seen |= 1u64.checked_shl(ahead.unsigned_abs().into()).unwrap_or(0);
        }
    }

    fn count(&mut self, now: Duration, packet: &Arrival<'_>, ahead: i16) {
        self.stats.packets += 1;
        self.stats.octets += packet.payload.len() as u64;
        let reception = &mut self.stream_mut().reception;
        reception.count(ahead);
        if matches!(packet.content, Content::Audio { .. }) {
            reception.arrived(packet.timestamp, now);
        }
    }

    fn take_next(
        &mut self,
        now: Duration,
        packet: Arrival<'_>,
        cause: Fill,
        hear: &mut impl FnMut(Piece<'_>),
    ) {
        self.stream_mut().expected = packet.sequence.wrapping_add(1);
        self.take(now, packet, cause, hear);
        self.drain(now, hear);
    }

    /// Something is missing before this packet. By timestamp it may be in
    /// order all the same: then it is heard at once.
    fn take_ahead(&mut self, now: Duration, packet: Arrival<'_>, hear: &mut impl FnMut(Piece<'_>)) {
        let Content::Audio { samples } = packet.content else {
            self.take(now, packet, Fill::Quiet, hear);
            return;
        };
        if self.held.is_full() {
            self.give_up(now, hear);
        }
        if packet.sequence.wrapping_sub(self.stream().expected) >= DROPOUT {
            self.take_behind(now, packet, hear);
        } else if packet.payload.len() > HELD_PAYLOAD || self.gap_before(packet.timestamp) <= 0 {
            self.skip_to(packet.sequence);
            self.take_next(now, packet, Fill::Lost, hear);
        } else {
            self.hold(now, &packet, samples);
        }
    }

    fn hold(&mut self, now: Duration, packet: &Arrival<'_>, samples: u32) {
        let mut payload = [0; HELD_PAYLOAD];
        payload[..packet.payload.len()].copy_from_slice(packet.payload);
        let held = Held {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload_type: packet.payload_type,
            samples,
            arrived: now,
            octets: packet.payload.len() as u16,
            payload,
        };
        let full = self.held.push(held).is_err();
        debug_assert!(!full, "room was made by take_ahead");
    }

    /// Its place was given up: its sound may still be in time.
    fn take_behind(
        &mut self,
        now: Duration,
        packet: Arrival<'_>,
        hear: &mut impl FnMut(Piece<'_>),
    ) {
        let in_time = self.gap_before(packet.timestamp) == 0;
        match packet.content {
            Content::Audio { .. } if !in_time => self.stats.late += 1,
            _ => self.take(now, packet, Fill::Quiet, hear),
        }
    }

    /// Samples between what was heard last and this timestamp.
    fn gap_before(&self, timestamp: u32) -> i64 {
        i64::from(timestamp.wrapping_sub(self.stream().next_timestamp) as i32)
    }

    /// Samples before the first packet that waits.
    fn gap_before_held(&self) -> Option<i64> {
        let gaps = self.held.iter().map(|held| self.gap_before(held.timestamp));
        gaps.min()
    }

    /// Hears a packet whose turn it is.
    fn take(
        &mut self,
        now: Duration,
        packet: Arrival<'_>,
        cause: Fill,
        hear: &mut impl FnMut(Piece<'_>),
    ) {
        match packet.content {
            Content::Audio { samples } => self.take_audio(now, packet, samples, cause, hear),
            Content::Event => self.quiet = true,
            Content::ComfortNoise => {
                self.quiet = true;
                hear(Piece::Noise {
                    payload: packet.payload,
                });
            }
        }
    }

    fn take_audio(
        &mut self,
        now: Duration,
        packet: Arrival<'_>,
        length: u32,
        cause: Fill,
        hear: &mut impl FnMut(Piece<'_>),
    ) {
        if length == 0 || self.is_too_far_ahead(now, length) {
            self.stats.ahead += u32::from(length > 0);
            return;
        }
        let gap = self.gap_before(packet.timestamp);
        if gap >= JUMP || gap > self.due(now) - self.next as i64 + GAP_AHEAD || gap <= -JUMP {
            self.jump_to(now, packet.timestamp);
        } else if gap > 0 {
            let next = Coded {
                payload_type: packet.payload_type,
                payload: packet.payload,
            };
            self.fill(gap as u32, cause, Some(next), hear);
        } else if gap < 0 && self.comes_late(&packet, gap, length) {
            return;
        } else if gap <= -i64::from(length) {
            self.jump_to(now, packet.timestamp);
        }
        self.hear_audio(now, &packet, length, hear);
    }

    fn hear_audio(
        &mut self,
        arrived: Duration,
        packet: &Arrival<'_>,
        length: u32,
        hear: &mut impl FnMut(Piece<'_>),
    ) {
        let skip = (-self.gap_before(packet.timestamp)).max(0) as u32;
        let stream = self.stream_mut();
        stream.next_timestamp = packet.timestamp.wrapping_add(length);
        stream.packet_samples = length;
        stream.late_in_a_row = 0;
        self.next += u64::from(length - skip);
        self.quiet = false;
        self.filled = 0;
        let offset = self.next as i64 - self.clock(arrived) as i64;
        self.offset = if offset < self.offset {
            offset
        } else {
            self.offset + (offset - self.offset) / 16
        };
        hear(Piece::Audio {
            payload_type: packet.payload_type,
            payload: packet.payload,
            skip,
        });
    }

    /// Wholly before its time. A talkspurt that says so, or several such
    /// packets in a row, move the line instead: then the sender's clock stood
    /// still, or the way became longer.
    fn comes_late(&mut self, packet: &Arrival<'_>, gap: i64, length: u32) -> bool {
        if gap > -i64::from(length) {
            return false;
        }
        let stream = self.stream_mut();
        stream.late_in_a_row += 1;
        if packet.marker || stream.late_in_a_row >= LATE_IN_A_ROW {
            return false;
        }
        self.stats.late += 1;
        true
    }

    fn jump_to(&mut self, now: Duration, timestamp: u32) {
        self.stats.jumps += 1;
        let stream = self.stream_mut();
        stream.next_timestamp = timestamp;
        stream.reception.restart_transit(timestamp, now);
    }

    fn is_too_far_ahead(&self, now: Duration, length: u32) -> bool {
        let clock = self.clock(now);
        self.next + u64::from(length) > clock + clock / 500 + AHEAD
    }

    /// Hears held packets that are next in order by now.
    fn drain(&mut self, now: Duration, hear: &mut impl FnMut(Piece<'_>)) {
        loop {
            let expected = self.stream().expected;
            if let Some(index) = self.held.iter().position(|held| held.sequence == expected) {
                let held = self.held.swap_remove(index);
                self.stats.reordered += 1;
                self.count_wait(now.saturating_sub(held.arrived));
                self.stream_mut().expected = expected.wrapping_add(1);
                self.take_held(&held, Fill::Quiet, hear);
            } else if self.has_come(expected) {
                self.stream_mut().expected = expected.wrapping_add(1);
            } else {
                return;
            }
        }
    }

    fn has_come(&self, sequence: u16) -> bool {
        let stream = self.stream();
        let behind = stream.newest.wrapping_sub(sequence);
        behind < WINDOW && stream.seen >> behind & 1 == 1
    }

    fn take_held(&mut self, held: &Held, cause: Fill, hear: &mut impl FnMut(Piece<'_>)) {
        let packet = Arrival {
            ssrc: self.stream().reception.ssrc,
            sequence: held.sequence,
            timestamp: held.timestamp,
            marker: held.marker,
            payload_type: held.payload_type,
            content: Content::Audio {
                samples: held.samples,
            },
            payload: &held.payload[..usize::from(held.octets)],
        };
        self.take(held.arrived, packet, cause, hear);
    }

    fn count_wait(&mut self, wait: Duration) {
        let bucket = (wait.as_millis().saturating_sub(1) / 10).min(3) as usize;
        self.stats.waits[bucket] += 1;
    }

    fn give_up_overdue(&mut self, now: Duration, hear: &mut impl FnMut(Piece<'_>)) {
        let is_overdue = |held: &Held| now.saturating_sub(held.arrived) >= GAP_WAIT;
        while self.held.iter().any(is_overdue) {
            self.give_up(now, hear);
        }
    }

    /// Gives up what is missing before the first held packet, and hears on from there.
    fn give_up(&mut self, now: Duration, hear: &mut impl FnMut(Piece<'_>)) {
        let expected = self.stream().expected;
        let first = |held: &Held| held.sequence.wrapping_sub(expected);
        let found = (0..self.held.len()).min_by_key(|&index| first(&self.held[index]));
        let Some(index) = found else { return };
        let held = self.held.swap_remove(index);
        self.stats.waits[4] += 1;
        self.skip_to(held.sequence);
        self.stream_mut().expected = held.sequence.wrapping_add(1);
        self.take_held(&held, Fill::Lost, hear);
        self.drain(now, hear);
    }

    /// Does not wait any longer for what comes before `sequence`.
    fn skip_to(&mut self, sequence: u16) {
        let expected = self.stream().expected;
        let missing = (0..sequence.wrapping_sub(expected).min(WINDOW))
            .filter(|index| !self.has_come(expected.wrapping_add(*index)))
            .count();
        self.stats.given_up += missing as u32;
        self.stream_mut().expected = sequence;
    }

    /// Fills without a packet, and says why by what came last.
    fn fill_due(&mut self, samples: u32, hear: &mut impl FnMut(Piece<'_>)) {
        let cause = if self.quiet {
            Fill::Quiet
        } else if self.stream.is_some() && self.filled < LOST_LIMIT {
            Fill::Lost
        } else {
            Fill::Stopped
        };
        self.fill(samples, cause, None, hear);
    }

    fn fill(
        &mut self,
        samples: u32,
        cause: Fill,
        next: Option<Coded<'_>>,
        hear: &mut impl FnMut(Piece<'_>),
    ) {
        // A sender that just pauses without a word has stopped, not lost packets.
        let cause = match cause {
            Fill::Quiet if !self.quiet => Fill::Stopped,
            Fill::Quiet | Fill::Lost | Fill::Stopped => cause,
        };
        match cause {
            Fill::Lost => self.stats.concealed += u64::from(samples),
            Fill::Quiet => self.stats.quiet += u64::from(samples),
            Fill::Stopped => self.stats.stopped += u64::from(samples),
        }
        self.next += u64::from(samples);
        self.filled = self.filled.saturating_add(samples);
        if let Some(stream) = &mut self.stream {
            stream.next_timestamp = stream.next_timestamp.wrapping_add(samples);
        }
        hear(Piece::Fill {
            samples,
            cause,
            next,
        });
    }

    fn stream(&self) -> &Stream {
        self.stream.as_ref().expect("admit began the stream")
    }

    fn stream_mut(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("admit began the stream")
    }
}

fn content_samples(content: Content) -> u32 {
    match content {
        Content::Audio { samples } => samples,
        Content::ComfortNoise | Content::Event => 0,
    }
}

const _: () = assert!(LAG as u64 == samples(GAP_WAIT));
const _: () = assert!(AHEAD == CLOCK_RATE as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SSRC: u32 = 7;

    /// What was heard, as text: `5` sound of the packet with payload 5, `5+80`
    /// without its first 80 samples, `L160` lost, `Q160` quiet, `S160` stopped, `N` noise.
    #[derive(Default)]
    struct Ear {
        text: Vec<String>,
        samples: u64,
    }

    impl Ear {
        fn hear(&mut self, piece: Piece<'_>) {
            let (text, samples) = match piece {
                Piece::Audio {
                    payload, skip: 0, ..
                } => (format!("{}", payload[0]), payload.len() as u32),
                Piece::Audio { payload, skip, .. } => (
                    format!("{}+{skip}", payload[0]),
                    payload.len() as u32 - skip,
                ),
                Piece::Fill { samples, cause, .. } => {
                    let letter = match cause {
                        Fill::Lost => "L",
                        Fill::Quiet => "Q",
                        Fill::Stopped => "S",
                    };
                    (format!("{letter}{samples}"), samples)
                }
                Piece::Noise { .. } => ("N".into(), 0),
            };
            self.text.push(text);
            self.samples += u64::from(samples);
        }
    }

    struct Bench {
        receiver: Receiver,
        ear: Ear,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                receiver: Receiver::new(Duration::ZERO),
                ear: Ear::default(),
            }
        }

        /// A packet of 20 ms whose payload is its number, at its own time plus `delay`.
        fn packet(&mut self, ms: u64, sequence: u16, timestamp: u32) {
            self.any(ms, SSRC, sequence, timestamp, false, sequence as u8);
        }

        fn any(
            &mut self,
            ms: u64,
            ssrc: u32,
            sequence: u16,
            timestamp: u32,
            marker: bool,
            byte: u8,
        ) {
            let packet = Arrival {
                ssrc,
                sequence,
                timestamp,
                marker,
                payload_type: 0,
                content: Content::Audio { samples: 160 },
                payload: &[byte; 160],
            };
            let ear = &mut self.ear;
            self.receiver
                .receive(Duration::from_millis(ms), packet, |piece| ear.hear(piece));
        }

        fn other(&mut self, ms: u64, sequence: u16, timestamp: u32, content: Content) {
            let packet = Arrival {
                ssrc: SSRC,
                sequence,
                timestamp,
                marker: false,
                payload_type: 101,
                content,
                payload: &[0; 4],
            };
            let ear = &mut self.ear;
            self.receiver
                .receive(Duration::from_millis(ms), packet, |piece| ear.hear(piece));
        }

        fn tick(&mut self, ms: u64) {
            let ear = &mut self.ear;
            self.receiver
                .tick(Duration::from_millis(ms), |piece| ear.hear(piece));
        }

        /// Packets `numbers` in order and on time, from packet 0 at 20 ms on.
        fn steady(&mut self, numbers: core::ops::Range<u16>) {
            for number in numbers {
                self.packet(u64::from(number) * 20 + 20, number, u32::from(number) * 160);
            }
        }

        fn heard(&mut self) -> String {
            assert_eq!(
                self.ear.samples,
                self.receiver.position(),
                "each sample once"
            );
            std::mem::take(&mut self.ear.text).join(" ")
        }
    }

    #[test]
    fn packets_in_order_are_heard_at_once() {
        let mut bench = Bench::new();
        bench.steady(0..3);
        assert_eq!(bench.heard(), "0 1 2");
        assert_eq!(bench.receiver.stats().packets, 3);
    }

    #[test]
    fn sequence_and_timestamp_wrap_unnoticed() {
        let mut bench = Bench::new();
        for step in 0..4u16 {
            let timestamp = (u32::MAX - 200).wrapping_add(u32::from(step) * 160);
            bench.packet(
                u64::from(step) * 20 + 20,
                0xFFFEu16.wrapping_add(step),
                timestamp,
            );
        }
        assert_eq!(bench.heard(), "254 255 0 1");
        assert_eq!(bench.receiver.reception().unwrap().lost(), 0);
        assert_eq!(bench.receiver.stats().jumps, 0);
    }

    #[test]
    fn a_reordered_packet_that_comes_in_time_is_put_in_its_place() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        bench.packet(80, 3, 480);
        assert_eq!(bench.heard(), "0 1");
        bench.packet(85, 2, 320);
        bench.packet(100, 4, 640);
        assert_eq!(bench.heard(), "2 3 4");
        let stats = bench.receiver.stats();
        assert_eq!((stats.reordered, stats.waits), (1, [1, 0, 0, 0, 0]));
    }

    #[test]
    fn a_lost_packet_is_concealed_after_forty_ms_and_no_earlier() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        bench.packet(80, 3, 480);
        bench.tick(90);
        bench.tick(99);
        assert_eq!(bench.heard(), "0 1");
        // It was due at 60 ms.
        bench.tick(100);
        bench.packet(100, 4, 640);
        assert_eq!(bench.heard(), "L160 3 4");
        bench.packet(125, 2, 320);
        assert_eq!(bench.heard(), "");
        let stats = bench.receiver.stats();
        assert_eq!((stats.given_up, stats.late, stats.concealed), (1, 1, 160));
        assert_eq!(stats.waits[4], 1);
    }

    #[test]
    fn a_duplicate_is_heard_once() {
        let mut bench = Bench::new();
        bench.steady(0..3);
        bench.steady(0..3);
        bench.steady(3..4);
        assert_eq!(bench.heard(), "0 1 2 3");
        assert_eq!(bench.receiver.stats().duplicate, 3);
    }

    #[test]
    fn a_duplicate_of_a_packet_that_waits_is_heard_once() {
        let mut bench = Bench::new();
        bench.steady(0..1);
        bench.packet(60, 2, 320);
        bench.packet(61, 2, 320);
        bench.packet(62, 1, 160);
        assert_eq!(bench.heard(), "0 1 2");
    }

    #[test]
    fn silence_suppression_is_filled_as_time_passes_and_speech_is_heard_at_once() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        bench.other(60, 2, 320, Content::ComfortNoise);
        for ms in (70..=500).step_by(10) {
            bench.tick(ms);
        }
        let text = bench.heard();
        assert!(text.starts_with("0 1 N Q160"), "{text}");
        assert!(!text.contains('L') && !text.contains('S'), "{text}");
        // 480 ms of silence in the timestamps, no packet missing.
        bench.any(520, SSRC, 3, 320 + 3_680, true, 3);
        assert_eq!(bench.heard(), "Q320 3");
        assert_eq!(bench.receiver.stats().late, 0);
    }

    #[test]
    fn a_stream_that_stops_is_concealed_briefly_and_then_said_to_have_stopped() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        for ms in (50..=200).step_by(10) {
            bench.tick(ms);
        }
        let text = bench.heard();
        assert_eq!(text, "0 1 L160 L160 L160 S160 S160 S160");
    }

    #[test]
    fn before_the_first_packet_the_line_is_silent_and_the_packet_ends_now() {
        let mut bench = Bench::new();
        for ms in (10..=200).step_by(10) {
            bench.tick(ms);
        }
        bench.packet(205, 900, 5_000_000);
        let samples = bench.ear.samples;
        assert!(bench.heard().ends_with(" 132"));
        assert_eq!(samples, 205 * 8);
    }

    #[test]
    fn keys_between_sound_do_not_make_a_gap() {
        let mut bench = Bench::new();
        bench.steady(0..1);
        for number in 1..4 {
            bench.other(u64::from(number) * 20 + 20, number, 160, Content::Event);
        }
        bench.packet(100, 4, 640);
        assert_eq!(bench.heard(), "0 Q480 4");
        assert_eq!(bench.receiver.stats().given_up, 0);
    }

    #[test]
    fn a_lost_key_packet_does_not_delay_sound() {
        let mut bench = Bench::new();
        bench.steady(0..1);
        bench.packet(60, 2, 160);
        assert_eq!(bench.heard(), "0 2");
    }

    #[test]
    fn one_packet_of_another_ssrc_is_not_believed_and_two_are() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        bench.any(50, 99, 500, 77_777, true, 50);
        bench.packet(60, 2, 320);
        assert_eq!(bench.heard(), "0 1 2");
        bench.any(80, 99, 501, 77_937, false, 51);
        bench.any(100, 99, 502, 78_097, false, 52);
        let text = bench.heard();
        assert!(text.ends_with("52"), "{text}");
        let stats = bench.receiver.stats();
        assert_eq!((stats.ssrc_changes, stats.probation), (1, 2));
    }

    #[test]
    fn a_sender_that_restarts_its_numbers_is_followed() {
        let mut bench = Bench::new();
        bench.steady(0..3);
        bench.packet(80, 30_000, 900_000);
        bench.packet(100, 30_001, 900_160);
        bench.packet(120, 30_002, 900_320);
        let text = bench.heard();
        assert!(text.ends_with("49 50"), "{text}");
        assert_eq!(bench.receiver.stats().jumps, 1);
    }

    #[test]
    fn a_timestamp_jump_moves_the_clock_not_the_line() {
        for jump in [1_000_000u32, 0u32.wrapping_sub(500_000)] {
            let mut bench = Bench::new();
            bench.steady(0..2);
            bench.packet(60, 2, 320u32.wrapping_add(jump));
            bench.packet(80, 3, 480u32.wrapping_add(jump));
            assert_eq!(bench.heard(), "0 1 2 3");
            assert_eq!(bench.receiver.stats().jumps, 1);
        }
    }

    #[test]
    fn a_sender_whose_clock_stood_still_is_heard_again() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        for ms in (50..=400).step_by(10) {
            bench.tick(ms);
        }
        bench.heard();
        // Its timestamps go on where they stopped, 340 ms ago.
        for number in 2..9u16 {
            bench.packet(
                400 + u64::from(number) * 20,
                number,
                u32::from(number) * 160,
            );
        }
        assert_eq!(bench.heard(), "6 7 8");
        let mut marked = Bench::new();
        marked.steady(0..2);
        for ms in (50..=400).step_by(10) {
            marked.tick(ms);
        }
        marked.heard();
        marked.any(410, SSRC, 2, 320, true, 2);
        assert_eq!(marked.heard(), "2");
    }

    #[test]
    fn a_flood_in_order_cannot_run_the_line_ahead_of_the_clock() {
        let mut bench = Bench::new();
        for number in 0..5_000u16 {
            bench.packet(100, number, u32::from(number) * 160);
        }
        assert!(bench.receiver.position() <= 800 + AHEAD + 160);
        assert!(bench.receiver.stats().ahead > 4_000);
    }

    #[test]
    fn a_packet_too_large_to_be_kept_gives_the_gap_up() {
        let mut bench = Bench::new();
        bench.steady(0..1);
        let packet = Arrival {
            ssrc: SSRC,
            sequence: 2,
            timestamp: 320,
            marker: false,
            payload_type: 0,
            content: Content::Audio { samples: 800 },
            payload: &[2; 800],
        };
        let ear = &mut bench.ear;
        bench
            .receiver
            .receive(Duration::from_millis(60), packet, |piece| ear.hear(piece));
        assert_eq!(bench.heard(), "0 L160 2");
    }

    #[test]
    fn the_end_brings_the_line_up_to_the_clock() {
        let mut bench = Bench::new();
        bench.steady(0..2);
        bench.packet(80, 3, 480);
        let ear = &mut bench.ear;
        bench
            .receiver
            .finish(Duration::from_millis(100), |piece| ear.hear(piece));
        assert_eq!(bench.heard(), "0 1 L160 3 L160");
        assert_eq!(bench.receiver.position(), 800);
    }

    #[test]
    fn a_drifting_sender_loses_nothing() {
        // 300 ppm fast and slow, for an hour: more than any crystal.
        for (numerator, denominator) in [(10_003u64, 10_000), (9_997, 10_000)] {
            let mut bench = Bench::new();
            let mut next = 0u32;
            for tick in 1..360_000u64 {
                let ms = tick * 10;
                while u64::from(next) * 20 * denominator / numerator + 20 <= ms {
                    bench.packet(ms, next as u16, next * 160);
                    next += 1;
                }
                bench.tick(ms);
            }
            let stats = bench.receiver.stats();
            assert_eq!(
                (stats.concealed, stats.late, stats.jumps, stats.ahead),
                (0, 0, 0, 0)
            );
        }
    }

    #[test]
    fn the_packet_awaited_may_be_far_behind_the_newest() {
        let mut receiver = Receiver::new(Duration::ZERO);
        let payload = [0xff; 80];
        let mut heard = 0;
        // The third packet is held, 178 numbers ahead of the one awaited.
        for (sequence, timestamp) in [(0, 0), (1, 80), (179, 240), (2, 160)] {
            let packet = Arrival {
                ssrc: 7,
                sequence,
                timestamp,
                marker: false,
                payload_type: 0,
                content: Content::Audio { samples: 80 },
                payload: &payload,
            };
            receiver.receive(Duration::from_millis(10), packet, |piece| {
                assert!(matches!(piece, Piece::Audio { .. }), "{piece:?}");
                heard += 80;
            });
        }
        assert_eq!(receiver.stats().packets, 4);
        assert_eq!(receiver.position(), heard);
    }

    proptest! {
        /// Whatever comes in whatever order: each sample of the line is handed
        /// out once, the line keeps near the clock, nothing panics.
        #[test]
        fn any_packets_make_one_line(
            packets in proptest::collection::vec(
                (0u64..30, prop_oneof![Just(SSRC), Just(8)], any::<u16>(), any::<u32>(), any::<bool>(), 0u8..4),
                1..400,
            ),
        ) {
            let mut bench = Bench::new();
            let mut ms = 0;
            for (wait, ssrc, sequence, timestamp, marker, kind) in packets {
                ms += wait;
                match kind {
                    0 => bench.other(ms, sequence % 64, timestamp % 4_000, Content::Event),
                    1 => bench.any(ms, ssrc, sequence, timestamp, marker, 0),
                    _ => bench.any(ms, ssrc, sequence % 64, u32::from(sequence % 64) * 160, marker, 0),
                }
                bench.tick(ms);
                bench.heard();
                prop_assert!(bench.receiver.position() <= ms * 8 + AHEAD + 1_600);
            }
        }

        /// Loss and delay up to the wait: what arrives in time is heard, in order.
        #[test]
        fn what_comes_within_the_wait_is_heard_in_order(
            fates in proptest::collection::vec((0u64..38, 0u8..20), 20..200),
        ) {
            let mut arrivals: Vec<(u64, u16)> = fates
                .iter()
                .enumerate()
                .filter(|(index, (_, lost))| *index == 0 || *lost > 0)
                .map(|(index, (delay, _))| (index as u64 * 20 + 20 + if index == 0 { 0 } else { *delay }, index as u16))
                .collect();
            arrivals.sort_unstable();
            let count = arrivals.len();
            let mut bench = Bench::new();
            let mut arrivals = arrivals.into_iter().peekable();
            for ms in 0..fates.len() as u64 * 20 + 200 {
                while arrivals.peek().is_some_and(|(at, _)| *at <= ms) {
                    let (_, number) = arrivals.next().unwrap();
                    bench.any(ms, SSRC, number, u32::from(number) * 160, false, (number % 200) as u8);
                }
                if ms % 10 == 0 {
                    bench.tick(ms);
                }
            }
            let text = bench.heard();
            let heard: Vec<u16> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
            prop_assert_eq!(heard.len(), count, "{}", text);
            prop_assert!(heard.windows(2).all(|pair| (pair[1] + 200 - pair[0]) % 200 < 100), "{}", text);
            prop_assert_eq!(bench.receiver.stats().late, 0);
        }
    }
}
