//! A caller is passed on to a person on a second leg, over the wire: they hear each
//! other through the box, and whoever does not answer as a person is none.

use offhook_dsp::g711::Law;
use offhook_tests::connect;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::{Call, Message, Peer};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::Running;
use offhook_tests::rtp::Packet;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::sound::{SPEECH_DB, Sound, level, likeness};
use offhook_tests::speech::{person, silence};
use serde_json::Value;

/// The person is called, told, and takes the call by a key.
const BRIDGE: &str =
    r#"to = "closer", ring_ms = 4000, hold = ["hold_music"], brief = ["brief"], accept = ["1"]"#;
/// The same, and then the caller's side is asked to take our place.
const ATTENDED: &str = r#"to = "closer", way = "attended", ring_ms = 4000, hold = ["hold_music"], brief = ["brief"], accept = ["1"]"#;

/// A daemon whose persons are at a port of their own.
fn daemon(port: u16) -> Daemon {
    connecting(port, BRIDGE)
}

fn connecting(port: u16, transfer: &str) -> Daemon {
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{port}")),
        ..Scene::default()
    };
    connect::daemon(&scene.text(), transfer)
}

/// Somebody who answers there, as `offhook answer` does.
fn answering(daemon: &Daemon, port: u16, more: &[&str]) -> Running {
    let listen = format!("127.0.0.1:{port}");
    let mut arguments = vec!["answer", "--listen", &listen];
    arguments.extend(more);
    daemon.offhook_running(&arguments, "answer.log")
}

/// The caller asks for a person; the call's id.
fn ask(daemon: &Daemon, call: &Call) -> String {
    let id = wait_for("a call", seconds(10), || {
        let calls = daemon.json(&["calls"]);
        Some(
            calls["calls"][0]["id"]
                .as_str()
                .or(calls[0]["id"].as_str())?
                .to_owned(),
        )
    });
    wait_event(daemon, &id, "play", "back");
    call.press('5');
    id
}

fn timeline(daemon: &Daemon, id: &str) -> Vec<Value> {
    let detail = daemon.json(&["call", id]);
    detail["timeline"].as_array().cloned().expect("a timeline")
}

/// Waits until the timeline has such a line, and says when it was.
fn wait_event(daemon: &Daemon, id: &str, event: &str, detail: &str) -> u64 {
    wait_for(&format!("{event} {detail}"), seconds(40), || {
        let has = |line: &&Value| {
            let text = line["detail"].as_str().unwrap_or_default();
            line["event"] == event && text.contains(detail)
        };
        timeline(daemon, id).iter().find(has)?["ms"].as_u64()
    })
}

fn result(daemon: &Daemon, id: &str) -> Value {
    wait_for("the outcome", seconds(30), || {
        let detail = daemon.json(&["call", id]);
        detail["call"]["cause"].is_string().then_some(detail)
    })
}

#[test]
fn caller_and_person_hear_each_other_and_the_person_was_told_first() {
    let port = free_port();
    let daemon = daemon(port);
    let place = daemon.place();
    let said = person("demo-congrats")[..2 * 8_000].to_vec();
    let persons = [
        silence(700),
        person("hello"),
        silence(14_000),
        said.clone(),
        silence(20_000),
    ];
    let file = place.name("person.wav");
    Sound::mono(persons.concat()).write(std::path::Path::new(&file));
    let heard = place.name("heard.wav");
    let more = [
        "--play",
        &file,
        "--record",
        &heard,
        "--dtmf",
        "1@9",
        "--hangup-after",
        "19",
    ];
    let mut person_there = answering(&daemon, port, &more);
    std::thread::sleep(ms(500));
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    let briefed = wait_event(&daemon, &id, "play", "brief");
    let joined = wait_event(&daemon, &id, "joined", "");
    assert!(briefed < joined);
    // While the person was told, the caller heard music.
    let before = call.heard_samples();
    let waited = &before[before.len().saturating_sub(8_000 * 3)..before.len() - 4_000];
    assert!(
        level(waited) > SPEECH_DB,
        "{} dB while waiting",
        level(waited)
    );
    let question = person("vm-intro")[..2 * 8_000].to_vec();
    call.say(&question);
    call.wait_bye(seconds(40));
    assert!(
        person_there.finish(seconds(20)).success(),
        "{}",
        person_there.said()
    );
    let detail = result(&daemon, &id);
    assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
    let to_person = &Sound::read(std::path::Path::new(&heard)).channels[0];
    let (alike, _) = likeness(
        &question[2_000..12_000],
        to_person,
        to_person.len() - 10_000,
    );
    assert!(alike > 0.9, "the person heard the caller: {alike}");
    let to_caller = call.heard_samples();
    let (alike, _) = likeness(&said[2_000..12_000], &to_caller, to_caller.len() - 10_000);
    assert!(alike > 0.9, "the caller heard the person: {alike}");
    let lines = detail["timeline"].as_array().expect("a timeline");
    let playout = lines.iter().any(|line| {
        let text = line["detail"].as_str().unwrap_or_default();
        line["event"] == "media_closed" && text.contains("playout")
    });
    assert!(playout, "the playout is reported: {lines:#?}");
}

