//! The ear on generated calls: what it reports, when, and that level and
//! position in time do not change it.

#[path = "ear/caller.rs"]
mod caller;

use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::{Dtmf, Sine};
use offhook_dsp::{
    AnswerClass, Ear, Event, EventKind, Events, FRAME, Line, Phrase, SilenceCause, Source,
    ToneKind, Words,
};
use proptest::prelude::*;

const SECOND: usize = 8_000;

/// A line under construction: quiet noise at first.
struct Scene {
    near: Vec<f32>,
    far: Vec<f32>,
}

impl Scene {
    fn new(seconds: f32) -> Self {
        let mut noise = ComfortNoise::new(68, 4_711);
        let length = (seconds * SECOND as f32) as usize;
        let near = (0..length).map(|_| f32::from(noise.sample())).collect();
        Self {
            near,
            far: vec![0.0; length],
        }
    }

    fn add(mut self, at: f32, sound: &[f32]) -> Self {
        let from = (at * SECOND as f32) as usize;
        for (slot, sample) in self.near[from..].iter_mut().zip(sound) {
            *slot += sample;
        }
        self
    }

    fn tones(self, at: f32, seconds: f32, hertz: &[f32], level: f32) -> Self {
        let mut sines: Vec<Sine> = hertz.iter().map(|&hz| Sine::new(hz, level)).collect();
        let length = (seconds * SECOND as f32) as usize;
        let sound: Vec<f32> = (0..length)
            .map(|_| sines.iter_mut().map(Sine::sample).sum())
            .collect();
        self.add(at, &sound)
    }

    /// A prompt in the far direction and its echo on the line.
    fn prompt(mut self, at: f32, sound: &[f32], echo_delay: usize, echo_gain: f32) -> Self {
        let from = (at * SECOND as f32) as usize;
        for (index, sample) in sound.iter().enumerate() {
            let Some(slot) = self.far.get_mut(from + index) else {
                break;
            };
            *slot += sample;
            if let Some(slot) = self.near.get_mut(from + index + echo_delay) {
                *slot += sample * echo_gain;
            }
        }
        self
    }

    fn hear(&self, answered_at: Option<f32>) -> Vec<Event> {
        self.hear_at(1.0, answered_at)
    }

    fn hear_at(&self, gain: f32, answered_at: Option<f32>) -> Vec<Event> {
        self.hear_by(Ear::new(), gain, answered_at)
    }

    /// Answered from the start, by an ear that was told something before.
    fn hear_with(&self, tell: impl FnOnce(&mut Ear)) -> Vec<Event> {
        let mut ear = Ear::new();
        tell(&mut ear);
        self.hear_by(ear, 1.0, Some(0.0))
    }

    fn hear_by(&self, ear: Ear, gain: f32, answered_at: Option<f32>) -> Vec<Event> {
        self.hear_all(ear, gain, answered_at, |_, _| {})
    }

    /// By an ear that is told something at a time.
    fn hear_told(&self, answered_at: Option<f32>, at: f32, tell: impl Fn(&mut Ear)) -> Vec<Event> {
        let first = (at * 100.0) as usize;
        self.hear_all(Ear::new(), 1.0, answered_at, |index, ear| {
            if index == first {
                tell(ear);
            }
        })
    }

    fn hear_all(
        &self,
        mut ear: Ear,
        gain: f32,
        answered_at: Option<f32>,
        before: impl Fn(usize, &mut Ear),
    ) -> Vec<Event> {
        let mut heard = Vec::new();
        let (near, _) = self.near.as_chunks::<FRAME>();
        let (far, _) = self.far.as_chunks::<FRAME>();
        let plays = |frame: &[f32; FRAME]| frame.iter().any(|&sample| sample != 0.0);
        let played = far.iter().position(plays).zip(far.iter().rposition(plays));
        for (index, (near, far)) in near.iter().zip(far).enumerate() {
            let start = (index * FRAME) as f32 / SECOND as f32;
            let line = Line {
                source: Source::Received,
                playout_shift: 0,
                answered: answered_at.is_some_and(|answer| start >= answer),
                prompt: played.is_some_and(|(first, last)| (first..=last).contains(&index)),
            };
            before(index, &mut ear);
            let mut out = Events::new();
            ear.hear(
                &near.map(|s| (s * gain) as i16),
                &far.map(|s| s as i16),
                line,
                &mut out,
            );
            heard.extend(out);
        }
        heard
    }
}

