//! Whole conversations over the wire: prompt, barge-in, booking, refusal,
//! opt-out, voicemail; and what the upstream has of them.

use offhook_tests::baresip::Baresip;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for, watch};
use offhook_tests::peer::{Call, Peer};
use offhook_tests::place::{Place, free_port};
use offhook_tests::process::run;
use offhook_tests::scene::{SECRET, Scene};
use offhook_tests::sink::Sink;
use offhook_tests::sipp::Sipp;
use offhook_tests::skip::skip;
use offhook_tests::sound::{SPEECH_DB, Sound, level, likeness};
use offhook_tests::speech::{as_mu_law, person, silence, write_mu_law};
use offhook_tests::tap::{Tap, rtp_of};
use serde_json::{Value, json};

/// Samples in a packet of ours.
const PACKET: usize = 160;
/// Samples of 10 ms.
const FRAME: usize = 80;
/// A prompt that gives way fades out in 5 ms.
const FADE: usize = 40;

fn calls(daemon: &Daemon) -> Vec<Value> {
    let calls = daemon.json(&["calls"]);
    calls
        .as_array()
        .or(calls["calls"].as_array())
        .cloned()
        .expect("a list of calls")
}

/// The only call's id, once there is one.
fn the_call(daemon: &Daemon) -> String {
    wait_for("a call", seconds(10), || {
        Some(calls(daemon).first()?["id"].as_str()?.to_owned())
    })
}

fn timeline(daemon: &Daemon, id: &str) -> Vec<Value> {
    let detail = daemon.json(&["call", id]);
    detail["timeline"].as_array().cloned().expect("a timeline")
}

fn moment(timeline: &[Value], event: &str) -> Option<u64> {
    timeline.iter().find(|line| line["event"] == event)?["ms"].as_u64()
}

/// The call's detail once it is over and its outcome is kept.
fn ended(daemon: &Daemon, id: &str) -> Value {
    wait_for("the outcome of the call", seconds(60), || {
        // A call that was ordered a moment ago may not be in the books yet.
        let ran = daemon.offhook(&["call", id, "--json"]);
        let detail: Value = serde_json::from_str(&ran.out).ok()?;
        detail["call"]["cause"].is_string().then_some(detail)
    })
}

fn wait_event(daemon: &Daemon, id: &str, event: &str, limit: u64) -> u64 {
    wait_for(event, seconds(limit), || {
        moment(&timeline(daemon, id), event)
    })
}

/// Waits until the conversation is in a stage.
fn wait_stage(daemon: &Daemon, id: &str, stage: &str) {
    wait_for(&format!("stage {stage}"), seconds(30), || {
        let call = calls(daemon).into_iter().find(|call| call["id"] == *id)?;
        (call["stage"] == stage).then_some(())
    });
}

/// Presses 1 (Tuesday) and 1 (yes); the booking is durable when this returns.
fn book(daemon: &Daemon, call: &Call) -> String {
    let id = the_call(daemon);
    wait_event(daemon, &id, "play", 10);
    call.press('1');
    wait_stage(daemon, &id, "confirm");
    call.press('1');
    wait_event(daemon, &id, "durable", 10);
    id
}

#[test]
fn a_booking_is_durable_before_it_is_confirmed_and_delivered_once() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = Scene::with_sink(&sink).start_in(place);
    let call = Peer::new().call("booking", daemon.sip());
    let id = book(&daemon, &call);
    wait_stage(&daemon, &id, "booked");
    call.hang_up();
    let detail = ended(&daemon, &id);
    assert_eq!(detail["call"]["result"], "booked");
    let lines = detail["timeline"].as_array().expect("a timeline");
    let durable = moment(lines, "durable").expect("durable");
    let confirmed = lines.iter().find(|line| {
        line["event"] == "play"
            && line["detail"]
                .as_str()
                .is_some_and(|d| d.contains("booked"))
    });
    let confirmed = confirmed.expect("the booking is confirmed")["ms"]
        .as_u64()
        .expect("a time");
    assert!(
        durable <= confirmed,
        "durable at {durable}, confirmed at {confirmed}"
    );
    sink.wait_taken("schedule", 1, seconds(15));
    std::thread::sleep(ms(1500));
    let taken = sink.taken_of(&id);
    assert_eq!(
        taken
            .iter()
            .filter(|line| line["type"]
                .as_str()
                .is_some_and(|t| t.contains("schedule")))
            .count(),
        1
    );
    assert_eq!(taken.len(), 2, "the booking and one outcome: {taken:#?}");
    assert!(
        sink.deliveries()
            .iter()
            .all(|line| line["verified"] == true)
    );
}

