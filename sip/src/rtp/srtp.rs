//! SRTP and SRTCP in place (RFC 3711, RFC 7714): our framing around the ciphers of the
//! RustCrypto crates.
//!
//! A [`Sealer`] protects what we send, an [`Opener`] checks and opens what comes; both
//! work in the caller's buffer. Keys come from SDP ([`crate::sdp`], RFC 4568); nothing
//! here knows who has them. Called by the media threads for each packet; does not
//! allocate or block.

use core::fmt;

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, Nonce, Tag};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::header::{HEADER, View};

/// Octets of a master key.
pub const KEY: usize = 16;
/// Octets of the longest master salt.
pub const SALT: usize = 14;
/// The longest that a packet grows by.
pub const GROWTH: usize = 16;
/// Sequence numbers of which it is known whether they came (RFC 3711 §3.3.2: at least 64).
const WINDOW: u64 = 64;
/// Streams of one peer that are told apart; the one heard longest ago gives way.
const STREAMS: usize = 3;
/// Tag of SRTCP with HMAC-SHA1, whatever the RTP tag is (RFC 4568 §6.2.2).
const CONTROL_TAG: usize = 10;
/// The bit that says that an SRTCP packet is encrypted, and the index beside it.
const ENCRYPTED: u32 = 1 << 31;
/// RTCP header with SSRC: what is never encrypted (RFC 3711 §3.4).
const CONTROL_HEADER: usize = 8;

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES in Galois/counter mode, tag of 16 octets (RFC 7714).
    AeadAes128Gcm,
    /// AES in counter mode, HMAC-SHA1 cut to 80 bits.
    AesCm128HmacSha1_80,
    /// The same cut to 32 bits.
    AesCm128HmacSha1_32,
}

impl Suite {
    /// All, best first.
    pub const ALL: [Self; 3] = [
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    /// Its name in `a=crypto` (RFC 4568 §6.2, RFC 7714 §14.2).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Octets of its master salt.
    pub const fn salt(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 12,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => SALT,
        }
    }

    /// Octets of the tag of an RTP packet.
    const fn tag(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 16,
            Self::AesCm128HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
        }
    }
}

/// A master key with its salt, as it stands in SDP. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MasterKey {
    /// How it is used.
    pub suite: Suite,
    key: [u8; KEY],
    salt: [u8; SALT],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.suite.name())
    }
}

impl MasterKey {
    /// From key and salt, one after the other; `None` if there are not exactly as many
    /// octets as the suite takes.
    pub fn new(suite: Suite, octets: &[u8]) -> Option<Self> {
        let (key, salt) = octets.split_first_chunk::<KEY>()?;
        if salt.len() != suite.salt() {
            return None;
        }
        let mut padded = [0; SALT];
        padded[..salt.len()].copy_from_slice(salt);
        Some(Self {
            suite,
            key: *key,
            salt: padded,
        })
    }

    /// Key and salt, one after the other, and how many octets they are.
    pub fn octets(&self) -> ([u8; KEY + SALT], usize) {
        let mut octets = [0; KEY + SALT];
        octets[..KEY].copy_from_slice(&self.key);
        octets[KEY..].copy_from_slice(&self.salt);
        (octets, KEY + self.suite.salt())
    }

    /// A session key (RFC 3711 §4.3.1; a salt of 96 bits is padded, RFC 7714 §11).
    fn derive<const LENGTH: usize>(&self, label: u8) -> [u8; LENGTH] {
        let mut counter = [0; 16];
        counter[..SALT].copy_from_slice(&self.salt);
        counter[7] ^= label;
        let mut out = [0; LENGTH];
        stream(&Aes128::new(&self.key.into()), counter, &mut out);
        out
    }
}

/// Master keys of a stream, ours and the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Of what we send.
    pub ours: MasterKey,
    /// Of what comes.
    pub theirs: MasterKey,
}

