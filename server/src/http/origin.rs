//! Refuses requests that another site made a browser send: whatever changes something must say where it comes from.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use console_core::net::PublicUrl;
use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method, Uri};

use super::AppState;
use super::problem::ApiError;

static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request says about where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provenance {
    /// Our own pages, or somebody who typed the address.
    Own,
    /// Another site.
    Foreign,
    /// It does not say: no browser of today.
    Untold,
}

pub(super) async fn check(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return next.run(request).await;
    }
    match provenance(request.headers(), request.uri(), app.public_url.as_ref()) {
        Provenance::Own => next.run(request).await,
        Provenance::Foreign => cross_origin(request.headers()).into_response(),
        Provenance::Untold => ApiError::forbidden(
            "origin_required",
            "The request does not say where it comes from; send an Origin header with the console's own address.",
        )
        .into_response(),
    }
}

/// Checks a WebSocket's handshake, which browsers always send an `Origin` with. Some of them compare the schemes http and
/// ws for `Sec-Fetch-Site`, so either of the two is enough.
pub(super) fn check_handshake(
    headers: &HeaderMap,
    uri: &Uri,
    public_url: Option<&PublicUrl>,
) -> Result<(), ApiError> {
    let told = [by_fetch_site(headers), by_origin(headers, uri, public_url)];
    if told.contains(&Provenance::Foreign) && !told.contains(&Provenance::Own) {
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
            "The request comes from {origin}, not from this console. Behind a proxy, set --public-url to the address in the browser."
        ),
    )
}

fn provenance(headers: &HeaderMap, uri: &Uri, public_url: Option<&PublicUrl>) -> Provenance {
    // Browsers compute this one themselves, whatever proxies do to Host on the way.
    match by_fetch_site(headers) {
        Provenance::Untold => by_origin(headers, uri, public_url),
        told => told,
    }
}

fn by_fetch_site(headers: &HeaderMap) -> Provenance {
    match headers.get(&FETCH_SITE).map(http::HeaderValue::as_bytes) {
        None => Provenance::Untold,
        Some(b"same-origin" | b"none") => Provenance::Own,
        Some(_) => Provenance::Foreign,
    }
}

fn by_origin(headers: &HeaderMap, uri: &Uri, public_url: Option<&PublicUrl>) -> Provenance {
    let Some(origin) = headers.get(ORIGIN) else {
        return Provenance::Untold;
    };
    let Some(origin) = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok())
    else {
        return Provenance::Foreign;
    };
    let (Some(scheme), Some(authority)) = (origin.scheme_str(), origin.authority()) else {
        return Provenance::Foreign;
    };
    let default_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Provenance::Foreign,
    };
    let authority = normal(authority.as_str(), default_port);
    if let Some(url) = public_url
        && authority == url.authority
        && (scheme == "https") == url.https
    {
        return Provenance::Own;
    }
    let host = headers
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str));
    match host {
        Some(host) if normal(host, default_port) == authority => Provenance::Own,
        _ => Provenance::Foreign,
    }
}

fn normal(authority: &str, default_port: u16) -> String {
    let authority = authority.to_ascii_lowercase();
    match authority.strip_suffix(&format!(":{default_port}")) {
        Some(host) => host.to_owned(),
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_table() {
        let url = PublicUrl {
            https: true,
            authority: "console.example.org".to_owned(),
        };
        use Provenance::{Foreign, Own, Untold};
        for (site, origin, host, expected) in [
            (None, None, "h:3000", Untold),
            (Some("same-origin"), None, "h:3000", Own),
            (Some("none"), None, "h:3000", Own),
            (Some("same-site"), Some("http://h:3000"), "h:3000", Foreign),
            (
                Some("cross-site"),
                Some("http://evil.example"),
                "h:3000",
                Foreign,
            ),
            (Some("garbage"), None, "h:3000", Foreign),
            (None, Some("http://h:3000"), "h:3000", Own),
            (None, Some("HTTP://H:3000"), "h:3000", Own),
            (None, Some("http://h"), "h:80", Own),
            (None, Some("http://h:3001"), "h:3000", Foreign),
            (None, Some("http://evil.example"), "h:3000", Foreign),
            (None, Some("null"), "h:3000", Foreign),
            (None, Some("file://"), "h:3000", Foreign),
            (None, Some(""), "h:3000", Foreign),
            (
                None,
                Some("https://console.example.org"),
                "10.0.0.1:3000",
                Own,
            ),
            (
                None,
                Some("https://console.example.org:443"),
                "10.0.0.1:3000",
                Own,
            ),
            (
                None,
                Some("http://console.example.org"),
                "10.0.0.1:3000",
                Foreign,
            ),
            (
                None,
                Some("https://console.example.org.evil.example"),
                "10.0.0.1:3000",
                Foreign,
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
            let found = provenance(&headers, &Uri::from_static("/"), Some(&url));
            assert_eq!(found, expected, "{site:?} {origin:?} {host}");
        }
    }

    #[test]
    fn a_websocket_needs_one_good_witness() {
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
            let found = check_handshake(&headers, &Uri::from_static("/"), None);
            assert_eq!(found.is_ok(), accepted, "{site:?} {origin:?}");
        }
    }
}
