//! One recording, said into one box through weather: what the box heard, and what it
//! passed on to a second leg. The same for Offhook, Asterisk and baresip, each on a
//! lane of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::asterisk::{self, Asterisk};
use crate::baresip::Baresip;
use crate::connect;
use crate::daemon::Daemon;
use crate::lane::{FAR, Lane, NEAR};
use crate::patience::{ms, seconds, wait_for};
use crate::peer::{Call, Peer};
use crate::place::Place;
use crate::process::{Running, built, has, hurry};
use crate::scene::Scene;
use crate::sound::Sound;
use crate::speech::{person, silence};
use crate::weather::Weather;

/// The person's port on the second leg.
const PERSON: u16 = 5_090;
/// Ports of a box on a lane: nobody else is there.
const BOX: u16 = 5_060;

/// On 5 a person is fetched, who takes the call with 1.
const TRANSFER: &str =
    r#"to = "closer", ring_ms = 4000, hold = ["hold_music"], brief = ["brief"], accept = ["1"]"#;

/// A recording and how it is sent.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What is said, 8 kHz.
    pub clean: Vec<i16>,
    /// How often; what was heard of the last time counts.
    pub times: u32,
    /// What it goes through.
    pub weather: Weather,
    /// How many millionths the caller's clock is too fast.
    pub ppm: i32,
    /// What the line carries, in kbit/s with headers; 0: as much as comes.
    pub kbit: u32,
    /// Whether it is passed on to a second leg, in another codec.
    pub joined: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// What the box heard; of Asterisk and baresip only when it kept it for itself.
    pub by_the_box: Vec<i16>,
    /// What the person on the second leg heard.
    pub by_the_person: Vec<i16>,
    /// The report of the caller's leg, where the box makes one.
    pub report: String,
    /// The report of the second leg.
    pub second: String,
}

impl Trial {
    /// Calls a box from the far side and speaks through the weather.
    fn speak(&self, lane: &Lane, place: &Place, user: &str, port: u16, ready: impl FnOnce(&Call)) {
        let _weather = lane.weather(place, self.weather);
        if self.kbit > 0 {
            lane.narrow(self.kbit);
        }
        let call = thread::scope(|scope| {
            let call = scope.spawn(|| {
                hurry();
                let to = format!("{NEAR}:{port}").parse().expect("an address");
                lane.far(|| Peer::at(FAR).call(user, to))
            });
            call.join().expect("the box takes the call")
        });
        call.run_fast(self.ppm);
        ready(&call);
        for _ in 0..self.times {
            call.begin_to_say(&self.clean);
            call.wait_said();
        }
        // What is on its way arrives.
        thread::sleep(ms(1_500));
        if self.kbit > 0 {
            lane.widen();
        }
        call.hang_up();
    }

    /// Offhook.
    ///
    /// # Errors
    /// Why it cannot be tried here.
    ///
    /// # Panics
    /// When it fails.
    pub fn offhook(&self) -> Result<Heard, String> {
        let lane = Lane::new()?;
        let daemon = lane.near(daemon);
        let place = daemon.place();
        let person = self.joined.then(|| Person::waits(&lane, place));
        let mut id = String::new();
        self.speak(&lane, place, "connect", BOX, |call| {
            id = wait_for("the call", seconds(10), || {
                let calls = daemon.json(&["calls"]);
                Some(calls[0]["id"].as_str()?.to_owned())
            });
            wait_line(&daemon, &id, "play");
            if self.joined {
                call.press('5');
                wait_line(&daemon, &id, "joined");
            }
        });
        let closed = wait_for("the end of the call", seconds(20), || {
            let detail = daemon.json(&["call", &id]);
            detail["call"]["cause"].as_str()?;
            let closed = lines(&detail, "media_closed");
            (closed.len() > usize::from(self.joined)).then_some(closed)
        });
        let tape = place.file(&format!("recordings/{id}.wav"));
        // The leg that was joined says how its own playout went: the second's is
        // what the caller's sound waited in.
        let (second, report) = closed
            .split_last()
            .map(|(last, rest)| {
                let first = rest.first().unwrap_or(last);
                (last.clone(), first.clone())
            })
            .unwrap_or_default();
        Ok(Heard {
            by_the_box: Sound::read(&tape).channels[0].clone(),
            by_the_person: person.map(Person::heard).unwrap_or_default(),
            report,
            second,
        })
    }

