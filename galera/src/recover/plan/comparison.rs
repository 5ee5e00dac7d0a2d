//! How a plan that is made again stands to the one that was approved (I16).

use std::collections::BTreeSet;

use super::{CheckCode, Plan, TransientCause};

/// What a difference between two plans means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanComparison {
    /// None: it is what was approved.
    Same,
    /// Only states that nodes leave by themselves within seconds: look again.
    ShortLivedState,
    /// Only what the planner has not watched for long enough to tell.
    ShortObservation,
    /// Everything else: it is not what was approved.
    Changed,
}

impl Plan {
    /// Compares this plan, made just now, with the one that was approved.
    #[must_use]
    pub fn compare_with_approved(&self, approved: &Self) -> PlanComparison {
        if self.digest == approved.digest {
            return PlanComparison::Same;
        }
        let passing = |reason: TransientCause| -> BTreeSet<&CheckCode> {
            let checks = self.checks.iter();
            checks
                .filter(|check| check.transient == Some(reason))
                .map(|check| &check.code)
                .collect()
        };
        let (moment, unwatched) = (
            passing(TransientCause::ShortLivedState),
            passing(TransientCause::ShortObservation),
        );
        let rest = |plan: &Self| {
            let mut rest = plan.clone();
            let open = |code: &CheckCode| moment.contains(code) || unwatched.contains(code);
            rest.checks.retain(|check| !open(&check.code));
            rest.executable = false;
            // What is stale, and all that follows, hangs on having watched.
            let watched = plan.checks.iter();
            let watched = watched.take_while(|check| check.code != CheckCode::READ_LONG_ENOUGH);
            if unwatched.contains(&CheckCode::READ_LONG_ENOUGH) {
                rest.checks = watched.cloned().collect();
                rest.steps.clear();
                rest.undo.clear();
                rest.target = None;
            }
            // Who executes hangs on who can at the moment; whom it is done to does not.
            if !moment.is_empty() {
                rest.steps.clear();
                if let Some(target) = &mut rest.target {
                    target.node = None;
                }
            }
            rest.computed_digest()
        };
        if (moment.is_empty() && unwatched.is_empty()) || rest(self) != rest(approved) {
            PlanComparison::Changed
        } else if unwatched.is_empty() {
            PlanComparison::ShortLivedState
        } else {
            PlanComparison::ShortObservation
        }
    }
}
