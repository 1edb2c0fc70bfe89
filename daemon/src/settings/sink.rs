//! Where the secrets of callers go: `[[sink]]`, as playbooks name it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Uri;

use super::SecretSource;

/// A sink for secrets; nothing else goes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// As playbooks name it.
    pub name: String,
    /// Where it is.
    pub address: SinkAddress,
    /// Signs each delivery.
    pub secret: SecretSource,
    /// PEM: who vouches for it, besides the public authorities.
    pub authorities: Option<PathBuf>,
    /// How long a delivery may take.
    pub timeout: Duration,
}

/// Where a sink takes deliveries by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkAddress {
    /// `http://…` or `https://…`.
    Net {
        /// With TLS.
        tls: bool,
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Path and query.
        path: String,
    },
    /// `unix:/PATH`: HTTP over a local socket.
    Local(PathBuf),
}

impl FromStr for SinkAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|it| it.starts_with('/')) {
            return Ok(Self::Local(path.into()));
        }
        let example =
            "write it like \"https://vault.example.net/keys\" or \"unix:/run/vault.sock\"";
        let wrong = || format!("`{text}` is no address of a sink: {example}");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        Ok(Self::Net {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri
                .path_and_query()
                .map_or("/", |it| it.as_str())
                .to_owned(),
        })
    }
}

impl SinkAddress {
    /// What is delivered there is read by nobody on the way.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Local(_) | Self::Net { tls: true, .. } => true,
            Self::Net { host, .. } => {
                host == "localhost"
                    || host
                        .parse()
                        .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
        }
    }
}
