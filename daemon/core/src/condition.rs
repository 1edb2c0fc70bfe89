//! `name op value`: the one comparison that policies and playbooks are made of.
//! It reads; what a missing value means is for its user to say.

use crate::memory::Freshness;

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

impl Operator {
    /// Longer signs first: `<=` begins with `<`.
    const SIGNS: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::Unequal),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Below),
        (">", Self::Above),
    ];

    /// How it is written.
    pub fn sign(self) -> &'static str {
        Self::SIGNS
            .iter()
            .find(|(_, operator)| *operator == self)
            .expect("every operator has a sign")
            .0
    }

    /// Whether `left op right` holds.
    pub fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
            Self::Above => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// What stands on the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    Number(i64),
    Text(String),
    Freshness(Freshness),
    /// Leased to us, and not over: `slot.tuesday == offered`.
    Offered,
}

/// A comparison as written, its name not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    pub(crate) name: &'a str,
    pub(crate) operator: Operator,
    pub(crate) literal: Literal,
}

/// Reads `name op value`; the value is an integer, `true`, `false` or `'text'`.
pub(crate) fn parse(text: &str) -> Result<Parsed<'_>, String> {
    let (at, sign, operator) = Operator::SIGNS
        .iter()
        .filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)))
        .min_by_key(|(at, sign, _)| (*at, core::cmp::Reverse(sign.len())))
        .ok_or_else(|| {
            format!(
                "`{text}` compares nothing; write e.g. `contacts_24h >= 3` with == != < <= > >="
            )
        })?;
    let name = text[..at].trim();
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b))
    {
        return Err(format!(
            "`{name}` is no name; write e.g. `contacts_24h >= 3`"
        ));
    }
    Ok(Parsed {
        name,
        operator,
        literal: literal(text[at + sign.len()..].trim())?,
    })
}

fn literal(text: &str) -> Result<Literal, String> {
    let quoted = text
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    let freshness = Freshness::WORDS.iter().find(|(word, _)| *word == text);
    if let Some((_, freshness)) = freshness {
        return Ok(Literal::Freshness(*freshness));
    }
    match (quoted, text) {
        (Some(inner), _) => Ok(Literal::Text(inner.to_owned())),
        (None, "true") => Ok(Literal::Number(1)),
        (None, "false") => Ok(Literal::Number(0)),
        (None, "offered") => Ok(Literal::Offered),
        (None, _) => text
            .parse()
            .map(Literal::Number)
            .map_err(|_| format!("`{text}` is no value; write an integer, true, false or 'text'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_read_with_its_longest_sign() {
        for (text, operator, number) in [
            ("a >= 3", Operator::AtLeast, 3),
            ("a>3", Operator::Above, 3),
            ("a <=-3", Operator::AtMost, -3),
            ("a<3", Operator::Below, 3),
            ("a == true", Operator::Equal, 1),
            ("a != false", Operator::Unequal, 0),
        ] {
            let literal = Literal::Number(number);
            let expected = Parsed {
                name: "a",
                operator,
                literal,
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_comparison_says_what_to_write() {
        for (text, part) in [
            ("a", "compares nothing"),
            ("a = 3", "compares nothing"),
            ("a b > 3", "is no name"),
            (">= 3", "is no name"),
            ("a > b", "is no value"),
            ("a > 3.5", "is no value"),
            ("a > 'x", "is no value"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
        }
    }

    #[test]
    fn signs_compare_as_they_are_written() {
        for (_, operator) in Operator::SIGNS {
            let holds: Vec<bool> = [1, 2, 3].iter().map(|n| operator.holds(n, &2)).collect();
            let expected = match operator {
                Operator::Equal => [false, true, false],
                Operator::Unequal => [true, false, true],
                Operator::Below => [true, false, false],
                Operator::AtMost => [true, true, false],
                Operator::Above => [false, false, true],
                Operator::AtLeast => [false, true, true],
            };
            assert_eq!(holds, expected, "{}", operator.sign());
        }
    }
}
