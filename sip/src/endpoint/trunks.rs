//! Trunks that are kept up with: REGISTER, its refresh and its failures, and
//! OPTIONS that tell whether a trunk is there.

use core::time::Duration;

use super::lines::Lines;
use super::{Endpoint, Output, Owner};
use crate::event::Event;
use crate::framing::PING;
use crate::headers::{HeaderName, NameAddr};
use crate::message::{Method, Response, StatusCode};
use crate::text;
use crate::timers::{Slot, Timer};
use crate::transaction::{Hold, TransactionId};
use crate::trunk::{Kept, Outage, Standing, Trunk, TrunkKey};
use crate::uri::UriView;
use crate::write::Writer;

/// Most trunks.
const TRUNKS_MAX: usize = 256;
/// Most routes that a registrar may hand out.
const SERVICE_ROUTES_MAX: usize = 8;
/// Seconds after which a path by datagrams may be forgotten where the registrar
/// names none (RFC 5626 §4.4.2: keepalives come within 29 s), and the most that count.
const FLOW_TIMER: u64 = 29;
const FLOW_TIMER_MAX: u64 = 3600;
/// An OPTIONS without an answer by then has failed: 16*T1.
const PROBE_PATIENCE: u32 = 16;

impl Endpoint {
    pub(super) fn keep_trunk(&mut self, trunk: Trunk) -> Option<()> {
        let key = trunk.key;
        if self.trunks.len() >= TRUNKS_MAX && !self.trunks.contains_key(&key) {
            self.counters.refused_by_limit += 1;
            return None;
        }
        self.forget_trunk(key);
        let (registers, probes) = (trunk.registration.is_some(), trunk.probing.is_some());
        let (call_id, tag) = (self.random.call_id(), self.random.tag());
        let kept = Box::new(Kept::new(trunk, call_id, tag));
        self.trunks.insert(key, kept);
        if registers {
            self.register(key);
        }
        if probes {
            self.probe(key);
        }
        self.judge(key);
        Some(())
    }

    pub(super) fn drop_trunk(&mut self, key: TrunkKey) -> Option<()> {
        let kept = self.trunks.get_mut(&key)?;
        kept.leaving = true;
        let bound = core::mem::take(&mut kept.registering.bound);
        for slot in Slot::ALL {
            self.timers.disarm(&mut kept.alarms, slot);
        }
        if bound {
            kept.registering.expires = 0;
            self.register(key);
        } else {
            self.forget_trunk(key);
        }
        Some(())
    }

    fn forget_trunk(&mut self, key: TrunkKey) {
        let Some(kept) = self.trunks.remove(&key) else {
            return;
        };
        self.timers.abandon(kept.alarms.count());
        let under_way = [kept.registering.under_way, kept.health.under_way];
        for id in under_way.into_iter().flatten() {
            self.finish(id);
        }
    }

    fn arm_trunk(&mut self, key: TrunkKey, timer: Timer, delay: Duration) {
        if let Some(kept) = self.trunks.get_mut(&key).filter(|kept| !kept.leaving) {
            let at = self.now.saturating_add(delay);
            let owner = Owner::Trunk(key);
            self.timers.arm(&mut kept.alarms, owner, timer, at);
        }
    }

    pub(super) fn on_trunk_timer(&mut self, key: TrunkKey, timer: Timer) {
        match timer {
            Timer::RegisterDue => self.register(key),
            Timer::ProbeDue => self.probe(key),
            Timer::BindingLapsed => self.on_lapsed(key),
            Timer::ProbeUnanswered => self.on_probe_unanswered(key),
            Timer::KeepaliveDue => self.keep_open(key),
            Timer::A
            | Timer::B
            | Timer::C
            | Timer::NextWay
            | Timer::D
            | Timer::E
            | Timer::F
            | Timer::G
            | Timer::H
            | Timer::I
            | Timer::J
            | Timer::K
            | Timer::L
            | Timer::M
            | Timer::Trying
            | Timer::ProvisionalRefresh
            | Timer::AnswerRepeat
            | Timer::AnswerUnconfirmed
            | Timer::CancelUnanswered
            | Timer::ReliableRepeat
            | Timer::ReliableUnanswered
            | Timer::SessionRefresh
            | Timer::SessionExpired
            | Timer::Glare
            | Timer::ChangeUnanswered
            | Timer::TransferSilent
            | Timer::NextAddress => {}
        }
    }

