//! SIPp plays a far end that is right, odd or wrong: each file `tests/sipp/*.sipp`
//! is one cell of the matrix and one test by its name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use offhook_tests::connect;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{seconds, wait_for};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::checkout;
use offhook_tests::scene::Scene;
use offhook_tests::script::Script;
use offhook_tests::sipp::Sipp;

/// One daemon for all that are called at the same time; it ends with the last.
static SHARED: Mutex<Weak<Daemon>> = Mutex::new(Weak::new());

fn shared() -> Arc<Daemon> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(daemon) = shared.upgrade() {
        return daemon;
    }
    let daemon = Arc::new(Scene::default().start());
    *shared = Arc::downgrade(&daemon);
    daemon
}

/// SIPp calls, or is called.
fn play(name: &str) {
    let script = Script::read(name);
    match script.calls.clone() {
        Some(user) => play_caller(name, &script, &user),
        None => play_called(name, &script),
    }
}

fn play_caller(name: &str, script: &Script, user: &str) {
    let own = script.six || script.transport != "udp" || !script.then.is_empty();
    let daemon = match (&script.transfer, own) {
        (Some(transfer), _) => Arc::new(connect::daemon(&listening(script), transfer)),
        (None, true) => Arc::new(Daemon::start(&listening(script))),
        (None, false) => shared(),
    };
    let place = Place::new();
    let to = address(&daemon, &script.transport);
    let mut sipp = Sipp::written(name, &script.xml, to, &place).calls(user);
    if script.transport == "tcp" {
        sipp = sipp.with(&["-t", "t1"]);
    }
    finish(sipp, &place, &daemon);
    account(&daemon, script);
}

fn play_called(name: &str, script: &Script) {
    let place = Place::new();
    let port = free_port();
    let sipp = Sipp::written(name, &script.xml, ([127, 0, 0, 1], 9).into(), &place)
        .with(&["-p", &port.to_string()]);
    let (sipp, scene) = match script.transport.as_str() {
        "tcp" => (sipp.with(&["-t", "t1"]), both_transports()),
        _ => (sipp, Scene::default().text()),
    };
    let mut sipp = sipp.start(&place.file("sipp.log"));
    let daemon = Daemon::start(&format!(
        "{scene}[[trunk]]\nname = \"far\"\nproxy = \"udp:127.0.0.1:{port}\"\nallow = [\"*\"]\n{}",
        script.trunk
    ));
    if !script.registrar {
        originate(&daemon);
    }
    let ended = sipp.finish(seconds(40));
    assert!(
        ended.success(),
        "{}{}{}",
        sipp.said(),
        errors(&place),
        daemon.said()
    );
    account(&daemon, script);
}

fn originate(daemon: &Daemon) {
    let order = [
        "originate",
        "200",
        "--trunk",
        "far",
        "--playbook",
        "outreach",
        "--consent",
        "test",
    ];
    let placed = daemon.offhook(&order);
    assert_eq!(placed.code, 0, "{}{}", placed.out, placed.err);
}

fn finish(sipp: Sipp, place: &Place, daemon: &Daemon) {
    let mut sipp = sipp.start(&place.file("sipp.log"));
    let ended = sipp.finish(seconds(40));
    assert!(
        ended.success(),
        "{}{}{}",
        sipp.said(),
        errors(place),
        daemon.said()
    );
}

fn errors(place: &Place) -> String {
    std::fs::read_to_string(place.file("sipp.err")).unwrap_or_default()
}

/// What the daemon says of the call, in the end.
fn account(daemon: &Daemon, script: &Script) {
    for wanted in &script.then {
        wait_for(&format!("`{wanted}` in the account"), seconds(10), || {
            let told = daemon.offhook(&["call", "last"]);
            told.out.contains(wanted.as_str()).then_some(())
        });
    }
}

/// The scene, with the listener that the scenario needs.
fn listening(script: &Script) -> String {
    let text = Scene::default().text();
    match (script.six, script.transport.as_str()) {
        (true, _) => text
            .replace("udp:127.0.0.1:0", "udp:[::1]:0")
            .replace("address = \"127.0.0.1\"", "address = \"::1\"")
            .replace("127.0.0.0/8", "::1/128"),
        (false, "tcp") => text.replace("udp:127.0.0.1:0", "tcp:127.0.0.1:0"),
        _ => text,
    }
}

/// The scene, with a stream beside the datagrams.
fn both_transports() -> String {
    let both = "\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"";
    Scene::default().text().replace("\"udp:127.0.0.1:0\"", both)
}

