//! `offhook analyze`: the ear of the daemon, offline, on a recording.
//!
//! It plays a file through [`Ear`] frame by frame and prints what the ear
//! reports. It judges nothing itself. The output with `--json` is a contract:
//! scripts and later checks read it.

mod picture;
mod why;

use super::recording::{Listening, Raw, Reading, Recording, Side, Unreadable};
use crate::clock;
use crate::resample::LINE_RATE;
use offhook_dsp::{Event, EventKind, Evidence, FRAME, Phrase, Sensitivity, ToneKind};
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Hear a recording as the daemon would have heard the call.
#[derive(Clone, Debug, clap::Args)]
pub struct AnalyzeArgs {
    /// What came from the line: a WAV file, raw G.711 (.ulaw, .alaw, others with
    /// --raw) or a capture with RTP (pcap, pcapng). Of a stereo recording or a capture
    /// of both directions one side is heard and the other taken for what we played.
    pub file: PathBuf,
    /// Which side of a stereo file (first or left, second or right) or of a capture
    /// (first: more packets, second: fewer) is heard.
    #[arg(long, value_enum, default_value_t = Side::First)]
    pub near: Side,
    /// Files that are neither WAV nor a capture are G.711 of this law, whatever
    /// their names say.
    #[arg(long, value_enum, value_name = "LAW")]
    pub raw: Option<Raw>,
    /// What we were playing, aligned from the first sample.
    #[arg(long, value_name = "PROMPT.wav")]
    pub far: Option<PathBuf>,
    /// When the call was answered, in seconds of the file; before, and without
    /// it, `silence` and `unsure` are no answers. Negative: never.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub answered_at: Option<f64>,
    /// They called us: who answered is no question.
    #[arg(long)]
    pub they_called: bool,
    /// Write the probability of speech per 10 ms here.
    #[arg(long, value_name = "OUT.csv")]
    pub frames: Option<PathBuf>,
    /// Draw what was heard here: waveform, probability, events and tones.
    #[arg(long, value_name = "OUT.svg")]
    pub picture: Option<PathBuf>,
    /// Say why an answer was called what it was.
    #[arg(long)]
    pub explain: bool,
    /// How readily a voice is called a machine: 0 (never loses a person) to 6.
    #[arg(long, value_name = "0-6", default_value_t = Sensitivity::DEFAULT.level(), value_parser = clap::value_parser!(u8).range(0..=6))]
    pub sensitivity: u8,
}

/// Why a recording was not analysed.
#[derive(Debug)]
pub enum AnalyzeError {
    /// A file is no sound that can be read.
    Sound(Unreadable),
    /// `--frames` or the output could not be written.
    Output(io::Error),
}

impl fmt::Display for AnalyzeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound(unreadable) => write!(out, "{unreadable}"),
            Self::Output(error) => write!(out, "cannot write: {error}"),
        }
    }
}

impl std::error::Error for AnalyzeError {}

impl From<Unreadable> for AnalyzeError {
    fn from(unreadable: Unreadable) -> Self {
        Self::Sound(unreadable)
    }
}

impl From<io::Error> for AnalyzeError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The verb: 0 if the file was read to its end, 2 if it could not be.
pub fn run(arguments: &AnalyzeArgs, json: bool) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    match analyze(arguments, json, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as `head` does.
        Err(AnalyzeError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("offhook analyze: {error}");
            ExitCode::from(2)
        }
    }
}

