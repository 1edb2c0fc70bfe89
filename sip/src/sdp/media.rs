//! Reads the one audio line of a description that we can serve.

use core::net::{IpAddr, SocketAddr};

use sdp_types::{Connection, Media, Session};

use super::crypto::{self, Crypto};
use super::{COMFORT_NOISE, Codec, Direction, Events, LocalMedia, ReceivePayload, SdpFault};

/// What RTP can be carried by (RFC 3551, 4585, 3711, 5124).
const PROFILES: [&str; 4] = ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"];
/// Those that are encrypted.
const SECURE: &str = "RTP/S";

/// Shortest and longest packets that we send on request, in milliseconds.
const PTIME_MS: core::ops::RangeInclusive<u16> = 10..=60;

/// Payload types that look like those of RTCP beside RTP (RFC 5761 §4).
const LIKE_RTCP: core::ops::RangeInclusive<u8> = 64..=95;

/// The longest packets that anybody is taken to take (RFC 3551 §4.2).
const LONGEST_MS: u8 = 200;

/// An audio line in the sender's terms.
#[derive(Clone, Debug)]
pub(super) struct AudioLine {
    /// What RTP is carried by.
    pub(super) profile: &'static str,
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: SocketAddr,
    /// RTCP may come where RTP comes.
    pub(super) rtcp_mux: bool,
    /// Common codecs in the line's order; never empty.
    pub(super) payloads: Vec<ReceivePayload>,
    /// The first of them.
    pub(super) first: ReceivePayload,
    pub(super) events: Events,
    pub(super) comfort_noise: bool,
    /// What it can be encrypted with, if it is.
    pub(super) crypto: Vec<Crypto>,
    /// A packet length that we can follow.
    pub(super) ptime_ms: Option<u8>,
    /// The longest that it takes.
    pub(super) longest_ms: u8,
    /// From the sender's point of view.
    pub(super) direction: Direction,
}

/// The first audio line that can be served, and its index.
///
/// # Errors
/// What stands against the last candidate, or [`SdpFault::NoAudio`].
pub(super) fn find_audio(
    session: &Session,
    local: &LocalMedia,
) -> Result<(usize, AudioLine), SdpFault> {
    let mut fault = SdpFault::NoAudio;
    for (index, media) in session.medias.iter().enumerate() {
        if !is_candidate(media) {
            continue;
        }
        match read_audio(session, media, local) {
            Ok(line) => return Ok((index, line)),
            Err(found) => fault = found,
        }
    }
    Err(fault)
}

/// The audio line in this place.
///
/// # Errors
/// What stands against it.
pub(super) fn audio_at(
    session: &Session,
    index: usize,
    local: &LocalMedia,
) -> Result<AudioLine, SdpFault> {
    let media = session.medias.get(index).filter(|it| is_candidate(it));
    read_audio(session, media.ok_or(SdpFault::NoAudio)?, local)
}

fn is_candidate(media: &Media) -> bool {
    let audio = media.media.eq_ignore_ascii_case("audio");
    audio && profile(media).is_some() && media.port != 0
}

fn profile(media: &Media) -> Option<&'static str> {
    PROFILES.into_iter().find(|profile| *profile == media.proto)
}

fn read_audio(session: &Session, media: &Media, local: &LocalMedia) -> Result<AudioLine, SdpFault> {
    let connection = media.connections.first().or(session.connection.as_ref());
    let address = connection.and_then(read_address).ok_or(SdpFault::Address)?;
    if address.is_ipv4() != local.address.is_ipv4() || address.is_multicast() {
        return Err(SdpFault::Address);
    }
    let crypto = read_crypto(media, local)?;
    let payloads = common_payloads(media, local);
    let first = *payloads.first().ok_or(SdpFault::NoCommonCodec)?;
    let rtp = SocketAddr::new(address, media.port);
    Ok(AudioLine {
        profile: profile(media).ok_or(SdpFault::NoAudio)?,
        rtp,
        rtcp: read_rtcp(media, rtp),
        rtcp_mux: may_share_port(media),
        payloads,
        first,
        events: [8000, 48_000].map(|clock| {
            let mut formats = formats(media);
            let found = formats.find(|format| is_telephone_event(media, *format, clock));
            found.map(|format| (format, clock))
        }),
        comfort_noise: formats(media).any(|format| format == COMFORT_NOISE),
        crypto,
        ptime_ms: read_ptime(media),
        longest_ms: read_longest(media),
        direction: read_direction(session, media, address),
    })
}

/// What the stream is encrypted with. Keys beside a plain profile are an offer that
/// may be taken or left.
fn read_crypto(media: &Media, local: &LocalMedia) -> Result<Vec<Crypto>, SdpFault> {
    let Some(srtp) = &local.srtp else {
        let plain = !media.proto.starts_with(SECURE);
        return plain.then(Vec::new).ok_or(SdpFault::Encrypted);
    };
    let crypto = crypto::read(media);
    match (crypto.is_empty(), media.proto.starts_with(SECURE)) {
        (false, _) => Ok(crypto),
        (true, true) => Err(SdpFault::Encrypted),
        (true, false) if srtp.required => Err(SdpFault::InTheClear),
        (true, false) => Ok(crypto),
    }
}

