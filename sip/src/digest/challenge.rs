//! Reads `WWW-Authenticate`, `Proxy-Authenticate` and their answers.
//!
//! One header line may hold several challenges, and a challenge holds a list
//! itself; both are separated by commas, so a challenge begins where a word is
//! followed by another one.

use std::borrow::Cow;

use super::{Algorithm, Qop};
use crate::text;

/// Most challenges read in one message; a server offers one per algorithm.
const CHALLENGES_MAX: usize = 8;
/// Most parameters of one of them.
const PARAMETERS_MAX: usize = 32;
/// Longest realm, nonce or opaque that is answered, in bytes.
const VALUE_MAX: usize = 1024;

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is meant.
    pub realm: String,
    /// The server's number.
    pub nonce: String,
    /// Comes back as it is.
    pub opaque: Option<String>,
    /// Hash.
    pub algorithm: Algorithm,
    /// The password was right, only the nonce was too old.
    pub stale: bool,
    /// What may be protected, in our order of liking; `None` for a server of
    /// RFC 2069, which names nothing.
    pub qop: Option<Qop>,
}

impl Challenge {
    /// The challenges of one header value that can be answered, in order.
    /// Other schemes, unknown algorithms and unknown qualities are left out.
    pub fn read(value: &[u8]) -> Vec<Self> {
        let groups = groups(value);
        groups.iter().filter_map(Self::from_group).collect()
    }

    fn from_group(group: &Group<'_>) -> Option<Self> {
        if !group.is_digest() {
            return None;
        }
        let text = |name| group.text(name).filter(|text| text.len() <= VALUE_MAX);
        let algorithm = match group.text("algorithm") {
            Some(name) => Algorithm::named(&name)?,
            None => Algorithm::Md5,
        };
        Some(Self {
            realm: text("realm")?,
            nonce: text("nonce")?,
            opaque: text("opaque"),
            algorithm,
            stale: text("stale").is_some_and(|word| word.eq_ignore_ascii_case("true")),
            qop: match text("qop") {
                Some(list) => Some(best_qop(&list)?),
                None => None,
            },
        })
    }
}

/// `auth` when it is offered: gateways on the way change bodies.
fn best_qop(list: &str) -> Option<Qop> {
    let offers = |wanted: Qop| {
        list.split(',')
            .any(|word| word.trim().eq_ignore_ascii_case(wanted.as_str()))
    };
    [Qop::Auth, Qop::AuthInt]
        .into_iter()
        .find(|qop| offers(*qop))
}

/// What a client sends back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) user: String,
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) uri: String,
    pub(super) response: String,
    pub(super) algorithm: Algorithm,
    /// Quality, count as written, client nonce.
    pub(super) qop: Option<(Qop, String, String)>,
}

impl Authorization {
    /// Reads one header value.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let groups = groups(value);
        let group = groups.first().filter(|group| group.is_digest())?;
        let text = |name| group.text(name).filter(|text| text.len() <= VALUE_MAX);
        let qop = match text("qop") {
            Some(word) => Some((best_qop(&word)?, text("nc")?, text("cnonce")?)),
            None => None,
        };
        Some(Self {
            user: text("username")?,
            realm: text("realm")?,
            nonce: text("nonce")?,
            uri: text("uri")?,
            response: text("response")?,
            algorithm: match text("algorithm") {
                Some(name) => Algorithm::named(&name)?,
                None => Algorithm::Md5,
            },
            qop,
        })
    }

    /// The nonce count, when it is eight hexadecimal digits.
    pub(super) fn count(&self) -> Option<u32> {
        let (_, count, _) = self.qop.as_ref()?;
        let digits = count.len() == 8 && count.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits
            .then(|| u32::from_str_radix(count, 16).ok())
            .flatten()
    }
}

/// A scheme and its parameters.
struct Group<'a> {
    scheme: &'a [u8],
    parameters: Vec<(&'a [u8], &'a [u8])>,
}

impl Group<'_> {
    fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    /// A parameter without quotes; the first of its name counts.
    fn text(&self, name: &str) -> Option<String> {
        self.parameters
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| text::unquote(value))
            .map(Cow::into_owned)
    }
}

fn groups(value: &[u8]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for element in text::elements(value).map_while(Result::ok) {
        let parameter = match begins_group(element) {
            Some((scheme, rest)) => {
                if groups.len() >= CHALLENGES_MAX {
                    break;
                }
                groups.push(Group {
                    scheme,
                    parameters: Vec::new(),
                });
                rest
            }
            None => element,
        };
        let (name, value) = text::split_at_first(parameter, b'=');
        if let (Some(group), Some(value)) = (groups.last_mut(), value)
            && group.parameters.len() < PARAMETERS_MAX
        {
            group.parameters.push((text::trim(name), text::trim(value)));
        }
    }
    groups
}

/// `Digest realm="x"` as scheme and first parameter; a parameter with blanks
/// around its `=` is none.
fn begins_group(element: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = element.iter().position(|byte| !text::is_token_byte(*byte));
    let (scheme, rest) = element.split_at(end.unwrap_or(element.len()));
    let rest = text::trim(rest);
    (!scheme.is_empty() && !rest.starts_with(b"=")).then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_every_way_that_servers_write_them() {
        let table: &[(&str, &[&str])] = &[
            (
                r#"Digest realm="asterisk",nonce="1/2",opaque="o",algorithm=md5,qop="auth""#,
                &["asterisk 1/2 MD5 Some(Auth) false"],
            ),
            (
                r#"Digest realm="a, b", nonce="n", qop="auth,auth-int", algorithm=SHA-256, Digest realm="a, b", nonce="m", algorithm=MD5"#,
                &["a, b n SHA-256 Some(Auth) false", "a, b m MD5 None false"],
            ),
            (
                r#"Basic realm="x", DIGEST  realm = "r" , nonce = "n" , stale = TRUE , qop = auth-int"#,
                &["r n MD5 Some(AuthInt) true"],
            ),
            (
                r#"Digest realm="r",nonce="n",algorithm="SHA-512-256-sess""#,
                &["r n SHA-512-256-sess None false"],
            ),
            (r#"Digest realm="r",nonce="n",algorithm=SHA-3"#, &[]),
            (r#"Digest realm="r",nonce="n",qop="other""#, &[]),
            (r#"Digest realm="r""#, &[]),
            (r#"Digest realm="r, nonce="n""#, &[]),
            ("", &[]),
        ];
        for (value, expected) in table {
            let found: Vec<_> = Challenge::read(value.as_bytes())
                .iter()
                .map(|one| {
                    let Challenge { realm, nonce, .. } = one;
                    let (algorithm, qop, stale) = (one.algorithm, one.qop, one.stale);
                    format!("{realm} {nonce} {algorithm} {qop:?} {stale}")
                })
                .collect();
            assert_eq!(&found, expected, "{value}");
        }
    }

    #[test]
    fn a_header_of_a_thousand_challenges_is_read_to_the_eighth() {
        let value = r#"Digest realm="r",nonce="n", "#.repeat(1000);
        assert_eq!(Challenge::read(value.as_bytes()).len(), CHALLENGES_MAX);
    }
}
