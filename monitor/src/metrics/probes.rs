//! How long the SQL readings of each node take, and how they fail.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::wsrep::WsrepStatus;
use galera::record::series::{METRICS, NodeFigures, SeriesMetric};
use galera::{ClusterName, NodeId};

/// In seconds. SQL readings take about a millisecond and are bounded by a deadline of a few seconds.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 3.0, 10.0];

/// The readings of one node.
#[derive(Debug, Default)]
pub(crate) struct ProbeCounters {
    /// Readings that took at most as long as the bucket; not cumulative.
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    nanoseconds: AtomicU64,
    failures: [AtomicU64; ProbeErrorKind::ALL.len()],
    latest: Mutex<Option<LatestFigures>>,
}

/// The figures of the last reading; none after a failure.
#[derive(Debug)]
struct LatestFigures {
    at: Instant,
    reading: NodeFigures,
    /// By [`SeriesMetric`].
    values: [Option<f64>; METRICS],
}

impl LatestFigures {
    /// The figures of `reading`, which follows `before` without a failure in between.
    fn new(at: Instant, reading: NodeFigures, before: Option<&Self>) -> Self {
        let values = SeriesMetric::ALL.map(|metric| {
            let rate = || {
                let before = before?;
                let seconds = at.duration_since(before.at).as_secs_f64();
                metric.rate(&before.reading, &reading, seconds)
            };
            metric.reading(&reading).or_else(rate)
        });
        Self {
            at,
            reading,
            values,
        }
    }
}

impl ProbeCounters {
    fn record(&self, took: Duration, outcome: Result<&WsrepStatus, &ProbeError>) {
        let error = outcome.err().map(|error| error.kind);
        let reading = outcome.ok().map(|status| {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            NodeFigures::new(status, micros)
        });
        let mut latest = self.latest();
        *latest =
            reading.map(|reading| LatestFigures::new(Instant::now(), reading, latest.as_ref()));
        drop(latest);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|most| seconds <= *most);
        if let Some(bucket) = bucket {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        let kinds = ProbeErrorKind::ALL.iter().zip(&self.failures);
        for (_, failures) in kinds.filter(|(kind, _)| Some(**kind) == error) {
            failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The value of `metric` at the last reading; `None` after a failure, and of a rate after the first reading.
    pub(super) fn latest_value(&self, metric: SeriesMetric) -> Option<f64> {
        self.latest().as_ref()?.values[metric as usize]
    }

    fn latest(&self) -> MutexGuard<'_, Option<LatestFigures>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the histogram of the durations.
    pub(super) fn write_seconds(&self, text: &mut String, name: &str, labels: &str) -> fmt::Result {
        let mut cumulated = 0;
        let mut buckets = String::new();
        for (most, readings) in BUCKETS.iter().zip(&self.buckets) {
            cumulated += readings.load(Ordering::Relaxed);
            writeln!(
                buckets,
                "{name}_bucket{{le=\"{most:?}\",{labels}}} {cumulated}"
            )?;
        }
        // Read last, so that it is not less than a bucket.
        let count = self.count.load(Ordering::Relaxed).max(cumulated);
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        writeln!(text, "{name}_sum{{{labels}}} {sum:?}")?;
        writeln!(text, "{name}_count{{{labels}}} {count}")?;
        text.push_str(&buckets);
        writeln!(text, "{name}_bucket{{le=\"+Inf\",{labels}}} {count}")
    }

    /// Writes the number of failures of each kind that has occurred.
    pub(super) fn write_failures(
        &self,
        text: &mut String,
        name: &str,
        labels: &str,
    ) -> fmt::Result {
        for (kind, failures) in ProbeErrorKind::ALL.iter().zip(&self.failures) {
            let failures = failures.load(Ordering::Relaxed);
            if failures > 0 {
                let kind = kind.as_str();
                writeln!(text, "{name}_total{{{labels},kind=\"{kind}\"}} {failures}")?;
            }
        }
        Ok(())
    }
}

/// The counters of all probed nodes of each cluster.
#[derive(Debug, Default)]
pub(crate) struct ProbeMeters {
    nodes: Mutex<BTreeMap<ClusterName, NodeMeters>>,
}

/// The counters of the probed nodes of one cluster.
pub(super) type NodeMeters = BTreeMap<NodeId, Arc<ProbeCounters>>;

impl ProbeMeters {
    pub(super) fn record(
        &self,
        cluster: &ClusterName,
        node: &NodeId,
        took: Duration,
        outcome: Result<&WsrepStatus, &ProbeError>,
    ) {
        let known = self
            .nodes()
            .get(cluster)
            .and_then(|nodes| nodes.get(node).cloned());
        let counters = known.unwrap_or_else(|| {
            let mut clusters = self.nodes();
            let nodes = clusters.entry(cluster.clone()).or_default();
            Arc::clone(nodes.entry(node.clone()).or_default())
        });
        counters.record(took, outcome);
    }

    pub(super) fn forget(&self, cluster: &ClusterName, node: &NodeId) {
        let mut clusters = self.nodes();
        if let Some(nodes) = clusters.get_mut(cluster) {
            nodes.remove(node);
            if nodes.is_empty() {
                clusters.remove(cluster);
            }
        }
    }

    /// The counters, to be read without a lock.
    pub(super) fn current(&self) -> BTreeMap<ClusterName, NodeMeters> {
        self.nodes().clone()
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<ClusterName, NodeMeters>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
