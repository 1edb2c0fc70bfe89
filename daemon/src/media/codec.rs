//! Sound as it is coded on the line, to 8 kHz and back.
//!
//! The ear and the mouth know 8 kHz alone: wider sound goes between two legs as it is.
//! The state of Opus lives outside of Rust's allocator and is made and freed off the
//! media threads; a leg is lent it. Called by the line and the sender; does not
//! allocate or block.

use std::fmt;
use std::io;

use offhook_dsp::g711::Law;
use offhook_dsp::g722;
use offhook_sip::rtp::CLOCK_RATE;
use opus::{Application, Bitrate, Channels};

use super::words::Codec;

/// Samples of the longest packet that is taken: 200 ms (RFC 3551 §4.2).
pub const SAMPLES_LONGEST: usize = 1_600;
/// Packets lost that the coder reckons with, so that it repeats them (in-band FEC).
const LOSS_PERCENT: i32 = 10;
/// Speech of up to 4 kHz needs no more (RFC 7587 §3.1.1 has 8 to 12 for it; the rest is
/// for what is repeated).
const BITS_A_SECOND: i32 = 20_000;

/// What a leg needs for Opus.
pub struct Opus {
    decoder: opus::Decoder,
    encoder: opus::Encoder,
}

impl fmt::Debug for Opus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opus")
    }
}

impl Opus {
    /// Makes both; not for a media thread.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> io::Result<Self> {
        let make = || {
            let decoder = opus::Decoder::new(CLOCK_RATE, Channels::Mono)?;
            let mut encoder = opus::Encoder::new(CLOCK_RATE, Channels::Mono, Application::Voip)?;
            encoder.set_bitrate(Bitrate::Bits(BITS_A_SECOND))?;
            encoder.set_inband_fec(true)?;
            encoder.set_packet_loss_perc(LOSS_PERCENT)?;
            Ok(Self { decoder, encoder })
        };
        make().map_err(|error: opus::Error| io::Error::other(error.to_string()))
    }

    /// To the line and to the sender.
    pub fn split(self) -> (opus::Decoder, opus::Encoder) {
        (self.decoder, self.encoder)
    }
}

/// Ticks of the RTP clock to one sample of ours.
pub fn ratio(codec: Codec) -> u32 {
    codec.clock_rate() / CLOCK_RATE
}

/// The law of G.711, where it is that.
fn law(codec: Codec) -> Option<Law> {
    match codec {
        Codec::Pcmu => Some(Law::Mu),
        Codec::Pcma => Some(Law::A),
        Codec::G722 | Codec::Opus => None,
    }
}

/// Samples at 8 kHz in a packet; `None` if it is empty, too long or no packet.
pub fn samples(codec: Codec, payload: &[u8]) -> Option<u32> {
    let samples = match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => payload.len(),
        Codec::Opus => opus::packet::get_nb_samples(payload, CLOCK_RATE).ok()?,
    };
    let samples = Some(samples).filter(|samples| (1..=SAMPLES_LONGEST).contains(samples));
    samples.map(|samples| samples as u32)
}

/// What comes.
#[derive(Default)]
pub struct Decoder {
    g722: g722::Decoder,
    /// Where Opus was agreed on.
    pub opus: Option<opus::Decoder>,
}

impl Decoder {
    /// Decodes a packet and says how many samples; `None` if it cannot be.
    pub fn decode(
        &mut self,
        codec: Codec,
        payload: &[u8],
        sound: &mut [i16; SAMPLES_LONGEST],
    ) -> Option<usize> {
        match (codec, law(codec)) {
            (_, Some(law)) => Some(law.decode_into(payload, sound)),
            (Codec::G722, None) => Some(self.g722.decode_into(payload, sound)),
            (_, None) => self.opus.as_mut()?.decode(payload, sound, false).ok(),
        }
    }

    /// Decodes what a packet repeats of the one before it, which was lost, and says how
    /// many samples; `None` if it repeats nothing. The packet itself comes next.
    pub fn recover(
        &mut self,
        codec: Codec,
        payload: &[u8],
        sound: &mut [i16; SAMPLES_LONGEST],
    ) -> Option<usize> {
        let opus = self.opus.as_mut().filter(|_| codec == Codec::Opus)?;
        let samples = samples(codec, payload).filter(|_| repeats(payload))?;
        // The room is what says how much was lost.
        opus.decode(payload, &mut sound[..samples as usize], true)
            .ok()
    }
}

