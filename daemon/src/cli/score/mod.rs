//! `offhook score`: the ear over somebody's own labelled recordings.
//!
//! Every file is heard as `offhook analyze` hears it, on all cores; the tables
//! say how often the ear was right, each share with its Wilson interval. It
//! changes nothing and learns nothing. Called by `offhook`.

mod answers;
mod echo;
mod figure;
mod labels;
mod manifest;
mod speech;
mod table;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use offhook_dsp::{Event, Sensitivity, Words};

use super::recording::{Listening, Raw, Reading, Recording, Side};
use super::{COULD_NOT, Common, NO, OK, complain, print, print_json};
use crate::phrases;
use crate::resample::LINE_RATE;
use manifest::{Row, Set};
use table::Table;

/// How often the ear is right on recordings with labels.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ScoreArgs {
    /// Tables of recordings, one row a file, columns by name in the first line:
    /// `file` and what is known of it. `label` human, machine, tone or beep, with
    /// `answer_s`, `beep_end_s`, `tone_kind`; or `speech` as `1.2-3.4;5-6.1`; or
    /// `far`, `barge_start`, `barge_end`, `backchannel` for calls with our prompt.
    /// `near` and `raw` hold for one file what these options say for all.
    #[arg(required = true, value_name = "MANIFEST.csv")]
    manifests: Vec<PathBuf>,
    /// Also name the files that were wrong.
    #[arg(long)]
    wrong: bool,
    /// Which side of stereo files (first or left, second or right) or of captures
    /// (first: more packets, second: fewer) is heard.
    #[arg(long, value_enum, default_value_t = Side::First)]
    near: Side,
    /// Files that are neither WAV nor a capture are G.711 of this law.
    #[arg(long, value_enum, value_name = "LAW")]
    raw: Option<Raw>,
    /// How readily a voice is called a machine: 0 (never loses a person) to 6. One
    /// table shows both errors at every one, whichever is chosen for the others.
    #[arg(long, value_name = "0-6", default_value_t = Sensitivity::DEFAULT.level(), value_parser = clap::value_parser!(u8).range(0..=6))]
    sensitivity: u8,
}

/// One recording and what the ear said of it.
struct Case {
    row: Row,
    events: Vec<Event>,
    /// The same when a recogniser understood every word of the transcript.
    events_with_words: Option<Vec<Event>>,
    /// At each sensitivity, where the question is who answered.
    levels: Vec<Told>,
    /// Of speech, per 10 ms.
    probabilities: Vec<f32>,
    /// Length in seconds.
    seconds: f64,
}

/// What the ear said of a recording.
struct Told {
    events: Vec<Event>,
    /// The same when a recogniser understood every word of the transcript.
    events_with_words: Option<Vec<Event>>,
}

impl Told {
    fn events(&self, words: bool) -> Option<&[Event]> {
        match words {
            true => self.events_with_words.as_deref(),
            false => Some(&self.events),
        }
    }
}

impl Case {
    /// When each event of this name became known, in seconds.
    fn times(&self, name: &str) -> Vec<f64> {
        let named = self.events.iter().filter(|event| event.kind.name() == name);
        named.map(|event| seconds(event.at)).collect()
    }
}

fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(LINE_RATE)
}

/// The verb: 0 if all could be heard, 1 if some files could not, 2 if none.
pub(super) fn run(common: &Common, arguments: &ScoreArgs) -> u8 {
    let mut rows = Vec::new();
    for path in &arguments.manifests {
        match manifest::read(path) {
            Ok(more) => rows.extend(more),
            Err(error) => {
                complain(&format!("score: {error}"));
                return COULD_NOT;
            }
        }
    }
    let asked = rows.len();
    let how = Asked {
        sensitivity: Sensitivity::new(arguments.sensitivity).expect("the argument is 0 to 6"),
        reading: Reading {
            near: arguments.near,
            raw: arguments.raw,
        },
    };
    let unknown = labels::unknown(&rows);
    let cases = hear_all(rows, how);
    if cases.is_empty() {
        complain("score: no file of the manifest could be heard");
        return COULD_NOT;
    }
    let mut tables = tables(&cases, arguments.wrong);
    tables.extend(unknown);
    if common.json {
        print_json(&tables.iter().map(Table::to_json).collect::<Vec<_>>());
    } else {
        tables.iter().for_each(|table| print(&table.to_text()));
    }
    if cases.len() < asked { NO } else { OK }
}

