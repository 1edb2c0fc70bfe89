//! `offhook sink`: a small webhook receiver for demos, tests and field techs.
//!
//! It checks the signature, tells first arrivals from repeats, by id and by
//! dedupe key, prints each, and fails on demand. It never speaks to the daemon.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::clock;
use crate::settings::Secret;
use crate::upstream::signature::{self, BadSignature};

/// Ids and dedupe keys remembered; beyond it the oldest are forgotten.
const REMEMBERED: usize = 1_000_000;

/// Receives webhooks, verifies them and prints them.
#[derive(Clone, Debug, clap::Args)]
pub struct SinkArgs {
    /// Address to listen on; port 0 takes a free one, printed on the first line
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Signing key, `whsec_…`; again for a second one
    #[arg(long, required = true)]
    pub secret: Vec<String>,
    /// Answer the first N deliveries with the status below
    #[arg(long, default_value_t = 0)]
    pub fail: u32,
    /// Answer this share of deliveries (0 to 1) with the status below
    #[arg(long, default_value_t = 0.0)]
    pub fail_rate: f64,
    /// Status of failures
    #[arg(long, default_value_t = 503)]
    pub status: u16,
    /// Refuse deliveries of this action for good (422); again for a second one
    #[arg(long)]
    pub refuse: Vec<String>,
    /// Seconds for Retry-After in failures
    #[arg(long)]
    pub retry_after: Option<u64>,
    /// Milliseconds before each answer
    #[arg(long, default_value_t = 0)]
    pub delay: u64,
    /// Append each arrival to this file as a line of JSON
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// How deliveries are made to fail; `POST /control` changes it at run time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mood {
    /// This many more deliveries fail.
    pub fail: u32,
    /// And this share of the others, 0 to 1.
    pub fail_rate: f64,
    /// With this status.
    pub status: u16,
    /// Actions that are refused for good.
    pub refuse: Vec<String>,
    /// And this Retry-After in seconds.
    pub retry_after: Option<u64>,
    /// Milliseconds before each answer.
    pub delay: u64,
}

impl Default for Mood {
    fn default() -> Self {
        Self {
            fail: 0,
            fail_rate: 0.0,
            status: 503,
            refuse: Vec::new(),
            retry_after: None,
            delay: 0,
        }
    }
}

/// What came in so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Deliveries, the failed ones too.
    pub arrived: u64,
    /// Accepted for the first time.
    pub first: u64,
    /// Accepted again under the same id.
    pub duplicates: u64,
    /// New ids whose dedupe key was there already: one effect under two ids.
    pub dedupe_repeats: u64,
    /// Not believed.
    pub unverified: u64,
    /// Made to fail.
    pub failed: u64,
}

/// One delivery, as printed and as written to `--out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// Wall time, ms since 1970.
    pub t_ms: u64,
    /// webhook-id.
    pub id: String,
    /// CloudEvents type.
    #[serde(rename = "type")]
    pub kind: String,
    /// CloudEvents subject: the lead.
    pub subject: String,
    /// CloudEvents sequence.
    pub sequence: String,
    /// Hash of the sender's audit chain at this row, in hex: `offhook audit verify --head
    /// SEQUENCE:HASH` tells whether the history before it is still whole.
    pub chainhash: String,
    /// Dedupe key of an action.
    pub dedupe: String,
    /// The signature fits.
    pub verified: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Not seen before under this id.
    pub first: bool,
    /// The status that was answered.
    pub status: u16,
    /// CloudEvents data.
    pub data: serde_json::Value,
}

/// The parts of an event that are looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Seen {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    sequence: String,
    chainhash: String,
    data: serde_json::Value,
}

/// Remembers a bounded number of keys.
#[derive(Debug, Default)]
struct Memory {
    keys: HashSet<String>,
    order: VecDeque<String>,
}

