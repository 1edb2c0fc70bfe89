//! What must not change what the ear says: level, a constant offset, and where
//! on the time axis a call begins.
//!
//! Who answered, beeps and tones may be known up to 200 ms earlier or later; speech
//! begins and ends up to 80 ms elsewhere and is known up to 160 ms earlier or later (a
//! softer syllable rises out of the noise later); keys move by a frame at most.

use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::{Dtmf, Sine};
use offhook_dsp::{AnswerClass, Ear, EventKind, Events, FRAME, Line, Source};
use proptest::prelude::*;

const SECOND: usize = 8_000;

/// A voice-like sound: pulses through three formants, in syllables of 210 ms.
fn voice(seconds: f32, level: f32, pitch: f32) -> Vec<f32> {
    let vowels = [[700.0, 1_200.0, 2_500.0], [350.0, 2_000.0, 2_700.0]];
    let (mut phase, mut state) = (0.0f32, [[0.0f32; 2]; 3]);
    let mut sound: Vec<f32> = Vec::new();
    for index in 0..(seconds * SECOND as f32) as usize {
        let (syllable, within) = (index / 1_680, index % 1_680);
        phase += (pitch + 15.0 * (index as f32 / 2_000.0).sin()) / SECOND as f32;
        let pulse = f32::from(u8::from(phase >= 1.0));
        phase -= phase.floor();
        let mut sample = 0.0;
        for (formant, state) in vowels[syllable % 2].iter().zip(&mut state) {
            let (radius, angle) = (0.96f32, std::f32::consts::TAU * formant / SECOND as f32);
            let out = pulse + 2.0 * radius * angle.cos() * state[0] - radius * radius * state[1];
            *state = [out, state[0]];
            sample += out;
        }
        let open = within < 1_360;
        let swell = (within as f32 / 1_360.0 * std::f32::consts::PI).sin();
        sound.push(if open { sample * swell } else { 0.0 });
    }
    let rms = (sound.iter().map(|s| s * s).sum::<f32>() / sound.len() as f32).sqrt();
    let wanted = 32_768.0 * 10f32.powf(level / 20.0);
    sound.iter().map(|sample| sample * wanted / rms).collect()
}

/// A greeting of four seconds, a beep, then a caller's short sentence.
fn call() -> Vec<f32> {
    let mut noise = ComfortNoise::new(64, 99);
    let mut line: Vec<f32> = (0..10 * SECOND)
        .map(|_| f32::from(noise.sample()))
        .collect();
    let mut add = |at: f32, sound: &[f32]| {
        let from = (at * SECOND as f32) as usize;
        for (slot, sample) in line[from..].iter_mut().zip(sound) {
            *slot += sample;
        }
    };
    add(0.6, &voice(4.0, -24.0, 120.0));
    let mut beep = Sine::new(1_000.0, -22.0);
    add(5.2, &(0..3_200).map(|_| beep.sample()).collect::<Vec<_>>());
    add(7.0, &voice(1.2, -24.0, 160.0));
    line
}

/// What happened, in an order of its own per kind, and when it was known.
fn hear(line: &[f32], gain: f32, offset: f32) -> Vec<(&'static str, u64, Option<AnswerClass>)> {
    hear_answered_at(0, line, gain, offset)
}

/// The same, answered at this sample.
fn hear_answered_at(
    answer: usize,
    line: &[f32],
    gain: f32,
    offset: f32,
) -> Vec<(&'static str, u64, Option<AnswerClass>)> {
    let mut ear = Ear::new();
    let mut heard = Vec::new();
    let (frames, _) = line.as_chunks::<FRAME>();
    for (index, near) in frames.iter().enumerate() {
        let near = near.map(|s| (s * gain + offset).round().clamp(-32_768.0, 32_767.0) as i16);
        let line = Line {
            source: Source::Received,
            playout_shift: 0,
            answered: index * FRAME >= answer,
            prompt: false,
        };
        let mut out = Events::new();
        ear.hear(&near, &[0; FRAME], line, &mut out);
        for event in out {
            let class = match event.kind {
                EventKind::Answer { class, .. } => Some(class),
                _ => None,
            };
            let counts = matches!(
                event.kind,
                EventKind::Answer { .. } | EventKind::Beep { .. } | EventKind::Tone { .. }
            );
            if counts {
                heard.push((event.kind.name(), event.at, class));
            }
        }
    }
    heard
}

#[test]
fn a_machine_and_its_beep_are_known_in_the_call_that_the_others_are_compared_with() {
    let heard = hear(&call(), 1.0, 0.0);
    let names: Vec<_> = heard.iter().map(|event| (event.0, event.2)).collect();
    assert_eq!(
        names,
        [("answer", Some(AnswerClass::Machine)), ("beep", None)],
        "{heard:?}"
    );
}

