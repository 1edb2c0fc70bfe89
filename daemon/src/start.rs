//! From settings to a running daemon, and down again.
//!
//! Sockets first, then the store (which finishes what a crash left behind),
//! then threads; READY=1 when a call could be taken. SIGTERM or SIGINT lets no
//! more calls in; those that there are have `drain_seconds` to end by themselves,
//! or until a second signal, and are then hung up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use offhook_config::Located;
use offhook_core::input::UpstreamAnswer;
use offhook_core::{LegId, Limit, Override, Standing};
use offhook_sip::{Advertise, Beside, Endpoint, EndpointConfig, Input, StoredDialog, Transport};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::bell::Bell;
use crate::campaigns::Campaigns;
use crate::clock;
use crate::control::{self, Request};
use crate::courier::Courier;
use crate::decision::Decision;
use crate::desk::Desk;
use crate::engine;
use crate::house::{Governing, House, Rules};
use crate::inbound;
use crate::leads::{Leads, wall_ms};
use crate::media::thread::SLOTS;
use crate::media::{self, Media};
use crate::prompts::Prompts;
use crate::settings::{Books, Fallback, Listen, Settings, Tls};
use crate::signalling::{Signalling, Sockets, StreamListener};
use crate::store::chain::Kind;
use crate::store::reader::Reader;
use crate::store::{self, Recovery, Store};
use crate::switchboard::Switchboard;
use crate::tray::{Inbound, Tray};
use crate::trunks::{self, Paths, Trunks};
use crate::upstream::{self, Forwarder};
use crate::vigil::Vigil;
use crate::voice::PromptBank;
use crate::watchdog::{self, Pulse, Watchdog};

/// What waits for the decision thread at most, but for media reports.
const INBOX: usize = 65_536;
/// Orders that wait for signalling at most; more wait on the decision thread.
const ORDERS: usize = 16_384;
/// Hosts that signalling asks for at a time; what more there is goes without.
const QUESTIONS: usize = 64;
/// Lines that an onlooker may be behind before it misses some.
const EVENTS: usize = 4_096;
/// How often a call may be sent elsewhere; more is a loop (RFC 3261 has no number).
const REDIRECTS: u8 = 3;
/// A stop waits this long for BYEs to be answered (64*T1 would be 32 s; systemd waits 90).
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// And as long for the deliveries under way and the last commit.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// Why the daemon did not start.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Says what could not be done.
fn failed<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> StartError {
    move |error| StartError(format!("{what}: {error}"))
}

