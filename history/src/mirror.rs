//! What etcd holds of the chronicle, in memory: kept by a watch, and by this replica's own writes ahead of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::{ClusterName, Timestamp};
use registry::{Change, Entry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::book::{Book, Head};
use super::keys::{Keys, Place};

/// The books of all clusters.
pub(super) type Books = Arc<BTreeMap<ClusterName, Arc<Book>>>;

/// Until when some console was observing: everything that it saw until then is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Observed {
    pub(super) until: Timestamp,
    pub(super) by: String,
}

/// The mirror.
pub(super) struct Mirror {
    keys: Keys,
    pub(super) books: Books,
    /// Whether `books` was read from etcd, ever.
    pub(super) read: bool,
    pub(super) observed: Option<Observed>,
    /// The revision of the call for what a new leader missed, while there is one.
    pub(super) call: Option<i64>,
}

impl Mirror {
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            books: Books::default(),
            read: false,
            observed: None,
            call: None,
        }
    }

    pub(super) fn book(&self, cluster: &ClusterName) -> Option<&Arc<Book>> {
        self.books.get(cluster)
    }

    /// The book of `cluster`, to be changed.
    pub(super) fn edit(&mut self, cluster: &ClusterName) -> &mut Book {
        let books = Arc::make_mut(&mut self.books);
        Arc::make_mut(books.entry(cluster.clone()).or_default())
    }

    /// Replaces everything; returns every cluster that there is or was.
    pub(super) fn reset(&mut self, entries: Vec<Entry>) -> Vec<ClusterName> {
        let before = std::mem::take(&mut self.books);
        self.read = true;
        self.observed = None;
        self.call = None;
        for entry in entries {
            self.put(&entry);
        }
        let mut clusters: Vec<ClusterName> =
            before.keys().chain(self.books.keys()).cloned().collect();
        clusters.sort();
        clusters.dedup();
        clusters
    }

    /// Takes in a change; returns the cluster that it is about.
    pub(super) fn apply(&mut self, change: Change) -> Option<ClusterName> {
        match change {
            Change::Put(entry) => self.put(&entry),
            Change::Delete { key, revision } => self.delete(&key, revision),
        }
    }

    /// Takes in an entry; returns the cluster that it is about.
    pub(super) fn put(&mut self, entry: &Entry) -> Option<ClusterName> {
        match self.keys.place(&entry.key)? {
            Place::Observed => {
                self.observed = read(entry);
                None
            }
            Place::Call => {
                self.call = Some(entry.mod_revision);
                None
            }
            Place::Head(cluster) => {
                let head: Head = read(entry)?;
                self.edit(&cluster).set_head(head, entry.mod_revision);
                Some(cluster)
            }
            Place::Days(cluster) => {
                let days = read(entry)?;
                self.edit(&cluster).set_days(days, entry.mod_revision);
                Some(cluster)
            }
            Place::Tail(cluster, _) => {
                let event = read(entry)?;
                self.edit(&cluster).add(event);
                Some(cluster)
            }
        }
    }

    fn delete(&mut self, key: &[u8], revision: i64) -> Option<ClusterName> {
        match self.keys.place(key)? {
            Place::Observed => {
                self.observed = None;
                None
            }
            Place::Call => {
                self.call = self.call.filter(|call| *call > revision);
                None
            }
            Place::Head(cluster) => {
                let gone = self
                    .book(&cluster)
                    .is_some_and(|book| book.revision < revision);
                if gone {
                    Arc::make_mut(&mut self.books).remove(&cluster);
                }
                Some(cluster)
            }
            Place::Days(cluster) => {
                if self
                    .book(&cluster)
                    .is_some_and(|book| book.days_revision < revision)
                {
                    let book = self.edit(&cluster);
                    book.set_days(Vec::new(), revision);
                }
                Some(cluster)
            }
            // They go with the head's word of what is sealed or expired.
            Place::Tail(..) => None,
        }
    }
}

fn read<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Some(value),
        Err(error) => {
            let key = String::from_utf8_lossy(&entry.key);
            tracing::warn!(%error, %key, "A part of the chronicle cannot be read and does not count: {key}: {error}");
            None
        }
    }
}
