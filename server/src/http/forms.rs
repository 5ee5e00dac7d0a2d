//! Forms of the pages, as requests to the API: what a form can do and what it is told are the API's.
//!
//! A browser's own submit is answered with a redirect, or with a page that says what was wrong; the interface's script
//! gets the address to go to, or the problem document.

use app::{InProcessApi, SiteAssets};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Path};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use galera::publish::api::ProblemDetails;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ORIGIN};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Map, Value};

use super::extract::FormBody;
use super::fragments::problem_response;
use super::headers::PLAIN_PAGE_POLICY;
use super::problem::{ApiError, ApiResult};
use super::request_log::RequestId;
use super::sign_in::see_other;
use super::{AppState, BODY_BYTES_MAX};

/// Largest answer that is read back, in bytes: an action with its plan.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

pub(super) type FormFields = Vec<(String, String)>;

/// A form's way to the API.
#[derive(Clone)]
pub(super) struct FormForwarder {
    api: InProcessApi,
    assets: SiteAssets,
}

/// The forms of the recovery and action pages.
pub(super) fn routes(forms: FormForwarder) -> Router<AppState> {
    let (request, one, all, act) = (forms.clone(), forms.clone(), forms.clone(), forms);
    Router::new()
        .route(
            "/clusters/{name}/actions",
            post(async move |Path(name): Path<String>, form: SubmittedForm| {
                let cluster = format!("/clusters/{}", encode_segment(&name));
                let (path, back) = (format!("{cluster}/actions"), format!("{cluster}/recovery"));
                request
                    .forward_fields(Method::POST, &path, &back, form)
                    .await
            }),
        )
        .route(
            "/clusters/{name}/recovery",
            post(async move |Path(name): Path<String>, form: SubmittedForm| {
                let path = format!("/clusters/{}/recovery", encode_segment(&name));
                one.forward_fields(Method::PUT, &path, &path, form).await
            }),
        )
        .route(
            "/recovery",
            post(async move |form: SubmittedForm| {
                all.forward_fields(Method::PUT, "/recovery", "/actions", form)
                    .await
            }),
        )
        .route(
            "/actions/{id}/{verb}",
            post(
                async move |Path((id, verb)): Path<(String, String)>, form: SubmittedForm| {
                    let back = format!("/actions/{}", encode_segment(&id));
                    let path = format!("{back}/{}", encode_segment(&verb));
                    act.forward_fields(Method::POST, &path, &back, form).await
                },
            ),
        )
}

/// A form with what else its request says.
pub(super) struct SubmittedForm {
    headers: HeaderMap,
    request_id: Option<RequestId>,
    pub(super) fields: FormFields,
}

impl<S: Send + Sync> FromRequest<S> for SubmittedForm {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let id = request.extensions().get().cloned();
        let FormBody(fields) = FormBody::from_request(request, state).await?;
        Ok(Self {
            headers,
            request_id: id,
            fields,
        })
    }
}

impl FormForwarder {
    /// The way to `api`.
    pub(super) fn new(state: &AppState, api: InProcessApi) -> Self {
        Self {
            api,
            assets: state.site.assets.clone(),
        }
    }

    async fn forward_fields(
        &self,
        method: Method,
        path: &str,
        back: &str,
        mut form: SubmittedForm,
    ) -> ApiResult<Response> {
        let body = fields_to_json(std::mem::take(&mut form.fields))?;
        let led = |answer: &Value| match answer.get("id").and_then(Value::as_str) {
            Some(id) => format!("/actions/{}", encode_segment(id)),
            None => back.to_owned(),
        };
        self.forward(method, path, &body, &form, back, led).await
    }

