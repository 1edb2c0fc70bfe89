//! Standard Webhooks signatures: made by the forwarder, checked by the sink.
//!
//! `v1,base64(HMAC-SHA256(key, "id.timestamp.body"))`, one per key, separated
//! by spaces, so that a key can be changed without losing a message.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::settings::Secret;

/// Header with the id of the message, the same on every attempt.
pub const ID: &str = "webhook-id";
/// Header with the time of the attempt, seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// A timestamp further off than this is refused (Standard Webhooks, "Verifying
/// webhook authenticity": implementations allow five minutes).
pub const TOLERANCE_S: u64 = 300;
/// Signatures looked at in one header; more keys than this are nobody's rotation.
const SIGNATURES: usize = 16;

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadSignature {
    /// A header is missing or not text.
    MissingHeader(&'static str),
    /// The timestamp is no number.
    BadTimestamp,
    /// The timestamp is further from now than the tolerance.
    StaleTimestamp,
    /// No signature fits.
    NoMatch,
}

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader(name) => write!(f, "header {name} is missing"),
            Self::BadTimestamp => f.write_str("webhook-timestamp is no number of seconds"),
            Self::StaleTimestamp => {
                write!(f, "webhook-timestamp is more than {TOLERANCE_S} s from now")
            }
            Self::NoMatch => f.write_str("no signature fits this body and key"),
        }
    }
}

impl std::error::Error for BadSignature {}

/// The signature header for one attempt; `timestamp` in seconds since 1970.
pub fn sign(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| {
            let tag = mac(secret, id, timestamp, body).finalize().into_bytes();
            format!("v1,{}", STANDARD.encode(tag))
        })
        .collect();
    signatures.join(" ")
}

/// Checks a message against any of `secrets`; in constant time per signature.
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    secrets: &[Secret],
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now_s: u64,
) -> Result<(), BadSignature> {
    let timestamp: u64 = timestamp.parse().map_err(|_| BadSignature::BadTimestamp)?;
    if timestamp.abs_diff(now_s) > TOLERANCE_S {
        return Err(BadSignature::StaleTimestamp);
    }
    let fits = signatures
        .split(' ')
        .take(SIGNATURES)
        .filter_map(|signature| STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|tag| {
            let by = |secret| mac(secret, id, timestamp, body).verify_slice(&tag).is_ok();
            secrets.iter().any(by)
        });
    if fits {
        Ok(())
    } else {
        Err(BadSignature::NoMatch)
    }
}

fn mac(secret: &Secret, id: &str, timestamp: u64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::parse(&format!("whsec_{}", STANDARD.encode([byte; 32]))).unwrap()
    }

    #[test]
    fn the_published_example_is_reproduced() {
        // The test vector of the Standard Webhooks reference libraries.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let header = sign(&[secret], id, 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn either_key_of_a_rotation_is_believed_and_a_third_is_not() {
        let header = sign(&[secret(1), secret(2)], "a", 1000, b"x");
        for (byte, expected) in [(1, Ok(())), (2, Ok(())), (3, Err(BadSignature::NoMatch))] {
            let found = verify(&[secret(byte)], "a", "1000", &header, b"x", 1000);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_was_changed_or_is_old_is_not_believed() {
        use BadSignature::{BadTimestamp, NoMatch, StaleTimestamp};
        let secrets = [secret(1)];
        let header = sign(&secrets, "a", 1000, b"x");
        let good = header.as_str();
        for (id, timestamp, header, body, now, expected) in [
            ("a", "1000", good, "x", 1300, Ok(())),
            ("a", "1000", good, "x", 1301, Err(StaleTimestamp)),
            ("a", "1000", good, "x", 699, Err(StaleTimestamp)),
            ("b", "1000", good, "x", 1000, Err(NoMatch)),
            ("a", "1001", good, "x", 1000, Err(NoMatch)),
            ("a", "1000", good, "y", 1000, Err(NoMatch)),
            ("a", "soon", good, "x", 1000, Err(BadTimestamp)),
            ("a", "1000", "v1a,zzz v1,%", "x", 1000, Err(NoMatch)),
            ("a", "1000", "", "x", 1000, Err(NoMatch)),
        ] {
            let found = verify(&secrets, id, timestamp, header, body.as_bytes(), now);
            assert_eq!(found, expected, "{id} {timestamp} {header} {body} {now}");
        }
    }
}
