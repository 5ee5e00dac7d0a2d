//! In-memory mirror of everything about status pages, fed by a watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::keyspace::StatusPageKeys;
use console_core::repository::Versioned;
use galera::publish::status_pages::{Announcement, Incident, Maintenance, StatusPageRecord};
use galera::{ClusterName, Timestamp};
use registry::{Error, KeyMirror, Registry, RegistryEntry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::item::StatusItem;

/// Items of one kind by slug or ID.
type ItemMap<T> = BTreeMap<String, Arc<Versioned<T>>>;

/// Everything about status pages at one time. IDs sort by creation time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusPageSnapshot {
    /// Pages by slug.
    pub pages: ItemMap<StatusPageRecord>,
    /// Incidents, oldest first.
    pub incidents: ItemMap<Incident>,
    /// Maintenance in the order in which it was scheduled.
    pub maintenance: ItemMap<Maintenance>,
    /// Announcements, oldest first.
    pub announcements: ItemMap<Announcement>,
    pub etcd_unreachable_since: Option<Timestamp>,
    /// Whether a listing from etcd ever arrived.
    pub loaded: bool,
}

impl StatusPageSnapshot {
    /// Everything as it is in etcd now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(registry: &Registry, state_prefix: &str) -> Result<Self, Error> {
        let keys = StatusPageKeys::new(state_prefix);
        let listing = registry.list(keys.prefix().to_owned()).await?;
        let mut snapshot = Self {
            loaded: true,
            ..Self::default()
        };
        for entry in &listing.entries {
            snapshot.apply_put(&keys, entry);
        }
        Ok(snapshot)
    }

    /// The maintenance of `cluster` that is in progress at `now`.
    #[must_use]
    pub fn in_maintenance(&self, cluster: &ClusterName, now: Timestamp) -> Option<&Maintenance> {
        let mut all = self.maintenance.values().map(|stored| &stored.value);
        all.find(|maintenance| maintenance.covers(cluster, now))
    }

    /// Applies an entry. Unreadable ones are logged and left out.
    fn apply_put(&mut self, keys: &StatusPageKeys, entry: &RegistryEntry) {
        match keys.parse(&entry.key) {
            Some((StatusPageRecord::FOLDER, name)) => insert_entry(&mut self.pages, name, entry),
            Some((Incident::FOLDER, name)) => insert_entry(&mut self.incidents, name, entry),
            Some((Maintenance::FOLDER, name)) => insert_entry(&mut self.maintenance, name, entry),
            Some((Announcement::FOLDER, name)) => {
                insert_entry(&mut self.announcements, name, entry)
            }
            _ => {}
        }
    }

    fn apply_delete(&mut self, keys: &StatusPageKeys, key: &[u8]) {
        match keys.parse(key) {
            Some((StatusPageRecord::FOLDER, name)) => drop(self.pages.remove(name)),
            Some((Incident::FOLDER, name)) => drop(self.incidents.remove(name)),
            Some((Maintenance::FOLDER, name)) => drop(self.maintenance.remove(name)),
            Some((Announcement::FOLDER, name)) => drop(self.announcements.remove(name)),
            _ => {}
        }
    }
}

fn insert_entry<T: StatusItem>(items: &mut ItemMap<T>, name: &str, entry: &RegistryEntry) {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => insert_if_newer(items, name, value, entry.mod_revision),
        Err(error) => {
            tracing::warn!(%error, "Ignoring an unreadable {}, {name}: {error}", T::NOUN);
            items.remove(name);
        }
    }
}

fn insert_if_newer<T>(items: &mut ItemMap<T>, name: &str, value: T, revision: i64) {
    let has_newer = items
        .get(name)
        .is_some_and(|current| current.revision > revision);
    if !has_newer {
        items.insert(name.to_owned(), Arc::new(Versioned { value, revision }));
    }
}

#[derive(Debug)]
pub(super) struct StatusPageCache {
    snapshot: watch::Sender<Arc<StatusPageSnapshot>>,
    keys: StatusPageKeys,
}

impl StatusPageCache {
    pub(super) fn new(keys: StatusPageKeys) -> Self {
        Self {
            snapshot: watch::Sender::default(),
            keys,
        }
    }

    pub(super) fn snapshot(&self) -> Arc<StatusPageSnapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<StatusPageSnapshot>> {
        self.snapshot.subscribe()
    }

