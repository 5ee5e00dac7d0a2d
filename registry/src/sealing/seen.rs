//! What a process has seen of the sealed records, for one that continues after it: with it, an earlier state that was put
//! back while no console ran is recognized like one that is put back before the eyes of a running one.

use super::SealTag;
use super::known::KnownRecord;
use crate::Registry;
use crate::revisions::EtcdRestore;

/// The newest genuine version of a record that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRecord {
    pub key: Vec<u8>,
    pub version: u64,
    pub tag: SealTag,
    /// The revision of etcd at which it was stored; 0 if that is unknown.
    pub revision: i64,
    /// Ends with its lease.
    pub leased: bool,
    /// It is a note that the record was removed.
    pub removed: bool,
    /// etcd held it.
    pub present: bool,
}

/// Everything that was seen of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenRecords {
    /// The newest revision of etcd.
    pub revision: i64,
    /// The restoration of an earlier state that was found and not accepted.
    pub restored: Option<EtcdRestore>,
    /// In the order of their keys.
    pub records: Vec<SeenRecord>,
}

impl Registry {
    /// What this process has seen of the sealed records.
    #[must_use]
    pub fn seen_records(&self) -> SeenRecords {
        let records = self.sealing.as_ref().map(|sealing| {
            let known = sealing.lock();
            let records = known.iter().map(|(key, record)| SeenRecord {
                key: key.to_vec(),
                version: record.version,
                tag: record.tag,
                revision: record.revision,
                leased: record.leased,
                removed: record.removed,
                present: record.present,
            });
            records.collect()
        });
        SeenRecords {
            revision: self.revisions.newest(),
            restored: self.revisions.restored(),
            records: records.unwrap_or_default(),
        }
    }

    /// Learns what an earlier process has seen. Call it before anything is read.
    pub fn remember_records(&self, seen: &SeenRecords) {
        self.revisions.remember(seen.revision);
        if seen.restored.is_some() {
            self.revisions.set_restored(seen.restored);
        }
        let Some(sealing) = &self.sealing else {
            return;
        };
        sealing.with_known(|known, _| {
            for record in &seen.records {
                let recalled = KnownRecord {
                    version: record.version,
                    tag: record.tag,
                    revision: record.revision,
                    leased: record.leased,
                    removed: record.removed,
                    present: record.present,
                };
                known.recall(&record.key, recalled);
            }
        });
        if seen.restored.is_some() {
            sealing.publish_restore();
        }
    }
}
