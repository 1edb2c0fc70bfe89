//! Where a trunk is, as its name servers say (RFC 3263 §4): NAPTR for the
//! transport, SRV for host and port, A and AAAA for addresses.
//!
//! Asks on the daemon's own threads, never on the SIP one; answers are kept as
//! long as they hold, refusals briefly, by the resolver.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use offhook_sip::{HostName, Transport};
use tokio::sync::mpsc;

use super::{Hop, draw};
use crate::settings::Proxy;
use crate::signalling::Order;

/// A refusal is believed for so long at most.
const NEGATIVE_TTL: Duration = Duration::from_secs(30);
/// One question, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Records of one answer that are looked at.
const NAPTR_MAX: usize = 8;
const SRV_MAX: usize = 16;
const ADDRESSES_MAX: usize = 8;

/// Servers that share their load: all addresses of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Lower is asked first: order and preference of the NAPTR, priority of the SRV.
    pub(super) rank: (u16, u16, u16),
    /// Share among those of the same rank.
    pub(super) weight: u16,
    pub(super) hops: Vec<Hop>,
}

impl Group {
    /// One address, known without asking.
    pub(super) fn lone(hop: Hop) -> Self {
        Self {
            rank: (0, 0, 0),
            weight: 0,
            hops: vec![hop],
        }
    }
}

/// All hops in the order in which one call asks them: by rank, then drawn by
/// weight (RFC 2782). `draw` gives a number below its argument.
pub(super) fn order(groups: &[Group], mut draw: impl FnMut(u64) -> u64) -> Vec<Hop> {
    let mut left: Vec<&Group> = groups.iter().collect();
    // Those of weight 0 first: they are drawn when the number is 0.
    left.sort_by_key(|group| (group.rank, group.weight != 0));
    let mut hops = Vec::new();
    while let Some(first) = left.first() {
        let rank = first.rank;
        let alike = left.iter().take_while(|group| group.rank == rank);
        let total: u64 = alike.map(|group| u64::from(group.weight)).sum();
        let drawn = draw(total + 1);
        let mut sum = 0;
        let reached = left.iter().position(|group| {
            sum += u64::from(group.weight);
            sum >= drawn
        });
        hops.extend(left.remove(reached.unwrap_or(0)).hops.iter().copied());
    }
    hops
}

/// An SRV record.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// A NAPTR record.
#[derive(Clone, Debug)]
pub(super) struct Pointer {
    pub(super) order: u16,
    pub(super) preference: u16,
    pub(super) service: String,
    pub(super) replacement: String,
}

/// Who can be asked. No answer is an empty one.
pub(super) trait Names: Sync {
    fn addresses(&self, name: &str) -> impl Future<Output = Vec<IpAddr>> + Send;
    fn services(&self, name: &str) -> impl Future<Output = Vec<Service>> + Send;
    fn pointers(&self, name: &str) -> impl Future<Output = Vec<Pointer>> + Send;
}

/// Service field of a NAPTR and name of the SRV for each transport, those we like
/// best first (RFC 3263 §4.1, §4.2).
const KINDS: [(Transport, &str, &str); 3] = [
    (Transport::Udp, "SIP+D2U", "_sip._udp."),
    (Transport::Tcp, "SIP+D2T", "_sip._tcp."),
    (Transport::Tls, "SIPS+D2T", "_sips._tcp."),
];

/// All places of a proxy; nothing when its name is not found now. `served`: the
/// transports that we have sockets for.
pub(super) async fn locate(proxy: &Proxy, served: &[Transport], names: &impl Names) -> Vec<Group> {
    let usual = proxy.transport.unwrap_or(Transport::Udp);
    if let Some(group) = literal(proxy) {
        return vec![group];
    }
    if let Some(port) = proxy.port {
        return at_name(&proxy.host, usual, port, names).await;
    }
    let mut groups = Vec::new();
    if proxy.transport.is_none() {
        groups = by_pointers(proxy, served, names).await;
    }
    if groups.is_empty() {
        let wanted = |kind: Transport| match proxy.transport {
            Some(transport) => transport == kind,
            None => served.contains(&kind),
        };
        for (number, (transport, _, prefix)) in (0..).zip(KINDS) {
            if wanted(transport) {
                let name = format!("{prefix}{}", proxy.host);
                groups.extend(by_services(&name, (number, 0), transport, names).await);
            }
        }
    }
    if groups.is_empty() {
        groups = at_name(&proxy.host, usual, usual.default_port(), names).await;
    }
    groups
}

