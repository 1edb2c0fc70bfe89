//! What comes of webhooks, theirs and ours: a body is believed when it was signed here
//! and never otherwise, and no answer sends us away for longer than a day.
//!
//! The input is a time, signatures, a `Retry-After`, each on a line, and a body.
#![no_main]

use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::StatusCode;
use libfuzzer_sys::fuzz_target;
use offhook::settings::Secret;
use offhook::upstream::client::{Verdict, verdict};
use offhook::upstream::signature::{sign, verify};

/// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 §5.6.7.
const NOW_S: u64 = 784_111_777;
const DAY: Duration = Duration::from_secs(86_400);
const ID: &str = "msg_1";

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || parts.next().unwrap_or_default();
    let [time, signatures, later, body] = [line(), line(), line(), line()];
    let secret = Secret::parse("whsec_b2ZmaG9vayBmdXp6OiBub3QgYSBzZWNyZXQsIGV2ZXI=");
    let secrets = [secret.expect("a secret")];
    let [time, signatures] = [time, signatures].map(String::from_utf8_lossy);
    let judged = verify(&secrets, ID, &time, &signatures, body, NOW_S);
    assert!(judged.is_err(), "nobody signed it");
    let good = sign(&secrets, ID, NOW_S, body);
    let judge = |body: &[u8]| verify(&secrets, ID, &NOW_S.to_string(), &good, body, NOW_S);
    assert_eq!(judge(body), Ok(()));
    assert!(judge(&[body, b" "].concat()).is_err(), "another body");

    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(later) {
        headers.insert(RETRY_AFTER, value);
    }
    let text = String::from_utf8_lossy(body);
    for code in [301, 400, 404, 410, 429, 500, 503] {
        let status = StatusCode::from_u16(code).expect("a status");
        match verdict(status, &headers, &text, NOW_S) {
            Verdict::Delivered => panic!("{code} takes nothing"),
            Verdict::Refused(error) | Verdict::Gone(error) => {
                assert!(error.starts_with(&code.to_string()));
            }
            Verdict::Failed { retry_after, .. } => {
                assert!(retry_after.is_none_or(|wait| wait <= DAY));
            }
        }
    }
});
