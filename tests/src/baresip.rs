//! baresip as a foreign peer: headless, plays a WAV, records what it hears,
//! steered over its JSON control port.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::patience::{ms, seconds, wait_for};
use crate::place::{Place, free_media_ports, free_port};
use crate::process::Running;

/// A running baresip; killed when dropped.
#[derive(Debug)]
pub struct Baresip {
    process: Running,
    control: u16,
    sip: u16,
    records: PathBuf,
}

const MODULES: &str = "\
module_path /usr/lib/baresip/modules
module stdio.so
module g711.so
module g722.so
module opus.so
module srtp.so
module sndfile.so
module aufile.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
";

impl Baresip {
    /// Starts one that plays `speech` (a WAV of the codec's rate and channels) into
    /// its calls, coded as `law` says (`pcmu/8000/1`; what follows a `;` is for the
    /// account). The call ends where the file does.
    ///
    /// # Panics
    /// When it does not start within 10 s.
    pub fn start(place: &Place, speech: &std::path::Path, law: &str) -> Self {
        Self::start_at("127.0.0.1", place, speech, law)
    }

    /// The same on another address, in the namespace of this thread.
    ///
    /// # Panics
    /// When it does not start within 10 s.
    pub fn start_at(host: &str, place: &Place, speech: &std::path::Path, law: &str) -> Self {
        // Somebody may take a port between the look and the bind: then others are chosen.
        (0..3)
            .find_map(|_| Self::try_start(host, place, speech, law))
            .unwrap_or_else(|| panic!("baresip finds no free port"))
    }

    /// None when one of its ports was taken meanwhile.
    fn try_start(host: &str, place: &Place, speech: &std::path::Path, law: &str) -> Option<Self> {
        let (control, sip, rtp) = (free_port(), free_port(), free_media_ports());
        let folder = place.file("baresip");
        let records = folder.join("records");
        std::fs::create_dir_all(&records).expect("the test's directory can be written");
        let mut config = String::from(MODULES);
        let speech = speech.display();
        let mut named = law.split(';').next().unwrap_or_default().split('/').skip(1);
        let rate = named.next().unwrap_or("8000");
        let channels = named.next().unwrap_or("1");
        let _ = write!(
            config,
            "poll_method epoll\nsip_listen {host}:{sip}\naudio_path /usr/share/baresip\n\
             audio_source aufile,{speech}\naudio_player aubridge,dummy\naudio_alert aubridge,dummy\n\
             audio_srate {rate}\naudio_channels {channels}\nctrl_tcp_listen 127.0.0.1:{control}\n\
             snd_path {}\nrtp_ports {rtp}-{}\n",
            records.display(),
            rtp + 20,
        );
        std::fs::write(folder.join("config"), config).expect("baresip's config can be written");
        let account =
            format!("<sip:probe@{host}:{sip}>;regint=0;audio_codecs={law};answermode=auto\n");
        std::fs::write(folder.join("accounts"), account)
            .expect("baresip's accounts can be written");
        std::fs::write(folder.join("contacts"), "").expect("baresip's contacts can be written");
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&folder);
        let process = Running::start(&mut command, &place.file(&format!("baresip-{control}.log")));
        let baresip = Self {
            process,
            control,
            sip,
            records,
        };
        let up = wait_for("baresip's control port", seconds(10), || {
            let up = TcpStream::connect(("127.0.0.1", control)).is_ok();
            (up || baresip.said().contains("Address already in use")).then_some(up)
        });
        up.then_some(baresip)
    }

    /// Gives it a command (`dial`, `hangup`, `sndcode`) and returns its answer.
    ///
    /// # Panics
    /// When its control port is closed.
    pub fn order(&self, command: &str, parameters: &str) -> String {
        let json = serde_json::json!({"command": command, "params": parameters, "token": "t"});
        let json = json.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.control)).expect("baresip listens");
        stream
            .set_read_timeout(Some(ms(500)))
            .expect("a timeout can be set");
        stream
            .write_all(format!("{}:{json},", json.len()).as_bytes())
            .expect("baresip reads");
        let mut answer = vec![0; 65536];
        let length = stream.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// The port it takes calls on.
    pub fn port(&self) -> u16 {
        self.sip
    }

    /// What it has printed.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// The recordings it made of what it heard.
    pub fn heard(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.records)
            .into_iter()
            .flatten()
            .flatten();
        let paths = files.map(|file| file.path());
        paths
            .filter(|path| path.to_string_lossy().contains("-dec"))
            .collect()
    }
}
