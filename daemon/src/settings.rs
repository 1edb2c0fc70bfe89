//! `offhook.toml` as typed values: parsed once, never checked again.
//!
//! [`Settings::load`] is what a start, `offhook check` and the tests all use;
//! it opens no socket and writes nothing. Keys, defaults and meaning are
//! described in the shipped `config/offhook.toml`.
//!
//! What is read (policy, playbooks, actions, own recordings, secret file) is
//! relative to the config file. What is written (store, recordings, voice
//! cache, control socket) is relative to `[paths] state`, which is itself
//! relative to the current directory.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook_config::Located;
use offhook_core::budget::Budget;
use offhook_core::pacer::Pace;
use offhook_dsp::Sensitivity;

use crate::stir::Stir;

mod barred;
mod books;
mod compile;
mod host;
mod net;
mod numbers;
mod permit;
mod presented;
mod raw;
mod route;
mod secret;
mod sink;
mod tls;
mod trunk;

pub use barred::read_barred;
pub use books::{Books, CheckedPolicy, POLICY_DEFAULT, Page, Sources, recompile};
pub(crate) use net::name_server;
pub use net::{Cidr, Listen, Proxy, Told};
pub use permit::{Permit, Refused};
pub use presented::{Presentation, Presented, Privacy};
pub use route::{APOLOGY, Destination, Fallback, Pattern, Route, Test};
pub use secret::{Secret, SecretSource};
pub use sink::{Sink, SinkAddress};
pub use tls::Tls;
pub(crate) use tls::certificates;
pub use trunk::{Account, Challenge, Keys, Sound, Srtp, Trunk};

/// Where the installed config is.
pub const INSTALLED: &str = "/etc/offhook/offhook.toml";
/// State of the installed daemon (`StateDirectory=offhook`).
pub const INSTALLED_STATE: &str = "/var/lib/offhook";
/// Control socket of the installed daemon (`RuntimeDirectory=offhook`).
pub const INSTALLED_SOCKET: &str = "/run/offhook/control.sock";

/// Everything that a start needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file, as it was named.
    pub file: PathBuf,
    /// What calls under way have, once we are asked to stop, to end by themselves.
    pub drain: Duration,
    /// Signalling.
    pub sip: Sip,
    /// Certificates of TLS listeners and connections; `None`: there are no
    /// such listeners, and who we call is checked against the public authorities.
    pub tls: Option<Tls>,
    /// Who vouches for callers' signatures; `None`: they are shown, not checked.
    pub stir: Option<Stir>,
    /// Audio.
    pub media: Media,
    /// Unix socket of the command line.
    pub socket: PathBuf,
    /// Unix socket of the engine that recognises words; `None`: there is none.
    pub engine: Option<PathBuf>,
    /// The database file.
    pub store: PathBuf,
    /// How calls are recorded; `None`: they are not.
    pub recording: Option<Recording>,
    /// Our voice.
    pub voice: Voice,
    /// Where actions are delivered; `None`: they stay in the outbox.
    pub upstream: Option<Upstream>,
    /// Where the secrets of callers go.
    pub sinks: Vec<Sink>,
    /// Peers that may call and be called, in the order of the file.
    pub trunks: Vec<Trunk>,
    /// In the order of the file; the first that matches decides.
    pub routes: Vec<Route>,
    /// The tests are answered under their names, after the routes.
    pub tests: bool,
    /// Outbound calls.
    pub outbound: Outbound,
    /// What contacts cost, and what may be spent.
    pub budget: Budget,
    /// Where events from other channels are taken; `None`: nowhere.
    pub inbound: Option<Inbound>,
    /// Logging.
    pub log: Log,
    /// Policy, actions and playbooks.
    pub books: Books,
    /// The policy as the config names it.
    pub policy: String,
    /// What is odd but no fault.
    pub notes: Vec<Located>,
}

