//! Extractors whose rejections are problem documents.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, FromRequest, FromRequestParts, Path, Query, Request};
use galera::recover::action::TEXT_MAX;
use galera::{ClusterName, Timestamp};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::{ApiError, ApiResult};

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Json::from_request(request, state)
            .await
            .map(|Json(value)| Self(value))
            .map_err(|rejection| match rejection {
                JsonRejection::JsonSyntaxError(error) => ApiError::bad_request(
                    "malformed_json",
                    format!(
                        "The request body is not valid JSON: {}.",
                        root_cause(&error)
                    ),
                ),
                JsonRejection::JsonDataError(error) => ApiError::bad_request(
                    "invalid_body",
                    format!("The request body is invalid: {}.", root_cause(&error)),
                ),
                JsonRejection::MissingJsonContentType(_) => {
                    unsupported_media_type("application/json")
                }
                // The body has already been read by `body_limit`.
                other => ApiError::internal(other.to_string()),
            })
    }
}

/// A JSON body that may be absent: an empty body, like `null`, is the default value.
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if axum::body::HttpBody::is_end_stream(request.body()) {
            return Ok(Self(T::default()));
        }
        let JsonBody(value) = JsonBody::<Option<T>>::from_request(request, state).await?;
        Ok(Self(value.unwrap_or_default()))
    }
}

/// A URL-encoded form.
pub(super) struct FormBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for FormBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Form::from_request(request, state)
            .await
            .map(|Form(value)| Self(value))
            .map_err(|rejection| match rejection {
                FormRejection::InvalidFormContentType(_) => {
                    unsupported_media_type("application/x-www-form-urlencoded")
                }
                error => ApiError::bad_request(
                    "invalid_body",
                    format!("The form is invalid: {}.", root_cause(&error)),
                ),
            })
    }
}

fn unsupported_media_type(expected: &str) -> ApiError {
    let detail = format!("The request body must have Content-Type {expected}.");
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Unsupported media type",
        detail,
    )
}

/// The message at the end of the error chain: serde's, without axum's wrapping.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string().chars().take(300).collect()
}

/// The cluster named in the path. An invalid name is reported as unknown.
pub(super) struct ClusterPath(pub(super) ClusterName);

impl<S: Send + Sync> FromRequestParts<S> for ClusterPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // The path may have further parameters.
        let name = Path::<BTreeMap<String, String>>::from_request_parts(parts, state)
            .await
            .ok()
            .and_then(|Path(mut parameters)| parameters.remove("cluster"))
            .unwrap_or_default();
        name.parse().map(Self).map_err(|error| {
            let shown: String = name.chars().take(80).collect();
            unknown_cluster(&format!("{shown:?}")).with_source(error)
        })
    }
}

/// The query parameters.
pub(super) struct QueryParams<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|error| {
                ApiError::bad_request(
                    "invalid_query",
                    format!("The query parameters are invalid: {}.", root_cause(&error)),
                )
            })
    }
}

/// The time in the query parameter `name`.
///
/// # Errors
/// A problem, if `text` is not a time since 1970.
pub(super) fn time_parameter(name: &str, text: &str) -> ApiResult<Timestamp> {
    let time = Timestamp::parse(text).filter(|time| time.unix_millis() >= 0);
    time.ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        let detail = format!("{shown:?} is not a time for {name}, such as 2026-01-31T12:00:00Z.");
        ApiError::bad_request("invalid_query", detail)
    })
}

/// Whether CSV is requested: by `format=csv`, else by the `Accept` header.
pub(super) fn csv_requested(
    format: Option<&str>,
    headers: &http::HeaderMap,
) -> Result<bool, ApiError> {
    match format {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        None => Ok(headers
            .get(http::header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| accept.contains("text/csv"))),
        Some(_) => {
            let detail = "Unknown format; expected json or csv.";
            Err(ApiError::bad_request("invalid_query", detail))
        }
    }
}

/// The error for an unknown cluster.
pub(super) fn unknown_cluster(shown: &str) -> ApiError {
    ApiError::not_found(
        "unknown_cluster",
        format!("Unknown cluster {shown}; /api/v1/clusters lists all clusters."),
    )
}

/// The reason in `text`, which the audit trail keeps.
///
/// # Errors
/// A problem, if there is none or it is too long.
pub(super) fn audited_reason(text: &str) -> ApiResult<&str> {
    let reason = text.trim();
    if reason.is_empty() {
        return Err(ApiError::unprocessable(
            "no_reason",
            "State a reason; it appears in the audit trail.",
        ));
    }
    if reason.chars().count() > TEXT_MAX {
        return Err(ApiError::unprocessable(
            "too_long",
            format!("The reason is longer than {TEXT_MAX} characters; shorten it."),
        ));
    }
    Ok(reason)
}
