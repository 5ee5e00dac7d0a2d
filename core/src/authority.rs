//! The authority record: since when, and with which secret, the records below a state prefix are sealed.
//!
//! It is established once, when records are sealed for the first time. Plain records that exist by then are sealed
//! (migrated) only while there is no authority record, no sealed record and no local note of an earlier migration: later,
//! a plain record is one that was put there by another program.

mod secrets_in_turn;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use galera::Timestamp;
use galera::record::audit::{AuditEvent, AuditRecord};
use registry::{
    CreateOutcome, Error, Precondition, Registry, RegistryEntry, Transaction, TransactionOutcome,
    WriteOp,
};
use serde::{Deserialize, Serialize};

use crate::audit::{AuditError, AuditTrail};
use crate::clock::now;
use crate::delivery_seal::seal_stored;
use crate::keyspace::{
    self, SEALING_SCOPE, log_entry_prefixes, protected_prefixes, protection, sealed_since_scope,
};
use crate::state_format::StateFormatError;
use crate::state_secret::{StateSecrets, sealed_with};

/// Attempts to establish the authority record concurrently with other replicas.
const ATTEMPTS: usize = 10;

/// Whether plain records are sealed on the first start with a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Once: the records of a console that had no secret.
    #[default]
    Once,
    /// Never: plain records are ignored.
    Never,
}

/// Why records cannot be trusted with the given secrets.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There are sealed records and no secret.
    #[error(
        "the records below {prefix} in etcd are sealed with the state secret {kid}; give its file with --state-secret-file"
    )]
    SecretRequired { prefix: String, kid: String },
    /// The records are sealed with another secret.
    #[error(
        "the records below {prefix} in etcd are sealed with the state secret {needed}, but the file has {given}; give the \
         file of the other replicas with --state-secret-file"
    )]
    UnknownSecret {
        prefix: String,
        needed: String,
        given: String,
    },
    /// A newer console has written what this one would misread.
    #[error(transparent)]
    Format(StateFormatError),
    /// etcd failed.
    #[error(transparent)]
    Registry(#[from] Error),
    /// The audit trail failed.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl AuthorityError {
    /// Whether a later attempt may succeed without another configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::SecretRequired { .. } | Self::UnknownSecret { .. } => false,
            Self::Format(error) => error.is_transient(),
            Self::Registry(error) | Self::Audit(AuditError::Registry(error)) => {
                error.is_transient()
            }
            Self::Audit(_) => true,
        }
    }
}

impl From<StateFormatError> for AuthorityError {
    fn from(error: StateFormatError) -> Self {
        match error {
            StateFormatError::Registry(error) => Self::Registry(error),
            error => Self::Format(error),
        }
    }
}

/// The record at `authority`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AuthorityRecord {
    /// Since when records are sealed.
    since: Timestamp,
    /// The secret with which that began.
    kid: String,
    /// The secrets that sealed records in turn, oldest first. The last one is in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    /// While plain records are being sealed: the etcd revision up to which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    migrating_up_to: Option<i64>,
    /// Which records are sealed ([`SEALING_SCOPE`]).
    #[serde(default = "first_scope")]
    scope: u32,
    /// While plain records are being sealed: those that earlier scopes lack; 0 for all.
    #[serde(default)]
    former_scope: u32,
}

/// The scope of consoles that did not record it.
fn first_scope() -> u32 {
    1
}

/// Checks that nothing below `state_prefix` is sealed, for a process without a secret.
///
/// # Errors
/// [`AuthorityError::SecretRequired`]; etcd errors.
pub async fn check_unsealed(registry: &Registry, state_prefix: &str) -> Result<(), AuthorityError> {
    let found = survey(registry, state_prefix).await?;
    match found.sealed.first() {
        None => Ok(()),
        Some((_, kid)) => Err(AuthorityError::SecretRequired {
            prefix: state_prefix.to_owned(),
            kid: kid.clone(),
        }),
    }
}

/// What makes the records below a state prefix trustworthy.
#[derive(Clone, Debug)]
pub struct RecordAuthority {
    /// The connection that seals with `secrets`.
    pub registry: Registry,
    pub state_prefix: String,
    pub secrets: StateSecrets,
    pub migration: MigrationPolicy,
    /// The file of the secrets, beside which a migration is noted.
    pub secret_file: Option<PathBuf>,
    /// Who appears in the audit trail.
    pub actor: String,
}

/// The stored values of protected keys.
struct StoredRecords {
    plain: Vec<RegistryEntry>,
    /// With the names of their secrets; the authority record first.
    sealed: Vec<(RegistryEntry, String)>,
    /// The revision of the last listing.
    revision: i64,
}

/// The protected records, without entries of logs.
async fn survey(registry: &Registry, state_prefix: &str) -> Result<StoredRecords, Error> {
    survey_below(registry, state_prefix, protected_prefixes(state_prefix)).await
}

