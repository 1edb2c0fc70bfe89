//! Addresses as a config file writes them: listeners, networks, proxies, ports.
//!
//! Parsing only; nothing here opens a socket or asks a name server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use offhook_sip::{Transport, is_nearby};

/// Takes `udp:`, `tcp:` or `tls:` off the front, or says what to write.
fn transport(text: &str) -> Result<(Transport, &str), String> {
    let (word, rest) = text.split_once(':').unwrap_or((text, ""));
    let known = [Transport::Udp, Transport::Tcp, Transport::Tls];
    match known.into_iter().find(|it| it.parameter() == word) {
        Some(transport) => Ok((transport, rest)),
        None if matches!(word, "ws" | "wss") => Err(format!(
            "`{word}` is not served by this version: write \"tls:{rest}\""
        )),
        None => Err(format!(
            "`{text}` names no transport: write it like \"udp:127.0.0.1:5060\""
        )),
    }
}

/// A socket to listen on: `udp:127.0.0.1:5060`, `tls:[::1]:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    /// How SIP travels there.
    pub transport: Transport,
    /// Local address; port 0 takes a free one.
    pub address: SocketAddr,
    /// What peers are told instead.
    pub told: Option<Told>,
}

/// The address that peers of a socket are told in Contact and Via.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// Where they reach us.
    pub address: IpAddr,
    /// Peers with a private address are told it too: they are behind the same NAT
    /// as we are, or the address is a private one itself.
    pub nearby: bool,
}

impl Told {
    /// What stands for all sockets: behind NAT, those in front of it are told.
    pub fn to_all(address: IpAddr) -> Self {
        Self {
            address,
            nearby: is_nearby(address),
        }
    }

    /// What this peer is told, if anything.
    pub fn to(self, remote: IpAddr) -> Option<IpAddr> {
        let same_family = self.address.is_ipv4() == remote.to_canonical().is_ipv4();
        (same_family && (self.nearby || !is_nearby(remote))).then_some(self.address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = transport(text)?;
        let address = rest.parse().map_err(|_| {
            format!(
                "`{rest}` is not an IP address and a port: write it like \"udp:127.0.0.1:5060\", IPv6 in brackets"
            )
        })?;
        Ok(Self {
            transport,
            address,
            told: None,
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.parameter(), self.address)
    }
}

/// Where outbound calls of a trunk go: `udp:sip.example.net:5060`, or as its name
/// servers say: `udp:example.net` (SRV), `sip:example.net` (NAPTR).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// How SIP travels there; `None`: as NAPTR says (RFC 3263 §4.1).
    pub transport: Option<Transport>,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// Its port; `None`: as SRV says, else the usual one (RFC 3263 §4.2).
    pub port: Option<u16>,
}

impl Proxy {
    /// What the domain is called where the config does not say: the host, as
    /// in a URI.
    pub fn domain(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// As a route that requests begin with (RFC 3261 §8.1.2).
    pub fn route(&self, transport: Transport) -> String {
        let parameter = if transport.is_reliable() {
            format!(";transport={}", transport.parameter())
        } else {
            String::new()
        };
        format!("<sip:{}{parameter};lr>", self.host_port())
    }

    /// As the host part of a URI.
    pub fn host_port(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.domain()),
            None => self.domain(),
        }
    }
}

impl FromStr for Proxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = match text.strip_prefix("sip:") {
            Some(rest) => (None, rest),
            None => transport(text).map(|(transport, rest)| (Some(transport), rest))?,
        };
        let example = "write it like \"udp:sip.example.net:5060\"";
        // The colons of an IPv6 address are inside its brackets.
        let colon = rest.rfind(':').filter(|at| !rest[*at..].contains(']'));
        let (host, port) = match colon {
            Some(at) => {
                let port = rest[at + 1..].parse().ok().filter(|port| *port != 0);
                let wrong = || format!("`{rest}` has no port from 1 to 65535: {example}");
                (&rest[..at], Some(port.ok_or_else(wrong)?))
            }
            None => (rest, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(good) {
            return Err(format!("`{host}` is not a host name or address: {example}"));
        }
        Ok(Self {
            transport,
            host: host.to_owned(),
            port,
        })
    }
}

