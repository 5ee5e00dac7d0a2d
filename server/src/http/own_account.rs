//! The API of the own account: profile, sessions, password, second factor. Any signed-in user may use it, also one who must
//! enrol a second factor first.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::session::SessionGuard;
use galera::publish::accounts::{
    EnrolmentView, OwnAccountView, OwnFactorView, OwnSessionView, RecoveryCodesView,
};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use uuid::Uuid;

use accounts::{EnrolmentOffer, OwnAccountError};

use super::AppState;
use super::account_events;
use super::extract::JsonBody;
use super::identity::OwnSession;
use super::problem::{ApiError, ApiResult};
use super::session::{RequestClient, clear_session_cookie, step_up_view};
use crate::status_pages::qr_code;

/// `GET /api/v1/me`.
pub(super) async fn show(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<Json<OwnAccountView>> {
    let profile = app.authenticator.own_profile(&session).await?;
    let factor = profile.factor;
    // A client that only has the session must not learn the secret.
    let enrolment = match app.authenticator.require_recent_proof(&session).await {
        Ok(()) => profile.enrolment.map(enrolment_view),
        Err(_) => None,
    };
    let required = &app.authenticator.policy().second_factor_roles;
    let principal = &session.principal;
    Ok(Json(OwnAccountView {
        username: principal.username.to_string(),
        roles: principal.roles.clone(),
        email: profile.email,
        sessions: sessions(&app, &session),
        second_factor: OwnFactorView {
            required: principal.roles.iter().any(|role| required.contains(role)),
            enrolled_at: factor.map(|factor| factor.enrolled_at),
            recovery_codes_left: factor.map_or(0, |factor| factor.recovery_codes_left),
            enrolment,
        },
        step_up: step_up_view(&app, &session),
        recent_events: account_events::recent(&app, principal.username.as_ref()).await,
    }))
}

fn sessions(app: &AppState, current: &SessionGuard) -> Vec<OwnSessionView> {
    app.authenticator
        .own_sessions(current)
        .into_iter()
        .map(|session| OwnSessionView {
            id: session.id.to_string(),
            current: session.id == current.id,
            created_at: session.created_at,
            expires_at: session.expires_at,
            address: session.address.map(|address| address.to_string()),
            user_agent: session.user_agent,
        })
        .collect()
}

fn enrolment_view(offer: EnrolmentOffer) -> EnrolmentView {
    EnrolmentView {
        secret: offer.secret,
        uri: offer.uri,
        expires_at: offer.expires_at,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePasswordRequest {
    current: String,
    new: String,
}

/// `POST /api/v1/me/password`: ends the other sessions.
pub(super) async fn change_password(
    app: AppState,
    OwnSession(session): OwnSession,
    client: RequestClient,
    JsonBody(body): JsonBody<ChangePasswordRequest>,
) -> ApiResult<StatusCode> {
    app.authenticator
        .change_own_password(&session, &body.current, &body.new, client.address())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /api/v1/me/sessions`: signs out everywhere, here too.
pub(super) async fn end_sessions(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<Response> {
    app.authenticator.end_own_sessions(&session).await?;
    Ok(clear_session_cookie(
        &app,
        StatusCode::NO_CONTENT.into_response(),
    ))
}

/// `DELETE /api/v1/me/sessions/{id}`.
pub(super) async fn end_session(
    app: AppState,
    OwnSession(session): OwnSession,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let id: Uuid = id.parse().map_err(|_| OwnAccountError::UnknownSession)?;
    app.authenticator.end_own_session(&session, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/me/factor`: starts the enrolment of a second factor.
pub(super) async fn start_enrolment(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<Json<EnrolmentView>> {
    app.authenticator.require_recent_proof(&session).await?;
    let offer = app.authenticator.start_enrolment(&session).await?;
    Ok(Json(enrolment_view(offer)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmEnrolmentRequest {
    code: String,
}

/// `POST /api/v1/me/factor/confirm`: completes the enrolment; the other sessions end.
pub(super) async fn confirm_enrolment(
    app: AppState,
    OwnSession(session): OwnSession,
    JsonBody(body): JsonBody<ConfirmEnrolmentRequest>,
) -> ApiResult<Json<RecoveryCodesView>> {
    app.authenticator.require_recent_proof(&session).await?;
    let codes = app
        .authenticator
        .confirm_enrolment(&session, &body.code)
        .await?;
    Ok(Json(RecoveryCodesView {
        recovery_codes: codes.into_codes(),
    }))
}

/// `DELETE /api/v1/me/factor`.
pub(super) async fn remove_factor(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<StatusCode> {
    app.authenticator.require_recent_proof(&session).await?;
    app.authenticator.remove_own_factor(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/me/recovery-codes`: replaces the recovery codes.
pub(super) async fn renew_recovery_codes(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<Json<RecoveryCodesView>> {
    app.authenticator.require_recent_proof(&session).await?;
    let codes = app.authenticator.renew_recovery_codes(&session).await?;
    Ok(Json(RecoveryCodesView {
        recovery_codes: codes.into_codes(),
    }))
}

/// `GET /api/v1/me/factor/qr.svg`: the waiting enrolment as a QR code.
pub(super) async fn qr(app: AppState, OwnSession(session): OwnSession) -> ApiResult<Response> {
    app.authenticator.require_recent_proof(&session).await?;
    let profile = app.authenticator.own_profile(&session).await?;
    let enrolment = profile.enrolment.ok_or(OwnAccountError::NotEnrolling)?;
    let svg = qr_code(&enrolment.uri)
        .ok_or_else(|| ApiError::internal("the URI of an enrolment does not fit a QR code"))?;
    Ok(([(CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}
