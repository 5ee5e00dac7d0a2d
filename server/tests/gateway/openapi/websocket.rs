//! `docs/asyncapi.json`: every message of the WebSocket, with examples that the code reads.

use std::collections::BTreeSet;
use std::path::Path;

use boon::{Compiler, Schemas};
use galera::publish::api::{LiveMessage, SubscribeRequest};
use galera::publish::live::{TopicFrame, TopicSubscribeRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::conformance::check_part;

fn document(name: &str) -> Value {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let text = std::fs::read_to_string(docs.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The example as the code writes what it reads of it: the same, but for members that are `null` or may be absent.
fn read<T: DeserializeOwned + Serialize>(example: &Value) -> Value {
    let message: T = serde_json::from_value(example.clone())
        .unwrap_or_else(|error| panic!("{error}: {example}"));
    serde_json::to_value(message).unwrap()
}

/// Checks `example` against the schema at `reference`, a name of a file and a pointer.
fn check_example(reference: &str, example: &Value) {
    let (file, pointer) = reference.split_once('#').unwrap();
    match file {
        "openapi.json" => check_part(pointer, example),
        _ => {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.add_resource(file, document(file)).unwrap();
            let index = compiler.compile(reference, &mut schemas).unwrap();
            let result = schemas.validate(example, index);
            result.unwrap_or_else(|error| panic!("{error:#}: {example}"));
        }
    }
}

#[test]
fn every_example_is_read_by_the_code_and_matches_its_schema() {
    let asyncapi = document("asyncapi.json");
    let mut kinds = BTreeSet::new();
    for (name, message) in asyncapi["components"]["messages"].as_object().unwrap() {
        let payload = &message["payload"];
        // What a message is, beside the members of its schema.
        let kind = &payload["allOf"][1]["properties"]["type"]["const"];
        let reference = match payload["$ref"].as_str() {
            Some(reference) => reference,
            None => payload["allOf"][0]["$ref"].as_str().unwrap(),
        };
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            let example = &example["payload"];
            check_example(reference, example);
            let read = match reference.rsplit('/').next().unwrap() {
                "LiveMessage" => read::<LiveMessage>(example),
                "SubscribeRequest" => read::<SubscribeRequest>(example),
                "TopicSubscribeRequest" => read::<TopicSubscribeRequest>(example),
                _ => read::<TopicFrame>(example),
            };
            assert_eq!(&read, example, "{name}");
            if !kind.is_null() {
                assert_eq!(&example["type"], kind, "{name}");
                kinds.insert(kind.as_str().unwrap().to_owned());
            }
        }
    }
    let openapi = galera_console::http::openapi_document();
    let messages = openapi["components"]["schemas"]["LiveMessage"]["oneOf"]
        .as_array()
        .unwrap();
    let all = messages.iter().map(|message| {
        message["properties"]["type"]["enum"][0]
            .as_str()
            .unwrap()
            .to_owned()
    });
    assert_eq!(
        kinds,
        all.collect::<BTreeSet<_>>(),
        "the messages of protocol 1"
    );
}

#[test]
fn every_reference_and_the_address_exist() {
    let asyncapi = document("asyncapi.json");
    let mut checked = 0;
    let mut parts = vec![&asyncapi];
    while let Some(part) = parts.pop() {
        match part {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let (file, pointer) = reference.split_once('#').unwrap();
                    let target = match file {
                        "" => asyncapi.clone(),
                        file => document(file),
                    };
                    assert!(target.pointer(pointer).is_some(), "{reference}");
                    checked += 1;
                }
                parts.extend(members.values());
            }
            Value::Array(items) => parts.extend(items),
            _ => {}
        }
    }
    assert!(checked > 20);
    let address = asyncapi["channels"]["live"]["address"].as_str().unwrap();
    let openapi = galera_console::http::openapi_document();
    assert!(openapi["paths"][address]["get"].is_object(), "{address}");
    assert_eq!(
        asyncapi["info"]["version"],
        json!(env!("CARGO_PKG_VERSION"))
    );
}
