//! SDP offer and answer (RFC 8866, RFC 3264) for one audio stream.
//!
//! `sdp-types` reads and writes the lines; what they mean is decided here:
//! [`offer`] and [`answer`] write ours, [`accept_answer`] reads the peer's
//! answer, [`SdpSession`] keeps the `o=` version over a call. Media without a
//! place here (video, T.38) is refused with port 0, never silently
//! dropped. Called by the daemon; the endpoint only carries the bytes.

mod crypto;
mod media;
mod write;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::borrow::Cow;

use sdp_types::{Media, Session};

pub use crypto::{LocalSrtp, RANDOM as SRTP_RANDOM};
use media::{AudioLine, audio_at, find_audio};

use crate::message::StatusCode;
use crate::rtp::srtp::{Keys, Suite};

/// Most `m=` lines in one description.
const MEDIA_MAX: usize = 16;

/// Longest description that is read, in bytes.
const LENGTH_MAX: usize = 32_768;

/// Payload type that we offer for telephone-event; any dynamic one would do.
const TELEPHONE_EVENT: u8 = 101;

/// The same at the clock of Opus (RFC 4733 §2.1: the clock of the sound beside it).
const WIDE_TELEPHONE_EVENT: u8 = 102;

/// Payload type that we offer for Opus; any dynamic one would do.
const OPUS: u8 = 107;

/// Payload types without a meaning of their own (RFC 3551 §6).
const DYNAMIC: core::ops::RangeInclusive<u8> = 96..=127;

/// Comfort noise has a static payload type (RFC 3389 §4).
const COMFORT_NOISE: u8 = 13;

/// An audio codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.722 at 64 kbit/s, 16 kHz.
    G722,
    /// Opus, up to 48 kHz (RFC 7587).
    Opus,
}

impl Codec {
    /// All codecs, in the order in which we offer them where nobody says otherwise:
    /// telephone lines first.
    pub const ALL: [Self; 4] = [Self::Pcmu, Self::Pcma, Self::G722, Self::Opus];

    /// Encoding name in `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Opus => "opus",
        }
    }

    /// RTP clock in hertz; that of G.722 is half its sampling rate (RFC 3551 §4.5.2).
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// Channels in `a=rtpmap`: Opus says two, whatever it carries (RFC 7587 §4.1).
    const fn channels(self) -> &'static str {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => "1",
            Self::Opus => "2",
        }
    }

    /// The payload type of RFC 3551, table 4.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::Opus => None,
        }
    }

    /// The payload type that we offer it under.
    fn offered_payload_type(self) -> u8 {
        self.static_payload_type().unwrap_or(OPUS)
    }
}

/// Who sends audio, from our point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both sides.
    SendRecv,
    /// Only we send.
    SendOnly,
    /// Only the peer sends.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// From whether we send and receive.
    pub const fn new(send: bool, receive: bool) -> Self {
        match (send, receive) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether we send.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the peer sends.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same stream from the other side.
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// What both allow.
    pub const fn within(self, other: Self) -> Self {
        Self::new(
            self.sends() && other.sends(),
            self.receives() && other.receives(),
        )
    }

    /// The attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// What we put into offers and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// `o=` session id; one number for the life of a call.
    pub session_id: u64,
    /// `o=` version; [`SdpSession`] counts it up.
    pub version: u64,
    /// Where the peer sends RTP to.
    pub address: IpAddr,
    /// Our RTP port; RTCP is one above.
    pub port: u16,
    /// Codecs, best first.
    pub codecs: Vec<Codec>,
    /// Whether DTMF goes as telephone-event (RFC 4733).
    pub telephone_event: bool,
    /// Whether comfort noise packets (RFC 3389) are understood and sent.
    pub comfort_noise: bool,
    /// Whether RTCP may share the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// Packet length we like, in milliseconds.
    pub ptime_ms: u8,
    /// Whether and with what sound is encrypted; `None`: not at all.
    pub srtp: Option<LocalSrtp>,
}

