//! How calls leave: the trunk, then those that stand in for it, each by all its
//! addresses; numbers as each trunk writes them; only whom each may call.
//!
//! What is asked of a network is asked elsewhere: this reads what is known.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use offhook_core::Number;
use offhook_core::input::Cause;
use offhook_sip::uri::Scheme;
use offhook_sip::{
    CallKey, Failure, Flow, Invite, TransferTarget, Transport, TrunkKey, Uri, WAYS_MAX, Way,
};

use super::{Hop, Trunks};
use crate::logging::Redacted;
use crate::settings::{Permit, Refused, Trunk};

/// Signalling puts the key that the endpoint gives in its place.
const UNKEYED: CallKey = CallKey(u64::MAX);
/// An address that did not work is asked last for so long, unless it says how long.
const REST: Duration = Duration::from_secs(30);
/// Whatever it says.
const REST_MAX: Duration = Duration::from_secs(300);
/// Targets of one redirect that are looked at.
const CONTACTS_MAX: usize = 4;

/// Milliseconds of a minute.
const CALL: i64 = 60_000;

/// What one trunk may dial this minute: a bucket that fills evenly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// In parts of which a call takes [`CALL`]; each millisecond brings as many
    /// as calls are allowed in a minute. Below zero: calls came over from other
    /// trunks, which the next ones wait for, a minute at most.
    left: i64,
    at: Duration,
}

impl Allowance {
    /// As it stands now.
    fn at(known: Option<Self>, permit: &Permit, now: Duration) -> Self {
        let each = i64::from(permit.per_minute);
        let full = each * CALL;
        let (left, at) = known.map_or((full, now), |it| (it.left, it.at));
        let passed = i64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(i64::MAX);
        let left = left.saturating_add(passed.saturating_mul(each)).min(full);
        Self { left, at: now }
    }

    fn is_enough(self) -> bool {
        self.left >= CALL
    }

    fn less_one(self, permit: &Permit) -> Self {
        let least = -i64::from(permit.per_minute) * CALL;
        let left = (self.left - CALL).max(least);
        Self { left, ..self }
    }
}

impl Trunks {
    /// The trunks that take a call for this one: itself and those after it, but for
    /// the ones that are down. All down: itself, since its word may be old.
    fn standing_in(&self, name: &str) -> Vec<&Trunk> {
        let usable = |trunk: &&Trunk| trunk.proxy.is_none() || self.is_usable(&trunk.name);
        let chain =
            std::iter::successors(self.named(name), |trunk| self.named(trunk.next.as_deref()?));
        let usable: Vec<_> = chain.take(self.trunks.len()).filter(usable).collect();
        match (usable.is_empty(), self.named(name)) {
            (true, Some(trunk)) => vec![trunk],
            _ => usable,
        }
    }

    /// Whether a number or a SIP URI can be called by a trunk now.
    ///
    /// # Errors
    /// Why not.
    pub fn can_call(&self, trunk: &str, to: &str) -> Result<(), Cause> {
        self.ways(trunk, to).map(drop)
    }

