//! The trunks at work: where each is to be found, how it stands, which socket
//! reaches it; in `trunks/` the way there by name servers, and the ways of calls.
//!
//! Names are looked up at the start and again now and then; the decision thread
//! and signalling only read what is known.

mod locate;
mod paths;
mod ways;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offhook_sip::{
    Command, Door, Flow, Outage, Probing, Registration, Standing, Transport, TrunkKey, Uri,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use self::locate::Group;
pub use self::locate::{find_host, say_hosts};
pub use self::paths::{Paths, own_address};
use self::ways::{Allowance, place_of};
use crate::clock;
use crate::settings::{Challenge, Settings, Trunk};
use crate::signalling::Order;

/// OPTIONS without an answer, in a row, that make a trunk down.
const DOWN_AFTER: u8 = 3;
/// Answers in a row that make it up again.
const UP_AFTER: u8 = 2;
/// Names are looked up again after this; the resolver knows what still holds.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A trunk that does not answer at one address is looked for at its next one
/// after this: registrars have 32 s to answer (timer F).
const STAY: Duration = Duration::from_secs(40);

/// One address of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    transport: Transport,
    remote: SocketAddr,
}

/// All trunks and the sockets that reach them.
#[derive(Debug)]
pub struct Trunks {
    trunks: Vec<Trunk>,
    /// Our sockets.
    pub paths: Paths,
    board: Mutex<Board>,
}

/// What is known of the trunks now.
#[derive(Debug, Default)]
struct Board {
    hops: BTreeMap<String, Vec<Group>>,
    /// Addresses that did not work, and until when they are asked last.
    resting: HashMap<SocketAddr, Duration>,
    /// What each trunk may still dial.
    allowances: BTreeMap<String, Allowance>,
    /// Calls that no trunk may place, and those beyond its rate.
    refused: u64,
    /// Draws among servers of the same rank; no secret.
    dice: u64,
    standings: BTreeMap<String, (Standing, Duration)>,
    /// Connections whose certificate told the trunk.
    identified: HashMap<Flow, String>,
}

