//! The server's side of data access: the API router, called without a network.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use galera::publish::api::Problem;
use http::header::{ACCEPT, COOKIE};
use http::request::Parts;
use leptos::prelude::use_context;

use super::{problem, refused};

/// Longest answer taken, in bytes: a registry of some thousand keys fits.
const ANSWER_MAX: usize = 64 << 20;

/// Answers an API request within the process; a context of every page request.
///
/// Pages get their data from the same router as every other client, with the cookie of whoever asked for the page, so
/// that there is one place for authorization.
#[derive(Clone)]
pub struct InProcessApi(pub Arc<dyn Fn(http::Request<Body>) -> Pending + Send + Sync>);

/// An answer on its way.
type Pending = Pin<Box<dyn Future<Output = Response> + Send>>;

impl std::fmt::Debug for InProcessApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcessApi")
    }
}

/// The answer's text. The context is read before anything is awaited, because it is gone afterwards.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the browser's twin keeps the path while it waits"
)]
pub(crate) fn get_text(
    path: String,
    _until_cleanup: bool,
) -> impl Future<Output = Result<String, Problem>> + Send {
    let api = use_context::<InProcessApi>();
    let request = request(&path, use_context::<Parts>().as_ref());
    async move {
        let (Some(api), Some(request)) = (api, request) else {
            return Err(problem(
                "no_api",
                "No data",
                "This page was rendered without access to the console's API.",
            ));
        };
        ask(&api, request).await
    }
}

/// The text of the API's answer to `request`.
pub(crate) async fn ask(
    api: &InProcessApi,
    request: http::Request<Body>,
) -> Result<String, Problem> {
    let answer = (api.0)(request).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), ANSWER_MAX).await;
    let text = body
        .ok()
        .and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let text = text.ok_or_else(|| {
        problem(
            "unreadable_answer",
            "The answer cannot be read",
            "It is too long or no text.",
        )
    })?;
    if status.is_success() {
        Ok(text)
    } else {
        Err(refused(status.as_u16(), &text))
    }
}

fn request(path: &str, page: Option<&Parts>) -> Option<http::Request<Body>> {
    let mut request = http::Request::get(path).header(ACCEPT, "application/json");
    for cookie in page
        .into_iter()
        .flat_map(|page| page.headers.get_all(COOKIE))
    {
        request = request.header(COOKIE, cookie);
    }
    request.body(Body::empty()).ok()
}
