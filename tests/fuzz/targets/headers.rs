//! Any bytes as the values of headers: addresses, digest both ways, and those by which
//! a trunk tells who calls (Identity, Diversion, History-Info), inside an INVITE.
#![no_main]

mod incoming;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook_sip::Cause;
use offhook_sip::digest::{Challenge, Covered, Credentials, Doorkeeper, Login, Taken, Verdict};
use offhook_sip::headers::{CSeq, NameAddr, Via};
use offhook_sip::parse::{Message, View};

use self::incoming::incoming;

/// Values of one header that are told.
const VALUES_MAX: usize = 8;
/// Realms that a login answers.
const REALMS_MAX: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    let _ = (Via::parse(bytes), CSeq::parse(bytes));
    if let Some(address) = NameAddr::parse(bytes) {
        let _ = (address.display(), address.tag(), address.uri.to_uri());
    }
    let _ = Cause::from_reason(&String::from_utf8_lossy(bytes));
    passwords(bytes);
    caller(bytes);
});

fn passwords(bytes: &[u8]) {
    let covered = Covered {
        method: "INVITE",
        uri: "sip:x@y",
        body: b"",
    };
    let mut door = Doorkeeper::new("offhook", [3; 32]);
    let verdict = door.check(Duration::ZERO, &covered, bytes, |_| Some("p".to_owned()));
    assert!(!matches!(verdict, Verdict::Welcome { .. }), "no nonce of ours");
    let challenges = Challenge::read(bytes);
    let mut login = Login::new(Credentials {
        user: "u".to_owned(),
        password: "p".to_owned(),
    });
    for challenge in &challenges {
        let _ = format!("{challenge:?}");
    }
    assert!(login.lines(&covered, "nonce").is_empty(), "nobody has asked");
    asked(&mut login, bytes);
    // Each realm by its server and by a proxy; what they said ends no line of ours.
    let lines = login.lines(&covered, "nonce");
    assert!(lines.len() <= REALMS_MAX);
    for line in lines {
        assert!(line.value.starts_with("Digest username=\"u\", realm="));
        assert!(!line.value.contains(['\r', '\n']), "{line:?}");
    }
}

/// The bytes as the challenge of a server, then of a proxy.
fn asked(login: &mut Login, bytes: &[u8]) {
    let mut taken = Taken::default();
    for (status, name) in [(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")] {
        let head = format!(
            "SIP/2.0 {status} ?\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKf\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{name}: "
        );
        let text = [head.as_bytes(), bytes, b"\r\nContent-Length: 0\r\n\r\n"].concat();
        let Ok(view) = View::read(&text) else {
            continue;
        };
        if let Ok(Message::Response(response)) = view.check() {
            let _ = login.take(response.status, &response.core, &mut taken);
        }
    }
}

fn caller(bytes: &[u8]) {
    let mut lines = Vec::new();
    for name in ["Identity", "Diversion", "History-Info", "P-Asserted-Identity", "Privacy"] {
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(bytes);
        lines.extend_from_slice(b"\r\n");
    }
    if let Some(invite) = incoming(&lines) {
        let most = [
            invite.diversion.len(),
            invite.history.len(),
            invite.asserted_identity.len(),
        ];
        assert!(most.into_iter().all(|count| count <= VALUES_MAX));
    }
}
