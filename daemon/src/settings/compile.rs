//! From what is written to what is meant: every rule that `offhook.toml` must
//! keep, each with what to write instead.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use offhook_config::{Located, Source, load_partly, one_of};
use offhook_core::budget::Budget;
use offhook_core::pacer::Pace;

use offhook_dsp::Sensitivity;

use super::barred::read_barred;
use super::books::{Books, POLICY_DEFAULT, Shelf, add_directory, policy_page};
use super::net::name_server;
use super::numbers::numbering;
use super::raw::{
    At, Raw, RawAnswer, RawBudget, RawDaemon, RawInbound, RawListen, RawLog, RawMedia, RawOutbound,
    RawRecording, RawRoute, RawSink, RawSip, RawStir, RawTrunk, RawUpstream, RawVoice,
};
use super::{
    Account, Cidr, Destination, INSTALLED, INSTALLED_SOCKET, INSTALLED_STATE, Inbound, Level,
    Listen, Log, Media, Outbound, Pattern, Proxy, Recording, Route, Secret, SecretSource, Settings,
    Sink, SinkAddress, Sip, Test, Tls, Told, Trunk, Upstream, VOICES, Voice, tls, trunk,
};
use crate::stir::Stir;

mod media;
mod receivers;
mod trunks;

/// Between a stop and the end of calls, where the file does not say: most calls end.
const DRAIN_SECONDS: u32 = 20;
/// Longer than an hour nobody waits for a restart.
const DRAIN_SECONDS_MAX: u32 = 3_600;
/// Left free on the disk of the recordings where the file does not say: a day of
/// the store's own at a call a second.
const RESERVE_MB: u32 = 512;
/// A reserve beyond 1 TB is a slip of the pen.
const RESERVE_MB_MAX: u32 = 1 << 20;
/// Points of a budget, at most.
const POINTS_MAX: i64 = 1_000_000_000_000;
const TIMEOUT_MS: RangeInclusive<u64> = 100..=120_000;
/// Gap between two OPTIONS to a trunk.
const OPTIONS_S: RangeInclusive<u32> = 5..=3600;
/// What a registration asks for.
const EXPIRES_S: RangeInclusive<u32> = 60..=86_400;
const EXPIRES_S_DEFAULT: u32 = 600;
/// The realm of a trunk that is challenged and has no domain.
const REALM: &str = "offhook";
/// What one trunk may be asked to dial.
const CALLS_PER_MINUTE: RangeInclusive<u32> = 1..=60_000;
const CALLS_PER_MINUTE_DEFAULT: u32 = 120;
const TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// The caller waits for it, and the conversation gives it up after 30 s.
const SINK_TIMEOUT_MS: RangeInclusive<u64> = 100..=25_000;
const SINK_TIMEOUT_MS_DEFAULT: u64 = 5_000;
/// `sun_path` holds 108 bytes with its end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// `forgiving`: a playbook that is wrong is left out, and told of in its books.
pub(super) fn compile(file: &Path, text: &str, forgiving: bool) -> Result<Settings, Vec<Located>> {
    let name = file.display().to_string();
    let (raw, faults) = load_partly::<Raw>(&name, text);
    let Some(raw) = raw else { return Err(faults) };
    let mut compiler = Compiler::new(file, Source::new(&name, text), faults);
    let settings = compiler
        .books(&raw, forgiving)
        .map(|books| compiler.settings(&raw, books));
    if settings.is_none() {
        // The rest of the file is checked all the same.
        let (_, books) = Shelf::shipped().compile(false);
        if let Ok(books) = books {
            compiler.settings(&raw, books);
        }
    }
    compiler.faults.sort();
    compiler.faults.dedup();
    match settings {
        Some(settings) if compiler.faults.is_empty() => Ok(settings),
        _ => Err(compiler.faults),
    }
}

/// The control socket alone, whatever else is wrong.
pub(super) fn socket_of(file: &Path, text: &str) -> Result<PathBuf, Vec<Located>> {
    let name = file.display().to_string();
    let (raw, faults) = load_partly::<Raw>(&name, text);
    let Some(raw) = raw else { return Err(faults) };
    let mut compiler = Compiler::new(file, Source::new(&name, text), Vec::new());
    compiler.state = compiler.state(&raw);
    let socket = compiler.socket(raw.control.socket.as_ref());
    match compiler.faults.as_slice() {
        [] => Ok(socket),
        _ => Err(compiler.faults),
    }
}

