//! Any Identity headers of an INVITE, judged as those of a caller: only what was signed
//! here is right, for this caller, this call, this minute and the certificate's numbers.
//!
//! The input is lines. One that is JSON, a tab and JSON is signed first, as header and
//! claims of a token; one of a tab alone is signed in the compact form; `Date: ` is one;
//! every other one is an Identity header as it comes. `run` makes the signer.
#![no_main]

mod incoming;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use offhook::stir::{Stir, Verdict, is_diversion};
use offhook_sip::identity::SignedIdentity;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use self::incoming::incoming;

const URL: &str = "https://cert.example.net/signer.pem";
const CALLER: &str = "4930555";
const CALLED: &str = "4930123";
/// For whom the certificate is beside the caller.
const DIVERTER: &str = "4930999";
/// Wed, 18 May 2033 03:33:20 GMT.
const NOW: Duration = Duration::from_secs(2_000_000_000);
/// How far from now a signature may be (RFC 8224 §6.2).
const FRESH_S: u64 = 60;
/// Values of one header that are told.
const VALUES_MAX: usize = 8;

struct Signer {
    key: EcdsaKeyPair,
    stir: Stir,
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let base = std::env::var("OFFHOOK_FUZZ_SIGNER").expect("`run` makes a signer");
    let (key, certificate) = (format!("{base}.key"), PathBuf::from(format!("{base}.pem")));
    let key = std::fs::read(key).expect("the signer has a key");
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = EcdsaKeyPair::from_pkcs8(algorithm, &key, &SystemRandom::new());
    let signers = [(URL.to_owned(), certificate.clone())];
    Signer {
        key: key.expect("it is one of P-256"),
        stir: Stir::load(&certificate, &signers).expect("the signer has a certificate"),
    }
});

fuzz_target!(|text: &[u8]| {
    let all = signed(text);
    assert!(all.len() <= VALUES_MAX);
    let judge = |caller: &str, now| {
        SIGNER
            .stir
            .judge(&all, caller, &[format!("+{CALLED}")], now)
    };
    let verdicts = judge(CALLER, NOW);
    assert_eq!(verdicts.len(), all.len());
    let right: Vec<_> = all
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| matches!(verdict, Verdict::Right(_)))
        .map(|(it, _)| it)
        .collect();
    for it in &right {
        believable(it, &right, text);
    }
    if !right.is_empty() {
        let none = |all: Vec<Verdict>| !all.iter().any(|it| matches!(it, Verdict::Right(_)));
        assert!(none(judge("4930556", NOW)), "of another caller");
        let later = NOW + Duration::from_secs(2 * FRESH_S + 1);
        assert!(none(judge(CALLER, later)), "signed too long ago");
    }
});

/// What a right signature must be, whatever it says.
fn believable(it: &SignedIdentity, right: &[&SignedIdentity], text: &[u8]) {
    let issued = it.issued_at.expect("it was signed at some time");
    assert!(issued.abs_diff(NOW.as_secs()) <= FRESH_S, "{it:?}");
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let token = it.text.split(';').next().unwrap_or_default().trim();
    assert!(
        !text.windows(token.len()).any(|part| part == token.as_bytes()),
        "nobody signed it: {it:?}"
    );
    if token.starts_with("..") {
        return;
    }
    assert_eq!(it.origin.as_deref().map(digits).as_deref(), Some(CALLER));
    let vouched = it.diverter.as_deref().map_or(CALLER.to_owned(), digits);
    assert!([CALLER, DIVERTER].contains(&vouched.as_str()), "{it:?}");
    let by_others = right.iter().filter(|other| is_diversion(other));
    let ways = by_others.filter_map(|other| other.diverter.as_deref());
    let ways: Vec<_> = ways.map(digits).chain([CALLED.to_owned()]).collect();
    let mut meant = it.destinations.iter().map(|to| digits(to));
    assert!(meant.any(|to| ways.contains(&to)), "{it:?}");
}

/// The identities of an INVITE with the headers of these lines.
fn signed(text: &[u8]) -> Vec<SignedIdentity> {
    let mut lines = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        if !line.starts_with(b"Date: ") {
            lines.extend_from_slice(b"Identity: ");
        }
        let tab = line.iter().position(|byte| *byte == b'\t');
        match tab.map(|at| (&line[..at], &line[at + 1..])) {
            Some((b"", b"")) => lines.extend(compact().into_bytes()),
            Some((header, claims)) => lines.extend(token(header, claims).into_bytes()),
            None => lines.extend_from_slice(line),
        }
        lines.extend_from_slice(b"\r\n");
    }
    incoming(&lines).map_or_else(Vec::new, |invite| invite.identities)
}

fn token(header: &[u8], claims: &[u8]) -> String {
    let words = [header, claims].map(|json| URL_SAFE_NO_PAD.encode(json)).join(".");
    let signature = signature(&words);
    format!("{words}.{signature};info=<{URL}>;alg=ES256")
}

/// Over what the message says (RFC 8224 §7), signed now.
fn compact() -> String {
    let issued = NOW.as_secs();
    let header = format!(r#"{{"alg":"ES256","typ":"passport","x5u":"{URL}"}}"#);
    let claims =
        format!(r#"{{"dest":{{"tn":["{CALLED}"]}},"iat":{issued},"orig":{{"tn":"{CALLER}"}}}}"#);
    let words = [header, claims].map(|json| URL_SAFE_NO_PAD.encode(json)).join(".");
    format!("..{};info=<{URL}>;alg=ES256", signature(&words))
}

fn signature(words: &str) -> String {
    let signed = SIGNER.key.sign(&SystemRandom::new(), words.as_bytes());
    URL_SAFE_NO_PAD.encode(signed.expect("there is randomness"))
}