#[test]
fn what_policy_refuses_is_said_and_explained() {
    let daemon = Scene::default().start();
    let call = Peer::new().call("booking", daemon.sip());
    let id = book(&daemon, &call);
    wait_stage(&daemon, &id, "booked");
    call.press('9');
    wait_event(&daemon, &id, "refused", 20);
    call.wait_bye(seconds(30));
    let explained = daemon.json(&["explain", &id]);
    let decisions = explained["decisions"].as_array().expect("decisions");
    let refused = decisions
        .iter()
        .find(|d| d["verdict"] == "refused" && d["external"] == true);
    let refused = refused.unwrap_or_else(|| panic!("nothing refused in {explained:#}"));
    assert_eq!(refused["kind"], "take_payment");
    assert_eq!(refused["rules"][0]["id"], "role.authority");
    let spoken = daemon.offhook(&["explain", &id]);
    assert!(spoken.out.contains("role.authority"), "{}", spoken.out);
}

#[test]
fn an_opt_out_is_honoured_and_delivered_without_being_held() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let daemon = Scene::with_sink(&sink).start_in(place);
    let call = Peer::new().call("booking", daemon.sip());
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "play", 10);
    call.press('8');
    sink.wait_taken("opt_out", 1, seconds(10));
    call.wait_bye(seconds(30));
    assert_eq!(ended(&daemon, &id)["call"]["result"], "opted_out");
}

#[test]
fn a_denial_in_time_withdraws_the_booking_and_nothing_is_sent() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &[]);
    let mut daemon = Scene::with_sink(&sink).start_in(place);
    let call = Peer::new().call("booking", daemon.sip());
    let id = book(&daemon, &call);
    call.press('2');
    wait_event(&daemon, &id, "withdrawn", 10);
    call.hang_up();
    ended(&daemon, &id);
    wait_for("the outcome at the sink", seconds(10), || {
        (!sink.taken_of(&id).is_empty()).then_some(())
    });
    std::thread::sleep(ms(4000));
    let taken = sink.taken_of(&id);
    assert_eq!(taken.len(), 1, "the outcome alone: {taken:#?}");
    // What speaks for and against letting it act is known after a restart too.
    let evidence = |daemon: &Daemon| daemon.json(&["autonomy"])["evidence"].clone();
    let before = evidence(&daemon);
    let ours = &before[0];
    assert_eq!(
        (&ours["action"], &ours["taken_back"]),
        (&json!("schedule"), &json!(1))
    );
    daemon.kill();
    daemon.restart();
    assert_eq!(evidence(&daemon), before);
}

#[test]
fn the_upstream_may_fail_and_gets_the_same_id_again() {
    let place = Place::new();
    let sink = Sink::start(&place, SECRET, &["--fail", "2"]);
    let daemon = Scene::with_sink(&sink).start_in(place);
    let call = Peer::new().call("booking", daemon.sip());
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "play", 10);
    call.press('8');
    let taken = sink.wait_taken("opt_out", 1, seconds(60));
    let event = taken[0]["id"].as_str().expect("an id");
    let tries = sink.deliveries();
    assert!(
        tries.iter().filter(|line| line["id"] == event).count() >= 2,
        "{tries:#?}"
    );
}

