//! Methods, status codes, and the two kinds of checked message.
//!
//! `Request::check` and `Response::check` read the values that every
//! message must have, once; afterwards nobody checks them again.

use core::fmt;
use std::borrow::Cow;

use crate::headers::{CSeq, HeaderName, NameAddr, Via};
use crate::parse::{Defect, StartLine, View};
use crate::text;
use crate::uri::UriView;

/// Longest method name that is read.
const METHOD_MAX: usize = 64;

/// Longest Call-ID or tag that is read.
const IDENTIFIER_MAX: usize = 1024;

/// Most bytes in the headers that outlive the message in a transaction or a
/// dialog; so a datagram of 64 kB cannot make a call of 64 kB.
const KEPT_MAX: usize = 8192;

/// Those headers.
const KEPT: [HeaderName; 7] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::RecordRoute,
    HeaderName::Contact,
];

/// A request method; open, since unknown ones have to be answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// INVITE
    Invite,
    /// ACK
    Ack,
    /// BYE
    Bye,
    /// CANCEL
    Cancel,
    /// OPTIONS
    Options,
    /// REGISTER
    Register,
    /// INFO (RFC 6086)
    Info,
    /// UPDATE (RFC 3311)
    Update,
    /// PRACK (RFC 3262)
    Prack,
    /// REFER (RFC 3515)
    Refer,
    /// NOTIFY (RFC 6665)
    Notify,
    /// SUBSCRIBE (RFC 6665)
    Subscribe,
    /// MESSAGE (RFC 3428)
    Message,
    /// PUBLISH (RFC 3903)
    Publish,
    /// Any other token, at most 64 bytes.
    Other(Box<str>),
}

const METHODS: &[(&str, Method)] = &[
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("OPTIONS", Method::Options),
    ("REGISTER", Method::Register),
    ("INFO", Method::Info),
    ("UPDATE", Method::Update),
    ("PRACK", Method::Prack),
    ("REFER", Method::Refer),
    ("NOTIFY", Method::Notify),
    ("SUBSCRIBE", Method::Subscribe),
    ("MESSAGE", Method::Message),
    ("PUBLISH", Method::Publish),
];

impl Method {
    /// Reads a method token; methods are case-sensitive.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        for (name, method) in METHODS {
            if name.as_bytes() == bytes {
                return Some(method.clone());
            }
        }
        let text = core::str::from_utf8(bytes).ok()?;
        (text::is_token(bytes) && bytes.len() <= METHOD_MAX).then(|| Self::Other(text.into()))
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => METHODS
                .iter()
                .find(|(_, method)| method == known)
                .map_or("", |(name, _)| name),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A status code from 100 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(u16);

impl StatusCode {
    /// 100
    pub const TRYING: Self = Self(100);
    /// 180
    pub const RINGING: Self = Self(180);
    /// 183
    pub const SESSION_PROGRESS: Self = Self(183);
    /// 200
    pub const OK: Self = Self(200);
    /// 202
    pub const ACCEPTED: Self = Self(202);
    /// 302
    pub const MOVED_TEMPORARILY: Self = Self(302);
    /// 400
    pub const BAD_REQUEST: Self = Self(400);
    /// 401
    pub const UNAUTHORIZED: Self = Self(401);
    /// 403
    pub const FORBIDDEN: Self = Self(403);
    /// 404
    pub const NOT_FOUND: Self = Self(404);
    /// 405
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    /// 406
    pub const NOT_ACCEPTABLE: Self = Self(406);
    /// 407
    pub const PROXY_AUTHENTICATION_REQUIRED: Self = Self(407);
    /// 408
    pub const REQUEST_TIMEOUT: Self = Self(408);
    /// 410
    pub const GONE: Self = Self(410);
    /// 413: its body is longer than we take.
    pub const REQUEST_ENTITY_TOO_LARGE: Self = Self(413);
    /// 415
    pub const UNSUPPORTED_MEDIA_TYPE: Self = Self(415);
    /// 416
    pub const UNSUPPORTED_URI_SCHEME: Self = Self(416);
    /// 420
    pub const BAD_EXTENSION: Self = Self(420);
    /// 422
    pub const SESSION_INTERVAL_TOO_SMALL: Self = Self(422);
    /// 423
    pub const INTERVAL_TOO_BRIEF: Self = Self(423);
    /// 480
    pub const TEMPORARILY_UNAVAILABLE: Self = Self(480);
    /// 481
    pub const CALL_DOES_NOT_EXIST: Self = Self(481);
    /// 482
    pub const LOOP_DETECTED: Self = Self(482);
    /// 484
    pub const ADDRESS_INCOMPLETE: Self = Self(484);
    /// 486
    pub const BUSY_HERE: Self = Self(486);
    /// 487
    pub const REQUEST_TERMINATED: Self = Self(487);
    /// 488
    pub const NOT_ACCEPTABLE_HERE: Self = Self(488);
    /// 489
    pub const BAD_EVENT: Self = Self(489);
    /// 491
    pub const REQUEST_PENDING: Self = Self(491);
    /// 500
    pub const SERVER_INTERNAL_ERROR: Self = Self(500);
    /// 501
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// 502
    pub const BAD_GATEWAY: Self = Self(502);
    /// 503
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    /// 504
    pub const SERVER_TIMEOUT: Self = Self(504);
    /// 505
    pub const VERSION_NOT_SUPPORTED: Self = Self(505);
    /// 513
    pub const MESSAGE_TOO_LARGE: Self = Self(513);
    /// 603
    pub const DECLINE: Self = Self(603);

