//! `audit verify|export`: the audit trail, read directly from etcd.

mod verify;

use std::path::Path;

use clap::ArgMatches;
use console_core::audit::{ArchiveError, AuditArchive, AuditError, to_csv};
use galera::record::audit::AuditEntry;

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
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    if command == "verify" {
        let expectation = verify::ExpectedTrail::read(matches)?;
        return verify::run(config, &expectation);
    }
    let format = matches
        .get_one::<String>("format")
        .map_or("json", String::as_str);
    let read = with_state(config, StateAccess::Read, async |state| {
        Ok(state.audit_trail().read_all().await?)
    });
    // The directory is checked before etcd is asked.
    let archive = matches.get_one::<String>("archive-dir");
    let archive = archive.map(|directory| AuditArchive::open(Path::new(directory)));
    let archive = archive.transpose()?;
    let (entries, _) = runtime()?.block_on(read)?;
    match archive {
        Some(archive) => export_to(&archive, &entries),
        None => export(&entries, format),
    }
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        let exit = match &error {
            ArchiveError::Io { .. } => ExitReason::Usage,
            ArchiveError::Malformed { .. } | ArchiveError::Differs { .. } => ExitReason::Internal,
        };
        Self::new(exit, error)
    }
}

/// Writes the entries that `archive` does not have, if the trail verifies.
fn export_to(archive: &AuditArchive, entries: &[AuditEntry]) -> Result<(), CliError> {
    verify::check_chain(entries)?;
    let files = archive.store(entries)?;
    let files: Vec<String> = files
        .iter()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    print(&files.concat())
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
