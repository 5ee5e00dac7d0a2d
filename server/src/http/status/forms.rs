//! Forms about status pages and incidents, as requests to the API.

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use http::Method;
use serde_json::{Map, Value, json};

use crate::http::AppState;
use crate::http::forms::{Fields, Forms, Submitted, escaped};
use crate::http::problem::{ApiError, ApiResult};

const API: &str = "/status";

/// The routes.
pub(super) fn routes(forms: Forms) -> Router<AppState> {
    pages(forms.clone()).merge(telling(forms))
}

fn pages(forms: Forms) -> Router<AppState> {
    let (make, change, delete) = (forms.clone(), forms.clone(), forms.clone());
    let (link, revoke) = (forms.clone(), forms);
    let api = |slug: &str| format!("{API}/pages/{}", escaped(slug));
    let page = |slug: &str| format!("/status-pages/{}", escaped(slug));
    Router::new()
        .route(
            "/status-pages",
            post(async move |form: Submitted| {
                let body = page_body(&form.fields)?;
                let led = move |answer: &Value| page(answer["slug"].as_str().unwrap_or_default());
                let path = format!("{API}/pages");
                make.pass(Method::POST, &path, &body, &form, "/status-pages", led)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}",
            post(async move |Path(slug): Path<String>, form: Submitted| {
                let (body, back) = (page_body(&form.fields)?, page(&slug));
                let led = |_: &Value| back.clone();
                change
                    .pass(Method::PUT, &api(&slug), &body, &form, &back, led)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}/delete",
            post(async move |Path(slug): Path<String>, form: Submitted| {
                let body = json!({ "confirm": field(&form.fields, "confirm") });
                let led = |_: &Value| "/status-pages".to_owned();
                delete
                    .pass(Method::DELETE, &api(&slug), &body, &form, &page(&slug), led)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}/links",
            post(async move |Path(slug): Path<String>, form: Submitted| {
                let mut body = words(&form.fields, &["label"]);
                time(&form.fields, "expires_at", &mut body)?;
                let (path, back) = (format!("{}/links", api(&slug)), page(&slug));
                // Shown once: in the address of this one answer.
                let led = |answer: &Value| {
                    let secret = answer["secret"].as_str().unwrap_or_default();
                    format!("{back}?link={}", escaped(secret))
                };
                let body = Value::Object(body);
                link.pass(Method::POST, &path, &body, &form, &back, led)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}/links/{id}/revoke",
            post(
                async move |Path((slug, id)): Path<(String, String)>, form: Submitted| {
                    let path = format!("{}/links/{}", api(&slug), escaped(&id));
                    let back = page(&slug);
                    let led = |_: &Value| back.clone();
                    revoke
                        .pass(Method::DELETE, &path, &Value::Null, &form, &back, led)
                        .await
                },
            ),
        )
}

const BACK: &str = "/incidents";

fn telling(forms: Forms) -> Router<AppState> {
    let (open, update) = (forms.clone(), forms.clone());
    let (plan, end) = (forms.clone(), forms.clone());
    let (announce, withdraw) = (forms.clone(), forms);
    Router::new()
        .route(
            "/incidents",
            post(async move |form: Submitted| {
                let mut body = words(&form.fields, &["title", "text", "state"]);
                body.insert("clusters".to_owned(), all(&form.fields, "clusters"));
                told(&open, "incidents", body, &form).await
            }),
        )
        .route(
            "/incidents/{id}/updates",
            post(async move |Path(id): Path<String>, form: Submitted| {
                let body = words(&form.fields, &["state", "text"]);
                told(
                    &update,
                    &format!("incidents/{}/updates", escaped(&id)),
                    body,
                    &form,
                )
                .await
            }),
        )
        .route(
            "/incidents/maintenance",
            post(async move |form: Submitted| {
                let mut body = words(&form.fields, &["title", "text"]);
                body.insert("clusters".to_owned(), all(&form.fields, "clusters"));
                time(&form.fields, "from", &mut body)?;
                time(&form.fields, "until", &mut body)?;
                told(&plan, "maintenance", body, &form).await
            }),
        )
        .route(
            "/incidents/maintenance/{id}/end",
            post(async move |Path(id): Path<String>, form: Submitted| {
                let path = format!("maintenance/{}/end", escaped(&id));
                told(&end, &path, Map::new(), &form).await
            }),
        )
        .route(
            "/incidents/announcements",
            post(async move |form: Submitted| {
                let mut body = words(&form.fields, &["title", "text"]);
                let pages = field(&form.fields, "pages").split(',').map(str::trim);
                let pages: Vec<&str> = pages.filter(|slug| !slug.is_empty()).collect();
                body.insert("pages".to_owned(), json!(pages));
                time(&form.fields, "until", &mut body)?;
                told(&announce, "announcements", body, &form).await
            }),
        )
        .route(
            "/incidents/announcements/{id}/withdraw",
            post(async move |Path(id): Path<String>, form: Submitted| {
                let path = format!("announcements/{}/withdraw", escaped(&id));
                told(&withdraw, &path, Map::new(), &form).await
            }),
        )
}

async fn told(
    forms: &Forms,
    path: &str,
    body: Map<String, Value>,
    form: &Submitted,
) -> ApiResult<axum::response::Response> {
    let path = format!("{API}/{path}");
    let led = |_: &Value| BACK.to_owned();
    forms
        .pass(Method::POST, &path, &Value::Object(body), form, BACK, led)
        .await
}

/// The last value of a field; empty when it was not sent.
fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    let found = fields.iter().rev().find(|(key, _)| key == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// Every value of a field.
fn all(fields: &Fields, name: &str) -> Value {
    let values = fields.iter().filter(|(key, _)| key == name);
    json!(values.map(|(_, value)| value).collect::<Vec<_>>())
}

/// Fields that are the API's as they are.
fn words(fields: &Fields, names: &[&str]) -> Map<String, Value> {
    let field = |name: &&str| ((*name).to_owned(), json!(field(fields, name)));
    names.iter().map(field).collect()
}

/// A time as browsers write one without a zone, which is UTC here; nothing when it was not filled in.
fn time(fields: &Fields, name: &str, body: &mut Map<String, Value>) -> ApiResult<()> {
    let text = field(fields, name).trim();
    if text.is_empty() {
        return Ok(());
    }
    // `2026-11-24T12:00`, some with seconds.
    let seconds = if text.len() == 16 { ":00" } else { "" };
    let whole = format!("{text}{seconds}Z");
    if galera::Timestamp::parse(&whole).is_none() {
        let shown: String = text.chars().take(40).collect();
        let detail = format!("{shown:?} is no time; write it like 2026-11-24T12:00, in UTC.");
        return Err(ApiError::bad_request("invalid_body", detail));
    }
    body.insert(name.to_owned(), Value::String(whole));
    Ok(())
}

/// The settings of a page.
fn page_body(fields: &Fields) -> ApiResult<Value> {
    let mut body = words(fields, &["title", "visibility"]);
    let slug = fields.iter().find(|(name, _)| name == "slug");
    if let Some((_, slug)) = slug {
        body.insert("slug".to_owned(), json!(slug.trim()));
    }
    if let Ok(revision) = field(fields, "revision").parse::<i64>() {
        body.insert("revision".to_owned(), json!(revision));
    }
    let lines = |name| {
        let lines = field(fields, name).lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let clusters: Vec<Value> = lines("clusters")
        .into_iter()
        .map(|line| {
            let (cluster, name) = line.split_once('=').unwrap_or((line, ""));
            json!({ "cluster": cluster.trim(), "name": name.trim() })
        })
        .collect();
    body.insert("clusters".to_owned(), Value::Array(clusters));
    body.insert("embed".to_owned(), json!(lines("embed")));
    let shown = fields.iter().filter(|(name, _)| name == "show");
    let shown: Map<String, Value> = shown.map(|(_, what)| (what.clone(), json!(true))).collect();
    body.insert("show".to_owned(), Value::Object(shown));
    let after = field(fields, "after_secs").trim();
    if after.is_empty() {
        body.insert("automatic".to_owned(), Value::Null);
    } else {
        let seconds: u32 = after.parse().map_err(|_| {
            let shown: String = after.chars().take(40).collect();
            let detail = format!("{shown:?} is no number of seconds.");
            ApiError::bad_request("invalid_body", detail)
        })?;
        let degraded = field(fields, "degraded") == "true";
        let rule = json!({ "after_secs": seconds, "degraded": degraded });
        body.insert("automatic".to_owned(), rule);
    }
    Ok(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_pages_form_becomes_the_apis_words() {
        let given = fields(&[
            ("slug", " shop "),
            ("title", "Shop"),
            ("visibility", "link"),
            ("clusters", "lab = Orders = all\r\n\r\nprod\r\n"),
            ("show", "hosts"),
            ("show", "versions"),
            ("after_secs", "60"),
            ("embed", "https://a.example\r\n"),
        ]);
        let expected = json!({
            "slug": "shop",
            "title": "Shop",
            "visibility": "link",
            "clusters": [{"cluster": "lab", "name": "Orders = all"}, {"cluster": "prod", "name": ""}],
            "embed": ["https://a.example"],
            "show": {"hosts": true, "versions": true},
            "automatic": {"after_secs": 60, "degraded": false},
        });
        assert_eq!(page_body(&given).unwrap(), expected);
    }

    #[test]
    fn times_of_browsers_are_utc() {
        let mut body = Map::new();
        for (text, expected) in [
            ("2026-11-24T12:00", "2026-11-24T12:00:00Z"),
            ("2026-11-24T12:00:30", "2026-11-24T12:00:30Z"),
        ] {
            time(&fields(&[("until", text)]), "until", &mut body).unwrap();
            assert_eq!(body["until"], expected);
        }
        assert!(time(&fields(&[("until", "soon")]), "until", &mut body).is_err());
        assert!(time(&fields(&[("until", "")]), "from", &mut body).is_ok());
    }
}
