//! One leg: a step function of packets, ticks and orders.
//!
//! It joins the line (what is heard) and the desk (what is said, collected and
//! sent), and holds no socket, ring or clock: what leaves goes through an
//! [`Outlet`], so that it runs the same in a media thread, in a test of a
//! minute in no time, and under callgrind. Does not allocate, free or block.

use std::net::SocketAddr;
use std::time::Duration;

use offhook_dsp::{FRAME, Sensitivity};
use offhook_sip::rtp::{Arrival, Content, Latch, TelephoneEvent, Template, View};

use super::board::Figures;
use super::codec::{self, Opus};
use super::desk::{Desk, Need, Tape};
use super::line::Line;
use super::outlet::{Outlet, Remote};
use super::playout::PlayoutFigures;
use super::sender::{Packet, SAMPLES_MAX, Turn, packet_samples};
use super::words::{Codec, Order, Report, ReportKind, SlotId, Stream, Summary};

/// Ticks between two notices to the board.
const PUBLISH_TICKS: u32 = 10;
/// No packet for this long is reported, and again each time it has passed.
const MEDIA_LOST: Duration = Duration::from_secs(1);
const MEDIA_LOST_AGAIN: Duration = Duration::from_secs(5);
/// For so long after a packet of the joined leg was sent on as it came, the next one
/// is waited for: two of the longest.
const STRAIGHT: Duration = Duration::from_millis(120);

/// What a new leg is given.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// Its name.
    pub slot: SlotId,
    /// The header of its packets.
    pub template: Template,
    /// First sequence number.
    pub sequence: u16,
    /// First timestamp.
    pub timestamp: u32,
    /// Shapes its noise.
    pub seed: u32,
    /// How readily its ear calls a voice a machine.
    pub sensitivity: Sensitivity,
}

/// Sound of the peer, for the leg that is joined with this one.
pub struct Passed<'a> {
    codec: Codec,
    samples: u32,
    packet: View<'a>,
}

/// One leg.
pub struct Leg {
    /// Outlives it.
    pub(super) line: Box<Line>,
    desk: Desk,
    tick: u32,
    phase: u32,
    last_packet: Duration,
    lost_after: Duration,
    /// Packets of the joined leg are sent on as they come, until then at least.
    straight_until: Duration,
    summary: Option<Summary>,
    closed: bool,
}

impl Leg {
    /// A leg that knows no peer yet, on a line that is new.
    pub fn new(birth: Birth, line: Box<Line>) -> Self {
        Self {
            line,
            desk: Desk::new(birth),
            tick: 0,
            // Neighbours send in different ticks.
            phase: u32::from(birth.slot.index),
            last_packet: Duration::ZERO,
            lost_after: MEDIA_LOST,
            straight_until: Duration::ZERO,
            summary: None,
            closed: false,
        }
    }

    /// Its name.
    pub fn slot(&self) -> SlotId {
        self.desk.reporter.slot
    }

    /// `Closed` has been reported: nothing more comes.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes what Opus needs; gives it back if it has some.
    pub fn lend(&mut self, opus: Opus) -> Option<Opus> {
        if self.desk.sender.encoder.opus.is_some() {
            return Some(opus);
        }
        let (decoder, encoder) = opus.split();
        self.line.decoder().opus = Some(decoder);
        self.desk.sender.encoder.opus = Some(encoder);
        None
    }

    /// Packets that were dropped unread, because there were too many.
    pub fn count_flood(&mut self, packets: u32) {
        let flooded = &mut self.desk.counters.flooded;
        *flooded = flooded.saturating_add(packets);
    }

    /// Whom it hears, and who may take over from that one at once; `None` while nobody was
    /// heard.
    pub fn sources(&self) -> Option<[SocketAddr; 2]> {
        self.desk.latch.as_ref().and_then(Latch::sources)
    }

    /// It has a peer.
    pub fn is_connected(&self) -> bool {
        self.desk.stream.is_some() && self.summary.is_none()
    }

