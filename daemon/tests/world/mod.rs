//! A leg without sockets, threads or a clock: time is counted in milliseconds,
//! the peer's packets are built by a foreign implementation (crate `rtp`).

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary includes this file and uses its part"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook::media::board::Figures;
use offhook::media::leg::{Birth, Leg};
use offhook::media::line::Line;
use offhook::media::outlet::{Outlet, Remote, Voice};
use offhook::media::{
    Clip, Codec, Direction, Mark, Order, PlayoutFigures, ReceiveTypes, Report, ReportKind, Script,
    SlotId, Stream,
};
use offhook_dsp::g711::Law;
use offhook_sip::rtp::{Template, View};
use webrtc_util::marshal::{Marshal, Unmarshal};

pub const PEER: &str = "192.0.2.1:4000";
pub const SLOT: SlotId = SlotId {
    thread: 0,
    index: 0,
    generation: 3,
};

/// Something like speech at -18 dBov: pulses through three formants that move,
/// in syllables of 170 ms with 40 ms between them.
pub fn speech(ms: usize) -> Vec<i16> {
    const VOWELS: [[f32; 3]; 3] = [
        [680.0, 1_250.0, 2_450.0],
        [340.0, 2_050.0, 2_750.0],
        [470.0, 880.0, 2_350.0],
    ];
    let mut state = [[0.0f32; 2]; 3];
    let mut phase = 0.0f32;
    let mut sound = Vec::with_capacity(ms * 8);
    for index in 0..ms * 8 {
        phase += (125.0 + 15.0 * (index as f32 / 2_000.0).sin()) / 8_000.0;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= phase.floor();
        let mut sample = 0.0;
        for (hertz, state) in VOWELS[index / 1_680 % 3].iter().zip(&mut state) {
            let turn = (std::f32::consts::TAU * hertz / 8_000.0).cos();
            let out = pulse + 1.92 * turn * state[0] - 0.921_6 * state[1];
            *state = [out, state[0]];
            sample += out;
        }
        let open = (index % 1_680) as f32 / 1_360.0;
        sound.push(if open < 1.0 {
            sample * (open * std::f32::consts::PI).sin()
        } else {
            0.0
        });
    }
    let power = sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32;
    let gain = 32_768.0 * 10f32.powf(-18.0 / 20.0) / power.sqrt();
    sound
        .iter()
        .map(|sample| (sample * gain).clamp(-32_000.0, 32_000.0) as i16)
        .collect()
}

/// Everything that left the leg.
#[derive(Default)]
pub struct Outside {
    /// What is in the safe.
    pub sealed: Vec<u8>,
    pub now: Duration,
    pub sent: Vec<(Duration, SocketAddr, Vec<u8>)>,
    pub reports: Vec<Report>,
    /// Reports that still fit.
    pub room: Option<usize>,
    pub freed: Vec<Arc<Script>>,
    /// RTCP that came beside RTP.
    pub control: Vec<(SocketAddr, Vec<u8>)>,
    pub tape: Vec<(Mark, [i16; 80], [i16; 80])>,
    pub tape_end: Option<(u32, u32)>,
    pub figures: Figures,
    pub heard: Vec<(u32, [i16; 80])>,
    /// What streams in, where it comes in time; over when there is no more.
    pub voice: VecDeque<Option<[i16; 80]>>,
    pub ended_voice: Option<u32>,
    /// To the leg that this one is joined with, and from it.
    pub passed: Vec<[i16; 80]>,
    /// What was above 4 kHz in them.
    pub passed_high: Vec<[i16; 80]>,
    pub joined_high: VecDeque<[i16; 80]>,
    pub passed_keys: Vec<u8>,
    pub joined: VecDeque<[i16; 80]>,
    pub joined_keys: VecDeque<u8>,
}

impl Outlet for Outside {
    fn seal(&mut self, keys: &[u8]) {
        self.sealed = keys.to_vec();
    }

    fn send(&mut self, target: SocketAddr, packet: &[u8]) -> bool {
        self.sent.push((self.now, target, packet.to_vec()));
        true
    }

    fn report(&mut self, report: &Report) -> bool {
        match &mut self.room {
            Some(0) => return false,
            Some(room) => *room -= 1,
            None => {}
        }
        self.reports.push(report.clone());
        true
    }

    fn control(&mut self, _: SlotId, _: Duration, from: SocketAddr, bytes: &[u8]) {
        self.control.push((from, bytes.to_vec()));
    }

