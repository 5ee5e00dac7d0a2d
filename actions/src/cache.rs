//! An in-memory copy of the actions, kept current by watching etcd, so that every replica shows every change immediately.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use console_core::keyspace::ActionKeys;
use console_core::published::Published;
use galera::ActionId;
use galera::publish::api::{ActionView, ActionWait, ActionWarning, CleanupUndo};
use galera::recover::plan::ActionKind;
use registry::{KeyMirror, Registry, RegistryEntry, WatchEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::store::{VersionedAction, decode_action};

/// Newest final actions kept in memory; older ones are read from etcd on request.
const CACHED_FINAL_MAX: usize = 200;
/// Final actions included in live updates.
const LIVE_FINAL_MAX: usize = 50;

/// An action as readers get it, serialized once and shared.
pub type PublishedAction = Arc<Published<ActionView>>;

/// All open actions and the newest final ones, by id and therefore by time.
#[derive(Clone, Debug, Default)]
pub struct ActionsSnapshot {
    actions: BTreeMap<ActionId, PublishedAction>,
    /// Whether the actions have been loaded from etcd.
    pub(super) loaded: bool,
}

impl ActionsSnapshot {
    pub fn newest_first(&self) -> impl Iterator<Item = &PublishedAction> {
        self.actions.values().rev()
    }

    #[must_use]
    pub fn get(&self, id: &ActionId) -> Option<&PublishedAction> {
        self.actions.get(id)
    }

    /// The actions included in live updates: all open and some final ones, newest first.
    pub fn for_live_viewers(&self) -> impl Iterator<Item = &PublishedAction> {
        let mut finals = 0;
        self.newest_first().filter(move |published| {
            let is_final = published.value.action.state.is_final();
            finals += usize::from(is_final);
            !is_final || finals <= LIVE_FINAL_MAX
        })
    }

    /// Actions that are not final, newest first.
    pub fn open(&self) -> impl Iterator<Item = &PublishedAction> {
        self.newest_first()
            .filter(|published| !published.value.action.state.is_final())
    }

    /// The id from which on no action is missing, `""` if none is; `None` before the cache is loaded.
    pub(super) fn complete_from(&self) -> Option<&str> {
        let finals = self
            .actions
            .values()
            .filter(|published| published.value.action.state.is_final());
        if finals.count() < CACHED_FINAL_MAX {
            return self.loaded.then_some("");
        }
        let mut finals = self
            .actions
            .iter()
            .filter(|(_, published)| published.value.action.state.is_final());
        finals.next().map(|(id, _)| id.as_str())
    }

    fn trim(&mut self) {
        let finals: Vec<ActionId> = self
            .actions
            .iter()
            .filter(|(_, published)| published.value.action.state.is_final())
            .map(|(id, _)| id.clone())
            .collect();
        for id in finals
            .iter()
            .take(finals.len().saturating_sub(CACHED_FINAL_MAX))
        {
            self.actions.remove(id);
        }
    }
}

/// Watches the actions in etcd and publishes [`ActionsSnapshot`]s.
pub(super) struct ActionCache {
    snapshot: watch::Sender<Arc<ActionsSnapshot>>,
    keys: ActionKeys,
}

impl ActionCache {
    pub(super) fn new(keys: ActionKeys) -> Self {
        Self {
            snapshot: watch::Sender::default(),
            keys,
        }
    }

    pub(super) fn snapshot(&self) -> Arc<ActionsSnapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<ActionsSnapshot>> {
        self.snapshot.subscribe()
    }

    /// Inserts an action that this replica read or wrote, before the watch reports it.
    pub(super) fn insert_ahead_of_watch(&self, stored: &VersionedAction) -> PublishedAction {
        let mut published = None;
        self.snapshot.send_if_modified(|snapshot| {
            let cached = snapshot.actions.get(&stored.action.id);
            if let Some(newer) = cached.filter(|cached| cached.value.revision >= stored.revision) {
                published = Some(Arc::clone(newer));
                return false;
            }
            let undone = cached.and_then(|cached| cached.value.undone.clone());
            let warnings = cached.map(|cached| cached.value.warnings.clone());
            let fresh = publish(action_view(stored, undone, warnings.unwrap_or_default()));
            let snapshot = Arc::make_mut(snapshot);
            snapshot
                .actions
                .insert(stored.action.id.clone(), Arc::clone(&fresh));
            snapshot.trim();
            published = Some(fresh);
            true
        });
        published.unwrap_or_else(|| publish(action_view(stored, None, Vec::new())))
    }

    /// Changes the parts of a view that are stored outside the action's record.
    fn update_view(&self, id: &ActionId, update: impl FnOnce(&mut ActionView) -> bool) {
        self.snapshot.send_if_modified(|snapshot| {
            let Some(cached) = snapshot.actions.get(id) else {
                return false;
            };
            let mut view = cached.value.clone();
            if !update(&mut view) {
                return false;
            }
            view.undoable = is_undoable(&view);
            Arc::make_mut(snapshot)
                .actions
                .insert(id.clone(), publish(view));
            true
        });
    }

    pub(super) fn set_warnings(&self, id: &ActionId, warnings: Vec<ActionWarning>) {
        self.update_view(id, |view| {
            let changed = view.warnings != warnings;
            view.warnings = warnings;
            changed
        });
    }

    /// Shows what an action waits for, until its record changes. Returns whether it waits for something else than before.
    pub(super) fn set_waiting(&self, id: &ActionId, wait: ActionWait) -> bool {
        let mut changed = false;
        self.update_view(id, |view| {
            changed = view.waiting.as_ref().is_none_or(|before| {
                (&before.code, &before.message) != (&wait.code, &wait.message)
            });
            if changed {
                view.waiting = Some(wait);
            }
            changed
        });
        changed
    }

    pub(super) fn set_undone(&self, id: &ActionId, undone: CleanupUndo, revision: i64) {
        self.update_view(id, |view| {
            let changed = view.undone.as_ref() != Some(&undone);
            view.undone = Some(undone);
            view.revision = view.revision.max(revision);
            changed
        });
    }

    /// Watches etcd and keeps the snapshot current until `shutdown`.
    pub(super) async fn run(&self, registry: Registry, shutdown: CancellationToken) {
        let mut mirror = self;
        let apply = |event: WatchEvent| {
            event.apply_to(&mut mirror);
        };
        let prefix = self.keys.actions_prefix();
        registry.reflect(prefix, &shutdown, apply).await;
    }

    /// The action id in `key`, and whether the key holds the undo of a clean-up.
    fn parse_key(&self, key: &[u8]) -> Option<(ActionId, bool)> {
        let rest = std::str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.keys.actions_prefix())?;
        match rest.split_once('/') {
            None => Some((ActionId::from_stored(rest), false)),
            Some((id, "undone")) => Some((ActionId::from_stored(id), true)),
            Some(_) => None,
        }
    }
}

