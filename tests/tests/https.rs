//! Receivers behind TLS: the upstream, and a sink of secrets. Who shows a certificate
//! that nobody we trust vouches for, or one for another name, is sent nothing, and people
//! see why.

use offhook_tests::certificate::issued;
use offhook_tests::daemon::Daemon;
use offhook_tests::http::tls_front;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::Place;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::vault::Vault;

/// One caller wants a call back: what is delivered is the action and the outcome.
fn call_back(daemon: &Daemon) {
    let call = Peer::new().named("+4930777").call("booking", daemon.sip());
    call.press('0');
    call.wait_bye(seconds(30));
}

/// What the status says of a receiver.
fn failing(daemon: &Daemon, receiver: &str, words: &[&str]) {
    let line = wait_for(&format!("{receiver} to fail"), seconds(20), || {
        let text = daemon.offhook(&["status"]).out;
        let line = text.lines().find(|line| line.starts_with(receiver))?;
        line.contains("FAILING").then(|| line.to_owned())
    });
    for word in words {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn the_upstream_is_trusted_by_its_certificate_and_nothing_is_lost_until_it_is() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let receiver = || sink.address().to_owned();
    let good = tls_front(&issued(&place, "localhost"), receiver());
    let other_name = tls_front(&issued(&place, "crm.example"), receiver());
    let elsewhere = Place::new();
    let stranger = tls_front(&issued(&elsewhere, "localhost"), receiver());
    let text = |port: u16| {
        let scene = Scene {
            upstream: Some(format!("https://localhost:{port}/offhook")),
            ..Scene::default()
        };
        let secret = format!("secret = \"{SECRET}\"\n");
        let both = format!("{secret}authorities = \"ca.pem\"\n");
        scene.text().replacen(&secret, &both, 1)
    };
    let mut daemon = Daemon::start_in(place, &text(stranger));
    call_back(&daemon);
    failing(&daemon, "upstream", &["invalid peer certificate"]);
    daemon.configure(&text(other_name));
    failing(
        &daemon,
        "upstream",
        &["invalid peer certificate", "localhost"],
    );
    assert!(sink.deliveries().is_empty(), "{:?}", sink.deliveries());
    daemon.configure(&text(good));
    sink.wait_taken("callback", 1, seconds(20));
    sink.wait_taken("outcome", 1, seconds(20));
    daemon.wait_status("no complaint", seconds(10), |status| {
        let receivers = status["receivers"].as_array()?;
        receivers
            .iter()
            .all(|it| it["failing"].is_null())
            .then_some(())
    });
    assert_eq!(sink.deliveries().len(), 2, "each once");
}

const PLAYBOOK: &str = r##"
name = "card"
language = "en-US"
start = "card"
[prompts]
card = "Your card."
sorry = "Sorry."
thanks = "Thank you."
[[stage]]
name = "card"
role = "closing"
say = ["card"]
silence_ms = 60000
collect = { name = "card", digits = 19, terminator = "#", secret = true, sink = "vault", check = "luhn", timeout_ms = 20000 }
[[stage.on]]
when = ["incomplete"]
say = ["card"]
[[stage.on]]
when = ["not_taken"]
say = ["sorry"]
[[stage.on]]
when = ["collected", "silence"]
go = "thanks"
[[stage]]
name = "thanks"
role = "closing"
say = ["thanks"]
end = true
"##;

#[test]
fn a_secret_goes_to_the_sink_that_proves_who_it_is_and_to_no_other() {
    const CARD: &str = "4111111111111111";
    for (issued_here, taken) in [(true, 1), (false, 0)] {
        let (place, elsewhere) = (Place::new(), Place::new());
        // Both are there: the one that is trusted, and the one that is met.
        let (own, foreign) = (issued(&place, "localhost"), issued(&elsewhere, "localhost"));
        let vault = Vault::start(&["204 No Content"]);
        let shown = if issued_here { &own } else { &foreign };
        let port = tls_front(shown, vault.address().to_owned());
        std::fs::create_dir(place.file("playbooks")).expect("a directory of the test");
        place.write("playbooks/card.toml", PLAYBOOK);
        let text = Scene::default().text().replacen(
            "policy = \"demo\"",
            "policy = \"demo\"\nplaybooks = \"{dir}/playbooks\"",
            1,
        );
        let more = format!(
            "[[sink]]\nname = \"vault\"\nurl = \"https://localhost:{port}/keys\"\n\
             secret = \"{SECRET}\"\nauthorities = \"ca.pem\"\n\
             [[route]]\ncalled = \"card\"\nplaybook = \"card\"\n"
        );
        let daemon = Daemon::start_in(place, &(text + &more));
        let call = Peer::new().call("card", daemon.sip());
        let told = |what: &str| {
            wait_for(what, seconds(20), || {
                let told = daemon.offhook(&["call", "last", "--json"]).out;
                told.contains(what).then_some(())
            });
        };
        told("secret");
        CARD.chars().chain(['#']).for_each(|key| call.press(key));
        told(if issued_here {
            "\"handed_over\""
        } else {
            "not_handed_over"
        });
        assert_eq!(vault.taken().len(), taken);
        match issued_here {
            true => assert!(vault.taken()[0].contains(CARD)),
            false => failing(&daemon, "sink vault", &["invalid peer certificate"]),
        }
    }
}
