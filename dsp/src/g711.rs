//! G.711: 8-bit µ-law and A-law to 16-bit linear and back.
//!
//! Linear values use the full 16-bit scale (the 14-bit µ-law and 13-bit A-law
//! values of ITU-T G.711 shifted left). It does no packing, concealment or
//! comfort noise. Called by the media threads for every packet and by the WAV
//! reader.

/// Which of the two companding laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// µ-law, RTP payload type 0 (PCMU).
    Mu,
    /// A-law, RTP payload type 8 (PCMA).
    A,
}

impl Law {
    /// The octet that stands for silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Mu => 0xFF,
            Self::A => 0xD5,
        }
    }

    /// One octet to one linear sample.
    pub const fn decode(self, code: u8) -> i16 {
        match self {
            Self::Mu => MU_TO_LINEAR[code as usize],
            Self::A => A_TO_LINEAR[code as usize],
        }
    }

    /// One linear sample to one octet.
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => mu_encode(sample),
            Self::A => a_encode(sample),
        }
    }

    /// Decodes as many octets as both slices hold and returns their number.
    /// Does not allocate or block.
    pub fn decode_into(self, codes: &[u8], samples: &mut [i16]) -> usize {
        for (sample, &code) in samples.iter_mut().zip(codes) {
            *sample = self.decode(code);
        }
        codes.len().min(samples.len())
    }

    /// Encodes as many samples as both slices hold and returns their number.
    /// Does not allocate or block.
    pub fn encode_into(self, samples: &[i16], codes: &mut [u8]) -> usize {
        for (code, &sample) in codes.iter_mut().zip(samples) {
            *code = self.encode(sample);
        }
        codes.len().min(samples.len())
    }
}

/// Added before the segment is found, on the 16-bit scale (33 on the 14-bit
/// scale of ITU-T G.711, table 2a).
const MU_BIAS: i32 = 132;
/// The largest magnitude that µ-law keeps, on the 16-bit scale.
const MU_CLIP: i32 = 32_635;

const fn mu_encode(sample: i16) -> u8 {
    let wide = sample as i32;
    let sign = if wide < 0 { 0x80 } else { 0 };
    let magnitude = if wide < 0 { -wide } else { wide };
    let clipped = if magnitude > MU_CLIP {
        MU_CLIP
    } else {
        magnitude
    };
    let biased = (clipped + MU_BIAS) as u32;
    let segment = biased.ilog2() - 7;
    let step = (biased >> (segment + 3)) & 0x0F;
    !(sign | (segment << 4) as u8 | step as u8)
}

const fn mu_decode(code: u8) -> i16 {
    let bits = !code;
    let segment = (bits & 0x70) >> 4;
    let magnitude = ((((bits & 0x0F) as i32) << 3) + MU_BIAS) << segment;
    let value = magnitude - MU_BIAS;
    (if bits & 0x80 == 0 { value } else { -value }) as i16
}

/// Every even bit of an A-law octet is inverted on the line (ITU-T G.711, table 1a, note 2).
const A_EVEN_BITS: u8 = 0x55;

const fn a_encode(sample: i16) -> u8 {
    let wide = (sample >> 3) as i32;
    let (sign, magnitude) = if wide < 0 {
        (0, -wide - 1)
    } else {
        (0x80, wide)
    };
    let magnitude = magnitude as u32;
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let segment = magnitude.ilog2() - 4;
        (segment << 4) | ((magnitude >> segment) & 0x0F)
    };
    (sign | code as u8) ^ A_EVEN_BITS
}

const fn a_decode(code: u8) -> i16 {
    let bits = code ^ A_EVEN_BITS;
    let segment = (bits & 0x70) >> 4;
    let step = ((bits & 0x0F) as i32) << 4;
    let magnitude = if segment == 0 {
        step + 8
    } else {
        (step + 0x108) << (segment - 1)
    };
    (if bits & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

static MU_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = mu_decode(code as u8);
        code += 1;
    }
    table
};

static A_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = a_decode(code as u8);
        code += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-T G.711 table 2a, column 8 (decoder output, 14 bit), first of each segment.
    #[test]
    fn mu_law_decodes_to_the_values_of_the_recommendation() {
        let rows = [
            (0x80, 8031),
            (0x8F, 4191),
            (0x9F, 2079),
            (0xAF, 1023),
            (0xBF, 495),
            (0xCF, 231),
            (0xDF, 99),
            (0xEF, 33),
            (0xFE, 2),
            (0xFF, 0),
        ];
        for (code, value14) in rows {
            assert_eq!(Law::Mu.decode(code), value14 * 4, "code {code:#x}");
            assert_eq!(
                Law::Mu.decode(code & 0x7F),
                -value14 * 4,
                "code {:#x}",
                code & 0x7F
            );
        }
    }

    /// ITU-T G.711 table 1a, column 8 (decoder output, 13 bit) after the even bits are inverted.
    #[test]
    fn a_law_decodes_to_the_values_of_the_recommendation() {
        let rows = [
            (0xFF, 4032),
            (0xF0, 2112),
            (0xE0, 1056),
            (0xD0, 528),
            (0xC0, 264),
            (0xB0, 132),
            (0xA0, 66),
            (0x81, 3),
            (0x80, 1),
        ];
        for (plain, value13) in rows {
            let code: u8 = plain ^ A_EVEN_BITS;
            assert_eq!(Law::A.decode(code), value13 * 8, "code {code:#x}");
            assert_eq!(
                Law::A.decode(code ^ 0x80),
                -value13 * 8,
                "code {:#x}",
                code ^ 0x80
            );
        }
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=255u8 {
            assert_eq!(Law::A.encode(Law::A.decode(code)), code);
            let again = Law::Mu.encode(Law::Mu.decode(code));
            let expected = if code == 0x7F { 0xFF } else { code }; // minus zero
            assert_eq!(again, expected);
        }
    }

    #[test]
    fn quantising_error_stays_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let magnitude = i32::from(sample).abs();
            for law in [Law::Mu, Law::A] {
                let error = (i32::from(law.decode(law.encode(sample))) - i32::from(sample)).abs();
                assert!(
                    error <= (magnitude >> 5).max(8) + 8 || magnitude > MU_CLIP - 512,
                    "{law:?} {sample}: {error}"
                );
            }
        }
    }

    #[test]
    fn silence_is_the_code_of_zero() {
        assert_eq!(Law::Mu.encode(0), Law::Mu.silence());
        assert_eq!(Law::A.encode(0), Law::A.silence());
    }
}
