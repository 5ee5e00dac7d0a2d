//! The API for signing in and out, and for proving again to be the account's owner.

use std::net::{IpAddr, Ipv4Addr};

use accounts::{CodeError, IssuedSession, OwnAccountError, OwnerProof, SignInClient, SignInError};
use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use console_core::session::{Principal, SessionGuard};
use galera::ClusterName;
use galera::access::{
    ClusterScope, ExplainedOperation, GrantTarget, GroupName, PermissionView, RoleGrant,
    explain_permission, explain_refusal,
};
use galera::publish::accounts::StepUpView;
use galera::publish::api::{Credentials, SessionView};
use http::StatusCode;
use http::header::{SET_COOKIE, USER_AGENT};
use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::access::check_operation;
use super::cookie;
use super::extract::{JsonBody, QueryParams};
use super::identity::{AnyCredential, OwnSession, RequestUser};
use super::openapi::problems;
use super::problem::{ApiError, ApiResult, to_sentence};
use super::request_log::ClientAddress;

/// The client of a request: its address and browser.
pub(super) struct RequestClient(SignInClient);

impl RequestClient {
    pub(super) fn address(&self) -> IpAddr {
        self.0.address
    }
}

impl From<RequestClient> for SignInClient {
    fn from(client: RequestClient) -> Self {
        client.0
    }
}

impl<S: Sync> FromRequestParts<S> for RequestClient {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let address = parts.extensions.get::<ClientAddress>();
        let user_agent = parts.headers.get(USER_AGENT);
        Ok(Self(SignInClient {
            address: address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |client| client.0),
            user_agent: user_agent
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            devices: cookie::devices(&parts.headers),
        }))
    }
}

/// The session in a response.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct SessionResponse {
    #[serde(flatten)]
    session: SessionView,
    /// Set while the account may only enrol the second factor that a role requires.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    second_factor_enrolment_required: bool,
    /// The groups of the account, which approval policies may name; absent without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupName>,
}

/// Signs in.
///
/// Sets the cookies of the session and of the device, which is then throttled separately.
#[utoipa::path(
    post, path = "/api/v1/session", operation_id = "sign_in", tag = "session",
    request_body = Credentials,
    security(()),
    responses(
        (status = 200, description = "Signed in.", body = SessionResponse, headers(("Set-Cookie" = String, description = "Sets or clears the cookie of the session; a sign-in also sets the cookie of the device."))),
    ),
    extensions(("x-problems" = json!([problems::SIGN_IN]))),
)]
pub(super) async fn sign_in(
    app: AppState,
    client: RequestClient,
    JsonBody(credentials): JsonBody<Credentials>,
) -> ApiResult<Response> {
    let Credentials {
        username,
        password,
        code,
    } = credentials;
    let signed_in = app
        .authenticator
        .sign_in(&username, &password, code.as_deref(), &client.into())
        .await?;
    Ok(set_session_cookie(
        &app,
        &signed_in,
        Json(session_response(&signed_in.session)).into_response(),
    ))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionQuery {
    /// Only roles that count on this cluster.
    cluster: Option<ClusterName>,
}

/// Shows the current account, its roles and the expiry of the session.
#[utoipa::path(
    get, path = "/api/v1/session", operation_id = "show_session", tag = "session",
    params(SessionQuery),
    responses((status = 200, description = "The session.", body = SessionResponse)),
)]
pub(super) async fn show(
    AnyCredential(session): AnyCredential,
    QueryParams(query): QueryParams<SessionQuery>,
) -> Json<SessionResponse> {
    let mut response = session_response(&session);
    if let Some(cluster) = &query.cluster {
        let permitted = session.principal.clusters.permits(cluster);
        let narrowed = session.principal.narrowed(GrantTarget::Cluster(cluster));
        let narrowed = narrowed.filter(|_| permitted);
        response.session.permissions = permissions(&session.principal, narrowed.as_ref(), cluster);
        response.session.roles = narrowed.map(|user| user.roles).unwrap_or_default();
    }
    Json(response)
}

/// What `principal`, of which `narrowed` counts on `cluster`, may do there: as the access table decides.
fn permissions(
    principal: &Principal,
    narrowed: Option<&Principal>,
    cluster: &ClusterName,
) -> Vec<PermissionView> {
    let everywhere = [RoleGrant::of(principal.roles.clone(), ClusterScope::all())];
    let grants = match &principal.grants[..] {
        [] => &everywhere[..],
        grants => grants,
    };
    let explain = |operation: ExplainedOperation| {
        if !principal.clusters.permits(cluster) {
            return explain_permission(&[], cluster, operation);
        }
        let explained = explain_permission(grants, cluster, operation);
        match narrowed.map(|user| check_operation(user, operation.operation())) {
            Some(Err(error)) if explained.permitted => {
                explain_refusal(cluster, operation, error.detail())
            }
            None => explain_permission(&[], cluster, operation),
            _ => explained,
        }
    };
    ExplainedOperation::ALL.map(explain).into()
}

