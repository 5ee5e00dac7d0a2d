//! The API of the audit trail, as JSON or CSV.

use axum::Json;
use axum::response::{IntoResponse, Response};
use console_core::audit::{AUDIT_PAGE_MAX, AuditTrailFilter, to_csv};
use galera::ClusterName;
use galera::access::Operation;
use galera::publish::api::AuditPage;
use galera::record::audit::AuditEntry;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use super::AppState;
use super::extract::{QueryParams, csv_requested};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::ApiResult;

/// In a CSV response: the first entry that is not archived.
static BEGINS_AT: HeaderName = HeaderName::from_static("x-audit-begins-at");
/// Stands for what the reader's roles do not permit.
const WITHHELD: &str = "(not shown to viewers)";
/// Default page size.
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    cluster: Option<ClusterName>,
    actor: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
    /// `json` or `csv`; by default what `Accept` requests.
    #[param(pattern = "^(json|csv)$")]
    format: Option<String>,
}

/// Lists entries of the audit trail, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "list_audit_entries", tag = "audit",
    params(AuditQuery),
    responses(
        (status = 200, description = "JSON, or CSV with `format=csv` or `Accept: text/csv`.", content((AuditPage = "application/json"), (String = "text/csv; charset=utf-8")), headers(("Content-Disposition" = String, description = "Names the file of a CSV response."), ("X-Audit-Begins-At" = u64, description = "In CSV: the first entry that is not archived; absent while none is."))),
    ),
    extensions(("x-problems" = json!([problems::AUDITED]))),
)]
pub(super) async fn page(
    app: AppState,
    session: CurrentSession,
    QueryParams(query): QueryParams<AuditQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    session.authorize(Operation::ReadAudit)?;
    let as_csv = csv_requested(query.format.as_deref(), &headers)?;
    let filter = AuditTrailFilter {
        cluster: query.cluster,
        scope: session.0.principal.clusters.clone(),
        actor: query.actor.filter(|actor| !actor.is_empty()),
        before: query.before,
        limit: query
            .limit
            .unwrap_or(DEFAULT_LIMIT)
            .clamp(1, AUDIT_PAGE_MAX),
    };
    let mut page = app.actions.trail().page(&filter).await?;
    if session.authorize(Operation::ReadClientAddresses).is_err() {
        page.entries.iter_mut().for_each(withhold);
    }
    if !as_csv {
        return Ok(Json(page).into_response());
    }
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    let mut response = (headers, to_csv(&page.entries)).into_response();
    if let Some(first) = page.begins_at {
        response.headers_mut().insert(&BEGINS_AT, first.into());
    }
    Ok(response)
}

/// Replaces what viewers may not read: addresses of clients, and of URLs in entries of earlier versions what
/// follows the host, which may be a token.
fn withhold(entry: &mut AuditEntry) {
    if let Some(address) = entry.record.detail.get_mut("address") {
        *address = WITHHELD.to_owned();
    }
    if let Some(url) = entry.record.detail.get_mut("url")
        && let Some((scheme, rest)) = url.split_once("://")
    {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        *url = format!("{scheme}://{authority}");
    }
}