/// Something like speech: a pulse train through three formants that move, in
/// syllables of 170 ms with 40 ms between them.
fn speech(seconds: f32, level_dbov: f32, pitch: f32) -> Vec<f32> {
    let vowels = [
        [700.0, 1_200.0, 2_500.0],
        [350.0, 2_000.0, 2_700.0],
        [450.0, 900.0, 2_300.0],
    ];
    let length = (seconds * SECOND as f32) as usize;
    let mut phase = 0.0f32;
    let mut state = [[0.0f32; 2]; 3];
    let mut sound: Vec<f32> = Vec::with_capacity(length);
    for index in 0..length {
        let syllable = index / 1_680;
        let within = index % 1_680;
        phase += (pitch + 15.0 * (index as f32 / 2_000.0).sin()) / SECOND as f32;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= phase.floor();
        let mut sample = 0.0;
        for (formant, state) in vowels[syllable % 3].iter().zip(&mut state) {
            let radius = 0.96f32;
            let angle = std::f32::consts::TAU * formant / SECOND as f32;
            let out = pulse + 2.0 * radius * angle.cos() * state[0] - radius * radius * state[1];
            *state = [out, state[0]];
            sample += out;
        }
        let open = if within < 1_360 {
            (within as f32 / 1_360.0 * std::f32::consts::PI).sin()
        } else {
            0.0
        };
        sound.push(sample * open);
    }
    let rms = (sound.iter().map(|s| s * s).sum::<f32>() / length as f32).sqrt();
    let wanted = 32_768.0 * 10f32.powf(level_dbov / 20.0);
    sound.iter().map(|s| s * wanted / rms).collect()
}

fn named<'a>(events: &'a [Event], name: &str) -> Vec<&'a Event> {
    events
        .iter()
        .filter(|event| event.kind.name() == name)
        .collect()
}

fn tones(events: &[Event]) -> Vec<ToneKind> {
    let kind = |event: &Event| match event.kind {
        EventKind::Tone { kind, .. } => Some(kind),
        _ => None,
    };
    events.iter().filter_map(kind).collect()
}

fn answers(events: &[Event]) -> Vec<AnswerClass> {
    let class = |event: &Event| match event.kind {
        EventKind::Answer { class, .. } => Some(class),
        _ => None,
    };
    events.iter().filter_map(class).collect()
}

fn seconds(samples: u64) -> f32 {
    samples as f32 / SECOND as f32
}

/// Kind, verdict, frequencies, and on and off times in seconds.
type ToneRow = (
    ToneKind,
    Option<AnswerClass>,
    &'static [f32],
    &'static [(f32, f32)],
);

const TONE_TABLE: [ToneRow; 12] = [
    (ToneKind::Dial, None, &[350.0, 440.0], &[(4.0, 0.0)]),
    (ToneKind::Dial, None, &[425.0], &[(4.0, 0.0)]),
    (
        ToneKind::Ringback,
        Some(AnswerClass::Ringback),
        &[440.0, 480.0],
        &[(2.0, 4.0), (2.0, 1.0)],
    ),
    (
        ToneKind::Ringback,
        Some(AnswerClass::Ringback),
        &[425.0],
        &[(1.0, 4.0), (1.0, 1.0)],
    ),
    (
        ToneKind::RingbackUk,
        Some(AnswerClass::Ringback),
        &[400.0, 450.0],
        &[(0.4, 0.2), (0.4, 2.0), (0.4, 0.2), (0.4, 2.0)],
    ),
    (
        ToneKind::Busy,
        Some(AnswerClass::Busy),
        &[480.0, 620.0],
        &[(0.5, 0.5), (0.5, 0.5), (0.5, 0.5)],
    ),
    (
        ToneKind::Busy,
        Some(AnswerClass::Busy),
        &[425.0],
        &[(0.5, 0.5), (0.5, 0.5), (0.5, 0.5)],
    ),
    (
        ToneKind::Busy,
        Some(AnswerClass::Busy),
        &[400.0],
        &[(0.375, 0.375), (0.375, 0.375), (0.375, 0.375)],
    ),
    (
        ToneKind::Reorder,
        Some(AnswerClass::Reorder),
        &[480.0, 620.0],
        &[(0.25, 0.25), (0.25, 0.25), (0.25, 0.25)],
    ),
    (
        ToneKind::Reorder,
        Some(AnswerClass::Reorder),
        &[425.0],
        &[(0.25, 0.25), (0.25, 0.25), (0.25, 0.25)],
    ),
    (
        ToneKind::FaxCed,
        Some(AnswerClass::Fax),
        &[2_100.0],
        &[(3.0, 0.1)],
    ),
    (
        ToneKind::FaxCng,
        Some(AnswerClass::Fax),
        &[1_100.0],
        &[(0.5, 3.0), (0.5, 1.0)],
    ),
];