/// Starts, runs until told to stop, and stops.
///
/// # Errors
/// What could not be opened or started, by name.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let runtime = Runtime::new().map_err(failed("tokio"))?;
    // Timers and tasks made below belong to it, but for those of signalling.
    let _inside = runtime.enter();
    let sip = Builder::new_current_thread().enable_all().build();
    let sip = sip.map_err(failed("tokio"))?;
    let (sockets, advertise) = sip.block_on(bind(&settings))?;
    let listeners = sockets.locals();
    let control = control::bind(&settings.socket).map_err(failed("control socket"))?;
    let engines = settings.engine.as_deref().map(engine::bind);
    let engines = engines.transpose().map_err(failed("engine socket"))?;

    let bell = Bell::new().map_err(failed("eventfd"))?;
    let (sender, inbox) = sync_channel(INBOX);
    let tray = Tray::new(sender, bell.clone());
    let (store, recovery) = open_store(&settings, tray.clone())?;
    let courier = courier(&settings, &runtime, &tray)?;
    let paths = Paths::new(listeners.clone(), advertise.clone());
    let house = Arc::new(furnish(settings, courier, paths)?);
    let reader = Reader::open(store.path()).map_err(failed("store"))?;
    let leads = Leads::load(&reader).map_err(failed("store"))?;
    let campaigns = load_campaigns(&reader).map_err(failed("store"))?;
    let events = listen_for_events(&runtime, &house, &tray)?;
    let media = Media::start(media_settings(&house.settings), bell.clone())
        .map_err(failed("media threads"))?;

    let (orders, order_queue) = mpsc::channel(ORDERS);
    let weak_orders = orders.downgrade();
    let pulses = vec![("decision", Pulse::default()), ("store", store.pulse())]
        .into_iter()
        .chain(media.pulses().into_iter().map(|pulse| ("media", pulse)))
        .collect::<Vec<_>>();
    let room = house.settings.media.max_calls;
    let mut board = Switchboard::new(media, orders, house.settings.media.told, room);
    clear_up(recovery, &mut board);

    // 256 bits that nobody can guess: tags and branches are made from them.
    let seed = media::system::random().map_err(failed("getrandom"))?;
    let mut endpoint = Endpoint::new(endpoint_config(&listeners, advertise), seed);
    for command in house.trunks.doors() {
        endpoint.handle(clock::now(), Input::Command(command));
    }
    let (questions, asked) = mpsc::channel(QUESTIONS);
    let (inbox_of_sip, house_of_sip) = (tray.clone(), Arc::clone(&house));
    let (gone, mut calls_over) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("sip".into())
        .spawn(move || {
            sip.block_on(async {
                let (inbox, house) = (inbox_of_sip, house_of_sip);
                let queues = (order_queue, questions);
                Signalling::new(endpoint, sockets, queues, inbox, house)
                    .run()
                    .await;
            });
            drop(gone);
        })
        .map_err(failed("sip thread"))?;
    let watched = Arc::clone(&house);
    let servers = house.settings.sip.name_servers.clone();
    runtime.spawn(trunks::say_hosts(
        servers.clone(),
        asked,
        weak_orders.clone(),
    ));
    runtime.spawn(async move {
        watched.trunks.watch(&servers, weak_orders).await;
    });
    let forwarder = start_forwarder(&house, &store, tray.clone())?;
    serve_control(
        &runtime,
        control,
        Desk::new(
            Arc::clone(&house),
            tray.clone(),
            store.clone(),
            listeners.clone(),
            forwarder.as_ref().map(Forwarder::watch),
        ),
    );

    if let Some(engines) = engines {
        runtime.spawn(engine::serve(engines, Arc::clone(&house), tray.clone()));
    }

    let pulse = pulses[0].1.clone();
    let mut decision = Decision::new(
        Arc::clone(&house),
        inbox,
        bell,
        board,
        store.clone(),
        (leads, campaigns),
        pulse,
    );
    let (standing, decreed, texts) = decreed_before(&reader).map_err(failed("store"))?;
    let vigil = Vigil::read_back(&reader).map_err(failed("store"))?;
    decision.take_up(standing, decreed, vigil, &texts);
    let decision = std::thread::Builder::new()
        .name("decision".into())
        .spawn(move || decision.run())
        .map_err(failed("decision thread"))?;

    if let Some(address) = events {
        tracing::info!(message = "events_taken", listening = %address);
    }
    let status = listeners
        .iter()
        .map(|(transport, at)| format!("{}:{at}", transport.parameter()))
        .collect::<Vec<_>>()
        .join(" ");
    tracing::info!(message = "ready", listening = status);
    watchdog::ready(&format!("listening on {status}"));
    let mut told = Told::new().map_err(failed("signals"))?;
    let mut watchdog = Watchdog::new(pulses);
    runtime.block_on(told.wait(&mut watchdog, &house, &tray));

    let drain = house.settings.drain;
    watchdog::stopping(
        &format!("no new calls, {} s for the others", drain.as_secs()),
        drain + STOP_DEADLINE + LAST_WORDS,
    );
    tracing::info!(message = "draining", seconds = drain.as_secs());
    tray.put(Inbound::Drain);
    let over = runtime.block_on(async {
        tokio::select! {
            // The decision thread drops its orders when the last call is gone.
            _ = &mut calls_over => true,
            () = told.wait(&mut watchdog, &house, &tray) => false,
            () = tokio::time::sleep(drain) => false,
        }
    });
    tracing::info!(message = "stopping");
    tray.put(Inbound::Stop);
    if !over {
        runtime.block_on(async {
            let _ = tokio::time::timeout(STOP_DEADLINE, calls_over).await;
        });
    }
    if let Some(forwarder) = forwarder {
        runtime.block_on(forwarder.stop());
    }
    store.close();
    // Already gone is as good.
    let _ = std::fs::remove_file(&house.settings.socket);
    if let Some(engine) = &house.settings.engine {
        let _ = std::fs::remove_file(engine);
    }
    if decision.is_finished() && decision.join().is_err() {
        return Err(StartError("the decision thread panicked".to_owned()));
    }
    Ok(())
}