/// A network of peers: `10.1.0.0/16`; a lone address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Is the address in the network? IPv4 in IPv6 (`::ffff:a.b.c.d`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4()
            && network_bits(address, self.prefix) == network_bits(self.network, self.prefix)
    }

    /// Bits that have to match; the longer, the more particular.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

/// The first `prefix` bits of an address; the others are zero.
fn network_bits(address: IpAddr, prefix: u8) -> u128 {
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let host_bits = width - u32::from(prefix).min(width);
    bits.checked_shr(host_bits)
        .and_then(|kept| kept.checked_shl(host_bits))
        .unwrap_or(0)
}

fn with_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits).unwrap_or_default().into()),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write it like \"10.1.0.0/16\"";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address
            .parse()
            .map_err(|_| format!("`{address}` is not an IP address: {example}"))?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), str::parse).ok();
        let prefix = prefix
            .filter(|prefix| *prefix <= width)
            .ok_or_else(|| format!("the length after `/` must be from 0 to {width}: {example}"))?;
        let base = with_bits(network, network_bits(network, prefix));
        if base != network {
            return Err(format!(
                "`{address}` has bits set beyond /{prefix}: write \"{base}/{prefix}\" for the network, \"{address}\" for the one address"
            ));
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

/// An address, with the port of DNS unless it says another.
pub(crate) fn name_server(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse().ok();
    with_port.or_else(|| Some(SocketAddr::new(text.parse().ok()?, DNS_PORT)))
}

/// Reads `20000-29999`.
pub(super) fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let example = "write it like \"20000-29999\"";
    let (low, high) = text
        .split_once('-')
        .ok_or_else(|| format!("`{text}` is not a range of ports: {example}"))?;
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port >= 1024);
    match (port(low), port(high)) {
        (Some(low), Some(high)) if low < high => Ok(low..=high),
        (Some(low), Some(high)) => Err(format!(
            "the range ends before it begins: write \"{high}-{low}\""
        )),
        _ => Err(format!("ports must be from 1024 to 65535: {example}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        let rows = [
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.0.0/16", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fe80::1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
        ];
        for (network, address, inside) in rows {
            let network: Cidr = network.parse().unwrap();
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(network.contains(address), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        fn refused<T: FromStr<Err = String>>(text: &str, needle: &str) {
            let reason = text.parse::<T>().err().expect(text);
            assert!(reason.contains(needle), "{text}: {reason}");
        }
        refused::<Cidr>("10.1.2.3/16", "write \"10.1.0.0/16\"");
        refused::<Cidr>("10.1.0.0/33", "from 0 to 32");
        refused::<Cidr>("10.1.0/16", "not an IP address");
        refused::<Listen>("ws:127.0.0.1:5060", "write \"tls:127.0.0.1:5060\"");
        refused::<Listen>("127.0.0.1:5060", "names no transport");
        refused::<Listen>("udp:127.0.0.1", "and a port");
        refused::<Listen>("udp:localhost:5060", "not an IP address");
        refused::<Proxy>("host", "names no transport");
        refused::<Proxy>("udp:host:0", "from 1 to 65535");
        refused::<Proxy>("udp:ho st:5060", "not a host name");
        for ports in ["20000", "5-6", "30000-20000", "x-y", "1024-70000"] {
            assert!(port_range(ports).is_err(), "{ports}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["udp:127.0.0.1:5060", "tls:[::1]:0", "tcp:0.0.0.0:5060"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        let proxy: Proxy = "udp:[2001:db8::1]:5062".parse().unwrap();
        assert_eq!(
            (proxy.host.as_str(), proxy.port),
            ("2001:db8::1", Some(5062))
        );
        let rows = [
            ("tls:sip.example", Some(Transport::Tls), "sip.example", None),
            ("sip:example", None, "example", None),
            ("sip:example:5080", None, "example", Some(5080)),
            ("tcp:[::1]", Some(Transport::Tcp), "::1", None),
        ];
        for (text, transport, host, port) in rows {
            let proxy: Proxy = text.parse().unwrap();
            let found = (proxy.transport, proxy.host.as_str(), proxy.port);
            assert_eq!(found, (transport, host, port), "{text}");
        }
        assert_eq!(port_range("20000-29999").unwrap(), 20000..=29999);
    }
}
