//! Both sides of digest authentication against each other, whatever is asked.

mod support;

use core::time::Duration;

use offhook_sip::digest::{
    Challenge, Covered, Credentials, Doorkeeper, Login, Refusal, Taken, Verdict,
};
use offhook_sip::{StatusCode, parse};
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(1000);

fn credentials(password: &str) -> Credentials {
    Credentials {
        user: "alice \"of\" \\ x".into(),
        password: password.into(),
    }
}

fn covered<'a>(body: &'a [u8]) -> Covered<'a> {
    Covered {
        method: "INVITE",
        uri: "sip:100@192.0.2.1",
        body,
    }
}

/// A 401 or 407 with these lines.
fn refusal(lines: &[String]) -> String {
    let mut text = String::from(
        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\n\
         To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n",
    );
    for line in lines {
        text += line;
        text += "\r\n";
    }
    text + "Content-Length: 0\r\n\r\n"
}

fn take(login: &mut Login, lines: &[String], taken: &mut Taken) -> Result<(), Refusal> {
    let text = refusal(lines);
    let proxy = lines.iter().any(|line| line.starts_with("Proxy"));
    let status = StatusCode::new(if proxy { 407 } else { 401 }).expect("a code");
    let view = parse(text.as_bytes()).expect("legal");
    let Ok(offhook_sip::parse::Message::Response(response)) = view.check() else {
        panic!("a response");
    };
    login.take(status, &response.core, taken)
}

fn asked(door: &mut Doorkeeper, now: Duration, stale: bool) -> Vec<String> {
    let values = door.ask(now, stale);
    values
        .map(|value| format!("WWW-Authenticate: {value}"))
        .into()
}

fn secret_of(user: &str) -> Option<String> {
    (user == "alice \"of\" \\ x").then(|| "s3cret".to_owned())
}

fn check(door: &mut Doorkeeper, now: Duration, login: &mut Login, body: &[u8]) -> Verdict {
    let lines = login.lines(&covered(body), "0a4f113b");
    let line = lines.first().expect("a line");
    assert_eq!(line.name, "Authorization");
    door.check(now, &covered(body), line.value.as_bytes(), secret_of)
}

#[test]
fn the_right_password_is_welcome_again_and_again_with_rising_counts() {
    let mut door = Doorkeeper::new("off\"hook", [7; 32]);
    let mut login = Login::new(credentials("s3cret"));
    let question = asked(&mut door, NOW, false);
    take(&mut login, &question, &mut Taken::default()).expect("answerable");
    for _ in 0..20 {
        let user = "alice \"of\" \\ x".to_owned();
        assert_eq!(
            check(&mut door, NOW, &mut login, b"v=0"),
            Verdict::Welcome { user }
        );
    }
}

#[test]
fn a_replayed_answer_and_an_old_nonce_are_asked_again() {
    let mut door = Doorkeeper::new("r", [7; 32]);
    let mut login = Login::new(credentials("s3cret"));
    let question = asked(&mut door, NOW, false);
    take(&mut login, &question, &mut Taken::default()).expect("answerable");
    let line = login.lines(&covered(b""), "c").remove(0).value;
    let mut replay = |now| door.check(now, &covered(b""), line.as_bytes(), secret_of);
    assert!(matches!(replay(NOW), Verdict::Welcome { .. }));
    assert_eq!(replay(NOW), Verdict::AskAgain);
    assert_eq!(replay(NOW + Duration::from_secs(301)), Verdict::AskAgain);
}

#[test]
fn what_was_not_asked_here_or_is_of_another_request_is_not_welcome() {
    let mut door = Doorkeeper::new("r", [7; 32]);
    let mut other = Doorkeeper::new("r", [8; 32]);
    let mut login = Login::new(credentials("s3cret"));
    let question = asked(&mut other, NOW, false);
    take(&mut login, &question, &mut Taken::default()).expect("answerable");
    assert_eq!(check(&mut door, NOW, &mut login, b""), Verdict::Ask);
    let question = asked(&mut door, NOW, false);
    take(&mut login, &question, &mut Taken::default()).expect("answerable");
    let line = login.lines(&covered(b""), "c").remove(0).value;
    let elsewhere = Covered {
        uri: "sip:0900@192.0.2.1",
        ..covered(b"")
    };
    let verdict = door.check(NOW, &elsewhere, line.as_bytes(), secret_of);
    assert_eq!(verdict, Verdict::Wrong);
}

