//! A call through bad weather: what was lost is known to the packet, what was heard is
//! still the caller, and the call says so itself. The long table is `make interop`.

use offhook_tests::skip::skip;
use offhook_tests::sound::came_through;
use offhook_tests::sound::likeness;
use offhook_tests::speech::person;
use offhook_tests::trial::Trial;
use offhook_tests::weather::{Fate, Sky, Weather};

fn trial(weather: &str, joined: bool) -> Trial {
    Trial {
        clean: person("demo-congrats")[..5 * 8_000].to_vec(),
        times: 1,
        weather: weather.parse().expect("weather"),
        ppm: 0,
        kbit: 0,
        joined,
    }
}

/// Packets of 20 ms that the dice let go, of the speech alone.
fn lost(weather: Weather, packets: u32) -> u32 {
    let mut sky = Sky::new(weather);
    let fates = (0..packets).map(|n| sky.fate(std::time::Duration::from_millis(20) * n));
    u32::try_from(fates.filter(|fate| *fate == Fate::Lost).count()).expect("few")
}

/// The number behind a word of the report.
fn said(report: &str, word: &str) -> u32 {
    let rest = report.split(&format!("{word} ")).nth(1).unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{word} in {report}"))
}

#[test]
fn what_a_bad_line_loses_is_made_up_and_reported_to_the_packet() {
    let trial = trial(
        "delay=60 jitter=30 loss=8 burst=2 reorder=3 duplicate=3 seed=7",
        false,
    );
    let heard = match trial.offhook() {
        Ok(heard) => heard,
        Err(reason) => return skip(&reason),
    };
    let report = &heard.report;
    // The weather goes on after the speech until the call ends.
    let (least, most) = (lost(trial.weather, 250), lost(trial.weather, 400));
    let found = said(report, "lost");
    assert!(
        (least..=most).contains(&found),
        "{least} to {most}: {report}"
    );
    let made_up = said(report, "concealed");
    let late = said(report, "late");
    assert!(
        (10 * found..=20 * (found + late + 20)).contains(&made_up),
        "{report}"
    );
    assert!(
        report.contains("MOS ") && report.contains("gaps waited"),
        "{report}"
    );
    let (_, shift) = likeness(
        &trial.clean[..8_000],
        &heard.by_the_box,
        heard.by_the_box.len() - 8_000,
    );
    let through = came_through(&trial.clean, &heard.by_the_box, shift);
    assert!(through > 0.6, "{through} of the speech came through");
}

#[test]
fn two_callers_of_which_one_has_a_bad_line_hear_each_other_within_the_bound() {
    let trial = trial("delay=40 jitter=40 loss=3 seed=3", true);
    let heard = match trial.offhook() {
        Ok(heard) => heard,
        Err(reason) => return skip(&reason),
    };
    let report = &heard.second;
    let waited = report
        .split("playout ")
        .nth(1)
        .expect("the second leg was joined");
    let mut waits = waited.split(' ').next().unwrap_or_default().split('/');
    let p95: u32 = waits.nth(1).and_then(|ms| ms.parse().ok()).expect("a p95");
    assert!(p95 <= 120, "{report}");
    let (alike, _) = likeness(
        &trial.clean[8_000..16_000],
        &heard.by_the_person,
        heard.by_the_person.len() - 8_000,
    );
    assert!(alike > 0.5, "{alike}: {report}");
}
