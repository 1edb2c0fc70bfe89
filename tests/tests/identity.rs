//! Who calls, as a trunk tells it: signed numbers (STIR/SHAKEN) and the detours of a
//! call, on the wire and in its account.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use offhook_tests::certificate::{issued, issued_with};
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::run;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;

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
    let signature = signature(daemon, "signer", &words(url, "shaken", signed));
    let words = words(url, "shaken", said);
    format!("Identity: {words}.{signature};info=<{url}>;alg=ES256;ppt=shaken\r\n")
}

/// The same of a signer and kind, said as it was signed.
fn passport(daemon: &Daemon, signer: &str, ppt: &str, claims: &str) -> String {
    let url = format!("https://cert.example.net/{signer}.pem");
    let words = words(&url, ppt, claims);
    let signature = signature(daemon, signer, &words);
    format!("Identity: {words}.{signature};info=<{url}>;alg=ES256;ppt={ppt}\r\n")
}

/// Header and claims of a token.
fn words(url: &str, ppt: &str, claims: &str) -> String {
    let header = format!(r#"{{"alg":"ES256","ppt":"{ppt}","typ":"passport","x5u":"{url}"}}"#);
    let [header, claims] = [header.as_str(), claims].map(|it| URL_SAFE_NO_PAD.encode(it));
    format!("{header}.{claims}")
}

/// The signature of a token.
fn signature(daemon: &Daemon, signer: &str, words: &str) -> String {
    let place = daemon.place();
    place.write("words", words);
    let key = place.name(&format!("{signer}.key"));
    let (signature, text) = (place.name("signature"), place.name("words"));
    let made = run(
        "openssl",
        ["dgst", "-sha256", "-sign", &key, "-out", &signature, &text],
    );
    assert_eq!(made.code, 0, "{}{}", made.out, made.err);
    let signature = std::fs::read(&signature).expect("openssl wrote it");
    URL_SAFE_NO_PAD.encode(halves(&signature))
}

fn claims(caller: &str, age: u64) -> String {
    let issued = wall() - age;
    format!(
        r#"{{"attest":"A","dest":{{"tn":["4930123"]}},"iat":{issued},"orig":{{"tn":"{caller}"}},"origid":"1"}}"#
    )
}

fn daemon(sink: &Sink) -> Daemon {
    let place = Place::new();
    issued(&place, "signer");
    // For 4930555 alone (TNAuthList, RFC 8226 §9: one number).
    let list = "1.3.6.1.5.5.7.1.26=DER:30:0B:A2:09:16:07:34:39:33:30:35:35:35\n";
    issued_with(&place, "owner", list);
    let text = format!(
        "{}[[route]]\ncalled = \"+4930123\"\ntest = \"busy\"\n\
         [stir]\nauthorities = \"ca.pem\"\ncertificates = [{{ url = \"{URL}\", file = \"signer.pem\" }}, \
         {{ url = \"https://cert.example.net/owner.pem\", file = \"owner.pem\" }}]\n",
        Scene::with_sink(sink).text()
    );
    Daemon::start_in(place, &text)
}

/// A call to +4930123 with these lines; the account of it, once all is in it.
fn told(daemon: &Daemon, caller: &str, lines: &str, wanted: &[&str]) {
    let caller = Peer::new().named(caller);
    let lines = format!("{lines}Content-Type");
    let answer = caller.invite_with("+4930123", daemon.sip(), free_port(), &lines);
    assert_eq!(answer.status(), 486, "{answer:?}");
    wait_for(&format!("{wanted:?} in the account"), seconds(10), || {
        let told = daemon.offhook(&["explain", "last"]).out;
        wanted.iter().all(|it| told.contains(it)).then_some(())
    });
}

#[test]
fn a_compact_signature_is_over_what_the_message_says() {
    let (place, now) = (Place::new(), wall());
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = daemon(&sink);
    for (off, expected) in [(0, "verified"), (7, "the signature does not fit")] {
        let header = format!(r#"{{"alg":"ES256","typ":"passport","x5u":"{URL}"}}"#);
        let claims =
            format!(r#"{{"dest":{{"tn":["4930123"]}},"iat":{now},"orig":{{"tn":"4930555"}}}}"#);
        let words = [header, claims]
            .map(|it| URL_SAFE_NO_PAD.encode(it))
            .join(".");
        let signature = signature(&daemon, "signer", &words);
        let at = format!("@{}", now + off);
        let date = run("date", ["-u", "-d", &at, "+%a, %d %b %Y %H:%M:%S GMT"]).out;
        let lines = format!("Date: {}\r\ny: ..{signature};info=<{URL}>\r\n", date.trim());
        let signed = "identity attestation -, signed by https://";
        told(&daemon, "+4930555", &lines, &[signed, expected]);
    }
}

#[test]
fn who_sent_a_call_on_vouches_for_it_and_a_certificate_for_its_own_numbers() {
    let (place, now) = (Place::new(), wall());
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = daemon(&sink);
    let first = format!(
        r#"{{"attest":"A","dest":{{"tn":["4930999"]}},"iat":{now},"orig":{{"tn":"4930555"}},"origid":"1"}}"#
    );
    let first = passport(&daemon, "signer", "shaken", &first);
    let sent_on = format!(
        r#"{{"dest":{{"tn":["4930123"]}},"div":{{"tn":"4930999"}},"iat":{now},"orig":{{"tn":"4930555"}}}}"#
    );
    let sent_on = passport(&daemon, "signer", "div", &sent_on);
    let alone = "attestation A, signed by https://cert.example.net/signer.pem, wrong: signed for a call to somebody else";
    told(&daemon, "+4930555", &first, &[alone]);
    let both = format!("{first}{sent_on}");
    let wanted = [
        "identity attestation A, signed by https://cert.example.net/signer.pem, verified",
        "identity_div sent on by 4930999, signed by https://cert.example.net/signer.pem, verified",
    ];
    told(&daemon, "+4930555", &both, &wanted);
    for (caller, expected) in [
        ("4930555", ", verified"),
        ("4930556", "wrong: its certificate is for other numbers"),
    ] {
        let signed = passport(&daemon, "owner", "shaken", &claims(caller, 1));
        told(
            &daemon,
            &format!("+{caller}"),
            &signed,
            &["owner.pem", expected],
        );
    }
    // The upstream is told too.
    let outcomes = sink.wait_taken("outcome", 4, seconds(10));
    let origins: Vec<_> = outcomes
        .iter()
        .map(|it| it["data"]["origin"].to_string())
        .collect();
    for wanted in [
        "sent on by 4930999",
        "for other numbers",
        r#""event":"identity_div""#,
    ] {
        assert!(
            origins.iter().any(|it| it.contains(wanted)),
            "{wanted}: {origins:#?}"
        );
    }
}

#[test]
fn a_signature_is_worth_what_it_proves() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = daemon(&sink);
    // Each is said as it was signed, in the same second.
    let [right, late, other] =
        [("4930555", 5), ("4930555", 120), ("4930556", 5)].map(|(caller, age)| claims(caller, age));
    let rows = [
        (URL, right.clone(), right.clone(), "verified"),
        (
            URL,
            right.clone(),
            claims("4930556", 5),
            "the signature does not fit",
        ),
        (URL, late.clone(), late, "not signed within"),
        (URL, other.clone(), other, "signed for another caller"),
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
        let answer = caller.invite_with("+4930123", daemon.sip(), free_port(), &lines);
        assert_eq!(answer.status(), 486, "{answer:?}");
        wait_for(&format!("`{expected}` in the account"), seconds(10), || {
            let told = daemon.offhook(&["call", "last"]).out;
            let explained = daemon.offhook(&["explain", "last"]).out;
            let all = [
                expected,
                "attestation A, signed by https://",
                "by +4930777 (user-busy, 2 times)",
                "1 +4930777, 1.1 +4930123 (486)",
            ];
            let in_both = |it: &&str| told.contains(*it) && explained.contains(*it);
            all.iter().all(in_both).then_some(())
        });
    }
}
