//! What a client of a server sees.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{GaleraCluster, NodeIndex};

/// Galera's "undefined".
const UNDEFINED: u64 = u64::MAX;

const WEIGHT: &str = "wsrep_cluster_weight";

/// The outcome of a connection to a node's SQL port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// No server runs: the connection is refused.
    Refused,
    /// Nothing answers.
    Silent,
    /// The rows of `SHOW GLOBAL STATUS LIKE 'wsrep_%'`.
    Rows(BTreeMap<String, String>),
}

impl GaleraCluster {
    /// What a client on the node's own host sees.
    #[must_use]
    pub fn probe(&self, node: NodeIndex) -> ProbeResult {
        match &self.nodes[node].server {
            None => ProbeResult::Refused,
            Some(server) if server.paused => ProbeResult::Silent,
            // A server opens its port once it is a member and has its data, and a restarted one not before that either.
            Some(server) if !server.opened => ProbeResult::Refused,
            Some(_) if !self.nodes[node].arbitrator && self.nodes[node].data.history.is_none() => {
                ProbeResult::Refused
            }
            Some(server)
                if server
                    .transfer
                    .as_ref()
                    .is_some_and(|transfer| !transfer.incremental) =>
            {
                ProbeResult::Refused
            }
            Some(server) => match &server.frozen {
                Some(rows) => {
                    let mut rows = rows.clone();
                    // What group communication reports itself goes on.
                    let weight = self
                        .status_rows(node)
                        .and_then(|mut now| now.remove(WEIGHT));
                    rows.extend(weight.map(|weight| (WEIGHT.to_owned(), weight)));
                    ProbeResult::Rows(rows)
                }
                None => self
                    .status_rows(node)
                    .map_or(ProbeResult::Silent, ProbeResult::Rows),
            },
        }
    }

    pub(super) fn status_rows(&self, node: NodeIndex) -> Option<BTreeMap<String, String>> {
        let own = &self.nodes[node];
        let server = own.server.as_ref()?;
        let (primary, members) = (server.is_primary(), &server.members);
        let history = own.data.history.unwrap_or_default().to_string();
        let conf_id = match &server.last_primary {
            Some(view) if primary => view.conf_id,
            _ => UNDEFINED,
        };
        let weight: u64 = members
            .iter()
            .filter_map(|&member| Some(self.nodes[member].server.as_ref()?.weight))
            .sum();
        let own_alone = BTreeSet::from([node]);
        let listed = if server.disconnected {
            &own_alone
        } else {
            members
        };
        let addresses: Vec<String> = listed
            .iter()
            .map(|&member| match &self.nodes[member] {
                arbitrator if arbitrator.arbitrator => String::new(),
                _ if member != node && !server.addresses.contains(&member) => {
                    "unspecified".to_owned()
                }
                other => other.id.to_string(),
            })
            .collect();
        let seqno = if own.data.history.is_some() {
            own.data.seqno()
        } else {
            UNDEFINED
        };
        let (state, comment) = match (primary, &server.transfer) {
            (false, _) => ("0", "Initialized"),
            (true, Some(_)) => ("1", "Joining"),
            // A server that holds a lock on all tables leaves flow control.
            (true, None) if server.locked => ("2", "Donor/Desynced"),
            (true, None) if self.is_donor(node) => ("2", "Donor/Desynced"),
            (true, None) => ("4", "Synced"),
        };
        let rows = [
            ("wsrep_local_state_uuid", history.clone()),
            ("wsrep_cluster_state_uuid", history),
            ("wsrep_last_committed", seqno.to_string()),
            ("wsrep_local_recv_queue", "0".to_owned()),
            ("wsrep_local_state", state.to_owned()),
            ("wsrep_local_state_comment", comment.to_owned()),
            ("wsrep_incoming_addresses", addresses.join(",")),
            ("wsrep_cluster_size", members.len().to_string()),
            (WEIGHT, if primary { weight } else { 0 }.to_string()),
            (
                "wsrep_local_index",
                members
                    .iter()
                    .position(|&member| member == node)
                    .map_or(UNDEFINED, |index| index as u64)
                    .to_string(),
            ),
            ("wsrep_evs_state", "OPERATIONAL".to_owned()),
            ("wsrep_protocol_version", "10".to_owned()),
            (
                "wsrep_provider_options",
                format!(
                    "pc.ignore_quorum = false; pc.ignore_sb = false; pc.weight = {}",
                    server.weight
                ),
            ),
            (
                "wsrep_gcomm_uuid",
                Uuid::from_u64_pair(server.process.0, 1).to_string(),
            ),
            ("wsrep_cluster_conf_id", conf_id.to_string()),
            (
                "wsrep_cluster_status",
                match (server.disconnected, primary) {
                    (true, _) => "Disconnected",
                    (false, true) => "Primary",
                    (false, false) => "non-Primary",
                }
                .to_owned(),
            ),
            (
                "wsrep_connected",
                if server.disconnected { "OFF" } else { "ON" }.to_owned(),
            ),
            (
                "wsrep_ready",
                if server.is_synced() { "ON" } else { "OFF" }.to_owned(),
            ),
        ];
        let owned = rows.map(|(name, value)| (name.to_owned(), value));
        Some(owned.into_iter().collect())
    }
}
