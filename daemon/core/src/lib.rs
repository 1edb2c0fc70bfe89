//! The orchestration core: pure decisions, no I/O, no clock, no SIP words.
//!
//! A conversation is fed timestamped [`Input`]s and drained of [`Output`]s. The
//! same inputs give the same outputs, on every machine and in every build:
//! integers only, no iteration over hash maps, no randomness, no time but the
//! one passed in.
#![forbid(unsafe_code)]

pub mod action;
pub mod autonomy;
pub mod book;
pub mod budget;
mod call;
pub mod condition;
mod conversation;
mod desk;
mod dialogue;
pub mod facts;
pub mod fault;
pub mod gate;
mod hearing;
pub mod id;
pub mod input;
pub mod intent;
pub mod interpret;
mod keypad;
mod lease;
mod ledger;
pub mod memory;
mod mouth;
pub mod number;
pub mod objection;
pub mod output;
pub mod pacer;
pub mod phrase;
pub mod playbook;
pub mod policy;
pub mod record;
pub mod signal;
pub mod silence;
mod test_line;
mod timers;

pub use action::{Catalogue, RawActions};
pub use autonomy::{Level, Limit, Override, Standing};
pub use book::{Book, Program, TestLine};
pub use conversation::Conversation;
pub use facts::DAEMON_FACTS;
pub use fault::{At, Fault};
pub use id::{ActionId, ConversationId, LegId, Name, Seq, Turn};
pub use input::{Event, Input, LegEvent};
pub use memory::{LeadId, Memory};
pub use mouth::Heard;
pub use number::Number;
pub use output::{Command, Output};
pub use playbook::{Playbook, RawPlaybook};
pub use policy::{Policy, RawPolicy};
pub use record::{Record, Verdict, Weighed};
