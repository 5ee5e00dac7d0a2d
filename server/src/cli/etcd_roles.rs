//! `etcd-roles print|apply`: the roles that consoles and agents need in etcd.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use galera::ClusterName;
use galera::observe::registration::RegistryKeys;
use registry::{
    AccountChange, Error, EtcdRole, EtcdSettings, KeyPermission, Registry, Secret, role_layout,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config::{self, EtcdConfig, RolesConfig, read_password};
use crate::telemetry;

/// An account of etcd to create or change.
struct RoleAccount {
    name: String,
    role: String,
    password: Secret,
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(usage(
            "no command given; see galera-console etcd-roles --help",
        ));
    };
    let config = config::load_for_roles(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let roles = layout(&config, &agents_of(matches)?);
    match command {
        "apply" => {
            let work = RolesWork {
                roles,
                accounts: accounts(matches)?,
                enable: matches.get_flag("enable-auth"),
                wait: Duration::from_secs(*matches.get_one("wait").unwrap_or(&0)),
            };
            runtime()?.block_on(work.apply(config.etcd))
        }
        _ if matches
            .get_one::<String>("format")
            .is_some_and(|format| format == "json") =>
        {
            print(&to_json(&roles))
        }
        _ => print(&to_commands(&roles)),
    }
}

fn usage(message: impl std::fmt::Display) -> CliError {
    CliError::new(ExitReason::Usage, message)
}

/// The clusters of `--agents-of`.
fn agents_of(matches: &ArgMatches) -> Result<Vec<ClusterName>, CliError> {
    let given = matches
        .get_many::<String>("agents-of")
        .into_iter()
        .flatten();
    given
        .flat_map(|names| names.split(','))
        .map(|name| {
            let parsed = name.trim().parse();
            parsed.map_err(|_| usage(format!("--agents-of: {name:?} is not a valid cluster name")))
        })
        .collect()
}

/// The roles of the consoles, of the agents of each cluster, and of the agent of each expected member.
fn layout(config: &RolesConfig, agents_of: &[ClusterName]) -> Vec<EtcdRole> {
    let keys = RegistryKeys::new(&config.registry_prefix);
    let clusters: BTreeSet<_> = config.clusters.keys().chain(agents_of).collect();
    let mut roles = vec![role_layout::console(&keys, &config.state_prefix)];
    for cluster in clusters {
        roles.push(role_layout::agents(&keys, cluster));
        for node in config.clusters.get(cluster).into_iter().flatten() {
            roles.push(role_layout::agent_of_node(&keys, cluster, node));
        }
    }
    roles
}

fn to_commands(roles: &[EtcdRole]) -> String {
    let mut text =
        "# Run as an account with the role root, e.g. with ETCDCTL_USER=root:PASSWORD.\n"
            .to_owned();
    for role in roles {
        let name = quoted(&role.name);
        text.push_str(&format!("etcdctl role add {name}\n"));
        for permission in &role.permissions {
            let prefix = if permission.is_prefix() {
                "--prefix "
            } else {
                ""
            };
            let (access, key) = (permission.access().as_str(), quoted(&permission.name()));
            text.push_str(&format!(
                "etcdctl role grant-permission {prefix}{name} {access} {key}\n"
            ));
        }
    }
    text.push_str(
        "# An account for each program:\n# etcdctl user add NAME; etcdctl user grant-role NAME ROLE\n# Once, with the accounts of all programs in place:\n# etcdctl user add root; etcdctl user grant-role root root; etcdctl auth enable\n",
    );
    text
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn to_json(roles: &[EtcdRole]) -> String {
    let permission = |permission: &KeyPermission| {
        json!({
            "access": permission.access().as_str(),
            "key": permission.name(),
            "prefix": permission.is_prefix(),
        })
    };
    let role = |role: &EtcdRole| {
        let permissions: Vec<_> = role.permissions.iter().map(permission).collect();
        json!({"name": role.name, "permissions": permissions})
    };
    let roles: Vec<_> = roles.iter().map(role).collect();
    format!("{:#}\n", json!({ "roles": roles }))
}

/// The accounts of `--account NAME:ROLE:FILE`. The role may contain colons.
fn accounts(matches: &ArgMatches) -> Result<Vec<RoleAccount>, CliError> {
    let given = matches.get_many::<String>("account").into_iter().flatten();
    let account = |text: &String| {
        let parts = text.split_once(':').and_then(|(name, rest)| {
            let (role, file) = rest.rsplit_once(':')?;
            (!name.is_empty() && !role.is_empty() && !file.is_empty()).then_some((name, role, file))
        });
        let (name, role, file) = parts.ok_or_else(|| {
            usage(format!("--account: {text:?} is not NAME:ROLE:FILE; use e.g. console:galera-console:/run/secrets/etcd-console"))
        })?;
        let password = read_password(&PathBuf::from(file));
        Ok(RoleAccount {
            name: name.to_owned(),
            role: role.to_owned(),
            password: password.map_err(|error| usage(format!("--account: {error}")))?,
        })
    };
    given.map(account).collect()
}

/// What `apply` is to do.
struct RolesWork {
    roles: Vec<EtcdRole>,
    accounts: Vec<RoleAccount>,
    /// Whether etcd is to require accounts.
    enable: bool,
    /// How long to wait for etcd.
    wait: Duration,
}

impl RolesWork {
    async fn apply(&self, etcd: EtcdConfig) -> Result<(), CliError> {
        let EtcdConfig::Cluster(settings) = etcd else {
            return Err(usage(
                "the embedded etcd has no accounts: it accepts only the console, by its certificate; set --etcd-endpoints",
            ));
        };
        let (registry, required) = connect(*settings, self.wait).await?;
        for role in &self.roles {
            let change = registry.apply_role(role).await.map_err(refused)?;
            print(&format!("Role {}: {}\n", role.name, described(change)))?;
        }
        // `root` last: with its password changed, this connection could not sign in again.
        let is_root = |account: &&RoleAccount| account.name == "root";
        let (root, others): (Vec<_>, Vec<_>) = self.accounts.iter().partition(is_root);
        for account in others.into_iter().chain(root) {
            let (name, role) = (&account.name, &account.role);
            let change = registry.apply_account(name, &account.password, role).await;
            let change = described(change.map_err(refused)?);
            print(&format!("Account {name} with the role {role}: {change}\n"))?;
        }
        if required {
            return Ok(());
        }
        if !self.enable {
            return print(
                "etcd does not require accounts yet: every program that reaches it can change every key. Run this with --enable-auth when every program has its account.\n",
            );
        }
        registry.require_accounts().await.map_err(refused)?;
        print("etcd now requires accounts.\n")
    }
}

/// A connection, as the configured account once etcd requires one; and whether it does.
async fn connect(settings: EtcdSettings, wait: Duration) -> Result<(Registry, bool), CliError> {
    let anonymous = Registry::connect(EtcdSettings {
        user: None,
        password: None,
        ..settings.clone()
    })?;
    let end = Instant::now() + wait;
    let required = loop {
        match anonymous.requires_accounts().await {
            Err(error) if error.is_transient() && Instant::now() < end => {
                sleep(Duration::from_millis(500)).await;
            }
            required => break required?,
        }
    };
    if !required {
        return Ok((anonymous, false));
    }
    if settings.user.is_none() && settings.cert.is_none() {
        return Err(usage(
            "etcd requires an account; set --etcd-user and --etcd-password-file to one with the role root",
        ));
    }
    Ok((Registry::connect(settings)?, true))
}

fn refused(error: Error) -> CliError {
    match error {
        Error::Denied { .. } => CliError::new(
            ExitReason::NoPermission,
            format!(
                "{error}. Roles and accounts are changed by an account with the role root (--etcd-user)"
            ),
        ),
        error => error.into(),
    }
}

const fn described(change: AccountChange) -> &'static str {
    match change {
        AccountChange::Created => "created",
        AccountChange::Changed => "changed",
        AccountChange::Unchanged => "unchanged",
    }
}
