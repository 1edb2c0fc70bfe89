//! Writes our offers and answers.

use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use super::crypto::Crypto;
use super::media::AudioLine;
use super::{
    COMFORT_NOISE, Codec, Direction, Events, LocalMedia, LocalSrtp, Negotiated, ReceivePayload,
    Shape,
};

/// Digits, `*`, `#` and A–D (RFC 4733 §3.2).
const DTMF_EVENTS: &str = "0-15";
/// The longest packets that we like to take: what one gap may cost.
const MAXPTIME_MS: u8 = 60;

/// An offer of this shape, which was widened to what `local` can.
pub(super) fn offer(local: &LocalMedia, direction: Direction, shape: &Shape) -> Vec<u8> {
    let stream = Stream {
        proto: shape.profile.unwrap_or("RTP/AVP"),
        crypto: local.srtp.as_ref().map_or(Vec::new(), LocalSrtp::lines),
        payloads: &shape.payloads,
        events: shape.events,
        comfort_noise: local.comfort_noise,
        rtcp_mux: local.rtcp_mux,
        ptime_ms: local.ptime_ms,
        direction,
    };
    let own = [stream.to_media(local)];
    let lines = shape.before.iter().chain(&own).chain(&shape.after);
    to_bytes(local, lines.cloned().collect())
}

pub(super) fn answer(
    offer: &Session,
    index: usize,
    audio: &AudioLine,
    negotiated: &Negotiated,
    local: &LocalMedia,
) -> Vec<u8> {
    let medias = offer.medias.iter().enumerate().map(|(position, media)| {
        if position != index {
            return refused(media);
        }
        let stream = Stream {
            proto: &media.proto,
            crypto: negotiated.srtp.as_ref().zip(audio.crypto.first()).map_or(
                Vec::new(),
                |(keys, theirs)| {
                    vec![Crypto {
                        tag: theirs.tag,
                        key: keys.ours,
                    }]
                },
            ),
            payloads: &audio.payloads,
            events: negotiated
                .telephone_event
                .map_or([None; 2], |_| audio.events),
            comfort_noise: negotiated.comfort_noise,
            rtcp_mux: negotiated.rtcp_mux,
            ptime_ms: negotiated.ptime_ms,
            direction: negotiated.direction,
        };
        stream.to_media(local)
    });
    to_bytes(local, medias.collect())
}

/// The same line with port 0 (RFC 3264 §6).
pub(super) fn refused(media: &Media) -> Media {
    Media {
        port: 0,
        num_ports: None,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
        ..media.clone()
    }
}

struct Stream<'a> {
    proto: &'a str,
    crypto: Vec<Crypto>,
    payloads: &'a [ReceivePayload],
    events: Events,
    comfort_noise: bool,
    rtcp_mux: bool,
    ptime_ms: u8,
    direction: Direction,
}

impl Stream<'_> {
    fn to_media(&self, local: &LocalMedia) -> Media {
        let mut formats = Vec::new();
        let mut attributes = Vec::new();
        for payload in self.payloads {
            formats.push(payload.payload_type.to_string());
            attributes.push(rtpmap(payload.payload_type, payload.codec));
            if payload.codec == Codec::Opus {
                let text = format!("{} useinbandfec=1", payload.payload_type);
                attributes.push(attribute("fmtp", text));
            }
        }
        if self.comfort_noise {
            formats.push(COMFORT_NOISE.to_string());
            attributes.push(attribute("rtpmap", format!("{COMFORT_NOISE} CN/8000")));
        }
        for (event, clock) in self.events.into_iter().flatten() {
            formats.push(event.to_string());
            let text = format!("{event} telephone-event/{clock}");
            attributes.push(attribute("rtpmap", text));
            attributes.push(attribute("fmtp", format!("{event} {DTMF_EVENTS}")));
        }
        for crypto in &self.crypto {
            attributes.push(attribute("crypto", crypto.written()));
        }
        attributes.push(attribute("ptime", self.ptime_ms.to_string()));
        attributes.push(attribute("maxptime", MAXPTIME_MS.to_string()));
        if self.rtcp_mux {
            attributes.push(flag("rtcp-mux"));
        }
        attributes.push(flag(self.direction.as_str()));
        Media {
            media: "audio".to_owned(),
            port: local.port,
            num_ports: None,
            proto: self.proto.to_owned(),
            fmt: formats.join(" "),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes,
        }
    }
}

fn rtpmap(payload_type: u8, codec: Codec) -> Attribute {
    let (name, rate) = (codec.name(), codec.clock_rate());
    let channels = match codec.channels() {
        "1" => "",
        _ => "/2",
    };
    attribute("rtpmap", format!("{payload_type} {name}/{rate}{channels}"))
}

fn attribute(name: &str, value: String) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: Some(value),
    }
}

fn flag(name: &str) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: None,
    }
}

fn to_bytes(local: &LocalMedia, medias: Vec<Media>) -> Vec<u8> {
    let kind = if local.address.is_ipv4() {
        "IP4"
    } else {
        "IP6"
    };
    let address = local.address.to_string();
    let session = Session {
        origin: Origin {
            username: None,
            sess_id: local.session_id.to_string(),
            sess_version: local.version,
            nettype: "IN".to_owned(),
            addrtype: kind.to_owned(),
            unicast_address: address.clone(),
        },
        session_name: "-".to_owned(),
        session_description: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: Some(Connection {
            nettype: "IN".to_owned(),
            addrtype: kind.to_owned(),
            connection_address: address,
        }),
        bandwidths: Vec::new(),
        times: vec![Time {
            start_time: 0,
            stop_time: 0,
            repeats: Vec::new(),
        }],
        time_zones: Vec::new(),
        key: None,
        attributes: Vec::new(),
        medias,
    };
    let mut bytes = Vec::with_capacity(512);
    session
        .write(&mut bytes)
        .expect("writing into memory cannot fail");
    bytes
}
