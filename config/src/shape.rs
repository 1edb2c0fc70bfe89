//! The shape of a file: syntax, unknown keys, wrong types, missing keys.
//!
//! serde stops at the first of these. To report all of them at once, the
//! offending node is cut out of the tree and the rest is read again.

use core::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use crate::located::Located;
use crate::source::Source;
use crate::words::did_you_mean;

/// Faults reported of one file; whoever has more of them reads these first.
const MOST_FAULTS: usize = 50;

/// Reads a text as a `T`.
///
/// # Errors
/// Every fault of syntax and shape, in the order of the text.
pub fn load<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Vec<Located>> {
    match load_partly(file, text) {
        (Some(value), faults) if faults.is_empty() => Ok(value),
        (_, faults) => Err(faults),
    }
}

/// Reads as much of a text as can be read: with faults, the value is what is
/// left without the offending nodes, so that what it means can be checked in
/// the same run. It must not be used for anything else.
pub fn load_partly<T: DeserializeOwned>(file: &str, text: &str) -> (Option<T>, Vec<Located>) {
    let (root, syntax) = DeTable::parse_recoverable(text);
    let source = Source::new(file, text);
    let mut reading = Reading {
        source: &source,
        faults: Vec::new(),
        cut: Vec::new(),
    };
    for error in syntax.iter().take(MOST_FAULTS) {
        let span = error.span().unwrap_or(text.len()..text.len());
        reading.report(&span, "", error.message());
    }
    // A broken line takes its neighbours with it: what they mean is anybody's guess.
    if !reading.faults.is_empty() {
        reading.faults.sort();
        return (None, reading.faults);
    }
    let value = reading.read(root);
    reading.faults.sort();
    (value, reading.faults)
}

struct Reading<'r, 't> {
    source: &'r Source<'t>,
    faults: Vec<Located>,
    /// Keys of the tables from which something was cut.
    cut: Vec<String>,
}

impl Reading<'_, '_> {
    fn read<'i, T: DeserializeOwned>(&mut self, mut root: Spanned<DeTable<'i>>) -> Option<T> {
        loop {
            let deserializer = Deserializer::from(root.clone());
            let error = match serde_path_to_error::deserialize(deserializer) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let path = plain_path(&error.path().to_string());
            let error = error.into_inner();
            let span = error.span().unwrap_or(0..0);
            self.note(&span, &path, error.message());
            let cut = cut_table(root.get_mut(), &span);
            if !cut || self.faults.len() >= MOST_FAULTS {
                return None;
            }
            self.cut.push(parent(&self.source.key(&span)));
        }
    }

    /// Reports, unless a key is missing only because it was cut out before.
    fn note(&mut self, span: &Range<usize>, path: &str, message: &str) {
        let table = self.source.key(span);
        let consequence = message.starts_with("missing field") && self.cut.contains(&table);
        if !consequence {
            self.report(span, path, message);
        }
    }

    fn report(&mut self, span: &Range<usize>, path: &str, message: &str) {
        let mut fault = self.source.fault(span.clone(), with_hint(message));
        if fault.key.is_empty() {
            path.clone_into(&mut fault.key);
        }
        if let Some(missing) = between_ticks(message, "missing field ") {
            let dot = if fault.key.is_empty() { "" } else { "." };
            fault.key = format!("{}{dot}{missing}", fault.key);
        }
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The path as a person would write it, without serde's wrapper for spans.
fn plain_path(path: &str) -> String {
    let path = path.replace("$__serde_spanned_private_value", "");
    let path = path.replace("..", ".").replace(".[", "[");
    match path.trim_matches('.') {
        "?" => String::new(),
        path => path.to_owned(),
    }
}

/// The key of the table or array that holds this key.
fn parent(key: &str) -> String {
    let end = key.rfind(['.', '[']).unwrap_or(0);
    key[..end].to_owned()
}

/// serde's message with `; did you mean …?` where a key or a word is mistyped.
fn with_hint(message: &str) -> String {
    let message = message.replace('\n', "; ");
    let unknown = between_ticks(&message, "unknown field ")
        .or_else(|| between_ticks(&message, "unknown variant "));
    let hint = unknown.and_then(|word| {
        let candidates = message.split('`').skip(3).step_by(2);
        did_you_mean(word, candidates)
    });
    match hint {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message,
    }
}

fn between_ticks<'m>(message: &'m str, before: &str) -> Option<&'m str> {
    let rest = message.strip_prefix(before)?.strip_prefix('`')?;
    rest.split('`').next()
}

