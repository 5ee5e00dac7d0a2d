//! One replica carrying one action out, under the cluster's lock, from the record to its end.

use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::recover::action::{Action, Actor, Event, Refusal, State, step};
use galera::recover::plan::Kind;
use registry::{Entry, Guard, Write};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::desk::Inner;
use super::lock::Lock;
use super::records;
use super::store::{Put, Stored};
use super::switches::Switches;

/// Pause before etcd is tried again while the lock still holds.
const AGAIN: Duration = Duration::from_millis(200);

/// The same while this replica has not watched for long enough: every look asks every node.
const WATCHING: Duration = Duration::from_secs(1);

/// Why an executor stops.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    /// Another replica may hold the lock now: nothing more is written or sent.
    #[error("its lock is lost; another replica continues by observing")]
    LockLost,
    /// The action does not take the step.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Everything else.
    #[error(transparent)]
    Failed(#[from] ActionError),
}

impl Stopped {
    /// Whether it is a fault of the moment, so that nothing about the action was decided.
    const fn passes(&self) -> bool {
        match self {
            Self::LockLost => true,
            Self::Refused(_) => false,
            Self::Failed(error) => error.passes(),
        }
    }
}

/// What came of a transition.
pub(super) enum Applied {
    /// It is written; the record has moved on.
    Written,
    /// Somebody else was first; the record was read again.
    Overtaken,
    /// A key that the plan compares is no longer as it was.
    KeyChanged(Vec<Entry>),
}

/// An executor at work.
pub(super) struct Run {
    pub(super) inner: Arc<Inner>,
    pub(super) lock: Lock,
    pub(super) stored: Stored,
    /// The digest of the plan as of a moment.
    pub(super) planned: Option<(String, Instant)>,
    /// The step that this executor has sent or may have sent.
    pub(super) sent: Option<usize>,
    /// Keys as they were before the first of them was removed.
    pub(super) before: Option<galera::recover::cleanup::Reading>,
}

/// Carries an approved action out in the background, because it was approved or because another replica left it.
pub(super) fn start(inner: &Arc<Inner>, id: &str) {
    if !inner.attempts.claim(id) {
        return;
    }
    let (inner, id) = (Arc::clone(inner), id.to_owned());
    let tracker = inner.tracker.clone();
    tracker.spawn(async move {
        let stop = inner.shutdown.clone();
        let Some(begun) = stop
            .run_until_cancelled(Run::begin(&inner, None, &id))
            .await
        else {
            return;
        };
        match begun {
            Ok(run) => {
                run.carry().await;
                inner.attempts.ended(&id);
            }
            Err(error) => not_begun(&inner, &id, &error),
        }
    });
}

