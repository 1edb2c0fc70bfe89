//! A carrier of the tests' own: registrar, proxy and echo on one UDP socket, and
//! broken in one way on purpose.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::patience::ms;
use crate::peer::Message;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Fault {
    None,
    /// No fault: it plays something of its own, and keys lead nowhere.
    NoEcho,
    Silent,
    OptionsRefused,
    SeesAnotherAddress,
    WrongPassword,
    RegistrationForbidden,
    RegistrarSilent,
    CallForbidden,
    NumberUnknown,
    NoCodec,
    NoLines,
    InviteSilent,
    OtherCodecAnswered,
    NoEarlyAudio,
    PrackRefused,
    ContactUnreachable,
    NoAudio,
    SilentAudio,
    AudioFromElsewhere,
    LosesPackets,
    OtherPayload,
    NoKeys,
    KeysLost,
    HoldRefused,
    HoldIgnored,
    NoAudioAfterResume,
    PortsShut,
    TransferRefused,
    TransferFails,
    ByeRefused,
}

impl Fault {
    /// All of them, but for none and what is none.
    pub const ALL: [Self; 29] = [
        Self::Silent,
        Self::OptionsRefused,
        Self::SeesAnotherAddress,
        Self::WrongPassword,
        Self::RegistrationForbidden,
        Self::RegistrarSilent,
        Self::CallForbidden,
        Self::NumberUnknown,
        Self::NoCodec,
        Self::NoLines,
        Self::InviteSilent,
        Self::OtherCodecAnswered,
        Self::NoEarlyAudio,
        Self::PrackRefused,
        Self::ContactUnreachable,
        Self::NoAudio,
        Self::SilentAudio,
        Self::AudioFromElsewhere,
        Self::LosesPackets,
        Self::OtherPayload,
        Self::NoKeys,
        Self::KeysLost,
        Self::HoldRefused,
        Self::HoldIgnored,
        Self::NoAudioAfterResume,
        Self::PortsShut,
        Self::TransferRefused,
        Self::TransferFails,
        Self::ByeRefused,
    ];

    /// The check of `offhook trunk test` that must name it, and a word of its advice.
    pub const fn named(self) -> (&'static str, &'static str) {
        match self {
            Self::None | Self::NoEcho => ("", ""),
            Self::Silent => ("reach", "firewall"),
            Self::OptionsRefused => ("options", "switched on"),
            Self::SeesAnotherAddress => ("nat", "advertise = \"203.0.113.77\""),
            Self::WrongPassword => ("register", "password"),
            Self::RegistrationForbidden => ("register", "`domain`"),
            Self::RegistrarSilent => ("register", "another host"),
            Self::CallForbidden => ("call", "caller id"),
            Self::NumberUnknown => ("call", "national form"),
            Self::NoCodec => ("call", "PCMU or PCMA"),
            Self::NoLines => ("call", "channels"),
            Self::InviteSilent => ("call", "takes calls"),
            Self::OtherCodecAnswered => ("codecs", "did not offer"),
            Self::NoEarlyAudio => ("early media", "hear nothing"),
            Self::PrackRefused => ("prack", "100rel"),
            Self::ContactUnreachable => ("contact", "cannot reach"),
            Self::NoAudio => ("audio", "one-way"),
            Self::SilentAudio => ("audio", "silence"),
            Self::AudioFromElsewhere => ("audio source", "disagree"),
            Self::LosesPackets => ("loss", "QoS"),
            Self::OtherPayload => ("payload types", "another codec"),
            Self::NoKeys => ("keys", "switch RFC 4733"),
            Self::KeysLost => ("keys", "drops telephone-event"),
            Self::HoldRefused => ("hold", "re-INVITE"),
            Self::HoldIgnored => ("hold", "as if nothing"),
            Self::NoAudioAfterResume => ("resume", "after hold"),
            Self::PortsShut => ("rtp range", "only a part"),
            Self::TransferRefused => ("transfer", "sends nobody on"),
            Self::TransferFails => ("transfer", "from inside"),
            Self::ByeRefused => ("hang up", "BYE"),
        }
    }
}

