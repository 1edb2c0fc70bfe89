//! Events from other channels and systems: a local HTTP endpoint, off unless
//! the config names it.
//!
//! `POST /v1/events` takes one CloudEvents 1.0 JSON event, signed as Standard
//! Webhooks says. What is not signed, too old, or seen before changes nothing.
//! It hands over to the decision thread and decides nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::clock;
use crate::control::Failure;
use crate::settings::Secret;
use crate::tray::{Inbound, Tray};
use crate::upstream::signature;

/// Bytes of one event (Standard Webhooks advises below 20 kB).
const BODY_MAX: usize = 64 * 1024;
/// Connections at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Events looked at in a second; the others are told to come back.
const PER_SECOND: u32 = 500;
/// A request is sent within this time, or its connection is closed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Facts and offers of one event.
const ITEMS_MAX: usize = 64;
/// The longest that an offer may last: a day.
const LEASE_MAX_S: u64 = 86_400;

/// What can have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A message of ours arrived.
    MessageDelivered,
    /// The person wrote back.
    ReplyReceived,
    /// An appointment is gone.
    SlotTaken,
    /// Another system knows something new of the person.
    CrmChanged,
    /// What is to be had now; of nobody in particular.
    Offers,
    /// A person's answer about an action that waits for one; it is the subject.
    Approval,
}

impl Kind {
    /// The public name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageDelivered => "message_delivered",
            Self::ReplyReceived => "reply_received",
            Self::SlotTaken => "slot_taken",
            Self::CrmChanged => "crm_changed",
            Self::Offers => "offers",
            Self::Approval => "approval",
        }
    }
}

/// An event as it is sent; attributes that are not read are not minded
/// (CloudEvents 1.0 §3.1 allows extensions).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Envelope {
    specversion: String,
    id: String,
    #[serde(rename = "type")]
    kind: Kind,
    subject: Option<String>,
    #[serde(default)]
    data: Data,
}

/// What an event says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// What the person wrote.
    pub text: Option<String>,
    /// What is now known of them: `slot`, `preference.time`.
    pub facts: BTreeMap<String, String>,
    /// What is to be had, or no longer.
    pub offers: Vec<Offer>,
    /// Do it, or do not.
    pub approved: Option<bool>,
    /// Who says so.
    pub by: Option<String>,
}

/// Something on offer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// A fact (`agents_free`), or a field and its value (`slot.tuesday`).
    pub name: String,
    /// The fact's value; of anything else 1, or 0 when it is gone.
    pub value: i64,
    /// It lasts so long.
    pub seconds: u64,
}

/// A believed event on its way to the decision thread.
#[derive(Debug)]
pub struct Arrived {
    /// Its id.
    pub id: String,
    /// When its sender signed it, ms since 1970.
    pub at_ms: u64,
    /// What happened.
    pub kind: Kind,
    /// Of whom: a number or an external id.
    pub subject: Option<String>,
    /// What it says.
    pub data: Data,
    /// Told when it is durable.
    pub reply: oneshot::Sender<Result<Taken, Failure>>,
}

/// What became of an event.
#[derive(Debug)]
pub enum Taken {
    /// It was there before.
    Before,
    /// New; durable when the receiver says so.
    New(oneshot::Receiver<()>),
}

struct Desk {
    tray: Tray,
    secrets: Vec<Secret>,
    /// The second that counts, and what was looked at in it.
    pace: Mutex<(u64, u32)>,
}

/// Serves until the future is dropped.
///
/// # Errors
/// The address cannot be listened at.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the future is dropped.
pub async fn serve(listener: TcpListener, secrets: Vec<Secret>, tray: Tray) {
    let desk = Arc::new(Desk {
        tray,
        secrets,
        pace: Mutex::default(),
    });
    let routes = Router::new()
        .route("/v1/events", post(receive))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(desk);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(message = "inbound_accept_failed", %error);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(32 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // A sender that stalls is cut off; its event comes again.
            let _ = timeout(PATIENCE * 6, connection).await;
            drop(place);
        });
    }
}

