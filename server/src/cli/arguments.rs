//! The commands and their flags, built from the table of settings.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::FlagValues;
use crate::config::settings::{self, Setting, SettingScope};

/// The complete command line.
pub(super) fn command() -> Command {
    Command::new("galera-console")
        .version(env!("BUILD_VERSION"))
        .about("Monitor and recover Galera clusters registered in etcd")
        .after_help("Every flag is also an environment variable (GALERA_CONSOLE_…) and a key of the configuration file;\n`galera-console check-config --table` lists all of them. Exit codes: 0 success, 64 wrong usage or configuration,\n69 a required service is unavailable, 70 internal error, 77 permission denied; of ctl also 1 and 75 (see its help).")
        .subcommand_required(true)
        .arg_required_else_help(false)
        .subcommand(with_settings(Command::new("serve").about("Run the console"), true))
        .subcommand(
            with_settings(Command::new("check-config").about("Check the configuration and print the effective settings"), true)
                .arg(flag("table", "Print all settings as a Markdown table instead")),
        )
        .subcommand(console_client::command::ctl_command())
        .subcommand(console_client::mcp::mcp_command())
        .subcommand(user())
        .subcommand(token())
        .subcommand(audit())
        .subcommand(secret())
        .subcommand(order_key())
        .subcommand(state())
        .subcommand(incident())
        .subcommand(etcd_roles())
        .subcommand(completions())
        .subcommand(man())
}

fn completions() -> Command {
    Command::new("completions")
        .about("Print the script that completes commands in a shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(clap::value_parser!(clap_complete::Shell)),
        )
}

fn man() -> Command {
    Command::new("man")
        .about("Print the manual page, or write one for each command")
        .arg(value(
            "directory",
            "DIR",
            "Write a page for each command to DIR instead, such as /usr/local/share/man/man1",
        ))
}

fn etcd_roles() -> Command {
    let command = |name: &'static str, about: &'static str| {
        let agents_of = value(
            "agents-of",
            "CLUSTER,…",
            "Also a role for the agents of this cluster; --cluster adds one for each of its nodes",
        );
        let command = with_settings(Command::new(name).about(about), false);
        [&settings::REGISTRY_PREFIX, &settings::CLUSTER]
            .into_iter()
            .fold(command, |command, setting| command.arg(argument(setting)))
            .arg(agents_of.action(ArgAction::Append))
    };
    let format = value("format", "FORMAT", "etcdctl (commands) or json")
        .value_parser(["etcdctl", "json"])
        .default_value("etcdctl");
    let account = value(
        "account",
        "NAME:ROLE:FILE",
        "Create the account NAME with that role only and the password in FILE, or change it",
    );
    let wait = value(
        "wait",
        "SECONDS",
        "How long to wait for an etcd that does not answer yet",
    )
    .value_parser(clap::value_parser!(u64).range(..=3600))
    .default_value("0");
    Command::new("etcd-roles")
        .about("Print or apply the roles that consoles and agents need in etcd")
        .subcommand_required(true)
        .subcommand(command("print", "Print the roles as commands of etcdctl or as JSON").arg(format))
        .subcommand(
            command(
                "apply",
                "Create the roles in etcd or change them; can be repeated. Needs --etcd-user with the role root once etcd requires accounts",
            )
            .arg(account.action(ArgAction::Append))
            .arg(wait)
            .arg(flag(
                "enable-auth",
                "Make etcd require accounts, after all others were created; needs an account root",
            )),
        )
}

fn secret() -> Command {
    let file = || {
        Arg::new("file")
            .value_name("FILE")
            .help("The file of --state-secret-file")
    };
    Command::new("secret")
        .about("Create or rotate the state secret, which seals records in etcd, and the key of sessions")
        .subcommand_required(true)
        .subcommand(
            Command::new("new")
                .about(
                    "Write a new secret to FILE, readable by this user only, or to standard output",
                )
                .arg(file()),
        )
        .subcommand(
            Command::new("rotate")
                .about("Put a new secret before the newest one in FILE, and drop older ones")
                .arg(file().required(true)),
        )
        .subcommand(
            with_settings(
                Command::new("rotate-session-key").about(
                    "Replace the key that signs sessions; the former one verifies until its last session has ended",
                ),
                false,
            )
            .arg(flag(
                "end-sessions",
                "End every session: no former key stays valid",
            )),
        )
}

