//! The properties: what must always hold, and what must be reachable.

use galera::recover::action::{self, ActionEvent, ActionState as Stage};
use stateright::Property;

use crate::record;
use crate::state::{ModelState, RecoveryModel};

const PAST_EVERY_DEADLINE: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

pub(crate) fn all() -> Vec<Property<RecoveryModel>> {
    vec![
        Property::always("never two Primary components", |_, state: &ModelState| {
            state.cluster.primary_component_count() <= 1
        }),
        Property::always("final states never change", |_, state: &ModelState| {
            let mut records = state.actions.iter().zip(&state.ended);
            records.all(|(record, ended)| ended.is_none_or(|ended| ended == record.state))
        }),
        Property::always("no approval is used twice", |_, state: &ModelState| {
            state
                .begun
                .iter()
                .chain(&state.sent)
                .all(|&times| times <= 1)
        }),
        Property::always(
            "nothing begins without its approvals",
            |model: &RecoveryModel, state: &ModelState| {
                let mut records = state.actions.iter().zip(&state.begun);
                records.all(|(record, &begun)| {
                    begun == 0 || record.approvals.len() >= model.bounds.approvals as usize
                })
            },
        ),
        Property::always(
            "no statement outlives its action",
            |_, state: &ModelState| {
                state.statements.iter().all(|message| {
                    let stage = state.actions[message.action].state;
                    matches!(stage, Stage::Executing | Stage::Succeeded)
                })
            },
        ),
        Property::always(
            "who sent nothing says so, and who sent does not deny it",
            |_, state: &ModelState| {
                let mut records = state.actions.iter().zip(&state.sent);
                records.all(|(record, &sent)| match record.state {
                    Stage::Executing | Stage::Succeeded | Stage::Unverified | Stage::Failed => true,
                    _ => sent == 0,
                })
            },
        ),
        Property::always(
            "every action ends",
            |model: &RecoveryModel, state: &ModelState| {
                if state.tick < model.bounds.ticks {
                    return true;
                }
                let limits = record::limits(model.bounds.approvals);
                let later = record::at(state.tick).plus(PAST_EVERY_DEADLINE);
                state.actions.iter().all(|record| {
                    record.state.is_final()
                        || action::step(record, &ActionEvent::Tick, &limits, later).is_ok()
                })
            },
        ),
        reachable("an action succeeds", Stage::Succeeded),
        reachable("an action is superseded", Stage::Superseded),
        reachable("an action stays unverified", Stage::Unverified),
        reachable("an action fails", Stage::Failed),
        reachable("an action expires", Stage::Expired),
        Property::sometimes("a successor finishes", |_, state: &ModelState| {
            state.actions.iter().any(|record| {
                let sender = record.steps.first().and_then(|step| step.replica.as_ref());
                let finisher = record
                    .execution
                    .as_ref()
                    .map(|execution| &execution.replica);
                record.state == Stage::Succeeded && sender != finisher
            })
        }),
    ]
}

/// Shows that the properties do not hold merely because nothing happens.
fn reachable(name: &'static str, stage: Stage) -> Property<RecoveryModel> {
    Property::sometimes(
        name,
        match stage {
            Stage::Succeeded => |_, state: &ModelState| any_action_is(state, Stage::Succeeded),
            Stage::Superseded => |_, state: &ModelState| any_action_is(state, Stage::Superseded),
            Stage::Unverified => |_, state: &ModelState| any_action_is(state, Stage::Unverified),
            Stage::Failed => |_, state: &ModelState| any_action_is(state, Stage::Failed),
            _ => |_, state: &ModelState| any_action_is(state, Stage::Expired),
        },
    )
}

fn any_action_is(state: &ModelState, stage: Stage) -> bool {
    state.actions.iter().any(|record| record.state == stage)
}
