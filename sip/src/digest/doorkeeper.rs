//! The server's side: asks for a digest and checks it.
//!
//! A nonce carries its own time and a seal, so asking costs no memory; only
//! nonces that were answered rightly are remembered, with the highest count
//! seen, and those lapse. A replayed answer is told to ask again.

use core::time::Duration;
use std::collections::HashMap;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::algorithm::hexadecimal;
use super::challenge::Authorization;
use super::{Algorithm, Covered, Inputs, quoted, response};
use crate::uri::UriView;

/// How long a nonce may be used.
const LIFETIME: Duration = Duration::from_secs(300);
/// Nonces in use at the same time; beyond that each request is asked anew.
const NONCES_MAX: usize = 4096;
/// Hexadecimal digits of time and of number, and of the seal.
const STAMP_DIGITS: usize = 32;
const SEAL_DIGITS: usize = 32;

/// A question: values of `WWW-Authenticate`, the one we like best first.
pub type Asked = [String; 2];

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This user, with the right password.
    Welcome {
        /// Who.
        user: String,
    },
    /// No answer, or not to a question of ours: ask.
    Ask,
    /// Right, but for an old nonce or as a repetition: ask with `stale`.
    AskAgain,
    /// Wrong user or password.
    Wrong,
}

/// Asks and checks. Time is an argument.
#[derive(Debug)]
pub struct Doorkeeper {
    realm: String,
    secret: [u8; 32],
    number: u64,
    /// Highest count of each nonce in use, and when it lapses.
    counts: HashMap<String, (u32, Duration)>,
}

impl Doorkeeper {
    /// `secret` must be unguessable; it seals the nonces.
    pub fn new(realm: &str, secret: [u8; 32]) -> Self {
        Self {
            realm: realm.to_owned(),
            secret,
            number: 0,
            counts: HashMap::new(),
        }
    }

    /// A question: SHA-256 first, MD5 for those who know nothing else
    /// (RFC 8760 §2.6), each for both qualities.
    pub fn ask(&mut self, now: Duration, stale: bool) -> Asked {
        let nonce = self.nonce(now);
        let both = [Algorithm::Sha256, Algorithm::Md5];
        both.map(|algorithm| self.question(algorithm, &nonce, "auth,auth-int", stale))
    }

    /// The one question that every peer can answer, those too that read only the
    /// first one or hash a body that they then change.
    pub fn ask_plainly(&mut self, now: Duration, stale: bool) -> String {
        let nonce = self.nonce(now);
        self.question(Algorithm::Md5, &nonce, "auth", stale)
    }

    fn question(&self, algorithm: Algorithm, nonce: &str, qop: &str, stale: bool) -> String {
        let stale = if stale { ", stale=true" } else { "" };
        let realm = quoted(&self.realm);
        format!(
            "Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, qop=\"{qop}\"{stale}"
        )
    }

    /// Checks the value of an `Authorization` line. `password` finds the
    /// password of a user.
    pub fn check(
        &mut self,
        now: Duration,
        covered: &Covered<'_>,
        value: &[u8],
        password: impl FnOnce(&str) -> Option<String>,
    ) -> Verdict {
        let Some(answer) = Authorization::read(value) else {
            return Verdict::Ask;
        };
        let Some(born) = self.born(&answer.nonce) else {
            return Verdict::Ask;
        };
        let Some(count) = answer.count().filter(|_| answer.realm == self.realm) else {
            return Verdict::Ask;
        };
        let password = password(&answer.user);
        let right = self.is_right(&answer, covered, password.as_deref().unwrap_or_default());
        if !right || password.is_none() {
            return Verdict::Wrong;
        }
        if now > born + LIFETIME || !self.count_up(now, born, &answer.nonce, count) {
            return Verdict::AskAgain;
        }
        Verdict::Welcome { user: answer.user }
    }

    fn is_right(&self, answer: &Authorization, covered: &Covered<'_>, password: &str) -> bool {
        let qop = answer.qop.as_ref();
        let inputs = Inputs {
            algorithm: answer.algorithm,
            user: &answer.user,
            realm: &self.realm,
            password,
            nonce: &answer.nonce,
            qop: qop.map(|(qop, count, client)| (*qop, count.as_str(), client.as_str())),
        };
        // The URI in the answer is the one that was hashed; it must be the one
        // that was sent (RFC 7616 §3.4.6), or its host alone, as some write it.
        let hashed = Covered {
            uri: &answer.uri,
            ..*covered
        };
        is_for(&answer.uri, covered.uri) && same(&response(&inputs, &hashed), &answer.response)
    }

    /// Remembers the count of a nonce; `false` when it does not grow.
    fn count_up(&mut self, now: Duration, born: Duration, nonce: &str, count: u32) -> bool {
        if let Some((last, _)) = self.counts.get_mut(nonce) {
            let grows = count > *last;
            *last = count.max(*last);
            return grows;
        }
        if self.counts.len() >= NONCES_MAX {
            self.counts.retain(|_, (_, lapses)| *lapses > now);
        }
        if self.counts.len() >= NONCES_MAX {
            return false;
        }
        self.counts
            .insert(nonce.to_owned(), (count, born + LIFETIME));
        true
    }

    fn nonce(&mut self, now: Duration) -> String {
        self.number = self.number.wrapping_add(1);
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let stamp = format!("{millis:016x}{:016x}", self.number);
        let seal = self.seal(&stamp);
        stamp + &seal
    }

    fn seal(&self, stamp: &str) -> String {
        let mut seal = <Hmac<Sha256> as Mac>::new_from_slice(&self.secret)
            .expect("HMAC takes keys of any length");
        seal.update(stamp.as_bytes());
        seal.update(self.realm.as_bytes());
        let mut text = hexadecimal(&seal.finalize().into_bytes());
        text.truncate(SEAL_DIGITS);
        text
    }

    /// When a nonce was made, if we made it.
    fn born(&self, nonce: &str) -> Option<Duration> {
        let (stamp, seal) = nonce.split_at_checked(STAMP_DIGITS)?;
        let millis = u64::from_str_radix(stamp.get(..16)?, 16).ok()?;
        same(&self.seal(stamp), seal).then(|| Duration::from_millis(millis))
    }
}

/// Whether an answer for one URI stands for a request to another.
fn is_for(answered: &str, sent: &str) -> bool {
    let [one, other] = [answered, sent].map(|text| UriView::parse(text.as_bytes()).ok());
    let place = one.zip(other).is_some_and(|(one, other)| {
        one.user.is_none() && one.host.eq_ignore_ascii_case(other.host) && one.port == other.port
    });
    answered == sent || place
}

/// Comparison whose time does not tell where the texts differ.
fn same(one: &str, other: &str) -> bool {
    let differing = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differing == 0
}