async fn survey_below(
    registry: &Registry,
    state_prefix: &str,
    prefixes: impl Iterator<Item = String>,
) -> Result<StoredRecords, Error> {
    let stored = registry.unsealed();
    let mut found = StoredRecords {
        plain: Vec::new(),
        sealed: Vec::new(),
        revision: 0,
    };
    for prefix in prefixes {
        let listing = stored.list(prefix).await?;
        found.revision = listing.revision;
        for entry in listing.entries {
            if protection(state_prefix, &entry.key).is_none() {
                continue;
            }
            match sealed_with(&entry.value) {
                Some(kid) => found.sealed.push((entry, kid)),
                None => found.plain.push(entry),
            }
        }
    }
    Ok(found)
}

impl RecordAuthority {
    /// Establishes the authority record, and seals plain records if this is the first start with a secret. Safe to repeat,
    /// and concurrently with other replicas.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn establish(&self) -> Result<(), AuthorityError> {
        self.registry.check_secret().await?;
        let key = keyspace::authority(&self.state_prefix);
        for _ in 0..ATTEMPTS {
            let stored = self.registry.unsealed().get(key.as_str()).await?;
            let Some(stored) = stored else {
                if self.create(&key).await? {
                    return Ok(());
                }
                continue;
            };
            let kid = sealed_with(&stored.value);
            let Some(kid) = kid.filter(|kid| self.secrets.contains(kid)) else {
                self.refuse_if_followed().await?;
                // Also a forged record has this effect, unless others prove that the secret is the right one.
                let found = survey(&self.registry, &self.state_prefix).await?;
                if !found.sealed.is_empty() {
                    self.check_secret(&found).await?;
                }
                tracing::error!(
                    "The authority record {key} in etcd was changed outside the console"
                );
                return Ok(());
            };
            let (record, revision) = match self.registry.get(key.as_str()).await {
                Ok(Some(entry)) => (
                    serde_json::from_slice(&entry.value).ok(),
                    entry.mod_revision,
                ),
                Ok(None) => continue,
                // Reported like every other tampered record; nothing is migrated.
                Err(Error::Tampered { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let record: Option<AuthorityRecord> = record;
            if let Some(record) = &record
                && self.follow_secret(&key, record, &kid, revision).await?
            {
                continue;
            }
            match record {
                Some(record) if record.migrating_up_to.is_some() => {
                    if self.migrate(&key, record, revision).await? {
                        return Ok(());
                    }
                }
                Some(record) if record.scope < SEALING_SCOPE => {
                    self.extend_scope(&key, record, revision).await?;
                }
                _ => {
                    self.note_migration();
                    return Ok(());
                }
            }
        }
        Err(AuditError::Contended.into())
    }

    /// Checks that the records are sealed with one of the secrets, if they are sealed; writes nothing.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub async fn check(&self) -> Result<(), AuthorityError> {
        let found = survey(&self.registry, &self.state_prefix).await?;
        if found.sealed.is_empty() {
            return Ok(());
        }
        self.registry.check_secret().await?;
        self.check_secret(&found).await
    }

    /// Creates the authority record; returns whether nothing is left to do.
    async fn create(&self, key: &str) -> Result<bool, AuthorityError> {
        let found = survey(&self.registry, &self.state_prefix).await?;
        if !found.sealed.is_empty() {
            self.check_secret(&found).await?;
            tracing::warn!(
                "The authority record {key} is missing in etcd, although records are sealed; it is created again"
            );
        }
        let migrates = found.sealed.is_empty()
            && !found.plain.is_empty()
            && self.migration == MigrationPolicy::Once
            && !self.is_noted(1);
        if !found.plain.is_empty() && !migrates {
            tracing::warn!(
                records = found.plain.len(),
                "{} records in etcd are not sealed and are ignored; they were not written by a console with this state secret",
                found.plain.len()
            );
        }
        let record = AuthorityRecord {
            since: now(),
            kid: self.secrets.newest().kid().to_owned(),
            secrets: vec![self.secrets.newest().kid().to_owned()],
            migrating_up_to: migrates.then_some(found.revision),
            scope: SEALING_SCOPE,
            former_scope: 0,
        };
        let created = self.registry.create(key, encode(&record)?, None).await?;
        let done = matches!(created, CreateOutcome::Created { .. }) && !migrates;
        if done {
            self.note_migration();
        }
        Ok(done)
    }

    /// Whether any sealed record verifies with the given secrets.
    ///
    /// # Errors
    /// [`AuthorityError::UnknownSecret`].
    async fn check_secret(&self, found: &StoredRecords) -> Result<(), AuthorityError> {
        for (entry, kid) in &found.sealed {
            if self.secrets.contains(kid)
                && let Ok(Some(_)) = self.registry.get(entry.key.clone()).await
            {
                return Ok(());
            }
        }
        let needed = found
            .sealed
            .first()
            .map_or_else(|| "of another console".to_owned(), |(_, kid)| kid.clone());
        Err(AuthorityError::UnknownSecret {
            prefix: self.state_prefix.clone(),
            needed,
            given: self.secrets.kids(),
        })
    }

    /// Begins to seal what earlier versions did not, unless that has happened: there is a sealed one, or a note beside the secret.
    async fn extend_scope(
        &self,
        key: &str,
        record: AuthorityRecord,
        revision: i64,
    ) -> Result<(), AuthorityError> {
        let mut found = survey(&self.registry, &self.state_prefix).await?;
        let is_new = |entry: &RegistryEntry| {
            sealed_since_scope(&self.state_prefix, &entry.key) > record.scope
        };
        found.plain.retain(|entry| is_new(entry));
        found.sealed.retain(|(entry, _)| is_new(entry));
        let migrates = found.sealed.is_empty()
            && self.migration == MigrationPolicy::Once
            && !self.is_noted(SEALING_SCOPE);
        let extended = AuthorityRecord {
            migrating_up_to: migrates.then_some(found.revision),
            former_scope: record.scope,
            scope: SEALING_SCOPE,
            ..record
        };
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.as_bytes().to_vec(), revision))
            .then([WriteOp::put(key, encode(&extended)?, None)]);
        // Another replica that was faster is followed in the next attempt.
        self.registry.transact(&transaction).await?;
        Ok(())
    }

    /// Seals the plain records that are not newer than the revision in `record`; returns whether this replica completed the
    /// migration.
    async fn migrate(
        &self,
        key: &str,
        record: AuthorityRecord,
        revision: i64,
    ) -> Result<bool, AuthorityError> {
        let up_to = record.migrating_up_to.unwrap_or_default();
        let mut sealed = 0;
        // Records first: heads of logs, which a console of an earlier version then no longer writes.
        let prefixes =
            protected_prefixes(&self.state_prefix).chain(log_entry_prefixes(&self.state_prefix));
        for prefix in prefixes {
            let prefixes = std::iter::once(prefix);
            let found = survey_below(&self.registry, &self.state_prefix, prefixes).await?;
            let is_due = |entry: &RegistryEntry| {
                entry.mod_revision <= up_to
                    && sealed_since_scope(&self.state_prefix, &entry.key) > record.former_scope
            };
            let due: Vec<RegistryEntry> = found
                .plain
                .into_iter()
                .filter(|entry| is_due(entry))
                .collect();
            // A record that another replica sealed meanwhile is left as it is.
            self.registry.seal_in_place(&due).await?;
            // Counted whoever sealed them, without the authority record itself.
            let counted = found.sealed.iter().filter(|(entry, _)| {
                entry.key != key.as_bytes()
                    && sealed_since_scope(&self.state_prefix, &entry.key) > record.former_scope
            });
            sealed += due.len() + counted.count();
        }
        seal_stored(&self.registry, &self.state_prefix, &self.secrets, up_to).await?;
        let complete = AuthorityRecord {
            migrating_up_to: None,
            former_scope: 0,
            ..record
        };
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.as_bytes().to_vec(), revision))
            .then([WriteOp::put(key, encode(&complete)?, None)]);
        let audit = AuditRecord {
            at: now(),
            actor: self.actor.clone(),
            event: AuditEvent::RECORDS_SEALED,
            cluster: None,
            subject: None,
            detail: BTreeMap::from([
                ("kid".to_owned(), complete.kid.clone()),
                ("records".to_owned(), sealed.to_string()),
            ]),
        };
        let trail =
            AuditTrail::new(self.registry.clone(), &self.state_prefix).with_actor(&self.actor);
        let outcome = trail.commit(&transaction, &[audit]).await?;
        let committed = matches!(outcome, TransactionOutcome::Committed { .. });
        if committed {
            tracing::info!(
                records = sealed,
                kid = complete.kid,
                "{sealed} records in etcd are now sealed with the state secret {}",
                complete.kid
            );
            self.note_migration();
        }
        Ok(committed)
    }

    /// Where the migration is noted: beside the secret, outside etcd.
    fn note_path(&self) -> Option<PathBuf> {
        let mut name = self.secret_file.as_ref()?.as_os_str().to_owned();
        name.push(".migrated");
        Some(PathBuf::from(name))
    }

    /// The lines that note that the records of a scope are sealed, by scope from 1.
    fn note_lines(&self) -> [String; SEALING_SCOPE as usize] {
        let prefix = &self.state_prefix;
        [
            format!("Records below {prefix} are sealed."),
            format!("The event history below {prefix} is sealed."),
        ]
    }

    /// Whether it is noted that the records of `scope` are sealed.
    fn is_noted(&self, scope: u32) -> bool {
        let index = usize::try_from(scope)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let (Some(path), Some(noted)) = (self.note_path(), self.note_lines().get(index).cloned())
        else {
            return false;
        };
        std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line == noted))
    }

    /// Notes that records are sealed, so that plain ones are not migrated again even if etcd is emptied.
    fn note_migration(&self) {
        let Some(path) = self.note_path() else {
            return;
        };
        for (scope, line) in (1..).zip(self.note_lines()) {
            if !self.is_noted(scope)
                && let Err(error) = append_line(&path, &line)
            {
                // A read-only directory, as of a mounted secret.
                tracing::debug!(%error, path = %path.display(), "The migration cannot be noted in {}: {error}", path.display());
            }
        }
    }
}

fn append_line(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    writeln!(file, "{line}")
}

fn encode(record: &AuthorityRecord) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record).map_err(|error| Error::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests;
