//! A caller whose sound is encrypted in one suite, under a key of its own: it says
//! something to the echo and hears what comes back under the daemon's key.

use std::net::{SocketAddr, UdpSocket};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook_sip::rtp::srtp::{GROWTH, MasterKey, Opener, SALT, Sealer, Suite};

use crate::patience::ms;
use crate::peer::{Message, Peer};
use crate::place::free_port;
use crate::rtp::Packet;

/// What it says, in µ-law.
const SAID: u8 = 0x12;
/// How often.
const PACKETS: u16 = 75;

/// The caller.
#[derive(Debug)]
pub struct Secure {
    peer: Peer,
    socket: UdpSocket,
    key: MasterKey,
}

impl Secure {
    /// With a key that is made of this octet alone.
    ///
    /// # Panics
    /// When loopback has no port.
    pub fn new(suite: Suite, seed: u8) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", free_port())).expect("the pair was free");
        let nonblocking = socket.set_nonblocking(true);
        nonblocking.expect("a socket can be made non-blocking");
        let octets = [seed; 16 + SALT];
        let key = MasterKey::new(suite, &octets[..16 + suite.salt()]);
        Self {
            peer: Peer::new(),
            socket,
            key: key.expect("as long as the suite takes"),
        }
    }

    /// The SIP side.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Asks for a call with these header lines, and acknowledges its answer.
    pub fn invite(&self, user: &str, to: SocketAddr, lines: &str) -> Message {
        let port = self.socket.local_addr().map_or(0, |own| own.port());
        let (octets, length) = self.key.octets();
        let offer = format!(
            "v=0\r\no=secure 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/SAVP 0\r\na=crypto:1 {} inline:{}\r\n",
            self.key.suite.name(),
            STANDARD.encode(&octets[..length])
        );
        self.peer.invite_offering(user, to, &offer, lines)
    }

    /// Says something where the answer wants it; gives the sequence numbers of what
    /// comes back of it.
    ///
    /// # Panics
    /// When the answer has no address or no key.
    pub fn echoes(&self, answer: &Message) -> Vec<u16> {
        let to = answer.audio().expect("the answer has an address for audio");
        let mut sealer = Sealer::new(&self.key);
        let mut opener = Opener::new(&key_of(answer));
        let mut heard = Vec::new();
        for number in 0..PACKETS {
            let _ = self.socket.send_to(&sealed(&mut sealer, number), to);
            std::thread::sleep(ms(20));
            let mut bytes = [0; 2_048];
            while let Ok((length, _)) = self.socket.recv_from(&mut bytes) {
                let opened = opener.open(&mut bytes[..length]).unwrap_or(0);
                let packet = Packet::read(&bytes[..opened]);
                let echo = packet.filter(|it| it.payload.iter().all(|code| *code == SAID));
                heard.extend(echo.map(|it| it.sequence));
            }
        }
        heard
    }
}

fn sealed(sealer: &mut Sealer, number: u16) -> Vec<u8> {
    let packet = Packet {
        kind: 0,
        marker: number == 0,
        sequence: number,
        timestamp: u32::from(number) * 160,
        source: 0x0ff0_0002,
        payload: vec![SAID; 160],
    };
    let mut bytes = packet.bytes();
    let length = bytes.len();
    bytes.resize(length + GROWTH, 0);
    let end = sealer.seal(&mut bytes, length).expect("there is room");
    bytes.truncate(end);
    bytes
}

/// The key of whoever wrote this description.
///
/// # Panics
/// When it has none that is read here.
pub fn key_of(description: &Message) -> MasterKey {
    let mut lines = description.body.lines();
    let line = lines.find_map(|line| line.strip_prefix("a=crypto:"));
    let mut words = line.expect("it is encrypted").split(' ').skip(1);
    let name = words.next().expect("a suite");
    let suite = Suite::ALL.into_iter().find(|suite| suite.name() == name);
    let key = words.next().and_then(|word| word.strip_prefix("inline:"));
    let octets = STANDARD.decode(key.expect("a key")).expect("base64");
    MasterKey::new(suite.expect("one of ours"), &octets).expect("as long as the suite takes")
}
