//! Proves that a bootstrap statement had no effect, if its answer does not say (I21): then it made no fork (I35).
//!
//! What is not proven stays unknown. A server that stopped, was restarted or does not answer proves nothing, nor does a member of a
//! component of several: what such a component agreed to may be delivered once a paused member continues.

use std::time::Duration;

use super::{PlannedServer, RecoveryCase, Situation};
use crate::recover::action::SEND_WINDOW;
use crate::recover::plan::{Mechanism, PlanTarget};
use crate::view::ClusterStatus;

/// The first `wsrep_protocol_version` whose Primary views take a sequence number each: that of Galera 4 (`PROTO_VER_ORDERED_CC` in
/// galera/src/replicator_smm.hpp).
const ORDERED_VIEWS: u64 = 10;
/// Longest time between two observations of a proof: in a longer one the server may have been paused with the statement.
const GAP_MAX: Duration = Duration::from_secs(5);

/// What one executor has observed of a statement whose effect it does not see.
///
/// The proof is complete when the executor's server has shown for [`SEND_WINDOW`], without interruption, that it is where the plan
/// found it. By then it has closed the connection of a statement that has not arrived, and refuses one that arrived late (I38). Only
/// times of the executor's own clock are compared, which is never set, and all of them are after the intention: so another replica
/// that continues the action may complete the proof, whatever its clock shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEffectProof {
    /// The first and the last observation of an uninterrupted series, since the executor began.
    observed: Option<(Duration, Duration)>,
}

impl NoEffectProof {
    /// Adds what the nodes report `elapsed` after the executor began. Returns a sentence once it is proven that the statement to the
    /// executor of `target` had no effect and can have none.
    pub fn observe(
        &mut self,
        target: &PlanTarget,
        case: &RecoveryCase<'_>,
        elapsed: Duration,
    ) -> Option<String> {
        if !is_unchanged(target, case) {
            self.observed = None;
            return None;
        }
        let continued = self.observed.filter(|(_, last)| elapsed <= *last + GAP_MAX);
        let first = continued.map_or(elapsed, |(first, _)| first);
        self.observed = Some((first, elapsed));
        let proven = elapsed >= first + SEND_WINDOW;
        proven.then(|| {
            let node = target.node.as_ref().map(ToString::to_string);
            format!(
                "The statement had no effect: {} is still non-Primary at the position that it was to continue from, and refuses the \
                 statement by now. Request the bootstrap again.",
                node.unwrap_or_default()
            )
        })
    }
}

/// Whether the server that executes `target` answers, alone and without a Primary component, from the position in the plan: a Primary
/// view would have taken the next one. The votes and the receive queue show that no lock holds its status back (I42).
fn is_unchanged(target: &PlanTarget, case: &RecoveryCase<'_>) -> bool {
    let situation = Situation::new(case);
    let node = target.node.as_ref().and_then(|id| situation.node_named(id));
    let Some(answer) = node.and_then(|node| situation.nodes()[node].fresh_answer()) else {
        return false;
    };
    let status = answer.status;
    let is_planned = target.mechanism == Mechanism::Statement
        && target.process.is_some()
        && PlannedServer::of(target).check(status).is_ok();
    let is_alone = target.members.len() <= 1 && status.cluster_size == Some(1);
    let is_non_primary = status.cluster_status == Some(ClusterStatus::NonPrimary)
        && status.cluster_weight == Some(0)
        && status.recv_queue == Some(0);
    let shows_views = status.counters.protocol_version >= Some(ORDERED_VIEWS);
    is_planned
        && is_alone
        && is_non_primary
        && shows_views
        && target.position.is_some()
        && status.position() == target.position
}
