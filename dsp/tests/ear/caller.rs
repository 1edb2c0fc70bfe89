//! What the ear says of a caller over a call: why they are silent and since when,
//! how they speak, and whether a verdict on who answered was wrong.
//!
//! Scenes are made of sounds whose truth is known. Called by `ear`.

use super::{SECOND, Scene, answers, named, seconds, speech};
use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::Sine;
use offhook_dsp::{AnswerClass, Event, EventKind, Manner, SilenceCause};

/// Chords, a new one every second: what hold music is made of.
fn music(length: f32) -> Vec<f32> {
    const ROOTS: [f32; 4] = [262.0, 349.0, 392.0, 330.0];
    let mut sound = Vec::new();
    while sound.len() < (length * SECOND as f32) as usize {
        let root = ROOTS[sound.len() / SECOND % 4];
        let mut notes = [1.0, 1.26, 1.5, 2.0].map(|third| Sine::new(root * third, -28.0));
        sound.extend((0..SECOND).map(|_| notes.iter_mut().map(Sine::sample).sum::<f32>()));
    }
    sound.truncate((length * SECOND as f32) as usize);
    // It is faded in, as players do.
    for (index, sample) in sound.iter_mut().take(SECOND).enumerate() {
        *sample *= index as f32 / SECOND as f32;
    }
    sound
}

fn noise(length: f32, level: u8) -> Vec<f32> {
    let mut noise = ComfortNoise::new(level, 12);
    let samples = (length * SECOND as f32) as usize;
    (0..samples).map(|_| f32::from(noise.sample())).collect()
}

/// Causes that were reported, since when and when, in seconds.
fn silences(events: &[Event]) -> Vec<(SilenceCause, f32, f32)> {
    let silence = |event: &Event| match event.kind {
        EventKind::Silence { cause, since } => Some((cause, seconds(since), seconds(event.at))),
        _ => None,
    };
    events.iter().filter_map(silence).collect()
}

/// The causes in this order, each since the time given, within 120 ms.
fn assert_silences(scene: &Scene, expected: &[(SilenceCause, f32)]) -> Vec<f32> {
    let events = scene.hear(Some(0.0));
    let heard = silences(&events);
    let causes = heard.iter().map(|silence| silence.0);
    assert!(
        causes.eq(expected.iter().map(|silence| silence.0)),
        "{expected:?}: {events:?}"
    );
    for (one, other) in heard.iter().zip(expected) {
        assert!((one.1 - other.1).abs() < 0.12, "{expected:?}: {heard:?}");
    }
    heard.iter().map(|silence| silence.2).collect()
}

#[test]
fn a_caller_who_spoke_is_thinking_since_the_end_of_their_speech_or_our_prompt() {
    use SilenceCause::Thinking;
    let spoke = Scene::new(5.0).add(1.0, &speech(1.0, -22.0, 120.0));
    let at = assert_silences(&spoke, &[(Thinking, 2.0)]);
    assert!((4.0..4.2).contains(&at[0]), "{at:?}");

    let asked = Scene::new(8.0).add(0.5, &speech(1.0, -22.0, 120.0)).prompt(
        2.5,
        &speech(2.0, -20.0, 190.0),
        240,
        0.2,
    );
    let at = assert_silences(&asked, &[(Thinking, 4.5)]);
    assert!((6.5..6.7).contains(&at[0]), "{at:?}");

    let answered = Scene::new(9.0)
        .prompt(0.5, &speech(2.0, -20.0, 190.0), 240, 0.2)
        .add(3.5, &speech(1.5, -22.0, 120.0));
    assert_silences(&answered, &[(Thinking, 5.0)]);
}

#[test]
fn a_line_on_which_nobody_spoke_has_a_background_only_since_our_prompt() {
    let scene =
        Scene::new(7.0)
            .add(0.0, &noise(7.0, 48))
            .prompt(0.5, &speech(2.5, -20.0, 190.0), 240, 0.1);
    assert_silences(&scene, &[(SilenceCause::Quiet, 3.0)]);
}

#[test]
fn whoever_is_quiet_for_twenty_seconds_or_took_the_background_along_is_gone() {
    use SilenceCause::{Gone, Thinking};
    let spoke = Scene::new(24.0).add(1.0, &speech(1.0, -22.0, 120.0));
    let at = assert_silences(&spoke, &[(Thinking, 2.0), (Gone, 2.0)]);
    assert!((21.8..22.7).contains(&at[1]), "{at:?}");

    let asked = Scene::new(28.0)
        .add(0.5, &speech(1.0, -22.0, 120.0))
        .prompt(2.5, &speech(2.0, -20.0, 190.0), 240, 0.0);
    let at = assert_silences(&asked, &[(Thinking, 4.5), (Gone, 4.5)]);
    assert!((24.3..25.2).contains(&at[1]), "{at:?}");

    // A street that ends 3 s after the last word: the handset went with it.
    let hung_up = Scene::new(16.0)
        .add(0.0, &noise(9.0, 44))
        .add(1.0, &speech(1.5, -18.0, 120.0))
        .add(4.0, &speech(2.0, -18.0, 120.0));
    let at = assert_silences(&hung_up, &[(Thinking, 6.0), (Gone, 6.0)]);
    assert!((9.0..12.0).contains(&at[1]), "{at:?}");
}

