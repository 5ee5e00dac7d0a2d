//! Signing in and out with plain forms, for browsers without the script or before it has loaded.

use accounts::SignInError;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use html_escape::encode_double_quoted_attribute;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Deserialize;

use super::AppState;
use super::account_events::after_sign_in;
use super::extract::FormBody;
use super::forms::UNRESERVED;
use super::identity::OwnSession;
use super::plain_page::{FormTarget, plain_page};
use super::problem::{ApiError, ApiResult};
use super::session::{RequestClient, clear_session_cookie, end_session, set_session_cookie};
use super::sign_on::refresh_page;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/sign-in", post(sign_in))
        .route("/sign-in/code", post(sign_in_code))
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
    client: RequestClient,
    FormBody(form): FormBody<SignInForm>,
) -> ApiResult<Response> {
    let next = local_path(&form.next);
    let result = app
        .authenticator
        .sign_in(&form.username, &form.password, None, &client.into())
        .await;
    match result {
        Ok(signed_in) => {
            let response = after_sign_in(&app, &signed_in, next).await?;
            Ok(set_session_cookie(&app, &signed_in, response))
        }
        Err(SignInError::SecondFactorRequired { challenge }) => {
            Ok(code_page(&app, &challenge, next, None))
        }
        Err(error) => back_to_sign_in(&app, error, next),
    }
}

#[derive(Deserialize)]
struct SignInCodeForm {
    challenge: String,
    code: String,
    #[serde(default)]
    next: String,
}

/// The second step of a sign-in with a second factor.
async fn sign_in_code(
    app: AppState,
    client: RequestClient,
    FormBody(form): FormBody<SignInCodeForm>,
) -> ApiResult<Response> {
    let next = local_path(&form.next);
    let result = app
        .authenticator
        .continue_sign_in(&form.challenge, &form.code, &client.into())
        .await;
    match result {
        Ok(signed_in) => {
            let response = after_sign_in(&app, &signed_in, next).await?;
            Ok(set_session_cookie(&app, &signed_in, response))
        }
        Err(SignInError::SecondFactorRequired { challenge }) => {
            Ok(code_page(&app, &challenge, next, None))
        }
        Err(error @ (SignInError::Code(_) | SignInError::Throttled(_))) => {
            let problem = ApiError::from(error);
            Ok(code_page(
                &app,
                &form.challenge,
                next,
                Some(problem.detail()),
            ))
        }
        Err(error) => back_to_sign_in(&app, error, next),
    }
}

/// The sign-in page with the message of `error`. What concerns second factors and etcd's alarms is a page of its own, so that
/// the sign-in page in the browser knows no messages for it.
fn back_to_sign_in(app: &AppState, error: SignInError, next: &str) -> ApiResult<Response> {
    let has_own_page = matches!(
        error,
        SignInError::FactorUnusable(_) | SignInError::ChallengeExpired | SignInError::Alarm { .. }
    );
    let error = ApiError::from(error);
    if error.code() == "internal" {
        return Err(error);
    }
    if has_own_page {
        let detail = encode_double_quoted_attribute(error.detail());
        let content = format!(
            "<section class=\"problem\"><h1>Not signed in</h1><p>{detail}</p>\
             <p><a href=\"/sign-in?next={}\">Sign in</a></p></section>",
            encode_query(next)
        );
        let (status, forms) = (error.status(), FormTarget::None);
        return Ok(plain_page(app, status, "Not signed in", &content, forms));
    }
    see_other(&format!(
        "/sign-in?error={}&next={}",
        error.code(),
        encode_query(next)
    ))
}

/// The page that asks for a code. It is the response to the password, so that the proof of it is in no address.
pub(super) fn code_page(
    app: &AppState,
    challenge: &str,
    next: &str,
    error: Option<&str>,
) -> Response {
    let [challenge, next] = [challenge, next].map(encode_double_quoted_attribute);
    let error = error.map_or_else(String::new, |text| {
        let text = encode_double_quoted_attribute(text);
        format!("<p class=\"error\" id=\"error\" role=\"alert\">{text}</p>")
    });
    let described = if error.is_empty() {
        ""
    } else {
        " aria-describedby=\"error\""
    };
    let content = format!(
        "<section class=\"sign-in\"><h1>Enter your code</h1>{error}\
         <form method=\"post\" action=\"/sign-in/code\">\
         <input type=\"hidden\" name=\"challenge\" value=\"{challenge}\">\
         <input type=\"hidden\" name=\"next\" value=\"{next}\">\
         <label for=\"code\">Code of your authenticator app, or a recovery code</label>\
         <input id=\"code\" name=\"code\" type=\"text\" autocomplete=\"one-time-code\" autocapitalize=\"none\" \
         spellcheck=\"false\" maxlength=\"64\" required autofocus{described}>\
         <button type=\"submit\">Sign in</button></form>\
         <p class=\"quiet\"><a href=\"/sign-in\">Start again</a></p></section>"
    );
    plain_page(
        app,
        StatusCode::OK,
        "Enter your code",
        &content,
        FormTarget::OwnHost,
    )
}

async fn sign_out(app: AppState, session: Result<OwnSession, ApiError>) -> ApiResult<Response> {
    // Without a live session there is nothing to end.
    let mut at_provider = None;
    if let Ok(OwnSession(session)) = session {
        if let Some(sign_on) = app
            .sign_on
            .as_ref()
            .filter(|_| session.principal.is_external)
        {
            let id_token = app.authenticator.provider_id_token(&session).await;
            at_provider = sign_on.sign_out_location(id_token.as_deref());
        }
        end_session(&app, &session).await?;
    }
    let response = match at_provider {
        // The form of a page must not redirect to another host.
        Some(location) => {
            refresh_page("Signed out", &location, "Sign out at the identity provider")
        }
        None => see_other("/sign-in")?,
    };
    Ok(clear_session_cookie(&app, response))
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
    let is_form = text == "/sign-in"
        || text.starts_with("/sign-in?")
        || text.starts_with("/sign-in/")
        || text.starts_with("/oidc/")
        || text.starts_with("/sign-out");
    if is_local && !is_form { text } else { "/" }
}

/// Percent-encodes a path as the value of a query parameter.
pub(super) fn encode_query(text: &str) -> String {
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
