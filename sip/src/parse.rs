//! The checked view of one message: start line, header lines, body.
//!
//! [`View::read`] cuts bytes at line ends and copies only folded headers;
//! [`parse`] then checks the values that every message must have. What is
//! wrong is named by a [`Defect`], never by a panic. Called by the endpoint
//! for each datagram, by tests and by fuzz targets.

use core::fmt;
use std::borrow::Cow;

use memchr::memchr;

use crate::headers::HeaderName;
use crate::message::{Request, Response, StatusCode};
use crate::text;

/// Most header lines in one message; a long Via or Record-Route list needs
/// some dozens.
const HEADERS_MAX: usize = 256;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Neither a request line nor a status line: no reply is possible.
    NotSip,
    /// A request line with blanks too many or too few.
    RequestLine,
    /// A Request-URI that is none or that carries headers.
    RequestUri,
    /// Not SIP/2.0.
    Version,
    /// A line without a header name and colon.
    HeaderLine,
    /// More than 256 header lines.
    TooManyHeaders,
    /// A Content-Length that is no number.
    ContentLength,
    /// A body shorter than its Content-Length.
    Truncated,
    /// A header every message must have is absent.
    Missing(HeaderName),
    /// A header that may stand once stands twice.
    Repeated(HeaderName),
    /// A header value that cannot be read.
    Bad(HeaderName),
    /// CSeq names another method than the request line.
    MethodMismatch,
    /// A status code outside 100–699.
    Status,
    /// More than 8 kB in the headers that a transaction or dialog keeps.
    TooLarge,
}

impl Defect {
    /// How many kinds [`Defect::index`] tells apart.
    pub const KINDS: usize = 14;

    /// Position of the kind in a table of counters.
    pub const fn index(self) -> usize {
        match self {
            Self::NotSip => 0,
            Self::RequestLine => 1,
            Self::RequestUri => 2,
            Self::Version => 3,
            Self::HeaderLine => 4,
            Self::TooManyHeaders => 5,
            Self::ContentLength => 6,
            Self::Truncated => 7,
            Self::Missing(_) => 8,
            Self::Repeated(_) => 9,
            Self::Bad(_) => 10,
            Self::MethodMismatch => 11,
            Self::Status => 12,
            Self::TooLarge => 13,
        }
    }

    /// Names of the kinds in the order of [`Defect::index`].
    pub const NAMES: [&'static str; Self::KINDS] = [
        "not_sip",
        "request_line",
        "request_uri",
        "version",
        "header_line",
        "too_many_headers",
        "content_length",
        "truncated",
        "missing_header",
        "repeated_header",
        "bad_header",
        "method_mismatch",
        "status",
        "too_large",
    ];

    /// The answer that a request with this defect gets.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::VERSION_NOT_SUPPORTED,
            Self::TooLarge => StatusCode::MESSAGE_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(formatter, "Missing {}", name.as_str()),
            Self::Repeated(name) => write!(formatter, "Repeated {}", name.as_str()),
            Self::Bad(name) => write!(formatter, "Bad {}", name.as_str()),
            Self::NotSip => formatter.write_str("Not SIP"),
            Self::RequestLine => formatter.write_str("Bad Request Line"),
            Self::RequestUri => formatter.write_str("Bad Request-URI"),
            Self::Version => formatter.write_str("Version Not Supported"),
            Self::HeaderLine => formatter.write_str("Bad Header Line"),
            Self::TooManyHeaders => formatter.write_str("Too Many Headers"),
            Self::ContentLength => formatter.write_str("Bad Content-Length"),
            Self::Truncated => formatter.write_str("Body Shorter Than Content-Length"),
            Self::MethodMismatch => formatter.write_str("CSeq Method Mismatch"),
            Self::Status => formatter.write_str("Bad Status Code"),
            Self::TooLarge => formatter.write_str("Message Too Large"),
        }
    }
}

impl core::error::Error for Defect {}

/// The first line.
#[derive(Clone, Copy, Debug)]
pub enum StartLine<'a> {
    /// `METHOD uri SIP/2.0`
    Request {
        /// Method token, unchecked.
        method: &'a [u8],
        /// Everything between method and version.
        uri: &'a [u8],
        /// Version text.
        version: &'a [u8],
    },
    /// `SIP/2.0 200 OK`
    Response {
        /// Version text.
        version: &'a [u8],
        /// Digits of the status code, unchecked.
        status: &'a [u8],
        /// Reason phrase.
        reason: &'a [u8],
    },
}

