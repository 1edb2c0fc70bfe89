//! The server's side of the control socket.
//!
//! Runs on tokio; whatever touches the disk goes to a blocking thread. A client
//! that does not read is dropped when the event stream runs past it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path as InPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::body::Frame;
use offhook_core::ConversationId;
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::archive::Archive;
use super::archive::OUTCOME;
use super::words::{
    ApprovalRow, CallCounts, Decree, Decreed, Failure, Lane, Order, OutboxStatus, Placed,
    PolicyNow, PolicyText, StandingNow, Status, TimelineEntry, Told, Verdict,
};
use super::{Desk, Live, Request, sound};
use crate::clock;
use crate::house::{Governing, Rules};
use crate::settings::Page;
use crate::store::reader::FindError;

/// Owner and group may talk to the daemon.
const MODE: u32 = 0o660;
/// The decision thread answers within microseconds; this long means that it hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How soon a socket that was removed is missed.
const SOCKET_LOOK: Duration = Duration::from_secs(1);
/// Calls listed where the client does not say.
const LIMIT: u32 = 50;
/// Calls listed at most.
const LIMIT_MAX: u32 = 10_000;
/// Events that wait for a client that does not read, beside the stream's own.
const EVENTS_WAITING: usize = 64;
/// Bytes of a request's body; orders are short, a policy is the longest.
const BODY_MAX: usize = 256 * 1024;

/// Opens the socket: takes the place of one that a dead daemon left behind,
/// never of one that answers.
///
/// # Errors
/// Another daemon answers there, or the socket cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        let reason = format!("{}: another daemon answers there", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
    }
    let context =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(context)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(context)?;
        }
        Ok(_) => {
            let reason = format!("{}: there is something that is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(context(error)),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(context)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(context)?;
    Ok(listener)
}

/// Serves until the future is dropped; a socket that somebody removed is made again.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(mut listener: UnixListener, desk: Arc<dyn Desk>) -> io::Result<()> {
    let path = listener.local_addr()?.as_pathname().map(Path::to_owned);
    let path = path.ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        tokio::select! {
            done = axum::serve(listener, router(Arc::clone(&desk))) => return done,
            () = gone(&path) => {}
        }
        tracing::warn!(message = "control_socket_gone", path = %path.display());
        listener = loop {
            match bind(&path) {
                Ok(listener) => break listener,
                Err(error) => tracing::error!(message = "control_socket", %error),
            }
            sleep(SOCKET_LOOK).await;
        };
    }
}

/// Waits until the path names another file than now, or none.
async fn gone(path: &Path) {
    let named = || {
        std::fs::symlink_metadata(path)
            .map(|found| found.ino())
            .ok()
    };
    let ours = named();
    while ours.is_some() && named() == ours {
        sleep(SOCKET_LOOK).await;
    }
}

pub(super) type Shared = State<Arc<dyn Desk>>;

fn router(desk: Arc<dyn Desk>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/calls", get(calls).post(originate))
        .route("/v1/calls/{id}", get(call).delete(hang_up))
        .route("/v1/calls/{id}/explain", get(explain))
        .route("/v1/approvals", get(approvals))
        .route("/v1/approvals/{id}", post(approve))
        .route("/v1/decrees", get(standing).post(decree))
        .route("/v1/policy", post(activate))
        .route("/v1/calls/{id}/sound", get(listen))
        .route("/v1/calls/{id}/speech", post(speak))
        .route("/v1/events", get(events))
        .merge(super::people::routes())
        .merge(super::campaigns::routes())
        .fallback(async || Refused(StatusCode::NOT_FOUND, "no such path".into()))
        .method_not_allowed_fallback(async || {
            Refused(StatusCode::METHOD_NOT_ALLOWED, "not that way".into())
        })
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .with_state(desk)
}

/// An answer that is no.
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Failure::new(self.1))).into_response()
    }
}