/// Binds the SIP sockets; beside them what their peers are told.
async fn bind(settings: &Settings) -> Result<(Sockets, Vec<Advertise>), StartError> {
    let mut advertise = Vec::new();
    let client = Tls::client(settings.tls.as_ref()).map_err(failed("tls"))?;
    let mut sockets = Sockets {
        datagrams: Vec::new(),
        streams: Vec::new(),
        connector: TlsConnector::from(client),
    };
    for listen in &settings.sip.listen {
        if listen.transport == Transport::Udp {
            let socket = UdpSocket::bind(listen.address)
                .await
                .map_err(failed(listen))?;
            make_room(&socket);
            let bound = socket.local_addr().map_err(failed(listen))?;
            advertise.extend(advertised(listen, bound));
            sockets.datagrams.push((socket, bound));
        } else {
            let listener = TcpListener::bind(listen.address)
                .await
                .map_err(failed(listen))?;
            let bound = listener.local_addr().map_err(failed(listen))?;
            advertise.extend(advertised(listen, bound));
            let tls = settings.tls.as_ref().map(Tls::server).transpose();
            let tls = tls.map_err(failed(listen))?.map(TlsAcceptor::from);
            sockets.streams.push(StreamListener {
                listener,
                bound,
                acceptor: tls.filter(|_| listen.transport == Transport::Tls),
            });
        }
    }
    Ok((sockets, advertise))
}

/// What peers of a bound socket are told, where that is not its own address.
fn advertised(listen: &Listen, bound: SocketAddr) -> Option<Advertise> {
    let told = listen.told?;
    Some(Advertise {
        transport: listen.transport,
        local: bound,
        host_port: SocketAddr::new(told.address, bound.port()).to_string(),
        nearby: told.nearby,
    })
}

/// Room for a burst of calls while the task is busy: 4 MiB is about 4,000
/// INVITEs. More than `net.core.rmem_max` needs a privilege; without it the
/// system gives what it may.
fn make_room(socket: &UdpSocket) {
    let octets: libc::c_int = 4 << 20;
    for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
        // SAFETY: a live socket and a pointer to an int of the length given.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const octets).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
}

fn open_store(settings: &Settings, tray: Tray) -> Result<(Store, Recovery), StartError> {
    if let Some(directory) = settings.store.parent() {
        std::fs::create_dir_all(directory).map_err(failed(directory.display()))?;
    }
    let answer = move |answer| tray.put(Inbound::Stored(answer));
    let (store, recovery) = Store::open(&settings.store, &store::Options::default(), answer)
        .map_err(failed("store"))?;
    if let Some(salvage) = &recovery.salvage {
        tracing::error!(message = "store_salvaged", what = ?salvage);
    }
    Ok((store, recovery))
}

/// Who carries secrets, to whom the certificates of the config are trusted too.
fn courier(settings: &Settings, runtime: &Runtime, tray: &Tray) -> Result<Courier, StartError> {
    let runtime = runtime.handle().clone();
    let tls = settings.tls.as_ref();
    Courier::new(&settings.sinks, tls, runtime, tray.clone()).map_err(failed("sink"))
}

/// Renders the prompts and looks up the trunks.
fn furnish(mut settings: Settings, courier: Courier, paths: Paths) -> Result<House, StartError> {
    let voice = &settings.voice;
    let bank = PromptBank::new(voice.recordings.clone(), Some(voice.cache.clone()));
    let (prompts, broken) = furnish_prompts(&mut settings.books, &bank)?;
    let trunks = Trunks::new(&settings.trunks, paths);
    let (events, _) = broadcast::channel(EVENTS);
    let (governing, _) = watch::channel(Governing::at_start(&settings));
    Ok(House {
        governing,
        settings,
        prompts,
        trunks,
        sip: Arc::default(),
        courier,
        playout_over_bound: AtomicU64::new(0),
        rtp_foreign: AtomicU64::new(0),
        rtp_forged: AtomicU64::new(0),
        broken,
        engines: AtomicUsize::new(0),
        events,
    })
}

/// Prompts by playbook, and the playbooks that cannot be used, with the reason.
type Furnished = (BTreeMap<String, Arc<Prompts>>, BTreeMap<String, String>);

