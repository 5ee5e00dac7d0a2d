//! In-memory copies of a prefix, kept current by a watch.

use galera::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::entry::RegistryEntry;
use crate::event::{KeyChange, WatchEvent};
use crate::{Error, Registry};

/// An in-memory copy of the keys under a prefix.
pub trait KeyMirror {
    /// Removes every key; the entries of a listing follow.
    fn clear(&mut self);

    /// Applies a put.
    fn put(&mut self, entry: &RegistryEntry);

    /// Applies a deletion at `revision`.
    fn delete(&mut self, key: &[u8], revision: i64);

    /// Replaces everything by the listing at `revision`.
    fn reset(&mut self, entries: &[RegistryEntry], _revision: i64) {
        self.clear();
        for entry in entries {
            self.put(entry);
        }
    }

    /// The copy is stale: etcd has not answered since `since`.
    fn unreachable(&mut self, _since: Timestamp, _error: &Error) {}

    /// etcd answers again.
    fn reachable(&mut self) {}
}

impl WatchEvent {
    /// Applies this event to `mirror`. Returns whether it was about keys rather than about reachability.
    pub fn apply_to(self, mirror: &mut impl KeyMirror) -> bool {
        let about_keys = matches!(self, Self::Reset { .. } | Self::Changes { .. });
        match self {
            Self::Reset { revision, entries } => mirror.reset(&entries, revision),
            Self::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        KeyChange::Put(entry) => mirror.put(&entry),
                        KeyChange::Delete { key, revision } => mirror.delete(&key, revision),
                    }
                }
            }
            Self::Unreachable { since, error } => mirror.unreachable(since, &error),
            Self::Reachable => mirror.reachable(),
        }
        about_keys
    }
}

impl Registry {
    /// Passes every event under `prefix` to `apply` until `shutdown`.
    pub async fn reflect(
        &self,
        prefix: impl Into<Vec<u8>>,
        shutdown: &CancellationToken,
        mut apply: impl FnMut(WatchEvent),
    ) {
        let mut events = self.watch(prefix);
        while let Some(Some(event)) = shutdown.run_until_cancelled(events.next()).await {
            apply(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct MirroredKeys {
        keys: BTreeMap<Vec<u8>, i64>,
        reachable: Option<bool>,
    }

    impl KeyMirror for MirroredKeys {
        fn clear(&mut self) {
            self.keys.clear();
        }

        fn put(&mut self, entry: &RegistryEntry) {
            self.keys.insert(entry.key.clone(), entry.mod_revision);
        }

        fn delete(&mut self, key: &[u8], _: i64) {
            self.keys.remove(key);
        }

        fn unreachable(&mut self, _: Timestamp, _: &Error) {
            self.reachable = Some(false);
        }

        fn reachable(&mut self) {
            self.reachable = Some(true);
        }
    }

    fn entry(key: &str, revision: i64) -> RegistryEntry {
        RegistryEntry {
            key: key.into(),
            value: Vec::new(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    #[test]
    fn mirror_follows_listings_and_changes() {
        let mut mirror = MirroredKeys::default();
        let reset = WatchEvent::Reset {
            revision: 3,
            entries: vec![entry("a", 1), entry("b", 3)],
        };
        assert!(reset.apply_to(&mut mirror));
        let changes = WatchEvent::Changes {
            revision: 5,
            changes: vec![
                KeyChange::Put(entry("a", 4)),
                KeyChange::Delete {
                    key: b"b".to_vec(),
                    revision: 5,
                },
                KeyChange::Put(entry("c", 5)),
            ],
        };
        assert!(changes.apply_to(&mut mirror));
        let keys: Vec<_> = mirror.keys.into_iter().collect();
        assert_eq!(keys, [(b"a".to_vec(), 4), (b"c".to_vec(), 5)]);
    }

    #[test]
    fn reset_forgets_what_is_not_listed() {
        let mut mirror = MirroredKeys::default();
        mirror.put(&entry("old", 1));
        let reset = WatchEvent::Reset {
            revision: 9,
            entries: Vec::new(),
        };
        assert!(reset.apply_to(&mut mirror));
        assert!(mirror.keys.is_empty());
    }

    #[test]
    fn reachability_changes_no_key() {
        let mut mirror = MirroredKeys::default();
        mirror.put(&entry("a", 1));
        let unreachable = WatchEvent::Unreachable {
            since: Timestamp::default(),
            error: Error::Invalid(String::new()),
        };
        assert!(!unreachable.apply_to(&mut mirror));
        assert_eq!((mirror.reachable, mirror.keys.len()), (Some(false), 1));
        assert!(!WatchEvent::Reachable.apply_to(&mut mirror));
        assert_eq!((mirror.reachable, mirror.keys.len()), (Some(true), 1));
    }
}
