//! The trunks at work: where each is to be found, how it stands, which socket
//! reaches it, and the INVITE that goes there.
//!
//! Names are looked up at the start and again now and then; the decision thread
//! and signalling only read what is known.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offhook_core::input::Cause;
use offhook_sip::{
    CallKey, Command, Flow, Invite, Party, Probing, Registration, Standing, Transport, TrunkKey,
    Uri,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use crate::settings::{Proxy, Settings, Trunk};
use crate::signalling::Order;

/// Signalling puts the key that the endpoint gives in its place.
const UNKEYED: CallKey = CallKey(u64::MAX);
/// OPTIONS without an answer, in a row, that make a trunk down.
const DOWN_AFTER: u8 = 3;
/// Answers in a row that make it up again.
const UP_AFTER: u8 = 2;
/// A name that was found is looked up again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// One that was not.
const LOOK_SOON: Duration = Duration::from_secs(15);

/// All trunks and the sockets that reach them.
#[derive(Debug)]
pub struct Trunks {
    trunks: Vec<Trunk>,
    listeners: Vec<(Transport, SocketAddr)>,
    board: Mutex<Board>,
}

/// What is known of the trunks now.
#[derive(Debug, Default)]
struct Board {
    addresses: BTreeMap<String, SocketAddr>,
    standings: BTreeMap<String, (Standing, Duration)>,
    /// Connections whose certificate told the trunk.
    identified: HashMap<Flow, String>,
}

/// One trunk as `offhook status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// Since when, after the start; `None` when nothing was ever heard.
    pub since: Option<Duration>,
    /// Where it is; `None`: it is not called, or its name is not found.
    pub address: Option<SocketAddr>,
    /// It is to be called and its name is not found.
    pub unfound: bool,
}

impl Trunks {
    /// Looks up the proxies; one that is not found leaves its trunk down, loudly.
    pub fn resolve(trunks: &[Trunk], listeners: Vec<(Transport, SocketAddr)>) -> Self {
        let found = |trunk: &Trunk| {
            let address = trunk.proxy.as_ref().and_then(look_up)?;
            Some((trunk.name.clone(), address))
        };
        let board = Board {
            addresses: trunks.iter().filter_map(found).collect(),
            ..Board::default()
        };
        Self {
            trunks: trunks.to_vec(),
            listeners,
            board: Mutex::new(board),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| trunk.name == name)
    }

