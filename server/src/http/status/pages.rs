//! Pages and links to them: made and changed by administrators, seen by everybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use galera::Timestamp;
use galera::access::Operation;
use galera::publish::status_pages::{
    Automatic, LinkView, Listed, NewLinkView, Origin, Page, PageList, PageSettings, PageView,
    Refusal, Show, Slug, Visibility,
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::known;
use crate::http::AppState;
use crate::http::extract::{JsonBody, QueryOf};
use crate::http::identity::Session;
use crate::http::problem::{ApiError, ApiResult};
use crate::status::{StatusError, Stored, qr_code};

/// A page as it is sent. The slug stands in the address when a page is changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PageBody {
    #[serde(default)]
    slug: Option<String>,
    title: String,
    clusters: Vec<Listed>,
    #[serde(default)]
    visibility: Visibility,
    #[serde(default)]
    show: Show,
    #[serde(default)]
    embed: Vec<String>,
    /// `null` for never; after five minutes when it is left out.
    #[serde(default = "usual")]
    automatic: Option<Automatic>,
    /// The revision that a change rests on.
    #[serde(default)]
    revision: Option<i64>,
}

fn usual() -> Option<Automatic> {
    Some(Automatic::default())
}

impl PageBody {
    fn settings(self, app: &AppState) -> ApiResult<PageSettings> {
        known(app, self.clusters.iter().map(|listed| &listed.cluster))?;
        let origins = self.embed.iter().map(|text| text.parse());
        Ok(PageSettings {
            title: self.title,
            clusters: self.clusters,
            visibility: self.visibility,
            show: self.show,
            embed: origins.collect::<Result<Vec<Origin>, Refusal>>()?,
            automatic: self.automatic,
        })
    }
}

/// The console's own address, as far as it is known.
fn console(app: &AppState, headers: &HeaderMap) -> String {
    if let Some(url) = &app.public_url {
        return url.to_string().trim_end_matches('/').to_owned();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.map(|host| format!("http://{host}"))
        .unwrap_or_default()
}

fn view(app: &AppState, headers: &HeaderMap, stored: &Stored<Page>) -> PageView {
    PageView::of(
        &stored.value,
        stored.revision,
        &console(app, headers),
        now(),
    )
}

/// The page that the path names. A slug that breaks the grammar is as unknown as any other.
fn slug(text: &str) -> ApiResult<Slug> {
    text.parse().map_err(|_| unknown(text))
}

fn unknown(text: &str) -> ApiError {
    let shown: String = text.chars().take(80).collect();
    StatusError::Unknown {
        what: "status page",
        id: format!("{shown:?}"),
    }
    .into()
}

fn stored(app: &AppState, text: &str) -> ApiResult<Arc<Stored<Page>>> {
    let slug = slug(text)?;
    let shelf = app.status.shelf();
    shelf
        .pages
        .get(slug.as_str())
        .cloned()
        .ok_or_else(|| unknown(text))
}

/// `GET /api/v1/status/pages`.
pub(super) async fn list(
    app: AppState,
    session: Session,
    headers: HeaderMap,
) -> ApiResult<Json<PageList>> {
    session.actor(Operation::See)?;
    let shelf = app.status.shelf();
    let pages = shelf.pages.values().map(|page| view(&app, &headers, page));
    Ok(Json(PageList {
        pages: pages.collect(),
    }))
}

/// `POST /api/v1/status/pages`.
pub(super) async fn create(
    app: AppState,
    session: Session,
    headers: HeaderMap,
    JsonBody(body): JsonBody<PageBody>,
) -> ApiResult<Response> {
    let by = session.actor(Operation::ManageShares)?;
    let slug: Slug = body.slug.clone().unwrap_or_default().parse::<Slug>()?;
    let settings = body.settings(&app)?;
    let stored = app.status.create_page(&by, slug, settings).await?;
    Ok((StatusCode::CREATED, Json(view(&app, &headers, &stored))).into_response())
}

/// `GET /api/v1/status/pages/{slug}`.
pub(super) async fn show(
    app: AppState,
    session: Session,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<PageView>> {
    session.actor(Operation::See)?;
    let stored = stored(&app, &slug)?;
    Ok(Json(view(&app, &headers, &stored)))
}

/// `PUT /api/v1/status/pages/{slug}`.
pub(super) async fn change(
    app: AppState,
    session: Session,
    Path(text): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<PageBody>,
) -> ApiResult<Json<PageView>> {
    let by = session.actor(Operation::ManageShares)?;
    let slug = slug(&text)?;
    if body.slug.as_deref().is_some_and(|given| given != text) {
        let detail = "A page keeps its slug; make another page, and delete this one.";
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_slug",
            "Not possible like this",
            detail,
        ));
    }
    let revision = body.revision;
    let settings = body.settings(&app)?;
    let stored = app
        .status
        .change_page(&by, &slug, settings, revision)
        .await?;
    Ok(Json(view(&app, &headers, &stored)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Confirmation {
    confirm: String,
}

/// `DELETE /api/v1/status/pages/{slug}`.
pub(super) async fn remove(
    app: AppState,
    session: Session,
    Path(text): Path<String>,
    JsonBody(body): JsonBody<Confirmation>,
) -> ApiResult<StatusCode> {
    let by = session.actor(Operation::ManageShares)?;
    app.status
        .delete_page(&by, &slug(&text)?, &body.confirm)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkBody {
    label: String,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// `POST /api/v1/status/pages/{slug}/links`.
pub(super) async fn create_link(
    app: AppState,
    session: Session,
    Path(text): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LinkBody>,
) -> ApiResult<Response> {
    let by = session.actor(Operation::ManageShares)?;
    let slug = slug(&text)?;
    let (link, secret) = app
        .status
        .create_link(&by, &slug, &body.label, body.expires_at)
        .await?;
    let url = format!("{}/s/{}/", console(&app, &headers), secret.expose());
    let answer = NewLinkView {
        link: LinkView::of(&link, now()),
        secret: secret.expose().to_owned(),
        url,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `DELETE /api/v1/status/pages/{slug}/links/{id}`.
pub(super) async fn revoke_link(
    app: AppState,
    session: Session,
    Path((text, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> ApiResult<Json<PageView>> {
    let by = session.actor(Operation::ManageShares)?;
    let stored = app.status.revoke_link(&by, &slug(&text)?, &id).await?;
    Ok(Json(view(&app, &headers, &stored)))
}

#[derive(Deserialize)]
pub(super) struct QrQuery {
    path: String,
}

/// `GET /api/v1/status/qr.svg?path=`: the address of a page as a picture.
pub(super) async fn qr(
    app: AppState,
    session: Session,
    headers: HeaderMap,
    QueryOf(query): QueryOf<QrQuery>,
) -> ApiResult<Response> {
    session.actor(Operation::See)?;
    // Ours only: nobody shall make other people's cameras go elsewhere in our name.
    let ours = ["/status/", "/s/"]
        .iter()
        .any(|start| query.path.starts_with(start));
    let plain = query
        .path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/-".contains(&b));
    let picture = (ours && plain)
        .then(|| qr_code(&format!("{}{}", console(&app, &headers), query.path)))
        .flatten();
    let picture = picture.ok_or_else(|| {
        let detail = "path must be the address of a status page, like /status/shop.";
        ApiError::bad_request("invalid_query", detail)
    })?;
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "no-store")];
    Ok((headers, picture).into_response())
}
