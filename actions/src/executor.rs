//! The executor of one action: its record, changed under the cluster's lock.

use std::sync::Arc;

use console_core::clock::now;
use galera::recover::action::{Action, ActionEvent, ActionRefusal, step};
use galera::recover::bootstrap::NoEffectProof;
use galera::recover::plan::Plan;
use registry::{Precondition, RegistryEntry, WriteOp};
use tokio::time::Instant;

use super::ActionError;
use super::audit_records;
use super::context::ActionContext;
use super::execution_gate::ExecutionPass;
use super::lock::ClusterLock;
use super::store::{PutOutcome, VersionedAction};

/// Why an executor stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecutorError {
    /// Another replica may hold the lock now; nothing more is written or sent.
    #[error("the lock was lost; another replica resumes by observing")]
    LockLost,
    /// The state machine refuses the event.
    #[error(transparent)]
    Refused(#[from] ActionRefusal),
    #[error(transparent)]
    Failed(#[from] ActionError),
}

impl ExecutorError {
    /// Whether this is a transient fault that decides nothing about the action.
    pub(super) const fn is_transient(&self) -> bool {
        match self {
            Self::LockLost => true,
            Self::Refused(_) => false,
            Self::Failed(error) => error.is_transient(),
        }
    }
}

/// The outcome of a transition.
pub(super) enum ApplyOutcome {
    /// The record was written.
    Written,
    /// A concurrent change was faster; the record has been reloaded.
    Overtaken,
    /// A key among the preconditions has changed; the current entries.
    KeyChanged(Vec<RegistryEntry>),
}

/// Executes one action while holding its cluster's lock.
pub(super) struct Executor {
    pub(super) context: Arc<ActionContext>,
    pub(super) lock: ClusterLock,
    /// Keeps work that blocks etcd away.
    pub(super) _pass: ExecutionPass,
    pub(super) stored: VersionedAction,
    /// The plan from which this executor takes every step: computed here, and when.
    pub(super) computed: Option<(Plan, Instant)>,
    /// Index of the step that this executor has sent or may have sent.
    pub(super) sent_step: Option<usize>,
    /// When this executor took the lock.
    pub(super) began: Instant,
    /// What it has observed of a statement without effect.
    pub(super) no_effect: NoEffectProof,
    /// The registry before the first key was removed.
    pub(super) keys_before: Option<galera::recover::cleanup::RegistryReading>,
}

impl Executor {
    /// Rereads the record.
    pub(super) async fn reload(&mut self) -> Result<(), ActionError> {
        let id = &self.stored.action.id;
        let stored = self.context.store.get(id).await?;
        self.stored = stored.ok_or_else(|| ActionError::UnknownAction(id.to_string()))?;
        self.context.cache.insert_ahead_of_watch(&self.stored);
        Ok(())
    }

    /// Applies one event under the lock alone.
    pub(super) async fn apply_event(
        &mut self,
        event: ActionEvent<'_>,
    ) -> Result<ApplyOutcome, ExecutorError> {
        self.apply(&[event], &[], &[]).await
    }

    /// Applies `events` if `guards` hold too, without further writes.
    pub(super) async fn apply_guarded(
        &mut self,
        events: &[ActionEvent<'_>],
        guards: &[Precondition],
    ) -> Result<ApplyOutcome, ExecutorError> {
        self.apply(events, guards, &[]).await
    }

    /// Writes the record after `events` together with `writes`, if the lock and `guards` hold.
    pub(super) async fn apply(
        &mut self,
        events: &[ActionEvent<'_>],
        guards: &[Precondition],
        writes: &[WriteOp],
    ) -> Result<ApplyOutcome, ExecutorError> {
        let before = &self.stored.action;
        let at = now();
        let next = self.next_record(events, at)?;
        if next == *before && writes.is_empty() {
            return Ok(ApplyOutcome::Written);
        }
        let records =
            audit_records::execution_records(before, &next, &self.context.settings.replica, at);
        let mut all = vec![self.lock.guard()];
        all.extend_from_slice(guards);
        let put = self
            .context
            .store
            .put(&self.stored, next, &all, writes, &records)
            .await?;
        match put {
            PutOutcome::Stored(stored) => {
                self.context.cache.insert_ahead_of_watch(&stored);
                self.stored = *stored;
                Ok(ApplyOutcome::Written)
            }
            PutOutcome::Refused(current) => self.resolve_conflict(current).await,
        }
    }

    fn next_record(
        &self,
        events: &[ActionEvent<'_>],
        at: galera::Timestamp,
    ) -> Result<Action, ActionRefusal> {
        let action = &self.stored.action;
        let limits = self.context.limits(action);
        let mut next = action.clone();
        for event in events {
            if next.state.is_final() {
                break;
            }
            next = step(&next, event, &limits, at)?;
        }
        Ok(next)
    }

    async fn resolve_conflict(
        &mut self,
        current: Vec<RegistryEntry>,
    ) -> Result<ApplyOutcome, ExecutorError> {
        let own = |entry: &&RegistryEntry| self.lock.is_key(&entry.key);
        let held = current
            .iter()
            .find(own)
            .is_some_and(|entry| entry.mod_revision == self.lock.fence);
        if !held {
            return Err(ExecutorError::LockLost);
        }
        let revision = self.stored.revision;
        self.reload().await?;
        if self.stored.revision == revision {
            return Ok(ApplyOutcome::KeyChanged(current));
        }
        Ok(ApplyOutcome::Overtaken)
    }
}
