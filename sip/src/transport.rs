//! Where a message came from and where one goes: transport and two addresses.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// How messages are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams; everything is repeated until answered.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Transport {
    /// Whether the transport itself repeats what is lost.
    pub const fn is_reliable(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }

    /// Name in Via.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Name in configuration and in `;transport=`.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Port that an address without one means (RFC 3261 §18.1.1).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A path between one of our sockets and a peer.
///
/// `local` must be a concrete address: it is written into Via and Contact
/// unless the configuration advertises another for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// How.
    pub transport: Transport,
    /// Our side.
    pub local: SocketAddr,
    /// The peer's side.
    pub remote: SocketAddr,
}

/// A host whose address a name server has to say (RFC 3263 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName {
    /// How it is to be reached.
    pub transport: Transport,
    /// The name.
    pub host: String,
    /// Without one its services are asked for first.
    pub port: Option<u16>,
}

/// Where a request goes: by this path; where a name says it better, the path's far end
/// serves until the name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) flow: Flow,
    pub(crate) name: Option<Box<HostName>>,
}

impl From<Flow> for Hop {
    fn from(flow: Flow) -> Self {
        Self { flow, name: None }
    }
}

/// Whether a socket bound here is the one of an address of ours: an unspecified
/// address stands for all of its family, with its port.
pub fn is_at(bound: SocketAddr, local: SocketAddr) -> bool {
    let any = bound.ip().is_unspecified() && bound.is_ipv4() == local.is_ipv4();
    bound == local || (any && bound.port() == local.port())
}

/// Whether no NAT to the world is in the way as a rule: loopback, link-local and
/// private addresses (RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5.6).
pub fn is_nearby(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => it.is_loopback() || it.is_private() || it.is_link_local(),
        IpAddr::V6(it) => it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local(),
    }
}
