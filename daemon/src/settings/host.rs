//! What this machine has to say about settings: are the addresses ours, the
//! ports free, the directories writable, the files that we may open enough?
//!
//! It only looks; a start, which tries, has the last word.

use std::ffi::CString;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use offhook_config::{Located, Source};

use super::{SecretSource, Settings};

/// Files that are open beside the RTP and RTCP sockets: database, logs, SIP, control.
const OTHER_FILES: u64 = 64;

pub(super) fn obstacles(settings: &Settings, text: &str, running: bool) -> Vec<Located> {
    let file = settings.file.display().to_string();
    let mut found = Obstacles {
        source: Source::new(&file, text),
        list: Vec::new(),
    };
    found.addresses(settings);
    if !running {
        found.ports(settings);
        found.socket(&settings.socket);
        found.store(&settings.store);
    }
    found.directories(settings);
    found.files(settings);
    found.credential(settings);
    found.list
}

struct Obstacles<'s> {
    source: Source<'s>,
    list: Vec<Located>,
}

impl Obstacles<'_> {
    fn add(&mut self, key: &str, reason: String) {
        self.list.push(self.source.fault_of_key(key, reason));
    }

    fn addresses(&mut self, settings: &Settings) {
        for (index, listen) in settings.sip.listen.iter().enumerate() {
            self.address(&format!("sip.listen[{index}]"), listen.address.ip());
        }
        self.address("media.address", settings.media.address);
    }

    /// Only an address of this machine can be bound; port 0 takes nobody's.
    fn address(&mut self, key: &str, address: IpAddr) {
        if let Err(error) = UdpSocket::bind(SocketAddr::new(address, 0)) {
            let reason =
                format!("{address} cannot be used here: {error}; `ip address` lists what can");
            self.add(key, reason);
        }
    }

    fn ports(&mut self, settings: &Settings) {
        let taken = taken_udp_ports();
        for (index, listen) in settings.sip.listen.iter().enumerate() {
            let key = format!("sip.listen[{index}]");
            let address = listen.address;
            if address.port() != 0 && taken.iter().any(|other| collide(*other, address)) {
                let reason = format!(
                    "port {} is taken by another program; `ss -lunp` tells by which",
                    address.port()
                );
                self.add(&key, reason);
            }
            if (1..1024).contains(&address.port()) && !is_root() {
                let reason = format!(
                    "port {} is for root alone: write one from 1024",
                    address.port()
                );
                self.add(&key, reason);
            }
        }
    }

    /// A socket that nobody answers at is replaced; anything else stands in the way.
    fn socket(&mut self, path: &Path) {
        let found = fs::symlink_metadata(path);
        if found.is_ok_and(|found| !found.file_type().is_socket()) {
            let reason = format!(
                "`{}` is there and no socket: remove it, or write another path",
                path.display()
            );
            self.add("control.socket", reason);
        }
    }

    /// The database is a file that nobody else has open and that we may write.
    fn store(&mut self, path: &Path) {
        let shown = path.display();
        let Ok(found) = fs::metadata(path) else {
            return;
        };
        let reason = if !found.is_file() {
            format!("`{shown}` is there and no file: write another path")
        } else if !writable(path) {
            format!("`{shown}` cannot be written to by this user")
        } else if is_locked(path) {
            format!(
                "`{shown}` is open in another process, which this config does not reach: write another path, or stop it"
            )
        } else {
            return;
        };
        self.add("store.path", reason);
    }

    fn directories(&mut self, settings: &Settings) {
        self.directory("control.socket", settings.socket.parent());
        self.directory("store.path", settings.store.parent());
        self.directory("voice.cache", Some(&settings.voice.cache));
        let recording = settings.recording.as_ref();
        let directory = recording.map(|recording| recording.directory.as_path());
        self.directory("recording.directory", directory);
    }

    /// The directory can be written to, or can be made.
    fn directory(&mut self, key: &str, directory: Option<&Path>) {
        let Some(directory) = directory else { return };
        let there = directory.ancestors().find(|path| path.exists());
        let there = match there {
            Some(path) => path,
            None => Path::new("."),
        };
        if !there.is_dir() {
            self.add(key, format!("`{}` is not a directory", there.display()));
        } else if !writable(there) {
            self.add(
                key,
                format!("`{}` cannot be written to by this user", there.display()),
            );
        }
    }

    fn files(&mut self, settings: &Settings) {
        let needed =
            2 * u64::try_from(settings.media.max_calls).unwrap_or(u64::MAX / 2) + OTHER_FILES;
        let Some(most) = most_open_files() else {
            return;
        };
        if needed > most {
            let calls = most.saturating_sub(OTHER_FILES) / 2;
            let reason = format!(
                "needs {needed} open files, {most} are allowed here: write max_calls = {calls}, or raise the limit (`ulimit -Hn`, LimitNOFILE=)"
            );
            self.add("media.max_calls", reason);
        }
    }

    /// A credential is there only while systemd runs the service: a check from
    /// a shell cannot know.
    fn credential(&mut self, settings: &Settings) {
        let Some(upstream) = &settings.upstream else {
            return;
        };
        let known = std::env::var_os("CREDENTIALS_DIRECTORY").is_some();
        if let (SecretSource::Credential(_), true) = (&upstream.secret, known)
            && let Err(error) = upstream.secret.secret()
        {
            self.add("upstream.credential", error.to_string());
        }
    }
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && same_address
}

