//! Telephone numbers: E.164, and the rules by which a trunk writes them.
//!
//! It normalises and rewrites; it dials nothing and knows no trunk by name.
//! The daemon compiles a [`Numbering`] for each trunk and asks it both ways:
//! what a caller's number is, and how a number is dialled there.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Fewest digits that are taken for an E.164 number: shorter ones are service
/// or internal numbers, which name nobody outside their network.
const DIGITS_MIN: usize = 7;
/// Most digits of a number (ITU-T E.164 §6.2.1).
const DIGITS_MAX: usize = 15;
/// Characters of a number as it comes from the wire that are looked at.
const RAW_MAX: usize = 64;
/// Rules of one direction; a dialling plan has a handful.
pub const RULES_MAX: usize = 64;

/// An E.164 number: `+` and 7 to 15 digits, the first not 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Number(String);

impl Number {
    /// Reads `+` and digits, as it is written between networks.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+')?;
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let known = (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len());
        (whole && known && !digits.starts_with('0')).then(|| Self(text.to_owned()))
    }

    /// With its `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Number {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not an E.164 number")
    }
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        number.0
    }
}

/// How a country writes its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub name: &'static str,
    /// Country code (ITU-T E.164, List of country codes).
    pub code: &'static str,
    /// Dialled before a number abroad.
    pub international: &'static str,
    /// Dialled before a national number, and not part of it; empty where a
    /// number is written whole.
    pub national: &'static str,
    /// Digits of a national number, without prefix.
    digits: (usize, usize),
}

const fn country(
    name: &'static str,
    code: &'static str,
    international: &'static str,
    national: &'static str,
    digits: (usize, usize),
) -> Country {
    Country {
        name,
        code,
        international,
        national,
        digits,
    }
}

/// Dialling procedures (ITU Operational Bulletin, "Dialling procedures", and
/// the national numbering plans filed with ITU-T under E.129).
pub const COUNTRIES: [Country; 30] = [
    country("AT", "43", "00", "0", (4, 13)),
    country("AU", "61", "0011", "0", (9, 9)),
    country("BE", "32", "00", "0", (8, 9)),
    country("CA", "1", "011", "1", (10, 10)),
    country("CH", "41", "00", "0", (9, 9)),
    country("CZ", "420", "00", "", (9, 9)),
    country("DE", "49", "00", "0", (5, 13)),
    country("DK", "45", "00", "", (8, 8)),
    country("EE", "372", "00", "", (7, 8)),
    country("ES", "34", "00", "", (9, 9)),
    country("FI", "358", "00", "0", (5, 12)),
    country("FR", "33", "00", "0", (9, 9)),
    country("GB", "44", "00", "0", (7, 10)),
    country("GR", "30", "00", "", (10, 10)),
    country("IE", "353", "00", "0", (7, 9)),
    country("IN", "91", "00", "0", (10, 10)),
    country("IT", "39", "00", "", (6, 11)),
    country("JP", "81", "010", "0", (9, 10)),
    country("LU", "352", "00", "", (6, 11)),
    country("MX", "52", "00", "", (10, 10)),
    country("NL", "31", "00", "0", (9, 9)),
    country("NO", "47", "00", "", (8, 8)),
    country("NZ", "64", "00", "0", (8, 10)),
    country("PL", "48", "00", "", (9, 9)),
    country("PT", "351", "00", "", (9, 9)),
    country("SE", "46", "00", "0", (7, 9)),
    country("SG", "65", "000", "", (8, 8)),
    country("SK", "421", "00", "0", (9, 9)),
    country("US", "1", "011", "1", (10, 10)),
    country("ZA", "27", "00", "0", (9, 9)),
];

impl Country {
    /// The country of that ISO 3166-1 name.
    pub fn find(name: &str) -> Option<&'static Self> {
        COUNTRIES.iter().find(|country| country.name == name)
    }

    /// A number as it is dialled or shown in this country.
    fn read(&self, text: &str) -> Option<Number> {
        if let Some(abroad) = text.strip_prefix(self.international) {
            return Number::parse(&format!("+{abroad}"));
        }
        let national = match (self.national, text.strip_prefix(self.national)) {
            ("", _) => Some(text),
            (_, Some(rest)) => Some(rest),
            // North America shows ten digits as often as eleven.
            (_, None) => (self.code == "1").then_some(text),
        }?;
        let (least, most) = self.digits;
        let known = (least..=most).contains(&national.len());
        known.then(|| Number::parse(&format!("+{}{national}", self.code)))?
    }
}

