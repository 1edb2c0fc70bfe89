//! What a leg does, in simulated time: turns, stale commands, fades, keys,
//! hold, echo, lost reports.

mod line;
mod world;

use std::time::Duration;

use offhook::media::{Digit, Digits, Direction, Order, ReportKind};
use offhook_dsp::fade::RAMP;
use offhook_dsp::g711::Law;
use offhook_dsp::{Ear, EventKind, Events, Line, Source};
use world::{World, peak, script, speech, stream};

/// Nothing that is no prompt is as loud as this.
const LOUD: i16 = 1_000;

#[test]
fn speech_over_a_prompt_stops_it_with_a_fade_in_the_next_packet() {
    let mut world = World::connected();
    world.play(0, 1, script(5_000, 8_000));
    world.run(1_500);
    world.say(&speech(1_000));
    let began = world.now();
    world.run(1_000);
    let (at, cut_so_far) = world
        .out
        .reports
        .iter()
        .find_map(|report| match report.kind {
            ReportKind::BargeIn {
                turn: 1,
                play: 1,
                cut,
                ..
            } => Some((report.at, cut)),
            _ => None,
        })
        .expect("the barge-in is reported");
    let sound = world.sound();
    let after: Vec<_> = sound
        .iter()
        .filter(|(sent, _, samples)| *sent > at && peak(samples) > LOUD)
        .collect();
    assert_eq!(after.len(), 1, "one packet with the fade");
    assert!(peak(&after[0].2[RAMP..]) < LOUD);
    assert!(after[0].0 - at <= Duration::from_millis(20));
    let first_speech = began + Duration::from_millis(3);
    let since_speech = sound
        .iter()
        .filter(|(sent, _, samples)| *sent > first_speech && peak(samples) > LOUD);
    let cut = world
        .kinds()
        .find_map(|kind| match kind {
            ReportKind::Played {
                play: 1,
                finished: false,
                cut,
                ..
            } => *cut,
            _ => None,
        })
        .expect("it says how quickly");
    // The ear may date the onset into the packet before or after.
    let counted = since_speech.count() as u32;
    assert!(counted.abs_diff(cut.packets) <= 1, "{counted} {cut:?}");
    assert_eq!(cut.packets, cut_so_far.packets + 1);
    assert!(cut.took <= Duration::from_millis(200), "{cut:?}");
    world.assert_stream_is_whole();
}

/// Levels by which prompts are told apart.
const LEVELS: u32 = 14;

/// Somebody who decides on every turn to say something new, each time at
/// another level; his commands arrive `delay` ticks late.
struct Decider {
    delay: u64,
    under_way: Vec<(u64, Order)>,
    plays: u32,
    read: usize,
}

impl Decider {
    fn level(play: u32) -> i16 {
        3_000 + 2_000 * (play % LEVELS) as i16
    }

    fn decide(&mut self, world: &World) {
        let new = &world.out.reports[self.read..];
        let turns = new.iter().filter_map(|report| match report.kind {
            ReportKind::BargeIn { turn, .. } | ReportKind::Turn { turn } => Some(turn),
            _ => None,
        });
        for turn in turns.collect::<Vec<_>>() {
            self.order(world, turn);
        }
        self.read = world.out.reports.len();
    }

    fn order(&mut self, world: &World, turn: u32) {
        self.plays += 1;
        let play = Order::Play {
            turn,
            play: self.plays,
            script: script(3_000, Self::level(self.plays)),
            interruptible: true,
        };
        let due = world.ms + self.delay * 10;
        self.under_way.push((due, play));
        // And a moment later he stops himself, and thinks better of it.
        self.under_way.push((due + 700, Order::Stop));
        self.under_way.push((
            due + 900,
            Order::Resume {
                turn: turn + 1,
                play: 1_000 + self.plays,
            },
        ));
    }

    fn due(&mut self, ms: u64) -> Vec<Order> {
        let (due, later) = self.under_way.drain(..).partition(|(at, _)| *at <= ms);
        self.under_way = later;
        let due: Vec<(u64, Order)> = due;
        due.into_iter().map(|(_, order)| order).collect()
    }
}

