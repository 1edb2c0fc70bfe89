//! Any bytes as a stream, cut in two ways: the same messages come out, each can
//! be read to its end, and what is kept stays below the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_sip::framing::{Frame, Framer, FramingFault};
use offhook_sip::parse::View;

/// Longest message.
const LIMIT: usize = 4096;

fn messages(bytes: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<FramingFault>) {
    let mut framer = Framer::new(LIMIT);
    let mut found = Vec::new();
    for piece in bytes.chunks(size) {
        framer.push(piece);
        loop {
            match framer.take() {
                Ok(Some(Frame::Message(message))) => {
                    assert!(message.len() <= LIMIT, "longer than the limit");
                    found.push(message);
                }
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => break,
                Err(fault) => return (found, Some(fault)),
            }
        }
    }
    (found, None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, stream)) = bytes.split_first() else {
        return;
    };
    let (whole, _) = messages(stream, 1 << 16);
    let (pieces, _) = messages(stream, usize::from(*first % 64) + 1);
    // A fault may be seen a piece earlier or later, a message never differs.
    for (one, other) in whole.iter().zip(&pieces) {
        assert_eq!(one, other);
    }
    for message in &whole {
        if let Ok(view) = View::read(message) {
            assert!(view.body().is_ok_and(|body| body.len() <= message.len()) || view.check().is_err());
        }
    }
});
