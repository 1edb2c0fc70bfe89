//! Who calls, and by which detours, as trunks tell it: P-Asserted-Identity
//! (RFC 3325), Diversion (RFC 5806), History-Info (RFC 7044), Identity
//! (RFC 8224). Reading only; nothing here is verified or believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::date;
use crate::event::Party;
use crate::headers::{HeaderName, NameAddr, Params};
use crate::message::Core;
use crate::text;
use crate::uri::{self, Uri};

/// Most values of one header that are passed on.
const VALUES_MAX: usize = 8;
/// Longest Identity header that is read, in bytes.
const IDENTITY_MAX: usize = 8192;

/// One diversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diversion {
    /// Who diverted the call.
    pub party: Party,
    /// Why: `unconditional`, `user-busy`, `no-answer`, …
    pub reason: Option<String>,
    /// How many diversions this entry stands for.
    pub counter: u32,
    /// The party wants not to be shown.
    pub private: bool,
}

/// One station of a call's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Where it was sent to.
    pub target: Uri,
    /// Its place among them: `1.2`.
    pub index: String,
    /// Why it went on from there: `cause` of the URI (RFC 4458) or the status
    /// of its `Reason`.
    pub cause: Option<u16>,
}

/// How far the signer knows the caller (RFC 8588 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attestation {
    /// A: the caller, and that the number is theirs.
    Full,
    /// B: the caller.
    Partial,
    /// C: only where the call came in.
    Gateway,
}

impl Attestation {
    /// Its letter.
    pub const fn letter(self) -> char {
        match self {
            Self::Full => 'A',
            Self::Partial => 'B',
            Self::Gateway => 'C',
        }
    }
}

/// A signed identity, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIdentity {
    /// Whose rules its claims follow: `shaken`, `div`; `None`: those of RFC 8225 alone.
    pub extension: Option<String>,
    /// The number that sent the call on (`div`, RFC 8946 §4).
    pub diverter: Option<String>,
    /// How far the signer knows the caller.
    pub attestation: Option<Attestation>,
    /// Number of the caller.
    pub origin: Option<String>,
    /// Numbers that were called.
    pub destinations: Vec<String>,
    /// When it was signed, in seconds since 1970. In the compact form (RFC 8224 §7),
    /// which repeats nothing of the message, it is what `Date` says, and caller and
    /// called are not known from here.
    pub issued_at: Option<u64>,
    /// Where the certificate is to be had.
    pub certificate: Option<String>,
    /// The header as it came.
    pub text: String,
}

/// Who asserts to be calling; at most eight.
pub(crate) fn asserted(core: &Core<'_>) -> Vec<Party> {
    addresses(core, HeaderName::PAssertedIdentity)
        .map(|address| party(&address))
        .collect()
}

/// Diversions, the latest first; at most eight.
pub(crate) fn diversions(core: &Core<'_>) -> Vec<Diversion> {
    let read = |address: NameAddr<'_>| {
        let params = address.params;
        let word = |name| params.value(name).map(|it| text::unquote(it).into_owned());
        let counter = params.value(b"counter").and_then(text::decimal);
        let privacy = word(b"privacy").unwrap_or_default();
        Diversion {
            party: party(&address),
            reason: word(b"reason"),
            counter: counter.and_then(|it| u32::try_from(it).ok()).unwrap_or(1),
            private: matches!(
                privacy.to_ascii_lowercase().as_str(),
                "full" | "uri" | "name"
            ),
        }
    };
    addresses(core, HeaderName::Diversion).map(read).collect()
}

/// Stations of the call, the first one first; at most eight.
pub(crate) fn history(core: &Core<'_>) -> Vec<HistoryEntry> {
    let read = |address: NameAddr<'_>| HistoryEntry {
        target: address.uri.to_uri(),
        index: address
            .params
            .value(b"index")
            .map(|it| text::decode(it).into_owned())
            .unwrap_or_default(),
        cause: cause_of(&address),
    };
    addresses(core, HeaderName::HistoryInfo).map(read).collect()
}

/// Whether the caller wants not to be shown (RFC 3323 §4.2, RFC 3325 §9.3).
pub(crate) fn is_private(core: &Core<'_>) -> bool {
    let values = core.view.values(HeaderName::Privacy);
    let mut words = values.flat_map(|value| value.split(|byte| matches!(byte, b';' | b',')));
    words.any(|word| {
        let word = text::trim(word);
        [b"id".as_slice(), b"user", b"header"]
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known))
    })
}

