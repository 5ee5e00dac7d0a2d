//! Responses of status pages, with their own headers.

use axum::body::Body;
use axum::response::Response;
use galera::publish::status_pages::PageVisibility;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::AppState;
use crate::http::plain_page::self_contained_page;
use crate::status_pages::{CompressedBody, ContentEncoding, RenderedPage};

/// Determines caching and cross-origin headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentKind {
    /// The HTML page.
    Page,
    /// Data that programs poll.
    Data,
    /// Badges and feeds, fetched occasionally by other sites.
    Embed,
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// 404, identical for everything that does not exist. Cached only briefly, because the page may just be created.
pub(super) fn not_found() -> Response {
    let mut response = self_contained_page(
        StatusCode::NOT_FOUND,
        "Status page not found",
        "There is no status page at this address, or the link is no longer valid. Ask the person who sent it for a new one.",
    );
    let headers = response.headers_mut();
    insert_base_headers(headers);
    headers.insert(CACHE_CONTROL, header_value("public, max-age=10"));
    response
}

/// 400 for invalid badge parameters.
pub(super) fn invalid_badge() -> Response {
    let text = "Badge parameters: cluster=NAME, metric=state or metric=uptime, and with uptime days=7, 30 or 90.\n";
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    insert_base_headers(response.headers_mut());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, header_value("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, header_value("public, max-age=10"));
    response
}

/// Pre-rendered bytes, or 304 if the client already has them.
pub(super) fn respond(
    app: &AppState,
    page: &RenderedPage,
    content: &CompressedBody,
    kind: ContentKind,
    request: &HeaderMap,
) -> Response {
    let not_modified = content.is_not_modified(request);
    let encoding = ContentEncoding::negotiate(request);
    let body = if not_modified {
        Body::empty()
    } else {
        Body::from(content.body(encoding))
    };
    let mut response = Response::new(body);
    let public = page.page.value.settings.visibility == PageVisibility::Public;
    let headers = response.headers_mut();
    headers.reserve(16);
    insert_base_headers(headers);
    headers.insert(ETAG, content.etag.clone());
    headers.insert(VARY, header_value("accept-encoding, cookie"));
    headers.insert(CACHE_CONTROL, header_value(cache_control(kind, public)));
    if app.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, header_value("max-age=31536000"));
    }
    if public && kind != ContentKind::Page {
        // Public content may be read from other sites' pages too.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, header_value("*"));
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, header_value("cross-origin"));
    }
    if !public {
        headers.insert(X_ROBOTS_TAG, header_value("noindex"));
    }
    if kind == ContentKind::Page {
        insert_frame_policy(page, headers);
    }
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, header_value(content.media_type));
    if let Some(encoding) = encoding.as_str() {
        headers.insert(CONTENT_ENCODING, header_value(encoding));
    }
    response
}

const fn cache_control(kind: ContentKind, public: bool) -> &'static str {
    match (kind, public) {
        (ContentKind::Page, true) => "public, no-cache",
        (ContentKind::Page, false) => "private, no-cache",
        (ContentKind::Data, true) => "public, max-age=5",
        (ContentKind::Embed, true) => "public, max-age=30",
        // A revoked link must stop working immediately.
        (_, false) => "private, no-cache",
    }
}

/// Sets the content security policy: own files only, framing by the origins in the page's settings.
fn insert_frame_policy(page: &RenderedPage, headers: &mut HeaderMap) {
    let embed = &page.page.value.settings.embed;
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

/// The headers of every response.
pub(super) fn insert_base_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, header_value("nosniff"));
    // The URL may contain a secret.
    headers.insert(REFERRER_POLICY, header_value("no-referrer"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, header_value("same-origin"));
}

pub(super) const fn header_value(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}
