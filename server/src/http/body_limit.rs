//! Reads request bodies before any handler, bounded in size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::BodyExt;

use super::BODY_BYTES_MAX;
use super::problem::ApiError;

/// How long a client may take to send its body.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of an oversized body is read and discarded: a client that is still sending would otherwise see a broken
/// connection instead of the response.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) async fn limit_body(request: Request, next: Next) -> Response {
    if http_body::Body::is_end_stream(request.body()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(READ_TIMEOUT, read_bounded(body)).await {
        Ok(Ok(bytes)) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        Ok(Err(error)) => error.into_response(),
        Err(_) => {
            let detail = format!(
                "The request body did not arrive within {} s.",
                READ_TIMEOUT.as_secs()
            );
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "Request timeout",
                detail,
            )
            .into_response()
        }
    }
}

async fn read_bounded(mut body: Body) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(
                "unreadable_body",
                "The request body could not be read completely.",
            )
            .with_source(error)
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        size += data.len();
        if size <= BODY_BYTES_MAX {
            bytes.extend_from_slice(data);
        } else if size > DRAIN_BYTES_MAX {
            break;
        }
    }
    if size > BODY_BYTES_MAX {
        let detail = format!("The request body exceeds {BODY_BYTES_MAX} bytes.");
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "Request body too large",
            detail,
        ));
    }
    Ok(bytes.into())
}