    /// A code, if it is one.
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            100..=699 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// 1xx.
    pub const fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx.
    pub const fn is_success(self) -> bool {
        self.0 >= 200 && self.0 < 300
    }

    /// 3xx.
    pub const fn is_redirect(self) -> bool {
        self.0 >= 300 && self.0 < 400
    }

    /// The reason phrase of RFC 3261 §21; a general one for other codes.
    pub const fn phrase(self) -> &'static str {
        match self.0 {
            100 => "Trying",
            180 => "Ringing",
            181 => "Call Is Being Forwarded",
            182 => "Queued",
            183 => "Session Progress",
            200 => "OK",
            202 => "Accepted",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Moved Temporarily",
            305 => "Use Proxy",
            380 => "Alternative Service",
            400 => "Bad Request",
            401 => "Unauthorized",
            402 => "Payment Required",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            407 => "Proxy Authentication Required",
            408 => "Request Timeout",
            410 => "Gone",
            413 => "Request Entity Too Large",
            414 => "Request-URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Unsupported URI Scheme",
            420 => "Bad Extension",
            421 => "Extension Required",
            422 => "Session Interval Too Small",
            423 => "Interval Too Brief",
            480 => "Temporarily Unavailable",
            481 => "Call/Transaction Does Not Exist",
            482 => "Loop Detected",
            483 => "Too Many Hops",
            484 => "Address Incomplete",
            485 => "Ambiguous",
            486 => "Busy Here",
            487 => "Request Terminated",
            488 => "Not Acceptable Here",
            489 => "Bad Event",
            491 => "Request Pending",
            493 => "Undecipherable",
            500 => "Server Internal Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Server Time-out",
            505 => "Version Not Supported",
            513 => "Message Too Large",
            600 => "Busy Everywhere",
            603 => "Decline",
            604 => "Does Not Exist Anywhere",
            606 => "Not Acceptable",
            _ => self.class_phrase(),
        }
    }

    const fn class_phrase(self) -> &'static str {
        match self.0 / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirect",
            4 => "Client Error",
            5 => "Server Error",
            _ => "Global Failure",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.0, self.phrase())
    }
}

/// What requests and responses have in common.
#[derive(Clone, Debug)]
pub struct Core<'v> {
    /// The lines it was read from.
    pub view: &'v View<'v>,
    /// Topmost Via.
    pub via: Via<'v>,
    /// From.
    pub from: NameAddr<'v>,
    /// To.
    pub to: NameAddr<'v>,
    /// Call-ID.
    pub call_id: &'v str,
    /// CSeq.
    pub cseq: CSeq,
    /// Body, cut to Content-Length.
    pub body: &'v [u8],
}

impl<'v> Core<'v> {
    fn check(view: &'v View<'v>) -> Result<Self, Defect> {
        if let Some(defect) = view.defect() {
            return Err(defect);
        }
        let kept = view.headers.iter();
        let kept = kept.filter(|header| KEPT.contains(&header.name));
        if kept.map(|header| header.value.len()).sum::<usize>() > KEPT_MAX {
            return Err(Defect::TooLarge);
        }
        let call_id = read_call_id(view.only(HeaderName::CallId)?)?;
        let cseq =
            CSeq::parse(view.only(HeaderName::CSeq)?).ok_or(Defect::Bad(HeaderName::CSeq))?;
        let body = view.body()?;
        Ok(Self {
            view,
            via: check_vias(view)?,
            from: read_party(view, HeaderName::From)?,
            to: read_party(view, HeaderName::To)?,
            call_id,
            cseq,
            body,
        })
    }

