//! Two legs of the real media threads talk to each other over loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::rtcp::goodbye::Goodbye;
use ::rtcp::receiver_report::ReceiverReport;
use ::rtcp::reception_report::ReceptionReport;
use ::rtcp::sender_report::SenderReport;
use ::rtcp::source_description::SourceDescription;
use offhook::bell::Bell;
use offhook::media::speech::{Heard, Pushed};
use offhook::media::{
    Clip, Codec, Digit, Digits, Direction, Full, Media, Opened, Order, Report, ReportKind, Script,
    Settings, SlotId, Stream, Summary,
};
use offhook::wav;

struct House {
    media: Media,
    bell: Bell,
    seen: Vec<Report>,
    /// Goes last: until then it is written to.
    recordings: Folder,
}

/// A directory that is gone with its house.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: a leftover below /tmp harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl House {
    fn new(first_port: u16, max_calls: usize, name: &str) -> Self {
        let bell = Bell::new().unwrap();
        let folder = format!("offhook-{name}-{}", std::process::id());
        let recordings = Folder(std::env::temp_dir().join(folder));
        let settings = Settings {
            threads: 1,
            max_calls,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: first_port..=first_port + 99,
            realtime: true,
            sensitivity: offhook_dsp::Sensitivity::DEFAULT,
            recordings: Some(recordings.0.clone()),
            reserve: 0,
            cname: "offhook@127.0.0.1".into(),
        };
        Self {
            media: Media::start(settings, bell.clone()).unwrap(),
            bell,
            seen: Vec::new(),
            recordings,
        }
    }

    /// Ends the threads; what was recorded stays until the folder is dropped.
    fn leave(self) -> Folder {
        self.recordings
    }

    /// Waits for a report; what comes before it is kept in `seen`.
    fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        for _ in 0..1_000 {
            while let Some(report) = self.media.next_report() {
                let found = wanted(&report);
                self.seen.push(report);
                if let Some(found) = found {
                    return found;
                }
            }
            self.bell.sleep(Some(Duration::from_millis(50)));
        }
        panic!("never came: {what}; but {:#?}", self.seen);
    }

    fn pair(&mut self) -> (Opened, Opened) {
        let one = self.media.open(None).unwrap();
        let other = self.media.open(Some(one.slot)).unwrap();
        self.connect(one.slot, &other);
        self.connect(other.slot, &one);
        (one, other)
    }

    /// A peer and our leg to it, coded like that both ways; on the same thread as `sibling`.
    fn line(&mut self, sibling: Option<SlotId>, codec: Codec) -> (Opened, Opened) {
        let peer = self.media.open(sibling).unwrap();
        let ours = self.media.open(Some(peer.slot)).unwrap();
        for (slot, remote) in [(peer.slot, &ours), (ours.slot, &peer)] {
            let stream = Stream {
                codec,
                send_payload_type: payload_type(codec),
                ..stream(remote.rtp, remote.rtcp)
            };
            self.media.order(slot, Order::Connect(stream)).unwrap();
            let answered = Order::Answered { they_called: false };
            self.media.order(slot, answered).unwrap();
        }
        (peer, ours)
    }

    fn join(&mut self, one: SlotId, other: SlotId) -> bool {
        self.media.join(one, other).unwrap();
        self.wait("the answer to a join", |report| match report.kind {
            ReportKind::Joined if report.slot == one => Some(true),
            ReportKind::NotJoined if report.slot == one => Some(false),
            _ => None,
        })
    }

    fn connect(&mut self, slot: SlotId, peer: &Opened) {
        let stream = stream(peer.rtp, peer.rtcp);
        self.media.order(slot, Order::Connect(stream)).unwrap();
        self.media
            .order(slot, Order::Answered { they_called: false })
            .unwrap();
    }

    fn close(&mut self, slot: SlotId) -> Summary {
        self.media.order(slot, Order::Close).unwrap();
        self.wait("closed", |report| match report.kind {
            ReportKind::Closed(summary) if report.slot == slot => Some(summary),
            _ => None,
        })
    }
}

