//! `state export|import`: the console's durable records in one file, encrypted with the state secret.
//!
//! A file is a line of JSON ([`ExportHeader`]), then the encrypted, compressed records. Records are copied as they are in etcd,
//! with their seals, so an import can add or change none.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use clap::ArgMatches;
use console_core::clock::now;
use console_core::keyspace::{ActionKeys, NotifyKeys, log_entry_prefixes, protected_prefixes};
use console_core::state_format::StateFormat;
use data_encoding::BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};
use serde::{Deserialize, Serialize};

use super::usage;
use crate::authority::SealedState;
use crate::cli::connect::{StateAccess, actor, with_state};
use crate::cli::output_file::write_new;
use crate::cli::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::config;
use crate::telemetry;

/// What every exported file begins with.
const FORMAT: &str = "galera-console state";
/// The version of the format.
const VERSION: u32 = 1;
/// Bytes of a header; a longer first line is another file.
const HEADER_MAX: usize = 4 * 1024;
/// Bytes of a file; etcd holds 8 GiB at most, and compressed records are smaller.
const FILE_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Records and bytes of one transaction, below the limits of etcd.
const RECORDS_PER_TRANSACTION: usize = 100;
const BYTES_PER_TRANSACTION: usize = 512 * 1024;

/// The first line of a file; authenticated with the records.
#[derive(Debug, Serialize, Deserialize)]
struct ExportHeader {
    format: String,
    version: u32,
    /// The version of the console that exported.
    console: String,
    exported_at: Timestamp,
    state_prefix: String,
    /// Names the secret.
    secret: String,
    records: usize,
    /// The format of the records. Files of development versions before the format had a number do not name it; version 0.1
    /// exports nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<StateFormat>,
}

/// A key below the state prefix and its value, in base 64.
type ExportedRecord = (String, String);
/// A key below the state prefix and its value.
type StoredRecord = (String, Vec<u8>);

pub(super) fn export(matches: &ArgMatches) -> Result<(), CliError> {
    let path = file_of(matches);
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let exported = with_state(config, StateAccess::Write, async |state| {
        export_to(&state, &path).await
    });
    print(&runtime()?.block_on(exported)?)
}

pub(super) fn import(matches: &ArgMatches) -> Result<(), CliError> {
    let path = file_of(matches);
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    let imported = with_state(config, StateAccess::Read, async |state| {
        import_from(&state, &path).await
    });
    print(&runtime()?.block_on(imported)?)
}

fn file_of(matches: &ArgMatches) -> String {
    let file = matches.get_one::<String>("file");
    file.cloned().unwrap_or_default()
}

fn no_secret() -> CliError {
    usage("an exported state is encrypted with the state secret; set --state-secret-file")
}

async fn export_to(state: &SealedState, path: &str) -> Result<String, CliError> {
    let secrets = state.secrets().ok_or_else(no_secret)?;
    let prefixes = protected_prefixes(state.state_prefix());
    for prefix in prefixes.chain(log_entry_prefixes(state.state_prefix())) {
        state.registry.list(prefix).await?;
    }
    let ignored = state.registry.tampered();
    if let Some(record) = ignored.records.first() {
        return Err(usage(format!(
            "{} was changed outside the console, and an export would keep that; nothing was written. galera-console state show lists the remedies",
            record.key
        )));
    }
    let (records, left_out) = read_records(state).await?;
    let header = ExportHeader {
        format: FORMAT.to_owned(),
        version: VERSION,
        console: env!("CARGO_PKG_VERSION").to_owned(),
        exported_at: now(),
        state_prefix: state.state_prefix().to_owned(),
        secret: secrets.newest().kid().to_owned(),
        records: records.len(),
        state: Some(StateFormat::of_this_version()),
    };
    let line = serde_json::to_vec(&header).map_err(internal)?;
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut compressed, &records).map_err(internal)?;
    let content = compressed.finish().map_err(internal)?;
    let encrypted = secrets.encrypt_export(&line, content)?;
    write_new(path, &[&line, &b"\n"[..], &encrypted])?;
    let detail = BTreeMap::from([
        ("records".to_owned(), records.len().to_string()),
        ("file".to_owned(), path.to_owned()),
    ]);
    audit(state, AuditEvent::STATE_EXPORTED, detail).await?;
    Ok(format!(
        "Exported {} records to {path}, encrypted with the state secret {}: keep a copy of the secret elsewhere.\nNot exported: {left_out} keys of sessions, API tokens, open actions, queued notifications and running consoles.\n",
        records.len(),
        header.secret
    ))
}

