//! `offhook lead import|show|forget|merge`: the people behind calls.
//!
//! It reads files and shows; what a record means is decided by the daemon.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use offhook_core::memory::{Source, Transition};

use super::ask::{Trouble, asking};
use super::{Common, NO, OK, complain, print, print_json};
use crate::control::client::{Client, path_step};
use crate::control::people::{Erased, IMPORT_ROWS, ImportOrder, ImportReport, MergeOrder};
use crate::leads::{LeadView, Record, Rejected};
use crate::upstream::event::rfc3339;

/// Bytes of one line of JSON.
const LINE_MAX: usize = 64 * 1024;
/// Bad rows that are named; the rest is counted.
const NAMED_MAX: usize = 1_000;

/// Who people are and what is known of them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LeadArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    Import(ImportArgs),
    /// All that is known of a lead, and since when.
    Show {
        /// Its id, a number, or the id in another system.
        lead: String,
    },
    /// Delete all that is known of a person, what was said, and the recordings.
    /// The audit chain stays whole; their calls cannot be replayed any more.
    Forget {
        /// Its id, a number, or the id in another system.
        lead: String,
    },
    /// Two leads are one person: the first becomes part of the second.
    Merge {
        /// This one,
        from: String,
        /// becomes part of that one.
        into: String,
    },
}

/// Take leads in from a file. Bad rows are named, good ones kept; importing the
/// same file again adds nothing. Columns: `number`, `id`, `name`, `consent`,
/// `opt_out`, `TOPIC.NAME` (as `preference.time`), or the name of an answer.
/// Exit code 1: some rows were not taken.
#[derive(Clone, Debug, clap::Args)]
struct ImportArgs {
    /// A `.csv` with a header line, or a `.jsonl` with one object a line.
    file: PathBuf,
    /// Numbers are written as in this country: `DE`, `US`.
    #[arg(long, value_name = "COUNTRY")]
    country: Option<String>,
    /// Numbers are written as this trunk has them; the outbound one when left out.
    #[arg(long, value_name = "NAME", conflicts_with = "country")]
    trunk: Option<String>,
}

pub(super) fn run(common: &Common, arguments: &LeadArgs) -> u8 {
    asking(common, async |client| match &arguments.what {
        What::Import(verb) => import(common, &client, verb).await,
        What::Show { lead } => {
            let view: LeadView = client.get(&lead_path(lead)).await?;
            show(common, &view);
            Ok(OK)
        }
        What::Forget { lead } => {
            let erased: Erased = client.delete(&lead_path(lead)).await?;
            if common.json {
                print_json(&erased);
            } else {
                print(&format!(
                    "lead {} is forgotten: {} conversations cannot be replayed any more, {} recordings deleted; the audit chain is whole\n",
                    erased.lead,
                    erased.conversations.len(),
                    erased.recordings
                ));
            }
            Ok(OK)
        }
        What::Merge { from, into } => {
            let order = MergeOrder {
                from: from.clone(),
                into: into.clone(),
            };
            let view: LeadView = client.post("/v1/leads/merge", &order).await?;
            show(common, &view);
            Ok(OK)
        }
    })
}

fn lead_path(lead: &str) -> String {
    format!("/v1/leads/{}", path_step(lead))
}

async fn import(common: &Common, client: &Client, arguments: &ImportArgs) -> Result<u8, Trouble> {
    let unreadable =
        |error: std::io::Error| Trouble::CouldNot(format!("{}: {error}", arguments.file.display()));
    let file = File::open(&arguments.file).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let bar = progress(common, length);
    let counted = bar.wrap_read(file);
    let mut rows = rows(&arguments.file, counted)?;
    let mut report = ImportReport::default();
    loop {
        let mut order = ImportOrder {
            country: arguments.country.clone(),
            trunk: arguments.trunk.clone(),
            rows: Vec::new(),
        };
        let mut more = true;
        while more && order.rows.len() < IMPORT_ROWS {
            match rows.next() {
                None => more = false,
                Some(Ok(record)) => order.rows.push(record),
                Some(Err(rejected)) => report.rejected.push(rejected),
            }
        }
        if !order.rows.is_empty() {
            let answer = client.post("/v1/leads", &order).await;
            report.add(answer.inspect_err(|_| bar.abandon())?);
        }
        if !more {
            break;
        }
    }
    bar.finish_and_clear();
    report.rejected.sort_by_key(|rejected| rejected.line);
    tell(common, &arguments.file, &report);
    Ok(if report.rejected.is_empty() { OK } else { NO })
}

