//! Approvals that the settings of all running replicas require: an action needs those of the strictest one.
//!
//! Each replica publishes its settings in etcd under a lease, and reads those of the others before a request, an approval
//! and an execution. Otherwise an action could be requested, approved and executed on the one replica with laxer settings.
//! The time of each publication shows how far the clocks of replicas differ.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console_core::clock::now;
use console_core::keyspace::ActionKeys;
use galera::access::{ClusterLabels, LabelRule};
use galera::recover::action::{ActionLimits, ClusterApprovals, least_approvals};
use galera::recover::plan::ActionKind;
use galera::{ClusterName, ReplicaId, Timestamp};
use registry::{Lease, LeaseId, Registry, RegistryEntry};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::store::encode;
use super::{ActionError, ActionSettings};

mod clocks;

use clocks::ReplicaClocks;

/// Time to live of a publication: what a replica that died requires counts for so long.
const PUBLICATION_TTL: Duration = Duration::from_secs(30);
/// Pause between comparisons of the settings of all replicas, and before publishing is tried again.
const COMPARE_INTERVAL: Duration = Duration::from_secs(10);

/// A replica's settings of approvals, as etcd has them. Rules have the form of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PublishedApprovals {
    replica: ReplicaId,
    /// When it was written, by the clock of that replica.
    at: Timestamp,
    /// Of kinds that are not listed.
    default: u32,
    /// By the name of the kind: newer replicas may know more kinds.
    kinds: BTreeMap<String, u32>,
    clusters: Vec<String>,
    labels: Vec<String>,
}

