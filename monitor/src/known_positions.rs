//! The highest positions and the last Primary views, kept in etcd across restarts (I9, I31).
//!
//! Any replica writes, but what it writes is the merge of what is there and what it saw: no position is ever lowered.

use std::time::Duration;

use console_core::keyspace;
use galera::ClusterName;
use galera::judge::known_positions::KnownPositions;
use registry::{Error, Registry};
use tokio::sync::mpsc;

use super::converge::{converge, encode};

/// Histories of different clusters that wait to be written; an owner whose history found no room repeats it.
const QUEUE: usize = 64;
/// How often an owner writes what changed; losing the time since the last write only makes a check less strict.
pub(super) const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// Where histories go.
pub(super) type KnownPositionsSender = mpsc::Sender<(ClusterName, KnownPositions)>;

/// Where the histories of all clusters are kept.
pub(super) fn prefix(state_prefix: &str) -> String {
    keyspace::known_positions(state_prefix)
}

/// The key of a cluster's history.
fn key(state_prefix: &str, cluster: &ClusterName) -> String {
    keyspace::known_positions_of(state_prefix, cluster)
}

/// The cluster that `key` is about; `None` when it is no key of this memory.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The history in a stored value; an empty one when it cannot be read.
pub(super) fn decode(value: &[u8]) -> KnownPositions {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "The remembered positions of a cluster cannot be read and do not count");
        KnownPositions::default()
    })
}

/// A place for histories, and the task that writes them.
pub(super) fn worker(
    registry: Registry,
    state_prefix: &str,
) -> (
    KnownPositionsSender,
    impl Future<Output = ()> + Send + use<>,
) {
    let (sender, mut histories) = mpsc::channel::<(ClusterName, KnownPositions)>(QUEUE);
    let state_prefix = state_prefix.to_owned();
    let task = async move {
        while let Some((cluster, history)) = histories.recv().await {
            let key = key(&state_prefix, &cluster);
            if let Err(error) = write(&registry, &key, &history).await {
                // The owner writes again after its period.
                tracing::debug!(cluster.id = %cluster, %error, "Positions are not remembered yet");
            }
        }
    };
    (sender, task)
}

/// What is remembered of `cluster` now, read linearizably.
///
/// # Errors
/// etcd's.
pub(super) async fn load(
    registry: &Registry,
    state_prefix: &str,
    cluster: &ClusterName,
) -> Result<KnownPositions, Error> {
    let entry = registry.get(key(state_prefix, cluster)).await?;
    Ok(entry.map_or_else(KnownPositions::default, |entry| decode(&entry.value)))
}

/// Merges `history` into what is there.
async fn write(registry: &Registry, key: &str, history: &KnownPositions) -> Result<(), Error> {
    converge(registry, key, |present| {
        let stored = present.map(decode);
        let mut merged = stored.clone().unwrap_or_default();
        merged.merge(history);
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
