//! One call as an SVG: both audio tracks, speech, barge-in, prompts and
//! decisions on one time axis.

use std::fmt::Write as _;

use serde_json::Value;

use crate::sound::Sound;

const LEFT: f64 = 120.0;
const WIDTH: f64 = 1360.0;
const TRACK: f64 = 110.0;
const ROW: f64 = 16.0;
/// Rows of labels a lane may grow to; what does not fit has no label.
const ROWS: usize = 6;
/// Width of a letter of the labels, generously.
const LETTER: f64 = 6.6;

/// A picture in the making.
struct Page {
    svg: String,
    span_ms: f64,
    y: f64,
}

/// Draws a call from what `offhook call ID --json` says and its recording (left
/// the caller, right we).
pub fn draw(title: &str, detail: &Value, sound: &Sound) -> String {
    let empty = Vec::new();
    let events = detail["timeline"].as_array().unwrap_or(&empty);
    let starts_ms = detail["recording"]["starts_ms"].as_f64().unwrap_or(0.0);
    let last_ms = events
        .iter()
        .filter_map(|e| e["ms"].as_f64())
        .fold(0.0, f64::max);
    let span_ms = last_ms.max(starts_ms + sound.seconds() * 1000.0) + 200.0;
    let mut page = Page {
        svg: String::new(),
        span_ms,
        y: 50.0,
    };
    page.track("caller", "#1f6f8b", &sound.channels[0], starts_ms);
    page.bars(
        "speech",
        "#1f6f8b",
        &spans(events, "speech_start", &["speech_end"], span_ms),
    );
    page.track("Offhook", "#8b5a1f", &sound.channels[1], starts_ms);
    page.bars(
        "prompt",
        "#8b5a1f",
        &spans(events, "play", &["played", "cut"], span_ms),
    );
    for lane in ["signalling", "perception", "decision", "action"] {
        page.lane(lane, events);
    }
    page.barge_ins(events);
    page.axis();
    page.finish(title)
}

/// From each `begin` to the next of `ends`.
fn spans(events: &[Value], begin: &str, ends: &[&str], span_ms: f64) -> Vec<(f64, f64)> {
    let (mut found, mut open) = (Vec::new(), None);
    for event in events {
        let (name, ms) = (
            event["event"].as_str().unwrap_or(""),
            event["ms"].as_f64().unwrap_or(0.0),
        );
        if name == begin {
            open = open.or(Some(ms));
        } else if ends.contains(&name) {
            found.extend(open.take().map(|from| (from, ms)));
        }
    }
    found.extend(open.map(|from| (from, span_ms)));
    found
}

impl Page {
    fn x(&self, ms: f64) -> f64 {
        LEFT + ms / self.span_ms * (WIDTH - LEFT - 20.0)
    }

    fn name(&mut self, name: &str, middle: f64) {
        let _ = writeln!(
            self.svg,
            r#"<text x="10" y="{middle:.0}" class="name">{name}</text>"#
        );
    }

    fn track(&mut self, name: &str, colour: &str, samples: &[i16], starts_ms: f64) {
        let middle = self.y + TRACK / 2.0;
        self.name(name, middle + 4.0);
        let columns = (WIDTH - LEFT - 20.0) as usize;
        let mut path = String::new();
        for column in 0..columns {
            let at = |c: usize| {
                let ms = c as f64 / columns as f64 * self.span_ms - starts_ms;
                ((ms * 8.0).max(0.0) as usize).min(samples.len())
            };
            let part = &samples[at(column)..at(column + 1)];
            if let (Some(low), Some(high)) = (part.iter().min(), part.iter().max()) {
                let y = |s: i16| middle - f64::from(s) / 32_768.0 * TRACK * 0.9;
                let x = LEFT + column as f64;
                let _ = write!(path, "M{x:.0} {:.1}V{:.1}", y(*low) + 0.3, y(*high) - 0.3);
            }
        }
        let _ = writeln!(
            self.svg,
            r#"<path d="{path}" stroke="{colour}" fill="none"/>"#
        );
        self.y += TRACK;
    }

    fn bars(&mut self, name: &str, colour: &str, spans: &[(f64, f64)]) {
        let y = self.y;
        self.name(name, y + 10.0);
        for (from, to) in spans {
            let (x, width) = (self.x(*from), self.x(*to) - self.x(*from));
            let _ = writeln!(
                self.svg,
                r#"<rect x="{x:.1}" y="{y:.0}" width="{width:.1}" height="10" rx="3" fill="{colour}" opacity=".55"/>"#
            );
        }
        self.y += 26.0;
    }

