//! The audit trail through the API, as JSON or CSV.

use axum::Json;
use axum::response::{IntoResponse, Response};
use console_core::audit::{Filter, PAGE_MAX, csv};
use galera::ClusterName;
use galera::access::Operation;
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;

use super::AppState;
use super::extract::{QueryOf, wants_csv};
use super::identity::Session;
use super::problem::ApiResult;

/// Entries of a page unless the request says otherwise.
const LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct AuditQuery {
    cluster: Option<ClusterName>,
    actor: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
    format: Option<String>,
}

/// `GET /api/v1/audit`.
pub(super) async fn page(
    app: AppState,
    session: Session,
    QueryOf(query): QueryOf<AuditQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    session.actor(Operation::ReadAudit)?;
    let as_csv = wants_csv(query.format.as_deref(), &headers)?;
    let filter = Filter {
        cluster: query.cluster,
        actor: query.actor.filter(|actor| !actor.is_empty()),
        before: query.before,
        limit: query.limit.unwrap_or(LIMIT).clamp(1, PAGE_MAX),
    };
    let page = app.actions.trail().page(&filter).await?;
    if !as_csv {
        return Ok(Json(page).into_response());
    }
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    Ok((headers, csv(&page.entries)).into_response())
}
