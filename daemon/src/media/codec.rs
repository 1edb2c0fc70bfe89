//! Sound as it is coded on the line, to 8 kHz and back; of wide sound also the band
//! above 4 kHz, for the leg that this one is joined with.
//!
//! The ear and the mouth know 8 kHz alone. Wide sound is kept in two bands (`qmf`),
//! which costs G.722 nothing more and Opus a filter. The state of Opus lives outside of Rust's allocator and is made and freed off the
//! media threads; a leg is lent it. Called by the line and the sender; does not
//! allocate or block.

use std::fmt;
use std::io;

use offhook_dsp::g711::Law;
use offhook_dsp::g722;
use offhook_dsp::qmf::{Joiner, Splitter};
use offhook_sip::rtp::CLOCK_RATE;
use opus::{Application, Bandwidth, Bitrate, Channels};

use super::sender::SAMPLES_MAX;
use super::words::Codec;

/// Opus works on wide sound.
const WIDE_RATE: u32 = 2 * CLOCK_RATE;
/// Samples of the longest packet that is taken: 200 ms (RFC 3551 §4.2).
pub const SAMPLES_LONGEST: usize = 1_600;
/// Packets lost that the coder reckons with, so that it repeats them (in-band FEC).
const LOSS_PERCENT: i32 = 10;
/// Speech of up to 4 kHz needs no more (RFC 7587 §3.1.1 has 8 to 12 for it; the rest is
/// for what is repeated).
const BITS_A_SECOND: i32 = 20_000;
/// Speech of up to 8 kHz (RFC 7587 §3.1.1 has 16 to 20 for it).
const WIDE_BITS_A_SECOND: i32 = 30_000;

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
            let decoder = opus::Decoder::new(WIDE_RATE, Channels::Mono)?;
            let mut encoder = opus::Encoder::new(WIDE_RATE, Channels::Mono, Application::Voip)?;
            encoder.set_max_bandwidth(Bandwidth::Narrowband)?;
            encoder.set_bitrate(Bitrate::Bits(BITS_A_SECOND))?;
            encoder.set_inband_fec(true)?;
            encoder.set_packet_loss_perc(LOSS_PERCENT)?;
            Ok(Self { decoder, encoder })
        };
        make().map_err(|error: opus::Error| io::Error::other(error.to_string()))
    }

    /// To the line and to the sender.
    pub fn split(self) -> (OpusDecoder, OpusEncoder) {
        let decoder = OpusDecoder {
            decoder: self.decoder,
            splitter: Splitter::default(),
        };
        let encoder = OpusEncoder {
            encoder: self.encoder,
            joiner: Joiner::default(),
            wide: false,
        };
        (decoder, encoder)
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

/// Samples of a packet at 8 kHz, in two bands; narrow codecs leave the upper one.
pub struct Sound {
    /// Up to 4 kHz.
    pub low: [i16; SAMPLES_LONGEST],
    /// Above it.
    pub high: [i16; SAMPLES_LONGEST],
}

impl Sound {
    /// Silence.
    pub const SILENT: Self = Self {
        low: [0; SAMPLES_LONGEST],
        high: [0; SAMPLES_LONGEST],
    };
}

/// Opus as it comes.
pub struct OpusDecoder {
    decoder: opus::Decoder,
    splitter: Splitter,
}

impl OpusDecoder {
    /// So many samples at 8 kHz at most; `repeated`: of the packet before this one.
    fn decode(
        &mut self,
        payload: &[u8],
        most: usize,
        repeated: bool,
        sound: &mut Sound,
    ) -> Option<usize> {
        let mut wide = [0; 2 * SAMPLES_LONGEST];
        let room = &mut wide[..2 * most];
        let count = self.decoder.decode(payload, room, repeated).ok()?;
        let Sound { low, high } = sound;
        Some(self.splitter.split(&wide[..count], low, high))
    }
}

/// What comes.
#[derive(Default)]
pub struct Decoder {
    g722: g722::Decoder,
    /// Where Opus was agreed on.
    pub opus: Option<OpusDecoder>,
}

impl Decoder {
    /// Decodes a packet and says how many samples; `None` if it cannot be.
    pub fn decode(&mut self, codec: Codec, payload: &[u8], sound: &mut Sound) -> Option<usize> {
        let Sound { low, high } = sound;
        match (codec, law(codec)) {
            (_, Some(law)) => Some(law.decode_into(payload, low)),
            (Codec::G722, None) => Some(self.g722.decode_bands(payload, low, high)),
            (_, None) => self
                .opus
                .as_mut()?
                .decode(payload, SAMPLES_LONGEST, false, sound),
        }
    }

    /// Decodes what a packet repeats of the one before it, which was lost, and says how
    /// many samples; `None` if it repeats nothing. The packet itself comes next.
    pub fn recover(&mut self, codec: Codec, payload: &[u8], sound: &mut Sound) -> Option<usize> {
        let opus = self.opus.as_mut().filter(|_| codec == Codec::Opus)?;
        let samples = samples(codec, payload).filter(|_| repeats(payload))?;
        // The room is what says how much was lost.
        opus.decode(payload, samples as usize, true, sound)
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

/// Opus as it goes.
pub struct OpusEncoder {
    encoder: opus::Encoder,
    joiner: Joiner,
    /// Something above 4 kHz has been coded: it may be again.
    wide: bool,
}

impl OpusEncoder {
    fn encode(&mut self, low: &[i16], high: Option<&[i16]>, octets: &mut [u8]) -> Option<usize> {
        if high.is_some() && !self.wide {
            self.encoder.set_max_bandwidth(Bandwidth::Wideband).ok()?;
            let bits = Bitrate::Bits(WIDE_BITS_A_SECOND);
            self.encoder.set_bitrate(bits).ok()?;
            self.wide = true;
        }
        let mut wide = [0; 2 * SAMPLES_MAX];
        let high = high.unwrap_or(&[0; SAMPLES_MAX]);
        let pairs = self.joiner.join(low, high, &mut wide);
        self.encoder.encode(&wide[..2 * pairs], octets).ok()
    }
}

/// What goes.
#[derive(Default)]
pub struct Encoder {
    g722: g722::Encoder,
    /// Where Opus was agreed on.
    pub opus: Option<OpusEncoder>,
}

impl Encoder {
    /// Codes a packet and says how many octets; `None` if it cannot be. `high`: the band
    /// above 4 kHz, where it is known and the codec has one.
    pub fn encode(
        &mut self,
        codec: Codec,
        low: &[i16],
        high: Option<&[i16]>,
        octets: &mut [u8],
    ) -> Option<usize> {
        match (codec, law(codec), high) {
            (_, Some(law), _) => Some(law.encode_into(low, octets)),
            (Codec::G722, None, Some(high)) => Some(self.g722.encode_bands(low, high, octets)),
            (Codec::G722, None, None) => Some(self.g722.encode_into(low, octets)),
            (_, None, high) => self.opus.as_mut()?.encode(low, high, octets),
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
                let (mut octets, mut heard) = ([0; 480], Sound::SILENT);
                let count = encoder.encode(codec, &sound, None, &mut octets).unwrap();
                assert_eq!(samples(codec, &octets[..count]), Some(160), "{codec:?}");
                let count = decoder.decode(codec, &octets[..count], &mut heard).unwrap();
                assert_eq!(count, 160, "{codec:?}");
                loud += heard.low[..160].iter().filter(|s| s.abs() > 4_000).count();
            }
            // Two thirds of a sine are above half of its peak.
            assert!((4_500..5_700).contains(&loud), "{codec:?}: {loud}");
        }
    }

    /// Power of a tone above 4 kHz in the upper band after wide codecs, one after the
    /// other, as the share of what was put in.
    fn above(codecs: &[Codec]) -> f64 {
        let mut coders: Vec<_> = codecs.iter().map(|_| coders()).collect();
        let (mut sent, mut came) = (0.0, 0.0);
        for packet in 0..100 {
            // 5 kHz is 3 kHz in a band that is turned over.
            let mut high: Vec<i16> = (0..160)
                .map(|index| {
                    let seconds = (packet * 160 + index) as f32 / 8_000.0;
                    ((seconds * 3_000.0 * std::f32::consts::TAU).sin() * 6_000.0) as i16
                })
                .collect();
            let power = |sound: &[i16]| sound.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>();
            sent += power(&high);
            let mut low = vec![0; 160];
            for (codec, (encoder, decoder)) in codecs.iter().zip(&mut coders) {
                let (mut octets, mut heard) = ([0; 480], Sound::SILENT);
                let count = encoder.encode(*codec, &low, Some(&high), &mut octets);
                let octets = &octets[..count.unwrap()];
                decoder.decode(*codec, octets, &mut heard).unwrap();
                low = heard.low[..160].to_vec();
                high = heard.high[..160].to_vec();
            }
            came += power(&high);
        }
        came / sent
    }

    fn coders() -> (Encoder, Decoder) {
        let (theirs, ours) = Opus::new().unwrap().split();
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        (encoder.opus, decoder.opus) = (Some(ours), Some(theirs));
        (encoder, decoder)
    }

    #[test]
    fn what_is_above_4_khz_comes_through_wide_codecs_and_from_one_to_the_other() {
        let chains: [&[Codec]; 4] = [
            &[Codec::G722],
            &[Codec::Opus],
            &[Codec::G722, Codec::Opus],
            &[Codec::Opus, Codec::G722],
        ];
        for chain in chains {
            let share = above(chain);
            assert!((0.5..2.0).contains(&share), "{chain:?}: {share}");
        }
        assert_eq!(above(&[Codec::Pcma]), 0.0);
    }

    #[test]
    fn what_is_no_packet_has_no_samples() {
        for codec in Codec::ALL {
            assert_eq!(samples(codec, &[]), None, "{codec:?}");
        }
        assert_eq!(samples(Codec::Pcmu, &[0; 1_601]), None);
        // Sixty-three frames of 20 ms are longer than the 120 ms that Opus allows.
        assert_eq!(samples(Codec::Opus, &[0x0B, 0x3F, 0, 0]), None);
        let mut sound = Sound::SILENT;
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
