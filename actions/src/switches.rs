//! The switches that pause recovery, globally and per cluster: a key that exists while recovery is paused.

use std::collections::BTreeMap;

use console_core::keyspace::ActionKeys;
use galera::ClusterName;
use galera::recover::action::RecoveryPause;
use registry::{Precondition, Registry, RegistryEntry};

use super::ActionError;
use super::store::encode;

/// All switches that are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecoverySwitches {
    pub(super) global: Option<RecoveryPause>,
    pub(super) clusters: BTreeMap<ClusterName, RecoveryPause>,
}

impl RecoverySwitches {
    /// Reads all switches, linearizably. An unreadable switch counts as off, and so does one that was changed or deleted
    /// outside the console: only an operator resumes recovery.
    pub(super) async fn read(registry: &Registry, keys: &ActionKeys) -> Result<Self, ActionError> {
        let listing = registry.list(keys.switches_prefix()).await?;
        let mut switches = Self::default();
        let cluster_prefix = format!("{}cluster/", keys.switches_prefix());
        for entry in &listing.entries {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            if key == keys.global_switch() {
                switches.global = Some(decode_switch(entry));
            } else if let Some(name) = key.strip_prefix(&cluster_prefix)
                && let Ok(cluster) = name.parse()
            {
                switches.clusters.insert(cluster, decode_switch(entry));
            }
        }
        for record in registry.tampered().below(&keys.switches_prefix()) {
            let pause = RecoveryPause {
                by: "unknown".to_owned(),
                at: record.since,
                reason: format!(
                    "the switch was changed outside the console: {}",
                    record.reason
                ),
            };
            if record.key == keys.global_switch() {
                switches.global = Some(pause);
            } else if let Some(name) = record.key.strip_prefix(&cluster_prefix)
                && let Ok(cluster) = name.parse()
            {
                switches.clusters.insert(cluster, pause);
            }
        }
        Ok(switches)
    }

    /// The pause that applies to `cluster`, if any.
    pub(super) fn off_for(&self, cluster: &ClusterName) -> Option<&RecoveryPause> {
        self.global.as_ref().or_else(|| self.clusters.get(cluster))
    }

    /// The preconditions of a write that must not happen while recovery of `cluster` is paused.
    pub(super) fn guards(keys: &ActionKeys, cluster: &ClusterName) -> Vec<Precondition> {
        [keys.global_switch(), keys.cluster_switch(cluster)]
            .map(|key| Precondition::Absent(key.into_bytes()))
            .into()
    }
}

pub(super) fn encode_switch(off: &RecoveryPause) -> Result<Vec<u8>, ActionError> {
    encode(off)
}

fn decode_switch(entry: &RegistryEntry) -> RecoveryPause {
    serde_json::from_slice(&entry.value).unwrap_or_else(|_| RecoveryPause {
        by: "unknown".to_owned(),
        at: galera::Timestamp::default(),
        reason: "the value of the switch is unreadable".to_owned(),
    })
}
