//! Any bytes as an offer and as an answer: what we answer is itself an SDP that
//! we can read, with as many streams as were offered (RFC 3264 §6).
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use offhook_sip::sdp::{self, Codec, LocalMedia, LocalSrtp, SRTP_RANDOM};

fuzz_target!(|bytes: &[u8]| {
    let local = local();
    let _ = sdp::accept_answer(bytes, &local);
    let Ok((answer, _)) = sdp::answer(bytes, &local) else {
        return;
    };
    let offered = sdp::parse(bytes).expect("what was answered can be read");
    let answered = sdp::parse(&answer).expect("our answer can be read");
    assert_eq!(offered.medias.len(), answered.medias.len());
});

fn local() -> LocalMedia {
    LocalMedia {
        session_id: 1,
        version: 1,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 20_000,
        codecs: Codec::ALL.to_vec(),
        srtp: Some(LocalSrtp::new(false, &[9; SRTP_RANDOM])),
        telephone_event: true,
        comfort_noise: true,
        rtcp_mux: true,
        ptime_ms: 20,
    }
}
