//! Whether a caller's signed number is worth believing (RFC 8224, RFC 8588): the
//! signature, in its full or its compact form, its age, for whom it was made, who sent
//! the call on since (RFC 8946), and for which numbers its certificate is (`numbers`).
//!
//! Certificates are files that the config names; nothing is fetched. The decision
//! thread asks it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use offhook_sip::identity::{Attestation, SignedIdentity};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use self::numbers::Numbers;
use crate::settings::certificates;

mod numbers;

/// The extension that tells who sent a call on (RFC 8946 §3).
const DIVERSION: &str = "div";

/// How old a signature may be, and how far ahead of our clock (RFC 8224 §6.2).
const FRESH: Duration = Duration::from_secs(60);
/// Octets of each half of an ES256 signature (RFC 7518 §3.4).
const HALF: usize = 32;
/// Of a certificate that says what its key is for (id-kp-clientAuth, RFC 5280
/// §4.2.1.12); those of STIR say nothing as a rule.
const CLIENT_AUTH: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 3, 2];

/// Who vouches for signers, and the signers' certificates.
#[derive(Clone, Debug)]
pub struct Stir {
    anchors: Vec<TrustAnchor<'static>>,
    /// By the address that a signature names; the signer's own is the first.
    chains: BTreeMap<String, Vec<CertificateDer<'static>>>,
}

/// What a signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Right(Right),
    /// Its certificate is not here: it says nothing.
    Unknown,
    /// It is wrong.
    Wrong(Flaw),
}

/// What a right signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// How well the signer knows the caller.
    pub attestation: Option<Attestation>,
    /// Codes of the providers whose certificate it is, where it says so (RFC 8226 §9).
    pub providers: Vec<String>,
}

/// What is wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It cannot be read, or is not of ES256.
    Unreadable,
    /// Nobody vouches for its certificate now.
    Untrusted,
    /// It was not made by this certificate's key over these words.
    Signature,
    /// It was made too long ago, or in the future.
    Stale,
    /// It is for another caller.
    Caller,
    /// It is for somebody else's call.
    Called,
    /// Its certificate is for other numbers than the one it signs for.
    Authority,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Right(_) => "verified",
            Self::Unknown => "not verified: its certificate is not in [stir]",
            Self::Wrong(Flaw::Unreadable) => "wrong: not ES256, or not readable",
            Self::Wrong(Flaw::Untrusted) => "wrong: nobody vouches for its certificate",
            Self::Wrong(Flaw::Signature) => "wrong: the signature does not fit",
            Self::Wrong(Flaw::Stale) => "wrong: not signed within the last 60 s",
            Self::Wrong(Flaw::Caller) => "wrong: signed for another caller",
            Self::Wrong(Flaw::Called) => "wrong: signed for a call to somebody else",
            Self::Wrong(Flaw::Authority) => "wrong: its certificate is for other numbers",
        })
    }
}

impl Stir {
    /// Reads the files.
    ///
    /// # Errors
    /// The place of the file among `signers` (`None`: the authorities) that cannot be
    /// used, and why.
    pub fn load(
        authorities: &Path,
        signers: &[(String, PathBuf)],
    ) -> Result<Self, (Option<usize>, String)> {
        let mut anchors = Vec::new();
        for authority in certificates(authorities).map_err(|reason| (None, reason))? {
            let anchor = webpki::anchor_from_trusted_cert(&authority)
                .map_err(|error| (None, format!("`{}`: {error}", authorities.display())))?;
            anchors.push(anchor.to_owned());
        }
        let mut chains = BTreeMap::new();
        for (place, (url, file)) in signers.iter().enumerate() {
            let chain = certificates(file).map_err(|reason| (Some(place), reason))?;
            chains.insert(url.clone(), chain);
        }
        Ok(Self { anchors, chains })
    }

    /// What the signatures of a call are worth at this time, the caller's first: in a
    /// call from this number to one of those; written in any way with digits. Who sent
    /// the call on by a signature of its own vouches that it was for it (RFC 8946 §5).
    pub fn judge(
        &self,
        signed: &[SignedIdentity],
        caller: &str,
        called: &[String],
        now: Duration,
    ) -> Vec<Verdict> {
        let mut called = called.to_vec();
        let mut verdicts = vec![Verdict::Unknown; signed.len()];
        let order = |wanted: bool| {
            let all = signed.iter().enumerate();
            all.filter(move |(_, it)| is_diversion(it) == wanted)
        };
        // Each detour may have been signed before or after the one it led to.
        for _ in 0..signed.len() {
            let known = called.len();
            for (place, it) in order(true) {
                if matches!(verdicts[place], Verdict::Right(_)) {
                    continue;
                }
                verdicts[place] = self.judge_one(it, caller, &called, now);
                let right = matches!(verdicts[place], Verdict::Right(_));
                called.extend(it.diverter.clone().filter(|_| right));
            }
            if called.len() == known {
                break;
            }
        }
        for (place, it) in order(false) {
            verdicts[place] = self.judge_one(it, caller, &called, now);
        }
        verdicts
    }

