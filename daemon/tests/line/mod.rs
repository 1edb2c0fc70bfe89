//! The line of a leg: packets as they go out and come in, codecs, comfort noise, RTCP
//! beside RTP, encryption.

use offhook::media::codec::{Decoder, Encoder, Opus, Sound};
use offhook::media::{Codec, Order, ReceiveTypes, ReportKind, Stream, Summary};
use offhook_sip::rtp::View;
use offhook_sip::rtp::srtp::{Keys, MasterKey, Opener, Suite};

use super::LOUD;
use super::world::{PEER, World, peak, script, speech, stream};

#[test]
fn sound_goes_out_at_its_own_pace_whether_something_is_said_or_not() {
    let mut world = World::connected();
    world.mute = true;
    world.run(1_000);
    world.play(0, 1, script(300, 8_000));
    world.run(1_000);
    assert_eq!(world.out.sent.len(), 100);
    world.assert_stream_is_whole();
    let sound = world.sound();
    let marked: Vec<usize> = (0..100).filter(|index| sound[*index].1).collect();
    assert_eq!(
        marked,
        [0, 50],
        "talkspurts begin with the call and with the prompt"
    );
    assert!(
        sound[..50]
            .iter()
            .all(|(_, _, samples)| (1..200).contains(&peak(samples))),
        "comfort noise"
    );
    assert_eq!(
        sound
            .iter()
            .filter(|(_, _, samples)| peak(samples) > LOUD)
            .count(),
        15
    );
}

#[test]
fn who_takes_comfort_noise_is_told_the_level_of_the_line_five_times_a_second() {
    let mut world = World::new();
    let comfort_noise = Some(13);
    world.order(Order::Connect(Stream {
        comfort_noise,
        ..stream()
    }));
    world.mute = true;
    world.run(1_000);
    world.play(0, 1, script(300, 8_000));
    world.run(1_000);
    let views = world
        .out
        .sent
        .iter()
        .map(|(_, _, bytes)| View::parse(bytes).unwrap());
    let views: Vec<View<'_>> = views.collect();
    let first = views[0].timestamp();
    let told = |from: u32, count: u32| (0..count).map(move |n| (13, from + 1_600 * n, false));
    // A second of rest, 300 ms of prompt and the packet in which it is found to be
    // over, and what is left of the other second.
    let said = (0..16).map(|n| (0, 8_000 + 160 * n, n == 0));
    let expected: Vec<_> = told(0, 5).chain(said).chain(told(10_560, 4)).collect();
    let seen = views.iter().map(|view| {
        let ticks = view.timestamp().wrapping_sub(first);
        (view.payload_type(), ticks, view.marker() && ticks > 0)
    });
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    for pair in views.windows(2) {
        assert_eq!(pair[1].sequence(), pair[0].sequence().wrapping_add(1));
    }
    let level = offhook_dsp::noise::LINE_NOISE_LEVEL;
    let mut noise = views.iter().filter(|view| view.payload_type() == 13);
    assert!(noise.all(|view| view.payload() == [level]));
}

/// A voice as Opus carries it, in packets of 20 ms.
fn coded_speech(ms: usize) -> Vec<Vec<u8>> {
    let (_, encoder) = Opus::new().unwrap().split();
    let mut coder = Encoder::default();
    coder.opus = Some(encoder);
    let frames = speech(ms).as_chunks::<160>().0.to_vec();
    let mut code = |frame: &[i16; 160]| {
        let mut octets = [0; 480];
        let count = coder.encode(Codec::Opus, frame, None, &mut octets).unwrap();
        octets[..count].to_vec()
    };
    frames.iter().map(&mut code).collect()
}

/// What a leg hears of these packets when those numbers are lost.
fn heard_without(packets: &[Vec<u8>], lost: impl Fn(usize) -> bool) -> (Vec<i16>, Summary) {
    let mut world = World::new();
    world.order(Order::Connect(Stream {
        codec: Codec::Opus,
        send_payload_type: 107,
        receive: ReceiveTypes::from_slice(&[(107, Codec::Opus)]).unwrap(),
        ..stream()
    }));
    assert!(world.leg.lend(Opus::new().unwrap()).is_none());
    world.mute = true;
    for (number, payload) in packets.iter().enumerate() {
        let bytes = world.packet(107, false, 960 * number as u32, payload);
        if !lost(number) {
            world.datagram(PEER, &bytes);
        }
        world.run(20);
    }
    world.run(100);
    world.order(Order::Close);
    let summary = world.kinds().find_map(|kind| match kind {
        ReportKind::Closed(summary) => Some(*summary),
        _ => None,
    });
    let heard = world.out.heard.iter().flat_map(|(_, frame)| *frame);
    (heard.collect(), summary.expect("it is closed"))
}

/// Power of what two have apart, over that of the first, in places of ten packets.
fn difference_db(whole: &[i16], other: &[i16]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|it| it * it).sum::<f64>();
    let pairs = || whole.iter().zip(other);
    let apart = power(&mut pairs().map(|(one, other)| f64::from(*one) - f64::from(*other)));
    let all = power(&mut whole.iter().map(|it| f64::from(*it)));
    10.0 * (apart / all).log10()
}

