//! Retention: the oldest entries leave etcd once they are in an archive. A sealed record, the cut, says where the live trail
//! begins.

use galera::Timestamp;
use galera::record::audit::{
    AuditAnchor, AuditChainError, AuditEntry, AuditEvent, AuditRecord, TrailVerifier,
};
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use serde::{Deserialize, Serialize};

use super::repair::DELETIONS_MAX;
use super::{ArchiveError, AuditArchive, AuditError, AuditTrail, BLOCK_ENTRIES, decode_entry};
use crate::clock::now;
use crate::keyspace;

/// Blocks that are archived together.
const BLOCKS_MAX: u64 = 100;

/// Where the live trail begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailCut {
    /// The number of the first live entry.
    pub first: u64,
    /// The hash of the entry before it, the last archived one.
    pub previous: String,
    /// When the entries before it were archived.
    pub at: Timestamp,
}

impl TrailCut {
    /// The last archived entry.
    #[must_use]
    pub fn anchor(&self) -> AuditAnchor {
        AuditAnchor {
            sequence: self.first.saturating_sub(1),
            hash: self.previous.clone(),
        }
    }
}

/// Why entries were not archived.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Trail(#[from] AuditError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Only a trail that verifies is archived.
    #[error("the audit trail is inconsistent, so nothing is archived: {0}")]
    Chain(#[from] AuditChainError),
    /// The process is ending.
    #[error("the archive was not written: {0}")]
    Interrupted(String),
}

impl From<registry::Error> for RetentionError {
    fn from(error: registry::Error) -> Self {
        Self::Trail(error.into())
    }
}

impl AuditTrail {
    /// Where the live trail begins; `None` while it is whole.
    ///
    /// # Errors
    /// [`AuditError`], also if the record was changed outside the console.
    pub async fn cut(&self) -> Result<Option<TrailCut>, AuditError> {
        Ok(self.cut_with_revision().await?.0)
    }

    async fn cut_with_revision(&self) -> Result<(Option<TrailCut>, i64), AuditError> {
        let key = keyspace::audit_cut(&self.state_prefix);
        let Some(stored) = self.registry.get(key.as_str()).await? else {
            return Ok((None, 0));
        };
        let cut = serde_json::from_slice(&stored.value).map_err(|error| AuditError::Damaged {
            key,
            reason: error.to_string(),
        })?;
        Ok((Some(cut), stored.mod_revision))
    }