/// Invariant 1 of the design.
#[test]
fn no_sound_of_a_passed_turn_leaves_however_late_commands_come() {
    let utterance = speech(400);
    let (mut stale, mut loud) = (0, 0);
    for delay in 0..=130 {
        let mut world = World::connected();
        let mut decider = Decider {
            delay,
            under_way: Vec::new(),
            plays: 0,
            read: 0,
        };
        decider.order(&world, 0);
        // For each play the turn in which it was begun, as the leg took it.
        let mut begun = [None; LEVELS as usize];
        let mut sent = 0;
        for tick in 0..500u64 {
            if matches!(tick, 100 | 230 | 370) {
                world.say(&utterance);
            }
            let turn_before = turn_of(&world);
            for order in decider.due(world.ms) {
                match &order {
                    Order::Play { turn, play, .. } if *turn == turn_of(&world) => {
                        begun[(play % LEVELS) as usize] = Some(*turn);
                    }
                    Order::Resume { turn, .. } if *turn == turn_of(&world) => {
                        if let Some(play) = last_cut(&world) {
                            begun[(play % LEVELS) as usize] = Some(*turn);
                        }
                    }
                    _ => {}
                }
                world.order(order);
            }
            let turn_after_orders = turn_of(&world);
            world.run(10);
            decider.decide(&world);
            let sound = world.sound_from(sent);
            sent = world.out.sent.len();
            for samples in sound {
                let Some(play) = whose(&samples) else {
                    continue;
                };
                loud += 1;
                let turn = begun[play as usize].expect("only what was ordered is said");
                // A packet is filled in two ticks: what the first one put in stays.
                let is_fade = whose(&samples[samples.len() / 2 + RAMP..]) != Some(play);
                assert!(
                    turn == turn_before || turn == turn_after_orders || is_fade,
                    "delay {delay}, tick {tick}: play {play} of turn {turn} in turn {turn_before}"
                );
            }
        }
        stale += world
            .kinds()
            .filter(|kind| matches!(kind, ReportKind::Stale { .. }))
            .count();
        let wrong = world
            .kinds()
            .any(|kind| matches!(kind, ReportKind::EventsLost { .. }));
        assert!(!wrong);
    }
    assert!(
        stale > 100 && loud > 1_000,
        "{stale} stale, {loud} loud: the test tests something"
    );
}

fn turn_of(world: &World) -> u32 {
    let turns = world.kinds().filter_map(|kind| match kind {
        ReportKind::BargeIn { turn, .. } | ReportKind::Turn { turn } => Some(*turn),
        _ => None,
    });
    turns.last().unwrap_or(0)
}

/// The play that was cut last, under its first number.
fn last_cut(world: &World) -> Option<u32> {
    let cut = world.kinds().filter_map(|kind| match kind {
        ReportKind::Played {
            play,
            finished: false,
            sent_samples: 1..,
            ..
        } => Some(if *play > 1_000 { play - 1_000 } else { *play }),
        _ => None,
    });
    cut.last()
}

/// Which play a frame is of, by its level; one that fades in and at once out again
/// reaches none.
fn whose(samples: &[i16]) -> Option<u32> {
    let peak = peak(samples);
    let play = (u32::try_from(peak).unwrap_or(0).saturating_sub(2_000)) / 2_000;
    let is_its_level = peak.abs_diff(Decider::level(play)) < 500;
    (peak > LOUD && is_its_level).then_some(play)
}

impl World {
    /// The frames of 10 ms in what was sent from packet `first` on.
    fn sound_from(&self, first: usize) -> Vec<Vec<i16>> {
        let decode = |code: &u8| Law::Mu.decode(*code);
        let frames = self.out.sent[first..]
            .iter()
            .flat_map(|(_, _, bytes)| bytes[12..].chunks(80));
        frames
            .map(|codes| codes.iter().map(decode).collect())
            .collect()
    }
}

#[test]
fn a_command_of_an_older_turn_is_answered_and_not_carried_out() {
    let mut world = World::connected();
    world.run(200);
    world.order(Order::Stop);
    world.play(0, 1, script(500, 8_000));
    world.order(Order::Resume { turn: 0, play: 2 });
    world.run(500);
    let stale = world
        .kinds()
        .filter(|kind| **kind == ReportKind::Stale { turn: 0 });
    assert_eq!(stale.count(), 2);
    assert!(
        world
            .sound()
            .iter()
            .all(|(_, _, samples)| peak(samples) < LOUD)
    );
    assert_eq!(world.out.freed.len(), 1);
}

