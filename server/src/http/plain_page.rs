//! Pages without scripts that are the response to a form: errors, and what is shown only once.

use axum::response::{Html, IntoResponse, Response};
use html_escape::encode_double_quoted_attribute;
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, StatusCode};

use super::AppState;

/// Text and the style sheet; no form.
const PLAIN_PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// Text, the style sheet, and forms of this host.
const FORM_PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
);

/// Where forms of a page may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormTarget {
    None,
    OwnHost,
}

/// A page with `content`, which is HTML.
pub(super) fn plain_page(
    app: &AppState,
    status: StatusCode,
    title: &str,
    content: &str,
    forms: FormTarget,
) -> Response {
    let [css, title] = [&app.site.assets.css, title].map(encode_double_quoted_attribute);
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · Galera Console</title>\
         <link rel=\"stylesheet\" href=\"{css}\"></head><body><main>{content}</main></body></html>"
    );
    let policy = match forms {
        FormTarget::None => PLAIN_PAGE_POLICY,
        FormTarget::OwnHost => FORM_PAGE_POLICY,
    };
    (status, [(CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}