/// The prompts of all playbooks. One that cannot be spoken, or is wrong, is left out of
/// the books, and said loudly.
fn furnish_prompts(books: &mut Books, bank: &PromptBank) -> Result<Furnished, StartError> {
    let lines = |faults: &Vec<Located>| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        lines.join("; ")
    };
    let wrong = books.broken.iter();
    let mut broken: BTreeMap<String, String> = wrong
        .map(|(name, faults)| (name.clone(), lines(faults)))
        .collect();
    let mut prompts = BTreeMap::new();
    for (name, playbook) in &books.playbooks {
        match Prompts::of(playbook, bank) {
            Ok(made) => drop(prompts.insert(name.clone(), Arc::new(made))),
            Err(error) => drop(broken.insert(name.clone(), error.to_string())),
        }
    }
    for (playbook, reason) in &broken {
        tracing::error!(message = "playbook_broken", playbook, reason);
    }
    books.playbooks.retain(|name, _| !broken.contains_key(name));
    match broken.values().next() {
        Some(reason) if prompts.is_empty() => Err(StartError(reason.clone())),
        _ => Ok((prompts, broken)),
    }
}

/// The outbound lists; what was being called when the last process ended was cut off.
fn load_campaigns(reader: &Reader) -> rusqlite::Result<Campaigns> {
    let mut campaigns = Campaigns::default();
    reader.campaign_pages(|id, page| campaigns.apply(id, page))?;
    campaigns.interrupt(wall_ms(clock::wall()));
    Ok(campaigns)
}

/// The endpoint for events from other channels, where the config wants one.
fn listen_for_events(
    runtime: &Runtime,
    house: &House,
    tray: &Tray,
) -> Result<Option<SocketAddr>, StartError> {
    let Some(settings) = &house.settings.inbound else {
        return Ok(None);
    };
    let secret = settings.secret.secret().map_err(failed("inbound.secret"))?;
    let listener = runtime.block_on(inbound::bind(settings.listen));
    let listener = listener.map_err(failed(settings.listen))?;
    let address = listener.local_addr().map_err(failed(settings.listen))?;
    runtime.spawn(inbound::serve(listener, vec![secret], tray.clone()));
    Ok(Some(address))
}

fn media_settings(settings: &Settings) -> media::Settings {
    let (media, recording) = (&settings.media, settings.recording.as_ref());
    media::Settings {
        threads: media.threads,
        max_calls: media.max_calls + spare(settings),
        address: media.address,
        ports: media.ports.clone(),
        realtime: media.realtime,
        sensitivity: media.sensitivity,
        recordings: recording.map(|recording| recording.directory.clone()),
        reserve: recording.map_or(0, |recording| recording.reserve),
        cname: format!("offhook@{}", host_name()),
    }
}

/// Slots beyond the calls that there may be, for apologies, where a route wants them.
fn spare(settings: &Settings) -> usize {
    /// So many callers of a full box are told so at a time; the others are refused.
    const APOLOGIES: usize = 4;
    let wanted = settings
        .routes
        .iter()
        .any(|it| matches!(it.fallback, Some(Fallback::Message | Fallback::Person(_))));
    let most = settings.media.threads * SLOTS - settings.media.max_calls;
    if wanted { APOLOGIES.min(most) } else { 0 }
}

/// The box's own name, as upstream and RTCP see it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "offhook".to_owned()
    } else {
        name.to_owned()
    }
}

fn endpoint_config(
    listeners: &[(Transport, SocketAddr)],
    advertise: Vec<Advertise>,
) -> EndpointConfig {
    let of = |kind| listeners.iter().filter(move |(it, _)| *it == kind);
    let beside = |(_, datagrams): &(Transport, SocketAddr)| {
        let mut tcp = of(Transport::Tcp);
        let (_, stream) = tcp.find(|(_, tcp)| tcp.ip() == datagrams.ip())?;
        Some(Beside {
            datagrams: *datagrams,
            stream: *stream,
        })
    };
    EndpointConfig {
        advertise,
        streams: of(Transport::Udp).filter_map(beside).collect(),
        trace: true,
        redirects: REDIRECTS,
        accept_transfers: true,
        ..EndpointConfig::default()
    }
}