fn stream(cipher: &Aes128, counter: [u8; 16], data: &mut [u8]) {
    let core = CtrCore::<_, Ctr128BE>::inner_iv_init(cipher.clone(), &counter.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
}

/// What protects one direction of RTP or of RTCP.
#[derive(Clone)]
enum Cipher {
    Counter {
        aes: Aes128,
        salt: [u8; SALT],
        mac: Hmac<Sha1>,
        tag: usize,
    },
    Galois {
        aead: Aes128Gcm,
        salt: [u8; 12],
    },
}

impl Cipher {
    /// `label` is 0 for RTP and 3 for RTCP (RFC 3711 §4.3.2).
    fn new(master: &MasterKey, label: u8, tag: usize) -> Self {
        let key: [u8; KEY] = master.derive(label);
        match master.suite {
            Suite::AeadAes128Gcm => Self::Galois {
                aead: Aes128Gcm::new(&key.into()),
                salt: master.derive(label + 2),
            },
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                let auth: [u8; 20] = master.derive(label + 1);
                Self::Counter {
                    aes: Aes128::new(&key.into()),
                    salt: master.derive(label + 2),
                    mac: <Hmac<Sha1> as Mac>::new_from_slice(&auth)
                        .expect("HMAC takes a key of any length"),
                    tag,
                }
            }
        }
    }

    const fn tag(&self) -> usize {
        match self {
            Self::Counter { tag, .. } => *tag,
            Self::Galois { .. } => 16,
        }
    }
}

/// Counter and nonce of a packet: salt, SSRC and the packet's index at its end.
fn counter(salt: &[u8; SALT], ssrc: u32, index: u64) -> [u8; 16] {
    let mut counter = [0; 16];
    counter[..SALT].copy_from_slice(salt);
    xor(&mut counter[4..8], &ssrc.to_be_bytes());
    xor(&mut counter[8..14], &index.to_be_bytes()[2..]);
    counter
}

fn nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> [u8; 12] {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
    nonce
}

fn xor(target: &mut [u8], with: &[u8]) {
    for (octet, other) in target.iter_mut().zip(with) {
        *octet ^= other;
    }
}

/// Protects what we send.
#[derive(Clone)]
pub struct Sealer {
    cipher: Cipher,
    control: Cipher,
    /// SSRC and index of the packet with the highest.
    highest: Option<(u32, u64)>,
    control_index: u32,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Session keys are derived here.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(master, 0, master.suite.tag()),
            control: Cipher::new(master, 3, CONTROL_TAG),
            highest: None,
            control_index: 0,
        }
    }

    /// Protects the RTP packet in the first `length` octets and says how long it is
    /// then; `None` if it is none or there is no room for [`GROWTH`] more.
    pub fn seal(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let view = View::parse(buffer.get(..length)?).ok()?;
        let (ssrc, sequence, start) = (view.ssrc(), view.sequence(), view.payload_start());
        let index = self.index(ssrc, sequence);
        let end = length + self.cipher.tag();
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut(length);
        let (header, payload) = packet.split_at_mut(start);
        match &self.cipher {
            Cipher::Galois { aead, salt } => {
                let nonce = nonce(salt, ssrc, index);
                let tag = aead.encrypt_in_place_detached(&Nonce::from(nonce), header, payload);
                rest.copy_from_slice(&tag.ok()?);
            }
            Cipher::Counter { aes, salt, mac, .. } => {
                stream(aes, counter(salt, ssrc, index), payload);
                let tag = digest(mac, packet, roll_over(index));
                rest.copy_from_slice(&tag[..rest.len()]);
            }
        }
        Some(end)
    }

    /// The 48 bits of a packet's index; ours only move forth, but for what is sent on
    /// out of order.
    fn index(&mut self, ssrc: u32, sequence: u16) -> u64 {
        let highest = self.highest.filter(|(known, _)| *known == ssrc);
        let index = match highest {
            Some((_, highest)) => estimate(highest, sequence).unwrap_or(sequence.into()),
            None => sequence.into(),
        };
        if highest.is_none_or(|(_, highest)| index > highest) {
            self.highest = Some((ssrc, index));
        }
        index
    }

    /// Protects the RTCP packet in the first `length` octets; as [`Self::seal`], but it
    /// grows by 4 more.
    pub fn seal_control(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let packet = buffer.get(..length)?;
        let ssrc = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
        let index = self.control_index;
        self.control_index = (index + 1) & !ENCRYPTED;
        let word = (index | ENCRYPTED).to_be_bytes();
        let end = length + 4 + self.control.tag();
        let (packet, rest) = buffer.get_mut(..end)?.split_at_mut(length);
        let (header, body) = packet.split_at_mut(CONTROL_HEADER);
        match &self.control {
            Cipher::Galois { aead, salt } => {
                let nonce = nonce(salt, ssrc, index.into());
                let mut known = [0; CONTROL_HEADER + 4];
                known[..CONTROL_HEADER].copy_from_slice(header);
                known[CONTROL_HEADER..].copy_from_slice(&word);
                let tag = aead.encrypt_in_place_detached(&Nonce::from(nonce), &known, body);
                rest[..16].copy_from_slice(&tag.ok()?);
                rest[16..].copy_from_slice(&word);
            }
            Cipher::Counter { aes, salt, mac, .. } => {
                stream(aes, counter(salt, ssrc, index.into()), body);
                let tag = digest(mac, packet, u32::from_be_bytes(word));
                rest[..4].copy_from_slice(&word);
                let length = rest.len() - 4;
                rest[4..].copy_from_slice(&tag[..length]);
            }
        }
        Some(end)
    }
}