    /// Tells how a trunk stands when that has changed.
    fn judge(&mut self, key: TrunkKey) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        let standing = kept.judge();
        if standing != kept.standing && !kept.leaving {
            kept.standing = standing.clone();
            self.tell(Event::Trunk { key, standing });
        }
    }

    /// How a trunk stands.
    pub fn standing(&self, key: TrunkKey) -> Option<&Standing> {
        self.trunks.get(&key).map(|kept| &kept.standing)
    }

    /// All trunks that are kept up with.
    pub fn trunk_keys(&self) -> Vec<TrunkKey> {
        let mut keys: Vec<_> = self.trunks.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// A registration is being taken back.
    pub fn is_leaving_trunks(&self) -> bool {
        self.trunks.values().any(|kept| kept.leaving)
    }

    fn register(&mut self, key: TrunkKey) {
        let Some((bytes, branch)) = self.write_register(key) else {
            return;
        };
        let id = self.ask_trunk(key, &Method::Register, &branch, bytes);
        if let Some(kept) = self.trunks.get_mut(&key) {
            kept.registering.under_way = id;
        }
    }

    fn write_register(&mut self, key: TrunkKey) -> Option<(Vec<u8>, String)> {
        let kept = self.trunks.get_mut(&key)?;
        let cseq = kept.next_cseq();
        let branch = self.random.branch();
        let kept = self.trunks.get(&key)?;
        let registration = kept.trunk.registration.as_ref()?;
        let address = registration.address.as_str();
        let mut writer = self.trunk_request(
            kept,
            &Method::Register,
            registration.registrar.as_str(),
            address,
            (cseq, &branch),
        );
        let contact = self.contact_of(&registration.contact_user, &kept.trunk.flow);
        writer.field("Contact", contact);
        writer.field("Expires", kept.registering.expires);
        writer.field("Supported", "path");
        Some((writer.finish(), branch))
    }

    /// A request to a trunk, outside any dialog, to its User-Agent line.
    fn trunk_request(
        &self,
        kept: &Kept,
        method: &Method,
        uri: &str,
        address: &str,
        (cseq, branch): (u32, &str),
    ) -> Writer {
        let mut writer = Writer::request(method, uri);
        writer.field("Via", self.via(&kept.trunk.flow, branch));
        writer.raw(b"Max-Forwards: 70\r\n");
        for route in &kept.trunk.routes {
            writer.field("Route", route);
        }
        writer.field("From", format_args!("<{address}>;tag={}", kept.tag));
        let to = if *method == Method::Register {
            address
        } else {
            uri
        };
        writer.field("To", format_args!("<{to}>"));
        writer.field("Call-ID", &kept.call_id);
        writer.field("CSeq", format_args!("{cseq} {method}"));
        writer.field("User-Agent", &self.config.product);
        writer
    }

    /// Sends a request to a trunk; a nonce that is known is used at once.
    fn ask_trunk(
        &mut self,
        key: TrunkKey,
        method: &Method,
        branch: &str,
        mut bytes: Vec<u8>,
    ) -> Option<TransactionId> {
        let flow = self.trunks.get(&key)?.trunk.flow;
        let lines: Lines = self.proofs(key, &bytes);
        if !lines.is_empty() {
            let end = bytes
                .len()
                .saturating_sub(b"Content-Length: 0\r\n\r\n".len());
            let tail = bytes.split_off(end);
            for (name, value) in lines {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(&tail);
        }
        let id = self.start_client(method, branch, flow, bytes, None, Hold::None);
        self.transactions.get_mut(id)?.trunk = Some(key);
        Some(id)
    }

    pub(super) fn on_trunk_response(
        &mut self,
        key: TrunkKey,
        id: TransactionId,
        response: &Response<'_>,
    ) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        if kept.registering.under_way == Some(id) {
            kept.registering.under_way = None;
            self.on_register_response(key, response);
        } else if kept.health.under_way == Some(id) {
            kept.health.under_way = None;
            self.timers.disarm(&mut kept.alarms, Slot::Again);
            let failing = matches!(response.status.code(), 408 | 502..=504);
            let outage = failing.then_some(Outage::Failing(response.status));
            self.on_probed(key, outage);
        }
        self.judge(key);
    }

    pub(super) fn on_trunk_unanswered(
        &mut self,
        key: TrunkKey,
        id: TransactionId,
        status: StatusCode,
    ) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        let unreachable = status == StatusCode::SERVICE_UNAVAILABLE;
        if kept.registering.under_way == Some(id) {
            kept.registering.under_way = None;
            let outage = if unreachable {
                Outage::Unreachable
            } else {
                Outage::RegistrarSilent
            };
            self.on_not_registered(key, outage, None);
        } else if kept.health.under_way == Some(id) {
            kept.health.under_way = None;
            self.timers.disarm(&mut kept.alarms, Slot::Again);
            let outage = if unreachable {
                Outage::Unreachable
            } else {
                Outage::Silent
            };
            self.on_probed(key, Some(outage));
        }
        self.judge(key);
    }

    fn on_register_response(&mut self, key: TrunkKey, response: &Response<'_>) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        if kept.leaving {
            return self.forget_trunk(key);
        }
        let status = response.status;
        if status.is_success() {
            return self.on_registered(key, response);
        }
        if status == StatusCode::INTERVAL_TOO_BRIEF {
            let least = number(response, HeaderName::MinExpires).unwrap_or(0);
            if kept.registering.raise(least).is_some() {
                return self.register(key);
            }
        }
        let outage = match status.code() {
            401 | 407 if kept.login.as_ref().is_some_and(|login| login.is_ready()) => {
                Outage::WrongPassword
            }
            401 | 407 => Outage::NoPassword,
            _ => Outage::Refused(status, response.reason.clone().into_owned()),
        };
        self.on_not_registered(key, outage, response.retry_after());
    }

    fn on_registered(&mut self, key: TrunkKey, response: &Response<'_>) {
        let kept = self.trunks.get(&key);
        let Some(registration) = kept.and_then(|kept| kept.trunk.registration.as_ref()) else {
            return;
        };
        let ours = kept.map(|it| self.contact_of(&registration.contact_user, &it.trunk.flow));
        let Some((kept, ours)) = self.trunks.get_mut(&key).zip(ours) else {
            return;
        };
        let granted = granted(response, &ours).unwrap_or(kept.registering.expires);
        kept.registering.service_route = service_route(response);
        let asked = number(response, HeaderName::FlowTimer).filter(|seconds| *seconds != 0);
        kept.registering.flow_timer = asked.map_or(FLOW_TIMER, u64::from);
        let (refresh, lapse) = kept.registering.granted(granted);
        self.arm_trunk(key, Timer::RegisterDue, refresh);
        self.arm_trunk(key, Timer::BindingLapsed, lapse);
        self.arm_keepalive(key);
    }

    /// A NAT on the way forgets a registered path by datagrams on which nothing is
    /// said; streams have pings of their own.
    fn arm_keepalive(&mut self, key: TrunkKey) {
        let Some(kept) = self.trunks.get(&key) else {
            return;
        };
        if kept.trunk.flow.transport.is_reliable() {
            return;
        }
        // Between 80 and 100 % of it (RFC 5626 §4.4.1).
        let most = Duration::from_secs(kept.registering.flow_timer.min(FLOW_TIMER_MAX));
        let pause = most - most / 5 + self.part_of(most / 5);
        self.arm_trunk(key, Timer::KeepaliveDue, pause);
    }

    /// For datagrams RFC 5626 §3.5.2 asks for STUN; empty lines are what gateways
    /// send and every server takes (RFC 3261 §7.5), and no answer is needed.
    fn keep_open(&mut self, key: TrunkKey) {
        let Some(kept) = self.trunks.get(&key).filter(|kept| kept.registering.bound) else {
            return;
        };
        let flow = kept.trunk.flow;
        self.counters.sent += 1;
        self.outbox.push_back(Output::Transmit {
            flow,
            reuse: None,
            bytes: PING.to_vec(),
        });
        self.arm_keepalive(key);
    }

    fn on_not_registered(&mut self, key: TrunkKey, outage: Outage, retry_after: Option<u32>) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        if kept.leaving {
            return self.forget_trunk(key);
        }
        let pause = kept.registering.failed(outage, retry_after);
        let pause = pause / 2 + self.part_of(pause / 2);
        self.arm_trunk(key, Timer::RegisterDue, pause);
    }

    fn on_lapsed(&mut self, key: TrunkKey) {
        if let Some(kept) = self.trunks.get_mut(&key) {
            kept.registering.bound = false;
            kept.registering
                .outage
                .get_or_insert(Outage::RegistrarSilent);
        }
        self.judge(key);
    }

    /// A random part of a time, at least 1 ms, so that many boxes do not move in step.
    pub(super) fn part_of(&mut self, whole: Duration) -> Duration {
        let millis = u32::try_from(whole.as_millis()).unwrap_or(u32::MAX);
        Duration::from_millis(1 + u64::from(self.random.below(millis.max(1))))
    }

    fn probe(&mut self, key: TrunkKey) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        if kept.health.under_way.is_some() {
            return;
        }
        let cseq = kept.next_cseq();
        let branch = self.random.branch();
        let Some(kept) = self.trunks.get(&key) else {
            return;
        };
        let target = kept.trunk.target.as_str();
        let user = &self.config.contact_user;
        let host_port = self.config.host_port(&kept.trunk.flow);
        let address = match &kept.trunk.registration {
            Some(registration) => registration.address.to_string(),
            None => format!("sip:{user}@{host_port}"),
        };
        let numbers = (cseq, branch.as_str());
        let mut writer = self.trunk_request(kept, &Method::Options, target, &address, numbers);
        writer.field("Contact", self.contact(&kept.trunk.flow));
        writer.field("Accept", "application/sdp");
        let bytes = writer.finish();
        let id = self.ask_trunk(key, &Method::Options, &branch, bytes);
        if let Some(kept) = self.trunks.get_mut(&key) {
            kept.health.under_way = id;
        }
        let patience = self.config.timers.t1 * PROBE_PATIENCE;
        self.arm_trunk(key, Timer::ProbeUnanswered, patience);
    }

    fn on_probe_unanswered(&mut self, key: TrunkKey) {
        let kept = self.trunks.get_mut(&key);
        let id = kept.and_then(|kept| kept.health.under_way.take());
        if let Some(id) = id {
            self.counters.timeouts += 1;
            self.finish(id);
            self.on_probed(key, Some(Outage::Silent));
            self.judge(key);
        }
    }

    fn on_probed(&mut self, key: TrunkKey, outage: Option<Outage>) {
        let Some(kept) = self.trunks.get_mut(&key) else {
            return;
        };
        let Some(probing) = kept.trunk.probing else {
            return;
        };
        match outage {
            None => kept.health.good(&probing),
            Some(outage) => kept.health.bad(&probing, outage),
        }
        let gap = kept.health.gap(&probing);
        let gap = gap - gap / 10 + self.part_of(gap / 5);
        self.arm_trunk(key, Timer::ProbeDue, gap);
    }
}

