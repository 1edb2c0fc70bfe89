//! What a leg hears: packets to frames, frames to the ear, each paired with
//! what we sent at the time.
//!
//! It decides nothing about what it hears. Called by the leg for every packet
//! and tick; does not allocate or block.

use std::time::Duration;

use offhook_dsp::{Ear, Events, FRAME, Sensitivity, Source, Words};
use offhook_sip::rtp::{Arrival, Receiver};

use super::codec::Decoder;
use super::framer::{Frame, Framer};
use super::mouth::Onset;
use super::words::{Codec, ReceiveTypes};

/// Frames of ours that are kept for pairing: 320 ms.
const FAR_FRAMES: u64 = 32;
/// The line lags this much behind what we sent before it is re-centred: 240 ms.
const FAR_LAG_MAX: u64 = 24;
/// Where it is re-centred to: the frames of one usual packet.
const FAR_LAG: u64 = 2;
/// Packets whose arrival is remembered: 1.28 s, longer than an onset takes to be sure of.
const ARRIVALS: usize = 64;

/// One frame as it was heard.
pub struct Heard<'a> {
    /// From the line.
    pub near: &'a [i16; FRAME],
    /// What the line has above 4 kHz, where it is wide; else silence.
    pub high: &'a [i16; FRAME],
    /// What we sent.
    pub far: &'a [i16; FRAME],
    /// What the ear made of it.
    pub events: &'a Events,
    /// Where `near` is from.
    pub source: Source,
    /// Samples heard so far, this frame included.
    pub at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    frame: [i16; FRAME],
    prompt: bool,
}

impl Sent {
    const SILENT: Self = Self {
        frame: [0; FRAME],
        prompt: false,
    };
}

/// What we sent, kept until it pairs with what we hear.
struct Far {
    ring: [Sent; FAR_FRAMES as usize],
    written: u64,
    /// Frame `n` of the line pairs with frame `n + shift` of ours, once known.
    shift: Option<i64>,
    shifts: u32,
}

impl Far {
    const fn new() -> Self {
        Self {
            ring: [Sent::SILENT; FAR_FRAMES as usize],
            written: 0,
            shift: None,
            shifts: 0,
        }
    }

    fn push(&mut self, frame: &[i16; FRAME], prompt: bool) {
        self.ring[(self.written % FAR_FRAMES) as usize] = Sent {
            frame: *frame,
            prompt,
        };
        self.written += 1;
    }

    /// Nothing was sent yet. Only what was written is erased.
    fn renew(&mut self) {
        let written = self.written.min(FAR_FRAMES) as usize;
        self.ring[..written].fill(Sent::SILENT);
        (self.written, self.shift, self.shifts) = (0, None, 0);
    }

