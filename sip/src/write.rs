//! Writes requests and responses.
//!
//! [`Writer`] appends lines, [`ReplyHead`] keeps of a request what every
//! answer to it repeats. No decisions here; called by the endpoint and the
//! transactions.

use core::fmt::{Display, Write as _};
use core::net::{IpAddr, SocketAddr};

use memchr::memchr_iter;

use crate::headers::{HeaderName, Via};
use crate::message::{Core, Method, StatusCode};
use crate::parse::{StartLine, View};
use crate::text;
use crate::transport::Flow;
use crate::uri;

/// A message being written.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl core::fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Writer {
    pub(crate) fn request(method: &Method, uri: &str) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(1024),
        };
        writer.print(format_args!("{method} {uri} SIP/2.0\r\n"));
        writer
    }

    pub(crate) fn response(status: StatusCode, phrase: &str, capacity: usize) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(capacity),
        };
        writer.print(format_args!("SIP/2.0 {} ", status.code()));
        writer.plain(phrase);
        writer.raw(b"\r\n");
        writer
    }

    fn print(&mut self, arguments: core::fmt::Arguments<'_>) {
        let _ = self.write_fmt(arguments);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Text from outside: control characters become blanks, so that no value
    /// can end its line.
    fn plain(&mut self, text: &str) {
        let bytes = text.bytes();
        self.bytes
            .extend(bytes.map(|byte| if byte < b' ' { b' ' } else { byte }));
    }

    /// One header line whose value we made ourselves.
    pub(crate) fn field(&mut self, name: &str, value: impl Display) {
        self.raw(name.as_bytes());
        self.raw(b": ");
        self.print(format_args!("{value}"));
        self.raw(b"\r\n");
    }

    /// One header line with bytes of another message.
    pub(crate) fn field_raw(&mut self, name: &str, value: &[u8]) {
        self.raw(name.as_bytes());
        self.raw(b": ");
        self.raw(value);
        self.raw(b"\r\n");
    }

    /// What a request of ours proves who we are with, as it stands.
    pub(crate) fn proofs_of(&mut self, request: &[u8]) {
        let Ok(view) = View::read(request) else {
            return;
        };
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for value in view.values(name) {
                self.field_raw(name.as_str(), value);
            }
        }
    }

    /// Header lines of the application; a name that is no token is left out.
    pub(crate) fn extra(&mut self, headers: &[ExtraHeader]) {
        for header in headers {
            if text::is_token(header.name.as_bytes()) {
                self.raw(header.name.as_bytes());
                self.raw(b": ");
                self.plain(&header.value);
                self.raw(b"\r\n");
            }
        }
    }

    /// Ends the message without a body.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.raw(b"Content-Length: 0\r\n\r\n");
        self.bytes
    }

    /// Ends the message with SDP, if there is any.
    pub(crate) fn finish_sdp(self, sdp: Option<&[u8]>) -> Vec<u8> {
        match sdp {
            None => self.finish(),
            Some(body) => self.finish_body("application/sdp", body),
        }
    }

    /// Ends the message with a body.
    pub(crate) fn finish_body(mut self, kind: &str, body: &[u8]) -> Vec<u8> {
        self.field("Content-Type", kind);
        self.field("Content-Length", body.len());
        self.raw(b"\r\n");
        self.raw(body);
        self.bytes
    }
}

/// A header line that the application adds to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHeader {
    /// Name; left out of the message when it is no token.
    pub name: String,
    /// Value; control characters are sent as blanks.
    pub value: String,
}

/// What every answer to one request repeats: Via, From, Call-ID, CSeq, To and
/// Record-Route, byte for byte as they came.
#[derive(Clone, Debug)]
pub(crate) struct ReplyHead {
    /// Via…CSeq lines, then `To: value`; the last without its line end.
    head: Vec<u8>,
    has_to_tag: bool,
    /// Record-Route lines.
    routes: Vec<u8>,
}

impl ReplyHead {
    /// From a checked request.
    pub(crate) fn new(core: &Core<'_>, flow: &Flow) -> Self {
        let has_to_tag = core.to.tag().is_some();
        Self::from_view(core.view, Some(&core.via), flow, has_to_tag)
    }

