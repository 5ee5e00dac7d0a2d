//! Members of the last Primary component seen, kept in etcd so that a cluster that is down altogether still has
//! expected members after the console restarts (I4).
//!
//! Any replica writes, but only when it observes a membership change itself: otherwise replicas that see different
//! halves of a cluster would overwrite each other forever. Every write compares what it read.

use std::collections::BTreeSet;

use console_core::clock::now;
use galera::{ClusterName, NodeId};
use registry::{Error, Registry};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::converge::{converge, encode};

/// Updates in the queue; a monitor repeats one that found no room.
const QUEUE: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
struct ExpectedMembersRecord {
    members: BTreeSet<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recorded_at: Option<galera::Timestamp>,
}

/// Members to record for a cluster.
#[derive(Debug)]
pub(super) struct ExpectedMembersUpdate {
    pub(super) cluster: ClusterName,
    pub(super) members: BTreeSet<NodeId>,
}

pub(super) type ExpectedMembersSender = mpsc::Sender<ExpectedMembersUpdate>;

/// Prefix under which the members of all clusters are stored.
pub(super) fn prefix(state_prefix: &str) -> String {
    console_core::keyspace::expected_members(state_prefix)
}

/// The cluster of `key`; `None` when the key is not under this prefix.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The members in a stored value; empty when it cannot be decoded.
pub(super) fn decode(value: &[u8]) -> BTreeSet<NodeId> {
    match serde_json::from_slice::<ExpectedMembersRecord>(value) {
        Ok(stored) => stored.members,
        Err(error) => {
            tracing::warn!(%error, "Ignoring unreadable expected members of a cluster: {error}");
            BTreeSet::new()
        }
    }
}

/// The sender for updates, and the task that writes them.
pub(super) fn worker(
    registry: Registry,
    state_prefix: &str,
) -> (
    ExpectedMembersSender,
    impl Future<Output = ()> + Send + use<>,
) {
    let (sender, mut updates) = mpsc::channel(QUEUE);
    let prefix = prefix(state_prefix);
    let task = async move {
        while let Some(update) = updates.recv().await {
            match write(&registry, &prefix, &update).await {
                Ok(()) => {}
                // The monitor repeats the update until the watch confirms it.
                Err(error) => {
                    tracing::debug!(cluster.id = %update.cluster, %error, "Could not persist expected members of cluster {}; will retry", update.cluster)
                }
            }
        }
    };
    (sender, task)
}

/// Writes `update` unless that is what is stored.
async fn write(
    registry: &Registry,
    prefix: &str,
    update: &ExpectedMembersUpdate,
) -> Result<(), Error> {
    let key = format!("{prefix}{}", update.cluster);
    let stored = ExpectedMembersRecord {
        members: update.members.clone(),
        recorded_at: Some(now()),
    };
    converge(registry, &key, |current| match current {
        Some(value) if decode(value) == update.members => Ok(None),
        _ => encode(&stored).map(Some),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_cluster() {
        assert_eq!(
            cluster_of("/galera-console/", b"/galera-console/expected/lab"),
            "lab".parse().ok()
        );
        for key in [
            "/galera-console/expected/",
            "/galera-console/expected/a/b",
            "/galera-console/users/lab",
        ] {
            assert_eq!(cluster_of("/galera-console", key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let members: BTreeSet<NodeId> = ["db1", "db2:3307"].map(|id| id.parse().unwrap()).into();
        let stored = ExpectedMembersRecord {
            members: members.clone(),
            recorded_at: Some(now()),
        };
        assert_eq!(decode(&serde_json::to_vec(&stored).unwrap()), members);
        assert!(decode(b"<script>").is_empty());
    }
}
