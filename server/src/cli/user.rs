//! `user …`: manages accounts directly in etcd.

use std::io::{IsTerminal, Read};
use std::path::Path;

use accounts::store::{AccountChange, AccountStore, AccountStoreError};
use accounts::{PASSWORD_MAX_BYTES, UserName, UserRecord};
use clap::ArgMatches;
use console_core::clock::now;
use console_core::keyspace::AccountKeys;
use galera::access::{
    ClusterScope, ClusterSelector, GroupName, GroupNameError, Role, RoleAssignment, RoleGrant,
};
use galera::publish::accounts::AccountKind;
use notify;
use registry::Secret;

use super::connect::{StateAccess, actor, with_state};
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config::{self, AdminConfig, password_context, read_password};
use crate::telemetry;

impl From<AccountStoreError> for CliError {
    fn from(error: AccountStoreError) -> Self {
        let exit = match error {
            AccountStoreError::Registry(error) => return error.into(),
            AccountStoreError::Audit(error) => return error.into(),
            AccountStoreError::Contended(_) => ExitReason::Unavailable,
            AccountStoreError::Hash(_) => ExitReason::Internal,
            AccountStoreError::Exists(_)
            | AccountStoreError::Unknown(_)
            | AccountStoreError::LastAdmin(_)
            | AccountStoreError::Roles(_)
            | AccountStoreError::TooManyGroups(_)
            | AccountStoreError::NoPassword(_)
            | AccountStoreError::ReservedName(_)
            | AccountStoreError::ExternalPassword(_)
            | AccountStoreError::ExternalRoles(_)
            | AccountStoreError::Password(_)
            | AccountStoreError::Damaged(..) => ExitReason::Usage,
        };
        Self::new(exit, error)
    }
}

/// A command with its validated arguments.
enum UserCommand {
    Add(UserName, Secret, RoleAssignment, Option<String>),
    AddService(UserName, RoleAssignment),
    List,
    Password(UserName, Secret),
    Email(UserName, Option<String>),
    Roles(UserName, RoleAssignment, bool),
    Groups(UserName, Vec<GroupName>),
    ResetFactor(UserName),
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
    let command = parse_command(command, matches)?;
    runtime()?.block_on(execute(command, config))
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
        "add" if matches.get_flag("service") => UserCommand::AddService(name, assignment(matches)?),
        "add" => {
            let roles = assignment(matches)?;
            let email = email(matches)?;
            let password = password(matches, &name)?;
            UserCommand::Add(name, password, roles, email)
        }
        "passwd" => {
            let password = password(matches, &name)?;
            UserCommand::Password(name, password)
        }
        "role" => {
            let mut roles = assignment(matches)?;
            if matches.get_flag("all-clusters") {
                roles.clusters = Some(ClusterScope::all());
            }
            UserCommand::Roles(name, roles, force())
        }
        "group" => UserCommand::Groups(name, groups(matches)?),
        "reset-factor" => UserCommand::ResetFactor(name),
        "email" => UserCommand::Email(name, email(matches)?),
        "disable" => UserCommand::Disable(name, force()),
        "enable" => UserCommand::Enable(name),
        "remove" => UserCommand::Remove(name, force()),
        other => {
            return Err(usage(&format!(
                "unknown command {other}; see galera-console user --help"
            )));
        }
    })
}

/// The given roles.
pub(super) fn roles(matches: &ArgMatches) -> Result<Vec<Role>, CliError> {
    let texts = matches.get_many::<String>("role").into_iter().flatten();
    let roles: Result<Vec<Vec<Role>>, CliError> = texts.map(|text| parse_roles(text)).collect();
    Ok(roles?.concat())
}

/// The given clusters; `None` if none are given.
pub(super) fn clusters(matches: &ArgMatches) -> Result<Option<ClusterScope>, CliError> {
    let Some(texts) = matches.get_many::<String>("clusters") else {
        return Ok(None);
    };
    let texts: Vec<&str> = texts.map(String::as_str).collect();
    parse_clusters(&texts.join(",")).map(Some)
}