/// The carrier; ends when dropped.
#[derive(Debug)]
pub struct Carrier {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What its two threads share.
#[derive(Debug, Default)]
struct State {
    invite: Mutex<Option<Message>>,
    held: AtomicBool,
    resumed: AtomicBool,
}

impl Carrier {
    /// Starts one.
    ///
    /// # Panics
    /// When loopback has no port.
    pub fn new(fault: Fault) -> Self {
        let open = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a port");
            let limit = Some(ms(20));
            socket
                .set_read_timeout(limit)
                .expect("a timeout can be set");
            socket
        };
        let (sip, audio, elsewhere) = (open(), open(), open());
        let address = sip.local_addr().expect("a bound socket has an address");
        let port = audio
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let (over, state) = (Arc::new(AtomicBool::new(false)), Arc::new(State::default()));
        let (ends, shared) = (Arc::clone(&over), Arc::clone(&state));
        let signalling = thread::spawn(move || signal(&sip, fault, port, &shared, &ends));
        let ends = Arc::clone(&over);
        let sound = thread::spawn(move || echo(&audio, &elsewhere, fault, &state, &ends));
        Self {
            address,
            over,
            threads: vec![signalling, sound],
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Relaxed: the threads look again within 20 ms, nothing hangs on the order.
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn signal(socket: &UdpSocket, fault: Fault, port: u16, state: &State, over: &AtomicBool) {
    let mut bytes = [0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else {
            continue;
        };
        let Some(message) = Message::read(&bytes[..length]) else {
            continue;
        };
        let own = socket.local_addr().expect("a bound socket has an address");
        for answer in answers(&message, fault, (own, port), state) {
            let _ = socket.send_to(answer.as_bytes(), from);
        }
    }
}

fn answers(
    message: &Message,
    fault: Fault,
    (own, port): (SocketAddr, u16),
    state: &State,
) -> Vec<String> {
    let plain = |status: &str| vec![message.answer(status, "")];
    match (message.method(), fault) {
        ("" | "ACK", _) | (_, Fault::Silent) => Vec::new(),
        ("OPTIONS", Fault::OptionsRefused) => plain("503 Service Unavailable"),
        ("OPTIONS", Fault::SeesAnotherAddress) => {
            let answer = message.answer("200 OK", "");
            vec![answer.replace(";rport", ";received=203.0.113.77;rport=5060")]
        }
        ("OPTIONS", _) => {
            let answer = message.answer("200 OK", "Server: carrier\r\n");
            vec![answer.replace(";rport", ";received=127.0.0.1;rport=5060")]
        }
        ("REGISTER", Fault::RegistrarSilent) => Vec::new(),
        ("REGISTER", Fault::RegistrationForbidden) => plain("403 Forbidden"),
        ("REGISTER", Fault::WrongPassword) => {
            let question = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n\", algorithm=MD5\r\n";
            vec![message.answer("401 Unauthorized", question)]
        }
        ("REGISTER", _) => {
            let contact = message.header("Contact").to_owned();
            vec![message.answer("200 OK", &format!("Contact: {contact};expires=600\r\n"))]
        }
        ("INVITE", _) if message.header("To").contains(";tag=") => {
            vec![change(message, fault, (own, port), state)]
        }
        ("INVITE", Fault::CallForbidden) => plain("403 Forbidden"),
        ("INVITE", Fault::NumberUnknown) => plain("404 Not Found"),
        ("INVITE", Fault::NoCodec) => plain("488 Not Acceptable Here"),
        ("INVITE", Fault::NoLines) => plain("503 Service Unavailable"),
        ("INVITE", Fault::InviteSilent) => plain("100 Trying"),
        ("INVITE", Fault::PrackRefused) => {
            let mut kept = state.invite.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Some(message.clone());
            vec![early(message, fault, (own, port))]
        }
        ("INVITE", _) => vec![
            early(message, fault, (own, port)),
            accept(message, fault, (own, port), "sendrecv"),
        ],
        ("PRACK", _) => {
            let mut all = plain("481 Call/Transaction Does Not Exist");
            // The call is answered all the same.
            let invite = state.invite.lock().unwrap_or_else(PoisonError::into_inner);
            let invite = invite.as_ref();
            all.extend(invite.map(|invite| accept(invite, fault, (own, port), "sendrecv")));
            all
        }
        ("REFER", Fault::TransferRefused) => plain("603 Decline"),
        ("REFER", _) => {
            let status = match fault {
                Fault::TransferFails => "SIP/2.0 404 Not Found\r\n",
                _ => "SIP/2.0 200 OK\r\n",
            };
            vec![message.reply("202 Accepted"), notify(message, own, status)]
        }
        ("BYE", Fault::ByeRefused) => plain("481 Call/Transaction Does Not Exist"),
        _ => plain("200 OK"),
    }
}

/// How it went with whom it was asked to call.
fn notify(refer: &Message, own: SocketAddr, status: &str) -> String {
    let contact = refer.header("Contact").trim_matches(['<', '>']).to_owned();
    format!(
        "NOTIFY {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKnotify\r\nMax-Forwards: 70\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 77 NOTIFY\r\nEvent: refer\r\n\
         Subscription-State: terminated;reason=noresource\r\nContent-Type: message/sipfrag\r\n\
         Content-Length: {}\r\n\r\n{status}",
        refer.header("To"),
        refer.header("From"),
        refer.header("Call-ID"),
        status.len()
    )
}

/// 183: reliable for one fault, with SDP for the fault of early media.
fn early(message: &Message, fault: Fault, at: (SocketAddr, u16)) -> String {
    match fault {
        Fault::PrackRefused => message.answer("180 Ringing", "Require: 100rel\r\nRSeq: 7\r\n"),
        Fault::NoEarlyAudio => with_sdp(message, "183 Session Progress", fault, at, "sendrecv"),
        _ => message.answer("180 Ringing", ""),
    }
}

fn accept(message: &Message, fault: Fault, at: (SocketAddr, u16), direction: &str) -> String {
    with_sdp(message, "200 OK", fault, at, direction)
}

fn change(message: &Message, fault: Fault, at: (SocketAddr, u16), state: &State) -> String {
    let holds = message.body.contains("a=sendonly");
    if fault == Fault::HoldRefused {
        return message.answer("488 Not Acceptable Here", "");
    }
    let held = state.held.swap(holds, Ordering::Relaxed);
    if held && !holds {
        state.resumed.store(true, Ordering::Relaxed);
    }
    let direction = match (holds, fault) {
        (true, Fault::HoldIgnored) | (false, _) => "sendrecv",
        (true, _) => "recvonly",
    };
    accept(message, fault, at, direction)
}

fn with_sdp(
    message: &Message,
    status: &str,
    fault: Fault,
    (own, port): (SocketAddr, u16),
    direction: &str,
) -> String {
    let (kind, map) = match fault {
        Fault::OtherCodecAnswered => ("18", "a=rtpmap:18 G729/8000\r\n"),
        Fault::NoKeys => ("0", "a=rtpmap:0 PCMU/8000\r\n"),
        _ => (
            "0 101",
            "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n",
        ),
    };
    let body = format!(
        "v=0\r\no=carrier 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {kind}\r\n{map}a={direction}\r\n"
    );
    let contact = if fault == Fault::ContactUnreachable {
        "<sip:echo@0.0.0.0>".to_owned()
    } else {
        format!("<sip:echo@{own}>")
    };
    let lines = format!(
        "Contact: {contact}\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, REFER\r\nContent-Type: application/sdp\r\n"
    );
    let head = message.answer(status, &lines);
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    head.replace("Content-Length: 0\r\n\r\n", &length) + &body
}

/// Sends back what comes, in its own way.
fn echo(audio: &UdpSocket, elsewhere: &UdpSocket, fault: Fault, state: &State, over: &AtomicBool) {
    let mut bytes = [0; 2048];
    let (mut number, mut first_port) = (0_u32, None);
    while !over.load(Ordering::Relaxed) {
        let Ok((length, from)) = audio.recv_from(&mut bytes) else {
            continue;
        };
        number += 1;
        let mut packet = bytes[..length].to_vec();
        let held = state.held.load(Ordering::Relaxed);
        let after = state.resumed.load(Ordering::Relaxed);
        let first_port = *first_port.get_or_insert(from.port());
        let lost = match fault {
            Fault::KeysLost | Fault::NoEcho if packet[1] & 0x7f == 101 => true,
            // Its firewall has the lower half of the tests' 200 ports shut.
            Fault::PortsShut => from.port() + 100 < first_port,
            Fault::NoAudio => true,
            Fault::LosesPackets => number.is_multiple_of(5),
            Fault::NoAudioAfterResume => after,
            _ => held,
        };
        if lost {
            continue;
        }
        match fault {
            Fault::SilentAudio if packet[1] & 0x7f == 0 => packet[12..].fill(0xff),
            Fault::NoEcho => {
                let square = |at: usize| {
                    if (at / 8).is_multiple_of(2) {
                        0x20
                    } else {
                        0xa0
                    }
                };
                let sound = packet[12..].iter_mut().enumerate();
                sound.for_each(|(at, code)| *code = square(at));
            }
            Fault::OtherPayload if packet[1] & 0x7f == 0 => packet[1] = 96,
            _ => {}
        }
        let socket = if fault == Fault::AudioFromElsewhere {
            elsewhere
        } else {
            audio
        };
        let _ = socket.send_to(&packet, from);
    }
}