    fn free(&mut self, script: Arc<Script>) {
        self.freed.push(script);
    }

    fn tape(&mut self, mark: Mark, line: &[i16; 80], ours: &[i16; 80]) -> bool {
        self.tape.push((mark, *line, *ours));
        true
    }

    fn end_tape(&mut self, recording: u32, frames: u32) {
        self.tape_end = Some((recording, frames));
    }

    fn heard(&mut self, frame: u32, near: &[i16; 80]) -> bool {
        self.heard.push((frame, *near));
        true
    }

    fn voice(&mut self, _: u32, frame: &mut [i16; 80]) -> Voice {
        match self.voice.pop_front() {
            Some(Some(sound)) => {
                *frame = sound;
                Voice::Sound
            }
            Some(None) => Voice::Nothing,
            None => Voice::Over,
        }
    }

    fn end_voice(&mut self, speech: u32) {
        self.ended_voice = Some(speech);
    }

    fn pass(&mut self, low: &[i16; 80], high: &[i16; 80]) {
        self.passed.push(*low);
        self.passed_high.push(*high);
    }

    fn pass_key(&mut self, key: u8) {
        self.passed_keys.push(key);
    }

    fn joined(&mut self, low: &mut [i16; 80], high: &mut [i16; 80]) -> bool {
        self.joined.pop_front().is_some_and(|sound| {
            *low = sound;
            *high = self.joined_high.pop_front().unwrap_or([0; 80]);
            true
        })
    }

    fn joined_key(&mut self) -> Option<u8> {
        self.joined_keys.pop_front()
    }

    fn playout(&self) -> Option<PlayoutFigures> {
        None
    }

    fn publish(&mut self, figures: &Figures) {
        self.figures = *figures;
    }

    fn remote(&self) -> Remote {
        Remote::default()
    }
}

/// A leg, its outside, and a peer that sends 20 ms packets.
pub struct World {
    pub leg: Leg,
    pub out: Outside,
    pub ms: u64,
    /// What the peer says; silence after its end.
    pub caller: Vec<i16>,
    pub said: usize,
    /// The peer sends nothing.
    pub mute: bool,
    sequence: u16,
    timestamp: u32,
}

impl World {
    pub fn new() -> Self {
        let mut header = [0; 12];
        header[0] = 0x80;
        header[8..].copy_from_slice(&0x00C0_FFEE_u32.to_be_bytes());
        let birth = Birth {
            slot: SLOT,
            template: Template::from_header(&header).unwrap(),
            sequence: 65_530,
            timestamp: u32::MAX - 3_000,
            seed: 5,
            sensitivity: offhook_dsp::Sensitivity::DEFAULT,
        };
        Self {
            leg: Leg::new(birth, Box::new(Line::new(birth.seed, birth.sensitivity))),
            out: Outside::default(),
            ms: 0,
            caller: Vec::new(),
            said: 0,
            mute: false,
            sequence: 65_500,
            timestamp: u32::MAX - 9_000,
        }
    }

    pub fn connected() -> Self {
        let mut world = Self::new();
        world.order(Order::Connect(stream()));
        world.order(Order::Answered { they_called: false });
        world
    }

    pub fn now(&self) -> Duration {
        Duration::from_millis(self.ms)
    }

    pub fn order(&mut self, order: Order) {
        self.out.now = self.now();
        self.leg.on_order(self.now(), order, &mut self.out);
    }

    pub fn play(&mut self, turn: u32, play: u32, script: Arc<Script>) {
        self.order(Order::Play {
            turn,
            play,
            script,
            interruptible: true,
        });
    }

    pub fn datagram(&mut self, from: &str, bytes: &[u8]) {
        self.out.now = self.now();
        self.leg.on_packet(
            self.now(),
            from.parse().unwrap(),
            &mut bytes.to_vec(),
            &mut self.out,
        );
    }

    /// One packet of the peer, built by the `rtp` crate.
    pub fn packet(
        &mut self,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload: &[u8],
    ) -> Bytes {
        self.sequence = self.sequence.wrapping_add(1);
        let packet = rtp::packet::Packet {
            header: rtp::header::Header {
                version: 2,
                payload_type,
                marker,
                sequence_number: self.sequence,
                timestamp,
                ssrc: 0xBEEF,
                ..Default::default()
            },
            payload: Bytes::copy_from_slice(payload),
        };
        packet.marshal().unwrap()
    }

