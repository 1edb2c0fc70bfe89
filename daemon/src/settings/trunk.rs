//! One peer as the config file describes it: who calls from there, where calls
//! go, and who we are to it.

use std::time::Duration;

use offhook_core::number::Numbering;
use offhook_sip::digest::Credentials;
use offhook_sip::sdp::Codec;

use super::{Cidr, Permit, Presentation, Proxy};

/// How a trunk is asked who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// With SHA-256, and MD5 for those who know nothing else.
    Any,
    /// With MD5 alone, for those who read only the first question.
    Md5,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name in logs, events and on the command line.
    pub name: String,
    /// Where its calls come from; empty: it does not call, or is known by its
    /// certificate alone.
    pub sources: Vec<Cidr>,
    /// Names in its certificate. Where there are some, only a TLS connection
    /// that proves one of them is this trunk's.
    pub identities: Vec<String>,
    /// Where its outbound calls go; `None`: it is not called.
    pub proxy: Option<Proxy>,
    /// Where requests to it are sent instead; its `proxy` is then a name for it.
    pub outbound_proxy: Option<Proxy>,
    /// Whom it may be used to call, and how often.
    pub permit: Permit,
    /// How it writes telephone numbers.
    pub numbering: Numbering,
    /// Who we are shown as to those whom we call by it.
    pub presented: Presentation,
    /// Its requests outside of calls must prove that they know the account.
    pub challenge: Option<Challenge>,
    /// Who we are there.
    pub account: Option<Account>,
    /// Gap between two OPTIONS that ask whether it is there; `None`: nobody asks.
    pub options: Option<Duration>,
    /// How sound is coded and encrypted there.
    pub sound: Sound,
    /// A person whom we called there may send the caller on (REFER).
    pub follows_refer: bool,
    /// The trunk that takes its calls while it is down.
    pub next: Option<String>,
}

/// How sound is coded and encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// Best first.
    pub codecs: Vec<Codec>,
    /// Whether it is encrypted.
    pub srtp: Srtp,
    /// How keys are pressed.
    pub keys: Keys,
}

/// How keys are pressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// As events beside the sound (RFC 4733); as tones where the other side knows none.
    #[default]
    Event,
    /// In signalling (INFO, `application/dtmf-relay`).
    Info,
    /// As tones, for lines on which events get lost; none are offered.
    Tone,
}

impl Keys {
    /// The words of the config file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("event", Self::Event),
        ("info", Self::Info),
        ("tone", Self::Tone),
    ];
}

impl Sound {
    /// Where nothing is said: everything that we have, in the clear.
    pub fn usual() -> Self {
        Self {
            codecs: Codec::ALL.to_vec(),
            srtp: Srtp::Off,
            keys: Keys::Event,
        }
    }
}

/// Whether sound is encrypted, with keys in SDP (RFC 4568).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Srtp {
    /// Never.
    #[default]
    Off,
    /// Where the other side does.
    Prefer,
    /// Always, or there is no call.
    Require,
}

impl Srtp {
    /// The words of the config file.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("off", Self::Off),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
    ];
}

/// Who we are to a trunk.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub user: String,
    /// Password; never shown.
    pub password: String,
    /// Domain of the account.
    pub domain: String,
    /// Register, for so many seconds; `None`: only prove who we are when asked.
    pub register: Option<u32>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({}@{})", self.user, self.domain)
    }
}

impl Trunk {
    /// Where its requests are sent.
    pub fn next_hop(&self) -> Option<&Proxy> {
        self.outbound_proxy.as_ref().or(self.proxy.as_ref())
    }

    /// Its calls come from where it is registered: nothing else is said of it.
    pub fn calls_from_its_registrar(&self) -> bool {
        let registers = self
            .account
            .as_ref()
            .is_some_and(|it| it.register.is_some());
        registers && self.sources.is_empty() && self.identities.is_empty()
    }
}

impl Account {
    /// What a challenge is answered with.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            user: self.user.clone(),
            password: self.password.clone(),
        }
    }
}

/// A name that a certificate can hold, and that no other trunk claims.
pub(super) fn check_identity(identity: &str, earlier: &[Trunk]) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if identity.is_empty() || !identity.chars().all(good) {
        return Err(format!(
            "`{identity}` is no name of a certificate: write it like \"sbc.example.net\""
        ));
    }
    let other = earlier
        .iter()
        .find(|trunk| trunk.identities.iter().any(|name| name == identity));
    other.map_or(Ok(()), |other| {
        Err(format!("already belongs to trunk `{}`", other.name))
    })
}

/// The trunks from `next` on: each is there and can be called, and they end.
pub(super) fn check_chain(next: &str, trunks: &[Trunk]) -> Result<(), String> {
    let mut name = next;
    for _ in 0..=trunks.len() {
        let Some(trunk) = trunks.iter().find(|trunk| trunk.name == name) else {
            return Err(format!("there is no trunk `{name}`"));
        };
        if trunk.proxy.is_none() {
            return Err(format!(
                "trunk `{name}` has no proxy, so nobody is called by it"
            ));
        }
        match &trunk.next {
            Some(next) => name = next,
            None => return Ok(()),
        }
    }
    Err(format!(
        "the trunks after `{next}` go round in a circle: leave `next` out of the last"
    ))
}
