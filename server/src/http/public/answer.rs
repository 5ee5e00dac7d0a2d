//! Answers about status pages, with headers of their own.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use galera::publish::status_pages::Visibility;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::AppState;
use crate::status::{Encoding, Packed, Print};

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The page.
    Page,
    /// What programs ask for often.
    Data,
    /// What others show or fetch now and then: badges and feeds.
    Picture,
}

/// The page that is told to everybody whom no page is told to.
const NOWHERE: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
    <meta name=\"color-scheme\" content=\"light dark\"><title>No status page here</title></head>\
    <body><main><h1>No status page here</h1><p>There is no status page at this address, or the link to it is not valid \
    any more. Ask whoever gave it to you for a new one.</p></main></body></html>";

const CORS: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// 404, the same for everything that is not there. Kept for a moment only: the page may be made right now.
pub(super) fn nowhere() -> Response {
    let mut response = Response::new(Body::from(Bytes::from_static(NOWHERE.as_bytes())));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    plain(headers);
    headers.insert(CONTENT_TYPE, text("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, text("public, max-age=10"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        text("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    );
    response
}

/// 400: a badge that there is not.
pub(super) fn bad_badge() -> Response {
    let words = "A badge takes cluster=NAME, metric=state or metric=uptime, and with uptime days=7, 30 or 90.\n";
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    plain(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, text("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, text("public, max-age=10"));
    response
}

/// Ready-made bytes, or that the client has them already.
pub(super) fn send(
    app: &AppState,
    print: &Print,
    packed: &Packed,
    kind: Kind,
    request: &HeaderMap,
) -> Response {
    let known = packed.is_known(request);
    let encoding = Encoding::accepted(request);
    let body = if known {
        Body::empty()
    } else {
        Body::from(packed.body(encoding))
    };
    let mut response = Response::new(body);
    let public = print.page.value.settings.visibility == Visibility::Public;
    let headers = response.headers_mut();
    headers.reserve(16);
    plain(headers);
    headers.insert(ETAG, packed.etag.clone());
    headers.insert(VARY, text("accept-encoding, cookie"));
    headers.insert(CACHE_CONTROL, text(caching(kind, public)));
    if app.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, text("max-age=31536000"));
    }
    if public && kind != Kind::Page {
        // Whoever may read it may read it from another site's page, too.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, text("*"));
        headers.insert(CORS, text("cross-origin"));
    }
    if !public {
        headers.insert(ROBOTS, text("noindex"));
    }
    if kind == Kind::Page {
        frames(print, headers);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, text(packed.media_type));
    if let Some(word) = encoding.word() {
        headers.insert(CONTENT_ENCODING, text(word));
    }
    response
}

const fn caching(kind: Kind, public: bool) -> &'static str {
    match (kind, public) {
        (Kind::Page, true) => "public, no-cache",
        (Kind::Page, false) => "private, no-cache",
        (Kind::Data, true) => "public, max-age=5",
        (Kind::Picture, true) => "public, max-age=30",
        // A link that is revoked must lead nowhere at once.
        (_, false) => "private, no-cache",
    }
}

/// Own files only, and frames where the page says so.
fn frames(print: &Print, headers: &mut HeaderMap) {
    let embed = &print.page.value.settings.embed;
    let origins: Vec<&str> = embed.iter().map(|origin| origin.as_str()).collect();
    let ancestors = if origins.is_empty() {
        headers.insert(X_FRAME_OPTIONS, text("DENY"));
        "'none'".to_owned()
    } else {
        origins.join(" ")
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}

/// What every answer says.
pub(super) fn plain(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, text("nosniff"));
    // The address may hold a secret.
    headers.insert(REFERRER_POLICY, text("no-referrer"));
    headers.insert(CORS, text("same-origin"));
}

pub(super) const fn text(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}