/// A recording, as the sound of whoever answers.
fn greeting(parts: &[&[i16]]) -> Vec<i16> {
    parts.concat()
}

/// Whoever or whatever is there, the caller is back and hears so; and it is named as
/// what it was, in the explanation and in the outcome that the upstream is told.
fn brings_back(arguments: &[&str], sound: Option<Vec<i16>>, came: &str, sign: &str) {
    brings_back_with(arguments, sound, (came, sign), |_, _| {});
}

/// The same, with what is done once it is answered there.
fn brings_back_with(
    arguments: &[&str],
    sound: Option<Vec<i16>>,
    (came, sign): (&str, &str),
    meanwhile: impl FnOnce(&Daemon, &str),
) {
    let (port, place) = (free_port(), Place::new());
    let sink = Sink::start(&place, SECRET, &[]);
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{port}")),
        ..Scene::with_sink(&sink)
    };
    let daemon = connect::daemon(&scene.text(), BRIDGE);
    let (file, record) = (
        daemon.place().name("sound.wav"),
        daemon.place().name("record.wav"),
    );
    let mut arguments = arguments.to_vec();
    if let Some(sound) = sound {
        Sound::mono(sound).write(std::path::Path::new(&file));
        arguments.extend(["--play", &file, "--record", &record]);
    }
    let mut there = answering(&daemon, port, &arguments);
    std::thread::sleep(ms(500));
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    meanwhile(&daemon, &id);
    let back = wait_event(&daemon, &id, "play", "nobody");
    let lines = timeline(&daemon, &id);
    let joins = lines.iter().filter(|line| line["event"] == "join").count();
    assert_eq!(joins, 0, "{lines:#?}");
    // A recording may still be listened to; the caller does not wait for it.
    let known = lines.iter().rfind(|line| {
        let event = line["event"].as_str().unwrap_or_default();
        let leg = line["detail"].as_str().unwrap_or_default();
        let told = matches!(event, "answer" | "answer_corrected" | "failed");
        event == "hang_up" || told && leg.starts_with("leg 1")
    });
    let known = known.and_then(|line| line["ms"].as_u64());
    assert!(
        known.is_some_and(|known| back < known + 1_000),
        "{lines:#?}"
    );
    wait_stage(&daemon, "waiting");
    // The other leg is let go of while the caller stays.
    wait_for("the other leg to end", seconds(25), || {
        let lines = timeline(&daemon, &id);
        let closed = |line: &Value| {
            let event = line["event"].as_str().unwrap_or_default();
            let detail = line["detail"].as_str().unwrap_or_default();
            event == "hang_up" || event == "failed" && detail.starts_with("leg 1")
        };
        lines.iter().any(closed).then_some(())
    });
    there.finish(seconds(10));
    call.hang_up();
    assert_ne!(result(&daemon, &id)["call"]["result"], "transferred");
    let explained = daemon.json(&["explain", &id]);
    let told = sink.wait_taken("outcome", 1, seconds(10));
    for persons in [&explained["persons"], &told[0]["data"]["persons"]] {
        assert_eq!(persons[0]["came"], came, "{persons:#}");
        let signs = persons[0]["signs"].as_array().expect("signs");
        let says = |it: &Value| it["what"].as_str().is_some_and(|it| it.starts_with(sign));
        assert!(signs.iter().any(says), "{sign}: {persons:#}");
    }
    let text = daemon.offhook(&["explain", &id]).out;
    assert!(
        text.contains(&format!("CALLED  closer  leg 1 by loopback: {came} after")),
        "{text}"
    );
}

