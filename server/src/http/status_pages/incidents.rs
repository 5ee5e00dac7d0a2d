//! The API of incidents, maintenance and announcements: published by operators and administrators, visible to all users.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use galera::ClusterName;
use galera::access::Operation;
use galera::publish::status_pages::{
    Announcement, AnnouncementList, Incident, IncidentImpact, IncidentList, IncidentState,
    MaintenanceList, MaintenanceView, NewAnnouncement, NewIncident, NewMaintenance,
};
use http::StatusCode;
use serde::Deserialize;

use super::{require_in_scope, require_known_clusters};
use crate::http::AppState;
use crate::http::extract::{JsonBody, QueryParams};
use crate::http::identity::CurrentSession;
use crate::http::openapi::problems;
use crate::http::problem::{ApiError, ApiResult};
use crate::status_pages::StatusPageError;

/// Default and maximum length of a list.
const DEFAULT_LIMIT: usize = 100;
const LIMIT_MAX: usize = 500;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct IncidentQuery {
    #[param(pattern = "^(open|resolved|all)?$")]
    state: Option<String>,
    cluster: Option<ClusterName>,
    limit: Option<usize>,
}

/// Lists incidents, newest first.
#[utoipa::path(
    get, path = "/api/v1/status/incidents", operation_id = "list_incidents", tag = "status pages",
    params(IncidentQuery),
    responses((status = 200, description = "The incidents.", body = IncidentList)),
)]
pub(super) async fn incidents(
    app: AppState,
    session: CurrentSession,
    QueryParams(query): QueryParams<IncidentQuery>,
) -> ApiResult<Json<IncidentList>> {
    session.authorize(Operation::View)?;
    let open = match query.state.as_deref() {
        None | Some("all" | "") => None,
        Some("open") => Some(true),
        Some("resolved") => Some(false),
        Some(_) => {
            let detail = "Unknown state; expected open, resolved or all.";
            return Err(ApiError::bad_request("invalid_query", detail));
        }
    };
    let snapshot = app.status_pages.snapshot();
    let all = snapshot
        .incidents
        .values()
        .rev()
        .map(|stored| &stored.value);
    let affects_cluster = |incident: &&Incident| {
        let cluster = query.cluster.as_ref();
        cluster.is_none_or(|cluster| incident.clusters.contains(cluster))
    };
    let scope = &session.0.principal.clusters;
    let matching = all
        .filter(|i| open.is_none_or(|open| i.is_open() == open))
        .filter(|i| scope.permits_each(&i.clusters))
        .filter(affects_cluster);
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, LIMIT_MAX);
    Ok(Json(IncidentList {
        incidents: matching.take(limit).cloned().collect(),
    }))
}

/// Shows an incident.
#[utoipa::path(
    get, path = "/api/v1/status/incidents/{id}", operation_id = "show_incident", tag = "status pages",
    responses((status = 200, description = "The incident.", body = Incident)),
    extensions(("x-problems" = json!(["404 unknown_item"]))),
)]
pub(super) async fn incident(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<Incident>> {
    session.authorize(Operation::View)?;
    Ok(Json(find_incident(&app, &session, &id)?))
}

/// The incident `id`, unless it concerns a cluster that the session's credential is not permitted to see.
pub(super) fn find_incident(
    app: &AppState,
    session: &CurrentSession,
    id: &str,
) -> ApiResult<Incident> {
    let snapshot = app.status_pages.snapshot();
    let scope = &session.0.principal.clusters;
    let found = snapshot.incidents.get(id).map(|stored| &stored.value);
    let found = found.filter(|incident| scope.permits_each(&incident.clusters));
    Ok(found.cloned().ok_or_else(|| StatusPageError::NotFound {
        what: "incident",
        id: format!("{:?}", id.chars().take(80).collect::<String>()),
    })?)
}

/// Opens an incident.
#[utoipa::path(
    post, path = "/api/v1/status/incidents", operation_id = "open_incident", tag = "status pages",
    request_body = NewIncident,
    responses((status = 201, description = "The new incident.", body = Incident)),
    extensions(("x-problems" = json!([problems::AUDITED, "422 invalid_text", "422 invalid_clusters", "422 unknown_cluster", "409 too_many"]))),
)]
pub(super) async fn open(
    app: AppState,
    session: CurrentSession,
    JsonBody(new): JsonBody<NewIncident>,
) -> ApiResult<Response> {
    let by = session.authorize(Operation::ManageIncidents)?;
    require_known_clusters(&app, &session, &new.clusters)?;
    let stored = app.status_pages.open_incident(&by, &new).await?;
    Ok((StatusCode::CREATED, Json(stored.value)).into_response())
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateIncidentRequest {
    state: IncidentState,
    /// Without one, it stays.
    #[serde(default)]
    impact: Option<IncidentImpact>,
    text: String,
}

/// Adds an update to an incident, or resolves it.
#[utoipa::path(
    post, path = "/api/v1/status/incidents/{id}/updates", operation_id = "update_incident", tag = "status pages",
    request_body = UpdateIncidentRequest,
    responses((status = 200, description = "The incident afterwards.", body = Incident)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_item", "409 incident_resolved", "409 too_many", "422 invalid_text"]))),
)]
pub(super) async fn update(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<UpdateIncidentRequest>,
) -> ApiResult<Json<Incident>> {
    let by = session.authorize(Operation::ManageIncidents)?;
    let snapshot = app.status_pages.snapshot();
    let known = snapshot.incidents.get(&id);
    require_in_scope(&session, "incident", &id, known.map(|i| &*i.value.clusters))?;
    let stored = app
        .status_pages
        .update_incident(&by, &id, body.state, body.impact, &body.text)
        .await?;
    Ok(Json(stored.value))
}

