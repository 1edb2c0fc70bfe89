//! Helpers of the end-to-end tests: the built daemon and its sink, real peers
//! (SIPp, baresip, a small one of our own), real speech, and a wire tap.
//!
//! Nothing here knows the daemon's insides: it is started as a process and
//! seen through its command line, its sockets and its files. Whatever a helper
//! starts ends when the helper is dropped.

pub mod asterisk;
pub mod baresip;
pub mod carrier;
pub mod certificate;
pub mod connect;
pub mod daemon;
pub mod demo;
pub mod http;
pub mod lane;
pub mod patience;
pub mod peer;
pub mod pesq;
pub mod place;
pub mod process;
pub mod quota;
pub mod rtp;
pub mod scene;
pub mod script;
pub mod secure;
pub mod siege;
pub mod sink;
pub mod sipp;
pub mod skip;
pub mod sound;
pub mod speech;
pub mod tap;
pub mod trial;
pub mod vault;
pub mod weather;
pub mod zone;
