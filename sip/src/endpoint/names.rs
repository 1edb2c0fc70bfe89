//! Hosts that dialogs name in Contact and Route: what waits to know where they are
//! (RFC 3263 §4), and which of their addresses is next (§4.3). Nobody is asked here:
//! the application asks, and answers with an input.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use super::Endpoint;
use crate::call::CallKey;
use crate::event::Summary;
use crate::message::Method;
use crate::timers::Timer;
use crate::transaction::{Hold, Machine, TransactionId};
use crate::transport::{Flow, Hop, HostName};

/// A request waits so long for its name: then the peer says again what it answers
/// (T1, RFC 3261 §17.1.1.2), and an address that answered before is better than none.
const PATIENCE: Duration = Duration::from_millis(500);
/// An answer counts so long, and an address that failed rests so long (64*T1); the
/// resolver knows what holds beyond.
const KNOWN: Duration = Duration::from_secs(32);
/// Names that are known or asked for: beyond that those that are known are asked anew,
/// and where all are asked for a request goes without.
const NAMES_MAX: usize = 1024;
/// Requests that wait for one name.
const HELD_MAX: usize = 64;
/// An address from which nothing is heard for 8*T1 is left for the name's next one, as a
/// call leaves its way: nobody on the line waits for 32 s.
const ADDRESS_PATIENCE: u32 = 8;

/// What waits for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A request with an answer.
    Request(TransactionId),
    /// The ACK of a 2xx.
    Ack(Box<Ack>),
}

/// The ACK of a 2xx: no transaction repeats it, the peer's 2xx does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) key: CallKey,
    pub(super) next: Hop,
    pub(super) bytes: Vec<u8>,
    pub(super) repeated: bool,
}

/// Names that dialogs have named, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: HashMap<HostName, Host>,
    /// Something may have waited long enough by then, nothing before.
    due: Option<Duration>,
    /// What the application is still to be asked.
    questions: VecDeque<HostName>,
}

#[derive(Debug)]
enum Host {
    Asked {
        since: Duration,
        held: Vec<Held>,
    },
    Known {
        since: Duration,
        /// Those that have not failed since, the best first.
        addresses: Vec<SocketAddr>,
    },
}

impl Names {
    /// The way to a name; `None`: what wants to go there waits here.
    fn way(
        &mut self,
        now: Duration,
        name: &HostName,
        flow: Flow,
        held: impl FnOnce() -> Held,
    ) -> Option<Flow> {
        match self.all.get_mut(name) {
            Some(Host::Known { since, addresses }) if now < *since + KNOWN => {
                Some(towards(addresses, flow))
            }
            Some(Host::Asked { since, held: all }) => {
                if now >= *since + PATIENCE || all.len() >= HELD_MAX {
                    return Some(flow);
                }
                all.push(held());
                None
            }
            Some(Host::Known { .. }) | None => {
                if self.all.len() >= NAMES_MAX {
                    self.all
                        .retain(|_, host| matches!(host, Host::Asked { .. }));
                }
                if self.all.len() >= NAMES_MAX {
                    return Some(flow);
                }
                self.questions.push_back(name.clone());
                self.due = self.due.or(Some(now + PATIENCE));
                let held = vec![held()];
                self.all
                    .insert(name.clone(), Host::Asked { since: now, held });
                None
            }
        }
    }

    /// What the application is to be asked next.
    pub(super) fn question(&mut self) -> Option<HostName> {
        self.questions.pop_front()
    }

    /// A name server has said where a host is, or nothing. What waited can go.
    fn located(&mut self, now: Duration, name: HostName, addresses: Vec<SocketAddr>) -> Vec<Held> {
        let since = now;
        let before = self.all.insert(name, Host::Known { since, addresses });
        match before {
            Some(Host::Asked { held, .. }) => held,
            Some(Host::Known { .. }) | None => Vec::new(),
        }
    }

    /// What has waited long enough: it goes where its dialog came from.
    fn overdue(&mut self, now: Duration) -> Vec<Held> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let (mut late, mut due) = (Vec::new(), None);
        for host in self.all.values_mut() {
            match host {
                Host::Asked { since, held } if now >= *since + PATIENCE => late.append(held),
                Host::Asked { since, .. } => due = due.into_iter().chain([*since + PATIENCE]).min(),
                Host::Known { .. } => {}
            }
        }
        self.due = due;
        late
    }

    /// When to ask for that again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// An address of a name has failed: it rests. `false`: there is no other one.
    fn leave(&mut self, now: Duration, name: &HostName, flow: Flow, failed: SocketAddr) -> bool {
        let Some(Host::Known { since, addresses }) = self.all.get_mut(name) else {
            return false;
        };
        let before = addresses.len();
        addresses.retain(|at| *at != failed);
        if addresses.len() < before {
            *since = now;
        }
        towards(addresses, flow).remote != failed
    }
}

