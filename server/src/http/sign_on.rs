//! Signing in and out with the identity provider. Its answers are pages for a browser, and problem documents for other clients.

use std::sync::Arc;

use axum::response::{Html, IntoResponse, Response};
use galera::access::RoleGrant;
use html_escape::encode_double_quoted_attribute;
use http::header::{CONTENT_SECURITY_POLICY, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use accounts::SignInError;

use super::AppState;
use super::account_events::first_location;
use super::cookie;
use super::extract::{FormBody, QueryParams};
use super::plain_page::{FormTarget, plain_page};
use super::problem::{ApiError, ApiResult, to_sentence};
use super::session::{RequestClient, set_session_cookie};
use super::sign_in::{code_page, encode_query, local_path, see_other};
use crate::sign_on::{CallbackAnswer, SignOn, SignOnError};

/// The path at which sign-ins with the provider begin.
const SIGN_IN_PATH: &str = "/oidc/sign-in";

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BeginQuery {
    /// The page to show afterwards.
    next: Option<String>,
    /// `on`: the person must prove their identity to the provider again.
    proof: Option<String>,
}

#[derive(Default, Deserialize, utoipa::ToSchema)]
pub(super) struct BeginForm {
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    proof: Option<String>,
}

/// Begins a sign-in with the identity provider.
#[utoipa::path(
    get, path = "/oidc/sign-in", operation_id = "begin_sign_on", tag = "session",
    params(BeginQuery), security(()),
    responses((status = 303, description = "To the identity provider.", headers(
        ("Location" = String, description = "The authorization endpoint of the provider."),
        ("Set-Cookie" = String, description = "Binds the sign-in to this browser."),
    ))),
    extensions(("x-problems" = json!(["404 sign_on_off", "503 provider_unavailable", "503 registry_unavailable", "503 sign_in_busy"]))),
)]
pub(super) async fn begin(
    app: AppState,
    QueryParams(query): QueryParams<BeginQuery>,
) -> ApiResult<Response> {
    redirect_to_provider(&app, query.next, query.proof).await
}

/// Begins a sign-in with the identity provider, from a form.
#[utoipa::path(
    post, path = "/oidc/sign-in", operation_id = "begin_sign_on_by_form", tag = "session",
    request_body(content = String, description = "`next` and `proof`, as the parameters of `GET`.", content_type = "application/x-www-form-urlencoded"),
    security(()),
    responses((status = 303, description = "To the identity provider.", headers(
        ("Location" = String, description = "The authorization endpoint of the provider."),
        ("Set-Cookie" = String, description = "Binds the sign-in to this browser."),
    ))),
    extensions(("x-problems" = json!(["400 invalid_body", "404 sign_on_off", "415 unsupported_media_type", "503 provider_unavailable", "503 registry_unavailable", "503 sign_in_busy"]))),
)]
pub(super) async fn begin_by_form(
    app: AppState,
    FormBody(form): FormBody<BeginForm>,
) -> ApiResult<Response> {
    redirect_to_provider(&app, form.next, form.proof).await
}

