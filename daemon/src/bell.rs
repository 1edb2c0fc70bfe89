//! A bell wakes the one thread that sleeps on it; ringing never waits.
//!
//! An eventfd: many ring, one sleeps, rings that come while it is awake are
//! one ring. Media threads may ring it: it neither allocates nor locks.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Rings and sleeps; clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Bell(Arc<OwnedFd>);

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
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Wakes the sleeper, now or at its next sleep.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. A full counter (EAGAIN) is already rung.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Sleeps until rung, or for `at_most` (for ever without one).
    pub fn sleep(&self, at_most: Option<Duration>) {
        let wait = at_most.map(|time| libc::timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let wait = wait.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut count = [0u8; 8];
        // SAFETY: one valid pollfd, a valid or null timespec, no signal mask;
        // the read is non-blocking into eight writable bytes.
        unsafe {
            libc::ppoll(&raw mut poll, 1, wait, std::ptr::null());
            libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len());
        }
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
}
