//! A node that is held back joins only empty, after it has kept its data aside, and only by an approved order (I35).

use super::registry_snapshot::{RegistrySnapshot, RejoinKeyState};
use super::{DataState, StartingNode, StartupAction, StartupDecision, order};
use crate::id::NodeId;
use crate::observe::registration::HeldRange;

/// Waits because of `problem`, unless an order to exactly this node, with these data, held back by the same fork, makes
/// it rejoin. `primaries` are the Primary members.
pub(super) fn hold_back(
    own: &StartingNode,
    snapshot: &RegistrySnapshot,
    primaries: Vec<NodeId>,
    held: HeldRange,
    problem: &str,
) -> StartupDecision {
    // Without a trusted position no order can name these data.
    if !matches!(own.data, DataState::AtPosition(_)) {
        return StartupDecision::wait(primaries, problem);
    }
    let waits = |explanation: String| StartupDecision {
        held: Some(held),
        ..StartupDecision::wait(primaries, explanation)
    };
    let RejoinKeyState::Known {
        rejoin,
        revision,
        lease,
    } = &snapshot.rejoin
    else {
        return waits(problem.to_owned());
    };
    if rejoin.order.node != own.node {
        return waits(problem.to_owned());
    }
    let action = rejoin.order.action_id.as_deref().unwrap_or_default();
    let refusal = order::rejoin_refusal(own, snapshot, rejoin, *lease != 0, &held).or_else(|| {
        let members = snapshot.primaries_except(&own.node);
        let synced = members.filter(|(_, member)| member.is_synced()).count();
        (synced == 0).then(|| "no member that could send its data is Synced".to_owned())
    });
    match refusal {
        Some(why) => waits(format!(
            "Ignoring the order to rejoin of action {action:?}: {why}. {problem}"
        )),
        None => StartupDecision::new(
            StartupAction::Rejoin {
                rejoin: rejoin.clone(),
                revision: *revision,
            },
            format!(
                "Action {action} orders {} to keep its data at {} aside and to join empty; signature, data, position, fork, \
                 time and lease match",
                own.node, rejoin.order.position
            ),
        ),
    }
}
