//! `offhook analyze --picture`: what was heard, on one time axis, as an SVG.
//!
//! From top to bottom: the line's waveform, what we played if it is known, the
//! probability of speech with the stretches the ear reported, tones and beeps,
//! then the other events. It draws what it is given. Called by `analyze`.

use std::fmt::Write as _;

use offhook_dsp::{Event, EventKind, FRAME};

use crate::resample::LINE_RATE;

const WIDTH: f64 = 1480.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const WAVE: f64 = 110.0;
const CURVE: f64 = 80.0;
const ROW: f64 = 17.0;
/// Rows that labels may take; a label without a place leaves its tick.
const ROWS: usize = 9;
/// Width of a letter of 11 px, generously.
const LETTER: f64 = 6.4;

const NEAR: &str = "#1b6e8a";
const FAR: &str = "#9a5b13";
const TONE: &str = "#6a3d9a";
const ALARM: &str = "#c62f2f";
const VERDICT: &str = "#2d7d3a";
const INK: &str = "#22303a";
const FAINT: &str = "#d9e0e4";

/// All that is drawn.
pub(super) struct Scene<'a> {
    pub(super) title: &'a str,
    pub(super) near: &'a [i16],
    pub(super) far: &'a [i16],
    /// Of speech, one per frame.
    pub(super) probabilities: &'a [f32],
    /// With a label each.
    pub(super) events: &'a [(Event, String)],
    pub(super) answered_at: Option<f64>,
}

/// The scene as an SVG document.
pub(super) fn draw(scene: &Scene<'_>) -> String {
    let seconds = scene.near.len() as f64 / f64::from(LINE_RATE);
    let mut page = Page {
        body: String::new(),
        seconds: seconds.max(0.5),
        y: TOP,
    };
    page.wave("heard", NEAR, scene.near);
    if scene.far.iter().any(|&sample| sample != 0) {
        page.wave("played", FAR, scene.far);
    }
    page.curve(scene.probabilities, &speech(scene.events, seconds));
    page.bars("tones", TONE, &sounds(scene.events));
    page.events(scene.events);
    if let Some(answered) = scene.answered_at.filter(|at| *at >= 0.0) {
        page.mark(answered, "answered", INK);
    }
    for (event, _) in scene.events {
        if let EventKind::BargeIn { .. } = event.kind {
            page.mark(seconds_of(event.at), "", ALARM);
        }
    }
    page.finish(scene.title)
}

/// A stretch of time with a name.
struct Stretch {
    start: f64,
    end: f64,
    name: String,
}

fn seconds_of(samples: u64) -> f64 {
    samples as f64 / f64::from(LINE_RATE)
}

/// What was reported as speech, with its beginning and end as they were found.
fn speech(events: &[(Event, String)], length: f64) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut open = None;
    for (event, _) in events {
        match event.kind {
            EventKind::SpeechStart { start } => open = Some(seconds_of(start)),
            EventKind::SpeechEnd { end } => found.extend(open.take().map(|start| Stretch {
                start,
                end: seconds_of(end),
                name: String::new(),
            })),
            _ => {}
        }
    }
    found.extend(open.map(|start| Stretch {
        start,
        end: length,
        name: String::new(),
    }));
    found
}

/// Tones from their beginning to where they were named, keys and beeps.
fn sounds(events: &[(Event, String)]) -> Vec<Stretch> {
    let sound = |event: &Event| {
        let (start, end, name) = match event.kind {
            EventKind::Tone { start, kind } => (start, event.at, kind.name().to_owned()),
            EventKind::Beep { start, end, hz } => (start, end, format!("beep {hz} Hz")),
            EventKind::Dtmf { digit, start } => (start, event.at, char::from(digit).to_string()),
            _ => return None,
        };
        let (start, end) = (seconds_of(start), seconds_of(end));
        Some(Stretch { start, end, name })
    };
    events
        .iter()
        .filter_map(|(event, _)| sound(event))
        .collect()
}

/// Whether an event has its place in the lane; the others are bars.
fn in_lane(kind: &EventKind) -> bool {
    !matches!(
        kind,
        EventKind::SpeechPause { .. } | EventKind::Dtmf { .. } | EventKind::Manner(_)
    )
}

