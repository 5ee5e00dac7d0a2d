//! The API of status pages and their links: managed by administrators, visible to all users.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use console_core::repository::Versioned;
use galera::Timestamp;
use galera::access::{ClusterLabel, ClusterScope, Operation};
use galera::publish::status_pages::{
    AccessLinkView, AutoIncidentRule, CreatedAccessLink, EmbedOrigin, NodeDetailSettings,
    PageCluster, PageSettings, PageVisibility, Slug, StatusPageList, StatusPageRecord,
    StatusPageRefusal, StatusPageView,
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::require_known_clusters;
use crate::http::AppState;
use crate::http::extract::{JsonBody, QueryParams};
use crate::http::identity::CurrentSession;
use crate::http::openapi::problems;
use crate::http::problem::{ApiError, ApiResult, to_sentence};
use crate::status_pages::{StatusPageError, qr_code};

/// A request to create or replace a page. When replacing, the slug is in the path.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct StatusPageRequest {
    #[serde(default)]
    slug: Option<String>,
    title: String,
    /// May be empty if `labels` is not.
    clusters: Vec<PageCluster>,
    /// Labels of clusters to show after those, as `key=value`.
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    visibility: PageVisibility,
    #[serde(default)]
    show: NodeDetailSettings,
    #[serde(default)]
    embed: Vec<String>,
    /// `null` for never; the default rule if omitted.
    #[serde(default = "default_auto_incidents")]
    automatic: Option<AutoIncidentRule>,
    /// The revision that the change is based on.
    #[serde(default)]
    revision: Option<i64>,
}

fn default_auto_incidents() -> Option<AutoIncidentRule> {
    Some(AutoIncidentRule::default())
}

impl StatusPageRequest {
    fn into_settings(self, app: &AppState, session: &CurrentSession) -> ApiResult<PageSettings> {
        require_known_clusters(
            app,
            session,
            self.clusters.iter().map(|cluster| &cluster.cluster),
        )?;
        let labels = self.labels.iter().map(|text| text.parse());
        let labels = labels.collect::<Result<Vec<ClusterLabel>, _>>();
        let labels = labels.map_err(|error| {
            ApiError::unprocessable("invalid_label", to_sentence(&error.to_string()))
        })?;
        let origins = self.embed.iter().map(|text| text.parse());
        Ok(PageSettings {
            title: self.title,
            clusters: self.clusters,
            labels,
            visibility: self.visibility,
            show: self.show,
            embed: origins.collect::<Result<Vec<EmbedOrigin>, StatusPageRefusal>>()?,
            automatic: self.automatic,
        })
    }
}

/// The console's own URL, as far as it is known.
fn console_url(app: &AppState, headers: &HeaderMap) -> String {
    if let Some(url) = &app.public_url {
        return url.to_string().trim_end_matches('/').to_owned();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.map(|host| format!("http://{host}"))
        .unwrap_or_default()
}

fn page_view(
    app: &AppState,
    headers: &HeaderMap,
    stored: &Versioned<StatusPageRecord>,
) -> StatusPageView {
    let page = &stored.value;
    StatusPageView::of(
        page,
        &app.status_pages.expanded(page),
        stored.revision,
        &console_url(app, headers),
        now(),
    )
}

/// Whether every cluster that `expanded` shows now is in `scope`.
fn is_in_scope(scope: &ClusterScope, expanded: &StatusPageRecord) -> bool {
    let shown = expanded.settings.clusters.iter();
    scope.permits_each(shown.map(|listed| &listed.cluster))
}

/// The slug in the path. An invalid slug is reported as unknown.
fn parse_slug(text: &str) -> ApiResult<Slug> {
    text.parse().map_err(|_| unknown_page(text))
}

fn unknown_page(text: &str) -> ApiError {
    let shown: String = text.chars().take(80).collect();
    StatusPageError::NotFound {
        what: "status page",
        id: format!("{shown:?}"),
    }
    .into()
}

fn find_page(app: &AppState, text: &str) -> ApiResult<Arc<Versioned<StatusPageRecord>>> {
    let slug = parse_slug(text)?;
    let snapshot = app.status_pages.snapshot();
    snapshot
        .pages
        .get(slug.as_str())
        .cloned()
        .ok_or_else(|| unknown_page(text))
}

/// Lists the status pages.
#[utoipa::path(
    get, path = "/api/v1/status/pages", operation_id = "list_status_pages", tag = "status pages",
    responses((status = 200, description = "By slug.", body = StatusPageList)),
)]
pub(super) async fn list(
    app: AppState,
    session: CurrentSession,
    headers: HeaderMap,
) -> ApiResult<Json<StatusPageList>> {
    session.authorize(Operation::View)?;
    let snapshot = app.status_pages.snapshot();
    let scope = &session.0.principal.clusters;
    let expanded = app.status_pages.expanded_pages(&snapshot);
    let pages = snapshot
        .pages
        .iter()
        .filter(|(slug, _)| {
            let page = expanded.get(*slug);
            page.is_some_and(|page| is_in_scope(scope, &page.value))
        })
        .map(|(_, page)| page)
        .map(|page| page_view(&app, &headers, page));
    Ok(Json(StatusPageList {
        pages: pages.collect(),
    }))
}

