//! The daemon and the command line share this library.