/// The Identity headers that can be read, at most eight: who calls, and who sent the
/// call on.
pub(crate) fn signed(core: &Core<'_>) -> Vec<SignedIdentity> {
    let date = core.view.values(HeaderName::Date).next();
    let date = date.and_then(date::seconds);
    let values = core.view.values(HeaderName::Identity);
    values
        .take(VALUES_MAX)
        .filter_map(|value| read_signed(value, date))
        .collect()
}

fn addresses<'v>(core: &Core<'v>, name: HeaderName) -> impl Iterator<Item = NameAddr<'v>> {
    let values = core.view.values(name);
    values
        .flat_map(text::elements)
        .flatten()
        .filter_map(NameAddr::parse)
        .take(VALUES_MAX)
}

pub(crate) fn party(address: &NameAddr<'_>) -> Party {
    Party {
        display: address.display().map(std::borrow::Cow::into_owned),
        uri: address.uri.to_uri(),
    }
}

fn cause_of(address: &NameAddr<'_>) -> Option<u16> {
    let number = |bytes: &[u8]| u16::try_from(text::decimal(bytes)?).ok();
    if let Some(cause) = address.uri.params.value(b"cause").and_then(number) {
        return Some(cause);
    }
    let (_, headers) = text::split_at_first(address.uri.text, b'?');
    let mut fields = headers?.split(|byte| *byte == b'&');
    let reason = fields.find_map(|field| {
        let (name, value) = text::split_at_first(field, b'=');
        value.filter(|_| name.eq_ignore_ascii_case(b"Reason"))
    })?;
    let reason = uri::unescape(reason);
    let (_, params) = text::split_at_first(reason.as_bytes(), b';');
    number(Params::parse(params?)?.value(b"cause")?)
}

/// `header.payload.signature;info=<https://…>;alg=ES256;ppt=shaken`, or
/// `..signature;info=<https://…>`.
fn read_signed(value: &[u8], date: Option<u64>) -> Option<SignedIdentity> {
    if value.len() > IDENTITY_MAX {
        return None;
    }
    let (token, params) = text::split_at_first(value, b';');
    let mut parts = text::trim(token).split(|byte| *byte == b'.');
    let (header, payload) = (parts.next()?, parts.next()?);
    let compact = header.is_empty() && payload.is_empty();
    let object = |part: &[u8]| -> Option<serde_json::Value> {
        let json = URL_SAFE_NO_PAD.decode(text::trim(part)).ok()?;
        serde_json::from_slice(&json).ok()
    };
    let claims = match compact {
        true => serde_json::Value::Null,
        false => object(payload)?,
    };
    let ppt = match compact {
        true => extension_of(params),
        false => object(header).and_then(|it| it["ppt"].as_str().map(str::to_owned)),
    };
    let word = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let attestation = match claims["attest"].as_str() {
        Some("A") => Some(Attestation::Full),
        Some("B") => Some(Attestation::Partial),
        Some("C") => Some(Attestation::Gateway),
        Some(_) | None => None,
    };
    let called = claims["dest"]["tn"].as_array().map(Vec::as_slice);
    let info = params.and_then(|params| {
        let (_, info) = split_around(params, b"info=<")?;
        Some(text::decode(text::split_at_first(info, b'>').0).into_owned())
    });
    Some(SignedIdentity {
        extension: ppt,
        diverter: word(&claims["div"]["tn"]),
        attestation,
        origin: word(&claims["orig"]["tn"]),
        destinations: called
            .unwrap_or_default()
            .iter()
            .filter_map(word)
            .take(VALUES_MAX)
            .collect(),
        issued_at: if compact {
            date
        } else {
            claims["iat"].as_u64()
        },
        certificate: info,
        text: text::decode(value).into_owned(),
    })
}

/// The parameter `ppt`, in quotes or not (RFC 8224 §4).
fn extension_of(params: Option<&[u8]>) -> Option<String> {
    let (_, rest) = split_around(params?, b"ppt=")?;
    let value = text::trim(text::split_at_first(rest, b';').0);
    Some(text::unquote(value).into_owned())
}

fn split_around<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted))?;
    Some((bytes.get(..at)?, bytes.get(at + wanted.len()..)?))
}
