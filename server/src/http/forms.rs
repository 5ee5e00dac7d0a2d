//! Forwards the pages' forms to the API, which validates and answers them.
//!
//! A plain form submission is answered with a redirect or an error page; the interface's script gets the location or the
//! problem document.

use app::InProcessApi;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Path};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use galera::publish::api::ProblemDetails;
use html_escape::encode_double_quoted_attribute;
use http::header::{CONTENT_TYPE, COOKIE, ORIGIN};
use http::{HeaderMap, Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::extract::FormBody;
use super::plain_page::{FormTarget, plain_page};
use super::problem::{ApiError, ApiResult};
use super::problem_page::is_navigation;
use super::refused_field::refusal_response;
use super::request_log::{ClientAddress, RequestId};
use super::sign_in::see_other;
use super::{AppState, BODY_BYTES_MAX};

/// Maximum size of an API response, in bytes: an action with its plan.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

/// Every byte but the unreserved characters of RFC 3986 is percent-encoded.
pub(super) const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

pub(super) type FormFields = Vec<(String, String)>;

/// Forwards forms to the API in-process.
#[derive(Clone)]
pub(super) struct FormForwarder {
    api: InProcessApi,
    state: AppState,
}

/// The forms of the recovery and action pages.
pub(super) fn routes(forwarder: FormForwarder) -> Router<AppState> {
    let (request, switch_one) = (forwarder.clone(), forwarder.clone());
    let (admit, acknowledge) = (forwarder.clone(), forwarder.clone());
    let (switch_all, alarms, act) = (forwarder.clone(), forwarder.clone(), forwarder.clone());
    let (accept, reopen) = (forwarder.clone(), forwarder);
    Router::new()
        .route(
            "/clusters/{name}/actions",
            post(
                async move |Path(name): Path<String>, mut form: SubmittedForm| {
                    let cluster = format!("/clusters/{}", encode_segment(&name));
                    let (path, back) =
                        (format!("{cluster}/actions"), format!("{cluster}/recovery"));
                    if let Some(refusal) = request.step_up(&mut form, &back).await? {
                        return Ok(refusal);
                    }
                    request
                        .forward_fields(Method::POST, &path, &back, form)
                        .await
                },
            ),
        )
        .route(
            "/clusters/{name}/nodes/{node}/admit",
            post(
                async move |Path((name, node)): Path<(String, String)>, form: SubmittedForm| {
                    let cluster = format!("/clusters/{}", encode_segment(&name));
                    let path = format!("{cluster}/nodes/{}/admit", encode_segment(&node));
                    let back = format!("{cluster}/recovery");
                    admit.forward_fields(Method::POST, &path, &back, form).await
                },
            ),
        )
        .route(
            "/clusters/{name}/alarms/acknowledge",
            post(async move |Path(name): Path<String>, form: SubmittedForm| {
                let cluster = format!("/clusters/{}", encode_segment(&name));
                let path = format!("{cluster}/alarms/acknowledge");
                let back = format!("{cluster}/recovery");
                alarms
                    .forward_fields(Method::POST, &path, &back, form)
                    .await
            }),
        )
        .route(
            "/clusters/{name}/findings/acknowledge",
            post(async move |Path(name): Path<String>, form: SubmittedForm| {
                let page = format!("/clusters/{}/findings", encode_segment(&name));
                let path = format!("{page}/acknowledge");
                accept
                    .forward_fields(Method::POST, &path, &page, form)
                    .await
            }),
        )
        .route(
            "/clusters/{name}/findings/reopen",
            post(async move |Path(name): Path<String>, form: SubmittedForm| {
                let page = format!("/clusters/{}/findings", encode_segment(&name));
                let path = format!("{page}/reopen");
                reopen
                    .forward_fields(Method::POST, &path, &page, form)
                    .await
            }),
        )
        .route(
            "/clusters/{name}/recovery",
            post(async move |Path(name): Path<String>, form: SubmittedForm| {
                let path = format!("/clusters/{}/recovery", encode_segment(&name));
                switch_one
                    .forward_fields(Method::PUT, &path, &path, form)
                    .await
            }),
        )
        .route(
            "/audit/acknowledge",
            post(async move |mut form: SubmittedForm| {
                if let Some(refusal) = acknowledge.step_up(&mut form, "/audit").await? {
                    return Ok(refusal);
                }
                let path = "/alarms/acknowledge";
                acknowledge
                    .forward_fields(Method::POST, path, "/audit", form)
                    .await
            }),
        )
        .route(
            "/recovery",
            post(async move |form: SubmittedForm| {
                switch_all
                    .forward_fields(Method::PUT, "/recovery", "/actions", form)
                    .await
            }),
        )
        .route(
            "/actions/{id}/{verb}",
            post(
                async move |Path((id, verb)): Path<(String, String)>, mut form: SubmittedForm| {
                    let back = format!("/actions/{}", encode_segment(&id));
                    let path = format!("{back}/{}", encode_segment(&verb));
                    if let Some(refusal) = act.step_up(&mut form, &back).await? {
                        return Ok(refusal);
                    }
                    act.forward_fields(Method::POST, &path, &back, form).await
                },
            ),
        )
}

/// A form with the headers and id of its request.
pub(super) struct SubmittedForm {
    headers: HeaderMap,
    request_id: Option<RequestId>,
    client: Option<ClientAddress>,
    pub(super) fields: FormFields,
}

impl<S: Send + Sync> FromRequest<S> for SubmittedForm {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let request_id = request.extensions().get().cloned();
        let client = request.extensions().get().copied();
        let FormBody(fields) = FormBody::from_request(request, state).await?;
        Ok(Self {
            headers,
            request_id,
            client,
            fields,
        })
    }
}

