//! RIFF WAVE files: reading whatever people have, writing call recordings.
//!
//! [`parse`] takes hostile bytes: it never panics and allocates no more than
//! four times their length. Sample rates are changed in `resample`, codecs
//! decoded by `offhook_dsp::g711`. Called by `offhook analyze`, the prompt bank,
//! the test user agents and the recorder thread.

use offhook_dsp::g711::Law;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::{fmt, io};

/// Larger files are refused by [`read`]: 1 GiB, 18 hours of 16-bit mono at 8 kHz.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Channels that are taken.
const MAX_CHANNELS: u16 = 8;
/// Sample rates that are taken, Hz.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// Sound from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second and channel.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// 16-bit linear, interleaved; whole frames only.
    pub samples: Vec<i16>,
    /// The header promises more than the file holds, as after a crash.
    pub truncated: bool,
}

/// Why a file is no sound.
#[derive(Debug)]
pub enum WavError {
    /// Does not begin with `RIFF`.
    NotRiff,
    /// The form is not `WAVE`.
    NotWave,
    /// No `fmt ` chunk before the data.
    NoFormat,
    /// The `fmt ` chunk has this many bytes; it needs 16, or 40 if extensible.
    FormatTooShort(usize),
    /// No `data` chunk.
    NoData,
    /// This format tag with this many bits a sample is not known.
    Unsupported {
        /// Format tag of the `fmt ` chunk, of the subformat if extensible.
        tag: u16,
        /// Bits a sample.
        bits: u16,
    },
    /// 1 to 8 channels are taken.
    Channels(u16),
    /// 4,000 to 192,000 Hz are taken.
    Rate(u32),
    /// Bytes per frame differ from channels times sample size.
    BlockAlign {
        /// In the header.
        stated: u16,
        /// As it would have to be.
        needed: u16,
    },
    /// The file has this many bytes, more than 1 GiB.
    TooLong(u64),
    /// A recording cannot grow beyond 4 GiB.
    Full,
    /// It could not be read or written.
    Io(io::Error),
}

impl fmt::Display for WavError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRiff => write!(out, "no RIFF header"),
            Self::NotWave => write!(out, "a RIFF file, but no WAVE"),
            Self::NoFormat => write!(out, "no fmt chunk before the data"),
            Self::FormatTooShort(bytes) => write!(out, "fmt chunk of {bytes} bytes"),
            Self::NoData => write!(out, "no data chunk"),
            Self::Unsupported { tag, bits } => {
                write!(
                    out,
                    "format tag {tag} with {bits} bits; PCM, float, A-law and µ-law are known"
                )
            }
            Self::Channels(count) => write!(out, "{count} channels; 1 to {MAX_CHANNELS} are taken"),
            Self::Rate(rate) => write!(out, "{rate} Hz; 4,000 to 192,000 Hz are taken"),
            Self::BlockAlign { stated, needed } => {
                write!(
                    out,
                    "{stated} bytes a frame; channels and bits need {needed}"
                )
            }
            Self::TooLong(bytes) => write!(out, "{bytes} bytes; at most {MAX_FILE_BYTES} are read"),
            Self::Full => write!(out, "a WAV file cannot grow beyond 4 GiB"),
            Self::Io(error) => write!(out, "{error}"),
        }
    }
}

impl std::error::Error for WavError {}

