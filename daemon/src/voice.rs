//! The appliance's own voice: flite `rms`, rendered ahead; recordings win.
//!
//! All contact with the C library is in this file. It renders on ordinary
//! threads, takes tens of milliseconds and never runs on a media thread, which
//! only plays the finished [`Clip`]s. Called at start for the prompts of the
//! playbooks, and by the switchboard for words that are known only in the call.

use crate::media::Clip;
use crate::resample::{Alignment, LINE_RATE, resample};
use crate::tune;
use crate::wav::{self, Writer};
use offhook_dsp::FRAME;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_float, c_int, c_short, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the voice; part of the cache key.
const VOICE: &str = "cmu_us_rms";
/// Raised when rendering changes, so that old cache files are not used.
const RENDERING: u32 = 1;
/// Longest text rendered, bytes: about three minutes of speech.
const MAX_TEXT: usize = 4_000;
/// Word boundaries are taken from pauses this long where the engine gives none: 60 ms.
const PAUSE_FRAMES: usize = 6;
/// A frame below this power is a pause (-50 dBov).
const PAUSE_POWER: f64 = 0.000_01 * 32_768.0 * 32_768.0;
/// Silence kept after the last word of a recording or rendering: 60 ms.
const TAIL: usize = 480;

/// Why there is no voice for a text or key.
#[derive(Debug)]
pub enum VoiceError {
    /// The text holds nothing to say.
    Empty,
    /// The text has this many bytes, more than 4,000.
    TooLong(usize),
    /// The text holds a NUL.
    Nul,
    /// flite gave no sound.
    Engine,
    /// A recording could not be read.
    Recording {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: wav::WavError,
    },
}

