//! Server side of data access: the API router, called in process.

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

/// Maximum size of a response body; large enough for a registry of several thousand keys.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Calls the HTTP API within the process. Provided as a context of every page request.
///
/// Pages use the same router as every other client, with the cookies of the page request, so that authorization is
/// enforced in one place.
#[derive(Clone)]
pub struct InProcessApi(pub Arc<dyn Fn(http::Request<Body>) -> PendingResponse + Send + Sync>);

type PendingResponse = Pin<Box<dyn Future<Output = Response> + Send>>;

impl std::fmt::Debug for InProcessApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcessApi")
    }
}

/// Fetches a response body as text. Reads the context before the first await: it is gone afterwards.
pub(crate) fn get_text(
    path: &str,
) -> impl Future<Output = Result<String, ProblemDetails>> + Send + use<> {
    let api = use_context::<InProcessApi>();
    let request = build_request(path, use_context::<Parts>().as_ref());
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

/// Calls the API and returns the body of a successful response.
pub(crate) async fn call_api(
    api: &InProcessApi,
    request: http::Request<Body>,
) -> Result<String, ProblemDetails> {
    let response = (api.0)(request).await;
    let status = response.status();
    let body = to_bytes(response.into_body(), MAX_RESPONSE_BYTES).await;
    let text = body
        .ok()
        .and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let text = text.ok_or_else(|| {
        local_problem(
            "unreadable_answer",
            "Unreadable response",
            "The response is too long or is not text.",
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
