//! `user …`: accounts, managed on the host by whoever may reach etcd.

use std::io::{IsTerminal, Read};
use std::path::Path;

use accounts::store::{AccountStore, AccountStoreError};
use accounts::{PASSWORD_MAX_BYTES, UserName};
use clap::ArgMatches;
use console_core::audit::AuditTrail;
use console_core::clock::now;
use galera::access::Role;
use galera::record::audit::AuditRecord;
use notify;
use registry::Secret;

use super::connect::with_registry;
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config::{self, AdminConfig, read_password};
use crate::telemetry;

impl From<AccountStoreError> for CliError {
    fn from(error: AccountStoreError) -> Self {
        let exit = match error {
            AccountStoreError::Registry(error) => return error.into(),
            AccountStoreError::Contended(_) => ExitReason::Unavailable,
            AccountStoreError::Hash(_) => ExitReason::Internal,
            AccountStoreError::Exists(_)
            | AccountStoreError::Unknown(_)
            | AccountStoreError::LastAdmin(_)
            | AccountStoreError::NoRole
            | AccountStoreError::Password(_)
            | AccountStoreError::Damaged(..) => ExitReason::Usage,
        };
        Self::new(exit, error)
    }
}

/// What is to be done, with everything that was asked for read.
enum UserCommand {
    Add(UserName, Secret, Vec<Role>, Option<String>),
    List,
    Password(UserName, Secret),
    Email(UserName, Option<String>),
    Disable(UserName, bool),
    Enable(UserName),
    Remove(UserName, bool),
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(CliError::new(
            ExitReason::Usage,
            "no command given; see galera-console user --help",
        ));
    };
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let order = parse_command(command, matches)?;
    runtime()?.block_on(execute(order, config))
}

fn parse_command(command: &str, matches: &ArgMatches) -> Result<UserCommand, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::new(ExitReason::Usage, error);
    if command == "list" {
        return Ok(UserCommand::List);
    }
    let name = matches
        .get_one::<String>("name")
        .map(String::as_str)
        .unwrap_or_default();
    let name: UserName = name.parse().map_err(|error| usage(&error))?;
    let force = || matches.get_flag("force");
    Ok(match command {
        "add" => {
            let texts = matches
                .get_many::<String>("role")
                .into_iter()
                .flatten()
                .flat_map(|text| text.split(','));
            let roles = texts
                .map(|text| text.trim().parse::<Role>())
                .collect::<Result<Vec<_>, _>>();
            let roles = roles.map_err(|error| usage(&error))?;
            let email = email(matches)?;
            let password = password(matches, &name)?;
            UserCommand::Add(name, password, roles, email)
        }
        "passwd" => {
            let password = password(matches, &name)?;
            UserCommand::Password(name, password)
        }
        "email" => UserCommand::Email(name, email(matches)?),
        "disable" => UserCommand::Disable(name, force()),
        "enable" => UserCommand::Enable(name),
        "remove" => UserCommand::Remove(name, force()),
        other => {
            return Err(usage(&format!(
                "{other} is no command of galera-console user"
            )));
        }
    })
}

/// The address that was given; none for an empty one.
fn email(matches: &ArgMatches) -> Result<Option<String>, CliError> {
    let given = matches.get_one::<String>("email").map(|text| text.trim());
    given
        .filter(|text| !text.is_empty())
        .map(notify::parse_email_address)
        .transpose()
        .map_err(|error| CliError::new(ExitReason::Usage, error))
}

/// The password from the file, standard input, or a question without echo.
fn password(matches: &ArgMatches, name: &UserName) -> Result<Secret, CliError> {
    let usage = |message: String| CliError::new(ExitReason::Usage, message);
    if let Some(path) = matches.get_one::<String>("password-file") {
        return read_password(Path::new(path))
            .map_err(|error| usage(format!("--password-file: {error}")));
    }
    if matches.get_flag("password-stdin") {
        let mut text = String::new();
        let limit = u64::try_from(PASSWORD_MAX_BYTES).unwrap_or(u64::MAX) + 3;
        let read = std::io::stdin().take(limit).read_to_string(&mut text);
        read.map_err(|error| {
            usage(format!(
                "--password-stdin: the password cannot be read: {error}"
            ))
        })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(usage(
                "--password-stdin: standard input is empty; write the password to it".to_owned(),
            ));
        }
        return Ok(Secret::new(line));
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage(
            "no terminal to ask for the password; give --password-file FILE or --password-stdin"
                .to_owned(),
        ));
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map_err(|error| usage(format!("the password cannot be read: {error}")))
    };
    let first = ask(format!("Password for {name}: "))?;
    if first != ask("Again: ".to_owned())? {
        return Err(usage(
            "the two passwords differ; nothing was changed".to_owned(),
        ));
    }
    Ok(Secret::new(first))
}

