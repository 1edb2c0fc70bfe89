//! Any text as `offhook.toml`: typed settings, or faults that point into it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use offhook::settings::Settings;

fuzz_target!(|text: &str| {
    if let Err(error) = Settings::parse(Path::new("fuzz.toml"), text) {
        assert!(!error.to_string().is_empty(), "a refusal says why");
    }
});