impl fmt::Display for VoiceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(out, "nothing to say"),
            Self::TooLong(bytes) => write!(out, "text of {bytes} bytes; at most {MAX_TEXT}"),
            Self::Nul => write!(out, "text with a NUL"),
            Self::Engine => write!(out, "flite gave no sound"),
            Self::Recording { path, error } => write!(out, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for VoiceError {}

/// Speaks `text` into a clip. Takes about 1 % of the clip's length; one
/// rendering at a time, others wait.
///
/// # Errors
/// The text is empty, too long or holds a NUL, or the engine fails.
pub fn render(text: &str) -> Result<Clip, VoiceError> {
    if !text.chars().any(char::is_alphanumeric) {
        return Err(VoiceError::Empty);
    }
    if text.len() > MAX_TEXT {
        return Err(VoiceError::TooLong(text.len()));
    }
    let text = CString::new(text).map_err(|_| VoiceError::Nul)?;
    let spoken = flite::speak(&text)?;
    let samples = resample(&spoken.samples, spoken.rate, LINE_RATE, Alignment::Centred);
    let to_line = |seconds: &f32| (seconds * LINE_RATE as f32).round() as u32;
    let mut words: Vec<u32> = spoken.word_ends.iter().map(to_line).collect();
    words.retain(|&end| end > 0 && end as usize <= samples.len());
    words.dedup();
    let keep = words.last().map_or(samples.len(), |&end| {
        (end as usize + TAIL).min(samples.len())
    });
    Ok(Clip {
        samples: samples[..keep].into(),
        words: words.into(),
    })
}

/// A clip of sound without known words: its boundaries are its pauses.
fn from_sound(samples: Vec<i16>) -> Clip {
    let words = pauses(&samples).into();
    Clip {
        samples: samples.into(),
        words,
    }
}

/// Ends of sound before each pause of at least 60 ms, and the end.
fn pauses(samples: &[i16]) -> Vec<u32> {
    let mut words = Vec::new();
    let mut quiet = PAUSE_FRAMES;
    let mut sound_end = 0;
    for (index, frame) in samples.chunks(FRAME).enumerate() {
        let power = frame
            .iter()
            .map(|&s| f64::from(s) * f64::from(s))
            .sum::<f64>();
        if power / (frame.len() as f64) > PAUSE_POWER {
            quiet = 0;
            sound_end = (index * FRAME + frame.len()) as u32;
        } else {
            quiet += 1;
            if quiet == PAUSE_FRAMES {
                words.push(sound_end);
            }
        }
    }
    if quiet < PAUSE_FRAMES {
        words.push(sound_end);
    }
    words
}

/// Clips by key. A recording `KEY.wav` in the prompts directory wins over the
/// text; renderings are kept on disk between starts.
#[derive(Debug)]
pub struct PromptBank {
    recordings: Option<PathBuf>,
    cache: Option<PathBuf>,
    clips: Mutex<HashMap<String, Arc<Clip>>>,
}

impl PromptBank {
    /// A bank over two directories; either may be missing. A cache that cannot
    /// be written is not used.
    pub fn new(recordings: Option<PathBuf>, cache: Option<PathBuf>) -> Self {
        let cache = cache.filter(|path| std::fs::create_dir_all(path).is_ok());
        Self {
            recordings,
            cache,
            clips: Mutex::default(),
        }
    }

    /// The clip of `key`: its recording, or `text` rendered. The same key and
    /// text give the same clip, made once.
    ///
    /// # Errors
    /// The recording cannot be read, or there is none and the text cannot be spoken.
    pub fn clip(&self, key: &str, text: &str) -> Result<Arc<Clip>, VoiceError> {
        let name = format!("{key}\n{text}");
        if let Some(clip) = self.clips().get(&name) {
            return Ok(Arc::clone(clip));
        }
        let clip = match self.recording(key)? {
            Some(clip) => clip,
            None if text == tune::TEXT => from_sound(tune::tune()),
            None => self.rendered(text)?,
        };
        let clip = Arc::new(clip);
        self.clips().insert(name, Arc::clone(&clip));
        Ok(clip)
    }

    /// Forgets everything, so that changed recordings are read again.
    pub fn reload(&self) {
        self.clips().clear();
    }

    fn clips(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Clip>>> {
        self.clips.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self, key: &str) -> Result<Option<Clip>, VoiceError> {
        let Some(directory) = self.recordings.as_deref().filter(|_| is_file_name(key)) else {
            return Ok(None);
        };
        let path = directory.join(format!("{key}.wav"));
        if !path.is_file() {
            return Ok(None);
        }
        match wav::read(&path) {
            Ok(sound) => {
                let samples = resample(&sound.mono(), sound.rate, LINE_RATE, Alignment::Centred);
                Ok(Some(from_sound(samples)))
            }
            Err(error) => Err(VoiceError::Recording { path, error }),
        }
    }

    fn rendered(&self, text: &str) -> Result<Clip, VoiceError> {
        let path = self
            .cache
            .as_deref()
            .map(|directory| directory.join(cache_name(text)));
        if let Some(clip) = path.as_deref().and_then(load) {
            return Ok(clip);
        }
        let clip = render(text)?;
        if let Some(path) = path {
            // The cache only saves time: a full disk costs a rendering, not a prompt.
            if let Err(error) = save(&path, &clip) {
                tracing::warn!(path = %path.display(), %error, "voice_cache_not_written");
            }
        }
        Ok(clip)
    }
}

/// Keys come from playbooks; those that are no plain file name have no recording.
fn is_file_name(key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !key.is_empty() && !key.starts_with('.') && key.chars().all(plain)
}

fn cache_name(text: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{VOICE}\n{RENDERING}\n{text}"));
    let hex: String = digest.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{hex}.wav")
}

/// Word ends lie beside the sound, in decimal, one a line.
fn words_beside(path: &Path) -> PathBuf {
    path.with_extension("words")
}

fn load(path: &Path) -> Option<Clip> {
    let sound = wav::read(path)
        .ok()
        .filter(|sound| sound.rate == LINE_RATE && !sound.truncated)?;
    let list = std::fs::read_to_string(words_beside(path)).ok()?;
    let words: Vec<u32> = list
        .lines()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let fits = words.is_sorted()
        && words
            .last()
            .is_none_or(|&end| end as usize <= sound.frames());
    fits.then(|| Clip {
        samples: sound.mono().into(),
        words: words.into(),
    })
}

/// Writes under another name and moves it, so that no half file is ever read.
fn save(path: &Path, clip: &Clip) -> Result<(), wav::WavError> {
    let list: String = clip.words.iter().map(|end| format!("{end}\n")).collect();
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, list)?;
    std::fs::rename(&fresh, words_beside(path))?;
    let mut writer = Writer::create(&fresh, LINE_RATE, 1)?;
    writer.write(&clip.samples)?;
    writer.close()?;
    std::fs::rename(&fresh, path)?;
    Ok(())
}

/// The C library behind one door: opaque types, one call at a time.
mod flite {
    use super::*;

    /// What flite said.
    pub(super) struct Spoken {
        pub(super) samples: Vec<i16>,
        pub(super) rate: u32,
        /// Seconds.
        pub(super) word_ends: Vec<f32>,
    }

    /// `cst_wave` of flite 2.2's cst_wave.h.
    #[repr(C)]
    struct Wave {
        kind: *const c_char,
        sample_rate: c_int,
        num_samples: c_int,
        num_channels: c_int,
        samples: *mut c_short,
    }

    unsafe extern "C" {
        fn flite_init() -> c_int;
        fn register_cmu_us_rms(directory: *const c_char) -> *mut c_void;
        fn flite_synth_text(text: *const c_char, voice: *mut c_void) -> *mut c_void;
        fn delete_utterance(utterance: *mut c_void);
        fn utt_wave(utterance: *mut c_void) -> *mut Wave;
        fn utt_relation(utterance: *mut c_void, name: *const c_char) -> *mut c_void;
        fn relation_head(relation: *mut c_void) -> *mut c_void;
        fn item_next(item: *const c_void) -> *mut c_void;
        fn flite_ffeature_float(item: *const c_void, path: *const c_char) -> c_float;
    }

    // flite's own sound output, which we never use. Defining it here keeps
    // libflite's ALSA code, and with it libasound, out of the binary.

    // SAFETY: no other object defines this name: libflite's own `audio.o` is
    // linked only where one of these four is missing.
    #[unsafe(no_mangle)]
    extern "C" fn play_wave(_wave: *mut Wave) -> c_int {
        -1
    }
    // SAFETY: as above.
    #[unsafe(no_mangle)]
    extern "C" fn audio_open(_rate: c_int, _channels: c_int, _format: c_int) -> *mut c_void {
        std::ptr::null_mut()
    }
    // SAFETY: as above.
    #[unsafe(no_mangle)]
    extern "C" fn audio_write(_device: *mut c_void, _data: *mut c_void, _bytes: c_int) -> c_int {
        -1
    }
    // SAFETY: as above.
    #[unsafe(no_mangle)]
    extern "C" fn audio_close(_device: *mut c_void) -> c_int {
        -1
    }

    /// Makes the linker take the four from here before it sees libflite.
    fn claim_sound_output() {
        let claimed: [*const (); 4] = [
            play_wave as *const (),
            audio_open as *const (),
            audio_write as *const (),
            audio_close as *const (),
        ];
        std::hint::black_box(claimed);
    }

    /// The voice, made once and kept for ever.
    struct Voice(NonNull<c_void>);
    // SAFETY: the voice is only used under the mutex below, and flite ties
    // nothing in it to the thread that made it.
    unsafe impl Send for Voice {}

    /// flite keeps global lists without locks: one call at a time.
    static VOICE: Mutex<Option<Voice>> = Mutex::new(None);

    pub(super) fn speak(text: &CString) -> Result<Spoken, VoiceError> {
        let mut slot = VOICE.lock().unwrap_or_else(PoisonError::into_inner);
        let voice = match &mut *slot {
            Some(voice) => voice,
            empty => empty.insert(load()?),
        };
        // SAFETY: the text ends in NUL and the voice is registered; both outlive the call.
        let utterance = unsafe { flite_synth_text(text.as_ptr(), voice.0.as_ptr()) };
        let utterance = NonNull::new(utterance).ok_or(VoiceError::Engine)?;
        let spoken = sound(utterance).map(|(samples, rate)| Spoken {
            samples,
            rate,
            word_ends: word_ends(utterance),
        });
        // SAFETY: made above, copied from, and not used again.
        unsafe { delete_utterance(utterance.as_ptr()) };
        spoken
    }

    fn load() -> Result<Voice, VoiceError> {
        claim_sound_output();
        // SAFETY: called once, under the mutex; a null directory means the built-in data.
        let voice = unsafe {
            flite_init();
            register_cmu_us_rms(std::ptr::null())
        };
        NonNull::new(voice).map(Voice).ok_or(VoiceError::Engine)
    }

    fn sound(utterance: NonNull<c_void>) -> Result<(Vec<i16>, u32), VoiceError> {
        // SAFETY: the utterance is alive; the wave belongs to it and is checked for null.
        let wave = unsafe { utt_wave(utterance.as_ptr()).as_ref() }.ok_or(VoiceError::Engine)?;
        let count = usize::try_from(wave.num_samples).unwrap_or_default();
        let rate = u32::try_from(wave.sample_rate).unwrap_or_default();
        if wave.samples.is_null() || count == 0 || rate == 0 || wave.num_channels != 1 {
            return Err(VoiceError::Engine);
        }
        // SAFETY: flite filled `num_samples` shorts of one channel at `samples`.
        let samples = unsafe { std::slice::from_raw_parts(wave.samples, count) }.to_vec();
        Ok((samples, rate))
    }

    /// Ends of the words: the end of the last segment of the last syllable of each.
    fn word_ends(utterance: NonNull<c_void>) -> Vec<f32> {
        let path = c"R:SylStructure.daughtern.daughtern.R:Segment.end";
        let mut ends = Vec::new();
        // SAFETY: the utterance is alive; every item comes from its `Word`
        // relation and is checked for null; names and path end in NUL.
        unsafe {
            let relation = utt_relation(utterance.as_ptr(), c"Word".as_ptr());
            if relation.is_null() {
                return ends;
            }
            let mut word = relation_head(relation);
            while !word.is_null() {
                ends.push(flite_ffeature_float(word, path.as_ptr()));
                word = item_next(word);
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_spoken_with_its_words() {
        let clip = render("Hello, would you like to book a visit?").expect("flite speaks");
        assert_eq!(clip.words.len(), 8);
        assert!(clip.words.is_sorted());
        let seconds = clip.samples.len() as f64 / f64::from(LINE_RATE);
        assert!((1.5..4.0).contains(&seconds), "{seconds} s");
        assert!(offhook_dsp::noise::level_of_samples(&clip.samples) < 35);
        assert!(clip.words[7] as usize <= clip.samples.len());
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        assert!(matches!(render(" ... "), Err(VoiceError::Empty)));
        assert!(matches!(
            render(&"a ".repeat(3_000)),
            Err(VoiceError::TooLong(6_000))
        ));
        assert!(matches!(render("a\0b"), Err(VoiceError::Nul)));
    }

    #[test]
    fn many_threads_may_speak_at_once() {
        let spoken: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| render("one two three").expect("flite speaks")))
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        assert!(spoken.iter().all(|clip| clip.words.len() == 3));
    }

    #[test]
    fn pauses_are_the_boundaries_of_a_recording() {
        let mut samples = vec![0; 800];
        samples.extend([3_000; 1_600]);
        samples.extend([0; 800]);
        samples.extend([3_000; 800]);
        assert_eq!(*from_sound(samples).words, [2_400, 4_000]);
    }

    #[test]
    fn a_recording_wins_over_the_text_and_the_cache_survives() {
        let directory = std::env::temp_dir().join(format!("offhook-voice-{}", std::process::id()));
        let recordings = directory.join("prompts");
        std::fs::create_dir_all(&recordings).expect("temp dir");
        let mut writer = Writer::create(&recordings.join("greeting.wav"), 16_000, 1).expect("temp");
        writer.write(&[1_000; 1_600]).expect("temp");
        writer.close().expect("temp");
        let bank = PromptBank::new(Some(recordings), Some(directory.join("cache")));
        assert_eq!(
            bank.clip("greeting", "unused")
                .expect("recording")
                .samples
                .len(),
            800
        );
        let made = bank.clip("other", "yes").expect("rendered");
        bank.reload();
        assert_eq!(bank.clip("other", "yes").expect("cached"), made);
        assert_eq!(
            std::fs::read_dir(directory.join("cache"))
                .expect("there")
                .count(),
            2
        );
        std::fs::remove_dir_all(&directory).expect("ours");
    }

    #[test]
    fn keys_that_are_paths_have_no_recording() {
        assert!(is_file_name("ask_time-2"));
        for key in ["", "../etc/passwd", ".hidden", "a/b", "ä"] {
            assert!(!is_file_name(key), "{key}");
        }
    }
}
