//! An executing action with two steps.

use galera::recover::action::{Action, ActionEvent, ActionLimits};
use galera::recover::plan::{Plan, PlanStep};

use crate::action_fixture::{EVERYBODY, adam, after, begin, olga, plan, requested};

fn two_steps() -> Plan {
    let mut plan = plan();
    plan.steps = ["/galera/lab/n9/ipaddress", "/galera/lab/n9/registered"]
        .map(|key| PlanStep::Key {
            key: key.to_owned(),
            mod_revision: 4,
            value: None,
        })
        .into();
    plan.digest = plan.computed_digest();
    plan
}

pub(crate) fn cleanup_executing() -> Action {
    executing(&two_steps())
}

/// The action of `plan`, requested, approved and begun.
pub(crate) fn executing(plan: &Plan) -> Action {
    let adam = adam();
    let action = requested(&olga(), plan, &ActionLimits::default()).unwrap();
    let approve = ActionEvent::Approve {
        by: &adam,
        digest: &plan.digest,
        comment: None,
    };
    let action = after(&action, &approve, 10).unwrap();
    after(&action, &begin(plan, 7), 20).unwrap()
}

pub(crate) fn cleanup_intend(action: &Action, step: usize) -> ActionEvent<'_> {
    ActionEvent::Intend {
        fence: 7,
        step,
        plan: &action.plan,
        accounts: &EVERYBODY,
        recovery_pause: None,
    }
}
