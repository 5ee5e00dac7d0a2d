//! The audit trail in etcd: append-only entries, each written in one transaction with the head that it follows.
//!
//! A change in etcd and its audit entry are committed together ([`AuditTrail::commit`]), so that nothing happens
//! unrecorded. Entries are grouped in blocks of keys, so that a page can be read without reading the whole trail.

mod csv;
mod page;

use std::sync::{Arc, Mutex, PoisonError};

use galera::record::audit::{AuditEntry, AuditRecord, append};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};

use crate::keyspace;
pub use csv::{csv_cell, to_csv};

pub use page::{AUDIT_PAGE_MAX, AuditTrailFilter};

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
    /// A value in the trail cannot be decoded.
    #[error("the audit trail in etcd is damaged at {key}: {reason}")]
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
    /// The last known head; another replica may have advanced it.
    cached_head: Arc<Mutex<Option<TrailHead>>>,
}

#[derive(Clone, Debug)]
struct TrailHead {
    entry: Option<AuditEntry>,
    /// The revision of the head's key; 0 if it does not exist.
    revision: i64,
}

impl AuditTrail {
    /// The trail under `state_prefix`.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: &str) -> Self {
        Self {
            registry,
            state_prefix: state_prefix.into(),
            cached_head: Arc::default(),
        }
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
            let head = self.head().await?;
            let (transaction, newest) = self.with_entries(transaction.clone(), &head, records)?;
            match self.registry.transact(&transaction).await {
                Ok(TransactionOutcome::Committed { revision }) => {
                    self.cache_head(Some(TrailHead {
                        entry: newest,
                        revision,
                    }));
                    return Ok(TransactionOutcome::Committed { revision });
                }
                Ok(TransactionOutcome::Refused { revision, current }) => {
                    let key = self.head_key().into_bytes();
                    let current_head = current.iter().find(|entry| entry.key == key);
                    let moved = current_head.map_or(0, |entry| entry.mod_revision) != head.revision;
                    self.cache_head(None);
                    if !moved {
                        return Ok(TransactionOutcome::Refused { revision, current });
                    }
                }
                Err(error) => {
                    self.cache_head(None);
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
    ) -> Result<(Transaction, Option<AuditEntry>), AuditError> {
        let mut last = head.entry.clone();
        for record in records {
            let entry = append(last.as_ref(), record.clone());
            let key = self.entry_key(entry.sequence);
            transaction = transaction
                .when(Precondition::Absent(key.clone().into_bytes()))
                .then([WriteOp::put(key, encode_entry(&entry)?, None)]);
            last = Some(entry);
        }
        let key = self.head_key();
        let guard = match head.revision {
            0 => Precondition::Absent(key.clone().into_bytes()),
            seen => Precondition::Unchanged(key.clone().into_bytes(), seen),
        };
        if let Some(last) = &last {
            transaction =
                transaction
                    .when(guard)
                    .then([WriteOp::put(key, encode_entry(last)?, None)]);
        }
        Ok((transaction, last))
    }

    async fn head(&self) -> Result<TrailHead, AuditError> {
        let cached = self.lock_cached_head().clone();
        if let Some(head) = cached {
            return Ok(head);
        }
        let entry = self.registry.get(self.head_key()).await?;
        Ok(match entry {
            Some(entry) => TrailHead {
                revision: entry.mod_revision,
                entry: Some(decode_entry(&entry)?),
            },
            None => TrailHead {
                entry: None,
                revision: 0,
            },
        })
    }

    /// Caches the head; of two writers in this process the later revision wins.
    fn cache_head(&self, head: Option<TrailHead>) {
        let mut cached = self.lock_cached_head();
        let is_later = match (&*cached, &head) {
            (Some(cached), Some(head)) => head.revision > cached.revision,
            _ => true,
        };
        if is_later {
            *cached = head;
        }
    }

    fn lock_cached_head(&self) -> std::sync::MutexGuard<'_, Option<TrailHead>> {
        self.cached_head
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
