//! The audit trail in etcd: entries that are only ever added, each in one transaction with the head that it follows.
//!
//! What an entry records and the entry itself are written together where both are in etcd, so that nothing can happen
//! without being recorded. Entries lie in blocks, so that a page is read without reading everything.

mod page;
mod table;

use std::sync::{Arc, Mutex, PoisonError};

use galera::record::audit::{Entry, Record, append};
use registry::{Guard, Outcome, Registry, Transaction, Write};

pub use page::{Filter, PAGE_MAX};
pub use table::{cell, csv};

/// Entries of one block.
const BLOCK: u64 = 100;
/// Races with other writers of the trail that are tried again before giving up.
const ATTEMPTS: usize = 20;

/// Why the trail could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
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
pub struct Trail {
    registry: Registry,
    prefix: Arc<str>,
    /// The head as it was last seen; another replica may have moved it on.
    head: Arc<Mutex<Option<Head>>>,
}

#[derive(Clone, Debug)]
struct Head {
    entry: Option<Entry>,
    /// The revision of the head's key; 0 while there is none.
    revision: i64,
}

impl Trail {
    /// The trail under `state_prefix`.
    #[must_use]
    pub fn new(registry: Registry, state_prefix: &str) -> Self {
        Self {
            registry,
            prefix: state_prefix.into(),
            head: Arc::default(),
        }
    }

    fn head_key(&self) -> String {
        format!("{}/audit/head", self.prefix)
    }

    fn block_prefix(&self, block: u64) -> String {
        format!("{}/audit/entries/{block:012}/", self.prefix)
    }

    fn entry_key(&self, sequence: u64) -> String {
        format!("{}{sequence:012}", self.block_prefix(sequence / BLOCK))
    }

    /// Adds one entry that stands for itself.
    ///
    /// # Errors
    /// [`TrailError`]; nothing was added then, or at worst it is not known.
    pub async fn record(&self, record: Record) -> Result<(), TrailError> {
        match self.commit(&Transaction::new(), &[record]).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Refused { .. } => Err(TrailError::Contended),
        }
    }

    /// Carries out `transaction` together with entries for `records`: both happen, or neither does. Only the trail's
    /// own races are tried again; a guard of `transaction` that does not hold is the caller's refusal.
    ///
    /// # Errors
    /// [`TrailError`].
    pub async fn commit(
        &self,
        transaction: &Transaction,
        records: &[Record],
    ) -> Result<Outcome, TrailError> {
        for _ in 0..ATTEMPTS {
            let head = self.head().await?;
            let (whole, newest) = self.with_entries(transaction.clone(), &head, records)?;
            match self.registry.transact(&whole).await {
                Ok(Outcome::Committed { revision }) => {
                    self.note(Some(Head {
                        entry: newest,
                        revision,
                    }));
                    return Ok(Outcome::Committed { revision });
                }
                Ok(Outcome::Refused { revision, current }) => {
                    let key = self.head_key().into_bytes();
                    let present = current.iter().find(|entry| entry.key == key);
                    let moved = present.map_or(0, |entry| entry.mod_revision) != head.revision;
                    self.note(None);
                    if !moved {
                        return Ok(Outcome::Refused { revision, current });
                    }
                }
                Err(error) => {
                    self.note(None);
                    return Err(error.into());
                }
            }
        }
        Err(TrailError::Contended)
    }

    fn with_entries(
        &self,
        mut transaction: Transaction,
        head: &Head,
        records: &[Record],
    ) -> Result<(Transaction, Option<Entry>), TrailError> {
        let mut last = head.entry.clone();
        for record in records {
            let entry = append(last.as_ref(), record.clone());
            let key = self.entry_key(entry.sequence);
            transaction = transaction
                .when(Guard::Absent(key.clone().into_bytes()))
                .then([Write::put(key, encode(&entry)?, None)]);
            last = Some(entry);
        }
        let key = self.head_key();
        let guard = match head.revision {
            0 => Guard::Absent(key.clone().into_bytes()),
            seen => Guard::Unchanged(key.clone().into_bytes(), seen),
        };
        if let Some(last) = &last {
            transaction = transaction
                .when(guard)
                .then([Write::put(key, encode(last)?, None)]);
        }
        Ok((transaction, last))
    }

    async fn head(&self) -> Result<Head, TrailError> {
        let known = self.lock().clone();
        if let Some(head) = known {
            return Ok(head);
        }
        let entry = self.registry.get(self.head_key()).await?;
        Ok(match entry {
            Some(entry) => Head {
                revision: entry.mod_revision,
                entry: Some(decode(&entry)?),
            },
            None => Head {
                entry: None,
                revision: 0,
            },
        })
    }

    /// Remembers the head; of two writers in this process the later revision counts.
    fn note(&self, head: Option<Head>) {
        let mut known = self.lock();
        let later = match (&*known, &head) {
            (Some(known), Some(head)) => head.revision > known.revision,
            _ => true,
        };
        if later {
            *known = head;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Head>> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(entry: &Entry) -> Result<Vec<u8>, TrailError> {
    serde_json::to_vec(entry).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}

fn decode(entry: &registry::Entry) -> Result<Entry, TrailError> {
    serde_json::from_slice(&entry.value).map_err(|error| TrailError::Damaged {
        key: String::from_utf8_lossy(&entry.key).into_owned(),
        reason: error.to_string(),
    })
}
