//! The registry's keys of one cluster, read on demand and linearizably, with each lease's remaining time to live.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use galera::ClusterName;
use galera::observe::observation::Evidence;
use galera::observe::registration::{
    RawKeyValue, RegistryKeys, V2Access, build_registry_view, build_v2_view,
};
use galera::view::{ClusterView, RegistryView, V2KeysView};
use registry::v2::{V2Read, V2Registry};
use registry::{LeaseId, Registry, RegistryEntry};
use tokio::time::{Instant, timeout_at};

use super::MonitorSettings;
use super::v2_source::cluster_keys;

/// Leases looked up for one view, and how many concurrently.
const LEASES_MAX: usize = 128;
const CONCURRENT_LOOKUPS: usize = 8;
/// Time for all of these lookups together; leases not reached are shown without their remaining time.
const LEASES_DEADLINE: Duration = Duration::from_secs(2);

/// The registry could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct RegistryUnavailable {
    /// Cause and remedy, shown to users.
    detail: String,
}

impl RegistryUnavailable {
    pub(super) fn not_connected() -> Self {
        Self {
            detail: "this console is not connected to a registry".to_owned(),
        }
    }
}

impl From<registry::Error> for RegistryUnavailable {
    fn from(error: registry::Error) -> Self {
        Self {
            detail: error.to_string(),
        }
    }
}

/// Reads registry views.
pub(super) struct RegistryViewReader {
    registry: Registry,
    keys: RegistryKeys,
    prefix: String,
    default_port: u16,
    v2: Option<V2Registry>,
}

impl RegistryViewReader {
    pub(super) fn new(registry: Registry, settings: &MonitorSettings) -> Self {
        Self {
            registry,
            keys: RegistryKeys::new(&settings.registry_prefix),
            prefix: settings.registry_prefix.clone(),
            default_port: settings.mysql.port,
            v2: settings.v2.as_ref().map(|v2| v2.registry.clone()),
        }
    }

    /// The keys of `cluster`, classified against its current `view`.
    pub(super) async fn view(
        &self,
        cluster: &ClusterName,
        view: &ClusterView,
        evidence: Option<&Evidence>,
    ) -> Result<RegistryView, RegistryUnavailable> {
        let (listing, v2) = tokio::join!(
            self.registry.list(self.keys.cluster_prefix(cluster)),
            self.v2_view(cluster, view, evidence),
        );
        let listing = listing?;
        let left = self.remaining_ttls(&listing.entries).await;
        let raw: Vec<RawKeyValue> = listing
            .entries
            .into_iter()
            .map(|entry| RawKeyValue {
                ttl: left.get(&entry.lease).copied(),
                key: entry.key,
                value: entry.value,
                mod_revision: entry.mod_revision,
                lease: entry.lease,
            })
            .collect();
        let at = console_core::clock::now();
        let shown = build_registry_view(
            &self.prefix,
            cluster,
            listing.revision,
            at,
            &raw,
            view,
            self.default_port,
        );
        Ok(RegistryView { v2, ..shown })
    }

    /// The cluster's keys in etcd v2, if that registry is used and has any.
    async fn v2_view(
        &self,
        cluster: &ClusterName,
        view: &ClusterView,
        evidence: Option<&Evidence>,
    ) -> Option<V2KeysView> {
        let (v2, evidence) = (self.v2.as_ref()?, evidence?);
        if evidence.v2_access == V2Access::Absent {
            return None;
        }
        let read = match v2.list(&self.keys.cluster_prefix(cluster)).await {
            Ok(V2Read::Listing(listing)) => Ok(cluster_keys(listing)),
            Ok(V2Read::Disabled) => Err(format!("the v2 API of etcd at {} is off", v2.endpoints())),
            Err(error) => Err(error.to_string()),
        };
        let empty = read
            .as_ref()
            .is_ok_and(|read| read.keys.is_empty() && read.empty_directories.is_empty());
        (!empty).then(|| {
            let (prefix, port) = (&self.prefix, self.default_port);
            build_v2_view(prefix, v2.endpoints(), read, view, evidence, port)
        })
    }

    /// Seconds that each lease has left; one lookup per lease.
    async fn remaining_ttls(&self, entries: &[RegistryEntry]) -> BTreeMap<LeaseId, i64> {
        let leases = distinct_leases(entries);
        let deadline = Instant::now() + LEASES_DEADLINE;
        let mut lookups = futures::stream::iter(leases)
            .map(|lease| async move { (lease, self.registry.lease_info(lease).await) })
            .buffer_unordered(CONCURRENT_LOOKUPS);
        let mut left = BTreeMap::new();
        while let Ok(Some((lease, result))) = timeout_at(deadline, lookups.next()).await {
            if let Ok(Some(info)) = result {
                left.insert(
                    lease,
                    i64::try_from(info.remaining.as_secs()).unwrap_or(i64::MAX),
                );
            }
        }
        left
    }
}

fn distinct_leases(entries: &[RegistryEntry]) -> Vec<LeaseId> {
    let mut leases: Vec<_> = entries
        .iter()
        .map(|entry| entry.lease)
        .filter(|lease| *lease != 0)
        .collect();
    leases.sort_unstable();
    leases.dedup();
    leases.truncate(LEASES_MAX);
    leases
}
