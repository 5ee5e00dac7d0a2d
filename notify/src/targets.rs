//! The targets in memory, kept equal to etcd on every replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::publish::notification::Rules;
use registry::{Change, Entry, Registry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::target::Target;

/// A target as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) target: Arc<Target>,
    pub(super) revision: i64,
}

/// Every target by its identity; `None` before they were read.
pub(super) type Table = Option<Arc<BTreeMap<String, Known>>>;

/// The targets; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    table: watch::Receiver<Table>,
}

impl Targets {
    /// Follows the targets until `shutdown`.
    pub(super) fn follow(
        registry: Registry,
        keys: &Keys,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (tell, table) = watch::channel(None);
        let prefix = keys.targets();
        let following = async move {
            let mut events = registry.watch(prefix.clone());
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    event = events.next() => match event {
                        Some(event) => learn(&tell, &prefix, event),
                        None => return,
                    },
                }
            }
        };
        (Self { table }, following)
    }

    /// The targets now, and the news of changes.
    pub(super) fn watch(&self) -> watch::Receiver<Table> {
        self.table.clone()
    }
}

/// The rules of every target that is told anything.
pub(super) fn rules(table: &BTreeMap<String, Known>) -> BTreeMap<String, Rules> {
    table
        .iter()
        .filter(|(_, known)| known.target.enabled)
        .map(|(id, known)| (id.clone(), known.target.rules.clone()))
        .collect()
}

fn learn(tell: &watch::Sender<Table>, prefix: &str, event: WatchEvent) {
    match event {
        WatchEvent::Reset { entries, .. } => {
            let all = entries.iter().filter_map(|entry| known(prefix, entry));
            tell.send_replace(Some(Arc::new(all.collect())));
        }
        WatchEvent::Changes { changes, .. } => tell.send_modify(|table| {
            let mut all = table.as_deref().cloned().unwrap_or_default();
            for change in changes {
                match change {
                    Change::Put(entry) => all.extend(known(prefix, &entry)),
                    Change::Delete { key, .. } => {
                        if let Some(id) = id_of(prefix, &key) {
                            all.remove(id);
                        }
                    }
                }
            }
            *table = Some(Arc::new(all));
        }),
        WatchEvent::Reachable | WatchEvent::Unreachable { .. } => {}
    }
}

fn known(prefix: &str, entry: &Entry) -> Option<(String, Known)> {
    let id = id_of(prefix, &entry.key)?;
    match serde_json::from_slice(&entry.value) {
        Ok(target) => {
            let known = Known {
                target: Arc::new(target),
                revision: entry.mod_revision,
            };
            Some((id.to_owned(), known))
        }
        Err(error) => {
            tracing::warn!(target.id = id, %error, "The record of a notification target cannot be read: {error}");
            None
        }
    }
}

fn id_of<'a>(prefix: &str, key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix)
}