/// One payload type that the peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceivePayload {
    /// RTP payload type.
    pub payload_type: u8,
    /// What it carries.
    pub codec: Codec,
}

/// Payload types of telephone-event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TelephoneEvent {
    /// In packets that we send.
    pub send: u8,
    /// Clock of the durations in them.
    pub clock_rate: u32,
    /// In packets that we receive, one for each clock there is.
    pub receive: [Option<u8>; 2],
}

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Where RTP goes; the unspecified address while the peer holds the old way
    /// (`c=` of zeros), and then `direction` does not send.
    pub remote_rtp: SocketAddr,
    /// Where RTCP goes: with `rtcp_mux` where RTP goes.
    pub remote_rtcp: SocketAddr,
    /// RTCP of both sides shares the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// What we send.
    pub codec: Codec,
    /// Payload type of what we send.
    pub send_payload_type: u8,
    /// What the peer may send.
    pub receive: Vec<ReceivePayload>,
    /// DTMF payload types, if both sides have them.
    pub telephone_event: Option<TelephoneEvent>,
    /// Length of the packets that we send, in milliseconds.
    pub ptime_ms: u8,
    /// The longest packets that the peer takes, in milliseconds.
    pub longest_ms: u8,
    /// Who sends.
    pub direction: Direction,
    /// Comfort noise may be sent (payload type 13).
    pub comfort_noise: bool,
    /// Keys of SRTP; `None`: in the clear.
    pub srtp: Option<Keys>,
}

/// Why a description leads to no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SdpFault {
    /// Not SDP; what the parser said.
    Syntax(String),
    /// Longer than 32 kB or more than 16 media lines.
    TooLong,
    /// No audio stream in RTP/AVP with a port.
    NoAudio,
    /// No codec that both sides have.
    NoCommonCodec,
    /// No unicast address literal of our family to send to.
    Address,
    /// The answer has another number of media lines than the offer.
    MediaCount,
    /// The answer refuses our stream (port 0).
    Refused,
    /// It is encrypted, and we do not encrypt here, or not like that.
    Encrypted,
    /// It is in the clear, and we must encrypt.
    InTheClear,
}

impl SdpFault {
    /// The refusal that an offer with this fault gets.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Syntax(_) => StatusCode::BAD_REQUEST,
            Self::TooLong
            | Self::NoAudio
            | Self::NoCommonCodec
            | Self::Address
            | Self::MediaCount
            | Self::Encrypted
            | Self::InTheClear
            | Self::Refused => StatusCode::NOT_ACCEPTABLE_HERE,
        }
    }

    /// The value of a Warning header that says it, as this agent (RFC 3261 §20.43).
    pub fn warning(&self, agent: &str) -> String {
        let code = match self {
            Self::Address => 301,
            Self::NoAudio => 304,
            Self::NoCommonCodec => 305,
            Self::Syntax(_)
            | Self::TooLong
            | Self::MediaCount
            | Self::Refused
            | Self::Encrypted
            | Self::InTheClear => 399,
        };
        let plain = |letter: char| match letter {
            '"' | '\\' => '\'',
            letter if letter.is_control() => ' ',
            letter => letter,
        };
        let text: String = self.to_string().chars().map(plain).collect();
        format!("{code} {agent} \"{text}\"")
    }
}

impl fmt::Display for SdpFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) => write!(formatter, "SDP cannot be read: {what}"),
            Self::TooLong => formatter.write_str("SDP is too long"),
            Self::NoAudio => formatter.write_str("SDP has no audio stream in RTP/AVP"),
            Self::NoCommonCodec => formatter.write_str("SDP has no codec of ours"),
            Self::Address => formatter.write_str("SDP has no address that we can send to"),
            Self::MediaCount => formatter.write_str("SDP answer has another number of streams"),
            Self::Encrypted => {
                formatter.write_str("SDP is encrypted (RTP/SAVP) in no way that is allowed here")
            }
            Self::InTheClear => formatter.write_str("SDP has no a=crypto, and SRTP is required"),
            Self::Refused => formatter.write_str("SDP answer refuses the audio stream"),
        }
    }
}