    /// Changes the snapshot; subscribers are notified only if it differs.
    pub(super) fn update(&self, change: impl FnOnce(&mut StatusPageSnapshot)) {
        self.snapshot.send_if_modified(|snapshot| {
            let mut next = StatusPageSnapshot::clone(snapshot);
            change(&mut next);
            let changed = next != **snapshot;
            if changed {
                *snapshot = Arc::new(next);
            }
            changed
        });
    }

    /// Applies this replica's own write, ahead of the watch.
    pub(super) fn apply_own_write<T: StatusItem>(
        &self,
        items: impl FnOnce(&mut StatusPageSnapshot) -> &mut ItemMap<T>,
        stored: &Versioned<T>,
    ) {
        self.update(|snapshot| {
            let name = stored.value.name();
            insert_if_newer(items(snapshot), name, stored.value.clone(), stored.revision);
        });
    }

    /// Follows etcd until `shutdown`.
    pub(super) async fn follow(&self, registry: Registry, shutdown: CancellationToken) {
        let apply = |event: WatchEvent| self.apply(event);
        registry.reflect(self.keys.prefix(), &shutdown, apply).await;
    }

    fn apply(&self, event: WatchEvent) {
        self.update(|snapshot| {
            let keys = &self.keys;
            event.apply_to(&mut StatusPageMirror { keys, snapshot });
        });
    }
}

struct StatusPageMirror<'a> {
    keys: &'a StatusPageKeys,
    snapshot: &'a mut StatusPageSnapshot,
}

impl KeyMirror for StatusPageMirror<'_> {
    fn clear(&mut self) {
        *self.snapshot = StatusPageSnapshot {
            loaded: true,
            ..StatusPageSnapshot::default()
        };
    }

    fn put(&mut self, entry: &RegistryEntry) {
        self.snapshot.apply_put(self.keys, entry);
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        self.snapshot.apply_delete(self.keys, key);
    }

    fn unreachable(&mut self, since: Timestamp, _: &Error) {
        self.snapshot.etcd_unreachable_since = Some(since);
    }

    fn reachable(&mut self) {
        self.snapshot.etcd_unreachable_since = None;
    }
}

#[cfg(test)]
mod tests {
    use registry::KeyChange;

    use super::*;

    fn entry(key: &str, value: &str, revision: i64) -> RegistryEntry {
        RegistryEntry {
            key: key.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
            create_revision: 1,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    const PAGE: &str = r#"{"slug":"shop","title":"Shop","clusters":[{"cluster":"lab","name":"Shop"}],
        "created_by":"ada","created_at":"2026-11-24T00:00:00Z","changed_at":"2026-11-24T00:00:00Z"}"#;

    #[test]
    fn unreadable_entries_are_left_out() {
        let cache = StatusPageCache::new(StatusPageKeys::new("/s"));
        cache.apply(WatchEvent::Reset {
            revision: 9,
            entries: vec![
                entry("/s/status/pages/shop", PAGE, 7),
                entry("/s/status/incidents/1", "<script>", 8),
            ],
        });
        let snapshot = cache.snapshot();
        assert_eq!(snapshot.pages["shop"].revision, 7);
        assert!(snapshot.loaded && snapshot.incidents.is_empty());
    }

    #[test]
    fn an_etcd_outage_keeps_the_snapshot() {
        let cache = StatusPageCache::new(StatusPageKeys::new("/s"));
        cache.apply(WatchEvent::Changes {
            revision: 7,
            changes: vec![KeyChange::Put(entry("/s/status/pages/shop", PAGE, 7))],
        });
        let since = Timestamp::from_unix_millis(1);
        let error = registry::Error::Invalid("away".to_owned());
        cache.apply(WatchEvent::Unreachable { since, error });
        assert_eq!(cache.snapshot().etcd_unreachable_since, Some(since));
        assert_eq!(cache.snapshot().pages.len(), 1);
        cache.apply(WatchEvent::Reachable);
        assert_eq!(cache.snapshot().etcd_unreachable_since, None);
    }

    #[test]
    fn an_older_revision_replaces_nothing() {
        let cache = StatusPageCache::new(StatusPageKeys::new("/s"));
        let change = |title: &str, revision| WatchEvent::Changes {
            revision,
            changes: vec![KeyChange::Put(entry(
                "/s/status/pages/shop",
                &PAGE.replace("\"Shop\",\"clusters", &format!("\"{title}\",\"clusters")),
                revision,
            ))],
        };
        cache.apply(change("New", 8));
        cache.apply(change("Old", 7));
        assert_eq!(cache.snapshot().pages["shop"].value.settings.title, "New");
    }
}