#[test]
fn music_after_speech_or_a_prompt_is_hold_music_since_their_end() {
    use SilenceCause::{HoldMusic, Quiet, Thinking};
    // Music is known as such after 4 s of it.
    let spoke = Scene::new(14.0)
        .add(0.5, &speech(1.5, -22.0, 120.0))
        .add(2.6, &music(11.0));
    let at = assert_silences(&spoke, &[(Thinking, 2.0), (HoldMusic, 2.0)]);
    assert!(at[1] < 7.2, "{at:?}");

    let asked = Scene::new(16.0)
        .prompt(0.5, &speech(2.0, -20.0, 190.0), 240, 0.0)
        .add(2.8, &music(12.0));
    let at = assert_silences(&asked, &[(Quiet, 2.5), (HoldMusic, 2.5)]);
    assert!(at[1] < 7.4, "{at:?}");
}

/// Voiced syllables, so many a second, each with a rise and a fall.
fn syllables(count: usize, a_second: f32, level: f32, pitch: f32) -> Vec<f32> {
    const VOWELS: [[f32; 3]; 3] = [
        [700.0, 1_200.0, 2_500.0],
        [350.0, 2_000.0, 2_700.0],
        [450.0, 900.0, 2_300.0],
    ];
    let long = (SECOND as f32 / a_second) as usize;
    let sung = 0.85 * long as f32;
    let mut sound = vowel(count * long, pitch, |index| VOWELS[index / long % 3]);
    for (index, sample) in sound.iter_mut().enumerate() {
        let within = (index % long) as f32 / sung;
        *sample *= if within < 1.0 {
            (within * std::f32::consts::PI).sin()
        } else {
            0.0
        };
    }
    at_level(sound, level)
}

fn vowel(length: usize, pitch: f32, formants: impl Fn(usize) -> [f32; 3]) -> Vec<f32> {
    let (mut phase, mut state) = (0.0f32, [[0.0f32; 2]; 3]);
    let sample = |index: usize| {
        phase += pitch / SECOND as f32;
        let pulse = f32::from(u8::from(phase >= 1.0));
        phase -= phase.floor();
        let mut sum = 0.0;
        for (formant, state) in formants(index).iter().zip(&mut state) {
            let (radius, angle) = (0.96f32, std::f32::consts::TAU * formant / SECOND as f32);
            let out = pulse + 2.0 * radius * angle.cos() * state[0] - radius * radius * state[1];
            *state = [out, state[0]];
            sum += out;
        }
        sum
    };
    (0..length).map(sample).collect()
}

fn at_level(sound: Vec<f32>, level: f32) -> Vec<f32> {
    let rms = (sound.iter().map(|s| s * s).sum::<f32>() / sound.len() as f32).sqrt();
    let wanted = 32_768.0 * 10f32.powf(level / 20.0);
    sound.iter().map(|sample| sample * wanted / rms).collect()
}

fn manners(events: &[Event]) -> Vec<Manner> {
    let manner = |event: &Event| match event.kind {
        EventKind::Manner(manner) => Some(manner),
        _ => None,
    };
    events.iter().filter_map(manner).collect()
}

#[test]
fn the_rate_is_that_of_the_syllables_within_a_sixth() {
    for rate in [3.0, 4.5, 6.0] {
        let said = syllables(12, rate, -22.0, 120.0);
        let events = Scene::new(12.0)
            .add(0.5, &said)
            .add(6.0, &said)
            .hear(Some(0.0));
        let last = manners(&events).pop().expect("a stretch was spoken");
        let off = last.syllables_per_s / rate;
        assert!((0.84..1.17).contains(&off), "{rate}: {last:?}");
    }
}

#[test]
fn the_usual_pause_is_theirs_within_60_ms() {
    for pause in [0.3, 0.6, 1.0] {
        let said = syllables(6, 4.5, -22.0, 120.0);
        let mut scene = Scene::new(16.0);
        let length = said.len() as f32 / SECOND as f32;
        for index in 0..5 {
            scene = scene.add(0.5 + index as f32 * (length + pause), &said);
        }
        let events = scene.hear(Some(0.0));
        let last = manners(&events).pop().expect("stretches were spoken");
        // The rest of the last syllable is quiet too.
        let expected = 1_000.0 * pause + 33.0;
        let off = f32::from(last.pause_ms) - expected;
        assert!(off.abs() < 60.0, "{pause}: {last:?}");
    }
}