fn roll_over(index: u64) -> u32 {
    (index >> 16) as u32
}

/// HMAC-SHA1 over a packet and the word that is not in it.
fn digest(mac: &Hmac<Sha1>, packet: &[u8], word: u32) -> [u8; 20] {
    let mut mac = mac.clone();
    mac.update(packet);
    mac.update(&word.to_be_bytes());
    mac.finalize().into_bytes().into()
}

/// The index that a sequence number most likely stands for, next to the highest that
/// came (RFC 3711 §3.3.1, appendix A); `None` for one before the first.
fn estimate(highest: u64, sequence: u16) -> Option<u64> {
    let step = sequence.wrapping_sub(highest as u16).cast_signed();
    highest.checked_add_signed(step.into())
}

/// In constant time: whether two tags are the same.
fn same(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Why a packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is no packet, or too short for its tag.
    Malformed,
    /// It came before, or is older than what is remembered.
    Replayed,
    /// Its tag is wrong.
    Forged,
}

/// What came of one stream.
#[derive(Clone, Copy, Debug)]
struct Seen {
    ssrc: u32,
    highest: u64,
    /// Bit `n`: the index `highest - n` came.
    came: u64,
}

impl Seen {
    fn admits(&self, index: u64) -> bool {
        let age = self.highest.saturating_sub(index);
        index > self.highest || age < WINDOW && self.came >> age & 1 == 0
    }

    fn note(&mut self, index: u64) {
        if index > self.highest {
            let step = index - self.highest;
            self.came = if step < WINDOW { self.came << step } else { 0 } | 1;
            self.highest = index;
        } else {
            self.came |= 1 << (self.highest - index);
        }
    }
}

