//! One replica carrying one action out, under the cluster's lock, from the record to its end.

use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::recover::action::{Action, ActionEvent, ActionRefusal, ActionState, Actor, step};
use galera::recover::plan::ActionKind;
use registry::{Precondition, RegistryEntry, WriteOp};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::audit_records;
use super::lock::ClusterLock;
use super::service::ActionContext;
use super::store::{PutOutcome, VersionedAction};
use super::switches::RecoverySwitches;

/// Pause before etcd is tried again while the lock still holds.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The same while this replica has not watched for long enough: every look asks every node.
const WATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why an executor stops.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecutorError {
    /// Another replica may hold the lock now: nothing more is written or sent.
    #[error("its lock is lost; another replica continues by observing")]
    LockLost,
    /// The action does not take the step.
    #[error(transparent)]
    Refused(#[from] ActionRefusal),
    /// Everything else.
    #[error(transparent)]
    Failed(#[from] ActionError),
}

impl ExecutorError {
    /// Whether it is a fault of the moment, so that nothing about the action was decided.
    const fn is_transient(&self) -> bool {
        match self {
            Self::LockLost => true,
            Self::Refused(_) => false,
            Self::Failed(error) => error.is_transient(),
        }
    }
}

/// What came of a transition.
pub(super) enum ApplyOutcome {
    /// It is written; the record has moved on.
    Written,
    /// Somebody else was first; the record was read again.
    Overtaken,
    /// A key that the plan compares is no longer as it was.
    KeyChanged(Vec<RegistryEntry>),
}

/// An executor at work.
pub(super) struct Executor {
    pub(super) context: Arc<ActionContext>,
    pub(super) lock: ClusterLock,
    pub(super) stored: VersionedAction,
    /// The digest of the plan as of a moment.
    pub(super) fresh_plan: Option<(String, Instant)>,
    /// The step that this executor has sent or may have sent.
    pub(super) sent_step: Option<usize>,
    /// Keys as they were before the first of them was removed.
    pub(super) keys_before: Option<galera::recover::cleanup::RegistryReading>,
}

/// Carries an approved action out in the background, because it was approved or because another replica left it.
pub(super) fn spawn(inner: &Arc<ActionContext>, id: &str) {
    if !inner.attempts.claim(id) {
        return;
    }
    let (inner, id) = (Arc::clone(inner), id.to_owned());
    let tracker = inner.tracker.clone();
    tracker.spawn(async move {
        let stop = inner.shutdown.clone();
        let Some(begun) = stop
            .run_until_cancelled(Executor::begin(&inner, None, &id))
            .await
        else {
            return;
        };
        match begun {
            Ok(run) => {
                run.run().await;
                inner.attempts.finish(&id);
            }
            Err(error) => record_failed_begin(&inner, &id, &error),
        }
    });
}

/// Takes note of why an action was not begun: what only met a fault is tried again by the sweep.
fn record_failed_begin(inner: &ActionContext, id: &str, error: &ExecutorError) {
    if !error.is_transient() {
        inner.attempts.record_refusal(id);
        tracing::warn!(action.id = id, %error, "Action {id} was not begun: {error}");
        return;
    }
    let news = inner.attempts.record_fault(id);
    match error {
        // Somebody else has it.
        ExecutorError::Failed(ActionError::Busy(replica)) => {
            tracing::debug!(
                action.id = id,
                replica,
                "Action {id} is carried out by {replica}"
            );
        }
        _ if news => {
            tracing::warn!(action.id = id, %error, "Action {id} was not begun and is tried again: {error}");
        }
        _ => tracing::debug!(action.id = id, %error, "Action {id} was not begun"),
    }
}

/// Begins an approved action for a person, and carries it out in the background.
pub(super) async fn execute(
    inner: &Arc<ActionContext>,
    by: &Actor,
    id: &str,
) -> Result<(), ActionError> {
    if !inner.attempts.claim(id) {
        return Err(ActionError::Busy(inner.settings.replica.clone()));
    }
    match Executor::begin(inner, Some(by), id).await {
        Ok(run) => {
            let (inner, id) = (Arc::clone(inner), id.to_owned());
            let tracker = inner.tracker.clone();
            tracker.spawn(async move {
                run.run().await;
                inner.attempts.finish(&id);
            });
            Ok(())
        }
        Err(error) => {
            if error.is_transient() {
                record_failed_begin(inner, id, &error);
            } else {
                // What is refused to a person is not refused to the console.
                inner.attempts.finish(id);
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
    /// Takes the lock and begins, or continues what another executor left.
    pub(super) async fn begin(
        inner: &Arc<ActionContext>,
        by: Option<&Actor>,
        id: &str,
    ) -> Result<Self, ExecutorError> {
        let seen = inner.store.get(id).await?;
        let seen = seen.ok_or_else(|| ActionError::UnknownAction(id.to_owned()))?;
        check_can_begin(inner, &seen.action, by)?;
        let cluster = seen.action.cluster.clone();
        let settings = &inner.settings;
        let lock = ClusterLock::acquire(
            &inner.registry,
            &inner.keys,
            &cluster,
            &settings.replica,
            settings.lock_ttl,
        )
        .await?;
        let mut run = Self {
            context: Arc::clone(inner),
            lock,
            stored: seen,
            fresh_plan: None,
            sent_step: None,
            keys_before: None,
        };
        match run.begin_or_take_over(by).await {
            Ok(()) => Ok(run),
            Err(error) => {
                run.lock.release().await;
                Err(error)
            }
        }
    }

    async fn begin_or_take_over(&mut self, by: Option<&Actor>) -> Result<(), ExecutorError> {
        // What was read before the lock was taken may be another executor's yesterday.
        self.reload().await?;
        let (replica, fence) = (self.context.settings.replica.clone(), self.lock.fence);
        if self.stored.action.state == ActionState::Executing {
            let take = ActionEvent::TakeOver {
                replica: &replica,
                fence,
            };
            return match self.apply(&[take], &[], &[]).await? {
                ApplyOutcome::Written => Ok(()),
                _ => Err(ActionError::Contended.into()),
            };
        }
        let (scene, plan) = self.replan().await?;
        self.keys_before = scene.snapshot.readings.last().cloned();
        let cluster = self.stored.action.cluster.clone();
        let begin = ActionEvent::Begin {
            by,
            replica: &replica,
            fence,
            plan: &plan,
            recovery_pause: scene.switches.off_for(&cluster),
        };
        let guards = RecoverySwitches::guards(&self.context.keys, &cluster);
        match self.apply(&[begin], &guards, &[]).await? {
            ApplyOutcome::Written => Ok(()),
            _ => Err(ActionError::Contended.into()),
        }
    }

    /// Carries on until the action has ended or the lock is lost, and gives the lock up.
    pub(super) async fn run(mut self) {
        let id = self.stored.action.id.clone();
        let stop = self.context.shutdown.clone();
        let done = tokio::select! {
            // A stopping replica leaves the rest to another one, as a crashed one would.
            () = stop.cancelled() => return,
            done = self.run_steps() => done,
        };
        match done {
            Ok(()) => {
                let action = &self.stored.action;
                let outcome = action.outcome.as_deref().unwrap_or_default();
                let (state, cluster) = (action.state.as_str(), &action.cluster);
                tracing::info!(action.id = id, cluster.id = %cluster, state, "Action {id} of {cluster} {state}: {outcome}");
            }
            Err(error) => tracing::warn!(action.id = id, %error, "Action {id} is left: {error}"),
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
                    // Nothing happened, or nobody knows: the record tells.
                    tracing::debug!(%error, "An executor waits");
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

    /// Reads the record again.
    pub(super) async fn reload(&mut self) -> Result<(), ActionError> {
        let id = &self.stored.action.id;
        let stored = self.context.store.get(id).await?;
        self.stored = stored.ok_or_else(|| ActionError::UnknownAction(id.clone()))?;
        self.context.cache.insert_ahead_of_watch(&self.stored);
        Ok(())
    }

    /// Writes the record after `events`, when the lock and `guards` hold, together with `writes`.
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

/// An order to a stopped server takes longer to be carried out than a statement.
pub(super) fn limits(
    inner: &ActionContext,
    action: &Action,
) -> galera::recover::action::ActionLimits {
    let mut limits = inner.settings.limits(action.kind);
    if action.kind == ActionKind::Bootstrap && super::steps::is_order(action) {
        limits.verify_timeout = limits
            .verify_timeout
            .max(super::ActionSettings::ORDER_VERIFY_TIMEOUT);
    }
    limits
}

/// Refuses what the record refuses anyway, before a lock is taken or anybody is asked.
fn check_can_begin(
    inner: &ActionContext,
    action: &Action,
    by: Option<&Actor>,
) -> Result<(), ActionRefusal> {
    if action.state == ActionState::Executing && by.is_none() {
        return Ok(());
    }
    let begin = ActionEvent::Begin {
        by,
        replica: &inner.settings.replica,
        fence: i64::MAX,
        plan: &action.plan,
        recovery_pause: None,
    };
    step(action, &begin, &limits(inner, action), now()).map(drop)
}
