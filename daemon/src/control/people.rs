//! The control socket's words about leads, both ways, and its routes.

use std::path::Path;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path as InPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use offhook_core::LeadId;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::server::{Answer, PATIENCE, Refused, Shared, ask};
use super::{Desk, Failure, Request};
use crate::leads::{Imported, LeadView, Record, Rejected};
use crate::store::Forgotten;

/// Bytes of one order to import.
const IMPORT_MAX: usize = 4 << 20;
/// Records in one order.
pub const IMPORT_ROWS: usize = 500;

/// What is asked of the decision thread about leads.
#[derive(Debug)]
pub enum LeadRequest {
    /// Take records in; the receiver tells when they are durable.
    Import(
        ImportOrder,
        oneshot::Sender<Result<(ImportReport, oneshot::Receiver<()>), Failure>>,
    ),
    /// All that is known of a lead.
    Show(String, oneshot::Sender<Result<LeadView, Failure>>),
    /// Two leads are one person.
    Merge(MergeOrder, oneshot::Sender<Result<LeadView, Failure>>),
    /// Delete all that is known of a person: which lead, which calls, and what came of it.
    Forget(String, oneshot::Sender<Result<Forgetting, Failure>>),
    /// The store has deleted it.
    Forgotten(LeadId),
}

/// A wish to forget, on its way.
pub type Forgetting = (LeadId, Vec<String>, oneshot::Receiver<Forgotten>);

/// `POST /v1/leads`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportOrder {
    /// Numbers are written as in this country (ISO 3166-1).
    #[serde(default)]
    pub country: Option<String>,
    /// Numbers are written as this trunk has them; the outbound one when absent.
    #[serde(default)]
    pub trunk: Option<String>,
    /// At most [`IMPORT_ROWS`].
    pub rows: Vec<Record>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Leads that were not known.
    pub new: u64,
    /// Leads of which something new is known.
    pub changed: u64,
    /// Leads of which nothing new is known.
    pub unchanged: u64,
    /// Leads that turned out to be the same person as another.
    pub merged: u64,
    /// Records that were not taken.
    pub rejected: Vec<Rejected>,
}

impl ImportReport {
    /// Counts one record.
    pub fn count(&mut self, imported: Imported) {
        match imported {
            Imported::New => self.new += 1,
            Imported::Changed => self.changed += 1,
            Imported::Unchanged => self.unchanged += 1,
            Imported::Merged => self.merged += 1,
        }
    }

    /// Adds another report.
    pub fn add(&mut self, other: Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.merged += other.merged;
        self.rejected.extend(other.rejected);
    }
}

/// `POST /v1/leads/merge`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeOrder {
    /// This lead,
    pub from: String,
    /// becomes part of that one.
    pub into: String,
}

/// What `DELETE /v1/leads/{id}` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The lead that was forgotten.
    pub lead: String,
    /// Conversations that cannot be replayed any more.
    pub conversations: Vec<String>,
    /// Recordings that were deleted.
    pub recordings: u64,
}

pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new()
        .route(
            "/v1/leads",
            post(import).layer(DefaultBodyLimit::max(IMPORT_MAX)),
        )
        .route("/v1/leads/merge", post(merge))
        .route("/v1/leads/{id}", get(show).delete(forget))
}

fn no(failure: Failure) -> Refused {
    Refused(StatusCode::UNPROCESSABLE_ENTITY, failure.error)
}

async fn import(
    State(desk): Shared,
    order: Result<Json<ImportOrder>, JsonRejection>,
) -> Answer<ImportReport> {
    let Json(order) = order?;
    if order.rows.len() > IMPORT_ROWS {
        let reason = format!("more than {IMPORT_ROWS} rows at once");
        return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    let asked = ask(desk.as_ref(), |reply| {
        Request::Lead(LeadRequest::Import(order, reply))
    });
    let (report, durable) = asked.await?.map_err(no)?;
    match timeout(PATIENCE, durable).await {
        Ok(Ok(())) => Ok(Json(report)),
        _ => Err(not_kept()),
    }
}

fn not_kept() -> Refused {
    let reason = "the store does not take it now: see `offhook status`, and import again";
    Refused(StatusCode::SERVICE_UNAVAILABLE, reason.to_owned())
}

async fn show(State(desk): Shared, InPath(id): InPath<String>) -> Answer<LeadView> {
    let asked = ask(desk.as_ref(), |reply| {
        Request::Lead(LeadRequest::Show(id, reply))
    });
    let nobody = |failure: Failure| Refused(StatusCode::NOT_FOUND, failure.error);
    asked.await?.map(Json).map_err(nobody)
}

async fn merge(
    State(desk): Shared,
    order: Result<Json<MergeOrder>, JsonRejection>,
) -> Answer<LeadView> {
    let Json(order) = order?;
    let asked = ask(desk.as_ref(), |reply| {
        Request::Lead(LeadRequest::Merge(order, reply))
    });
    asked.await?.map(Json).map_err(no)
}

async fn forget(State(desk): Shared, InPath(id): InPath<String>) -> Answer<Erased> {
    let asked = ask(desk.as_ref(), |reply| {
        Request::Lead(LeadRequest::Forget(id, reply))
    });
    let (lead, conversations, told) = asked.await?.map_err(no)?;
    match timeout(PATIENCE, told).await {
        Ok(Ok(Forgotten::Done)) => {}
        Ok(Ok(Forgotten::Open(count))) => {
            let reason = format!(
                "{count} of its actions or calls are still under way: deliver or end them first (`offhook status`)"
            );
            return Err(Refused(StatusCode::CONFLICT, reason));
        }
        _ => return Err(not_kept()),
    }
    let gone = Request::Lead(LeadRequest::Forgotten(lead));
    // A full queue: the lead is off the disk and goes from memory with the next start.
    if desk.ask(gone).is_err() {
        tracing::warn!(message = "forgotten_lead_lingers", lead = %lead);
    }
    let recordings = delete_recordings(&conversations, desk.recordings());
    Ok(Json(Erased {
        lead: lead.to_string(),
        conversations,
        recordings,
    }))
}

fn delete_recordings(conversations: &[String], directory: Option<&Path>) -> u64 {
    let Some(directory) = directory else { return 0 };
    let files = conversations
        .iter()
        .map(|id| directory.join(format!("{id}.wav")));
    let mut deleted = 0;
    for file in files {
        match std::fs::remove_file(&file) {
            Ok(()) => deleted += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(message = "recording_not_deleted", file = %file.display(), %error);
            }
        }
    }
    deleted
}