/// Checks and opens what comes.
#[derive(Clone)]
pub struct Opener {
    cipher: Cipher,
    control: Cipher,
    /// The one heard last comes first.
    streams: heapless::Vec<Seen, STREAMS>,
    control_seen: heapless::Vec<Seen, STREAMS>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// Session keys are derived here.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(master, 0, master.suite.tag()),
            control: Cipher::new(master, 3, CONTROL_TAG),
            streams: heapless::Vec::new(),
            control_seen: heapless::Vec::new(),
        }
    }

    /// Opens an RTP packet and says how long it is then.
    ///
    /// # Errors
    /// It is not to be believed; what is in the buffer then means nothing.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<usize, Rejected> {
        let length = bytes.len().checked_sub(self.cipher.tag());
        let length = length.filter(|length| *length >= HEADER);
        let length = length.ok_or(Rejected::Malformed)?;
        // Padding is inside of what is encrypted: only the header can be read yet.
        let start = super::header::payload_start(&bytes[..length]);
        let start = start.map_err(|_| Rejected::Malformed)?;
        let word = |at: usize| -> [u8; 4] { *bytes[at..].first_chunk().unwrap_or(&[0; 4]) };
        let (ssrc, sequence) = (u32::from_be_bytes(word(8)), word(2));
        let sequence = u16::from_be_bytes([sequence[0], sequence[1]]);
        let index = judge(&self.streams, ssrc, sequence)?;
        let (packet, tag) = bytes.split_at_mut(length);
        let (header, payload) = packet.split_at_mut(start);
        match &self.cipher {
            Cipher::Galois { aead, salt } => {
                let nonce = Nonce::from(nonce(salt, ssrc, index));
                aead.decrypt_in_place_detached(&nonce, header, payload, Tag::from_slice(tag))
                    .map_err(|_| Rejected::Forged)?;
            }
            Cipher::Counter { aes, salt, mac, .. } => {
                let expected = digest(mac, packet, roll_over(index));
                if !same(tag, &expected[..tag.len()]) {
                    return Err(Rejected::Forged);
                }
                let (_, payload) = packet.split_at_mut(start);
                stream(aes, counter(salt, ssrc, index), payload);
            }
        }
        note(&mut self.streams, ssrc, index);
        Ok(length)
    }

    /// Opens an RTCP packet and says how long it is then.
    ///
    /// # Errors
    /// As for [`Self::open`]; one that is not encrypted counts as malformed.
    pub fn open_control(&mut self, bytes: &mut [u8]) -> Result<usize, Rejected> {
        let length = bytes.len().checked_sub(4 + self.control.tag());
        let length = length.filter(|length| *length >= CONTROL_HEADER);
        let length = length.ok_or(Rejected::Malformed)?;
        let ssrc = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let (packet, rest) = bytes.split_at_mut(length);
        let (word, tag) = match &self.control {
            Cipher::Galois { .. } => (&rest[16..], &rest[..16]),
            Cipher::Counter { .. } => (&rest[..4], &rest[4..]),
        };
        let word = u32::from_be_bytes(*word.first_chunk().ok_or(Rejected::Malformed)?);
        if word & ENCRYPTED == 0 {
            return Err(Rejected::Malformed);
        }
        let index = u64::from(word & !ENCRYPTED);
        let known = self.control_seen.iter().find(|seen| seen.ssrc == ssrc);
        if known.is_some_and(|seen| !seen.admits(index)) {
            return Err(Rejected::Replayed);
        }
        match &self.control {
            Cipher::Galois { aead, salt } => {
                let (header, body) = packet.split_at_mut(CONTROL_HEADER);
                let mut open = [0; CONTROL_HEADER + 4];
                open[..CONTROL_HEADER].copy_from_slice(header);
                open[CONTROL_HEADER..].copy_from_slice(&word.to_be_bytes());
                let nonce = Nonce::from(nonce(salt, ssrc, index));
                aead.decrypt_in_place_detached(&nonce, &open, body, Tag::from_slice(tag))
                    .map_err(|_| Rejected::Forged)?;
            }
            Cipher::Counter { aes, salt, mac, .. } => {
                let expected = digest(mac, packet, word);
                if !same(tag, &expected[..tag.len()]) {
                    return Err(Rejected::Forged);
                }
                let (_, body) = packet.split_at_mut(CONTROL_HEADER);
                stream(aes, counter(salt, ssrc, index), body);
            }
        }
        note(&mut self.control_seen, ssrc, index);
        Ok(length)
    }
}

