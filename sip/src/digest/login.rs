//! The client's side: a user, its password, and what the server asked last.
//!
//! A [`Login`] lives as long as the trunk or the call that uses it; its nonces
//! are used again with the next count, so that a refresh needs no second round.

use core::fmt;

use super::{Challenge, Covered, Inputs, Qop, quoted, response};
use crate::headers::HeaderName;
use crate::message::{Core, StatusCode};

/// Most realms that one request is authorised for (a server and its proxies).
const REALMS_MAX: usize = 4;
/// Stale nonces that one request may meet before we stop believing the server.
const STALE_MAX: u8 = 3;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password; never shown.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `Authorization` or `Proxy-Authorization`.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing in it that we know how to answer.
    Unknown,
    /// The answer was wrong: user or password is not the server's.
    Rejected,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Server,
    Proxy,
}

#[derive(Clone, Debug)]
struct Known {
    asker: Asker,
    challenge: Challenge,
    count: u32,
}

/// What one request has met so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Realms that this request itself was asked for.
    asked: u8,
    stale: u8,
}

/// Credentials and the challenges that they answer.
#[derive(Clone, Debug)]
pub struct Login {
    credentials: Credentials,
    known: Vec<Known>,
}

impl Login {
    /// Nobody has asked yet.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            known: Vec::new(),
        }
    }

    /// Takes the challenges of a 401 or 407. `Ok`: the request is worth
    /// another try, with [`Login::lines`].
    ///
    /// Per realm the first challenge counts that we can answer, since a server
    /// lists the one it likes best first (RFC 8760 §2.4).
    ///
    /// # Errors
    /// Nothing could be answered, or the answer was already there and wrong.
    pub fn take(
        &mut self,
        status: StatusCode,
        core: &Core<'_>,
        taken: &mut Taken,
    ) -> Result<(), Refusal> {
        let (asker, name) = match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                (Asker::Proxy, HeaderName::ProxyAuthenticate)
            }
            _ => (Asker::Server, HeaderName::WwwAuthenticate),
        };
        let mut first_of_realm: Vec<Challenge> = Vec::new();
        for challenge in core.view.values(name).flat_map(Challenge::read) {
            let seen = first_of_realm
                .iter()
                .any(|one| one.realm == challenge.realm);
            if !seen && first_of_realm.len() < REALMS_MAX {
                first_of_realm.push(challenge);
            }
        }
        if first_of_realm.is_empty() {
            return Err(Refusal::Unknown);
        }
        for challenge in first_of_realm {
            self.settle(asker, challenge, taken)?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        asker: Asker,
        challenge: Challenge,
        taken: &mut Taken,
    ) -> Result<(), Refusal> {
        let mask = match asker {
            Asker::Server => 1,
            Asker::Proxy => 2,
        };
        if challenge.stale && taken.stale < STALE_MAX {
            taken.stale += 1;
        } else if taken.asked & mask != 0 && self.answers(asker, &challenge.realm) {
            // A nonce of an earlier request may be refused without `stale`;
            // one that was made for this request may not.
            return Err(Refusal::Rejected);
        }
        taken.asked |= mask;
        self.known
            .retain(|known| known.asker != asker || known.challenge.realm != challenge.realm);
        if self.known.len() >= REALMS_MAX {
            self.known.remove(0);
        }
        self.known.push(Known {
            asker,
            challenge,
            count: 0,
        });
        Ok(())
    }

    fn answers(&self, asker: Asker, realm: &str) -> bool {
        self.known
            .iter()
            .any(|known| known.asker == asker && known.challenge.realm == realm)
    }

    /// Whether a request can be authorised before anybody asks.
    pub fn is_ready(&self) -> bool {
        !self.known.is_empty()
    }

    /// The header lines for a request, one per realm; each use counts the
    /// nonce up. `client_nonce` must be new and unguessable.
    pub fn lines(&mut self, covered: &Covered<'_>, client_nonce: &str) -> Vec<Line> {
        let credentials = &self.credentials;
        let known = self.known.iter_mut();
        known
            .map(|known| Line {
                name: match known.asker {
                    Asker::Server => "Authorization",
                    Asker::Proxy => "Proxy-Authorization",
                },
                value: known.authorise(credentials, covered, client_nonce),
            })
            .collect()
    }
}

impl Known {
    fn authorise(
        &mut self,
        credentials: &Credentials,
        covered: &Covered<'_>,
        client_nonce: &str,
    ) -> String {
        self.count = self.count.saturating_add(1);
        let count = format!("{:08x}", self.count);
        let Challenge {
            realm,
            nonce,
            opaque,
            algorithm,
            qop,
            ..
        } = &self.challenge;
        let qop: Option<(Qop, &str, &str)> = qop.map(|qop| (qop, count.as_str(), client_nonce));
        let inputs = Inputs {
            algorithm: *algorithm,
            user: &credentials.user,
            realm,
            password: &credentials.password,
            nonce,
            qop,
        };
        let answer = response(&inputs, covered);
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{answer}\", algorithm={algorithm}",
            quoted(&credentials.user),
            quoted(realm),
            quoted(nonce),
            quoted(covered.uri),
        );
        if let Some(opaque) = opaque {
            value += &format!(", opaque={}", quoted(opaque));
        }
        match qop {
            Some((qop, count, client_nonce)) => {
                let qop = qop.as_str();
                value += &format!(", qop={qop}, nc={count}, cnonce=\"{client_nonce}\"");
            }
            // A session hash needs the client nonce even without quality.
            None if algorithm.is_session() => value += ", cnonce=\"\"",
            None => {}
        }
        value
    }
}
