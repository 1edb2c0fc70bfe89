//! The daemon as the control socket sees it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use offhook_core::gate;
use offhook_sip::{Standing, Transport};
use tokio::sync::broadcast;

use crate::clock;
use crate::control::{
    Desk as Asked, ReceiverStatus, Request, SipListener, StoreStatus, Told, TrunkStatus,
};
use crate::house::House;
use crate::store::Store;
use crate::tray::{Inbound, Tray};
use crate::trunks::Seen;
use crate::upstream;

/// What the control socket may ask, and of whom.
pub struct Desk {
    house: Arc<House>,
    tray: Tray,
    store: Store,
    listeners: Vec<(Transport, SocketAddr)>,
    upstream: Option<Arc<Mutex<upstream::Status>>>,
}

impl Desk {
    /// The daemon's desk.
    pub fn new(
        house: Arc<House>,
        tray: Tray,
        store: Store,
        listeners: Vec<(Transport, SocketAddr)>,
        upstream: Option<Arc<Mutex<upstream::Status>>>,
    ) -> Self {
        Self {
            house,
            tray,
            store,
            listeners,
            upstream,
        }
    }
}

impl Asked for Desk {
    fn ask(&self, request: Request) -> Result<(), Request> {
        self.tray
            .offer(Inbound::Request(request))
            .map_err(|back| match back {
                Inbound::Request(request) => request,
                _ => unreachable!("what comes back is what was offered"),
            })
    }

    fn events(&self) -> broadcast::Receiver<Arc<Told>> {
        self.house.events.subscribe()
    }

    fn listeners(&self) -> Vec<SipListener> {
        let listener = |(transport, address): &(Transport, SocketAddr)| SipListener {
            transport: transport.parameter().to_owned(),
            address: address.to_string(),
            port: address.port(),
            listen: format!("{}:{address}", transport.parameter()),
        };
        self.listeners.iter().map(listener).collect()
    }

    fn trunks(&self) -> Vec<TrunkStatus> {
        let now = clock::now();
        let status = |seen: Seen| TrunkStatus {
            name: seen.name,
            state: match (&seen.standing, seen.unfound) {
                (Standing::Down(_), _) | (_, true) => "down",
                (Standing::Up, _) => "up",
                (Standing::Unknown, _) => "unknown",
            }
            .to_owned(),
            for_ms: seen
                .since
                .map(|since| now.saturating_sub(since).as_millis() as u64),
            reason: match &seen.standing {
                _ if seen.unfound => Some("its name is not found (DNS)".to_owned()),
                Standing::Down(outage) => Some(outage.to_string()),
                Standing::Up | Standing::Unknown => None,
            },
            address: seen.address.map(|address| address.to_string()),
        };
        self.house.trunks.seen().into_iter().map(status).collect()
    }

    fn receivers(&self) -> Vec<ReceiverStatus> {
        let upstream = self.upstream.iter().map(|status| {
            let status = status.lock().unwrap_or_else(PoisonError::into_inner);
            ("upstream", status.last_error.clone())
        });
        let all = upstream.chain(self.house.courier.failing());
        all.map(|(name, failing)| ReceiverStatus {
            name: name.to_owned(),
            failing,
        })
        .collect()
    }

    fn store(&self) -> StoreStatus {
        let health = self.store.health();
        StoreStatus {
            path: self.store.path().to_owned(),
            failing: health.failing,
            writes: health.writes,
            lost: health.lost,
            salvaged: health.salvaged,
        }
    }

    fn why(&self, rule: &str) -> Option<String> {
        let reason = gate::why(&self.house.policy(), rule);
        Some(reason).filter(|reason| !reason.is_empty())
    }

    fn house(&self) -> Option<&House> {
        Some(&self.house)
    }

    fn store_path(&self) -> &Path {
        self.store.path()
    }

    fn recordings(&self) -> Option<&Path> {
        let recording = self.house.settings.recording.as_ref();
        recording.map(|recording| recording.directory.as_path())
    }
}
