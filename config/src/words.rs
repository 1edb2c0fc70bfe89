//! Helping hands for mistyped words.

/// The candidate that the word was probably meant to be.
///
/// At most a third of the word's letters may differ (at least one, at most three).
pub fn did_you_mean<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to say of a word that is none of the candidates:
/// `` expected one of `a`, `b`; did you mean `a`? ``
pub fn one_of<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> String {
    let list: Vec<String> = candidates
        .clone()
        .into_iter()
        .map(|candidate| format!("`{candidate}`"))
        .collect();
    let expected = match list.as_slice() {
        [] => "there is none".to_owned(),
        [only] => format!("expected {only}"),
        _ => format!("expected one of {}", list.join(", ")),
    };
    match did_you_mean(word, candidates) {
        Some(meant) => format!("{expected}; did you mean `{meant}`?"),
        None => expected,
    }
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(LONGEST).collect();
    let right: Vec<char> = right.chars().take(LONGEST).collect();
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1; right.len() + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b;
            current[column + 1] = if swapped {
                best.min(before_last[column - 1] + 1)
            } else {
                best
            };
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

/// Keys are short; longer words are compared by their beginnings.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let rows = [
            ("lisen", Some("listen")),
            ("listne", Some("listen")),
            ("advertize", Some("advertise")),
            ("max_contact_24h", Some("max_contacts_24h")),
            ("port", None),
            ("", None),
        ];
        for (word, meant) in rows {
            let candidates = ["listen", "advertise", "max_contacts_24h"];
            assert_eq!(did_you_mean(word, candidates), meant, "{word}");
        }
    }

    #[test]
    fn the_candidates_are_named() {
        assert_eq!(one_of("x", ["echo"]), "expected `echo`");
        assert_eq!(
            one_of("ecko", ["echo", "tone"]),
            "expected one of `echo`, `tone`; did you mean `echo`?"
        );
        assert_eq!(one_of("x", []), "there is none");
    }
}
