//! The control socket's words about campaigns, both ways, and its routes.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path as InPath, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use offhook_core::pacer::Pace;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::server::{Answer, Refused, Shared, ask};
use super::{Desk, Failure, Request};
use crate::campaigns::CampaignView;
use crate::leads::Rejected;

/// Bytes of one order.
const ORDER_MAX: usize = 1 << 20;
/// Leads in one order.
pub const LISTED_AT_ONCE: usize = 2_000;

/// What is asked of the decision thread about campaigns.
#[derive(Debug)]
pub enum CampaignRequest {
    /// Begin, go on, or put more leads on the list.
    Start(Box<CampaignOrder>, oneshot::Sender<Result<Listed, Failure>>),
    /// Call nobody more.
    Pause(String, oneshot::Sender<Result<CampaignView, Failure>>),
    /// How they do.
    All(oneshot::Sender<Vec<CampaignView>>),
}

/// `POST /v1/campaigns`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignOrder {
    /// Its name.
    pub name: String,
    /// Playbook; as before, or the config's, when absent.
    #[serde(default)]
    pub playbook: Option<String>,
    /// Trunk; as before, or the config's, when absent.
    #[serde(default)]
    pub trunk: Option<String>,
    /// How it is worked; as before, or the config's, when absent.
    #[serde(default)]
    pub pace: Option<Pace>,
    /// Points it may spend.
    #[serde(default)]
    pub budget: Option<i64>,
    /// Line of the file, and number or id of the lead.
    #[serde(default)]
    pub leads: Vec<(u64, String)>,
}

/// What became of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Leads put on the list.
    pub added: u64,
    /// Leads that were on it already.
    pub known: u64,
    /// Lines that name no lead.
    pub rejected: Vec<Rejected>,
}

pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    Router::new()
        .route(
            "/v1/campaigns",
            get(all).post(start).layer(DefaultBodyLimit::max(ORDER_MAX)),
        )
        .route("/v1/campaigns/{name}/pause", post(pause))
}

fn no(failure: Failure) -> Refused {
    Refused(StatusCode::UNPROCESSABLE_ENTITY, failure.error)
}

async fn all(State(desk): Shared) -> Answer<Vec<CampaignView>> {
    let asked = ask(desk.as_ref(), |reply| {
        Request::Campaign(CampaignRequest::All(reply))
    });
    asked.await.map(Json)
}

async fn start(
    State(desk): Shared,
    order: Result<Json<CampaignOrder>, JsonRejection>,
) -> Answer<Listed> {
    let Json(order) = order?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if order.name.is_empty() || order.name.len() > 64 || !order.name.chars().all(good) {
        let reason = format!(
            "`{}` is no name: use letters, digits, `.`, `-`, `_`",
            order.name
        );
        return Err(Refused(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    if order.leads.len() > LISTED_AT_ONCE {
        let reason = format!("more than {LISTED_AT_ONCE} leads at once");
        return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    let asked = ask(desk.as_ref(), |reply| {
        Request::Campaign(CampaignRequest::Start(Box::new(order), reply))
    });
    asked.await?.map(Json).map_err(no)
}

async fn pause(State(desk): Shared, InPath(name): InPath<String>) -> Answer<CampaignView> {
    let asked = ask(desk.as_ref(), |reply| {
        Request::Campaign(CampaignRequest::Pause(name, reply))
    });
    asked.await?.map(Json).map_err(no)
}
