//! Files of the built site: compressed at build time, and cached for ever where the name holds a hash of the content.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, LAST_MODIFIED};
use tower_http::services::ServeDir;

/// The files under /pkg: every name holds a hash, so that a name never changes its content.
pub(super) fn hashed_assets(root: &Path) -> Router {
    let files = ServeDir::new(root.join("pkg"))
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip();
    Router::new()
        .fallback_service(files)
        .layer(from_fn(cache_immutable))
}

async fn cache_immutable(request: Request, next: Next) -> Response {
    with_cache_control(
        next.run(request).await,
        "public, max-age=31536000, immutable",
    )
}

/// Lets clients keep a file; anything else, errors above all, stays as it is.
pub(super) fn with_cache_control(mut response: Response, policy: &'static str) -> Response {
    let is_file = response.headers().contains_key(LAST_MODIFIED)
        || response.status() == http::StatusCode::NOT_MODIFIED;
    if is_file {
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static(policy));
    }
    response
}

/// The files beside it (icons, robots.txt): few, small, and named for ever.
pub(super) fn unhashed_files(root: &Path) -> ServeDir {
    ServeDir::new(root)
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip()
}
