//! `offhook call ID --picture`: one call as an SVG, drawn by hand.
//!
//! From top to bottom on one time axis: what was heard, with the spans of
//! speech; what we said, with the spans of our prompts; then a lane each for
//! perception, decisions and actions. A barge-in is a line through all of it.

use std::fmt::Write as _;
use std::path::Path;

use crate::control::{CallDetail, Lane, TimelineEntry};
use crate::wav;

const WIDTH: f64 = 1480.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 26.0;
const HEADER: f64 = 104.0;
const TRACK: f64 = 104.0;
const BAR: f64 = 12.0;
const ROW: f64 = 17.0;
/// Rows of labels a lane may take; what does not fit keeps its tick.
const ROWS_MAX: usize = 7;
/// Width of a letter of 11 px sans-serif, generously.
const LETTER: f64 = 6.3;
/// Half the width of a barge-in's label.
const MARK_HALF: f64 = 56.0;
const LABEL_LETTERS: usize = 34;

const THEY: &str = "#1b6e8a";
const WE: &str = "#9a5b13";
const STOP: &str = "#c62f2f";
const YES: &str = "#2d7d3a";
const INK: &str = "#22303a";
const FAINT: &str = "#d9e0e4";

/// Both sides of a call at one rate.
struct Sound {
    rate: f64,
    starts_ms: f64,
    heard: Vec<i16>,
    said: Vec<i16>,
}

impl Sound {
    fn ends_ms(&self) -> f64 {
        let samples = self.heard.len().max(self.said.len());
        self.starts_ms + float(samples) * 1000.0 / self.rate
    }
}

/// Draws the call into a file.
///
/// # Errors
/// Its recording cannot be read, or the file cannot be written.
pub(super) fn write(detail: &CallDetail, out: &Path) -> Result<(), String> {
    let sound = match &detail.recording {
        Some(tape) => Some(read(&tape.file, tape.starts_ms)?),
        None => None,
    };
    let svg = draw(detail, sound.as_ref());
    std::fs::write(out, svg).map_err(|error| format!("{}: {error}", out.display()))
}

fn read(file: &Path, starts_ms: u64) -> Result<Sound, String> {
    let wav = wav::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let channels = usize::from(wav.channels);
    let channel = |index: usize| {
        wav.samples
            .iter()
            .skip(index)
            .step_by(channels)
            .copied()
            .collect()
    };
    Ok(Sound {
        rate: f64::from(wav.rate),
        starts_ms: float(starts_ms),
        heard: channel(0),
        said: if channels > 1 { channel(1) } else { Vec::new() },
    })
}

fn draw(detail: &CallDetail, sound: Option<&Sound>) -> String {
    let last = detail.timeline.iter().map(|entry| entry.ms).max();
    let ends_ms = sound
        .map_or(0.0, Sound::ends_ms)
        .max(float(last.unwrap_or(0)));
    let heard_ms = sound.map_or(ends_ms, Sound::ends_ms);
    let mut page = Page {
        body: String::new(),
        under: String::new(),
        over: String::new(),
        span_ms: (ends_ms * 1.02).max(1000.0),
        heard_ms,
        y: HEADER,
    };
    let lines = &detail.timeline;
    if let Some(sound) = sound {
        page.track("heard", THEY, &sound.heard, sound);
    }
    page.bars(
        "speech",
        THEY,
        &spans(lines, &["speech_start"], &["speech_end"]),
    );
    if let Some(sound) = sound {
        page.track("said", WE, &sound.said, sound);
    }
    page.bars("prompt", WE, &prompts(lines));
    for (lane, name) in [
        (Lane::Signalling, "signalling"),
        (Lane::Perception, "perception"),
        (Lane::Decision, "decision"),
        (Lane::Action, "action"),
    ] {
        let shown = |entry: &&TimelineEntry| entry.lane == lane && entry.event != "speech_pause";
        page.lane(name, lines.iter().filter(shown));
    }
    page.marks(lines);
    page.axis();
    page.finish(detail)
}