fn tone_scene(row: &ToneRow, level: f32) -> Scene {
    let length: f32 = row.3.iter().map(|(on, off)| on + off).sum();
    let mut scene = Scene::new(length + 1.0);
    let mut at = 0.3;
    for (on, off) in row.3 {
        scene = scene.tones(at, *on, row.2, level);
        at += on + off;
    }
    scene
}

#[test]
fn every_signalling_tone_is_named_once_at_any_level_and_is_never_speech() {
    for row in &TONE_TABLE {
        for level in [-14.0, -22.0, -34.0] {
            let events = tone_scene(row, level).hear(Some(0.0));
            assert_eq!(tones(&events), [row.0], "{row:?} at {level}");
            assert_eq!(
                answers(&events).first().copied(),
                row.1,
                "{row:?} at {level}"
            );
            assert!(
                named(&events, "speech_start").is_empty(),
                "{row:?} at {level}: {events:?}"
            );
            assert!(named(&events, "beep").is_empty(), "{row:?} at {level}");
        }
    }
}

#[test]
fn special_information_tones_are_known_in_the_third() {
    let scene = Scene::new(2.0)
        .tones(0.3, 0.38, &[913.8], -20.0)
        .tones(0.68, 0.274, &[1_370.6], -20.0)
        .tones(0.954, 0.38, &[1_776.7], -20.0);
    let events = scene.hear(None);
    assert_eq!(tones(&events), [ToneKind::Sit]);
    assert_eq!(answers(&events), [AnswerClass::Sit]);
    assert!(seconds(named(&events, "answer")[0].at) < 1.3);
}

#[test]
fn speech_is_placed_within_60_ms_at_any_level() {
    // The softest syllable rises out of the noise later.
    for (level, latest) in [(-10.0, 0.08), (-20.0, 0.08), (-30.0, 0.08), (-36.0, 0.16)] {
        let scene = Scene::new(4.0).add(1.0, &speech(1.45, level, 120.0));
        let events = scene.hear(None);
        let kinds = events.iter().map(|event| event.kind.name());
        let kinds: Vec<_> = kinds.filter(|name| name.starts_with("speech")).collect();
        assert_eq!(
            kinds[..2],
            ["speech_start", "speech_pause"],
            "{level}: {events:?}"
        );
        let EventKind::SpeechStart { start } = events[0].kind else {
            panic!("{events:?}")
        };
        assert!(
            (seconds(start) - 1.0).abs() < 0.06,
            "{level}: start {}",
            seconds(start)
        );
        assert!(
            seconds(events[0].at) - 1.0 < latest,
            "{level}: at {}",
            seconds(events[0].at)
        );
        let ends = named(&events, "speech_end");
        let EventKind::SpeechEnd { end } = ends[0].kind else {
            panic!("{events:?}")
        };
        assert_eq!(ends.len(), 1);
        assert!(
            (seconds(end) - 2.43).abs() < 0.08,
            "{level}: end {}",
            seconds(end)
        );
        assert!((seconds(ends[0].at) - 2.43 - 0.36).abs() < 0.08, "{level}");
    }
}