    /// From a request that was not checked, or failed; what is missing stays missing.
    pub(crate) fn from_unchecked(view: &View<'_>, via: &Via<'_>, flow: &Flow) -> Self {
        let has_to_tag = view.first(HeaderName::To).is_some_and(has_tag_text);
        Self::from_view(view, Some(via), flow, has_to_tag)
    }

    fn from_view(view: &View<'_>, via: Option<&Via<'_>>, flow: &Flow, has_to_tag: bool) -> Self {
        let mut head = Writer {
            bytes: Vec::with_capacity(384),
        };
        let mut top = via;
        for value in view.values(HeaderName::Via) {
            match top.take() {
                Some(via) => write_top_via(&mut head, value, via, flow),
                None => head.field_raw("Via", value),
            }
        }
        for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            if let Some(value) = view.first(name) {
                head.field_raw(name.as_str(), value);
            }
        }
        match view.first(HeaderName::To) {
            Some(to) => {
                head.raw(b"To: ");
                head.raw(to);
            }
            // The last line has no end yet, and no To can take a tag.
            None => head.bytes.truncate(head.bytes.len().saturating_sub(2)),
        }
        let has_to_tag = has_to_tag || view.first(HeaderName::To).is_none();
        let mut routes = Writer { bytes: Vec::new() };
        for value in view.values(HeaderName::RecordRoute) {
            routes.field_raw("Record-Route", value);
        }
        Self {
            head: head.bytes,
            has_to_tag,
            routes: routes.bytes,
        }
    }

    /// For a transaction to keep, in no more room than it needs.
    pub(crate) fn kept(mut self) -> Box<Self> {
        self.head.shrink_to_fit();
        self.routes.shrink_to_fit();
        Box::new(self)
    }

    /// Begins an answer. `tag` is added to To unless the request had one.
    pub(crate) fn start(&self, status: StatusCode, phrase: &str, tag: &str) -> Writer {
        let capacity = self.head.len() + self.routes.len() + 512;
        let mut writer = Writer::response(status, phrase, capacity);
        writer.raw(&self.head);
        if !self.has_to_tag && !tag.is_empty() {
            writer.raw(b";tag=");
            writer.raw(tag.as_bytes());
        }
        writer.raw(b"\r\n");
        writer
    }

    /// The bytes that name the request.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.head
    }

    /// Record-Route lines, for answers that make a dialog.
    pub(crate) fn write_routes(&self, writer: &mut Writer) {
        writer.raw(&self.routes);
    }
}

fn has_tag_text(value: &[u8]) -> bool {
    memchr_iter(b'=', value)
        .filter_map(|at| value.get(at.checked_sub(4)?..at))
        .any(|name| name.eq_ignore_ascii_case(b";tag"))
}

/// Adds `received` when the sender's host is not where the packet came from
/// or when it asked for `rport` (RFC 3261 §18.2.1, RFC 3581 §4).
fn write_top_via(writer: &mut Writer, value: &[u8], via: &Via<'_>, flow: &Flow) {
    let end = text::find_outside(value, b',').ok().flatten();
    let (top, others) = value.split_at(end.unwrap_or(value.len()));
    let source = flow.remote.ip();
    let same_host = uri::literal_address(via.host) == Some(source);
    writer.raw(b"Via: ");
    match rport_flag(top).filter(|_| via.wants_rport()) {
        Some((before, after)) => {
            writer.raw(before);
            let _ = write!(writer, "={};received={source}", flow.remote.port());
            writer.raw(after);
        }
        None if via.wants_rport() || same_host => writer.raw(text::trim(top)),
        None => {
            writer.raw(text::trim(top));
            let _ = write!(writer, ";received={source}");
        }
    }
    writer.raw(others);
    writer.raw(b"\r\n");
}

/// Splits around a value-less `rport` parameter: up to its name, and after it.
fn rport_flag(via: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    while let Some(semicolon) = via.get(from..)?.iter().position(|byte| *byte == b';') {
        let start = from + semicolon + 1;
        let rest = via.get(start..)?;
        let end = rest
            .iter()
            .position(|byte| *byte == b';')
            .unwrap_or(rest.len());
        let (one, after) = rest.split_at(end);
        let name = text::trim(text::split_at_first(one, b'=').0);
        if name.eq_ignore_ascii_case(b"rport") {
            let name_start = start + one.len() - trim_start(one).len();
            return Some((via.get(..name_start + 5)?, after));
        }
        from = start;
    }
    None
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|byte| text::is_blank(**byte));
    bytes.get(blanks.count()..).unwrap_or_default()
}

