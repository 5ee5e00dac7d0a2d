//! `token …`: manages API tokens directly in etcd.

use std::io::Write;
use std::time::Duration;

use accounts::{NewToken, TokenId, TokenStore, TokenStoreError, UserName};
use clap::ArgMatches;
use console_core::clock::now;
use console_core::keyspace::AccountKeys;
use galera::access::{ClusterScope, Role};
use galera::publish::accounts::TokenView;

use super::connect::{StateAccess, actor, with_state};
use super::user::{clusters, roles};
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config::{self, AdminConfig};
use crate::telemetry;

impl From<TokenStoreError> for CliError {
    fn from(error: TokenStoreError) -> Self {
        let exit = match error {
            TokenStoreError::Registry(error) => return error.into(),
            TokenStoreError::Audit(error) => return error.into(),
            TokenStoreError::Contended => ExitReason::Unavailable,
            _ => ExitReason::Usage,
        };
        Self::new(exit, error)
    }
}

/// A command with its validated arguments.
enum TokenCommand {
    Add {
        account: UserName,
        name: String,
        roles: Vec<Role>,
        clusters: ClusterScope,
        days: u32,
    },
    List(Option<UserName>),
    Remove(TokenId),
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(CliError::new(
            ExitReason::Usage,
            "no command given; see galera-console token --help",
        ));
    };
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let command = parse_command(command, matches)?;
    runtime()?.block_on(execute(command, config))
}

fn parse_command(command: &str, matches: &ArgMatches) -> Result<TokenCommand, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::new(ExitReason::Usage, error);
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let account = |text: &str| text.parse::<UserName>().map_err(|error| usage(&error));
    Ok(match command {
        "add" => TokenCommand::Add {
            account: account(text("account").unwrap_or_default())?,
            name: text("name").unwrap_or_default().to_owned(),
            roles: roles(matches)?,
            clusters: clusters(matches)?.unwrap_or_default(),
            days: *matches.get_one("days").unwrap_or(&0),
        },
        "list" => TokenCommand::List(text("account").map(account).transpose()?),
        "remove" => {
            let id = text("id").unwrap_or_default().parse();
            TokenCommand::Remove(id.map_err(|error: accounts::TokenIdError| usage(&error))?)
        }
        other => {
            return Err(usage(&format!(
                "unknown command {other}; see galera-console token --help"
            )));
        }
    })
}

async fn execute(command: TokenCommand, config: AdminConfig) -> Result<(), CliError> {
    let prefix = config.state_prefix.clone();
    let lifetime_max = config.token_lifetime_max;
    let done = with_state(config, StateAccess::Write, async |state| {
        let store = TokenStore::new(state.registry.clone(), &prefix, state.audit_trail())
            .acting_as(&actor())
            .with_lifetime_max(lifetime_max);
        let mut output = apply(command, &store).await?;
        let tampered = state.registry.tampered();
        for record in tampered.below(&AccountKeys::new(&prefix).tokens()) {
            output.notes.push_str(&format!(
                "{} was changed outside the console and is ignored: {}\n",
                record.key, record.reason
            ));
        }
        Ok(output)
    })
    .await;
    let TokenOutput { result, notes } = done?;
    print(&result)?;
    // A closed standard error is no reason to fail: the token exists.
    let _ = std::io::stderr().write_all(notes.as_bytes());
    Ok(())
}

/// What a command prints.
struct TokenOutput {
    /// For standard output: a new token alone, so that it can be redirected to a file.
    result: String,
    /// For standard error.
    notes: String,
}

async fn apply(command: TokenCommand, store: &TokenStore) -> Result<TokenOutput, TokenStoreError> {
    let at = now();
    let mut notes = String::new();
    let result = match command {
        TokenCommand::Add {
            account,
            name,
            roles,
            clusters,
            days,
        } => {
            let new = NewToken {
                name,
                roles,
                clusters,
                expires_at: at.plus(Duration::from_secs(u64::from(days) * 86_400)),
            };
            let created = store.create(&account, new, at).await?;
            notes = format!(
                "This is token {} of {account}, valid until {}. It is shown only now.\n",
                created.view.id, created.view.expires_at
            );
            format!("{}\n", created.secret)
        }
        TokenCommand::List(account) => table(&store.list(account.as_ref(), at).await?),
        TokenCommand::Remove(id) => {
            store.revoke(&id, at).await?;
            format!("Revoked token {id}; it no longer permits anything.\n")
        }
    };
    Ok(TokenOutput { result, notes })
}

fn table(tokens: &[TokenView]) -> String {
    if tokens.is_empty() {
        return "No tokens; create one with `galera-console token add ACCOUNT NAME --role viewer --days 90`.\n"
            .to_owned();
    }
    let width = |column: fn(&TokenView) -> usize, title: usize| {
        tokens.iter().map(column).max().unwrap_or(0).max(title)
    };
    let account = width(|token| token.account.len(), 7);
    let name = width(|token| token.name.len(), 4);
    let mut text = format!(
        "{:16}  {:account$}  {:name$}  {:7}  {:24}  {:24}  {:20}  CLUSTERS\n",
        "ID", "ACCOUNT", "NAME", "STATE", "EXPIRES", "LAST USED", "ROLES"
    );
    for token in tokens {
        let roles: Vec<&str> = token.roles.iter().map(|role| role.as_str()).collect();
        let used = token
            .last_used_at
            .map_or("never".to_owned(), |at| at.to_string());
        text.push_str(&format!(
            "{:16}  {:account$}  {:name$}  {:7}  {:24}  {used:24}  {:20}  {}\n",
            token.id,
            token.account,
            token.name,
            token.state.as_str(),
            token.expires_at.to_string(),
            roles.join(","),
            token.clusters
        ));
    }
    text
}