#[test]
fn comfort_noise_zeros_and_missing_packets_are_silence_with_a_cause() {
    let mut noise = ComfortNoise::new(45, 3);
    let rows = [
        (Source::ComfortNoise, true, SilenceCause::ComfortNoise),
        (Source::Received, false, SilenceCause::ComfortNoise),
        (Source::NoRtp, false, SilenceCause::NoRtp),
        (Source::Received, true, SilenceCause::Quiet),
    ];
    for (source, noisy, expected) in rows {
        let mut ear = Ear::new();
        let mut heard = Vec::new();
        for _ in 0..300 {
            let mut near = [0; FRAME];
            if noisy {
                noise.fill(&mut near);
            }
            let line = Line {
                source,
                playout_shift: 0,
                answered: true,
                prompt: false,
            };
            let mut out = Events::new();
            ear.hear(&near, &[0; FRAME], line, &mut out);
            heard.extend(out);
        }
        assert_eq!(heard.len(), 1, "{source:?}: {heard:?}");
        assert_eq!(
            heard[0].kind,
            EventKind::Silence {
                cause: expected,
                since: 0
            }
        );
        assert_eq!(ear.snapshot().silence, Some(expected));
    }
}

#[test]
fn a_concealed_gap_does_not_end_speech() {
    let scene = Scene::new(2.5).add(0.5, &speech(1.5, -20.0, 110.0));
    let mut ear = Ear::new();
    let mut heard = Vec::new();
    let (near, _) = scene.near.as_chunks::<FRAME>();
    for (index, near) in near.iter().enumerate() {
        let lost = (100..104).contains(&index);
        let source = if lost {
            Source::Concealed
        } else {
            Source::Received
        };
        let near = if lost {
            [0; FRAME]
        } else {
            near.map(|s| s as i16)
        };
        let line = Line {
            source,
            playout_shift: 0,
            answered: false,
            prompt: false,
        };
        let mut out = Events::new();
        ear.hear(&near, &[0; FRAME], line, &mut out);
        heard.extend(out);
    }
    let ends: Vec<_> = named(&heard, "speech_end");
    assert_eq!(ends.len(), 1);
    assert!(seconds(ends[0].at) > 2.0);
}

#[test]
fn short_speech_then_a_pause_is_a_person_and_long_speech_a_machine() {
    let hello = Scene::new(4.0)
        .add(1.0, &speech(0.6, -22.0, 130.0))
        .hear(Some(0.0));
    assert_eq!(answers(&hello), [AnswerClass::Human]);
    let greeting = Scene::new(6.0)
        .add(1.0, &speech(4.5, -22.0, 130.0))
        .hear(Some(0.0));
    assert_eq!(answers(&greeting), [AnswerClass::Machine]);
    assert!(seconds(named(&greeting, "answer")[0].at) < 4.0);
}

#[test]
fn who_called_us_is_not_classed_and_the_beep_is_heard() {
    let scene =
        Scene::new(6.0)
            .add(0.5, &speech(4.0, -22.0, 110.0))
            .tones(4.8, 0.4, &[1_000.0], -20.0);
    let (asked, called) = (scene.hear(Some(0.0)), scene.hear_with(Ear::they_called));
    assert_eq!(answers(&asked), [AnswerClass::Machine]);
    let answers = |event: &&Event| event.kind.name().starts_with("answer");
    assert_eq!(called.iter().filter(answers).count(), 0, "{called:?}");
    assert_eq!(named(&called, "beep").len(), 1, "{called:?}");
}

#[test]
fn nobody_waits_for_us_while_the_line_is_as_loud_as_their_speech() {
    // Something that seems to speak for a second and drones on as loud.
    let drone = |scene: Scene| {
        let mut noise = ComfortNoise::new(20, 5);
        let sound: Vec<f32> = (0..4 * SECOND).map(|_| f32::from(noise.sample())).collect();
        scene.add(1.9, &sound)
    };
    let word = || Scene::new(6.0).add(1.0, &speech(0.9, -20.0, 130.0));
    assert_eq!(answers(&word().hear(Some(0.0))), [AnswerClass::Human]);
    let events = drone(word()).hear(Some(0.0));
    assert!(
        !answers(&events).contains(&AnswerClass::Human),
        "{events:?}"
    );
}

#[test]
fn a_sentence_in_reply_to_our_prompt_is_no_recording() {
    let scene = Scene::new(12.0)
        .prompt(4.6, &speech(2.0, -20.0, 190.0), 240, 0.0)
        .add(7.0, &speech(2.8, -22.0, 120.0));
    let events = scene.hear(Some(0.0));
    assert_eq!(answers(&events), [AnswerClass::Silence], "{events:?}");
    let corrected = |class: AnswerClass| {
        let to = |event: &&Event| matches!(event.kind, EventKind::AnswerCorrected { class: it, .. } if it == class);
        events.iter().filter(to).count()
    };
    assert_eq!(corrected(AnswerClass::Human), 1, "{events:?}");
    assert_eq!(corrected(AnswerClass::Machine), 0, "{events:?}");
}