impl Memory {
    fn knows(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    fn learn(&mut self, key: &str) {
        if !self.keys.insert(key.into()) {
            return;
        }
        self.order.push_back(key.into());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}

#[derive(Debug)]
struct Inner {
    secrets: Vec<Secret>,
    mood: Mood,
    tally: Tally,
    ids: Memory,
    dedupes: Memory,
    arrivals: Option<Vec<Arrival>>,
    out: Option<File>,
    print: Option<Print>,
}

#[derive(Clone, Copy, Debug)]
enum Print {
    Text,
    Json,
}

/// A running receiver.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Mutex<Inner>>);

impl Sink {
    /// One that prints nothing and keeps its arrivals in memory, for tests.
    pub fn quiet(secrets: Vec<Secret>, mood: Mood) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            secrets,
            mood,
            tally: Tally::default(),
            ids: Memory::default(),
            dedupes: Memory::default(),
            arrivals: Some(Vec::new()),
            out: None,
            print: None,
        })))
    }

    fn from_args(args: &SinkArgs, json: bool) -> Result<Self, String> {
        let secrets = args
            .secret
            .iter()
            .map(|text| Secret::parse(text).map_err(|reason| format!("--secret {reason}")))
            .collect::<Result<_, _>>()?;
        StatusCode::from_u16(args.status).map_err(|error| format!("--status: {error}"))?;
        let mood = Mood {
            fail: args.fail,
            fail_rate: args.fail_rate,
            status: args.status,
            refuse: args.refuse.clone(),
            retry_after: args.retry_after,
            delay: args.delay,
        };
        let sink = Self::quiet(secrets, mood);
        let mut inner = sink.lock();
        inner.arrivals = None;
        inner.print = Some(if json { Print::Json } else { Print::Text });
        inner.out = match &args.out {
            None => None,
            Some(path) => Some(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .map_err(|error| format!("{}: {error}", path.display()))?,
            ),
        };
        drop(inner);
        Ok(sink)
    }

    /// Serves until the task is dropped.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let routes = Router::new()
            .route("/control", get(tally).post(control))
            .fallback(post(receive))
            .with_state(self);
        axum::serve(listener, routes).await
    }

    /// What came in so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// Every delivery so far, where they are kept.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone().unwrap_or_default()
    }

    /// Changes how deliveries fail.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn tally(State(sink): State<Sink>) -> Json<Tally> {
    Json(sink.tally())
}

async fn control(State(sink): State<Sink>, Json(mood): Json<Mood>) -> Response {
    if StatusCode::from_u16(mood.status).is_err() {
        return (StatusCode::BAD_REQUEST, "status is none").into_response();
    }
    sink.set_mood(mood);
    Json(sink.tally()).into_response()
}