fn tables(cases: &[Case], wrong: bool) -> Vec<Table> {
    let of =
        |set: Set| -> Vec<&Case> { cases.iter().filter(|case| case.row.set() == set).collect() };
    let mut tables = Vec::new();
    tables.extend(speech::areas(&of(Set::Frames)));
    tables.extend(speech::onsets(&of(Set::Turns)));
    tables.extend(speech::turn_ends(&of(Set::TurnEnds)));
    tables.extend(speech::false_onsets(&of(Set::NoSpeech)));
    tables.extend(echo::barge_ins(&of(Set::Echo)));
    tables.extend(answers::tables(&of(Set::Answer)));
    tables.extend(answers::talk_off(&of(Set::Unlabelled)));
    tables.retain(|table| wrong || !table.lists_files());
    tables
}

/// What holds for all files.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    sensitivity: Sensitivity,
    reading: Reading,
}

/// Hears all files, one ear each, on every core; what cannot be read is named.
fn hear_all(rows: Vec<Row>, how: Asked) -> Vec<Case> {
    let next = AtomicUsize::new(0);
    let heard = Mutex::new(Vec::with_capacity(rows.len()));
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                // Relaxed: the number alone is shared, nothing is published by it.
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match hear(row, how) {
                        Ok(case) => heard.lock().expect("no ear panics").push(case),
                        Err(error) => complain(&format!("score: {error}")),
                    }
                }
            });
        }
    });
    let mut cases = heard.into_inner().expect("no ear panics");
    cases.sort_by_cached_key(|case| case.row.path());
    cases
}

/// From 0 on.
fn every_sensitivity() -> impl Iterator<Item = Sensitivity> {
    (0..).map_while(Sensitivity::new)
}

fn hear(row: &Row, asked: Asked) -> Result<Case, String> {
    let reading = Reading {
        near: row.near()?.unwrap_or(asked.reading.near),
        raw: row.raw()?.or(asked.reading.raw),
    };
    let recording = Recording::read(&row.path(), row.far().as_deref(), reading)
        .map_err(|error| error.to_string())?;
    let how = |sensitivity| Listening {
        answered_at: Some(row.number("answer_s").unwrap_or(0.0)),
        sensitivity,
        ..Listening::default()
    };
    let (mut events, mut probabilities) = (Vec::new(), Vec::new());
    for heard in recording.listen(&how(asked.sensitivity)) {
        events.extend(heard.events);
        probabilities.push(heard.speech_probability);
    }
    let words = words(row);
    let all = |how: &Listening| -> Vec<Event> {
        let frames = recording.listen(how);
        frames.flat_map(|heard| heard.events).collect()
    };
    let with_words = |sensitivity| {
        let words = words.clone();
        let how = Listening {
            words,
            ..how(sensitivity)
        };
        (!how.words.is_empty()).then(|| all(&how))
    };
    let told = |sensitivity| Told {
        events: all(&how(sensitivity)),
        events_with_words: with_words(sensitivity),
    };
    let levels = match answers::is_choice(row) {
        true => every_sensitivity().map(told).collect(),
        false => Vec::new(),
    };
    Ok(Case {
        row: row.clone(),
        events,
        events_with_words: with_words(asked.sensitivity),
        levels,
        probabilities,
        seconds: recording.seconds(),
    })
}