/// The durable records, and how many keys are left out.
///
/// Open actions and queued notifications are: what was approved must not be carried out a second time, and what was sent not be
/// sent again.
async fn read_records(state: &SealedState) -> Result<(Vec<ExportedRecord>, usize), CliError> {
    let keys = ActionKeys::new(state.state_prefix());
    let outbox = NotifyKeys::new(state.state_prefix()).outbox();
    let registry = state.registry.unsealed();
    let open = state.registry.list(keys.open_actions_prefix()).await?;
    let mut open_keys = BTreeSet::new();
    for entry in open.entries {
        let id = String::from_utf8_lossy(&entry.value).into_owned();
        open_keys.insert(format!("{}{id}", keys.actions_prefix()));
    }
    let (prefix, mut records, mut left_out) = (root(state), Vec::new(), 0);
    for entry in registry.list(prefix.clone()).await?.entries {
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        let is_open = open_keys.contains(&key)
            || key.starts_with(&keys.open_actions_prefix())
            || key.starts_with(&outbox);
        let below = key.strip_prefix(&prefix).filter(|_| !is_open);
        match below {
            Some(below) if entry.lease == 0 => {
                records.push((below.to_owned(), BASE64.encode(&entry.value)));
            }
            _ => left_out += 1,
        }
    }
    Ok((records, left_out))
}

/// The prefix of every key of the state.
fn root(state: &SealedState) -> String {
    format!("{}/", state.state_prefix().trim_end_matches('/'))
}

fn internal(error: impl std::fmt::Display) -> CliError {
    CliError::new(ExitReason::Internal, error)
}

async fn import_from(state: &SealedState, path: &str) -> Result<String, CliError> {
    let (header, records) = read_file(state, path)?;
    let (registry, prefix) = (state.registry.unsealed(), root(state));
    let present = registry.list(prefix.clone()).await?.entries.len();
    if present > 0 {
        return Err(usage(format!(
            "etcd has {present} keys below {prefix}, and an import would mix two states; nothing was changed. Stop every console, remove these keys with `etcdctl del --prefix {prefix}`, or import with another etcd"
        )));
    }
    if let Err(error) = write_records(&registry, &prefix, &records).await {
        let removed = remove_records(&registry, &prefix, &records).await;
        let rest = match removed {
            Ok(()) => "what had been written was removed".to_owned(),
            Err(_) => format!("remove what was written with `etcdctl del --prefix {prefix}`"),
        };
        return Err(CliError::new(
            error.exit,
            format!("{}; {rest}, then run the command again", error.message),
        ));
    }
    // Compares the secret with the imported records, and permits writing.
    state
        .establish()
        .await
        .map_err(crate::authority::StateSecretError::from)?;
    let detail = BTreeMap::from([
        ("records".to_owned(), records.len().to_string()),
        ("exported_at".to_owned(), header.exported_at.to_string()),
        ("console".to_owned(), header.console),
    ]);
    audit(state, AuditEvent::STATE_IMPORTED, detail).await?;
    state.save_seen(&state.audit_trail()).await;
    Ok(format!(
        "Imported {} records of {}. Sign in again, and create new API tokens.\nA host that has seen later records reports them as missing or older: see galera-console state show.\n",
        records.len(),
        header.exported_at
    ))
}