/// A bar on a terminal, nothing elsewhere.
fn progress(common: &Common, length: u64) -> ProgressBar {
    if common.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn tell(common: &Common, file: &Path, report: &ImportReport) {
    if common.json {
        return print_json(report);
    }
    for rejected in report.rejected.iter().take(NAMED_MAX) {
        complain(&format!(
            "{}:{}: {}",
            file.display(),
            rejected.line,
            rejected.reason
        ));
    }
    if report.rejected.len() > NAMED_MAX {
        complain(&format!("and {} more", report.rejected.len() - NAMED_MAX));
    }
    print(&format!(
        "{} new, {} changed, {} unchanged, {} merged, {} not taken\n",
        report.new,
        report.changed,
        report.unchanged,
        report.merged,
        report.rejected.len()
    ));
}

pub(super) type Rows<'r> = Box<dyn Iterator<Item = Result<Record, Rejected>> + 'r>;

/// The records of a file by its name's end.
pub(super) fn rows<'r>(file: &Path, reader: impl Read + 'r) -> Result<Rows<'r>, Trouble> {
    let end = file.extension().and_then(|end| end.to_str());
    match end.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => csv_rows(reader)
            .map_err(|reason| Trouble::No(format!("{}:1: {reason}", file.display()))),
        Some("jsonl" | "ndjson") => Ok(json_rows(reader)),
        _ => Err(Trouble::CouldNot(format!(
            "{}: not known what that is; name it .csv or .jsonl",
            file.display()
        ))),
    }
}

/// Rows of a CSV file (RFC 4180), with or without byte order mark, with any
/// line ends; separated by commas, or by semicolons where the header has those.
fn csv_rows<'r>(reader: impl Read + 'r) -> Result<Rows<'r>, String> {
    let mut reader = BufReader::new(reader);
    let start = reader.fill_buf().map_err(|error| error.to_string())?;
    if start.starts_with(&[0xef, 0xbb, 0xbf]) {
        reader.consume(3);
    }
    let start = reader.fill_buf().map_err(|error| error.to_string())?;
    let first = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let count = |wanted: u8| first.iter().filter(|byte| **byte == wanted).count();
    let delimiter = match count(b';') > count(b',') {
        true => b';',
        false => b',',
    };
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        // Lines are counted at their `\n`; a `\r` before it is space like any other.
        .terminator(csv::Terminator::Any(b'\n'))
        .delimiter(delimiter)
        .from_reader(reader);
    let header = reader.byte_headers().map_err(|error| error.to_string())?;
    let mut columns = Vec::new();
    for column in header {
        let column = std::str::from_utf8(column).map_err(|_| "the header is no UTF-8")?;
        columns.push(column.trim().to_owned());
    }
    let identifies = |column: &String| matches!(column.as_str(), "number" | "phone" | "id");
    if !columns.iter().any(identifies) {
        return Err("the header names neither `number` nor `id`".to_owned());
    }
    let blank = |record: &csv::ByteRecord| record.iter().all(|field| field.trim_ascii().is_empty());
    let records = reader.into_byte_records();
    let records = records.filter(move |record| !record.as_ref().is_ok_and(blank));
    Ok(Box::new(records.map(move |record| match record {
        Ok(record) => csv_record(&columns, &record),
        Err(error) => Err(Rejected {
            line: error.position().map_or(0, csv::Position::line),
            reason: error.to_string(),
        }),
    })))
}

fn csv_record(columns: &[String], record: &csv::ByteRecord) -> Result<Record, Rejected> {
    let line = record.position().map_or(0, csv::Position::line);
    let rejected = |reason: String| Rejected { line, reason };
    if record.len() > columns.len() {
        let reason = format!("{} fields, the header has {}", record.len(), columns.len());
        return Err(rejected(reason));
    }
    let mut fields = BTreeMap::new();
    for (column, value) in columns.iter().zip(record) {
        let value = std::str::from_utf8(value)
            .map_err(|_| rejected(format!("`{column}` is no UTF-8: save the file as UTF-8")))?;
        if !value.trim().is_empty() {
            fields.insert(column.clone(), value.trim().to_owned());
        }
    }
    Ok(Record { line, fields })
}

fn json_rows<'r>(reader: impl Read + 'r) -> Rows<'r> {
    let mut reader = BufReader::new(reader);
    let mut number = 0;
    Box::new(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            let limited = (&mut reader).take(LINE_MAX as u64 + 1);
            let read = { limited }.read_until(b'\n', &mut line);
            number += 1;
            let rejected = |reason: String| {
                Some(Err(Rejected {
                    line: number,
                    reason,
                }))
            };
            match read {
                Ok(0) => return None,
                Err(error) => return rejected(error.to_string()),
                Ok(_) if line.len() > LINE_MAX => {
                    // The rest of it is the same line.
                    let mut rest = Vec::new();
                    while !line.ends_with(b"\n") {
                        rest.clear();
                        let limited = (&mut reader).take(LINE_MAX as u64);
                        match { limited }.read_until(b'\n', &mut rest) {
                            Ok(0) | Err(_) => break,
                            Ok(_) => line.clone_from(&rest),
                        }
                    }
                    return rejected(format!("longer than {LINE_MAX} bytes"));
                }
                Ok(_) => {}
            }
            let text = line.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&line);
            if !text.trim_ascii().is_empty() {
                return Some(json_record(number, text));
            }
        }
    }))
}

