//! `audit verify|export`: the audit trail, read directly from etcd.

use clap::ArgMatches;
use console_core::audit::{AuditError, AuditTrail, to_csv};
use galera::record::audit::{AuditEntry, verify};

use super::connect::{StateAccess, with_state};
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config;
use crate::telemetry;

impl From<AuditError> for CliError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Registry(error) => error.into(),
            AuditError::Damaged { .. } => Self::new(ExitReason::Internal, error),
            AuditError::Contended => Self::new(ExitReason::Unavailable, error),
        }
    }
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let Some((command, matches)) = matches.subcommand() else {
        return Err(CliError::new(
            ExitReason::Usage,
            "no command given; see galera-console audit --help",
        ));
    };
    let format = matches
        .try_get_one::<String>("format")
        .ok()
        .flatten()
        .map_or("json", String::as_str);
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let prefix = config.state_prefix.clone();
    let read = with_state(config, StateAccess::Read, async |registry| {
        Ok(AuditTrail::new(registry, &prefix).read_all().await?)
    });
    let (entries, head) = runtime()?.block_on(read)?;
    match command {
        "export" => export(&entries, format),
        _ => verify_chain(&entries, head.as_ref()),
    }
}

/// One JSON object per line, or CSV; oldest entry first.
fn export(entries: &[AuditEntry], format: &str) -> Result<(), CliError> {
    if format == "csv" {
        return print(&to_csv(entries));
    }
    let mut text = String::new();
    for entry in entries {
        let line = serde_json::to_string(entry);
        text.push_str(&line.map_err(|error| CliError::new(ExitReason::Internal, error))?);
        text.push('\n');
    }
    print(&text)
}

fn verify_chain(entries: &[AuditEntry], head: Option<&AuditEntry>) -> Result<(), CliError> {
    let broken = |why: &dyn std::fmt::Display| {
        CliError::new(
            ExitReason::Internal,
            format!(
                "the audit trail is inconsistent: {why}; keep a copy of etcd's data and find out who modified it"
            ),
        )
    };
    let verified = verify(entries).map_err(|error| broken(&error))?;
    if head.map(|head| head.hash.as_str()) != verified.head.as_deref() {
        return Err(broken(&format!(
            "its head refers to entry {}, but the last one is entry {}",
            head.map_or(0, |head| head.sequence),
            verified.entries
        )));
    }
    let head = verified.head.unwrap_or_else(|| "none".to_owned());
    print(&format!(
        "{} entries verified, the chain is intact. Head: {head}\n",
        verified.entries
    ))
}
