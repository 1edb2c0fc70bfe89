//! SIP, SIPS, TEL and other URIs.
//!
//! [`UriView`] is the checked reading of bytes, [`Uri`] the owned value that an
//! application keeps. No name is resolved here.

use core::fmt;
use core::net::IpAddr;
use std::borrow::Cow;

use crate::headers::Params;
use crate::text;

/// Longest URI that is read, in bytes.
const URI_MAX: usize = 4096;

/// What stands before the first colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other; the text is kept, nothing in it is read.
    Other,
}

/// A URI read in place.
#[derive(Clone, Copy, Debug)]
pub struct UriView<'a> {
    /// The whole URI as it was sent.
    pub text: &'a [u8],
    /// Its scheme.
    pub scheme: Scheme,
    /// What stands before `@`, password cut off; the number of a `tel:` URI.
    pub user: Option<&'a [u8]>,
    /// Host name or address, brackets of IPv6 included; empty for `tel:` and others.
    pub host: &'a [u8],
    /// Port, when one is named.
    pub port: Option<u16>,
    /// Parameters after the host or number.
    pub params: Params<'a>,
    /// Whether `?header=value` parts follow.
    pub has_headers: bool,
}

/// Bytes that are no URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUri;

impl fmt::Display for BadUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a URI")
    }
}

impl core::error::Error for BadUri {}

impl<'a> UriView<'a> {
    /// Reads a URI that fills `text` completely.
    ///
    /// # Errors
    /// [`BadUri`] for white space, brackets, a missing scheme or host, or a
    /// port that is none.
    pub fn parse(text: &'a [u8]) -> Result<Self, BadUri> {
        if text.len() > URI_MAX || text.iter().any(|byte| is_forbidden(*byte)) {
            return Err(BadUri);
        }
        let (scheme, rest) = text::split_at_first(text, b':');
        let rest = rest.filter(|rest| !rest.is_empty()).ok_or(BadUri)?;
        match read_scheme(scheme).ok_or(BadUri)? {
            scheme @ (Scheme::Sip | Scheme::Sips) => Self::parse_sip(text, scheme, rest),
            Scheme::Tel => Self::parse_tel(text, rest),
            Scheme::Other => Ok(Self::opaque(text)),
        }
    }

    fn parse_sip(text: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Result<Self, BadUri> {
        let (user, after) = match text::split_at_first(rest, b'@') {
            (user, Some(after)) => (Some(text::split_at_first(user, b':').0), after),
            (after, None) => (None, after),
        };
        let (after, headers) = text::split_at_first(after, b'?');
        let (host_port, params) = text::split_at_first(after, b';');
        let (host, port) = host_and_port(host_port)?;
        Ok(Self {
            text,
            scheme,
            user: user.filter(|user| !user.is_empty()),
            host,
            port,
            params: Params::parse(params.unwrap_or_default()).ok_or(BadUri)?,
            has_headers: headers.is_some(),
        })
    }

    fn parse_tel(text: &'a [u8], rest: &'a [u8]) -> Result<Self, BadUri> {
        let (number, params) = text::split_at_first(rest, b';');
        if number.is_empty() {
            return Err(BadUri);
        }
        Ok(Self {
            scheme: Scheme::Tel,
            user: Some(number),
            params: Params::parse(params.unwrap_or_default()).ok_or(BadUri)?,
            ..Self::opaque(text)
        })
    }

    fn opaque(text: &'a [u8]) -> Self {
        Self {
            text,
            scheme: Scheme::Other,
            user: None,
            host: b"",
            port: None,
            params: Params::default(),
            has_headers: false,
        }
    }

    /// The host as an address, when it is a literal.
    pub fn host_address(&self) -> Option<IpAddr> {
        literal_address(self.host)
    }

    /// An owned copy.
    pub fn to_uri(&self) -> Uri {
        Uri(text::decode(self.text).into_owned())
    }
}

/// A URI that has been read once and is known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri(String);

impl Uri {
    /// Reads a URI.
    ///
    /// # Errors
    /// [`BadUri`], as [`UriView::parse`].
    pub fn parse(text: &str) -> Result<Self, BadUri> {
        UriView::parse(text.as_bytes()).map(|view| view.to_uri())
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts.
    pub fn view(&self) -> UriView<'_> {
        UriView::parse(self.0.as_bytes()).unwrap_or_else(|_| UriView::opaque(self.0.as_bytes()))
    }

    /// Scheme.
    pub fn scheme(&self) -> Scheme {
        self.view().scheme
    }