#[test]
fn a_person_who_goes_on_like_a_recording_is_corrected_once() {
    let scene = Scene::new(12.0)
        .add(0.5, &speech(0.6, -22.0, 130.0))
        .add(2.0, &speech(8.0, -22.0, 130.0));
    let events = scene.hear(Some(0.0));
    assert_eq!(answers(&events), [AnswerClass::Human]);
    let corrected = named(&events, "answer_corrected");
    assert_eq!(corrected.len(), 1);
    assert!(matches!(
        corrected[0].kind,
        EventKind::AnswerCorrected {
            class: AnswerClass::Machine,
            was: AnswerClass::Human,
            ..
        }
    ));
}

#[test]
fn words_tell_a_recording_at_once_but_not_what_a_person_says_of_somebody_to_us() {
    let understood = |phrase| {
        move |ear: &mut Ear| {
            ear.understand(Words {
                count: 5,
                phrase: Some(phrase),
            });
        }
    };
    let turn = Scene::new(6.0).add(0.5, &speech(0.8, -22.0, 130.0));
    let table = [
        (Phrase::Greeting, AnswerClass::Machine),
        (Phrase::Menu, AnswerClass::Ivr),
        (Phrase::Screening, AnswerClass::Screening),
        (Phrase::Person, AnswerClass::Human),
    ];
    for (phrase, class) in table {
        let events = turn.hear_with(understood(phrase));
        assert_eq!(answers(&events), [class], "{phrase:?}");
        let telling = phrase != Phrase::Person;
        assert!(!telling || named(&events, "answer")[0].at < SECOND as u64);
    }
    // A sentence whose words tell nothing is a person's, one without words a recording.
    let sentence = Scene::new(7.0).add(0.5, &speech(3.0, -22.0, 130.0));
    assert_eq!(answers(&sentence.hear(Some(0.0))), [AnswerClass::Machine]);
    let words = |ear: &mut Ear| {
        ear.understand(Words {
            count: 2,
            phrase: None,
        });
    };
    let told = sentence.hear_told(Some(0.0), 1.3, words);
    assert_eq!(answers(&told), [AnswerClass::Human]);
    // A person answers, we speak, and they say these words.
    let reply = Scene::new(8.0)
        .add(0.5, &speech(0.8, -22.0, 130.0))
        .prompt(3.0, &speech(1.0, -20.0, 190.0), 240, 0.0)
        .add(5.0, &speech(1.0, -22.0, 130.0));
    for (phrase, corrections) in [(Phrase::Greeting, 0), (Phrase::Menu, 1)] {
        let events = reply.hear_told(Some(0.0), 5.5, understood(phrase));
        assert_eq!(answers(&events), [AnswerClass::Human]);
        let corrected = named(&events, "answer_corrected").len();
        assert_eq!(corrected, corrections, "{phrase:?}: {events:?}");
    }
}

#[test]
fn silence_is_the_verdict_4_5_s_after_the_answer_and_never_before_it() {
    let scene = Scene::new(8.0);
    assert!(answers(&scene.hear(None)).is_empty());
    let events = scene.hear(Some(1.0));
    assert_eq!(answers(&events), [AnswerClass::Silence]);
    assert_eq!(named(&events, "answer")[0].at, 44_000);
}

#[test]
fn a_beep_after_speech_is_reported_within_60_ms_of_its_end() {
    for (hertz, length) in [(440.0, 0.3), (1_000.0, 0.1), (1_400.0, 0.5), (2_000.0, 1.2)] {
        let scene = Scene::new(6.0).add(0.5, &speech(2.5, -22.0, 110.0)).tones(
            3.6,
            length,
            &[hertz],
            -20.0,
        );
        let events = scene.hear(Some(0.0));
        let beeps = named(&events, "beep");
        assert_eq!(beeps.len(), 1, "{hertz} Hz, {length} s: {events:?}");
        let EventKind::Beep { start, end, hz } = beeps[0].kind else {
            panic!("{beeps:?}")
        };
        assert!((f32::from(hz) - hertz).abs() < 4.0, "{hertz}: {hz}");
        assert!(
            (seconds(start) - 3.6).abs() < 0.03,
            "{hertz}: start {}",
            seconds(start)
        );
        assert!(
            (seconds(end) - 3.6 - length).abs() < 0.02,
            "{hertz}: end {}",
            seconds(end)
        );
        assert!(seconds(beeps[0].at - end) < 0.065, "{hertz}");
    }
}