impl From<FindError> for Refused {
    fn from(error: FindError) -> Self {
        let status = match error {
            FindError::None => StatusCode::NOT_FOUND,
            FindError::Ambiguous(_) => StatusCode::CONFLICT,
            FindError::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        let reason = format!("the store cannot be read: {error}");
        Self(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }
}

impl From<JsonRejection> for Refused {
    fn from(error: JsonRejection) -> Self {
        Self(error.status(), error.body_text())
    }
}

impl From<QueryRejection> for Refused {
    fn from(error: QueryRejection) -> Self {
        Self(error.status(), error.body_text())
    }
}

pub(super) type Answer<T> = Result<Json<T>, Refused>;

/// Asks the decision thread.
pub(super) async fn ask<T>(
    desk: &dyn Desk,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Refused> {
    let busy = |reason: &str| Refused(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    let (reply, answer) = oneshot::channel();
    desk.ask(request(reply))
        .map_err(|_| busy("the decision thread has no time: its queue is full"))?;
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(busy("the daemon is stopping")),
        Err(_) => Err(busy("the decision thread does not answer")),
    }
}

/// Reads the store on a thread that may wait.
async fn read<T: Send + 'static>(
    desk: &Arc<dyn Desk>,
    what: impl FnOnce(&Archive, &dyn Desk) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let desk = Arc::clone(desk);
    let task = tokio::task::spawn_blocking(move || {
        let archive = Archive::open(desk.store_path())?;
        what(&archive, desk.as_ref())
    });
    task.await.unwrap_or_else(|_| {
        let reason = "a defect of ours: reading the store panicked".to_owned();
        Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, reason))
    })
}

async fn status(State(desk): Shared) -> Answer<Status> {
    let live = ask(desk.as_ref(), Request::Live).await?;
    // The status must be had even when the store cannot be read.
    let outbox = read(&desk, |archive, _| Ok(archive.outbox()?)).await;
    let mut store = desk.store();
    let outbox = outbox.unwrap_or_else(|Refused(_, reason)| {
        store.failing.get_or_insert(reason);
        OutboxStatus::default()
    });
    let talking = live.calls.iter().filter(|call| call.talking).count();
    let count = |calls: usize| u64::try_from(calls).unwrap_or(u64::MAX);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: u64::try_from(clock::now().as_millis()).unwrap_or(u64::MAX),
        sip: desk.listeners(),
        trunks: desk.trunks(),
        calls: CallCounts {
            active: count(live.calls.len()),
            ringing: count(live.calls.len() - talking),
            talking: count(talking),
        },
        media: live.media,
        store,
        outbox,
        receivers: desk.receivers(),
        not_recording: live.not_recording,
        broken: live.broken,
        counters: live.counters,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<u32>,
}

