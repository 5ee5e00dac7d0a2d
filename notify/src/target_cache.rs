//! In-memory mirror of the targets, on every replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::publish::notification::TargetRules;
use registry::{KeyChange, Registry, RegistryEntry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keys::NotifyKeys;
use super::target::TargetRecord;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedTarget {
    pub(super) target: Arc<TargetRecord>,
    pub(super) revision: i64,
}

/// All targets by ID; `None` until they were loaded.
pub(super) type TargetsSnapshot = Option<Arc<BTreeMap<String, CachedTarget>>>;

/// The mirror; clones share it.
#[derive(Clone, Debug)]
pub(super) struct TargetCache {
    snapshot: watch::Receiver<TargetsSnapshot>,
}

impl TargetCache {
    /// Follows the targets until `shutdown`.
    pub(super) fn follow(
        registry: Registry,
        keys: &NotifyKeys,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, snapshot) = watch::channel(None);
        let prefix = keys.targets();
        let task = async move {
            let mut events = registry.watch(prefix.clone());
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    event = events.next() => match event {
                        Some(event) => apply(&sender, &prefix, event),
                        None => return,
                    },
                }
            }
        };
        (Self { snapshot }, task)
    }

    /// The current targets; the receiver is notified of changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<TargetsSnapshot> {
        self.snapshot.clone()
    }
}

/// Rules of the enabled targets, by ID.
pub(super) fn enabled_rules(
    targets: &BTreeMap<String, CachedTarget>,
) -> BTreeMap<String, TargetRules> {
    targets
        .iter()
        .filter(|(_, cached)| cached.target.enabled)
        .map(|(id, cached)| (id.clone(), cached.target.rules.clone()))
        .collect()
}

fn apply(sender: &watch::Sender<TargetsSnapshot>, prefix: &str, event: WatchEvent) {
    match event {
        WatchEvent::Reset { entries, .. } => {
            let all = entries
                .iter()
                .filter_map(|entry| parse_target(prefix, entry));
            sender.send_replace(Some(Arc::new(all.collect())));
        }
        WatchEvent::Changes { changes, .. } => sender.send_modify(|snapshot| {
            let mut all = snapshot.as_deref().cloned().unwrap_or_default();
            for change in changes {
                match change {
                    KeyChange::Put(entry) => all.extend(parse_target(prefix, &entry)),
                    KeyChange::Delete { key, .. } => {
                        if let Some(id) = id_of(prefix, &key) {
                            all.remove(id);
                        }
                    }
                }
            }
            *snapshot = Some(Arc::new(all));
        }),
        WatchEvent::Reachable | WatchEvent::Unreachable { .. } => {}
    }
}

fn parse_target(prefix: &str, entry: &RegistryEntry) -> Option<(String, CachedTarget)> {
    let id = id_of(prefix, &entry.key)?;
    match serde_json::from_slice(&entry.value) {
        Ok(target) => {
            let cached = CachedTarget {
                target: Arc::new(target),
                revision: entry.mod_revision,
            };
            Some((id.to_owned(), cached))
        }
        Err(error) => {
            tracing::warn!(target.id = id, %error, "Ignoring an unreadable notification target: {error}");
            None
        }
    }
}

fn id_of<'a>(prefix: &str, key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(key).ok()?.strip_prefix(prefix)
}
