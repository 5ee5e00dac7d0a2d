//! Errors as problem documents (RFC 9457): a public text for users, a source for the log.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use console_core::log_budget::LogBudget;
use console_core::tasks::panic_message;
use console_core::trace_context::TraceContext;
use futures::FutureExt;
use galera::access::PermissionDenied;
use galera::publish::api::ProblemDetails;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use registry::{OutdatedSecret, StorageAlarm};

use super::request_log::{RequestId, logged_path};

/// An alarm of etcd ends when an administrator ends it.
const ALARM_RETRY: Duration = Duration::from_secs(30);

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

pub type ApiResult<T> = Result<T, ApiError>;

/// An error to be rendered as a problem document.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    source: Option<String>,
    retry_after: Option<Duration>,
    /// `WWW-Authenticate`.
    challenge: Option<&'static str>,
    /// Whether the connection is closed after the response.
    closes: bool,
}

impl ApiError {
    /// An error with a stable `code`, a `title` of a few words and a `detail` that names the remedy.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            source: None,
            retry_after: None,
            challenge: None,
            closes: false,
        }
    }

    /// 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "Malformed request", detail)
    }

    /// 401.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, "Not signed in", detail)
    }

    /// 403.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "Forbidden", detail)
    }

    /// 404.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, "Not found", detail)
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, "Conflict", detail)
    }

    /// 422.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            "Unprocessable request",
            detail,
        )
    }

    /// 503.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code,
            "Service unavailable",
            detail,
        )
        .with_retry_after(Duration::from_secs(2))
    }

    /// 503: etcd failed. `unreachable` is shown unless etcd has an alarm, which is named with its remedy.
    pub(super) fn etcd_failed(error: &registry::Error, unreachable: &str) -> Self {
        match error.alarm() {
            Some(alarm) => Self::etcd_alarm(alarm),
            None => Self::unavailable("registry_unavailable", unreachable),
        }
        .with_source(error)
    }

    /// 503: etcd refuses requests because of an alarm.
    pub(super) fn etcd_alarm(alarm: StorageAlarm) -> Self {
        let (code, detail) = match alarm {
            StorageAlarm::NoSpace => (
                "etcd_no_space",
                "etcd has no space left and refuses every write, so nothing was changed; an administrator of etcd must compact and defragment it, then disarm its NOSPACE alarm (docs/etcd.md#space).",
            ),
            StorageAlarm::Corrupt => (
                "etcd_corrupt",
                "etcd has a CORRUPT alarm, because the data of its members differ, and accepts neither reads nor writes; an administrator of etcd must replace the member that differs, then disarm the alarm (docs/etcd.md#space).",
            ),
        };
        Self::unavailable(code, detail).with_retry_after(ALARM_RETRY)
    }

    /// 503: this replica cannot read the records of the others. Names of secrets are no secrets.
    pub(super) fn state_secret_outdated(outdated: &OutdatedSecret) -> Self {
        let needed = &outdated.needed;
        Self::unavailable(
            "state_secret_outdated",
            format!(
                "The state secret file of this replica is older than the one in use: it lacks the secret {needed}. An administrator must copy the file of the other replicas to this one and restart it (docs/etcd.md#sealed-records); other replicas are not affected."
            ),
        )
        .with_retry_after(ALARM_RETRY)
    }

    /// 500; `source` is only logged.
    pub fn internal(source: impl Into<String>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
                "The console hit an internal error; see its log for this request ID.",
            )
        }
    }

    /// Adds a cause that is only logged.
    #[must_use]
    pub fn with_source(mut self, source: impl std::fmt::Display) -> Self {
        self.source = Some(source.to_string());
        self
    }

    /// Sets `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets `WWW-Authenticate`.
    #[must_use]
    pub fn with_challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Closes the connection after the response, and with it the requests that the client sent without waiting.
    #[must_use]
    pub fn closing_connection(mut self) -> Self {
        self.closes = true;
        self
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The error in a few words.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The cause and the remedy.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn into_document(self, request_id: &str) -> Response {
        let problem = ProblemDetails {
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            title: self.title.to_owned(),
            detail: self.detail,
            request_id: request_id.to_owned(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if self.closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(challenge) = self.challenge {
            let value = HeaderValue::from_static(challenge);
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        if let Some(wait) = self.retry_after {
            // Rounded up: a client that retries early would be rejected again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl From<PermissionDenied> for ApiError {
    fn from(denied: PermissionDenied) -> Self {
        let missing = denied.missing_role;
        let detail = format!(
            "Requires the {missing} role, which your account does not have; ask an administrator."
        );
        Self::forbidden("missing_role", detail)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Turns an error message into a sentence.
pub(super) fn to_sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_uppercase().to_string());
    let rest = characters.as_str();
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{rest}{end}", first.unwrap_or_default())
}

/// Fallback for unknown paths (404).
pub(super) async fn unknown_path(request: Request) -> ApiError {
    let path: String = request.uri().path().chars().take(200).collect();
    ApiError::not_found("unknown_path", format!("No resource at {path}."))
}

/// Fallback of a connection beyond a limit (503).
pub(super) async fn too_many_connections() -> ApiError {
    ApiError::unavailable(
        "too_many_connections",
        "Too many connections are open; close some and try again in a moment.",
    )
}

/// Fallback of a connection without TLS where TLS is required (400).
pub(super) async fn tls_required() -> ApiError {
    ApiError::bad_request(
        "tls_required",
        "This port accepts TLS only; use https:// in the address.",
    )
}

/// An error as a document, outside the layers that render others.
pub(super) fn document(error: ApiError) -> Response {
    error.into_document(RequestId::default().as_str())
}

/// Renders every error, including those of libraries and panics, as a problem document.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let id = request
        .extensions()
        .get::<RequestId>()
        .cloned()
        .unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            ApiError::internal(format!("panic: {}", panic_message(panic.as_ref()))).into_response()
        }
    };
    let Some(error) = response
        .extensions_mut()
        .remove::<ApiError>()
        .or_else(|| from_library_response(&response, &method, &path))
    else {
        return response;
    };
    log_error(&error, &id, &method, logged_path(&path));
    let (parts, _) = response.into_parts();
    let mut document = error.into_document(id.as_str());
    copy_headers(&parts.headers, &mut document);
    document.extensions_mut().extend(parts.extensions);
    if method == Method::HEAD {
        *document.body_mut() = Body::empty();
    }
    document
}

/// Copies the headers of the original response, except those about its body.
fn copy_headers(original: &HeaderMap, document: &mut Response) {
    for (name, value) in original {
        if *name != CONTENT_TYPE
            && *name != CONTENT_LENGTH
            && !document.headers().contains_key(name)
        {
            document.headers_mut().append(name.clone(), value.clone());
        }
    }
}

/// Every error passes here, so that clients cannot fill the log: of each code some are logged in a minute.
fn log_error(error: &ApiError, id: &RequestId, method: &Method, path: &str) {
    let (code, request_id) = (error.code, id.as_str());
    let trace = TraceContext::current();
    let trace_id = trace.as_ref().map(TraceContext::trace_id);
    let source = error.source.as_deref().unwrap_or(&error.detail);
    let failed = error.status == StatusCode::INTERNAL_SERVER_ERROR;
    if !failed && !error.status.is_server_error() {
        // The client's own mistake, or its attempt: the line of the request has the status.
        tracing::debug!(request_id, trace_id, code, %method, path, "Request refused: {source}");
        return;
    }
    let Some(omitted) = LOGGED_ERRORS.admit(code) else {
        return;
    };
    if failed {
        tracing::error!(request_id, trace_id, code, %method, path, omitted, "Request failed: {source}");
    } else {
        tracing::warn!(request_id, trace_id, code, %method, path, omitted, "Request refused: {source}");
    }
}

/// Errors that are logged in a minute, of each code.
static LOGGED_ERRORS: LogBudget = LogBudget::new(10);

/// Converts an error response of a library. HTML pages and problem documents are kept.
fn from_library_response(response: &Response, method: &Method, path: &str) -> Option<ApiError> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if media_type.starts_with("text/html") || media_type.starts_with(MEDIA_TYPE) {
        return None;
    }
    let path: String = path.chars().take(200).collect();
    Some(match status {
        StatusCode::NOT_FOUND => {
            ApiError::not_found("unknown_path", format!("No resource at {path}."))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            // Of a route, axum adds the header outside of all layers.
            let allowed = response.headers().get(ALLOW);
            let remedy = allowed.and_then(|value| value.to_str().ok()).map_or_else(
                || "the header Allow lists the methods that it accepts".to_owned(),
                |allowed| format!("use {allowed}"),
            );
            let detail = format!("{path} does not accept {method}; {remedy}.");
            ApiError::new(status, "method_not_allowed", "Method not allowed", detail)
        }
        _ if status.is_server_error() => {
            ApiError::internal(format!("a library responded with {status}"))
        }
        _ => ApiError::new(
            status,
            "bad_request",
            "Malformed request",
            format!("The request is malformed ({status})."),
        ),
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn answer(path: &str) -> (StatusCode, ProblemDetails) {
        async fn panics() {
            panic!("an internal secret");
        }
        let secret = || async { ApiError::internal("an internal secret") };
        let router = Router::new()
            .route("/panics", get(panics))
            .route("/fails", get(secret))
            .route("/library", get(|| async { StatusCode::BAD_GATEWAY }))
            .layer(from_fn(render));
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn error_messages_become_sentences() {
        for (message, sentence) in [
            ("unknown cluster", "Unknown cluster."),
            ("look again.", "Look again."),
            ("is it?", "Is it?"),
        ] {
            assert_eq!(to_sentence(message), sentence);
        }
    }

    #[tokio::test]
    async fn internal_errors_reveal_no_details() {
        for path in ["/panics", "/fails", "/library"] {
            let (status, problem) = answer(path).await;
            assert_eq!(
                (status.as_u16(), problem.code.as_str()),
                (500, "internal"),
                "{path}"
            );
            assert!(
                !problem.detail.contains("secret") && !problem.request_id.is_empty(),
                "{path}"
            );
        }
    }
}
