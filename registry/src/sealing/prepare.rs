//! Turns a transaction of plain values into the one that is sent: values sealed, removals noted, and preconditions
//! translated, since what callers see as absent may be a note of a removal.

use super::known::KnownRecords;
use super::{RecordToSeal, SealTag, Sealing, is_leased};
use crate::entry::{LeaseId, RegistryEntry};
use crate::event::timestamp_now;
use crate::transact::{Precondition, Transaction, WriteOp};
use crate::{Error, Result};

/// A precondition that never holds.
const NEVER: i64 = i64::MAX;

/// A transaction to send, and the sealed records that it writes.
pub(super) struct PreparedTransaction {
    pub(super) transaction: Transaction,
    pub(super) writes: Vec<PreparedWrite>,
}

pub(super) struct PreparedWrite {
    key: Vec<u8>,
    version: u64,
    tag: SealTag,
    leased: bool,
    removed: bool,
}

impl Sealing {
    /// Whether the transaction compares or writes a protected key.
    pub(super) fn concerns(&self, transaction: &Transaction) -> bool {
        let written = transaction.all_writes().map(WriteOp::key);
        let compared = transaction.preconditions().iter().map(Precondition::key);
        written.chain(compared).any(|key| self.sealer.protects(key))
    }

    /// Whether versions of the record at `key` are followed.
    fn follows(&self, key: &[u8]) -> bool {
        self.sealer.protects(key) && !self.sealer.is_log_entry(key)
    }

    /// The written keys of which nothing is known, unless the transaction compares that they are absent.
    pub(super) fn unread_keys(&self, transaction: &Transaction) -> Vec<Vec<u8>> {
        let known = self.lock();
        let unknown = transaction.all_writes().map(WriteOp::key).filter(|key| {
            self.follows(key)
                && known.get(key).is_none()
                && known.tampering(key).is_none()
                && !transaction
                    .preconditions()
                    .contains(&Precondition::Absent(key.to_vec()))
        });
        unknown.map(<[u8]>::to_vec).collect()
    }

    /// The transaction to send, by what is known now.
    ///
    /// # Errors
    /// [`Error::Tampered`] when it compares a record that was changed outside the console and does not replace it.
    pub(super) fn prepare(&self, transaction: &Transaction) -> Result<PreparedTransaction> {
        let known = self.lock();
        let mut sent = Transaction::new();
        for precondition in transaction.preconditions() {
            sent = sent.when(self.translate(&known, transaction, precondition)?);
        }
        let mut writes = Vec::new();
        let mut sealed = Vec::new();
        for write in transaction.writes() {
            let (write, guard) = self.seal_write(&known, transaction, write, &mut sealed)?;
            if let Some(guard) = guard {
                sent = sent.when(guard);
            }
            writes.push(write);
        }
        let mut otherwise = Vec::new();
        for write in transaction.otherwise_writes() {
            otherwise.push(self.seal_write(&known, transaction, write, &mut sealed)?.0);
        }
        Ok(PreparedTransaction {
            transaction: sent.then(writes).otherwise(otherwise),
            writes: sealed,
        })
    }

