//! A directory of a test's own, short enough for a unix socket's path; and ports.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A fresh directory; removed when dropped, kept when the test fails.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// Makes one.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn new() -> Self {
        // Relaxed: the number need only be different, it orders nothing.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("offhook-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file in it, as text.
    pub fn name(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// Writes a file in it and says where it is.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).expect("a file of the test can be written");
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept: {}", self.0.display());
        } else {
            // Best effort: a leftover below /tmp harms nobody.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// An even port on loopback that is free now, for UDP and TCP, and its odd neighbour as
/// well, as RTP and RTCP want.
/// It is none that the system gives to whoever asks for any, so that nobody gets between.
///
/// # Panics
/// When loopback has none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u16 = 3_000;
    const PAIRS: u32 = 4_000;
    // Neighbours of one process are far from those of the next.
    let begin = std::process::id().wrapping_mul(37);
    (0..PAIRS)
        .map(|_| {
            // Relaxed: the number need only be different, it orders nothing.
            let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(begin);
            FIRST + u16::try_from(next % PAIRS * 2).expect("fewer than 65,536")
        })
        .find(|port| {
            let is_free = |port| {
                UdpSocket::bind(("127.0.0.1", port)).is_ok()
                    && TcpListener::bind(("127.0.0.1", port)).is_ok()
            };
            is_free(*port) && is_free(port + 1)
        })
        .expect("loopback has a port that is free for both")
}

/// The first of four ports that are free: SIPp takes two for audio and two for video. They
/// are none that the system gives to whoever asks for any, so that nobody gets between.
///
/// # Panics
/// When loopback has none.
pub fn free_media_ports() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u16 = 12_000;
    const FOURS: u32 = 1_900;
    (0..FOURS)
        .map(|_| {
            // Relaxed: the number need only be different, it orders nothing.
            let next = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id();
            FIRST + u16::try_from(next % FOURS * 4).expect("fewer than 65,536")
        })
        .find(|first| (0..4).all(|more| UdpSocket::bind(("127.0.0.1", first + more)).is_ok()))
        .expect("loopback has four free ports")
}
