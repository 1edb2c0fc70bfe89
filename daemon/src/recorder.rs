//! The recorder: one thread that writes tapes to stereo WAV files, the line
//! left, ours right.
//!
//! A file is as long as its call to the sample: what did not fit the tape is
//! silence there. When the disk has no more than its reserve left, recording
//! stops with an alarm and begins again when there is room. It decides nothing about consent or retention. `Media` tells
//! it what to record; the media threads only fill their rings.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use offhook_dsp::{FRAME, SAMPLE_RATE};

use crate::media::Tapes;
use crate::wav::{WavError, Writer};

/// How long the recorder sleeps: a twenty-fifth of what a tape holds.
const SLEEP: Duration = Duration::from_millis(100);
/// Sleeps between two flushes, after which a crash loses nothing before: 1 s.
const SLEEPS_A_FLUSH: u32 = 10;
/// With the reserve and a quarter of it free again, recording goes on.
const ROOM_AGAIN: u64 = 4;
/// Sleeps without a frame after which a recording is given up: a media thread
/// fills a tape always, or has ended it (60 s).
const IDLE_SLEEPS: u32 = 600;

/// One recording that is to be made.
pub struct Job {
    /// The rings of the media thread.
    pub tapes: Arc<Tapes>,
    /// Which slot.
    pub slot: usize,
    /// Its number, not 0.
    pub recording: u32,
    /// Where to.
    pub path: PathBuf,
}

/// The thread; dropping it finishes what was recorded and waits for that.
pub struct Recorder {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    disk: Arc<Disk>,
}

/// The disk of the recordings, and whether it has room.
#[derive(Debug)]
struct Disk {
    directory: PathBuf,
    reserve: u64,
    stopped: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Recorder {
    /// Starts the thread; files go into `directory`, which is made, as long as
    /// `reserve` octets are free there.
    ///
    /// # Errors
    /// The directory cannot be made, or the system has no thread left.
    pub fn start(directory: &Path, reserve: u64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let disk = Arc::new(Disk {
            directory: directory.to_owned(),
            reserve,
            stopped: AtomicBool::new(false),
            trouble: Mutex::new(None),
        });
        disk.look();
        let (jobs, inbox) = channel();
        let watched = Arc::clone(&disk);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || run(&inbox, &watched))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            disk,
        })
    }

    /// Nothing is recorded for want of room.
    pub fn is_stopped(&self) -> bool {
        // Relaxed: nothing is passed on with it.
        self.disk.stopped.load(Ordering::Relaxed)
    }

    /// Why nothing is recorded at the moment.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.disk.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records until the tape ends. Does not wait.
    pub fn record(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only when the thread has panicked, which `drop` tells.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) {
            tracing::error!(message = "recorder_panicked");
        }
    }
}

impl Disk {
    /// Looks how much room there is. What cannot be asked is taken to be enough:
    /// writing tells.
    fn look(&self) {
        let Ok(free) = free_octets(&self.directory) else {
            return;
        };
        let was = self.stopped.load(Ordering::Relaxed);
        let needed = self.reserve + u64::from(was) * (self.reserve / ROOM_AGAIN);
        let stopped = free < needed;
        if stopped == was {
            return;
        }
        self.stopped.store(stopped, Ordering::Relaxed);
        let (path, free_mb, reserve_mb) =
            (self.directory.display(), free >> 20, self.reserve >> 20);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = stopped.then(|| format!("{path}: {free_mb} MB free, {reserve_mb} are kept for the store: make room, or lower recording.reserve_mb"));
        if stopped {
            tracing::error!(message = "recording_stopped", %path, free_mb, reserve_mb);
        } else {
            tracing::warn!(message = "recording_again", %path, free_mb);
        }
    }
}

