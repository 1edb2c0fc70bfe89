//! Detectors and a canceller that others use, on the same sounds.

use std::ffi::c_void;
use std::hint::black_box;

use offhook_dsp::FRAME;

use crate::scenes::speech;

/// All of them.
pub(crate) const NAMES: [&str; 5] = [
    "earshot (16 kHz)",
    "webrtc-vad",
    "nnnoiseless (48 kHz)",
    "speexdsp canceller, 32 ms",
    "speexdsp canceller, 256 ms",
];

const FRAMES: usize = 700;

/// Why a line cannot be measured here, if so.
pub(crate) fn reason_to_skip(name: &str) -> Option<&'static str> {
    let speex = name.starts_with("speexdsp") && Speex::load().is_none();
    speex.then_some("libspeexdsp.so.1 is not installed")
}

/// One frame of the peer, by its number.
pub(crate) fn stepper(name: &str) -> Box<dyn FnMut(usize)> {
    match name {
        "earshot (16 kHz)" => earshot(),
        "webrtc-vad" => webrtc(),
        "nnnoiseless (48 kHz)" => nnnoiseless(),
        "speexdsp canceller, 32 ms" => speexdsp(256),
        _ => speexdsp(2_048),
    }
}

/// Speech at a multiple of 8 kHz, by repetition: the cost does not depend on it.
fn sound<T>(times: usize, convert: impl Fn(f32) -> T) -> Vec<T> {
    let samples = speech(FRAMES * FRAME, 120.0);
    samples
        .iter()
        .flat_map(|&s| std::iter::repeat_n(s, times))
        .map(convert)
        .collect()
}

/// Frames of 256 samples at 16 kHz: 1.6 of our frames; a call is made when one is full.
fn earshot() -> Box<dyn FnMut(usize)> {
    let mut detector = earshot::Detector::new(earshot::DefaultPredictor::new());
    let sound = sound(2, |s| s as i16);
    let mut done = 0;
    Box::new(move |frame| {
        while done + 256 <= (frame + 1) * 2 * FRAME {
            black_box(detector.predict_i16(&sound[done..done + 256]));
            done += 256;
        }
    })
}

fn webrtc() -> Box<dyn FnMut(usize)> {
    use webrtc_vad::{SampleRate, Vad, VadMode};
    let mut detector = Vad::new_with_rate_and_mode(SampleRate::Rate8kHz, VadMode::Aggressive);
    let sound = sound(1, |s| s as i16);
    Box::new(move |frame| {
        let frame = &sound[frame * FRAME..][..FRAME];
        black_box(detector.is_voice_segment(frame)).expect("10 ms at 8 kHz are a frame");
    })
}

fn nnnoiseless() -> Box<dyn FnMut(usize)> {
    let mut denoiser = nnnoiseless::DenoiseState::new();
    let sound = sound(6, |s| s);
    let mut out = [0.0; 6 * FRAME];
    Box::new(move |frame| {
        black_box(denoiser.process_frame(&mut out, &sound[frame * 6 * FRAME..][..6 * FRAME]));
    })
}

/// The library's three functions that are measured, found when it is there.
struct Speex {
    open: unsafe extern "C" fn(i32, i32) -> *mut c_void,
    cancel: unsafe extern "C" fn(*mut c_void, *const i16, *const i16, *mut i16),
}

impl Speex {
    fn load() -> Option<Self> {
        // SAFETY: plain library look-ups; the names and types are those of
        // speex_echo.h of speexdsp 1.2, and the library is never closed.
        unsafe {
            let library = libc::dlopen(c"libspeexdsp.so.1".as_ptr(), libc::RTLD_NOW);
            if library.is_null() {
                return None;
            }
            let open = libc::dlsym(library, c"speex_echo_state_init".as_ptr());
            let cancel = libc::dlsym(library, c"speex_echo_cancellation".as_ptr());
            if open.is_null() || cancel.is_null() {
                return None;
            }
            Some(Self {
                open: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(i32, i32) -> *mut c_void,
                >(open),
                cancel: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut c_void, *const i16, *const i16, *mut i16),
                >(cancel),
            })
        }
    }
}

fn speexdsp(tail: i32) -> Box<dyn FnMut(usize)> {
    let library = Speex::load().expect("looked for before");
    // SAFETY: any positive sizes are allowed; the state lives until we end.
    let state = unsafe { (library.open)(FRAME as i32, tail) };
    let far = sound(1, |s| s as i16);
    Box::new(move |frame| {
        let far = &far[frame * FRAME..][..FRAME];
        let near: [i16; FRAME] = std::array::from_fn(|index| far[index] / 3);
        let mut out = [0; FRAME];
        // SAFETY: all three hold the frame size that the state was made with.
        unsafe { (library.cancel)(state, near.as_ptr(), far.as_ptr(), out.as_mut_ptr()) };
        black_box(&out);
    })
}
