//! The commands of `ctl`: one entry for each, with the operation of the API that it uses.

mod actions;
mod api_command;
mod clusters;
mod coverage;
mod notifications;
mod parser;
mod reference;
mod status;
mod trail;

pub use api_command::{
    AnswerView, ApiArgument, ApiCommand, ArgumentKind, ArgumentPlace, CommandRun, GivenArguments,
    TableColumn,
};
pub use coverage::{NOT_COMMANDS, SESSION_ONLY};
pub use parser::{ctl_command, find_command};
pub use reference::markdown_reference;

/// Every command, in the order of the help.
pub fn commands() -> impl Iterator<Item = &'static ApiCommand> {
    [
        clusters::COMMANDS,
        actions::COMMANDS,
        trail::COMMANDS,
        notifications::COMMANDS,
        status::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// The command with these words.
pub(crate) fn find(words: &[&str]) -> Option<&'static ApiCommand> {
    commands().find(|command| command.words == words)
}

/// The groups of commands, with what they are about.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    (
        "clusters",
        "Show clusters, watch them, check a stop of several nodes",
    ),
    (
        "nodes",
        "Show nodes, check a stop, admit an unconfirmed node",
    ),
    ("findings", "Show, acknowledge and reopen findings"),
    ("alarms", "Show and acknowledge alarms about the data"),
    (
        "actions",
        "Request actions, decide about them, wait for their end",
    ),
    (
        "recovery",
        "Show and switch recovery, of the console or of one cluster",
    ),
    ("audit", "Show the audit trail and the console's alarms"),
    ("accounts", "Show accounts; changing them needs a session"),
    ("targets", "Manage notification targets"),
    ("deliveries", "Show notification deliveries, send one again"),
    ("status-pages", "Manage status pages and their links"),
    ("incidents", "Manage incidents of status pages"),
    ("maintenance", "Manage maintenance windows"),
    ("announcements", "Manage announcements of status pages"),
];
