//! Any datagram as RTCP: what is told of its first report stands in its bytes, at the
//! places of RFC 3550 §6.4, and the packets of the compound fill it without a rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::media::rtcp::parse;

fuzz_target!(|bytes: &[u8]| {
    let Some(told) = parse(bytes) else {
        return;
    };
    let word = |at: usize| u32::from_be_bytes(bytes[at..][..4].try_into().expect("four octets"));
    let sends = bytes[1] == 200;
    assert!(sends || bytes[1] == 201, "a report comes first");
    assert_eq!(told.ssrc, word(4));
    let ntp = sends.then(|| u64::from(word(8)) << 32 | u64::from(word(12)));
    assert_eq!(told.ntp, ntp);
    assert_eq!(told.reports.len(), usize::from(bytes[0] & 0x1F));
    let first = if sends { 28 } else { 8 };
    for (block, at) in told.reports.iter().zip((first..).step_by(24)) {
        assert_eq!(block.ssrc, word(at));
        let lost = u32::from(block.fraction_lost) << 24 | block.total_lost;
        assert_eq!(lost, word(at + 4));
        assert_eq!(block.last_sequence_number, word(at + 8));
        assert_eq!(block.jitter, word(at + 12));
        assert_eq!(block.last_sender_report, word(at + 16));
        assert_eq!(block.delay, word(at + 20));
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let words = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        rest = &rest[4 * (words + 1)..];
    }
});