#[test]
fn our_prompt_stops_within_fifteen_packets_of_the_callers_first() {
    let daemon = Scene::default().start();
    let (quiet, speech) = (
        silence(3000),
        [person("hello"), person("pbx-invalid")].concat(),
    );
    let path = daemon.place().file("caller.wav");
    Sound::mono([quiet, speech, silence(3000)].concat()).write(&path);
    let Some(tap) = Tap::start(daemon.place()) else {
        return;
    };
    let baresip = Baresip::start(daemon.place(), &path, "pcmu/8000/1");
    baresip.order("dial", &daemon.uri("booking"));
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "barge_in", 20);
    std::thread::sleep(ms(2500));
    baresip.order("hangup", "");
    ended(&daemon, &id);
    let seen = rtp_of(&tap.stop());
    let ports = daemon.audio_ports();
    let sent_to_us = |to: u16| ports.contains(&to);
    let onset = seen
        .iter()
        .position(|p| sent_to_us(p.to.port()) && p.level() > SPEECH_DB)
        .expect("the caller speaks");
    let ours = seen[onset].to;
    let until = seen[onset].at_us + 2_000_000;
    let after = seen[onset..]
        .iter()
        .filter(|p| p.from == ours && p.at_us < until);
    let after: Vec<_> = after.collect();
    let last = after
        .iter()
        .rposition(|p| p.level() > SPEECH_DB)
        .map_or(0, |last| last + 1);
    assert!(
        after.len() > 50,
        "RTP never stops: {} packets in 2 s",
        after.len()
    );
    assert!(
        last <= 15,
        "{last} packets of prompt after the caller's first speech packet"
    );
    println!("prompt packets after the caller's first speech packet: {last}");
}

#[test]
fn a_prompt_is_heard_by_baresip_as_it_is_spoken() {
    let daemon = Scene::default().start();
    let path = daemon.place().file("caller.wav");
    Sound::mono(silence(5000)).write(&path);
    let baresip = Baresip::start(daemon.place(), &path, "pcma/8000/1");
    baresip.order("dial", &daemon.uri("booking"));
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "play", 10);
    let detail = ended(&daemon, &id);
    let tape = Sound::read(std::path::Path::new(
        detail["recording"]["file"].as_str().expect("a recording"),
    ));
    let spoken = tape.channels[1]
        .chunks(PACKET)
        .filter(|packet| level(packet) > SPEECH_DB)
        .count();
    assert!(spoken > 100, "{spoken} packets of prompt in the recording");
}

#[test]
fn sipps_own_key_capture_chooses_a_slot() {
    let daemon = Scene::default().start();
    let scenario = Sipp::scenario("key", daemon.sip(), daemon.place());
    let mut sipp = scenario
        .calls("booking")
        .with(&["-d", "2500"])
        .start(&daemon.place().file("sipp.log"));
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "dtmf", 20);
    wait_stage(&daemon, &id, "confirm");
    assert!(sipp.finish(seconds(30)).success(), "{}", sipp.said());
    let lines = timeline(&daemon, &id);
    let keys = lines.iter().filter(|line| line["event"] == "dtmf").count();
    assert_eq!(keys, 1, "one key, pressed once");
}

#[test]
fn a_key_without_a_marker_bit_is_one_key() {
    let daemon = Scene::default().start();
    let call = Peer::new().call("booking", daemon.sip());
    call.forget_markers();
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "play", 10);
    call.press('1');
    wait_stage(&daemon, &id, "confirm");
    std::thread::sleep(ms(500));
    let lines = timeline(&daemon, &id);
    assert_eq!(
        lines.iter().filter(|line| line["event"] == "dtmf").count(),
        1
    );
    call.hang_up();
}

