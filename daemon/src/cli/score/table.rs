//! A table of figures, for people and for scripts.
//!
//! Cells know what they are; how they are shown is decided here. Called by `score`.

use serde_json::{Value, json};

use super::super::text;
use super::figure::{Rate, Share, percentile};

/// One cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    /// k/n with its interval.
    Share(Share),
    /// So many in so many minutes, with its interval.
    Rate(Rate),
    /// A figure with this many digits; `None` when nothing was measured.
    Number(Option<f64>, usize),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Milliseconds below which this share of some seconds lies.
    pub(super) fn percentile_ms(seconds: &[f64], share: f64) -> Self {
        Self::Number(percentile(seconds, share).map(|value| value * 1_000.0), 0)
    }

    /// How many a minute.
    pub(super) fn per_minute(count: usize, seconds: f64) -> Self {
        Self::Rate(Rate {
            count,
            minutes: seconds / 60.0,
        })
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Share(share) => match (share.value(), share.interval()) {
                (Some(value), Some((low, high))) => {
                    format!("{}/{} {value:.3} [{low:.2}, {high:.2}]", share.k, share.n)
                }
                _ => "-".to_owned(),
            },
            Self::Rate(rate) => match (rate.value(), rate.interval()) {
                (Some(value), Some((low, high))) => {
                    let Rate { count, minutes } = rate;
                    format!("{count}/{minutes:.1} min {value:.2} [{low:.2}, {high:.2}]")
                }
                _ => "-".to_owned(),
            },
            Self::Number(Some(value), digits) => format!("{value:.digits$}"),
            Self::Number(None, _) => "-".to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Share(share) => {
                let interval = share.interval().map(|(low, high)| [low, high]);
                json!({"k": share.k, "n": share.n, "share": share.value(), "interval": interval})
            }
            Self::Rate(rate) => {
                let interval = rate.interval().map(|(low, high)| [low, high]);
                json!({"count": rate.count, "minutes": rate.minutes, "rate": rate.value(), "interval": interval})
            }
            Self::Number(value, _) => json!(value),
        }
    }
}

/// Rows under named columns.
#[derive(Clone, Debug)]
pub(super) struct Table {
    title: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    files: bool,
}

impl Table {
    pub(super) fn new(title: &'static str, columns: &[&'static str]) -> Self {
        Self {
            title,
            columns: columns.to_vec(),
            rows: Vec::new(),
            files: false,
        }
    }

    /// A table that names files; shown on request only.
    pub(super) fn of_files(title: &'static str, columns: &[&'static str]) -> Self {
        Self {
            files: true,
            ..Self::new(title, columns)
        }
    }

    pub(super) fn lists_files(&self) -> bool {
        self.files
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The rows of another table of the same columns, under a line of its own if it has one.
    pub(super) fn append(&mut self, line: &str, other: Self) {
        if !line.is_empty() {
            self.rows.push(vec![Cell::text(line)]);
        }
        self.rows.extend(other.rows);
    }

    /// Nothing without rows.
    pub(super) fn if_any(self) -> Option<Self> {
        (!self.rows.is_empty()).then_some(self)
    }

    pub(super) fn to_text(&self) -> String {
        let header = self.columns.iter().map(|&name| name.to_owned()).collect();
        let rows = self.rows.iter();
        let cells = rows.map(|row| row.iter().map(Cell::shown).collect());
        let all: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
        format!("{}\n{}\n", self.title, text::table(&all, &[]))
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |cells: &Vec<Cell>| -> Value {
            let named = self.columns.iter().zip(cells);
            Value::Object(
                named
                    .map(|(&name, cell)| (name.to_owned(), cell.to_json()))
                    .collect(),
            )
        };
        json!({"table": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}
