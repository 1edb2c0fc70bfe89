//! Typed header values: names, parameters, addresses, Via, CSeq.
//!
//! Every type here is a reading of bytes that stay where they are; what is
//! kept for longer is copied by the dialog or the reply head. Called by
//! [`crate::message`] and by the endpoint for the optional headers.

use std::borrow::Cow;

use crate::message::Method;
use crate::text;
use crate::uri::{self, UriView};

/// Header names that the endpoint acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderName {
    /// `Accept`
    Accept,
    /// `Allow`
    Allow,
    /// `Authorization`
    Authorization,
    /// `Call-ID`, `i`
    CallId,
    /// `Contact`, `m`
    Contact,
    /// `Content-Encoding`, `e`
    ContentEncoding,
    /// `Content-Length`, `l`
    ContentLength,
    /// `Content-Type`, `c`
    ContentType,
    /// `CSeq`
    CSeq,
    /// `Date`
    Date,
    /// `Diversion` (RFC 5806)
    Diversion,
    /// `Event`, `o` (RFC 6665)
    Event,
    /// `Expires`
    Expires,
    /// `Flow-Timer` (RFC 5626)
    FlowTimer,
    /// `From`, `f`
    From,
    /// `History-Info` (RFC 7044)
    HistoryInfo,
    /// `Identity`, `y` (RFC 8224)
    Identity,
    /// `Max-Forwards`
    MaxForwards,
    /// `Min-Expires`
    MinExpires,
    /// `Min-SE` (RFC 4028)
    MinSe,
    /// `P-Asserted-Identity` (RFC 3325)
    PAssertedIdentity,
    /// `Privacy` (RFC 3323)
    Privacy,
    /// `Proxy-Authenticate`
    ProxyAuthenticate,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `RAck` (RFC 3262)
    RAck,
    /// `Reason` (RFC 3326)
    Reason,
    /// `Record-Route`
    RecordRoute,
    /// `Refer-To`, `r` (RFC 3515)
    ReferTo,
    /// `Referred-By`, `b` (RFC 3892)
    ReferredBy,
    /// `Replaces` (RFC 3891)
    Replaces,
    /// `Require`
    Require,
    /// `Retry-After`
    RetryAfter,
    /// `Route`
    Route,
    /// `RSeq` (RFC 3262)
    RSeq,
    /// `Server`
    Server,
    /// `Service-Route` (RFC 3608)
    ServiceRoute,
    /// `Session-Expires`, `x` (RFC 4028)
    SessionExpires,
    /// `Subscription-State` (RFC 6665)
    SubscriptionState,
    /// `Supported`, `k`
    Supported,
    /// `To`, `t`
    To,
    /// `Unsupported`
    Unsupported,
    /// `User-Agent`
    UserAgent,
    /// `Via`, `v`
    Via,
    /// `Warning`
    Warning,
    /// `WWW-Authenticate`
    WwwAuthenticate,
    /// Any other.
    Other,
}

