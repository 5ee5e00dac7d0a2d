//! The API of notification targets and deliveries.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use galera::access::Operation;
use galera::publish::notification::delivery::{
    Delivery, DeliveryList, DeliveryState, TargetList, TargetView,
};
use http::StatusCode;
use notify::{DeliveryQuery, NotifyError, TargetRequest};
use serde::Deserialize;

use super::AppState;
use super::extract::{JsonBody, QueryParams};
use super::identity::CurrentSession;
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};

/// Default and maximum page size.
const DEFAULT_LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;

/// Lists the notification targets.
#[utoipa::path(
    get, path = "/api/v1/notifications/targets", operation_id = "list_targets", tag = "notifications",
    responses((status = 200, description = "By name, without secrets.", body = TargetList)),
    extensions(("x-problems" = json!([problems::AUDITED]))),
)]
pub(super) async fn targets(app: AppState, session: CurrentSession) -> ApiResult<Json<TargetList>> {
    session.authorize(Operation::ViewNotifications)?;
    Ok(Json(app.notifications.list_targets().await?))
}

/// Adds a notification target.
#[utoipa::path(
    post, path = "/api/v1/notifications/targets", operation_id = "add_target", tag = "notifications",
    request_body = TargetRequest,
    responses((status = 201, description = "The new target.", body = TargetView)),
    extensions(("x-problems" = json!([problems::AUDITED, "409 too_many_targets", "422 invalid_target"]))),
)]
pub(super) async fn create(
    app: AppState,
    session: CurrentSession,
    JsonBody(body): JsonBody<TargetRequest>,
) -> ApiResult<Response> {
    let by = session.authorize(Operation::ManageNotifications)?;
    let view = app.notifications.create_target(&by.name, &body).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Shows a notification target.
#[utoipa::path(
    get, path = "/api/v1/notifications/targets/{id}", operation_id = "show_target", tag = "notifications",
    responses((status = 200, description = "The target.", body = TargetView)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_target"]))),
)]
pub(super) async fn target(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<TargetView>> {
    session.authorize(Operation::ViewNotifications)?;
    Ok(Json(app.notifications.get_target(&id).await?))
}

/// Changes a notification target.
#[utoipa::path(
    patch, path = "/api/v1/notifications/targets/{id}", operation_id = "change_target", tag = "notifications",
    request_body = TargetRequest,
    responses((status = 200, description = "The target afterwards.", body = TargetView)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_target", "422 invalid_target"]))),
)]
pub(super) async fn update(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<TargetRequest>,
) -> ApiResult<Json<TargetView>> {
    let by = session.authorize(Operation::ManageNotifications)?;
    Ok(Json(
        app.notifications
            .update_target(&by.name, &id, &body)
            .await?,
    ))
}

/// Removes a notification target.
#[utoipa::path(
    delete, path = "/api/v1/notifications/targets/{id}", operation_id = "remove_target", tag = "notifications",
    responses((status = 204, description = "Removed.")),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_target"]))),
)]
pub(super) async fn remove(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let by = session.authorize(Operation::ManageNotifications)?;
    app.notifications.remove_target(&by.name, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test notification.
#[utoipa::path(
    post, path = "/api/v1/notifications/targets/{id}/test", operation_id = "test_target", tag = "notifications",
    responses((status = 200, description = "Its delivery.", body = Delivery)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_target"]))),
)]
pub(super) async fn test(
    app: AppState,
    session: CurrentSession,
    Path(id): Path<String>,
) -> ApiResult<Json<Delivery>> {
    let by = session.authorize(Operation::ManageNotifications)?;
    Ok(Json(app.notifications.send_test(&by.name, &id).await?))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryListQuery {
    target: Option<String>,
    state: Option<DeliveryState>,
    limit: Option<usize>,
}

/// Lists deliveries, newest first.
#[utoipa::path(
    get, path = "/api/v1/notifications/deliveries", operation_id = "list_deliveries", tag = "notifications",
    params(DeliveryListQuery),
    responses((status = 200, description = "The deliveries.", body = DeliveryList)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_target"]))),
)]
pub(super) async fn deliveries(
    app: AppState,
    session: CurrentSession,
    QueryParams(query): QueryParams<DeliveryListQuery>,
) -> ApiResult<Json<DeliveryList>> {
    session.authorize(Operation::ViewNotifications)?;
    let target = query.target.filter(|target| !target.is_empty());
    if let Some(target) = &target {
        // An invalid id must not reach into other keys.
        app.notifications.get_target(target).await?;
    }
    let query = DeliveryQuery {
        target,
        state: query.state,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, LIMIT_MAX),
    };
    Ok(Json(app.notifications.list_deliveries(&query).await?))
}

/// Sends a notification again.
#[utoipa::path(
    post, path = "/api/v1/notifications/deliveries/{target}/{notice}/redeliver", operation_id = "redeliver", tag = "notifications",
    responses((status = 200, description = "Its delivery.", body = Delivery)),
    extensions(("x-problems" = json!([problems::AUDITED, "404 unknown_target", "404 unknown_delivery", "409 forged_delivery"]))),
)]
pub(super) async fn redeliver(
    app: AppState,
    session: CurrentSession,
    Path((target, notification)): Path<(String, String)>,
) -> ApiResult<Json<Delivery>> {
    let by = session.authorize(Operation::ViewNotifications)?;
    Ok(Json(
        app.notifications
            .redeliver(&by.name, &target, &notification)
            .await?,
    ))
}

impl From<NotifyError> for ApiError {
    fn from(error: NotifyError) -> Self {
        let detail = to_sentence(&error.to_string());
        match error {
            NotifyError::UnknownTarget(_) => Self::not_found("unknown_target", detail),
            NotifyError::ForgedDelivery => Self::conflict("forged_delivery", detail),
            NotifyError::UnknownDelivery => Self::not_found("unknown_delivery", detail),
            NotifyError::Invalid(_) => Self::unprocessable("invalid_target", detail),
            NotifyError::TooManyTargets => Self::conflict("too_many_targets", detail),
            NotifyError::Contended => Self::conflict("contended", detail),
            NotifyError::Trail(error) => error.into(),
        }
    }
}
