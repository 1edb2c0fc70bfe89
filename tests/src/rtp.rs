//! RTP packets as the tests write and read them, apart from the daemon's code
//! (RFC 3550 §5.1, RFC 4733 §2.3).

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Payload type.
    pub kind: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in samples.
    pub timestamp: u32,
    /// Synchronisation source.
    pub source: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The fixed header's length.
const HEADER: usize = 12;

impl Packet {
    /// Reads one; `None` when it is not RTP version 2 or is RTCP (RFC 5761 §4).
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let kind = header[1] & 0x7f;
        let rtcp = (64..96).contains(&kind);
        if header[0] >> 6 != 2 || rtcp {
            return None;
        }
        let sources = 4 * usize::from(header[0] & 0x0f);
        Some(Self {
            kind,
            marker: header[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([header[2], header[3]]),
            timestamp: u32::from_be_bytes(header[4..8].try_into().ok()?),
            source: u32::from_be_bytes(header[8..12].try_into().ok()?),
            payload: rest.get(sources..)?.to_vec(),
        })
    }

    /// Writes it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.kind | u8::from(self.marker) << 7];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// The payload of a telephone-event: which key, its volume, how long so far.
pub fn key_payload(key: char, end: bool, samples: u16) -> Vec<u8> {
    let event = match key {
        '0'..='9' => key as u8 - b'0',
        '*' => 10,
        '#' => 11,
        'A'..='D' => key as u8 - b'A' + 12,
        other => panic!("{other} is not a key"),
    };
    let [high, low] = samples.to_be_bytes();
    vec![event, u8::from(end) << 7 | 10, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_reads_back_what_it_writes() {
        let packet = Packet {
            kind: 101,
            marker: true,
            sequence: 65_535,
            timestamp: 4_000_000_000,
            source: 7,
            payload: key_payload('#', true, 800),
        };
        assert_eq!(Packet::read(&packet.bytes()), Some(packet));
    }

    #[test]
    fn what_is_not_rtp_is_refused() {
        for bytes in [
            &b"INVITE sip:a SIP/2.0"[..],
            &[0x80; 11],
            &[0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Packet::read(bytes), None);
        }
    }
}
