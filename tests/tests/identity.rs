//! Who calls, as a trunk tells it: signed numbers (STIR/SHAKEN) and the detours of a
//! call, on the wire and in its account.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use offhook_tests::certificate::issued;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_rtp_pair};
use offhook_tests::process::run;
use offhook_tests::scene::Scene;

const URL: &str = "https://cert.example.net/signer.pem";

/// Seconds since 1970.
fn wall() -> u64 {
    let said = run("date", ["+%s"]).out;
    said.trim().parse().expect("date says a number")
}

/// The two numbers of an ECDSA signature, without what certificates write around them.
fn halves(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut all = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let digits = &rest[2..2 + length];
        let digits = &digits[length.saturating_sub(32)..];
        all.extend(std::iter::repeat_n(0, 32 - digits.len()));
        all.extend(digits);
        rest = &rest[2 + length..];
    }
    all
}

/// An Identity header for a call to +4930123; `said` is what stands there, `signed`
/// what was signed.
fn identity(daemon: &Daemon, url: &str, said: &str, signed: &str) -> String {
    let header = format!(r#"{{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"{url}"}}"#);
    let words = |claims: &str| {
        let [header, claims] = [header.as_str(), claims].map(|it| URL_SAFE_NO_PAD.encode(it));
        format!("{header}.{claims}")
    };
    let place = daemon.place();
    place.write("words", words(signed));
    let (key, signature) = (place.name("signer.key"), place.name("signature"));
    let text = place.name("words");
    let made = run(
        "openssl",
        ["dgst", "-sha256", "-sign", &key, "-out", &signature, &text],
    );
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    let signature = std::fs::read(&signature).expect("openssl wrote it");
    let signature = URL_SAFE_NO_PAD.encode(halves(&signature));
    format!(
        "Identity: {}.{signature};info=<{url}>;alg=ES256;ppt=shaken\r\n",
        words(said)
    )
}

fn claims(caller: &str, age: u64) -> String {
    let issued = wall() - age;
    format!(
        r#"{{"attest":"A","dest":{{"tn":["4930123"]}},"iat":{issued},"orig":{{"tn":"{caller}"}},"origid":"1"}}"#
    )
}

fn daemon() -> Daemon {
    let place = Place::new();
    issued(&place, "signer");
    let text = format!(
        "{}[[route]]\ncalled = \"+4930123\"\ntest = \"busy\"\n\
         [stir]\nauthorities = \"ca.pem\"\ncertificates = [{{ url = \"{URL}\", file = \"signer.pem\" }}]\n",
        Scene::default().text()
    );
    Daemon::start_in(place, &text)
}

#[test]
fn a_signature_is_worth_what_it_proves() {
    let daemon = daemon();
    let right = claims("4930555", 5);
    let rows = [
        (URL, right.clone(), right.clone(), "verified"),
        (
            URL,
            right.clone(),
            claims("4930556", 5),
            "the signature does not fit",
        ),
        (
            URL,
            claims("4930555", 120),
            claims("4930555", 120),
            "not signed within",
        ),
        (
            URL,
            claims("4930556", 5),
            claims("4930556", 5),
            "signed for another caller",
        ),
        ("https://x.example/", right.clone(), right, "not verified"),
    ];
    for (url, said, signed, expected) in rows {
        let lines = identity(&daemon, url, &said, &signed);
        let lines = format!(
            "{lines}Diversion: <sip:+4930777@pbx>;reason=user-busy;counter=2\r\n\
             History-Info: <sip:+4930777@pbx>;index=1, <sip:+4930123@pbx;cause=486>;index=1.1\r\n\
             Content-Type"
        );
        let caller = Peer::new().named("+4930555");
        let answer = caller.invite_with("+4930123", daemon.sip(), free_rtp_pair(), &lines);
        assert_eq!(answer.status(), 486, "{answer:?}");
        wait_for(&format!("`{expected}` in the account"), seconds(10), || {
            let told = daemon.offhook(&["call", "last"]).out;
            let all = [
                expected,
                "attestation A, signed by https://",
                "by +4930777 (user-busy, 2 times)",
                "1 +4930777, 1.1 +4930123 (486)",
            ];
            all.iter().all(|it| told.contains(it)).then_some(())
        });
    }
}