impl SubmittedForm {
    /// The redirect of a successful submission, or its location for the script.
    pub(super) fn succeed(&self, location: &str) -> ApiResult<Response> {
        success_response(location, &self.headers)
    }

    /// Every value of a field, such as those of check boxes.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field; empty if there is none.
    pub(super) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// The body of a step-up with what a user entered as a password or code. A code has six digits or the groups of a
/// recovery code, and no new password is as short as the former or likely to look like the latter.
pub(super) fn proof_json(text: &str) -> Value {
    let code = text.trim();
    let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let groups: Vec<&str> = code.split('-').collect();
    let recovery = groups.len() == 4 && groups.iter().all(|group| group.len() == 4);
    if digits || recovery {
        serde_json::json!({ "code": code })
    } else {
        serde_json::json!({ "password": text })
    }
}

impl FormForwarder {
    /// Forwards to `api`.
    pub(super) fn new(state: &AppState, api: InProcessApi) -> Self {
        Self {
            api,
            state: state.clone(),
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
        let location = |response: &Value| match response.get("id").and_then(Value::as_str) {
            Some(id) => format!("/actions/{}", encode_segment(id)),
            None => back.to_owned(),
        };
        self.forward(method, path, &body, &form, back, location)
            .await
    }

    /// Sends `body` to the API on behalf of the sender of `form`. On success redirects to the location that `location` derives
    /// from the API's response; on failure shows an error page with a link to `back`.
    pub(super) async fn forward(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        form: &SubmittedForm,
        back: &str,
        location: impl FnOnce(&Value) -> String,
    ) -> ApiResult<Response> {
        match self.call(method, path, body, form).await? {
            Ok(response) => success_response(&location(&response), &form.headers),
            Err(problem) => Ok(self.refusal(problem, form, back)),
        }
    }

    /// Gives the API the proof in the field `proof` of `form`, and removes it; returns the response if it is refused.
    async fn step_up(&self, form: &mut SubmittedForm, back: &str) -> ApiResult<Option<Response>> {
        let proof = form.field("proof").to_owned();
        form.fields.retain(|(name, _)| name != "proof");
        if proof.is_empty() {
            return Ok(None);
        }
        let body = proof_json(&proof);
        let called = self.call(Method::POST, "/session/step-up", &body, form);
        Ok(called
            .await?
            .err()
            .map(|problem| self.refusal(problem, form, back)))
    }

    /// Sends `body` to the API on behalf of the sender of `form`.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        form: &SubmittedForm,
    ) -> ApiResult<Result<Value, ProblemDetails>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(CONTENT_TYPE, "application/json");
        for name in [COOKIE, ORIGIN] {
            for value in form.headers.get_all(&name) {
                request = request.header(&name, value);
            }
        }
        if let Some(client) = form.client {
            request = request.extension(client);
        }
        let request = request
            .body(Body::from(body.to_string()))
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let response = (self.api.0)(request).await;
        let (status, body) = (response.status(), response.into_body());
        let bytes = to_bytes(body, RESPONSE_BYTES_MAX)
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?;
        if status.is_success() {
            return Ok(Ok(serde_json::from_slice(&bytes).unwrap_or_default()));
        }
        let problem = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::internal(format!("{status} without a problem document: {error}"))
        })?;
        Ok(Err(problem))
    }

    /// The response to a form that the API refused: an error page with a link to `back`, or the problem for the script.
    pub(super) fn refusal(
        &self,
        problem: ProblemDetails,
        form: &SubmittedForm,
        back: &str,
    ) -> Response {
        if is_navigation(&form.headers) {
            self.error_page(&problem, back)
        } else {
            refusal_response(problem, form.request_id.as_ref())
        }
    }

    /// The state, for pages that are the response to a form.
    pub(super) fn state(&self) -> &AppState {
        &self.state
    }

    /// An error page for browsers without script, with a link back to the form.
    fn error_page(&self, problem: &ProblemDetails, back: &str) -> Response {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let [title, detail, back] =
            [problem.title.as_str(), &problem.detail, back].map(encode_double_quoted_attribute);
        let content = format!(
            "<section class=\"problem\"><h1>{title}</h1><p>{detail}</p><p><a href=\"{back}\">Back</a></p></section>"
        );
        plain_page(
            &self.state,
            status,
            &problem.title,
            &content,
            FormTarget::None,
        )
    }
}