impl PublishedApprovals {
    fn of(settings: &ActionSettings) -> Self {
        let kinds = settings.approvals.iter();
        let clusters = settings.cluster_approvals.iter();
        let labels = settings.labels.get();
        Self {
            replica: settings.replica.clone(),
            at: now(),
            default: settings.limits.approvals_needed,
            kinds: kinds
                .map(|(kind, count)| (kind.as_str().to_owned(), *count))
                .collect(),
            clusters: clusters.map(ToString::to_string).collect(),
            labels: labels.rules().iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether both require the same of every action.
    fn requires_as(&self, other: &Self) -> bool {
        let rules = |approvals: &Self| Self {
            replica: self.replica.clone(),
            at: self.at,
            ..approvals.clone()
        };
        rules(self) == rules(other)
    }
}

/// What the settings of another replica require.
#[derive(Clone, Debug)]
struct RequiredApprovals {
    published: PublishedApprovals,
    clusters: Vec<ClusterApprovals>,
    labels: ClusterLabels,
}

impl RequiredApprovals {
    /// `None` if the rules are not those of this version.
    fn parse(published: PublishedApprovals) -> Option<Self> {
        let clusters = published.clusters.iter().map(|rule| rule.parse().ok());
        let clusters = clusters.collect::<Option<_>>()?;
        let labels = published
            .labels
            .iter()
            .map(|rule| LabelRule::parse_all(rule).ok());
        let labels: Vec<Vec<LabelRule>> = labels.collect::<Option<_>>()?;
        let labels = ClusterLabels::new(labels.into_iter().flatten().collect()).ok()?;
        Some(Self {
            published,
            clusters,
            labels,
        })
    }

    fn count(&self, kind: ActionKind) -> u32 {
        let of_kind = self.published.kinds.get(kind.as_str()).copied();
        of_kind.unwrap_or(self.published.default)
    }

    /// Raises `limits` to what this replica requires of a kind of action on `cluster`.
    fn raise(&self, limits: &mut ActionLimits, kind: ActionKind, cluster: &ClusterName) {
        let least = least_approvals(&self.clusters, cluster, &self.labels);
        limits.approver_groups.extend(least.groups);
        limits.approver_groups.sort_unstable();
        limits.approver_groups.dedup();
        let groups = u32::try_from(limits.approver_groups.len()).unwrap_or(u32::MAX);
        limits.approvals_needed = limits
            .approvals_needed
            .max(self.count(kind))
            .max(least.count)
            .max(groups);
    }
}

/// What the settings of the other replicas required when they were read last.
pub(super) struct ReplicaApprovals {
    others: Mutex<Arc<[RequiredApprovals]>>,
    clocks: Mutex<ReplicaClocks>,
    notices: watch::Sender<Vec<String>>,
}

impl Default for ReplicaApprovals {
    fn default() -> Self {
        Self {
            others: Mutex::new(Arc::new([])),
            clocks: Mutex::default(),
            notices: watch::Sender::default(),
        }
    }
}

impl ReplicaApprovals {
    /// Reads what the other replicas publish, linearizably.
    ///
    /// # Errors
    /// [`ActionError::OtherSettings`] if one publishes what this version cannot read, the others count then; etcd errors.
    pub(super) async fn refresh(
        &self,
        registry: &Registry,
        keys: &ActionKeys,
        settings: &ActionSettings,
    ) -> Result<(), ActionError> {
        let before = now();
        let listing = registry.list(keys.approvals_prefix()).await?;
        let after = now();
        let (live, orphaned): (Vec<_>, Vec<_>) = listing
            .entries
            .iter()
            .partition(|entry| is_under_its_lease(keys, entry));
        let read_all = live.iter().map(|entry| (*entry, read(entry)));
        let (others, unread): (Vec<_>, Vec<_>) =
            read_all.partition(|(_, required)| required.is_some());
        let publications = others.iter().filter_map(|(entry, required)| {
            let published = &required.as_ref()?.published;
            Some((entry.key.clone(), published.replica.clone(), published.at))
        });
        let publications = publications.collect();
        let others: Arc<[RequiredApprovals]> = others
            .into_iter()
            .filter_map(|(_, required)| required)
            .collect();
        let own = PublishedApprovals::of(settings);
        let mut notices: Vec<String> = difference_notice(&own, &others).into_iter().collect();
        notices.extend(orphaned.iter().map(|entry| orphan_notice(entry)));
        {
            let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
            clocks.compare(publications, before, after);
            notices.extend(clocks.notices(&own.replica));
        }
        self.notices.send_if_modified(|shown| {
            let changed = *shown != notices;
            *shown = notices;
            changed
        });
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
        unread
            .first()
            .map_or(Ok(()), |(entry, _)| Err(unreadable(entry)))
    }

    /// `limits`, raised to what any other replica required when they were read last.
    pub(super) fn raised(
        &self,
        mut limits: ActionLimits,
        kind: ActionKind,
        cluster: &ClusterName,
    ) -> ActionLimits {
        for other in self.read_others().iter() {
            other.raise(&mut limits, kind, cluster);
        }
        limits
    }

    /// The approvals that a kind of action needs on every cluster, if this replica requires `own`.
    pub(super) fn count(&self, kind: ActionKind, own: u32) -> u32 {
        let others = self.read_others();
        others
            .iter()
            .map(|other| other.count(kind))
            .fold(own, u32::max)
    }

    fn read_others(&self) -> Arc<[RequiredApprovals]> {
        let others = self.others.lock();
        Arc::clone(&others.unwrap_or_else(PoisonError::into_inner))
    }

    /// What to show of replicas whose settings or clocks differ, and its changes.
    pub(super) fn notices(&self) -> watch::Receiver<Vec<String>> {
        self.notices.subscribe()
    }

    /// Publishes the settings of this replica, again after each change of labels, until `shutdown`.
    pub(super) async fn run(
        &self,
        registry: Registry,
        keys: ActionKeys,
        settings: &ActionSettings,
        shutdown: CancellationToken,
    ) {
        let mut publication: Option<ApprovalPublication> = None;
        let publishing = async {
            let mut labels = settings.labels.subscribe();
            loop {
                labels.mark_unchanged();
                let published = self.publish(&mut publication, &registry, &keys, settings);
                if let Err(error) = published.await {
                    tracing::debug!(%error, "Could not publish or compare the approval settings; trying again");
                }
                tokio::select! {
                    // Without a sender, labels do not change.
                    Ok(()) = labels.changed() => {}
                    () = tokio::time::sleep(COMPARE_INTERVAL) => {}
                }
            }
        };
        shutdown.run_until_cancelled(publishing).await;
        if let Some(publication) = publication {
            // It expires otherwise.
            let _ = publication.lease.revoke().await;
        }
    }

    async fn publish(
        &self,
        publication: &mut Option<ApprovalPublication>,
        registry: &Registry,
        keys: &ActionKeys,
        settings: &ActionSettings,
    ) -> Result<(), ActionError> {
        let live = publication
            .take()
            .filter(|publication| publication.lease.lost_reason().is_none());
        let current = match live {
            Some(live) => live,
            None => ApprovalPublication::begin(registry, keys).await?,
        };
        publication
            .insert(current)
            .write(registry, settings)
            .await?;
        self.refresh(registry, keys, settings).await
    }
}

/// The published settings of this replica.
struct ApprovalPublication {
    lease: Lease,
    key: String,
}

impl ApprovalPublication {
    async fn begin(registry: &Registry, keys: &ActionKeys) -> Result<Self, ActionError> {
        let lease = registry.grant(PUBLICATION_TTL).await?;
        // The lease ID makes the key unique to this process.
        let key = publication_key(keys, lease.id());
        Ok(Self { lease, key })
    }

    /// Writes the settings with the current time.
    async fn write(
        &self,
        registry: &Registry,
        settings: &ActionSettings,
    ) -> Result<(), ActionError> {
        let value = encode(&PublishedApprovals::of(settings))?;
        registry
            .put(self.key.as_str(), value, Some(self.lease.id()))
            .await?;
        Ok(())
    }
}

fn publication_key(keys: &ActionKeys, lease: LeaseId) -> String {
    format!("{}{lease:x}", keys.approvals_prefix())
}

/// Whether `entry` ends with the replica that wrote it. One that was put back later, as from a backup, does not.
fn is_under_its_lease(keys: &ActionKeys, entry: &RegistryEntry) -> bool {
    entry.lease != 0 && entry.key == publication_key(keys, entry.lease).as_bytes()
}

fn orphan_notice(entry: &RegistryEntry) -> String {
    format!(
        "{} in etcd is not of a running replica, as if it had been put back from a backup, and is ignored. Delete this key.",
        String::from_utf8_lossy(&entry.key)
    )
}

fn read(entry: &RegistryEntry) -> Option<RequiredApprovals> {
    RequiredApprovals::parse(serde_json::from_slice(&entry.value).ok()?)
}

fn unreadable(entry: &RegistryEntry) -> ActionError {
    ActionError::OtherSettings(format!(
        "The approval settings at {} cannot be read. Run one version of the console on all replicas, or delete this key if \
         no replica runs that wrote it.",
        String::from_utf8_lossy(&entry.key)
    ))
}

/// Names the replicas whose settings differ from those of this one.
fn difference_notice(own: &PublishedApprovals, others: &[RequiredApprovals]) -> Option<String> {
    let mut names: Vec<&str> = others
        .iter()
        .filter(|other| !other.published.requires_as(own))
        .map(|other| other.published.replica.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| {
        format!(
            "The approval settings of {} differ from those of {}: actions need what the strictest replica requires. Give all \
             replicas the same settings.",
            names.join(", "),
            own.replica
        )
    })
}

#[cfg(test)]
mod tests;
