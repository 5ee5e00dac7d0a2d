//! Compares a plan computed again with the one that was approved (I16).

use std::collections::BTreeSet;

use super::{CheckCode, Plan, TransientCause};

/// The difference between a plan computed now and the approved one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanComparison {
    /// None.
    Same,
    /// Only states that nodes leave within seconds: plan again.
    ShortLivedState,
    /// Only what the planning replica has not observed for long enough.
    ShortObservation,
    /// Anything else: it is not what was approved.
    Changed,
}

impl Plan {
    /// Compares this plan, computed just now, with the approved one.
    #[must_use]
    pub fn compare_with_approved(&self, approved: &Self) -> PlanComparison {
        if self.digest == approved.digest {
            return PlanComparison::Same;
        }
        let transient = |cause: TransientCause| -> BTreeSet<&CheckCode> {
            let checks = self.checks.iter();
            checks
                .filter(|check| check.transient == Some(cause))
                .map(|check| &check.code)
                .collect()
        };
        let (short_lived, unobserved) = (
            transient(TransientCause::ShortLivedState),
            transient(TransientCause::ShortObservation),
        );
        let rest = |plan: &Self| {
            let mut rest = plan.clone();
            let may_change =
                |code: &CheckCode| short_lived.contains(code) || unobserved.contains(code);
            rest.checks.retain(|check| !may_change(&check.code));
            rest.executable = false;
            // Which registrations are stale, and everything that follows, depends on the observed period.
            let before = plan.checks.iter();
            let before = before.take_while(|check| check.code != CheckCode::READ_LONG_ENOUGH);
            if unobserved.contains(&CheckCode::READ_LONG_ENOUGH) {
                rest.checks = before.cloned().collect();
                rest.steps.clear();
                rest.undo.clear();
                rest.target = None;
            }
            // The executor depends on which node is ready now; the component does not.
            if !short_lived.is_empty() {
                rest.steps.clear();
                if let Some(target) = &mut rest.target {
                    target.node = None;
                    target.process = None;
                }
            }
            rest.computed_digest()
        };
        if (short_lived.is_empty() && unobserved.is_empty()) || rest(self) != rest(approved) {
            PlanComparison::Changed
        } else if unobserved.is_empty() {
            PlanComparison::ShortLivedState
        } else {
            PlanComparison::ShortObservation
        }
    }
}
