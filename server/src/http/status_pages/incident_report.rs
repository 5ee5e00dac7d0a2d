//! An incident as a file for its post-mortem.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::clock::now;
use galera::access::Operation;
use galera::publish::status_pages::Incident;
use galera::recover::action::Action;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::incidents::find_incident;
use crate::actions::ActionQuery;
use crate::http::AppState;
use crate::http::identity::CurrentSession;
use crate::http::openapi::problems;
use crate::http::problem::ApiResult;
use crate::incident_report::{MARGIN_MINUTES, ReportSources};

/// Actions that are read at a time.
const ACTIONS_PAGE: usize = 100;
/// Pages of actions that are read for each cluster at most.
const ACTION_PAGES_MAX: usize = 10;
/// A browser that shows the file instead of saving it executes nothing in it.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                              frame-ancestors 'none'; sandbox";

/// Exports an incident as one HTML file: states, views, figures, actions and audit trail.
#[utoipa::path(
    get, path = "/api/v1/status/incidents/{id}/report", operation_id = "export_incident", tag = "status pages",
    responses((
        status = 200, description = "The file, which needs no other.", body = String, content_type = "text/html; charset=utf-8",
        headers(("Content-Disposition" = String, description = "Names the file.")),
    )),
    extensions(("x-problems" = json!([problems::ETCD, "404 unknown_item"]))),
)]
pub(super) async fn report(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    session.authorize(Operation::ReadAudit)?;
    let incident = find_incident(&app, &session, &id)?;
    let sources = ReportSources {
        history: &app.history,
        trail: app.actions.trail(),
        actions: &actions_of(&app, &incident).await?,
        views: app.recorded_views.as_ref(),
        series: app.series.as_ref(),
    };
    let report = sources.collect(&incident, MARGIN_MINUTES, now()).await;
    let url = app.public_url.as_ref().map(ToString::to_string);
    let disposition = format!("attachment; filename=\"incident-{}.html\"", incident.id);
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_DISPOSITION, &disposition),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    ];
    Ok((headers, report.document(url.as_deref())).into_response())
}

/// The newest actions of its clusters.
async fn actions_of(app: &AppState, incident: &Incident) -> ApiResult<Vec<Action>> {
    let mut actions = Vec::new();
    for cluster in &incident.clusters {
        let mut query = ActionQuery {
            cluster: Some(cluster.clone()),
            limit: ACTIONS_PAGE,
            ..ActionQuery::default()
        };
        for _ in 0..ACTION_PAGES_MAX {
            let page = app.actions.list(&query).await?;
            actions.extend(page.actions.into_iter().map(|view| view.action));
            match page.next_before {
                Some(before) => query.before = Some(before.to_string()),
                None => break,
            }
        }
    }
    Ok(actions)
}