impl core::error::Error for SdpFault {}

/// Reads a description. Text that is not UTF-8 is taken as Latin-1.
///
/// # Errors
/// [`SdpFault::Syntax`] or [`SdpFault::TooLong`].
pub fn parse(bytes: &[u8]) -> Result<Session, SdpFault> {
    if bytes.len() > LENGTH_MAX {
        return Err(SdpFault::TooLong);
    }
    let bytes = trim_end(bytes);
    check_lines(bytes)?;
    let text = match crate::text::decode(bytes) {
        Cow::Borrowed(_) => Session::parse(bytes),
        Cow::Owned(text) => Session::parse(text.as_bytes()),
    };
    let session = text.map_err(|error| SdpFault::Syntax(error.to_string()))?;
    if session.medias.len() > MEDIA_MAX {
        return Err(SdpFault::TooLong);
    }
    Ok(session)
}

/// Cuts the ends of the last line: a lone carriage return there would become
/// part of its value.
fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Every line is `x=…`. `sdp-types` 0.1 asserts this among the session lines
/// instead of reporting it, and would pass control bytes on into our answer.
fn check_lines(bytes: &[u8]) -> Result<(), SdpFault> {
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shaped = matches!(line, [] | [b'a'..=b'z', b'=', ..]);
        if !shaped || line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
            return Err(SdpFault::Syntax(format!("line {}", index + 1)));
        }
    }
    Ok(())
}

/// Our offer.
pub fn offer(local: &LocalMedia) -> Vec<u8> {
    let mut shape = Shape::default();
    shape.widen(local);
    write::offer(local, Direction::SendRecv, &shape)
}

/// Our answer to an offer, and what it means.
///
/// The first audio stream that we can serve is taken, every other one refused
/// with port 0. Common codecs are listed in the offer's order with the offer's
/// payload types, and we send the first (RFC 3264 §6.1).
///
/// # Errors
/// A fault for which the offer is to be refused with [`SdpFault::status`].
pub fn answer(offer: &[u8], local: &LocalMedia) -> Result<(Vec<u8>, Negotiated), SdpFault> {
    let session = parse(offer)?;
    let (index, audio) = find_audio(&session, local)?;
    let negotiated = negotiate(&audio, local);
    let bytes = write::answer(&session, index, &audio, &negotiated, local);
    Ok((bytes, negotiated))
}

/// What the peer's answer to [`offer`] means.
///
/// # Errors
/// A fault with which the call cannot go on.
pub fn accept_answer(answer: &[u8], local: &LocalMedia) -> Result<Negotiated, SdpFault> {
    let mut shape = Shape::default();
    shape.widen(local);
    shape.accept_answer(answer, local)
}

/// What is settled about the lines of a session, so that later offers keep to it: as
/// many lines in the same order, the profile, and payload types that mean what they
/// meant (RFC 3264 §8, §8.3.2).
#[derive(Clone, Debug, Default)]
struct Shape {
    /// Lines before ours, refused.
    before: Vec<Media>,
    /// Lines after ours, refused.
    after: Vec<Media>,
    /// What RTP is carried by; `None` before the first description.
    profile: Option<&'static str>,
    /// Under what we take sound.
    payloads: Vec<ReceivePayload>,
    /// Under what we take keys, each with its clock.
    events: Events,
}

impl Shape {
    /// Of an answer of ours.
    fn of_answer(offer: &Session, index: usize, audio: &AudioLine, agreed: &Negotiated) -> Self {
        let refused = |medias: &[Media]| medias.iter().map(write::refused).collect();
        Self {
            before: refused(&offer.medias[..index]),
            after: refused(&offer.medias[index + 1..]),
            profile: Some(audio.profile),
            payloads: audio.payloads.clone(),
            events: agreed.telephone_event.map_or([None; 2], |_| audio.events),
        }
    }