impl Endpoint {
    /// Where a host is that was asked for.
    pub(super) fn on_located(&mut self, name: HostName, addresses: Vec<SocketAddr>) {
        let held = self.names.located(self.now, name, addresses);
        self.let_go(held);
    }

    /// What waits for names does so no longer than it may.
    pub(super) fn release_overdue(&mut self) {
        let held = self.names.overdue(self.now);
        self.let_go(held);
    }

    fn let_go(&mut self, held: Vec<Held>) {
        for held in held {
            match held {
                Held::Ack(ack) => self.send_ack(*ack),
                Held::Request(id) => {
                    let waits = self.transactions.get(id).is_some_and(|it| !it.was_sent);
                    if waits {
                        self.transmit_stored(id);
                    }
                }
            }
        }
    }

    /// Sends the ACK of a 2xx, to where the INVITE of this transaction went if that
    /// was by the same name.
    pub(super) fn acknowledge_by(&mut self, invite: TransactionId, mut ack: Ack) {
        let asked = self.transactions.get(invite);
        if let Some(asked) = asked.filter(|it| it.name.is_some() && it.name == ack.next.name) {
            ack.next = asked.flow.into();
        }
        self.send_ack(ack);
    }

    fn send_ack(&mut self, ack: Ack) {
        let flow = match &ack.next.name {
            Some(name) => {
                let held = || Held::Ack(Box::new(ack.clone()));
                self.names.way(self.now, name, ack.next.flow, held)
            }
            None => Some(ack.next.flow),
        };
        if let Some(flow) = flow {
            let summary = Summary::Request(Method::Ack);
            self.transmit(flow, ack.bytes, Some(ack.key), &summary, ack.repeated);
        }
    }

    /// Where a request goes, once its name is known; what is repeated goes there too.
    /// `false`: it waits.
    pub(super) fn finds_way(&mut self, id: TransactionId) -> bool {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return false;
        };
        let Some(name) = transaction.name.as_deref().filter(|_| !transaction.found) else {
            return true;
        };
        let held = || Held::Request(id);
        let way = self.names.way(self.now, name, transaction.flow, held);
        if let Some(flow) = way {
            transaction.flow = flow;
            transaction.found = true;
        }
        way.is_some()
    }

    /// Nothing is heard for a while from where a name led: its next address is due.
    pub(super) fn arm_next_address(&mut self, id: TransactionId) {
        let patience = self.config.timers.t1 * ADDRESS_PATIENCE;
        self.arm_transaction(id, Timer::NextAddress, patience);
    }

    /// Nothing was heard from there.
    pub(super) fn leave_address(&mut self, id: TransactionId) {
        if self.fall_back(id) {
            return;
        }
        let request = self.transactions.get(id).map(|it| it.message.clone());
        if !request.is_some_and(|request| self.go_elsewhere(id, &request)) {
            return;
        }
        let left = self.transactions.get_mut(id).map(|it| &mut it.machine);
        let Some(Machine::ClientInvite(machine)) = left else {
            return self.finish(id);
        };
        // A late answer to an INVITE wants its ACK.
        let (quiet, last) = (machine.leave(), machine.abandon());
        self.carry_out(id, &quiet, None);
        self.carry_out(id, &last, None);
    }

    /// Somebody said that he cannot serve a request (503), whose text is `refused` if it
    /// was an INVITE.
    pub(super) fn refused_there(&mut self, id: TransactionId, refused: &[u8]) -> bool {
        let Some(transaction) = self.transactions.get(id) else {
            return false;
        };
        let request = match refused {
            [] => transaction.message.clone(),
            invite => invite.into(),
        };
        self.go_elsewhere(id, &request)
    }

    /// The request goes to the next address of its name, where there is one and somebody
    /// waits for the answer (RFC 3263 §4.3); at last to where the dialog came from.
    fn go_elsewhere(&mut self, id: TransactionId, request: &[u8]) -> bool {
        let found = self.transactions.get(id);
        let Some(transaction) = found.filter(|it| it.found && it.hold == Hold::Release) else {
            return false;
        };
        let (failed, hop) = (transaction.flow.remote, transaction.hop());
        let Some(name) = &hop.name else {
            return false;
        };
        let another = self.names.leave(self.now, name, hop.flow, failed);
        another
            && self
                .send_again_by(id, hop, request, &[], &Vec::new())
                .is_some()
    }
}

