//! One phrase of a playbook, and where it stands in what was said.
//!
//! `(it|that)` is either, `[please]` may be missing, `*` is up to three words.
//! It knows words, not what they mean: that is `interpret`.

/// A `*` stands for this many words at most.
const GAP_MAX: usize = 3;
/// Ways of saying one phrase; more is a mistake in writing it.
const WAYS_MAX: usize = 64;

/// One way of saying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Word(String),
    Gap,
}

impl Phrase {
    /// All ways of saying what is written.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn read(text: &str) -> Result<Vec<Self>, String> {
        let tokens = tokens(text);
        let mut rest = tokens.as_slice();
        let ways = alternatives(&mut rest, text)?;
        if let Some(token) = rest.first() {
            return Err(format!("`{text}`: `{}` closes nothing", token.text()));
        }
        let says = |way: &Vec<Piece>| way.iter().any(|piece| matches!(piece, Piece::Word(_)));
        if !ways.iter().all(says) {
            return Err(format!(
                "`{text}`: a phrase needs a word that cannot be left out"
            ));
        }
        Ok(ways.into_iter().map(Self).collect())
    }

    /// How many words it takes when it begins at `place`; the most it can.
    pub(crate) fn at(&self, said: &[String], place: usize) -> Option<usize> {
        fits(&self.0, said.get(place..)?)
    }
}

fn fits(pieces: &[Piece], said: &[String]) -> Option<usize> {
    let Some((first, rest)) = pieces.split_first() else {
        return Some(0);
    };
    match first {
        Piece::Word(word) => {
            let (next, after) = said.split_first()?;
            (next == word)
                .then(|| fits(rest, after))?
                .map(|length| length + 1)
        }
        Piece::Gap => (0..=GAP_MAX.min(said.len()))
            .rev()
            .find_map(|gap| Some(gap + fits(rest, &said[gap..])?)),
    }
}

/// Lower-case words without punctuation; apostrophes stay inside words.
pub(crate) fn split(text: &str) -> Vec<String> {
    text.to_lowercase()
        .replace('\u{2019}', "'")
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .map(|word| word.trim_matches('\'').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

enum Token {
    Words(Vec<String>),
    Sign(char),
}

impl Token {
    fn text(&self) -> String {
        match self {
            Self::Words(words) => words.join(" "),
            Self::Sign(sign) => sign.to_string(),
        }
    }

    fn is(&self, wanted: char) -> bool {
        matches!(self, Self::Sign(sign) if *sign == wanted)
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut words = String::new();
    for letter in text.chars() {
        if !"()[]|*".contains(letter) {
            words.push(letter);
            continue;
        }
        tokens.push(Token::Words(split(&core::mem::take(&mut words))));
        tokens.push(Token::Sign(letter));
    }
    tokens.push(Token::Words(split(&words)));
    tokens
}

/// Ways of `a|b|c`, up to whatever closes it.
fn alternatives(rest: &mut &[Token], text: &str) -> Result<Vec<Vec<Piece>>, String> {
    let mut ways = sequence(rest, text)?;
    while rest.first().is_some_and(|token| token.is('|')) {
        *rest = &rest[1..];
        ways.extend(sequence(rest, text)?);
    }
    Ok(ways)
}

fn sequence(rest: &mut &[Token], text: &str) -> Result<Vec<Vec<Piece>>, String> {
    let mut ways = vec![Vec::new()];
    while let Some((token, after)) = rest.split_first() {
        let next = match token {
            Token::Words(words) => vec![words.iter().cloned().map(Piece::Word).collect()],
            Token::Sign('*') => vec![vec![Piece::Gap]],
            Token::Sign(open @ ('(' | '[')) => {
                *rest = after;
                group(rest, *open, text)?
            }
            Token::Sign(_) => return Ok(ways),
        };
        if !matches!(token, Token::Sign('(' | '[')) {
            *rest = after;
        }
        ways = ways
            .iter()
            .flat_map(|way| next.iter().map(move |more| [way.as_slice(), more].concat()))
            .collect();
        if ways.len() > WAYS_MAX {
            return Err(format!(
                "`{text}` can be said in more than {WAYS_MAX} ways; write several phrases"
            ));
        }
    }
    Ok(ways)
}

fn group(rest: &mut &[Token], open: char, text: &str) -> Result<Vec<Vec<Piece>>, String> {
    let mut ways = alternatives(rest, text)?;
    let close = if open == '(' { ')' } else { ']' };
    match rest.split_first() {
        Some((token, after)) if token.is(close) => *rest = after,
        _ => return Err(format!("`{text}`: `{open}` is not closed by `{close}`")),
    }
    if open == '[' {
        ways.push(Vec::new());
    }
    Ok(ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(phrase: &str, said: &str) -> Option<usize> {
        let said = split(said);
        let ways = Phrase::read(phrase).unwrap();
        ways.iter().filter_map(|way| way.at(&said, 0)).max()
    }

    #[test]
    fn what_may_vary_varies_and_nothing_else() {
        for (phrase, said, found) in [
            (
                "book (it|that) [for] tuesday",
                "Book that Tuesday!",
                Some(3),
            ),
            (
                "book (it|that) [for] tuesday",
                "book it for tuesday then",
                Some(4),
            ),
            ("book (it|that) [for] tuesday", "book for tuesday", None),
            ("what * cost", "what does it all cost", Some(5)),
            ("what * cost", "what cost", Some(2)),
            ("what * cost", "what does all of this cost", None),
            ("yes | of course", "of course", Some(2)),
        ] {
            assert_eq!(length(phrase, said), found, "{phrase}: {said}");
        }
    }

    #[test]
    fn a_phrase_that_cannot_be_read_says_why() {
        for (phrase, part) in [
            ("", "needs a word"),
            ("[please]", "needs a word"),
            ("*", "needs a word"),
            ("(a", "not closed"),
            ("a)", "closes nothing"),
            ("[a] [b] [c] [d] [e] [f] [g] h", "64 ways"),
        ] {
            let reason = Phrase::read(phrase).unwrap_err();
            assert!(reason.contains(part), "{phrase}: {reason}");
        }
    }
}
