//! Executes one action in one replica, under the cluster's lock, from its record to its end.

use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::ActionId;
use galera::recover::action::{Action, ActionEvent, ActionRefusal, ActionState, Actor, step};
use galera::recover::plan::{ActionKind, PlanDigest};
use registry::{Precondition, RegistryEntry, WriteOp};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::audit_records;
use super::lock::ClusterLock;
use super::service::ActionContext;
use super::store::{PutOutcome, VersionedAction};
use super::switches::RecoverySwitches;

/// Pause before a retry while the lock is still held.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The same while this replica has not observed the nodes long enough; longer, because every retry probes every node.
const WATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

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
    const fn is_transient(&self) -> bool {
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
    pub(super) stored: VersionedAction,
    /// The digest of the latest plan, and when it was computed.
    pub(super) fresh_plan: Option<(PlanDigest, Instant)>,
    /// Index of the step that this executor has sent or may have sent.
    pub(super) sent_step: Option<usize>,
    /// The registry before the first key was removed.
    pub(super) keys_before: Option<galera::recover::cleanup::RegistryReading>,
}

/// Executes an action in the background, because it was just approved or another replica left it unfinished.
pub(super) fn spawn(context: &Arc<ActionContext>, id: &ActionId) {
    if !context.attempts.claim(id) {
        return;
    }
    let (context, id) = (Arc::clone(context), id.clone());
    let tracker = context.tracker.clone();
    tracker.spawn(async move {
        let shutdown = context.shutdown.clone();
        let Some(begun) = shutdown
            .run_until_cancelled(Executor::begin(&context, None, &id))
            .await
        else {
            return;
        };
        match begun {
            Ok(executor) => {
                executor.run().await;
                context.attempts.finish(&id);
            }
            Err(error) => record_failed_begin(&context, &id, &error),
        }
    });
}

/// Records why an action was not begun; after a transient fault the reconciler retries.
fn record_failed_begin(context: &ActionContext, id: &ActionId, error: &ExecutorError) {
    if !error.is_transient() {
        context.attempts.record_refusal(id);
        tracing::warn!(action.id = id.as_str(), %error, "Could not begin action {id}: {error}");
        return;
    }
    let first_fault = context.attempts.record_fault(id);
    match error {
        ExecutorError::Failed(ActionError::Busy(replica)) => {
            tracing::debug!(
                action.id = id.as_str(),
                replica = replica.as_str(),
                "Action {id} is being executed by {replica}"
            );
        }
        _ if first_fault => {
            tracing::warn!(action.id = id.as_str(), %error, "Could not begin action {id}; will retry: {error}");
        }
        _ => {
            tracing::debug!(action.id = id.as_str(), %error, "Could not begin action {id}; will retry")
        }
    }
}

/// Begins an approved action for a user, and executes it in the background.
pub(super) async fn execute(
    context: &Arc<ActionContext>,
    by: &Actor,
    id: &ActionId,
) -> Result<(), ActionError> {
    if !context.attempts.claim(id) {
        return Err(ActionError::Busy(context.settings.replica.clone()));
    }
    match Executor::begin(context, Some(by), id).await {
        Ok(executor) => {
            let (context, id) = (Arc::clone(context), id.clone());
            let tracker = context.tracker.clone();
            tracker.spawn(async move {
                executor.run().await;
                context.attempts.finish(&id);
            });
            Ok(())
        }
        Err(error) => {
            if error.is_transient() {
                record_failed_begin(context, id, &error);
            } else {
                // A refusal to this user does not apply to the console.
                context.attempts.finish(id);
            }
            Err(match error {
                ExecutorError::Refused(refusal) => refusal.into(),
                ExecutorError::Failed(error) => error,
                ExecutorError::LockLost => ActionError::Contended,
            })
        }
    }
}

impl Executor {
    /// Takes the lock and begins the action, or takes it over from another executor.
    pub(super) async fn begin(
        context: &Arc<ActionContext>,
        by: Option<&Actor>,
        id: &ActionId,
    ) -> Result<Self, ExecutorError> {
        let seen = context.store.get(id).await?;
        let seen = seen.ok_or_else(|| ActionError::UnknownAction(id.to_string()))?;
        check_can_begin(context, &seen.action, by)?;
        let cluster = seen.action.cluster.clone();
        let settings = &context.settings;
        let lock = ClusterLock::acquire(
            &context.registry,
            &context.keys,
            &cluster,
            &settings.replica,
            settings.lock_ttl,
        )
        .await?;
        let mut executor = Self {
            context: Arc::clone(context),
            lock,
            stored: seen,
            fresh_plan: None,
            sent_step: None,
            keys_before: None,
        };
        match executor.begin_or_take_over(by).await {
            Ok(()) => Ok(executor),
            Err(error) => {
                executor.lock.release().await;
                Err(error)
            }
        }
    }