/// The redirect of a successful submission, or its location for the script.
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

/// The fields of a form as API JSON, without the empty ones.
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
            "through" | "days" => {
                let number: u64 = value.parse().map_err(|_| {
                    ApiError::bad_request("invalid_body", format!("{name}: not a number."))
                })?;
                body.insert(name, number.into());
            }
            "nodes" => {
                let nodes: Vec<&str> = value.split_whitespace().collect();
                body.insert(name, nodes.into());
            }
            "attestations" => {
                let attestations = serde_json::from_str(&value).map_err(|error| {
                    ApiError::bad_request("invalid_body", format!("attestations: {error}."))
                })?;
                body.insert(name, attestations);
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

/// Percent-encodes one segment of a path.
pub(super) fn encode_segment(segment: &str) -> String {
    utf8_percent_encode(segment, &UNRESERVED).to_string()
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
    fn a_proof_is_a_code_or_a_password() {
        for (text, member) in [
            ("123456", "code"),
            (" 123456 ", "code"),
            ("ABCD-EFGH-2345-WXYZ", "code"),
            ("1234567", "password"),
            ("correct-horse-battery-staple", "password"),
            ("abcd-efgh-ijkl", "password"),
        ] {
            assert!(proof_json(text).get(member).is_some(), "{text}");
        }
    }

    #[test]
    fn an_invalid_field_is_rejected() {
        let fields = vec![("attestations".to_owned(), "[".to_owned())];
        assert!(fields_to_json(fields).is_err());
    }
}