#[test]
fn a_recording_is_as_long_as_the_call_and_repeats_its_events_offline() {
    let daemon = Scene::default().start();
    let speech = [
        silence(2500),
        person("hello"),
        person("pbx-invalid"),
        silence(1500),
    ]
    .concat();
    write_mu_law(&speech, &daemon.place().file("speech.ul"));
    let scenario = Sipp::scenario("speech", daemon.sip(), daemon.place());
    let length = (speech.len() / 8).to_string();
    let mut sipp = scenario
        .calls("booking")
        .with(&["-d", &length])
        .start(&daemon.place().file("sipp.log"));
    let id = the_call(&daemon);
    assert!(sipp.finish(seconds(40)).success(), "{}", sipp.said());
    let detail = ended(&daemon, &id);
    let lines = detail["timeline"].as_array().expect("a timeline");
    let file = detail["recording"]["file"].as_str().expect("a recording");
    let talked =
        moment(lines, "ended").expect("an end") - moment(lines, "answered").expect("an answer");
    let difference = |tape: &Sound| tape.seconds() * 1000.0 - talked as f64;
    // The recorder writes behind the call.
    let whole = watch(seconds(5), || {
        let tape = Sound::read(std::path::Path::new(file));
        (difference(&tape).abs() <= 40.0).then_some(tape)
    });
    let tape = whole.unwrap_or_else(|| Sound::read(std::path::Path::new(file)));
    let difference = difference(&tape);
    assert!(
        difference.abs() <= 40.0,
        "the recording differs from the call by {difference} ms"
    );
    repeats_offline(&daemon, &detail, &tape);
}

/// Milliseconds of each event of that name.
fn moments(timeline: &[Value], event: &str) -> Vec<u64> {
    let named = timeline.iter().filter(|line| line["event"] == event);
    named.filter_map(|line| line["ms"].as_u64()).collect()
}

/// Our own prompt, coming back by the wire, does not interrupt itself; a caller over
/// it does, within a quarter of a second.
#[test]
fn a_prompt_is_not_interrupted_by_its_echo_but_by_a_caller_over_it() {
    let daemon = Scene::default().start();
    let listener = Peer::new().call("booking", daemon.sip());
    let first = the_call(&daemon);
    wait_event(&daemon, &first, "played", 60);
    listener.hang_up();
    let (_, whole) = tape(&daemon, &first);

    let call = Peer::new().call("booking", daemon.sip());
    call.return_echo(60, 0.25);
    let id = wait_for("the second call", seconds(10), || {
        let ids = calls(&daemon).into_iter();
        let mut ids = ids.filter_map(|call| Some(call["id"].as_str()?.to_owned()));
        ids.find(|id| *id != first)
    });
    wait_event(&daemon, &id, "play", 20);
    std::thread::sleep(ms(3000));
    let alone = timeline(&daemon, &id);
    assert!(moments(&alone, "barge_in").is_empty(), "{alone:#?}");
    let said = trimmed(&[person("hello"), person("pbx-invalid")].concat());
    call.say(&said);
    let heard = wait_event(&daemon, &id, "barge_in", 20);
    std::thread::sleep(ms(1500));
    call.hang_up();
    let (starts, tape) = tape(&daemon, &id);
    let barge_in = (heard - starts) as usize * 8;
    let taken = samples_to_silence(&tape, &whole, barge_in, &said);
    println!("{taken} samples from the caller's first to our silence");
    assert!(taken <= HEARD_WITHIN, "{taken} samples");
}

/// A caller over our prompt is heard within a quarter of a second; one packet of ours may
/// be on its way.
const HEARD_WITHIN: usize = 250 * 8 + PACKET;

/// The tape of a call that is over, and when in the call it began, ms.
fn tape(daemon: &Daemon, id: &str) -> (u64, Sound) {
    let detail = ended(daemon, id);
    let recording = &detail["recording"];
    let file = recording["file"].as_str().expect("a recording");
    let starts = recording["starts_ms"].as_f64().expect("where it starts") as u64;
    (starts, Sound::read(std::path::Path::new(file)))
}

