//! In-memory mirror of the targets, on every replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::keyspace::NotifyKeys;
use galera::publish::notification::TargetRules;
use registry::{KeyMirror, Registry, RegistryEntry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
            let apply = |event: WatchEvent| apply(&sender, &prefix, event);
            registry.reflect(prefix.as_str(), &shutdown, apply).await;
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
    sender.send_if_modified(|snapshot| {
        let mut mirror = TargetMirror {
            prefix,
            targets: snapshot.as_deref().cloned().unwrap_or_default(),
        };
        let changed = event.apply_to(&mut mirror);
        if changed {
            *snapshot = Some(Arc::new(mirror.targets));
        }
        changed
    });
}

struct TargetMirror<'a> {
    prefix: &'a str,
    targets: BTreeMap<String, CachedTarget>,
}

impl KeyMirror for TargetMirror<'_> {
    fn clear(&mut self) {
        self.targets.clear();
    }

    fn put(&mut self, entry: &RegistryEntry) {
        self.targets.extend(parse_target(self.prefix, entry));
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if let Some(id) = id_of(self.prefix, key) {
            self.targets.remove(id);
        }
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
