//! Reads the trail: a page backwards from any entry, or the whole trail.

use std::ops::RangeInclusive;

use galera::ClusterName;
use galera::access::ClusterScope;
use galera::publish::api::AuditPage;
use galera::record::audit::{AuditEntry, AuditEvent};
use registry::WatchSubscription;

use super::{AuditError, AuditTrail, BLOCK_ENTRIES, decode_entry};
use crate::keyspace;

/// Maximum number of entries in a page.
pub const AUDIT_PAGE_MAX: usize = 1_000;
/// Maximum number of blocks that one request scans, as a filter may match rarely.
const BLOCKS_MAX: u64 = 50;
/// Maximum number of blocks that are scanned for entries about an account.
const ACCOUNT_BLOCKS_MAX: u64 = 10;

/// A filter on audit entries.
#[derive(Clone, Debug, Default)]
pub struct AuditTrailFilter {
    pub cluster: Option<ClusterName>,
    /// The clusters that the reader's credential is limited to; entries about none are left out then.
    pub scope: ClusterScope,
    pub actor: Option<String>,
    /// Only entries before this sequence number.
    pub before: Option<u64>,
    /// Maximum number of entries.
    pub limit: usize,
}

impl AuditTrailFilter {
    fn matches(&self, entry: &AuditEntry) -> bool {
        let record = &entry.record;
        let cluster = self.cluster.as_ref();
        let actor = self.actor.as_ref();
        cluster.is_none_or(|cluster| record.cluster.as_ref() == Some(cluster))
            && self.scope.permits_each(&record.cluster)
            && actor.is_none_or(|actor| record.actor == *actor || record.actor_account() == actor)
    }
}

impl AuditTrail {
    /// The newest entries that match, newest first.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn page(&self, filter: &AuditTrailFilter) -> Result<AuditPage, AuditError> {
        let newest = self.newest_sequence().await?;
        let begins_at = match self.cut().await {
            Ok(cut) => cut.map(|cut| cut.first),
            // Reported elsewhere.
            Err(AuditError::Registry(registry::Error::Tampered { .. })) => None,
            Err(error) => return Err(error),
        };
        let first = begins_at.unwrap_or(1);
        let last = newest.min(
            filter
                .before
                .map_or(newest, |before| before.saturating_sub(1)),
        );
        let mut entries = Vec::new();
        let visit = |entry: AuditEntry| {
            if filter.matches(&entry) {
                entries.push(entry);
            }
            entries.len() < filter.limit
        };
        let next = self
            .visit_backwards(first..=last, BLOCKS_MAX, visit)
            .await?;
        Ok(audit_page(entries, next, begins_at))
    }

    /// The newest entries about the account `name`, newest first, back to when it was added: at most `limit`, among the newest
    /// thousand entries of the trail.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn about_account(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, AuditError> {
        let newest = self.newest_sequence().await?;
        let mut entries = Vec::new();
        let visit = |entry: AuditEntry| {
            let record = &entry.record;
            if record.subject.as_deref() != Some(name) || !record.event.concerns_account() {
                return true;
            }
            // Before that, the name was of another account.
            let is_first = record.event == AuditEvent::ACCOUNT_ADDED;
            entries.push(entry);
            !is_first && entries.len() < limit
        };
        self.visit_backwards(1..=newest, ACCOUNT_BLOCKS_MAX, visit)
            .await?;
        Ok(entries)
    }

    /// Gives `visit` the entries in `range`, newest first, until it returns false or `blocks_max` blocks were read. Returns the
    /// number of the next entry.
    async fn visit_backwards(
        &self,
        range: RangeInclusive<u64>,
        blocks_max: u64,
        mut visit: impl FnMut(AuditEntry) -> bool,
    ) -> Result<u64, AuditError> {
        let (first, mut next) = range.into_inner();
        let mut blocks = 0;
        while next >= first && blocks < blocks_max {
            blocks += 1;
            let block = next / BLOCK_ENTRIES;
            let listing = self.registry.list(self.block_prefix(block)).await?;
            for entry in listing.entries.iter().rev() {
                let entry = decode_entry(entry)?;
                if entry.sequence > next || entry.sequence < first {
                    continue;
                }
                next = entry.sequence - 1;
                if !visit(entry) {
                    return Ok(next);
                }
            }
            next = next.min((block * BLOCK_ENTRIES).saturating_sub(1));
        }
        Ok(next)
    }

    /// The sequence number of the newest entry; 0 if the trail is empty.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn newest_sequence(&self) -> Result<u64, AuditError> {
        match self.registry.get(self.head_key()).await? {
            Some(entry) => Ok(decode_entry(&entry)?.sequence),
            None => Ok(0),
        }
    }

    /// The entry with number `sequence`, if it exists.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn entry(&self, sequence: u64) -> Result<Option<AuditEntry>, AuditError> {
        let entry = self.registry.get(self.entry_key(sequence)).await?;
        entry.as_ref().map(decode_entry).transpose()
    }

    /// The first readable entry after number `sequence`: the next one, unless entries were removed or damaged outside the console.
    ///
    /// # Errors
    /// [`AuditError::Registry`].
    pub async fn entry_after(&self, sequence: u64) -> Result<Option<AuditEntry>, AuditError> {
        match self.entry(sequence + 1).await {
            Ok(None) | Err(AuditError::Damaged { .. }) => {}
            entry => return entry,
        }
        let newest = self.newest_sequence().await?;
        let mut next = sequence + 1;
        while next <= newest {
            let block = next / BLOCK_ENTRIES;
            let listing = self.registry.list(self.block_prefix(block)).await?;
            let found = listing
                .entries
                .iter()
                .filter_map(|entry| decode_entry(entry).ok())
                .find(|entry| entry.sequence >= next && entry.sequence <= newest);
            if found.is_some() {
                return Ok(found);
            }
            next = (block + 1) * BLOCK_ENTRIES;
        }
        Ok(None)
    }

    /// Watches for new entries: one event for each change of the head.
    #[must_use]
    pub fn watch_head(&self) -> WatchSubscription {
        self.registry.watch(self.head_key())
    }

    /// All live entries, oldest first, and the head. The first one follows [`AuditTrail::cut`].
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn read_all(&self) -> Result<(Vec<AuditEntry>, Option<AuditEntry>), AuditError> {
        let head = self.registry.get(self.head_key()).await?;
        let head = head.as_ref().map(decode_entry).transpose()?;
        let prefix = keyspace::audit_entries(&self.state_prefix);
        let listing = self.registry.list(prefix).await?;
        let entries: Result<Vec<AuditEntry>, AuditError> =
            listing.entries.iter().map(decode_entry).collect();
        let mut entries = entries?;
        // Ignore entries appended after the head was read.
        let last = head.as_ref().map_or(0, |head| head.sequence);
        let first = self.cut().await?.map_or(1, |cut| cut.first);
        entries
            .retain(|entry| entry.sequence >= first && (entry.sequence <= last || head.is_none()));
        Ok((entries, head))
    }
}

fn audit_page(entries: Vec<AuditEntry>, next: u64, begins_at: Option<u64>) -> AuditPage {
    AuditPage {
        next_before: (next >= begins_at.unwrap_or(1)).then_some(next + 1),
        entries,
        begins_at,
    }
}
