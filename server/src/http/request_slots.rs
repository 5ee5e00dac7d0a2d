//! Counts the requests of an account that are handled concurrently: until the client has read the response, so that large
//! ones, such as an export of the audit trail, cannot be held in any number.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use console_core::session::SessionGuard;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::AppState;
use super::identity::InProcessRequest;
use super::problem::ApiError;
use crate::limits::RequestSlot;

/// What a client that was refused waits.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Paths by which an owner ends sessions: also while one of these sessions uses up the limit.
const ENDING_SESSIONS: [&str; 4] = [
    "/api/v1/session",
    "/api/v1/me/sessions",
    "/account/sessions",
    "/sign-out",
];

/// Handles `request` of `session` if its account may have one more.
pub(super) async fn handle(
    app: &AppState,
    session: &SessionGuard,
    request: Request,
    next: Next,
) -> Response {
    if !is_counted(&request) {
        return next.run(request).await;
    }
    // A token's requests count for the token: its owner is not kept from working.
    let Some(slot) = app.limits.request(&session.principal.audit_actor()) else {
        return too_many_requests().into_response();
    };
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(CountedBody {
            body,
            slot: Some(slot),
        })
    })
}

fn is_counted(request: &Request) -> bool {
    // What the console requests from itself belongs to a request that is counted.
    if request.extensions().get::<InProcessRequest>().is_some() {
        return false;
    }
    let path = request.uri().path();
    let ends_sessions = ENDING_SESSIONS
        .iter()
        .any(|ending| path.starts_with(ending));
    *request.method() == Method::GET || !ends_sessions
}

fn too_many_requests() -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        "Too many requests",
        "This account or token has too many requests in progress; wait for some to end.",
    )
    .with_retry_after(RETRY_AFTER)
}

/// A body whose request counts until it ends or is dropped.
struct CountedBody {
    body: Body,
    slot: Option<RequestSlot>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.slot = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
