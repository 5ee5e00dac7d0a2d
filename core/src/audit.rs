//! The audit trail in etcd: entries that are only ever added, each in one transaction with the head that it follows.
//!
//! What an entry records and the entry itself are written together where both are in etcd, so that nothing can happen
//! without being recorded. Entries lie in blocks, so that a page is read without reading everything.

mod csv;
mod page;

use std::sync::{Arc, Mutex, PoisonError};

use galera::record::audit::{AuditEntry, AuditRecord, append};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};

use crate::keyspace;
pub use csv::{csv_cell, to_csv};

pub use page::{AUDIT_PAGE_MAX, AuditTrailFilter};

/// Entries of one block.
const BLOCK_ENTRIES: u64 = 100;
/// Races with other writers of the trail that are tried again before giving up.
const ATTEMPTS: usize = 20;

/// Why the trail could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// etcd.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Something in the trail's place is none.
    #[error("the audit trail in etcd is damaged at {key}: {reason}")]
    Damaged {
        /// The key.
        key: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// Others write all the time.
    #[error("the audit trail is being written by others all the time; try again")]
    Contended,
}

/// The trail of one console; clones share it.
#[derive(Clone, Debug)]
pub struct AuditTrail {
    registry: Registry,
    state_prefix: Arc<str>,
    /// The head as it was last seen; another replica may have moved it on.
    cached_head: Arc<Mutex<Option<TrailHead>>>,
}

#[derive(Clone, Debug)]
struct TrailHead {
    entry: Option<AuditEntry>,
    /// The revision of the head's key; 0 while there is none.
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

    /// Adds one entry that stands for itself.
    ///
    /// # Errors
    /// [`AuditError`]; nothing was added then, or at worst it is not known.
    pub async fn record(&self, record: AuditRecord) -> Result<(), AuditError> {
        match self.commit(&Transaction::new(), &[record]).await? {
            TransactionOutcome::Committed { .. } => Ok(()),
            TransactionOutcome::Refused { .. } => Err(AuditError::Contended),
        }
    }

    /// Carries out `transaction` together with entries for `records`: both happen, or neither does. Only the trail's
    /// own races are tried again; a guard of `transaction` that does not hold is the caller's refusal.
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
            let (whole, newest) = self.with_entries(transaction.clone(), &head, records)?;
            match self.registry.transact(&whole).await {
                Ok(TransactionOutcome::Committed { revision }) => {
                    self.cache_head(Some(TrailHead {
                        entry: newest,
                        revision,
                    }));
                    return Ok(TransactionOutcome::Committed { revision });
                }
                Ok(TransactionOutcome::Refused { revision, current }) => {
                    let key = self.head_key().into_bytes();
                    let present = current.iter().find(|entry| entry.key == key);
                    let moved = present.map_or(0, |entry| entry.mod_revision) != head.revision;
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
        let known = self.lock_cached_head().clone();
        if let Some(head) = known {
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

    /// Remembers the head; of two writers in this process the later revision counts.
    fn cache_head(&self, head: Option<TrailHead>) {
        let mut known = self.lock_cached_head();
        let later = match (&*known, &head) {
            (Some(known), Some(head)) => head.revision > known.revision,
            _ => true,
        };
        if later {
            *known = head;
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
