//! Server-rendered parts of pages, which the browser fetches again to update the page in place.

use app::InProcessApi;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use galera::publish::api::ProblemDetails;
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};

use super::AppState;
use super::identity::OwnSession;
use super::problem::{ApiError, ApiResult, MEDIA_TYPE};
use super::request_log::RequestId;

/// `GET /fragments/PATH`: the server-rendered part of the page at `/PATH`, from the data of `api`.
pub(super) fn routes(api: InProcessApi) -> Router<AppState> {
    // What the account may see is decided by the API, which the fragment's data come from.
    let show =
        async move |OwnSession(_): OwnSession, request: Request| fragment(&api, request).await;
    Router::new()
        .route("/fragments/", get(show.clone()))
        .route("/fragments/{*path}", get(show))
}

async fn fragment(api: &InProcessApi, request: Request) -> ApiResult<Response> {
    let page = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let page: Uri = page
        .trim_start_matches("/fragments")
        .parse()
        .map_err(|_| ApiError::not_found("unknown_path", "Invalid path."))?;
    let now = console_core::clock::now();
    Ok(
        match app::fragments::render_fragment(api, request.headers(), &page, now).await {
            // Plain text, because it is not a complete page.
            Ok(fragment) => (
                [(CONTENT_TYPE, "text/plain; charset=utf-8")],
                fragment.to_string(),
            )
                .into_response(),
            Err(problem) => problem_response(problem, request.extensions().get()),
        },
    )
}

/// A problem returned by the in-process API, with the id of the outer request.
pub(super) fn problem_response(mut problem: ProblemDetails, id: Option<&RequestId>) -> Response {
    if let Some(id) = id {
        id.as_str().clone_into(&mut problem.request_id);
    }
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
}
