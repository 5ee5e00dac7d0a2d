//! The forms of the page of all accounts: each forwards to the API of accounts.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::post;
use http::Method;
use serde_json::{Value, json};

use super::AppState;
use super::account_forms::split_clusters;
use super::forms::{FormForwarder, SubmittedForm, encode_segment};
use super::problem::{ApiError, ApiResult};

const ACCOUNTS_PAGE: &str = "/accounts";
/// Fields of roles with their clusters that a form has at most.
const GRANTS_MAX: usize = 8;

pub(super) fn routes(forms: FormForwarder) -> Router<AppState> {
    let (add, change) = (forms.clone(), forms);
    Router::new()
        .route(
            "/accounts",
            post(async move |form: SubmittedForm| {
                let body = new_account(&form);
                let back = |_: &Value| ACCOUNTS_PAGE.to_owned();
                add.forward(Method::POST, "/accounts", &body, &form, ACCOUNTS_PAGE, back)
                    .await
            }),
        )
        .route(
            "/accounts/{name}/{verb}",
            post(
                async move |Path((name, verb)): Path<(String, String)>, form: SubmittedForm| {
                    change_account(&change, &name, &verb, &form).await
                },
            ),
        )
}

async fn change_account(
    forms: &FormForwarder,
    name: &str,
    verb: &str,
    form: &SubmittedForm,
) -> ApiResult<Response> {
    let name = encode_segment(name);
    let account = format!("/accounts/{name}");
    let (method, path, body) = match verb {
        "roles" => (Method::PATCH, account, json!({"grants": grants(form)})),
        "groups" => {
            let groups = form.field("groups").split(',').map(str::trim);
            let groups: Vec<&str> = groups.filter(|group| !group.is_empty()).collect();
            (Method::PATCH, account, json!({"groups": groups}))
        }
        "disable" => (Method::PATCH, account, json!({"disabled": true})),
        "enable" => (Method::PATCH, account, json!({"disabled": false})),
        "reset-factor" => (Method::DELETE, format!("{account}/factor"), json!({})),
        "end-sessions" => (Method::DELETE, format!("{account}/sessions"), json!({})),
        "remove" => (Method::DELETE, account, json!({})),
        _ => {
            return Err(ApiError::not_found(
                "unknown_path",
                "There is no such form of the page of accounts.",
            ));
        }
    };
    let back = format!("{ACCOUNTS_PAGE}?edit={name}");
    let done = match verb {
        "remove" | "disable" | "enable" => ACCOUNTS_PAGE.to_owned(),
        _ => back.clone(),
    };
    forms
        .forward(method, &path, &body, form, &back, |_| done)
        .await
}

fn new_account(form: &SubmittedForm) -> Value {
    let mut body = json!({
        "name": form.field("name"),
        "kind": form.field("kind"),
        "roles": [],
        "grants": grants(form),
    });
    for field in ["password", "email"] {
        if !form.field(field).is_empty() {
            body[field] = form.field(field).into();
        }
    }
    body
}

/// The roles that are selected, each with its clusters.
fn grants(form: &SubmittedForm) -> Vec<Value> {
    let grants = (0..GRANTS_MAX).filter_map(|index| {
        let roles = form.all(&format!("role-{index}"));
        let clusters = split_clusters(form.field(&format!("clusters-{index}")));
        (!roles.is_empty() || !clusters.is_empty())
            .then(|| json!({"roles": roles, "clusters": clusters}))
    });
    grants.collect()
}