struct Compiler<'c> {
    file: &'c Path,
    /// What is read is relative to this.
    base: &'c Path,
    /// What is written is relative to this.
    state: PathBuf,
    source: Source<'c>,
    /// Nothing was cut out of the text: what is not there was not written.
    whole: bool,
    faults: Vec<Located>,
    notes: Vec<Located>,
    /// Playbooks that can be named.
    playbooks: Vec<String>,
}

impl<'c> Compiler<'c> {
    fn new(file: &'c Path, source: Source<'c>, faults: Vec<Located>) -> Self {
        Self {
            file,
            base: file.parent().unwrap_or(Path::new("")),
            state: PathBuf::new(),
            source,
            whole: faults.is_empty(),
            faults,
            notes: Vec::new(),
            playbooks: Vec::new(),
        }
    }

    fn is_installed(&self) -> bool {
        self.file == Path::new(INSTALLED)
    }

    fn state(&mut self, raw: &Raw) -> PathBuf {
        match &raw.paths.state {
            Some(state) => PathBuf::from(self.path_text(state)),
            None if self.is_installed() => PathBuf::from(INSTALLED_STATE),
            None => self.file.with_extension("state"),
        }
    }

    /// Policy, actions and playbooks; `None` after their faults were noted.
    fn books(&mut self, raw: &Raw, forgiving: bool) -> Option<Books> {
        let mut shelf = Shelf::shipped();
        if let Some(at) = &raw.policy {
            shelf.policy = policy_page(at.get_ref(), self.base)
                .map_err(|reason| self.fault(at, reason))
                .ok();
        }
        for (at, pages) in [
            (&raw.actions, &mut shelf.actions),
            (&raw.playbooks, &mut shelf.playbooks),
        ] {
            let Some(at) = at else { continue };
            let directory = self.read(at);
            if let Err(reason) = add_directory(pages, &directory) {
                self.fault(at, reason);
            }
        }
        let (names, books) = shelf.compile(forgiving);
        self.playbooks = names;
        books.map_err(|found| self.faults.extend(found)).ok()
    }

    fn settings(&mut self, raw: &Raw, books: Books) -> Settings {
        self.state = self.state(raw);
        let sip = self.sip(&raw.sip);
        let tls = self.tls(raw);
        let stir = raw.stir.as_ref().and_then(|stir| self.stir(stir));
        let trunks = self.trunks(&raw.trunk);
        let tests = raw.test.enabled.unwrap_or(false);
        Settings {
            file: self.file.to_owned(),
            tls,
            stir,
            drain: self.drain(&raw.daemon),
            media: Media {
                sensitivity: self.sensitivity(&raw.answer),
                ..self.media(&raw.media, &sip)
            },
            sip,
            socket: self.socket(raw.control.socket.as_ref()),
            engine: self.engine(raw.engine.socket.as_ref()),
            store: self.written(raw.store.path.as_ref(), "offhook.db"),
            recording: self.recording(&raw.recording),
            voice: self.voice(&raw.voice),
            upstream: raw.upstream.as_ref().and_then(|up| self.upstream(up)),
            sinks: self.sinks(raw, &books),
            outbound: self.outbound(&raw.outbound, &trunks),
            budget: self.budget(&raw.budget),
            inbound: raw.inbound.as_ref().and_then(|at| self.inbound(at)),
            routes: self.routes(&raw.route, raw.test.enabled != Some(false)),
            trunks,
            tests,
            log: self.log(&raw.log),
            policy: raw
                .policy
                .as_ref()
                .map_or_else(|| POLICY_DEFAULT.to_owned(), |name| name.get_ref().clone()),
            books,
            notes: std::mem::take(&mut self.notes),
        }
    }

    fn fault<T>(&mut self, at: &At<T>, reason: impl Into<String>) {
        self.faults.push(self.source.fault(at.span(), reason));
    }

