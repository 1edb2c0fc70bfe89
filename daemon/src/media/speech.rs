//! What an engine holds of a live leg: [`Hearing`], the caller as the ear hears
//! them, and [`Speech`], a voice that streams in.
//!
//! Both are rings of 10 ms frames, 16 bit at 8 kHz, that neither the media
//! thread nor the engine ever waits on. `Media` lends them; a recogniser, a
//! synthesiser, or a field tech at the control socket holds them. They decide
//! nothing: whether a speech may begin, and when it ends, is the mouth's to say.

use std::sync::Arc;

use offhook_dsp::FRAME;

use super::ring::Mark;
use super::thread::Shared;

/// Number of the frame that says that a speech is over; it carries no sound.
pub(super) const LAST: u32 = u32::MAX;

/// Listens to one leg until it ends, or this is dropped.
pub struct Hearing {
    shared: Arc<Shared>,
    slot: usize,
    number: u32,
}

/// What a listener is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Frame of the leg with this number, from 0 at its first sample: a jump is
    /// a gap that the ring had no room for.
    Frame(u32),
    /// Nothing yet.
    Nothing,
    /// The leg is over, and all of it was given.
    Over,
}

impl Hearing {
    pub(super) fn new(shared: Arc<Shared>, slot: usize, number: u32) -> Option<Self> {
        shared.heard.lend(slot, number).then(|| Self {
            shared,
            slot,
            number,
        })
    }

    /// The next 10 ms, if they were heard already. Does not wait.
    pub fn next(&mut self, samples: &mut [i16; FRAME]) -> Heard {
        // Looked at before the frames: what is there then is all there is.
        let over = self.shared.heard.is_over(self.slot, self.number);
        match self.shared.heard.pop(self.slot, self.number, samples) {
            Some(frame) => Heard::Frame(frame),
            None if over => Heard::Over,
            None => Heard::Nothing,
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.shared.heard.give_back(self.slot);
    }
}

/// Speaks into one leg until it is cut, the leg ends, or this is dropped.
pub struct Speech {
    shared: Arc<Shared>,
    slot: usize,
    number: u32,
    frames: u32,
    finished: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It will be said.
    Taken,
    /// Not yet: there is no room before some of it is said. Try again.
    Full,
    /// It will not be said: the turn has passed, or the leg is over.
    Over,
}

impl Speech {
    pub(super) fn new(shared: Arc<Shared>, slot: usize, number: u32) -> Option<Self> {
        shared.voice.lend(slot, number).then(|| Self {
            shared,
            slot,
            number,
            frames: 0,
            finished: false,
        })
    }

    /// The next 10 ms of what is to be said. Does not wait.
    pub fn push(&mut self, samples: &[i16; FRAME]) -> Pushed {
        let pushed = self.put(self.frames, samples);
        self.frames += u32::from(pushed == Pushed::Taken);
        pushed
    }

    /// That was all. `Full` as for [`Self::push`].
    pub fn finish(&mut self) -> Pushed {
        let pushed = self.put(LAST, &[0; FRAME]);
        self.finished |= pushed == Pushed::Taken;
        pushed
    }

    /// It has been said to its end, or was cut.
    pub fn is_over(&self) -> bool {
        self.shared.voice.is_over(self.slot, self.number)
    }

    /// Once it is over: something of it was not said.
    pub fn is_cut(&self) -> bool {
        !self.shared.voice.is_complete(self.slot, self.number)
    }

    fn put(&self, frame: u32, samples: &[i16; FRAME]) -> Pushed {
        if self.is_over() {
            return Pushed::Over;
        }
        let mark = Mark {
            recording: self.number,
            frame,
        };
        if self.shared.voice.push(self.slot, mark, samples) {
            Pushed::Taken
        } else {
            Pushed::Full
        }
    }
}

impl Drop for Speech {
    /// What was not finished is never said to its end.
    fn drop(&mut self) {
        if !self.finished {
            self.shared.voice.end(self.slot, self.number);
        }
        self.shared.voice.give_back(self.slot);
    }
}
