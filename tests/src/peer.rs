//! A small SIP and RTP peer of the tests' own, which can also misbehave: it
//! writes its messages by hand and sends whatever it is told to.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use offhook_dsp::g711::Law;

use crate::patience::{ms, now, seconds, wait_for};
use crate::place::free_port;
use crate::rtp::{Packet, key_payload};
use crate::sound::{SPEECH_DB, level};

/// Samples in a packet of 20 ms.
const PACKET: usize = 160;
/// The dynamic type our offer gives to telephone-event.
const KEYS: u8 = 101;

static COUNT: AtomicU32 = AtomicU32::new(1);

/// A SIP message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line.
    pub first: String,
    /// Header lines.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Message {
    /// Reads one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let first = lines.next()?.to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(field).collect();
        Some(Self {
            first,
            headers,
            body: body.to_owned(),
        })
    }

    /// The status of a response, 0 for a request.
    pub fn status(&self) -> u16 {
        let rest = self.first.strip_prefix("SIP/2.0 ");
        rest.and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or(0)
    }

    /// The method of a request, empty for a response.
    pub fn method(&self) -> &str {
        let word = self.first.split(' ').next().unwrap_or("");
        if word == "SIP/2.0" { "" } else { word }
    }

    /// An answer to this request, with further header lines.
    pub fn answer(&self, status: &str, lines: &str) -> String {
        let vias = self.headers.iter().filter(|(n, _)| n == "Via");
        let vias: String = vias.map(|(_, via)| format!("Via: {via}\r\n")).collect();
        format!(
            "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {};tag=peer\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             {lines}Content-Length: 0\r\n\r\n",
            self.header("From"),
            self.header("To"),
            self.header("Call-ID"),
            self.header("CSeq"),
        )
    }

    /// An answer to this request inside a dialog.
    pub fn reply(&self, status: &str) -> String {
        self.answer(status, "").replace(";tag=peer", "")
    }

    /// A 200 to this INVITE with audio at a port of `own`'s host; whoever stayed in
    /// the way of the request stays in the way of the call.
    pub fn accept(&self, own: SocketAddr, rtp_port: u16) -> String {
        let routes = self.headers.iter().filter(|(n, _)| n == "Record-Route");
        let routes: String = routes
            .map(|(_, route)| format!("Record-Route: {route}\r\n"))
            .collect();
        let body = offer(&own.ip().to_string(), rtp_port);
        let lines =
            format!("{routes}Contact: <sip:peer@{own}>\r\nContent-Type: application/sdp\r\n");
        let answer = self.answer("200 OK", &lines);
        let length = format!("Content-Length: {}", body.len());
        answer.replace("Content-Length: 0", &length) + &body
    }

    /// A header's first value.
    ///
    /// # Panics
    /// When it is missing.
    pub fn header(&self, name: &str) -> &str {
        let mut same = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        &same
            .next()
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .1
    }

    /// Where its SDP wants the audio.
    pub fn audio(&self) -> Option<SocketAddr> {
        let line = |start: &str| self.body.lines().find_map(|l| l.strip_prefix(start));
        let host = line("c=IN IP4 ")?.trim();
        let port = line("m=audio ")?.split(' ').next()?;
        format!("{host}:{port}").parse().ok()
    }
}

/// A SIP user agent on loopback.
#[derive(Debug)]
pub struct Peer {
    socket: UdpSocket,
    address: SocketAddr,
    host: String,
    user: String,
}

impl Peer {
    /// One on 127.0.0.1.
    ///
    /// # Panics
    /// When loopback has no port.
    pub fn new() -> Self {
        Self::at("127.0.0.1")
    }

    /// One on another loopback address.
    ///
    /// # Panics
    /// When it has no port.
    pub fn at(host: &str) -> Self {
        let socket = UdpSocket::bind((host, 0)).expect("loopback has a port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self {
            socket,
            address,
            host: host.to_owned(),
            user: "probe".to_owned(),
        }
    }

    /// Calls under this number from now on.
    #[must_use]
    pub fn named(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Panics
    /// When loopback refuses.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) {
        self.socket
            .send_to(bytes, to)
            .expect("loopback takes a datagram");
    }