impl KeyMirror for &ActionCache {
    fn clear(&mut self) {
        self.snapshot.send_replace(Arc::default());
    }

    fn reset(&mut self, entries: &[RegistryEntry], _: i64) {
        let before = self.snapshot();
        let mut undone: HashMap<ActionId, CleanupUndo> = HashMap::new();
        let mut records = Vec::new();
        for entry in entries {
            match self.parse_key(&entry.key) {
                Some((id, true)) => {
                    if let Ok(value) = serde_json::from_slice(&entry.value) {
                        undone.insert(id, value);
                    }
                }
                Some((_, false)) => records.extend(parse_or_warn(entry)),
                None => {}
            }
        }
        let mut snapshot = ActionsSnapshot {
            actions: BTreeMap::new(),
            loaded: true,
        };
        for stored in records {
            let id = stored.action.id.clone();
            let warnings = before.get(&id).map(|cached| cached.value.warnings.clone());
            let view = action_view(&stored, undone.remove(&id), warnings.unwrap_or_default());
            snapshot.actions.insert(id, publish(view));
        }
        snapshot.trim();
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    fn put(&mut self, entry: &RegistryEntry) {
        match self.parse_key(&entry.key) {
            Some((id, true)) => {
                if let Ok(undone) = serde_json::from_slice(&entry.value) {
                    self.set_undone(&id, undone, entry.mod_revision);
                }
            }
            Some((_, false)) => {
                if let Some(stored) = parse_or_warn(entry) {
                    self.insert_ahead_of_watch(&stored);
                }
            }
            None => {}
        }
    }

    fn delete(&mut self, key: &[u8], _: i64) {
        if let Some((id, false)) = self.parse_key(key) {
            self.snapshot
                .send_if_modified(|snapshot| Arc::make_mut(snapshot).actions.remove(&id).is_some());
        }
    }
}

fn parse_or_warn(entry: &RegistryEntry) -> Option<VersionedAction> {
    decode_action(entry)
        .map_err(|error| tracing::warn!(%error, "Ignoring an unreadable action in etcd: {error}"))
        .ok()
}

/// Combines an action's record with its undo and warnings.
pub(super) fn action_view(
    stored: &VersionedAction,
    undone: Option<CleanupUndo>,
    warnings: Vec<ActionWarning>,
) -> ActionView {
    let mut view = ActionView {
        action: stored.action.clone(),
        revision: stored.revision,
        warnings,
        undone,
        undoable: false,
        waiting: None,
    };
    view.undoable = is_undoable(&view);
    view
}

fn is_undoable(view: &ActionView) -> bool {
    let action = &view.action;
    matches!(action.kind, ActionKind::Cleanup | ActionKind::Decommission)
        && action.state.is_final()
        && action.may_have_acted()
        && view.undone.is_none()
}

fn publish(view: ActionView) -> PublishedAction {
    let revision = u64::try_from(view.revision).unwrap_or(0);
    Arc::new(Published::new(revision, view))
}