/// From each of `begin` to the next of `end`, in ms; an open one has no end.
fn spans(lines: &[TimelineEntry], begin: &[&str], end: &[&str]) -> Vec<(f64, Option<f64>)> {
    let mut found: Vec<(f64, Option<f64>)> = Vec::new();
    for entry in lines {
        let open = found.last_mut().filter(|(_, to)| to.is_none());
        match open {
            Some((_, to)) if end.contains(&entry.event.as_str()) => *to = Some(float(entry.ms)),
            None if begin.contains(&entry.event.as_str()) => found.push((float(entry.ms), None)),
            Some(_) | None => {}
        }
    }
    found
}

/// From the order to play a prompt to its end. The next one may be ordered
/// before the last one is reported over, so they are told apart by number.
fn prompts(lines: &[TimelineEntry]) -> Vec<(f64, Option<f64>)> {
    let number = |entry: &TimelineEntry| {
        let rest = entry.detail.strip_prefix("prompt ")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let over = |entry: &TimelineEntry| matches!(entry.event.as_str(), "played" | "cut");
    let mut found = Vec::new();
    for (index, entry) in lines.iter().enumerate() {
        if !matches!(entry.event.as_str(), "play" | "resume") {
            continue;
        }
        let mut later = lines[index..].iter();
        let end = later.find(|later| over(later) && number(later) == number(entry));
        found.push((float(entry.ms), end.map(|end| float(end.ms))));
    }
    found
}

/// A picture in the making: what is drawn so far, and how far down.
struct Page {
    body: String,
    /// Grid and ticks: they lie behind everything.
    under: String,
    /// Labels: they lie on everything.
    over: String,
    span_ms: f64,
    /// What is still open at the end ends here.
    heard_ms: f64,
    y: f64,
}

/// A String takes all that is written to it.
macro_rules! draw {
    ($page:expr, $($form:tt)*) => { let _ = writeln!($page.body, $($form)*); };
}

impl Page {
    fn x(&self, ms: f64) -> f64 {
        LEFT + ms.clamp(0.0, self.span_ms) / self.span_ms * (WIDTH - LEFT - RIGHT)
    }

    fn name(&mut self, name: &str, y: f64) {
        draw!(
            self,
            r#"<text x="{:.0}" y="{y:.1}" class="name">{name}</text>"#,
            LEFT - 14.0
        );
    }

    /// One side of the call: for each column of pixels its loudest samples.
    fn track(&mut self, name: &str, colour: &str, samples: &[i16], sound: &Sound) {
        let middle = self.y + TRACK / 2.0;
        self.name(name, middle + 4.0);
        draw!(
            self,
            r#"<path d="M{LEFT} {middle:.1}H{:.0}" stroke="{FAINT}"/>"#,
            WIDTH - RIGHT
        );
        let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max();
        // Quiet recordings are drawn larger, noise is not blown up.
        let full = f64::from(loudest.unwrap_or(0)).max(4000.0);
        let y = |sample: i16| middle - f64::from(sample) / full * (TRACK / 2.0 - 4.0);
        let mut path = String::new();
        let mut x = LEFT;
        while x < WIDTH - RIGHT {
            let part = columns(samples, self.sample(x, sound), self.sample(x + 1.0, sound));
            if let (Some(low), Some(high)) = (part.iter().min(), part.iter().max()) {
                let _ = write!(path, "M{x:.0} {:.1}V{:.1}", y(*high) - 0.4, y(*low) + 0.4);
            }
            x += 1.0;
        }
        draw!(self, r#"<path d="{path}" stroke="{colour}" class="wave"/>"#);
        self.y += TRACK;
    }

    /// The sample at this pixel; negative before the recording.
    fn sample(&self, x: f64, sound: &Sound) -> f64 {
        let ms = (x - LEFT) / (WIDTH - LEFT - RIGHT) * self.span_ms;
        (ms - sound.starts_ms) * sound.rate / 1000.0
    }

    fn bars(&mut self, name: &str, colour: &str, spans: &[(f64, Option<f64>)]) {
        let y = self.y + 2.0;
        self.name(name, y + BAR - 2.0);
        for (from, to) in spans {
            let (left, right) = (self.x(*from), self.x(to.unwrap_or(self.heard_ms)));
            draw!(
                self,
                r#"<rect x="{left:.1}" y="{y:.1}" width="{:.1}" height="{BAR}" rx="3" fill="{colour}" class="bar"/>"#,
                (right - left).max(2.0)
            );
        }
        self.y += BAR + 18.0;
    }

    /// A tick per event, its label in the first row where there is room.
    fn lane<'l>(&mut self, name: &str, entries: impl Iterator<Item = &'l TimelineEntry>) {
        let top = self.y;
        self.name(name, top + 12.0);
        let mut rows: Vec<f64> = Vec::new();
        for entry in entries {
            let x = self.x(float(entry.ms));
            let text = label(entry);
            let width = float(text.chars().count()) * LETTER;
            // At the right edge the label stands left of its tick.
            let flipped = x + width + 8.0 > WIDTH;
            let left = if flipped { x - width - 8.0 } else { x };
            let free = rows.iter().position(|end| *end <= left);
            let row = free.unwrap_or(rows.len());
            let colour = colour(entry);
            if row >= ROWS_MAX {
                draw!(self, r#"<path d="M{x:.1} {top:.1}v6" stroke="{colour}"/>"#);
                continue;
            }
            rows.resize(rows.len().max(row + 1), 0.0);
            rows[row] = left + width + 10.0;
            let y = top + 12.0 + float(row) * ROW;
            let anchor = if flipped { "end" } else { "start" };
            let at = if flipped { x - 4.0 } else { x + 4.0 };
            let _ = writeln!(
                self.under,
                r#"<path d="M{x:.1} {top:.1}V{:.1}" stroke="{colour}" class="tick"/>"#,
                y + 1.0
            );
            let _ = writeln!(
                self.over,
                r#"<text x="{at:.1}" y="{y:.1}" fill="{colour}" text-anchor="{anchor}">{}</text>"#,
                escape(&text)
            );
        }
        self.y += float(rows.len().max(1)) * ROW + 16.0;
        let line = self.y - 10.0;
        draw!(
            self,
            r#"<path d="M{LEFT} {line:.1}H{:.0}" stroke="{FAINT}"/>"#,
            WIDTH - RIGHT
        );
    }

    /// Barge-ins go through everything: that is what the picture is about.
    fn marks(&mut self, lines: &[TimelineEntry]) {
        let mut labelled_to = 0.0;
        for (index, entry) in lines.iter().enumerate() {
            if entry.event != "barge_in" {
                continue;
            }
            let x = self.x(float(entry.ms));
            let bottom = self.y - 8.0;
            draw!(
                self,
                r#"<path d="M{x:.1} {:.1}V{bottom:.1}" stroke="{STOP}" stroke-width="1.6" stroke-dasharray="6 3" class="barge_in"/>"#,
                HEADER - 6.0
            );
            // Marks that stand close together share the first one's label.
            if x - MARK_HALF < labelled_to {
                continue;
            }
            labelled_to = x + MARK_HALF;
            let gone = prompt_stopped(&lines[index + 1..]);
            draw!(
                self,
                r#"<text x="{x:.1}" y="{:.1}" fill="{STOP}" text-anchor="middle" class="strong">barge_in {} ms</text><text x="{x:.1}" y="{:.1}" fill="{STOP}" text-anchor="middle">{}</text>"#,
                HEADER - 23.0,
                entry.ms,
                HEADER - 10.0,
                escape(gone)
            );
        }
    }

    fn axis(&mut self) {
        let y = self.y + 4.0;
        draw!(
            self,
            r#"<path d="M{LEFT} {y:.1}H{:.0}" stroke="{INK}"/>"#,
            WIDTH - RIGHT
        );
        let step_ms = step(self.span_ms);
        let mut ms = 0.0;
        while ms <= self.span_ms {
            let x = self.x(ms);
            let _ = writeln!(
                self.under,
                r#"<path d="M{x:.1} {HEADER}V{y:.1}" class="grid"/>"#
            );
            draw!(
                self,
                r#"<path d="M{x:.1} {y:.1}v5" stroke="{INK}"/><text x="{x:.1}" y="{:.1}" fill="{INK}" text-anchor="middle">{} s</text>"#,
                y + 19.0,
                ms / 1000.0
            );
            ms += step_ms;
        }
        self.y = y + 36.0;
    }

    fn finish(self, detail: &CallDetail) -> String {
        let (height, body) = (self.y, self.under + &self.body + &self.over);
        let call = &detail.call;
        let title = format!(
            "{} call {}: {} to {}, {}",
            call.direction.name(),
            call.id,
            anonymous(&call.caller),
            call.called,
            call.playbook,
        );
        let result = [call.result.as_deref(), call.cause.as_deref()];
        let result: Vec<&str> = result.into_iter().flatten().collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\">\n\
             <style>text{{font:11px 'DejaVu Sans',Helvetica,Arial,sans-serif;paint-order:stroke;stroke:#fff;stroke-width:3px}}\
             .name{{text-anchor:end;font-weight:bold;fill:{INK}}}.strong{{font-weight:bold}}\
             .title{{font-size:17px;fill:{INK}}}.under{{font-size:12px;fill:#5c6b75}}\
             .wave{{fill:none;stroke-width:1}}.bar{{opacity:.75}}.tick{{opacity:.55}}\
             .grid{{stroke:{FAINT};stroke-dasharray:2 4}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"18\" y=\"30\" class=\"title\">{}</text>\n\
             <text x=\"18\" y=\"50\" class=\"under\">{}</text>\n{}{body}</svg>\n",
            escape(&title),
            escape(&result.join(", ")),
            legend(),
        )
    }
}

fn legend() -> String {
    let entries = [
        (THEY, "far end"),
        (WE, "Offhook"),
        (STOP, "barge-in, refused"),
        (YES, "authorised, delivered"),
    ];
    let mut text = String::new();
    let mut x = WIDTH - 520.0;
    for (colour, name) in entries {
        let _ = writeln!(
            text,
            r#"<rect x="{x:.0}" y="20" width="12" height="12" rx="3" fill="{colour}"/><text x="{:.0}" y="30" fill="{INK}">{name}</text>"#,
            x + 17.0
        );
        x += 38.0 + float(name.chars().count()) * LETTER;
    }
    text
}

/// How soon the prompt gave way to this barge-in, if it is known.
fn prompt_stopped(after: &[TimelineEntry]) -> &str {
    let mut own = after.iter().take_while(|entry| entry.event != "barge_in");
    let stopped = own.find(|entry| entry.event == "prompt_stopped");
    let detail = stopped.map_or("", |entry| entry.detail.as_str());
    detail.split(" after").next().unwrap_or_default()
}

/// A second, or as many as leave room between the numbers.
fn step(span_ms: f64) -> f64 {
    let steps = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0];
    let wide_enough = steps
        .into_iter()
        .find(|step| span_ms / (step * 1000.0) <= 30.0);
    wide_enough.unwrap_or(86_400.0) * 1000.0
}

