//! A list as a table.

use serde_json::Value;

use crate::command::GivenArguments;
use crate::command::{AnswerView, ApiCommand, TableColumn};
use crate::document_text::document_text;
use crate::safe_text::safe_line;

/// The longest text of one cell, in characters.
const CELL_CHARS_MAX: usize = 300;

/// The answer of `command` as text for people.
pub(crate) fn answer_text(command: &ApiCommand, given: &GivenArguments, answer: &Value) -> String {
    match command.view {
        AnswerView::Document => document_text(answer),
        AnswerView::Sentence => {
            let done = command.done.unwrap_or("Done.");
            format!("{}\n", sentence(done, given, answer))
        }
        AnswerView::Table {
            rows,
            columns,
            notes,
        } => match answer.pointer(rows).and_then(Value::as_array) {
            Some(rows) => table(rows, columns) + &note_lines(notes, answer),
            // Of another version: everything is shown, since a missing list is not an empty one.
            None => document_text(answer),
        },
    }
}

/// `text` with the arguments and values that it names in braces.
pub(crate) fn sentence(text: &str, given: &GivenArguments, answer: &Value) -> String {
    let mut parts = text.split('{');
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let value = if name.starts_with('/') {
            value_text(answer.pointer(name), "unknown")
        } else {
            given
                .get(name)
                .map_or_else(String::new, |values| values.join(", "))
        };
        made.push_str(&safe_line(&value));
        made.push_str(rest);
    }
    made
}

