//! The four transaction machines of RFC 3261 §17 with RFC 6026, and their table.
//!
//! A machine takes an event and says what to do as [`Step`]s; it owns no
//! bytes, no timers and no addresses. The endpoint carries the steps out.

mod client;
mod client_invite;
mod server;
mod server_invite;
mod table;

use core::time::Duration;

pub(crate) use client::Client;
pub(crate) use client_invite::ClientInvite;
pub(crate) use server::Server;
pub(crate) use server_invite::ServerInvite;
pub(crate) use table::{
    Hold, Table, Transaction, TransactionId, client_key, merge_key, server_key, server_key_by_via,
};

use crate::timers::{Slot, Timer};

/// One thing to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send the stored message.
    Transmit,
    /// Build 100 Trying, store it and send it.
    TransmitTrying,
    /// Build the ACK for a refusal, store it in place of the INVITE and send it.
    TransmitAck,
    /// Arm a timer after a delay.
    Arm(Timer, Duration),
    /// Disarm a timer.
    Disarm(Slot),
    /// Hand the message to the transaction's user.
    Deliver,
    /// Tell the user that nobody answered.
    TimedOut,
    /// Forget the transaction.
    Finish,
}

/// At most this many steps follow one event.
pub(crate) type Steps = heapless::Vec<Step, 4>;

pub(crate) fn steps<const N: usize>(list: [Step; N]) -> Steps {
    const { assert!(N <= 4, "one event causes at most four steps") };
    list.into_iter().collect()
}

/// Which machine a transaction runs.
#[derive(Debug)]
pub(crate) enum Machine {
    ServerInvite(ServerInvite),
    Server(Server),
    ClientInvite(ClientInvite),
    Client(Client),
}

impl Machine {
    pub(crate) fn on_timer(&mut self, timer: Timer) -> Steps {
        match self {
            Self::ServerInvite(machine) => machine.on_timer(timer),
            Self::Server(machine) => machine.on_timer(timer),
            Self::ClientInvite(machine) => machine.on_timer(timer),
            Self::Client(machine) => machine.on_timer(timer),
        }
    }
}
