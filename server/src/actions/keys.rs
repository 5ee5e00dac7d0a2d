//! The etcd keys of actions, locks and recovery switches.

use galera::ClusterName;

/// Builds the keys under a state prefix.
#[derive(Clone, Debug)]
pub(super) struct ActionKeys {
    prefix: String,
}

impl ActionKeys {
    pub(super) fn new(state_prefix: &str) -> Self {
        Self {
            prefix: state_prefix.to_owned(),
        }
    }

    /// The prefix of every action.
    pub(super) fn actions_prefix(&self) -> String {
        format!("{}/actions/", self.prefix)
    }

    /// An action's record.
    pub(super) fn action(&self, id: &str) -> String {
        format!("{}{id}", self.actions_prefix())
    }

    /// The undo of a clean-up.
    pub(super) fn undone(&self, id: &str) -> String {
        format!("{}/undone", self.action(id))
    }

    /// The open action of a cluster; exists exactly as long as that action is not final.
    pub(super) fn open_action(&self, cluster: &ClusterName) -> String {
        format!("{}/open/{cluster}", self.prefix)
    }

    /// The lock of a cluster; its revision is the holder's fence.
    pub(super) fn lock(&self, cluster: &ClusterName) -> String {
        format!("{}/locks/{cluster}", self.prefix)
    }

    /// The prefix of every switch.
    pub(super) fn switches_prefix(&self) -> String {
        format!("{}/switches/", self.prefix)
    }

    /// The switch for all clusters; it exists while recovery is off.
    pub(super) fn global_switch(&self) -> String {
        format!("{}global", self.switches_prefix())
    }

    /// The switch of one cluster.
    pub(super) fn cluster_switch(&self, cluster: &ClusterName) -> String {
        format!("{}cluster/{cluster}", self.switches_prefix())
    }
}

/// A new id that starts with the time, so that ids sort by it.
pub(crate) fn new_id(now: galera::Timestamp) -> String {
    format!("{:012x}-{:08x}", now.unix_millis(), rand::random::<u32>())
}

/// Whether `text` has the form of an id.
pub(crate) fn is_valid_id(text: &str) -> bool {
    text.len() <= 40
        && !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use galera::Timestamp;

    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_valid() {
        let early = new_id(Timestamp::from_unix_millis(1_795_000_000_000));
        let late = new_id(Timestamp::from_unix_millis(1_795_000_000_001));
        assert!(early < late && is_valid_id(&early));
        for bad in ["", "a/b", "../x", "<script>", &"a".repeat(41)] {
            assert!(!is_valid_id(bad), "{bad}");
        }
    }
}
