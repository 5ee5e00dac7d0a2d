//! Makes the database of the embedded etcd smaller when most of it is free. An etcd of its own is left to its
//! administrators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use registry::{Registry, StorageAlarm, StorageStatus};
use tokio::time::Instant;

use super::shown;
use crate::actions::ExecutionGate;

/// How long etcd may take; it answers nothing else meanwhile.
const TIMEOUT: Duration = Duration::from_secs(120);

/// When the database of etcd is defragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefragmentationPolicy {
    /// Free bytes that the database has at least, beside being the larger part of it.
    pub free_bytes: u64,
    /// Bytes in use above which it is left to an administrator: etcd answers nothing while they are copied.
    pub in_use_limit: u64,
    /// Time between two defragmentations.
    pub interval: Duration,
    /// Time between attempts after one that failed.
    pub retry_interval: Duration,
}

impl Default for DefragmentationPolicy {
    fn default() -> Self {
        Self {
            free_bytes: 64 << 20,
            in_use_limit: 256 << 20,
            interval: Duration::from_secs(3600),
            retry_interval: Duration::from_secs(600),
        }
    }
}

impl DefragmentationPolicy {
    /// Whether a defragmentation is worth the time in which etcd does not answer.
    fn applies(&self, status: &StorageStatus) -> bool {
        let free = status.database_size.saturating_sub(status.in_use);
        free > self.free_bytes
            && free > status.database_size / 2
            && status.in_use <= self.in_use_limit
            && !status.alarms.contains(&StorageAlarm::Corrupt)
    }
}

/// Defragments the database of etcd when its policy applies.
#[derive(Debug)]
pub(super) struct Defragmenter {
    counts: Arc<DefragmentationCounts>,
    /// No action is carried out in the meantime.
    gate: ExecutionGate,
    /// Not before.
    next: Option<Instant>,
}

impl Defragmenter {
    pub(super) fn new(counts: Arc<DefragmentationCounts>, gate: ExecutionGate) -> Self {
        Self {
            counts,
            gate,
            next: None,
        }
    }

    /// Defragments the database if `status` calls for it, and returns whether it did.
    pub(super) async fn run_if_due(&mut self, status: &StorageStatus, registry: &Registry) -> bool {
        let policy = self.counts.policy;
        let early = self.next.is_some_and(|next| Instant::now() < next);
        if early || !policy.applies(status) {
            return false;
        }
        // Otherwise the next reading tries again.
        let Some(_closed) = self.gate.try_close() else {
            return false;
        };
        let began = Instant::now();
        let result = registry.defragment(TIMEOUT).await;
        let took = began.elapsed();
        self.counts.add(result.is_ok(), took);
        let pause = match result {
            Ok(()) => {
                log_success(status, registry.storage_status().await.ok(), took);
                policy.interval
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    retry_after_seconds = policy.retry_interval.as_secs(),
                    "etcd's database could not be defragmented; the next attempt follows later: {error}"
                );
                policy.retry_interval
            }
        };
        self.next = Some(Instant::now() + pause);
        true
    }
}

fn log_success(before: &StorageStatus, after: Option<StorageStatus>, took: Duration) {
    let size = after.map_or_else(
        || "an unknown size".to_owned(),
        |after| shown(after.database_size),
    );
    let milliseconds = took.as_millis();
    tracing::info!(
        milliseconds,
        "etcd's database was defragmented in {milliseconds} ms: it had {}, of which {} were in use, and now has {size}",
        shown(before.database_size),
        shown(before.in_use)
    );
}

/// When etcd is defragmented, and how often it was since the start.
#[derive(Debug)]
pub(super) struct DefragmentationCounts {
    policy: DefragmentationPolicy,
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// The time that the newest one took.
    milliseconds: AtomicU64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl DefragmentationCounts {
    pub(super) fn new(policy: DefragmentationPolicy) -> Self {
        Self {
            policy,
            succeeded: AtomicU64::default(),
            failed: AtomicU64::default(),
            milliseconds: AtomicU64::default(),
        }
    }

    fn add(&self, succeeded: bool, took: Duration) {
        let count = if succeeded {
            &self.succeeded
        } else {
            &self.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        let counts: Family<ResultLabels, Counter> = Family::default();
        for (result, count) in [("succeeded", &self.succeeded), ("failed", &self.failed)] {
            counts
                .get_or_create(&ResultLabels { result })
                .inc_by(count.load(Ordering::Relaxed));
        }
        registry.register(
            "etcd_defragmentations",
            "Defragmentations of the embedded etcd's database, by their result",
            counts,
        );
        let seconds: Gauge<f64, AtomicU64> = Gauge::default();
        let milliseconds = Duration::from_millis(self.milliseconds.load(Ordering::Relaxed));
        seconds.set(milliseconds.as_secs_f64());
        registry.register(
            "etcd_defragmentation_duration_seconds",
            "Time that the newest of them took, in which etcd did not answer",
            seconds,
        );
    }
}

#[cfg(test)]
mod tests {
    use registry::memory::MemoryEtcd;

    use super::*;

    const MEBIBYTE: u64 = 1 << 20;

    fn status(size: u64, in_use: u64) -> StorageStatus {
        StorageStatus {
            database_size: size * MEBIBYTE,
            in_use: in_use * MEBIBYTE,
            ..StorageStatus::default()
        }
    }

    #[test]
    fn only_a_database_that_is_mostly_free_is_defragmented() {
        let policy = DefragmentationPolicy::default();
        for (size, in_use, applies) in [
            (200, 50, true),
            // Not more than 64 MiB free.
            (70, 6, false),
            (71, 6, true),
            // Half of it in use.
            (200, 100, false),
            (202, 100, true),
            // Too much to copy.
            (4096, 256, true),
            (4096, 257, false),
            // Unknown, or wrong.
            (0, 0, false),
            (10, 200, false),
        ] {
            assert_eq!(
                policy.applies(&status(size, in_use)),
                applies,
                "{size} {in_use}"
            );
        }
        let mut corrupt = status(200, 50);
        corrupt.alarms = vec![StorageAlarm::Corrupt];
        assert!(!policy.applies(&corrupt));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_counted_and_tried_again_later() {
        let etcd = MemoryEtcd::new();
        let registry = etcd.registry();
        let policy = DefragmentationPolicy::default();
        let counts = Arc::new(DefragmentationCounts::new(policy));
        let mut defragmenter = Defragmenter::new(Arc::clone(&counts), ExecutionGate::default());
        let free = status(200, 50);
        etcd.stop();
        assert!(defragmenter.run_if_due(&free, &registry).await);
        assert_eq!(counts.failed.load(Ordering::Relaxed), 1);
        etcd.start();
        assert!(!defragmenter.run_if_due(&free, &registry).await);
        tokio::time::advance(policy.retry_interval).await;
        assert!(defragmenter.run_if_due(&free, &registry).await);
        assert_eq!(counts.succeeded.load(Ordering::Relaxed), 1);
        tokio::time::advance(policy.retry_interval).await;
        assert!(!defragmenter.run_if_due(&free, &registry).await);
        tokio::time::advance(policy.interval).await;
        assert!(defragmenter.run_if_due(&free, &registry).await);
    }
}
