//! `offhook analyze`: the ear of the daemon, offline, on a recording.
//!
//! It plays a file through [`Ear`] frame by frame and prints what the ear
//! reports. It judges nothing itself. The output with `--json` is a contract:
//! scripts and later checks read it.

use super::recording::{Recording, Unreadable};
use crate::clock;
use crate::resample::LINE_RATE;
use offhook_dsp::{Event, EventKind, FRAME};
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Hear a recording as the daemon would have heard the call.
#[derive(Clone, Debug, clap::Args)]
pub struct AnalyzeArgs {
    /// What came from the line: mono WAV, 8 or 16 kHz. Of a stereo recording
    /// the first channel is heard and the second taken for what we played.
    pub file: PathBuf,
    /// What we were playing, aligned from the first sample.
    #[arg(long, value_name = "PROMPT.wav")]
    pub far: Option<PathBuf>,
    /// When the call was answered, in seconds of the file; before, and without
    /// it, `silence` and `unsure` are no answers. Negative: never.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub answered_at: Option<f64>,
    /// Write the probability of speech per 10 ms here.
    #[arg(long, value_name = "OUT.csv")]
    pub frames: Option<PathBuf>,
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
    let recording = Recording::read(&arguments.file, arguments.far.as_deref())?;
    let mut frames = match &arguments.frames {
        Some(path) if *path == arguments.file || Some(path) == arguments.far.as_ref() => {
            return Err(AnalyzeError::Output(io::Error::other(format!(
                "{}: --frames would overwrite a recording that is read",
                path.display()
            ))));
        }
        Some(path) => Some(FrameTable::create(path)?),
        None => None,
    };
    for heard in recording.listen(arguments.answered_at) {
        for event in &heard.events {
            writeln!(
                out,
                "{}",
                if json {
                    line_of(event)
                } else {
                    sentence_of(event)
                }
            )?;
        }
        if let Some(frames) = &mut frames {
            frames.write(heard.speech_probability)?;
        }
    }
    if let Some(frames) = frames {
        frames.close()?;
    }
    let cpu_seconds = (clock::cpu() - cpu_before).as_secs_f64();
    summary(json, recording.seconds(), cpu_seconds, out)?;
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
fn line_of(event: &Event) -> String {
    let mut line = format!(
        r#"{{"t":{},"event":"{}""#,
        json!(seconds(event.at)),
        event.kind.name()
    );
    for (key, value) in fields(&event.kind) {
        line += &format!(r#","{key}":{value}"#);
    }
    line + "}"
}

/// One event for people.
fn sentence_of(event: &Event) -> String {
    let mut line = format!("{:9.3}  {:<18}", seconds(event.at), event.kind.name());
    for (key, value) in fields(&event.kind) {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        line += &format!("  {key} {value}");
    }
    line.trim_end().to_owned()
}

fn fields(kind: &EventKind) -> Vec<(&'static str, Value)> {
    match *kind {
        EventKind::SpeechStart { start }
        | EventKind::SpeechPause { start }
        | EventKind::BargeIn { start } => vec![("start", json!(seconds(start)))],
        EventKind::SpeechEnd { end } => vec![("end", json!(seconds(end)))],
        EventKind::BargeInRetracted => Vec::new(),
        EventKind::Answer { class, confidence } => {
            vec![
                ("class", class.name().into()),
                ("confidence", confidence.into()),
            ]
        }
        EventKind::AnswerCorrected {
            class,
            was,
            confidence,
        } => vec![
            ("class", class.name().into()),
            ("was", was.name().into()),
            ("confidence", confidence.into()),
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
    fn a_file_that_is_no_sound_is_named() {
        let folder = Folder::new("analyze-bad");
        let path = folder.0.join("bad.wav");
        std::fs::write(&path, b"not a wav").expect("temp dir");
        let error = analyze(&arguments(path), true, &mut Vec::new()).expect_err("no sound");
        assert!(
            error.to_string().ends_with("bad.wav: no RIFF header"),
            "{error}"
        );
    }
}