fn table(rows: &[Value], columns: &[TableColumn]) -> String {
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    let columns: Vec<&TableColumn> = columns
        .iter()
        .filter(|column| match column {
            TableColumn::Rare(_, make, _) => rows.iter().any(|row| !make(row).is_empty()),
            _ => true,
        })
        .collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| cell(row, column)).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let widest = cells.iter().map(|row| row[index].chars().count()).max();
            widest.unwrap_or(0).max(column.title().len())
        })
        .collect();
    let titles: Vec<String> = columns
        .iter()
        .map(|column| column.title().to_owned())
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(&cells) {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(row: &Value, column: &TableColumn) -> String {
    let text = match column {
        TableColumn::Fact(_, pointer) => value_at(row, pointer, "unknown"),
        TableColumn::Optional(_, pointer) => value_at(row, pointer, "-"),
        TableColumn::Made(_, make, _) => make(row),
        TableColumn::Rare(_, make, _) => match make(row) {
            text if text.is_empty() => "-".to_owned(),
            text => text,
        },
    };
    let text = safe_line(&text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// The value at `pointer`, in which `*` stands for every item of an array.
fn value_at(row: &Value, pointer: &str, absent: &str) -> String {
    let Some((array, rest)) = pointer.split_once("/*") else {
        return value_text(row.pointer(pointer), absent);
    };
    let items = row.pointer(array).and_then(Value::as_array);
    let texts: Vec<String> = items
        .into_iter()
        .flatten()
        .map(|item| value_text(item.pointer(rest), "unknown"))
        .collect();
    if texts.is_empty() {
        absent.to_owned()
    } else {
        texts.join("; ")
    }
}

/// A value on one line, not yet safe for a terminal.
fn value_text(value: Option<&Value>, absent: &str) -> String {
    match value {
        None | Some(Value::Null) => absent.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Array(items)) => {
            let texts: Vec<String> = items
                .iter()
                .map(|item| value_text(Some(item), "unknown"))
                .collect();
            texts.join(", ")
        }
        Some(other) => other.to_string(),
    }
}

fn note_lines(notes: &[(&str, &str)], answer: &Value) -> String {
    let mut text = String::new();
    for (title, pointer) in notes {
        match answer.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                for item in items {
                    let item = value_text(Some(item), "unknown");
                    text.push_str(&format!("{title}: {}\n", safe_line(&item)));
                }
            }
            value => {
                let value = value_text(value, "");
                text.push_str(&format!("{title}: {}\n", safe_line(&value)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::commands;

    const HOSTILE: &str = "<b>\u{1b}]0;x\u{7}\r\nforged \u{202e}\u{2066}\u{9b}31m\u{200b}";

    /// A document in which the value at `pointer` is hostile; `*` is an item.
    fn place(document: &mut Value, pointer: &str, value: Value) {
        let Some((step, rest)) = pointer.trim_start_matches('/').split_once('/') else {
            document[pointer.trim_start_matches('/')] = value;
            return;
        };
        if rest == "*" || rest.starts_with("*/") {
            let mut item = document[step].get(0).cloned().unwrap_or_default();
            if rest == "*" {
                item = value;
            } else {
                place(&mut item, &rest[1..], value);
            }
            document[step] = serde_json::json!([item]);
        } else {
            place(&mut document[step], &format!("/{rest}"), value);
        }
    }

    #[test]
    fn no_answer_controls_the_terminal() {
        for command in commands() {
            let mut answer = serde_json::json!({HOSTILE: [HOSTILE, {"a": {HOSTILE: HOSTILE}}]});
            if let AnswerView::Table {
                rows,
                columns,
                notes,
            } = command.view
            {
                for (_, pointer) in notes {
                    place(&mut answer, pointer, serde_json::json!([HOSTILE]));
                }
                for pointer in columns.iter().flat_map(TableColumn::pointers) {
                    place(&mut answer, &format!("{rows}/*{pointer}"), HOSTILE.into());
                }
            }
            for part in command.done.unwrap_or_default().split("{/").skip(1) {
                let pointer = part.split('}').next().unwrap_or_default();
                place(&mut answer, &format!("/{pointer}"), HOSTILE.into());
            }
            let given = GivenArguments::from([("id", vec![HOSTILE.to_owned()])]);
            let text = answer_text(command, &given, &answer);
            let unsafe_char = text
                .chars()
                .find(|c| *c != '\n' && safe_line(&c.to_string()) != c.to_string());
            assert_eq!(unsafe_char, None, "{}: {text}", command.name());
            assert!(!text.contains("\nforged"), "{}: {text}", command.name());
        }
    }

    #[test]
    fn labels_have_a_column_if_any_cluster_has_some() {
        let list = commands().find(|command| command.name() == "clusters list");
        let shown = |labels: [Value; 2]| {
            let [one, two] = labels;
            let answer = serde_json::json!({"clusters": [
                {"name": "one", "labels": one}, {"name": "two", "labels": two}]});
            answer_text(list.unwrap(), &GivenArguments::new(), &answer)
        };
        let text = shown([
            serde_json::json!({"team": "web", "env": "production"}),
            Value::Null,
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("  LABELS"), "{text}");
        assert!(lines[1].contains("  env=production, team=web  "), "{text}");
        let column = lines[0].find("LABELS").unwrap();
        assert!(lines[2][column..].starts_with("- "), "{text}");
        for none in [Value::Null, serde_json::json!({}), "later".into()] {
            let text = shown([none.clone(), none]);
            assert!(!text.contains("LABELS"), "{text}");
        }
        // Of a later version: shown as it is, never left out.
        let text = shown([serde_json::json!({"env": ["a", null]}), Value::Null]);
        assert!(text.contains("env=[\"a\",null]"), "{text}");
    }

    #[test]
    fn unknown_is_shown_as_unknown_and_a_missing_list_is_not_empty() {
        let find = |name: &str| commands().find(|command| command.name() == name);
        let nodes = find("nodes list").unwrap();
        let given = GivenArguments::new();
        let answer = serde_json::json!({"nodes": [
            {"id": "a", "state": "synced", "position": {"seqno": 7}, "position_fresh": false, "behind": null},
            {"id": "b", "state": "later_state", "sources": [{"kind": "sql", "stale": true}, {"kind": "registry"}]},
        ]});
        let text = answer_text(nodes, &given, &answer);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].contains("7 (stale)") && lines[1].contains("unknown"),
            "{text}"
        );
        assert!(lines[1].contains("no source"), "{text}");
        assert!(
            lines[2].contains("later_state") && lines[2].contains("sql, registry"),
            "{text}"
        );
        let list = find("clusters list").unwrap();
        assert_eq!(
            answer_text(list, &given, &serde_json::json!({"clusters": []})),
            "none\n"
        );
        let other = answer_text(list, &given, &serde_json::json!({"groups": [1]}));
        assert_eq!(other, "groups: 1\n");
    }
}