/// Creates a status page.
#[utoipa::path(
    post, path = "/api/v1/status/pages", operation_id = "create_status_page", tag = "status pages",
    request_body = StatusPageRequest,
    responses((status = 201, description = "The new page.", body = StatusPageView)),
    extensions(("x-problems" = json!([
        problems::AUDITED, "422 invalid_text", "422 invalid_origin", "422 invalid_clusters", "422 invalid_time",
        "422 unknown_cluster", "422 invalid_label", "409 too_many", "422 invalid_slug", "409 page_exists",
    ]))),
)]
pub(super) async fn create(
    app: AppState,
    session: CurrentSession,
    headers: HeaderMap,
    JsonBody(body): JsonBody<StatusPageRequest>,
) -> ApiResult<Response> {
    let by = session.authorize(Operation::ManageStatusPages)?;
    let slug: Slug = body.slug.clone().unwrap_or_default().parse::<Slug>()?;
    let settings = body.into_settings(&app, &session)?;
    let stored = app.status_pages.create_page(&by, slug, settings).await?;
    Ok((
        StatusCode::CREATED,
        Json(page_view(&app, &headers, &stored)),
    )
        .into_response())
}

/// Shows a status page with its links.
#[utoipa::path(
    get, path = "/api/v1/status/pages/{slug}", operation_id = "show_status_page", tag = "status pages",
    responses((status = 200, description = "The page.", body = StatusPageView)),
    extensions(("x-problems" = json!(["404 unknown_item"]))),
)]
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<StatusPageView>> {
    session.authorize(Operation::View)?;
    let stored = find_page(&app, &slug)?;
    let expanded = app.status_pages.expanded(&stored.value);
    if !is_in_scope(&session.0.principal.clusters, &expanded) {
        return Err(unknown_page(&slug));
    }
    Ok(Json(page_view(&app, &headers, &stored)))
}

