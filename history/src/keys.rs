//! Where things are in etcd.

use galera::ClusterName;
use registry::numbered;

/// The keys of the chronicle under one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    root: String,
}

/// What a watched key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Head(ClusterName),
    Tail(ClusterName, u64),
    Days(ClusterName),
    Observed,
    Call,
}

impl Keys {
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
        numbered(&self.tail(cluster), sequence)
    }

    /// The days that are over.
    #[must_use]
    pub fn days(&self, cluster: &ClusterName) -> String {
        format!("{}/live/days/{cluster}", self.root)
    }

    /// Until when some console was observing.
    #[must_use]
    pub fn observed(&self) -> String {
        format!("{}/live/observed", self.root)
    }

    /// There while a new leader, who did not see everything, lets others record what it missed.
    #[must_use]
    pub fn call(&self) -> String {
        format!("{}/live/call", self.root)
    }

    /// The folder where each replica says since when it observes, under a lease.
    #[must_use]
    pub(crate) fn observers(&self) -> String {
        format!("{}/observers/", self.root)
    }

    /// A block of older events.
    #[must_use]
    pub fn block(&self, cluster: &ClusterName, block: u64) -> String {
        numbered(&format!("{}/blocks/{cluster}/", self.root), block)
    }

    /// What the watched `key` is about; `None` when it is nothing of ours.
    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        let key = std::str::from_utf8(key).ok()?;
        let mut parts = key.strip_prefix(&self.live())?.split('/');
        let place = match (parts.next()?, parts.next()) {
            ("observed", None) => Place::Observed,
            ("call", None) => Place::Call,
            ("head", Some(cluster)) => Place::Head(cluster.parse().ok()?),
            ("days", Some(cluster)) => Place::Days(cluster.parse().ok()?),
            ("tail", Some(cluster)) => {
                Place::Tail(cluster.parse().ok()?, parts.next()?.parse().ok()?)
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
        let (keys, lab) = (Keys::new("/state/"), "lab".parse::<ClusterName>().unwrap());
        for (key, place) in [
            (keys.head(&lab), Place::Head(lab.clone())),
            (keys.days(&lab), Place::Days(lab.clone())),
            (keys.event(&lab, 17), Place::Tail(lab.clone(), 17)),
            (keys.observed(), Place::Observed),
            (keys.call(), Place::Call),
        ] {
            assert!(key.starts_with(&keys.live()), "{key}");
            assert_eq!(keys.place(key.as_bytes()), Some(place));
        }
        for key in [
            keys.block(&lab, 1),
            format!("{}head/", keys.live()),
            format!("{}head/lab/x", keys.live()),
            format!("{}tail/lab/x", keys.live()),
        ] {
            assert_eq!(keys.place(key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn numbers_are_in_the_order_of_keys() {
        let (keys, lab) = (Keys::new("/state"), "lab".parse::<ClusterName>().unwrap());
        let mut sorted = [1, 9, 10, 99_999, u64::MAX].map(|n| keys.event(&lab, n));
        let before = sorted.clone();
        sorted.sort();
        assert_eq!(sorted, before);
    }
}