    /// Writes of the sealed contents over their entries, if none of these changed.
    pub(super) fn prepare_replacement<'a>(
        &self,
        replaced: impl IntoIterator<Item = (&'a RegistryEntry, Option<&'a [u8]>)>,
    ) -> Result<PreparedTransaction> {
        let known = self.lock();
        let (mut transaction, mut sealed) = (Transaction::new(), Vec::new());
        for (entry, content) in replaced {
            let lease = Some(entry.lease).filter(|lease| *lease != 0);
            let write = match content {
                Some(content) if self.sealer.is_log_entry(&entry.key) => {
                    self.seal_log_entry(&WriteOp::put(entry.key.clone(), content, lease))?
                }
                content => self.seal(&known, &entry.key, content, lease, &mut sealed)?,
            };
            let unchanged = Precondition::Unchanged(entry.key.clone(), entry.mod_revision);
            transaction = transaction.when(unchanged).then([write]);
        }
        Ok(PreparedTransaction {
            transaction,
            writes: sealed,
        })
    }

    pub(super) fn learn_commit(&self, writes: &[PreparedWrite], revision: i64) {
        self.with_known(|known, _| {
            for write in writes {
                known.written(
                    &write.key,
                    write.version,
                    write.tag,
                    write.leased,
                    write.removed,
                    revision,
                );
            }
        });
    }

    /// Whether the preconditions hold for callers, given the stored entries of the transaction's keys.
    pub(super) fn holds(&self, transaction: &Transaction, stored: &[RegistryEntry]) -> bool {
        let known = self.lock();
        transaction.preconditions().iter().all(|precondition| {
            let key = precondition.key();
            let entry = stored.iter().find(|entry| entry.key == key);
            let entry = if self.follows(key) {
                let live = known
                    .get(key)
                    .is_some_and(super::known::KnownRecord::is_live);
                if known.tampering(key).is_some() {
                    // A record that is not genuine may be replaced like an absent one.
                    return matches!(precondition, Precondition::Absent(_))
                        && transaction.writes().iter().any(|write| write.key() == key);
                }
                entry.filter(|_| live)
            } else {
                entry
            };
            match precondition {
                Precondition::Absent(_) => entry.is_none(),
                Precondition::Exists(_) => entry.is_some(),
                Precondition::Unchanged(_, revision) => {
                    entry.map_or(0, |entry| entry.mod_revision) == *revision
                }
                Precondition::Leased(_, lease) => entry.map_or(0, |entry| entry.lease) == *lease,
            }
        })
    }

    fn translate(
        &self,
        known: &KnownRecords,
        transaction: &Transaction,
        precondition: &Precondition,
    ) -> Result<Precondition> {
        let key = precondition.key();
        if !self.follows(key) {
            return Ok(precondition.clone());
        }
        let absent = matches!(
            precondition,
            Precondition::Absent(_) | Precondition::Unchanged(_, 0)
        );
        if let Some(tampering) = known.tampering(key) {
            let replaced = transaction.writes().iter().any(|write| write.key() == key);
            if absent && replaced {
                return Ok(Precondition::Unchanged(
                    key.to_vec(),
                    tampering.stored.unwrap_or(0),
                ));
            }
            return Err(Error::Tampered {
                key: String::from_utf8_lossy(key).into_owned(),
                reason: tampering.reason.clone(),
            });
        }
        let removed = known
            .get(key)
            .filter(|record| record.removed && record.present);
        Ok(match removed {
            Some(note) if absent => Precondition::Unchanged(key.to_vec(), note.revision),
            // Callers do not see the note.
            Some(_) => Precondition::Unchanged(key.to_vec(), NEVER),
            None => precondition.clone(),
        })
    }

    /// The write to send, and a precondition that what its version follows is still stored.
    fn seal_write(
        &self,
        known: &KnownRecords,
        transaction: &Transaction,
        write: &WriteOp,
        sealed: &mut Vec<PreparedWrite>,
    ) -> Result<(WriteOp, Option<Precondition>)> {
        let key = write.key();
        if !self.sealer.protects(key) {
            return Ok((write.clone(), None));
        }
        if self.sealer.is_log_entry(key) {
            return Ok((self.seal_log_entry(write)?, None));
        }
        let compared = transaction
            .preconditions()
            .iter()
            .any(|precondition| precondition.key() == key);
        let (record, tampering) = (known.get(key), known.tampering(key));
        let stored = match (record, tampering) {
            (_, Some(tampering)) => tampering.stored.unwrap_or(0),
            (Some(record), None) if record.present => record.revision,
            _ => 0,
        };
        let guard = (!compared).then(|| Precondition::Unchanged(key.to_vec(), stored));
        let write = match write {
            WriteOp::Put { value, lease, .. } => {
                self.seal(known, key, Some(value), *lease, sealed)?
            }
            WriteOp::Delete(_)
                if tampering.is_none() && record.is_none_or(|record| record.leased) =>
            {
                write.clone()
            }
            WriteOp::Delete(_) => self.seal(known, key, None, None, sealed)?,
            // Made of numbered entries only, whose removal leaves no note.
            WriteOp::DeleteRange { .. } => write.clone(),
        };
        Ok((write, guard))
    }

    /// The write of an entry of a log, whose removal leaves no note.
    fn seal_log_entry(&self, write: &WriteOp) -> Result<WriteOp> {
        let WriteOp::Put { key, value, lease } = write else {
            return Ok(write.clone());
        };
        let record = self.sealer.seal(&RecordToSeal {
            key,
            version: 0,
            leased: is_leased(*lease),
            content: Some(value),
        })?;
        Ok(WriteOp::put(key.clone(), record.value, *lease))
    }

    fn seal(
        &self,
        known: &KnownRecords,
        key: &[u8],
        content: Option<&[u8]>,
        lease: Option<LeaseId>,
        sealed: &mut Vec<PreparedWrite>,
    ) -> Result<WriteOp> {
        // Not less than the time, so that a process that knows nothing of a record whose key was deleted outside the
        // console continues above its versions.
        let time = u64::try_from(timestamp_now().unix_millis()).unwrap_or(0);
        let version = known
            .get(key)
            .map_or(0, |record| record.version.saturating_add(1))
            .max(time);
        let leased = is_leased(lease);
        let record = self.sealer.seal(&RecordToSeal {
            key,
            version,
            leased,
            content,
        })?;
        sealed.push(PreparedWrite {
            key: key.to_vec(),
            version,
            tag: record.tag,
            leased,
            removed: content.is_none(),
        });
        Ok(WriteOp::put(key, record.value, lease))
    }
}
