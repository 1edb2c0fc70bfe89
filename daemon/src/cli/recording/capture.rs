//! What a capture file holds: frames of a link layer, each with its time.
//!
//! pcap as `tcpdump -w` writes it (draft-ietf-opsawg-pcap) and pcapng as
//! Wireshark does (draft-ietf-opsawg-pcapng), in both byte orders. What the
//! frames carry is read in `call`. Hostile bytes end the reading or are
//! skipped: it never panics and allocates no more than the file is long.
//! Called by `call`.

use std::time::Duration;

/// A frame as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Captured<'a> {
    /// Since the epoch; `None` where the capture does not say.
    pub(super) at: Option<Duration>,
    /// Number of the link layer (LINKTYPE_ of the drafts).
    pub(super) link: u32,
    /// Without what the capture left out at its end.
    pub(super) frame: &'a [u8],
}

/// Whether the bytes begin like a capture.
pub(super) fn is_capture(bytes: &[u8]) -> bool {
    let magic = bytes.first_chunk::<4>().copied().unwrap_or_default();
    magic == SECTION || classic(magic).is_some()
}

/// All frames in the order of the file, up to where it makes no sense any more.
pub(super) fn frames(bytes: &[u8]) -> Vec<Captured<'_>> {
    let magic = bytes.first_chunk::<4>().copied().unwrap_or_default();
    match classic(magic) {
        Some((order, units)) => records(bytes, order, units),
        None => Blocks::default().read(bytes),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        })
    }

    fn half(self, bytes: &[u8], at: usize) -> Option<u16> {
        let two = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(two),
            Self::Big => u16::from_be_bytes(two),
        })
    }
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Units {
    /// So many tenths of tenths of a second: 6 are microseconds.
    Decimal(u8),
    /// Halves of halves.
    Binary(u8),
}

const MICROSECONDS: Units = Units::Decimal(6);

impl Units {
    /// An option of an interface: the top bit tells halves from tenths
    /// (if_tsresol, pcapng §4.2).
    fn of(octet: u8) -> Self {
        match octet & 0x80 {
            0 => Self::Decimal(octet),
            _ => Self::Binary(octet & 0x7F),
        }
    }

    /// Saturates after 584 years; what is counted in less than a nanosecond is rounded.
    fn time(self, count: u64) -> Duration {
        let nanoseconds = u128::from(count) * 1_000_000_000;
        let nanoseconds = match self {
            Self::Decimal(digits) => match 10u128.checked_pow(digits.into()) {
                Some(second) => nanoseconds / second,
                None => 0,
            },
            Self::Binary(digits) => nanoseconds >> digits,
        };
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// The magic number of a classic capture (pcap §4): its order, and what fractions are.
fn classic(magic: [u8; 4]) -> Option<(Order, Units)> {
    match magic {
        [0xD4, 0xC3, 0xB2, 0xA1] => Some((Order::Little, MICROSECONDS)),
        [0xA1, 0xB2, 0xC3, 0xD4] => Some((Order::Big, MICROSECONDS)),
        [0x4D, 0x3C, 0xB2, 0xA1] => Some((Order::Little, Units::Decimal(9))),
        [0xA1, 0xB2, 0x3C, 0x4D] => Some((Order::Big, Units::Decimal(9))),
        _ => None,
    }
}

/// The records of a classic capture (pcap §5), after 24 octets of header.
fn records(bytes: &[u8], order: Order, units: Units) -> Vec<Captured<'_>> {
    // The upper bits say how long checksums of frames are.
    let link = order.word(bytes, 20).unwrap_or_default() & 0x0FFF_FFFF;
    let mut found = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let (Some(seconds), Some(fraction), Some(length)) = (
        order.word(rest, 0),
        order.word(rest, 4),
        order.word(rest, 8),
    ) {
        let body = rest.get(16..).unwrap_or_default();
        let (frame, later) = body.split_at(body.len().min(length as usize));
        let at = Duration::from_secs(seconds.into()) + units.time(fraction.into());
        found.push(Captured {
            at: Some(at),
            link,
            frame,
        });
        rest = later;
    }
    found
}

/// Block types (pcapng §4); a Section Header reads the same in both orders.
const SECTION: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Type, and length before and after (pcapng §3.1).
const BLOCK: usize = 12;
/// Options of an interface (pcapng §4.2).
const END_OF_OPTIONS: u16 = 0;
const TIME_RESOLUTION: u16 = 9;
const TIME_OFFSET: u16 = 14;

/// One place of capture.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    /// At most so much of a frame was kept; 0: all.
    kept: u32,
    units: Units,
    /// Seconds that are added to every time.
    offset: i64,
}