fn state() -> Command {
    let key = Arg::new("key")
        .value_name("KEY")
        .required(true)
        .help("The key in etcd, as the console names it");
    let file = |help: &'static str| {
        Arg::new("file")
            .value_name("FILE")
            .required(true)
            .help(help)
    };
    Command::new("state")
        .about("Export or import the console's state; show, discard or accept records in etcd that were changed outside the console")
        .subcommand_required(true)
        .subcommand(with_settings(
            Command::new("show").about("Show the records that are ignored, what they are, and what to do"),
            false,
        ))
        .subcommand(
            with_settings(
                Command::new("discard").about("Remove an ignored record for good"),
                false,
            )
            .arg(key)
            .arg(value(
                "confirm",
                "KEY",
                "The key again; without it, the record is only shown",
            ))
            .arg(flag(
                "force",
                "Also if the record is genuine, as far as this command can see",
            )),
        )
        .subcommand(
            with_settings(
                Command::new("accept").about(
                    "After etcd was restored on purpose: accept older records as they are and missing ones as removed, and end the alarms",
                ),
                false,
            )
            .arg(flag("confirm", "Do it; without it, the records are only shown"))
            .arg(value("reason", "TEXT", "Why, for the audit trail; required with --confirm")),
        )
        .subcommand(
            with_settings(
                Command::new("export").about(
                    "Write the console's state to FILE, encrypted with the state secret; without sessions, API tokens, open actions and queued notifications",
                ),
                false,
            )
            .arg(file("The file, which must not exist yet")),
        )
        .subcommand(
            with_settings(
                Command::new("import").about(
                    "Write an exported state to an etcd that has none; stop every console before",
                ),
                false,
            )
            .arg(file("The file that state export wrote")),
        )
}

fn incident() -> Command {
    let id = Arg::new("id")
        .value_name("ID")
        .required(true)
        .help("The incident, as the list and the page show it");
    let output = value(
        "output",
        "FILE",
        "The file, which must not exist yet; - for standard output; by default incident-ID.html in this directory",
    );
    let margin = value(
        "margin",
        "MINUTES",
        "How long before and after the incident the report begins and ends",
    )
    .value_parser(clap::value_parser!(u16).range(0..=1_440))
    .default_value("15");
    let export = with_settings(
        Command::new("export").about(
            "Write an incident to one HTML file for its post-mortem: states, views, figures, actions and audit trail",
        ),
        false,
    );
    Command::new("incident")
        .about("List incidents, or write one to a file")
        .subcommand_required(true)
        .subcommand(with_settings(
            Command::new("list").about("List the newest incidents"),
            false,
        ))
        .subcommand(
            export
                .arg(argument(&settings::POLL_INTERVAL))
                .arg(id)
                .arg(output)
                .arg(margin),
        )
}

fn audit() -> Command {
    let format = value("format", "FORMAT", "json (one object per line) or csv")
        .value_parser(["json", "csv"])
        .default_value("json");
    Command::new("audit")
        .about("Verify or export the audit trail")
        .subcommand_required(true)
        .subcommand(
            with_settings(
                Command::new("verify").about("Verify that no entry was changed, moved or removed"),
                false,
            )
            .arg(
                value(
                    "expect",
                    "SEQ:HASH",
                    "An anchor that the trail must contain; may be repeated",
                )
                .action(ArgAction::Append),
            )
            .arg(
                value(
                    "anchors",
                    "FILE",
                    "A file with anchors that the trail must contain: of --audit-anchor-file, a log of the console, or what a webhook received; may be repeated",
                )
                .action(ArgAction::Append),
            )
            .arg(
                value(
                    "archive",
                    "FILE",
                    "An archive file, which the live trail must continue; may be repeated",
                )
                .action(ArgAction::Append),
            ),
        )
        .subcommand(
            with_settings(
                Command::new("export").about("Write every entry, oldest first, to standard output"),
                false,
            )
            .arg(format)
            .arg(value(
                "archive-dir",
                "DIR",
                "Write the entries that DIR does not have yet to archive files there instead",
            )),
        )
}

fn order_key() -> Command {
    let file = || {
        Arg::new("file")
            .value_name("FILE")
            .required(true)
            .value_parser(clap::value_parser!(std::path::PathBuf))
            .help("The file with the private key")
    };
    Command::new("order-key")
        .about("Manage the key that signs bootstrap orders to agents")
        .subcommand_required(true)
        .subcommand(
            Command::new("new")
                .about("Create a private key, never over an existing file, and print its public key for ORDER_PUBLIC_KEY_FILE of the agents")
                .arg(file()),
        )
        .subcommand(
            Command::new("show")
                .about("Print the public key for ORDER_PUBLIC_KEY_FILE of the agents")
                .arg(file()),
        )
}

fn token() -> Command {
    let positional = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).value_name(value).help(help)
    };
    let add = with_settings(
        Command::new("add").about("Create a token and print it, once"),
        false,
    )
    .arg(argument(&settings::TOKEN_LIFETIME_MAX))
    .arg(positional("account", "ACCOUNT", "The account that it belongs to").required(true))
    .arg(positional("name", "NAME", "What it is for").required(true))
    .arg(
        Arg::new("role")
            .long("role")
            .value_name("ROLE[,…]")
            .action(ArgAction::Append)
            .required(true)
            .help("Roles of the account that it has; separate several by commas"),
    )
    .arg(
        value(
            "clusters",
            "CLUSTER[,…]",
            "Clusters, patterns such as prod-* or labels such as env=production that it is limited to; by default all",
        )
        .action(ArgAction::Append),
    )
    .arg(
        value("days", "DAYS", "How long it is valid")
            .value_parser(clap::value_parser!(u32).range(1..=365))
            .required(true),
    );
    Command::new("token")
        .about("Manage API tokens")
        .subcommand_required(true)
        .subcommand(add)
        .subcommand(
            with_settings(
                Command::new("list").about("List tokens, without their secrets"),
                false,
            )
            .arg(positional(
                "account",
                "ACCOUNT",
                "Only those of this account",
            )),
        )
        .subcommand(
            with_settings(
                Command::new("remove")
                    .about("Revoke a token: it stops immediately, on every replica"),
                false,
            )
            .arg(positional("id", "ID", "The token's id, as the list shows it").required(true)),
        )
}