/// Where an answer goes: the source address; the source port if the sender
/// asked for it, otherwise the port of its Via (RFC 3261 §18.2.2, RFC 3581).
pub(crate) fn reply_flow(via: &Via<'_>, flow: &Flow) -> Flow {
    if flow.transport.is_reliable() || via.wants_rport() {
        return *flow;
    }
    let named = via.port.filter(|port| *port != 0);
    let port = named.unwrap_or(flow.transport.default_port());
    Flow {
        remote: SocketAddr::new(flow.remote.ip(), port),
        ..*flow
    }
}

/// The port that the sender of a request gave in its Via, from our answer to it
/// (RFC 3261 §18.2.2); `Some(None)`: it gave none. `None`: this is no answer.
pub fn answer_port(message: &[u8]) -> Option<Option<u16>> {
    if !message.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let view = View::read(message).ok()?;
    let top = text::elements(view.first(HeaderName::Via)?).next()?.ok()?;
    Some(Via::parse(top)?.port.filter(|port| *port != 0))
}

/// An address as a URI host: IPv6 in brackets.
pub(crate) fn host_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The ACK for a refusal: same Request-URI, Via, From, Call-ID, CSeq number
/// and Route as the INVITE, To from the answer (RFC 3261 §17.1.1.3).
pub(crate) fn ack_for_refusal(invite: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    follow_up(invite, &Method::Ack, Some(to))
}

/// The CANCEL of an INVITE we sent (RFC 3261 §9.1).
pub(crate) fn cancel_of(invite: &[u8], reason: Option<&str>) -> Option<Vec<u8>> {
    let view = View::read(invite).ok()?;
    let mut writer = follow_up_head(&view, &Method::Cancel, None)?;
    if let Some(reason) = reason {
        writer.field("Reason", reason);
    }
    Some(writer.finish())
}

/// What differs when a request of ours is sent once more as a new one.
#[derive(Debug)]
pub(crate) struct Reissue<'a> {
    /// Via with its new branch.
    pub(crate) via: &'a str,
    pub(crate) cseq: u32,
    /// Lines of these names are replaced.
    pub(crate) without: &'a [HeaderName],
    pub(crate) lines: &'a [(&'static str, String)],
}

/// The same request with a new branch and number and with other lines, since a
/// challenge (RFC 3261 §22.2) or a limit of the peer's asks for them.
pub(crate) fn reissue(request: &[u8], change: &Reissue<'_>) -> Option<Vec<u8>> {
    let view = View::read(request).ok()?;
    let StartLine::Request { method, uri, .. } = view.start else {
        return None;
    };
    let method = Method::read(method)?;
    let mut writer = Writer::request(&method, &text::decode(uri));
    writer.field("Via", change.via);
    for header in &view.headers {
        match header.name {
            HeaderName::Via | HeaderName::ContentLength => {}
            HeaderName::CSeq => writer.field("CSeq", format_args!("{} {method}", change.cseq)),
            name if change.without.contains(&name) => {}
            _ => {
                writer.raw(header.raw_name);
                writer.raw(b": ");
                writer.raw(&header.value);
                writer.raw(b"\r\n");
            }
        }
    }
    for (name, value) in change.lines {
        writer.field(name, value);
    }
    let body = view.body().ok()?;
    writer.field("Content-Length", body.len());
    writer.raw(b"\r\n");
    writer.raw(body);
    Some(writer.bytes)
}

