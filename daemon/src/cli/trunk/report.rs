//! What the acceptance test of a trunk found: one row for each check, as text,
//! JSON and a page of its own.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    Skipped,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skipped => "skipped",
        }
    }
}

/// One check.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    /// The header or packet that shows it.
    pub(super) shown: String,
    /// What to change.
    pub(super) advice: String,
}

/// All rows of one trunk.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) trunk: String,
    pub(super) rows: Vec<Row>,
}

impl Report {
    pub(super) fn pass(&mut self, check: &'static str, shown: impl Into<String>) {
        self.add(check, Verdict::Pass, shown.into(), String::new());
    }

    pub(super) fn fail(
        &mut self,
        check: &'static str,
        shown: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(check, Verdict::Fail, shown.into(), advice.into());
    }

    pub(super) fn skip(&mut self, check: &'static str, why: impl Into<String>) {
        self.add(check, Verdict::Skipped, why.into(), String::new());
    }

    /// Pass or fail, by what was found.
    pub(super) fn judge(
        &mut self,
        check: &'static str,
        good: bool,
        shown: impl Into<String>,
        advice: &str,
    ) {
        if good {
            self.pass(check, shown);
        } else {
            self.fail(check, shown, advice);
        }
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, shown: String, advice: String) {
        self.rows.push(Row {
            check,
            verdict,
            shown,
            advice,
        });
    }

    pub(super) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.verdict != Verdict::Fail)
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let mut out = format!("trunk {}\n", self.trunk);
        for row in &self.rows {
            let verdict = row.verdict.name();
            let _ = writeln!(out, "{verdict:<8} {:<14} {}", row.check, row.shown);
            if !row.advice.is_empty() {
                let _ = writeln!(out, "{:<8} {:<14} -> {}", "", "", row.advice);
            }
        }
        let count = |verdict| {
            self.rows
                .iter()
                .filter(|row| row.verdict == verdict)
                .count()
        };
        let _ = writeln!(
            out,
            "{} passed, {} failed, {} skipped",
            count(Verdict::Pass),
            count(Verdict::Fail),
            count(Verdict::Skipped)
        );
        out
    }

    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "check": row.check,
                "verdict": row.verdict.name().to_lowercase(),
                "shown": row.shown,
                "advice": row.advice,
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({"trunk": self.trunk, "good": self.is_good(), "checks": rows})
    }

    /// One page that needs nothing else.
    pub(super) fn html(&self) -> String {
        let name = escaped(&self.trunk);
        let mut out = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Trunk {name}</title>\n\
             <style>body{{font:15px sans-serif;max-width:60em;margin:2em auto}}\
             td{{padding:.3em .8em;border-top:1px solid #ccc;vertical-align:top}}\
             .pass{{color:#176b2c}}.fail{{color:#b00020;font-weight:bold}}.skipped{{color:#777}}\
             small{{display:block;color:#444}}</style>\n<h1>Trunk {name}</h1>\n<table>\n"
        );
        for row in &self.rows {
            let verdict = row.verdict.name().to_lowercase();
            let advice = match row.advice.as_str() {
                "" => String::new(),
                advice => format!("<small>{}</small>", escaped(advice)),
            };
            let _ = writeln!(
                out,
                "<tr><td class=\"{verdict}\">{verdict}</td><td>{}</td><td><code>{}</code>{advice}</td></tr>",
                row.check,
                escaped(&row.shown)
            );
        }
        out + "</table></html>\n"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_the_same_in_all_three_ways_and_nothing_of_a_peer_is_html() {
        let mut report = Report {
            trunk: "carrier".to_owned(),
            ..Report::default()
        };
        report.pass("dns", "192.0.2.1");
        report.fail("call", "503 <script>", "ask & see");
        report.skip("hold", "no call");
        assert!(!report.is_good());
        let text = report.text();
        assert!(
            text.contains("FAIL     call           503 <script>"),
            "{text}"
        );
        assert!(text.ends_with("1 passed, 1 failed, 1 skipped\n"), "{text}");
        assert_eq!(report.json()["checks"][1]["advice"], "ask & see");
        let html = report.html();
        assert!(html.contains("503 &lt;script&gt;") && html.contains("ask &amp; see"));
        assert!(!html.contains("<script>"));
    }
}
