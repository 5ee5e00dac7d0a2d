//! A document as names and values, indented.

use serde_json::{Map, Value};

use crate::safe_text::safe_line;

/// How deep a document is followed; deeper values are printed as JSON.
const DEPTH_MAX: usize = 12;

/// The document as text: one line for each value; `null` is "no value": unknown, or not applicable.
pub(crate) fn document_text(document: &Value) -> String {
    let mut text = String::new();
    write_value(document, 0, &mut text);
    text
}

fn write_value(value: &Value, depth: usize, text: &mut String) {
    match value {
        Value::Object(members) if depth < DEPTH_MAX => write_members(members, depth, text),
        Value::Array(items) if depth < DEPTH_MAX && !items.iter().all(is_plain) => {
            for item in items {
                write_item(item, depth, text);
            }
        }
        plain => {
            indent(depth, text);
            text.push_str(&plain_text(plain));
            text.push('\n');
        }
    }
}

fn write_members(members: &Map<String, Value>, depth: usize, text: &mut String) {
    for (name, value) in members {
        indent(depth, text);
        text.push_str(&safe_line(name));
        text.push(':');
        if is_plain(value) || is_plain_list(value) {
            text.push(' ');
            text.push_str(&plain_text(value));
            text.push('\n');
        } else {
            text.push('\n');
            write_value(value, depth + 1, text);
        }
    }
}

/// An item of a list: its first line begins with a dash.
fn write_item(item: &Value, depth: usize, text: &mut String) {
    let mut block = String::new();
    write_value(item, depth + 1, &mut block);
    let begin = 2 * depth;
    if block.len() >= begin + 2 {
        block.replace_range(begin..begin + 2, "- ");
    }
    text.push_str(&block);
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

fn is_plain_list(value: &Value) -> bool {
    matches!(value, Value::Array(items) if items.iter().all(is_plain))
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::Null => "no value".to_owned(),
        Value::String(text) => safe_line(text).into_owned(),
        Value::Array(items) if items.iter().all(is_plain) && !items.is_empty() => {
            let texts: Vec<String> = items.iter().map(plain_text).collect();
            texts.join(", ")
        }
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Object(members) if members.is_empty() => "none".to_owned(),
        other => safe_line(&other.to_string()).into_owned(),
    }
}

fn indent(depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
}