/// A request of ours with another topmost Via.
pub(crate) fn with_via(request: &[u8], via: &str) -> Option<Vec<u8>> {
    let line = |from: usize| {
        let rest = request.get(from..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        Some(from + end + 2)
    };
    let start = line(0)?;
    let end = line(start)?;
    if !request.get(start..end)?.starts_with(b"Via: ") {
        return None;
    }
    let mut out = Vec::with_capacity(request.len() + via.len());
    out.extend_from_slice(request.get(..start)?);
    out.extend_from_slice(format!("Via: {via}\r\n").as_bytes());
    out.extend_from_slice(request.get(end..)?);
    Some(out)
}

fn follow_up(invite: &[u8], method: &Method, to: Option<&[u8]>) -> Option<Vec<u8>> {
    let view = View::read(invite).ok()?;
    Some(follow_up_head(&view, method, to)?.finish())
}

fn follow_up_head(view: &View<'_>, method: &Method, to: Option<&[u8]>) -> Option<Writer> {
    let StartLine::Request { uri, .. } = view.start else {
        return None;
    };
    let mut writer = Writer::request(method, &text::decode(uri));
    writer.field_raw("Via", view.first(HeaderName::Via)?);
    writer.raw(b"Max-Forwards: 70\r\n");
    writer.field_raw("From", view.first(HeaderName::From)?);
    let to = to.or_else(|| view.first(HeaderName::To))?;
    writer.field_raw("To", to);
    writer.field_raw("Call-ID", view.first(HeaderName::CallId)?);
    let cseq = crate::headers::CSeq::parse(view.first(HeaderName::CSeq)?)?;
    writer.field("CSeq", format_args!("{} {method}", cseq.number));
    for route in view.values(HeaderName::Route) {
        writer.field_raw("Route", route);
    }
    Some(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Transport;

    fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().expect("address"),
            remote: "198.51.100.7:40000".parse().expect("address"),
        }
    }

    fn via_of(via: &str) -> (String, u16) {
        let mut elements = text::elements(via.as_bytes());
        let top = elements.next().expect("one").expect("balanced");
        let parsed = Via::parse(top).expect("legal");
        let mut writer = Writer { bytes: Vec::new() };
        write_top_via(&mut writer, via.as_bytes(), &parsed, &flow());
        let text = String::from_utf8(writer.bytes).expect("ascii");
        (text, reply_flow(&parsed, &flow()).remote.port())
    }

    #[test]
    fn received_and_rport_are_added_only_where_the_rfc_says() {
        let table = [
            (
                "SIP/2.0/UDP 198.51.100.7:5080;branch=z9hG4bK1",
                "Via: SIP/2.0/UDP 198.51.100.7:5080;branch=z9hG4bK1\r\n",
                5080,
            ),
            (
                "SIP/2.0/UDP host.example;branch=z9hG4bK1",
                "Via: SIP/2.0/UDP host.example;branch=z9hG4bK1;received=198.51.100.7\r\n",
                5060,
            ),
            (
                "SIP/2.0/UDP 10.0.0.1:5080;rport;branch=z9hG4bK1",
                "Via: SIP/2.0/UDP 10.0.0.1:5080;rport=40000;received=198.51.100.7;branch=z9hG4bK1\r\n",
                40000,
            ),
            (
                "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1, SIP/2.0/UDP x",
                "Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1, SIP/2.0/UDP x\r\n",
                5060,
            ),
        ];
        for (via, line, port) in table {
            assert_eq!(via_of(via), (line.to_owned(), port), "{via}");
        }
    }

    #[test]
    fn an_answer_tells_the_port_that_its_request_named() {
        let ok = |via: &str| format!("SIP/2.0 200 OK\r\nVia: {via}\r\nVia: x\r\n\r\n");
        let rows = [
            (ok("SIP/2.0/TCP 10.0.0.1:5080;branch=1"), Some(Some(5080))),
            (ok("SIP/2.0/TCP h;branch=1, SIP/2.0/TCP g:5"), Some(None)),
            (ok("SIP/2.0/TCP [::1]:5071;rport=4"), Some(Some(5071))),
            (
                "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h:9\r\n\r\n".into(),
                None,
            ),
            (ok("?"), None),
        ];
        for (message, expected) in rows {
            assert_eq!(answer_port(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn an_application_header_cannot_end_its_line() {
        let mut writer = Writer { bytes: Vec::new() };
        writer.extra(&[
            ExtraHeader {
                name: "X-A".into(),
                value: "1\r\nEvil: 2".into(),
            },
            ExtraHeader {
                name: "Bad Name:".into(),
                value: "x".into(),
            },
        ]);
        assert_eq!(writer.bytes, b"X-A: 1  Evil: 2\r\n");
    }
}
