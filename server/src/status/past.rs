//! What was before now, as pages tell it.

use galera::record::uptime::Day;
use galera::view::VerdictState;
use galera::{ClusterName, Timestamp};
use history::Chronicle;

/// Who remembers how clusters were.
pub trait Past: Send + Sync {
    /// The last `count` days of `cluster` up to `now`, oldest first.
    fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<Day>;

    /// Since when `cluster` is `verdict`; `None` when something else, or nothing, is remembered of it.
    fn since(&self, cluster: &ClusterName, verdict: VerdictState) -> Option<Timestamp>;
}

impl Past for Chronicle {
    fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<Day> {
        Self::days(self, cluster, now, count)
    }

    fn since(&self, cluster: &ClusterName, verdict: VerdictState) -> Option<Timestamp> {
        let (recorded, since) = self.verdict_since(cluster)?;
        (recorded == verdict).then_some(since)
    }
}