async fn receive(State(sink): State<Sink>, headers: HeaderMap, body: Bytes) -> Response {
    let delay = sink.lock().mood.delay;
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let mut inner = sink.lock();
    let (arrival, retry_after) = inner.judge(&headers, &body);
    inner.report(&arrival);
    let status = StatusCode::from_u16(arrival.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = (status, arrival.reason.unwrap_or_default()).into_response();
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

impl Inner {
    /// What is to be thought of a delivery, and when it should come again.
    fn judge(&mut self, headers: &HeaderMap, body: &[u8]) -> (Arrival, Option<u64>) {
        self.tally.arrived += 1;
        let now = clock::wall();
        let seen: Seen = serde_json::from_slice(body).unwrap_or_default();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let id = text(signature::ID).unwrap_or_default().to_owned();
        let believed = self.believe(headers, body, &seen, now.as_secs());
        let mut arrival = Arrival {
            t_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            first: !self.ids.knows(&id),
            id,
            kind: seen.kind,
            subject: seen.subject,
            sequence: seen.sequence,
            chainhash: seen.chainhash,
            dedupe: seen.data["dedupe"].as_str().unwrap_or_default().into(),
            verified: believed.is_ok(),
            reason: believed.err(),
            status: 204,
            data: seen.data,
        };
        if !arrival.verified {
            self.tally.unverified += 1;
            arrival.status = 401;
        } else if self.refuses(&arrival.kind) {
            self.tally.failed += 1;
            // Unprocessable Content (RFC 9110 §15.5.21).
            arrival.status = 422;
        } else if self.is_to_fail() {
            self.tally.failed += 1;
            arrival.status = self.mood.status;
            return (arrival, self.mood.retry_after);
        } else {
            self.accept(&arrival);
        }
        (arrival, None)
    }

    fn believe(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        seen: &Seen,
        now_s: u64,
    ) -> Result<(), String> {
        let text = |name| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| BadSignature::MissingHeader(name).to_string())
        };
        let id = text(signature::ID)?;
        signature::verify(
            &self.secrets,
            id,
            text(signature::TIMESTAMP)?,
            text(signature::SIGNATURE)?,
            body,
            now_s,
        )
        .map_err(|bad| bad.to_string())?;
        if seen.id != id {
            return Err("the event's id is not the webhook-id".into());
        }
        Ok(())
    }

    fn refuses(&self, kind: &str) -> bool {
        let mut refused = self.mood.refuse.iter();
        refused.any(|action| {
            kind.strip_suffix(action)
                .is_some_and(|it| it.ends_with('.'))
        })
    }

    fn is_to_fail(&mut self) -> bool {
        if self.mood.fail > 0 {
            self.mood.fail -= 1;
            return true;
        }
        // A low-discrepancy sequence: any run of deliveries fails at the rate asked for.
        const GOLDEN: f64 = 0.618_033_988_749_895;
        #[expect(clippy::cast_precision_loss, reason = "a count, for a fraction")]
        let place = (self.tally.arrived as f64 * GOLDEN).fract();
        place < self.mood.fail_rate
    }

    fn accept(&mut self, arrival: &Arrival) {
        if !arrival.first {
            self.tally.duplicates += 1;
            return;
        }
        self.tally.first += 1;
        self.ids.learn(&arrival.id);
        if arrival.dedupe.is_empty() {
            return;
        }
        if self.dedupes.knows(&arrival.dedupe) {
            self.tally.dedupe_repeats += 1;
        }
        self.dedupes.learn(&arrival.dedupe);
    }

    fn report(&mut self, arrival: &Arrival) {
        if let Some(arrivals) = &mut self.arrivals
            && arrivals.len() < REMEMBERED
        {
            arrivals.push(arrival.clone());
        }
        let line = serde_json::to_string(arrival).expect("text and numbers have a JSON form");
        if let Some(out) = &mut self.out
            && let Err(error) = writeln!(out, "{line}")
        {
            eprintln!("offhook sink: --out: {error}");
        }
        match self.print {
            None => {}
            Some(Print::Json) => say(&line),
            Some(Print::Text) => say(&in_words(arrival)),
        }
    }
}

fn in_words(arrival: &Arrival) -> String {
    let what = match (&arrival.reason, arrival.status, arrival.first) {
        (Some(reason), _, _) => format!("refused: {reason}"),
        (None, 204, true) => "first".into(),
        (None, 204, false) => "duplicate".into(),
        (None, status, _) => format!("failed with {status}"),
    };
    let verified = if arrival.verified {
        "verified"
    } else {
        "UNVERIFIED"
    };
    let Arrival {
        kind, id, subject, ..
    } = arrival;
    format!("{verified:<10} {what:<16} {kind:<26} {id:<24} {subject}")
}

/// A line on stdout, at once; whoever reads it may be gone.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

/// Runs until interrupted. Exit code 0; 1 when something was not believed; 2
/// when it could not start. `json`: JSON lines instead of text.
pub fn run(args: &SinkArgs, json: bool) -> ExitCode {
    let outcome = Sink::from_args(args, json).and_then(|sink| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(listen(args, json, sink)))
            .map_err(|error| format!("{}: {error}", args.listen))
    });
    match outcome {
        Ok(tally) if tally.unverified > 0 => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("offhook sink: {reason}");
            ExitCode::from(2)
        }
    }
}

async fn listen(args: &SinkArgs, json: bool, sink: Sink) -> io::Result<Tally> {
    use tokio::signal::unix::{SignalKind, signal};
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    if json {
        say(&format!(r#"{{"listening":"http://{address}"}}"#));
    } else {
        say(&format!("listening on http://{address}"));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = sink.clone().serve(listener) => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    let tally = sink.tally();
    say(&serde_json::to_string(&tally).expect("numbers have a JSON form"));
    Ok(tally)
}