    /// The INVITE for a number or a SIP URI by a trunk, and by those that stand in
    /// for it; signalling fills in key and offer.
    ///
    /// # Errors
    /// The trunk has no way out, `to` is nothing that can be called or nothing that
    /// may be, or the trunk has called enough for now.
    pub fn invite(&self, trunk: &str, to: &str, now: Duration) -> Result<Box<Invite>, Cause> {
        let mut ways = self.ways(trunk, to)?.into_iter();
        let way = ways.next().ok_or(Cause::TrunkDown)?;
        self.spend(way.trunk, now)?;
        // The others pay when the call comes to them.
        let further = ways.filter(|it| it.trunk == way.trunk || self.has_allowance(it.trunk, now));
        let further = further.take(WAYS_MAX).collect();
        Ok(Box::new(Invite {
            key: UNKEYED,
            way,
            further,
            to_display: None,
            call_id: None,
            offer: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// Whom a peer of a trunk is asked to call: a SIP URI as it stands, a number as
    /// the trunk writes it, where the peer is.
    ///
    /// # Errors
    /// `to` is nothing that can be called, or nothing that may be.
    pub fn refer_to(&self, trunk: &str, to: &str) -> Result<TransferTarget, Cause> {
        let trunk = self.named(trunk).ok_or(Cause::Unallocated)?;
        let written = self.written(trunk, to)?;
        if written.starts_with("sip:") || written.starts_with("sips:") {
            let uri = Uri::parse(&written).map_err(|_| Cause::Unallocated)?;
            return Ok(TransferTarget::Uri(uri));
        }
        let user = user_of(&written).ok_or(Cause::Unallocated)?;
        Ok(TransferTarget::User(user))
    }

    /// All ways of a call, the best first.
    fn ways(&self, name: &str, to: &str) -> Result<Vec<Way>, Cause> {
        let mut ways = Vec::new();
        let mut why = Cause::TrunkDown;
        for trunk in self.standing_in(name) {
            match self.ways_by(trunk, to) {
                Ok(more) => ways.extend(more),
                Err(cause) if ways.is_empty() && why == Cause::TrunkDown => why = cause,
                Err(_) => {}
            }
        }
        if ways.is_empty() {
            return Err(why);
        }
        Ok(ways)
    }

    /// Whom to call as the trunk writes it, where the trunk may call them.
    fn written(&self, trunk: &Trunk, to: &str) -> Result<String, Cause> {
        let numbering = &trunk.numbering;
        let number = Number::parse(to).or_else(|| numbering.read(to));
        let judged = number.as_ref().map_or(to, Number::as_str);
        trunk.permit.judge(judged).map_err(|refused| {
            self.refused(trunk, to, refused);
            Cause::Forbidden
        })?;
        // In the core a number is E.164; the trunk has its own way of writing it.
        Ok(match Number::parse(to) {
            Some(number) => numbering.write(&number),
            None => to.to_owned(),
        })
    }

    fn ways_by(&self, trunk: &Trunk, to: &str) -> Result<Vec<Way>, Cause> {
        let written = self.written(trunk, to)?;
        let ways = match &trunk.proxy {
            Some(_) => {
                let hops = self.hops_of(&trunk.name);
                let reached = |hop: &Hop| {
                    let local = self.paths.towards(hop.transport, hop.remote.ip());
                    local.is_some()
                };
                // `sips:` is TLS at every hop (RFC 3261 §26.2.2).
                let secure = written.starts_with("sips:");
                let safe = |hop: &Hop| !secure || hop.transport == Transport::Tls;
                let all = hops.into_iter().filter(safe).filter(reached);
                all.map(|hop| self.way(trunk, hop, &written))
                    .collect::<Result<Vec<_>, _>>()?
            }
            None => {
                let target = target(&written, None).ok_or(Cause::Unallocated)?;
                let hop = Hop {
                    transport: transport_of(&target),
                    remote: address_of(&target).ok_or(Cause::TrunkDown)?,
                };
                vec![self.way_to(trunk, hop, target)?]
            }
        };
        if ways.is_empty() {
            return Err(Cause::TrunkDown);
        }
        Ok(ways)
    }

    fn way(&self, trunk: &Trunk, hop: Hop, to: &str) -> Result<Way, Cause> {
        let place = place_of(trunk, hop);
        let target = target(to, Some(&place)).ok_or(Cause::Unallocated)?;
        self.way_to(trunk, hop, target)
    }

    fn way_to(&self, trunk: &Trunk, hop: Hop, target: Uri) -> Result<Way, Cause> {
        let local = self.paths.towards(hop.transport, hop.remote.ip());
        let flow = Flow {
            transport: hop.transport,
            local: local.ok_or(Cause::TrunkDown)?,
            remote: hop.remote,
        };
        let (account, host) = (trunk.account.as_ref(), self.paths.shown(&flow));
        let shown = trunk.presented.headers(&trunk.numbering, account, &host);
        let shown = shown.ok_or(Cause::InternalError)?;
        Ok(Way {
            flow,
            trunk: self.key_of(&trunk.name),
            target,
            from: shown.from,
            asserted: shown.asserted,
            private: shown.private,
        })
    }

    /// Where a redirect leads: whom its trunk may call, at the trunk, or at an
    /// address that is the trunk's too. Numbers at other hosts go by the trunk. It is a
    /// call more of that trunk's; one too many leads nowhere.
    pub fn follow(
        &self,
        key: Option<TrunkKey>,
        flow: Flow,
        failure: &Failure,
        now: Duration,
    ) -> Vec<Way> {
        let Some(trunk) = key.and_then(|key| self.keyed(key)) else {
            return Vec::new();
        };
        let here = Hop {
            transport: flow.transport,
            remote: flow.remote,
        };
        let contacts = failure.contacts.iter().take(CONTACTS_MAX);
        let way = |contact: &String| {
            let target = Uri::parse(contact).ok()?;
            let number = target.user().and_then(|user| {
                let numbering = &trunk.numbering;
                Number::parse(&user).or_else(|| numbering.read(&user))
            });
            let judged = number.as_ref().map_or(contact.as_str(), Number::as_str);
            if let Err(refused) = trunk.permit.judge(judged) {
                self.refused(trunk, contact, refused);
                return None;
            }
            let theirs = |at: &SocketAddr| {
                let hops = self.hops_of(&trunk.name);
                let source = trunk.sources.iter().any(|net| net.contains(at.ip()));
                source || hops.iter().any(|hop| hop.remote.ip() == at.ip())
            };
            let remote = address_of(&target).filter(theirs);
            let hop = remote.map_or(here, |remote| Hop { remote, ..here });
            let secure = transport_of(&target) == Transport::Tls;
            let safe = !secure || hop.transport == Transport::Tls;
            safe.then(|| self.way_to(trunk, hop, target).ok()).flatten()
        };
        let ways: Vec<_> = contacts.filter_map(way).collect();
        match ways.is_empty() || self.spend(key, now).is_ok() {
            true => ways,
            false => Vec::new(),
        }
    }

    /// A call came over from one trunk to another, which pays for it.
    pub fn came_over(&self, from: Option<TrunkKey>, to: Option<TrunkKey>, now: Duration) {
        if from != to
            && let Some(trunk) = to.and_then(|key| self.keyed(key))
        {
            let mut board = self.board();
            let known = board.allowances.get(&trunk.name).copied();
            let left = Allowance::at(known, &trunk.permit, now).less_one(&trunk.permit);
            board.allowances.insert(trunk.name.clone(), left);
        }
    }

    fn has_allowance(&self, key: Option<TrunkKey>, now: Duration) -> bool {
        let Some(trunk) = key.and_then(|key| self.keyed(key)) else {
            return true;
        };
        let known = self.board().allowances.get(&trunk.name).copied();
        Allowance::at(known, &trunk.permit, now).is_enough()
    }

    /// A way was of no use: its address is asked last for a while.
    pub fn rest(&self, flow: &Flow, failure: &Failure, now: Duration) {
        let asked = failure.retry_after.map(u64::from).map(Duration::from_secs);
        let until = now + asked.unwrap_or(REST).min(REST_MAX);
        let mut board = self.board();
        let groups = board.hops.values().flatten();
        let mut known = groups.flat_map(|group| &group.hops);
        if known.any(|hop| hop.remote == flow.remote) {
            board.resting.retain(|_, until| *until > now);
            board.resting.insert(flow.remote, until);
        }
    }

    fn spend(&self, key: Option<TrunkKey>, now: Duration) -> Result<(), Cause> {
        let Some(trunk) = key.and_then(|key| self.keyed(key)) else {
            return Ok(());
        };
        let mut board = self.board();
        let known = board.allowances.get(&trunk.name).copied();
        let left = Allowance::at(known, &trunk.permit, now);
        if left.is_enough() {
            let left = left.less_one(&trunk.permit);
            board.allowances.insert(trunk.name.clone(), left);
            return Ok(());
        }
        board.refused += 1;
        drop(board);
        tracing::debug!(
            message = "outbound_limited",
            trunk = trunk.name,
            calls_per_minute = trunk.permit.per_minute
        );
        Err(Cause::Congestion)
    }

    fn refused(&self, trunk: &Trunk, to: &str, refused: Refused) {
        self.board().refused += 1;
        // A line for each would be the caller's to write; the minute's line counts them.
        tracing::debug!(
            message = "outbound_refused",
            trunk = trunk.name,
            to = %Redacted(to),
            reason = refused.reason()
        );
    }
}

/// Host and port of a trunk in a Request-URI: the account's domain, the name of a
/// trunk behind an outbound proxy, else where it is.
pub(super) fn place_of(trunk: &Trunk, hop: Hop) -> String {
    let named = trunk.outbound_proxy.as_ref().and(trunk.proxy.as_ref());
    let place = match (&trunk.account, named) {
        (Some(account), _) => account.domain.clone(),
        (None, Some(proxy)) => proxy.host_port(),
        (None, None) => hop.remote.to_string(),
    };
    if hop.transport.is_reliable() {
        format!("{place};transport={}", hop.transport.parameter())
    } else {
        place
    }
}

/// A URI as it stands; a number becomes a user at the proxy.
fn target(to: &str, place: Option<&str>) -> Option<Uri> {
    if to.starts_with("sip:") || to.starts_with("sips:") {
        return Uri::parse(to).ok();
    }
    let (user, place) = (user_of(to)?, place?);
    Uri::parse(&format!("sip:{user}@{place}")).ok()
}

/// A number or name as the user of a SIP URI.
fn user_of(to: &str) -> Option<String> {
    let number = to.strip_prefix("tel:").unwrap_or(to);
    let dialable = |c: char| c.is_ascii_alphanumeric() || "+*#-._".contains(c);
    let known = !number.is_empty() && number.chars().all(dialable);
    known.then(|| number.replace('#', "%23"))
}

fn transport_of(uri: &Uri) -> Transport {
    match uri.scheme() {
        Scheme::Sips => Transport::Tls,
        Scheme::Sip | Scheme::Tel | Scheme::Other => Transport::Udp,
    }
}

fn address_of(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host().trim_start_matches('[').trim_end_matches(']');
    let port = transport_of(uri).default_port();
    let host: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(host, uri.port().unwrap_or(port)))
}