async fn redirect_to_provider(
    app: &AppState,
    next: Option<String>,
    proof: Option<String>,
) -> ApiResult<Response> {
    let sign_on = configured(app)?;
    let next = next.unwrap_or_default();
    let proof = proof.as_deref() == Some("on");
    let begun = sign_on
        .begin(&app.authenticator, local_path(&next), proof)
        .await;
    let (location, sealed) = begun.map_err(|error| refused(app, error))?;
    let mut response = see_other(&location)?;
    if let Some(cookie) = cookie::set_login(Some(&sealed), app.is_https()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    /// The issuer (RFC 9207).
    iss: Option<String>,
    /// Why the provider refuses.
    error: Option<String>,
}

/// Completes a sign-in: the identity provider sends the browser here.
#[utoipa::path(
    get, path = "/oidc/callback", operation_id = "complete_sign_on", tag = "session",
    params(CallbackQuery), security(()),
    responses((status = 200, description = "Signed in, or the form for a code of the second factor: a page.", body = String, content_type = "text/html; charset=utf-8", headers(
        ("Set-Cookie" = String, description = "The session; the cookie of the sign-in is removed."),
    ))),
    extensions(("x-problems" = json!([
        "400 sign_on_expired", "400 sign_on_not_begun", "403 account_disabled", "403 no_external_role", "403 sign_on_refused", "403 sign_on_untrusted",
        "404 sign_on_off", "409 identity_unusable", "503 provider_unavailable", "503 registry_unavailable", "503 sign_in_busy",
        "503 etcd_corrupt", "503 etcd_no_space",
    ]))),
)]
pub(super) async fn callback(
    app: AppState,
    client: RequestClient,
    headers: HeaderMap,
    QueryParams(query): QueryParams<CallbackQuery>,
) -> Response {
    let address = client.address();
    let answer = CallbackAnswer {
        code: query.code,
        state: query.state,
        iss: query.iss,
        error: query.error,
    };
    let sealed = cookie::login(&headers, app.is_https());
    let completed = complete(&app, client, sealed, &answer).await;
    let mut response = completed.unwrap_or_else(|error| {
        if error.code() == "sign_on_untrusted" {
            app.authenticator.count_external_failure(address);
        }
        error.into_response()
    });
    // Whatever the result, the sign-in is over. Of another browser's answer, this one's continues.
    let is_own = answer.state.is_some() && sealed.is_some() && !is_not_begun(&response);
    if is_own && let Some(cookie) = cookie::set_login(None, app.is_https()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

fn is_not_begun(response: &Response) -> bool {
    response.extensions().get::<NotBegun>().is_some()
}

/// Marks the answer to a sign-in that this browser did not begin.
#[derive(Clone, Copy)]
struct NotBegun;

async fn complete(
    app: &AppState,
    client: RequestClient,
    sealed: Option<&str>,
    answer: &CallbackAnswer,
) -> ApiResult<Response> {
    let sign_on = configured(app)?;
    let completed = sign_on.complete(&app.authenticator, sealed, answer).await;
    let login = match completed {
        Ok(login) => login,
        Err(error @ SignOnError::NotBegun) => {
            let mut response = refused(app, error).into_response();
            response.extensions_mut().insert(NotBegun);
            return Ok(response);
        }
        Err(error) => return Err(refused(app, error)),
    };
    let next = local_path(&login.next);
    let signed_in = app
        .authenticator
        .sign_in_external(&login.sign_in, &client.into())
        .await;
    match signed_in {
        Ok(signed_in) => {
            app.metrics.sign_on("signed_in");
            let page = refresh_page(
                "Signed in",
                &first_location(next),
                "Continue to Galera Console",
            );
            Ok(set_session_cookie(app, &signed_in, page))
        }
        Err(SignInError::SecondFactorRequired { challenge }) => {
            app.metrics.sign_on("code_required");
            Ok(code_page(app, &challenge, next, None))
        }
        Err(error) => Err(refused(app, error.into())),
    }
}

/// Ends sessions that the identity provider has ended.
#[utoipa::path(
    post, path = "/oidc/back-channel-logout", operation_id = "end_sessions_of_provider", tag = "session",
    security(()),
    request_body(content = String, description = "`logout_token`, as OpenID Connect Back-Channel Logout defines it.", content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The sessions have ended, in every replica.")),
    extensions(("x-problems" = json!(["400 sign_on_untrusted", "404 sign_on_off", "409 identity_unusable", "503 provider_unavailable", "503 registry_unavailable", "503 sign_in_busy", "503 etcd_corrupt", "503 etcd_no_space"]))),
)]
pub(super) async fn back_channel_logout(
    app: AppState,
    client: RequestClient,
    FormBody(form): FormBody<LogoutForm>,
) -> ApiResult<StatusCode> {
    let sign_on = configured(&app)?;
    let ended = sign_on.end_sessions(&app.authenticator, &form.logout_token);
    match ended.await {
        Ok(sessions) => {
            app.metrics.sign_on("logout");
            tracing::debug!(sessions, "A logout token was accepted");
            Ok(StatusCode::OK)
        }
        Err(SignOnError::Untrusted(cause)) => {
            app.metrics.sign_on("logout_refused");
            let address = client.address();
            tracing::warn!(%address, "A logout token from {address} is refused: {cause}");
            Err(ApiError::bad_request(
                "sign_on_untrusted",
                format!("The logout token is not accepted: {cause}."),
            ))
        }
        Err(error) => Err(refused(&app, error)),
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct LogoutForm {
    logout_token: String,
}

fn configured(app: &AppState) -> ApiResult<&Arc<SignOn>> {
    app.sign_on.as_ref().ok_or_else(|| {
        ApiError::not_found(
            "sign_on_off",
            "No identity provider is configured; an administrator of the console's host can set --oidc-issuer.",
        )
    })
}

/// Counts and logs why a sign-in did not succeed, and what the person reads.
fn refused(app: &AppState, error: SignOnError) -> ApiError {
    let text = error.to_string();
    let (result, problem) = match error {
        SignOnError::NotBegun => (
            "not_begun",
            ApiError::bad_request(
                "sign_on_not_begun",
                "This sign-in was not begun in this browser, or is complete already; sign in from the sign-in page.",
            ),
        ),
        SignOnError::Expired => (
            "expired",
            ApiError::bad_request(
                "sign_on_expired",
                format!("{} Sign in again.", to_sentence(&text)),
            ),
        ),
        SignOnError::Refused(_) | SignOnError::NoProof | SignOnError::Groups(_) => (
            "refused",
            ApiError::forbidden(
                "sign_on_refused",
                format!(
                    "{} Sign in again, or ask an administrator.",
                    to_sentence(&text)
                ),
            ),
        ),
        SignOnError::Untrusted(_) => (
            "untrusted",
            ApiError::forbidden(
                "sign_on_untrusted",
                format!(
                    "{} Sign in again; if it happens again, an administrator must compare the provider's settings with the console's.",
                    to_sentence(&text)
                ),
            ),
        ),
        SignOnError::Unavailable(_) => (
            "unavailable",
            ApiError::unavailable(
                "provider_unavailable",
                "The identity provider cannot be used now, as the console's log explains; try again in a moment, or sign in with a password of this console.",
            ),
        ),
        SignOnError::Busy => (
            "busy",
            ApiError::unavailable(
                "sign_in_busy",
                "Too many sign-ins wait for the identity provider; try again in a moment.",
            ),
        ),
        // Crate `accounts` has logged it.
        SignOnError::SignIn(error) => {
            app.metrics.sign_on(match error {
                SignInError::NoExternalRole => "no_role",
                SignInError::Disabled => "disabled",
                _ => "unavailable",
            });
            return error.into();
        }
    };
    app.metrics.sign_on(result);
    tracing::warn!(code = problem.code(), "Sign-on not completed: {text}");
    problem
}

/// A page that continues to `target`. A redirect would belong to the navigation that began at the provider, for which browsers
/// withhold the session cookie.
pub(super) fn refresh_page(title: &str, target: &str, link: &str) -> Response {
    let [title, target, link] = [title, target, link].map(encode_double_quoted_attribute);
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Galera Console</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={target}\"></head>\
         <body><a href=\"{target}\">{link}</a></body></html>"
    );
    let policy = HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    );
    ([(CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

/// The sign-in page of a console with an identity provider: its button, then the form for accounts with a password.
pub(super) fn sign_in_page(
    app: &AppState,
    sign_on: &SignOn,
    error: Option<&str>,
    next: &str,
) -> Response {
    let name = encode_double_quoted_attribute(sign_on.name());
    let target = format!("{SIGN_IN_PATH}?next={}", encode_query(local_path(next)));
    let target = encode_double_quoted_attribute(&target);
    let state = match sign_on.failure() {
        None => String::new(),
        Some(_) => format!(
            "<p class=\"error\" role=\"alert\">{name} is currently unavailable. The console retries automatically; see its log for the cause.</p>"
        ),
    };
    let local = app.authenticator.policy().local_accounts;
    let form = match local {
        true => app::sign_in_html(error, local_path(next)),
        false => {
            let error = error.map(|code| {
                let text = encode_double_quoted_attribute(app::sign_in_error(code));
                format!("<p class=\"error\" role=\"alert\">{text}</p>")
            });
            error.unwrap_or_default()
        }
    };
    let content = format!(
        "<section class=\"sign-in\"><h1>Sign in to Galera Console</h1>{state}\
         <p><a class=\"button main\" href=\"{target}\">Sign in with {name}</a></p></section>{form}"
    );
    plain_page(
        app,
        StatusCode::OK,
        "Sign in",
        &content,
        FormTarget::OwnHost,
    )
}

/// Where the roles of an account count, and why: `operator on prod-*, from group dba`.
pub(super) fn explain_grants(grants: &[RoleGrant]) -> Vec<String> {
    let explain = |grant: &RoleGrant| {
        let text = grant.to_string();
        match grant.clusters.is_all() {
            true => text.replacen("on all clusters", "on all clusters and the console", 1),
            false => text,
        }
    };
    grants.iter().map(explain).collect()
}
