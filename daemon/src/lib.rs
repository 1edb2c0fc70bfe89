//! The daemon `offhookd` and the command line `offhook` share this library:
//! the only place with I/O, threads and a clock.

pub mod bell;
pub mod cli;
pub mod clock;
pub mod control;
pub mod logging;
pub mod media;
pub mod recorder;
pub mod resample;
pub mod settings;
pub mod store;
pub mod timeline;
pub mod translate;
pub mod upstream;
pub mod voice;
pub mod watchdog;
pub mod wav;
