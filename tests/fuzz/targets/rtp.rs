//! Any datagrams, in any order, at any time: the receiver hands out one line
//! without holes or repeats, and never more of it than has passed.
//!
//! The input is a sequence of (ms to wait, length, datagram).
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_sip::rtp::{Arrival, Content, Keys, Piece, Receiver, TelephoneEvent, View};

/// What the offer called telephone-event.
const KEYS: u8 = 101;
/// Comfort noise (RFC 3551 §6).
const NOISE: u8 = 13;

fuzz_target!(|bytes: &[u8]| {
    let mut now = Duration::ZERO;
    let mut receiver = Receiver::new(now);
    let mut keys = Keys::default();
    let mut heard = 0u64;
    let mut rest = bytes;
    while let [wait, length, tail @ ..] = rest {
        now += Duration::from_millis(u64::from(*wait));
        let (datagram, after) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = after;
        if let Ok(view) = View::parse(datagram) {
            let packet = arrival(&view, &mut keys);
            receiver.receive(now, packet, |piece| heard += length_of(piece));
        }
        receiver.tick(now, |piece| heard += length_of(piece));
        assert_eq!(
            receiver.position(),
            heard,
            "every sample is handed out once"
        );
    }
    receiver.finish(now, |piece| heard += length_of(piece));
    assert_eq!(
        receiver.position(),
        heard,
        "every sample is handed out once"
    );
});

fn arrival<'a>(view: &View<'a>, keys: &mut Keys) -> Arrival<'a> {
    let payload = view.payload();
    let content = match view.payload_type() {
        KEYS => Content::Event,
        NOISE => Content::ComfortNoise,
        _ => Content::Audio {
            samples: payload.len() as u32,
        },
    };
    if let (Content::Event, Some(event)) = (content, TelephoneEvent::parse(payload)) {
        keys.receive(view.timestamp(), view.marker(), event);
    }
    Arrival {
        ssrc: view.ssrc(),
        sequence: view.sequence(),
        timestamp: view.timestamp(),
        marker: view.marker(),
        payload_type: view.payload_type(),
        content,
        payload,
    }
}

fn length_of(piece: Piece<'_>) -> u64 {
    match piece {
        Piece::Audio { payload, skip, .. } => payload.len() as u64 - u64::from(skip),
        Piece::Fill { samples, .. } => u64::from(samples),
        Piece::Noise { .. } => 0,
    }
}