/// Reads the files and writes one line per event and a summary to `out`.
///
/// # Errors
/// A file cannot be read or the output not be written.
pub fn analyze(
    arguments: &AnalyzeArgs,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), AnalyzeError> {
    let cpu_before = clock::cpu();
    let how = Reading {
        near: arguments.near,
        raw: arguments.raw,
    };
    let recording = Recording::read(&arguments.file, arguments.far.as_deref(), how)?;
    for path in [&arguments.frames, &arguments.picture]
        .into_iter()
        .flatten()
    {
        spare_recordings(arguments, path)?;
    }
    let mut frames = arguments
        .frames
        .as_deref()
        .map(FrameTable::create)
        .transpose()?;
    let mut scene = arguments.picture.as_ref().map(|_| (Vec::new(), Vec::new()));
    for heard in recording.listen(&listening(arguments)) {
        for event in &heard.events {
            let line = if json {
                line_of(event, arguments.explain)
            } else {
                sentence_of(event, arguments.explain)
            };
            writeln!(out, "{line}")?;
        }
        if let Some(frames) = &mut frames {
            frames.write(heard.speech_probability)?;
        }
        if let Some((events, probabilities)) = &mut scene {
            let labelled = heard
                .events
                .iter()
                .map(|event| (*event, label_of(&event.kind)));
            events.extend(labelled);
            probabilities.push(heard.speech_probability);
        }
    }
    if let Some(frames) = frames {
        frames.close()?;
    }
    if let (Some((events, probabilities)), Some(path)) = (scene, &arguments.picture) {
        let svg = picture::draw(&picture::Scene {
            title: &arguments.file.to_string_lossy(),
            near: recording.near(),
            far: recording.far(),
            probabilities: &probabilities,
            events: &events,
            answered_at: arguments.answered_at,
        });
        std::fs::write(path, svg)?;
    }
    let cpu_seconds = (clock::cpu() - cpu_before).as_secs_f64();
    summary(json, recording.seconds(), cpu_seconds, out)?;
    Ok(())
}

fn listening(arguments: &AnalyzeArgs) -> Listening {
    Listening {
        answered_at: arguments.answered_at,
        sensitivity: Sensitivity::new(arguments.sensitivity).expect("the argument is 0 to 6"),
        they_called: arguments.they_called,
        words: Vec::new(),
    }
}

/// What we write must not be what we read.
fn spare_recordings(arguments: &AnalyzeArgs, path: &Path) -> Result<(), AnalyzeError> {
    if path == arguments.file || Some(path) == arguments.far.as_deref() {
        return Err(AnalyzeError::Output(io::Error::other(format!(
            "{}: would overwrite a recording that is read",
            path.display()
        ))));
    }
    Ok(())
}

/// `--frames`: one line per whole 10 ms.
struct FrameTable {
    file: BufWriter<File>,
    next: u64,
}