fn wait_stage(daemon: &Daemon, wanted: &str) {
    wait_for(&format!("the stage {wanted}"), seconds(10), || {
        let calls = daemon.json(&["calls"]);
        let stage = calls["calls"][0]["stage"]
            .as_str()
            .or(calls[0]["stage"].as_str())?;
        (stage == wanted).then_some(())
    });
}

#[test]
fn a_busy_phone_brings_the_caller_back() {
    brings_back(&["--refuse", "486"], None, "busy", "busy");
}

#[test]
fn a_phone_that_nobody_answers_brings_the_caller_back() {
    brings_back(&["--after-ring", "20"], None, "no_answer", "ringing");
}

#[test]
fn a_voicemail_brings_the_caller_back() {
    let sound = greeting(&[
        &silence(400),
        &person("vm-theperson"),
        &person("digits/5"),
        &person("vm-isunavail"),
        &person("vm-intro"),
        &silence(300),
        &person("beep"),
        &silence(20_000),
    ]);
    brings_back(&[], Some(sound), "voicemail", "beep");
}

/// What a menu says, and then its quiet: samples.
fn menu(quiet: usize) -> Vec<i16> {
    greeting(&[
        &silence(300),
        &person("vm-opts"),
        &person("vm-press"),
        &person("digits/1"),
        &person("vm-for"),
        &silence(quiet),
    ])
}

#[test]
fn a_menu_brings_the_caller_back() {
    brings_back(&[], Some(menu(20_000)), "ivr", "greeting_end");
}

#[test]
fn a_menu_that_an_engine_understands_is_named_by_its_words() {
    use std::io::Write as _;
    let endless = greeting(&[&menu(800), &menu(800), &menu(800), &menu(800)]);
    brings_back_with(&[], Some(endless), ("ivr", "ivr 95 %"), |daemon, id| {
        let socket = daemon.place().file("engine.sock");
        let mut engine = std::os::unix::net::UnixStream::connect(socket).expect("it is open");
        wait_event(daemon, id, "answered", "leg 1");
        let said = serde_json::json!({
            "call": id, "leg": 1, "utterance": 1, "confidence": 90, "last": true,
            "text": "For new messages press one",
        });
        writeln!(engine, "{said}").expect("it listens");
        wait_event(daemon, id, "words", "press one");
    });
}

#[test]
fn a_fax_brings_the_caller_back() {
    // The called station's tone (ITU-T T.30 5.3.3): 2100 Hz for 3.3 s.
    let tone = (0..8_000 * 33 / 10).map(|at| {
        let phase = std::f64::consts::TAU * 2_100.0 * f64::from(at) / 8_000.0;
        (8_000.0 * phase.sin()) as i16
    });
    let sound = greeting(&[&silence(500), &tone.collect::<Vec<_>>(), &silence(20_000)]);
    brings_back(&[], Some(sound), "fax", "fax");
}

/// So many seconds of busy tone, 480 and 620 Hz by half seconds (ITU-T E.180 supplement 2,
/// North America), as packets of µ-law in 20 ms.
fn send_busy_tone(socket: &std::net::UdpSocket, to: std::net::SocketAddr, tone_s: u32) {
    use offhook_tests::sound::sine;
    let (low, high) = (sine(480.0, 4_000, 4_000.0), sine(620.0, 4_000, 4_000.0));
    let sound = low.iter().zip(&high).map(|(low, high)| low + high);
    let cycle: Vec<i16> = sound.chain(silence(500)).collect();
    let packets = cycle.chunks(160).cycle().take(50 * tone_s as usize);
    for (number, sound) in packets.enumerate() {
        let number = number as u32;
        let packet = Packet {
            kind: 0,
            marker: number == 0,
            sequence: number as u16,
            timestamp: number * 160,
            source: 7,
            payload: sound.iter().map(|it| Law::Mu.encode(*it)).collect(),
        };
        // It may be over before the tone is.
        let _ = socket.send_to(&packet.bytes(), to);
        std::thread::sleep(ms(20));
    }
}

