//! Which number goes where: patterns of called numbers, the built-in tests.

use std::fmt;

/// What a route matches: a called user as it stands, or all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Exactly this.
    Exact(String),
    /// Everything that begins so (`*` at the end in the file).
    Prefix(String),
}

impl Pattern {
    /// Reads `100`, `+4930*`, `*`; a star elsewhere than at the end is a star key,
    /// which is among digits or first.
    ///
    /// # Errors
    /// The text is empty, holds what no called user holds, or a star that looks as
    /// if it stood for anything and does not.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: write a number, a beginning and `*`, or \"*\" for all".into());
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@') {
            return Err(format!(
                "`{text}` cannot be called: write the user part alone, without spaces and without `@`"
            ));
        }
        let inner = text.trim_end_matches('*').trim_start_matches('*');
        if inner.contains('*') && inner.contains(char::is_alphabetic) {
            return Err(format!(
                "`{text}`: only a `*` at the end stands for anything: write one route for each"
            ));
        }
        Ok(match text.strip_suffix('*') {
            Some(beginning) => Self::Prefix(beginning.to_owned()),
            None => Self::Exact(text.to_owned()),
        })
    }

    /// Does the route take this called user?
    pub fn matches(&self, called: &str) -> bool {
        match self {
            Self::Exact(number) => number == called,
            Self::Prefix(beginning) => called.starts_with(beginning.as_str()),
        }
    }

    /// Does this pattern take everything that the other one takes?
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(number), Self::Exact(other)) => number == other,
            (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Prefix(beginning), Self::Exact(other) | Self::Prefix(other)) => {
                other.starts_with(beginning.as_str())
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(number) => f.write_str(number),
            Self::Prefix(beginning) => write!(f, "{beginning}*"),
        }
    }
}

/// A built-in destination for field techs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// Answers at once and sends back what it hears.
    Echo,
    /// Answers and plays 1004 Hz.
    Tone,
    /// Rings, and ends with 480 after 180 s.
    Ring,
    /// Is busy.
    Busy,
}

impl Test {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Echo, Self::Tone, Self::Ring, Self::Busy];

    /// The Request-URI user that reaches it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Tone => "tone",
            Self::Ring => "ring",
            Self::Busy => "busy",
        }
    }

    /// The test of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|test| test.name() == name)
    }
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A conversation with this playbook.
    Playbook(String),
    /// A built-in test.
    Test(Test),
}

/// One line of the table of routes; the first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which called users.
    pub called: Pattern,
    /// Where they go.
    pub to: Destination,
    /// What becomes of the caller when no conversation can be had here.
    pub fallback: Option<Fallback>,
}

/// What becomes of a caller with whom no conversation can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Sent there by a 302 (RFC 3261 §21.3.3): a URI as it stands in Contact.
    Elsewhere(String),
    /// Connected with that number (E.164) by the trunk the call came by; who is not
    /// reached there hears the apology.
    Person(String),
    /// Hears an apology and may leave a number: the playbook [`APOLOGY`].
    Message,
}

/// The playbook of an apology.
pub const APOLOGY: &str = "fallback";
/// The word for it in a route.
const MESSAGE: &str = "message";

impl std::str::FromStr for Fallback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == MESSAGE {
            return Ok(Self::Message);
        }
        if let Some(digits) = text.strip_prefix('+')
            && (1..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            return Ok(Self::Person(text.to_owned()));
        }
        let sip = text
            .strip_prefix("sip:")
            .or_else(|| text.strip_prefix("sips:"));
        let telephone = text.strip_prefix("tel:+");
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | ',');
        let good = match (sip, telephone) {
            (Some(rest), _) => rest.contains('@') && !rest.starts_with('@') && !rest.ends_with('@'),
            (_, Some(digits)) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()),
            (None, None) => false,
        };
        if good && text.chars().all(plain) {
            return Ok(Self::Elsewhere(text.to_owned()));
        }
        Err(format!(
            "`{text}` is nowhere to send a caller: write a number that is called for them (\"+4930123456\"), a URI that they are sent to (\"sip:desk@pbx.example.net\", \"tel:+4930123456\"), or \"message\" for an apology"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_star_at_the_end_stands_for_anything() {
        let rows = [
            ("100", "100", true),
            ("100", "1001", false),
            ("100*", "1001", true),
            ("100*", "10", false),
            ("*", "", true),
            ("*43", "*43", true),
            ("*43", "143", false),
        ];
        for (pattern, called, taken) in rows {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(called), taken, "{pattern} {called}");
        }
    }

    #[test]
    fn a_star_inside_a_name_is_refused_and_among_digits_it_is_a_key() {
        for (text, right) in [
            ("bo*king*", false),
            ("bo*king", false),
            ("book*", true),
            ("*21*49#", true),
            ("*", true),
        ] {
            assert_eq!(Pattern::parse(text).is_ok(), right, "{text}");
        }
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one() {
        let rows = [
            ("*", "100", true),
            ("1*", "10*", true),
            ("10*", "1*", false),
            ("100", "100", true),
            ("100", "100*", false),
        ];
        for (wide, narrow, covered) in rows {
            let (wide, narrow) = (
                Pattern::parse(wide).unwrap(),
                Pattern::parse(narrow).unwrap(),
            );
            assert_eq!(wide.covers(&narrow), covered, "{wide} {narrow}");
        }
    }
}
