//! The command lines in the documents, and in what programs and pages show.

use clap::error::ErrorKind;
use testing::documents::{ParsedCommand, check_commands};
use testing::source_commands::check_source_commands;

use super::arguments;

/// What orders are signed for, quoted in docs/etcd.md.
const NO_COMMANDS: &[&str] = &["bootstrap order v1", "rejoin order v1"];

fn parse(words: &[String]) -> ParsedCommand {
    let line = std::iter::once("galera-console").chain(words.iter().map(String::as_str));
    match arguments::command().try_get_matches_from(line) {
        Ok(_) => ParsedCommand::Complete,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ParsedCommand::Complete,
            ErrorKind::MissingSubcommand | ErrorKind::MissingRequiredArgument => {
                ParsedCommand::Incomplete
            }
            _ => ParsedCommand::Refused(error.to_string()),
        },
    }
}

#[test]
fn commands_in_documents_are_accepted() {
    check_commands("galera-console", NO_COMMANDS, parse);
}

#[test]
fn commands_that_are_shown_are_accepted() {
    check_source_commands("galera-console", &["state secret", "audit entry"], parse);
}
