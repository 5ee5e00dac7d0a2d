//! Where things are in etcd.

use galera::ClusterName;
use registry::numbered_key;

/// The keys of the chronicle under one prefix.
#[derive(Clone, Debug)]
pub struct HistoryKeys {
    root: String,
}

/// What a watched key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveKey {
    Head(ClusterName),
    Tail(ClusterName, u64),
    Days(ClusterName),
    ObservedUntil,
    GapRequest,
}

impl HistoryKeys {
    /// The keys under `state_prefix`.
    #[must_use]
    pub fn new(state_prefix: &str) -> Self {
        Self {
            root: format!("{}/chronicle", state_prefix.trim_end_matches('/')),
        }
    }

    /// Everything that every replica holds in memory.
    #[must_use]
    pub fn live(&self) -> String {
        format!("{}/live/", self.root)
    }

    /// Where the chronicle of a cluster has come to.
    #[must_use]
    pub fn head(&self, cluster: &ClusterName) -> String {
        format!("{}/live/head/{cluster}", self.root)
    }

    /// The folder of the newest events, by sequence.
    #[must_use]
    pub fn tail(&self, cluster: &ClusterName) -> String {
        format!("{}/live/tail/{cluster}/", self.root)
    }

    /// One of the newest events.
    #[must_use]
    pub fn event(&self, cluster: &ClusterName, sequence: u64) -> String {
        numbered_key(&self.tail(cluster), sequence)
    }

    /// The days that are over.
    #[must_use]
    pub fn days(&self, cluster: &ClusterName) -> String {
        format!("{}/live/days/{cluster}", self.root)
    }

    /// Until when some console was observing.
    #[must_use]
    pub fn observed_until(&self) -> String {
        format!("{}/live/observed", self.root)
    }

    /// There while a new leader, who did not see everything, lets others record what it missed.
    #[must_use]
    pub fn gap_request(&self) -> String {
        format!("{}/live/call", self.root)
    }

    /// The folder where each replica says since when it observes, under a lease.
    #[must_use]
    pub fn observers(&self) -> String {
        format!("{}/observers/", self.root)
    }

    /// A block of older events.
    #[must_use]
    pub fn block(&self, cluster: &ClusterName, block: u64) -> String {
        numbered_key(&format!("{}/blocks/{cluster}/", self.root), block)
    }

    /// What the watched `key` is about; `None` when it is nothing of ours.
    #[must_use]
    pub fn parse_live(&self, key: &[u8]) -> Option<LiveKey> {
        let key = std::str::from_utf8(key).ok()?;
        let mut parts = key.strip_prefix(&self.live())?.split('/');
        let place = match (parts.next()?, parts.next()) {
            ("observed", None) => LiveKey::ObservedUntil,
            ("call", None) => LiveKey::GapRequest,
            ("head", Some(cluster)) => LiveKey::Head(cluster.parse().ok()?),
            ("days", Some(cluster)) => LiveKey::Days(cluster.parse().ok()?),
            ("tail", Some(cluster)) => {
                LiveKey::Tail(cluster.parse().ok()?, parts.next()?.parse().ok()?)
            }
            _ => return None,
        };
        parts.next().is_none().then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_place() {
        let (keys, lab) = (
            HistoryKeys::new("/state/"),
            "lab".parse::<ClusterName>().unwrap(),
        );
        for (key, place) in [
            (keys.head(&lab), LiveKey::Head(lab.clone())),
            (keys.days(&lab), LiveKey::Days(lab.clone())),
            (keys.event(&lab, 17), LiveKey::Tail(lab.clone(), 17)),
            (keys.observed_until(), LiveKey::ObservedUntil),
            (keys.gap_request(), LiveKey::GapRequest),
        ] {
            assert!(key.starts_with(&keys.live()), "{key}");
            assert_eq!(keys.parse_live(key.as_bytes()), Some(place));
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
    fn numbers_are_in_the_order_of_keys() {
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