    /// The next message within a limit.
    pub fn receive(&self, limit: Duration) -> Option<(Message, SocketAddr)> {
        let end = now() + limit;
        let mut bytes = vec![0; 65_536];
        loop {
            let left = end.checked_duration_since(now())?.max(ms(1));
            self.socket
                .set_read_timeout(Some(left))
                .expect("a timeout can be set");
            let (length, from) = self.socket.recv_from(&mut bytes).ok()?;
            if let Some(message) = Message::read(&bytes[..length]) {
                return Some((message, from));
            }
        }
    }

    /// The next message that is wanted; others are dropped.
    ///
    /// # Panics
    /// When none comes within `limit`.
    pub fn expect(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> (Message, SocketAddr) {
        let end = now() + limit;
        loop {
            let left = end.saturating_duration_since(now());
            let next = self.receive(left);
            let next = next.unwrap_or_else(|| panic!("{what} has not come in {limit:?}"));
            if wanted(&next.0) {
                return next;
            }
        }
    }

    /// A request out of any dialog, with an offer if there is one.
    pub fn request(&self, method: &str, user: &str, to: SocketAddr, offer: Option<&str>) -> String {
        // Relaxed: the number need only be different, it orders nothing.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let (own, caller) = (self.address, &self.user);
        let body = offer.unwrap_or("");
        let kind = if offer.is_some() {
            "Content-Type: application/sdp\r\n"
        } else {
            ""
        };
        format!(
            "{method} sip:{user}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{id}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{caller}@{own}>;tag=t{id}\r\nTo: <sip:{user}@{to}>\r\n\
             Call-ID: {id}@{}\r\nCSeq: 1 {method}\r\nContact: <sip:probe@{own}>\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        )
    }

    /// The final answer to a request out of any dialog.
    ///
    /// # Panics
    /// When none comes in 10 s.
    pub fn ask(&self, method: &str, user: &str, to: SocketAddr) -> Message {
        let text = self.request(method, user, to, None);
        self.send(text.as_bytes(), to);
        self.expect(&format!("an answer to {method}"), seconds(10), |m| {
            m.status() >= 200
        })
        .0
    }

    /// Asks for a call with G.711 µ-law and keys and gives the final answer;
    /// a refusal is acknowledged.
    ///
    /// # Panics
    /// When no final answer comes in 10 s.
    pub fn invite(&self, user: &str, to: SocketAddr, rtp_port: u16) -> (String, Message) {
        let offer = offer(&self.host, rtp_port);
        let text = self.request("INVITE", user, to, Some(&offer));
        self.send(text.as_bytes(), to);
        let (answer, _) = self.expect("an answer to INVITE", seconds(10), |m| m.status() >= 200);
        if answer.status() >= 300 {
            let ack = refusal_ack(&text, &answer);
            self.send(ack.as_bytes(), to);
        }
        (text, answer)
    }

    /// Asks for a call with further header lines before `Content-Type`, and
    /// acknowledges its answer.
    ///
    /// # Panics
    /// When no final answer comes in 10 s.
    pub fn invite_with(&self, user: &str, to: SocketAddr, rtp_port: u16, lines: &str) -> Message {
        self.invite_offering(user, to, &offer(&self.host, rtp_port), lines)
    }

    /// The same with an offer of the test's own.
    ///
    /// # Panics
    /// When no final answer comes in 10 s.
    pub fn invite_offering(&self, user: &str, to: SocketAddr, offer: &str, lines: &str) -> Message {
        let text = self.request("INVITE", user, to, Some(offer));
        let text = text.replace("Content-Type", lines);
        self.send(text.as_bytes(), to);
        let (answer, _) = self.expect("an answer to INVITE", seconds(10), |m| m.status() >= 200);
        self.send(refusal_ack(&text, &answer).as_bytes(), to);
        answer
    }

    /// Calls a user; the call is up when this returns.
    ///
    /// # Panics
    /// When it is refused.
    pub fn call(self, user: &str, to: SocketAddr) -> Call {
        let rtp_port = free_port();
        let (_, answer) = self.invite(user, to, rtp_port);
        assert_eq!(answer.status(), 200, "{answer:?}");
        let call = Call::new(self, answer, to, rtp_port);
        call.in_dialog("ACK", 1);
        call
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self::new()
    }
}

fn offer(host: &str, port: u16) -> String {
    format!(
        "v=0\r\no=probe 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 {KEYS}\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:{KEYS} telephone-event/8000\r\na=fmtp:{KEYS} 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// ACK to a refusal goes by the INVITE's own transaction (RFC 3261 §17.1.1.3).
fn refusal_ack(invite: &str, answer: &Message) -> String {
    let sent = Message::read(invite.as_bytes()).expect("we wrote it");
    let target = sent.first.split(' ').nth(1).unwrap_or("");
    format!(
        "ACK {target} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        sent.header("Via"),
        sent.header("From"),
        answer.header("To"),
        sent.header("Call-ID"),
    )
}

/// What the peer's media thread and its owner share.
#[derive(Debug, Default)]
struct Line {
    speech: VecDeque<u8>,
    keys: VecDeque<char>,
    heard: Vec<Heard>,
    sent: u32,
    first_speech: Option<u32>,
    swaps: bool,
    markless: bool,
    /// The next packet with speech has the marker bit.
    marks: bool,
    /// Our clock is so many millionths too fast.
    ppm: i32,
    echo: Option<Echo>,
}

/// What was heard on its way back, softer.
#[derive(Debug)]
struct Echo {
    gain: f32,
    waiting: VecDeque<i16>,
}

/// An RTP packet that came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The packet.
    pub packet: Packet,
    /// Who sent it.
    pub from: SocketAddr,
    /// How many packets we had sent by then.
    pub after: u32,
}

impl Heard {
    /// What it carries, where that is µ-law.
    pub fn samples(&self) -> Vec<i16> {
        let audio = self.packet.payload.iter().filter(|_| self.packet.kind == 0);
        audio.map(|code| Law::Mu.decode(*code)).collect()
    }

    /// Whether it carries speech rather than silence or comfort noise.
    pub fn speaks(&self) -> bool {
        level(&self.samples()) > SPEECH_DB
    }
}

/// A call that is up. Its RTP runs until it is dropped: speech, keys or silence
/// every 20 ms, and what comes is kept.
#[derive(Debug)]
pub struct Call {
    peer: Peer,
    answer: Message,
    to: SocketAddr,
    audio: SocketAddr,
    own_port: u16,
    line: Arc<Mutex<Line>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Call {
    fn new(peer: Peer, answer: Message, to: SocketAddr, rtp_port: u16) -> Self {
        let audio = answer.audio().expect("the answer has an address for audio");
        let socket = UdpSocket::bind((peer.host.as_str(), rtp_port)).expect("the pair was free");
        let line = Arc::new(Mutex::new(Line::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, end) = (line.clone(), over.clone());
        let thread = Some(thread::spawn(move || {
            run_media(&socket, audio, &shared, &end);
        }));
        Self {
            peer,
            answer,
            to,
            audio,
            own_port: rtp_port,
            line,
            over,
            thread,
        }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().expect("the media thread does not panic")
    }

    /// Where the daemon takes our audio.
    pub fn audio(&self) -> SocketAddr {
        self.audio
    }

    /// The SIP side.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The Call-ID.
    pub fn id(&self) -> &str {
        self.answer.header("Call-ID")
    }

    /// Says something after what is being said.
    pub fn say(&self, samples: &[i16]) {
        self.line()
            .speech
            .extend(samples.iter().map(|s| Law::Mu.encode(*s)));
    }

    /// Says something as a talkspurt of its own: its first packet has the marker bit.
    pub fn begin_to_say(&self, samples: &[i16]) {
        self.line().marks = true;
        self.say(samples);
    }

    /// From now on our clock is so many millionths too fast.
    pub fn run_fast(&self, ppm: i32) {
        self.line().ppm = ppm;
    }

    /// Presses a key (RFC 4733, 100 ms, the end three times).
    pub fn press(&self, key: char) {
        self.line().keys.push_back(key);
    }

    /// From now on every fifth packet is sent after its successor.
    pub fn swap_packets(&self) {
        self.line().swaps = true;
    }

    /// From now on keys begin without a marker bit, as some senders do.
    pub fn forget_markers(&self) {
        self.line().markless = true;
    }

    /// From now on what is heard comes back `delay_ms` later, by this factor, under
    /// whatever is said: as an analogue line or a speakerphone returns it.
    pub fn return_echo(&self, delay_ms: usize, gain: f32) {
        let waiting = std::iter::repeat_n(0, delay_ms * 8).collect();
        self.line().echo = Some(Echo { gain, waiting });
    }

    /// Waits until everything is said and pressed.
    ///
    /// # Panics
    /// When that takes more than a minute.
    pub fn wait_said(&self) {
        wait_for("the caller to finish", seconds(60), || {
            let line = self.line();
            (line.speech.is_empty() && line.keys.is_empty()).then_some(())
        });
    }

    /// RTP packets that have come so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.line().heard.clone()
    }

    /// The audio that has come so far, in order of arrival.
    pub fn heard_samples(&self) -> Vec<i16> {
        self.line().heard.iter().flat_map(Heard::samples).collect()
    }

    /// How many packets came, up to the last with speech, after our own first
    /// packet with speech, within the next two seconds; `None` before we spoke.
    pub fn prompt_packets_after_speech(&self) -> Option<usize> {
        let line = self.line();
        let onset = line.first_speech?;
        let came = line
            .heard
            .iter()
            .filter(|heard| heard.after >= onset && heard.packet.kind == 0);
        let speaks: Vec<_> = came.take(100).map(Heard::speaks).collect();
        Some(
            speaks
                .iter()
                .rposition(|speaks| *speaks)
                .map_or(0, |last| last + 1),
        )
    }

    /// The 200 that made it.
    pub fn answer(&self) -> &Message {
        &self.answer
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u32 {
        self.line().sent
    }

    /// Sends a request in the dialog.
    pub fn in_dialog(&self, method: &str, sequence: u32) {
        let request = self.dialog_request(method, sequence);
        self.peer.send(request.as_bytes(), self.to);
    }

    /// Sends the text of a request in the dialog.
    pub fn send_in_dialog(&self, text: &str) {
        self.peer.send(text.as_bytes(), self.to);
    }

    /// The text of a request in the dialog.
    pub fn dialog_request(&self, method: &str, sequence: u32) -> String {
        // Relaxed: the number need only be different, it orders nothing.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let contact = self.answer.header("Contact");
        let target = contact
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap_or(contact);
        let own = self.peer.address;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{}-{number}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:probe@{own}>\r\nContent-Length: 0\r\n\r\n",
            std::process::id(),
            self.answer.header("From"),
            self.answer.header("To"),
            self.id(),
        )
    }

    /// Offers the same audio again in another direction (`sendonly` holds) and
    /// acknowledges the answer.
    ///
    /// # Panics
    /// When no 200 comes in 10 s.
    pub fn change(&self, sequence: u32, direction: &str) {
        let port = self.own_port;
        let body = offer(&self.peer.host, port).replace("sendrecv", direction);
        let request = self.dialog_request("INVITE", sequence).replace(
            "Content-Length: 0",
            &format!(
                "Content-Type: application/sdp\r\nContent-Length: {}",
                body.len()
            ),
        );
        self.peer
            .send(format!("{request}{body}").as_bytes(), self.to);
        let (answer, _) = self
            .peer
            .expect("an answer to re-INVITE", seconds(10), |m| {
                m.status() >= 200 && m.header("CSeq").ends_with("INVITE")
            });
        assert_eq!(answer.status(), 200, "{answer:?}");
        self.in_dialog("ACK", sequence);
    }

    /// Hangs up and waits for the answer.
    ///
    /// # Panics
    /// When the daemon does not agree.
    pub fn hang_up(&self) {
        let bye = self.dialog_request("BYE", 2);
        // A bad line may lose it: sent again as RFC 3261 §17.1.2.2 says.
        let answer = wait_for("an answer to BYE", seconds(20), || {
            self.send_in_dialog(&bye);
            let end = now() + seconds(1);
            loop {
                let left = end.saturating_duration_since(now());
                let (answer, _) = self.peer.receive(left)?;
                if answer.status() >= 200 && answer.header("CSeq").ends_with("BYE") {
                    return Some(answer);
                }
            }
        });
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    /// Waits until the daemon hangs up, and agrees.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait_bye(&self, limit: Duration) {
        let (bye, from) = self.peer.expect("BYE", limit, |m| m.method() == "BYE");
        let answer = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
            bye.header("Via"),
            bye.header("From"),
            bye.header("To"),
            bye.header("Call-ID"),
            bye.header("CSeq"),
        );
        self.peer.send(answer.as_bytes(), from);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Relaxed: the thread need only see it some time; joining orders the rest.
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends a packet every 20 ms and keeps what comes, until it is over.
fn run_media(socket: &UdpSocket, to: SocketAddr, line: &Mutex<Line>, over: &AtomicBool) {
    socket
        .set_nonblocking(true)
        .expect("a socket can be made non-blocking");
    let mut due = now();
    let mut mouth = Mouth::default();
    let (mut ticks, mut late) = (0, None);
    // Relaxed: see the store.
    while !over.load(Ordering::Relaxed) {
        keep_heard(socket, line);
        let Some(early) = due.checked_duration_since(now()) else {
            let mut line = line.lock().expect("no owner panics holding it");
            let packet = mouth.next(&mut line);
            let kept = line.swaps && ticks % 5 == 0 && late.is_none();
            let fast = 1.0 - f64::from(line.ppm) / 1e6;
            drop(line);
            if kept {
                late = Some(packet);
            } else {
                let after = late.take();
                for packet in [Some(packet), after].into_iter().flatten() {
                    // The far port may be closed for a moment.
                    let _ = socket.send_to(&packet.bytes(), to);
                }
            }
            ticks += 1;
            due += ms(20).mul_f64(fast);
            continue;
        };
        thread::sleep(early.min(ms(2)));
    }
}

fn keep_heard(socket: &UdpSocket, line: &Mutex<Line>) {
    let mut bytes = [0; 2048];
    loop {
        match socket.recv_from(&mut bytes) {
            Ok((length, from)) => {
                let packet = Packet::read(&bytes[..length]);
                let mut line = line.lock().expect("no owner panics holding it");
                let after = line.sent;
                let heard = packet.map(|packet| Heard {
                    packet,
                    from,
                    after,
                });
                if let (Some(echo), Some(heard)) = (&mut line.echo, &heard) {
                    echo.waiting.extend(heard.samples());
                }
                line.heard.extend(heard);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // The far port may be closed for a moment (ICMP).
            Err(_) => {}
        }
    }
}

/// What goes out next: a key in progress, speech, or silence.
#[derive(Debug, Default)]
struct Mouth {
    sequence: u16,
    timestamp: u32,
    key: Option<(char, u8, u32)>,
}

impl Mouth {
    /// Five packets of 20 ms make 100 ms, then the end is said three times.
    const KEY_PACKETS: u8 = 8;

    fn next(&mut self, line: &mut Line) -> Packet {
        line.sent += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(PACKET as u32);
        if self.key.is_none() {
            self.key = line.keys.front().map(|key| (*key, 0, self.timestamp));
        }
        match self.key {
            Some((key, step, since)) => self.key_packet(line, key, step, since),
            None => {
                let marker = line.marks && !line.speech.is_empty();
                line.marks &= !marker;
                self.packet(0, marker, self.timestamp, speech(line))
            }
        }
    }

    fn key_packet(&mut self, line: &mut Line, key: char, step: u8, since: u32) -> Packet {
        let end = step >= 5;
        let samples = PACKET as u16 * u16::from(step.min(4) + 1);
        self.key = (step + 1 < Self::KEY_PACKETS).then_some((key, step + 1, since));
        if self.key.is_none() {
            line.keys.pop_front();
        }
        let marker = step == 0 && !line.markless;
        self.packet(KEYS, marker, since, key_payload(key, end, samples))
    }

    fn packet(&self, kind: u8, marker: bool, timestamp: u32, payload: Vec<u8>) -> Packet {
        let (sequence, source) = (self.sequence, 0x0ff0_0001);
        Packet {
            kind,
            marker,
            sequence,
            timestamp,
            source,
            payload,
        }
    }
}

fn speech(line: &mut Line) -> Vec<u8> {
    let length = line.speech.len().min(PACKET);
    let mut bytes: Vec<u8> = line.speech.drain(..length).collect();
    bytes.resize(PACKET, Law::Mu.silence());
    let samples: Vec<_> = bytes.iter().map(|code| Law::Mu.decode(*code)).collect();
    if line.first_speech.is_none() && level(&samples) > SPEECH_DB {
        line.first_speech = Some(line.sent);
    }
    match &mut line.echo {
        Some(echo) => echo.under(&samples),
        None => bytes,
    }
}

impl Echo {
    /// The next samples with their echo beneath; what has not come yet is silence.
    fn under(&mut self, samples: &[i16]) -> Vec<u8> {
        let mixed = samples.iter().map(|&sample| {
            let back = self.waiting.pop_front().unwrap_or(0);
            let both = f32::from(sample) + self.gain * f32::from(back);
            Law::Mu.encode(both.clamp(-32_768.0, 32_767.0) as i16)
        });
        mixed.collect()
    }
}
