//! After a clean-up: whether a living node lost its registration, and what puts it back (I28).

use std::collections::BTreeSet;

use super::{RegisteredKeys, RegistryReading};
use crate::recover::bootstrap::RecoveryCase;
use crate::recover::bootstrap::common_checks::sign_of_life;
use crate::recover::bootstrap::situation::Situation;
use crate::recover::plan::PlanStep;

/// The writes that restore durable registrations of nodes that live but are no longer registered. Each creates its key
/// only where there is none, so that a node that registered again meanwhile wins.
#[must_use]
pub fn lost_registrations(
    case: &RecoveryCase<'_>,
    before: &RegistryReading,
    after: &RegistryReading,
) -> Vec<PlanStep> {
    let situation = Situation::new(case);
    let (was, is) = (
        RegisteredKeys::new(case, Some(before)),
        RegisteredKeys::new(case, Some(after)),
    );
    let lives: BTreeSet<_> = (0..situation.nodes().len())
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
    was.nodes
        .iter()
        .filter(|(id, _)| lives.contains(id) && !is.nodes.contains_key(*id))
        .flat_map(|(_, keys)| keys)
        // A leased key is its owner's to write.
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
