//! Records the bootstraps that the nodes prove and no console ordered (I46).

use console_core::clock::now;
use galera::ClusterName;
use galera::judge::history_alarms::{HistoryFinding, ObservedBootstrap};
use galera::observe::fork::{ForkRecord, ForkRecords, OBSERVED};
use galera::observe::registration::{ClusterField, ParsedKey, RegistryKeys};
use registry::{CreateOutcome, Error, Registry};

/// Attempts while other replicas and agents record forks.
const ATTEMPTS: usize = 5;

/// Records `seen` as a fork, unless it is recorded, and returns what a person is alarmed about: nothing if an action or an
/// agent stands behind the bootstrap. A bootstrap whose former members may be serving is not recorded: a majority out of
/// sight would then be held back by the fork of a minority.
///
/// # Errors
/// [`registry::Error`]; safe to repeat.
pub(super) async fn record(
    registry: &Registry,
    registry_prefix: &str,
    cluster: &ClusterName,
    seen: &ObservedBootstrap,
) -> Result<Option<HistoryFinding>, Error> {
    let keys = RegistryKeys::new(registry_prefix);
    for _ in 0..ATTEMPTS {
        let forks = recorded(registry, &keys, cluster).await?;
        let known = forks.bootstrap_at(seen.history, seen.seqno, &seen.members);
        if let Some((epoch, record)) = known {
            let ordered = record.action_id != OBSERVED && record.seqno == seen.seqno;
            return Ok((!ordered).then(|| seen.finding(Some(epoch))));
        }
        if !seen.is_recordable() {
            return Ok(Some(seen.finding(None)));
        }
        let record = ForkRecord {
            state_uuid: seen.history,
            seqno: seen.seqno,
            members: seen.members.clone(),
            action_id: OBSERVED.to_owned(),
            parent: seen.parent,
            at: Some(now()),
        };
        let Some((epoch, record)) = forks.next(record) else {
            return Ok(Some(seen.finding(None)));
        };
        let key = keys.cluster_key(cluster, ClusterField::Fork(epoch));
        if let CreateOutcome::Created { .. } = registry.create(key, record.to_value(), None).await?
        {
            tracing::warn!(
                cluster.id = %cluster,
                epoch,
                "Recorded fork {epoch} of cluster {cluster}, which was bootstrapped outside the console at {}",
                seen.seqno
            );
            return Ok(Some(seen.finding(Some(epoch))));
        }
    }
    Err(Error::Conflict {
        key: keys.cluster_prefix(cluster),
        current: None,
    })
}

/// The recorded forks of `cluster`, read linearizably.
async fn recorded(
    registry: &Registry,
    keys: &RegistryKeys,
    cluster: &ClusterName,
) -> Result<ForkRecords, Error> {
    let prefix = format!("{}forks/", keys.cluster_prefix(cluster));
    let mut forks = ForkRecords::default();
    for entry in registry.list(prefix).await?.entries {
        if let ParsedKey::Cluster {
            field: ClusterField::Fork(epoch),
            ..
        } = keys.parse(&entry.key)
        {
            forks.insert(epoch, &entry.value);
        }
    }
    Ok(forks)
}