async fn execute(order: UserCommand, config: AdminConfig) -> Result<(), CliError> {
    let done = with_registry(config.etcd, async |registry| {
        let store = AccountStore::new(registry.clone(), config.state_prefix.clone());
        let record = audit_record(&order);
        let said = apply(order, &store).await?;
        if let Some(record) = record
            && let Err(error) = AuditTrail::new(registry, &config.state_prefix)
                .record(record)
                .await
        {
            // What was done is done; hiding that would be worse than an entry that is missing.
            tracing::warn!(%error, "The audit trail has no entry of this: {error}");
        }
        Ok(said)
    })
    .await;
    print(&done?)
}

/// What the audit trail says of `parse_command`; nothing of one that only looks.
fn audit_record(order: &UserCommand) -> Option<AuditRecord> {
    let (event, name, roles) = match order {
        UserCommand::Add(name, _, roles, _) => ("account_added", name, Some(roles)),
        UserCommand::List => return None,
        UserCommand::Password(name, _) => ("account_password_changed", name, None),
        UserCommand::Email(name, _) => ("account_email_changed", name, None),
        UserCommand::Disable(name, _) => ("account_disabled", name, None),
        UserCommand::Enable(name) => ("account_enabled", name, None),
        UserCommand::Remove(name, _) => ("account_removed", name, None),
    };
    let roles = roles.map(|roles| {
        let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        ("roles".to_owned(), words.join(","))
    });
    let user = rustix::process::geteuid().as_raw();
    Some(AuditRecord {
        at: now(),
        actor: format!("command line (uid {user})"),
        event: event.to_owned(),
        cluster: None,
        subject: Some(name.to_string()),
        detail: roles.into_iter().collect(),
    })
}

async fn apply(order: UserCommand, store: &AccountStore) -> Result<String, AccountStoreError> {
    Ok(match order {
        UserCommand::Add(name, password, roles, email) => {
            store
                .add_with_email(&name, password.expose(), roles, email, now())
                .await?;
            format!("The account {name} was added.\n")
        }
        UserCommand::List => list(store).await?,
        UserCommand::Password(name, password) => {
            store.set_password(&name, password.expose(), now()).await?;
            format!("The account {name} has another password; its sessions were ended.\n")
        }
        UserCommand::Email(name, email) => {
            let said = match &email {
                Some(address) => format!("Notices for {name} go to {address}.\n"),
                None => format!("The account {name} has no e-mail address any more.\n"),
            };
            store.set_email(&name, email, now()).await?;
            said
        }
        UserCommand::Disable(name, force) => {
            store.set_disabled(&name, true, force, now()).await?;
            format!("The account {name} is disabled; its sessions were ended.\n")
        }
        UserCommand::Enable(name) => {
            store.set_disabled(&name, false, true, now()).await?;
            format!("The account {name} is enabled.\n")
        }
        UserCommand::Remove(name, force) => {
            store.remove(&name, force).await?;
            format!("The account {name} was removed; its sessions were ended.\n")
        }
    })
}

async fn list(store: &AccountStore) -> Result<String, AccountStoreError> {
    let accounts = store.list().await?;
    if accounts.is_empty() {
        return Ok(
            "There are no accounts; add one with `galera-console user add NAME --role admin`.\n"
                .to_owned(),
        );
    }
    let width = accounts
        .iter()
        .map(|(name, _)| name.as_str().len())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut text = format!(
        "{:width$}  {:8}  {:32}  {:24}  E-MAIL\n",
        "NAME", "STATE", "ROLES", "CHANGED"
    );
    for (name, record) in accounts {
        let line = match record {
            Ok(record) => {
                let state = if record.disabled {
                    "disabled"
                } else {
                    "enabled"
                };
                let roles = record
                    .roles
                    .iter()
                    .map(|role| role.as_str())
                    .collect::<Vec<_>>()
                    .join(",");
                format!(
                    "{:width$}  {state:8}  {roles:32}  {:24}  {}\n",
                    name.as_str(),
                    record.changed_at.to_string(),
                    record.email.as_deref().unwrap_or("—")
                )
            }
            Err(error) => format!("{:width$}  damaged   {error}\n", name.as_str()),
        };
        text.push_str(&line);
    }
    Ok(text)
}
