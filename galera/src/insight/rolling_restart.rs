//! A rolling restart: which member has been restarted since it began, which is next, and what it has to wait for.
//!
//! It holds no state: a member counts as restarted when its server started after the beginning.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::findings::{ObservedServer, observed_servers};
use super::stop_check::{StopAnswer, StopCheck, stop_check};
use crate::id::{ClusterName, NodeId};
use crate::observe::observation::Evidence;
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, NodeView};

/// Where a member is in the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RestartState {
    /// Started after the beginning, and Synced with an empty receive queue.
    Restarted,
    /// Restarting, or receiving its state.
    Returning,
    /// To be restarted now.
    Next,
    /// The next one, but it must not be stopped now.
    Blocked,
    /// Comes later.
    Later,
}

named_variants!(RestartState {
    Restarted => "restarted",
    Returning => "returning",
    Next => "next",
    Blocked => "blocked",
    Later => "later",
});

/// One member of a rolling restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestartStep {
    pub node: NodeId,
    pub state: RestartState,
    /// When its server started; `null` if unknown.
    pub started_at: Option<Timestamp>,
    /// Connections of clients.
    pub connections: Option<u64>,
    /// A sentence for operators.
    pub message: String,
    /// Whether it may be stopped, for the next one.
    pub stop_check: Option<StopCheck>,
}

/// The state of a rolling restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RollingRestart {
    pub cluster: ClusterName,
    /// Members whose server started later have been restarted.
    pub since: Timestamp,
    pub observed_at: Timestamp,
    /// Whether every expected member has been restarted and is Synced.
    pub complete: bool,
    /// In the order in which they are restarted; done ones first.
    pub steps: Vec<RestartStep>,
}

/// Computes where a rolling restart that began at `since` is, from a view and the evidence behind it.
#[must_use]
pub fn rolling_restart(
    view: &ClusterView,
    evidence: &Evidence,
    default_port: u16,
    since: Timestamp,
) -> RollingRestart {
    let servers = &observed_servers(view, evidence, default_port);
    let mut steps: Vec<RestartStep> = view
        .members()
        .filter(|node| node.expected)
        .map(|node| first_look(node, servers, since))
        .collect();
    // The fewest clients first: clients of later members can then move to one that was restarted.
    steps.sort_by_key(|step| {
        let waits = step.state == RestartState::Later;
        let order = Reverse(step.state == RestartState::Restarted);
        (
            order,
            waits,
            step.connections.unwrap_or(u64::MAX),
            step.node.clone(),
        )
    });
    let returning = steps
        .iter()
        .any(|step| step.state == RestartState::Returning);
    if !returning {
        name_next(view, &mut steps);
    }
    RollingRestart {
        cluster: view.name.clone(),
        since,
        observed_at: view.observed_at,
        complete: !steps.is_empty()
            && steps
                .iter()
                .all(|step| step.state == RestartState::Restarted),
        steps,
    }
}

/// Marks the first waiting member that may be stopped; if none may, the first one with the reason.
fn name_next(view: &ClusterView, steps: &mut [RestartStep]) {
    let mut blocked = None;
    for (index, step) in steps.iter_mut().enumerate() {
        if step.state != RestartState::Later {
            continue;
        }
        let check = stop_check(view, std::slice::from_ref(&step.node));
        let node = view.nodes.iter().find(|node| node.id == step.node);
        let label = node.map_or_else(|| step.node.to_string(), NodeView::label);
        if check.answer == StopAnswer::Yes {
            step.state = RestartState::Next;
            step.message = format!("Restart {label} now, by a clean shutdown (SIGTERM).");
            step.stop_check = Some(check);
            return;
        }
        let message = format!("Do not restart {label} yet: {}", check.summary);
        blocked.get_or_insert((index, message, check));
    }
    if let Some((index, message, check)) = blocked
        && let Some(step) = steps.get_mut(index)
    {
        step.state = RestartState::Blocked;
        step.message = message;
        step.stop_check = Some(check);
    }
}

fn first_look(node: &NodeView, servers: &[ObservedServer<'_>], since: Timestamp) -> RestartStep {
    let label = node.label();
    let server = servers.iter().find(|server| server.node.id == node.id);
    let started_at = server.and_then(|server| server.details?.started_at());
    let connections = server.and_then(|server| server.number("threads_connected"));
    let restarted = started_at.is_some_and(|started| started > since);
    let queue = node.recv_queue;
    let (state, message) = match node.state {
        NodeState::Synced if restarted && queue.is_none_or(|queue| queue > 0) => (
            RestartState::Returning,
            format!("{label} is Synced and still applies its receive queue."),
        ),
        NodeState::Synced if restarted => (
            RestartState::Restarted,
            format!("{label} was restarted and is Synced."),
        ),
        NodeState::Synced if started_at.is_none() => (
            RestartState::Returning,
            format!("When {label} started is not known yet; its status is read every 15 s."),
        ),
        NodeState::Synced => (
            RestartState::Later,
            format!("{label} has not been restarted."),
        ),
        NodeState::Donor => (
            RestartState::Returning,
            format!("{label} is a donor or desynced: wait until it is Synced."),
        ),
        NodeState::Joining | NodeState::Joined => (
            RestartState::Returning,
            format!("{label} is receiving its state: wait until it is Synced."),
        ),
        NodeState::Initialized | NodeState::Inconsistent => (
            RestartState::Returning,
            format!("{label} runs, but is not in the Primary component: look at its log."),
        ),
        NodeState::Stopped | NodeState::Unreachable | NodeState::Absent | NodeState::Unknown => (
            RestartState::Returning,
            format!("{label} is unreachable: it is restarting, or has to be started."),
        ),
    };
    RestartStep {
        node: node.id.clone(),
        state,
        started_at,
        connections,
        message,
        stop_check: None,
    }
}