/// An answer in words.
fn answer(status: StatusCode, reason: impl Into<String>) -> Response {
    (status, Json(Failure::new(reason))).into_response()
}

async fn receive(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let now_s = clock::wall().as_secs();
    if !desk.has_time(now_s) {
        let mut busy = answer(StatusCode::TOO_MANY_REQUESTS, "too many events: come back");
        busy.headers_mut().insert("retry-after", 1.into());
        return busy;
    }
    let (id, at_ms) = match believe(&desk.secrets, &headers, &body, now_s) {
        Ok(believed) => believed,
        Err(reason) => return answer(StatusCode::UNAUTHORIZED, reason),
    };
    let event = match read(&body, &id) {
        Ok(event) => event,
        Err(reason) => return answer(StatusCode::UNPROCESSABLE_ENTITY, reason),
    };
    let (reply, told) = oneshot::channel();
    let arrived = Arrived {
        id,
        at_ms,
        kind: event.kind,
        subject: event.subject,
        data: event.data,
        reply,
    };
    if desk
        .tray
        .offer(Inbound::Arrived(Box::new(arrived)))
        .is_err()
    {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "no time now: come back");
    }
    match timeout(PATIENCE, told).await {
        Ok(Ok(Ok(Taken::Before))) => (StatusCode::OK, Json(())).into_response(),
        Ok(Ok(Ok(Taken::New(durable)))) => match timeout(PATIENCE, durable).await {
            Ok(Ok(())) => StatusCode::ACCEPTED.into_response(),
            _ => answer(StatusCode::SERVICE_UNAVAILABLE, "it could not be kept"),
        },
        Ok(Ok(Err(failure))) => answer(StatusCode::UNPROCESSABLE_ENTITY, failure.error),
        _ => answer(StatusCode::SERVICE_UNAVAILABLE, "no time now: come back"),
    }
}

impl Desk {
    fn has_time(&self, now_s: u64) -> bool {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.0 != now_s {
            *pace = (now_s, 0);
        }
        pace.1 = pace.1.saturating_add(1);
        pace.1 <= PER_SECOND
    }
}

/// The id of a message and when it was signed, where the signature fits.
fn believe(
    secrets: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    now_s: u64,
) -> Result<(String, u64), String> {
    let header = |name: &'static str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or(signature::BadSignature::MissingHeader(name))
    };
    let read = || {
        let id = header(signature::ID)?;
        let timestamp = header(signature::TIMESTAMP)?;
        let signatures = header(signature::SIGNATURE)?;
        signature::verify(secrets, id, timestamp, signatures, body, now_s)?;
        let seconds: u64 = timestamp.parse().unwrap_or(now_s);
        Ok((id.to_owned(), seconds.saturating_mul(1000)))
    };
    read().map_err(|bad: signature::BadSignature| bad.to_string())
}

