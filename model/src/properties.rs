//! What must hold, and what must be possible.

use galera::recover::action::{self, Event, State as Stage};
use stateright::Property;

use crate::console::{Model, State};
use crate::record;

/// Far beyond every deadline.
const MUCH_LATER: std::time::Duration = std::time::Duration::from_secs(24 * 3_600);

pub(crate) fn all() -> Vec<Property<Model>> {
    vec![
        Property::always("never two Primary components", |_, state: &State| {
            state.cluster.primaries() <= 1
        }),
        Property::always("final states never change", |_, state: &State| {
            let mut records = state.actions.iter().zip(&state.ended);
            records.all(|(record, ended)| ended.is_none_or(|ended| ended == record.state))
        }),
        Property::always("no approval is used twice", |_, state: &State| {
            state
                .begun
                .iter()
                .chain(&state.sent)
                .all(|&times| times <= 1)
        }),
        Property::always(
            "nothing begins without its approvals",
            |model: &Model, state: &State| {
                let mut records = state.actions.iter().zip(&state.begun);
                records.all(|(record, &begun)| {
                    begun == 0 || record.approvals.len() >= model.sizes.approvals as usize
                })
            },
        ),
        Property::always("no statement outlives its action", |_, state: &State| {
            state.messages.iter().all(|message| {
                let stage = state.actions[message.action].state;
                matches!(stage, Stage::Executing | Stage::Succeeded)
            })
        }),
        Property::always(
            "who sent nothing says so, and who sent does not deny it",
            |_, state: &State| {
                let mut records = state.actions.iter().zip(&state.sent);
                records.all(|(record, &sent)| match record.state {
                    Stage::Executing | Stage::Succeeded | Stage::Unverified | Stage::Failed => true,
                    _ => sent == 0,
                })
            },
        ),
        Property::always("every action ends", |model: &Model, state: &State| {
            if state.tick < model.sizes.ticks {
                return true;
            }
            let limits = record::limits(model.sizes.approvals);
            let later = record::at(state.tick).plus(MUCH_LATER);
            state.actions.iter().all(|record| {
                record.state.is_final()
                    || action::step(record, &Event::Tick, &limits, later).is_ok()
            })
        }),
        reaches("an action succeeds", Stage::Succeeded),
        reaches("an action is superseded", Stage::Superseded),
        reaches("an action stays unverified", Stage::Unverified),
        reaches("an action fails", Stage::Failed),
        reaches("an action expires", Stage::Expired),
        Property::sometimes("a successor finishes", |_, state: &State| {
            state.actions.iter().any(|record| {
                let sender = record
                    .steps
                    .first()
                    .and_then(|step| step.replica.as_deref());
                let finisher = record
                    .execution
                    .as_ref()
                    .map(|execution| execution.replica.as_str());
                record.state == Stage::Succeeded && sender != finisher
            })
        }),
    ]
}

/// Without this a property could hold because nothing ever happens.
fn reaches(name: &'static str, stage: Stage) -> Property<Model> {
    Property::sometimes(
        name,
        match stage {
            Stage::Succeeded => |_, state: &State| has(state, Stage::Succeeded),
            Stage::Superseded => |_, state: &State| has(state, Stage::Superseded),
            Stage::Unverified => |_, state: &State| has(state, Stage::Unverified),
            Stage::Failed => |_, state: &State| has(state, Stage::Failed),
            _ => |_, state: &State| has(state, Stage::Expired),
        },
    )
}

fn has(state: &State, stage: Stage) -> bool {
    state.actions.iter().any(|record| record.state == stage)
}
