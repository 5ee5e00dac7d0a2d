//! `state show|discard|accept`: what to do about records in etcd that were changed outside the console and are ignored.
//! `state export|import`: a backup of the state, and its restoration.

mod exports;

use std::collections::BTreeMap;

use clap::ArgMatches;
use console_core::acknowledgement::{AlarmAcknowledgement, acknowledge};
use console_core::audit::AuditTrail;
use console_core::clock::now;
use console_core::keyspace::{ActionKeys, log_entry_prefixes, protected_prefixes, protection};
use console_core::record_kind::{RecordKind, describe_content};
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{
    Precondition, Registry, RegistryEntry, TamperCause, TamperedRecord, Transaction,
    TransactionOutcome, WriteOp,
};

use super::connect::{StateAccess, actor, with_state};
use super::{CliError, ExitReason, collect_inputs, print, runtime};
use crate::authority::SealedState;
use crate::config;
use crate::telemetry;

/// Records in one transaction; etcd permits 128 operations, of which the audit entry takes some.
const RECORDS_PER_TRANSACTION: usize = 40;

enum StateCommand {
    Show,
    Discard {
        key: String,
        confirm: Option<String>,
        force: bool,
    },
    Accept {
        confirmed: bool,
        reason: Option<String>,
    },
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    let (command, matches) = match matches.subcommand() {
        Some(("export", matches)) => return exports::export(matches),
        Some(("import", matches)) => return exports::import(matches),
        Some(("show", matches)) => (StateCommand::Show, matches),
        Some(("discard", matches)) => {
            let discard = StateCommand::Discard {
                key: text(matches, "key").unwrap_or_default(),
                confirm: text(matches, "confirm"),
                force: matches.get_flag("force"),
            };
            (discard, matches)
        }
        Some(("accept", matches)) => {
            let accept = StateCommand::Accept {
                confirmed: matches.get_flag("confirm"),
                reason: text(matches, "reason"),
            };
            (accept, matches)
        }
        _ => {
            return Err(usage("no command given; see galera-console state --help"));
        }
    };
    let config = config::load_for_admin(&collect_inputs(matches)?)?;
    telemetry::init(&config.log);
    if config.state_secret.is_none() {
        return Err(usage(
            "records are not sealed here, so that none can be recognized as changed; set --state-secret-file",
        ));
    }
    let access = match command {
        StateCommand::Show => StateAccess::Read,
        StateCommand::Discard { .. } | StateCommand::Accept { .. } => StateAccess::Write,
    };
    let done = with_state(config, access, async |state| {
        let records = IgnoredRecords::read(&state).await?;
        match command {
            StateCommand::Show => records.show().await,
            StateCommand::Discard {
                key,
                confirm,
                force,
            } => records.discard(&key, confirm.as_deref(), force).await,
            StateCommand::Accept { confirmed, reason } => {
                records.accept(confirmed, reason.as_deref()).await
            }
        }
    });
    print(&runtime()?.block_on(done)?)
}

fn usage(message: impl std::fmt::Display) -> CliError {
    CliError::new(ExitReason::Usage, message)
}

/// The records that are ignored, as this command finds them.
struct IgnoredRecords {
    registry: Registry,
    trail: AuditTrail,
    state_prefix: String,
    records: Vec<TamperedRecord>,
    /// Further ones that are only counted.
    unlisted: usize,
}

impl IgnoredRecords {
    async fn read(state: &SealedState) -> Result<Self, CliError> {
        let prefixes = protected_prefixes(state.state_prefix());
        for prefix in prefixes.chain(log_entry_prefixes(state.state_prefix())) {
            state.registry.list(prefix).await?;
        }
        let tampered = state.registry.tampered();
        Ok(Self {
            registry: state.registry.clone(),
            trail: state.audit_trail(),
            state_prefix: state.state_prefix().to_owned(),
            records: tampered.records.clone(),
            unlisted: tampered.unlisted,
        })
    }

    async fn stored(&self, key: &str) -> Result<Option<RegistryEntry>, CliError> {
        Ok(self.registry.unsealed().get(key).await?)
    }