fn payload_type(codec: Codec) -> u8 {
    codec.static_payload_type().unwrap_or(107)
}

fn stream(remote_rtp: SocketAddr, remote_rtcp: SocketAddr) -> Stream {
    Stream {
        remote_rtp,
        remote_rtcp,
        rtcp_mux: false,
        codec: Codec::Pcmu,
        send_payload_type: 0,
        receive: Codec::ALL
            .map(|codec| (payload_type(codec), codec))
            .into_iter()
            .collect(),
        comfort_noise: None,
        telephone_event: Some((101, 8_000)),
        events: [Some(101), None],
        ptime_ms: 20,
        longest_ms: 60,
        srtp: None,
        direction: Direction::SendRecv,
    }
}

fn script(ms: usize) -> Arc<Script> {
    let samples = (0..ms * 8).map(|n| if n / 20 % 2 == 0 { 9_000 } else { -9_000 });
    let clip = Clip {
        samples: samples.collect(),
        words: Box::new([0]),
    };
    Arc::new(Script {
        clips: vec![Arc::new(clip)],
    })
}

#[test]
fn a_prompt_is_heard_recorded_and_summed_up() {
    let mut house = House::new(46_500, 4, "loopback");
    let (one, other) = house.pair();
    assert_eq!(one.slot.thread, other.slot.thread);
    let path = house.media.record(other.slot, "heard").unwrap().unwrap();
    let script = script(500);
    let play = Order::Play {
        turn: 0,
        play: 1,
        script: Arc::clone(&script),
        interruptible: false,
    };
    house.media.order(one.slot, play).unwrap();
    let sent = house.wait("played", |report| match report.kind {
        ReportKind::Played {
            play: 1,
            sent_samples,
            finished: true,
            ..
        } => Some(sent_samples),
        _ => None,
    });
    assert_eq!(sent, 4_000);
    let digits = Digits::from_slice(b"42#").unwrap();
    house
        .media
        .order(one.slot, Order::SendDigits(digits))
        .unwrap();
    for key in *b"42#" {
        let digit = house.wait("digit", |report| match report.kind {
            ReportKind::Digit(digit) if report.slot == other.slot => Some(digit),
            _ => None,
        });
        assert_eq!(digit, Digit::Key(key));
    }
    let heard = house.close(other.slot);
    let spoken = house.close(one.slot);
    assert_eq!(house.media.order(one.slot, Order::Close), Err(Full::Gone));
    assert_eq!(Arc::strong_count(&script), 1);
    assert!(
        heard.received > 25 && heard.foreign == 0 && heard.malformed == 0,
        "{heard:?}"
    );
    assert!(spoken.sent >= heard.received, "{spoken:?}");
    assert!(
        house
            .seen
            .iter()
            .any(|report| matches!(report.kind, ReportKind::Latched(from) if from == one.rtp))
    );
    let _recordings = house.leave();
    let wav = wav::read(&path).unwrap();
    assert_eq!(wav.frames() as u64, heard.length_samples);
    let loud = wav
        .channel(0)
        .unwrap()
        .iter()
        .filter(|sample| sample.abs() > 8_000)
        .count();
    assert!((3_900..=4_100).contains(&loud), "{loud}");
}

#[test]
fn an_echo_comes_back_and_slots_are_used_again() {
    let mut house = House::new(46_600, 2, "echo");
    for generation in 0..3 {
        let (one, other) = house.pair();
        assert_eq!(one.slot.generation, generation);
        assert_eq!(house.media.open(None), Err(Full::Slots));
        house.media.order(other.slot, Order::Echo).unwrap();
        let digit = Order::Tone { hz: 1_004 };
        house.media.order(one.slot, digit).unwrap();
        house.wait("the tone from the echo", |report| match report.kind {
            ReportKind::Latched(from) if report.slot == one.slot => Some(from),
            _ => None,
        });
        let back = house.close(one.slot);
        let echoed = house.close(other.slot);
        assert!(
            back.received > 0 && back.received <= echoed.sent,
            "{back:?} {echoed:?}"
        );
        assert!(echoed.sent <= echoed.received);
        assert_eq!(house.media.load(), (0, 2));
    }
}

