//! Any payloads, in any order, of any codec: what is decoded is as long as it was said
//! to be before, and never longer than the longest packet that is taken.
//!
//! The input is a sequence of (codec, length, payload); a codec of 128 or more has what
//! its packet repeats of a lost one decoded first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::media::Codec;
use offhook::media::codec::{Decoder, Opus, SAMPLES_LONGEST, Sound, samples};

const CODECS: [Codec; 4] = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];

fuzz_target!(|bytes: &[u8]| {
    let (opus, _) = Opus::new().expect("there is memory").split();
    let mut decoder = Decoder::default();
    decoder.opus = Some(opus);
    let mut sound = Box::new(Sound::SILENT);
    let mut rest = bytes;
    while let [what, length, tail @ ..] = rest {
        let (payload, after) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = after;
        let codec = CODECS[usize::from(what & 3)];
        // What has no length is never decoded.
        let Some(expected) = samples(codec, payload) else {
            continue;
        };
        let expected = expected as usize;
        assert!((1..=SAMPLES_LONGEST).contains(&expected));
        if what & 0x80 != 0
            && let Some(count) = decoder.recover(codec, payload, &mut sound)
        {
            assert_eq!(count, expected, "as much was lost as comes");
        }
        if let Some(count) = decoder.decode(codec, payload, &mut sound) {
            assert_eq!(count, expected, "{codec:?}");
        }
    }
});