fn colour(entry: &TimelineEntry) -> &'static str {
    match entry.event.as_str() {
        "refused" | "barge_in" | "cut" | "store_failed" | "given_up" | "withdrawn" => STOP,
        "authorised" | "durable" | "released" | "delivered" | "accepted" => YES,
        "play" | "played" | "resume" | "stop" => WE,
        _ if entry.lane == Lane::Perception => THEY,
        _ => INK,
    }
}

fn label(entry: &TimelineEntry) -> String {
    let text = format!("{} {}", entry.event, entry.detail);
    let text = text.trim_end();
    if text.chars().count() <= LABEL_LETTERS {
        return text.to_owned();
    }
    let short: String = text.chars().take(LABEL_LETTERS - 1).collect();
    format!("{}…", short.trim_end())
}

/// Samples from one position to the other, as far as there are any.
fn columns(samples: &[i16], from: f64, to: f64) -> &[i16] {
    if to <= 0.0 {
        return &[];
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positions of pixels: not negative, and clamped to the samples"
    )]
    let at = |position: f64| (position.max(0.0) as usize).min(samples.len());
    &samples[at(from)..at(to)]
}

fn float<N: TryInto<u32>>(number: N) -> f64 {
    f64::from(number.try_into().unwrap_or(u32::MAX))
}

