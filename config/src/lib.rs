//! TOML text to typed values; faults to `file:line:col: key: reason`.
//!
//! Knows nothing of what the values mean: `daemon::settings` owns the words of
//! `offhook.toml`, `offhook-core` those of playbooks, policies and actions. It
//! reads no files and no environment; [`builtin`] holds the texts that ship.
#![forbid(unsafe_code)]

pub mod builtin;
mod located;
mod shape;
mod source;
mod words;

pub use located::Located;
pub use shape::{load, load_partly};
pub use source::Source;
pub use toml::Spanned;
pub use words::{did_you_mean, one_of};
