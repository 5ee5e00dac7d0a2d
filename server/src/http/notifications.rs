//! Notification targets and deliveries through the API.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use galera::access::Operation;
use galera::publish::notification::delivery::{
    Delivery, DeliveryList, DeliveryState, TargetList, TargetView,
};
use http::StatusCode;
use notify::{DeliveryQuery, Draft, NotifyError};
use serde::Deserialize;

use super::AppState;
use super::extract::{JsonBody, QueryOf};
use super::identity::Session;
use super::problem::{ApiError, ApiResult};

/// Deliveries of a page unless the request says otherwise, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;

/// `GET /api/v1/notifications/targets`.
pub(super) async fn targets(app: AppState, session: Session) -> ApiResult<Json<TargetList>> {
    session.actor(Operation::FollowNotifications)?;
    Ok(Json(app.notify.targets().await?))
}

/// `POST /api/v1/notifications/targets`.
pub(super) async fn create(
    app: AppState,
    session: Session,
    JsonBody(draft): JsonBody<Draft>,
) -> ApiResult<Response> {
    let by = session.actor(Operation::ManageNotifications)?;
    let view = app.notify.create(&by.name, &draft).await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// `GET /api/v1/notifications/targets/{id}`.
pub(super) async fn target(
    app: AppState,
    session: Session,
    Path(id): Path<String>,
) -> ApiResult<Json<TargetView>> {
    session.actor(Operation::FollowNotifications)?;
    Ok(Json(app.notify.target(&id).await?))
}

/// `PATCH /api/v1/notifications/targets/{id}`.
pub(super) async fn change(
    app: AppState,
    session: Session,
    Path(id): Path<String>,
    JsonBody(draft): JsonBody<Draft>,
) -> ApiResult<Json<TargetView>> {
    let by = session.actor(Operation::ManageNotifications)?;
    Ok(Json(app.notify.change(&by.name, &id, &draft).await?))
}

/// `DELETE /api/v1/notifications/targets/{id}`.
pub(super) async fn remove(
    app: AppState,
    session: Session,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let by = session.actor(Operation::ManageNotifications)?;
    app.notify.remove(&by.name, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/notifications/targets/{id}/test`.
pub(super) async fn test(
    app: AppState,
    session: Session,
    Path(id): Path<String>,
) -> ApiResult<Json<Delivery>> {
    let by = session.actor(Operation::ManageNotifications)?;
    Ok(Json(app.notify.test(&by.name, &id).await?))
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    target: Option<String>,
    state: Option<DeliveryState>,
    limit: Option<usize>,
}

/// `GET /api/v1/notifications/deliveries`.
pub(super) async fn deliveries(
    app: AppState,
    session: Session,
    QueryOf(query): QueryOf<ListQuery>,
) -> ApiResult<Json<DeliveryList>> {
    session.actor(Operation::FollowNotifications)?;
    let target = query.target.filter(|target| !target.is_empty());
    if let Some(target) = &target {
        // A name that is none must not reach into other keys.
        app.notify.target(target).await?;
    }
    let query = DeliveryQuery {
        target,
        state: query.state,
        limit: query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
    };
    Ok(Json(app.notify.deliveries(&query).await?))
}

/// `POST /api/v1/notifications/deliveries/{target}/{notice}/redeliver`.
pub(super) async fn redeliver(
    app: AppState,
    session: Session,
    Path((target, notice)): Path<(String, String)>,
) -> ApiResult<Json<Delivery>> {
    let by = session.actor(Operation::FollowNotifications)?;
    Ok(Json(
        app.notify.redeliver(&by.name, &target, &notice).await?,
    ))
}

impl From<NotifyError> for ApiError {
    fn from(error: NotifyError) -> Self {
        let text = error.to_string();
        let detail = format!("{}{}.", text[..1].to_uppercase(), &text[1..]);
        let conflict =
            |code| Self::new(StatusCode::CONFLICT, code, "Not as it was", detail.clone());
        match error {
            NotifyError::UnknownTarget(_) => Self::not_found("unknown_target", detail),
            NotifyError::UnknownDelivery => Self::not_found("unknown_delivery", detail),
            NotifyError::Invalid(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_target",
                "Not possible like this",
                detail,
            ),
            NotifyError::TooMany => conflict("too_many_targets"),
            NotifyError::Contended => conflict("contended"),
            NotifyError::Trail(error) => error.into(),
        }
    }
}