    /// All that we can, as in a new call, beside what was agreed on and under numbers
    /// that mean nothing else (RFC 3261 §14.2).
    fn widen(&mut self, local: &LocalMedia) {
        let known = self.payloads.iter().map(|it| it.payload_type);
        let keys = self.events.iter().flatten().map(|(event, _)| *event);
        let mut taken: Vec<u8> = known.chain(keys).chain([COMFORT_NOISE]).collect();
        let mut number = |wanted: u8| {
            let mut numbers = core::iter::once(wanted).chain(DYNAMIC);
            let free = numbers.find(|number| !taken.contains(number));
            taken.extend(free);
            free
        };
        for codec in &local.codecs {
            let known = self.payloads.iter().any(|it| it.codec == *codec);
            let free = (!known).then(|| number(codec.offered_payload_type()));
            self.payloads
                .extend(free.flatten().map(|payload_type| ReceivePayload {
                    payload_type,
                    codec: *codec,
                }));
        }
        for (event, own) in self.events.iter_mut().zip(own_events(local)) {
            let free = own.filter(|_| event.is_none());
            *event = event.or(free.and_then(|(wanted, clock)| Some((number(wanted)?, clock))));
        }
        // Only the first offer decides for itself.
        let secure = local.srtp.as_ref().is_some_and(|srtp| srtp.required);
        // One that may be left stands beside the plain profile, so that nobody has to
        // refuse it.
        let own = if secure { "RTP/SAVP" } else { "RTP/AVP" };
        self.profile.get_or_insert(own);
    }

    /// What an answer to an offer of this shape means.
    fn accept_answer(&self, answer: &[u8], local: &LocalMedia) -> Result<Negotiated, SdpFault> {
        let session = parse(answer)?;
        let index = self.before.len();
        if session.medias.len() != index + 1 + self.after.len() {
            return Err(SdpFault::MediaCount);
        }
        if session
            .medias
            .get(index)
            .is_some_and(|media| media.port == 0)
        {
            return Err(SdpFault::Refused);
        }
        let mut audio = audio_at(&session, index, local)?;
        // The suite is the one that we have offered under that tag (RFC 4568 §5.1.3).
        let offered = |crypto: &crypto::Crypto| {
            let place = crypto
                .tag
                .checked_sub(1)
                .and_then(|place| usize::try_from(place).ok());
            place.and_then(|place| Suite::ALL.get(place)) == Some(&crypto.key.suite)
        };
        if !audio.crypto.iter().all(offered) {
            return Err(SdpFault::Encrypted);
        }
        audio.crypto.truncate(1);
        let mut negotiated = negotiate(&audio, local);
        // What the peer sends carries the payload types of our offer.
        negotiated.receive.clone_from(&self.payloads);
        if let Some(event) = &mut negotiated.telephone_event {
            event.receive = self.events.map(|event| event.map(|(own, _)| own));
        }
        Ok(negotiated)
    }
}

/// Payload types of telephone-event that we offer, with their clocks: one for each
/// clock of our codecs.
fn own_events(local: &LocalMedia) -> Events {
    let wants = |clock| {
        let mut codecs = local.codecs.iter();
        local.telephone_event && codecs.any(|codec| codec.clock_rate() == clock)
    };
    [(TELEPHONE_EVENT, 8000), (WIDE_TELEPHONE_EVENT, 48_000)]
        .map(|event| wants(event.1).then_some(event))
}

/// Telephone-events of a description: payload type and clock.
type Events = [Option<(u8, u32)>; 2];

