//! Any bytes as SRTP and SRTCP: nothing is believed that was not sealed with the key,
//! and what was sealed opens to what it was, whatever came before it.
//!
//! The input is a suite, then a sequence of (length, packet); a packet of an even
//! number is sealed first, one of an odd number comes as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_sip::rtp::srtp::{MasterKey, Opener, Sealer, Suite};

/// More than sealing adds.
const ROOM: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((suite, mut rest)) = bytes.split_first() else {
        return;
    };
    let suite = Suite::ALL[usize::from(*suite) % Suite::ALL.len()];
    let octets = [7; 30];
    let master = (28..=30).find_map(|length| MasterKey::new(suite, &octets[..length]));
    let master = master.expect("a key of one of these lengths fits");
    let (mut sealer, mut opener) = (Sealer::new(&master), Opener::new(&master));
    let mut number = 0_u32;
    while let [length, tail @ ..] = rest {
        let (packet, after) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = after;
        number += 1;
        let mut buffer = packet.to_vec();
        if number % 2 == 1 {
            // 32 bits can be hit by chance.
            let opened = opener.open(&mut buffer.clone()).is_ok();
            let short = suite == Suite::AesCm128HmacSha1_32;
            assert!(!opened || short, "nobody sealed it");
            assert!(opener.open_control(&mut buffer).is_err(), "nobody sealed it");
            continue;
        }
        buffer.resize(packet.len() + ROOM, 0);
        if let Some(sealed) = sealer.seal(&mut buffer, packet.len()) {
            // Refused: a number that was seen, or a source that has begun anew.
            if let Ok(length) = opener.open(&mut buffer[..sealed]) {
                assert_eq!(buffer[..length], *packet);
            }
        }
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + ROOM, 0);
        if let Some(sealed) = (packet.len() >= 8)
            .then(|| sealer.seal_control(&mut buffer, packet.len()))
            .flatten()
            && let Ok(length) = opener.open_control(&mut buffer[..sealed])
        {
            assert_eq!(buffer[..length], *packet);
        }
    }
});
