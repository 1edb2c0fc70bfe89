//! The decision thread's queue: what may come, and the one way in.

use std::sync::mpsc::{SyncSender, TrySendError};

use offhook_core::ActionId;
use offhook_core::input::UpstreamAnswer;

use crate::bell::Bell;
use crate::control::Request;
use crate::engine::Recognised;
use crate::inbound::Arrived;
use crate::signalling::{self, Notice};
use crate::store;
use crate::switchboard::Place;

/// What comes to the decision thread but from the media threads.
pub enum Inbound {
    /// From signalling.
    Notice(Notice),
    /// From the store.
    Stored(store::Answer),
    /// From the forwarder: what the upstream says to a delivered action.
    Upstream(ActionId, UpstreamAnswer),
    /// From a sink: whether it has the secret of that leg.
    HandedOver(Place, bool),
    /// From an engine: what somebody said.
    Words(Recognised),
    /// From another channel.
    Arrived(Box<Arrived>),
    /// From the command line.
    Request(Request),
    /// Take no more calls, and stop when the last one is over.
    Drain,
    /// End the calls that there are, and stop.
    Stop,
}

/// Puts things into the decision thread's queue and rings.
#[derive(Clone)]
pub struct Tray {
    sender: SyncSender<Inbound>,
    bell: Bell,
}

impl Tray {
    /// The queue's one way in.
    pub fn new(sender: SyncSender<Inbound>, bell: Bell) -> Self {
        Self { sender, bell }
    }

    /// Puts it in, or hands it back when there is no room.
    pub fn offer(&self, inbound: Inbound) -> Result<(), Inbound> {
        match self.sender.try_send(inbound) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => Err(back),
        }
    }

    /// Puts it in, waiting for room. For threads that may wait.
    pub fn put(&self, inbound: Inbound) {
        if self.sender.send(inbound).is_ok() {
            self.bell.ring();
        }
    }
}

impl signalling::Inbox for Tray {
    fn offer(&self, notice: Notice) -> Result<(), Notice> {
        Tray::offer(self, Inbound::Notice(notice)).map_err(|back| match back {
            Inbound::Notice(notice) => notice,
            _ => unreachable!("what comes back is what was offered"),
        })
    }
}
