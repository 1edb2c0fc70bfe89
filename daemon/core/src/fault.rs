//! Where a raw value stands in its text, and what is wrong with it.
//!
//! Every `compile` of this crate reports all its faults at once, each with the
//! bytes it is about; `config` turns them into `file:line:col: key: reason`.

use serde::{Deserialize, Deserializer};

/// A value and the bytes of the text it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_spanned::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self {
            value: spanned.into_inner(),
            start: span.start,
            end: span.end,
        })
    }
}

/// One thing that is wrong in a text, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// First byte it is about.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// Dotted path of the key, e.g. `stage.offer.say`.
    pub key: String,
    /// What is wrong, and what to write.
    pub reason: String,
}

/// Collects faults while a text is compiled.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Notes what is wrong with `at`.
    pub(crate) fn add<T>(&mut self, at: &At<T>, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Fault {
            start: at.start,
            end: at.end,
            key: key.into(),
            reason: reason.into(),
        });
    }

    /// The value, or all that is wrong, in the order of the text.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|fault| (fault.start, fault.end));
        Err(self.0)
    }
}

/// `; did you mean …?` for the nearest known word, or `; expected one of …`.
pub(crate) fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|word| (distance(given, word), *word))
        .min()
        .filter(|(steps, word)| *steps <= 1 + word.len() / 3);
    match near {
        Some((_, word)) => format!("; did you mean `{word}`?"),
        None if known.is_empty() => "; there is none".to_owned(),
        None => {
            let list: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            format!("; expected one of {}", list.join(", "))
        }
    }
}

/// Letters to insert, delete or change to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other_letter) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other_letter);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_lists_all() {
        assert_eq!(
            suggest("contcts_24h", ["contacts_24h", "intent"]),
            "; did you mean `contacts_24h`?"
        );
        assert_eq!(
            suggest("zebra", ["contacts_24h", "intent"]),
            "; expected one of `contacts_24h`, `intent`"
        );
        assert_eq!(suggest("zebra", []), "; there is none");
    }

    #[test]
    fn a_value_knows_its_bytes() {
        #[derive(Deserialize)]
        struct File {
            name: At<String>,
        }
        let text = "# a comment\nname = \"x\"\n";
        let file: File = toml::from_str(text).unwrap();
        assert_eq!(&text[file.name.start..file.name.end], "\"x\"");
        assert_eq!(file.name.value, "x");
    }
}
