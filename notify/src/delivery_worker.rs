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
use galera::publish::notification::delivery::Delivery;
use registry::{Transaction, TransactionOutcome, spans};
use tokio::sync::watch;
use tracing::Instrument;
use tracing::field::Empty;

use super::NotifyInner;
use super::dispatcher::FiringAlerts;
use super::outbox::{self, QueuedDelivery};
use super::queue_numbers::SettledNumber;
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
                async move {
                    let settled = settled_number(&inner, &target).await;
                    let update = record_end(&inner, &term, *queued, &next, settled).await;
                    FinishedJob { target, update }
                }
                .boxed()
            }
            DeliveryJob::Discard(queued) => async move {
                let transaction = outbox::discard_transaction(&queued);
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
    // With a newer secret in use it may be genuine, and is left to the next leader, which drops this.
    while let Err(error) = inner.registry.check_secret().await {
        tracing::debug!(%error, "A delivery could not be verified; will retry: {error}");
        tokio::time::sleep(RETRY_DELAY).await;
    }
    let key = String::from_utf8_lossy(&queued.key).into_owned();
    tracing::error!(
        key,
        "The delivery {key} in etcd was {FORGED}. Check who can write to etcd"
    );
    let next = outbox::give_up(&queued.delivery, FORGED, now());
    let transaction = outbox::finish_transaction(&inner.keys, &queued, &next);
    let update = record_result(&inner, &term, queued, None, &transaction).await;
    FinishedJob { target, update }
}

/// Why a delivery fails that was delivered or given up before.
const SETTLED: &str =
    "not sent: it was delivered or given up before; another client of etcd put it back";
/// Why it fails if that is not known.
const UNKNOWN: &str = "not sent: whether it was delivered before is not known, because another client of etcd removed or altered the note of it; send it again if it is missing";

/// Records that a delivery was not sent because it had ended before.
async fn refuse_settled(
    inner: Arc<NotifyInner>,
    term: Arc<Term>,
    target: String,
    queued: QueuedDelivery,
    settled: SettledNumber,
) -> FinishedJob {
    let why = if settled.is_lost() { UNKNOWN } else { SETTLED };
    let key = String::from_utf8_lossy(&queued.key).into_owned();
    tracing::error!(
        key,
        "The delivery {key} in etcd was {why}. Check who can write to etcd"
    );
    let logged = inner.keys.log_entry(&target, &queued.delivery.notice.id);
    // What the log has of it stays: how it ended.
    let is_logged = matches!(inner.registry.get(logged).await, Ok(Some(_)));
    let transaction = if is_logged {
        outbox::discard_transaction(&queued)
    } else {
        let next = outbox::give_up(&queued.delivery, why, now());
        outbox::finish_transaction(&inner.keys, &queued, &next)
    };
    let transaction = settled.record_in(transaction, queued.delivery.number);
    let update = record_result(&inner, &term, queued, None, &transaction).await;
    FinishedJob { target, update }
}

/// What was settled of the deliveries to `target`, retrying until etcd answers.
async fn settled_number(inner: &NotifyInner, target: &str) -> SettledNumber {
    loop {
        match SettledNumber::read(&inner.registry, &inner.keys, target).await {
            Ok(settled) => return settled,
            Err(error) => {
                tracing::debug!(%error, "Could not read which deliveries have ended; will retry: {error}");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
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
    let settled = settled_number(&inner, &target).await;
    // A console without a state secret sends what an earlier version queued without a number.
    let is_numbered = queued.delivery.number > 0 || inner.seals.are_required();
    if is_numbered && settled.includes(queued.delivery.number) {
        return refuse_settled(inner, term, target, queued, settled).await;
    }
    let notification = &queued.delivery.notice;
    let span = tracing::info_span!(
        target: spans::TARGET, "delivery",
        otel.name = "deliver notification", otel.kind = "producer", otel.status_code = Empty,
        notification.id = notification.id, error.type = Empty,
    );
    let attempt = inner.sender.attempt(&target, &to, notification);
    let (outcome, attempt) = attempt.instrument(span.clone()).await;
    if attempt.error.is_some() {
        spans::record_error(&span, "not_accepted");
    }
    drop(span);
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
    let update = if next.next_at.is_some() {
        let transaction = outbox::retry_transaction(&queued, &next);
        record_result(&inner, &term, queued, Some(next), &transaction).await
    } else {
        record_end(&inner, &term, queued, &next, settled).await
    };
    if prune
        && let Err(error) =
            outbox::prune_log(&inner.registry, &inner.keys, &target, term.fence()).await
    {
        tracing::debug!(%error, "Could not prune the delivery log; will retry: {error}");
    }
    FinishedJob { target, update }
}

/// Records how `queued` ended. If its entry was changed during the attempt, it is settled all the same, so that a copy of it is
/// not sent.
async fn record_end(
    inner: &NotifyInner,
    term: &Term,
    queued: QueuedDelivery,
    next: &Delivery,
    mut settled: SettledNumber,
) -> Option<DeliveryUpdate> {
    let number = queued.delivery.number;
    let finish = outbox::finish_transaction(&inner.keys, &queued, next);
    if number == 0 {
        return record_result(inner, term, queued, None, &finish).await;
    }
    let target = queued.delivery.target.clone();
    loop {
        let transaction = settled.record_in(finish.clone(), number);
        let update = record_result(inner, term, queued.clone(), None, &transaction).await;
        if update
            .as_ref()
            .is_none_or(|update| update.revision.is_some())
        {
            return update;
        }
        let log = Transaction::new().then([outbox::log_write(&inner.keys, next)]);
        let transaction = settled.record_in(log, number);
        let logged = record_result(inner, term, queued.clone(), None, &transaction).await;
        if logged.is_none_or(|logged| logged.revision.is_some()) {
            return update;
        }
        let latest = settled_number(inner, &target).await;
        if latest == settled || latest.includes(number) {
            // Another replica leads, or has settled it.
            return update;
        }
        settled = latest;
    }
}

/// Records the result of `queued`, retrying until etcd answers: an outage of etcd must not cause a second delivery. If the
/// reply to a successful write is lost, the next attempt is refused and the outbox's watch delivers the current entry.
async fn record_result(
    inner: &NotifyInner,
    term: &Term,
    queued: QueuedDelivery,
    retry: Option<Delivery>,
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
