//! The command line of the table.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::api_command::{ApiArgument, ApiCommand, ArgumentKind, ArgumentPlace, GivenArguments};
use super::{GROUPS, commands, find};
use crate::settings;

/// The command `ctl`.
#[must_use]
pub fn ctl_command() -> Command {
    let mut ctl = Command::new("ctl")
        .about("Use the API of a console with a token")
        .subcommand_required(true)
        .after_help(
            "What changes accounts, tokens and the own session needs a person who is signed in.\nExit codes: 0 done, 1 refused by the console or the action did not succeed, 64 wrong usage or configuration,\n69 the console cannot be reached or cannot serve, 70 internal error, 75 no answer in time.",
        );
    for argument in settings::connection_arguments() {
        ctl = ctl.arg(argument.global(true));
    }
    for argument in settings::output_arguments() {
        ctl = ctl.arg(argument.global(true));
    }
    for (group, about) in GROUPS {
        let mut command = Command::new(*group).about(*about).subcommand_required(true);
        for entry in commands().filter(|entry| entry.words.len() == 2 && entry.words[0] == *group) {
            command = command.subcommand(subcommand(entry));
        }
        ctl = ctl.subcommand(command);
    }
    for entry in commands().filter(|entry| entry.words.len() == 1) {
        ctl = ctl.subcommand(subcommand(entry));
    }
    ctl
}

fn subcommand(entry: &'static ApiCommand) -> Command {
    let name = entry.words.last().copied().unwrap_or_default();
    let mut command = Command::new(name).about(entry.about);
    let arguments = entry.arguments.iter();
    for argument in arguments.filter(|argument| !matches!(argument.place, ArgumentPlace::Fixed(_)))
    {
        command = command.arg(clap_argument(argument));
    }
    command
}

fn clap_argument(argument: &'static ApiArgument) -> Arg {
    let value_name = value_name(argument);
    let arg = Arg::new(argument.flag)
        .help(argument.help)
        .value_name(value_name)
        .required(argument.required);
    let arg = if argument.positional {
        arg
    } else {
        arg.long(argument.flag)
    };
    match argument.kind {
        ArgumentKind::Choice(_, words) => {
            arg.value_parser(clap::builder::PossibleValuesParser::new(words))
        }
        ArgumentKind::Switch => arg.value_parser(["on", "off"]),
        ArgumentKind::Number => arg.value_parser(|text: &str| {
            let number: Result<u64, _> = text.parse();
            number
                .map(|_| text.to_owned())
                .map_err(|error| error.to_string())
        }),
        ArgumentKind::List(_) | ArgumentKind::Clusters | ArgumentKind::Attestations => {
            arg.action(ArgAction::Append)
        }
        _ => arg,
    }
}

pub(super) fn value_name(argument: &ApiArgument) -> &'static str {
    match argument.kind {
        ArgumentKind::Text(word) | ArgumentKind::List(word) | ArgumentKind::Choice(word, _) => word,
        ArgumentKind::Cluster => "CLUSTER",
        ArgumentKind::Clusters => "CLUSTER,…",
        ArgumentKind::Node => "NODE",
        ArgumentKind::Number => "NUMBER",
        ArgumentKind::Time => "TIME",
        ArgumentKind::Switch => "on|off",
        ArgumentKind::Attestations => "NODE=STATEMENT",
        ArgumentKind::File => "FILE",
    }
}

/// The entry that was chosen, and what was given to it.
#[must_use]
pub fn find_command(matches: &ArgMatches) -> Option<(&'static ApiCommand, GivenArguments)> {
    let mut words = Vec::new();
    let mut matches = matches;
    while let Some((word, chosen)) = matches.subcommand() {
        words.push(word);
        matches = chosen;
    }
    let entry = find(&words)?;
    let mut given = BTreeMap::new();
    for argument in entry.arguments {
        if let Ok(Some(values)) = matches.try_get_many::<String>(argument.flag) {
            given.insert(argument.flag, values.cloned().collect());
        }
    }
    Some((entry, given))
}