/// The path to the first address that its socket reaches. None: the name is not found,
/// or is of another family, or is a `localhost` that means the peer's own machine; then
/// the dialog goes on where it came from, which is right behind most gateways that name
/// themselves by what only their own network knows.
fn towards(addresses: &[SocketAddr], flow: Flow) -> Flow {
    let here = flow.remote.ip().is_loopback();
    let mut all = addresses.iter().filter(|at| {
        at.is_ipv4() == flow.local.is_ipv4()
            && at.ip().is_loopback() == here
            && !at.ip().is_unspecified()
    });
    let remote = all.next().copied().unwrap_or(flow.remote);
    Flow { remote, ..flow }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Transport;

    fn flow(remote: &str) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    fn name(host: &str) -> HostName {
        HostName {
            transport: Transport::Udp,
            host: host.to_owned(),
            port: None,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn held(what: u8) -> Held {
        Held::Ack(Box::new(Ack {
            key: CallKey(1),
            next: flow("198.51.100.7:5070").into(),
            bytes: vec![what],
            repeated: false,
        }))
    }

    #[test]
    fn requests_wait_for_a_name_in_their_order_and_no_longer_than_the_peer_does() {
        let mut names = Names::default();
        let source = flow("198.51.100.7:5070");
        let way = |names: &mut Names, at, what| {
            names.way(ms(at), &name("pbx.example"), source, || held(what))
        };
        assert_eq!(way(&mut names, 0, 1), None);
        assert_eq!(way(&mut names, 10, 2), None);
        assert_eq!(names.question(), Some(name("pbx.example")));
        assert_eq!(names.question(), None, "asked once");
        assert_eq!(
            (names.due(), names.overdue(ms(499)).len()),
            (Some(ms(500)), 0)
        );
        let there = flow("198.51.100.8:5080");
        let all = names.located(ms(20), name("pbx.example"), vec![there.remote]);
        assert_eq!(all, [held(1), held(2)]);
        assert_eq!(way(&mut names, 30, 3), Some(there));
        assert_eq!(way(&mut names, 32_020, 4), None, "it is asked for again");
        assert_eq!(names.overdue(ms(32_519)), []);
        assert_eq!(names.due(), Some(ms(32_520)));
        assert_eq!(names.overdue(ms(32_520)), [held(4)]);
        assert_eq!(names.due(), None);
        assert_eq!(way(&mut names, 32_530, 5), Some(source));
        let all = names.located(ms(33_000), name("pbx.example"), vec![there.remote]);
        assert_eq!(all, []);
        assert_eq!(way(&mut names, 33_010, 6), Some(there));
    }

    #[test]
    fn an_address_that_failed_rests_and_the_last_is_where_the_dialog_came_from() {
        let mut names = Names::default();
        let (host, source) = (name("pbx.example"), flow("198.51.100.7:5070"));
        let [first, second] = ["198.51.100.8:5080", "198.51.100.9:5080"].map(flow);
        let way = |names: &mut Names, at| names.way(ms(at), &host, source, || held(0));
        let leave =
            |names: &mut Names, at, failed: Flow| names.leave(ms(at), &host, source, failed.remote);
        assert!(!leave(&mut names, 0, source), "nobody has named it");
        assert_eq!(way(&mut names, 0), None);
        let all = vec![first.remote, second.remote];
        names.located(ms(0), host.clone(), all.clone());
        assert_eq!(way(&mut names, 1), Some(first));
        assert!(leave(&mut names, 4_000, first));
        assert!(
            leave(&mut names, 4_001, first),
            "another dialog's, too late"
        );
        assert_eq!(way(&mut names, 35_999), Some(second));
        assert!(leave(&mut names, 35_999, second));
        assert_eq!(way(&mut names, 36_000), Some(source));
        assert!(!leave(&mut names, 36_000, source), "that was all");
        assert_eq!(way(&mut names, 67_999), None, "all are asked for again");
        names.located(ms(68_000), host.clone(), all);
        assert_eq!(way(&mut names, 68_000), Some(first));
    }

    #[test]
    fn a_name_that_leads_nowhere_leaves_the_dialog_where_it_came_from() {
        let source = flow("198.51.100.7:5070");
        for (found, expected) in [
            (&[][..], "198.51.100.7:5070"),
            (&["127.0.0.1:5060"], "198.51.100.7:5070"),
            (&["0.0.0.0:5060"], "198.51.100.7:5070"),
            (&["[2001:db8::1]:5060"], "198.51.100.7:5070"),
            (&["[2001:db8::1]:5060", "10.0.0.1:5060"], "10.0.0.1:5060"),
        ] {
            let found: Vec<SocketAddr> = found.iter().map(|at| at.parse().unwrap()).collect();
            assert_eq!(towards(&found, source), flow(expected), "{found:?}");
        }
    }
}