/// One header line, unfolded.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// Which one.
    pub name: HeaderName,
    /// The name as sent.
    pub raw_name: &'a [u8],
    /// The trimmed value; owned only when it was folded.
    pub value: Cow<'a, [u8]>,
}

/// A message cut into its parts. Values are not checked yet.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// First line.
    pub start: StartLine<'a>,
    /// Header lines in order.
    pub headers: Vec<Header<'a>>,
    /// What follows the blank line, not yet cut to Content-Length.
    rest: &'a [u8],
    /// The first line-level defect.
    defect: Option<Defect>,
}

/// A message that has everything it must have.
#[derive(Clone, Debug)]
pub enum Message<'v> {
    /// A request.
    Request(Request<'v>),
    /// A response.
    Response(Response<'v>),
}

/// Reads and checks one datagram.
///
/// # Errors
/// The first [`Defect`].
pub fn parse(bytes: &[u8]) -> Result<View<'_>, Defect> {
    let view = View::read(bytes)?;
    view.check()?;
    Ok(view)
}

impl<'a> View<'a> {
    /// Cuts a datagram into lines. Bare line feeds end a line too, and a
    /// missing blank line at the end is forgiven.
    ///
    /// # Errors
    /// [`Defect::NotSip`] when the first line is neither a request line nor a
    /// status line. Later defects are kept for [`View::check`], so that a
    /// request can be answered.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Defect> {
        let mut lines = Lines(skip_empty_lines(bytes));
        let first = lines.next().ok_or(Defect::NotSip)?;
        let (start, mut defect) = read_start(first).ok_or(Defect::NotSip)?;
        let mut headers = Vec::with_capacity(16);
        for line in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            let found = match line.first() {
                Some(b' ' | b'\t') => fold(headers.last_mut(), line),
                _ if headers.len() >= HEADERS_MAX => Err(Defect::TooManyHeaders),
                _ => read_header(line).map(|header| headers.push(header)),
            };
            defect = defect.or(found.err());
            if defect == Some(Defect::TooManyHeaders) {
                break;
            }
        }
        Ok(Self {
            start,
            headers,
            rest: lines.0,
            defect,
        })
    }

    /// Checks the values every message must have.
    ///
    /// # Errors
    /// The first [`Defect`].
    pub fn check(&self) -> Result<Message<'_>, Defect> {
        match self.start {
            StartLine::Request { .. } => Request::check(self).map(Message::Request),
            StartLine::Response { .. } => Response::check(self).map(Message::Response),
        }
    }

    pub(crate) fn defect(&self) -> Option<Defect> {
        self.defect
    }

    /// All values of one header, in order.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name == name)
            .map(|header| header.value.as_ref())
    }

    /// The first value of a header.
    pub fn first(&self, name: HeaderName) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The only value of a header.
    ///
    /// # Errors
    /// [`Defect::Missing`] or [`Defect::Repeated`].
    pub fn only(&self, name: HeaderName) -> Result<&[u8], Defect> {
        let mut values = self.values(name);
        let value = values.next().ok_or(Defect::Missing(name))?;
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Defect::Repeated(name)),
        }
    }

    /// The body, cut to Content-Length. A datagram without one has its body to
    /// the end (RFC 3261 §18.3).
    ///
    /// # Errors
    /// A Content-Length that is repeated, no number, or too long.
    pub fn body(&self) -> Result<&'a [u8], Defect> {
        let length = match self.only(HeaderName::ContentLength) {
            Err(Defect::Missing(_)) => return Ok(self.rest),
            other => text::decimal(other?).ok_or(Defect::ContentLength)?,
        };
        let length = usize::try_from(length).map_err(|_| Defect::Truncated)?;
        self.rest.get(..length).ok_or(Defect::Truncated)
    }
}

/// The value of the first line of a header, unfolded or not, without reading the others.
pub(crate) fn first_line_of(message: &[u8], wanted: HeaderName) -> Option<&[u8]> {
    let lines = Lines(message).take_while(|line| !line.is_empty());
    lines.skip(1).find_map(|line| {
        let (name, value) = text::split_at_first(line, b':');
        value.filter(|_| HeaderName::read(text::trim(name)) == wanted)
    })
}