    /// Asterisk with an adaptive jitter buffer and concealment.
    ///
    /// # Errors
    /// Why it cannot be tried here.
    ///
    /// # Panics
    /// When it fails.
    pub fn asterisk(&self) -> Result<Heard, String> {
        let lane = Lane::new()?;
        let place = Place::new();
        let setup = asterisk::Setup {
            host: Some(NEAR.parse().expect("an address")),
            pjsip: format!(
                "[anonymous]\ntype=endpoint\ncontext=test\ndisallow=all\nallow=ulaw\ndirect_media=no\n\
                 [person]\ntype=endpoint\ncontext=test\ndisallow=all\nallow=alaw\ndirect_media=no\naors=person\n\
                 [person]\ntype=aor\ncontact=sip:person@{NEAR}:{PERSON}\n"
            ),
            dialplan: "exten => trial,1,Answer()\n same => n,Set(JITTERBUFFER(adaptive)=default)\n \
                       same => n,Record(/run/ast/heard.wav,0,300,kq)\n\
                       exten => connect,1,Answer()\n same => n,Set(JITTERBUFFER(adaptive)=default)\n \
                       same => n,Dial(PJSIP/person,20)\n"
                .to_owned(),
        };
        let asterisk = lane.near(|| Asterisk::start(&place, &setup))?;
        let port = asterisk.sip().port();
        let person = self.joined.then(|| Person::waits(&lane, &place));
        let user = if self.joined { "connect" } else { "trial" };
        self.speak(&lane, &place, user, port, |_| {
            if self.joined {
                // Until the person's greeting is over.
                thread::sleep(ms(3_000));
            }
        });
        let by_the_box = if self.joined {
            Vec::new()
        } else {
            thread::sleep(ms(500));
            asterisk.recorded("heard").unwrap_or_default()
        };
        Ok(Heard {
            by_the_box,
            by_the_person: person.map(Person::heard).unwrap_or_default(),
            ..Heard::default()
        })
    }

    /// baresip, which has no second leg.
    ///
    /// # Errors
    /// Why it cannot be tried here.
    ///
    /// # Panics
    /// When it fails.
    pub fn baresip(&self) -> Result<Heard, String> {
        if !has("baresip") {
            return Err("no baresip: it is not installed".to_owned());
        }
        let lane = Lane::new()?;
        let place = Place::new();
        let quiet = place.file("quiet.wav");
        Sound::mono(silence(300_000)).write(&quiet);
        let baresip = lane.near(|| Baresip::start_at(NEAR, &place, &quiet, "pcmu/8000/1"));
        self.speak(&lane, &place, "probe", baresip.port(), |_| {});
        thread::sleep(ms(500));
        let found = baresip.heard();
        let file = found
            .first()
            .ok_or_else(|| format!("baresip kept nothing: {}", baresip.said()))?;
        Ok(Heard {
            by_the_box: Sound::read(file).channels[0].clone(),
            ..Heard::default()
        })
    }
}

fn daemon() -> Daemon {
    let scene = Scene {
        source: "10.66.0.0/24".to_owned(),
        proxy: Some(format!("{NEAR}:{PERSON}")),
        ..Scene::default()
    };
    let text = scene.text();
    let text = text
        .replace("udp:127.0.0.1:0", &format!("udp:{NEAR}:{BOX}"))
        .replace("address = \"127.0.0.1\"", &format!("address = \"{NEAR}\""))
        .replace(
            "name = \"loopback\"\n",
            "name = \"loopback\"\ncodecs = [\"pcmu\", \"pcma\"]\n",
        );
    connect::daemon(&text, TRANSFER)
}

/// Details of all lines of a kind.
fn lines(detail: &Value, event: &str) -> Vec<String> {
    let all = detail["timeline"].as_array().into_iter().flatten();
    let found = all.filter(|line| line["event"] == event);
    found
        .map(|line| line["detail"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn wait_line(daemon: &Daemon, id: &str, event: &str) {
    wait_for(event, seconds(40), || {
        let detail = daemon.json(&["call", id]);
        (!lines(&detail, event).is_empty()).then_some(())
    });
}

/// Who answers on the second leg, in A-law, says hello, takes the call, and records.
struct Person {
    agent: Running,
    record: PathBuf,
}

impl Person {
    fn waits(lane: &Lane, place: &Place) -> Self {
        let record = place.file("person.wav");
        let said = place.file("hello.wav");
        let hello = [silence(700), person("hello"), silence(200_000)];
        Sound::mono(hello.concat()).write(&said);
        let path = |path: &Path| path.display().to_string();
        let mut command = Command::new(built("offhook"));
        command.args([
            "answer",
            "--listen",
            &format!("{NEAR}:{PERSON}"),
            "--codec",
            "pcma",
        ]);
        command.args([
            "--play",
            &path(&said),
            "--record",
            &path(&record),
            "--dtmf",
            "1@9",
        ]);
        let agent = lane.near(|| Running::start(&mut command, &place.file("person.log")));
        agent.wait_said("listening", seconds(20));
        Self { agent, record }
    }

    fn heard(mut self) -> Vec<i16> {
        self.agent.finish(seconds(20));
        Sound::read(&self.record).channels[0].clone()
    }
}