/// `0* -> +49*`: literal text, then `*` for the rest (one digit at least) or
/// `x` for each single digit; on the right `*` stands for what these matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    prefix: String,
    /// So many digits follow; any number when `None`; nothing when `Some(0)`.
    rest: Option<usize>,
    before: String,
    after: String,
}

impl Rewrite {
    /// Reads `PATTERN -> RESULT`.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write it like \"0* -> +49*\" or \"555xxxx -> +1202555*\"";
        let (left, right) = text
            .split_once("->")
            .ok_or_else(|| format!("`{text}` has no `->`: {example}"))?;
        let (left, right) = (left.trim(), right.trim());
        let (prefix, rest) = match left.strip_suffix('*') {
            Some(prefix) => (prefix, None),
            None => {
                let prefix = left.trim_end_matches('x');
                (prefix, Some(left.len() - prefix.len()))
            }
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'+');
        if left.is_empty() || !plain(prefix) {
            return Err(format!(
                "`{left}` matches no number: digits and `+`, then `*` or `x`; {example}"
            ));
        }
        let (before, after) = match (right.split_once('*'), rest) {
            (None, Some(0)) => (right, ""),
            (None, _) => return Err(format!("`{right}` drops what `{left}` matched: {example}")),
            (Some(_), Some(0)) => {
                return Err(format!("`{left}` leaves nothing for `*`: {example}"));
            }
            (Some(parts), _) => parts,
        };
        if !plain(before) || !plain(after) || right.is_empty() {
            return Err(format!("`{right}` is no number: {example}"));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            rest,
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// The text rewritten, when the pattern fits.
    pub fn apply(&self, text: &str) -> Option<String> {
        let rest = text.strip_prefix(self.prefix.as_str())?;
        let fits = match self.rest {
            None => !rest.is_empty(),
            Some(digits) => rest.len() == digits,
        };
        let digits = rest.bytes().all(|byte| byte.is_ascii_digit());
        (fits && digits).then(|| format!("{}{rest}{}", self.before, self.after))
    }

    /// Everything that the other rule takes is taken here already.
    pub fn covers(&self, other: &Self) -> bool {
        let begins = other.prefix.starts_with(&self.prefix);
        match (self.rest, other.rest) {
            (None, None) => begins,
            (None, Some(rest)) => begins && other.prefix.len() + rest > self.prefix.len(),
            (Some(mine), Some(theirs)) => {
                begins && self.prefix.len() + mine == other.prefix.len() + theirs
            }
            (Some(_), None) => false,
        }
    }
}

/// How one trunk writes numbers; the first rule that fits decides, then the country.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// Where the trunk is.
    pub country: Option<&'static Country>,
    /// From what the trunk sends to E.164.
    pub inbound: Vec<Rewrite>,
    /// From E.164 to what the trunk wants.
    pub outbound: Vec<Rewrite>,
}

impl Numbering {
    /// The number that a trunk or a person means, however it is written;
    /// `None`: anonymous, internal, or nothing that can be told.
    pub fn read(&self, text: &str) -> Option<Number> {
        let text = clean(text)?;
        if let Some(rewritten) = self.inbound.iter().find_map(|rule| rule.apply(&text)) {
            return Number::parse(&rewritten);
        }
        Number::parse(&text).or_else(|| self.country?.read(&text))
    }

    /// How the number is dialled by this trunk: E.164 where no rule says otherwise.
    pub fn write(&self, number: &Number) -> String {
        let mut rules = self.outbound.iter();
        rules
            .find_map(|rule| rule.apply(number.as_str()))
            .unwrap_or_else(|| number.as_str().to_owned())
    }
}

