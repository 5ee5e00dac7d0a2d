//! The targets in memory, kept equal to etcd on every replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::keyspace::NotifyKeys;
use galera::publish::notification::TargetRules;
use registry::{KeyMirror, Registry, RegistryEntry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::target::TargetRecord;

/// A target as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedTarget {
    pub(super) target: Arc<TargetRecord>,
    pub(super) revision: i64,
}

/// Every target by its identity; `None` before they were read.
pub(super) type TargetsSnapshot = Option<Arc<BTreeMap<String, CachedTarget>>>;

/// The targets; clones share them.
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
        let (tell, table) = watch::channel(None);
        let prefix = keys.targets();
        let following = async move {
            let apply = |event: WatchEvent| apply(&tell, &prefix, event);
            registry.reflect(prefix.as_str(), &shutdown, apply).await;
        };
        (Self { snapshot: table }, following)
    }

    /// The targets now, and the news of changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<TargetsSnapshot> {
        self.snapshot.clone()
    }
}

/// The rules of every target that is told anything.
pub(super) fn enabled_rules(
    table: &BTreeMap<String, CachedTarget>,
) -> BTreeMap<String, TargetRules> {
    table
        .iter()
        .filter(|(_, known)| known.target.enabled)
        .map(|(id, known)| (id.clone(), known.target.rules.clone()))
        .collect()
}

fn apply(tell: &watch::Sender<TargetsSnapshot>, prefix: &str, event: WatchEvent) {
    tell.send_if_modified(|snapshot| {
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
            let known = CachedTarget {
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
