//! Hosts that the dialogs of `dial`, `answer` and `trunk test` name: looked up as the
//! daemon does, each on a thread of its own, so that a call goes on meanwhile.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use offhook_sip::{HostName, Input};

use crate::bell::Bell;
use crate::trunks::find_host;

/// What is asked for and not yet taken.
pub(super) struct Hosts {
    /// Those of the system where there are none.
    servers: Vec<SocketAddr>,
    /// Rung when something is found.
    bell: Option<Bell>,
    sender: Sender<(HostName, Vec<SocketAddr>)>,
    found: Receiver<(HostName, Vec<SocketAddr>)>,
}

impl Hosts {
    pub(super) fn new(servers: Vec<SocketAddr>, bell: Option<Bell>) -> Self {
        let (sender, found) = channel();
        Self {
            servers,
            bell,
            sender,
            found,
        }
    }

    /// Has a host looked up. Without a thread nothing is found, and the request goes
    /// where its dialog came from.
    pub(super) fn ask(&self, name: HostName) {
        let (servers, bell) = (self.servers.clone(), self.bell.clone());
        let sender = self.sender.clone();
        let asks = move || {
            let addresses = find_host(&name, &servers);
            // Gone with the call: then nobody waits for it.
            let _ = sender.send((name, addresses));
            if let Some(bell) = bell {
                bell.ring();
            }
        };
        drop(thread::Builder::new().name("names".to_owned()).spawn(asks));
    }

    /// The next that is found.
    pub(super) fn next(&self) -> Option<Input<'static>> {
        let (name, addresses) = self.found.try_recv().ok()?;
        Some(Input::Located { name, addresses })
    }
}
