//! Forms of the pages, as requests to the API: what a form can do and what it is told are the API's.
//!
//! A browser's own submit is answered with a redirect, or with a page that says what was wrong; the interface's script
//! gets the address to go to, or the problem document.

use app::{Assets, InProcessApi};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Path};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use galera::publish::api::Problem;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ORIGIN};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Map, Value};

use super::extract::FormBody;
use super::fragments::document;
use super::headers::PLAIN_PAGE;
use super::observe::RequestId;
use super::problem::{ApiError, ApiResult};
use super::sign_in::see_other;
use super::{AppState, BODY_MAX};

/// Largest answer that is read back, in bytes: an action with its plan.
const ANSWER_MAX: usize = 8 << 20;

pub(super) type Fields = Vec<(String, String)>;

/// A form's way to the API.
#[derive(Clone)]
pub(super) struct Forms {
    api: InProcessApi,
    assets: Assets,
}

/// The forms of the recovery and action pages.
pub(super) fn routes(forms: Forms) -> Router<AppState> {
    let (request, one, all, act) = (forms.clone(), forms.clone(), forms.clone(), forms);
    Router::new()
        .route(
            "/clusters/{name}/actions",
            post(async move |Path(name): Path<String>, form: Submitted| {
                let cluster = format!("/clusters/{}", escaped(&name));
                let (path, back) = (format!("{cluster}/actions"), format!("{cluster}/recovery"));
                request.send(Method::POST, &path, &back, form).await
            }),
        )
        .route(
            "/clusters/{name}/recovery",
            post(async move |Path(name): Path<String>, form: Submitted| {
                let path = format!("/clusters/{}/recovery", escaped(&name));
                one.send(Method::PUT, &path, &path, form).await
            }),
        )
        .route(
            "/recovery",
            post(async move |form: Submitted| {
                all.send(Method::PUT, "/recovery", "/actions", form).await
            }),
        )
        .route(
            "/actions/{id}/{verb}",
            post(
                async move |Path((id, verb)): Path<(String, String)>, form: Submitted| {
                    let back = format!("/actions/{}", escaped(&id));
                    let path = format!("{back}/{}", escaped(&verb));
                    act.send(Method::POST, &path, &back, form).await
                },
            ),
        )
}

/// A form with what else its request says.
pub(super) struct Submitted {
    headers: HeaderMap,
    id: Option<RequestId>,
    pub(super) fields: Fields,
}

impl<S: Send + Sync> FromRequest<S> for Submitted {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let id = request.extensions().get().cloned();
        let FormBody(fields) = FormBody::from_request(request, state).await?;
        Ok(Self {
            headers,
            id,
            fields,
        })
    }
}

impl Forms {
    /// The way to `api`.
    pub(super) fn new(state: &AppState, api: InProcessApi) -> Self {
        Self {
            api,
            assets: state.site.assets.clone(),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        back: &str,
        mut form: Submitted,
    ) -> ApiResult<Response> {
        let body = body(std::mem::take(&mut form.fields))?;
        let led = |answer: &Value| match answer.get("id").and_then(Value::as_str) {
            Some(id) => format!("/actions/{}", escaped(id)),
            None => back.to_owned(),
        };
        self.pass(method, path, &body, &form, back, led).await
    }

    /// Sends `body` in the name of whoever sent `form`. What is accepted leads to what `led` makes of the answer; what is
    /// refused is told on a page that leads `back`.
    pub(super) async fn pass(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        form: &Submitted,
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
        let bytes = to_bytes(unread, ANSWER_MAX)
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?;
        if status.is_success() {
            let answer = serde_json::from_slice(&bytes).unwrap_or_default();
            return led_to(&led(&answer), headers);
        }
        let problem: Problem = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::internal(format!("{status} without a problem document: {error}"))
        })?;
        if is_navigation(headers) {
            return Ok(self.page(&problem, back));
        }
        Ok(document(problem, form.id.as_ref()))
    }

    /// A page for browsers without script: what was wrong, and the way back to the form.
    fn page(&self, problem: &Problem, back: &str) -> Response {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let [css, title, detail, back] = [
            self.assets.css.as_str(),
            &problem.title,
            &problem.detail,
            back,
        ]
        .map(text);
        let page = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · Galera Console</title>\
             <link rel=\"stylesheet\" href=\"{css}\"></head><body><main><section class=\"problem\">\
             <h1>{title}</h1><p>{detail}</p><p><a href=\"{back}\">Back</a></p></section></main></body></html>"
        );
        (status, [(CONTENT_SECURITY_POLICY, PLAIN_PAGE)], Html(page)).into_response()
    }
}

/// Where a form that was accepted leads.
fn led_to(location: &str, headers: &HeaderMap) -> ApiResult<Response> {
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
fn body(fields: Fields) -> ApiResult<Value> {
    let mut body = Map::new();
    let mut break_glass = None;
    for (name, value) in fields {
        if value.len() > BODY_MAX {
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
pub(super) fn escaped(segment: &str) -> String {
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
fn text(plain: &str) -> String {
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
    fn fields_become_the_apis_words() {
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
        assert_eq!(body(fields.to_vec()).unwrap(), expected);
    }

    #[test]
    fn a_broken_field_is_named() {
        let fields = vec![("attestations".to_owned(), "[".to_owned())];
        assert!(body(fields).is_err());
    }
}
