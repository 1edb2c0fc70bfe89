//! Our SRTP and SRTCP against libsrtp: what either seals the other opens, over the
//! roll of sequence numbers, and neither believes what was changed. And each suite on
//! a trunk that does not encrypt, may, or must.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use offhook_sip::rtp::srtp::{GROWTH, MasterKey, Opener, Sealer, Suite};
use offhook_tests::daemon::Daemon;
use offhook_tests::place::Place;
use offhook_tests::process::{checkout, run};
use offhook_tests::scene::Scene;
use offhook_tests::secure::{Secure, key_of};
use offhook_tests::skip::skip;

/// SRTCP grows by its index too (RFC 3711 §3.4).
const CONTROL_GROWTH: usize = GROWTH + 4;

/// libsrtp, in a process of its own.
struct Foreign {
    child: Child,
    inbox: ChildStdin,
    outbox: BufReader<ChildStdout>,
    _place: Place,
}

impl Foreign {
    /// `None` where libsrtp is not installed.
    fn new() -> Option<Self> {
        let place = Place::new();
        let program = place.name("peer");
        let source = checkout().join("tests/srtp/peer.c").display().to_string();
        let made = run("cc", ["-O1", "-o", &program, &source, "-lsrtp2"]);
        if made.code != 0 {
            skip("libsrtp: install libsrtp2-dev (tests/setup test)");
            return None;
        }
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was just made");
        let inbox = child.stdin.take().expect("piped");
        let outbox = BufReader::new(child.stdout.take().expect("piped"));
        Some(Self {
            child,
            inbox,
            outbox,
            _place: place,
        })
    }

    /// What it makes of a packet; `None` where it does not take it.
    fn ask(&mut self, key: &MasterKey, order: &str, packet: &[u8]) -> Option<Vec<u8>> {
        let (octets, length) = key.octets();
        let (key, packet, suite) = (hex(&octets[..length]), hex(packet), key.suite.name());
        writeln!(self.inbox, "{suite} {key} {order} {packet}").expect("it reads");
        let mut line = String::new();
        self.outbox.read_line(&mut line).expect("it answers");
        let line = line.trim();
        assert!(!line.is_empty(), "libsrtp has ended");
        let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
        (line != "-").then(|| (0..line.len()).step_by(2).map(byte).collect())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(suite: Suite, seed: u8) -> MasterKey {
    let octets: Vec<u8> = (0..30)
        .map(|at: u8| at.wrapping_mul(37).wrapping_add(seed))
        .collect();
    let length = match suite {
        Suite::AeadAes128Gcm => 28,
        Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 30,
    };
    MasterKey::new(suite, &octets[..length]).expect("as long as the suite takes")
}

fn packet(sequence: u16, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x80, 8];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 0x12, 0x34, 0xca, 0xfe, 0xba, 0xbe]);
    bytes.extend((0..length).map(|at| (at as u8) ^ (sequence as u8)));
    bytes
}

fn report(round: u8) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 7, 0xca, 0xfe, 0xba, 0xbe];
    bytes.extend([round; 24]);
    bytes
}

/// Over the roll of the numbers, with a gap.
fn sequences() -> impl Iterator<Item = u16> {
    (65_500..=65_535).chain(0..40).filter(|at| at % 7 != 3)
}

fn libsrtp_opens_what_we_seal(suite: Suite) {
    let Some(mut foreign) = Foreign::new() else {
        return;
    };
    let key = key(suite, 1);
    let mut sealer = Sealer::new(&key);
    for sequence in sequences() {
        let plain = packet(sequence, usize::from(sequence % 200));
        let mut bytes = plain.clone();
        bytes.resize(plain.len() + GROWTH, 0);
        let end = sealer.seal(&mut bytes, plain.len()).expect("there is room");
        let opened = foreign.ask(&key, "open rtp", &bytes[..end]);
        assert_eq!(opened, Some(plain), "{suite:?} {sequence}");
    }
    for round in 0..5 {
        let plain = report(round);
        let mut bytes = plain.clone();
        bytes.resize(plain.len() + CONTROL_GROWTH, 0);
        let end = sealer
            .seal_control(&mut bytes, plain.len())
            .expect("there is room");
        let opened = foreign.ask(&key, "open rtcp", &bytes[..end]);
        assert_eq!(opened, Some(plain), "{suite:?} report {round}");
    }
}

