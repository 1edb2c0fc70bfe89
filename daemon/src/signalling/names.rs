//! What waits for a name: requests in dialogs whose Contact or Route is a host's
//! (RFC 3263 §4). It asks nobody itself; whom it asks answers with an order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use offhook_sip::{Flow, HostName};
use tokio::sync::mpsc;

/// A request waits so long for its name: then the peer says again what it answers
/// (T1, RFC 3261 §17.1.1.2), and an address that answered before is better than none.
const PATIENCE: Duration = Duration::from_millis(500);
/// An answer counts so long: what is repeated goes where it went (64*T1); the resolver
/// knows what holds beyond.
const KNOWN: Duration = Duration::from_secs(32);
/// Names that are known or asked for: beyond that those that are known are asked anew,
/// and where all are asked for a request goes without.
const NAMES_MAX: usize = 1024;
/// Requests that wait for one name.
const HELD_MAX: usize = 64;

/// A datagram and its way.
pub(super) type Held = (Flow, Vec<u8>);

/// Names that dialogs have named, and what waits for them.
pub(super) struct Names {
    all: HashMap<HostName, Host>,
    /// Something may have waited long enough by then, nothing before.
    due: Option<Duration>,
    questions: mpsc::Sender<HostName>,
}

enum Host {
    Asked {
        since: Duration,
        held: Vec<Held>,
    },
    Known {
        since: Duration,
        addresses: Vec<SocketAddr>,
    },
}

impl Names {
    pub(super) fn new(questions: mpsc::Sender<HostName>) -> Self {
        Self {
            all: HashMap::new(),
            due: None,
            questions,
        }
    }

    /// The way of a request to a name; `None`: it waits here.
    pub(super) fn way(
        &mut self,
        now: Duration,
        name: HostName,
        flow: Flow,
        bytes: Vec<u8>,
    ) -> Option<Held> {
        match self.all.get_mut(&name) {
            Some(Host::Known { since, addresses }) if now < *since + KNOWN => {
                Some((towards(addresses, flow), bytes))
            }
            Some(Host::Asked { since, held }) => {
                if now >= *since + PATIENCE || held.len() >= HELD_MAX {
                    return Some((flow, bytes));
                }
                held.push((flow, bytes));
                None
            }
            Some(Host::Known { .. }) | None => self.ask(now, name, (flow, bytes)),
        }
    }

    fn ask(&mut self, now: Duration, name: HostName, held: Held) -> Option<Held> {
        if self.all.len() >= NAMES_MAX {
            self.all
                .retain(|_, host| matches!(host, Host::Asked { .. }));
        }
        if self.all.len() >= NAMES_MAX || self.questions.try_send(name.clone()).is_err() {
            return Some(held);
        }
        let held = vec![held];
        self.due = self.due.or(Some(now + PATIENCE));
        self.all.insert(name, Host::Asked { since: now, held });
        None
    }

    /// A name server has said where a host is, or nothing. What waited goes there.
    pub(super) fn located(
        &mut self,
        now: Duration,
        name: HostName,
        addresses: Vec<SocketAddr>,
    ) -> Vec<Held> {
        let sends = |(flow, bytes)| (towards(&addresses, flow), bytes);
        let before = self.all.remove(&name);
        let held = match before {
            Some(Host::Asked { held, .. }) => held.into_iter().map(sends).collect(),
            Some(Host::Known { .. }) | None => Vec::new(),
        };
        let since = now;
        self.all.insert(name, Host::Known { since, addresses });
        held
    }

    /// What has waited long enough: it goes where its dialog came from.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<Held> {
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
    use offhook_sip::Transport;

    use super::*;

    fn flow(remote: &str) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    fn name(host: &str) -> HostName {
        HostName {
            host: host.to_owned(),
            port: None,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn requests_wait_for_a_name_in_their_order_and_no_longer_than_the_peer_does() {
        let (questions, mut asked) = mpsc::channel(4);
        let mut names = Names::new(questions);
        let source = flow("198.51.100.7:5070");
        let way = |names: &mut Names, at, what| {
            names.way(ms(at), name("pbx.example"), source, vec![what])
        };
        assert_eq!(way(&mut names, 0, 1), None);
        assert_eq!(way(&mut names, 10, 2), None);
        assert_eq!(asked.try_recv(), Ok(name("pbx.example")));
        assert!(asked.try_recv().is_err(), "asked once");
        assert_eq!(
            (names.due(), names.overdue(ms(499)).len()),
            (Some(ms(500)), 0)
        );
        let there = flow("198.51.100.8:5080");
        let all = names.located(ms(20), name("pbx.example"), vec![there.remote]);
        assert_eq!(all, [(there, vec![1]), (there, vec![2])]);
        assert_eq!(way(&mut names, 30, 3), Some((there, vec![3])));
        assert_eq!(way(&mut names, 32_020, 4), None, "it is asked for again");
        assert_eq!(names.overdue(ms(32_519)), []);
        assert_eq!(names.due(), Some(ms(32_520)));
        assert_eq!(names.overdue(ms(32_520)), [(source, vec![4])]);
        assert_eq!(names.due(), None);
        assert_eq!(way(&mut names, 32_530, 5), Some((source, vec![5])));
        let all = names.located(ms(33_000), name("pbx.example"), vec![there.remote]);
        assert_eq!(all, []);
        assert_eq!(way(&mut names, 33_010, 6), Some((there, vec![6])));
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
