//! The fixed rings of sound between a media thread and others, one of each kind
//! for every slot: `tape` to the recorder, `heard` to whoever listens, `voice`
//! from whoever speaks.
//!
//! Made at start as zeroed pages that no one touches until a slot uses them, so
//! an idle pool costs address space only. One thread writes a ring and one reads
//! it; neither waits: a full ring drops the frame and says so. Frames carry whose
//! they are and their number, so that the reader sees a hole, and tells what was
//! put in for another before. All cells are atomics; the one unsafe line is the
//! allocation.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use offhook_dsp::FRAME;

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which recording, listener or speech; never 0.
    pub recording: u32,
    /// Which frame of it.
    pub frame: u32,
}

/// Frames in a ring: 2.56 s, twenty times as long as the recorder sleeps.
pub const FRAMES: usize = 256;
/// The mark comes first.
const MARK: usize = 2;

struct Reel {
    /// Frames written; only the writer stores.
    head: AtomicU32,
    /// Frames read; only the reader stores.
    tail: AtomicU32,
}

/// A ring for each slot, of frames of `CELLS` pairs of samples.
struct Rings<const CELLS: usize> {
    reels: Box<[Reel]>,
    cells: Box<[AtomicU32]>,
}

impl<const CELLS: usize> Rings<CELLS> {
    fn new(slots: usize) -> Self {
        let reel = |_| Reel {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
        };
        let cells = Box::new_zeroed_slice(slots * FRAMES * (CELLS + MARK));
        Self {
            reels: (0..slots).map(reel).collect(),
            // SAFETY: all-zero bytes are a valid AtomicU32.
            cells: unsafe { cells.assume_init() },
        }
    }

