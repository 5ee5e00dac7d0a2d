//! Completes the operations of the document: parameters of paths, problems that follow from what an operation accepts, headers.

use std::collections::{BTreeMap, BTreeSet};

use galera::access::Operation;
use serde_json::{Map, Value, json};

use super::problems;
use crate::http::access::{AccessRequirement, CredentialRule, RouteReach, access_table};
use crate::http::problem::MEDIA_TYPE;

/// Where handlers declare their problems: texts "STATUS CODE" and lists of them.
const PROBLEMS: &str = "x-problems";
/// Responses with at most this many codes are shared between operations.
const SHARED_CODES_MAX: usize = 5;
/// The tags of operations that an account may use that must first enrol a second factor.
const OWN_TAGS: [&str; 2] = ["session", "own account"];

/// Headers of problems with these codes.
const HEADERS_OF_PROBLEMS: [(&str, &str); 7] = [
    ("identity_unusable", "Set-Cookie"),
    ("provider_unavailable", "Set-Cookie"),
    ("sign_on_expired", "Set-Cookie"),
    ("sign_on_refused", "Set-Cookie"),
    ("metrics_token_required", "WWW-Authenticate"),
    ("token_invalid", "WWW-Authenticate"),
    ("upgrade_required", "Upgrade"),
];

/// Codes by status.
type ProblemCodes = BTreeMap<String, BTreeSet<String>>;

pub(super) fn complete(document: &mut Value) {
    let mut shared = Map::new();
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                complete_operation(path, method, operation, &mut shared);
            }
        }
    }
    if let Some(components) = document
        .get_mut("components")
        .and_then(Value::as_object_mut)
    {
        components.insert("responses".to_owned(), Value::Object(shared));
        components.insert("headers".to_owned(), shared_headers());
    }
    clean(document);
}

fn shared_headers() -> Value {
    json!({
        "RequestId": {"description": "Identifies the request in the log.", "required": true, "schema": {"type": "string"}},
        "RetryAfter": {"description": "Seconds after which to try again.", "required": true, "schema": {"type": "integer", "minimum": 1}},
    })
}

fn complete_operation(
    path: &str,
    method: &str,
    operation: &mut Map<String, Value>,
    shared: &mut Map<String, Value>,
) {
    add_path_parameters(path, operation);
    let mut problems = ProblemCodes::new();
    if let Some(declared) = operation.remove(PROBLEMS) {
        collect(&declared, &mut problems);
    }
    add_common_problems(path, method, operation, &mut problems);
    add_credentials(path, method, operation, &mut problems);
    let responses = operation
        .entry("responses")
        .or_insert_with(|| json!({}))
        .as_object_mut();
    let Some(responses) = responses else { return };
    for response in responses.values_mut() {
        response["headers"]["x-request-id"] = json!({"$ref": "#/components/headers/RequestId"});
    }
    for (status, codes) in problems {
        let response = problem_response(&status, &codes);
        let value = if codes.len() > SHARED_CODES_MAX {
            response
        } else {
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            let name = format!("{status}.{}", codes.join("."));
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            shared.insert(name, response);
            reference
        };
        responses.insert(status, value);
    }
}

fn add_path_parameters(path: &str, operation: &mut Map<String, Value>) {
    let names = path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?;
        name.strip_suffix('}')
    });
    let parameters: Vec<Value> = names.map(path_parameter).collect();
    let declared = operation.remove("parameters");
    let declared = declared.as_ref().and_then(Value::as_array).cloned();
    let all: Vec<Value> = parameters
        .into_iter()
        .chain(declared.unwrap_or_default())
        .collect();
    if !all.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(all));
    }
}