fn colour(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Answer { .. } | EventKind::AnswerCorrected { .. } => VERDICT,
        EventKind::BargeIn { .. } | EventKind::BargeInRetracted => ALARM,
        EventKind::Tone { .. }
        | EventKind::Dtmf { .. }
        | EventKind::Beep { .. }
        | EventKind::GreetingEnd { .. } => TONE,
        EventKind::SpeechStart { .. }
        | EventKind::SpeechPause { .. }
        | EventKind::SpeechEnd { .. }
        | EventKind::TurnEnd { .. }
        | EventKind::Manner(_) => NEAR,
        EventKind::Silence { .. } => INK,
    }
}

/// A picture in the making, and how far down it is.
struct Page {
    body: String,
    seconds: f64,
    y: f64,
}

/// A String takes all that is written to it.
macro_rules! draw {
    ($page:expr, $($form:tt)*) => { let _ = writeln!($page.body, $($form)*); };
}

impl Page {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + seconds.clamp(0.0, self.seconds) / self.seconds * (WIDTH - LEFT - RIGHT)
    }

    fn name(&mut self, name: &str, y: f64) {
        let x = LEFT - 12.0;
        draw!(
            self,
            r#"<text x="{x:.0}" y="{y:.1}" class="name">{name}</text>"#
        );
    }

    /// For each column of pixels the highest and lowest sample.
    fn wave(&mut self, name: &str, colour: &str, samples: &[i16]) {
        let middle = self.y + WAVE / 2.0;
        self.name(name, middle + 4.0);
        let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max();
        // Quiet recordings are drawn larger, noise is not blown up.
        let full = f64::from(loudest.unwrap_or(0)).max(4_000.0);
        let y = |sample: i16| middle - f64::from(sample) / full * (WAVE / 2.0 - 4.0);
        let columns = (WIDTH - LEFT - RIGHT) as usize;
        let at = |column: usize| {
            let share = column as f64 / columns as f64;
            (share * self.seconds * f64::from(LINE_RATE)) as usize
        };
        let mut path = String::new();
        for column in 0..columns {
            let end = at(column + 1).min(samples.len());
            let part = samples.get(at(column)..end).unwrap_or_default();
            if let (Some(low), Some(high)) = (part.iter().min(), part.iter().max()) {
                let x = LEFT + column as f64;
                let _ = write!(path, "M{x:.0} {:.1}V{:.1}", y(*high) - 0.4, y(*low) + 0.4);
            }
        }
        draw!(self, r#"<path d="{path}" stroke="{colour}" class="wave"/>"#);
        self.y += WAVE + 6.0;
    }

    /// Probability as a line over the reported stretches.
    fn curve(&mut self, probabilities: &[f32], stretches: &[Stretch]) {
        let (top, bottom) = (self.y, self.y + CURVE);
        self.name("speech", top + CURVE / 2.0 + 4.0);
        for stretch in stretches {
            let (from, to) = (self.x(stretch.start), self.x(stretch.end));
            let width = (to - from).max(1.0);
            draw!(
                self,
                r#"<rect x="{from:.1}" y="{top:.1}" width="{width:.1}" height="{CURVE}" fill="{NEAR}" opacity="0.18"/>"#
            );
        }
        let right = WIDTH - RIGHT;
        draw!(
            self,
            r#"<path d="M{LEFT} {bottom:.1}H{right}M{LEFT} {top:.1}H{right}" stroke="{FAINT}"/>"#
        );
        let mut path = String::new();
        for (index, probability) in probabilities.iter().enumerate() {
            let x = self.x(seconds_of(((index + 1) * FRAME) as u64));
            let y = bottom - f64::from(*probability) * CURVE;
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
        }
        draw!(self, r#"<path d="{path}" stroke="{NEAR}" class="wave"/>"#);
        self.y += CURVE + 12.0;
    }

    fn bars(&mut self, name: &str, colour: &str, stretches: &[Stretch]) {
        let y = self.y;
        self.name(name, y + 11.0);
        let mut free_from = 0.0;
        for stretch in stretches {
            let (from, to) = (self.x(stretch.start), self.x(stretch.end));
            let width = (to - from).max(2.0);
            draw!(
                self,
                r#"<rect x="{from:.1}" y="{y:.1}" width="{width:.1}" height="12" rx="3" fill="{colour}"/>"#
            );
            if from < free_from {
                continue;
            }
            free_from = from + stretch.name.chars().count() as f64 * LETTER + 8.0;
            let below = y + 25.0;
            draw!(
                self,
                r#"<text x="{from:.1}" y="{below:.1}" fill="{colour}">{}</text>"#,
                escape(&stretch.name)
            );
        }
        self.y += 42.0;
    }

    /// A tick per event where it was reported, its label in the first free row.
    fn events(&mut self, events: &[(Event, String)]) {
        let top = self.y;
        self.name("reported", top + 12.0);
        let mut rows: Vec<f64> = Vec::new();
        for (event, label) in events.iter().filter(|(event, _)| in_lane(&event.kind)) {
            let x = self.x(seconds_of(event.at));
            let colour = colour(&event.kind);
            let width = label.chars().count() as f64 * LETTER;
            let flipped = x + width + 8.0 > WIDTH;
            let left = if flipped { x - width - 8.0 } else { x };
            let free = rows.iter().position(|end| *end <= left);
            let row = free.unwrap_or(rows.len());
            if row >= ROWS {
                draw!(self, r#"<path d="M{x:.1} {top:.1}v6" stroke="{colour}"/>"#);
                continue;
            }
            rows.resize(rows.len().max(row + 1), 0.0);
            rows[row] = left + width + 10.0;
            let y = top + 12.0 + row as f64 * ROW;
            let (anchor, at) = if flipped {
                ("end", x - 4.0)
            } else {
                ("start", x + 4.0)
            };
            draw!(
                self,
                r#"<path d="M{x:.1} {top:.1}V{:.1}" stroke="{colour}" class="tick"/><text x="{at:.1}" y="{y:.1}" fill="{colour}" text-anchor="{anchor}">{}</text>"#,
                y + 1.0,
                escape(label)
            );
        }
        self.y += rows.len().max(1) as f64 * ROW + 10.0;
    }

    /// A line through all of it.
    fn mark(&mut self, seconds: f64, label: &str, colour: &str) {
        let (x, top, bottom) = (self.x(seconds), TOP - 6.0, self.y);
        draw!(
            self,
            r#"<path d="M{x:.1} {top:.1}V{bottom:.1}" stroke="{colour}" stroke-dasharray="5 4"/><text x="{x:.1}" y="{:.1}" fill="{colour}" text-anchor="middle">{label}</text>"#,
            top - 4.0
        );
    }

    fn finish(self, title: &str) -> String {
        let (y, right) = (self.y + 4.0, WIDTH - RIGHT);
        let mut axis = format!(r#"<path d="M{LEFT} {y:.1}H{right}" stroke="{INK}"/>"#);
        let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0];
        let fits = steps.iter().find(|&&step| self.seconds / step <= 16.0);
        let step = fits.copied().unwrap_or(7_200.0);
        let ticks = (self.seconds / step) as usize;
        for seconds in (0..=ticks).map(|tick| tick as f64 * step) {
            let x = self.x(seconds);
            let _ = write!(
                axis,
                r#"<path d="M{x:.1} {TOP}V{y:.1}" class="grid"/><text x="{x:.1}" y="{:.1}" fill="{INK}" text-anchor="middle">{seconds} s</text>"#,
                y + 18.0
            );
        }
        let height = y + 34.0;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}" font-family="sans-serif" font-size="11">
<style>.name{{text-anchor:end;fill:{INK};font-size:12px}}.wave{{fill:none;stroke-width:1}}.tick{{opacity:.45}}.grid{{stroke:{FAINT};stroke-dasharray:2 4}}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="24" font-size="15" fill="{INK}">{}</text>
{axis}
{}</svg>
"##,
            escape(title),
            self.body
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
