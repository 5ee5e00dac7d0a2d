//! A tool's arguments: their JSON schema, and what a client sent.

use serde_json::{Map, Value, json};

use super::tools::McpTool;
use crate::command::GivenArguments;
use crate::command::{ApiArgument, ArgumentKind, ArgumentPlace};
use crate::error::ClientError;

/// The most items of a list, and characters of a text.
const ITEMS_MAX: usize = 200;
const CHARS_MAX: usize = 8_000;

/// The arguments that a client gives.
fn arguments(tool: &McpTool) -> impl Iterator<Item = &'static ApiArgument> {
    let (fixed, withheld) = (tool.fixed, tool.withheld);
    let command = tool.command();
    let all = command.map(|command| command.arguments).unwrap_or_default();
    all.iter().filter(move |argument| {
        !fixed.iter().any(|(flag, _)| *flag == argument.flag)
            && !withheld.contains(&argument.flag)
            && !matches!(
                argument.place,
                ArgumentPlace::Fixed(_) | ArgumentPlace::Client | ArgumentPlace::Document(_)
            )
    })
}

/// The name in the protocol: with underscores, as models expect.
fn property(argument: &ApiArgument) -> String {
    argument.flag.replace('-', "_")
}

/// The JSON schema of the arguments.
pub(super) fn input_schema(tool: &McpTool) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for argument in arguments(tool) {
        let mut schema = match argument.kind {
            ArgumentKind::Number => json!({"type": "integer", "minimum": 0}),
            ArgumentKind::Choice(_, words) => json!({"type": "string", "enum": words}),
            ArgumentKind::List(_) | ArgumentKind::Clusters => {
                json!({"type": "array", "items": {"type": "string"}, "maxItems": ITEMS_MAX})
            }
            ArgumentKind::Time => json!({"type": "string", "format": "date-time"}),
            _ => json!({"type": "string", "maxLength": CHARS_MAX}),
        };
        schema["description"] = argument.help.into();
        if argument.required {
            required.push(property(argument));
        }
        properties.insert(property(argument), schema);
    }
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// What a client sent, as the command takes it.
///
/// # Errors
/// [`ClientError::Usage`], which names the argument and what it must be.
pub(super) fn given_arguments(
    tool: &McpTool,
    sent: &Map<String, Value>,
) -> Result<GivenArguments, ClientError> {
    let mut given = GivenArguments::new();
    for (flag, value) in tool.fixed {
        given.insert(flag, vec![(*value).to_owned()]);
    }
    let known: Vec<&ApiArgument> = arguments(tool).collect();
    for name in sent.keys() {
        if !known.iter().any(|argument| property(argument) == *name) {
            let names: Vec<String> = known.iter().map(|argument| property(argument)).collect();
            return Err(ClientError::Usage(format!(
                "{} has no argument {name:?}; it has: {}",
                tool.name,
                names.join(", ")
            )));
        }
    }
    for argument in known {
        match sent.get(&property(argument)) {
            None | Some(Value::Null) if argument.required => {
                return Err(wrong(argument, "is required"));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                given.insert(argument.flag, texts(argument, value)?);
            }
        }
    }
    Ok(given)
}

fn wrong(argument: &ApiArgument, problem: &str) -> ClientError {
    ClientError::Usage(format!(
        "{} {problem}: {}",
        property(argument),
        argument.help
    ))
}

fn texts(argument: &ApiArgument, value: &Value) -> Result<Vec<String>, ClientError> {
    let text = |value: &Value| {
        let text = value.as_str();
        text.filter(|text| text.chars().count() <= CHARS_MAX)
            .map(str::to_owned)
            .ok_or_else(|| wrong(argument, "must be a text of at most 8000 characters"))
    };
    match argument.kind {
        ArgumentKind::Number => match value.as_u64() {
            Some(number) => Ok(vec![number.to_string()]),
            None => Err(wrong(argument, "must be a number that is not negative")),
        },
        ArgumentKind::Choice(_, words) => match value.as_str() {
            Some(word) if words.contains(&word) => Ok(vec![word.to_owned()]),
            _ => Err(wrong(
                argument,
                &format!("must be one of {}", words.join(", ")),
            )),
        },
        ArgumentKind::List(_) | ArgumentKind::Clusters => match value.as_array() {
            Some(items) if items.len() <= ITEMS_MAX => items.iter().map(text).collect(),
            _ => Err(wrong(argument, "must be a list of at most 200 texts")),
        },
        _ => Ok(vec![text(value)?]),
    }
}