/// Signalling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Sockets, at least one.
    pub listen: Vec<Listen>,
    /// Where names are looked up; empty: as the system does.
    pub name_servers: Vec<SocketAddr>,
}

/// Audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Local address of the RTP sockets.
    pub address: IpAddr,
    /// Address in SDP instead of the local one (behind NAT).
    pub told: Option<Told>,
    /// RTP at the even ports, RTCP at the next; always enough for `max_calls`.
    pub ports: RangeInclusive<u16>,
    /// Calls with audio at the same time; more are refused with 503.
    pub max_calls: usize,
    /// Media threads.
    pub threads: usize,
    /// Ask for real-time scheduling of the media threads.
    pub realtime: bool,
    /// How readily a voice that answers is called a machine.
    pub sensitivity: Sensitivity,
    /// What 95 of 100 frames between two joined legs may wait; more is an alarm.
    pub playout: Duration,
}

/// Recording of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Where the files go.
    pub directory: PathBuf,
    /// Octets that recordings leave free on their disk, for the store above all.
    pub reserve: u64,
}

/// Our voice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Which of [`VOICES`].
    pub name: String,
    /// Where rendered prompts are kept.
    pub cache: PathBuf,
    /// Recordings, which win over rendered prompts of the same key.
    pub recordings: Option<PathBuf>,
}

/// Voices that can be chosen.
pub const VOICES: [&str; 1] = ["rms"];

/// Where actions are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `http://` or `https://`.
    pub url: String,
    /// Signs each delivery.
    pub secret: SecretSource,
    /// PEM: who vouches for the receiver, besides the public authorities.
    pub authorities: Option<PathBuf>,
    /// How long one delivery may take.
    pub timeout: Duration,
}

/// Outbound calls, where `originate` does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Playbook.
    pub playbook: Option<String>,
    /// Trunk; the only one with a proxy when the file does not say.
    pub trunk: Option<String>,
    /// Numbers that must not be called, in E.164, as they stood at the start.
    pub do_not_call: BTreeSet<String>,
    /// The file that names them.
    pub barred: Option<PathBuf>,
    /// How lists are worked, where a campaign does not say.
    pub pace: Pace,
}

/// Where events from other channels are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Local address.
    pub listen: SocketAddr,
    /// They are signed with this.
    pub secret: SecretSource,
}

/// Logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: Level,
    /// To the journal; `None`: when systemd started us.
    pub journal: Option<bool>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// All levels, the quietest first.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The word in the config file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A config that cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// The file cannot be read at all.
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It can be read and is wrong: every fault, in the order of the text.
    Wrong(Vec<Located>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, error } => {
                write!(f, "{}: cannot be read: {error}", file.display())
            }
            Self::Wrong(faults) => {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

/// A config file has a few kB; what is longer than this is none.
const FILE_MAX: u64 = 1 << 20;

/// Reads a config file: a regular one of a sensible length.
fn read(file: &Path) -> io::Result<String> {
    let found = std::fs::metadata(file)?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.len() > FILE_MAX {
        return Err(io::Error::other("longer than 1 MiB"));
    }
    std::fs::read_to_string(file)
}

impl std::error::Error for LoadError {}

impl Settings {
    /// The text of the policy that the config names, as it stands now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn policy_page(&self) -> Result<Page, String> {
        let base = self.file.parent().unwrap_or(Path::new(""));
        Page::policy(&self.policy, base)
    }

    /// Reads and checks a config file and all that it names.
    ///
    /// # Errors
    /// The file cannot be read, or every fault of it and of what it names.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        let text = read(file).map_err(|error| LoadError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        Self::parse(file, &text)
    }

    /// As [`Self::load`], for a start: a playbook that is wrong keeps nobody from calling
    /// the others. Its callers get the fallback of their route.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_to_start(file: &Path) -> Result<Self, LoadError> {
        let text = read(file).map_err(|error| LoadError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        compile::compile(file, &text, true).map_err(LoadError::Wrong)
    }

    /// Checks the text of a config file; `file` is what its paths are relative to.
    ///
    /// # Errors
    /// Every fault, as [`LoadError::Wrong`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, LoadError> {
        compile::compile(file, text, false).map_err(LoadError::Wrong)
    }

    /// The control socket of a config, whatever else is wrong in it.
    ///
    /// # Errors
    /// The file cannot be read, or is no TOML.
    pub fn socket_of(file: &Path) -> Result<PathBuf, LoadError> {
        let text = read(file).map_err(|error| LoadError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        compile::socket_of(file, &text).map_err(LoadError::Wrong)
    }

    /// What on this machine would keep a start from using these settings, as
    /// far as looking tells: nothing is opened, bound or made. The text is the
    /// one they were parsed from. `running`: the daemon of these settings runs,
    /// so its own sockets are no obstacle.
    pub fn obstacles(&self, text: &str, running: bool) -> Vec<Located> {
        host::obstacles(self, text, running)
    }

    /// The trunk that an address alone tells: the longest network that holds
    /// it. A trunk that proves itself by a certificate is none of them.
    pub fn trunk_of(&self, source: IpAddr) -> Option<&Trunk> {
        let networks = self
            .trunks
            .iter()
            .filter(|trunk| trunk.identities.is_empty())
            .flat_map(|trunk| trunk.sources.iter().map(move |network| (network, trunk)));
        networks
            .filter(|(network, _)| network.contains(source))
            .max_by_key(|(network, _)| network.prefix())
            .map(|(_, trunk)| trunk)
    }

    /// The trunk of that name.
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| trunk.name == name)
    }

    /// What the route of this Request-URI user says for when no conversation can be had.
    pub fn fallback(&self, called: &str) -> Option<&Fallback> {
        let mut routes = self.routes.iter();
        let route = routes.find(|route| route.called.matches(called))?;
        route.fallback.as_ref()
    }

    /// Where a call of a trunk to this Request-URI user goes; `None` = 404.
    pub fn destination(&self, called: &str) -> Option<Destination> {
        let route = self
            .routes
            .iter()
            .find(|route| route.called.matches(called));
        let test = || Test::named(called).filter(|_| self.tests);
        route
            .map(|route| route.to.clone())
            .or_else(|| test().map(Destination::Test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        Settings::parse(Path::new("/x/f.toml"), text).expect("the text is right")
    }

    /// Faults as `line:col: key: reason`.
    fn faults(text: &str) -> Vec<String> {
        match Settings::parse(Path::new("f.toml"), text) {
            Err(LoadError::Wrong(faults)) => faults
                .iter()
                .map(|fault| fault.to_string().split_off("f.toml:".len()))
                .collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn each_fault_is_named_with_place_key_and_remedy() {
        let rows = [
            (
                "policy = \"defalt\"",
                "1:10: policy: no policy `defalt` ships, expected one of `default`, `demo`, `eu`, `strict`, `us`; did you mean `default`?",
            ),
            (
                "policy = \"./gone.toml\"",
                "1:10: policy: `./gone.toml` cannot be read",
            ),
            (
                "playbooks = \"gone/\"",
                "1:13: playbooks: `gone/` cannot be read",
            ),
            (
                "[[route]]\ncalled = \"1\"\nplaybook = \"boking\"",
                "3:12: route[0].playbook: no playbook `boking`, expected one of `booking`, `fallback`, `outreach`, `sales`, `service`; did you mean `booking`?",
            ),
            (
                "[outbound]\nplaybook = \"x\"",
                "2:12: outbound.playbook: no playbook `x`, expected one of",
            ),
            (
                "[sip]\nlisten = []",
                "2:10: sip.listen: is empty: write at least one",
            ),
            (
                "[sip]\nlisten = [\"wss:1.2.3.4:5060\"]",
                "2:11: sip.listen[0]: `wss` is not served",
            ),
            (
                "[sip]\nlisten = [\"tls:1.2.3.4:5061\"]",
                "2:11: sip.listen[0]: has no certificate: write [tls]",
            ),
            (
                "[stir]\nauthorities = \"gone\"",
                "2:15: stir.authorities: `gone` holds no certificate",
            ),
            (
                "[tls]\ncertificate = \"gone\"\nkey = \"gone\"",
                "2:15: tls.certificate: `gone` holds no certificate",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\nregister = true",
                "1:1: trunk[0]: registers nobody: write user",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\npassword = \"x\"",
                "4:12: trunk[0].password: belongs to a user",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\nuser = \"x\"",
                "1:1: trunk[0]: has a user and no password",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\noptions_s = 2",
                "4:13: trunk[0].options_s: must be from 5 to 3600 s, or 0 for never, is 2",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\nnext = \"t\"",
                "4:8: trunk[0].next: the trunks after `t` go round in a circle",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\nnext = \"u\"",
                "4:8: trunk[0].next: there is no trunk `u`",
            ),
            (
                "[[trunk]]\nname = \"t\"\nidentity = [\"a b\"]\nsource = [\"::1\"]",
                "3:13: trunk[0].identity[0]: `a b` is no name of a certificate",
            ),
            (
                "[sip]\nlisten = [\"udp:1.2.3.4:1\", \"udp:1.2.3.4:1\"]",
                "2:28: sip.listen[1]: `udp:1.2.3.4:1` is listed twice",
            ),
            (
                "[sip]\nlisten = [{ at = \"udp:1.2.3.4:1\", advertise = \"::1\" }]",
                "2:47: sip.listen[0].advertise: `::1` is of another family",
            ),
            (
                "[sip]\nlisten = [{ at = \"udp:1.2.3.4:1\", advertize = \"1.2.3.5\" }]",
                "2:35: sip.listen[0].advertize: unknown field `advertize`",
            ),
            (
                "[sip]\nlisten = [5060]",
                "2:11: sip.listen[0]: invalid type",
            ),
            (
                "[sip]\nadvertise = \"0.0.0.0\"",
                "2:13: sip.advertise: nobody can send there",
            ),
            (
                "[sip]\nadvertize = \"0.0.0.0\"",
                "2:1: sip.advertize: unknown field `advertize`, expected one of `listen`, `advertise`, `name_servers`; did you mean `advertise`?",
            ),
            (
                "[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\nchallenge = \"any\"",
                "1:1: trunk[0]: asks for no password: write user",
            ),
            (
                "[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\nuser = \"u\"\npassword = \"p\"\nchallenge = \"sha\"",
                "6:13: trunk[0].challenge: `sha` is no way to ask: write \"any\" or \"md5\"",
            ),
            (
                "[sip]\nname_servers = [\"dns\"]",
                "2:17: sip.name_servers[0]: `dns` is not an IP address",
            ),
            (
                "[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\noutbound_proxy = \"udp:h:5060\"",
                "4:18: trunk[0].outbound_proxy: leads to nobody: write proxy",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\nallow = []",
                "4:9: trunk[0].allow: allows nobody: leave it out",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"udp:h:5060\"\ncalls_per_minute = 0",
                "4:20: trunk[0].calls_per_minute: must be from 1 to 60000",
            ),
            (
                "[media]\naddress = \"here\"",
                "2:11: media.address: `here` is not an IP address",
            ),
            (
                "[media]\nports = \"20000\"",
                "2:9: media.ports: `20000` is not a range",
            ),
            (
                "[media]\nports = \"20000-20003\"\nmax_calls = 3",
                "3:13: media.max_calls: 3 calls need 2 ports each, 20000-20003 has room for 2: write ports = \"20000-20005\", or max_calls = 2",
            ),
            (
                "[media]\nmax_calls = 0",
                "2:13: media.max_calls: must be from 1 to 20000, is 0",
            ),
            (
                "[media]\nthreads = 1\nmax_calls = 4097",
                "3:13: media.max_calls: with threads = 1 it can be 4096 at most: write threads = 2, or max_calls = 4096",
            ),
            (
                "[media]\nthreads = 65",
                "2:11: media.threads: must be from 1 to 64, is 65",
            ),
            (
                "[control]\nsocket = \"\"",
                "2:10: control.socket: is no path",
            ),
            (
                "[voice]\nvoice = \"rm\"",
                "2:9: voice.voice: unknown voice `rm`, expected `rms`; did you mean `rms`?",
            ),
            (
                "[voice]\nrecordings = \"nowhere\"",
                "2:14: voice.recordings: `nowhere` is not a directory",
            ),
            (
                "[upstream]\nurl = \"ftp://x\"\ncredential = \"k\"",
                "2:7: upstream.url: `ftp://x` is no address to deliver to",
            ),
            (
                "[upstream]\nurl = \"http://localhost/\"",
                "1:1: upstream: has no key to sign with",
            ),
            (
                "[upstream]\nurl = \"http://localhost/\"\nsecret = \"x\"",
                "3:10: upstream.secret: is not a signing key",
            ),
            (
                "[upstream]\nurl = \"http://localhost/\"\nsecret = \"x\"\ncredential = \"y\"",
                "1:1: upstream: has several keys",
            ),
            (
                "[upstream]\nurl = \"http://localhost/\"\nsecret_file = \"gone\"",
                "3:15: upstream.secret_file: `gone` cannot be read",
            ),
            (
                "[upstream]\nurl = \"http://localhost/\"\ncredential = \"../x\"",
                "3:14: upstream.credential: `../x` is no credential name",
            ),
            (
                "[upstream]\ncredential = \"x\"",
                "1:1: upstream.url: missing field `url`",
            ),
            (
                "[upstream]\nurl = \"http://localhost/\"\ncredential = \"k\"\ntimeout_ms = 5",
                "4:14: upstream.timeout_ms: must be from 100 to 120000 ms, is 5",
            ),
            (
                "[outbound]\ntrunk = \"t\"",
                "2:9: outbound.trunk: no trunk `t` with a proxy, there is none",
            ),
            (
                "[log]\nlevel = \"inf\"",
                "2:9: log.level: unknown level `inf`, expected one of `error`, `warn`, `info`, `debug`, `trace`; did you mean `info`?",
            ),
            (
                "[[trunk]]\nname = \"t\"",
                "1:1: trunk[0]: neither calls nor is called",
            ),
            (
                "[[trunk]]\nname = \"a b\"\nsource = [\"::1\"]",
                "2:8: trunk[0].name: `a b` is no name",
            ),
            (
                "[[trunk]]\nname = \"t\"\nsource = [\"10.0.0.1/8\"]",
                "3:11: trunk[0].source[0]: `10.0.0.1` has bits set beyond /8: write \"10.0.0.0/8\"",
            ),
            (
                "[[trunk]]\nname = \"t\"\nsource = [\"::1\", \"::1/128\"]",
                "3:18: trunk[0].source[1]: ::1/128 is listed twice",
            ),
            (
                "[[trunk]]\nname = \"t\"\nsource = [\"::1\"]\n[[trunk]]\nname = \"t\"\nsource = [\"::2\"]",
                "5:8: trunk[1].name: there are two trunks `t`",
            ),
            (
                "[[trunk]]\nname = \"a\"\nsource = [\"::1\"]\n[[trunk]]\nname = \"b\"\nsource = [\"::1\"]",
                "6:11: trunk[1].source[0]: ::1/128 already belongs to trunk `a`",
            ),
            (
                "[[trunk]]\nname = \"t\"\nproxy = \"host\"",
                "3:9: trunk[0].proxy: `host` names no transport",
            ),
            ("[[route]]\ncalled = \"1\"", "1:1: route[0]: leads nowhere"),
            (
                "[[route]]\ncalled = \"1\"\ntest = \"ecko\"",
                "3:8: route[0].test: unknown test `ecko`, expected one of `echo`, `tone`, `ring`, `busy`; did you mean `echo`?",
            ),
            (
                "[[route]]\ncalled = \"1\"\ntest = \"echo\"\nplaybook = \"booking\"",
                "3:8: route[0].test: leads to two places",
            ),
            (
                "[[route]]\ncalled = \"\"\ntest = \"echo\"",
                "2:10: route[0].called: is empty",
            ),
            (
                "[[route]]\ncalled = \"*\"\ntest = \"echo\"\n[[route]]\ncalled = \"1\"\ntest = \"tone\"",
                "5:10: route[1].called: never reached: the route `*` above",
            ),
            (
                "[test]\nenabled = \"yes\"",
                "2:11: test.enabled: invalid type: string \"yes\", expected a boolean",
            ),
        ];
        for (text, expected) in rows {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text}\n{found:?}");
            assert!(found[0].starts_with(expected), "{text}\n{}", found[0]);
        }
    }

    #[test]
    fn faults_of_a_playbook_of_ones_own_are_placed_in_its_file() {
        let folder = std::env::temp_dir().join(format!("offhook-books-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mine = folder.join("mine.toml");
        std::fs::write(&mine, "nme = \"mine\"\n").unwrap();
        let text = format!("playbooks = \"{}\"\n", folder.display());
        let Err(LoadError::Wrong(found)) = Settings::parse(Path::new("f.toml"), &text) else {
            panic!("the playbook is wrong");
        };
        let file = mine.display().to_string();
        assert!(found.iter().all(|fault| fault.file == file), "{found:?}");
        assert!(found.iter().any(|fault| fault.key == "nme"), "{found:?}");
        let shipped = offhook_config::builtin::PLAYBOOKS[0].text;
        let renamed = shipped.replacen("name = \"booking\"", "name = \"mine\"", 1);
        std::fs::write(&mine, renamed).unwrap();
        let settings = Settings::parse(Path::new("f.toml"), &text).unwrap();
        let shipped = offhook_config::builtin::PLAYBOOKS.len();
        assert_eq!(settings.books.playbooks.len(), shipped + 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_destination_comes_with_its_book() {
        let settings = parse("");
        let playbook = Destination::Playbook("booking".into());
        assert!(settings.books.book(&playbook).is_some());
        assert!(
            settings
                .books
                .book(&Destination::Test(Test::Busy))
                .is_some()
        );
        let unknown = Destination::Playbook("no".into());
        assert!(settings.books.book(&unknown).is_none());
    }

    #[test]
    fn a_socket_path_longer_than_the_system_takes_is_refused() {
        let text = format!("[control]\nsocket = \"/{}\"", "x".repeat(107));
        assert!(faults(&text)[0].contains("has 108 bytes, 107 is the most"));
    }

    #[test]
    fn faults_of_shape_and_of_meaning_are_reported_in_one_run() {
        let text = "nonsense = 1\n[media]\nmax_calls = 0\n[log]\nlevel = 7\n[[route]]\ncalled = \"1\"\ntest = \"x\"\n";
        let found = faults(text);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn a_key_that_was_cut_out_for_its_shape_is_not_missed_as_well() {
        let text = "[[route]]\ncalled = \"1\"\ntest = 5\n[[trunk]]\nname = \"t\"\nproxy = 7\n";
        let keys: Vec<String> = faults(text);
        assert_eq!(keys.len(), 2, "{keys:?}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = parse("");
        assert_eq!(settings.sip.listen[0].to_string(), "udp:0.0.0.0:5060");
        assert_eq!(settings.media.ports, 20_000..=29_999);
        assert_eq!(settings.media.max_calls, 1_000);
        assert_eq!(settings.socket, Path::new("/x/f.state/control.sock"));
        assert_eq!(settings.store, Path::new("/x/f.state/offhook.db"));
        assert_eq!(settings.recording, None);
        assert_eq!(settings.upstream, None);
        assert!(!settings.tests && settings.trunks.is_empty());
        let installed = Settings::parse(Path::new(INSTALLED), "").unwrap();
        assert_eq!(installed.socket, Path::new(INSTALLED_SOCKET));
        let wrong = "[paths]\nstate = \"s\"\n[control]\nsocket = \"c\"\n[nonsense]\n";
        let socket = compile::socket_of(Path::new("f.toml"), wrong).unwrap();
        assert_eq!(socket, Path::new("s/c"));
        assert_eq!(installed.store, Path::new("/var/lib/offhook/offhook.db"));
    }

    #[test]
    fn fewer_ports_than_the_default_calls_need_lower_that_default() {
        let settings = parse("[media]\nports = \"20001-20010\"");
        assert_eq!(settings.media.max_calls, 4);
    }

    #[test]
    fn an_address_belongs_to_the_smallest_network_that_holds_it() {
        let settings = parse(
            "[[trunk]]\nname = \"wide\"\nsource = [\"10.0.0.0/8\"]\n[[trunk]]\nname = \"narrow\"\nsource = [\"10.1.0.0/16\"]\n",
        );
        let name = |address: &str| {
            let trunk = settings.trunk_of(address.parse().unwrap());
            trunk.map(|trunk| trunk.name.as_str())
        };
        assert_eq!(name("10.1.2.3"), Some("narrow"));
        assert_eq!(name("10.2.2.3"), Some("wide"));
        assert_eq!(name("192.0.2.1"), None);
    }

    #[test]
    fn a_call_goes_by_the_first_route_then_by_the_name_of_a_test() {
        let settings =
            parse("[test]\nenabled = true\n[[route]]\ncalled = \"10*\"\ntest = \"tone\"\n");
        let test = |test| Some(Destination::Test(test));
        assert_eq!(settings.destination("100"), test(Test::Tone));
        assert_eq!(settings.destination("echo"), test(Test::Echo));
        assert_eq!(settings.destination("200"), None);
    }

    #[test]
    fn tests_that_are_switched_off_are_not_served_even_where_a_route_leads_there() {
        let settings =
            parse("[test]\nenabled = false\n[[route]]\ncalled = \"9\"\ntest = \"echo\"\n");
        assert_eq!(settings.destination("9"), None);
        assert_eq!(settings.destination("echo"), None);
        assert_eq!(settings.notes.len(), 1);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_called_wrong() {
        let error = Settings::load(Path::new("/nowhere/f.toml")).unwrap_err();
        assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn what_ships_passes_its_own_check() {
        let settings = Settings::parse(Path::new(INSTALLED), offhook_config::builtin::OFFHOOK);
        let settings = settings.expect("the default config is right");
        assert!(settings.trunks.is_empty(), "nobody is trusted by default");
        assert_eq!(settings.socket, Path::new(INSTALLED_SOCKET));
        let demo = Path::new("config/demo.toml");
        let demo = Settings::parse(demo, offhook_config::builtin::DEMO).expect("so is the demo's");
        assert_eq!(demo.media.max_calls, 4_000);
        assert_eq!(demo.socket, Path::new("target/demo/control.sock"));
        let caller = "127.1.2.3".parse().unwrap();
        assert_eq!(demo.trunk_of(caller).unwrap().name, "loopback");
        for test in Test::ALL {
            let to = demo.destination(test.name());
            assert_eq!(to, Some(Destination::Test(test)));
        }
        let booking = Some(Destination::Playbook("booking".into()));
        assert_eq!(demo.destination("100"), booking);
    }
}