#[test]
fn rtcp_tells_of_us_at_the_end_and_is_believed_by_ssrc_only() {
    let mut house = House::new(46_700, 1, "rtcp");
    let leg = house.media.open(None).unwrap();
    let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let rtcp = UdpSocket::bind("127.0.0.1:0").unwrap();
    rtcp.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let peer = stream(rtp.local_addr().unwrap(), rtcp.local_addr().unwrap());
    house.media.order(leg.slot, Order::Connect(peer)).unwrap();
    let mut ours = [0; 200];
    rtp.recv(&mut ours).unwrap();
    let ssrc = u32::from_be_bytes(ours[8..12].try_into().unwrap());
    for sequence in 0..15u8 {
        let mut packet = [0xFF; 172];
        packet[..12].copy_from_slice(&[0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 9]);
        packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        rtp.send_to(&packet, leg.rtp).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    // We listen from our first report on.
    let (_, opened) = rtcp.recv_from(&mut [0; 1_500]).unwrap();
    assert_eq!(opened, leg.rtcp);
    // 7 of ours are lost, says the peer; 99, says somebody else.
    for (from, lost) in [(9, 7), (8, 99)] {
        let block = ReceptionReport {
            ssrc,
            total_lost: lost,
            ..ReceptionReport::default()
        };
        let report = ReceiverReport {
            ssrc: from,
            reports: vec![block],
            ..ReceiverReport::default()
        };
        let bytes = ::rtcp::packet::marshal(&[Box::new(report)]).unwrap();
        rtcp.send_to(&bytes, leg.rtcp).unwrap();
    }
    std::thread::sleep(Duration::from_millis(200));
    let summary = house.close(leg.slot);
    assert_eq!((summary.received, summary.remote_lost), (15, 7));
    let goodbye = std::iter::from_fn(|| {
        let mut bytes = [0; 1_500];
        let length = rtcp.recv(&mut bytes).ok()?;
        ::rtcp::packet::unmarshal(&mut &bytes[..length]).ok()
    });
    let mut goodbye = goodbye.skip_while(|packets| packets.len() < 3);
    let packets = goodbye.next().expect("a report, a name, a goodbye");
    let told = packets[0]
        .as_any()
        .downcast_ref::<SenderReport>()
        .expect("we have sent");
    assert_eq!(told.ssrc, ssrc);
    assert!(told.packet_count > 10 && told.octet_count == told.packet_count * 160);
    assert_eq!(told.reports[0].ssrc, 9);
    assert_eq!(
        (
            told.reports[0].last_sequence_number,
            told.reports[0].total_lost
        ),
        (14, 0)
    );
    let names = packets[1]
        .as_any()
        .downcast_ref::<SourceDescription>()
        .unwrap();
    assert_eq!(&names.chunks[0].items[0].text[..], b"offhook@127.0.0.1");
    let goodbye = packets[2].as_any().downcast_ref::<Goodbye>().unwrap();
    assert_eq!(goodbye.sources, [ssrc]);
}

#[test]
fn rtcp_that_shares_the_port_of_rtp_goes_and_comes_there_and_needs_no_other() {
    let mut house = House::new(47_700, 1, "mux");
    let leg = house.media.open(None).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let here = peer.local_addr().unwrap();
    let shared = Stream {
        rtcp_mux: true,
        ..stream(here, here)
    };
    house.media.order(leg.slot, Order::Connect(shared)).unwrap();
    // What comes, until it is what is wanted.
    let next = |wanted: &dyn Fn(&[u8]) -> bool| loop {
        let mut bytes = [0; 1_500];
        let (length, from) = peer.recv_from(&mut bytes).unwrap();
        assert_eq!(from, leg.rtp);
        if wanted(&bytes[..length]) {
            return bytes[..length].to_vec();
        }
    };
    let ours = next(&|bytes| bytes[1] & 0x7F == 0);
    let ssrc = u32::from_be_bytes(ours[8..12].try_into().unwrap());
    for sequence in 0..15u8 {
        let mut packet = [0xFF; 172];
        packet[..12].copy_from_slice(&[0x80, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 9]);
        packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        peer.send_to(&packet, leg.rtp).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = next(&|bytes| bytes[1] == 200);
    assert_eq!(told[4..8], ssrc.to_be_bytes());
    assert!(
        UdpSocket::bind(leg.rtcp).is_ok(),
        "the port above is not taken"
    );
    let block = ReceptionReport {
        ssrc,
        total_lost: 7,
        ..ReceptionReport::default()
    };
    let report = ReceiverReport {
        ssrc: 9,
        reports: vec![block],
        ..ReceiverReport::default()
    };
    let bytes = ::rtcp::packet::marshal(&[Box::new(report)]).unwrap();
    peer.send_to(&bytes, leg.rtp).unwrap();
    // It is looked for several times a second.
    std::thread::sleep(Duration::from_millis(600));
    let summary = house.close(leg.slot);
    assert_eq!((summary.received, summary.malformed), (15, 0));
    assert_eq!(summary.remote_lost, 7);
    let goodbye = next(&|bytes| bytes[1] == 200);
    let packets = ::rtcp::packet::unmarshal(&mut &goodbye[..]).unwrap();
    let goodbye = packets[2].as_any().downcast_ref::<Goodbye>().unwrap();
    assert_eq!(goodbye.sources, [ssrc]);
}

#[test]
fn who_takes_comfort_noise_gets_a_packet_now_and_then_until_something_is_said() {
    let mut house = House::new(47_800, 1, "rest");
    let leg = house.media.open(None).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let here = peer.local_addr().unwrap();
    let rests = Stream {
        comfort_noise: Some(13),
        ..stream(here, here)
    };
    house.media.order(leg.slot, Order::Connect(rests)).unwrap();
    let next = || {
        let mut bytes = [0; 1_500];
        let length = peer.recv(&mut bytes).unwrap();
        let timestamp = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
        (bytes[1], timestamp, bytes[12..length].to_vec())
    };
    let told: Vec<_> = (0..4).map(|_| next()).collect();
    let level = offhook_dsp::noise::LINE_NOISE_LEVEL;
    for (kind, _, payload) in &told {
        assert_eq!((*kind, payload.as_slice()), (13, &[level][..]));
    }
    for pair in told.windows(2) {
        assert_eq!(pair[1].1.wrapping_sub(pair[0].1), 1_600, "200 ms");
    }
    let play = Order::Play {
        turn: 0,
        play: 1,
        script: script(200),
        interruptible: false,
    };
    house.media.order(leg.slot, play).unwrap();
    let sound = std::iter::repeat_with(next).find(|(kind, ..)| *kind != 13);
    let (kind, _, payload) = sound.expect("it never ends");
    assert_eq!((kind, payload.len()), (0x80, 160), "marked as a talkspurt");
    house.close(leg.slot);
}

/// 20 ms of a tone that starts anew in each frame of 10 ms.
fn tone(sample: usize) -> i16 {
    let phase = (sample % 80) as f32 / 80.0 * 8.0 * std::f32::consts::TAU;
    (phase.sin() * 8_000.0) as i16
}

#[test]
fn a_speech_streams_into_one_leg_and_whoever_listens_on_the_other_hears_it() {
    let mut house = House::new(46_900, 2, "stream");
    let (one, other) = house.pair();
    let mut hearing = house.media.listen(other.slot).unwrap();
    assert_eq!(house.media.listen(other.slot).err(), Some(Full::Taken));
    let mut speech = house.media.speak(one.slot, 0, 5, true).unwrap();
    assert!(house.media.speak(one.slot, 0, 6, true).is_err());
    let frame: [i16; 80] = std::array::from_fn(tone);
    for _ in 0..50 {
        while speech.push(&frame) == Pushed::Full {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(speech.finish(), Pushed::Taken);
    let sent = house.wait("the end of the speech", |report| match report.kind {
        ReportKind::Played {
            play: 5,
            finished: true,
            sent_samples,
            ..
        } => Some(sent_samples),
        _ => None,
    });
    assert_eq!(sent, 4_000);
    assert!(speech.is_over() && !speech.is_cut());
    house.close(one.slot);
    let summary = house.close(other.slot);
    let (mut heard, mut samples, mut last) = (Vec::new(), [0; 80], None);
    loop {
        match hearing.next(&mut samples) {
            Heard::Frame(number) => {
                assert!(last.is_none_or(|last| number > last));
                last = Some(number);
                heard.extend(samples);
            }
            Heard::Over => break,
            Heard::Nothing => panic!("the leg is closed"),
        }
    }
    assert_eq!(summary.heard_gaps, 0);
    let loud = heard.iter().filter(|sample| sample.abs() > 4_000).count();
    // Ten samples a period: eight of them are above half of the peak, so 3,200 of
    // 4,000; a lost packet is forgiven.
    assert!((2_900..3_500).contains(&loud), "{loud} of {}", heard.len());
}

#[test]
fn an_engine_that_is_late_makes_comfort_noise_and_one_that_dies_ends_the_speech() {
    let mut house = House::new(47_000, 2, "late");
    let (one, _) = house.pair();
    let mut speech = house.media.speak(one.slot, 0, 5, true).unwrap();
    assert_eq!(speech.push(&[500; 80]), Pushed::Taken);
    std::thread::sleep(Duration::from_millis(300));
    drop(speech);
    let (sent, finished) = house.wait("the end of the speech", |report| match report.kind {
        ReportKind::Played {
            play: 5,
            finished,
            sent_samples,
            ..
        } => Some((sent_samples, finished)),
        _ => None,
    });
    assert_eq!((sent, finished), (80, true));
    let mut stale = house.media.speak(one.slot, 7, 6, true).unwrap();
    house.wait("stale", |report| {
        matches!(report.kind, ReportKind::Stale { turn: 7 }).then_some(())
    });
    assert_eq!(stale.push(&[500; 80]), Pushed::Over);
    drop(stale);
    assert!(house.close(one.slot).voice_gaps > 5);
}

/// The loudest correlation of what was said with what was heard, over a second of
/// delay: 1 is the same sound.
fn likeness(said: &[i16], heard: &[i16]) -> f64 {
    let power = |samples: &[i16]| samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
    let at = |delay: usize| {
        let heard = heard.get(delay..delay + said.len())?;
        let both = said.iter().zip(heard);
        let product: f64 = both.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        Some(product / (power(said) * power(heard)).sqrt().max(1.0))
    };
    (0..heard.len()).filter_map(at).fold(0.0, f64::max)
}

/// How alike noise must be after it. Opus makes noise of the same colour of it.
fn like(one: Codec, other: Codec) -> f64 {
    match [one, other].contains(&Codec::Opus) {
        true => 0.2,
        false => 0.9,
    }
}

/// Sound that is like itself at one delay only.
fn murmur(seed: u32) -> Arc<Script> {
    let mut noise = offhook_dsp::noise::ComfortNoise::new(24, seed);
    let mut samples = vec![0; 8_000];
    noise.fill(&mut samples);
    let clip = Clip {
        samples: samples.into(),
        words: Box::new([0]),
    };
    Arc::new(Script {
        clips: vec![Arc::new(clip)],
    })
}

#[test]
fn joined_legs_let_their_peers_hear_each_other_straight_or_transcoded() {
    let rows = [
        (47_100, Codec::Pcmu, Codec::Pcmu),
        (47_200, Codec::Pcmu, Codec::Pcma),
        (47_400, Codec::G722, Codec::Pcma),
        (47_500, Codec::Opus, Codec::Opus),
        (47_600, Codec::Opus, Codec::G722),
    ];
    for (first_port, ours, theirs) in rows {
        let straight = ours == theirs;
        let mut house = House::new(first_port, 4, "joined");
        let (caller, one) = house.line(None, ours);
        let (human, other) = house.line(Some(caller.slot), theirs);
        assert!(house.join(one.slot, other.slot));
        let tapes = [caller.slot, human.slot, other.slot].map(|slot| {
            let name = format!("joined-{}-{first_port}", slot.index);
            house.media.record(slot, &name).unwrap().unwrap()
        });
        let scripts = [murmur(7), murmur(900)];
        for (slot, script) in [caller.slot, human.slot].into_iter().zip(&scripts) {
            let play = Order::Play {
                turn: 0,
                play: 1,
                script: Arc::clone(script),
                interruptible: false,
            };
            house.media.order(slot, play).unwrap();
        }
        // In either order.
        let mut said = 0;
        house.wait("both have said it", |report| {
            said += u32::from(matches!(report.kind, ReportKind::Played { .. }));
            (said == 2).then_some(())
        });
        let digits = Digits::from_slice(b"5").unwrap();
        house
            .media
            .order(caller.slot, Order::SendDigits(digits))
            .unwrap();
        let digit = house.wait("the key at the other end", |report| match report.kind {
            ReportKind::Digit(digit) if report.slot == human.slot => Some(digit),
            _ => None,
        });
        assert_eq!(digit, Digit::Key(b'5'));
        std::thread::sleep(Duration::from_millis(300));
        house.close(one.slot);
        // Whoever is left alone hears comfort noise, without a gap.
        std::thread::sleep(Duration::from_millis(300));
        let summary = house.close(other.slot);
        let ends = [house.close(caller.slot), house.close(human.slot)];
        let _recordings = house.leave();
        for (tape, script) in [(&tapes[0], &scripts[1]), (&tapes[1], &scripts[0])] {
            let wav = wav::read(tape).unwrap();
            let alike = likeness(
                &script.clips[0].samples[2_000..3_600],
                &wav.channel(0).unwrap(),
            );
            assert!(alike > like(ours, theirs), "{ours:?} {theirs:?}: {alike}");
        }
        // What we sent is on our own tape too.
        let wav = wav::read(&tapes[2]).unwrap();
        let alike = likeness(
            &scripts[0].clips[0].samples[2_000..3_600],
            &wav.channel(1).unwrap(),
        );
        assert!(alike > like(ours, theirs), "{ours:?} {theirs:?}: {alike}");
        let playout = summary.playout.expect("it was joined");
        assert!(playout.frames > 50 && playout.max_ms <= 200, "{summary:?}");
        assert_eq!(summary.straight > 40, straight, "{summary:?}");
        for end in ends {
            assert!(end.lost.abs() <= 1 && end.jumps <= 1, "{end:?}");
        }
    }
}

#[test]
fn a_leg_without_a_peer_is_not_joined_and_others_threads_legs_are_not_siblings() {
    let mut house = House::new(47_300, 3, "alone");
    let (_, one) = house.line(None, Codec::Pcmu);
    let alone = house.media.open(Some(one.slot)).unwrap();
    assert!(!house.join(one.slot, alone.slot));
    assert!(!house.join(one.slot, one.slot));
    let gone = SlotId {
        generation: 77,
        ..alone.slot
    };
    assert_eq!(house.media.join(one.slot, gone), Err(Full::Gone));
    let stranger = SlotId {
        thread: 1,
        ..alone.slot
    };
    assert_eq!(house.media.join(one.slot, stranger), Err(Full::Gone));
}