/// Reads the blocks of a pcapng file.
#[derive(Default)]
struct Blocks<'a> {
    order: Order,
    /// Of this section.
    interfaces: Vec<Interface>,
    found: Vec<Captured<'a>>,
}

impl<'a> Blocks<'a> {
    fn read(mut self, mut bytes: &'a [u8]) -> Vec<Captured<'a>> {
        while let Some(later) = self.block(bytes) {
            bytes = later;
        }
        self.found
    }

    /// Takes one block and gives what comes after it; `None` at the end of sense.
    fn block(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if bytes.starts_with(&SECTION) {
            self.order = byte_order(bytes)?;
            self.interfaces.clear();
        }
        let kind = self.order.word(bytes, 0)?;
        let length = self.order.word(bytes, 4)? as usize;
        if length < BLOCK || !length.is_multiple_of(4) {
            return None;
        }
        let block = bytes.get(..length)?;
        let body = &block[8..length - 4];
        match kind {
            INTERFACE => self.interfaces.push(interface(self.order, body)?),
            ENHANCED_PACKET => self.found.extend(self.enhanced(body)),
            SIMPLE_PACKET => self.found.extend(self.simple(body)),
            _ => {}
        }
        Some(&bytes[length..])
    }

    /// pcapng §4.3.
    fn enhanced(&self, body: &'a [u8]) -> Option<Captured<'a>> {
        let word = |at| self.order.word(body, at);
        let interface = self.interfaces.get(word(0)? as usize)?;
        let count = u64::from(word(4)?) << 32 | u64::from(word(8)?);
        let data = body.get(20..)?;
        Some(Captured {
            at: Some(shifted(interface.units.time(count), interface.offset)),
            link: interface.link,
            frame: data.get(..word(12)? as usize)?,
        })
    }

    /// pcapng §4.4: of the first interface, and without a time.
    fn simple(&self, body: &'a [u8]) -> Option<Captured<'a>> {
        let interface = self.interfaces.first()?;
        let original = self.order.word(body, 0)? as usize;
        let kept = match interface.kept {
            0 => original,
            kept => original.min(kept as usize),
        };
        Some(Captured {
            at: None,
            link: interface.link,
            frame: body.get(4..)?.get(..kept)?,
        })
    }
}

/// The byte-order magic of a Section Header (pcapng §4.1).
fn byte_order(block: &[u8]) -> Option<Order> {
    match *block.get(8..)?.first_chunk()? {
        [0x4D, 0x3C, 0x2B, 0x1A] => Some(Order::Little),
        [0x1A, 0x2B, 0x3C, 0x4D] => Some(Order::Big),
        _ => None,
    }
}

/// pcapng §4.2.
fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    let mut interface = Interface {
        link: order.half(body, 0)?.into(),
        kept: order.word(body, 4)?,
        units: MICROSECONDS,
        offset: 0,
    };
    let mut options = body.get(8..).unwrap_or_default();
    while let (Some(code), Some(length)) = (order.half(options, 0), order.half(options, 2)) {
        let length = usize::from(length);
        let value = options.get(4..4 + length).unwrap_or_default();
        match (code, value) {
            (END_OF_OPTIONS, _) => break,
            (TIME_RESOLUTION, [octet]) => interface.units = Units::of(*octet),
            (TIME_OFFSET, value) if value.len() == 8 => {
                let (one, other) = (order.word(value, 0)?, order.word(value, 4)?);
                let (high, low) = match order {
                    Order::Little => (other, one),
                    Order::Big => (one, other),
                };
                interface.offset = (u64::from(high) << 32 | u64::from(low)) as i64;
            }
            _ => {}
        }
        options = options
            .get(4 + length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Some(interface)
}

fn shifted(time: Duration, seconds: i64) -> Duration {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        time.saturating_sub(by)
    } else {
        time.saturating_add(by)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A classic capture of IP packets.
    pub(in super::super) fn pcap(packets: &[(Duration, Vec<u8>)]) -> Vec<u8> {
        let mut file = vec![0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0];
        file.extend([0; 8]);
        file.extend([0xFF, 0xFF, 0, 0, 101, 0, 0, 0]);
        for (at, packet) in packets {
            file.extend((at.as_secs() as u32).to_le_bytes());
            file.extend(at.subsec_micros().to_le_bytes());
            let length = (packet.len() as u32).to_le_bytes();
            file.extend([length, length].concat());
            file.extend(packet);
        }
        file
    }

    /// Writes blocks in one byte order.
    pub(in super::super) struct Writer {
        order: Order,
        pub(in super::super) bytes: Vec<u8>,
    }

    impl Writer {
        pub(in super::super) fn new(little: bool) -> Self {
            let mut writer = Self {
                order: Order::Little,
                bytes: Vec::new(),
            };
            writer.section(little);
            writer
        }

        pub(in super::super) fn section(&mut self, little: bool) {
            self.order = if little { Order::Little } else { Order::Big };
            let mut body = self.word(0x1A2B_3C4D).to_vec();
            body.extend(self.half(1));
            body.extend(self.half(0));
            body.extend([0xFF; 8]);
            self.block(u32::from_be_bytes(SECTION), &body);
        }

        fn word(&self, word: u32) -> [u8; 4] {
            match self.order {
                Order::Little => word.to_le_bytes(),
                Order::Big => word.to_be_bytes(),
            }
        }

        fn half(&self, half: u16) -> [u8; 2] {
            match self.order {
                Order::Little => half.to_le_bytes(),
                Order::Big => half.to_be_bytes(),
            }
        }

        pub(in super::super) fn block(&mut self, kind: u32, body: &[u8]) {
            let padded = body.len().next_multiple_of(4);
            let length = self.word((BLOCK + padded) as u32);
            self.bytes.extend(self.word(kind));
            self.bytes.extend(length);
            self.bytes.extend(body);
            self.bytes.resize(self.bytes.len() + padded - body.len(), 0);
            self.bytes.extend(length);
        }

        /// An interface of raw IP with these options.
        pub(in super::super) fn interface(&mut self, kept: u32, options: &[(u16, &[u8])]) {
            let mut body = [self.half(101), [0; 2]].concat();
            body.extend(self.word(kept));
            for (code, value) in options {
                body.extend(self.half(*code));
                body.extend(self.half(value.len() as u16));
                body.extend(*value);
                body.resize(body.len().next_multiple_of(4), 0);
            }
            self.block(INTERFACE, &body);
        }

        pub(in super::super) fn enhanced(&mut self, interface: u32, count: u64, frame: &[u8]) {
            let words = [
                interface,
                (count >> 32) as u32,
                count as u32,
                frame.len() as u32,
                frame.len() as u32,
            ];
            let mut body: Vec<u8> = words.iter().flat_map(|word| self.word(*word)).collect();
            body.extend(frame);
            self.block(ENHANCED_PACKET, &body);
        }

        pub(in super::super) fn simple(&mut self, original: u32, frame: &[u8]) {
            let body = [&self.word(original), frame].concat();
            self.block(SIMPLE_PACKET, &body);
        }
    }

    /// One of everything that is read.
    fn everything(little: bool) -> Vec<u8> {
        let mut file = Writer::new(little);
        let comment: (u16, &[u8]) = (1, b"odd");
        file.interface(0, &[comment, (TIME_RESOLUTION, &[9])]);
        file.interface(3, &[(TIME_RESOLUTION, &[0x80 | 10]), (0, &[])]);
        let minute = if little {
            60i64.to_le_bytes()
        } else {
            60i64.to_be_bytes()
        };
        file.interface(0, &[(TIME_OFFSET, &minute)]);
        file.block(0x0BAD, b"of no interest");
        file.enhanced(0, 5_000_000_001, b"ns");
        file.enhanced(1, 1_536, b"1/1024 s");
        file.enhanced(2, 2_500_000, b"later");
        file.enhanced(3, 0, b"no such interface");
        file.simple(7, b"simple!");
        file.section(!little);
        file.interface(2, &[]);
        file.enhanced(0, 1, b"us");
        file.simple(9, b"cut....");
        file.bytes
    }

    #[test]
    fn blocks_of_both_orders_are_read_with_their_times() {
        for little in [true, false] {
            let file = everything(little);
            assert!(is_capture(&file));
            let read: Vec<_> = frames(&file)
                .into_iter()
                .map(|it| (it.at.map(|at| at.as_nanos()), it.link, it.frame))
                .collect();
            let expected: [(Option<u128>, u32, &[u8]); 6] = [
                (Some(5_000_000_001), 101, b"ns"),
                (Some(1_500_000_000), 101, b"1/1024 s"),
                (Some(62_500_000_000), 101, b"later"),
                (None, 101, b"simple!"),
                (Some(1_000), 101, b"us"),
                (None, 101, b"cu"),
            ];
            assert_eq!(read, expected, "little endian: {little}");
        }
    }

    #[test]
    fn a_file_cut_short_gives_the_frames_before_the_cut() {
        let file = everything(true);
        let all = frames(&file);
        for length in 0..file.len() {
            let read = frames(&file[..length]);
            assert_eq!(read, all[..read.len()], "{length}");
        }
        let mut no_order = file;
        no_order[8] = 0;
        assert!(frames(&no_order).is_empty());
    }

    #[test]
    fn resolutions_beyond_sense_neither_panic_nor_overflow() {
        let rows = [
            (Units::Decimal(127), u64::MAX, Duration::ZERO),
            (Units::Decimal(38), u64::MAX, Duration::ZERO),
            (Units::Binary(127), u64::MAX, Duration::ZERO),
            (Units::Decimal(0), u64::MAX, Duration::from_nanos(u64::MAX)),
            (Units::Decimal(0), 2, Duration::from_secs(2)),
            (Units::Binary(0), 2, Duration::from_secs(2)),
        ];
        for (units, count, expected) in rows {
            assert_eq!(units.time(count), expected, "{units:?}");
        }
        let most = Duration::from_nanos(u64::MAX);
        assert_eq!(shifted(most, i64::MIN), Duration::ZERO);
        assert!(shifted(most, i64::MAX) > most);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400),
                                          kind in 0usize..4) {
            let starts: [&[u8]; 4] = [
                &[],
                &[0xD4, 0xC3, 0xB2, 0xA1],
                &[0x0A, 0x0D, 0x0D, 0x0A, 28, 0, 0, 0, 0x4D, 0x3C, 0x2B, 0x1A],
                &[0x0A, 0x0D, 0x0D, 0x0A, 0, 0, 0, 28, 0x1A, 0x2B, 0x3C, 0x4D],
            ];
            let file = [starts[kind], &bytes].concat();
            let read: usize = frames(&file).iter().map(|it| it.frame.len()).sum();
            prop_assert!(read <= file.len());
        }

        #[test]
        fn no_damage_makes_the_reader_panic(little: bool, damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut file = everything(little);
            for (at, value) in damage {
                let at = at.index(file.len());
                file[at] = value;
            }
            let read: usize = frames(&file).iter().map(|it| it.frame.len()).sum();
            prop_assert!(read <= file.len());
        }
    }
}
