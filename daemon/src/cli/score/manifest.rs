//! `manifest.csv`: recordings with labels, one row a file, columns by name.
//!
//! It reads RFC 4180 tables and answers for columns; an absent column is an
//! empty one. What a row is good for is decided by the tables. Called by `score`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::recording::{Raw, Side};

/// A span of time in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) start: f64,
    pub(super) end: f64,
}

impl Span {
    pub(super) fn holds(&self, seconds: f64) -> bool {
        (self.start..self.end).contains(&seconds)
    }

    /// The same span, longer at both ends.
    pub(super) fn widened(&self, before: f64, after: f64) -> Self {
        Self {
            start: self.start - before,
            end: self.end + after,
        }
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Speech labelled frame by frame.
    Frames,
    /// Utterances with gaps.
    Turns,
    /// Turns with pauses inside them.
    TurnEnds,
    /// Nobody speaks.
    NoSpeech,
    /// Our own prompt comes back.
    Echo,
    /// A call that was answered, or a tone.
    Answer,
    /// Speech without any label: nothing may be taken for a signal in it.
    Unlabelled,
}

/// One recording.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    fields: HashMap<String, String>,
    folder: PathBuf,
}

impl Row {
    /// A column, empty if there is none.
    pub(super) fn text(&self, column: &str) -> &str {
        self.fields.get(column).map_or("", String::as_str)
    }

    /// A column as a number.
    pub(super) fn number(&self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }

    /// The file it is about.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(self.text("file"))
    }

    /// Which side is heard, where a column `near` says so.
    ///
    /// # Errors
    /// It says something else.
    pub(super) fn near(&self) -> Result<Option<Side>, String> {
        self.choice("near", "first, left, second or right")
    }

    /// What a file without a header is, where a column `raw` says so.
    ///
    /// # Errors
    /// It says something else.
    pub(super) fn raw(&self) -> Result<Option<Raw>, String> {
        self.choice("raw", "ulaw or alaw")
    }

    fn choice<T: clap::ValueEnum>(&self, column: &str, known: &str) -> Result<Option<T>, String> {
        match self.text(column) {
            "" => Ok(None),
            text => T::from_str(text, true).map(Some).map_err(|_| {
                let shown = self.path();
                format!("{}: {column} \"{text}\"; write {known}", shown.display())
            }),
        }
    }

    /// What we played meanwhile.
    pub(super) fn far(&self) -> Option<PathBuf> {
        let far = self.text("far");
        (!far.is_empty()).then(|| self.folder.join(far))
    }

    /// Spans of speech: `0.4-1.2;1.4-2.5`.
    pub(super) fn speech(&self) -> Vec<Span> {
        spans(self.text("speech"))
    }

    /// Spans with a word before each, `mhm:1.2-1.5;okay:3-3.4`.
    pub(super) fn backchannels(&self) -> Vec<Span> {
        spans(self.text("backchannel"))
    }

    pub(super) fn set(&self) -> Set {
        match self.text("set") {
            "ten" => Set::Frames,
            "turns" => Set::Turns,
            "turn_ends" => Set::TurnEnds,
            "nospeech" => Set::NoSpeech,
            "echo" => Set::Echo,
            _ if !self.text("label").is_empty() => Set::Answer,
            _ if self.far().is_some() => Set::Echo,
            _ if !self.text("speech").is_empty() => Set::Turns,
            _ if self.fields.contains_key("speech") => Set::NoSpeech,
            _ => Set::Unlabelled,
        }
    }
}

fn spans(text: &str) -> Vec<Span> {
    let span = |part: &str| {
        let times = part.rsplit(':').next()?;
        let (start, end) = times.split_once('-')?;
        Some(Span {
            start: start.trim().parse().ok()?,
            end: end.trim().parse().ok()?,
        })
    };
    text.split(';').filter_map(span).collect()
}

/// Reads the rows of a manifest.
///
/// # Errors
/// It cannot be read, has no column `file`, or a row of another length.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    // Spreadsheets write a byte order mark (RFC 3629 §6).
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = records(text).into_iter();
    let header = lines.next().unwrap_or_default();
    if !header.iter().any(|name| name == "file") {
        let shown = path.display();
        return Err(format!("{shown}:1: no column \"file\" in the first line"));
    }
    let mut rows = Vec::new();
    for (index, record) in lines.enumerate() {
        if record.len() != header.len() {
            return Err(format!(
                "{}: row {}: {} fields; the first line names {}",
                path.display(),
                index + 2,
                record.len(),
                header.len()
            ));
        }
        rows.push(Row {
            fields: header.iter().cloned().zip(record).collect(),
            folder: folder.clone(),
        });
    }
    Ok(rows)
}

/// Records and fields of RFC 4180 §2: commas, quotes doubled within quotes.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                all.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        all.push(record);
    }
    all.retain(|record| record.iter().any(|field| !field.is_empty()));
    all
}

/// Rows of a table that is no file.
#[cfg(test)]
pub(super) fn rows_of(text: &str) -> Vec<Row> {
    let mut lines = records(text).into_iter();
    let header = lines.next().expect("a first line");
    let row = |record| Row {
        fields: header.iter().cloned().zip(record).collect(),
        folder: PathBuf::new(),
    };
    lines.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_commas_and_line_ends_within_quotes_are_text() {
        let read = records("file,note\r\na.wav,\"one, \"\"two\"\"\nthree\"\nb.wav,\n");
        assert_eq!(read[1], ["a.wav", "one, \"two\"\nthree"]);
        assert_eq!(read[2], ["b.wav", ""]);
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn spans_may_have_words_and_nonsense_is_none() {
        let read = spans("mhm:1.5-2;3-4.25;x;5-");
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].start, read[1].end), (1.5, 4.25));
    }

    #[test]
    fn a_short_row_is_named_by_its_number_and_a_byte_order_mark_is_nothing() {
        let folder = std::env::temp_dir().join(format!("offhook-manifest-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temp dir");
        let path = folder.join("manifest.csv");
        let marked = "\u{feff}file,label,near\na.wav,human,Right\nb.wav,,middle\n";
        std::fs::write(&path, marked).expect("temp dir");
        let rows = read(&path).expect("the mark is no part of the first name");
        assert_eq!(rows[0].path(), folder.join("a.wav"));
        assert_eq!(rows[0].near(), Ok(Some(Side::Second)));
        assert_eq!(rows[0].raw(), Ok(None));
        let error = rows[1].near().expect_err("no side");
        assert!(
            error.contains("b.wav: near \"middle\"; write first"),
            "{error}"
        );
        std::fs::write(&path, "file,label\na.wav,human\nb.wav\n").expect("temp dir");
        let error = read(&path).expect_err("two fields are wanted");
        assert!(
            error.ends_with("row 3: 1 fields; the first line names 2"),
            "{error}"
        );
        let _ = std::fs::remove_dir_all(folder);
    }
}
