//! A dialog (RFC 3261 §12): identifiers, route set, target and sequence numbers.
//!
//! It writes in-dialog requests and judges the sequence of incoming ones; it
//! sends nothing and knows no call state.

use core::net::SocketAddr;

use crate::headers::{HeaderName, NameAddr};
use crate::message::{Core, Method, Request, Response};
use crate::text;
use crate::transport::{Flow, Hop, HostName, Transport};
use crate::uri::{Scheme, Uri, UriView, literal_address};
use crate::write::Writer;

/// Most routes kept; more are no sane path.
const ROUTES_MAX: usize = 32;

/// How an incoming request follows the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// Next or later: gaps are legal.
    InOrder,
    /// Not above the last one: 500 (RFC 3261 §12.2.2).
    OutOfOrder,
}

/// The state that both sides share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialog {
    pub(crate) call_id: Box<str>,
    pub(crate) local_tag: Box<str>,
    /// Empty until a response brings it, or for a peer of RFC 2543.
    pub(crate) remote_tag: Box<str>,
    pub(crate) local_uri: Box<str>,
    pub(crate) remote_uri: Box<str>,
    pub(crate) target: Box<str>,
    /// The peer itself has named its target (Contact).
    pub(crate) has_contact: bool,
    /// In the order in which our requests visit them.
    pub(crate) routes: Vec<Box<str>>,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
    /// It was begun by a `sips:` URI, so our Contact is one too, where TLS carries it.
    pub(crate) secure: bool,
}

impl Dialog {
    /// The callee's side (RFC 3261 §12.1.1). A peer without Contact (RFC 2543)
    /// has its From address for a target, and is reached where it called from.
    pub(crate) fn from_invite(request: &Request<'_>, local_tag: &str, local_cseq: u32) -> Self {
        let core = &request.core;
        let target = core.contact().map_or(core.from.uri, |contact| contact.uri);
        let routes = routes(core);
        let next = routes.first().map(|route| is_secure(route));
        let next = next.unwrap_or(target.scheme == Scheme::Sips);
        Self {
            call_id: core.call_id.into(),
            local_tag: local_tag.into(),
            remote_tag: core.from_tag().into(),
            local_uri: uri_text(&core.to.uri),
            remote_uri: uri_text(&core.from.uri),
            target: uri_text(&target),
            has_contact: core.contact().is_some(),
            routes,
            local_cseq,
            remote_cseq: Some(core.cseq.number),
            secure: next || request.uri.scheme == Scheme::Sips,
        }
    }

    /// The caller's side of the branch that `response` comes from
    /// (RFC 3261 §12.1.2); `self` is what the INVITE was sent with.
    pub(crate) fn branch(&self, response: &Response<'_>) -> Self {
        let core = &response.core;
        let mut routes = routes(core);
        routes.reverse();
        let (target, has_contact) = match core.contact() {
            Some(contact) => (uri_text(&contact.uri), true),
            None => (self.target.clone(), self.has_contact),
        };
        Self {
            remote_tag: core.to_tag().into(),
            target,
            has_contact,
            routes,
            remote_cseq: None,
            ..self.clone()
        }
    }

    /// The caller's side sets out, for the first time or by another way.
    pub(crate) fn set_out(&mut self, from: &Uri, target: &Uri, routes: Vec<Box<str>>) {
        self.local_uri = from.as_str().into();
        self.remote_uri = target.as_str().into();
        self.target = target.as_str().into();
        self.has_contact = false;
        let next = routes.first().map(|route| is_secure(route));
        self.secure = target.scheme() == Scheme::Sips || next == Some(true);
        self.routes = routes;
    }

    /// Whether a message of the peer belongs here.
    pub(crate) fn matches(&self, core: &Core<'_>) -> bool {
        *self.call_id == *core.call_id && *self.remote_tag == *core.from_tag()
    }

    /// A target refresh request or answer names a new Contact.
    pub(crate) fn refresh_target(&mut self, core: &Core<'_>) {
        if let Some(contact) = core.contact() {
            self.target = uri_text(&contact.uri);
            self.has_contact = true;
        }
    }