fn parse_clusters(text: &str) -> Result<ClusterScope, CliError> {
    let patterns: Result<Vec<ClusterSelector>, _> =
        text.split(',').map(|text| text.trim().parse()).collect();
    let patterns = patterns.map_err(|error| CliError::new(ExitReason::Usage, error))?;
    Ok(ClusterScope::new(patterns))
}

/// The given roles, with where they count.
fn assignment(matches: &ArgMatches) -> Result<RoleAssignment, CliError> {
    let usage = |message: String| CliError::new(ExitReason::Usage, message);
    let grants = matches.get_many::<String>("grant").into_iter().flatten();
    let grants = grants.map(|text| {
        let (roles, clusters) = text.split_once('=').ok_or_else(|| {
            usage(format!(
                "--grant {text:?}: give roles and clusters, such as operator=prod-*"
            ))
        })?;
        Ok(RoleGrant::of(
            parse_roles(roles)?,
            parse_clusters(clusters)?,
        ))
    });
    let grants = grants.collect::<Result<Vec<_>, CliError>>()?;
    Ok(RoleAssignment {
        roles: roles(matches)?,
        clusters: clusters(matches)?.or_else(|| (!grants.is_empty()).then(ClusterScope::all)),
        grants,
    })
}

/// The given groups; none with `--none`.
fn groups(matches: &ArgMatches) -> Result<Vec<GroupName>, CliError> {
    let texts = matches.get_many::<String>("group").into_iter().flatten();
    let groups = texts.flat_map(|text| text.split(',')).map(str::parse);
    groups
        .collect::<Result<_, GroupNameError>>()
        .map_err(|error| CliError::new(ExitReason::Usage, error))
}

fn parse_roles(text: &str) -> Result<Vec<Role>, CliError> {
    let roles = text.split(',').map(|text| text.trim().parse());
    roles
        .collect::<Result<_, _>>()
        .map_err(|error: galera::access::ParseRoleError| CliError::new(ExitReason::Usage, error))
}

/// The given address; `None` for an empty one.
fn email(matches: &ArgMatches) -> Result<Option<String>, CliError> {
    let given = matches.get_one::<String>("email").map(|text| text.trim());
    given
        .filter(|text| !text.is_empty())
        .map(notify::parse_email_address)
        .transpose()
        .map_err(|error| CliError::new(ExitReason::Usage, error))
}

/// The password from the file, standard input, or a prompt without echo.
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
                "--password-stdin: cannot read the password: {error}"
            ))
        })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(usage(
                "--password-stdin: standard input is empty; it must contain the password"
                    .to_owned(),
            ));
        }
        return Ok(Secret::new(line));
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage(
            "no terminal to prompt for the password; use --password-file FILE or --password-stdin"
                .to_owned(),
        ));
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map_err(|error| usage(format!("cannot read the password: {error}")))
    };
    let first = ask(format!("Password for {name}: "))?;
    if first != ask("Repeat password: ".to_owned())? {
        return Err(usage(
            "the passwords do not match; nothing was changed".to_owned(),
        ));
    }
    Ok(Secret::new(first))
}

async fn execute(command: UserCommand, config: AdminConfig) -> Result<(), CliError> {
    let prefix = config.state_prefix.clone();
    let context = password_context(config.public_url.as_ref());
    let done = with_state(config, StateAccess::Write, async |state| {
        let registry = &state.registry;
        let store = AccountStore::new(registry.clone(), prefix.as_str())
            .audited_in(state.audit_trail())
            .acting_as(&actor())
            .with_password_context(context);
        let mut message = apply(command, &store).await?;
        for tampered in registry
            .tampered()
            .below(&AccountKeys::new(&prefix).users())
        {
            message.push_str(&format!(
                "{} was changed outside the console and is ignored: {}\n",
                tampered.key, tampered.reason
            ));
        }
        Ok(message)
    })
    .await;
    print(&done?)
}

