//! Forwards the forms of status pages and incidents to the API.

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use http::Method;
use serde_json::{Map, Value, json};

use crate::http::AppState;
use crate::http::forms::{FormFields, FormForwarder, SubmittedForm, encode_segment};
use crate::http::problem::{ApiError, ApiResult};

const API_PREFIX: &str = "/status";

pub(super) fn routes(forwarder: FormForwarder) -> Router<AppState> {
    page_routes(forwarder.clone()).merge(incident_routes(forwarder))
}

fn page_routes(forwarder: FormForwarder) -> Router<AppState> {
    let (create, update, delete) = (forwarder.clone(), forwarder.clone(), forwarder.clone());
    let (link, revoke) = (forwarder.clone(), forwarder);
    let api = |slug: &str| format!("{API_PREFIX}/pages/{}", encode_segment(slug));
    let page = |slug: &str| format!("/status-pages/{}", encode_segment(slug));
    Router::new()
        .route(
            "/status-pages",
            post(async move |form: SubmittedForm| {
                let body = page_json(&form.fields)?;
                let location =
                    move |response: &Value| page(response["slug"].as_str().unwrap_or_default());
                let path = format!("{API_PREFIX}/pages");
                create
                    .forward(Method::POST, &path, &body, &form, "/status-pages", location)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}",
            post(async move |Path(slug): Path<String>, form: SubmittedForm| {
                let (body, back) = (page_json(&form.fields)?, page(&slug));
                let location = |_: &Value| back.clone();
                update
                    .forward(Method::PUT, &api(&slug), &body, &form, &back, location)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}/delete",
            post(async move |Path(slug): Path<String>, form: SubmittedForm| {
                let body = json!({ "confirm": last_value(&form.fields, "confirm") });
                let location = |_: &Value| "/status-pages".to_owned();
                delete
                    .forward(
                        Method::DELETE,
                        &api(&slug),
                        &body,
                        &form,
                        &page(&slug),
                        location,
                    )
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}/links",
            post(async move |Path(slug): Path<String>, form: SubmittedForm| {
                let mut body = text_fields(&form.fields, &["label"]);
                insert_time(&form.fields, "expires_at", &mut body)?;
                let (path, back) = (format!("{}/links", api(&slug)), page(&slug));
                // The secret is shown only once, through this redirect.
                let location = |response: &Value| {
                    let secret = response["secret"].as_str().unwrap_or_default();
                    format!("{back}?link={}", encode_segment(secret))
                };
                let body = Value::Object(body);
                link.forward(Method::POST, &path, &body, &form, &back, location)
                    .await
            }),
        )
        .route(
            "/status-pages/{slug}/links/{id}/revoke",
            post(
                async move |Path((slug, id)): Path<(String, String)>, form: SubmittedForm| {
                    let path = format!("{}/links/{}", api(&slug), encode_segment(&id));
                    let back = page(&slug);
                    let location = |_: &Value| back.clone();
                    revoke
                        .forward(Method::DELETE, &path, &Value::Null, &form, &back, location)
                        .await
                },
            ),
        )
}

const INCIDENTS_PAGE: &str = "/incidents";

fn incident_routes(forwarder: FormForwarder) -> Router<AppState> {
    let (open, update) = (forwarder.clone(), forwarder.clone());
    let (plan, end) = (forwarder.clone(), forwarder.clone());
    let (announce, withdraw) = (forwarder.clone(), forwarder);
    Router::new()
        .route(
            "/incidents",
            post(async move |form: SubmittedForm| {
                let mut body = text_fields(&form.fields, &["title", "text", "state"]);
                body.insert("clusters".to_owned(), all_values(&form.fields, "clusters"));
                insert_impact(&form, &mut body);
                forward_incident_form(&open, "incidents", body, &form).await
            }),
        )
        .route(
            "/incidents/{id}/updates",
            post(async move |Path(id): Path<String>, form: SubmittedForm| {
                let mut body = text_fields(&form.fields, &["state", "text"]);
                insert_impact(&form, &mut body);
                forward_incident_form(
                    &update,
                    &format!("incidents/{}/updates", encode_segment(&id)),
                    body,
                    &form,
                )
                .await
            }),
        )
        .route(
            "/incidents/maintenance",
            post(async move |form: SubmittedForm| {
                let mut body = text_fields(&form.fields, &["title", "text"]);
                body.insert("clusters".to_owned(), all_values(&form.fields, "clusters"));
                insert_time(&form.fields, "from", &mut body)?;
                insert_time(&form.fields, "until", &mut body)?;
                forward_incident_form(&plan, "maintenance", body, &form).await
            }),
        )
        .route(
            "/incidents/maintenance/{id}/end",
            post(async move |Path(id): Path<String>, form: SubmittedForm| {
                let path = format!("maintenance/{}/end", encode_segment(&id));
                forward_incident_form(&end, &path, Map::new(), &form).await
            }),
        )
        .route(
            "/incidents/announcements",
            post(async move |form: SubmittedForm| {
                let mut body = text_fields(&form.fields, &["title", "text"]);
                body.insert("pages".to_owned(), all_values(&form.fields, "pages"));
                insert_time(&form.fields, "until", &mut body)?;
                forward_incident_form(&announce, "announcements", body, &form).await
            }),
        )
        .route(
            "/incidents/announcements/{id}/withdraw",
            post(async move |Path(id): Path<String>, form: SubmittedForm| {
                let path = format!("announcements/{}/withdraw", encode_segment(&id));
                forward_incident_form(&withdraw, &path, Map::new(), &form).await
            }),
        )
}

/// An impact that is not chosen is the one before, or what is measured.
fn insert_impact(form: &SubmittedForm, body: &mut Map<String, Value>) {
    let impact = form.field("impact");
    if !impact.is_empty() {
        body.insert("impact".to_owned(), impact.into());
    }
}

async fn forward_incident_form(
    forwarder: &FormForwarder,
    path: &str,
    body: Map<String, Value>,
    form: &SubmittedForm,
) -> ApiResult<axum::response::Response> {
    let path = format!("{API_PREFIX}/{path}");
    let location = |_: &Value| INCIDENTS_PAGE.to_owned();
    forwarder
        .forward(
            Method::POST,
            &path,
            &Value::Object(body),
            form,
            INCIDENTS_PAGE,
            location,
        )
        .await
}

/// The last value of a field; empty if it was not sent.
fn last_value<'a>(fields: &'a FormFields, name: &str) -> &'a str {
    let found = fields.iter().rev().find(|(key, _)| key == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// All values of a field.
fn all_values(fields: &FormFields, name: &str) -> Value {
    let values = fields.iter().filter(|(key, _)| key == name);
    json!(values.map(|(_, value)| value).collect::<Vec<_>>())
}

/// Fields that are passed to the API unchanged.
fn text_fields(fields: &FormFields, names: &[&str]) -> Map<String, Value> {
    let field = |name: &&str| ((*name).to_owned(), json!(last_value(fields, name)));
    names.iter().map(field).collect()
}

/// Inserts a time, which browsers send without a zone and which is UTC here; nothing if the field is empty.
fn insert_time(fields: &FormFields, name: &str, body: &mut Map<String, Value>) -> ApiResult<()> {
    let text = last_value(fields, name).trim();
    if text.is_empty() {
        return Ok(());
    }
    // Browsers send `2026-11-24T12:00`, some with seconds.
    let seconds = if text.len() == 16 { ":00" } else { "" };
    let time = format!("{text}{seconds}Z");
    if galera::Timestamp::parse(&time).is_none() {
        let shown: String = text.chars().take(40).collect();
        let detail = format!("Invalid time {shown:?}; use UTC in the form 2026-11-24T12:00.");
        return Err(ApiError::bad_request("invalid_body", detail));
    }
    body.insert(name.to_owned(), Value::String(time));
    Ok(())
}

/// The settings of a page as API JSON.
fn page_json(fields: &FormFields) -> ApiResult<Value> {
    let mut body = text_fields(fields, &["title", "visibility"]);
    let slug = fields.iter().find(|(name, _)| name == "slug");
    if let Some((_, slug)) = slug {
        body.insert("slug".to_owned(), json!(slug.trim()));
    }
    if let Ok(revision) = last_value(fields, "revision").parse::<i64>() {
        body.insert("revision".to_owned(), json!(revision));
    }
    let lines = |name| {
        let lines = last_value(fields, name).lines().map(str::trim);
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
    let labels = last_value(fields, "labels");
    let labels = labels.split(|c: char| c == ',' || c.is_whitespace());
    let labels: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
    if !labels.is_empty() {
        body.insert("labels".to_owned(), json!(labels));
    }
    let shown = fields.iter().filter(|(name, _)| name == "show");
    let shown: Map<String, Value> = shown.map(|(_, what)| (what.clone(), json!(true))).collect();
    body.insert("show".to_owned(), Value::Object(shown));
    let after = last_value(fields, "after_secs").trim();
    if after.is_empty() {
        body.insert("automatic".to_owned(), Value::Null);
    } else {
        let seconds: u32 = after.parse().map_err(|_| {
            let shown: String = after.chars().take(40).collect();
            let detail = format!("Invalid number of seconds: {shown:?}.");
            ApiError::bad_request("invalid_body", detail)
        })?;
        let degraded = last_value(fields, "degraded") == "true";
        let rule = json!({ "after_secs": seconds, "degraded": degraded });
        body.insert("automatic".to_owned(), rule);
    }
    Ok(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> FormFields {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_page_form_becomes_api_json() {
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
        assert_eq!(page_json(&given).unwrap(), expected);
    }

    #[test]
    fn browser_times_are_utc() {
        let mut body = Map::new();
        for (text, expected) in [
            ("2026-11-24T12:00", "2026-11-24T12:00:00Z"),
            ("2026-11-24T12:00:30", "2026-11-24T12:00:30Z"),
        ] {
            insert_time(&fields(&[("until", text)]), "until", &mut body).unwrap();
            assert_eq!(body["until"], expected);
        }
        assert!(insert_time(&fields(&[("until", "soon")]), "until", &mut body).is_err());
        assert!(insert_time(&fields(&[("until", "")]), "from", &mut body).is_ok());
    }
}
