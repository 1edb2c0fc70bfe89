//! Any samples on any line: the ear neither panics nor loses count, every
//! probability is one, and no event speaks of what has not come yet.
//!
//! The input is a sequence of (what the frame is, how often it comes, samples as
//! mu-law); frames without samples of their own repeat the last.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook_dsp::g711::Law;
use offhook_dsp::{Ear, EventKind, Events, FRAME, Line, Phrase, Source, Words};

/// A frame comes at most so often in a row; an input is heard for 20 s at most.
const REPEATS: u8 = 64;
const FRAMES: usize = 2_000;

fuzz_target!(|bytes: &[u8]| {
    let (mut ear, mut frames, mut next_seq) = (Ear::new(), 0u64, 0);
    let (mut near, mut far) = ([0; FRAME], [0; FRAME]);
    let mut rest = bytes;
    while let [what, times, tail @ ..] = rest {
        rest = take(what & 8 != 0, tail, &mut near);
        rest = take(what & 16 != 0, rest, &mut far);
        if what & 128 != 0 {
            tell(&mut ear, *times);
        }
        for _ in 0..=times % REPEATS {
            let line = line(*what, *times);
            let mut out = Events::new();
            ear.hear(&near, &far, line, &mut out);
            frames += 1;
            for event in &out {
                assert_eq!((event.at, event.seq), (frames * FRAME as u64, next_seq));
                assert!(began(&event.kind) <= event.at, "{event:?}");
                next_seq += 1;
            }
            let probability = ear.speech_probability();
            assert!((0.0..=1.0).contains(&probability), "{probability}");
        }
        let now = ear.snapshot();
        assert_eq!((now.at, now.dropped), (frames * FRAME as u64, 0));
        assert!(now.floor_dbov.is_finite());
        if frames as usize >= FRAMES {
            return;
        }
    }
});

fn take<'a>(own: bool, bytes: &'a [u8], frame: &mut [i16; FRAME]) -> &'a [u8] {
    let count = bytes.len().min(if own { FRAME } else { 0 });
    let (codes, rest) = bytes.split_at(count);
    for (slot, &code) in frame.iter_mut().zip(codes) {
        *slot = Law::Mu.decode(code);
    }
    rest
}

fn line(what: u8, times: u8) -> Line {
    let sources = [
        Source::Received,
        Source::Concealed,
        Source::ComfortNoise,
        Source::NoRtp,
    ];
    Line {
        source: sources[usize::from(what & 3)],
        playout_shift: if times > 250 { i16::MIN } else { 0 },
        answered: what & 32 != 0,
        prompt: what & 64 != 0,
    }
}

fn tell(ear: &mut Ear, what: u8) {
    let phrases = [Phrase::Greeting, Phrase::Menu, Phrase::Screening, Phrase::Person];
    match what {
        255 => ear.they_called(),
        _ => ear.understand(Words {
            count: what.into(),
            phrase: phrases.get(usize::from(what % 5)).copied(),
        }),
    }
}

/// The sample an event looks back to.
fn began(kind: &EventKind) -> u64 {
    match *kind {
        EventKind::SpeechStart { start }
        | EventKind::SpeechPause { start }
        | EventKind::BargeIn { start }
        | EventKind::Tone { start, .. }
        | EventKind::Dtmf { start, .. } => start,
        EventKind::SpeechEnd { end }
        | EventKind::GreetingEnd { end }
        | EventKind::TurnEnd { end, .. } => end,
        EventKind::Beep { start, end, .. } => start.max(end),
        EventKind::Silence { since, .. } => since,
        EventKind::BargeInRetracted
        | EventKind::Answer { .. }
        | EventKind::AnswerCorrected { .. }
        | EventKind::Manner(_) => 0,
    }
}
