//! The roles that the programs of this repository need in etcd, as narrow as they work.

use galera::observe::registration::{ArbitratorName, ClusterField, RegistryKeys};
use galera::{ClusterName, NodeId};

use crate::{EtcdRole, KeyAccess, KeyPermission};

/// Of the consoles: they keep their state below `state_prefix`, and in approved actions write orders and delete
/// registrations below the registry prefix.
#[must_use]
pub fn console(keys: &RegistryKeys, state_prefix: &str) -> EtcdRole {
    EtcdRole {
        name: "galera-console".to_owned(),
        permissions: vec![
            KeyPermission::prefix(keys.root_prefix(), KeyAccess::ReadWrite),
            KeyPermission::prefix(format!("{state_prefix}/"), KeyAccess::ReadWrite),
        ],
    }
}

/// Of all agents of a cluster, for identical containers that have one account. Each of them can write the facts of the
/// others.
#[must_use]
pub fn agents(keys: &RegistryKeys, cluster: &ClusterName) -> EtcdRole {
    let all = KeyPermission::prefix(keys.cluster_prefix(cluster), KeyAccess::ReadWrite);
    EtcdRole {
        name: format!("galera-agent-{cluster}"),
        permissions: vec![all],
    }
}

/// Of the agent of one node: it reads its cluster, and writes the facts of its node and what belongs to the cluster. It can
/// change no fact of another node, and not move a registration from an address that the node had before.
#[must_use]
pub fn agent_of_node(keys: &RegistryKeys, cluster: &ClusterName, node: &NodeId) -> EtcdRole {
    let shared = [ClusterField::Founder, ClusterField::Bootstrap]
        .map(|field| KeyPermission::key(keys.cluster_key(cluster, field), KeyAccess::ReadWrite));
    let forks = format!("{}forks/", keys.cluster_prefix(cluster));
    let mut permissions = vec![
        KeyPermission::prefix(keys.cluster_prefix(cluster), KeyAccess::Read),
        sidecar_permission(keys, cluster, node),
    ];
    permissions.extend(shared);
    permissions.push(KeyPermission::prefix(forks, KeyAccess::ReadWrite));
    EtcdRole {
        name: format!("galera-agent-{cluster}-{node}"),
        permissions,
    }
}

/// Of the agent of one arbitrator: it reads its cluster and writes its own report.
#[must_use]
pub fn arbitrator(keys: &RegistryKeys, cluster: &ClusterName, name: &ArbitratorName) -> EtcdRole {
    EtcdRole {
        name: format!("galera-arbitrator-{cluster}-{name}"),
        permissions: vec![
            KeyPermission::prefix(keys.cluster_prefix(cluster), KeyAccess::Read),
            KeyPermission::key(keys.arbitrator_key(cluster, name), KeyAccess::ReadWrite),
        ],
    }
}

/// What an agent needs that only reports on a node.
#[must_use]
pub fn sidecar_permission(
    keys: &RegistryKeys,
    cluster: &ClusterName,
    node: &NodeId,
) -> KeyPermission {
    KeyPermission::prefix(keys.node_prefix(cluster, node), KeyAccess::ReadWrite)
}