/// The peers of calls that the last process lost are told that they are over.
fn clear_up(recovery: Recovery, board: &mut Switchboard) {
    for id in &recovery.interrupted {
        tracing::warn!(message = "call_interrupted", CALL_ID = %id);
    }
    for dialog in recovery.dialogs {
        match StoredDialog::from_text(&dialog.text) {
            Ok(stored) => board.abandon((dialog.conversation, LegId(dialog.leg)), Box::new(stored)),
            Err(error) => {
                tracing::error!(message = "dialog_unreadable", CALL_ID = %dialog.conversation, %error);
            }
        }
    }
}

fn start_forwarder(
    house: &House,
    store: &Store,
    tray: Tray,
) -> Result<Option<Forwarder>, StartError> {
    let Some(settings) = &house.settings.upstream else {
        return Ok(None);
    };
    let secrets = vec![
        settings
            .secret
            .secret()
            .map_err(failed("upstream.secret"))?,
    ];
    let source = format!("/offhook/{}", host_name());
    let authorities = settings.authorities.as_deref();
    let tls = Tls::client_to(house.settings.tls.as_ref(), authorities);
    let tls = tls.map_err(failed("upstream.authorities"))?;
    let config = upstream::Config::new(&settings.url, secrets, tls, &source, settings.timeout);
    let answer = move |action, answer: UpstreamAnswer| tray.put(Inbound::Upstream(action, answer));
    Forwarder::start(config, store.clone(), answer)
        .map(Some)
        .map_err(failed("upstream"))
}

fn serve_control(runtime: &Runtime, socket: UnixListener, desk: Desk) {
    runtime.spawn(async move {
        if let Err(error) = control::serve(socket, Arc::new(desk)).await {
            tracing::error!(message = "control_failed", %error);
        }
    });
}

/// The signals that ask for the end, and the one that asks for another policy.
struct Told {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Told {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Feeds systemd's watchdog until a signal asks for the end.
    async fn wait(&mut self, watchdog: &mut Watchdog, house: &House, tray: &Tray) {
        let mut beat = tokio::time::interval(watchdog.interval());
        // The first tick is at once, when no thread can have turned yet.
        beat.tick().await;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(house, tray),
                _ = beat.tick() => {
                    if let Err(thread) = watchdog.check() {
                        tracing::error!(message = "thread_stuck", thread);
                    }
                }
            }
        }
    }
}

/// SIGHUP: the policy that the config names is read anew, and with it whom not to call
/// and the rules of time zones. One that does not pass its own cases changes nothing.
fn reload(house: &House, tray: &Tray) {
    let checked = house
        .settings
        .policy_page()
        .and_then(|page| house.check(page))
        .and_then(|checked| Ok((checked, Rules::read(&house.settings)?)));
    match checked {
        Ok((checked, rules)) => {
            let (reply, _) = oneshot::channel();
            let by = "SIGHUP".to_owned();
            let order = Request::Govern(Governing::later(checked), Box::new(rules), by, reply);
            tray.put(Inbound::Request(order));
        }
        Err(faults) => tracing::error!(message = "policy_refused", %faults),
    }
}

/// The last row of a decree, as far as it matters after a start.
#[derive(Default, serde::Deserialize)]
struct Last {
    limits: Vec<Limit>,
    overrides: Vec<Override>,
    until_ms: Vec<u64>,
}

/// What was decreed before the start and still holds, how many overrides there
/// were, and the hashes of the texts that are kept already.
fn decreed_before(reader: &Reader) -> rusqlite::Result<(Standing, u64, BTreeSet<String>)> {
    let rows = reader.told(Kind::Decree)?;
    let last: Option<Last> = rows.last().and_then(|row| serde_json::from_slice(row).ok());
    let Last {
        limits,
        overrides,
        until_ms,
    } = last.unwrap_or_default();
    let (now, wall) = (clock::now(), clock::wall());
    let lasting = overrides
        .into_iter()
        .zip(until_ms)
        .map(|(it, until_ms)| Override {
            until: now + Duration::from_millis(until_ms).saturating_sub(wall),
            ..it
        });
    let standing = Standing {
        limits,
        overrides: lasting.filter(|it| now < it.until).collect(),
    };
    let hash = |row: Vec<u8>| {
        let text: serde_json::Value = serde_json::from_slice(&row).ok()?;
        Some(text.get("hash")?.as_str()?.to_owned())
    };
    let texts = reader.told(Kind::Text)?.into_iter().filter_map(hash);
    Ok((standing, rows.len() as u64, texts.collect()))
}
