//! Executes one action in one replica, under the cluster's lock, from its record to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::tasks::panic_message;
use futures::FutureExt as _;
use galera::ActionId;
use galera::recover::action::{Action, ActionEvent, ActionState, Actor, step};
use galera::recover::bootstrap::NoEffectProof;
use registry::spans;
use tokio::time::{Instant, sleep};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::ActionError;
use super::attempts::ActionAttempt;
use super::context::ActionContext;
use super::executor::{ApplyOutcome, Executor, ExecutorError};
use super::lock::ClusterLock;

/// Pause before a retry while the lock is still held.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The same while this replica has not observed the nodes long enough; longer, because every retry probes every node.
const WATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Executes an action in the background, because it was just approved or another replica left it unfinished.
pub(super) fn spawn(context: &Arc<ActionContext>, id: &ActionId) {
    let Some(attempt) = context.attempts.claim(id) else {
        return;
    };
    let (working, action) = (Arc::clone(context), id.clone());
    let execution = async move {
        let shutdown = working.shutdown.clone();
        let Some(begun) = shutdown
            .run_until_cancelled(Box::pin(Executor::begin(&working, None, &action)))
            .await
        else {
            return;
        };
        match begun {
            Ok(executor) => {
                executor.run().await;
                attempt.finish();
            }
            Err(error) => {
                spans::record_error(&Span::current(), "not_begun");
                record_failed_begin(&working, attempt, &action, &error);
            }
        }
    };
    spawn_execution(context, id, execution);
}

/// Spawns `execution` of the action `id`. If it panics, the action shows that, and is retried as after a crash.
fn spawn_execution(
    context: &Arc<ActionContext>,
    id: &ActionId,
    execution: impl Future<Output = ()> + Send + 'static,
) {
    let span = execution_span(id);
    let (tracker, context, id) = (context.tracker.clone(), Arc::clone(context), id.clone());
    // What it had read is dropped; its record in etcd decides how it continues.
    let caught = async move {
        let Err(panic) = AssertUnwindSafe(execution).catch_unwind().await else {
            return;
        };
        let reason = panic_message(&*panic);
        spans::record_error(&Span::current(), "panic");
        tracing::error!(
            action.id = id.as_str(),
            "The execution of action {id} panicked: {reason}"
        );
        context.show_panic(&id);
    };
    tracker.spawn(caught.instrument(span));
}

/// The span of an execution: within the request that began it, a separate trace in the background.
fn execution_span(id: &ActionId) -> Span {
    tracing::info_span!(
        target: spans::TARGET, "action",
        otel.name = "execute action", otel.status_code = Empty, action.id = id.as_str(),
        action.kind = Empty, action.state = Empty, galera.cluster = Empty, error.type = Empty,
    )
}

/// Records why an action was not begun; after a transient fault the reconciler retries.
fn record_failed_begin(
    context: &ActionContext,
    attempt: ActionAttempt,
    id: &ActionId,
    error: &ExecutorError,
) {
    if !error.is_transient() {
        attempt.record_refusal();
        context.show_refusal(id, error);
        tracing::warn!(action.id = id.as_str(), %error, "Could not begin action {id}: {error}");
        return;
    }
    attempt.record_fault();
    match error {
        ExecutorError::Failed(error) => context.show_wait(id, error),
        ExecutorError::LockLost | ExecutorError::Refused(_) => {
            tracing::warn!(action.id = id.as_str(), %error, "Could not begin action {id}; will retry: {error}");
        }
    }
}

/// Begins an approved action for a user, and executes it in the background.
pub(super) async fn execute(
    context: &Arc<ActionContext>,
    by: &Actor,
    id: &ActionId,
) -> Result<(), ActionError> {
    let Some(attempt) = context.attempts.claim(id) else {
        return Err(ActionError::Busy(context.settings.replica.clone()));
    };
    match Executor::begin(context, Some(by), id).await {
        Ok(executor) => {
            let execution = async move {
                executor.run().await;
                attempt.finish();
            };
            spawn_execution(context, id, execution);
            Ok(())
        }
        Err(error) => {
            if error.is_transient() {
                record_failed_begin(context, attempt, id, &error);
            } else {
                // A refusal to this user does not apply to the console.
                attempt.finish();
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
        check_can_begin(context, &seen.action, by).await?;
        let pass = context.gate.enter().await;
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
            _pass: pass,
            stored: seen,
            computed: None,
            sent_step: None,
            began: Instant::now(),
            no_effect: NoEffectProof::default(),
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
            if !self.stored.action.may_have_acted() {
                // Left to a replica whose settings permit it.
                self.replan().await?;
            }
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
        let people = self.read_people().await?;
        self.keys_before = inputs.cluster.readings.last().cloned();
        let cluster = self.stored.action.cluster.clone();
        let begin = ActionEvent::Begin {
            by,
            replica: &replica,
            fence,
            plan: &plan,
            accounts: &people.accounts,
            recovery_pause: inputs.switches.off_for(&cluster),
        };
        let guards = self.guards(people.unchanged);
        match self.apply_guarded(&[begin], &guards).await? {
            ApplyOutcome::Written => Ok(()),
            _ => Err(ActionError::Contended.into()),
        }
    }

    /// Runs until the action has ended or the lock is lost, then releases the lock.
    pub(super) async fn run(mut self) {
        let id = self.stored.action.id.clone();
        let span = Span::current();
        span.record("action.kind", self.stored.action.kind.as_str());
        span.record("galera.cluster", self.stored.action.cluster.as_str());
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
                span.record("action.state", state);
                tracing::info!(action.id = id.as_str(), cluster.id = %cluster, state, "Action {id} of {cluster} {state}: {outcome}");
            }
            Err(error) => {
                spans::record_error(&span, "stopped");
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
                // It can record nothing more: the lock is left to a replica that can.
                Err(error) if self.context.registry.outdated_secret().is_some() => {
                    return Err(error);
                }
                Err(ExecutorError::Failed(error))
                    if error.is_transient() && !self.lock.is_lost() =>
                {
                    // Nothing happened, or the outcome is unknown: the record decides.
                    self.context.show_wait(&self.stored.action.id, &error);
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
}

/// Refuses early what the state machine would refuse, before the lock is taken or any node is probed.
async fn check_can_begin(
    context: &ActionContext,
    action: &Action,
    by: Option<&Actor>,
) -> Result<(), ExecutorError> {
    if action.state == ActionState::Executing && by.is_none() {
        return Ok(());
    }
    context.read_approvals().await?;
    let people = context.people.read(action.people(), &action.cluster).await;
    let people = people.map_err(ActionError::from)?;
    let begin = ActionEvent::Begin {
        by,
        replica: &context.settings.replica,
        fence: i64::MAX,
        plan: &action.plan,
        accounts: &people.accounts,
        recovery_pause: None,
    };
    step(action, &begin, &context.limits(action), now())?;
    Ok(())
}