    fn judge_one(
        &self,
        signed: &SignedIdentity,
        caller: &str,
        called: &[String],
        now: Duration,
    ) -> Verdict {
        let token = signed.text.split(';').next().unwrap_or_default().trim();
        let Some((words, signature)) = token.rsplit_once('.') else {
            return Verdict::Wrong(Flaw::Unreadable);
        };
        let Some(signature) = signature_der(signature) else {
            return Verdict::Wrong(Flaw::Unreadable);
        };
        let url = match words {
            COMPACT => signed.certificate.clone().filter(|_| is_plain(signed)),
            words => header(words),
        };
        let Some(url) = url else {
            return Verdict::Wrong(Flaw::Unreadable);
        };
        let Some(chain) = self.chains.get(&url) else {
            return Verdict::Unknown;
        };
        let judged = match words {
            COMPACT => self.judge_compact(chain, (signed, &url), (caller, called), now, &signature),
            words => self
                .vouched(chain, now, &[words.to_owned()], &signature)
                .and_then(|()| is_for(signed, caller, called)),
        };
        let issued = signed.issued_at.map(Duration::from_secs);
        let fresh = issued.is_some_and(|at| now.abs_diff(at) <= FRESH);
        let right = judged
            .and_then(|()| fresh.then_some(()).ok_or(Flaw::Stale))
            .and_then(|()| may_sign(chain, signed.diverter.as_deref().unwrap_or(caller)));
        match right {
            Ok(providers) => Verdict::Right(Right {
                attestation: signed.attestation,
                providers,
            }),
            Err(flaw) => Verdict::Wrong(flaw),
        }
    }