    /// A datagram came. Sound of the peer is given back, for the leg that this one
    /// is joined with.
    pub fn on_packet<'a>(
        &mut self,
        now: Duration,
        from: SocketAddr,
        bytes: &'a mut [u8],
        out: &mut impl Outlet,
    ) -> Option<Passed<'a>> {
        if self.summary.is_some() {
            return None;
        }
        if self.desk.is_control(bytes) {
            if self.desk.is_from_peer(from) {
                out.control(self.slot(), now, from, bytes);
            }
            return None;
        }
        let bytes = self.desk.open(bytes)?;
        let Ok(packet) = View::parse(bytes) else {
            self.desk.counters.malformed += 1;
            return None;
        };
        if !self.desk.admit(now, from, &packet, self.line.heard(), out) {
            return None;
        }
        self.last_packet = now;
        self.lost_after = MEDIA_LOST;
        let Some(content) = self.desk.content(&packet) else {
            self.desk.counters.malformed += 1;
            return None;
        };
        let codec = self.line.codec(packet.payload_type());
        let ratio = codec.map_or(self.desk.ratio, codec::ratio);
        self.desk.ratio = ratio;
        let timestamp = self.desk.slower.timestamp(packet.timestamp(), ratio);
        if content == Content::Event {
            self.hear_key(now, timestamp, &packet, out);
        }
        self.hear_packet(now, timestamp, &packet, content, out);
        let hushed = self.desk.is_hushed(self.line.heard());
        match (codec, content) {
            (Some(codec), Content::Audio { samples }) if !hushed => Some(Passed {
                codec,
                samples,
                packet,
            }),
            _ => None,
        }
    }

    /// A packet of sound of the joined leg came: it is sent on as it is, where our
    /// peer takes that codec and nothing else is said to it.
    pub fn forward(&mut self, now: Duration, sound: &Passed<'_>, out: &mut impl Outlet) {
        let desk = &mut self.desk;
        let takes = |stream: &Stream| {
            stream.codec == sound.codec && sound.samples <= u32::from(stream.longest_ms) * 8
        };
        let takes = desk.stream.as_ref().is_some_and(takes);
        let Some(target) = desk.target().filter(|_| takes) else {
            return;
        };
        if !desk.is_free() || sound.packet.payload().len() > SAMPLES_MAX {
            return;
        }
        let mut bytes = Packet::new();
        if desk
            .sender
            .forward(&sound.packet, sound.samples, &mut bytes)
        {
            desk.send(target, &mut bytes, out);
            desk.counters.straight += 1;
            self.straight_until = now + STRAIGHT;
        }
    }

    /// It was joined with another leg, or was to be; what is being said fades.
    pub fn on_joined(&mut self, now: Duration, report: Option<ReportKind>, out: &mut impl Outlet) {
        let sample = self.line.heard();
        let desk = &mut self.desk;
        if report != Some(ReportKind::NotJoined) && !desk.mouth.is_silent() {
            desk.mouth.stop();
            desk.drain_mouth(now, sample, out);
        }
        if let Some(kind) = report {
            desk.reporter.report(out, now, sample, kind);
        }
    }

    /// 10 ms have passed.
    pub fn on_tick(&mut self, now: Duration, out: &mut impl Outlet) {
        self.tick = self.tick.wrapping_add(1);
        if self.summary.is_some() {
            self.try_close(now, out);
            return;
        }
        let Some(stream) = &self.desk.stream else {
            return;
        };
        let samples = packet_samples(stream.ptime_ms);
        let receives = stream.direction.receives();
        let Self { line, desk, .. } = self;
        line.tick(now, |heard| desk.hear(now, &heard, out));
        self.meet_needs(now, out);
        let key = self.desk.keypad.tick(now);
        self.desk.report_digit(now, self.line.heard(), key, out);
        self.watch(now, receives, out);
        let every = (samples / FRAME) as u32;
        if self.tick.wrapping_add(self.phase).is_multiple_of(every) {
            self.speak(now, samples, out);
        }
        self.flush(now, out);
        if self.tick.is_multiple_of(PUBLISH_TICKS) {
            out.publish(&self.figures(now));
        }
    }

    /// An order came.
    pub fn on_order(&mut self, now: Duration, order: Order, out: &mut impl Outlet) {
        let sample = self.line.heard();
        let desk = &mut self.desk;
        match order {
            Order::Play { script, .. } if self.summary.is_some() => out.free(script),
            Order::Stream { speech, .. } if self.summary.is_some() => out.end_voice(speech),
            _ if self.summary.is_some() => {}
            Order::Connect(stream) => self.connect(now, stream),
            Order::Anew => desk.anew = true,
            Order::Answered { they_called } => self.line.answer(they_called),
            Order::Play {
                turn,
                play,
                script,
                interruptible,
            } => {
                let done = desk.mouth.play(turn, play, script, interruptible);
                desk.answer_command(now, sample, turn, done.is_ok(), out);
            }
            Order::Stream {
                turn,
                play,
                speech,
                interruptible,
            } => {
                let done = desk.mouth.stream(turn, play, speech, interruptible);
                desk.answer_command(now, sample, turn, done.is_ok(), out);
            }
            Order::Stop => {
                desk.mouth.stop();
                desk.drain_mouth(now, sample, out);
            }
            Order::Resume { turn, play } => {
                let done = desk.mouth.resume(turn, play);
                desk.answer_command(now, sample, turn, done.is_ok(), out);
            }
            Order::Collect { secret } => desk.collect(sample, secret, out),
            Order::Press(key) => desk.report_digit(now, sample, Some(key), out),
            Order::SendDigits(digits) => {
                desk.sender.push_keys(&digits);
            }
            Order::Echo => {
                desk.echo_base = desk.sender.timestamp_before(sample);
                desk.mouth.echo();
            }
            Order::Doze => self.line.doze(),
            Order::Understand(words) => self.line.understand(words),
            Order::Tone { hz } => desk.mouth.tone(hz),
            Order::Record(recording) => {
                desk.tape.get_or_insert(Tape {
                    recording,
                    from: sample / FRAME as u64,
                });
            }
            Order::Close => self.close(now, out),
        }
    }

    fn connect(&mut self, now: Duration, stream: Stream) {
        let desk = &mut self.desk;
        match &mut desk.latch {
            Some(latch) => latch.signal(stream.remote_rtp),
            None => {
                desk.latch = Some(Latch::new(stream.remote_rtp));
                self.line.begin(now);
                self.last_packet = now;
            }
        }
        self.line.connect(stream.receive.clone());
        desk.keypad.connect(stream.events != [None; 2]);
        if std::mem::take(&mut desk.anew) {
            desk.sender.begin_anew();
        }
        desk.sender.connect(&stream);
        desk.encrypt(&stream);
        desk.stream = Some(stream);
    }

    fn hear_packet(
        &mut self,
        now: Duration,
        timestamp: u32,
        packet: &View<'_>,
        content: Content,
        out: &mut impl Outlet,
    ) {
        let arrival = Arrival {
            ssrc: packet.ssrc(),
            sequence: packet.sequence(),
            timestamp,
            marker: packet.marker(),
            payload_type: packet.payload_type(),
            content,
            payload: packet.payload(),
        };
        let Self { line, desk, .. } = self;
        let prompts = desk.mouth.packets();
        line.receive(now, arrival, prompts, |heard| desk.hear(now, &heard, out));
        self.meet_needs(now, out);
        self.desk.send_echo(self.line.heard(), out);
    }

    fn hear_key(
        &mut self,
        now: Duration,
        timestamp: u32,
        packet: &View<'_>,
        out: &mut impl Outlet,
    ) {
        let Some(event) = TelephoneEvent::parse(packet.payload()) else {
            self.desk.counters.malformed += 1;
            return;
        };
        let key = self
            .desk
            .keypad
            .hear_event(timestamp, packet.marker(), event);
        if let Some(key) = key.filter(|_| !self.desk.is_hushed(self.line.heard())) {
            out.pass_key(key);
        }
        self.desk.report_digit(now, self.line.heard(), key, out);
    }

    /// Acts on what the frames just heard were found to need.
    fn meet_needs(&mut self, now: Duration, out: &mut impl Outlet) {
        let sample = self.line.heard();
        let needs = core::mem::take(&mut self.desk.needs);
        for need in needs {
            match need {
                Need::Onset { start, over_prompt } => {
                    let onset = self.line.onset(start, now, self.desk.mouth.packets());
                    self.desk.mouth.hear_onset(onset, now, over_prompt);
                    self.desk.drain_mouth(now, sample, out);
                }
                Need::Tone { key } => {
                    let digit = self.desk.keypad.hear_tone(now, key);
                    self.desk.report_digit(now, sample, digit, out);
                }
            }
        }
    }

    /// Sends the packet of this tick, or lets its time pass.
    fn speak(&mut self, now: Duration, samples: usize, out: &mut impl Outlet) {
        let mut sound = [0; SAMPLES_MAX];
        let Some(target) = self.desk.target().filter(|_| !self.desk.mouth.echoes()) else {
            self.desk.mouth.settle(now);
            self.desk.sender.skip(samples);
            self.pass_to_ear(&sound[..samples], 0);
            self.desk.drain_mouth(now, self.line.heard(), out);
            return;
        };
        while let Some(key) = out.joined_key() {
            self.desk.sender.push_key(key);
        }
        let desk = &mut self.desk;
        if now < self.straight_until && desk.is_free() {
            for frame in sound[..samples].as_chunks_mut().0 {
                out.joined(frame, &mut [0; FRAME]);
            }
            desk.sender.skip(samples);
            return self.pass_to_ear(&sound[..samples], 0);
        }
        let mut packet = Packet::new();
        let mut talks = 0u8;
        let mut rests = desk.is_free();
        let (mut high, mut wide) = ([0; SAMPLES_MAX], false);
        if let Turn::Sound = desk.sender.begin(samples, &mut packet) {
            let frames = sound[..samples].as_chunks_mut().0.iter_mut();
            let above = high.as_chunks_mut().0;
            for (index, (frame, above)) in frames.zip(above).enumerate() {
                let mut theirs = [0; FRAME];
                // Taken also while we speak: what was said meanwhile is not said later.
                let joined = out.joined(&mut theirs, above).then_some(&theirs);
                rests &= joined.is_none();
                wide |= joined.is_some();
                if !desk.mouth.is_silent() {
                    above.fill(0);
                }
                let voice = |speech, frame: &mut [i16; FRAME]| out.voice(speech, frame);
                let talk = desk.mouth.frame(now, frame, joined, voice);
                talks |= u8::from(talk) << index;
                desk.sender.overlay(frame);
            }
            let sound = &sound[..samples];
            if rests {
                desk.sender.rest(sound, &mut packet);
            } else {
                let high = wide.then_some(&high[..samples]);
                desk.sender.sound(sound, high, talks != 0, &mut packet);
            }
        }
        if talks != 0 {
            desk.mouth.count_packet();
        }
        desk.send(target, &mut packet, out);
        self.pass_to_ear(&sound[..samples], talks);
        self.desk.drain_mouth(now, self.line.heard(), out);
    }

    /// The ear has to know what we send; bit `n` of `talks` is a prompt in frame `n`.
    fn pass_to_ear(&mut self, sound: &[i16], talks: u8) {
        for (index, frame) in sound.as_chunks().0.iter().enumerate() {
            self.line.sent(frame, talks >> index & 1 == 1);
        }
    }

    /// Reports that packets have stopped while they are due.
    fn watch(&mut self, now: Duration, receives: bool, out: &mut impl Outlet) {
        if !receives {
            self.last_packet = now;
        }
        let silent = now.saturating_sub(self.last_packet);
        if silent < self.lost_after {
            return;
        }
        self.lost_after += MEDIA_LOST_AGAIN;
        let ms = u32::try_from(silent.as_millis()).unwrap_or(u32::MAX);
        let sample = self.line.heard();
        let reporter = &mut self.desk.reporter;
        reporter.report(out, now, sample, ReportKind::MediaLost { ms });
    }

    fn flush(&mut self, now: Duration, out: &mut impl Outlet) -> bool {
        let sample = self.line.heard();
        let desk = &mut self.desk;
        let (speaking, turn) = (desk.speaking, desk.mouth.turn());
        desk.reporter.flush(out, |count| {
            let kind = ReportKind::EventsLost {
                count,
                speaking,
                turn,
            };
            (now, sample, kind)
        })
    }

    fn close(&mut self, now: Duration, out: &mut impl Outlet) {
        if self.desk.stream.is_some() {
            let Self { line, desk, .. } = self;
            line.finish(now, |heard| desk.hear(now, &heard, out));
            self.meet_needs(now, out);
        }
        let sample = self.line.heard();
        self.desk.mouth.close(now);
        self.desk.drain_mouth(now, sample, out);
        self.desk.collect(sample, None, out);
        if let Some(tape) = self.desk.tape {
            out.end_tape(tape.recording, (sample / FRAME as u64 - tape.from) as u32);
        }
        out.publish(&self.figures(now));
        self.summary = Some(self.summarise(out.remote(), out.playout()));
        self.try_close(now, out);
    }

    /// `Closed` is never lost: it waits for room.
    fn try_close(&mut self, now: Duration, out: &mut impl Outlet) {
        let Some(summary) = self.summary else { return };
        if self.closed || !self.flush(now, out) {
            return;
        }
        let report = Report {
            slot: self.slot(),
            at: now,
            sample: self.line.heard(),
            kind: ReportKind::Closed(Summary {
                events_lost: self.desk.reporter.lost_ever,
                ..summary
            }),
        };
        self.closed = out.report(&report);
    }

    fn figures(&self, now: Duration) -> Figures {
        let (sent, sent_octets) = self.desk.sender.sent();
        let reception = self.line.receiver().reception();
        let received = reception.copied().unwrap_or_default();
        Figures {
            generation: self.slot().generation,
            at: now,
            timestamp: self.desk.sender.timestamp(),
            ratio: self.desk.sender.ratio(),
            sent,
            sent_octets,
            remote_ssrc: reception.map(|reception| reception.ssrc),
            received: received.received,
            expected: reception.map_or(0, |reception| reception.expected()),
            highest: received.highest,
            lost: reception.map_or(0, |reception| reception.lost()),
            jitter: received.jitter() * self.desk.ratio,
        }
    }

    fn summarise(&self, remote: Remote, playout: Option<PlayoutFigures>) -> Summary {
        let desk = &self.desk;
        let stats = self.line.receiver().stats();
        let reception = self.line.receiver().reception();
        let (barge_ins, worst_cut) = desk.mouth.barge_ins();
        Summary {
            length_samples: self.line.heard(),
            codec: desk.stream.as_ref().map(|stream| stream.codec),
            received: stats.packets,
            lost: reception.map_or(0, |reception| reception.lost()),
            late: stats.late,
            duplicate: stats.duplicate,
            reordered: stats.reordered,
            jumps: stats.jumps + stats.ssrc_changes,
            malformed: desk.counters.malformed,
            foreign: desk.counters.foreign,
            forged: desk.counters.forged,
            unheard: desk.counters.unheard,
            flooded: desk.counters.flooded.saturating_add(stats.ahead),
            concealed_ms: milliseconds(stats.concealed.saturating_sub(self.line.recovered())),
            recovered_ms: milliseconds(self.line.recovered()),
            stopped_ms: milliseconds(stats.stopped),
            waits: stats.waits,
            jitter_us: reception.map_or(0, |reception| reception.jitter() * 125),
            sent: desk.sender.sent().0,
            unsent: desk.counters.unsent,
            shifts: self.line.shifts(),
            tape_gaps: desk.counters.tape_gaps,
            heard_gaps: desk.counters.heard_gaps,
            voice_gaps: desk.mouth.voice_gaps(),
            events_lost: desk.reporter.lost_ever,
            playout,
            straight: desk.counters.straight,
            barge_ins,
            worst_cut,
            round_trip_us: remote.round_trip_us,
            remote_lost: remote.lost,
        }
    }
}

fn milliseconds(samples: u64) -> u32 {
    u32::try_from(samples / 8).unwrap_or(u32::MAX)
}
