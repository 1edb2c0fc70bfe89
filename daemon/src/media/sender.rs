//! Packets that go out: sequence, timestamps, coding, keys.
//!
//! Timestamps go on with time, whether something is sent or not. What is said
//! comes from the mouth. Called by the leg; does not allocate or block.

use std::time::Duration;

use heapless::Deque;
use offhook_dsp::FRAME;
use offhook_dsp::noise::LINE_NOISE_LEVEL;
use offhook_dsp::tone::Dtmf;
use offhook_sip::rtp::event::{PAYLOAD, Step};
use offhook_sip::rtp::header::HEADER;
use offhook_sip::rtp::srtp::GROWTH;
use offhook_sip::rtp::{CLOCK_RATE, KeySender, TelephoneEvent, Template, View};

use super::codec::{Encoder, ratio};
use super::low;
use super::words::{Codec, Digits, Stream};

/// The longest packet: 60 ms of G.711 (RFC 3551 §4.2 has 200 ms as the limit
/// of what a receiver takes; nobody asks for more than 60).
pub const SAMPLES_MAX: usize = 6 * FRAME;
/// How long a key sounds, and the pause after it, in ms (ITU-T Q.24 asks for 40 each).
const KEY_MS: u16 = 100;
/// Each tone of a key, dBov: -9 dBm0 (ITU-T Q.23 §7 leaves the level to the network).
const KEY_DBOV: f32 = -15.0;

/// While we rest, the level of the line is told so often: five packets a second, which
/// nobody on the way takes for a dead stream (RFC 3389 §4 leaves it to the sender).
const TELL_SAMPLES: usize = 1_600;

/// One packet, as it goes out.
pub type Packet = heapless::Vec<u8, { HEADER + SAMPLES_MAX + GROWTH }>;

/// The sending side of one leg.
pub struct Sender {
    template: Template,
    sequence: u16,
    timestamp: u32,
    codec: Codec,
    /// What it codes with.
    pub(super) encoder: Encoder,
    /// Ticks of our timestamps to a sample.
    ratio: u32,
    payload_type: u8,
    telephone_event: Option<(u8, u32)>,
    /// Payload type of comfort noise, where the peer takes it beside this codec.
    comfort_noise: Option<u8>,
    /// Samples since the line's level was told; `None` while sound is sent.
    rested: Option<usize>,
    keys: KeySender,
    tones: Deque<u8, 32>,
    tone: Option<Dtmf>,
    /// The last packet had something to hear in it.
    talking: bool,
    passage: Option<Passage>,
    sent: u32,
    octets: u32,
}

/// How another stream's packets are sent on.
#[derive(Clone, Copy, Debug)]
struct Passage {
    ssrc: u32,
    /// Of its last packet.
    sequence: u16,
    /// From its timestamps to ours.
    offset: u32,
    /// Our timestamp after its last packet.
    end: u32,
}

/// The other stream's clock may be so far from ours before it is set anew: 500 ms.
const PASSAGE_DRIFT: u32 = 4_000;
/// A larger step of its sequence is a new beginning (RFC 3550 A.1 has 100 for misorder).
const PASSAGE_JUMP: u16 = 100;

/// What this tick's packet is made of.
pub enum Turn {
    /// What the mouth says.
    Sound,
    /// A key, which is already in the packet.
    Key,
}

impl Sender {
    /// Sequence numbers and timestamps begin where they are told (at random, RFC 3550 §5.1).
    pub fn new(template: Template, sequence: u16, timestamp: u32) -> Self {
        Self {
            template,
            sequence,
            timestamp,
            codec: Codec::Pcmu,
            encoder: Encoder::default(),
            ratio: 1,
            payload_type: template.payload_type(),
            telephone_event: None,
            comfort_noise: None,
            rested: None,
            keys: KeySender::default(),
            tones: Deque::new(),
            tone: None,
            talking: false,
            passage: None,
            sent: 0,
            octets: 0,
        }
    }

    /// Codes from now on as was agreed.
    pub fn connect(&mut self, stream: &Stream) {
        self.codec = stream.codec;
        self.ratio = ratio(stream.codec);
        self.passage = None;
        self.payload_type = stream.send_payload_type;
        self.telephone_event = stream.telephone_event;
        // It shares the clock of the sound beside it (RFC 3389 §4).
        let takes_noise = stream.codec.clock_rate() == CLOCK_RATE;
        self.comfort_noise = stream.comfort_noise.filter(|_| takes_noise);
        self.rested = None;
        self.talking = false;
    }