/// Long form, compact form (0 = none) and name.
const NAMES: &[(&str, u8, HeaderName)] = &[
    ("Via", b'v', HeaderName::Via),
    ("From", b'f', HeaderName::From),
    ("To", b't', HeaderName::To),
    ("Call-ID", b'i', HeaderName::CallId),
    ("CSeq", 0, HeaderName::CSeq),
    ("Contact", b'm', HeaderName::Contact),
    ("Max-Forwards", 0, HeaderName::MaxForwards),
    ("Content-Length", b'l', HeaderName::ContentLength),
    ("Content-Type", b'c', HeaderName::ContentType),
    ("Route", 0, HeaderName::Route),
    ("Record-Route", 0, HeaderName::RecordRoute),
    ("Require", 0, HeaderName::Require),
    ("Supported", b'k', HeaderName::Supported),
    ("Unsupported", 0, HeaderName::Unsupported),
    ("Allow", 0, HeaderName::Allow),
    ("Accept", 0, HeaderName::Accept),
    ("User-Agent", 0, HeaderName::UserAgent),
    ("Server", 0, HeaderName::Server),
    ("Reason", 0, HeaderName::Reason),
    ("Retry-After", 0, HeaderName::RetryAfter),
    ("Warning", 0, HeaderName::Warning),
    ("Content-Encoding", b'e', HeaderName::ContentEncoding),
    ("P-Asserted-Identity", 0, HeaderName::PAssertedIdentity),
    ("Diversion", 0, HeaderName::Diversion),
    ("Authorization", 0, HeaderName::Authorization),
    ("Proxy-Authorization", 0, HeaderName::ProxyAuthorization),
    ("WWW-Authenticate", 0, HeaderName::WwwAuthenticate),
    ("Proxy-Authenticate", 0, HeaderName::ProxyAuthenticate),
    ("Session-Expires", b'x', HeaderName::SessionExpires),
    ("Min-SE", 0, HeaderName::MinSe),
    ("RSeq", 0, HeaderName::RSeq),
    ("RAck", 0, HeaderName::RAck),
    ("Expires", 0, HeaderName::Expires),
    ("Flow-Timer", 0, HeaderName::FlowTimer),
    ("Min-Expires", 0, HeaderName::MinExpires),
    ("Service-Route", 0, HeaderName::ServiceRoute),
    ("Refer-To", b'r', HeaderName::ReferTo),
    ("Referred-By", b'b', HeaderName::ReferredBy),
    ("Replaces", 0, HeaderName::Replaces),
    ("Event", b'o', HeaderName::Event),
    ("Subscription-State", 0, HeaderName::SubscriptionState),
    ("History-Info", 0, HeaderName::HistoryInfo),
    ("Identity", b'y', HeaderName::Identity),
    ("Privacy", 0, HeaderName::Privacy),
    ("Date", 0, HeaderName::Date),
];

impl HeaderName {
    /// The name of header bytes, long or compact, in any case.
    pub fn read(bytes: &[u8]) -> Self {
        let mut names = NAMES.iter();
        let found = match bytes {
            [letter @ (b'a'..=b'z' | b'A'..=b'Z')] => {
                names.find(|(_, short, _)| *short == letter.to_ascii_lowercase())
            }
            // Nearly all write it as it stands here.
            _ => names.find(|(long, _, _)| {
                let long = long.as_bytes();
                long == bytes || long.eq_ignore_ascii_case(bytes)
            }),
        };
        found.map_or(Self::Other, |(_, _, name)| *name)
    }

    /// The long form; empty for [`HeaderName::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, _, name)| *name == self)
            .map_or("", |(long, _, _)| long)
    }
}

/// `;name=value` parameters, checked, in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Checks what follows the first `;`. One empty parameter at the very end
    /// is tolerated, others are not.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes = text::trim(bytes);
        let shorter = bytes.strip_suffix(b";").map(text::trim);
        let bytes = shorter.filter(|rest| !rest.is_empty()).unwrap_or(bytes);
        let params = Self(bytes);
        let mut rest = Some(bytes).filter(|bytes| !bytes.is_empty());
        while let Some(bytes) = rest {
            let end = text::find_outside(bytes, b';').ok()?;
            let (one, after) = match end {
                Some(at) => (bytes.get(..at)?, bytes.get(at + 1..)),
                None => (bytes, None),
            };
            let (name, value) = name_and_value(one);
            let named = !name.is_empty() && !name.iter().any(|byte| is_separator(*byte));
            if !named || value.is_some_and(|value| !is_param_value(value)) {
                return None;
            }
            rest = after;
        }
        Some(params)
    }

    /// Looks one up: `None` absent, `Some(None)` without a value.
    pub fn find(&self, wanted: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    }

    /// The non-empty value of one.
    pub fn value(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        self.find(wanted)?.filter(|value| !value.is_empty())
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = Some(self.0).filter(|bytes| !bytes.is_empty());
        core::iter::from_fn(move || {
            let bytes = rest?;
            let end = text::find_outside(bytes, b';').ok().flatten();
            let one = end.map_or(bytes, |at| bytes.get(..at).unwrap_or_default());
            rest = end.and_then(|at| bytes.get(at + 1..));
            Some(name_and_value(one))
        })
    }
}

