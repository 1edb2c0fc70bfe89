//! `weather [NAME...]`: the same recording through the same weather to Offhook,
//! Asterisk and baresip: speech quality of what each heard and of what was passed on
//! to a second leg, and what Offhook reports of the call. One line each on standard
//! output; what cannot be tried here is said, not left out. Ends with 1 when something
//! FAILED, as that says.

use std::process::ExitCode;
use std::thread;

use offhook_tests::pesq::Pesq;
use offhook_tests::skip::skip;
use offhook_tests::speech::person;
use offhook_tests::trial::{Heard, Trial};

/// Rows: what it is called, the weather, how fast the caller's clock is, and what the
/// line carries in kbit/s (G.711 with its headers takes 86).
const ROWS: [(&str, &str, i32, u32); 17] = [
    ("clear", "", 0, 0),
    ("delay", "delay=300", 0, 0),
    ("jitter 20", "delay=40 jitter=20", 0, 0),
    ("jitter 40", "delay=40 jitter=40", 0, 0),
    ("jitter 60", "delay=40 jitter=60", 0, 0),
    ("loss 1", "loss=1", 0, 0),
    ("loss 5", "loss=5", 0, 0),
    ("loss 10", "loss=10", 0, 0),
    ("loss 20", "loss=20", 0, 0),
    ("bursts 5", "loss=5 burst=4", 0, 0),
    ("bursts 20", "loss=20 burst=4", 0, 0),
    ("reordering", "reorder=5", 0, 0),
    ("duplicates", "duplicate=10", 0, 0),
    (
        "storm",
        "delay=150 jitter=60 loss=5 burst=3 reorder=2 duplicate=2",
        0,
        0,
    ),
    ("narrow", "", 0, 84),
    ("fast", "delay=40 jitter=10", 100, 0),
    ("slow", "delay=40 jitter=10", -100, 0),
];
/// Seconds of the recording.
const SECONDS: usize = 12;
/// Two minutes of skew, of which the last recording is judged.
const REPEATS: u32 = 10;
const SEED: u64 = 2026;

/// A box by its name, and how it is tried.
type Attempt = (&'static str, fn(&Trial) -> Result<Heard, String>);
const OFFHOOK: Attempt = ("offhook", Trial::offhook);
const ASTERISK: Attempt = ("asterisk", Trial::asterisk);
const BARESIP: Attempt = ("baresip", Trial::baresip);

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let judge = Pesq::find().inspect_err(|reason| skip(reason)).ok();
    let clean = person("demo-congrats")[..SECONDS * 8_000].to_vec();
    let mut failed = false;
    for name in wanted
        .iter()
        .filter(|it| ROWS.iter().all(|row| row.0 != **it))
    {
        println!("FAILED: no weather is called {name}");
        failed = true;
    }
    for (name, weather, ppm, kbit) in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == name) {
            continue;
        }
        let alone = trial(&clean, weather, (ppm, kbit), false);
        let joined = trial(&clean, weather, (ppm, kbit), true);
        // Offhook's caller is heard by its ear and passed on in one call.
        let tries = [
            (OFFHOOK, &joined),
            (ASTERISK, &joined),
            (ASTERISK, &alone),
            (BARESIP, &alone),
        ];
        let [ours, passed, theirs, baresip] = try_all(tries, &mut failed);
        let score = |samples: &[i16]| match &judge {
            Some(judge) if !samples.is_empty() => judge
                .score(&clean, samples)
                .map_or("(not found)".to_owned(), |score| format!("{score:.2}")),
            _ => "-".to_owned(),
        };
        println!(
            "weather {name} ({}{}): PESQ heard by offhook {} asterisk {} baresip {}; passed on by offhook {} asterisk {}",
            alone.weather,
            if ppm == 0 {
                String::new()
            } else {
                format!(" skew {ppm} ppm, 2 min")
            },
            score(last(&ours.by_the_box, ppm)),
            score(last(&theirs.by_the_box, ppm)),
            score(last(&baresip.by_the_box, ppm)),
            score(last(&ours.by_the_person, ppm)),
            score(last(&passed.by_the_person, ppm)),
        );
        println!(
            "weather {name}: offhook says of the caller's leg: {}",
            ours.report
        );
        println!(
            "weather {name}: offhook says of the person's leg: {}",
            ours.second
        );
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn trial(clean: &[i16], weather: &str, (ppm, kbit): (i32, u32), joined: bool) -> Trial {
    let mut weather: offhook_tests::weather::Weather = weather.parse().expect("weather");
    weather.seed = SEED;
    Trial {
        clean: clean.to_vec(),
        times: if ppm == 0 { 1 } else { REPEATS },
        weather,
        ppm,
        kbit,
        joined,
    }
}

/// Each on a lane of its own, at the same time; a box that fails has heard nothing.
fn try_all<const N: usize>(tries: [(Attempt, &Trial); N], failed: &mut bool) -> [Heard; N] {
    thread::scope(|scope| {
        let tried =
            tries.map(|((name, attempt), trial)| (name, scope.spawn(move || attempt(trial))));
        tried.map(|(name, attempt)| match attempt.join() {
            Ok(Ok(heard)) => heard,
            Ok(Err(reason)) => {
                skip(&format!("{name} through weather: {reason}"));
                Heard::default()
            }
            Err(_) => {
                println!("FAILED: {name} through weather: see above");
                *failed = true;
                Heard::default()
            }
        })
    })
}

/// Of many times the last one, with what may have been added before it.
fn last(samples: &[i16], ppm: i32) -> &[i16] {
    let keep = if ppm == 0 {
        samples.len()
    } else {
        (SECONDS + 3) * 8_000
    };
    &samples[samples.len().saturating_sub(keep)..]
}