/// Says where the hosts are that dialogs name, for as long as signalling asks.
pub async fn say_hosts(
    servers: Vec<SocketAddr>,
    mut questions: mpsc::Receiver<HostName>,
    orders: mpsc::WeakSender<Order>,
) {
    // Without name servers nothing is found; `Trunks::watch` says so.
    let resolver = resolver(&servers).ok();
    let mut dice = 0;
    while let Some(name) = questions.recv().await {
        let (resolver, orders) = (resolver.clone(), orders.clone());
        dice = draw(&mut dice, u64::MAX);
        let mut dice = dice;
        tokio::spawn(async move {
            let addresses = match &resolver {
                Some(resolver) => addresses_of(&name, resolver, &mut dice).await,
                None => Vec::new(),
            };
            // Gone with its queue: then nobody waits for it.
            if let Some(sender) = orders.upgrade() {
                let _ = sender.send(Order::Located { name, addresses }).await;
            }
        });
    }
}

/// Where one host is that a dialog names, asked for at once; nothing where nobody can be
/// asked.
pub fn find_host(name: &HostName, servers: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let Ok(runtime) = builder.enable_all().build() else {
        return Vec::new();
    };
    runtime.block_on(async {
        match resolver(servers) {
            Ok(resolver) => addresses_of(name, &resolver, &mut 0).await,
            Err(_) => Vec::new(),
        }
    })
}

/// The addresses of a host, the best first.
async fn addresses_of(name: &HostName, names: &impl Names, dice: &mut u64) -> Vec<SocketAddr> {
    let proxy = Proxy {
        transport: Some(name.transport),
        host: name.host.clone(),
        port: name.port,
    };
    let groups = locate(&proxy, &[name.transport], names).await;
    let hops = order(&groups, |below| draw(dice, below));
    hops.iter().map(|hop| hop.remote).collect()
}

/// A proxy that is an address needs no name server.
pub(super) fn literal(proxy: &Proxy) -> Option<Group> {
    let transport = proxy.transport.unwrap_or(Transport::Udp);
    let host: IpAddr = proxy.host.parse().ok()?;
    let port = proxy.port.unwrap_or(transport.default_port());
    let remote = SocketAddr::new(host, port);
    Some(Group::lone(Hop { transport, remote }))
}

async fn by_pointers(proxy: &Proxy, served: &[Transport], names: &impl Names) -> Vec<Group> {
    let mut pointers = names.pointers(&proxy.host).await;
    pointers.truncate(NAPTR_MAX);
    let mut groups = Vec::new();
    for pointer in pointers {
        let kind = KINDS
            .iter()
            .find(|(_, service, _)| pointer.service.eq_ignore_ascii_case(service));
        let Some((transport, ..)) = kind.filter(|(kind, ..)| served.contains(kind)) else {
            continue;
        };
        let rank = (pointer.order, pointer.preference);
        groups.extend(by_services(&pointer.replacement, rank, *transport, names).await);
    }
    groups
}

async fn by_services(
    name: &str,
    (order, preference): (u16, u16),
    transport: Transport,
    names: &impl Names,
) -> Vec<Group> {
    let mut services = names.services(name).await;
    services.truncate(SRV_MAX);
    let mut groups = Vec::new();
    for service in services {
        // "." means that there is no such service (RFC 2782).
        if service.target == "." || service.port == 0 {
            continue;
        }
        let found = at_name(&service.target, transport, service.port, names).await;
        let ranked = found.into_iter().map(|group| Group {
            rank: (order, preference, service.priority),
            weight: service.weight,
            ..group
        });
        groups.extend(ranked);
    }
    groups
}

