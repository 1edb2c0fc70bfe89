//! Calls in every codec, in the clear and encrypted, with our own telephone and with a
//! foreign one, to the echo test: what was said comes back.

use offhook_tests::baresip::Baresip;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
use offhook_tests::peer::Peer;
use offhook_tests::place::{Place, free_port};
use offhook_tests::scene::Scene;
use offhook_tests::sound::{SPEECH_DB, Sound, best_of_three, level, likeness};
use offhook_tests::speech::person;

fn said() -> Vec<i16> {
    person("demo-congrats")[..3 * 8_000].to_vec()
}

/// How alike what came back is to what was said.
fn alike(heard: &[i16]) -> f64 {
    let reach = heard.len().saturating_sub(12_000);
    likeness(&said()[4_000..16_000], heard, reach).0
}

/// `offhook dial` to the echo; what it heard, or nothing if there was no call.
fn dial(daemon: &Daemon, more: &[&str]) -> Option<Vec<i16>> {
    let (file, heard) = (
        daemon.place().name("said.wav"),
        daemon.place().name("heard.wav"),
    );
    Sound::mono(said()).write(std::path::Path::new(&file));
    let uri = daemon.uri("echo");
    let mut arguments = vec!["dial", &uri, "--play", &file, "--record", &heard];
    arguments.extend(["--hangup-after", "5"]);
    arguments.extend(more);
    let ran = daemon.offhook(&arguments);
    (ran.code == 0).then(|| Sound::read(std::path::Path::new(&heard)).channels[0].clone())
}

/// Our own telephone in one codec.
fn ours(codec: &str, least: f64) {
    let daemon = Scene::default().start();
    let alike = best_of_three(least, || {
        alike(&dial(&daemon, &["--codec", codec]).expect("an answer"))
    });
    assert!(alike > least, "{alike}");
}

#[test]
fn our_telephone_is_heard_in_a_law() {
    ours("pcma", 0.95);
}

#[test]
fn our_telephone_is_heard_in_g722() {
    ours("g722", 0.95);
}

/// Opus keeps the sound, not the wave.
#[test]
fn our_telephone_is_heard_in_opus() {
    ours("opus", 0.7);
}

/// Samples again, `up` times as many, for each of the channels.
fn wider(samples: &[i16], up: usize, channels: usize) -> Sound {
    let one: Vec<i16> = samples
        .windows(2)
        .flat_map(|pair| {
            let [a, b] = [pair[0], pair[1]].map(i32::from);
            (0..up as i32).map(move |step| (a + (b - a) * step / up as i32) as i16)
        })
        .collect();
    Sound {
        rate: 8_000 * up as u32,
        channels: vec![one; channels],
    }
}

/// What baresip hears of the echo, in narrow band.
fn echo_of_baresip(daemon: &Daemon, spoken: &Sound, account: &str) -> Vec<i16> {
    let path = daemon.place().file("speech.wav");
    spoken.write(&path);
    let baresip = Baresip::start(daemon.place(), &path, account);
    baresip.order("dial", &daemon.uri("echo"));
    std::thread::sleep(ms(6_000));
    baresip.order("hangup", "");
    let heard = wait_for("what baresip heard", seconds(10), || {
        let files = baresip.heard();
        let file = files
            .iter()
            .find(|file| file.to_string_lossy().contains("dec"))?;
        let sound = Sound::read(file);
        (sound.seconds() > 3.0).then_some(sound)
    });
    let step = (heard.rate / 8_000) as usize;
    let narrow: Vec<i16> = heard.channels[0].iter().copied().step_by(step).collect();
    assert!(level(&narrow) > SPEECH_DB, "{account}: {}", level(&narrow));
    narrow
}

/// baresip in one codec, to a daemon whose trunk encrypts like that.
fn baresip(spoken: &Sound, account: &str, srtp: &str, least: f64) {
    let alike = best_of_three(least, || {
        alike(&echo_of_baresip(&encrypting(srtp), spoken, account))
    });
    assert!(alike > least, "{alike}");
}

/// What baresip says, with time for its echo.
fn spoken() -> Vec<i16> {
    [said(), vec![0; 16_000]].concat()
}

#[test]
fn baresip_is_heard_in_g722() {
    baresip(&wider(&spoken(), 2, 1), "G722/16000/1", "off", 0.9);
}

#[test]
fn baresip_is_heard_in_opus() {
    baresip(&wider(&spoken(), 6, 2), "opus/48000/2", "off", 0.6);
}

/// Whoever calls is connected with a person who says hello.
const BRIDGE: &str = r#"
name = "bridge"
language = "en-US"
start = "connect"

[prompts]
hold_music = "(music)"
brief = "A caller."
nobody = "Nobody is there."

[[stage]]
name = "connect"
role = "transfer"
transfer = { to = "probe", ring_ms = 8000, hold = ["hold_music"], brief = ["brief"] }

[[stage.on]]
when = ["transferred"]
go = "with_a_person"

[[stage.on]]
when = ["transfer_failed"]
say = ["nobody"]
go = "over"

[[stage]]
name = "with_a_person"
role = "transfer"
handed_over = true

[[stage]]
name = "over"
role = "transfer"
say = ["nobody"]
end = true
"#;

/// 5 kHz at this rate, for each of the channels.
fn high_tone(rate: u32, seconds: u32, channels: usize) -> Sound {
    let step = 5_000.0 * std::f64::consts::TAU / f64::from(rate);
    let tone = (0..rate * seconds).map(|at| ((step * f64::from(at)).sin() * 6_000.0) as i16);
    Sound {
        rate,
        channels: vec![tone.collect(); channels],
    }
}

