//! The verbs of `offhook`, one file each.

pub mod analyze;
