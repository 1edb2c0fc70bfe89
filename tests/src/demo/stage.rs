//! The demo's stage: ports, configuration, daemon, sink; and the calls as
//! `offhook` places them.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::narrator::say;
use super::port_or_free;
use crate::daemon::json_lines;
use crate::patience::{ms, seconds, watch};
use crate::process::{Ran, Running, built, checkout, run};

/// Ports as `config/demo.toml` has them: SIP, the sink, who answers our calls.
const SIP: u16 = 5060;
const SINK: u16 = 8088;
const ANSWER: u16 = 5070;

/// What runs during the demo; ends when dropped.
pub(super) struct Stage {
    folder: PathBuf,
    sip: u16,
    answer: u16,
    sink: Running,
    _daemon: Running,
}

impl Stage {
    /// Starts sink and daemon and waits until they serve.
    ///
    /// # Errors
    /// What does not start, and what it said.
    pub(super) fn set() -> Result<Self, String> {
        let folder = checkout().join("target/demo");
        let fresh = std::fs::remove_dir_all(&folder).is_ok() || !folder.exists();
        if !fresh {
            return Err(format!("{} cannot be emptied", folder.display()));
        }
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let (sip, sink_port) = (
            port_or_free(SIP, udp_taken(SIP)),
            port_or_free(SINK, tcp_taken(SINK)),
        );
        let answer = port_or_free(ANSWER, udp_taken(ANSWER));
        let config = configure(&folder, sip, sink_port, answer)?;
        let secret = secret(&config)?;
        let mut command = Command::new(built("offhook"));
        let listen = format!("127.0.0.1:{sink_port}");
        command.args(["--json", "sink", "--listen", &listen, "--secret", &secret]);
        let sink = Running::start(&mut command, &folder.join("sink.log"));
        let mut command = Command::new(built("offhookd"));
        command.arg("--config").arg(&config).current_dir(checkout());
        let mut daemon = Running::start(&mut command, &folder.join("offhookd.log"));
        let socket = folder.join("control.sock");
        let serves = watch(seconds(60), || {
            let up = ask(&socket, &["status"]).code == 0;
            (up || daemon.ended().is_some()).then_some(up)
        });
        if serves != Some(true) {
            return Err(format!("offhookd does not serve:\n{}", daemon.said()));
        }
        say(&format!(
            "offhookd serves sip:127.0.0.1:{sip}, the upstream listens on http://{listen}"
        ));
        Ok(Self {
            folder,
            sip,
            answer,
            sink,
            _daemon: daemon,
        })
    }