/// Cuts out the innermost node whose name or value has exactly this span (an
/// array of tables has the span of its first table).
fn cut_table(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    if table.iter_mut().any(|(_, value)| cut_value(value, span)) {
        return true;
    }
    let before = table.len();
    *table = core::mem::take(table)
        .into_iter()
        .filter(|(name, value)| name.span() != *span && value.span() != *span)
        .collect();
    table.len() < before
}

fn cut_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => cut_table(table, span),
        DeValue::Array(items) => cut_array(items, span),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

fn cut_array(items: &mut DeArray<'_>, span: &Range<usize>) -> bool {
    if items.iter_mut().any(|item| cut_value(item, span)) {
        return true;
    }
    let mut rest = DeArray::new();
    for item in items.iter().filter(|item| item.span() != *span) {
        rest.push(item.clone());
    }
    let cut = rest.len() < items.len();
    *items = rest;
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct File {
        #[serde(default)]
        sip: Sip,
        #[serde(default)]
        trunk: Vec<Spanned<Trunk>>,
        policy: Option<Spanned<String>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Sip {
        listen: Vec<Spanned<String>>,
        level: Option<Level>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Trunk {
        name: Spanned<String>,
        port: Option<u16>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Level {
        Info,
        Debug,
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = load::<File>("f.toml", text).expect_err("the text is wrong");
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_fault_is_named_with_its_place_and_key() {
        let rows = [
            (
                "[sip]\nlisten = 5\n",
                "f.toml:2:10: sip.listen: invalid type: integer `5`, expected a sequence",
            ),
            (
                "[sip]\nlisten = [\"a\", 5]\n",
                "f.toml:2:16: sip.listen[1]: invalid type: integer `5`, expected a string",
            ),
            (
                "[sip]\nlisen = []\n",
                "f.toml:2:1: sip.lisen: unknown field `lisen`, expected `listen` or `level`; did you mean `listen`?",
            ),
            (
                "[sip]\nlevel = \"inf\"\n",
                "f.toml:2:9: sip.level: unknown variant `inf`, expected `info` or `debug`; did you mean `info`?",
            ),
            (
                "[[trunk]]\nname = \"a\"\n[[trunk]]\nport = 5\n",
                "f.toml:3:1: trunk[1].name: missing field `name`",
            ),
            (
                "[[trunk]]\nname = \"a\"\nport = 70000\n",
                "f.toml:3:8: trunk[0].port: invalid value: integer `70000`, expected u16",
            ),
            (
                "[zip]\n",
                "f.toml:1:2: zip: unknown field `zip`, expected one of `sip`, `trunk`, `policy`; did you mean `sip`?",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(faults(text), [expected], "{text}");
        }
    }

    #[test]
    fn all_faults_are_reported_at_once_in_the_order_of_the_text() {
        let text = "polcy = \"x\"\n[sip]\nlisten = [1, \"ok\", 2]\n[[trunk]]\nname = 7\nprot = 1\n[[trunk]]\n";
        let keys: Vec<String> = load::<File>("f", text)
            .expect_err("six faults")
            .into_iter()
            .map(|fault| fault.key)
            .collect();
        assert_eq!(
            keys,
            [
                "polcy",
                "sip.listen[0]",
                "sip.listen[2]",
                "trunk[0].name",
                "trunk[0].prot",
                "trunk[1].name"
            ]
        );
    }

    #[test]
    fn a_syntax_fault_is_placed() {
        let found = faults("[sip\nlisten = []\n");
        assert!(found[0].starts_with("f.toml:1:5: "), "{found:?}");
        let found = faults("a = \n");
        assert!(found[0].starts_with("f.toml:1:"), "{found:?}");
    }

    #[test]
    fn what_is_right_beside_a_fault_can_still_be_read() {
        let (file, faults) = load_partly::<File>("f", "policy = \"p\"\nnonsense = 1\n");
        assert_eq!(faults.len(), 1);
        let policy = file.and_then(|file| file.policy).expect("it was read");
        assert_eq!(policy.get_ref(), "p");
    }

    #[test]
    fn no_text_panics_or_loops() {
        for text in [
            "",
            "\u{feff}",
            "=",
            "[[",
            "[a]\n[a]\n",
            "a.b.c = 1\na.b = 2",
            "\"",
            "é = é",
        ] {
            let _ = load::<File>("f", text);
        }
    }
}
