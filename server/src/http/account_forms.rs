//! The forms of the page of the own account.

use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Response;
use axum::routing::post;
use galera::publish::accounts::{NewTokenView, RecoveryCodesView};
use html_escape::encode_text;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::AppState;
use super::cookie;
use super::forms::{FormForwarder, SubmittedForm, encode_segment, proof_json};
use super::plain_page::{FormTarget, plain_page, secret_page};
use super::problem::{ApiError, ApiResult};

const ACCOUNT_PAGE: &str = "/account";

/// What is chosen; the other choice stays.
#[derive(serde::Deserialize)]
struct DisplayQuery {
    theme: Option<String>,
    time: Option<String>,
}

/// `POST /account/display?theme=` or `?time=`: keeps a choice of this browser in a cookie. An unknown one is the default.
async fn choose_display(
    app: AppState,
    Query(query): Query<DisplayQuery>,
    form: SubmittedForm,
) -> ApiResult<Response> {
    let mut response = form.succeed(ACCOUNT_PAGE)?;
    let choices: [(&str, Option<String>, &[&str]); 2] = [
        (app::THEME_COOKIE, query.theme, &["light", "dark"]),
        (app::TIME_COOKIE, query.time, &["local"]),
    ];
    for (cookie, choice, known) in choices {
        let Some(choice) = choice else { continue };
        let choice = known.iter().copied().find(|known| *known == choice);
        if let Some(cookie) = cookie::set_choice(cookie, choice, app.is_https()) {
            response
                .headers_mut()
                .append(http::header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

pub(super) fn routes(forms: FormForwarder) -> Router<AppState> {
    let forms = AccountForms(forms);
    let (step_up, password, start, confirm) =
        (forms.clone(), forms.clone(), forms.clone(), forms.clone());
    let tokens = token_routes(&forms);
    let (remove, renew, end, end_all) = (forms.clone(), forms.clone(), forms.clone(), forms);
    Router::new()
        .merge(tokens)
        .route("/account/display", post(choose_display))
        .route(
            "/account/step-up",
            post(async move |form: SubmittedForm| {
                let body = proof_json(form.field("proof"));
                step_up
                    .send(Method::POST, "/session/step-up", &body, &form)
                    .await
            }),
        )
        .route(
            "/account/password",
            post(async move |form: SubmittedForm| {
                let body = json!({"current": form.field("current"), "new": form.field("new")});
                password
                    .send(Method::POST, "/me/password", &body, &form)
                    .await
            }),
        )
        .route(
            "/account/factor",
            post(async move |form: SubmittedForm| {
                start
                    .send(Method::POST, "/me/factor", &json!({}), &form)
                    .await
            }),
        )
        .route(
            "/account/factor/confirm",
            post(async move |form: SubmittedForm| {
                let body = json!({"code": form.field("code")});
                confirm.show_codes("/me/factor/confirm", &body, &form).await
            }),
        )
        .route(
            "/account/factor/remove",
            post(async move |form: SubmittedForm| {
                remove
                    .send(Method::DELETE, "/me/factor", &json!({}), &form)
                    .await
            }),
        )
        .route(
            "/account/recovery-codes",
            post(async move |form: SubmittedForm| {
                renew
                    .show_codes("/me/recovery-codes", &json!({}), &form)
                    .await
            }),
        )
        .route(
            "/account/sessions/{id}/end",
            post(async move |Path(id): Path<String>, form: SubmittedForm| {
                let path = format!("/me/sessions/{}", encode_segment(&id));
                end.send(Method::DELETE, &path, &json!({}), &form).await
            }),
        )
        .route(
            "/account/sessions/end",
            post(async move |form: SubmittedForm| {
                let to_sign_in = |_: &Value| "/sign-in".to_owned();
                let (method, path) = (Method::DELETE, "/me/sessions");
                end_all
                    .0
                    .forward(method, path, &json!({}), &form, ACCOUNT_PAGE, to_sign_in)
                    .await
            }),
        )
}

/// The forms of API tokens and service accounts.
fn token_routes(forms: &AccountForms) -> Router<AppState> {
    let (create_token, revoke_token, add_service) = (forms.clone(), forms.clone(), forms.clone());
    Router::new()
        .route(
            "/account/tokens",
            post(async move |form: SubmittedForm| create_token.show_token(&form).await),
        )
        .route(
            "/account/tokens/{id}/revoke",
            post(async move |Path(id): Path<String>, form: SubmittedForm| {
                let path = format!("/tokens/{}", encode_segment(&id));
                revoke_token
                    .send(Method::DELETE, &path, &json!({}), &form)
                    .await
            }),
        )
        .route(
            "/account/services",
            post(async move |form: SubmittedForm| {
                let body = json!({
                    "name": form.field("name"),
                    "kind": "service",
                    "roles": form.all("role"),
                    "clusters": split_clusters(form.field("clusters")),
                });
                add_service
                    .send(Method::POST, "/accounts", &body, &form)
                    .await
            }),
        )
}

/// The clusters of a text field, which commas or spaces separate.
pub(super) fn split_clusters(text: &str) -> Vec<&str> {
    let names = text.split([',', ' ']);
    names.filter(|name| !name.is_empty()).collect()
}

#[derive(Clone)]
struct AccountForms(FormForwarder);

impl AccountForms {
    /// Forwards to the API and returns to the page.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        form: &SubmittedForm,
    ) -> ApiResult<Response> {
        let back = |_: &Value| ACCOUNT_PAGE.to_owned();
        self.0
            .forward(method, path, body, form, ACCOUNT_PAGE, back)
            .await
    }

    /// Creates a token and shows it on the response itself, because it is shown only once.
    async fn show_token(&self, form: &SubmittedForm) -> ApiResult<Response> {
        let clusters = split_clusters(form.field("clusters"));
        let mut body = json!({
            "name": form.field("name"),
            "roles": form.all("role"),
            "clusters": clusters,
            "days": form.field("days").trim().parse::<u32>().unwrap_or(0),
        });
        if !form.field("account").is_empty() {
            body["account"] = form.field("account").into();
        }
        let response = match self.0.call(Method::POST, "/tokens", &body, form).await? {
            Ok(response) => response,
            Err(problem) => return Ok(self.0.refusal(problem, form, ACCOUNT_PAGE)),
        };
        let created: NewTokenView = serde_json::from_value(response)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let token = &created.token;
        let explanation = format!(
            "{} of {}, valid until {}. It is shown only now; store it where only the program can read it.",
            token.name, token.account, token.expires_at
        );
        Ok(secret_page(
            self.0.state(),
            "API token",
            &explanation,
            &created.secret,
            ACCOUNT_PAGE,
        ))
    }

    /// Forwards to the API and shows the recovery codes that it returns: on the response itself, because they are shown
    /// only once.
    async fn show_codes(
        &self,
        path: &str,
        body: &Value,
        form: &SubmittedForm,
    ) -> ApiResult<Response> {
        let response = match self.0.call(Method::POST, path, body, form).await? {
            Ok(response) => response,
            Err(problem) => return Ok(self.0.refusal(problem, form, ACCOUNT_PAGE)),
        };
        let codes: RecoveryCodesView = serde_json::from_value(response)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let items: String = codes
            .recovery_codes
            .iter()
            .map(|code| format!("<li><code>{}</code></li>", encode_text(code)))
            .collect();
        let content = format!(
            "<section class=\"problem\"><h1>Recovery codes</h1>\
             <p>Each signs you in once when the authenticator app is not available. Store them where the app is not: \
             they are shown only now, and earlier ones are no longer valid.</p>\
             <ul>{items}</ul><p><a href=\"{ACCOUNT_PAGE}\">Continue to your account</a></p></section>"
        );
        let (state, title) = (self.0.state(), "Recovery codes");
        Ok(plain_page(
            state,
            StatusCode::OK,
            title,
            &content,
            FormTarget::None,
        ))
    }
}