    /// Everything the demo writes is here.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Draws a call and says where, as seen from the checkout.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub(super) fn picture(&self, id: &str, name: &str) -> Result<String, String> {
        let file = self.folder.join(name);
        let ran = ask(&self.socket(), &["call", id, "--picture", &path(&file)]);
        if ran.code != 0 || !file.is_file() {
            return Err(format!("offhook call --picture: {}{}", ran.out, ran.err));
        }
        Ok(path(file.strip_prefix(checkout()).unwrap_or(&file)))
    }

    /// The command line.
    pub(super) fn offhook(&self) -> PathBuf {
        built("offhook")
    }

    /// The daemon's control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// What `offhook VERB --json` answers.
    ///
    /// # Errors
    /// It fails.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let ran = ask(&self.socket(), arguments);
        let complaint = || format!("offhook {arguments:?}: {}{}", ran.out, ran.err);
        if ran.code != 0 {
            return Err(complaint());
        }
        serde_json::from_str(&ran.out).map_err(|_| complaint())
    }

    /// Calls the booking line with a recording; the id of the call once it is over.
    ///
    /// # Errors
    /// The call fails.
    pub(super) fn dial(&self, speech: &Path, heard: &str, more: &[&str]) -> Result<String, String> {
        let before = self.calls()?;
        let uri = format!("sip:booking@127.0.0.1:{}", self.sip);
        let heard = path(&self.folder.join(heard));
        let speech = path(speech);
        let arguments = ["dial", &uri, "--play", &speech, "--record", &heard];
        let ran = ask(&self.socket(), &[&arguments, more].concat());
        if ran.code != 0 {
            return Err(format!("offhook dial {uri}: {}{}", ran.out, ran.err));
        }
        self.new_call(&before)
    }

    /// Orders an outbound call.
    ///
    /// # Errors
    /// The daemon refuses.
    pub(super) fn originate(&self, to: &str) -> Result<String, String> {
        let placed = self.json(&["originate", to])?;
        let id = placed["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| format!("no id in {placed}"))
    }

    /// Somebody who answers our outbound call with a recording.
    ///
    /// # Errors
    /// It does not listen.
    pub(super) fn answer(&self, speech: &Path, heard: &Path) -> Result<Running, String> {
        let mut command = Command::new(self.offhook());
        let listen = format!("127.0.0.1:{}", self.answer);
        command.args([
            "answer",
            "--listen",
            &listen,
            "--play",
            &path(speech),
            "--record",
            &path(heard),
        ]);
        let running = Running::start(&mut command, &self.folder.join("answer.log"));
        let listens = watch(seconds(10), || udp_taken(self.answer).then_some(()));
        listens
            .map(|()| running)
            .ok_or_else(|| "offhook answer does not listen".to_owned())
    }

    /// A call's detail once it is over.
    ///
    /// # Errors
    /// It is not over in a minute and a half.
    pub(super) fn finished(&self, id: &str) -> Result<Value, String> {
        let over = watch(seconds(90), || {
            std::thread::sleep(ms(200));
            let detail = self.json(&["call", id]).ok()?;
            (detail["call"]["state"] == "ended" && detail["call"]["result"].is_string())
                .then_some(detail)
        });
        over.ok_or_else(|| format!("call {id} does not end"))
    }

    /// What the sink has taken.
    pub(super) fn taken(&self) -> Vec<Value> {
        let said = self.sink.said();
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let mut lines = json_lines(whole);
        lines.retain(|line| line.get("id").is_some());
        lines
    }

    fn calls(&self) -> Result<Vec<String>, String> {
        let calls = self.json(&["calls"])?;
        let rows = calls
            .as_array()
            .or(calls["calls"].as_array())
            .cloned()
            .unwrap_or_default();
        Ok(rows
            .iter()
            .filter_map(|row| Some(row["id"].as_str()?.to_owned()))
            .collect())
    }

    fn new_call(&self, before: &[String]) -> Result<String, String> {
        let mut now = self.calls()?;
        now.retain(|id| !before.contains(id));
        now.pop()
            .ok_or_else(|| "the daemon knows nothing of the call".to_owned())
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn ask(socket: &Path, arguments: &[&str]) -> Ran {
    let socket = path(socket);
    run(
        built("offhook"),
        [&["--json", "--socket", &socket], arguments].concat(),
    )
}

fn udp_taken(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_err()
}

fn tcp_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// `config/demo.toml` itself, or a copy with other ports when some are taken.
fn configure(folder: &Path, sip: u16, sink: u16, answer: u16) -> Result<PathBuf, String> {
    let shipped = checkout().join("config/demo.toml");
    let mut text = std::fs::read_to_string(&shipped)
        .map_err(|error| format!("{}: {error}", shipped.display()))?;
    if (sip, sink, answer) == (SIP, SINK, ANSWER) {
        return Ok(shipped);
    }
    for (wanted, taken) in [(SIP, sip), (SINK, sink), (ANSWER, answer)] {
        if wanted != taken {
            say(&format!(
                "Port {wanted} is in use by another program, so the demo takes {taken}."
            ));
            text = text.replace(
                &format!("127.0.0.1:{wanted}"),
                &format!("127.0.0.1:{taken}"),
            );
        }
    }
    let copy = folder.join("demo.toml");
    std::fs::write(&copy, text).map_err(|error| format!("{}: {error}", copy.display()))?;
    Ok(copy)
}

fn secret(config: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(config).map_err(|error| error.to_string())?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("secret = \""));
    let secret = line.map(|rest| rest.trim_end_matches('"').to_owned());
    secret.ok_or_else(|| format!("{}: no upstream.secret", config.display()))
}
