//! What the ear never does, whatever it hears: allocate, grow, or count wrong;
//! and that steady noise does not make it deaf.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use offhook_dsp::noise::ComfortNoise;
use offhook_dsp::tone::Sine;
use offhook_dsp::{Ear, EventKind, Events, FRAME, Line, Source, ToneKind, Words};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is passed on to the system's allocator, which keeps the promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LINE: Line = Line {
    source: Source::Received,
    playout_shift: 0,
    answered: true,
    prompt: false,
};

/// Everything at once: noise, tones, a loud prompt that comes back, gaps.
fn frame(number: usize, noise: &mut ComfortNoise, sines: &mut [Sine; 2]) -> [[i16; FRAME]; 2] {
    noise.set_level((number / 50 % 6) as u8 * 12);
    let mut near = [0; FRAME];
    noise.fill(&mut near);
    if (number / 40).is_multiple_of(3) {
        near = near
            .map(|sample| (f32::from(sample) / 8.0 + sines[0].sample() + sines[1].sample()) as i16);
    }
    let far = if (number / 200).is_multiple_of(2) {
        near
    } else {
        [0; FRAME]
    };
    [near, far]
}

#[test]
fn hearing_allocates_nothing() {
    let mut noise = ComfortNoise::new(20, 3);
    let mut sines = [Sine::new(770.0, -14.0), Sine::new(1_336.0, -14.0)];
    let mut ear = Ear::new();
    let (mut out, mut heard) = (Events::new(), 0);
    let before = ALLOCATIONS.with(Cell::get);
    for number in 0..3_000 {
        let [near, far] = frame(number, &mut noise, &mut sines);
        let source = if number % 97 < 4 {
            Source::Concealed
        } else {
            Source::Received
        };
        ear.hear(&near, &far, Line { source, ..LINE }, &mut out);
        ear.understand(Words {
            count: number as u16,
            phrase: None,
        });
        heard += out.len();
        out.clear();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
    assert!(heard > 10, "{heard} events");
}

#[test]
fn the_state_of_a_line_fits_32_kilobytes() {
    assert!(size_of::<Ear>() <= 32 * 1_024, "{} bytes", size_of::<Ear>());
}

/// A syllable or two of pulses through two resonances.
fn word(length: usize, level: f32) -> Vec<f32> {
    let (mut phase, mut state) = (0.0f32, [[0.0f32; 2]; 2]);
    let mut sound: Vec<f32> = Vec::with_capacity(length);
    for index in 0..length {
        phase += (140.0 - 30.0 * index as f32 / length as f32) / 8_000.0;
        let pulse = f32::from(u8::from(phase >= 1.0));
        phase -= phase.floor();
        let mut sample = 0.0;
        for (formant, state) in [620.0f32, 1_500.0].iter().zip(&mut state) {
            let angle = std::f32::consts::TAU * formant / 8_000.0;
            let out = pulse + 1.92 * angle.cos() * state[0] - 0.921_6 * state[1];
            *state = [out, state[0]];
            sample += out;
        }
        let open = (index as f32 / length as f32 * std::f32::consts::PI).sin();
        sound.push(sample * open);
    }
    let rms = (sound.iter().map(|s| s * s).sum::<f32>() / length as f32).sqrt();
    let wanted = 32_768.0 * 10f32.powf(level / 20.0);
    sound.iter().map(|sample| sample * wanted / rms).collect()
}

/// Ears that remember too much grow deaf to it.
#[test]
fn a_short_word_is_heard_after_a_minute_of_steady_noise() {
    for (noise_level, word_level) in [(66, -30.0), (54, -30.0), (42, -24.0)] {
        let mut noise = ComfortNoise::new(noise_level, 17);
        let said = word(3_200, word_level);
        let begin = 60 * 8_000;
        let mut ear = Ear::new();
        let mut starts = Vec::new();
        for number in 0..6_150 {
            let near = std::array::from_fn(|index| {
                let at = number * FRAME + index;
                let spoken = at.checked_sub(begin).and_then(|at| said.get(at));
                (f32::from(noise.sample()) + spoken.unwrap_or(&0.0)) as i16
            });
            let mut out = Events::new();
            ear.hear(&near, &[0; FRAME], LINE, &mut out);
            for event in out {
                if let EventKind::SpeechStart { .. } = event.kind {
                    starts.push(event.at as usize);
                }
            }
        }
        assert_eq!(starts.len(), 1, "-{noise_level} dBov: {starts:?}");
        let after = starts[0].saturating_sub(begin) / 8;
        assert!(
            (0..=200).contains(&after),
            "-{noise_level} dBov: after {after} ms"
        );
    }
}

/// Vowels held on the notes of a tune, with vibrato, over the chords that go with them.
fn song(seconds: usize) -> Vec<f32> {
    const NOTES: [f32; 8] = [220.0, 247.0, 277.0, 330.0, 294.0, 277.0, 247.0, 196.0];
    const VOWELS: [[f32; 2]; 3] = [[700.0, 1_200.0], [350.0, 2_000.0], [450.0, 900.0]];
    let (mut phase, mut state) = (0.0f32, [[0.0f32; 2]; 2]);
    let sample = |index: usize| {
        let (time, note) = (index as f32 / 8_000.0, index / 4_000);
        let pitch = NOTES[note % NOTES.len()];
        let vibrato = 1.0 + 0.012 * (std::f32::consts::TAU * 5.5 * time).sin();
        phase += pitch * vibrato / 8_000.0;
        let pulse = f32::from(u8::from(phase >= 1.0));
        phase -= phase.floor();
        let mut sung = 0.0;
        for (formant, state) in VOWELS[note % VOWELS.len()].iter().zip(&mut state) {
            let angle = std::f32::consts::TAU * formant / 8_000.0;
            let out = pulse + 1.92 * angle.cos() * state[0] - 0.921_6 * state[1];
            *state = [out, state[0]];
            sung += out;
        }
        let bar = NOTES[note / 4 * 4 % NOTES.len()];
        let chord =
            [1.0, 1.25, 1.5].map(|third| (std::f32::consts::TAU * bar * third * time).sin());
        500.0 * sung + 700.0 * chord.iter().sum::<f32>()
    };
    (0..seconds * 8_000).map(sample).collect()
}

#[test]
fn a_song_on_hold_is_music_and_nobody_speaks() {
    let line = song(40);
    let (frames, _) = line.as_chunks::<FRAME>();
    let (mut ear, mut starts, mut music) = (Ear::new(), 0, 0);
    for frame in frames {
        let mut out = Events::new();
        ear.hear(&frame.map(|s| s as i16), &[0; FRAME], LINE, &mut out);
        for event in out {
            starts += usize::from(event.kind.name() == "speech_start");
            music += usize::from(matches!(
                event.kind,
                EventKind::Tone {
                    kind: ToneKind::Music,
                    ..
                }
            ));
        }
    }
    assert_eq!((starts, music), (0, 1));
}