    fn lane(&mut self, lane: &str, events: &[Value]) {
        let mine = events.iter().filter(|event| event["lane"] == lane);
        let (top, mut ends) = (self.y, Vec::new());
        self.name(lane, top + 12.0);
        for event in mine {
            let x = self.x(event["ms"].as_f64().unwrap_or(0.0));
            let text = label(event);
            let right = x + 8.0 + text.chars().count() as f64 * LETTER;
            let free = ends.iter().position(|end| *end < x).unwrap_or(ends.len());
            if free >= ROWS {
                continue;
            }
            ends.resize(ends.len().max(free + 1), 0.0);
            ends[free] = right;
            let y = top + 12.0 + free as f64 * ROW;
            let refused = event["event"] == "refused";
            let class = if refused { "no" } else { "yes" };
            let _ = writeln!(
                self.svg,
                r#"<path d="M{x:.1} {top:.0}V{y:.0}" class="tick"/><text x="{:.1}" y="{y:.0}" class="{class}">{text}</text>"#,
                x + 3.0
            );
        }
        self.y += ROW * ends.len().max(1) as f64 + 14.0;
    }

    fn barge_ins(&mut self, events: &[Value]) {
        for event in events.iter().filter(|event| event["event"] == "barge_in") {
            let (x, y) = (self.x(event["ms"].as_f64().unwrap_or(0.0)), self.y);
            let _ = writeln!(
                self.svg,
                r##"<path d="M{x:.1} 44V{y:.0}" stroke="#c0392b" stroke-dasharray="5 3"/><text x="{:.1}" y="40" fill="#c0392b">barge_in</text>"##,
                x - 24.0
            );
        }
    }

    fn axis(&mut self) {
        let y = self.y + 6.0;
        let right = WIDTH - 20.0;
        let _ = writeln!(
            self.svg,
            r#"<path d="M{LEFT} {y:.0}H{right}" class="tick"/>"#
        );
        let step = if self.span_ms > 30_000.0 { 5000 } else { 1000 };
        for ms in (0..=self.span_ms as u64).step_by(step) {
            let x = self.x(ms as f64);
            let seconds = ms / 1000;
            let _ = writeln!(
                self.svg,
                r#"<path d="M{x:.1} {y:.0}v5" class="tick"/><text x="{:.1}" y="{:.0}">{seconds} s</text>"#,
                x - 8.0,
                y + 18.0
            );
        }
        self.y = y + 34.0;
    }

    fn finish(self, title: &str) -> String {
        let (height, body) = (self.y, self.svg);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH} {height:.0}\">\n<style>text{{font:11px sans-serif;fill:#333}}\
             .name{{font-weight:bold}}.no{{fill:#c0392b}}.yes{{fill:#222}}\
             .tick{{stroke:#bbb;fill:none}}.title{{font:15px sans-serif}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"10\" y=\"22\" class=\"title\">{}</text>\n{body}</svg>\n",
            escape(title)
        )
    }
}

fn label(event: &Value) -> String {
    let name = event["event"].as_str().unwrap_or("");
    let detail: String = event["detail"]
        .as_str()
        .unwrap_or("")
        .chars()
        .take(28)
        .collect();
    escape(format!("{name} {detail}").trim_end())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_drawn_with_both_tracks_and_its_barge_in() {
        let sound = Sound {
            rate: 8000,
            channels: vec![vec![9000; 8000], vec![-9000; 8000]],
        };
        let detail = json!({"recording": {"starts_ms": 100}, "timeline": [
            {"ms": 100, "lane": "perception", "event": "speech_start"},
            {"ms": 150, "lane": "perception", "event": "barge_in", "detail": "turn <1>"},
            {"ms": 700, "lane": "decision", "event": "refused", "detail": "schedule"},
        ]});
        let svg = draw("call (a)", &detail, &sound);
        assert_eq!(svg.matches(" stroke=\"#c0392b\"").count(), 1);
        assert!(svg.contains("turn &lt;1&gt;"));
        assert!(svg.contains("class=\"no\">refused schedule"));
        assert_eq!(
            svg.matches("<rect").count(),
            2,
            "the page and one span of speech"
        );
    }
}