    fn note<T>(&mut self, at: &At<T>, reason: impl Into<String>) {
        self.notes.push(self.source.fault(at.span(), reason));
    }

    /// The value that a text stands for, or a fault.
    fn parsed<T: FromStr<Err = String>>(&mut self, at: &At<String>) -> Option<T> {
        at.get_ref()
            .parse()
            .map_err(|reason: String| self.fault(at, reason))
            .ok()
    }

    fn address(&mut self, at: &At<String>) -> Option<IpAddr> {
        let text = at.get_ref();
        let address = text.parse().ok();
        if address.is_none() {
            let reason = format!("`{text}` is not an IP address: write it like \"192.0.2.10\"");
            self.fault(at, reason);
        }
        address
    }

    /// An address that others can send to.
    fn reachable(&mut self, at: &At<String>) -> Option<IpAddr> {
        let address = self.address(at)?;
        if address.is_unspecified() {
            self.fault(
                at,
                "nobody can send there: write the address that peers reach",
            );
            return None;
        }
        Some(address)
    }

    fn in_range<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        at: &At<T>,
        range: &RangeInclusive<T>,
        unit: &str,
    ) {
        if !range.contains(at.get_ref()) {
            let (low, high) = (range.start(), range.end());
            let reason = format!("must be from {low} to {high}{unit}, is {}", at.get_ref());
            self.fault(at, reason);
        }
    }

    fn sip(&mut self, raw: &RawSip) -> Sip {
        let mut listen: Vec<Listen> = Vec::new();
        match &raw.listen {
            None => listen.extend("udp:0.0.0.0:5060".parse::<Listen>()),
            Some(list) if list.get_ref().is_empty() && self.whole => {
                self.fault(
                    list,
                    "is empty: write at least one, like \"udp:0.0.0.0:5060\"",
                );
            }
            Some(list) => {
                for entry in list.get_ref() {
                    let Some(parsed) = self.listener(entry) else {
                        continue;
                    };
                    let same = |it: &Listen| it.to_string() == parsed.to_string();
                    if parsed.address.port() != 0 && listen.iter().any(same) {
                        self.fault(entry, format!("`{parsed}` is listed twice: remove one"));
                    }
                    listen.push(parsed);
                }
            }
        }
        let told = raw.advertise.as_ref().and_then(|at| self.reachable(at));
        for listen in &mut listen {
            // An address of the other family is reached directly.
            let default = told.filter(|it| it.is_ipv4() == listen.address.is_ipv4());
            listen.told = listen.told.or(default.map(Told::to_all));
        }
        let mut name_servers = Vec::new();
        for at in &raw.name_servers {
            match name_server(at.get_ref()) {
                Some(server) => name_servers.push(server),
                None => self.fault(
                    at,
                    format!(
                        "`{}` is not an IP address: write it like \"192.0.2.53\" or \"192.0.2.53:5353\"",
                        at.get_ref()
                    ),
                ),
            }
        }
        Sip {
            listen,
            name_servers,
        }
    }

    fn listener(&mut self, entry: &At<RawListen>) -> Option<Listen> {
        let raw = entry.get_ref();
        let listen: Result<Listen, String> = raw.at.parse();
        let listen = listen.map_err(|reason| self.fault(entry, reason)).ok()?;
        let Some(at) = &raw.advertise else {
            return Some(listen);
        };
        let address = self.reachable(at)?;
        if address.is_ipv4() != listen.address.is_ipv4() {
            self.fault(
                at,
                format!("`{address}` is of another family than the socket `{listen}`: write one of its own"),
            );
        }
        let told = Told {
            address,
            nearby: true,
        };
        Some(Listen {
            told: Some(told),
            ..listen
        })
    }

    /// Certificates, which a TLS listener cannot be without.
    fn tls(&mut self, raw: &Raw) -> Option<Tls> {
        let Some(at) = &raw.tls else {
            let entries = raw.sip.listen.iter().flat_map(|list| list.get_ref());
            let bare: Vec<_> = entries
                .filter(|entry| entry.get_ref().at.starts_with("tls:"))
                .collect();
            for entry in bare {
                let reason = "has no certificate: write [tls] with certificate = \"FILE\" and key = \"FILE\"";
                self.fault(entry, reason);
            }
            return None;
        };
        let raw = at.get_ref();
        let tls = Tls {
            certificate: self.read(&raw.certificate),
            key: self.read(&raw.key),
            authorities: raw.authorities.as_ref().map(|at| self.read(at)),
            require_client_certificate: raw.require_client_certificate,
        };
        let place = |fault: &tls::TlsFault| match fault {
            tls::TlsFault::Certificate(_) => &raw.certificate,
            tls::TlsFault::Key(_) => &raw.key,
            tls::TlsFault::Authorities(_) => raw.authorities.as_ref().unwrap_or(&raw.certificate),
        };
        if let Err(fault) = tls.server() {
            self.fault(place(&fault), fault.to_string());
        }
        Some(tls)
    }

    /// Who vouches for callers' signatures.
    fn stir(&mut self, raw: &RawStir) -> Option<Stir> {
        for at in raw.certificates.iter().map(|signer| &signer.url) {
            if !at.get_ref().starts_with("http") {
                let reason = format!(
                    "`{}` is no address of a certificate: write it as signatures name it, like \"https://cert.example.net/a.pem\"",
                    at.get_ref()
                );
                self.fault(at, reason);
            }
        }
        let signers: Vec<_> = raw
            .certificates
            .iter()
            .map(|signer| (signer.url.get_ref().clone(), self.read(&signer.file)))
            .collect();
        let authorities = self.read(&raw.authorities);
        Stir::load(&authorities, &signers)
            .map_err(|(place, reason)| {
                let at = place.and_then(|place| raw.certificates.get(place));
                self.fault(at.map_or(&raw.authorities, |signer| &signer.file), reason);
            })
            .ok()
    }

    fn sensitivity(&mut self, raw: &RawAnswer) -> Sensitivity {
        let Some(at) = &raw.sensitivity else {
            return Sensitivity::DEFAULT;
        };
        self.in_range(at, &(0..=6), "");
        let level = u8::try_from(*at.get_ref()).ok();
        level.and_then(Sensitivity::new).unwrap_or_default()
    }

    fn drain(&mut self, raw: &RawDaemon) -> Duration {
        let seconds = raw.drain_seconds.as_ref().map_or(DRAIN_SECONDS, |at| {
            self.in_range(at, &(0..=DRAIN_SECONDS_MAX), " seconds");
            *at.get_ref()
        });
        Duration::from_secs(seconds.into())
    }

    fn recording(&mut self, raw: &RawRecording) -> Option<Recording> {
        let reserve_mb = raw.reserve_mb.as_ref().map_or(RESERVE_MB, |at| {
            self.in_range(at, &(0..=RESERVE_MB_MAX), "");
            *at.get_ref()
        });
        let recording = Recording {
            directory: self.written(raw.directory.as_ref(), "recordings"),
            reserve: u64::from(reserve_mb) << 20,
        };
        raw.enabled.then_some(recording)
    }

    fn socket(&mut self, at: Option<&At<String>>) -> PathBuf {
        let path = match at {
            Some(at) => {
                let text = self.path_text(at);
                self.state.join(text)
            }
            None if self.is_installed() => PathBuf::from(INSTALLED_SOCKET),
            None => self.state.join("control.sock"),
        };
        self.short_enough(at, path)
    }

    fn engine(&mut self, at: Option<&At<String>>) -> Option<PathBuf> {
        let text = self.path_text(at?);
        let path = self.state.join(text);
        Some(self.short_enough(at, path))
    }

    /// The system takes no longer path of a socket.
    fn short_enough(&mut self, at: Option<&At<String>>, path: PathBuf) -> PathBuf {
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let reason = format!(
                "the socket's path has {length} bytes, {SOCKET_PATH_MAX} is the most: write a shorter one, e.g. \"{INSTALLED_SOCKET}\""
            );
            match at {
                Some(at) => self.fault(at, reason),
                None => self
                    .faults
                    .push(self.source.whole(format!("control.socket: {reason}"))),
            }
        }
        path
    }

    /// A path that is not empty.
    fn path_text(&mut self, at: &At<String>) -> String {
        let text = at.get_ref();
        if text.is_empty() || text.contains('\0') {
            self.fault(at, "is no path: write one, or leave the key out");
        }
        text.clone()
    }

    /// A path that is written to, relative to the state directory.
    fn written(&mut self, at: Option<&At<String>>, default: &str) -> PathBuf {
        match at {
            // Relative to the current directory when the state is: see the module.
            Some(at) => {
                let text = self.path_text(at);
                self.state.join(text)
            }
            None => self.state.join(default),
        }
    }

    /// A path that is read, relative to the config file.
    fn read(&mut self, at: &At<String>) -> PathBuf {
        let text = self.path_text(at);
        self.base.join(text)
    }

    fn voice(&mut self, raw: &RawVoice) -> Voice {
        let name = raw.voice.as_ref().map(|at| {
            let name = at.get_ref();
            if !VOICES.contains(&name.as_str()) {
                let reason = format!("unknown voice `{name}`, {}", one_of(name, VOICES));
                self.fault(at, reason);
            }
            name.clone()
        });
        let recordings = raw.recordings.as_ref().map(|at| {
            let path = self.read(at);
            if !path.is_dir() {
                let reason = format!("`{}` is not a directory", path.display());
                self.fault(at, format!("{reason}: make it, or leave the key out"));
            }
            path
        });
        Voice {
            name: name.unwrap_or_else(|| VOICES[0].to_owned()),
            cache: self.written(raw.cache.as_ref(), "voice"),
            recordings,
        }
    }

    fn routes(&mut self, raw: &[At<RawRoute>], tests: bool) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        for at in raw {
            let Some(route) = self.route(at) else {
                continue;
            };
            let mut shadows = routes
                .iter()
                .filter(|earlier| earlier.called.covers(&route.called));
            if let Some(earlier) = shadows.next() {
                let reason = format!(
                    "never reached: the route `{}` above takes all of it; move this one up, or remove one",
                    earlier.called
                );
                self.fault(&at.get_ref().called, reason);
            }
            match route.to {
                Destination::Test(_) if !tests => {
                    self.note(at, "not served: [test] enabled = false");
                }
                Destination::Test(_) | Destination::Playbook(_) => routes.push(route),
            }
        }
        routes
    }

    fn route(&mut self, at: &At<RawRoute>) -> Option<Route> {
        let raw = at.get_ref();
        let called = Pattern::parse(raw.called.get_ref())
            .map_err(|reason| self.fault(&raw.called, reason))
            .ok();
        let to = match (&raw.playbook, &raw.test) {
            (Some(playbook), None) => self.playbook(playbook).map(Destination::Playbook),
            (None, Some(test)) => self.test(test).map(Destination::Test),
            (None, None) => {
                if self.whole {
                    self.fault(
                        at,
                        "leads nowhere: write playbook = \"NAME\" or test = \"NAME\"",
                    );
                }
                None
            }
            (Some(_), Some(test)) => {
                self.fault(test, "leads to two places: keep playbook or test");
                None
            }
        };
        Some(Route {
            called: called?,
            to: to?,
            fallback: raw.fallback.as_ref().and_then(|at| self.parsed(at)),
        })
    }

    fn test(&mut self, at: &At<String>) -> Option<Test> {
        let name = at.get_ref();
        let test = Test::named(name);
        if test.is_none() {
            let names = Test::ALL.map(Test::name);
            self.fault(
                at,
                format!("unknown test `{name}`, {}", one_of(name, names)),
            );
        }
        test
    }

    fn playbook(&mut self, at: &At<String>) -> Option<String> {
        let name = at.get_ref();
        if !self.playbooks.contains(name) {
            let hint = one_of(name, self.playbooks.iter().map(String::as_str));
            self.fault(at, format!("no playbook `{name}`, {hint}"));
            return None;
        }
        Some(name.clone())
    }

    /// One number in E.164 a line; what follows a `#` is a remark.
    fn do_not_call(&mut self, path: &Path, at: &At<String>) -> BTreeSet<String> {
        read_barred(path).unwrap_or_else(|faults| {
            faults.into_iter().for_each(|reason| self.fault(at, reason));
            BTreeSet::new()
        })
    }

    fn outbound(&mut self, raw: &RawOutbound, trunks: &[Trunk]) -> Outbound {
        let callable: Vec<&str> = trunks
            .iter()
            .filter(|trunk| trunk.proxy.is_some())
            .map(|trunk| trunk.name.as_str())
            .collect();
        let trunk = match &raw.trunk {
            Some(at) => {
                let name = at.get_ref();
                if !callable.contains(&name.as_str()) && self.whole {
                    let hint = one_of(name, callable.iter().copied());
                    let reason = format!("no trunk `{name}` with a proxy, {hint}");
                    self.fault(at, reason);
                }
                Some(name.clone())
            }
            None if callable.len() == 1 => Some(callable[0].to_owned()),
            None => None,
        };
        let barred = raw.do_not_call.as_ref().map(|at| self.read(at));
        Outbound {
            playbook: raw.playbook.as_ref().and_then(|at| self.playbook(at)),
            trunk,
            do_not_call: match (&barred, &raw.do_not_call) {
                (Some(path), Some(at)) => self.do_not_call(path, at),
                _ => BTreeSet::new(),
            },
            barred,
            pace: self.pace(raw),
        }
    }

    fn pace(&mut self, raw: &RawOutbound) -> Pace {
        let mut number = |at: &Option<At<u32>>, default: u32, most: u32| {
            at.as_ref().map_or(default, |at| {
                self.in_range(at, &(1..=most), "");
                *at.get_ref()
            })
        };
        let (attempts, at_once, per_minute) = (
            number(&raw.attempts, 3, 100),
            number(&raw.at_once, 1, media::MAX_CALLS),
            number(&raw.per_minute, 10, 10_000),
        );
        let spacing = raw.spacing_minutes.as_ref().map_or(240, |at| {
            self.in_range(at, &(1..=60 * 24 * 30), " minutes");
            *at.get_ref()
        });
        Pace {
            attempts,
            spacing_ms: spacing.saturating_mul(60_000),
            at_once,
            per_minute,
            agents: raw.agents,
        }
    }

    fn budget(&mut self, raw: &RawBudget) -> Budget {
        let mut points = |at: &Option<At<i64>>| {
            at.as_ref().map(|at| {
                self.in_range(at, &(0..=POINTS_MAX), "");
                *at.get_ref()
            })
        };
        Budget {
            lead: points(&raw.lead),
            campaign: points(&raw.campaign),
            day: points(&raw.day),
            attempt: points(&raw.attempt).unwrap_or(0),
            minute: points(&raw.minute).unwrap_or(0),
            person: points(&raw.person).unwrap_or(0),
        }
    }

    fn inbound(&mut self, at: &At<RawInbound>) -> Option<Inbound> {
        let raw = at.get_ref();
        let text = raw.listen.get_ref();
        let listen: Option<SocketAddr> = text.parse().ok();
        match listen {
            None => {
                let reason = format!(
                    "`{text}` is not an address and a port: write it like \"127.0.0.1:8089\""
                );
                self.fault(&raw.listen, reason);
            }
            Some(listen) if !listen.ip().is_loopback() => {
                let reason = "is reached from other machines without encryption: better 127.0.0.1, behind a proxy that speaks TLS";
                self.note(&raw.listen, reason);
            }
            Some(_) => {}
        }
        let keys = [&raw.secret, &raw.secret_file, &raw.credential];
        let secret = self.secret_source(at, keys);
        Some(Inbound {
            listen: listen?,
            secret: secret?,
        })
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        let level = raw.level.as_ref().and_then(|at| {
            let word = at.get_ref();
            let level = Level::ALL.into_iter().find(|level| level.name() == word);
            if level.is_none() {
                let names = Level::ALL.map(Level::name);
                self.fault(
                    at,
                    format!("unknown level `{word}`, {}", one_of(word, names)),
                );
            }
            level
        });
        Log {
            level: level.unwrap_or(Level::Info),
            journal: raw.journal,
        }
    }
}

/// Calls that find ports in the range: RTP takes an even one, RTCP the next.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback())
}