    /// Somebody else hears us from now on, or by another key, and may miss the first
    /// packets: see [`low`].
    pub fn begin_anew(&mut self) {
        self.sequence = low(self.sequence);
    }

    /// No key is being sent, and none waits.
    pub fn is_free(&self) -> bool {
        self.keys.is_idle() && self.tones.is_empty() && self.tone.is_none()
    }

    /// Queues keys, as events where they were agreed on, else as tones.
    /// Gives how many did not fit.
    pub fn push_keys(&mut self, digits: &Digits) -> usize {
        let mut refused = 0;
        for key in digits {
            refused += usize::from(!self.push_key(*key));
        }
        refused
    }

    /// Queues one key; `false` if it does not fit.
    pub fn push_key(&mut self, key: u8) -> bool {
        match self.telephone_event {
            Some(_) => self.keys.push(key),
            None => self.tones.push_back(key).is_ok(),
        }
    }

    /// A packet of another stream, under our header: its gaps and its order stay
    /// visible, its clock is moved to ours. `false` for one that came before.
    pub fn forward(&mut self, theirs: &View<'_>, samples: u32, packet: &mut Packet) -> bool {
        let known = self.passage.filter(|known| known.ssrc == theirs.ssrc());
        let step = known.map(|known| theirs.sequence().wrapping_sub(known.sequence).cast_signed());
        let moved = known.map(|known| theirs.timestamp().wrapping_add(known.offset));
        let near = |timestamp: u32| {
            let ahead = timestamp.wrapping_sub(self.timestamp).cast_signed();
            ahead.unsigned_abs() <= PASSAGE_DRIFT * self.ratio
        };
        let (timestamp, step) = match (moved.filter(|moved| near(*moved)), step) {
            (Some(_), Some(0)) => return false,
            (Some(timestamp), Some(step)) if step.unsigned_abs() <= PASSAGE_JUMP => {
                (timestamp, Some(step))
            }
            _ => (self.resume_at(), None),
        };
        let next = self.sequence;
        self.sequence = next.wrapping_add_signed(step.unwrap_or(1)).wrapping_sub(1);
        let late = step.is_some_and(|step| step < 0);
        let marker = step.is_none() || theirs.marker();
        self.write(
            packet,
            self.payload_type,
            marker,
            timestamp,
            theirs.payload(),
        );
        if late {
            self.sequence = next;
            return true;
        }
        self.passage = Some(Passage {
            ssrc: theirs.ssrc(),
            sequence: theirs.sequence(),
            offset: timestamp.wrapping_sub(theirs.timestamp()),
            end: self.timestamp_after(timestamp, samples.into()),
        });
        true
    }

    /// Our clock, moved past what was sent on as it came.
    fn resume_at(&mut self) -> u32 {
        if let Some(passage) = self.passage.take() {
            let ahead = passage.end.wrapping_sub(self.timestamp);
            if ahead <= PASSAGE_DRIFT * self.ratio {
                self.timestamp = passage.end;
            }
        }
        self.timestamp
    }

    /// Timestamp of the next sample.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Ticks of our timestamps to a sample.
    pub fn ratio(&self) -> u32 {
        self.ratio
    }

    /// That of so many samples ago.
    pub fn timestamp_before(&self, samples: u64) -> u32 {
        self.timestamp.wrapping_sub(self.ticks(samples))
    }

    /// That of so many samples after another.
    pub fn timestamp_after(&self, timestamp: u32, samples: u64) -> u32 {
        timestamp.wrapping_add(self.ticks(samples))
    }

    fn ticks(&self, samples: u64) -> u32 {
        (samples as u32).wrapping_mul(self.ratio)
    }

    /// Packets and octets of payload sent.
    pub fn sent(&self) -> (u32, u32) {
        (self.sent, self.octets)
    }

    /// Time passes without a packet.
    pub fn skip(&mut self, samples: usize) {
        self.timestamp = self.timestamp_after(self.timestamp, samples as u64);
        self.talking = false;
    }

