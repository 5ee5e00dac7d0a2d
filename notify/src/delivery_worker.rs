//! Sends what lies in the outbox: each target's deliveries in order and one at a time, all targets at once.

mod target_queues;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::Term;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use registry::{Precondition, Transaction, TransactionOutcome as Written, WriteOp};
use tokio::sync::watch;

use super::NotifyInner;
use super::dispatcher::FiringAlerts;
use super::outbox::{self, QueuedDelivery};
use super::sender::{DeliveryOutcome, FiringAlert};
use super::target::TargetRecord;
use target_queues::{DeliveryJob, TargetQueues};

/// Between attempts to record what was sent.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A job that came to its end.
struct FinishedJob {
    target: String,
    /// What became of a delivery.
    update: Option<DeliveryUpdate>,
}

/// What a job made of a delivery.
#[derive(Debug)]
struct DeliveryUpdate {
    before: QueuedDelivery,
    /// What lies in the outbox instead.
    after: Option<QueuedDelivery>,
    /// When that was written; `None` when somebody else had changed it before.
    revision: Option<i64>,
}

/// The courier of one term.
pub(super) struct DeliveryWorker {
    inner: Arc<NotifyInner>,
    term: Arc<Term>,
    firing_alerts: watch::Receiver<FiringAlerts>,
}

impl DeliveryWorker {
    pub(super) fn new(
        inner: Arc<NotifyInner>,
        term: Arc<Term>,
        firing_alerts: watch::Receiver<FiringAlerts>,
    ) -> Self {
        Self {
            inner,
            term,
            firing_alerts,
        }
    }

    /// Runs until it is dropped; what is under way then is sent again by the next leader.
    pub(super) async fn run(mut self) {
        let mut outbox = self.inner.registry.watch(self.inner.keys.outbox());
        let mut targets = self.inner.targets.subscribe();
        let mut office = TargetQueues::default();
        let mut flying: FuturesUnordered<BoxFuture<'static, FinishedJob>> = FuturesUnordered::new();
        loop {
            let (table, fires) = (
                targets.borrow_and_update().clone(),
                self.firing_alerts.borrow_and_update().clone(),
            );
            let mut wake = None;
            if let Some(table) = table {
                for (target, job) in office.take_due_jobs(&table, &fires, now()) {
                    flying.push(self.start_job(target, job));
                }
                wake = office.next_due_at(&table, &fires);
            }
            let wait = wake.map(|at| now().age(at));
            tokio::select! {
                event = outbox.next() => match event {
                    Some(event) => { event.apply_to(&mut office); }
                    None => return,
                },
                Some(FinishedJob { target, update }) = flying.next(), if !flying.is_empty() => {
                    office.job_finished(&target, update);
                }
                changed = targets.changed() => if changed.is_err() { return },
                changed = self.firing_alerts.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    fn start_job(&self, target: String, job: DeliveryJob) -> BoxFuture<'static, FinishedJob> {
        let (inner, term) = (Arc::clone(&self.inner), Arc::clone(&self.term));
        match job {
            DeliveryJob::Send(queued, record, prune) => {
                deliver(inner, term, target, *queued, record, prune).boxed()
            }
            DeliveryJob::GiveUp(queued, why) => {
                let next = outbox::give_up(&queued.delivery, why, now());
                let transaction = outbox::settle_transaction(&inner.keys, &queued, &next);
                async move {
                    let settled = record_result(&inner, &term, *queued, None, &transaction).await;
                    FinishedJob {
                        target,
                        update: settled,
                    }
                }
                .boxed()
            }
            DeliveryJob::Discard(queued) => async move {
                let guard = Precondition::Unchanged(queued.key.clone(), queued.revision);
                let transaction = Transaction::new()
                    .when(guard)
                    .then([WriteOp::delete(queued.key.clone())]);
                let settled = record_result(&inner, &term, *queued, None, &transaction).await;
                FinishedJob {
                    target,
                    update: settled,
                }
            }
            .boxed(),
            DeliveryJob::Repeat(record, firing) => {
                repeat_alerts(inner, target, record, firing).boxed()
            }
        }
    }
}

/// One attempt, recorded.
async fn deliver(
    inner: Arc<NotifyInner>,
    term: Arc<Term>,
    target: String,
    queued: QueuedDelivery,
    to: Arc<TargetRecord>,
    prune: bool,
) -> FinishedJob {
    let notice = &queued.delivery.notice;
    let (outcome, attempt) = inner.sender.attempt(&target, &to, notice).await;
    match &attempt.error {
        None => tracing::info!(
            target.id = target,
            notice.id = notice.id,
            duration_ms = attempt.millis,
            "Told {}: {}",
            to.name,
            notice.title
        ),
        Some(error) => tracing::warn!(
            target.id = target,
            notice.id = notice.id,
            duration_ms = attempt.millis,
            error,
            "Could not tell {}: {error}",
            to.name
        ),
    }
    let next = outbox::after_attempt(
        &queued.delivery,
        attempt,
        outcome == DeliveryOutcome::Rejected,
        now(),
    );
    let transaction = outbox::settle_transaction(&inner.keys, &queued, &next);
    let waits = next.next_at.is_some().then_some(next);
    let settled = record_result(&inner, &term, queued, waits, &transaction).await;
    if prune
        && let Err(error) =
            outbox::prune_log(&inner.registry, &inner.keys, &target, term.fence()).await
    {
        tracing::debug!(%error, "Old deliveries stay for now");
    }
    FinishedJob {
        target,
        update: settled,
    }
}

/// Records what became of `queued`, for as long as that takes: what was sent must not be sent again because etcd is away.
/// Whether it happened cannot be told after a lost answer, but then the entry is not what it was, and the outbox's own
/// news say what it is.
async fn record_result(
    inner: &NotifyInner,
    term: &Term,
    queued: QueuedDelivery,
    waits: Option<galera::publish::notification::delivery::Delivery>,
    transaction: &Transaction,
) -> Option<DeliveryUpdate> {
    let transaction = transaction.clone().when(term.fence());
    loop {
        match inner.registry.transact(&transaction).await {
            Ok(Written::Committed { revision }) => {
                let after = waits.map(|delivery| QueuedDelivery {
                    revision,
                    delivery,
                    ..queued.clone()
                });
                return Some(DeliveryUpdate {
                    before: queued,
                    after,
                    revision: Some(revision),
                });
            }
            Ok(Written::Refused { .. }) => {
                return Some(DeliveryUpdate {
                    before: queued,
                    after: None,
                    revision: None,
                });
            }
            Err(error) => {
                tracing::warn!(%error, "What was sent is not recorded yet: {error}");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

async fn repeat_alerts(
    inner: Arc<NotifyInner>,
    target: String,
    to: Arc<TargetRecord>,
    firing: Vec<FiringAlert>,
) -> FinishedJob {
    if let Some(reply) = inner.sender.repeat_alerts(&to, &firing).await
        && let Some(error) = reply.error
    {
        tracing::warn!(
            target.id = target,
            error,
            "Could not repeat alerts to {}: {error}",
            to.name
        );
    }
    FinishedJob {
        target,
        update: None,
    }
}

/// The targets as they are known.
type TargetsById = BTreeMap<String, super::target_cache::CachedTarget>;