/// Signs out.
#[utoipa::path(
    delete, path = "/api/v1/session", operation_id = "sign_out", tag = "session",
    responses(
        (status = 204, description = "Signed out.", headers(("Set-Cookie" = String, description = "Sets or clears the cookie of the session; a sign-in also sets the cookie of the device."))),
    ),
)]
pub(super) async fn sign_out(
    app: AppState,
    OwnSession(session): OwnSession,
) -> ApiResult<Response> {
    end_session(&app, &session).await?;
    Ok(clear_session_cookie(
        &app,
        StatusCode::NO_CONTENT.into_response(),
    ))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepUpRequest {
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

/// Proves again to be the account's owner.
#[utoipa::path(
    post, path = "/api/v1/session/step-up", operation_id = "step_up", tag = "session",
    request_body = StepUpRequest,
    responses((status = 200, description = "Until when the proof counts.", body = StepUpView)),
    extensions(("x-problems" = json!([problems::OWNER, problems::CODE, "403 wrong_password", "403 second_factor_required", "422 no_proof"]))),
)]
pub(super) async fn step_up(
    app: AppState,
    OwnSession(session): OwnSession,
    client: RequestClient,
    JsonBody(body): JsonBody<StepUpRequest>,
) -> ApiResult<Json<StepUpView>> {
    let proof = OwnerProof {
        password: body.password,
        code: body.code,
    };
    let session = app
        .authenticator
        .step_up(&session, &proof, client.address())
        .await?;
    Ok(Json(step_up_view(&app, &session)))
}

/// Until when `session` permits what needs a recent proof.
pub(super) fn step_up_view(app: &AppState, session: &SessionGuard) -> StepUpView {
    let interval = app.authenticator.policy().step_up_interval;
    StepUpView {
        proven_at: session.last_proof,
        valid_until: interval.map(|interval| session.last_proof.plus(interval)),
    }
}

/// Ends a session in every replica.
pub(super) async fn end_session(app: &AppState, session: &SessionGuard) -> ApiResult<()> {
    app.authenticator.sign_out(session).await.map_err(|error| {
        ApiError::unavailable(
            "registry_unavailable",
            "Could not end the session because etcd is unreachable; try again.",
        )
        .with_source(error)
    })
}

/// Sets the cookies of session and device, and the user name for the request log.
pub(super) fn set_session_cookie(
    app: &AppState,
    signed_in: &IssuedSession,
    mut response: Response,
) -> Response {
    let session = &signed_in.session;
    let lifetime = console_core::clock::now().age(session.expires_at);
    if let Some(value) = cookie::set(&signed_in.token, lifetime, app.is_https()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    let device = app.authenticator.device_token(session);
    if let Some(value) = device.and_then(|device| cookie::set_device(&device, app.is_https())) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
        .extensions_mut()
        .insert(RequestUser(session.principal.username.clone()));
    response
}

/// Removes the session cookie.
pub(super) fn clear_session_cookie(app: &AppState, mut response: Response) -> Response {
    if let Some(value) = cookie::clear(app.is_https()) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn session_response(session: &SessionGuard) -> SessionResponse {
    SessionResponse {
        session: SessionView {
            username: session.principal.username.to_string(),
            roles: session.principal.roles.clone(),
            expires_at: session.expires_at,
            permissions: Vec::new(),
        },
        second_factor_enrolment_required: session.principal.must_enrol,
        groups: session.principal.groups.to_vec(),
    }
}

const SIGN_IN_UNAVAILABLE: &str = "Sign-in is unavailable while etcd is unreachable; existing sessions stay valid. Try again in a moment.";
const SIGNING_KEY_MISSING: &str = "Sign-in is unavailable: etcd holds no usable key that signs sessions, because it was deleted or changed outside the console. A replica replaces it within seconds; then sign in again.";
const CODE_NEEDED: &str = "The account has a second factor; send a code of the authenticator app, or a recovery code, as `code`.";

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::InvalidCredentials => {
                Self::unauthorized("invalid_credentials", "Invalid user name or password.")
            }
            SignInError::SecondFactorRequired { .. } => {
                Self::unauthorized("second_factor_required", CODE_NEEDED)
            }
            SignInError::Code(error) => Self::unauthorized(code_of(error), code_detail(error)),
            SignInError::FactorUnusable(name) => factor_unusable(&name),
            SignInError::ChallengeExpired => Self::unauthorized(
                "sign_in_expired",
                "The sign-in took too long; enter user name and password again.",
            ),
            SignInError::Disabled => Self::forbidden(
                "account_disabled",
                "This account is disabled; ask an administrator to enable it.",
            ),
            SignInError::NoExternalRole => Self::forbidden(
                "no_external_role",
                "The identity provider names no group of yours that has a role here; ask an administrator for one, then sign in again.",
            ),
            SignInError::LocalAccountsOff => Self::forbidden(
                "local_accounts_off",
                "Accounts with a password are switched off here (--local-accounts off); sign in with the identity provider.",
            ),
            error @ SignInError::IdentityUnusable { .. } => Self::conflict(
                "identity_unusable",
                format!(
                    "{}; ask an administrator to look at `galera-console state show`.",
                    capitalize(&error.to_string())
                ),
            ),
            SignInError::Throttled(wait) => throttled(wait),
            SignInError::Busy => busy(),
            SignInError::Unavailable(cause) => {
                Self::unavailable("registry_unavailable", SIGN_IN_UNAVAILABLE).with_source(cause)
            }
            SignInError::SigningKeyMissing => {
                Self::unavailable("registry_unavailable", SIGNING_KEY_MISSING)
            }
            SignInError::Alarm { alarm, cause } => Self::etcd_alarm(alarm).with_source(cause),
            SignInError::Internal(cause) => Self::internal(cause),
        }
    }
}