    async fn begin_or_take_over(&mut self, by: Option<&Actor>) -> Result<(), ExecutorError> {
        // The record read before the lock was taken may be outdated.
        self.reload().await?;
        let (replica, fence) = (self.context.settings.replica.clone(), self.lock.fence);
        if self.stored.action.state == ActionState::Executing {
            let take_over = ActionEvent::TakeOver {
                replica: &replica,
                fence,
            };
            return match self.apply_event(take_over).await? {
                ApplyOutcome::Written => Ok(()),
                _ => Err(ActionError::Contended.into()),
            };
        }
        let (inputs, plan) = self.replan().await?;
        self.keys_before = inputs.cluster.readings.last().cloned();
        let cluster = self.stored.action.cluster.clone();
        let begin = ActionEvent::Begin {
            by,
            replica: &replica,
            fence,
            plan: &plan,
            recovery_pause: inputs.switches.off_for(&cluster),
        };
        let guards = RecoverySwitches::guards(&self.context.keys, &cluster);
        match self.apply_guarded(&[begin], &guards).await? {
            ApplyOutcome::Written => Ok(()),
            _ => Err(ActionError::Contended.into()),
        }
    }

    /// Runs until the action has ended or the lock is lost, then releases the lock.
    pub(super) async fn run(mut self) {
        let id = self.stored.action.id.clone();
        let shutdown = self.context.shutdown.clone();
        let result = tokio::select! {
            // On shutdown the rest is left to another replica, as after a crash.
            () = shutdown.cancelled() => return,
            result = self.run_steps() => result,
        };
        match result {
            Ok(()) => {
                let action = &self.stored.action;
                let outcome = action.outcome.as_deref().unwrap_or_default();
                let (state, cluster) = (action.state.as_str(), &action.cluster);
                tracing::info!(action.id = id.as_str(), cluster.id = %cluster, state, "Action {id} of {cluster} {state}: {outcome}");
            }
            Err(error) => {
                tracing::warn!(action.id = id.as_str(), %error, "Stopped executing action {id}: {error}")
            }
        }
        self.lock.release().await;
    }

    async fn run_steps(&mut self) -> Result<(), ExecutorError> {
        loop {
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(ExecutorError::Failed(ActionError::Contended)) if !self.lock.is_lost() => {
                    self.reload().await?;
                }
                Err(ExecutorError::Failed(error))
                    if error.is_transient() && !self.lock.is_lost() =>
                {
                    // Nothing happened, or the outcome is unknown: the record decides.
                    tracing::debug!(%error, "Executor is waiting to retry");
                    sleep(match error {
                        ActionError::NotWatchedLongEnough => WATCH_RETRY_DELAY,
                        _ => RETRY_DELAY,
                    })
                    .await;
                    let _ = self.reload().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

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
        let limits = limits(&self.context, action);
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

/// The limits of an action; a bootstrap order to a stopped cluster takes longer than a statement.
pub(super) fn limits(
    context: &ActionContext,
    action: &Action,
) -> galera::recover::action::ActionLimits {
    let mut limits = context.settings.limits(action.kind);
    if action.kind == ActionKind::Bootstrap && super::steps::is_order(action) {
        limits.verify_timeout = limits
            .verify_timeout
            .max(super::ActionSettings::ORDER_VERIFY_TIMEOUT);
    }
    limits
}

/// Refuses early what the state machine would refuse, before the lock is taken or any node is probed.
fn check_can_begin(
    context: &ActionContext,
    action: &Action,
    by: Option<&Actor>,
) -> Result<(), ActionRefusal> {
    if action.state == ActionState::Executing && by.is_none() {
        return Ok(());
    }
    let begin = ActionEvent::Begin {
        by,
        replica: &context.settings.replica,
        fence: i64::MAX,
        plan: &action.plan,
        recovery_pause: None,
    };
    step(action, &begin, &limits(context, action), now()).map(drop)
}
