//! Highest positions and last Primary views, kept in etcd across restarts (I9, I31).
//!
//! Any replica writes, and writes the merge of the stored value and its own: no position is ever lowered.

use std::time::Duration;

use console_core::keyspace;
use galera::ClusterName;
use galera::judge::known_positions::KnownPositions;
use registry::{Error, Registry};
use tokio::sync::mpsc;

use super::converge::{converge, encode};

/// Updates in the queue; a monitor repeats one that found no room.
const QUEUE: usize = 64;
/// How often a monitor writes changes; losing what was seen since the last write only makes a check less strict.
pub(super) const WRITE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) type KnownPositionsSender = mpsc::Sender<(ClusterName, KnownPositions)>;

/// Prefix under which the positions of all clusters are stored.
pub(super) fn prefix(state_prefix: &str) -> String {
    keyspace::known_positions(state_prefix)
}

fn key(state_prefix: &str, cluster: &ClusterName) -> String {
    keyspace::known_positions_of(state_prefix, cluster)
}

/// The cluster of `key`; `None` when the key is not under this prefix.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The positions in a stored value; empty when it cannot be decoded.
pub(super) fn decode(value: &[u8]) -> KnownPositions {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "Ignoring unreadable known positions of a cluster: {error}");
        KnownPositions::default()
    })
}

/// The sender for updates, and the task that writes them.
pub(super) fn worker(
    registry: Registry,
    state_prefix: &str,
) -> (
    KnownPositionsSender,
    impl Future<Output = ()> + Send + use<>,
) {
    let (sender, mut updates) = mpsc::channel::<(ClusterName, KnownPositions)>(QUEUE);
    let state_prefix = state_prefix.to_owned();
    let task = async move {
        while let Some((cluster, positions)) = updates.recv().await {
            let key = key(&state_prefix, &cluster);
            if let Err(error) = write(&registry, &key, &positions).await {
                // The monitor writes again after [`WRITE_INTERVAL`].
                tracing::debug!(cluster.id = %cluster, %error, "Could not persist known positions of cluster {cluster}; will retry");
            }
        }
    };
    (sender, task)
}

/// The stored positions of `cluster`, read linearizably.
///
/// # Errors
/// [`registry::Error`].
pub(super) async fn load(
    registry: &Registry,
    state_prefix: &str,
    cluster: &ClusterName,
) -> Result<KnownPositions, Error> {
    let entry = registry.get(key(state_prefix, cluster)).await?;
    Ok(entry.map_or_else(KnownPositions::default, |entry| decode(&entry.value)))
}

/// Merges `positions` into the stored value.
async fn write(registry: &Registry, key: &str, positions: &KnownPositions) -> Result<(), Error> {
    converge(registry, key, |current| {
        let stored = current.map(decode);
        let mut merged = stored.clone().unwrap_or_default();
        merged.merge(positions);
        if stored.as_ref() == Some(&merged) {
            return Ok(None);
        }
        encode(&merged).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_cluster() {
        let lab: ClusterName = "lab".parse().unwrap();
        assert_eq!(
            cluster_of("/galera-console", key("/galera-console", &lab).as_bytes()),
            Some(lab.clone())
        );
        assert_eq!(key("/galera-console/", &lab), key("/galera-console", &lab));
        assert_eq!(
            cluster_of("/galera-console", b"/galera-console/expected/lab"),
            None
        );
    }

    #[test]
    fn garbage_is_no_history() {
        assert_eq!(decode(b"<script>"), KnownPositions::default());
    }
}