#[test]
fn on_hold_nothing_is_sent_and_the_prompt_waits() {
    for hold in 0..3 {
        let mut world = World::connected();
        world.play(0, 1, script(1_000, 8_000));
        world.run(200);
        let mut held = stream();
        match hold {
            0 => held.direction = Direction::RecvOnly,
            1 => held.direction = Direction::Inactive,
            _ => held.remote_rtp = "0.0.0.0:4000".parse().unwrap(),
        }
        world.order(Order::Connect(held));
        let before = world.out.sent.len();
        world.run(2_000);
        assert_eq!(world.out.sent.len(), before, "case {hold}");
        world.order(Order::Connect(stream()));
        world.run(1_000);
        let loud = world
            .sound()
            .iter()
            .filter(|(_, _, samples)| peak(samples) > LOUD)
            .count();
        assert_eq!(loud, 50, "case {hold}");
        // Time has passed in the timestamps, too.
        let stamps: Vec<u32> = world
            .out
            .sent
            .iter()
            .map(|(_, _, bytes)| u32::from_be_bytes(bytes[4..8].try_into().unwrap()))
            .collect();
        assert_eq!(
            stamps[before].wrapping_sub(stamps[before - 1]),
            160 * 101,
            "case {hold}"
        );
    }
}

#[test]
fn while_only_we_send_nothing_is_heard() {
    let mut world = World::connected();
    let mut held = stream();
    held.direction = Direction::SendOnly;
    world.order(Order::Connect(held));
    world.say(&speech(1_000));
    world.run(2_000);
    let spoke = world.kinds().any(|kind| matches!(kind, ReportKind::Ear(event) if matches!(event.kind, EventKind::SpeechStart { .. })));
    assert!(!spoke);
    assert!(
        !world
            .kinds()
            .any(|kind| matches!(kind, ReportKind::MediaLost { .. }))
    );
    assert_eq!(world.out.sent.len(), 100);
}

#[test]
fn an_echo_returns_each_packet_at_once_and_is_otherwise_silent() {
    let mut world = World::connected();
    world.run(100);
    world.order(Order::Echo);
    world.out.sent.clear();
    world.say(&speech(400));
    world.run(400);
    assert_eq!(world.out.sent.len(), 20);
    for (at, _, _) in &world.out.sent {
        assert_eq!(at.as_millis() % 20, 3, "in the same instant");
    }
    let returned: Vec<i16> = world
        .sound()
        .into_iter()
        .flat_map(|(_, _, samples)| samples)
        .collect();
    let said: Vec<i16> = speech(400)
        .iter()
        .map(|sample| Law::Mu.decode(Law::Mu.encode(*sample)))
        .collect();
    assert_eq!(returned, said);
    world.mute = true;
    world.out.sent.clear();
    world.run(500);
    assert!(world.out.sent.is_empty());
}

#[test]
fn a_key_that_is_heard_and_told_is_one_digit() {
    let mut world = World::connected();
    world.run(100);
    let mut tone = offhook_dsp::tone::Dtmf::new(b'5', 100, 20, -15.0).unwrap();
    let mut samples = vec![0; 960];
    tone.fill(&mut samples);
    world.say(&samples);
    world.run(60);
    for step in 0..6 {
        world.key(5, step > 2, step == 0, 77_000);
    }
    world.run(1_000);
    let digits: Vec<&ReportKind> = world
        .kinds()
        .filter(|kind| matches!(kind, ReportKind::Digit(_)))
        .collect();
    assert_eq!(digits, [&ReportKind::Digit(Digit::Key(b'5'))]);
}

#[test]
fn a_key_that_is_only_heard_is_a_digit_all_the_same() {
    let mut world = World::connected();
    world.run(100);
    let mut samples = vec![0; 960];
    offhook_dsp::tone::Dtmf::new(b'7', 100, 20, -15.0)
        .unwrap()
        .fill(&mut samples);
    world.say(&samples);
    world.run(1_000);
    assert!(
        world
            .kinds()
            .any(|kind| *kind == ReportKind::Digit(Digit::Key(b'7')))
    );
}

#[test]
fn a_secret_leaves_neither_in_reports_nor_on_tape() {
    let mut world = World::connected();
    world.order(Order::Record(1));
    world.run(100);
    world.order(Order::Collect {
        secret: Some((2, None)),
    });
    let mut samples = vec![0; 960];
    offhook_dsp::tone::Dtmf::new(b'7', 100, 20, -15.0)
        .unwrap()
        .fill(&mut samples);
    world.say(&samples);
    world.run(300);
    world.key(5, false, true, 77_000);
    world.key(5, true, false, 77_000);
    world.run(200);
    let masked = world
        .kinds()
        .filter(|kind| **kind == ReportKind::Digit(Digit::Masked))
        .count();
    assert_eq!(masked, 2);
    let told = world.kinds().any(|kind| match kind {
        ReportKind::Digit(Digit::Key(_)) => true,
        ReportKind::Ear(event) => {
            matches!(event.kind, EventKind::Dtmf { .. } | EventKind::Tone { .. })
        }
        _ => false,
    });
    assert!(!told);
    assert!(world.out.tape.iter().all(|(_, line, _)| peak(line) < LOUD));
    let sealed = ReportKind::Sealed {
        keys: 2,
        check_digit: true,
    };
    assert!(
        world.kinds().any(|kind| *kind == sealed),
        "7 + 2 * 5 - 9 + 2"
    );
    assert_eq!(world.out.sealed, b"75");
    world.order(Order::Collect { secret: None });
    world.run(600);
    assert_eq!(world.out.sealed, b"");
    world.say(&speech(200));
    world.run(300);
    assert!(world.out.tape.iter().any(|(_, line, _)| peak(line) > LOUD));
}

