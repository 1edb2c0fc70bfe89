//! Whom a trunk may be used to call. Toll fraud dials abroad, and fast: unless
//! the file says otherwise, nothing abroad is called, and not more than two
//! numbers a second.
//!
//! Judges numbers only; how often is counted where calls are placed.

use offhook_core::Number;
use offhook_core::number::Country;

use super::Pattern;

/// What may be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The trunk's own country; `None`: every country is abroad.
    pub home: Option<&'static Country>,
    /// E.164 numbers, or numbers as they are dialled, that may be called;
    /// `None`: those of the own country, and what is no international number.
    pub allow: Option<Vec<Pattern>>,
    /// Those that may not, whatever `allow` says.
    pub deny: Vec<Pattern>,
    /// Calls in a minute.
    pub per_minute: u32,
}

/// Why a number is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is abroad, and `allow` does not name it.
    Abroad,
    /// `allow` does not name it.
    NotAllowed,
    /// `deny` names it.
    Denied,
}

impl Refused {
    /// For people, with what to change.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Abroad => "is abroad: name it in the trunk's `allow`",
            Self::NotAllowed => "is not in the trunk's `allow`",
            Self::Denied => "is in the trunk's `deny`",
        }
    }
}

/// Area codes of country code 1 that are other countries (NANPA, "Area codes by
/// country"), for trunks of the United States and Canada.
const NANP_ABROAD: [&str; 21] = [
    "242", "246", "264", "268", "284", "345", "441", "473", "649", "658", "664", "721", "758",
    "767", "784", "809", "829", "849", "868", "869", "876",
];

impl Permit {
    /// Whether `to` may be called: E.164, a number as it is dialled, or a SIP URI,
    /// whose user part counts.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, to: &str) -> Result<(), Refused> {
        let user = to.split_once(':').map_or(to, |(_, rest)| rest);
        let user: String = user
            .split(['@', ';'])
            .next()
            .unwrap_or_default()
            .replace("%2B", "+")
            .replace("%2b", "+");
        let user: String = user
            .chars()
            .filter(|letter| !matches!(letter, '-' | '.' | '(' | ')' | ' '))
            .collect();
        let user = user.as_str();
        if self.deny.iter().any(|pattern| pattern.matches(user)) {
            return Err(Refused::Denied);
        }
        match &self.allow {
            Some(allow) if allow.iter().any(|pattern| pattern.matches(user)) => Ok(()),
            Some(_) => Err(Refused::NotAllowed),
            None if self.is_abroad(user) => Err(Refused::Abroad),
            None => Ok(()),
        }
    }

    fn is_abroad(&self, user: &str) -> bool {
        let written = |prefix: &str| user.strip_prefix(prefix).map(|rest| format!("+{rest}"));
        let dialled = |prefix: &str| user.starts_with(prefix);
        let international = match self.home {
            Some(home) => written(home.international),
            // Nobody knows what the other side makes of it: the two common
            // prefixes count.
            None if dialled("00") || dialled("011") => Some(user.to_owned()),
            None => None,
        };
        let number = international.as_deref().unwrap_or(user);
        if !number.starts_with('+') && international.is_none() {
            return false;
        }
        let Some(home) = self.home else { return true };
        let national = number
            .strip_prefix('+')
            .and_then(|rest| rest.strip_prefix(home.code));
        let known = Number::parse(number).is_some();
        match national.filter(|_| known) {
            Some(national) if home.code == "1" => {
                NANP_ABROAD.iter().any(|area| national.starts_with(area))
            }
            Some(_) => false,
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(home: &str, allow: Option<&[&str]>, deny: &[&str]) -> Permit {
        let patterns = |list: &[&str]| {
            let patterns = list.iter().map(|text| Pattern::parse(text).unwrap());
            patterns.collect()
        };
        Permit {
            home: Country::find(home),
            allow: allow.map(patterns),
            deny: patterns(deny),
            per_minute: 60,
        }
    }

    #[test]
    fn nothing_abroad_is_called_unless_the_file_says_so() {
        use Refused::{Abroad, Denied, NotAllowed};
        let some = Some(["+49*", "110"].as_slice());
        let table = [
            ("DE", None, "+4930123456", Ok(())),
            ("DE", None, "+442012345678", Err(Abroad)),
            ("DE", None, "00442012345678", Err(Abroad)),
            ("DE", None, "004930123456", Ok(())),
            ("DE", None, "030123456", Ok(())),
            ("DE", None, "200", Ok(())),
            ("DE", None, "sip:+5355512345@sbc.example", Err(Abroad)),
            ("DE", None, "sip:%2B5355512345@sbc.example", Err(Abroad)),
            ("DE", None, "tel:+53-555-12345", Err(Abroad)),
            ("DE", None, "sip:echo@127.0.0.1", Ok(())),
            ("US", None, "+12125550100", Ok(())),
            ("US", None, "+18765550100", Err(Abroad)),
            ("US", None, "0115355512345", Err(Abroad)),
            ("", None, "5550100", Ok(())),
            ("", None, "+12125550100", Err(Abroad)),
            ("", None, "0015355512345", Err(Abroad)),
            ("", None, "0115355512345", Err(Abroad)),
            ("DE", some, "+4930123456", Ok(())),
            ("DE", some, "110", Ok(())),
            ("DE", some, "+442012345678", Err(NotAllowed)),
            ("DE", some, "1100", Err(NotAllowed)),
            ("DE", some, "+4990012345", Err(Denied)),
        ];
        for (home, allow, to, expected) in table {
            let found = permit(home, allow, &["+49900*"]).judge(to);
            assert_eq!(found, expected, "{home} {allow:?} {to}");
        }
    }
}
