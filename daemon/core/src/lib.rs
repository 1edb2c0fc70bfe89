//! The orchestration core: pure decisions, no I/O, no clock, no SIP words.
//!
//! A conversation is fed timestamped [`Input`]s and drained of [`Output`]s. The
//! same inputs give the same outputs, on every machine and in every build:
//! integers only, no iteration over hash maps, no randomness, no time but the
//! one passed in.
#![forbid(unsafe_code)]

pub mod action;
pub mod book;
pub mod condition;
pub mod facts;
pub mod fault;
pub mod gate;
pub mod id;
pub mod input;
pub mod interpret;
pub mod output;
pub mod playbook;
pub mod policy;
pub mod record;
pub mod signal;

pub use book::{Book, Program, TestLine};
pub use id::{ActionId, ConversationId, LegId, Seq, Turn};
pub use input::{Event, Input, LegEvent};
pub use output::{Command, Output};
pub use record::{Record, Verdict};