/// Octets that we may still write on the disk of a directory.
fn free_octets(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid statvfs.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends in NUL and a writable statvfs, both alive across the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A file that is being written.
struct Recording {
    job: Job,
    writer: Writer,
    frames: u32,
    gaps: u32,
    /// The disk took no more; said once.
    broken: bool,
    idle: u32,
}

/// Rings are told apart by whose they are and which.
type Reel = (usize, usize);

#[derive(Default)]
struct Desk {
    /// Per ring the recordings that share it, in their order.
    reels: HashMap<Reel, Vec<Recording>>,
}

fn run(inbox: &Receiver<Job>, disk: &Disk) {
    let mut desk = Desk::default();
    let mut sleeps = 0u32;
    loop {
        match inbox.recv_timeout(SLEEP) {
            Ok(job) => {
                desk.begin(job);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                desk.drain();
                desk.close_all();
                return;
            }
        }
        sleeps = sleeps.wrapping_add(1);
        desk.drain();
        if sleeps.is_multiple_of(SLEEPS_A_FLUSH) {
            desk.flush();
            disk.look();
            if disk.stopped.load(Ordering::Relaxed) {
                desk.give_up();
            }
        }
    }
}

impl Desk {
    fn begin(&mut self, job: Job) {
        match Recording::create(job) {
            Ok(recording) => {
                let reel = recording.reel();
                self.reels.entry(reel).or_default().push(recording);
            }
            Err((path, error)) => {
                tracing::error!(message = "recording_failed", path = %path.display(), %error);
            }
        }
    }

    fn drain(&mut self) {
        self.reels.retain(|_, recordings| {
            drain_reel(recordings);
            !recordings.is_empty()
        });
    }

    fn flush(&mut self) {
        for recording in self.reels.values_mut().flatten() {
            if let Err(error) = recording.writer.flush() {
                tracing::warn!(message = "recording_flush", %error);
            }
        }
    }

    /// What is under way ends where it is; its call goes on.
    fn give_up(&mut self) {
        for recording in self.reels.values_mut().flatten() {
            recording.broken = true;
        }
    }

    fn close_all(&mut self) {
        for recording in self.reels.drain().flat_map(|(_, recordings)| recordings) {
            let end = recording.end();
            recording.close(end);
        }
    }
}

/// Writes all that is in one ring. The first recording is the one under way;
/// a frame of a later one ends it. Frames of one that we have yet to hear of wait.
fn drain_reel(recordings: &mut Vec<Recording>) {
    let (Some(first), Some(last)) = (recordings.first(), recordings.last()) else {
        return;
    };
    let latest = last.job.recording;
    let (tapes, slot) = (Arc::clone(&first.job.tapes), first.job.slot);
    // Looked at before the frames: what is written then is all there is.
    let mut end = first.end();
    let mut samples = [[0; 2]; FRAME];
    let mut came = false;
    while tapes.whose(slot).is_some_and(|whose| whose <= latest)
        && let Some(mark) = tapes.pop(slot, &mut samples)
    {
        while recordings.len() > 1 && recordings[0].job.recording < mark.recording {
            let over = recordings.remove(0);
            // The next one's is looked at before its next frames.
            let end = end.take().or_else(|| over.end());
            over.close(end);
        }
        if recordings[0].job.recording == mark.recording {
            recordings[0].write(mark.frame, &samples);
            came = true;
        }
    }
    let first = &mut recordings[0];
    first.idle = if came { 0 } else { first.idle + 1 };
    if end.is_some() || first.idle > IDLE_SLEEPS {
        recordings.remove(0).close(end);
    }
}

impl Recording {
    fn create(job: Job) -> Result<Self, (PathBuf, WavError)> {
        let create = || Writer::create(&job.path, SAMPLE_RATE, 2);
        let created = create().or_else(|error| match (&error, job.path.parent()) {
            // Somebody has removed the directory: it is made again.
            (WavError::Io(gone), Some(directory)) if gone.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(directory).map_err(WavError::Io)?;
                create()
            }
            _ => Err(error),
        });
        match created {
            Ok(writer) => Ok(Self {
                job,
                writer,
                frames: 0,
                gaps: 0,
                broken: false,
                idle: 0,
            }),
            Err(error) => Err((job.path, error)),
        }
    }

    fn reel(&self) -> Reel {
        (Arc::as_ptr(&self.job.tapes) as usize, self.job.slot)
    }

    fn write(&mut self, frame: u32, samples: &[[i16; 2]; FRAME]) {
        self.fill(frame);
        self.put(samples.as_flattened());
        self.frames += 1;
    }

    /// Silence for frames that did not fit the tape.
    fn fill(&mut self, until: u32) {
        while self.frames < until {
            self.put(&[0; FRAME * 2]);
            self.frames += 1;
            self.gaps += 1;
        }
    }

    fn put(&mut self, samples: &[i16]) {
        if self.broken {
            return;
        }
        if let Err(error) = self.writer.write(samples) {
            // The disk is full: the call goes on, the file ends here.
            self.broken = true;
            tracing::error!(message = "recording_write", path = %self.job.path.display(), %error);
        }
    }

    /// Its length in frames, if its tape has ended, and no other on its slot since.
    fn end(&self) -> Option<u32> {
        self.job.tapes.ended(self.job.slot, self.job.recording)
    }

    fn close(mut self, end: Option<u32>) {
        self.fill(end.unwrap_or_default());
        let Self {
            job,
            writer,
            frames,
            gaps,
            ..
        } = self;
        let path = job.path.display();
        match writer.close() {
            Ok(_) if gaps > 0 => tracing::warn!(message = "recording_gaps", %path, frames, gaps),
            Ok(_) => tracing::debug!(message = "recording_closed", %path, frames),
            Err(error) => tracing::error!(message = "recording_close", %path, %error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Mark;
    use crate::wav;

    fn push(tapes: &Tapes, recording: u32, frame: u32) -> bool {
        let mark = Mark { recording, frame };
        tapes.push(
            0,
            mark,
            &[frame as i16 + 1; FRAME],
            &[-(frame as i16) - 1; FRAME],
        )
    }

    fn job(tapes: &Arc<Tapes>, recording: u32, path: PathBuf) -> Job {
        Job {
            tapes: Arc::clone(tapes),
            slot: 0,
            recording,
            path,
        }
    }

    fn directory(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("offhook-recorder-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_recording_is_as_long_as_its_tape_with_silence_where_frames_are_missing() {
        let directory = directory("gap");
        let tapes = Arc::new(Tapes::new(1));
        let recorder = Recorder::start(&directory, 0).unwrap();
        let path = directory.join("call.wav");
        recorder.record(job(&tapes, 1, path.clone()));
        for frame in [0, 1, 4] {
            assert!(push(&tapes, 1, frame));
        }
        tapes.finish(0, 1, 6);
        drop(recorder);
        let wav = wav::read(&path).unwrap();
        assert_eq!(
            (wav.rate, wav.channels, wav.frames()),
            (8_000, 2, 6 * FRAME)
        );
        let heard: Vec<i16> = wav
            .channel(0)
            .unwrap()
            .chunks(FRAME)
            .map(|frame| frame[79])
            .collect();
        assert_eq!(heard, [1, 2, 0, 0, 5, 0]);
        let ours: Vec<i16> = wav
            .channel(1)
            .unwrap()
            .chunks(FRAME)
            .map(|frame| frame[0])
            .collect();
        assert_eq!(ours, [-1, -2, 0, 0, -5, 0]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn two_calls_that_follow_on_one_slot_are_two_files() {
        let directory = directory("two");
        let tapes = Arc::new(Tapes::new(1));
        let recorder = Recorder::start(&directory, 0).unwrap();
        let paths = [directory.join("1.wav"), directory.join("2.wav")];
        recorder.record(job(&tapes, 1, paths[0].clone()));
        recorder.record(job(&tapes, 2, paths[1].clone()));
        (0..3).for_each(|frame| assert!(push(&tapes, 1, frame)));
        tapes.finish(0, 1, 3);
        (0..5).for_each(|frame| assert!(push(&tapes, 2, frame)));
        tapes.finish(0, 2, 5);
        drop(recorder);
        let lengths = paths.map(|path| wav::read(&path).unwrap().frames() / FRAME);
        assert_eq!(lengths, [3, 5]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_next_call_on_a_slot_loses_nothing_to_the_one_before_it() {
        for heard_of_in_time in [true, false] {
            next_call(heard_of_in_time);
        }
    }

    /// Its first frames are there when the last call's are read; the recorder knows of it
    /// by then, or not yet.
    fn next_call(heard_of_in_time: bool) {
        let directory = directory("next");
        let tapes = Arc::new(Tapes::new(1));
        let paths = [directory.join("1.wav"), directory.join("2.wav")];
        let mut desk = Desk::default();
        desk.begin(job(&tapes, 1, paths[0].clone()));
        (0..3).for_each(|frame| assert!(push(&tapes, 1, frame)));
        tapes.finish(0, 1, 4);
        (0..2).for_each(|frame| assert!(push(&tapes, 2, frame)));
        if !heard_of_in_time {
            desk.drain();
        }
        desk.begin(job(&tapes, 2, paths[1].clone()));
        desk.drain();
        (2..9).for_each(|frame| assert!(push(&tapes, 2, frame)));
        tapes.finish(0, 2, 9);
        desk.drain();
        assert!(desk.reels.is_empty());
        let heard = paths.map(|path| {
            let wav = wav::read(&path).unwrap();
            let frames = wav.channel(0).unwrap();
            frames.iter().step_by(FRAME).copied().collect::<Vec<_>>()
        });
        assert_eq!(heard[0], [1, 2, 3, 0]);
        assert_eq!(heard[1], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn without_its_reserve_it_stops_and_says_why() {
        let directory = directory("full");
        let recorder = Recorder::start(&directory, u64::MAX / 2).unwrap();
        assert!(recorder.is_stopped());
        let trouble = recorder.trouble().unwrap();
        assert!(trouble.contains("kept for the store"), "{trouble}");
        drop(recorder);
        let recorder = Recorder::start(&directory, 0).unwrap();
        assert!(!recorder.is_stopped() && recorder.trouble().is_none());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_directory_that_was_removed_is_made_again() {
        let directory = directory("gone");
        let tapes = Arc::new(Tapes::new(1));
        let recorder = Recorder::start(&directory, 0).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let path = directory.join("1.wav");
        recorder.record(job(&tapes, 1, path.clone()));
        assert!(push(&tapes, 1, 0));
        tapes.finish(0, 1, 1);
        drop(recorder);
        assert_eq!(wav::read(&path).unwrap().frames(), FRAME);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
