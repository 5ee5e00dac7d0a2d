//! The table of commands against the document of the API: every operation has a command or a reason, and every name that
//! the table uses exists.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;

use console_client::command::{
    AnswerView, ApiArgument, ApiCommand, ArgumentKind, ArgumentPlace, NOT_COMMANDS, SESSION_ONLY,
    commands, markdown_reference,
};
use serde_json::Value;

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Every operation as method, path and description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let item = item.as_object().unwrap();
            item.iter()
                .map(|(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
        })
        .collect()
}

fn operation(document: &Value, method: &str, path: &str) -> Value {
    let found = &document["paths"][path][method.to_lowercase()];
    assert!(found.is_object(), "{method} {path} does not exist");
    found.clone()
}

/// Whether the operation accepts an API token, or needs no credential.
fn accepts_token(operation: &Value) -> bool {
    let Some(schemes) = operation["security"].as_array() else {
        // The default of the document: a session.
        return false;
    };
    let mut names = schemes.iter().map(|scheme| scheme.as_object().unwrap());
    names.any(|scheme| scheme.is_empty() || scheme.contains_key("api_token"))
}

#[test]
fn every_operation_has_a_command_or_a_reason() {
    let document = document();
    let used: BTreeSet<(&str, &str)> = commands()
        .flat_map(|command| command.operations.iter().copied())
        .collect();
    let excepted: BTreeSet<(&str, &str)> = NOT_COMMANDS
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    let mut needless: BTreeSet<&str> = SESSION_ONLY.iter().map(|(path, _)| *path).collect();
    for (method, path, operation) in operations(&document) {
        let key = (method.as_str(), path.as_str());
        let session_only = SESSION_ONLY
            .iter()
            .find(|(start, _)| path == *start || path.starts_with(&format!("{start}/")));
        // The page states that there are no commands for changes below these paths.
        if session_only.is_some() && used.contains(&key) {
            assert_eq!(method, "GET", "{path}");
        }
        if !accepts_token(&operation) {
            let (start, _) = session_only.unwrap_or_else(|| panic!("{key:?}: where instead?"));
            needless.remove(start);
            assert!(!used.contains(&key), "{key:?} refuses every token");
            continue;
        }
        assert!(
            used.contains(&key) != excepted.contains(&key),
            "{key:?} needs a command or a reason, and not both"
        );
    }
    assert!(needless.is_empty(), "{needless:?}");
    for (method, path) in used.into_iter().chain(excepted) {
        operation(&document, method, path);
    }
}

/// The schema at `schema`, references followed.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.trim_start_matches('#'));
            resolved(document, found.unwrap())
        }
        None => schema,
    }
}

/// The schemas that a value may have: of unions and compositions, each.
fn alternatives<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolved(document, schema);
    let mut found = vec![schema];
    for union in ["oneOf", "anyOf", "allOf"] {
        for part in schema[union].as_array().into_iter().flatten() {
            found.extend(alternatives(document, part));
        }
    }
    found
}

/// The schema of the value at `pointer`, in which `*` is an item.
fn schema_at<'a>(document: &'a Value, schema: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut current = vec![schema];
    for step in pointer.split('/').skip(1) {
        let next: Vec<&Value> = current
            .iter()
            .flat_map(|schema| alternatives(document, schema))
            .filter_map(|schema| match step {
                "*" => schema.get("items"),
                member => schema["properties"].get(member),
            })
            .collect();
        current = next;
    }
    current.first().copied()
}

fn body_schema(operation: &Value) -> &Value {
    &operation["requestBody"]["content"]["application/json"]["schema"]
}

fn answer_schema(operation: &Value) -> Option<&Value> {
    let responses = operation["responses"].as_object().unwrap();
    let success = responses
        .iter()
        .find(|(status, _)| status.starts_with('2'))?;
    success.1["content"]["application/json"].get("schema")
}

fn words_of(document: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for schema in alternatives(document, schema) {
        let words = schema["enum"].as_array().into_iter().flatten();
        found.extend(words.filter_map(|word| word.as_str().map(str::to_owned)));
    }
    found
}