    /// Writes a frame; `false` if the ring is full. The writer's thread only.
    fn push(&self, slot: usize, mark: Mark, pairs: impl Iterator<Item = [i16; 2]>) -> bool {
        let reel = &self.reels[slot];
        let head = reel.head.load(Ordering::Relaxed);
        // Acquire: the cells were read before they are written again.
        if head.wrapping_sub(reel.tail.load(Ordering::Acquire)) as usize >= FRAMES {
            return false;
        }
        let cells = self.frame(slot, head);
        cells[0].store(mark.recording, Ordering::Relaxed);
        cells[1].store(mark.frame, Ordering::Relaxed);
        for (cell, [one, other]) in cells[MARK..].iter().zip(pairs) {
            cell.store(both(one, other), Ordering::Relaxed);
        }
        // Release: who sees the new head sees the cells.
        reel.head.store(head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Whose the next frame is. The reader's thread only.
    fn whose(&self, slot: usize) -> Option<u32> {
        let reel = &self.reels[slot];
        let tail = reel.tail.load(Ordering::Relaxed);
        // Acquire: the cells of all frames below head are seen.
        let is_there = tail != reel.head.load(Ordering::Acquire);
        is_there.then(|| self.frame(slot, tail)[0].load(Ordering::Relaxed))
    }

    /// Reads the next frame and its mark. The reader's thread only.
    fn pop(&self, slot: usize, pairs: &mut [[i16; 2]; CELLS]) -> Option<Mark> {
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
        for (pair, cell) in pairs.iter_mut().zip(&cells[MARK..]) {
            *pair = apart(cell.load(Ordering::Relaxed));
        }
        // Release: the cells were read before they may be written again.
        reel.tail.store(tail.wrapping_add(1), Ordering::Release);
        Some(mark)
    }

    fn frame(&self, slot: usize, number: u32) -> &[AtomicU32] {
        let size = CELLS + MARK;
        let at = (slot * FRAMES + number as usize % FRAMES) * size;
        &self.cells[at..at + size]
    }
}

/// The tapes of all slots of a thread: stereo, the line and ours.
pub struct Tapes {
    rings: Rings<FRAME>,
    /// The recording that ended last (above), and its frames.
    ends: Box<[AtomicU64]>,
}

impl Tapes {
    /// Rings for so many slots.
    pub fn new(slots: usize) -> Self {
        Self {
            rings: Rings::new(slots),
            ends: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Writes a frame; `false` if the ring is full. Media thread only.
    pub fn push(&self, slot: usize, mark: Mark, line: &[i16; FRAME], ours: &[i16; FRAME]) -> bool {
        let pairs = line.iter().zip(ours).map(|(line, ours)| [*line, *ours]);
        self.rings.push(slot, mark, pairs)
    }

    /// Which recording the next frame is of. Recorder only.
    pub fn whose(&self, slot: usize) -> Option<u32> {
        self.rings.whose(slot)
    }

    /// Reads the next frame and its mark. Recorder only.
    pub fn pop(&self, slot: usize, samples: &mut [[i16; 2]; FRAME]) -> Option<Mark> {
        self.rings.pop(slot, samples)
    }

    /// `recording` is `frames` long, all told. Media thread only.
    pub fn finish(&self, slot: usize, recording: u32, frames: u32) {
        let end = u64::from(recording) << 32 | u64::from(frames);
        // Release: who sees the end sees every frame before it.
        self.ends[slot].store(end, Ordering::Release);
    }

    /// The length in frames of `recording`, if it is the one that ended last.
    pub fn ended(&self, slot: usize, recording: u32) -> Option<u32> {
        // Acquire: pairs with `finish`.
        let end = self.ends[slot].load(Ordering::Acquire);
        ((end >> 32) as u32 == recording).then_some(end as u32)
    }
}

/// Samples of a mono frame, two a cell.
const MONO: usize = FRAME / 2;

/// The mono rings of all slots of a thread, each lent to one holder at a time:
/// the one who listens, or the one who speaks.
pub struct Lent {
    rings: Rings<MONO>,
    /// Whose the ring of a slot is, until they let go of it; 0: nobody's.
    holders: Box<[AtomicU32]>,
    /// The latest holder for whom it is over, whether they know it or not. Holders
    /// are numbered upwards.
    overs: Box<[AtomicU32]>,
    /// The latest holder of whom all was read, to the end.
    wholes: Box<[AtomicU32]>,
}

impl Lent {
    /// Rings for so many slots, nobody's yet.
    pub fn new(slots: usize) -> Self {
        let nobody = || (0..slots).map(|_| AtomicU32::new(0)).collect();
        Self {
            rings: Rings::new(slots),
            holders: nobody(),
            overs: nobody(),
            wholes: nobody(),
        }
    }

    /// Lends a slot's ring; `false` if somebody has it.
    pub fn lend(&self, slot: usize, holder: u32) -> bool {
        let holders = &self.holders[slot];
        // Acquire: the last holder is done with the ring.
        holders
            .compare_exchange(0, holder, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// The holder lets go of it.
    pub fn give_back(&self, slot: usize) {
        self.holders[slot].store(0, Ordering::Release);
    }

    /// It is over for that holder, and for all before.
    pub fn end(&self, slot: usize, holder: u32) {
        // Release: who sees the end sees every frame before it.
        self.overs[slot].fetch_max(holder, Ordering::Release);
    }

    /// It is over for that holder.
    pub fn is_over(&self, slot: usize, holder: u32) -> bool {
        self.overs[slot].load(Ordering::Acquire) >= holder
    }

    /// All of that holder was read. Said before it is over.
    pub fn complete(&self, slot: usize, holder: u32) {
        // Relaxed: `end` follows, which orders it.
        self.wholes[slot].store(holder, Ordering::Relaxed);
    }

    /// All of that holder was read; asked when it is over.
    pub fn is_complete(&self, slot: usize, holder: u32) -> bool {
        self.wholes[slot].load(Ordering::Relaxed) == holder
    }

    /// Who holds it and is not done.
    pub fn holder(&self, slot: usize) -> Option<u32> {
        let holder = self.holders[slot].load(Ordering::Relaxed);
        (holder != 0 && !self.is_over(slot, holder)).then_some(holder)
    }

    /// Writes a frame; `false` if the ring is full. The writer's thread only.
    pub fn push(&self, slot: usize, mark: Mark, samples: &[i16; FRAME]) -> bool {
        let pairs = samples.as_chunks::<2>().0.iter().copied();
        self.rings.push(slot, mark, pairs)
    }

    /// Reads the next frame of that holder; what was left for another before is
    /// dropped. The reader's thread only.
    pub fn pop(&self, slot: usize, holder: u32, samples: &mut [i16; FRAME]) -> Option<u32> {
        let mut pairs = [[0; 2]; MONO];
        // At most a ring full: what is written meanwhile comes with the next call.
        for _ in 0..FRAMES {
            let mark = self.rings.pop(slot, &mut pairs)?;
            if mark.recording == holder {
                samples.copy_from_slice(pairs.as_flattened());
                return Some(mark.frame);
            }
        }
        None
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
        assert_eq!((tapes.whose(0), tapes.whose(1)), (None, Some(1)));
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
    fn a_lent_ring_has_one_holder_and_forgets_what_was_for_another() {
        let lent = Lent::new(1);
        let mark = |recording, frame| Mark { recording, frame };
        assert!(lent.lend(0, 7) && !lent.lend(0, 8));
        let samples = std::array::from_fn(|index| index as i16 - 40);
        assert!(lent.push(0, mark(7, 0), &samples));
        lent.end(0, 7);
        assert!(lent.is_over(0, 7) && lent.holder(0).is_none());
        assert!(!lent.lend(0, 8), "its holder has still to let go of it");
        lent.give_back(0);
        assert!(lent.lend(0, 8) && lent.holder(0) == Some(8));
        assert!(lent.push(0, mark(8, 5), &samples));
        let mut read = [0; FRAME];
        assert_eq!(lent.pop(0, 8, &mut read), Some(5));
        assert_eq!(read, samples);
        assert_eq!(lent.pop(0, 8, &mut read), None);
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
