//! The messages of RFC 4475, one row each: what becomes of it.

mod support;

use offhook_sip::{Event, parse};
use support::*;

/// What the endpoint does with a message.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It is a call for the application.
    Call,
    /// It is answered at once with this status.
    Answered(u16),
    /// No answer, no event.
    Dropped,
}

use Fate::{Answered, Call, Dropped};

/// File, whether the parser takes it, what the endpoint does, and why.
const TABLE: &[(&str, bool, Fate)] = &[
    // 3.1.1 Valid messages.
    // Its To has a tag, and there is no such dialog.
    ("WSINV", true, Answered(481)),
    ("INTMETH", true, Answered(501)),
    ("ESC01_V", true, Call),
    ("ESCNULL_V", true, Answered(405)),
    ("ESC02_V", true, Answered(501)),
    ("LWSDISP_V", true, Answered(200)),
    ("LONGREQ_V", true, Call),
    ("DBLREQ", true, Answered(405)),
    ("SEMIURI_V", true, Answered(200)),
    ("TRANSPORTS_V", true, Answered(200)),
    ("MPART01", true, Answered(405)),
    ("UNREASON_V", true, Dropped),
    ("NOREASON_V", true, Dropped),
    // 3.1.2 Invalid messages.
    ("BADINV01_I", false, Answered(400)),
    ("CLERR_I", false, Answered(400)),
    ("NCL_I", false, Answered(400)),
    ("SCALAR02_V", false, Answered(400)),
    ("SCALARLG_V", false, Dropped),
    ("QUOTBAL_I", false, Answered(400)),
    ("LTGTRURI_I", false, Answered(400)),
    ("LWSRURI_I", false, Answered(400)),
    ("LWSSTART_V", false, Answered(400)),
    // Blanks after the version: an element may be liberal (3.1.2.10).
    ("TRWS_I", true, Answered(200)),
    ("ESCRURI_V", false, Answered(400)),
    // A date in EST: we do not read Date; the RFC allows to ignore it (3.1.2.12).
    ("BADDATE_V", true, Call),
    ("REGBADCT_I", false, Answered(400)),
    ("BADASPEC_I", false, Answered(400)),
    ("BADDN_I", false, Answered(400)),
    ("BADVERS_V", false, Answered(505)),
    ("MISMATCH01_V", false, Answered(400)),
    ("MISMATCH02_V", false, Answered(400)),
    ("BIGCODE_V", false, Dropped),
    // 3.2 Transaction layer: a branch with nothing after the cookie.
    ("BADBRANCH_V", true, Answered(200)),
    // 3.3 Application layer.
    ("INSUF_I", false, Answered(400)),
    ("UNKSCM_V", true, Answered(416)),
    ("NOVELSC_V", true, Answered(416)),
    ("UNKSM2_V", true, Answered(405)),
    ("BEXT01_V", true, Answered(420)),
    ("INVUT_V", true, Answered(415)),
    ("REGAUT01_V", true, Answered(405)),
    ("MULTI01_I", false, Answered(400)),
    ("MCL01_I", false, Answered(400)),
    ("BCAST_V", true, Dropped),
    // An endpoint answers as if the field were positive (3.3.11).
    ("ZEROMF_V", true, Answered(200)),
    ("CPARAM01_V", true, Answered(405)),
    ("CPARAM02_V", true, Answered(405)),
    ("REGESCRT_V", true, Answered(405)),
    ("SDP01_V", true, Answered(406)),
    // 3.4 Backward compatibility: no branch, no From tag.
    ("INV2543_I", true, Call),
    // Not in the RFC: no version and no Via, so no answer can be sent.
    ("TEST_I", false, Dropped),
];

fn read(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/torture/TC_{name}.dat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a torture message")
}

fn fate(bytes: &[u8]) -> Fate {
    let mut driven = Driven::new();
    driven.packet_on(peer_flow(), bytes);
    let call = driven
        .events
        .iter()
        .any(|event| matches!(event, Event::Incoming { .. }));
    if call {
        return Call;
    }
    assert_eq!(driven.events, []);
    match driven.take_lines().first() {
        Some(line) => {
            let status = line.split(' ').nth(1).expect("a status line");
            Answered(status.parse().expect("digits"))
        }
        None => Dropped,
    }
}

#[test]
fn every_torture_message_is_treated_as_the_rfc_says() {
    for (name, parsed, expected) in TABLE {
        let bytes = read(name);
        let found = parse(&bytes);
        assert_eq!(found.is_ok(), *parsed, "{name}: {:?}", found.err());
        assert_eq!(fate(&bytes), *expected, "{name}");
    }
}

#[test]
fn the_table_covers_every_file() {
    let folder = format!("{}/tests/torture", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(files, TABLE.len());
}

#[test]
fn a_refusal_names_both_unsupported_extensions() {
    let mut driven = Driven::new();
    driven.packet_on(peer_flow(), &read("BEXT01_V"));
    let answer = driven.take_sent().remove(0);
    assert_eq!(
        header(&answer, "Unsupported"),
        "nothingSupportsThis, nothingSupportsThisEither"
    );
}

#[test]
fn a_refusal_repeats_only_what_the_request_had() {
    let mut driven = Driven::new();
    driven.packet_on(peer_flow(), &read("INSUF_I"));
    let answer = driven.take_sent().remove(0);
    assert_eq!(
        answer.lines().take(4).collect::<Vec<_>>(),
        [
            "SIP/2.0 400 Missing Call-ID",
            "Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf;received=198.51.100.7",
            "CSeq: 193942 INVITE",
            concat!("Server: Offhook/", env!("CARGO_PKG_VERSION")),
        ]
    );
}

#[test]
fn an_invite_of_rfc_2543_is_answered_acknowledged_and_cancelled() {
    let mut driven = Driven::new();
    let invite = read("INV2543_I");
    driven.packet_on(peer_flow(), &invite);
    driven.packet_on(peer_flow(), &invite);
    assert_eq!(driven.take_lines(), ["SIP/2.0 100 Trying"]);
    let cancel = String::from_utf8(invite)
        .expect("ascii")
        .replace("INVITE", "CANCEL")
        .replace("Content-Type: application/sdp\r\n", "Content-Length: 0\r\n");
    driven.packet(&cancel);
    let lines = driven.take_lines();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    driven.packet(&cancel.replace("CANCEL", "ACK"));
    driven.run_for(millis(40_000));
    assert_eq!(driven.take_lines(), [] as [String; 0]);
    assert_eq!(driven.endpoint.transaction_count(), 0);
}
