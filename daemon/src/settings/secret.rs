//! The key that signs what goes upstream (Standard Webhooks: `whsec_` + base64).

use std::fmt;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Shortest and longest key (Standard Webhooks, "Signature scheme": 24 to 64 bytes).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const PREFIX: &str = "whsec_";

/// A signing key; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let make = "make one with: echo whsec_$(head -c 32 /dev/urandom | base64)";
        let encoded = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or_else(|| format!("is not a signing key, which begins with `{PREFIX}`: {make}"))?;
        let key = STANDARD
            .decode(encoded)
            .map_err(|_| format!("is not base64 after `{PREFIX}`: {make}"))?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(format!(
                "holds {} bytes, must hold from {} to {}: {make}",
                key.len(),
                KEY_BYTES.start(),
                KEY_BYTES.end()
            ));
        }
        Ok(Self(key))
    }

    /// The bytes that sign.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where the key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// From the config file or the file that it names.
    Here(Secret),
    /// A systemd credential of this name, there only while the service runs.
    Credential(String),
}

impl SecretSource {
    /// The key itself.
    ///
    /// # Errors
    /// The credential is not there, or holds no key.
    pub fn secret(&self) -> io::Result<Secret> {
        let name = match self {
            Self::Here(secret) => return Ok(secret.clone()),
            Self::Credential(name) => name,
        };
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            io::Error::other(format!(
                "credential `{name}`: not started by systemd with LoadCredential={name}:…"
            ))
        })?;
        let file = PathBuf::from(directory).join(name);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            io::Error::new(error.kind(), format!("credential `{name}`: {error}"))
        })?;
        Secret::parse(&text)
            .map_err(|reason| io::Error::other(format!("credential `{name}` {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_and_never_shown() {
        let text = format!("whsec_{}\n", STANDARD.encode([7u8; 32]));
        let secret = Secret::parse(&text).unwrap();
        assert_eq!(secret.bytes(), [7; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let short = format!("whsec_{}", STANDARD.encode([7u8; 8]));
        for (text, needle) in [
            ("hunter2", "begins with"),
            ("whsec_%%%", "not base64"),
            (short.as_str(), "holds 8 bytes"),
        ] {
            let reason = Secret::parse(text).unwrap_err();
            assert!(reason.contains(needle), "{reason}");
            assert!(!reason.contains("hunter2") && !reason.contains("%%%"));
        }
    }

    #[test]
    fn a_missing_credential_names_itself() {
        let source = SecretSource::Credential("webhook".into());
        let error = source.secret().unwrap_err().to_string();
        assert!(error.contains("`webhook`"), "{error}");
    }
}