    /// The frame that pairs with the line's frame `number`, and by how many
    /// samples the pairing moved. An echo never comes before its sound: the
    /// line's newest never pairs with something older than the newest sent,
    /// unless it is that much late itself.
    fn pair(&mut self, number: u64) -> (Sent, i16) {
        let written = self.written as i64;
        let recentred = written - FAR_LAG as i64 - number as i64;
        let shift = *self.shift.get_or_insert(recentred);
        let index = number as i64 + shift;
        let moved = if index >= written && written > 0 {
            written - 1 - index
        } else if written - index > FAR_LAG_MAX as i64 {
            recentred - shift
        } else {
            0
        };
        if moved != 0 {
            self.shifts += 1;
            self.shift = Some(shift + moved);
        }
        let samples = moved.saturating_mul(FRAME as i64);
        let samples = samples.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        let sent = u64::try_from(index + moved)
            .ok()
            .filter(|index| *index < self.written);
        let sent = sent.map_or(Sent::SILENT, |index| {
            self.ring[(index % FAR_FRAMES) as usize]
        });
        (sent, samples)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Came {
    /// Position of the line after the packet.
    end: u64,
    arrived: Duration,
    /// Packets with prompt sound that we had sent by then.
    packets: u32,
}

/// The ear and what it is told beside the sound of the line.
struct Hearing {
    ear: Ear,
    far: Far,
    number: u64,
    answered: bool,
    /// They called us: the ear is told with the first frame.
    called_us: bool,
    /// The ear sleeps until the first packet.
    dozes: bool,
    /// Frames for which it has slept, from the first.
    slept: u64,
    events: Events,
}

/// What one leg hears.
pub struct Line {
    receiver: Receiver,
    framer: Framer,
    hearing: Hearing,
    came: [Came; ARRIVALS],
    came_count: usize,
}

impl Line {
    /// A line that has not begun; the seed only shapes the noise. Inlined, so that its
    /// 42 kB are written where they stay.
    #[inline(always)]
    pub fn new(seed: u32, sensitivity: Sensitivity) -> Self {
        Self {
            receiver: Receiver::new(Duration::ZERO),
            framer: Framer::new(seed),
            hearing: Hearing {
                ear: Ear::with_sensitivity(sensitivity),
                far: Far::new(),
                number: 0,
                answered: false,
                called_us: false,
                dozes: false,
                slept: 0,
                events: Events::new(),
            },
            came: [Came::default(); ARRIVALS],
            came_count: 0,
        }
    }

    /// Its ear has not heard anything yet, and nothing came: another call may have it.
    pub fn is_new(&self) -> bool {
        self.came_count == 0 && self.hearing.is_asleep()
    }

    /// For another call, as after `new`; only while it is new.
    pub fn renew(&mut self, seed: u32) {
        debug_assert!(self.is_new(), "a call was heard on it");
        self.receiver = Receiver::new(Duration::ZERO);
        self.framer.renew(seed);
        let hearing = &mut self.hearing;
        hearing.far.renew();
        (hearing.number, hearing.slept) = (0, 0);
        (hearing.answered, hearing.called_us, hearing.dozes) = (false, false, false);
    }

    /// Sample 0 is now.
    pub fn begin(&mut self, now: Duration) {
        self.receiver = Receiver::new(now);
    }

    /// What the peer may send from now on.
    pub fn connect(&mut self, types: ReceiveTypes) {
        self.framer.connect(types);
    }

    /// The call is answered, theirs by us or ours by them.
    pub fn answer(&mut self, they_called: bool) {
        self.hearing.answered = true;
        match self.hearing.is_asleep() {
            true => self.hearing.called_us = they_called,
            false if they_called => self.hearing.ear.they_called(),
            false => {}
        }
    }

    /// A recogniser understood this much of the peer. An ear that has heard nothing
    /// takes nobody's word.
    pub fn understand(&mut self, words: Words) {
        if !self.hearing.is_asleep() {
            self.hearing.ear.understand(words);
        }
    }

    /// What it decodes with.
    pub fn decoder(&mut self) -> &mut Decoder {
        self.framer.decoder()
    }

    /// The codec of a payload type, if it was agreed on.
    pub fn codec(&self, payload_type: u8) -> Option<Codec> {
        self.framer.codec(payload_type)
    }

    /// The ear sleeps until the first packet: until then only its clock goes on.
    pub fn doze(&mut self) {
        self.hearing.dozes = true;
    }

    /// Order and reception figures.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Samples heard by the ear.
    pub fn heard(&self) -> u64 {
        self.hearing.number * FRAME as u64
    }

    /// Samples of lost packets that the next one repeated: they were not made up.
    pub fn recovered(&self) -> u64 {
        self.framer.recovered()
    }

    /// Times that `far` was re-centred.
    pub fn shifts(&self) -> u32 {
        self.hearing.far.shifts
    }

    /// We sent this frame.
    pub fn sent(&mut self, frame: &[i16; FRAME], prompt: bool) {
        self.hearing.far.push(frame, prompt);
    }

    /// A packet of the peer; `prompts` counts our packets with prompt sound.
    pub fn receive(
        &mut self,
        now: Duration,
        packet: Arrival<'_>,
        prompts: u32,
        mut hear: impl FnMut(Heard<'_>),
    ) {
        let Self {
            receiver,
            framer,
            hearing,
            ..
        } = self;
        let mut frame = |frame: Frame<'_>| hearing.frame(&frame, &mut hear);
        receiver.receive(now, packet, |piece| framer.take(piece, &mut frame));
        self.came[self.came_count % ARRIVALS] = Came {
            end: self.receiver.position(),
            arrived: now,
            packets: prompts,
        };
        self.came_count += 1;
    }

    /// What is due without a packet.
    pub fn tick(&mut self, now: Duration, mut hear: impl FnMut(Heard<'_>)) {
        let Self {
            receiver,
            framer,
            hearing,
            ..
        } = self;
        let mut frame = |frame: Frame<'_>| hearing.frame(&frame, &mut hear);
        receiver.tick(now, |piece| framer.take(piece, &mut frame));
    }

    /// The leg ends: hears everything up to now.
    pub fn finish(&mut self, now: Duration, mut hear: impl FnMut(Heard<'_>)) {
        let Self {
            receiver,
            framer,
            hearing,
            ..
        } = self;
        let mut frame = |frame: Frame<'_>| hearing.frame(&frame, &mut hear);
        receiver.finish(now, |piece| framer.take(piece, &mut frame));
    }

    /// When the packet with sample `start` came.
    pub fn onset(&self, start: u64, now: Duration, prompts: u32) -> Onset {
        let oldest = self.came_count.saturating_sub(ARRIVALS);
        let came = (oldest..self.came_count)
            .map(|index| self.came[index % ARRIVALS])
            .find(|came| came.end > start);
        let (arrived, packets) = came.map_or((now, prompts), |came| (came.arrived, came.packets));
        Onset {
            start,
            arrived,
            packets,
        }
    }
}

impl Hearing {
    /// The ear has not heard a frame yet.
    fn is_asleep(&self) -> bool {
        self.slept == self.number
    }

    /// The ear is about to hear its first frame.
    fn wake(&mut self) {
        self.ear.pass(self.slept);
        if self.called_us {
            self.ear.they_called();
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, hear: &mut impl FnMut(Heard<'_>)) {
        let (sent, playout_shift) = self.far.pair(self.number);
        let line = offhook_dsp::Line {
            source: frame.source,
            playout_shift,
            answered: self.answered,
            prompt: sent.prompt,
        };
        self.events.clear();
        self.dozes &= frame.source == Source::NoRtp;
        match (self.dozes, self.is_asleep()) {
            (true, true) => self.slept += 1,
            (true, false) => self.ear.pass(1),
            (false, true) => self.wake(),
            (false, false) => {}
        }
        if !self.dozes {
            self.ear
                .hear(frame.near, &sent.frame, line, &mut self.events);
        }
        self.number += 1;
        hear(Heard {
            near: frame.near,
            high: frame.high,
            far: &sent.frame,
            events: &self.events,
            source: frame.source,
            at: self.number * FRAME as u64,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offhook_dsp::EventKind;
    use offhook_dsp::noise::ComfortNoise;
    use offhook_sip::rtp::Fill;

    /// Nothing comes for so many samples; nobody looks at what is heard.
    fn stop(line: &mut Line, samples: usize) {
        let Line {
            framer, hearing, ..
        } = line;
        let mut hear = |frame: Frame<'_>| hearing.frame(&frame, &mut |_| {});
        framer.take_fill(samples, Fill::Stopped, &mut hear);
    }

    fn far_with(written: u64) -> Far {
        let mut far = Far::new();
        for number in 0..written {
            far.push(&[number as i16; FRAME], false);
        }
        far
    }

    /// Keys over noise, given to the ear in pieces of these sizes, in turn.
    fn heard_in_pieces(mut line: Line, sizes: &[usize]) -> Vec<offhook_dsp::Event> {
        let mut noise = ComfortNoise::new(40, 3);
        let mut sound = vec![0; 8_000];
        noise.fill(&mut sound);
        for (place, digit) in b"159#".iter().enumerate() {
            let mut key = offhook_dsp::tone::Dtmf::new(*digit, 90, 0, -16.0).expect("a key");
            key.fill(&mut sound[1_000 + 1_600 * place..][..720]);
        }
        let (mut events, mut rest) = (Vec::new(), sound.as_slice());
        for &size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            let high = vec![0; piece.len()];
            let Line {
                framer, hearing, ..
            } = &mut line;
            framer.take_audio(piece, &high, &mut |frame| {
                let mut keep = |heard: Heard<'_>| events.extend(heard.events.iter().copied());
                hearing.frame(&frame, &mut keep);
            });
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        events
    }

    #[test]
    fn any_size_of_packets_gives_the_same_events() {
        let fresh = || Line::new(7, Sensitivity::DEFAULT);
        let usual = heard_in_pieces(fresh(), &[160]);
        assert!(usual.len() >= 5, "{usual:?}");
        for sizes in [&[80][..], &[240, 480], &[1, 7, 159, 2], &[8_000]] {
            assert_eq!(heard_in_pieces(fresh(), sizes), usual, "{sizes:?}");
        }
    }

    #[test]
    fn a_line_that_was_only_slept_on_is_as_new() {
        let fresh = || Line::new(7, Sensitivity::DEFAULT);
        let usual = heard_in_pieces(fresh(), &[160]);
        let mut slept = Line::new(9, Sensitivity::DEFAULT);
        slept.answer(true);
        slept.doze();
        for number in 0..FAR_FRAMES + 3 {
            slept.sent(&[number as i16; FRAME], true);
            stop(&mut slept, FRAME + 1);
        }
        assert!(slept.is_new());
        slept.renew(7);
        assert_eq!(heard_in_pieces(slept, &[160]), usual);

        let mut heard = fresh();
        stop(&mut heard, FRAME);
        assert!(!heard.is_new(), "its ear was awake");
    }

    #[test]
    fn an_ear_that_wakes_has_slept_for_as_long_as_the_line() {
        let mut line = Line::new(7, Sensitivity::DEFAULT);
        line.doze();
        stop(&mut line, 100 * FRAME);
        let late = heard_in_pieces(line, &[160]);
        let usual = heard_in_pieces(Line::new(7, Sensitivity::DEFAULT), &[160]);
        let keys = |events: &[offhook_dsp::Event]| -> Vec<u64> {
            let keys = events
                .iter()
                .filter(|it| matches!(it.kind, EventKind::Dtmf { .. }));
            keys.map(|it| it.at).collect()
        };
        let moved: Vec<u64> = keys(&usual)
            .iter()
            .map(|at| at + 100 * FRAME as u64)
            .collect();
        assert!(!moved.is_empty());
        assert_eq!(keys(&late), moved);
    }

    #[test]
    fn the_first_packet_pairs_with_what_was_sent_last() {
        let mut far = far_with(10);
        assert_eq!(far.pair(0).0.frame[0], 8);
        assert_eq!(far.pair(1).0.frame[0], 9);
        assert_eq!(far.shifts, 0);
    }

    #[test]
    fn a_line_that_runs_ahead_is_moved_back_once_and_says_by_how_much() {
        let mut far = far_with(10);
        far.pair(0);
        far.pair(1);
        let (sent, moved) = far.pair(2);
        assert_eq!((sent.frame[0], moved), (9, -80));
        far.push(&[10; FRAME], false);
        far.push(&[11; FRAME], false);
        assert_eq!(far.pair(3).1, 0);
        assert_eq!(far.shifts, 1);
    }

    #[test]
    fn a_line_that_lags_too_far_is_recentred() {
        let mut far = far_with(10);
        far.pair(0);
        for number in 10..40 {
            far.push(&[number; FRAME], false);
        }
        let (sent, moved) = far.pair(1);
        assert_eq!(sent.frame[0], 38);
        assert_eq!(moved, 29 * 80);
    }

    #[test]
    fn before_we_send_there_is_silence_beside_the_line() {
        let mut far = far_with(0);
        for number in 0..100 {
            assert_eq!(far.pair(number).0.frame, [0; FRAME]);
        }
        assert_eq!(far.shifts, 0);
    }
}
