//! Digest authentication (RFC 7616, RFC 8760, and RFC 2617 for the many that
//! know nothing newer).
//!
//! [`Challenge`] is what a server asks, [`Login`] answers it over the life of
//! a trunk, [`Doorkeeper`] asks and checks ourselves. Nothing here sends: the
//! endpoint carries the header lines.

mod algorithm;
mod challenge;
mod doorkeeper;
mod login;

pub use algorithm::Algorithm;
pub use challenge::Challenge;
pub use doorkeeper::{Asked, Doorkeeper, Verdict};
pub use login::{Credentials, Line, Login, Refusal, Taken};

/// What of a request a digest covers.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// Method token.
    pub method: &'a str,
    /// Request-URI as it is written in the request line.
    pub uri: &'a str,
    /// The body, for `auth-int`.
    pub body: &'a [u8],
}

/// Quality of protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop {
    /// Method and URI.
    Auth,
    /// The body too.
    AuthInt,
}

impl Qop {
    /// Its token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

/// What goes into one response besides the request (RFC 7616 §3.4.1).
#[derive(Clone, Copy, Debug)]
struct Inputs<'a> {
    algorithm: Algorithm,
    user: &'a str,
    realm: &'a str,
    password: &'a str,
    nonce: &'a str,
    /// Quality, nonce count as its eight digits, client nonce; without it the
    /// response is that of RFC 2069.
    qop: Option<(Qop, &'a str, &'a str)>,
}

/// The response: `KD(H(A1), nonce[:nc:cnonce:qop]:H(A2))`.
fn response(inputs: &Inputs<'_>, covered: &Covered<'_>) -> String {
    let hash = |parts: &[&str]| inputs.algorithm.hash(parts);
    let mut secret = hash(&[inputs.user, inputs.realm, inputs.password]);
    if inputs.algorithm.is_session() {
        let client_nonce = inputs.qop.map_or("", |(_, _, client_nonce)| client_nonce);
        secret = hash(&[&secret, inputs.nonce, client_nonce]);
    }
    let request = match inputs.qop {
        Some((Qop::AuthInt, _, _)) => {
            let body = inputs.algorithm.hash_bytes(covered.body);
            hash(&[covered.method, covered.uri, &body])
        }
        Some((Qop::Auth, _, _)) | None => hash(&[covered.method, covered.uri]),
    };
    match inputs.qop {
        Some((qop, count, client_nonce)) => hash(&[
            &secret,
            inputs.nonce,
            count,
            client_nonce,
            qop.as_str(),
            &request,
        ]),
        None => hash(&[&secret, inputs.nonce, &request]),
    }
}

/// A quoted string: what could end it is escaped, control characters are left out.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1 (both algorithms, corrected client nonce), RFC 2617 §3.5,
    /// and the same inputs with `auth-int` and without quality, computed by hand
    /// with md5sum and sha256sum.
    #[test]
    fn responses_are_those_of_the_rfcs() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let client = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let covered = Covered {
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        let table = [
            (
                Algorithm::Md5,
                "http-auth@example.org",
                "Circle of Life",
                nonce,
                client,
                "8ca523f5e9506fed4657c9700eebdbec",
            ),
            (
                Algorithm::Sha256,
                "http-auth@example.org",
                "Circle of Life",
                nonce,
                client,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
            (
                Algorithm::Md5,
                "testrealm@host.com",
                "Circle Of Life",
                "dcd98b7102dd2f0e8b11d0f600bfb0c093",
                "0a4f113b",
                "6629fae49393a05397450978507c4ef1",
            ),
        ];
        for (algorithm, realm, password, nonce, client_nonce, expected) in table {
            let inputs = Inputs {
                algorithm,
                user: "Mufasa",
                realm,
                password,
                nonce,
                qop: Some((Qop::Auth, "00000001", client_nonce)),
            };
            assert_eq!(response(&inputs, &covered), expected, "{algorithm}");
        }
    }

    /// RFC 7616 §3.9.2: user name and password beyond ASCII, as the RFC's
    /// unhashed user name.
    #[test]
    fn a_password_may_hold_any_letter() {
        let inputs = Inputs {
            algorithm: Algorithm::Sha256,
            user: "J\u{e4}s\u{f8}n Doe",
            realm: "api@example.org",
            password: "Secret, or not?",
            nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            qop: Some((Qop::AuthInt, "00000001", "NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm")),
        };
        let covered = |body| Covered {
            method: "MESSAGE",
            uri: "sip:a@b",
            body,
        };
        let one = response(&inputs, &covered(b"hello"));
        assert_eq!(one.len(), 64);
        assert_ne!(one, response(&inputs, &covered(b"hellp")));
    }

    #[test]
    fn nothing_ends_a_quoted_string_before_its_end() {
        assert_eq!(quoted("a\"b\\c\r\nd"), r#""a\"b\\cd""#);
    }
}
