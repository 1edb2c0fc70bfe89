//! The tape: per slot a ring of stereo frames from a media thread to the recorder.
//!
//! Made at start as zeroed pages that no one touches until a slot records, so
//! an idle pool costs address space only. Frames carry the number of their
//! recording and their own: when the ring is full a frame is dropped and the
//! reader sees the hole, and a recording that follows another on the same slot
//! is told apart. All cells are atomics; the one unsafe line is the allocation.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which recording; never 0.
    pub recording: u32,
    /// Which frame of it.
    pub frame: u32,
}

use offhook_dsp::FRAME;

/// Frames in a ring: 2.56 s, twenty times as long as the recorder sleeps.
pub const FRAMES: usize = 256;
/// The mark, then samples: line below, ours above.
const CELLS: usize = FRAME + 2;

struct Reel {
    /// Frames written; only the media thread stores.
    head: AtomicU32,
    /// Frames read; only the recorder stores.
    tail: AtomicU32,
    /// The recording that ended last (above), and its frames.
    end: AtomicU64,
}

/// The rings of all slots of a thread.
pub struct Tapes {
    reels: Box<[Reel]>,
    cells: Box<[AtomicU32]>,
}

impl Tapes {
    /// Rings for so many slots.
    pub fn new(slots: usize) -> Self {
        let reel = |_| Reel {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            end: AtomicU64::new(0),
        };
        let cells = Box::new_zeroed_slice(slots * FRAMES * CELLS);
        Self {
            reels: (0..slots).map(reel).collect(),
            // SAFETY: all-zero bytes are a valid AtomicU32.
            cells: unsafe { cells.assume_init() },
        }
    }

    /// Writes a frame; `false` if the ring is full. Media thread only.
    pub fn push(&self, slot: usize, mark: Mark, line: &[i16; FRAME], ours: &[i16; FRAME]) -> bool {
        let reel = &self.reels[slot];
        let head = reel.head.load(Ordering::Relaxed);
        // Acquire: the cells were read before they are written again.
        if head.wrapping_sub(reel.tail.load(Ordering::Acquire)) as usize >= FRAMES {
            return false;
        }
        let cells = self.frame(slot, head);
        cells[0].store(mark.recording, Ordering::Relaxed);
        cells[1].store(mark.frame, Ordering::Relaxed);
        for (cell, (line, ours)) in cells[2..].iter().zip(line.iter().zip(ours)) {
            cell.store(both(*line, *ours), Ordering::Relaxed);
        }
        // Release: who sees the new head sees the cells.
        reel.head.store(head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Reads the next frame and its mark. Recorder only.
    pub fn pop(&self, slot: usize, samples: &mut [[i16; 2]; FRAME]) -> Option<Mark> {
        let reel = &self.reels[slot];
        let tail = reel.tail.load(Ordering::Relaxed);
        // Acquire: the cells of all frames below head are seen.
        if tail == reel.head.load(Ordering::Acquire) {
            return None;
        }
        let cells = self.frame(slot, tail);
        let mark = Mark {
            recording: cells[0].load(Ordering::Relaxed),
            frame: cells[1].load(Ordering::Relaxed),
        };
        for (sample, cell) in samples.iter_mut().zip(&cells[2..]) {
            *sample = apart(cell.load(Ordering::Relaxed));
        }
        // Release: the cells were read before they may be written again.
        reel.tail.store(tail.wrapping_add(1), Ordering::Release);
        Some(mark)
    }

    /// `recording` is `frames` long, all told. Media thread only.
    pub fn finish(&self, slot: usize, recording: u32, frames: u32) {
        let end = u64::from(recording) << 32 | u64::from(frames);
        // Release: who sees the end sees every frame before it.
        self.reels[slot].end.store(end, Ordering::Release);
    }

    /// The length in frames of `recording`, if it is the one that ended last.
    pub fn ended(&self, slot: usize, recording: u32) -> Option<u32> {
        // Acquire: pairs with `finish`.
        let end = self.reels[slot].end.load(Ordering::Acquire);
        ((end >> 32) as u32 == recording).then_some(end as u32)
    }

    fn frame(&self, slot: usize, number: u32) -> &[AtomicU32] {
        let at = (slot * FRAMES + number as usize % FRAMES) * CELLS;
        &self.cells[at..at + CELLS]
    }
}

fn both(line: i16, ours: i16) -> u32 {
    u32::from(line.cast_unsigned()) | u32::from(ours.cast_unsigned()) << 16
}

fn apart(cell: u32) -> [i16; 2] {
    [cell as u16, (cell >> 16) as u16].map(u16::cast_signed)
}

/// The frame counter may wrap: a power of two keeps the cells in order.
const _: () = assert!(FRAMES.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn mark(frame: u32) -> Mark {
        Mark {
            recording: 1,
            frame,
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let tapes = Tapes::new(2);
        let line = std::array::from_fn(|index| index as i16 - 40);
        let ours = std::array::from_fn(|index| i16::MIN + index as i16);
        assert!(tapes.push(1, mark(7), &line, &ours));
        let mut read = [[0; 2]; FRAME];
        assert_eq!(tapes.pop(0, &mut read), None);
        assert_eq!(tapes.pop(1, &mut read), Some(mark(7)));
        assert_eq!(read.map(|both| both[0]), line);
        assert_eq!(read.map(|both| both[1]), ours);
        assert_eq!(tapes.pop(1, &mut read), None);
    }

    #[test]
    fn a_full_ring_drops_the_frame_and_the_number_shows_the_hole() {
        let tapes = Tapes::new(1);
        let silent = [0; FRAME];
        let taken = (0..300).filter(|n| tapes.push(0, mark(*n), &silent, &silent));
        assert_eq!(taken.count(), FRAMES);
        let mut read = [[0; 2]; FRAME];
        assert_eq!(tapes.pop(0, &mut read), Some(mark(0)));
        assert!(tapes.push(0, mark(300), &silent, &silent));
        let marks: Vec<Mark> = std::iter::from_fn(|| tapes.pop(0, &mut read)).collect();
        assert_eq!(marks[marks.len() - 2..], [mark(255), mark(300)]);
    }

    #[test]
    fn the_end_belongs_to_one_recording() {
        let tapes = Tapes::new(1);
        assert_eq!(tapes.ended(0, 1), None);
        tapes.finish(0, 1, 301);
        assert_eq!(tapes.ended(0, 1), Some(301));
        assert_eq!(tapes.ended(0, 2), None);
    }

    #[test]
    fn two_threads_pass_every_frame_in_order() {
        let count = if cfg!(miri) { 20 } else { 5_000 };
        let tapes = Arc::new(Tapes::new(1));
        let writer = Arc::clone(&tapes);
        let thread = std::thread::spawn(move || {
            for number in 0..count {
                let sample = [number as i16; FRAME];
                while !writer.push(0, mark(number), &sample, &sample) {
                    std::thread::yield_now();
                }
            }
            writer.finish(0, 1, count);
        });
        let mut read = [[0; 2]; FRAME];
        for number in 0..count {
            while tapes.pop(0, &mut read) != Some(mark(number)) {
                std::thread::yield_now();
            }
            assert_eq!(read, [[number as i16; 2]; FRAME]);
        }
        thread.join().unwrap();
        assert_eq!(tapes.ended(0, 1), Some(count));
    }
}