fn we_open_once_what_libsrtp_seals(suite: Suite) {
    let Some(mut foreign) = Foreign::new() else {
        return;
    };
    let key = key(suite, 2);
    let mut opener = Opener::new(&key);
    for sequence in sequences() {
        let plain = packet(sequence, 160);
        let sealed = foreign.ask(&key, "seal rtp", &plain).expect("it seals");
        let mut bytes = sealed.clone();
        let length = opener.open(&mut bytes).expect("we open it");
        assert_eq!(bytes[..length], plain[..], "{suite:?} {sequence}");
        assert!(opener.open(&mut sealed.clone()).is_err(), "twice");
    }
    for round in 0..5 {
        let plain = report(round);
        let sealed = foreign.ask(&key, "seal rtcp", &plain).expect("it seals");
        let mut bytes = sealed.clone();
        let length = opener.open_control(&mut bytes).expect("we open it");
        assert_eq!(bytes[..length], plain[..], "{suite:?} report {round}");
    }
}

fn neither_believes_what_was_changed(suite: Suite) {
    let Some(mut foreign) = Foreign::new() else {
        return;
    };
    let key = key(suite, 3);
    let mut sealer = Sealer::new(&key);
    let mut opener = Opener::new(&key);
    for (sequence, at) in (1..).zip([0, 3, 9, 13, 40, 90]) {
        let plain = packet(sequence, 80);
        let mut ours = plain.clone();
        ours.resize(plain.len() + GROWTH, 0);
        let end = sealer.seal(&mut ours, plain.len()).expect("there is room");
        let mut theirs = foreign.ask(&key, "seal rtp", &plain).expect("it seals");
        assert_eq!(theirs, ours[..end], "{suite:?}: the same octets");
        let last = end - 1;
        ours[at.min(last)] ^= 4;
        theirs[at.min(last)] ^= 4;
        assert_eq!(
            foreign.ask(&key, "open rtp", &ours[..end]),
            None,
            "{suite:?} {at}"
        );
        assert!(opener.open(&mut theirs).is_err(), "{suite:?} {at}");
    }
}

/// A daemon whose trunk encrypts like that.
fn encrypting(srtp: &str) -> Daemon {
    let named = "name = \"loopback\"\n";
    let text = Scene::default().text();
    Daemon::start(&text.replace(named, &format!("{named}srtp = \"{srtp}\"\n")))
}

/// Whoever offers this suite alone hears itself.
fn is_understood(srtp: &str, suite: Suite) {
    let daemon = encrypting(srtp);
    let caller = Secure::new(suite, 5);
    let answer = caller.invite("echo", daemon.sip(), "Content-Type");
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(key_of(&answer).suite, suite);
    let heard = caller.echoes(&answer);
    assert!(heard.len() > 20, "{} packets", heard.len());
}

/// It is refused where nothing is encrypted, and told why.
fn is_refused(srtp: &str, suite: Suite) {
    let daemon = encrypting(srtp);
    let answer = Secure::new(suite, 5).invite("echo", daemon.sip(), "Content-Type");
    assert_eq!(answer.status(), 488, "{answer:?}");
    assert!(answer.header("Warning").contains("encrypted"), "{answer:?}");
}

/// Each suite by itself, all cells of it.
macro_rules! cells {
    ($($suite:ident $module:ident)+) => {
        $(mod $module {
            use super::*;

            #[test]
            fn is_sealed_by_us_and_opened_by_libsrtp() {
                libsrtp_opens_what_we_seal(Suite::$suite);
            }

            #[test]
            fn is_sealed_by_libsrtp_and_opened_by_us_once() {
                we_open_once_what_libsrtp_seals(Suite::$suite);
            }

            #[test]
            fn is_believed_by_neither_when_it_was_changed_on_the_way() {
                neither_believes_what_was_changed(Suite::$suite);
            }

            #[test]
            fn is_refused_where_srtp_is_off() {
                is_refused("off", Suite::$suite);
            }

            #[test]
            fn is_understood_where_srtp_is_preferred() {
                is_understood("prefer", Suite::$suite);
            }

            #[test]
            fn is_understood_where_srtp_is_required() {
                is_understood("require", Suite::$suite);
            }
        })+

        #[test]
        fn each_suite_has_its_cells() {
            assert_eq!([$(Suite::$suite),+], Suite::ALL);
        }
    };
}

cells! {
    AeadAes128Gcm aead_aes_128_gcm
    AesCm128HmacSha1_80 aes_cm_128_hmac_sha1_80
    AesCm128HmacSha1_32 aes_cm_128_hmac_sha1_32
}
