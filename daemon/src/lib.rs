//! The daemon `offhookd` and the command line `offhook` share this library:
//! the only place with I/O, threads and a clock.

pub mod bell;
pub mod clock;
pub mod settings;
