//! A text and its tree of keys: byte spans become lines, columns and key paths.

use core::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::located::Located;

/// A named TOML text. Makes [`Located`] faults from byte spans, which is how
/// the crates that own the values report what is wrong with them.
#[derive(Clone, Debug)]
pub struct Source<'t> {
    file: &'t str,
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Source<'t> {
    /// Reads the text as far as it can be read; its syntax faults are reported
    /// by [`crate::load`].
    pub fn new(file: &'t str, text: &'t str) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        Self {
            file,
            text,
            root: root.into_inner(),
        }
    }

    /// A fault at these bytes; the key is the innermost one that holds them.
    pub fn fault(&self, span: Range<usize>, reason: impl Into<String>) -> Located {
        let (line, column) = self.position(span.start);
        Located {
            file: self.file.to_owned(),
            line,
            column,
            key: self.key(&span),
            reason: reason.into(),
        }
    }

    /// A fault of this key (`media.ports`), placed at its value; at the start of
    /// the file when it was left out and its default is at fault.
    pub fn fault_of_key(&self, key: &str, reason: impl Into<String>) -> Located {
        let mut finder = Finder { key, span: None };
        finder.search_table(&self.root, "");
        let (line, column) = finder.span.map_or((1, 1), |span| self.position(span.start));
        Located {
            file: self.file.to_owned(),
            line,
            column,
            key: key.to_owned(),
            reason: reason.into(),
        }
    }

    /// A fault of the file as a whole.
    pub fn whole(&self, reason: impl Into<String>) -> Located {
        Located {
            file: self.file.to_owned(),
            line: 1,
            column: 1,
            key: String::new(),
            reason: reason.into(),
        }
    }

    /// Line and column in characters, both from 1, of a byte of the text.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let end = self.text.floor_char_boundary(byte);
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The path of the innermost key whose name or value holds these bytes.
    pub fn key(&self, span: &Range<usize>) -> String {
        let mut best = Best {
            span,
            length: usize::MAX,
            key: String::new(),
        };
        best.search_table(&self.root, "");
        best.key
    }
}

/// The smallest node found so far that holds `span`.
struct Best<'s> {
    span: &'s Range<usize>,
    length: usize,
    key: String,
}

impl Best<'_> {
    fn search_table(&mut self, table: &DeTable<'_>, path: &str) {
        for (name, value) in table {
            let name_text = quoted_where_needed(name.get_ref());
            let path = match path {
                "" => name_text,
                _ => format!("{path}.{name_text}"),
            };
            self.offer(&name.span(), &path);
            self.offer(&value.span(), &path);
            self.search_value(value.get_ref(), &path);
        }
    }

    fn search_value(&mut self, value: &DeValue<'_>, path: &str) {
        match value {
            DeValue::Table(table) => self.search_table(table, path),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.offer(&item.span(), &path);
                    self.search_value(item.get_ref(), &path);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    /// Inner nodes come later and win against outer ones of the same span.
    fn offer(&mut self, node: &Range<usize>, path: &str) {
        let holds = node.start <= self.span.start && self.span.end <= node.end;
        if holds && node.len() <= self.length {
            self.length = node.len();
            path.clone_into(&mut self.key);
        }
    }
}

/// Looks for the value of a key.
struct Finder<'k> {
    key: &'k str,
    span: Option<Range<usize>>,
}

impl Finder<'_> {
    fn search_table(&mut self, table: &DeTable<'_>, path: &str) {
        for (name, value) in table {
            let name = quoted_where_needed(name.get_ref());
            let path = match path {
                "" => name,
                _ => format!("{path}.{name}"),
            };
            self.search_value(value, &path);
        }
    }

    fn search_value(&mut self, value: &toml::Spanned<DeValue<'_>>, path: &str) {
        if path == self.key {
            self.span = Some(value.span());
        } else if self.key.starts_with(path) {
            match value.get_ref() {
                DeValue::Table(table) => self.search_table(table, path),
                DeValue::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.search_value(item, &format!("{path}[{index}]"));
                    }
                }
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => {}
            }
        }
    }
}

fn quoted_where_needed(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[sip]\nlisten = [\"udp:äö:1\", \"x\"]\n\n[[trunk]]\nname = \"a\"\n\n[[trunk]]\n\"odd key\" = { inner = 7 }\n";

    fn at(word: &str) -> Range<usize> {
        let start = TEXT.find(word).expect("the word is in the text");
        start..start + word.len()
    }

    #[test]
    fn a_span_becomes_line_column_in_characters_and_key() {
        let rows: [(&str, (usize, usize), &str); 6] = [
            ("\"x\"", (2, 23), "sip.listen[1]"),
            ("listen", (2, 1), "sip.listen"),
            ("\"a\"", (5, 8), "trunk[0].name"),
            ("7", (8, 23), "trunk[1].\"odd key\".inner"),
            ("[sip]", (1, 1), "sip"),
            ("äö", (2, 16), "sip.listen[0]"),
        ];
        let source = Source::new("f.toml", TEXT);
        for (word, position, key) in rows {
            let fault = source.fault(at(word), "no");
            assert_eq!((fault.line, fault.column), position, "{word}");
            assert_eq!(fault.key, key, "{word}");
        }
    }

    #[test]
    fn a_key_is_found_and_one_that_was_left_out_is_placed_at_the_start() {
        let rows = [
            ("sip.listen", (2, 10)),
            ("sip.listen[1]", (2, 23)),
            ("trunk[0].name", (5, 8)),
            ("trunk[1].\"odd key\".inner", (8, 23)),
            ("media.ports", (1, 1)),
        ];
        let source = Source::new("f.toml", TEXT);
        for (key, position) in rows {
            let fault = source.fault_of_key(key, "no");
            assert_eq!((fault.line, fault.column), position, "{key}");
            assert_eq!(fault.key, key);
        }
    }

    #[test]
    fn a_span_past_the_end_or_inside_a_character_is_placed_not_a_panic() {
        let source = Source::new("f", "a = \"ä\"");
        assert_eq!(source.position(6), (1, 6));
        assert_eq!(source.position(usize::MAX), (1, 8));
    }
}
