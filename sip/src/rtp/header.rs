//! The RTP header: a checked view of a packet that came in, and the template
//! of those that go out (RFC 3550 §5.1).
//!
//! It does not order packets and knows no codec. Called by the media threads
//! for every packet; a view borrows the packet and copies nothing.

use core::fmt;
use core::ops::Range;

/// Length of a header without CSRCs and extension (RFC 3550 §5.1).
pub const HEADER: usize = 12;
/// The only version there is (RFC 3550 §5.1).
const VERSION: u8 = 2;

/// Why a datagram is no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Too short for its header; so many octets came.
    Short(usize),
    /// Another version.
    Version(u8),
    /// So many CSRCs do not fit.
    Csrc(u8),
    /// The header extension does not fit; its length in 32-bit words.
    Extension(u16),
    /// More padding than payload, or none where some is announced.
    Padding(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(octets) => write!(f, "RTP packet of {octets} octets; need {HEADER}"),
            Self::Version(version) => write!(f, "RTP version {version}; need {VERSION}"),
            Self::Csrc(count) => write!(f, "{count} CSRCs do not fit the packet"),
            Self::Extension(words) => write!(f, "extension of {words} words does not fit"),
            Self::Padding(octets) => write!(f, "padding of {octets} octets does not fit"),
        }
    }
}

impl core::error::Error for Malformed {}

/// A packet whose header, CSRCs, extension and padding were checked.
#[derive(Clone, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    payload: Range<usize>,
}

impl<'a> View<'a> {
    /// Checks a datagram. Does not allocate or block.
    ///
    /// # Errors
    /// The datagram is no RTP packet, and why.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEADER {
            return Err(Malformed::Short(bytes.len()));
        }
        if bytes[0] >> 6 != VERSION {
            return Err(Malformed::Version(bytes[0] >> 6));
        }
        let start = payload_start(bytes)?;
        let padding = padding(bytes, start)?;
        Ok(Self {
            bytes,
            payload: start..bytes.len() - padding,
        })
    }

    /// Start of a talkspurt, or of a telephone-event.
    pub fn marker(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// 0 to 127.
    pub fn payload_type(&self) -> u8 {
        self.bytes[1] & 0x7F
    }

    /// Counts packets, modulo 2^16.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Counts samples, modulo 2^32.
    pub fn timestamp(&self) -> u32 {
        self.word(4)
    }

    /// Who sends.
    pub fn ssrc(&self) -> u32 {
        self.word(8)
    }

    /// What is carried, without extension and padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload.clone()]
    }

    /// Where the payload begins.
    pub fn payload_start(&self) -> usize {
        self.payload.start
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = &self.bytes[at..at + 4];
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// Where the payload begins in at least [`HEADER`] octets, after CSRCs and extension (RFC 3550 §5.3.1).
pub(super) fn payload_start(bytes: &[u8]) -> Result<usize, Malformed> {
    let sources = bytes[0] & 0x0F;
    let start = HEADER + usize::from(sources) * 4;
    if bytes.len() < start {
        return Err(Malformed::Csrc(sources));
    }
    if bytes[0] & 0x10 == 0 {
        return Ok(start);
    }
    let Some(extension) = bytes.get(start..start + 4) else {
        return Err(Malformed::Extension(0));
    };
    let words = u16::from_be_bytes([extension[2], extension[3]]);
    let start = start + 4 + usize::from(words) * 4;
    if bytes.len() < start {
        return Err(Malformed::Extension(words));
    }
    Ok(start)
}

/// How many octets at the end are padding; the last one says so.
fn padding(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    if bytes[0] & 0x20 == 0 {
        return Ok(0);
    }
    let count = bytes.last().copied().unwrap_or_default();
    if count == 0 || usize::from(count) > bytes.len() - start {
        return Err(Malformed::Padding(count));
    }
    Ok(usize::from(count))
}

/// What all packets of a stream that goes out have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template([u8; HEADER]);

impl Template {
    /// Takes a header that something else has built.
    ///
    /// # Errors
    /// It is no bare 12-octet RTP header.
    pub fn from_header(header: &[u8]) -> Result<Self, Malformed> {
        View::parse(header)?;
        let bytes = <[u8; HEADER]>::try_from(header).map_err(|_| Malformed::Short(header.len()))?;
        Ok(Self(bytes))
    }

    /// Who sends.
    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// The payload type of audio.
    pub fn payload_type(&self) -> u8 {
        self.0[1] & 0x7F
    }

    /// Writes the header of one packet.
    pub fn stamp(
        &self,
        packet: &mut [u8; HEADER],
        payload_type: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
    ) {
        *packet = self.0;
        packet[1] = payload_type & 0x7F | u8::from(marker) << 7;
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BARE: [u8; 13] = [0x80, 0x80, 0, 7, 0, 0, 0, 160, 0xDE, 0xAD, 0xBE, 0xEF, 0x55];

    #[test]
    fn a_bare_packet_reads_as_written() {
        let view = View::parse(&BARE).unwrap();
        assert!(view.marker());
        assert_eq!(view.payload_type(), 0);
        assert_eq!(view.sequence(), 7);
        assert_eq!(view.timestamp(), 160);
        assert_eq!(view.ssrc(), 0xDEAD_BEEF);
        assert_eq!(view.payload(), [0x55]);
    }

    #[test]
    fn each_malformed_packet_is_refused_for_its_own_reason() {
        let with = |first: u8, rest: &[u8]| {
            let mut bytes = BARE[..HEADER].to_vec();
            bytes[0] = first;
            bytes.extend_from_slice(rest);
            bytes
        };
        let table = [
            (BARE[..11].to_vec(), Malformed::Short(11)),
            (Vec::new(), Malformed::Short(0)),
            (with(0x40, &[]), Malformed::Version(1)),
            (with(0x82, &[0; 7]), Malformed::Csrc(2)),
            (with(0x90, &[0, 0, 0]), Malformed::Extension(0)),
            (
                with(0x90, &[0, 0, 0, 2, 9, 9, 9, 9]),
                Malformed::Extension(2),
            ),
            (with(0xA0, &[0]), Malformed::Padding(0)),
            (with(0xA0, &[1, 5]), Malformed::Padding(5)),
            (with(0xA0, &[]), Malformed::Padding(0xEF)),
        ];
        for (bytes, expected) in table {
            assert_eq!(View::parse(&bytes).unwrap_err(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn csrcs_extension_and_padding_are_no_payload() {
        let mut bytes = BARE[..HEADER].to_vec();
        bytes[0] = 0xB1;
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.extend_from_slice(&[0xBE, 0xDE, 0, 1, 9, 9, 9, 9]);
        bytes.extend_from_slice(b"abc\0\0\x03");
        assert_eq!(View::parse(&bytes).unwrap().payload(), b"abc");
    }

    #[test]
    fn a_template_changes_nothing_but_what_it_is_told() {
        let template = Template::from_header(&BARE[..HEADER]).unwrap();
        let mut header = [0; HEADER];
        template.stamp(&mut header, 101, true, 0xFFFF, 0xFFFF_FFFF);
        let view = View::parse(&header).unwrap();
        assert_eq!((view.payload_type(), view.marker()), (101, true));
        assert_eq!((view.sequence(), view.timestamp()), (0xFFFF, 0xFFFF_FFFF));
        assert_eq!(view.ssrc(), template.ssrc());
        assert!(Template::from_header(&BARE).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes: Vec<u8>) {
            if let Ok(view) = View::parse(&bytes) {
                prop_assert!(view.payload().len() + HEADER <= bytes.len());
            }
        }
    }
}
