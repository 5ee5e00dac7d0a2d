//! Who was in the last Primary component that was seen: kept in etcd, so that a cluster that is gone altogether still
//! has expected members after the console restarts (I4).
//!
//! Any replica writes, and only when it sees the membership change itself: replicas that see different halves of a
//! cluster do not overwrite each other for ever. Every write compares what it read.

use std::collections::BTreeSet;

use console_core::clock::now;
use galera::{ClusterName, NodeId};
use registry::{Error, Registry};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::converge::{converge, encode};

/// Members of different clusters that wait to be written; an owner whose wish found no room repeats it.
const QUEUE: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
struct ExpectedMembersRecord {
    members: BTreeSet<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recorded_at: Option<galera::Timestamp>,
}

/// Members that shall be remembered.
#[derive(Debug)]
pub(super) struct ExpectedMembersUpdate {
    pub(super) cluster: ClusterName,
    pub(super) members: BTreeSet<NodeId>,
}

/// Where wishes go.
pub(super) type ExpectedMembersSender = mpsc::Sender<ExpectedMembersUpdate>;

/// Where the members of all clusters are kept.
pub(super) fn prefix(state_prefix: &str) -> String {
    console_core::keyspace::expected_members(state_prefix)
}

/// The cluster that `key` is about; `None` when it is no key of this memory.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The members in a stored value; nobody when it cannot be read.
pub(super) fn decode(value: &[u8]) -> BTreeSet<NodeId> {
    match serde_json::from_slice::<ExpectedMembersRecord>(value) {
        Ok(stored) => stored.members,
        Err(error) => {
            tracing::warn!(%error, "The remembered members of a cluster cannot be read and do not count");
            BTreeSet::new()
        }
    }
}

/// A place for wishes, and the task that writes them.
pub(super) fn worker(
    registry: Registry,
    state_prefix: &str,
) -> (
    ExpectedMembersSender,
    impl Future<Output = ()> + Send + use<>,
) {
    let (sender, mut wishes) = mpsc::channel(QUEUE);
    let prefix = prefix(state_prefix);
    let task = async move {
        while let Some(wish) = wishes.recv().await {
            match write(&registry, &prefix, &wish).await {
                Ok(()) => {}
                // The owner repeats its wish until it sees it fulfilled.
                Err(error) => {
                    tracing::debug!(cluster.id = %wish.cluster, %error, "Members are not remembered yet")
                }
            }
        }
    };
    (sender, task)
}

/// Writes `wish` unless it is there already.
async fn write(
    registry: &Registry,
    prefix: &str,
    wish: &ExpectedMembersUpdate,
) -> Result<(), Error> {
    let key = format!("{prefix}{}", wish.cluster);
    let stored = ExpectedMembersRecord {
        members: wish.members.clone(),
        recorded_at: Some(now()),
    };
    converge(registry, &key, |present| match present {
        Some(value) if decode(value) == wish.members => Ok(None),
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