#[test]
fn keys_are_heard_with_their_beginning_and_are_neither_speech_nor_beep() {
    let mut scene = Scene::new(4.0).add(0.2, &speech(0.8, -22.0, 120.0));
    for (index, digit) in b"159#".iter().enumerate() {
        let mut key = Dtmf::new(*digit, 80, 0, -18.0).expect("a key");
        let sound: Vec<f32> = std::iter::from_fn(|| key.sample()).map(f32::from).collect();
        scene = scene.add(2.0 + 0.2 * index as f32, &sound);
    }
    let events = scene.hear(None);
    let keys: Vec<(u8, f32)> = events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Dtmf { digit, start } => Some((digit, seconds(start))),
            _ => None,
        })
        .collect();
    assert_eq!(keys.iter().map(|key| key.0).collect::<Vec<_>>(), b"159#");
    for (index, key) in keys.iter().enumerate() {
        assert!((key.1 - 2.0 - 0.2 * index as f32).abs() < 0.03, "{keys:?}");
    }
    assert_eq!(tones(&events), [ToneKind::Dtmf]);
    assert_eq!(named(&events, "speech_start").len(), 1);
    assert!(named(&events, "beep").is_empty());
}

#[test]
fn an_echo_of_our_prompt_is_no_barge_in_and_a_caller_over_it_is() {
    let prompt = speech(8.0, -20.0, 190.0);
    let echo = Scene::new(9.0).prompt(0.5, &prompt, 240, 0.2);
    let events = echo.hear(Some(0.0));
    assert!(named(&events, "barge_in").is_empty(), "{events:?}");
    assert!(named(&events, "speech_start").is_empty(), "{events:?}");
    let caller = echo.add(5.0, &speech(1.5, -22.0, 110.0));
    let events = caller.hear(Some(0.0));
    let barge_ins = named(&events, "barge_in");
    assert_eq!(barge_ins.len(), 1, "{events:?}");
    assert!((5.0..5.5).contains(&seconds(barge_ins[0].at)), "{events:?}");
}

#[test]
fn a_caller_is_heard_over_an_echo_that_comes_a_fifth_of_a_second_late() {
    let echo = Scene::new(11.0).prompt(0.5, &speech(10.0, -20.0, 190.0), 1_600, 0.35);
    assert!(named(&echo.hear(Some(0.0)), "barge_in").is_empty());
    let caller = echo.add(7.0, &speech(1.5, -22.0, 110.0));
    let events = caller.hear(Some(0.0));
    let barge_ins = named(&events, "barge_in");
    assert_eq!(barge_ins.len(), 1, "{events:?}");
    assert!((7.0..7.5).contains(&seconds(barge_ins[0].at)), "{events:?}");
}

#[test]
fn without_an_echo_a_barge_in_is_reported_within_300_ms() {
    let scene = Scene::new(6.0)
        .prompt(0.5, &speech(5.0, -20.0, 190.0), 240, 0.0)
        .add(3.0, &speech(1.6, -22.0, 110.0));
    let events = scene.hear(Some(0.0));
    let barge_ins = named(&events, "barge_in");
    assert_eq!(barge_ins.len(), 1, "{events:?}");
    assert!((3.0..3.3).contains(&seconds(barge_ins[0].at)), "{events:?}");
    assert_eq!(named(&events, "barge_in_retracted").len(), 0);
}

#[test]
fn a_caller_in_a_pause_of_our_prompt_barges_in() {
    let events = Scene::new(9.0)
        .prompt(0.5, &speech(1.5, -20.0, 190.0), 240, 0.1)
        .prompt(6.0, &speech(2.0, -20.0, 190.0), 240, 0.1)
        .add(4.0, &speech(1.4, -22.0, 110.0))
        .hear(Some(0.0));
    let barge_ins = named(&events, "barge_in");
    assert_eq!(barge_ins.len(), 1, "{events:?}");
    assert!((4.0..4.3).contains(&seconds(barge_ins[0].at)), "{events:?}");
    assert!(
        named(&events, "barge_in_retracted").is_empty(),
        "{events:?}"
    );
}

