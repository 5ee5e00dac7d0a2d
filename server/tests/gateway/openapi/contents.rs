//! What the document contains.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use galera_console::http::openapi_document;
use http::Method;
use serde_json::Value;

use crate::etcd::TestEtcd;
use crate::test_console::TestConsole;

/// The checked-in document.
const CHECKED_IN: &str = "../docs/openapi.json";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "insta's variable, so that one command renews everything that is checked in"
)]
fn the_checked_in_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CHECKED_IN);
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        std::fs::write(&path, format!("{:#}\n", openapi_document())).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let checked_in: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(
        checked_in == *openapi_document(),
        "docs/openapi.json is not what the code describes; renew it with INSTA_UPDATE=always cargo nextest run -p galera-console --test gateway the_checked_in_document_is_current"
    );
}

#[test]
fn every_reference_leads_to_a_part_of_the_document() {
    fn check(value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(openapi_document().pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(check);
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    check(openapi_document());
}

fn methods_of(item: &Value) -> BTreeSet<String> {
    let methods = item.as_object().into_iter().flatten();
    methods.map(|(method, _)| method.to_uppercase()).collect()
}

#[tokio::test]
async fn each_path_accepts_exactly_the_methods_of_the_document() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    let client = console.anonymous();
    for (template, item) in openapi_document()["paths"].as_object().unwrap() {
        let segments = template
            .split('/')
            .map(|segment| match segment.starts_with('{') {
                true => "x",
                false => segment,
            });
        let path = segments.collect::<Vec<_>>().join("/");
        let method = Method::from_bytes(b"PROPFIND").unwrap();
        let answer = client.send_json(method, &path, &Value::Null).await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed = answer
            .header("allow")
            .split(',')
            .filter(|method| *method != "HEAD");
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        assert_eq!(allowed, methods_of(item), "{path}");
    }
}

#[test]
fn every_route_of_the_api_is_described() {
    let mut undescribed = Vec::new();
    for (file, text) in sources() {
        for rest in text.split(".route(").skip(1) {
            let rest = rest.trim_start().strip_prefix('"').unwrap_or_default();
            let path = rest.split('"').next().unwrap_or_default();
            let described =
                !path.starts_with("/api") || ["/api", "/api/", "/api/{*path}"].contains(&path);
            if !described {
                undescribed.push(format!("{}: {path}", file.display()));
            }
        }
    }
    assert!(
        undescribed.is_empty(),
        "register these with routes!: {undescribed:?}"
    );
}

/// Codes that only pages have, or only an executor.
const OUTSIDE_THE_API: [&str; 8] = [
    "already_intended",
    "fenced",
    "forbidden",
    "link_used",
    "not_next",
    "nothing_due",
    "sign_in_expired",
    "too_early",
];

#[test]
fn every_problem_code_occurs_with_its_meaning() {
    let codes = codes_in_sources();
    assert!(codes.len() > 100, "{codes:?}");
    let document = openapi_document();
    let described = document["components"]["schemas"]["ProblemCode"]["enum"]
        .as_array()
        .unwrap();
    let described: BTreeSet<&str> = described.iter().filter_map(Value::as_str).collect();
    let outside = BTreeSet::from(OUTSIDE_THE_API);
    let codes: BTreeSet<&str> = codes
        .iter()
        .map(String::as_str)
        .filter(|code| !outside.contains(code))
        .collect();
    assert_eq!(
        codes, described,
        "MEANINGS in server/src/http/openapi/problems.rs"
    );
    let mut occurring = BTreeSet::from(["method_not_allowed".to_owned()]);
    collect_codes(document, &mut occurring);
    let occurring: BTreeSet<&str> = occurring.iter().map(String::as_str).collect();
    assert_eq!(occurring, described, "problems of the operations");
}

/// The values of `code` in problems of operations.
fn collect_codes(value: &Value, codes: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let is_problem = members
                .get("status")
                .is_some_and(|status| status.get("const").is_some());
            if let (true, Some(list)) = (
                is_problem,
                members.get("code").and_then(|code| code["enum"].as_array()),
            ) {
                codes.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            members
                .values()
                .for_each(|member| collect_codes(member, codes));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_codes(item, codes)),
        _ => {}
    }
}

/// The first texts of constructors of problems, and what `code()` of refusals returns.
fn codes_in_sources() -> BTreeSet<String> {
    let constructors = [
        "bad_request(",
        "unauthorized(",
        "forbidden(",
        "not_found(",
        "conflict(",
        "unprocessable(",
        "unavailable(",
    ];
    let mut codes = BTreeSet::new();
    for (file, text) in sources() {
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for constructor in constructors {
            for rest in text.split(constructor).skip(1) {
                codes.extend(rest.trim_start().strip_prefix('"').map(first_text));
            }
        }
        for rest in text.split("::new(").skip(1) {
            let arguments = rest.trim_start();
            if arguments.starts_with("StatusCode::") || arguments.starts_with("status,") {
                let code = arguments.split_once('"').map(|(_, code)| first_text(code));
                codes.extend(code);
            }
        }
        for rest in text.split("StorageAlarm::").skip(1) {
            codes.extend(
                rest.split_once("=> (")
                    .map(|(_, code)| first_text(code.trim_start().trim_start_matches('"'))),
            );
        }
        for function in text.split("fn code").skip(1) {
            let body = function.split("\n    }\n").next().unwrap_or_default();
            let body = body.split("\n}\n").next().unwrap_or_default();
            let is_refusal = file.ends_with("refusal.rs") || body.contains("CodeError::");
            if is_refusal && !body.contains("_detail") {
                codes.extend(body.split("=> \"").skip(1).map(first_text));
            }
        }
    }
    codes.retain(|code| {
        code.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    codes
}

fn first_text(rest: &str) -> String {
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// The files that answer requests, and the refusals of the domain.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        root.join("src/http.rs"),
        root.join("../galera/src/recover/action/refusal.rs"),
        root.join("../galera/src/publish/status_pages/refusal.rs"),
    ];
    let mut folders = vec![root.join("src/http")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        (file, text)
    };
    files.into_iter().map(read).collect()
}
