//! Replaces what differs between two runs in JSON for snapshots.

use galera::Timestamp;
use serde_json::Value;

use crate::client::TestResponse;

/// Numbers that differ between two runs.
const NUMBERS: [&str; 5] = ["fence", "millis", "mod_revision", "revision", "ttl"];

/// The body of a response with this status, without what differs between two runs.
pub(crate) fn stable_body(response: &TestResponse, status: u16) -> Value {
    assert_eq!(response.status, status, "{}", response.text());
    stable(response.json())
}

/// `value` with placeholders for times, ids, hashes, durations and revisions.
pub(crate) fn stable(mut value: Value) -> Value {
    redact("", &mut value);
    value
}

fn redact(name: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                redact(name, value);
            }
        }
        Value::Array(items) => {
            for item in items {
                redact(name, item);
            }
        }
        Value::Number(_) if NUMBERS.contains(&name) => *value = format!("[{name}]").into(),
        Value::String(text) if name == "request_id" => "[request id]".clone_into(text),
        // Paths contain ids, and messages contain times of day.
        Value::String(text) => {
            let parts = text.split_inclusive(['/', ' ']).map(|part| {
                let word = part.trim_end_matches(['/', ' ']);
                placeholder(word).to_owned() + &part[word.len()..]
            });
            *text = parts.collect();
        }
        _ => {}
    }
}

fn placeholder(text: &str) -> &str {
    let text_of_id = text.strip_prefix("test.").unwrap_or(text);
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let is_time_of_day = text.len() == 8
        && text.split(':').count() == 3
        && text.bytes().all(|b| b.is_ascii_digit() || b == b':');
    if is_time_of_day || Timestamp::parse(text).is_some() {
        "[time]"
    } else if text.len() == 64 && is_hex(text) {
        "[hash]"
    } else if text_of_id.len() >= 12 && is_hex(text_of_id) {
        "[id]"
    } else {
        text
    }
}
