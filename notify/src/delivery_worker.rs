//! Sends the deliveries of the outbox: in order and one at a time per target, all targets concurrently.

mod target_queues;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::Term;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use registry::{Precondition, Transaction, TransactionOutcome, WriteOp};
use tokio::sync::watch;

use super::NotifyInner;
use super::dispatcher::FiringAlerts;
use super::outbox::{self, QueuedDelivery};
use super::sender::{DeliveryOutcome, FiringAlert};
use super::target::TargetRecord;
use target_queues::{DeliveryJob, TargetQueues};

/// Pause between attempts to record a result.
const RETRY_DELAY: Duration = Duration::from_secs(1);

struct FinishedJob {
    target: String,
    /// The result, when the job was about a delivery.
    update: Option<DeliveryUpdate>,
}

/// How a job changed a delivery.
#[derive(Debug)]
struct DeliveryUpdate {
    before: QueuedDelivery,
    /// Its successor in the outbox, when it is to be retried.
    after: Option<QueuedDelivery>,
    /// Revision of the write; `None` when another write had changed the delivery before.
    revision: Option<i64>,
}

/// The delivery worker of one leader term.
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

    /// Runs until it is dropped. Attempts in progress at that time are repeated by the next leader.
    pub(super) async fn run(mut self) {
        let mut outbox = self.inner.registry.watch(self.inner.keys.outbox());
        let mut targets = self.inner.targets.subscribe();
        let mut queues = TargetQueues::default();
        let mut in_flight: FuturesUnordered<BoxFuture<'static, FinishedJob>> =
            FuturesUnordered::new();
        loop {
            let (targets_by_id, firing_alerts) = (
                targets.borrow_and_update().clone(),
                self.firing_alerts.borrow_and_update().clone(),
            );
            let mut wake = None;
            if let Some(by_id) = targets_by_id {
                for (target, job) in queues.take_due_jobs(&by_id, &firing_alerts, now()) {
                    in_flight.push(self.start_job(target, job));
                }
                wake = queues.next_due_at(&by_id, &firing_alerts);
            }
            let wait = wake.map(|at| now().age(at));
            tokio::select! {
                event = outbox.next() => match event {
                    Some(event) => { event.apply_to(&mut queues); }
                    None => return,
                },
                Some(FinishedJob { target, update }) = in_flight.next(), if !in_flight.is_empty() => {
                    queues.job_finished(&target, update);
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
            DeliveryJob::Send(queued, _, _) if !inner.seals.is_genuine(&queued.delivery) => {
                refuse_forged(inner, term, target, *queued).boxed()
            }
            DeliveryJob::Send(queued, record, prune) => {
                deliver(inner, term, target, *queued, record, prune).boxed()
            }
            DeliveryJob::GiveUp(queued, why) => {
                let next = outbox::give_up(&queued.delivery, why, now());
                let transaction = outbox::settle_transaction(&inner.keys, &queued, &next);
                async move {
                    let update = record_result(&inner, &term, *queued, None, &transaction).await;
                    FinishedJob { target, update }
                }
                .boxed()
            }
            DeliveryJob::Discard(queued) => async move {
                let unchanged = Precondition::Unchanged(queued.key.clone(), queued.revision);
                let transaction = Transaction::new()
                    .when(unchanged)
                    .then([WriteOp::delete(queued.key.clone())]);
                let update = record_result(&inner, &term, *queued, None, &transaction).await;
                FinishedJob { target, update }
            }
            .boxed(),
            DeliveryJob::Repeat(record, firing) => {
                repeat_alerts(inner, target, record, firing).boxed()
            }
        }
    }
}

/// Why a forged delivery fails.
const FORGED: &str = "not sent: it was not queued by a console with this state secret; another client of etcd wrote it";

/// Records that a forged delivery was not sent.
async fn refuse_forged(
    inner: Arc<NotifyInner>,
    term: Arc<Term>,
    target: String,
    queued: QueuedDelivery,
) -> FinishedJob {
    let key = String::from_utf8_lossy(&queued.key).into_owned();
    tracing::error!(
        key,
        "The delivery {key} in etcd was {FORGED}. Check who can write to etcd"
    );
    let next = outbox::give_up(&queued.delivery, FORGED, now());
    let transaction = outbox::settle_transaction(&inner.keys, &queued, &next);
    let update = record_result(&inner, &term, queued, None, &transaction).await;
    FinishedJob { target, update }
}

/// Makes one attempt and records its result.
async fn deliver(
    inner: Arc<NotifyInner>,
    term: Arc<Term>,
    target: String,
    queued: QueuedDelivery,
    to: Arc<TargetRecord>,
    prune: bool,
) -> FinishedJob {
    let notification = &queued.delivery.notice;
    let (outcome, attempt) = inner.sender.attempt(&target, &to, notification).await;
    match &attempt.error {
        None => tracing::info!(
            target.id = target,
            notice.id = notification.id,
            duration_ms = attempt.millis,
            "Notified {}: {}",
            to.name,
            notification.title
        ),
        Some(error) => tracing::warn!(
            target.id = target,
            notice.id = notification.id,
            duration_ms = attempt.millis,
            error,
            "Could not notify {}: {error}",
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
    let retry = next.next_at.is_some().then_some(next);
    let update = record_result(&inner, &term, queued, retry, &transaction).await;
    if prune
        && let Err(error) =
            outbox::prune_log(&inner.registry, &inner.keys, &target, term.fence()).await
    {
        tracing::debug!(%error, "Could not prune the delivery log; will retry: {error}");
    }
    FinishedJob { target, update }
}

/// Records the result of `queued`, retrying until etcd answers: an outage of etcd must not cause a second delivery. If the
/// reply to a successful write is lost, the next attempt is refused and the outbox's watch delivers the current entry.
async fn record_result(
    inner: &NotifyInner,
    term: &Term,
    queued: QueuedDelivery,
    retry: Option<galera::publish::notification::delivery::Delivery>,
    transaction: &Transaction,
) -> Option<DeliveryUpdate> {
    let transaction = transaction.clone().when(term.fence());
    loop {
        match inner.registry.transact(&transaction).await {
            Ok(TransactionOutcome::Committed { revision }) => {
                let after = retry.map(|delivery| QueuedDelivery {
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
            Ok(TransactionOutcome::Refused { .. }) => {
                return Some(DeliveryUpdate {
                    before: queued,
                    after: None,
                    revision: None,
                });
            }
            Err(error) => {
                tracing::warn!(%error, "Could not record a delivery; will retry: {error}");
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

type TargetsById = BTreeMap<String, super::target_cache::CachedTarget>;
