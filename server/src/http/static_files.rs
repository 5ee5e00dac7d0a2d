//! Files of the built site: compressed at build time, and cached forever if the name contains a hash of the content.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, LAST_MODIFIED};
use tower_http::services::ServeDir;

/// The files under /pkg, whose names contain a hash of their content.
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

/// Sets `Cache-Control` on files; other responses, such as errors, are unchanged.
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

/// The other files (icons, robots.txt), which have fixed names.
pub(super) fn unhashed_files(root: &Path) -> ServeDir {
    ServeDir::new(root)
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip()
}
