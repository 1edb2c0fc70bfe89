//! The texts that ship inside the binary, so that it runs without a file.

/// The commented default, installed as `/etc/offhook/offhook.toml`.
pub const OFFHOOK: &str = include_str!("../offhook.toml");
/// What `make demo` runs with.
pub const DEMO: &str = include_str!("../demo.toml");

/// A text that ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its file name without `.toml`.
    pub name: &'static str,
    /// What is in it.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/texts.rs"));
