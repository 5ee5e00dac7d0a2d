//! The forms of the notifications page: lists and numbers that a browser sends as text.

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use http::Method;
use serde_json::{Map, Value};

use super::AppState;
use super::forms::{Fields, Forms, Submitted, escaped};

const PAGE: &str = "/notifications";

pub(super) fn routes(forms: Forms) -> Router<AppState> {
    let (create, change, act, again) = (forms.clone(), forms.clone(), forms.clone(), forms);
    Router::new()
        .route(
            "/notifications/targets",
            post(async move |form: Submitted| {
                let back = match kind_of(&form.fields) {
                    Some(kind) => format!("{PAGE}?add={}", escaped(kind)),
                    None => PAGE.to_owned(),
                };
                let draft = draft(&form.fields);
                create
                    .pass(
                        Method::POST,
                        "/notifications/targets",
                        &draft,
                        &form,
                        &back,
                        list,
                    )
                    .await
            }),
        )
        .route(
            "/notifications/targets/{id}",
            post(async move |Path(id): Path<String>, form: Submitted| {
                let id = escaped(&id);
                let path = format!("/notifications/targets/{id}");
                let back = format!("{PAGE}?edit={id}");
                let draft = draft(&form.fields);
                change
                    .pass(Method::PATCH, &path, &draft, &form, &back, list)
                    .await
            }),
        )
        .route(
            "/notifications/targets/{id}/{verb}",
            post(
                async move |Path((id, verb)): Path<(String, String)>, form: Submitted| {
                    let path = format!("/notifications/targets/{}", escaped(&id));
                    let (method, path) = match verb.as_str() {
                        "remove" => (Method::DELETE, path),
                        verb => (Method::POST, format!("{path}/{}", escaped(verb))),
                    };
                    act.pass(method, &path, &empty(), &form, PAGE, list).await
                },
            ),
        )
        .route(
            "/notifications/deliveries/{target}/{notice}/redeliver",
            post(
                async move |Path((target, notice)): Path<(String, String)>, form: Submitted| {
                    let (target, notice) = (escaped(&target), escaped(&notice));
                    let path = format!("/notifications/deliveries/{target}/{notice}/redeliver");
                    let back = format!("{PAGE}?target={target}");
                    again
                        .pass(Method::POST, &path, &empty(), &form, &back, |_| {
                            back.clone()
                        })
                        .await
                },
            ),
        )
}

fn list(_: &Value) -> String {
    PAGE.to_owned()
}

fn empty() -> Value {
    Value::Object(Map::new())
}

fn kind_of(fields: &Fields) -> Option<&str> {
    let field = fields.iter().find(|(name, _)| name == "type");
    field.map(|(_, kind)| kind.as_str())
}

/// A target's form as the API's words. An address or secret that was left empty stays as it is; a list that was emptied is empty.
fn draft(fields: &Fields) -> Value {
    let mut draft = Map::new();
    // Boxes that are not ticked are not sent.
    let kinds = fields.iter().filter(|(name, _)| name == "kinds");
    let kinds: Vec<Value> = kinds.map(|(_, kind)| kind.as_str().into()).collect();
    draft.insert("kinds".to_owned(), kinds.into());
    for (name, value) in fields {
        let value: Value = match name.as_str() {
            "kinds" => continue,
            "url" | "secret" | "authorization" if value.trim().is_empty() => continue,
            "no_authorization" => {
                draft.insert("authorization".to_owned(), "".into());
                continue;
            }
            "to" | "clusters" => {
                let parts = value.split(|c: char| c.is_whitespace() || c == ',');
                parts.filter(|part| !part.is_empty()).collect()
            }
            // What is no number is passed on as it is, so that the API says so.
            "minimum_seconds" | "window_seconds" | "revision" => {
                match value.trim().parse::<i64>() {
                    Ok(number) => number.into(),
                    Err(_) => value.as_str().into(),
                }
            }
            "enabled" | "people" => (value == "true").into(),
            _ => value.as_str().into(),
        };
        draft.insert(name.clone(), value);
    }
    Value::Object(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_the_apis_words() {
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
        let fields: Fields = fields
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
        assert_eq!(draft(&fields), expected);
    }
}