/// The header and the records of a file, verified.
fn read_file(
    state: &SealedState,
    path: &str,
) -> Result<(ExportHeader, Vec<StoredRecord>), CliError> {
    let secrets = state.secrets().ok_or_else(no_secret)?;
    let failed = |error: std::io::Error| usage(format!("cannot read {path}: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let end = bytes
        .iter()
        .take(HEADER_MAX)
        .position(|byte| *byte == b'\n');
    let header = end.and_then(|end| {
        let header: ExportHeader = serde_json::from_slice(&bytes[..end]).ok()?;
        (header.format == FORMAT).then_some((end, header))
    });
    let Some((end, header)) = header else {
        return Err(usage(format!(
            "{path} is not a file of galera-console state export"
        )));
    };
    if header.version != VERSION {
        return Err(usage(format!(
            "{path} has version {} of the format, and this console reads {VERSION}; import it with a console of version {}",
            header.version, header.console
        )));
    }
    let checked = header.state.as_ref().map(|found| found.check(path));
    checked.transpose().map_err(usage)?;
    if !secrets.contains(&header.secret) {
        return Err(usage(format!(
            "{path} is encrypted with the state secret {}, and --state-secret-file has {}; set the secret that was used then, as the second one if it was rotated since",
            header.secret,
            secrets.kids()
        )));
    }
    if header.state_prefix.trim_end_matches('/') != state.state_prefix().trim_end_matches('/') {
        return Err(usage(format!(
            "{path} is a state below {}, and seals are bound to their keys; import it with --state-prefix {}",
            header.state_prefix, header.state_prefix
        )));
    }
    let damaged = || {
        usage(format!(
            "{path} was changed or cut since it was exported; nothing was changed. Use another copy"
        ))
    };
    let content = secrets
        .decrypt_export(&header.secret, &bytes[..end], &bytes[end + 1..])
        .ok_or_else(damaged)?;
    let records: Vec<ExportedRecord> =
        serde_json::from_reader(GzDecoder::new(content.as_slice())).map_err(|_| damaged())?;
    let records = records.into_iter().map(|(key, value)| {
        let value = BASE64.decode(value.as_bytes()).map_err(|_| damaged())?;
        Ok((key, value))
    });
    Ok((header, records.collect::<Result<_, CliError>>()?))
}

async fn write_records(
    registry: &Registry,
    prefix: &str,
    records: &[StoredRecord],
) -> Result<(), CliError> {
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take(RECORDS_PER_TRANSACTION)
            .take_while(|(key, value)| {
                bytes += key.len() + value.len();
                bytes <= BYTES_PER_TRANSACTION
            })
            .count();
        let (batch, others) = rest.split_at(fitting.max(1));
        let mut transaction = Transaction::new();
        for (key, value) in batch {
            let key = format!("{prefix}{key}");
            transaction = transaction
                .when(Precondition::Absent(key.clone().into_bytes()))
                .then([WriteOp::put(key, value.clone(), None)]);
        }
        match registry.transact(&transaction).await? {
            TransactionOutcome::Committed { .. } => rest = others,
            TransactionOutcome::Refused { .. } => {
                return Err(CliError::new(
                    ExitReason::Unavailable,
                    format!("a console wrote below {prefix} in the meantime; stop every console"),
                ));
            }
        }
    }
    Ok(())
}

/// Removes what an import that failed has written.
async fn remove_records(
    registry: &Registry,
    prefix: &str,
    records: &[StoredRecord],
) -> Result<(), CliError> {
    for batch in records.chunks(RECORDS_PER_TRANSACTION) {
        let deletes = batch
            .iter()
            .map(|(key, _)| WriteOp::delete(format!("{prefix}{key}")));
        let transaction = Transaction::new().then(deletes.collect::<Vec<_>>());
        registry.transact(&transaction).await?;
    }
    Ok(())
}

async fn audit(
    state: &SealedState,
    event: AuditEvent,
    detail: BTreeMap<String, String>,
) -> Result<(), CliError> {
    let record = AuditRecord {
        at: now(),
        actor: actor(),
        event,
        cluster: None,
        subject: None,
        detail,
    };
    let trail = state.audit_trail();
    trail.commit(&Transaction::new(), &[record]).await?;
    Ok(())
}