impl From<io::Error> for WavError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Wav {
    /// Frames: samples of one channel.
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels)
    }

    /// One channel, `None` if there are not so many.
    pub fn channel(&self, index: u16) -> Option<Vec<i16>> {
        let channels = usize::from(self.channels);
        let own = |frame: &[i16]| frame[usize::from(index)];
        (index < self.channels).then(|| self.samples.chunks_exact(channels).map(own).collect())
    }

    /// All channels mixed to one, at equal shares.
    pub fn mono(&self) -> Vec<i16> {
        let channels = i32::from(self.channels);
        let mix = |frame: &[i16]| frame.iter().map(|&s| i32::from(s)).sum::<i32>() / channels;
        let frames = self.samples.chunks_exact(usize::from(self.channels));
        frames.map(|frame| mix(frame) as i16).collect()
    }
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, is larger than 1 GiB, or is no sound that is known.
pub fn read(path: &Path) -> Result<Wav, WavError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE_BYTES {
        return Err(WavError::TooLong(length));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// Understands the bytes of a file: PCM of 8, 16, 24 or 32 bits, float of 32,
/// A-law and µ-law, plain or extensible. A data chunk that promises more than
/// there is ends where the file ends.
///
/// # Errors
/// The bytes are no WAVE file, or one of an unknown kind.
pub fn parse(bytes: &[u8]) -> Result<Wav, WavError> {
    let mut rest = bytes.strip_prefix(b"RIFF").ok_or(WavError::NotRiff)?;
    rest = rest.get(4..).ok_or(WavError::NotRiff)?;
    rest = rest.strip_prefix(b"WAVE").ok_or(WavError::NotWave)?;
    let mut format = None;
    while let Some(chunk) = Chunk::first_of(rest) {
        match &chunk.id {
            b"fmt " => format = Some(Format::parse(chunk.body)?),
            b"data" => return format.ok_or(WavError::NoFormat)?.decode(&chunk),
            _ => {}
        }
        rest = chunk.rest;
    }
    Err(WavError::NoData)
}

/// A checked view of one chunk.
struct Chunk<'a> {
    id: [u8; 4],
    body: &'a [u8],
    truncated: bool,
    rest: &'a [u8],
}

impl<'a> Chunk<'a> {
    fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        let (length, bytes) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let body = &bytes[..length.min(bytes.len())];
        let padded = length.saturating_add(length & 1);
        Some(Self {
            id: *id,
            body,
            truncated: body.len() < length,
            rest: bytes.get(padded..).unwrap_or_default(),
        })
    }
}

/// How one sample is written.
#[derive(Clone, Copy, Debug)]
enum Coding {
    /// 8 bits, 128 is silence.
    Unsigned8,
    /// Little-endian, this many bytes; the two most significant are kept.
    Signed(usize),
    Float32,
    G711(Law),
}

struct Format {
    coding: Coding,
    channels: u16,
    rate: u32,
}

/// Format tags of RFC 2361 and of Microsoft's WAVEFORMATEXTENSIBLE.
const TAG_PCM: u16 = 1;
const TAG_FLOAT: u16 = 3;
const TAG_A_LAW: u16 = 6;
const TAG_MU_LAW: u16 = 7;
const TAG_EXTENSIBLE: u16 = 0xFFFE;

impl Format {
    fn parse(body: &[u8]) -> Result<Self, WavError> {
        let short = || WavError::FormatTooShort(body.len());
        let word = |at: usize| -> Result<u16, WavError> {
            let bytes = body.get(at..at + 2).ok_or_else(short)?;
            Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
        };
        let channels = word(2)?;
        let rate = u32::from(word(4)?) | u32::from(word(6)?) << 16;
        let stated = word(12)?;
        let bits = word(14)?;
        let tag = match word(0)? {
            TAG_EXTENSIBLE if body.len() < 40 => return Err(short()),
            TAG_EXTENSIBLE => word(24)?,
            tag => tag,
        };
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(WavError::Channels(channels));
        }
        if !RATES.contains(&rate) {
            return Err(WavError::Rate(rate));
        }
        let coding = Coding::of(tag, bits)?;
        let needed = channels * coding.bytes() as u16;
        if stated != needed {
            return Err(WavError::BlockAlign { stated, needed });
        }
        Ok(Self {
            coding,
            channels,
            rate,
        })
    }

    fn decode(&self, chunk: &Chunk) -> Result<Wav, WavError> {
        let frame = self.coding.bytes() * usize::from(self.channels);
        let whole = &chunk.body[..chunk.body.len() - chunk.body.len() % frame];
        let samples = whole.chunks_exact(self.coding.bytes());
        Ok(Wav {
            rate: self.rate,
            channels: self.channels,
            samples: samples.map(|bytes| self.coding.decode(bytes)).collect(),
            truncated: chunk.truncated,
        })
    }
}

impl Coding {
    fn of(tag: u16, bits: u16) -> Result<Self, WavError> {
        match (tag, bits) {
            (TAG_PCM, 8) => Ok(Self::Unsigned8),
            (TAG_PCM, 16 | 24 | 32) => Ok(Self::Signed(usize::from(bits / 8))),
            (TAG_FLOAT, 32) => Ok(Self::Float32),
            (TAG_A_LAW, 8) => Ok(Self::G711(Law::A)),
            (TAG_MU_LAW, 8) => Ok(Self::G711(Law::Mu)),
            (tag, bits) => Err(WavError::Unsupported { tag, bits }),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 | Self::G711(_) => 1,
            Self::Signed(bytes) => bytes,
            Self::Float32 => 4,
        }
    }