/// Takes a call on the network's side: 183 with a busy tone, and no answer ever. Gives
/// the request that ends it.
fn busy_in_early_media(network: &Peer) -> String {
    let invited = |it: &Message| it.method() == "INVITE";
    let (invite, from) = network.expect("the INVITE", seconds(30), invited);
    let tone = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
    let rtp = tone.local_addr().expect("a bound socket").port();
    let early = invite.accept(network.address(), rtp);
    let early = early.replacen("SIP/2.0 200 OK", "SIP/2.0 183 Session Progress", 1);
    network.send(early.as_bytes(), from);
    let to = invite.audio().expect("an offer with an address");
    let sent = std::thread::spawn(move || send_busy_tone(&tone, to, 8));
    let ends = |it: &Message| matches!(it.method(), "CANCEL" | "BYE");
    let (end, from) = network.expect("the end of the call", seconds(20), ends);
    network.send(end.reply("200 OK").as_bytes(), from);
    let over = invite.answer("487 Request Terminated", "");
    network.send(over.as_bytes(), from);
    sent.join().expect("it only sends");
    end.method().to_owned()
}

#[test]
fn a_busy_tone_before_the_answer_is_busy_on_a_first_leg_and_on_a_second() {
    let network = Peer::new();
    let scene = Scene {
        proxy: Some(network.address().to_string()),
        ..Scene::default()
    };
    let daemon = connect::daemon(&scene.text(), BRIDGE);
    // A call of ours.
    let order = [
        "originate",
        "200",
        "--trunk",
        "loopback",
        "--playbook",
        "outreach",
    ];
    let ran = daemon.offhook(&[&order[..], &["--consent", "test"]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(busy_in_early_media(&network), "CANCEL");
    let id = daemon.json(&["calls"])[0]["id"].as_str().map(str::to_owned);
    let detail = result(&daemon, &id.expect("a call"));
    assert_eq!(detail["call"]["cause"], "busy", "{detail:#}");
    // A person who is called for a caller.
    let call = Peer::new().call("connect", daemon.sip());
    let id = wait_for("the caller's call", seconds(10), || {
        let calls = daemon.json(&["calls"]);
        let id = calls[0]["id"].as_str().map(str::to_owned);
        id.filter(|_| calls[0]["called"] == "connect")
    });
    wait_event(&daemon, &id, "play", "back");
    call.press('5');
    assert_eq!(busy_in_early_media(&network), "CANCEL");
    wait_event(&daemon, &id, "play", "nobody");
    call.hang_up();
    result(&daemon, &id);
    let persons = daemon.json(&["explain", &id])["persons"].clone();
    assert_eq!(persons[0]["came"], "busy", "{persons:#}");
}

/// A person who says hello and takes the call; what they hear goes into a file.
fn taking(daemon: &Daemon, port: u16) -> Running {
    let place = daemon.place();
    let (file, heard) = (place.name("person.wav"), place.name("heard.wav"));
    let sound = greeting(&[&silence(700), &person("hello"), &silence(60_000)]);
    Sound::mono(sound).write(std::path::Path::new(&file));
    let more = ["--play", &file, "--record", &heard, "--dtmf", "1@9"];
    let there = answering(daemon, port, &more);
    std::thread::sleep(ms(500));
    there
}

#[test]
fn a_caller_who_hangs_up_while_joined_ends_both_legs() {
    let (port, place) = (free_port(), Place::new());
    let sink = Sink::start(&place, SECRET, &[]);
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{port}")),
        ..Scene::with_sink(&sink)
    };
    // A minute of ours, and one of a person's.
    let text = scene.text() + "[budget]\nminute = 1\nperson = 100\n";
    let daemon = connect::daemon(&text, BRIDGE);
    let mut there = taking(&daemon, port);
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    wait_event(&daemon, &id, "joined", "");
    call.hang_up();
    assert!(there.finish(seconds(10)).success(), "{}", there.said());
    let detail = result(&daemon, &id);
    assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
    assert_eq!(daemon.json(&["status"])["calls"]["active"], 0);
    let told = sink.wait_taken("outcome", 1, seconds(10));
    let cost = told[0]["data"]["cost"].as_i64().expect("points");
    assert!((101..110).contains(&cost), "with a person: {cost}");
}

#[test]
fn a_caller_who_hangs_up_while_it_rings_there_takes_the_ringing_along() {
    let port = free_port();
    let daemon = daemon(port);
    let mut there = answering(&daemon, port, &["--after-ring", "20"]);
    std::thread::sleep(ms(500));
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    wait_event(&daemon, &id, "ringing", "leg 1");
    call.hang_up();
    // It does not wait for its twenty seconds.
    there.finish(seconds(10));
    let detail = result(&daemon, &id);
    assert_eq!(detail["call"]["result"], "abandoned", "{detail:#}");
}

/// The REFER that asks the caller's side to take our place with the person.
fn asked_to_take_over(call: &Call) -> (Message, std::net::SocketAddr) {
    let asked = call
        .peer()
        .expect("REFER", seconds(40), |it| it.method() == "REFER");
    let target = asked.0.header("Refer-To");
    assert!(
        target.contains("?Replaces=") && target.contains("%3Bto-tag%3D"),
        "{target}"
    );
    asked
}

fn report(call: &Call, sequence: u32, state: &str, status: &str) {
    let body = format!("SIP/2.0 {status}\r\n");
    let text = call.dialog_request("NOTIFY", sequence).replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    call.send_in_dialog(&text);
}

#[test]
fn the_callers_side_takes_our_place_with_a_person_who_was_told() {
    let port = free_port();
    let daemon = connecting(port, ATTENDED);
    let mut there = taking(&daemon, port);
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    let (asked, from) = asked_to_take_over(&call);
    let briefed = wait_event(&daemon, &id, "play", "brief");
    assert!(briefed < wait_event(&daemon, &id, "refer", "leg 1"));
    call.peer()
        .send(asked.reply("202 Accepted").as_bytes(), from);
    report(&call, 2, "active;expires=60", "100 Trying");
    report(&call, 3, "terminated;reason=noresource", "200 OK");
    call.wait_bye(seconds(5));
    assert!(there.finish(seconds(10)).success(), "{}", there.said());
    let detail = result(&daemon, &id);
    assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
}

#[test]
fn where_our_place_is_not_taken_they_are_joined_here_within_a_second() {
    for fails_late in [false, true] {
        let port = free_port();
        let daemon = connecting(port, ATTENDED);
        let mut there = taking(&daemon, port);
        let call = Peer::new().call("connect", daemon.sip());
        let id = ask(&daemon, &call);
        let (asked, from) = asked_to_take_over(&call);
        if fails_late {
            call.peer()
                .send(asked.reply("202 Accepted").as_bytes(), from);
            report(&call, 2, "terminated;reason=noresource", "486 Busy Here");
        } else {
            call.peer()
                .send(asked.reply("603 Decline").as_bytes(), from);
        }
        let known = wait_event(&daemon, &id, "transfer", "");
        let joined = wait_event(&daemon, &id, "joined", "");
        assert!(joined - known < 1_000, "{known} {joined}");
        call.in_dialog("BYE", 9);
        assert!(there.finish(seconds(10)).success(), "{}", there.said());
        let detail = result(&daemon, &id);
        assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
    }
}

#[test]
fn a_person_who_sends_the_caller_on_to_nobody_still_has_it() {
    for follows in [true, false] {
        let port = free_port();
        let scene = Scene {
            proxy: Some(format!("127.0.0.1:{port}")),
            ..Scene::default()
        };
        let trunk = format!("name = \"loopback\"\nfollows_refer = {follows}\n");
        let text = scene.text().replacen("name = \"loopback\"\n", &trunk, 1);
        let daemon = connect::daemon(&text, BRIDGE);
        let place = daemon.place();
        let (file, heard) = (place.name("person.wav"), place.name("heard.wav"));
        let sound = greeting(&[&silence(700), &person("hello"), &silence(60_000)]);
        Sound::mono(sound).write(std::path::Path::new(&file));
        let more = [
            "--play",
            &file,
            "--record",
            &heard,
            "--dtmf",
            "1@9",
            "--transfer",
            "300@13",
        ];
        let mut there = answering(&daemon, port, &more);
        std::thread::sleep(ms(500));
        let call = Peer::new().call("connect", daemon.sip());
        let id = ask(&daemon, &call);
        let joined = wait_event(&daemon, &id, "joined", "");
        // Their own telephone is what 300 rings: it is busy.
        let told = if follows {
            let asked = wait_event(&daemon, &id, "sends_on", "to 300");
            assert!(joined < asked);
            wait_event(&daemon, &id, "report_referral", "busy");
            "Failed(486"
        } else {
            "Refused(603"
        };
        wait_for("the outcome there", seconds(20), || {
            there
                .said()
                .replace("StatusCode(", "")
                .contains(told)
                .then_some(())
        });
        call.hang_up();
        assert!(there.finish(seconds(10)).success(), "{}", there.said());
        let detail = result(&daemon, &id);
        assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
    }
}

#[test]
fn a_person_who_has_asked_first_hands_their_call_over_to_the_caller() {
    let (switch, port) = (Peer::new(), free_port());
    let scene = Scene {
        proxy: Some(switch.address().to_string()),
        ..Scene::default()
    };
    let trunk = "name = \"loopback\"\nfollows_refer = true\n";
    let text = scene.text().replacen("name = \"loopback\"\n", trunk, 1);
    let daemon = connect::daemon(&text, BRIDGE);
    let file = daemon.place().name("person.wav");
    let sound = greeting(&[&silence(700), &person("hello"), &silence(60_000)]);
    Sound::mono(sound).write(std::path::Path::new(&file));
    let held = "sip:300@pbx.example?Replaces=7%40pbx%3Bto-tag%3Da%3Bfrom-tag%3Db@13";
    let more = ["--play", &file, "--dtmf", "1@9", "--transfer", held];
    let mut there = answering(&daemon, port, &more);
    std::thread::sleep(ms(500));
    let call = Peer::new().call("connect", daemon.sip());
    let id = ask(&daemon, &call);
    let invited = |user: &str| {
        let start = format!("INVITE sip:{user}@");
        switch.expect(user, seconds(40), |it| it.first.starts_with(&start))
    };
    let (invite, from) = invited("closer");
    let moved = format!("Contact: <sip:closer@127.0.0.1:{port}>\r\n");
    let moved = invite.answer("302 Moved Temporarily", &moved);
    switch.send(moved.as_bytes(), from);
    let joined = wait_event(&daemon, &id, "joined", "");
    let (invite, from) = invited("300");
    assert_eq!(invite.header("Replaces"), "7@pbx;to-tag=a;from-tag=b");
    assert_eq!(invite.header("Require"), "replaces");
    let third = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
    let rtp = third.local_addr().expect("a bound socket").port();
    switch.send(invite.accept(switch.address(), rtp).as_bytes(), from);
    switch.expect("the ACK", seconds(5), |it| it.method() == "ACK");
    assert!(joined < wait_event(&daemon, &id, "report_referral", "they talk"));
    assert!(there.finish(seconds(10)).success(), "{}", there.said());
    assert!(there.said().contains("Completed"), "{}", there.said());
    // What the caller says goes there now.
    call.say(&person("hello"));
    let mut packet = [0; 1_500];
    third.set_read_timeout(Some(seconds(5))).expect("a timeout");
    assert!(third.recv(&mut packet).expect("audio of the caller") > 12);
    call.hang_up();
    switch.expect("the BYE", seconds(10), |it| it.method() == "BYE");
    let detail = result(&daemon, &id);
    assert_eq!(detail["call"]["result"], "transferred", "{detail:#}");
}