fn is_separator(byte: u8) -> bool {
    text::is_blank(byte) || matches!(byte, b',' | b'<' | b'>' | b'"' | b'@')
}

/// A quoted string or text without blanks, quotes and commas (IPv6 hosts and
/// what trunks put there are let through).
fn is_param_value(value: &[u8]) -> bool {
    if value.starts_with(b"\"") {
        return text::quoted_length(value) == Some(value.len());
    }
    !value
        .iter()
        .any(|byte| text::is_blank(*byte) || matches!(byte, b',' | b'"' | b'<' | b'>'))
}

fn name_and_value(param: &[u8]) -> (&[u8], Option<&[u8]>) {
    let (name, value) = text::split_at_first(param, b'=');
    (text::trim(name), value.map(text::trim))
}

/// `From`, `To`, `Contact`, `Route`, `Record-Route`: an address with parameters.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// Display name with its quotes, empty when there is none.
    display: &'a [u8],
    /// The address.
    pub uri: UriView<'a>,
    /// Header parameters (those outside `<…>`).
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads one address that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let bytes = text::trim(bytes);
        let display_end = if bytes.starts_with(b"\"") {
            text::quoted_length(bytes)?
        } else {
            bytes.iter().position(|byte| *byte == b'<').unwrap_or(0)
        };
        let (display, rest) = bytes.split_at(display_end);
        match text::trim(rest) {
            [b'<', inside @ ..] => Self::parse_bracketed(text::trim(display), inside),
            plain if display.is_empty() => Self::parse_plain(plain),
            _ => None,
        }
    }

    fn parse_bracketed(display: &'a [u8], inside: &'a [u8]) -> Option<Self> {
        if !display.starts_with(b"\"") && display.iter().any(|byte| is_display_stop(*byte)) {
            return None;
        }
        let (uri, rest) = text::split_at_first(inside, b'>');
        let params = match text::trim(rest?) {
            [] => b"".as_slice(),
            [b';', params @ ..] => params,
            _ => return None,
        };
        Some(Self {
            display,
            uri: UriView::parse(uri).ok()?,
            params: Params::parse(params)?,
        })
    }

    /// Without brackets every parameter belongs to the header, and the URI may
    /// hold no comma and no `?` (RFC 3261 §20.10).
    fn parse_plain(bytes: &'a [u8]) -> Option<Self> {
        let (uri, params) = text::split_at_first(bytes, b';');
        let uri = text::trim(uri);
        if uri.iter().any(|byte| matches!(byte, b'?' | b',')) {
            return None;
        }
        Some(Self {
            display: b"",
            uri: UriView::parse(uri).ok()?,
            params: Params::parse(params.unwrap_or_default())?,
        })
    }

    /// Display name without quotes and escapes.
    pub fn display(&self) -> Option<Cow<'a, str>> {
        (!self.display.is_empty()).then(|| text::unquote(self.display))
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag")
    }
}

/// What cannot stand in an unquoted display name. Beyond the grammar other
/// bytes are let through: trunks put parentheses, `@` and Latin-1 there.
fn is_display_stop(byte: u8) -> bool {
    matches!(byte, b'"' | b',' | b';' | b'<' | b'>')
}