fn anonymous(caller: &str) -> &str {
    if caller.is_empty() {
        "anonymous"
    } else {
        caller
    }
}

/// Text for XML; what XML cannot hold becomes a replacement character.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{CallRow, CallState};
    use crate::store::Direction;
    use std::collections::BTreeMap;

    fn entry(ms: u64, lane: Lane, event: &str, detail: &str) -> TimelineEntry {
        TimelineEntry {
            ms,
            lane,
            event: event.into(),
            detail: detail.into(),
            data: BTreeMap::new(),
        }
    }

    fn detail(timeline: Vec<TimelineEntry>) -> CallDetail {
        CallDetail {
            call: CallRow {
                id: "0000000000abc".into(),
                direction: Direction::Inbound,
                trunk: "t".into(),
                caller: "<b>&".into(),
                called: "100".into(),
                playbook: "booking".into(),
                state: CallState::Ended,
                started_ms: 0,
                duration_ms: 2000,
                stage: None,
                role: None,
                cause: Some("far_hangup".into()),
                result: Some("booked".into()),
            },
            timeline,
            recording: None,
        }
    }

    fn sound(starts_ms: f64) -> Sound {
        Sound {
            rate: 8000.0,
            starts_ms,
            heard: vec![1000; 8000],
            said: vec![-1000; 4000],
        }
    }

    #[test]
    fn a_call_is_drawn_with_both_tracks_spans_and_its_barge_in() {
        let lines = vec![
            entry(100, Lane::Action, "play", "prompt 1: greet"),
            entry(500, Lane::Perception, "speech_start", ""),
            entry(560, Lane::Perception, "barge_in", "turn 1"),
            entry(570, Lane::Action, "cut", "prompt 1 after 470 ms"),
            entry(900, Lane::Perception, "speech_end", ""),
            entry(
                950,
                Lane::Decision,
                "refused",
                "schedule <x> [contact.frequency]",
            ),
        ];
        let svg = draw(&detail(lines), Some(&sound(100.0)));
        assert_eq!(svg.matches("class=\"wave\"").count(), 2, "both tracks");
        assert_eq!(svg.matches("class=\"bar\"").count(), 2, "speech and prompt");
        assert_eq!(svg.matches("class=\"barge_in\"").count(), 1);
        assert!(svg.contains("refused schedule &lt;x&gt;"));
        assert!(svg.contains("&lt;b&gt;&amp; to 100"));
        for name in ["heard", "said", "speech", "prompt", "decision", "action"] {
            assert!(svg.contains(&format!(">{name}</text>")), "{name}");
        }
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    }

    #[test]
    fn spans_pair_beginnings_with_ends_and_one_may_stay_open() {
        let lines = [
            entry(1, Lane::Perception, "speech_end", ""),
            entry(2, Lane::Perception, "speech_start", ""),
            entry(3, Lane::Perception, "speech_start", ""),
            entry(5, Lane::Perception, "speech_end", ""),
            entry(7, Lane::Perception, "speech_start", ""),
        ];
        let found = spans(&lines, &["speech_start"], &["speech_end"]);
        assert_eq!(found, [(2.0, Some(5.0)), (7.0, None)]);
    }

    #[test]
    fn a_prompt_ends_with_its_own_number_even_after_the_next_was_ordered() {
        let lines = [
            entry(1, Lane::Action, "play", "prompt 1: hello, offer"),
            entry(5, Lane::Action, "play", "prompt 2: message"),
            entry(6, Lane::Action, "cut", "prompt 1 after 5 ms"),
            entry(9, Lane::Action, "played", "prompt 2 after 4 ms"),
            entry(12, Lane::Action, "resume", "prompt 3"),
        ];
        let found = prompts(&lines);
        assert_eq!(found, [(1.0, Some(6.0)), (5.0, Some(9.0)), (12.0, None)]);
    }

    #[test]
    fn a_call_without_recording_or_events_is_drawn_too() {
        let svg = draw(&detail(Vec::new()), None);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_thousand_events_at_once_stay_within_the_rows() {
        let lines = (0..1000)
            .map(|_| entry(5, Lane::Action, "play", "prompt"))
            .collect();
        let svg = draw(&detail(lines), None);
        let labels = svg.matches(">play prompt</text>").count();
        assert_eq!(labels, ROWS_MAX);
    }
}
