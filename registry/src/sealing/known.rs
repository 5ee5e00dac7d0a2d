//! What is known about the sealed records: their highest versions, and those that are not genuine.

use std::collections::{BTreeMap, HashSet};

use super::{RecordSealer, SealTag, TamperCause, TamperedRecord, TamperedRecords};
use crate::entry::RegistryEntry;
use crate::event::timestamp_now;

/// Tampered records that are listed; further ones are counted.
const TAMPERED_MAX: usize = 1_000;
/// Ended records under a lease (sessions) whose versions are remembered; the oldest are forgotten first.
const ENDED_MAX: usize = 100_000;

/// The newest genuine version of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownRecord {
    pub(super) version: u64,
    pub(super) tag: SealTag,
    /// The revision at which it was stored.
    pub(super) revision: i64,
    /// Ends with its lease, so that its absence is no sign of tampering.
    pub(super) leased: bool,
    /// Whether it is a note of the record's removal.
    pub(super) removed: bool,
    /// Whether etcd holds the key.
    pub(super) present: bool,
}

impl KnownRecord {
    /// Whether callers see a record.
    pub(super) fn is_live(&self) -> bool {
        self.present && !self.removed
    }

    fn has_ended(&self) -> bool {
        self.leased && !self.present
    }
}

/// A record that was changed outside the console.
#[derive(Clone, Debug)]
pub(super) struct TamperEvidence {
    pub(super) reason: String,
    cause: TamperCause,
    since: galera::Timestamp,
    /// The revision at which it was seen.
    seen: i64,
    /// The revision of the stored value; `None` if the key was deleted.
    pub(super) stored: Option<i64>,
}

/// What a stored value is.
#[derive(Debug)]
pub(super) enum RecordJudgement {
    /// Genuine; with the value in clear.
    Live(RegistryEntry),
    /// A genuine note that the record was removed.
    Removed,
    /// Not genuine, for this reason.
    Tampered(String),
}

#[derive(Default)]
pub(super) struct KnownRecords {
    known: BTreeMap<Vec<u8>, KnownRecord>,
    tampered: BTreeMap<Vec<u8>, TamperEvidence>,
    unlisted: HashSet<u64>,
    ended: usize,
    changed: bool,
    /// The falls of etcd's revision that are taken into account.
    falls: u64,
}

impl KnownRecords {
    pub(super) fn get(&self, key: &[u8]) -> Option<&KnownRecord> {
        self.known.get(key)
    }

    pub(super) fn tampering(&self, key: &[u8]) -> Option<&TamperEvidence> {
        self.tampered.get(key)
    }

    /// Whether etcd holds a record at `key` that is sealed with a secret that this process does not have.
    pub(super) fn lacks_secret_of(&self, key: &[u8]) -> bool {
        let tampering = self.tampered.get(key);
        tampering.is_some_and(|tampering| tampering.cause == TamperCause::UnknownSecret)
    }