fn formats(media: &Media) -> impl Iterator<Item = u8> {
    let words = media.fmt.split_ascii_whitespace();
    words
        .filter_map(|word| word.parse().ok())
        .filter(|payload_type: &u8| *payload_type < 128)
}

fn common_payloads(media: &Media, local: &LocalMedia) -> Vec<ReceivePayload> {
    let mut payloads: Vec<ReceivePayload> = Vec::new();
    for payload_type in formats(media) {
        let codec = codec_of(media, payload_type).filter(|codec| local.codecs.contains(codec));
        if let Some(codec) = codec
            && !payloads.iter().any(|known| known.codec == codec)
        {
            payloads.push(ReceivePayload {
                payload_type,
                codec,
            });
        }
    }
    payloads
}

/// `rtpmap` of a payload type: encoding name and the rest after the slash.
fn rtpmap(media: &Media, payload_type: u8) -> Option<(&str, &str)> {
    let maps = media.get_attribute_values("rtpmap").ok()?;
    maps.flatten()
        .filter_map(|map| map.trim().split_once(' '))
        .find(|(number, _)| number.parse() == Ok(payload_type))
        .and_then(|(_, encoding)| encoding.trim().split_once('/'))
}

fn codec_of(media: &Media, payload_type: u8) -> Option<Codec> {
    match rtpmap(media, payload_type) {
        Some((name, rate)) => Codec::ALL.into_iter().find(|codec| {
            let (rate, channels) = rate.split_once('/').unwrap_or((rate, "1"));
            name.eq_ignore_ascii_case(codec.name())
                && rate.parse() == Ok(codec.clock_rate())
                && channels == codec.channels()
        }),
        None => Codec::ALL
            .into_iter()
            .find(|codec| codec.static_payload_type() == Some(payload_type)),
    }
}

fn is_telephone_event(media: &Media, payload_type: u8, clock: u32) -> bool {
    rtpmap(media, payload_type).is_some_and(|(name, rate)| {
        let rate = rate.split('/').next().and_then(|rate| rate.parse().ok());
        name.eq_ignore_ascii_case("telephone-event") && rate == Some(clock)
    })
}

fn read_address(connection: &Connection) -> Option<IpAddr> {
    let address = connection.connection_address.as_str();
    let address = address.split('/').next()?.trim();
    let address: IpAddr = address.parse().ok()?;
    let named = match connection.addrtype.as_str() {
        "IP4" => address.is_ipv4(),
        "IP6" => address.is_ipv6(),
        _ => false,
    };
    named.then_some(address)
}

/// `a=rtcp:port [IN IP4 address]` (RFC 3605), otherwise the next port.
fn read_rtcp(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let default = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    let Ok(Some(Some(value))) = media.get_first_attribute_value("rtcp").map(Some) else {
        return default;
    };
    let mut words = value.split_ascii_whitespace();
    let port = words.next().and_then(|word| word.parse().ok());
    let address = words.nth(2).and_then(|word| word.parse::<IpAddr>().ok());
    let address = address.filter(|address| address.is_ipv4() == rtp.is_ipv4());
    match port.filter(|port| *port != 0) {
        Some(port) => SocketAddr::new(address.unwrap_or(rtp.ip()), port),
        None => default,
    }
}

/// `a=rtcp-mux`, unless a payload type would be taken for RTCP (RFC 5761 §4).
fn may_share_port(media: &Media) -> bool {
    media.has_attribute("rtcp-mux") && !formats(media).any(|format| LIKE_RTCP.contains(&format))
}

/// The asked packet length, if we can make it: whole 10 ms frames.
fn read_ptime(media: &Media) -> Option<u8> {
    let number = |name| {
        let value = media.get_first_attribute_value(name).ok()??;
        value.trim().parse::<u16>().ok()
    };
    let (ptime, longest) = (number("ptime"), number("maxptime"));
    let ptime = match (ptime, longest) {
        (Some(ptime), Some(longest)) => ptime.min(longest),
        (Some(ptime), None) => ptime,
        (None, Some(longest)) if longest < 20 => longest,
        (None, _) => return None,
    };
    let usable = PTIME_MS.contains(&ptime) && ptime.is_multiple_of(10);
    u8::try_from(ptime).ok().filter(|_| usable)
}

/// `a=maxptime`, as far as we would go.
fn read_longest(media: &Media) -> u8 {
    let value = media.get_first_attribute_value("maxptime").ok().flatten();
    let value = value.and_then(|value| value.trim().parse::<u8>().ok());
    value.unwrap_or(LONGEST_MS).clamp(10, LONGEST_MS)
}

/// The media's own attribute, else the session's, else both ways. An address
/// of zeros is the hold of RFC 2543: the sender takes no audio.
fn read_direction(session: &Session, media: &Media, address: IpAddr) -> Direction {
    const ALL: [Direction; 4] = [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ];
    let own = ALL
        .into_iter()
        .find(|way| media.has_attribute(way.as_str()));
    let shared = ALL
        .into_iter()
        .find(|way| session.has_attribute(way.as_str()));
    let direction = own.or(shared).unwrap_or(Direction::SendRecv);
    let receives = direction.receives() && !address.is_unspecified();
    Direction::new(direction.sends(), receives)
}
