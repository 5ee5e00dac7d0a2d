//! Past verdicts, as status pages show them.

use galera::record::uptime::UptimeDay;
use galera::view::VerdictState;
use galera::{ClusterName, Timestamp};
use history::EventHistory;

/// Source of past verdicts.
pub trait VerdictHistory: Send + Sync {
    /// Availability of `cluster` on the last `count` days up to `now`, oldest first.
    fn days(&self, cluster: &ClusterName, now: Timestamp, count: usize) -> Vec<UptimeDay>;

    /// Since when the verdict of `cluster` has been `verdict`; `None` when another one, or none, is recorded.
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
