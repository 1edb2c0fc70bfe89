//! `offhook check`: would a start accept this config, on this machine?

use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use offhook_config::Located;
use serde_json::{Value, json};

use super::{COULD_NOT, Common, NO, OK, complain, print, print_json};
use crate::settings::{INSTALLED, LoadError, Settings};

pub(super) fn run(common: &Common) -> u8 {
    let file = common.config.clone();
    let file = file.unwrap_or_else(|| PathBuf::from(INSTALLED));
    match check(&file, common.socket.as_deref()) {
        Ok(report) => {
            if common.json {
                print_json(&report.json());
            } else {
                print(&report.text());
            }
            if report.faults.is_empty() { OK } else { NO }
        }
        Err(reason) => {
            complain(&reason);
            COULD_NOT
        }
    }
}

struct Report {
    file: PathBuf,
    faults: Vec<Located>,
    notes: Vec<Located>,
    summary: String,
}

fn check(file: &Path, socket: Option<&Path>) -> Result<Report, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let mut report = Report {
        file: file.to_owned(),
        faults: Vec::new(),
        notes: Vec::new(),
        summary: String::new(),
    };
    match Settings::parse(file, &text) {
        Ok(settings) => {
            let socket = socket.unwrap_or(&settings.socket);
            let running = UnixStream::connect(socket).is_ok();
            report.faults = settings.obstacles(&text, running);
            report.summary = summary(&settings);
            report.notes = settings.notes;
        }
        Err(LoadError::Wrong(faults)) => report.faults = faults,
        Err(LoadError::Unreadable { error, .. }) => return Err(error.to_string()),
    }
    Ok(report)
}

fn summary(settings: &Settings) -> String {
    format!(
        "{}, {}, {}, up to {}",
        count(settings.sip.listen.len(), "listener"),
        count(settings.trunks.len(), "trunk"),
        count(settings.routes.len(), "route"),
        count(settings.media.max_calls, "call"),
    )
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for fault in &self.faults {
            writeln!(text, "{fault}").expect("a String takes all");
        }
        for note in &self.notes {
            writeln!(text, "{note} (note)").expect("a String takes all");
        }
        let file = self.file.display();
        match self.faults.len() {
            0 => writeln!(text, "{file}: ok: {}", self.summary),
            faults => writeln!(text, "{file}: {}", count(faults, "fault")),
        }
        .expect("a String takes all");
        text
    }

    fn json(&self) -> Value {
        let list = |list: &[Located]| list.iter().map(located).collect::<Vec<Value>>();
        json!({
            "config": self.file,
            "ok": self.faults.is_empty(),
            "faults": list(&self.faults),
            "notes": list(&self.notes),
        })
    }
}

fn located(fault: &Located) -> Value {
    json!({
        "file": fault.file,
        "line": fault.line,
        "column": fault.column,
        "key": fault.key,
        "reason": fault.reason,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn report_of(text: &str) -> Report {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let file = std::env::temp_dir().join(format!(
            "offhook-check-{}-{}.toml",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::write(&file, text).unwrap();
        let report = check(&file, None).unwrap();
        std::fs::remove_file(file).unwrap();
        report
    }

    #[test]
    fn all_faults_are_printed_one_a_line_and_counted() {
        let report = report_of("nonsense = 1\n[media]\nmax_calls = 0\n");
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains(":1:1: nonsense: unknown field"), "{text}");
        assert!(
            lines[1].contains(":3:13: media.max_calls: must be from 1"),
            "{text}"
        );
        assert!(lines[2].ends_with(": 2 faults"), "{text}");
        let json = report.json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["faults"][1]["line"], 3);
        assert_eq!(json["faults"][1]["key"], "media.max_calls");
    }

    #[test]
    fn a_right_config_is_summed_up() {
        let report = report_of("[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n");
        let text = report.text();
        assert!(
            text.contains(": ok: 1 listener, 0 trunks, 0 routes"),
            "{text}"
        );
        assert_eq!(report.json()["ok"], true);
    }

    #[test]
    fn a_file_that_is_not_there_could_not_be_checked() {
        let common = Common {
            config: Some("/nowhere/offhook.toml".into()),
            ..Common::default()
        };
        assert_eq!(run(&common), COULD_NOT);
    }
}
