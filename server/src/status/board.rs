//! Everything about status pages in memory, kept equal to etcd by watching it.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::publish::status_pages::{Announcement, Incident, Maintenance, Page};
use galera::{ClusterName, Timestamp};
use registry::{Change, Entry, Registry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keys::{Kept, Keys};

/// A thing as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The thing.
    pub value: T,
    /// The revision of its last change.
    pub revision: i64,
}

/// Things of one kind by their names.
type Folder<T> = BTreeMap<String, Arc<Stored<T>>>;

/// What is known; identities sort by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    /// Pages by their slugs.
    pub pages: Folder<Page>,
    /// Incidents, oldest first.
    pub incidents: Folder<Incident>,
    /// Maintenance, in the order in which it was planned.
    pub maintenance: Folder<Maintenance>,
    /// Announcements, oldest first.
    pub announcements: Folder<Announcement>,
    /// Since when etcd does not answer.
    pub unread_since: Option<Timestamp>,
    /// Whether etcd was read at all.
    pub known: bool,
}

impl Shelf {
    /// The maintenance that `cluster` is in at `now`.
    #[must_use]
    pub fn in_maintenance(&self, cluster: &ClusterName, now: Timestamp) -> Option<&Maintenance> {
        let mut all = self.maintenance.values().map(|stored| &stored.value);
        all.find(|maintenance| maintenance.covers(cluster, now))
    }

    /// Takes in what etcd holds at a key of ours. What cannot be read is told and left out.
    fn put(&mut self, keys: &Keys, entry: &Entry) {
        match keys.parts(&entry.key) {
            Some((Page::FOLDER, name)) => keep(&mut self.pages, name, entry),
            Some((Incident::FOLDER, name)) => keep(&mut self.incidents, name, entry),
            Some((Maintenance::FOLDER, name)) => keep(&mut self.maintenance, name, entry),
            Some((Announcement::FOLDER, name)) => keep(&mut self.announcements, name, entry),
            _ => {}
        }
    }

    fn remove(&mut self, keys: &Keys, key: &[u8]) {
        match keys.parts(key) {
            Some((Page::FOLDER, name)) => drop(self.pages.remove(name)),
            Some((Incident::FOLDER, name)) => drop(self.incidents.remove(name)),
            Some((Maintenance::FOLDER, name)) => drop(self.maintenance.remove(name)),
            Some((Announcement::FOLDER, name)) => drop(self.announcements.remove(name)),
            _ => {}
        }
    }
}

fn keep<T: Kept>(folder: &mut Folder<T>, name: &str, entry: &Entry) {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => note(folder, name, value, entry.mod_revision),
        Err(error) => {
            tracing::warn!(%error, "The {} {name} in etcd cannot be read and is not shown: {error}", T::WHAT);
            folder.remove(name);
        }
    }
}

fn note<T>(folder: &mut Folder<T>, name: &str, value: T, revision: i64) {
    let newer = folder
        .get(name)
        .is_some_and(|known| known.revision > revision);
    if !newer {
        folder.insert(name.to_owned(), Arc::new(Stored { value, revision }));
    }
}

/// Where the shelf is kept.
#[derive(Debug)]
pub(super) struct Board {
    shelf: watch::Sender<Arc<Shelf>>,
    keys: Keys,
}

impl Board {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            shelf: watch::Sender::default(),
            keys,
        }
    }

    pub(super) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Shelf>> {
        self.shelf.subscribe()
    }

    /// Changes the shelf; the same shelf again is no news.
    pub(super) fn amend(&self, amend: impl FnOnce(&mut Shelf)) {
        self.shelf.send_if_modified(|shelf| {
            let mut next = Shelf::clone(shelf);
            amend(&mut next);
            let changed = next != **shelf;
            if changed {
                *shelf = Arc::new(next);
            }
            changed
        });
    }

    /// Takes note of what this replica wrote itself, ahead of its watch.
    pub(super) fn wrote<T: Kept>(
        &self,
        folder: impl FnOnce(&mut Shelf) -> &mut Folder<T>,
        stored: &Stored<T>,
    ) {
        self.amend(|shelf| {
            let name = stored.value.name();
            note(folder(shelf), name, stored.value.clone(), stored.revision);
        });
    }

    /// Keeps the shelf true until `shutdown`.
    pub(super) async fn follow(&self, registry: Registry, shutdown: CancellationToken) {
        let mut events = registry.watch(self.keys.all());
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(event) => self.take(event),
                None => return,
            }
        }
    }

    fn take(&self, event: WatchEvent) {
        match event {
            WatchEvent::Reset { entries, .. } => self.amend(|shelf| {
                *shelf = Shelf {
                    known: true,
                    ..Shelf::default()
                };
                for entry in &entries {
                    shelf.put(&self.keys, entry);
                }
            }),
            WatchEvent::Changes { changes, .. } => self.amend(|shelf| {
                for change in &changes {
                    match change {
                        Change::Put(entry) => shelf.put(&self.keys, entry),
                        Change::Delete { key, .. } => shelf.remove(&self.keys, key),
                    }
                }
            }),
            WatchEvent::Unreachable { since, .. } => {
                self.amend(|shelf| shelf.unread_since = Some(since));
            }
            WatchEvent::Reachable => self.amend(|shelf| shelf.unread_since = None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str, revision: i64) -> Entry {
        Entry {
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
    fn what_cannot_be_read_is_left_out_and_the_rest_is_kept() {
        let board = Board::new(Keys::new("/s"));
        board.take(WatchEvent::Reset {
            revision: 9,
            entries: vec![
                entry("/s/status/pages/shop", PAGE, 7),
                entry("/s/status/incidents/1", "<script>", 8),
            ],
        });
        let shelf = board.shelf();
        assert_eq!(shelf.pages["shop"].revision, 7);
        assert!(shelf.known && shelf.incidents.is_empty());
    }

    #[test]
    fn etcd_away_takes_nothing_from_the_shelf() {
        let board = Board::new(Keys::new("/s"));
        board.take(WatchEvent::Changes {
            revision: 7,
            changes: vec![Change::Put(entry("/s/status/pages/shop", PAGE, 7))],
        });
        let since = Timestamp::from_unix_millis(1);
        let error = registry::Error::Invalid("away".to_owned());
        board.take(WatchEvent::Unreachable { since, error });
        assert_eq!(board.shelf().unread_since, Some(since));
        assert_eq!(board.shelf().pages.len(), 1);
        board.take(WatchEvent::Reachable);
        assert_eq!(board.shelf().unread_since, None);
    }

    #[test]
    fn an_older_revision_replaces_nothing() {
        let board = Board::new(Keys::new("/s"));
        let change = |title: &str, revision| WatchEvent::Changes {
            revision,
            changes: vec![Change::Put(entry(
                "/s/status/pages/shop",
                &PAGE.replace("\"Shop\",\"clusters", &format!("\"{title}\",\"clusters")),
                revision,
            ))],
        };
        board.take(change("New", 8));
        board.take(change("Old", 7));
        assert_eq!(board.shelf().pages["shop"].value.settings.title, "New");
    }
}
