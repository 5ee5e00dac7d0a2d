//! The highest positions and the last Primary views, kept in etcd across restarts (I9, I31).
//!
//! Any replica writes, but what it writes is the merge of what is there and what it saw: no position is ever lowered.

use std::time::Duration;

use galera::ClusterName;
use galera::history::History;
use registry::{Created, Error, Registry};
use tokio::sync::mpsc;

/// Histories of different clusters that wait to be written; an owner whose history found no room repeats it.
const QUEUE: usize = 64;
/// Attempts when others write at the same time.
const ATTEMPTS: usize = 3;
/// How often an owner writes what changed; losing the time since the last write only makes a check less strict.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Where histories go.
pub(super) type Positions = mpsc::Sender<(ClusterName, History)>;

/// Where the histories of all clusters are kept.
pub(super) fn prefix(state_prefix: &str) -> String {
    format!("{state_prefix}/positions/")
}

/// The key of a cluster's history.
fn key(state_prefix: &str, cluster: &ClusterName) -> String {
    format!("{}{cluster}", prefix(state_prefix))
}

/// The cluster that `key` is about; `None` when it is no key of this memory.
pub(super) fn cluster_of(state_prefix: &str, key: &[u8]) -> Option<ClusterName> {
    let key = std::str::from_utf8(key).ok()?;
    key.strip_prefix(&prefix(state_prefix))?.parse().ok()
}

/// The history in a stored value; an empty one when it cannot be read.
pub(super) fn read(value: &[u8]) -> History {
    serde_json::from_slice(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "The remembered positions of a cluster cannot be read and do not count");
        History::default()
    })
}

/// A place for histories, and the task that writes them.
pub(super) fn open(
    registry: Registry,
    state_prefix: &str,
) -> (Positions, impl Future<Output = ()> + Send + use<>) {
    let (sender, mut histories) = mpsc::channel::<(ClusterName, History)>(QUEUE);
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
pub(super) async fn recall(
    registry: &Registry,
    state_prefix: &str,
    cluster: &ClusterName,
) -> Result<History, Error> {
    let entry = registry.get(key(state_prefix, cluster)).await?;
    Ok(entry.map_or_else(History::default, |entry| read(&entry.value)))
}

/// Merges `history` into what is there. Harmless to repeat: a merge of what is there already changes nothing.
async fn write(registry: &Registry, key: &str, history: &History) -> Result<(), Error> {
    let encode = |history: &History| {
        serde_json::to_vec(history).map_err(|error| Error::Invalid(error.to_string()))
    };
    let mut lost = None;
    for _ in 0..ATTEMPTS {
        let written = match registry.get(key).await? {
            Some(entry) => {
                let stored = read(&entry.value);
                let mut merged = stored.clone();
                merged.merge(history);
                if merged == stored {
                    return Ok(());
                }
                registry
                    .update(key, entry.mod_revision, encode(&merged)?, None)
                    .await
                    .map(drop)
            }
            None => match registry.create(key, encode(history)?, None).await? {
                Created::Won { .. } => Ok(()),
                Created::Exists(entry) => Err(Error::Conflict {
                    key: key.to_owned(),
                    current: Some(Box::new(entry)),
                }),
            },
        };
        match written {
            Err(error @ Error::Conflict { .. }) => lost = Some(error),
            done => return done,
        }
    }
    lost.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_cluster() {
        let lab: ClusterName = "lab".parse().unwrap();
        assert_eq!(
            cluster_of("/galera-console", key("/galera-console", &lab).as_bytes()),
            Some(lab)
        );
        assert_eq!(
            cluster_of("/galera-console", b"/galera-console/expected/lab"),
            None
        );
    }

    #[test]
    fn garbage_is_no_history() {
        assert_eq!(read(b"<script>"), History::default());
    }
}