/// What an address alone says of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A trunk's.
    Trusted,
    /// A trunk's that must prove who it is.
    Guarded(TrunkKey),
    /// Nobody's.
    Stranger,
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
    /// Trunks that are addresses are found at once, the others by [`Trunks::watch`].
    pub fn new(trunks: &[Trunk], paths: Paths) -> Self {
        let known = |trunk: &Trunk| {
            let group = trunk.next_hop().and_then(locate::literal)?;
            Some((trunk.name.clone(), vec![group]))
        };
        let board = Board {
            hops: trunks.iter().filter_map(known).collect(),
            ..Board::default()
        };
        Self {
            trunks: trunks.to_vec(),
            paths,
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
            None => self.at(flow.remote.ip(), settings),
        }
    }

    /// The trunk that an address alone tells: by its `source`; where it registers and
    /// has none, by the addresses at which it does.
    pub fn at<'s>(&self, address: IpAddr, settings: &'s Settings) -> Option<&'s Trunk> {
        settings.trunk_of(address).or_else(|| {
            let (board, address) = (self.board(), address.to_canonical());
            let mut trunks = settings.trunks.iter();
            trunks.find(|trunk| {
                let groups = board.hops.get(&trunk.name).into_iter().flatten();
                let mut hops = groups.flat_map(|group| &group.hops);
                trunk.calls_from_its_registrar()
                    && hops.any(|hop| hop.remote.ip().to_canonical() == address)
            })
        })
    }

    /// Whose address it is.
    pub fn known(&self, address: IpAddr, settings: &Settings) -> Known {
        match self.at(address, settings) {
            None => Known::Stranger,
            Some(trunk) if trunk.challenge.is_some() => {
                let key = self.key_of(&trunk.name);
                key.map_or(Known::Stranger, Known::Guarded)
            }
            Some(_) => Known::Trusted,
        }
    }

    /// What signalling asks of trunks that must prove who they are.
    pub fn doors(&self) -> Vec<Command> {
        let door = |trunk: &Trunk| {
            let challenge = trunk.challenge?;
            let account = trunk.account.as_ref()?;
            let door = Door {
                realm: account.domain.clone(),
                md5_only: challenge == Challenge::Md5,
                credentials: account.credentials(),
            };
            Some(Command::Guard(self.key_of(&trunk.name)?, Box::new(door)))
        };
        self.trunks.iter().filter_map(door).collect()
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
            let groups = board.hops.get(&trunk.name).into_iter().flatten();
            let mut hops = groups.flat_map(|group| &group.hops);
            hops.any(|hop| hop.transport == Transport::Tls && hop.remote.ip() == remote.ip())
        };
        let trunk = self.trunks.iter().find(here);
        // The name that was asked for, not the one that DNS gave (RFC 5922 §4).
        let host = trunk.and_then(Trunk::next_hop);
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
            let groups = board.hops.get(&trunk.name);
            let first = groups.and_then(|groups| groups.iter().min_by_key(|group| group.rank));
            let address = first
                .and_then(|group| group.hops.first())
                .map(|hop| hop.remote);
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

    /// A trunk is found and not down.
    fn is_usable(&self, name: &str) -> bool {
        let board = self.board();
        let down = matches!(board.standings.get(name), Some((Standing::Down(_), _)));
        !down
            && board
                .hops
                .get(name)
                .is_some_and(|groups| !groups.is_empty())
    }

    /// Where a trunk is, in the order in which a call tries it. Addresses that no
    /// socket of ours reaches (of IPv6 where we have none) are left out, unless all
    /// are: then somebody is told so.
    fn hops_of(&self, name: &str) -> Vec<Hop> {
        let mut board = self.board();
        let board = &mut *board;
        let groups = board.hops.get(name).map_or(&[][..], Vec::as_slice);
        let dice = &mut board.dice;
        let mut hops = locate::order(groups, |below| draw(dice, below));
        let now = clock::now();
        hops.sort_by_key(|hop| {
            let until = board.resting.get(&hop.remote);
            until.is_some_and(|until| *until > now)
        });
        let reached = |hop: &Hop| self.paths.towards(hop.transport, hop.remote.ip()).is_some();
        if hops.iter().any(reached) {
            hops.retain(reached);
        }
        hops
    }

    /// Calls that were not placed, since their trunk may not, or not so often.
    pub fn refused_calls(&self) -> u64 {
        self.board().refused
    }

    fn keyed(&self, key: TrunkKey) -> Option<&Trunk> {
        self.trunks.get(usize::try_from(key.0).ok()?)
    }

    fn key_of(&self, name: &str) -> Option<TrunkKey> {
        let index = self.trunks.iter().position(|trunk| trunk.name == name)?;
        u32::try_from(index).ok().map(TrunkKey)
    }

    /// What the endpoint is to keep up with, of one trunk at one of its addresses.
    fn upkeep(&self, index: usize, hop: Hop) -> Option<offhook_sip::Trunk> {
        let trunk = self.trunks.get(index)?;
        let remote = hop.remote;
        let local = self.paths.towards(hop.transport, remote.ip());
        let Some(local) = local else {
            tracing::error!(
                message = "trunk_down",
                trunk = trunk.name,
                reason = format!(
                    "no listener for {} towards {remote}: see sip.listen",
                    hop.transport.parameter()
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
                transport: hop.transport,
                local,
                remote,
            },
            target: uri(format!("sip:{}", place_of(trunk, hop)))?,
            routes: trunk
                .outbound_proxy
                .iter()
                .map(|it| it.route(hop.transport))
                .collect(),
            credentials: account.map(|account| account.credentials()),
            registration,
            probing: trunk.options.map(|every| Probing {
                every,
                down_after: DOWN_AFTER,
                up_after: UP_AFTER,
            }),
        })
    }

    /// Where a trunk is, asked for once: all addresses, the best first.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub fn find(
        trunk: &Trunk,
        servers: &[SocketAddr],
    ) -> Result<Vec<(Transport, SocketAddr)>, String> {
        let Some(proxy) = trunk.next_hop() else {
            return Ok(Vec::new());
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let groups = runtime.block_on(async {
            if let Some(group) = locate::literal(proxy) {
                return Ok(vec![group]);
            }
            let kinds = [Transport::Udp, Transport::Tcp, Transport::Tls];
            let resolver = locate::resolver(servers)?;
            Ok::<_, String>(locate::locate(proxy, &kinds, &resolver).await)
        })?;
        let hops = locate::order(&groups, |_| 0);
        Ok(hops
            .into_iter()
            .map(|hop| (hop.transport, hop.remote))
            .collect())
    }

    /// Has the endpoint keep up with all trunks, and looks their names up again
    /// now and then, for as long as signalling takes orders.
    pub async fn watch(&self, servers: &[SocketAddr], orders: mpsc::WeakSender<Order>) {
        let resolver = locate::resolver(servers);
        if let Err(error) = &resolver {
            tracing::error!(message = "no_name_servers", %error);
        }
        let mut kept: Vec<Option<(Hop, Duration)>> = vec![None; self.trunks.len()];
        loop {
            if let Ok(resolver) = &resolver {
                self.look_up(resolver).await;
            }
            for (index, known) in kept.iter_mut().enumerate() {
                let Some(hop) = self.better_hop(index, *known) else {
                    continue;
                };
                let Some(sender) = orders.upgrade() else {
                    return;
                };
                *known = Some((hop, clock::now()));
                if let Some(trunk) = self.upkeep(index, hop) {
                    let command = Command::KeepTrunk(Box::new(trunk));
                    // Gone with its queue: then nobody keeps up with anything.
                    let _ = sender.send(Order::Command(command)).await;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The address of a trunk to keep up with, where it is another one than before:
    /// it is no more, or does not answer there.
    fn better_hop(&self, index: usize, known: Option<(Hop, Duration)>) -> Option<Hop> {
        let name = &self.trunks[index].name;
        let hops = self.hops_of(name);
        let Some((hop, since)) = known.filter(|(hop, _)| hops.contains(hop)) else {
            return hops.first().copied();
        };
        let silent = match self.board().standings.get(name) {
            Some((Standing::Down(outage), _)) => match outage {
                Outage::Silent
                | Outage::Unreachable
                | Outage::RegistrarSilent
                | Outage::Failing(_) => true,
                Outage::Refused(..) | Outage::WrongPassword | Outage::NoPassword => false,
            },
            Some((Standing::Up | Standing::Unknown, _)) | None => false,
        };
        if !silent || clock::now() < since + STAY {
            return None;
        }
        let at = hops.iter().position(|it| *it == hop).map_or(0, |at| at + 1);
        let next = hops.get(at % hops.len()).copied();
        next.filter(|next| *next != hop)
    }

    /// Asks for the names of all trunks; what is not found stays where it was.
    async fn look_up(&self, names: &impl locate::Names) {
        let kinds = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let served = kinds.into_iter().filter(|kind| self.paths.serves(*kind));
        let served: Vec<Transport> = served.collect();
        for trunk in &self.trunks {
            let Some(proxy) = trunk.next_hop() else {
                continue;
            };
            if locate::literal(proxy).is_some() {
                continue;
            }
            let groups = locate::locate(proxy, &served, names).await;
            let mut board = self.board();
            let known = board.hops.get(&trunk.name);
            if groups.is_empty() {
                if known.is_none() {
                    tracing::error!(
                        message = "trunk_down",
                        trunk = trunk.name,
                        host = proxy.host,
                        reason = "name not found"
                    );
                }
                continue;
            }
            if known != Some(&groups) {
                tracing::info!(
                    message = "trunk_found",
                    trunk = trunk.name,
                    addresses = groups.iter().map(|group| group.hops.len()).sum::<usize>()
                );
                board.hops.insert(trunk.name.clone(), groups);
            }
        }
    }
}

/// splitmix64, below a limit.
fn draw(dice: &mut u64, below: u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *dice;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)) % below.max(1)
}

#[cfg(test)]
mod tests {
    use offhook_core::input::Cause;
    use offhook_sip::Failure;

    use super::*;

    fn trunks(proxy: Option<&str>) -> Trunks {
        let text = match proxy {
            Some(proxy) => {
                format!("[[trunk]]\nname = \"t\"\nproxy = \"udp:{proxy}\"\nallow = [\"*\"]\n")
            }
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
        let paths = Paths::new(listeners.into(), Vec::new());
        Trunks::new(&settings.trunks, paths)
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
            let invite = trunks(proxy).invite("t", to, Duration::ZERO);
            let found = invite
                .as_ref()
                .map(|i| (i.way.target.as_str(), i.way.flow.remote.to_string()));
            let expected = expected.map(|(uri, at)| (uri, at.to_owned()));
            assert_eq!(found.map_err(|cause| *cause), expected, "{to}");
        }
    }

    #[test]
    fn a_call_leaves_by_a_socket_that_reaches_the_peer() {
        let local = |to| {
            let invite = trunks(None).invite("t", to, Duration::ZERO);
            invite.unwrap().way.flow.local.to_string()
        };
        assert_eq!(local("sip:a@127.0.0.1:5099"), "127.0.0.1:5060");
        assert_eq!(local("sip:a@192.0.2.7"), "192.0.2.1:5060");
    }

    #[test]
    fn a_sips_uri_leaves_by_tls_or_not_at_all() {
        let way = |proxy: Option<&str>| {
            let text = proxy.map_or_else(
                || "[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\n".to_owned(),
                |it| format!("[[trunk]]\nname = \"t\"\nproxy = \"{it}\"\nallow = [\"*\"]\n"),
            );
            let invite = of(&text).invite("t", "sips:a@192.0.2.9", Duration::ZERO);
            let flow = invite.map(|it| it.way.flow).map_err(|cause| cause.name());
            flow.map(|it| (it.transport, it.remote.to_string()))
        };
        let tls = Ok((Transport::Tls, "192.0.2.9:5061".to_owned()));
        assert_eq!(way(None), tls);
        assert_eq!(way(Some("tls:192.0.2.9:5061")), tls);
        let down = Err(Cause::TrunkDown.name());
        assert_eq!(way(Some("udp:192.0.2.9:5060")), down);
    }

    const THREE: &str = "[[trunk]]\nname = \"a\"\nproxy = \"udp:192.0.2.7:5060\"\nnext = \"b\"\n\
        [[trunk]]\nname = \"b\"\nproxy = \"tls:192.0.2.8:5061\"\nnext = \"c\"\n\
        [[trunk]]\nname = \"c\"\nproxy = \"udp:192.0.2.9:5060\"\nuser = \"box\"\npassword = \"p\"\ndomain = \"c.example\"\nregister = true\n";

    #[test]
    fn calls_take_the_next_trunk_while_one_is_down() {
        let trunks = of(THREE);
        let down = || Standing::Down(offhook_sip::Outage::Silent);
        let invite = || trunks.invite("a", "100", Duration::ZERO).unwrap();
        let target = || invite().way.target.to_string();
        assert_eq!(target(), "sip:100@192.0.2.7:5060");
        let further: Vec<_> = invite()
            .further
            .iter()
            .map(|way| way.target.to_string())
            .collect();
        assert_eq!(
            further,
            ["sip:100@192.0.2.8:5061;transport=tls", "sip:100@c.example"]
        );
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
        let invite = trunks.invite("c", "100", Duration::ZERO).unwrap();
        assert_eq!(invite.way.from.uri.as_str(), "sip:box@c.example");
        assert_eq!(invite.way.trunk, Some(TrunkKey(2)));
        let upkeep = trunks.upkeep(2, trunks.hops_of("c")[0]).unwrap();
        let registration = upkeep.registration.unwrap();
        assert_eq!(registration.address.as_str(), "sip:box@c.example");
        assert_eq!((registration.expires, upkeep.probing), (600, None));
        assert_eq!(
            trunks.server_name("192.0.2.8:5061".parse().unwrap()),
            "192.0.2.8"
        );
    }

    fn redirect(contacts: &[&str]) -> Failure {
        Failure {
            status: offhook_sip::StatusCode::MOVED_TEMPORARILY,
            phrase: String::new(),
            local: false,
            reason: None,
            contacts: contacts.iter().map(|&text| text.to_owned()).collect(),
            retry_after: None,
        }
    }

    const GERMAN: &str = "[[trunk]]\nname = \"g\"\nproxy = \"udp:192.0.2.7:5060\"\ncountry = \"DE\"\n\
        source = [\"198.51.100.0/24\"]\ncalls_per_minute = 2\n";

    #[test]
    fn a_redirect_is_followed_to_the_trunk_or_its_networks_and_never_abroad() {
        let trunks = of(GERMAN);
        let flow = trunks
            .invite("g", "+4930123", Duration::ZERO)
            .unwrap()
            .way
            .flow;
        let contacts = [
            "sip:+442012345678@198.51.100.9",
            "sip:+4930999@198.51.100.9:5070",
            "sip:030999@elsewhere.example",
            "sip:+4930999@203.0.113.66",
            "sip:+4930999@198.51.100.10",
        ];
        let ways = trunks.follow(
            Some(TrunkKey(0)),
            flow,
            &redirect(&contacts),
            Duration::ZERO,
        );
        let found: Vec<_> = ways
            .iter()
            .map(|way| (way.target.as_str(), way.flow.remote.to_string()))
            .collect();
        let proxy = "192.0.2.7:5060".to_owned();
        assert_eq!(
            found,
            [
                (contacts[1], "198.51.100.9:5070".to_owned()),
                (contacts[2], proxy.clone()),
                (contacts[3], proxy),
            ]
        );
        let now = Duration::ZERO;
        assert!(
            trunks
                .follow(None, flow, &redirect(&contacts), now)
                .is_empty()
        );
        let again = trunks.follow(Some(TrunkKey(0)), flow, &redirect(&contacts), now);
        assert!(
            again.is_empty(),
            "two calls a minute: the call and a redirect"
        );
    }

    #[test]
    fn a_trunk_calls_nobody_abroad_and_nobody_too_often() {
        let trunks = of(GERMAN);
        let call = |to, seconds| {
            let invite = trunks.invite("g", to, Duration::from_secs(seconds));
            invite.map(|_| ()).map_err(|cause| cause.name())
        };
        let (abroad, often) = (Err(Cause::Forbidden.name()), Err(Cause::Congestion.name()));
        assert_eq!(call("+5355512345", 0), abroad);
        assert_eq!(call("005355512345", 0), abroad);
        assert_eq!([call("+4930123", 0), call("030123", 0)], [Ok(()), Ok(())]);
        assert_eq!(call("+4930123", 0), often);
        assert_eq!(
            [call("+4930123", 30), call("+4930123", 30)],
            [Ok(()), often]
        );
        assert_eq!(trunks.refused_calls(), 4);
    }

    #[test]
    fn a_call_that_comes_over_is_paid_for_by_the_trunk_that_takes_it() {
        let text = format!(
            "{GERMAN}next = \"h\"\n{}",
            GERMAN.replace("\"g\"", "\"h\"").replace("7", "8")
        );
        let trunks = of(&text.replace("source = [\"198.51.100.0/24\"]\n", ""));
        let further = |seconds| {
            let invite = trunks.invite("g", "+4930123", Duration::from_secs(seconds));
            invite
                .map(|it| it.further.len())
                .map_err(|cause| cause.name())
        };
        let (g, h) = (Some(TrunkKey(0)), Some(TrunkKey(1)));
        assert_eq!(further(0), Ok(1));
        trunks.came_over(g, g, Duration::ZERO);
        assert_eq!(further(0), Ok(1));
        for _ in 0..9 {
            trunks.came_over(g, h, Duration::ZERO);
        }
        assert_eq!(further(30), Ok(0), "it is a minute in arrears");
        assert_eq!([further(60), further(91)], [Ok(0), Ok(1)]);
    }

    #[test]
    fn an_address_that_did_not_work_is_asked_last_for_a_while() {
        let trunks = of(THREE);
        let [one, two] = ["192.0.2.7:5060", "192.0.2.17:5060"].map(|remote| Hop {
            transport: Transport::Udp,
            remote: remote.parse().unwrap(),
        });
        let groups = vec![Group {
            hops: vec![one, two],
            ..Group::lone(one)
        }];
        trunks.board().hops.insert("a".to_owned(), groups);
        assert_eq!(trunks.hops_of("a"), [one, two]);
        let flow = trunks.invite("a", "100", Duration::ZERO).unwrap().way.flow;
        trunks.rest(&flow, &redirect(&[]), clock::now());
        assert_eq!(trunks.hops_of("a"), [two, one]);
        let ways = trunks.invite("a", "100", Duration::ZERO).unwrap().further;
        assert_eq!(ways[0].flow.remote, one.remote);
    }

    #[test]
    fn a_trunk_that_registers_calls_from_there_unless_it_says_from_where() {
        let account = "user = \"box\"\npassword = \"p\"\ndomain = \"c.example\"\n";
        let rows = [
            ("register = true\n", true),
            ("", false),
            ("register = true\nsource = [\"198.51.100.0/24\"]\n", false),
            ("register = true\nidentity = [\"c.example\"]\n", false),
        ];
        for (more, expected) in rows {
            let text =
                format!("[[trunk]]\nname = \"c\"\nproxy = \"udp:192.0.2.9:5060\"\n{account}{more}");
            let settings = Settings::parse(std::path::Path::new("f.toml"), &text).unwrap();
            let trunks = of(&text);
            let known = |at: &str| trunks.known(at.parse().unwrap(), &settings);
            let there = if expected {
                Known::Trusted
            } else {
                Known::Stranger
            };
            assert_eq!(known("192.0.2.9"), there, "{more}");
            assert_eq!(known("192.0.2.10"), Known::Stranger, "{more}");
        }
    }

    #[test]
    fn of_a_name_with_both_kinds_of_addresses_the_one_that_we_reach_is_kept_up_with() {
        let text = "[[trunk]]\nname = \"a\"\nproxy = \"udp:dual.example\"\nallow = [\"*\"]\n";
        let hops = ["[2001:db8::7]:5060", "192.0.2.7:5060"].map(|remote| Hop {
            transport: Transport::Udp,
            remote: remote.parse().unwrap(),
        });
        let known = |trunks: &Trunks, hops: &[Hop]| {
            let group = Group {
                hops: hops.to_vec(),
                ..Group::lone(hops[0])
            };
            trunks.board().hops.insert("a".to_owned(), vec![group]);
        };
        let trunks = of(text);
        known(&trunks, &hops);
        let hop = trunks.better_hop(0, None).unwrap();
        assert_eq!(hop, hops[1]);
        assert!(trunks.upkeep(0, hop).is_some());
        assert_eq!(trunks.better_hop(0, Some((hop, Duration::ZERO))), None);
        known(&trunks, &hops[..1]);
        assert_eq!(
            trunks.better_hop(0, None),
            Some(hops[0]),
            "its fault is told"
        );
    }

    #[test]
    fn a_call_whose_ipv6_is_dead_has_ipv4_for_its_next_way() {
        let text = "[[trunk]]\nname = \"a\"\nproxy = \"udp:dual.example\"\nallow = [\"*\"]\n";
        let settings = Settings::parse(std::path::Path::new("f.toml"), text).unwrap();
        let listeners = ["[2001:db8::1]:5060", "192.0.2.1:5060"];
        let listeners = listeners.map(|at| (Transport::Udp, at.parse().unwrap()));
        let trunks = Trunks::new(&settings.trunks, Paths::new(listeners.into(), Vec::new()));
        let [six, four] = ["[2001:db8::7]:5060", "192.0.2.7:5060"].map(|remote| Hop {
            transport: Transport::Udp,
            remote: remote.parse().unwrap(),
        });
        let group = Group {
            hops: vec![six, four],
            ..Group::lone(six)
        };
        trunks.board().hops.insert("a".to_owned(), vec![group]);
        let remotes = || {
            let invite = trunks.invite("a", "100", Duration::ZERO).unwrap();
            let all = std::iter::once(invite.way).chain(invite.further);
            all.map(|way| way.flow.remote).collect::<Vec<_>>()
        };
        assert_eq!(remotes(), [six.remote, four.remote]);
        let flow = trunks.invite("a", "100", Duration::ZERO).unwrap().way.flow;
        trunks.rest(&flow, &redirect(&[]), clock::now());
        assert_eq!(remotes(), [four.remote, six.remote]);
    }

    #[test]
    fn behind_an_outbound_proxy_its_address_is_the_one_that_calls() {
        let text = "[[trunk]]\nname = \"c\"\nproxy = \"udp:carrier.example\"\nuser = \"box\"\n\
            password = \"p\"\ndomain = \"c.example\"\nregister = true\n\
            outbound_proxy = \"udp:192.0.2.30:5080\"\n";
        let settings = Settings::parse(std::path::Path::new("f.toml"), text).unwrap();
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.30:1024".parse().unwrap(),
        };
        let trunks = of(text);
        let found = trunks.of_flow(&flow, &settings);
        assert_eq!(found.map(|trunk| trunk.name.as_str()), Some("c"));
    }

    #[test]
    fn behind_an_outbound_proxy_a_trunk_keeps_its_name() {
        let trunks = of(
            "[[trunk]]\nname = \"a\"\nproxy = \"udp:carrier.example:5070\"\n\
            outbound_proxy = \"udp:192.0.2.30:5080\"\n",
        );
        let way = trunks.invite("a", "100", Duration::ZERO).unwrap().way;
        assert_eq!(way.target.as_str(), "sip:100@carrier.example:5070");
        assert_eq!(way.flow.remote.to_string(), "192.0.2.30:5080");
        let upkeep = trunks.upkeep(0, trunks.hops_of("a")[0]).unwrap();
        assert_eq!(upkeep.routes, ["<sip:192.0.2.30:5080;lr>"]);
    }
}
