//! Protects against cross-site request forgery: requests that change something must come from the console's own origin.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, ORIGIN};
use http::{HeaderMap, Method, Uri};

use super::AppState;
use super::bearer;
use super::problem::ApiError;
use crate::allowed_hosts::AllowedHosts;

pub(super) static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a request comes from, according to its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestOrigin {
    /// The console's own pages, or an address typed by the user.
    SameOrigin,
    CrossOrigin,
    /// Neither header is present: not a current browser.
    Unknown,
}

pub(super) async fn require_same_origin(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return next.run(request).await;
    }
    let (headers, uri) = (request.headers(), request.uri());
    // From the identity provider itself, with a token that it signed: no cookie counts.
    if uri.path() == "/oidc/back-channel-logout" {
        return next.run(request).await;
    }
    // No page of another site can set this header, and with it no cookie counts.
    if bearer::is_presented(headers, uri) {
        return next.run(request).await;
    }
    match request_origin(headers, uri, &app.allowed_hosts, app.is_https()) {
        RequestOrigin::SameOrigin => next.run(request).await,
        RequestOrigin::CrossOrigin => cross_origin(request.headers()).into_response(),
        RequestOrigin::Unknown => ApiError::forbidden(
            "origin_required",
            "The request has no Origin header; send one with the console's own address.",
        )
        .into_response(),
    }
}

/// Checks a WebSocket handshake, for which browsers always send `Origin`. Some of them treat ws as another scheme than
/// http in `Sec-Fetch-Site`, so one same-origin header is enough.
pub(super) fn check_handshake(
    headers: &HeaderMap,
    uri: &Uri,
    hosts: &AllowedHosts,
    https: bool,
) -> Result<(), ApiError> {
    let origins = [
        origin_from_fetch_site(headers),
        origin_from_header(headers, uri, hosts, https),
    ];
    if origins.contains(&RequestOrigin::CrossOrigin)
        && !origins.contains(&RequestOrigin::SameOrigin)
    {
        return Err(cross_origin(headers));
    }
    Ok(())
}

fn cross_origin(headers: &HeaderMap) -> ApiError {
    let origin = headers
        .get(ORIGIN)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("another site");
    let origin: String = origin.chars().take(200).collect();
    ApiError::forbidden(
        "cross_origin",
        format!(
            "Cross-origin request from {origin}. Behind a proxy, set --public-url or --allowed-hosts to the address shown in the browser."
        ),
    )
}

fn request_origin(
    headers: &HeaderMap,
    uri: &Uri,
    hosts: &AllowedHosts,
    https: bool,
) -> RequestOrigin {
    // Set by the browser itself, independently of what proxies do to Host.
    match origin_from_fetch_site(headers) {
        RequestOrigin::Unknown => origin_from_header(headers, uri, hosts, https),
        origin => origin,
    }
}

fn origin_from_fetch_site(headers: &HeaderMap) -> RequestOrigin {
    let mut sites = headers.get_all(&FETCH_SITE).iter().peekable();
    if sites.peek().is_none() {
        return RequestOrigin::Unknown;
    }
    if sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        RequestOrigin::SameOrigin
    } else {
        RequestOrigin::CrossOrigin
    }
}

fn origin_from_header(
    headers: &HeaderMap,
    uri: &Uri,
    hosts: &AllowedHosts,
    https: bool,
) -> RequestOrigin {
    match hosts.is_own_origin(headers, uri, https) {
        None => RequestOrigin::Unknown,
        Some(true) => RequestOrigin::SameOrigin,
        Some(false) => RequestOrigin::CrossOrigin,
    }
}

#[cfg(test)]
mod tests {
    use console_core::net::PublicUrl;
    use http::HeaderValue;
    use http::header::HOST;

    use super::*;

    #[test]
    fn origins_are_classified() {
        let url = PublicUrl {
            https: true,
            authority: "console.example.org".to_owned(),
        };
        let hosts = AllowedHosts::new(Some(url), &[]);
        use RequestOrigin::{CrossOrigin, SameOrigin, Unknown};
        for (site, origin, host, expected) in [
            (None, None, "h:3000", Unknown),
            (Some("same-origin"), None, "h:3000", SameOrigin),
            (Some("none"), None, "h:3000", SameOrigin),
            (
                Some("same-site"),
                Some("http://h:3000"),
                "h:3000",
                CrossOrigin,
            ),
            (
                Some("cross-site"),
                Some("http://evil.example"),
                "h:3000",
                CrossOrigin,
            ),
            (Some("garbage"), None, "h:3000", CrossOrigin),
            (None, Some("http://h:3000"), "h:3000", SameOrigin),
            (None, Some("HTTP://H:3000"), "h:3000", SameOrigin),
            (None, Some("http://h"), "h:80", SameOrigin),
            (None, Some("http://h:3001"), "h:3000", CrossOrigin),
            (None, Some("http://evil.example"), "h:3000", CrossOrigin),
            (None, Some("null"), "h:3000", CrossOrigin),
            (None, Some("file://"), "h:3000", CrossOrigin),
            (None, Some(""), "h:3000", CrossOrigin),
            (
                None,
                Some("https://console.example.org"),
                "10.0.0.1:3000",
                SameOrigin,
            ),
            (
                None,
                Some("https://console.example.org:443"),
                "10.0.0.1:3000",
                SameOrigin,
            ),
            (
                None,
                Some("http://console.example.org"),
                "10.0.0.1:3000",
                CrossOrigin,
            ),
            (
                None,
                Some("https://console.example.org.evil.example"),
                "10.0.0.1:3000",
                CrossOrigin,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            if let Some(site) = site {
                headers.insert(&FETCH_SITE, HeaderValue::from_static(site));
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            let found = request_origin(&headers, &Uri::from_static("/"), &hosts, true);
            assert_eq!(found, expected, "{site:?} {origin:?} {host}");
        }
    }

    #[test]
    fn each_of_several_headers_must_be_of_the_own_origin() {
        let hosts = AllowedHosts::default();
        for (name, own, other) in [
            (&ORIGIN, "http://h:3000", "http://evil.example"),
            (&FETCH_SITE, "same-origin", "cross-site"),
        ] {
            for (values, expected) in [
                ([own, own], RequestOrigin::SameOrigin),
                ([own, other], RequestOrigin::CrossOrigin),
                ([other, own], RequestOrigin::CrossOrigin),
            ] {
                let mut headers = HeaderMap::new();
                headers.insert(HOST, HeaderValue::from_static("h:3000"));
                for value in values {
                    headers.append(name, HeaderValue::from_static(value));
                }
                let found = request_origin(&headers, &Uri::from_static("/"), &hosts, false);
                assert_eq!(found, expected, "{name}: {values:?}");
            }
        }
    }

    #[test]
    fn a_websocket_needs_one_same_origin_header() {
        for (site, origin, accepted) in [
            (None, None, true),
            (None, Some("http://h:3000"), true),
            (Some("same-origin"), Some("http://h:3000"), true),
            (Some("cross-site"), Some("http://h:3000"), true),
            (Some("same-origin"), Some("http://public.example"), true),
            (None, Some("http://evil.example"), false),
            (Some("cross-site"), Some("http://evil.example"), false),
            (Some("same-site"), Some("http://other.h"), false),
            (None, Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("h:3000"));
            if let Some(site) = site {
                headers.insert(&FETCH_SITE, HeaderValue::from_static(site));
            }
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            let found = check_handshake(
                &headers,
                &Uri::from_static("/"),
                &AllowedHosts::default(),
                false,
            );
            assert_eq!(found.is_ok(), accepted, "{site:?} {origin:?}");
        }
    }
}