    /// Begins the packet of this tick: a key takes the place of sound.
    pub fn begin(&mut self, samples: usize, packet: &mut Packet) -> Turn {
        let Some((payload_type, clock)) = self.telephone_event else {
            return Turn::Sound;
        };
        match self.keys.step(samples as u16) {
            Step::Audio | Step::Pause => Turn::Sound,
            Step::Event { event, first, age } => {
                let timestamp = self.timestamp_before(age.into());
                // Durations go by the event's own clock, the timestamp by the stream's.
                let duration = u32::from(event.duration) * (clock / 8_000).max(1);
                let event = TelephoneEvent {
                    duration: u16::try_from(duration).unwrap_or(u16::MAX),
                    ..event
                };
                self.write(packet, payload_type, first, timestamp, &event.to_bytes());
                self.skip(samples);
                Turn::Key
            }
        }
    }

    /// Puts a key tone over what the mouth says, while there is one to be sent.
    pub fn overlay(&mut self, frame: &mut [i16; FRAME]) {
        let mut filled = 0;
        while filled < FRAME {
            if self.tone.is_none() {
                let Some(key) = self.tones.pop_front() else {
                    return;
                };
                self.tone = Dtmf::new(key, KEY_MS, KEY_MS, KEY_DBOV);
            }
            if let Some(tone) = &mut self.tone {
                filled += tone.fill(&mut frame[filled..]);
            }
            if filled < FRAME {
                self.tone = None;
            }
        }
    }

    /// A packet of sound, empty where it cannot be coded; `high` is what it has above
    /// 4 kHz, where that is known; `talks` is the start of a talkspurt if the last one
    /// did not.
    pub fn sound(
        &mut self,
        samples: &[i16],
        high: Option<&[i16]>,
        talks: bool,
        packet: &mut Packet,
    ) {
        let mut codes = [0; SAMPLES_MAX];
        let coded = self.encoder.encode(self.codec, samples, high, &mut codes);
        let Some(count) = coded else {
            packet.clear();
            return self.skip(samples.len());
        };
        let rested = self.rested.take().is_some();
        let marker = self.sent == 0 || rested || talks && !self.talking;
        let timestamp = self.resume_at();
        self.write(
            packet,
            self.payload_type,
            marker,
            timestamp,
            &codes[..count],
        );
        self.timestamp = self.timestamp_after(timestamp, samples.len() as u64);
        self.talking = talks;
    }

    /// Nothing is said in this tick. Where the peer takes comfort noise, it is told the
    /// level of the line now and then, and nothing in between; else it gets the noise.
    pub fn rest(&mut self, noise: &[i16], packet: &mut Packet) {
        let Some(payload_type) = self.comfort_noise else {
            return self.sound(noise, None, false, packet);
        };
        let timestamp = self.resume_at();
        packet.clear();
        let rested = self.rested.filter(|rested| *rested < TELL_SAMPLES);
        if rested.is_none() {
            self.write(packet, payload_type, false, timestamp, &[LINE_NOISE_LEVEL]);
        }
        self.rested = Some(rested.unwrap_or(0) + noise.len());
        self.timestamp = self.timestamp_after(timestamp, noise.len() as u64);
        self.talking = false;
    }

    /// A packet of returned sound, which carries the time of the line.
    pub fn echo(&mut self, samples: &[i16], timestamp: u32, packet: &mut Packet) {
        let follows = timestamp == self.timestamp;
        self.timestamp = timestamp;
        self.talking = follows;
        self.sound(samples, None, true, packet);
    }

    fn write(
        &mut self,
        packet: &mut Packet,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
    ) {
        let mut header = [0; HEADER];
        self.template
            .stamp(&mut header, payload_type, marker, self.sequence, timestamp);
        packet.clear();
        let fits =
            packet.extend_from_slice(&header).is_ok() && packet.extend_from_slice(payload).is_ok();
        debug_assert!(fits, "a payload is at most SAMPLES_MAX octets");
        self.sequence = self.sequence.wrapping_add(1);
        self.sent = self.sent.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
    }
}

/// The tick a packet of `ptime` takes, in samples.
pub fn packet_samples(ptime_ms: u8) -> usize {
    usize::from(ptime_ms / 10).clamp(1, SAMPLES_MAX / FRAME) * FRAME
}

/// One tick of the media threads.
pub const TICK: Duration = Duration::from_millis(10);

const _: () = assert!(PAYLOAD <= SAMPLES_MAX);
