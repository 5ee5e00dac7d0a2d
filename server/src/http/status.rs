//! Status pages and what they tell, through the API: three lines of policy each; the rules are in `galera::publish::status_pages`.

mod forms;
mod pages;
mod telling;

use axum::Router;
use axum::routing::{delete, get, post};
use galera::ClusterName;
use galera::publish::status_pages::Refusal;
use http::StatusCode;

use super::AppState;
use super::actions::{conflict, sentence};
use super::forms::Forms;
use super::problem::ApiError;
use crate::status::StatusError;

/// The routes under `/api/v1/status`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/status/pages", get(pages::list).post(pages::create))
        .route(
            "/api/v1/status/pages/{slug}",
            get(pages::show).put(pages::change).delete(pages::remove),
        )
        .route(
            "/api/v1/status/pages/{slug}/links",
            post(pages::create_link),
        )
        .route(
            "/api/v1/status/pages/{slug}/links/{id}",
            delete(pages::revoke_link),
        )
        .route("/api/v1/status/qr.svg", get(pages::qr))
        .route(
            "/api/v1/status/incidents",
            get(telling::incidents).post(telling::open),
        )
        .route("/api/v1/status/incidents/{id}", get(telling::incident))
        .route(
            "/api/v1/status/incidents/{id}/updates",
            post(telling::update),
        )
        .route(
            "/api/v1/status/maintenance",
            get(telling::maintenance).post(telling::plan),
        )
        .route("/api/v1/status/maintenance/{id}/end", post(telling::end))
        .route(
            "/api/v1/status/announcements",
            get(telling::announcements).post(telling::announce),
        )
        .route(
            "/api/v1/status/announcements/{id}/withdraw",
            post(telling::withdraw),
        )
}

/// The forms of the pages about status pages and incidents.
pub(super) fn forms(forms: Forms) -> Router<AppState> {
    forms::routes(forms)
}

/// Every one of `named` must be a cluster that the console knows.
fn known<'a>(
    app: &AppState,
    named: impl IntoIterator<Item = &'a ClusterName>,
) -> Result<(), ApiError> {
    let unknown = named
        .into_iter()
        .find(|name| app.hub.cluster(name).is_none());
    match unknown {
        Some(name) => Err(Refusal::UnknownCluster(name.clone()).into()),
        None => Ok(()),
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (code, detail) = (refusal.code(), sentence(&refusal.to_string()));
        match refusal {
            Refusal::Resolved
            | Refusal::Over
            | Refusal::Withdrawn
            | Refusal::Revoked
            | Refusal::TooMany { .. } => conflict(code, detail),
            _ => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                code,
                "Not possible like this",
                detail,
            ),
        }
    }
}

impl From<StatusError> for ApiError {
    fn from(error: StatusError) -> Self {
        let detail = sentence(&error.to_string());
        match error {
            StatusError::Refused(refusal) => refusal.into(),
            StatusError::Unknown { .. } => Self::not_found("unknown_item", detail),
            StatusError::Exists(_) => conflict("page_exists", detail),
            StatusError::Changed => conflict("changed", detail),
            StatusError::Contended => conflict("contended", detail),
            StatusError::Trail(error) => error.into(),
        }
    }
}