fn path_parameter(name: &str) -> Value {
    let schema = match name {
        "cluster" => json!({"$ref": "#/components/schemas/ClusterName"}),
        "node" => json!({"$ref": "#/components/schemas/NodeId"}),
        "kind" => json!({"$ref": "#/components/schemas/ActionKind"}),
        "slug" => json!({"$ref": "#/components/schemas/Slug"}),
        "verb" => {
            json!({"type": "string", "enum": ["approve", "reject", "cancel", "execute", "comment", "undo"]})
        }
        _ => json!({"type": "string", "minLength": 1}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

/// Adds what any request like this one can be refused for, whatever its handler does.
fn add_common_problems(
    path: &str,
    method: &str,
    operation: &Map<String, Value>,
    problems: &mut ProblemCodes,
) {
    let mut add = |list: &[&str]| list.iter().for_each(|item| collect_item(item, problems));
    let is_api = path.starts_with("/api/");
    let tags = operation.get("tags").and_then(Value::as_array);
    let own = tags.into_iter().flatten().any(|tag| {
        let tag = tag.as_str().unwrap_or_default();
        OWN_TAGS.contains(&tag)
    });
    add(problems::ANY);
    if is_api {
        add(problems::API);
    }
    if path.contains('{') {
        add(problems::PATH);
    }
    if path.contains("{cluster}") {
        add(problems::CLUSTER);
    }
    if method != "get" {
        add(problems::CHANGE);
    }
    if operation.contains_key("requestBody") {
        add(problems::BODY);
    }
    let mut parameters = operation
        .get("parameters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    if parameters.any(|parameter| parameter["in"] == "query") {
        add(problems::QUERY);
    }
    // Operations without a session declare that.
    if !operation.contains_key("security") {
        add(problems::SESSION);
        if !own {
            add(problems::PERMISSION);
        }
    }
}

/// Adds with which credentials the operation may be used, from the access table.
fn add_credentials(
    path: &str,
    method: &str,
    operation: &mut Map<String, Value>,
    problems: &mut ProblemCodes,
) {
    let table = access_table().iter();
    let mut entries =
        table.filter(|access| access.path == path && access.method.eq_ignore_ascii_case(method));
    let Some(access) = entries.next() else { return };
    let mut add = |list: &[&str]| list.iter().for_each(|item| collect_item(item, problems));
    add(problems::TOKEN);
    if access.requirement == AccessRequirement::Public {
        if access.credentials == CredentialRule::Session {
            add(problems::NO_TOKEN);
        }
        return;
    }
    let needs_person = match access.requirement {
        AccessRequirement::ActionVerb => true,
        AccessRequirement::Operations(operations) => operations.contains(&Operation::BreakGlass),
        AccessRequirement::Public | AccessRequirement::Own => false,
    };
    if access.credentials == CredentialRule::Session || needs_person {
        add(problems::NO_TOKEN);
    }
    if access.reach == RouteReach::Console && access.requirement != AccessRequirement::Own {
        add(problems::LIMITED);
    }
    if access.credentials == CredentialRule::Any {
        if access.reach == RouteReach::Console {
            add(problems::CONSOLE);
        }
        operation.insert(
            "security".to_owned(),
            json!([{"session": []}, {"api_token": []}]),
        );
    }
}

fn collect(declared: &Value, problems: &mut ProblemCodes) {
    match declared {
        Value::Array(list) => list.iter().for_each(|item| collect(item, problems)),
        Value::String(item) => collect_item(item, problems),
        _ => {}
    }
}

fn collect_item(item: &str, problems: &mut ProblemCodes) {
    if let Some((status, code)) = item.split_once(' ') {
        let codes = problems.entry(status.to_owned()).or_default();
        codes.insert(code.to_owned());
    }
}

fn problem_response(status: &str, codes: &BTreeSet<String>) -> Value {
    let number: u16 = status.parse().unwrap_or_default();
    let names: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/RequestId"}});
    // Of every response that asks to try again.
    if matches!(number, 429 | 503) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
    }
    for (code, name) in HEADERS_OF_PROBLEMS {
        if codes.contains(code) {
            headers[name] = json!({"schema": {"type": "string"}});
        }
    }
    let schema = json!({"allOf": [
        {"$ref": "#/components/schemas/ProblemDetails"},
        {"type": "object", "properties": {"status": {"const": number}, "code": {"enum": codes}}},
    ]});
    json!({
        "description": names.join(", "),
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": schema}},
    })
}

/// Removes the brackets of links between Rust items, and names formats as the format registry of OpenAPI does.
fn clean(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(format)) = members.get_mut("format")
                && let Some(bits) = format.strip_prefix("u-int")
            {
                *format = format!("uint{bits}");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            members.values_mut().for_each(clean);
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}
