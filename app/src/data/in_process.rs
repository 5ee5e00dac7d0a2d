//! The server's side of data access: the API router, called without a network.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use galera::publish::api::ProblemDetails;
use http::header::{ACCEPT, COOKIE};
use http::request::Parts;
use leptos::prelude::use_context;

use super::{local_problem, problem_from_response};

/// Longest answer taken, in bytes: a registry of some thousand keys fits.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Answers an API request within the process; a context of every page request.
///
/// Pages get their data from the same router as every other client, with the cookie of whoever asked for the page, so
/// that there is one place for authorization.
#[derive(Clone)]
pub struct InProcessApi(pub Arc<dyn Fn(http::Request<Body>) -> PendingResponse + Send + Sync>);

/// An answer on its way.
type PendingResponse = Pin<Box<dyn Future<Output = Response> + Send>>;

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
) -> impl Future<Output = Result<String, ProblemDetails>> + Send {
    let api = use_context::<InProcessApi>();
    let request = build_request(&path, use_context::<Parts>().as_ref());
    async move {
        let (Some(api), Some(request)) = (api, request) else {
            return Err(local_problem(
                "no_api",
                "No data",
                "This page was rendered without access to the console's API.",
            ));
        };
        call_api(&api, request).await
    }
}

/// The text of the API's answer to `build_request`.
pub(crate) async fn call_api(
    api: &InProcessApi,
    request: http::Request<Body>,
) -> Result<String, ProblemDetails> {
    let answer = (api.0)(request).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), MAX_RESPONSE_BYTES).await;
    let text = body
        .ok()
        .and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let text = text.ok_or_else(|| {
        local_problem(
            "unreadable_answer",
            "The answer cannot be read",
            "It is too long or no text.",
        )
    })?;
    if status.is_success() {
        Ok(text)
    } else {
        Err(problem_from_response(status.as_u16(), &text))
    }
}

fn build_request(path: &str, page: Option<&Parts>) -> Option<http::Request<Body>> {
    let mut request = http::Request::get(path).header(ACCEPT, "application/json");
    for cookie in page
        .into_iter()
        .flat_map(|page| page.headers.get_all(COOKIE))
    {
        request = request.header(COOKIE, cookie);
    }
    request.body(Body::empty()).ok()
}