fn user() -> Command {
    let password = |command: Command| {
        command
            .arg(
                value("password-file", "FILE", "Read the password from this file")
                    .conflicts_with("password-stdin"),
            )
            .arg(flag(
                "password-stdin",
                "Read the password from standard input",
            ))
    };
    let named = |name: &'static str, about: &'static str| {
        let who = Arg::new("name")
            .value_name("NAME")
            .required(true)
            .help("The account");
        with_settings(Command::new(name).about(about), false).arg(who)
    };
    let force = || {
        flag(
            "force",
            "Even if no enabled account with the role admin remains",
        )
    };
    let role = Arg::new("role")
        .long("role")
        .value_name("ROLE[,…]")
        .action(ArgAction::Append)
        .required_unless_present("grant")
        .help("viewer, operator, approver or admin; separate several by commas");
    let new_role = role.clone();
    let clusters = |help| value("clusters", "CLUSTER[,…]", help).action(ArgAction::Append);
    let grant = || {
        value(
            "grant",
            "ROLE[,…]=CLUSTER[,…]",
            "Further roles on some clusters, such as operator=prod-* or operator=env=test; may be repeated",
        )
        .action(ArgAction::Append)
    };
    let email = || {
        value(
            "email",
            "ADDRESS",
            "E-mail address for notifications that concern the account",
        )
    };
    let address = Arg::new("email")
        .value_name("ADDRESS")
        .required(true)
        .help("E-mail address for notifications that concern the account; '' removes it");
    Command::new("user")
        .about("Manage accounts")
        .subcommand_required(true)
        .subcommand(password(
            named("add", "Add an account")
                .arg(role)
                .arg(clusters(
                    "Clusters, patterns such as prod-* or labels such as env=production on which the roles count; by default all, and the whole console",
                ))
                .arg(grant())
                .arg(email().conflicts_with("service"))
                .arg(
                    flag(
                        "service",
                        "A service account: without a password, for API tokens only",
                    )
                    .conflicts_with_all(["password-file", "password-stdin"]),
                ),
        ))
        .subcommand(with_settings(
            Command::new("list").about("List accounts"),
            false,
        ))
        .subcommand(password(named(
            "passwd",
            "Change an account's password and end its sessions",
        )))
        .subcommand(
            named(
                "disable",
                "Disable sign-in of an account and end its sessions",
            )
            .arg(force()),
        )
        .subcommand(named("email", "Change an account's e-mail address").arg(address))
        .subcommand(
            named(
                "role",
                "Change an account's roles; its sessions continue with them",
            )
            .arg(new_role)
            .arg(clusters(
                "Clusters, patterns such as prod-* or labels such as env=production on which the roles count; by default as before",
            ))
            .arg(grant())
            .arg(
                flag(
                    "all-clusters",
                    "The roles count on all clusters and for the whole console",
                )
                .conflicts_with("clusters"),
            )
            .arg(force()),
        )
        .subcommand(
            named("group", "Change the groups of an account, which approval policies may name")
                .arg(
                    value("group", "GROUP[,…]", "All groups that it is in from now on")
                        .action(ArgAction::Append)
                        .required_unless_present("none"),
                )
                .arg(flag("none", "It is in no group").conflicts_with("group")),
        )
        .subcommand(named(
            "reset-factor",
            "Remove an account's second factor and end its sessions",
        ))
        .subcommand(named("enable", "Enable sign-in of an account again"))
        .subcommand(named("remove", "Remove an account and end its sessions").arg(force()))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn value(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn with_settings(command: Command, all: bool) -> Command {
    let used = settings::ALL
        .iter()
        .copied()
        .filter(move |setting| all || setting.scope == SettingScope::AllCommands);
    [&settings::CONFIG]
        .into_iter()
        .chain(used)
        .fold(command, |command, setting| command.arg(argument(setting)))
}

fn argument(setting: &'static Setting) -> Arg {
    // Kept as text: the configuration reports all wrong values together, clap only the first.
    let action = if setting.repeatable {
        ArgAction::Append
    } else {
        ArgAction::Set
    };
    Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value)
        .action(action)
        .allow_hyphen_values(true)
        .help(format!(
            "{} [{}] [default: {}]",
            setting.help,
            setting.variable(),
            setting.default_text()
        ))
        .help_heading("Settings")
}

/// The settings given as flags.
pub(super) fn flags(matches: &ArgMatches) -> FlagValues {
    let mut flags = FlagValues::new();
    for setting in settings::ALL {
        // Not every command has every flag.
        if let Ok(Some(values)) = matches.try_get_many::<String>(setting.flag) {
            flags.insert(setting.flag, values.cloned().collect());
        }
    }
    flags
}