    /// A telephone-event of the peer.
    pub fn key(&mut self, event: u8, end: bool, marker: bool, timestamp: u32) {
        let payload = [event, if end { 0x8A } else { 0x0A }, 0, 160];
        let bytes = self.packet(101, marker, timestamp, &payload);
        self.datagram(PEER, &bytes);
    }

    /// The peer's next 20 ms, as a packet.
    pub fn next_packet(&mut self) -> Bytes {
        let mut codes = [Law::Mu.silence(); 160];
        let rest = self.caller.get(self.said..).unwrap_or_default();
        Law::Mu.encode_into(&rest[..rest.len().min(160)], &mut codes);
        self.said += 160;
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(160);
        self.packet(0, false, timestamp, &codes)
    }

    /// The peer sends its next 20 ms, unless it is mute.
    pub fn speak(&mut self) {
        if self.mute {
            self.said += 160;
            self.timestamp = self.timestamp.wrapping_add(160);
            return;
        }
        let bytes = self.next_packet();
        self.datagram(PEER, &bytes);
    }

    /// 10 ms are over.
    pub fn tick(&mut self) {
        self.out.now = self.now();
        self.leg.on_tick(self.now(), &mut self.out);
    }

    /// Something that the caller cannot interrupt.
    pub fn play_notice(&mut self, script: Arc<Script>) {
        self.order(Order::Play {
            turn: 0,
            play: 1,
            script,
            interruptible: false,
        });
    }

    /// What has left the leg so far is not looked at.
    pub fn forget(&mut self) {
        self.out.sent.clear();
        self.out.reports.clear();
    }

    /// The caller begins to say something with the next packet.
    pub fn say(&mut self, samples: &[i16]) {
        self.said = 0;
        self.caller = samples.to_vec();
    }

    /// Time passes: a packet of the peer at 3, 23, 43 …, ticks at 0, 10, 20 ….
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            self.out.now = self.now();
            if self.ms % 20 == 3 {
                self.speak();
            }
            if self.ms.is_multiple_of(10) {
                self.tick();
            }
        }
    }

    pub fn kinds(&self) -> impl Iterator<Item = &ReportKind> {
        self.out.reports.iter().map(|report| &report.kind)
    }

    /// The sound of all packets of sound that were sent: when, marker, samples.
    pub fn sound(&self) -> Vec<(Duration, bool, Vec<i16>)> {
        let packets = self.out.sent.iter().filter_map(|(at, _, bytes)| {
            let packet =
                rtp::packet::Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)).unwrap();
            let samples = packet
                .payload
                .iter()
                .map(|code| Law::Mu.decode(*code))
                .collect();
            (packet.header.payload_type == 0).then_some((*at, packet.header.marker, samples))
        });
        packets.collect()
    }

    /// Asserts that what was sent is one RTP stream without a hole.
    pub fn assert_stream_is_whole(&self) {
        let views = self.out.sent.windows(2).map(|pair| {
            [
                View::parse(&pair[0].2).unwrap(),
                View::parse(&pair[1].2).unwrap(),
            ]
        });
        for [before, after] in views {
            assert_eq!(after.sequence(), before.sequence().wrapping_add(1));
            assert_eq!(after.timestamp(), before.timestamp().wrapping_add(160));
        }
    }
}

pub fn stream() -> Stream {
    Stream {
        remote_rtp: PEER.parse().unwrap(),
        remote_rtcp: "192.0.2.1:4001".parse().unwrap(),
        rtcp_mux: false,
        codec: Codec::Pcmu,
        send_payload_type: 0,
        receive: ReceiveTypes::from_slice(&[(0, Codec::Pcmu)]).unwrap(),
        comfort_noise: None,
        telephone_event: Some((101, 8_000)),
        events: [Some(101), None],
        ptime_ms: 20,
        longest_ms: 60,
        srtp: None,
        direction: Direction::SendRecv,
    }
}

/// A prompt that is told from any other by its level, with a word each 100 ms.
pub fn script(ms: usize, level: i16) -> Arc<Script> {
    let samples = (0..ms * 8).map(|index| if index / 13 % 2 == 0 { level } else { -level });
    let clip = Clip {
        samples: samples.collect(),
        words: (0..ms as u32 / 100).map(|word| word * 800).collect(),
    };
    Arc::new(Script {
        clips: vec![Arc::new(clip)],
    })
}

/// The largest magnitude.
pub fn peak(samples: &[i16]) -> i16 {
    samples
        .iter()
        .map(|sample| sample.saturating_abs())
        .max()
        .unwrap_or(0)
}
