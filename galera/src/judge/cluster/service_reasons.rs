//! Reasons of a verdict about members that are Synced and do not serve.

use super::reasons::{ReasonCollector, node_label};
use super::verdict::VerdictContext;
use crate::judge::service::{ServiceLimit, service_limits};
use crate::view::{ClusterStatus, NodeState, ReasonCode};

/// Adds what keeps Synced members from serving. Returns whether queries of clients fail somewhere, or writes everywhere:
/// that single members are read-only is an arrangement of many clusters, and that a member is desynced one of backups.
pub(super) fn add_service_limits(
    context: &VerdictContext<'_>,
    required: &[usize],
    reasons: &mut ReasonCollector<'_>,
) -> bool {
    let nodes = &context.gathered.nodes;
    let serving: Vec<(usize, Vec<ServiceLimit>)> = required
        .iter()
        .filter(|&&node| matches!(nodes[node].state(), NodeState::Synced | NodeState::Donor))
        .filter_map(|&node| {
            let answer = nodes[node].fresh_answer()?;
            let primary = answer.status.cluster_status == Some(ClusterStatus::Primary);
            primary.then(|| (node, service_limits(answer.status)))
        })
        .collect();
    let mut limited = false;
    for (node, limits) in &serving {
        let code = |limit: &ServiceLimit| match limit {
            ServiceLimit::NotReplicating => Some(ReasonCode::WritesNotReplicated),
            limit if limit.refuses_queries() => Some(ReasonCode::QueriesRefused),
            _ => None,
        };
        for limit in limits {
            if let Some(code) = code(limit) {
                let label = node_label(&nodes[*node]);
                let message = format!("On {label} {}.", limit.explanation());
                reasons.add_for_node(code, *node, message);
                limited = true;
            }
        }
    }
    let refuses_writes = |(_, limits): &(usize, Vec<ServiceLimit>)| {
        limits.iter().any(|limit| limit.refuses_writes())
    };
    if !serving.is_empty() && serving.iter().all(refuses_writes) {
        reasons.add_for_cluster(
            ReasonCode::WritesRefused,
            "Every Synced member of the Primary component refuses writes (read_only, or it refuses all queries): the cluster accepts none.",
        );
        limited = true;
    }
    limited
}