    /// Moves the oldest whole blocks of entries, all before `keep_since`, to `archive`, at most 10,000 entries. They leave etcd
    /// only after they verified, were read back from the archive, and the cut was written in one transaction with its audit
    /// entry, which compares `fence`. Safe to repeat after any interruption. Returns whether entries were archived.
    ///
    /// # Errors
    /// [`RetentionError`].
    pub async fn archive_before(
        &self,
        archive: &AuditArchive,
        keep_since: Timestamp,
        fence: Precondition,
    ) -> Result<bool, RetentionError> {
        let (cut, revision) = match self.cut_with_revision().await {
            // Restored below, if the archive has what came before.
            Err(AuditError::Registry(registry::Error::Tampered { .. })) => (None, 0),
            cut => cut?,
        };
        match &cut {
            Some(cut) => self.delete_archived(cut.first).await?,
            None => {
                if let Some(lost) = self.lost_cut(archive).await? {
                    let record = self.about_lost_cut(&lost);
                    return self.write_cut(&lost, 0, fence, record).await;
                }
            }
        }
        let entries = self.entries_before(cut.as_ref(), keep_since).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(false);
        };
        let (first, last) = (first.sequence, last.anchor());
        let next = self.entry(last.sequence + 1).await?;
        let start = cut.as_ref().map(TrailCut::anchor);
        let mut verifier = TrailVerifier::new(start, self.keys());
        entries
            .iter()
            .chain(&next)
            .try_for_each(|entry| verifier.push(entry))?;
        let stored = archive.clone();
        let storing = tokio::task::spawn_blocking(move || stored.store(&entries));
        let files = storing
            .await
            .map_err(|error| RetentionError::Interrupted(error.to_string()))??;
        let names: Vec<String> = files
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        let next = TrailCut {
            first: last.sequence + 1,
            previous: last.hash.clone(),
            at: now(),
        };
        let record = AuditRecord {
            at: next.at,
            actor: self.actor.to_string(),
            event: AuditEvent::AUDIT_TRAIL_ARCHIVED,
            cluster: None,
            subject: None,
            detail: [
                ("first".to_owned(), first.to_string()),
                ("last".to_owned(), last.to_string()),
                ("files".to_owned(), names.join(", ")),
            ]
            .into(),
        };
        let archived = self.write_cut(&next, revision, fence, record).await?;
        if archived {
            self.delete_archived(next.first).await?;
        }
        Ok(archived)
    }

    /// The cut that was deleted or altered in etcd: the first entry that is there, if `archive` has the one before it.
    async fn lost_cut(&self, archive: &AuditArchive) -> Result<Option<TrailCut>, RetentionError> {
        let Some(first) = self.entry_after(0).await? else {
            return Ok(None);
        };
        if first.sequence == 1 {
            return Ok(None);
        }
        let cut = TrailCut {
            first: first.sequence,
            previous: first.previous,
            at: now(),
        };
        let (archive, anchor) = (archive.clone(), cut.anchor());
        let known = tokio::task::spawn_blocking(move || archive.contains(&anchor)).await;
        let known = known.map_err(|error| RetentionError::Interrupted(error.to_string()))??;
        Ok(known.then_some(cut))
    }

    fn about_lost_cut(&self, cut: &TrailCut) -> AuditRecord {
        let reason = format!(
            "the record that the trail begins with entry {} was deleted or altered; it is restored from the archive",
            cut.first
        );
        AuditRecord {
            at: cut.at,
            actor: self.actor.to_string(),
            event: AuditEvent::AUDIT_TRAIL_TAMPERED,
            cluster: None,
            subject: None,
            detail: [("reason".to_owned(), reason)].into(),
        }
    }

    /// Writes the cut, whose key is as of `revision`, with its audit entry; returns whether it was written.
    async fn write_cut(
        &self,
        cut: &TrailCut,
        revision: i64,
        fence: Precondition,
        record: AuditRecord,
    ) -> Result<bool, RetentionError> {
        let key = keyspace::audit_cut(&self.state_prefix);
        let unchanged = match revision {
            0 => Precondition::Absent(key.clone().into_bytes()),
            revision => Precondition::Unchanged(key.clone().into_bytes(), revision),
        };
        let value =
            serde_json::to_vec(cut).map_err(|error| registry::Error::Invalid(error.to_string()))?;
        let transaction = Transaction::new()
            .when(fence)
            .when(unchanged)
            .then([WriteOp::put(key, value, None)]);
        // Refused if another replica leads by now.
        let outcome = self.commit(&transaction, &[record]).await?;
        Ok(matches!(outcome, TransactionOutcome::Committed { .. }))
    }

    /// The oldest whole blocks before `keep_since`, without the newest block.
    async fn entries_before(
        &self,
        cut: Option<&TrailCut>,
        keep_since: Timestamp,
    ) -> Result<Vec<AuditEntry>, AuditError> {
        let first = cut.map_or(1, |cut| cut.first);
        let newest = self.newest_sequence().await? / BLOCK_ENTRIES;
        let mut entries = Vec::new();
        for block in (first / BLOCK_ENTRIES..newest).take(usize::try_from(BLOCKS_MAX).unwrap_or(1))
        {
            let listing = self.registry.list(self.block_prefix(block)).await?;
            let decoded: Result<Vec<AuditEntry>, AuditError> =
                listing.entries.iter().map(decode_entry).collect();
            let decoded = decoded?;
            // Times may go back a little between replicas: every entry of the block counts.
            if decoded.iter().any(|entry| entry.record.at >= keep_since) {
                break;
            }
            entries.extend(decoded.into_iter().filter(|entry| entry.sequence >= first));
        }
        Ok(entries)
    }

    /// Deletes the entries before `first`, newest block first, until a block is empty.
    async fn delete_archived(&self, first: u64) -> Result<(), AuditError> {
        let mut block = first / BLOCK_ENTRIES;
        loop {
            let listing = self.registry.list(self.block_prefix(block)).await?;
            let archived: Vec<String> = listing
                .entries
                .iter()
                .filter_map(|entry| decode_entry(entry).ok())
                .filter(|entry| entry.sequence < first)
                .map(|entry| self.entry_key(entry.sequence))
                .collect();
            if archived.is_empty() && block != first / BLOCK_ENTRIES {
                return Ok(());
            }
            for keys in archived.chunks(DELETIONS_MAX) {
                let deletion =
                    Transaction::new().then(keys.iter().map(|key| WriteOp::delete(key.as_str())));
                self.registry.transact(&deletion).await?;
            }
            match block.checked_sub(1) {
                Some(before) => block = before,
                None => return Ok(()),
            }
        }
    }
}
