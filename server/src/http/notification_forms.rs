//! The forms of the notifications page: converts their text fields to the API's lists and numbers.

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use http::Method;
use serde_json::{Map, Value};

use super::AppState;
use super::forms::{FormFields, FormForwarder, SubmittedForm, encode_segment};

const NOTIFICATIONS_PAGE: &str = "/notifications";

pub(super) fn routes(forms: FormForwarder) -> Router<AppState> {
    let (create, update, act, redeliver) = (forms.clone(), forms.clone(), forms.clone(), forms);
    Router::new()
        .route(
            "/notifications/targets",
            post(async move |form: SubmittedForm| {
                let back = match target_type(&form.fields) {
                    Some(kind) => format!("{NOTIFICATIONS_PAGE}?add={}", encode_segment(kind)),
                    None => NOTIFICATIONS_PAGE.to_owned(),
                };
                let body = target_json(&form.fields);
                create
                    .forward(
                        Method::POST,
                        "/notifications/targets",
                        &body,
                        &form,
                        &back,
                        to_notifications_page,
                    )
                    .await
            }),
        )
        .route(
            "/notifications/targets/{id}",
            post(async move |Path(id): Path<String>, form: SubmittedForm| {
                let id = encode_segment(&id);
                let path = format!("/notifications/targets/{id}");
                let back = format!("{NOTIFICATIONS_PAGE}?edit={id}");
                let body = target_json(&form.fields);
                update
                    .forward(
                        Method::PATCH,
                        &path,
                        &body,
                        &form,
                        &back,
                        to_notifications_page,
                    )
                    .await
            }),
        )
        .route(
            "/notifications/targets/{id}/{verb}",
            post(
                async move |Path((id, verb)): Path<(String, String)>, form: SubmittedForm| {
                    let path = format!("/notifications/targets/{}", encode_segment(&id));
                    let (method, path) = match verb.as_str() {
                        "remove" => (Method::DELETE, path),
                        verb => (Method::POST, format!("{path}/{}", encode_segment(verb))),
                    };
                    act.forward(
                        method,
                        &path,
                        &empty_body(),
                        &form,
                        NOTIFICATIONS_PAGE,
                        to_notifications_page,
                    )
                    .await
                },
            ),
        )
        .route(
            "/notifications/deliveries/{target}/{notice}/redeliver",
            post(
                async move |Path((target, notification)): Path<(String, String)>,
                            form: SubmittedForm| {
                    let (target, notification) =
                        (encode_segment(&target), encode_segment(&notification));
                    let path =
                        format!("/notifications/deliveries/{target}/{notification}/redeliver");
                    let back = format!("{NOTIFICATIONS_PAGE}?target={target}");
                    redeliver
                        .forward(Method::POST, &path, &empty_body(), &form, &back, |_| {
                            back.clone()
                        })
                        .await
                },
            ),
        )
}

fn to_notifications_page(_: &Value) -> String {
    NOTIFICATIONS_PAGE.to_owned()
}

fn empty_body() -> Value {
    Value::Object(Map::new())
}

fn target_type(fields: &FormFields) -> Option<&str> {
    let field = fields.iter().find(|(name, _)| name == "type");
    field.map(|(_, kind)| kind.as_str())
}

/// A target's form as API JSON. An empty address or secret is left unchanged; an empty list clears the list.
fn target_json(fields: &FormFields) -> Value {
    let mut body = Map::new();
    // Browsers do not send unticked boxes.
    let kinds = fields.iter().filter(|(name, _)| name == "kinds");
    let kinds: Vec<Value> = kinds.map(|(_, kind)| kind.as_str().into()).collect();
    body.insert("kinds".to_owned(), kinds.into());
    for (name, value) in fields {
        let value: Value = match name.as_str() {
            "kinds" => continue,
            "url" | "secret" | "authorization" if value.trim().is_empty() => continue,
            "no_authorization" => {
                body.insert("authorization".to_owned(), "".into());
                continue;
            }
            "to" | "clusters" => {
                let parts = value.split(|c: char| c.is_whitespace() || c == ',');
                parts.filter(|part| !part.is_empty()).collect()
            }
            // Anything but a number is passed on, so that the API rejects it.
            "minimum_seconds" | "window_seconds" | "revision" => {
                match value.trim().parse::<i64>() {
                    Ok(number) => number.into(),
                    Err(_) => value.as_str().into(),
                }
            }
            "enabled" | "people" => (value == "true").into(),
            _ => value.as_str().into(),
        };
        body.insert(name.clone(), value);
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_fields_become_api_json() {
        let fields = [
            ("type", "email"),
            ("name", "on call"),
            ("to", "a@example.org, b@example.org\r\nc@example.org"),
            ("clusters", ""),
            ("kinds", "verdict"),
            ("kinds", "incident"),
            ("minimum_seconds", "15"),
            ("window_seconds", "x"),
            ("people", "true"),
            ("secret", ""),
            ("revision", "7"),
        ];
        let fields: FormFields = fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let expected = serde_json::json!({
            "type": "email",
            "name": "on call",
            "to": ["a@example.org", "b@example.org", "c@example.org"],
            "clusters": [],
            "kinds": ["verdict", "incident"],
            "minimum_seconds": 15,
            "window_seconds": "x",
            "people": true,
            "revision": 7,
        });
        assert_eq!(target_json(&fields), expected);
    }
}
