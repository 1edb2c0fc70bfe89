//! The hashes that a digest may be made with. Bytes in, hexadecimal out.

use core::fmt;
use core::fmt::Write as _;

use md5::Md5;
use sha2::digest::Digest;
use sha2::{Sha256, Sha512_256};

/// A hash and whether its first half is bound to the session (`-sess`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `MD5`, also what a challenge without an algorithm means.
    Md5,
    /// `MD5-sess`
    Md5Session,
    /// `SHA-256` (RFC 8760)
    Sha256,
    /// `SHA-256-sess`
    Sha256Session,
    /// `SHA-512-256` (RFC 8760)
    Sha512_256,
    /// `SHA-512-256-sess`
    Sha512_256Session,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Md5,
        Self::Md5Session,
        Self::Sha256,
        Self::Sha256Session,
        Self::Sha512_256,
        Self::Sha512_256Session,
    ];

    /// The token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Session => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Session => "SHA-256-sess",
            Self::Sha512_256 => "SHA-512-256",
            Self::Sha512_256Session => "SHA-512-256-sess",
        }
    }

    /// The algorithm of a token, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    pub(super) const fn is_session(self) -> bool {
        match self {
            Self::Md5Session | Self::Sha256Session | Self::Sha512_256Session => true,
            Self::Md5 | Self::Sha256 | Self::Sha512_256 => false,
        }
    }

    /// Hash of the parts with colons between them.
    pub(super) fn hash(self, parts: &[&str]) -> String {
        self.hash_bytes(parts.join(":").as_bytes())
    }

    pub(super) fn hash_bytes(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 | Self::Md5Session => hexadecimal(&Md5::digest(bytes)),
            Self::Sha256 | Self::Sha256Session => hexadecimal(&Sha256::digest(bytes)),
            Self::Sha512_256 | Self::Sha512_256Session => hexadecimal(&Sha512_256::digest(bytes)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