/// Not 401, which means that there is no session.
impl From<OwnAccountError> for ApiError {
    fn from(error: OwnAccountError) -> Self {
        match error {
            OwnAccountError::WrongPassword => {
                Self::forbidden("wrong_password", "The password of your account is wrong; the session continues.")
            }
            OwnAccountError::CodeRequired => Self::forbidden("second_factor_required", CODE_NEEDED),
            OwnAccountError::Code(error) => Self::forbidden(code_of(error), code_detail(error)),
            OwnAccountError::NoProof => {
                Self::unprocessable("no_proof", "Send the password of your account as `password`, or a code of its second factor as `code`.")
            }
            OwnAccountError::StepUpRequired(_) => Self::forbidden(
                "step_up_required",
                format!(
                    "{}; enter your password, or a code of your second factor, again: on the page or with POST /api/v1/session/step-up.",
                    capitalize(&error.to_string())
                ),
            ),
            OwnAccountError::SignInAgain(_) => Self::forbidden(
                "step_up_required",
                format!(
                    "{}; sign in again with the identity provider at /oidc/sign-in?proof=on, or enter a code of your second factor here.",
                    capitalize(&error.to_string())
                ),
            ),
            OwnAccountError::ExternalAccount => Self::forbidden(
                "external_account",
                "This account has no password here; sign in again with the identity provider at /oidc/sign-in?proof=on.",
            ),
            OwnAccountError::Password(error) => Self::unprocessable("weak_password", to_sentence(&error.to_string())),
            OwnAccountError::NotEnrolling => {
                Self::conflict("not_enrolling", "No enrolment is waiting for a code; start one with POST /api/v1/me/factor.")
            }
            OwnAccountError::NoFactor => Self::conflict("no_second_factor", "The account has no second factor; enrol one first."),
            OwnAccountError::FactorNeeded => Self::conflict(
                "second_factor_needed",
                "A role of this account requires a second factor; enrol another one, which replaces it.",
            ),
            OwnAccountError::FactorUnusable(name) => factor_unusable(&name),
            OwnAccountError::UnknownSession => {
                Self::not_found("unknown_session", "Your account has no such session; GET /api/v1/me lists its sessions.")
            }
            OwnAccountError::Ended => Self::unauthorized("session_ended", "The session has ended; sign in again."),
            OwnAccountError::Throttled(wait) => throttled(wait),
            OwnAccountError::Busy => busy(),
            OwnAccountError::Contended => {
                Self::conflict("contended", "The account is being changed concurrently; try again.")
            }
            OwnAccountError::Unavailable(cause) => Self::unavailable(
                "registry_unavailable",
                "etcd is unreachable, and nothing can be checked or changed without it; try again in a moment.",
            )
            .with_source(cause),
            OwnAccountError::Alarm { alarm, cause } => Self::etcd_alarm(alarm).with_source(cause),
            OwnAccountError::Internal(cause) => Self::internal(cause),
        }
    }
}

fn capitalize(text: &str) -> String {
    to_sentence(text).trim_end_matches('.').to_owned()
}

fn code_of(error: CodeError) -> &'static str {
    match error {
        CodeError::Wrong => "second_factor_invalid",
        CodeError::Used => "second_factor_used",
    }
}

fn code_detail(error: CodeError) -> &'static str {
    match error {
        CodeError::Wrong => {
            "The code is wrong; enter the one that the app shows now. If it stays wrong, compare the clocks of the device and the console."
        }
        CodeError::Used => "The code was used already; wait until the app shows the next one.",
    }
}

fn factor_unusable(name: &accounts::UserName) -> ApiError {
    ApiError::forbidden(
        "second_factor_unusable",
        format!(
            "The second factor of {name} was changed outside the console; an administrator can reset it with `galera-console user reset-factor {name}`."
        ),
    )
}

fn throttled(wait: std::time::Duration) -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "throttled",
        "Too many attempts",
        format!(
            "Too many failed sign-in attempts; try again in {} s.",
            wait.as_secs() + 1
        ),
    )
    .with_retry_after(wait)
}

fn busy() -> ApiError {
    ApiError::unavailable(
        "sign_in_busy",
        "Too many concurrent sign-ins; try again in a moment.",
    )
}