fn skip_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Lines without their ends; what is left in it is the body.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = text::split_at_first(self.0, b'\n');
        self.0 = rest.unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn read_start(line: &[u8]) -> Option<(StartLine<'_>, Option<Defect>)> {
    let head = line.get(..4).unwrap_or(line);
    if head.eq_ignore_ascii_case(b"SIP/") {
        return Some((read_status_line(line), None));
    }
    read_request_line(line)
}

fn read_status_line(line: &[u8]) -> StartLine<'_> {
    let (version, rest) = text::split_at_first(line, b' ');
    let (status, reason) = text::split_at_first(rest.unwrap_or_default(), b' ');
    StartLine::Response {
        version,
        status,
        reason: reason.unwrap_or_default(),
    }
}

/// Blanks after the version are forgiven; anything else that is not exactly
/// two single blanks is a defect (RFC 3261 §7.1).
fn read_request_line(line: &[u8]) -> Option<(StartLine<'_>, Option<Defect>)> {
    let line = text::trim(line);
    let first = line.iter().position(|byte| *byte == b' ')?;
    let last = line.iter().rposition(|byte| *byte == b' ')?;
    let method = line.get(..first)?;
    let version = line.get(last + 1..)?;
    if !text::is_token(method) || !version.get(..4)?.eq_ignore_ascii_case(b"SIP/") {
        return None;
    }
    let uri = line.get(first + 1..last).unwrap_or_default();
    let blank = uri.is_empty() || uri.iter().any(|byte| text::is_blank(*byte));
    let start = StartLine::Request {
        method,
        uri,
        version,
    };
    Some((start, blank.then_some(Defect::RequestLine)))
}

fn read_header(line: &[u8]) -> Result<Header<'_>, Defect> {
    let (name, value) = text::split_at_first(line, b':');
    let raw_name = text::trim(name);
    let value = value
        .filter(|value| text::is_token(raw_name) && memchr(b'\r', value).is_none())
        .ok_or(Defect::HeaderLine)?;
    Ok(Header {
        name: HeaderName::read(raw_name),
        raw_name,
        value: Cow::Borrowed(text::trim(value)),
    })
}

fn fold<'a>(header: Option<&mut Header<'a>>, line: &'a [u8]) -> Result<(), Defect> {
    let header = header.ok_or(Defect::HeaderLine)?;
    let more = text::trim(line);
    if header.value.is_empty() {
        header.value = Cow::Borrowed(more);
    } else if !more.is_empty() {
        let value = header.value.to_mut();
        value.push(b' ');
        value.extend_from_slice(more);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(extra: &str) -> Vec<u8> {
        format!(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n{extra}\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn a_content_length_of_64_bits_is_a_defect_and_no_panic() {
        for length in ["18446744073709551615", "18446744073709551616", "9999"] {
            let bytes = options(&format!("Content-Length: {length}\r\n"));
            assert!(parse(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn a_blank_before_the_colon_is_legal() {
        let bytes = options("Content-Length : 0\r\n");
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn bare_line_feeds_and_leading_empty_lines_are_read() {
        let text = String::from_utf8(options("")).expect("ascii");
        let bytes = format!("\r\n\r\n{}", text.replace("\r\n", "\n"));
        assert!(parse(bytes.as_bytes()).is_ok());
    }

    #[test]
    fn latin_1_in_a_display_name_is_kept_byte_for_byte() {
        let mut bytes = options("");
        let at = bytes
            .windows(6)
            .position(|window| window == b"From: ")
            .expect("has one");
        bytes.splice(at + 6..at + 6, *b"\"J\xf6rg\" ");
        let view = parse(&bytes).expect("tolerated");
        let from = view.first(HeaderName::From).expect("present");
        assert!(from.starts_with(b"\"J\xf6rg\""));
    }

    #[test]
    fn a_body_longer_than_its_content_length_is_cut() {
        let mut bytes = options("l: 2\r\n");
        bytes.extend_from_slice(b"abcdef");
        let view = parse(&bytes).expect("legal");
        assert_eq!(view.body(), Ok(b"ab".as_slice()));
    }

    #[test]
    fn more_than_256_headers_are_refused() {
        let bytes = options(&"X: y\r\n".repeat(300));
        assert_eq!(parse(&bytes).err(), Some(Defect::TooManyHeaders));
    }
}