#[test]
fn keys_are_sent_as_events_or_as_tones() {
    for agreed in [true, false] {
        let mut world = World::connected();
        let mut stream = stream();
        stream.telephone_event = agreed.then_some((101, 8_000));
        stream.events = [agreed.then_some(101), None];
        world.order(Order::Connect(stream));
        world.run(100);
        world.out.sent.clear();
        world.order(Order::SendDigits(Digits::from_slice(b"5").unwrap()));
        world.run(400);
        let events = world
            .out
            .sent
            .iter()
            .filter(|(_, _, bytes)| bytes[1] & 0x7F == 101)
            .count();
        let loud = world
            .sound()
            .iter()
            .filter(|(_, _, samples)| peak(samples) > LOUD)
            .count();
        assert_eq!(events, if agreed { 7 } else { 0 });
        assert_eq!(loud, if agreed { 0 } else { 5 });
        assert_eq!(world.out.sent.len(), 20, "RTP never stops");
    }
}

#[test]
fn lost_reports_are_counted_and_followed_by_where_the_leg_stands() {
    let mut world = World::connected();
    world.run(100);
    world.out.reports.clear();
    world.out.room = Some(0);
    for _ in 0..20 {
        world.order(Order::Stop);
    }
    world.order(Order::Close);
    world.run(50);
    assert!(world.out.reports.is_empty());
    world.out.room = Some(5);
    world.run(50);
    assert_eq!(world.out.reports.len(), 5);
    world.out.room = None;
    world.run(20);
    let kinds: Vec<&ReportKind> = world.kinds().collect();
    let turns: Vec<u32> = kinds
        .iter()
        .filter_map(|kind| match kind {
            ReportKind::Turn { turn } => Some(*turn),
            _ => None,
        })
        .collect();
    assert_eq!(turns, (1..=8).collect::<Vec<_>>());
    assert!(
        matches!(
            kinds[8],
            ReportKind::EventsLost {
                count: 12,
                speaking: false,
                ..
            }
        ),
        "{kinds:?}"
    );
    assert!(matches!(kinds[9], ReportKind::Closed(summary) if summary.events_lost == 12));
    assert_eq!(kinds.len(), 10);
    assert!(world.leg.is_closed());
}

#[test]
fn a_recording_repeats_the_live_events_and_is_as_long_as_the_call() {
    let mut world = World::connected();
    world.order(Order::Record(9));
    world.play(0, 1, script(3_000, 4_000));
    world.run(1_200);
    world.say(&speech(900));
    world.run(3_000);
    world.say(&speech(1_500));
    world.run(3_000);
    world.order(Order::Close);
    let Some(ReportKind::Closed(summary)) = world.kinds().last().cloned() else {
        panic!("closed");
    };
    // 7.2 s, and what the packet under way at its start and end brings.
    let frames = world.out.tape.len() as u32;
    assert!((720..=722).contains(&frames), "{frames}");
    assert_eq!(world.out.tape_end, Some((9, frames)));
    assert_eq!(summary.length_samples, u64::from(frames) * 80);
    assert!(
        world
            .out
            .tape
            .iter()
            .enumerate()
            .all(|(index, (mark, _, _))| mark.frame == index as u32)
    );
    let live: Vec<_> = world
        .kinds()
        .filter_map(|kind| match kind {
            ReportKind::Ear(event) => Some(*event),
            _ => None,
        })
        .collect();
    let mut ear = Ear::new();
    let mut again = Vec::new();
    for (_, line, ours) in &world.out.tape {
        let mut events = Events::new();
        let how = Line {
            source: Source::Received,
            playout_shift: 0,
            answered: true,
            prompt: peak(ours) > LOUD,
        };
        ear.hear(line, ours, how, &mut events);
        again.extend(events);
    }
    assert!(
        live.iter()
            .any(|event| matches!(event.kind, EventKind::BargeIn { .. })),
        "{live:?}"
    );
    assert_eq!(again, live);
}