/// A believed body, understood.
fn read(body: &[u8], id: &str) -> Result<Envelope, String> {
    let event: Envelope = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if event.specversion != "1.0" {
        return Err("not a CloudEvents 1.0 event".to_owned());
    }
    if event.id != id {
        return Err("webhook-id and the event's id differ".to_owned());
    }
    if id.is_empty() || id.len() > 200 {
        return Err("the id must have 1 to 200 characters".to_owned());
    }
    let items = event.data.facts.len().max(event.data.offers.len());
    if items > ITEMS_MAX {
        return Err(format!("more than {ITEMS_MAX} facts or offers"));
    }
    let long = |offer: &&Offer| offer.seconds > LEASE_MAX_S || offer.name.len() > 200;
    if let Some(offer) = event.data.offers.iter().find(long) {
        return Err(format!(
            "offer `{}`: a name has 200 characters and a lease a day at most",
            offer.name.chars().take(40).collect::<String>()
        ));
    }
    let by = event.data.by.as_deref().unwrap_or("").trim();
    match (event.kind, &event.subject) {
        (Kind::Approval, Some(_)) if event.data.approved.is_none() || by.is_empty() => {
            Err("`approval` needs `approved` and `by`: what is decided, and who decides".to_owned())
        }
        (Kind::Offers, _) => Ok(event),
        (_, Some(subject)) if !subject.trim().is_empty() => Ok(event),
        (kind, _) => Err(format!(
            "`{}` needs a `subject`: whom it is about",
            kind.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playbook_can_wait_for_all_that_happens_to_a_person_and_for_nothing_else() {
        let of_person = [
            Kind::CrmChanged,
            Kind::MessageDelivered,
            Kind::ReplyReceived,
            Kind::SlotTaken,
        ];
        assert_eq!(of_person.map(Kind::name), offhook_core::input::HAPPENINGS);
    }

    #[test]
    fn an_event_is_read_or_refused_with_a_reason() {
        let event = |rest: &str| format!("{{\"specversion\":\"1.0\",\"id\":\"a\",{rest}}}");
        let good = event(
            "\"type\":\"reply_received\",\"subject\":\"+49301111111\",\"time\":\"x\",\"data\":{\"text\":\"yes\"}",
        );
        assert_eq!(
            read(good.as_bytes(), "a").unwrap().kind,
            Kind::ReplyReceived
        );
        let many = (0..70)
            .map(|n| format!("\"a{n}\":\"\""))
            .collect::<Vec<_>>()
            .join(",");
        for (text, id, needle) in [
            (good.clone(), "b", "differ"),
            (
                event("\"type\":\"reply_received\""),
                "a",
                "needs a `subject`",
            ),
            (
                event("\"type\":\"reply\",\"subject\":\"x\""),
                "a",
                "unknown variant `reply`",
            ),
            (
                event("\"type\":\"offers\",\"data\":{\"facts\":3}"),
                "a",
                "invalid type",
            ),
            (
                event("\"type\":\"offers\",\"data\":{\"x\":3}"),
                "a",
                "unknown field `x`",
            ),
            (
                event(
                    "\"type\":\"offers\",\"data\":{\"offers\":[{\"name\":\"x\",\"value\":1,\"seconds\":99999}]}",
                ),
                "a",
                "a lease a day at most",
            ),
            (
                event(&format!(
                    "\"type\":\"offers\",\"data\":{{\"facts\":{{{many}}}}}"
                )),
                "a",
                "more than 64",
            ),
            (
                event("\"type\":\"approval\",\"subject\":\"x-1\",\"data\":{\"approved\":true}"),
                "a",
                "needs `approved` and `by`",
            ),
            (good.replace("1.0", "0.3"), "a", "CloudEvents 1.0"),
            ("[".to_owned(), "a", "EOF"),
        ] {
            let reason = read(text.as_bytes(), id).unwrap_err();
            assert!(reason.contains(needle), "{text}: {reason}");
        }
    }

    #[test]
    fn what_is_not_signed_now_by_a_key_of_ours_is_not_believed() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = |id: &str, at: u64| {
            let mut headers = HeaderMap::new();
            let value = signature::sign(std::slice::from_ref(&secret), id, at, b"x");
            headers.insert(signature::ID, id.parse().unwrap());
            headers.insert(signature::TIMESTAMP, at.into());
            headers.insert(signature::SIGNATURE, value.parse().unwrap());
            headers
        };
        let secrets = [secret.clone()];
        let good = believe(&secrets, &signed("a", 1_000), b"x", 1_000);
        assert_eq!(good, Ok(("a".to_owned(), 1_000_000)));
        assert!(believe(&secrets, &signed("a", 1_000), b"y", 1_000).is_err());
        assert!(believe(&secrets, &signed("a", 1_000), b"x", 1_301).is_err());
        let missing = believe(&secrets, &HeaderMap::new(), b"x", 0).unwrap_err();
        assert!(missing.contains("webhook-id"), "{missing}");
    }
}
