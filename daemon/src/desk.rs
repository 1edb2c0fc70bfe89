//! The daemon as the control socket sees it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use offhook_core::gate;
use tokio::sync::broadcast;

use crate::control::{Desk as Seen, Request, SipListener, StoreStatus, Told};
use crate::house::House;
use crate::store::Store;
use crate::tray::{Inbound, Tray};

/// What the control socket may ask, and of whom.
pub struct Desk {
    house: Arc<House>,
    tray: Tray,
    store: Store,
    listeners: Vec<SocketAddr>,
}

impl Desk {
    /// The daemon's desk.
    pub fn new(house: Arc<House>, tray: Tray, store: Store, listeners: Vec<SocketAddr>) -> Self {
        Self {
            house,
            tray,
            store,
            listeners,
        }
    }
}

impl Seen for Desk {
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
        let listener = |address: &SocketAddr| SipListener {
            transport: "udp".to_owned(),
            address: address.to_string(),
            port: address.port(),
            listen: format!("udp:{address}"),
        };
        self.listeners.iter().map(listener).collect()
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