async fn at_name(name: &str, transport: Transport, port: u16, names: &impl Names) -> Vec<Group> {
    let addresses = names.addresses(name).await;
    let hops: Vec<Hop> = addresses
        .into_iter()
        .take(ADDRESSES_MAX)
        .map(|host| Hop {
            transport,
            remote: SocketAddr::new(host, port),
        })
        .collect();
    if hops.is_empty() {
        return Vec::new();
    }
    vec![Group {
        rank: (0, 0, 0),
        weight: 0,
        hops,
    }]
}

/// The name servers of the config, or of the system.
///
/// # Errors
/// The system names none.
pub(super) fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| error.to_string())?
    } else {
        let servers = servers.iter().map(|server| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let mut options = ResolverOpts::default();
    options.timeout = PATIENCE;
    options.attempts = ATTEMPTS;
    options.negative_max_ttl = Some(NEGATIVE_TTL);
    options.use_hosts_file = ResolveHosts::Always;
    let resolver = builder.with_options(options).build();
    resolver.map_err(|error| error.to_string())
}

/// A fully qualified name: no search list is tried.
fn whole(name: &str) -> String {
    let dot = if name.ends_with('.') { "" } else { "." };
    format!("{name}{dot}")
}

impl Names for TokioResolver {
    async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let found = self.lookup_ip(whole(name)).await;
        found.map_or_else(|_| Vec::new(), |found| found.iter().collect())
    }

    async fn services(&self, name: &str) -> Vec<Service> {
        let found = self.lookup(whole(name), RecordType::SRV).await;
        let Ok(found) = found else { return Vec::new() };
        let service = |record: &hickory_resolver::proto::rr::Record| match &record.data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_string(),
            }),
            _ => None,
        };
        found.answers().iter().filter_map(service).collect()
    }

    async fn pointers(&self, name: &str) -> Vec<Pointer> {
        let found = self.lookup(whole(name), RecordType::NAPTR).await;
        let Ok(found) = found else { return Vec::new() };
        let pointer = |record: &hickory_resolver::proto::rr::Record| match &record.data {
            RData::NAPTR(naptr) if naptr.flags.eq_ignore_ascii_case(b"s") => Some(Pointer {
                order: naptr.order,
                preference: naptr.preference,
                service: String::from_utf8_lossy(&naptr.services).into_owned(),
                replacement: naptr.replacement.to_string(),
            }),
            _ => None,
        };
        found.answers().iter().filter_map(pointer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, then what is there: `A host` (of either kind), `SRV p w port target`, `NAPTR o p service name`.
    struct Zone(&'static [(&'static str, &'static str)]);

    impl Zone {
        fn of(&self, name: &str, kind: &str) -> Vec<Vec<&'static str>> {
            let name = name.trim_end_matches('.');
            let here = self.0.iter().filter(|(known, _)| *known == name);
            let rows = here.map(|(_, text)| text.split(' ').collect::<Vec<_>>());
            rows.filter(|row| row[0] == kind).collect()
        }
    }

    impl Names for Zone {
        async fn addresses(&self, name: &str) -> Vec<IpAddr> {
            let rows = self.of(name, "A");
            rows.iter().map(|row| row[1].parse().unwrap()).collect()
        }

        async fn services(&self, name: &str) -> Vec<Service> {
            let rows = self.of(name, "SRV");
            let service = |row: &Vec<&str>| Service {
                priority: row[1].parse().unwrap(),
                weight: row[2].parse().unwrap(),
                port: row[3].parse().unwrap(),
                target: row[4].to_owned(),
            };
            rows.iter().map(service).collect()
        }

        async fn pointers(&self, name: &str) -> Vec<Pointer> {
            let rows = self.of(name, "NAPTR");
            let pointer = |row: &Vec<&str>| Pointer {
                order: row[1].parse().unwrap(),
                preference: row[2].parse().unwrap(),
                service: row[3].to_owned(),
                replacement: row[4].to_owned(),
            };
            rows.iter().map(pointer).collect()
        }
    }

    const ZONE: Zone = Zone(&[
        ("full.example", "NAPTR 10 20 SIP+D2U _sip._udp.full.example"),
        ("full.example", "NAPTR 10 10 SIP+D2T _sip._tcp.full.example"),
        (
            "full.example",
            "NAPTR 5 10 SIPS+D2T _sips._tcp.full.example",
        ),
        ("full.example", "NAPTR 1 1 SIP+D2S _sip._sctp.full.example"),
        ("_sip._udp.full.example", "SRV 20 0 5060 b.full.example"),
        ("_sip._udp.full.example", "SRV 10 0 5070 a.full.example"),
        ("_sip._tcp.full.example", "SRV 1 0 5080 a.full.example"),
        ("_sips._tcp.full.example", "SRV 1 0 5061 a.full.example"),
        ("a.full.example", "A 192.0.2.1"),
        ("a.full.example", "A 192.0.2.2"),
        ("b.full.example", "A 192.0.2.3"),
        ("full.example", "A 192.0.2.9"),
        ("plain.example", "A 192.0.2.10"),
        ("_sip._udp.shut.example", "SRV 0 0 5060 ."),
        ("shut.example", "A 192.0.2.11"),
        ("six.example", "A 2001:db8::6"),
        ("_sip._udp.dual.example", "SRV 1 0 5070 b.dual.example"),
        ("b.dual.example", "A 2001:db8::7"),
        ("b.dual.example", "A 192.0.2.7"),
    ]);

    async fn found(proxy: &str, served: &[Transport]) -> Vec<String> {
        let groups = locate(&proxy.parse().unwrap(), served, &ZONE).await;
        let hops = order(&groups, |_| 0);
        let text = |hop: Hop| format!("{}:{}", hop.transport.parameter(), hop.remote);
        hops.into_iter().map(text).collect()
    }

    #[tokio::test]
    async fn servers_are_found_as_rfc_3263_says() {
        use Transport::{Tcp, Tls, Udp};
        let both: &[Transport] = &[Udp, Tcp];
        let rows: [(&str, &[Transport], &[&str]); 11] = [
            ("udp:192.0.2.7:5062", both, &["udp:192.0.2.7:5062"]),
            ("tls:192.0.2.7", both, &["tls:192.0.2.7:5061"]),
            (
                "sip:full.example",
                both,
                &[
                    "tcp:192.0.2.1:5080",
                    "tcp:192.0.2.2:5080",
                    "udp:192.0.2.1:5070",
                    "udp:192.0.2.2:5070",
                    "udp:192.0.2.3:5060",
                ],
            ),
            (
                "sip:full.example",
                &[Tls],
                &["tls:192.0.2.1:5061", "tls:192.0.2.2:5061"],
            ),
            (
                "udp:full.example",
                both,
                &[
                    "udp:192.0.2.1:5070",
                    "udp:192.0.2.2:5070",
                    "udp:192.0.2.3:5060",
                ],
            ),
            ("udp:full.example:5099", both, &["udp:192.0.2.9:5099"]),
            ("sip:plain.example", both, &["udp:192.0.2.10:5060"]),
            ("udp:shut.example", both, &["udp:192.0.2.11:5060"]),
            ("sip:gone.example", both, &[]),
            ("sip:six.example", both, &["udp:[2001:db8::6]:5060"]),
            (
                "sip:dual.example",
                both,
                &["udp:[2001:db8::7]:5070", "udp:192.0.2.7:5070"],
            ),
        ];
        for (proxy, served, expected) in rows {
            assert_eq!(found(proxy, served).await, expected, "{proxy} {served:?}");
        }
    }

    #[test]
    fn load_is_shared_by_weight_and_never_across_ranks() {
        let hop = |port| Hop {
            transport: Transport::Udp,
            remote: SocketAddr::from(([192, 0, 2, 1], port)),
        };
        let group = |priority, weight, port| Group {
            rank: (0, 0, priority),
            weight,
            hops: vec![hop(port)],
        };
        let groups = [
            group(2, 9, 3),
            group(1, 30, 1),
            group(1, 10, 2),
            group(1, 0, 4),
        ];
        let mut first = [0_u32; 5];
        for number in 0..4100_u64 {
            let hops = order(&groups, |below| number % below);
            assert_eq!(hops.len(), 4);
            assert_eq!(hops[3], hop(3), "the second rank is asked last");
            first[usize::from(hops[0].remote.port())] += 1;
        }
        assert_eq!(first, [0, 3000, 1000, 0, 100], "30 : 10 : hardly ever");
    }
}