/// Takes note of why an action was not begun: what only met a fault is tried again by the sweep.
fn not_begun(inner: &Inner, id: &str, error: &Stopped) {
    if !error.passes() {
        inner.attempts.refused(id);
        tracing::warn!(action.id = id, %error, "Action {id} was not begun: {error}");
        return;
    }
    let news = inner.attempts.faulted(id);
    match error {
        // Somebody else has it.
        Stopped::Failed(ActionError::Busy(replica)) => {
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
pub(super) async fn execute(inner: &Arc<Inner>, by: &Actor, id: &str) -> Result<(), ActionError> {
    if !inner.attempts.claim(id) {
        return Err(ActionError::Busy(inner.settings.replica.clone()));
    }
    match Run::begin(inner, Some(by), id).await {
        Ok(run) => {
            let (inner, id) = (Arc::clone(inner), id.to_owned());
            let tracker = inner.tracker.clone();
            tracker.spawn(async move {
                run.carry().await;
                inner.attempts.ended(&id);
            });
            Ok(())
        }
        Err(error) => {
            if error.passes() {
                not_begun(inner, id, &error);
            } else {
                // What is refused to a person is not refused to the console.
                inner.attempts.ended(id);
            }
            Err(match error {
                Stopped::Refused(refusal) => refusal.into(),
                Stopped::Failed(error) => error,
                Stopped::LockLost => ActionError::Contended,
            })
        }
    }
}

impl Run {
    /// Takes the lock and begins, or continues what another executor left.
    pub(super) async fn begin(
        inner: &Arc<Inner>,
        by: Option<&Actor>,
        id: &str,
    ) -> Result<Self, Stopped> {
        let seen = inner.store.get(id).await?;
        let seen = seen.ok_or_else(|| ActionError::Unknown(id.to_owned()))?;
        refuse_early(inner, &seen.action, by)?;
        let cluster = seen.action.cluster.clone();
        let settings = &inner.settings;
        let lock = Lock::take(
            &inner.registry,
            &inner.keys,
            &cluster,
            &settings.replica,
            settings.lock_ttl,
        )
        .await?;
        let mut run = Self {
            inner: Arc::clone(inner),
            lock,
            stored: seen,
            planned: None,
            sent: None,
            before: None,
        };
        match run.enter(by).await {
            Ok(()) => Ok(run),
            Err(error) => {
                run.lock.release().await;
                Err(error)
            }
        }
    }

    async fn enter(&mut self, by: Option<&Actor>) -> Result<(), Stopped> {
        // What was read before the lock was taken may be another executor's yesterday.
        self.reload().await?;
        let (replica, fence) = (self.inner.settings.replica.clone(), self.lock.fence);
        if self.stored.action.state == State::Executing {
            let take = Event::TakeOver {
                replica: &replica,
                fence,
            };
            return match self.apply(&[take], &[], &[]).await? {
                Applied::Written => Ok(()),
                _ => Err(ActionError::Contended.into()),
            };
        }
        let (scene, plan) = self.plan_again().await?;
        self.before = scene.look.readings.last().cloned();
        let cluster = self.stored.action.cluster.clone();
        let begin = Event::Begin {
            by,
            replica: &replica,
            fence,
            plan: &plan,
            off: scene.switches.off(&cluster),
        };
        let guards = Switches::guards(&self.inner.keys, &cluster);
        match self.apply(&[begin], &guards, &[]).await? {
            Applied::Written => Ok(()),
            _ => Err(ActionError::Contended.into()),
        }
    }

    /// Carries on until the action has ended or the lock is lost, and gives the lock up.
    pub(super) async fn carry(mut self) {
        let id = self.stored.action.id.clone();
        let stop = self.inner.shutdown.clone();
        let done = tokio::select! {
            // A stopping replica leaves the rest to another one, as a crashed one would.
            () = stop.cancelled() => return,
            done = self.carry_on() => done,
        };
        match done {
            Ok(()) => {
                let action = &self.stored.action;
                let outcome = action.outcome.as_deref().unwrap_or_default();
                let (state, cluster) = (action.state.word(), &action.cluster);
                tracing::info!(action.id = id, cluster.id = %cluster, state, "Action {id} of {cluster} {state}: {outcome}");
            }
            Err(error) => tracing::warn!(action.id = id, %error, "Action {id} is left: {error}"),
        }
        self.lock.release().await;
    }

    async fn carry_on(&mut self) -> Result<(), Stopped> {
        loop {
            match self.advance().await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Stopped::Failed(ActionError::Contended)) if !self.lock.is_lost() => {
                    self.reload().await?;
                }
                Err(Stopped::Failed(error)) if error.passes() && !self.lock.is_lost() => {
                    // Nothing happened, or nobody knows: the record tells.
                    tracing::debug!(%error, "An executor waits");
                    sleep(match error {
                        ActionError::Unwatched => WATCHING,
                        _ => AGAIN,
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
        let stored = self.inner.store.get(id).await?;
        self.stored = stored.ok_or_else(|| ActionError::Unknown(id.clone()))?;
        self.inner.board.note(&self.stored);
        Ok(())
    }

    /// Writes the record after `events`, when the lock and `guards` hold, together with `writes`.
    pub(super) async fn apply(
        &mut self,
        events: &[Event<'_>],
        guards: &[Guard],
        writes: &[Write],
    ) -> Result<Applied, Stopped> {
        let before = &self.stored.action;
        let at = now();
        let next = self.after(events, at)?;
        if next == *before && writes.is_empty() {
            return Ok(Applied::Written);
        }
        let records = records::executed(before, &next, &self.inner.settings.replica, at);
        let mut all = vec![self.lock.guard()];
        all.extend_from_slice(guards);
        let put = self
            .inner
            .store
            .put(&self.stored, next, &all, writes, &records)
            .await?;
        match put {
            Put::Stored(stored) => {
                self.inner.board.note(&stored);
                self.stored = *stored;
                Ok(Applied::Written)
            }
            Put::Refused(current) => self.refused(current).await,
        }
    }

    fn after(&self, events: &[Event<'_>], at: galera::Timestamp) -> Result<Action, Refusal> {
        let action = &self.stored.action;
        let limits = limits(&self.inner, action);
        let mut next = action.clone();
        for event in events {
            if next.state.is_final() {
                break;
            }
            next = step(&next, event, &limits, at)?;
        }
        Ok(next)
    }

    async fn refused(&mut self, current: Vec<Entry>) -> Result<Applied, Stopped> {
        let own = |entry: &&Entry| self.lock.is_key(&entry.key);
        let held = current
            .iter()
            .find(own)
            .is_some_and(|entry| entry.mod_revision == self.lock.fence);
        if !held {
            return Err(Stopped::LockLost);
        }
        let revision = self.stored.revision;
        self.reload().await?;
        if self.stored.revision == revision {
            return Ok(Applied::KeyChanged(current));
        }
        Ok(Applied::Overtaken)
    }
}

/// An order to a stopped server takes longer to be carried out than a statement.
pub(super) fn limits(inner: &Inner, action: &Action) -> galera::recover::action::Limits {
    let mut limits = inner.settings.limits(action.kind);
    if action.kind == Kind::Bootstrap && super::carry::is_order(action) {
        limits.verify = limits.verify.max(super::ActionSettings::ORDER);
    }
    limits
}

/// Refuses what the record refuses anyway, before a lock is taken or anybody is asked.
fn refuse_early(inner: &Inner, action: &Action, by: Option<&Actor>) -> Result<(), Refusal> {
    if action.state == State::Executing && by.is_none() {
        return Ok(());
    }
    let begin = Event::Begin {
        by,
        replica: &inner.settings.replica,
        fence: i64::MAX,
        plan: &action.plan,
        off: None,
    };
    step(action, &begin, &limits(inner, action), now()).map(drop)
}
