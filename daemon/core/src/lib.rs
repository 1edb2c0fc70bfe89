//! The orchestration core: pure decisions, no I/O, no clock, no SIP words.
#![forbid(unsafe_code)]
