//! Compares requests and responses with the document: nothing that it does not describe may occur.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{LazyLock, Mutex};

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use galera_console::http::openapi_document;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::client::SentRequest;

/// Headers that a response has only if its description names them.
const DECLARED_HEADERS: [&str; 9] = [
    "allow",
    "content-disposition",
    "etag",
    "location",
    "retry-after",
    "set-cookie",
    "upgrade",
    "www-authenticate",
    "x-audit-begins-at",
];

/// Fails unless the document describes the response to this request, and the request too if it succeeded.
pub(crate) fn check(request: &SentRequest, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    if let Err(difference) = compare(request, status, headers, body) {
        panic!(
            "docs/openapi.json does not describe this: {difference}\n{} {}: {status}\n{}",
            request.method,
            request.uri,
            String::from_utf8_lossy(body)
        );
    }
}

/// Fails unless `value` matches the schema at `pointer` of the document, without further members.
pub(crate) fn check_part(pointer: &str, value: &Value) {
    let schema = json!({"$ref": format!("#{pointer}")});
    if let Err(difference) = validate(&schema, value, Strictness::Closed) {
        panic!("docs/openapi.json does not describe this: {difference}\n{value:#}");
    }
}

fn compare(
    request: &SentRequest,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), String> {
    let path = request.uri.path();
    let Some(item) = item_of(path) else {
        // Pages, files and status pages are not part of the API.
        return match path.starts_with("/api/") {
            true => expect_problem(status, headers, body, "unknown_path"),
            false => Ok(()),
        };
    };
    let method = match request.method.as_str() {
        "HEAD" => "get".to_owned(),
        method => method.to_ascii_lowercase(),
    };
    let Some(operation) = item.get(&method) else {
        return expect_problem(status, headers, body, "method_not_allowed");
    };
    compare_response(request, operation, status, headers, body)?;
    if status.is_success() {
        compare_request(request, operation)?;
    }
    Ok(())
}

/// Refused before the path is looked at, or with `code`.
fn expect_problem(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    code: &str,
) -> Result<(), String> {
    let early = [
        "body_too_large",
        "cross_origin",
        "host_not_allowed",
        "origin_required",
        "tls_required",
    ];
    let body = decode(headers, body).map_err(|error| error.to_string())?;
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let found = problem["code"].as_str().unwrap_or_default();
    let is_page = header(headers, "content-type").starts_with("text/html");
    match found == code || early.contains(&found) || (body.is_empty() || is_page) {
        true => Ok(()),
        false => Err(format!("{status} where only {code} is expected")),
    }
}

/// The path item for `path`; one with a name in it before one with a parameter.
fn item_of(path: &str) -> Option<&'static Value> {
    let items = openapi_document()["paths"].as_object()?;
    let matching = items.iter().filter(|(template, _)| matches(template, path));
    let best = matching.min_by_key(|(template, _)| template.matches('{').count());
    best.map(|(_, item)| item)
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(wanted, found)| {
            wanted == found || (wanted.starts_with('{') && !found.is_empty())
        })
}

fn compare_response(
    request: &SentRequest,
    operation: &Value,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), String> {
    let response = &operation["responses"][status.as_str()];
    let response = resolve(response);
    if response.is_null() {
        return Err(format!("{status} is not a response of this operation"));
    }
    compare_headers(response, headers)?;
    let media_type = header(headers, CONTENT_TYPE.as_str());
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        return match body.is_empty() {
            true => Ok(()),
            false => Err("the response has no body".to_owned()),
        };
    };
    let Some(media) = content.get(media_type) else {
        return Err(format!("{media_type:?} is not a media type of {status}"));
    };
    if request.method == Method::HEAD || !media_type.ends_with("json") {
        return Ok(());
    }
    let body = decode(headers, body).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    validate(&media["schema"], &value, Strictness::Closed)
}

fn decode(headers: &HeaderMap, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut decoded = Vec::new();
    match header(headers, "content-encoding") {
        "br" => brotli::Decompressor::new(body, body.len()).read_to_end(&mut decoded)?,
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut decoded)?,
        _ => return Ok(body.to_vec()),
    };
    Ok(decoded)
}

fn compare_headers(response: &Value, headers: &HeaderMap) -> Result<(), String> {
    let declared = response.get("headers").and_then(Value::as_object);
    let declared: BTreeMap<String, &Value> = declared
        .into_iter()
        .flatten()
        .map(|(name, header)| (name.to_ascii_lowercase(), resolve(header)))
        .collect();
    for (name, header) in &declared {
        if header["required"] == true && !headers.contains_key(name.as_str()) {
            return Err(format!("the header {name} is missing"));
        }
    }
    let undeclared = DECLARED_HEADERS
        .into_iter()
        .find(|name| headers.contains_key(*name) && !declared.contains_key(*name));
    match undeclared {
        Some(name) => Err(format!("the header {name} is not declared")),
        None => Ok(()),
    }
}