    /// Tag of From; empty when a peer of RFC 2543 sends none.
    pub fn from_tag(&self) -> &'v str {
        tag_text(&self.from)
    }

    /// Tag of To; empty when there is none.
    pub fn to_tag(&self) -> &'v str {
        tag_text(&self.to)
    }

    /// The first Contact, when it can be read.
    pub fn contact(&self) -> Option<NameAddr<'v>> {
        let first = text::elements(self.view.first(HeaderName::Contact)?).next()?;
        NameAddr::parse(first.ok()?)
    }

    /// Whether a list header names this word.
    pub(crate) fn lists(&self, name: HeaderName, word: &str) -> bool {
        let mut elements = self.view.values(name).flat_map(text::elements).flatten();
        elements.any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether the sender says that it takes a method.
    pub(crate) fn allows(&self, method: &str) -> bool {
        self.lists(HeaderName::Allow, method)
    }

    /// Text of a header that the endpoint only passes on.
    pub fn text(&self, name: HeaderName) -> Option<String> {
        self.view
            .first(name)
            .map(|value| text::decode(value).into_owned())
    }

    /// The body when it is SDP, or its part that is.
    pub fn sdp(&self) -> Option<&'v [u8]> {
        let kind = self.view.first(HeaderName::ContentType)?;
        if let Some(part) = crate::multipart::sdp_part(kind, self.body) {
            return Some(part);
        }
        let (kind, _) = text::split_at_first(kind, b';');
        let is_sdp = text::trim(kind).eq_ignore_ascii_case(b"application/sdp");
        (is_sdp && !self.body.is_empty()).then_some(self.body)
    }
}

fn tag_text<'v>(address: &NameAddr<'v>) -> &'v str {
    let tag = address.tag().unwrap_or_default();
    core::str::from_utf8(tag).unwrap_or_default()
}

fn read_call_id(value: &[u8]) -> Result<&str, Defect> {
    let bad = Defect::Bad(HeaderName::CallId);
    let text = core::str::from_utf8(value).map_err(|_| bad)?;
    let graphic = text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let fits = !text.is_empty() && text.len() <= IDENTIFIER_MAX;
    if graphic && fits { Ok(text) } else { Err(bad) }
}

fn read_party<'v>(view: &'v View<'v>, name: HeaderName) -> Result<NameAddr<'v>, Defect> {
    let party = NameAddr::parse(view.only(name)?).ok_or(Defect::Bad(name))?;
    let tag = party.tag().unwrap_or_default();
    let fits = tag.len() <= IDENTIFIER_MAX && core::str::from_utf8(tag).is_ok();
    if fits {
        Ok(party)
    } else {
        Err(Defect::Bad(name))
    }
}

/// Every Via must be readable; the topmost is returned.
fn check_vias<'v>(view: &'v View<'v>) -> Result<Via<'v>, Defect> {
    let mut top = None;
    for value in view.values(HeaderName::Via) {
        for element in text::elements(value) {
            let via = element
                .ok()
                .and_then(Via::parse)
                .ok_or(Defect::Bad(HeaderName::Via))?;
            top = top.or(Some(via));
        }
    }
    top.ok_or(Defect::Missing(HeaderName::Via))
}

/// A request that has everything it must have.
#[derive(Clone, Debug)]
pub struct Request<'v> {
    /// Method of the request line, equal to that of CSeq.
    pub method: Method,
    /// Request-URI.
    pub uri: UriView<'v>,
    /// The values common to all messages.
    pub core: Core<'v>,
}

