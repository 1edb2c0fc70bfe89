//! `offhookd`, the telephony appliance. The start-up order is the code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use offhook::settings::{INSTALLED, Settings};
use offhook::{logging, start};

/// What a call needs is allocated by one thread and freed by another, thousands of
/// times a second: glibc's allocator takes a tenth of the daemon's time for it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The Offhook daemon: answers and places calls, hears, decides, forwards.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The config file.
    #[arg(long, value_name = "FILE", default_value = INSTALLED)]
    config: PathBuf,
}

/// Exit code of a config that is wrong, as of `offhook check`.
const WRONG_CONFIG: u8 = 1;
/// Exit code of a daemon that could not start or go on.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match Settings::load_to_start(&arguments.config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(WRONG_CONFIG);
        }
    };
    if let Err(error) = logging::start(&settings.log) {
        eprintln!("logging cannot start: {error}");
        return ExitCode::from(FAILED);
    }
    match start::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(message = "start_failed", %error);
            eprintln!("offhookd: {error}");
            ExitCode::from(FAILED)
        }
    }
}