/// Whether a packet of Opus repeats the one before it: its first frame says so after
/// saying of each SILK frame whether it is speech (RFC 6716 §4.2.3, §4.2.4).
fn repeats(payload: &[u8]) -> bool {
    let [toc, first, ..] = *payload else {
        return false;
    };
    // 10, 20, 40 and 60 ms of SILK; 10 and 20 ms of SILK with CELT; CELT (§3.1).
    let frames = match toc >> 3 {
        config @ 0..=11 => [1, 1, 2, 3][usize::from(config % 4)],
        12..=15 => 1,
        _ => return false,
    };
    let one_frame = toc & 0b11 == 0;
    one_frame && first << frames & 0x80 != 0
}

/// What goes.
#[derive(Default)]
pub struct Encoder {
    g722: g722::Encoder,
    /// Where Opus was agreed on.
    pub opus: Option<opus::Encoder>,
}

impl Encoder {
    /// Codes a packet and says how many octets; `None` if it cannot be.
    pub fn encode(&mut self, codec: Codec, sound: &[i16], octets: &mut [u8]) -> Option<usize> {
        match (codec, law(codec)) {
            (_, Some(law)) => Some(law.encode_into(sound, octets)),
            (Codec::G722, None) => Some(self.g722.encode_into(sound, octets)),
            (_, None) => self.opus.as_mut()?.encode(sound, octets).ok(),
        }
    }
}

/// Timestamps of a faster clock as those of ours, across its wraps.
#[derive(Clone, Copy, Debug)]
pub struct Slower {
    last: u32,
    ticks: u64,
}

impl Default for Slower {
    fn default() -> Self {
        Self {
            last: 0,
            // Far enough from 0 that no step goes below it.
            ticks: 1 << 40,
        }
    }
}

impl Slower {
    /// The same moment at 8 kHz.
    pub fn timestamp(&mut self, timestamp: u32, ratio: u32) -> u32 {
        if ratio == 1 {
            return timestamp;
        }
        let step = timestamp.wrapping_sub(self.last).cast_signed();
        self.last = timestamp;
        self.ticks = self.ticks.wrapping_add_signed(i64::from(step));
        (self.ticks / u64::from(ratio)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_comes_through_every_codec() {
        for codec in Codec::ALL {
            let (mut decoder, mut encoder) = (Decoder::default(), Encoder::default());
            let (theirs, ours) = Opus::new().unwrap().split();
            (decoder.opus, encoder.opus) = (Some(theirs), Some(ours));
            let mut loud = 0;
            for packet in 0..50 {
                let sound: [i16; 160] = std::array::from_fn(|index| {
                    let seconds = (packet * 160 + index) as f32 / 8_000.0;
                    ((seconds * 440.0 * std::f32::consts::TAU).sin() * 8_000.0) as i16
                });
                let (mut octets, mut heard) = ([0; 480], [0; SAMPLES_LONGEST]);
                let count = encoder.encode(codec, &sound, &mut octets).unwrap();
                assert_eq!(samples(codec, &octets[..count]), Some(160), "{codec:?}");
                let count = decoder.decode(codec, &octets[..count], &mut heard).unwrap();
                assert_eq!(count, 160, "{codec:?}");
                loud += heard[..160].iter().filter(|s| s.abs() > 4_000).count();
            }
            // Two thirds of a sine are above half of its peak.
            assert!((4_500..5_700).contains(&loud), "{codec:?}: {loud}");
        }
    }

    #[test]
    fn what_is_no_packet_has_no_samples() {
        for codec in Codec::ALL {
            assert_eq!(samples(codec, &[]), None, "{codec:?}");
        }
        assert_eq!(samples(Codec::Pcmu, &[0; 1_601]), None);
        // Sixty-three frames of 20 ms are longer than the 120 ms that Opus allows.
        assert_eq!(samples(Codec::Opus, &[0x0B, 0x3F, 0, 0]), None);
        let mut sound = [0; SAMPLES_LONGEST];
        assert_eq!(
            Decoder::default().decode(Codec::Opus, &[0x08], &mut sound),
            None
        );
    }

    #[test]
    fn a_faster_clock_is_followed_over_its_wrap_and_back_and_forth() {
        let mut slower = Slower::default();
        let first = slower.timestamp(u32::MAX - 959, 6);
        assert_eq!(slower.timestamp(0, 6).wrapping_sub(first), 160);
        assert_eq!(slower.timestamp(1_920, 6).wrapping_sub(first), 480);
        assert_eq!(slower.timestamp(960, 6).wrapping_sub(first), 320);
        assert_eq!(slower.timestamp(77, 1), 77);
    }
}
