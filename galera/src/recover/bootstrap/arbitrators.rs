//! Arbitrators before a bootstrap. One that is left of a Primary component stays Primary alone. It does not meet the bootstrapped
//! component until a server that has both in its address list starts; then the servers of the component with the lower view
//! leave the group for good: "aborting due to conflicting prims" (`pc_proto.cpp`).

use super::RecoveryCase;
use super::situation::Situation;
use crate::observe::registration::{ArbitratorName, ArbitratorPhase};

/// Arbitrators whose agents report a Primary component under a live lease.
pub(super) fn reported_primary<'a>(case: &RecoveryCase<'a>) -> Vec<&'a ArbitratorName> {
    let reported = case.evidence.arbitrators.iter();
    reported
        .filter(|(_, record)| record.phase == ArbitratorPhase::Primary)
        .map(|(name, _)| name)
        .collect()
}

/// What to do about an arbitrator of the last Primary view, or of a member's last view, that no agent reports, before a stopped
/// cluster is bootstrapped.
pub(super) fn restart_notice(
    case: &RecoveryCase<'_>,
    situation: &Situation<'_>,
) -> Option<&'static str> {
    if situation.has_running_component() || !case.evidence.arbitrators.is_empty() {
        return None;
    }
    let known = situation.accountable_members().count();
    let seen = situation
        .accountable_members()
        .filter_map(|node| situation.members_seen(node));
    let saw_more = seen
        .filter_map(|seen| seen.members())
        .any(|count| count > known);
    let silent = situation.unseen_members(case).has_silent_arbitrator();
    // The record of the members is not shortened by a view with an arbitrator, and the newest view may be that of a node which
    // ended for this very reason.
    (saw_more || silent || case.history.has_unnamed_member()).then_some(
        "The last Primary component had an arbitrator, or a member that is not known. An arbitrator that still runs may be \
         Primary alone, and end the bootstrapped servers when it meets them: restart the arbitrator first.",
    )
}
