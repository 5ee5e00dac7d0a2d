//! The API of status pages and their links: managed by administrators, visible to all users.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use console_core::repository::Versioned;
use galera::access::Operation;
use galera::publish::status_pages::{
    AccessLinkView, AutoIncidentRule, CreatedAccessLink, EmbedOrigin, NodeDetailSettings,
    PageCluster, PageSettings, PageVisibility, Slug, StatusPageList, StatusPageRecord,
    StatusPageRefusal, StatusPageView,
};
use galera::{ClusterName, Timestamp};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::require_known_clusters;
use crate::http::AppState;
use crate::http::extract::{JsonBody, QueryParams};
use crate::http::identity::CurrentSession;
use crate::http::problem::{ApiError, ApiResult};
use crate::status_pages::{StatusPageError, qr_code};

/// A request to create or replace a page. When replacing, the slug is in the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct StatusPageRequest {
    #[serde(default)]
    slug: Option<String>,
    title: String,
    clusters: Vec<PageCluster>,
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
        let origins = self.embed.iter().map(|text| text.parse());
        Ok(PageSettings {
            title: self.title,
            clusters: self.clusters,
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
    StatusPageView::of(
        &stored.value,
        stored.revision,
        &console_url(app, headers),
        now(),
    )
}

/// The clusters that a page shows.
fn page_clusters(stored: &Versioned<StatusPageRecord>) -> impl Iterator<Item = &ClusterName> {
    let shown = stored.value.settings.clusters.iter();
    shown.map(|cluster| &cluster.cluster)
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

/// `GET /api/v1/status/pages`.
pub(super) async fn list(
    app: AppState,
    session: CurrentSession,
    headers: HeaderMap,
) -> ApiResult<Json<StatusPageList>> {
    session.authorize(Operation::View)?;
    let snapshot = app.status_pages.snapshot();
    let scope = &session.0.principal.clusters;
    let pages = snapshot
        .pages
        .values()
        .filter(|page| scope.permits_each(page_clusters(page)))
        .map(|page| page_view(&app, &headers, page));
    Ok(Json(StatusPageList {
        pages: pages.collect(),
    }))
}

/// `POST /api/v1/status/pages`.
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

/// `GET /api/v1/status/pages/{slug}`.
pub(super) async fn show(
    app: AppState,
    session: CurrentSession,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<StatusPageView>> {
    session.authorize(Operation::View)?;
    let stored = find_page(&app, &slug)?;
    if !session
        .0
        .principal
        .clusters
        .permits_each(page_clusters(&stored))
    {
        return Err(unknown_page(&slug));
    }
    Ok(Json(page_view(&app, &headers, &stored)))
}

/// `PUT /api/v1/status/pages/{slug}`.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeletePageRequest {
    confirm: String,
}

/// `DELETE /api/v1/status/pages/{slug}`.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateLinkRequest {
    label: String,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// `POST /api/v1/status/pages/{slug}/links`.
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

/// `DELETE /api/v1/status/pages/{slug}/links/{id}`.
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

#[derive(Deserialize)]
pub(super) struct QrQuery {
    path: String,
}

/// `GET /api/v1/status/qr.svg?path=`: the URL of a page as a QR code.
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
