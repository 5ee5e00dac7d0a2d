//! After a clean-up: which running nodes lost their registration, and the writes that restore it (I28).

use std::collections::BTreeSet;

use super::{RegisteredKeys, RegistryReading};
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::common_checks::sign_of_life;
use crate::recover::bootstrap::situation::Situation;
use crate::recover::plan::PlanStep;

/// The writes that restore durable registrations of nodes that run but are no longer registered. Each creates its key
/// only if it does not exist, so that a node that has registered again since then wins.
#[must_use]
pub fn lost_registrations(
    case: &RecoveryCase<'_>,
    before: &RegistryReading,
    after: &RegistryReading,
) -> Vec<PlanStep> {
    let situation = Situation::new(case);
    let (before, after) = (
        RegisteredKeys::new(case, Some(before)),
        RegisteredKeys::new(case, Some(after)),
    );
    let running: BTreeSet<_> = (0..situation.nodes().len())
        .filter(|&node| {
            let listed = situation
                .components
                .observed
                .iter()
                .any(|seen| seen.members.contains(&node));
            listed || sign_of_life(&situation, node).is_some()
        })
        .map(|node| &situation.nodes()[node].id)
        .collect();
    before
        .nodes
        .iter()
        .filter(|(id, _)| running.contains(id) && !after.nodes.contains_key(*id))
        .flat_map(|(_, keys)| keys)
        // A leased key is written by its owner only.
        .filter(|(raw, _)| raw.lease == 0)
        .filter_map(|(raw, _)| {
            Some(PlanStep::Key {
                key: String::from_utf8(raw.key.clone()).ok()?,
                mod_revision: 0,
                value: Some(String::from_utf8(raw.value.clone()).ok()?),
            })
        })
        .collect()
}
