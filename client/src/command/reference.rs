//! The reference in `docs/ctl.md`, made of the table.

use super::api_command::{ApiCommand, ArgumentPlace};
use super::{NOT_COMMANDS, SESSION_ONLY, commands};

/// The tables of commands, and of what has none, in Markdown.
#[must_use]
pub fn markdown_reference() -> String {
    let mut text = String::from("| Command | | Operation |\n|---|---|---|\n");
    for command in commands() {
        let operations: Vec<String> = command
            .operations
            .iter()
            .map(|(method, route)| format!("`{method} {}`", route.trim_start_matches("/api/v1")))
            .collect();
        text.push_str(&format!(
            "| `{}` | {} | {} |\n",
            usage(command).replace('|', "\\|"),
            command.about,
            operations.join(", ")
        ));
    }
    text.push_str("\nOperations that need a person who is signed in have no command:\n\n| Operations below | Instead |\n|---|---|\n");
    for (path, instead) in SESSION_ONLY {
        let has_commands = commands().any(|command| {
            let mut paths = command.operations.iter().map(|(_, operation)| operation);
            paths.any(|operation| is_below(operation, path))
        });
        // What only reads may have a command.
        let which = if has_commands { ", changes" } else { "" };
        text.push_str(&format!("| `{path}`{which} | {instead} |\n"));
    }
    text.push_str("\nNeither have these:\n\n| Operation | Reason |\n|---|---|\n");
    for (method, path, reason) in NOT_COMMANDS {
        text.push_str(&format!("| `{method} {path}` | {reason} |\n"));
    }
    text
}

fn is_below(operation: &str, path: &str) -> bool {
    let rest = operation.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The command with its arguments, optional ones in brackets.
fn usage(command: &ApiCommand) -> String {
    let mut text = command.name();
    for argument in command.arguments {
        if matches!(argument.place, ArgumentPlace::Fixed(_)) {
            continue;
        }
        let name = super::parser::value_name(argument);
        let shown = if argument.positional {
            name.to_owned()
        } else {
            format!("--{} {name}", argument.flag)
        };
        if argument.required {
            text.push_str(&format!(" {shown}"));
        } else {
            text.push_str(&format!(" [{shown}]"));
        }
    }
    text
}