    /// Where requests go: the first route, or the target, if our socket can reach it
    /// over this transport; otherwise where the dialog came from. A name is for the
    /// application to look up.
    pub(crate) fn next_hop(&self, flow: &Flow) -> Hop {
        // Without Contact the target is whom the INVITE was for, and not where.
        let told = self.has_contact || !self.routes.is_empty();
        let uri = self.next_uri().filter(|_| told);
        let remote = uri.and_then(|uri| next_address(&uri, flow));
        let name = uri.and_then(|uri| next_name(&uri, flow));
        Hop {
            flow: Flow {
                remote: remote.unwrap_or(flow.remote),
                ..*flow
            },
            name: name.map(Box::new),
        }
    }

    fn next_uri(&self) -> Option<UriView<'_>> {
        match self.routes.first() {
            Some(route) => NameAddr::parse(route.as_bytes()).map(|route| route.uri),
            None => UriView::parse(self.target.as_bytes()).ok(),
        }
    }

    /// Whether where requests go next names this transport.
    pub(crate) fn asks_for(&self, transport: Transport) -> bool {
        let named = self
            .next_uri()
            .and_then(|uri| uri.params.value(b"transport"));
        named.is_some_and(|name| name.eq_ignore_ascii_case(transport.parameter().as_bytes()))
    }

    /// Begins a request with number `cseq`: request line to Route
    /// (RFC 3261 §12.2.1.1, strict routers included).
    pub(crate) fn request(&self, method: &Method, cseq: u32, via: &str) -> Writer {
        let strict = self.routes.first().and_then(|route| strict_target(route));
        let target = match strict {
            Some(uri) => text::decode(uri).into_owned().into_boxed_str(),
            None => self.target.clone(),
        };
        let mut writer = Writer::request(method, &target);
        writer.field("Via", via);
        writer.raw(b"Max-Forwards: 70\r\n");
        let skip = usize::from(strict.is_some());
        for route in self.routes.iter().skip(skip) {
            writer.field("Route", route);
        }
        if strict.is_some() {
            writer.field("Route", format_args!("<{}>", self.target));
        }
        writer.field("From", tagged(&self.local_uri, &self.local_tag));
        writer.field("To", tagged(&self.remote_uri, &self.remote_tag));
        writer.field("Call-ID", &self.call_id);
        writer.field("CSeq", format_args!("{cseq} {method}"));
        writer
    }

    /// Number of our next request.
    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1) & 0x7fff_ffff;
        self.local_cseq
    }
}

impl Sequence {
    /// Judges a request with this number after the last one.
    pub(crate) fn of(number: u32, last: Option<u32>) -> Self {
        match last {
            Some(last) if number <= last => Self::OutOfOrder,
            Some(_) | None => Self::InOrder,
        }
    }
}

fn uri_text(uri: &UriView<'_>) -> Box<str> {
    text::decode(uri.text).into()
}

fn tagged(uri: &str, tag: &str) -> String {
    if tag.is_empty() {
        format!("<{uri}>")
    } else {
        format!("<{uri}>;tag={tag}")
    }
}

fn routes(core: &Core<'_>) -> Vec<Box<str>> {
    core.view
        .values(HeaderName::RecordRoute)
        .flat_map(text::elements)
        .flatten()
        .take(ROUTES_MAX)
        .map(|route| text::decode(route).into())
        .collect()
}

fn is_secure(route: &str) -> bool {
    let address = NameAddr::parse(route.as_bytes());
    address.is_some_and(|address| address.uri.scheme == Scheme::Sips)
}

/// The URI of a first route that is a strict router (no `lr`).
fn strict_target(route: &str) -> Option<&[u8]> {
    let address = NameAddr::parse(route.as_bytes())?;
    let loose = address.uri.params.find(b"lr").is_some();
    (!loose).then_some(address.uri.text)
}

fn next_address(uri: &UriView<'_>, flow: &Flow) -> Option<SocketAddr> {
    let host = literal_address(next_host(uri))?;
    let same_family = host.is_ipv4() == flow.local.is_ipv4();
    let reachable = fits(uri, flow.transport) && same_family && !host.is_unspecified();
    let port = uri.port.unwrap_or(flow.transport.default_port());
    (reachable && port != 0).then_some(SocketAddr::new(host, port))
}

