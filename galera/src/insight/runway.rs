//! How long each member may stay away until it needs a full state transfer: of members that are away, and of Synced ones
//! as if they stopped now.

use serde::{Deserialize, Serialize};

use super::stop_check::{ReturnForecast, ReturnTransfer, forecast_return, promised_transactions};
use crate::amounts;
use crate::id::{ClusterName, NodeId};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, CompletedTransfer, NodeState, NodeView};

/// How the members of a cluster would return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Runway {
    pub cluster: ClusterName,
    /// When the view that it rests on was computed.
    pub observed_at: Timestamp,
    /// The full transfer that estimates are made from; `null` if none was observed.
    pub last_transfer: Option<CompletedTransfer>,
    /// Members that are away or Synced, in the order of the view.
    pub nodes: Vec<NodeRunway>,
}

/// How one member would return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeRunway {
    pub node: NodeId,
    /// Whether it is away; otherwise this is as if it stopped now.
    pub away: bool,
    pub forecast: ReturnForecast,
    /// About how many seconds a full transfer takes, by the last one; `null` if none was observed.
    pub full_transfer_seconds: Option<u64>,
    /// All of it in one line.
    pub summary: String,
}

/// How the members of `view` would return.
#[must_use]
pub fn runway(view: &ClusterView) -> Runway {
    Runway {
        cluster: view.name.clone(),
        observed_at: view.observed_at,
        last_transfer: view.last_transfer.clone(),
        nodes: view
            .members()
            .filter_map(|node| node_runway(view, node))
            .collect(),
    }
}

/// How `node` would return; `None` while it takes part in a state transfer.
fn node_runway(view: &ClusterView, node: &NodeView) -> Option<NodeRunway> {
    let away = match node.state {
        NodeState::Synced => false,
        NodeState::Donor | NodeState::Joined | NodeState::Joining => return None,
        NodeState::Initialized
        | NodeState::Inconsistent
        | NodeState::Stopped
        | NodeState::Unreachable
        | NodeState::Absent
        | NodeState::Unknown => true,
    };
    let forecast = forecast_return(view, node, std::slice::from_ref(&node.id));
    let last = view.last_transfer.as_ref();
    Some(NodeRunway {
        node: node.id.clone(),
        away,
        full_transfer_seconds: last.map(|last| last.seconds),
        summary: summary(view, &forecast),
        forecast,
    })
}

fn summary(view: &ClusterView, forecast: &ReturnForecast) -> String {
    let full = match &view.last_transfer {
        Some(last) => format!(
            "SST of about {}, {}",
            amounts::bytes(last.bytes),
            amounts::duration(last.seconds)
        ),
        None => "SST of unknown duration: this console has observed none".to_owned(),
    };
    let donor = forecast.donor.as_ref().map_or_else(String::new, |donor| {
        let node = view.nodes.iter().find(|node| node.id == *donor);
        let name = node.and_then(|node| node.name.clone());
        name.unwrap_or_else(|| donor.to_string())
    });
    match (
        forecast.transfer,
        forecast.until,
        forecast.transactions_left,
    ) {
        (ReturnTransfer::Incremental, Some(until), _) => format!(
            "IST until {} from {donor}, then {full}",
            until.to_short_string(view.observed_at)
        ),
        (ReturnTransfer::Incremental, None, left) => format!(
            "IST from {donor} as long as at most {} transactions of the present size follow, then {full}",
            promised_transactions(left.unwrap_or_default())
        ),
        (ReturnTransfer::Full, ..) => full,
        (ReturnTransfer::Unknown, ..) => format!("not known: {}", forecast.message),
    }
}
