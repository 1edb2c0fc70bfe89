//! Where outbound calls go: the trunks' proxies as addresses, the sockets that
//! reach them, and the INVITE.
//!
//! Names are looked up once, at the start; the decision thread only reads.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use offhook_core::input::Cause;
use offhook_sip::{CallKey, Flow, Invite, Party, Transport, Uri};

use crate::settings::{Proxy, Trunk};

/// Signalling puts the key that the endpoint gives in its place.
const UNKEYED: CallKey = CallKey(u64::MAX);
/// Default port of SIP over UDP (RFC 3261 §19.1.2).
const SIP_PORT: u16 = 5060;

/// The way out by each trunk.
#[derive(Clone, Debug)]
pub struct Trunks {
    proxies: BTreeMap<String, Option<SocketAddr>>,
    listeners: Vec<SocketAddr>,
}

impl Trunks {
    /// Looks up the proxies; one that is not found leaves its trunk down, loudly.
    pub fn resolve(trunks: &[Trunk], listeners: Vec<SocketAddr>) -> Self {
        let resolved = |trunk: &Trunk| (trunk.name.clone(), trunk.proxy.as_ref().and_then(look_up));
        Self {
            proxies: trunks.iter().map(resolved).collect(),
            listeners,
        }
    }

    /// The INVITE for a number or a SIP URI by a trunk; signalling fills in key and offer.
    ///
    /// # Errors
    /// The trunk has no way out, or `to` is nothing that can be called.
    pub fn invite(&self, trunk: &str, to: &str) -> Result<Box<Invite>, Cause> {
        let proxy = self.proxies.get(trunk).copied().flatten();
        let target = target(to, proxy).ok_or(Cause::Unallocated)?;
        let remote = proxy
            .or_else(|| address_of(&target))
            .ok_or(Cause::TrunkDown)?;
        let local = self.listener_towards(remote.ip()).ok_or(Cause::TrunkDown)?;
        let from = format!("sip:offhook@{local}");
        let from = Uri::parse(&from).map_err(|_| Cause::InternalError)?;
        Ok(Box::new(Invite {
            key: UNKEYED,
            flow: Flow {
                transport: Transport::Udp,
                local,
                remote,
            },
            target,
            to_display: None,
            from: Party {
                display: None,
                uri: from,
            },
            call_id: None,
            offer: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// A socket of the same family; one on loopback reaches loopback only.
    fn listener_towards(&self, remote: IpAddr) -> Option<SocketAddr> {
        let reaches = |local: &&SocketAddr| {
            local.is_ipv4() == remote.is_ipv4()
                && (!local.ip().is_loopback() || remote.is_loopback())
        };
        self.listeners.iter().find(reaches).copied()
    }
}

fn look_up(proxy: &Proxy) -> Option<SocketAddr> {
    let found = (proxy.host.as_str(), proxy.port).to_socket_addrs();
    let address = found.ok().and_then(|mut addresses| addresses.next());
    if address.is_none() {
        tracing::error!(
            message = "trunk_down",
            host = proxy.host,
            reason = "name not found"
        );
    }
    address
}

/// A URI as it stands; a number becomes a user at the proxy.
fn target(to: &str, proxy: Option<SocketAddr>) -> Option<Uri> {
    if to.starts_with("sip:") || to.starts_with("sips:") {
        return Uri::parse(to).ok();
    }
    let number = to.strip_prefix("tel:").unwrap_or(to);
    let dialable = |c: char| c.is_ascii_alphanumeric() || "+*#-._".contains(c);
    let known = !number.is_empty() && number.chars().all(dialable);
    let escaped = number.replace('#', "%23");
    proxy
        .filter(|_| known)
        .and_then(|at| Uri::parse(&format!("sip:{escaped}@{at}")).ok())
}

fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host().trim_start_matches('[').trim_end_matches(']');
    Some(SocketAddr::new(
        host.parse().ok()?,
        uri.port().unwrap_or(SIP_PORT),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunks(proxy: Option<&str>) -> Trunks {
        Trunks {
            proxies: [("t".to_owned(), proxy.map(|text| text.parse().unwrap()))].into(),
            listeners: vec![
                "127.0.0.1:5060".parse().unwrap(),
                "192.0.2.1:5060".parse().unwrap(),
            ],
        }
    }

    #[test]
    fn a_number_goes_to_the_proxy_and_a_uri_to_its_host() {
        let rows = [
            (
                Some("192.0.2.9:5070"),
                "+4930123",
                Ok(("sip:+4930123@192.0.2.9:5070", "192.0.2.9:5070")),
            ),
            (
                Some("192.0.2.9:5070"),
                "*21#",
                Ok(("sip:*21%23@192.0.2.9:5070", "192.0.2.9:5070")),
            ),
            (
                Some("192.0.2.9:5070"),
                "sip:a@198.51.100.1",
                Ok(("sip:a@198.51.100.1", "192.0.2.9:5070")),
            ),
            (
                None,
                "sip:a@127.0.0.1:5099",
                Ok(("sip:a@127.0.0.1:5099", "127.0.0.1:5099")),
            ),
            (None, "4930123", Err(Cause::Unallocated)),
            (None, "sip:a@example.com", Err(Cause::TrunkDown)),
            (Some("192.0.2.9:5070"), "12 34", Err(Cause::Unallocated)),
        ];
        for (proxy, to, expected) in rows {
            let invite = trunks(proxy).invite("t", to);
            let found = invite
                .as_ref()
                .map(|i| (i.target.as_str(), i.flow.remote.to_string()));
            let expected = expected.map(|(uri, at)| (uri, at.to_owned()));
            assert_eq!(found.map_err(|cause| *cause), expected, "{to}");
        }
    }

    #[test]
    fn a_call_leaves_by_a_socket_that_reaches_the_peer() {
        let local = |to| trunks(None).invite("t", to).unwrap().flow.local.to_string();
        assert_eq!(local("sip:a@127.0.0.1:5099"), "127.0.0.1:5060");
        assert_eq!(local("sip:a@192.0.2.7"), "192.0.2.1:5060");
    }
}
