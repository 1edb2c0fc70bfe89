//! `a=crypto`: keys of SRTP in SDP (RFC 4568), read and written.
//!
//! Lines that we cannot keep to - another suite, a key identifier, a parameter that we
//! do not know - are as good as absent. It decides nothing: see [`super::media`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sdp_types::Media;

use crate::rtp::srtp::{KEY, MasterKey, SALT, Suite};

/// Lines of one stream that are read; further ones are not.
const LINES_MAX: usize = 8;
/// Random octets for [`LocalSrtp::new`].
pub const RANDOM: usize = Suite::ALL.len() * (KEY + SALT);

/// How we encrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSrtp {
    /// Nothing is sent or taken in the clear.
    pub required: bool,
    /// One of ours for each suite, in the order of [`Suite::ALL`].
    keys: [MasterKey; Suite::ALL.len()],
}

impl LocalSrtp {
    /// With fresh keys out of octets that nobody can guess.
    pub fn new(required: bool, random: &[u8; RANDOM]) -> Self {
        let keys = core::array::from_fn(|place| {
            let suite = Suite::ALL[place];
            let octets = &random[place * (KEY + SALT)..][..KEY + suite.salt()];
            MasterKey::new(suite, octets).expect("cut to the length of the suite")
        });
        Self { required, keys }
    }

    /// The same, with a key that is in use already.
    #[must_use]
    pub fn keeping(mut self, key: MasterKey) -> Self {
        for own in self.keys.iter_mut().filter(|own| own.suite == key.suite) {
            *own = key;
        }
        self
    }

    /// Ours of a suite.
    pub(super) fn key(&self, suite: Suite) -> MasterKey {
        let keys = self.keys.iter().find(|key| key.suite == suite);
        *keys.expect("there is one for each suite")
    }

    /// What we offer.
    pub(super) fn lines(&self) -> Vec<Crypto> {
        let keys = self.keys.iter().zip(1..);
        keys.map(|(key, tag)| Crypto { tag, key: *key }).collect()
    }
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crypto {
    pub(super) tag: u32,
    pub(super) key: MasterKey,
}

impl Crypto {
    /// The value of the attribute.
    pub(super) fn written(&self) -> String {
        let (octets, length) = self.key.octets();
        let key = STANDARD.encode(&octets[..length]);
        format!("{} {} inline:{key}", self.tag, self.key.suite.name())
    }

    fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let name = words.next()?;
        let mut suites = Suite::ALL.into_iter();
        let suite = suites.find(|suite| suite.name().eq_ignore_ascii_case(name))?;
        let (method, key) = words.next()?.split_once(':')?;
        if !method.eq_ignore_ascii_case("inline") || words.any(|word| !is_harmless(word)) {
            return None;
        }
        // After the key: its lifetime, which no call outlives, and a key identifier.
        let mut parts = key.split('|');
        let octets = STANDARD.decode(parts.next()?).ok()?;
        if parts.any(|part| part.contains(':')) {
            return None;
        }
        let key = MasterKey::new(suite, &octets)?;
        Some(Self { tag, key })
    }
}

/// A session parameter that changes nothing of what we do (RFC 4568 §6.3).
fn is_harmless(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    word.starts_with('-') || word.starts_with("WSH=") || word == "KDR=0"
}

/// Lines that we can keep to, in their order.
pub(super) fn read(media: &Media) -> Vec<Crypto> {
    let Ok(values) = media.get_attribute_values("crypto") else {
        return Vec::new();
    };
    let values = values.flatten().take(LINES_MAX);
    values.filter_map(Crypto::read).collect()
}