/// The index of a packet, unless it came before.
fn judge(streams: &[Seen], ssrc: u32, sequence: u16) -> Result<u64, Rejected> {
    let Some(seen) = streams.iter().find(|seen| seen.ssrc == ssrc) else {
        return Ok(sequence.into());
    };
    let index = estimate(seen.highest, sequence).ok_or(Rejected::Replayed)?;
    match seen.admits(index) {
        true => Ok(index),
        false => Err(Rejected::Replayed),
    }
}

/// Only for packets that are believed: nobody else makes a stream give way.
fn note(streams: &mut heapless::Vec<Seen, STREAMS>, ssrc: u32, index: u64) {
    if let Some(seen) = streams.iter_mut().find(|seen| seen.ssrc == ssrc) {
        return seen.note(index);
    }
    if streams.is_full() {
        streams.remove(0);
    }
    let seen = Seen {
        ssrc,
        highest: index,
        came: 1,
    };
    let kept = streams.push(seen).is_ok();
    debug_assert!(kept, "room was just made");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    /// Session keys as they stand, as the RFCs' vectors have them.
    fn galois(key: &str, salt: &str) -> Cipher {
        Cipher::Galois {
            aead: Aes128Gcm::new_from_slice(&octets(key)).unwrap(),
            salt: octets(salt).try_into().unwrap(),
        }
    }

    #[test]
    fn keystream_of_rfc_3711_b_2() {
        let key: [u8; 16] = octets("2B7E151628AED2A6ABF7158809CF4F3C")
            .try_into()
            .unwrap();
        let salt: [u8; 14] = octets("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let mut data = [0; 48];
        stream(&Aes128::new(&key.into()), counter(&salt, 0, 0), &mut data);
        let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                        41E95B3BB0A2E8DD477901E4FCA894C0";
        assert_eq!(data[..], octets(expected));
    }

    #[test]
    fn session_keys_of_rfc_3711_b_3() {
        let master = "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6";
        let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &octets(master)).unwrap();
        let cipher: [u8; 16] = master.derive(0);
        assert_eq!(cipher[..], octets("C61E7A93744F39EE10734AFE3FF7A087"));
        let salt: [u8; 14] = master.derive(2);
        assert_eq!(salt[..], octets("30CBBC08863D8C85D49DB34A9AE1"));
        let auth: [u8; 94] = master.derive(1);
        let expected = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
                        E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
                        6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
        assert_eq!(auth[..], octets(expected));
    }

    #[test]
    fn packet_of_rfc_7714_16_1() {
        let key = "000102030405060708090a0b0c0d0e0f";
        let salt = "517569642070726f2071756f";
        let plain = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
                     69736120 696e2070 61727465 73207472 6573";
        let sealed = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
                      0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
        let mut sealer = Sealer {
            cipher: galois(key, salt),
            control: galois(key, salt),
            highest: None,
            control_index: 0,
        };
        let mut packet = octets(plain);
        let length = packet.len();
        packet.resize(length + GROWTH, 0);
        let end = sealer.seal(&mut packet, length).unwrap();
        assert_eq!(packet[..end], octets(sealed));
        let mut opener = Opener {
            cipher: galois(key, salt),
            control: galois(key, salt),
            streams: heapless::Vec::new(),
            control_seen: heapless::Vec::new(),
        };
        let length = opener.open(&mut packet[..end]).unwrap();
        assert_eq!(packet[..length], octets(plain));
    }

    fn master(suite: Suite, seed: u8) -> MasterKey {
        let octets = [seed; KEY + SALT];
        MasterKey::new(suite, &octets[..KEY + suite.salt()]).unwrap()
    }

    fn packet(sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, 0];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 9, 1, 2, 3, 4]);
        bytes.extend(payload);
        bytes
    }

    fn seal(sealer: &mut Sealer, packet: &[u8]) -> Vec<u8> {
        let mut bytes = packet.to_vec();
        bytes.resize(packet.len() + GROWTH, 0);
        let end = sealer.seal(&mut bytes, packet.len()).unwrap();
        bytes.truncate(end);
        bytes
    }

    #[test]
    fn packets_are_opened_once_over_the_roll_of_their_numbers_and_in_any_order() {
        for suite in Suite::ALL {
            let mut sealer = Sealer::new(&master(suite, 7));
            let mut opener = Opener::new(&master(suite, 7));
            let numbers: Vec<u16> = (65_500..=65_535).chain(0..100).collect();
            let plain: Vec<_> = numbers
                .iter()
                .map(|n| packet(*n, &[*n as u8; 40]))
                .collect();
            let mut sealed: Vec<_> = plain.iter().map(|it| seal(&mut sealer, it)).collect();
            // Three of four change places; all of them come twice.
            sealed
                .iter()
                .for_each(|it| assert_ne!(it[12..52], plain[0][12..52]));
            let mut order: Vec<usize> = (0..sealed.len()).collect();
            order.chunks_mut(4).for_each(|part| part.reverse());
            for index in order {
                let mut again = sealed[index].clone();
                let length = opener.open(&mut sealed[index]).unwrap();
                assert_eq!(sealed[index][..length], plain[index], "{suite:?} {index}");
                assert_eq!(opener.open(&mut again), Err(Rejected::Replayed));
            }
        }
    }

    #[test]
    fn rtcp_goes_there_and_back_and_is_not_believed_twice() {
        for suite in Suite::ALL {
            let mut sealer = Sealer::new(&master(suite, 7));
            let mut opener = Opener::new(&master(suite, 7));
            for round in 0..3u8 {
                let mut plain = vec![0x80, 201, 0, 1, 1, 2, 3, 4];
                plain.extend([round; 24]);
                let mut bytes = plain.clone();
                bytes.resize(plain.len() + GROWTH + 4, 0);
                let end = sealer.seal_control(&mut bytes, plain.len()).unwrap();
                let mut again = bytes.clone();
                let length = opener.open_control(&mut bytes[..end]).unwrap();
                assert_eq!(bytes[..length], plain[..]);
                let twice = opener.open_control(&mut again[..end]);
                assert_eq!(twice, Err(Rejected::Replayed), "{suite:?}");
            }
        }
    }

    #[test]
    fn another_key_another_suite_and_what_is_too_old_are_not_believed() {
        let mut sealer = Sealer::new(&master(Suite::AesCm128HmacSha1_80, 7));
        let sealed: Vec<_> = (0..200)
            .map(|number| seal(&mut sealer, &packet(number, &[0; 160])))
            .collect();
        let mut other = Opener::new(&master(Suite::AesCm128HmacSha1_80, 8));
        assert_eq!(other.open(&mut sealed[0].clone()), Err(Rejected::Forged));
        let mut other = Opener::new(&master(Suite::AeadAes128Gcm, 7));
        assert_eq!(other.open(&mut sealed[0].clone()), Err(Rejected::Forged));
        let mut opener = Opener::new(&master(Suite::AesCm128HmacSha1_80, 7));
        opener.open(&mut sealed[199].clone()).unwrap();
        assert_eq!(
            opener.open(&mut sealed[100].clone()),
            Err(Rejected::Replayed)
        );
        opener.open(&mut sealed[198].clone()).unwrap();
    }

    proptest! {
        #[test]
        fn whatever_comes_is_rejected(bytes: Vec<u8>) {
            for suite in Suite::ALL {
                let mut opener = Opener::new(&master(suite, 1));
                prop_assert!(opener.open(&mut bytes.clone()).is_err());
                prop_assert!(opener.open_control(&mut bytes.clone()).is_err());
            }
        }

        #[test]
        fn a_changed_bit_is_a_forgery(at in 0usize..100, bit in 0u8..8) {
            for suite in Suite::ALL {
                let mut sealer = Sealer::new(&master(suite, 7));
                let mut bytes = seal(&mut sealer, &packet(9, &[3; 84]));
                let length = bytes.len();
                bytes[at % length] ^= 1 << bit;
                let mut opener = Opener::new(&master(suite, 7));
                prop_assert!(opener.open(&mut bytes).is_err());
            }
        }
    }
}