/// A name that says where datagrams go. A stream goes on as it is: what follows comes
/// over the connection of the dialog.
fn next_name(uri: &UriView<'_>, flow: &Flow) -> Option<HostName> {
    let host = next_host(uri);
    let is_name = !host.is_empty() && literal_address(host).is_none();
    let datagram = flow.transport == Transport::Udp && uri.scheme == Scheme::Sip;
    let reachable = is_name && datagram && fits(uri, flow.transport) && uri.port != Some(0);
    reachable.then(|| HostName {
        transport: flow.transport,
        host: text::decode(host).to_ascii_lowercase(),
        port: uri.port,
    })
}

fn next_host<'a>(uri: &UriView<'a>) -> &'a [u8] {
    uri.params.value(b"maddr").unwrap_or(uri.host)
}

/// It names this transport, or none.
fn fits(uri: &UriView<'_>, transport: Transport) -> bool {
    let named = uri.params.value(b"transport");
    named.is_none_or(|name| name.eq_ignore_ascii_case(transport.parameter().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(target: &str, routes: &[&str]) -> Dialog {
        Dialog {
            call_id: "c".into(),
            local_tag: "l".into(),
            remote_tag: "r".into(),
            local_uri: "sip:me@h".into(),
            remote_uri: "sip:you@h".into(),
            target: target.into(),
            has_contact: true,
            routes: routes.iter().map(|route| (*route).into()).collect(),
            local_cseq: 1,
            remote_cseq: None,
            secure: false,
        }
    }

    #[test]
    fn requests_go_to_the_next_hop_or_back_where_the_dialog_came_from() {
        let source = "198.51.100.7:5070";
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().expect("address"),
            remote: source.parse().expect("address"),
        };
        let named = |host: &str, port: u16| {
            Some(HostName {
                transport: Transport::Udp,
                host: host.into(),
                port: (port != 0).then_some(port),
            })
        };
        let table: &[(&str, &[&str], &str, Option<HostName>)] = &[
            ("sip:x@198.51.100.8", &[], "198.51.100.8:5060", None),
            ("sip:x@198.51.100.8:5090", &[], "198.51.100.8:5090", None),
            (
                "sip:x@h",
                &["<sip:198.51.100.9:5061;lr>"],
                "198.51.100.9:5061",
                None,
            ),
            (
                "sip:x@198.51.100.8",
                &["<sip:proxy;lr>"],
                source,
                named("proxy", 0),
            ),
            (
                "sip:x@PBX.example:5070",
                &[],
                source,
                named("pbx.example", 5070),
            ),
            ("sip:x@[2001:db8::1]", &[], source, None),
            ("sip:x@0.0.0.0", &[], source, None),
            ("sip:x@198.51.100.8;transport=tcp", &[], source, None),
            ("sip:x@pbx.example;transport=tcp", &[], source, None),
            ("sips:x@pbx.example", &[], source, None),
            (
                "sip:x@198.51.100.8;transport=UDP",
                &[],
                "198.51.100.8:5060",
                None,
            ),
            ("sip:x@h;maddr=198.51.100.8", &[], "198.51.100.8:5060", None),
            ("sip:x@198.51.100.8;maddr=h", &[], source, named("h", 0)),
            ("tel:+4930", &[], source, None),
        ];
        for (target, routes, expected, name) in table {
            let next = dialog(target, routes).next_hop(&flow);
            let expected: SocketAddr = expected.parse().expect("address");
            assert_eq!(
                (next.flow.remote, next.flow.local),
                (expected, flow.local),
                "{target}"
            );
            assert_eq!(next.name.as_deref(), name.as_ref(), "{target}");
        }
        for target in ["sip:x@pbx.example", "sip:x@198.51.100.8"] {
            let called = Dialog {
                has_contact: false,
                ..dialog(target, &[])
            };
            let next = called.next_hop(&flow);
            assert_eq!((next.name, next.flow), (None, flow), "nobody said so");
        }
    }

    #[test]
    fn numbers_may_jump_but_not_stand_still_or_fall() {
        use Sequence::{InOrder, OutOfOrder};
        let judged = [5, 9, 10].map(|number| Sequence::of(number, Some(9)));
        assert_eq!(judged, [OutOfOrder, OutOfOrder, InOrder]);
        assert_eq!(Sequence::of(5, None), InOrder);
    }
}
