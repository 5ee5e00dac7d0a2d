//! After a clean-up: whether a living node lost its registration, and what puts it back (I28).

use std::collections::BTreeSet;

use super::{Reading, Register};
use crate::recover::bootstrap::Case;
use crate::recover::bootstrap::shared::sign_of_life;
use crate::recover::bootstrap::situation::Situation;
use crate::recover::plan::Step;

/// The writes that restore durable registrations of nodes that live but are no longer registered. Each creates its key
/// only where there is none, so that a node that registered again meanwhile wins.
#[must_use]
pub fn lost_registrations(case: &Case<'_>, before: &Reading, after: &Reading) -> Vec<Step> {
    let situation = Situation::new(case);
    let (was, is) = (
        Register::new(case, Some(before)),
        Register::new(case, Some(after)),
    );
    let lives: BTreeSet<_> = (0..situation.nodes().len())
        .filter(|&node| {
            let listed = situation
                .components
                .seen
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
            Some(Step::Key {
                key: String::from_utf8(raw.key.clone()).ok()?,
                mod_revision: 0,
                value: Some(String::from_utf8(raw.value.clone()).ok()?),
            })
        })
        .collect()
}
