//! The clusters of the fleet, as their scripted servers and agents report them.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use anyhow::Result;
use galera::{ClusterName, NodeId};

use crate::packets::StatusPairs;

/// Nodes at addresses that differ in their last number only.
const ADDRESSES_PER_NETWORK: usize = 250;
/// The highest position before the run.
const FIRST_SEQNO: u64 = 1_000_000;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeScript {
    Synced,
    Donor,
    /// It closes its connections and accepts no others.
    Silent,
}

/// One node.
#[derive(Debug)]
pub(crate) struct ScriptedNode {
    pub(crate) id: NodeId,
    script: AtomicU8,
}

/// One cluster, all of whose nodes are members of its Primary component.
#[derive(Debug)]
pub(crate) struct ScriptedCluster {
    pub(crate) name: ClusterName,
    pub(crate) nodes: Vec<ScriptedNode>,
    number: usize,
    state_uuid: String,
    /// `wsrep_incoming_addresses`.
    members: String,
}

/// All clusters; nodes are found by their address.
#[derive(Debug)]
pub(crate) struct ScriptedFleet {
    pub(crate) clusters: Vec<ScriptedCluster>,
    nodes_per_cluster: usize,
    commits_per_second: f64,
    began: Instant,
}

impl ScriptedNode {
    pub(crate) fn script(&self) -> NodeScript {
        match self.script.load(Ordering::Relaxed) {
            1 => NodeScript::Donor,
            2 => NodeScript::Silent,
            _ => NodeScript::Synced,
        }
    }

    pub(crate) fn set_script(&self, script: NodeScript) {
        let number = match script {
            NodeScript::Synced => 0,
            NodeScript::Donor => 1,
            NodeScript::Silent => 2,
        };
        self.script.store(number, Ordering::Relaxed);
    }
}

impl ScriptedFleet {
    /// `clusters` clusters of `nodes` nodes, each of which listens on `port`.
    ///
    /// # Errors
    /// If there are more nodes than addresses.
    pub(crate) fn new(
        clusters: usize,
        nodes: usize,
        port: u16,
        commits_per_second: f64,
    ) -> Result<Self> {
        let clusters = (0..clusters).map(|number| {
            let nodes: Result<Vec<_>> = (0..nodes)
                .map(|index| {
                    let address = address(number * nodes + index)?;
                    Ok(ScriptedNode {
                        id: NodeId::new(&address.to_string(), Some(port))?,
                        script: AtomicU8::new(0),
                    })
                })
                .collect();
            let nodes = nodes?;
            let members: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
            Ok(ScriptedCluster {
                name: format!("fleet-{number:05}").parse()?,
                nodes,
                number,
                state_uuid: format!("{number:08x}-0c2f-11ef-9b6e-5a3f2c1d0e4b"),
                members: members.join(","),
            })
        });
        Ok(Self {
            clusters: clusters.collect::<Result<_>>()?,
            nodes_per_cluster: nodes,
            commits_per_second,
            began: Instant::now(),
        })
    }

    /// The cluster and the index of the node at `address`.
    pub(crate) fn node_at(&self, address: Ipv4Addr) -> Option<(&ScriptedCluster, usize)> {
        let number = number_of(address)?;
        let cluster = self.clusters.get(number / self.nodes_per_cluster)?;
        Some((cluster, number % self.nodes_per_cluster))
    }

    /// How many nodes there are.
    pub(crate) fn node_count(&self) -> usize {
        self.clusters.len() * self.nodes_per_cluster
    }

    /// The rows of `SHOW GLOBAL STATUS LIKE 'wsrep_%'` of a node.
    pub(crate) fn status(&self, cluster: &ScriptedCluster, index: usize) -> StatusPairs {
        let donor = cluster.nodes[index].script() == NodeScript::Donor;
        let (state, comment) = if donor {
            ("2", "Donor/Desynced")
        } else {
            ("4", "Synced")
        };
        let size = cluster.nodes.len().to_string();
        let gcomm = format!("{:08x}-0c2f-11ef-a1b2-c3d4e5f6{index:04x}", cluster.number);
        let fixed = [
            ("wsrep_local_state", state),
            ("wsrep_local_state_comment", comment),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_cluster_conf_id", "17"),
            ("wsrep_local_recv_queue", "0"),
            ("wsrep_local_send_queue", "0"),
            ("wsrep_flow_control_paused_ns", "0"),
            ("wsrep_ready", "ON"),
            ("wsrep_connected", "ON"),
            ("wsrep_gmcast_segment", "0"),
            ("wsrep_evs_state", "OPERATIONAL"),
        ];
        let fixed = fixed.map(|(name, value)| (name, value.to_owned()));
        let computed = [
            ("wsrep_cluster_state_uuid", cluster.state_uuid.clone()),
            ("wsrep_local_state_uuid", cluster.state_uuid.clone()),
            ("wsrep_gcomm_uuid", gcomm),
            ("wsrep_cluster_size", size.clone()),
            ("wsrep_cluster_weight", size),
            ("wsrep_local_index", index.to_string()),
            ("wsrep_incoming_addresses", cluster.members.clone()),
            ("wsrep_last_committed", self.seqno(cluster).to_string()),
        ];
        let rows = fixed.into_iter().chain(computed);
        rows.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The variables that a probe reads.
    pub(crate) fn variables(cluster: &ScriptedCluster, index: usize) -> StatusPairs {
        let rows = [
            ("wsrep_node_name", format!("db{}", index + 1)),
            ("wsrep_cluster_name", cluster.name.to_string()),
            (
                "wsrep_provider",
                "/usr/lib/galera/libgalera_smm.so".to_owned(),
            ),
            ("version", "10.11.19-MariaDB".to_owned()),
        ];
        rows.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Commits of different clusters do not coincide.
    fn seqno(&self, cluster: &ScriptedCluster) -> u64 {
        let phase = (cluster.number % 97) as f64 / 97.0;
        let commits = self.began.elapsed().as_secs_f64() * self.commits_per_second + phase;
        FIRST_SEQNO + commits as u64
    }
}

/// The address of node `number` of the fleet: 127.16.0.1 and following.
fn address(number: usize) -> Result<Ipv4Addr> {
    let network = number / ADDRESSES_PER_NETWORK;
    let (high, low) = (network / 256 + 16, network % 256);
    anyhow::ensure!(high < 256, "node {number} has no address in 127.0.0.0/8");
    let last = number % ADDRESSES_PER_NETWORK + 1;
    Ok(Ipv4Addr::new(
        127,
        u8::try_from(high)?,
        u8::try_from(low)?,
        u8::try_from(last)?,
    ))
}

fn number_of(address: Ipv4Addr) -> Option<usize> {
    let [_, high, low, last] = address.octets().map(usize::from);
    let network = high.checked_sub(16)? * 256 + low;
    Some(network * ADDRESSES_PER_NETWORK + last.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_an_address_by_which_it_is_found() {
        let fleet = ScriptedFleet::new(300, 250, 3306, 1.0).unwrap();
        for (number, cluster) in fleet.clusters.iter().enumerate() {
            for (index, node) in cluster.nodes.iter().enumerate() {
                let (found, at) = fleet.node_at(node.id.host().parse().unwrap()).unwrap();
                assert_eq!((&found.name, at), (&cluster.name, index), "{number}");
            }
        }
        assert!(fleet.node_at(Ipv4Addr::LOCALHOST).is_none());
        assert_eq!(fleet.node_count(), 75_000);
    }
}
