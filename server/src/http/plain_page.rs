//! Pages without scripts: errors, and what is shown only once as the response to a form.

use axum::response::{Html, IntoResponse, Response};
use html_escape::{encode_double_quoted_attribute, encode_text};
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

/// Copies the secret of [`secret_page`]; its hash is in [`SECRET_PAGE_POLICY`].
const COPY_SCRIPT: &str = "const b=document.getElementById('copy'),f=document.getElementById('secret');b.hidden=false;b.onclick=async()=>{f.select();try{await navigator.clipboard.writeText(f.value)}catch{document.execCommand('copy')}b.textContent='Copied'}";
/// Text, the style sheet and [`COPY_SCRIPT`].
const SECRET_PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'sha256-gxjhZQQ4V1CIzXz10YALg813w2B9cL2iDPvg3+E5XYQ='; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// Text and the one style element of [`self_contained_page`], by its hash.
const SELF_CONTAINED_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-EuDzutBPxtRyE8DCcHxGihEQMUcchhPN3MutQW0RjgE='; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// A page that loads nothing, for visitors who get no other file of this host.
pub(super) fn self_contained_page(status: StatusCode, title: &str, text: &str) -> Response {
    let [title, text] = [title, text].map(encode_text);
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
         <style>:root{{color-scheme:light dark}}body{{margin:15vh auto;max-width:36rem;padding:0 1.5rem;font:1rem/1.5 system-ui,sans-serif}}h1{{font-size:1.5rem}}</style></head>\
         <body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    );
    let policy = [(CONTENT_SECURITY_POLICY, SELF_CONTAINED_POLICY)];
    (status, policy, Html(page)).into_response()
}

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

/// A page that shows `secret` once, with a button that copies it where scripts run.
pub(super) fn secret_page(
    app: &AppState,
    title: &str,
    explanation: &str,
    secret: &str,
    back: &str,
) -> Response {
    let [title_text, explanation, secret] = [title, explanation, secret].map(encode_text);
    let back = encode_double_quoted_attribute(back);
    let content = format!(
        "<section class=\"problem\"><h1>{title_text}</h1><p>{explanation}</p>\
         <p><textarea id=\"secret\" readonly rows=\"3\" cols=\"32\" aria-label=\"{title_text}\">{secret}</textarea></p><p>\
         <button id=\"copy\" type=\"button\" hidden>Copy</button></p>\
         <p><a href=\"{back}\">Continue to your account</a></p></section><script>{COPY_SCRIPT}</script>"
    );
    let mut response = plain_page(app, StatusCode::OK, title, &content, FormTarget::None);
    let policy = (CONTENT_SECURITY_POLICY, SECRET_PAGE_POLICY);
    response.headers_mut().insert(policy.0, policy.1);
    response
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_policy_permits_the_script_that_copies() {
        let hash = BASE64.encode(&Sha256::digest(COPY_SCRIPT));
        let policy = SECRET_PAGE_POLICY;
        assert!(policy.to_str().unwrap().contains(&hash), "{hash}");
    }
}
