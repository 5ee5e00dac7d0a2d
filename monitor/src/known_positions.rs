//! Highest positions, last Primary views and uses of addresses, kept in etcd across restarts (I9, I31, I43).
//!
//! Any replica writes, and writes the merge of the stored value and its own: no position is ever lowered.

use std::time::Duration;

use console_core::keyspace;
use galera::ClusterName;
use galera::judge::known_positions::{KnownPositions, PositionCorrections};
use registry::{Error, Registry};
use tokio::sync::mpsc;

use super::converge::{TamperedRecords, converge, encode};

/// Updates in the queue; a monitor repeats one that found no room.
const QUEUE: usize = 64;
/// How often a monitor writes changes; losing what was seen since the last write only makes a check less strict.
pub(super) const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// How often it does if only uses of addresses changed: a client of etcd may change what it reports all the time.
pub(super) const USE_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Positions to merge into the recorded ones.
#[derive(Debug)]
pub(super) struct KnownPositionsUpdate {
    pub(super) cluster: ClusterName,
    pub(super) positions: KnownPositions,
    pub(super) tampered: TamperedRecords,
}

pub(super) type KnownPositionsSender = mpsc::Sender<KnownPositionsUpdate>;

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

/// The cluster of the record of corrections at `key`; `None` when the key is not under their prefix.
pub(super) fn corrected_cluster(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&keyspace::position_corrections(state_prefix))?
        .parse()
        .ok()
}

/// The corrections in a stored value; none when it cannot be decoded.
pub(super) fn decode_corrections(value: &[u8]) -> PositionCorrections {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "Ignoring unreadable position corrections of a cluster: {error}");
        PositionCorrections::default()
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
    let (sender, mut updates) = mpsc::channel::<KnownPositionsUpdate>(QUEUE);
    let state_prefix = state_prefix.to_owned();
    let task = async move {
        while let Some(update) = updates.recv().await {
            let cluster = &update.cluster;
            let key = key(&state_prefix, cluster);
            if let Err(error) = write(&registry, &key, &update).await {
                // The monitor writes again after [`WRITE_INTERVAL`].
                tracing::debug!(cluster.id = %cluster, %error, "Could not persist known positions of cluster {cluster}; will retry");
            }
        }
    };
    (sender, task)
}

/// The stored positions of `cluster` and their corrections, read linearizably.
///
/// # Errors
/// [`registry::Error`].
pub(super) async fn load(
    registry: &Registry,
    state_prefix: &str,
    cluster: &ClusterName,
) -> Result<KnownPositions, Error> {
    let corrections = keyspace::position_corrections_of(state_prefix, cluster);
    let (positions, corrections) = tokio::join!(
        registry.get(key(state_prefix, cluster)),
        registry.get(corrections)
    );
    let positions = positions?;
    let mut stored = positions.map_or_else(KnownPositions::default, |entry| decode(&entry.value));
    // Without a correction that was changed outside the console more is remembered, which only blocks plans.
    let corrections = match corrections {
        Err(Error::Tampered { .. }) => None,
        corrections => corrections?,
    };
    if let Some(entry) = corrections {
        stored.correct(&decode_corrections(&entry.value));
    }
    Ok(stored)
}

/// Merges the positions of `update` into the stored value.
async fn write(registry: &Registry, key: &str, update: &KnownPositionsUpdate) -> Result<(), Error> {
    converge(registry, key, update.tampered, |current| {
        let stored = current.map(decode);
        let mut merged = stored.clone().unwrap_or_default();
        merged.merge(&update.positions);
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