fn json_record(line: u64, text: &[u8]) -> Result<Record, Rejected> {
    let rejected = |reason: String| Rejected { line, reason };
    let value: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(text).map_err(|error| rejected(error.to_string()))?;
    let mut fields = BTreeMap::new();
    for (name, value) in value {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::String(text) => text,
            serde_json::Value::Bool(yes) => if yes { "yes" } else { "no" }.to_owned(),
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                return Err(rejected(format!("`{name}` is no text")));
            }
        };
        fields.insert(name, text);
    }
    Ok(Record { line, fields })
}

fn show(common: &Common, view: &LeadView) {
    if common.json {
        return print_json(view);
    }
    let mut text = format!("lead {}", view.id);
    if !view.known_by.is_empty() {
        text.push_str(&format!(", {}", view.known_by.join(", ")));
    }
    if view.do_not_call {
        text.push_str(", DO NOT CALL");
    }
    text.push_str(&format!("\n{} attempts in 24 h", view.contacts_24h));
    if !view.absorbed.is_empty() {
        text.push_str(&format!(", also known as {}", view.absorbed.join(" ")));
    }
    text.push('\n');
    let holds: Vec<&Transition> = view.holding.iter().collect();
    for known in &view.history {
        let now = if holds.contains(&known) {
            "now "
        } else {
            "was "
        };
        text.push_str(&format!("{now} {}\n", line(known)));
    }
    if view.spent > 0 {
        text.push_str(&format!("{} points spent\n", view.spent));
    }
    for call in &view.conversations {
        text.push_str(&format!("call {call}\n"));
    }
    print(&text);
}

fn line(known: &Transition) -> String {
    let source = match &known.source {
        Source::Call(call) => format!("call {call}"),
        Source::Import => "import".to_owned(),
        Source::Event(id) => format!("event {id}"),
        Source::Operator => "operator".to_owned(),
    };
    format!(
        "{}  {:10} {} = {}  ({source}, {} %)",
        rfc3339(known.at_ms),
        known.topic.name(),
        known.name,
        known.value.as_deref().unwrap_or("(no longer)"),
        known.confidence
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Vec<Result<(u64, Vec<(String, String)>), (u64, String)>>;

    fn read(name: &str, bytes: &[u8]) -> Found {
        let rows = rows(Path::new(name), bytes).unwrap_or_else(|_| panic!("the header is good"));
        let row = |row: Result<Record, Rejected>| match row {
            Ok(record) => Ok((record.line, record.fields.into_iter().collect())),
            Err(rejected) => Err((rejected.line, rejected.reason)),
        };
        rows.map(row).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn a_table_as_offices_write_it_is_read() {
        let bytes = b"\xef\xbb\xbfnumber;name;slot\r\n030 1;\"Ada; \"\"A\"\"\";tue\r\n\r\n030 2;\"two\nlines\"\r\n";
        assert_eq!(
            read("x.csv", bytes),
            [
                Ok((
                    2,
                    pairs(&[("name", "Ada; \"A\""), ("number", "030 1"), ("slot", "tue")])
                )),
                Ok((4, pairs(&[("name", "two\nlines"), ("number", "030 2")]))),
            ]
        );
    }

    #[test]
    fn bad_rows_are_named_by_line_and_the_others_are_kept() {
        let rows = read("x.csv", b"id,name\n1,A\n2,B,C\n3,\xff\n4,D\n");
        let lines: Vec<Result<u64, u64>> = rows
            .iter()
            .map(|row| row.as_ref().map(|row| row.0).map_err(|row| row.0))
            .collect();
        assert_eq!(lines, [Ok(2), Err(3), Err(4), Ok(5)]);
        let long = format!(
            "{{\"id\": \"{}\"}}\n{{\"id\": 7, \"opt_out\": true}}\n[]\n",
            "x".repeat(200_000)
        );
        let rows = read("x.jsonl", long.as_bytes());
        assert!(matches!(&rows[0], Err((1, reason)) if reason.contains("longer")));
        assert_eq!(rows[1], Ok((2, pairs(&[("id", "7"), ("opt_out", "yes")]))));
        assert!(matches!(&rows[2], Err((3, _))));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_table_that_names_nobody_is_refused_whole() {
        for (name, bytes) in [
            ("x.csv", &b"name\nAda\n"[..]),
            ("x.csv", b""),
            ("x.txt", b""),
        ] {
            assert!(rows(Path::new(name), bytes).is_err(), "{name}");
        }
    }
}
