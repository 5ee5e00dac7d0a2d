//! The audit trail in etcd: append-only entries, each written in one transaction with the head that it follows.
//!
//! A change in etcd and its audit entry are committed together ([`AuditTrail::commit`]), so that nothing happens
//! unrecorded. Entries are grouped in blocks of keys, so that a page can be read without reading the whole trail.
//!
//! The head is a sealed record, and each entry has a seal. What the head is compared with (seals, the last head seen,
//! anchors outside etcd) is in the module `head`, how a trail continues whose end was changed outside the console in `repair`.

mod anchors;
mod archive;
mod csv;
mod follow;
mod head;
mod page;
mod repair;
mod retention;
mod via;

use std::sync::Arc;

use galera::record::audit::{AuditAnchor, AuditEntry, AuditRecord, EntryAuthenticator, append};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};

use crate::keyspace;
use crate::state_secret::{StateSecretSealer, StateSecrets};
pub use anchors::{AnchorFile, AnchorFileError, AnchorOutputs, AnchorSettings};
pub use archive::{ARCHIVE_FILE_ENTRIES, ArchiveError, AuditArchive, read_archive_file};
pub use csv::{csv_cell, to_csv};
pub use head::{TrailAlarm, TrailAlarms};
use head::{TrailHead, TrailMemory};
pub use page::{AUDIT_PAGE_MAX, AuditTrailFilter};
pub use retention::{RetentionError, TrailCut};
pub use via::{TokenActor, acting_via};

/// Entries per block.
const BLOCK_ENTRIES: u64 = 100;
/// Attempts to append before a write fails as contended.
const ATTEMPTS: usize = 20;

/// Why the trail could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// etcd failed.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A record, or a value in the trail, cannot be decoded.
    #[error("{key} in etcd cannot be read ({reason}); restore it from a backup, or remove it")]
    Damaged { key: String, reason: String },
    /// Concurrent writers won every attempt.
    #[error("the audit trail is being written concurrently; try again")]
    Contended,
}

/// The trail of one console; clones share it.
#[derive(Clone, Debug)]
pub struct AuditTrail {
    registry: Registry,
    state_prefix: Arc<str>,
    /// What entries are sealed with.
    keys: Option<Arc<StateSecrets>>,
    /// The actor of entries about the trail itself.
    actor: Arc<str>,
    memory: Arc<TrailMemory>,
}

impl AuditTrail {
    /// The trail under `state_prefix`. Its entries are sealed with the secrets that seal the records of `registry`, so that no
    /// writer can forget it.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: &str) -> Self {
        Self {
            keys: StateSecretSealer::secrets_of(&registry),
            registry,
            state_prefix: state_prefix.into(),
            actor: "console".into(),
            memory: Arc::default(),
        }
    }

    /// The same trail, which names `actor` in entries about itself.
    #[must_use]
    pub fn with_actor(self, actor: &str) -> Self {
        Self {
            actor: actor.into(),
            ..self
        }
    }

    fn keys(&self) -> Option<&dyn EntryAuthenticator> {
        self.keys
            .as_deref()
            .map(|keys| keys as &dyn EntryAuthenticator)
    }

    fn head_key(&self) -> String {
        keyspace::audit_head(&self.state_prefix)
    }

    fn block_prefix(&self, block: u64) -> String {
        keyspace::audit_block(&self.state_prefix, block)
    }

    fn entry_key(&self, sequence: u64) -> String {
        keyspace::audit_entry(&self.state_prefix, sequence / BLOCK_ENTRIES, sequence)
    }

    /// Appends an entry on its own.
    ///
    /// # Errors
    /// [`AuditError`]; nothing was appended then, or the outcome is unknown.
    pub async fn record(&self, record: AuditRecord) -> Result<(), AuditError> {
        match self.commit(&Transaction::new(), &[record]).await? {
            TransactionOutcome::Committed { .. } => Ok(()),
            TransactionOutcome::Refused { .. } => Err(AuditError::Contended),
        }
    }

    /// Commits `transaction` together with entries for `records`: both are written, or neither. Only races for the head
    /// are retried; if a precondition of `transaction` fails, the refusal is returned.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn commit(
        &self,
        transaction: &Transaction,
        records: &[AuditRecord],
    ) -> Result<TransactionOutcome, AuditError> {
        for _ in 0..ATTEMPTS {
            let Some(head) = self.head().await? else {
                continue;
            };
            let (transaction, newest) = self.with_entries(transaction.clone(), &head, records)?;
            match self.registry.transact(&transaction).await {
                Ok(TransactionOutcome::Committed { revision }) => {
                    self.memory.advance(TrailHead {
                        end: newest,
                        revision,
                    });
                    return Ok(TransactionOutcome::Committed { revision });
                }
                Ok(TransactionOutcome::Refused { revision, current }) => {
                    let key = self.head_key().into_bytes();
                    let current_head = current.iter().find(|entry| entry.key == key);
                    let moved = current_head.map_or(0, |entry| entry.mod_revision) != head.revision;
                    self.memory.forget_cached();
                    if !moved && !self.remove_stray(&head, records, &current).await? {
                        return Ok(TransactionOutcome::Refused { revision, current });
                    }
                }
                Err(registry::Error::Tampered { key, .. }) if key == self.head_key() => {
                    self.memory.forget_cached();
                }
                Err(error) => {
                    self.memory.forget_cached();
                    return Err(error.into());
                }
            }
        }
        Err(AuditError::Contended)
    }

    fn with_entries(
        &self,
        mut transaction: Transaction,
        head: &TrailHead,
        records: &[AuditRecord],
    ) -> Result<(Transaction, Option<AuditAnchor>), AuditError> {
        let mut end = head.end.clone();
        let mut last = None;
        for record in records {
            let entry = append(end.as_ref(), via::name_token(record.clone()), self.keys());
            let key = self.entry_key(entry.sequence);
            transaction = transaction
                .when(Precondition::Absent(key.clone().into_bytes()))
                .then([WriteOp::put(key, encode_entry(&entry)?, None)]);
            end = Some(entry.anchor());
            last = Some(entry);
        }
        if let Some(last) = &last {
            transaction = transaction
                .when(self.head_guard(head.revision))
                .then([WriteOp::put(self.head_key(), encode_entry(last)?, None)]);
        }
        Ok((transaction, end))
    }

    /// That the head is as of `revision`; 0 if it does not exist or is not genuine.
    fn head_guard(&self, revision: i64) -> Precondition {
        let key = self.head_key().into_bytes();
        match revision {
            0 => Precondition::Absent(key),
            revision => Precondition::Unchanged(key, revision),
        }
    }
}

fn encode_entry(entry: &AuditEntry) -> Result<Vec<u8>, AuditError> {
    serde_json::to_vec(entry).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}

fn decode_entry(entry: &registry::RegistryEntry) -> Result<AuditEntry, AuditError> {
    serde_json::from_slice(&entry.value).map_err(|error| AuditError::Damaged {
        key: String::from_utf8_lossy(&entry.key).into_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
