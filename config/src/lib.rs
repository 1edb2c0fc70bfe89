//! TOML text to typed values; faults to `file:line:col: key: reason`.
#![forbid(unsafe_code)]
