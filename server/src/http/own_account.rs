//! The API of the own account: profile, sessions, password, second factor. Any signed-in user may use it, also one who must
//! enrol a second factor first.

use axum::Json;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use console_core::session::SessionGuard;
use galera::publish::accounts::{
    EnrolmentView, ExternalAccountView, OwnAccountView, OwnFactorView, OwnSessionView,
    RecoveryCodesView,
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
use super::openapi::problems;
use super::problem::{ApiError, ApiResult};
use super::session::{RequestClient, clear_session_cookie, step_up_view};
use super::sign_on::explain_grants;
use crate::status_pages::qr_code;

/// Shows the own account.
#[utoipa::path(
    get, path = "/api/v1/me", operation_id = "show_own_account", tag = "own account",
    responses((status = 200, description = "The account.", body = OwnAccountView)),
    extensions(("x-problems" = json!([problems::OWNER]))),
)]
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
        grants: match principal.is_external {
            true => Vec::new(),
            false => explain_grants(&principal.grants),
        },
        email: profile.email,
        sessions: sessions(&app, &session),
        second_factor: OwnFactorView {
            required: principal.roles.iter().any(|role| required.contains(role)),
            enrolled_at: factor.map(|factor| factor.enrolled_at),
            recovery_codes_left: factor.map_or(0, |factor| factor.recovery_codes_left),
            enrolment,
        },
        step_up: step_up_view(&app, &session),
        external: external(&app, &session).await?,
        recent_events: account_events::recent(&app, principal.username.as_ref()).await,
    }))
}

/// How the account has its roles, if it is one of the identity provider.
async fn external(
    app: &AppState,
    session: &SessionGuard,
) -> ApiResult<Option<ExternalAccountView>> {
    if !session.principal.is_external {
        return Ok(None);
    }
    let profile = app.authenticator.external_profile(session).await?;
    Ok(profile.map(|(identity, grants)| ExternalAccountView {
        provider: app.sign_on.as_ref().map_or_else(
            || identity.issuer.clone(),
            |sign_on| sign_on.name().to_owned(),
        ),
        issuer: identity.issuer,
        subject: identity.subject,
        grants: explain_grants(&grants),
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

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePasswordRequest {
    current: String,
    new: String,
}

/// Changes the own password and ends the other sessions.
#[utoipa::path(
    post, path = "/api/v1/me/password", operation_id = "change_own_password", tag = "own account",
    request_body = ChangePasswordRequest,
    responses((status = 204, description = "Changed.")),
    extensions(("x-problems" = json!([problems::OWNER, "403 wrong_password", "422 weak_password"]))),
)]
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

/// Signs out everywhere, here too.
#[utoipa::path(
    delete, path = "/api/v1/me/sessions", operation_id = "end_own_sessions", tag = "own account",
    responses(
        (status = 204, description = "All sessions ended.", headers(("Set-Cookie" = String, description = "Sets or clears the cookie of the session; a sign-in also sets the cookie of the device."))),
    ),
    extensions(("x-problems" = json!([problems::OWNER]))),
)]
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

/// Ends one session of the own account.
#[utoipa::path(
    delete, path = "/api/v1/me/sessions/{id}", operation_id = "end_own_session", tag = "own account",
    responses((status = 204, description = "The session ended.")),
    extensions(("x-problems" = json!([problems::OWNER, "404 unknown_session"]))),
)]
pub(super) async fn end_session(
    app: AppState,
    OwnSession(session): OwnSession,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let id: Uuid = id.parse().map_err(|_| OwnAccountError::UnknownSession)?;
    app.authenticator.end_own_session(&session, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts the enrolment of a second factor.
#[utoipa::path(
    post, path = "/api/v1/me/factor", operation_id = "start_enrolment", tag = "own account",
    responses((status = 200, description = "The secret, until a code confirms it.", body = EnrolmentView)),
    extensions(("x-problems" = json!([problems::OWNER, "403 step_up_required"]))),
)]
pub(super) async fn start_enrolment(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<Json<EnrolmentView>> {
    app.authenticator.require_recent_proof(&session).await?;
    let offer = app.authenticator.start_enrolment(&session).await?;
    Ok(Json(enrolment_view(offer)))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmEnrolmentRequest {
    code: String,
}

/// Completes the enrolment; the other sessions end.
#[utoipa::path(
    post, path = "/api/v1/me/factor/confirm", operation_id = "confirm_enrolment", tag = "own account",
    request_body = ConfirmEnrolmentRequest,
    responses((status = 200, description = "The recovery codes, which are shown only once.", body = RecoveryCodesView)),
    extensions(("x-problems" = json!([problems::OWNER, problems::CODE, "403 step_up_required", "409 not_enrolling"]))),
)]
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

/// Removes the second factor of the own account.
#[utoipa::path(
    delete, path = "/api/v1/me/factor", operation_id = "remove_own_factor", tag = "own account",
    responses((status = 204, description = "Removed.")),
    extensions(("x-problems" = json!([problems::OWNER, "403 step_up_required", "409 no_second_factor", "409 second_factor_needed"]))),
)]
pub(super) async fn remove_factor(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<StatusCode> {
    app.authenticator.require_recent_proof(&session).await?;
    app.authenticator.remove_own_factor(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the recovery codes.
#[utoipa::path(
    post, path = "/api/v1/me/recovery-codes", operation_id = "renew_recovery_codes", tag = "own account",
    responses((status = 200, description = "The new recovery codes, which are shown only once.", body = RecoveryCodesView)),
    extensions(("x-problems" = json!([problems::OWNER, "403 step_up_required", "409 no_second_factor"]))),
)]
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

/// Shows the waiting enrolment as a QR code.
#[utoipa::path(
    get, path = "/api/v1/me/factor/qr.svg", operation_id = "show_enrolment_qr", tag = "own account",
    responses((status = 200, description = "The `otpauth:` URI as a QR code.", body = String, content_type = "image/svg+xml")),
    extensions(("x-problems" = json!([problems::OWNER, "403 step_up_required", "409 not_enrolling"]))),
)]
pub(super) async fn qr(app: AppState, OwnSession(session): OwnSession) -> ApiResult<Response> {
    app.authenticator.require_recent_proof(&session).await?;
    let profile = app.authenticator.own_profile(&session).await?;
    let enrolment = profile.enrolment.ok_or(OwnAccountError::NotEnrolling)?;
    let svg = qr_code(&enrolment.uri)
        .ok_or_else(|| ApiError::internal("the URI of an enrolment does not fit a QR code"))?;
    Ok(([(CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}
