//! `make demo`: three real calls on loopback, shown as they happen.
//!
//! Starts the built daemon and sink with `config/demo.toml` in the checkout,
//! writes below `target/demo` only, and ends with 0 only when every call did
//! what it should.

use std::process::ExitCode;

fn main() -> ExitCode {
    match offhook_tests::demo::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("\nThe demo has failed: {reason}");
            ExitCode::FAILURE
        }
    }
}