/// From the caller's first sample in the near track, found about where a barge-in was
/// heard, to the first of the far track that is not as the whole prompt goes on. Both
/// tracks have one clock, that of the caller's packets: how busy the machine is does not
/// matter.
fn samples_to_silence(tape: &Sound, whole: &Sound, barge_in: usize, said: &[i16]) -> usize {
    /// The caller is looked for so far on either side, by so much of what they said; the
    /// place in the prompt by so much of what we said before.
    const REACH: usize = 8_000;
    const TOLD_BY: usize = 6_000;
    const BEFORE: usize = 4_000;
    let [near, far, whole] = [&tape.channels[0], &tape.channels[1], &whole.channels[1]];
    let from = barge_in - REACH;
    let (alike, shift) = likeness(&as_mu_law(&said[..TOLD_BY]), &near[from..], 2 * REACH);
    assert!(alike > 0.6, "the caller is not on the tape: {alike}");
    let onset = from + shift;
    let echo = level(&near[onset - BEFORE..onset]);
    assert!(echo > SPEECH_DB, "no echo came back: {echo} dB");
    let reach = whole.len() - BEFORE;
    let (alike, place) = likeness(&far[onset - BEFORE..onset], whole, reach);
    assert!(alike > 0.99, "another prompt: {alike}");
    let rest = &whole[place + BEFORE..];
    let same = |pair: &(&i16, &i16)| pair.0 == pair.1;
    let went_on = far[onset..].iter().zip(rest).take_while(same).count();
    assert!(went_on < rest.len(), "the prompt was over");
    went_on + FADE
}

/// Without the silence before and after.
fn trimmed(sound: &[i16]) -> Vec<i16> {
    let speaks = |frame: &[i16]| level(frame) > SPEECH_DB;
    let first = sound.chunks(FRAME).position(speaks).expect("speech");
    let last = sound.chunks(FRAME).rposition(speaks).expect("speech");
    sound[first * FRAME..sound.len().min((last + 1) * FRAME)].to_vec()
}

/// No recogniser listens: the reply waits until the ear says that the turn is over, which
/// is later than words would have had to come.
#[test]
fn a_caller_without_words_is_answered_when_their_turn_is_over() {
    let daemon = Scene::default().start();
    let told = daemon.offhook_running(&["tail", "--json"], "tail.log");
    let call = Peer::new().call("booking", daemon.sip());
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "play", 20);
    call.say(&trimmed(&person("vm-theperson")));
    let of_turns = |event: &String| ["speech_end", "turn_end", "play"].contains(&&**event);
    let happened = || {
        let said = told.said();
        let line = |line: &str| serde_json::from_str::<Value>(line).ok();
        let event = |line: Value| line["event"].as_str().map(str::to_owned);
        let events = said.lines().filter_map(line).filter_map(event);
        let since = events.skip_while(|event| event != "barge_in");
        since.filter(of_turns).collect::<Vec<_>>()
    };
    let happened = wait_for("the reply", seconds(20), || {
        let events = happened();
        events.contains(&"play".to_owned()).then_some(events)
    });
    call.hang_up();
    assert_eq!(happened, ["speech_end", "turn_end", "play"]);
}

/// `offhook analyze` on the two tracks hears what the live ear heard, to the packet:
/// those that come late on a busy machine are heard in the next two.
fn repeats_offline(daemon: &Daemon, detail: &Value, tape: &Sound) {
    let (near, far) = (
        daemon.place().file("near.wav"),
        daemon.place().file("far.wav"),
    );
    Sound::mono(tape.channels[0].clone()).write(&near);
    Sound::mono(tape.channels[1].clone()).write(&far);
    let name = |path: &std::path::Path| path.display().to_string();
    let offline = daemon.json_lines(&[
        "analyze",
        &name(&near),
        "--far",
        &name(&far),
        "--answered-at",
        "0",
    ]);
    let starts = detail["recording"]["starts_ms"]
        .as_f64()
        .expect("where it starts");
    for name in ["speech_start", "barge_in", "speech_end"] {
        let lines = detail["timeline"].as_array().expect("a timeline").iter();
        let live = lines.filter(|line| line["event"] == name);
        let live: Vec<_> = live
            .map(|line| line["ms"].as_f64().expect("a time") - starts)
            .collect();
        let again = offline.iter().filter(|line| line["event"] == name);
        let began = |line: &Value| line["start"].as_f64().or(line["end"].as_f64());
        let again: Vec<_> = again
            .map(|line| began(line).expect("a time") * 1000.0)
            .collect();
        assert!(!live.is_empty(), "{name} was heard");
        assert_eq!(
            live.len(),
            again.len(),
            "{name}: live {live:?}, offline {again:?}"
        );
        for (live, again) in live.iter().zip(&again) {
            assert!(
                (live - again).abs() <= 41.0,
                "{name}: live {live} ms, offline {again} ms"
            );
        }
    }
}

