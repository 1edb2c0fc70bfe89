//! Recorded people and prompts of Debian's Asterisk package, through the ear:
//! what is said of them stays the same.
//!
//! The package is `asterisk-core-sounds-en-wav`, one of those that `make test`
//! installs; without it these tests say so and pass.

use std::path::Path;

use offhook_dsp::{AnswerClass, Ear, Event, EventKind, Events, FRAME, Line, Source};

const PROMPTS: &str = "/usr/share/asterisk/sounds/en_US_f_Allison";

/// A prompt between half a second and two and a half of silence.
fn prompt(name: &str) -> Option<Vec<i16>> {
    let path = Path::new(PROMPTS).join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("skipped: {} is not installed", path.display());
        return None;
    };
    let data = bytes.windows(4).position(|four| four == b"data")?;
    let (pairs, _) = bytes[data + 8..].as_chunks::<2>();
    let mut line = vec![0; 4_000];
    line.extend(pairs.iter().map(|&pair| i16::from_le_bytes(pair)));
    line.extend([0; 20_000]);
    Some(line)
}

fn hear(samples: &[i16]) -> Vec<Event> {
    let (mut ear, mut heard) = (Ear::new(), Vec::new());
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
        heard.extend(out);
    }
    heard
}

fn first_answer(events: &[Event]) -> Option<AnswerClass> {
    events.iter().find_map(|event| match event.kind {
        EventKind::Answer { class, .. } => Some(class),
        _ => None,
    })
}

#[test]
fn recorded_prompts_are_called_as_before() {
    let table = [
        ("vm-intro.wav", AnswerClass::Machine),
        // A second and a half: nobody can tell.
        ("vm-theperson.wav", AnswerClass::Human),
        ("hello-world.wav", AnswerClass::Human),
        ("tt-monkeysintro.wav", AnswerClass::Machine),
        ("ss-noservice.wav", AnswerClass::Machine),
        ("demo-congrats.wav", AnswerClass::Machine),
    ];
    for (name, class) in table {
        let Some(line) = prompt(name) else { return };
        let events = hear(&line);
        assert_eq!(first_answer(&events), Some(class), "{name}: {events:?}");
        let count = |wanted: &str| {
            let named = events.iter().filter(|event| event.kind.name() == wanted);
            named.count()
        };
        assert_eq!(count("beep"), 0, "{name}: {events:?}");
        assert_eq!(count("dtmf"), 0, "{name}: {events:?}");
        assert!(count("speech_start") >= 1, "{name}");
        assert_eq!(count("speech_start"), count("speech_end"), "{name}");
        assert!(count("turn_end") >= 1, "{name}: {events:?}");
    }
}

/// Where eight people talk far away, nobody speaks; a caller before them is heard.
#[test]
fn far_babble_is_no_caller_and_a_caller_before_it_is() {
    const SECONDS: usize = 30;
    let names = [
        "demo-congrats.wav",
        "demo-instruct.wav",
        "tt-monkeysintro.wav",
        "vm-intro.wav",
        "ss-noservice.wav",
        "demo-moreinfo.wav",
        "demo-echotest.wav",
        "vm-options.wav",
    ];
    let mut sum = vec![0i32; SECONDS * 8_000];
    for (place, name) in names.iter().enumerate() {
        let Some(line) = prompt(name) else { return };
        let spoken = &line[4_000..line.len() - 20_000];
        let endless = spoken.iter().cycle().skip(place * 7_919);
        for (sample, &said) in sum.iter_mut().zip(endless) {
            *sample += i32::from(said);
        }
    }
    // Each of them at some -46 dBov, 24 dB softer than the caller.
    let babble: Vec<i16> = sum.iter().map(|&sample| (sample / 16) as i16).collect();
    let starts = |line: &[i16]| -> Vec<u64> {
        let events = hear(line);
        let starts = events
            .iter()
            .filter(|event| event.kind.name() == "speech_start");
        starts.map(|event| event.at / 8).collect()
    };
    assert_eq!(starts(&babble), []);
    let Some(caller) = prompt("vm-theperson.wav") else {
        return;
    };
    let mut both = babble;
    for (sample, said) in both[10 * 8_000..].iter_mut().zip(&caller) {
        *sample = sample.saturating_add(*said);
    }
    let heard = starts(&both);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!((10_500..11_000).contains(&heard[0]), "{heard:?}");
}
