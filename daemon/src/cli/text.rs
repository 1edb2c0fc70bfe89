//! Text for people: tables, times, lengths. No colours; it reads the same in a
//! terminal, a pipe and a ticket.

use std::fmt::Write as _;

/// Columns side by side, each as wide as its widest cell; those in `right` are
/// aligned to the right.
pub(super) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if right.contains(&column) {
                write!(line, "{cell:>width$}  ").expect("a String takes all");
            } else {
                write!(line, "{cell:<width$}  ").expect("a String takes all");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A length that a person takes in: `0.8 s`, `12.3 s`, `3 min 05 s`, `2 h 14 min`.
pub(super) fn length(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A wall time as this machine's clock on the wall shows it: `2026-11-21 13:04:05`.
pub(super) fn moment(unix_ms: u64) -> String {
    let seconds = libc::time_t::try_from(unix_ms / 1000).unwrap_or(libc::time_t::MAX);
    // SAFETY: all zeros is a valid tm.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid and live across the call.
    let made = unsafe { libc::localtime_r(&raw const seconds, &raw mut local) };
    if made.is_null() {
        return unix_ms.to_string();
    }
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        local.tm_year + 1900,
        local.tm_mon + 1,
        local.tm_mday,
        local.tm_hour,
        local.tm_min,
        local.tm_sec
    )
}

/// `-` for what is empty, so that columns stay in place.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// What came over the network may not move the cursor or ring the bell.
pub(super) fn tame(text: &str) -> String {
    let tame = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(tame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [
            vec!["ID".to_owned(), "MS".to_owned(), "WHAT".to_owned()],
            vec!["abc".to_owned(), "5".to_owned(), "ä".to_owned()],
            vec!["d".to_owned(), "1234".to_owned(), String::new()],
        ];
        let text = table(&rows, &[1]);
        assert_eq!(text, "ID     MS  WHAT\nabc     5  ä\nd    1234\n");
    }

    #[test]
    fn lengths_have_the_precision_that_people_want() {
        let rows = [
            (0, "0.0 s"),
            (830, "0.8 s"),
            (59_999, "59.9 s"),
            (185_000, "3 min 05 s"),
            (8_040_000, "2 h 14 min"),
            (90_000_000, "1 d 01 h"),
        ];
        for (ms, text) in rows {
            assert_eq!(length(ms), text);
        }
    }

    #[test]
    fn what_came_over_the_network_cannot_move_the_cursor() {
        assert_eq!(tame("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