impl FrameTable {
    fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "t,speech_probability")?;
        Ok(Self { file, next: 0 })
    }

    fn write(&mut self, probability: f32) -> io::Result<()> {
        let seconds = self.next as f64 * FRAME as f64 / f64::from(LINE_RATE);
        self.next += 1;
        writeln!(self.file, "{seconds:.2},{probability:.4}")
    }

    fn close(mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Samples as seconds, to the tenth of a millisecond.
fn seconds(samples: u64) -> f64 {
    (samples as f64 / f64::from(LINE_RATE) * 10_000.0).round() / 10_000.0
}

/// One event as the contract has it, time and name first.
fn line_of(event: &Event, explain: bool) -> String {
    let mut line = format!(
        r#"{{"t":{},"event":"{}""#,
        json!(seconds(event.at)),
        event.kind.name()
    );
    for (key, value) in fields(&event.kind) {
        line += &format!(r#","{key}":{value}"#);
    }
    if let Some(why) = why_of(&event.kind).filter(|_| explain) {
        line += &format!(r#","why":{}"#, Value::from(why));
    }
    line + "}"
}

/// One event for people.
fn sentence_of(event: &Event, explain: bool) -> String {
    let mut line = format!("{:9.3}  {:<18}", seconds(event.at), event.kind.name());
    for (key, value) in fields(&event.kind) {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        if key != "evidence" {
            line += &format!("  {key} {value}");
        }
    }
    if let Some(why) = why_of(&event.kind).filter(|_| explain) {
        line += &format!("\n{:11}because it {why}", "");
    }
    line.trim_end().to_owned()
}

fn why_of(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Answer { evidence, .. } | EventKind::AnswerCorrected { evidence, .. } => {
            Some(why::sentence(evidence))
        }
        _ => None,
    }
}

/// One event in the picture: its name and what matters most of it.
fn label_of(kind: &EventKind) -> String {
    let detail = match kind {
        EventKind::Answer {
            class, confidence, ..
        }
        | EventKind::AnswerCorrected {
            class, confidence, ..
        } => format!(" {} {confidence} %", class.name()),
        EventKind::Tone { kind, .. } => format!(" {}", kind.name()),
        EventKind::Silence { cause, .. } => format!(" {}", cause.name()),
        _ => String::new(),
    };
    format!("{}{detail}", kind.name())
}

fn fields(kind: &EventKind) -> Vec<(&'static str, Value)> {
    match *kind {
        EventKind::SpeechStart { start }
        | EventKind::SpeechPause { start }
        | EventKind::BargeIn { start } => vec![("start", json!(seconds(start)))],
        EventKind::SpeechEnd { end } => vec![("end", json!(seconds(end)))],
        EventKind::BargeInRetracted => Vec::new(),
        EventKind::Answer {
            class,
            confidence,
            evidence,
        } => vec![
            ("class", class.name().into()),
            ("confidence", confidence.into()),
            ("evidence", named(&evidence)),
        ],
        EventKind::AnswerCorrected {
            class,
            was,
            confidence,
            evidence,
        } => vec![
            ("class", class.name().into()),
            ("was", was.name().into()),
            ("confidence", confidence.into()),
            ("evidence", named(&evidence)),
        ],
        EventKind::GreetingEnd { end } => vec![("end", json!(seconds(end)))],
        EventKind::TurnEnd { end, confidence } => vec![
            ("end", json!(seconds(end))),
            ("confidence", confidence.into()),
        ],
        EventKind::Manner(manner) => vec![
            ("syllables_per_s", tenth(manner.syllables_per_s)),
            ("pause_ms", manner.pause_ms.into()),
            ("latency_ms", manner.latency_ms.into()),
            ("latency_spread_ms", manner.latency_spread_ms.into()),
            ("hesitating", manner.hesitating.into()),
            ("pitch_shift", tenth(manner.pitch_shift)),
            ("energy_shift_db", tenth(manner.energy_shift_db)),
            ("confidence", manner.confidence.into()),
        ],
        EventKind::Beep { start, end, hz } => vec![
            ("start", json!(seconds(start))),
            ("end", json!(seconds(end))),
            ("hz", hz.into()),
        ],
        EventKind::Tone { start, kind } => {
            vec![
                ("start", json!(seconds(start))),
                ("kind", kind.name().into()),
            ]
        }
        EventKind::Dtmf { digit, start } => vec![
            ("digit", char::from(digit).to_string().into()),
            ("start", json!(seconds(start))),
        ],
        EventKind::Silence { cause, since } => {
            vec![
                ("cause", cause.name().into()),
                ("since", json!(seconds(since))),
            ]
        }
    }
}

/// Evidence by name; what was not measured is left out.
fn named(evidence: &Evidence) -> Value {
    let mut all = json!({
        "rule": evidence.rule.name(),
        "span_ms": evidence.span_ms,
        "spoken_ms": evidence.spoken_ms,
        "pause_ms": evidence.pause_ms,
        "longest_pause_ms": evidence.longest_pause_ms,
        "quiet_ms": evidence.quiet_ms,
    });
    if let Some(tone) = evidence.tone.map(ToneKind::name) {
        all["tone"] = tone.into();
    }
    if let Some(hertz) = evidence.beep_hz {
        all["beep_hz"] = hertz.into();
    }
    if evidence.words > 0 {
        all["words"] = evidence.words.into();
    }
    if let Some(phrase) = evidence.phrase.map(Phrase::name) {
        all["phrase"] = phrase.into();
    }
    all
}

fn tenth(value: f32) -> Value {
    json!((f64::from(value) * 10.0).round() / 10.0)
}

fn summary(json: bool, seconds: f64, cpu_seconds: f64, out: &mut dyn Write) -> io::Result<()> {
    if json {
        let (seconds, cpu_seconds) = (json!(seconds), json!(cpu_seconds));
        return writeln!(
            out,
            r#"{{"event":"summary","seconds":{seconds},"cpu_seconds":{cpu_seconds}}}"#
        );
    }
    writeln!(out, "{seconds:9.3}  end of file; {cpu_seconds:.3} s of CPU")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wav::Writer;
    use offhook_dsp::g711::Law;
    use offhook_dsp::noise::ComfortNoise;
    use offhook_dsp::tone::{Dtmf, Sine};

    /// A folder of its own for one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("offhook-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("temp dir");
            Self(path)
        }

        fn wav(&self, name: &str, rate: u32, samples: &[i16]) -> PathBuf {
            let path = self.0.join(name);
            let mut writer = Writer::create(&path, rate, 1).expect("temp dir");
            writer.write(samples).expect("temp dir");
            writer.close().expect("temp dir");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn arguments(file: PathBuf) -> AnalyzeArgs {
        AnalyzeArgs {
            file,
            far: None,
            answered_at: None,
            frames: None,
            near: Side::First,
            raw: None,
            picture: None,
            explain: false,
            sensitivity: Sensitivity::DEFAULT.level(),
            they_called: false,
        }
    }

    fn lines(arguments: &AnalyzeArgs) -> Vec<Value> {
        let mut out = Vec::new();
        analyze(arguments, true, &mut out).expect("readable");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
            .collect()
    }

    fn events<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
        lines.iter().filter(|line| line["event"] == name).collect()
    }

    fn noise(samples: usize) -> Vec<i16> {
        let mut line = vec![0; samples];
        ComfortNoise::new(65, 11).fill(&mut line);
        line
    }

    fn add(line: &mut [i16], sine: &mut Sine) {
        for slot in line {
            *slot = slot.saturating_add(sine.sample() as i16);
        }
    }

    #[test]
    fn keys_and_the_summary_are_printed_as_the_contract_says() {
        let folder = Folder::new("analyze-keys");
        let mut line = noise(8_000);
        let mut key = Dtmf::new(b'7', 100, 0, -16.0).expect("a key");
        key.fill(&mut line[4_000..]);
        let heard = lines(&arguments(folder.wav("keys.wav", 8_000, &line)));
        let keys = events(&heard, "dtmf");
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0]["digit"], "7");
        assert!((keys[0]["start"].as_f64().expect("a number") - 0.5).abs() < 0.02);
        assert_eq!(events(&heard, "tone")[0]["kind"], "dtmf");
        let last = heard.last().expect("a summary");
        assert_eq!(
            (&last["event"], &last["seconds"]),
            (&json!("summary"), &json!(1.0))
        );
        assert!(last["cpu_seconds"].as_f64().expect("a number") > 0.0);
    }

    #[test]
    fn busy_is_the_verdict_at_eight_and_at_sixteen_kilohertz() {
        let folder = Folder::new("analyze-busy");
        for rate in [8_000u32, 16_000] {
            let second = rate as usize;
            let mut line = vec![0i16; 4 * second];
            for period in 0..4 {
                let from = period * second;
                for (index, slot) in line[from..from + second / 2].iter_mut().enumerate() {
                    let time = index as f64 / f64::from(rate) * std::f64::consts::TAU;
                    *slot = (2_000.0 * ((480.0 * time).sin() + (620.0 * time).sin())) as i16;
                }
            }
            let heard = lines(&arguments(folder.wav("busy.wav", rate, &line)));
            assert_eq!(events(&heard, "answer")[0]["class"], "busy", "{rate}");
            assert_eq!(events(&heard, "tone")[0]["kind"], "busy", "{rate}");
            assert!(events(&heard, "speech_start").is_empty(), "{rate}");
        }
    }

    #[test]
    fn a_spoken_hello_is_a_person_and_a_greeting_with_a_beep_is_a_machine() {
        let folder = Folder::new("analyze-spoken");
        let hello = crate::voice::render("Hello?").expect("flite speaks");
        let mut line = noise(32_000);
        line[8_000..8_000 + hello.samples.len()].copy_from_slice(&hello.samples);
        let mut asked = arguments(folder.wav("hello.wav", 8_000, &line));
        asked.answered_at = Some(0.0);
        assert_eq!(events(&lines(&asked), "answer")[0]["class"], "human");

        let text = "You have reached the office. We cannot take your call right now, \
                    so please leave a message after the tone.";
        let greeting = crate::voice::render(text).expect("flite speaks");
        let end = 4_000 + greeting.samples.len();
        let mut line = noise(end + 16_000);
        line[4_000..end].copy_from_slice(&greeting.samples);
        add(
            &mut line[end + 4_000..end + 8_000],
            &mut Sine::new(1_000.0, -18.0),
        );
        let mut asked = arguments(folder.wav("greeting.wav", 8_000, &line));
        asked.answered_at = Some(0.0);
        let heard = lines(&asked);
        assert_eq!(events(&heard, "answer")[0]["class"], "machine");
        let beeps = events(&heard, "beep");
        assert_eq!(beeps.len(), 1);
        let beep_end = (end + 8_000) as f64 / 8_000.0;
        assert!((beeps[0]["end"].as_f64().expect("a number") - beep_end).abs() < 0.01);
        assert!(beeps[0]["t"].as_f64().expect("a number") - beep_end < 0.07);
    }

    #[test]
    fn what_we_played_and_its_echo_are_no_caller() {
        let folder = Folder::new("analyze-far");
        let prompt =
            crate::voice::render("Good morning. Would you like to book a visit for next week?")
                .expect("flite speaks");
        let mut line = noise(prompt.samples.len() + 8_000);
        for (slot, sample) in line[200..].iter_mut().zip(prompt.samples.iter()) {
            *slot = slot.saturating_add(sample / 6);
        }
        let mut asked = arguments(folder.wav("near.wav", 8_000, &line));
        asked.far = Some(folder.wav("far.wav", 8_000, &prompt.samples));
        let heard = lines(&asked);
        assert!(events(&heard, "barge_in").is_empty(), "{heard:?}");
        assert!(events(&heard, "speech_start").is_empty(), "{heard:?}");
    }

    #[test]
    fn silence_is_an_answer_only_after_the_answer() {
        let folder = Folder::new("analyze-silence");
        let file = folder.wav("quiet.wav", 8_000, &noise(64_000));
        let mut asked = arguments(file);
        assert!(events(&lines(&asked), "answer").is_empty());
        asked.answered_at = Some(-1.0);
        assert!(events(&lines(&asked), "answer").is_empty());
        asked.answered_at = Some(2.0);
        let heard = lines(&asked);
        let verdict = events(&heard, "answer");
        assert_eq!(verdict[0]["class"], "silence");
        assert_eq!(verdict[0]["t"], 6.5);
    }

    #[test]
    fn every_whole_frame_has_a_line_in_the_table() {
        let folder = Folder::new("analyze-frames");
        let mut asked = arguments(folder.wav("short.wav", 8_000, &noise(8_079)));
        asked.frames = Some(folder.0.join("frames.csv"));
        lines(&asked);
        let table = std::fs::read_to_string(folder.0.join("frames.csv")).expect("written");
        assert_eq!(table.lines().next(), Some("t,speech_probability"));
        assert_eq!(table.lines().count(), 101);
        assert!(table.lines().last().expect("a line").starts_with("0.99,"));
    }

    #[test]
    fn people_get_a_sentence_a_line() {
        let folder = Folder::new("analyze-people");
        let mut line = noise(24_000);
        add(&mut line[1_000..], &mut Sine::new(350.0, -20.0));
        add(&mut line[1_000..], &mut Sine::new(440.0, -20.0));
        let mut out = Vec::new();
        analyze(
            &arguments(folder.wav("dial.wav", 8_000, &line)),
            false,
            &mut out,
        )
        .expect("readable");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("kind dial"), "{text}");
        assert!(text.contains("end of file"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_sound_is_named_with_what_to_say() {
        let folder = Folder::new("analyze-bad");
        for name in ["bad.wav", "bad.raw", "bad.g711", "bad"] {
            let path = folder.0.join(name);
            std::fs::write(&path, b"not a wav").expect("temp dir");
            let error = analyze(&arguments(path), true, &mut Vec::new()).expect_err("no sound");
            let expected = format!(
                "{name}: no WAV file and no capture; if it is raw G.711, say --raw ulaw or --raw alaw"
            );
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
    }

    /// Noise with this key in the middle of its only second.
    fn key(digit: u8) -> Vec<i16> {
        let mut line = noise(8_000);
        let mut key = Dtmf::new(digit, 100, 0, -16.0).expect("a key");
        key.fill(&mut line[4_000..]);
        line
    }

    fn digits(arguments: &AnalyzeArgs) -> Vec<String> {
        let heard = lines(arguments);
        let digit = |line: &Value| line["digit"].as_str().expect("a digit").to_owned();
        events(&heard, "dtmf").into_iter().map(digit).collect()
    }

    #[test]
    fn raw_g711_is_known_by_its_name_or_by_what_is_said_of_it() {
        let folder = Folder::new("analyze-raw");
        let rows = [
            ("a.ulaw", Law::Mu, None),
            ("a.UL", Law::Mu, None),
            ("a.alaw", Law::A, None),
            ("a.al", Law::A, None),
            ("a.raw", Law::Mu, Some(Raw::Ulaw)),
            ("a.g711", Law::A, Some(Raw::Alaw)),
            ("misnamed.ulaw", Law::A, Some(Raw::Alaw)),
        ];
        let samples = key(b'7');
        for (name, law, raw) in rows {
            let path = folder.0.join(name);
            let codes: Vec<u8> = samples.iter().map(|&sample| law.encode(sample)).collect();
            std::fs::write(&path, codes).expect("temp dir");
            let mut asked = arguments(path);
            asked.raw = raw;
            assert_eq!(digits(&asked), ["7"], "{name}");
            let last = lines(&asked).pop().expect("a summary");
            assert_eq!(last["seconds"], 1.0, "{name}: one octet a sample");
        }
        let mut asked = arguments(folder.wav("whole.wav", 8_000, &samples));
        asked.raw = Some(Raw::Alaw);
        assert_eq!(digits(&asked), ["7"], "a WAV file says itself what it is");
    }

    #[test]
    fn of_a_stereo_file_the_side_that_was_asked_for_is_heard() {
        let folder = Folder::new("analyze-stereo");
        let path = folder.0.join("both.wav");
        let both: Vec<i16> = key(b'1')
            .into_iter()
            .zip(key(b'9'))
            .flat_map(|(left, right)| [left, right])
            .collect();
        let mut writer = Writer::create(&path, 8_000, 2).expect("temp dir");
        writer.write(&both).expect("temp dir");
        writer.close().expect("temp dir");
        let file = path.to_str().expect("a plain path");
        for (side, digit) in [
            ("left", "1"),
            ("first", "1"),
            ("right", "9"),
            ("second", "9"),
        ] {
            let asked = parsed(&[file, "--near", side]).expect("a side");
            assert_eq!(digits(&asked), [digit], "{side}");
        }
        assert_eq!(digits(&parsed(&[file]).expect("the first")), ["1"]);
        assert!(parsed(&[file, "--near", "middle"]).is_err());
    }

    /// The arguments as they are typed.
    fn parsed(words: &[&str]) -> Result<AnalyzeArgs, clap::Error> {
        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            arguments: AnalyzeArgs,
        }
        let words = std::iter::once("analyze").chain(words.iter().copied());
        <Typed as clap::Parser>::try_parse_from(words).map(|typed| typed.arguments)
    }

    /// The far side of a stereo file is what we played: its echo is no caller.
    #[test]
    fn the_other_side_of_a_stereo_file_is_taken_for_what_we_played() {
        let folder = Folder::new("analyze-stereo-echo");
        let prompt =
            crate::voice::render("Good morning. Would you like to book a visit for next week?")
                .expect("flite speaks");
        let mut line = noise(prompt.samples.len() + 8_000);
        for (slot, sample) in line[200..].iter_mut().zip(prompt.samples.iter()) {
            *slot = slot.saturating_add(sample / 6);
        }
        let played = prompt.samples.iter().copied().chain(std::iter::repeat(0));
        let both: Vec<i16> = line.iter().zip(played).flat_map(|(a, b)| [*a, b]).collect();
        let path = folder.0.join("call.wav");
        let mut writer = Writer::create(&path, 8_000, 2).expect("temp dir");
        writer.write(&both).expect("temp dir");
        writer.close().expect("temp dir");
        let heard = lines(&arguments(path));
        assert!(events(&heard, "speech_start").is_empty(), "{heard:?}");
        let alone = lines(&arguments(folder.wav("near.wav", 8_000, &line)));
        assert!(
            !events(&alone, "speech_start").is_empty(),
            "without it it is one"
        );
    }

    #[test]
    fn an_explanation_names_the_features_and_what_they_were() {
        let folder = Folder::new("analyze-explain");
        let text = "You have reached the office. We cannot take your call right now, \
                    so please leave a message after the tone.";
        let greeting = crate::voice::render(text).expect("flite speaks");
        let mut line = noise(greeting.samples.len() + 32_000);
        line[4_000..4_000 + greeting.samples.len()].copy_from_slice(&greeting.samples);
        let mut asked = arguments(folder.wav("greeting.wav", 8_000, &line));
        asked.answered_at = Some(0.0);
        assert_eq!(events(&lines(&asked), "answer")[0]["why"], Value::Null);
        asked.explain = true;
        let heard = lines(&asked);
        let verdict = events(&heard, "answer")[0];
        assert_eq!(verdict["class"], "machine");
        let why = verdict["why"].as_str().expect("a sentence");
        let evidence = &verdict["evidence"];
        let said = |name: &str| {
            let ms = evidence[name].as_f64().expect("measured");
            format!("{:.2} s", ms / 1_000.0)
        };
        assert!(why.contains(&said("span_ms")), "{why}: {evidence}");
        if evidence["rule"] == "long_turn" {
            assert!(why.contains(&said("longest_pause_ms")), "{why}");
        }
        let mut out = Vec::new();
        analyze(&asked, false, &mut out).expect("readable");
        let shown = String::from_utf8(out).expect("text");
        assert!(shown.contains(&format!("because it {why}")), "{shown}");
    }

    /// Positions of what is drawn with this colour as a tick.
    fn numbers_after(svg: &str, before: &str) -> Vec<f64> {
        let rest = svg.split(before).skip(1);
        let number = |text: &str| {
            let end = text.find(|c: char| c != '.' && c != '-' && !c.is_ascii_digit());
            text[..end.unwrap_or(text.len())].parse().ok()
        };
        rest.filter_map(number).collect()
    }

    #[test]
    fn a_picture_spans_the_file_and_marks_every_event_and_tone() {
        let folder = Folder::new("analyze-picture");
        let mut line = noise(40_000);
        for hz in [480.0, 620.0] {
            for beat in 0..4 {
                let from = 4_000 + 8_000 * beat;
                add(&mut line[from..from + 4_000], &mut Sine::new(hz, -18.0));
            }
        }
        let mut asked = arguments(folder.wav("busy & <b>.wav", 8_000, &line));
        let path = folder.0.join("picture.svg");
        asked.picture = Some(path.clone());
        asked.answered_at = Some(0.25);
        let heard = lines(&asked);
        let svg = std::fs::read_to_string(path).expect("written");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(
            svg.contains("busy &amp; &lt;b&gt;.wav"),
            "the name, as XML has it"
        );
        // The axis: 0 at its left end, 5 s of the file at its right end.
        let x_of = |label: &str| {
            let at = svg
                .find(&format!(">{label}</text>"))
                .expect("a label of the axis");
            let tag = svg[..at].rfind("<text x=\"").expect("its tag");
            numbers_after(&svg[tag..at], "<text x=\"")[0]
        };
        let (left, right) = (x_of("0 s"), x_of("5 s"));
        assert!(left < 200.0 && right > 1_400.0, "{left} {right}");
        let x = |seconds: f64| left + (right - left) * seconds / 5.0;
        let near = |xs: &[f64], wanted: f64| xs.iter().any(|x| (x - wanted).abs() < 0.11);
        // Each event in the lane: a tick where it was reported, and its name.
        let ticks = numbers_after(&svg, r#"<path d="M"#);
        let shown = ["speech_start", "speech_end", "answer", "tone", "silence"];
        let events: Vec<&Value> = heard
            .iter()
            .filter(|it| shown.contains(&it["event"].as_str().expect("a name")))
            .collect();
        assert!(events.len() >= 2, "{heard:?}");
        for event in &events {
            let at = event["t"].as_f64().expect("a time");
            assert!(near(&ticks, x(at)), "{event}");
            let name = event["event"].as_str().expect("a name");
            assert!(svg.contains(&format!(">{name}")), "{name}");
        }
        // The tone: a bar from its beginning, with its kind under it.
        let tone = heard.iter().find(|it| it["event"] == "tone").expect("busy");
        let start = tone["start"].as_f64().expect("a time");
        assert!(near(&numbers_after(&svg, "<rect x=\""), x(start)), "{tone}");
        assert!(svg.contains(">busy</text>"));
        assert!(svg.contains(">answered</text>"));
        // The waveform: one column a pixel; the probability: a point a frame.
        let wave = svg.split("class=\"wave\"").next().expect("a waveform");
        let columns = wave.rsplit("<path d=\"").next().expect("its path");
        assert!(columns.matches('V').count() > 1_300);
        let curve = svg.split("class=\"wave\"").nth(1).expect("a curve");
        let points = curve.rsplit("<path d=\"").next().expect("its path");
        assert_eq!(points.matches('L').count(), 499);
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    }
}
