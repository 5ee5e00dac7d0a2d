//! Keys of the event history in etcd.

use galera::ClusterName;
use registry::numbered_key;

/// Builds the keys of the event history.
#[derive(Clone, Debug)]
pub struct HistoryKeys {
    root: String,
}

/// A parsed key below [`HistoryKeys::live`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveKey {
    Head(ClusterName),
    Tail(ClusterName, u64),
    Days(ClusterName),
    ObservedUntil,
    GapRequest,
}

impl HistoryKeys {
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            root: format!("{}/chronicle", state_prefix.trim_end_matches('/')),
        }
    }

    /// Prefix of everything that every replica mirrors in memory.
    #[must_use]
    pub fn live(&self) -> String {
        format!("{}/live/", self.root)
    }

    /// Head of a cluster's history.
    #[must_use]
    pub fn head(&self, cluster: &ClusterName) -> String {
        format!("{}/live/head/{cluster}", self.root)
    }

    /// Prefix of the events that are not in a block yet, by sequence.
    #[must_use]
    pub fn tail(&self, cluster: &ClusterName) -> String {
        format!("{}/live/tail/{cluster}/", self.root)
    }

    /// One event that is not in a block yet.
    #[must_use]
    pub fn event(&self, cluster: &ClusterName, sequence: u64) -> String {
        numbered_key(&self.tail(cluster), sequence)
    }

    /// Completed days.
    #[must_use]
    pub fn days(&self, cluster: &ClusterName) -> String {
        format!("{}/live/days/{cluster}", self.root)
    }

    /// Until when some replica was observing.
    #[must_use]
    pub fn observed_until(&self) -> String {
        format!("{}/live/observed", self.root)
    }

    /// Exists while a new leader lets other replicas record what it did not observe.
    #[must_use]
    pub fn gap_request(&self) -> String {
        format!("{}/live/call", self.root)
    }

    /// Prefix under which each replica registers, under a lease, since when it observes.
    #[must_use]
    pub fn observers(&self) -> String {
        format!("{}/observers/", self.root)
    }

    /// Prefix of the blocks of older events.
    #[must_use]
    pub fn blocks(&self, cluster: &ClusterName) -> String {
        format!("{}/blocks/{cluster}/", self.root)
    }

    /// Block number `block` of older events.
    #[must_use]
    pub fn block(&self, cluster: &ClusterName, block: u64) -> String {
        numbered_key(&self.blocks(cluster), block)
    }

    /// Parses a watched key; `None` when it does not belong to the history.
    #[must_use]
    pub fn parse_live(&self, key: &[u8]) -> Option<LiveKey> {
        let key = std::str::from_utf8(key).ok()?;
        let mut parts = key.strip_prefix(&self.live())?.split('/');
        let live_key = match (parts.next()?, parts.next()) {
            ("observed", None) => LiveKey::ObservedUntil,
            ("call", None) => LiveKey::GapRequest,
            ("head", Some(cluster)) => LiveKey::Head(cluster.parse().ok()?),
            ("days", Some(cluster)) => LiveKey::Days(cluster.parse().ok()?),
            ("tail", Some(cluster)) => {
                LiveKey::Tail(cluster.parse().ok()?, parts.next()?.parse().ok()?)
            }
            _ => return None,
        };
        parts.next().is_none().then_some(live_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_keys_round_trip() {
        let (keys, lab) = (
            HistoryKeys::new("/state/"),
            "lab".parse::<ClusterName>().unwrap(),
        );
        for (key, live_key) in [
            (keys.head(&lab), LiveKey::Head(lab.clone())),
            (keys.days(&lab), LiveKey::Days(lab.clone())),
            (keys.event(&lab, 17), LiveKey::Tail(lab.clone(), 17)),
            (keys.observed_until(), LiveKey::ObservedUntil),
            (keys.gap_request(), LiveKey::GapRequest),
        ] {
            assert!(key.starts_with(&keys.live()), "{key}");
            assert_eq!(keys.parse_live(key.as_bytes()), Some(live_key));
        }
        for key in [
            keys.block(&lab, 1),
            format!("{}head/", keys.live()),
            format!("{}head/lab/x", keys.live()),
            format!("{}tail/lab/x", keys.live()),
        ] {
            assert_eq!(keys.parse_live(key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn keys_sort_by_sequence() {
        let (keys, lab) = (
            HistoryKeys::new("/state"),
            "lab".parse::<ClusterName>().unwrap(),
        );
        let mut sorted = [1, 9, 10, 99_999, u64::MAX].map(|n| keys.event(&lab, n));
        let before = sorted.clone();
        sorted.sort();
        assert_eq!(sorted, before);
    }
}
