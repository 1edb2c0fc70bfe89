//! A bell wakes the one thread that sleeps on it; ringing never waits.
//!
//! An eventfd: many ring, one sleeps, rings that come while it is awake are
//! one ring, and but for the first cost no system call. Media threads may ring
//! it: it neither allocates nor locks.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After work there is often more at once: a thread waits so long for company, which
/// saves a wakeup for each. No timer of SIP is nearly as short, and a media thread takes
/// its orders every ten milliseconds.
const NAP: Duration = Duration::from_millis(5);
/// As many found together are a crowd: with one the thread may wait longer, since the
/// more there is at once, the less each costs.
const CROWD: usize = 12;

/// How long to wait for more after so much was found; `at_most` in a crowd.
pub fn nap_after(found: usize, at_most: Duration) -> Duration {
    if found < CROWD { NAP } else { at_most }
}

/// Rings and sleeps; clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Rope>);

#[derive(Debug)]
struct Rope {
    fd: OwnedFd,
    /// Rung since the sleeper woke last: it will look again before it sleeps.
    rung: AtomicBool,
}

impl Bell {
    /// A new bell.
    ///
    /// # Errors
    /// The system has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Arc::new(Rope {
            fd,
            rung: AtomicBool::new(false),
        })))
    }

    /// Wakes the sleeper, now or at its next sleep.
    pub fn ring(&self) {
        // AcqRel: what was put down before the ring is seen by whoever clears it;
        // if it stands already, the sleeper has still to clear it and look.
        if self.0.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. A full counter (EAGAIN) is already rung.
        unsafe { libc::write(self.0.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Sleeps for so long whatever rings, and rings meanwhile cost nothing: for a
    /// sleeper that is busy and had rather find several things at once.
    pub fn nap(&self, time: Duration) {
        self.0.rung.store(true, Ordering::Release);
        std::thread::sleep(time);
        // AcqRel: as in `sleep`.
        self.0.rung.swap(false, Ordering::AcqRel);
    }

    /// Sleeps until rung, or for `at_most` (for ever without one).
    pub fn sleep(&self, at_most: Option<Duration>) {
        let wait = at_most.map(|time| libc::timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let wait = wait.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let mut poll = libc::pollfd {
            fd: self.0.fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut count = [0u8; 8];
        // SAFETY: one valid pollfd, a valid or null timespec, no signal mask;
        // the read is non-blocking into eight writable bytes.
        unsafe {
            libc::ppoll(&raw mut poll, 1, wait, std::ptr::null());
            libc::read(
                self.0.fd.as_raw_fd(),
                count.as_mut_ptr().cast(),
                count.len(),
            );
        }
        // AcqRel: pairs with `ring`. Cleared after the read: a ring that found it
        // set is of what the sleeper is about to look at.
        self.0.rung.swap(false, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Bell;

    #[test]
    fn a_ring_before_the_sleep_is_not_lost() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        bell.sleep(None);
    }

    #[test]
    fn whatever_is_put_down_before_a_ring_is_found_by_the_woken() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (bell, count) = (Bell::new().unwrap(), 20_000);
        let put = std::sync::Arc::new(AtomicU32::new(0));
        let (ringer, writer) = (bell.clone(), std::sync::Arc::clone(&put));
        let thread = std::thread::spawn(move || {
            for number in 1..=count {
                writer.store(number, Ordering::Relaxed);
                ringer.ring();
            }
        });
        // A ring that were lost would leave it asleep here.
        while put.load(Ordering::Relaxed) < count {
            bell.sleep(None);
        }
        thread.join().unwrap();
    }
}
