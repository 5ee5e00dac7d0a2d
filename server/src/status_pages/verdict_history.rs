//! What was before now, as pages tell it.

use galera::record::uptime::UptimeDay;
use galera::view::VerdictState;
use galera::{ClusterName, Timestamp};
use history::EventHistory;

/// Who remembers how clusters were.
pub trait VerdictHistory: Send + Sync {
    /// The last `count` days of `cluster` up to `now`, oldest first.
    fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<UptimeDay>;

    /// Since when `cluster` is `verdict`; `None` when something else, or nothing, is remembered of it.
    fn since(&self, cluster: &ClusterName, verdict: VerdictState) -> Option<Timestamp>;
}

impl VerdictHistory for EventHistory {
    fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<UptimeDay> {
        Self::days(self, cluster, now, count)
    }

    fn since(&self, cluster: &ClusterName, verdict: VerdictState) -> Option<Timestamp> {
        let (recorded, since) = self.verdict_since(cluster)?;
        (recorded == verdict).then_some(since)
    }
}
