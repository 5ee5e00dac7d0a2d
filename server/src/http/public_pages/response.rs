//! Answers about status pages, with headers of their own.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use galera::publish::status_pages::PageVisibility;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::AppState;
use crate::status_pages::{CompressedBody, ContentEncoding, RenderedPage};

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentKind {
    /// The page.
    Page,
    /// What programs ask for often.
    Data,
    /// What others show or fetch now and then: badges and feeds.
    Embed,
}

/// The page that is told to everybody whom no page is told to.
const NOT_FOUND_PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
    <meta name=\"color-scheme\" content=\"light dark\"><title>No status page here</title></head>\
    <body><main><h1>No status page here</h1><p>There is no status page at this address, or the link to it is not valid \
    any more. Ask whoever gave it to you for a new one.</p></main></body></html>";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// 404, the same for everything that is not there. Kept for a moment only: the page may be made right now.
pub(super) fn not_found() -> Response {
    let mut response = Response::new(Body::from(Bytes::from_static(NOT_FOUND_PAGE.as_bytes())));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let headers = response.headers_mut();
    insert_base_headers(headers);
    headers.insert(CONTENT_TYPE, header_value("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, header_value("public, max-age=10"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        header_value(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    );
    response
}

/// 400: a badge that there is not.
pub(super) fn invalid_badge() -> Response {
    let words = "A badge takes cluster=NAME, metric=state or metric=uptime, and with uptime days=7, 30 or 90.\n";
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    insert_base_headers(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, header_value("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, header_value("public, max-age=10"));
    response
}

/// Ready-made bytes, or that the client has them already.
pub(super) fn respond(
    app: &AppState,
    print: &RenderedPage,
    packed: &CompressedBody,
    kind: ContentKind,
    request: &HeaderMap,
) -> Response {
    let known = packed.is_not_modified(request);
    let encoding = ContentEncoding::negotiate(request);
    let body = if known {
        Body::empty()
    } else {
        Body::from(packed.body(encoding))
    };
    let mut response = Response::new(body);
    let public = print.page.value.settings.visibility == PageVisibility::Public;
    let headers = response.headers_mut();
    headers.reserve(16);
    insert_base_headers(headers);
    headers.insert(ETAG, packed.etag.clone());
    headers.insert(VARY, header_value("accept-encoding, cookie"));
    headers.insert(CACHE_CONTROL, header_value(cache_control(kind, public)));
    if app.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, header_value("max-age=31536000"));
    }
    if public && kind != ContentKind::Page {
        // Whoever may read it may read it from another site's page, too.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, header_value("*"));
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, header_value("cross-origin"));
    }
    if !public {
        headers.insert(X_ROBOTS_TAG, header_value("noindex"));
    }
    if kind == ContentKind::Page {
        insert_frame_policy(print, headers);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, header_value(packed.media_type));
    if let Some(word) = encoding.as_str() {
        headers.insert(CONTENT_ENCODING, header_value(word));
    }
    response
}

const fn cache_control(kind: ContentKind, public: bool) -> &'static str {
    match (kind, public) {
        (ContentKind::Page, true) => "public, no-cache",
        (ContentKind::Page, false) => "private, no-cache",
        (ContentKind::Data, true) => "public, max-age=5",
        (ContentKind::Embed, true) => "public, max-age=30",
        // A link that is revoked must lead nowhere at once.
        (_, false) => "private, no-cache",
    }
}

/// Own files only, and frames where the page says so.
fn insert_frame_policy(print: &RenderedPage, headers: &mut HeaderMap) {
    let embed = &print.page.value.settings.embed;
    let origins: Vec<&str> = embed.iter().map(|origin| origin.as_str()).collect();
    let ancestors = if origins.is_empty() {
        headers.insert(X_FRAME_OPTIONS, header_value("DENY"));
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
pub(super) fn insert_base_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, header_value("nosniff"));
    // The address may hold a secret.
    headers.insert(REFERRER_POLICY, header_value("no-referrer"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, header_value("same-origin"));
}

pub(super) const fn header_value(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}