    /// What the record at `key` is, in one line.
    async fn describe(&self, key: &str) -> Result<String, CliError> {
        let kind = RecordKind::of(&self.state_prefix, key);
        let stored = self.stored(key).await?;
        let Some(stored) = stored else {
            return Ok(format!("{kind}; not in etcd"));
        };
        let content = self.registry.open_stored(&stored);
        Ok(match content {
            Ok(Some(content)) => match describe_content(kind, &content) {
                Some(content) => format!("{kind}: {content}"),
                None => kind.to_string(),
            },
            Ok(None) => format!("{kind}; a note that it was removed"),
            // Its content proves nothing, and could contain anything.
            Err(_) => format!("{kind}; {} bytes that no console wrote", stored.value.len()),
        })
    }

    async fn show(&self) -> Result<String, CliError> {
        let mut text = String::new();
        if let Some(restored) = self.registry.restored() {
            text.push_str(&format!(
                "An earlier state of etcd was restored: its revision fell from {} to {}, found at {}.\n",
                restored.seen, restored.found, restored.at
            ));
        }
        for record in &self.records {
            let description = self.describe(&record.key).await?;
            text.push_str(&format!(
                "{}\n  {description}\n  ignored: {}; {}\n",
                record.key,
                record.reason,
                remedy(&self.state_prefix, record)
            ));
        }
        if text.is_empty() {
            text.push_str("Every record is genuine, as far as this host has seen.\n");
        }
        Ok(text)
    }

    async fn discard(
        &self,
        key: &str,
        confirm: Option<&str>,
        force: bool,
    ) -> Result<String, CliError> {
        if protection(&self.state_prefix, key.as_bytes()).is_none() {
            return Err(usage(format!(
                "{key} is not the key of a sealed record below {}; galera-console state show lists those that are ignored",
                self.state_prefix
            )));
        }
        let kind = RecordKind::of(&self.state_prefix, key);
        if let Some(remedy) = kind.other_remedy(key) {
            return Err(usage(format!("{key} is not discarded: {remedy}")));
        }
        let ignored = self.records.iter().find(|record| record.key == key);
        let reason = match ignored {
            Some(record) => record.reason.clone(),
            None if self.stored(key).await?.is_none() => {
                return Err(usage(format!("{key} does not exist; nothing was changed")));
            }
            None if !force => {
                return Err(usage(format!(
                    "{key} is genuine, as far as this command can see ({}); if a console reports that it ignores the record, repeat with --force",
                    self.describe(key).await?
                )));
            }
            None => "a console reported that it ignores the record".to_owned(),
        };
        let description = self.describe(key).await?;
        if confirm != Some(key) {
            return Err(usage(format!(
                "{key}\n  {description}\n  {reason}\nNothing was changed. To remove it for good, repeat with --confirm {key}"
            )));
        }
        let audit = AuditRecord {
            at: now(),
            actor: actor(),
            event: AuditEvent::RECORD_DISCARDED,
            cluster: None,
            subject: Some(key.to_owned()),
            detail: BTreeMap::from([
                ("kind".to_owned(), kind.to_string()),
                ("reason".to_owned(), reason),
                ("content".to_owned(), description),
            ]),
        };
        let mut transaction = match ignored {
            // What is ignored is replaced like something absent.
            Some(_) => Transaction::new().when(Precondition::Absent(key.into())),
            None => Transaction::new(),
        }
        .then([WriteOp::delete(key)]);
        let mut message = format!("Removed {key}.\n");
        if let Some(open) = self.open_key_of(kind, key).await? {
            // Otherwise the cluster would wait for this action.
            message.push_str(&format!("Removed {open}, which named it.\n"));
            transaction = transaction.then([WriteOp::delete(open)]);
        }
        self.commit(&transaction, audit).await?;
        Ok(message)
    }

    /// The key that says that the action at `key` is open.
    async fn open_key_of(&self, kind: RecordKind, key: &str) -> Result<Option<String>, CliError> {
        if kind != RecordKind::Action {
            return Ok(None);
        }
        let keys = ActionKeys::new(&self.state_prefix);
        let Some(id) = key.strip_prefix(&keys.actions_prefix()) else {
            return Ok(None);
        };
        let open = self.registry.list(keys.open_actions_prefix()).await?;
        let naming = open
            .entries
            .into_iter()
            .find(|entry| entry.value == id.as_bytes());
        Ok(naming.map(|entry| String::from_utf8_lossy(&entry.key).into_owned()))
    }