#[test]
fn a_lost_packet_of_opus_is_heard_from_the_next_one() {
    let packets = coded_speech(4_000);
    let (whole, all) = heard_without(&packets, |_| false);
    assert_eq!((all.lost, all.recovered_ms), (0, 0));
    // Each tenth, alone: what follows repeats it where it was speech.
    let (mended, some) = heard_without(&packets, |number| number % 10 == 5);
    let made_up = some.concealed_ms - all.concealed_ms;
    assert_eq!((some.lost, some.recovered_ms + made_up), (20, 400));
    assert!(some.recovered_ms >= 300, "{some:?}");
    // Two in a row: the second of them comes back.
    let (patched, more) = heard_without(&packets, |number| matches!(number % 10, 5 | 6));
    let made_up = more.concealed_ms - all.concealed_ms;
    assert_eq!((more.lost, more.recovered_ms + made_up), (40, 800));
    assert!((300..=400).contains(&more.recovered_ms), "{more:?}");
    let [near, far] = [&mended, &patched].map(|heard| difference_db(&whole, heard));
    println!("one lost of ten: {near:.1} dB apart, two of ten: {far:.1} dB");
    assert!(near < -6.0 && near < far, "{near} {far}");
}

#[test]
fn what_is_known_of_an_opus_packet_does_not_hurt_whatever_it_is() {
    for byte in 0..=u8::MAX {
        for payload in [
            vec![byte],
            vec![byte, 0xFF],
            vec![byte, 0x40, 1, 2, 3, 4, 5, 6],
        ] {
            let mut packets = coded_speech(200);
            packets[5] = payload;
            heard_without(&packets, |number| number == 4);
        }
    }
}

#[test]
fn rtcp_beside_rtp_is_told_apart_and_comes_from_the_peer_alone() {
    let report = [0x81, 200, 0, 6, 0, 0, 0, 9];
    for rtcp_mux in [true, false] {
        let mut world = World::new();
        world.order(Order::Connect(Stream {
            rtcp_mux,
            ..stream()
        }));
        world.run(100);
        world.datagram(PEER, &report);
        world.datagram("198.51.100.66:4000", &report);
        let came = world.out.control.clone();
        world.order(Order::Close);
        let summary = world.kinds().find_map(|kind| match kind {
            ReportKind::Closed(summary) => Some(*summary),
            _ => None,
        });
        let summary = summary.expect("it is closed");
        if rtcp_mux {
            assert_eq!(came, [(PEER.parse().unwrap(), report.to_vec())]);
            assert_eq!((summary.malformed, summary.foreign), (0, 1));
        } else {
            assert_eq!(came, []);
        }
    }
}

#[test]
fn packets_from_elsewhere_and_nonsense_are_counted_and_change_nothing() {
    let mut world = World::connected();
    world.run(500);
    for round in 0..50u16 {
        let bytes = world.packet(0, false, 5, &[0x2A; 160]);
        world.datagram("198.51.100.9:5000", &bytes);
        world.datagram(PEER, &round.to_be_bytes());
        world.datagram(PEER, &[0x80; 2]);
        let unknown = world.packet(99, false, 5, &[1]);
        world.datagram(PEER, &unknown);
    }
    world.run(500);
    world.order(Order::Close);
    let Some(ReportKind::Closed(summary)) = world.kinds().last() else {
        panic!("closed");
    };
    assert_eq!((summary.foreign, summary.malformed), (50, 150));
    assert!(
        world
            .out
            .sent
            .iter()
            .all(|(_, target, _)| *target == PEER.parse().unwrap())
    );
}

#[test]
fn a_stream_that_stops_is_reported_after_a_second() {
    let mut world = World::connected();
    world.run(500);
    world.mute = true;
    world.run(7_000);
    let lost: Vec<&ReportKind> = world
        .kinds()
        .filter(|kind| matches!(kind, ReportKind::MediaLost { .. }))
        .collect();
    assert!(
        matches!(
            lost[..],
            [
                ReportKind::MediaLost { ms: 1_000..1_020 },
                ReportKind::MediaLost { ms: 6_000..6_020 }
            ]
        ),
        "{lost:?}"
    );
}

/// A leg that speaks this codec, under payload type 107.
fn wide_leg(codec: Codec) -> World {
    let mut world = World::new();
    world.order(Order::Connect(Stream {
        codec,
        send_payload_type: 107,
        receive: ReceiveTypes::from_slice(&[(107, codec)]).unwrap(),
        ..stream()
    }));
    assert!(world.leg.lend(Opus::new().unwrap()).is_none());
    world.mute = true;
    world
}

