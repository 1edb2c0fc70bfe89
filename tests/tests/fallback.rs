//! What becomes of callers when no conversation can be had.

use offhook_tests::peer::Peer;
use offhook_tests::scene::Scene;

#[test]
fn a_full_box_sends_callers_to_the_fallback_of_their_route_and_refuses_the_others() {
    let scene = Scene {
        max_calls: 1,
        ..Scene::default()
    };
    let target = "sip:desk@pbx.example.net";
    let text = scene.text().replacen(
        "called = \"booking\"\n",
        &format!("called = \"booking\"\nfallback = \"{target}\"\n"),
        1,
    );
    let daemon = offhook_tests::daemon::Daemon::start(&text);
    let first = Peer::new().call("booking", daemon.sip());
    let (_, answer) = Peer::new().invite("booking", daemon.sip(), 40_000);
    assert_eq!(answer.status(), 302, "{}", answer.first);
    assert_eq!(answer.header("Contact"), format!("<{target}>"));
    let (_, answer) = Peer::new().invite("sales", daemon.sip(), 40_000);
    assert_eq!(answer.status(), 503, "{}", answer.first);
    first.hang_up();
}
