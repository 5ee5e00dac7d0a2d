//! The authority record: since when, and with which secret, the records below a state prefix are sealed.
//!
//! It is established once, when records are sealed for the first time. Plain records that exist by then are sealed
//! (migrated) only while there is no authority record, no sealed record and no local note of an earlier migration: later,
//! a plain record is one that was put there by another program.

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
use crate::keyspace::{self, protected_prefixes, protection};
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
            Self::Registry(error) | Self::Audit(AuditError::Registry(error)) => {
                error.is_transient()
            }
            Self::Audit(_) => true,
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
    /// While plain records are being sealed: the etcd revision up to which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    migrating_up_to: Option<i64>,
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

async fn survey(registry: &Registry, state_prefix: &str) -> Result<StoredRecords, Error> {
    let stored = registry.unsealed();
    let mut found = StoredRecords {
        plain: Vec::new(),
        sealed: Vec::new(),
        revision: 0,
    };
    for prefix in protected_prefixes(state_prefix) {
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
            if !kid.as_ref().is_some_and(|kid| self.secrets.contains(kid)) {
                // Also a forged record has this effect, unless others prove that the secret is the right one.
                let found = survey(&self.registry, &self.state_prefix).await?;
                if !found.sealed.is_empty() {
                    self.check_secret(&found).await?;
                }
                tracing::error!(
                    "The authority record {key} in etcd was changed outside the console"
                );
                return Ok(());
            }
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
            let Some((record, up_to)) = record.and_then(|record| {
                let up_to = record.migrating_up_to?;
                Some((record, up_to))
            }) else {
                self.note_migration();
                return Ok(());
            };
            if self.migrate(&key, record, revision, up_to).await? {
                return Ok(());
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
            && !self.is_migration_noted();
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
            migrating_up_to: migrates.then_some(found.revision),
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

    /// Seals the plain records that are not newer than `up_to`; returns whether this replica completed the migration.
    async fn migrate(
        &self,
        key: &str,
        record: AuthorityRecord,
        revision: i64,
        up_to: i64,
    ) -> Result<bool, AuthorityError> {
        let found = survey(&self.registry, &self.state_prefix).await?;
        for entry in found
            .plain
            .iter()
            .filter(|entry| entry.mod_revision <= up_to)
        {
            // A record that another replica sealed meanwhile is left as it is.
            self.registry.seal_in_place(entry).await?;
        }
        seal_stored(&self.registry, &self.state_prefix, &self.secrets, up_to).await?;
        let found = survey(&self.registry, &self.state_prefix).await?;
        let complete = AuthorityRecord {
            migrating_up_to: None,
            ..record
        };
        let transaction = Transaction::new()
            .when(Precondition::Unchanged(key.as_bytes().to_vec(), revision))
            .then([WriteOp::put(key, encode(&complete)?, None)]);
        // The authority record itself is not one of them.
        let sealed = found.sealed.len().saturating_sub(1);
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

    fn note_line(&self) -> String {
        format!("Records below {} are sealed.", self.state_prefix)
    }

    fn is_migration_noted(&self) -> bool {
        self.note_path().is_some_and(|path| {
            std::fs::read_to_string(path)
                .is_ok_and(|text| text.lines().any(|line| line == self.note_line()))
        })
    }

    /// Notes that records are sealed, so that plain ones are not migrated again even if etcd is emptied.
    fn note_migration(&self) {
        let Some(path) = self.note_path() else {
            return;
        };
        if !self.is_migration_noted()
            && let Err(error) = append_line(&path, &self.note_line())
        {
            // A read-only directory, as of a mounted secret.
            tracing::debug!(%error, path = %path.display(), "The migration cannot be noted in {}: {error}", path.display());
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