/// The transcript as a recogniser would tell it: word after word over the
/// labelled speech, each this much late.
fn words(row: &Row) -> Vec<(f64, Words)> {
    const LATE: f64 = 0.3;
    let transcript = row.text("transcript");
    let times = (row.number("speech_on_s"), row.number("speech_end_s"));
    let (Some(on), Some(end)) = times else {
        return Vec::new();
    };
    let spoken: Vec<&str> = transcript.split_whitespace().collect();
    let told = |count: usize| {
        let share = count as f64 / spoken.len() as f64;
        (
            on + share * (end - on) + LATE,
            phrases::words(&spoken[..count].join(" ")),
        )
    };
    (1..=spoken.len()).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wav::Writer;
    use offhook_dsp::tone::Sine;

    #[test]
    fn a_manifest_of_a_busy_tone_and_of_silence_gives_their_tables() {
        let folder = std::env::temp_dir().join(format!("offhook-score-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temp dir");
        let mut busy = vec![0; 24_000];
        for beat in busy.chunks_mut(8_000) {
            Sine::new(425.0, -20.0).fill(&mut beat[..4_000]);
        }
        for (name, samples) in [("busy.wav", &busy), ("idle.wav", &vec![0; 24_000])] {
            let mut writer = Writer::create(&folder.join(name), 8_000, 1).expect("temp dir");
            writer.write(samples).expect("temp dir");
            writer.close().expect("temp dir");
        }
        let path = folder.join("manifest.csv");
        let text = "\u{feff}file,label,subtype,tone_kind,set\nbusy.wav,tone,busy,busy_eu,\n\
                    idle.wav,,,,nospeech\n";
        std::fs::write(&path, text).expect("temp dir");
        let cases = hear_all(manifest::read(&path).expect("a manifest"), Asked::default());
        assert_eq!(cases.len(), 2);
        let tables = tables(&cases, true);
        let shown: String = tables.iter().map(Table::to_text).collect();
        assert!(shown.contains("busy_eu  1/1 1.000 [0.21, 1.00]"), "{shown}");
        assert_eq!(tables[0].to_json()["rows"][0]["false onsets"], 0.0);
        let _ = std::fs::remove_dir_all(folder);
    }

    #[test]
    fn both_errors_are_told_at_every_sensitivity_and_near_may_differ_by_row() {
        let folder = std::env::temp_dir().join(format!("offhook-curve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temp dir");
        let noise = |seconds: usize| {
            let mut line = vec![0; 8_000 * seconds];
            offhook_dsp::noise::ComfortNoise::new(65, 11).fill(&mut line);
            line
        };
        let spoken = |text: &str| {
            let voice = crate::voice::render(text).expect("flite speaks");
            let mut line = noise(10);
            line[4_000..][..voice.samples.len()].copy_from_slice(&voice.samples);
            line
        };
        let person = spoken("Hello?");
        let greeting = spoken(
            "You have reached the office. We cannot take your call right now, \
             so please leave a message after the tone.",
        );
        // The person is on the left of one file and on the right of the other.
        for (name, sides) in [
            ("a.wav", [&person, &greeting]),
            ("b.wav", [&greeting, &person]),
        ] {
            let both: Vec<i16> = (0..person.len())
                .flat_map(|index| sides.map(|side| side[index]))
                .collect();
            let mut writer = Writer::create(&folder.join(name), 8_000, 2).expect("temp dir");
            writer.write(&both).expect("temp dir");
            writer.close().expect("temp dir");
        }
        let path = folder.join("manifest.csv");
        let text = "file,label,subtype,near\na.wav,human,hello,\nb.wav,human,hello,right\n\
                    b.wav,machine,greeting,left\na.wav,machine,greeting,second\n";
        std::fs::write(&path, text).expect("temp dir");
        let cases = hear_all(manifest::read(&path).expect("a manifest"), Asked::default());
        assert_eq!(cases.len(), 4);
        assert!(cases.iter().all(|case| case.levels.len() == 7));
        let all = tables(&cases, false);
        let named = |title: &str| {
            let tables = all.iter().map(Table::to_json);
            let mut found = tables.filter(|it| it["table"] == title);
            found.next().expect("the table")
        };
        let curve = named("sensitivity");
        let rows = curve["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), 7);
        assert_eq!(rows[4]["sensitivity"], "4 (default)");
        for row in rows {
            for error in ["people called a machine", "machines called a person"] {
                assert_eq!(
                    (&row[error]["k"], &row[error]["n"]),
                    (&0.into(), &2.into()),
                    "{row}"
                );
                assert!(row[error]["interval"][1].as_f64().expect("Wilson's") > 0.6);
            }
        }
        let told = |row: usize| rows[row]["machine told p50 ms after answer"].as_f64();
        assert!(told(0) > told(6), "patience takes time: {rows:?}");
        let _ = std::fs::remove_dir_all(folder);
    }
}
