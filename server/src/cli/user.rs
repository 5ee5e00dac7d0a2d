//! `user …`: accounts, managed on the host by whoever may reach etcd.

use std::io::{IsTerminal, Read};
use std::path::Path;

use accounts::store::{Store, StoreError};
use accounts::{PASSWORD_MAX_BYTES, UserName};
use clap::ArgMatches;
use console_core::audit::Trail;
use console_core::clock::now;
use galera::access::Role;
use galera::record::audit::Record;
use notify;
use registry::Secret;

use super::connect::with_registry;
use super::{Exit, Failure, inputs, print, runtime};
use crate::config::{self, UserConfig, read_password};
use crate::telemetry;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Registry(error) => return error.into(),
            StoreError::Contended(_) => Exit::Unavailable,
            StoreError::Hash(_) => Exit::Internal,
            StoreError::Exists(_)
            | StoreError::Unknown(_)
            | StoreError::LastAdmin(_)
            | StoreError::NoRole
            | StoreError::Password(_)
            | StoreError::Damaged(..) => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

/// What is to be done, with everything that was asked for read.
enum Order {
    Add(UserName, Secret, Vec<Role>, Option<String>),
    List,
    Password(UserName, Secret),
    Email(UserName, Option<String>),
    Disable(UserName, bool),
    Enable(UserName),
    Remove(UserName, bool),
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(Failure::new(
            Exit::Usage,
            "no command given; see galera-console user --help",
        ));
    };
    let config = config::load_for_user(&inputs(matches)?)?;
    telemetry::init(&config.log);
    let order = order(command, matches)?;
    runtime()?.block_on(carry_out(order, config))
}

fn order(command: &str, matches: &ArgMatches) -> Result<Order, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, error);
    if command == "list" {
        return Ok(Order::List);
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
            Order::Add(name, password, roles, email)
        }
        "passwd" => {
            let password = password(matches, &name)?;
            Order::Password(name, password)
        }
        "email" => Order::Email(name, email(matches)?),
        "disable" => Order::Disable(name, force()),
        "enable" => Order::Enable(name),
        "remove" => Order::Remove(name, force()),
        other => {
            return Err(usage(&format!(
                "{other} is no command of galera-console user"
            )));
        }
    })
}

/// The address that was given; none for an empty one.
fn email(matches: &ArgMatches) -> Result<Option<String>, Failure> {
    let given = matches.get_one::<String>("email").map(|text| text.trim());
    given
        .filter(|text| !text.is_empty())
        .map(notify::address)
        .transpose()
        .map_err(|error| Failure::new(Exit::Usage, error))
}

/// The password from the file, standard input, or a question without echo.
fn password(matches: &ArgMatches, name: &UserName) -> Result<Secret, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
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

async fn carry_out(order: Order, config: UserConfig) -> Result<(), Failure> {
    let done = with_registry(config.etcd, async |registry| {
        let store = Store::new(registry.clone(), config.state_prefix.clone());
        let record = record(&order);
        let said = act(order, &store).await?;
        if let Some(record) = record
            && let Err(error) = Trail::new(registry, &config.state_prefix)
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

/// What the audit trail says of `order`; nothing of one that only looks.
fn record(order: &Order) -> Option<Record> {
    let (event, name, roles) = match order {
        Order::Add(name, _, roles, _) => ("account_added", name, Some(roles)),
        Order::List => return None,
        Order::Password(name, _) => ("account_password_changed", name, None),
        Order::Email(name, _) => ("account_email_changed", name, None),
        Order::Disable(name, _) => ("account_disabled", name, None),
        Order::Enable(name) => ("account_enabled", name, None),
        Order::Remove(name, _) => ("account_removed", name, None),
    };
    let roles = roles.map(|roles| {
        let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
        ("roles".to_owned(), words.join(","))
    });
    let user = rustix::process::geteuid().as_raw();
    Some(Record {
        at: now(),
        actor: format!("command line (uid {user})"),
        event: event.to_owned(),
        cluster: None,
        subject: Some(name.to_string()),
        detail: roles.into_iter().collect(),
    })
}

async fn act(order: Order, store: &Store) -> Result<String, StoreError> {
    Ok(match order {
        Order::Add(name, password, roles, email) => {
            store
                .add_reachable(&name, password.expose(), roles, email, now())
                .await?;
            format!("The account {name} was added.\n")
        }
        Order::List => list(store).await?,
        Order::Password(name, password) => {
            store.set_password(&name, password.expose(), now()).await?;
            format!("The account {name} has another password; its sessions were ended.\n")
        }
        Order::Email(name, email) => {
            let said = match &email {
                Some(address) => format!("Notices for {name} go to {address}.\n"),
                None => format!("The account {name} has no e-mail address any more.\n"),
            };
            store.set_email(&name, email, now()).await?;
            said
        }
        Order::Disable(name, force) => {
            store.set_disabled(&name, true, force, now()).await?;
            format!("The account {name} is disabled; its sessions were ended.\n")
        }
        Order::Enable(name) => {
            store.set_disabled(&name, false, true, now()).await?;
            format!("The account {name} is enabled.\n")
        }
        Order::Remove(name, force) => {
            store.remove(&name, force).await?;
            format!("The account {name} was removed; its sessions were ended.\n")
        }
    })
}

async fn list(store: &Store) -> Result<String, StoreError> {
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
                    .map(|role| role.word())
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