impl<'v> Request<'v> {
    pub(crate) fn check(view: &'v View<'v>) -> Result<Self, Defect> {
        let StartLine::Request {
            method,
            uri,
            version,
        } = view.start
        else {
            return Err(Defect::NotSip);
        };
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            return Err(Defect::Version);
        }
        let method = Method::read(method).ok_or(Defect::RequestLine)?;
        let core = Core::check(view)?;
        let uri = UriView::parse(uri).map_err(|_| Defect::RequestUri)?;
        if uri.has_headers {
            return Err(Defect::RequestUri);
        }
        if core.cseq.method != method {
            return Err(Defect::MethodMismatch);
        }
        check_hops(view)?;
        for name in [
            HeaderName::Contact,
            HeaderName::Route,
            HeaderName::RecordRoute,
        ] {
            check_addresses(view, name)?;
        }
        Ok(Self { method, uri, core })
    }

    /// Option tags of Require that are not in `supported`.
    pub fn unsupported(&self, supported: &[&str]) -> Vec<String> {
        let mut refused = Vec::new();
        for value in self.core.view.values(HeaderName::Require) {
            for element in text::elements(value).flatten() {
                let known = supported
                    .iter()
                    .any(|name| name.as_bytes().eq_ignore_ascii_case(element));
                if !known && text::is_token(element) {
                    refused.push(text::decode(element).into_owned());
                }
            }
        }
        refused
    }

    /// Whether the sender can do, or insists on, an extension.
    pub(crate) fn supports(&self, option: &str) -> bool {
        self.core.lists(HeaderName::Supported, option) || self.requires(option)
    }

    pub(crate) fn requires(&self, option: &str) -> bool {
        self.core.lists(HeaderName::Require, option)
    }

    /// Whether an SDP answer can be understood by the sender: no Accept, or one
    /// that covers `application/sdp`.
    pub fn accepts_sdp(&self) -> bool {
        let mut values = self.core.view.values(HeaderName::Accept).peekable();
        if values.peek().is_none() {
            return true;
        }
        values.any(|value| {
            text::elements(value).flatten().any(|element| {
                let kind = text::trim(text::split_at_first(element, b';').0);
                ["application/sdp", "application/*", "*/*"]
                    .iter()
                    .any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
            })
        })
    }
}

/// Max-Forwards, where there is one (RFC 2543 peers send none), is 0–255.
fn check_hops(view: &View<'_>) -> Result<(), Defect> {
    let bad = Defect::Bad(HeaderName::MaxForwards);
    match view.only(HeaderName::MaxForwards) {
        Err(Defect::Missing(_)) => Ok(()),
        other => match text::decimal(other?) {
            Some(0..=255) => Ok(()),
            Some(_) | None => Err(bad),
        },
    }
}

fn check_addresses(view: &View<'_>, name: HeaderName) -> Result<(), Defect> {
    for value in view.values(name) {
        if value == b"*" && name == HeaderName::Contact {
            continue;
        }
        for element in text::elements(value) {
            let readable = element.ok().and_then(NameAddr::parse).is_some();
            if !readable {
                return Err(Defect::Bad(name));
            }
        }
    }
    Ok(())
}

/// A response that has everything it must have.
#[derive(Clone, Debug)]
pub struct Response<'v> {
    /// Status code.
    pub status: StatusCode,
    /// Reason phrase as sent.
    pub reason: Cow<'v, str>,
    /// The values common to all messages.
    pub core: Core<'v>,
}

impl<'v> Response<'v> {
    pub(crate) fn check(view: &'v View<'v>) -> Result<Self, Defect> {
        let StartLine::Response {
            version,
            status,
            reason,
        } = view.start
        else {
            return Err(Defect::NotSip);
        };
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            return Err(Defect::Version);
        }
        let status = text::decimal(status)
            .and_then(|code| u16::try_from(code).ok())
            .and_then(StatusCode::new)
            .ok_or(Defect::Status)?;
        Ok(Self {
            status,
            reason: text::decode(text::trim(reason)),
            core: Core::check(view)?,
        })
    }

    /// Number of a reliable 1xx (RFC 3262 §4).
    pub(crate) fn reliable_number(&self) -> Option<u32> {
        let wanted = self.core.lists(HeaderName::Require, "100rel");
        let value = self.core.view.first(HeaderName::RSeq).filter(|_| wanted)?;
        u32::try_from(text::decimal(value)?).ok()
    }

    /// Seconds of Retry-After.
    pub fn retry_after(&self) -> Option<u32> {
        let value = self.core.view.first(HeaderName::RetryAfter)?;
        let digits = value
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let seconds = text::decimal(value.get(..digits)?)?;
        u32::try_from(seconds).ok()
    }

    /// Every Contact that can be read (targets of a redirect).
    pub fn contacts(&self) -> Vec<String> {
        self.core
            .view
            .values(HeaderName::Contact)
            .flat_map(text::elements)
            .flatten()
            .filter_map(NameAddr::parse)
            .map(|address| address.uri.to_uri().to_string())
            .collect()
    }

    /// Whether more than one Via is left: then it is not for us
    /// (RFC 3261 §8.1.3.3).
    pub(crate) fn has_more_vias(&self) -> bool {
        let vias = self.core.view.values(HeaderName::Via);
        vias.flat_map(text::elements).count() > 1
    }
}