    /// The compact form leaves out what the message says already: it is written anew as
    /// the signer must have written it (RFC 8224 §7, RFC 8225 §9), for each way in which
    /// the called may be named.
    fn judge_compact(
        &self,
        chain: &[CertificateDer<'static>],
        (signed, url): (&SignedIdentity, &str),
        (caller, called): (&str, &[String]),
        now: Duration,
        signature: &[u8],
    ) -> Result<(), Flaw> {
        let issued = signed.issued_at.ok_or(Flaw::Stale)?;
        let encode = |json: String| URL_SAFE_NO_PAD.encode(json);
        let url = serde_json::Value::from(url);
        let header = encode(format!(r#"{{"alg":"ES256","typ":"passport","x5u":{url}}}"#));
        let caller = digits(caller);
        let words = |called: &String| {
            let called = digits(called);
            let claims = format!(
                r#"{{"dest":{{"tn":["{called}"]}},"iat":{issued},"orig":{{"tn":"{caller}"}}}}"#
            );
            format!("{header}.{}", encode(claims))
        };
        let all: Vec<_> = called.iter().take(WAYS_MAX).map(words).collect();
        self.vouched(chain, now, &all, signature)
    }

    fn vouched(
        &self,
        chain: &[CertificateDer<'static>],
        now: Duration,
        words: &[String],
        signature: &[u8],
    ) -> Result<(), Flaw> {
        let (own, between) = chain.split_first().ok_or(Flaw::Untrusted)?;
        let own = EndEntityCert::try_from(own).map_err(|_| Flaw::Untrusted)?;
        own.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &self.anchors,
            between,
            UnixTime::since_unix_epoch(now),
            KeyUsage::required_if_present(CLIENT_AUTH),
            None,
            None,
        )
        .map_err(|_| Flaw::Untrusted)?;
        let fits = |words: &String| {
            let algorithm = webpki::ring::ECDSA_P256_SHA256;
            let judged = own.verify_signature(algorithm, words.as_bytes(), signature);
            judged.is_ok()
        };
        words.iter().any(fits).then_some(()).ok_or(Flaw::Signature)
    }
}

/// Header and claims of the compact form: none.
const COMPACT: &str = ".";
/// Ways of naming the called that are tried.
const WAYS_MAX: usize = 8;

/// It says who sent the call on.
pub fn is_diversion(signed: &SignedIdentity) -> bool {
    signed.extension.as_deref() == Some(DIVERSION)
}

/// Its claims are those of RFC 8225 alone: what others there are, the compact form cannot
/// say (RFC 8224 §7).
fn is_plain(signed: &SignedIdentity) -> bool {
    signed.extension.is_none()
}

/// It is of this caller and for somebody whom the call was for.
fn is_for(signed: &SignedIdentity, caller: &str, called: &[String]) -> Result<(), Flaw> {
    if !signed.origin.as_deref().is_some_and(|it| same(it, caller)) {
        return Err(Flaw::Caller);
    }
    let mut all = signed.destinations.iter();
    let meant = all.any(|it| called.iter().any(|called| same(it, called)));
    meant.then_some(()).ok_or(Flaw::Called)
}

/// Whether a certificate may sign for a number: where it says for which it may. Gives the
/// providers that it names.
fn may_sign(chain: &[CertificateDer<'static>], number: &str) -> Result<Vec<String>, Flaw> {
    let own = chain.first().ok_or(Flaw::Untrusted)?;
    match Numbers::of(own) {
        None => Ok(Vec::new()),
        Some(Ok(numbers)) if numbers.cover(&digits(number)) => Ok(numbers.providers),
        Some(_) => Err(Flaw::Authority),
    }
}

/// Where the certificate of a token is to be had, if it is of a kind we know
/// (RFC 8225 §4).
fn header(words: &str) -> Option<String> {
    let json = URL_SAFE_NO_PAD.decode(words.split('.').next()?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let is = |name: &str, wanted: &str| header[name].as_str() == Some(wanted);
    // Extensions other than these have rules of their own (RFC 8224 §6.1).
    let plain = header["ppt"].is_null();
    let known = is("alg", "ES256") && (plain || is("ppt", "shaken") || is("ppt", DIVERSION));
    known.then(|| header["x5u"].as_str().map(str::to_owned))?
}

/// The signature of a token in the form that certificates use: a SEQUENCE of two
/// INTEGERs (RFC 5480 §2.2.3) instead of two halves (RFC 7518 §3.4).
fn signature_der(text: &str) -> Option<Vec<u8>> {
    let halves = URL_SAFE_NO_PAD.decode(text).ok()?;
    if halves.len() != 2 * HALF {
        return None;
    }
    let mut body = Vec::with_capacity(2 * HALF + 6);
    for half in halves.chunks(HALF) {
        let first = half.iter().position(|octet| *octet != 0)?;
        let digits = &half[first..];
        // A first bit of one would make it negative.
        let pad = usize::from(digits[0] & 0x80 != 0);
        body.extend([0x02, u8::try_from(digits.len() + pad).ok()?]);
        body.extend(std::iter::repeat_n(0, pad));
        body.extend(digits);
    }
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.extend(body);
    Some(der)
}

/// Numbers are signed as digits alone (RFC 8224 §8.3).
fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn same(one: &str, other: &str) -> bool {
    let (one, other) = (digits(one), digits(other));
    !one.is_empty() && one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_integers_without_needless_zeros() {
        let mut halves = [0_u8; 64];
        (halves[31], halves[32]) = (5, 0x80);
        let der = signature_der(&URL_SAFE_NO_PAD.encode(halves)).unwrap();
        assert_eq!(der[..7], [0x30, 38, 2, 1, 5, 2, 33]);
        assert_eq!(der[7..9], [0, 0x80]);
        assert_eq!(der.len(), 40);
        assert_eq!(signature_der(&URL_SAFE_NO_PAD.encode([0; 64])), None);
        assert_eq!(signature_der(&URL_SAFE_NO_PAD.encode([1; 63])), None);
        assert_eq!(signature_der("?"), None);
    }

    #[test]
    fn a_token_of_another_kind_is_not_read() {
        let words = |json: &str| format!("{}.e30", URL_SAFE_NO_PAD.encode(json));
        for (json, expected) in [
            (r#"{"alg":"ES256","ppt":"shaken","x5u":"u"}"#, Some("u")),
            (r#"{"alg":"ES256","x5u":"u"}"#, Some("u")),
            (r#"{"alg":"none","ppt":"shaken","x5u":"u"}"#, None),
            (r#"{"alg":"ES256","ppt":"div","x5u":"u"}"#, Some("u")),
            (r#"{"alg":"ES256","ppt":"rph","x5u":"u"}"#, None),
            (r#"{"alg":"ES256"}"#, None),
            ("", None),
        ] {
            assert_eq!(header(&words(json)).as_deref(), expected, "{json}");
        }
    }
}