/// Bound UDP sockets of this network namespace (proc(5), `/proc/net/udp`).
fn taken_udp_ports() -> Vec<SocketAddr> {
    ["/proc/net/udp", "/proc/net/udp6"]
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| {
            text.lines()
                .skip(1)
                .filter_map(local_address)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// `  42: 0100007F:13C4 00000000:0000 …`: words of the address in host order.
fn local_address(line: &str) -> Option<SocketAddr> {
    let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(SocketAddr::new(ip, port))
}

/// Whether a daemon holds the store's lock; asking lets go of it at once.
fn is_locked(store: &Path) -> bool {
    let lock = crate::store::lock_of(store);
    fs::File::open(lock)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn writable(path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let mode = if path.is_dir() {
        libc::W_OK | libc::X_OK
    } else {
        libc::W_OK
    };
    // SAFETY: a valid string that ends in NUL and lives across the call.
    unsafe { libc::access(name.as_ptr(), mode) == 0 }
}

/// The hard limit: a start raises the soft one to it.
fn most_open_files() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit and lives across the call.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (failed == 0).then_some(limit.rlim_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_udp_is_understood() {
        let word = u32::from_ne_bytes([127, 0, 0, 1]);
        let line = format!("  42: {word:08X}:13C4 00000000:0000 07 00000000:00000000");
        assert_eq!(local_address(&line), "127.0.0.1:5060".parse().ok());
        for line in ["", "1:", "1: xyz:1", "1: 0100:1", "1: 0100007F:zzzz"] {
            assert_eq!(local_address(line), None, "{line}");
        }
    }

    fn found(text: &str) -> Vec<String> {
        let settings = Settings::parse(Path::new("/tmp/f.toml"), text).unwrap();
        let list = settings.obstacles(text, false);
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_port_that_is_taken_is_an_obstacle_unless_it_is_our_own() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let text = format!("[sip]\nlisten = [\"udp:127.0.0.1:{port}\"]\n");
        let list = found(&text);
        assert_eq!(list.len(), 1, "{list:?}");
        assert!(
            list[0].starts_with("/tmp/f.toml:2:11: sip.listen[0]: port"),
            "{list:?}"
        );
        let settings = Settings::parse(Path::new("/tmp/f.toml"), &text).unwrap();
        assert_eq!(settings.obstacles(&text, true), []);
    }

    #[test]
    fn a_store_that_another_process_has_open_is_an_obstacle_and_so_is_a_file_for_a_socket() {
        let directory = std::env::temp_dir().join(format!("offhook-host-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (store, socket) = (directory.join("a.db"), directory.join("s"));
        fs::write(&store, "").unwrap();
        fs::write(&socket, "").unwrap();
        let lock = fs::File::create(crate::store::lock_of(&store)).unwrap();
        lock.try_lock().unwrap();
        let text = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n[store]\npath = \"{}\"\n[control]\nsocket = \"{}\"\n",
            store.display(),
            socket.display()
        );
        let list = found(&text);
        assert_eq!(list.len(), 2, "{list:?}");
        assert!(
            list.iter()
                .any(|line| line.contains("store.path") && line.contains("open in another")),
            "{list:?}"
        );
        assert!(
            list.iter()
                .any(|line| line.contains("control.socket") && line.contains("no socket")),
            "{list:?}"
        );
        drop(lock);
        fs::remove_file(&socket).unwrap();
        assert_eq!(found(&text), Vec::<String>::new());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_is_an_obstacle() {
        let list =
            found("[media]\naddress = \"192.0.2.1\"\n[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n");
        assert_eq!(list.len(), 1, "{list:?}");
        assert!(
            list[0].contains("media.address: 192.0.2.1 cannot be used here"),
            "{list:?}"
        );
    }

    #[test]
    fn a_file_where_a_directory_should_be_is_an_obstacle() {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:0\"]\n[store]\npath = \"/dev/null/x.db\"\n";
        let list = found(text);
        assert_eq!(
            list,
            ["/tmp/f.toml:4:8: store.path: `/dev/null` is not a directory"]
        );
    }
}
