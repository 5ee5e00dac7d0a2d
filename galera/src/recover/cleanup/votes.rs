//! The votes that count before and after members are removed.

use std::collections::BTreeSet;

use crate::id::NodeId;
use crate::judge::cluster::fold;
use crate::observe::observation::Evidence;
use crate::recover::bootstrap::RecoveryCase;

/// The quorum now and without `removed`, in a sentence; `None` if it does not change. Galera's own view does not change: it lost
/// the members when they left.
pub(super) fn before_and_after(
    case: &RecoveryCase<'_>,
    removed: &BTreeSet<&NodeId>,
) -> Option<String> {
    let quorum = |evidence: &Evidence| {
        let view = fold(evidence, case.now, &case.settings.fold, None);
        view.quorum.map(|quorum| quorum.summary)
    };
    let port = case.settings.fold.default_port;
    let stays = |id: &NodeId| !removed.contains(&id.clone().normalized(port));
    let mut after = case.evidence.clone();
    let gone: Vec<NodeId> = after
        .registrations
        .keys()
        .filter(|id| !stays(id))
        .cloned()
        .collect();
    for id in &gone {
        after.registrations.remove(id);
    }
    after.last_primary_members.retain(stays);
    let (before, after) = (quorum(case.evidence)?, quorum(&after)?);
    (before != after).then(|| format!("Quorum now: {before}. Afterwards: {after}."))
}