    /// Whether the tampered records changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn tampered(&self) -> TamperedRecords {
        let records = self.tampered.iter().map(|(key, tampering)| TamperedRecord {
            key: String::from_utf8_lossy(key).into_owned(),
            cause: tampering.cause,
            reason: tampering.reason.clone(),
            since: tampering.since,
        });
        TamperedRecords {
            records: records.collect(),
            unlisted: self.unlisted.len(),
            restored: None,
        }
    }

    /// Verifies `entry`, read at `as_of`, and learns its version.
    pub(super) fn judge(
        &mut self,
        sealer: &dyn RecordSealer,
        entry: &RegistryEntry,
        as_of: i64,
    ) -> RecordJudgement {
        let at = entry.mod_revision;
        let opened = match sealer.open(&entry.key, &entry.value) {
            Ok(opened) => opened,
            Err(reason) => {
                let cause = match sealer.lacks_secret_of(&entry.value) {
                    true => TamperCause::UnknownSecret,
                    false => TamperCause::Forged,
                };
                return self.reject(entry, as_of, cause, reason);
            }
        };
        if sealer.is_log_entry(&entry.key) {
            self.genuine(&entry.key, at);
            return judgement(entry, opened.content);
        }
        if let Some(known) = self.known.get(&entry.key) {
            let newer = at > known.revision;
            if opened.version < known.version {
                // An answer that was overtaken by a newer one shows an older version, which is no longer stored.
                if newer || as_of >= known.revision {
                    let reason = "an older version was put back".to_owned();
                    return self.reject(entry, as_of, TamperCause::Older, reason);
                }
                return judgement(entry, opened.content);
            }
            if opened.version == known.version {
                if opened.tag != known.tag {
                    let reason = "another record of its version was put back".to_owned();
                    return self.reject(entry, as_of, TamperCause::Older, reason);
                }
                if known.leased && newer {
                    let reason = "it was put back after it had ended".to_owned();
                    return self.reject(entry, as_of, TamperCause::Older, reason);
                }
                // Of a record under a lease, the first put is the genuine one; others may be restored as they were.
                if !newer {
                    if known.leased && at < known.revision {
                        self.remember(entry, &opened, at);
                    } else if at == known.revision {
                        self.genuine(&entry.key, at);
                    }
                    return judgement(entry, opened.content);
                }
            }
        }
        self.remember(entry, &opened, at);
        self.genuine(&entry.key, at);
        judgement(entry, opened.content)
    }

    fn remember(&mut self, entry: &RegistryEntry, opened: &super::OpenedRecord, revision: i64) {
        let record = KnownRecord {
            version: opened.version,
            tag: opened.tag,
            revision,
            leased: opened.leased,
            removed: opened.content.is_none(),
            present: true,
        };
        self.insert(entry.key.clone(), record);
    }

    /// Learns a record that was just written.
    pub(super) fn written(
        &mut self,
        key: &[u8],
        version: u64,
        tag: SealTag,
        leased: bool,
        removed: bool,
        revision: i64,
    ) {
        if self
            .known
            .get(key)
            .is_none_or(|known| known.version < version)
        {
            let record = KnownRecord {
                version,
                tag,
                revision,
                leased,
                removed,
                present: true,
            };
            self.insert(key.to_vec(), record);
        }
        self.genuine(key, revision);
    }

    fn insert(&mut self, key: Vec<u8>, record: KnownRecord) {
        let former = self.known.insert(key, record);
        if former.is_some_and(|former| former.has_ended()) {
            self.ended -= 1;
        }
    }

    /// Learns that etcd does not hold `key` at `as_of`.
    pub(super) fn absent(&mut self, key: &[u8], as_of: i64) {
        if let Some(known) = self.known.get_mut(key) {
            if as_of <= known.revision {
                return;
            }
            let ended = known.leased && known.present;
            let missing = known.present && !known.leased && !known.removed;
            let was_missing = !known.present && !known.leased && !known.removed;
            known.present = false;
            if ended {
                self.ended += 1;
                self.forget_oldest();
            }
            if missing || was_missing {
                let reason = "it was deleted".to_owned();
                return self.mark(key, TamperCause::Missing, reason, as_of, None);
            }
        } else if self.is_noted_missing(key) {
            return;
        }
        self.genuine(key, as_of);
    }

    /// Whether `key` is missing according to [`Self::note_missing`].
    fn is_noted_missing(&self, key: &[u8]) -> bool {
        let tampering = self.tampered.get(key);
        tampering.is_some_and(|tampering| tampering.cause == TamperCause::Missing)
    }

    /// Learns that `key` is missing although another record proves that it was written.
    pub(super) fn note_missing(&mut self, key: &[u8]) {
        if !self.tampered.contains_key(key) {
            self.mark(
                key,
                TamperCause::Missing,
                "it was deleted".to_owned(),
                0,
                None,
            );
        }
    }

    /// Ends what [`Self::note_missing`] learned of the keys below `folder` that are no longer missing.
    pub(super) fn retain_missing(&mut self, folder: &[u8], is_missing: impl Fn(&[u8]) -> bool) {
        let ended: Vec<Vec<u8>> = self
            .tampered
            .range(folder.to_vec()..)
            .take_while(|(key, _)| key.starts_with(folder))
            .filter(|(key, tampering)| tampering.cause == TamperCause::Missing && !is_missing(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            self.genuine(&key, i64::MAX);
        }
    }

    /// After etcd's revision fell, what was seen before has no place among its revisions: only versions tell.
    pub(super) fn follow_falls(&mut self, falls: u64) {
        if self.falls == falls {
            return;
        }
        self.falls = falls;
        for known in self.known.values_mut() {
            known.revision = 0;
        }
        for tampering in self.tampered.values_mut() {
            tampering.seen = 0;
        }
    }

    /// Every record with its newest genuine version, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &KnownRecord)> {
        self.known
            .iter()
            .map(|(key, known)| (key.as_slice(), known))
    }

    /// Learns a version that was seen earlier, unless a newer one is known.
    pub(super) fn recall(&mut self, key: &[u8], record: KnownRecord) {
        if (self.known.get(key)).is_some_and(|known| known.version >= record.version) {
            return;
        }
        self.ended += usize::from(record.has_ended());
        self.insert(key.to_vec(), record);
        self.forget_oldest();
    }

    /// Learns which keys below `prefix` etcd does not hold at `revision`.
    pub(super) fn listed(&mut self, prefix: &[u8], entries: &[RegistryEntry], revision: i64) {
        let present: HashSet<&[u8]> = entries.iter().map(|entry| entry.key.as_slice()).collect();
        let below = |keys: &mut dyn Iterator<Item = &Vec<u8>>| -> Vec<Vec<u8>> {
            keys.take_while(|key| key.starts_with(prefix))
                .filter(|key| !present.contains(key.as_slice()))
                .cloned()
                .collect()
        };
        let mut gone = below(&mut self.known.range(prefix.to_vec()..).map(|(key, _)| key));
        gone.extend(below(
            &mut self.tampered.range(prefix.to_vec()..).map(|(key, _)| key),
        ));
        for key in gone {
            self.absent(&key, revision);
        }
    }

    fn reject(
        &mut self,
        entry: &RegistryEntry,
        as_of: i64,
        cause: TamperCause,
        reason: String,
    ) -> RecordJudgement {
        let at = entry.mod_revision;
        let superseded = self
            .known
            .get(&entry.key)
            .is_some_and(|known| known.revision > as_of.max(at));
        if !superseded {
            if let Some(known) = self.known.get_mut(&entry.key)
                && !known.leased
            {
                // The genuine record is no longer stored.
                known.present = false;
            }
            self.mark(&entry.key, cause, reason.clone(), at, Some(at));
        }
        RecordJudgement::Tampered(reason)
    }

    fn mark(
        &mut self,
        key: &[u8],
        cause: TamperCause,
        reason: String,
        seen: i64,
        stored: Option<i64>,
    ) {
        let since = match self.tampered.get(key) {
            Some(before) if before.seen > seen => return,
            Some(before) if before.reason == reason && before.stored == stored => return,
            Some(before) => before.since,
            None if self.tampered.len() >= TAMPERED_MAX => {
                self.changed |= self.unlisted.len() < 100 * TAMPERED_MAX
                    && self.unlisted.insert(fingerprint(key));
                return;
            }
            None => timestamp_now(),
        };
        self.changed = true;
        let tampering = TamperEvidence {
            reason,
            cause,
            since,
            seen,
            stored,
        };
        self.tampered.insert(key.to_vec(), tampering);
    }

    /// Ends the tampering of `key` that was seen before `revision`.
    fn genuine(&mut self, key: &[u8], revision: i64) {
        if self
            .tampered
            .get(key)
            .is_some_and(|tampering| tampering.seen <= revision)
        {
            self.tampered.remove(key);
            self.changed = true;
        }
        if !self.unlisted.is_empty() {
            self.changed |= self.unlisted.remove(&fingerprint(key));
        }
    }

    fn forget_oldest(&mut self) {
        if self.ended <= ENDED_MAX {
            return;
        }
        let mut revisions: Vec<i64> = self
            .known
            .values()
            .filter(|known| known.has_ended())
            .map(|known| known.revision)
            .collect();
        revisions.sort_unstable();
        let middle = revisions.get(revisions.len() / 2).copied().unwrap_or(0);
        self.known
            .retain(|_, known| !(known.has_ended() && known.revision < middle));
        self.ended = self
            .known
            .values()
            .filter(|known| known.has_ended())
            .count();
    }
}

fn judgement(entry: &RegistryEntry, content: Option<Vec<u8>>) -> RecordJudgement {
    match content {
        Some(value) => RecordJudgement::Live(RegistryEntry {
            value,
            ..entry.clone()
        }),
        None => RecordJudgement::Removed,
    }
}

fn fingerprint(key: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