/// Digits and a leading `+`, without what people and phones put between them;
/// parameters (`;phone-context=…`, RFC 3966 §5.1) do not count.
fn clean(text: &str) -> Option<String> {
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let text = text.split(';').next().unwrap_or_default().trim();
    if text.len() > RAW_MAX {
        return None;
    }
    let mut number = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '0'..='9' => number.push(letter),
            '+' if number.is_empty() => number.push(letter),
            // Visual separators (RFC 3966 §3), spaces, and what spreadsheets write.
            '-' | '.' | '(' | ')' | ' ' | '/' | '\u{a0}' => {}
            _ => return None,
        }
    }
    (!number.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(texts: &[&str]) -> Vec<Rewrite> {
        texts
            .iter()
            .map(|text| Rewrite::parse(text).unwrap())
            .collect()
    }

    fn of(country: &str) -> Numbering {
        Numbering {
            country: Country::find(country),
            ..Numbering::default()
        }
    }

    #[test]
    fn each_country_reads_its_own_ways_of_writing() {
        let rows = [
            ("DE", "030 123456", Some("+4930123456")),
            ("DE", "0049 30 123456", Some("+4930123456")),
            ("DE", "+49 (30) 123456", Some("+4930123456")),
            (
                "DE",
                "tel:+49-30-123456;phone-context=x",
                Some("+4930123456"),
            ),
            ("DE", "200", None),
            ("DE", "30123456", None),
            ("DE", "00", None),
            ("US", "2025550100", Some("+12025550100")),
            ("US", "1 (202) 555-0100", Some("+12025550100")),
            ("US", "011 49 30 123456", Some("+4930123456")),
            ("US", "5550100", None),
            ("IT", "06 12345678", Some("+390612345678")),
            ("GB", "020 7946 0000", Some("+442079460000")),
            ("FR", "01 99 00 12 34", Some("+33199001234")),
            ("DK", "32123456", Some("+4532123456")),
            ("DE", "anonymous", None),
            ("DE", "", None),
            ("DE", "+0123456789", None),
            ("DE", "+1234567890123456", None),
        ];
        for (country, text, expected) in rows {
            let number = of(country).read(text);
            assert_eq!(
                number.as_ref().map(Number::as_str),
                expected,
                "{country} {text}"
            );
        }
    }

    #[test]
    fn a_rule_goes_before_the_country_and_both_ways() {
        let numbering = Numbering {
            country: Country::find("DE"),
            inbound: rules(&["2xx -> +49301234*", "000* -> +*"]),
            outbound: rules(&["+49* -> 0*", "+* -> 00*"]),
        };
        for (text, number, dialled) in [
            ("217", "+4930123417", "030123417"),
            ("00012025550100", "+12025550100", "0012025550100"),
            ("030987654", "+4930987654", "030987654"),
            ("+12025550100", "+12025550100", "0012025550100"),
        ] {
            let read = numbering.read(text).unwrap();
            assert_eq!(read.as_str(), number, "{text}");
            assert_eq!(numbering.write(&read), dialled, "{text}");
        }
        assert_eq!(numbering.read("2178"), None, "not so many digits");
    }

    #[test]
    fn a_rule_that_means_nothing_is_refused() {
        for (text, needle) in [
            ("0*", "no `->`"),
            ("0* -> +49", "drops what"),
            ("0a* -> +49*", "matches no number"),
            (" -> +49*", "matches no number"),
            ("112 -> *", "leaves nothing"),
            ("0* -> y*", "is no number"),
        ] {
            let reason = Rewrite::parse(text).unwrap_err();
            assert!(reason.contains(needle), "{text}: {reason}");
        }
    }

    #[test]
    fn a_rule_behind_a_wider_one_is_never_reached() {
        for (first, second, covered) in [
            ("0* -> +49*", "00* -> +*", true),
            ("00* -> +*", "0* -> +49*", false),
            ("2xx -> +49301*", "21x -> +49302*", true),
            ("2x -> +49301*", "2xx -> +49302*", false),
            ("2* -> +49301*", "2x -> +49302*", true),
        ] {
            let (first, second) = (rules(&[first]), rules(&[second]));
            assert_eq!(first[0].covers(&second[0]), covered);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_from_the_wire_is_a_number_or_nothing(text in "\\PC{0,80}") {
            for country in COUNTRIES {
                if let Some(number) = of(country.name).read(&text) {
                    prop_assert_eq!(Number::parse(number.as_str()), Some(number.clone()));
                    // Read again it is the same.
                    prop_assert_eq!(of(country.name).read(number.as_str()), Some(number));
                }
            }
        }
    }
}
