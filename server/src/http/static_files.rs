//! Files of the built site, sent from memory: compressed at build time, and cached forever if the name contains a hash of
//! the content.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::assets::{SiteFile, SiteFiles};

/// The files under /pkg, whose names contain a hash of their content.
pub(super) fn hashed_assets(files: &Arc<SiteFiles>) -> Router {
    let files = Arc::clone(files);
    Router::new().fallback(move |request: Request| async move {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allow = HeaderValue::from_static("GET,HEAD");
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allow)]).into_response();
        }
        match find(&files, "/pkg", request.uri().path()) {
            Some(file) => send(file, &request, "public, max-age=31536000, immutable"),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    })
}

/// Another file (icons, robots.txt), which has a fixed name; `None` for other requests.
pub(super) fn unhashed_file(files: &SiteFiles, request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let file = find(files, "", request.uri().path())?;
    Some(send(file, request, "public, max-age=3600"))
}

fn find<'a>(files: &'a SiteFiles, directory: &str, path: &str) -> Option<&'a SiteFile> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    files.get(&format!("{directory}{path}"))
}

/// The smallest variant that the client accepts. A body shares the file's bytes.
fn send(file: &SiteFile, request: &Request, policy: &'static str) -> Response {
    let (content, encoding) = match (&file.brotli, &file.gzip) {
        (Some(brotli), _) if accepts(request.headers(), "br") => (brotli, Some("br")),
        (_, Some(gzip)) if accepts(request.headers(), "gzip") => (gzip, Some("gzip")),
        _ => (&file.content, None),
    };
    let is_current = request
        .headers()
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|tag| tag == file.etag);
    let mut response = if is_current {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match *request.method() {
            Method::HEAD => Bytes::new(),
            _ => content.clone(),
        };
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.media_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, file.etag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(policy));
    if file.brotli.is_some() || file.gzip.is_some() {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// Whether the client lists `encoding` without excluding it.
fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let is_listed = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(encoding));
            let is_excluded = parts.any(|parameter| {
                let weight = parameter.strip_prefix("q=");
                weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32))
            });
            is_listed && !is_excluded
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Arc<SiteFiles> {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("pkg")).unwrap();
        for (name, content) in [
            ("pkg/a.js", "plain"),
            ("pkg/a.js.br", "brotli"),
            ("pkg/a.js.gz", "gzip"),
            ("robots.txt", "robots"),
        ] {
            std::fs::write(root.path().join(name), content).unwrap();
        }
        Arc::new(SiteFiles::load(root.path()).unwrap())
    }

    fn request(path: &str, headers: &[(http::HeaderName, &str)]) -> Request {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn the_smallest_accepted_variant_is_sent() {
        let files = files();
        for (accepted, length) in [
            ("gzip, deflate, br", 6),
            ("gzip", 4),
            ("br;q=0, gzip;q=0.5", 4),
            ("br;q=0.0", 5),
            ("identity", 5),
        ] {
            let request = request("/pkg/a.js", &[(ACCEPT_ENCODING, accepted)]);
            let response = unhashed_file(&files, &request).unwrap();
            let headers = response.headers();
            assert_eq!(headers[CONTENT_LENGTH], length.to_string(), "{accepted}");
            assert_eq!(headers[CONTENT_TYPE], "text/javascript");
            assert_eq!(headers[VARY], "accept-encoding");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let files = files();
        let first = unhashed_file(&files, &request("/robots.txt", &[])).unwrap();
        let tag = first.headers()[ETAG].to_str().unwrap();
        let again = request("/robots.txt", &[(IF_NONE_MATCH, tag)]);
        let response = unhashed_file(&files, &again).unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=3600");
    }

    #[test]
    fn only_files_of_the_site_are_found() {
        let files = files();
        for path in [
            "/",
            "/pkg",
            "/pkg/",
            "/pkg/../robots.txt",
            "/%2e%2e/x",
            "/pkg/a.js.br",
        ] {
            assert!(
                unhashed_file(&files, &request(path, &[])).is_none(),
                "{path}"
            );
        }
        let post = Request::post("/robots.txt").body(Body::empty()).unwrap();
        assert!(unhashed_file(&files, &post).is_none());
    }
}
