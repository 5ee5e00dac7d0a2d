//! `clusters watch`: changes of verdicts and node states.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::GivenArguments;
use crate::connection::{ApiClient, ApiRequest};
use crate::error::ClientError;
use crate::output::Output;
use crate::safe_text::safe_line;
use crate::wait::number;

/// Seconds between two requests, if none are given.
const INTERVAL_DEFAULT: u64 = 2;

/// What is watched: a cluster's verdict, or the state of one of its nodes.
type Subject = (String, Option<String>);

/// Requests the overview repeatedly and prints what changed. While the console cannot be asked, that is printed instead:
/// what was printed before is then stale.
///
/// # Errors
/// Every lasting error of the request.
pub(crate) async fn watch(
    client: &ApiClient,
    request: &ApiRequest,
    given: &GivenArguments,
    output: &Output,
) -> Result<(), ClientError> {
    let only = given.get("cluster").and_then(|values| values.first());
    let interval =
        Duration::from_secs(number(given, "interval").unwrap_or(INTERVAL_DEFAULT).max(1));
    let count = number(given, "count");
    let mut printed = 0;
    let mut known: Option<BTreeMap<Subject, String>> = None;
    let mut stale = false;
    loop {
        let changes = match client.send(request).await {
            Ok(answer) => {
                let seen = states(&answer.document, only.map(String::as_str));
                if let (Some(name), true) = (only, known.is_none() && seen.is_empty()) {
                    return Err(ClientError::Usage(format!(
                        "the console has no cluster {name} that this token may see; see `ctl clusters list`"
                    )));
                }
                let mut changes = Vec::new();
                if std::mem::take(&mut stale) {
                    changes.push(("current again".to_owned(), json!({"stale": false})));
                }
                changes.extend(differences(known.as_ref(), &seen));
                known = Some(seen);
                changes
            }
            Err(error) if error.is_transient() => {
                let first = !std::mem::replace(&mut stale, true);
                let text = format!("stale from here: {error}");
                let line = json!({"stale": true, "error": error.to_string()});
                if first {
                    vec![(text, line)]
                } else {
                    Vec::new()
                }
            }
            Err(error) => return Err(error),
        };
        for (text, line) in changes {
            printed += 1;
            if !output.print_change(&text, &line)? || count.is_some_and(|count| printed >= count) {
                return Ok(());
            }
        }
        tokio::time::sleep(interval).await;
    }
}

/// Every verdict and node state of an overview.
fn states(overview: &Value, only: Option<&str>) -> BTreeMap<Subject, String> {
    let mut states = BTreeMap::new();
    let text = |value: &Value, pointer: &str| {
        let text = value.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or("unknown").to_owned()
    };
    let array = |value: &Value, name: &str| {
        let items = value.get(name).and_then(Value::as_array);
        items.cloned().unwrap_or_default()
    };
    for cluster in array(overview, "clusters") {
        let name = text(&cluster, "/name");
        if only.is_some_and(|only| only != name) {
            continue;
        }
        for node in array(&cluster, "nodes") {
            states.insert(
                (name.clone(), Some(text(&node, "/id"))),
                text(&node, "/state"),
            );
        }
        states.insert((name, None), text(&cluster, "/verdict/state"));
    }
    states
}

/// What differs, with the line of text and of JSON.
fn differences(
    before: Option<&BTreeMap<Subject, String>>,
    now: &BTreeMap<Subject, String>,
) -> Vec<(String, Value)> {
    let none = BTreeMap::new();
    let before = before.unwrap_or(&none);
    let subjects: std::collections::BTreeSet<&Subject> = before.keys().chain(now.keys()).collect();
    let mut changes = Vec::new();
    for subject in subjects {
        let (from, to) = (before.get(subject), now.get(subject));
        if from == to {
            continue;
        }
        let (cluster, node) = subject;
        let name = match node {
            Some(node) => format!("{cluster} {node}"),
            None => cluster.clone(),
        };
        let to_text = to.map_or("gone", String::as_str);
        let text = match from {
            Some(from) => format!("{name}: {from} → {to_text}"),
            None => format!("{name}: {to_text}"),
        };
        let line = json!({"cluster": cluster, "node": node, "from": from, "to": to_text});
        changes.push((safe_line(&text).into_owned(), line));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overview(verdict: &str, nodes: &[(&str, &str)]) -> Value {
        let nodes: Vec<Value> = nodes
            .iter()
            .map(|(id, state)| json!({"id": id, "state": state}))
            .collect();
        json!({"clusters": [{"name": "lab", "verdict": {"state": verdict}, "nodes": nodes}]})
    }

    #[test]
    fn changes_appear_once_and_what_is_gone_is_named() {
        let first = states(
            &overview("healthy", &[("a", "synced"), ("b", "synced")]),
            None,
        );
        let all = differences(None, &first);
        assert_eq!(all.len(), 3);
        assert!(differences(Some(&first), &first).is_empty());
        let second = states(&overview("degraded", &[("a", "\u{1b}[31m")]), None);
        let texts: Vec<String> = differences(Some(&first), &second)
            .into_iter()
            .map(|(text, _)| text)
            .collect();
        assert_eq!(
            texts,
            [
                "lab: healthy → degraded",
                "lab a: synced → \\u{1b}[31m",
                "lab b: synced → gone"
            ]
        );
        assert!(states(&overview("healthy", &[]), Some("other")).is_empty());
    }
}
