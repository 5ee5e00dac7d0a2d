//! The API of the settings in force.

use axum::Json;
use galera::access::Operation;
use galera::publish::settings::SettingList;

use super::AppState;
use super::identity::CurrentSession;
use super::problem::ApiResult;

/// Lists the settings that this replica runs with, and where each of them comes from.
#[utoipa::path(
    get, path = "/api/v1/settings", operation_id = "list_settings", tag = "settings",
    responses((status = 200, description = "In the order of the documentation.", body = SettingList)),
)]
pub(super) async fn list(app: AppState, session: CurrentSession) -> ApiResult<Json<SettingList>> {
    session.authorize(Operation::ManageAccounts)?;
    Ok(Json(SettingList {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: app.settings.list(),
    }))
}