    /// The trunk that a message comes from: by its certificate, or by its address.
    pub fn of_flow<'s>(&self, flow: &Flow, settings: &'s Settings) -> Option<&'s Trunk> {
        let identified = self.board().identified.get(flow).cloned();
        match identified {
            Some(name) => settings.trunk(&name),
            None => settings.trunk_of(flow.remote.ip()),
        }
    }

    /// Remembers whose certificate a connection showed; `false`: nobody's.
    pub fn identify(&self, flow: Flow, leaf: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = webpki::EndEntityCert::try_from(leaf) else {
            return false;
        };
        let proves = |trunk: &&Trunk| {
            let named = trunk.identities.iter().any(|name| {
                let name = rustls::pki_types::ServerName::try_from(name.as_str());
                name.is_ok_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
            });
            let from = |trunk: &Trunk| {
                let mut networks = trunk.sources.iter();
                trunk.sources.is_empty() || networks.any(|it| it.contains(flow.remote.ip()))
            };
            named && from(trunk)
        };
        let Some(trunk) = self.trunks.iter().find(proves) else {
            return false;
        };
        self.board().identified.insert(flow, trunk.name.clone());
        true
    }

    /// A connection is no more.
    pub fn forget(&self, flow: &Flow) {
        self.board().identified.remove(flow);
    }

    /// The name that a TLS peer at this address must prove.
    pub fn server_name(&self, remote: SocketAddr) -> String {
        let board = self.board();
        let here = |trunk: &&Trunk| {
            let address = board.addresses.get(&trunk.name);
            address.is_some_and(|address| address.ip() == remote.ip())
        };
        let tls = |trunk: &&Trunk| {
            let proxy = trunk.proxy.as_ref();
            proxy.is_some_and(|proxy| proxy.transport == Transport::Tls)
        };
        let trunk = self.trunks.iter().filter(tls).find(here);
        let host = trunk.and_then(|trunk| trunk.proxy.as_ref());
        host.map_or_else(|| remote.ip().to_string(), |proxy| proxy.host.clone())
    }

    /// A trunk came up or went down.
    pub fn stands(&self, key: TrunkKey, standing: Standing, now: Duration) {
        let trunk = usize::try_from(key.0)
            .ok()
            .and_then(|index| self.trunks.get(index));
        let Some(trunk) = trunk else {
            return;
        };
        match &standing {
            Standing::Up => tracing::info!(message = "trunk_up", trunk = trunk.name),
            Standing::Unknown => tracing::info!(message = "trunk_unknown", trunk = trunk.name),
            Standing::Down(outage) => {
                tracing::error!(message = "trunk_down", trunk = trunk.name, reason = %outage);
            }
        }
        self.board()
            .standings
            .insert(trunk.name.clone(), (standing, now));
    }

    /// All trunks, in the order of the file.
    pub fn seen(&self) -> Vec<Seen> {
        let board = self.board();
        let seen = |trunk: &Trunk| {
            let standing = board.standings.get(&trunk.name);
            let address = board.addresses.get(&trunk.name).copied();
            Seen {
                name: trunk.name.clone(),
                standing: standing.map_or(Standing::Unknown, |(standing, _)| standing.clone()),
                since: standing.map(|(_, since)| *since),
                address,
                unfound: address.is_none() && trunk.proxy.is_some(),
            }
        };
        self.trunks.iter().map(seen).collect()
    }

    /// The trunk that takes a call for this one: itself, or the first after it
    /// that is not down. All down: itself, since its word may be old.
    fn standing_in(&self, name: &str) -> Option<&Trunk> {
        let board = self.board();
        let usable = |trunk: &Trunk| {
            let down = matches!(
                board.standings.get(&trunk.name),
                Some((Standing::Down(_), _))
            );
            let found = trunk.proxy.is_none() || board.addresses.contains_key(&trunk.name);
            found && !down
        };
        let mut chain =
            std::iter::successors(self.named(name), |trunk| self.named(trunk.next.as_deref()?))
                .take(self.trunks.len());
        chain.find(|trunk| usable(trunk)).or(self.named(name))
    }

    /// The INVITE for a number or a SIP URI by a trunk, or by the one that
    /// stands in for it; signalling fills in key and offer.
    ///
    /// # Errors
    /// The trunk has no way out, or `to` is nothing that can be called.
    pub fn invite(&self, trunk: &str, to: &str) -> Result<Box<Invite>, Cause> {
        let trunk = self.standing_in(trunk).ok_or(Cause::TrunkDown)?;
        let proxy = self.board().addresses.get(&trunk.name).copied();
        if proxy.is_none() && trunk.proxy.is_some() {
            return Err(Cause::TrunkDown);
        }
        let transport = trunk.proxy.as_ref().map(|proxy| proxy.transport);
        let transport = transport.unwrap_or(Transport::Udp);
        let place = place_of(trunk, proxy, transport);
        let target = target(to, place.as_deref()).ok_or(Cause::Unallocated)?;
        let remote = proxy
            .or_else(|| address_of(&target))
            .ok_or(Cause::TrunkDown)?;
        let local = self.listener_towards(transport, remote.ip());
        let local = local.ok_or(Cause::TrunkDown)?;
        let from = match &trunk.account {
            Some(account) => format!("sip:{}@{}", account.user, account.domain),
            None => format!("sip:offhook@{local}"),
        };
        let from = Uri::parse(&from).map_err(|_| Cause::InternalError)?;
        Ok(Box::new(Invite {
            key: UNKEYED,
            flow: Flow {
                transport,
                local,
                remote,
            },
            trunk: self.key_of(&trunk.name),
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

    fn key_of(&self, name: &str) -> Option<TrunkKey> {
        let index = self.trunks.iter().position(|trunk| trunk.name == name)?;
        u32::try_from(index).ok().map(TrunkKey)
    }

    /// A socket of the same kind and family; one on loopback reaches loopback only.
    fn listener_towards(&self, transport: Transport, remote: IpAddr) -> Option<SocketAddr> {
        let reaches = |(kind, local): &&(Transport, SocketAddr)| {
            *kind == transport
                && local.is_ipv4() == remote.is_ipv4()
                && (!local.ip().is_loopback() || remote.is_loopback())
        };
        self.listeners.iter().find(reaches).map(|(_, at)| *at)
    }

    /// What the endpoint is to keep up with, of one trunk where it is now.
    fn upkeep(&self, index: usize) -> Option<offhook_sip::Trunk> {
        let trunk = self.trunks.get(index)?;
        let proxy = trunk.proxy.as_ref()?;
        let remote = self.board().addresses.get(&trunk.name).copied()?;
        let local = self.listener_towards(proxy.transport, remote.ip());
        let Some(local) = local else {
            tracing::error!(
                message = "trunk_down",
                trunk = trunk.name,
                reason = format!(
                    "no listener for {} towards {remote}: see sip.listen",
                    proxy.transport.parameter()
                )
            );
            return None;
        };
        let uri = |text: String| Uri::parse(&text).ok();
        let account = trunk.account.as_ref();
        let registration = account.and_then(|account| {
            Some(Registration {
                registrar: uri(format!("sip:{}", account.domain))?,
                address: uri(format!("sip:{}@{}", account.user, account.domain))?,
                contact_user: account.user.clone(),
                expires: account.register?,
            })
        });
        Some(offhook_sip::Trunk {
            key: TrunkKey(u32::try_from(index).ok()?),
            flow: Flow {
                transport: proxy.transport,
                local,
                remote,
            },
            target: uri(format!(
                "sip:{}",
                place_of(trunk, Some(remote), proxy.transport)?
            ))?,
            routes: Vec::new(),
            credentials: account.map(|account| account.credentials()),
            registration,
            probing: trunk.options.map(|every| Probing {
                every,
                down_after: DOWN_AFTER,
                up_after: UP_AFTER,
            }),
        })
    }

    /// Has the endpoint keep up with all trunks, and looks their names up again
    /// now and then, for as long as signalling takes orders.
    pub async fn watch(&self, orders: mpsc::WeakSender<Order>) {
        let mut kept: Vec<Option<SocketAddr>> = vec![None; self.trunks.len()];
        loop {
            for (index, known) in kept.iter_mut().enumerate() {
                let address = self
                    .board()
                    .addresses
                    .get(&self.trunks[index].name)
                    .copied();
                if address == *known {
                    continue;
                }
                let Some(sender) = orders.upgrade() else {
                    return;
                };
                *known = address;
                if let Some(trunk) = self.upkeep(index) {
                    let command = Command::KeepTrunk(Box::new(trunk));
                    // Gone with its queue: then nobody keeps up with anything.
                    let _ = sender.send(Order::Command(command)).await;
                }
            }
            let unfound = self.seen().iter().any(|seen| seen.unfound);
            tokio::time::sleep(if unfound { LOOK_SOON } else { LOOK_AGAIN }).await;
            self.look_again().await;
        }
    }

    async fn look_again(&self) {
        for trunk in &self.trunks {
            let Some(proxy) = &trunk.proxy else { continue };
            let found = tokio::net::lookup_host((proxy.host.as_str(), proxy.port)).await;
            let Ok(found) = found.map(Vec::from_iter) else {
                continue;
            };
            let mut board = self.board();
            let known = board.addresses.get(&trunk.name);
            // One of several answers is as good as another: the one in use stays.
            if let Some(first) = found.first()
                && known.is_none_or(|known| !found.contains(known))
            {
                board.addresses.insert(trunk.name.clone(), *first);
            }
        }
    }
}

/// Host and port of a trunk in a Request-URI: the account's domain, else where it is.
fn place_of(trunk: &Trunk, proxy: Option<SocketAddr>, transport: Transport) -> Option<String> {
    let place = match &trunk.account {
        Some(account) => account.domain.clone(),
        None => proxy?.to_string(),
    };
    Some(if transport.is_reliable() {
        format!("{place};transport={}", transport.parameter())
    } else {
        place
    })
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
fn target(to: &str, place: Option<&str>) -> Option<Uri> {
    if to.starts_with("sip:") || to.starts_with("sips:") {
        return Uri::parse(to).ok();
    }
    let number = to.strip_prefix("tel:").unwrap_or(to);
    let dialable = |c: char| c.is_ascii_alphanumeric() || "+*#-._".contains(c);
    let known = !number.is_empty() && number.chars().all(dialable);
    let escaped = number.replace('#', "%23");
    place
        .filter(|_| known)
        .and_then(|at| Uri::parse(&format!("sip:{escaped}@{at}")).ok())
}

fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host().trim_start_matches('[').trim_end_matches(']');
    let port = Transport::Udp.default_port();
    Some(SocketAddr::new(
        host.parse().ok()?,
        uri.port().unwrap_or(port),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunks(proxy: Option<&str>) -> Trunks {
        let text = match proxy {
            Some(proxy) => format!("[[trunk]]\nname = \"t\"\nproxy = \"udp:{proxy}\"\n"),
            None => "[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\n".to_owned(),
        };
        of(&text)
    }

    /// The trunks of a config, reached by two UDP sockets and one of TLS.
    fn of(text: &str) -> Trunks {
        let settings = Settings::parse(std::path::Path::new("f.toml"), text).unwrap();
        let listeners = [
            (Transport::Udp, "127.0.0.1:5060"),
            (Transport::Udp, "192.0.2.1:5060"),
            (Transport::Tls, "192.0.2.1:5061"),
        ];
        let listeners = listeners.map(|(kind, at)| (kind, at.parse().unwrap()));
        Trunks::resolve(&settings.trunks, listeners.into())
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

    const THREE: &str = "[[trunk]]\nname = \"a\"\nproxy = \"udp:192.0.2.7:5060\"\nnext = \"b\"\n\
        [[trunk]]\nname = \"b\"\nproxy = \"tls:192.0.2.8:5061\"\nnext = \"c\"\n\
        [[trunk]]\nname = \"c\"\nproxy = \"udp:192.0.2.9:5060\"\nuser = \"box\"\npassword = \"p\"\ndomain = \"c.example\"\nregister = true\n";

    #[test]
    fn calls_take_the_next_trunk_while_one_is_down() {
        let trunks = of(THREE);
        let down = || Standing::Down(offhook_sip::Outage::Silent);
        let target = || trunks.invite("a", "100").unwrap().target.to_string();
        assert_eq!(target(), "sip:100@192.0.2.7:5060");
        trunks.stands(TrunkKey(0), down(), Duration::ZERO);
        assert_eq!(target(), "sip:100@192.0.2.8:5061;transport=tls");
        trunks.stands(TrunkKey(1), down(), Duration::ZERO);
        assert_eq!(target(), "sip:100@c.example");
        trunks.stands(TrunkKey(2), down(), Duration::ZERO);
        assert_eq!(
            target(),
            "sip:100@192.0.2.7:5060",
            "all down: the first may be back"
        );
        trunks.stands(TrunkKey(0), Standing::Up, Duration::ZERO);
        assert_eq!(target(), "sip:100@192.0.2.7:5060");
    }

    #[test]
    fn an_account_is_who_we_call_as_and_register() {
        let trunks = of(THREE);
        let invite = trunks.invite("c", "100").unwrap();
        assert_eq!(invite.from.uri.as_str(), "sip:box@c.example");
        assert_eq!(invite.trunk, Some(TrunkKey(2)));
        let upkeep = trunks.upkeep(2).unwrap();
        let registration = upkeep.registration.unwrap();
        assert_eq!(registration.address.as_str(), "sip:box@c.example");
        assert_eq!((registration.expires, upkeep.probing), (600, None));
        assert_eq!(
            trunks.server_name("192.0.2.8:5061".parse().unwrap()),
            "192.0.2.8"
        );
    }
}