/// Replaces the settings of a status page.
#[utoipa::path(
    put, path = "/api/v1/status/pages/{slug}", operation_id = "replace_status_page", tag = "status pages",
    request_body = StatusPageRequest,
    responses((status = 200, description = "The page afterwards.", body = StatusPageView)),
    extensions(("x-problems" = json!([
        problems::AUDITED, "404 unknown_item", "422 invalid_text", "422 invalid_origin", "422 invalid_clusters", "422 invalid_time",
        "422 unknown_cluster", "422 invalid_label", "409 too_many", "422 invalid_slug", "409 changed",
    ]))),
)]
pub(super) async fn update(
    app: AppState,
    session: CurrentSession,
    Path(text): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<StatusPageRequest>,
) -> ApiResult<Json<StatusPageView>> {
    let by = session.authorize(Operation::ManageStatusPages)?;
    let slug = parse_slug(&text)?;
    if body.slug.as_deref().is_some_and(|given| given != text) {
        let detail = "The slug of a page cannot be changed; create a new page and delete this one.";
        return Err(ApiError::unprocessable("invalid_slug", detail));
    }
    let revision = body.revision;
    let settings = body.into_settings(&app, &session)?;
    let stored = app
        .status_pages
        .update_page(&by, &slug, settings, revision)
        .await?;
    Ok(Json(page_view(&app, &headers, &stored)))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeletePageRequest {
    confirm: String,
}

/// Deletes a status page and its links.
#[utoipa::path(
    delete, path = "/api/v1/status/pages/{slug}", operation_id = "delete_status_page", tag = "status pages",
    request_body = DeletePageRequest,
    responses((status = 204, description = "Deleted.")),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_item", "422 not_confirmed"]))),
)]
pub(super) async fn remove(
    app: AppState,
    session: CurrentSession,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<DeletePageRequest>,
) -> ApiResult<StatusCode> {
    let by = session.authorize(Operation::ManageStatusPages)?;
    app.status_pages
        .delete_page(&by, &parse_slug(&text)?, &body.confirm)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateLinkRequest {
    label: String,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// Creates a secret link to a status page.
#[utoipa::path(
    post, path = "/api/v1/status/pages/{slug}/links", operation_id = "create_status_page_link", tag = "status pages",
    request_body = CreateLinkRequest,
    responses((status = 201, description = "The link; its secret is returned only here.", body = CreatedAccessLink)),
    extensions(("x-problems" = json!([
        problems::AUDITED, "404 unknown_item", "409 too_many", "422 needs_no_link", "422 invalid_text", "422 invalid_time",
    ]))),
)]
pub(super) async fn create_link(
    app: AppState,
    session: CurrentSession,
    Path(text): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<CreateLinkRequest>,
) -> ApiResult<Response> {
    let by = session.authorize(Operation::ManageStatusPages)?;
    let slug = parse_slug(&text)?;
    let (link, secret) = app
        .status_pages
        .create_link(&by, &slug, &body.label, body.expires_at)
        .await?;
    let url = format!("{}/s/{}/", console_url(&app, &headers), secret.expose());
    let created = CreatedAccessLink {
        link: AccessLinkView::of(&link, now()),
        secret: secret.expose().to_owned(),
        url,
    };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// Revokes a secret link.
#[utoipa::path(
    delete, path = "/api/v1/status/pages/{slug}/links/{id}", operation_id = "revoke_status_page_link", tag = "status pages",
    responses((status = 200, description = "The page afterwards.", body = StatusPageView)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_item", "409 link_revoked"]))),
)]
pub(super) async fn revoke_link(
    app: AppState,
    session: CurrentSession,
    Path((text, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> ApiResult<Json<StatusPageView>> {
    let by = session.authorize(Operation::ManageStatusPages)?;
    let stored = app
        .status_pages
        .revoke_link(&by, &parse_slug(&text)?, &id)
        .await?;
    Ok(Json(page_view(&app, &headers, &stored)))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QrQuery {
    /// The path of a status page.
    #[param(pattern = "^/(status|s)/[A-Za-z0-9/-]*$", max_length = 200)]
    path: String,
}

/// Shows the address of a status page as a QR code.
#[utoipa::path(
    get, path = "/api/v1/status/qr.svg", operation_id = "show_status_page_qr", tag = "status pages",
    params(QrQuery),
    responses((status = 200, description = "The address as a QR code.", body = String, content_type = "image/svg+xml")),
)]
pub(super) async fn qr(
    app: AppState,
    session: CurrentSession,
    headers: HeaderMap,
    QueryParams(query): QueryParams<QrQuery>,
) -> ApiResult<Response> {
    session.authorize(Operation::View)?;
    // Status pages only: the console must not issue QR codes that lead elsewhere.
    let is_page = ["/status/", "/s/"]
        .iter()
        .any(|start| query.path.starts_with(start));
    let is_plain = query
        .path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-".contains(&b));
    let svg = (is_page && is_plain)
        .then(|| qr_code(&format!("{}{}", console_url(&app, &headers), query.path)))
        .flatten();
    let svg = svg.ok_or_else(|| {
        let detail = "path must be the path of a status page, such as /status/shop.";
        ApiError::bad_request("invalid_query", detail)
    })?;
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "no-store")];
    Ok((headers, svg).into_response())
}
