//! Calls in every codec, in the clear and encrypted, with our own telephone and with a
//! foreign one, to the echo test: what was said comes back.

use offhook_tests::baresip::Baresip;
use offhook_tests::daemon::Daemon;
use offhook_tests::patience::{ms, seconds, wait_for};
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

#[test]
fn our_telephone_is_heard_in_every_codec() {
    let daemon = Scene::default().start();
    // Opus keeps the sound, not the wave.
    for (codec, least) in [("pcma", 0.95), ("g722", 0.95), ("opus", 0.7)] {
        let alike = best_of_three(least, || {
            alike(&dial(&daemon, &["--codec", codec]).expect("an answer"))
        });
        assert!(alike > least, "{codec}: {alike}");
    }
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

#[test]
fn baresip_is_heard_in_g722_and_opus() {
    let speech = [said(), vec![0; 16_000]].concat();
    for (codec, up, channels, least) in [("G722/16000/1", 2, 1, 0.9), ("opus/48000/2", 6, 2, 0.6)] {
        let spoken = wider(&speech, up, channels);
        let alike = best_of_three(least, || {
            let daemon = Scene::default().start();
            alike(&echo_of_baresip(&daemon, &spoken, codec))
        });
        assert!(alike > least, "{codec}: {alike}");
    }
}

/// A daemon whose trunk encrypts like that.
fn encrypting(srtp: &str) -> Daemon {
    let text = Scene::default().text();
    let named = "name = \"loopback\"\n";
    assert!(text.contains(named));
    Daemon::start(&text.replace(named, &format!("{named}srtp = \"{srtp}\"\n")))
}

#[test]
fn encryption_is_off_preferred_or_required_as_the_trunk_says() {
    // In the clear, and encrypted or not at all.
    for (srtp, clear, encrypted) in [
        ("off", true, false),
        ("prefer", true, true),
        ("require", false, true),
    ] {
        let daemon = encrypting(srtp);
        for (more, wanted) in [(&["--codec", "pcma"][..], clear), (&["--srtp"], encrypted)] {
            let alike = best_of_three(0.95, || {
                let heard = dial(&daemon, more);
                assert_eq!(heard.is_some(), wanted, "srtp = {srtp}, {more:?}");
                heard.map_or(1.0, |heard| alike(&heard))
            });
            assert!(alike > 0.95, "srtp = {srtp}, {more:?}: {alike}");
        }
    }
}

#[test]
fn baresip_and_we_understand_each_other_encrypted() {
    let spoken = Sound::mono([said(), vec![0; 16_000]].concat());
    let account = "pcma/8000/1;mediaenc=srtp-mand";
    let alike = best_of_three(0.95, || {
        alike(&echo_of_baresip(&encrypting("require"), &spoken, account))
    });
    assert!(alike > 0.95, "{alike}");
}