    /// User part or telephone number with `%xx` escapes resolved.
    pub fn user(&self) -> Option<String> {
        let raw = self.view().user?;
        Some(unescape(raw).into_owned())
    }

    /// Host name or address literal; empty when the scheme has none.
    pub fn host(&self) -> &str {
        let host = self.view().host;
        core::str::from_utf8(host).unwrap_or_default()
    }

    /// Port, when one is named.
    pub fn port(&self) -> Option<u16> {
        self.view().port
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f || matches!(byte, b'<' | b'>' | b'"')
}

fn read_scheme(scheme: &[u8]) -> Option<Scheme> {
    let known = [
        (b"sip".as_slice(), Scheme::Sip),
        (b"sips", Scheme::Sips),
        (b"tel", Scheme::Tel),
    ];
    for (name, value) in known {
        if scheme.eq_ignore_ascii_case(name) {
            return Some(value);
        }
    }
    let starts_with_letter = scheme.first().is_some_and(u8::is_ascii_alphabetic);
    let rest_allowed = scheme
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (starts_with_letter && rest_allowed).then_some(Scheme::Other)
}

/// Splits `host[:port]`; an empty port counts as none, as several trunks send it.
pub(crate) fn host_and_port(bytes: &[u8]) -> Result<(&[u8], Option<u16>), BadUri> {
    let (host, port) = if bytes.starts_with(b"[") {
        let close = bytes.iter().position(|byte| *byte == b']').ok_or(BadUri)?;
        let (host, rest) = bytes.split_at(close + 1);
        match text::trim(rest) {
            [] => (host, None),
            [b':', port @ ..] => (host, Some(port)),
            _ => return Err(BadUri),
        }
    } else {
        text::split_at_first(bytes, b':')
    };
    let host = text::trim(host);
    if !is_host(host) {
        return Err(BadUri);
    }
    Ok((host, read_port(port.map(text::trim))?))
}

fn read_port(port: Option<&[u8]>) -> Result<Option<u16>, BadUri> {
    match port {
        None | Some([]) => Ok(None),
        Some(digits) => text::decimal(digits)
            .and_then(|port| u16::try_from(port).ok())
            .map(Some)
            .ok_or(BadUri),
    }
}

fn is_host(host: &[u8]) -> bool {
    if host.starts_with(b"[") {
        return literal_address(host).is_some();
    }
    !host.is_empty()
        && host
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// An IPv4 literal or a bracketed (or bare) IPv6 literal.
pub(crate) fn literal_address(host: &[u8]) -> Option<IpAddr> {
    let bare = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"))
        .unwrap_or(host);
    core::str::from_utf8(bare).ok()?.parse().ok()
}

pub(crate) fn unescape(bytes: &[u8]) -> Cow<'_, str> {
    if !bytes.contains(&b'%') {
        return text::decode(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                plain.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                after
            }
            _ => {
                plain.push(*first);
                tail
            }
        };
    }
    Cow::Owned(text::decode(&plain).into_owned())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, and `user|host|port` or `bad`.
    const TABLE: &[(&str, &str)] = &[
        ("sip:alice@example.com", "alice|example.com|"),
        ("sip:alice:pw@example.com:5070;lr", "alice|example.com|5070"),
        ("sip:example.com", "|example.com|"),
        ("sip:example.com:", "|example.com|"),
        ("SIPS:bob@[2001:db8::1]:5061", "bob|[2001:db8::1]|5061"),
        ("sip:+1%23x@h", "+1#x|h|"),
        ("sip:#31#0123@h", "#31#0123|h|"),
        ("tel:+49-30-123;phone-context=x", "+49-30-123||"),
        ("soap.beep://192.0.2.103:3002", "||"),
        (
            "sip:user;par=u%40example.net@example.com",
            "user;par=u@example.net|example.com|",
        ),
        ("sip:a@[::g]", "bad"),
        ("sip:a@h:70000", "bad"),
        ("sip:a b@h", "bad"),
        ("<sip:a@h>", "bad"),
        ("sip:", "bad"),
        ("alan@jasomi.com", "bad"),
        ("sip:@", "bad"),
    ];

    #[test]
    fn uris_are_read_or_refused_as_the_table_says() {
        for (text, expected) in TABLE {
            let found = match Uri::parse(text) {
                Ok(uri) => format!(
                    "{}|{}|{}",
                    uri.user().unwrap_or_default(),
                    uri.host(),
                    uri.port().map(|port| port.to_string()).unwrap_or_default()
                ),
                Err(BadUri) => "bad".to_owned(),
            };
            assert_eq!(&found, expected, "{text}");
        }
    }
}
