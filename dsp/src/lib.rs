//! The ear of Offhook: what happens on one 8 kHz telephone line.
//!
//! One [`Ear`] per leg. It is fed 10 ms at a time with what came from the line
//! and what we sent to it, and writes down what it heard as [`Event`]s. It
//! decides nothing, knows no clock (it counts samples), allocates nothing and
//! never blocks; its size is fixed.
//!
//! Beside the ear live the small signal tools a media path needs: [`g711`], [`g722`],
//! loss concealment, comfort noise and tones.
#![no_std]

mod answer;
mod answer_table;
mod bands;
mod beep;
mod cadence;
pub mod conceal;
mod delay;
mod dtmf;
mod ear;
mod echo;
pub mod event;
pub mod fade;
mod fax;
mod four;
mod fourier;
pub mod g711;
pub mod g722;
mod hum;
mod manner;
mod music;
mod network;
pub mod noise;
mod offset;
pub mod qmf;
mod report;
mod signal;
mod silence;
mod spectrum;
mod speech;
pub mod tone;
mod turn;
mod voice;

pub use answer::Sensitivity;
pub use ear::{Ear, Snapshot};
pub use event::{
    AnswerClass, Event, EventKind, Events, Evidence, Line, Manner, Phrase, Rule, SilenceCause,
    Source, ToneKind, Words,
};
pub use manner::TurnCues;
pub use turn::LATEST_MS as TURN_END_LATEST_MS;

/// Samples a second on the line.
pub const SAMPLE_RATE: u32 = 8_000;
/// Samples in one frame: 10 ms.
pub const FRAME: usize = 80;