/// Lists maintenance windows, newest first.
#[utoipa::path(
    get, path = "/api/v1/status/maintenance", operation_id = "list_maintenance", tag = "status pages",
    responses((status = 200, description = "The windows.", body = MaintenanceList)),
)]
pub(super) async fn maintenance(
    app: AppState,
    session: CurrentSession,
) -> ApiResult<Json<MaintenanceList>> {
    session.authorize(Operation::View)?;
    let (snapshot, at) = (app.status_pages.snapshot(), now());
    let scope = &session.0.principal.clusters;
    let visible = snapshot.maintenance.values().rev();
    let visible = visible.filter(|m| scope.permits_each(&m.value.clusters));
    let newest = visible.take(LIMIT_MAX);
    Ok(Json(MaintenanceList {
        maintenance: newest
            .map(|m| MaintenanceView::of(m.value.clone(), at))
            .collect(),
    }))
}

/// Schedules maintenance.
#[utoipa::path(
    post, path = "/api/v1/status/maintenance", operation_id = "plan_maintenance", tag = "status pages",
    request_body = NewMaintenance,
    responses((status = 201, description = "The new window.", body = MaintenanceView)),
    extensions(("x-problems" = json!([
        problems::AUDITED, "422 invalid_text", "422 invalid_clusters", "422 unknown_cluster", "409 too_many", "422 invalid_time",
    ]))),
)]
pub(super) async fn plan_maintenance(
    app: AppState,
    session: CurrentSession,
    JsonBody(new): JsonBody<NewMaintenance>,
) -> ApiResult<Response> {
    let by = session.authorize(Operation::ManageMaintenance)?;
    require_known_clusters(&app, &session, &new.clusters)?;
    let stored = app.status_pages.plan_maintenance(&by, &new).await?;
    let view = MaintenanceView::of(stored.value, now());
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Ends maintenance early, or cancels it.
#[utoipa::path(
    post, path = "/api/v1/status/maintenance/{id}/end", operation_id = "end_maintenance", tag = "status pages",
    responses((status = 200, description = "The window afterwards.", body = MaintenanceView)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_item", "409 maintenance_over"]))),
)]
pub(super) async fn end_maintenance(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<MaintenanceView>> {
    let by = session.authorize(Operation::ManageMaintenance)?;
    let snapshot = app.status_pages.snapshot();
    let known = snapshot.maintenance.get(&id);
    require_in_scope(
        &session,
        "maintenance",
        &id,
        known.map(|m| &*m.value.clusters),
    )?;
    let stored = app.status_pages.end_maintenance(&by, &id).await?;
    Ok(Json(MaintenanceView::of(stored.value, now())))
}

/// Lists announcements, newest first.
#[utoipa::path(
    get, path = "/api/v1/status/announcements", operation_id = "list_announcements", tag = "status pages",
    responses((status = 200, description = "The announcements.", body = AnnouncementList)),
)]
pub(super) async fn announcements(
    app: AppState,
    session: CurrentSession,
) -> ApiResult<Json<AnnouncementList>> {
    session.authorize(Operation::View)?;
    let snapshot = app.status_pages.snapshot();
    let newest = snapshot.announcements.values().rev().take(LIMIT_MAX);
    Ok(Json(AnnouncementList {
        announcements: newest.map(|stored| stored.value.clone()).collect(),
    }))
}

/// Publishes an announcement.
#[utoipa::path(
    post, path = "/api/v1/status/announcements", operation_id = "publish_announcement", tag = "status pages",
    request_body = NewAnnouncement,
    responses((status = 201, description = "The new announcement.", body = Announcement)),
    extensions(("x-problems" = json!([problems::AUDITED, "409 too_many", "422 invalid_text", "422 invalid_time", "422 unknown_page"]))),
)]
pub(super) async fn announce(
    app: AppState,
    session: CurrentSession,
    JsonBody(new): JsonBody<NewAnnouncement>,
) -> ApiResult<Response> {
    let by = session.authorize(Operation::ManageAnnouncements)?;
    let stored = app.status_pages.announce(&by, &new).await?;
    Ok((StatusCode::CREATED, Json(stored.value)).into_response())
}

/// Withdraws an announcement.
#[utoipa::path(
    post, path = "/api/v1/status/announcements/{id}/withdraw", operation_id = "withdraw_announcement", tag = "status pages",
    responses((status = 200, description = "The announcement afterwards.", body = Announcement)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_item", "409 announcement_withdrawn"]))),
)]
pub(super) async fn withdraw(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<Announcement>> {
    let by = session.authorize(Operation::ManageAnnouncements)?;
    Ok(Json(
        app.status_pages
            .withdraw_announcement(&by, &id)
            .await?
            .value,
    ))
}
