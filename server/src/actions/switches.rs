//! The off-switch of recovery, for all clusters and for each: a key that exists while it is off.

use std::collections::BTreeMap;

use galera::ClusterName;
use galera::recover::action::SwitchedOff;
use registry::{Entry, Guard, Registry};

use super::ActionError;
use super::keys::Keys;
use super::store::encode;

/// Every switch that is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Switches {
    /// For all clusters.
    pub(super) global: Option<SwitchedOff>,
    /// For single ones.
    pub(super) clusters: BTreeMap<ClusterName, SwitchedOff>,
}

impl Switches {
    /// Reads all of them, linearizably. A switch that cannot be read counts as off.
    pub(super) async fn read(registry: &Registry, keys: &Keys) -> Result<Self, ActionError> {
        let listing = registry.list(keys.switches()).await?;
        let mut switches = Self::default();
        let cluster_prefix = format!("{}cluster/", keys.switches());
        for entry in &listing.entries {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            if key == keys.global_switch() {
                switches.global = Some(off(entry));
            } else if let Some(name) = key.strip_prefix(&cluster_prefix)
                && let Ok(cluster) = name.parse()
            {
                switches.clusters.insert(cluster, off(entry));
            }
        }
        Ok(switches)
    }

    /// Why recovery of `cluster` is off.
    pub(super) fn off(&self, cluster: &ClusterName) -> Option<&SwitchedOff> {
        self.global.as_ref().or_else(|| self.clusters.get(cluster))
    }

    /// What a write that must not happen while recovery of `cluster` is off compares.
    pub(super) fn guards(keys: &Keys, cluster: &ClusterName) -> Vec<Guard> {
        [keys.global_switch(), keys.cluster_switch(cluster)]
            .map(|key| Guard::Absent(key.into_bytes()))
            .into()
    }
}

/// The value of a switch that is off.
pub(super) fn value(off: &SwitchedOff) -> Result<Vec<u8>, ActionError> {
    encode(off)
}

fn off(entry: &Entry) -> SwitchedOff {
    serde_json::from_slice(&entry.value).unwrap_or_else(|_| SwitchedOff {
        by: "somebody".to_owned(),
        at: galera::Timestamp::default(),
        reason: "the switch's value cannot be read".to_owned(),
    })
}
