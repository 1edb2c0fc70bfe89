//! The daemon `offhookd` and the command line `offhook` share this library:
//! the only place with I/O, threads and a clock.

pub mod bell;
pub mod call;
pub mod cli;
pub mod clock;
pub mod control;
pub mod decision;
pub mod desk;
pub mod facts;
pub mod house;
pub mod identity;
pub mod keeper;
pub mod leads;
pub mod logging;
pub mod media;
pub mod orders;
pub mod prompts;
pub mod recorder;
pub mod replay;
pub mod reports;
pub mod resample;
pub mod settings;
pub mod signalling;
pub mod start;
pub mod store;
pub mod switchboard;
pub mod timeline;
pub mod translate;
pub mod tray;
pub mod trunks;
pub mod upstream;
pub mod vigil;
pub mod voice;
pub mod watchdog;
pub mod wav;
pub mod zones;
