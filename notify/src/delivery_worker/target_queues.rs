//! What waits for each target, in order, and what is to be done next.

use std::collections::BTreeMap;
use std::sync::Arc;

use galera::Timestamp;
use registry::{KeyMirror, RegistryEntry};

use super::{DeliveryUpdate, TargetsById};
use crate::dispatcher::FiringAlerts;
use crate::outbox::QueuedDelivery;
use crate::sender::{FiringAlert, REPEAT_INTERVAL};
use crate::target::{TargetChannel, TargetRecord};

/// Most deliveries that wait for one target; the oldest are given up.
const WAITING_MAX: usize = 1_000;
/// After how many deliveries a target's log is shortened.
const PRUNE_LOG_EVERY: u32 = 20;
/// Settled deliveries that are remembered, so that late news do not bring them back.
const SETTLED_MAX: usize = 10_000;

/// Something to do for a target.
#[derive(Debug)]
pub(super) enum DeliveryJob {
    /// Send it; and shorten the log afterwards, maybe.
    Send(Box<QueuedDelivery>, Arc<TargetRecord>, bool),
    /// Record that it is not sent, and why.
    GiveUp(Box<QueuedDelivery>, &'static str),
    /// Its target is gone.
    Discard(Box<QueuedDelivery>),
    /// Say again what still holds.
    Repeat(Arc<TargetRecord>, Vec<FiringAlert>),
}

#[derive(Debug, Default)]
struct TargetQueue {
    waiting: BTreeMap<(i64, Vec<u8>), QueuedDelivery>,
    busy: bool,
    repeated_at: Option<Timestamp>,
    sent_count: u32,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct TargetQueues {
    queues: BTreeMap<String, TargetQueue>,
    /// By key, the revision at which a delivery was settled by this office.
    settled_revisions: BTreeMap<Vec<u8>, i64>,
}

/// The outbox.
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
    /// A job ended. What it left in the outbox is known before the outbox tells of it.
    pub(super) fn job_finished(&mut self, target: &str, settled: Option<DeliveryUpdate>) {
        if let Some(line) = self.queues.get_mut(target) {
            line.busy = false;
        }
        let Some(DeliveryUpdate {
            before,
            after,
            revision,
        }) = settled
        else {
            return;
        };
        if let Some(revision) = revision {
            self.remember_settled(&before.key, revision);
        }
        match after {
            Some(after) => self.insert(after),
            // Whoever changed it meanwhile did so at a later revision than the one that was seen.
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

    /// What is due for targets that nothing is being done for. Their lines are busy from now on.
    pub(super) fn take_due_jobs(
        &mut self,
        table: &TargetsById,
        fires: &FiringAlerts,
        now: Timestamp,
    ) -> Vec<(String, DeliveryJob)> {
        for target in fires.keys() {
            self.queues.entry(target.clone()).or_default();
        }
        let mut jobs = Vec::new();
        for (target, line) in &mut self.queues {
            if line.busy {
                continue;
            }
            let known = table.get(target);
            let job = line.next_job(known.map(|known| &known.target), fires.get(target), now);
            if let Some(job) = job {
                line.busy = true;
                jobs.push((target.clone(), job));
            }
        }
        jobs
    }

    /// When the next thing is due for a target that nothing is being done for.
    pub(super) fn next_due_at(
        &self,
        table: &TargetsById,
        fires: &FiringAlerts,
    ) -> Option<Timestamp> {
        self.queues
            .iter()
            .filter(|(target, line)| {
                !line.busy && table.get(*target).is_some_and(|known| known.target.enabled)
            })
            .filter_map(|(target, line)| {
                line.next_due_at(
                    table.get(target).map(|known| &*known.target),
                    fires.contains_key(target),
                )
            })
            .min()
    }

    fn insert(&mut self, queued: QueuedDelivery) {
        let settled = self
            .settled_revisions
            .get(&queued.key)
            .copied()
            .unwrap_or_default();
        if queued.revision < settled {
            return;
        }
        let line = self
            .queues
            .entry(queued.delivery.target.clone())
            .or_default();
        let place = queued.order_key();
        // One that was queued again has another place.
        line.waiting
            .retain(|known, _| known.1 != place.1 || *known == place);
        match line.waiting.get(&place) {
            Some(known) if known.revision > queued.revision => {}
            _ => drop(line.waiting.insert(place, queued)),
        }
    }

    /// Removes the entry of `key` unless it is of later than `revision`.
    fn remove(&mut self, key: &[u8], revision: i64) {
        for line in self.queues.values_mut() {
            line.waiting
                .retain(|(_, known), queued| known != key || queued.revision > revision);
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
                    "more than 1000 notices wait for this target",
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

    fn next_due_at(&self, target: Option<&TargetRecord>, fires: bool) -> Option<Timestamp> {
        match self.waiting.values().next() {
            Some(queued) => queued.delivery.next_at,
            None if fires && target.is_some_and(needs_repeats) => self.next_repeat_at(),
            None => None,
        }
    }

    fn next_repeat_at(&self) -> Option<Timestamp> {
        self.repeated_at.map(|at| at.plus(REPEAT_INTERVAL))
    }
}

/// Whether this receiver forgets what is not repeated.
fn needs_repeats(target: &TargetRecord) -> bool {
    matches!(target.channel, TargetChannel::Alertmanager { .. })
}
