//! Who calls and by which detours, in the headers of an INVITE.

mod support;

use offhook_sip::identity::{Attestation, Diversion, HistoryEntry};
use offhook_sip::{Event, Incoming, Party};
use proptest::prelude::*;
use support::*;

fn incoming(lines: &str) -> Incoming {
    let mut driven = Driven::new();
    driven.packet(&request("INVITE", 1, "1", "", lines, OFFER));
    let Some(Event::Incoming { invite, .. }) = driven.take_events().into_iter().next() else {
        panic!("{:?}", driven.take_lines());
    };
    *invite
}

fn party(display: Option<&str>, text: &str) -> Party {
    Party {
        display: display.map(str::to_owned),
        uri: uri(text),
    }
}

#[test]
fn asserted_identities_and_diversions_are_read_from_lists_and_lines() {
    let invite = incoming(
        "P-Asserted-Identity: \"Alice\" <sip:+4930123@t;user=phone>, <tel:+4930123>\r\n\
         Privacy: id;critical\r\n\
         Diversion: <sip:200@pbx>;reason=user-busy;counter=2;privacy=full\r\n\
         Diversion: \"B, C\" <sip:300@pbx>;reason=\"no-answer\"\r\n",
    );
    assert_eq!(
        invite.asserted_identity,
        [
            party(Some("Alice"), "sip:+4930123@t;user=phone"),
            party(None, "tel:+4930123")
        ]
    );
    assert!(invite.private);
    let expected = [
        Diversion {
            party: party(None, "sip:200@pbx"),
            reason: Some("user-busy".into()),
            counter: 2,
            private: true,
        },
        Diversion {
            party: party(Some("B, C"), "sip:300@pbx"),
            reason: Some("no-answer".into()),
            counter: 1,
            private: false,
        },
    ];
    assert_eq!(invite.diversion, expected);
}

#[test]
fn the_way_of_a_call_is_read_with_its_reasons() {
    let invite = incoming(
        "History-Info: <sip:100@a?Reason=SIP%3Bcause%3D302>;index=1, <sip:200@b;cause=486>;index=1.1\r\n\
         History-Info: <sip:300@c>;index=1.2\r\n",
    );
    let entry = |target: &str, index: &str, cause| HistoryEntry {
        target: uri(target),
        index: index.into(),
        cause,
    };
    let expected = [
        entry("sip:100@a?Reason=SIP%3Bcause%3D302", "1", Some(302)),
        entry("sip:200@b;cause=486", "1.1", Some(486)),
        entry("sip:300@c", "1.2", None),
    ];
    assert_eq!(invite.history, expected);
}

/// The example of RFC 8588 §5: `{"attest":"A","dest":{"tn":["12155550131"]},
/// "iat":1443208345,"orig":{"tn":"12155550121"},"origid":"123e4567-…"}`.
const PASSPORT: &str = "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiIsInR5cCI6InBhc3Nwb3J0In0.\
eyJhdHRlc3QiOiJBIiwiZGVzdCI6eyJ0biI6WyIxMjE1NTU1MDEzMSJdfSwiaWF0IjoxNDQzMjA4MzQ1LCJvcmlnIjp7InRuIjoiMTIxNTU1NTAxMjEifSwib3JpZ2lkIjoiMTIzZTQ1NjcifQ.\
c2ln";

#[test]
fn the_attestation_of_a_signed_identity_is_read() {
    let invite = incoming(&format!(
        "Identity: {PASSPORT};info=<https://cert.example/x.pem>;alg=ES256;ppt=shaken\r\n"
    ));
    let identity = invite.identities.first().expect("it can be read").clone();
    assert_eq!(identity.attestation, Some(Attestation::Full));
    assert_eq!(identity.origin.as_deref(), Some("12155550121"));
    assert_eq!(identity.destinations, ["12155550131"]);
    assert_eq!(identity.issued_at, Some(1_443_208_345));
    assert_eq!(
        identity.certificate.as_deref(),
        Some("https://cert.example/x.pem")
    );
}

#[test]
fn an_identity_that_cannot_be_read_does_not_stop_the_call() {
    for value in [
        "",
        "x",
        "a.b.c",
        "a.e30.c",
        "a.W10.c",
        "...",
        "a.eyJhdHRlc3QiOjV9.c;info=<",
    ] {
        let invite = incoming(&format!("Identity: {value}\r\n"));
        assert!(
            invite.identities.iter().all(|it| it.attestation.is_none()),
            "{value}"
        );
    }
}

proptest! {
    #[test]
    fn no_header_of_these_makes_a_call_panic(text in "[ -~]{0,120}") {
        for name in ["P-Asserted-Identity", "Diversion", "History-Info", "Identity", "Privacy"] {
            let mut driven = Driven::new();
            driven.packet(&request("INVITE", 1, "1", "", &format!("{name}: {text}\r\n"), OFFER));
        }
    }
}