#[test]
fn baresip_in_g722_and_baresip_in_opus_hear_each_other_above_4_khz() {
    let (caller_place, person_place, place) = (Place::new(), Place::new(), Place::new());
    // Opus says hello, waits until it has the call, and then sounds as well.
    let hello = wider(
        &[vec![0; 5_600], person("hello"), vec![0; 8_000 * 8]].concat(),
        6,
        2,
    );
    let mut spoken = high_tone(48_000, 30, 2);
    for (tone, hello) in spoken.channels.iter_mut().zip(hello.channels) {
        tone.splice(0..0, hello);
    }
    let (file, caller_file) = (person_place.file("said.wav"), caller_place.file("said.wav"));
    spoken.write(&file);
    high_tone(16_000, 40, 1).write(&caller_file);
    let other = Baresip::start(&person_place, &file, "opus/48000/2");
    std::fs::create_dir(place.file("books")).expect("a directory of the test");
    place.write("books/bridge.toml", BRIDGE);
    let scene = Scene {
        proxy: Some(format!("127.0.0.1:{}", other.port())),
        ..Scene::default()
    };
    let text = format!(
        "playbooks = \"{{dir}}/books\"\n{}[[route]]\ncalled = \"bridge\"\nplaybook = \"bridge\"\n",
        scene.text()
    );
    let daemon = Daemon::start_in(place, &text);
    let one = Baresip::start(&caller_place, &caller_file, "G722/16000/1");
    one.order("dial", &daemon.uri("bridge"));
    let id = wait_for("the two to be joined", seconds(30), || {
        let id = daemon.json(&["calls"])[0]["id"].as_str()?.to_owned();
        let lines = daemon.json(&["call", &id])["timeline"].clone();
        let lines = lines.as_array()?.clone();
        lines
            .iter()
            .any(|line| line["event"] == "joined")
            .then_some(id)
    });
    std::thread::sleep(ms(9_000));
    one.order("hangup", "");
    for (baresip, rate) in [(&one, 16_000), (&other, 48_000)] {
        let purity = wait_for("a recording of baresip's", seconds(10), || {
            let sound = Sound::read(baresip.heard().first()?);
            assert_eq!(sound.rate, rate);
            let heard = &sound.channels[0];
            let last = heard.get(heard.len().checked_sub(2 * rate as usize)?..)?;
            Some(offhook_tests::sound::purity(
                &last[..rate as usize],
                5_000.0,
                rate.into(),
            ))
        });
        assert!(purity > 0.8, "at {rate} Hz: {purity}");
    }
    // What the ear heard of it is on tape, at 8 kHz.
    let tape = daemon.place().file(&format!("recordings/{id}.wav"));
    let tape = wait_for("the recording", seconds(10), || {
        tape.exists().then(|| Sound::read(&tape))
    });
    assert_eq!(tape.rate, 8_000);
}

/// A daemon whose trunk encrypts like that.
fn encrypting(srtp: &str) -> Daemon {
    let text = Scene::default().text();
    let named = "name = \"loopback\"\n";
    assert!(text.contains(named));
    Daemon::start(&text.replace(named, &format!("{named}srtp = \"{srtp}\"\n")))
}

const CLEAR: &[&str] = &["--codec", "pcma"];
const ENCRYPTED: &[&str] = &["--srtp"];

/// A caller of that kind is understood where the trunk encrypts like that.
fn understood(srtp: &str, caller: &[&str]) {
    let daemon = encrypting(srtp);
    let alike = best_of_three(0.95, || alike(&dial(&daemon, caller).expect("an answer")));
    assert!(alike > 0.95, "{alike}");
}

fn refused(srtp: &str, caller: &[&str]) {
    assert_eq!(dial(&encrypting(srtp), caller), None);
}

#[test]
fn without_srtp_a_caller_in_the_clear_is_understood() {
    understood("off", CLEAR);
}

#[test]
fn without_srtp_a_caller_who_encrypts_is_refused() {
    refused("off", ENCRYPTED);
}

#[test]
fn with_srtp_preferred_a_caller_in_the_clear_is_understood() {
    understood("prefer", CLEAR);
}

#[test]
fn with_srtp_preferred_a_caller_who_encrypts_is_understood() {
    understood("prefer", ENCRYPTED);
}

#[test]
fn with_srtp_required_a_caller_in_the_clear_is_refused() {
    refused("require", CLEAR);
}

#[test]
fn with_srtp_required_a_caller_who_encrypts_is_understood() {
    understood("require", ENCRYPTED);
}

#[test]
fn a_caller_in_the_clear_is_told_that_srtp_is_required_and_so_is_whoever_asks_us() {
    let daemon = encrypting("require");
    let (_, answer) = Peer::new().invite("echo", daemon.sip(), free_port());
    assert_eq!(answer.status(), 488, "{answer:?}");
    let why = "SDP has no a=crypto, and SRTP is required";
    assert_eq!(answer.header("Warning"), format!("399 offhook \"{why}\""));
    for verb in ["call", "explain"] {
        wait_for(&format!("offhook {verb}"), seconds(10), || {
            let told = daemon.offhook(&[verb, "last"]).out;
            (told.contains("sdp_refused") && told.contains(why)).then_some(())
        });
    }
}

#[test]
fn baresip_and_we_understand_each_other_encrypted() {
    let account = "pcma/8000/1;mediaenc=srtp-mand";
    baresip(&Sound::mono(spoken()), account, "require", 0.95);
}
