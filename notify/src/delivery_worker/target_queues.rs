//! The waiting deliveries of each target, in order, and the next job of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::Timestamp;
use registry::{KeyMirror, RegistryEntry};

use super::{DeliveryUpdate, TargetsById};
use crate::dispatcher::FiringAlerts;
use crate::outbox::{OrderKey, QueuedDelivery};
use crate::sender::{FiringAlert, REPEAT_INTERVAL};
use crate::target::{TargetChannel, TargetRecord};

/// Maximum number of waiting deliveries per target; beyond it, the oldest fail without an attempt.
const WAITING_MAX: usize = 1_000;
/// A target's log is pruned after this many deliveries.
const PRUNE_LOG_EVERY: u32 = 20;
/// Maximum number of settled deliveries remembered, so that a late watch event does not bring them back.
const SETTLED_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) enum DeliveryJob {
    /// Attempt it; prune the target's log afterwards if `true`.
    Send(Box<QueuedDelivery>, Arc<TargetRecord>, bool),
    /// Record it as failed without an attempt, for this reason.
    GiveUp(Box<QueuedDelivery>, &'static str),
    /// Delete it: its target was removed.
    Discard(Box<QueuedDelivery>),
    /// Repeat the alerts that are still firing.
    Repeat(Arc<TargetRecord>, Vec<FiringAlert>),
}

#[derive(Debug, Default)]
struct TargetQueue {
    waiting: BTreeMap<OrderKey, QueuedDelivery>,
    busy: bool,
    repeated_at: Option<Timestamp>,
    sent_count: u32,
}

/// The queues of all targets.
#[derive(Debug, Default)]
pub(super) struct TargetQueues {
    queues: BTreeMap<String, TargetQueue>,
    /// By key, the revision at which this worker settled a delivery.
    settled_revisions: BTreeMap<Vec<u8>, i64>,
}

/// Applies changes of the outbox.
impl KeyMirror for TargetQueues {
    fn clear(&mut self) {
        for queue in self.queues.values_mut() {
            queue.waiting.clear();
        }
    }

    fn put(&mut self, entry: &RegistryEntry) {
        if let Some(queued) = QueuedDelivery::parse(entry) {
            self.insert(queued);
        }
    }

    fn delete(&mut self, key: &[u8], revision: i64) {
        self.remove(key, revision);
    }
}

impl TargetQueues {
    /// Applies the result of a job, ahead of the outbox's watch.
    pub(super) fn job_finished(&mut self, target: &str, update: Option<DeliveryUpdate>) {
        if let Some(queue) = self.queues.get_mut(target) {
            queue.busy = false;
        }
        let Some(DeliveryUpdate {
            before,
            after,
            revision,
        }) = update
        else {
            return;
        };
        if let Some(revision) = revision {
            self.remember_settled(&before.key, revision);
        }
        match after {
            Some(after) => self.insert(after),
            // A concurrent change has a later revision and is kept.
            None => self.remove(&before.key, before.revision),
        }
    }

    fn remember_settled(&mut self, key: &[u8], revision: i64) {
        if self.settled_revisions.len() >= SETTLED_MAX {
            let mut revisions: Vec<i64> = self.settled_revisions.values().copied().collect();
            revisions.sort_unstable();
            let middle = revisions[revisions.len() / 2];
            self.settled_revisions
                .retain(|_, settled| *settled > middle);
        }
        self.settled_revisions.insert(key.to_vec(), revision);
    }

    /// Takes the due jobs of idle targets and marks these busy.
    pub(super) fn take_due_jobs(
        &mut self,
        targets: &TargetsById,
        firing_alerts: &FiringAlerts,
        now: Timestamp,
    ) -> Vec<(String, DeliveryJob)> {
        for target in firing_alerts.keys() {
            self.queues.entry(target.clone()).or_default();
        }
        let mut jobs = Vec::new();
        for (target, queue) in &mut self.queues {
            if queue.busy {
                continue;
            }
            let cached = targets.get(target);
            let job = queue.next_job(
                cached.map(|cached| &cached.target),
                firing_alerts.get(target),
                now,
            );
            if let Some(job) = job {
                queue.busy = true;
                jobs.push((target.clone(), job));
            }
        }
        jobs
    }

    /// When the next job of an idle target is due.
    pub(super) fn next_due_at(
        &self,
        targets: &TargetsById,
        firing_alerts: &FiringAlerts,
    ) -> Option<Timestamp> {
        self.queues
            .iter()
            .filter(|(target, queue)| {
                !queue.busy
                    && targets
                        .get(*target)
                        .is_some_and(|cached| cached.target.enabled)
            })
            .filter_map(|(target, queue)| {
                queue.next_due_at(
                    targets.get(target).map(|cached| &*cached.target),
                    firing_alerts.contains_key(target),
                )
            })
            .min()
    }

    fn insert(&mut self, queued: QueuedDelivery) {
        let settled_at = self
            .settled_revisions
            .get(&queued.key)
            .copied()
            .unwrap_or_default();
        if queued.revision < settled_at {
            return;
        }
        let queue = self
            .queues
            .entry(queued.delivery.target.clone())
            .or_default();
        let position = queued.order_key();
        // A requeued delivery has another position.
        queue
            .waiting
            .retain(|known, _| known.2 != position.2 || *known == position);
        match queue.waiting.get(&position) {
            Some(known) if known.revision > queued.revision => {}
            _ => drop(queue.waiting.insert(position, queued)),
        }
    }

    /// Removes the entry of `key` unless it is newer than `revision`.
    fn remove(&mut self, key: &[u8], revision: i64) {
        for queue in self.queues.values_mut() {
            queue
                .waiting
                .retain(|(_, _, known), queued| known != key || queued.revision > revision);
        }
    }
}

impl TargetQueue {
    fn next_job(
        &mut self,
        target: Option<&Arc<TargetRecord>>,
        firing: Option<&Vec<FiringAlert>>,
        now: Timestamp,
    ) -> Option<DeliveryJob> {
        let first = self.waiting.values().next();
        let Some(target) = target else {
            return first.map(|queued| DeliveryJob::Discard(Box::new(queued.clone())));
        };
        if let Some(queued) = first {
            if self.waiting.len() > WAITING_MAX {
                return Some(DeliveryJob::GiveUp(
                    Box::new(queued.clone()),
                    "more than 1000 notifications are waiting for this target",
                ));
            }
            let due = queued.delivery.next_at.is_none_or(|at| at <= now);
            if target.enabled && due {
                self.sent_count = self.sent_count.wrapping_add(1);
                let prune = self.sent_count % PRUNE_LOG_EVERY == 1;
                return Some(DeliveryJob::Send(
                    Box::new(queued.clone()),
                    Arc::clone(target),
                    prune,
                ));
            }
            return None;
        }
        let repeats = needs_repeats(target) && target.enabled;
        let firing =
            firing.filter(|_| repeats && self.next_repeat_at().is_none_or(|at| at <= now))?;
        self.repeated_at = Some(now);
        Some(DeliveryJob::Repeat(Arc::clone(target), firing.clone()))
    }

    fn next_due_at(&self, target: Option<&TargetRecord>, is_firing: bool) -> Option<Timestamp> {
        match self.waiting.values().next() {
            Some(queued) => queued.delivery.next_at,
            None if is_firing && target.is_some_and(needs_repeats) => self.next_repeat_at(),
            None => None,
        }
    }

    fn next_repeat_at(&self) -> Option<Timestamp> {
        self.repeated_at.map(|at| at.plus(REPEAT_INTERVAL))
    }
}

/// Whether this receiver resolves alerts that are not repeated.
fn needs_repeats(target: &TargetRecord) -> bool {
    matches!(target.channel, TargetChannel::Alertmanager { .. })
}
