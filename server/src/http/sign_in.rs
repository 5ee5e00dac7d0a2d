//! Signing in and out with plain forms, for browsers without the script or before it has loaded.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Deserialize;

use super::AppState;
use super::extract::FormBody;
use super::forms::UNRESERVED;
use super::identity::CurrentSession;
use super::problem::{ApiError, ApiResult};
use super::request_log::ClientAddress;
use super::session::{clear_session_cookie, end_session, set_session_cookie, sign_in_origin};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
}

#[derive(Deserialize)]
struct SignInForm {
    username: String,
    password: String,
    #[serde(default)]
    next: String,
}

async fn sign_in(
    app: AppState,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    FormBody(form): FormBody<SignInForm>,
) -> ApiResult<Response> {
    let next = local_path(&form.next);
    match app
        .authenticator
        .sign_in(
            &form.username,
            &form.password,
            sign_in_origin(&app, client, &headers, &form.username),
        )
        .await
    {
        Ok(signed_in) => Ok(set_session_cookie(&app, &signed_in, see_other(next)?)),
        Err(error) => {
            let error = ApiError::from(error);
            if error.code() == "internal" {
                return Err(error);
            }
            see_other(&format!(
                "/sign-in?error={}&next={}",
                error.code(),
                encode_query(next)
            ))
        }
    }
}

async fn sign_out(app: AppState, session: Result<CurrentSession, ApiError>) -> ApiResult<Response> {
    // Without a live session there is nothing to end.
    if let Ok(CurrentSession(session)) = session {
        end_session(&app, &session).await?;
    }
    Ok(clear_session_cookie(&app, see_other("/sign-in")?))
}

/// Redirects to the sign-in page, which leads back to the requested page.
pub(super) fn redirect_to_sign_in(request: &Request, error: Option<&str>) -> Response {
    see_other(&sign_in_location(request, error)).unwrap_or_else(IntoResponse::into_response)
}

/// The location of the sign-in page with the requested page as `next`.
pub(super) fn sign_in_location(request: &Request, error: Option<&str>) -> String {
    let requested = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let error = error
        .map(|code| format!("error={code}&"))
        .unwrap_or_default();
    format!(
        "/sign-in?{error}next={}",
        encode_query(local_path(requested))
    )
}

/// 303: redirects to `location` with GET.
pub(super) fn see_other(location: &str) -> ApiResult<Response> {
    let value =
        HeaderValue::from_str(location).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, value)]).into_response())
}

/// `text` if it is a path on this host, else `/`: the form must not redirect to another site.
pub(super) fn local_path(text: &str) -> &str {
    // Browsers treat a backslash as a slash and skip control characters; either could hide a host.
    let is_local = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= 2048
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_form =
        text == "/sign-in" || text.starts_with("/sign-in?") || text.starts_with("/sign-out");
    if is_local && !is_form { text } else { "/" }
}

/// Percent-encodes a path as the value of a query parameter.
fn encode_query(text: &str) -> String {
    const PATH: AsciiSet = UNRESERVED.remove(b'/');
    utf8_percent_encode(text, &PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_paths_are_redirected_to() {
        for (given, expected) in [
            ("/clusters/lab", "/clusters/lab"),
            ("/clusters/lab?tab=a&b=%2F", "/clusters/lab?tab=a&b=%2F"),
            ("", "/"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example/", "/"),
            ("/\t/evil.example/", "/"),
            ("javascript:alert(1)", "/"),
            ("/sign-in?next=/sign-in", "/"),
            ("/sign-out", "/"),
            ("/a\r\nSet-Cookie: x=1", "/"),
        ] {
            assert_eq!(local_path(given), expected, "{given:?}");
        }
    }

    #[test]
    fn a_path_is_encoded_for_the_query() {
        assert_eq!(
            encode_query("/clusters/lab?a=1&b=2"),
            "/clusters/lab%3Fa%3D1%26b%3D2"
        );
    }
}