    async fn accept(&self, confirmed: bool, reason: Option<&str>) -> Result<String, CliError> {
        let acceptable: Vec<&TamperedRecord> = self
            .records
            .iter()
            .filter(|record| matches!(record.cause, TamperCause::Older | TamperCause::Missing))
            .filter(|record| {
                let kind = RecordKind::of(&self.state_prefix, &record.key);
                // An older token may have been revoked since.
                kind.is_acceptable()
                    && !(kind == RecordKind::Token && record.cause == TamperCause::Older)
            })
            .collect();
        let credentials = self.records.iter().filter(|record| {
            let kind = RecordKind::of(&self.state_prefix, &record.key);
            record.cause == TamperCause::Older
                && matches!(kind, RecordKind::Session | RecordKind::Token)
        });
        let (Some(reason), true) = (reason.filter(|reason| !reason.trim().is_empty()), confirmed)
        else {
            let mut text = self.show().await?;
            text.push_str(&format!(
                "Nothing was changed. To let {} of these records count as etcd holds them, the missing ones as removed, repeat with --confirm --reason TEXT",
                acceptable.len()
            ));
            return Err(usage(text));
        };
        let mut message = String::new();
        for records in acceptable.chunks(RECORDS_PER_TRANSACTION) {
            message.push_str(&self.accept_records(records, reason).await?);
        }
        for credential in credentials {
            // Sessions and tokens are never accepted: each ends.
            if let Some(stored) = self.stored(&credential.key).await? {
                let registry = self.registry.unsealed();
                let key = credential.key.as_str();
                registry.delete_if(key, stored.mod_revision).await?;
            }
        }
        let acknowledgement = AlarmAcknowledgement {
            at: now(),
            actor: actor(),
            reason: reason.to_owned(),
        };
        if self.unlisted > 0 {
            // Alarms end when nothing is left.
            message.push_str(&format!(
                "{} more records are ignored; run the command again.\n",
                self.unlisted
            ));
            return Ok(message);
        }
        acknowledge(&self.trail, &self.state_prefix, &acknowledgement).await?;
        self.registry.accept_restore();
        message.push_str("Every replica ends its alarms.\n");
        Ok(message)
    }

    /// Writes `records` again with versions above all that were seen, so that every replica accepts them.
    async fn accept_records(
        &self,
        records: &[&TamperedRecord],
        reason: &str,
    ) -> Result<String, CliError> {
        let mut transaction = Transaction::new();
        let mut message = String::new();
        for record in records {
            let key = record.key.as_str();
            let content = match self.stored(key).await? {
                Some(stored) => self.registry.open_stored(&stored).map_err(|reason| {
                    CliError::new(
                        ExitReason::Unavailable,
                        format!(
                            "{key} was changed in the meantime: {reason}; run the command again"
                        ),
                    )
                })?,
                None => None,
            };
            let write = match content {
                Some(content) => {
                    message.push_str(&format!("Accepted {key}.\n"));
                    WriteOp::put(key, content, None)
                }
                None => {
                    message.push_str(&format!("Accepted that {key} is missing.\n"));
                    WriteOp::delete(key)
                }
            };
            transaction = transaction
                .when(Precondition::Absent(key.into()))
                .then([write]);
        }
        let keys: Vec<&str> = records.iter().map(|record| record.key.as_str()).collect();
        let audit = AuditRecord {
            at: now(),
            actor: actor(),
            event: AuditEvent::RECORDS_ACCEPTED,
            cluster: None,
            subject: None,
            detail: BTreeMap::from([
                ("keys".to_owned(), keys.join(", ")),
                ("reason".to_owned(), reason.to_owned()),
            ]),
        };
        self.commit(&transaction, audit).await?;
        Ok(message)
    }

    async fn commit(&self, transaction: &Transaction, audit: AuditRecord) -> Result<(), CliError> {
        match self.trail.commit(transaction, &[audit]).await? {
            TransactionOutcome::Committed { .. } => Ok(()),
            TransactionOutcome::Refused { .. } => Err(CliError::new(
                ExitReason::Unavailable,
                "the records were changed in the meantime; nothing was changed, run the command again",
            )),
        }
    }
}

/// What an operator can do about `record`.
fn remedy(state_prefix: &str, record: &TamperedRecord) -> String {
    let kind = RecordKind::of(state_prefix, &record.key);
    if let Some(remedy) = kind.other_remedy(&record.key) {
        return remedy;
    }
    match record.cause {
        TamperCause::Forged | TamperCause::UnknownSecret => {
            format!("remove it with galera-console state discard {}", record.key)
        }
        TamperCause::Older | TamperCause::Missing => format!(
            "after a restoration on purpose, galera-console state accept; else galera-console state discard {}",
            record.key
        ),
    }
}
