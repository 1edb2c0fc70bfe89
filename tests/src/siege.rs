//! A daemon under siege: what is sent against it, and a call that goes on meanwhile and
//! is judged by its packets. For the tests of floods and of what they cost.

use std::net::SocketAddr;
use std::thread;

use crate::daemon::Daemon;
use crate::patience::{ms, seconds, wait_for};
use crate::peer::{Call, Message, Peer};
use crate::place::Place;
use crate::process::{hurry, run};
use crate::rtp::Packet;
use crate::scene::Scene;

/// Who is no trunk of ours.
pub const STRANGER: &str = "127.0.0.66";
/// The SSRC of our callers, as somebody on their network would see it.
pub const SOURCE: u32 = 0x0ff0_0001;

/// A configuration that trusts 127.0.0.1 alone.
pub fn scene() -> Scene {
    Scene {
        source: "127.0.0.1/32".to_owned(),
        ..Scene::default()
    }
}

/// A call to the echo that talks until it is judged.
#[derive(Debug)]
pub struct Talk {
    /// The caller's side.
    pub call: Call,
    id: String,
}

impl Talk {
    /// Begins one.
    ///
    /// # Panics
    /// When it is refused or hears nothing.
    pub fn begin(daemon: &Daemon) -> Self {
        // Its packets leave in time however busy this machine is.
        let call = thread::scope(|scope| {
            let call = scope.spawn(|| {
                hurry();
                Peer::new().call("echo", daemon.sip())
            });
            call.join().expect("it is answered")
        });
        wait_for("the echo to flow", seconds(10), || {
            (call.heard().len() > 10).then_some(())
        });
        let calls = daemon.json(&["calls"]);
        let id = calls[0]["id"].as_str().expect("a call").to_owned();
        Self { call, id }
    }

    /// The caller has heard all that we sent, and goes on hearing.
    fn goes_on(&self) {
        let before = self.call.heard().len();
        wait_for("the echo to go on", seconds(10), || {
            (self.call.heard().len() > before + 25).then_some(())
        });
        let heard = self.call.heard();
        let numbers: Vec<u16> = heard.iter().map(|it| it.packet.sequence).collect();
        let jumps = numbers
            .windows(2)
            .filter(|pair| pair[1].wrapping_sub(pair[0]) != 1);
        assert_eq!(jumps.count(), 0, "none of our packets is missing");
    }

    /// The call has lost nothing, sounds as it should, and was there to the end. Gives
    /// what the daemon reports of it.
    ///
    /// # Panics
    /// When it was harmed.
    pub fn unharmed(self, daemon: &Daemon) -> Report {
        self.goes_on();
        self.call.hang_up();
        let report = wait_for("the report of the call", seconds(20), || {
            let detail = daemon.json(&["call", &self.id]);
            let lines = detail["timeline"].as_array()?;
            let closed = lines.iter().find(|line| line["event"] == "media_closed")?;
            closed["detail"].as_str().map(str::to_owned)
        });
        let report = Report(report);
        println!("the call meanwhile: {}", report.0);
        assert_eq!(report.number("lost"), 0, "{}", report.0);
        // A tick or two of the caller's own clock.
        assert!(report.number("concealed") <= 60, "{}", report.0);
        assert!(report.number("late") <= 3, "{}", report.0);
        let mos = report.0.split("MOS ").nth(1).expect("a score");
        let mos: f32 = mos[..3].parse().expect("a score");
        assert!(mos >= 4.3, "{}", report.0);
        report
    }
}

/// What the daemon says of the sound of a call that is over.
#[derive(Debug)]
pub struct Report(String);

impl Report {
    /// The number behind a word.
    ///
    /// # Panics
    /// When there is none.
    pub fn number(&self, word: &str) -> u32 {
        let rest = self.0.split(&format!("{word} ")).nth(1).unwrap_or_default();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let number = digits.parse();
        number.unwrap_or_else(|_| panic!("{word} in {}", self.0))
    }

    /// Packets of others: those that were looked at, and those that the system dropped.
    pub fn unheard(&self) -> u32 {
        let flooded = if self.0.contains(", flooded ") {
            self.number("flooded")
        } else {
            0
        };
        self.number("foreign") + flooded
    }

    /// How many gaps the ear waited for, by 10 ms.
    pub fn waits(&self) -> &str {
        let waits = self.0.split("gaps waited 10/20/30/40 ms ").nth(1);
        let waits = waits.and_then(|rest| rest.split(',').next());
        waits.unwrap_or("0/0/0/0")
    }
}

/// A counter of the daemon's status.
pub fn counter(daemon: &Daemon, name: &str) -> u64 {
    let status = daemon.json(&["status"]);
    status["counters"][name].as_u64().unwrap_or(0)
}

/// Sends each text, some at a time, as fast as the other side empties its socket.
pub fn pour(peer: &Peer, to: SocketAddr, texts: impl Iterator<Item = String>) {
    for (number, text) in texts.enumerate() {
        peer.send(text.as_bytes(), to);
        // Some 700 a second.
        if number % 7 == 6 {
            thread::sleep(ms(10));
        }
    }
}

/// RTP as the caller would send it next, from elsewhere.
pub fn forged(call: &Call, kind: u8, payload: Vec<u8>) -> Packet {
    let sent = call.sent();
    Packet {
        kind,
        marker: false,
        sequence: (sent + 2) as u16,
        timestamp: (sent + 2) * 160,
        source: SOURCE,
        payload,
    }
}

/// An empty receiver report, then BYE, as the caller would say it (RFC 3550 §6.4.2, §6.6).
pub fn goodbye() -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(SOURCE.to_be_bytes());
    bytes.extend([0x81, 203, 0, 1]);
    bytes.extend(SOURCE.to_be_bytes());
    bytes
}

/// Lines of a trunk that asks for a password, which [`proof`] knows.
pub const ASKING: &str =
    "name = \"pbx\"\nchallenge = \"md5\"\nuser = \"pbx\"\npassword = \"s3cret\"\n";

/// The answer to a question (RFC 2617 §3.2.2, with qop auth).
///
/// # Panics
/// When nothing was asked.
pub fn proof(asked: &Message, uri: &str) -> String {
    let challenge = asked.header("WWW-Authenticate").to_owned();
    let part = |name: &str| {
        let rest = challenge
            .split(&format!("{name}=\""))
            .nth(1)
            .unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let (realm, nonce) = (part("realm"), part("nonce"));
    let own = md5(&format!("pbx:{realm}:s3cret"));
    let request = md5(&format!("INVITE:{uri}"));
    let response = md5(&format!("{own}:{nonce}:00000001:c0ffee:auth:{request}"));
    format!(
        "Authorization: Digest username=\"pbx\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c0ffee\", response=\"{response}\"\r\n"
    )
}

fn md5(text: &str) -> String {
    let place = Place::new();
    let file = place.write("text", text).display().to_string();
    let done = run("openssl", ["dgst", "-md5", "-r", &file]);
    assert_eq!(done.code, 0, "{}", done.err);
    done.out[..32].to_owned()
}

/// A description that is correct and of no use, 57 kB long.
pub fn giant() -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{}",
        "a=candidate:1 1 UDP 1 127.0.0.1 9 typ host\r\n".repeat(1_300)
    )
}