/// A voicemail's greeting ending in its beep, and the sample after the beep.
fn voicemail(place: &Place) -> (String, usize) {
    let parts = ["vm-theperson", "vm-isunavail", "vm-intro"]
        .map(person)
        .concat();
    let greeting = [silence(400), parts, silence(300), person("beep")].concat();
    let end = greeting.len();
    let path = place.file("voicemail.wav");
    Sound::mono([greeting, silence(20_000)].concat()).write(&path);
    (path.display().to_string(), end)
}

#[test]
fn a_message_is_left_after_the_beep_of_a_voicemail() {
    let place = Place::new();
    let port = free_port();
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{port}")),
        ..Scene::default()
    };
    let (greeting, beep_end) = voicemail(&place);
    let daemon = scene.start_in(place);
    let heard = daemon.place().name("heard.wav");
    let listen = format!("127.0.0.1:{port}");
    let _answering = daemon.offhook_running(
        &[
            "answer", "--listen", &listen, "--play", &greeting, "--record", &heard,
        ],
        "answer.log",
    );
    std::thread::sleep(ms(500));
    let placed = daemon.json(&["originate", "5550100"]);
    let id = placed["id"].as_str().expect("an id");
    let detail = ended(&daemon, id);
    assert_eq!(detail["call"]["result"], "message_left", "{detail:#}");
    let sound = wait_for("what the voicemail recorded", seconds(15), || {
        std::path::Path::new(&heard)
            .is_file()
            .then(|| Sound::read(std::path::Path::new(&heard)))
    });
    let packets: Vec<_> = sound.channels[0]
        .chunks(PACKET)
        .map(|packet| level(packet) > SPEECH_DB)
        .collect();
    let first = packets
        .iter()
        .position(|speaks| *speaks)
        .expect("a message was left");
    let spoken = packets.iter().filter(|speaks| **speaks).count();
    assert!(
        first * PACKET + PACKET >= beep_end,
        "we spoke at sample {}, the beep ended at {beep_end}",
        first * PACKET
    );
    assert!(spoken > 100, "{spoken} packets of message");
}

#[test]
fn when_the_store_is_full_the_caller_is_told_so_and_nothing_is_promised() {
    let place = Place::new();
    let disk = place.file("disk");
    std::fs::create_dir(&disk).expect("the test's directory can be written");
    let mount = run(
        "mount",
        [
            "-t",
            "tmpfs",
            "-o",
            "size=4m",
            "tmpfs",
            disk.to_str().expect("a plain path"),
        ],
    );
    if mount.code != 0 {
        return skip("a full disk cannot be made: mount is not allowed");
    }
    let scene = Scene {
        store: "disk/offhook.db".to_owned(),
        ..Scene::default()
    };
    let daemon = scene.start_in(place);
    let told = daemon.offhook_running(&["tail", "--json"], "tail.log");
    let call = Peer::new().call("booking", daemon.sip());
    let id = the_call(&daemon);
    wait_event(&daemon, &id, "play", 10);
    call.press('1');
    wait_stage(&daemon, &id, "confirm");
    // Writes until the disk is full; that it then fails is the point.
    let _ = std::fs::write(disk.join("ballast"), vec![1; 8 << 20]);
    call.press('1');
    // The books cannot grow any more, so this is seen live: refused, if the failure
    // was known when the caller said yes, else taken back.
    told.wait_said("say not_", seconds(20));
    call.wait_bye(seconds(30));
    let said = told.said();
    assert!(
        said.contains("store_failed") || said.contains("[store.working]"),
        "{said}"
    );
    assert!(!told.said().contains("passed on"), "{}", told.said());
    assert!(!told.said().contains(": booked"), "{}", told.said());
    drop((call, told, daemon));
    run("umount", ["-l", disk.to_str().expect("a plain path")]);
}