/// A second of 5 kHz in packets of 20 ms.
fn coded_5_khz(codec: Codec) -> Vec<Vec<u8>> {
    let (_, ours) = Opus::new().unwrap().split();
    let mut coder = Encoder::default();
    coder.opus = Some(ours);
    let packet = |number: usize| {
        // 5 kHz is 3 kHz in a band that is turned over.
        let high: [i16; 160] = std::array::from_fn(|index| {
            let seconds = (number * 160 + index) as f32 / 8_000.0;
            ((seconds * 3_000.0 * std::f32::consts::TAU).sin() * 6_000.0) as i16
        });
        let mut octets = [0; 480];
        let count = coder.encode(codec, &[0; 160], Some(&high), &mut octets);
        octets[..count.unwrap()].to_vec()
    };
    (0..50).map(packet).collect()
}

fn power(sound: &[i16]) -> f64 {
    let sum: f64 = sound.iter().map(|it| f64::from(*it).powi(2)).sum();
    sum / sound.len().max(1) as f64
}

#[test]
fn what_is_above_4_khz_goes_to_the_joined_leg_and_the_ear_does_not_hear_it() {
    for (one, other) in [(Codec::G722, Codec::Opus), (Codec::Opus, Codec::G722)] {
        let (mut caller, mut person) = (wide_leg(one), wide_leg(other));
        for (number, payload) in coded_5_khz(one).iter().enumerate() {
            let clock = if one == Codec::Opus { 960 } else { 160 };
            let bytes = caller.packet(107, false, clock * number as u32, payload);
            caller.datagram(PEER, &bytes);
            caller.run(20);
        }
        let heard = caller.out.passed.concat();
        assert!(
            power(&heard[4_000..]) < 20_000.0,
            "{}",
            power(&heard[4_000..])
        );
        assert_eq!(
            heard.len() * 2,
            caller.out.passed_high.concat().len() + heard.len()
        );
        person.out.joined.extend(caller.out.passed);
        person.out.joined_high.extend(caller.out.passed_high);
        person.run(1_000);
        let (theirs, _) = Opus::new().unwrap().split();
        let (mut decoder, mut above) = (Decoder::default(), Vec::new());
        decoder.opus = Some(theirs);
        for (_, _, bytes) in &person.out.sent {
            let mut sound = Sound::SILENT;
            let packet = View::parse(bytes).unwrap();
            let count = decoder.decode(other, packet.payload(), &mut sound);
            above.extend(sound.high[..count.unwrap_or(0)].iter().copied());
        }
        let level = power(&above[2_000..6_000]);
        // A sine of 6,000 has 18,000,000.
        assert!(
            (9e6..3.6e7).contains(&level),
            "{one:?} to {other:?}: {level}"
        );
    }
}

fn key(octet: u8) -> MasterKey {
    MasterKey::new(Suite::AesCm128HmacSha1_80, &[octet; 30]).unwrap()
}

/// The usual stream by these keys.
fn encrypted(ours: u8, theirs: u8) -> Order {
    let keys = Keys {
        ours: key(ours),
        theirs: key(theirs),
    };
    Order::Connect(Stream {
        srtp: Some(keys),
        ..stream()
    })
}

#[test]
fn a_peer_that_agrees_on_another_key_understands_it_though_its_first_packets_are_lost() {
    let mut world = World::new();
    world.mute = true;
    world.order(encrypted(1, 2));
    world.run(40);
    let number = |world: &World, place: usize| {
        let (_, _, bytes) = &world.out.sent[place];
        View::parse(bytes).unwrap().sequence()
    };
    // Theirs alone is another one: our packets go on as they were.
    world.order(encrypted(1, 4));
    world.run(40);
    let sent = world.out.sent.len();
    let first = number(&world, 0);
    assert_eq!(
        number(&world, sent - 1),
        first.wrapping_add(sent as u16 - 1)
    );
    // They would roll over in a moment.
    world.order(encrypted(3, 4));
    world.run(1_000);
    let mut opener = Opener::new(&key(3));
    for (_, _, bytes) in &world.out.sent[sent + 3..] {
        assert!(opener.open(&mut bytes.clone()).is_ok());
    }
    assert!(world.out.sent.len() > sent + 40);
}

#[test]
fn whoever_takes_a_call_over_understands_what_is_encrypted_though_its_first_packets_are_lost() {
    let mut world = World::new();
    world.mute = true;
    world.order(encrypted(1, 2));
    world.run(80);
    // The numbers of the packets would roll over in a moment.
    let sent = world.out.sent.len();
    world.order(Order::Anew);
    world.run(20);
    assert!(
        world.out.sent.len() > sent,
        "the one who goes hears the last of it"
    );
    let sent = world.out.sent.len();
    world.order(encrypted(3, 4));
    world.run(1_000);
    let (mut taker, mut other) = (Opener::new(&key(3)), Opener::new(&key(1)));
    for (_, _, bytes) in &world.out.sent[sent + 3..] {
        assert!(other.open(&mut bytes.clone()).is_err());
        assert!(taker.open(&mut bytes.clone()).is_ok());
    }
    assert!(world.out.sent.len() > sent + 40);
}