/// Every parameter of the query, and the body.
fn compare_request(request: &SentRequest, operation: &Value) -> Result<(), String> {
    let parameters = operation["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let query = request.uri.query().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let known = |parameter: &Value| parameter["in"] == "query" && parameter["name"] == name;
        if !parameters.iter().any(known) {
            return Err(format!("the parameter {name} is not declared"));
        }
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    match &request.body {
        // A body that is not described is ignored.
        Some(body) if !schema.is_null() => validate(schema, body, Strictness::Open),
        _ => Ok(()),
    }
}

fn resolve(value: &Value) -> &Value {
    match value["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'))
    {
        Some(pointer) => openapi_document().pointer(pointer).unwrap_or(value),
        None => value,
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Whether members that a schema does not name are refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Closed,
    Open,
}

/// Schemas are compiled when a response of theirs comes first: each test is a process.
struct CompiledSchemas {
    schemas: Schemas,
    compiled: BTreeMap<(String, bool), SchemaIndex>,
}

static COMPILED: LazyLock<Mutex<CompiledSchemas>> = LazyLock::new(|| {
    Mutex::new(CompiledSchemas {
        schemas: Schemas::new(),
        compiled: BTreeMap::new(),
    })
});

fn validate(schema: &Value, value: &Value, strictness: Strictness) -> Result<(), String> {
    let mut compiled = COMPILED.lock().unwrap();
    let CompiledSchemas { schemas, compiled } = &mut *compiled;
    let closed = strictness == Strictness::Closed;
    let key = (schema.to_string(), closed);
    let number = compiled.len();
    let index = *compiled
        .entry(key)
        .or_insert_with(|| compile(schemas, &format!("urn:response:{number}"), schema, closed));
    schemas
        .validate(value, index)
        .map_err(|error| format!("{error:#}"))
}

fn compile(schemas: &mut Schemas, name: &str, schema: &Value, closed: bool) -> SchemaIndex {
    let mut definitions = serde_json::Map::new();
    let all = openapi_document()["components"]["schemas"]
        .as_object()
        .unwrap();
    for (name, schema) in all {
        definitions.insert(name.clone(), transform(schema, closed, false));
        definitions.insert(format!("{name}-part"), transform(schema, closed, true));
    }
    let mut root = transform(schema, closed, false);
    root["$defs"] = Value::Object(definitions);
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.add_resource(name, root).unwrap();
    compiler
        .compile(name, schemas)
        .unwrap_or_else(|error| panic!("{error}\n{schema}"))
}

/// The schema with references to `$defs`. If it is `closed`, objects have no other members; the parts of an object (`part`)
/// are closed together, by the schema that combines them.
fn transform(schema: &Value, closed: bool, part: bool) -> Value {
    let Some(members) = schema.as_object() else {
        return schema.clone();
    };
    let mut result = serde_json::Map::new();
    for (name, value) in members {
        let value = match (name.as_str(), value) {
            ("$ref", Value::String(reference)) => {
                let target = reference.rsplit('/').next().unwrap_or_default();
                let suffix = if part { "-part" } else { "" };
                json!(format!("#/$defs/{target}{suffix}"))
            }
            ("allOf", Value::Array(parts)) => parts
                .iter()
                .map(|schema| transform(schema, closed, true))
                .collect(),
            ("oneOf" | "anyOf", Value::Array(variants)) => {
                let variants = variants.iter();
                variants
                    .map(|schema| transform(schema, closed, part))
                    .collect()
            }
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter();
                let each = |(name, schema): (&String, &Value)| {
                    (name.clone(), transform(schema, closed, false))
                };
                Value::Object(properties.map(each).collect())
            }
            ("items" | "additionalProperties", value) => transform(value, closed, false),
            (_, value) => value.clone(),
        };
        result.insert(name.clone(), value);
    }
    let combines = ["properties", "allOf"]
        .iter()
        .any(|name| result.contains_key(*name));
    if closed && !part && combines && !result.contains_key("additionalProperties") {
        result.insert("unevaluatedProperties".to_owned(), json!(false));
    }
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Uri};

    use super::*;

    /// The difference that is found in a response to `GET path`.
    fn difference(
        path: &'static str,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &Value,
    ) -> String {
        let request = SentRequest {
            method: Method::GET,
            uri: Uri::from_static(path),
            body: None,
        };
        let mut map = HeaderMap::new();
        map.insert("x-request-id", HeaderValue::from_static("1"));
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        compare(&request, status, &map, body.to_string().as_bytes())
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn whatever_is_not_described_is_found() {
        let path = "/api/v1/recovery";
        let state = json!({"enabled": true, "off": null, "clusters": {}, "approvals": {}, "sql_account": true});
        assert_eq!(difference(path, 200, &[], &state), "");
        let mut further = state.clone();
        further["further"] = json!(1);
        let mut nested = state.clone();
        nested["off"] =
            json!({"by": "ada", "at": "2026-11-23T08:00:00Z", "reason": "", "further": 1});
        let mut missing = state.clone();
        missing.as_object_mut().unwrap().remove("sql_account");
        let problem = |status: u16, code: &str| json!({"status": status, "code": code, "title": "", "detail": "", "request_id": "1"});
        let media = ("content-type", "application/problem+json");
        assert_eq!(
            difference(path, 401, &[media], &problem(401, "not_signed_in")),
            ""
        );
        for (path, status, headers, body, named) in [
            (path, 200, &[][..], &further, "further"),
            (path, 200, &[], &nested, "further"),
            (path, 200, &[], &missing, "sql_account"),
            (path, 201, &[], &state, "201"),
            (path, 200, &[media], &state, "media type"),
            (path, 200, &[("etag", "1")], &state, "etag"),
            (path, 401, &[media], &problem(401, "contended"), "code"),
            (
                path,
                401,
                &[media],
                &problem(400, "not_signed_in"),
                "status",
            ),
            (
                path,
                503,
                &[media],
                &problem(503, "internal"),
                "retry-after",
            ),
            ("/api/v1/unknown", 200, &[], &state, "unknown_path"),
            (
                "/api/v1/actions/1/cancel",
                200,
                &[],
                &state,
                "method_not_allowed",
            ),
            ("/api/v1/recovery?x=1", 200, &[], &state, "parameter x"),
        ] {
            let found = difference(path, status, headers, body);
            assert!(found.contains(named), "{path} {status} {named}: {found:?}");
        }
    }
}