/// A caller who speaks, presses keys, and talks over our prompt and its echo.
fn busy_call() -> (Vec<f32>, Vec<f32>) {
    let mut noise = ComfortNoise::new(64, 98);
    let mut near: Vec<f32> = (0..14 * SECOND)
        .map(|_| f32::from(noise.sample()))
        .collect();
    let mut far = vec![0.0; near.len()];
    let add = |line: &mut [f32], at: f32, sound: &[f32], gain: f32| {
        let from = (at * SECOND as f32) as usize;
        for (slot, sample) in line[from..].iter_mut().zip(sound) {
            *slot += gain * sample;
        }
    };
    add(&mut near, 0.6, &voice(1.5, -24.0, 120.0), 1.0);
    for (index, digit) in b"42#".iter().enumerate() {
        let mut key = Dtmf::new(*digit, 70, 0, -24.0).expect("a key");
        let sound: Vec<f32> = std::iter::from_fn(|| key.sample()).map(f32::from).collect();
        add(&mut near, 3.5 + 0.2 * index as f32, &sound, 1.0);
    }
    let prompt = voice(6.0, -20.0, 190.0);
    add(&mut far, 5.5, &prompt, 1.0);
    add(&mut near, 5.53, &prompt, 0.15);
    add(&mut near, 9.0, &voice(1.6, -24.0, 120.0), 1.0);
    (near, far)
}

/// Name, key, where it was and when it was known.
type Said = (&'static str, u8, u64, u64);

fn hear_caller((near, far): &(Vec<f32>, Vec<f32>), gain: f32, offset: f32) -> Vec<Said> {
    let (mut ear, mut heard) = (Ear::new(), Vec::new());
    let frames = near.as_chunks::<FRAME>().0.iter();
    for (index, (near, far)) in frames.zip(far.as_chunks::<FRAME>().0).enumerate() {
        let near = near.map(|s| (s * gain + offset).round().clamp(-32_768.0, 32_767.0) as i16);
        let line = Line {
            source: Source::Received,
            playout_shift: 0,
            answered: true,
            prompt: (550..1_150).contains(&index),
        };
        let mut out = Events::new();
        ear.hear(&near, &far.map(|s| s as i16), line, &mut out);
        for event in out {
            let (key, place) = match event.kind {
                EventKind::SpeechStart { start } | EventKind::BargeIn { start } => (0, start),
                EventKind::SpeechEnd { end } => (0, end),
                EventKind::Dtmf { digit, start } => (digit, start),
                _ => continue,
            };
            heard.push((event.kind.name(), key, place, event.at));
        }
    }
    heard
}

#[test]
fn speech_keys_and_a_barge_in_are_heard_in_the_call_that_the_others_are_compared_with() {
    let heard = hear_caller(&busy_call(), 1.0, 0.0);
    let names: Vec<_> = heard.iter().map(|event| (event.0, event.1)).collect();
    assert_eq!(
        names,
        [
            ("speech_start", 0),
            ("speech_end", 0),
            ("dtmf", b'4'),
            ("dtmf", b'2'),
            ("dtmf", b'#'),
            ("speech_start", 0),
            ("barge_in", 0),
            ("speech_end", 0)
        ],
        "{heard:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn twelve_decibels_and_a_constant_offset_change_nothing_that_matters(
        gain_db in -12.0f32..12.0,
        offset in -400.0f32..400.0,
    ) {
        let line = call();
        let plain = hear(&line, 1.0, 0.0);
        let other = hear(&line, 10f32.powf(gain_db / 20.0), offset);
        prop_assert_eq!(plain.len(), other.len(), "{:?} {:?}", plain, other);
        for (one, two) in plain.iter().zip(&other) {
            prop_assert_eq!((one.0, one.2), (two.0, two.2));
            prop_assert!(one.1.abs_diff(two.1) <= 8 * 200, "{:?} {:?}", one, two);
        }
    }

    #[test]
    fn twelve_decibels_and_a_constant_offset_move_no_speech_no_key_and_no_barge_in(
        gain_db in -12.0f32..12.0,
        offset in -400.0f32..400.0,
    ) {
        let call = busy_call();
        let plain = hear_caller(&call, 1.0, 0.0);
        let other = hear_caller(&call, 10f32.powf(gain_db / 20.0), offset);
        prop_assert_eq!(plain.len(), other.len(), "{:?} {:?}", plain, other);
        for (one, two) in plain.iter().zip(&other) {
            prop_assert_eq!((one.0, one.1), (two.0, two.1));
            let (place, known) = if one.0 == "dtmf" { (10, 10) } else { (80, 160) };
            let moved = (one.2.abs_diff(two.2), one.3.abs_diff(two.3));
            prop_assert!(moved.0 <= 8 * place && moved.1 <= 8 * known, "{:?} {:?}", one, two);
        }
    }

    #[test]
    fn a_call_that_begins_some_samples_later_is_heard_alike(shift in 1usize..2_000) {
        let line = call();
        let plain = hear(&line, 1.0, 0.0);
        let mut noise = ComfortNoise::new(64, 5);
        let mut later: Vec<f32> = (0..shift).map(|_| f32::from(noise.sample())).collect();
        later.extend(&line);
        let other = hear_answered_at(shift, &later, 1.0, 0.0);
        prop_assert_eq!(plain.len(), other.len(), "{:?} {:?}", plain, other);
        for (one, two) in plain.iter().zip(&other) {
            prop_assert_eq!((one.0, one.2), (two.0, two.2));
            let moved = two.1.saturating_sub(shift as u64);
            // No recording is told before its time, which counts from the answer.
            let at_its_earliest = one.1 == two.1;
            prop_assert!(
                at_its_earliest || one.1.abs_diff(moved) <= 8 * 100,
                "{:?} {:?} {}",
                one,
                two,
                shift
            );
        }
    }
}
