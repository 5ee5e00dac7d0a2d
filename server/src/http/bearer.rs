//! `Authorization: Bearer` with an API token: what a request presents, and why it is refused.

use accounts::TokenRefusal;
use console_core::session::SessionGuard;
use galera::publish::accounts::TokenState;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode, Uri};
use std::net::IpAddr;
use std::time::Instant;

use super::AppState;
use super::cookie;
use super::problem::ApiError;

/// `WWW-Authenticate` where a token is missing or refused (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"galera-console\", error=\"invalid_token\"";
const SCHEME: &str = "bearer";

/// Whether the request is one of a program with a token: then `Origin` is not checked, because no page of another site can send
/// this header, and cookies do not count.
pub(super) fn is_presented(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values
        .next()
        .and_then(|value| bearer_token(value.as_bytes()));
    uri.path().starts_with("/api/") && first.is_some() && values.next().is_none()
}

/// The credentials after the scheme, if that is Bearer.
fn bearer_token(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim())
}

/// The account that the token of a request stands for; `None` without a token.
///
/// # Errors
/// A problem, also where a request has two credentials.
pub(super) async fn resolve(
    app: &AppState,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Option<SessionGuard>, ApiError> {
    // A second one was refused before (`ambiguous_headers`).
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let has_session = cookie::token(headers, app.is_https()).is_some();
    let Some(token) = bearer_token(value.as_bytes()) else {
        if has_session {
            // Of a proxy in front, which asks for its own credentials.
            return Ok(None);
        }
        return Err(ApiError::unauthorized(
            "unsupported_authorization",
            "The Authorization header has another scheme than Bearer; send `Authorization: Bearer gct_…` with an API token.",
        )
        .with_challenge(CHALLENGE));
    };
    if has_session {
        let cookie = cookie::name(app.is_https());
        return Err(ApiError::bad_request(
            "two_credentials",
            format!(
                "The request has two credentials, the cookie {cookie} and an Authorization header with an API token; send only one of them."
            ),
        ));
    }
    let session = app.authenticator.resolve_token(token, address).await;
    let session = session.map_err(|refusal| refused(app, &refusal, address))?;
    if let Some(token) = &session.principal.token {
        let counted = app.limits.token_request(&token.id, Instant::now());
        counted.map_err(|wait| {
            ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "token_throttled",
                "Too many requests",
                "This API token has sent too many requests in the last minute; send fewer, or see --max-token-requests.",
            )
            .with_retry_after(wait)
        })?;
    }
    Ok(Some(session))
}

fn refused(app: &AppState, refusal: &TokenRefusal, address: IpAddr) -> ApiError {
    let error = match refusal {
        TokenRefusal::Malformed => ApiError::unauthorized(
            "token_malformed",
            "The Authorization header has no API token of this console; a token begins with gct_ and has 93 characters.",
        ),
        TokenRefusal::Checksum => ApiError::unauthorized(
            "token_checksum",
            "The checksum of the API token is wrong; it was mistyped or cut. Copy it again, or create another one.",
        ),
        TokenRefusal::Invalid => ApiError::unauthorized(
            "token_invalid",
            "Unknown API token; create another one on the page of your account.",
        ),
        TokenRefusal::Over(TokenState::Revoked) => ApiError::unauthorized(
            "token_revoked",
            "The API token was revoked; create another one on the page of your account.",
        ),
        TokenRefusal::Over(TokenState::Expired) => ApiError::unauthorized(
            "token_expired",
            "The API token has expired; create another one on the page of your account.",
        ),
        TokenRefusal::Over(TokenState::Ended | TokenState::Active) => ApiError::unauthorized(
            "token_ended",
            "The API token has ended, because its account was removed, disabled, or got another password or second factor; create another one.",
        ),
        TokenRefusal::Throttled(wait) => {
            let counter = &app.limits.counters.wrong_tokens;
            counter.refuse(format_args!("a wrong API token from {address} is refused"));
            return ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                "Too many requests",
                "Too many wrong API tokens came from this address; a valid one is still accepted.",
            )
            .with_retry_after(*wait)
            .closing_connection();
        }
        TokenRefusal::Unavailable(cause) => {
            return ApiError::unavailable(
                "registry_unavailable",
                "API tokens cannot be checked because etcd has not been reachable; try again in a moment.",
            )
            .with_source(cause);
        }
    };
    error.with_challenge(CHALLENGE)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_bearer_header_of_the_api_is_a_token() {
        for (values, path, expected) in [
            (&["Bearer gct_1"][..], "/api/v1/clusters", true),
            (&["bearer  gct_1"], "/api/v1/clusters", true),
            (&["Bearer"], "/api/v1/clusters", true),
            (&["Bearer gct_1"], "/clusters/lab", false),
            (&["Bearer gct_1"], "/apix", false),
            (&["Basic eDp5"], "/api/v1/clusters", false),
            (&["BearerX gct_1"], "/api/v1/clusters", false),
            (&["Bearer a", "Bearer b"], "/api/v1/clusters", false),
            (&["Basic a", "Bearer b"], "/api/v1/clusters", false),
            (&[], "/api/v1/clusters", false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            let found = is_presented(&headers, &path.parse().unwrap());
            assert_eq!(found, expected, "{values:?} {path}");
        }
    }
}