fn negotiate(audio: &AudioLine, local: &LocalMedia) -> Negotiated {
    let first = audio.first;
    let rtcp_mux = audio.rtcp_mux && local.rtcp_mux;
    let events = audio.events.iter().flatten();
    // That of the sound's own clock, as it should be; else whatever there is.
    let event = events
        .clone()
        .find(|(_, clock)| *clock == first.codec.clock_rate())
        .or(events.clone().next())
        .filter(|_| local.telephone_event);
    Negotiated {
        remote_rtp: audio.rtp,
        remote_rtcp: if rtcp_mux { audio.rtp } else { audio.rtcp },
        rtcp_mux,
        codec: first.codec,
        send_payload_type: first.payload_type,
        receive: audio.payloads.clone(),
        telephone_event: event.map(|(payload_type, clock_rate)| TelephoneEvent {
            send: *payload_type,
            clock_rate: *clock_rate,
            receive: audio.events.map(|event| event.map(|(theirs, _)| theirs)),
        }),
        ptime_ms: audio.ptime_ms.unwrap_or(local.ptime_ms),
        longest_ms: audio.longest_ms,
        direction: audio.direction.reversed(),
        comfort_noise: audio.comfort_noise && local.comfort_noise,
        srtp: audio
            .crypto
            .first()
            .zip(local.srtp.as_ref())
            .map(|(theirs, local)| Keys {
                ours: local.key(theirs.key.suite),
                theirs: theirs.key,
            }),
    }
}

/// The descriptions of one call: same session id throughout, a version that
/// goes up exactly when the text changes (RFC 3264 §8).
#[derive(Clone, Debug)]
pub struct SdpSession {
    /// What we send; change it before an offer or answer that should differ.
    pub local: LocalMedia,
    /// What we want of the stream: `SendRecv` as a rule, `SendOnly` or
    /// `Inactive` while we hold the peer (RFC 3264 §8.4). Offers say it, and no
    /// answer goes beyond it.
    pub direction: Direction,
    last: Option<Vec<u8>>,
    shape: Shape,
}

impl SdpSession {
    /// A call that has sent nothing yet.
    pub fn new(local: LocalMedia) -> Self {
        Self {
            local,
            direction: Direction::SendRecv,
            last: None,
            shape: Shape::default(),
        }
    }

    /// Another peer goes on with the call: of what was agreed on with the last one
    /// nothing is left, and it does not know these keys.
    pub fn begin_anew(&mut self, srtp: Option<LocalSrtp>) {
        self.local.srtp = srtp;
        self.shape = Shape::default();
    }

    /// As [`offer`]; in a session that is up with all lines that it has, its profile and
    /// its payload types.
    pub fn offer(&mut self) -> Vec<u8> {
        let (local, direction) = (self.local.clone(), self.direction);
        let mut shape = core::mem::take(&mut self.shape);
        shape.widen(&local);
        let bytes = self.settle(|version| {
            let local = LocalMedia {
                version,
                ..local.clone()
            };
            write::offer(&local, direction, &shape)
        });
        self.shape = shape;
        bytes
    }

    /// As [`answer`].
    ///
    /// # Errors
    /// As [`answer`]; nothing changes then.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Negotiated), SdpFault> {
        let session = parse(offer)?;
        let local = self.local.clone();
        let (index, audio) = find_audio(&session, &local)?;
        let mut negotiated = negotiate(&audio, &local);
        negotiated.direction = negotiated.direction.within(self.direction);
        let bytes = self.settle(|version| {
            let local = LocalMedia {
                version,
                ..local.clone()
            };
            write::answer(&session, index, &audio, &negotiated, &local)
        });
        self.shape = Shape::of_answer(&session, index, &audio, &negotiated);
        Ok((bytes, negotiated))
    }

    /// As [`accept_answer`], to the last offer.
    ///
    /// # Errors
    /// As [`accept_answer`].
    pub fn accept_answer(&self, answer: &[u8]) -> Result<Negotiated, SdpFault> {
        let mut negotiated = self.shape.accept_answer(answer, &self.local)?;
        negotiated.direction = negotiated.direction.within(self.direction);
        Ok(negotiated)
    }

    /// Writes with the current version and, if that differs from the last
    /// text, with the next one.
    fn settle(&mut self, write: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
        let mut bytes = write(self.local.version);
        if self.last.as_ref().is_some_and(|last| *last != bytes) {
            self.local.version = self.local.version.wrapping_add(1);
            bytes = write(self.local.version);
        }
        self.last = Some(bytes.clone());
        bytes
    }
}

#[cfg(test)]
mod tests;