    /// Sends `fields_to_json` in the name of whoever sent `form`. What is accepted leads to what `led` makes of the answer; what is
    /// refused is told on a page that leads `back`.
    pub(super) async fn forward(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        form: &SubmittedForm,
        back: &str,
        led: impl FnOnce(&Value) -> String,
    ) -> ApiResult<Response> {
        let headers = &form.headers;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(CONTENT_TYPE, "application/json");
        for name in [COOKIE, ORIGIN] {
            for value in headers.get_all(&name) {
                request = request.header(&name, value);
            }
        }
        let request = request
            .body(Body::from(body.to_string()))
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let answer = (self.api.0)(request).await;
        let (status, unread) = (answer.status(), answer.into_body());
        let bytes = to_bytes(unread, RESPONSE_BYTES_MAX)
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?;
        if status.is_success() {
            let answer = serde_json::from_slice(&bytes).unwrap_or_default();
            return success_response(&led(&answer), headers);
        }
        let problem: ProblemDetails = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::internal(format!("{status} without a problem document: {error}"))
        })?;
        if is_navigation(headers) {
            return Ok(self.error_page(&problem, back));
        }
        Ok(problem_response(problem, form.request_id.as_ref()))
    }

    /// A page for browsers without script: what was wrong, and the way back to the form.
    fn error_page(&self, problem: &ProblemDetails, back: &str) -> Response {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let [css, title, detail, back] = [
            self.assets.css.as_str(),
            &problem.title,
            &problem.detail,
            back,
        ]
        .map(escape_html);
        let page = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · Galera Console</title>\
             <link rel=\"stylesheet\" href=\"{css}\"></head><body><main><section class=\"problem\">\
             <h1>{title}</h1><p>{detail}</p><p><a href=\"{back}\">Back</a></p></section></main></body></html>"
        );
        (
            status,
            [(CONTENT_SECURITY_POLICY, PLAIN_PAGE_POLICY)],
            Html(page),
        )
            .into_response()
    }
}

/// Where a form that was accepted leads.
fn success_response(location: &str, headers: &HeaderMap) -> ApiResult<Response> {
    if is_navigation(headers) {
        return see_other(location);
    }
    Ok((
        [(CONTENT_TYPE, "text/plain; charset=utf-8")],
        location.to_owned(),
    )
        .into_response())
}

fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The fields of a form as the API's JSON. Empty ones were not filled in.
fn fields_to_json(fields: FormFields) -> ApiResult<Value> {
    let mut body = Map::new();
    let mut break_glass = None;
    for (name, value) in fields {
        if value.len() > BODY_BYTES_MAX {
            return Err(ApiError::bad_request(
                "invalid_body",
                format!("{name} is too long."),
            ));
        }
        match name.as_str() {
            "enabled" => {
                body.insert(name, Value::Bool(value == "true"));
            }
            "attestations" => {
                let given = serde_json::from_str(&value).map_err(|error| {
                    ApiError::bad_request("invalid_body", format!("attestations: {error}."))
                })?;
                body.insert(name, given);
            }
            "overrides" => {
                let codes: Vec<&str> = value.split(',').filter(|code| !code.is_empty()).collect();
                break_glass = Some(serde_json::json!({ "overrides": codes }));
            }
            _ if value.trim().is_empty() => {}
            _ => {
                body.insert(name, Value::String(value));
            }
        }
    }
    if let Some(overrides) = break_glass {
        body.insert("break_glass".to_owned(), overrides);
    }
    Ok(Value::Object(body))
}

/// One segment of a path.
pub(super) fn encode_segment(segment: &str) -> String {
    segment
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Text within HTML.
fn escape_html(plain: &str) -> String {
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_api_json() {
        let fields = [
            ("kind", "bootstrap"),
            ("comment", " "),
            ("enabled", "false"),
            ("attestations", r#"[{"node":"n2","statement":"stopped"}]"#),
            ("overrides", "settled,last_primary"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected = serde_json::json!({
            "kind": "bootstrap",
            "enabled": false,
            "attestations": [{"node": "n2", "statement": "stopped"}],
            "break_glass": {"overrides": ["settled", "last_primary"]},
        });
        assert_eq!(fields_to_json(fields.to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_broken_field_is_named() {
        let fields = vec![("attestations".to_owned(), "[".to_owned())];
        assert!(fields_to_json(fields).is_err());
    }
}
