//! Child processes that end with their owner, and commands run to their end.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::patience::{seconds, wait_for, watch};

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    /// It leads a process group of its own, which ends with it.
    leads: bool,
}

/// libfaketime (Debian's `faketime`): a wall clock of the test's own. The other clocks
/// stay true, and the file is read again every second.
const FAKETIME: &str = "/usr/lib/*/faketime/libfaketimeMT.so.1";

/// The wall clock of what is started in a place, where the test has made one.
#[derive(Debug)]
pub struct Clock(PathBuf);

impl Clock {
    /// How long a step takes to be seen.
    pub const STEP: Duration = Duration::from_millis(1_500);

    /// One for the processes that are started in that directory from now on; none where
    /// `faketime` is not installed.
    pub fn make(directory: &Path) -> Option<Self> {
        library()?;
        let clock = Self(directory.join("clock"));
        clock.step(0);
        Some(clock)
    }

    /// So many seconds ahead of the true time.
    ///
    /// # Panics
    /// When the file of the test cannot be written.
    pub fn step(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("a file of the test");
        std::fs::rename(&new, &self.0).expect("a file of the test");
    }

    /// Gives a process that clock, where the directory has one.
    pub(crate) fn show(command: &mut Command, directory: &Path) {
        let file = directory.join("clock");
        if let (true, Some(library)) = (file.is_file(), library()) {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", file)
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
    }
}

fn library() -> Option<PathBuf> {
    let (before, behind) = FAKETIME.split_once("/*/")?;
    let folders = std::fs::read_dir(before).ok()?;
    let mut libraries = folders.flatten().map(|it| it.path().join(behind));
    libraries.find(|library| library.is_file())
}

impl Running {
    /// Starts it with both outputs in `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log);
        let file = file.expect("a log of the test can be written");
        let same = file.try_clone().expect("a file handle can be copied");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(same)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let log = log.to_owned();
        Self {
            child,
            log,
            leads: false,
        }
    }

    /// Starts one that has children of its own, which end with it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with_children(command: &mut Command, log: &Path) -> Self {
        let mut running = Self::start(command.process_group(0), log);
        running.leads = true;
        running
    }

    /// What it has written so far.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn finish(&mut self, limit: Duration) -> ExitStatus {
        watch(limit, || self.ended()).unwrap_or_else(|| {
            panic!(
                "pid {} has not ended in {limit:?}; it said:\n{}",
                self.id(),
                self.said()
            )
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) takes two integers and touches no memory of ours.
        // The child is not reaped yet, so the id cannot belong to another.
        unsafe { libc::kill(self.id().cast_signed(), signal) };
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.leads {
            // SAFETY: kill(2) takes two integers and touches no memory of ours. The
            // leader is not reaped yet, so the group cannot be another's.
            unsafe { libc::kill(-self.id().cast_signed(), libc::SIGKILL) };
        }
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end and waits.
    ///
    /// # Panics
    /// When it does not within 10 s.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.finish(seconds(10))
    }

    /// Waits until it has written `text`.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub fn wait_said(&self, text: &str, limit: Duration) {
        wait_for(
            &format!("{text:?} in {}", self.log.display()),
            limit,
            || self.said().contains(text).then_some(()),
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.said();
            let tail = said.lines().rev().take(40).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            eprintln!("--- {}\n{tail}", self.log.display());
        }
    }
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Ran {
    let mut command = Command::new(program);
    let done = command.args(arguments).stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// This thread, and what it starts from now on, runs before everything else on this
/// machine, or the scheduler is what is measured. Without the right to it nothing happens.
pub fn hurry() {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: a parameter of ours; refused without the right to it.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
}

/// Octets of memory that a process holds (proc_pid_statm(5), in pages of 4 KiB).
pub fn resident(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// CPU time of a process so far, all its threads, in ticks of 10 ms (proc_pid_stat(5)).
pub fn cpu(id: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|it| it.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Whether a program is on the path.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A program that this workspace builds. `make test` says where they are;
/// without it they are built here.
///
/// # Panics
/// When they cannot be built.
pub fn built(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(binaries).join(name)
}

fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("OFFHOOK_BINARIES") {
        return folder.into();
    }
    let built = run(
        env!("CARGO"),
        ["build", "--quiet", "--workspace", "--bins", "--locked"],
    );
    assert_eq!(built.code, 0, "{}", built.err);
    let this = std::env::current_exe().expect("a test knows its own path");
    // Tests are in `<profile>/deps`, programs in `<profile>`.
    let folder = this.ancestors().skip(1).find(|it| !it.ends_with("deps"));
    folder.expect("a file is in a folder").to_owned()
}

/// The top of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the checkout")
}
