//! Actions in etcd: at most one open action per cluster, every change a compare-and-swap together with its audit entries.

use console_core::audit::AuditTrail;
use console_core::keyspace::ActionKeys;
use console_core::repository::{self, Repository, Versioned, WriteOutcome};
use galera::ActionId;
use galera::record::audit::AuditRecord;
use galera::recover::action::{Action, ActionRefusal};
use registry::{Precondition, Registry, RegistryEntry, Transaction, WriteOp};

use super::ActionError;

/// Attempts of a compare-and-swap before it fails as contended.
const ATTEMPTS: usize = 10;

/// An action's record as of an etcd revision.
#[derive(Clone, Debug)]
pub(super) struct VersionedAction {
    pub(super) action: Action,
    pub(super) revision: i64,
}

impl From<Versioned<Action>> for VersionedAction {
    fn from(stored: Versioned<Action>) -> Self {
        Self {
            action: stored.value,
            revision: stored.revision,
        }
    }
}

/// The outcome of a compare-and-swap.
pub(super) enum PutOutcome {
    Stored(Box<VersionedAction>),
    /// A precondition failed; the current entries of all compared keys.
    Refused(Vec<RegistryEntry>),
}

#[derive(Clone)]
pub(super) struct ActionStore {
    repository: Repository,
    keys: ActionKeys,
}

impl ActionStore {
    pub(super) fn new(registry: Registry, keys: ActionKeys, trail: AuditTrail) -> Self {
        Self {
            repository: Repository::new(registry, trail),
            keys,
        }
    }

    /// Reads the current record, linearizably.
    pub(super) async fn get(&self, id: &ActionId) -> Result<Option<VersionedAction>, ActionError> {
        let found = self.repository.get(self.keys.action(id)).await?;
        Ok(found.map(VersionedAction::from))
    }

    /// Writes a new action, unless its cluster has an open one or one of `guards` fails.
    pub(super) async fn create(
        &self,
        action: &Action,
        guards: Vec<Precondition>,
        records: &[AuditRecord],
    ) -> Result<VersionedAction, ActionError> {
        let key = self.keys.action(&action.id);
        let open = self.keys.open_action(&action.cluster);
        let mut rest = Transaction::new()
            .when(Precondition::Absent(open.clone().into_bytes()))
            .then([WriteOp::put(open.clone(), action.id.as_str(), None)]);
        for guard in guards {
            rest = rest.when(guard);
        }
        let created = self.repository.create(key, action.clone(), rest, records);
        match Box::pin(created).await? {
            WriteOutcome::Stored(stored) => Ok(stored.into()),
            WriteOutcome::Refused(current) => {
                let other = current.iter().find(|entry| entry.key == open.as_bytes());
                Err(match other {
                    Some(entry) => ActionError::AlreadyOpen(ActionId::from_stored(
                        String::from_utf8_lossy(&entry.value),
                    )),
                    // A recovery switch changed at the same time.
                    None => ActionRefusal::DigestChanged.into(),
                })
            }
        }
    }

    /// Replaces `seen` with `next` and applies `writes`, if the record is unchanged and all `guards` hold.
    pub(super) async fn put(
        &self,
        seen: &VersionedAction,
        next: Action,
        guards: &[Precondition],
        writes: &[WriteOp],
        records: &[AuditRecord],
    ) -> Result<PutOutcome, ActionError> {
        let key = self.keys.action(&next.id);
        let mut rest = Transaction::new().then(writes.iter().cloned());
        for guard in guards {
            rest = rest.when(guard.clone());
        }
        if next.state.is_final() {
            rest = rest.then([WriteOp::delete(self.keys.open_action(&next.cluster))]);
        }
        let replaced = self
            .repository
            .replace(key, seen.revision, next, rest, records);
        Ok(match Box::pin(replaced).await? {
            WriteOutcome::Stored(stored) => PutOutcome::Stored(Box::new(stored.into())),
            WriteOutcome::Refused(current) => PutOutcome::Refused(current),
        })
    }

    /// Applies `step` to the current record, and again whenever a concurrent change was faster.
    pub(super) async fn update(
        &self,
        id: &ActionId,
        step: impl Fn(&Action) -> Result<(Action, Vec<AuditRecord>), ActionRefusal>,
    ) -> Result<VersionedAction, ActionError> {
        for _ in 0..ATTEMPTS {
            let seen = self
                .get(id)
                .await?
                .ok_or_else(|| ActionError::UnknownAction(id.to_string()))?;
            let (next, records) = step(&seen.action)?;
            if let PutOutcome::Stored(stored) = self.put(&seen, next, &[], &[], &records).await? {
                return Ok(*stored);
            }
        }
        Err(ActionError::Contended)
    }
}

/// Every action in etcd, also final ones.
///
/// # Errors
/// [`ActionError`], also for a damaged record.
pub async fn read_actions(
    registry: &Registry,
    state_prefix: &str,
) -> Result<Vec<Action>, ActionError> {
    let prefix = ActionKeys::new(state_prefix).actions_prefix();
    let listing = registry.list(prefix).await?;
    let actions = listing.entries.iter().map(decode_action);
    actions.map(|action| Ok(action?.action)).collect()
}

pub(super) fn decode_action(entry: &RegistryEntry) -> Result<VersionedAction, ActionError> {
    Ok(repository::decode(entry)?.into())
}

pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ActionError> {
    serde_json::to_vec(value).map_err(|error| registry::Error::Invalid(error.to_string()).into())
}