#[test]
fn latency_is_the_time_from_our_prompt_to_their_speech_with_its_spread() {
    let (ask, reply) = (speech(1.0, -20.0, 190.0), syllables(5, 4.5, -22.0, 120.0));
    let mut scene = Scene::new(24.0);
    for (index, latency) in [0.6, 1.2, 0.6, 1.2].into_iter().enumerate() {
        let at = 0.5 + 5.5 * index as f32;
        // A prompt's last syllable ends 80 ms before it.
        scene = scene
            .prompt(at, &ask, 240, 0.0)
            .add(at + 1.0 + latency, &reply);
    }
    let last = manners(&scene.hear(Some(0.0))).pop().expect("replies");
    assert!(last.latency_ms.abs_diff(900) <= 120, "{last:?}");
    assert!(last.latency_spread_ms.abs_diff(300) <= 100, "{last:?}");
}

#[test]
fn a_held_vowel_at_the_end_is_a_hesitation_and_syllables_are_none() {
    let said = syllables(8, 4.5, -22.0, 120.0);
    let um = at_level(vowel(5_000, 110.0, |_| [500.0, 1_000.0, 2_400.0]), -24.0);
    let plain = Scene::new(5.0).add(0.5, &said).hear(Some(0.0));
    assert!(!manners(&plain)[0].hesitating, "{plain:?}");
    let at = 0.5 + said.len() as f32 / SECOND as f32;
    let held = Scene::new(5.0).add(0.5, &said).add(at, &um).hear(Some(0.0));
    assert!(manners(&held)[0].hesitating, "{held:?}");
}

#[test]
fn six_decibels_and_four_semitones_more_are_seen_against_the_callers_own() {
    let usual = syllables(8, 4.5, -26.0, 120.0);
    let rows = [
        (usual.clone(), 0.0, 0.0),
        (syllables(8, 4.5, -20.0, 120.0), 0.0, 6.0),
        (syllables(8, 4.5, -32.0, 120.0), 0.0, -6.0),
        (syllables(8, 4.5, -26.0, 151.2), 4.0, 0.0),
    ];
    for (other, semitones, decibels) in rows {
        let events = Scene::new(16.0)
            .add(0.5, &usual)
            .add(4.0, &usual)
            .add(7.5, &usual)
            .add(11.5, &other)
            .hear(Some(0.0));
        let heard = manners(&events);
        assert_eq!(heard.len(), 4, "{events:?}");
        let last = heard[3];
        assert!((last.pitch_shift - semitones).abs() < 1.5, "{last:?}");
        assert!((last.energy_shift_db - decibels).abs() < 1.5, "{last:?}");
        let same = heard[2];
        assert!(same.pitch_shift.abs() < 1.0, "{same:?}");
        assert!(same.energy_shift_db.abs() < 0.5, "{same:?}");
        assert!(heard[0].confidence < last.confidence);
    }
}

fn corrections(events: &[Event]) -> Vec<(AnswerClass, AnswerClass, f32)> {
    let corrected = |event: &Event| match event.kind {
        EventKind::AnswerCorrected { class, was, .. } => Some((was, class, seconds(event.at))),
        _ => None,
    };
    events.iter().filter_map(corrected).collect()
}

#[test]
fn a_greeting_without_a_beep_ends_once_and_is_no_person() {
    let events = Scene::new(15.0)
        .add(1.0, &speech(8.0, -24.0, 110.0))
        .hear(Some(0.0));
    assert_eq!(answers(&events), [AnswerClass::Machine]);
    assert!(corrections(&events).is_empty(), "{events:?}");
    let ends = named(&events, "greeting_end");
    assert_eq!(ends.len(), 1, "{events:?}");
    let EventKind::GreetingEnd { end } = ends[0].kind else {
        panic!("{ends:?}")
    };
    assert!((seconds(end) - 9.0).abs() < 0.12, "{events:?}");
    assert!((10.7..11.0).contains(&seconds(ends[0].at)), "{events:?}");
}

/// A greeting; 0.4 s later somebody says hello and waits.
#[test]
fn another_voice_during_the_greeting_is_a_person_who_picked_up() {
    let table = [
        (110.0, 190.0, true),
        (190.0, 110.0, true),
        (130.0, 210.0, true),
        // The greeting goes on after a pause.
        (110.0, 110.0, false),
        (130.0, 120.0, false),
    ];
    for (recorded, then, picks_up) in table {
        let events = Scene::new(16.0)
            .add(0.5, &speech(7.0, -22.0, recorded))
            .add(7.9, &speech(0.6, -24.0, then))
            .add(9.0, &speech(1.2, -24.0, then))
            .hear(Some(0.0));
        assert_eq!(answers(&events), [AnswerClass::Machine]);
        let corrected = corrections(&events);
        match picks_up {
            true => {
                assert_eq!(corrected.len(), 1, "{recorded}, {then}: {events:?}");
                let (_, class, at) = corrected[0];
                assert_eq!(class, AnswerClass::Human);
                assert!((11.9..12.2).contains(&at), "{recorded}, {then}: {at}");
                assert!(named(&events, "greeting_end").is_empty(), "{events:?}");
            }
            false => assert!(corrected.is_empty(), "{recorded}, {then}: {events:?}"),
        }
    }
}