async fn calls(
    State(desk): Shared,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<Vec<super::CallRow>> {
    let limit = query?.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let live = ask(desk.as_ref(), Request::Live).await?;
    let rows = read(&desk, move |archive, _| Ok(archive.rows(&live, limit)?));
    rows.await.map(Json)
}

async fn call(State(desk): Shared, InPath(id): InPath<String>) -> Answer<super::CallDetail> {
    let live: Live = ask(desk.as_ref(), Request::Live).await?;
    let detail = read(&desk, move |archive, desk| {
        let id = archive.reader().find(&id)?;
        let detail = archive.detail(id, &live, desk.recordings())?;
        detail.ok_or_else(|| FindError::None.into())
    });
    detail.await.map(Json)
}

async fn explain(State(desk): Shared, InPath(id): InPath<String>) -> Answer<super::Explanation> {
    let live: Live = ask(desk.as_ref(), Request::Live).await?;
    let explanation = read(&desk, move |archive, desk| {
        let id = archive.reader().find(&id)?;
        let explanation = archive.explanation(id, &live, |rule| desk.why(rule))?;
        explanation.ok_or_else(|| FindError::None.into())
    });
    explanation.await.map(Json)
}

async fn approvals(State(desk): Shared) -> Answer<Vec<ApprovalRow>> {
    let waiting = ask(desk.as_ref(), Request::Approvals).await?;
    let now = clock::now();
    let rows = waiting.into_iter().map(|it| ApprovalRow {
        action: it.action.to_string(),
        kind: it.kind,
        object: it.object,
        role: it.role,
        lead: it.lead,
        fields: it.fields.into_iter().collect(),
        left_ms: u64::try_from(it.until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX),
    });
    Ok(Json(rows.collect()))
}

async fn standing(State(desk): Shared) -> Answer<StandingNow> {
    ask(desk.as_ref(), Request::Standing).await.map(Json)
}

async fn decree(
    State(desk): Shared,
    decree: Result<Json<Decree>, JsonRejection>,
) -> Answer<Decreed> {
    let Json(decree) = decree?;
    let said = ask(desk.as_ref(), |reply| {
        Request::Decree(Box::new(decree), reply)
    })
    .await?;
    said.map(Json)
        .map_err(|failure| Refused(StatusCode::UNPROCESSABLE_ENTITY, failure.error))
}

/// A policy that does not pass changes nothing.
async fn activate(
    State(desk): Shared,
    text: Result<Json<PolicyText>, JsonRejection>,
) -> Answer<PolicyNow> {
    let Json(text) = text?;
    let wrong = |reason: String| Refused(StatusCode::UNPROCESSABLE_ENTITY, reason);
    let house = desk
        .house()
        .ok_or_else(|| wrong("there is no house".into()))?;
    let page = match &text.text {
        Some(content) => Page::given(&text.file, &text.file, content),
        None => house.settings.policy_page().map_err(wrong)?,
    };
    let checked = house.check(page).map_err(wrong)?;
    let before = house.policy();
    let changes = before.diff(&checked.policy);
    let (name, hash) = (
        checked.policy.name().to_owned(),
        checked.policy.hash().into(),
    );
    let governing = Governing::later(checked);
    let rules = Rules::read(&house.settings).map_err(wrong)?;
    let order = |reply| Request::Govern(governing, Box::new(rules), text.by, reply);
    let calls = ask(desk.as_ref(), order).await?;
    Ok(Json(PolicyNow {
        name,
        hash,
        calls,
        changes,
    }))
}

async fn approve(
    State(desk): Shared,
    InPath(id): InPath<String>,
    verdict: Result<Json<Verdict>, JsonRejection>,
) -> Answer<Placed> {
    let Json(verdict) = verdict?;
    let wrong = |reason: &str| Refused(StatusCode::UNPROCESSABLE_ENTITY, reason.to_owned());
    let action = id.parse().map_err(|_| wrong("that is no action's id"))?;
    if verdict.by.trim().is_empty() {
        return Err(wrong("`by` is empty: say who decides"));
    }
    let said = ask(desk.as_ref(), |reply| {
        Request::Approve(action, verdict, reply)
    });
    let answer = said.await?;
    answer.map_err(|failure| Refused(StatusCode::NOT_FOUND, failure.error))?;
    Ok(Json(Placed { id }))
}

async fn originate(
    State(desk): Shared,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<(StatusCode, Json<Placed>), Refused> {
    let Json(order) = order?;
    let placed = ask(desk.as_ref(), |reply| Request::Originate(order, reply)).await?;
    match placed {
        Ok(id) => Ok((StatusCode::CREATED, Json(Placed { id: id.to_string() }))),
        Err(failure) => Err(Refused(StatusCode::UNPROCESSABLE_ENTITY, failure.error)),
    }
}

async fn hang_up(State(desk): Shared, InPath(id): InPath<String>) -> Answer<Placed> {
    let id: ConversationId = read(&desk, move |archive, _| Ok(archive.reader().find(&id)?)).await?;
    let lived = ask(desk.as_ref(), |reply| Request::HangUp(id, reply)).await?;
    if !lived {
        let reason = format!("{id} is over already");
        return Err(Refused(StatusCode::NOT_FOUND, reason));
    }
    Ok(Json(Placed { id: id.to_string() }))
}

/// The caller of a live call from now on, as raw samples.
async fn listen(State(desk): Shared, InPath(id): InPath<String>) -> Result<Response, Refused> {
    let id: ConversationId = read(&desk, move |archive, _| Ok(archive.reader().find(&id)?)).await?;
    let hearing = ask(desk.as_ref(), |reply| Request::Listen(id, reply)).await?;
    let hearing = hearing.map_err(no_sound)?;
    let (sender, heard) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(sound::hear(hearing, sender));
    let kind = [(header::CONTENT_TYPE, "audio/l16;rate=8000;endian=little")];
    Ok((kind, Body::new(Lines(heard))).into_response())
}

/// Raw samples, said into a live call; answers when they have been.
async fn speak(State(desk): Shared, InPath(id): InPath<String>, body: Body) -> Answer<super::Said> {
    let id: ConversationId = read(&desk, move |archive, _| Ok(archive.reader().find(&id)?)).await?;
    let speech = ask(desk.as_ref(), |reply| Request::Speak(id, reply)).await?;
    Ok(Json(sound::speak(speech.map_err(no_sound)?, body).await))
}

fn no_sound(failure: Failure) -> Refused {
    Refused(StatusCode::CONFLICT, failure.error)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Of this call alone, until it is over.
    call: Option<String>,
}

/// The call that is meant, while it lives.
async fn live_call(desk: &Arc<dyn Desk>, text: String) -> Result<String, Refused> {
    let id = read(desk, move |archive, _| Ok(archive.reader().find(&text)?)).await?;
    let live = ask(desk.as_ref(), Request::Live).await?;
    if live.calls.iter().any(|call| call.id == id) {
        return Ok(id.to_string());
    }
    let reason = format!("{id} is over already: see `offhook call {id}`");
    Err(Refused(StatusCode::NOT_FOUND, reason))
}

/// One JSON object a line, from now on.
async fn events(
    State(desk): Shared,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let mut told = desk.events();
    let call = match query?.0.call {
        Some(text) => Some(live_call(&desk, text).await?),
        None => None,
    };
    let (sender, lines) = mpsc::channel(EVENTS_WAITING);
    tokio::spawn(async move {
        let mut over = false;
        while !over {
            let line = tokio::select! {
                next = told.recv() => match next {
                    Ok(told) if call.as_ref().is_some_and(|call| *call != told.call) => continue,
                    Ok(told) => {
                        over = call.is_some() && told.entry.event == OUTCOME;
                        line(&told)
                    }
                    Err(RecvError::Lagged(count)) => line(&lost(count)),
                    Err(RecvError::Closed) => return,
                },
                () = sender.closed() => return,
            };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::new(Lines(lines))).into_response())
}

fn line(told: &Told) -> Bytes {
    let mut text = serde_json::to_vec(told).expect("our events have string keys");
    text.push(b'\n');
    text.into()
}

/// What a client that reads too slowly is told instead of what it missed.
fn lost(count: u64) -> Told {
    Told {
        call: String::new(),
        entry: TimelineEntry {
            ms: 0,
            lane: Lane::Note,
            event: "events_lost".to_owned(),
            detail: format!("{count} events: read faster"),
            data: BTreeMap::from([("count".to_owned(), count.into())]),
        },
    }
}

/// A response body that ends when its sender does.
struct Lines(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::{Client, ClientError};
    use crate::control::words::{CallDetail, CallRow, MediaCounts, SipListener, StoreStatus};
    use crate::store::{Birth, Direction, Log, Options, Store, Write};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::broadcast;

    static DESKS: AtomicU32 = AtomicU32::new(0);

    /// A daemon with one live call.
    struct FakeDesk {
        folder: PathBuf,
        database: PathBuf,
        told: broadcast::Sender<Arc<Told>>,
        full: bool,
    }

    const CALL: ConversationId = ConversationId(0x1234_5678_9abc);

    impl FakeDesk {
        fn new(full: bool) -> Self {
            let number = DESKS.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir()
                .join(format!("offhook-control-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let database = folder.join("a.db");
            let (store, _) = Store::open(&database, &Options::default(), |_| {}).unwrap();
            store
                .write(Write::Born {
                    birth: Birth {
                        conversation: CALL,
                        direction: Direction::Inbound,
                        trunk: "t".into(),
                        caller: "200".into(),
                        called: "100".into(),
                        playbook: "booking".into(),
                        started_ms: 1,
                        born: Duration::ZERO,
                    },
                    entries: Log::default(),
                })
                .unwrap();
            store.close();
            Self {
                folder,
                database,
                told: broadcast::channel(2).0,
                full,
            }
        }
    }

    impl Drop for FakeDesk {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    impl Desk for FakeDesk {
        fn ask(&self, request: Request) -> Result<(), Request> {
            if self.full {
                return Err(request);
            }
            match request {
                Request::Live(reply) => {
                    let live = Live {
                        calls: vec![crate::control::LiveCall {
                            id: CALL,
                            talking: true,
                            stage: Some("greet".into()),
                            role: None,
                        }],
                        media: MediaCounts {
                            used: 1,
                            slots: 4,
                            threads: 1,
                        },
                        ..Live::default()
                    };
                    reply.send(live).unwrap();
                }
                Request::Originate(order, reply) if order.to == "no" => {
                    reply
                        .send(Err(Failure::new("refused: contact.frequency")))
                        .unwrap();
                }
                Request::Originate(_, reply) => reply.send(Ok(CALL)).unwrap(),
                Request::Standing(_) | Request::Decree(..) | Request::Govern(..) => {
                    unreachable!("no test asks for it")
                }
                Request::Approvals(reply) => reply.send(Vec::new()).unwrap(),
                Request::Approve(_, _, reply) => reply.send(Ok(())).unwrap(),
                Request::HangUp(id, reply) => reply.send(id == CALL).unwrap(),
                Request::Lead(_) | Request::Campaign(_) => return Err(request),
                Request::Listen(_, reply) => {
                    assert!(reply.send(Err(Failure::new("no sound"))).is_ok());
                }
                Request::Speak(_, reply) => {
                    assert!(reply.send(Err(Failure::new("no sound"))).is_ok());
                }
            }
            Ok(())
        }
        fn events(&self) -> broadcast::Receiver<Arc<Told>> {
            self.told.subscribe()
        }
        fn trunks(&self) -> Vec<crate::control::TrunkStatus> {
            Vec::new()
        }
        fn listeners(&self) -> Vec<SipListener> {
            vec![SipListener {
                transport: "udp".into(),
                address: "127.0.0.1:5060".into(),
                port: 5060,
                listen: "udp:127.0.0.1:5060".into(),
            }]
        }
        fn receivers(&self) -> Vec<crate::control::ReceiverStatus> {
            Vec::new()
        }
        fn store(&self) -> StoreStatus {
            StoreStatus::default()
        }
        fn store_path(&self) -> &Path {
            &self.database
        }
        fn why(&self, _rule: &str) -> Option<String> {
            None
        }
        fn house(&self) -> Option<&crate::house::House> {
            None
        }
        fn recordings(&self) -> Option<&Path> {
            None
        }
    }

    async fn served(full: bool) -> (Client, Arc<FakeDesk>) {
        let desk = Arc::new(FakeDesk::new(full));
        let socket = desk.folder.join("control.sock");
        let listener = bind(&socket).unwrap();
        tokio::spawn(serve(listener, desk.clone()));
        (Client::new(socket), desk)
    }

    fn status_of<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> u16 {
        match answer {
            Err(ClientError::Refused(status, _)) => status.as_u16(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_removed_is_made_again() {
        let (client, desk) = served(false).await;
        std::fs::remove_file(desk.folder.join("control.sock")).unwrap();
        for _ in 0..200 {
            if client.get::<Status>("/v1/status").await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("no socket");
    }

    #[tokio::test]
    async fn events_of_a_call_that_is_not_there_are_refused() {
        let (client, desk) = served(false).await;
        let answer = client.lines("/v1/events?call=nosuch", |_| true).await;
        assert_eq!(status_of(answer), 404);
        let sound = client.download("/v1/calls/last/sound", |_| true).await;
        assert_eq!(status_of(sound), 409);
        let path = format!("/v1/events?call={CALL}");
        let told = |call: &str, event: &str| {
            let entry = TimelineEntry {
                ms: 0,
                lane: Lane::Note,
                event: event.to_owned(),
                detail: String::new(),
                data: BTreeMap::new(),
            };
            Arc::new(Told {
                call: call.to_owned(),
                entry,
            })
        };
        let mut seen = Vec::new();
        let reading = client.lines(&path, |line| {
            seen.push(serde_json::from_str::<Told>(line).unwrap().entry.event);
            true
        });
        let telling = async {
            while desk.told.receiver_count() == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            desk.told.send(told("another", "outcome")).unwrap();
            desk.told.send(told(&CALL.to_string(), "outcome")).unwrap();
        };
        let (read, ()) = tokio::join!(reading, telling);
        read.unwrap();
        assert_eq!(seen, ["outcome"], "of this call, to its end");
    }

    #[tokio::test]
    async fn what_lives_and_what_is_kept_is_shown() {
        let (client, _desk) = served(false).await;
        let status: Status = client.get("/v1/status").await.unwrap();
        assert_eq!(status.calls.talking, 1);
        assert_eq!(status.sip[0].port, 5060);
        assert_eq!(status.store.failing, None);
        let rows: Vec<CallRow> = client.get("/v1/calls?limit=5").await.unwrap();
        assert_eq!(rows[0].id, CALL.to_string());
        assert_eq!(rows[0].stage.as_deref(), Some("greet"));
        let end = &rows[0].id[8..];
        for id in ["last", end, rows[0].id.as_str()] {
            let path = format!("/v1/calls/{id}");
            let detail: CallDetail = client.get(&path).await.unwrap();
            assert_eq!(detail.call.called, "100");
        }
    }

    #[tokio::test]
    async fn orders_are_passed_on_and_refusals_are_given_back() {
        let (client, _desk) = served(false).await;
        let order = |to: &str| Order {
            to: to.into(),
            ..Order::default()
        };
        let placed: Placed = client.post("/v1/calls", &order("200")).await.unwrap();
        assert_eq!(placed.id, CALL.to_string());
        let refused = client.post::<Placed>("/v1/calls", &order("no")).await;
        assert!(
            refused
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("contact.frequency")
        );
        assert_eq!(status_of(refused), 422);
        let path = format!("/v1/calls/{CALL}");
        let _: Placed = client.delete(&path).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_there_or_not_understood_is_refused_by_status() {
        let (client, _desk) = served(false).await;
        let rows = [
            ("/v1/calls/zzzz", 404),
            ("/v2/status", 404),
            ("/v1/calls?limit=many", 400),
            ("/v1/calls?lmit=1", 400),
        ];
        for (path, status) in rows {
            let answer = client.get::<serde_json::Value>(path).await;
            assert_eq!(status_of(answer), status, "{path}");
        }
        let nonsense = serde_json::json!({ "to": "1", "playbok": "x" });
        let answer = client.post::<Placed>("/v1/calls", &nonsense).await;
        assert_eq!(status_of(answer), 422);
    }

    #[tokio::test]
    async fn a_decision_thread_without_time_is_an_answer_too() {
        let (client, _desk) = served(true).await;
        let answer = client.get::<Status>("/v1/status").await;
        assert_eq!(status_of(answer), 503);
    }

    #[tokio::test]
    async fn events_come_one_a_line() {
        let (client, desk) = served(false).await;
        let told = desk.told.clone();
        tokio::spawn(async move {
            while told.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
            told.send(Arc::new(lost(7))).unwrap();
        });
        let mut seen = Vec::new();
        let reading = client.lines("/v1/events", |line| {
            seen.push(serde_json::from_str::<Told>(line).unwrap());
            false
        });
        reading.await.unwrap();
        assert_eq!(seen[0].entry.event, "events_lost");
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let desk = FakeDesk::new(false);
        let socket = desk.folder.join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let listener = bind(&socket).unwrap();
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let error = bind(&socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
    }
}