fn check_argument(document: &Value, command: &ApiCommand, argument: &ApiArgument) {
    let name = argument.name;
    let context = format!("{}: {name}", command.name());
    let described = command.operations.iter().map(|(method, path)| {
        let operation = operation(document, method, path);
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        (operation, parameters)
    });
    let mut found = described.filter_map(|(operation, parameters)| {
        let parameter = |place: &str| {
            let parameter = parameters
                .iter()
                .find(|parameter| parameter["name"] == name && parameter["in"] == place)?;
            Some(parameter["schema"].clone())
        };
        match argument.place {
            ArgumentPlace::Path | ArgumentPlace::Fixed(_) => parameter("path"),
            ArgumentPlace::Query => parameter("query"),
            ArgumentPlace::Body => {
                let body = body_schema(&operation);
                schema_at(document, body, &format!("/{name}")).cloned()
            }
            ArgumentPlace::Document(_) => Some(body_schema(&operation).clone()),
            ArgumentPlace::Client | ArgumentPlace::Select(_) => Some(Value::Null),
        }
    });
    let schema = found
        .next()
        .unwrap_or_else(|| panic!("{context} is not in the API"));
    if let ArgumentKind::Choice(_, words) = argument.kind {
        let expected = words_of(document, &schema);
        assert_eq!(words, expected, "{context}");
    }
    if let ArgumentPlace::Fixed(word) = argument.place {
        assert!(
            words_of(document, &schema).contains(&word.to_owned()),
            "{context}"
        );
    }
}

#[test]
fn arguments_are_those_of_the_api() {
    let document = document();
    for command in commands() {
        let mut flags = BTreeSet::new();
        for argument in command.arguments {
            assert!(
                flags.insert(argument.flag),
                "{}: {} twice",
                command.name(),
                argument.flag
            );
            check_argument(&document, command, argument);
        }
        for (method, path) in command.operations {
            let operation = operation(&document, method, path);
            let given = |name: &str, places: &[&str]| {
                command.arguments.iter().any(|argument| {
                    let place = match argument.place {
                        ArgumentPlace::Path | ArgumentPlace::Fixed(_) => "path",
                        ArgumentPlace::Query => "query",
                        ArgumentPlace::Body => "body",
                        _ => "",
                    };
                    argument.name == name && places.contains(&place)
                })
            };
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                if parameter["required"] == true {
                    let place = parameter["in"].as_str().unwrap();
                    assert!(given(name, &[place]), "{}: {name}", command.name());
                }
            }
            let by_document = command
                .arguments
                .iter()
                .any(|argument| matches!(argument.place, ArgumentPlace::Document(_)));
            for schema in alternatives(&document, body_schema(&operation)) {
                for name in schema["required"].as_array().into_iter().flatten() {
                    let name = name.as_str().unwrap();
                    assert!(
                        by_document || given(name, &["body"]),
                        "{}: {name}",
                        command.name()
                    );
                }
            }
        }
    }
}

#[test]
fn every_pointer_leads_to_a_value() {
    let document = document();
    for command in commands() {
        let (method, path) = command.operations[0];
        let operation = operation(&document, method, path);
        let check = |schema: &Value, pointer: &str| {
            let found = schema_at(&document, schema, pointer);
            assert!(
                found.is_some(),
                "{}: {pointer} is not in the answer",
                command.name()
            );
        };
        let answer = answer_schema(&operation);
        for part in command.done.unwrap_or_default().split('{').skip(1) {
            let name = part.split('}').next().unwrap();
            if name.starts_with('/') {
                check(answer.unwrap(), name);
            } else {
                let known = command
                    .arguments
                    .iter()
                    .any(|argument| argument.flag == name);
                assert!(known, "{}: {name}", command.name());
            }
        }
        if let AnswerView::Table {
            rows,
            columns,
            notes,
        } = command.view
        {
            for (_, pointer) in notes {
                check(answer.unwrap(), pointer);
            }
            for column in columns {
                for pointer in column.pointers() {
                    check(answer.unwrap(), &format!("{rows}/*{pointer}"));
                }
            }
        }
    }
}

#[test]
fn the_page_has_the_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ctl.md");
    let page = std::fs::read_to_string(path).unwrap();
    let reference = markdown_reference();
    assert!(
        page.contains(&reference),
        "docs/ctl.md must contain this, made of the commands:\n{reference}"
    );
}

#[test]
fn the_page_names_every_tool() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/mcp.md");
    let page = std::fs::read_to_string(path).unwrap();
    let table = page.split("## What it can do").nth(1).unwrap();
    let table = table.split("Resources are").next().unwrap();
    let rows = table.lines().filter_map(|line| line.split('|').nth(1));
    let named: BTreeSet<&str> = rows
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .collect();
    let offered: BTreeSet<&str> = console_client::mcp::tools()
        .iter()
        .map(|tool| tool.name)
        .collect();
    assert_eq!(named, offered);
}
