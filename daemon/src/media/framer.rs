//! A stream's pieces as frames of 10 ms: decoded, made up where nothing came.
//!
//! It knows no order of packets (`offhook_sip::rtp::Receiver` does) and hears
//! nothing. Called by the line of a live call and, for captures, by
//! `offhook analyze`; does not allocate or block.

use std::ops::Range;

use offhook_dsp::conceal::Concealer;
use offhook_dsp::noise::{ComfortNoise, level_of_payload};
use offhook_dsp::{FRAME, Source};
use offhook_sip::rtp::{Coded, Fill, Piece};

use super::codec::{self, Decoder};
use super::words::{Codec, ReceiveTypes};

/// Comfort noise of no level yet: -127 dBov (RFC 3389 §3).
const QUIETEST: u8 = 127;

/// 10 ms of the line.
pub struct Frame<'a> {
    /// Up to 4 kHz.
    pub near: &'a [i16; FRAME],
    /// Above it, where it is wide; else silence.
    pub high: &'a [i16; FRAME],
    /// Where it is from.
    pub source: Source,
}

/// Puts frames together.
pub struct Framer {
    concealer: Concealer,
    noise: ComfortNoise,
    near: [i16; FRAME],
    high: [i16; FRAME],
    filled: usize,
    source: Source,
    types: ReceiveTypes,
    decoder: Decoder,
    /// Samples of lost packets that the next one repeated.
    recovered: u64,
}

impl Framer {
    /// One that understands nothing yet; the seed only shapes the noise. Inlined: see
    /// `Line::new`.
    #[inline(always)]
    pub fn new(seed: u32) -> Self {
        Self {
            concealer: Concealer::new(),
            noise: ComfortNoise::new(QUIETEST, seed),
            near: [0; FRAME],
            high: [0; FRAME],
            filled: 0,
            source: Source::NoRtp,
            types: ReceiveTypes::new(),
            decoder: Decoder::default(),
            recovered: 0,
        }
    }

    /// For another call, as after `new`; only while nothing came.
    pub(super) fn renew(&mut self, seed: u32) {
        self.filled = 0;
        self.noise = ComfortNoise::new(QUIETEST, seed);
        self.source = Source::NoRtp;
        self.types = ReceiveTypes::new();
        self.decoder = Decoder::default();
    }

    /// What may come from now on.
    pub fn connect(&mut self, types: ReceiveTypes) {
        self.types = types;
    }

    /// What it decodes with.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// The codec of a payload type, if it was agreed on.
    pub fn codec(&self, payload_type: u8) -> Option<Codec> {
        let mut types = self.types.iter();
        let found = types.find(|(known, _)| *known == payload_type);
        found.map(|(_, codec)| *codec)
    }

    /// Samples of lost packets that the next one repeated: they were not made up.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Takes the next piece and hands out each frame that it makes whole.
    pub fn take(&mut self, piece: Piece<'_>, hear: &mut impl FnMut(Frame<'_>)) {
        match piece {
            Piece::Audio {
                payload_type,
                payload,
                skip,
            } => {
                let Some(codec) = self.codec(payload_type) else {
                    return;
                };
                let mut sound = codec::Sound::SILENT;
                // What cannot be decoded was counted with its time: it is lost.
                match self.decoder.decode(codec, payload, &mut sound) {
                    Some(count) => self.take_part(&sound, skip as usize..count, hear),
                    None => {
                        let samples = codec::samples(codec, payload).unwrap_or(0);
                        let left = samples.saturating_sub(skip) as usize;
                        self.take_fill(left, Fill::Lost, hear);
                    }
                }
            }
            Piece::Fill {
                samples,
                cause: Fill::Lost,
                next: Some(next),
            } => self.take_lost(samples as usize, next, hear),
            Piece::Fill { samples, cause, .. } => self.take_fill(samples as usize, cause, hear),
            Piece::Noise { payload } => {
                self.noise
                    .set_level(level_of_payload(payload).unwrap_or(QUIETEST));
            }
        }
    }

    /// A part of a packet; none where it ends before it begins.
    fn take_part(
        &mut self,
        sound: &codec::Sound,
        part: Range<usize>,
        hear: &mut impl FnMut(Frame<'_>),
    ) {
        if let (Some(low), Some(high)) = (sound.low.get(part.clone()), sound.high.get(part)) {
            self.take_audio(low, high, hear);
        }
    }

    /// Both bands, of the same length.
    pub(super) fn take_audio<'s>(
        &mut self,
        mut low: &'s [i16],
        mut high: &'s [i16],
        hear: &mut impl FnMut(Frame<'_>),
    ) {
        while !low.is_empty() {
            let count = low.len().min(FRAME - self.filled);
            let place = self.filled..self.filled + count;
            let bands = [(&mut low, &mut self.near), (&mut high, &mut self.high)];
            for (band, kept) in bands {
                let (now, later): (&'s [i16], &'s [i16]) = band.split_at(count);
                kept[place.clone()].copy_from_slice(now);
                *band = later;
            }
            self.filled += count;
            self.source = Source::Received;
            if self.filled == FRAME {
                self.frame(hear);
            }
        }
    }

    /// The end of a loss may be repeated in the packet that follows it.
    fn take_lost(&mut self, lost: usize, next: Coded<'_>, hear: &mut impl FnMut(Frame<'_>)) {
        let mut sound = codec::Sound::SILENT;
        let codec = self.codec(next.payload_type);
        let decoder = &mut self.decoder;
        let recovered = codec.and_then(|codec| decoder.recover(codec, next.payload, &mut sound));
        let repeated = recovered.unwrap_or(0);
        let kept = repeated.min(lost);
        self.take_fill(lost - kept, Fill::Lost, hear);
        self.recovered += kept as u64;
        self.take_part(&sound, repeated - kept..repeated, hear);
    }

    pub(super) fn take_fill(
        &mut self,
        mut samples: usize,
        cause: Fill,
        hear: &mut impl FnMut(Frame<'_>),
    ) {
        let source = match cause {
            Fill::Lost => Source::Concealed,
            Fill::Quiet => Source::ComfortNoise,
            Fill::Stopped => Source::NoRtp,
        };
        while samples > 0 {
            let count = samples.min(FRAME - self.filled);
            // A frame that has some sound in it counts as sound.
            if self.filled == 0 {
                self.source = source;
            }
            self.high[self.filled..self.filled + count].fill(0);
            let gap = &mut self.near[self.filled..self.filled + count];
            match cause {
                Fill::Quiet => self.noise.fill(gap),
                Fill::Lost | Fill::Stopped => gap.fill(0),
            }
            samples -= count;
            self.filled += count;
            if self.filled == FRAME {
                self.frame(hear);
            }
        }
    }

    fn frame(&mut self, hear: &mut impl FnMut(Frame<'_>)) {
        match self.source {
            Source::Received | Source::ComfortNoise => self.concealer.good(&mut self.near),
            Source::Concealed => self.concealer.conceal(&mut self.near),
            Source::NoRtp => {}
        }
        self.filled = 0;
        hear(Frame {
            near: &self.near,
            high: &self.high,
            source: self.source,
        });
    }
}