async fn apply(command: UserCommand, store: &AccountStore) -> Result<String, AccountStoreError> {
    Ok(match command {
        UserCommand::Add(name, password, roles, email) => {
            store
                .add_person(&name, password.expose(), &roles, email, now())
                .await?;
            format!("Added account {name}.\n")
        }
        UserCommand::AddService(name, roles) => {
            store.add_service(&name, &roles, now()).await?;
            format!(
                "Added service account {name}; create a token with `galera-console token add {name} NAME`.\n"
            )
        }
        UserCommand::List => list(store).await?,
        UserCommand::Password(name, password) => {
            store.set_password(&name, password.expose(), now()).await?;
            format!("Changed the password of account {name} and ended its sessions.\n")
        }
        UserCommand::Email(name, email) => {
            let message = match &email {
                Some(address) => {
                    format!("Set the e-mail address of account {name} to {address}.\n")
                }
                None => format!("Removed the e-mail address of account {name}.\n"),
            };
            let change = AccountChange {
                email: Some(email),
                force: true,
                ..AccountChange::default()
            };
            store.change(&name, &change, now()).await?;
            message
        }
        UserCommand::Roles(name, roles, force) => {
            let change = AccountChange {
                roles: Some(roles),
                force,
                ..AccountChange::default()
            };
            let account = store.change(&name, &change, now()).await?;
            format!(
                "Account {name} now has the roles {}.\n",
                shown_roles(&account)
            )
        }
        UserCommand::Groups(name, groups) => {
            let change = AccountChange {
                groups: Some(groups),
                ..AccountChange::default()
            };
            let account = store.change(&name, &change, now()).await?;
            let groups: Vec<&str> = account.groups.iter().map(GroupName::as_str).collect();
            match groups.is_empty() {
                true => format!("Account {name} is in no group.\n"),
                false => format!(
                    "Account {name} is now in the groups {}.\n",
                    groups.join(", ")
                ),
            }
        }
        UserCommand::ResetFactor(name) => {
            let change = AccountChange {
                reset_factor: true,
                ..AccountChange::default()
            };
            store.change(&name, &change, now()).await?;
            format!("Removed the second factor of account {name} and ended its sessions.\n")
        }
        UserCommand::Disable(name, force) => {
            store.set_disabled(&name, true, force, now()).await?;
            format!("Disabled account {name} and ended its sessions.\n")
        }
        UserCommand::Enable(name) => {
            store.set_disabled(&name, false, true, now()).await?;
            format!("Enabled account {name}.\n")
        }
        UserCommand::Remove(name, force) => {
            store.remove(&name, force).await?;
            format!("Removed account {name} and ended its sessions.\n")
        }
    })
}

/// The roles, with where they count.
fn shown_roles(record: &UserRecord) -> String {
    let texts: Vec<String> = match record.grants.as_slice() {
        [] => record.roles.iter().map(Role::to_string).collect(),
        grants => {
            return grants
                .iter()
                .map(RoleGrant::to_string)
                .collect::<Vec<_>>()
                .join("; ");
        }
    };
    texts.join(", ")
}

async fn list(store: &AccountStore) -> Result<String, AccountStoreError> {
    let accounts = store.list().await?;
    if accounts.is_empty() {
        return Ok(
            "No accounts yet; add one with `galera-console user add NAME --role admin`.\n"
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
        "{:width$}  {:8}  {:32}  {:6}  {:24}  E-MAIL\n",
        "NAME", "STATE", "ROLES", "FACTOR", "CHANGED"
    );
    for (name, record) in accounts {
        let line = match record {
            Ok(record) => {
                let state = match (record.disabled, record.kind) {
                    (true, _) => "disabled",
                    (false, AccountKind::Person) => "enabled",
                    (false, AccountKind::Service) => "service",
                    (false, AccountKind::External) => "external",
                };
                let factor = if record.kind.is_service() {
                    "—"
                } else if record.factor.is_some() {
                    "TOTP"
                } else {
                    "none"
                };
                let roles = shown_roles(&record).replace(", ", ",");
                format!(
                    "{:width$}  {state:8}  {roles:32}  {factor:6}  {:24}  {}\n",
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
