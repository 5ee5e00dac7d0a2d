//! The API of status pages and incidents. Handlers check permissions only; the rules are in
//! `galera::publish::status_pages`.

mod forms;
mod incident_report;
mod incidents;
mod pages;

use axum::Router;
use galera::ClusterName;
use galera::publish::status_pages::StatusPageRefusal;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::forms::FormForwarder;
use super::identity::CurrentSession;
use super::problem::{ApiError, to_sentence};
use crate::status_pages::StatusPageError;

/// The routes under `/api/v1/status`.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(pages::list, pages::create))
        .routes(routes!(pages::show, pages::update, pages::remove))
        .routes(routes!(pages::create_link))
        .routes(routes!(pages::revoke_link))
        .routes(routes!(pages::qr))
        .routes(routes!(incidents::incidents, incidents::open))
        .routes(routes!(incidents::incident))
        .routes(routes!(incident_report::report))
        .routes(routes!(incidents::update))
        .routes(routes!(incidents::maintenance, incidents::plan_maintenance))
        .routes(routes!(incidents::end_maintenance))
        .routes(routes!(incidents::announcements, incidents::announce))
        .routes(routes!(incidents::withdraw))
}

/// The forms of the pages about status pages and incidents.
pub(super) fn forms(forms: FormForwarder) -> Router<AppState> {
    forms::routes(forms)
}

/// Fails unless the console knows all clusters in `names`, and the credential is for all of them.
fn require_known_clusters<'a>(
    app: &AppState,
    session: &CurrentSession,
    names: impl IntoIterator<Item = &'a ClusterName>,
) -> Result<(), ApiError> {
    let unknown = names.into_iter().find(|name| {
        let permitted = session.0.principal.clusters.permits(name);
        !permitted || app.monitor.cluster_feed(name).is_none()
    });
    match unknown {
        Some(name) => Err(StatusPageRefusal::UnknownCluster(name.clone()).into()),
        None => Ok(()),
    }
}

/// Fails with the error for an unknown `what` if the item `id`, which concerns `clusters`, is not in the scope of the
/// credential.
fn require_in_scope(
    session: &CurrentSession,
    what: &'static str,
    id: &str,
    clusters: Option<&[ClusterName]>,
) -> Result<(), ApiError> {
    let scope = &session.0.principal.clusters;
    if scope.is_all() || clusters.is_some_and(|clusters| scope.permits_each(clusters)) {
        return Ok(());
    }
    let id = format!("{:?}", id.chars().take(80).collect::<String>());
    Err(StatusPageError::NotFound { what, id }.into())
}

impl From<StatusPageRefusal> for ApiError {
    fn from(refusal: StatusPageRefusal) -> Self {
        let (code, detail) = (refusal.code(), to_sentence(&refusal.to_string()));
        match refusal {
            StatusPageRefusal::IncidentResolved
            | StatusPageRefusal::MaintenanceOver
            | StatusPageRefusal::AnnouncementWithdrawn
            | StatusPageRefusal::LinkRevoked
            | StatusPageRefusal::TooMany { .. } => Self::conflict(code, detail),
            _ => Self::unprocessable(code, detail),
        }
    }
}

impl From<StatusPageError> for ApiError {
    fn from(error: StatusPageError) -> Self {
        let detail = to_sentence(&error.to_string());
        match error {
            StatusPageError::Refused(refusal) => refusal.into(),
            StatusPageError::NotFound { .. } => Self::not_found("unknown_item", detail),
            StatusPageError::SlugTaken(_) => Self::conflict("page_exists", detail),
            StatusPageError::Changed => Self::conflict("changed", detail),
            StatusPageError::Contended => Self::conflict("contended", detail),
            StatusPageError::Trail(error) => error.into(),
        }
    }
}