#[test]
fn a_wrong_password_is_given_up_after_one_try_and_a_stale_nonce_after_three_more() {
    let mut door = Doorkeeper::new("r", [7; 32]);
    let mut login = Login::new(credentials("guess"));
    let mut taken = Taken::default();
    let question = asked(&mut door, NOW, false);
    assert_eq!(take(&mut login, &question, &mut taken), Ok(()));
    assert_eq!(check(&mut door, NOW, &mut login, b""), Verdict::Wrong);
    for _ in 0..3 {
        let question = asked(&mut door, NOW, true);
        assert_eq!(take(&mut login, &question, &mut taken), Ok(()));
    }
    let question = asked(&mut door, NOW, true);
    assert_eq!(
        take(&mut login, &question, &mut taken),
        Err(Refusal::Rejected)
    );
}

#[test]
fn a_nonce_of_an_earlier_request_may_be_refused_once_without_stale() {
    let mut door = Doorkeeper::new("r", [7; 32]);
    let mut login = Login::new(credentials("s3cret"));
    for _ in 0..3 {
        let mut taken = Taken::default();
        let question = asked(&mut door, NOW, false);
        assert_eq!(take(&mut login, &question, &mut taken), Ok(()));
        let question = asked(&mut door, NOW, false);
        assert_eq!(
            take(&mut login, &question, &mut taken),
            Err(Refusal::Rejected)
        );
    }
}

#[test]
fn server_and_proxy_are_answered_side_by_side() {
    let mut login = Login::new(credentials("s3cret"));
    let mut taken = Taken::default();
    let proxy = r#"Proxy-Authenticate: Digest realm="p", nonce="1", qop="auth""#.to_owned();
    let server = r#"WWW-Authenticate: Digest realm="s", nonce="2""#.to_owned();
    assert_eq!(take(&mut login, &[proxy], &mut taken), Ok(()));
    assert_eq!(take(&mut login, &[server], &mut taken), Ok(()));
    let names: Vec<_> = login
        .lines(&covered(b""), "c")
        .iter()
        .map(|line| line.name)
        .collect();
    assert_eq!(names, ["Proxy-Authorization", "Authorization"]);
}

#[test]
fn a_password_does_not_show_in_debug_output() {
    let login = Login::new(credentials("s3cret"));
    assert!(!format!("{login:?}").contains("s3cret"));
}

fn quote(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_whatever_the_values_hold(
        realm in "[ -~]{1,40}", nonce in "[ -~]{1,40}",
        algorithm in prop::sample::select(vec!["MD5", "SHA-256", "SHA-512-256", "MD5-sess"]),
        qop in prop::sample::select(vec!["auth", "auth-int", "auth-int,auth", "x , auth"]),
        blanks in "[ ]{0,3}",
    ) {
        let value = format!(
            "Digest{blanks} realm={blanks}\"{}\"{blanks},nonce{blanks}=\"{}\", algorithm={algorithm},{blanks}qop=\"{qop}\"",
            quote(&realm), quote(&nonce),
        );
        let found = Challenge::read(value.as_bytes());
        prop_assert_eq!(found.len(), 1, "{}", value);
        prop_assert_eq!(&found[0].realm, &realm);
        prop_assert_eq!(&found[0].nonce, &nonce);
        prop_assert_eq!(found[0].algorithm.as_str(), algorithm);
    }

    #[test]
    fn no_bytes_make_a_reader_panic_or_a_visitor_welcome(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        Challenge::read(&bytes);
        let mut door = Doorkeeper::new("r", [7; 32]);
        let verdict = door.check(NOW, &covered(b""), &bytes, secret_of);
        prop_assert_eq!(verdict, Verdict::Ask);
    }

    #[test]
    fn every_body_is_answered_rightly_and_no_other_one(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut door = Doorkeeper::new("r", [7; 32]);
        let mut login = Login::new(credentials("s3cret"));
        let question = door.ask(NOW, false)[0].replace("auth,auth-int", "auth-int");
        take(&mut login, &[format!("WWW-Authenticate: {question}")], &mut Taken::default()).expect("answerable");
        let line = login.lines(&covered(&body), "c").remove(0).value;
        let mut longer = body.clone();
        longer.push(b'x');
        let wrong = door.check(NOW, &covered(&longer), line.as_bytes(), secret_of);
        prop_assert_eq!(wrong, Verdict::Wrong);
        let right = door.check(NOW, &covered(&body), line.as_bytes(), secret_of);
        let welcome = matches!(right, Verdict::Welcome { .. });
        prop_assert!(welcome);
    }
}
