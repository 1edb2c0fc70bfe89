//! What must not change what the ear says: level, a constant offset, and where
//! on the time axis a call begins.

use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::Sine;
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