/// Seconds that a registrar grants our Contact, `ours`: its own parameter,
/// else the header, else what was asked for (RFC 3261 §10.2.4). Where it is not among
/// the bindings, since the registrar writes where it sees us, the shortest of our
/// user's counts: the others may be those of other phones.
fn granted(response: &Response<'_>, ours: &str) -> Option<u32> {
    let ours = NameAddr::parse(ours.as_bytes())?.uri;
    let general = number(response, HeaderName::Expires);
    let contacts = response.core.view.values(HeaderName::Contact);
    let addresses = contacts
        .flat_map(text::elements)
        .flatten()
        .filter_map(NameAddr::parse);
    let of_user = addresses.filter(|address| address.uri.user == ours.user);
    let bindings = of_user.map(|address| {
        let named = address.params.value(b"expires").and_then(text::decimal);
        let named = named.and_then(|seconds| u32::try_from(seconds).ok());
        let here =
            address.uri.host.eq_ignore_ascii_case(ours.host) && address.uri.port == ours.port;
        // Without any number it is as long as was asked for.
        (!here, named.or(general).unwrap_or(u32::MAX))
    });
    let best = bindings.min().map(|(_, seconds)| seconds);
    best.filter(|seconds| *seconds != u32::MAX).or(general)
}

fn number(response: &Response<'_>, name: HeaderName) -> Option<u32> {
    let value = response.core.view.first(name)?;
    u32::try_from(text::decimal(value)?).ok()
}

/// Routes of later requests; one that cannot be read spoils the list.
fn service_route(response: &Response<'_>) -> Vec<Box<str>> {
    let values = response.core.view.values(HeaderName::ServiceRoute);
    let routes: Option<Vec<Box<str>>> = values
        .flat_map(text::elements)
        .take(SERVICE_ROUTES_MAX)
        .map(|route| {
            let route = route.ok()?;
            let address = NameAddr::parse(route)?;
            UriView::parse(address.uri.text).ok()?;
            Some(text::decode(route).into())
        })
        .collect();
    routes.unwrap_or_default()
}
