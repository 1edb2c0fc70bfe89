//! Any bytes as a sound file: samples, or a named error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::wav;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(sound) = wav::parse(bytes) {
        assert!(sound.frames() <= bytes.len(), "no more sound than bytes");
        assert_eq!(sound.mono().len(), sound.frames());
    }
});
