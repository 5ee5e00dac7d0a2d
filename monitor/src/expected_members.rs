//! Members of the last Primary component seen and the nodes confirmed so far, kept in etcd so that a cluster that is down
//! altogether still has expected members after the console restarts (I4).
//!
//! Any replica writes members, but only when it observes a membership change itself: otherwise replicas that see different
//! halves of a cluster would overwrite each other forever. Every write compares what it read.

use std::collections::BTreeSet;

use console_core::clock::now;
use galera::judge::confirmation::{ConfirmedNodes, MembershipRecord};
use galera::{ClusterName, NodeId};
use registry::{Error, Registry};
use tokio::sync::mpsc;

use super::converge::{TamperedRecords, converge, encode};

/// Updates in the queue; a monitor repeats one that found no room.
const QUEUE: usize = 64;

/// What to record about a cluster's members.
#[derive(Debug)]
pub(super) struct MembershipUpdate {
    pub(super) cluster: ClusterName,
    /// The members of the newest complete Primary view; `None` to keep the recorded ones.
    pub(super) members: Option<BTreeSet<NodeId>>,
    /// Confirmed nodes, added to the recorded ones.
    pub(super) confirmed: ConfirmedNodes,
    pub(super) tampered: TamperedRecords,
}

pub(super) type MembershipSender = mpsc::Sender<MembershipUpdate>;

/// Prefix under which the members of all clusters are stored.
pub(super) fn prefix(state_prefix: &str) -> String {
    console_core::keyspace::expected_members(state_prefix)
}

/// The cluster of `key`; `None` when the key is not under this prefix.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The record in a stored value; empty when it cannot be decoded.
pub(super) fn decode(value: &[u8]) -> MembershipRecord {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "Ignoring unreadable expected members of a cluster: {error}");
        MembershipRecord::default()
    })
}

/// The record of `cluster`, read linearizably; `None` if there is none.
///
/// # Errors
/// [`registry::Error`], also when it was changed outside the console: its members are then unknown.
pub(super) async fn load(
    registry: &Registry,
    state_prefix: &str,
    cluster: &ClusterName,
) -> Result<Option<MembershipRecord>, Error> {
    let key = format!("{}{cluster}", prefix(state_prefix));
    let entry = registry.get(key).await?;
    Ok(entry.map(|entry| decode(&entry.value)))
}

/// The sender for updates, and the task that writes them.
pub(super) fn worker(
    registry: Registry,
    state_prefix: &str,
) -> (MembershipSender, impl Future<Output = ()> + Send + use<>) {
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

/// Writes `update` unless it is stored.
async fn write(registry: &Registry, prefix: &str, update: &MembershipUpdate) -> Result<(), Error> {
    let key = format!("{prefix}{}", update.cluster);
    let at = now();
    converge(registry, &key, update.tampered, |current| {
        let stored = current.map(decode).unwrap_or_default();
        let members = update.members.as_ref();
        if current.is_some() && stored.contains(members, &update.confirmed) {
            return Ok(None);
        }
        encode(&stored.updated(members, &update.confirmed, at)).map(Some)
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
    fn reads_records_of_both_versions_and_nothing_else() {
        let members: BTreeSet<NodeId> = ["db1", "db2:3307"].map(|id| id.parse().unwrap()).into();
        let stored =
            MembershipRecord::default().updated(Some(&members), &ConfirmedNodes::new(), now());
        assert_eq!(decode(&serde_json::to_vec(&stored).unwrap()), stored);
        let former =
            decode(br#"{"members":["db1","db2:3307"],"recorded_at":"2026-11-23T08:12:00Z"}"#);
        assert_eq!((former.members, former.confirmed), (members, None));
        assert_eq!(decode(b"<script>"), MembershipRecord::default());
    }
}
