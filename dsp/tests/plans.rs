//! Signalling tones country by country: every row is generated and named.
//!
//! Values of ITU-T E.180 supplement 2 ("Various tones used in national
//! networks", 2003), fax of ITU-T T.30, SIT of ITU-T E.180 §7 with the lengths
//! of Telcordia SR-2275 §6.21.2.

use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::Sine;
use offhook_dsp::{AnswerClass, Ear, EventKind, Events, FRAME, Line, Source, ToneKind};

/// Seconds of sound and of silence.
type Beat = (f32, f32);

/// How a tone is made.
enum Sound {
    /// Frequencies that sound together, with their rhythm, again and again.
    Beats(&'static [f32], &'static [Beat]),
    /// A carrier whose level swings with a frequency (Australia, Japan).
    Swung(f32, f32, &'static [Beat]),
    /// Frequencies one after the other, each for its time.
    Row(&'static [(f32, f32)]),
    /// V.21 channel 2 flags.
    Flags,
}

use Sound::{Beats, Flags, Row, Swung};

/// Plan, what it is, how it sounds.
const PLANS: [(&str, ToneKind, Sound); 46] = [
    ("US", ToneKind::Dial, Beats(&[350.0, 440.0], &[(6.0, 0.0)])),
    (
        "US",
        ToneKind::Ringback,
        Beats(&[440.0, 480.0], &[(2.0, 4.0)]),
    ),
    ("US", ToneKind::Busy, Beats(&[480.0, 620.0], &[(0.5, 0.5)])),
    (
        "US",
        ToneKind::Reorder,
        Beats(&[480.0, 620.0], &[(0.25, 0.25)]),
    ),
    ("US", ToneKind::CallWaiting, Beats(&[440.0], &[(0.3, 9.7)])),
    (
        "US",
        ToneKind::SitIc,
        Row(&[(913.8, 0.274), (1_370.6, 0.274), (1_776.7, 0.380)]),
    ),
    (
        "US",
        ToneKind::SitVc,
        Row(&[(985.2, 0.380), (1_370.6, 0.274), (1_776.7, 0.380)]),
    ),
    (
        "US",
        ToneKind::SitRo,
        Row(&[(913.8, 0.274), (1_428.5, 0.380), (1_776.7, 0.380)]),
    ),
    (
        "US",
        ToneKind::SitNc,
        Row(&[(985.2, 0.380), (1_428.5, 0.380), (1_776.7, 0.380)]),
    ),
    ("UK", ToneKind::Dial, Beats(&[350.0, 450.0], &[(6.0, 0.0)])),
    (
        "UK",
        ToneKind::RingbackUk,
        Beats(&[400.0, 450.0], &[(0.4, 0.2), (0.4, 2.0)]),
    ),
    ("UK", ToneKind::Busy, Beats(&[400.0], &[(0.375, 0.375)])),
    (
        "UK",
        ToneKind::Reorder,
        Beats(&[400.0], &[(0.4, 0.35), (0.225, 0.525)]),
    ),
    (
        "UK",
        ToneKind::Sit,
        Row(&[(950.0, 0.33), (1_400.0, 0.33), (1_800.0, 0.33)]),
    ),
    ("EU", ToneKind::Dial, Beats(&[425.0], &[(6.0, 0.0)])),
    ("EU", ToneKind::Ringback, Beats(&[425.0], &[(1.0, 4.0)])),
    ("EU", ToneKind::Busy, Beats(&[425.0], &[(0.5, 0.5)])),
    ("EU", ToneKind::Busy, Beats(&[425.0], &[(0.48, 0.48)])),
    ("EU", ToneKind::Reorder, Beats(&[425.0], &[(0.25, 0.25)])),
    ("EU", ToneKind::Reorder, Beats(&[425.0], &[(0.24, 0.24)])),
    ("EU", ToneKind::Reorder, Beats(&[425.0], &[(0.2, 0.2)])),
    (
        "EU",
        ToneKind::Sit,
        Row(&[(950.0, 0.33), (1_400.0, 0.33), (1_800.0, 0.33)]),
    ),
    ("FR", ToneKind::Dial, Beats(&[440.0], &[(6.0, 0.0)])),
    ("FR", ToneKind::Ringback, Beats(&[440.0], &[(1.5, 3.5)])),
    ("FR", ToneKind::Busy, Beats(&[440.0], &[(0.5, 0.5)])),
    ("FR", ToneKind::Reorder, Beats(&[440.0], &[(0.25, 0.25)])),
    ("FR", ToneKind::CallWaiting, Beats(&[440.0], &[(0.3, 10.0)])),
    (
        "FR",
        ToneKind::Sit,
        Row(&[(950.0, 0.33), (1_400.0, 0.33), (1_800.0, 0.33)]),
    ),
    ("JP", ToneKind::Dial, Beats(&[400.0], &[(6.0, 0.0)])),
    ("JP", ToneKind::Ringback, Swung(400.0, 16.0, &[(1.0, 2.0)])),
    ("JP", ToneKind::Busy, Beats(&[400.0], &[(0.5, 0.5)])),
    ("JP", ToneKind::Reorder, Beats(&[400.0], &[(0.25, 0.25)])),
    ("AU", ToneKind::Dial, Swung(425.0, 25.0, &[(6.0, 0.0)])),
    ("AU", ToneKind::Dial, Beats(&[413.0, 438.0], &[(6.0, 0.0)])),
    (
        "AU",
        ToneKind::RingbackUk,
        Beats(&[400.0, 450.0], &[(0.4, 0.2), (0.4, 2.0)]),
    ),
    (
        "AU",
        ToneKind::RingbackUk,
        Beats(&[413.0, 438.0], &[(0.4, 0.2), (0.4, 2.0)]),
    ),
    (
        "AU",
        ToneKind::RingbackUk,
        Swung(400.0, 17.0, &[(0.4, 0.2), (0.4, 2.0)]),
    ),
    ("AU", ToneKind::Busy, Beats(&[425.0], &[(0.375, 0.375)])),
    ("AU", ToneKind::Reorder, Beats(&[425.0], &[(0.25, 0.25)])),
    ("DE", ToneKind::Busy, Beats(&[425.0], &[(0.48, 0.48)])),
    ("IT", ToneKind::Reorder, Beats(&[425.0], &[(0.2, 0.2)])),
    ("ES", ToneKind::Ringback, Beats(&[425.0], &[(1.5, 3.0)])),
    ("ES", ToneKind::Busy, Beats(&[425.0], &[(0.2, 0.2)])),
    ("fax", ToneKind::FaxCng, Beats(&[1_100.0], &[(0.5, 3.0)])),
    ("fax", ToneKind::FaxCed, Beats(&[2_100.0], &[(3.3, 5.0)])),
    ("fax", ToneKind::FaxV21, Flags),
];

/// Of the second row only: Spain's busy tone is everybody else's congestion.
const AMBIGUOUS: [(&str, ToneKind, ToneKind); 1] = [("ES", ToneKind::Busy, ToneKind::Reorder)];

/// Whether the rhythm sounds at this time, repeating.
fn sounds(beats: &[Beat], mut time: f32) -> bool {
    let round: f32 = beats.iter().map(|(on, off)| on + off).sum();
    time %= round;
    for (on, off) in beats {
        if time < *on {
            return true;
        }
        time -= on + off;
        if time < 0.0 {
            return false;
        }
    }
    false
}

/// The row for so long, each frequency at `level` dBov, over a quiet line.
fn generate(sound: &Sound, seconds: f32, level: f32) -> Vec<i16> {
    let mut noise = ComfortNoise::new(66, 7);
    let mut sines: Vec<Sine> = Vec::new();
    let frequencies: Vec<f32> = match sound {
        Beats(hertz, _) => hertz.to_vec(),
        Swung(carrier, ..) => vec![*carrier],
        Row(row) => row.iter().map(|tone| tone.0).collect(),
        Flags => vec![1_650.0, 1_850.0],
    };
    sines.extend(frequencies.iter().map(|&hertz| Sine::new(hertz, level)));
    let mut phase = 0.0f32;
    let total = (seconds * 8_000.0) as usize;
    (0..total)
        .map(|index| {
            let time = index as f32 / 8_000.0 - 0.5;
            let all: Vec<f32> = sines.iter_mut().map(Sine::sample).collect();
            let value = match sound {
                _ if time < 0.0 => 0.0,
                Beats(_, beats) if sounds(beats, time) => all.iter().sum(),
                Swung(_, swing, beats) if sounds(beats, time) => {
                    all[0] * (1.0 + (std::f32::consts::TAU * swing * time).cos()) / 2.0
                }
                Beats(..) | Swung(..) => 0.0,
                Row(row) => {
                    let mut from = 0.0;
                    let mut value = 0.0;
                    for (tone, sample) in row.iter().zip(&all) {
                        if (from..from + tone.1).contains(&time) {
                            value = *sample;
                        }
                        from += tone.1;
                    }
                    value
                }
                Flags if time < 1.0 => {
                    let bit = (time * 300.0) as usize % 8;
                    let hertz = if bit == 0 || bit == 7 {
                        1_850.0
                    } else {
                        1_650.0
                    };
                    phase += hertz / 8_000.0;
                    let rms = 32_768.0 * 10f32.powf(level / 20.0);
                    rms * std::f32::consts::SQRT_2 * (std::f32::consts::TAU * phase).sin()
                }
                Flags => 0.0,
            };
            (value + f32::from(noise.sample())).clamp(-32_768.0, 32_767.0) as i16
        })
        .collect()
}

fn hear(samples: &[i16]) -> (Vec<ToneKind>, Vec<AnswerClass>, usize) {
    let mut ear = Ear::new();
    let (mut tones, mut answers, mut speech) = (Vec::new(), Vec::new(), 0);
    let (frames, _) = samples.as_chunks::<FRAME>();
    for near in frames {
        let line = Line {
            source: Source::Received,
            playout_shift: 0,
            answered: true,
            prompt: false,
        };
        let mut out = Events::new();
        ear.hear(near, &[0; FRAME], line, &mut out);
        for event in out {
            match event.kind {
                EventKind::Tone { kind, .. } => tones.push(kind),
                EventKind::Answer { class, .. } => answers.push(class),
                EventKind::SpeechStart { .. } => speech += 1,
                _ => {}
            }
        }
    }
    (tones, answers, speech)
}

#[test]
fn the_tones_of_every_plan_are_named_and_never_a_person() {
    let mut wrong = Vec::new();
    for (plan, kind, sound) in &PLANS {
        let seconds = if *kind == ToneKind::CallWaiting {
            22.0
        } else {
            8.0
        };
        let ambiguous = AMBIGUOUS
            .iter()
            .find(|row| (row.0, row.1) == (*plan, *kind));
        let expected = ambiguous.map_or(*kind, |row| row.2);
        for level in [-12.0, -20.0, -32.0] {
            let (tones, answers, speech) = hear(&generate(sound, seconds, level));
            let human = answers.contains(&AnswerClass::Human);
            if tones.first() != Some(&expected) || human || speech > 0 {
                wrong.push(format!(
                    "{plan} {kind:?} at {level}: {tones:?} {answers:?}, speech {speech} times"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tones_five_percent_off_or_of_another_rhythm_are_not_named() {
    let rows = [
        Beats(&[462.0, 504.0], &[(2.0, 4.0)]),
        Beats(&[700.0], &[(0.5, 0.5)]),
        Beats(&[1_300.0], &[(0.5, 3.0)]),
        Row(&[(1_800.0, 0.33), (1_400.0, 0.33), (950.0, 0.33)]),
    ];
    for (number, sound) in rows.iter().enumerate() {
        let (tones, ..) = hear(&generate(sound, 8.0, -20.0));
        assert!(tones.is_empty(), "row {number}: {tones:?}");
    }
}
