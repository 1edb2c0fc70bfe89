//! SIP signalling, SDP offer/answer and RTP sessions without I/O.
#![forbid(unsafe_code)]

pub mod rtp;