#[test]
fn a_cough_over_the_prompt_is_taken_back_and_speech_without_a_prompt_is_no_barge_in() {
    let prompt = speech(6.0, -20.0, 190.0);
    let scene = Scene::new(8.0)
        .prompt(0.5, &prompt, 240, 0.1)
        .add(4.0, &speech(0.35, -18.0, 110.0));
    let events = scene.hear(Some(0.0));
    assert_eq!(named(&events, "barge_in").len(), 1, "{events:?}");
    assert_eq!(named(&events, "barge_in_retracted").len(), 1, "{events:?}");
    let alone = Scene::new(4.0)
        .add(1.0, &speech(1.0, -20.0, 110.0))
        .hear(None);
    assert!(named(&alone, "barge_in").is_empty());
}

#[test]
fn sequence_numbers_have_no_gaps_and_the_snapshot_agrees() {
    let events = Scene::new(5.0)
        .add(1.0, &speech(1.0, -20.0, 120.0))
        .hear(Some(0.0));
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq as usize, index);
    }
    assert!(events.is_sorted_by_key(|event| event.at));
}

#[test]
fn whole_frames_of_zeros_before_a_call_only_move_it_in_time() {
    let scene =
        Scene::new(4.0)
            .add(1.0, &speech(0.8, -22.0, 130.0))
            .tones(3.0, 0.3, &[900.0], -20.0);
    let plain = scene.hear(None);
    for frames in [1, 7, 100] {
        let mut near = vec![0.0; frames * FRAME];
        near.extend(&scene.near);
        let moved = Scene {
            far: vec![0.0; near.len()],
            near,
        };
        let shift = (frames * FRAME) as u64;
        let names = |events: &[Event], shift: u64| -> Vec<(u64, &'static str)> {
            events
                .iter()
                .filter(|event| event.kind.name() != "silence")
                .map(|event| (event.at - shift, event.kind.name()))
                .collect()
        };
        let (moved, plain) = (names(&moved.hear(None), shift), names(&plain, 0));
        assert_eq!(
            moved.len(),
            plain.len(),
            "{frames} frames: {moved:?} {plain:?}"
        );
        for (one, other) in moved.iter().zip(&plain) {
            assert_eq!(one.1, other.1, "{frames} frames");
            // A second of zeros tells the network that the line is very quiet.
            assert!(
                one.0.abs_diff(other.0) <= 400,
                "{frames} frames: {one:?} {other:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn six_decibels_more_or_less_change_no_class(row in 0usize..TONE_TABLE.len(), gain in 0.5f32..2.0) {
        let events = tone_scene(&TONE_TABLE[row], -24.0).hear_at(gain, Some(0.0));
        prop_assert_eq!(tones(&events), vec![TONE_TABLE[row].0]);
        let hello = Scene::new(4.0).add(1.0, &speech(0.6, -24.0, 130.0));
        prop_assert_eq!(answers(&hello.hear_at(gain, Some(0.0))), vec![AnswerClass::Human]);
    }

    #[test]
    fn no_samples_and_no_line_state_make_the_ear_panic(
        seed: u32,
        sources in proptest::collection::vec((0u8..4, any::<i16>(), any::<bool>(), 0u8..5), 1..200),
    ) {
        let mut ear = Ear::new();
        let mut noise = ComfortNoise::new(0, seed);
        for (source, playout_shift, answered, loudness) in sources {
            let source = [Source::Received, Source::Concealed, Source::ComfortNoise, Source::NoRtp]
                [usize::from(source)];
            noise.set_level(loudness * 20);
            let mut near = [i16::MIN; FRAME];
            let mut far = [i16::MAX; FRAME];
            if loudness > 0 {
                noise.fill(&mut near);
                noise.fill(&mut far);
            }
            let line = Line { source, playout_shift, answered, prompt: answered };
            let mut out = Events::new();
            ear.hear(&near, &far, line, &mut out);
            prop_assert!(ear.speech_probability().is_finite());
            prop_assert!(ear.snapshot().floor_dbov.is_finite());
            prop_assert_eq!(ear.snapshot().dropped, 0);
        }
    }
}
