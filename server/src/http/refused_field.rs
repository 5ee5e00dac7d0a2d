//! Which field of a form a refusal is about, so that the page shows it there.

use axum::response::{IntoResponse, Response};
use galera::publish::api::ProblemDetails;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::problem::MEDIA_TYPE;
use super::request_log::RequestId;

/// The problem document for the script of a page, with the name of the refused field as `field`.
pub(super) fn refusal_response(mut problem: ProblemDetails, id: Option<&RequestId>) -> Response {
    if let Some(id) = id {
        id.as_str().clone_into(&mut problem.request_id);
    }
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut document = serde_json::to_value(&problem).unwrap_or_default();
    if let Some(field) = refused_field(&problem) {
        document["field"] = Value::from(field);
    }
    let body = document.to_string();
    (status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
}

/// The form field that caused a problem, if it was one. A form without this field shows the problem at its end.
fn refused_field(problem: &ProblemDetails) -> Option<String> {
    let field = match problem.code.as_str() {
        "not_confirmed" => "confirm",
        "no_reason" => "reason",
        "invalid_slug" => "slug",
        "invalid_origin" => "embed",
        "invalid_label" => "labels",
        "invalid_clusters" | "unknown_cluster" => "clusters",
        "invalid_email" => "email",
        "invalid_account_name" | "account_exists" => "name",
        "weak_password" => "new",
        "wrong_password" => "current",
        "no_proof" | "step_up_required" | "invalid_credentials" => "proof",
        "second_factor_invalid" | "second_factor_used" => "code",
        "overrides_differ" | "not_overridable" => "overrides",
        // The message begins with the name of the field.
        "invalid_target" => return word(&problem.detail, 0),
        // The message begins with an article and the name of the field.
        "invalid_text" => return word(&problem.detail, 1),
        _ => return None,
    };
    Some(field.to_owned())
}

/// The word at `index`, if it can be the name of a field.
fn word(text: &str, index: usize) -> Option<String> {
    let word = text.split_whitespace().nth(index)?.trim_end_matches(':');
    let name = word.to_ascii_lowercase();
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_field_that_caused_it() {
        for (code, detail, field) in [
            ("not_confirmed", "\"lib\" is not the name.", Some("confirm")),
            ("no_reason", "Enter a reason.", Some("reason")),
            ("invalid_target", "Secret has 5 characters.", Some("secret")),
            ("invalid_text", "The title is empty.", Some("title")),
            ("invalid_target", "\"><script> is invalid.", None),
            ("plan_changed", "The plan has changed.", None),
        ] {
            let problem = ProblemDetails {
                status: 422,
                code: code.to_owned(),
                title: String::new(),
                detail: detail.to_owned(),
                request_id: String::new(),
            };
            assert_eq!(refused_field(&problem).as_deref(), field, "{code} {detail}");
        }
    }
}