/// One `Via` element.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// Transport name as sent.
    pub transport: &'a [u8],
    /// `sent-by` host.
    pub host: &'a [u8],
    /// `sent-by` port.
    pub port: Option<u16>,
    /// Its parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one element.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, params) = text::split_at_first(bytes, b';');
        let params = match params {
            Some(params) => Params::parse(params)?,
            None => Params::default(),
        };
        let mut via = Self::parse_head(head)?;
        via.params = params;
        Some(via)
    }

    /// Reads only `SIP/2.0/UDP host:port`, for a reply to a request whose
    /// parameters are beyond reading.
    pub(crate) fn parse_head(head: &'a [u8]) -> Option<Self> {
        let (protocol, rest) = text::split_at_first(head, b'/');
        let (version, rest) = text::split_at_first(rest?, b'/');
        let known = text::trim(protocol).eq_ignore_ascii_case(b"SIP") && !version.is_empty();
        let rest = text::trim(rest?);
        let blank = rest.iter().position(|byte| text::is_blank(*byte))?;
        let (transport, sent_by) = rest.split_at(blank);
        let (host, port) = uri::host_and_port(text::trim(sent_by)).ok()?;
        (known && text::is_token(transport)).then_some(Self {
            transport,
            host,
            port,
            params: Params::default(),
        })
    }

    /// The branch, when one is given.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value(b"branch")
    }

    /// Whether the sender asks for its source port (RFC 3581).
    pub fn wants_rport(&self) -> bool {
        self.params.find(b"rport").is_some()
    }
}

/// Whether a branch alone names its transaction (RFC 3261 §17.2.3); a bare cookie
/// does not.
pub(crate) fn is_rfc3261_branch(branch: &[u8]) -> bool {
    branch.starts_with(b"z9hG4bK") && branch.len() > 7
}

/// `CSeq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method named there.
    pub method: Method,
}

impl CSeq {
    /// Reads a `CSeq` value.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = text::trim(bytes);
        let blank = bytes.iter().position(|byte| text::is_blank(*byte))?;
        let (number, method) = bytes.split_at(blank);
        let number = u32::try_from(text::decimal(number)?).ok()?;
        Some(Self {
            number: (number < 1 << 31).then_some(number)?,
            method: Method::read(text::trim(method))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        let found = NameAddr::parse(text.as_bytes())?;
        Some(format!(
            "{}|{}|{}",
            found.display().unwrap_or_default(),
            found.uri.to_uri(),
            String::from_utf8_lossy(found.tag().unwrap_or_default())
        ))
    }

    #[test]
    fn addresses_are_read_or_refused_as_the_table_says() {
        let table = [
            ("sip:a@b;tag=1", Some("|sip:a@b|1")),
            ("<sip:a@b;x=y>;tag=1", Some("|sip:a@b;x=y|1")),
            ("caller<sip:a@b>;tag=2", Some("caller|sip:a@b|2")),
            (r#""J \\\"" <sip:a@b> ; tag = 9"#, Some(r#"J \"|sip:a@b|9"#)),
            ("Jörg (büro) <sip:a@b>", Some("Jörg (büro)|sip:a@b|")),
            ("<sip:a@b>;tag=1;", Some("|sip:a@b|1")),
            ("Bell, A <sip:a@b>", None),
            ("\"Mr <sip:a@b>", None),
            ("< sip:a@b >", None),
            ("\"Joe\" <sip:a@b>;;;;", None),
            ("sip:a@b?Route=%3C", None),
        ];
        for (text, expected) in table {
            assert_eq!(address(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn via_allows_blanks_around_every_separator() {
        let via =
            Via::parse(b"SIP  / 2.0  / TCP     spindle.example.com   ;  branch  =   z9hG4bK9")
                .expect("legal");
        assert_eq!(via.host, b"spindle.example.com");
        assert_eq!(via.branch(), Some(b"z9hG4bK9".as_slice()));
        assert!(Via::parse(b"SIP/2.0/UDP 192.0.2.15;;").is_none());
        let six = Via::parse(b"SIP/2.0/UDP [2001:db8::9]:5070;rport").expect("legal");
        assert_eq!((six.port, six.wants_rport()), (Some(5070), true));
    }

    #[test]
    fn cseq_stays_below_31_bits() {
        assert!(CSeq::parse(b"2147483647 INVITE").is_some());
        assert!(CSeq::parse(b"2147483648 INVITE").is_none());
        assert!(CSeq::parse(b"36893488147419103232 REGISTER").is_none());
        assert_eq!(
            CSeq::parse(b"0009  INVITE").map(|cseq| cseq.number),
            Some(9)
        );
    }
}