fn address(daemon: &Daemon, transport: &str) -> SocketAddr {
    let status = daemon.json(&["status"]);
    let listeners = status["sip"].as_array().expect("status names its sockets");
    let found = listeners.iter().find(|it| it["transport"] == transport);
    let found = found.and_then(|it| it["address"].as_str()?.parse().ok());
    found.unwrap_or_else(|| panic!("no {transport} in {status}"))
}

macro_rules! cells {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })+

        const CELLS: &[&str] = &[$(stringify!($name)),+];
    };
}

cells! {
    a_body_that_is_no_sdp_is_refused_415
    a_bye_for_nobody_is_answered_481
    a_call_over_ipv6_names_addresses_in_brackets
    a_call_over_tcp_stays_on_its_connection
    a_call_that_begins_on_hold_is_resumed
    a_call_that_the_network_gives_up_says_why
    a_call_without_an_offer_gets_ours
    a_callee_puts_us_on_hold
    a_callee_that_declines_is_told_as_such
    a_callee_who_moved_is_called_there
    a_caller_who_is_sent_on_gets_there
    a_caller_who_is_sent_to_a_busy_line_is_back
    a_caller_who_leaves_on_its_way_is_referred
    a_cancel_for_nobody_is_answered_481
    a_cancel_that_comes_too_late_changes_nothing
    a_description_that_cannot_be_read_is_refused_400
    a_dialog_to_be_replaced_that_is_not_there_is_481
    a_hold_by_address_zero_is_taken_for_one
    a_hold_by_inactive_is_answered_inactive
    a_hold_by_recvonly_is_answered_sendonly
    a_hold_is_resumed_by_a_late_offer
    a_key_by_info_is_heard
    a_larger_session_interval_is_asked_for_and_given
    a_late_offer_has_the_lines_of_the_session
    a_late_offer_without_an_answer_is_hung_up
    a_long_invite_in_one_datagram_is_read
    a_lost_ack_is_asked_for_again
    a_message_inside_a_call_is_taken
    a_method_that_nobody_knows_is_refused_501
    a_password_is_asked_for_and_proved
    a_peer_that_sends_nobody_on_keeps_its_caller_here
    a_prack_caller_hears_it_ring_reliably
    a_refresher_that_they_choose_is_ours
    a_registrar_that_grants_no_less_gets_no_less
    a_registration_here_is_refused_405
    a_reinvite_before_the_ack_is_told_to_wait
    a_reinvite_before_the_answer_is_told_491
    a_reinvite_without_an_offer_gets_ours
    a_report_that_nobody_asked_for_is_481
    a_request_too_long_for_a_datagram_goes_by_a_stream
    a_route_that_was_recorded_is_taken
    a_session_interval_too_small_is_answered_422
    a_session_timer_is_granted_to_the_caller
    a_session_timer_is_kept_by_us_where_asked
    a_subscription_is_refused_489
    a_t38_line_beside_audio_is_refused_by_its_port
    a_t38_reinvite_is_refused_488_and_the_call_goes_on
    a_transfer_outside_of_a_call_is_declined
    a_transfer_that_ends_before_its_202_counts
    a_transfer_that_nobody_tells_of_is_given_up
    a_transfer_that_we_do_not_do_is_declined
    a_transfer_whose_subscription_ends_unsaid_is_given_up
    a_trunk_without_a_line_is_congested
    a_wrong_prack_is_answered_481
    an_answer_without_sdp_after_early_media_counts
    an_answer_without_sdp_is_hung_up
    an_extension_that_is_required_and_unknown_is_refused_420
    an_info_that_nobody_knows_is_answered
    an_invite_that_came_by_two_ways_is_merged
    an_offer_without_our_codecs_is_refused_488
    an_update_before_the_answer_is_taken
    an_update_holds_and_resumes
    an_update_without_sdp_refreshes
    compact_headers_are_read
    early_media_that_must_arrive_is_acknowledged
    folded_and_spaced_lines_are_read
    options_inside_a_call_are_answered
    options_say_what_we_can
    packets_of_10_ms_are_agreed_on
    packets_of_60_ms_are_agreed_on
    rtcp_at_a_port_of_its_own_is_taken
    sdp_beside_isup_is_found
    the_networks_reason_counts_for_more_than_the_status
    their_numbers_for_keys_are_kept
    two_phones_answer_and_one_is_hung_up
    two_phones_ring_and_the_second_answers
}

#[test]
fn every_file_of_the_matrix_is_played() {
    let files = std::fs::read_dir(checkout().join("tests/sipp")).expect("the scenarios are there");
    let names = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.to_owned()));
    let mut names: Vec<_> = names
        .filter_map(|name| Some(name.strip_suffix(".sipp")?.to_owned()))
        .collect();
    names.sort();
    let mut played = CELLS.to_vec();
    played.sort_unstable();
    assert_eq!(names, played);
    assert!(names.len() >= 40, "{} cells", names.len());
}