    /// `bytes` is as long as `self.bytes()` says.
    fn decode(self, bytes: &[u8]) -> i16 {
        match self {
            Self::Unsigned8 => (i16::from(bytes[0]) - 128) << 8,
            Self::Signed(count) => i16::from_le_bytes([bytes[count - 2], bytes[count - 1]]),
            Self::Float32 => {
                let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                (value * 32_768.0) as i16 // saturates; NaN is 0
            }
            Self::G711(law) => law.decode(bytes[0]),
        }
    }
}

/// Bytes before the samples in the files that we write.
const HEADER_BYTES: u32 = 44;

/// Writes a 16-bit PCM file. After every [`Writer::flush`] the file on disk is
/// whole and readable, so a crash loses only what came after.
#[derive(Debug)]
pub struct Writer<F: Write + Seek = BufWriter<File>> {
    file: F,
    rate: u32,
    channels: u16,
    data_bytes: u32,
}

impl Writer {
    /// Creates the file, replacing one that is there.
    ///
    /// # Errors
    /// It cannot be created or written.
    pub fn create(path: &Path, rate: u32, channels: u16) -> Result<Self, WavError> {
        Self::new(BufWriter::new(File::create(path)?), rate, channels)
    }
}

impl<F: Write + Seek> Writer<F> {
    /// Begins a file at the start of `file`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(file: F, rate: u32, channels: u16) -> Result<Self, WavError> {
        let mut writer = Self {
            file,
            rate,
            channels,
            data_bytes: 0,
        };
        writer.flush()?;
        Ok(writer)
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// The disk says no, or the file would pass 4 GiB.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), WavError> {
        let more = u32::try_from(samples.len() * 2).map_err(|_| WavError::Full)?;
        let bytes = self.data_bytes.checked_add(more).ok_or(WavError::Full)?;
        bytes.checked_add(HEADER_BYTES).ok_or(WavError::Full)?;
        for sample in samples {
            self.file.write_all(&sample.to_le_bytes())?;
        }
        self.data_bytes = bytes;
        Ok(())
    }

    /// Writes everything out and makes the header right. It does not wait for the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<(), WavError> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.header())?;
        self.file
            .seek(SeekFrom::Start(u64::from(HEADER_BYTES + self.data_bytes)))?;
        self.file.flush()?;
        Ok(())
    }

    /// Samples of one channel written so far.
    pub fn frames(&self) -> u64 {
        u64::from(self.data_bytes) / (2 * u64::from(self.channels))
    }

    /// Flushes and hands back what was written to.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn close(mut self) -> Result<F, WavError> {
        self.flush()?;
        Ok(self.file)
    }

    fn header(&self) -> [u8; HEADER_BYTES as usize] {
        let frame = self.channels * 2;
        let mut header = [0; HEADER_BYTES as usize];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(b"RIFF");
        put(&(self.data_bytes + HEADER_BYTES - 8).to_le_bytes());
        put(b"WAVEfmt ");
        put(&16u32.to_le_bytes());
        put(&TAG_PCM.to_le_bytes());
        put(&self.channels.to_le_bytes());
        put(&self.rate.to_le_bytes());
        put(&(self.rate * u32::from(frame)).to_le_bytes());
        put(&frame.to_le_bytes());
        put(&16u16.to_le_bytes());
        put(b"data");
        put(&self.data_bytes.to_le_bytes());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A file with this format chunk and data.
    fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let align = channels * (bits / 8);
        let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt ".to_vec();
        bytes.extend(16u32.to_le_bytes());
        bytes.extend(tag.to_le_bytes());
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend((rate * u32::from(align)).to_le_bytes());
        bytes.extend(align.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_coding_is_read_to_full_scale() {
        let float: Vec<u8> = [0.5f32, -2.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let rows: [(u16, u16, &[u8], [i16; 2]); 7] = [
            (1, 8, &[128, 0], [0, -32_768]),
            (1, 16, &[0, 64, 255, 255], [16_384, -1]),
            (1, 24, &[9, 0, 64, 9, 0, 128], [16_384, -32_768]),
            (1, 32, &[9, 9, 0, 64, 9, 9, 0, 128], [16_384, -32_768]),
            (3, 32, &float, [16_384, -32_768]),
            (6, 8, &[0xD5, 0xAA], [8, 32_256]),
            (7, 8, &[0xFF, 0x80], [0, 32_124]),
        ];
        for (tag, bits, data, expected) in rows {
            let wav = parse(&file(tag, 1, 8_000, bits, data)).expect("a known coding");
            assert_eq!(wav.samples, expected, "tag {tag}, {bits} bits");
            assert!(!wav.truncated);
        }
    }

    #[test]
    fn extensible_files_are_read_by_their_subformat() {
        let mut bytes = file(TAG_EXTENSIBLE, 1, 16_000, 16, &[0, 64]);
        let at = bytes.windows(4).position(|w| w == b"fmt ").expect("there");
        let mut extension = [0u8; 24];
        extension[..2].copy_from_slice(&22u16.to_le_bytes());
        extension[8..10].copy_from_slice(&TAG_PCM.to_le_bytes());
        bytes[at + 4] = 40;
        bytes.splice(at + 24..at + 24, extension);
        let wav = parse(&bytes).expect("extensible");
        assert_eq!((wav.rate, wav.samples), (16_000, vec![16_384]));
    }

    #[test]
    fn channels_can_be_taken_apart_and_mixed() {
        let data: Vec<u8> = [100i16, 300, -100, -300]
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect();
        let wav = parse(&file(1, 2, 8_000, 16, &data)).expect("stereo");
        assert_eq!(wav.frames(), 2);
        assert_eq!(wav.channel(1), Some(vec![300, -300]));
        assert_eq!(wav.channel(2), None);
        assert_eq!(wav.mono(), [200, -200]);
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let good = file(1, 1, 8_000, 16, &[1, 2]);
        let error = |bytes: &[u8]| parse(bytes).expect_err("bad").to_string();
        assert_eq!(error(b"OggS"), "no RIFF header");
        assert_eq!(error(b"RIFF\0\0\0\0AVI "), "a RIFF file, but no WAVE");
        assert_eq!(
            error(b"RIFF\0\0\0\0WAVEdata\x02\0\0\0ab"),
            "no fmt chunk before the data"
        );
        assert_eq!(error(&good[..good.len() - 10]), "no data chunk");
        assert_eq!(
            error(b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0ab"),
            "fmt chunk of 2 bytes"
        );
        assert!(error(&file(0x55, 1, 8_000, 8, &[])).starts_with("format tag 85"));
        assert!(error(&file(1, 9, 8_000, 16, &[])).starts_with("9 channels"));
        assert!(error(&file(1, 1, 1, 16, &[])).starts_with("1 Hz"));
        let mut odd = good;
        let at = odd.windows(4).position(|w| w == b"fmt ").expect("there");
        odd[at + 20] = 3;
        assert_eq!(error(&odd), "3 bytes a frame; channels and bits need 2");
    }

    #[test]
    fn a_file_cut_short_gives_what_it_has() {
        let bytes = file(1, 2, 8_000, 16, &[1; 400]);
        let wav = parse(&bytes[..bytes.len() - 3]).expect("readable");
        assert!(wav.truncated);
        assert_eq!(wav.frames(), 99);
    }

    #[test]
    fn a_recording_is_readable_after_every_flush() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), 8_000, 2).expect("memory");
        for round in 1..=3u64 {
            writer.write(&[1, -1, 2, -2]).expect("memory");
            writer.flush().expect("memory");
            let wav = parse(writer.file.get_ref()).expect("whole");
            assert_eq!(wav.frames() as u64, round * 2);
            assert_eq!(writer.frames(), round * 2);
            assert!(!wav.truncated);
        }
        let bytes = writer.close().expect("memory").into_inner();
        assert_eq!(
            parse(&bytes).expect("whole").channel(1),
            Some(vec![-1, -2, -1, -2, -1, -2])
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_damage_makes_the_reader_panic(at in 0usize..80, value: u8, cut in 0usize..90) {
            let mut bytes = file(1, 2, 8_000, 16, &[7; 24]);
            let last = bytes.len() - 1;
            bytes[at.min(last)] = value;
            bytes.truncate(cut.max(1));
            if let Ok(wav) = parse(&bytes) {
                prop_assert!(wav.samples.len() <= bytes.len());
            }
        }
    }
}
