//! From the arguments of a command to a request.

use std::io::Read;

use galera::ClusterName;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::command::{ApiArgument, ApiCommand, ArgumentKind, ArgumentPlace, GivenArguments};
use crate::connection::ApiRequest;
use crate::error::ClientError;

/// What a segment of a path or a value of a query has unencoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The longest document that is sent, in bytes; the console reads no more.
const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// Makes the request of `command`.
///
/// # Errors
/// [`ClientError::Usage`], which names the argument.
pub(crate) fn build_request(
    command: &ApiCommand,
    given: &GivenArguments,
) -> Result<ApiRequest, ClientError> {
    let (method, route) = choose_operation(command, given)?;
    let mut target = route.to_owned();
    let mut query = String::new();
    let mut body: Option<Value> = None;
    let method: Method = method
        .parse()
        .map_err(|_| ClientError::Internal(format!("{method} is not a method")))?;
    for argument in command.arguments {
        let values = given.get(argument.flag);
        match argument.place {
            ArgumentPlace::Fixed(value) => {
                target = target.replace(&format!("{{{}}}", argument.name), value);
            }
            ArgumentPlace::Path => {
                if let Some(value) = values.and_then(|values| values.first()) {
                    let value = path_value(argument, value)?;
                    target = target.replace(&format!("{{{}}}", argument.name), &encoded(&value));
                }
            }
            ArgumentPlace::Query => {
                if let Some(value) = query_value(argument, values)? {
                    let separator = if query.is_empty() { '?' } else { '&' };
                    query.push(separator);
                    query.push_str(&format!("{}={}", argument.name, encoded(&value)));
                }
            }
            ArgumentPlace::Body if method != Method::GET => {
                let members = body.get_or_insert_with(|| Value::Object(Map::new()));
                if let (Some(value), Some(members)) =
                    (body_value(argument, values)?, members.as_object_mut())
                {
                    members.insert(argument.name.to_owned(), value);
                }
            }
            ArgumentPlace::Document(read_only) => {
                if let Some(path) = values.and_then(|values| values.first()) {
                    let mut document = read_document(path)?;
                    if let Some(members) = document.as_object_mut() {
                        members.retain(|name, _| !read_only.contains(&name.as_str()));
                    }
                    body = Some(document);
                }
            }
            ArgumentPlace::Body | ArgumentPlace::Client | ArgumentPlace::Select(_) => {}
        }
    }
    Ok(ApiRequest {
        method,
        target: target + &query,
        body,
    })
}

/// The operation whose path has just the parameters that are given; of two with the same path, the one with a body if one
/// is given.
fn choose_operation(
    command: &ApiCommand,
    given: &GivenArguments,
) -> Result<(&'static str, &'static str), ClientError> {
    let has_body = command
        .arguments
        .iter()
        .any(|argument| argument.place == ArgumentPlace::Body && given.contains_key(argument.flag));
    let fits = |route: &str| {
        let in_path = command
            .arguments
            .iter()
            .filter(|argument| argument.place == ArgumentPlace::Path);
        in_path.into_iter().all(|argument| {
            route.contains(&format!("{{{}}}", argument.name)) == given.contains_key(argument.flag)
        })
    };
    let mut fitting = command.operations.iter().filter(|(_, route)| fits(route));
    let first = fitting.next();
    let chosen = match fitting.next() {
        Some(with_body) if has_body => Some(with_body),
        _ => first,
    };
    chosen.copied().ok_or_else(|| {
        ClientError::Usage(format!(
            "arguments are missing; see `ctl {} --help`",
            command.name()
        ))
    })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn wrong(argument: &ApiArgument, reason: impl std::fmt::Display) -> ClientError {
    ClientError::Usage(format!("{}: {reason}", argument.flag))
}

fn cluster(argument: &ApiArgument, text: &str) -> Result<String, ClientError> {
    // As in paths, or as the server reports it.
    let name = match text.parse::<ClusterName>() {
        Ok(name) => name,
        Err(_) => ClusterName::from_wsrep_name(text).map_err(|error| wrong(argument, error))?,
    };
    Ok(name.as_str().to_owned())
}

fn path_value(argument: &ApiArgument, text: &str) -> Result<String, ClientError> {
    if text.is_empty() || text == "." || text == ".." {
        return Err(wrong(argument, format!("{text:?} is not a valid name")));
    }
    match argument.kind {
        ArgumentKind::Cluster => cluster(argument, text),
        _ => Ok(text.to_owned()),
    }
}

fn query_value(
    argument: &ApiArgument,
    values: Option<&Vec<String>>,
) -> Result<Option<String>, ClientError> {
    let Some(values) = values else {
        return Ok(None);
    };
    Ok(match argument.kind {
        ArgumentKind::List(_) => Some(values.join(",")),
        ArgumentKind::Cluster => match values.first() {
            Some(text) => Some(cluster(argument, text)?),
            None => None,
        },
        _ => values.first().cloned(),
    })
}

fn body_value(
    argument: &ApiArgument,
    values: Option<&Vec<String>>,
) -> Result<Option<Value>, ClientError> {
    let Some(values) = values else {
        return Ok(None);
    };
    let items = || {
        values
            .iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
    };
    let first = values.first().map(String::as_str).unwrap_or_default();
    Ok(Some(match argument.kind {
        ArgumentKind::Number => {
            let number: u64 = first.parse().map_err(|error| wrong(argument, error))?;
            Value::from(number)
        }
        ArgumentKind::Switch => Value::Bool(first == "on"),
        ArgumentKind::List(_) => items().map(Value::from).collect(),
        ArgumentKind::Clusters => {
            let names: Result<Vec<Value>, ClientError> = items()
                .map(|text| cluster(argument, text).map(Value::from))
                .collect();
            Value::from(names?)
        }
        ArgumentKind::Attestations => {
            let attested: Result<Vec<Value>, ClientError> =
                items().map(|text| attestation(argument, text)).collect();
            Value::from(attested?)
        }
        _ => Value::from(first),
    }))
}

fn attestation(argument: &ApiArgument, text: &str) -> Result<Value, ClientError> {
    let (node, statement) = text.rsplit_once('=').ok_or_else(|| {
        wrong(
            argument,
            format!("{text:?} is not NODE=STATEMENT, such as 10.0.0.1=stopped"),
        )
    })?;
    Ok(serde_json::json!({ "node": node, "statement": statement }))
}

fn read_document(path: &str) -> Result<Value, ClientError> {
    let shown = if path == "-" { "standard input" } else { path };
    let mut bytes = Vec::new();
    let read = if path == "-" {
        std::io::stdin()
            .take(DOCUMENT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| ClientError::Usage(format!("cannot read {shown}: {error}")))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(ClientError::Usage(format!("{shown} is longer than 1 MiB")));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| ClientError::Usage(format!("{shown} is not valid JSON: {error}")))
}
